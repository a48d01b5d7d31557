/* index_priv.h - inside index/, and for the tests that must build collisions. */
#ifndef VIGIL_INDEX_INDEX_PRIV_H
#define VIGIL_INDEX_INDEX_PRIV_H

#include "index/index.h"

/* Judy holds one word under one word, a locator is two.  A keyed two-round Feistel permutation turns the
   locator into (key, value): no information is lost, so key and value together are exact; and nobody without
   the seed can choose locators whose keys meet. */
struct index_pair {
	uint64_t key, value;
};
struct index_pair index_permute(const struct locator *l, uint64_t seed);
struct locator index_unpermute(struct index_pair p, uint64_t seed);

/* One transaction of a recent block, under one of its two locators. */
struct recent_entry {
	struct hash256 txid;
	uint32_t tx_idx;
	uint32_t scheme;
};

/* One recent block in one shard: the entries that map to this shard, and an open-addressing table over them. */
struct recent_block {
	struct hash256 hash;
	uint32_t height;
	uint32_t entry_cnt;
	uint32_t slot_mask;
	uint64_t last_byte_ns;
	struct recent_entry *entry;
	uint32_t *slot; /* entry number + 1; 0 is empty */
};

struct index_shard {
	void *judy; /* JudyL: key -> value */
	uint64_t cnt;
	uint64_t seed;
	unsigned shard_idx, shard_cnt;
	/* Pairs whose key another pair already has in Judy.  Practically always empty. */
	struct index_pair *overflow;
	size_t overflow_cnt, overflow_cap;
	/* Recent blocks, oldest first. */
	struct recent_block *recent;
	size_t recent_cnt, recent_cap;
	uint64_t recent_txids, recent_bytes;
};

void index_recent_clear(struct index_shard *s);

#endif
