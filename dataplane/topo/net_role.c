#include "topo/net_role.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <sys/random.h>
#include <rte_debug.h>
#include <rte_ring_elem.h>
#include "scan/pool.h"
#include "topo/link_priv.h"

#define CMD_CNT          256u
#define DONE_CNT         4096u
#define NOTE_CNT         1024u
#define NOTE_RESERVED    64u /* slots that peer and chain news leave free for answers */
#define STAT_MAX         256u
#define PEER_NEWS_NS     (10ull * 1000000000u)
#define CHAIN_NEWS_NS    100000000ull
#define BASE_HEADERS_MAX 2016u

struct net_role {
	struct net *net;
	struct sync *sync;
	struct scan *scan;
	struct block_pool *pool;
	struct rte_ring *cmds, *notes, *dones;
	uint32_t peer_cnt;

	bool session; /* between START and STOP */
	bool resume;
	bool stopping;
	bool have_event; /* event is waiting for room in the scan */
	struct scan_event event;
	uint32_t outstanding; /* events handed to the scan and not yet back */

	/* Blocks that are arriving, by the slots of their buffers: those of which more has come in this turn, and
	   those given up while the scan was still reading them. */
	uint64_t grown, leaving;
	uint32_t present[SCAN_ARRIVE_MAX];
	struct block_buf *arriving[SCAN_ARRIVE_MAX];

	bool peer_dirty[PEER_MAX];
	uint64_t peer_news_ns, chain_news_ns;
	struct sync_chain_view chain_sent;
	bool chain_ever_sent;
	bool addr_taken;
	uint64_t notes_dropped;
	uint64_t now_ns;
	bool handed; /* something to another lcore, in this turn */
};

static int64_t wall_time(void *arg)
{
	(void)arg;
	return (int64_t)time(NULL);
}

/* --- sync's side of the transport ---------------------------------------------------------------------- */

struct conn_arg {
	struct net_role *r;
	uint32_t conn_id;
};
static_assert(PEER_MAX <= SYNC_PEER_MAX, "every peer that can be named can be added");
static struct conn_arg conn_args[SYNC_CONN_MAX];

static void on_connected(void *arg, struct net_conn *c)
{
	struct conn_arg *a = arg;

	(void)c;
	sync_connected(a->r->sync, a->conn_id, a->r->now_ns);
}

static void on_data(void *arg, struct net_conn *c, const uint8_t *p, size_t sz)
{
	struct conn_arg *a = arg;

	/* sync takes every byte into buffers that it reserved, so the window opens again at once; what bounds
	   it is the number of blocks asked for.  Given back first: sync may end the connection. */
	net_consumed(c, sz);
	sync_data(a->r->sync, a->conn_id, p, sz, net_rx_ns(a->r->net));
}

static void on_sendable(void *arg, struct net_conn *c)
{
	struct conn_arg *a = arg;

	(void)c;
	sync_sendable(a->r->sync, a->conn_id, a->r->now_ns);
}

static void on_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct conn_arg *a = arg;

	(void)c;
	sync_closed(a->r->sync, a->conn_id, why, a->r->now_ns);
}

static void *op_dial(void *arg, uint32_t conn_id, const struct net_addr *to)
{
	static const struct net_conn_ops ops = {on_connected, on_data, on_sendable, on_closed};
	struct net_role *r = arg;

	conn_args[conn_id] = (struct conn_arg){r, conn_id};
	return net_connect(r->net, to, &ops, &conn_args[conn_id]);
}

static size_t op_send_room(void *arg, void *conn)
{
	(void)arg;
	return net_send_room(conn);
}

static size_t op_send(void *arg, void *conn, const void *p, size_t sz)
{
	(void)arg;
	return net_send(conn, p, sz);
}

static void op_hang_up(void *arg, void *conn)
{
	(void)arg;
	net_abort(conn);
}

static struct block_buf *op_buf_get(void *arg)
{
	return block_pool_get(((struct net_role *)arg)->pool);
}

/* A block that is given up half way: its buffer is nobody's until the scan has taken its hands off it. */
static void op_buf_put(void *arg, struct block_buf *b)
{
	struct net_role *r = arg;

	/* Else what is told of it would be told of the next block in it. */
	if (b->slot < SCAN_ARRIVE_MAX)
		r->grown &= ~(UINT64_C(1) << b->slot);
	if (scan_arrive_stop(r->scan, b)) {
		block_pool_put(r->pool, b);
		return;
	}
	r->leaving |= UINT64_C(1) << b->slot;
	r->arriving[b->slot] = b;
}

static void op_block_begins(void *arg, struct block_buf *b, uint32_t sz, uint32_t height)
{
	scan_arrive(((struct net_role *)arg)->scan, b, sz, HEADER_SZ, height);
}

static void op_block_grows(void *arg, struct block_buf *b, uint32_t present)
{
	struct net_role *r = arg;

	if (b->slot >= SCAN_ARRIVE_MAX)
		return;
	r->grown |= UINT64_C(1) << b->slot;
	r->present[b->slot] = present;
	r->arriving[b->slot] = b;
}

/* Once for each burst of packets. */
static void tell_grown(struct net_role *r)
{
	r->handed |= r->grown != 0;
	for (; r->grown != 0; r->grown &= r->grown - 1) {
		int i = __builtin_ctzll(r->grown);

		scan_arrived(r->scan, r->arriving[i], r->present[i]);
	}
}

static void take_leaving(struct net_role *r)
{
	for (uint64_t left = r->leaving; left != 0; left &= left - 1) {
		int i = __builtin_ctzll(left);

		if (!scan_arrive_stop(r->scan, r->arriving[i]))
			continue;
		r->leaving &= ~(UINT64_C(1) << i);
		block_pool_put(r->pool, r->arriving[i]);
	}
}

static void op_peer_changed(void *arg, uint32_t peer_id)
{
	((struct net_role *)arg)->peer_dirty[peer_id] = true;
}

/* --- notes to the main lcore --------------------------------------------------------------------------- */

static bool note(struct net_role *r, struct net_note *n, unsigned leave_free)
{
	if (rte_ring_free_count(r->notes) <= leave_free)
		return false;
	if (rte_ring_sp_enqueue_elem(r->notes, n, sizeof(*n)) != 0)
		return false;
	r->handed = true;
	return true;
}

static void op_broadcast_result(void *arg, const struct sync_bcast_result *b)
{
	struct net_role *r = arg;
	struct net_note n = {.kind = NET_NOTE_BROADCAST};

	n.u.broadcast = (struct link_broadcast_result){.cookie = b->cookie,
						       .txid = b->txid,
						       .status = b->status,
						       .peer_cnt = b->peer_cnt,
						       .at_ns = b->at_ns,
						       .peers = b->peers};
	/* Only news: control repeats a broadcast that it hears nothing of. */
	if (!note(r, &n, NOTE_RESERVED))
		r->notes_dropped++;
}

static bool op_stale_news(void *arg, const struct sync_stale_news *s)
{
	struct net_note n;

	if (s->kind == SYNC_STALE_END) {
		n = (struct net_note){.kind = NET_NOTE_STALE_END};
		n.u.stale_end = (struct link_stale_end_record){.cookie = s->cookie,
							       .result = LINK_STALE_DONE,
							       .scanned = s->scanned,
							       .missing = s->missing,
							       .cut = s->cut};
	} else {
		n = (struct net_note){.kind = NET_NOTE_STALE_MISSING};
		n.u.stale = (struct link_stale_block){
			.hash = s->hash, .status = LINK_STALE_MISSING, .height = s->height};
	}
	return note(arg, &n, 1);
}

static void text_copy(char *out, size_t out_sz, const char *in)
{
	snprintf(out, out_sz, "%s", in != NULL ? in : "");
}

static bool note_peer(struct net_role *r, uint32_t id)
{
	struct net_note n = {.kind = NET_NOTE_PEER};
	struct link_peer_state *p = &n.u.peer;
	struct sync_peer_view v;
	char addr[NET_ADDR_TEXT_SZ];

	sync_peer_view(r->sync, id, &v);
	net_addr_format(addr, &v.addr);
	p->peer_id = id;
	p->flags = (v.ready ? LINK_PEER_READY : 0u) | (v.pruned ? LINK_PEER_PRUNED : 0u) |
		   (v.lagging ? LINK_PEER_LAGGING : 0u) | (v.push_ready ? LINK_PEER_PUSH_READY : 0u);
	text_copy(p->addr, sizeof(p->addr), addr);
	text_copy(p->state, sizeof(p->state), v.state);
	text_copy(p->user_agent, sizeof(p->user_agent), v.user_agent);
	text_copy(p->last_error, sizeof(p->last_error), v.last_error);
	p->services = v.services;
	p->bytes_in = v.bytes_in;
	p->bytes_out = v.bytes_out;
	p->version = v.version;
	p->height = v.height;
	p->ping_us = v.ping_us;
	p->blocks = v.blocks;
	p->connects = v.connects;
	p->drops = v.drops;
	p->speed = v.speed;
	p->bans = v.bans;
	p->ban_s = v.ban_s;
	text_copy(p->ban_reason, sizeof(p->ban_reason), v.ban_reason);
	text_copy(p->push_last_error, sizeof(p->push_last_error), v.push_last_error);
	p->push_connects = v.push_connects;
	p->push_drops = v.push_drops;
	return note(r, &n, NOTE_RESERVED);
}

static void note_chain(struct net_role *r)
{
	struct net_note n = {.kind = NET_NOTE_CHAIN};
	struct sync_chain_view v;

	sync_chain_view(r->sync, &v);
	if (r->chain_ever_sent && hash256_eq(&v.best_hash, &r->chain_sent.best_hash) &&
	    v.handed_out_height == r->chain_sent.handed_out_height && v.synced == r->chain_sent.synced &&
	    v.ready_peers == r->chain_sent.ready_peers)
		return;
	n.u.chain = (struct link_chain_state){
		.best_header = v.best_hash,
		.best_header_height = v.best_height,
		.scanned_height = v.handed_out_height,
		.synced = v.synced,
		.ready_peer_cnt = v.ready_peers,
	};
	if (note(r, &n, NOTE_RESERVED)) {
		r->chain_sent = v;
		r->chain_ever_sent = true;
	}
}

/* An operator's mistake that nothing else would name: peers would only be out of reach. */
static void tell_addr_taken(struct net_role *r)
{
	bool taken = net_ip6_taken(r->net);

	if (taken && !r->addr_taken)
		link_log("error", "address_taken",
			 "another host on the link has our IPv6 address; not used until it is free");
	else if (!taken && r->addr_taken)
		link_log("info", "address_free", "our IPv6 address is free now, and used");
	r->addr_taken = taken;
}

static void publish(struct net_role *r)
{
	bool all = r->now_ns - r->peer_news_ns >= PEER_NEWS_NS;

	if (!r->session)
		return;
	if (all)
		r->peer_news_ns = r->now_ns;
	for (uint32_t i = 0; i < r->peer_cnt; i++)
		if ((all || r->peer_dirty[i]) && note_peer(r, i))
			r->peer_dirty[i] = false;
	if (r->now_ns - r->chain_news_ns >= CHAIN_NEWS_NS) {
		r->chain_news_ns = r->now_ns;
		note_chain(r);
		tell_addr_taken(r);
	}
}

struct stat_list {
	struct link_stat *s;
	uint32_t cnt;
};

static void stat_add(void *arg, const char *name, uint64_t value)
{
	struct stat_list *l = arg;

	if (l->cnt == STAT_MAX)
		return;
	snprintf(l->s[l->cnt].name, sizeof(l->s[l->cnt].name), "%s", name);
	l->s[l->cnt++].value = value;
}

static void net_counters(const struct net_role *r, struct stat_list *l)
{
	struct net_stats n;
	char name[56];

	net_stats_get(r->net, &n);
	stat_add(l, "net_rx_frames_total", n.rx_frames);
	stat_add(l, "net_rx_bytes_total", n.rx_bytes);
	stat_add(l, "net_tx_frames_total", n.tx_frames);
	stat_add(l, "net_tx_bytes_total", n.tx_bytes);
	stat_add(l, "net_rx_missed_total", n.rx_missed);
	stat_add(l, "net_rx_errors_total", n.rx_errors);
	stat_add(l, "net_rx_nombuf_total", n.rx_nombuf);
	stat_add(l, "net_tx_dropped_total", n.tx_dropped);
	stat_add(l, "net_addr_conflicts_total", n.addr_conflicts);
	stat_add(l, "net_conns_opened_total", n.conns_opened);
	for (int i = 0; i < NET_CLOSE_REASON_CNT; i++) {
		snprintf(name, sizeof(name), "net_conns_closed_%s_total",
			 net_close_reason_name((enum net_close_reason)i));
		stat_add(l, name, n.conns_closed[i]);
	}
	stat_add(l, "block_buffers_free", block_pool_free_cnt(r->pool));
	stat_add(l, "block_buffers", block_pool_cnt(r->pool));
	stat_add(l, "link_notes_dropped_total", r->notes_dropped);
}

static bool note_stats(struct net_role *r, uint64_t cookie)
{
	struct stat_list l = {.s = calloc(STAT_MAX, sizeof(struct link_stat))};
	struct net_note n = {.kind = NET_NOTE_STATS, .cookie = cookie};

	if (l.s == NULL)
		return true; /* no answer; the asker's deadline tells */
	net_counters(r, &l);
	sync_each_counter(r->sync, stat_add, &l);
	n.data = (uint8_t *)l.s;
	n.stat_cnt = l.cnt;
	if (!note(r, &n, 1)) {
		free(l.s);
		r->notes_dropped++;
	}
	return true;
}

/* --- commands from the main lcore ---------------------------------------------------------------------- */

static void command(struct net_role *r, struct net_cmd *c)
{
	struct net_note failed = {.kind = NET_NOTE_START_FAILED}, refused = {.kind = NET_NOTE_STALE_END};
	int rc;

	switch (c->kind) {
	case NET_CMD_START:
		c->start.headers = c->data;
		r->resume = c->start.resume;
		r->session = sync_session_start(r->sync, &c->start, r->now_ns) == 0;
		r->chain_ever_sent = false;
		r->peer_news_ns = r->now_ns;
		memset(r->peer_dirty, true, sizeof(r->peer_dirty));
		if (!r->session)
			note(r, &failed, 1);
		free(c->data);
		return;
	case NET_CMD_STOP:
		if (r->session)
			sync_session_stop(r->sync);
		r->session = false;
		r->stopping = true;
		return;
	case NET_CMD_BROADCAST:
		if (r->session)
			sync_broadcast(r->sync, c->cookie, &c->txid, c->data, c->data_sz, r->now_ns);
		free(c->data);
		return;
	case NET_CMD_STATS:
		note_stats(r, c->cookie);
		return;
	case NET_CMD_STALE:
		rc = r->session ? sync_stale_scan(r->sync, c->cookie, &c->txid, r->now_ns) : -EAGAIN;
		refused.u.stale_end = (struct link_stale_end_record){
			.cookie = c->cookie, .result = rc == -EBUSY ? LINK_STALE_BUSY : LINK_STALE_NO_CHAIN};
		if (rc != 0 && !note(r, &refused, 1))
			r->notes_dropped++; /* the asker's deadline tells */
		return;
	}
}

static bool commands(struct net_role *r)
{
	struct net_cmd c;
	unsigned cnt = 0;

	while (cnt < 16 && rte_ring_sc_dequeue_elem(r->cmds, &c, sizeof(c)) == 0) {
		command(r, &c);
		cnt++;
	}
	return cnt > 0;
}

/* --- events to the scan, verdicts back ----------------------------------------------------------------- */

static void start_headers(struct net_role *r)
{
	struct scan_event *e = &r->event;

	if (r->resume)
		return;
	e->headers = malloc((size_t)BASE_HEADERS_MAX * HEADER_SZ);
	if (e->headers == NULL)
		rte_panic("topo: out of memory for the start headers\n");
	e->header_cnt = sync_base_headers(r->sync, e->headers, BASE_HEADERS_MAX);
}

static bool hand_out(struct net_role *r)
{
	bool worked = false;

	while (r->session || r->have_event) {
		if (!r->have_event) {
			memset(&r->event, 0, sizeof(r->event));
			if (!sync_next(r->sync, &r->event.ev))
				break;
			r->have_event = true;
			if (r->event.ev.kind == CHAIN_START)
				start_headers(r);
		}
		if (!scan_submit(r->scan, &r->event))
			break;
		r->have_event = false;
		r->outstanding++;
		r->handed = worked = true;
	}
	return worked;
}

static bool take_back(struct net_role *r)
{
	struct net_done d;
	bool worked = false;

	while (rte_ring_sc_dequeue_elem(r->dones, &d, sizeof(d)) == 0) {
		r->outstanding--;
		if (d.ev.buf != NULL)
			sync_block_done(r->sync, &d.ev, d.verdict, r->now_ns);
		worked = true;
	}
	return worked;
}

/* The session has ended: an event not yet handed over never will be. */
static void stop_finish(struct net_role *r)
{
	struct net_note n = {.kind = NET_NOTE_STOPPED};

	if (r->have_event) {
		if (r->event.ev.buf != NULL)
			sync_block_done(r->sync, &r->event.ev, BLOCK_CANCELLED, r->now_ns);
		free(r->event.headers);
		r->have_event = false;
	}
	if (r->outstanding == 0 && r->leaving == 0 && note(r, &n, 0))
		r->stopping = false;
}

bool net_role_poll(struct net_role *r, uint64_t now_ns, bool *handed)
{
	bool worked;

	r->now_ns = now_ns;
	r->handed = false;
	worked = net_poll(r->net, now_ns) > 0;
	tell_grown(r);
	take_leaving(r);
	worked |= commands(r);
	worked |= take_back(r);
	if (r->stopping)
		stop_finish(r);
	sync_tick(r->sync, now_ns); /* that timers were looked at is no reason to stay awake */
	worked |= hand_out(r);
	publish(r);
	*handed |= r->handed;
	return worked;
}

/* --- from the main lcore ------------------------------------------------------------------------------- */

bool net_role_command(struct net_role *r, const struct net_cmd *c)
{
	return rte_ring_sp_enqueue_elem(r->cmds, (void *)(uintptr_t)c, sizeof(*c)) == 0;
}

void net_role_done(struct net_role *r, const struct net_done *d)
{
	/* The ring holds more than the scan's rings together. */
	if (rte_ring_sp_enqueue_elem(r->dones, (void *)(uintptr_t)d, sizeof(*d)) != 0)
		rte_panic("topo: more events came back than can be on their way\n");
}

bool net_role_note(struct net_role *r, struct net_note *n)
{
	return rte_ring_sc_dequeue_elem(r->notes, n, sizeof(*n)) == 0;
}

static struct rte_ring *ring(const char *name, unsigned elem_sz, unsigned cnt)
{
	return rte_ring_create_elem(name, elem_sz, cnt, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

struct net_role *net_role_new(const struct options *o, struct scan *scan, const char **why)
{
	static const struct sync_ops ops = {.dial = op_dial,
					    .send_room = op_send_room,
					    .send = op_send,
					    .hang_up = op_hang_up,
					    .buf_get = op_buf_get,
					    .buf_put = op_buf_put,
					    .block_begins = op_block_begins,
					    .block_grows = op_block_grows,
					    .peer_changed = op_peer_changed,
					    .broadcast_result = op_broadcast_result,
					    .stale_news = op_stale_news};
	struct net_role *r = calloc(1, sizeof(*r));
	struct sync_config sc = {
		.network = o->network,
		.recent_blocks = o->recent_blocks,
		.inflight_per_peer = o->inflight,
		.stripped = o->stripped,
		.min_chain_work = o->has_min_chain_work ? &o->min_chain_work : NULL,
		.ban_s = o->ban_s,
		.wall_time = wall_time,
	};

	*why = "out of memory";
	if (r == NULL || getrandom(&sc.nonce_seed, sizeof(sc.nonce_seed), 0) != sizeof(sc.nonce_seed)) {
		free(r);
		return NULL;
	}
	r->scan = scan;
	r->cmds = ring("net_cmds", sizeof(struct net_cmd), CMD_CNT);
	r->notes = ring("net_notes", sizeof(struct net_note), NOTE_CNT);
	r->dones = ring("net_dones", sizeof(struct net_done), DONE_CNT);
	r->pool = block_pool_new(o->block_bufs);
	r->sync = sync_new(&sc, &ops, r);
	if (r->cmds == NULL || r->notes == NULL || r->dones == NULL || r->pool == NULL || r->sync == NULL)
		goto fail;
	if (net_open(&r->net, &o->net, why) != 0)
		goto fail;
	*why = "out of memory";
	for (uint32_t i = 0; i < o->peer_cnt; i++)
		if (sync_add_peer(r->sync, &o->peer[i]) == UINT32_MAX)
			goto fail;
	r->peer_cnt = o->peer_cnt;
	return r;
fail:
	net_role_free(r);
	return NULL;
}

void net_role_free(struct net_role *r)
{
	struct net_cmd c;
	struct net_note n;

	if (r == NULL)
		return;
	while (r->cmds != NULL && rte_ring_sc_dequeue_elem(r->cmds, &c, sizeof(c)) == 0)
		free(c.data);
	while (r->notes != NULL && rte_ring_sc_dequeue_elem(r->notes, &n, sizeof(n)) == 0)
		free(n.data);
	if (r->net != NULL)
		net_free(r->net);
	if (r->sync != NULL)
		sync_free(r->sync);
	block_pool_free(r->pool);
	rte_ring_free(r->cmds);
	rte_ring_free(r->notes);
	rte_ring_free(r->dones);
	free(r);
}
