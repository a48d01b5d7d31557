/* assemble.h - builds and mines one block of a generated chain.

   Threads One thread for each assembler.
   Memory  An assembler is about 12 MB, allocated once; no allocation for a block. */
#ifndef VIGIL_SYNTH_ASSEMBLE_H
#define VIGIL_SYNTH_ASSEMBLE_H

#include "btc/block.h"
#include "btc/network.h"
#include "synth/plan.h"
#include "txid/txid.h"

struct assembler;

struct assembler *assembler_new(const struct synth_config *cfg, const struct txid_kernel *kernel);
void assembler_free(struct assembler *a);

/* One block as built; everything points into the assembler and is valid until its next block. */
struct built_block {
	const uint8_t *data;
	uint32_t sz;
	struct hash256 hash;
	struct block_view view;
	const struct tx_view *tx;
	const struct hash256 *txid;
	const uint32_t *plant_tx_idx; /* where each plant ended up, in the order given */
};

/* Builds the block on prev with the plants given (all of one block).  Returns 0, or -1 with a sentence in why
   when the plants do not fit. */
int assembler_build(struct assembler *a, const struct plan_block *b, const struct hash256 *prev,
		    const struct plant *plants, uint32_t plant_cnt, struct built_block *out, char *why,
		    size_t why_sz);

#endif
