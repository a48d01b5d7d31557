/* The segments of a shard: buckets, and their filters in one huge page, added and dropped at the end. */
#include "index/index_priv.h"

#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif
static_assert(SEGMENT_BUCKETS * FILTER_SZ <= SEGMENT_FILTER_SZ, "the filters of a segment are one huge page");

static uint64_t *segment_filter_map(void)
{
	uint8_t *m = mmap(NULL, 2 * SEGMENT_FILTER_SZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			  0);
	size_t head;

	if (m == MAP_FAILED)
		return NULL;
	head = (SEGMENT_FILTER_SZ - (uintptr_t)m % SEGMENT_FILTER_SZ) % SEGMENT_FILTER_SZ;
	if (head > 0)
		munmap(m, head);
	munmap(m + head + SEGMENT_FILTER_SZ, SEGMENT_FILTER_SZ - head);
	return (uint64_t *)(void *)(m + head);
}

static bool segment_table_grow(struct index_shard *s)
{
	uint32_t cap = s->segment_cap ? s->segment_cap * 2 : 8;
	uint64_t **f = realloc(s->filter, cap * sizeof(*f));
	struct index_segment **g;

	if (f == NULL)
		return false;
	s->filter = f;
	g = realloc(s->segment, cap * sizeof(struct index_segment *));
	if (g == NULL)
		return false;
	s->segment = g;
	s->segment_cap = cap;
	return true;
}

bool segment_add(struct index_shard *s)
{
	struct index_segment *g;

	if (s->segment_cnt == s->segment_cap && !segment_table_grow(s))
		return false;
	g = calloc(1, sizeof(*g));
	if (g == NULL)
		return false;
	g->filter = segment_filter_map();
	if (g->filter == NULL) {
		free(g);
		return false;
	}
	s->filter[s->segment_cnt] = g->filter;
	s->segment[s->segment_cnt++] = g;
	return true;
}

void segment_drop(struct index_shard *s)
{
	struct index_segment *g = s->segment[--s->segment_cnt];

	munmap(g->filter, SEGMENT_FILTER_SZ);
	free(g);
	if (s->huge_cnt > s->segment_cnt)
		s->huge_cnt = s->segment_cnt;
	if (s->touched > s->segment_cnt * SEGMENT_BUCKETS)
		s->touched = s->segment_cnt * SEGMENT_BUCKETS;
}

/* A huge page is taken only for a segment whose filters are all in use, and never by the fault of an edit: the kernel
   may have to look long for one.  It does so in its own time, or at once when the owner is idle. */
void segment_is_full(struct index_shard *s, uint32_t idx)
{
	madvise(s->filter[idx], SEGMENT_FILTER_SZ, MADV_HUGEPAGE);
}

bool segment_make_huge(struct index_shard *s)
{
	if (s->huge_cnt + 1 >= s->segment_cnt)
		return false;
	/* Where the kernel cannot, small pages do. */
	madvise(s->filter[s->huge_cnt++], SEGMENT_FILTER_SZ, MADV_COLLAPSE);
	return true;
}
