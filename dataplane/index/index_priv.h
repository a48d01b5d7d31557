/* index_priv.h - inside index/, and for the tests that must build collisions. */
#ifndef VIGIL_INDEX_INDEX_PRIV_H
#define VIGIL_INDEX_INDEX_PRIV_H

#include <assert.h>

#include "index/arena.h"
#include "index/index.h"

/* Judy holds one word under one word, a locator is two.  A keyed two-round Feistel permutation turns the
   locator into (key, value): no information is lost, so key and value together are exact; and nobody without
   the seed can choose locators whose keys meet, or crowd in one bucket: key is the half that was mixed with a
   hash of all the rest. */
struct index_pair {
	uint64_t key, value;
};
struct index_pair index_permute(const struct locator *l, uint64_t seed);
struct locator index_unpermute(struct index_pair p, uint64_t seed);

/* The locators lie in buckets, chosen by the low bits of the key and split one after the other as their number
   grows (linear hashing), so growth is many small steps.  A bucket is one Judy array in an arena of its own and
   one fixed piece of filter, whose address follows from the key alone.

   The mean load is where Judy's leaves need least memory.  It gives the filter 20 bits a key on the whole: 40 to 20 in the
   buckets that a round has split, 20 down to 10 in those that wait for it.  What passes it wrongly costs a walk of a cold Judy
   array, a hundred times a look into the filter: at 16 bits that was a third of the time of all misses at 100 M
   locators. */
#define BUCKET_LOAD       4096u
#define FILTER_SZ         10240u /* of a bucket */
#define FILTER_WORDS      4u     /* of 64 bits in a block: half a cache line */
#define FILTER_BLOCKS     (FILTER_SZ / (FILTER_WORDS * 8u))
#define SEGMENT_BUCKETS   204u /* their filters are one huge page */
#define SEGMENT_FILTER_SZ ((size_t)2 << 20)
#define MOVE_PER_EDIT     8u /* keys moved by one add or delete while something is to be moved */
#define NO_BUCKET         UINT32_MAX

struct index_bucket {
	void *judy;
	struct arena arena;
	uint32_t cnt;   /* keys in judy */
	uint32_t stale; /* deleted keys whose bits are still in the filter */
};

struct index_segment {
	uint64_t *filter;
	struct index_bucket bucket[SEGMENT_BUCKETS];
};

/* A split, a merge or a renewal in progress: keys go in order from the sources, which nobody else reaches any
   more, into the buckets they now belong to.  Keys from (pos, cursor) on are still in their source.  Meanwhile
   the filters of the targets hold at least what they must; fresh ones are built beside and replace them. */
struct index_move {
	bool active;
	uint32_t target[2]; /* the second is NO_BUCKET for a merge or a renewal */
	struct index_bucket source[2];
	uint32_t source_low[2]; /* the source's number when it was a bucket */
	unsigned source_cnt, source_depth;
	unsigned pos;
	uint64_t cursor;
	uint64_t fresh[2][FILTER_SZ / 8];
};

/* One transaction of the recent blocks, under those of its two locators that map to this shard. */
struct recent_tx {
	struct hash256 txid;
	uint32_t next[2]; /* by scheme: the entry before it in its chain */
	uint32_t tx_idx : 30;
	uint32_t mine : 2; /* bit by scheme */
};
static_assert(BLOCK_TX_MAX < 1u << 30, "a place in a block fits");

#define RECENT_PAGE_TXS   4096u
#define RECENT_PAGE_HEADS 16384u

/* One recent block: its part of the queue of transactions. */
struct recent_block {
	struct hash256 hash;
	uint32_t height;
	uint32_t tx_first, tx_cnt;
	uint32_t entry_cnt;
	uint64_t last_byte_ns;
};

struct index_shard {
	uint64_t seed;
	unsigned shard_idx, shard_cnt;
	/* 2^level + split buckets: the first split ones of this round have been split already. */
	unsigned level;
	uint32_t split;
	uint64_t **
		filter; /* the segments' filters side by side: all that a miss reads beside the filter itself */
	struct index_segment **segment;
	uint32_t segment_cnt, segment_cap;
	uint32_t touched; /* filters with memory behind them */
	struct arena_pool pool;
	struct index_move *move;
	/* For index_maintain: the bucket to look at next, how many in a row needed nothing, and how many of the first
	   segments have been asked to be huge pages. */
	uint32_t patrol, patrol_idle, huge_cnt;
	uint64_t moved_keys, renewals;
	uint64_t cnt;
	/* Pairs whose key another pair already has in Judy.  Practically always empty. */
	struct index_pair *overflow;
	size_t overflow_cnt, overflow_cap;
	/* A pair of value zero has been added since the last clear: Judy's fresh slots cannot be told from it. */
	bool zero_value;
	/* Locators that index_load keeps back, and as much room to sort them in. */
	struct index_pair *load;
	uint32_t load_cnt;
	/* Recent blocks, oldest first; their transactions at positions [tx_first, tx_end), in pages found by position; and
	   the table of chains over them, which grows like the buckets: 2^chain_level + chain_split heads. */
	struct recent_block *recent;
	size_t recent_cnt, recent_cap;
	struct recent_tx **tx_page;
	uint32_t tx_page_cnt, tx_page_cap;
	uint32_t tx_first, tx_end;
	uint32_t **head_page;
	uint32_t head_page_cnt, head_page_cap;
	unsigned chain_level;
	uint32_t chain_split;
	uint64_t recent_txids; /* entries */
};

/* segment.c */
bool segment_add(struct index_shard *s);
void segment_drop(struct index_shard *s);
void segment_is_full(struct index_shard *s, uint32_t idx);
bool segment_make_huge(struct index_shard *s); /* false: nothing to do */

/* bucket.c.  Pairs by key; at most one value a key. */
bool bucket_init(struct index_shard *s);
void bucket_clear(struct index_shard *s); /* back to one empty bucket */
void bucket_fini(struct index_shard *s);
uint64_t *bucket_get(const struct index_shard *s, uint64_t key); /* its value, or NULL */
int bucket_put(struct index_shard *s, uint64_t key, uint64_t value);
void bucket_del(struct index_shard *s, uint64_t key);
/* The bounded work that follows an edit of key: at most max keys are moved. */
void bucket_work(struct index_shard *s, uint64_t key, unsigned max);
bool bucket_patrol(struct index_shard *s, unsigned max);
/* Gives an empty shard the buckets for cnt keys.  Only saves moving. */
void bucket_expect(struct index_shard *s, uint64_t cnt);
/* Puts pairs whose values are not zero, while no pair in s has value zero.  taken: there is a pair under its key already,
   with *value.  Sorts p; scratch has room for cnt.  0, or an error after which some are in and some are not. */
int bucket_put_many(struct index_shard *s, struct index_pair *p, uint32_t cnt, struct index_pair *scratch,
		    int (*taken)(struct index_shard *s, uint64_t *value, struct index_pair p));
uint64_t bucket_filter_bytes(const struct index_shard *s);
uint64_t bucket_judy_bytes(const struct index_shard *s);

static inline uint32_t bucket_cnt(const struct index_shard *s)
{
	return (1u << s->level) + s->split;
}

static inline uint32_t bucket_of(const struct index_shard *s, uint64_t key)
{
	uint32_t low = (uint32_t)key & ((1u << s->level) - 1);
	uint32_t more = (uint32_t)key & ((2u << s->level) - 1);

	return low < s->split ? more : low;
}

/* --- the filter: eight bits a key, two in each word of one block --------------------------------------------- */

static inline unsigned filter_block(uint64_t key)
{
	return (unsigned)((key >> 48) * FILTER_BLOCKS >> 16) * FILTER_WORDS;
}

static inline uint64_t filter_hash(uint64_t key)
{
	return key * 0x9e3779b97f4a7c15ull;
}

static inline uint64_t filter_mask(uint64_t hash, unsigned word)
{
	return 1ull << (hash >> (16 + 12 * word) & 63) | 1ull << (hash >> (22 + 12 * word) & 63);
}

static inline uint64_t *filter_of(const struct index_shard *s, uint32_t bucket)
{
	return s->filter[bucket / SEGMENT_BUCKETS] + (size_t)(bucket % SEGMENT_BUCKETS) * (FILTER_SZ / 8);
}

static inline void filter_set(uint64_t *filter, uint64_t key)
{
	uint64_t *b = filter + filter_block(key), h = filter_hash(key);

	for (unsigned i = 0; i < FILTER_WORDS; i++)
		b[i] |= filter_mask(h, i);
}

static inline bool filter_test(const uint64_t *block, uint64_t key)
{
	uint64_t h = filter_hash(key), lacks = 0;

	for (unsigned i = 0; i < FILTER_WORDS; i++)
		lacks |= filter_mask(h, i) & ~block[i];
	return lacks == 0;
}

/* recent.c */
void index_recent_clear(struct index_shard *s);
uint64_t index_recent_bytes(const struct index_shard *s);

#endif
