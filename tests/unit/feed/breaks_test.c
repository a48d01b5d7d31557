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
		dp_stale_hit(w, &c.hash[0]);
		return;
	case B_STALE_BLOCK_UNASKED:
		dp_stale_block(w, &c.hash[0], LINK_STALE_SCANNED, 0);
		return;
	case B_STALE_WITHOUT_HITS:
		assert_int_equal(feed_stale_scan(w->feed, NULL), 0);
		dp_stale_block(w, &c.hash[0], LINK_STALE_SCANNED, 1);
		return;
	case B_STALE_HITS_MIXED:
		assert_int_equal(feed_stale_scan(w->feed, NULL), 0);
		dp_stale_hit(w, &c.hash[0]);
		dp_stale_hit(w, &c.hash[1]);
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
		cmocka_unit_test(a_lost_session_is_told_and_begun_again),
		cmocka_unit_test(the_tower_may_begin_a_session_again),
		cmocka_unit_test(a_loss_before_start_is_not_the_towers_business),
		cmocka_unit_test(another_version_or_network_is_refused),
		cmocka_unit_test(wrong_hello_waits_ten_seconds),
		cmocka_unit_test(a_broken_rule_costs_one_reconnect),
		cmocka_unit_test(half_a_record_and_noise_do_no_harm),
		cmocka_unit_test(no_dataplane_at_all_is_tried_for_ever),
	};

	assert_int_equal(log_open("/dev/null", LOG_LVL_INFO), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
