/* wire.h - a port whose other end is the test: frames are put in by hand and taken out by hand. */
#ifndef VIGIL_TESTS_NET_WIRE_H
#define VIGIL_TESTS_NET_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_FRAME_MAX 9216
#define WIRE_OUR_IP    0x0a090802u /* of the net under test */
#define WIRE_PEER_IP   0x0a090801u /* of the hand-made peer */

struct wire;

/* A port of rings, after EAL is up; NULL when that fails. One per process. */
struct wire *wire_new(void);
uint16_t wire_port(const struct wire *w);
/* Where the mbufs of the frames come from: the net's own pool (so that they are lent to the stack) or one of
   the test's (so that they are copied).  Call after net_open, with its mbuf_cnt. */
bool wire_use_net_pool(struct wire *w, unsigned mbuf_cnt);
/* false when no mbuf or no room was left.  A frame may be cut into several mbufs. */
bool wire_put(struct wire *w, const uint8_t *frame, size_t sz, size_t cut);
/* Size of the frame taken out, 0 when there is none. */
size_t wire_get(struct wire *w, uint8_t frame[WIRE_FRAME_MAX]);
/* Free mbufs of the pool in use. */
unsigned wire_pool_free(const struct wire *w);

/* IPv6: of the net under test, its link-local one (made from WIRE_OUR_MAC), and of the hand-made peer. */
extern const uint8_t wire_our_ip6[16], wire_our_local[16], wire_peer_ip6[16], wire_peer_local[16];
extern const uint8_t wire_our_mac[6];

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16 };

struct wire_tcp {
	const uint8_t *src6, *dst6; /* NULL: IPv4 */
	uint32_t src, dst;          /* host order, like all here */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags;
	uint8_t header; /* the byte with the header's size, as it is; 0: without options */
	uint16_t wnd;
	const void *data;
	size_t sz;
	const uint8_t *opt; /* only where it was read */
	size_t opt_sz;
};

/* Frames with right checksums; return their size. */
size_t wire_make_tcp(uint8_t frame[WIRE_FRAME_MAX], const struct wire_tcp *t);
size_t wire_make_ip(uint8_t frame[WIRE_FRAME_MAX], uint32_t src, uint32_t dst, uint8_t proto,
		    const void *payload, size_t sz);
size_t wire_make_ping(uint8_t frame[WIRE_FRAME_MAX], uint32_t src, uint32_t dst);
size_t wire_make_arp(uint8_t frame[WIRE_FRAME_MAX], bool reply, uint32_t src, uint32_t dst);
struct wire_ip6 {
	const uint8_t *src, *dst;
	uint8_t next; /* header */
	uint8_t hops; /* 0: 64 */
};
size_t wire_make_ip6(uint8_t frame[WIRE_FRAME_MAX], const struct wire_ip6 *ip, const void *payload, size_t sz);
/* icmp: a message whose checksum is filled in. */
size_t wire_make_icmp6(uint8_t frame[WIRE_FRAME_MAX], const struct wire_ip6 *ip, const void *icmp, size_t sz);
/* The peer's solicitation (135) or advertisement (136) with its MAC in an option. */
size_t wire_make_nd(uint8_t frame[WIRE_FRAME_MAX], uint8_t type, const struct wire_ip6 *ip,
		    const uint8_t target[16]);
/* Answers what the stack has asked the link, an ARP request or a neighbour solicitation for the peer: the
   answer's size, 0 when the frame asks nothing of the peer. */
size_t wire_answer(uint8_t answer[WIRE_FRAME_MAX], const uint8_t *frame, size_t sz);
/* false when the frame is no TCP segment with right checksums.  src6 and dst6 point into it. */
bool wire_read_tcp(struct wire_tcp *t, const uint8_t *frame, size_t sz);

#endif
