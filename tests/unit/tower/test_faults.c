/* Writes and syncs that fail, processes that die: what was promised holds, and nothing is done twice. */
#include "sim.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORY_CNT 6u

struct story {
	struct tx d[STORY_CNT], p[STORY_CNT];
};

static void story_make(struct story *y)
{
	for (unsigned i = 0; i < STORY_CNT; i++) {
		y->d[i] = tx_make(10 + i);
		y->p[i] = tx_spend(&y->d[i], i % 2, 50 + i);
	}
}

/* Lets the tower try again until nothing waits. */
static void until_ok(struct sim *s)
{
	struct tower_info info;

	for (unsigned i = 0; i < 500; i++) {
		sim_settle(s);
		tower_info_get(s->t, &info);
		if (info.store_ok && info.tip_height == sim_tip(s) && s->acked_height == info.tip_height &&
		    s->asked_cnt == 0)
			return;
		poll(NULL, 0, 1);
	}
	fail_msg("the tower does not come back: tip %u of %u, acknowledged %u", info.tip_height, sim_tip(s),
		 s->acked_height);
}

static void insist_register(struct sim *s, unsigned user)
{
	struct user_id id = sim_user(user);
	struct tower_user_info u;
	bool expired;

	for (unsigned i = 0; i < 100; i++) {
		enum tower_status st = sim_register(s, user, NULL);

		if (st == TOWER_OK)
			return;
		sim_settle(s);
		/* Not promised, but there: registering again would be paid twice. */
		if (st == TOWER_STORE_FAILED && tower_user(s->t, &id, &u, &expired) == TOWER_OK)
			return;
		poll(NULL, 0, 1);
	}
	fail_msg("cannot register");
}

static void insist_watch(struct sim *s, unsigned user, const struct tx *d, const struct tx *p)
{
	for (unsigned i = 0; i < 100; i++) {
		enum tower_status st = sim_watch(s, user, d, p, LOCATOR_INTERNAL);

		if (st == TOWER_OK || st == TOWER_TRIGGERED)
			return;
		sim_settle(s);
		poll(NULL, 0, 1);
	}
	fail_msg("cannot add");
}

/* Registers, adds, breaches, late appointments, confirmations, completions and a reorg; insists where something
   fails. */
static void play(struct sim *s, const struct story *y)
{
	insist_register(s, 1);
	insist_register(s, 2);
	for (unsigned i = 0; i < 4; i++)
		insist_watch(s, 1 + i % 2, &y->d[i], &y->p[i]);
	insist_watch(s, 2, &y->d[0], &y->p[0]);
	insist_watch(s, 2, &y->d[4], &y->d[4]); /* no penalty in it */
	sim_mine(s, &y->d[0], &y->d[1], &y->d[4], NULL);
	until_ok(s);
	sim_mine(s, &y->p[0], &y->d[2], &y->p[2], NULL);
	until_ok(s);
	insist_watch(s, 1, &y->d[1], &y->p[1]);
	sim_mine(s, &y->d[5], NULL);
	until_ok(s);
	insist_watch(s, 1, &y->d[5], &y->p[5]); /* late */
	sim_disconnect(s, 2);
	until_ok(s);
	sim_mine(s, &y->p[0], &y->d[5], NULL);
	sim_mine(s, &y->p[5], NULL);
	sim_mine_empty(s, 99);
	until_ok(s);
	sim_check(s);
}

static char *play_with(const struct story *y, unsigned nth_write, unsigned nth_sync, uint64_t *failures)
{
	struct sim *s = malloc(sizeof(*s));
	struct store_stats st;
	char *dump;

	assert_non_null(s);
	sim_open(s);
	sim_begin_at(s, SIM_START);
	store_fault_arm(s->st, nth_write, nth_sync);
	play(s, y);
	assert_true(sim_sent(s, &y->p[0].txid) > 0);
	assert_true(sim_sent(s, &y->p[1].txid) > 0);
	assert_true(sim_sent(s, &y->p[5].txid) > 0);
	store_stats_get(s->st, &st);
	*failures = st.failures;
	/* A write that failed changed nothing; after a sync that failed nothing is sure.  (Writes that come before the
	   store is open again fail too: how many is a matter of timing.) */
	assert_int_equal(st.recoveries, nth_sync > 0 && st.failures > 0);
	assert_int_equal(s->reset_cnt, st.recoveries);
	dump = sim_dump(s);
	sim_close(s);
	free(s);
	return dump;
}

static void whichever_write_fails_the_end_is_the_same(void **state)
{
	struct story *y = malloc(sizeof(*y));
	uint64_t failures;
	char *want, *got;
	unsigned n;

	(void)state;
	assert_non_null(y);
	story_make(y);
	want = play_with(y, 0, 0, &failures);
	assert_int_equal(failures, 0);
	for (n = 1; n < 1000; n++) {
		/* The long tail of empty blocks is all alike. */
		if (n > 40 && n % 17 != 0)
			continue;
		got = play_with(y, n, 0, &failures);
		assert_dump_equal(want, got);
		free(got);
		if (failures == 0)
			break;
		assert_int_equal(failures, 1);
	}
	assert_in_range(n, 100, 999);
	free(want);
	free(y);
}

static void whichever_sync_fails_the_end_is_the_same(void **state)
{
	struct story *y = malloc(sizeof(*y));
	uint64_t failures;
	char *want, *got;

	(void)state;
	assert_non_null(y);
	story_make(y);
	want = play_with(y, 0, 0, &failures);
	/* Syncs are grouped, so that their number differs from run to run; each of the 2 registrations and 8
	   appointments waits for one of its own. */
	for (unsigned n = 1; n <= 16; n++) {
		got = play_with(y, 0, n, &failures);
		assert_dump_equal(want, got);
		free(got);
		if (n <= 10)
			assert_true(failures >= 1);
	}
	free(want);
	free(y);
}

/* Reorgs and clients while writes and syncs fail again and again; half of it without waiting for anything. */
static void play_reorgs(struct sim *s, const struct story *y)
{
	insist_register(s, 1);
	insist_register(s, 2);
	for (unsigned i = 0; i < 3; i++)
		insist_watch(s, 1 + i % 2, &y->d[i], &y->p[i]);
	for (unsigned round = 0; round < 6; round++) {
		bool waits = round % 2 == 0;

		sim_mine(s, &y->d[0], &y->d[1], NULL);
		if (round == 1) {
			until_ok(s);                            /* a receipt names the tip */
			insist_watch(s, 2, &y->d[0], &y->p[0]); /* late, and in a block that goes */
		}
		sim_mine(s, &y->p[0], &y->d[2], NULL);
		if (waits)
			until_ok(s);
		if (round == 2)
			insist_watch(s, 1, &y->d[3], &y->d[3]); /* no penalty in it */
		sim_mine(s, &y->d[3], &y->p[1], NULL);
		if (round == 4)
			sim_mine_empty(s, 100); /* everything is resolved, and that is undone, too */
		if (waits)
			until_ok(s);
		sim_disconnect(s, round == 4 ? 103 : 3);
		if (!waits)
			until_ok(s);
	}
	sim_mine(s, &y->d[0], &y->d[2], NULL);
	sim_mine(s, &y->p[0], &y->d[3], NULL);
	sim_mine_empty(s, 99);
	until_ok(s);
	sim_check(s);
}

static char *play_reorgs_with(const struct story *y, unsigned every_write, unsigned every_sync)
{
	struct sim *s = malloc(sizeof(*s));
	struct store_stats st;
	char *dump;

	assert_non_null(s);
	sim_open(s);
	sim_begin_at(s, SIM_START);
	store_fault_every(s->st, every_write, every_sync);
	play_reorgs(s, y);
	assert_true(sim_sent(s, &y->p[0].txid) > 0);
	assert_true(sim_sent(s, &y->p[2].txid) > 0);
	store_stats_get(s->st, &st);
	assert_int_equal(st.failures > 0, every_write + every_sync > 0);
	assert_int_equal(st.recoveries > 0, every_sync > 0);
	store_fault_arm(s->st, 0, 0);
	dump = sim_dump(s);
	sim_close(s);
	free(s);
	return dump;
}

static void whichever_writes_and_syncs_fail_again_and_again_under_reorgs_the_end_is_the_same(void **state)
{
	static const struct {
		unsigned write, sync;
	} every[] = {{2, 0}, {3, 0}, {7, 0}, {0, 2}, {0, 3}, {0, 5}, {3, 4}, {5, 3}};
	struct story *y = malloc(sizeof(*y));
	char *want, *got;

	(void)state;
	assert_non_null(y);
	story_make(y);
	want = play_reorgs_with(y, 0, 0);
	for (size_t i = 0; i < sizeof(every) / sizeof(every[0]); i++) {
		got = play_reorgs_with(y, every[i].write, every[i].sync);
		assert_dump_equal(want, got);
		free(got);
	}
	free(want);
	free(y);
}

static void a_failed_write_gives_no_receipt_and_keeps_nothing(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_found f;
	char *a, *b;

	assert_int_equal(sim_register(s, 1, NULL), TOWER_OK);
	a = sim_dump(s);
	store_fault_arm(s->st, 1, 0);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_NOT_READY);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_NOT_FOUND);
	assert_int_equal(sim_slots(s, 1), 10000);
	assert_int_equal(s->watched_cnt, 0);
	b = sim_dump(s);
	assert_dump_equal(a, b);
	free(a);
	free(b);
	store_fault_arm(s->st, 1, 0);
	assert_int_equal(sim_register(s, 2, NULL), TOWER_NOT_READY);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	store_fault_arm(s->st, 0, 1);
	assert_int_equal(sim_register(s, 2, NULL), TOWER_STORE_FAILED);
	sim_check(s);
}

static void a_breach_is_answered_although_its_block_cannot_be_written(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_info info;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 1);
	until_ok(s);
	/* The next batch is the block's; the tick right after it tries again. */
	store_reserve_set(s->st, UINT64_MAX);
	sim_mine(s, &d, NULL);
	sim_mine_empty(s, 3);
	assert_int_equal(sim_sent(s, &p.txid), 1);
	tower_info_get(s->t, &info);
	assert_false(info.store_ok);
	assert_int_equal(info.tip_height, SIM_START + 1);
	assert_int_equal(info.trackers, 0);
	assert_int_equal(s->acked_height, SIM_START + 1);
	store_reserve_set(s->st, 0);
	until_ok(s);
	tower_info_get(s->t, &info);
	assert_int_equal(info.tip_height, SIM_START + 5);
	assert_int_equal(info.trackers, 1);
	sim_check(s);
}

static void a_failed_sync_begins_the_session_anew_although_the_tip_is_the_same(void **state)
{
	struct sim *s = *state;
	struct tower_info before, after;

	sim_register(s, 1, NULL);
	sim_mine_empty(s, 3);
	until_ok(s);
	tower_info_get(s->t, &before);
	store_fault_arm(s->st, 0, 1);
	assert_int_equal(sim_register(s, 2, NULL), TOWER_STORE_FAILED);
	until_ok(s);
	tower_info_get(s->t, &after);
	assert_true(hash256_eq(&before.tip_hash, &after.tip_hash));
	assert_int_equal(s->reset_cnt, 1);
	sim_check(s);
}

static void count_call(void *arg, enum tower_status st)
{
	assert_int_equal(st, TOWER_STORE_FAILED);
	++*(unsigned *)arg;
}

static void clients_that_wait_are_answered_when_the_tower_goes(void **state)
{
	struct sim *s = *state;
	struct user_id id = sim_user(1);
	struct tower_user_info u;
	unsigned calls = 0;

	sim_begin_at(s, SIM_START);
	assert_int_equal(tower_register(s->t, &id, CLIENT_CURRENT, &u, count_call, &calls), TOWER_PENDING);
	sim_restart(s);
	assert_int_equal(calls, 1);
	assert_int_equal(sim_slots(s, 1), 10000);
}

/* --- a process that dies -------------------------------------------------------------------------------------- */

#define LIFE_CNT 200u

/* Shared with the child through a file, and mapped elsewhere there. */
struct life {
	struct life *base;
	struct sim s;
	struct sim_block blocks[2000];
	struct tx d[LIFE_CNT], p[LIFE_CNT];
	volatile uint32_t promised[LIFE_CNT]; /* a receipt was given */
	volatile uint32_t next;               /* appointment to add next */
	volatile uint32_t acked;
	uint32_t seed;
};

static struct life *life_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct life *l;

	if (fd < 0 || ftruncate(fd, sizeof(*l)) < 0)
		abort();
	l = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (l == MAP_FAILED)
		abort();
	close(fd);
	return l;
}

/* Opens the tower of a process that is gone, here. */
static void reopen(struct life *l)
{
	struct sim *s = &l->s;

	for (uint32_t b = 0; b < s->chain_cnt; b++)
		for (uint32_t i = 0; i < l->blocks[b].tx_cnt; i++)
			l->blocks[b].tx[i] = (const struct tx *)((uintptr_t)l->blocks[b].tx[i] -
								 (uintptr_t)l->base + (uintptr_t)l);
	l->base = l;
	s->chain = l->blocks;
	s->cfg.network = network_get(NET_REGTEST);
	s->watched = s->asked = NULL;
	s->watched_cap = s->asked_cap = 0;
	s->sent_cnt = 0;
	sim_reopen(s);
	sim_session(s);
}

static void live(struct life *l)
{
	struct sim *s = &l->s;

	for (;;) {
		uint32_t i = l->next;
		const struct tx *in[2];
		uint32_t cnt = 0;

		l->seed = l->seed * 1103515245 + 12345;
		if (i < LIFE_CNT) {
			if (sim_watch(s, 1, &l->d[i], &l->p[i], LOCATOR_INTERNAL) == TOWER_OK)
				l->promised[i] = 1;
			l->next = i + 1;
		}
		if (i >= 5 && i < LIFE_CNT && (l->seed >> 16) % 3 == 0)
			in[cnt++] = &l->d[i - 5];
		if (s->chain_cnt < 1900 && ((l->seed >> 20) % 2 == 0 || cnt > 0))
			sim_mine_list(s, in, cnt);
		l->acked = s->acked_height;
	}
}

static void check_promises(struct life *l)
{
	struct sim *s = &l->s;
	struct tower_found f;
	struct tower_info info;

	tower_info_get(s->t, &info);
	assert_true(info.tip_height >= l->acked);
	for (uint32_t i = 0; i < LIFE_CNT; i++) {
		bool mined = false;

		if (!l->promised[i])
			continue;
		if (sim_find(s, 1, &l->d[i], &f) != TOWER_OK)
			fail_msg("appointment %u was promised and is gone", i);
		for (uint32_t b = 0; b < s->chain_cnt; b++)
			for (uint32_t k = 0; k < s->chain[b].tx_cnt; k++)
				mined |= s->chain[b].tx[k] == &l->d[i];
		assert_int_equal(f.is_tracker, mined);
	}
	sim_check(s);
}

static void a_killed_tower_keeps_its_promises_and_misses_no_breach(void **state)
{
	char path[] = "/tmp/vigil-life-XXXXXX";
	int fd = mkstemp(path);
	struct life *l;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	l = life_map(path);
	l->base = l;
	for (unsigned i = 0; i < LIFE_CNT; i++) {
		l->d[i] = tx_make(1000 + i);
		l->p[i] = tx_spend(&l->d[i], 0, 2000 + i);
	}
	sim_open(&l->s);
	sim_register(&l->s, 1, NULL);
	sim_let_go(&l->s);
	free(l->s.chain);
	l->s.chain = l->blocks;
	for (unsigned round = 0; round < 8; round++) {
		uint32_t from = l->next;
		pid_t pid;

		l->seed = round;
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			/* A program of its own: RocksDB's threads do not follow into a copy of this one. */
			execl("/proc/self/exe", "unit_tower_faults", path, (char *)NULL);
			_exit(126);
		}
		for (unsigned i = 0; i < 4000 && l->next < from + 5 + round * 3 && l->next < LIFE_CNT; i++)
			poll(NULL, 0, 2);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		reopen(l);
		sim_settle(&l->s);
		check_promises(l);
		sim_let_go(&l->s);
	}
	assert_true(l->next > 50);
	l->s.chain = NULL;
	sim_reopen(&l->s);
	sim_close(&l->s);
	munmap(l, sizeof(*l));
	unlink(path);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(a_failed_write_gives_no_receipt_and_keeps_nothing),
		T(a_breach_is_answered_although_its_block_cannot_be_written),
		T(a_failed_sync_begins_the_session_anew_although_the_tip_is_the_same),
		T(clients_that_wait_are_answered_when_the_tower_goes),
		cmocka_unit_test(whichever_write_fails_the_end_is_the_same),
		cmocka_unit_test(whichever_sync_fails_the_end_is_the_same),
		cmocka_unit_test(
			whichever_writes_and_syncs_fail_again_and_again_under_reorgs_the_end_is_the_same),
		cmocka_unit_test(a_killed_tower_keeps_its_promises_and_misses_no_breach),
	};

	if (argc == 2) {
		struct life *l = life_map(argv[1]);

		reopen(l);
		live(l);
	}
	return cmocka_run_group_tests_name("tower/faults", tests, NULL, NULL);
}
