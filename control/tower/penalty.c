#include <errno.h>
#include <search.h>
#include <stdlib.h>

#include "log/log.h"
#include "meter/meter.h"
#include "tower/tower_priv.h"

#define SECOND_NS          1000000000ull
#define UNSENT_BACKOFF_MAX (60 * SECOND_NS)
/* A refusal is often about the moment: the node has not seen the block yet, or its mempool is full. */
#define REFUSED_BACKOFF_MAX (600 * SECOND_NS)

static int penalty_cmp(const void *a, const void *b)
{
	const struct penalty *x = a, *y = b;

	return memcmp(x->txid.b, y->txid.b, HASH_SZ);
}

struct penalty *penalty_find(const struct tower *t, const struct hash256 *txid)
{
	struct penalty key = {.txid = *txid}, **at;

	at = tfind(&key, &t->penalty_tree, penalty_cmp);
	return at == NULL ? NULL : *at;
}

struct penalty *penalty_add(struct tower *t, const struct hash256 *txid)
{
	struct penalty *p = penalty_find(t, txid);

	if (p != NULL)
		return p;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		abort();
	p->txid = *txid;
	p->since = t->has_tip ? t->tip.height : 0;
	p->dispute_height = HEIGHT_NONE;
	p->next_ns = t->now_ns;
	p->backoff_ns = SECOND_NS;
	if (tsearch(p, &t->penalty_tree, penalty_cmp) == NULL)
		abort();
	p->next = t->penalty_first;
	if (p->next != NULL)
		p->next->prev = p;
	t->penalty_first = p;
	return p;
}

static void penalty_remove(struct tower *t, struct penalty *p)
{
	overdue_set(t, p, false);
	if (p->dirty)
		t->sending_dirty--;
	tdelete(p, &t->penalty_tree, penalty_cmp);
	if (p->next != NULL)
		p->next->prev = p->prev;
	if (p->prev != NULL)
		p->prev->next = p->next;
	else
		t->penalty_first = p->next;
	free(p);
}

/* xorshift; only spreads retries. */
static uint64_t jitter(struct tower *t, uint64_t below)
{
	if (t->jitter == 0)
		t->jitter = t->now_ns | 1;
	t->jitter ^= t->jitter << 13;
	t->jitter ^= t->jitter >> 7;
	t->jitter ^= t->jitter << 17;
	return t->jitter % below;
}

/* Up to a quarter earlier than planned, so that what was refused together does not come back together. */
static void plan(struct tower *t, struct penalty *p, uint64_t max_ns)
{
	p->next_ns = t->now_ns + p->backoff_ns - jitter(t, p->backoff_ns / 4);
	p->backoff_ns = p->backoff_ns * 2 > max_ns ? max_ns : p->backoff_ns * 2;
}

/* A node may be wrong about it, but no block will change its mind. */
static bool hopeless(const struct penalty *p)
{
	return p->state == TRACKER_REFUSED && (p->reason == REASON_INVALID || p->reason == REASON_UNDECODABLE);
}

void penalty_send(struct tower *t, struct penalty *p, const uint8_t *raw, size_t sz)
{
	p->since = t->has_tip ? t->tip.height : 0;
	if (p->tries == 0)
		p->first_height = p->since;
	p->tries++;
	sending_changed(t, p);
	plan(t, p, p->state == TRACKER_REFUSED ? REFUSED_BACKOFF_MAX : UNSENT_BACKOFF_MAX);
	if (p->state == TRACKER_SENT)
		p->next_ns = UINT64_MAX;
	if (hopeless(p) && t->ops.ask_nodes != NULL)
		t->ops.ask_nodes(t->arg, &p->txid, raw, sz);
	else
		t->ops.broadcast(t->arg, &p->txid, raw, sz);
}

/* --- what the store says about it ----------------------------------------------------------------------------- */

struct need {
	struct tower *t;
	bool any;     /* some tracker has it */
	bool open;    /* an alive one is not confirmed */
	bool unknown; /* a row could not be read */
	struct appointment_key key;
	uint32_t dispute_height;
};

static bool look(void *arg, struct slice key, struct slice value)
{
	struct need *n = arg;
	struct appointment_key a;
	struct hash256 txid;
	struct tracker_row r;
	int rc;

	(void)value;
	if (!key_by_penalty_decode(key, &txid, &a))
		return true;
	rc = tracker_get(n->t, &a, &r);
	n->unknown |= rc == -EIO;
	if (rc < 0)
		return true;
	n->any = true;
	n->dispute_height = r.dispute_height;
	if (r.confirmed_height != HEIGHT_NONE || !tracker_alive_at(n->t, &a.user, &r, n->t->tip.height))
		return true;
	n->open = true;
	n->key = a;
	return false;
}

/* -EIO also where what was read leaves it open: a row that cannot be read is not one that is gone. */
static int need_of(struct tower *t, const struct hash256 *txid, struct need *n)
{
	struct key k = key_penalty(txid);

	*n = (struct need){.t = t};
	if (store_scan(t->st, STORE_BY_PENALTY, key_slice(&k), (struct slice){NULL, 0}, false, false, look, n) <
	    0)
		return -EIO;
	return n->unknown && !n->open ? -EIO : 0;
}

bool penalty_open_tracker(struct tower *t, const struct hash256 *txid, struct appointment_key *key,
			  struct tracker_row *r)
{
	struct need n;

	if (need_of(t, txid, &n) < 0 || !n.open || tracker_get(t, &n.key, r) < 0)
		return false;
	*key = n.key;
	return true;
}

void penalty_review(struct tower *t, const struct hash256 *txid)
{
	struct penalty *p = penalty_find(t, txid);
	struct need n;

	if (need_of(t, txid, &n) < 0)
		return;
	if (!n.any) {
		if (p != NULL)
			penalty_remove(t, p);
		sending_forget(t, txid);
		return;
	}
	if (p == NULL)
		p = penalty_add(t, txid);
	p->committed = true;
	p->dispute_height = n.dispute_height;
	if (p->idle && n.open) {
		p->next_ns = t->now_ns;
		p->backoff_ns = SECOND_NS;
	}
	p->idle = !n.open;
	if (p->idle)
		overdue_set(t, p, false);
}

bool penalty_followed(struct tower *t, const struct hash256 *txid, uint32_t dispute_height)
{
	struct penalty *p = penalty_find(t, txid);

	if (p == NULL || p->idle)
		return false;
	p->committed = true;
	p->dispute_height = dispute_height;
	return true;
}

static void send_again(struct tower *t, struct penalty *p)
{
	struct tracker_row r;
	struct need n;

	if (need_of(t, &p->txid, &n) < 0 || !n.any) {
		plan(t, p, UNSENT_BACKOFF_MAX);
		return;
	}
	if (!n.open) {
		p->idle = true;
		overdue_set(t, p, false);
		return;
	}
	if (tracker_get(t, &n.key, &r) == 0)
		penalty_send(t, p, r.raw, r.raw_sz);
}

/* --- when -------------------------------------------------------------------------------------------------------- */

void penalties_after_block(struct tower *t)
{
	for (struct penalty *p = t->penalty_first; p != NULL; p = p->next) {
		if (p->idle || !p->committed)
			continue;
		uint32_t blocks = p->overdue && !hopeless(p) ? 1 : t->cfg.rebroadcast_blocks;

		if (t->tip.height >= p->since && t->tip.height - p->since >= blocks)
			p->next_ns = t->now_ns;
		else if (p->state == TRACKER_REFUSED && !hopeless(p) && p->next_ns > t->now_ns + SECOND_NS)
			p->next_ns = t->now_ns + SECOND_NS; /* the mempool has changed */
	}
}

void penalties_send_due(struct tower *t, uint32_t limit)
{
	for (struct penalty *p = t->penalty_first; p != NULL && limit > 0; p = p->next) {
		if (p->idle || !p->committed || p->next_ns > t->now_ns)
			continue;
		send_again(t, p);
		limit--;
	}
}

void tower_way_open(struct tower *t)
{
	/* Also what was sent: the way that took it may have died with it in a socket, or lost its mempool. */
	for (struct penalty *p = t->penalty_first; p != NULL; p = p->next) {
		p->next_ns = t->now_ns;
		p->backoff_ns = SECOND_NS;
	}
}

void penalties_forget_uncommitted(struct tower *t)
{
	for (struct penalty *p = t->penalty_first, *next; p != NULL; p = next) {
		next = p->next;
		if (!p->committed)
			penalty_remove(t, p);
	}
}

void penalties_forget_peers(struct tower *t)
{
	for (struct penalty *p = t->penalty_first; p != NULL; p = p->next)
		p->peers = (struct link_bcast_peers){0};
}

void penalties_free(struct tower *t)
{
	while (t->penalty_first != NULL)
		penalty_remove(t, t->penalty_first);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static void sent_at(struct penalty *p, uint64_t at_ns)
{
	if (p->sent_ns != 0 || at_ns == 0)
		return;
	p->sent_ns = at_ns;
	if (p->hit_ns != 0 && at_ns >= p->hit_ns)
		meter_note(METER_SENT, at_ns - p->hit_ns, "%u tries", p->tries);
}

static void took(struct tower *t, struct penalty *p, uint64_t at_ns)
{
	sending_changed(t, p);
	p->state = TRACKER_SENT;
	p->next_ns = UINT64_MAX;
	p->backoff_ns = SECOND_NS;
	sent_at(p, at_ns);
	if (!p->counted)
		t->totals.penalties_sent_total++;
	p->counted = true;
}

static void remember(struct penalty *p, const struct node_answer *a)
{
	const char *text = a->text == NULL ? "" : a->text;

	p->code = a->code;
	p->reason = a->reason;
	memset(p->text, 0, sizeof(p->text));
	memccpy(p->text, text, '\0', sizeof(p->text) - 1);
}

/* It is pushed more than once: what a peer did with it once stays. */
static void remember_peers(struct penalty *p, const struct link_bcast_peers *a)
{
	p->peers.written |= a->written;
	p->peers.asked |= a->asked;
	p->peers.announced |= a->announced;
	p->peers.held |= a->held;
	p->peers.lost = (p->peers.lost | a->lost) & ~p->peers.held;
	p->peers.missing = (p->peers.missing | a->missing) & ~p->peers.held;
}

void tower_broadcast_result(struct tower *t, const struct hash256 *txid, const struct node_answer *a)
{
	struct penalty *p = penalty_find(t, txid);
	bool news;

	reorged_answer(t, txid, a->verdict);
	if (p == NULL)
		return;
	if (a->peers != NULL)
		remember_peers(p, a->peers);
	switch (a->verdict) {
	case NODE_SENT_P2P:
		p->peer_cnt = a->peer_cnt;
		if (a->peer_cnt > 0 && p->state == TRACKER_UNSENT)
			took(t, p, a->at_ns);
		else
			sent_at(p, a->at_ns);
		break;
	case NODE_ACCEPTED:
		remember(p, a);
		p->code = 0;
		took(t, p, a->at_ns);
		break;
	case NODE_REFUSED:
		news = p->state != TRACKER_REFUSED || p->reason != a->reason;
		remember(p, a);
		sending_changed(t, p);
		if (p->state != TRACKER_REFUSED)
			p->backoff_ns = SECOND_NS;
		p->state = TRACKER_REFUSED;
		plan(t, p, REFUSED_BACKOFF_MAX);
		if (news) {
			log_warn("penalty_refused", "A node refuses a penalty: it is kept and sent again",
				 log_hash("penalty", txid->b), log_i64("code", a->code),
				 log_str("reason", node_reason_name(p->reason)), log_str("text", p->text));
			overdue_refused(t, p);
		}
		break;
	case NODE_NO_PEER:
	case NODE_UNREACHABLE:
	case NODE_PEER_NEWS:
		break;
	}
}
