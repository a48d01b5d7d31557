/* Peers that lie slowly, are banned, have pruned what they are asked for, or lag; and how work is spread by speed. */
#include "lab.h"

static struct sync_peer_view view_of(const struct lab *l, uint32_t i)
{
	struct sync_peer_view v;

	sync_peer_view(l->sync, i, &v);
	return v;
}

static struct lab *ready_lab(uint32_t node_cnt, uint32_t seed, uint32_t blocks)
{
	struct lab *l = lab_new(node_cnt, seed);
	uint32_t tip = lab_mine(l, 0, blocks);

	for (uint32_t i = 0; i < node_cnt; i++)
		lab_set_tip(&l->node[i], tip);
	lab_resume(l, tip, blocks);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	lab_run(l, 100 * LAB_MS, LAB_MS);
	return l;
}

/* ---- slowly ---- */

static void drip(uint32_t rate)
{
	struct lab *l = ready_lab(2, rate, 10);
	uint32_t tip = lab_mine(l, l->node[0].tip, 1);

	/* The one that drips is the first to announce it. */
	l->node[0].delay_ns = 100 * LAB_MS;
	lab_set_tip(&l->node[0], tip);
	lab_run(l, 90 * LAB_MS, LAB_MS);
	l->node[0].rate = rate;
	l->node[0].rate_ns = l->now_ns;
	assert_int_equal(l->node[0].getdata_cnt, 2);
	lab_set_tip(&l->node[1], tip);
	assert_true(lab_reach(l, tip, 20 * LAB_S));
	lab_run(l, 2 * LAB_S, LAB_MS);
	assert_string_equal(view_of(l, 0).last_error, "peer_drop_slow_block_total");
	assert_string_equal(view_of(l, 0).ban_reason, "peer_drop_slow_block_total");
	assert_string_equal(view_of(l, 0).state, "banned");
	assert_true(view_of(l, 0).ban_s > 40 && view_of(l, 0).ban_s <= 75);
	assert_true(view_of(l, 0).speed <= rate + 1);
	assert_int_equal(lab_counter(l, "peer_drop_slow_block_total"), 1);
	assert_int_equal(lab_counter(l, "peers_banned"), 1);
	lab_free(l);
}

static void a_block_at_a_byte_a_second_moves_on_and_its_sender_is_banned(void **state)
{
	(void)state;
	drip(1);
	drip(20);
}

static void a_trickle_above_the_limit_for_silence_is_too_slow_all_the_same(void **state)
{
	static const uint32_t rate[] = {40, 200};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct lab *l = lab_new(2, 2 + i);
		uint32_t tip = lab_mine(l, 0, 200);

		lab_set_tip(&l->node[0], tip);
		lab_set_tip(&l->node[1], tip);
		lab_resume(l, 0, 0);
		lab_run(l, 20 * LAB_MS, LAB_MS);
		l->node[0].rate = rate[i];
		l->node[0].rate_ns = l->now_ns;
		/* A byte each 25 ms and more is no silence, and most of these blocks take less than two minutes. */
		assert_true(lab_reach(l, tip, 25 * LAB_S));
		lab_check_list(l, tip);
		assert_true(lab_counter(l, "peer_drop_slow_block_total") +
				    lab_counter(l, "blocks_hedged_total") >=
			    1);
		lab_free(l);
	}
}

static void the_only_peer_is_kept_however_slow_while_it_brings_anything(void **state)
{
	struct lab *l = lab_new(1, 4);
	uint32_t tip = lab_mine(l, 0, 40);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	l->cut_max = 100;
	lab_resume(l, 0, 0);
	lab_run(l, 50 * LAB_MS, LAB_MS);
	l->node[0].rate = 100; /* half a minute for a block */
	l->node[0].rate_ns = l->now_ns;
	assert_true(lab_reach(l, tip, 1500 * LAB_S));
	assert_int_equal(view_of(l, 0).connects, 1);
	assert_true(lab_counter(l, "blocks_slow_total") > 10);
	assert_int_equal(lab_counter(l, "peer_bans_total"), 0);
	lab_free(l);
	/* Five bytes a second for a block of 1500: a new connection is worth a try. */
	l = lab_new(1, 5);
	tip = lab_mine(l, 0, 40);
	lab_set_tip(&l->node[0], tip);
	l->cut_max = 100;
	lab_resume(l, 0, 0);
	lab_run(l, 50 * LAB_MS, LAB_MS);
	l->node[0].rate = 5;
	l->node[0].rate_ns = l->now_ns;
	lab_run(l, 150 * LAB_S, 50 * LAB_MS);
	assert_int_equal(lab_counter(l, "peer_drop_block_deadline_total"), 1);
	l->node[0].rate = 0;
	assert_true(lab_reach(l, tip, 100 * LAB_S));
	lab_free(l);
}

static void of_two_slow_peers_neither_is_dropped_for_the_other(void **state)
{
	struct lab *l = lab_new(2, 6);
	uint32_t tip = lab_mine(l, 0, 20);

	(void)state;
	/* The line is ours: both have been measured when it gets narrow. */
	for (uint32_t i = 0; i < 2; i++) {
		lab_set_tip(&l->node[i], tip);
		l->node[i].rate = 300;
	}
	lab_resume(l, tip, 20);
	assert_true(lab_reach(l, tip, 300 * LAB_S));
	for (uint32_t round = 0; round < 3; round++) {
		tip = lab_mine(l, tip, 20);
		lab_set_tip(&l->node[0], tip);
		lab_set_tip(&l->node[1], tip);
		assert_true(lab_reach(l, tip, 600 * LAB_S));
	}
	/* Each may lose out once, while the other had not been measured. */
	assert_true(lab_counter(l, "peer_drop_slow_block_total") <= 2);
	assert_int_equal(lab_counter(l, "peer_drop_block_deadline_total"), 0);
	lab_free(l);
}

static void a_handshake_that_drips_ends_after_a_minute(void **state)
{
	struct lab *l = lab_new(1, 7);

	(void)state;
	l->node[0].rate = 1;
	l->node[0].rate_ns = l->now_ns;
	lab_start(l);
	lab_run(l, 62 * LAB_S, 20 * LAB_MS);
	/* The version message alone, which began at once, is given half as long. */
	assert_int_equal(lab_counter(l, "peer_drop_slow_message_total") +
				 lab_counter(l, "peer_drop_handshake_timeout_total"),
			 1);
	assert_int_equal(lab_counter(l, "peer_handshakes_total"), 0);
	lab_free(l);
}

static void a_message_that_drips_ends_the_connection(void **state)
{
	struct lab *l = ready_lab(2, 8, 10);
	uint8_t big[20000] = {0};

	(void)state;
	l->node[0].rate = 2;
	l->node[0].rate_ns = l->now_ns;
	lab_send(&l->node[0], P2P_ADDRV2, big, sizeof(big));
	lab_run(l, 40 * LAB_S, 20 * LAB_MS);
	assert_int_equal(lab_counter(l, "peer_drop_slow_message_total"), 1);
	assert_string_equal(view_of(l, 0).ban_reason, "peer_drop_slow_message_total");
	/* On the other connection too; it does not cost the peer more. */
	l->push[1].rate = 2;
	l->push[1].rate_ns = l->now_ns;
	lab_send(&l->push[1], P2P_ADDRV2, big, sizeof(big));
	lab_run(l, 40 * LAB_S, 20 * LAB_MS);
	assert_int_equal(lab_counter(l, "push_drop_slow_message_total"), 1);
	assert_int_equal(view_of(l, 1).drops, 0);
	assert_int_equal(view_of(l, 1).bans, 0);
	lab_free(l);
}

static void one_that_answers_pings_but_brings_no_block_is_banned_at_the_third_time(void **state)
{
	struct lab *l = ready_lab(2, 9, 10);
	uint32_t tip = l->node[0].tip;

	(void)state;
	l->node[0].fault = LAB_NO_BLOCKS;
	for (unsigned i = 0; i < 10 && view_of(l, 0).bans == 0; i++) {
		tip = lab_mine(l, tip, 1);
		lab_set_tip(&l->node[0], tip);
		lab_run(l, 100 * LAB_MS, LAB_MS);
		lab_set_tip(&l->node[1], tip);
		assert_true(lab_reach(l, tip, 15 * LAB_S));
		lab_run(l, 10 * LAB_S, 10 * LAB_MS);
	}
	assert_int_equal(view_of(l, 0).bans, 1);
	assert_string_equal(view_of(l, 0).ban_reason, "peer_drop_block_unavailable_total");
	assert_int_equal(lab_counter(l, "peer_drop_block_unavailable_total"), 3);
	lab_free(l);
}

static void one_that_lets_the_next_block_wait_is_not_waited_for_again(void **state)
{
	struct lab *l = ready_lab(2, 10, 10);
	uint32_t tip = l->node[0].tip;
	uint64_t took[3];

	(void)state;
	l->node[0].delay_ns = 29 * LAB_S; /* no silence for 30 s */
	for (unsigned i = 0; i < 3; i++) {
		uint64_t from = l->now_ns;

		tip = lab_mine(l, tip, 1);
		lab_set_tip(&l->node[0], tip);
		lab_run(l, 50 * LAB_MS, LAB_MS);
		lab_set_tip(&l->node[1], tip);
		assert_true(lab_reach(l, tip, 15 * LAB_S));
		took[i] = l->now_ns - from;
		lab_run(l, 2 * LAB_S, LAB_MS);
	}
	assert_true(took[0] >= 9 * LAB_S);
	assert_true(took[1] < 2 * LAB_S && took[2] < 2 * LAB_S);
	lab_free(l);
}

static void the_window_waits_two_seconds_for_the_block_that_blocks_it(void **state)
{
	struct lab *l = lab_new(2, 11);
	uint32_t tip = lab_mine(l, 0, 300);
	uint64_t from;

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	l->node[0].delay_ns = 25 * LAB_S;
	from = l->now_ns;
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 10 * LAB_S));
	assert_true(l->now_ns - from < 8 * LAB_S);
	lab_check_list(l, tip);
	lab_free(l);
}

/* ---- bans ---- */

static void a_ban_ends_by_itself(void **state)
{
	struct lab *l = ready_lab(2, 12, 10);
	unsigned dials;

	(void)state;
	l->node[0].fault = LAB_GARBAGE;
	lab_send(&l->node[0], P2P_FEEFILTER, "12345678", 8);
	lab_run(l, 100 * LAB_MS, LAB_MS);
	assert_string_equal(view_of(l, 0).state, "banned");
	dials = l->node[0].dial_cnt;
	lab_run(l, 50 * LAB_S, 10 * LAB_MS);
	assert_int_equal(l->node[0].dial_cnt, dials);
	lab_run(l, 30 * LAB_S, 10 * LAB_MS);
	assert_int_equal(l->node[0].dial_cnt, dials + 1);
	assert_true(view_of(l, 0).ready);
	assert_int_equal(view_of(l, 0).ban_s, 0);
	assert_int_equal(view_of(l, 0).bans, 1);
	assert_string_equal(view_of(l, 0).ban_reason, "peer_drop_magic_total"); /* of the last one */
	lab_free(l);
}

static void a_ban_does_not_bind_when_no_other_peer_has_the_best_chain(void **state)
{
	struct lab *l = ready_lab(2, 13, 10);
	uint32_t tip;

	(void)state;
	l->node[0].fault = LAB_GARBAGE;
	lab_send(&l->node[0], P2P_FEEFILTER, "12345678", 8);
	lab_run(l, 2 * LAB_S, LAB_MS);
	assert_false(l->node[0].up);
	/* The other goes away: the liar is what there is. */
	l->node[1].refuse = true;
	lab_reset(&l->node[1]);
	lab_run(l, LAB_S, LAB_MS);
	assert_true(view_of(l, 0).ready);
	tip = lab_mine(l, l->node[0].tip, 3);
	lab_set_tip(&l->node[0], tip);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	/* And both lie. */
	l->node[1].refuse = false;
	lab_run(l, 40 * LAB_S, 10 * LAB_MS);
	for (unsigned i = 0; i < 2; i++) {
		l->node[i].fault = LAB_GARBAGE;
		lab_send(&l->node[i], P2P_FEEFILTER, "12345678", 8);
	}
	lab_run(l, 10 * LAB_S, LAB_MS);
	assert_int_equal(view_of(l, 0).bans + view_of(l, 1).bans, 3);
	assert_true(l->node[0].up || l->node[1].up);
	lab_free(l);
}

static void a_peer_that_lies_at_every_connection_alone_is_dialled_at_most_every_30_seconds(void **state)
{
	struct lab *l = lab_new(1, 14);

	(void)state;
	l->node[0].version = 70014;
	lab_start(l);
	lab_run(l, 600 * LAB_S, 10 * LAB_MS);
	assert_true(l->node[0].dial_cnt >= 20 && l->node[0].dial_cnt <= 40);
	assert_int_equal(lab_counter(l, "peer_bans_total"), lab_counter(l, "peer_drop_version_old_total"));
	lab_free(l);
}

/* ---- pruned and lagging ---- */

static void old_blocks(int how, bool claims_all, uint32_t seed)
{
	struct lab *l = lab_new(2, seed);
	uint32_t tip = lab_mine(l, 0, 400);
	struct sync_peer_view v;

	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	l->node[0].keeps = 400 - 288 + 1;
	l->node[0].old = how;
	if (!claims_all)
		l->node[0].services = P2P_SERVICE_NETWORK_LIMITED | P2P_SERVICE_WITNESS;
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 30 * LAB_S));
	lab_check_list(l, tip);
	v = view_of(l, 0);
	assert_int_equal(v.bans, 0);
	if (claims_all)
		assert_true(lab_counter(l, "blocks_pruned_away_total") >= 1);
	else
		assert_true(v.connects == 1 && v.pruned);
	assert_false(view_of(l, 1).pruned);
	lab_free(l);
}

static void a_peer_without_old_blocks_is_found_out_however_it_says_so(void **state)
{
	(void)state;
	old_blocks(LAB_OLD_SILENCE, false, 20);
	old_blocks(LAB_OLD_HANG_UP, false, 21); /* never asked for one */
	old_blocks(LAB_OLD_NOTFOUND, true, 22);
	old_blocks(LAB_OLD_HANG_UP, true, 23);
	old_blocks(LAB_OLD_SILENCE, true, 24);
}

static void a_pruned_peer_alone_is_not_asked_in_circles(void **state)
{
	struct lab *l = lab_new(1, 25);
	uint32_t tip = lab_mine(l, 0, 400);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	l->node[0].keeps = 113;
	l->node[0].old = LAB_OLD_NOTFOUND;
	lab_resume(l, 0, 0);
	lab_run(l, 60 * LAB_S, 10 * LAB_MS);
	assert_true(lab_counter(l, "blocks_requested_total") <= 400);
	assert_true(lab_counter(l, "next_block_wait_ms") > 50000);
	assert_true(view_of(l, 0).pruned);
	assert_true(view_of(l, 0).ready);
	/* It is believed for ten minutes. */
	l->node[0].keeps = 0;
	assert_true(lab_reach(l, tip, 700 * LAB_S));
	assert_int_equal(lab_counter(l, "next_block_wait_ms"), 0);
	lab_free(l);
}

static void the_only_peer_that_is_restarted_when_asked_for_an_old_block_is_asked_again_soon(void **state)
{
	struct lab *l = lab_new(1, 26);
	uint32_t tip = lab_mine(l, 0, 400);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	l->node[0].delay_ns = LAB_S;
	lab_resume(l, 0, 0);
	for (unsigned i = 0; i < 5000 && l->node[0].getdata_cnt == 0; i++)
		lab_turn(l, LAB_MS);
	assert_int_equal(l->node[0].getdata_cnt, 1);
	l->node[0].delay_ns = 0;
	l->node[0].hold_ns = 0;
	lab_reset(&l->node[0]);
	assert_true(lab_reach(l, tip, 30 * LAB_S));
	lab_free(l);
}

static void the_next_block_gets_its_lost_buffer_back_before_any_later_block_gets_one(void **state)
{
	struct lab *l = lab_new(2, 31);
	uint32_t tip = lab_mine(l, 0, 600);

	(void)state;
	/* 305 is the first to be filled in, so the last buffer is for 313, the first block that the pruned one has.  The
	   other is lost while it sends 305: that buffer would do for 314, which can be had, but not yet for 305. */
	l->buf_cnt = 9;
	l->node[1].services = P2P_SERVICE_NETWORK_LIMITED | P2P_SERVICE_WITNESS;
	l->node[1].keeps = 600 - 288 + 1;
	l->node[0].fault = LAB_RESET;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, lab_ancestor(l, tip, 310), 310);
	assert_true(lab_reach(l, tip, 120 * LAB_S));
	lab_check_list(l, tip);
	lab_free(l);
}

static void a_lagging_peer_is_shown_as_such_and_asked_for_what_it_has(void **state)
{
	struct lab *l = lab_new(2, 26);
	uint32_t tip = lab_mine(l, 0, 100);

	(void)state;
	lab_set_tip(&l->node[0], lab_ancestor(l, tip, 40));
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	lab_check_list(l, tip);
	assert_true(view_of(l, 0).lagging && !view_of(l, 1).lagging);
	assert_int_equal(view_of(l, 0).height, 40);
	assert_int_equal(view_of(l, 0).drops, 0);
	lab_set_tip(&l->node[0], tip);
	lab_run(l, LAB_S, LAB_MS);
	assert_false(view_of(l, 0).lagging);
	lab_free(l);
}

/* ---- spread ---- */

static void a_block_is_asked_of_who_announced_it_first(void **state)
{
	struct lab *l = ready_lab(3, 30, 10);
	uint32_t tip = l->node[0].tip;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		uint32_t first = (i * 7) % 3;
		uint32_t had[3];

		for (unsigned k = 0; k < 3; k++)
			had[k] = l->node[k].block_cnt;
		tip = lab_mine(l, tip, 1);
		lab_set_tip(&l->node[first], tip);
		lab_turn(l, LAB_MS);
		while (l->node[first].out_sz > 0)
			lab_turn(l, LAB_MS);
		for (unsigned k = 0; k < 3; k++)
			if (k != first)
				lab_set_tip(&l->node[k], tip);
		assert_true(lab_reach(l, tip, 5 * LAB_S));
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(l->node[k].block_cnt, had[k] + (k == first));
	}
	lab_free(l);
}

static void a_slow_peer_gets_a_smaller_share(void **state)
{
	struct lab *l = lab_new(3, 31);
	uint32_t tip = lab_mine(l, 0, 1500);

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		lab_set_tip(&l->node[i], tip);
	l->cut_max = 100000;
	lab_resume(l, 0, 0);
	lab_run(l, 10 * LAB_MS, LAB_MS);
	for (uint32_t i = 0; i < 3; i++) {
		l->node[i].rate = i == 0 ? 30000 : 300000;
		l->node[i].rate_ns = l->now_ns;
	}
	assert_true(lab_reach(l, tip, 20 * LAB_S));
	lab_check_list(l, tip);
	assert_true(l->node[0].block_cnt >= 20);
	assert_true(l->node[1].block_cnt > 3 * l->node[0].block_cnt);
	assert_true(l->node[2].block_cnt > 3 * l->node[0].block_cnt);
	assert_int_equal(lab_counter(l, "peer_bans_total"), 0);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_at_a_byte_a_second_moves_on_and_its_sender_is_banned),
		cmocka_unit_test(a_trickle_above_the_limit_for_silence_is_too_slow_all_the_same),
		cmocka_unit_test(the_only_peer_is_kept_however_slow_while_it_brings_anything),
		cmocka_unit_test(of_two_slow_peers_neither_is_dropped_for_the_other),
		cmocka_unit_test(a_handshake_that_drips_ends_after_a_minute),
		cmocka_unit_test(a_message_that_drips_ends_the_connection),
		cmocka_unit_test(one_that_answers_pings_but_brings_no_block_is_banned_at_the_third_time),
		cmocka_unit_test(one_that_lets_the_next_block_wait_is_not_waited_for_again),
		cmocka_unit_test(the_window_waits_two_seconds_for_the_block_that_blocks_it),
		cmocka_unit_test(a_ban_ends_by_itself),
		cmocka_unit_test(a_ban_does_not_bind_when_no_other_peer_has_the_best_chain),
		cmocka_unit_test(
			a_peer_that_lies_at_every_connection_alone_is_dialled_at_most_every_30_seconds),
		cmocka_unit_test(a_peer_without_old_blocks_is_found_out_however_it_says_so),
		cmocka_unit_test(a_pruned_peer_alone_is_not_asked_in_circles),
		cmocka_unit_test(
			the_only_peer_that_is_restarted_when_asked_for_an_old_block_is_asked_again_soon),
		cmocka_unit_test(the_next_block_gets_its_lost_buffer_back_before_any_later_block_gets_one),
		cmocka_unit_test(a_lagging_peer_is_shown_as_such_and_asked_for_what_it_has),
		cmocka_unit_test(a_block_is_asked_of_who_announced_it_first),
		cmocka_unit_test(a_slow_peer_gets_a_smaller_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
