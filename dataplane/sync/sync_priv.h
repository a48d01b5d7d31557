/* sync_priv.h - what the files of sync share; included only from sync/.

   sync.c       sessions, time, views            download.c   the window of blocks and who is asked for them
   peers.c      one peer's life and output       events.c     chain events out, verdicts in
   protocol.c   what a peer says                 broadcast.c  our transactions
   push.c       a peer's second connection       branch.c     branches that are invalid or do not come
   trust.c      bans, back-off, pruned peers     body.c       proof that a header is invalid
   pace.c       speed, and what is too slow      outcome.c    what peers did with a transaction
   stale.c      blocks off the best chain */
#ifndef VIGIL_SYNC_SYNC_PRIV_H
#define VIGIL_SYNC_SYNC_PRIV_H

#include <assert.h>

#include "chain/headers.h"
#include "chain/presync.h"
#include "p2p/stream.h"
#include "sync/sync.h"

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

#define SYNC_INFLIGHT_MAX 128u
#define SYNC_WINDOW_MAX   1024u /* a power of two */
#define SYNC_OUT_SZ_MAX   (1u << 20)
#define SYNC_SERVE_MAX    64u
#define SYNC_PROBES       3u
#define STRIKES_MAX       3u
#define ASIDE_MAX         16u
#define PRUNED_KEEPS      288u /* blocks below its tip that a pruned node serves */

/* Every wait of a peer and its deadline; see deadlines_check.  The state PEER_CLOSING has none: the
   transport's contract is that sync_closed follows. */
#define DEADLINE_CONNECT_NS   (30 * NS_PER_S)
#define DEADLINE_HANDSHAKE_NS (60 * NS_PER_S)  /* version and verack, from the connect on */
#define DEADLINE_PONG_NS      (90 * NS_PER_S)  /* while no block is owed */
#define DEADLINE_HEADERS_NS   (120 * NS_PER_S) /* a reply to getheaders */
#define DEADLINE_BYTE_NS      (30 * NS_PER_S)  /* a byte of a block, while blocks are owed */
#define DEADLINE_BLOCK_NS     (120 * NS_PER_S) /* the next owed block, or PACE_HOPE_SZ of it */
#define DEADLINE_MESSAGE_NS \
	(30 * NS_PER_S) /* a message that has begun, no block, plus its size at PACE_MIN .. */
#define DEADLINE_MESSAGE_MAX_NS (120 * NS_PER_S) /* .. at most */
#define DEADLINE_SEND_NS        (60 * NS_PER_S)  /* the transport takes a byte of ours */
#define DEADLINE_PUSH_SEND_NS   (5 * NS_PER_S)   /* the same on a push connection: penalties wait there */

/* A block that is arriving, while another peer would be faster: in every window of PACE_NS at least PACE_MIN bytes a
   second, and as much as brings the whole block in PACE_BLOCK_NS. */
#define PACE_NS       (10 * NS_PER_S)
#define PACE_MIN      4096u
#define PACE_BLOCK_NS (30 * NS_PER_S)
#define PACE_HOPE_SZ  65536u

/* Not deadlines but rhythms. */
#define PERIOD_PING_NS       (30 * NS_PER_S) /* up to twice that, at random */
#define PERIOD_HEADERS_NS    (30 * NS_PER_S) /* the same */
#define PROBE_NS             (5 * NS_PER_S) /* silence after which a ping asks whether a block was passed over */
#define HEDGE_NS             (10 * NS_PER_S) /* the next block to hand out is also asked of another peer */
#define HEDGE_BLOCKED_NS     (2 * NS_PER_S)  /* the same while everything else waits for it */
#define AVOID_MIN_NS         (60 * NS_PER_S) /* a peer for which that was done is asked when no other can, doubling */
#define AVOID_MAX_NS         (600 * NS_PER_S)
#define UNDELIVERED_NS       (60 * NS_PER_S)  /* without the next block; thrice that while it is arriving */
#define UNDELIVERED_AGAIN_NS (20 * NS_PER_S)  /* of a branch that was set aside before */
#define UNCLAIMED_NS         (5 * NS_PER_S)   /* the same of a branch that no ready peer claims */
#define ASIDE_MIN_NS         (120 * NS_PER_S) /* until it is tried again, doubling */
#define ASIDE_MAX_NS         (600 * NS_PER_S)
#define ASIDE_LOOK_NS        (1 * NS_PER_S)
#define BAN_LIFT_NS          (30 * NS_PER_S) /* of waiting for the next block */
#define PRUNED_BELIEF_NS     (600 * NS_PER_S)
#define PRUNED_GUESS_NS      (10 * NS_PER_S) /* by a first end of the connection only */
#define PRUNED_BLAME_NS      (5 * NS_PER_S)  /* from a request for an old block to the other's end */
#define BASE_GRACE_NS        (3 * NS_PER_S)  /* for other connected peers' headers, before the base is fixed */
#define STALE_PEER_NS        (60 * NS_PER_S) /* for a peer that can be asked for a stale block */
#define BACKOFF_MIN_NS       (100 * NS_PER_MS)
#define BACKOFF_MAX_NS       (30 * NS_PER_S)
#define BACKOFF_FORGIVE_NS   (30 * NS_PER_S) /* a connection that was ready for this long resets the back-off */
#define YIELD_BACKOFF_MIN_NS (30 * NS_PER_S) /* of a push connection that gave way */
#define YIELD_BACKOFF_MAX_NS (600 * NS_PER_S)
#define YIELD_AFTER_NS       NS_PER_S /* of back-off of the block connection, that is after some five attempts */
#define YIELD_BLAME_NS       (2 * NS_PER_S) /* from the push connection's dial to the other's end */
#define PUSH_STALL_NS        NS_PER_S       /* without a byte taken: new transactions go the other way */
#define BAR_BLAME_NS         NS_PER_S       /* from a push on the block connection to its end */
#define BAR_NS               (60 * NS_PER_S)
#define TICK_NS              (5 * NS_PER_MS)
#define BCAST_KEEP_NS        (1200 * NS_PER_S) /* a node may ask for a parent for 20 minutes */
#define BCAST_NEWS_NS        (100 * NS_PER_MS)
#define BCAST_REPORT_NS      NS_PER_S /* after the first peer has it, do not wait longer for the rest */

/* What can happen to a connection of either kind; in one order for both, see peer_count. */
#define SYNC_CONN_COUNTERS(C, who)      \
	C(who##_connects)               \
	C(who##_handshakes)             \
	C(who##_closed_local)           \
	C(who##_closed_remote)          \
	C(who##_closed_reset)           \
	C(who##_closed_timeout)         \
	C(who##_closed_nomem)           \
	C(who##_drop_magic)             \
	C(who##_drop_command)           \
	C(who##_drop_length)            \
	C(who##_drop_checksum)          \
	C(who##_drop_malformed)         \
	C(who##_drop_order)             \
	C(who##_drop_version_old)       \
	C(who##_drop_no_witness)        \
	C(who##_drop_self)              \
	C(who##_drop_connect_timeout)   \
	C(who##_drop_handshake_timeout) \
	C(who##_drop_ping_timeout)      \
	C(who##_drop_unrequested_block) \
	C(who##_drop_slow_message)      \
	C(who##_drop_send_queue)        \
	C(who##_drop_send_stall)

#define SYNC_COUNTERS(C)                 \
	SYNC_CONN_COUNTERS(C, peer)      \
	SYNC_CONN_COUNTERS(C, push)      \
	C(peer_drop_headers_timeout)     \
	C(peer_drop_headers_unlinked)    \
	C(peer_drop_headers_not_a_chain) \
	C(peer_drop_headers_pow)         \
	C(peer_drop_headers_bits)        \
	C(peer_drop_headers_version)     \
	C(peer_drop_headers_time)        \
	C(peer_drop_headers_invalid)     \
	C(peer_drop_headers_no_progress) \
	C(peer_drop_stall)               \
	C(peer_drop_block_deadline)      \
	C(peer_drop_block_unavailable)   \
	C(peer_drop_block_parse)         \
	C(peer_drop_block_merkle)        \
	C(peer_drop_block_mutated)       \
	C(peer_drop_block_invalid)       \
	C(peer_drop_slow_block)          \
	C(peer_drop_branch_withheld)     \
	C(peer_bans)                     \
	C(push_yields)                   \
	C(push_bars)                     \
	C(headers_added)                 \
	C(headers_refused_future)        \
	C(headers_refused_deep_fork)     \
	C(headers_refused_low_work)      \
	C(headers_refused_full)          \
	C(headers_presyncs)              \
	C(headers_presyncs_changed)      \
	C(blocks_requested)              \
	C(blocks_received)               \
	C(blocks_late)                   \
	C(blocks_moved)                  \
	C(blocks_hedged)                 \
	C(blocks_slow)                   \
	C(blocks_pruned_away)            \
	C(stale_requested)               \
	C(stale_received)                \
	C(blocks_good)                   \
	C(blocks_bad)                    \
	C(blocks_bad_again)              \
	C(blocks_cancelled)              \
	C(pool_empty)                    \
	C(branches_invalid)              \
	C(branches_set_aside)            \
	C(branches_taken_back)           \
	C(reorgs)                        \
	C(disconnects)                   \
	C(messages_skipped)              \
	C(tx_broadcasts)                 \
	C(tx_refused)                    \
	C(tx_pushed)                     \
	C(tx_fallbacks)                  \
	C(tx_moved)                      \
	C(tx_served)                     \
	C(tx_not_found)                  \
	C(tx_announced)                  \
	C(tx_probes)                     \
	C(tx_held)                       \
	C(tx_missing)                    \
	C(tx_rejected)

enum sync_counter {
#define C(name) CNT_##name,
	SYNC_COUNTERS(C)
#undef C
		CNT_CNT
};
extern const char *const sync_counter_name[CNT_CNT]; /* with _total at the end */

enum peer_state {
	PEER_WAITING,      /* no connection; dialled at dial_at_ns while a session is on */
	PEER_CONNECTING,   /* dialled; sync_connected or sync_closed follows */
	PEER_VERSION_WAIT, /* our version is out */
	PEER_VERACK_WAIT,  /* its version is in, our verack is out */
	PEER_READY,
	PEER_CLOSING, /* hung up; sync_closed follows */
	PEER_STATE_CNT
};

/* A block this connection was asked for and has not sent yet, wanted or no longer. */
struct owed {
	struct hash256 hash;
	uint64_t asked_ns;
	uint32_t ping_no; /* pings sent before; the answer to a later one proves the block was passed over */
};

/* One of a peer's two connections, and the dialling of it. */
struct peer {
	struct net_addr addr;
	void *conn;
	uint32_t id; /* the peer's */
	enum sync_role role;
	enum peer_state state;
	enum peer_state ended_in; /* of the last connection: how far it had come */
	uint64_t state_since_ns, dialled_ns, connected_ns;
	uint32_t generation; /* of the connection, to see that it ended under our feet */
	struct p2p_stream stream;
	uint64_t last_rx_ns;

	uint64_t nonce, services;
	uint32_t version, height;
	char agent[64];

	uint64_t ping_sent_ns, ping_next_ns, ping_nonce;
	uint32_t ping_no, ping_us;
	bool ping_out;

	bool headers_asked, exhausted, best_known;
	uint64_t headers_asked_ns, headers_next_ns;
	struct hash256 best;     /* last header it sent, its best chain's as far as we know */
	struct hash256 asked_at; /* our best when getheaders went out */
	uint32_t reach;          /* height up to which our best chain is known to be its too, or HEADERS_NONE */
	uint32_t unlinked_cnt, stuck_cnt;
	struct presync *presync; /* its chain is being measured; NULL: not */

	struct owed *owed; /* in the order asked */
	uint32_t owed_cnt;
	uint64_t last_block_ns;
	struct hash256 arriving; /* hash of the block now on the stream */
	uint64_t arriving_ns;
	struct block_buf *into;   /* where it goes; NULL: nowhere */
	struct p2p_inv_item *ask; /* collected for the next getdata */
	uint32_t ask_cnt;

	uint8_t *out;
	uint32_t out_off, out_sz, out_cap;
	uint64_t out_since_ns; /* the transport took a byte, or there was nothing to send */
	uint64_t push_next;    /* broadcasts below this are done with */
	uint64_t push_cur;     /* being written, when push_off > 0 or pushing */
	size_t push_off;
	bool pushing, push_is_serve;
	uint64_t serve[SYNC_SERVE_MAX];
	uint32_t serve_cnt;

	uint64_t fallback_ns; /* block connection: when a transaction was last pushed on it; 0: never */
	uint64_t bar_until_ns;

	/* trust.c */
	uint64_t ban_until_ns;
	const char *ban_why; /* "": never */
	uint32_t bans, strikes;
	bool faulty;         /* this connection ended by its fault */
	uint32_t keeps_from; /* lowest block it still has, believed until .. */
	uint64_t keeps_until_ns;

	/* pace.c; what is a peer's outlives its connection */
	uint64_t speed; /* bytes a second, 0: not known */
	uint64_t speed_from_ns, speed_bytes;
	uint64_t avoid_until_ns, avoid_ns;
	uint64_t message_ns;  /* the message now on the stream began; 0: none */
	uint64_t block_rx_ns; /* the last byte of a block came */
	uint64_t block_bytes;
	uint64_t pace_from_ns, hope_ns, hope_bytes;
	uint32_t pace_left; /* missing of the block at pace_from_ns */

	uint64_t backoff_ns, dial_at_ns;
	/* Push connection: it was dialled just before the other one ended; it was hung up in favour of the other. */
	bool blamed, gave_way;
	const char *last_error;
	uint64_t bytes_in, bytes_out;
	uint32_t blocks, connects, drops;
};

enum slot_state { SLOT_WANTED, SLOT_ASKED, SLOT_ARRIVING, SLOT_READY };

/* One block of the best chain between the last handed out and the last asked for.  Each has its buffer, so
   the next block to hand out never lacks one; but while WANTED it may be without, after a transfer broke off.  It
   then gets the next one that is free, which may be that very one. */
struct slot {
	uint32_t idx;
	enum slot_state state;
	uint32_t peer_id;
	struct block_buf *buf;
	uint64_t asked_ns, first_ns, last_ns;
};

/* A block in the caller's hands, with the place to go back to if it proves bad. */
struct handed {
	struct block_buf *buf;
	struct hash256 hash;
	uint32_t session, epoch, peer_id;
	uint32_t applied, fill_next; /* a reference to applied is held */
	bool filling;
	bool stale; /* off the chain: nothing to go back to */
};

/* stale.c: the job of sync_stale_scan. */
struct stale_block {
	struct hash256 hash;
	uint32_t height; /* or SYNC_STALE_HEIGHT_UNKNOWN */
};
struct stale {
	enum { STALE_IDLE, STALE_WANTED, STALE_ASKED, STALE_ARRIVING, STALE_READY, STALE_HANDED } state;
	struct stale_block *list; /* SYNC_STALE_MAX */
	uint32_t cnt, pos;
	bool cut;
	uint64_t cookie;
	uint32_t scanned, missing;
	/* The block at pos. */
	uint64_t tried; /* peers that were asked */
	uint32_t peer_id;
	struct block_buf *buf;
	uint64_t since_ns, first_ns, last_ns;
};

/* A branch that was set aside, by its first block; kept when it is taken back, for the back-off. */
struct aside {
	struct hash256 hash;
	uint64_t retry_ns, backoff_ns;
	bool active;
};

struct bcast {
	uint64_t cookie;
	struct hash256 txid;
	uint8_t *msg; /* head and payload */
	uint32_t msg_sz;
	uint32_t map_next;  /* place in the ring */
	uint64_t target;    /* peer mask: meant for */
	uint64_t waiting;   /* of target: still to be written, by the push connection .. */
	uint64_t by_blocks; /* .. but for these by the block connection */
	struct link_bcast_peers peers;
	uint64_t added_ns, first_ns, at_ns;
	bool reported, held; /* said so */
	bool news;           /* peers has changed since it was told */
	uint32_t probes;     /* rounds of asking peers for it */
};

enum { BASE_SEEK, BASE_FOUND, BASE_SENT };

struct sync {
	struct sync_config cfg;
	struct sync_ops ops;
	void *arg;
	uint64_t now_ns, tick_ns, rng;
	uint64_t counter[CNT_CNT];

	struct peer *peer[SYNC_PEER_MAX], *push[SYNC_PEER_MAX]; /* block and push connections */
	uint32_t peer_cnt;

	bool on, resume;
	struct headers *chain;
	int base_state;
	uint32_t base;
	uint64_t exhausted_ns; /* a peer's headers were first exhausted; 0: none yet */
	uint32_t best_seen;    /* best header at the last look, HEADERS_NONE at first */

	/* Where the caller's chain stands (a reference is held), and the last block it has in common with the best
	   chain.  While filling, blocks from fill_next up to the fork are still owed as CHAIN_FILL. */
	uint32_t applied, fork;
	bool filling;
	uint32_t fill_next;
	uint32_t epoch, session; /* both only grow */

	struct slot slot[SYNC_WINDOW_MAX];
	uint32_t win_head, win_cnt;
	uint32_t win_height; /* of the first slot */

	struct handed *handed;
	uint32_t handed_head, handed_cnt, handed_cap;
	struct hash256 bad_hash; /* the last bad block, and who sent it */
	uint32_t bad_peer;
	bool bad_known;
	uint64_t bad_since_ns; /* first bad copy of it */

	struct aside aside[ASIDE_MAX];
	uint32_t aside_cnt;
	struct hash256 wait_hash; /* the next block, waited for .. */
	uint64_t wait_since_ns;   /* .. since; 0: it is not */
	uint64_t claimed_ns;      /* when a ready peer last claimed to have it */
	uint64_t ready_since_ns;  /* some peer has been ready all the time; 0: none is */
	bool pool_dry;
	uint64_t speed_max; /* of ready peers */

	struct stale stale;

	struct bcast *bcast;
	uint32_t bcast_cap;
	uint64_t bcast_first, bcast_end;   /* sequence numbers; entry n stands at n & (cap - 1) */
	uint64_t bcast_open;               /* all below are reported */
	uint64_t bcast_probe[SYNC_PROBES]; /* the next to ask peers for */
	bool bcast_news;
	uint64_t bcast_news_ns; /* not told before */
	size_t bcast_bytes;
	uint32_t *bcast_map;
};

static inline void count(struct sync *s, enum sync_counter c)
{
	s->counter[c]++;
}

static_assert(SYNC_PEER_MAX <= 64, "the masks of struct bcast hold a bit for each peer");

static inline struct peer *peer_of_conn(const struct sync *s, uint32_t conn_id)
{
	return sync_conn_role(conn_id) == SYNC_BLOCKS ? s->peer[sync_conn_peer(conn_id)]
						      : s->push[sync_conn_peer(conn_id)];
}

/* The same peer's other connection. */
static inline struct peer *peer_other(const struct sync *s, const struct peer *p)
{
	return p->role == SYNC_BLOCKS ? s->push[p->id] : s->peer[p->id];
}

/* sync.c */
uint64_t sync_random(struct sync *s);
/* period to twice the period from now. */
uint64_t sync_jitter(struct sync *s, uint64_t period_ns);
void sync_base_try(struct sync *s);
void sync_set_applied(struct sync *s, uint32_t idx);
/* To be called after headers were added: follows a new best chain. */
void sync_chain_changed(struct sync *s);

/* peers.c */
/* NULL: no memory. */
struct peer *peer_new(struct sync *s, uint32_t id, enum sync_role role, const struct net_addr *a);
void peer_free(struct peer *p);
void peer_set_state(struct sync *s, struct peer *p, enum peer_state next);
static inline bool peer_is_up(const struct peer *p)
{
	return p->state == PEER_VERSION_WAIT || p->state == PEER_VERACK_WAIT || p->state == PEER_READY;
}
/* Nanoseconds from then to now, or 0. */
uint64_t sync_since(const struct sync *s, uint64_t then_ns);
/* c: a counter of SYNC_CONN_COUNTERS for block connections, counted for p's kind, or one that only these have.
   Returns its name. */
const char *peer_count(struct sync *s, const struct peer *p, enum sync_counter c);
/* Counts why, hangs up.  The peer is gone for the caller: look at nothing of it but its state. */
void peer_drop(struct sync *s, struct peer *p, enum sync_counter why);
void peer_hang_up(struct sync *s, struct peer *p);
void peer_end_session(struct sync *s, struct peer *p);
void peer_dial(struct sync *s, struct peer *p);
void peer_timers(struct sync *s, struct peer *p);
void peer_ping(struct sync *s, struct peer *p);
/* Room for a payload of at most sz bytes in the queue, or NULL: the peer was dropped for not reading. */
uint8_t *peer_out(struct sync *s, struct peer *p, size_t sz);
/* Sends what was encoded there.  May drop the peer. */
void peer_send(struct sync *s, struct peer *p, enum p2p_type type, size_t payload_sz);
void peer_flush(struct sync *s, struct peer *p);

/* trust.c */
/* p is about to be dropped for `why`. */
void trust_fault(struct sync *s, struct peer *p, enum sync_counter why);
bool trust_is_banned(const struct sync *s, const struct peer *p);
/* It is not banned, or cannot be done without. */
bool trust_may_dial(const struct sync *s, const struct peer *p);
void trust_back_off(struct sync *s, struct peer *p);
/* The lowest block that it can be asked for. */
uint32_t trust_keeps_from(const struct sync *s, const struct peer *p);
/* It does not have the block.  True when that is no fault: as old as pruned nodes lack.  It is not asked for such blocks
   for a while then. */
bool trust_lacks(struct sync *s, struct peer *p, const struct hash256 *hash);
/* The node has ended p's connection, of which everything is still as it was. */
void trust_closed_by_node(struct sync *s, struct peer *p);

/* pace.c */
void pace_busy(struct sync *s, struct peer *p);  /* the first block is owed */
void pace_block(struct sync *s, struct peer *p); /* one has come, wanted or not */
void pace_block_begins(struct sync *s, struct peer *p);
/* sz bytes have been fed to the stream. */
void pace_data(struct sync *s, struct peer *p, size_t sz, bool block_data);
void pace_tick(struct sync *s);
/* How many times faster the fastest peer is, 1 when much the same. */
uint32_t pace_ratio(const struct sync *s, const struct peer *p);
/* How many blocks may be asked of it at a time. */
uint32_t pace_quota(const struct sync *s, const struct peer *p);
bool pace_is_avoided(const struct sync *s, const struct peer *p);
void pace_avoid(struct sync *s, struct peer *p);
/* For what p is to be dropped now, or CNT_CNT.  p is ready. */
enum sync_counter pace_overdue(struct sync *s, struct peer *p);

/* branch.c */
void branch_tick(struct sync *s);
void branch_good(struct sync *s, const struct hash256 *hash);
/* The block has been proven invalid. */
void branch_condemn(struct sync *s, const struct hash256 *hash);
uint32_t branch_aside_cnt(const struct sync *s);

/* push.c */
bool push_may_dial(const struct sync *s, const struct peer *p);
/* Which connection a transaction for this peer goes by; NULL: none now. */
struct peer *push_route(const struct sync *s, uint32_t peer_id);
/* Whether what waits for p's other connection may go by p. */
bool push_may_take(const struct sync *s, const struct peer *p);
/* Block connection p has just ended; its state is PEER_WAITING now.  by_node: not by us.  fallback_ns: as it was. */
void push_blocks_ended(struct sync *s, struct peer *p, bool by_node, uint64_t fallback_ns);
/* Block connection p is about to be dialled. */
void push_blocks_dialled(struct sync *s, struct peer *p);

/* protocol.c */
void protocol_hello(struct sync *s, struct peer *p);
void protocol_message(struct sync *s, struct peer *p);
void protocol_ask_headers(struct sync *s, struct peer *p);
/* Forgets what was measured. */
void protocol_presync_end(struct sync *s, struct peer *p);
void protocol_reach(struct sync *s, struct peer *p);

/* download.c */
void download_schedule(struct sync *s);
/* Drops what is no longer on the way from the caller's chain to the best one. */
void download_follow(struct sync *s);
void download_reset(struct sync *s);
/* Throws the window away and starts it again at what is next now, without asking yet. */
void download_rewind(struct sync *s);
void download_peer_lost(struct sync *s, struct peer *p);
void download_block_head(struct sync *s, struct peer *p, uint64_t rx_ns);
void download_block(struct sync *s, struct peer *p, uint64_t rx_ns);
/* Some of its bytes have come. */
void download_bytes(struct sync *s, const struct peer *p);
/* The node says that it does not have the block. */
void download_not_found(struct sync *s, struct peer *p, const struct hash256 *hash);
/* The answer to ping number ping_no came. */
void download_pong(struct sync *s, struct peer *p, uint32_t ping_no);
void download_tick(struct sync *s);
bool download_can_serve(const struct sync *s, const struct peer *p, uint32_t height);
struct slot *download_head(struct sync *s); /* the next block to hand out, or NULL */
void download_pop(struct sync *s);

/* One more block is asked of p, which has room; goes out with the next download_schedule. */
void download_request(struct sync *s, struct peer *p, const struct hash256 *hash);

/* stale.c */
void stale_reset(struct sync *s);
void stale_tick(struct sync *s);
/* p->arriving is the block that the job waits for: it has named a buffer for it. */
bool stale_block_head(struct sync *s, struct peer *p, uint64_t rx_ns);
bool stale_block(struct sync *s, struct peer *p, uint64_t rx_ns);
void stale_not_found(struct sync *s, const struct peer *p, const struct hash256 *hash);
/* p->arriving was taken for the chain, or began before the job wanted it: the job has to look again. */
void stale_copy_used(struct sync *s, const struct peer *p);
void stale_peer_lost(struct sync *s, const struct peer *p);
bool stale_next(struct sync *s, struct chain_event *ev);
void stale_done(struct sync *s, const struct handed *h, const uint8_t header[HEADER_SZ], enum block_verdict v);

/* events.c */
/* The first height of which the caller still needs bytes. */
uint32_t events_next_height(const struct sync *s);

/* broadcast.c */
bool broadcast_init(struct sync *s);
void broadcast_free(struct sync *s);
void broadcast_clear(struct sync *s);
/* What waits for p goes by the peer's other connection, if that can take it; the caller flushes that one once p's
   state says that it is gone. */
void broadcast_peer_lost(struct sync *s, struct peer *p);
void broadcast_peer_ready(struct sync *s, struct peer *p);
/* Picks the next message to write for p; false: none. */
bool broadcast_pick(struct sync *s, struct peer *p);
struct bcast *broadcast_at(const struct sync *s, uint64_t seq);
/* The newest of a transaction, or NULL. */
struct bcast *broadcast_find(const struct sync *s, const struct hash256 *txid);
/* p->push_cur has been written whole. */
void broadcast_written(struct sync *s, struct peer *p);
/* A getdata: queues the transaction; false if we do not have it. */
bool broadcast_serve(struct sync *s, struct peer *p, const struct hash256 *txid);
void broadcast_announced(struct sync *s, struct peer *p, const struct hash256 *txid);
void broadcast_tick(struct sync *s);

/* outcome.c */
void outcome_result(const struct sync *s, const struct bcast *b, uint32_t status, uint32_t peer_cnt,
		    uint64_t at_ns);
void outcome_written(struct sync *s, struct peer *p, struct bcast *b);
void outcome_asked(struct sync *s, struct peer *p, struct bcast *b);
void outcome_announced(struct sync *s, struct peer *p, struct bcast *b);
/* The node has ended p's connection. */
void outcome_lost(struct sync *s, struct peer *p);
/* A tx or notfound has come by push connection p. */
void outcome_tx(struct sync *s, struct peer *p);
void outcome_not_found(struct sync *s, struct peer *p, const struct hash256 *txid);
/* A reject of a transaction has come by either connection. */
void outcome_rejected(struct sync *s, struct peer *p, const struct hash256 *txid, uint8_t code);
void outcome_tick(struct sync *s);

#endif
