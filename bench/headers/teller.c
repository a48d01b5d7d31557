#include "headers/teller.h"

#include <stdlib.h>

#include "measure/measure.h"
#include "p2p/stream.h"
#include "sync/sync.h"

#define PIECE_SZ 1448u /* payload of one Ethernet frame */
#define MSG_MAX  (P2P_HEAD_SZ + P2P_HEADERS_SZ_MAX)

struct teller {
	const struct chain *chain;
	struct sync *sync;
	struct p2p_stream in;
	uint32_t conn_id;
	bool dialled, asked, said_hello;
	uint32_t next; /* of the chain, asked for */
	uint64_t now_ns;
	uint8_t *msg;
	double cpu_ns;
};

/* ---- what sync asks of its transport ---- */

static void *op_dial(void *arg, uint32_t conn_id, const struct net_addr *to)
{
	struct teller *t = arg;

	(void)to;
	if (sync_conn_role(conn_id) != SYNC_BLOCKS)
		return NULL;
	t->conn_id = conn_id;
	t->dialled = true;
	return t;
}

static size_t op_send_room(void *arg, void *conn)
{
	(void)arg;
	(void)conn;
	return SIZE_MAX;
}

/* Where the first hash of the locator that we have stands in the chain; its place is found by the height that sync
   must be at, because a search would be most of the work. */
static void on_getheaders(struct teller *t)
{
	struct p2p_getheaders g;
	uint32_t end = t->next, from = end > 2 * P2P_HEADERS_MAX ? end - 2 * P2P_HEADERS_MAX : 0;

	if (!p2p_getheaders_decode(&g, t->in.payload, t->in.payload_sz) || g.cnt == 0)
		return;
	t->asked = true;
	for (; end > from; end--) {
		struct hash256 hash = header_hash(t->chain->raw + (size_t)(end - 1) * HEADER_SZ);

		if (memcmp(hash.b, g.hashes, HASH_SZ) == 0)
			break;
	}
	t->next = end > from ? end : 0;
}

static size_t op_send(void *arg, void *conn, const void *p, size_t sz)
{
	struct teller *t = arg;
	double begun = measure_cpu_ns();
	const uint8_t *at = p;
	size_t left = sz, used;

	(void)conn;
	for (;;) {
		enum p2p_stream_event e = p2p_stream_feed(&t->in, at, left, &used);

		at += used;
		left -= used;
		if (e == P2P_STREAM_MESSAGE && t->in.type == P2P_VERSION)
			t->said_hello = true;
		else if (e == P2P_STREAM_MESSAGE)
			on_getheaders(t);
		else if (e == P2P_STREAM_MORE || e == P2P_STREAM_BROKEN)
			break;
	}
	t->cpu_ns -= measure_cpu_ns() - begun;
	return sz;
}

static void op_hang_up(void *arg, void *conn)
{
	(void)conn;
	sync_closed(((struct teller *)arg)->sync, ((struct teller *)arg)->conn_id, NET_CLOSED_LOCAL,
		    ((struct teller *)arg)->now_ns);
}

static struct block_buf *op_buf_get(void *arg)
{
	(void)arg;
	return NULL;
}

static void op_buf_put(void *arg, struct block_buf *b)
{
	(void)arg;
	(void)b;
}

static void op_peer_changed(void *arg, uint32_t peer_id)
{
	(void)arg;
	(void)peer_id;
}

static void op_broadcast_result(void *arg, const struct sync_bcast_result *r)
{
	(void)arg;
	(void)r;
}

static bool op_stale_news(void *arg, const struct sync_stale_news *n)
{
	(void)arg;
	(void)n;
	return true;
}

static int64_t op_wall_time(void *arg)
{
	return ((struct teller *)arg)->chain->last_time;
}

/* ---- telling ---- */

/* Measured. */
static void hear(struct teller *t, size_t sz)
{
	double begun = measure_cpu_ns();

	for (size_t i = 0; i < sz; i += PIECE_SZ)
		sync_data(t->sync, t->conn_id, t->msg + i, sz - i < PIECE_SZ ? sz - i : PIECE_SZ, t->now_ns);
	t->cpu_ns += measure_cpu_ns() - begun;
}

static void say(struct teller *t, enum p2p_type type, size_t payload_sz)
{
	hear(t, p2p_seal(t->msg, t->chain->net.magic, type, payload_sz));
}

static void greet(struct teller *t)
{
	struct p2p_version v = {.version = P2P_PROTOCOL,
				.services = P2P_SERVICE_NETWORK | P2P_SERVICE_WITNESS,
				.nonce = 1,
				.start_height = (int32_t)t->chain->cnt};

	sync_tick(t->sync, t->now_ns);
	if (!t->dialled)
		return;
	sync_connected(t->sync, t->conn_id, t->now_ns);
	say(t, P2P_VERSION, p2p_version_encode(t->msg + P2P_HEAD_SZ, &v));
	say(t, P2P_VERACK, 0);
}

static void answer(struct teller *t)
{
	uint32_t left = t->chain->cnt - t->next, cnt = left < P2P_HEADERS_MAX ? left : P2P_HEADERS_MAX;
	size_t sz = p2p_headers_encode(t->msg + P2P_HEAD_SZ, t->chain->raw + (size_t)t->next * HEADER_SZ, cnt);

	t->asked = false;
	t->next += cnt;
	say(t, P2P_HEADERS, sz);
}

static void on_counter(void *arg, const char *name, uint64_t value)
{
	if (strcmp(name, "headers_bytes") == 0)
		((struct told *)arg)->tree_bytes = value;
}

static bool run(struct teller *t, struct told *out)
{
	/* Twice the chain, and the handshake; an answer more would be a loop. */
	uint32_t bound = 3 * (t->chain->cnt / (P2P_HEADERS_MAX - 1) + 2);
	struct sync_start st = {.resume = false};
	struct net_addr a = {.port = 1};
	struct sync_chain_view v;

	if (sync_add_peer(t->sync, &a) == UINT32_MAX || sync_session_start(t->sync, &st, t->now_ns) != 0)
		return false;
	greet(t);
	for (*out = (struct told){0}; t->asked && out->messages < bound; out->messages++) {
		answer(t);
		sync_chain_view(t->sync, &v);
		if (v.best_height == t->chain->cnt)
			break;
	}
	sync_each_counter(t->sync, on_counter, out);
	out->cpu_ns = t->cpu_ns;
	sync_chain_view(t->sync, &v);
	return v.best_height == t->chain->cnt;
}

bool teller_run(const struct chain *c, const struct u256 *min_work, struct told *out)
{
	static const struct sync_ops ops = {
		.dial = op_dial,
		.send_room = op_send_room,
		.send = op_send,
		.hang_up = op_hang_up,
		.buf_get = op_buf_get,
		.buf_put = op_buf_put,
		.peer_changed = op_peer_changed,
		.broadcast_result = op_broadcast_result,
		.stale_news = op_stale_news,
	};
	struct teller t = {.chain = c, .now_ns = 1000000000, .msg = malloc(MSG_MAX)};
	struct sync_config cfg = {
		.network = &c->net, .recent_blocks = 6, .min_chain_work = min_work, .wall_time = op_wall_time};
	bool good = false;

	p2p_stream_init(&t.in, c->net.magic, 1u << P2P_VERSION | 1u << P2P_GETHEADERS);
	t.sync = sync_new(&cfg, &ops, &t);
	if (t.sync != NULL && t.msg != NULL)
		good = run(&t, out);
	sync_free(t.sync);
	p2p_stream_free(&t.in);
	free(t.msg);
	return good;
}
