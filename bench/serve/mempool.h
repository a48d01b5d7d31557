/* mempool.h - the transactions a replay node was given, for reports, announcements and getdata.

   Bounded: the oldest stay, new ones are refused when it is full.
   Threads One thread. */
#ifndef VIGIL_SERVE_MEMPOOL_H
#define VIGIL_SERVE_MEMPOOL_H

#include "btc/block.h"

#define MEMPOOL_TX_MAX    65536u
#define MEMPOOL_BYTES_MAX (256u << 20)

struct mempool_tx {
	struct hash256 txid, wtxid;
	uint8_t *raw;
	uint32_t sz;
	struct tx_view view;
	uint32_t from; /* connection that brought it */
};

struct mempool;

struct mempool *mempool_new(void);
void mempool_free(struct mempool *m);
uint32_t mempool_cnt(const struct mempool *m);
const struct mempool_tx *mempool_at(const struct mempool *m, uint32_t i);
/* By txid or by wtxid; NULL if there is none. */
const struct mempool_tx *mempool_find(const struct mempool *m, const struct hash256 *id, bool by_wtxid);

enum mempool_verdict { MEMPOOL_NEW, MEMPOOL_KNOWN, MEMPOOL_FULL, MEMPOOL_BAD };
/* Parses and keeps a copy.  txid is set unless MEMPOOL_BAD; *why is then the parser's word. */
enum mempool_verdict mempool_add(struct mempool *m, const uint8_t *raw, size_t sz, uint32_t from,
				 struct hash256 *txid, const char **why);

/* The transaction without its witness, as a getdata of type 1 asks for it; out has room for t->sz bytes. */
size_t tx_strip(uint8_t *out, const uint8_t *p, const struct tx_view *t);

#endif
