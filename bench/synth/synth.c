#include "synth/synth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "synth/assemble.h"
#include "synth/breach.h"
#include "synth/put.h"

/* Stripped sizes up to this are counted exactly, for the percentiles; longer ones only as longer. */
enum { SIZE_CNT = 100001 };

struct run {
	const struct synth_config *cfg;
	struct plan plan;
	struct assembler *assembler;
	const struct network *net;
	FILE *chain, *breaches;
	uint64_t *size_cnt;
	struct synth_summary *sum;
	struct breach breach;
	char *why;
	size_t why_sz;
};

static int open_out(struct run *r, FILE **f, const char *name)
{
	char path[4096];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", r->cfg->dir, name) >= sizeof(path)) {
		snprintf(r->why, r->why_sz, "path too long");
		return -1;
	}
	*f = fopen(path, "wb");
	if (!*f) {
		snprintf(r->why, r->why_sz, "%s: %s", path, strerror(errno));
		return -1;
	}
	return 0;
}

static void write_breach(struct run *r, const struct plan_block *pb, const struct plant *p, uint32_t tx_idx)
{
	struct breach *b = &r->breach;
	char block[HASH_HEX_SZ], dispute[HASH_HEX_SZ], penalty[HASH_HEX_SZ];
	char dispute_hex[2 * BREACH_TX_SZ_MAX + 1], penalty_hex[2 * BREACH_TX_SZ_MAX + 1];
	char current[2 * LOCATOR_SZ + 1], legacy[2 * LOCATOR_SZ + 1], confirm[16] = "null";
	struct locator l;

	breach_make(b, r->cfg->seed, p->id);
	hash256_to_display(block, &pb->hash);
	hash256_to_display(dispute, &b->dispute_txid);
	hash256_to_display(penalty, &b->penalty_txid);
	hex_encode(dispute_hex, b->dispute, b->dispute_sz);
	hex_encode(penalty_hex, b->penalty, b->penalty_sz);
	l = locator_of_txid(&b->dispute_txid, LOCATOR_INTERNAL);
	hex_encode(current, l.b, sizeof(l.b));
	l = locator_of_txid(&b->dispute_txid, LOCATOR_DISPLAY);
	hex_encode(legacy, l.b, sizeof(l.b));
	if (p->confirm_height)
		snprintf(confirm, sizeof(confirm), "%u", p->confirm_height);
	fprintf(r->breaches,
		"%s{\"height\": %u, \"block_hash\": \"%s\", \"tx_idx\": %u, \"branch\": \"%s\", "
		"\"dispute_txid\": \"%s\", \"penalty_txid\": \"%s\", \"locator_current\": \"%s\", "
		"\"locator_legacy\": \"%s\", \"confirm_height\": %s, \"penalty_hex\": \"%s\", "
		"\"dispute_hex\": \"%s\"}",
		r->sum->breaches ? ",\n" : "", pb->height, block, tx_idx, pb->stale ? "stale" : "best", dispute,
		penalty, current, legacy, confirm, penalty_hex, dispute_hex);
	r->sum->breaches++;
}

static void count_block(struct run *r, const struct built_block *b)
{
	struct synth_summary *s = r->sum;

	s->txs += b->view.tx_cnt;
	s->segwit_txs += b->view.segwit_tx_cnt;
	s->inputs += b->view.in_cnt;
	s->outputs += b->view.out_cnt;
	s->bytes += b->sz;
	s->stripped_bytes += b->view.stripped_sz;
	for (uint32_t i = 1; i < b->view.tx_cnt; i++) {
		uint32_t sz = tx_view_stripped_sz(&b->tx[i]);

		r->size_cnt[sz < SIZE_CNT ? sz : SIZE_CNT - 1]++;
		if (sz > s->tx_max)
			s->tx_max = sz;
	}
}

static int write_block(struct run *r, const struct built_block *b)
{
	uint8_t head[8];
	struct put w = {head, 0, sizeof(head), false};

	put_bytes(&w, r->net->magic, 4);
	put_u32(&w, b->sz);
	if (fwrite(head, 1, sizeof(head), r->chain) != sizeof(head) ||
	    fwrite(b->data, 1, b->sz, r->chain) != b->sz) {
		snprintf(r->why, r->why_sz, "chain.dat: %s", strerror(errno));
		return -1;
	}
	return 0;
}

static int generate(struct run *r)
{
	uint32_t at = 0;

	fputs("[", r->breaches);
	for (uint32_t i = 0; i < r->plan.block_cnt; i++) {
		struct plan_block *pb = &r->plan.block[i];
		const struct hash256 *prev = pb->parent < 0 ? &r->net->genesis_hash
							    : &r->plan.block[pb->parent].hash;
		struct built_block b;
		uint32_t end = at;

		while (end < r->plan.plant_cnt && r->plan.plant[end].block == i)
			end++;
		if (assembler_build(r->assembler, pb, prev, r->plan.plant + at, end - at, &b, r->why,
				    r->why_sz) ||
		    write_block(r, &b))
			return -1;
		pb->hash = b.hash;
		count_block(r, &b);
		for (uint32_t k = at; k < end; k++) {
			if (r->plan.plant[k].kind == PLANT_DISPUTE)
				write_breach(r, pb, &r->plan.plant[k], b.plant_tx_idx[k - at]);
		}
		at = end;
	}
	fputs("]\n", r->breaches);
	return 0;
}

static uint32_t percentile(const uint64_t *cnt, uint64_t total, unsigned pct)
{
	uint64_t seen = 0, want = (total * pct + 99) / 100;

	for (uint32_t sz = 0; sz < SIZE_CNT; sz++) {
		seen += cnt[sz];
		if (seen >= want)
			return sz;
	}
	return SIZE_CNT;
}

static void sum_up(struct run *r)
{
	struct synth_summary *s = r->sum;
	uint64_t total = 0;
	double bytes = 0;

	for (uint32_t sz = 0; sz < SIZE_CNT; sz++) {
		total += r->size_cnt[sz];
		bytes += (double)r->size_cnt[sz] * sz;
	}
	s->tip_height = r->plan.tip_height;
	s->tip_hash = r->plan.block[r->plan.best[r->plan.tip_height]].hash;
	s->blocks = r->plan.block_cnt;
	s->stale_blocks = r->plan.stale_cnt;
	if (total) {
		s->tx_p50 = percentile(r->size_cnt, total, 50);
		s->tx_p90 = percentile(r->size_cnt, total, 90);
		s->tx_mean = bytes / (double)total;
	}
}

static int close_out(struct run *r, FILE *f, const char *name)
{
	bool bad;

	if (!f)
		return 0;
	bad = ferror(f) != 0;
	if (fclose(f) != 0 || bad) {
		snprintf(r->why, r->why_sz, "%s: write failed: %s", name, strerror(errno));
		return -1;
	}
	return 0;
}

int synth_run(const struct synth_config *cfg, struct synth_summary *out, char *why, size_t why_sz)
{
	struct run r = {.cfg = cfg, .net = network_get(NET_REGTEST), .sum = out, .why = why, .why_sz = why_sz};
	const char *kernel_why = "";
	const struct txid_kernel *kernel = txid_select(cpu_features(), NULL, &kernel_why);
	int rc = -1;

	memset(out, 0, sizeof(*out));
	if (!kernel) {
		snprintf(why, why_sz, "%s", kernel_why);
		return -1;
	}
	if (plan_make(&r.plan, cfg, why, why_sz))
		return -1;
	if (mkdir(cfg->dir, 0777) && errno != EEXIST) {
		snprintf(why, why_sz, "%s: %s", cfg->dir, strerror(errno));
		goto done;
	}
	r.assembler = assembler_new(cfg, kernel);
	r.size_cnt = calloc(SIZE_CNT, sizeof(*r.size_cnt));
	if (!r.assembler || !r.size_cnt) {
		snprintf(why, why_sz, "out of memory");
		goto done;
	}
	if (open_out(&r, &r.chain, "chain.dat") || open_out(&r, &r.breaches, "breaches.json"))
		goto done;
	setvbuf(r.chain, NULL, _IOFBF, 1 << 20);
	rc = generate(&r);
	if (rc == 0)
		sum_up(&r);
done:
	if (close_out(&r, r.chain, "chain.dat"))
		rc = -1;
	if (close_out(&r, r.breaches, "breaches.json"))
		rc = -1;
	free(r.size_cnt);
	assembler_free(r.assembler);
	plan_free(&r.plan);
	return rc;
}
