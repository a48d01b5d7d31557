/* wal.h - makes the write-ahead log durable: fdatasync of its files, beside RocksDB and not through it.

   RocksDB's own call for this asserts, and so ends the process, when it meets a log whose last write has just failed:
   a disk that refuses one write would kill the tower in the middle of its most important moment.  The log is a
   directory of plain files that RocksDB hands to the kernel whole with every write, so whoever syncs all
   files that are in it makes every finished write durable; a file that is gone has been replaced by
   synced tables.

   Threads  wal_open and wal_close by the owner, wal_sync by one thread at a time. */
#ifndef VIGIL_STORE_WAL_H
#define VIGIL_STORE_WAL_H

struct wal;

/* dir must exist.  NULL with errno set. */
struct wal *wal_open(const char *dir);
void wal_close(struct wal *w);
/* Every write that had returned before this call is on disk when it returns 0.  -errno otherwise. */
int wal_sync(struct wal *w);

#endif
