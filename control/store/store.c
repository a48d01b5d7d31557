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

#define RESERVE_MAX     (128u << 20)
#define RECOVER_MIN_NS  100000000ull
#define RECOVER_MAX_NS  5000000000ull
#define PENDING_MIN_CNT 64u

/* A batch whose sync is owed to somebody. */
struct pending {
	uint64_t seq;
	void (*done)(void *arg, bool ok);
	void *arg;
};

/* A test's: calls until one fails, and then again. */
struct fault {
	unsigned left, every; /* 0: none */
	bool odd;
};

struct store {
	struct db db;
	struct checkpoint checkpoint;
	rocksdb_pinnableslice_t *pin; /* what the last store_get gave */
	uint64_t reserve;
	struct fault fault_write, fault_sync;
	uint64_t epoch, recover_at_ns, recover_wait_ns;
	struct store_stats stats;
	bool write_failed;

	/* Owed callbacks, a ring in order of seq.  Caller's thread only. */
	struct pending *ring;
	size_t ring_cap, ring_head, ring_cnt;

	int event_fd;
	pthread_t thread;
	struct wal *wal;
	/* Under the lock: batches written, batches synced, whether RocksDB must be opened again, and whether that is
	   because of a sync (then what was not synced before will not be). */
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	uint64_t written, synced;
	bool broken, sync_failed, syncing, stop, thread_runs;
};

/* Counts a call: does it fail?  The distance alternates, or callers that try again in step would fail for ever. */
static bool fault_due(struct fault *f)
{
	if (f->left == 0 || --f->left > 0)
		return false;
	f->odd = !f->odd;
	f->left = f->every > 0 ? f->every + f->odd : 0;
	return true;
}

struct store_batch {
	struct store *s;
	rocksdb_writebatch_t *wb;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- syncs ---------------------------------------------------------------------------------------------------- */

static void signal_caller(struct store *s)
{
	uint64_t one = 1;
	ssize_t n;

	do {
		n = write(s->event_fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
}

/* With the lock held on entry and exit. */
static void sync_once(struct store *s)
{
	uint64_t target = s->written;
	bool fault = fault_due(&s->fault_sync);
	uint64_t begun = meter_now_ns();
	int rc;

	s->syncing = true;
	pthread_mutex_unlock(&s->lock);
	rc = fault ? -ENOSPC : wal_sync(s->wal);
	meter_note(METER_SYNC, meter_now_ns() - begun, rc < 0 ? "failed" : "the store's log");
	if (rc < 0)
		log_error("store_sync_failed", "The store's log cannot be synced",
			  log_str("error", strerror(-rc)));
	if (rc == 0)
		KILL_POINT("store:after-sync");
	pthread_mutex_lock(&s->lock);
	s->syncing = false;
	s->stats.syncs++;
	if (rc < 0) {
		s->stats.failures++;
		s->broken = true;
		s->sync_failed = true;
	} else {
		s->synced = target;
	}
	pthread_cond_broadcast(&s->idle);
	signal_caller(s);
}

static void *sync_main(void *arg)
{
	struct store *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		if (!s->sync_failed && s->written > s->synced)
			sync_once(s);
		else if (s->stop)
			break;
		else
			pthread_cond_wait(&s->wake, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void ring_push(struct store *s, uint64_t seq, void (*done)(void *, bool), void *arg)
{
	s->ring[(s->ring_head + s->ring_cnt) % s->ring_cap] = (struct pending){seq, done, arg};
	s->ring_cnt++;
}

/* Before a write, so that a callback that is owed can always be kept. */
static bool ring_room(struct store *s)
{
	size_t cap = s->ring_cap == 0 ? PENDING_MIN_CNT : s->ring_cap * 2;
	struct pending *p;

	if (s->ring_cnt < s->ring_cap)
		return true;
	p = malloc(cap * sizeof(*p));
	if (p == NULL)
		return false;
	for (size_t i = 0; i < s->ring_cnt; i++)
		p[i] = s->ring[(s->ring_head + i) % s->ring_cap];
	free(s->ring);
	s->ring = p;
	s->ring_cap = cap;
	s->ring_head = 0;
	return true;
}

/* Answers everything up to seq. */
static void answer(struct store *s, uint64_t seq, bool ok)
{
	while (s->ring_cnt > 0 && s->ring[s->ring_head].seq <= seq) {
		struct pending p = s->ring[s->ring_head];

		s->ring_head = (s->ring_head + 1) % s->ring_cap;
		s->ring_cnt--;
		p.done(p.arg, ok);
		KILL_POINT("store:after-answer");
	}
}

void store_poll(struct store *s)
{
	uint64_t n, synced, written;
	bool failed;

	if (read(s->event_fd, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
		log_error("store_event", "Cannot read the store's event descriptor");
	pthread_mutex_lock(&s->lock);
	synced = s->synced;
	written = s->written;
	failed = s->sync_failed;
	pthread_mutex_unlock(&s->lock);
	answer(s, synced, true);
	if (failed)
		answer(s, written, false);
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
	if (s->event_fd < 0 || s->wal == NULL || !ring_room(s) ||
	    pthread_create(&s->thread, NULL, sync_main, s) != 0) {
		snprintf(s->db.why, sizeof(s->db.why), "store: out of descriptors or threads");
		return -EAGAIN;
	}
	s->thread_runs = true;
	return 0;
}

static void unpin(struct store *s)
{
	if (s->pin != NULL)
		rocksdb_pinnableslice_destroy(s->pin);
	s->pin = NULL;
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
		answer(s, s->synced, true);
		answer(s, UINT64_MAX, false);
	}
	checkpoint_fini(&s->checkpoint);
	unpin(s);
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
	int rc;

	if (!db_disk_takes_data(&s->db))
		return false;
	checkpoint_wait(&s->checkpoint);
	unpin(s);
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
	answer(s, s->synced, true);
	answer(s, UINT64_MAX, false);
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
	if (fault_due(&s->fault_write))
		return -ENOSPC;
	if (!space_left(s))
		return -ENOSPC;
	if (!ring_room(s))
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
			ring_push(s, s->written, done, arg);
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

/* --- reads ---------------------------------------------------------------------------------------------------- */

int store_get(struct store *s, enum store_cf cf, struct slice key, struct slice *value)
{
	char *err = NULL;

	unpin(s);
	if (s->db.db == NULL)
		return -EIO;
	s->pin = rocksdb_get_pinned_cf(s->db.db, s->db.ro, s->db.cf[cf], (const char *)key.p, key.sz, &err);
	if (err != NULL) {
		s->pin = NULL;
		return db_error("store_read_failed", err);
	}
	if (s->pin == NULL)
		return -ENOENT;
	value->p = (const uint8_t *)rocksdb_pinnableslice_value(s->pin, &value->sz);
	return 0;
}

bool store_has(struct store *s, enum store_cf cf, struct slice key)
{
	struct slice v;

	return store_get(s, cf, key, &v) == 0;
}

static bool starts_with(struct slice key, struct slice prefix)
{
	return key.sz >= prefix.sz && (prefix.sz == 0 || memcmp(key.p, prefix.p, prefix.sz) == 0);
}

static void seek(rocksdb_iterator_t *it, struct slice prefix, struct slice from, bool reverse)
{
	struct slice start = from.sz > 0 ? from : prefix;
	uint8_t end[128];
	size_t n;

	if (!reverse) {
		rocksdb_iter_seek(it, (const char *)start.p, start.sz);
		return;
	}
	if (from.sz > 0) {
		rocksdb_iter_seek_for_prev(it, (const char *)from.p, from.sz);
		return;
	}
	/* The end of the prefix: its successor of the same length, exclusive; without one, the end of all keys. */
	n = prefix.sz < sizeof(end) ? prefix.sz : sizeof(end);
	if (n > 0)
		memcpy(end, prefix.p, n);
	while (n > 0 && end[n - 1] == 0xff)
		n--;
	if (n == 0) {
		rocksdb_iter_seek_to_last(it);
		return;
	}
	end[n - 1]++;
	rocksdb_iter_seek(it, (const char *)end, n);
	if (rocksdb_iter_valid(it))
		rocksdb_iter_prev(it);
	else
		rocksdb_iter_seek_to_last(it);
}

int store_scan(struct store *s, enum store_cf cf, struct slice prefix, struct slice from, bool reverse,
	       bool want_values, bool (*cb)(void *arg, struct slice key, struct slice value), void *arg)
{
	rocksdb_iterator_t *it;
	char *err = NULL;

	if (s->db.db == NULL)
		return -EIO;
	it = rocksdb_create_iterator_cf(s->db.db, s->db.ro, s->db.cf[cf]);
	for (seek(it, prefix, from, reverse); rocksdb_iter_valid(it);) {
		struct slice key, value = {NULL, 0};

		key.p = (const uint8_t *)rocksdb_iter_key(it, &key.sz);
		if (!starts_with(key, prefix))
			break;
		if (want_values)
			value.p = (const uint8_t *)rocksdb_iter_value(it, &value.sz);
		if (!cb(arg, key, value))
			break;
		if (reverse)
			rocksdb_iter_prev(it);
		else
			rocksdb_iter_next(it);
	}
	rocksdb_iter_get_error(it, &err);
	rocksdb_iter_destroy(it);
	return err == NULL ? 0 : db_error("store_read_failed", err);
}

bool store_is_empty(struct store *s, enum store_cf cf)
{
	rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db.db, s->db.ro, s->db.cf[cf]);
	char *err = NULL;
	bool empty;

	rocksdb_iter_seek_to_first(it);
	empty = !rocksdb_iter_valid(it);
	rocksdb_iter_get_error(it, &err);
	rocksdb_iter_destroy(it);
	if (err != NULL)
		db_error("store_read_failed", err);
	return empty && err == NULL;
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
