/* txid_vec.h - SHA-256 with one message in each 32-bit lane of a vector (FIPS 180-4 section 6.2.2): the body of the
   engines for instruction sets that have wide vectors but no SHA instructions.

   The file that includes it has defined, for its instruction set:
     V                      the vector type; VEC_LANE_CNT lanes, VEC_QUAD_CNT groups of four
     V_ADD V_SHR V_ROR V_SET1 V_BSWAP                 per lane
     V_XOR3 V_CH V_MAJ      x^y^z, x?y:z by bit, majority by bit
     V_LO32 V_HI32 V_LO64 V_HI64                      unpack, within each group of four
     V_ROWS(row, j, off)    16 bytes at off of row[j], row[4 + j], ...: one in each group
     V_ROWS_PUT(row, j, off, x)                       the reverse */
#include "btc/sha256_block.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void vec_round(V s[8], const unsigned t, V wk)
{
	V a = s[(0 - t) & 7], b = s[(1 - t) & 7], c = s[(2 - t) & 7];
	V e = s[(4 - t) & 7], f = s[(5 - t) & 7], g = s[(6 - t) & 7];
	V t1 = V_ADD(V_ADD(s[(7 - t) & 7], wk),
		     V_ADD(V_XOR3(V_ROR(e, 6), V_ROR(e, 11), V_ROR(e, 25)), V_CH(e, f, g)));
	V t2 = V_ADD(V_XOR3(V_ROR(a, 2), V_ROR(a, 13), V_ROR(a, 22)), V_MAJ(a, b, c));

	s[(3 - t) & 7] = V_ADD(s[(3 - t) & 7], t1);
	s[(7 - t) & 7] = V_ADD(t1, t2);
}

/* One block, words in w, which is used up. */
INLINE void vec_block(V s[8], V w[16])
{
	V in[8];

	for (unsigned i = 0; i < 8; i++)
		in[i] = s[i];
#pragma GCC unroll 64
	for (unsigned t = 0; t < 64; t++) {
		if (t >= 16) {
			V x = w[(t + 1) % 16], y = w[(t + 14) % 16];

			w[t % 16] = V_ADD(V_ADD(w[t % 16], w[(t + 9) % 16]),
					  V_ADD(V_XOR3(V_ROR(x, 7), V_ROR(x, 18), V_SHR(x, 3)),
						V_XOR3(V_ROR(y, 17), V_ROR(y, 19), V_SHR(y, 10))));
		}
		vec_round(s, t, V_ADD(w[t % 16], V_SET1(sha256_k[t])));
	}
	for (unsigned i = 0; i < 8; i++)
		s[i] = V_ADD(s[i], in[i]);
}

/* Words 4*c .. of each row, least significant byte first, into w[0..4). */
INLINE void vec_get(V w[4], const uint8_t *const row[], size_t off)
{
	V r0 = V_ROWS(row, 0, off), r1 = V_ROWS(row, 1, off);
	V r2 = V_ROWS(row, 2, off), r3 = V_ROWS(row, 3, off);
	V lo01 = V_LO32(r0, r1), lo23 = V_LO32(r2, r3);
	V hi01 = V_HI32(r0, r1), hi23 = V_HI32(r2, r3);

	w[0] = V_LO64(lo01, lo23);
	w[1] = V_HI64(lo01, lo23);
	w[2] = V_LO64(hi01, hi23);
	w[3] = V_HI64(hi01, hi23);
}

INLINE void vec_put(struct hash256 *const row[], size_t off, const V w[4])
{
	V lo01 = V_LO32(w[0], w[1]), lo23 = V_LO32(w[2], w[3]);
	V hi01 = V_HI32(w[0], w[1]), hi23 = V_HI32(w[2], w[3]);

	V_ROWS_PUT(row, 0, off, V_LO64(lo01, lo23));
	V_ROWS_PUT(row, 1, off, V_HI64(lo01, lo23));
	V_ROWS_PUT(row, 2, off, V_LO64(hi01, hi23));
	V_ROWS_PUT(row, 3, off, V_HI64(hi01, hi23));
}

INLINE void vec_iv(V s[8])
{
	for (unsigned i = 0; i < 8; i++)
		s[i] = V_SET1(sha256_iv[i]);
}

INLINE void vec_message(V w[16], const uint8_t *const p[], size_t off)
{
	for (unsigned c = 0; c < 4; c++)
		vec_get(w + 4 * c, p, off + 16 * c);
	for (unsigned t = 0; t < 16; t++)
		w[t] = V_BSWAP(w[t]);
}

/* The second hash, of a state, to the bytes of the digest. */
INLINE void vec_outer(struct hash256 *const out[], V s[8])
{
	V w[16];

	for (unsigned i = 0; i < 8; i++)
		w[i] = s[i];
	w[8] = V_SET1(0x80000000);
	for (unsigned i = 9; i < 15; i++)
		w[i] = V_SET1(0);
	w[15] = V_SET1(256);
	vec_iv(s);
	vec_block(s, w);
	for (unsigned i = 0; i < 8; i++)
		s[i] = V_BSWAP(s[i]);
	vec_put(out, 0, s);
	vec_put(out, 16, s + 4);
}

static void vec_states(V s[8], struct hash256 *const st[])
{
	const uint8_t *row[VEC_LANE_CNT];

	for (unsigned i = 0; i < VEC_LANE_CNT; i++)
		row[i] = st[i]->b;
	vec_get(s, row, 0);
	vec_get(s + 4, row, 16);
}

static void vec_blocks(struct hash256 *const st[], const uint8_t *const p[], size_t cnt)
{
	V s[8], w[16];

	vec_states(s, st);
	for (size_t off = 0; off < cnt * 64; off += 64) {
		vec_message(w, p, off);
		vec_block(s, w);
	}
	vec_put(st, 0, s);
	vec_put(st, 16, s + 4);
}

static void vec_finish(struct hash256 *const st[])
{
	V s[8];

	vec_states(s, st);
	vec_outer(st, s);
}

/* W[t] + K[t] of the block that pads a message of 64 bytes: 0x80, zeros, 512. */
static const uint32_t pad64_wk[64] = {
	0xc28a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf374,
	0x649b69c1, 0xf0fe4786, 0x0fe1edc6, 0x240cf254, 0x4fe9346f, 0x6cc984be, 0x61b9411e, 0x16f988fa,
	0xf2c65152, 0xa88e5a6d, 0xb019fc65, 0xb9d99ec7, 0x9a1231c3, 0xe70eeaa0, 0xfdb1232b, 0xc7353eb0,
	0x3069bad5, 0xcb976d5f, 0x5a0f118f, 0xdc1eeefd, 0x0a35b689, 0xde0b7a04, 0x58f4ca9d, 0xe15d5b16,
	0x007f3e86, 0x37088980, 0xa507ea32, 0x6fab9537, 0x17406110, 0x0d8cd6f1, 0xcdaa3b6d, 0xc0bbbe37,
	0x83613bda, 0xdb48a363, 0x0b02e931, 0x6fd15ca7, 0x521afaca, 0x31338431, 0x6ed41a95, 0x6d437890,
	0xc39c91f2, 0x9eccabbd, 0xb5c9a0e6, 0x532fb63c, 0xd2c741c6, 0x07237ea3, 0xa4954b68, 0x4c191d76,
};

static void vec_pairs_full(struct hash256 *const out[], const uint8_t *const p[])
{
	V s[8], in[8], w[16];

	vec_iv(s);
	vec_message(w, p, 0);
	vec_block(s, w);
	for (unsigned i = 0; i < 8; i++)
		in[i] = s[i];
#pragma GCC unroll 64
	for (unsigned t = 0; t < 64; t++)
		vec_round(s, t, V_SET1(pad64_wk[t]));
	for (unsigned i = 0; i < 8; i++)
		s[i] = V_ADD(s[i], in[i]);
	vec_outer(out, s);
}

/* At most as many pairs as there are lanes.  out may be the start of in: all is read before any is written. */
static void vec_pairs(struct hash256 *out, const struct hash256 *in, size_t pair_cnt)
{
	struct hash256 nobody, *to[VEC_LANE_CNT];
	const uint8_t *p[VEC_LANE_CNT];

	for (unsigned i = 0; i < VEC_LANE_CNT; i++) {
		to[i] = i < pair_cnt ? &out[i] : &nobody;
		p[i] = in[i < pair_cnt ? 2 * i : 0].b;
	}
	vec_pairs_full(to, p);
}
