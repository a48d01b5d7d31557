/* set.h - the blocks that vigil-bench-scan scans, and the locators planted among them.

   Blocks lie in buffers of the dataplane's own pool, as if they had just arrived.  A transaction is planted when a
   hash of its txid says so, so the same one is planted wherever it stands; its locator is watched in one of the
   two forms.  Everything that a scan must find is worked out here with the portable kernel.
   Threads  One thread makes it; it is only read afterwards.
   Memory   Taken by set_make, given back by set_free. */
#ifndef VIGIL_BENCH_SCAN_SET_H
#define VIGIL_BENCH_SCAN_SET_H

#include "scan/scan.h"

#define SET_BLOCKS_MAX 256u

struct set_block {
	struct block_buf *buf;
	struct hash256 hash;
	struct scan_hit *hit; /* what is to be found, in order */
	uint32_t hit_cnt;
};

struct set {
	struct block_pool *pool;
	struct set_block block[SET_BLOCKS_MAX];
	uint32_t block_cnt;
	uint64_t bytes, stripped_bytes, txs, hits;
	struct locator *plant;
	uint32_t plant_cnt;
};

/* block_cnt synthetic blocks of about block_bytes each.  0, or -1 with a sentence in why. */
int set_make_synthetic(struct set *s, uint32_t block_cnt, uint32_t block_bytes, uint64_t seed, char *why,
		       size_t why_sz);
/* The first blocks of these files, raw or blk*.dat, at most block_max of them; every one must be valid. */
int set_make_files(struct set *s, char *const *path, unsigned path_cnt, uint32_t block_max, char *why,
		   size_t why_sz);
void set_free(struct set *s);

/* Whether these are exactly the hits of block i. */
bool set_hits_right(const struct set *s, uint32_t i, const struct scan_hit *hit, uint32_t hit_cnt);

/* The locator number i of those that are never hit. */
struct locator set_decoy(uint64_t i);

#endif
