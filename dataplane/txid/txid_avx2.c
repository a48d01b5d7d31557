/* Eight messages at once, for CPUs with AVX2.  Compiled with it switched on: nothing here may run before
   cpu_features() said so. */
#include "txid/txid_priv.h"

#include <immintrin.h>

typedef __m256i V;
#define VEC_LANE_CNT 8u
#define VEC_QUAD_CNT 2u

#define V_ADD(x, y)     _mm256_add_epi32(x, y)
#define V_SHR(x, n)     _mm256_srli_epi32(x, n)
#define V_ROR(x, n)     _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define V_SET1(x)       _mm256_set1_epi32((int)(x))
#define V_BSWAP(x)      _mm256_shuffle_epi8(x, swap_mask())
#define V_XOR3(x, y, z) _mm256_xor_si256(_mm256_xor_si256(x, y), z)
#define V_CH(x, y, z)   _mm256_xor_si256(z, _mm256_and_si256(x, _mm256_xor_si256(y, z)))
#define V_MAJ(x, y, z)  _mm256_or_si256(_mm256_and_si256(x, y), _mm256_and_si256(z, _mm256_or_si256(x, y)))
#define V_LO32(x, y)    _mm256_unpacklo_epi32(x, y)
#define V_HI32(x, y)    _mm256_unpackhi_epi32(x, y)
#define V_LO64(x, y)    _mm256_unpacklo_epi64(x, y)
#define V_HI64(x, y)    _mm256_unpackhi_epi64(x, y)
#define V_ROWS(row, j, off)                                                        \
	_mm256_inserti128_si256(_mm256_castsi128_si256(load_16((row)[j] + (off))), \
				load_16((row)[4 + (j)] + (off)), 1)
#define V_ROWS_PUT(row, j, off, x) rows_put(row, j, off, x)

static inline __m256i swap_mask(void)
{
	return _mm256_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL, 0x0c0d0e0f08090a0bLL,
				 0x0405060700010203LL);
}

static inline __m128i load_16(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline void rows_put(struct hash256 *const row[], unsigned j, size_t off, V x)
{
	_mm_storeu_si128((__m128i *)(void *)(row[j]->b + off), _mm256_castsi256_si128(x));
	_mm_storeu_si128((__m128i *)(void *)(row[4 + j]->b + off), _mm256_extracti128_si256(x, 1));
}

#include "txid/txid_vec.h"

/* Up to that many messages, the portable code is faster one by one. */
#define NARROW_MAX 1u

static const struct txid_engine engine_8 = {
	.lane_cnt = VEC_LANE_CNT,
	.narrow_max = NARROW_MAX,
	.narrow = &txid_portable_engine,
	.iv = TXID_IV_ORDERED,
	.blocks = vec_blocks,
	.finish = vec_finish,
};

static void avx2_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	txid_run(&engine_8, p, tx, txid, cnt);
}

static void avx2_pairs(struct hash256 *out, const struct hash256 *in, size_t pair_cnt)
{
	for (size_t i = 0; i < pair_cnt; i += VEC_LANE_CNT)
		vec_pairs(out + i, in + 2 * i, pair_cnt - i);
}

const struct txid_kernel txid_avx2 = {
	.name = "avx2",
	.need = CPU_AVX2,
	.hash = avx2_hash,
	.pairs = avx2_pairs,
};
