#include "wire.h"

#include <stdio.h>
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
	IP6 = 40,
	TCP = 20,
};

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 1};
const uint8_t wire_our_mac[6] = {2, 0, 0, 0, 0, 2};
const uint8_t wire_our_ip6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 2};
const uint8_t wire_our_local[16] = {0xfe, 0x80, [11] = 0xff, [12] = 0xfe, [15] = 2};
const uint8_t wire_peer_ip6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 1};
const uint8_t wire_peer_local[16] = {0xfe, 0x80, [15] = 1};

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

bool wire_use_net_pool(struct wire *w, unsigned mbuf_cnt)
{
	char name[RTE_MEMPOOL_NAMESIZE];

	snprintf(name, sizeof(name), "net%u_%x_%x", w->port, mbuf_cnt, RTE_MBUF_DEFAULT_BUF_SIZE);
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

/* The sum over the pseudo-header, by the family of t. */
static uint32_t pseudo_sum(const struct wire_tcp *t, size_t sz)
{
	uint8_t pseudo[12] = {0};

	if (t->src6 != NULL)
		return add(add(6 + (uint32_t)sz, t->src6, 16), t->dst6, 16);
	put32(pseudo, t->src);
	put32(pseudo + 4, t->dst);
	put16(pseudo + 8, 6);
	put16(pseudo + 10, (uint32_t)sz);
	return add(0, pseudo, sizeof(pseudo));
}

size_t wire_make_tcp(uint8_t frame[WIRE_FRAME_MAX], const struct wire_tcp *t)
{
	const struct wire_ip6 ip6 = {.src = t->src6, .dst = t->dst6, .next = 6};
	uint8_t seg[WIRE_FRAME_MAX] = {0};
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
	put16(seg + 16, finish(add(pseudo_sum(t, sz), seg, sz)));
	if (t->src6 != NULL)
		return wire_make_ip6(frame, &ip6, seg, sz);
	return wire_make_ip(frame, t->src, t->dst, 6, seg, sz);
}

size_t wire_make_ip6(uint8_t frame[WIRE_FRAME_MAX], const struct wire_ip6 *ip, const void *payload, size_t sz)
{
	uint8_t *h = frame + ETH;

	make_eth(frame, 0x86dd);
	memset(h, 0, IP6);
	h[0] = 0x60;
	put16(h + 4, (uint32_t)sz);
	h[6] = ip->next;
	h[7] = ip->hops != 0 ? ip->hops : 64;
	memcpy(h + 8, ip->src, 16);
	memcpy(h + 24, ip->dst, 16);
	if (sz != 0)
		memcpy(h + IP6, payload, sz);
	return ETH + IP6 + sz;
}

size_t wire_make_icmp6(uint8_t frame[WIRE_FRAME_MAX], const struct wire_ip6 *ip, const void *icmp, size_t sz)
{
	struct wire_ip6 with = *ip;
	uint8_t *m = frame + ETH + IP6;
	size_t all;

	with.next = 58;
	all = wire_make_ip6(frame, &with, icmp, sz);
	if (sz < 4)
		return all;
	put16(m + 2, 0);
	put16(m + 2, finish(add(add(add(58 + (uint32_t)sz, ip->src, 16), ip->dst, 16), m, sz)));
	return all;
}

size_t wire_make_nd(uint8_t frame[WIRE_FRAME_MAX], uint8_t type, const struct wire_ip6 *ip,
		    const uint8_t target[16])
{
	struct wire_ip6 with = *ip;
	uint8_t m[32] = {type};

	if (with.hops == 0)
		with.hops = 255;
	if (type == 136)
		m[4] = ip->dst[0] == 0xff ? 0x20 : 0x60; /* override; solicited */
	memcpy(m + 8, target, 16);
	m[24] = type == 136 ? 2 : 1;
	m[25] = 1;
	memcpy(m + 26, peer_mac, 6);
	return wire_make_icmp6(frame, &with, m, sizeof(m));
}

size_t wire_answer(uint8_t answer[WIRE_FRAME_MAX], const uint8_t *frame, size_t sz)
{
	const uint8_t *ip = frame + ETH, *icmp = ip + IP6;
	uint8_t src[16], target[16];
	const struct wire_ip6 back = {.src = target, .dst = src};

	if (sz >= ETH + 28 && get16(frame + 12) == 0x0806 && frame[21] == 1 &&
	    get32(frame + 38) == WIRE_PEER_IP)
		return wire_make_arp(answer, true, WIRE_PEER_IP, WIRE_OUR_IP);
	if (sz < ETH + IP6 + 24 || get16(frame + 12) != 0x86dd || ip[6] != 58 || icmp[0] != 135)
		return 0;
	memcpy(src, ip + 8, 16);
	memcpy(target, icmp + 8, 16);
	if (memcmp(target, wire_peer_ip6, 16) != 0 && memcmp(target, wire_peer_local, 16) != 0)
		return 0;
	return wire_make_nd(answer, 136, &back, target);
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

static bool read_segment(struct wire_tcp *t, const uint8_t *seg, size_t sz)
{
	size_t header = sz < TCP ? 0 : (size_t)(seg[12] >> 4) * 4;

	if (header < TCP || header > sz || finish(add(pseudo_sum(t, sz), seg, sz)) != 0)
		return false;
	t->sport = get16(seg);
	t->dport = get16(seg + 2);
	t->seq = get32(seg + 4);
	t->ack = get32(seg + 8);
	t->flags = seg[13];
	t->wnd = get16(seg + 14);
	t->opt = seg + TCP;
	t->opt_sz = header - TCP;
	t->data = seg + header;
	t->sz = sz - header;
	return true;
}

bool wire_read_tcp(struct wire_tcp *t, const uint8_t *frame, size_t sz)
{
	const uint8_t *ip = frame + ETH;
	size_t len;

	*t = (struct wire_tcp){0};
	if (sz >= ETH + IP6 + TCP && get16(frame + 12) == 0x86dd && ip[0] >> 4 == 6 && ip[6] == 6) {
		len = get16(ip + 4);
		t->src6 = ip + 8;
		t->dst6 = ip + 24;
		return len <= sz - ETH - IP6 && read_segment(t, ip + IP6, len);
	}
	if (sz < ETH + IP + TCP || get16(frame + 12) != 0x0800 || ip[0] != 0x45 || ip[9] != 6)
		return false;
	len = get16(ip + 2);
	t->src = get32(ip + 12);
	t->dst = get32(ip + 16);
	return len >= IP && len <= sz - ETH && finish(add(0, ip, IP)) == 0 &&
	       read_segment(t, ip + IP, len - IP);
}
