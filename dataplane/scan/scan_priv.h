/* scan_priv.h - inside scan/ only. */
#ifndef VIGIL_SCAN_SCAN_PRIV_H
#define VIGIL_SCAN_SCAN_PRIV_H

#include <stdatomic.h>
#include <rte_ring_elem.h>
#include "scan/scan.h"

#define SCAN_JOB_CNT    4u
#define SCAN_SUBMIT_CNT 64u
#define SCAN_OUT_CNT    1024u
#define SCAN_EDIT_CNT   32768u /* a load goes on while one side is not scheduled */
#define SCAN_ADDED_CNT  1024u

/* What the leader asks of every worker; one at a time, for all of them. */
enum scan_phase { PHASE_HASH, PHASE_LOOKUP, PHASE_POP };

/* One block in work.  Owned by the leader while it is scanned, by main from the output to its release. */
struct scan_job {
	struct scan_event event;
	struct block_view view;
	struct tx_view *tx;
	struct hash256 *txid;
	struct hash256 *scratch; /* the merkle tree's upper levels */
	struct scan_hit *hit;
	atomic_uint hit_cnt;
	atomic_bool busy;
};

/* A worker's answer to an ADD or, with cleared set, to a CLEAR. */
struct scan_added {
	uint64_t cookie;
	struct locator locator;
	int32_t error;
	uint32_t recent_cnt;
	uint32_t cleared;
	uint32_t zero;
	struct index_recent_hit recent[SCAN_RECENT_HITS_MAX];
};

/* Leader to main, by value. */
struct scan_msg {
	enum scan_out_kind kind;
	uint32_t job; /* SCAN_JOB_CNT: none */
	enum block_verdict verdict;
	uint64_t done_ns;
	union {
		struct scan_event event;
		struct scan_added added;
	} u;
};
static_assert(sizeof(struct scan_msg) % 4 == 0, "a ring element is whole words");
static_assert(sizeof(struct scan_added) % 4 == 0, "a ring element is whole words");
static_assert(sizeof(struct scan_event) % 4 == 0, "a ring element is whole words");
static_assert(sizeof(struct scan_edit) % 4 == 0, "a ring element is whole words");

struct scan_worker {
	struct index_shard *shard;
	struct rte_ring *edits; /* main to this worker */
	struct rte_ring *added; /* this worker to the leader */
	uint32_t phase_seen;
	uint32_t idle_polls;
	uint64_t edits_over; /* carried out; published as edits_done */
	uint64_t loads_open; /* LOADs taken and not carried out */
	/* Published by this worker, read by others. */
	_Alignas(64) atomic_uint_fast64_t edits_done;
	struct scan_stats stats; /* adds, dels, loads, failures, recent_hits and index only */
	/* Written by main only. */
	_Alignas(64) uint64_t edits_sent;
};

enum leader_state {
	LEADER_IDLE,   /* between events: answers to edits may pass */
	LEADER_HASH,   /* workers hash */
	LEADER_LOOKUP, /* workers look up and remember */
	LEADER_POP,    /* workers take a block back */
	LEADER_DRAIN   /* answers given before the pop pass, then the disconnect itself */
};

struct scan {
	struct scan_config cfg;
	struct rte_ring *submit; /* net to leader */
	struct rte_ring *out;    /* leader to main */
	struct scan_job job[SCAN_JOB_CNT];
	struct scan_worker worker[SCAN_WORKER_MAX];

	/* The phase being worked on: phase and phase_job are written before phase_seq is raised. */
	_Alignas(64) atomic_uint phase_seq;
	enum scan_phase phase;
	struct scan_job *phase_job;
	struct hash256 pop_hash;
	_Alignas(64) atomic_uint phase_left;

	/* Leader only. */
	_Alignas(64) enum leader_state state;
	bool have_event;
	struct scan_event event; /* taken from submit, not yet begun or in work */
	struct scan_job *cur;
	uint64_t connected_cnt;
	bool epoch_bad;
	uint32_t bad_epoch;
	struct scan_stats stats; /* what the leader counts */

	_Alignas(64) atomic_uint_fast64_t acked_cnt; /* main */
};

/* A counter with one writer, read from anywhere. */
static inline void scan_count(uint64_t *c, uint64_t n)
{
	__atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

/* worker.c */
bool scan_worker_edits(struct scan *s, struct scan_worker *w);
bool scan_worker_phase(struct scan *s, unsigned idx);
/* leader.c */
bool scan_leader_poll(struct scan *s);

#endif
