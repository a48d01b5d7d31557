/* What the dataplane reports is applied in its order.  What cannot be written yet waits, with all that came after it; the
   dataplane's window bounds how much that is, because nothing is acknowledged meanwhile. */
#include <errno.h>
#include <stdlib.h>

#include "btc/block.h"
#include "kill/kill_point.h"
#include "log/log.h"
#include "tower/tower_priv.h"

enum event_kind { EV_START, EV_HIT, EV_CONNECTED, EV_DISCONNECTED };

struct event {
	struct event *next;
	enum event_kind kind;
	union {
		struct link_chain_start start;
		struct link_hit_info hit;
		struct link_block_connected connected;
		struct link_block_disconnected disconnected;
	} u;
	uint8_t headers[]; /* of EV_START */
};

static struct event *push(struct tower *t, enum event_kind kind, size_t extra)
{
	struct event *e = calloc(1, sizeof(*e) + extra);

	if (e == NULL)
		abort();
	e->kind = kind;
	if (t->ev_last != NULL)
		t->ev_last->next = e;
	else
		t->ev_first = e;
	t->ev_last = e;
	return e;
}

static void pop(struct tower *t)
{
	struct event *e = t->ev_first;

	t->ev_first = e->next;
	if (t->ev_first == NULL)
		t->ev_last = NULL;
	if (e->kind == EV_HIT)
		free(e->u.hit.raw);
	free(e);
}

void staged_clear(struct tower *t)
{
	for (size_t i = 0; i < t->staged_cnt; i++)
		free(t->staged[i].raw);
	t->staged_cnt = 0;
}

void events_clear(struct tower *t)
{
	while (t->ev_first != NULL)
		pop(t);
	staged_clear(t);
	t->stalled = false;
}

static void stage(struct tower *t, struct link_hit_info *h)
{
	if (t->staged_cnt == t->staged_cap) {
		t->staged_cap = t->staged_cap == 0 ? 64 : t->staged_cap * 2;
		t->staged = realloc(t->staged, t->staged_cap * sizeof(*t->staged));
		if (t->staged == NULL)
			abort();
	}
	t->staged[t->staged_cnt++] = *h;
	h->raw = NULL;
}

static int refuse(struct tower *t, const char *what, uint32_t height, const struct hash256 *hash)
{
	log_error("chain_broken", "The dataplane's chain does not fit to ours: the session starts over",
		  log_str("what", what), log_u64("height", height), log_hash("hash", hash->b),
		  log_u64("tip", t->tip.height));
	return -EPROTO;
}

/* Down to `height`, which stays. */
static int disconnect_to(struct tower *t, uint32_t height)
{
	int rc = 0;

	while (rc == 0 && t->tip.height > height) {
		log_warn("reorg", "Block disconnected", log_u64("height", t->tip.height),
			 log_hash("hash", t->tip.hash.b));
		rc = block_disconnect(t);
		if (rc == -ENOENT)
			rc = refuse(t, "reorg below the first header", t->tip.height, &t->tip.hash);
	}
	return rc;
}

static int connected(struct tower *t, const struct link_block_connected *rec)
{
	struct header_fields f;
	struct hash256 hash;
	int rc;

	if (!t->has_tip)
		return refuse(t, "block before the start of the chain", rec->height, &rec->hash);
	if (chain_has(t, rec->height, &rec->hash))
		return block_repeated(t, rec);
	header_decode(&f, rec->header);
	hash = header_hash(rec->header);
	if (rec->height == 0 || !hash256_eq(&hash, &rec->hash) || !chain_has(t, rec->height - 1, &f.prev))
		return refuse(t, "block that does not link", rec->height, &rec->hash);
	rc = disconnect_to(t, rec->height - 1);
	return rc < 0 ? rc : block_connect(t, rec);
}

static int disconnected(struct tower *t, const struct link_block_disconnected *rec)
{
	if (rec->height == 0 || !chain_has(t, rec->height, &rec->hash))
		return refuse(t, "disconnect of a block not on the chain", rec->height, &rec->hash);
	return disconnect_to(t, rec->height - 1);
}

static int apply(struct tower *t, struct event *e)
{
	switch (e->kind) {
	case EV_START:
		return chain_start(t, &e->u.start, e->headers);
	case EV_HIT:
		if (e->u.hit.rec.flags & LINK_HIT_RECENT)
			return block_late_hit(t, &e->u.hit);
		stage(t, &e->u.hit);
		return 0;
	case EV_CONNECTED:
		return connected(t, &e->u.connected);
	case EV_DISCONNECTED:
		return disconnected(t, &e->u.disconnected);
	}
	return 0;
}

void events_drain(struct tower *t)
{
	while (t->ev_first != NULL) {
		int rc = apply(t, t->ev_first);

		if (rc == -EPROTO) {
			tower_session_lost(t);
			if (t->ops.session_reset != NULL)
				t->ops.session_reset(t->arg);
			return;
		}
		if (rc < 0) {
			if (!t->stalled)
				log_error("stalled",
					  "A block's effects cannot be written: waiting for the "
					  "store",
					  log_u64("tip", t->tip.height));
			t->stalled = true;
			return;
		}
		t->stalled = false;
		pop(t);
	}
}

/* A queue that waits is tried again by the tick only. */
static void drain(struct tower *t)
{
	tower_enter(t);
	if (!t->stalled)
		events_drain(t);
}

void tower_chain_start(struct tower *t, const struct link_chain_start *rec, const uint8_t *headers)
{
	size_t sz = (size_t)rec->header_cnt * HEADER_SZ;
	struct event *e = push(t, EV_START, sz);

	e->u.start = *rec;
	if (sz > 0)
		memcpy(e->headers, headers, sz);
	drain(t);
}

void tower_hit(struct tower *t, const struct link_hit *rec, const uint8_t *raw)
{
	struct event *e = push(t, EV_HIT, 0);
	struct tx_view tx;
	size_t used;

	e->u.hit.rec = *rec;
	if (raw != NULL && rec->raw_sz > 0 && tx_parse(raw, rec->raw_sz, false, &tx, &used) == PARSE_OK)
		e->u.hit.out_cnt = tx.out_cnt;
	if (hit_answer(t, &e->u.hit) && raw != NULL && rec->raw_sz > 0) {
		e->u.hit.raw = malloc(rec->raw_sz);
		if (e->u.hit.raw == NULL)
			abort();
		memcpy(e->u.hit.raw, raw, rec->raw_sz);
	}
	KILL_POINT("tower:after-hit");
	drain(t);
}

void tower_block_connected(struct tower *t, const struct link_block_connected *rec)
{
	push(t, EV_CONNECTED, 0)->u.connected = *rec;
	drain(t);
}

void tower_block_disconnected(struct tower *t, const struct link_block_disconnected *rec)
{
	push(t, EV_DISCONNECTED, 0)->u.disconnected = *rec;
	drain(t);
}

void tower_session_lost(struct tower *t)
{
	events_clear(t);
	penalties_forget_uncommitted(t);
	penalties_forget_peers(t);
}
