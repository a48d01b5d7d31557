/* readahead.h - the bytes of chosen blocks, in file order, read in large pieces by threads of its own.

   Blocks that lie together are read together into one window of up to WINDOW_SZ, and de-obfuscated there: a block is
   never copied.
   Threads  readahead_next and readahead_release on one thread; the readers inside are its own.
   Memory   Windows of 8 MiB, two for each reader and two more.
   Errors   A window that cannot be read is tried again block by block; what then fails is marked. */
#ifndef VIGIL_RESCAN_READAHEAD_H
#define VIGIL_RESCAN_READAHEAD_H

#include "rescan/files.h"
#include "rescan/table.h"

/* One record to read: `at` says where it lies, `block` which block it is of.  They differ for a later copy. */
struct read_item {
	uint32_t block, at;
};

struct read_window {
	uint32_t first, cnt; /* items */
	uint32_t left;       /* for the caller; cnt at first */
	/* The rest is readahead's own. */
	uint8_t *mem;
	bool *bad; /* of each item; NULL: none is */
	bool lost; /* all of it */
	uint64_t off;
	size_t sz;
	int state;
};

struct readahead;

/* item is ordered by file and offset, and stays the caller's.  NULL: memory or threads are out. */
struct readahead *readahead_new(const struct blk_files *fs, const struct block_table *t,
				const struct read_item *item, uint32_t cnt, unsigned readers);
/* Waits for reads that are under way. */
void readahead_free(struct readahead *ra);

/* The next window in order, or NULL when it is not there yet or there is none. */
struct read_window *readahead_next(struct readahead *ra);
/* Sleeps until the next window is there, or a millisecond has passed. */
void readahead_wait(struct readahead *ra);
/* The caller is done with all of the window's blocks. */
void readahead_release(struct readahead *ra, struct read_window *w);
/* The bytes of the i-th item of the window; NULL when they could not be read. */
uint8_t *readahead_block(const struct readahead *ra, const struct read_window *w, uint32_t i);

#endif
