#include "lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "btc/sha256.h"

static uint32_t rnd(struct lab *l)
{
	l->rnd ^= l->rnd << 13;
	l->rnd ^= l->rnd >> 17;
	l->rnd ^= l->rnd << 5;
	return l->rnd;
}

/* ---- the chain ---- */

static void body(const struct lab_block *b, uint8_t *out)
{
	memcpy(out, b->header, HEADER_SZ);
	for (uint32_t i = HEADER_SZ; i < b->sz; i++)
		out[i] = (uint8_t)(b->hash.b[i % 16] + i);
}

uint32_t lab_mine(struct lab *l, uint32_t parent, uint32_t cnt)
{
	const struct network *n = l->cfg.network;

	for (uint32_t i = 0; i < cnt; i++) {
		struct lab_block *b = &l->block[l->block_cnt];
		struct header_fields f, p;

		assert_true(l->block_cnt < LAB_BLOCK_MAX);
		header_decode(&p, l->block[parent].header);
		f = (struct header_fields){.version = 4,
					   .prev = l->block[parent].hash,
					   .time = p.time + 1,
					   .bits = n->pow_limit_bits};
		memcpy(f.merkle.b, &l->block_cnt, sizeof(l->block_cnt));
		do {
			f.nonce++;
			header_encode(b->header, &f);
			b->hash = header_hash(b->header);
		} while (!pow_valid(n, &b->hash, f.bits));
		b->parent = parent;
		b->height = l->block[parent].height + 1;
		b->sz = HEADER_SZ + 1 + rnd(l) % 3000;
		parent = l->block_cnt++;
	}
	return parent;
}

uint32_t lab_ancestor(const struct lab *l, uint32_t block, uint32_t height)
{
	while (l->block[block].height > height)
		block = l->block[block].parent;
	return block;
}

static uint32_t find(const struct lab *l, const uint8_t *hash)
{
	for (uint32_t i = l->block_cnt; i-- > 0;)
		if (memcmp(l->block[i].hash.b, hash, HASH_SZ) == 0)
			return i;
	return UINT32_MAX;
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
			msg[i] = (uint8_t)rnd(l);
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

	body(b, raw);
	if (n->fault == LAB_CORRUPT)
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
		memset(raw + (size_t)(cnt - 1) * HEADER_SZ + 72, 0x03,
		       4); /* an impossible difficulty */
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
		uint32_t b = find(l, g.hashes + (size_t)i * HASH_SZ);

		if (b == UINT32_MAX || l->block[b].height > l->block[n->tip].height ||
		    lab_ancestor(l, n->tip, l->block[b].height) != b)
			continue;
		above = l->block[b].height;
		break;
	}
	send_headers(n, above, n->tip);
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
		uint32_t b = find(l, item.hash.b);

		assert_int_equal(item.type,
				 l->cfg.stripped ? P2P_INV_BLOCK : P2P_INV_WITNESS_BLOCK);
		assert_int_not_equal(b, UINT32_MAX);
		assert_int_not_equal(b, 0); /* genesis is never asked for */
		if (n->fault == LAB_UNREQUESTED) {
			n->fault = LAB_GOOD;
			send_block(n, &l->block[0]);
		}
		send_block(n, &l->block[b]);
	}
}

static void on_message(struct lab_node *n)
{
	static const char agent[] = "/node:1\x01/";
	struct p2p_version v = {.version = n->version,
				.services = n->services,
				.nonce = rnd(n->lab),
				.agent_sz = sizeof(agent) - 1,
				.start_height = (int32_t)n->lab->block[n->tip].height};
	uint8_t out[P2P_VERSION_SZ_MAX];

	switch (n->in.type) {
	case P2P_VERSION:
		assert_true(p2p_version_decode(&n->hello, n->in.payload, n->in.payload_sz));
		n->hello_cnt++;
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
		lab_send(n, P2P_PONG, n->in.payload, 8);
		break;
	case P2P_PONG:
		assert_memory_equal(n->in.payload, "abcdefgh", 8);
		n->pong_cnt++;
		break;
	case P2P_SENDHEADERS:
		n->sendheaders = true;
		break;
	case P2P_GETHEADERS:
		assert_true(n->up);
		on_getheaders(n);
		break;
	case P2P_GETDATA:
		assert_true(n->up);
		on_getdata(n);
		break;
	case P2P_TX:
		assert_true(n->tx_cnt < LAB_TX_MAX);
		n->tx[n->tx_cnt++] = sha256d(n->in.payload, n->in.payload_sz);
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
	n->linked = n->up = n->sendheaders = n->cut = n->dead = false;
	n->out_sz = 0;
	n->late_sz = 0;
	p2p_stream_free(&n->in);
}

void lab_reset(struct lab_node *n)
{
	if (!n->linked)
		return;
	unlink_node(n);
	sync_closed(n->lab->sync, n->id, NET_CLOSED_RESET, n->lab->now_ns);
}

static void *op_dial(void *arg, uint32_t peer_id, const struct net_addr *to)
{
	struct lab *l = arg;
	struct lab_node *n = &l->node[peer_id];

	assert_false(n->linked);
	assert_int_equal(to->port, 18444 + peer_id);
	if (n->dial_cnt < 64)
		n->dial_ns[n->dial_cnt] = l->now_ns;
	n->dial_cnt++;
	if (n->refuse)
		return NULL;
	n->listening = true; /* connects in the next turn */
	return n;
}

static size_t op_send_room(void *arg, void *conn)
{
	struct lab_node *n = conn;

	(void)arg;
	return n->window != 0 ? n->window : 65536;
}

static size_t op_send(void *arg, void *conn, const void *p, size_t sz)
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

static void op_hang_up(void *arg, void *conn)
{
	struct lab *l = arg;
	struct lab_node *n = conn;

	n->listening = false;
	unlink_node(n);
	if (l->slow_close)
		n->cut = true; /* reported in the next turn */
	else
		sync_closed(l->sync, n->id, NET_CLOSED_LOCAL, l->now_ns);
}

static struct block_buf *op_buf_get(void *arg)
{
	struct lab *l = arg;

	for (uint32_t i = 0; i < l->buf_cnt; i++) {
		if (!l->buf_used[i]) {
			l->buf_used[i] = true;
			return &l->buf[i];
		}
	}
	return NULL;
}

static void op_buf_put(void *arg, struct block_buf *b)
{
	struct lab *l = arg;

	assert_true(l->buf_used[b->slot]);
	l->buf_used[b->slot] = false;
	memset(b->data, 0xdd, 4096); /* whoever still reads it finds nonsense */
}

static void op_peer_changed(void *arg, uint32_t peer_id)
{
	struct lab *l = arg;

	(void)peer_id;
	l->peer_news++;
}

static void op_result(void *arg, uint64_t cookie, const struct hash256 *txid, uint32_t status,
		      uint32_t peer_cnt, uint64_t at_ns)
{
	struct lab *l = arg;

	(void)txid;
	assert_true(at_ns <= l->now_ns && l->result_cnt < 64);
	l->result[l->result_cnt++] =
		(struct lab_result){.cookie = cookie, .status = status, .peer_cnt = peer_cnt};
}

static int64_t op_wall(void *arg)
{
	struct header_fields f;
	struct lab *l = arg;

	header_decode(&f, l->cfg.network->genesis_header);
	return (int64_t)f.time + LAB_BLOCK_MAX;
}

/* ---- the caller ---- */

static bool block_is_right(const struct lab *l, const struct chain_event *ev)
{
	static uint8_t want[4096];
	uint32_t b = find(l, ev->hash.b);

	assert_int_not_equal(b, UINT32_MAX);
	body(&l->block[b], want);
	return ev->buf->sz == l->block[b].sz && memcmp(ev->buf->data, want, ev->buf->sz) == 0;
}

static void apply(struct lab *l, const struct chain_event *ev)
{
	struct header_fields f;

	l->events++;
	header_decode(&f, ev->header);
	switch (ev->kind) {
	case CHAIN_START:
		assert_false(l->started);
		l->started = true;
		l->base_height = l->list_tip = ev->height;
		l->list[ev->height] = ev->hash;
		l->fill_seen = false;
		break;
	case CHAIN_FILL:
		assert_true(l->started && ev->height > 0 && ev->height <= l->base_height);
		assert_int_equal(l->connects + l->disconnects, 0);
		if (l->fill_seen)
			assert_int_equal(ev->height, l->fill_last + 1);
		else
			l->fill_first = ev->height;
		l->fill_seen = true;
		l->fill_last = ev->height;
		l->list[ev->height] = ev->hash;
		break;
	case CHAIN_CONNECT:
		assert_int_equal(ev->height, l->list_tip + 1);
		if (l->list_tip > 0)
			assert_memory_equal(f.prev.b, l->list[l->list_tip].b, HASH_SZ);
		l->list[++l->list_tip] = ev->hash;
		l->connects++;
		break;
	case CHAIN_DISCONNECT:
		assert_int_equal(ev->height, l->list_tip);
		if (!hash256_is_zero(&l->list[l->list_tip]))
			assert_memory_equal(ev->hash.b, l->list[l->list_tip].b, HASH_SZ);
		l->list_tip--;
		/* Below a base nothing was reported; the disconnected header says what stood there. */
		l->list[l->list_tip] = f.prev;
		l->disconnects++;
		break;
	}
}

static void scan_one(struct lab *l)
{
	struct chain_event ev = l->pending[0];
	enum block_verdict v = BLOCK_GOOD;

	memmove(&l->pending[0], &l->pending[1], --l->pending_cnt * sizeof(ev));
	if (l->have_bad && ev.epoch == l->bad_epoch)
		v = BLOCK_CANCELLED;
	else if (ev.buf != NULL && !block_is_right(l, &ev))
		v = BLOCK_BAD_MERKLE;
	if (v == BLOCK_BAD_MERKLE) {
		l->have_bad = true;
		l->bad_epoch = ev.epoch;
		l->bad_verdicts++;
	}
	if (v == BLOCK_GOOD)
		apply(l, &ev);
	if (ev.buf != NULL)
		sync_block_done(l->sync, &ev, v, l->now_ns);
}

static void node_turn(struct lab *l, struct lab_node *n)
{
	if (n->cut && !n->linked) {
		n->cut = false;
		sync_closed(l->sync, n->id, NET_CLOSED_LOCAL, l->now_ns);
		return;
	}
	if (n->listening) {
		n->listening = false;
		n->linked = true;
		p2p_stream_init(&n->in, l->cfg.network->magic, UINT32_MAX);
		sync_connected(l->sync, n->id, l->now_ns);
	}
	if (n->linked && n->window != 0 && n->window != UINT32_MAX)
		sync_sendable(l->sync, n->id, l->now_ns);
	while (n->linked && n->out_sz > 0) {
		size_t piece = 1 + rnd(l) % l->cut_max;
		uint8_t *copy;

		if (piece > n->out_sz)
			piece = n->out_sz;
		copy = malloc(piece);
		memcpy(copy, n->out, piece);
		memmove(n->out, n->out + piece, n->out_sz - piece);
		n->out_sz -= piece;
		sync_data(l->sync, n->id, copy, piece, l->now_ns);
		free(copy);
		if (rnd(l) % 4 == 0)
			break; /* the rest in another turn */
	}
	if (n->linked && n->cut && n->out_sz == 0)
		lab_reset(n);
}

void lab_turn(struct lab *l, uint64_t step_ns)
{
	struct chain_event ev;

	l->now_ns += step_ns;
	for (uint32_t i = 0; i < l->node_cnt; i++)
		node_turn(l, &l->node[i]);
	sync_tick(l->sync, l->now_ns);
	while (rnd(l) % 8 != 0 && sync_next(l->sync, &ev)) {
		assert_true(l->pending_cnt < sizeof(l->pending) / sizeof(l->pending[0]));
		l->pending[l->pending_cnt++] = ev;
	}
	while (!l->scan_holds && l->pending_cnt > 0 && rnd(l) % 8 != 0)
		scan_one(l);
}

void lab_run(struct lab *l, uint64_t time_ns, uint64_t step_ns)
{
	for (uint64_t end = l->now_ns + time_ns; l->now_ns < end;)
		lab_turn(l, step_ns);
}

bool lab_reach(struct lab *l, uint32_t block, uint64_t time_ns)
{
	uint64_t step = time_ns > 20 * LAB_S ? 50 * LAB_MS : LAB_MS;
	struct sync_chain_view v;

	for (uint64_t end = l->now_ns + time_ns; l->now_ns < end;) {
		lab_turn(l, step);
		sync_chain_view(l->sync, &v);
		if (l->started && l->pending_cnt == 0 && v.synced &&
		    hash256_eq(&l->list[l->list_tip], &l->block[block].hash) &&
		    l->list_tip == l->block[block].height)
			return true;
	}
	return false;
}

void lab_check_list(struct lab *l, uint32_t block)
{
	uint32_t low = l->fill_seen ? l->fill_first : l->base_height + 1;

	assert_int_equal(l->list_tip, l->block[block].height);
	for (uint32_t h = l->list_tip; h >= low && h > 0; h--) {
		assert_memory_equal(l->list[h].b, l->block[block].hash.b, HASH_SZ);
		block = l->block[block].parent;
	}
}

struct counter_query {
	const char *name;
	uint64_t value;
	bool found;
};

static void on_counter(void *arg, const char *name, uint64_t value)
{
	struct counter_query *q = arg;

	if (strcmp(name, q->name) == 0) {
		q->found = true;
		q->value = value;
	}
}

uint64_t lab_counter(struct lab *l, const char *name)
{
	struct counter_query q = {.name = name};

	sync_each_counter(l->sync, on_counter, &q);
	assert_true(q.found);
	return q.value;
}

uint32_t lab_bufs_used(const struct lab *l)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < l->buf_cnt; i++)
		cnt += l->buf_used[i];
	return cnt;
}

/* ---- life ---- */

/* Mapped, and so untouched until a block needs it: malloc may fill what it gives out. */
static uint8_t *map_buf(void)
{
	void *p = mmap(NULL, BLOCK_SZ_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	assert_true(p != MAP_FAILED);
	return p;
}

struct lab *lab_new(uint32_t node_cnt, uint32_t seed)
{
	static const struct sync_ops ops = {
		op_dial,    op_send_room, op_send,         op_hang_up,
		op_buf_get, op_buf_put,   op_peer_changed, op_result,
	};
	struct lab *l = calloc(1, sizeof(*l));

	l->rnd = seed * 2654435761u + 1;
	l->now_ns = 1000 * LAB_S;
	l->cut_max = 3000;
	l->cfg = (struct sync_config){.network = network_get(NET_REGTEST),
				      .recent_blocks = 6,
				      .inflight_per_peer = 16,
				      .nonce_seed = seed,
				      .wall_time = op_wall};
	l->block = calloc(LAB_BLOCK_MAX, sizeof(*l->block));
	memcpy(l->block[0].header, l->cfg.network->genesis_header, HEADER_SZ);
	l->block[0].hash = l->cfg.network->genesis_hash;
	l->block[0].sz = HEADER_SZ + 200;
	l->block_cnt = 1;
	l->buf_cnt = 24;
	for (uint32_t i = 0; i < LAB_BUF_MAX; i++)
		l->buf[i] = (struct block_buf){.data = map_buf(), .slot = i};
	l->sync = sync_new(&l->cfg, &ops, l);
	for (uint32_t i = 0; i < node_cnt; i++) {
		struct net_addr a = {.ip = {[10] = 0xff, 0xff, 10, 0, 0, (uint8_t)i},
				     .port = (uint16_t)(18444 + i)};

		l->node[i] = (struct lab_node){.lab = l,
					       .id = i,
					       .services = P2P_SERVICE_NETWORK |
							   P2P_SERVICE_WITNESS,
					       .version = P2P_PROTOCOL};
		assert_int_equal(sync_add_peer(l->sync, &a), i);
	}
	l->node_cnt = node_cnt;
	return l;
}

void lab_free(struct lab *l)
{
	sync_session_stop(l->sync);
	l->scan_holds = false;
	while (l->pending_cnt > 0) {
		struct chain_event ev = l->pending[0];

		memmove(&l->pending[0], &l->pending[1], --l->pending_cnt * sizeof(ev));
		if (ev.buf != NULL)
			sync_block_done(l->sync, &ev, BLOCK_GOOD, l->now_ns);
	}
	assert_int_equal(lab_bufs_used(l), 0);
	sync_free(l->sync);
	for (uint32_t i = 0; i < l->node_cnt; i++) {
		p2p_stream_free(&l->node[i].in);
		free(l->node[i].out);
	}
	for (uint32_t i = 0; i < LAB_BUF_MAX; i++)
		munmap(l->buf[i].data, BLOCK_SZ_MAX);
	free(l->block);
	free(l);
}

void lab_start(struct lab *l)
{
	struct sync_start st = {.resume = false};

	assert_int_equal(sync_session_start(l->sync, &st, l->now_ns), 0);
}

void lab_resume(struct lab *l, uint32_t block, uint32_t header_cnt)
{
	uint8_t *raw = malloc((size_t)header_cnt * HEADER_SZ + 1);
	uint32_t b = block;
	struct sync_start st = {.resume = true, .headers = raw, .header_cnt = header_cnt};

	for (uint32_t i = header_cnt; i-- > 0; b = l->block[b].parent)
		memcpy(raw + (size_t)i * HEADER_SZ, l->block[b].header, HEADER_SZ);
	st.root_hash = l->block[b].hash;
	st.root_height = l->block[b].height;
	assert_int_equal(sync_session_start(l->sync, &st, l->now_ns), 0);
	free(raw);
}
