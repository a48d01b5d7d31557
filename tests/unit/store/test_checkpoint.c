/* Checkpoints: whole, made while everything goes on, and of their own; a store that is opened from one has all that was
   promised before it was begun. */
#include "lab.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kill/kill_point.h"

static char backup[96];
static atomic_bool held;

/* A checkpoint that takes as long as the test wants. */
void kill_point(const char *name)
{
	while (strcmp(name, "store:mid-checkpoint") == 0 && atomic_load(&held))
		poll(NULL, 0, 1);
}

static int setup(void **state)
{
	int rc = lab_setup(state);

	snprintf(backup, sizeof(backup), "%s/backup", lab_dir);
	return rc;
}

static struct store_checkpoint wait_checkpoint(struct store *s)
{
	struct store_checkpoint c;

	for (unsigned i = 0; i < 6000; i++) {
		store_checkpoint_get(s, &c);
		if (c.state != STORE_CHECKPOINT_RUNNING)
			return c;
		poll(NULL, 0, 10);
	}
	fail_msg("the checkpoint does not end");
	return c;
}

static void make_checkpoint(struct store *s)
{
	struct store_checkpoint c;

	assert_int_equal(store_checkpoint_begin(s, backup), 0);
	c = wait_checkpoint(s);
	if (c.state != STORE_CHECKPOINT_DONE)
		fail_msg("%s", c.why);
	assert_string_equal(c.dir, backup);
}

static unsigned rows_in(const char *path, unsigned promised)
{
	struct store *s = lab_open(path);
	unsigned n = 0;

	while (lab_get(s, n) > 0)
		n++;
	assert_true(n >= promised);
	for (unsigned i = n; i < n + 100; i++)
		assert_int_equal(lab_get(s, i), 0);
	/* It is a store like any other. */
	lab_put(s, 900000);
	store_close(s);
	return n;
}

static void a_checkpoint_has_what_is_in_tables_and_what_is_in_the_log(void **state)
{
	struct store *s = lab_open(lab_db);
	char path[128];

	(void)state;
	for (unsigned i = 0; i < 50; i++)
		lab_put(s, i);
	store_close(s);
	s = lab_open(lab_db);
	for (unsigned i = 50; i < 80; i++)
		lab_put(s, i);
	make_checkpoint(s);
	lab_put(s, 80);
	snprintf(path, sizeof(path), "%s/store", backup);
	assert_int_equal(rows_in(path, 80), 80);
	/* What was written there is not here, and the other way round. */
	assert_int_equal(lab_get(s, 900000), 0);
	assert_int_equal(lab_get(s, 80), 1);
	store_close(s);
	assert_int_equal(rows_in(lab_db, 81), 81);
}

static void a_checkpoint_under_load_has_every_promise_made_before_it(void **state)
{
	struct store *s = lab_open(lab_db);
	unsigned n = 0, before, copied;
	struct store_checkpoint c;
	char path[128];

	(void)state;
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 40; i++)
			lab_put(s, n++);
		before = n;
		assert_int_equal(store_checkpoint_begin(s, backup), 0);
		do {
			lab_put(s, n++);
			store_checkpoint_get(s, &c);
		} while (c.state == STORE_CHECKPOINT_RUNNING);
		assert_int_equal(c.state, STORE_CHECKPOINT_DONE);
		snprintf(path, sizeof(path), "%s/store", backup);
		copied = rows_in(path, before);
		assert_true(copied <= n);
		lab_remove(backup);
	}
	store_close(s);
	rows_in(lab_db, n);
}

static void a_checkpoint_is_only_for_its_owner_and_leaves_nothing_half_done(void **state)
{
	struct store *s = lab_open(lab_db);
	struct store_checkpoint c;
	struct stat st;
	char path[128];

	(void)state;
	lab_put(s, 0);
	store_checkpoint_get(s, &c);
	assert_int_equal(c.state, STORE_CHECKPOINT_NONE);
	umask(077);
	make_checkpoint(s);
	assert_int_equal(stat(backup, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	snprintf(path, sizeof(path), "%s/store", backup);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0077, 0);
	snprintf(path, sizeof(path), "%s.partial", backup);
	assert_int_equal(lstat(path, &st), -1);

	/* A folder that is there is not touched, one that cannot be made is said. */
	assert_int_equal(store_checkpoint_begin(s, backup), 0);
	c = wait_checkpoint(s);
	assert_int_equal(c.state, STORE_CHECKPOINT_FAILED);
	assert_non_null(strstr(c.why, "exists"));
	snprintf(path, sizeof(path), "%s/nowhere/backup", lab_dir);
	assert_int_equal(store_checkpoint_begin(s, path), 0);
	c = wait_checkpoint(s);
	assert_int_equal(c.state, STORE_CHECKPOINT_FAILED);
	assert_non_null(strstr(c.why, "cannot be made"));
	/* Nor one that would take the room which the store needs to go on. */
	store_reserve_set(s, UINT64_MAX);
	snprintf(path, sizeof(path), "%s/large", lab_dir);
	assert_int_equal(store_checkpoint_begin(s, path), 0);
	c = wait_checkpoint(s);
	assert_int_equal(c.state, STORE_CHECKPOINT_FAILED);
	assert_non_null(strstr(c.why, "No space left"));
	assert_int_equal(lstat(path, &st), -1);
	snprintf(path, sizeof(path), "%s/large.partial", lab_dir);
	assert_int_equal(lstat(path, &st), -1);
	store_reserve_set(s, 0);
	assert_int_equal(store_checkpoint_begin(s, "backup"), -EINVAL);
	lab_put(s, 1);
	store_close(s);
	snprintf(path, sizeof(path), "%s/store", backup);
	assert_int_equal(rows_in(path, 1), 1);
}

static void a_store_that_is_closed_finishes_its_checkpoint_first(void **state)
{
	struct store *s = lab_open(lab_db);
	char path[128];

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		lab_put(s, i);
	assert_int_equal(store_checkpoint_begin(s, backup), 0);
	store_close(s);
	snprintf(path, sizeof(path), "%s/store", backup);
	assert_int_equal(rows_in(path, 20), 20);
}

/* With a write that nobody waits for. */
static void fail_a_sync(struct store *s)
{
	struct store_batch *b = store_batch_new(s);

	store_fault_arm(s, 0, 1);
	store_put(b, STORE_USERS, lab_str("x"), lab_str("y"));
	assert_int_equal(store_write(s, b, NULL, NULL), 0);
	store_batch_free(b);
	for (unsigned i = 0; i < 6000 && store_ok(s); i++)
		poll(NULL, 0, 1);
	assert_false(store_ok(s));
}

static void recover(struct store *s)
{
	for (unsigned i = 0; i < 6000 && !store_recover(s); i++)
		poll(NULL, 0, 10);
	assert_true(store_ok(s));
}

static void a_store_that_failed_begins_no_checkpoint_and_recovers_after_one(void **state)
{
	struct store *s = lab_open(lab_db);

	(void)state;
	lab_put(s, 0);
	assert_int_equal(store_checkpoint_begin(s, backup), 0);
	fail_a_sync(s);
	assert_int_equal(store_checkpoint_begin(s, "/nowhere"), -EIO);
	wait_checkpoint(s);
	recover(s);
	lab_put(s, 1);
	lab_remove(backup);
	make_checkpoint(s);
	store_close(s);
}

static void a_store_that_failed_does_not_make_its_caller_wait_for_a_checkpoint(void **state)
{
	struct store *s = lab_open(lab_db);
	struct store_checkpoint c;

	(void)state;
	lab_put(s, 0);
	atomic_store(&held, true);
	assert_int_equal(store_checkpoint_begin(s, backup), 0);
	fail_a_sync(s);
	for (unsigned i = 0; i < 50; i++) {
		assert_false(store_recover(s));
		assert_int_equal(lab_get(s, 0), 1);
		poll(NULL, 0, 10);
	}
	store_checkpoint_get(s, &c);
	assert_int_equal(c.state, STORE_CHECKPOINT_RUNNING);
	atomic_store(&held, false);
	assert_int_equal(wait_checkpoint(s).state, STORE_CHECKPOINT_DONE);
	recover(s);
	lab_put(s, 1);
	store_close(s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, lab_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_checkpoint_has_what_is_in_tables_and_what_is_in_the_log),
		T(a_checkpoint_under_load_has_every_promise_made_before_it),
		T(a_checkpoint_is_only_for_its_owner_and_leaves_nothing_half_done),
		T(a_store_that_is_closed_finishes_its_checkpoint_first),
		T(a_store_that_failed_begins_no_checkpoint_and_recovers_after_one),
		T(a_store_that_failed_does_not_make_its_caller_wait_for_a_checkpoint),
	};

	return cmocka_run_group_tests_name("store/checkpoint", tests, NULL, NULL);
}
