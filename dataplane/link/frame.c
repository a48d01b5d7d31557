#include "link/frame.h"

#include <stdlib.h>

/* Room for one record of the largest size and the beginning of the next. */
#define READER_CAP (LINK_REC_SZ_MAX + 65536u)

/* Bytes of tail that the counts of a record ask for; UINT64_MAX if the type is not of this direction.
   The fixed part is known to be there. */
static uint64_t tail_sz_of(const struct link_head *h)
{
	const void *p = h;

	switch ((enum link_type)h->type) {
	case LINK_WATCH_LOAD:
		return (uint64_t)((const struct link_watch_load *)p)->cnt * sizeof(struct locator);
	case LINK_START:
		return (uint64_t)((const struct link_start *)p)->header_cnt * HEADER_SZ;
	case LINK_BROADCAST:
		return ((const struct link_broadcast *)p)->raw_sz;
	case LINK_CHAIN_START:
		return (uint64_t)((const struct link_chain_start *)p)->header_cnt * HEADER_SZ;
	case LINK_HIT:
		return ((const struct link_hit *)p)->raw_sz;
	case LINK_STATS:
		return (uint64_t)((const struct link_stats *)p)->cnt * sizeof(struct link_stat);
	case LINK_C_HELLO:
	case LINK_WATCH_ADD:
	case LINK_WATCH_DEL:
	case LINK_BLOCK_ACK:
	case LINK_STATS_GET:
	case LINK_STALE_SCAN:
	case LINK_STALE_BLOCK:
	case LINK_STALE_END:
	case LINK_D_HELLO:
	case LINK_WATCH_ADDED:
	case LINK_BLOCK_CONNECTED:
	case LINK_BLOCK_DISCONNECTED:
	case LINK_CHAIN_STATE:
	case LINK_PEER_STATE:
	case LINK_BROADCAST_RESULT:
		return 0;
	}
	return UINT64_MAX;
}

static size_t fixed_sz_of(uint16_t type, enum link_direction dir)
{
	static const uint16_t from_control[] = {
		[LINK_C_HELLO] = sizeof(struct link_c_hello),
		[LINK_WATCH_LOAD] = sizeof(struct link_watch_load),
		[LINK_START] = sizeof(struct link_start),
		[LINK_WATCH_ADD] = sizeof(struct link_watch_add),
		[LINK_WATCH_DEL] = sizeof(struct link_watch_del),
		[LINK_BLOCK_ACK] = sizeof(struct link_block_ack),
		[LINK_BROADCAST] = sizeof(struct link_broadcast),
		[LINK_STATS_GET] = sizeof(struct link_stats_get),
		[LINK_STALE_SCAN] = sizeof(struct link_stale_scan),
	};
	static const uint16_t from_dataplane[] = {
		[LINK_D_HELLO - LINK_D_HELLO] = sizeof(struct link_d_hello),
		[LINK_CHAIN_START - LINK_D_HELLO] = sizeof(struct link_chain_start),
		[LINK_WATCH_ADDED - LINK_D_HELLO] = sizeof(struct link_watch_added),
		[LINK_HIT - LINK_D_HELLO] = sizeof(struct link_hit),
		[LINK_BLOCK_CONNECTED - LINK_D_HELLO] = sizeof(struct link_block_connected),
		[LINK_BLOCK_DISCONNECTED - LINK_D_HELLO] = sizeof(struct link_block_disconnected),
		[LINK_CHAIN_STATE - LINK_D_HELLO] = sizeof(struct link_chain_state),
		[LINK_PEER_STATE - LINK_D_HELLO] = sizeof(struct link_peer_state),
		[LINK_BROADCAST_RESULT - LINK_D_HELLO] = sizeof(struct link_broadcast_result),
		[LINK_STATS - LINK_D_HELLO] = sizeof(struct link_stats),
		[LINK_STALE_BLOCK - LINK_D_HELLO] = sizeof(struct link_stale_block),
		[LINK_STALE_END - LINK_D_HELLO] = sizeof(struct link_stale_end_record),
	};

	if (dir == LINK_FROM_CONTROL)
		return type < sizeof(from_control) / sizeof(from_control[0]) ? from_control[type] : 0;
	if (type < LINK_D_HELLO)
		return 0;
	type -= LINK_D_HELLO;
	return type < sizeof(from_dataplane) / sizeof(from_dataplane[0]) ? from_dataplane[type] : 0;
}

bool link_record_ok(const struct link_head *h, enum link_direction dir)
{
	size_t fixed = fixed_sz_of(h->type, dir);
	uint64_t tail;

	if (fixed == 0 || h->sz < fixed || h->sz > LINK_REC_SZ_MAX || h->zero != 0)
		return false;
	tail = tail_sz_of(h);
	return tail <= LINK_REC_SZ_MAX && h->sz == link_record_sz(fixed, tail);
}

bool link_reader_init(struct link_reader *r)
{
	r->buf = malloc(READER_CAP);
	r->start = r->end = 0;
	return r->buf != NULL;
}

void link_reader_free(struct link_reader *r)
{
	free(r->buf);
	r->buf = NULL;
}

void link_reader_reset(struct link_reader *r)
{
	r->start = r->end = 0;
}

uint8_t *link_reader_room(struct link_reader *r, size_t *sz)
{
	/* start is a multiple of 8 (record sizes are), so moving to 0 keeps records aligned. */
	if (r->start > 0 && (r->start == r->end || r->end > READER_CAP / 2)) {
		memmove(r->buf, r->buf + r->start, r->end - r->start);
		r->end -= r->start;
		r->start = 0;
	}
	*sz = READER_CAP - r->end;
	return r->buf + r->end;
}

void link_reader_took(struct link_reader *r, size_t sz)
{
	assert(sz <= READER_CAP - r->end);
	r->end += sz;
}

int link_reader_next(struct link_reader *r, enum link_direction dir, const struct link_head **rec)
{
	const struct link_head *h = (const void *)(r->buf + r->start);
	size_t avail = r->end - r->start;

	if (avail < sizeof(*h))
		return 0;
	if (h->sz < sizeof(*h) || h->sz > LINK_REC_SZ_MAX || h->sz % 8 != 0)
		return -1;
	if (avail < h->sz)
		return 0;
	if (!link_record_ok(h, dir))
		return -1;
	*rec = h;
	r->start += h->sz;
	return 1;
}

bool link_writer_init(struct link_writer *w, size_t cap)
{
	w->buf = malloc(cap);
	w->cap = cap;
	w->start = w->end = 0;
	return w->buf != NULL;
}

void link_writer_free(struct link_writer *w)
{
	free(w->buf);
	w->buf = NULL;
}

void link_writer_reset(struct link_writer *w)
{
	w->start = w->end = 0;
}

bool link_writer_put(struct link_writer *w, enum link_type type, const void *fixed, size_t fixed_sz,
		     const void *tail, size_t tail_sz)
{
	size_t sz = link_record_sz(fixed_sz, tail_sz);
	struct link_head head = {.sz = (uint32_t)sz, .type = (uint16_t)type};
	uint8_t *p;

	if (sz > w->cap - (w->end - w->start))
		return false;
	if (sz > w->cap - w->end) {
		memmove(w->buf, w->buf + w->start, w->end - w->start);
		w->end -= w->start;
		w->start = 0;
	}
	p = w->buf + w->end;
	memcpy(p, fixed, fixed_sz);
	memcpy(p, &head, sizeof(head));
	if (tail_sz > 0)
		memcpy(p + fixed_sz, tail, tail_sz);
	memset(p + fixed_sz + tail_sz, 0, sz - fixed_sz - tail_sz);
	w->end += sz;
	return true;
}

const uint8_t *link_writer_peek(const struct link_writer *w, size_t *sz)
{
	*sz = w->end - w->start;
	return *sz > 0 ? w->buf + w->start : NULL;
}

void link_writer_took(struct link_writer *w, size_t sz)
{
	assert(sz <= w->end - w->start);
	w->start += sz;
	if (w->start == w->end)
		w->start = w->end = 0;
}
