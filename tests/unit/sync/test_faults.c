/* Peers that misbehave, stall or die: each costs itself its connection, with a counted reason, and nobody else a
   block. */
#include "lab.h"

#include <stdlib.h>

/* Two nodes with 60 blocks; node 0 shows the fault from the start or, with up, once it has served some. */
static void expect_drop(enum lab_fault fault, const char *counter, bool at_start, uint64_t time_ns)
{
	struct lab *l = lab_new(2, 40 + fault);
	uint32_t tip = lab_mine(l, 0, 60), more;
	struct sync_peer_view v;

	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	if (at_start)
		l->node[0].fault = fault;
	lab_resume(l, 0, 0);
	if (!at_start) {
		assert_true(lab_reach(l, tip, 5 * LAB_S));
		l->node[0].fault = fault;
	}
	more = lab_mine(l, tip, 30);
	lab_set_tip(&l->node[0], more);
	lab_set_tip(&l->node[1], more);
	assert_true(lab_reach(l, more, time_ns));
	lab_check_list(l, more);
	if (lab_counter(l, counter) == 0)
		lab_run(l, time_ns, time_ns > 20 * LAB_S ? 50 * LAB_MS : LAB_MS);
	assert_true(lab_counter(l, counter) >= 1);
	sync_peer_view(l->sync, 0, &v);
	assert_true(v.drops >= 1);
	/* One that stays silent is dropped again, in the handshake. */
	if (fault != LAB_SILENT || at_start)
		assert_string_equal(v.last_error, counter);
	sync_peer_view(l->sync, 1, &v);
	assert_int_equal(v.drops, 0);
	assert_string_equal(v.last_error, "");
	lab_free(l);
}

static void garbage_and_wrong_magic_drop_the_peer(void **state)
{
	(void)state;
	expect_drop(LAB_GARBAGE, "peer_drop_magic_total", false, 5 * LAB_S);
}

static void a_bad_checksum_drops_the_peer(void **state)
{
	(void)state;
	expect_drop(LAB_BAD_CHECKSUM, "peer_drop_checksum_total", false, 5 * LAB_S);
}

static void an_oversize_length_drops_the_peer_at_the_head(void **state)
{
	(void)state;
	expect_drop(LAB_OVERSIZE, "peer_drop_length_total", false, 5 * LAB_S);
}

static void a_block_nobody_asked_for_drops_the_peer(void **state)
{
	(void)state;
	expect_drop(LAB_UNREQUESTED, "peer_drop_unrequested_block_total", true, 5 * LAB_S);
}

static void headers_without_work_drop_the_peer(void **state)
{
	(void)state;
	expect_drop(LAB_BAD_POW, "peer_drop_headers_pow_total", true, 5 * LAB_S);
}

static void headers_of_another_chain_drop_the_peer(void **state)
{
	(void)state;
	expect_drop(LAB_UNLINKED, "peer_drop_headers_unlinked_total", true, 5 * LAB_S);
}

static void headers_with_a_gap_drop_the_peer(void **state)
{
	(void)state;
	expect_drop(LAB_GAPS, "peer_drop_headers_not_a_chain_total", true, 5 * LAB_S);
}

static void a_silent_peer_is_dropped_by_the_handshake_deadline(void **state)
{
	(void)state;
	expect_drop(LAB_SILENT, "peer_drop_handshake_timeout_total", true, 70 * LAB_S);
}

static void a_peer_that_goes_silent_is_dropped_and_its_blocks_move(void **state)
{
	(void)state;
	expect_drop(LAB_SILENT, "peer_drop_ping_timeout_total", false, 200 * LAB_S);
}

static void a_stall_in_the_middle_of_a_block_ends_after_10_seconds_and_alone_after_30(void **state)
{
	struct lab *l = lab_new(1, 43);
	uint32_t tip = lab_mine(l, 0, 60);

	(void)state;
	expect_drop(LAB_HALF_BLOCK, "peer_drop_slow_block_total", true, 100 * LAB_S);
	lab_set_tip(&l->node[0], tip);
	l->node[0].fault = LAB_HALF_BLOCK;
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 35 * LAB_S));
	assert_int_equal(lab_counter(l, "peer_drop_stall_total"), 1);
	assert_int_equal(lab_counter(l, "peer_bans_total"), 0);
	lab_free(l);
}

static void a_peer_that_passes_over_a_block_is_found_out_by_a_ping(void **state)
{
	(void)state;
	expect_drop(LAB_NO_BLOCKS, "peer_drop_block_unavailable_total", true, 100 * LAB_S);
}

static void a_reset_in_the_middle_of_a_block_costs_only_the_connection(void **state)
{
	struct lab *l = lab_new(1, 60);
	uint32_t tip = lab_mine(l, 0, 60);
	struct sync_peer_view v;

	(void)state;
	lab_set_tip(&l->node[0], tip);
	l->node[0].fault = LAB_RESET;
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	lab_check_list(l, tip);
	assert_int_equal(lab_counter(l, "peer_closed_reset_total"), 1);
	assert_true(lab_counter(l, "blocks_moved_total") > 0);
	assert_int_equal(l->broken_cnt, 1);
	sync_peer_view(l->sync, 0, &v);
	assert_int_equal(v.connects, 2);
	assert_string_equal(v.last_error, "reset");
	lab_free(l);
}

/* The buffer of the one that broke off is not to be written at once, and there is no other. */
static void a_block_whose_transfer_broke_off_waits_for_a_buffer(void **state)
{
	struct lab *l = lab_new(2, 61);
	uint32_t tip = lab_mine(l, 0, 40);

	(void)state;
	l->buf_cnt = 2;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	l->node[0].fault = LAB_RESET;
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 20 * LAB_S));
	lab_check_list(l, tip);
	assert_int_equal(l->broken_cnt, 1);
	assert_true(l->begun_cnt > 40);
	lab_free(l);
}

static void a_bad_block_is_fetched_again_from_another_peer(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 10; seed++) {
		struct lab *l = lab_new(3, 70 + seed);
		uint32_t tip = lab_mine(l, 0, 120);

		for (uint32_t i = 0; i < 3; i++)
			lab_set_tip(&l->node[i], tip);
		l->node[0].fault = LAB_CORRUPT;
		l->cut_max = 2000;
		lab_resume(l, lab_ancestor(l, tip, 20), 20);
		assert_true(lab_reach(l, tip, 100 * LAB_S));
		lab_check_list(l, tip);
		assert_int_equal(l->bad_verdicts, lab_counter(l, "blocks_bad_total"));
		assert_true(l->bad_verdicts >= 1);
		assert_int_equal(lab_counter(l, "peer_drop_block_merkle_total"), l->bad_verdicts);
		assert_int_equal(lab_counter(l, "blocks_bad_again_total"), 0);
		lab_free(l);
	}
}

/* Node 1 brings a bad copy of a block and is back at once, while node 0 is slow. */
static void a_bad_block_is_not_asked_again_of_who_sent_it_while_others_have_it(void **state)
{
	struct lab *l = lab_new_ban(2, 90, 0);
	uint32_t tip = lab_mine(l, 0, 40);

	(void)state;
	lab_set_tip(&l->node[1], tip);
	l->node[1].fault = LAB_CORRUPT;
	lab_resume(l, 0, 0);
	for (unsigned i = 0; i < 1000 && l->bad_verdicts == 0; i++)
		lab_turn(l, LAB_MS);
	assert_int_equal(l->bad_verdicts, 1);
	/* Node 0 gets to know the chain and is asked, but sends no block: it is waited for. */
	l->node[0].fault = LAB_DEAF;
	lab_set_tip(&l->node[0], tip);
	lab_run(l, 14 * LAB_S, LAB_MS);
	assert_true(l->node[0].getdata_cnt > 0);
	assert_true(l->node[1].up);
	assert_int_equal(l->bad_verdicts, 1);
	lab_free(l);
}

static void a_bad_fill_block_takes_back_the_connects_behind_it(void **state)
{
	struct lab *l = lab_new(1, 91);
	uint32_t tip = lab_mine(l, 0, 40);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	l->node[0].fault = LAB_CORRUPT;
	l->scan_holds = true;
	lab_resume(l, lab_ancestor(l, tip, 20), 20);
	lab_run(l, 500 * LAB_MS, LAB_MS);
	assert_true(l->pending_cnt > 10); /* CHAIN_START, six FILLs, some CONNECTs */
	l->node[0].fault = LAB_GOOD;
	l->scan_holds = false;
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	assert_int_equal(l->bad_verdicts, 1);
	assert_int_equal(l->fill_first, 15);
	assert_int_equal(l->fill_last, 20);
	assert_int_equal(l->connects, 20);
	lab_check_list(l, tip);
	lab_free(l);
}

/* Node 0 is in the middle of a block when node 1 makes that block stale, and perhaps not for long. */
static void the_middle_of_a_block(bool back)
{
	struct lab *l = lab_new(2, 92);
	uint32_t fork = lab_mine(l, 0, 5), stale = lab_mine(l, fork, 1), tip;
	uint8_t rest[16384];
	size_t rest_sz;

	l->buf_cnt = back ? 4 : 2;
	lab_set_tip(&l->node[0], fork);
	lab_set_tip(&l->node[1], fork);
	lab_resume(l, fork, 5);
	assert_true(lab_reach(l, fork, 5 * LAB_S));
	lab_set_tip(&l->node[0], stale);
	l->node[0].fault = LAB_HALF_BLOCK;
	lab_run(l, 50 * LAB_MS, LAB_MS);
	rest_sz = l->node[0].late_sz;
	assert_true(rest_sz > 0);
	memcpy(rest, l->node[0].late, rest_sz);
	assert_int_equal(lab_bufs_used(l), 1);
	tip = lab_mine(l, fork, 2);
	l->scan_holds = true;
	lab_set_tip(&l->node[1], tip);
	lab_run(l, 50 * LAB_MS, LAB_MS);
	l->node[0].dead = false;
	if (back) {
		/* Wanted again, while the copy that was given up is still arriving. */
		tip = lab_mine(l, stale, 3);
		lab_set_tip(&l->node[1], tip);
		lab_run(l, 50 * LAB_MS, LAB_MS);
	}
	sync_data(l->sync, l->node[0].conn_id, rest, rest_sz, l->now_ns);
	assert_true(l->node[0].linked);
	l->scan_holds = false;
	assert_true(lab_reach(l, tip, 2 * LAB_S));
	assert_int_equal(l->bad_verdicts, 0);
	assert_int_equal(lab_counter(l, "blocks_late_total"), 1);
	lab_check_list(l, tip);
	lab_free(l);
}

static void a_block_that_goes_stale_while_it_arrives_spoils_no_buffer(void **state)
{
	(void)state;
	the_middle_of_a_block(false);
	the_middle_of_a_block(true);
}

static void the_only_peer_with_bad_blocks_is_asked_again_with_back_off(void **state)
{
	struct lab *l = lab_new(1, 80);
	uint32_t tip = lab_mine(l, 0, 20);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	l->node[0].fault = LAB_CORRUPT;
	lab_resume(l, 0, 0);
	lab_run(l, 60 * LAB_S, 10 * LAB_MS);
	assert_true(l->bad_verdicts >= 5 && l->bad_verdicts <= 15);
	assert_int_equal(lab_counter(l, "blocks_bad_again_total"), l->bad_verdicts - 1);
	assert_int_equal(l->connects, 0);
	l->node[0].fault = LAB_GOOD;
	assert_true(lab_reach(l, tip, 100 * LAB_S));
	lab_check_list(l, tip);
	lab_free(l);
}

static void back_off_grows_to_30_seconds_and_a_good_connection_resets_it(void **state)
{
	struct lab *l = lab_new(1, 81);
	struct lab_node *n = &l->node[0];
	uint64_t want = 100 * LAB_MS;

	(void)state;
	n->refuse = true;
	lab_start(l);
	lab_run(l, 200 * LAB_S, 2 * LAB_MS);
	assert_true(n->dial_cnt >= 12 && n->dial_cnt < 30);
	for (unsigned i = 1; i < n->dial_cnt; i++) {
		uint64_t gap = n->dial_ns[i] - n->dial_ns[i - 1];

		assert_true(gap >= want * 3 / 4 && gap <= want * 5 / 4 + 10 * LAB_MS);
		want = want * 2 < 30 * LAB_S ? want * 2 : 30 * LAB_S;
	}
	n->refuse = false;
	assert_true(lab_reach(l, 0, 60 * LAB_S));
	lab_run(l, 31 * LAB_S, 10 * LAB_MS);
	n->dial_cnt = 0;
	n->refuse = true;
	lab_reset(n);
	n->dial_ns[63] = l->now_ns;
	lab_run(l, LAB_S, LAB_MS);
	assert_true(n->dial_ns[0] - n->dial_ns[63] <= 130 * LAB_MS);
	lab_free(l);
}

static void a_slow_peer_does_not_hold_up_the_next_block_for_ever(void **state)
{
	struct lab *l = lab_new(2, 82);
	uint32_t tip = lab_mine(l, 0, 1), more;

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	/* Whichever is asked first: one is silent, so that its 30 seconds must not be waited for. */
	l->node[0].fault = LAB_SILENT;
	more = lab_mine(l, tip, 4);
	l->node[1].fault = LAB_GOOD;
	lab_set_tip(&l->node[1], more);
	l->node[0].fault = LAB_GOOD;
	lab_set_tip(&l->node[0], more);
	l->node[0].fault = LAB_SILENT;
	assert_true(lab_reach(l, more, 15 * LAB_S));
	assert_int_equal(lab_counter(l, "peer_drop_stall_total"), 0);
	lab_free(l);
}

static void a_late_block_after_its_request_moved_is_tolerated(void **state)
{
	struct lab *l = lab_new(2, 83);
	uint32_t tip = lab_mine(l, 0, 1), more = lab_mine(l, tip, 1);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	/* Node 0 alone knows the block and is asked for it; its answer stays on the way. */
	lab_set_tip(&l->node[0], more);
	l->node[0].fault = LAB_LATE;
	lab_run(l, 100 * LAB_MS, LAB_MS);
	assert_true(l->node[0].late_sz > 0);
	lab_set_tip(&l->node[1], more);
	assert_true(lab_reach(l, more, 15 * LAB_S));
	assert_int_equal(lab_counter(l, "blocks_hedged_total"), 1);
	assert_int_equal(lab_counter(l, "blocks_late_total"), 0);
	sync_data(l->sync, l->node[0].conn_id, l->node[0].late, l->node[0].late_sz, l->now_ns);
	assert_int_equal(lab_counter(l, "blocks_late_total"), 1);
	assert_true(l->node[0].linked);
	lab_free(l);
}

static void old_or_witnessless_nodes_and_ourselves_are_refused(void **state)
{
	struct lab *l = lab_new(4, 84);
	uint32_t tip = lab_mine(l, 0, 5);

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		lab_set_tip(&l->node[i], tip);
	l->node[0].version = 70014;
	l->node[1].services = P2P_SERVICE_NETWORK;
	l->node[2].nonce = 1; /* echoes ours */
	lab_start(l);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	assert_true(lab_counter(l, "peer_drop_version_old_total") > 0);
	assert_true(lab_counter(l, "peer_drop_no_witness_total") > 0);
	assert_true(lab_counter(l, "peer_drop_self_total") > 0);
	lab_free(l);
}

static void messages_out_of_order_drop_the_peer(void **state)
{
	static const enum p2p_type early[] = {P2P_VERACK, P2P_HEADERS, P2P_INV, P2P_GETDATA, P2P_BLOCK};

	(void)state;
	for (unsigned i = 0; i <= sizeof(early) / sizeof(early[0]); i++) {
		struct lab *l = lab_new(1, 85);
		uint8_t zeros[100] = {0};

		l->node[0].fault = LAB_SILENT;
		lab_start(l);
		lab_run(l, 100 * LAB_MS, LAB_MS);
		assert_true(l->node[0].linked);
		l->node[0].fault = LAB_GOOD;
		if (i < sizeof(early) / sizeof(early[0])) {
			size_t sz = early[i] == P2P_VERACK ? 0 : early[i] == P2P_BLOCK ? 100 : 1;

			lab_send(&l->node[0], early[i], zeros, sz);
		} else {
			/* A second version after the handshake. */
			l->node[0].refuse = false;
			lab_reset(&l->node[0]);
			assert_true(lab_reach(l, 0, 5 * LAB_S));
			lab_send(&l->node[0], P2P_VERSION, zeros, 86);
		}
		lab_run(l, 20 * LAB_MS, LAB_MS);
		assert_int_equal(lab_counter(l, "peer_drop_order_total"), 1);
		lab_free(l);
	}
}

static void unknown_messages_are_skipped_and_a_node_that_asks_for_headers_gets_none(void **state)
{
	struct lab *l = lab_new(1, 86);
	struct p2p_inv_item item = {.type = P2P_INV_WITNESS_TX, .hash = {{1}}};
	uint8_t out[1000] = {0};
	uint64_t skipped;

	(void)state;
	lab_start(l);
	assert_true(lab_reach(l, 0, 5 * LAB_S));
	lab_run(l, 100 * LAB_MS, LAB_MS);
	skipped = lab_counter(l, "messages_skipped_total");
	lab_send(&l->node[0], P2P_ADDR, out, 500);
	lab_send(&l->node[0], P2P_TX, out, 900);
	lab_send(&l->node[0], P2P_GETDATA, out, p2p_inv_encode(out, &item, 1));
	lab_run(l, 100 * LAB_MS, LAB_MS);
	assert_int_equal(lab_counter(l, "messages_skipped_total"), skipped + 2);
	assert_int_equal(l->node[0].served_notfound, 1);
	assert_true(l->node[0].linked);
	lab_free(l);
}

static void a_peer_that_reads_nothing_is_dropped(void **state)
{
	struct lab *l = lab_new(1, 87);

	(void)state;
	lab_start(l);
	assert_true(lab_reach(l, 0, 5 * LAB_S));
	l->node[0].window = UINT32_MAX;
	lab_run(l, 130 * LAB_S, 20 * LAB_MS);
	assert_true(lab_counter(l, "peer_drop_send_stall_total") >= 1);
	lab_free(l);
	/* And sooner when it makes us answer meanwhile. */
	l = lab_new(1, 88);
	l->cut_max = 100000;
	lab_start(l);
	assert_true(lab_reach(l, 0, 5 * LAB_S));
	l->node[0].window = UINT32_MAX;
	for (unsigned i = 0; i < 200; i++) {
		for (unsigned k = 0; k < 1000 && l->node[0].linked; k++)
			lab_send(&l->node[0], P2P_PING, "12345678", 8);
		lab_turn(l, LAB_MS);
	}
	assert_true(lab_counter(l, "peer_drop_send_queue_total") >= 1);
	lab_free(l);
}

static void a_peer_that_repeats_known_headers_for_ever_is_dropped(void **state)
{
	struct lab *l = lab_new(1, 89);
	uint32_t tip = lab_mine(l, 0, 2000);
	static uint8_t raw[2000 * HEADER_SZ], out[P2P_HEADERS_SZ_MAX];
	size_t sz;

	(void)state;
	for (uint32_t b = tip; b != 0; b = l->block[b].parent)
		memcpy(raw + (size_t)(l->block[b].height - 1) * HEADER_SZ, l->block[b].header, HEADER_SZ);
	sz = p2p_headers_encode(out, raw, 2000);
	l->cut_max = 200000;
	lab_set_tip(&l->node[0], tip);
	lab_start(l);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	for (unsigned i = 0; i < 20 && l->node[0].linked; i++) {
		lab_send(&l->node[0], P2P_HEADERS, out, sz);
		lab_run(l, 50 * LAB_MS, LAB_MS);
	}
	/* Its honest answers in between reset nothing: only progress would. */
	assert_true(lab_counter(l, "peer_drop_headers_no_progress_total") >= 1);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(garbage_and_wrong_magic_drop_the_peer),
		cmocka_unit_test(a_bad_checksum_drops_the_peer),
		cmocka_unit_test(an_oversize_length_drops_the_peer_at_the_head),
		cmocka_unit_test(a_block_nobody_asked_for_drops_the_peer),
		cmocka_unit_test(headers_without_work_drop_the_peer),
		cmocka_unit_test(headers_of_another_chain_drop_the_peer),
		cmocka_unit_test(headers_with_a_gap_drop_the_peer),
		cmocka_unit_test(a_silent_peer_is_dropped_by_the_handshake_deadline),
		cmocka_unit_test(a_peer_that_goes_silent_is_dropped_and_its_blocks_move),
		cmocka_unit_test(a_stall_in_the_middle_of_a_block_ends_after_10_seconds_and_alone_after_30),
		cmocka_unit_test(a_peer_that_passes_over_a_block_is_found_out_by_a_ping),
		cmocka_unit_test(a_reset_in_the_middle_of_a_block_costs_only_the_connection),
		cmocka_unit_test(a_block_whose_transfer_broke_off_waits_for_a_buffer),
		cmocka_unit_test(a_bad_block_is_fetched_again_from_another_peer),
		cmocka_unit_test(a_bad_block_is_not_asked_again_of_who_sent_it_while_others_have_it),
		cmocka_unit_test(a_bad_fill_block_takes_back_the_connects_behind_it),
		cmocka_unit_test(a_block_that_goes_stale_while_it_arrives_spoils_no_buffer),
		cmocka_unit_test(the_only_peer_with_bad_blocks_is_asked_again_with_back_off),
		cmocka_unit_test(back_off_grows_to_30_seconds_and_a_good_connection_resets_it),
		cmocka_unit_test(a_slow_peer_does_not_hold_up_the_next_block_for_ever),
		cmocka_unit_test(a_late_block_after_its_request_moved_is_tolerated),
		cmocka_unit_test(old_or_witnessless_nodes_and_ourselves_are_refused),
		cmocka_unit_test(messages_out_of_order_drop_the_peer),
		cmocka_unit_test(unknown_messages_are_skipped_and_a_node_that_asks_for_headers_gets_none),
		cmocka_unit_test(a_peer_that_reads_nothing_is_dropped),
		cmocka_unit_test(a_peer_that_repeats_known_headers_for_ever_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
