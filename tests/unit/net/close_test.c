/* How connections end: every reason, from every callback, and that nothing is lost or told twice. */
#include "node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	RUN_MS = 20000,
	QUEUED = 60000,
	REDIALS = 30,
	PORT_STREAM = NODE_PORT,      /* sends for ever */
	PORT_ABORTS = NODE_PORT + 1,  /* aborts when the first byte comes */
	PORT_CLOSES = NODE_PORT + 2,  /* sends QUEUED bytes and closes, in on_connected */
	PORT_REFUSES = NODE_PORT + 3, /* accept says no */
	PORT_DEAF = NODE_PORT + 4,    /* nobody listens */
	PORT_COUNTS = NODE_PORT + 5,  /* counts what it is sent, and streams back meanwhile */
	PORT_LAST = NODE_PORT + 6,    /* one connection here ends the server */
};

struct peer {
	struct net *n;
	unsigned connected, closed, accepted;
	uint64_t got;
	enum net_close_reason why;
	bool bad, done;
};

static void count_connected(void *arg, struct net_conn *c)
{
	struct peer *p = arg;

	(void)c;
	p->connected++;
}

static void count_data(void *arg, struct net_conn *c, const uint8_t *b, size_t sz)
{
	struct peer *p = arg;

	if (!node_check(b, sz, 1, p->got))
		p->bad = true;
	p->got += sz;
	net_consumed(c, sz);
}

static void count_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct peer *p = arg;

	/* Whatever is done to it now must be harmless. */
	net_consumed(c, 1);
	net_close(c);
	net_abort(c);
	if (net_send(c, "x", 1) != 0 || net_send_room(c) != 0)
		p->bad = true;
	p->closed++;
	p->why = why;
	p->done = true;
}

/* ---- the server's ports ---- */

static void stream_on(void *arg, struct net_conn *c)
{
	static uint8_t zeros[4096];

	(void)arg;
	while (net_send(c, zeros, sizeof(zeros)) == sizeof(zeros))
		;
}

static void drain(void *arg, struct net_conn *c, const uint8_t *b, size_t sz)
{
	(void)arg;
	(void)b;
	net_consumed(c, sz);
}

static void note_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct peer *p = arg;

	(void)c;
	p->closed++;
	p->why = why;
}

static void abort_on_data(void *arg, struct net_conn *c, const uint8_t *b, size_t sz)
{
	struct peer *p = arg;

	(void)b;
	(void)sz;
	p->got++;
	net_abort(c);
	net_abort(c);
	net_close(c);
	if (net_send(c, "x", 1) != 0)
		p->bad = true;
}

static void fill_and_close(void *arg, struct net_conn *c)
{
	struct peer *p = arg;
	static uint8_t b[QUEUED];

	node_fill(b, sizeof(b), 1, 0);
	if (net_send(c, b, sizeof(b)) != sizeof(b))
		p->bad = true;
	net_close(c);
	if (net_send(c, b, 1) != 0)
		p->bad = true;
}

static void *accept_any(void *arg, const struct net_addr *from)
{
	struct peer *p = arg;

	if (from->ip[12] != 10 || from->ip[15] != 2 || from->port < 1024)
		p->bad = true;
	p->accepted++;
	return arg;
}

static void *accept_none(void *arg, const struct net_addr *from)
{
	struct peer *p = arg;

	(void)from;
	p->accepted++;
	return NULL;
}

static const struct net_conn_ops stream_ops = {
	.on_connected = stream_on, .on_data = drain, .on_sendable = stream_on, .on_closed = note_closed};
static const struct net_conn_ops abort_ops = {.on_data = abort_on_data, .on_closed = note_closed};
static const struct net_conn_ops close_ops = {
	.on_connected = fill_and_close, .on_data = drain, .on_closed = note_closed};
static const struct net_conn_ops counts_ops = {
	.on_connected = stream_on, .on_data = count_data, .on_sendable = stream_on, .on_closed = note_closed};
static const struct net_conn_ops last_ops = {.on_data = drain, .on_closed = count_closed};

static struct peer streams, aborts, closes, refuses, counts, last;

static int serve(const struct node *self)
{
	struct net *n = self->net;
	struct net_stats s;

	NODE_REQUIRE(net_listen(n, PORT_STREAM, &stream_ops, accept_any, &streams) == 0);
	NODE_REQUIRE(net_listen(n, PORT_ABORTS, &abort_ops, accept_any, &aborts) == 0);
	NODE_REQUIRE(net_listen(n, PORT_CLOSES, &close_ops, accept_any, &closes) == 0);
	NODE_REQUIRE(net_listen(n, PORT_REFUSES, &close_ops, accept_none, &refuses) == 0);
	NODE_REQUIRE(net_listen(n, PORT_COUNTS, &counts_ops, accept_any, &counts) == 0);
	NODE_REQUIRE(net_listen(n, PORT_LAST, &last_ops, accept_any, &last) == 0);
	NODE_REQUIRE(net_listen(n, PORT_LAST, &last_ops, accept_any, &last) != 0);
	NODE_REQUIRE(net_listen(n, 0, &last_ops, accept_any, &last) != 0);
	NODE_REQUIRE(node_mark(self, "listening"));
	NODE_REQUIRE(node_run_until(n, &last.done, RUN_MS));
	node_run_for(n, 100);
	NODE_REQUIRE(!streams.bad && !aborts.bad && !closes.bad && !refuses.bad && !counts.bad);
	NODE_REQUIRE(streams.closed == streams.accepted);
	NODE_REQUIRE(aborts.closed == aborts.accepted);
	NODE_REQUIRE(closes.closed == closes.accepted);
	NODE_REQUIRE(counts.closed == counts.accepted);
	if (aborts.accepted != 0)
		NODE_REQUIRE(aborts.why == NET_CLOSED_LOCAL && aborts.got == aborts.accepted);
	if (closes.accepted != 0)
		NODE_REQUIRE(closes.why == NET_CLOSED_LOCAL);
	if (counts.accepted != 0)
		NODE_REQUIRE(counts.why == NET_CLOSED_REMOTE && counts.got == QUEUED);
	net_stats_get(n, &s);
	NODE_REQUIRE(s.conns_opened == (uint64_t)streams.accepted + aborts.accepted + closes.accepted +
					       counts.accepted + last.accepted);
	return 0;
}

/* ---- the client's tests ---- */

static struct net_conn *dial(const struct node *self, uint16_t port, const struct net_conn_ops *ops, void *arg)
{
	struct net_addr to;

	node_server_addr(&to);
	to.port = port;
	return net_connect(self->net, &to, ops, arg);
}

static void hang_up(void *arg, struct net_conn *c)
{
	(void)arg;
	net_close(c);
}

/* Tells the server to judge and end. */
static int finish(const struct node *self)
{
	static const struct net_conn_ops ops = {
		.on_connected = hang_up, .on_data = drain, .on_closed = count_closed};
	struct peer p = {0};

	NODE_REQUIRE(dial(self, PORT_LAST, &ops, &p) != NULL);
	NODE_REQUIRE(node_run_until(self->net, &p.done, RUN_MS));
	NODE_REQUIRE(p.why == NET_CLOSED_LOCAL);
	return 0;
}

static int dial_deaf(const struct node *self)
{
	static const struct net_conn_ops ops = {.on_connected = count_connected, .on_closed = count_closed};
	struct peer p = {0};

	NODE_REQUIRE(node_await(self, "listening", RUN_MS));
	NODE_REQUIRE(dial(self, PORT_DEAF, &ops, &p) != NULL);
	NODE_REQUIRE(p.closed == 0);
	NODE_REQUIRE(node_run_until(self->net, &p.done, RUN_MS));
	node_run_for(self->net, 20);
	NODE_REQUIRE(p.closed == 1 && p.connected == 0 && !p.bad);
	NODE_REQUIRE(p.why == NET_CLOSED_RESET);
	return finish(self);
}

static void a_refused_connection_is_told_as_reset(void **state)
{
	(void)state;
	node_pair(serve, dial_deaf, NULL, NULL);
}

static int dial_refused(const struct node *self)
{
	static const struct net_conn_ops ops = {
		.on_connected = count_connected, .on_data = count_data, .on_closed = count_closed};
	struct peer p = {0};

	NODE_REQUIRE(node_await(self, "listening", RUN_MS));
	NODE_REQUIRE(dial(self, PORT_REFUSES, &ops, &p) != NULL);
	NODE_REQUIRE(node_run_until(self->net, &p.done, RUN_MS));
	NODE_REQUIRE(p.closed == 1 && p.why == NET_CLOSED_RESET && p.got == 0 && !p.bad);
	return finish(self);
}

static void a_listener_can_refuse(void **state)
{
	(void)state;
	node_pair(serve, dial_refused, NULL, NULL);
}

static void send_one(void *arg, struct net_conn *c)
{
	struct peer *p = arg;

	p->connected++;
	if (net_send(c, "hello", 5) != 5)
		p->bad = true;
}

static int dial_aborter(const struct node *self)
{
	static const struct net_conn_ops ops = {
		.on_connected = send_one, .on_data = count_data, .on_closed = count_closed};
	struct peer p = {0};

	NODE_REQUIRE(node_await(self, "listening", RUN_MS));
	NODE_REQUIRE(dial(self, PORT_ABORTS, &ops, &p) != NULL);
	NODE_REQUIRE(node_run_until(self->net, &p.done, RUN_MS));
	NODE_REQUIRE(p.connected == 1 && p.closed == 1 && p.why == NET_CLOSED_RESET && !p.bad);
	return finish(self);
}

static void an_abort_inside_on_data_resets_the_peer(void **state)
{
	(void)state;
	node_pair(serve, dial_aborter, NULL, NULL);
}

static int dial_closer(const struct node *self)
{
	static const struct net_conn_ops ops = {
		.on_connected = count_connected, .on_data = count_data, .on_closed = count_closed};
	struct peer p = {0};

	NODE_REQUIRE(node_await(self, "listening", RUN_MS));
	NODE_REQUIRE(dial(self, PORT_CLOSES, &ops, &p) != NULL);
	NODE_REQUIRE(node_run_until(self->net, &p.done, RUN_MS));
	NODE_REQUIRE(p.connected == 1 && p.closed == 1 && p.why == NET_CLOSED_REMOTE && !p.bad);
	NODE_REQUIRE(p.got == QUEUED);
	return finish(self);
}

static void what_was_queued_before_close_arrives(void **state)
{
	(void)state;
	node_pair(serve, dial_closer, NULL, NULL);
}

static int dial_counter(const struct node *self)
{
	static const struct net_conn_ops ops = {
		.on_connected = fill_and_close, .on_data = drain, .on_closed = count_closed};
	struct peer p = {0};

	NODE_REQUIRE(node_await(self, "listening", RUN_MS));
	NODE_REQUIRE(dial(self, PORT_COUNTS, &ops, &p) != NULL);
	NODE_REQUIRE(node_run_until(self->net, &p.done, RUN_MS));
	NODE_REQUIRE(p.closed == 1 && p.why == NET_CLOSED_LOCAL && !p.bad);
	return finish(self);
}

/* The peer's bytes are under way in the other direction meanwhile: they must not turn our end into RST. */
static void a_close_does_not_cut_off_what_is_queued_while_the_peer_sends(void **state)
{
	(void)state;
	node_pair(serve, dial_counter, NULL, NULL);
}

/* Opens and ends connections from inside on_closed, each in another way. */
struct redialer {
	const struct node *self;
	unsigned round, connected;
	bool bad, done;
};

static void redial(struct redialer *r);

static void redial_connected(void *arg, struct net_conn *c)
{
	struct redialer *r = arg;

	r->connected++;
	if (r->round % 3 == 0)
		net_abort(c);
	if (r->round % 3 == 1)
		net_close(c);
}

static void redial_data(void *arg, struct net_conn *c, const uint8_t *b, size_t sz)
{
	struct redialer *r = arg;

	(void)b;
	if (r->round % 3 != 2)
		r->bad = true;
	/* Not consumed: what is lent must not turn up as a wrong window or a leak. */
	if (sz > 100)
		net_abort(c);
}

static void redial_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct redialer *r = arg;

	(void)c;
	if (why != NET_CLOSED_LOCAL)
		r->bad = true;
	r->round++;
	redial(r);
}

static void redial(struct redialer *r)
{
	static const struct net_conn_ops ops = {
		.on_connected = redial_connected, .on_data = redial_data, .on_closed = redial_closed};

	if (r->round == REDIALS)
		r->done = true;
	else if (dial(r->self, PORT_STREAM, &ops, r) == NULL)
		r->bad = r->done = true;
}

static int dial_again_and_again(const struct node *self)
{
	struct redialer r = {.self = self};

	NODE_REQUIRE(node_await(self, "listening", RUN_MS));
	redial(&r);
	NODE_REQUIRE(node_run_until(self->net, &r.done, RUN_MS));
	NODE_REQUIRE(!r.bad && r.connected == REDIALS);
	return finish(self);
}

static void connections_are_ended_and_redialled_from_callbacks(void **state)
{
	(void)state;
	node_pair(serve, dial_again_and_again, NULL, NULL);
}

/* ---- alone on the wire ---- */

static bool open_alone(struct net **n)
{
	const struct net_config cfg = {.ip4 = {10, 9, 8, 2}, .prefix_len = 24};
	const char *why;

	if (net_open(n, &cfg, &why) == 0)
		return true;
	fprintf(stderr, "%s\n", why);
	return false;
}

static int wait_in_vain(const struct node *self)
{
	static const struct net_conn_ops ops = {.on_connected = count_connected, .on_closed = count_closed};
	struct net_addr to;
	struct net *n;
	struct peer p = {0};
	uint64_t start = node_now_ns(), t = start;

	(void)self;
	NODE_REQUIRE(open_alone(&n));
	node_server_addr(&to);
	NODE_REQUIRE(net_connect(n, &to, &ops, &p) != NULL);
	/* The clock is the one given to net_poll. */
	for (; !p.done && t < start + UINT64_C(60000000000); t += 5000000)
		net_poll(n, t);
	NODE_REQUIRE(p.done && p.connected == 0 && p.closed == 1 && p.why == NET_CLOSED_TIMEOUT);
	NODE_REQUIRE(t - start > UINT64_C(9000000000) && t - start < UINT64_C(11000000000));
	net_free(n);
	return 0;
}

static void a_peer_that_never_answers_times_out_in_ten_seconds(void **state)
{
	(void)state;
	node_alone(wait_in_vain, "net_null0,no-rx=1");
}

static int dial_the_impossible(const struct node *self)
{
	static const char *const no[] = {
		"[::1]:8333",        "[2001:db8::1]:8333", "10.9.8.2:8333", "127.0.0.1:8333", "10.9.8.255:8333",
		"255.255.255.255:1", "224.0.0.1:8333",     "0.0.0.0:8333",  "10.9.9.1:8333",  "8.8.8.8:8333"};
	static const struct net_conn_ops ops = {.on_closed = count_closed};
	struct net_addr to;
	struct net *n;
	struct peer p = {0};

	(void)self;
	NODE_REQUIRE(open_alone(&n));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		NODE_REQUIRE(net_addr_parse(&to, no[i], 0));
		if (net_connect(n, &to, &ops, &p) != NULL) {
			fprintf(stderr, "dialled %s\n", no[i]);
			return 1;
		}
	}
	node_server_addr(&to);
	to.port = 0;
	NODE_REQUIRE(net_connect(n, &to, &ops, &p) == NULL);
	NODE_REQUIRE(p.closed == 0);
	net_free(n);
	NODE_REQUIRE(p.closed == 0);
	return 0;
}

static void what_cannot_be_reached_is_not_dialled(void **state)
{
	(void)state;
	node_alone(dial_the_impossible, "net_null0,no-rx=1");
}

static int dial_too_many(const struct node *self)
{
	static const struct net_conn_ops ops = {.on_closed = count_closed};
	struct net_addr to;
	struct net *n;
	struct peer p = {0};
	unsigned made = 0;

	(void)self;
	for (unsigned round = 0; round < 2; round++) {
		p = (struct peer){0};
		NODE_REQUIRE(open_alone(&n));
		node_server_addr(&to);
		for (made = 0; made < 5000 && net_connect(n, &to, &ops, &p) != NULL; made++)
			;
		NODE_REQUIRE(made >= 64 && made <= 1024);
		/* Each is told of its end when the net goes, and the process can open another. */
		net_free(n);
		NODE_REQUIRE(p.closed == made && p.why == NET_CLOSED_LOCAL && !p.bad);
	}
	return 0;
}

static void connections_are_bounded_and_all_told_of_the_end(void **state)
{
	(void)state;
	node_alone(dial_too_many, "net_null0,no-rx=1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refused_connection_is_told_as_reset),
		cmocka_unit_test(a_listener_can_refuse),
		cmocka_unit_test(an_abort_inside_on_data_resets_the_peer),
		cmocka_unit_test(what_was_queued_before_close_arrives),
		cmocka_unit_test(a_close_does_not_cut_off_what_is_queued_while_the_peer_sends),
		cmocka_unit_test(connections_are_ended_and_redialled_from_callbacks),
		cmocka_unit_test(a_peer_that_never_answers_times_out_in_ten_seconds),
		cmocka_unit_test(what_cannot_be_reached_is_not_dialled),
		cmocka_unit_test(connections_are_bounded_and_all_told_of_the_end),
	};

	return cmocka_run_group_tests_name("net/close", tests, NULL, NULL);
}
