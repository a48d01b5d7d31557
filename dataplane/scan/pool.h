/* pool.h - the fixed pool of block buffers.

   Each buffer has room for the largest block.  The memory is mapped once and touched only as blocks need it, so
   a pool that sees small blocks stays small in RAM.
   Threads  block_pool_get and block_pool_put on the net lcore only (sync gives every buffer back there). */
#ifndef VIGIL_SCAN_POOL_H
#define VIGIL_SCAN_POOL_H

#include "sync/sync.h"

struct block_pool;

struct block_pool *block_pool_new(uint32_t buf_cnt);
void block_pool_free(struct block_pool *p);
struct block_buf *block_pool_get(struct block_pool *p); /* NULL: none free */
void block_pool_put(struct block_pool *p, struct block_buf *b);
uint32_t block_pool_free_cnt(const struct block_pool *p);
uint32_t block_pool_cnt(const struct block_pool *p);

#endif
