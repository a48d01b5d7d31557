#include "scan/parts.h"

#include <stdlib.h>
#include <Judy.h>

#include "measure/measure.h"

#define SEED          0x5eed0a12u
#define RECENT_BLOCKS 6u

const char *const part_name[PART_CNT] = {"parse", "txid", "merkle", "lookup", "remember"};

/* What a block leaves between the parts. */
struct bench_work {
	struct block_view view;
	struct tx_view tx[BLOCK_TX_MAX];
	struct hash256 txid[BLOCK_TX_MAX], scratch[BLOCK_TX_MAX + 1];
	struct scan_hit hit[2 * BLOCK_TX_MAX];
	uint32_t hit_cnt;
};

struct parts {
	struct txid_kernel kernel;
	struct index_shard *shard;
	uint32_t height;
	struct bench_work w;
};

struct plain {
	void *judy;
	struct bench_work w;
};

static void lap(double *last, double *sum)
{
	double now = measure_cpu_ns();

	*sum += now - *last;
	*last = now;
}

static bool root_right(const struct txid_kernel *k, struct bench_work *w, const struct block_buf *buf)
{
	bool mutated;
	struct hash256 root = merkle_root(k, w->txid, w->view.tx_cnt, w->scratch, &mutated);

	return memcmp(root.b, buf->data + 36, HASH_SZ) == 0 && !mutated;
}

/* --- the scan's own --------------------------------------------------------------------------------------- */

struct parts *parts_new(const struct txid_kernel *kernel, const struct set *set, uint64_t decoy_cnt)
{
	struct parts *p = calloc(1, sizeof(*p));
	bool good = p != NULL;

	if (good) {
		p->kernel = *kernel;
		p->shard = index_new(0, 1, SEED);
		good = p->shard != NULL;
	}
	if (good)
		index_load_expect(p->shard, decoy_cnt + set->plant_cnt);
	for (uint64_t i = 0; good && i < decoy_cnt; i++) {
		struct locator l = set_decoy(i);

		good = index_load(p->shard, &l) == 0;
	}
	for (uint32_t i = 0; good && i < set->plant_cnt; i++)
		good = index_load(p->shard, &set->plant[i]) == 0;
	if (!good || index_load_end(p->shard) != 0) {
		parts_free(p);
		return NULL;
	}
	while (index_maintain(p->shard))
		;
	return p;
}

void parts_free(struct parts *p)
{
	if (p == NULL)
		return;
	index_free(p->shard);
	free(p);
}

static void lookup_burst(const struct parts *p, struct bench_work *w, const struct locator *l,
			 const struct scan_hit *at, unsigned cnt)
{
	for (uint64_t hits = index_lookup_burst(p->shard, l, cnt); hits != 0; hits &= hits - 1)
		w->hit[w->hit_cnt++] = at[__builtin_ctzll(hits)];
}

static void lookup_all(const struct parts *p, struct bench_work *w)
{
	struct locator l[INDEX_BURST_MAX];
	struct scan_hit at[INDEX_BURST_MAX];
	unsigned cnt = 0;

	w->hit_cnt = 0;
	for (uint32_t i = 0; i < w->view.tx_cnt; i++) {
		for (unsigned scheme = 0; scheme < 2; scheme++) {
			l[cnt] = locator_of_txid(&w->txid[i], (enum locator_scheme)scheme);
			at[cnt++] = (struct scan_hit){i, (enum locator_scheme)scheme};
		}
		if (cnt == INDEX_BURST_MAX) {
			lookup_burst(p, w, l, at, cnt);
			cnt = 0;
		}
	}
	lookup_burst(p, w, l, at, cnt);
}

static bool parts_block(struct parts *p, const struct set_block *b, double ns[PART_CNT])
{
	struct bench_work *w = &p->w;
	double last = measure_cpu_ns();
	bool good = block_parse(b->buf->data, b->buf->sz, &w->view, w->tx) == PARSE_OK;

	if (!good)
		return false;
	lap(&last, &ns[PART_WALK]);
	p->kernel.hash(b->buf->data, w->tx, w->txid, w->view.tx_cnt);
	lap(&last, &ns[PART_TXID]);
	good = root_right(&p->kernel, w, b->buf);
	lap(&last, &ns[PART_MERKLE]);
	lookup_all(p, w);
	lap(&last, &ns[PART_LOOKUP]);
	good &= index_block_push(p->shard, &b->hash, ++p->height, w->txid, w->view.tx_cnt, 0) == 0;
	if (p->height > RECENT_BLOCKS)
		index_block_evict(p->shard, p->height - RECENT_BLOCKS);
	lap(&last, &ns[PART_REMEMBER]);
	return good;
}

bool parts_pass(struct parts *p, const struct set *set, double ns[PART_CNT])
{
	bool good = true;

	for (uint32_t i = 0; i < set->block_cnt; i++)
		good = good && parts_block(p, &set->block[i], ns) &&
		       set_hits_right(set, i, p->w.hit, p->w.hit_cnt);
	return good;
}

/* --- the plain way ---------------------------------------------------------------------------------------- */

static bool judy_add(struct plain *p, const struct locator *l)
{
	uint64_t half[2];
	Word_t *slot;

	memcpy(half, l->b, LOCATOR_SZ);
	slot = (Word_t *)JudyLIns(&p->judy, half[0], PJE0);
	if (slot == NULL || slot == (Word_t *)PJERR)
		return false;
	*slot = half[1];
	return true;
}

static bool judy_has(const struct plain *p, const struct locator *l)
{
	uint64_t half[2];
	const Word_t *slot;

	memcpy(half, l->b, LOCATOR_SZ);
	slot = (const Word_t *)JudyLGet(p->judy, half[0], PJE0);
	return slot != NULL && *slot == half[1];
}

struct plain *plain_new(const struct set *set, uint64_t decoy_cnt)
{
	struct plain *p = calloc(1, sizeof(*p));
	bool good = p != NULL;

	for (uint64_t i = 0; good && i < decoy_cnt; i++) {
		struct locator l = set_decoy(i);

		good = judy_add(p, &l);
	}
	for (uint32_t i = 0; good && i < set->plant_cnt; i++)
		good = judy_add(p, &set->plant[i]);
	if (good)
		return p;
	plain_free(p);
	return NULL;
}

void plain_free(struct plain *p)
{
	if (p == NULL)
		return;
	JudyLFreeArray(&p->judy, PJE0);
	free(p);
}

static bool plain_block(struct plain *p, const struct library *lib, const struct set_block *b,
			double ns[PART_CNT])
{
	const struct txid_kernel pairs = {.name = lib->name, .hash = lib->hash, .pairs = lib->pairs};
	struct bench_work *w = &p->w;
	double last = measure_cpu_ns();
	bool good = block_parse(b->buf->data, b->buf->sz, &w->view, w->tx) == PARSE_OK;

	if (!good)
		return false;
	lap(&last, &ns[PART_WALK]);
	lib->hash(b->buf->data, w->tx, w->txid, w->view.tx_cnt);
	lap(&last, &ns[PART_TXID]);
	good = root_right(&pairs, w, b->buf);
	lap(&last, &ns[PART_MERKLE]);
	w->hit_cnt = 0;
	for (uint32_t i = 0; i < w->view.tx_cnt; i++) {
		for (unsigned scheme = 0; scheme < 2; scheme++) {
			struct locator l = locator_of_txid(&w->txid[i], (enum locator_scheme)scheme);

			if (judy_has(p, &l))
				w->hit[w->hit_cnt++] = (struct scan_hit){i, (enum locator_scheme)scheme};
		}
	}
	lap(&last, &ns[PART_LOOKUP]);
	return good;
}

bool plain_pass(struct plain *p, const struct library *lib, const struct set *set, double ns[PART_CNT])
{
	bool good = true;

	for (uint32_t i = 0; i < set->block_cnt; i++)
		good = good && plain_block(p, lib, &set->block[i], ns) &&
		       set_hits_right(set, i, p->w.hit, p->w.hit_cnt);
	return good;
}
