/* block_walk.h - block_parse for a block whose bytes are still arriving.

   The walk goes on where it stopped, at any byte, and looks at each byte once.  It ends with exactly the verdict
   and the views that block_parse has for the whole block; a fault is told as soon as it is certain, which may be
   before the rest has come.
   Memory   Refers to the caller's bytes; reads only [p, p + present).  Nothing is allocated.
   Time     Linear in the bytes walked.  A caller that wants short steps passes a smaller `present`.
   Threads  One at a time for each walk; who takes it over must see what the last one wrote. */
#ifndef VIGIL_BTC_BLOCK_WALK_H
#define VIGIL_BTC_BLOCK_WALK_H

#include "btc/block.h"

struct block_walk {
	/* For the caller to read. */
	uint32_t need;        /* nothing happens before so many bytes are present */
	uint32_t tx_done;     /* tx[0..tx_done) are complete, and so are their bytes */
	struct block_view bv; /* tx_cnt as soon as it is known (else 0); the rest once over with PARSE_OK */
	bool over;
	enum parse_verdict verdict; /* once over */

	/* The walk's own. */
	const uint8_t *p;
	struct tx_view *tx;
	uint32_t sz, pos;
	uint8_t at;
	bool any_item;      /* in the witness of this transaction */
	uint8_t flag;       /* of this transaction */
	uint32_t left;      /* of the vector being read */
	uint32_t item_left; /* of the witness stack being read */
	uint32_t wit_pos;
};

/* sz bytes will stand at p; tx has room for BLOCK_TX_MAX.  May be over at once. */
void block_walk_start(struct block_walk *w, const uint8_t *p, uint32_t sz, struct tx_view *tx);
/* present <= sz bytes are there; never less than before. */
void block_walk_go(struct block_walk *w, uint32_t present);

#endif
