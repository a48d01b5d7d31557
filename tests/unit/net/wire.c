#include "wire.h"

#include <string.h>

#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

enum {
	RING_SZ = 1024,
	POOL_CNT = 2047,
	ETH = 14,
	IP = 20,
	TCP = 20,
};

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 1};

struct wire {
	struct rte_ring *in, *out;
	struct rte_mempool *pool;
	uint16_t port;
};

struct wire *wire_new(void)
{
	static struct wire w;
	int port;

	w.in = rte_ring_create("wire_in", RING_SZ, 0, 0);
	w.out = rte_ring_create("wire_out", RING_SZ, 0, 0);
	w.pool = rte_pktmbuf_pool_create("wire", POOL_CNT, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (w.in == NULL || w.out == NULL || w.pool == NULL)
		return NULL;
	port = rte_eth_from_rings("wire", &w.in, 1, &w.out, 1, 0);
	w.port = (uint16_t)port;
	return port < 0 ? NULL : &w;
}

uint16_t wire_port(const struct wire *w)
{
	return w->port;
}

bool wire_use_pool(struct wire *w, const char *name)
{
	w->pool = rte_mempool_lookup(name);
	return w->pool != NULL;
}

unsigned wire_pool_free(const struct wire *w)
{
	return rte_mempool_avail_count(w->pool);
}

bool wire_put(struct wire *w, const uint8_t *frame, size_t sz, size_t cut)
{
	struct rte_mbuf *head = NULL;
	size_t at = 0;

	do {
		struct rte_mbuf *m = rte_pktmbuf_alloc(w->pool);
		size_t part = sz - at;
		char *to;

		if (m == NULL) {
			rte_pktmbuf_free(head);
			return false;
		}
		if (cut != 0 && part > cut)
			part = cut;
		to = rte_pktmbuf_append(m, (uint16_t)part);
		if (to == NULL || (head != NULL && rte_pktmbuf_chain(head, m) != 0)) {
			rte_pktmbuf_free(m);
			rte_pktmbuf_free(head);
			return false;
		}
		memcpy(to, frame + at, part);
		at += part;
		if (head == NULL)
			head = m;
	} while (at < sz);
	if (rte_ring_enqueue(w->in, head) != 0) {
		rte_pktmbuf_free(head);
		return false;
	}
	return true;
}

size_t wire_get(struct wire *w, uint8_t frame[WIRE_FRAME_MAX])
{
	void *obj;
	struct rte_mbuf *m;
	size_t sz;

	if (rte_ring_dequeue(w->out, &obj) != 0)
		return 0;
	m = obj;
	sz = rte_pktmbuf_data_len(m);
	memcpy(frame, rte_pktmbuf_mtod(m, void *), sz);
	rte_pktmbuf_free(m);
	return sz;
}

/* ---- frames ---- */

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint32_t add(uint32_t sum, const uint8_t *p, size_t sz)
{
	for (size_t i = 0; i < sz; i++)
		sum += (uint32_t)p[i] << (i % 2 == 0 ? 8 : 0);
	return sum;
}

static uint16_t finish(uint32_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void make_eth(uint8_t *f, uint16_t type)
{
	memset(f, 0xff, 6); /* the stack does not look at it */
	memcpy(f + 6, peer_mac, 6);
	put16(f + 12, type);
}

size_t wire_make_ip(uint8_t frame[WIRE_FRAME_MAX], uint32_t src, uint32_t dst, uint8_t proto,
		    const void *payload, size_t sz)
{
	uint8_t *ip = frame + ETH;

	make_eth(frame, 0x0800);
	memset(ip, 0, IP);
	ip[0] = 0x45;
	put16(ip + 2, (uint32_t)(IP + sz));
	ip[8] = 64;
	ip[9] = proto;
	put32(ip + 12, src);
	put32(ip + 16, dst);
	put16(ip + 10, finish(add(0, ip, IP)));
	if (sz != 0)
		memcpy(ip + IP, payload, sz);
	return ETH + IP + sz;
}

size_t wire_make_tcp(uint8_t frame[WIRE_FRAME_MAX], const struct wire_tcp *t)
{
	uint8_t seg[WIRE_FRAME_MAX] = {0};
	uint8_t pseudo[12];
	size_t sz = TCP + t->sz;

	put16(seg, t->sport);
	put16(seg + 2, t->dport);
	put32(seg + 4, t->seq);
	put32(seg + 8, t->ack);
	seg[12] = t->header != 0 ? t->header : TCP / 4 << 4;
	seg[13] = t->flags;
	put16(seg + 14, t->wnd);
	if (t->sz != 0)
		memcpy(seg + TCP, t->data, t->sz);
	put32(pseudo, t->src);
	put32(pseudo + 4, t->dst);
	put16(pseudo + 8, 6);
	put16(pseudo + 10, (uint32_t)sz);
	put16(seg + 16, finish(add(add(0, pseudo, sizeof(pseudo)), seg, sz)));
	return wire_make_ip(frame, t->src, t->dst, 6, seg, sz);
}

size_t wire_make_ping(uint8_t frame[WIRE_FRAME_MAX], uint32_t src, uint32_t dst)
{
	uint8_t echo[40] = {8, 0, 0, 0, 0x12, 0x34, 0, 1};

	memset(echo + 8, 0xa5, sizeof(echo) - 8);
	put16(echo + 2, finish(add(0, echo, sizeof(echo))));
	return wire_make_ip(frame, src, dst, 1, echo, sizeof(echo));
}

size_t wire_make_arp(uint8_t frame[WIRE_FRAME_MAX], bool reply, uint32_t src, uint32_t dst)
{
	uint8_t *a = frame + ETH;

	make_eth(frame, 0x0806);
	memcpy(a, (const uint8_t[]){0, 1, 8, 0, 6, 4, 0, reply ? 2 : 1}, 8);
	memcpy(a + 8, peer_mac, 6);
	put32(a + 14, src);
	memset(a + 18, 0, 6);
	put32(a + 24, dst);
	return ETH + 28;
}

bool wire_read_tcp(struct wire_tcp *t, const uint8_t *frame, size_t sz)
{
	const uint8_t *ip = frame + ETH;
	const uint8_t *seg = ip + IP;
	uint8_t pseudo[12];
	size_t len, header;

	if (sz < ETH + IP + TCP || get16(frame + 12) != 0x0800 || ip[0] != 0x45 || ip[9] != 6)
		return false;
	len = get16(ip + 2);
	if (len < IP + TCP || len > sz - ETH || finish(add(0, ip, IP)) != 0)
		return false;
	memcpy(pseudo, ip + 12, 8);
	put16(pseudo + 8, 6);
	put16(pseudo + 10, (uint32_t)(len - IP));
	header = (size_t)(seg[12] >> 4) * 4;
	if (header < TCP || header > len - IP ||
	    finish(add(add(0, pseudo, sizeof(pseudo)), seg, len - IP)) != 0)
		return false;
	*t = (struct wire_tcp){.src = get32(ip + 12),
			       .dst = get32(ip + 16),
			       .sport = get16(seg),
			       .dport = get16(seg + 2),
			       .seq = get32(seg + 4),
			       .ack = get32(seg + 8),
			       .flags = seg[13],
			       .wnd = get16(seg + 14),
			       .data = seg + header,
			       .sz = len - IP - header};
	return true;
}
