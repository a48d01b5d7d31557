/* Two processes, each with lwIP of its own, joined by a memif: no privilege, no huge pages. */
#include "node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	STREAM_MAX = 8,
	RUN_MS = 30000,
	UP = 1, /* added to a stream's number: client to server */
	DOWN = 1000,
};

static const uint64_t transfer_sz = UINT64_C(24) << 20;

/* One end of a connection that sends total bytes, receives total bytes and closes. */
struct end {
	uint64_t stream_out, stream_in;
	uint64_t total;
	uint64_t sent, got;
	unsigned connected, closed;
	enum net_close_reason why;
	bool bad;
	struct world *w;
};

struct world {
	struct net *n;
	struct end end[STREAM_MAX];
	unsigned cnt, next, closed;
	bool server;
	bool done;
};

static void pump(struct end *e, struct net_conn *c)
{
	uint8_t buf[4096];

	while (e->sent < e->total) {
		size_t room = net_send_room(c);
		size_t sz = e->total - e->sent < sizeof(buf) ? e->total - e->sent : sizeof(buf);

		sz = sz < room ? sz : room;
		if (sz == 0)
			return;
		node_fill(buf, sz, e->stream_out, e->sent);
		sz = net_send(c, buf, sz);
		if (sz == 0)
			return;
		e->sent += sz;
	}
}

static void end_connected(void *arg, struct net_conn *c)
{
	struct end *e = arg;

	e->connected++;
	pump(e, c);
}

static void end_data(void *arg, struct net_conn *c, const uint8_t *p, size_t sz)
{
	struct end *e = arg;

	if (e->closed != 0 || e->connected != 1 || !node_check(p, sz, e->stream_in, e->got))
		e->bad = true;
	e->got += sz;
	net_consumed(c, sz);
	if (!e->w->server && e->got == e->total && e->sent == e->total)
		net_close(c);
}

static void end_sendable(void *arg, struct net_conn *c)
{
	struct end *e = arg;

	pump(e, c);
	if (!e->w->server && e->got == e->total && e->sent == e->total)
		net_close(c);
}

static void end_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct end *e = arg;

	(void)c;
	e->closed++;
	e->why = why;
	if (++e->w->closed == e->w->cnt)
		e->w->done = true;
}

static const struct net_conn_ops end_ops = {end_connected, end_data, end_sendable, end_closed};

/* Streams are told apart by the order of accepting, so each is connected once the one before is. */
static void *end_accept(void *arg, const struct net_addr *from)
{
	struct world *w = arg;

	(void)from;
	return w->next < w->cnt ? &w->end[w->next++] : NULL;
}

static void world_init(struct world *w, const struct node *self, unsigned cnt, uint64_t total)
{
	memset(w, 0, sizeof(*w));
	w->n = self->net;
	w->server = self->server;
	w->cnt = cnt;
	for (unsigned i = 0; i < cnt; i++)
		w->end[i] = (struct end){.stream_out = i + (self->server ? DOWN : UP),
					 .stream_in = i + (self->server ? UP : DOWN),
					 .total = total,
					 .w = w};
}

static int world_verify(const struct world *w, enum net_close_reason why)
{
	for (unsigned i = 0; i < w->cnt; i++) {
		const struct end *e = &w->end[i];

		NODE_REQUIRE(!e->bad);
		NODE_REQUIRE(e->connected == 1);
		NODE_REQUIRE(e->closed == 1);
		NODE_REQUIRE(e->why == why);
		NODE_REQUIRE(e->sent == e->total);
		NODE_REQUIRE(e->got == e->total);
	}
	return 0;
}

static int serve_streams(const struct node *self, unsigned cnt, uint64_t total)
{
	static struct world w;

	world_init(&w, self, cnt, total);
	NODE_REQUIRE(net_listen(self->net, NODE_PORT, &end_ops, end_accept, &w) == 0);
	NODE_REQUIRE(node_run_until(self->net, &w.done, RUN_MS));
	return world_verify(&w, NET_CLOSED_REMOTE);
}

static int dial_streams(const struct node *self, unsigned cnt, uint64_t total)
{
	static struct world w;
	struct net_addr to;
	uint64_t start = node_now_ns();

	node_server_addr(&to);
	world_init(&w, self, cnt, total);
	for (unsigned i = 0; i < cnt; i++) {
		NODE_REQUIRE(net_connect(self->net, &to, &end_ops, &w.end[i]) != NULL);
		while (w.end[i].connected == 0) {
			const bool never = false;

			node_run_until(self->net, &never, 1);
			NODE_REQUIRE(node_now_ns() - start < UINT64_C(1000000) * RUN_MS);
		}
	}
	NODE_REQUIRE(node_run_until(self->net, &w.done, RUN_MS));
	return world_verify(&w, NET_CLOSED_LOCAL);
}

static int serve_one(const struct node *self)
{
	return serve_streams(self, 1, transfer_sz);
}

static int dial_one(const struct node *self)
{
	uint64_t start = node_now_ns();
	int rc = dial_streams(self, 1, transfer_sz);
	struct net_stats s;

	net_stats_get(self->net, &s);
	printf("# %.1f Gbit/s both ways together, content made and checked; %lu frames in, %lu "
	       "out\n",
	       (double)transfer_sz * 16 / (double)(node_now_ns() - start), s.rx_frames,
	       s.tx_frames);
	fflush(stdout);
	return rc;
}

static void one_connection_carries_bytes_both_ways_unchanged(void **state)
{
	(void)state;
	node_pair(serve_one, dial_one, NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_connection_carries_bytes_both_ways_unchanged),
	};

	return cmocka_run_group_tests_name("net/memif", tests, NULL, NULL);
}
