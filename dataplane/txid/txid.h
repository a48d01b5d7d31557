/* txid.h - txids of many transactions and merkle roots, by a kernel chosen and self-tested at start.

   Threads txid_select at start-up, from one thread; the chosen kernel is pure and used by all.
   Memory  Kernels allocate nothing and use up to 64 KB of stack.  txid_kernel.hash works on the caller's bytes in
           place and only reads them; a transaction may lie against the end of what is mapped.  txid_select and
           txid_selftest borrow from the heap.
   Speed   The more transactions a call has, the fuller the lanes: from some dozens on it makes no difference. */
#ifndef VIGIL_TXID_TXID_H
#define VIGIL_TXID_TXID_H

#include "btc/block.h"
#include "btc/cpu.h"

struct txid_kernel {
	/* "portable", "avx2" (8 messages at once), "shani" (2), "avx512" (16), "avx512-shani" (16, stragglers
	   by SHA-NI), "shani4" (4). */
	const char *name;
	unsigned need; /* CPU_* bits, all required */
	/* txid[i] = sha256d of the preimage of tx[i] inside block p (see struct tx_view). */
	void (*hash)(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt);
	/* out[i] = sha256d(in[2i] || in[2i+1]); out may be the start of in. */
	void (*pairs)(struct hash256 *out, const struct hash256 *in, size_t pair_cnt);
};

/* All kernels compiled in, slowest first on a CPU that has everything.  *cnt gets their number. */
const struct txid_kernel *const *txid_kernels(size_t *cnt);

/* The fastest kernel here that needs no other features, by a race of a few ms on synthetic transactions; or the
   named one, without a race.  Kernels that come out nearly equal are told apart by the order of
   txid_kernels(), so that the choice is stable.  NULL with *why set when the name is unknown, the CPU lacks
   what it needs, or the self-test fails: then the process must stop, for a wrong txid is a missed breach, and
   silent. */
const struct txid_kernel *txid_select(unsigned features, const char *name_or_null, const char **why);

/* Compares a kernel with the portable one over lengths, alignments and known digests. */
bool txid_selftest(const struct txid_kernel *k);

/* Merkle root over cnt >= 1 leaves; *mutated is set if any level pairs two equal neighbours
   (CVE-2012-2459, spec/bitcoin.md section 12).  scratch has room for cnt + 1 hashes and may be leaf itself
   when leaf has that room and may be overwritten. */
struct hash256 merkle_root(const struct txid_kernel *k, const struct hash256 *leaf, size_t cnt,
			   struct hash256 *scratch, bool *mutated);

#endif
