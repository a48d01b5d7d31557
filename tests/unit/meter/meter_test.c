#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "log/log.h"
#include "meter/meter.h"

static int setup(void **state)
{
	(void)state;
	meter_reset();
	return 0;
}

static void an_observation_is_in_the_first_bucket_that_holds_it(void **state)
{
	struct meter_counts c;

	(void)state;
	for (unsigned i = 0; i < METER_BOUND_CNT; i++) {
		assert_true(i == 0 || meter_bound_ns[i] > meter_bound_ns[i - 1]);
		meter_slow_set(0);
		meter_reset();
		meter_note(METER_SYNC, meter_bound_ns[i], NULL);
		meter_note(METER_SYNC, meter_bound_ns[i] + 1, NULL);
		meter_read(METER_SYNC, &c);
		assert_int_equal(c.bucket[i], 1);
		assert_int_equal(c.bucket[i + 1], 1);
		assert_int_equal(c.cnt, 2);
		assert_int_equal(c.sum_ns, 2 * meter_bound_ns[i] + 1);
	}
	meter_read(METER_HIT, &c);
	assert_int_equal(c.cnt, 0);
}

static void only_what_reaches_the_threshold_is_slow(void **state)
{
	struct meter_slow s[4];
	struct meter_counts c;
	uint64_t total;

	(void)state;
	meter_slow_set(1000);
	meter_note(METER_BLOCK, 999, "height %d", 1);
	meter_note(METER_BLOCK, 1000, "height %d", 2);
	assert_int_equal(meter_slow_read(s, 4, &total), 1);
	assert_int_equal(total, 1);
	assert_string_equal(s[0].detail, "height 2");
	assert_int_equal(s[0].ns, 1000);
	assert_int_equal(s[0].meter, METER_BLOCK);
	assert_true(s[0].unix_ms > 0);
	meter_read(METER_BLOCK, &c);
	assert_int_equal(c.slow, 1);
	assert_int_equal(c.cnt, 2);
	meter_slow_set(0);
	meter_note(METER_BLOCK, UINT64_C(1) << 62, "never slow");
	assert_int_equal(meter_slow_read(s, 4, &total), 1);
}

static void the_ring_keeps_the_newest_and_the_slowest_of_each_kind(void **state)
{
	static struct meter_slow s[METER_SLOW_CNT + 10];
	struct meter_slow top;
	uint64_t total;

	(void)state;
	meter_slow_set(1);
	for (unsigned i = 1; i <= METER_SLOW_CNT + 50; i++)
		meter_note(METER_NODE, i == 3 ? 1000000 : i, "call %u", i);
	assert_int_equal(meter_slow_read(s, METER_SLOW_CNT + 10, &total), METER_SLOW_CNT);
	assert_int_equal(total, METER_SLOW_CNT + 50);
	for (unsigned i = 0; i < METER_SLOW_CNT; i++)
		assert_int_equal(s[i].seq, METER_SLOW_CNT + 50 - i);
	assert_true(meter_slowest(METER_NODE, &top));
	assert_string_equal(top.detail, "call 3");
	assert_false(meter_slowest(METER_SENT, &top));
}

static void a_detail_is_cut_and_made_printable(void **state)
{
	char text[400];
	struct meter_slow s;
	uint64_t total;

	(void)state;
	meter_slow_set(1);
	memset(text, 'x', sizeof(text));
	text[0] = '\n';
	text[sizeof(text) - 1] = '\0';
	meter_note(METER_REQUEST, 5, "%s", text);
	assert_int_equal(meter_slow_read(&s, 1, &total), 1);
	assert_int_equal(s.detail[0], '?');
	assert_int_equal(strlen(s.detail), METER_DETAIL_SZ - 1);
}

#define THREADS 4u
#define ROUNDS  20000u

static void *note_many(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++)
		meter_note(METER_SYNC, i, "round %u", i);
	return NULL;
}

static void no_observation_of_any_thread_is_lost(void **state)
{
	static struct meter_slow s[METER_SLOW_CNT];
	struct meter_counts c;
	pthread_t t[THREADS];
	uint64_t total;

	(void)state;
	meter_slow_set(ROUNDS / 2);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, note_many, NULL), 0);
	for (unsigned i = 0; i < 100; i++) {
		unsigned n = meter_slow_read(s, METER_SLOW_CNT, &total);

		for (unsigned k = 1; k < n; k++)
			assert_int_equal(s[k].seq, s[0].seq - k);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	meter_read(METER_SYNC, &c);
	assert_int_equal(c.cnt, THREADS * ROUNDS);
	assert_int_equal(c.slow, THREADS * ROUNDS / 2);
	meter_slow_read(s, METER_SLOW_CNT, &total);
	assert_int_equal(total, THREADS * ROUNDS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_observation_is_in_the_first_bucket_that_holds_it, setup),
		cmocka_unit_test_setup(only_what_reaches_the_threshold_is_slow, setup),
		cmocka_unit_test_setup(the_ring_keeps_the_newest_and_the_slowest_of_each_kind, setup),
		cmocka_unit_test_setup(a_detail_is_cut_and_made_printable, setup),
		cmocka_unit_test_setup(no_observation_of_any_thread_is_lost, setup),
	};

	assert_int_equal(log_open("/dev/null", LOG_LVL_INFO), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
