/* fixture.h - small generated chains in files, in any order of blocks. */
#ifndef TESTS_SERVE_FIXTURE_H
#define TESTS_SERVE_FIXTURE_H

#include "synth/synth.h"

#define FIXTURE_BLOCKS 64u

struct fixture {
	char dir[32];
	char path[64]; /* the chain, in arrival order */
	uint8_t *data;
	struct {
		const uint8_t *p;
		uint32_t sz;
		struct hash256 hash;
	} block[FIXTURE_BLOCKS];
	uint32_t cnt;
};

/* blocks of txs transactions each; reorg may be NULL. */
void fixture_make(struct fixture *f, uint32_t blocks, uint32_t txs, const struct synth_reorg *reorg);
/* Writes another file with these blocks in this order; returns its path (static). */
const char *fixture_write(const struct fixture *f, const uint32_t *order, uint32_t cnt);
void fixture_free(struct fixture *f);

#endif
