/* wire.h - a port whose other end is the test: frames are put in by hand and taken out by hand. */
#ifndef VIGIL_TESTS_NET_WIRE_H
#define VIGIL_TESTS_NET_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_FRAME_MAX 2048
#define WIRE_OUR_IP    0x0a090802u /* of the net under test */
#define WIRE_PEER_IP   0x0a090801u /* of the hand-made peer */

struct wire;

/* A port of rings, after EAL is up; NULL when that fails. One per process. */
struct wire *wire_new(void);
uint16_t wire_port(const struct wire *w);
/* Where the mbufs of the frames come from: the net's own pool (so that they are lent to the stack) or one of
   the test's (so that they are copied).  Call after net_open. */
bool wire_use_pool(struct wire *w, const char *name);
/* false when no mbuf or no room was left.  A frame may be cut into several mbufs. */
bool wire_put(struct wire *w, const uint8_t *frame, size_t sz, size_t cut);
/* Size of the frame taken out, 0 when there is none. */
size_t wire_get(struct wire *w, uint8_t frame[WIRE_FRAME_MAX]);
/* Free mbufs of the pool in use. */
unsigned wire_pool_free(const struct wire *w);

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16 };

struct wire_tcp {
	uint32_t src, dst; /* host order, like all here */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags;
	uint8_t header; /* the byte with the header's size, as it is; 0: without options */
	uint16_t wnd;
	const void *data;
	size_t sz;
};

/* Frames with right checksums; return their size. */
size_t wire_make_tcp(uint8_t frame[WIRE_FRAME_MAX], const struct wire_tcp *t);
size_t wire_make_ip(uint8_t frame[WIRE_FRAME_MAX], uint32_t src, uint32_t dst, uint8_t proto,
		    const void *payload, size_t sz);
size_t wire_make_ping(uint8_t frame[WIRE_FRAME_MAX], uint32_t src, uint32_t dst);
size_t wire_make_arp(uint8_t frame[WIRE_FRAME_MAX], bool reply, uint32_t src, uint32_t dst);
/* false when the frame is no TCP segment from src. */
bool wire_read_tcp(struct wire_tcp *t, const uint8_t *frame, size_t sz);

#endif
