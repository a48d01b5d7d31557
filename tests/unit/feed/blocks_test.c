#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "log/log.h"
#include "world.h"

static const struct hash256 *genesis(void)
{
	return &network_get(NET_REGTEST)->genesis_hash;
}

/* --- blocks ------------------------------------------------------------------------------------------------- */

static void blocks_and_hits_reach_the_tower_in_order_and_are_acknowledged(void **state)
{
	struct world *w = world_new(NULL);
	const struct link_block_ack *ack;
	struct chain c, other;
	struct link_hit hit;

	(void)state;
	chain_make(&c, genesis(), 1);
	chain_make(&other, &c.hash[0], 2);
	open_session(w);
	dp_connect(w, &c, 0, 1, 0);
	hit = hit_make(&c.hash[1], 2, LOCATOR_DISPLAY);
	hit.raw_sz = 5;
	dp_put(w, LINK_HIT, &hit, sizeof(hit), "\1\2\3\4\5", 5);
	dp_connect(w, &c, 1, 2, 1);
	dp_put(w, LINK_BLOCK_DISCONNECTED, &(struct link_block_disconnected){.height = 2, .hash = c.hash[1]},
	       sizeof(struct link_block_disconnected), NULL, 0);
	dp_connect(w, &other, 0, 2, 0);
	dp_connect(w, &other, 1, 3, 0);
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_BLOCK_ACK) >= 1 && w->tower.called[T_CONNECT] == 4, 5000));
	STEP_UNTIL(w, false, 20);
	assert_string_equal(w->tower.order, "SCHCDCC");
	assert_true(w->tower.hit_has_raw);
	assert_memory_equal(w->tower.hit_raw, "\1\2\3\4\5", 5);
	ack = dp_rec(w, LINK_BLOCK_ACK, dp_cnt(w, LINK_BLOCK_ACK) - 1);
	assert_int_equal(ack->height, 3);
	assert_memory_equal(&ack->hash, &other.hash[1], HASH_SZ);
	world_free(w);
}

static int dp_fd; /* of the test that runs */
static int waiting_at_block;

static void look_what_waits(struct tower *t)
{
	(void)t;
	assert_int_equal(ioctl(dp_fd, FIONREAD, &waiting_at_block), 0);
}

static void penalties_leave_before_the_block_is_applied(void **state)
{
	struct world *w = world_new(NULL);
	struct link_hit hit;
	struct chain c;

	(void)state;
	chain_make(&c, genesis(), 1);
	open_session(w);
	STEP_UNTIL(w, false, 20);
	w->tower.answer = true;
	w->tower.at_block = look_what_waits;
	w->dp.deaf = true;
	dp_fd = w->dp.fd;
	/* All in one read of control's. */
	for (unsigned i = 0; i < 3; i++) {
		hit = hit_make(&c.hash[0], 1, LOCATOR_DISPLAY);
		hit.tx_idx = i;
		dp_put(w, LINK_HIT, &hit, sizeof(hit), NULL, 0);
	}
	dp_connect(w, &c, 0, 1, 3);
	assert_true(STEP_UNTIL(w, w->tower.called[T_CONNECT] == 1, 5000));
	assert_string_equal(w->tower.order, "SHHHC");
	assert_in_range(waiting_at_block, 3 * sizeof(struct link_broadcast), INT32_MAX);
	w->tower.at_block = NULL;
	w->dp.deaf = false;
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_BROADCAST) == 3, 5000));
	world_free(w);
}

static void reading_stops_while_the_tower_is_behind(void **state)
{
	struct world *w = world_new(NULL);
	struct chain c;

	(void)state;
	chain_make(&c, genesis(), 1);
	open_session(w);
	w->tower.ack = false;
	for (unsigned i = 0; i < 20; i++) /* its window is 4 */
		dp_connect(w, &c, i, i + 1, 0);
	assert_true(STEP_UNTIL(w, w->tower.called[T_CONNECT] == 5, 5000));
	STEP_UNTIL(w, false, 50);
	assert_int_equal(w->tower.called[T_CONNECT], 5);
	assert_int_equal(info_of(w).protocol_errors_total, 0);
	feed_block_ack(w->feed, 3, &c.hash[2]);
	assert_int_equal(w->tower.called[T_CONNECT], 5); /* never from within a call of the tower */
	assert_true(STEP_UNTIL(w, w->tower.called[T_CONNECT] == 8, 5000));
	w->tower.ack = true;
	feed_block_ack(w->feed, 8, &c.hash[7]);
	assert_true(STEP_UNTIL(w, w->tower.called[T_CONNECT] == 20, 5000));
	world_free(w);
}

static void an_ack_does_not_overtake_an_add(void **state)
{
	struct world *w = world_new(NULL);
	const struct link_watch_add *add;
	const struct link_block_ack *ack;
	struct locator l;

	(void)state;
	open_session(w);
	for (uint32_t i = 0; i < PENDING_MAX + 10; i++) {
		l = locator_nr(i);
		feed_watch_add(w->feed, &l);
	}
	feed_block_ack(w->feed, 0, genesis());
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_WATCH_ADD) == PENDING_MAX, 10000));
	STEP_UNTIL(w, false, 20);
	assert_int_equal(dp_cnt(w, LINK_BLOCK_ACK), 0);
	for (unsigned i = 0; i < 10; i++) {
		struct link_watch_added r = {0};

		add = dp_rec(w, LINK_WATCH_ADD, i);
		r.cookie = add->cookie;
		dp_put(w, LINK_WATCH_ADDED, &r, sizeof(r), NULL, 0);
	}
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_BLOCK_ACK) == 1, 10000));
	ack = dp_rec(w, LINK_BLOCK_ACK, 0);
	add = dp_rec(w, LINK_WATCH_ADD, PENDING_MAX + 9);
	assert_true((const void *)add < (const void *)ack);
	assert_int_equal(info_of(w).added_pending_cnt, PENDING_MAX);
	world_free(w);
}

static void a_refused_add_is_sent_again_unless_deleted(void **state)
{
	struct world *w = world_new(NULL);
	struct locator keep = locator_nr(1), drop = locator_nr(2);
	const struct link_watch_add *add;

	(void)state;
	open_session(w);
	feed_watch_add(w->feed, &keep);
	feed_watch_add(w->feed, &drop);
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_WATCH_ADD) == 2, 5000));
	for (unsigned i = 0; i < 2; i++) {
		struct link_watch_added r = {.error = -12};

		add = dp_rec(w, LINK_WATCH_ADD, i);
		r.cookie = add->cookie;
		dp_put(w, LINK_WATCH_ADDED, &r, sizeof(r), NULL, 0);
	}
	assert_true(STEP_UNTIL(w, info_of(w).add_errors_total == 2, 5000));
	feed_watch_del(w->feed, &drop);
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_WATCH_ADD) == 3, 5000));
	add = dp_rec(w, LINK_WATCH_ADD, 2);
	assert_memory_equal(&add->locator, &keep, LOCATOR_SZ);
	STEP_UNTIL(w, false, 1200);
	assert_int_equal(dp_cnt(w, LINK_WATCH_ADD), 3);
	world_free(w);
}

static void refuse_add(struct world *w, unsigned nth)
{
	struct link_watch_added r = {.error = -12};
	const struct link_watch_add *add;

	assert_true(STEP_UNTIL(w, (add = dp_rec(w, LINK_WATCH_ADD, nth)) != NULL, 5000));
	r.cookie = add->cookie;
	dp_put(w, LINK_WATCH_ADDED, &r, sizeof(r), NULL, 0);
	assert_true(STEP_UNTIL(w, info_of(w).add_errors_total == nth + 1, 5000));
}

static void an_add_that_is_refused_again_and_again_ends_the_session_unsettled(void **state)
{
	struct world *w = world_new(NULL);
	struct locator l = locator_nr(1);

	(void)state;
	open_session(w);
	w->tower.settled = 0;
	feed_watch_add(w->feed, &l);
	for (unsigned i = 0; i <= FEED_RETRY_TIMES; i++) {
		assert_int_equal(info_of(w).lost_total, 0);
		refuse_add(w, i);
	}
	assert_true(STEP_UNTIL(w, info_of(w).lost_total == 1, 5000));
	assert_int_equal(w->tower.settled, 0);
	assert_int_equal(w->tower.called[T_LOST], 1);
	assert_int_equal(info_of(w).protocol_errors_total, 0);
	world_free(w);
}

static void a_block_acknowledged_while_an_add_is_refused_ends_the_session_unsettled(void **state)
{
	struct locator l = locator_nr(1);
	struct chain c;

	(void)state;
	chain_make(&c, genesis(), 1);
	for (unsigned refused_first = 0; refused_first < 2; refused_first++) {
		struct world *w = world_new(NULL);

		open_session(w);
		dp_connect(w, &c, 0, 1, 0); /* acknowledged before the add: no matter */
		assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_BLOCK_ACK) == 1, 5000));
		w->tower.settled = 0;
		feed_watch_add(w->feed, &l);
		assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_WATCH_ADD) == 1, 5000));
		if (refused_first) {
			refuse_add(w, 0);
			assert_int_equal(info_of(w).lost_total, 0);
			dp_connect(w, &c, 1, 2, 0);
		} else {
			dp_connect(w, &c, 1, 2, 0);
			assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_BLOCK_ACK) == 2, 5000));
			refuse_add(w, 0);
		}
		assert_true(STEP_UNTIL(w, info_of(w).lost_total == 1, 500));
		assert_int_equal(w->tower.settled, 0);
		world_free(w);
	}
}

static void an_add_that_succeeds_after_a_refusal_is_settled_and_refusals_count_anew(void **state)
{
	struct world *w = world_new(NULL);
	struct locator l = locator_nr(1);
	const struct link_watch_add *add;
	struct link_watch_added ok = {0};
	struct chain c;

	(void)state;
	chain_make(&c, genesis(), 1);
	open_session(w);
	w->tower.settled = 0;
	feed_watch_add(w->feed, &l);
	refuse_add(w, 0);
	assert_true(STEP_UNTIL(w, (add = dp_rec(w, LINK_WATCH_ADD, 1)) != NULL, 5000));
	assert_int_equal(w->tower.settled, 0);
	ok.cookie = add->cookie;
	dp_put(w, LINK_WATCH_ADDED, &ok, sizeof(ok), NULL, 0);
	assert_true(STEP_UNTIL(w, w->tower.settled == 1, 5000));
	dp_connect(w, &c, 0, 1, 0);
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_BLOCK_ACK) == 1, 5000));
	assert_int_equal(info_of(w).lost_total, 0);
	world_free(w);
}

/* --- broadcasts, peers, counters ---------------------------------------------------------------------------- */

static void broadcast_results_are_translated(void **state)
{
	static const struct {
		uint32_t status;
		enum node_verdict verdict;
	} rows[] = {{LINK_BCAST_SENT, NODE_SENT_P2P},
		    {LINK_BCAST_NO_PEER, NODE_NO_PEER},
		    {LINK_BCAST_ANNOUNCED, NODE_ACCEPTED},
		    {LINK_BCAST_HELD, NODE_ACCEPTED},
		    {LINK_BCAST_NEWS, NODE_PEER_NEWS}};
	struct world *w = world_new(NULL);
	const struct link_broadcast *b;

	(void)state;
	open_session(w);
	assert_true(feed_broadcast(w->feed, genesis(), (const uint8_t *)"penalty", 7));
	assert_true(STEP_UNTIL(w, (b = dp_rec(w, LINK_BROADCAST, 0)) != NULL, 5000));
	assert_int_equal(b->raw_sz, 7);
	assert_memory_equal(b + 1, "penalty", 7);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct link_broadcast_result r = {.cookie = b->cookie,
						  .txid = b->txid,
						  .status = rows[i].status,
						  .peer_cnt = 3,
						  .at_ns = 99,
						  .peers = {.written = 7, .held = i}};

		dp_put(w, LINK_BROADCAST_RESULT, &r, sizeof(r), NULL, 0);
		assert_true(STEP_UNTIL(w, w->tower.called[T_RESULT] == i + 1, 5000));
		assert_int_equal(w->tower.result.verdict, rows[i].verdict);
		assert_int_equal(w->tower.result.peer_cnt, 3);
		assert_int_equal(w->tower.result.at_ns, 99);
		assert_int_equal(w->tower.peers.written, 7);
		assert_int_equal(w->tower.peers.held, i);
		assert_memory_equal(&w->tower.result_txid, genesis(), HASH_SZ);
	}
	world_free(w);
}

static void count_peer(void *arg, const struct link_peer_state *p)
{
	unsigned *heights = arg;

	heights[p->peer_id] = p->height;
}

static void count_stat(void *arg, const struct link_stat *s)
{
	*(uint64_t *)arg += s->value;
}

static void peers_chain_and_counters_are_kept_for_the_session(void **state)
{
	struct world *w = world_new(NULL);
	struct link_peer_state p = {.peer_id = 1, .height = 5, .addr = "10.0.0.1:8333"};
	struct link_chain_state s = {.best_header_height = 9, .ready_peer_cnt = 0};
	struct link_stat stat[2] = {{.name = "a_total", .value = 3}, {.name = "b_total", .value = 4}};
	unsigned heights[4] = {0};
	uint64_t sum = 0;

	(void)state;
	open_session(w);
	dp_put(w, LINK_PEER_STATE, &p, sizeof(p), NULL, 0);
	p.height = 6;
	dp_put(w, LINK_PEER_STATE, &p, sizeof(p), NULL, 0);
	dp_put(w, LINK_CHAIN_STATE, &s, sizeof(s), NULL, 0);
	assert_true(STEP_UNTIL(w, info_of(w).has_chain, 5000));
	assert_int_equal(info_of(w).chain.best_header_height, 9);
	assert_int_equal(w->tower.called[T_WAY_OPEN], 0);
	s.ready_peer_cnt = 1;
	dp_put(w, LINK_CHAIN_STATE, &s, sizeof(s), NULL, 0);
	assert_true(STEP_UNTIL(w, w->tower.called[T_WAY_OPEN] == 1, 5000));
	dp_put(w, LINK_CHAIN_STATE, &s, sizeof(s), NULL, 0); /* once per opening only */
	s.ready_peer_cnt = 0;
	dp_put(w, LINK_CHAIN_STATE, &s, sizeof(s), NULL, 0);
	assert_true(STEP_UNTIL(w, info_of(w).chain.ready_peer_cnt == 0, 5000));
	s.ready_peer_cnt = 2;
	dp_put(w, LINK_CHAIN_STATE, &s, sizeof(s), NULL, 0);
	assert_true(STEP_UNTIL(w, w->tower.called[T_WAY_OPEN] == 2, 5000));
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_STATS_GET) == 1, 5000));
	dp_put(w, LINK_STATS, &(struct link_stats){.cnt = 2}, sizeof(struct link_stats), stat, sizeof(stat));
	feed_each_peer(w->feed, count_peer, heights);
	assert_int_equal(heights[1], 6);
	assert_true(STEP_UNTIL(w, (sum = 0, feed_each_stat(w->feed, count_stat, &sum), sum > 0), 5000));
	assert_int_equal(sum, 7);
	dp_hang_up(w);
	assert_true(STEP_UNTIL(w, info_of(w).lost_total == 1, 5000));
	sum = heights[1] = 0;
	feed_each_peer(w->feed, count_peer, heights);
	feed_each_stat(w->feed, count_stat, &sum);
	assert_int_equal(heights[1] + sum, 0);
	assert_false(info_of(w).has_chain);
	world_free(w);
}

static void a_peer_that_comes_or_comes_back_opens_the_way_although_another_is_there(void **state)
{
	struct world *w = world_new(NULL);
	struct link_chain_state s = {.ready_peer_cnt = 1};
	struct link_peer_state a = {.peer_id = 1, .flags = LINK_PEER_READY, .connects = 1}, b = {.peer_id = 2};
	unsigned turn = 0;
	static const struct {
		uint32_t flags, connects;
		unsigned opens;
	} rows[] = {
		{0, 1, 0},               /* handshake */
		{LINK_PEER_READY, 1, 1}, /* came */
		{LINK_PEER_READY, 1, 1}, /* only its counters changed */
		{0, 1, 1},
		{LINK_PEER_READY, 1, 2},
		{LINK_PEER_READY, 2, 3}, /* went and came between two reports */
	};

	(void)state;
	open_session(w);
	dp_put(w, LINK_CHAIN_STATE, &s, sizeof(s), NULL, 0);
	dp_put(w, LINK_PEER_STATE, &a, sizeof(a), NULL, 0);
	assert_true(STEP_UNTIL(w, info_of(w).has_chain, 5000));
	STEP_UNTIL(w, false, 50);
	memset(w->tower.called, 0, sizeof(w->tower.called));
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		b.flags = rows[i].flags;
		b.connects = rows[i].connects;
		s.best_header_height = ++turn;
		dp_put(w, LINK_PEER_STATE, &b, sizeof(b), NULL, 0);
		dp_put(w, LINK_CHAIN_STATE, &s, sizeof(s), NULL, 0);
		assert_true(STEP_UNTIL(w, info_of(w).chain.best_header_height == turn, 5000));
		STEP_UNTIL(w, false, 5);
		assert_int_equal(w->tower.called[T_WAY_OPEN], rows[i].opens);
	}
	world_free(w);
}

static void a_scan_of_stale_blocks_is_kept_for_the_operator(void **state)
{
	struct world *w = world_new(NULL);
	const struct feed_stale *s = feed_stale_get(w->feed);
	const struct link_stale_scan *asked;
	struct chain c, stale;

	(void)state;
	chain_make(&c, genesis(), 1);
	chain_make(&stale, genesis(), 2);
	assert_int_equal(s->state, FEED_STALE_NONE);
	assert_int_equal(feed_stale_scan(w->feed, NULL), -ENOTCONN);
	open_session(w);
	assert_int_equal(feed_stale_scan(w->feed, &stale.hash[1]), 0);
	assert_int_equal(feed_stale_scan(w->feed, NULL), -EBUSY);
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_STALE_SCAN) == 1, 5000));
	asked = dp_rec(w, LINK_STALE_SCAN, 0);
	assert_memory_equal(&asked->hash, &stale.hash[1], HASH_SZ);
	dp_stale_hit(w, &stale.hash[0]);
	dp_stale_block(w, &stale.hash[0], LINK_STALE_SCANNED, 1);
	dp_connect(w, &c, 0, 1, 0);
	dp_stale_block(w, &stale.hash[1], LINK_STALE_MISSING, 0);
	dp_put(w, LINK_STALE_END, &(struct link_stale_end_record){.cookie = asked->cookie},
	       sizeof(struct link_stale_end_record), NULL, 0);
	assert_true(STEP_UNTIL(w, s->state == FEED_STALE_DONE, 5000));
	assert_int_equal(s->block_cnt, 2);
	assert_int_equal(s->missing_cnt, 1);
	assert_int_equal(s->hit_cnt, 1);
	assert_memory_equal(&s->hit[0].block_hash, &stale.hash[0], HASH_SZ);
	assert_false(s->block[0].missing);
	assert_true(s->block[1].missing);
	assert_int_equal(w->tower.called[T_HIT], 0);
	assert_int_equal(w->tower.called[T_CONNECT], 1);
	assert_int_equal(info_of(w).protocol_errors_total, 0);
	/* The next one begins anew, and ends with the session. */
	assert_int_equal(feed_stale_scan(w->feed, NULL), 0);
	assert_int_equal(s->block_cnt, 0);
	dp_hang_up(w);
	assert_true(STEP_UNTIL(w, s->state == FEED_STALE_FAILED, 5000));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_and_hits_reach_the_tower_in_order_and_are_acknowledged),
		cmocka_unit_test(penalties_leave_before_the_block_is_applied),
		cmocka_unit_test(reading_stops_while_the_tower_is_behind),
		cmocka_unit_test(an_ack_does_not_overtake_an_add),
		cmocka_unit_test(a_refused_add_is_sent_again_unless_deleted),
		cmocka_unit_test(an_add_that_is_refused_again_and_again_ends_the_session_unsettled),
		cmocka_unit_test(a_block_acknowledged_while_an_add_is_refused_ends_the_session_unsettled),
		cmocka_unit_test(an_add_that_succeeds_after_a_refusal_is_settled_and_refusals_count_anew),
		cmocka_unit_test(a_peer_that_comes_or_comes_back_opens_the_way_although_another_is_there),
		cmocka_unit_test(broadcast_results_are_translated),
		cmocka_unit_test(peers_chain_and_counters_are_kept_for_the_session),
		cmocka_unit_test(a_scan_of_stale_blocks_is_kept_for_the_operator),
	};

	assert_int_equal(log_open("/dev/null", LOG_LVL_INFO), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
