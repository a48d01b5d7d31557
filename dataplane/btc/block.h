/* block.h - strict views of serialized transactions and blocks (spec/bitcoin.md sections 11, 12).

   A view refers to the caller's bytes and copies nothing.  Parsing is one forward pass, linear in
   the input, no allocation, no recursion; it reads only [p, p+sz).
   Threads Pure functions, any thread. */
#ifndef VIGIL_BTC_BLOCK_H
#define VIGIL_BTC_BLOCK_H

#include "btc/hash.h"
#include "btc/verdict.h"

/* One transaction inside a buffer.  The txid preimage of a segwit transaction is
   [off, off+4), [off+6, off+sz-4-wit_sz), [off+sz-4, off+sz); else [off, off+sz). */
struct tx_view {
	uint32_t off;
	uint32_t sz;     /* bytes on the wire */
	uint32_t wit_sz; /* bytes of all witness stacks; 0 when !segwit */
	uint32_t in_cnt;
	uint32_t out_cnt;
	bool segwit; /* extended encoding used */
};

static inline uint32_t tx_view_stripped_sz(const struct tx_view *t)
{
	return t->segwit ? t->sz - t->wit_sz - 2 : t->sz;
}

struct block_view {
	uint32_t tx_cnt;
	uint32_t total_sz;
	uint32_t stripped_sz;
	uint32_t weight;
	uint32_t segwit_tx_cnt;
	uint32_t in_cnt;
	uint32_t out_cnt;
};

/* block_parse walks a whole block: 80-byte header, count, transactions, nothing after.
   Fills tx[0..tx_cnt) (room for BLOCK_TX_MAX) and *bv on PARSE_OK; both are undefined otherwise.
   Enforces every limit of section 11.4, and the coinbase rule of section 12. */
enum parse_verdict block_parse(const uint8_t *p, size_t sz, struct block_view *bv, struct tx_view *tx);

/* tx_parse reads exactly one transaction as a node's decoder does, also outside a block: with
   allow_empty a transaction without inputs or outputs is accepted as the decoder would (the
   vectors need it); block contents and penalties pass false.  Sets *used and, if more bytes follow,
   still returns PARSE_OK: a caller who wants exactly one transaction checks *used == sz. */
enum parse_verdict tx_parse(const uint8_t *p, size_t sz, bool allow_empty, struct tx_view *t, size_t *used);

/* Iterates over the inputs of a transaction that tx_parse accepted: calls back with the outpoint.
   Stops when cb returns false.  p is what tx_parse was given (t->off is honoured). */
struct outpoint {
	struct hash256 txid;
	uint32_t vout;
};
void tx_each_input(const uint8_t *p, const struct tx_view *t,
		   bool (*cb)(void *arg, const struct outpoint *prev, uint32_t sequence), void *arg);

/* Height from the coinbase script by BIP34's minimal push, or -1.  Only meaningful where BIP34 is in
   force (spec/bitcoin.md section 12); p/sz is a parsed block, t0 its first transaction. */
int64_t block_bip34_height(const uint8_t *p, const struct tx_view *t0);

#endif
