/* events.c - the order in which the caller learns of the chain, and what its verdicts do. */
#include <assert.h>
#include <stdlib.h>

#include "sync/body.h"
#include "sync/sync_priv.h"

uint32_t events_next_height(const struct sync *s)
{
	uint32_t above = headers_height(s->chain, s->fork) + 1;

	return s->filling && s->fill_next < above ? s->fill_next : above;
}

static void event_fill(const struct sync *s, struct chain_event *ev, enum chain_event_kind kind, uint32_t idx)
{
	memset(ev, 0, sizeof(*ev));
	ev->kind = kind;
	ev->epoch = s->epoch;
	ev->height = headers_height(s->chain, idx);
	ev->hash = *headers_hash(s->chain, idx);
	ev->work = *headers_work(s->chain, idx);
	headers_raw(s->chain, idx, ev->header);
}

static struct handed *handed_at(struct sync *s, uint32_t i)
{
	return &s->handed[(s->handed_head + i) & (s->handed_cap - 1)];
}

/* Room for one more in the queue of blocks in the caller's hands. */
static bool handed_reserve(struct sync *s)
{
	uint32_t cap = s->handed_cap != 0 ? s->handed_cap * 2 : 64;
	struct handed *q;

	if (s->handed_cnt < s->handed_cap)
		return true;
	q = malloc(cap * sizeof(*q));
	if (q == NULL)
		return false;
	for (uint32_t i = 0; i < s->handed_cnt; i++)
		q[i] = *handed_at(s, i);
	free(s->handed);
	s->handed = q;
	s->handed_cap = cap;
	s->handed_head = 0;
	return true;
}

/* Takes the entry of a buffer out.  It is the oldest one, but for those of a session that is over, whose order
   no longer matters. */
static struct handed handed_take(struct sync *s, const struct block_buf *buf)
{
	struct handed h;
	uint32_t i = 0;

	while (i < s->handed_cnt && handed_at(s, i)->buf != buf)
		i++;
	assert(i < s->handed_cnt);
	h = *handed_at(s, i);
	assert(i == 0 || h.session != s->session);
	for (; i > 0; i--)
		*handed_at(s, i) = *handed_at(s, i - 1);
	s->handed_head = (s->handed_head + 1) & (s->handed_cap - 1);
	s->handed_cnt--;
	return h;
}

static void handed_push(struct sync *s, const struct chain_event *ev, bool stale)
{
	headers_ref(s->chain, s->applied);
	s->handed[(s->handed_head + s->handed_cnt++) & (s->handed_cap - 1)] =
		(struct handed){.buf = ev->buf,
				.hash = ev->hash,
				.session = s->session,
				.epoch = s->epoch,
				.peer_id = ev->peer_id,
				.applied = s->applied,
				.fill_next = s->fill_next,
				.filling = s->filling,
				.stale = stale};
}

/* Hands out the head of the window, which is READY. */
static void take_block(struct sync *s, struct chain_event *ev, enum chain_event_kind kind)
{
	struct slot *slot = download_head(s);

	event_fill(s, ev, kind, slot->idx);
	memcpy(ev->header, slot->buf->data, HEADER_SZ);
	ev->buf = slot->buf;
	ev->peer_id = slot->peer_id;
	ev->first_byte_ns = slot->first_ns;
	ev->last_byte_ns = slot->last_ns;
	handed_push(s, ev, false);
	if (kind == CHAIN_FILL) {
		s->fill_next++;
	} else {
		s->filling = false;
		sync_set_applied(s, slot->idx);
	}
	download_pop(s);
}

static bool best_chain_next(struct sync *s, struct chain_event *ev)
{
	struct slot *head;
	bool ready, fill;

	if (s->base_state == BASE_FOUND) {
		s->base_state = BASE_SENT;
		event_fill(s, ev, CHAIN_START, s->base);
		return true;
	}
	head = download_head(s);
	ready = head != NULL && head->state == SLOT_READY;
	fill = s->filling && s->fill_next <= headers_height(s->chain, s->fork);
	if (fill || s->applied == s->fork) {
		if (!ready || !handed_reserve(s))
			return false;
		take_block(s, ev, fill ? CHAIN_FILL : CHAIN_CONNECT);
		return true;
	}
	/* Nothing is undone for a branch whose first block nobody has delivered yet. */
	if (!ready && s->fork != headers_best(s->chain))
		return false;
	event_fill(s, ev, CHAIN_DISCONNECT, s->applied);
	count(s, CNT_disconnects);
	s->filling = false;
	sync_set_applied(s, headers_parent(s->chain, s->applied));
	return true;
}

bool sync_next(struct sync *s, struct chain_event *ev)
{
	if (!s->on || s->base_state == BASE_SEEK)
		return false;
	if (best_chain_next(s, ev))
		return true;
	if (!handed_reserve(s) || !stale_next(s, ev))
		return false;
	handed_push(s, ev, true);
	return true;
}

/* Back to where the caller stood before that block, which it and everything after it has thrown away. */
static void roll_back(struct sync *s, const struct handed *h)
{
	s->epoch++;
	sync_set_applied(s, h->applied);
	s->filling = h->filling;
	s->fill_next = h->fill_next;
	download_rewind(s);
}

static void blame(struct sync *s, const struct handed *h, enum sync_counter why)
{
	count(s, CNT_blocks_bad);
	if (s->bad_known && hash256_eq(&s->bad_hash, &h->hash))
		count(s, CNT_blocks_bad_again);
	else
		s->bad_since_ns = s->now_ns;
	s->bad_known = true;
	s->bad_hash = h->hash;
	s->bad_peer = h->peer_id;
	peer_drop(s, s->peer[h->peer_id], why);
}

/* condemned: the bytes prove that no body can be valid. */
static void on_verdict(struct sync *s, const struct handed *h, enum block_verdict v, bool condemned)
{
	if (v == BLOCK_GOOD) {
		count(s, CNT_blocks_good);
		s->peer[h->peer_id]->strikes = 0;
		branch_good(s, &h->hash);
		return;
	}
	roll_back(s, h);
	if (condemned)
		branch_condemn(s, &h->hash);
	switch (v) {
	case BLOCK_BAD_PARSE:
		blame(s, h, condemned ? CNT_peer_drop_block_invalid : CNT_peer_drop_block_parse);
		break;
	case BLOCK_BAD_MERKLE:
		blame(s, h, CNT_peer_drop_block_merkle);
		break;
	case BLOCK_MUTATED:
		blame(s, h, CNT_peer_drop_block_mutated);
		break;
	case BLOCK_CANCELLED:
	case BLOCK_GOOD:
		count(s, CNT_blocks_cancelled);
		break;
	}
}

void sync_block_done(struct sync *s, const struct chain_event *ev, enum block_verdict v, uint64_t now_ns)
{
	struct handed h;
	uint8_t header[HEADER_SZ];
	bool condemned;

	if (now_ns > s->now_ns)
		s->now_ns = now_ns;
	h = handed_take(s, ev->buf);
	memcpy(header, h.buf->data, HEADER_SZ);
	condemned = v == BLOCK_BAD_PARSE && !h.stale && h.session == s->session && h.epoch == s->epoch &&
		    body_condemns_header(h.buf->data, h.buf->sz);
	s->ops.buf_put(s->arg, h.buf);
	if (h.session != s->session) {
		count(s, CNT_blocks_cancelled); /* of a session that is over, and so is its header tree */
		return;
	}
	if (h.stale)
		stale_done(s, &h, header, v);
	else if (h.epoch == s->epoch)
		on_verdict(s, &h, v, condemned);
	else
		count(s, CNT_blocks_cancelled);
	headers_unref(s->chain, h.applied);
	download_schedule(s);
}
