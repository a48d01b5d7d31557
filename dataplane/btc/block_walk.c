#include "btc/block_walk.h"

#include "btc/block_priv.h"
#include "btc/cursor.h"

/* What stands at pos.  Bytes that nobody needs to look at are passed over before they have come. */
enum at {
	AT_TX_COUNT,
	AT_TX,        /* version */
	AT_IN_COUNT,  /* or the marker */
	AT_IN,        /* script length of an input */
	AT_FLAG,      /* of the extended form */
	AT_IN_COUNT2, /* after the flag */
	AT_OUT_COUNT,
	AT_OUT,       /* script length of an output */
	AT_WIT_COUNT, /* items of a stack */
	AT_WIT,       /* length of an item */
	AT_LOCKTIME,  /* and the end of the transaction: its bytes must be there */
	AT_OVER
};

static void over(struct block_walk *w, enum parse_verdict v)
{
	w->over = true;
	w->verdict = v;
	w->at = AT_OVER;
}

/* Passes over n bytes.  False: there will never be so many. */
static inline bool pass(struct block_walk *w, uint64_t n)
{
	if (__builtin_expect(n > w->sz - w->pos, 0)) {
		over(w, PARSE_TRUNCATED);
		return false;
	}
	w->pos += (uint32_t)n;
	return true;
}

/* The bytes of the CompactSize at pos, or 0: not all of them are there, now or ever. */
static inline uint32_t compact_here(struct block_walk *w, uint32_t present)
{
	uint32_t n = 1;

	if (__builtin_expect(w->pos < present, 1)) {
		uint8_t b = w->p[w->pos];

		if (__builtin_expect(b < 0xfd, 1))
			return 1;
		n = b == 0xfd ? 3 : b == 0xfe ? 5 : 9;
	}
	if (n > w->sz - w->pos)
		over(w, PARSE_TRUNCATED);
	w->need = w->pos + n;
	return w->need <= present ? n : 0;
}

/* A count of things of at least min_sz bytes.  False: it is not there yet, or the walk is over. */
static inline bool read_count(struct block_walk *w, uint32_t present, uint32_t min_sz, uint32_t *out)
{
	uint32_t n = compact_here(w, present);
	struct cur c;

	if (__builtin_expect(n == 0, 0))
		return false;
	if (__builtin_expect(n == 1, 1)) {
		*out = w->p[w->pos++];
		if (__builtin_expect((uint64_t)*out * min_sz <= w->sz - w->pos, 1))
			return true;
		over(w, PARSE_TRUNCATED);
		return false;
	}
	c = cur_of(w->p + w->pos, w->sz - w->pos);
	*out = cur_count(&c, min_sz); /* reads n bytes */
	if (!cur_ok(&c)) {
		over(w, c.v);
		return false;
	}
	w->pos += n;
	return true;
}

/* Each of the following does what stands at pos.  False: go no further now. */

static bool at_tx_count(struct block_walk *w, uint32_t present)
{
	uint32_t cnt;

	if (!read_count(w, present, TX_SZ_MIN, &cnt))
		return false;
	if (cnt == 0 || cnt > BLOCK_TX_MAX) {
		over(w, cnt == 0 ? PARSE_EMPTY : PARSE_LIMIT);
		return false;
	}
	w->bv.tx_cnt = cnt;
	w->bv.stripped_sz = HEADER_SZ + (uint32_t)compact_sz(cnt);
	w->at = AT_TX;
	return true;
}

static bool at_tx(struct block_walk *w)
{
	w->tx[w->tx_done] = (struct tx_view){.off = w->pos};
	w->flag = 0;
	w->at = AT_IN_COUNT;
	return pass(w, 4);
}

/* To the script length of the first input, or past the empty vector. */
static bool inputs_begin(struct block_walk *w)
{
	w->left = w->tx[w->tx_done].in_cnt;
	w->at = w->left != 0 ? AT_IN : AT_OUT_COUNT;
	return w->left == 0 || pass(w, OUTPOINT_SZ);
}

static bool at_in_count(struct block_walk *w, uint32_t present)
{
	struct tx_view *t = &w->tx[w->tx_done];

	if (!read_count(w, present, INPUT_SZ_MIN, &t->in_cnt))
		return false;
	if (t->in_cnt == 0 && w->at == AT_IN_COUNT) {
		w->at = AT_FLAG;
		return true;
	}
	return inputs_begin(w);
}

static bool at_flag(struct block_walk *w, uint32_t present)
{
	w->need = w->pos + 1;
	if (w->pos == w->sz)
		over(w, PARSE_TRUNCATED);
	if (w->need > present)
		return false;
	w->flag = w->p[w->pos++];
	w->tx[w->tx_done].segwit = w->flag != 0;
	w->wit_pos = w->pos;
	/* After a zero flag a node reads no outputs (spec/bitcoin.md section 11.2, step 3). */
	w->at = w->flag != 0 ? AT_IN_COUNT2 : AT_LOCKTIME;
	return w->flag != 0 || pass(w, 4);
}

static bool at_in(struct block_walk *w, uint32_t present)
{
	uint32_t n;

	do {
		if (!read_count(w, present, 1, &n))
			return false;
		/* Script, sequence; and the next input's outpoint. */
		if (!pass(w, (uint64_t)n + 4))
			return false;
		if (--w->left != 0 && !pass(w, OUTPOINT_SZ))
			return false;
	} while (w->left != 0);
	w->at = AT_OUT_COUNT;
	return true;
}

/* After the outputs. */
static bool witness_begin(struct block_walk *w)
{
	w->wit_pos = w->pos;
	if (!(w->flag & FLAG_WITNESS)) {
		if (w->flag != 0) {
			over(w, PARSE_WITNESS);
			return false;
		}
		w->at = AT_LOCKTIME;
		return pass(w, 4);
	}
	w->any_item = false;
	w->left = w->tx[w->tx_done].in_cnt;
	w->at = AT_WIT_COUNT;
	return true;
}

static bool at_out_count(struct block_walk *w, uint32_t present)
{
	struct tx_view *t = &w->tx[w->tx_done];

	if (!read_count(w, present, OUTPUT_SZ_MIN, &t->out_cnt))
		return false;
	w->left = t->out_cnt;
	if (w->left == 0)
		return witness_begin(w);
	w->at = AT_OUT;
	return pass(w, 8);
}

static bool at_out(struct block_walk *w, uint32_t present)
{
	uint32_t n;

	do {
		if (!read_count(w, present, 1, &n))
			return false;
		if (!pass(w, n))
			return false;
		if (--w->left != 0 && !pass(w, 8))
			return false;
	} while (w->left != 0);
	return witness_begin(w);
}

static bool at_wit_count(struct block_walk *w, uint32_t present)
{
	while (w->left != 0) {
		if (!read_count(w, present, 1, &w->item_left))
			return false;
		w->left--;
		w->any_item |= w->item_left != 0;
		if (w->item_left != 0) {
			w->at = AT_WIT;
			return true;
		}
	}
	/* Only empty stacks: the same transaction has a shorter form. */
	if (!w->any_item || (w->flag & ~FLAG_WITNESS)) {
		over(w, PARSE_WITNESS);
		return false;
	}
	w->at = AT_LOCKTIME;
	w->tx[w->tx_done].wit_sz = w->pos - w->wit_pos;
	return pass(w, 4);
}

static bool at_wit(struct block_walk *w, uint32_t present)
{
	uint32_t n;

	do {
		if (!read_count(w, present, 1, &n) || !pass(w, n))
			return false;
	} while (--w->item_left != 0);
	w->at = AT_WIT_COUNT;
	return true;
}

static void block_end(struct block_walk *w)
{
	if (w->pos != w->sz)
		over(w, PARSE_TRAILING);
	else
		over(w, block_view_end(&w->bv, w->sz));
}

static bool tx_end(struct block_walk *w, uint32_t present)
{
	struct tx_view *t = &w->tx[w->tx_done];

	if (t->in_cnt == 0 || t->out_cnt == 0) {
		over(w, PARSE_EMPTY);
		return false;
	}
	w->need = w->pos;
	if (w->need > present)
		return false;
	t->sz = w->pos - t->off;
	if (!block_coinbase_ok(w->p, t, w->tx_done)) {
		over(w, PARSE_COINBASE);
		return false;
	}
	block_view_add(&w->bv, t);
	w->at = AT_TX;
	if (++w->tx_done == w->bv.tx_cnt)
		block_end(w);
	return !w->over;
}

void block_walk_go(struct block_walk *w, uint32_t present)
{
	bool on = true;

	while (on) {
		switch ((enum at)w->at) {
		case AT_TX_COUNT:
			on = at_tx_count(w, present);
			break;
		case AT_TX:
			on = at_tx(w);
			break;
		case AT_IN_COUNT:
		case AT_IN_COUNT2:
			on = at_in_count(w, present);
			break;
		case AT_IN:
			on = at_in(w, present);
			break;
		case AT_FLAG:
			on = at_flag(w, present);
			break;
		case AT_OUT_COUNT:
			on = at_out_count(w, present);
			break;
		case AT_OUT:
			on = at_out(w, present);
			break;
		case AT_WIT_COUNT:
			on = at_wit_count(w, present);
			break;
		case AT_WIT:
			on = at_wit(w, present);
			break;
		case AT_LOCKTIME:
			on = tx_end(w, present);
			break;
		case AT_OVER:
			return;
		}
	}
}

void block_walk_start(struct block_walk *w, const uint8_t *p, uint32_t sz, struct tx_view *tx)
{
	*w = (struct block_walk){.p = p, .tx = tx, .sz = sz, .at = AT_TX_COUNT};
	if (sz > BLOCK_SZ_MAX)
		over(w, PARSE_LIMIT);
	else if (pass(w, HEADER_SZ))
		block_walk_go(w, 0);
}
