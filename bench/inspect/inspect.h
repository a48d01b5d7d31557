/* inspect.h - `vigil-replay inspect`: what the dataplane's parser and kernels say about blocks in files.

   Threads One. */
#ifndef VIGIL_BENCH_INSPECT_H
#define VIGIL_BENCH_INSPECT_H

#include <stdio.h>

#include "btc/block.h"
#include "btc/network.h"
#include "txid/txid.h"

/* One block.  Hashes in internal order. */
struct inspect_facts {
	int64_t bip34_height; /* -1 where BIP34 is not in force, or no height is there */
	struct hash256 block_hash, prev_hash, merkle_root;
	bool merkle_root_verifies, merkle_mutated, pow_valid;
	struct block_view view;
	struct hash256 first_txid, last_txid;
	struct hash256 sha256_of_txids; /* of all txids, internal order, in block order */
};

/* Scratch for inspect_block, about 1.5 MB. */
struct inspect_scratch {
	struct tx_view tx[BLOCK_TX_MAX];
	struct hash256 txid[BLOCK_TX_MAX + 1];
};

/* Fills *out on PARSE_OK.  net is the block's network if it is known, else NULL: then the limit of the
   strictest network that allows the header's difficulty counts. */
enum parse_verdict inspect_block(const struct txid_kernel *k, const struct network *net, const uint8_t *p,
				 size_t sz, struct inspect_scratch *s, struct inspect_facts *out);

/* argv[0] is the command's name; options as --help says.  0, 1 if a file or a block in it was bad (the others
   were still reported), 2 on wrong usage. */
int inspect_main(int argc, char **argv);

#endif
