/* Blocks off the best chain, fetched on request. */
#include "lab.h"

#include <errno.h>

#define UNKNOWN SYNC_STALE_HEIGHT_UNKNOWN

static const struct hash256 all_branches;

/* Node 0 and 1 follow a reorg of `depth` from height 30 on; returns the tip of what went stale. */
static uint32_t after_a_reorg(struct lab *l, uint32_t depth)
{
	uint32_t fork = lab_mine(l, 0, 30), stale = lab_mine(l, fork, depth),
		 tip = lab_mine(l, fork, depth + 2);

	for (uint32_t i = 0; i < l->node_cnt; i++)
		lab_set_tip(&l->node[i], stale);
	lab_resume(l, fork, 30);
	assert_true(lab_reach(l, stale, 10 * LAB_S));
	for (uint32_t i = 0; i < l->node_cnt; i++)
		lab_set_tip(&l->node[i], tip);
	assert_true(lab_reach(l, tip, 10 * LAB_S));
	return stale;
}

static void run_to_the_end(struct lab *l, uint64_t seconds)
{
	for (uint64_t end = l->now_ns + seconds * LAB_S;
	     l->now_ns < end && (l->end_cnt == 0 || l->pending_cnt > 0);)
		lab_turn(l, 5 * LAB_MS);
	assert_int_equal(l->end_cnt, 1);
	assert_int_equal(l->end.cookie, 77);
}

static void expect_branch(struct lab *l, uint32_t from, uint32_t tip, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t b = lab_ancestor(l, tip, l->block[tip].height - cnt + 1 + i);

		assert_memory_equal(l->stale[from + i].b, l->block[b].hash.b, HASH_SZ);
		assert_int_equal(l->stale_height[from + i], l->block[b].height);
	}
}

static void a_branch_is_scanned_oldest_first_and_the_chain_is_not_touched(void **state)
{
	struct lab *l = lab_new(2, 1);
	uint32_t stale = after_a_reorg(l, 20), events = l->connects + l->disconnects, tip = l->node[0].tip;

	(void)state;
	assert_int_equal(sync_stale_scan(l->sync, 77, &l->block[stale].hash, l->now_ns), 0);
	assert_int_equal(sync_stale_scan(l->sync, 78, &all_branches, l->now_ns), -EBUSY);
	run_to_the_end(l, 20);
	assert_int_equal(l->stale_cnt, 20);
	expect_branch(l, 0, stale, 20);
	assert_int_equal(l->end.scanned, 20);
	assert_int_equal(l->end.missing, 0);
	assert_int_equal(l->connects + l->disconnects, events);
	assert_int_equal(lab_bufs_used(l), 0);
	/* A part of it, by a block in the middle; and new blocks come meanwhile. */
	l->end_cnt = l->stale_cnt = 0;
	assert_int_equal(sync_stale_scan(l->sync, 77, &l->block[lab_ancestor(l, stale, 35)].hash, l->now_ns),
			 0);
	tip = lab_mine(l, tip, 5);
	lab_set_tip(&l->node[0], tip);
	run_to_the_end(l, 20);
	assert_int_equal(l->stale_cnt, 5);
	assert_true(lab_reach(l, tip, 10 * LAB_S));
	lab_check_list(l, tip);
	lab_free(l);
}

static void every_branch_that_is_known_is_scanned_each_block_once(void **state)
{
	struct lab *l = lab_new(1, 2);
	uint32_t a = after_a_reorg(l, 10), b = lab_mine(l, lab_ancestor(l, a, 36), 3);

	(void)state;
	/* A second branch off the first. */
	lab_set_tip(&l->node[0], b);
	lab_run(l, 200 * LAB_MS, LAB_MS);
	assert_int_equal(sync_stale_scan(l->sync, 77, &all_branches, l->now_ns), 0);
	run_to_the_end(l, 20);
	assert_int_equal(l->stale_cnt, 13);
	for (uint32_t i = 0; i < 13; i++)
		for (uint32_t k = 0; k < i; k++)
			assert_memory_not_equal(l->stale[i].b, l->stale[k].b, HASH_SZ);
	lab_free(l);
}

static void nobody_is_blamed_for_lacking_a_stale_block(void **state)
{
	struct lab *l = lab_new(2, 3);
	uint32_t stale = after_a_reorg(l, 4);

	(void)state;
	l->node[0].active_only = l->node[1].active_only = true;
	assert_int_equal(sync_stale_scan(l->sync, 77, &l->block[stale].hash, l->now_ns), 0);
	run_to_the_end(l, 200);
	assert_int_equal(l->stale_cnt, 0);
	assert_int_equal(l->missing_cnt, 4);
	assert_int_equal(l->end.missing, 4);
	assert_int_equal(l->node[0].hello_cnt, 1);
	assert_int_equal(l->node[1].hello_cnt, 1);
	assert_int_equal(lab_bufs_used(l), 0);
	/* One that has them is enough. */
	l->end_cnt = 0;
	l->node[1].active_only = false;
	assert_int_equal(sync_stale_scan(l->sync, 77, &l->block[stale].hash, l->now_ns), 0);
	run_to_the_end(l, 200);
	assert_int_equal(l->stale_cnt, 4);
	lab_free(l);
}

static void a_bad_copy_is_fetched_again_from_another_peer(void **state)
{
	struct lab *l = lab_new(2, 4);
	uint32_t stale = after_a_reorg(l, 3), events = l->connects + l->disconnects;

	(void)state;
	l->node[0].fault = LAB_CORRUPT;
	assert_int_equal(sync_stale_scan(l->sync, 77, &l->block[stale].hash, l->now_ns), 0);
	run_to_the_end(l, 60);
	assert_int_equal(l->stale_cnt, 3);
	expect_branch(l, 0, stale, 3);
	assert_true(l->bad_verdicts > 0);
	assert_int_equal(l->connects + l->disconnects, events);
	assert_int_equal(lab_counter(l, "peer_drop_block_merkle_total"), l->bad_verdicts);
	lab_free(l);
}

static void a_branch_that_is_not_in_the_tree_is_followed_down_from_its_tip(void **state)
{
	struct lab *l = lab_new(1, 5);
	uint32_t fork = lab_mine(l, 0, 30), stale = lab_mine(l, fork, 4), tip = lab_mine(l, fork, 6);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_resume(l, fork, 30);
	assert_true(lab_reach(l, tip, 10 * LAB_S));
	assert_int_equal(sync_stale_scan(l->sync, 77, &l->block[stale].hash, l->now_ns), 0);
	run_to_the_end(l, 20);
	assert_int_equal(l->stale_cnt, 4);
	for (uint32_t i = 0; i < 4; i++) {
		assert_memory_equal(l->stale[i].b, l->block[lab_ancestor(l, stale, 34 - i)].hash.b, HASH_SZ);
		assert_int_equal(l->stale_height[i], UNKNOWN);
	}
	/* Nonsense is missing, a block of the best chain none to fetch. */
	l->end_cnt = 0;
	assert_int_equal(sync_stale_scan(l->sync, 77, &(struct hash256){{1}}, l->now_ns), 0);
	run_to_the_end(l, 100);
	assert_int_equal(l->end.missing, 1);
	l->end_cnt = 0;
	assert_int_equal(sync_stale_scan(l->sync, 77, &l->block[tip].hash, l->now_ns), 0);
	run_to_the_end(l, 1);
	assert_int_equal(l->end.scanned + l->end.missing, 0);
	lab_free(l);
}

static void lost_peers_full_queues_and_ended_sessions_leave_nothing_behind(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 20; seed++) {
		struct lab *l = lab_new(2, 100 + seed);
		uint32_t stale = after_a_reorg(l, 15);

		l->cut_max = 300;
		l->news_refused = seed % 2;
		if (seed % 3 == 0)
			l->buf_cnt = 1;
		l->node[0].active_only = true;
		assert_int_equal(sync_stale_scan(l->sync, 77, &l->block[stale].hash, l->now_ns), 0);
		for (uint32_t i = 0; i < 40; i++) {
			if (i % 8 == seed % 8)
				lab_reset(&l->node[seed / 2 % 2]);
			lab_run(l, (1 + seed) * LAB_MS, LAB_MS);
		}
		if (seed < 10) {
			l->news_refused = false;
			run_to_the_end(l, 300);
			assert_int_equal(l->end.scanned + l->end.missing, 15);
		}
		lab_free(l); /* checks the buffers */
	}
}

static void a_scan_goes_on_when_its_block_returns_to_the_best_chain(void **state)
{
	struct lab *l = lab_new(2, 8);
	uint32_t stale = after_a_reorg(l, 1), tip = lab_mine(l, stale, 3);

	(void)state;
	/* The copy that the scan is waiting for is taken for the chain, whose own is later. */
	l->node[0].delay_ns = 300 * LAB_MS;
	l->node[1].delay_ns = LAB_S;
	assert_int_equal(sync_stale_scan(l->sync, 77, &l->block[stale].hash, l->now_ns), 0);
	lab_run(l, 50 * LAB_MS, LAB_MS);
	assert_int_equal(l->end_cnt, 0);
	lab_set_tip(&l->node[1], tip);
	run_to_the_end(l, 60);
	assert_int_equal(l->end.scanned + l->end.missing, 0);
	assert_true(lab_reach(l, tip, 10 * LAB_S));
	assert_int_equal(lab_bufs_used(l), 0);
	lab_free(l);
}

static void there_is_nothing_to_scan_before_there_is_a_chain(void **state)
{
	struct lab *l = lab_new(1, 7);

	(void)state;
	assert_int_equal(sync_stale_scan(l->sync, 77, &all_branches, l->now_ns), -EAGAIN);
	lab_start(l);
	assert_int_equal(sync_stale_scan(l->sync, 77, &all_branches, l->now_ns), -EAGAIN);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_branch_is_scanned_oldest_first_and_the_chain_is_not_touched),
		cmocka_unit_test(every_branch_that_is_known_is_scanned_each_block_once),
		cmocka_unit_test(nobody_is_blamed_for_lacking_a_stale_block),
		cmocka_unit_test(a_bad_copy_is_fetched_again_from_another_peer),
		cmocka_unit_test(a_branch_that_is_not_in_the_tree_is_followed_down_from_its_tip),
		cmocka_unit_test(lost_peers_full_queues_and_ended_sessions_leave_nothing_behind),
		cmocka_unit_test(a_scan_goes_on_when_its_block_returns_to_the_best_chain),
		cmocka_unit_test(there_is_nothing_to_scan_before_there_is_a_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
