/* broadcast.c - our own transactions: pushed once to every ready peer, kept for a while for those who ask.

   Entries form a queue by sequence number; each connection has its place in it, so a slow one holds up nobody, and
   a transaction is stored once for all.  Found by txid through a map of chains. */
#include <stdlib.h>

#include "sync/sync_priv.h"

#define CAP_MIN   1024u
#define CAP_MAX   65536u
#define BYTES_MAX (64u << 20)
#define MAP_CNT   65536u
#define NO_ENTRY  UINT32_MAX

struct bcast *broadcast_at(const struct sync *s, uint64_t seq)
{
	return &s->bcast[seq & (s->bcast_cap - 1)];
}

bool broadcast_init(struct sync *s)
{
	s->bcast_cap = CAP_MIN;
	s->bcast = calloc(CAP_MIN, sizeof(*s->bcast));
	s->bcast_map = malloc(MAP_CNT * sizeof(*s->bcast_map));
	if (s->bcast == NULL || s->bcast_map == NULL) {
		broadcast_free(s);
		return false;
	}
	memset(s->bcast_map, 0xff, MAP_CNT * sizeof(*s->bcast_map));
	return true;
}

/* ---- by txid; the map holds places in the ring ---- */

static uint32_t *chain_of(const struct sync *s, const struct hash256 *txid)
{
	return &s->bcast_map[(txid->b[0] | (uint32_t)txid->b[1] << 8) & (MAP_CNT - 1)];
}

/* The newest entry of a transaction, or NO_ENTRY. */
static uint32_t find(const struct sync *s, const struct hash256 *txid)
{
	uint32_t i = *chain_of(s, txid);

	while (i != NO_ENTRY && !hash256_eq(&s->bcast[i].txid, txid))
		i = s->bcast[i].map_next;
	return i;
}

struct bcast *broadcast_find(const struct sync *s, const struct hash256 *txid)
{
	uint32_t i = find(s, txid);

	return i != NO_ENTRY ? &s->bcast[i] : NULL;
}

static void map_add(struct sync *s, uint32_t i)
{
	uint32_t *c = chain_of(s, &s->bcast[i].txid);

	s->bcast[i].map_next = *c;
	*c = i;
}

static void map_del(struct sync *s, uint32_t i)
{
	uint32_t *c = chain_of(s, &s->bcast[i].txid);

	while (*c != i)
		c = &s->bcast[*c].map_next;
	*c = s->bcast[i].map_next;
}

static void drop_first(struct sync *s)
{
	struct bcast *b = broadcast_at(s, s->bcast_first);

	map_del(s, (uint32_t)(b - s->bcast));
	s->bcast_bytes -= b->msg_sz;
	free(b->msg);
	s->bcast_first++;
	if (s->bcast_open < s->bcast_first)
		s->bcast_open = s->bcast_first;
}

void broadcast_clear(struct sync *s)
{
	while (s->bcast_first < s->bcast_end)
		drop_first(s);
}

void broadcast_free(struct sync *s)
{
	if (s->bcast != NULL && s->bcast_map != NULL)
		broadcast_clear(s);
	free(s->bcast);
	free(s->bcast_map);
}

/* ---- results ---- */

static void report(struct sync *s, struct bcast *b)
{
	bool sent = b->peers.written != 0;

	b->reported = true;
	outcome_result(s, b, sent ? LINK_BCAST_SENT : LINK_BCAST_NO_PEER,
		       (uint32_t)__builtin_popcountll(b->peers.written), sent ? b->at_ns : s->now_ns);
}

static void report_if_done(struct sync *s, struct bcast *b)
{
	if (!b->reported &&
	    (b->waiting == 0 || (b->peers.written != 0 && s->now_ns - b->first_ns >= BCAST_REPORT_NS)))
		report(s, b);
}

/* ---- coming and going ---- */

static bool is_being_written(const struct sync *s, uint64_t seq)
{
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		if ((s->peer[i]->pushing && s->peer[i]->push_cur == seq) ||
		    (s->push[i]->pushing && s->push[i]->push_cur == seq))
			return true;
	return false;
}

/* Makes room by forgetting the oldest that nobody waits for. */
static bool make_room(struct sync *s, size_t sz)
{
	while (s->bcast_first < s->bcast_end &&
	       (s->bcast_end - s->bcast_first == CAP_MAX || s->bcast_bytes + sz > BYTES_MAX)) {
		if (broadcast_at(s, s->bcast_first)->waiting != 0 || is_being_written(s, s->bcast_first))
			return false;
		drop_first(s);
	}
	return s->bcast_bytes + sz <= BYTES_MAX;
}

/* Twice the ring.  Places change, so the map is built anew. */
static bool grow(struct sync *s)
{
	uint32_t cap = s->bcast_cap;
	struct bcast *ring;

	if (s->bcast_end - s->bcast_first < cap)
		return true;
	ring = calloc(cap * 2, sizeof(*ring));
	if (ring == NULL)
		return false;
	for (uint64_t seq = s->bcast_first; seq < s->bcast_end; seq++)
		ring[seq & (cap * 2 - 1)] = *broadcast_at(s, seq);
	free(s->bcast);
	s->bcast = ring;
	s->bcast_cap = cap * 2;
	memset(s->bcast_map, 0xff, MAP_CNT * sizeof(*s->bcast_map));
	for (uint64_t seq = s->bcast_first; seq < s->bcast_end; seq++)
		map_add(s, (uint32_t)(seq & (s->bcast_cap - 1)));
	return true;
}

static void refuse(struct sync *s, uint64_t cookie, const struct hash256 *txid)
{
	struct bcast b = {.cookie = cookie, .txid = *txid};

	count(s, CNT_tx_refused);
	outcome_result(s, &b, LINK_BCAST_NO_PEER, 0, s->now_ns);
}

void sync_broadcast(struct sync *s, uint64_t cookie, const struct hash256 *txid, const uint8_t *raw, size_t sz,
		    uint64_t now_ns)
{
	uint64_t target = 0, by_blocks = 0;
	struct bcast *b;
	uint8_t *msg;

	if (now_ns > s->now_ns)
		s->now_ns = now_ns;
	count(s, CNT_tx_broadcasts);
	for (uint32_t i = 0; s->on && i < s->peer_cnt; i++) {
		const struct peer *p = push_route(s, i);

		target |= (uint64_t)(p != NULL) << i;
		by_blocks |= (uint64_t)(p != NULL && p->role == SYNC_BLOCKS) << i;
	}
	if (target == 0 || sz == 0 || sz > P2P_PAYLOAD_SZ_MAX || !make_room(s, P2P_HEAD_SZ + sz) || !grow(s) ||
	    (msg = malloc(P2P_HEAD_SZ + sz)) == NULL) {
		refuse(s, cookie, txid);
		return;
	}
	memcpy(msg + P2P_HEAD_SZ, raw, sz);
	b = broadcast_at(s, s->bcast_end);
	*b = (struct bcast){.cookie = cookie,
			    .txid = *txid,
			    .msg = msg,
			    .msg_sz = (uint32_t)p2p_seal(msg, s->cfg.network->magic, P2P_TX, sz),
			    .target = target,
			    .waiting = target,
			    .by_blocks = by_blocks,
			    .added_ns = s->now_ns};
	map_add(s, (uint32_t)(b - s->bcast));
	s->bcast_bytes += b->msg_sz;
	s->bcast_end++;
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		if (target & 1ull << i)
			peer_flush(s, by_blocks & 1ull << i ? s->peer[i] : s->push[i]);
}

/* The entry is still to be written to this peer, and by this connection. */
static bool waits_for(const struct bcast *b, const struct peer *p)
{
	return (b->waiting >> p->id & 1) != 0 && (b->by_blocks >> p->id & 1) == (p->role == SYNC_BLOCKS);
}

static void move(struct sync *s, uint64_t seq, struct peer *to)
{
	broadcast_at(s, seq)->by_blocks ^= 1ull << to->id;
	if (seq < to->push_next)
		to->push_next = seq;
	count(s, CNT_tx_moved);
}

void broadcast_peer_ready(struct sync *s, struct peer *p)
{
	const struct peer *other = peer_other(s, p);

	p->push_next = s->bcast_end;
	if (p->role == SYNC_BLOCKS)
		return;
	/* What stands behind requested blocks need not go on standing there; what was begun is finished. */
	for (uint64_t seq = s->bcast_first; seq < s->bcast_end; seq++)
		if (waits_for(broadcast_at(s, seq), other) &&
		    !(other->pushing && !other->push_is_serve && other->push_cur == seq))
			move(s, seq, p);
}

void broadcast_peer_lost(struct sync *s, struct peer *p)
{
	struct peer *other = peer_other(s, p);
	bool may_move = push_may_take(s, other);

	p->pushing = false;
	for (uint64_t seq = s->bcast_first; seq < s->bcast_end; seq++) {
		struct bcast *b = broadcast_at(s, seq);

		if (!waits_for(b, p))
			continue;
		if (may_move) {
			move(s, seq, other);
		} else {
			b->waiting &= ~(1ull << p->id);
			report_if_done(s, b);
		}
	}
}

/* ---- writing ---- */

bool broadcast_pick(struct sync *s, struct peer *p)
{
	while (p->serve_cnt > 0) {
		p->push_cur = p->serve[0];
		p->serve_cnt--;
		memmove(&p->serve[0], &p->serve[1], p->serve_cnt * sizeof(p->serve[0]));
		if (p->push_cur >= s->bcast_first) {
			p->pushing = p->push_is_serve = true;
			return true;
		}
	}
	if (p->push_next < s->bcast_first)
		p->push_next = s->bcast_first;
	while (p->push_next < s->bcast_end && !waits_for(broadcast_at(s, p->push_next), p))
		p->push_next++;
	if (p->push_next == s->bcast_end)
		return false;
	p->push_cur = p->push_next++;
	p->pushing = true;
	p->push_is_serve = false;
	return true;
}

void broadcast_written(struct sync *s, struct peer *p)
{
	struct bcast *b = broadcast_at(s, p->push_cur);

	count(s, p->push_is_serve ? CNT_tx_served : CNT_tx_pushed);
	if (p->push_is_serve)
		return;
	if (p->role == SYNC_BLOCKS) {
		count(s, CNT_tx_fallbacks);
		p->fallback_ns = s->now_ns;
	}
	if (b->peers.written == 0)
		b->first_ns = s->now_ns;
	outcome_written(s, p, b);
	b->waiting &= ~(1ull << p->id);
	b->at_ns = s->now_ns;
	report_if_done(s, b);
}

bool broadcast_serve(struct sync *s, struct peer *p, const struct hash256 *txid)
{
	uint32_t i = find(s, txid);
	uint64_t seq;

	if (i == NO_ENTRY)
		return false;
	outcome_asked(s, p, &s->bcast[i]);
	if (p->serve_cnt == SYNC_SERVE_MAX)
		return true; /* asked for more at once than it reads; it may ask again */
	seq = s->bcast_first + ((i - s->bcast_first) & (s->bcast_cap - 1));
	p->serve[p->serve_cnt++] = seq;
	return true;
}

void broadcast_announced(struct sync *s, struct peer *p, const struct hash256 *txid)
{
	struct bcast *b = broadcast_find(s, txid);

	if (b != NULL && !(b->target >> p->id & 1))
		outcome_announced(s, p, b);
}

void broadcast_tick(struct sync *s)
{
	outcome_tick(s);
	for (uint64_t seq = s->bcast_open; seq < s->bcast_end; seq++) {
		report_if_done(s, broadcast_at(s, seq));
		if (seq == s->bcast_open && broadcast_at(s, seq)->reported)
			s->bcast_open++;
	}
	while (s->bcast_first < s->bcast_end) {
		const struct bcast *b = broadcast_at(s, s->bcast_first);

		if (b->waiting != 0 || s->now_ns - b->added_ns < BCAST_KEEP_NS ||
		    is_being_written(s, s->bcast_first))
			break;
		drop_first(s);
	}
}
