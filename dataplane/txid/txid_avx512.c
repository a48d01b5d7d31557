/* Sixteen messages at once, for CPUs with AVX-512; what is left over goes to the SHA extensions where there are any.
   Compiled with it switched on: nothing here may run before cpu_features() said so. */
#include "txid/txid_priv.h"

#include <immintrin.h>

typedef __m512i V;
#define VEC_LANE_CNT 16u
#define VEC_QUAD_CNT 4u

#define V_ADD(x, y)                _mm512_add_epi32(x, y)
#define V_SHR(x, n)                _mm512_srli_epi32(x, n)
#define V_ROR(x, n)                _mm512_ror_epi32(x, n)
#define V_SET1(x)                  _mm512_set1_epi32((int)(x))
#define V_BSWAP(x)                 _mm512_shuffle_epi8(x, swap_mask())
#define V_XOR3(x, y, z)            _mm512_ternarylogic_epi32(x, y, z, 0x96)
#define V_CH(x, y, z)              _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define V_MAJ(x, y, z)             _mm512_ternarylogic_epi32(x, y, z, 0xe8)
#define V_LO32(x, y)               _mm512_unpacklo_epi32(x, y)
#define V_HI32(x, y)               _mm512_unpackhi_epi32(x, y)
#define V_LO64(x, y)               _mm512_unpacklo_epi64(x, y)
#define V_HI64(x, y)               _mm512_unpackhi_epi64(x, y)
#define V_ROWS(row, j, off)        rows_get(row, j, off)
#define V_ROWS_PUT(row, j, off, x) rows_put(row, j, off, x)

static inline __m512i swap_mask(void)
{
	return _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL));
}

static inline __m128i load_16(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* By masked loads, which do not need the one port that moves lanes. */
static inline V rows_get(const uint8_t *const row[], unsigned j, size_t off)
{
	V x = _mm512_castsi128_si512(load_16(row[j] + off));

	x = _mm512_mask_broadcast_i32x4(x, 0x00f0, load_16(row[4 + j] + off));
	x = _mm512_mask_broadcast_i32x4(x, 0x0f00, load_16(row[8 + j] + off));
	return _mm512_mask_broadcast_i32x4(x, 0xf000, load_16(row[12 + j] + off));
}

static inline void rows_put(struct hash256 *const row[], unsigned j, size_t off, V x)
{
	_mm_storeu_si128((__m128i *)(void *)(row[j]->b + off), _mm512_castsi512_si128(x));
	_mm_storeu_si128((__m128i *)(void *)(row[4 + j]->b + off), _mm512_extracti32x4_epi32(x, 1));
	_mm_storeu_si128((__m128i *)(void *)(row[8 + j]->b + off), _mm512_extracti32x4_epi32(x, 2));
	_mm_storeu_si128((__m128i *)(void *)(row[12 + j]->b + off), _mm512_extracti32x4_epi32(x, 3));
}

#include "txid/txid_vec.h"

static const struct txid_engine engine_16 = {
	.lane_cnt = VEC_LANE_CNT,
	.narrow_max = 1, /* up to that many messages, the portable code is faster one by one */
	.narrow = &txid_portable_engine,
	.iv = TXID_IV_ORDERED,
	.blocks = vec_blocks,
	.finish = vec_finish,
};

static void avx512_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	txid_run(&engine_16, p, tx, txid, cnt);
}

static void avx512_pairs(struct hash256 *out, const struct hash256 *in, size_t pair_cnt)
{
	for (size_t i = 0; i < pair_cnt; i += VEC_LANE_CNT)
		vec_pairs(out + i, in + 2 * i, pair_cnt - i);
}

const struct txid_kernel txid_avx512 = {
	.name = "avx512",
	.need = CPU_AVX512,
	.hash = avx512_hash,
	.pairs = avx512_pairs,
};

#ifdef VIGIL_HAVE_SHANI

static const struct txid_engine engine_16_4 = {
	.lane_cnt = VEC_LANE_CNT,
	.narrow_max = 12, /* three times four */
	.narrow = &txid_shani_ordered,
	.iv = TXID_IV_ORDERED,
	.blocks = vec_blocks,
	.finish = vec_finish,
};

static void avx512_shani_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	txid_run(&engine_16_4, p, tx, txid, cnt);
}

static void avx512_shani_pairs(struct hash256 *out, const struct hash256 *in, size_t pair_cnt)
{
	size_t i = 0;

	for (; i + VEC_LANE_CNT <= pair_cnt; i += VEC_LANE_CNT)
		vec_pairs(out + i, in + 2 * i, VEC_LANE_CNT);
	txid_shani4.pairs(out + i, in + 2 * i, pair_cnt - i);
}

const struct txid_kernel txid_avx512_shani = {
	.name = "avx512-shani",
	.need = CPU_AVX512 | CPU_SHANI | CPU_SSE41 | CPU_AVX2,
	.hash = avx512_shani_hash,
	.pairs = avx512_shani_pairs,
};

#endif
