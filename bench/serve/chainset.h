/* chainset.h - the blocks that a replay node has on file, and how much of them it knows so far.

   The blocks of all files are put in the order in which the node learns them: file order, except that a block
   waits for its parent.  So a synthetic file keeps its arrival order with all its reorgs, and Bitcoin Core's
   shuffled blk files come out as a chain.  Blocks that hang on nothing are left out and counted.

   The node knows a prefix of that order.  Its tip is the known block with the most work, the first seen of
   several (a node never switches at equal work).

   Memory   Blocks stay in their mapped files; about 250 bytes are kept for each.
   Threads  One thread. */
#ifndef VIGIL_SERVE_CHAINSET_H
#define VIGIL_SERVE_CHAINSET_H

#include "btc/network.h"

#define CHAINSET_NONE   UINT32_MAX
#define CHAINSET_WHY_SZ 512u

struct chain_block {
	struct hash256 hash;
	uint8_t header[HEADER_SZ];
	uint32_t parent; /* index, or CHAINSET_NONE for the root's children */
	uint32_t height;
	struct u256 work; /* cumulative from the root */
	const uint8_t *data;
	uint32_t sz;
	bool has_checksum; /* of the whole block, as a message carries it: made on first use */
	uint8_t checksum[4];
};

struct chainset;

/* network NULL: what the files say, and an error if they do not.  anchor_height: of the lowest block when its
   parent is in no file and is not genesis; 0 when not given.  NULL with a sentence in why. */
struct chainset *chainset_open(const char *const *paths, unsigned cnt, const struct network *network,
			       uint32_t anchor_height, char why[CHAINSET_WHY_SZ]);
void chainset_close(struct chainset *cs);

const struct network *chainset_network(const struct chainset *cs);
uint32_t chainset_cnt(const struct chainset *cs);
uint32_t chainset_left_out(const struct chainset *cs);
const struct chain_block *chainset_block(const struct chainset *cs, uint32_t idx);
/* Makes the checksum if it is not there yet. */
const uint8_t *chainset_checksum(struct chainset *cs, uint32_t idx);

uint32_t chainset_known(const struct chainset *cs);
/* Learns the next block in order; there must be one.  True if the tip changed. */
bool chainset_learn(struct chainset *cs);
/* Index of the tip, CHAINSET_NONE while nothing is known. */
uint32_t chainset_tip(const struct chainset *cs);
uint32_t chainset_tip_height(const struct chainset *cs); /* the root's while nothing is known */
/* The active chain's block at a height; CHAINSET_NONE below the lowest and above the tip. */
uint32_t chainset_at(const struct chainset *cs, uint32_t height);
/* A known block by its hash, on the active chain or stale; CHAINSET_NONE if there is none. */
uint32_t chainset_find(const struct chainset *cs, const struct hash256 *hash);
bool chainset_is_active(const struct chainset *cs, uint32_t idx);
/* a is b or one of its ancestors. */
bool chainset_is_ancestor(const struct chainset *cs, uint32_t a, uint32_t b);

/* Height from which headers answer a locator entry: height + 1 of an active block or of the root.  0 if the
   hash is neither. */
uint32_t chainset_after(const struct chainset *cs, const struct hash256 *hash);
uint32_t chainset_first_height(const struct chainset *cs);

#endif
