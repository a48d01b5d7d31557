/* Engines for CPUs with the SHA extensions: one message, two interleaved, and four (txid_shani4.S).

   Compiled with the SHA extensions switched on: nothing here may run before cpu_features() said so.  AVX stays off:
   a 256-bit move before a SHA instruction, which has no VEX form, would cost hundreds of cycles. */
#include "txid/txid_priv.h"

#include "btc/sha256_shani_rounds.h"

void txid_shani4_blocks(struct hash256 *const st[4], const uint8_t *const p[4], size_t cnt);
void txid_shani4_finish(struct hash256 *const st[4]);
void txid_shani4_pad64(struct hash256 st[4]);

#define INLINE static inline __attribute__((always_inline))

/* The initial state in the order of struct shani_state. */
#define IV_SHANI                                                                                              \
	{                                                                                                     \
		{                                                                                             \
			0x8c, 0x68, 0x05, 0x9b, 0x7f, 0x52, 0x0e, 0x51, 0x85, 0xae, 0x67, 0xbb, 0x67, 0xe6,   \
				0x09, 0x6a, 0x19, 0xcd, 0xe0, 0x5b, 0xab, 0xd9, 0x83, 0x1f, 0x3a, 0xf5, 0x4f, \
				0xa5, 0x72, 0xf3, 0x6e, 0x3c,                                                 \
		}                                                                                             \
	}

static const struct hash256 iv_shani = IV_SHANI;

INLINE struct shani_state state_get(const struct hash256 *st)
{
	return (struct shani_state){
		.abef = _mm_loadu_si128((const __m128i *)(const void *)st->b),
		.cdgh = _mm_loadu_si128((const __m128i *)(const void *)(st->b + 16)),
	};
}

INLINE void state_put(struct hash256 *st, struct shani_state s)
{
	_mm_storeu_si128((__m128i *)(void *)st->b, s.abef);
	_mm_storeu_si128((__m128i *)(void *)(st->b + 16), s.cdgh);
}

/* The 32 bytes of the digest. */
INLINE void digest_put(uint8_t *out, struct shani_state s)
{
	__m128i dcba, hgfe;

	shani_words(&s, &dcba, &hgfe);
	_mm_storeu_si128((__m128i *)(void *)out, _mm_shuffle_epi8(dcba, shani_swap_mask()));
	_mm_storeu_si128((__m128i *)(void *)(out + 16), _mm_shuffle_epi8(hgfe, shani_swap_mask()));
}

INLINE void blocks_n(struct hash256 *const st[], const uint8_t *const p[], size_t cnt, const unsigned n)
{
	struct shani_state s[SHANI_STREAM_MAX];
	const uint8_t *q[SHANI_STREAM_MAX];

	for (unsigned i = 0; i < n; i++) {
		s[i] = state_get(st[i]);
		q[i] = p[i];
	}
	shani_blocks(s, q, cnt, n);
	for (unsigned i = 0; i < n; i++)
		state_put(st[i], s[i]);
}

/* The second hash: its words are the state of the first and the padding. */
INLINE void finish_n(struct hash256 *const st[], const unsigned n)
{
	struct shani_state s[SHANI_STREAM_MAX];
	__m128i w[SHANI_STREAM_MAX][4];

	for (unsigned i = 0; i < n; i++) {
		s[i] = state_get(st[i]);
		shani_words(&s[i], &w[i][0], &w[i][1]);
		w[i][2] = _mm_set_epi32(0, 0, 0, (int)0x80000000);
		w[i][3] = _mm_set_epi32(256, 0, 0, 0);
		s[i] = state_get(&iv_shani);
	}
	shani_block(s, w, n);
	for (unsigned i = 0; i < n; i++)
		digest_put(st[i]->b, s[i]);
}

static void blocks_1(struct hash256 *const st[], const uint8_t *const p[], size_t cnt)
{
	blocks_n(st, p, cnt, 1);
}

static void finish_1(struct hash256 *const st[])
{
	finish_n(st, 1);
}

static void blocks_2(struct hash256 *const st[], const uint8_t *const p[], size_t cnt)
{
	blocks_n(st, p, cnt, 2);
}

static void finish_2(struct hash256 *const st[])
{
	finish_n(st, 2);
}

static const struct txid_engine engine_1 = {
	.lane_cnt = 1,
	.iv = IV_SHANI,
	.blocks = blocks_1,
	.finish = finish_1,
};

static const struct txid_engine engine_2 = {
	.lane_cnt = 2,
	.narrow_max = 1,
	.narrow = &engine_1,
	.iv = IV_SHANI,
	.blocks = blocks_2,
	.finish = finish_2,
};

static const struct txid_engine engine_4 = {
	.lane_cnt = 4,
	.narrow_max = 2,
	.narrow = &engine_2,
	.iv = IV_SHANI,
	.blocks = txid_shani4_blocks,
	.finish = txid_shani4_finish,
};

/* The same for states whose words are in order. */

INLINE void ordered_get(struct hash256 *to, const struct hash256 *st)
{
	uint32_t h[8];

	memcpy(h, st, sizeof(h));
	state_put(to, shani_load(h));
}

INLINE void ordered_put(struct hash256 *st, const struct hash256 *from)
{
	struct shani_state s = state_get(from);
	__m128i dcba, hgfe;

	shani_words(&s, &dcba, &hgfe);
	_mm_storeu_si128((__m128i *)(void *)st->b, dcba);
	_mm_storeu_si128((__m128i *)(void *)(st->b + 16), hgfe);
}

INLINE void ordered_blocks(const struct txid_engine *e, struct hash256 *const st[], const uint8_t *const p[],
			   size_t cnt, const unsigned n)
{
	struct hash256 s[SHANI_STREAM_MAX], *at[SHANI_STREAM_MAX];

	for (unsigned i = 0; i < n; i++) {
		ordered_get(&s[i], st[i]);
		at[i] = &s[i];
	}
	e->blocks(at, p, cnt);
	for (unsigned i = 0; i < n; i++)
		ordered_put(st[i], &s[i]);
}

INLINE void ordered_finish(const struct txid_engine *e, struct hash256 *const st[], const unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ordered_get(st[i], st[i]);
	e->finish(st);
}

static void ordered_blocks_1(struct hash256 *const st[], const uint8_t *const p[], size_t cnt)
{
	ordered_blocks(&engine_1, st, p, cnt, 1);
}

static void ordered_finish_1(struct hash256 *const st[])
{
	ordered_finish(&engine_1, st, 1);
}

static void ordered_blocks_4(struct hash256 *const st[], const uint8_t *const p[], size_t cnt)
{
	ordered_blocks(&engine_4, st, p, cnt, 4);
}

static void ordered_finish_4(struct hash256 *const st[])
{
	struct hash256 s[4], *at[4];

	/* Several st[i] may be the same. */
	for (unsigned i = 0; i < 4; i++) {
		ordered_get(&s[i], st[i]);
		at[i] = &s[i];
	}
	txid_shani4_finish(at);
	for (unsigned i = 0; i < 4; i++)
		*st[i] = s[i];
}

static const struct txid_engine ordered_1 = {
	.lane_cnt = 1,
	.iv = TXID_IV_ORDERED,
	.blocks = ordered_blocks_1,
	.finish = ordered_finish_1,
};

const struct txid_engine txid_shani_ordered = {
	.lane_cnt = 4,
	.narrow_max = 1,
	.narrow = &ordered_1,
	.iv = TXID_IV_ORDERED,
	.blocks = ordered_blocks_4,
	.finish = ordered_finish_4,
};

/* W[t] + K[t] of the block that pads a message of 64 bytes: 0x80, zeros, 512. */
static const uint32_t pad64_wk[64] __attribute__((aligned(16))) = {
	0xc28a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf374,
	0x649b69c1, 0xf0fe4786, 0x0fe1edc6, 0x240cf254, 0x4fe9346f, 0x6cc984be, 0x61b9411e, 0x16f988fa,
	0xf2c65152, 0xa88e5a6d, 0xb019fc65, 0xb9d99ec7, 0x9a1231c3, 0xe70eeaa0, 0xfdb1232b, 0xc7353eb0,
	0x3069bad5, 0xcb976d5f, 0x5a0f118f, 0xdc1eeefd, 0x0a35b689, 0xde0b7a04, 0x58f4ca9d, 0xe15d5b16,
	0x007f3e86, 0x37088980, 0xa507ea32, 0x6fab9537, 0x17406110, 0x0d8cd6f1, 0xcdaa3b6d, 0xc0bbbe37,
	0x83613bda, 0xdb48a363, 0x0b02e931, 0x6fd15ca7, 0x521afaca, 0x31338431, 0x6ed41a95, 0x6d437890,
	0xc39c91f2, 0x9eccabbd, 0xb5c9a0e6, 0x532fb63c, 0xd2c741c6, 0x07237ea3, 0xa4954b68, 0x4c191d76,
};

/* The padding block's rounds, whose message schedule is the same for every pair. */
INLINE void pad64(struct shani_state *s, const unsigned n)
{
	struct shani_state in[SHANI_STREAM_MAX];

	for (unsigned i = 0; i < n; i++)
		in[i] = s[i];
#pragma GCC unroll 16
	for (unsigned g = 0; g < 16; g++) {
		__m128i wk = _mm_load_si128((const __m128i *)(const void *)(pad64_wk + 4 * g));

#pragma GCC unroll 8
		for (unsigned i = 0; i < n; i++)
			shani_four(&s[i], wk);
	}
	for (unsigned i = 0; i < n; i++) {
		s[i].abef = _mm_add_epi32(s[i].abef, in[i].abef);
		s[i].cdgh = _mm_add_epi32(s[i].cdgh, in[i].cdgh);
	}
}

/* out may be the start of in: pair i is read before out[i] is written, and no later pair lies there. */

INLINE void pairs_n(struct hash256 *out, const struct hash256 *in, const unsigned n)
{
	struct hash256 *st[SHANI_STREAM_MAX];
	struct shani_state s[SHANI_STREAM_MAX];
	const uint8_t *p[SHANI_STREAM_MAX];

	for (unsigned i = 0; i < n; i++) {
		s[i] = state_get(&iv_shani);
		p[i] = in[2 * i].b;
	}
	shani_blocks(s, p, 1, n);
	pad64(s, n);
	for (unsigned i = 0; i < n; i++) {
		state_put(&out[i], s[i]);
		st[i] = &out[i];
	}
	finish_n(st, n);
}

static void pairs_4(struct hash256 *out, const struct hash256 *in)
{
	struct hash256 s[4], *st[4];
	const uint8_t *p[4];

	for (unsigned i = 0; i < 4; i++) {
		s[i] = iv_shani;
		st[i] = &s[i];
		p[i] = in[2 * i].b;
	}
	txid_shani4_blocks(st, p, 1);
	txid_shani4_pad64(s);
	txid_shani4_finish(st);
	memcpy(out, s, sizeof(s));
}

static void shani_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	txid_run(&engine_2, p, tx, txid, cnt);
}

static void shani_pairs(struct hash256 *out, const struct hash256 *in, size_t pair_cnt)
{
	size_t i = 0;

	for (; i + 2 <= pair_cnt; i += 2)
		pairs_n(out + i, in + 2 * i, 2);
	if (i < pair_cnt)
		pairs_n(out + i, in + 2 * i, 1);
}

static void shani4_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	txid_run(&engine_4, p, tx, txid, cnt);
}

static void shani4_pairs(struct hash256 *out, const struct hash256 *in, size_t pair_cnt)
{
	size_t i = 0;

	for (; i + 4 <= pair_cnt; i += 4)
		pairs_4(out + i, in + 2 * i);
	shani_pairs(out + i, in + 2 * i, pair_cnt - i);
}

const struct txid_kernel txid_shani = {
	.name = "shani",
	.need = CPU_SHANI | CPU_SSE41,
	.hash = shani_hash,
	.pairs = shani_pairs,
};

/* The assembly's three-operand forms are AVX; the feature bit that says so is AVX2's. */
const struct txid_kernel txid_shani4 = {
	.name = "shani4",
	.need = CPU_SHANI | CPU_SSE41 | CPU_AVX2,
	.hash = shani4_hash,
	.pairs = shani4_pairs,
};
