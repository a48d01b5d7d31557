/* Files that are torn, damaged or gone: what was promised is there, or it is said that it is not; never silently less, and
   a store that is refused is left as it was. */
#include "lab.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define IN_TABLES 200u /* rows that are in table and blob files */
#define ROWS      300u /* the rest is in the log */

static char golden[96], copy[96];

/* A store as a crash leaves it: rows in tables, rows in blobs, rows in the log. */
static void make_golden(void)
{
	struct store *s = lab_open(lab_db);

	for (unsigned i = 0; i < IN_TABLES; i++)
		lab_put(s, i);
	store_close(s);
	s = lab_open(lab_db); /* moves them from the log to tables */
	for (unsigned i = IN_TABLES; i < ROWS; i++)
		lab_put(s, i);
	snprintf(golden, sizeof(golden), "%s/golden", lab_dir);
	snprintf(copy, sizeof(copy), "%s/copy", lab_dir);
	lab_copy(lab_db, golden);
	store_close(s);
}

enum damage { CUT_A_LITTLE, CUT_IN_HALF, EMPTY, CHANGE_MIDDLE, CHANGE_START, REMOVE, DAMAGE_CNT };
static const char *const damage_name[] = {"cut by 7 bytes",        "cut in half",          "empty",
					  "changed in the middle", "changed at the start", "removed"};

static void do_damage(const char *path, size_t sz, enum damage what)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	switch (what) {
	case CUT_A_LITTLE:
		assert_int_equal(ftruncate(fd, sz > 7 ? (off_t)sz - 7 : 0), 0);
		break;
	case CUT_IN_HALF:
		assert_int_equal(ftruncate(fd, (off_t)sz / 2), 0);
		break;
	case EMPTY:
		assert_int_equal(ftruncate(fd, 0), 0);
		break;
	case CHANGE_MIDDLE:
		assert_int_equal(pwrite(fd, "\xde\xad\xbe\xef", 4, (off_t)sz / 2), 4);
		break;
	case CHANGE_START:
		assert_int_equal(pwrite(fd, "\xde\xad\xbe\xef", 4, 0), 4);
		break;
	case REMOVE:
		assert_int_equal(unlink(path), 0);
		break;
	case DAMAGE_CNT:
		break;
	}
	close(fd);
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n >= m && strcmp(name + n - m, end) == 0;
}

static const struct lab_file *find(const struct lab_files *f, const char *name)
{
	for (unsigned i = 0; i < f->cnt; i++)
		if (strcmp(f->file[i].name, name) == 0)
			return &f->file[i];
	return NULL;
}

/* All that was there is there, byte for byte; RocksDB's notes about itself apart. */
static void check_untouched(const struct lab_files *before, const char *what)
{
	struct lab_files *after = malloc(sizeof(*after));

	assert_non_null(after);
	lab_files_read(after, copy);
	for (unsigned i = 0; i < before->cnt; i++) {
		const struct lab_file *old = &before->file[i], *now;

		if (strncmp(old->name, "LOG", 3) == 0 || strncmp(old->name, "OPTIONS", 7) == 0)
			continue;
		now = find(after, old->name);
		if (now == NULL || now->sz != old->sz || memcmp(now->p, old->p, old->sz) != 0)
			fail_msg("%s: refused, and %s was changed", what, old->name);
	}
	lab_files_free(after);
	free(after);
}

/* Rows that cannot be read.  A cut or changed end of the log may have taken the newest with it, in order. */
static unsigned check_rows(struct store *s, bool log_is_damaged, const char *what)
{
	unsigned unreadable = 0;
	bool gone = false;

	for (unsigned i = 0; i < ROWS; i++) {
		int got = lab_get(s, i);

		unreadable += got < 0;
		if (got == 0 && !(log_is_damaged && i >= IN_TABLES))
			fail_msg("%s: row %u is silently gone", what, i);
		if (got > 0 && gone)
			fail_msg("%s: row %u is there and an older one is not", what, i);
		gone |= got == 0;
	}
	return unreadable;
}

struct tally {
	unsigned refused, whole, partly;
};

static void try(const struct lab_file *f, enum damage d, struct tally *t)
{
	struct lab_files *before = malloc(sizeof(*before));
	bool is_log = strncmp(f->name, "wal/", 4) == 0;
	struct store *s = NULL;
	const char *why = "";
	char what[200], path[256];
	int rc;

	assert_non_null(before);
	snprintf(what, sizeof(what), "%s %s", f->name, damage_name[d]);
	lab_copy(golden, copy);
	snprintf(path, sizeof(path), "%s/%s", copy, f->name);
	do_damage(path, f->sz, d);
	lab_files_read(before, copy);
	rc = store_open(&s, copy, &why);
	if (rc == 0) {
		unsigned unreadable = check_rows(s, is_log, what);

		t->partly += unreadable > 0;
		t->whole += unreadable == 0;
		store_close(s);
	} else {
		if (rc != -EBADMSG || strstr(why, "is damaged") == NULL || strstr(why, "checkpoint") == NULL)
			fail_msg("%s: %d %s", what, rc, why);
		if (strstr(why, "was left as it is") != NULL)
			check_untouched(before, what);
		else
			assert_true(ends_with(f->name,
					      ".sst")); /* the log was moved to tables before it was found */
		t->refused++;
	}
	lab_files_free(before);
	free(before);
	lab_remove(copy);
}

static void whatever_file_is_damaged_nothing_is_silently_gone_and_a_refused_store_is_untouched(void **state)
{
	struct lab_files *f = malloc(sizeof(*f));
	struct tally tables = {0}, manifest = {0}, current = {0}, log = {0};

	(void)state;
	assert_non_null(f);
	make_golden();
	lab_files_read(f, golden);
	for (unsigned i = 0; i < f->cnt; i++) {
		const char *name = f->file[i].name;
		struct tally *t = strncmp(name, "MANIFEST-", 9) == 0                    ? &manifest
				  : strcmp(name, "CURRENT") == 0                        ? &current
				  : strncmp(name, "wal/", 4) == 0 && f->file[i].sz > 7  ? &log
				  : ends_with(name, ".sst") || ends_with(name, ".blob") ? &tables
											: NULL;

		for (unsigned d = 0; t != NULL && d < DAMAGE_CNT; d++)
			/* That a log is gone nobody can know: it may have been one that was not begun. */
			if (t != &log || d != REMOVE)
				try(&f->file[i], d, t);
	}
	lab_files_free(f);
	free(f);
	/* Each kind of file was there, and met both ways where both exist. */
	assert_true(tables.refused > 0 && tables.partly > 0);
	assert_true(manifest.refused > 0);
	assert_int_equal(current.refused, DAMAGE_CNT);
	assert_true(log.refused > 0 && log.whole > 0);
}

static void a_start_that_was_cut_short_before_the_store_was_there_goes_on(void **state)
{
	char path[128];
	FILE *f;

	(void)state;
	store_close(lab_open(lab_db));
	lab_remove(lab_db);
	snprintf(path, sizeof(path), "mkdir -p %s/wal", lab_db);
	assert_int_equal(system(path), 0);
	snprintf(path, sizeof(path), "%s/MANIFEST-000001", lab_db);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	store_close(lab_open(lab_db));
}

#define T(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(whatever_file_is_damaged_nothing_is_silently_gone_and_a_refused_store_is_untouched),
		T(a_start_that_was_cut_short_before_the_store_was_there_goes_on),
	};

	return cmocka_run_group_tests_name("store/damage", tests, NULL, NULL);
}
