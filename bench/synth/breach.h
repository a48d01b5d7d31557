/* breach.h - a revoked commitment transaction and the penalty that punishes it, as Lightning nodes make them
   (forms of BOLT 3), with random keys and signatures.

   Threads Pure functions. */
#ifndef VIGIL_SYNTH_BREACH_H
#define VIGIL_SYNTH_BREACH_H

#include "btc/hash.h"

#define BREACH_TX_SZ_MAX 2048u

struct breach {
	uint8_t dispute[BREACH_TX_SZ_MAX];
	uint32_t dispute_sz;
	struct hash256 dispute_txid;
	uint8_t penalty[BREACH_TX_SZ_MAX];
	uint32_t penalty_sz;
	struct hash256 penalty_txid;
};

/* The breach number id of a seed: always the same.  Dispute: version 2, locktime 0x20......, one input with
   sequence 0x80......, to_local and HTLCs as P2WSH, to_remote as P2WPKH, in BIP 69 order.  Penalty: spends
   to_local and, when there are any, up to two HTLCs; it is never longer than 898 bytes. */
void breach_make(struct breach *out, uint64_t seed, uint64_t id);

#endif
