#include "serve/mempool.h"

#include <stdlib.h>

#include "btc/sha256.h"

enum { SLOTS = 1 << 17 }; /* twice MEMPOOL_TX_MAX */

struct mempool {
	struct mempool_tx tx[MEMPOOL_TX_MAX];
	uint32_t cnt;
	size_t bytes;
	uint32_t by_id[2][SLOTS]; /* index + 1, by txid and by wtxid */
};

struct mempool *mempool_new(void)
{
	return calloc(1, sizeof(struct mempool));
}

void mempool_free(struct mempool *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->cnt; i++)
		free(m->tx[i].raw);
	free(m);
}

uint32_t mempool_cnt(const struct mempool *m)
{
	return m->cnt;
}

const struct mempool_tx *mempool_at(const struct mempool *m, uint32_t i)
{
	return &m->tx[i];
}

static const struct hash256 *id_of(const struct mempool_tx *t, bool by_wtxid)
{
	return by_wtxid ? &t->wtxid : &t->txid;
}

static uint32_t slot_of(const struct mempool *m, const struct hash256 *id, bool by_wtxid)
{
	uint32_t at, s;

	memcpy(&at, id->b, sizeof(at));
	for (at &= SLOTS - 1; (s = m->by_id[by_wtxid][at]) != 0; at = (at + 1) & (SLOTS - 1)) {
		if (hash256_eq(id_of(&m->tx[s - 1], by_wtxid), id))
			break;
	}
	return at;
}

const struct mempool_tx *mempool_find(const struct mempool *m, const struct hash256 *id, bool by_wtxid)
{
	uint32_t s = m->by_id[by_wtxid][slot_of(m, id, by_wtxid)];

	return s ? &m->tx[s - 1] : NULL;
}

size_t tx_strip(uint8_t *out, const uint8_t *p, const struct tx_view *t)
{
	const uint8_t *q = p + t->off;
	size_t middle;

	if (!t->segwit) {
		memcpy(out, q, t->sz);
		return t->sz;
	}
	middle = t->sz - 4 - t->wit_sz - 6;
	memcpy(out, q, 4);
	memcpy(out + 4, q + 6, middle);
	memcpy(out + 4 + middle, q + t->sz - 4, 4);
	return middle + 8;
}

enum mempool_verdict mempool_add(struct mempool *m, const uint8_t *raw, size_t sz, uint32_t from,
				 struct hash256 *txid, const char **why)
{
	struct mempool_tx t = {.sz = (uint32_t)sz, .from = from};
	size_t used = 0;
	enum parse_verdict v = tx_parse(raw, sz, false, &t.view, &used);

	if (v == PARSE_OK && used != sz)
		v = PARSE_TRAILING;
	if (v != PARSE_OK) {
		*why = parse_verdict_name(v);
		return MEMPOOL_BAD;
	}
	t.raw = malloc(sz);
	if (!t.raw) {
		*why = "out of memory";
		return MEMPOOL_BAD;
	}
	t.txid = sha256d(t.raw, tx_strip(t.raw, raw, &t.view));
	t.wtxid = sha256d(raw, sz);
	*txid = t.txid;
	memcpy(t.raw, raw, sz);
	if (mempool_find(m, &t.txid, false)) {
		free(t.raw);
		return MEMPOOL_KNOWN;
	}
	if (m->cnt == MEMPOOL_TX_MAX || sz > MEMPOOL_BYTES_MAX - m->bytes) {
		free(t.raw);
		return MEMPOOL_FULL;
	}
	m->by_id[false][slot_of(m, &t.txid, false)] = m->cnt + 1;
	m->by_id[true][slot_of(m, &t.wtxid, true)] = m->cnt + 1;
	m->tx[m->cnt++] = t;
	m->bytes += sz;
	return MEMPOOL_NEW;
}
