#include "synth/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "synth/rng.h"

enum { STREAM_PLACE = 0x91ace };

static int check(const struct synth_config *cfg, char *why, size_t why_sz)
{
	uint32_t reached = 0;

	if (cfg->blocks == 0 || cfg->blocks > SYNTH_BLOCKS_MAX) {
		snprintf(why, why_sz, "blocks must be 1 to %u", SYNTH_BLOCKS_MAX);
		return -1;
	}
	if (cfg->txs_per_block > SYNTH_TXS_MAX) {
		snprintf(why, why_sz, "more than %u transactions do not fit a block", SYNTH_TXS_MAX);
		return -1;
	}
	if (cfg->txs_per_block == 0 && (cfg->block_bytes < 1000 || cfg->block_bytes > 3900000)) {
		snprintf(why, why_sz, "a block's size must be 1000 to 3900000 bytes");
		return -1;
	}
	if ((uint64_t)cfg->breaches + cfg->stale_breaches + cfg->both_breaches + cfg->breach_height_cnt >
	    SYNTH_BREACHES_MAX) {
		snprintf(why, why_sz, "at most %u breaches", SYNTH_BREACHES_MAX);
		return -1;
	}
	for (uint32_t i = 0; i < cfg->reorg_cnt; i++) {
		const struct synth_reorg *r = &cfg->reorgs[i];

		if (r->depth == 0 || r->extra == 0 || r->depth > r->height || r->height < reached ||
		    r->height > SYNTH_BLOCKS_MAX || r->extra > SYNTH_BLOCKS_MAX - r->height) {
			snprintf(why, why_sz,
				 "reorg %u:%u:%u: depth and extra are at least 1, depth at most "
				 "the height, and "
				 "each reorg starts at or above the end of the one before (%u)",
				 r->height, r->depth, r->extra, reached);
			return -1;
		}
		reached = r->height + r->extra;
	}
	if ((cfg->stale_breaches || cfg->both_breaches) && cfg->reorg_cnt == 0) {
		snprintf(why, why_sz, "breaches in stale blocks need a reorg");
		return -1;
	}
	return 0;
}

static void extend(struct plan *p, uint32_t from, uint32_t to, uint32_t branch)
{
	for (uint32_t h = from; h <= to; h++) {
		p->block[p->block_cnt] = (struct plan_block){
			.height = h, .branch = branch, .parent = h == 1 ? -1 : (int32_t)p->best[h - 1]};
		p->best[h] = p->block_cnt++;
	}
}

static void lay_out(struct plan *p, const struct synth_config *cfg)
{
	uint32_t tip = 0;

	for (uint32_t i = 0; i < cfg->reorg_cnt; i++) {
		const struct synth_reorg *r = &cfg->reorgs[i];
		uint32_t fork = r->height - r->depth;

		extend(p, tip + 1, r->height, i);
		for (uint32_t h = fork + 1; h <= r->height; h++) {
			p->block[p->best[h]].stale = true;
			p->stale_cnt++;
		}
		extend(p, fork + 1, r->height + r->extra, i + 1);
		tip = r->height + r->extra;
	}
	extend(p, tip + 1, p->tip_height, cfg->reorg_cnt);
}

static void plant_dispute(struct plan *p, const struct synth_config *cfg, uint32_t block, uint32_t id)
{
	const struct plan_block *b = &p->block[block];
	uint32_t confirm = 0;

	if (cfg->confirm_after && !b->stale && p->tip_height - b->height >= cfg->confirm_after) {
		confirm = b->height + cfg->confirm_after;
		p->plant[p->plant_cnt++] = (struct plant){p->best[confirm], id, PLANT_PENALTY, 0};
	}
	p->plant[p->plant_cnt++] = (struct plant){block, id, PLANT_DISPUTE, confirm};
}

/* Place number i of cnt in [lo, hi]: one in each of cnt equal strata. */
static uint32_t stratum(struct rng *r, uint32_t i, uint32_t cnt, uint32_t lo, uint32_t hi)
{
	uint64_t span = (uint64_t)hi - lo + 1;
	uint64_t at = ((uint64_t)i * span << 16) / cnt;
	uint64_t width = (span << 16) / cnt;

	at += (rng_next(r) >> 40) * width >> 24;
	return lo + (uint32_t)(at >> 16);
}

/* A stale block and the block that took its place can hold the same dispute. */
static void plant_in_stale(struct plan *p, const struct synth_config *cfg, const uint32_t *stale, uint32_t *id)
{
	struct rng r = rng_stream(cfg->seed, STREAM_PLACE, 1);

	for (uint32_t i = 0; i < cfg->stale_breaches; i++)
		plant_dispute(p, cfg, stale[stratum(&r, i, cfg->stale_breaches, 0, p->stale_cnt - 1)], (*id)++);
	for (uint32_t i = 0; i < cfg->both_breaches; i++) {
		uint32_t b = stale[stratum(&r, i, cfg->both_breaches, 0, p->stale_cnt - 1)];

		plant_dispute(p, cfg, b, *id);
		plant_dispute(p, cfg, p->best[p->block[b].height], (*id)++);
	}
}

static int plant_cmp(const void *pa, const void *pb)
{
	const struct plant *a = pa, *b = pb;

	if (a->block != b->block)
		return a->block < b->block ? -1 : 1;
	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return (int)a->kind - (int)b->kind;
}

static int plant_all(struct plan *p, const struct synth_config *cfg, char *why, size_t why_sz)
{
	struct rng r = rng_stream(cfg->seed, STREAM_PLACE, 0);
	uint32_t *stale = calloc((size_t)p->stale_cnt + 1, sizeof(*stale));
	uint32_t from = cfg->breach_from ? cfg->breach_from : 1;
	uint32_t id = 0, n = 0;

	if (!stale) {
		snprintf(why, why_sz, "out of memory");
		return -1;
	}
	if (from > p->tip_height) {
		snprintf(why, why_sz, "breaches from height %u, but the chain ends at %u", from, p->tip_height);
		goto fail;
	}
	for (uint32_t i = 0; i < cfg->breaches; i++)
		plant_dispute(p, cfg, p->best[stratum(&r, i, cfg->breaches, from, p->tip_height)], id++);
	for (uint32_t i = 0; i < cfg->breach_height_cnt; i++) {
		uint32_t h = cfg->breach_heights[i];

		if (h == 0 || h > p->tip_height) {
			snprintf(why, why_sz, "no block at height %u for a breach", h);
			goto fail;
		}
		plant_dispute(p, cfg, p->best[h], id++);
	}
	for (uint32_t i = 0; i < p->block_cnt; i++) {
		if (p->block[i].stale)
			stale[n++] = i;
	}
	plant_in_stale(p, cfg, stale, &id);
	qsort(p->plant, p->plant_cnt, sizeof(p->plant[0]), plant_cmp);
	free(stale);
	return 0;
fail:
	free(stale);
	return -1;
}

int plan_make(struct plan *p, const struct synth_config *cfg, char *why, size_t why_sz)
{
	uint64_t cap, plants;

	memset(p, 0, sizeof(*p));
	if (check(cfg, why, why_sz))
		return -1;
	p->tip_height = cfg->blocks;
	cap = 0;
	for (uint32_t i = 0; i < cfg->reorg_cnt; i++) {
		const struct synth_reorg *r = &cfg->reorgs[i];

		cap += r->depth;
		if (r->height + r->extra > p->tip_height)
			p->tip_height = r->height + r->extra;
	}
	cap += p->tip_height;
	plants = 2 * ((uint64_t)cfg->breaches + cfg->stale_breaches + cfg->breach_height_cnt +
		      2 * (uint64_t)cfg->both_breaches);
	p->block = cap > 4 * (uint64_t)SYNTH_BLOCKS_MAX ? NULL : calloc(cap, sizeof(*p->block));
	p->best = calloc((size_t)p->tip_height + 1, sizeof(*p->best));
	p->plant = calloc(plants + 1, sizeof(*p->plant));
	if (!p->block || !p->best || !p->plant) {
		snprintf(why, why_sz, "out of memory");
		plan_free(p);
		return -1;
	}
	lay_out(p, cfg);
	if (plant_all(p, cfg, why, why_sz)) {
		plan_free(p);
		return -1;
	}
	return 0;
}

void plan_free(struct plan *p)
{
	free(p->block);
	free(p->best);
	free(p->plant);
	memset(p, 0, sizeof(*p));
}
