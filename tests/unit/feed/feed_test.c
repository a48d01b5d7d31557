#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/log.h"
#include "world.h"

static const struct hash256 *genesis(void)
{
	return &network_get(NET_REGTEST)->genesis_hash;
}

static void watch_many(struct world *w, uint32_t cnt)
{
	w->tower.watched = calloc(cnt, sizeof(struct locator));
	w->tower.watched_cnt = cnt;
	for (uint32_t i = 0; i < cnt; i++)
		w->tower.watched[i] = locator_nr(i);
}

/* --- opening ------------------------------------------------------------------------------------------------ */

static void control_says_hello_first(void **state)
{
	struct world *w = world_new(NULL);
	const struct link_c_hello *h;

	(void)state;
	assert_true(STEP_UNTIL(w, (h = dp_rec(w, LINK_C_HELLO, 0)) != NULL, 5000));
	assert_int_equal(h->magic, LINK_MAGIC);
	assert_int_equal(h->version, LINK_VERSION);
	assert_int_equal(h->network, NET_REGTEST);
	assert_int_equal(state_of(w), FEED_HELLO);
	world_free(w);
}

static void the_load_gives_every_locator_once_and_then_starts(void **state)
{
	enum { CNT = 100000 };
	struct world *w = world_new(NULL);
	uint8_t *seen = calloc(1, CNT);
	const struct link_watch_load *r;
	uint32_t total = 0;

	(void)state;
	watch_many(w, CNT);
	open_session(w);
	for (unsigned i = 0; (r = dp_rec(w, LINK_WATCH_LOAD, i)) != NULL; i++) {
		const struct locator *l = (const void *)(r + 1);

		assert_int_equal(r->expected, i == 0 ? CNT : 0);
		assert_true((const uint8_t *)r < (const uint8_t *)dp_rec(w, LINK_START, 0));
		for (uint32_t k = 0; k < r->cnt; k++, total++) {
			uint32_t nr;

			memcpy(&nr, l[k].b, sizeof(nr));
			assert_true(nr < CNT);
			assert_int_equal(seen[nr]++, 0);
		}
	}
	assert_int_equal(total, CNT);
	assert_int_equal(info_of(w).loaded_cnt, CNT);
	free(seen);
	world_free(w);
}

static void a_load_goes_only_as_fast_as_the_dataplane_reads(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	watch_many(w, 2000000);
	assert_true(STEP_UNTIL(w, w->dp.fd >= 0, 5000));
	dp_hello(w);
	w->dp.deaf = true;
	STEP_UNTIL(w, false, 100);
	for (uint32_t i = 0; i < 100; i++) { /* calls of the tower do not push it on either */
		feed_watch_add(w->feed, &(struct locator){{7}});
		step(w);
	}
	assert_int_equal(state_of(w), FEED_LOAD);
	/* What fits in the writer and in the socket; all of it would be 489 pages. */
	assert_in_range(w->tower.pages, 1, 60);
	w->dp.deaf = false;
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_START) == 1, 20000));
	world_free(w);
}

static void changes_during_the_load_follow_start_in_their_order(void **state)
{
	struct world *w = world_new(NULL);
	const struct link_head *h;
	const uint8_t *at;
	char order[8] = "";
	struct locator a = locator_nr(1000001), b = locator_nr(1000002);

	(void)state;
	watch_many(w, 400000);
	assert_true(STEP_UNTIL(w, w->dp.fd >= 0, 5000));
	dp_hello(w);
	w->dp.deaf = true;
	assert_true(STEP_UNTIL(w, state_of(w) == FEED_LOAD, 5000));
	STEP_UNTIL(w, false, 50);
	feed_watch_add(w->feed, &a);
	feed_watch_del(w->feed, &a);
	feed_watch_add(w->feed, &b);
	feed_watch_add(w->feed, &a);
	assert_int_equal(info_of(w).backlog_cnt, 4);
	w->dp.deaf = false;
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_WATCH_ADD) == 3, 10000));
	for (at = dp_rec(w, LINK_START, 0); at < w->dp.rec + w->dp.rec_sz; at += h->sz) {
		const struct link_watch_add *add = (const void *)at;
		const struct link_watch_del *del = (const void *)at;

		h = (const void *)at;
		if (h->type == LINK_WATCH_ADD)
			strcat(order, add->locator.b[0] == a.b[0] ? "a" : "b");
		else if (h->type == LINK_WATCH_DEL)
			strcat(order, del->locator.b[0] == a.b[0] ? "x" : "y");
	}
	assert_string_equal(order, "axba");
	world_free(w);
}

static void changes_without_a_session_are_left_to_the_next_load(void **state)
{
	struct world *w = world_new(NULL);
	struct locator a = locator_nr(1);

	(void)state;
	for (unsigned i = 0; i < 100000; i++)
		feed_watch_add(w->feed, &a);
	assert_int_equal(info_of(w).backlog_cnt, 0);
	assert_false(feed_broadcast(w->feed, genesis(), a.b, 16));
	feed_block_ack(w->feed, 7, genesis());
	open_session(w);
	STEP_UNTIL(w, false, 20);
	assert_int_equal(dp_cnt(w, LINK_WATCH_ADD), 0);
	assert_int_equal(dp_cnt(w, LINK_BLOCK_ACK), 0);
	world_free(w);
}

/* --- where to begin ----------------------------------------------------------------------------------------- */

static void check_start(const struct feed_config *cfg, enum link_start_mode mode, const struct hash256 *root,
			uint32_t height)
{
	struct world *w = world_new(cfg);
	const struct link_start *s;

	assert_true(STEP_UNTIL(w, w->dp.fd >= 0, 5000));
	dp_hello(w);
	assert_true(STEP_UNTIL(w, (s = dp_rec(w, LINK_START, 0)) != NULL, 5000));
	assert_int_equal(s->mode, mode);
	assert_int_equal(s->root_height, height);
	assert_memory_equal(&s->root_hash, root, HASH_SZ);
	assert_int_equal(s->header_cnt, 0);
	world_free(w);
}

static void a_new_tower_begins_at_the_tip_or_after_the_anchor(void **state)
{
	struct feed_config cfg = {.network = network_get(NET_REGTEST)};
	struct hash256 zero = {{0}};

	(void)state;
	check_start(&cfg, LINK_START_TIP, &zero, 0);
	cfg.start_at_anchor = true;
	check_start(&cfg, LINK_START_RESUME, &zero, 0);
	cfg.anchor_hash = *genesis();
	cfg.anchor_height = 1234;
	check_start(&cfg, LINK_START_RESUME, genesis(), 1234);
	cfg.start_at_anchor = false;
	check_start(&cfg, LINK_START_TIP, genesis(), 1234);
}

static void a_known_tower_resumes_at_its_last_block(void **state)
{
	struct feed_config cfg = {.network = network_get(NET_REGTEST), .anchor_height = 77};
	struct world *w = world_new(&cfg);
	const struct link_start *s;
	struct chain c;

	(void)state;
	chain_make(&c, genesis(), 1);
	w->tower.resume = (struct tower_resume){
		.resume = true, .root_hash = *genesis(), .root_height = 500, .root_work = {9}, .header_cnt = 3};
	memcpy(w->tower.headers, c.header, 3 * HEADER_SZ);
	assert_true(STEP_UNTIL(w, w->dp.fd >= 0, 5000));
	dp_hello(w);
	assert_true(STEP_UNTIL(w, (s = dp_rec(w, LINK_START, 0)) != NULL, 5000));
	assert_int_equal(s->mode, LINK_START_RESUME);
	assert_int_equal(s->root_height, 500);
	assert_int_equal(s->root_work[0], 9);
	assert_int_equal(s->header_cnt, 3);
	assert_memory_equal(s + 1, c.header, 3 * HEADER_SZ);
	dp_chain_start(w, 503, &c.hash[2]);
	assert_true(STEP_UNTIL(w, state_of(w) == FEED_ON, 5000));
	dp_connect(w, &c, 3, 504, 0);
	assert_true(STEP_UNTIL(w, w->tower.called[T_CONNECT] == 1, 5000));
	world_free(w);
}

static void a_dataplane_that_starts_elsewhere_is_refused(void **state)
{
	struct world *w = world_new(NULL);
	struct chain c;

	(void)state;
	chain_make(&c, genesis(), 1);
	w->tower.resume = (struct tower_resume){.resume = true, .root_hash = c.hash[4], .root_height = 5};
	assert_true(STEP_UNTIL(w, w->dp.fd >= 0, 5000));
	dp_hello(w);
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_START) == 1, 5000));
	dp_chain_start(w, 5, &c.hash[5]);
	assert_true(STEP_UNTIL(w, info_of(w).protocol_errors_total == 1, 5000));
	assert_int_equal(w->tower.called[T_START], 0);
	world_free(w);
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

/* --- bad dataplanes ----------------------------------------------------------------------------------------- */

static void a_lost_session_is_told_and_begun_again(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	watch_many(w, 10);
	for (unsigned i = 1; i <= 5; i++) {
		open_session(w);
		assert_int_equal(w->tower.called[T_START], i);
		dp_hang_up(w);
		assert_true(STEP_UNTIL(w, w->tower.called[T_LOST] == i, 5000));
		assert_int_equal(state_of(w), FEED_DOWN);
	}
	assert_int_equal(info_of(w).sessions_total, 5);
	assert_int_equal(info_of(w).protocol_errors_total, 0);
	world_free(w);
}

static void the_tower_may_begin_a_session_again(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	feed_session_reset(w->feed); /* there is none */
	open_session(w);
	feed_session_reset(w->feed);
	assert_int_equal(w->tower.called[T_LOST], 0); /* never from within a call of the tower */
	assert_true(STEP_UNTIL(w, w->tower.called[T_LOST] == 1, 5000));
	assert_true(STEP_UNTIL(w, w->dp.fd < 0 || w->dp.accepted == 2, 5000));
	open_session(w);
	assert_int_equal(info_of(w).protocol_errors_total, 0);
	world_free(w);
}

static void a_loss_before_start_is_not_the_towers_business(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_C_HELLO) == 1, 5000));
	dp_hang_up(w);
	assert_true(STEP_UNTIL(w, w->dp.accepted == 2, 5000));
	assert_int_equal(w->tower.called[T_LOST], 0);
	world_free(w);
}

static void another_version_or_network_is_refused(void **state)
{
	struct link_d_hello good = {
		.magic = LINK_MAGIC, .version = LINK_VERSION, .network = NET_REGTEST, .window = 4};
	struct world *w = world_new(NULL);

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct link_d_hello h = good;

		h.magic += i == 0;
		h.version += i == 1;
		h.network = i == 2 ? NET_MAIN : h.network;
		h.window = i == 3 ? 0 : i == 4 ? 100000 : 4;
		assert_true(STEP_UNTIL(w, w->dp.fd >= 0, 5000));
		dp_put(w, LINK_D_HELLO, &h, sizeof(h), NULL, 0);
		assert_true(STEP_UNTIL(w, info_of(w).protocol_errors_total == i + 1, 5000));
		assert_true(STEP_UNTIL(w, w->dp.fd < 0 || w->dp.accepted == i + 2, 5000));
		assert_true(strlen(info_of(w).last_error) > 0);
	}
	assert_int_equal(info_of(w).sessions_total, 0);
	world_free(w);
}

static void wrong_hello_waits_ten_seconds(void **state)
{
	struct feed_config cfg = {.path = "/tmp/x", .network = network_get(NET_REGTEST)};
	uv_loop_t loop;
	const char *why;
	struct feed *f;

	(void)state;
	uv_loop_init(&loop);
	f = feed_new(&cfg, &loop, NULL, &why);
	assert_int_equal(f->wrong_ms, 10000);
	assert_int_equal(f->broken_ms, 2000);
	feed_free(f);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void put_stale_block(struct world *w, const struct hash256 *hash, uint32_t status, uint32_t hit_cnt)
{
	struct link_stale_block b = {
		.hash = *hash, .status = status, .height = 1, .tx_cnt = 3, .hit_cnt = hit_cnt};

	dp_put(w, LINK_STALE_BLOCK, &b, sizeof(b), NULL, 0);
}

static void put_stale_hit(struct world *w, const struct hash256 *hash)
{
	struct link_hit hit = hit_make(hash, 1, LOCATOR_DISPLAY);

	hit.flags = LINK_HIT_STALE;
	dp_put(w, LINK_HIT, &hit, sizeof(hit), NULL, 0);
}

/* The tower hears nothing of it, and the chain goes on in between. */
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
	put_stale_hit(w, &stale.hash[0]);
	put_stale_block(w, &stale.hash[0], LINK_STALE_SCANNED, 1);
	dp_connect(w, &c, 0, 1, 0);
	put_stale_block(w, &stale.hash[1], LINK_STALE_MISSING, 0);
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

/* Each breaks one rule right after the session is on. */
enum broken {
	B_TYPE,
	B_SIZE,
	B_HELLO_AGAIN,
	B_CHAIN_START_AGAIN,
	B_UNKNOWN_COOKIE,
	B_SKIPPED_HEIGHT,
	B_BAD_LINK,
	B_MISSING_HIT,
	B_HIT_LOCATOR,
	B_DISCONNECT_OTHER,
	B_FROM_CONTROL,
	B_PEER_TEXT,
	B_STALE_HIT_UNASKED,
	B_STALE_BLOCK_UNASKED,
	B_STALE_WITHOUT_HITS,
	B_STALE_HITS_MIXED,
	B_STALE_END_OF_ANOTHER,
	B_CNT
};

static void break_it(struct world *w, enum broken b)
{
	struct chain c, other;
	struct link_hit hit;
	struct link_head head = {.sz = 16, .type = 999};
	struct link_watch_added added = {.cookie = 12345};
	struct link_peer_state peer = {.addr = "\x1b[2J"};
	uint8_t raw[64] = {0};

	chain_make(&c, genesis(), 1);
	chain_make(&other, &c.hash[0], 2);
	hit = hit_make(&c.hash[0], 1, LOCATOR_INTERNAL);
	hit.locator.b[0]++;
	switch (b) {
	case B_TYPE:
		memcpy(raw, &head, sizeof(head));
		dp_raw(w, raw, 16);
		return;
	case B_SIZE:
		memset(raw, 0xff, sizeof(raw));
		dp_raw(w, raw, sizeof(raw));
		return;
	case B_HELLO_AGAIN:
		dp_hello(w);
		return;
	case B_CHAIN_START_AGAIN:
		dp_chain_start(w, 0, genesis());
		return;
	case B_UNKNOWN_COOKIE:
		dp_put(w, LINK_WATCH_ADDED, &added, sizeof(added), NULL, 0);
		return;
	case B_SKIPPED_HEIGHT:
		dp_connect(w, &c, 0, 2, 0);
		return;
	case B_BAD_LINK:
		dp_connect(w, &other, 0, 1, 0);
		return;
	case B_MISSING_HIT:
		dp_connect(w, &c, 0, 1, 1);
		return;
	case B_HIT_LOCATOR:
		dp_put(w, LINK_HIT, &hit, sizeof(hit), NULL, 0);
		return;
	case B_DISCONNECT_OTHER:
		dp_put(w, LINK_BLOCK_DISCONNECTED,
		       &(struct link_block_disconnected){.height = 1, .hash = c.hash[3]},
		       sizeof(struct link_block_disconnected), NULL, 0);
		return;
	case B_FROM_CONTROL:
		head = (struct link_head){.sz = 24, .type = LINK_WATCH_DEL};
		memcpy(raw, &head, sizeof(head));
		dp_raw(w, raw, 24);
		return;
	case B_PEER_TEXT:
		dp_put(w, LINK_PEER_STATE, &peer, sizeof(peer), NULL, 0);
		return;
	case B_STALE_HIT_UNASKED:
		put_stale_hit(w, &c.hash[0]);
		return;
	case B_STALE_BLOCK_UNASKED:
		put_stale_block(w, &c.hash[0], LINK_STALE_SCANNED, 0);
		return;
	case B_STALE_WITHOUT_HITS:
		assert_int_equal(feed_stale_scan(w->feed, NULL), 0);
		put_stale_block(w, &c.hash[0], LINK_STALE_SCANNED, 1);
		return;
	case B_STALE_HITS_MIXED:
		assert_int_equal(feed_stale_scan(w->feed, NULL), 0);
		put_stale_hit(w, &c.hash[0]);
		put_stale_hit(w, &c.hash[1]);
		return;
	case B_STALE_END_OF_ANOTHER:
		assert_int_equal(feed_stale_scan(w->feed, NULL), 0);
		dp_put(w, LINK_STALE_END, &(struct link_stale_end_record){.cookie = 999},
		       sizeof(struct link_stale_end_record), NULL, 0);
		return;
	case B_CNT:
		return;
	}
}

static void a_broken_rule_costs_one_reconnect(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	for (unsigned b = 0; b < B_CNT; b++) {
		open_session(w);
		break_it(w, (enum broken)b);
		if (!STEP_UNTIL(w, info_of(w).protocol_errors_total == b + 1, 5000))
			fail_msg("rule %u was not noticed", b);
		assert_int_equal(w->tower.called[T_LOST], b + 1);
		assert_int_equal(
			w->tower.called[T_HIT] + w->tower.called[T_CONNECT] + w->tower.called[T_DISCONNECT], 0);
		dp_hang_up(w);
	}
	open_session(w); /* and all is well again */
	world_free(w);
}

static void half_a_record_and_noise_do_no_harm(void **state)
{
	struct world *w = world_new(NULL);
	uint8_t noise[4096];

	(void)state;
	srand(7);
	for (unsigned i = 0; i < 30; i++) {
		struct link_head head = {.sz = 4096, .type = LINK_HIT};

		open_session(w);
		for (size_t k = 0; k < sizeof(noise); k++)
			noise[k] = (uint8_t)rand();
		if (i % 2 == 0)
			memcpy(noise, &head, sizeof(head));
		dp_raw(w, noise, 1 + (size_t)rand() % sizeof(noise));
		STEP_UNTIL(w, false, 5);
		dp_hang_up(w);
		assert_true(STEP_UNTIL(w, info_of(w).lost_total == i + 1, 5000));
	}
	open_session(w);
	world_free(w);
}

static void no_dataplane_at_all_is_tried_for_ever(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	close(w->dp.listener);
	unlink(w->path);
	w->dp.listener = -1;
	STEP_UNTIL(w, false, 400);
	assert_int_equal(state_of(w), FEED_DOWN);
	assert_true(strlen(info_of(w).last_error) > 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(control_says_hello_first),
		cmocka_unit_test(the_load_gives_every_locator_once_and_then_starts),
		cmocka_unit_test(a_load_goes_only_as_fast_as_the_dataplane_reads),
		cmocka_unit_test(changes_during_the_load_follow_start_in_their_order),
		cmocka_unit_test(changes_without_a_session_are_left_to_the_next_load),
		cmocka_unit_test(a_new_tower_begins_at_the_tip_or_after_the_anchor),
		cmocka_unit_test(a_known_tower_resumes_at_its_last_block),
		cmocka_unit_test(a_dataplane_that_starts_elsewhere_is_refused),
		cmocka_unit_test(blocks_and_hits_reach_the_tower_in_order_and_are_acknowledged),
		cmocka_unit_test(reading_stops_while_the_tower_is_behind),
		cmocka_unit_test(an_ack_does_not_overtake_an_add),
		cmocka_unit_test(a_refused_add_is_sent_again_unless_deleted),
		cmocka_unit_test(an_add_that_is_refused_again_and_again_ends_the_session_unsettled),
		cmocka_unit_test(a_block_acknowledged_while_an_add_is_refused_ends_the_session_unsettled),
		cmocka_unit_test(an_add_that_succeeds_after_a_refusal_is_settled_and_refusals_count_anew),
		cmocka_unit_test(a_peer_that_comes_or_comes_back_opens_the_way_although_another_is_there),
		cmocka_unit_test(broadcast_results_are_translated),
		cmocka_unit_test(peers_chain_and_counters_are_kept_for_the_session),
		cmocka_unit_test(a_lost_session_is_told_and_begun_again),
		cmocka_unit_test(the_tower_may_begin_a_session_again),
		cmocka_unit_test(a_loss_before_start_is_not_the_towers_business),
		cmocka_unit_test(another_version_or_network_is_refused),
		cmocka_unit_test(wrong_hello_waits_ten_seconds),
		cmocka_unit_test(a_scan_of_stale_blocks_is_kept_for_the_operator),
		cmocka_unit_test(a_broken_rule_costs_one_reconnect),
		cmocka_unit_test(half_a_record_and_noise_do_no_harm),
		cmocka_unit_test(no_dataplane_at_all_is_tried_for_ever),
	};

	assert_int_equal(log_open("/dev/null", LOG_LVL_INFO), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
