#include "scan/scan_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <rte_errno.h>

/* Turns without work after which a worker tidies its shard, so that it does not do so between two blocks. */
#define IDLE_POLLS 256u

static struct rte_ring *ring_new(const struct scan *s, const char *what, unsigned idx, unsigned elem_sz,
				 unsigned cnt)
{
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "%s_%s%u", s->cfg.name, what, idx);
	return rte_ring_create_elem(name, elem_sz, cnt, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

static bool worker_init(struct scan *s, unsigned i)
{
	struct scan_worker *w = &s->worker[i];

	w->idx = i;
	w->shard = index_new(i, s->cfg.worker_cnt, s->cfg.seed);
	w->edits = ring_new(s, "edit", i, sizeof(struct scan_edit), SCAN_EDIT_CNT);
	w->added = ring_new(s, "added", i, sizeof(struct scan_added), SCAN_ADDED_CNT);
	return w->shard != NULL && w->edits != NULL && w->added != NULL;
}

struct scan *scan_new(const struct scan_config *cfg)
{
	struct scan *s;
	bool good;

	if (cfg->worker_cnt == 0 || cfg->worker_cnt > SCAN_WORKER_MAX || cfg->window == 0)
		return NULL;
	s = aligned_alloc(64, sizeof(*s));
	if (s == NULL)
		return NULL;
	memset(s, 0, sizeof(*s));
	s->cfg = *cfg;
	s->arrive_cnt = cfg->arrive_cnt < SCAN_ARRIVE_MAX ? cfg->arrive_cnt : SCAN_ARRIVE_MAX;
	s->submit = ring_new(s, "submit", 0, sizeof(struct scan_submitted), SCAN_SUBMIT_CNT);
	s->out = ring_new(s, "out", 0, sizeof(struct scan_msg), SCAN_OUT_CNT);
	good = s->submit != NULL && s->out != NULL;
	for (unsigned i = 0; good && i < SCAN_JOB_CNT; i++)
		good = (i >= s->arrive_cnt && i < SCAN_ARRIVE_MAX) || job_init(&s->job[i]);
	for (unsigned i = 0; good && i < cfg->worker_cnt; i++)
		good = worker_init(s, i);
	if (!good) {
		scan_free(s);
		return NULL;
	}
	return s;
}

void scan_free(struct scan *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < SCAN_JOB_CNT; i++)
		job_fini(&s->job[i]);
	for (unsigned i = 0; i < s->cfg.worker_cnt; i++) {
		index_free(s->worker[i].shard);
		rte_ring_free(s->worker[i].edits);
		rte_ring_free(s->worker[i].added);
	}
	rte_ring_free(s->submit);
	rte_ring_free(s->out);
	free(s);
}

/* --- the net lcore's side --------------------------------------------------------------------------------- */

static struct scan_job *arrival_of(struct scan *s, const struct block_buf *buf)
{
	return buf != NULL && buf->slot < s->arrive_cnt ? &s->job[buf->slot] : NULL;
}

bool scan_arrive(struct scan *s, const struct block_buf *buf, uint32_t sz, uint32_t present, uint32_t height)
{
	struct scan_job *j = arrival_of(s, buf);

	/* Not free: the block that was in this buffer before is still being remembered. */
	if (j == NULL || j->arriving || !job_is_free(j))
		return false;
	job_open(s, j, buf->data, sz, present, height);
	j->arriving = true;
	return true;
}

void scan_arrived(struct scan *s, const struct block_buf *buf, uint32_t present)
{
	struct scan_job *j = arrival_of(s, buf);

	if (j != NULL && j->arriving)
		atomic_store_explicit(&j->present, present, memory_order_release);
}

bool scan_arrive_stop(struct scan *s, const struct block_buf *buf)
{
	struct scan_job *j = arrival_of(s, buf);

	if (j == NULL || !j->arriving)
		return true;
	if (!job_shut(s, j))
		return false;
	j->arriving = false;
	job_let_go(j);
	return true;
}

bool scan_submit(struct scan *s, const struct scan_event *e)
{
	struct scan_submitted m = {.event = *e, .job = SCAN_JOB_NONE};
	struct scan_job *j = arrival_of(s, e->ev.buf);

	if (rte_ring_free_count(s->submit) == 0)
		return false;
	if (j != NULL && j->arriving) {
		m.job = e->ev.buf->slot;
		j->arriving = false;
		atomic_store_explicit(&j->present, e->ev.buf->sz, memory_order_release);
	}
	atomic_fetch_add_explicit(&s->submitted_cnt, 1, memory_order_relaxed);
	rte_ring_sp_enqueue_elem(s->submit, &m, sizeof(m));
	return true;
}

bool scan_in_work(const struct scan *s)
{
	return atomic_load_explicit(&s->open, memory_order_relaxed) != 0 ||
	       atomic_load_explicit(&s->submitted_cnt, memory_order_relaxed) !=
		       atomic_load_explicit(&s->let_out_cnt, memory_order_relaxed);
}

/* --- the main lcore's side -------------------------------------------------------------------------------- */

bool scan_edit(struct scan *s, const struct scan_edit *e)
{
	bool to_all = e->kind != SCAN_ADD && e->kind != SCAN_LOAD && e->kind != SCAN_DEL;
	unsigned from = 0, to = s->cfg.worker_cnt;

	if (!to_all) {
		from = index_shard_of(&e->locator, s->cfg.seed, s->cfg.worker_cnt);
		to = from + 1;
	}
	for (unsigned i = from; i < to; i++)
		if (rte_ring_free_count(s->worker[i].edits) == 0)
			return false;
	for (unsigned i = from; i < to; i++) {
		rte_ring_sp_enqueue_elem(s->worker[i].edits, (void *)(uintptr_t)e, sizeof(*e));
		s->worker[i].edits_sent++;
	}
	return true;
}

bool scan_edits_done(const struct scan *s)
{
	for (unsigned i = 0; i < s->cfg.worker_cnt; i++)
		if (atomic_load_explicit(&s->worker[i].edits_done, memory_order_acquire) !=
		    s->worker[i].edits_sent)
			return false;
	return true;
}

void scan_ack(struct scan *s, uint64_t acked_cnt)
{
	atomic_store_explicit(&s->acked_cnt, acked_cnt, memory_order_release);
}

static void fill_added(struct scan_output *o, const struct scan_added *a)
{
	if (a->cleared)
		o->kind = SCAN_OUT_CLEARED;
	o->cookie = a->cookie;
	o->locator = a->locator;
	o->error = a->error;
	o->recent_cnt = a->recent_cnt;
	memcpy(o->recent, a->recent, sizeof(o->recent));
}

bool scan_output(struct scan *s, struct scan_output *o)
{
	struct scan_msg m;

	if (rte_ring_sc_dequeue_elem(s->out, &m, sizeof(m)) != 0)
		return false;
	memset(o, 0, sizeof(*o));
	o->kind = m.kind;
	o->job = m.job;
	if (m.kind == SCAN_OUT_ADDED) {
		fill_added(o, &m.u.added);
		return true;
	}
	o->event = m.u.event;
	o->verdict = m.verdict;
	o->done_ns = m.done_ns;
	if (m.job < SCAN_JOB_CNT) {
		const struct scan_job *j = &s->job[m.job];

		o->block = &j->walk.bv;
		o->tx = j->tx;
		o->txid = j->txid;
		o->hit = j->hit;
		o->hit_cnt = atomic_load_explicit(&j->hit_cnt, memory_order_relaxed);
	}
	return true;
}

void scan_output_release(struct scan *s, const struct scan_output *o)
{
	if (o->kind == SCAN_OUT_EVENT && o->job < SCAN_JOB_CNT)
		job_let_go(&s->job[o->job]);
}

/* --- scan lcores ------------------------------------------------------------------------------------------ */

bool scan_worker_poll(struct scan *s, unsigned w)
{
	struct scan_worker *me = &s->worker[w];
	bool worked = scan_worker_push(me);

	worked |= scan_worker_edits(s, me);
	worked |= scan_phase_one(s);
	if (w == 0)
		worked |= scan_leader_take(s);
	worked |= scan_worker_ops(s, me);
	/* With nothing better to do. */
	if (!worked)
		worked = scan_worker_ahead(s, me);
	if (w == 0)
		worked |= scan_leader_let_out(s);
	if (worked)
		me->idle_polls = 0;
	else if (me->idle_polls < IDLE_POLLS)
		me->idle_polls++;
	else if (me->loads_open == 0 && !scan_in_work(s)) /* or it would tidy what is about to change again */
		worked = index_maintain(me->shard);
	return worked;
}

#define READ(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

void scan_stats_get(const struct scan *s, struct scan_stats *out)
{
	*out = (struct scan_stats){
		.blocks = READ(s->stats.blocks),
		.txs = READ(s->stats.txs),
		.bytes = READ(s->stats.bytes),
		.hits = READ(s->stats.hits),
		.bad_merkle = READ(s->stats.bad_merkle),
		.mutated = READ(s->stats.mutated),
		.cancelled = READ(s->stats.cancelled),
		.window_waits = READ(s->stats.window_waits),
	};
	for (unsigned i = 0; i < PARSE_VERDICT_CNT; i++)
		out->bad_parse[i] = READ(s->stats.bad_parse[i]);
	for (unsigned i = 0; i < s->cfg.worker_cnt; i++) {
		const struct scan_stats *w = &s->worker[i].stats;

		out->adds += READ(w->adds);
		out->ahead += READ(w->ahead);
		out->dels += READ(w->dels);
		out->loads += READ(w->loads);
		out->add_failures += READ(w->add_failures);
		out->recent_hits += READ(w->recent_hits);
		out->index.locators += READ(w->index.locators);
		out->index.judy_bytes += READ(w->index.judy_bytes);
		out->index.filter_bytes += READ(w->index.filter_bytes);
		out->index.buckets += READ(w->index.buckets);
		out->index.moved_keys += READ(w->index.moved_keys);
		out->index.recent_txids += READ(w->index.recent_txids);
		out->index.recent_bytes += READ(w->index.recent_bytes);
		if (READ(w->index.recent_blocks) > out->index.recent_blocks)
			out->index.recent_blocks = READ(w->index.recent_blocks);
	}
}
