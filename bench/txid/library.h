/* library.h - the same hashes by well-kept libraries, in the fastest way each offers to a caller who has the parts
   of a preimage in one buffer: no copy, no lookup of the algorithm per call.

   Threads None: contexts are static. */
#ifndef VIGIL_BENCH_TXID_LIBRARY_H
#define VIGIL_BENCH_TXID_LIBRARY_H

#include "btc/block.h"

struct library {
	const char *name;
	void (*hash)(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt);
	void (*pairs)(struct hash256 *out, const struct hash256 *in, size_t pair_cnt);
};

#define LIBRARY_CNT 3u
extern const struct library libraries[LIBRARY_CNT];

bool libraries_init(void);

#endif
