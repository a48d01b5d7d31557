/* Connections: lwIP's raw API turned into net.h's.

   lwIP calls back from inside its own input and timer code, where a pcb must not be freed behind its back.
   So nothing that ends a connection happens there: what the caller asks for (send, close, abort) and what
   must be told (on_closed) is noted on the pending list, which net_poll works off when lwIP is not on the
   stack.  That also keeps callbacks of one connection from nesting. */
#include "net/net_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/priv/tcp_priv.h>
#include <sodium.h>

enum {
	LOCAL_PORT_FIRST = 49152,
	LOCAL_PORT_TRIES = 32,
	POLL_HALF_SECONDS = 2,
	KEEP_IDLE_MS = 60000,
	KEEP_INTERVAL_MS = 10000,
	KEEP_CNT = 5,
};

static void pend(struct net_conn *c)
{
	if (c->pending)
		return;
	c->pending = true;
	c->pending_next = NULL;
	*c->n->pending_tail = c;
	c->n->pending_tail = &c->pending_next;
}

static void set_deadline(struct net_conn *c, uint64_t ns)
{
	if (c->deadline_ns == 0 && ns != 0)
		c->n->deadline_cnt++;
	if (c->deadline_ns != 0 && ns == 0)
		c->n->deadline_cnt--;
	c->deadline_ns = ns;
}

static void die(struct net_conn *c, enum net_close_reason why)
{
	if (c->state == CONN_DEAD)
		return;
	set_deadline(c, 0);
	c->pcb = NULL;
	c->state = CONN_DEAD;
	c->reason = why;
	pend(c);
}

/* Gives the pcb to lwIP, which ends it by itself. */
static struct tcp_pcb *detach(struct net_conn *c)
{
	struct tcp_pcb *pcb = c->pcb;

	c->pcb = NULL;
	tcp_arg(pcb, NULL);
	tcp_recv(pcb, NULL);
	tcp_sent(pcb, NULL);
	tcp_err(pcb, NULL);
	tcp_poll(pcb, NULL, 0);
	return pcb;
}

/* lwIP is compiled with windows of 65535 bytes and a scale of 1.  That scale lets twice as much be announced, and
   twice as much may wait to be sent; only tcp_recved and tcp_close, which put the window back to the compiled
   one, and the macro that shows the send buffer in 16 bits stand in the way. */
static void widen(struct tcp_pcb *pcb)
{
	if ((pcb->flags & TF_WND_SCALE) == 0)
		return;
	pcb->rcv_wnd += NET_WND - TCP_WND;
	tcp_update_rcv_ann_wnd(pcb);
	pcb->snd_buf += NET_SND_BUF - TCP_SND_BUF;
}

static void give_back(struct net_conn *c, size_t sz)
{
	struct tcp_pcb *pcb = c->pcb;

	c->unconsumed -= sz;
	pcb->rcv_wnd += (tcpwnd_size_t)sz;
	if (tcp_update_rcv_ann_wnd(pcb) < TCP_WND_UPDATE_THRESHOLD)
		return;
	tcp_ack_now(pcb);
	tcp_output(pcb);
}

static void end_by_close(struct net_conn *c, enum net_close_reason why)
{
	/* lwIP answers with RST where the window was not given back in full. */
	give_back(c, c->unconsumed);
	c->pcb->rcv_wnd = TCP_WND_MAX(c->pcb); /* what it takes for that */
	tcp_close(detach(c));
	die(c, why);
}

static void end_by_abort(struct net_conn *c, enum net_close_reason why)
{
	tcp_abort(detach(c));
	die(c, why);
}

/* ---- called by lwIP ---- */

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	struct net_conn *c = arg;

	(void)pcb;
	(void)err;
	if (p == NULL) {
		end_by_close(c, c->state == CONN_LINGER || c->close_wanted || c->abort_wanted
					? NET_CLOSED_LOCAL
					: NET_CLOSED_REMOTE);
		return ERR_OK;
	}
	for (const struct pbuf *q = p; q != NULL; q = q->next) {
		c->unconsumed += q->len;
		if (c->state == CONN_OPEN && !c->close_wanted && !c->abort_wanted)
			c->ops->on_data(c->arg, c, q->payload, q->len);
		else
			give_back(c, q->len);
	}
	pbuf_free(p);
	return ERR_OK;
}

static void tell_sendable(struct net_conn *c)
{
	if (c->state == CONN_OPEN && !c->close_wanted && !c->abort_wanted && net_send_room(c) > 0 &&
	    c->ops->on_sendable != NULL)
		c->ops->on_sendable(c->arg, c);
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t sz)
{
	(void)pcb;
	(void)sz;
	tell_sendable(arg);
	return ERR_OK;
}

/* Without anything in flight no acknowledgement will tell that there is room again. */
static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
	struct net_conn *c = arg;

	if (c->send_short && pcb->unacked == NULL)
		tell_sendable(c);
	return ERR_OK;
}

static void on_err(void *arg, err_t err)
{
	struct net_conn *c = arg;
	enum net_close_reason why = NET_CLOSED_RESET;

	if (err == ERR_CLSD)
		why = NET_CLOSED_REMOTE;
	else if (err == ERR_ABRT)
		why = NET_CLOSED_TIMEOUT; /* lwIP gave up; our own aborts detach first */
	else if (err == ERR_MEM)
		why = NET_CLOSED_NOMEM;
	if (c->state == CONN_LINGER || c->close_wanted || c->abort_wanted)
		why = NET_CLOSED_LOCAL;
	die(c, why);
}

/* Nothing has been sent yet.  lwip_override.c lets the other side send longer segments than lwIP's own, which
   lwIP then takes for ours as well. */
static void bound_segments(struct tcp_pcb *pcb, const struct net *n)
{
	uint16_t most = TCP_MSS;

	if (IP_IS_V6_VAL(pcb->remote_ip) &&
	    !net_ip6_on_link(&n->own, (const uint8_t *)ip_2_ip6(&pcb->remote_ip)->addr))
		most = NET_MTU6_MIN - IP6_HLEN - TCP_HLEN;
	if (pcb->mss > most)
		pcb->mss = most;
}

static err_t on_connect(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct net_conn *c = arg;

	(void)err; /* always ERR_OK: failures come through on_err */
	bound_segments(pcb, c->n);
	if (c->close_wanted || c->abort_wanted)
		return ERR_OK;
	set_deadline(c, 0);
	widen(pcb);
	c->state = CONN_OPEN;
	c->n->stats.conns_opened++;
	if (c->ops->on_connected != NULL)
		c->ops->on_connected(c->arg, c);
	return ERR_OK;
}

/* ---- making them ---- */

static struct net_conn *conn_new(struct net *n, struct tcp_pcb *pcb, const struct net_conn_ops *ops, void *arg)
{
	struct net_conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->n = n;
	c->pcb = pcb;
	c->ops = ops;
	c->arg = arg;
	c->next = n->conns;
	if (c->next != NULL)
		c->next->prev = c;
	n->conns = c;
	n->conn_cnt++;

	tcp_arg(pcb, c);
	tcp_recv(pcb, on_recv);
	tcp_sent(pcb, on_sent);
	tcp_err(pcb, on_err);
	tcp_poll(pcb, on_poll, POLL_HALF_SECONDS);
	tcp_nagle_disable(pcb);
	ip_set_option(pcb, SOF_KEEPALIVE);
	pcb->keep_idle = KEEP_IDLE_MS;
	pcb->keep_intvl = KEEP_INTERVAL_MS;
	pcb->keep_cnt = KEEP_CNT;
	return c;
}

static void conn_free(struct net_conn *c)
{
	struct net *n = c->n;

	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		n->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	n->conn_cnt--;
	free(c);
}

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static void addr_from_lwip(struct net_addr *a, const ip_addr_t *ip, uint16_t port)
{
	a->port = port;
	if (IP_IS_V6(ip)) {
		memcpy(a->ip, ip_2_ip6(ip)->addr, sizeof(a->ip));
		return;
	}
	memcpy(a->ip, mapped, sizeof(mapped));
	memcpy(a->ip + 12, &ip_2_ip4(ip)->addr, 4);
}

/* Whether a and our own address differ only behind the prefix. */
static bool on_link(const struct net *n, uint32_t ip4)
{
	return ((ip4 ^ n->own.ip4) & netif_ip4_netmask(&n->netif)->addr) == 0;
}

static const ip_addr_t *route4(const struct net *n, const uint8_t to[4], ip_addr_t *remote)
{
	ip4_addr_t a;

	memcpy(&a.addr, to, 4);
	ip_addr_copy_from_ip4(*remote, a);
	if (n->own.ip4 == 0 || a.addr == n->own.ip4 || to[0] == 0 || to[0] == 127 || to[0] >= 224 ||
	    ip4_addr_isbroadcast(&a, &n->netif))
		return NULL;
	return on_link(n, a.addr) || netif_ip4_gw(&n->netif)->addr != 0 ? netif_ip_addr4(&n->netif) : NULL;
}

static const ip_addr_t *route6(const struct net *n, const uint8_t to[16], ip_addr_t *remote)
{
	ip6_addr_t a = {0};

	memcpy(a.addr, to, sizeof(a.addr));
	ip6_addr_assign_zone(&a, IP6_UNICAST, &n->netif);
	ip_addr_copy_from_ip6(*remote, a);
	return net_ip6_source(n, to);
}

/* Our address for that one, which is turned into lwIP's form; NULL: it cannot be reached. */
static const ip_addr_t *route(const struct net *n, const struct net_addr *to, ip_addr_t *remote)
{
	if (to->port == 0)
		return NULL;
	if (memcmp(to->ip, mapped, sizeof(mapped)) == 0)
		return route4(n, to->ip + 12, remote);
	return route6(n, to->ip, remote);
}

/* lwIP's own choice of local ports starts from rand(), the same in every run: a restarted process would
   collide with the connections of the one before. */
static bool bind_random(struct tcp_pcb *pcb, const ip_addr_t *own)
{
	for (unsigned i = 0; i < LOCAL_PORT_TRIES; i++) {
		uint16_t port = (uint16_t)(LOCAL_PORT_FIRST + randombytes_uniform(0x10000 - LOCAL_PORT_FIRST));

		if (tcp_bind(pcb, own, port) == ERR_OK)
			return true;
	}
	return false;
}

struct net_conn *net_connect(struct net *n, const struct net_addr *to, const struct net_conn_ops *ops,
			     void *arg)
{
	ip_addr_t remote;
	const ip_addr_t *own = route(n, to, &remote);
	struct net_conn *c;
	struct tcp_pcb *pcb;

	if (own == NULL || n->conn_cnt >= NET_CONN_MAX || n->closing)
		return NULL;
	pcb = tcp_new_ip_type(IP_GET_TYPE(&remote));
	if (pcb == NULL)
		return NULL;
	c = conn_new(n, pcb, ops, arg);
	if (c == NULL) {
		tcp_abort(pcb);
		return NULL;
	}
	c->peer = *to;
	c->state = CONN_CONNECTING;
	if (!bind_random(pcb, own) || tcp_connect(pcb, &remote, to->port, on_connect) != ERR_OK) {
		tcp_abort(detach(c));
		conn_free(c);
		return NULL;
	}
	set_deadline(c, n->now_ns + NET_CONNECT_TIMEOUT_NS);
	return c;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	struct net_listener *l = arg;
	struct net_addr from;
	struct net_conn *c;
	void *conn_arg;

	if (err != ERR_OK || pcb == NULL)
		return ERR_VAL;
	/* Any error but ERR_ABRT makes lwIP abort the pcb. */
	if (l->n->conn_cnt >= NET_CONN_MAX)
		return ERR_MEM;
	addr_from_lwip(&from, &pcb->remote_ip, pcb->remote_port);
	conn_arg = l->accept(l->arg, &from);
	if (conn_arg == NULL)
		return ERR_CLSD;
	c = conn_new(l->n, pcb, l->ops, conn_arg);
	if (c == NULL)
		return ERR_MEM;
	c->peer = from;
	return on_connect(c, pcb, ERR_OK);
}

int net_listen(struct net *n, uint16_t port, const struct net_conn_ops *ops,
	       void *(*accept)(void *arg, const struct net_addr *from), void *arg)
{
	struct net_listener *l;
	struct tcp_pcb *pcb, *listening;
	err_t err;

	if (port == 0)
		return -EINVAL;
	if (n->listener_cnt == NET_LISTENER_MAX)
		return -ENOSPC;
	pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);
	if (pcb == NULL)
		return -ENOMEM;
	ip_set_option(pcb, SOF_REUSEADDR);
	err = tcp_bind(pcb, IP_ANY_TYPE, port);
	if (err != ERR_OK) {
		tcp_abort(pcb);
		return err == ERR_USE ? -EADDRINUSE : -EINVAL;
	}
	listening = tcp_listen(pcb);
	if (listening == NULL) {
		tcp_abort(pcb);
		return -ENOMEM;
	}
	l = &n->listeners[n->listener_cnt++];
	*l = (struct net_listener){.n = n, .pcb = listening, .ops = ops, .accept = accept, .arg = arg};
	tcp_arg(listening, l);
	tcp_accept(listening, on_accept);
	return 0;
}

/* ---- using them ---- */

/* lwIP cuts segments to half of the largest window that the peer has offered so far, and asserts that the
   last one it has queued, with the room it has left in it, is no longer than it would make it now.  After a
   window that was tiny, or nothing, that does not hold; then nothing is added until that segment is out. */
static bool safe_to_write(const struct tcp_pcb *pcb)
{
	const struct tcp_seg *last = pcb->unsent;
	uint32_t cut = pcb->snd_wnd_max / 2 < pcb->mss ? pcb->snd_wnd_max / 2 : pcb->mss;

	if (last == NULL)
		return true;
	while (last->next != NULL)
		last = last->next;
	if (cut == 0)
		cut = pcb->mss;
	return (uint32_t)last->len + LWIP_TCP_OPT_LENGTH(last->flags) + pcb->unsent_oversize <= cut;
}

size_t net_send_room(const struct net_conn *c)
{
	if (c->state != CONN_OPEN || c->close_wanted || c->abort_wanted || !safe_to_write(c->pcb) ||
	    tcp_sndqueuelen(c->pcb) >= TCP_SND_QUEUELEN)
		return 0;
	return c->pcb->snd_buf;
}

size_t net_send(struct net_conn *c, const void *p, size_t sz)
{
	const uint8_t *b = p;
	size_t taken = 0;

	while (taken < sz) {
		size_t part = net_send_room(c);

		part = part < sz - taken ? part : sz - taken;
		part = part < UINT16_MAX ? part : UINT16_MAX;
		if (part == 0)
			break;
		if (tcp_write(c->pcb, b + taken, (uint16_t)part, TCP_WRITE_FLAG_COPY) != ERR_OK) {
			/* The queue has room for few segments; one fits always. */
			part = part < c->pcb->mss ? part : c->pcb->mss;
			if (tcp_write(c->pcb, b + taken, (uint16_t)part, TCP_WRITE_FLAG_COPY) != ERR_OK)
				break;
		}
		taken += part;
	}
	c->send_short = taken < sz;
	if (taken != 0) {
		c->output_wanted = true;
		pend(c);
	}
	return taken;
}

size_t net_unsent(const struct net_conn *c)
{
	return c->state == CONN_DEAD ? 0 : (uint32_t)(c->pcb->snd_lbb - c->pcb->snd_nxt);
}

void net_consumed(struct net_conn *c, size_t sz)
{
	if (sz > c->unconsumed)
		sz = c->unconsumed;
	if (c->pcb != NULL && c->state != CONN_DEAD)
		give_back(c, sz);
}

void net_close(struct net_conn *c)
{
	if (c->state == CONN_DEAD || c->state == CONN_LINGER)
		return;
	c->close_wanted = true;
	pend(c);
}

void net_abort(struct net_conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	c->abort_wanted = true;
	pend(c);
}

void net_peer_addr(const struct net_conn *c, struct net_addr *a)
{
	*a = c->peer;
}

void *net_conn_arg(const struct net_conn *c)
{
	return c->arg;
}

/* ---- called by net_poll, lwIP not being on the stack ---- */

/* Whether the peer has acknowledged our FIN, hence all that came before it. */
static bool fin_acked(const struct tcp_pcb *pcb)
{
	return pcb->state == FIN_WAIT_2 || pcb->state == TIME_WAIT;
}

static void start_close(struct net_conn *c)
{
	if (c->state == CONN_CONNECTING) {
		end_by_abort(c, NET_CLOSED_LOCAL);
		return;
	}
	give_back(c, c->unconsumed);
	c->state = CONN_LINGER;
	set_deadline(c, c->n->now_ns + NET_LINGER_NS);
	/* Only our direction: with both closed lwIP would answer data that is under way with RST, and
	   what we have queued would be lost with it. */
	if (tcp_shutdown(c->pcb, 0, 1) != ERR_OK)
		end_by_abort(c, NET_CLOSED_LOCAL);
}

static void run_pending_one(struct net_conn *c)
{
	if (c->state != CONN_DEAD && c->abort_wanted)
		end_by_abort(c, NET_CLOSED_LOCAL);
	else if ((c->state == CONN_OPEN || c->state == CONN_CONNECTING) && c->close_wanted)
		start_close(c);
	else if (c->state != CONN_DEAD && c->output_wanted)
		tcp_output(c->pcb);
	c->output_wanted = false;
}

bool net_conn_run_pending(struct net *n)
{
	struct net_conn *c = n->pending;
	struct net_conn *next;

	n->pending = NULL;
	n->pending_tail = &n->pending;
	for (; c != NULL; c = next) {
		next = c->pending_next;
		run_pending_one(c);
		/* Only now: what was added to the list for c itself is done. */
		c->pending = false;
		if (c->state != CONN_DEAD)
			continue;
		n->stats.conns_closed[c->reason]++;
		c->ops->on_closed(c->arg, c, c->reason);
		conn_free(c);
	}
	return n->pending == NULL;
}

void net_conn_tick(struct net *n)
{
	if (n->deadline_cnt == 0)
		return;
	for (struct net_conn *c = n->conns; c != NULL; c = c->next) {
		if (c->deadline_ns == 0)
			continue;
		if (c->state == CONN_LINGER && fin_acked(c->pcb))
			end_by_close(c, NET_CLOSED_LOCAL);
		else if (n->now_ns >= c->deadline_ns)
			end_by_abort(c, c->state == CONN_LINGER ? NET_CLOSED_LOCAL : NET_CLOSED_TIMEOUT);
	}
}

void net_conn_output_all(struct net *n)
{
	for (struct net_conn *c = n->conns; c != NULL; c = c->next)
		if (c->state != CONN_DEAD)
			tcp_output(c->pcb);
}

void net_conn_free_all(struct net *n)
{
	for (unsigned i = 0; i < n->listener_cnt; i++)
		tcp_close(n->listeners[i].pcb);
	n->listener_cnt = 0;
	n->closing = true; /* on_closed cannot dial any more, so the list is emptied in one go */
	for (struct net_conn *c = n->conns; c != NULL; c = c->next)
		net_abort(c);
	net_conn_run_pending(n);
}
