/* One scan lcore: what events and edits do to its shard. */
#include "scan/scan_priv.h"

#include <rte_debug.h>

#define EDITS_PER_TURN 256u

static void publish_index(struct scan_worker *w)
{
	struct index_stats now;

	index_stats_get(w->shard, &now);
	__atomic_store_n(&w->stats.index.locators, now.locators, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.index.judy_bytes, now.judy_bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.index.filter_bytes, now.filter_bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.index.buckets, now.buckets, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.index.moved_keys, now.moved_keys, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.index.recent_blocks, now.recent_blocks, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.index.recent_txids, now.recent_txids, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.index.recent_bytes, now.recent_bytes, __ATOMIC_RELAXED);
}

static void answer(struct scan_worker *w, struct scan_added *a)
{
	a->stamp = atomic_load_explicit(&w->ops_done, memory_order_relaxed);
	if (rte_ring_sp_enqueue_elem(w->added, a, sizeof(*a)) != 0)
		rte_panic("scan: no room for an answer that was made room for\n");
}

/* Insert, then look back: one step of the shard's owner, so no block can fall between the two. */
static void add_and_answer(struct scan_worker *w, const struct scan_edit *e)
{
	struct scan_added a = {.cookie = e->cookie, .locator = e->locator};

	a.error = index_add(w->shard, &e->locator);
	scan_count(a.error == 0 ? &w->stats.adds : &w->stats.add_failures, 1);
	if (a.error == 0) {
		scan_ahead_added(w, &e->locator);
		a.recent_cnt = index_recent_find(w->shard, &e->locator, a.recent, SCAN_RECENT_HITS_MAX);
		scan_count(&w->stats.recent_hits, a.recent_cnt);
	}
	answer(w, &a);
}

/* A load has no answer to carry the error, and a locator that is silently not watched is a missed breach: stop, and be
   started again on a machine with memory. */
static void load_check(int error)
{
	if (error != 0)
		rte_panic("scan: out of memory while loading locators\n");
}

/* What the index keeps back is carried out, and counts as done, before anything that could tell. */
static void load_end(struct scan_worker *w)
{
	if (w->loads_open == 0)
		return;
	load_check(index_load_end(w->shard));
	scan_count(&w->stats.loads, w->loads_open);
	w->edits_over += w->loads_open;
	w->loads_open = 0;
	publish_index(w);
	atomic_store_explicit(&w->edits_done, w->edits_over, memory_order_release);
}

static void edit(const struct scan *s, struct scan_worker *w, const struct scan_edit *e)
{
	switch (e->kind) {
	case SCAN_ADD:
		add_and_answer(w, e);
		return;
	case SCAN_LOAD:
		scan_ahead_forget(w);
		load_check(index_load(w->shard, &e->locator));
		w->loads_open++;
		return;
	case SCAN_EXPECT:
		index_load_expect(w->shard, e->cookie / s->cfg.worker_cnt);
		return;
	case SCAN_LOADED:
		return;
	case SCAN_DEL:
		if (index_del(w->shard, &e->locator) == 0)
			scan_count(&w->stats.dels, 1);
		return;
	case SCAN_EVICT:
		index_block_evict(w->shard, e->height);
		return;
	case SCAN_CLEAR:
		scan_ahead_forget(w);
		index_clear(w->shard);
		w->edits_over += w->loads_open;
		w->loads_open = 0;
		answer(w, &(struct scan_added){.cleared = 1});
		return;
	}
}

bool scan_worker_edits(struct scan *s, struct scan_worker *w)
{
	struct scan_edit e;
	unsigned cnt = 0;

	while (cnt < EDITS_PER_TURN && rte_ring_free_count(w->added) > 0 &&
	       rte_ring_sc_dequeue_elem(w->edits, &e, sizeof(e)) == 0) {
		if (e.kind != SCAN_LOAD) {
			if (e.kind != SCAN_CLEAR)
				load_end(w);
			w->edits_over++;
		}
		edit(s, w, &e);
		cnt++;
	}
	if (cnt == 0)
		return false;
	publish_index(w);
	atomic_store_explicit(&w->edits_done, w->edits_over, memory_order_release);
	return true;
}

struct burst {
	struct locator locator[INDEX_BURST_MAX];
	struct scan_hit at[INDEX_BURST_MAX];
	unsigned cnt;
};

static void burst_flush(struct burst *b, const struct index_shard *shard, struct scan_hit *hit, uint32_t cap,
			atomic_uint *hit_cnt)
{
	uint64_t hits = index_lookup_burst(shard, b->locator, b->cnt);

	while (hits != 0) {
		unsigned i = (unsigned)__builtin_ctzll(hits);
		uint32_t n = atomic_fetch_add_explicit(hit_cnt, 1, memory_order_relaxed);

		hits &= hits - 1;
		if (n < cap)
			hit[n] = b->at[i];
	}
	b->cnt = 0;
}

/* Transactions [from, to) in this worker's shard. */
void scan_lookup(const struct scan *s, const struct scan_worker *w, struct scan_job *j, uint32_t from,
		 uint32_t to, struct scan_hit *hit, uint32_t cap, atomic_uint *hit_cnt)
{
	struct burst b = {.cnt = 0};

	for (uint32_t i = from; i < to; i++) {
		for (unsigned scheme = 0; scheme < 2; scheme++) {
			struct locator l = locator_of_txid(&j->txid[i], (enum locator_scheme)scheme);

			if (s->cfg.worker_cnt > 1 &&
			    index_shard_of(&l, s->cfg.seed, s->cfg.worker_cnt) != w->idx)
				continue;
			b.locator[b.cnt] = l;
			b.at[b.cnt] = (struct scan_hit){i, (enum locator_scheme)scheme};
			if (++b.cnt == INDEX_BURST_MAX)
				burst_flush(&b, w->shard, hit, cap, hit_cnt);
		}
	}
	burst_flush(&b, w->shard, hit, cap, hit_cnt);
}

bool scan_worker_push(struct scan_worker *w)
{
	const struct scan_op *op = &w->push;

	if (!w->push_due)
		return false;
	if (index_block_push(w->shard, &op->hash, op->height, op->job->txid, op->job->walk.bv.tx_cnt,
			     op->last_byte_ns) != 0)
		rte_panic("scan: out of memory for a recent block\n");
	w->push_due = false;
	job_let_go(op->job);
	publish_index(w);
	return true;
}

/* The hits of a block are wanted at once, so that it is remembered comes after them; but before this worker does
   anything else to its shard. */
bool scan_worker_ops(struct scan *s, struct scan_worker *w)
{
	uint32_t done = atomic_load_explicit(&w->ops_done, memory_order_relaxed);

	if (done == atomic_load_explicit(&s->ops_published, memory_order_acquire))
		return false;
	load_end(w);
	scan_worker_push(w);
	w->push = s->op[done % SCAN_OP_CNT];
	switch (w->push.kind) {
	case OP_NOTHING:
		break;
	case OP_LOOKUP:
		scan_ahead_finish(s, w, w->push.job);
		w->push_due = w->push.remember;
		break;
	case OP_POP:
		index_block_pop(w->shard, &w->push.hash);
		publish_index(w);
		break;
	}
	atomic_store_explicit(&w->ops_done, done + 1, memory_order_release);
	return true;
}
