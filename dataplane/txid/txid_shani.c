/* The kernel for CPUs with the SHA extensions: several messages interleaved, each lane taking the next
   transaction as soon as it is done with its last.

   Compiled with the SHA extensions switched on: nothing here may run before cpu_features() said so. */
#include "txid/txid_priv.h"

#include "btc/sha256_shani_rounds.h"

/* Two messages hide most of sha256rnds2's latency and their working set nearly fits the sixteen registers.
   More spill: measured, that gains nothing for transactions, but does for pairs, which are all of one length. */
#define LANE_CNT      2u
#define PAIR_LANE_CNT 4u

struct lane {
	const uint8_t *p;
	size_t left;  /* blocks to go at p */
	unsigned seg; /* of msg, or TXID_SEG_CNT in the second hash */
	size_t idx;   /* of the transaction */
	struct txid_msg msg;
};

struct lanes {
	struct shani_state s[LANE_CNT]; /* s[i] belongs to *l[i] */
	struct lane *l[LANE_CNT];       /* the first busy_cnt are at work */
	unsigned busy_cnt;

	const uint8_t *block;
	const struct tx_view *tx;
	struct hash256 *txid;
	size_t next, cnt;
};

/* The state as the 32 bytes of the digest. */
static inline void state_out(uint8_t *out, const struct shani_state *s)
{
	__m128i dcba, hgfe;

	shani_words(s, &dcba, &hgfe);
	_mm_storeu_si128((__m128i *)(void *)out, _mm_shuffle_epi8(dcba, shani_swap_mask()));
	_mm_storeu_si128((__m128i *)(void *)(out + 16), _mm_shuffle_epi8(hgfe, shani_swap_mask()));
}

/* Moves lane i to its next segment with blocks in it.  The tail always has some. */
static inline void lane_next_seg(struct lane *l)
{
	do
		l->seg++;
	while (l->msg.seg[l->seg].cnt == 0);
	l->p = l->msg.seg[l->seg].p;
	l->left = l->msg.seg[l->seg].cnt;
}

static inline void lane_load(struct lanes *a, unsigned i)
{
	struct lane *l = a->l[i];

	l->idx = a->next++;
	txid_msg_init(&l->msg, a->block, &a->tx[l->idx]);
	a->s[i] = shani_load(sha256_iv);
	l->seg = TXID_HEAD;
	l->p = l->msg.seg[TXID_HEAD].p;
	l->left = l->msg.seg[TXID_HEAD].cnt;
	if (l->left == 0)
		lane_next_seg(l);
}

/* Lane i has no block left: next segment, then second hash, then next transaction.  When there is
   none, the last busy lane takes the place of lane i. */
static void lane_turn(struct lanes *a, unsigned i)
{
	struct lane *l = a->l[i];

	if (l->seg < TXID_TAIL) {
		lane_next_seg(l);
		return;
	}
	if (l->seg == TXID_TAIL) {
		uint8_t *blk = l->msg.tail;

		state_out(blk, &a->s[i]);
		memset(blk + 32, 0, 32);
		blk[32] = 0x80;
		blk[62] = 0x01; /* 256 bits */
		a->s[i] = shani_load(sha256_iv);
		l->seg = TXID_SEG_CNT;
		l->p = blk;
		l->left = 1;
		return;
	}
	state_out(a->txid[l->idx].b, &a->s[i]);
	if (a->next < a->cnt) {
		lane_load(a, i);
		return;
	}
	a->busy_cnt--;
	a->l[i] = a->l[a->busy_cnt];
	a->l[a->busy_cnt] = l;
	a->s[i] = a->s[a->busy_cnt];
}

/* Runs n lanes as long as n are busy. */
static inline __attribute__((always_inline)) void lanes_run(struct lanes *a, const unsigned n)
{
	while (a->busy_cnt >= n) {
		struct shani_state s[LANE_CNT];
		const uint8_t *p[LANE_CNT];
		size_t step = a->l[0]->left;

		for (unsigned i = 0; i < n; i++) {
			step = a->l[i]->left < step ? a->l[i]->left : step;
			s[i] = a->s[i];
			p[i] = a->l[i]->p;
		}
		shani_blocks(s, p, step, n);
		for (unsigned i = 0; i < n; i++) {
			a->s[i] = s[i];
			a->l[i]->p = p[i];
			a->l[i]->left -= step;
		}
		/* Downwards, so that what lane_turn moves into a place was looked at. */
		for (unsigned i = n; i-- > 0;)
			if (a->l[i]->left == 0)
				lane_turn(a, i);
	}
}

static void shani_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	struct lane lane[LANE_CNT];
	struct lanes a = {.block = p, .tx = tx, .txid = txid, .next = 0, .cnt = cnt};

	for (unsigned i = 0; i < LANE_CNT; i++)
		a.l[i] = &lane[i];
	while (a.busy_cnt < LANE_CNT && a.next < cnt)
		lane_load(&a, a.busy_cnt++);
	lanes_run(&a, LANE_CNT);
	lanes_run(&a, 1);
}

/* W[t] + K[t] of the block that pads a message of 64 bytes: 0x80, zeros, 512. */
static const uint32_t pad64_wk[64] __attribute__((aligned(16))) = {
	0xc28a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf374, 0x649b69c1, 0xf0fe4786, 0x0fe1edc6, 0x240cf254, 0x4fe9346f,
	0x6cc984be, 0x61b9411e, 0x16f988fa, 0xf2c65152, 0xa88e5a6d, 0xb019fc65, 0xb9d99ec7,
	0x9a1231c3, 0xe70eeaa0, 0xfdb1232b, 0xc7353eb0, 0x3069bad5, 0xcb976d5f, 0x5a0f118f,
	0xdc1eeefd, 0x0a35b689, 0xde0b7a04, 0x58f4ca9d, 0xe15d5b16, 0x007f3e86, 0x37088980,
	0xa507ea32, 0x6fab9537, 0x17406110, 0x0d8cd6f1, 0xcdaa3b6d, 0xc0bbbe37, 0x83613bda,
	0xdb48a363, 0x0b02e931, 0x6fd15ca7, 0x521afaca, 0x31338431, 0x6ed41a95, 0x6d437890,
	0xc39c91f2, 0x9eccabbd, 0xb5c9a0e6, 0x532fb63c, 0xd2c741c6, 0x07237ea3, 0xa4954b68,
	0x4c191d76,
};

/* The padding block's rounds, whose message schedule is the same for every pair. */
static inline __attribute__((always_inline)) void pad64(struct shani_state *s, const unsigned n)
{
	struct shani_state in[PAIR_LANE_CNT];

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

static inline __attribute__((always_inline)) void
pairs_n(struct hash256 *out, const struct hash256 *in, const unsigned n)
{
	const __m128i pad_hi = _mm_set_epi32(0, 0, 0, (int)0x80000000);
	const __m128i pad_lo = _mm_set_epi32(256, 0, 0, 0);
	struct shani_state s[PAIR_LANE_CNT];
	const uint8_t *p[PAIR_LANE_CNT];
	__m128i w[PAIR_LANE_CNT][4];

	for (unsigned i = 0; i < n; i++) {
		s[i] = shani_load(sha256_iv);
		p[i] = in[2 * i].b;
	}
	shani_blocks(s, p, 1, n);
	pad64(s, n);
	for (unsigned i = 0; i < n; i++) {
		shani_words(&s[i], &w[i][0], &w[i][1]);
		w[i][2] = pad_hi;
		w[i][3] = pad_lo;
		s[i] = shani_load(sha256_iv);
	}
	shani_block(s, w, n);
	for (unsigned i = 0; i < n; i++)
		state_out(out[i].b, &s[i]);
}

/* out may be the start of in: pair i is read before out[i] is written, and no later pair lies there. */
static void shani_pairs(struct hash256 *out, const struct hash256 *in, size_t pair_cnt)
{
	size_t i = 0;

	for (; i + PAIR_LANE_CNT <= pair_cnt; i += PAIR_LANE_CNT)
		pairs_n(out + i, in + 2 * i, PAIR_LANE_CNT);
	for (; i < pair_cnt; i++)
		pairs_n(out + i, in + 2 * i, 1);
}

const struct txid_kernel txid_shani = {
	.name = "shani",
	.need = CPU_SHANI | CPU_SSE41,
	.hash = shani_hash,
	.pairs = shani_pairs,
};
