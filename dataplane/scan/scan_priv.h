/* scan_priv.h - inside scan/ only.

   A job is one block in work.  Phase one, by whichever workers have time, without order between blocks: one walks
   over the bytes that are present, any number hash chunks of what was walked, the last one to be done ends it.
   Phase two, in the order of events: each event is an operation that every worker carries out on its shard, at its
   own pace.  The leader decides which operation comes next, and lets an event out when every worker is past it.
   Nobody waits for anybody: a worker without an operation takes a chunk of any block that is there. */
#ifndef VIGIL_SCAN_SCAN_PRIV_H
#define VIGIL_SCAN_SCAN_PRIV_H

#include <stdatomic.h>
#include <rte_ring_elem.h>
#include "btc/block_walk.h"
#include "scan/scan.h"

#define SCAN_SUBMIT_CNT 64u
#define SCAN_OUT_CNT    1024u
#define SCAN_EDIT_CNT   32768u /* a load goes on while one side is not scheduled */
#define SCAN_ADDED_CNT  1024u
#define SCAN_OP_CNT     64u /* events taken in and not yet let out */

/* Jobs 0 .. SCAN_ARRIVE_MAX-1 belong to the buffers of the same slot, for blocks that arrive; the others to blocks
   handed over whole, which are taken in order, so that these never wait for blocks that come after them. */
#define SCAN_WHOLE_CNT 8u
#define SCAN_JOB_CNT   (SCAN_ARRIVE_MAX + SCAN_WHOLE_CNT)
#define SCAN_JOB_NONE  SCAN_JOB_CNT
static_assert(SCAN_JOB_CNT <= 64, "one mask holds a bit for each job");

/* The leaves of one part of the merkle tree, hashed up by whoever hashes the last of them. */
#define SCAN_GROUP_TXS 64u
#define SCAN_GROUP_MAX ((BLOCK_TX_MAX + SCAN_GROUP_TXS - 1) / SCAN_GROUP_TXS)

enum phase_one { PHASE_ONE_RUNS, PHASE_ONE_GOOD, PHASE_ONE_BAD };

#define JOB_SHUT 0x80000000u

struct scan_job {
	/* How many workers are inside, and JOB_SHUT: no more may enter.  Only who is inside may touch the buffer and
	   what is below up to `holds`. */
	_Alignas(64) atomic_uint gate;
	atomic_uint phase_one;
	atomic_uint present;   /* bytes in the buffer */
	atomic_uint walk_need; /* bytes with which the walk can go on; UINT32_MAX: never again */
	atomic_uint walked;    /* transactions that may be hashed */
	atomic_uint claimed;   /* of these, taken by somebody */
	atomic_uint height;    /* lower ones go first */
	atomic_bool walking;   /* somebody has the walk */
	atomic_uint gen;       /* which block it is */

	_Alignas(64) atomic_uint hashed;
	atomic_bool mutated;
	atomic_uint hit_cnt;
	/* Who still needs the results: main, and each worker that will remember the block.  0: free. */
	atomic_uint holds;

	_Alignas(64) struct block_walk walk;
	enum block_verdict verdict; /* once phase one is over, as is the walk's */
	const uint8_t *data;
	struct tx_view *tx;
	struct hash256 *txid;
	struct scan_hit *hit;
	struct hash256 *root;    /* of each group; room for one more */
	atomic_uint *group_done; /* transactions hashed of each; whole ones have all their txids */

	bool arriving; /* net lcore only: begun there and not yet submitted */
};

/* Net to leader. */
struct scan_submitted {
	struct scan_event event;
	uint32_t job; /* SCAN_JOB_NONE: has none yet */
	uint32_t zero;
};

/* A worker's answer to an ADD or, with cleared set, to a CLEAR. */
struct scan_added {
	uint64_t cookie;
	struct locator locator;
	int32_t error;
	uint32_t recent_cnt;
	uint32_t cleared;
	uint32_t stamp; /* operations that this worker had carried out before */
	struct index_recent_hit recent[SCAN_RECENT_HITS_MAX];
};

/* Leader to main, by value. */
struct scan_msg {
	enum scan_out_kind kind;
	uint32_t job; /* SCAN_JOB_NONE: none */
	enum block_verdict verdict;
	uint64_t done_ns;
	union {
		struct scan_event event;
		struct scan_added added;
	} u;
};
static_assert(sizeof(struct scan_submitted) % 4 == 0, "a ring element is whole words");
static_assert(sizeof(struct scan_msg) % 4 == 0, "a ring element is whole words");
static_assert(sizeof(struct scan_added) % 4 == 0, "a ring element is whole words");
static_assert(sizeof(struct scan_edit) % 4 == 0, "a ring element is whole words");

/* What an event asks of a shard. */
enum scan_op_kind { OP_NOTHING, OP_LOOKUP, OP_POP };
struct scan_op {
	enum scan_op_kind kind;
	struct scan_job *job; /* LOOKUP */
	bool remember;        /* LOOKUP: among the recent blocks */
	struct hash256 hash;  /* of the block */
	uint32_t height;
	uint64_t last_byte_ns;
};

/* Lookups made before the block's turn has come: of its first groups, in this worker's shard, as that was then. */
#define AHEAD_HITS 64u
#define AHEAD_ADDS 256u
struct scan_ahead {
	struct scan_job *job; /* NULL: of none */
	uint32_t gen;         /* the job's */
	uint32_t height;
	uint32_t groups;                 /* looked up */
	uint32_t hit_cnt;                /* may exceed AHEAD_HITS: then they are not all there */
	struct scan_hit hit[AHEAD_HITS]; /* may have been deleted since */
	uint32_t adds_before;            /* adds of the worker when it began */
};

struct scan_worker {
	struct index_shard *shard;
	struct rte_ring *edits; /* main to this worker */
	struct rte_ring *added; /* this worker to the leader */
	uint32_t idx;
	uint32_t idle_polls;
	uint64_t edits_over; /* carried out; published as edits_done */
	uint64_t loads_open; /* LOADs taken and not carried out */
	/* A block that was looked up and is not among the recent ones yet: before anything else on this shard. */
	bool push_due;
	struct scan_op push;
	struct scan_ahead ahead;
	uint32_t add_cnt;
	struct locator added_last[AHEAD_ADDS]; /* add n at n % AHEAD_ADDS */
	/* Published by this worker, read by others. */
	_Alignas(64) atomic_uint ops_done;
	atomic_uint_fast64_t edits_done;
	struct scan_stats stats; /* adds, dels, loads, failures, recent_hits and index only */
	/* Written by main only. */
	_Alignas(64) uint64_t edits_sent;
};

/* An event between its way in and its way out; the n-th one is operation n. */
struct scan_pending {
	struct scan_event event;
	struct scan_job *job; /* the block's, until it is known to be bad */
	enum block_verdict verdict;
};

struct scan {
	struct scan_config cfg;
	uint32_t arrive_cnt;     /* jobs of arriving blocks */
	struct rte_ring *submit; /* net to leader */
	struct rte_ring *out;    /* leader to main */
	struct scan_job job[SCAN_JOB_CNT];
	struct scan_worker worker[SCAN_WORKER_MAX];

	/* Bit i: job i is in phase one.  A hint; the job's gate decides. */
	_Alignas(64) atomic_uint_fast64_t open;

	/* Operations 0 .. ops_published-1 may be carried out. */
	_Alignas(64) atomic_uint ops_published;
	struct scan_op op[SCAN_OP_CNT];

	/* Leader only.  let_out <= ops_published <= taken <= let_out + SCAN_OP_CNT, modulo 2^32. */
	_Alignas(64) uint32_t taken;
	uint32_t let_out;
	struct scan_pending pending[SCAN_OP_CNT];
	bool have_next; /* next was taken from submit, but there is no job for it yet */
	struct scan_submitted next;
	/* An answer taken from each worker's ring that may not go out yet. */
	bool have_added[SCAN_WORKER_MAX];
	struct scan_added added[SCAN_WORKER_MAX];
	uint64_t connected_cnt;
	bool epoch_bad;
	uint32_t bad_epoch;
	struct scan_stats stats; /* what the leader counts */

	_Alignas(64) atomic_uint_fast64_t acked_cnt; /* main */
	_Alignas(64) atomic_uint submitted_cnt;      /* net */
	_Alignas(64) atomic_uint let_out_cnt;        /* leader */
};

/* A counter with one writer, read from anywhere. */
static inline void scan_count(uint64_t *c, uint64_t n)
{
	__atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

/* job.c: phase one */
bool job_init(struct scan_job *j);
void job_fini(struct scan_job *j);
/* A free job, and nobody else may open it meanwhile. */
void job_open(struct scan *s, struct scan_job *j, const uint8_t *data, uint32_t sz, uint32_t present,
	      uint32_t height);
/* Nobody may enter any more; true once nobody is inside, so the buffer may be written or given back. */
bool job_shut(struct scan *s, struct scan_job *j);
/* Between the two the job is not shut or opened again.  False: it is shut. */
bool job_enter(struct scan_job *j);
void job_leave(struct scan_job *j);
/* Who holds a job lets go of it. */
void job_let_go(struct scan_job *j);
static inline bool job_is_free(const struct scan_job *j)
{
	return atomic_load_explicit(&j->holds, memory_order_acquire) == 0;
}
/* A piece of work on some block in phase one, if there is any. */
bool scan_phase_one(struct scan *s);

/* worker.c */
bool scan_worker_edits(struct scan *s, struct scan_worker *w);
bool scan_worker_ops(struct scan *s, struct scan_worker *w);
void scan_lookup(const struct scan *s, const struct scan_worker *w, struct scan_job *j, uint32_t from,
		 uint32_t to, struct scan_hit *hit, uint32_t cap, atomic_uint *hit_cnt);
/* What a looked up block left to be done. */
bool scan_worker_push(struct scan_worker *w);

/* ahead.c */
/* An idle worker looks up what is hashed of the next block. */
bool scan_worker_ahead(struct scan *s, struct scan_worker *w);
/* The same hits as by looking everything up now. */
void scan_ahead_finish(const struct scan *s, struct scan_worker *w, struct scan_job *j);
void scan_ahead_added(struct scan_worker *w, const struct locator *l);
static inline void scan_ahead_forget(struct scan_worker *w)
{
	w->ahead.job = NULL;
}

/* leader.c */
bool scan_leader_take(struct scan *s);
bool scan_leader_let_out(struct scan *s);

#endif
