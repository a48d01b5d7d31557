#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <rocksdb/c.h>

#include "store/store.h"

static char dir[64], db[96];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/vigil-store-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(db, sizeof(db), "%s/db", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct slice str(const char *s)
{
	return (struct slice){(const uint8_t *)s, strlen(s)};
}

static struct store *open_store(void)
{
	struct store *s = NULL;
	const char *why = "";
	int rc = store_open(&s, db, &why);

	if (rc < 0)
		fail_msg("store_open: %d %s", rc, why);
	store_reserve_set(s, 0);
	return s;
}

static void on_done(void *arg, bool ok)
{
	*(int *)arg = ok ? 1 : -1;
}

/* Polls until *what is set. */
static void wait_for(struct store *s, const int *what)
{
	for (unsigned i = 0; i < 1000 && *what == 0; i++) {
		struct pollfd p = {.fd = store_event_fd(s), .events = POLLIN};

		poll(&p, 1, 10);
		store_poll(s);
	}
	assert_int_not_equal(*what, 0);
}

static int put(struct store *s, const char *key, const char *value, int *done)
{
	struct store_batch *b = store_batch_new(s);
	int rc;

	if (done != NULL)
		*done = 0;
	store_put(b, STORE_USERS, str(key), str(value));
	store_put(b, STORE_EXPIRY, str(key), str("x"));
	rc = store_write(s, b, done == NULL ? NULL : on_done, done);
	store_batch_free(b);
	return rc;
}

static bool has_both(struct store *s, const char *key)
{
	bool a = store_has(s, STORE_USERS, str(key)), b = store_has(s, STORE_EXPIRY, str(key));

	assert_int_equal(a, b);
	return a;
}

static void a_batch_is_visible_at_once_and_durable_when_its_callback_says_so(void **state)
{
	struct store *s = open_store();
	struct slice v;
	int done;

	(void)state;
	assert_int_equal(store_get(s, STORE_USERS, str("a"), &v), -ENOENT);
	assert_int_equal(put(s, "a", "one", &done), 0);
	assert_int_equal(done, 0);
	assert_int_equal(store_get(s, STORE_USERS, str("a"), &v), 0);
	assert_int_equal(v.sz, 3);
	assert_memory_equal(v.p, "one", 3);
	wait_for(s, &done);
	assert_int_equal(done, 1);
	store_close(s);
	s = open_store();
	assert_true(has_both(s, "a"));
	store_close(s);
}

static void one_sync_serves_every_batch_that_waits(void **state)
{
	struct store *s = open_store();
	struct store_stats st;
	int done[500];
	char key[16];

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		snprintf(key, sizeof(key), "k%u", i);
		assert_int_equal(put(s, key, "v", &done[i]), 0);
	}
	for (unsigned i = 0; i < 500; i++) {
		wait_for(s, &done[i]);
		assert_int_equal(done[i], 1);
	}
	store_stats_get(s, &st);
	assert_int_equal(st.batches, 500);
	assert_true(st.syncs < 250);
	store_close(s);
}

static void closing_syncs_what_is_owed(void **state)
{
	struct store *s = open_store();
	int done;

	(void)state;
	assert_int_equal(put(s, "a", "one", &done), 0);
	store_close(s);
	assert_int_equal(done, 1);
}

struct walk {
	char text[256];
	unsigned left;
};

static bool collect(void *arg, struct slice key, struct slice value)
{
	struct walk *w = arg;

	strncat(w->text, (const char *)key.p, key.sz);
	strcat(w->text, "=");
	if (value.sz > 0)
		strncat(w->text, (const char *)value.p, value.sz);
	strcat(w->text, " ");
	return --w->left > 0;
}

static const char *walk(struct store *s, const char *prefix, const char *from, bool reverse, bool values,
			unsigned limit)
{
	static struct walk w;

	memset(&w, 0, sizeof(w));
	w.left = limit;
	assert_int_equal(store_scan(s, STORE_USERS, str(prefix), str(from), reverse, values, collect, &w), 0);
	return w.text;
}

static void scans_keep_to_prefix_start_and_direction(void **state)
{
	static const char *const keys[] = {"a1", "b1", "b2", "b3", "c1", "\xff\xff", "\xff\xff\x31"};
	struct store *s = open_store();

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_int_equal(put(s, keys[i], "v", NULL), 0);
	assert_string_equal(walk(s, "b", "", false, true, 9), "b1=v b2=v b3=v ");
	assert_string_equal(walk(s, "b", "", false, false, 9), "b1= b2= b3= ");
	assert_string_equal(walk(s, "b", "", false, true, 2), "b1=v b2=v ");
	assert_string_equal(walk(s, "b", "b2", false, true, 9), "b2=v b3=v ");
	assert_string_equal(walk(s, "b", "", true, false, 9), "b3= b2= b1= ");
	assert_string_equal(walk(s, "b", "b2", true, false, 9), "b2= b1= ");
	assert_string_equal(walk(s, "d", "", false, true, 9), "");
	assert_string_equal(walk(s, "d", "", true, true, 9), "");
	assert_string_equal(walk(s, "\xff", "", true, false, 9), "\xff\xff\x31= \xff\xff= ");
	assert_string_equal(walk(s, "\xff", "", false, false, 9), "\xff\xff= \xff\xff\x31= ");
	assert_string_equal(walk(s, "\xfe", "", false, false, 9), "");
	assert_string_equal(walk(s, "a", "b", false, false, 9), "");
	assert_string_equal(walk(s, "", "", true, false, 1), "\xff\xff\x31= ");
	assert_string_equal(walk(s, "", "c", false, false, 1), "c1= ");
	store_close(s);
}

static void large_values_come_back_whole(void **state)
{
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	uint8_t *big = malloc(1000000);
	struct slice v;

	(void)state;
	assert_non_null(big);
	for (unsigned i = 0; i < 1000000; i++)
		big[i] = (uint8_t)(i * 7 + i / 251);
	store_put(b, STORE_APPOINTMENTS, str("k"), (struct slice){big, 1000000});
	assert_int_equal(store_write(s, b, NULL, NULL), 0);
	store_batch_free(b);
	store_close(s);
	s = open_store(); /* opening moves the row from the log to a table and a blob file */
	assert_int_equal(store_get(s, STORE_APPOINTMENTS, str("k"), &v), 0);
	assert_int_equal(v.sz, 1000000);
	assert_memory_equal(v.p, big, 1000000);
	store_close(s);
	free(big);
}

static void a_locked_store_is_busy(void **state)
{
	struct store *s = open_store(), *t = NULL;
	const char *why;

	(void)state;
	assert_int_equal(store_open(&t, db, &why), -EBUSY);
	assert_non_null(strstr(why, "in use by another process"));
	store_close(s);
}

static void a_store_of_a_newer_format_is_refused(void **state)
{
	const uint8_t newer[2] = {1, STORE_FORMAT + 1};
	struct store *s = open_store();
	struct store_batch *b = store_batch_new(s);
	const char *why;

	(void)state;
	store_put(b, STORE_META, str("format"), (struct slice){newer, 2});
	assert_int_equal(store_write(s, b, NULL, NULL), 0);
	store_batch_free(b);
	store_close(s);
	assert_int_equal(store_open(&s, db, &why), -EPROTO);
	assert_non_null(strstr(why, "newer version"));
}

static void a_store_with_unknown_column_families_is_refused(void **state)
{
	const char *const *names = (const char *const[]){"default", "future"};
	rocksdb_options_t *o = rocksdb_options_create();
	const rocksdb_options_t *opts[2] = {o, o};
	rocksdb_column_family_handle_t *cf[2];
	char *err = NULL;
	const char *why;
	rocksdb_t *raw;
	struct store *s;

	(void)state;
	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_create_missing_column_families(o, 1);
	raw = rocksdb_open_column_families(o, db, 2, names, opts, cf, &err);
	assert_null(err);
	rocksdb_column_family_handle_destroy(cf[0]);
	rocksdb_column_family_handle_destroy(cf[1]);
	rocksdb_close(raw);
	rocksdb_options_destroy(o);
	assert_int_equal(store_open(&s, db, &why), -EPROTO);
	assert_non_null(strstr(why, "newer version"));
}

static void a_failed_write_leaves_nothing_and_the_next_one_works(void **state)
{
	char key[16];
	struct store *s = open_store();
	int done = 0; /* written as late as in store_close() */

	(void)state;
	for (unsigned n = 1; n <= 3; n++) {
		for (unsigned i = 1; i <= 3; i++) {
			store_fault_arm(s, i == 1 ? n : 0, 0);
			for (unsigned k = 1; k <= n; k++) {
				snprintf(key, sizeof(key), "%u.%u.%u", n, i, k);
				int rc = put(s, key, "v", &done);

				assert_int_equal(rc, i == 1 && k == n ? -ENOSPC : 0);
				assert_int_equal(has_both(s, key), rc == 0);
				assert_int_equal(store_ok(s), rc == 0);
			}
		}
	}
	store_close(s);
	s = open_store();
	assert_false(has_both(s, "2.1.2"));
	assert_true(has_both(s, "2.1.1"));
	assert_true(has_both(s, "2.2.2"));
	store_close(s);
}

static void after_a_failed_sync_nothing_is_promised_until_the_store_was_recovered(void **state)
{
	struct store *s = open_store();
	uint64_t epoch = store_epoch(s);
	int done;

	(void)state;
	assert_int_equal(put(s, "before", "v", &done), 0);
	wait_for(s, &done);
	store_fault_arm(s, 0, 1);
	assert_int_equal(put(s, "lost", "v", &done), 0);
	wait_for(s, &done);
	assert_int_equal(done, -1);
	assert_false(store_ok(s));
	assert_true(put(s, "refused", "v", &done) < 0);
	assert_int_equal(store_epoch(s), epoch);
	assert_true(store_recover(s));
	assert_int_not_equal(store_epoch(s), epoch);
	assert_true(store_ok(s));
	assert_false(has_both(s, "refused"));
	assert_true(has_both(s, "before"));
	assert_int_equal(put(s, "after", "v", &done), 0);
	wait_for(s, &done);
	assert_int_equal(done, 1);
	store_close(s);
}

/* --- faults of the operating system, in a child that has its own limits ------------------------------------- */

static pid_t fork_or_skip(void)
{
#ifdef __SANITIZE_THREAD__
	printf("SKIPPED: ThreadSanitizer cannot follow threads into a forked child\n");
	skip();
#endif
	return fork();
}

/* In a program of its own: RocksDB's threads do not follow into a forked copy of this one, and what would wait for them there
   waits for ever. */
static pid_t start_child(const char *role)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		execl("/proc/self/exe", "unit_store", role, dir, (char *)NULL);
		_exit(126);
	}
	return pid;
}

static int in_child(const char *role)
{
	pid_t pid = start_child(role);
	int st;

	assert_int_equal(waitpid(pid, &st, 0), pid);
	return st;
}

#define CHECK(x)                                                                \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			_exit(1);                                               \
		}                                                               \
	} while (0)

static char piece[2001];

/* Writes until it fails; returns how many worked. */
static unsigned fill(struct store *s)
{
	char key[16];

	memset(piece, 'p', sizeof(piece) - 1);
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(key, sizeof(key), "f%06u", i);
		if (put(s, key, piece, NULL) < 0)
			return i;
	}
	CHECK(!"the limit was reached");
	return 0;
}

static bool recover_soon(struct store *s)
{
	for (unsigned i = 0; i < 200; i++) {
		if (store_recover(s))
			return true;
		poll(NULL, 0, 50);
	}
	return false;
}

static void check_works(struct store *s, unsigned n)
{
	char key[16];
	int done;

	snprintf(key, sizeof(key), "f%06u", n - 1);
	CHECK(store_has(s, STORE_USERS, str(key)) && store_has(s, STORE_EXPIRY, str(key)));
	snprintf(key, sizeof(key), "f%06u", n);
	CHECK(!store_has(s, STORE_USERS, str(key)) && !store_has(s, STORE_EXPIRY, str(key)));
	CHECK(put(s, "works", "again", &done) == 0);
	for (unsigned i = 0; i < 1000 && done == 0; i++) {
		poll(NULL, 0, 5);
		store_poll(s);
	}
	CHECK(done == 1);
}

static void limited_file_size(void)
{
	struct rlimit old, small = {.rlim_cur = 400000};
	struct store *s = NULL;
	const char *why;
	unsigned n;

	signal(SIGXFSZ, SIG_IGN);
	CHECK(store_open(&s, db, &why) == 0);
	store_reserve_set(s, 0);
	CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
	small.rlim_max = old.rlim_max;
	CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
	n = fill(s);
	CHECK(n > 0 && !store_ok(s));
	CHECK(put(s, "no", "v", NULL) < 0);
	CHECK(store_has(s, STORE_USERS, str("f000000")));
	CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
	CHECK(recover_soon(s));
	check_works(s, n);
	store_close(s);
	CHECK(store_open(&s, db, &why) == 0);
	CHECK(store_has(s, STORE_USERS, str("works")));
	store_close(s);
}

static void a_write_that_the_system_cuts_short_is_as_if_never_made(void **state)
{
	int st;

	(void)state;
	st = in_child("limited_file_size");
	if (WIFSIGNALED(st))
		fail_msg("killed by signal %d", WTERMSIG(st));
	assert_int_equal(WEXITSTATUS(st), 0);
}

static bool small_disk(void)
{
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return false;
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return mount("tmpfs", dir, "tmpfs", 0, "size=48m") == 0;
}

static void fill_disk(const char *path, size_t leave)
{
	static char block[1 << 16];
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	off_t sz = 0;

	CHECK(fd >= 0);
	for (ssize_t w; (w = write(fd, block, sizeof(block))) > 0;)
		sz += w;
	CHECK(ftruncate(fd, sz > (off_t)leave ? sz - (off_t)leave : 0) == 0);
	close(fd);
}

static void full_disk(size_t reserve, size_t leave)
{
	char filler[96];
	struct store *s = NULL;
	const char *why;
	unsigned n;

	if (!small_disk())
		_exit(77);
	CHECK(store_open(&s, db, &why) == 0);
	if (reserve == 0)
		store_reserve_set(s, 0);
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	fill_disk(filler, leave);
	n = fill(s);
	CHECK(n > 0 && !store_ok(s));
	CHECK(store_has(s, STORE_USERS, str("f000000")));
	CHECK(put(s, "no", "v", NULL) < 0);
	store_recover(s);
	CHECK(store_has(s, STORE_USERS, str("f000000")));
	CHECK(unlink(filler) == 0);
	CHECK(recover_soon(s));
	check_works(s, n);
	store_close(s);
	CHECK(store_open(&s, db, &why) == 0);
	CHECK(store_has(s, STORE_USERS, str("works")));
	store_close(s);
}

static void full_disk_with_reserve(void)
{
	full_disk(1, 5u << 20);
}

static void full_disk_to_the_last_byte(void)
{
	full_disk(0, 1u << 20);
}

static void on_small_disk(const char *role)
{
	int st = in_child(role);

	if (WIFSIGNALED(st))
		fail_msg("killed by signal %d", WTERMSIG(st));
	if (WEXITSTATUS(st) == 77) {
		printf("SKIPPED: no right to mount a small file system\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(st), 0);
}

static void a_full_disk_refuses_writes_before_rocksdb_meets_it(void **state)
{
	(void)state;
	on_small_disk("full_disk_with_reserve");
}

static void a_disk_full_to_the_last_byte_loses_nothing(void **state)
{
	(void)state;
	on_small_disk("full_disk_to_the_last_byte");
}

/* --- crashes -------------------------------------------------------------------------------------------------- */

static volatile uint32_t *promised; /* shared with the child: rows whose callback said true */

static void map_promised(void)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/promised", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
	promised = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(promised != MAP_FAILED);
	close(fd);
}

static void on_promise(void *arg, bool ok)
{
	if (ok)
		*promised = (uint32_t)(uintptr_t)arg;
}

static void write_for_ever(void)
{
	struct store *s = NULL;
	const char *why;
	char key[16];

	map_promised();
	CHECK(store_open(&s, db, &why) == 0);
	store_reserve_set(s, 0);
	for (uint32_t i = *promised + 1;; i++) {
		struct store_batch *b = store_batch_new(s);

		snprintf(key, sizeof(key), "%u", i);
		store_put(b, STORE_USERS, str(key), str("v"));
		store_put(b, STORE_EXPIRY, str(key), str("v"));
		CHECK(store_write(s, b, on_promise, (void *)(uintptr_t)i) == 0);
		store_batch_free(b);
		store_poll(s);
	}
}

static void a_killed_process_keeps_every_promise_and_no_halves(void **state)
{
	char key[16];

	(void)state;
	map_promised();
	for (unsigned round = 0; round < 6; round++) {
		uint32_t from = *promised;
		struct store *s;
		pid_t pid = fork_or_skip();

		assert_true(pid >= 0);
		if (pid == 0)
			write_for_ever();
		for (unsigned i = 0; i < 2000 && *promised < from + 20 + round * 37; i++)
			poll(NULL, 0, 5);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		assert_true(*promised > from);
		s = open_store();
		for (uint32_t i = 1; i < *promised + 2000; i++) {
			snprintf(key, sizeof(key), "%u", i);
			assert_true(has_both(s, key) || i > *promised);
		}
		store_close(s);
	}
	munmap((void *)(uintptr_t)promised, 4096);
}

/* The log file with the highest number. */
static void log_path(char *out, size_t sz)
{
	char cmd[160];
	FILE *f;

	snprintf(cmd, sizeof(cmd), "ls -S %s/wal/*.log | head -1", db);
	f = popen(cmd, "r");
	assert_non_null(f);
	assert_non_null(fgets(out, (int)sz, f));
	out[strcspn(out, "\n")] = '\0';
	pclose(f);
}

static void write_and_die(void)
{
	struct store *s = NULL;
	const char *why;
	char key[16];

	CHECK(store_open(&s, db, &why) == 0);
	store_reserve_set(s, 0);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "t%u", i);
		CHECK(put(s, key, "some value that is long enough to be hit", NULL) == 0);
	}
	_exit(0);
}

static void a_torn_tail_is_dropped_and_damage_before_it_refuses_the_start(void **state)
{
	struct store *s = NULL;
	const char *why;
	char path[160];
	off_t sz;
	int fd;

	(void)state;
	store_close(open_store());
	assert_int_equal(in_child("write_and_die"), 0);
	log_path(path, sizeof(path));
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	sz = lseek(fd, 0, SEEK_END);
	assert_int_equal(ftruncate(fd, sz - 7), 0);
	s = open_store();
	assert_true(has_both(s, "t98"));
	assert_false(has_both(s, "t99"));
	store_close(s);
	close(fd);

	assert_int_equal(in_child("write_and_die"), 0);
	log_path(path, sizeof(path));
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	sz = lseek(fd, 0, SEEK_END);
	assert_int_equal(pwrite(fd, "\xde\xad\xbe\xef", 4, sz / 2), 4);
	close(fd);
	assert_int_equal(store_open(&s, db, &why), -EBADMSG);
	assert_non_null(strstr(why, "is damaged"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static int be_child(const char *role, const char *where)
{
	static const struct {
		const char *role;
		void (*f)(void);
	} roles[] = {
		{"limited_file_size", limited_file_size},
		{"full_disk_with_reserve", full_disk_with_reserve},
		{"full_disk_to_the_last_byte", full_disk_to_the_last_byte},
		{"write_for_ever", write_for_ever},
		{"write_and_die", write_and_die},
	};

	snprintf(dir, sizeof(dir), "%s", where);
	snprintf(db, sizeof(db), "%s/db", dir);
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (strcmp(role, roles[i].role) == 0) {
			roles[i].f();
			return 0;
		}
	return 126;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(a_batch_is_visible_at_once_and_durable_when_its_callback_says_so),
		T(one_sync_serves_every_batch_that_waits),
		T(closing_syncs_what_is_owed),
		T(scans_keep_to_prefix_start_and_direction),
		T(large_values_come_back_whole),
		T(a_locked_store_is_busy),
		T(a_store_of_a_newer_format_is_refused),
		T(a_store_with_unknown_column_families_is_refused),
		T(a_failed_write_leaves_nothing_and_the_next_one_works),
		T(after_a_failed_sync_nothing_is_promised_until_the_store_was_recovered),
		T(a_write_that_the_system_cuts_short_is_as_if_never_made),
		T(a_full_disk_refuses_writes_before_rocksdb_meets_it),
		T(a_disk_full_to_the_last_byte_loses_nothing),
		T(a_killed_process_keeps_every_promise_and_no_halves),
		T(a_torn_tail_is_dropped_and_damage_before_it_refuses_the_start),
	};

	if (argc == 3)
		return be_child(argv[1], argv[2]);
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
