#include "synth/assemble.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "synth/breach.h"
#include "synth/txmix.h"
#include "btc/sha256.h"

enum { STREAM_BLOCK = 0xb10c };
enum {
	COUNT_ROOM = 3,     /* of the transaction count: one byte or three */
	COMMITMENT_SZ = 38, /* script of the witness commitment output */
	PLANTS_MAX = 480,   /* in one block; as many of the longest fit its weight */
	BLOCK_INTERVAL_S = 600,
	TIME_SPREAD_S = 700 /* real headers step back by minutes now and then; median time still rises */
};
/* Room for the header and the coinbase, in weight. */
#define BLOCK_OVERHEAD_WEIGHT 2000u

static_assert(BLOCK_OVERHEAD_WEIGHT + PLANTS_MAX * 4 * BREACH_TX_SZ_MAX <= BLOCK_WEIGHT_MAX, "they fit");

struct assembler {
	const struct synth_config *cfg;
	const struct txid_kernel *kernel;
	const struct network *net;
	uint8_t *room;
	struct tx_view *tx, *whole_tx;
	struct hash256 *txid, *scratch;
	uint32_t plant_at[PLANTS_MAX]; /* before which ordinary transaction each plant goes, ascending */
	uint32_t plant_tx_idx[PLANTS_MAX];
	size_t commitment_off; /* into the writer's bytes; 0: none */
	struct breach breach;
};

#define BUILD_ROOM (BLOCK_SZ_MAX + TXMIX_SZ_MAX)

struct assembler *assembler_new(const struct synth_config *cfg, const struct txid_kernel *kernel)
{
	struct assembler *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->cfg = cfg;
	a->kernel = kernel;
	a->net = network_get(NET_REGTEST);
	a->room = malloc(HEADER_SZ + COUNT_ROOM + BUILD_ROOM);
	a->tx = calloc(BLOCK_TX_MAX, sizeof(*a->tx));
	a->whole_tx = calloc(BLOCK_TX_MAX, sizeof(*a->whole_tx));
	a->txid = calloc(BLOCK_TX_MAX, sizeof(*a->txid));
	a->scratch = calloc(BLOCK_TX_MAX + 1, sizeof(*a->scratch));
	if (!a->room || !a->tx || !a->whole_tx || !a->txid || !a->scratch) {
		assembler_free(a);
		return NULL;
	}
	return a;
}

void assembler_free(struct assembler *a)
{
	if (!a)
		return;
	free(a->room);
	free(a->tx);
	free(a->whole_tx);
	free(a->txid);
	free(a->scratch);
	free(a);
}

/* BIP 34: the shortest push of the height. */
static void put_height(struct put *w, uint32_t height)
{
	uint32_t sz = 1;

	if (height <= 16) {
		put_u8(w, height ? (uint8_t)(0x50 + height) : 0x00);
		return;
	}
	while (height >> (8 * sz - 1)) /* the top bit is the sign */
		sz++;
	put_u8(w, (uint8_t)sz);
	put_le(w, height, sz);
}

static void put_coinbase(struct assembler *a, struct put *w, const struct plan_block *b, struct rng *r,
			 bool with_commitment)
{
	uint8_t script_room[64];
	struct put script = {script_room, 0, sizeof(script_room), false};
	uint32_t halvings = b->height / 150;

	put_height(&script, b->height);
	put_u8(&script, 16);
	put_random(&script, r, 16);
	put_u32(w, 2);
	if (with_commitment)
		put_bytes(w, "\x00\x01", 2);
	put_cs(w, 1);
	memset(put_space(w, 32), 0, 32);
	put_u32(w, 0xffffffffu);
	put_cs(w, (uint32_t)script.sz);
	put_bytes(w, script.base, script.sz);
	put_u32(w, 0xffffffffu);
	put_cs(w, with_commitment ? 2 : 1);
	put_u64(w, halvings < 64 ? UINT64_C(5000000000) >> halvings : 0);
	put_bytes(w, "\x16\x00\x14", 3);
	put_random(w, r, 20);
	a->commitment_off = 0;
	if (with_commitment) {
		put_u64(w, 0);
		put_cs(w, COMMITMENT_SZ);
		put_bytes(w, "\x6a\x24\xaa\x21\xa9\xed", 6);
		a->commitment_off = w->sz;
		memset(put_space(w, 32), 0, 32);
		put_bytes(w, "\x01\x20", 2); /* one witness item, the reserved value: zeros */
		memset(put_space(w, 32), 0, 32);
	}
	put_u32(w, 0);
}

static int u32_cmp(const void *pa, const void *pb)
{
	uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;

	return a < b ? -1 : a > b;
}

/* Writes what is planted before ordinary transaction number `at` (everything left when at is UINT32_MAX). */
static void put_plants(struct assembler *a, struct put *w, const struct plant *plants, uint32_t plant_cnt,
		       uint32_t at, uint32_t *done, uint32_t *tx_cnt)
{
	for (; *done < plant_cnt && a->plant_at[*done] <= at; (*done)++) {
		const struct plant *p = &plants[*done];
		uint32_t sz;

		breach_make(&a->breach, a->cfg->seed, p->id);
		sz = p->kind == PLANT_DISPUTE ? a->breach.dispute_sz : a->breach.penalty_sz;
		put_bytes(w, p->kind == PLANT_DISPUTE ? a->breach.dispute : a->breach.penalty, sz);
		a->plant_tx_idx[*done] = (*tx_cnt)++;
	}
}

/* Ordinary and planted transactions after the coinbase; returns the number of all, coinbase included. */
static uint32_t put_body(struct assembler *a, struct put *w, struct rng *r, const struct plant *plants,
			 uint32_t plant_cnt)
{
	uint32_t ordinary = a->cfg->txs_per_block ? a->cfg->txs_per_block - 1 : a->cfg->block_bytes / 450;
	bool by_cnt = a->cfg->txs_per_block != 0;
	uint32_t weight = BLOCK_OVERHEAD_WEIGHT + plant_cnt * 4 * BREACH_TX_SZ_MAX, tx_cnt = 1, done = 0;

	if (by_cnt)
		ordinary -= plant_cnt < ordinary ? plant_cnt : ordinary;
	for (uint32_t i = 0; i < plant_cnt; i++)
		a->plant_at[i] = rng_below(r, ordinary + 1);
	qsort(a->plant_at, plant_cnt, sizeof(a->plant_at[0]), u32_cmp);
	for (uint32_t i = 0; by_cnt ? i < ordinary : w->sz < a->cfg->block_bytes; i++) {
		uint32_t left = by_cnt ? (ordinary - i - 1) * TXMIX_SMALL_WEIGHT_MAX : 0;
		bool segwit = rng_below(r, 1000000) < a->cfg->segwit_ppm;
		size_t before;
		uint32_t used;

		put_plants(a, w, plants, plant_cnt, i, &done, &tx_cnt);
		before = w->sz;
		used = txmix_write(w, r, segwit);
		if (w->full || weight + used + left > BLOCK_WEIGHT_MAX) {
			w->sz = before;
			w->full = false;
			used = txmix_write_small(w, r, segwit);
		}
		if (weight + used > BLOCK_WEIGHT_MAX) {
			w->sz = before;
			break;
		}
		weight += used;
		tx_cnt++;
	}
	put_plants(a, w, plants, plant_cnt, UINT32_MAX, &done, &tx_cnt);
	return tx_cnt;
}

/* Over the wtxids, with zeros for the coinbase, then the reserved value (zeros). */
static void commit_witness(struct assembler *a, uint8_t *base, uint8_t *data, uint32_t tx_cnt)
{
	uint8_t both[64] = {0};
	struct hash256 root;
	bool mutated;

	for (uint32_t i = 0; i < tx_cnt; i++)
		a->whole_tx[i] = (struct tx_view){.off = a->tx[i].off, .sz = a->tx[i].sz};
	a->kernel->hash(data, a->whole_tx, a->txid, tx_cnt);
	memset(&a->txid[0], 0, sizeof(a->txid[0]));
	root = merkle_root(a->kernel, a->txid, tx_cnt, a->scratch, &mutated);
	memcpy(both, root.b, sizeof(root.b));
	root = sha256d(both, sizeof(both));
	memcpy(base + a->commitment_off, root.b, sizeof(root.b));
}

static uint32_t block_time(const struct assembler *a, const struct plan_block *b, struct rng *r)
{
	struct header_fields genesis;

	header_decode(&genesis, a->net->genesis_header);
	return genesis.time + b->height * BLOCK_INTERVAL_S + rng_below(r, TIME_SPREAD_S);
}

static struct hash256 mine(struct assembler *a, uint8_t *data, const struct hash256 *prev,
			   const struct hash256 *root, uint32_t time)
{
	struct header_fields f = {
		.version = 0x20000000,
		.prev = *prev,
		.merkle = *root,
		.time = time,
		.bits = a->net->pow_limit_bits,
	};
	struct hash256 hash;

	for (;; f.nonce++) {
		header_encode(data, &f);
		hash = header_hash(data);
		if (pow_valid(a->net, &hash, f.bits))
			return hash;
	}
}

int assembler_build(struct assembler *a, const struct plan_block *b, const struct hash256 *prev,
		    const struct plant *plants, uint32_t plant_cnt, struct built_block *out, char *why,
		    size_t why_sz)
{
	struct rng r = rng_stream(a->cfg->seed, STREAM_BLOCK + b->branch, b->height);
	uint8_t *base = a->room + HEADER_SZ + COUNT_ROOM;
	struct put w = {base, 0, BUILD_ROOM, false};
	uint8_t *data;
	uint32_t tx_cnt, count_sz, time;
	struct hash256 root;
	enum parse_verdict v;
	bool mutated;

	if (plant_cnt > PLANTS_MAX) {
		snprintf(why, why_sz, "%u planted transactions do not fit the block at height %u", plant_cnt,
			 b->height);
		return -1;
	}
	put_coinbase(a, &w, b, &r, a->cfg->segwit_ppm > 0 || plant_cnt > 0);
	tx_cnt = put_body(a, &w, &r, plants, plant_cnt);
	time = block_time(a, b, &r);

	count_sz = tx_cnt < 0xfd ? 1 : 3;
	data = base - count_sz - HEADER_SZ;
	struct put count = {base - count_sz, 0, COUNT_ROOM, false};
	put_cs(&count, tx_cnt);
	memset(out, 0, sizeof(*out));
	out->data = data;
	out->sz = (uint32_t)(HEADER_SZ + count_sz + w.sz);
	v = block_parse(data, out->sz, &out->view, a->tx);
	if (v != PARSE_OK || out->view.tx_cnt != tx_cnt) {
		snprintf(why, why_sz, "the block at height %u came out invalid: %s", b->height,
			 parse_verdict_name(v));
		return -1;
	}
	if (a->commitment_off)
		commit_witness(a, base, data, tx_cnt);
	a->kernel->hash(data, a->tx, a->txid, tx_cnt);
	root = merkle_root(a->kernel, a->txid, tx_cnt, a->scratch, &mutated);
	out->hash = mine(a, data, prev, &root, time);
	out->tx = a->tx;
	out->txid = a->txid;
	out->plant_tx_idx = a->plant_tx_idx;
	return 0;
}
