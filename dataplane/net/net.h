/* net.h - TCP over one DPDK port: an ethdev, lwIP on top, and byte streams for the caller.

   One struct net is one port and one IP stack.  lwIP keeps its state in globals, so a process has at most
   one.  Used by vigil-dataplane (dials) and by vigil-replay serve (listens).

   Threads  Everything runs on the lcore that calls net_poll.  Callbacks come from inside net_poll, and
            on_closed from net_free too; never from net_connect, net_send, net_close or net_abort, and never
            one inside another of the same connection.  So any function here but net_poll and net_free may
            be called from any callback.
   Memory   Received bytes are lent: data points into the frame (mbuf) and is valid until on_data returns.
            Sent bytes are copied.  Connections are owned by net and die with on_closed.
   Order    on_connected, then any number of on_data / on_sendable, then exactly one on_closed; after it the
            handle is gone.  net_close and net_abort also end in on_closed unless called from on_closed.
   Flow     Each byte delivered must be given back with net_consumed, then or later; until then it keeps the
            TCP window shut by as much.  That is how back-pressure reaches the sender.  A connection holds
            at most 128 KiB each way.
   Bounds   1024 connections; 10 s for a connect, 10 s for what is queued at net_close to be acknowledged,
            about two minutes (keepalive) until a silent peer that is gone is noticed.
   Hostile  What is not ARP, neighbour discovery, or TCP or ping for one of our addresses never reaches lwIP;
            nor do fragments or extension headers (RFC 8200 4: nothing that a TCP peer sends needs them).
            Sequence numbers and local ports cannot be guessed.  A peer can pin half of the mbufs at most.
   IPv6     One address beside or instead of the IPv4 one, and a link-local one made from the MAC (RFC 4291);
            Debian's lwIP has all of it compiled in, autoconfiguration and forwarding too, but everything is
            configured here and nothing learnt: router advertisements, redirects and "packet too big" are
            ignored, and no router is solicited, since anybody on the link can send those.  So the gateway
            is the one that is named, and segments for it make packets of 1280 bytes at most, the least
            that every path takes (RFC 8200 5); the other side learns the path's MTU for what it sends.  An
            address is used a second after net_open, when nobody has objected to it (RFC 4862 5.4); an
            objection is counted, and it is tried again every ten seconds.  One that comes later is counted
            and ignored.  lwIP keeps ten neighbours at a time, as it does for ARP: more peers than eight on
            the link itself (behind the gateway they are one) make it ask for them over and over.

   EAL options that suit (all work with --no-huge -m 128 --no-pci and a --file-prefix of the process's own;
   --in-memory instead of --no-huge where there are huge pages):
     two processes    --vdev=net_memif0,role=client,id=0,socket=PATH,socket-abstract=no,rsize=11 and
                      role=server on the other side.  Unprivileged.  Either may start first or come back
                      later, but a server does not take over a socket file: unlink it before EAL starts.
     the kernel       --vdev=net_tap0,iface=NAME as root, with net_config.mac other than the port's.  Give
                      NAME its address after net_open.
     an interface     --vdev=net_af_packet0,iface=NAME as root (CAP_NET_RAW).  NAME carries no address of
                      its own (nor a link-local one: ip link set NAME addrgenmode none); on veth the far end
                      must not offload: ethtool -K FAR tx off tso off gso off.
     a NIC            -a PCI address, bound to vfio-pci; no --no-pci.
   An MTU above 1500 is the NIC's to accept.  The drivers of memif, tap and af_packet cannot be told one, so
   that is left to whoever made them: the kernel's ends need the same MTU, af_packet also framesz=9216. */
#ifndef VIGIL_NET_NET_H
#define VIGIL_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct net;
struct net_conn;

enum net_close_reason {
	NET_CLOSED_LOCAL,   /* we asked */
	NET_CLOSED_REMOTE,  /* FIN: half-closed connections are not kept, but what we had queued still goes */
	NET_CLOSED_RESET,   /* RST, also "connection refused" */
	NET_CLOSED_TIMEOUT, /* no answer: connect or retransmissions given up */
	NET_CLOSED_NOMEM,
	NET_CLOSE_REASON_CNT
};
const char *net_close_reason_name(enum net_close_reason r);

struct net_addr {
	uint8_t ip[16]; /* IPv6, or IPv4 mapped (::ffff:a.b.c.d), network order */
	uint16_t port;  /* host order */
};
/* "1.2.3.4", "1.2.3.4:8333", "[::1]:8333"; default_port where none is given. */
bool net_addr_parse(struct net_addr *a, const char *text, uint16_t default_port);
#define NET_ADDR_TEXT_SZ 56u
void net_addr_format(char out[NET_ADDR_TEXT_SZ], const struct net_addr *a);

struct net_config {
	uint16_t port_id;          /* ethdev */
	uint8_t ip4[4];            /* our address, network order; zeros: no IPv4 */
	uint8_t prefix_len;        /* 0..30 */
	uint8_t gateway4[4];       /* zeros: none */
	uint8_t ip6[16];           /* zeros: no IPv6 */
	uint8_t prefix6_len;       /* 64..128: beyond /64 there is no neighbour discovery here */
	uint8_t gateway6[16];      /* link-local or inside the prefix; zeros: none */
	uint16_t mtu;              /* 576..9000, with IPv6 1280..9000; 0: the device's, or 1500 if that is less.
	                              Above 1500 only what comes in gets longer: lwIP's own segments stay */
	uint8_t mac[6];            /* zeros: the port's own; another one is needed on tap, where the port's MAC
	                          belongs to the kernel's side */
	uint16_t rx_desc, tx_desc; /* 0: defaults */
	uint32_t mbuf_cnt;         /* 0: default */
	/* Fault injection for tests: frames per million dropped at random, each way, and delayed behind
	   their successor; a fixed seed makes it repeatable.  All zero in production. */
	uint32_t drop_rx_ppm, drop_tx_ppm, reorder_rx_ppm;
	uint64_t fault_seed;
};

/* What an option says: "10.0.0.2/24" or "2001:db8::2/64"; "10.0.0.1" or "fe80::1".  One of each family at most.
   false: no such thing, or a second one.  Whether all of them fit each other is net_open's to say. */
bool net_config_address(struct net_config *c, const char *text);
bool net_config_gateway(struct net_config *c, const char *text);

struct net_conn_ops {
	void (*on_connected)(void *arg, struct net_conn *c);
	void (*on_data)(void *arg, struct net_conn *c, const uint8_t *p, size_t sz);
	void (*on_sendable)(void *arg, struct net_conn *c); /* send space has grown */
	void (*on_closed)(void *arg, struct net_conn *c, enum net_close_reason why);
};

/* Configures and starts the port, brings the stack up.  Returns 0 or -errno; *why then holds one
   actionable sentence (static or owned by net.c, valid until the next call). */
int net_open(struct net **out, const struct net_config *cfg, const char **why);
/* Aborts every connection (each is told by on_closed), stops the port.  Another net may be opened then. */
void net_free(struct net *n);

/* One turn: receive a burst, run timers that are due, flush what is to be sent.  now_ns is
   CLOCK_MONOTONIC.  Returns how many frames came in or went out: 0 means the caller may sleep. */
unsigned net_poll(struct net *n, uint64_t now_ns);

/* Whether the port has a link; for logs, since TCP waits for it by itself. */
bool net_link_up(const struct net *n);

/* CLOCK_MONOTONIC when the frame being delivered was taken from the port; only inside on_data. */
uint64_t net_rx_ns(const struct net *n);

/* Whether somebody else on the link claims our IPv6 address, which is then not used. */
bool net_ip6_taken(const struct net *n);

/* NULL when no connection can be made: too many, no memory, our own address, none of its family or (in the
   first second) not yet, no gateway to it.  A link-local address needs no zone: there is one port.  Otherwise the outcome arrives as on_connected or on_closed. */
struct net_conn *net_connect(struct net *n, const struct net_addr *to, const struct net_conn_ops *ops,
			     void *arg);

/* Listens on all our addresses.  accept returns the ops' arg for the new connection, or NULL to refuse it;
   on_connected follows. Returns 0 or -errno. */
int net_listen(struct net *n, uint16_t port, const struct net_conn_ops *ops,
	       void *(*accept)(void *arg, const struct net_addr *from), void *arg);

/* Queues up to sz bytes; returns how many were taken (0..sz).  Less than sz: wait for on_sendable.  What is
   queued goes out with this turn of net_poll or the next one. */
size_t net_send(struct net_conn *c, const void *p, size_t sz);
/* Bytes net_send would take now. */
size_t net_send_room(const struct net_conn *c);
/* Of the bytes that net_send took, those that have not been handed to the port yet (once net_poll has
   returned).  0 when the connection is dead. */
size_t net_unsent(const struct net_conn *c);
void net_consumed(struct net_conn *c, size_t sz);
/* FIN after what is queued.  What still comes in is thrown away; on_closed follows when the peer has
   acknowledged everything, or the time for that is up. */
void net_close(struct net_conn *c);
/* RST, with this turn of net_poll or the next one; what is queued is lost.  No callback but on_closed comes
   after either of the two. */
void net_abort(struct net_conn *c);
void net_peer_addr(const struct net_conn *c, struct net_addr *a);
void *net_conn_arg(const struct net_conn *c);

struct net_stats {
	uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
	uint64_t rx_missed, rx_errors, rx_nombuf, tx_dropped; /* the port's own counts, and our full queue */
	uint64_t rx_ignored;     /* not for us, or nothing that we speak: never reached the stack */
	uint64_t addr_conflicts; /* others' claims to our IPv6 addresses */
	uint64_t faults_dropped, faults_reordered;
	uint64_t conns_opened, conns_closed[NET_CLOSE_REASON_CNT];
};
void net_stats_get(const struct net *n, struct net_stats *s);

#endif
