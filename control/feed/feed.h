/* feed.h - control's end of the link: finds the dataplane, tells it what to watch and where to go on, and hands what
   it reports to the tower.

   Threads  The state thread only, on its loop.  No call blocks and no call except those made by the loop itself
            calls into the tower, so every feed_* call may be made from a tower_ops callback.
   Session  down -> hello -> load -> sync -> on.  A session that ends for whatever reason (end of file, a malformed
            or impossible record, no progress) is torn down, tower_session_lost is called if the tower had heard
            of it, and feed connects again, for ever: 100 ms doubling to 2 s; 10 s after a wrong version or
            network.
   Memory   One reader, one writer of fixed size, and a bounded backlog.  Nothing depends on how many locators
            there are.
   Load     The tower is read in pages and only as fast as the dataplane takes them, over many turns of the loop.
            Calls that come meanwhile are kept, in their order, and sent after START: an appointment that is
            stored behind the load's cursor is thus added by its WATCH_ADD, and one deleted behind the cursor
            is taken out by its WATCH_DEL.  (In front of the cursor the load does the same; both is harmless.)
            While there is no session nothing is kept: the next load reads the store, which has everything.
   Order    Adds, deletes and acknowledgements are sent in the order of the calls.  An acknowledgement must not
            overtake an add: it lets the dataplane forget the blocks in which that add's breach may be
            (link_wire.h, Gap).
   Loss     Ending a session loses nothing, because the next one starts from the store.  So it is also the answer
            to a dataplane that stops reading or lets the backlog grow beyond its bound.
   Input    Every record is checked against its own fields and against the session's state before the tower sees
            it: order of blocks, links between headers, count and place of hits.  A dataplane that gets it
            wrong costs one counted, logged reconnect. */
#ifndef VIGIL_FEED_FEED_H
#define VIGIL_FEED_FEED_H

#include <uv.h>

#include "btc/network.h"
#include "link/link_wire.h"
#include "tower/tower.h"

#define FEED_PEER_MAX 64u
#define FEED_STAT_MAX 1024u

struct feed;

struct feed_config {
	const char *path; /* the dataplane's Unix socket; copied */
	const struct network *network;
	/* Where the header chain is rooted as long as the tower knows no block; all zero: the genesis block. */
	struct hash256 anchor_hash;
	uint32_t anchor_height;
	/* New tower: false begins after the best tip there is, true right after the anchor. */
	bool start_at_anchor;
};

/* NULL with *why set (static text): path too long for a Unix socket, or out of memory.  Borrows loop and tower. */
struct feed *feed_new(const struct feed_config *cfg, uv_loop_t *loop, struct tower *t, const char **why);
/* Begins to connect. */
void feed_start(struct feed *f);
/* Ends the session without telling the tower and closes the handles; the memory is released by the loop's next
   turns (run it until uv_loop_alive is false).  The tower may be freed right after this call. */
void feed_free(struct feed *f);

/* --- what the tower asks for (tower_ops); never fail, never call back ------------------------------------- */

void feed_watch_add(struct feed *f, const struct locator *l);
void feed_watch_del(struct feed *f, const struct locator *l);
void feed_block_ack(struct feed *f, uint32_t height, const struct hash256 *hash);
/* The tower cannot go on with this session (tower_ops.session_reset): it ends at the loop's next turn, and the next one
   begins at tower_resume_point.  Without a session nothing happens. */
void feed_session_reset(struct feed *f);
/* True: handed to the link, and tower_broadcast_result follows unless the session ends first.  False: there is no
   session, or the link is full; nothing will follow, and the tower tries again (tower_way_open, tower_tick). */
bool feed_broadcast(struct feed *f, const struct hash256 *txid, const uint8_t *raw, size_t sz);

/* --- stale branches, for an operator -------------------------------------------------------------------------- */

#define FEED_STALE_BLOCK_MAX 2016u /* as many as the dataplane takes in one scan */
#define FEED_STALE_HIT_MAX   1000u /* kept; more are counted */

enum feed_stale_state {
	FEED_STALE_NONE, /* none since the start of the process */
	FEED_STALE_RUNNING,
	FEED_STALE_DONE,
	FEED_STALE_FAILED
};
struct feed_stale_block {
	struct hash256 hash;
	uint32_t height; /* or LINK_HEIGHT_UNKNOWN */
	uint32_t tx_cnt, hit_cnt;
	bool missing; /* no peer has it any more: it was not scanned */
};
struct feed_stale_hit {
	struct locator locator;
	struct hash256 txid, block_hash;
	uint32_t height, tx_idx;
};
struct feed_stale {
	enum feed_stale_state state;
	bool all; /* every branch, or .. */
	struct hash256 hash;
	const char *why; /* FAILED */
	struct feed_stale_block *block;
	uint32_t block_cnt, missing_cnt;
	bool cut; /* there were more */
	struct feed_stale_hit *hit;
	uint64_t hit_cnt; /* the first FEED_STALE_HIT_MAX are there */
	/* feed's own: the request, and the block whose hits are coming. */
	uint64_t cookie;
	struct hash256 open_block;
	uint32_t open_cnt;
};

/* Has the dataplane scan blocks off the best chain: the branch up to hash (NULL: every branch it knows).
   What is found is information for the operator and has no other effect: the tower hears nothing of it.  A commitment in
   a stale block shows that the counterparty tried, but while it is not in the best chain nothing can confirm on top of
   it, and the moment it is, its block is scanned like any other.
   0, -ENOTCONN (no chain from the dataplane), -EBUSY (one is under way), -EAGAIN (the link is full), -ENOMEM. */
int feed_stale_scan(struct feed *f, const struct hash256 *hash);
/* The last one.  Valid until the loop's next turn. */
const struct feed_stale *feed_stale_get(const struct feed *f);

/* --- for getinfo and getpeers ------------------------------------------------------------------------------ */

enum feed_state {
	FEED_DOWN,  /* not connected; a timer is running */
	FEED_HELLO, /* connected, its HELLO not seen yet (deadline 5 s) */
	FEED_LOAD,  /* sending what is watched (deadline: progress every 30 s) */
	FEED_SYNC,  /* START sent; it looks for peers and headers (no deadline: there may be no peer) */
	FEED_ON     /* blocks are coming */
};
const char *feed_state_name(enum feed_state s);

struct feed_info {
	enum feed_state state;
	struct link_d_hello hello; /* of the current session; zero before it */
	bool has_chain;
	struct link_chain_state chain;  /* last one of the session, if has_chain */
	uint64_t loaded_cnt;            /* locators sent by the session's load */
	uint64_t load_ms;               /* how long that took, once START has been sent */
	uint64_t backlog_cnt;           /* adds, deletes and acks that wait for the link */
	uint64_t added_pending_cnt;     /* WATCH_ADD without answer */
	uint64_t sessions_total;        /* that reached sync */
	uint64_t lost_total;            /* of these, ended */
	uint64_t protocol_errors_total; /* sessions ended because the dataplane broke the contract */
	uint64_t add_errors_total;      /* WATCH_ADDED with an error; each is tried again */
	uint64_t broadcasts_total, broadcasts_unsent_total; /* handed to the link; refused for want of one */
	const char *last_error; /* why the last attempt or session ended; "" never.  Valid until the
	                                    next turn of the loop */
};
void feed_info_get(const struct feed *f, struct feed_info *out);
/* Peers of the dataplane in this session.  Texts are NUL-terminated printable ASCII. */
void feed_each_peer(const struct feed *f, void (*cb)(void *arg, const struct link_peer_state *p), void *arg);
/* The dataplane's counters as of a second or two ago.  Names are NUL-terminated printable ASCII. */
void feed_each_stat(const struct feed *f, void (*cb)(void *arg, const struct link_stat *s), void *arg);

#endif
