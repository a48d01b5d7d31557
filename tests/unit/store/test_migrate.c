/* Older stores become newer ones, a batch at a time; a crash at any batch is gone on from; nothing is done twice.

   The formats here are the tests' own: Vigil has had one so far.  7: USERS holds the number of a row as text.  8: the
   number as two bytes with a version byte, and a row of EXPIRY for each.  9: the number in HEADERS is doubled. */
#include "lab.h"

#include <errno.h>
#include <rocksdb/c.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kill/kill_point.h"
#include "store/migrate.h"

#define ROWS 3500u /* of each of the two: four batches */

static unsigned rows_until_death, batches_until_death, batches_seen;

/* The weak symbol of the store's kill points: here it ends the child that crashes. */
void kill_point(const char *name)
{
	if (strcmp(name, "store:mid-migration") != 0)
		return;
	batches_seen++;
	if (batches_until_death > 0 && --batches_until_death == 0)
		kill(getpid(), SIGKILL);
}

static bool users_7_to_8(struct store_batch *b, struct slice key, struct slice value)
{
	char text[16] = "";
	uint8_t out[3] = {1};
	unsigned n;

	if (rows_until_death > 0 && --rows_until_death == 0)
		kill(getpid(), SIGKILL);
	if (value.sz == 0 || value.sz >= sizeof(text))
		return false;
	memcpy(text, value.p, value.sz);
	if (sscanf(text, "%u", &n) != 1)
		return false;
	out[1] = (uint8_t)(n >> 8);
	out[2] = (uint8_t)n;
	store_put(b, STORE_USERS, key, (struct slice){out, sizeof(out)});
	store_put(b, STORE_EXPIRY, key, lab_str("1"));
	return true;
}

/* Not idempotent: given a row twice it would be seen. */
static bool headers_twice(struct store_batch *b, struct slice key, struct slice value)
{
	uint8_t out[2];
	unsigned n;

	if (value.sz != sizeof(out))
		return false;
	n = 2u * (unsigned)(value.p[0] << 8 | value.p[1]);
	out[0] = (uint8_t)(n >> 8);
	out[1] = (uint8_t)n;
	store_put(b, STORE_HEADERS, key, (struct slice){out, sizeof(out)});
	return true;
}

static const struct migration steps[] = {
	{7, STORE_USERS, users_7_to_8},
	{7, STORE_HEADERS, headers_twice},
	{8, STORE_HEADERS, headers_twice},
};
static const struct formats to_9 = {9, steps, 3}, to_8 = {8, steps, 2}, only_9 = {9, NULL, 0},
			    only_7 = {7, NULL, 0};

/* --- the old store, written by RocksDB alone --------------------------------------------------------------------- */

static void must(char *err)
{
	if (err != NULL)
		fail_msg("%s", err);
}

static void write_raw(const char *const *names, unsigned cnt, bool with_format)
{
	rocksdb_options_t *o = rocksdb_options_create();
	rocksdb_writeoptions_t *w = rocksdb_writeoptions_create();
	const rocksdb_options_t *opts[8] = {o, o, o, o, o, o, o, o};
	rocksdb_column_family_handle_t *cf[8];
	char *err = NULL, key[16], text[16], path[128];
	rocksdb_t *raw;

	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_create_missing_column_families(o, 1);
	snprintf(path, sizeof(path), "%s/wal", lab_db);
	rocksdb_options_set_wal_dir(o, path);
	raw = rocksdb_open_column_families(o, lab_db, (int)cnt, names, opts, cf, &err);
	must(err);
	for (unsigned i = 0; i < ROWS; i++) {
		uint8_t n[2] = {(uint8_t)(i >> 8), (uint8_t)i};

		snprintf(key, sizeof(key), "%06u", i);
		snprintf(text, sizeof(text), "%u", i);
		rocksdb_put_cf(raw, w, cf[1], key, strlen(key), text, strlen(text), &err);
		must(err);
		rocksdb_put_cf(raw, w, cf[2], key, strlen(key), (const char *)n, sizeof(n), &err);
		must(err);
	}
	if (with_format)
		rocksdb_put_cf(raw, w, cf[0], "format", 6, "\1\7", 2, &err);
	must(err);
	for (unsigned i = 0; i < cnt; i++)
		rocksdb_column_family_handle_destroy(cf[i]);
	rocksdb_close(raw);
	rocksdb_writeoptions_destroy(w);
	rocksdb_options_destroy(o);
}

/* Format 7 had three column families only. */
static void write_format_7(void)
{
	write_raw((const char *const[]){"default", "users", "headers"}, 3, true);
}

static int open_with(const struct formats *f, struct store **s, const char **why)
{
	int rc = store_open_as(s, lab_db, f, why);

	if (rc == 0)
		store_reserve_set(*s, 0);
	return rc;
}

static void check_format_9(void)
{
	static const char want_format[] = "\1\11";
	struct store *s;
	struct slice v;
	const char *why;
	char key[16];

	assert_int_equal(open_with(&only_9, &s, &why), 0);
	for (unsigned i = 0; i < ROWS; i++) {
		snprintf(key, sizeof(key), "%06u", i);
		assert_int_equal(store_get(s, STORE_USERS, lab_str(key), &v), 0);
		assert_int_equal(v.sz, 3);
		assert_int_equal(v.p[1] << 8 | v.p[2], i);
		assert_true(store_has(s, STORE_EXPIRY, lab_str(key)));
		assert_int_equal(store_get(s, STORE_HEADERS, lab_str(key), &v), 0);
		assert_int_equal(v.p[0] << 8 | v.p[1], 4 * i);
	}
	assert_int_equal(store_get(s, STORE_META, lab_str("format"), &v), 0);
	assert_int_equal(v.sz, 2);
	assert_memory_equal(v.p, want_format, 2);
	store_close(s);
}

static void an_older_store_is_brought_to_the_current_format_in_bounded_batches(void **state)
{
	struct store_stats st;
	struct store *s;
	const char *why;

	(void)state;
	write_format_7();
	batches_seen = 0;
	assert_int_equal(open_with(&to_9, &s, &why), 0);
	store_stats_get(s, &st);
	store_close(s);
	/* Three walks of 3500 rows, by 1000. */
	assert_int_equal(batches_seen, 12);
	assert_true(st.batches >= 12);
	check_format_9();
}

static void a_migration_that_is_up_to_date_writes_nothing(void **state)
{
	struct store_stats st;
	struct store *s;
	const char *why;

	(void)state;
	write_format_7();
	assert_int_equal(open_with(&to_8, &s, &why), 0);
	store_close(s);
	assert_int_equal(open_with(&to_8, &s, &why), 0);
	store_stats_get(s, &st);
	assert_int_equal(st.batches, 0);
	store_close(s);
	assert_int_equal(open_with(&to_9, &s, &why), 0);
	store_close(s);
	check_format_9();
}

/* In a program of its own: RocksDB's threads do not follow into a copy of this one. */
static void migrate_and_die(const char *role, unsigned n)
{
	char number[16];
	pid_t pid;
	int st;

	snprintf(number, sizeof(number), "%u", n);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl("/proc/self/exe", "unit_store_migrate", role, lab_dir, number, (char *)NULL);
		_exit(126);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
}

static void a_crash_after_any_batch_is_gone_on_from(void **state)
{
	struct store *s;
	const char *why;

	(void)state;
	/* Around the ends of the three walks, of four batches each. */
	for (unsigned n = 1; n <= 12; n += n % 4 == 1 ? 2 : 1) {
		write_format_7();
		migrate_and_die("batches", n);
		batches_seen = 0;
		assert_int_equal(open_with(&to_9, &s, &why), 0);
		store_close(s);
		/* A walk that had ended is looked at once more, to see that it has. */
		assert_in_range(batches_seen, 12 - n, 13 - n);
		check_format_9();
		lab_remove(lab_db);
	}
}

static void a_crash_within_a_batch_and_again_and_again_is_gone_on_from(void **state)
{
	struct store *s;
	const char *why;

	(void)state;
	write_format_7();
	migrate_and_die("rows", 500);  /* in the first batch */
	migrate_and_die("rows", 1001); /* in the second */
	migrate_and_die("batches", 1);
	migrate_and_die("rows", 700);
	migrate_and_die("batches", 3);
	assert_int_equal(open_with(&to_9, &s, &why), 0);
	store_close(s);
	check_format_9();
}

static void what_is_half_migrated_is_refused_by_an_older_program(void **state)
{
	struct store *s;
	const char *why;

	(void)state;
	write_format_7();
	migrate_and_die("batches", 2);
	assert_int_equal(open_with(&only_7, &s, &why), -EPROTO);
	assert_non_null(strstr(why, "newer version"));
	/* One that knows the format to be, but not the way, cannot finish it. */
	assert_int_equal(open_with(&only_9, &s, &why), -EPROTO);
	assert_non_null(strstr(why, "cannot convert"));
	assert_int_equal(open_with(&to_9, &s, &why), 0);
	store_close(s);
	check_format_9();
}

static void a_format_that_no_way_leads_on_from_is_refused_untouched(void **state)
{
	struct store *s;
	struct slice v;
	const char *why;

	(void)state;
	write_format_7();
	assert_int_equal(open_with(&only_9, &s, &why), -EPROTO);
	assert_non_null(strstr(why, "format 7"));
	assert_int_equal(store_open(&s, lab_db, &why), -EPROTO);
	assert_non_null(strstr(why, "newer version"));
	assert_int_equal(open_with(&only_7, &s, &why), 0);
	assert_int_equal(store_get(s, STORE_USERS, lab_str("000042"), &v), 0);
	assert_int_equal(v.sz, 2);
	assert_memory_equal(v.p, "42", 2);
	store_close(s);
}

static void a_row_that_does_not_decode_stops_the_migration_and_is_named(void **state)
{
	struct store_batch *b;
	struct store *s;
	const char *why;

	(void)state;
	write_format_7();
	assert_int_equal(open_with(&only_7, &s, &why), 0);
	b = store_batch_new(s);
	store_put(b, STORE_USERS, lab_str("001500"), lab_str("what"));
	assert_int_equal(store_write(s, b, NULL, NULL), 0);
	store_batch_free(b);
	store_close(s);
	assert_int_equal(open_with(&to_9, &s, &why), -EBADMSG);
	assert_non_null(strstr(why, "303031353030"));
	assert_int_equal(open_with(&to_9, &s, &why), -EBADMSG);
}

static void rows_without_a_format_are_not_taken_for_a_new_store(void **state)
{
	struct store *s;
	const char *why;

	(void)state;
	write_raw((const char *const[]){"default", "users", "headers"}, 3, false);
	assert_int_equal(store_open(&s, lab_db, &why), -EPROTO);
	assert_non_null(strstr(why, "no format number"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(an_older_store_is_brought_to_the_current_format_in_bounded_batches),
		T(a_migration_that_is_up_to_date_writes_nothing),
		T(a_crash_after_any_batch_is_gone_on_from),
		T(a_crash_within_a_batch_and_again_and_again_is_gone_on_from),
		T(what_is_half_migrated_is_refused_by_an_older_program),
		T(a_format_that_no_way_leads_on_from_is_refused_untouched),
		T(a_row_that_does_not_decode_stops_the_migration_and_is_named),
		T(rows_without_a_format_are_not_taken_for_a_new_store),
	};

	if (argc == 4) {
		unsigned n = (unsigned)strtoul(argv[3], NULL, 10);
		struct store *s;
		const char *why;

		snprintf(lab_db, sizeof(lab_db), "%s/db", argv[2]);
		*(strcmp(argv[1], "rows") == 0 ? &rows_until_death : &batches_until_death) = n;
		return store_open_as(&s, lab_db, &to_9, &why) == 0 ? 0 : 1;
	}
	return cmocka_run_group_tests_name("store/migrate", tests, NULL, NULL);
}
