/* synth.h - a deterministic regtest chain with planted breaches and reorgs: `vigil-replay synth`.

   The same configuration gives byte-identical files on every machine.  Blocks are written as they are made, so
   memory does not grow with the length of the chain but for about 32 bytes a block.

   Output   DIR/chain.dat      magic | u32 length | block, as Bitcoin Core's block files, without the genesis block,
                               in the order in which a node learns the blocks: a stale branch before the one that
                               overtakes it.
            DIR/breaches.json  an array, in the same order; one object for each planted dispute in each block that
                               holds it.
   Threads  One call at a time; uses no global state but the chosen txid kernel. */
#ifndef VIGIL_SYNTH_SYNTH_H
#define VIGIL_SYNTH_SYNTH_H

#include <stdbool.h>
#include <stdint.h>

#include "btc/hash.h"

#define SYNTH_BLOCKS_MAX   700000u /* at ten minutes a block the newest header stays in the past */
#define SYNTH_TXS_MAX      5000u
#define SYNTH_REORGS_MAX   1000u
#define SYNTH_BREACHES_MAX 1000000u

/* When the best chain has reached height, a branch that leaves it depth blocks below wins: its blocks arrive
   next, up to height + extra, and the chain goes on from there. */
struct synth_reorg {
	uint32_t height, depth, extra;
};

struct synth_config {
	const char *dir; /* created when absent */
	uint64_t seed;
	uint32_t blocks;                /* height of the final tip; raised to the end of the last reorg */
	uint32_t txs_per_block;         /* with the coinbase; 0: by block_bytes */
	uint32_t block_bytes;           /* wire bytes aimed at; used when txs_per_block is 0 */
	uint32_t segwit_ppm;            /* of the ordinary transactions, per million */
	uint32_t breaches;              /* spread over the final best chain, from breach_from on */
	uint32_t breach_from;           /* lowest height of spread breaches */
	uint32_t stale_breaches;        /* spread over the stale blocks */
	uint32_t both_breaches;         /* dispute in a stale block, and again in the branch that replaced it */
	uint32_t confirm_after;         /* penalties are mined so many blocks after their dispute; 0: never */
	const uint32_t *breach_heights; /* one more breach in the best chain for each entry */
	uint32_t breach_height_cnt;
	const struct synth_reorg *reorgs; /* ascending; each above where the one before ended */
	uint32_t reorg_cnt;
};

struct synth_summary {
	uint32_t tip_height, blocks, stale_blocks;
	struct hash256 tip_hash;
	uint64_t txs, segwit_txs, inputs, outputs, bytes, stripped_bytes;
	uint32_t tx_p50, tx_p90, tx_max; /* stripped bytes, coinbases left out */
	double tx_mean;
	uint32_t breaches; /* planted disputes, counted once for each block that holds one */
};

/* Returns 0, or -1 with a sentence in why. */
int synth_run(const struct synth_config *cfg, struct synth_summary *out, char *why, size_t why_sz);

int synth_main(int argc, char **argv);

#endif
