#include "index/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <Judy.h>
#include <sys/mman.h>

#define REGION_SZ     (2u << 20)
#define REGION_CHUNKS (REGION_SZ / ARENA_CHUNK_SZ)
#define CHUNK_WORDS   (ARENA_CHUNK_SZ / 8)
#define REGION_MAX    (UINT32_MAX / (REGION_CHUNKS * CHUNK_WORDS))
/* Free chunks kept for the next rebuild: this many and a part of those in use. */
#define WARM_MIN  64u
#define WARM_PART 64u

/* The first chunk of a region: its number, and for each chunk the next one in whatever list holds it.  So a free
   chunk is not touched, and the kernel can have it. */
struct arena_region {
	uint32_t idx;
	uint32_t next[REGION_CHUNKS];
};
static_assert(sizeof(struct arena_region) <= ARENA_CHUNK_SZ, "the first chunk holds the header");

static _Thread_local struct arena_pool *cur_pool;
static _Thread_local struct arena *cur;

void arena_enter(struct arena_pool *p, struct arena *a)
{
	cur_pool = p;
	cur = a;
}

static uint32_t *next_of(const struct arena_pool *p, uint32_t chunk)
{
	return &p->region[chunk / REGION_CHUNKS]->next[chunk % REGION_CHUNKS];
}

static uint8_t *chunk_mem(const struct arena_pool *p, uint32_t chunk)
{
	return (uint8_t *)p->region[chunk / REGION_CHUNKS] + (size_t)(chunk % REGION_CHUNKS) * ARENA_CHUNK_SZ;
}

/* Aligned to its size, so that a node's address leads to its region's header. */
static struct arena_region *region_map(void)
{
	uint8_t *m = mmap(NULL, 2 * (size_t)REGION_SZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			  0);
	size_t head;

	if (m == MAP_FAILED)
		return NULL;
	head = (REGION_SZ - (uintptr_t)m % REGION_SZ) % REGION_SZ;
	if (head > 0)
		munmap(m, head);
	munmap(m + head + REGION_SZ, REGION_SZ - head);
	/* A huge page could not be given back chunk by chunk. */
	madvise(m + head, REGION_SZ, MADV_NOHUGEPAGE);
	return (struct arena_region *)(void *)(m + head);
}

static bool region_add(struct arena_pool *p)
{
	struct arena_region *r;

	if (p->region_cnt == REGION_MAX)
		return false;
	if (p->region_cnt == p->region_cap) {
		uint32_t cap = p->region_cap ? p->region_cap * 2 : 16;
		struct arena_region **t = realloc(p->region, cap * sizeof(struct arena_region *));

		if (t == NULL)
			return false;
		p->region = t;
		p->region_cap = cap;
	}
	r = region_map();
	if (r == NULL)
		return false;
	r->idx = p->region_cnt;
	p->region[p->region_cnt++] = r;
	p->fresh = r->idx * REGION_CHUNKS + 1;
	return true;
}

/* 0: no memory.  Chunk 0 is a header and never given. */
static uint32_t chunk_take(struct arena_pool *p)
{
	uint32_t c = p->warm ? p->warm : p->cold;

	if (p->warm != 0) {
		p->warm = *next_of(p, c);
		p->warm_cnt--;
	} else if (p->cold != 0) {
		p->cold = *next_of(p, c);
	} else {
		if (p->fresh % REGION_CHUNKS == 0 && !region_add(p))
			return 0;
		c = p->fresh++;
	}
	p->used_cnt++;
	return c;
}

static void chunk_give(struct arena_pool *p, uint32_t c)
{
	p->used_cnt--;
	if (p->warm_cnt < WARM_MIN + p->used_cnt / WARM_PART) {
		*next_of(p, c) = p->warm;
		p->warm = c;
		p->warm_cnt++;
		return;
	}
	madvise(chunk_mem(p, c), ARENA_CHUNK_SZ, MADV_DONTNEED);
	*next_of(p, c) = p->cold;
	p->cold = c;
}

void arena_drop(struct arena_pool *p, struct arena *a)
{
	while (a->chunk != 0) {
		uint32_t c = a->chunk;

		a->chunk = *next_of(p, c);
		chunk_give(p, c);
	}
	*a = (struct arena){0};
}

void arena_pool_free(struct arena_pool *p)
{
	for (uint32_t i = 0; i < p->region_cnt; i++)
		munmap(p->region[i], REGION_SZ);
	free(p->region);
	*p = (struct arena_pool){0};
}

uint64_t arena_pool_bytes(const struct arena_pool *p)
{
	return ((uint64_t)p->used_cnt + p->warm_cnt + p->region_cnt) * ARENA_CHUNK_SZ +
	       p->region_cap * sizeof(*p->region);
}

/* --- nodes ----------------------------------------------------------------------------------------------- */

static uint64_t *word_mem(const struct arena_pool *p, uint32_t place)
{
	return (uint64_t *)(void *)chunk_mem(p, place / CHUNK_WORDS) + place % CHUNK_WORDS;
}

static void list_put(struct arena_pool *p, struct arena *a, uint32_t place, uint32_t words)
{
	a->free_words += words;
	while (words > 0) {
		uint32_t n = words < ARENA_CLASS_WORDS ? words : ARENA_CLASS_WORDS;

		*word_mem(p, place) = a->free[n];
		a->free[n] = place;
		a->listed |= 1ull << (n - 1);
		place += n;
		words -= n;
	}
}

/* The smallest listed hole that is large enough; 0: none.  What is left over stays listed. */
static uint32_t list_take(struct arena_pool *p, struct arena *a, uint32_t words)
{
	uint64_t fit = words > ARENA_CLASS_WORDS ? 0 : a->listed >> (words - 1) << (words - 1);
	uint32_t n, place;

	if (fit == 0)
		return 0;
	n = (uint32_t)__builtin_ctzll(fit) + 1;
	place = a->free[n];
	a->free[n] = (uint32_t)*word_mem(p, place);
	if (a->free[n] == 0)
		a->listed &= ~(1ull << (n - 1));
	a->free_words -= n;
	list_put(p, a, place + words, n - words);
	return place;
}

static uint32_t node_take(struct arena_pool *p, struct arena *a, uint32_t words)
{
	uint32_t place = list_take(p, a, words);

	if (place != 0)
		return place;
	if (a->chunk == 0 || CHUNK_WORDS - a->cut < words) {
		uint32_t c = chunk_take(p);

		if (c == 0)
			return 0;
		if (a->chunk != 0)
			list_put(p, a, a->chunk * CHUNK_WORDS + a->cut, CHUNK_WORDS - a->cut);
		*next_of(p, c) = a->chunk;
		a->chunk = c;
		a->chunk_cnt++;
		a->cut = 0;
	}
	place = a->chunk * CHUNK_WORDS + a->cut;
	a->cut += words;
	return place;
}

Word_t JudyMalloc(Word_t words)
{
	uint32_t place;

	/* JudyL has no node above one chunk (a branch of 256 pointers of 16 bytes); others are not ours. */
	if (cur == NULL || words == 0)
		return (Word_t)malloc(words * sizeof(Word_t));
	assert(words <= CHUNK_WORDS);
	place = node_take(cur_pool, cur, (uint32_t)words);
	return place == 0 ? 0 : (Word_t)word_mem(cur_pool, place);
}

void JudyFree(Pvoid_t node, Word_t words)
{
	uintptr_t at = (uintptr_t)node, base = at & ~(uintptr_t)(REGION_SZ - 1);
	const struct arena_region *r = (const struct arena_region *)base;

	if (cur == NULL) {
		free(node);
		return;
	}
	list_put(cur_pool, cur,
		 r->idx * (REGION_CHUNKS * CHUNK_WORDS) + (uint32_t)((at - base) / sizeof(Word_t)),
		 (uint32_t)words);
}

Word_t JudyMallocVirtual(Word_t words)
{
	return JudyMalloc(words);
}

void JudyFreeVirtual(Pvoid_t node, Word_t words)
{
	JudyFree(node, words);
}
