#include "btc/block.h"

#include <assert.h>

#include "btc/block_priv.h"
#include "btc/cursor.h"

#define COINBASE_SCRIPT_SZ_MIN 2u
#define COINBASE_SCRIPT_SZ_MAX 100u

const char *parse_verdict_name(enum parse_verdict v)
{
	switch (v) {
	case PARSE_OK:
		return "ok";
	case PARSE_TRUNCATED:
		return "truncated";
	case PARSE_TRAILING:
		return "trailing bytes";
	case PARSE_NONCANONICAL:
		return "non-canonical size";
	case PARSE_LIMIT:
		return "over a limit";
	case PARSE_WITNESS:
		return "bad witness flag";
	case PARSE_EMPTY:
		return "nothing in it";
	case PARSE_COINBASE:
		return "bad coinbase";
	case PARSE_VERDICT_CNT:
		break;
	}
	return "unknown";
}

static uint32_t inputs_skip(struct cur *c)
{
	uint32_t cnt = cur_count(c, INPUT_SZ_MIN);

	for (uint32_t i = 0; i < cnt && cur_ok(c); i++) {
		cur_skip(c, OUTPOINT_SZ);
		cur_skip(c, (uint64_t)cur_count(c, 1) + 4); /* scriptSig, sequence */
	}
	return cnt;
}

static uint32_t outputs_skip(struct cur *c)
{
	uint32_t cnt = cur_count(c, OUTPUT_SZ_MIN);

	for (uint32_t i = 0; i < cnt && cur_ok(c); i++) {
		cur_skip(c, 8); /* value */
		cur_skip(c, cur_count(c, 1));
	}
	return cnt;
}

/* One stack for each input.  A node refuses an extended form in which every stack is empty, for the same
   transaction has a shorter one. */
static void witness_skip(struct cur *c, uint32_t in_cnt)
{
	bool any = false;

	for (uint32_t i = 0; i < in_cnt && cur_ok(c); i++) {
		uint32_t item_cnt = cur_count(c, 1);

		any |= item_cnt != 0;
		for (uint32_t j = 0; j < item_cnt && cur_ok(c); j++)
			cur_skip(c, cur_count(c, 1));
	}
	if (!any)
		cur_fail(c, PARSE_WITNESS);
}

/* Reads one transaction at c, whose buffer begins at base. */
static void tx_skip(struct cur *c, const uint8_t *base, bool allow_empty, struct tx_view *t)
{
	const uint8_t *start = c->p, *wit;
	uint8_t flag = 0;
	bool marker;

	cur_skip(c, 4); /* version */
	t->wit_sz = 0;
	t->out_cnt = 0;
	t->in_cnt = inputs_skip(c);
	marker = t->in_cnt == 0 && cur_ok(c);
	if (marker) {
		flag = cur_u8(c);
		if (flag != 0)
			t->in_cnt = inputs_skip(c);
	}
	/* After a zero flag a node reads no outputs: section 11.2, step 3. */
	if (!marker || flag != 0)
		t->out_cnt = outputs_skip(c);
	t->segwit = flag != 0;
	wit = c->p;
	if (flag & FLAG_WITNESS)
		witness_skip(c, t->in_cnt);
	if (flag & ~FLAG_WITNESS)
		cur_fail(c, PARSE_WITNESS);
	/* Poisoned, c->p is the end, and these numbers are bounded but mean nothing. */
	t->wit_sz = (uint32_t)(c->p - wit);
	cur_skip(c, 4); /* locktime */
	if (!allow_empty && (t->in_cnt == 0 || t->out_cnt == 0))
		cur_fail(c, PARSE_EMPTY);
	t->off = (uint32_t)(start - base);
	t->sz = (uint32_t)(c->p - start);
}

enum parse_verdict tx_parse(const uint8_t *p, size_t sz, bool allow_empty, struct tx_view *t, size_t *used)
{
	/* More than the largest block cannot be one transaction; what follows one is the caller's. */
	struct cur c = cur_of(p, sz > BLOCK_SZ_MAX ? BLOCK_SZ_MAX : sz);

	tx_skip(&c, p, allow_empty, t);
	if (!cur_ok(&c))
		return c.v == PARSE_TRUNCATED && sz > BLOCK_SZ_MAX ? PARSE_LIMIT : c.v;
	*used = t->sz;
	return PARSE_OK;
}

/* The first input's bytes. */
static const uint8_t *first_input(const uint8_t *p, const struct tx_view *t)
{
	return p + t->off + 4 + (t->segwit ? 2 : 0) + compact_sz(t->in_cnt);
}

static bool tx_is_coinbase(const uint8_t *p, const struct tx_view *t)
{
	static const uint8_t null_outpoint[OUTPOINT_SZ] = {[32] = 0xff, [33] = 0xff, [34] = 0xff, [35] = 0xff};

	return t->in_cnt == 1 && memcmp(first_input(p, t), null_outpoint, OUTPOINT_SZ) == 0;
}

static bool coinbase_ok(const uint8_t *p, const struct tx_view *t)
{
	/* Script lengths up to 100 are one byte. */
	uint8_t script_sz = first_input(p, t)[OUTPOINT_SZ];

	return tx_is_coinbase(p, t) && script_sz >= COINBASE_SCRIPT_SZ_MIN &&
	       script_sz <= COINBASE_SCRIPT_SZ_MAX;
}

bool block_coinbase_ok(const uint8_t *p, const struct tx_view *t, uint32_t idx)
{
	return idx == 0 ? coinbase_ok(p, t) : !tx_is_coinbase(p, t);
}

void block_view_add(struct block_view *bv, const struct tx_view *t)
{
	bv->stripped_sz += tx_view_stripped_sz(t);
	bv->segwit_tx_cnt += t->segwit;
	bv->in_cnt += t->in_cnt;
	bv->out_cnt += t->out_cnt;
}

enum parse_verdict block_view_end(struct block_view *bv, uint32_t sz)
{
	/* This bounds the stripped size, too: sz is no less, so 4 * stripped_sz <= weight. */
	uint64_t weight = 3 * (uint64_t)bv->stripped_sz + sz;

	static_assert(4 * BLOCK_STRIPPED_SZ_MAX == BLOCK_WEIGHT_MAX, "one limit implies the other");
	if (weight > BLOCK_WEIGHT_MAX)
		return PARSE_LIMIT;
	bv->total_sz = sz;
	bv->weight = (uint32_t)weight;
	return PARSE_OK;
}

enum parse_verdict block_parse(const uint8_t *p, size_t sz, struct block_view *bv, struct tx_view *tx)
{
	struct cur c;

	if (sz > BLOCK_SZ_MAX)
		return PARSE_LIMIT;
	c = cur_of(p, sz);
	memset(bv, 0, sizeof(*bv));
	cur_skip(&c, HEADER_SZ);
	bv->tx_cnt = cur_count(&c, TX_SZ_MIN);
	if (cur_ok(&c) && bv->tx_cnt == 0)
		return PARSE_EMPTY;
	if (bv->tx_cnt > BLOCK_TX_MAX)
		return PARSE_LIMIT;
	bv->stripped_sz = HEADER_SZ + (uint32_t)compact_sz(bv->tx_cnt);
	for (uint32_t i = 0; i < bv->tx_cnt && cur_ok(&c); i++) {
		struct tx_view *t = &tx[i];

		tx_skip(&c, p, false, t);
		if (!cur_ok(&c))
			break;
		if (!block_coinbase_ok(p, t, i))
			return PARSE_COINBASE;
		block_view_add(bv, t);
	}
	if (cur_end(&c) != PARSE_OK)
		return c.v;
	return block_view_end(bv, (uint32_t)sz);
}

void tx_each_input(const uint8_t *p, const struct tx_view *t,
		   bool (*cb)(void *arg, const struct outpoint *prev, uint32_t sequence), void *arg)
{
	struct cur c = cur_of(p + t->off, t->sz);

	cur_skip(&c, 4 + (t->segwit ? 2 : 0));
	cur_compact(&c);
	for (uint32_t i = 0; i < t->in_cnt && cur_ok(&c); i++) {
		struct outpoint prev;
		uint32_t sequence;

		prev.txid = cur_hash(&c);
		prev.vout = cur_le32(&c);
		cur_skip(&c, cur_count(&c, 1));
		sequence = cur_le32(&c);
		if (!cur_ok(&c) || !cb(arg, &prev, sequence))
			return;
	}
}

/* Heights 1 to 16 have an opcode each; any other is a little-endian number with a sign bit, in as few bytes
   as possible.  A node's heights fit into 31 bits. */
int64_t block_bip34_height(const uint8_t *p, const struct tx_view *t0)
{
	const uint8_t *script = first_input(p, t0) + OUTPOINT_SZ + 1;
	unsigned script_sz = script[-1], sz = script[0];
	uint32_t height = 0;

	if (sz >= 0x51 && sz <= 0x60)
		return sz - 0x50;
	if (sz < 1 || sz > 4 || sz >= script_sz)
		return -1;
	for (unsigned i = 0; i < sz; i++)
		height |= (uint32_t)script[1 + i] << 8 * i;
	if (script[sz] & 0x80)
		return -1; /* negative */
	if (script[sz] == 0 && (sz == 1 || (script[sz - 1] & 0x80) == 0))
		return -1; /* a byte more than needed */
	return height > 16 ? (int64_t)height : -1;
}
