#include "ref_block.h"

#include <stdlib.h>

#include "btc/sha256.h"

/* Reads from left to right; the first thing that is wrong is the verdict, and nothing is read after it. */
struct reader {
	const uint8_t *p;
	size_t sz, at;
	enum parse_verdict verdict;
};

static bool ok(const struct reader *r)
{
	return r->verdict == PARSE_OK;
}

static void must_be(struct reader *r, bool right, enum parse_verdict otherwise)
{
	if (!right && ok(r))
		r->verdict = otherwise;
}

/* Byte by byte, one check each. */
static uint8_t byte(struct reader *r)
{
	must_be(r, r->at < r->sz, PARSE_TRUNCATED);
	return ok(r) ? r->p[r->at++] : 0;
}

static uint64_t number(struct reader *r, unsigned byte_cnt)
{
	uint64_t x = 0;

	for (unsigned i = 0; i < byte_cnt; i++)
		x += (uint64_t)byte(r) << (8 * i);
	return x;
}

/* A CompactSize that counts things of at least so many bytes each: what is left must be able to hold them. */
static uint64_t count(struct reader *r, uint64_t bytes_each)
{
	uint8_t first = byte(r);
	uint64_t x = first;

	if (first == 0xfd) {
		x = number(r, 2);
		must_be(r, x > 252, PARSE_NONCANONICAL);
	} else if (first == 0xfe) {
		x = number(r, 4);
		must_be(r, x > 65535, PARSE_NONCANONICAL);
	} else if (first == 0xff) {
		x = number(r, 8);
		must_be(r, x > 4294967295, PARSE_NONCANONICAL);
	}
	must_be(r, x <= 0x02000000, PARSE_LIMIT);
	if (ok(r))
		must_be(r, x * bytes_each <= r->sz - r->at, PARSE_TRUNCATED);
	return ok(r) ? x : 0;
}

static void jump(struct reader *r, uint64_t sz)
{
	must_be(r, sz <= r->sz - r->at, PARSE_TRUNCATED);
	if (ok(r))
		r->at += sz;
}

static uint64_t inputs(struct reader *r)
{
	uint64_t cnt = count(r, 36 + 1 + 4);

	for (uint64_t i = 0; i < cnt && ok(r); i++) {
		jump(r, 36);
		jump(r, count(r, 1));
		jump(r, 4);
	}
	return cnt;
}

static uint64_t outputs(struct reader *r)
{
	uint64_t cnt = count(r, 8 + 1);

	for (uint64_t i = 0; i < cnt && ok(r); i++) {
		jump(r, 8);
		jump(r, count(r, 1));
	}
	return cnt;
}

static void witness(struct reader *r, uint64_t in_cnt)
{
	bool all_empty = true;

	for (uint64_t i = 0; i < in_cnt && ok(r); i++) {
		uint64_t item_cnt = count(r, 1);

		for (uint64_t j = 0; j < item_cnt && ok(r); j++) {
			all_empty = false;
			jump(r, count(r, 1));
		}
	}
	must_be(r, !all_empty, PARSE_WITNESS);
}

static struct hash256 stripped_txid(const uint8_t *tx, size_t body, size_t body_end, size_t end)
{
	size_t sz = 4 + (body_end - body) + 4;
	uint8_t *copy = malloc(sz);
	struct hash256 h;

	if (copy == NULL)
		abort();
	memcpy(copy, tx, 4);
	memcpy(copy + 4, tx + body, body_end - body);
	memcpy(copy + sz - 4, tx + end - 4, 4);
	h = sha256d(copy, sz);
	free(copy);
	return h;
}

enum parse_verdict ref_tx(const uint8_t *p, size_t sz, struct ref_tx *out)
{
	struct reader r = {.p = p, .sz = sz};
	size_t body = 4, body_end;
	uint8_t flag = 0;

	number(&r, 4);
	out->in_cnt = inputs(&r);
	out->out_cnt = 0;
	if (out->in_cnt != 0) {
		out->out_cnt = outputs(&r);
	} else {
		flag = byte(&r);
		if (flag != 0) {
			body = r.at;
			out->in_cnt = inputs(&r);
			out->out_cnt = outputs(&r);
		}
	}
	body_end = r.at;
	if (flag & 1)
		witness(&r, out->in_cnt);
	must_be(&r, (flag & 0xfe) == 0, PARSE_WITNESS);
	number(&r, 4);
	if (!ok(&r))
		return r.verdict;
	out->off = 0;
	out->sz = r.at;
	out->stripped_sz = 4 + (body_end - body) + 4;
	out->txid = stripped_txid(p, body, body_end, r.at);
	return PARSE_OK;
}

/* Exactly one input, and that spends nothing. */
static bool spends_nothing(const uint8_t *tx, const struct ref_tx *t)
{
	size_t at = t->stripped_sz == t->sz ? 5 : 7;

	if (t->in_cnt != 1)
		return false;
	for (unsigned i = 0; i < 36; i++)
		if (tx[at + i] != (i < 32 ? 0x00 : 0xff))
			return false;
	return true;
}

static bool coinbase_script_ok(const uint8_t *tx, const struct ref_tx *t)
{
	uint8_t sz = tx[(t->stripped_sz == t->sz ? 5 : 7) + 36];

	return sz >= 2 && sz <= 100;
}

enum parse_verdict ref_block(const uint8_t *p, size_t sz, struct ref_block *out)
{
	struct reader r = {.p = p, .sz = sz};

	if (sz > 4000000)
		return PARSE_LIMIT;
	jump(&r, 80);
	out->tx_cnt = count(&r, 60);
	must_be(&r, out->tx_cnt > 0, PARSE_EMPTY);
	must_be(&r, out->tx_cnt <= BLOCK_TX_MAX, PARSE_LIMIT);
	out->stripped_sz = r.at;
	for (uint64_t i = 0; i < out->tx_cnt && ok(&r); i++) {
		struct ref_tx *t = &out->tx[i];

		r.verdict = ref_tx(p + r.at, sz - r.at, t);
		if (!ok(&r))
			break;
		t->off = r.at;
		r.at += t->sz;
		out->stripped_sz += t->stripped_sz;
		must_be(&r, t->in_cnt > 0 && t->out_cnt > 0, PARSE_EMPTY);
		if (ok(&r))
			must_be(&r, spends_nothing(p + t->off, t) == (i == 0), PARSE_COINBASE);
		if (ok(&r) && i == 0)
			must_be(&r, coinbase_script_ok(p + t->off, t), PARSE_COINBASE);
	}
	must_be(&r, r.at == sz, PARSE_TRAILING);
	out->weight = 3 * out->stripped_sz + sz;
	must_be(&r, out->stripped_sz <= 1000000, PARSE_LIMIT);
	must_be(&r, out->weight <= 4000000, PARSE_LIMIT);
	return r.verdict;
}
