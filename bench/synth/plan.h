/* plan.h - which blocks a generated chain has, in arrival order, and what is planted in each.

   Threads One thread; a plan owns its arrays until plan_free. */
#ifndef VIGIL_SYNTH_PLAN_H
#define VIGIL_SYNTH_PLAN_H

#include "synth/synth.h"

struct plan_block {
	uint32_t height;
	uint32_t branch;     /* 0 is the first chain; each reorg opens the next */
	int32_t parent;      /* index of a block, -1 for genesis */
	bool stale;          /* not in the final best chain */
	struct hash256 hash; /* filled in while generating */
};

enum plant_kind { PLANT_DISPUTE, PLANT_PENALTY };

struct plant {
	uint32_t block; /* index of a block */
	uint32_t id;    /* of the breach */
	enum plant_kind kind;
	uint32_t confirm_height; /* of a dispute: where its penalty is mined, 0 never */
};

struct plan {
	struct plan_block *block;
	uint32_t block_cnt;
	uint32_t stale_cnt;
	uint32_t tip_height;
	uint32_t *best; /* best[h]: the index of the final best chain's block at height h; best[0] is unused */
	struct plant *plant; /* ordered by block */
	uint32_t plant_cnt;
};

/* Returns 0, or -1 with a sentence in why; the plan is then empty. */
int plan_make(struct plan *p, const struct synth_config *cfg, char *why, size_t why_sz);
void plan_free(struct plan *p);

#endif
