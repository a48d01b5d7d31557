/* The kernel every other one is compared with: the same on every machine, one message after the other, and
   nothing in common with the scheduler of the others. */
#include "txid/txid_priv.h"

#include "btc/bytes.h"
#include "btc/sha256_block.h"

/* A txid's preimage as SHA-256 blocks, hashed where they lie.  Only two places need a copy: the first block
   of a segwit transaction, from which marker and flag are cut, and the end, to which locktime and padding are
   joined.

     wire      version | 00 01 | inputs, outputs ........................ | witness | locktime
     segment   head: version and 60 bytes | body: in place, whole blocks | tail: the rest, locktime, padding */
enum { HEAD, BODY, TAIL, SEG_CNT };

struct seg {
	const uint8_t *p;
	size_t cnt; /* blocks, may be 0 except in the tail */
};

struct msg {
	struct seg seg[SEG_CNT];
	uint8_t head[64];
	uint8_t tail[128]; /* at most 63 bytes of body, 4 of locktime, 9 of padding */
};

static void msg_init(struct msg *m, const uint8_t *p, const struct tx_view *t)
{
	const uint8_t *tx = p + t->off;
	uint32_t cut = t->segwit ? 2 : 0;
	uint32_t strip_sz = tx_view_stripped_sz(t);
	uint32_t done = 0, rest; /* in bytes of the preimage */

	/* Preimage byte i, 4 <= i < strip_sz - 4, is tx[i + cut]. */
	m->seg[HEAD] = (struct seg){m->head, 0};
	if (cut != 0 && strip_sz - 4 >= 64) {
		memcpy(m->head, tx, 4);
		memcpy(m->head + 4, tx + 4 + cut, 60);
		m->seg[HEAD].cnt = 1;
		done = 64;
	}
	m->seg[BODY] = (struct seg){tx + done + cut, 0};
	if (cut == 0 || done != 0) {
		m->seg[BODY].cnt = (strip_sz - 4 - done) / 64;
		done += (uint32_t)m->seg[BODY].cnt * 64;
	}

	rest = strip_sz - 4 - done;
	memset(m->tail, 0, sizeof(m->tail));
	if (done == 0) {
		memcpy(m->tail, tx, 4);
		memcpy(m->tail + 4, tx + 4 + cut, rest - 4);
	} else {
		memcpy(m->tail, tx + done + cut, rest);
	}
	memcpy(m->tail + rest, tx + t->sz - 4, 4);
	m->tail[rest + 4] = 0x80;
	m->seg[TAIL] = (struct seg){m->tail, rest + 4 + 9 <= 64 ? 1 : 2};
	store_be64(m->tail + 64 * m->seg[TAIL].cnt - 8, (uint64_t)strip_sz * 8);
}

static struct hash256 words_out(const uint32_t h[8])
{
	struct hash256 out;

	for (unsigned i = 0; i < 8; i++)
		store_be32(out.b + 4 * i, h[i]);
	return out;
}

/* The second hash: 32 bytes and their padding. */
static struct hash256 outer(const uint32_t inner[8])
{
	uint8_t blk[64] = {[32] = 0x80, [62] = 0x01};
	uint32_t h[8];

	for (unsigned i = 0; i < 8; i++)
		store_be32(blk + 4 * i, inner[i]);
	memcpy(h, sha256_iv, sizeof(h));
	sha256_compress_portable(h, blk, 1);
	return words_out(h);
}

static void portable_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++) {
		struct msg m;
		uint32_t h[8];

		msg_init(&m, p, &tx[i]);
		memcpy(h, sha256_iv, sizeof(h));
		for (unsigned s = 0; s < SEG_CNT; s++)
			sha256_compress_portable(h, m.seg[s].p, m.seg[s].cnt);
		txid[i] = outer(h);
	}
}

static void portable_pairs(struct hash256 *out, const struct hash256 *in, size_t pair_cnt)
{
	static const uint8_t pad[64] = {[0] = 0x80, [62] = 0x02}; /* 512 bits */

	for (size_t i = 0; i < pair_cnt; i++) {
		uint32_t h[8];

		memcpy(h, sha256_iv, sizeof(h));
		sha256_compress_portable(h, in[2 * i].b, 1);
		sha256_compress_portable(h, pad, 1);
		out[i] = outer(h);
	}
}

const struct txid_kernel txid_portable = {
	.name = "portable",
	.need = 0,
	.hash = portable_hash,
	.pairs = portable_pairs,
};

/* One lane, for engines that are left with a single message where nothing better is to be had. */

static void one_blocks(struct hash256 *const st[], const uint8_t *const p[], size_t cnt)
{
	uint32_t h[8];

	memcpy(h, st[0]->b, sizeof(h));
	sha256_compress_portable(h, p[0], cnt);
	memcpy(st[0]->b, h, sizeof(h));
}

static void one_finish(struct hash256 *const st[])
{
	uint32_t h[8];

	memcpy(h, st[0]->b, sizeof(h));
	*st[0] = outer(h);
}

const struct txid_engine txid_portable_engine = {
	.lane_cnt = 1,
	.iv = TXID_IV_ORDERED,
	.blocks = one_blocks,
	.finish = one_finish,
};
