#include "store/store_priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "kill/kill_point.h"
#include "log/log.h"
#include "meter/meter.h"
#include "store/checkpoint.h"
#include "store/migrate.h"
#include "store/wal.h"

#define RESERVE_MAX    (128u << 20)
#define RECOVER_MIN_NS 100000000ull
#define RECOVER_MAX_NS 5000000000ull

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- open, close, recover ----------------------------------------------------------------------------------- */

static void set_reserve(struct store *s)
{
	uint64_t free_sz, total_sz;

	s->reserve = RESERVE_MAX;
	if (db_space(&s->db, &free_sz, &total_sz) && total_sz / 16 < RESERVE_MAX)
		s->reserve = total_sz / 16;
}

static int use_format(struct store *s, const struct formats *f)
{
	char why[STORE_WHY_SZ];
	int rc = store_migrate(s, f, why);

	if (rc == -EIO && store_ok(s)) {
		/* A read: opening does not look into every table. */
		db_say_damaged(&s->db, " (store_read_failed in the log names the file)");
		return -EBADMSG;
	}
	if (rc < 0)
		snprintf(s->db.why, sizeof(s->db.why), "store %.200s: %.300s", s->db.dir, why);
	return rc;
}

static int start(struct store *s, const char *dir, const struct formats *f)
{
	int rc = db_init(&s->db, dir);

	if (rc == 0)
		rc = db_open(&s->db, false);
	if (rc == 0)
		rc = use_format(s, f);
	if (rc < 0)
		return rc;
	set_reserve(s);
	s->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->wal = wal_open(s->db.wal_dir);
	if (s->event_fd < 0 || s->wal == NULL || !store_ring_room(s) ||
	    pthread_create(&s->thread, NULL, store_sync_main, s) != 0) {
		snprintf(s->db.why, sizeof(s->db.why), "store: out of descriptors or threads");
		return -EAGAIN;
	}
	s->thread_runs = true;
	return 0;
}

int store_open(struct store **out, const char *dir, const char **why)
{
	return store_open_as(out, dir, &store_formats, why);
}

int store_open_as(struct store **out, const char *dir, const struct formats *f, const char **why)
{
	static char text[STORE_WHY_SZ];
	struct store *s = calloc(1, sizeof(*s));
	int rc;

	*why = "store: out of memory";
	if (s == NULL)
		return -ENOMEM;
	s->event_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	pthread_cond_init(&s->idle, NULL);
	checkpoint_init(&s->checkpoint, &s->db);
	rc = start(s, dir, f);
	if (rc < 0) {
		snprintf(text, sizeof(text), "%s", s->db.why);
		*why = text;
		store_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

void store_close(struct store *s)
{
	if (s->thread_runs) {
		pthread_mutex_lock(&s->lock);
		s->stop = true;
		pthread_cond_signal(&s->wake);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
		store_answer(s, s->synced, true);
		store_answer(s, UINT64_MAX, false);
	}
	checkpoint_fini(&s->checkpoint);
	store_unpin(s);
	wal_close(s->wal);
	db_close(&s->db);
	db_release(&s->db);
	if (s->event_fd >= 0)
		close(s->event_fd);
	pthread_cond_destroy(&s->wake);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s->ring);
	free(s);
}

static bool open_again(struct store *s)
{
	struct store_checkpoint copy;
	int rc;

	/* A checkpoint reads the database that would be closed, and may take minutes: not on the caller's time. */
	checkpoint_get(&s->checkpoint, &copy);
	if (copy.state == STORE_CHECKPOINT_RUNNING || !db_disk_takes_data(&s->db))
		return false;
	checkpoint_wait(&s->checkpoint);
	store_unpin(s);
	db_close(&s->db);
	rc = db_open(&s->db, false);
	if (rc < 0) {
		log_error("store_reopen_failed", "The store cannot be opened again for writing",
			  log_str("why", s->db.why));
		if (db_open(&s->db, true) < 0)
			log_error("store_unreadable", "The store cannot even be read",
				  log_str("why", s->db.why));
	}
	return rc == 0;
}

bool store_recover(struct store *s)
{
	uint64_t now = now_ns();
	bool broken;

	pthread_mutex_lock(&s->lock);
	broken = s->broken;
	/* What was written before the failure can still become durable. */
	while (broken && (s->syncing || (!s->sync_failed && s->written > s->synced)))
		pthread_cond_wait(&s->idle, &s->lock);
	pthread_mutex_unlock(&s->lock);
	if (!broken)
		return true;
	if (now < s->recover_at_ns)
		return false;
	store_answer(s, s->synced, true);
	store_answer(s, UINT64_MAX, false);
	if (!open_again(s)) {
		s->recover_wait_ns = s->recover_wait_ns == 0 ? RECOVER_MIN_NS : s->recover_wait_ns * 2;
		if (s->recover_wait_ns > RECOVER_MAX_NS)
			s->recover_wait_ns = RECOVER_MAX_NS;
		s->recover_at_ns = now_ns() + s->recover_wait_ns;
		return false;
	}
	s->recover_wait_ns = 0;
	s->epoch++;
	s->stats.recoveries++;
	s->write_failed = false;
	pthread_mutex_lock(&s->lock);
	s->synced = s->written;
	s->broken = false;
	s->sync_failed = false;
	pthread_mutex_unlock(&s->lock);
	log_warn("store_recovered", "The store was opened again after an error");
	return true;
}

/* --- writes --------------------------------------------------------------------------------------------------- */

struct store_batch *store_batch_new(struct store *s)
{
	struct store_batch *b = malloc(sizeof(*b));

	if (b == NULL)
		abort();
	b->s = s;
	b->wb = rocksdb_writebatch_create();
	return b;
}

void store_batch_free(struct store_batch *b)
{
	rocksdb_writebatch_destroy(b->wb);
	free(b);
}

void store_put(struct store_batch *b, enum store_cf cf, struct slice key, struct slice value)
{
	rocksdb_writebatch_put_cf(b->wb, b->s->db.cf[cf], (const char *)key.p, key.sz, (const char *)value.p,
				  value.sz);
}

void store_del(struct store_batch *b, enum store_cf cf, struct slice key)
{
	rocksdb_writebatch_delete_cf(b->wb, b->s->db.cf[cf], (const char *)key.p, key.sz);
}

static bool space_left(const struct store *s)
{
	uint64_t free_sz, total_sz;

	return s->reserve == 0 || !db_space(&s->db, &free_sz, &total_sz) || free_sz >= s->reserve;
}

static int write_batch(struct store *s, struct store_batch *b)
{
	char *err = NULL;
	bool broken;

	pthread_mutex_lock(&s->lock);
	broken = s->broken;
	pthread_mutex_unlock(&s->lock);
	if (broken)
		return -EIO;
	if (store_fault_due(&s->fault_write))
		return -ENOSPC;
	if (!space_left(s))
		return -ENOSPC;
	if (!store_ring_room(s))
		return -ENOMEM;
	KILL_POINT("store:before-write");
	rocksdb_write(s->db.db, s->db.wo, b->wb, &err);
	if (err == NULL) {
		KILL_POINT("store:after-write");
		return 0;
	}
	pthread_mutex_lock(&s->lock);
	s->broken = true;
	pthread_mutex_unlock(&s->lock);
	return db_error("store_write_failed", err);
}

int store_write(struct store *s, struct store_batch *b, void (*done)(void *arg, bool ok), void *arg)
{
	int rc = write_batch(s, b);

	rocksdb_writebatch_clear(b->wb);
	if ((rc < 0) != s->write_failed && rc == -ENOSPC)
		log_error("store_full", "No space left for the store: writes are refused",
			  log_str("dir", s->db.dir), log_u64("reserve", s->reserve));
	s->write_failed = rc < 0;
	pthread_mutex_lock(&s->lock);
	if (rc < 0) {
		s->stats.failures++;
	} else {
		s->stats.batches++;
		s->written++;
		if (done != NULL)
			store_ring_push(s, s->written, done, arg);
		pthread_cond_signal(&s->wake);
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int store_write_synced(struct store *s, struct store_batch *b)
{
	int rc;

	rocksdb_writeoptions_set_sync(s->db.wo, 1);
	rc = write_batch(s, b);
	rocksdb_writeoptions_set_sync(s->db.wo, 0);
	rocksdb_writebatch_clear(b->wb);
	return rc;
}

/* --- the rest ------------------------------------------------------------------------------------------------- */

int store_event_fd(const struct store *s)
{
	return s->event_fd;
}

bool store_ok(const struct store *s)
{
	struct store *m = (struct store *)(uintptr_t)s;
	bool ok;

	pthread_mutex_lock(&m->lock);
	ok = !s->broken && !s->write_failed;
	pthread_mutex_unlock(&m->lock);
	return ok;
}

uint64_t store_epoch(const struct store *s)
{
	return s->epoch;
}

int store_checkpoint_begin(struct store *s, const char *dir)
{
	return store_ok(s) ? checkpoint_begin(&s->checkpoint, dir, s->reserve) : -EIO;
}

void store_checkpoint_get(struct store *s, struct store_checkpoint *out)
{
	checkpoint_get(&s->checkpoint, out);
}

void store_reclaim(struct store *s)
{
	if (store_ok(s))
		db_flush(&s->db);
}

void store_reserve_set(struct store *s, uint64_t bytes)
{
	s->reserve = bytes;
}

void store_stats_get(const struct store *s, struct store_stats *out)
{
	struct store *m = (struct store *)(uintptr_t)s;

	pthread_mutex_lock(&m->lock);
	*out = s->stats;
	pthread_mutex_unlock(&m->lock);
}

void store_fault_arm(struct store *s, unsigned nth_write, unsigned nth_sync)
{
	pthread_mutex_lock(&s->lock);
	s->fault_write = (struct fault){.left = nth_write};
	s->fault_sync = (struct fault){.left = nth_sync};
	pthread_mutex_unlock(&s->lock);
}

void store_fault_every(struct store *s, unsigned nth_write, unsigned nth_sync)
{
	pthread_mutex_lock(&s->lock);
	s->fault_write = (struct fault){.left = nth_write, .every = nth_write};
	s->fault_sync = (struct fault){.left = nth_sync, .every = nth_sync};
	pthread_mutex_unlock(&s->lock);
}
