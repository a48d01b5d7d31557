#include "scan/set.h"

#include <stdio.h>
#include <stdlib.h>

#include "blkfile/blkfile.h"
#include "btc/sha256.h"
#include "scan/pool.h"
#include "synth/assemble.h"
#include "synth/rng.h"

#define SEGWIT_PPM   800000u /* as vigil-replay synth has it */
#define PLANT_TARGET 64u
#define PLANT_DOMAIN 0x9a17u

/* What is needed of a block while the set is made. */
struct work {
	struct tx_view tx[BLOCK_TX_MAX];
	struct hash256 txid[BLOCK_TX_MAX], scratch[BLOCK_TX_MAX + 1];
	struct block_view view;
};

static const struct txid_kernel *portable(void)
{
	size_t cnt;
	const struct txid_kernel *const *k = txid_kernels(&cnt);

	for (size_t i = 0; i < cnt; i++)
		if (strcmp(k[i]->name, "portable") == 0)
			return k[i];
	return k[0];
}

static bool put_block(struct set *s, const uint8_t *p, uint32_t sz)
{
	struct set_block *b = &s->block[s->block_cnt];

	b->buf = block_pool_get(s->pool);
	if (b->buf == NULL)
		return false;
	memcpy(b->buf->data, p, sz);
	b->buf->sz = sz;
	s->block_cnt++;
	return true;
}

static enum parse_verdict read_block(const struct block_buf *buf, struct work *w)
{
	enum parse_verdict v = block_parse(buf->data, buf->sz, &w->view, w->tx);

	if (v == PARSE_OK)
		portable()->hash(buf->data, w->tx, w->txid, w->view.tx_cnt);
	return v;
}

static bool planted(const struct hash256 *txid, uint64_t every, enum locator_scheme *scheme)
{
	uint64_t h;

	memcpy(&h, txid->b + 8, sizeof(h));
	h = rng_mix(h ^ PLANT_DOMAIN);
	*scheme = (enum locator_scheme)(h >> 63);
	return h % every == 0;
}

static bool plant_block(struct set *s, struct set_block *b, const struct work *w, uint64_t every)
{
	enum locator_scheme scheme;
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < w->view.tx_cnt; i++)
		cnt += planted(&w->txid[i], every, &scheme);
	if (cnt == 0)
		return true;
	b->hit = calloc(cnt, sizeof(*b->hit));
	s->plant = reallocarray(s->plant, s->plant_cnt + cnt, sizeof(*s->plant));
	if (b->hit == NULL || s->plant == NULL)
		return false;
	for (uint32_t i = 0; i < w->view.tx_cnt; i++) {
		if (!planted(&w->txid[i], every, &scheme))
			continue;
		b->hit[b->hit_cnt++] = (struct scan_hit){i, scheme};
		s->plant[s->plant_cnt++] = locator_of_txid(&w->txid[i], scheme);
	}
	s->hits += cnt;
	return true;
}

/* Parses, checks and counts every block, then plants. */
static int set_finish(struct set *s, char *why, size_t why_sz)
{
	struct work *w = malloc(sizeof(*w));
	bool mutated, good = w != NULL;
	uint64_t every;

	for (uint32_t i = 0; good && i < s->block_cnt; i++) {
		struct set_block *b = &s->block[i];
		enum parse_verdict v = read_block(b->buf, w);
		struct hash256 root;

		if (v != PARSE_OK) {
			snprintf(why, why_sz, "block %u does not parse: %s", i, parse_verdict_name(v));
			free(w);
			return -1;
		}
		root = merkle_root(portable(), w->txid, w->view.tx_cnt, w->scratch, &mutated);
		if (memcmp(root.b, b->buf->data + 36, HASH_SZ) != 0) {
			snprintf(why, why_sz, "block %u: its header has another merkle root", i);
			free(w);
			return -1;
		}
		b->hash = sha256d(b->buf->data, HEADER_SZ);
		s->bytes += b->buf->sz;
		s->stripped_bytes += w->view.stripped_sz;
		s->txs += w->view.tx_cnt;
	}
	every = s->txs > PLANT_TARGET ? s->txs / PLANT_TARGET : 1;
	do {
		for (uint32_t i = 0; good && i < s->block_cnt; i++) {
			read_block(s->block[i].buf, w);
			good = plant_block(s, &s->block[i], w, every);
		}
		every = every / 2;
	} while (good && s->hits == 0 && every > 0);
	free(w);
	if (!good)
		snprintf(why, why_sz, "out of memory");
	return good ? 0 : -1;
}

static int set_begin(struct set *s, uint32_t room, char *why, size_t why_sz)
{
	memset(s, 0, sizeof(*s));
	s->pool = block_pool_new(room);
	if (s->pool != NULL)
		return 0;
	snprintf(why, why_sz, "out of memory");
	return -1;
}

int set_make_synthetic(struct set *s, uint32_t block_cnt, uint32_t block_bytes, uint64_t seed, char *why,
		       size_t why_sz)
{
	const struct synth_config cfg = {.seed = seed, .block_bytes = block_bytes, .segwit_ppm = SEGWIT_PPM};
	const char *kernel_why = "out of memory";
	const struct txid_kernel *kernel = txid_select(cpu_features(), NULL, &kernel_why);
	struct assembler *a;
	struct built_block built = {.hash = network_get(NET_REGTEST)->genesis_hash};
	int rc = set_begin(s, block_cnt, why, why_sz);

	if (rc != 0)
		return rc;
	a = kernel != NULL ? assembler_new(&cfg, kernel) : NULL;
	if (a == NULL) {
		snprintf(why, why_sz, "%s", kernel_why);
		rc = -1;
	}
	for (uint32_t i = 0; rc == 0 && i < block_cnt; i++) {
		const struct plan_block place = {.height = i + 1, .parent = (int32_t)i - 1};
		const struct hash256 prev = built.hash;

		rc = assembler_build(a, &place, &prev, NULL, 0, &built, why, why_sz);
		if (rc == 0 && !put_block(s, built.data, built.sz))
			rc = -1;
	}
	assembler_free(a);
	if (rc == 0)
		rc = set_finish(s, why, why_sz);
	if (rc != 0)
		set_free(s);
	return rc;
}

int set_make_files(struct set *s, char *const *path, unsigned path_cnt, uint32_t block_max, char *why,
		   size_t why_sz)
{
	char reason[BLKFILE_WHY_SZ];
	int rc = set_begin(s, block_max, why, why_sz);

	for (unsigned i = 0; rc == 0 && i < path_cnt; i++) {
		struct blkfile *f = blkfile_open(path[i], reason);
		struct blkfile_rec rec;

		if (f == NULL) {
			snprintf(why, why_sz, "%s: %s", path[i], reason);
			rc = -1;
			break;
		}
		while (rc == 0 && s->block_cnt < block_max && blkfile_next(f, &rec)) {
			if (rec.sz <= BLOCK_SZ_MAX && put_block(s, rec.p, rec.sz))
				continue;
			snprintf(why, why_sz, "%s: a block of %u bytes", path[i], rec.sz);
			rc = -1;
		}
		blkfile_close(f);
	}
	if (rc == 0 && s->block_cnt == 0) {
		snprintf(why, why_sz, "no blocks in these files");
		rc = -1;
	}
	if (rc == 0)
		rc = set_finish(s, why, why_sz);
	if (rc != 0)
		set_free(s);
	return rc;
}

void set_free(struct set *s)
{
	for (uint32_t i = 0; i < s->block_cnt; i++)
		free(s->block[i].hit);
	block_pool_free(s->pool);
	free(s->plant);
	memset(s, 0, sizeof(*s));
}

bool set_hits_right(const struct set *s, uint32_t i, const struct scan_hit *hit, uint32_t hit_cnt)
{
	const struct set_block *b = &s->block[i];

	if (hit_cnt != b->hit_cnt)
		return false;
	for (uint32_t k = 0; k < hit_cnt; k++)
		if (hit[k].tx_idx != b->hit[k].tx_idx || hit[k].scheme != b->hit[k].scheme)
			return false;
	return true;
}

struct locator set_decoy(uint64_t i)
{
	uint64_t half[2] = {rng_mix(i * 2 + 1), rng_mix(~(i * 2))};
	struct locator l;

	memcpy(l.b, half, LOCATOR_SZ);
	return l;
}
