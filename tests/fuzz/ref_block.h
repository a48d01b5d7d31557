/* ref_block.h - the slow, obvious reading of a block, to compare the fast one with.

   It follows spec/bitcoin.md section 11 sentence by sentence, copies every transaction's stripped form out, and
   shares no code with dataplane/btc but the constants and SHA-256. */
#ifndef VIGIL_TESTS_FUZZ_REF_BLOCK_H
#define VIGIL_TESTS_FUZZ_REF_BLOCK_H

#include "btc/hash.h"
#include "btc/verdict.h"

struct ref_tx {
	size_t off, sz;
	size_t stripped_sz;
	uint64_t in_cnt, out_cnt;
	struct hash256 txid;
};

struct ref_block {
	uint64_t tx_cnt;
	size_t stripped_sz, weight;
	struct ref_tx tx[BLOCK_TX_MAX];
};

/* What is wrong is named by the first thing that is, from left to right; weight and size are looked at last. */
enum parse_verdict ref_block(const uint8_t *p, size_t sz, struct ref_block *out);

/* One transaction at the start of p, as a node's decoder reads it: without inputs or outputs it is one, too. */
enum parse_verdict ref_tx(const uint8_t *p, size_t sz, struct ref_tx *out);

#endif
