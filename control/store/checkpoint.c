/* RocksDB links its table and blob files, which never change, and copies the log and the manifest.  It puts the log beside
   them, where a store that keeps it in wal/ would take it for a leftover and delete it; so all is made under another
   name, put in order and synced, and only then gets its own. */
#include "store/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kill/kill_point.h"
#include "log/log.h"
#include "store/store_priv.h"

/* No log is large enough to be flushed first: that would be work for the disk on the way of everybody's syncs. */
#define NEVER_FLUSH UINT64_MAX

struct job {
	char partial[PATH_MAX], store[PATH_MAX], wal[PATH_MAX];
	char *why;
	size_t why_sz;
};

static int sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static bool join(char out[PATH_MAX], const char *dir, const char *name)
{
	return (size_t)snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX;
}

static bool is_log(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && strcmp(name + n - 4, ".log") == 0;
}

/* Each plain file in the folder: synced, and a log moved to wal/.  Bounded by the number of files. */
static int put_in_order(const struct job *j)
{
	char from[PATH_MAX], to[PATH_MAX];
	const struct dirent *e;
	DIR *dir = opendir(j->store);
	int rc = 0;

	if (dir == NULL)
		return -errno;
	while (rc == 0 && (e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.' || strcmp(e->d_name, "wal") == 0)
			continue;
		if (!join(from, j->store, e->d_name) || !join(to, j->wal, e->d_name))
			rc = -ENAMETOOLONG;
		else
			rc = sync_path(from);
		if (rc == 0 && is_log(e->d_name) && rename(from, to) < 0)
			rc = -errno;
	}
	closedir(dir);
	if (rc == 0)
		rc = sync_path(j->wal);
	if (rc == 0)
		rc = sync_path(j->store);
	return rc == 0 ? sync_path(j->partial) : rc;
}

static int copy_database(const struct job *j, struct db *d)
{
	rocksdb_checkpoint_t *c;
	char *err = NULL;

	c = rocksdb_checkpoint_object_create(d->db, &err);
	if (err == NULL) {
		rocksdb_checkpoint_create(c, j->store, NEVER_FLUSH, &err);
		rocksdb_checkpoint_object_destroy(c);
	}
	if (err == NULL)
		return 0;
	snprintf(j->why, j->why_sz, "checkpoint %s failed: %s", j->partial, err);
	rocksdb_free(err);
	return -EIO;
}

/* Only what this file makes: plain files in two folders. */
static void remove_files(const char *folder)
{
	char path[PATH_MAX];
	const struct dirent *e;
	DIR *dir = opendir(folder);

	if (dir == NULL)
		return;
	while ((e = readdir(dir)) != NULL)
		if (join(path, folder, e->d_name))
			unlink(path);
	closedir(dir);
}

static void remove_partial(const struct job *j)
{
	remove_files(j->wal);
	rmdir(j->wal);
	remove_files(j->store);
	rmdir(j->store);
	rmdir(j->partial);
}

static int sync_parent(const char *dir)
{
	char copy[PATH_MAX];
	char *slash;

	snprintf(copy, sizeof(copy), "%s", dir);
	slash = strrchr(copy, '/');
	if (slash == NULL)
		return sync_path(".");
	slash[slash == copy] = '\0';
	return sync_path(copy);
}

/* Bytes of the store's log, which is copied. */
static uint64_t log_size(const struct db *d)
{
	char path[PATH_MAX];
	const struct dirent *e;
	DIR *dir = opendir(d->wal_dir);
	uint64_t sum = 0;
	struct stat st;

	if (dir == NULL)
		return 0;
	while ((e = readdir(dir)) != NULL)
		if (is_log(e->d_name) && join(path, d->wal_dir, e->d_name) && stat(path, &st) == 0)
			sum += (uint64_t)st.st_size;
	closedir(dir);
	return sum;
}

/* On the store's own file system the copy must leave it what it needs to go on. */
static bool eats_reserve(const struct job *j, const struct db *d, uint64_t reserve)
{
	uint64_t free_sz, total_sz;
	struct stat here, there;

	if (reserve == 0 || stat(d->dir, &here) < 0 || stat(j->partial, &there) < 0 ||
	    here.st_dev != there.st_dev || !db_space(d, &free_sz, &total_sz))
		return false;
	return free_sz < reserve || free_sz - reserve < log_size(d);
}

static int make(const struct job *j, struct db *d, const char *dir)
{
	int rc = copy_database(j, d);

	if (rc == 0 && mkdir(j->wal, 0700) < 0)
		rc = -errno;
	if (rc == 0)
		rc = put_in_order(j);
	KILL_POINT("store:mid-checkpoint");
	if (rc == 0 && rename(j->partial, dir) < 0)
		rc = -errno;
	return rc == 0 ? sync_parent(dir) : rc;
}

/* 0, or -errno with a sentence in why.  What is in `dir` afterwards is whole and synced, or there is no `dir`. */
static int checkpoint_make(struct db *d, const char *dir, uint64_t reserve, char *why, size_t why_sz)
{
	struct job j = {.why = why, .why_sz = why_sz};
	struct stat st;
	int rc;

	why[0] = '\0';
	if ((size_t)snprintf(j.partial, sizeof(j.partial), "%s.partial", dir) >= sizeof(j.partial) ||
	    !join(j.store, j.partial, "store") || !join(j.wal, j.store, "wal")) {
		snprintf(why, why_sz, "the path of the checkpoint is too long");
		return -ENAMETOOLONG;
	}
	if (lstat(dir, &st) == 0) {
		snprintf(why, why_sz, "%s exists: a checkpoint is made in a folder of its own", dir);
		return -EEXIST;
	}
	if (mkdir(j.partial, 0700) < 0) {
		rc = -errno;
		snprintf(why, why_sz,
			 rc == -EEXIST ? "%s is left of a checkpoint that was not finished: remove it"
				       : "%s cannot be made",
			 j.partial);
		return rc;
	}
	rc = eats_reserve(&j, d, reserve) ? -ENOSPC : make(&j, d, dir);
	if (rc == 0)
		return 0;
	remove_partial(&j);
	if (why[0] == '\0')
		snprintf(why, why_sz, "checkpoint %s failed: %s", dir, strerror(-rc));
	return rc;
}

/* --- the thread ------------------------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void *checkpoint_main(void *arg)
{
	struct checkpoint *c = arg;
	char why[STORE_WHY_SZ];
	uint64_t begun = now_ms();
	int rc = checkpoint_make(c->db, c->info.dir, c->reserve, why, sizeof(why));

	pthread_mutex_lock(&c->lock);
	c->info.state = rc == 0 ? STORE_CHECKPOINT_DONE : STORE_CHECKPOINT_FAILED;
	c->info.ms = now_ms() - begun;
	snprintf(c->info.why, sizeof(c->info.why), "%s", why);
	if (rc == 0)
		log_info("checkpoint", "A checkpoint of the store was made", log_str("dir", c->info.dir),
			 log_u64("ms", c->info.ms));
	else
		log_error("checkpoint_failed", "A checkpoint of the store could not be made",
			  log_str("why", why));
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

void checkpoint_init(struct checkpoint *c, struct db *d)
{
	*c = (struct checkpoint){.db = d};
	pthread_mutex_init(&c->lock, NULL);
}

int checkpoint_begin(struct checkpoint *c, const char *dir, uint64_t reserve)
{
	struct store_checkpoint now;

	checkpoint_get(c, &now);
	if (now.state == STORE_CHECKPOINT_RUNNING)
		return -EBUSY;
	if (dir[0] != '/' || strlen(dir) >= sizeof(c->info.dir))
		return -EINVAL;
	checkpoint_wait(c);
	c->reserve = reserve;
	c->info = (struct store_checkpoint){.state = STORE_CHECKPOINT_RUNNING};
	snprintf(c->info.dir, sizeof(c->info.dir), "%s", dir);
	if (pthread_create(&c->thread, NULL, checkpoint_main, c) != 0) {
		c->info.state = STORE_CHECKPOINT_NONE;
		return -EAGAIN;
	}
	c->joinable = true;
	return 0;
}

void checkpoint_get(struct checkpoint *c, struct store_checkpoint *out)
{
	pthread_mutex_lock(&c->lock);
	*out = c->info;
	pthread_mutex_unlock(&c->lock);
}

void checkpoint_wait(struct checkpoint *c)
{
	if (c->joinable)
		pthread_join(c->thread, NULL);
	c->joinable = false;
}

void checkpoint_fini(struct checkpoint *c)
{
	checkpoint_wait(c);
	pthread_mutex_destroy(&c->lock);
}
