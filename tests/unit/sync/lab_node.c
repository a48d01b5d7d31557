/* lab_node.c - the nodes of the lab, and the wires to them. */
#include <stdlib.h>

#include "btc/sha256.h"
#include "lab.h"

static bool is_push(const struct lab_node *n)
{
	return sync_conn_role(n->conn_id) == SYNC_PUSH;
}

/* Where the node itself is described, as opposed to one of its connections. */
static const struct lab_node *whole(const struct lab_node *n)
{
	return &n->lab->node[sync_conn_peer(n->conn_id)];
}

static struct lab_node *other(const struct lab_node *n)
{
	uint32_t i = sync_conn_peer(n->conn_id);

	return is_push(n) ? &n->lab->node[i] : &n->lab->push[i];
}

/* ---- what a node sends ---- */

static uint8_t *out_room(struct lab_node *n, size_t sz)
{
	while (n->out_sz + sz > n->out_cap) {
		n->out_cap = n->out_cap != 0 ? n->out_cap * 2 : 4096;
		n->out = realloc(n->out, n->out_cap);
	}
	return n->out + n->out_sz;
}

/* Faults that spoil one message do so once. */
static void spoil(struct lab_node *n, uint8_t *msg, enum p2p_type type)
{
	struct lab *l = n->lab;

	if (n->fault == LAB_GARBAGE)
		for (unsigned i = 0; i < P2P_HEAD_SZ; i++)
			msg[i] = (uint8_t)lab_rnd(l);
	else if (n->fault == LAB_OVERSIZE)
		memcpy(msg + 16, "\x01\x09\x3d\x00", 4);
	else if (n->fault == LAB_BAD_CHECKSUM && type != P2P_BLOCK)
		msg[20] ^= 1;
	else
		return;
	n->fault = LAB_GOOD;
}

void lab_send(struct lab_node *n, enum p2p_type type, const void *payload, size_t sz)
{
	uint8_t *msg;

	if (!n->linked || n->dead || n->fault == LAB_SILENT ||
	    (n->fault == LAB_LATE && n->late_sz > sizeof(n->late) / 2))
		return;
	msg = out_room(n, P2P_HEAD_SZ + sz);
	if (sz != 0)
		memcpy(msg + P2P_HEAD_SZ, payload, sz);
	n->out_sz += p2p_seal(msg, n->lab->cfg.network->magic, type, sz);
	if (n->up)
		spoil(n, msg, type);
	if (n->fault == LAB_LATE) {
		sz += P2P_HEAD_SZ;
		assert_true(n->late_sz + sz <= sizeof(n->late));
		n->out_sz -= sz;
		memcpy(n->late + n->late_sz, n->out + n->out_sz, sz);
		n->late_sz += sz;
	}
}

static void send_block(struct lab_node *n, const struct lab_block *b)
{
	static uint8_t raw[4096];
	size_t before = n->out_sz;

	lab_body(b, raw);
	if (n->fault == LAB_CORRUPT || b->body == LAB_BODY_BROKEN)
		raw[HEADER_SZ] ^= 0x10;
	lab_send(n, P2P_BLOCK, raw, b->sz);
	if (n->dead)
		return;
	if (n->fault == LAB_HALF_BLOCK || n->fault == LAB_RESET) {
		n->late_sz = n->out_sz;
		n->out_sz = before + P2P_HEAD_SZ + b->sz / 2;
		n->late_sz -= n->out_sz;
		memcpy(n->late, n->out + n->out_sz, n->late_sz);
		n->cut = n->fault == LAB_RESET;
		n->dead = true;
		n->fault = LAB_GOOD;
	} else {
		n->block_cnt++;
	}
}

static void send_headers(struct lab_node *n, uint32_t above, uint32_t tip)
{
	static uint8_t raw[P2P_HEADERS_MAX * HEADER_SZ], out[P2P_HEADERS_SZ_MAX];
	const struct lab *l = n->lab;
	uint32_t cnt = l->block[tip].height - above;
	uint32_t b;

	if (cnt > P2P_HEADERS_MAX)
		cnt = P2P_HEADERS_MAX;
	b = lab_ancestor(l, tip, above + cnt);
	for (uint32_t i = cnt; i-- > 0; b = l->block[b].parent)
		memcpy(raw + (size_t)i * HEADER_SZ, l->block[b].header, HEADER_SZ);
	if (cnt > 0 && n->fault == LAB_BAD_POW)
		memset(raw + (size_t)(cnt - 1) * HEADER_SZ + 72, 0x03, 4); /* an impossible difficulty */
	if (cnt > 0 && n->fault == LAB_UNLINKED)
		raw[4] ^= 1;
	if (cnt > 2 && n->fault == LAB_GAPS)
		memcpy(raw + HEADER_SZ, raw + (size_t)(cnt - 1) * HEADER_SZ, HEADER_SZ);
	lab_send(n, P2P_HEADERS, out, p2p_headers_encode(out, raw, cnt));
}

static void on_getheaders(struct lab_node *n)
{
	struct lab *l = n->lab;
	struct p2p_getheaders g;
	uint32_t above = 0;

	n->getheaders_cnt++;
	assert_true(p2p_getheaders_decode(&g, n->in.payload, n->in.payload_sz));
	for (uint32_t i = 0; i < g.cnt; i++) {
		uint32_t b = lab_find(l, g.hashes + (size_t)i * HASH_SZ);

		if (b == UINT32_MAX || l->block[b].height > l->block[n->tip].height ||
		    lab_ancestor(l, n->tip, l->block[b].height) != b)
			continue;
		above = l->block[b].height;
		break;
	}
	send_headers(n, above, n->tip);
}

/* Asked for a block that it has no more.  False: it hung up. */
static bool old_block(struct lab_node *n, const struct p2p_inv_item *item)
{
	uint8_t out[3 + P2P_INV_STRIDE];

	if (n->old == LAB_OLD_NOTFOUND)
		lab_send(n, P2P_NOTFOUND, out, p2p_inv_encode(out, item, 1));
	if (n->old == LAB_OLD_HANG_UP)
		n->cut = n->dead = n->ended = true;
	return n->old != LAB_OLD_HANG_UP;
}

static void on_getdata(struct lab_node *n)
{
	struct lab *l = n->lab;
	struct p2p_inv inv;

	n->getdata_cnt++;
	assert_true(p2p_inv_decode(&inv, n->in.payload, n->in.payload_sz));
	n->dead |= n->fault == LAB_DEAF;
	for (uint32_t i = 0; i < inv.cnt && n->fault != LAB_NO_BLOCKS; i++) {
		struct p2p_inv_item item = p2p_inv_at(&inv, i);
		uint32_t b = lab_find(l, item.hash.b);

		assert_int_equal(item.type, l->cfg.stripped ? P2P_INV_BLOCK : P2P_INV_WITNESS_BLOCK);
		/* A node says nothing of a block that it does not have. */
		if (b == UINT32_MAX || (n->active_only && lab_ancestor(l, n->tip, l->block[b].height) != b))
			continue;
		assert_int_not_equal(b, 0); /* genesis is never asked for */
		if (l->block[b].height < n->keeps) {
			if (!old_block(n, &item))
				return;
			continue;
		}
		if (l->block[b].body == LAB_BODY_WITHHELD)
			continue;
		if (n->delay_ns != 0)
			n->hold_ns = l->now_ns + n->delay_ns;
		if (n->fault == LAB_UNREQUESTED) {
			n->fault = LAB_GOOD;
			send_block(n, &l->block[0]);
		}
		send_block(n, &l->block[b]);
	}
}

/* Without asking which. */
static void on_getdata_tx(struct lab_node *n)
{
	uint8_t *out;
	struct p2p_inv inv;

	assert_true(p2p_inv_decode(&inv, n->in.payload, n->in.payload_sz));
	n->tx_asked += inv.cnt;
	if (n->kept_sz != 0) {
		lab_send(n, P2P_TX, n->kept, n->kept_sz);
		return;
	}
	out = malloc(n->in.payload_sz);
	memcpy(out, n->in.payload, n->in.payload_sz);
	lab_send(n, P2P_NOTFOUND, out, n->in.payload_sz);
	free(out);
}

static void on_message(struct lab_node *n)
{
	static const char agent[] = "/node:1\x01/";
	struct p2p_version v = {.version = n->version,
				.services = n->services,
				.nonce = lab_rnd(n->lab),
				.agent_sz = sizeof(agent) - 1,
				.start_height = (int32_t)n->lab->block[whole(n)->tip].height};
	uint8_t out[P2P_VERSION_SZ_MAX];

	if (n->ended)
		return;
	switch (n->in.type) {
	case P2P_VERSION:
		assert_true(p2p_version_decode(&n->hello, n->in.payload, n->in.payload_sz));
		n->hello_cnt++;
		assert_int_equal(n->hello.relay, is_push(n));
		if (n->nonce != 0)
			v.nonce = n->hello.nonce; /* a connection to itself */
		memcpy(v.agent, agent, sizeof(agent));
		lab_send(n, P2P_VERSION, out, p2p_version_encode(out, &v));
		lab_send(n, P2P_WTXIDRELAY, NULL, 0);
		lab_send(n, P2P_SENDADDRV2, NULL, 0);
		lab_send(n, P2P_VERACK, NULL, 0);
		break;
	case P2P_VERACK:
		n->verack_cnt++;
		n->up = true;
		lab_send(n, P2P_SENDCMPCT, "\0\2\0\0\0\0\0\0\0", 9);
		lab_send(n, P2P_PING, "abcdefgh", 8);
		lab_send(n, P2P_FEEFILTER, "\xe8\3\0\0\0\0\0\0", 8);
		break;
	case P2P_PING:
		assert_true(n->up);
		n->ping_cnt++;
		lab_send(n, P2P_PONG, n->in.payload, 8);
		break;
	case P2P_PONG:
		assert_memory_equal(n->in.payload, "abcdefgh", 8);
		n->pong_cnt++;
		break;
	case P2P_SENDHEADERS:
		assert_false(is_push(n));
		n->sendheaders = true;
		break;
	case P2P_GETHEADERS:
		assert_true(n->up && !is_push(n));
		on_getheaders(n);
		break;
	case P2P_GETDATA:
		assert_true(n->up);
		if (is_push(n))
			on_getdata_tx(n);
		else
			on_getdata(n);
		break;
	case P2P_TX:
		if (n->keeps_tx && n->in.payload_sz <= sizeof(n->kept)) {
			n->kept_sz = n->in.payload_sz;
			memcpy(n->kept, n->in.payload, n->kept_sz);
		}
		assert_true(n->tx_cnt < LAB_TX_MAX);
		n->tx[n->tx_cnt++] = sha256d(n->in.payload, n->in.payload_sz);
		if (n->in.payload[0] == LAB_BAD_TX) {
			/* The rest of what it was sent stays unread. */
			n->ended = n->cut = n->dead = true;
			n->out_sz = 0;
		}
		break;
	case P2P_NOTFOUND:
		n->served_notfound++;
		break;
	default:
		fail_msg("sync sent a %s", p2p_type_name(n->in.type));
	}
}

void lab_set_tip(struct lab_node *n, uint32_t block)
{
	struct lab *l = n->lab;
	uint32_t a = n->tip, b = block;
	struct p2p_inv_item item = {.type = P2P_INV_BLOCK, .hash = l->block[block].hash};
	uint8_t out[3 + P2P_INV_STRIDE];

	n->tip = block;
	if (other(n)->up)
		lab_send(other(n), P2P_INV, out, p2p_inv_encode(out, &item, 1));
	if (!n->up)
		return;
	while (a != b) {
		if (l->block[a].height >= l->block[b].height)
			a = l->block[a].parent;
		else
			b = l->block[b].parent;
	}
	if (n->sendheaders && l->block[block].height - l->block[a].height <= 8)
		send_headers(n, l->block[a].height, block);
	else
		lab_send(n, P2P_INV, out, p2p_inv_encode(out, &item, 1));
}

/* ---- the transport ---- */

static void unlink_node(struct lab_node *n)
{
	n->linked = n->up = n->sendheaders = n->cut = n->dead = n->ended = false;
	n->out_sz = 0;
	n->late_sz = 0;
	p2p_stream_free(&n->in);
}

void lab_reset(struct lab_node *n)
{
	if (!n->linked)
		return;
	unlink_node(n);
	sync_closed(n->lab->sync, n->conn_id, NET_CLOSED_RESET, n->lab->now_ns);
}

void *lab_dial(void *arg, uint32_t conn_id, const struct net_addr *to)
{
	struct lab *l = arg;
	uint32_t i = sync_conn_peer(conn_id);
	struct lab_node *n = sync_conn_role(conn_id) == SYNC_PUSH ? &l->push[i] : &l->node[i];

	assert_false(n->linked);
	assert_int_equal(to->port, 18444 + i);
	if (n->dial_cnt < 64)
		n->dial_ns[n->dial_cnt] = l->now_ns;
	n->dial_cnt++;
	if (n->refuse)
		return NULL;
	n->listening = true; /* connects in the next turn */
	return n;
}

size_t lab_send_room(void *arg, void *conn)
{
	struct lab_node *n = conn;

	(void)arg;
	return n->window != 0 ? n->window : 65536;
}

size_t lab_take(void *arg, void *conn, const void *p, size_t sz)
{
	struct lab_node *n = conn;
	const uint8_t *at = p;
	enum p2p_stream_event e;
	size_t used, left;

	(void)arg;
	assert_true(n->linked);
	if (n->window == UINT32_MAX)
		return 0;
	if (n->window != 0 && sz > n->window)
		sz = n->window;
	left = sz;
	do {
		e = p2p_stream_feed(&n->in, at, left, &used);
		at += used;
		left -= used;
		assert_int_not_equal(e, P2P_STREAM_BROKEN);
		if (e == P2P_STREAM_MESSAGE)
			on_message(n);
	} while (e != P2P_STREAM_MORE);
	return sz;
}

void lab_hang_up(void *arg, void *conn)
{
	struct lab *l = arg;
	struct lab_node *n = conn;

	n->listening = false;
	unlink_node(n);
	if (l->slow_close)
		n->cut = true; /* reported in the next turn */
	else
		sync_closed(l->sync, n->conn_id, NET_CLOSED_LOCAL, l->now_ns);
}

void lab_node_turn(struct lab_node *n)
{
	struct lab *l = n->lab;

	if (n->cut && !n->linked) {
		n->cut = false;
		sync_closed(l->sync, n->conn_id, NET_CLOSED_LOCAL, l->now_ns);
		return;
	}
	if (n->listening) {
		n->listening = false;
		if (whole(n)->only_one && other(n)->linked) {
			sync_closed(l->sync, n->conn_id, NET_CLOSED_RESET, l->now_ns);
			return;
		}
		if (whole(n)->newest_only)
			lab_reset(other(n));
		n->linked = true;
		p2p_stream_init(&n->in, l->cfg.network->magic, UINT32_MAX);
		sync_connected(l->sync, n->conn_id, l->now_ns);
	}
	if (n->linked && n->window != UINT32_MAX)
		sync_sendable(l->sync, n->conn_id, l->now_ns);
	while (n->linked && n->out_sz > 0 && l->now_ns >= n->hold_ns) {
		size_t piece = 1 + lab_rnd(l) % l->cut_max;
		uint8_t *copy;

		if (piece > n->out_sz)
			piece = n->out_sz;
		if (n->rate != 0) {
			uint64_t may = (l->now_ns - n->rate_ns) * n->rate / LAB_S;

			if (may == 0)
				break;
			piece = piece < may ? piece : may;
			n->rate_ns = l->now_ns;
		}
		copy = malloc(piece);
		memcpy(copy, n->out, piece);
		memmove(n->out, n->out + piece, n->out_sz - piece);
		n->out_sz -= piece;
		sync_data(l->sync, n->conn_id, copy, piece, l->now_ns);
		free(copy);
		if (lab_rnd(l) % 4 == 0)
			break; /* the rest in another turn */
	}
	if (n->linked && n->cut && n->out_sz == 0)
		lab_reset(n);
}
