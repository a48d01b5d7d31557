/* net_internal.h - what the files of net share.  port.c is the ethdev, frame.c and frame6.c decide what the
   stack gets to see, conn.c is connections, ip6.c is our IPv6 addresses and the way out, net.c holds them
   together, lwip_override.c replaces parts of lwIP. */
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
	NET_BURST = 64, /* frames taken from the port in one poll */
	/* Frames given to the port at once, and received ones handled before what they were answered with is given
	   to it.  Small: with a window of 45 or 90 full frames, whoever answers only when a burst is through makes
	   the two ends work in turns instead of at the same time (memif, one core each: 3.6 Gbit/s with bursts of
	   64, 14 with bursts of 8). */
	NET_TX_BURST = 8,
	NET_TX_QUEUE = 512,  /* frames waiting for the port */
	NET_CONN_MAX = 1024, /* connections at once, either direction */
	NET_LISTENER_MAX = 8,
	NET_MTU_MIN = 576,
	NET_MTU6_MIN = 1280,  /* RFC 8200 5 */
	NET_MTU_USUAL = 1500, /* more only when asked for */
	NET_MTU_MAX = 9000,
	NET_WND = UINT16_MAX << TCP_RCV_SCALE, /* the most that a peer may have on its way to us */
	NET_SND_BUF = NET_WND,                 /* what may wait to be sent or acknowledged */
	NET_COPIED_MAX = 1 << 16,              /* received frames that lwIP may hold as copies */
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

/* Our IPv6 addresses, by their place in lwIP's interface. */
enum {
	IP6_LINK_LOCAL,
	IP6_CONFIGURED, /* none when the configured one is link-local */
	NET_IP6_CNT,
	NET_GROUP_MAX = 1 + NET_IP6_CNT /* all nodes, and each address's own group */
};

/* Who we are: what a frame's judgement depends on. */
struct net_own {
	uint32_t ip4; /* network order; 0: none */
	bool has_ip6;
	uint8_t ip6[NET_IP6_CNT][16]; /* zeros: none */
	bool tentative[NET_IP6_CNT];  /* being asked for; nobody may dispute it later */
	uint8_t prefix6_len;          /* of the configured one */
	uint8_t mac[6];
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
	uint32_t frame_max;    /* bytes, by the MTU */
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
	struct net_own own;
	bool ip6_taken[NET_IP6_CNT];        /* disputed, and not ours since */
	uint64_t dad_again_ns[NET_IP6_CNT]; /* when to ask for it again; 0: not disputed now */

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
void net_lwip_stop_idle_persist(void); /* before the timers of lwIP */

/* frame.c: whether a received frame is anything the stack should see: ARP, neighbour discovery, and TCP or
   ping from a plausible sender to our own address.  Everything else could only reach code that Vigil has no
   use for.  Only the first sz bytes of the frame are looked at. */
enum net_verdict { FRAME_IGNORED, FRAME_WANTED, FRAME_CONFLICT /* another's claim to our address: ignored */ };
enum net_verdict net_frame_judge(const uint8_t *f, size_t sz, const struct net_own *own);
/* Of the two: the segment's header, as far as it is seen. */
bool net_tcp_wanted(const uint8_t *tcp, size_t sz);
/* frame6.c: the same from the IPv6 header on; the Ethernet header lies in front of it. */
enum net_verdict net_ip6_judge(const uint8_t *ip, size_t sz, const struct net_own *own);

/* addr.c: addresses as 16 bytes. */
bool net_ip6_is_zero(const uint8_t a[16]);
bool net_ip6_is_unicast(const uint8_t a[16]); /* none of ::, ::1, multicast, IPv4 in disguise */
bool net_ip6_is_link_local(const uint8_t a[16]);
bool net_ip6_same_prefix(const uint8_t a[16], const uint8_t b[16], unsigned len);
/* Whether a is a neighbour: link-local, or inside the prefix of the configured address. */
bool net_ip6_on_link(const struct net_own *own, const uint8_t a[16]);

/* ip6.c.  bad: one sentence about the configuration, or NULL.  open: after the interface is up. */
const char *net_ip6_bad(const struct net_config *cfg);
err_t net_ip6_output(struct netif *netif, struct pbuf *p, const ip6_addr_t *to);
int net_ip6_open(struct net *n, char *why, size_t why_sz);
void net_ip6_tick(struct net *n);
/* Our address for a connection to that one; NULL: none, or no way there. */
const ip_addr_t *net_ip6_source(const struct net *n, const uint8_t to[16]);

/* port.c.  net_port_open completes n->cfg (descriptors, MAC, MTU) with what the device gave.  On failure it
   writes the sentence and returns -errno. */
int net_port_open(struct net *n, char *why, size_t why_sz);
void net_port_close(struct net *n);
unsigned net_port_rx(struct net *n);
unsigned net_port_flush(struct net *n);
void net_port_tick(struct net *n); /* every millisecond or so */
/* Lets frames to these groups in, NET_GROUP_MAX at most.  0 or -errno. */
int net_port_multicast(struct net *n, const uint8_t (*group)[6], unsigned cnt);
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
