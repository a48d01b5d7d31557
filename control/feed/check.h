/* check.h - does what the dataplane reports make sense?  The fields of each record, and the order of records.

   link_record_ok (frame.h) has been passed: type, size and counts agree.  Here: enumerations, ranges, texts, the
   chain of blocks, and that hits come with their block.  Whether a hash, a work or a raw transaction is true
   is the dataplane's word; only control's memory and order depend on what is checked.
   Threads  Pure state, one owner. */
#ifndef VIGIL_FEED_CHECK_H
#define VIGIL_FEED_CHECK_H

#include "btc/network.h"
#include "link/link_wire.h"

/* A block's hits: each transaction at most once per form. */
#define FEED_HIT_MAX       (2u * BLOCK_TX_MAX)
#define FEED_HIT_BYTES_MAX (2u * BLOCK_SZ_MAX)
#define FEED_WINDOW_MAX    4096u

struct feed_check {
	/* Given by feed_check_start. */
	bool started; /* START was sent */
	bool resume;
	uint32_t base_height; /* RESUME only */
	struct hash256 base_hash;
	/* The block that the next record must build on or take back. */
	bool on; /* CHAIN_START came */
	uint32_t height;
	bool hash_known; /* false after a disconnect: its record does not name the block below */
	struct hash256 hash;
	/* Hits of the block that is being reported. */
	uint32_t hit_cnt;
	uint64_t hit_bytes;
	struct hash256 hit_block;
};

/* All zero is a new session; this says that START was sent, and for RESUME from which block. */
void feed_check_start(struct feed_check *c, bool resume, uint32_t height, const struct hash256 *hash);

/* NULL: the record is in order, and the state has moved on.  Otherwise why it is not (static text). */
const char *feed_check_hello(const struct link_d_hello *h, const struct network *net);
const char *feed_check_chain_start(struct feed_check *c, const struct link_chain_start *r,
				   const uint8_t *headers);
const char *feed_check_hit(struct feed_check *c, const struct link_hit *r);
const char *feed_check_connected(struct feed_check *c, const struct link_block_connected *r);
const char *feed_check_disconnected(struct feed_check *c, const struct link_block_disconnected *r);
const char *feed_check_chain_state(const struct link_chain_state *r);
const char *feed_check_peer(const struct link_peer_state *r);
const char *feed_check_stats(const struct link_stats *r, const struct link_stat *s);
const char *feed_check_broadcast_result(const struct link_broadcast_result *r);

#endif
