/* table.h - the blocks found in the files: who follows whom, at which height, and on which chain.

   Files hold blocks in the order of their arrival, stale ones among them, and a pruned node's begin anywhere.  So the
   headers form a forest: a tree above genesis, and one above each block whose parent is in no file.
   Height    From genesis where the tree reaches it.  Else from a coinbase that BIP34 vouches for; unknown when
             there is none.
   Best      Of each tree the chain to the tip with the most work (on equal work the tip that lies first in the files).
             Trees are then put together from the one with the most work downwards: a block is on the best chain
             unless a block taken before stands at its height, or stands at the next height and has another
             parent.  So where files are missing in between, what is left still counts, and a stale branch does not.
   Trust     Headers have the proof of work they claim; whether they claim enough is what the node has checked
             before it wrote them.
   Threads   One; read by any once table_link has returned. */
#ifndef VIGIL_RESCAN_TABLE_H
#define VIGIL_RESCAN_TABLE_H

#include "btc/network.h"

#define BLOCK_NONE     UINT32_MAX
#define HEIGHT_UNKNOWN UINT32_MAX

struct found_block {
	struct hash256 hash, prev;
	struct u256 work; /* from the root of its tree on; table_link */
	uint64_t off;     /* of the block in its file */
	uint32_t sz;
	uint32_t file;
	uint32_t bits, time;
	int32_t version;
	uint32_t height;     /* table_link */
	uint32_t parent;     /* BLOCK_NONE: a root; table_link */
	uint32_t root;       /* table_link */
	uint32_t next_copy;  /* the same block once more, later in the files, or BLOCK_NONE; table_link */
	bool is_copy : 1;    /* not the first one; the fields of a tree are not set */
	bool best_chain : 1; /* table_link */
};

struct block_table {
	const struct network *net;
	struct found_block *block; /* in the order of files and offsets */
	uint32_t cnt, cap;
	uint32_t copy_cnt;
	uint32_t stale_cnt;       /* not on the best chain, copies left out */
	uint32_t best;            /* tip of the tree with the most work; BLOCK_NONE when there is no block */
	uint32_t lowest, highest; /* heights on the best chain; HEIGHT_UNKNOWN when none is known */
	uint32_t *at_height; /* the best chain, from lowest to highest; BLOCK_NONE where nothing was found */
};

void table_init(struct block_table *t, const struct network *net);
void table_free(struct block_table *t);
/* False when memory is out. */
bool table_add(struct block_table *t, const uint8_t header[HEADER_SZ], const struct hash256 *hash,
	       uint32_t file, uint64_t off, uint32_t sz);
/* Call once, when all blocks are in.  height_of gives the height by a block's coinbase, or -1; it is asked about a few
   blocks of each tree that does not reach genesis.  False when memory is out. */
bool table_link(struct block_table *t, int64_t (*height_of)(void *arg, const struct found_block *b), void *arg);
/* Heights from `from` to `to`, both included and inside what was found, at which no block of the best chain was. */
uint32_t table_missing(const struct block_table *t, uint32_t from, uint32_t to);

#endif
