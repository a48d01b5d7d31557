/* stale.c - blocks off the best chain, fetched one at a time because an operator asks for them.

   A job is a list of hashes.  Each is asked of one ready peer after the other until one brings it: nobody is at fault
   for lacking a stale block.  It takes one buffer, and only while it is the turn of a block; it waits
   behind the best chain's own when the pool is empty, and is handed out when the best chain has nothing to hand out. */
#include <errno.h>
#include <stdlib.h>

#include "btc/bytes.h"
#include "sync/sync_priv.h"

static bool is_under_way(const struct stale *st)
{
	return st->state == STALE_ASKED || st->state == STALE_ARRIVING;
}

static const struct hash256 *current(const struct stale *st)
{
	return &st->list[st->pos].hash;
}

static void buf_give_back(struct sync *s)
{
	if (s->stale.buf != NULL)
		s->ops.buf_put(s->arg, s->stale.buf);
	s->stale.buf = NULL;
}

void stale_reset(struct sync *s)
{
	struct stale *st = &s->stale;

	if (st->state == STALE_ARRIVING)
		p2p_stream_block_forget(&s->peer[st->peer_id]->stream);
	/* A block in the caller's hands comes back by sync_block_done. */
	if (st->state != STALE_HANDED)
		buf_give_back(s);
	free(st->list);
	*st = (struct stale){.state = STALE_IDLE};
}

/* ---- the list ---- */

static bool list_has(const struct stale *st, const struct hash256 *hash)
{
	for (uint32_t i = 0; i < st->cnt; i++)
		if (hash256_eq(&st->list[i].hash, hash))
			return true;
	return false;
}

static void list_add(struct stale *st, const struct hash256 *hash, uint32_t height)
{
	if (st->cnt == SYNC_STALE_MAX)
		st->cut = true;
	else
		st->list[st->cnt++] = (struct stale_block){.hash = *hash, .height = height};
}

/* The blocks from the fork up to and with tip, oldest first, that are not in the list yet. */
static bool add_branch(void *arg, uint32_t first, uint32_t tip)
{
	struct sync *s = arg;
	struct stale *st = &s->stale;
	uint32_t from = st->cnt, idx = tip;

	(void)first;
	for (; !headers_on_best(s->chain, idx) && !list_has(st, headers_hash(s->chain, idx));
	     idx = headers_parent(s->chain, idx))
		list_add(st, headers_hash(s->chain, idx), headers_height(s->chain, idx));
	for (uint32_t to = st->cnt; from + 1 < to; from++, to--) {
		struct stale_block b = st->list[from];

		st->list[from] = st->list[to - 1];
		st->list[to - 1] = b;
	}
	return !st->cut;
}

int sync_stale_scan(struct sync *s, uint64_t cookie, const struct hash256 *hash, uint64_t now_ns)
{
	struct stale *st = &s->stale;
	uint32_t idx;

	if (now_ns > s->now_ns)
		s->now_ns = now_ns;
	if (!s->on || s->base_state != BASE_SENT)
		return -EAGAIN;
	if (st->state != STALE_IDLE)
		return -EBUSY;
	st->list = calloc(SYNC_STALE_MAX, sizeof(*st->list));
	if (st->list == NULL)
		return -ENOMEM;
	st->cookie = cookie;
	idx = hash256_is_zero(hash) ? HEADERS_NONE : headers_find(s->chain, hash);
	if (hash256_is_zero(hash))
		headers_each_stale(s->chain, add_branch, s);
	else if (idx == HEADERS_NONE)
		list_add(st, hash, SYNC_STALE_HEIGHT_UNKNOWN);
	else
		add_branch(s, idx, idx); /* none when it is on the best chain */
	st->state = STALE_WANTED;
	st->since_ns = s->now_ns;
	stale_tick(s);
	return 0;
}

/* ---- one block after the other ---- */

/* To the next one; false when the news could not be told yet. */
static bool next(struct sync *s, enum sync_stale_kind kind)
{
	struct stale *st = &s->stale;
	struct sync_stale_news n = {
		.kind = kind, .cookie = st->cookie, .hash = *current(st), .height = st->list[st->pos].height};

	if (kind == SYNC_STALE_MISSING && !s->ops.stale_news(s->arg, &n))
		return false;
	st->scanned += kind == SYNC_STALE_SCANNED;
	st->missing += kind == SYNC_STALE_MISSING;
	st->pos++;
	st->tried = 0;
	st->state = STALE_WANTED;
	st->since_ns = s->now_ns;
	return true;
}

static void end(struct sync *s)
{
	struct stale *st = &s->stale;
	struct sync_stale_news n = {.kind = SYNC_STALE_END,
				    .cookie = st->cookie,
				    .scanned = st->scanned,
				    .missing = st->missing,
				    .cut = st->cut};

	if (s->ops.stale_news(s->arg, &n))
		stale_reset(s);
}

/* Ready, not asked yet, with room; nodes that keep every block first.  *any: somebody may still be asked later. */
static struct peer *pick(struct sync *s, bool *any)
{
	const struct stale *st = &s->stale;
	uint32_t height = st->list[st->pos].height;
	struct peer *best = NULL;

	*any = false;
	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		struct peer *p = s->peer[i];

		if (p->state != PEER_READY || (st->tried >> i & 1) != 0 || height < trust_keeps_from(s, p))
			continue;
		*any = true;
		if (p->owed_cnt >= s->cfg.inflight_per_peer)
			continue;
		if (best == NULL ||
		    (!(best->services & P2P_SERVICE_NETWORK) && (p->services & P2P_SERVICE_NETWORK)))
			best = p;
	}
	return best;
}

static void want(struct sync *s)
{
	struct stale *st = &s->stale;
	uint32_t idx = headers_find(s->chain, current(st));
	struct peer *p;
	bool any;

	if (idx != HEADERS_NONE && headers_on_best(s->chain, idx)) {
		next(s, SYNC_STALE_BEST); /* not stale any more: it is scanned as the chain is followed */
		return;
	}
	p = pick(s, &any);
	if (!any && (st->tried != 0 || sync_since(s, st->since_ns) > STALE_PEER_NS)) {
		if (next(s, SYNC_STALE_MISSING))
			buf_give_back(s);
		return;
	}
	if (p == NULL)
		return;
	if (st->buf == NULL)
		st->buf = s->ops.buf_get(s->arg);
	if (st->buf == NULL)
		return;
	st->peer_id = p->id;
	st->tried |= 1ull << p->id;
	st->state = STALE_ASKED;
	download_request(s, p, current(st));
	count(s, CNT_stale_requested);
}

void stale_tick(struct sync *s)
{
	struct stale *st = &s->stale;

	for (uint32_t i = 0; i < SYNC_STALE_MAX && st->state == STALE_WANTED && st->pos < st->cnt; i++) {
		uint32_t pos = st->pos;

		want(s);
		if (st->pos == pos)
			return;
	}
	if (st->state == STALE_WANTED && st->pos == st->cnt)
		end(s);
}

/* ---- what peers do ---- */

bool stale_block_head(struct sync *s, struct peer *p, uint64_t rx_ns)
{
	struct stale *st = &s->stale;

	if (st->state != STALE_ASKED || st->peer_id != p->id || !hash256_eq(current(st), &p->arriving))
		return false;
	st->state = STALE_ARRIVING;
	st->first_ns = rx_ns;
	p2p_stream_block_to(&p->stream, st->buf->data);
	return true;
}

bool stale_block(struct sync *s, struct peer *p, uint64_t rx_ns)
{
	struct stale *st = &s->stale;

	if (st->state != STALE_ARRIVING || st->peer_id != p->id || !hash256_eq(current(st), &p->arriving))
		return false;
	st->state = STALE_READY;
	st->buf->sz = p->stream.payload_sz;
	st->last_ns = rx_ns;
	p->blocks++;
	count(s, CNT_stale_received);
	return true;
}

void stale_not_found(struct sync *s, const struct peer *p, const struct hash256 *hash)
{
	struct stale *st = &s->stale;

	if (is_under_way(st) && st->peer_id == p->id && hash256_eq(current(st), hash))
		st->state = STALE_WANTED;
}

void stale_copy_used(struct sync *s, const struct peer *p)
{
	struct stale *st = &s->stale;

	if (!is_under_way(st) || st->peer_id != p->id || !hash256_eq(current(st), &p->arriving))
		return;
	st->state = STALE_WANTED;
	st->tried &= ~(1ull << p->id);
}

void stale_peer_lost(struct sync *s, const struct peer *p)
{
	if (is_under_way(&s->stale) && s->stale.peer_id == p->id)
		s->stale.state = STALE_WANTED;
}

/* ---- out and back ---- */

bool stale_next(struct sync *s, struct chain_event *ev)
{
	struct stale *st = &s->stale;
	uint32_t idx;

	if (st->state != STALE_READY)
		return false;
	idx = headers_find(s->chain, current(st));
	memset(ev, 0, sizeof(*ev));
	ev->kind = CHAIN_STALE;
	ev->epoch = s->epoch;
	ev->hash = *current(st);
	ev->height = st->list[st->pos].height;
	if (idx != HEADERS_NONE)
		ev->work = *headers_work(s->chain, idx);
	memcpy(ev->header, st->buf->data, HEADER_SZ);
	ev->buf = st->buf;
	ev->peer_id = st->peer_id;
	ev->first_byte_ns = st->first_ns;
	ev->last_byte_ns = st->last_ns;
	st->state = STALE_HANDED;
	st->buf = NULL;
	return true;
}

void stale_done(struct sync *s, const struct handed *h, const uint8_t header[HEADER_SZ], enum block_verdict v)
{
	static const enum sync_counter why[] = {[BLOCK_BAD_PARSE] = CNT_peer_drop_block_parse,
						[BLOCK_BAD_MERKLE] = CNT_peer_drop_block_merkle,
						[BLOCK_MUTATED] = CNT_peer_drop_block_mutated};
	struct stale *st = &s->stale;

	st->state = STALE_WANTED;
	if (v == BLOCK_GOOD) {
		struct hash256 prev;

		/* Of a branch that is not in the tree the blocks below follow, as far as they are not either. */
		memcpy(prev.b, header + 4, HASH_SZ);
		if (st->list[st->pos].height == SYNC_STALE_HEIGHT_UNKNOWN &&
		    headers_find(s->chain, &prev) == HEADERS_NONE)
			list_add(st, &prev, SYNC_STALE_HEIGHT_UNKNOWN);
		next(s, SYNC_STALE_SCANNED);
	} else if (v != BLOCK_CANCELLED) {
		count(s, CNT_blocks_bad);
		peer_drop(s, s->peer[h->peer_id], why[v]);
	} else {
		st->tried &= ~(1ull << h->peer_id);
	}
	stale_tick(s);
}
