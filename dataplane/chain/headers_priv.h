/* headers_priv.h - what the files of chain share; included only from chain/ and its tests.

   headers.c  batches from outside, views      tree.c  memory, index, best chain and side branches
   context.c  the rules, applied to a place in the tree */
#ifndef VIGIL_CHAIN_HEADERS_PRIV_H
#define VIGIL_CHAIN_HEADERS_PRIV_H

#include <assert.h>

#include "chain/headers.h"
#include "chain/rules.h"

#define CHUNK_BITS 12u
#define CHUNK_CNT  (1u << CHUNK_BITS) /* headers in a chunk */
#define CHUNK_MASK (CHUNK_CNT - 1u)

enum {
	KNOWN = 1u << 0,
	INVALID = 1u << 1,
	ASIDE = 1u << 3,
	/* Only within one call. */
	KEEP = 1u << 2,
	INNER = 1u << 4,
	SEEN = 1u << 5,
	UNDER = 1u << 6
};

struct node {
	struct hash256 hash;
	struct hash256 merkle;
	struct u256 work;
	uint32_t parent;
	uint32_t next; /* in the bucket, or on the free list */
	uint32_t height;
	uint32_t version, time, bits, nonce;
	/* What the testnets' walk back over easy blocks would find from here; 0: history does not reach. */
	uint32_t real_bits;
	uint32_t side_pos; /* place in side[], HEADERS_NONE on the best chain */
	uint32_t flags : 8, ref_cnt : 24;
};
static_assert(sizeof(struct node) == 136, "a million headers are to fit into 150 MB");

struct headers {
	const struct network *net;
	uint64_t seed;
	struct hash256 root_prev;
	struct u256 min_work; /* zero: none */
	bool work_is_cached;
	uint32_t cached_bits;
	struct u256 cached_work;

	struct node **chunk;
	uint32_t chunk_cnt, chunk_cap;
	uint32_t node_cnt, node_used, node_max; /* in the tree; ever taken from chunks */
	uint32_t free_head;

	uint32_t *bucket;
	unsigned bucket_bits;

	uint32_t *best; /* by height - root height */
	uint32_t best_cnt, best_cap;

	uint32_t *side;
	uint32_t side_cnt, side_cap;

	struct hash256 batch[HEADERS_BATCH_MAX]; /* hashes of the batch being added */
};

static inline struct node *at(const struct headers *h, uint32_t idx)
{
	return &h->chunk[idx >> CHUNK_BITS][idx & CHUNK_MASK];
}

/* tree.c */
bool tree_init(struct headers *h, const struct headers_root *root);
void tree_free(struct headers *h);
/* Adds one header, unchecked; HEADERS_NONE: full. */
uint32_t tree_insert(struct headers *h, uint32_t parent, const struct hash256 *hash,
		     const struct header_fields *f);
/* Cuts the best chain above keep, which is on it; false: no memory, nothing done. */
bool tree_best_cut(struct headers *h, uint32_t keep);
bool tree_best_set(struct headers *h, uint32_t idx);
/* Forgets the side branches with the least work until half of the allowance is free. */
void tree_side_prune(struct headers *h);
/* The ancestor of idx at height, or HEADERS_NONE below the root. */
uint32_t tree_ancestor(const struct headers *h, uint32_t idx, uint32_t height);
struct u256 tree_work_of(struct headers *h, uint32_t bits);

/* context.c: whether f may follow parent, proof of work aside. */
enum headers_verdict context_check(const struct headers *h, uint32_t parent, const struct header_fields *f,
				   int64_t now_s);
uint32_t context_real_bits(const struct headers *h, uint32_t height, uint32_t bits, uint32_t parent_real_bits);

#endif
