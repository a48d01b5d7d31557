/* arena.h - memory for Judy arrays: one arena an array, all arenas of a shard on one pool of 4 KB chunks.

   Why not malloc: it adds a word to every node, and holes left by deletes keep whole pages for ever.  An arena
   is dropped as a whole once its array has been copied elsewhere, and the pool gives free chunks back.

   How      libJudy takes its memory from JudyMalloc and JudyFree, which it leaves to the program to replace;
            arena.c does.  They serve the arena that arena_enter named; between arena_enter(NULL) and the next
            arena_enter they are malloc, for any other user of Judy in the process.
   Threads  A pool and its arenas belong to one thread; which arena is entered is a property of the thread.
   Cost     Every call takes bounded time: at most one system call for one chunk or one region. */
#ifndef VIGIL_INDEX_ARENA_H
#define VIGIL_INDEX_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_CHUNK_SZ    4096u
#define ARENA_CLASS_WORDS 64u /* nodes up to this many words have a free list of their own size */

struct arena_region;

struct arena_pool {
	struct arena_region **region;
	uint32_t region_cnt, region_cap;
	uint32_t fresh;      /* the chunk after the last one ever used, within the newest region */
	uint32_t warm, cold; /* free chunks: with memory behind them, and given back to the kernel */
	uint32_t warm_cnt;
	uint32_t used_cnt;
};

/* Zeroed is empty.  Places are word numbers: chunk * 512 + word in it. */
struct arena {
	uint32_t chunk; /* the newest, from which nodes are cut; 0 is none */
	uint32_t chunk_cnt;
	uint32_t cut;        /* words of it that are cut */
	uint32_t free_words; /* in the lists */
	uint64_t listed;     /* bit n - 1: free[n] is not empty */
	uint32_t free[ARENA_CLASS_WORDS + 1];
};

/* Gives all memory back; every arena on p must have been dropped or forgotten. */
void arena_pool_free(struct arena_pool *p);
/* Bytes with memory behind them: chunks in arenas, free chunks kept, and the pool's own. */
uint64_t arena_pool_bytes(const struct arena_pool *p);

/* From now on this thread's Judy calls allocate in a; NULL: by malloc. */
void arena_enter(struct arena_pool *p, struct arena *a);
/* Forgets every node in a and hands its chunks back. */
void arena_drop(struct arena_pool *p, struct arena *a);

#endif
