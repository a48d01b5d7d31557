/* Phase one: from bytes, perhaps still arriving, to txids and a verdict. */
#include "scan/scan_priv.h"

#include <stdlib.h>

/* Bytes walked in one step, so that what is hashed next is still in the cache. */
#define WALK_STEP 131072u
/* A chunk of hashing is at most so much; alone on the job one can take longer ones. */
#define CHUNK_TXS_MAX   256u
#define CHUNK_BYTES_MAX 262144u
#define CHUNK_BYTES_MIN 65536u
/* Fewer transactions than to the end of a group are hashed only when they are so large, or when no more come. */
#define CHUNK_WORTH 32768u

bool job_init(struct scan_job *j)
{
	/* calloc'd and untouched until a block needs it: small blocks cost little memory. */
	j->tx = calloc(BLOCK_TX_MAX, sizeof(*j->tx));
	j->txid = calloc(BLOCK_TX_MAX, sizeof(*j->txid));
	j->hit = calloc((size_t)BLOCK_TX_MAX * 2, sizeof(*j->hit));
	j->root = calloc(SCAN_GROUP_MAX + 1, sizeof(*j->root));
	j->group_done = calloc(SCAN_GROUP_MAX, sizeof(*j->group_done));
	atomic_store_explicit(&j->gate, JOB_SHUT, memory_order_relaxed);
	return j->tx != NULL && j->txid != NULL && j->hit != NULL && j->root != NULL && j->group_done != NULL;
}

void job_fini(struct scan_job *j)
{
	free(j->tx);
	free(j->txid);
	free(j->hit);
	free(j->root);
	free(j->group_done);
}

static uint64_t job_bit(const struct scan *s, const struct scan_job *j)
{
	return UINT64_C(1) << (j - s->job);
}

static void walk_publish(struct scan_job *j)
{
	const struct block_walk *w = &j->walk;

	/* Of a block that is refused nothing more is hashed, so that hashing all means that all is well. */
	if (!w->over || w->verdict == PARSE_OK)
		atomic_store_explicit(&j->walked, w->tx_done, memory_order_release);
	atomic_store_explicit(&j->walk_need, w->over ? UINT32_MAX : w->need, memory_order_relaxed);
}

static void phase_one_end(struct scan *s, struct scan_job *j, enum block_verdict v)
{
	j->verdict = v;
	atomic_fetch_and_explicit(&s->open, ~job_bit(s, j), memory_order_relaxed);
	atomic_store_explicit(&j->phase_one, v == BLOCK_GOOD ? PHASE_ONE_GOOD : PHASE_ONE_BAD,
			      memory_order_release);
}

void job_open(struct scan *s, struct scan_job *j, const uint8_t *data, uint32_t sz, uint32_t present,
	      uint32_t height)
{
	j->data = data;
	atomic_fetch_add_explicit(&j->gen, 1, memory_order_relaxed);
	atomic_store_explicit(&j->holds, 1, memory_order_relaxed);
	atomic_store_explicit(&j->phase_one, PHASE_ONE_RUNS, memory_order_relaxed);
	atomic_store_explicit(&j->present, present, memory_order_relaxed);
	atomic_store_explicit(&j->claimed, 0, memory_order_relaxed);
	atomic_store_explicit(&j->height, height, memory_order_relaxed);
	atomic_store_explicit(&j->walking, false, memory_order_relaxed);
	atomic_store_explicit(&j->hashed, 0, memory_order_relaxed);
	atomic_store_explicit(&j->mutated, false, memory_order_relaxed);
	atomic_store_explicit(&j->hit_cnt, 0, memory_order_relaxed);
	memset(j->group_done, 0, SCAN_GROUP_MAX * sizeof(*j->group_done));
	block_walk_start(&j->walk, data, sz, j->tx);
	walk_publish(j);
	if (j->walk.over) {
		phase_one_end(s, j, BLOCK_BAD_PARSE);
		return;
	}
	/* Not a plain store: somebody may just be finding it shut. */
	atomic_fetch_and_explicit(&j->gate, ~JOB_SHUT, memory_order_release);
	atomic_fetch_or_explicit(&s->open, job_bit(s, j), memory_order_release);
}

bool job_shut(struct scan *s, struct scan_job *j)
{
	if (atomic_load_explicit(&s->open, memory_order_relaxed) & job_bit(s, j))
		atomic_fetch_and_explicit(&s->open, ~job_bit(s, j), memory_order_relaxed);
	return (atomic_fetch_or_explicit(&j->gate, JOB_SHUT, memory_order_acq_rel) & ~JOB_SHUT) == 0;
}

void job_let_go(struct scan_job *j)
{
	atomic_fetch_sub_explicit(&j->holds, 1, memory_order_acq_rel);
}

bool job_enter(struct scan_job *j)
{
	if (!(atomic_fetch_add_explicit(&j->gate, 1, memory_order_acquire) & JOB_SHUT))
		return true;
	atomic_fetch_sub_explicit(&j->gate, 1, memory_order_relaxed);
	return false;
}

void job_leave(struct scan_job *j)
{
	atomic_fetch_sub_explicit(&j->gate, 1, memory_order_release);
}

/* --- the merkle tree -------------------------------------------------------------------------------------- */

/* One level up, in place or not.  A last one without a neighbour is paired with itself, which is no mutation. */
static uint32_t level_up(const struct txid_kernel *k, struct hash256 *out, const struct hash256 *in,
			 uint32_t cnt, bool *mutated)
{
	struct hash256 last[2];

	for (uint32_t i = 0; i + 1 < cnt; i += 2)
		*mutated |= hash256_eq(&in[i], &in[i + 1]);
	if (cnt % 2 != 0)
		last[0] = last[1] = in[cnt - 1];
	k->pairs(out, in, cnt / 2);
	if (cnt % 2 != 0)
		k->pairs(&out[cnt / 2], last, 1);
	return cnt / 2 + cnt % 2;
}

/* The roots of groups [from, to), of which only the last may be short; at most a chunk of them. */
static void groups_up(const struct scan *s, struct scan_job *j, uint32_t from, uint32_t to, uint32_t leaf_cnt)
{
	struct hash256 up[CHUNK_TXS_MAX / 2 + 1];
	const struct hash256 *in = &j->txid[from * SCAN_GROUP_TXS];
	bool mutated = false;

	for (uint32_t width = SCAN_GROUP_TXS; width > 1; width /= 2) {
		leaf_cnt = level_up(s->cfg.kernel, up, in, leaf_cnt, &mutated);
		in = up;
	}
	memcpy(&j->root[from], up, (to - from) * sizeof(*up));
	if (mutated)
		atomic_store_explicit(&j->mutated, true, memory_order_relaxed);
}

/* Transactions [from, to) have been hashed: whole groups among them are hashed up, and so are groups that this
   completes. */
static void groups_add(const struct scan *s, struct scan_job *j, uint32_t from, uint32_t to)
{
	while (from < to) {
		uint32_t g = from / SCAN_GROUP_TXS, end = to / SCAN_GROUP_TXS, n;

		if (from % SCAN_GROUP_TXS == 0 && end > g) {
			groups_up(s, j, g, end, (end - g) * SCAN_GROUP_TXS);
			for (; g < end; g++)
				atomic_store_explicit(&j->group_done[g], SCAN_GROUP_TXS, memory_order_release);
			from = end * SCAN_GROUP_TXS;
			continue;
		}
		n = (g + 1) * SCAN_GROUP_TXS - from;
		n = n < to - from ? n : to - from;
		if (atomic_fetch_add_explicit(&j->group_done[g], n, memory_order_acq_rel) + n == SCAN_GROUP_TXS)
			groups_up(s, j, g, g + 1, SCAN_GROUP_TXS);
		from += n;
	}
}

/* All are hashed: what is left of the tree, and the verdict. */
static void finish(struct scan *s, struct scan_job *j)
{
	const uint8_t *in_header = j->data + 36; /* after version and prev */
	uint32_t cnt = j->walk.bv.tx_cnt, whole = cnt / SCAN_GROUP_TXS, group_cnt = whole;
	bool mutated = atomic_load_explicit(&j->mutated, memory_order_relaxed);
	bool mutated_above;
	struct hash256 root;

	if (cnt <= SCAN_GROUP_TXS) {
		struct hash256 scratch[SCAN_GROUP_TXS + 1];

		root = merkle_root(s->cfg.kernel, j->txid, cnt, scratch, &mutated_above);
	} else {
		if (cnt % SCAN_GROUP_TXS != 0) {
			groups_up(s, j, whole, whole + 1, cnt % SCAN_GROUP_TXS);
			mutated |= atomic_load_explicit(&j->mutated, memory_order_relaxed);
			group_cnt++;
		}
		root = merkle_root(s->cfg.kernel, j->root, group_cnt, j->root, &mutated_above);
	}
	if (memcmp(root.b, in_header, HASH_SZ) != 0)
		phase_one_end(s, j, BLOCK_BAD_MERKLE);
	else
		phase_one_end(s, j, mutated || mutated_above ? BLOCK_MUTATED : BLOCK_GOOD);
}

/* --- steps ------------------------------------------------------------------------------------------------ */

static bool may_walk(const struct scan_job *j)
{
	return atomic_load_explicit(&j->walk_need, memory_order_relaxed) <=
		       atomic_load_explicit(&j->present, memory_order_relaxed) &&
	       !atomic_load_explicit(&j->walking, memory_order_relaxed);
}

static bool walk(struct scan *s, struct scan_job *j)
{
	struct block_walk *w = &j->walk;
	uint32_t present;

	if (atomic_exchange_explicit(&j->walking, true, memory_order_acquire))
		return false;
	present = atomic_load_explicit(&j->present, memory_order_acquire);
	if (!w->over && w->need <= present) {
		if (present - w->need > WALK_STEP)
			present = w->need + WALK_STEP;
		block_walk_go(w, present);
		walk_publish(j);
		if (w->over && w->verdict != PARSE_OK)
			phase_one_end(s, j, BLOCK_BAD_PARSE);
	}
	atomic_store_explicit(&j->walking, false, memory_order_release);
	return true;
}

/* Where a chunk from `from` on ends, or `from` if none is worth it yet. */
static uint32_t chunk_end(const struct scan *s, const struct scan_job *j, uint32_t from)
{
	uint32_t walked = atomic_load_explicit(&j->walked, memory_order_acquire), to;
	bool all = atomic_load_explicit(&j->walk_need, memory_order_relaxed) == UINT32_MAX;
	uint32_t txs = CHUNK_TXS_MAX / s->cfg.worker_cnt, bytes = CHUNK_BYTES_MAX / s->cfg.worker_cnt;
	const struct tx_view *t = j->tx;

	if (from >= walked)
		return from;
	txs = txs / SCAN_GROUP_TXS * SCAN_GROUP_TXS;
	txs = txs < SCAN_GROUP_TXS ? SCAN_GROUP_TXS : txs;
	bytes = bytes < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : bytes;
	to = (from + txs) / SCAN_GROUP_TXS * SCAN_GROUP_TXS;
	if (to > walked) {
		to = walked / SCAN_GROUP_TXS * SCAN_GROUP_TXS;
		if (to <= from || all)
			to = walked;
		if (to == walked && !all && to % SCAN_GROUP_TXS != 0 &&
		    t[to - 1].off + t[to - 1].sz - t[from].off < CHUNK_WORTH)
			return from;
	}
	if (t[to - 1].off - t[from].off > bytes) {
		uint32_t lo = from + 1, hi = to; /* too long with hi, not with lo */

		while (hi - lo > 1) {
			uint32_t mid = lo + (hi - lo) / 2;

			if (t[mid - 1].off - t[from].off > bytes)
				hi = mid;
			else
				lo = mid;
		}
		to = lo;
	}
	return to;
}

static bool may_hash(const struct scan_job *j)
{
	return atomic_load_explicit(&j->walked, memory_order_relaxed) >
	       atomic_load_explicit(&j->claimed, memory_order_relaxed);
}

static bool hash_chunk(struct scan *s, struct scan_job *j)
{
	uint32_t from = atomic_load_explicit(&j->claimed, memory_order_relaxed), to;

	do {
		to = chunk_end(s, j, from);
		if (to == from)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&j->claimed, &from, to, memory_order_relaxed,
							memory_order_relaxed));
	s->cfg.kernel->hash(j->data, j->tx + from, j->txid + from, to - from);
	groups_add(s, j, from, to);
	if (atomic_fetch_add_explicit(&j->hashed, to - from, memory_order_acq_rel) + to - from ==
	    j->walk.bv.tx_cnt)
		finish(s, j);
	return true;
}

/* With company, one keeps the walk ahead of the others. */
static bool walk_first(const struct scan *s, const struct scan_job *j)
{
	return s->cfg.worker_cnt > 1 &&
	       atomic_load_explicit(&j->walked, memory_order_relaxed) -
			       atomic_load_explicit(&j->claimed, memory_order_relaxed) <
		       s->cfg.worker_cnt * SCAN_GROUP_TXS;
}

static bool job_step(struct scan *s, struct scan_job *j)
{
	bool worked;

	if (!job_enter(j))
		return false;
	if (may_walk(j) && walk_first(s, j))
		worked = walk(s, j) || hash_chunk(s, j);
	else
		worked = hash_chunk(s, j) || (may_walk(j) && walk(s, j));
	job_leave(j);
	return worked;
}

bool scan_phase_one(struct scan *s)
{
	uint64_t open = atomic_load_explicit(&s->open, memory_order_acquire);

	/* Those without work for us now are put aside. */
	while (open != 0) {
		struct scan_job *best = NULL;
		uint32_t best_height = UINT32_MAX;

		for (uint64_t left = open; left != 0; left &= left - 1) {
			struct scan_job *j = &s->job[__builtin_ctzll(left)];
			uint32_t height = atomic_load_explicit(&j->height, memory_order_relaxed);

			if ((may_hash(j) || may_walk(j)) && (best == NULL || height < best_height)) {
				best = j;
				best_height = height;
			}
		}
		if (best == NULL)
			return false;
		if (job_step(s, best))
			return true;
		open &= ~job_bit(s, best);
	}
	return false;
}
