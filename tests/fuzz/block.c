/* block.c - the block parser and the txid kernels must agree with the slow reference about every input: whether
   it is a block, where its transactions lie, and what their txids are. */
#include <stdlib.h>

#include "btc/block_walk.h"
#include "ref_block.h"
#include "txid/txid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

/* Not assert(): this must stop a release build, too. */
static void must(bool ok)
{
	if (!ok)
		abort();
}

/* sz bytes of its own, so that the sanitizer sees a read past the end. */
static uint8_t *exact_copy(const uint8_t *data, size_t sz)
{
	uint8_t *p = malloc(sz != 0 ? sz : 1);

	must(p != NULL);
	if (sz != 0)
		memcpy(p, data, sz);
	return p;
}

static bool ignore_input(void *arg, const struct outpoint *prev, uint32_t sequence)
{
	(void)prev;
	(void)sequence;
	(*(uint64_t *)arg)++;
	return true;
}

static void tx_agrees(const uint8_t *p, const struct tx_view *t, const struct hash256 *txid,
		      const struct ref_tx *want)
{
	uint64_t in_cnt = 0;

	must(t->off == want->off && t->sz == want->sz);
	must(tx_view_stripped_sz(t) == want->stripped_sz);
	must(t->in_cnt == want->in_cnt && t->out_cnt == want->out_cnt);
	must(hash256_eq(txid, &want->txid));
	tx_each_input(p, t, ignore_input, &in_cnt);
	must(in_cnt == t->in_cnt);
}

/* The same bytes arriving in pieces, cut where they say themselves. */
static void check_walk(const uint8_t *p, size_t sz, enum parse_verdict v, const struct block_view *bv,
		       const struct tx_view *tx)
{
	static struct tx_view walk_tx[BLOCK_TX_MAX];
	struct block_walk w;

	block_walk_start(&w, p, (uint32_t)sz, walk_tx);
	for (size_t at = 0; at < sz;) {
		size_t piece = 1 + p[at] % 97;
		uint8_t *part;

		at = at + piece < sz ? at + piece : sz;
		/* Only so much exists. */
		part = exact_copy(p, at);
		w.p = part;
		block_walk_go(&w, (uint32_t)at);
		free(part);
	}
	must(w.over && w.verdict == v);
	if (v != PARSE_OK)
		return;
	must(memcmp(&w.bv, bv, sizeof(*bv)) == 0);
	for (size_t i = 0; i < bv->tx_cnt; i++)
		must(walk_tx[i].off == tx[i].off && walk_tx[i].sz == tx[i].sz &&
		     walk_tx[i].wit_sz == tx[i].wit_sz && walk_tx[i].segwit == tx[i].segwit &&
		     walk_tx[i].in_cnt == tx[i].in_cnt && walk_tx[i].out_cnt == tx[i].out_cnt);
}

static void check_block(const uint8_t *p, size_t sz)
{
	static struct ref_block want;
	static struct tx_view tx[BLOCK_TX_MAX];
	static struct hash256 txid[BLOCK_TX_MAX];
	size_t kernel_cnt;
	const struct txid_kernel *const *kernels = txid_kernels(&kernel_cnt);
	struct block_view bv;
	enum parse_verdict v = block_parse(p, sz, &bv, tx);

	/* Copying at every piece is quadratic. */
	if (sz <= 20000)
		check_walk(p, sz, v, &bv, tx);
	must(v == ref_block(p, sz, &want));
	if (v != PARSE_OK)
		return;
	must(bv.tx_cnt == want.tx_cnt && bv.total_sz == sz);
	must(bv.stripped_sz == want.stripped_sz && bv.weight == want.weight);
	for (size_t k = 0; k < kernel_cnt; k++) {
		if ((kernels[k]->need & ~cpu_features()) != 0)
			continue;
		kernels[k]->hash(p, tx, txid, bv.tx_cnt);
		for (size_t i = 0; i < bv.tx_cnt; i++)
			tx_agrees(p, &tx[i], &txid[i], &want.tx[i]);
	}
	block_bip34_height(p, &tx[0]);
}

/* The same bytes as a transaction outside a block: what a penalty is. */
static void check_tx(const uint8_t *p, size_t sz)
{
	struct ref_tx want;
	struct tx_view t;
	struct hash256 txid;
	size_t used = 0, kernel_cnt;
	enum parse_verdict v = tx_parse(p, sz, true, &t, &used);
	enum parse_verdict want_v = ref_tx(p, sz, &want);

	must(v == want_v);
	if (want_v == PARSE_OK && (want.in_cnt == 0 || want.out_cnt == 0))
		want_v = PARSE_EMPTY;
	must(tx_parse(p, sz, false, &t, &used) == want_v);
	if (v != PARSE_OK)
		return;
	must(tx_parse(p, sz, true, &t, &used) == PARSE_OK && used == want.sz);
	txid_kernels(&kernel_cnt)[0]->hash(p, &t, &txid, 1);
	tx_agrees(p, &t, &txid, &want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	uint8_t *p = exact_copy(data, sz);

	check_block(p, sz);
	if (sz <= BLOCK_SZ_MAX)
		check_tx(p, sz);
	free(p);
	return 0;
}
