/* IPv6 frames made by hand, good and bad, against the stack. */
#include "node.h"
#include "wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	PEER_SEQ = 1000,
	MBUF_CNT = 8191,
	ETH = 14,
	IP6 = 40,
	ICMP = ETH + IP6,
	SOLICIT = 135,
	ADVERT = 136,
	MAX_SEGMENT = 2, /* the option */
};

static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
static const uint8_t our_group[16] = {0xff, 2, [11] = 1, [12] = 0xff, [15] = 2}; /* of both our addresses */
static const uint8_t nobody[16];
static const uint8_t stranger[16] = {0x20, 1, 0x0d, 0xb9, [15] = 7};

static struct wire *w;
static struct net *n;
static uint64_t now;

static void turn(unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++) {
		now += 1000000;
		net_poll(n, now);
	}
}

static struct net_config config(void)
{
	struct net_config c = {.ip4 = {10, 9, 8, 2}, .prefix_len = 24, .prefix6_len = 64, .mbuf_cnt = MBUF_CNT};

	memcpy(c.ip6, wire_our_ip6, 16);
	memcpy(c.gateway6, wire_peer_local, 16);
	memcpy(c.mac, wire_our_mac, 6);
	return c;
}

static void drain(void)
{
	for (uint8_t f[WIRE_FRAME_MAX]; wire_get(w, f) != 0;)
		;
}

static bool open_with(struct net_config *cfg)
{
	const char *why;

	w = wire_new();
	if (w == NULL)
		return false;
	cfg->port_id = wire_port(w);
	now = node_now_ns();
	if (net_open(&n, cfg, &why) == 0)
		return true;
	fprintf(stderr, "%s\n", why);
	return false;
}

/* Opened, and the addresses undisputed. */
static bool set_up(void)
{
	struct net_config cfg = config();

	if (!open_with(&cfg) || !wire_use_net_pool(w, MBUF_CNT))
		return false;
	turn(2500);
	drain();
	return true;
}

static bool put(const uint8_t *frame, size_t sz)
{
	if (!wire_put(w, frame, sz, 0))
		return false;
	turn(1);
	return true;
}

static uint64_t ignored(void)
{
	struct net_stats s;

	net_stats_get(n, &s);
	return s.rx_ignored;
}

static uint64_t conflicts(void)
{
	struct net_stats s;

	net_stats_get(n, &s);
	return s.addr_conflicts;
}

static struct net_addr address(const char *text)
{
	struct net_addr a = {0};

	net_addr_parse(&a, text, NODE_PORT);
	return a;
}

/* ---- a hand-made peer ---- */

struct watch {
	struct net_conn *c;
	unsigned connected, closed;
	uint64_t got;
};

static void saw_connected(void *arg, struct net_conn *c)
{
	struct watch *v = arg;

	v->c = c;
	v->connected++;
}

static void saw_data(void *arg, struct net_conn *c, const uint8_t *p, size_t sz)
{
	struct watch *v = arg;

	(void)p;
	v->got += sz;
	net_consumed(c, sz);
}

static void saw_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct watch *v = arg;

	(void)c;
	(void)why;
	v->closed++;
}

static const struct net_conn_ops watch_ops = {
	.on_connected = saw_connected, .on_data = saw_data, .on_closed = saw_closed};

static void *take(void *arg, const struct net_addr *from)
{
	(void)from;
	return arg;
}

/* The next segment that the stack sends; answers for the peer on the way. */
static bool next_tcp(struct wire_tcp *t, uint8_t f[WIRE_FRAME_MAX])
{
	uint8_t g[WIRE_FRAME_MAX];

	for (unsigned i = 0; i < 3000; i++) {
		size_t sz = wire_get(w, f);

		if (sz == 0) {
			turn(1);
			continue;
		}
		if (wire_read_tcp(t, f, sz))
			return true;
		sz = wire_answer(g, f, sz);
		if (sz != 0 && !wire_put(w, g, sz, 0))
			return false;
	}
	return false;
}

static bool put_tcp(const struct wire_tcp *t, size_t cut)
{
	uint8_t f[WIRE_FRAME_MAX];
	size_t sz = wire_make_tcp(f, t);

	if (!wire_put(w, f, sz, cut))
		return false;
	turn(1);
	return true;
}

/* Connects to `to`; *t then is the segment to answer with next, in what s points to. */
static bool shake_hands(struct watch *v, struct wire_tcp *t, const char *to, uint8_t f[WIRE_FRAME_MAX])
{
	static uint8_t src[16], dst[16];
	struct net_addr a = address(to);
	struct wire_tcp s;
	uint8_t g[WIRE_FRAME_MAX];

	*v = (struct watch){0};
	v->c = net_connect(n, &a, &watch_ops, v);
	if (v->c == NULL || !next_tcp(&s, f) || s.flags != TCP_SYN || s.dport != NODE_PORT || s.src6 == NULL)
		return false;
	memcpy(src, s.dst6, 16);
	memcpy(dst, s.src6, 16);
	*t = (struct wire_tcp){.src6 = src,
			       .dst6 = dst,
			       .sport = NODE_PORT,
			       .dport = s.sport,
			       .seq = PEER_SEQ,
			       .ack = s.seq + 1,
			       .flags = TCP_SYN | TCP_ACK,
			       .header = 6 << 4,
			       .wnd = 60000};
	t->data = (const uint8_t[]){MAX_SEGMENT, 4, 5000 >> 8, 5000 & 0xff};
	t->sz = 4;
	if (!put_tcp(t, 0) || !next_tcp(&s, g) || s.flags != TCP_ACK || s.ack != PEER_SEQ + 1)
		return false;
	t->header = 0;
	t->sz = 0;
	t->flags = TCP_ACK;
	t->seq = PEER_SEQ + 1;
	return v->connected == 1;
}

/* ---- our addresses ---- */

static int ask_for_addresses(const struct node *self)
{
	struct net_config cfg = config();
	struct net_addr to = address("[2001:db8::1]");
	struct watch v = {0};
	uint8_t f[WIRE_FRAME_MAX];
	bool asked[2] = {false}, joined = false;
	size_t sz;

	(void)self;
	NODE_REQUIRE(open_with(&cfg));
	turn(1);
	NODE_REQUIRE(net_connect(n, &to, &watch_ops, &v) == NULL);
	while ((sz = wire_get(w, f)) != 0) {
		if (sz < ICMP + 24 || f[12] != 0x86)
			continue;
		joined |= f[ETH + 6] == 0 && f[ICMP + 8] == 131;
		if (f[ETH + 6] != 58 || f[ICMP] != SOLICIT)
			continue;
		NODE_REQUIRE(memcmp(f + ETH + 8, nobody, 16) == 0 && f[ETH + 7] == 255);
		NODE_REQUIRE(memcmp(f + ETH + 24, our_group, 16) == 0);
		asked[0] |= memcmp(f + ICMP + 8, wire_our_ip6, 16) == 0;
		asked[1] |= memcmp(f + ICMP + 8, wire_our_local, 16) == 0;
	}
	NODE_REQUIRE(asked[0] && asked[1] && joined);
	turn(1200);
	NODE_REQUIRE(net_connect(n, &to, &watch_ops, &v) != NULL);
	NODE_REQUIRE(!net_ip6_taken(n) && conflicts() == 0);
	/* Nobody is asked for routers. */
	while ((sz = wire_get(w, f)) != 0)
		NODE_REQUIRE(sz <= ICMP || f[12] != 0x86 || f[ETH + 6] != 58 || f[ICMP] != 133);
	net_free(n);
	NODE_REQUIRE(v.closed == 1);
	return 0;
}

static void our_addresses_are_asked_for_and_then_used(void **state)
{
	(void)state;
	node_alone(ask_for_addresses, "net_null0,no-rx=1");
}

/* Another host answers that the address is its own, or asks for it at the same time. */
static int dispute_address(const struct node *self)
{
	const struct wire_ip6 answer = {.src = wire_our_ip6, .dst = all_nodes};
	const struct wire_ip6 question = {.src = nobody, .dst = our_group, .hops = 255};
	struct net_config cfg = config();
	struct net_addr to = address("[2001:db8::1]");
	struct watch v = {0};
	uint8_t f[WIRE_FRAME_MAX], ns[24] = {SOLICIT};

	(void)self;
	NODE_REQUIRE(open_with(&cfg));
	turn(1);
	NODE_REQUIRE(put(f, wire_make_nd(f, ADVERT, &answer, wire_our_ip6)));
	turn(2000);
	NODE_REQUIRE(net_ip6_taken(n) && conflicts() == 1);
	NODE_REQUIRE(net_connect(n, &to, &watch_ops, &v) == NULL);
	/* Ten seconds later it is tried again, and again refused. */
	turn(9000);
	memcpy(ns + 8, wire_our_ip6, 16);
	for (unsigned i = 0; i < 20 && conflicts() == 1; i++) {
		NODE_REQUIRE(put(f, wire_make_icmp6(f, &question, ns, sizeof(ns))));
		turn(100);
	}
	NODE_REQUIRE(net_ip6_taken(n) && conflicts() == 2);
	/* And then it is free. */
	turn(13000);
	NODE_REQUIRE(!net_ip6_taken(n) && conflicts() == 2);
	NODE_REQUIRE(net_connect(n, &to, &watch_ops, &v) != NULL);
	net_free(n);
	return 0;
}

static void an_address_that_another_host_has_is_not_used_until_it_is_free(void **state)
{
	(void)state;
	node_alone(dispute_address, "net_null0,no-rx=1");
}

static int claim_address_late(const struct node *self)
{
	static const uint8_t *const ours[] = {wire_our_ip6, wire_our_local};
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t;
	struct watch v;

	(void)self;
	NODE_REQUIRE(set_up());
	NODE_REQUIRE(shake_hands(&v, &t, "[2001:db8::1]", f));
	for (unsigned i = 0; i < 2; i++) {
		const struct wire_ip6 all = {.src = ours[i], .dst = all_nodes};
		const struct wire_ip6 us = {.src = wire_peer_ip6, .dst = wire_our_ip6};

		NODE_REQUIRE(put(f, wire_make_nd(f, ADVERT, &all, ours[i])));
		NODE_REQUIRE(put(f, wire_make_nd(f, ADVERT, &us, ours[i])));
	}
	turn(100);
	NODE_REQUIRE(conflicts() == 4 && !net_ip6_taken(n));
	t.data = "x";
	t.sz = 1;
	NODE_REQUIRE(put_tcp(&t, 0));
	NODE_REQUIRE(v.got == 1 && v.closed == 0);
	net_free(n);
	return 0;
}

static void a_late_claim_to_our_address_is_counted_and_ignored(void **state)
{
	(void)state;
	node_alone(claim_address_late, "net_null0,no-rx=1");
}

/* ---- what is answered ---- */

static bool advert_for(const uint8_t target[16])
{
	uint8_t g[WIRE_FRAME_MAX];
	bool seen = false;

	for (size_t sz; (sz = wire_get(w, g)) != 0;)
		seen |= sz >= ICMP + 32 && g[12] == 0x86 && g[ETH + 6] == 58 && g[ICMP] == ADVERT &&
			memcmp(g + ICMP + 8, target, 16) == 0 && memcmp(g + ICMP + 26, wire_our_mac, 6) == 0;
	return seen;
}

static int answer_neighbours(const struct node *self)
{
	static const uint8_t *const ours[] = {wire_our_ip6, wire_our_local};
	static const uint8_t *const theirs[] = {wire_peer_ip6, wire_peer_local};
	uint8_t f[WIRE_FRAME_MAX], g[WIRE_FRAME_MAX], echo[40] = {128, 0, 0, 0, 0x12, 0x34, 0, 1};
	size_t sz, got;

	(void)self;
	NODE_REQUIRE(set_up());
	for (unsigned i = 0; i < 2; i++) {
		const struct wire_ip6 group = {.src = theirs[i], .dst = our_group};
		const struct wire_ip6 one = {.src = theirs[i], .dst = ours[i]};
		const struct wire_ip6 dad = {.src = nobody, .dst = our_group, .hops = 255};
		uint8_t ns[24] = {SOLICIT};

		NODE_REQUIRE(put(f, wire_make_nd(f, SOLICIT, &group, ours[i])));
		NODE_REQUIRE(advert_for(ours[i]));
		NODE_REQUIRE(put(f, wire_make_nd(f, SOLICIT, &one, ours[i])));
		NODE_REQUIRE(advert_for(ours[i]));
		/* Another host wants our address: it is told. */
		memcpy(ns + 8, ours[i], 16);
		NODE_REQUIRE(put(f, wire_make_icmp6(f, &dad, ns, sizeof(ns))));
		NODE_REQUIRE(advert_for(ours[i]));

		sz = wire_make_icmp6(f, &one, echo, sizeof(echo));
		for (size_t cut = 0; cut <= 70; cut += 70) { /* whole, and in two mbufs */
			NODE_REQUIRE(wire_put(w, f, sz, cut));
			turn(1);
			got = wire_get(w, g);
			NODE_REQUIRE(got == sz && g[ICMP] == 129);
			NODE_REQUIRE(memcmp(g + ICMP + 4, f + ICMP + 4, sz - ICMP - 4) == 0);
		}
	}
	NODE_REQUIRE(ignored() == 0);
	net_free(n);
	return 0;
}

static void solicitations_and_pings_are_answered(void **state)
{
	(void)state;
	node_alone(answer_neighbours, "net_null0,no-rx=1");
}

static size_t query(uint8_t f[WIRE_FRAME_MAX], const struct wire_ip6 *ip, const uint8_t option[6], size_t sz)
{
	struct wire_ip6 with = *ip;
	uint8_t p[48] = {58, 0};
	size_t all;

	/* The checksum covers the message alone, so it is made without the extension header first. */
	p[8] = 130;
	p[8 + 5] = 100;
	all = wire_make_icmp6(f, ip, p + 8, sz);
	memcpy(p + 8, f + ICMP, sz);
	memcpy(p + 2, option, 6);
	with.next = 0;
	all = wire_make_ip6(f, &with, p, 8 + sz);
	return all;
}

static int answer_router(const struct node *self)
{
	static const uint8_t alert[2][6] = {{5, 2, 0, 0, 1, 0}, {1, 0, 5, 2, 0, 0}};
	const struct wire_ip6 good = {.src = wire_peer_local, .dst = all_nodes, .hops = 1};
	const struct wire_ip6 far = {.src = wire_peer_ip6, .dst = all_nodes, .hops = 1};
	const struct wire_ip6 many_hops = {.src = wire_peer_local, .dst = all_nodes, .hops = 2};
	uint8_t f[WIRE_FRAME_MAX], g[WIRE_FRAME_MAX];

	(void)self;
	NODE_REQUIRE(set_up());
	for (unsigned i = 0; i < 2; i++) {
		unsigned reports = 0;

		NODE_REQUIRE(put(f, query(f, &good, alert[i], i == 0 ? 24 : 28)));
		turn(1000);
		for (size_t sz; (sz = wire_get(w, g)) != 0;)
			reports += sz >= ICMP + 32 && g[12] == 0x86 && g[ETH + 6] == 0 && g[ICMP + 8] == 131;
		NODE_REQUIRE(reports == 1); /* both our addresses are of one group */
	}
	NODE_REQUIRE(ignored() == 0);
	NODE_REQUIRE(put(f, query(f, &far, alert[0], 24)));
	NODE_REQUIRE(put(f, query(f, &many_hops, alert[0], 24)));
	NODE_REQUIRE(put(f, query(f, &good, (const uint8_t[]){5, 2, 0, 1, 1, 0}, 24)));
	NODE_REQUIRE(put(f, query(f, &good, alert[0], 20)));
	NODE_REQUIRE(ignored() == 4);
	turn(1000);
	NODE_REQUIRE(wire_get(w, g) == 0);
	net_free(n);
	return 0;
}

static void a_router_that_asks_who_listens_is_answered(void **state)
{
	(void)state;
	node_alone(answer_router, "net_null0,no-rx=1");
}

/* ---- what never reaches the stack ---- */

static int ignore_strangers(const struct node *self)
{
	static const uint8_t loopback[16] = {[15] = 1}, mapped[16] = {[10] = 0xff, [11] = 0xff, 10, 9, 8, 1};
	static const uint8_t other[16] = {0x20, 1, 0x0d, 0xb8, [15] = 3};
	const struct wire_ip6 pair[] = {
		{.src = wire_peer_ip6, .dst = other},         {.src = wire_peer_ip6, .dst = all_nodes},
		{.src = wire_peer_ip6, .dst = our_group},     {.src = wire_our_ip6, .dst = wire_our_ip6},
		{.src = wire_our_local, .dst = wire_our_ip6}, {.src = nobody, .dst = wire_our_ip6},
		{.src = loopback, .dst = wire_our_ip6},       {.src = mapped, .dst = wire_our_ip6},
		{.src = all_nodes, .dst = wire_our_ip6},      {.src = wire_peer_ip6, .dst = nobody},
		{.src = wire_peer_ip6, .dst = loopback},      {.src = wire_peer_ip6, .dst = mapped},
	};
	uint8_t f[WIRE_FRAME_MAX], echo[8] = {128};
	uint64_t expected = 0;

	(void)self;
	NODE_REQUIRE(set_up());
	for (size_t i = 0; i < sizeof(pair) / sizeof(pair[0]); i++) {
		const struct wire_tcp t = {
			.src6 = pair[i].src, .dst6 = pair[i].dst, .sport = 1, .dport = 2, .flags = TCP_SYN};

		NODE_REQUIRE(put_tcp(&t, 0));
		NODE_REQUIRE(put(f, wire_make_icmp6(f, &pair[i], echo, sizeof(echo))));
		expected += 2;
	}
	NODE_REQUIRE(ignored() == expected);
	NODE_REQUIRE(wire_get(w, f) == 0);
	net_free(n);
	return 0;
}

static void packets_that_are_not_for_us_never_reach_the_stack(void **state)
{
	(void)state;
	node_alone(ignore_strangers, "net_null0,no-rx=1");
}

/* The peer's segment behind headers that no TCP peer sends. */
static int ignore_extensions(const struct node *self)
{
	static const uint8_t chain[][9] = {
		{0, 6, 0, 1, 4, 0, 0, 0, 0},    /* hop by hop: padding */
		{60, 6, 0, 1, 4, 0, 0, 0, 0},   /* destination options */
		{43, 6, 0, 0, 0, 0, 0, 0, 0},   /* routing */
		{44, 6, 0, 0, 0, 0, 0, 0, 7},   /* a fragment that is the whole */
		{44, 6, 0, 0, 1, 0, 0, 0, 7},   /* the first of some */
		{44, 6, 0, 0, 8, 0, 0, 0, 7},   /* a later one */
		{51, 6, 0, 0, 0, 0, 0, 0, 0},   /* authentication */
		{0, 6, 255, 1, 4, 0, 0, 0, 0},  /* longer than the packet */
		{0, 0, 0, 1, 4, 0, 0, 0, 0},    /* once more */
		{59, 0, 0, 0, 0, 0, 0, 0, 0},   /* nothing follows */
		{17, 0, 53, 0, 53, 0, 8, 0, 0}, /* UDP */
		{135, 6, 0, 0, 0, 0, 0, 0, 0},  /* mobility */
		{255, 6, 0, 0, 0, 0, 0, 0, 0},  /* reserved */
	};
	const struct wire_tcp syn = {.src6 = wire_peer_ip6,
				     .dst6 = wire_our_ip6,
				     .sport = 4000,
				     .dport = 8333,
				     .flags = TCP_SYN,
				     .wnd = 1000};
	uint8_t f[WIRE_FRAME_MAX], g[WIRE_FRAME_MAX], p[64];
	struct wire_tcp t;
	size_t sz;

	(void)self;
	NODE_REQUIRE(set_up());
	sz = wire_make_tcp(f, &syn) - ICMP;
	for (size_t i = 0; i < sizeof(chain) / sizeof(chain[0]); i++) {
		const struct wire_ip6 ip = {.src = wire_peer_ip6, .dst = wire_our_ip6, .next = chain[i][0]};

		memcpy(p, chain[i] + 1, 8);
		memcpy(p + 8, f + ICMP, sz);
		NODE_REQUIRE(put(g, wire_make_ip6(g, &ip, p, 8 + sz)));
		NODE_REQUIRE(ignored() == i + 1);
	}
	NODE_REQUIRE(wire_get(w, g) == 0);
	/* The same segment alone is answered: the others were not ignored for its own sake. */
	NODE_REQUIRE(put(f, sz + ICMP));
	NODE_REQUIRE(next_tcp(&t, f) && t.flags == (TCP_RST | TCP_ACK) && t.dport == 4000);
	net_free(n);
	return 0;
}

static void extension_headers_and_fragments_never_reach_the_stack(void **state)
{
	(void)state;
	node_alone(ignore_extensions, "net_null0,no-rx=1");
}

/* Whatever a router, or somebody who plays one, says. */
static int ignore_routers(const struct node *self)
{
	const struct wire_ip6 all = {.src = wire_peer_local, .dst = all_nodes, .hops = 255};
	const struct wire_ip6 us = {.src = wire_peer_local, .dst = wire_our_ip6, .hops = 255};
	uint8_t advert[48] = {134, 0, 0, 0, 64, 0, 7, 8, [16] = 3, [17] = 4, [18] = 64, [19] = 0xc0};
	uint8_t redirect[48] = {137}, too_big[200] = {2, [6] = 1, [7] = 0};
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t;
	struct watch v;

	(void)self;
	NODE_REQUIRE(set_up());
	NODE_REQUIRE(shake_hands(&v, &t, "[2001:db9::7]", f));
	memset(advert + 20, 0xff, 8);
	memcpy(advert + 32, stranger, 8);
	NODE_REQUIRE(put(f, wire_make_icmp6(f, &all, advert, sizeof(advert))));
	memcpy(redirect + 8, wire_peer_ip6, 16);
	memcpy(redirect + 24, stranger, 16);
	redirect[40] = 2;
	redirect[41] = 1;
	NODE_REQUIRE(put(f, wire_make_icmp6(f, &us, redirect, sizeof(redirect))));
	memcpy(too_big + 8 + 24, stranger, 16);
	NODE_REQUIRE(put(f, wire_make_icmp6(f, &us, too_big, sizeof(too_big))));
	for (uint8_t type = 0; type < 4; type++) { /* unreachable and the like */
		too_big[0] = (uint8_t)(1 + type);
		NODE_REQUIRE(put(f, wire_make_icmp6(f, &us, too_big, sizeof(too_big))));
	}
	NODE_REQUIRE(ignored() == 7 && v.closed == 0);
	net_free(n);
	return 0;
}

static void advertisements_redirects_and_errors_are_ignored(void **state)
{
	(void)state;
	node_alone(ignore_routers, "net_null0,no-rx=1");
}

static int ignore_bad_discovery(const struct node *self)
{
	const struct wire_ip6 ask = {.src = wire_peer_ip6, .dst = our_group, .hops = 255};
	const struct wire_ip6 tell = {.src = wire_peer_ip6, .dst = wire_our_ip6, .hops = 255};
	const struct wire_ip6 bad_ask[] = {
		{.src = wire_peer_ip6, .dst = our_group, .hops = 254},
		{.src = stranger, .dst = our_group},
		{.src = wire_our_ip6, .dst = our_group},
		{.src = nobody, .dst = wire_our_ip6},
		{.src = nobody, .dst = our_group}, /* with a source MAC */
		{.src = wire_peer_ip6, .dst = all_nodes},
		{.src = wire_peer_ip6, .dst = wire_our_local},
	};
	uint8_t f[WIRE_FRAME_MAX], m[40] = {0};
	uint64_t expected = 0;
	size_t sz;

	(void)self;
	NODE_REQUIRE(set_up());
	for (size_t i = 0; i < sizeof(bad_ask) / sizeof(bad_ask[0]); i++) {
		NODE_REQUIRE(put(f, wire_make_nd(f, SOLICIT, &bad_ask[i], wire_our_ip6)));
		NODE_REQUIRE(ignored() == ++expected);
	}
	NODE_REQUIRE(put(f, wire_make_nd(f, SOLICIT, &ask, wire_peer_ip6))); /* for another's address */
	NODE_REQUIRE(put(f, wire_make_nd(f, ADVERT, &tell, nobody)));
	NODE_REQUIRE(put(f, wire_make_nd(f, ADVERT, &tell, all_nodes)));
	NODE_REQUIRE(put(f, wire_make_nd(f, ADVERT, &tell, stranger)));
	expected += 4;
	NODE_REQUIRE(ignored() == expected);
	/* Options: of length 0, longer than the packet, of another kind, a multicast MAC; code 1; cut short. */
	for (unsigned i = 0; i < 6; i++) {
		const uint8_t type = i % 2 == 0 ? SOLICIT : ADVERT;
		const struct wire_ip6 *ip = i % 2 == 0 ? &ask : &tell;

		sz = wire_make_nd(f, type, ip, i % 2 == 0 ? wire_our_ip6 : wire_peer_ip6) - ICMP;
		memcpy(m, f + ICMP, sz);
		switch (i) {
		case 0:
			m[25] = 0;
			break;
		case 1:
			m[25] = 2;
			break;
		case 2:
			m[24] = 14;
			break;
		case 3:
			m[26] |= 1;
			break;
		case 4:
			m[1] = 1;
			break;
		case 5:
			sz = 20;
			break;
		}
		NODE_REQUIRE(put(f, wire_make_icmp6(f, ip, m, sz)));
		NODE_REQUIRE(ignored() == ++expected);
	}
	/* A frame that says more than it has, and one that ends in the middle of the header. */
	sz = wire_make_nd(f, SOLICIT, &ask, wire_our_ip6);
	for (size_t cut = 0; cut < sz; cut++) {
		NODE_REQUIRE(put(f, cut));
		NODE_REQUIRE(ignored() == ++expected);
	}
	/* Our own question, sent back by the switch. */
	memcpy(f + 6, wire_our_mac, 6);
	NODE_REQUIRE(put(f, sz));
	NODE_REQUIRE(ignored() == ++expected);
	NODE_REQUIRE(wire_get(w, f) == 0 && conflicts() == 0);
	net_free(n);
	return 0;
}

static void bad_neighbour_discovery_never_reaches_the_stack(void **state)
{
	(void)state;
	node_alone(ignore_bad_discovery, "net_null0,no-rx=1");
}

/* ---- connections ---- */

/* What the stack sends in one go goes to the MAC of the gateway, in segments that every path takes. */
static int dial_through_gateway(const struct node *self)
{
	static uint8_t text[20000];
	const struct {
		const char *to;
		size_t most;
	} way[] = {{"[2001:db8::1]", 1440}, {"[fe80::1]", 1440}, {"[2001:db9::7]", 1220}};
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t, s;
	struct watch v;

	(void)self;
	NODE_REQUIRE(set_up());
	for (size_t i = 0; i < 3; i++) {
		const struct net_addr a = address(way[i].to);
		size_t longest = 0, sent;

		NODE_REQUIRE(shake_hands(&v, &t, way[i].to, f));
		NODE_REQUIRE(memcmp(f, (const uint8_t[]){2, 0, 0, 0, 0, 1}, 6) == 0);
		NODE_REQUIRE(memcmp(f + ETH + 24, a.ip, 16) == 0);
		NODE_REQUIRE(memcmp(f + ETH + 8, i == 1 ? wire_our_local : wire_our_ip6, 16) == 0);
		/* What the other side may send is bounded by the link alone. */
		NODE_REQUIRE(f[ICMP + 20] == MAX_SEGMENT && (f[ICMP + 22] << 8 | f[ICMP + 23]) == 1440);
		sent = net_send(v.c, text, sizeof(text));
		NODE_REQUIRE(sent > 4000);
		turn(1);
		while (sent != 0) {
			NODE_REQUIRE(next_tcp(&s, f) && s.seq == t.ack && s.sz != 0);
			longest = s.sz > longest ? s.sz : longest;
			sent -= s.sz;
			t.ack += (uint32_t)s.sz;
			NODE_REQUIRE(put_tcp(&t, 0));
		}
		NODE_REQUIRE(longest == way[i].most);
		net_abort(v.c);
		turn(1);
		drain();
	}
	net_free(n);
	return 0;
}

static void neighbours_are_met_directly_and_the_rest_through_the_gateway(void **state)
{
	(void)state;
	node_alone(dial_through_gateway, "net_null0,no-rx=1");
}

static int refuse_the_unreachable(const struct node *self)
{
	static const char *const no[] = {
		"[2001:db9::7]", "[::1]", "[::]", "[ff02::1]", "[2001:db8::2]", "[::7]", "[fe80::ff:fe00:2]"};
	struct net_config cfg = config();
	struct watch v;

	(void)self;
	memset(cfg.gateway6, 0, 16);
	NODE_REQUIRE(open_with(&cfg));
	turn(2500);
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		struct net_addr a = address(no[i]);

		if (net_connect(n, &a, &watch_ops, &v) != NULL) {
			fprintf(stderr, "%s was dialled\n", no[i]);
			return 1;
		}
	}
	net_free(n);
	return 0;
}

static void what_cannot_be_reached_is_not_dialled(void **state)
{
	(void)state;
	node_alone(refuse_the_unreachable, "net_null0,no-rx=1");
}

/* A prefix longer than what lwIP takes for one: the rest of its /64 is behind the gateway. */
static int narrow_prefix(const struct node *self)
{
	struct net_config cfg = config();
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t;
	struct watch v;

	(void)self;
	cfg.prefix6_len = 126;
	memcpy(cfg.gateway6, wire_peer_ip6, 16);
	NODE_REQUIRE(open_with(&cfg));
	turn(2500);
	drain();
	NODE_REQUIRE(shake_hands(&v, &t, "[2001:db8::5]", f));
	NODE_REQUIRE(shake_hands(&v, &t, "[2001:db8::1]", f));
	net_free(n);
	return 0;
}

static void a_narrow_prefix_sends_the_rest_to_the_gateway(void **state)
{
	(void)state;
	node_alone(narrow_prefix, "net_null0,no-rx=1");
}

static int listen_to_both(const struct node *self)
{
	struct watch v = {0};
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp s, t = {.sport = 4000, .dport = 8333, .seq = 77, .flags = TCP_SYN, .wnd = 60000};

	(void)self;
	NODE_REQUIRE(set_up());
	NODE_REQUIRE(net_listen(n, 8333, &watch_ops, take, &v) == 0);
	for (unsigned i = 0; i < 3; i++) {
		struct net_addr from;

		t.src6 = i == 0 ? NULL : i == 1 ? wire_peer_ip6 : wire_peer_local;
		t.dst6 = i == 0 ? NULL : i == 1 ? wire_our_ip6 : wire_our_local;
		t.src = WIRE_PEER_IP;
		t.dst = WIRE_OUR_IP;
		t.sport++;
		t.flags = TCP_SYN;
		t.seq = 77;
		NODE_REQUIRE(put_tcp(&t, 0));
		NODE_REQUIRE(next_tcp(&s, f) && s.flags == (TCP_SYN | TCP_ACK) && s.ack == 78);
		t.flags = TCP_ACK;
		t.seq = 78;
		t.ack = s.seq + 1;
		NODE_REQUIRE(put_tcp(&t, 0));
		NODE_REQUIRE(v.connected == i + 1);
		net_peer_addr(v.c, &from);
		NODE_REQUIRE(from.port == t.sport);
		NODE_REQUIRE(memcmp(from.ip,
				    i == 0   ? address("10.9.8.1").ip
				    : i == 1 ? wire_peer_ip6
					     : wire_peer_local,
				    16) == 0);
	}
	net_free(n);
	NODE_REQUIRE(v.closed == 3);
	return 0;
}

static void one_listener_hears_both_families(void **state)
{
	(void)state;
	node_alone(listen_to_both, "net_null0,no-rx=1");
}

/* Connections that differ in the host part of an address alone start far from each other. */
static int compare_starts(const struct node *self)
{
	uint8_t f[WIRE_FRAME_MAX], from[16];
	struct wire_tcp s, t = {.dst6 = wire_our_ip6, .src6 = from, .sport = 4000, .dport = 8333, .wnd = 60000};
	struct watch v = {0};
	uint32_t start[2][4];

	(void)self;
	NODE_REQUIRE(set_up());
	NODE_REQUIRE(net_listen(n, 8333, &watch_ops, take, &v) == 0);
	memcpy(from, wire_peer_local, 16);
	for (uint8_t i = 0; i < 8; i++) {
		from[9] = i % 4;
		t.dst6 = i < 4 ? wire_our_ip6 : wire_our_local;
		t.flags = TCP_SYN;
		NODE_REQUIRE(put_tcp(&t, 0));
		do { /* whoever has asked: the peer's MAC is that of all of them */
			const struct wire_ip6 back = {.src = from, .dst = wire_our_local};
			uint8_t g[WIRE_FRAME_MAX];

			NODE_REQUIRE(wire_put(w, g, wire_make_nd(g, ADVERT, &back, from), 0));
			turn(1);
			while ((s.sz = wire_get(w, f)) != 0 && !wire_read_tcp(&s, f, s.sz))
				;
		} while (s.flags != (TCP_SYN | TCP_ACK));
		start[i / 4][i % 4] = s.seq;
		t.flags = TCP_RST;
		t.seq++;
		NODE_REQUIRE(put_tcp(&t, 0));
		t.seq--;
	}
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < i; k++) {
			uint32_t apart = start[i / 4][i % 4] - start[k / 4][k % 4];

			/* By the clock alone it would be less than ten thousand. */
			NODE_REQUIRE(apart > 10000 && apart < UINT32_MAX - 10000);
		}
	net_free(n);
	return 0;
}

static void sequence_numbers_depend_on_both_addresses(void **state)
{
	(void)state;
	node_alone(compare_starts, "net_null0,no-rx=1");
}

/* ---- long frames ---- */

static int receive_jumbo(const struct node *self)
{
	static uint8_t text[8940];
	struct net_config cfg = config();
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t, s;
	struct watch v;
	size_t sent;

	(void)self;
	cfg.mtu = 9000;
	NODE_REQUIRE(open_with(&cfg));
	turn(2500);
	drain();
	NODE_REQUIRE(shake_hands(&v, &t, "[2001:db8::1]", f));
	NODE_REQUIRE(f[ICMP + 20] == MAX_SEGMENT && (f[ICMP + 22] << 8 | f[ICMP + 23]) == 8940);
	t.data = text;
	t.sz = sizeof(text);
	for (unsigned i = 1; i <= 20; i++) {
		NODE_REQUIRE(put_tcp(&t, 2000));
		t.seq += (uint32_t)t.sz;
		NODE_REQUIRE(v.got == i * sizeof(text));
	}
	t.sz = 0;
	drain();
	/* The peer takes 5000, but lwIP does not know that. */
	sent = net_send(v.c, text, sizeof(text));
	turn(1);
	while (sent != 0) {
		NODE_REQUIRE(next_tcp(&s, f) && s.seq == t.ack && s.sz != 0 && s.sz <= 1460);
		sent -= s.sz;
		t.ack += (uint32_t)s.sz;
		NODE_REQUIRE(put_tcp(&t, 0));
	}
	net_free(n);
	return 0;
}

static void jumbo_frames_are_received(void **state)
{
	(void)state;
	node_alone(receive_jumbo, "net_null0,no-rx=1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(our_addresses_are_asked_for_and_then_used),
		cmocka_unit_test(an_address_that_another_host_has_is_not_used_until_it_is_free),
		cmocka_unit_test(a_late_claim_to_our_address_is_counted_and_ignored),
		cmocka_unit_test(solicitations_and_pings_are_answered),
		cmocka_unit_test(a_router_that_asks_who_listens_is_answered),
		cmocka_unit_test(packets_that_are_not_for_us_never_reach_the_stack),
		cmocka_unit_test(extension_headers_and_fragments_never_reach_the_stack),
		cmocka_unit_test(advertisements_redirects_and_errors_are_ignored),
		cmocka_unit_test(bad_neighbour_discovery_never_reaches_the_stack),
		cmocka_unit_test(neighbours_are_met_directly_and_the_rest_through_the_gateway),
		cmocka_unit_test(what_cannot_be_reached_is_not_dialled),
		cmocka_unit_test(a_narrow_prefix_sends_the_rest_to_the_gateway),
		cmocka_unit_test(one_listener_hears_both_families),
		cmocka_unit_test(sequence_numbers_depend_on_both_addresses),
		cmocka_unit_test(jumbo_frames_are_received),
	};

	return cmocka_run_group_tests_name("net/frames6", tests, NULL, NULL);
}
