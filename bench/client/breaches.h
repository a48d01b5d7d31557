/* breaches.h - reads what `vigil-replay synth` planted. */
#ifndef VIGIL_CLIENT_BREACHES_H
#define VIGIL_CLIENT_BREACHES_H

#include "btc/hash.h"

struct planted {
	struct hash256 dispute_txid;
	uint8_t *penalty;
	uint32_t penalty_sz;
};

enum planted_branch { BRANCH_ALL, BRANCH_BEST, BRANCH_STALE };

/* Each dispute once, in the order of the file.  Returns the list (free with planted_free), NULL with a sentence
   in why. */
struct planted *planted_read(const char *path, enum planted_branch branch, uint32_t *cnt, char *why,
			     size_t why_sz);
void planted_free(struct planted *p, uint32_t cnt);

#endif
