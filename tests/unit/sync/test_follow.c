/* Following the best chain with peers that behave: order, sizes, reorgs, sessions. */
#include "lab.h"

#include <stdlib.h>

static void handshake_says_who_we_are(void **state)
{
	struct lab *l = lab_new(1, 1);
	struct lab_node *n = &l->node[0];
	struct sync_peer_view v;

	(void)state;
	lab_set_tip(n, lab_mine(l, 0, 3));
	lab_start(l);
	assert_true(lab_reach(l, n->tip, LAB_S));
	assert_int_equal(n->hello_cnt, 1);
	assert_int_equal(n->verack_cnt, 1);
	assert_int_equal(n->hello.version, 70016);
	assert_int_equal(n->hello.services, 8);
	assert_int_equal(n->hello.time, l->cfg.wall_time(l));
	assert_int_equal(n->hello.recv.port, 18444);
	assert_int_not_equal(n->hello.nonce, 0);
	assert_string_equal(n->hello.agent, "/vigil:" VIGIL_VERSION "/");
	assert_int_equal(n->hello.start_height, 0);
	assert_false(n->hello.relay); /* the push connection has that */
	assert_true(n->sendheaders);
	assert_int_equal(n->pong_cnt, 1);
	sync_peer_view(l->sync, 0, &v);
	assert_true(v.ready);
	assert_string_equal(v.state, "ready");
	assert_string_equal(v.user_agent, "/node:1?/");
	assert_int_equal(v.version, 70016);
	assert_int_equal(v.height, 3);
	assert_int_equal(v.connects, 1);
	assert_int_equal(v.drops, 0);
	assert_true(v.bytes_in > 0 && v.bytes_out > 0);
	assert_true(l->peer_news >= 3);
	lab_free(l);
}

static void a_new_tower_begins_at_the_tip_with_the_recent_blocks_before_it(void **state)
{
	struct lab *l = lab_new(2, 2);
	uint32_t tip = lab_mine(l, 0, 50);
	uint8_t raw[100 * HEADER_SZ];

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_start(l);
	assert_true(lab_reach(l, tip, LAB_S));
	assert_int_equal(l->base_height, 50);
	assert_int_equal(l->fill_first, 45);
	assert_int_equal(l->fill_last, 50);
	assert_int_equal(l->connects, 0);
	assert_int_equal(sync_base_headers(l->sync, raw, 100), 51);
	assert_memory_equal(raw, l->block[0].header, HEADER_SZ);
	assert_memory_equal(raw + 50 * HEADER_SZ, l->block[tip].header, HEADER_SZ);
	assert_int_equal(sync_base_headers(l->sync, raw, 10), 10);
	assert_memory_equal(raw + 9 * HEADER_SZ, l->block[tip].header, HEADER_SZ);
	tip = lab_mine(l, tip, 1);
	lab_set_tip(&l->node[1], tip);
	assert_true(lab_reach(l, tip, LAB_S));
	assert_int_equal(l->connects, 1);
	lab_check_list(l, tip);
	lab_free(l);
}

static void an_empty_chain_begins_at_genesis_without_asking_for_it(void **state)
{
	struct lab *l = lab_new(1, 3);
	uint32_t tip;

	(void)state;
	lab_start(l);
	assert_true(lab_reach(l, 0, LAB_S));
	assert_int_equal(l->base_height, 0);
	assert_false(l->fill_seen);
	tip = lab_mine(l, 0, 2);
	lab_set_tip(&l->node[0], tip);
	assert_true(lab_reach(l, tip, LAB_S));
	lab_check_list(l, tip);
	lab_free(l);
}

static void several_peers_in_any_cuts_deliver_one_order(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 5; seed++) {
		struct lab *l = lab_new(4, seed);
		uint32_t tip = lab_mine(l, 0, 400);

		l->cut_max = seed * seed * 40;
		for (uint32_t i = 0; i < 4; i++)
			lab_set_tip(&l->node[i], tip);
		lab_resume(l, 0, 0);
		assert_true(lab_reach(l, tip, 10 * LAB_S));
		assert_int_equal(l->connects, 400);
		lab_check_list(l, tip);
		for (uint32_t i = 0; i < 4; i++)
			assert_true(l->node[i].block_cnt > 20);
		assert_int_equal(lab_counter(l, "blocks_late_total"), 0);
		lab_free(l);
	}
}

static void thousands_of_headers_need_several_replies(void **state)
{
	struct lab *l = lab_new(2, 4);
	uint32_t tip = lab_mine(l, 0, 5000);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	l->cut_max = 100000;
	lab_start(l);
	assert_true(lab_reach(l, tip, 10 * LAB_S));
	assert_int_equal(l->base_height, 5000);
	assert_int_equal(lab_counter(l, "headers"), 5001);
	lab_free(l);
}

static void the_window_rolls_one_request_per_block(void **state)
{
	struct lab *l = lab_new(1, 5);
	uint32_t tip = lab_mine(l, 0, 200);

	(void)state;
	l->cut_max = 500;
	lab_set_tip(&l->node[0], tip);
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 10 * LAB_S));
	/* The first asks for 16 at once, then one for each block received. */
	assert_true(l->node[0].getdata_cnt > 150);
	assert_int_equal(lab_counter(l, "blocks_requested_total"), 200);
	lab_free(l);
}

static void a_small_pool_only_slows_the_download(void **state)
{
	struct lab *l = lab_new(3, 6);
	uint32_t tip = lab_mine(l, 0, 100);

	(void)state;
	l->buf_cnt = 1;
	for (uint32_t i = 0; i < 3; i++)
		lab_set_tip(&l->node[i], tip);
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 20 * LAB_S));
	lab_check_list(l, tip);
	lab_free(l);
}

static void reorg_of(uint32_t depth, uint32_t extra, uint32_t seed)
{
	struct lab *l = lab_new(2, seed);
	uint32_t fork = lab_mine(l, 0, 150), tip = lab_mine(l, fork, depth), other;

	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, fork, 20);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	assert_int_equal(l->connects, depth);
	/* Equal work does not switch. */
	other = lab_mine(l, fork, depth);
	lab_set_tip(&l->node[0], other);
	lab_run(l, 200 * LAB_MS, LAB_MS);
	assert_int_equal(l->disconnects, 0);
	other = lab_mine(l, other, extra);
	lab_set_tip(&l->node[0], other);
	assert_true(lab_reach(l, other, 5 * LAB_S));
	assert_int_equal(l->disconnects, depth);
	assert_int_equal(l->connects, 2 * depth + extra);
	assert_int_equal(lab_counter(l, "reorgs_total"), 1);
	lab_check_list(l, other);
	/* The other node follows later. */
	lab_set_tip(&l->node[1], other);
	other = lab_mine(l, other, 1);
	lab_set_tip(&l->node[1], other);
	assert_true(lab_reach(l, other, 5 * LAB_S));
	lab_free(l);
}

static void reorgs_of_1_5_and_100_blocks_disconnect_then_connect(void **state)
{
	(void)state;
	reorg_of(1, 1, 10);
	reorg_of(5, 1, 11);
	reorg_of(100, 3, 12);
}

static void a_reorg_while_blocks_are_in_flight_or_in_the_scan(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 30; seed++) {
		struct lab *l = lab_new(2, 100 + seed);
		uint32_t fork = lab_mine(l, 0, 30), tip = lab_mine(l, fork, 40);
		uint32_t other = lab_mine(l, fork, 41 + seed);

		l->cut_max = 700;
		l->scan_holds = seed % 2;
		lab_set_tip(&l->node[0], tip);
		lab_set_tip(&l->node[1], tip);
		lab_resume(l, lab_ancestor(l, fork, 10), 10);
		lab_run(l, (3 + seed) * LAB_MS, LAB_MS);
		lab_set_tip(&l->node[0], other);
		if (seed % 3 != 0)
			lab_set_tip(&l->node[1], other);
		lab_run(l, 20 * LAB_MS, LAB_MS);
		l->scan_holds = false;
		assert_true(lab_reach(l, other, 5 * LAB_S));
		lab_check_list(l, other);
		lab_free(l);
	}
}

static void a_branch_that_nobody_delivers_undoes_nothing(void **state)
{
	struct lab *l = lab_new(2, 13);
	uint32_t fork = lab_mine(l, 0, 20), tip = lab_mine(l, fork, 3), other = lab_mine(l, fork, 5);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, fork, 20);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	l->node[0].fault = LAB_NO_BLOCKS;
	lab_set_tip(&l->node[0], other);
	lab_run(l, 60 * LAB_S, 20 * LAB_MS);
	assert_int_equal(l->disconnects, 0);
	assert_true(lab_counter(l, "peer_drop_block_unavailable_total") > 0);
	lab_set_tip(&l->node[1], other);
	assert_true(lab_reach(l, other, 100 * LAB_S));
	lab_check_list(l, other);
	lab_free(l);
}

static void resume_goes_on_after_the_last_durable_block(void **state)
{
	struct lab *l = lab_new(1, 14);
	uint32_t tip = lab_mine(l, 0, 60);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_resume(l, lab_ancestor(l, tip, 40), 30);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	assert_int_equal(l->base_height, 40);
	assert_int_equal(l->fill_first, 35);
	assert_int_equal(l->fill_last, 40);
	assert_int_equal(l->connects, 20);
	lab_check_list(l, tip);
	lab_free(l);
}

static void resume_near_the_root_fills_what_is_above_it(void **state)
{
	struct lab *l = lab_new(1, 15);
	uint32_t tip = lab_mine(l, 0, 60);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_resume(l, lab_ancestor(l, tip, 40), 2);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	assert_int_equal(l->fill_first, 39);
	assert_int_equal(l->fill_last, 40);
	lab_free(l);
	l = lab_new(1, 15);
	tip = lab_mine(l, 0, 60);
	lab_set_tip(&l->node[0], tip);
	lab_resume(l, lab_ancestor(l, tip, 40), 0);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	assert_false(l->fill_seen);
	assert_int_equal(l->connects, 20);
	lab_free(l);
}

static void resume_from_a_stale_block_disconnects_what_an_earlier_session_connected(void **state)
{
	(void)state;
	for (uint32_t depth = 1; depth <= 101; depth += 50) {
		struct lab *l = lab_new(2, 16 + depth);
		uint32_t fork = lab_mine(l, 0, 30), stale = lab_mine(l, fork, depth);
		uint32_t tip = lab_mine(l, fork, depth + 10);

		lab_set_tip(&l->node[0], tip);
		lab_set_tip(&l->node[1], tip);
		for (uint32_t b = stale; b != fork; b = l->block[b].parent)
			l->list[l->block[b].height] = l->block[b].hash;
		lab_resume(l, stale, depth + 20);
		assert_true(lab_reach(l, tip, 5 * LAB_S));
		assert_int_equal(l->base_height, 30 + depth);
		assert_int_equal(l->fill_first, 25);
		assert_int_equal(l->fill_last, 30);
		assert_int_equal(l->disconnects, depth);
		assert_int_equal(l->connects, depth + 10);
		lab_check_list(l, tip);
		lab_free(l);
	}
}

static void a_reorg_below_the_base_during_the_fill_is_followed(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 20; seed++) {
		struct lab *l = lab_new(1, 300 + seed);
		uint32_t fork = lab_mine(l, 0, 30), tip = lab_mine(l, fork, 4);
		uint32_t other = lab_mine(l, fork, 7);

		l->cut_max = 300;
		lab_set_tip(&l->node[0], tip);
		lab_start(l);
		for (uint32_t i = 0; i < 1000 && !l->started; i++)
			lab_turn(l, LAB_MS);
		assert_true(l->started);
		lab_run(l, seed * LAB_MS, LAB_MS);
		lab_set_tip(&l->node[0], other);
		assert_true(lab_reach(l, other, 5 * LAB_S));
		assert_int_equal(l->disconnects, 4);
		assert_int_equal(l->connects, 7);
		lab_check_list(l, other);
		lab_free(l);
	}
}

static void start_refuses_headers_that_do_not_link_or_lack_work(void **state)
{
	struct lab *l = lab_new(1, 17);
	uint8_t raw[2 * HEADER_SZ];
	struct sync_start st = {.resume = true, .headers = raw, .header_cnt = 2};

	(void)state;
	lab_mine(l, 0, 3);
	memcpy(raw, l->block[1].header, HEADER_SZ);
	memcpy(raw + HEADER_SZ, l->block[3].header, HEADER_SZ);
	assert_true(sync_session_start(l->sync, &st, l->now_ns) < 0);
	assert_false(sync_session_on(l->sync));
	memcpy(raw + HEADER_SZ, l->block[2].header, HEADER_SZ);
	raw[HEADER_SZ + 72] = 0x7f;
	assert_true(sync_session_start(l->sync, &st, l->now_ns) < 0);
	memcpy(raw + HEADER_SZ, l->block[2].header, HEADER_SZ);
	assert_int_equal(sync_session_start(l->sync, &st, l->now_ns), 0);
	lab_free(l);
}

static void sessions_follow_each_other_and_old_events_only_return_their_buffers(void **state)
{
	struct lab *l = lab_new(2, 18);
	uint32_t tip = lab_mine(l, 0, 100);
	struct chain_event kept[LAB_BUF_MAX];
	uint32_t kept_cnt = 0;

	(void)state;
	for (uint32_t i = 0; i < 2; i++)
		lab_set_tip(&l->node[i], tip);
	l->slow_close = true;
	l->scan_holds = true;
	lab_resume(l, 0, 0);
	lab_run(l, 200 * LAB_MS, LAB_MS);
	assert_true(l->pending_cnt > 10);
	for (uint32_t i = 0; i < l->pending_cnt; i++)
		if (l->pending[i].buf != NULL)
			kept[kept_cnt++] = l->pending[i];
	l->pending_cnt = 0;
	sync_session_stop(l->sync);
	assert_int_equal(lab_bufs_used(l), kept_cnt);
	lab_resume(l, lab_ancestor(l, tip, 20), 20);
	/* The newest first, as one that never reached the scan; then the others in order. */
	sync_block_done(l->sync, &kept[kept_cnt - 1], BLOCK_CANCELLED, l->now_ns);
	for (uint32_t i = 0; i < kept_cnt - 1; i++)
		sync_block_done(l->sync, &kept[i], BLOCK_BAD_PARSE, l->now_ns);
	assert_int_equal(lab_bufs_used(l), 0);
	assert_int_equal(lab_counter(l, "blocks_bad_total"), 0);
	l->scan_holds = false;
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	assert_int_equal(l->base_height, 20);
	lab_check_list(l, tip);
	lab_free(l);
}

static void a_lagging_peer_is_not_asked_for_what_it_lacks(void **state)
{
	struct lab *l = lab_new(2, 19);
	uint32_t tip = lab_mine(l, 0, 60);

	(void)state;
	lab_set_tip(&l->node[0], lab_ancestor(l, tip, 10));
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	assert_true(l->node[0].block_cnt <= 10);
	assert_true(l->node[1].block_cnt >= 50);
	assert_int_equal(lab_counter(l, "peer_drop_block_unavailable_total"), 0);
	lab_free(l);
}

static void a_pruned_peer_is_asked_for_the_last_288_blocks_only(void **state)
{
	struct lab *l = lab_new(2, 20);
	uint32_t tip = lab_mine(l, 0, 600);

	(void)state;
	l->node[0].services = P2P_SERVICE_NETWORK_LIMITED | P2P_SERVICE_WITNESS;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, 0, 0);
	assert_true(lab_reach(l, tip, 10 * LAB_S));
	assert_true(l->node[0].block_cnt > 0 && l->node[0].block_cnt <= 288);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_says_who_we_are),
		cmocka_unit_test(a_new_tower_begins_at_the_tip_with_the_recent_blocks_before_it),
		cmocka_unit_test(an_empty_chain_begins_at_genesis_without_asking_for_it),
		cmocka_unit_test(several_peers_in_any_cuts_deliver_one_order),
		cmocka_unit_test(thousands_of_headers_need_several_replies),
		cmocka_unit_test(the_window_rolls_one_request_per_block),
		cmocka_unit_test(a_small_pool_only_slows_the_download),
		cmocka_unit_test(reorgs_of_1_5_and_100_blocks_disconnect_then_connect),
		cmocka_unit_test(a_reorg_while_blocks_are_in_flight_or_in_the_scan),
		cmocka_unit_test(a_branch_that_nobody_delivers_undoes_nothing),
		cmocka_unit_test(resume_goes_on_after_the_last_durable_block),
		cmocka_unit_test(resume_near_the_root_fills_what_is_above_it),
		cmocka_unit_test(resume_from_a_stale_block_disconnects_what_an_earlier_session_connected),
		cmocka_unit_test(a_reorg_below_the_base_during_the_fill_is_followed),
		cmocka_unit_test(start_refuses_headers_that_do_not_link_or_lack_work),
		cmocka_unit_test(sessions_follow_each_other_and_old_events_only_return_their_buffers),
		cmocka_unit_test(a_lagging_peer_is_not_asked_for_what_it_lacks),
		cmocka_unit_test(a_pruned_peer_is_asked_for_the_last_288_blocks_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
