/* txmix.h - ordinary transactions as mainnet has them: shapes and sizes, with random contents.

   What it aims at (spec/bitcoin.md section 19): half of all transactions are one input and one or two outputs,
   226 bytes in the pre-segwit form, 110 to 150 stripped bytes in the segwit forms; a tail of batches and
   consolidations up to tens of kilobytes carries much of the bytes; a few witnesses are very large.  The tables
   are in txmix.c.  Nothing here is spendable: outpoints, keys and signatures are random bytes of the right form.

   Threads Pure functions over the caller's stream. */
#ifndef VIGIL_SYNTH_TXMIX_H
#define VIGIL_SYNTH_TXMIX_H

#include "synth/put.h"

/* The largest transaction txmix_write makes, in wire bytes. */
#define TXMIX_SZ_MAX 200000u
/* No transaction that txmix_write_small makes weighs more. */
#define TXMIX_SMALL_WEIGHT_MAX 800u

/* Appends a transaction drawn from the tables, in the extended encoding if segwit.  Returns its weight. */
uint32_t txmix_write(struct put *w, struct rng *r, bool segwit);
/* Appends one input, one output: for the last places of a block. */
uint32_t txmix_write_small(struct put *w, struct rng *r, bool segwit);

/* Pieces that planted transactions share.  A signature as it stands in a witness or script: DER, 71 or 72 bytes
   with the hash type. */
void txmix_put_signature(struct put *w, struct rng *r);
void txmix_put_pubkey(struct put *w, struct rng *r);

#endif
