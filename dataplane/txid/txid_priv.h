/* txid_priv.h - what the kernels share.  Included only from txid/ and its tests.

   A kernel is an engine, which runs SHA-256 over several messages at once, under one scheduler (run.c), which
   knows transactions.  Only engines are compiled for more than the baseline instruction set. */
#ifndef VIGIL_TXID_TXID_PRIV_H
#define VIGIL_TXID_TXID_PRIV_H

#include "btc/bytes.h"
#include "txid/txid.h"

#define TXID_LANE_MAX 16u

extern const struct txid_kernel txid_portable;
extern const struct txid_kernel txid_avx2;         /* VIGIL_HAVE_AVX2 */
extern const struct txid_kernel txid_shani;        /* VIGIL_HAVE_SHANI */
extern const struct txid_kernel txid_shani4;       /* VIGIL_HAVE_SHANI */
extern const struct txid_kernel txid_avx512;       /* VIGIL_HAVE_AVX512 */
extern const struct txid_kernel txid_avx512_shani; /* VIGIL_HAVE_AVX512 and VIGIL_HAVE_SHANI */

/* The initial state with the words in order, as they lie in memory. */
#define TXID_IV_ORDERED                                                                                       \
	{                                                                                                     \
		{                                                                                             \
			0x67, 0xe6, 0x09, 0x6a, 0x85, 0xae, 0x67, 0xbb, 0x72, 0xf3, 0x6e, 0x3c, 0x3a, 0xf5,   \
				0x4f, 0xa5, 0x7f, 0x52, 0x0e, 0x51, 0x8c, 0x68, 0x05, 0x9b, 0xab, 0xd9, 0x83, \
				0x1f, 0x19, 0xcd, 0xe0, 0x5b,                                                 \
		}                                                                                             \
	}

/* States are 32 bytes each at any alignment, in whatever order of words the engine likes. */
struct txid_engine {
	unsigned lane_cnt; /* messages at once, at most TXID_LANE_MAX */
	/* Takes over when at most narrow_max lanes have work; NULL and 0 if nothing is faster then.  Its states
	   have the same order of words. */
	unsigned narrow_max;
	const struct txid_engine *narrow;
	struct hash256 iv; /* the state before the first block */
	/* cnt >= 1 blocks from each p[i] into *st[i], i < lane_cnt.  Several st[i] may be the same: what
	   becomes of that one is undefined. */
	void (*blocks)(struct hash256 *const st[], const uint8_t *const p[], size_t cnt);
	/* From the state of the whole message to sha256d of it, in place. */
	void (*finish)(struct hash256 *const st[]);
};

/* Which of cnt >= 1 kernels, in the order of txid_kernels(), to take when they took so long: the fastest, but a later
   one that is less than a TXID_RACE_EDGE-th slower is preferred.  So noise between kernels that are as good as equal
   does not change the choice from one start to the next. */
#define TXID_RACE_EDGE 16u
size_t txid_fastest(const uint64_t *ns, size_t cnt);

/* txid_kernel.hash by that engine. */
void txid_run(const struct txid_engine *e, const uint8_t *p, const struct tx_view *tx, struct hash256 *txid,
	      size_t cnt);

#ifdef VIGIL_HAVE_SHANI
/* Four lanes and one, by the SHA extensions, for engines whose states have the words in order. */
extern const struct txid_engine txid_shani_ordered;
#endif
extern const struct txid_engine txid_portable_engine;

#endif
