#include "txid/txid_priv.h"

#include <stdlib.h>
#include <time.h>

/* Slowest first, by measurement (bench/txid) on a CPU that has them all.  On others the order differs: where SHA
   instructions are slow, the wide vectors win. */
static const struct txid_kernel *const kernels[] = {
	&txid_portable,
#ifdef VIGIL_HAVE_AVX2
	&txid_avx2,
#endif
#ifdef VIGIL_HAVE_SHANI
	&txid_shani,
#endif
#ifdef VIGIL_HAVE_AVX512
	&txid_avx512,
#ifdef VIGIL_HAVE_SHANI
	&txid_avx512_shani,
#endif
#endif
#ifdef VIGIL_HAVE_SHANI
	&txid_shani4,
#endif
};

#define KERNEL_CNT (sizeof(kernels) / sizeof(kernels[0]))

const struct txid_kernel *const *txid_kernels(size_t *cnt)
{
	*cnt = KERNEL_CNT;
	return kernels;
}

/* The race: a small block's worth of transactions, small enough that all rounds of all kernels take a few ms. */
#define RACE_TX_CNT   96u
#define RACE_ROUNDS   8u
#define RACE_BYTE_CNT 65536u

struct race {
	uint8_t bytes[RACE_BYTE_CNT];
	struct tx_view tx[RACE_TX_CNT];
	struct hash256 txid[RACE_TX_CNT], pair[RACE_TX_CNT / 2];
};

static void race_init(struct race *r)
{
	/* Stripped sizes as blocks have them: most of one or two inputs, some of many. */
	static const uint16_t sz[] = {113, 226, 150, 340, 113, 490, 222, 2100};

	memset(r->bytes, 0x5a, sizeof(r->bytes));
	for (unsigned i = 0; i < RACE_TX_CNT; i++) {
		bool segwit = i % 4 != 0;

		r->tx[i] = (struct tx_view){.off = i * 509u,
					    .sz = sz[i % 8] + (segwit ? 110 : 0),
					    .wit_sz = segwit ? 108 : 0,
					    .in_cnt = 1,
					    .out_cnt = 1,
					    .segwit = segwit};
	}
}

static uint64_t race_ns(struct race *r, const struct txid_kernel *k)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	k->hash(r->bytes, r->tx, r->txid, RACE_TX_CNT);
	/* A block has about as many pairs as transactions. */
	k->pairs(r->pair, r->txid, RACE_TX_CNT / 2);
	k->pairs(r->pair, r->txid, RACE_TX_CNT / 2);
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (uint64_t)((to.tv_sec - from.tv_sec) * 1000000000 + (to.tv_nsec - from.tv_nsec));
}

size_t txid_fastest(const uint64_t *ns, size_t cnt)
{
	uint64_t least = ns[0];
	size_t best = 0;

	for (size_t i = 1; i < cnt; i++)
		least = ns[i] < least ? ns[i] : least;
	for (size_t i = 0; i < cnt; i++)
		if (ns[i] - ns[i] / TXID_RACE_EDGE <= least)
			best = i;
	return best;
}

/* The best of several rounds counts, and the kernels take turns, so that an interruption or a change of the clock
   does not decide.  Without memory for the race the last one is taken. */
static const struct txid_kernel *fastest(const struct txid_kernel *const *k, size_t cnt)
{
	struct race *r = cnt > 1 ? malloc(sizeof(*r)) : NULL;
	uint64_t ns[KERNEL_CNT];
	size_t best;

	if (r == NULL)
		return k[cnt - 1];
	race_init(r);
	for (size_t i = 0; i < cnt; i++)
		ns[i] = race_ns(r, k[i]);
	for (unsigned round = 1; round < RACE_ROUNDS; round++) {
		for (size_t i = 0; i < cnt; i++) {
			uint64_t t;

			/* One that is hopeless need not run again. */
			if (ns[i] / 4 > ns[cnt - 1])
				continue;
			t = race_ns(r, k[i]);
			ns[i] = t < ns[i] ? t : ns[i];
		}
	}
	best = txid_fastest(ns, cnt);
	free(r);
	return k[best];
}

const struct txid_kernel *txid_select(unsigned features, const char *name_or_null, const char **why)
{
	const struct txid_kernel *can[KERNEL_CNT], *best;
	size_t cnt = 0;
	bool named = false;

	for (size_t i = 0; i < KERNEL_CNT; i++) {
		if (name_or_null != NULL && strcmp(kernels[i]->name, name_or_null) != 0)
			continue;
		named = true;
		if ((kernels[i]->need & ~features) == 0)
			can[cnt++] = kernels[i];
	}
	if (cnt == 0) {
		*why = named ? "this CPU lacks what the txid kernel needs"
			     : "no txid kernel of that name is compiled in";
		return NULL;
	}
	best = fastest(can, cnt);
	if (!txid_selftest(best)) {
		*why = "the txid kernel gives wrong hashes on this machine";
		return NULL;
	}
	return best;
}
