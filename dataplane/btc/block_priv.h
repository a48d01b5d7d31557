/* block_priv.h - what the two readers of blocks share.  Included only from btc/. */
#ifndef VIGIL_BTC_BLOCK_PRIV_H
#define VIGIL_BTC_BLOCK_PRIV_H

#include "btc/block.h"

#define OUTPOINT_SZ   36u
#define INPUT_SZ_MIN  41u /* outpoint, empty script, sequence */
#define OUTPUT_SZ_MIN 9u  /* value, empty script */
#define TX_SZ_MIN     60u /* one input, one output, empty scripts */
#define FLAG_WITNESS  1u

/* Whether transaction t, number idx of the block at p, is a coinbase if and only if it is the first. */
bool block_coinbase_ok(const uint8_t *p, const struct tx_view *t, uint32_t idx);
void block_view_add(struct block_view *bv, const struct tx_view *t);
/* The limits on the whole of a block of sz bytes whose transactions are all added. */
enum parse_verdict block_view_end(struct block_view *bv, uint32_t sz);

#endif
