/* store_priv.h - inside of the store: the database (db.c), the grouped syncs on top of it (store.c), formats
   (migrate.c) and copies (checkpoint.c). */
#ifndef VIGIL_STORE_STORE_PRIV_H
#define VIGIL_STORE_STORE_PRIV_H

#include <limits.h>
#include <rocksdb/c.h>

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

struct formats;

/* Brings the store to f->current, as migrate.h says.  0, or -errno with a clause in why[STORE_WHY_SZ]. */
int store_migrate(struct store *s, const struct formats *f, char *why);
/* As store_write, but on disk when it returns.  Only while the sync thread does not run. */
int store_write_synced(struct store *s, struct store_batch *b);
/* False also if that cannot be read. */
bool store_is_empty(struct store *s, enum store_cf cf);

#endif
