/* The leader: takes events in order, runs the phases over all workers, and is the only writer of the output. */
#include "scan/scan_priv.h"

#include <stdlib.h>
#include <time.h>

/* Answers forwarded per turn, so that blocks are not starved by a client's flood of adds. */
#define ADDED_PER_TURN 128u

static uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void phase_begin(struct scan *s, enum scan_phase phase, struct scan_job *j)
{
	s->phase = phase;
	s->phase_job = j;
	atomic_store_explicit(&s->phase_left, s->cfg.worker_cnt, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->phase_seq, 1, memory_order_release);
	scan_worker_phase(s, 0);
}

static bool phase_over(struct scan *s)
{
	return atomic_load_explicit(&s->phase_left, memory_order_acquire) == 0;
}

static bool out_has_room(const struct scan *s)
{
	return rte_ring_free_count(s->out) > 0;
}

static void out_event(struct scan *s, enum block_verdict v, const struct scan_job *j)
{
	struct scan_msg m = {.kind = SCAN_OUT_EVENT, .verdict = v, .done_ns = mono_ns()};

	m.job = j != NULL ? (uint32_t)(j - s->job) : SCAN_JOB_CNT;
	m.u.event = s->event;
	/* Room was checked before the event was begun, and nobody else writes here. */
	rte_ring_sp_enqueue_elem(s->out, &m, sizeof(m));
	s->have_event = false;
	s->cur = NULL;
	s->state = LEADER_IDLE;
}

/* Forwards answers to edits.  True when every worker's ring was found empty. */
static bool forward_added(struct scan *s, bool *worked)
{
	struct scan_msg m = {.kind = SCAN_OUT_ADDED, .job = SCAN_JOB_CNT};

	for (unsigned i = 0; i < s->cfg.worker_cnt; i++) {
		for (unsigned n = 0;; n++) {
			/* The last slot is kept for the event in work. */
			if (n == ADDED_PER_TURN || rte_ring_free_count(s->out) < 2)
				return false;
			if (rte_ring_sc_dequeue_elem(s->worker[i].added, &m.u.added, sizeof(m.u.added)) != 0)
				break;
			rte_ring_sp_enqueue_elem(s->out, &m, sizeof(m));
			*worked = true;
		}
	}
	return true;
}

static struct scan_job *free_job(struct scan *s)
{
	for (unsigned i = 0; i < SCAN_JOB_CNT; i++)
		if (!atomic_load_explicit(&s->job[i].busy, memory_order_acquire))
			return &s->job[i];
	return NULL;
}

static void refuse(struct scan *s, enum block_verdict v)
{
	s->epoch_bad = true;
	s->bad_epoch = s->event.ev.epoch;
	out_event(s, v, NULL);
}

static bool window_shut(struct scan *s)
{
	uint64_t acked = atomic_load_explicit(&s->acked_cnt, memory_order_acquire);

	return s->event.ev.kind == CHAIN_CONNECT && s->connected_cnt > acked &&
	       s->connected_cnt - acked >= s->cfg.window;
}

static bool begin_block(struct scan *s)
{
	struct scan_job *j;
	const struct block_buf *buf = s->event.ev.buf;
	enum parse_verdict v;

	if (s->epoch_bad && s->event.ev.epoch == s->bad_epoch) {
		scan_count(&s->stats.cancelled, 1);
		out_event(s, BLOCK_CANCELLED, NULL);
		return true;
	}
	if (window_shut(s)) {
		scan_count(&s->stats.window_waits, 1);
		return false;
	}
	j = free_job(s);
	if (j == NULL)
		return false;
	v = block_parse(buf->data, buf->sz, &j->view, j->tx);
	scan_count(&s->stats.bytes, buf->sz);
	if (v != PARSE_OK) {
		scan_count(&s->stats.bad_parse[v], 1);
		refuse(s, BLOCK_BAD_PARSE);
		return true;
	}
	j->event = s->event;
	atomic_store_explicit(&j->hit_cnt, 0, memory_order_relaxed);
	atomic_store_explicit(&j->busy, true, memory_order_relaxed);
	s->cur = j;
	s->state = LEADER_HASH;
	phase_begin(s, PHASE_HASH, j);
	return true;
}

static bool begin(struct scan *s)
{
	if (!out_has_room(s))
		return false;
	switch (s->event.ev.kind) {
	case CHAIN_START:
		s->connected_cnt = 0;
		s->epoch_bad = false;
		out_event(s, BLOCK_GOOD, NULL);
		return true;
	case CHAIN_FILL:
	case CHAIN_CONNECT:
		return begin_block(s);
	case CHAIN_DISCONNECT:
		s->pop_hash = s->event.ev.hash;
		s->state = LEADER_POP;
		phase_begin(s, PHASE_POP, NULL);
		return true;
	}
	return false;
}

static bool merkle_good(struct scan *s, struct scan_job *j, enum block_verdict *v)
{
	const uint8_t *in_header = j->event.ev.buf->data + 36; /* after version and prev */
	bool mutated;
	struct hash256 root = merkle_root(s->cfg.kernel, j->txid, j->view.tx_cnt, j->scratch, &mutated);

	if (memcmp(root.b, in_header, HASH_SZ) != 0) {
		scan_count(&s->stats.bad_merkle, 1);
		*v = BLOCK_BAD_MERKLE;
		return false;
	}
	if (mutated) {
		scan_count(&s->stats.mutated, 1);
		*v = BLOCK_MUTATED;
		return false;
	}
	return true;
}

static void after_hash(struct scan *s)
{
	struct scan_job *j = s->cur;
	enum block_verdict v;

	if (!merkle_good(s, j, &v)) {
		atomic_store_explicit(&j->busy, false, memory_order_relaxed);
		refuse(s, v);
		return;
	}
	s->state = LEADER_LOOKUP;
	phase_begin(s, PHASE_LOOKUP, j);
}

static int by_place(const void *a, const void *b)
{
	const struct scan_hit *x = a, *y = b;

	if (x->tx_idx != y->tx_idx)
		return x->tx_idx < y->tx_idx ? -1 : 1;
	return (int)x->scheme - (int)y->scheme;
}

static void after_lookup(struct scan *s)
{
	struct scan_job *j = s->cur;
	unsigned hit_cnt = atomic_load_explicit(&j->hit_cnt, memory_order_relaxed);

	if (hit_cnt > 1)
		qsort(j->hit, hit_cnt, sizeof(*j->hit), by_place);
	scan_count(&s->stats.blocks, 1);
	scan_count(&s->stats.txs, j->view.tx_cnt);
	scan_count(&s->stats.hits, hit_cnt);
	if (s->event.ev.kind == CHAIN_CONNECT)
		s->connected_cnt++;
	out_event(s, BLOCK_GOOD, j);
}

bool scan_leader_poll(struct scan *s)
{
	bool worked = false;

	if (s->state == LEADER_IDLE) {
		forward_added(s, &worked);
		if (!s->have_event)
			s->have_event = rte_ring_sc_dequeue_elem(s->submit, &s->event, sizeof(s->event)) == 0;
		if (s->have_event)
			worked |= begin(s);
	}
	if (s->state == LEADER_HASH && phase_over(s)) {
		after_hash(s);
		worked = true;
	}
	if (s->state == LEADER_LOOKUP && phase_over(s)) {
		after_lookup(s);
		worked = true;
	}
	if (s->state == LEADER_POP && phase_over(s)) {
		s->state = LEADER_DRAIN;
		worked = true;
	}
	/* Answers about the block being taken back must come out before its disconnect. */
	if (s->state == LEADER_DRAIN && forward_added(s, &worked)) {
		out_event(s, BLOCK_GOOD, NULL);
		worked = true;
	}
	return worked;
}
