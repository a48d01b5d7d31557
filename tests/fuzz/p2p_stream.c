/* p2p_stream.c - however the byte stream is cut, the same messages come out of it; and no payload crashes its
   decoder, which must agree with the encoder about what it read.

   Input: a byte of mode, two of seed for the cuts, then the stream.  Mode bit 0 set: the stream is written as
   records (type, length of two bytes, payload) that are sealed into messages here, so that the fuzzer need not
   find checksums. */
#include <assert.h>
#include <stdlib.h>

#include "btc/network.h"
#include "p2p/stream.h"

#define STREAM_MAX (1u << 20)
#define WANTED                                                                                   \
	((1u << P2P_TYPE_CNT) - 1u - (1u << P2P_ADDR) - (1u << P2P_OTHER) - (1u << P2P_ADDRV2) - \
	 (1u << P2P_BLOCK))

struct seen {
	struct sha256_ctx sha;
	unsigned cnt;
};

static uint8_t block[P2P_PAYLOAD_SZ_MAX];

static void note(struct seen *s, unsigned kind, const uint8_t *p, size_t sz)
{
	uint8_t k = (uint8_t)kind;

	sha256_feed(&s->sha, &k, 1);
	if (sz != 0)
		sha256_feed(&s->sha, p, sz);
	s->cnt++;
}

static void decode_version(const uint8_t *p, size_t sz)
{
	uint8_t out[P2P_VERSION_SZ_MAX];
	struct p2p_version v, again;
	size_t n;

	if (!p2p_version_decode(&v, p, sz))
		return;
	n = p2p_version_encode(out, &v);
	assert(p2p_version_decode(&again, out, n));
	assert(memcmp(&v, &again, sizeof(v)) == 0);
}

static void decode_inv(const uint8_t *p, size_t sz)
{
	static struct p2p_inv_item item[P2P_INV_MAX];
	static uint8_t out[P2P_INV_SZ_MAX];
	struct p2p_inv inv;
	size_t n;

	if (!p2p_inv_decode(&inv, p, sz))
		return;
	for (uint32_t i = 0; i < inv.cnt; i++)
		item[i] = p2p_inv_at(&inv, i);
	n = p2p_inv_encode(out, item, inv.cnt);
	assert(n <= sz && memcmp(out, p, n) == 0);
}

static void decode_headers(const uint8_t *p, size_t sz)
{
	static uint8_t raw[P2P_HEADERS_MAX * HEADER_SZ], out[P2P_HEADERS_SZ_MAX];
	struct p2p_headers h;
	size_t n;

	if (!p2p_headers_decode(&h, p, sz))
		return;
	for (uint32_t i = 0; i < h.cnt; i++)
		memcpy(raw + (size_t)i * HEADER_SZ, h.first + (size_t)i * P2P_HEADER_STRIDE, HEADER_SZ);
	n = p2p_headers_encode(out, raw, h.cnt);
	assert(n <= sz && memcmp(out, p, n) == 0);
}

static void decode_getheaders(const uint8_t *p, size_t sz)
{
	uint8_t out[P2P_GETHEADERS_SZ_MAX];
	struct p2p_getheaders g;
	struct hash256 hash[P2P_LOCATOR_MAX];
	size_t n;

	if (!p2p_getheaders_decode(&g, p, sz))
		return;
	for (uint32_t i = 0; i < g.cnt; i++)
		memcpy(hash[i].b, g.hashes + (size_t)i * HASH_SZ, HASH_SZ);
	n = p2p_getheaders_encode(out, hash, g.cnt, &g.stop);
	assert(n <= sz && memcmp(out + 4, p + 4, n - 4) == 0);
}

static void decode_reject(const uint8_t *p, size_t sz)
{
	struct p2p_reject r;

	if (!p2p_reject_decode(&r, p, sz))
		return;
	assert(sz >= 3 + 1 + 1 + HASH_SZ && memcmp(p, "\2tx", 3) == 0 && p[3] == r.code);
	assert(memmem(p + 5, sz - 5, r.txid.b, HASH_SZ) != NULL);
}

static void decode(const struct p2p_stream *s)
{
	uint64_t nonce;

	if (s->type == P2P_VERSION)
		decode_version(s->payload, s->payload_sz);
	else if (s->type == P2P_INV || s->type == P2P_GETDATA || s->type == P2P_NOTFOUND)
		decode_inv(s->payload, s->payload_sz);
	else if (s->type == P2P_HEADERS)
		decode_headers(s->payload, s->payload_sz);
	else if (s->type == P2P_GETHEADERS)
		decode_getheaders(s->payload, s->payload_sz);
	else if (s->type == P2P_REJECT)
		decode_reject(s->payload, s->payload_sz);
	else if (s->type == P2P_PING || s->type == P2P_PONG)
		assert(p2p_nonce_decode(&nonce, s->payload, s->payload_sz));
}

/* Feeds one piece; false once the stream is broken. */
static bool feed(struct p2p_stream *s, struct seen *out, const uint8_t *p, size_t sz)
{
	enum p2p_stream_event e;
	size_t used;

	do {
		e = p2p_stream_feed(s, p, sz, &used);
		assert(used <= sz);
		p += used;
		sz -= used;
		switch (e) {
		case P2P_STREAM_MORE:
			assert(sz == 0);
			break;
		case P2P_STREAM_MESSAGE:
			decode(s);
			note(out, s->type, s->payload, s->payload_sz);
			break;
		case P2P_STREAM_BLOCK_HEAD:
			note(out, 100, s->block_header, HEADER_SZ);
			p2p_stream_block_to(s, s->block_header[0] & 1 ? NULL : block);
			break;
		case P2P_STREAM_BLOCK:
			note(out, 101, block, s->block_header[0] & 1 ? 0 : s->payload_sz);
			break;
		case P2P_STREAM_SKIPPED:
			note(out, 102, NULL, 0);
			break;
		case P2P_STREAM_BROKEN:
			note(out, 103 + s->verdict, NULL, 0);
			return false;
		}
	} while (e != P2P_STREAM_MORE);
	return true;
}

static struct hash256 run(const uint8_t *p, size_t sz, uint32_t seed, unsigned *cnt)
{
	struct p2p_stream s;
	struct seen out = {.cnt = 0};

	sha256_start(&out.sha);
	p2p_stream_init(&s, network_get(NET_REGTEST)->magic, WANTED);
	while (sz > 0) {
		size_t piece = sz;

		if (seed != 0) {
			seed = seed * 1664525u + 1013904223u;
			piece = 1 + (seed >> 16) % (seed & 1 ? 7 : 300);
		}
		if (piece > sz)
			piece = sz;
		if (!feed(&s, &out, p, piece))
			break;
		p += piece;
		sz -= piece;
	}
	p2p_stream_free(&s);
	*cnt = out.cnt;
	return sha256_finish(&out.sha);
}

/* Lengths that p2p_seal takes: to ask for more is a mistake of the caller, not of a peer. */
static size_t seal_max(enum p2p_type type)
{
	static const uint16_t max[P2P_OTHER] = {
		[P2P_VERSION] = P2P_VERSION_SZ_MAX,
		[P2P_PING] = 8,
		[P2P_PONG] = 8,
		[P2P_GETHEADERS] = P2P_GETHEADERS_SZ_MAX,
		[P2P_HEADERS] = 65535,
		[P2P_INV] = 65535,
		[P2P_GETDATA] = 65535,
		[P2P_NOTFOUND] = 65535,
		[P2P_BLOCK] = 65535,
		[P2P_TX] = 65535,
		[P2P_FEEFILTER] = 8,
		[P2P_SENDCMPCT] = 9,
		[P2P_ADDR] = 30003,
		[P2P_ADDRV2] = 65535,
		[P2P_REJECT] = 65535,
	};

	return max[type];
}

static size_t write_records(uint8_t *out, const uint8_t *p, size_t sz)
{
	size_t at = 0;

	while (sz >= 3) {
		enum p2p_type type = (enum p2p_type)(p[0] % P2P_OTHER);
		size_t n = p[1] | (size_t)p[2] << 8;

		p += 3;
		sz -= 3;
		if (n > seal_max(type))
			n = seal_max(type);
		if (n > sz)
			n = sz;
		if (at + P2P_HEAD_SZ + n > STREAM_MAX)
			break;
		if (n != 0)
			memcpy(out + at + P2P_HEAD_SZ, p, n);
		at += p2p_seal(out + at, network_get(NET_REGTEST)->magic, type, n);
		p += n;
		sz -= n;
	}
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	static uint8_t records[STREAM_MAX];
	struct hash256 whole, cut;
	unsigned whole_cnt, cut_cnt;
	uint32_t seed;

	if (sz < 3)
		return 0;
	seed = 1u + data[1] + 256u * data[2];
	if (data[0] & 1) {
		size_t n = write_records(records, data + 3, sz - 3);

		data = records;
		sz = n;
	} else {
		data += 3;
		sz -= 3;
	}
	whole = run(data, sz, 0, &whole_cnt);
	cut = run(data, sz, seed, &cut_cnt);
	assert(whole_cnt == cut_cnt && hash256_eq(&whole, &cut));
	return 0;
}
