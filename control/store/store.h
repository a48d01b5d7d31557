/* store.h - RocksDB behind one small interface: column families, atomic batches, grouped syncs, page reads.

   Threads  One caller thread (the state thread).  The store runs one thread of its own that only syncs the
            write-ahead log; completions are handed back by store_poll on the caller's thread.
   Order    A batch is atomic and visible to reads as soon as store_write returns.  It is durable when its done
            callback has been called with ok = true.  Syncs are grouped: one sync serves every batch written
            before it began.
   Values   Every value starts with a version byte; the store's own format number is in `meta`.
   Errors   Strings from RocksDB are logged and mapped to the codes below; none escapes. */
#ifndef VIGIL_STORE_STORE_H
#define VIGIL_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_cf {
	STORE_META,               /* name -> value */
	STORE_USERS,              /* user id -> record */
	STORE_APPOINTMENTS,       /* locator || user -> record (large values in blob files) */
	STORE_BY_USER,            /* user || locator -> empty */
	STORE_TRACKERS,           /* locator || user -> record */
	STORE_BY_PENALTY,         /* penalty txid || locator || user -> empty */
	STORE_EXPIRY,             /* height (BE) || user -> empty */
	STORE_HEADERS,            /* height (BE) -> header, hash */
	STORE_UNDO,               /* height (BE) || seq -> what a disconnect takes back */
	STORE_CF_CNT
};

#define STORE_FORMAT 1u

struct store;
struct store_batch;

struct slice {
	const uint8_t *p;
	size_t sz;
};

/* Opens or creates.  0, or -errno (-EPROTO: written by a newer version; -EBUSY: locked by another process); *why
   gets one actionable sentence, valid until the next call. */
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

/* Walks keys >= from that start with prefix, ascending (or from the end of the prefix downwards with reverse),
   until cb returns false.  want_values = false gives empty values and reads keys only.  0 or -EIO. */
int store_scan(struct store *s, enum store_cf cf, struct slice prefix, struct slice from, bool reverse,
               bool want_values, bool (*cb)(void *arg, struct slice key, struct slice value), void *arg);

/* Readable when store_poll has something to do (for the event loop). */
int store_event_fd(const struct store *s);
/* Calls the done callbacks of batches whose sync has finished. */
void store_poll(struct store *s);
/* False while the last write or sync failed; store_write tries anyway. */
bool store_ok(const struct store *s);

struct store_stats {
	uint64_t batches, syncs, failures;
};
void store_stats_get(const struct store *s, struct store_stats *out);

/* Fault injection for tests: the n-th write (sync) from now fails with -ENOSPC; 0 disarms. */
void store_fault_arm(struct store *s, unsigned nth_write, unsigned nth_sync);

#endif
