/* Two processes, each with lwIP of its own, joined by a memif: no privilege, no huge pages. */
#include "net/net_internal.h"
#include "node.h"

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

enum {
	STREAM_MAX = 8,
	RUN_MS = 30000,
	UP = 1, /* added to a stream's number: client to server */
	DOWN = 1000,
	WINDOW = 2 * 65535,
	KILLS = 5,
};

static const uint64_t transfer_sz = UINT64_C(24) << 20;
static const uint64_t faulty_sz = UINT64_C(1) << 20;
static const uint64_t slow_sz = UINT64_C(1) << 20;

/* One end of a connection that sends total bytes, receives total bytes and closes (the client's end).  The
   first byte that a client sends is the number of its stream, so the order of accepting does not matter. */
struct end {
	uint64_t stream;
	uint64_t total;
	uint64_t sent, got;
	bool known; /* server: the stream's number has come */
	unsigned connected, closed;
	enum net_close_reason why;
	bool bad;
	struct world *w;
};

struct world {
	struct net *n;
	struct end end[STREAM_MAX];
	unsigned cnt, next, connected, closed;
	bool server;
	bool done;
};

static void pump(struct end *e, struct net_conn *c)
{
	uint8_t buf[4096];

	if (e->w->server && !e->known)
		return;
	while (e->sent < e->total) {
		size_t room = net_send_room(c);
		size_t sz = e->total - e->sent < sizeof(buf) ? e->total - e->sent : sizeof(buf);

		sz = sz < room ? sz : room;
		node_fill(buf, sz, e->stream + (e->w->server ? DOWN : UP), e->sent);
		if (!e->w->server && e->sent == 0)
			buf[0] = (uint8_t)e->stream;
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
	e->w->connected++;
	pump(e, c);
}

static void end_data(void *arg, struct net_conn *c, const uint8_t *p, size_t sz)
{
	struct end *e = arg;
	const size_t all = sz;

	if (e->closed != 0 || e->connected != 1)
		e->bad = true;
	if (e->w->server && !e->known) {
		e->stream = p[0];
		e->known = true;
		e->got = 1;
		p++;
		sz--;
		pump(e, c);
	}
	if (!node_check(p, sz, e->stream + (e->w->server ? UP : DOWN), e->got))
		e->bad = true;
	e->got += sz;
	net_consumed(c, all);
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
		w->end[i] = (struct end){.stream = i, .total = total, .w = w};
}

static int world_verify(const struct world *w, enum net_close_reason why)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < w->cnt; i++) {
		const struct end *e = &w->end[i];

		NODE_REQUIRE(!e->bad);
		NODE_REQUIRE(e->connected == 1);
		NODE_REQUIRE(e->closed == 1);
		NODE_REQUIRE(e->why == why);
		NODE_REQUIRE(e->sent == e->total);
		NODE_REQUIRE(e->got == e->total);
		seen |= 1u << e->stream;
	}
	NODE_REQUIRE(seen == (1u << w->cnt) - 1);
	return 0;
}

static int serve_streams(const struct node *self, unsigned cnt, uint64_t total)
{
	static struct world w;

	world_init(&w, self, cnt, total);
	NODE_REQUIRE(net_listen(self->net, NODE_PORT, &end_ops, end_accept, &w) == 0);
	NODE_REQUIRE(node_mark(self, "listening"));
	NODE_REQUIRE(node_run_until(self->net, &w.done, RUN_MS));
	/* The client may still wait for the acknowledgement of its last FIN. */
	node_run_for(self->net, 100);
	return world_verify(&w, NET_CLOSED_REMOTE);
}

static int dial_streams(const struct node *self, unsigned cnt, uint64_t total)
{
	static struct world w;
	struct net_addr to;

	node_server_addr(&to);
	world_init(&w, self, cnt, total);
	NODE_REQUIRE(node_await(self, "listening", RUN_MS));
	for (unsigned i = 0; i < cnt; i++)
		NODE_REQUIRE(net_connect(self->net, &to, &end_ops, &w.end[i]) != NULL);
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
	       (double)transfer_sz * 16 / (double)(node_now_ns() - start), s.rx_frames, s.tx_frames);
	fflush(stdout);
	return rc;
}

static void one_connection_carries_bytes_both_ways_unchanged(void **state)
{
	(void)state;
	node_pair(serve_one, dial_one, NULL, NULL);
}

static int serve_many(const struct node *self)
{
	return serve_streams(self, STREAM_MAX, transfer_sz / STREAM_MAX);
}

static int dial_many(const struct node *self)
{
	return dial_streams(self, STREAM_MAX, transfer_sz / STREAM_MAX);
}

static void several_connections_at_once_do_not_mix(void **state)
{
	(void)state;
	node_pair(serve_many, dial_many, NULL, NULL);
}

static int serve_faulty(const struct node *self)
{
	return serve_streams(self, 4, faulty_sz);
}

static int dial_faulty(const struct node *self)
{
	struct net_stats s;
	int rc = dial_streams(self, 4, faulty_sz);

	net_stats_get(self->net, &s);
	printf("# %lu frames in, %lu dropped, %lu delayed\n", s.rx_frames, s.faults_dropped,
	       s.faults_reordered);
	fflush(stdout);
	NODE_REQUIRE(s.faults_dropped + s.faults_reordered > 20);
	return rc;
}

static void a_hundredth_of_frames_lost_changes_no_byte(void **state)
{
	const struct net_config server = {.drop_rx_ppm = 5000, .drop_tx_ppm = 5000, .fault_seed = 7};
	const struct net_config client = {.drop_rx_ppm = 5000, .drop_tx_ppm = 5000, .fault_seed = 8};

	(void)state;
	node_pair(serve_faulty, dial_faulty, &server, &client);
}

static void reordered_frames_change_no_byte(void **state)
{
	const struct net_config server = {.reorder_rx_ppm = 50000, .fault_seed = 9};
	const struct net_config client = {.reorder_rx_ppm = 50000, .fault_seed = 10};

	(void)state;
	node_pair(serve_faulty, dial_faulty, &server, &client);
}

/* ---- back-pressure ---- */

struct slow {
	struct net_conn *c;
	uint64_t got, held;
	bool full; /* the whole window is used up */
	bool open; /* consume at once from now on */
	bool bad, done;
};

static void slow_data(void *arg, struct net_conn *c, const uint8_t *p, size_t sz)
{
	struct slow *s = arg;

	s->c = c;
	if (!node_check(p, sz, UP, s->got))
		s->bad = true;
	s->got += sz;
	if (s->open)
		net_consumed(c, sz);
	else
		s->held += sz;
	if (s->held > WINDOW - 1460)
		s->full = true;
}

static void slow_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct slow *s = arg;

	(void)c;
	if (why != NET_CLOSED_REMOTE)
		s->bad = true;
	s->done = true;
}

static void *slow_accept(void *arg, const struct net_addr *from)
{
	(void)from;
	return arg;
}

static int serve_slow(const struct node *self)
{
	static const struct net_conn_ops ops = {.on_data = slow_data, .on_closed = slow_closed};
	struct slow s = {0};

	NODE_REQUIRE(net_listen(self->net, NODE_PORT, &ops, slow_accept, &s) == 0);
	NODE_REQUIRE(node_mark(self, "listening"));
	NODE_REQUIRE(node_run_until(self->net, &s.full, RUN_MS));
	NODE_REQUIRE(node_await(self, "stopped", RUN_MS));
	NODE_REQUIRE(s.held <= WINDOW && s.got == s.held && !s.done);
	s.open = true;
	net_consumed(s.c, s.held);
	NODE_REQUIRE(node_run_until(self->net, &s.done, RUN_MS));
	NODE_REQUIRE(!s.bad && s.got == slow_sz);
	return 0;
}

struct pusher {
	uint64_t sent;
	bool done, bad;
};

static void push(void *arg, struct net_conn *c)
{
	struct pusher *u = arg;
	uint8_t buf[8192];

	while (u->sent < slow_sz) {
		size_t sz = slow_sz - u->sent < sizeof(buf) ? slow_sz - u->sent : sizeof(buf);

		node_fill(buf, sz, UP, u->sent);
		sz = net_send(c, buf, sz);
		if (sz == 0)
			return;
		u->sent += sz;
	}
	net_close(c);
}

static void push_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct pusher *u = arg;

	(void)c;
	u->bad = why != NET_CLOSED_LOCAL;
	u->done = true;
}

static int dial_slow(const struct node *self)
{
	static const struct net_conn_ops ops = {
		.on_connected = push, .on_sendable = push, .on_closed = push_closed};
	struct pusher u = {0};
	struct net_addr to;
	uint64_t before = 0;

	node_server_addr(&to);
	NODE_REQUIRE(node_await(self, "listening", RUN_MS));
	NODE_REQUIRE(net_connect(self->net, &to, &ops, &u) != NULL);
	for (unsigned i = 0; (u.sent == 0 || u.sent != before) && i < 20; i++) {
		before = u.sent;
		node_run_for(self->net, 1000);
	}
	printf("# the sender was stopped after %lu bytes\n", u.sent);
	fflush(stdout);
	/* The receiver's window and our own send buffer, and no more. */
	NODE_REQUIRE(u.sent >= WINDOW && u.sent <= 2 * WINDOW);
	NODE_REQUIRE(node_mark(self, "stopped"));
	NODE_REQUIRE(node_run_until(self->net, &u.done, RUN_MS));
	NODE_REQUIRE(!u.bad && u.sent == slow_sz);
	return 0;
}

static void a_receiver_that_stops_consuming_stops_the_sender(void **state)
{
	(void)state;
	node_pair(serve_slow, dial_slow, NULL, NULL);
}

/* ---- the other process is killed ---- */

struct torrent {
	struct net_conn *c;
	uint64_t enough, got, last_ns;
	bool satisfied, bad;
};

static void torrent_push(void *arg, struct net_conn *c)
{
	static uint8_t zeros[16384];

	(void)arg;
	while (net_send(c, zeros, sizeof(zeros)) == sizeof(zeros))
		;
}

static void torrent_data(void *arg, struct net_conn *c, const uint8_t *p, size_t sz)
{
	struct torrent *t = arg;

	(void)p;
	t->got += sz;
	t->last_ns = node_now_ns();
	t->satisfied = t->enough != 0 && t->got >= t->enough;
	net_consumed(c, sz);
}

static void torrent_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct torrent *t = arg;

	(void)why;
	if (t->c == c)
		t->c = NULL;
}

static const struct net_conn_ops torrent_ops = {.on_connected = torrent_push,
						.on_data = torrent_data,
						.on_sendable = torrent_push,
						.on_closed = torrent_closed};

static int torrent_serve(const struct node *self)
{
	static struct torrent t; /* told of the end by net_free(), after this function */

	NODE_REQUIRE(net_listen(self->net, NODE_PORT, &torrent_ops, slow_accept, &t) == 0);
	NODE_REQUIRE(node_mark(self, "listening"));
	node_run_for(self->net, 20);
	NODE_REQUIRE(node_mark(self, "busy"));
	NODE_REQUIRE(node_await(self, "done", RUN_MS));
	return 0;
}

/* Dials, and dials again when nothing has come for a while, until enough has come on one connection; a victim
   never has enough, so that it is killed in full flow. */
static int torrent_dial(const struct node *self, bool victim)
{
	static struct torrent t; /* as above */
	uint64_t start = node_now_ns();
	struct net_addr to;

	t = (struct torrent){.enough = victim ? UINT64_MAX : transfer_sz};
	node_server_addr(&to);
	NODE_REQUIRE(node_await(self, "listening", RUN_MS));
	while (!t.satisfied && node_now_ns() - start < UINT64_C(1000000) * RUN_MS) {
		if (t.c == NULL) {
			t.got = 0;
			t.last_ns = node_now_ns();
			t.c = net_connect(self->net, &to, &torrent_ops, &t);
			NODE_REQUIRE(t.c != NULL);
		} else if (node_now_ns() - t.last_ns > UINT64_C(400000000)) {
			net_abort(t.c);
		}
		if (victim && t.got > 1 << 20)
			NODE_REQUIRE(node_mark(self, "busy"));
		node_run_until(self->net, &t.satisfied, 5);
	}
	NODE_REQUIRE(t.satisfied);
	return node_mark(self, "done") ? 0 : 1;
}

static int torrent_last_dial(const struct node *self)
{
	return torrent_dial(self, false);
}

static int torrent_victim(const struct node *self)
{
	return torrent_dial(self, true);
}

static void clients_that_are_killed_leave_the_server_running(void **state)
{
	(void)state;
	node_survives(torrent_serve, true, torrent_victim, KILLS, torrent_last_dial);
}

static void servers_that_are_killed_are_found_again(void **state)
{
	(void)state;
	node_survives(torrent_last_dial, false, torrent_serve, KILLS, torrent_serve);
}

/* ---- what keeps a dying memif from taking us along ---- */

static atomic_bool unmapped;

static void *unmap(void *arg)
{
	munmap(arg, 4096);
	atomic_store(&unmapped, true);
	return NULL;
}

static void memory_is_not_unmapped_under_a_burst(void **state)
{
	volatile uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t other;
	Dl_info ours, theirs;

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	net_burst_begin();
	assert_int_equal(pthread_create(&other, NULL, unmap, (void *)(uintptr_t)p), 0);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	p[0] = 1; /* would be a fault */
	assert_false(atomic_load(&unmapped));
	net_burst_end();
	pthread_join(other, NULL);
	assert_true(atomic_load(&unmapped));
	/* And it is this munmap that drivers are bound to. */
	assert_int_not_equal(dladdr((void *)(uintptr_t)memory_is_not_unmapped_under_a_burst, &ours), 0);
	assert_int_not_equal(dladdr(dlsym(RTLD_DEFAULT, "munmap"), &theirs), 0);
	assert_ptr_equal(theirs.dli_fbase, ours.dli_fbase);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_connection_carries_bytes_both_ways_unchanged),
		cmocka_unit_test(several_connections_at_once_do_not_mix),
		cmocka_unit_test(a_hundredth_of_frames_lost_changes_no_byte),
		cmocka_unit_test(reordered_frames_change_no_byte),
		cmocka_unit_test(a_receiver_that_stops_consuming_stops_the_sender),
		cmocka_unit_test(clients_that_are_killed_leave_the_server_running),
		cmocka_unit_test(servers_that_are_killed_are_found_again),
		cmocka_unit_test(memory_is_not_unmapped_under_a_burst),
	};

	return cmocka_run_group_tests_name("net/memif", tests, NULL, NULL);
}
