/* store_priv.h - inside of the store: the database (db.c); the store on top of it (store.c), its reads (read.c) and
   grouped syncs (sync.c); formats (migrate.c) and copies (checkpoint.c). */
#ifndef VIGIL_STORE_STORE_PRIV_H
#define VIGIL_STORE_STORE_PRIV_H

#include <limits.h>
#include <pthread.h>
#include <rocksdb/c.h>

#include "store/checkpoint.h"
#include "store/store.h"

#define STORE_WHY_SZ 512u

/* The open database and all that belongs to it.  db is NULL while it could not be opened again. */
struct db {
	rocksdb_t *db;
	rocksdb_column_family_handle_t *cf[STORE_CF_CNT];
	rocksdb_options_t *opt[STORE_CF_CNT]; /* [0] also holds what is database-wide */
	rocksdb_cache_t *cache;
	rocksdb_writeoptions_t *wo;
	rocksdb_readoptions_t *ro;
	bool read_only;
	char *dir;
	char wal_dir[PATH_MAX]; /* on its own, so that wal_sync has little to list */
	char why[STORE_WHY_SZ];
};

/* 0 or -errno with d->why set. */
int db_init(struct db *d, const char *dir);
int db_open(struct db *d, bool read_only);
void db_close(struct db *d);
/* Begins to write what is in memory only into tables; does not wait. */
void db_flush(struct db *d);
void db_release(struct db *d);

/* Frees a RocksDB error after writing it to the log; -EIO. */
int db_error(const char *event, char *err);

/* Sets d->why: the store is damaged, what, and what to do. */
void db_say_damaged(struct db *d, const char *what);

/* Bytes free for us, and of the whole file system.  False if that cannot be known. */
bool db_space(const struct db *d, uint64_t *free_sz, uint64_t *total_sz);
/* Writes and syncs a small file beside the database: does the disk take data? */
bool db_disk_takes_data(const struct db *d);

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
	uint64_t group_cnt, sync_ns; /* of the last sync: batches covered, duration; the thread's own */
};

struct store_batch {
	struct store *s;
	rocksdb_writebatch_t *wb;
};

/* Counts a call: does it fail?  The distance alternates, or callers that try again in step would fail for ever. */
bool store_fault_due(struct fault *f);

/* sync.c.  The thread; room for one more callback, to be had before a write; the callback of batch seq; answering all up
   to seq. */
void *store_sync_main(void *store);
bool store_ring_room(struct store *s);
void store_ring_push(struct store *s, uint64_t seq, void (*done)(void *, bool), void *arg);
void store_answer(struct store *s, uint64_t seq, bool ok);

/* read.c.  What the last store_get gave is let go. */
void store_unpin(struct store *s);

struct formats;

/* Brings the store to f->current, as migrate.h says.  0, or -errno with a clause in why[STORE_WHY_SZ]. */
int store_migrate(struct store *s, const struct formats *f, char *why);
/* As store_write, but on disk when it returns.  Only while the sync thread does not run. */
int store_write_synced(struct store *s, struct store_batch *b);
/* False also if that cannot be read. */
bool store_is_empty(struct store *s, enum store_cf cf);

#endif
