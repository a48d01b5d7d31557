#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "topo/nap.h"

#define MS UINT64_C(1000000)

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Turns without work until the flag is up; the next one sleeps. */
static void turn_until_asleep(struct nap *n, uint64_t now)
{
	nap_after_turn(n, true, now, -1);
	nap_after_turn(n, false, now + NAP_SPIN_NS, -1);
	assert_true(atomic_load(&n->asleep));
}

static void an_lcore_that_worked_a_moment_ago_does_not_sleep(void **state)
{
	struct nap n;
	uint64_t begun = now_ns();

	(void)state;
	assert_true(nap_init(&n, 1000000 * MS));
	nap_after_turn(&n, true, begun, -1);
	for (unsigned i = 0; i < 1000; i++)
		nap_after_turn(&n, false, begun + NAP_SPIN_NS - 1, -1);
	assert_false(atomic_load(&n.asleep));
	nap_free(&n);
}

static void naps_grow_to_their_bound_and_begin_anew_after_work(void **state)
{
	struct nap n;

	(void)state;
	assert_true(nap_init(&n, MS));
	turn_until_asleep(&n, MS);
	assert_int_equal(n.next_ns, NAP_FIRST_NS);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t begun = now_ns(), want = n.next_ns;

		nap_after_turn(&n, false, 2 * MS, -1);
		assert_true(now_ns() - begun >= want);
	}
	assert_int_equal(n.next_ns, MS);
	nap_after_turn(&n, true, 3 * MS, -1);
	assert_false(atomic_load(&n.asleep));
	assert_int_equal(n.next_ns, NAP_FIRST_NS);
	nap_free(&n);
}

static void naps_grow_on_when_nothing_has_come_for_long(void **state)
{
	struct nap n;

	(void)state;
	assert_true(nap_init(&n, MS));
	turn_until_asleep(&n, MS);
	for (unsigned i = 0; i < 10; i++)
		nap_after_turn(&n, false, MS + NAP_LONG_NS - 1, -1);
	assert_int_equal(n.next_ns, MS);
	for (unsigned i = 0; i < 10; i++)
		nap_after_turn(&n, false, MS + NAP_LONG_NS, -1);
	assert_int_equal(n.next_ns, NAP_LONG * MS);
	nap_after_turn(&n, true, 2 * MS + NAP_LONG_NS, -1);
	assert_int_equal(n.next_ns, NAP_FIRST_NS);
	nap_free(&n);
}

static void a_ring_before_the_sleep_is_not_lost(void **state)
{
	struct nap n;

	(void)state;
	assert_true(nap_init(&n, 1000000 * MS));
	turn_until_asleep(&n, MS);
	n.next_ns = 1000000 * MS;
	nap_wake(&n);
	assert_false(atomic_load(&n.asleep));
	nap_after_turn(&n, false, 2 * MS, -1); /* the flag goes up again, for one more look */
	nap_after_turn(&n, false, 2 * MS, -1); /* would take a thousand seconds */
	nap_free(&n);
}

static void *ring(void *arg)
{
	struct nap *n = arg;

	while (!atomic_load(&n->asleep))
		;
	usleep(20000);
	nap_wake(n);
	return NULL;
}

static void a_ring_ends_a_nap_that_has_begun(void **state)
{
	struct nap n;
	pthread_t t;

	(void)state;
	assert_true(nap_init(&n, 1000000 * MS));
	turn_until_asleep(&n, MS);
	n.next_ns = 1000000 * MS;
	assert_int_equal(pthread_create(&t, NULL, ring, &n), 0);
	nap_after_turn(&n, false, 2 * MS, -1);
	pthread_join(t, NULL);
	nap_free(&n);
}

static void a_readable_descriptor_ends_a_nap(void **state)
{
	struct nap n;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	assert_true(nap_init(&n, 1000000 * MS));
	turn_until_asleep(&n, MS);
	n.next_ns = 1000000 * MS;
	nap_after_turn(&n, false, 2 * MS, fd[0]);
	nap_free(&n);
	close(fd[0]);
	close(fd[1]);
}

static void whoever_must_not_nap_does_not(void **state)
{
	struct nap n;

	(void)state;
	assert_true(nap_init(&n, 0));
	for (unsigned i = 0; i < 10; i++)
		nap_after_turn(&n, false, i * 1000 * MS, -1);
	nap_wake(&n);
	assert_false(atomic_load(&n.asleep));
	nap_free(&n);
}

/* The hand-over that the flag and the bell are for: what is written before nap_wake is seen after the nap. */
struct line {
	struct nap n;
	atomic_uint sent, seen;
};
#define LINE_CNT 2000u

static void *consume(void *arg)
{
	struct line *l = arg;

	while (atomic_load_explicit(&l->seen, memory_order_relaxed) < LINE_CNT) {
		unsigned sent = atomic_load_explicit(&l->sent, memory_order_acquire);
		bool worked = sent != atomic_load_explicit(&l->seen, memory_order_relaxed);

		atomic_store_explicit(&l->seen, sent, memory_order_release);
		/* Always past the spin: each turn without work is on its way to sleep. */
		nap_after_turn(&l->n, worked, worked ? 0 : MS, -1);
		if (worked)
			l->n.next_ns = 1000000 * MS;
	}
	return NULL;
}

static void nothing_handed_over_waits_for_the_end_of_a_nap(void **state)
{
	struct line l = {0};
	pthread_t t;

	(void)state;
	assert_true(nap_init(&l.n, 1000000 * MS));
	l.n.next_ns = 1000000 * MS;
	assert_int_equal(pthread_create(&t, NULL, consume, &l), 0);
	for (unsigned i = 1; i <= LINE_CNT; i++) {
		atomic_store_explicit(&l.sent, i, memory_order_release);
		nap_wake(&l.n);
		while (atomic_load_explicit(&l.seen, memory_order_acquire) != i)
			;
	}
	pthread_join(t, NULL);
	nap_free(&l.n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_lcore_that_worked_a_moment_ago_does_not_sleep),
		cmocka_unit_test(naps_grow_to_their_bound_and_begin_anew_after_work),
		cmocka_unit_test(naps_grow_on_when_nothing_has_come_for_long),
		cmocka_unit_test(a_ring_before_the_sleep_is_not_lost),
		cmocka_unit_test(a_ring_ends_a_nap_that_has_begun),
		cmocka_unit_test(a_readable_descriptor_ends_a_nap),
		cmocka_unit_test(whoever_must_not_nap_does_not),
		cmocka_unit_test(nothing_handed_over_waits_for_the_end_of_a_nap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
