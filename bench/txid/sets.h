/* sets.h - what vigil-bench-txid hashes: the transactions of synthetic or given blocks, and mixes made up here.

   Threads None.
   Memory  The caller frees with set_free(). */
#ifndef VIGIL_BENCH_TXID_SETS_H
#define VIGIL_BENCH_TXID_SETS_H

#include "btc/block.h"

struct set {
	char name[32];
	uint8_t *bytes;
	struct tx_view *tx;
	size_t cnt;
	size_t block_cnt;
	size_t *first;      /* of block i: [first[i], first[i + 1]) */
	size_t stripped_sz; /* bytes of all preimages */
	size_t padded_sz;   /* bytes that SHA-256 sees, of the second hash, too */
};

/* The first blocks of these files, raw or blk*.dat, at most block_max of them.  False with a sentence in why. */
bool set_of_files(struct set *s, char *const *path, unsigned path_cnt, size_t block_max, char *why,
		  size_t why_sz);

/* Blocks of about block_bytes each, with sizes and shapes as mainnet has them. */
bool set_of_synthetic(struct set *s, size_t block_cnt, uint32_t block_bytes, char *why, size_t why_sz);

/* Mixes, by index; false past the last. */
bool set_of_mix(struct set *s, unsigned idx);

/* cnt transactions that all lie on the same sz bytes, which stay in the first-level cache. */
bool set_of_raw(struct set *s, size_t cnt, uint32_t sz);

void set_free(struct set *s);

#endif
