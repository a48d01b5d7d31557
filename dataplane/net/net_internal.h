/* net_internal.h - what the files of net share.  port.c is the ethdev, frame.c decides what the stack gets
   to see, conn.c is connections, net.c holds them together, lwip_override.c replaces parts of lwIP. */
#ifndef VIGIL_NET_NET_INTERNAL_H
#define VIGIL_NET_NET_INTERNAL_H

#include "net/net.h"

#include <lwip/netif.h>
#include <lwip/pbuf.h>

/* lwIP's tcp.h and DPDK's ethdev.h both define struct ip6_hdr, so only port.c sees the one and only the
   others see the other. */
struct rte_mbuf;
struct rte_mempool;
struct tcp_pcb;

enum {
	NET_BURST = 64,      /* frames taken from the port in one poll */
	NET_TX_QUEUE = 512,  /* frames waiting for the port */
	NET_CONN_MAX = 1024, /* connections at once, either direction */
	NET_LISTENER_MAX = 8,
	NET_MTU_MIN = 576,
	NET_MTU_MAX = 1500,       /* lwIP's segments are made for 1500 and no more */
	NET_COPIED_MAX = 1 << 16, /* received frames that lwIP may hold as copies */
};

#define NET_TICK_NS            UINT64_C(1000000)
#define NET_CONNECT_TIMEOUT_NS UINT64_C(10000000000)
#define NET_LINGER_NS          UINT64_C(10000000000)

enum conn_state {
	CONN_CONNECTING, /* SYN sent; has a deadline */
	CONN_OPEN,       /* data flows */
	CONN_LINGER,     /* closed by us, what is queued and our FIN not yet acknowledged; has a deadline */
	CONN_DEAD,       /* pcb gone, on_closed to be called from the next turn of the pending list */
};

struct net_conn {
	struct net *n;
	struct tcp_pcb *pcb; /* NULL when dead */
	const struct net_conn_ops *ops;
	void *arg;
	struct net_conn *next, *prev; /* all connections */
	struct net_conn *pending_next;
	enum conn_state state;
	enum net_close_reason reason; /* once dead */
	bool pending;                 /* on the pending list */
	bool close_wanted, abort_wanted, output_wanted;
	bool send_short; /* the last net_send took less than it was offered */
	uint64_t deadline_ns;
	size_t unconsumed; /* delivered and not given back: what the window is short of */
	struct net_addr peer;
};

struct net_listener {
	struct net *n;
	struct tcp_pcb *pcb;
	const struct net_conn_ops *ops;
	void *(*accept)(void *arg, const struct net_addr *from);
	void *arg;
};

/* What port.c learns about the device and conn.c and net.c need not know. */
struct net_port {
	struct rte_mempool *pool;
	uint32_t pool_cnt;
	uint32_t lent_cnt, copied_cnt; /* received frames that lwIP holds, by kind */
	struct rte_mbuf *tx[NET_TX_QUEUE];
	unsigned tx_cnt;
	bool tx_refused;       /* lwIP had to be told to send again later */
	struct rte_mbuf *held; /* delayed behind its successor */
	uint64_t rng;
	bool started;
	bool redials;       /* a memif client, which must be started again to find its server */
	uint64_t redial_ns; /* when next */
};

struct net {
	struct net_config cfg;
	struct netif netif;
	bool netif_added;
	uint32_t ip4; /* network order */

	struct net_port port;

	uint64_t now_ns, rx_ns, tick_ns;

	struct net_conn *conns;
	unsigned conn_cnt;
	unsigned deadline_cnt;
	struct net_conn *pending, **pending_tail;
	struct net_listener listeners[NET_LISTENER_MAX];
	unsigned listener_cnt;
	bool closing; /* net_free is at work: no new connections */

	struct net_stats stats;
};

/* lwip_override.c */
void net_lwip_overrides(void);
void net_lwip_set_clock(uint64_t now_ns);

/* frame.c: whether a received frame is anything the stack should see: ARP, and IPv4 TCP or ICMP from a
   plausible sender to our own address.  Everything else could only reach code that Vigil has no use for.
   Only the first sz bytes of the frame are looked at. */
bool net_frame_wanted(const uint8_t *f, size_t sz, uint32_t own_ip4);

/* port.c.  net_port_open completes n->cfg (descriptors, MAC, MTU) with what the device gave.  On failure it
   writes the sentence and returns -errno. */
int net_port_open(struct net *n, char *why, size_t why_sz);
void net_port_close(struct net *n);
unsigned net_port_rx(struct net *n);
unsigned net_port_flush(struct net *n);
void net_port_tick(struct net *n); /* every millisecond or so */
bool net_port_link_up(const struct net *n);
void net_port_stats(const struct net *n, struct net_stats *s);
err_t net_port_linkoutput(struct netif *netif, struct pbuf *p);

/* memif_guard.c: between the two no other thread may unmap memory. */
void net_burst_begin(void);
void net_burst_end(void);

/* conn.c */
void net_conn_tick(struct net *n);
bool net_conn_run_pending(struct net *n); /* false when more was added meanwhile */
void net_conn_output_all(struct net *n);
void net_conn_free_all(struct net *n);

#endif
