/* headers.h - the tree of block headers above a root, and the best chain in it (spec/bitcoin.md sections 13, 14).

   The root is the genesis block, or a trusted block of which perhaps only hash and height are known.  A
   header gets in if its parent is there, its proof of work holds, and its version, difficulty and time follow
   the rules as far as the known history reaches; where it does not reach, the bounded rule holds on networks
   that have one, and median-time-past waits until eleven ancestors are known.
   Best is the most cumulative work among what is neither invalid nor set aside; on equal work the one seen first,
   so it never flaps.

   Threads  One thread.
   Memory   About 136 bytes a header and 8 to 12 for the indexes, in chunks, at most headers_max.
   Spam     A branch is stored only once its work reaches headers_threshold: the least work of the network, and all
            but HEADERS_LAG_MAX blocks' worth of the best chain's.  A peer whose chain is that good, but too long
            to show it in one batch, is measured first (presync.h); so headers that were cheap to make are never
            stored, however many there are, and no depth of a fork is out of reach of real work.  At most
            about HEADERS_SIDE_MAX headers are kept off the best chain, of which the branches with the least
            work go first.
   Least    network.min_chain_work, or what headers_set_min_work says.  It needs cumulative work that counts from
   work     genesis.  A root above genesis whose work is unknown (an operator's anchor) is trusted for what is below
            it: work then counts from it, HEADERS_WORK_RELATIVE marks that, and no least work is asked for but
            an explicit one, counted from the root too.  Headers that control remembers are stored whatever their
            work: they had it when they came.
   Anchor   Of a root that is only a hash the difficulty is unknown, so the first header above it may claim any; from
            then on it may change by the bounded rule only, and once 2016 headers are known by the exact one.  The testnets
            have no bounded rule: until a block with real difficulty is known above the anchor, and at the
            first boundary, difficulty is the peer's word.  More work outdoes it.
   Cost     Adding and finding are O(1); by height on the best chain O(1).
   Handles  A header is named by a uint32_t.  It stays good while the header is on the best chain or referenced
            (or an ancestor of such); any other may be forgotten by the next headers_add. */
#ifndef VIGIL_CHAIN_HEADERS_H
#define VIGIL_CHAIN_HEADERS_H

#include "btc/network.h"

#define HEADERS_NONE        UINT32_MAX
#define HEADERS_BATCH_MAX   2000u
#define HEADERS_LOCATOR_MAX 48u
#define HEADERS_FORK_MAX    2016u
#define HEADERS_LAG_MAX     144u
#define HEADERS_SIDE_MAX    10000u
#define HEADERS_MAX_DEFAULT (1u << 24) /* testnet3 has passed four million */

/* Set in the cumulative work of every header above a root whose own work is unknown.  No real work comes near. */
#define HEADERS_WORK_RELATIVE (1ull << 63) /* of the highest limb */

enum headers_verdict {
	HEADERS_OK,
	HEADERS_UNLINKED,    /* the parent of the first one is not known */
	HEADERS_NOT_A_CHAIN, /* one does not follow the one before it in the batch */
	HEADERS_BAD_POW,
	HEADERS_BAD_BITS,    /* not the difficulty the rules ask for */
	HEADERS_BAD_VERSION, /* below what the height asks for (BIP 34, 66, 65) */
	HEADERS_TIME_OLD,    /* not after the median of its ancestors, or against BIP94 */
	HEADERS_INVALID,     /* on a branch marked invalid */
	HEADERS_FUTURE,      /* more than two hours ahead of our clock: not yet, try again later */
	HEADERS_DEEP_FORK,   /* below headers_threshold, on a fork deeper than HEADERS_FORK_MAX */
	HEADERS_LOW_WORK,    /* below headers_threshold */
	HEADERS_FULL,
	HEADERS_VERDICT_CNT
};
/* A short stable name for counters. */
const char *headers_verdict_name(enum headers_verdict v);
/* True where the sender is to blame (or on another chain), false for "not now" and "not wanted". */
bool headers_verdict_is_fault(enum headers_verdict v);

struct headers_root {
	struct hash256 hash;
	uint32_t height;
	struct u256 work;      /* cumulative with the root; zero: unknown, count from the root */
	const uint8_t *header; /* 80 bytes, or NULL when only the hash is known */
};

struct headers;

/* root NULL: genesis.  seed is secret randomness against aimed hash collisions.  NULL: no memory. */
struct headers *headers_new(const struct network *n, const struct headers_root *root, uint64_t seed,
			    uint32_t headers_max);
void headers_free(struct headers *h);

/* Adds cnt <= HEADERS_BATCH_MAX headers, oldest first, header i at raw + i * stride.  Headers already known
   are no error.  now_s is the wall clock (INT64_MAX: do not ask).
   *last gets the handle of the last header of the batch that is in the tree, HEADERS_NONE if none;
   *new_cnt how many were added.  A verdict other than HEADERS_OK is about the header after that one, and
   those before it stay. */
enum headers_verdict headers_add(struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt,
				 int64_t now_s, uint32_t *last, uint32_t *new_cnt);

/* The same for headers that are worth storing whatever their work: control's memory, or what presync has proven. */
enum headers_verdict headers_add_worthy(struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt,
					int64_t now_s, uint32_t *last, uint32_t *new_cnt);

/* The least cumulative work of a chain; NULL: none.  Without this call it is the network's, or none where work counts
   from a root of unknown work; then a bound that is given counts from the root as well. */
void headers_set_min_work(struct headers *h, const struct u256 *work);
/* Whether the best chain has the least work.  Until then nothing may be done about its blocks. */
bool headers_has_min_work(const struct headers *h);
/* The cumulative work that a branch must reach to be stored. */
struct u256 headers_threshold(struct headers *h);

/* Marks a header (not the root) and all its descendants invalid; best moves to what is left. */
void headers_mark_invalid(struct headers *h, uint32_t idx);

/* Sets a header (not the root) aside with all its descendants, those to come too: they stay and grow, but are not
   considered for best until taken back.  For a branch whose blocks nobody delivers. */
void headers_set_aside(struct headers *h, uint32_t idx);
/* Takes the header and all its descendants back; best moves there if it has more work. */
void headers_take_back(struct headers *h, uint32_t idx);

/* Calls cb for the tip of every branch beside the best chain, with the branch's first header above the fork, until it
   returns false. */
void headers_each_stale(const struct headers *h, bool (*cb)(void *arg, uint32_t first, uint32_t tip),
			void *arg);

/* Keeps idx and its ancestors, whatever branch they are on, until as many headers_unref. */
void headers_ref(struct headers *h, uint32_t idx);
void headers_unref(struct headers *h, uint32_t idx);

uint32_t headers_root_idx(const struct headers *h);
uint32_t headers_best(const struct headers *h);
uint32_t headers_find(const struct headers *h, const struct hash256 *hash); /* or HEADERS_NONE */
uint32_t headers_at(const struct headers *h, uint32_t height); /* on the best chain, or HEADERS_NONE */
bool headers_on_best(const struct headers *h, uint32_t idx);
bool headers_is_fit(const struct headers *h, uint32_t idx); /* neither invalid nor set aside */
/* The nearest ancestor (or idx itself) on the best chain. */
uint32_t headers_fork(const struct headers *h, uint32_t idx);
uint32_t headers_parent(const struct headers *h, uint32_t idx); /* HEADERS_NONE of the root */
/* The ancestor (or idx itself) at height; HEADERS_NONE below the root or above idx.  Linear off the best chain. */
uint32_t headers_ancestor(const struct headers *h, uint32_t idx, uint32_t height);
uint32_t headers_height(const struct headers *h, uint32_t idx);
const struct hash256 *headers_hash(const struct headers *h, uint32_t idx);
const struct u256 *headers_work(const struct headers *h, uint32_t idx);
/* False (and zeros) for a root whose header is unknown. */
bool headers_raw(const struct headers *h, uint32_t idx, uint8_t out[HEADER_SZ]);

/* A locator that starts at idx: newest first, ends with the root and genesis.  Returns the count. */
uint32_t headers_locator(const struct headers *h, uint32_t idx, struct hash256 out[HEADERS_LOCATOR_MAX]);

uint32_t headers_cnt(const struct headers *h);
uint32_t headers_side_cnt(const struct headers *h);
size_t headers_bytes(const struct headers *h); /* allocated */

#endif
