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
	};

	assert_int_equal(log_open("/dev/null", LOG_LVL_INFO), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
