/* peers.c - the life of one connection to a peer: dial, states, deadlines, output, end. */
#include <assert.h>
#include <stdlib.h>

#include "sync/sync_priv.h"

#define WANTED_BOTH                                                                                      \
	(1u << P2P_VERSION | 1u << P2P_VERACK | 1u << P2P_PING | 1u << P2P_PONG | 1u << P2P_GETHEADERS | \
	 1u << P2P_INV | 1u << P2P_GETDATA | 1u << P2P_NOTFOUND | 1u << P2P_REJECT)
#define WANTED_PUSH   (WANTED_BOTH | 1u << P2P_TX)
#define WANTED_BLOCKS (WANTED_BOTH | 1u << P2P_HEADERS)

struct peer *peer_new(struct sync *s, uint32_t id, enum sync_role role, const struct net_addr *a)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	if (role == SYNC_BLOCKS) {
		p->owed = calloc(s->cfg.inflight_per_peer, sizeof(*p->owed));
		p->ask = calloc(s->cfg.inflight_per_peer, sizeof(*p->ask));
		if (p->owed == NULL || p->ask == NULL) {
			peer_free(p);
			return NULL;
		}
	}
	p->addr = *a;
	p->id = id;
	p->role = role;
	p->state = PEER_WAITING;
	p->dial_at_ns = s->now_ns;
	p->last_error = p->ban_why = "";
	p->reach = HEADERS_NONE;
	return p;
}

void peer_free(struct peer *p)
{
	if (p == NULL)
		return;
	p2p_stream_free(&p->stream);
	free(p->owed);
	free(p->ask);
	free(p->out);
	free(p);
}

const char *peer_count(struct sync *s, const struct peer *p, enum sync_counter c)
{
	if (p->role == SYNC_PUSH) {
		assert(c < CNT_push_connects);
		c += CNT_push_connects - CNT_peer_connects;
	}
	count(s, c);
	return sync_counter_name[c];
}

uint64_t sync_since(const struct sync *s, uint64_t then_ns)
{
	return s->now_ns > then_ns ? s->now_ns - then_ns : 0;
}

/* ---- states ---- */

static const uint8_t may_follow[PEER_STATE_CNT] = {
	[PEER_WAITING] = 1u << PEER_CONNECTING,
	[PEER_CONNECTING] = 1u << PEER_VERSION_WAIT | 1u << PEER_CLOSING | 1u << PEER_WAITING,
	[PEER_VERSION_WAIT] = 1u << PEER_VERACK_WAIT | 1u << PEER_CLOSING | 1u << PEER_WAITING,
	[PEER_VERACK_WAIT] = 1u << PEER_READY | 1u << PEER_CLOSING | 1u << PEER_WAITING,
	[PEER_READY] = 1u << PEER_CLOSING | 1u << PEER_WAITING,
	[PEER_CLOSING] = 1u << PEER_WAITING,
};

/* The only writer of p->state. */
void peer_set_state(struct sync *s, struct peer *p, enum peer_state next)
{
	assert(may_follow[p->state] & 1u << next);
	p->state = next;
	p->state_since_ns = s->now_ns;
	if (p->role == SYNC_BLOCKS)
		s->ops.peer_changed(s->arg, p->id);
}

/* What belongs to one connection, and not to the peer. */
static void connection_reset(struct peer *p)
{
	p->generation++;
	p2p_stream_free(&p->stream);
	p->conn = NULL;
	p->ping_out = p->headers_asked = p->exhausted = p->best_known = false;
	p->unlinked_cnt = p->stuck_cnt = 0;
	p->reach = HEADERS_NONE;
	p->owed_cnt = p->ask_cnt = 0;
	p->out_off = p->out_sz = 0;
	p->pushing = false;
	p->push_off = 0;
	p->blamed = false;
	p->serve_cnt = 0;
	p->fallback_ns = 0;
	p->faulty = false;
	p->message_ns = p->block_rx_ns = p->hope_ns = 0;
	p->hope_bytes = p->block_bytes;
}

static void lost(struct sync *s, struct peer *p)
{
	p->ended_in = p->state;
	protocol_presync_end(s, p);
	if (p->state == PEER_READY && !p->faulty && s->now_ns - p->state_since_ns >= BACKOFF_FORGIVE_NS)
		p->backoff_ns = 0;
	if (s->on) {
		if (p->role == SYNC_BLOCKS)
			download_peer_lost(s, p);
		broadcast_peer_lost(s, p);
	}
	connection_reset(p);
}

/* After p's state says that it has no connection: the work goes on without it. */
static void go_on_without(struct sync *s, struct peer *p)
{
	if (!s->on)
		return;
	if (p->role == SYNC_BLOCKS)
		download_schedule(s);
	peer_flush(s, peer_other(s, p));
}

void peer_hang_up(struct sync *s, struct peer *p)
{
	void *conn = p->conn;

	lost(s, p);
	peer_set_state(s, p, PEER_CLOSING);
	s->ops.hang_up(s->arg, conn);
}

void peer_end_session(struct sync *s, struct peer *p)
{
	p->backoff_ns = p->bar_until_ns = 0;
	if (peer_is_up(p) || p->state == PEER_CONNECTING)
		peer_hang_up(s, p);
}

void peer_drop(struct sync *s, struct peer *p, enum sync_counter why)
{
	if (!peer_is_up(p) && p->state != PEER_CONNECTING)
		return;
	p->drops++;
	p->last_error = peer_count(s, p, why);
	trust_fault(s, p, why);
	peer_hang_up(s, p);
	go_on_without(s, p);
}

void peer_dial(struct sync *s, struct peer *p)
{
	uint32_t generation = p->generation;
	void *conn;

	if (p->role == SYNC_BLOCKS)
		push_blocks_dialled(s, p);
	peer_set_state(s, p, PEER_CONNECTING);
	p->dialled_ns = s->now_ns;
	conn = s->ops.dial(s->arg, sync_conn_id(p->id, p->role), &p->addr);
	if (p->generation != generation || p->state != PEER_CONNECTING)
		return; /* it failed at once, and said so */
	if (conn != NULL) {
		p->conn = conn;
		return;
	}
	p->last_error = "no_connection";
	trust_back_off(s, p);
	peer_set_state(s, p, PEER_WAITING);
}

void sync_connected(struct sync *s, uint32_t conn_id, uint64_t now_ns)
{
	struct peer *p = peer_of_conn(s, conn_id);

	if (now_ns > s->now_ns)
		s->now_ns = now_ns;
	if (p->state != PEER_CONNECTING)
		return;
	peer_count(s, p, CNT_peer_connects);
	p->connects++;
	p->connected_ns = p->last_rx_ns = p->out_since_ns = s->now_ns;
	p2p_stream_init(&p->stream, s->cfg.network->magic,
			p->role == SYNC_BLOCKS ? WANTED_BLOCKS : WANTED_PUSH);
	peer_set_state(s, p, PEER_VERSION_WAIT);
	protocol_hello(s, p);
}

void sync_closed(struct sync *s, uint32_t conn_id, enum net_close_reason why, uint64_t now_ns)
{
	static const struct {
		enum sync_counter cnt;
		const char *name;
	} reason[NET_CLOSE_REASON_CNT] = {
		[NET_CLOSED_LOCAL] = {CNT_peer_closed_local, "local"},
		[NET_CLOSED_REMOTE] = {CNT_peer_closed_remote, "remote"},
		[NET_CLOSED_RESET] = {CNT_peer_closed_reset, "reset"},
		[NET_CLOSED_TIMEOUT] = {CNT_peer_closed_timeout, "timeout"},
		[NET_CLOSED_NOMEM] = {CNT_peer_closed_nomem, "nomem"},
	};
	struct peer *p = peer_of_conn(s, conn_id);
	uint64_t fallback_ns = p->fallback_ns;

	if (now_ns > s->now_ns)
		s->now_ns = now_ns;
	if (p->state == PEER_WAITING)
		return;
	if (s->on && p->state != PEER_CLOSING && (why == NET_CLOSED_REMOTE || why == NET_CLOSED_RESET)) {
		trust_closed_by_node(s, p);
		outcome_lost(s, p);
	}
	if (p->state != PEER_CLOSING) {
		peer_count(s, p, reason[why].cnt);
		p->drops++;
		p->last_error = reason[why].name;
		lost(s, p);
	}
	trust_back_off(s, p);
	peer_set_state(s, p, PEER_WAITING);
	if (s->on && p->role == SYNC_BLOCKS)
		push_blocks_ended(s, p, why == NET_CLOSED_REMOTE || why == NET_CLOSED_RESET, fallback_ns);
	go_on_without(s, p);
}

/* ---- input ---- */

void sync_data(struct sync *s, uint32_t conn_id, const uint8_t *data, size_t sz, uint64_t rx_ns)
{
	static const enum sync_counter broken[P2P_VERDICT_CNT] = {
		[P2P_OK] = CNT_peer_drop_malformed,          [P2P_BAD_MAGIC] = CNT_peer_drop_magic,
		[P2P_BAD_COMMAND] = CNT_peer_drop_command,   [P2P_BAD_LENGTH] = CNT_peer_drop_length,
		[P2P_BAD_CHECKSUM] = CNT_peer_drop_checksum,
	};
	struct peer *p = peer_of_conn(s, conn_id);
	uint32_t generation = p->generation;
	size_t all = sz;
	bool block_data;
	enum p2p_stream_event e;

	if (rx_ns > s->now_ns)
		s->now_ns = rx_ns;
	if (!peer_is_up(p))
		return;
	p->bytes_in += sz;
	p->last_rx_ns = s->now_ns;
	block_data = p2p_stream_in_block(&p->stream);
	do {
		size_t used;

		e = p2p_stream_feed(&p->stream, data, sz, &used);
		data += used;
		sz -= used;
		if (e != P2P_STREAM_MORE)
			p->message_ns = 0;
		switch (e) {
		case P2P_STREAM_MORE:
			break;
		case P2P_STREAM_MESSAGE:
			protocol_message(s, p);
			break;
		case P2P_STREAM_BLOCK_HEAD:
			block_data = true;
			pace_block_begins(s, p);
			if (p->state == PEER_READY)
				download_block_head(s, p, rx_ns);
			else
				peer_drop(s, p, CNT_peer_drop_order);
			break;
		case P2P_STREAM_BLOCK:
			download_block(s, p, rx_ns);
			break;
		case P2P_STREAM_SKIPPED:
			count(s, CNT_messages_skipped);
			break;
		case P2P_STREAM_BROKEN:
			peer_drop(s, p, broken[p->stream.verdict]);
			break;
		}
	} while (e != P2P_STREAM_MORE && p->generation == generation);
	if (p->generation == generation)
		pace_data(s, p, all, block_data);
	if (p->into != NULL)
		download_bytes(s, p);
}

/* ---- output ---- */

uint8_t *peer_out(struct sync *s, struct peer *p, size_t sz)
{
	size_t need = p->out_sz + P2P_HEAD_SZ + sz;

	if (p->out_off > 0 && need > p->out_cap) {
		memmove(p->out, p->out + p->out_off, p->out_sz - p->out_off);
		p->out_sz -= p->out_off;
		p->out_off = 0;
		need = p->out_sz + P2P_HEAD_SZ + sz;
	}
	if (need > p->out_cap && need <= SYNC_OUT_SZ_MAX) {
		size_t cap = p->out_cap != 0 ? p->out_cap : 4096;
		uint8_t *out;

		while (cap < need)
			cap *= 2;
		out = realloc(p->out, cap);
		if (out != NULL) {
			p->out = out;
			p->out_cap = (uint32_t)cap;
		}
	}
	if (need > p->out_cap) {
		peer_drop(s, p, CNT_peer_drop_send_queue);
		return NULL;
	}
	return p->out + p->out_sz + P2P_HEAD_SZ;
}

void peer_send(struct sync *s, struct peer *p, enum p2p_type type, size_t payload_sz)
{
	if (p->out_off == p->out_sz && !p->pushing)
		p->out_since_ns = s->now_ns;
	p->out_sz += (uint32_t)p2p_seal(p->out + p->out_sz, s->cfg.network->magic, type, payload_sz);
	peer_flush(s, p);
}

/* Writes what the transport takes; true when all of it is out. */
static bool write_some(struct sync *s, struct peer *p, const uint8_t *from, size_t sz, size_t *done)
{
	size_t n = s->ops.send(s->arg, p->conn, from, sz);

	if (n > 0)
		p->out_since_ns = s->now_ns;
	p->bytes_out += n;
	*done = n;
	return n == sz;
}

/* Messages go out whole: a transaction that was begun is finished before anything else, then what the protocol
   has to say, then the next transaction. */
void peer_flush(struct sync *s, struct peer *p)
{
	uint32_t generation = p->generation;

	while (peer_is_up(p) && p->generation == generation) {
		size_t n;

		if (p->pushing && (p->push_off > 0 || p->out_off == p->out_sz)) {
			const struct bcast *b = broadcast_at(s, p->push_cur);
			bool all = write_some(s, p, b->msg + p->push_off, b->msg_sz - p->push_off, &n);

			if (p->generation != generation)
				return;
			p->push_off += n;
			if (!all)
				return;
			p->pushing = false;
			p->push_off = 0;
			broadcast_written(s, p);
		} else if (p->out_off < p->out_sz) {
			bool all = write_some(s, p, p->out + p->out_off, p->out_sz - p->out_off, &n);

			if (p->generation != generation)
				return;
			p->out_off += (uint32_t)n;
			if (!all)
				return;
			p->out_off = p->out_sz = 0;
		} else {
			p->out_since_ns = s->now_ns;
			if (p->state != PEER_READY || !broadcast_pick(s, p))
				return;
		}
	}
}

void sync_sendable(struct sync *s, uint32_t conn_id, uint64_t now_ns)
{
	if (now_ns > s->now_ns)
		s->now_ns = now_ns;
	peer_flush(s, peer_of_conn(s, conn_id));
}

void peer_ping(struct sync *s, struct peer *p)
{
	uint8_t *out = peer_out(s, p, 8);

	if (out == NULL)
		return;
	p->ping_nonce = sync_random(s);
	p->ping_no++;
	p->ping_out = true;
	p->ping_sent_ns = s->now_ns;
	p->ping_next_ns = sync_jitter(s, PERIOD_PING_NS);
	peer_send(s, p, P2P_PING, p2p_nonce_encode(out, p->ping_nonce));
}

/* ---- deadlines ---- */

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The deadline that has passed, or CNT_CNT. */
static enum sync_counter overdue_ready(struct sync *s, struct peer *p)
{
	enum sync_counter why = pace_overdue(s, p);

	/* A node answers nothing else while it still has blocks to send. */
	if (why != CNT_CNT || p->owed_cnt > 0)
		return why;
	if (p->ping_out && sync_since(s, later(p->ping_sent_ns, p->last_block_ns)) > DEADLINE_PONG_NS)
		return CNT_peer_drop_ping_timeout;
	if (p->headers_asked &&
	    sync_since(s, later(p->headers_asked_ns, p->last_block_ns)) > DEADLINE_HEADERS_NS)
		return CNT_peer_drop_headers_timeout;
	return CNT_CNT;
}

static enum sync_counter overdue(struct sync *s, struct peer *p)
{
	uint64_t send_ns = p->role == SYNC_PUSH ? DEADLINE_PUSH_SEND_NS : DEADLINE_SEND_NS;

	if (peer_is_up(p) && (p->out_off < p->out_sz || p->pushing) && sync_since(s, p->out_since_ns) > send_ns)
		return CNT_peer_drop_send_stall;
	switch (p->state) {
	case PEER_CONNECTING:
		return sync_since(s, p->state_since_ns) > DEADLINE_CONNECT_NS ? CNT_peer_drop_connect_timeout
									      : CNT_CNT;
	case PEER_VERSION_WAIT:
	case PEER_VERACK_WAIT:
		return sync_since(s, p->connected_ns) > DEADLINE_HANDSHAKE_NS ? CNT_peer_drop_handshake_timeout
									      : CNT_CNT;
	case PEER_READY:
		return overdue_ready(s, p);
	case PEER_WAITING:
	case PEER_CLOSING:
	case PEER_STATE_CNT:
		return CNT_CNT;
	}
	return CNT_CNT;
}

void peer_timers(struct sync *s, struct peer *p)
{
	enum sync_counter why = overdue(s, p);

	if (why != CNT_CNT) {
		peer_drop(s, p, why);
		return;
	}
	if (p->state == PEER_WAITING && s->now_ns >= p->dial_at_ns &&
	    (p->role == SYNC_BLOCKS ? trust_may_dial(s, p) : push_may_dial(s, p))) {
		peer_dial(s, p);
		return;
	}
	if (p->state == PEER_READY && !p->ping_out &&
	    (s->now_ns >= p->ping_next_ns ||
	     (p->owed_cnt > 0 && sync_since(s, later(p->last_rx_ns, p->owed[0].asked_ns)) > PROBE_NS)))
		peer_ping(s, p);
	if (p->role == SYNC_BLOCKS && p->state == PEER_READY && s->now_ns >= p->headers_next_ns)
		protocol_ask_headers(s, p);
}
