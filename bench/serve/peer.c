/* One connection: bytes in, messages in order, bytes out. */
#include <stdlib.h>

#include "serve/node.h"

/* One piece of a block for net_send, so that a big block does not keep the other connections waiting. */
enum { SEND_PIECE = 1 << 16 };

void peer_drop(struct peer *p, const char *why)
{
	if (p->dead)
		return;
	report_begin(p->node->report, "drop", mono_ns());
	report_num(p->node->report, "conn", p->id);
	report_text(p->node->report, "why", why);
	report_end(p->node->report);
	p->dead = true;
	net_abort(p->conn);
}

static void outgoing_free(struct outgoing *o)
{
	free(o->own);
	*o = (struct outgoing){0};
}

static void peer_free(struct peer *p)
{
	for (unsigned i = 0; i < NODE_PEERS_MAX; i++) {
		if (p->node->peer[i] == p)
			p->node->peer[i] = NULL;
	}
	outgoing_free(&p->out);
	free(p->in);
	free(p->small);
	free(p->want);
	free(p);
}

static void report_oldest(struct peer *p, uint64_t at_ns)
{
	const struct chain_block *b = chainset_block(p->node->chain, p->mark[p->mark_from].idx);

	report_begin(p->node->report, "block_sent", at_ns);
	report_num(p->node->report, "conn", p->id);
	report_num(p->node->report, "height", b->height);
	report_hash(p->node->report, "hash", &b->hash);
	report_num(p->node->report, "sz", b->sz);
	report_end(p->node->report);
	p->mark_from = (p->mark_from + 1) % PEER_MARKS_MAX;
	p->mark_cnt--;
}

static void mark_end(struct peer *p, uint32_t idx)
{
	/* So many in one turn are tiny: the oldest is gone, or as good as. */
	if (p->mark_cnt == PEER_MARKS_MAX)
		report_oldest(p, mono_ns());
	p->mark[(p->mark_from + p->mark_cnt) % PEER_MARKS_MAX].end = p->bytes;
	p->mark[(p->mark_from + p->mark_cnt) % PEER_MARKS_MAX].idx = idx;
	p->mark_cnt++;
}

void peer_report_sent(struct peer *p, uint64_t at_ns)
{
	if (p->dead || p->mark_cnt == 0)
		return;
	while (p->mark_cnt > 0 && p->bytes - net_unsent(p->conn) >= p->mark[p->mark_from].end)
		report_oldest(p, at_ns);
}

/* Sends a piece of the block on its way.  False when there is no room now, or never again. */
static bool flush_block(struct peer *p)
{
	struct outgoing *o = &p->out;
	size_t end = o->stop_at, at = o->done, sz;
	const uint8_t *from;

	if (at < P2P_HEAD_SZ) {
		from = o->head + at;
		sz = P2P_HEAD_SZ - at;
	} else {
		from = o->data + (at - P2P_HEAD_SZ);
		sz = end - at;
	}
	if (sz > SEND_PIECE)
		sz = SEND_PIECE;
	sz = net_send(p->conn, from, sz);
	o->done += sz;
	p->bytes += sz;
	if (o->done < end)
		return sz > 0;
	if (o->stall) {
		p->stalled = true;
		return false;
	}
	if (o->reset) {
		peer_drop(p, "reset-at");
		return false;
	}
	p->blocks++;
	mark_end(p, o->idx);
	bool again = o->unrequested;

	outgoing_free(o);
	if (again)
		peer_send_block(p, chainset_at(p->node->chain, chainset_first_height(p->node->chain)), true);
	return true;
}

static bool flush_small(struct peer *p)
{
	size_t sz = net_send(p->conn, p->small + p->small_done, p->small_sz - p->small_done);

	p->small_done += sz;
	p->bytes += sz;
	if (p->small_done == p->small_sz)
		p->small_done = p->small_sz = 0;
	return sz > 0;
}

/* Handles the first message of the input.  False when there is no whole one, or the connection is lost. */
static bool handle_one(struct peer *p)
{
	const struct network *net = chainset_network(p->node->chain);
	const char *why = "";
	struct p2p_head h;
	enum p2p_verdict v;
	uint8_t sum[4];
	size_t whole;

	if (p->in_sz < P2P_HEAD_SZ)
		return false;
	v = p2p_head_decode(&h, p->in, net->magic);
	if (v == P2P_OK && p->in_sz < P2P_HEAD_SZ + (size_t)h.payload_sz)
		return false;
	if (v == P2P_OK) {
		p2p_checksum(sum, p->in + P2P_HEAD_SZ, h.payload_sz);
		if (memcmp(sum, h.checksum, sizeof(sum)) != 0)
			v = P2P_BAD_CHECKSUM;
	}
	if (v != P2P_OK) {
		peer_drop(p, p2p_verdict_name(v));
		return false;
	}
	if (!peer_message(p, h.type, p->in + P2P_HEAD_SZ, h.payload_sz, &why)) {
		peer_drop(p, why);
		return false;
	}
	whole = P2P_HEAD_SZ + h.payload_sz;
	memmove(p->in, p->in + whole, p->in_sz - whole);
	p->in_sz -= whole;
	return true;
}

void peer_flush(struct peer *p)
{
	bool more = true;

	if (p->in_flush)
		return;
	p->in_flush = true;
	while (more && !p->stalled && !p->dead) {
		if (p->out.on) {
			more = flush_block(p);
		} else if (p->small_sz) {
			more = flush_small(p);
		} else if (p->want) {
			peer_serve_next(p);
		} else {
			peer_announce(p);
			more = p->small_sz || handle_one(p);
		}
	}
	/* A whole message that waits for its turn keeps the window shut; half a one must go on arriving. */
	if (!p->dead && p->in_debt && !p->out.on && !p->small_sz && !p->want) {
		net_consumed(p->conn, p->in_debt);
		p->in_debt = 0;
	}
	p->in_flush = false;
	if (p->closed)
		peer_free(p);
}

static void on_connected(void *arg, struct net_conn *c)
{
	struct peer *p = arg;
	struct net_addr from;
	char text[NET_ADDR_TEXT_SZ];

	p->conn = c;
	net_peer_addr(c, &from);
	net_addr_format(text, &from);
	report_begin(p->node->report, "connect", mono_ns());
	report_num(p->node->report, "conn", p->id);
	report_text(p->node->report, "from", text);
	report_end(p->node->report);
}

static void on_data(void *arg, struct net_conn *c, const uint8_t *data, size_t sz)
{
	struct peer *p = arg;

	if (p->dead || p->stalled) {
		net_consumed(c, sz);
		return;
	}
	if (sz > p->in_cap - p->in_sz) {
		size_t cap = p->in_sz + sz > 2 * p->in_cap ? p->in_sz + sz : 2 * p->in_cap;
		uint8_t *in = realloc(p->in, cap);

		if (!in) {
			peer_drop(p, "out of memory");
			return;
		}
		p->in = in;
		p->in_cap = cap;
	}
	memcpy(p->in + p->in_sz, data, sz);
	p->in_sz += sz;
	p->in_debt += sz;
	peer_flush(p);
}

static void on_sendable(void *arg, struct net_conn *c)
{
	(void)c;
	peer_flush(arg);
}

static void on_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct peer *p = arg;

	(void)c;
	report_begin(p->node->report, "disconnect", mono_ns());
	report_num(p->node->report, "conn", p->id);
	report_text(p->node->report, "why", net_close_reason_name(why));
	report_num(p->node->report, "blocks", p->blocks);
	report_num(p->node->report, "bytes", p->bytes);
	report_end(p->node->report);
	p->dead = p->closed = true;
	if (!p->in_flush)
		peer_free(p);
}

const struct net_conn_ops peer_ops = {on_connected, on_data, on_sendable, on_closed};

void *peer_accept(void *arg, const struct net_addr *from)
{
	struct node *n = arg;
	struct peer *p;

	(void)from;
	for (unsigned i = 0; i < NODE_PEERS_MAX; i++) {
		if (n->peer[i])
			continue;
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		p->node = n;
		p->id = n->peer_seq++;
		p->has = CHAINSET_NONE;
		n->peer[i] = p;
		n->stats.connections++;
		return p;
	}
	return NULL;
}
