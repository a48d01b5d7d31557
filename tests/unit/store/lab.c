#include "lab.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

char lab_dir[64], lab_db[96];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void lab_remove(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int lab_setup(void **state)
{
	(void)state;
	snprintf(lab_dir, sizeof(lab_dir), "/tmp/vigil-store-XXXXXX");
	if (mkdtemp(lab_dir) == NULL)
		return -1;
	snprintf(lab_db, sizeof(lab_db), "%s/db", lab_dir);
	return 0;
}

int lab_teardown(void **state)
{
	(void)state;
	lab_remove(lab_dir);
	return 0;
}

struct store *lab_open(const char *path)
{
	struct store *s = NULL;
	const char *why = "";
	int rc = store_open(&s, path, &why);

	if (rc < 0)
		fail_msg("store_open: %d %s", rc, why);
	store_reserve_set(s, 0);
	return s;
}

/* --- rows ------------------------------------------------------------------------------------------------------ */

#define LONG_SZ 400u

static void long_value(uint8_t out[LONG_SZ], unsigned number)
{
	for (unsigned i = 0; i < LONG_SZ; i++)
		out[i] = (uint8_t)(number * 31 + i * 7 + i / 13);
}

static void on_done(void *arg, bool ok)
{
	*(int *)arg = ok ? 1 : -1;
}

void lab_put(struct store *s, unsigned number)
{
	struct store_batch *b = store_batch_new(s);
	uint8_t value[LONG_SZ];
	char key[16];
	int done = 0;

	long_value(value, number);
	snprintf(key, sizeof(key), "%06u", number);
	store_put(b, STORE_APPOINTMENTS, lab_str(key), (struct slice){value, sizeof(value)});
	store_put(b, STORE_USERS, lab_str(key), lab_str(key));
	assert_int_equal(store_write(s, b, on_done, &done), 0);
	store_batch_free(b);
	for (unsigned i = 0; i < 6000 && done == 0; i++) {
		struct pollfd p = {.fd = store_event_fd(s), .events = POLLIN};

		poll(&p, 1, 10);
		store_poll(s);
	}
	assert_int_equal(done, 1);
}

int lab_get(struct store *s, unsigned number)
{
	uint8_t value[LONG_SZ];
	struct slice v;
	char key[16];
	int a, b;

	long_value(value, number);
	snprintf(key, sizeof(key), "%06u", number);
	a = store_get(s, STORE_APPOINTMENTS, lab_str(key), &v);
	if (a == 0 && (v.sz != LONG_SZ || memcmp(v.p, value, LONG_SZ) != 0))
		fail_msg("row %u is not what was written", number);
	b = store_get(s, STORE_USERS, lab_str(key), &v);
	if (b == 0 && (v.sz != strlen(key) || memcmp(v.p, key, v.sz) != 0))
		fail_msg("row %u is not what was written", number);
	if (a == -EIO || b == -EIO)
		return -1;
	assert_int_equal(a, b);
	return a == 0;
}

/* --- files ----------------------------------------------------------------------------------------------------- */

static struct lab_files *reading;
static size_t reading_from;

static int read_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	struct lab_file *f;
	int fd;

	(void)ftw;
	if (flag != FTW_F)
		return 0;
	assert_true(reading->cnt < sizeof(reading->file) / sizeof(reading->file[0]));
	f = &reading->file[reading->cnt++];
	assert_true(strlen(path + reading_from) < sizeof(f->name));
	strcpy(f->name, path + reading_from);
	f->sz = (size_t)st->st_size;
	f->p = malloc(f->sz + 1);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && f->p != NULL);
	assert_int_equal(read(fd, f->p, f->sz), (ssize_t)f->sz);
	close(fd);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct lab_file *)a)->name, ((const struct lab_file *)b)->name);
}

void lab_files_read(struct lab_files *f, const char *dir)
{
	f->cnt = 0;
	reading = f;
	reading_from = strlen(dir) + 1;
	assert_int_equal(nftw(dir, read_one, 16, FTW_PHYS), 0);
	qsort(f->file, f->cnt, sizeof(f->file[0]), by_name);
}

void lab_files_free(struct lab_files *f)
{
	for (unsigned i = 0; i < f->cnt; i++)
		free(f->file[i].p);
	f->cnt = 0;
}

void lab_copy(const char *from, const char *to)
{
	struct lab_files *f = malloc(sizeof(*f));
	char path[256];

	assert_non_null(f);
	lab_files_read(f, from);
	assert_int_equal(mkdir(to, 0700), 0);
	snprintf(path, sizeof(path), "%s/wal", to);
	assert_int_equal(mkdir(path, 0700), 0);
	for (unsigned i = 0; i < f->cnt; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%s", to, f->file[i].name);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, f->file[i].p, f->file[i].sz), (ssize_t)f->file[i].sz);
		close(fd);
	}
	lab_files_free(f);
	free(f);
}
