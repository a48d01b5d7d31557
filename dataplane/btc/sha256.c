#include "btc/sha256.h"

#include <stdatomic.h>

#include "btc/bytes.h"
#include "btc/cpu.h"
#include "btc/sha256_block.h"

const uint32_t sha256_iv[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

const uint32_t sha256_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotr(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void compress_one(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64];
	uint32_t s[8];

	for (unsigned t = 0; t < 16; t++)
		w[t] = load_be32(p + 4 * t);
	for (unsigned t = 16; t < 64; t++) {
		uint32_t x = w[t - 15], y = w[t - 2];

		w[t] = w[t - 16] + (rotr(x, 7) ^ rotr(x, 18) ^ x >> 3) + w[t - 7] +
		       (rotr(y, 17) ^ rotr(y, 19) ^ y >> 10);
	}
	memcpy(s, h, sizeof(s));
	for (unsigned t = 0; t < 64; t++) {
		uint32_t a = s[0], b = s[1], c = s[2], e = s[4], f = s[5], g = s[6];
		uint32_t t1 = s[7] + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) +
			      sha256_k[t] + w[t];
		uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));

		s[7] = g;
		s[6] = f;
		s[5] = e;
		s[4] = s[3] + t1;
		s[3] = c;
		s[2] = b;
		s[1] = a;
		s[0] = t1 + t2;
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] += s[i];
}

void sha256_compress_portable(uint32_t h[8], const uint8_t *p, size_t cnt)
{
	for (; cnt > 0; cnt--, p += SHA256_BLOCK_SZ)
		compress_one(h, p);
}

typedef void compress_fn(uint32_t h[8], const uint8_t *p, size_t cnt);

static void compress_resolve(uint32_t h[8], const uint8_t *p, size_t cnt);

/* Starts as the resolver, which replaces itself.  Threads that race there all store the same value. */
static compress_fn *_Atomic compress_best = compress_resolve;

static inline void compress(uint32_t h[8], const uint8_t *p, size_t cnt)
{
	atomic_load_explicit(&compress_best, memory_order_relaxed)(h, p, cnt);
}

/* A function that is wrong on this machine must not be used, however fast it is. */
static bool agrees_with_portable(compress_fn *fn)
{
	uint8_t msg[3 * SHA256_BLOCK_SZ + 1];
	uint32_t want[8], got[8];

	for (unsigned i = 0; i < sizeof(msg); i++)
		msg[i] = (uint8_t)(i * 167u + 13u);
	memcpy(want, sha256_iv, sizeof(want));
	memcpy(got, sha256_iv, sizeof(got));
	sha256_compress_portable(want, msg + 1, 3);
	fn(got, msg + 1, 3);
	return memcmp(want, got, sizeof(want)) == 0;
}

static void compress_resolve(uint32_t h[8], const uint8_t *p, size_t cnt)
{
	compress_fn *best = sha256_compress_portable;

#ifdef VIGIL_HAVE_SHANI
	const unsigned need = CPU_SHANI | CPU_SSE41;

	if ((cpu_features() & need) == need && agrees_with_portable(sha256_compress_shani))
		best = sha256_compress_shani;
#else
	(void)agrees_with_portable;
#endif
	atomic_store_explicit(&compress_best, best, memory_order_relaxed);
	best(h, p, cnt);
}

void sha256_start(struct sha256_ctx *c)
{
	memcpy(c->h, sha256_iv, sizeof(c->h));
	c->total_sz = 0;
}

void sha256_feed(struct sha256_ctx *c, const void *p, size_t sz)
{
	const uint8_t *in = (const uint8_t *)p;
	size_t have = c->total_sz % SHA256_BLOCK_SZ;

	if (sz == 0)
		return;
	c->total_sz += sz;
	if (have != 0) {
		size_t n = SHA256_BLOCK_SZ - have < sz ? SHA256_BLOCK_SZ - have : sz;

		memcpy(c->buf + have, in, n);
		if (have + n < SHA256_BLOCK_SZ)
			return;
		compress(c->h, c->buf, 1);
		in += n;
		sz -= n;
	}
	if (sz >= SHA256_BLOCK_SZ)
		compress(c->h, in, sz / SHA256_BLOCK_SZ);
	memcpy(c->buf, in + sz / SHA256_BLOCK_SZ * SHA256_BLOCK_SZ, sz % SHA256_BLOCK_SZ);
}

/* The last one or two blocks: the rest of the message (rest_sz < 64), 0x80, zeros, length in bits. */
static struct hash256 finish(uint32_t h[8], const uint8_t *rest, size_t rest_sz, uint64_t total_sz)
{
	uint8_t last[2 * SHA256_BLOCK_SZ] = {0};
	size_t cnt = rest_sz + 9 <= SHA256_BLOCK_SZ ? 1 : 2;
	struct hash256 out;

	memcpy(last, rest, rest_sz);
	last[rest_sz] = 0x80;
	store_be64(last + cnt * SHA256_BLOCK_SZ - 8, total_sz * 8);
	compress(h, last, cnt);
	for (unsigned i = 0; i < 8; i++)
		store_be32(out.b + 4 * i, h[i]);
	return out;
}

struct hash256 sha256_finish(struct sha256_ctx *c)
{
	return finish(c->h, c->buf, c->total_sz % SHA256_BLOCK_SZ, c->total_sz);
}

struct hash256 sha256(const void *p, size_t sz)
{
	const uint8_t *in = sz != 0 ? (const uint8_t *)p : (const uint8_t *)"";
	size_t rest_sz = sz % SHA256_BLOCK_SZ;
	uint32_t h[8];

	memcpy(h, sha256_iv, sizeof(h));
	if (sz >= SHA256_BLOCK_SZ)
		compress(h, in, sz / SHA256_BLOCK_SZ);
	return finish(h, in + (sz - rest_sz), rest_sz, sz);
}

struct hash256 sha256d(const void *p, size_t sz)
{
	struct hash256 once = sha256(p, sz);

	return sha256(once.b, HASH_SZ);
}
