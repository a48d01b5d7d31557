#include "scan/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Whole pages, so that a huge page never straddles two buffers' use. */
#define BUF_STRIDE ((size_t)4 << 20)
static_assert(BUF_STRIDE >= BLOCK_SZ_MAX, "a buffer holds the largest block");

struct block_pool {
	uint8_t *mem;
	uint32_t buf_cnt;
	uint32_t free_cnt;
	struct block_buf *buf;
	uint32_t *free_slot; /* a stack: the buffer used last is the warmest */
};

struct block_pool *block_pool_new(uint32_t buf_cnt)
{
	struct block_pool *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->buf_cnt = buf_cnt;
	p->buf = calloc(buf_cnt, sizeof(*p->buf));
	p->free_slot = calloc(buf_cnt, sizeof(*p->free_slot));
	p->mem = mmap(NULL, buf_cnt * BUF_STRIDE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->buf == NULL || p->free_slot == NULL || p->mem == MAP_FAILED) {
		block_pool_free(p);
		return NULL;
	}
	for (uint32_t i = 0; i < buf_cnt; i++) {
		p->buf[i] = (struct block_buf){.data = p->mem + i * BUF_STRIDE, .slot = i};
		p->free_slot[i] = buf_cnt - 1 - i;
	}
	p->free_cnt = buf_cnt;
	return p;
}

void block_pool_free(struct block_pool *p)
{
	if (p == NULL)
		return;
	if (p->mem != NULL && p->mem != MAP_FAILED)
		munmap(p->mem, p->buf_cnt * BUF_STRIDE);
	free(p->buf);
	free(p->free_slot);
	free(p);
}

struct block_buf *block_pool_get(struct block_pool *p)
{
	struct block_buf *b;

	if (p->free_cnt == 0)
		return NULL;
	b = &p->buf[p->free_slot[--p->free_cnt]];
	b->sz = 0;
	return b;
}

void block_pool_put(struct block_pool *p, struct block_buf *b)
{
	assert(b == &p->buf[b->slot] && p->free_cnt < p->buf_cnt);
	p->free_slot[p->free_cnt++] = b->slot;
}

uint32_t block_pool_free_cnt(const struct block_pool *p)
{
	return p->free_cnt;
}

uint32_t block_pool_cnt(const struct block_pool *p)
{
	return p->buf_cnt;
}
