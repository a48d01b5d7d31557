#include "store/store_priv.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "log/log.h"

/* Memory: memtables up to MEMTABLES_SZ in all, one shared block cache, and bounded files. */
#define MEMTABLES_SZ   (64u << 20)
#define BLOCK_CACHE_SZ (64u << 20)
#define WAL_SZ_MAX     (128u << 20)
#define OPEN_FILES_MAX 512
#define BLOB_SZ_MIN    256u /* an appointment with its signature is nearly always above, the other rows below */
#define BLOB_FILE_SZ   (128u << 20)
/* A table in which half of this many rows in a row are deletions is compacted at once, not when its level is full. */
#define DELETED_WINDOW       4096u
#define PROBE_SZ             (1u << 20)
#define OPEN_FREE_MIN        (1u << 20)
#define INFO_LOG_HEADER_ONLY 5

static const char *const cf_name[STORE_CF_CNT] = {
	"default",    "users",  "appointments", "by_user", "trackers",
	"by_penalty", "expiry", "headers",      "undo",    "confirmed",
};
static_assert(STORE_META == 0, "meta is RocksDB's default column family");

int db_error(const char *event, char *err)
{
	log_error(event, "RocksDB failed", log_str("error", err));
	rocksdb_free(err);
	return -EIO;
}

static void set_database_wide(rocksdb_options_t *o)
{
	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_create_missing_column_families(o, 1);
	rocksdb_options_set_paranoid_checks(o, 1);
	rocksdb_options_set_wal_recovery_mode(o, rocksdb_tolerate_corrupted_tail_records_recovery);
	rocksdb_options_set_db_write_buffer_size(o, MEMTABLES_SZ);
	rocksdb_options_set_max_total_wal_size(o, WAL_SZ_MAX);
	rocksdb_options_set_max_open_files(o, OPEN_FILES_MAX);
	rocksdb_options_set_max_background_jobs(o, 2);
	/* Its text log gets the header at opening and nothing after: a failed append to it aborts the process in builds
	   with assertions, which Debian's is, just when the disk is full and the tower is needed. */
	rocksdb_options_set_info_log_level(o, INFO_LOG_HEADER_ONLY);
	rocksdb_options_set_keep_log_file_num(o, 1);
}

static void set_column_family(rocksdb_options_t *o, enum store_cf cf, rocksdb_cache_t *cache)
{
	rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

	rocksdb_block_based_options_set_block_cache(t, cache);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
	rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
	rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
	rocksdb_block_based_options_set_format_version(t, 5);
	rocksdb_options_set_block_based_table_factory(o, t);
	rocksdb_block_based_options_destroy(t);
	rocksdb_options_set_write_buffer_size(o, MEMTABLES_SZ / 4);
	rocksdb_options_set_compression(o, rocksdb_no_compression);
	rocksdb_options_add_compact_on_deletion_collector_factory(o, DELETED_WINDOW, DELETED_WINDOW / 2);
	if (cf == STORE_APPOINTMENTS || cf == STORE_TRACKERS || cf == STORE_UNDO) {
		rocksdb_options_set_enable_blob_files(o, 1);
		rocksdb_options_set_min_blob_size(o, BLOB_SZ_MIN);
		rocksdb_options_set_blob_file_size(o, BLOB_FILE_SZ);
		rocksdb_options_set_enable_blob_gc(o, 1);
		rocksdb_options_set_blob_gc_age_cutoff(o, 0.25);
	}
}

static int sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int make_dirs(struct db *d)
{
	int rc = 0;

	if ((mkdir(d->dir, 0700) < 0 && errno != EEXIST) || (mkdir(d->wal_dir, 0700) < 0 && errno != EEXIST))
		rc = -errno;
	if (rc == 0)
		rc = sync_dir(d->dir);
	if (rc < 0)
		snprintf(d->why, sizeof(d->why), "store %s cannot be created: %s", d->dir, strerror(-rc));
	return rc;
}

int db_init(struct db *d, const char *dir)
{
	if (strlen(dir) + sizeof("/wal") > sizeof(d->wal_dir)) {
		snprintf(d->why, sizeof(d->why), "store: the path is too long");
		return -ENAMETOOLONG;
	}
	d->dir = strdup(dir);
	if (d->dir == NULL) {
		snprintf(d->why, sizeof(d->why), "store: out of memory");
		return -ENOMEM;
	}
	d->cache = rocksdb_cache_create_lru(BLOCK_CACHE_SZ);
	d->wo = rocksdb_writeoptions_create();
	d->ro = rocksdb_readoptions_create();
	for (unsigned i = 0; i < STORE_CF_CNT; i++) {
		d->opt[i] = rocksdb_options_create();
		set_column_family(d->opt[i], i, d->cache);
	}
	set_database_wide(d->opt[0]);
	snprintf(d->wal_dir, sizeof(d->wal_dir), "%s/wal", dir);
	rocksdb_options_set_wal_dir(d->opt[0], d->wal_dir);
	return make_dirs(d);
}

void db_say_damaged(struct db *d, const char *what)
{
	snprintf(d->why, sizeof(d->why),
		 "store %.200s is damaged%.170s: move it away and put the newest checkpoint's store in its "
		 "place, or bring the damaged file back from a copy",
		 d->dir, what);
}

/* When nothing was opened. */
static void say_damaged(struct db *d, const char *what)
{
	char text[256];

	snprintf(text, sizeof(text), " and was left as it is (%.140s)", what);
	db_say_damaged(d, text);
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

/* A file of a database that has existed: the first manifest alone is left by a start that was cut short before it had
   anything. */
static bool is_of_database(const char *name)
{
	return (strncmp(name, "MANIFEST-", 9) == 0 && strcmp(name, "MANIFEST-000001") != 0) ||
	       ends_with(name, ".sst") || ends_with(name, ".blob") || ends_with(name, ".log");
}

static bool has_database_files(const char *path)
{
	const struct dirent *e;
	DIR *dir = opendir(path);
	bool found = false;

	if (dir == NULL)
		return false;
	while (!found && (e = readdir(dir)) != NULL)
		found = is_of_database(e->d_name);
	closedir(dir);
	return found;
}

/* Without CURRENT RocksDB takes the folder for an empty one. */
static bool current_is_missing(const struct db *d)
{
	char path[PATH_MAX];
	struct stat st;

	if ((size_t)snprintf(path, sizeof(path), "%s/CURRENT", d->dir) >= sizeof(path))
		return false;
	return lstat(path, &st) < 0 && errno == ENOENT &&
	       (has_database_files(d->dir) || has_database_files(d->wal_dir));
}

static int open_error(struct db *d, char *err)
{
	/* RocksDB says "No such file" of a file that the manifest names. */
	bool damaged = strncmp(err, "Corruption", 10) == 0 || strstr(err, "No such file") != NULL;
	/* Not "lock " alone: a damaged block has it too. */
	bool locked = !damaged && (strstr(err, " lock ") != NULL || strstr(err, "LOCK:") != NULL);
	bool newer = strstr(err, "olumn families not opened") != NULL;
	int rc = locked ? -EBUSY : newer ? -EPROTO : damaged ? -EBADMSG : -EIO;

	if (locked)
		snprintf(d->why, sizeof(d->why), "store %s is in use by another process", d->dir);
	else if (newer)
		snprintf(d->why, sizeof(d->why), "store %s was written by a newer version: %s", d->dir, err);
	else if (damaged)
		say_damaged(d, err);
	else
		snprintf(d->why, sizeof(d->why), "store %s cannot be opened: %s", d->dir, err);
	rocksdb_free(err);
	return rc;
}

int db_open(struct db *d, bool read_only)
{
	const rocksdb_options_t *opt[STORE_CF_CNT];
	uint64_t free_sz, total_sz;
	char *err = NULL;

	if (!read_only && db_space(d, &free_sz, &total_sz) && free_sz < OPEN_FREE_MIN) {
		snprintf(d->why, sizeof(d->why), "store %s: the disk is full", d->dir);
		return -ENOSPC;
	}
	if (current_is_missing(d)) {
		say_damaged(d, "the file CURRENT is missing");
		return -EBADMSG;
	}
	for (unsigned i = 0; i < STORE_CF_CNT; i++)
		opt[i] = d->opt[i];
	if (read_only)
		d->db = rocksdb_open_for_read_only_column_families(d->opt[0], d->dir, STORE_CF_CNT, cf_name,
								   opt, d->cf, 0, &err);
	else
		d->db = rocksdb_open_column_families(d->opt[0], d->dir, STORE_CF_CNT, cf_name, opt, d->cf,
						     &err);
	if (err != NULL) {
		d->db = NULL;
		return open_error(d, err);
	}
	d->read_only = read_only;
	return 0;
}

void db_close(struct db *d)
{
	if (d->db == NULL)
		return;
	for (unsigned i = 0; i < STORE_CF_CNT; i++)
		rocksdb_column_family_handle_destroy(d->cf[i]);
	rocksdb_close(d->db);
	d->db = NULL;
}

void db_flush(struct db *d)
{
	rocksdb_flushoptions_t *o = rocksdb_flushoptions_create();

	rocksdb_flushoptions_set_wait(o, 0);
	for (unsigned i = 0; d->db != NULL && i < STORE_CF_CNT; i++) {
		char *err = NULL;

		rocksdb_flush_cf(d->db, o, d->cf[i], &err);
		if (err != NULL)
			db_error("store_flush_failed", err);
	}
	rocksdb_flushoptions_destroy(o);
}

void db_release(struct db *d)
{
	for (unsigned i = 0; i < STORE_CF_CNT; i++)
		if (d->opt[i] != NULL)
			rocksdb_options_destroy(d->opt[i]);
	if (d->ro != NULL)
		rocksdb_readoptions_destroy(d->ro);
	if (d->wo != NULL)
		rocksdb_writeoptions_destroy(d->wo);
	if (d->cache != NULL)
		rocksdb_cache_destroy(d->cache);
	free(d->dir);
}

bool db_space(const struct db *d, uint64_t *free_sz, uint64_t *total_sz)
{
	struct statvfs v;

	if (statvfs(d->dir, &v) < 0)
		return false;
	*free_sz = (uint64_t)v.f_bavail * v.f_frsize;
	*total_sz = (uint64_t)v.f_blocks * v.f_frsize;
	return true;
}

bool db_disk_takes_data(const struct db *d)
{
	static const uint8_t piece[4096] = {1};
	char path[PATH_MAX];
	bool ok = true;
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "%s/probe.tmp", d->dir) >= sizeof(path))
		return false;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	for (size_t n = 0; ok && n < PROBE_SZ; n += sizeof(piece))
		ok = write(fd, piece, sizeof(piece)) == (ssize_t)sizeof(piece);
	ok = ok && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	unlink(path);
	return ok;
}
