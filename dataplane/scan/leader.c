/* The leader: takes events in, says in which order the shards learn of them, and is the only writer of the output. */
#include "scan/scan_priv.h"

#include <stdlib.h>
#include <time.h>

/* Answers forwarded per turn and worker, so that blocks are not starved by a client's flood of adds. */
#define ADDED_PER_TURN 128u

static uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct scan_pending *pending_at(struct scan *s, uint32_t n)
{
	return &s->pending[n % SCAN_OP_CNT];
}

/* --- in --------------------------------------------------------------------------------------------------- */

static bool is_block(const struct scan_event *e)
{
	return e->ev.kind == CHAIN_FILL || e->ev.kind == CHAIN_CONNECT || e->ev.kind == CHAIN_STALE;
}

/* A block that did not arrive under our eyes is begun as soon as it is taken in, whatever lies before it. */
static bool open_whole(struct scan *s, struct scan_submitted *e)
{
	const struct block_buf *buf = e->event.ev.buf;

	for (uint32_t i = SCAN_ARRIVE_MAX; i < SCAN_JOB_CNT; i++) {
		if (!job_is_free(&s->job[i]))
			continue;
		job_open(s, &s->job[i], buf->data, buf->sz, buf->sz, e->event.ev.height);
		e->job = i;
		return true;
	}
	return false;
}

static bool take(struct scan *s)
{
	struct scan_pending *p = pending_at(s, s->taken);

	if (s->taken - s->let_out == SCAN_OP_CNT)
		return false;
	if (!s->have_next)
		s->have_next = rte_ring_sc_dequeue_elem(s->submit, &s->next, sizeof(s->next)) == 0;
	if (!s->have_next)
		return false;
	if (is_block(&s->next.event) && s->next.job == SCAN_JOB_NONE && !open_whole(s, &s->next))
		return false;
	*p = (struct scan_pending){.event = s->next.event, .verdict = BLOCK_GOOD};
	if (s->next.job != SCAN_JOB_NONE)
		p->job = &s->job[s->next.job];
	s->have_next = false;
	s->taken++;
	return true;
}

/* --- order ------------------------------------------------------------------------------------------------ */

static bool window_shut(struct scan *s, const struct scan_pending *p)
{
	uint64_t acked = atomic_load_explicit(&s->acked_cnt, memory_order_acquire);

	return p->event.ev.kind == CHAIN_CONNECT && s->connected_cnt > acked &&
	       s->connected_cnt - acked >= s->cfg.window;
}

/* Of the epoch of a bad block, and behind it: as if it had never been submitted. */
static bool is_void(const struct scan *s, const struct scan_pending *p)
{
	return s->epoch_bad && p->event.ev.epoch == s->bad_epoch && p->event.ev.kind != CHAIN_STALE;
}

static void count_refused(struct scan *s, const struct scan_pending *p)
{
	if (p->verdict == BLOCK_BAD_PARSE)
		scan_count(&s->stats.bad_parse[p->job->walk.verdict], 1);
	else if (p->verdict == BLOCK_BAD_MERKLE)
		scan_count(&s->stats.bad_merkle, 1);
	else if (p->verdict == BLOCK_MUTATED)
		scan_count(&s->stats.mutated, 1);
	else
		scan_count(&s->stats.cancelled, 1);
}

/* False: not yet, for somebody is still inside. */
static bool refuse(struct scan *s, struct scan_pending *p, enum block_verdict v)
{
	if (!job_shut(s, p->job))
		return false;
	p->verdict = v;
	count_refused(s, p);
	if (v != BLOCK_CANCELLED)
		scan_count(&s->stats.bytes, p->event.ev.buf->sz);
	if (v != BLOCK_CANCELLED && p->event.ev.kind != CHAIN_STALE) {
		s->epoch_bad = true;
		s->bad_epoch = p->event.ev.epoch;
	}
	job_let_go(p->job);
	p->job = NULL;
	return true;
}

static bool order_block(struct scan *s, struct scan_pending *p, struct scan_op *op)
{
	struct scan_job *j = p->job;
	unsigned phase_one = atomic_load_explicit(&j->phase_one, memory_order_acquire);

	if (is_void(s, p))
		return refuse(s, p, BLOCK_CANCELLED);
	if (phase_one == PHASE_ONE_RUNS)
		return false;
	if (phase_one == PHASE_ONE_BAD)
		return refuse(s, p, j->verdict);
	if (window_shut(s, p)) {
		scan_count(&s->stats.window_waits, 1);
		return false;
	}
	if (!job_shut(s, j))
		return false;
	if (p->event.ev.kind == CHAIN_CONNECT)
		s->connected_cnt++;
	scan_count(&s->stats.bytes, j->walk.bv.total_sz);
	op->remember = s->cfg.recent_blocks != 0 && p->event.ev.kind != CHAIN_STALE;
	atomic_store_explicit(&j->holds, 1 + (op->remember ? s->cfg.worker_cnt : 0), memory_order_relaxed);
	op->kind = OP_LOOKUP;
	op->job = j;
	op->last_byte_ns = p->event.ev.last_byte_ns;
	return true;
}

/* The next event becomes an operation of the shards.  False: it cannot yet. */
static bool order(struct scan *s)
{
	uint32_t n = atomic_load_explicit(&s->ops_published, memory_order_relaxed);
	struct scan_pending *p = pending_at(s, n);
	struct scan_op *op = &s->op[n % SCAN_OP_CNT];

	if (n == s->taken)
		return false;
	*op = (struct scan_op){.kind = OP_NOTHING, .hash = p->event.ev.hash, .height = p->event.ev.height};
	switch (p->event.ev.kind) {
	case CHAIN_START:
		s->connected_cnt = 0;
		s->epoch_bad = false;
		break;
	case CHAIN_FILL:
	case CHAIN_CONNECT:
	case CHAIN_STALE:
		if (!order_block(s, p, op))
			return false;
		break;
	case CHAIN_DISCONNECT:
		if (is_void(s, p))
			p->verdict = BLOCK_CANCELLED;
		else
			op->kind = OP_POP;
		break;
	}
	atomic_store_explicit(&s->ops_published, n + 1, memory_order_release);
	return true;
}

bool scan_leader_take(struct scan *s)
{
	bool worked = false;

	while (take(s))
		worked = true;
	while (order(s))
		worked = true;
	return worked;
}

/* --- out -------------------------------------------------------------------------------------------------- */

/* Forwards the answers of one worker that had not seen operation let_out.  True when there are no more. */
static bool forward_of(struct scan *s, unsigned i, bool *worked)
{
	struct scan_msg m = {.kind = SCAN_OUT_ADDED, .job = SCAN_JOB_NONE};

	for (unsigned n = 0;; n++) {
		if (!s->have_added[i])
			s->have_added[i] = rte_ring_sc_dequeue_elem(s->worker[i].added, &s->added[i],
								    sizeof(s->added[i])) == 0;
		/* Those that saw it, or later ones, come after it. */
		if (!s->have_added[i] || (int32_t)(s->added[i].stamp - s->let_out) > 0)
			return true;
		/* The last slot is kept for an event. */
		if (n == ADDED_PER_TURN || rte_ring_free_count(s->out) < 2)
			return false;
		m.u.added = s->added[i];
		rte_ring_sp_enqueue_elem(s->out, &m, sizeof(m));
		s->have_added[i] = false;
		*worked = true;
	}
}

static bool forward_added(struct scan *s, bool *worked)
{
	bool all = true;

	for (unsigned i = 0; i < s->cfg.worker_cnt; i++)
		all &= forward_of(s, i, worked);
	return all;
}

static bool all_past(const struct scan *s, uint32_t n)
{
	for (unsigned i = 0; i < s->cfg.worker_cnt; i++) {
		uint32_t done = atomic_load_explicit(&s->worker[i].ops_done, memory_order_acquire);

		if ((int32_t)(done - n) <= 0)
			return false;
	}
	return true;
}

static int by_place(const void *a, const void *b)
{
	const struct scan_hit *x = a, *y = b;

	if (x->tx_idx != y->tx_idx)
		return x->tx_idx < y->tx_idx ? -1 : 1;
	return (int)x->scheme - (int)y->scheme;
}

static void block_out(struct scan *s, struct scan_job *j)
{
	unsigned hit_cnt = atomic_load_explicit(&j->hit_cnt, memory_order_relaxed);

	if (hit_cnt > 1)
		qsort(j->hit, hit_cnt, sizeof(*j->hit), by_place);
	scan_count(&s->stats.blocks, 1);
	scan_count(&s->stats.txs, j->walk.bv.tx_cnt);
	scan_count(&s->stats.hits, hit_cnt);
}

static void event_out(struct scan *s)
{
	struct scan_pending *p = pending_at(s, s->let_out);
	struct scan_msg m = {.kind = SCAN_OUT_EVENT, .verdict = p->verdict, .job = SCAN_JOB_NONE};

	if (p->job != NULL) {
		block_out(s, p->job);
		m.job = (uint32_t)(p->job - s->job);
	}
	m.u.event = p->event;
	m.done_ns = mono_ns();
	rte_ring_sp_enqueue_elem(s->out, &m, sizeof(m));
	s->let_out++;
	atomic_store_explicit(&s->let_out_cnt, s->let_out, memory_order_relaxed);
}

bool scan_leader_let_out(struct scan *s)
{
	bool worked = false;

	for (;;) {
		uint32_t n = s->let_out;
		bool past = n != atomic_load_explicit(&s->ops_published, memory_order_relaxed) &&
			    all_past(s, n);
		/* Asked after that: every answer given before operation n is there. */
		bool all = forward_added(s, &worked);

		if (!past || !all || rte_ring_free_count(s->out) == 0)
			return worked;
		event_out(s);
		worked = true;
	}
}
