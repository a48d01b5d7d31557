/* scan.h - chain events in, hits out: the two phases of DESIGN section 2 over any number of scan lcores.

   Phase one turns a block into txids and a verdict.  It begins while the block is still arriving: what has come is
   parsed, hashed, built into the merkle tree and looked up at once, so that after the last byte only a tail is
   left, whatever the block's size; what changes in the index meanwhile is made up for at the block's turn.  Any
   worker takes pieces of any block, the lowest height first, so several blocks keep every worker busy.  Phase two,
   in the order of events: every worker looks all txids up in its own shard and then remembers the block.  While it
   does, other blocks are in phase one, also on the same lcores.
   Worker 0 is the leader, which keeps the order; it works like the others besides.

   Threads  net lcore: scan_submit, scan_arrive, scan_arrived, scan_arrive_stop.  main lcore: scan_edit, scan_output,
            scan_ack, and the calls marked main.  Scan lcore w: scan_worker_poll(s, w).  A lcore may hold several of
            these roles, also several workers.
   Memory   Rings and jobs are taken at scan_new; after that only the index allocates, for edits, for recent
            blocks, and when an idle worker tidies its shard.
   Order    scan_output is one ordered stream: events come out in the order submitted; the answer to an edit comes
            after every block that its shard had seen before it, and before every block it had not.
            So no locator is ever between two blocks (invariant I2).
   Verdict  A block that fails parse, merkle or mutation comes out with its verdict and without effect; later events
            of the same epoch come out as BLOCK_CANCELLED.
   Stale    A CHAIN_STALE is only looked up: not remembered, not counted by the window, in no epoch.
   Flow     A CONNECT waits before phase two while `window` connected blocks are unacknowledged; nothing is
            dropped.  What waits keeps its buffer, so that in the end no more blocks are asked for. */
#ifndef VIGIL_SCAN_SCAN_H
#define VIGIL_SCAN_SCAN_H

#include "index/index.h"
#include "sync/sync.h"
#include "txid/txid.h"

#define SCAN_WORKER_MAX      64u
#define SCAN_RECENT_HITS_MAX 4u
#define SCAN_ARRIVE_MAX      56u

struct scan;

struct scan_config {
	const struct txid_kernel *kernel;
	unsigned worker_cnt;
	uint64_t seed; /* secret, for shard choice */
	/* 0: no block is remembered, for a scan whose locators are all there before the first block.  Else blocks
	   are remembered until SCAN_EVICT, however many. */
	uint32_t recent_blocks;
	uint32_t window;
	/* Buffers whose blocks may be scanned while they arrive: those with a slot below this, and below
	   SCAN_ARRIVE_MAX.  0: blocks are handed over whole only. */
	uint32_t arrive_cnt;
	/* Names the rings; unique in the process. */
	const char *name;
};

struct scan *scan_new(const struct scan_config *cfg);
void scan_free(struct scan *s);

/* An event as it travels: what sync handed out, and for CHAIN_START the headers that go with it. */
struct scan_event {
	struct chain_event ev;
	uint8_t *headers; /* malloc'd, freed by whoever takes it out last; NULL for all other kinds */
	uint32_t header_cnt;
};

/* A block of sz bytes begins to arrive in buf, whose first `present` bytes are there.  From now on bytes below those
   published may be read by the workers and must not change; height says what is more urgent.
   False: it will have to be handed over whole (the buffer has no place here, or its last block is still being
   remembered); the other two calls then do nothing. */
bool scan_arrive(struct scan *s, const struct block_buf *buf, uint32_t sz, uint32_t present, uint32_t height);
/* More of it has come: at best called once for each burst of packets. */
void scan_arrived(struct scan *s, const struct block_buf *buf, uint32_t present);
/* The block will not be submitted: its transfer ended early, or nobody wants it any more.  True: no worker looks at
   the buffer any more, it may be given to somebody else.  False: one still does; ask again until true. */
bool scan_arrive_stop(struct scan *s, const struct block_buf *buf);

/* The next event.  A block is complete in its buffer by now, whether it was seen arriving or not.  False: no room
   now. */
bool scan_submit(struct scan *s, const struct scan_event *e);

enum scan_edit_kind {
	SCAN_ADD,
	/* An add without an answer, for a start: many are carried out together (index_load), at the latest before the next
	   edit of another kind to the same worker, or before it looks a block up. */
	SCAN_LOAD,
	SCAN_EXPECT, /* about so many LOADs are to come; goes to every worker */
	SCAN_LOADED, /* the last LOAD came before; goes to every worker */
	SCAN_DEL,
	SCAN_EVICT, /* goes to every worker */
	SCAN_CLEAR  /* goes to every worker */
};
struct scan_edit {
	enum scan_edit_kind kind;
	uint32_t height; /* EVICT: forget recent blocks at or below */
	uint64_t cookie; /* ADD: comes back with the answer; EXPECT: how many, in all shards */
	struct locator locator;
};
/* False: no room now, nothing was done (also when only some worker has none). */
bool scan_edit(struct scan *s, const struct scan_edit *e);
/* Main: every edit handed in so far has been carried out.  A LOAD is not before something makes it be: see above. */
bool scan_edits_done(const struct scan *s);

/* Main: how many CONNECTs control has acknowledged, counted from the CHAIN_START that went through last. */
void scan_ack(struct scan *s, uint64_t acked_cnt);

struct scan_hit {
	uint32_t tx_idx;
	enum locator_scheme scheme;
};

/* CLEARED: one per worker, when its shard has been emptied and every answer it owed before has come out. */
enum scan_out_kind { SCAN_OUT_EVENT, SCAN_OUT_ADDED, SCAN_OUT_CLEARED };

struct scan_output {
	enum scan_out_kind kind;
	/* SCAN_OUT_EVENT */
	struct scan_event event;
	enum block_verdict verdict;
	uint64_t done_ns;               /* CLOCK_MONOTONIC when the hits were complete */
	const struct block_view *block; /* the rest is valid until scan_output_release */
	const struct tx_view *tx;
	const struct hash256 *txid;
	const struct scan_hit *hit; /* in tx order */
	uint32_t hit_cnt;
	uint32_t job;
	/* SCAN_OUT_ADDED */
	uint64_t cookie;
	struct locator locator;
	int error;
	uint32_t recent_cnt; /* all found; the first SCAN_RECENT_HITS_MAX are given */
	struct index_recent_hit recent[SCAN_RECENT_HITS_MAX];
};

/* Main: the next output, or false.  The caller must call scan_output_release on it before the next one. */
bool scan_output(struct scan *s, struct scan_output *o);
void scan_output_release(struct scan *s, const struct scan_output *o);

/* One turn of scan lcore w; false when there was nothing to do.  Bounded: at most one step of each kind, the longest
   of which takes some 100 us (or the hash of one transaction of up to 1 MB). */
bool scan_worker_poll(struct scan *s, unsigned w);
/* Any thread: blocks are arriving or events are inside, so there may soon be something to do. */
bool scan_in_work(const struct scan *s);

struct scan_stats {
	uint64_t blocks, txs, bytes, hits, recent_hits;
	uint64_t bad_parse[PARSE_VERDICT_CNT], bad_merkle, mutated, cancelled;
	uint64_t adds, dels, loads, add_failures;
	uint64_t ahead; /* of txs, looked up before their block was complete, in a part of the index each */
	uint64_t window_waits;    /* turns in which the leader held a block back for control */
	struct index_stats index; /* sum over shards, as of the workers' last publication */
};
/* Any thread; counters may lag by a block. */
void scan_stats_get(const struct scan *s, struct scan_stats *out);

#endif
