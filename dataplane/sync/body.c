#include "sync/body.h"

#include <stdlib.h>

#include "btc/cursor.h"
#include "btc/sha256.h"

#define TX_SZ_READABLE     10u /* what a node's decoder reads at the least */
#define OUTPOINT_SZ        36u
#define COINBASE_SCRIPT_LO 2u
#define COINBASE_SCRIPT_HI 100u

struct hash256 body_txid(const uint8_t *p, const struct tx_view *t)
{
	const uint8_t *tx = p + t->off;
	struct sha256_ctx c;
	struct hash256 once;

	if (!t->segwit)
		return sha256d(tx, t->sz);
	sha256_start(&c);
	sha256_feed(&c, tx, 4);
	sha256_feed(&c, tx + 6, t->sz - 10 - t->wit_sz);
	sha256_feed(&c, tx + t->sz - 4, 4);
	once = sha256_finish(&c);
	return sha256(once.b, HASH_SZ);
}

/* In place.  False when mutated. */
static bool merkle(struct hash256 *h, uint32_t cnt)
{
	while (cnt > 1) {
		for (uint32_t i = 0; i < cnt; i += 2) {
			struct hash256 pair[2] = {h[i], i + 1 < cnt ? h[i + 1] : h[i]};

			if (i + 1 < cnt && hash256_eq(&pair[0], &pair[1]))
				return false;
			h[i / 2] = sha256d(pair, sizeof(pair));
		}
		cnt = (cnt + 1) / 2;
	}
	return true;
}

/* The only input spends nothing; its script's length then is one byte at most where it is legal. */
static bool is_coinbase(const uint8_t *p, const struct tx_view *t, uint8_t *script_sz)
{
	static const uint8_t null_outpoint[OUTPOINT_SZ] = {[32] = 0xff, [33] = 0xff, [34] = 0xff, [35] = 0xff};
	const uint8_t *in = p + t->off + 4 + (t->segwit ? 2 : 0) + 1;

	if (t->in_cnt != 1 || memcmp(in, null_outpoint, OUTPOINT_SZ) != 0)
		return false;
	*script_sz = in[OUTPOINT_SZ];
	return true;
}

/* Whether the transaction makes its block invalid.  Sets *is_first when it may stand first. */
static bool tx_is_invalid(const uint8_t *p, const struct tx_view *t, uint32_t i, bool *is_first)
{
	uint8_t script_sz = 0;
	bool coinbase = is_coinbase(p, t, &script_sz);

	if (i == 0)
		*is_first = coinbase;
	else if (coinbase)
		return true;
	if (coinbase && (script_sz < COINBASE_SCRIPT_LO || script_sz > COINBASE_SCRIPT_HI))
		return true;
	return t->in_cnt == 0 || t->out_cnt == 0;
}

/* Reads all transactions.  False when they are not what a node would read. */
static bool read_all(const uint8_t *p, size_t sz, size_t off, struct hash256 *txid, uint32_t cnt, bool *invalid)
{
	uint64_t stripped = off; /* header and count */
	bool has_coinbase = cnt == 0;

	for (uint32_t i = 0; i < cnt; i++) {
		struct tx_view t;
		size_t used;

		if (tx_parse(p + off, sz - off, true, &t, &used) != PARSE_OK)
			return false;
		t.off = (uint32_t)off;
		*invalid |= tx_is_invalid(p, &t, i, &has_coinbase);
		txid[i] = body_txid(p, &t);
		stripped += tx_view_stripped_sz(&t);
		off += used;
	}
	*invalid |= cnt == 0 || stripped > BLOCK_STRIPPED_SZ_MAX;
	return off == sz && has_coinbase;
}

bool body_condemns_header(const uint8_t *block, size_t sz)
{
	struct cur c = cur_of(block, sz > BLOCK_SZ_MAX ? 0 : sz);
	const uint8_t *header = cur_take(&c, HEADER_SZ);
	bool invalid = false, proven = false;
	struct hash256 *txid;
	uint32_t cnt = cur_count(&c, TX_SZ_READABLE);

	if (!cur_ok(&c))
		return false;
	txid = calloc((size_t)cnt + 1, sizeof(*txid));
	if (txid == NULL)
		return false;
	if (read_all(block, sz, (size_t)(c.p - block), txid, cnt, &invalid) && invalid)
		proven = merkle(txid, cnt) && memcmp(txid[0].b, header + 36, HASH_SZ) == 0;
	free(txid);
	return proven;
}
