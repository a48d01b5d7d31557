/* Lookups ahead: while a block is still arriving, an idle worker looks up what is hashed of it, so that at its end
   few are left.  When its turn comes, the hits must be those of a lookup made then.  So each hit found ahead is
   looked up once more, and the locators added since are searched among what was looked up before they came. */
#include "scan/scan_priv.h"

#define GROUPS_PER_STEP 4u
#define MARKS           16384u

/* The open job with the lowest height: it comes next. */
static struct scan_job *next_job(struct scan *s)
{
	struct scan_job *best = NULL;
	uint32_t best_height = UINT32_MAX;

	for (uint64_t left = atomic_load_explicit(&s->open, memory_order_acquire); left != 0;
	     left &= left - 1) {
		struct scan_job *j = &s->job[__builtin_ctzll(left)];
		uint32_t height = atomic_load_explicit(&j->height, memory_order_relaxed);

		if (best == NULL || height < best_height) {
			best = j;
			best_height = height;
		}
	}
	return best;
}

static bool is_of(const struct scan_ahead *a, const struct scan_job *j)
{
	return a->job == j && atomic_load_explicit(&j->gen, memory_order_relaxed) == a->gen;
}

static bool step(struct scan *s, struct scan_worker *w, struct scan_job *j)
{
	struct scan_ahead *a = &w->ahead;
	atomic_uint found;
	uint32_t from, to;

	if (!is_of(a, j)) {
		a->job = j;
		a->gen = atomic_load_explicit(&j->gen, memory_order_relaxed);
		a->height = atomic_load_explicit(&j->height, memory_order_relaxed);
		a->groups = a->hit_cnt = 0;
		a->adds_before = w->add_cnt;
	}
	for (from = to = a->groups; to < SCAN_GROUP_MAX && to - from < GROUPS_PER_STEP; to++)
		if (atomic_load_explicit(&j->group_done[to], memory_order_acquire) != SCAN_GROUP_TXS)
			break;
	if (to == from)
		return false;
	atomic_init(&found, a->hit_cnt);
	scan_lookup(s, w, j, from * SCAN_GROUP_TXS, to * SCAN_GROUP_TXS, a->hit, AHEAD_HITS, &found);
	a->hit_cnt = atomic_load_explicit(&found, memory_order_relaxed);
	a->groups = to;
	return true;
}

bool scan_worker_ahead(struct scan *s, struct scan_worker *w)
{
	struct scan_ahead *a = &w->ahead;
	struct scan_job *j = next_job(s);
	bool worked;

	if (j == NULL || w->loads_open != 0)
		return false;
	/* What was looked up of an earlier block is kept until that one's turn, unless it was given up. */
	if (a->job != NULL && a->job != j && is_of(a, a->job) && !job_is_free(a->job) &&
	    a->height <= atomic_load_explicit(&j->height, memory_order_relaxed))
		return false;
	if (!job_enter(j))
		return false;
	worked = step(s, w, j);
	job_leave(j);
	return worked;
}

void scan_ahead_added(struct scan_worker *w, const struct locator *l)
{
	w->added_last[w->add_cnt++ % AHEAD_ADDS] = *l;
}

static void hit_add(struct scan_job *j, struct scan_hit h)
{
	j->hit[atomic_fetch_add_explicit(&j->hit_cnt, 1, memory_order_relaxed)] = h;
}

static bool found_ahead(const struct scan_ahead *a, struct scan_hit h)
{
	for (uint32_t i = 0; i < a->hit_cnt; i++)
		if (a->hit[i].tx_idx == h.tx_idx && a->hit[i].scheme == h.scheme)
			return true;
	return false;
}

static bool added_since(const struct scan_worker *w, const struct locator *l)
{
	for (uint32_t n = w->ahead.adds_before; n != w->add_cnt; n++)
		if (memcmp(w->added_last[n % AHEAD_ADDS].b, l->b, LOCATOR_SZ) == 0)
			return true;
	return false;
}

/* Nobody who does not know the seed can make many fall on one mark. */
static unsigned mark_of(const struct scan *s, const struct locator *l)
{
	return index_shard_of(l, ~s->cfg.seed, MARKS);
}

static void search_added(const struct scan *s, const struct scan_worker *w, struct scan_job *j)
{
	const struct scan_ahead *a = &w->ahead;
	uint64_t marks[MARKS / 64] = {0};

	for (uint32_t n = a->adds_before; n != w->add_cnt; n++) {
		unsigned m = mark_of(s, &w->added_last[n % AHEAD_ADDS]);

		marks[m / 64] |= UINT64_C(1) << m % 64;
	}
	for (uint32_t i = 0; i < a->groups * SCAN_GROUP_TXS; i++) {
		for (unsigned scheme = 0; scheme < 2; scheme++) {
			struct locator l = locator_of_txid(&j->txid[i], (enum locator_scheme)scheme);
			struct scan_hit h = {i, (enum locator_scheme)scheme};
			unsigned m = mark_of(s, &l);

			/* It may be gone again, or have been there before, too. */
			if ((marks[m / 64] >> m % 64 & 1) && added_since(w, &l) && index_has(w->shard, &l) &&
			    !found_ahead(a, h))
				hit_add(j, h);
		}
	}
}

void scan_ahead_finish(const struct scan *s, struct scan_worker *w, struct scan_job *j)
{
	struct scan_ahead *a = &w->ahead;
	uint32_t from = 0, cnt = j->walk.bv.tx_cnt;

	if (is_of(a, j) && a->hit_cnt <= AHEAD_HITS && w->add_cnt - a->adds_before <= AHEAD_ADDS) {
		from = a->groups * SCAN_GROUP_TXS;
		scan_count(&w->stats.ahead, from);
		for (uint32_t i = 0; i < a->hit_cnt; i++) {
			struct locator l = locator_of_txid(&j->txid[a->hit[i].tx_idx],
							   (enum locator_scheme)a->hit[i].scheme);

			if (index_has(w->shard, &l))
				hit_add(j, a->hit[i]);
		}
		if (w->add_cnt != a->adds_before)
			search_added(s, w, j);
	}
	if (is_of(a, j))
		a->job = NULL;
	scan_lookup(s, w, j, from, cnt, j->hit, BLOCK_TX_MAX * 2, &j->hit_cnt);
}
