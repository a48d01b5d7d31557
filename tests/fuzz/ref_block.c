#include "ref_block.h"

#include <stdlib.h>

#include "btc/sha256.h"

struct reader {
	const uint8_t *p;
	size_t sz, at;
	bool bad;
};

/* Byte by byte, one check each. */
static uint8_t byte(struct reader *r)
{
	if (r->at >= r->sz)
		r->bad = true;
	return r->bad ? 0 : r->p[r->at++];
}

static uint64_t number(struct reader *r, unsigned byte_cnt)
{
	uint64_t x = 0;

	for (unsigned i = 0; i < byte_cnt; i++)
		x += (uint64_t)byte(r) << (8 * i);
	return x;
}

static uint64_t size(struct reader *r)
{
	uint8_t first = byte(r);
	uint64_t x = first;

	if (first == 0xfd) {
		x = number(r, 2);
		r->bad |= x <= 252;
	} else if (first == 0xfe) {
		x = number(r, 4);
		r->bad |= x <= 65535;
	} else if (first == 0xff) {
		x = number(r, 8);
		r->bad |= x <= 4294967295;
	}
	r->bad |= x > 0x02000000;
	return r->bad ? 0 : x;
}

static void jump(struct reader *r, uint64_t sz)
{
	if (sz > r->sz - r->at)
		r->bad = true;
	if (!r->bad)
		r->at += sz;
}

static uint64_t inputs(struct reader *r)
{
	uint64_t cnt = size(r);

	for (uint64_t i = 0; i < cnt && !r->bad; i++) {
		jump(r, 36);
		jump(r, size(r));
		jump(r, 4);
	}
	return cnt;
}

static uint64_t outputs(struct reader *r)
{
	uint64_t cnt = size(r);

	for (uint64_t i = 0; i < cnt && !r->bad; i++) {
		jump(r, 8);
		jump(r, size(r));
	}
	return cnt;
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

bool ref_tx_ok(const uint8_t *p, size_t sz, struct ref_tx *out)
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
	if (flag & 1) {
		bool all_empty = true;

		for (uint64_t i = 0; i < out->in_cnt && !r.bad; i++) {
			uint64_t item_cnt = size(&r);

			for (uint64_t j = 0; j < item_cnt && !r.bad; j++) {
				all_empty = false;
				jump(&r, size(&r));
			}
		}
		r.bad |= all_empty;
	}
	r.bad |= (flag & 0xfe) != 0;
	number(&r, 4);
	if (r.bad)
		return false;
	out->off = 0;
	out->sz = r.at;
	out->stripped_sz = 4 + (body_end - body) + 4;
	out->txid = stripped_txid(p, body, body_end, r.at);
	return true;
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

bool ref_block_ok(const uint8_t *p, size_t sz, struct ref_block *out)
{
	struct reader r = {.p = p, .sz = sz};

	if (sz > 4000000)
		return false;
	jump(&r, 80);
	out->tx_cnt = size(&r);
	if (r.bad || out->tx_cnt == 0 || out->tx_cnt > BLOCK_TX_MAX)
		return false;
	out->stripped_sz = r.at;
	for (uint64_t i = 0; i < out->tx_cnt; i++) {
		struct ref_tx *t = &out->tx[i];

		if (!ref_tx_ok(p + r.at, sz - r.at, t) || t->in_cnt == 0 || t->out_cnt == 0)
			return false;
		t->off = r.at;
		if (spends_nothing(p + t->off, t) != (i == 0))
			return false;
		if (i == 0 && !coinbase_script_ok(p + t->off, t))
			return false;
		r.at += t->sz;
		out->stripped_sz += t->stripped_sz;
	}
	out->weight = 3 * out->stripped_sz + sz;
	return r.at == sz && out->stripped_sz <= 1000000 && out->weight <= 4000000;
}
