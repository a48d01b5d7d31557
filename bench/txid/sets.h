/* sets.h - what vigil-bench-txid hashes: transactions of block files, and mixes made up here.

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
	size_t stripped_sz; /* bytes of all preimages */
	size_t padded_sz;   /* bytes that SHA-256 sees, of the second hash, too */
};

/* The block in a file, as it is on the wire. */
bool set_of_file(struct set *s, const char *path);

/* Mixes, by index; false past the last. */
bool set_of_mix(struct set *s, unsigned idx);

/* cnt transactions that all lie on the same sz bytes, which stay in the first-level cache. */
bool set_of_raw(struct set *s, size_t cnt, uint32_t sz);

void set_free(struct set *s);

#endif
