/* sha256_shani_rounds.h - SHA-256 by the SHA extensions, over several independent messages at once.

   sha256rnds2 has a latency of about four cycles and every round needs the one before, so one message leaves
   the unit idle most of the time; interleaved messages fill the gaps.  The stream count n, at most
   SHANI_STREAM_MAX, is a constant at every call, so the loops over streams unroll.

   Only for files that are compiled with -msha -msse4.1 -mssse3. */
#ifndef VIGIL_BTC_SHA256_SHANI_ROUNDS_H
#define VIGIL_BTC_SHA256_SHANI_ROUNDS_H

#include <immintrin.h>

#include "btc/sha256_block.h"

#define SHANI_STREAM_MAX 4u

/* The state as sha256rnds2 wants it: words A,B,E,F and C,D,G,H, first word highest. */
struct shani_state {
	__m128i abef, cdgh;
};

static inline __attribute__((always_inline)) struct shani_state shani_load(const uint32_t h[8])
{
	__m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)h);
	__m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(h + 4));
	__m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
	__m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);

	return (struct shani_state){.abef = _mm_alignr_epi8(cdab, efgh, 8),
				    .cdgh = _mm_blend_epi16(efgh, cdab, 0xf0)};
}

/* The words in order, as two vectors of the state array. */
static inline __attribute__((always_inline)) void shani_words(const struct shani_state *s, __m128i *dcba,
							      __m128i *hgfe)
{
	__m128i feba = _mm_shuffle_epi32(s->abef, 0x1b);
	__m128i dchg = _mm_shuffle_epi32(s->cdgh, 0xb1);

	*dcba = _mm_blend_epi16(feba, dchg, 0xf0);
	*hgfe = _mm_alignr_epi8(dchg, feba, 8);
}

static inline __attribute__((always_inline)) __m128i shani_swap_mask(void)
{
	return _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
}

static inline __attribute__((always_inline)) __m128i shani_k(unsigned g)
{
	return _mm_loadu_si128((const __m128i *)(const void *)(sha256_k + 4 * g));
}

/* Four rounds; wk holds the four words of W + K. */
static inline __attribute__((always_inline)) void shani_four(struct shani_state *s, __m128i wk)
{
	s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, wk);
	s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(wk, 0x0e));
}

/* One block for each of n streams: the message words come in w[stream][0..4), byte-swapped already. */
static inline __attribute__((always_inline)) void shani_block(struct shani_state *s, __m128i (*w)[4],
							      const unsigned n)
{
	struct shani_state in[SHANI_STREAM_MAX];

	for (unsigned i = 0; i < n; i++)
		in[i] = s[i];
#pragma GCC unroll 16
	for (unsigned g = 0; g < 16; g++) {
		const __m128i k = shani_k(g);

#pragma GCC unroll 8
		for (unsigned i = 0; i < n; i++) {
			__m128i *m = w[i];

			if (g >= 4) {
				/* m[g % 4] is W[4g-16 ..) with the sigma0 terms added already. */
				__m128i w7 = _mm_alignr_epi8(m[(g + 3) % 4], m[(g + 2) % 4], 4);

				m[g % 4] = _mm_sha256msg2_epu32(_mm_add_epi32(m[g % 4], w7), m[(g + 3) % 4]);
			}
			if (g >= 2 && g <= 13) /* for group g + 2, once w7 has been read */
				m[(g + 2) % 4] = _mm_sha256msg1_epu32(m[(g + 2) % 4], m[(g + 3) % 4]);
			shani_four(&s[i], _mm_add_epi32(m[g % 4], k));
		}
	}
	for (unsigned i = 0; i < n; i++) {
		s[i].abef = _mm_add_epi32(s[i].abef, in[i].abef);
		s[i].cdgh = _mm_add_epi32(s[i].cdgh, in[i].cdgh);
	}
}

/* cnt blocks from each of n streams, read where they lie; p[i] moves past them. */
static inline __attribute__((always_inline)) void shani_blocks(struct shani_state *s, const uint8_t **p,
							       size_t cnt, const unsigned n)
{
	for (; cnt > 0; cnt--) {
		__m128i w[SHANI_STREAM_MAX][4];

#pragma GCC unroll 8
		for (unsigned i = 0; i < n; i++) {
			for (unsigned j = 0; j < 4; j++)
				w[i][j] = _mm_shuffle_epi8(
					_mm_loadu_si128((const __m128i *)(const void *)(p[i] + 16 * j)),
					shani_swap_mask());
			p[i] += 64;
		}
		shani_block(s, w, n);
	}
}

#endif
