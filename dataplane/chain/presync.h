/* presync.h - a chain of headers that is long and does not show enough work yet: measured first, stored only then.

   headers_add stores a branch whose work reaches headers_threshold.  A whole chain from genesis, or a deep fork, shows
   that only after many batches; storing them meanwhile would let a peer fill memory with headers that cost it
   nothing.  So such a chain is taken twice.  Measuring: each header's proof of work is checked, and its difficulty by
   the bounded rule; work is summed, and of each batch only the last hash is kept.  Once the sum reaches the threshold
   the same headers are asked for again, and storing: a batch is added to the tree, by the full rules, when it ends in the
   hash kept of it, and so (headers are linked by hashes) is the batch that was measured.

   Threads  The tree's.
   Memory   A kept hash for each HEADERS_BATCH_MAX headers: 36 bytes for 2000, at most as many as the tree may hold.
            While storing, what has been stored is referenced, so that no other branch drives it out.
   Bound    What a peer makes us store has cost it the work of the threshold.  That may be split over peers and
            branches; each pays it anew. */
#ifndef VIGIL_CHAIN_PRESYNC_H
#define VIGIL_CHAIN_PRESYNC_H

#include "chain/headers.h"

struct presync;

enum presync_state {
	PRESYNC_MEASURING,
	PRESYNC_STORING,
	PRESYNC_DONE,    /* all that was measured is in the tree */
	PRESYNC_CHANGED, /* the peer's second telling differs from its first: its chain has changed, or it lies */
	PRESYNC_REFUSED /* the verdict of the last presync_add says why */
};

/* Begins above the last known header of the batch (or its parent, if none is known).  NULL: its parent is unknown, all
   of it is known, or no memory.  Then presync_add takes the same batch. */
struct presync *presync_new(struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt);
void presync_free(struct presync *p, struct headers *h);

/* Whether a batch is the next one of this chain, by its first header. */
bool presync_is_next(const struct presync *p, const struct headers *h, const uint8_t *raw);
/* Takes the next batch.  A batch that is not full is the end of the peer's chain.  Arguments and results as headers_add;
   while measuring nothing is added.  Not to be called in the last three states. */
enum headers_verdict presync_add(struct presync *p, struct headers *h, const uint8_t *raw, size_t stride,
				 uint32_t cnt, int64_t now_s, uint32_t *last, uint32_t *new_cnt);
enum presync_state presync_state(const struct presync *p);
/* Headers measured so far. */
uint32_t presync_measured(const struct presync *p);
/* For the getheaders that asks for the next batch. */
uint32_t presync_locator(const struct presync *p, const struct headers *h,
			 struct hash256 out[HEADERS_LOCATOR_MAX]);

#endif
