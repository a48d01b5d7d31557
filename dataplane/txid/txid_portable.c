/* The kernel every other one is compared with: short, and the same on every machine. */
#include "txid/txid_priv.h"

#include "btc/bytes.h"
#include "btc/sha256_block.h"

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

static void portable_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid,
			  size_t cnt)
{
	for (size_t i = 0; i < cnt; i++) {
		struct txid_msg m;
		uint32_t h[8];

		txid_msg_init(&m, p, &tx[i]);
		memcpy(h, sha256_iv, sizeof(h));
		for (unsigned s = 0; s < TXID_SEG_CNT; s++)
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
