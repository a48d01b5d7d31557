/* index.h - one shard of the watched locators and of the recent blocks.

   What it is for: a hundred million locators, thousands of lookups a block, adds and deletes between blocks.

   Threads  A shard belongs to one lcore.  Every call on it runs there, except index_shard_of and the stats
            getter.  No call locks.
   Memory   Allocated inside add, delete, maintain and block push; lookups allocate nothing.  About 25 bytes a
            locator.  Deletes give memory back in the same small steps in which adds take it.
   Time     One add or delete also moves at most a few keys from one Judy array into another, so growing,
            shrinking and the renewal of what many deletes have worn need no pause.
   Order    The owner calls index_add and then index_recent_find with no block in between, so an appointment
            either is seen by a block's lookup or sees the block; there is no gap (invariant I2).
   Keys     16 opaque bytes, exact on all 128 bits.  Which end of a txid they were taken from is unknown, so a
            block is looked up in both forms. */
#ifndef VIGIL_INDEX_INDEX_H
#define VIGIL_INDEX_INDEX_H

#include "btc/hash.h"

#define INDEX_BURST_MAX 64u

struct index_shard;

/* Which of shard_cnt shards owns a locator: XXH3 with a secret seed, so nobody can aim at one shard. */
unsigned index_shard_of(const struct locator *l, uint64_t seed, unsigned shard_cnt);

/* shard_idx of shard_cnt; seed as above.  NULL when memory is out. */
struct index_shard *index_new(unsigned shard_idx, unsigned shard_cnt, uint64_t seed);
void index_free(struct index_shard *s);
/* Forgets every locator and every recent block. */
void index_clear(struct index_shard *s);

/* Adds one locator.  0, or -ENOMEM (then it is not watched).  Present already: 0, no change. */
int index_add(struct index_shard *s, const struct locator *l);
/* Loading many: the same in the end as index_add of each, several times faster.  index_load keeps locators back, and puts
   INDEX_LOAD_MAX of them at a time where they belong (some hundred milliseconds); index_load_end puts the rest and gives the
   memory for it back, 32 MB.  Until then those kept back are in no lookup, no count and no delete: the owner ends
   the load before any other call.  0, or -ENOMEM: then some of those kept back are not watched. */
#define INDEX_LOAD_MAX (1u << 20)
int index_load(struct index_shard *s, const struct locator *l);
/* About cnt locators are to come, into an empty shard: a load then need not make room step by step.  A wrong number is put
   right by later adds and deletes. */
void index_load_expect(struct index_shard *s, uint64_t cnt);
int index_load_end(struct index_shard *s);
uint32_t index_load_cnt(const struct index_shard *s); /* kept back now */
/* Removes one.  0, or -ENOENT. */
int index_del(struct index_shard *s, const struct locator *l);
/* Moves up to INDEX_MAINTAIN_KEYS keys of what is due, or of what is worth it for a lcore that has nothing else to
   do; or has the kernel make one huge page of a piece of the filter.  A fraction of a millisecond, but for a huge
   page up to two.  Nothing depends on it being called.  False when there is nothing to do. */
#define INDEX_MAINTAIN_KEYS 512u
bool index_maintain(struct index_shard *s);
bool index_has(const struct index_shard *s, const struct locator *l);
uint64_t index_cnt(const struct index_shard *s);

/* Looks cnt <= INDEX_BURST_MAX locators up; bit i of the result is set when l[i] is watched here.
   All of them must belong to this shard. */
uint64_t index_lookup_burst(const struct index_shard *s, const struct locator *l, unsigned cnt);

/* --- recent blocks --------------------------------------------------------------------------------------- */

struct index_recent_hit {
	struct hash256 block_hash;
	uint32_t height;
	uint32_t tx_idx;
	enum locator_scheme scheme;
	struct hash256 txid;
	uint64_t last_byte_ns;
};

/* Remembers the block's txids that map to this shard in either form.  Blocks come in chain order.
   0, -ENOMEM. */
int index_block_push(struct index_shard *s, const struct hash256 *hash, uint32_t height,
		     const struct hash256 *txid, uint32_t tx_cnt, uint64_t last_byte_ns);
/* Takes the newest block back; no effect when the newest one is another (it has left the window already). */
void index_block_pop(struct index_shard *s, const struct hash256 *hash);
/* Forgets blocks at height <= below. */
void index_block_evict(struct index_shard *s, uint32_t below);
uint32_t index_block_cnt(const struct index_shard *s);

/* Finds a locator in the recent blocks, however many there are in about the same time, oldest first; fills at most
   max.  Returns how many there are (a txid can stand in two blocks only by the historic duplicate coinbases). */
unsigned index_recent_find(const struct index_shard *s, const struct locator *l, struct index_recent_hit *out,
			   unsigned max);

struct index_stats {
	uint64_t locators, judy_bytes, recent_blocks, recent_txids, recent_bytes;
	uint64_t filter_bytes;
	uint64_t buckets;              /* Judy arrays */
	uint64_t moved_keys, renewals; /* totals since index_new */
};
void index_stats_get(const struct index_shard *s, struct index_stats *out);

#endif
