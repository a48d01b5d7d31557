/* Frames made by hand, good and bad, against the stack. */
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
	PEER_SEQ = 1000, /* the hand-made peer's first sequence number */
	MBUF_CNT = 8191,
};

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

static bool set_up(bool lend)
{
	const char *why;
	struct net_config cfg = {.ip4 = {10, 9, 8, 2}, .prefix_len = 24, .mbuf_cnt = MBUF_CNT};

	w = wire_new();
	if (w == NULL)
		return false;
	cfg.port_id = wire_port(w);
	now = node_now_ns();
	if (net_open(&n, &cfg, &why) != 0) {
		fprintf(stderr, "%s\n", why);
		return false;
	}
	if (lend && !wire_use_net_pool(w, MBUF_CNT))
		return false;
	turn(2);
	/* The stack announces itself. */
	for (uint8_t f[WIRE_FRAME_MAX]; wire_get(w, f) != 0;)
		;
	return true;
}

static bool put_tcp(const struct wire_tcp *t)
{
	uint8_t f[WIRE_FRAME_MAX];

	return wire_put(w, f, wire_make_tcp(f, t), 0);
}

/* ---- a hand-made peer ---- */

struct watch {
	struct net_conn *c;
	unsigned connected, closed;
	uint64_t got;
	enum net_close_reason why;
};

static void saw_connected(void *arg, struct net_conn *c)
{
	struct watch *v = arg;

	(void)c;
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
	v->closed++;
	v->why = why;
}

static const struct net_conn_ops watch_ops = {
	.on_connected = saw_connected, .on_data = saw_data, .on_closed = saw_closed};

/* The next segment that the stack sends; answers ARP on the way. */
static bool next_tcp(struct wire_tcp *t, uint8_t f[WIRE_FRAME_MAX])
{
	for (unsigned i = 0; i < 1000; i++) {
		size_t sz = wire_get(w, f);

		if (sz == 0) {
			turn(1);
			continue;
		}
		if (wire_read_tcp(t, f, sz))
			return true;
		if (f[12] == 8 && f[13] == 6) {
			sz = wire_make_arp(f, true, WIRE_PEER_IP, WIRE_OUR_IP);
			if (!wire_put(w, f, sz, 0))
				return false;
		}
	}
	return false;
}

/* Connects; *t then is the segment to answer with next: peer to us. */
static bool shake_hands(struct watch *v, struct wire_tcp *t, uint16_t wnd)
{
	uint8_t f[WIRE_FRAME_MAX];
	struct net_addr to;
	struct wire_tcp s;

	*v = (struct watch){0};
	node_server_addr(&to);
	v->c = net_connect(n, &to, &watch_ops, v);
	if (v->c == NULL || !next_tcp(&s, f) || s.flags != TCP_SYN || s.dport != NODE_PORT)
		return false;
	*t = (struct wire_tcp){.src = WIRE_PEER_IP,
			       .dst = WIRE_OUR_IP,
			       .sport = NODE_PORT,
			       .dport = s.sport,
			       .seq = PEER_SEQ,
			       .ack = s.seq + 1,
			       .flags = TCP_SYN | TCP_ACK,
			       .wnd = wnd};
	if (!put_tcp(t) || !next_tcp(&s, f) || s.flags != TCP_ACK || s.ack != PEER_SEQ + 1)
		return false;
	t->flags = TCP_ACK;
	t->seq = PEER_SEQ + 1;
	return v->connected == 1;
}

/* ---- tests ---- */

static int answer_arp_and_ping(const struct node *self)
{
	uint8_t f[WIRE_FRAME_MAX], g[WIRE_FRAME_MAX];
	size_t sz;

	(void)self;
	NODE_REQUIRE(set_up(false));
	sz = wire_make_arp(f, false, WIRE_PEER_IP, WIRE_OUR_IP);
	NODE_REQUIRE(wire_put(w, f, sz, 0));
	turn(1);
	NODE_REQUIRE(wire_get(w, g) >= 42 && g[13] == 6 && g[21] == 2);
	for (size_t cut = 0; cut <= 40; cut += 40) { /* whole, and in two mbufs */
		sz = wire_make_ping(f, WIRE_PEER_IP, WIRE_OUR_IP);
		NODE_REQUIRE(wire_put(w, f, sz, cut));
		turn(1);
		NODE_REQUIRE(wire_get(w, g) == sz);
		NODE_REQUIRE(g[34] == 0 && memcmp(g + 38, f + 38, sz - 38) == 0);
	}
	return 0;
}

static void arp_and_ping_are_answered(void **state)
{
	(void)state;
	node_alone(answer_arp_and_ping, "net_null0,no-rx=1");
}

static int ignore_strangers(const struct node *self)
{
	static const struct {
		uint32_t src, dst;
	} pair[] = {
		{WIRE_PEER_IP, 0x0a090803}, {WIRE_PEER_IP, 0x0a0908ff}, {WIRE_PEER_IP, 0xffffffff},
		{WIRE_PEER_IP, 0xe0000001}, {WIRE_PEER_IP, 0x7f000001}, {0x7f000001, WIRE_OUR_IP},
		{WIRE_OUR_IP, WIRE_OUR_IP}, {0, WIRE_OUR_IP},           {0xe0000001, WIRE_OUR_IP},
		{0xffffffff, WIRE_OUR_IP},
	};
	uint8_t f[WIRE_FRAME_MAX], udp[8] = {0, 53, 0, 53, 0, 8};
	struct net_stats s;
	uint64_t expected = 0;
	size_t sz;

	(void)self;
	NODE_REQUIRE(set_up(false));
	for (size_t i = 0; i < sizeof(pair) / sizeof(pair[0]); i++) {
		const struct wire_tcp t = {
			.src = pair[i].src, .dst = pair[i].dst, .sport = 1, .dport = 2, .flags = TCP_SYN};

		NODE_REQUIRE(put_tcp(&t));
		sz = wire_make_ping(f, pair[i].src, pair[i].dst);
		NODE_REQUIRE(wire_put(w, f, sz, 0));
		expected += 2;
	}
	sz = wire_make_ip(f, WIRE_PEER_IP, WIRE_OUR_IP, 17, udp, sizeof(udp));
	NODE_REQUIRE(wire_put(w, f, sz, 0));
	sz = wire_make_ip(f, WIRE_PEER_IP, WIRE_OUR_IP, 2, udp, sizeof(udp));
	NODE_REQUIRE(wire_put(w, f, sz, 0));
	sz = wire_make_ping(f, WIRE_PEER_IP, WIRE_OUR_IP);
	f[20] = 0x20; /* more fragments follow */
	NODE_REQUIRE(wire_put(w, f, sz, 0));
	f[20] = 0;
	f[14] = 0x65; /* IP version 6 */
	NODE_REQUIRE(wire_put(w, f, sz, 0));
	f[12] = 0x86; /* the ethertype of IPv6 */
	f[13] = 0xdd;
	NODE_REQUIRE(wire_put(w, f, sz, 0));
	NODE_REQUIRE(wire_put(w, f, 14, 0));
	NODE_REQUIRE(wire_put(w, f, 1, 0));
	NODE_REQUIRE(wire_put(w, f, 0, 0));
	expected += 8;
	turn(5);
	net_stats_get(n, &s);
	NODE_REQUIRE(s.rx_ignored == expected);
	NODE_REQUIRE(wire_get(w, f) == 0);
	return 0;
}

static void frames_that_are_not_for_us_never_reach_the_stack(void **state)
{
	(void)state;
	node_alone(ignore_strangers, "net_null0,no-rx=1");
}

static int refuse_syn(const struct node *self)
{
	const struct wire_tcp syn = {.src = WIRE_PEER_IP,
				     .dst = WIRE_OUR_IP,
				     .sport = 4000,
				     .dport = 8333,
				     .seq = 77,
				     .flags = TCP_SYN,
				     .wnd = 1000};
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t;

	(void)self;
	NODE_REQUIRE(set_up(true));
	NODE_REQUIRE(put_tcp(&syn));
	NODE_REQUIRE(next_tcp(&t, f));
	NODE_REQUIRE(t.flags == (TCP_RST | TCP_ACK) && t.ack == 78 && t.dport == 4000);
	return 0;
}

static void a_syn_to_a_port_without_listener_is_reset(void **state)
{
	(void)state;
	node_alone(refuse_syn, "net_null0,no-rx=1");
}

/* lwIP asserts that queued segments fit half of the largest window seen.  A window that was zero at first
   and small then would break that, and with it the process. */
static int widen_window(const struct node *self)
{
	static uint8_t text[300];
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t, s;
	struct watch v;
	size_t sent = 0;
	uint32_t first;

	(void)self;
	NODE_REQUIRE(set_up(true));
	node_fill(text, sizeof(text), 5, 0);
	NODE_REQUIRE(shake_hands(&v, &t, 0));
	first = t.ack;
	sent += net_send(v.c, text, 100);
	turn(1);
	for (uint16_t wnd = 1; wnd < 400; wnd = (uint16_t)(wnd + 7)) {
		t.wnd = wnd;
		NODE_REQUIRE(put_tcp(&t));
		turn(1);
		if (sent < sizeof(text))
			sent += net_send(v.c, text + sent, 1 + (sizeof(text) - sent) / 10);
		while (next_tcp(&s, f) && s.sz != 0) {
			NODE_REQUIRE(node_check(s.data, s.sz, 5, s.seq - first));
			if (s.seq + s.sz - t.ack < 0x80000000u)
				t.ack = s.seq + (uint32_t)s.sz;
			NODE_REQUIRE(put_tcp(&t));
			turn(1);
		}
	}
	NODE_REQUIRE(v.closed == 0);
	NODE_REQUIRE(sent > 100 && t.ack - first == sent);
	return 0;
}

static void a_window_that_opens_from_nothing_does_no_harm(void **state)
{
	(void)state;
	node_alone(widen_window, "net_null0,no-rx=1");
}

/* A segment size in the middle of a connection: lwIP would believe it, and assert on what is queued. */
/* The only byte that waits for a closed window goes out as the probe, and its acknowledgement leaves the window closed:
   lwIP's timer would go on probing with nothing, which it asserts that it never does. */
static int acknowledge_probes(const struct node *self)
{
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t, s;
	struct watch v;

	(void)self;
	NODE_REQUIRE(set_up(true));
	NODE_REQUIRE(shake_hands(&v, &t, 0));
	for (unsigned i = 0; i < 3; i++) {
		bool probed = false;

		NODE_REQUIRE(net_send(v.c, (const uint8_t *)"x", 1) == 1);
		for (unsigned tries = 0; !probed && tries < 20; tries++)
			probed = next_tcp(&s, f) && s.sz == 1;
		NODE_REQUIRE(probed);
		t.ack = s.seq + 1;
		NODE_REQUIRE(put_tcp(&t));
		turn(5000);
	}
	NODE_REQUIRE(v.closed == 0);
	return 0;
}

static void a_probe_that_is_acknowledged_in_a_closed_window_does_no_harm(void **state)
{
	(void)state;
	node_alone(acknowledge_probes, "net_null0,no-rx=1");
}

static int shrink_segments(const struct node *self)
{
	static const uint8_t option[2][8] = {{2, 4, 0, 10, 1, 1, 1, 0}, {1, 3, 3, 1, 2, 4, 0, 10}};
	static const uint8_t text[2000];
	struct net_stats s;
	struct wire_tcp t;
	struct watch v;

	(void)self;
	NODE_REQUIRE(set_up(true));
	NODE_REQUIRE(shake_hands(&v, &t, 4000));
	/* A small window afterwards keeps a long segment in the queue. */
	t.wnd = 300;
	NODE_REQUIRE(put_tcp(&t));
	turn(1);
	NODE_REQUIRE(net_send(v.c, text, 500) == 500);
	turn(1);
	for (size_t i = 0; i < 2; i++) {
		t.header = 7 << 4;
		t.data = option[i];
		t.sz = sizeof(option[i]);
		NODE_REQUIRE(put_tcp(&t));
		turn(1);
		net_send(v.c, text, 500);
	}
	turn(5000); /* the timer that splits what does not fit the window */
	net_stats_get(n, &s);
	NODE_REQUIRE(s.rx_ignored == 2);
	NODE_REQUIRE(v.closed == 0);
	return 0;
}

static void a_segment_size_in_the_middle_of_a_connection_is_not_believed(void **state)
{
	(void)state;
	node_alone(shrink_segments, "net_null0,no-rx=1");
}

static int hold_back_the_first_byte(const struct node *self)
{
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t;
	struct watch v;
	unsigned before, least = MBUF_CNT;
	struct net_stats s;

	(void)self;
	NODE_REQUIRE(set_up(true));
	NODE_REQUIRE(shake_hands(&v, &t, 65535));
	before = wire_pool_free(w);
	t.data = "x";
	t.sz = 1;
	t.seq++; /* one byte is missing: everything after it is kept */
	for (unsigned i = 0; i < MBUF_CNT; i++) {
		NODE_REQUIRE(put_tcp(&t));
		t.seq += 2;
		turn(1);
		while (wire_get(w, f) != 0)
			;
		if (wire_pool_free(w) < least)
			least = wire_pool_free(w);
	}
	net_stats_get(n, &s);
	printf("# %u of %u buffers stayed free\n", least, MBUF_CNT);
	fflush(stdout);
	NODE_REQUIRE(s.rx_nombuf == 0 && v.closed == 0 && v.got == 0);
	NODE_REQUIRE(least > MBUF_CNT / 4);
	net_abort(v.c);
	turn(2);
	while (wire_get(w, f) != 0)
		;
	turn(1);
	NODE_REQUIRE(v.closed == 1);
	NODE_REQUIRE(wire_pool_free(w) == before);
	return 0;
}

static void a_peer_that_leaves_gaps_cannot_take_all_buffers(void **state)
{
	(void)state;
	node_alone(hold_back_the_first_byte, "net_null0,no-rx=1");
}

static uint32_t rng_state = 12345;

static uint32_t rng(uint32_t below)
{
	rng_state = rng_state * 1664525u + 1013904223u;
	return (rng_state >> 8) % below;
}

/* Segments around a live connection with bits turned over; the checksums are right for half of them. */
static int throw_rubbish(const struct node *self)
{
	enum { FRAMES = 60000 };
	static uint8_t text[1460];
	uint8_t f[WIRE_FRAME_MAX];
	struct wire_tcp t, bent, s;
	struct watch v = {.closed = 1};
	unsigned hands = 0;

	(void)self;
	NODE_REQUIRE(set_up(true));
	for (unsigned i = 0; i < FRAMES; i++) {
		size_t sz;

		if (v.closed != 0) {
			while (wire_get(w, f) != 0)
				;
			NODE_REQUIRE(shake_hands(&v, &t, 4000));
			hands++;
		}
		if (rng(200) == 0)
			net_send(v.c, text, rng(sizeof(text)));
		bent = t;
		bent.seq += rng(8) == 0 ? rng(UINT32_MAX) : rng(3000) - 1500;
		bent.ack += rng(8) == 0 ? rng(UINT32_MAX) : rng(3000) - 1500;
		bent.wnd = (uint16_t)rng(65536);
		bent.flags = rng(50) != 0 ? (uint8_t)(TCP_ACK | (rng(2) * TCP_PSH)) : (uint8_t)rng(256);
		bent.data = text;
		bent.sz = rng(sizeof(text));
		sz = rng(20) == 0 ? wire_make_ping(f, WIRE_PEER_IP, WIRE_OUR_IP) : wire_make_tcp(f, &bent);
		for (unsigned k = rng(6); k > 3; k--)
			f[rng((uint32_t)sz)] ^= (uint8_t)(1u << rng(8));
		if (rng(10) == 0)
			sz = rng((uint32_t)sz + 1);
		if (!wire_put(w, f, sz, rng(20) == 0 ? 60 : 0))
			turn(1);
		if (i % 16 == 0)
			turn(1);
		/* Stay near what the stack expects, or it would drop nearly everything at the door. */
		while ((sz = wire_get(w, f)) != 0)
			if (wire_read_tcp(&s, f, sz) && (s.flags & (TCP_RST | TCP_SYN)) == 0) {
				t.seq = s.ack;
				t.ack = s.seq + (uint32_t)s.sz;
			}
	}
	printf("# %u connections survived or died well\n", hands);
	fflush(stdout);
	net_free(n);
	NODE_REQUIRE(v.closed == 1);
	return 0;
}

static void rubbish_kills_connections_at_most(void **state)
{
	(void)state;
	node_alone(throw_rubbish, "net_null0,no-rx=1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arp_and_ping_are_answered),
		cmocka_unit_test(frames_that_are_not_for_us_never_reach_the_stack),
		cmocka_unit_test(a_syn_to_a_port_without_listener_is_reset),
		cmocka_unit_test(a_window_that_opens_from_nothing_does_no_harm),
		cmocka_unit_test(a_probe_that_is_acknowledged_in_a_closed_window_does_no_harm),
		cmocka_unit_test(a_segment_size_in_the_middle_of_a_connection_is_not_believed),
		cmocka_unit_test(a_peer_that_leaves_gaps_cannot_take_all_buffers),
		cmocka_unit_test(rubbish_kills_connections_at_most),
	};

	return cmocka_run_group_tests_name("net/frames", tests, NULL, NULL);
}
