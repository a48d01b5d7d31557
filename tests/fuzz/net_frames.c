/* Whatever frames come, whatever the program does with its connections meanwhile: nothing crashes, every
   connection that was opened is told of exactly one end, and every frame's buffer comes back.

   The input is a little program: an operation byte, its operands, and so on.  Segments are made relative to
   what the stack expects and get right checksums, or nearly all input would end at the first test of lwIP.
   Unless bit 7 of the first byte is set, the IPv6 addresses are past the time in which they can be disputed. */
#include "net/net.h"
#include "../unit/net/wire.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>

enum {
	MBUF_CNT = 4095,
	OPS_MAX = 400,
	CONNS_MAX = 8,
	LISTEN_PORT = 8333,
	PEER_PORT = 18444,
};

struct conn {
	struct net_conn *c;
	size_t unconsumed;
	unsigned told;
};

struct fuzz {
	const uint8_t *p;
	size_t left;
	struct net *n;
	uint64_t now;
	struct conn conn[CONNS_MAX];
	unsigned cnt;
	struct wire_tcp
		t[2]; /* the next good segment of the peer, as far as it has been seen; over IPv4, IPv6 */
	uint8_t src6[16], dst6[16];
};

static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
static const uint8_t our_group[16] = {0xff, 2, [11] = 1, [12] = 0xff, [15] = 2};
static const uint8_t far[16] = {0x20, 1, 0x0d, 0xb9, [15] = 7};
static const uint8_t nobody[16];

static struct wire *w;

static uint8_t byte(struct fuzz *f)
{
	if (f->left == 0)
		return 0;
	f->left--;
	return *f->p++;
}

static uint32_t word(struct fuzz *f)
{
	uint32_t hi = byte(f);

	return hi << 8 | byte(f);
}

static const uint8_t *bytes(struct fuzz *f, size_t *sz)
{
	const uint8_t *p = f->p;

	if (*sz > f->left)
		*sz = f->left;
	f->p += *sz;
	f->left -= *sz;
	return p;
}

/* ---- the program on top of net ---- */

static void saw_connected(void *arg, struct net_conn *c)
{
	struct conn *k = arg;

	assert(k->told == 0);
	k->c = c;
}

static void saw_data(void *arg, struct net_conn *c, const uint8_t *p, size_t sz)
{
	struct conn *k = arg;
	volatile uint8_t sink = 0;

	(void)c;
	assert(k->told == 0 && sz != 0);
	for (size_t i = 0; i < sz; i++)
		sink = (uint8_t)(sink ^ p[i]);
	k->unconsumed += sz;
	assert(k->unconsumed <= 65535);
}

static void saw_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct conn *k = arg;

	(void)c;
	(void)why;
	k->c = NULL;
	assert(k->told++ == 0);
}

static const struct net_conn_ops ops = {
	.on_connected = saw_connected, .on_data = saw_data, .on_closed = saw_closed};

static void *accept_some(void *arg, const struct net_addr *from)
{
	struct fuzz *f = arg;

	(void)from;
	return f->cnt < CONNS_MAX ? &f->conn[f->cnt++] : NULL;
}

static void dial(struct fuzz *f, const char *where)
{
	struct net_addr to;
	struct conn *k = &f->conn[f->cnt];

	if (f->cnt == CONNS_MAX || !net_addr_parse(&to, where, PEER_PORT))
		return;
	k->c = net_connect(f->n, &to, &ops, k);
	if (k->c != NULL)
		f->cnt++;
}

static void act(struct fuzz *f)
{
	static const uint8_t text[3000];
	struct conn *k = &f->conn[byte(f) % CONNS_MAX];
	uint8_t what = byte(f);
	size_t sz = word(f) % sizeof(text);

	if (k->c == NULL)
		return;
	switch (what % 4) {
	case 0:
		net_send(k->c, text, sz);
		break;
	case 1:
		net_consumed(k->c, k->unconsumed);
		k->unconsumed = 0;
		break;
	case 2:
		net_close(k->c);
		break;
	case 3:
		net_abort(k->c);
		break;
	}
}

/* ---- the wire ---- */

static void turn(struct fuzz *f, uint64_t ns)
{
	static uint8_t frame[WIRE_FRAME_MAX], answer[WIRE_FRAME_MAX];
	struct wire_tcp s;
	size_t sz;

	f->now += ns;
	net_poll(f->n, f->now);
	while ((sz = wire_get(w, frame)) != 0) {
		size_t answer_sz = wire_answer(answer, frame, sz);
		struct wire_tcp *t;

		if (answer_sz != 0)
			wire_put(w, answer, answer_sz, 0);
		if (!wire_read_tcp(&s, frame, sz) || (s.flags & TCP_RST) != 0)
			continue;
		t = &f->t[s.src6 != NULL];
		if (s.src6 != NULL) {
			memcpy(f->src6, s.dst6, 16);
			memcpy(f->dst6, s.src6, 16);
		}
		t->sport = s.dport;
		t->dport = s.sport;
		t->seq = s.ack;
		t->ack = s.seq + (uint32_t)s.sz + ((s.flags & (TCP_SYN | TCP_FIN)) != 0);
	}
}

static void put_segment(struct fuzz *f, bool ip6)
{
	static uint8_t frame[WIRE_FRAME_MAX];
	struct wire_tcp t = f->t[ip6];
	uint8_t how = byte(f);
	size_t sz;

	t.src = WIRE_PEER_IP;
	t.dst = WIRE_OUR_IP;
	t.src6 = ip6 ? f->src6 : NULL;
	t.dst6 = ip6 ? f->dst6 : NULL;
	t.flags = byte(f);
	t.wnd = (uint16_t)word(f);
	if (how & 1)
		t.seq += word(f) - 0x8000;
	if (how & 2)
		t.ack += word(f) - 0x8000;
	if (how & 4) {
		t.sport = (uint16_t)(how & 8 ? 4000 : PEER_PORT);
		t.dport = LISTEN_PORT;
	}
	if (how & 16)
		t.header = (uint8_t)(byte(f) | 1);
	sz = how & 32 ? word(f) % 1461 : byte(f);
	t.data = bytes(f, &sz);
	t.sz = sz;
	wire_put(w, frame, wire_make_tcp(frame, &t), how & 64 ? 80 : 0);
}

static const uint8_t *address(struct fuzz *f)
{
	static const uint8_t *const known[] = {wire_our_ip6, wire_our_local, wire_peer_ip6, wire_peer_local,
					       all_nodes,    our_group,      far,           nobody};
	uint8_t which = byte(f);
	size_t sz = 16;
	const uint8_t *p;

	if (which < 128)
		return known[which % 8];
	p = bytes(f, &sz);
	return sz == 16 ? p : nobody;
}

static struct wire_ip6 header(struct fuzz *f, uint8_t next)
{
	struct wire_ip6 ip = {.next = next};

	ip.src = address(f);
	ip.dst = address(f);
	ip.hops = byte(f);
	return ip;
}

/* A header and whatever follows: extension headers, fragments, other protocols. */
static void put_ip6(struct fuzz *f)
{
	static uint8_t frame[WIRE_FRAME_MAX];
	struct wire_ip6 ip = header(f, byte(f));
	uint8_t how = byte(f);
	size_t sz = byte(f);
	const uint8_t *p = bytes(f, &sz);

	sz = wire_make_ip6(frame, &ip, p, sz);
	if (how & 1) { /* a length that is not so */
		frame[18] = byte(f);
		frame[19] = byte(f);
	}
	wire_put(w, frame, sz, how & 2 ? 60 : 0);
}

/* A message with a right checksum, perhaps behind a hop-by-hop header. */
static void put_icmp6(struct fuzz *f)
{
	static uint8_t frame[WIRE_FRAME_MAX], behind[300];
	struct wire_ip6 ip = header(f, 0);
	uint8_t how = byte(f);
	size_t sz = byte(f);
	const uint8_t *p = bytes(f, &sz);

	if ((how & 1) == 0) {
		wire_put(w, frame, wire_make_icmp6(frame, &ip, p, sz), how & 2 ? 80 : 0);
		return;
	}
	wire_make_icmp6(frame, &ip, p, sz);
	memcpy(behind, (const uint8_t[]){58, 0, 5, 2, 0, 0, 1, 0}, 8);
	memcpy(behind + 8, frame + 54, sz);
	if (how & 4)
		behind[how >> 5] = byte(f);
	ip.next = 0;
	wire_put(w, frame, wire_make_ip6(frame, &ip, behind, 8 + sz), 0);
}

/* A good solicitation or advertisement, with a few bytes changed. */
static void put_nd(struct fuzz *f)
{
	static uint8_t frame[WIRE_FRAME_MAX];
	uint8_t m[64] = {0}, how = byte(f);
	struct wire_ip6 ip = header(f, 0);
	size_t sz = wire_make_nd(frame, how & 1 ? 135 : 136, &ip, address(f)) - 54;

	memcpy(m, frame + 54, sz);
	for (unsigned i = how >> 6; i != 0; i--) {
		uint8_t at = byte(f);

		m[at % sz] = byte(f);
	}
	if (how & 2)
		sz = byte(f) % (sizeof(m) + 1);
	wire_put(w, frame, wire_make_icmp6(frame, &ip, m, sz), 0);
}

static void put_raw(struct fuzz *f)
{
	size_t sz = word(f) % 1600;
	const uint8_t *p = bytes(f, &sz);

	wire_put(w, p, sz, 0);
}

static void put_ip(struct fuzz *f)
{
	uint8_t frame[WIRE_FRAME_MAX];
	uint8_t proto = byte(f);
	size_t sz = byte(f);
	const uint8_t *p = bytes(f, &sz);

	wire_put(w, frame, wire_make_ip(frame, WIRE_PEER_IP, WIRE_OUR_IP, proto, p, sz), 0);
}

static void step(struct fuzz *f)
{
	static const char *const there[] = {"[2001:db8::1]", "[fe80::1]", "[2001:db9::7]", "[2001:db8::9]"};

	switch (byte(f) % 16) {
	case 0:
		put_raw(f);
		break;
	case 1:
		put_ip(f);
		break;
	case 2:
		dial(f, "10.9.8.1");
		break;
	case 3:
		act(f);
		break;
	case 4:
		turn(f, (uint64_t)word(f) * 1000000);
		break;
	case 8:
		put_ip6(f);
		break;
	case 9:
		put_icmp6(f);
		break;
	case 10:
		put_nd(f);
		break;
	case 11:
		dial(f, there[byte(f) % 4]);
		break;
	case 12:
	case 13:
		put_segment(f, true);
		turn(f, 1000000);
		break;
	default:
		put_segment(f, false);
		turn(f, 1000000);
		break;
	}
}

static char dir[] = "/tmp/vigil-fuzz-XXXXXX";

static void remove_dir(void)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "rm -rf -- '%s'", dir);
	if (system(cmd) != 0)
		fprintf(stderr, "cannot remove %s\n", dir);
}

static void start(void)
{
	char prefix[32];
	char *argv[] = {(char *)"net_frames",
			(char *)"--no-huge",
			(char *)"-m",
			(char *)"64",
			(char *)"--no-pci",
			(char *)"--no-telemetry",
			(char *)"--lcores",
			(char *)"0@0",
			(char *)"--no-shconf",
			(char *)"--log-level",
			(char *)"error",
			(char *)"--file-prefix",
			prefix,
			NULL};

	if (mkdtemp(dir) == NULL)
		abort();
	atexit(remove_dir);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	snprintf(prefix, sizeof(prefix), "vigilf%d", (int)getpid());
	if (rte_eal_init((int)(sizeof(argv) / sizeof(argv[0])) - 1, argv) < 0)
		abort();
	w = wire_new();
	if (w == NULL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz f;
	static uint64_t now = UINT64_C(1) << 50; /* goes on: lwIP's timers outlive an input */
	struct net_config cfg = {
		.ip4 = {10, 9, 8, 2}, .prefix_len = 24, .prefix6_len = 64, .mbuf_cnt = MBUF_CNT};
	static uint8_t frame[WIRE_FRAME_MAX];
	const char *why;

	if (w == NULL)
		start();
	cfg.port_id = wire_port(w);
	memcpy(cfg.ip6, wire_our_ip6, 16);
	memcpy(cfg.gateway6, wire_peer_local, 16);
	memcpy(cfg.mac, wire_our_mac, 6);
	f = (struct fuzz){.p = data, .left = size, .now = now};
	memcpy(f.src6, wire_peer_ip6, 16);
	memcpy(f.dst6, wire_our_ip6, 16);
	if (net_open(&f.n, &cfg, &why) != 0 || net_listen(f.n, LISTEN_PORT, &ops, accept_some, &f) != 0)
		abort();
	if (!wire_use_net_pool(w, MBUF_CNT))
		abort();
	for (unsigned i = 0; i < 4 && size != 0 && (data[0] & 0x80) == 0; i++)
		turn(&f, UINT64_C(700000000));
	for (unsigned i = 0; i < OPS_MAX && f.left != 0; i++)
		step(&f);
	for (unsigned i = 0; i < OPS_MAX / 64 + 2; i++)
		turn(&f, 1000000);
	now = f.now;
	net_free(f.n);
	for (unsigned i = 0; i < f.cnt; i++)
		assert(f.conn[i].c == NULL);
	while (wire_get(w, frame) != 0)
		;
	assert(wire_pool_free(w) == MBUF_CNT);
	return 0;
}
