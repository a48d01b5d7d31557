/* store.h - RocksDB behind one small interface: column families, atomic batches, grouped syncs, page reads.

   Threads  One caller thread (the state thread).  The store runs one thread of its own that only syncs the
            write-ahead log; completions are handed back by store_poll on the caller's thread.
   Order    A batch is atomic and visible to reads as soon as store_write returns.  It is durable when its done
            callback has been called with ok = true.  Syncs are grouped: one sync serves every batch written
            before it began, and one that follows a sync of four batches or more waits for others as long as
            that took, 1 ms at most.
   Values   Every value starts with a version byte; the store's own format number is in `meta`.
   Errors   Strings from RocksDB are logged and mapped to the codes below; none escapes.
   Full disk  A write is refused with -ENOSPC, untouched, while the file system has less than the reserve left (128 MiB, or
            a sixteenth of a small file system): so RocksDB's own work in the background does not run into
            the wall, and reads go on as ever.  When space is back the next write works.
   Recovery After a write or sync that failed in the operating system RocksDB refuses all further writes until it is
            opened again.  store_recover does that, on the caller's thread, once a test file shows that the
            disk takes data again.  Reads work before and after it (if the re-open fails, from a read-only
            copy).  Everything that can be read after a successful one is durable, for opening replays the
            log into synced files; batches whose callback said false may or may not be among it, so the
            caller must look: store_epoch has then changed.  While a checkpoint is made it waits: an attempt
            then fails at once.
   Log      The write-ahead log is replayed as RocksDB's "tolerate corrupted tail records": what a crash left half written at
            its end is dropped, and a record damaged anywhere else refuses the start.  (The default mode would
            silently forget everything after the damage, receipts included.)
   Damage   A store whose files do not fit together, or that has files and no CURRENT to name them (RocksDB would begin
            a new one and delete them), is refused with what to do, and nothing in it is changed.  A damaged table or
            blob is found when it is read: -EIO, and a log line that names the file. */
#ifndef VIGIL_STORE_STORE_H
#define VIGIL_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_cf {
	STORE_META,         /* name -> value */
	STORE_USERS,        /* user id -> record */
	STORE_APPOINTMENTS, /* locator || user -> record (large values in blob files) */
	STORE_BY_USER,      /* user || locator -> a few bytes: what can be known of the row without its blob */
	STORE_TRACKERS,     /* locator || user -> record */
	STORE_BY_PENALTY,   /* penalty txid || locator || user -> empty */
	STORE_EXPIRY,       /* height (BE) || user -> empty */
	STORE_HEADERS,      /* height (BE) -> header, hash, work */
	STORE_UNDO,         /* height (BE) || kind || locator || user -> what a disconnect takes back */
	STORE_CONFIRMED,    /* height of the penalty (BE) || locator || user -> empty */
	STORE_CF_CNT
};

#define STORE_FORMAT 1u

struct store;
struct store_batch;

struct slice {
	const uint8_t *p;
	size_t sz;
};

/* Opens or creates, and migrates an older format (migrate.h).  0, or -errno (-EPROTO: written by a newer version; -EBUSY:
   locked by another process; -ENOSPC: the disk is full; -EBADMSG: damaged); *why gets one actionable sentence, valid
   until the next call. */
int store_open(struct store **out, const char *dir, const char **why);
/* Waits for the running sync; done callbacks still owed are called with ok = false unless synced. */
void store_close(struct store *s);

struct store_batch *store_batch_new(struct store *s);
void store_batch_free(struct store_batch *b);
void store_put(struct store_batch *b, enum store_cf cf, struct slice key, struct slice value);
void store_del(struct store_batch *b, enum store_cf cf, struct slice key);

/* Writes the batch atomically (not yet synced) and asks for a sync; done may be NULL.  Returns 0 and done is called
   once from store_poll; or -errno, and then nothing was written and done is never called.  The batch is
   emptied, not freed. */
int store_write(struct store *s, struct store_batch *b, void (*done)(void *arg, bool ok), void *arg);

/* 0, -ENOENT or -EIO.  *value points into memory of the store, valid until the next store_get. */
int store_get(struct store *s, enum store_cf cf, struct slice key, struct slice *value);
bool store_has(struct store *s, enum store_cf cf, struct slice key);

/* Walks keys >= from that start with prefix, ascending (or with reverse downwards from `from`, inclusive, or from the
   end of the prefix if it is empty), until cb returns false.  want_values = false gives empty values; use it on
   column families with small values, because RocksDB reads the blob file of a large one all the same.  cb may
   read and write the store, and sees it as it was when the walk began.  0 or -EIO. */
int store_scan(struct store *s, enum store_cf cf, struct slice prefix, struct slice from, bool reverse,
	       bool want_values, bool (*cb)(void *arg, struct slice key, struct slice value), void *arg);

/* Readable when store_poll has something to do (for the event loop). */
int store_event_fd(const struct store *s);
/* Calls the done callbacks of batches whose sync has finished. */
void store_poll(struct store *s);
/* False while the last write or sync failed. */
bool store_ok(const struct store *s);
/* Brings a store back that has failed in the operating system (see Recovery); does nothing otherwise.  Attempts that
   fail are spaced by 100 ms doubling to 5 s: calls in between return at once.  Not from a store_scan callback.
   First calls the owed done callbacks with false.  True: nothing is wrong (any more). */
bool store_recover(struct store *s);
/* Changes when store_recover has opened the database again. */
uint64_t store_epoch(const struct store *s);
/* After many rows were deleted: begins to bring their space back, in the background.  Tables full of deletions are compacted at
   once in any case, but the last deletions would stay in memory until enough else was written. */
void store_reclaim(struct store *s);
/* Bytes that must stay free, instead of the default; 0 turns the check off. */
void store_reserve_set(struct store *s, uint64_t bytes);

struct store_stats {
	uint64_t batches, syncs, failures, recoveries;
};
void store_stats_get(const struct store *s, struct store_stats *out);

/* --- backup: a checkpoint of the open store, that another can be started from

   Everything written before the begin is in it, and of what is written meanwhile a part, in order.  It is made on a
   thread of its own as DIR/store, from links to the files that do not change any more and copies of the rest (the disk
   gives room for the log, at most 128 MiB); on another file system everything is copied.  DIR appears when it is
   complete and synced; until then it is DIR.partial.  It is refused when it would take of the reserve (Full disk).  The
   tower's key is not in it: whoever has both is the tower. */
enum store_checkpoint_state {
	STORE_CHECKPOINT_NONE,
	STORE_CHECKPOINT_RUNNING,
	STORE_CHECKPOINT_DONE,
	STORE_CHECKPOINT_FAILED
};
struct store_checkpoint {
	enum store_checkpoint_state state;
	uint64_t ms; /* it took */
	char dir[1024], why[512];
};
/* 0, -EBUSY while one is running, -EINVAL for a path that is not absolute or too long, -EAGAIN without threads.  dir
   must not exist, its parent must.  Not while the store has failed: -EIO. */
int store_checkpoint_begin(struct store *s, const char *dir);
/* The last one begun. */
void store_checkpoint_get(struct store *s, struct store_checkpoint *out);

/* Fault injection for tests: the n-th write (sync) from now fails with -ENOSPC; 0 disarms. */
void store_fault_arm(struct store *s, unsigned nth_write, unsigned nth_sync);
/* The same again and again, n and n + 1 calls apart in turn. */
void store_fault_every(struct store *s, unsigned nth_write, unsigned nth_sync);

#endif
