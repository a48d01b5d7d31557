/* sync.h - follows the best chain over several Bitcoin peers: handshakes, headers, block download.

   sync owns the peers' protocol state, the header tree and the download window.  It owns no socket, no clock
   and no packet: bytes and time come in, bytes and chain events go out.  So it runs unchanged in the
   dataplane's net lcore, in unit tests against simulated peers, and in fuzz targets.

   Threads  One thread (the net lcore).
   Memory   Block buffers come from the caller's pool, one reserved per outstanding request, so a block that
            was asked for always has room; a block nobody asked for never gets any.  A buffer is written by one
            transfer only: when that breaks off, the buffer goes back and the next one gets another.
   Order    sync_next hands out chain events in the order in which they must be applied: FILL blocks first
            (oldest to newest, ending with the base), then CONNECT and DISCONNECT along the best chain.  All
            disconnects of a reorg come before its first connect.  A reorg is followed when the new branch has
            strictly more work; equal work never switches.
   Base     Reporting begins once some ready peer's headers are exhausted (others that are connected get three
            more seconds).  A new session (resume false) begins at the best tip.  A resumed one begins at the last
            header given, the last durable block D, also when D went stale meanwhile: then F, the last block
            that D's chain and the best chain have in common, takes D's place for the FILL blocks.  So the
            events are
                CHAIN_START (D), FILL F-recent_blocks+1 .. F, DISCONNECT D .. F+1, CONNECT F+1 ..
            Stale blocks are never fetched: the recent blocks hold nothing for the DISCONNECTs above F, which
            is then no error, and hold everything below that a late appointment could need.
            The root's own block and what is below it are never fetched: peers of a trusted root may lack it.
            An empty regtest chain begins at genesis, height 0, without a FILL.
            While the best chain has less than the least work (headers.h) there is no base, and so no block is asked
            for; headers_min_work_reached among the counters tells.
   Reorg    DISCONNECTs wait until the first block of the new branch has arrived, so a branch that nobody
            delivers undoes nothing.
   Verdict  The scan checks what sync cannot (parse, merkle root).  Its verdict comes back by
            sync_block_done for every event with a buffer, in order.  After a bad verdict the caller drops
            every later event of the same epoch (answering BLOCK_CANCELLED for each); sync drops the peer,
            opens the next epoch and hands the block out again from another delivery.
   Push     Each peer has two connections, so that a penalty neither waits behind requested blocks nor, when the
            node drops its sender for it, takes the block download along (spec/bitcoin.md section 10).  The
            block connection asks for no transactions (relay 0), and its state is the peer's.  The push
            connection (relay 1) carries our transactions and the node's announcements; it asks for neither
            headers nor blocks.  It is dialled when the block connection is ready, with a back-off of its own,
            and stays when that one is lost.  A transaction goes by the push connection; while that is not
            ready, or took no byte for a second, by the block connection, at once.  If the node ends the block
            connection within a second of that, nothing goes that way again for a minute.
            A node may grant one connection only, so the push connection gives way: when the block connection
            does not come back while it stands, and when the block connection is lost just after it was dialled.
   Spread   A block that is announced is asked of who announced it first; many are spread over the peers that have
            them, by their measured speed.  The next block to hand out is asked of another peer too after 10 s, or 2 s
            while all else waits for it, and who let it wait is asked last for a minute or more.  Old blocks are not
            asked of peers that have pruned them away, nor any of peers that did not announce them.
   Slow     A block that arrives at less than 4 KiB/s, or than would bring it in 30 s, over 10 s, moves to another peer
            that is faster, and its sender is dropped (peer_drop_slow_block_total).  Where no other is, the slow one
            is kept as long as it brings 64 KiB in two minutes: the line may be ours.  Other messages and the
            handshake have deadlines from their first byte.
   Bans     A peer that lies, or fails three times in a row, is not dialled for ban_s, but only while another ready peer
            has the best chain and blocks come; else the back-off alone counts, 30 s at most.  So no peer, and
            no fault of ours, cuts the tower off for long.
   Branches A body that does not belong to its header, or cannot be read, says that its sender is bad; one that does
            and breaks a rule (sync/body.h) that the branch is: it is marked invalid, and the best of what is left
            is followed.  When the next block of the best chain has not come for a minute (three while it is
            arriving), and a ready peer has a chain that leads further than what was delivered, the branch is set
            aside and tried again later (branches_aside, branches_set_aside_total); with no such chain it is
            asked for without end, as often as back-off allows (next_block_wait_ms).
   Errors   Whatever a peer sends ends in a counted drop of that connection at worst (invariant I6). */
#ifndef VIGIL_SYNC_SYNC_H
#define VIGIL_SYNC_SYNC_H

#include "btc/network.h"
#include "link/link_wire.h"
#include "net/net.h"

/* One block's bytes on their way to the scan.  data has room for BLOCK_SZ_MAX. */
struct block_buf {
	uint8_t *data;
	uint32_t sz;
	uint32_t slot; /* the pool's own */
};

enum chain_event_kind {
	CHAIN_START, /* where reporting begins: height, hash, work; no buffer.  Once per session, first. */
	CHAIN_FILL,  /* a block at or below the base: feeds the recent blocks, reports hits as recent */
	CHAIN_CONNECT,
	CHAIN_DISCONNECT, /* no buffer */
	/* A block off the best chain (sync_stale_scan), between any two others.  It is not remembered, and what its verdict says
	   touches no other event: neither is it cancelled with its epoch, nor does a bad one cancel others. */
	CHAIN_STALE
};

struct chain_event {
	enum chain_event_kind kind;
	uint32_t height;
	uint32_t epoch;
	struct hash256 hash;
	uint8_t header[HEADER_SZ];
	struct u256 work;      /* cumulative */
	struct block_buf *buf; /* FILL, CONNECT: now the caller's until sync_block_done */
	uint64_t first_byte_ns, last_byte_ns;
	uint32_t peer_id;
};

enum block_verdict { BLOCK_GOOD, BLOCK_BAD_PARSE, BLOCK_BAD_MERKLE, BLOCK_MUTATED, BLOCK_CANCELLED };

struct sync_config {
	const struct network *network;
	uint32_t recent_blocks;     /* how many FILL blocks before the base (fewer near the root) */
	uint32_t inflight_per_peer; /* block requests outstanding per peer (16) */
	bool stripped;              /* ask for blocks without witness */
	/* The least work of a chain; NULL: the network's own, or none above a root of unknown work.  Borrowed. */
	const struct u256 *min_chain_work;
	uint64_t nonce_seed; /* randomness for nonces and jitter */
	uint32_t ban_s;      /* seconds of a ban; 0: none are made */
	/* Seconds since 1970, for the version message and header times. */
	int64_t (*wall_time)(void *arg);
};

/* The two connections of a peer.  The transport knows each by its conn_id; everything else goes by peer_id. */
enum sync_role { SYNC_BLOCKS, SYNC_PUSH, SYNC_ROLE_CNT };
#define SYNC_PEER_MAX 64u
#define SYNC_CONN_MAX (SYNC_PEER_MAX * SYNC_ROLE_CNT)

static inline uint32_t sync_conn_id(uint32_t peer_id, enum sync_role role)
{
	return peer_id * SYNC_ROLE_CNT + role;
}
static inline uint32_t sync_conn_peer(uint32_t conn_id)
{
	return conn_id / SYNC_ROLE_CNT;
}
static inline enum sync_role sync_conn_role(uint32_t conn_id)
{
	return (enum sync_role)(conn_id % SYNC_ROLE_CNT);
}

/* News of a sync_stale_scan.  BEST: not stale any more; SCANNED: by the CHAIN_STALE that went out; neither is told. */
enum sync_stale_kind { SYNC_STALE_MISSING, SYNC_STALE_END, SYNC_STALE_SCANNED, SYNC_STALE_BEST };
#define SYNC_STALE_MAX            2016u /* blocks of one scan */
#define SYNC_STALE_HEIGHT_UNKNOWN UINT32_MAX
struct sync_stale_news {
	enum sync_stale_kind kind;
	uint64_t cookie;
	struct hash256 hash; /* MISSING: no peer that could be asked has it */
	uint32_t height;
	uint32_t scanned, missing; /* END */
	bool cut;                  /* END: there were more than SYNC_STALE_MAX */
};

/* News of a transaction; the fields of link_wire.h's record. */
struct sync_bcast_result {
	uint64_t cookie;
	struct hash256 txid;
	uint32_t status; /* enum link_broadcast_status */
	uint32_t peer_cnt;
	uint64_t at_ns;
	struct link_bcast_peers peers;
};

/* What sync needs from outside.  conn is the caller's handle. */
struct sync_ops {
	/* Starts a connection; the outcome comes later as sync_connected, or as sync_closed, which may also be called
	   from within.  NULL: could not be started (sync backs off). */
	void *(*dial)(void *arg, uint32_t conn_id, const struct net_addr *to);
	size_t (*send_room)(void *arg, void *conn);
	size_t (*send)(void *arg, void *conn, const void *p, size_t sz); /* returns bytes taken */
	/* Aborts; sync_closed follows or is called from within. */
	void (*hang_up)(void *arg, void *conn);
	struct block_buf *(*buf_get)(void *arg); /* NULL: none free now */
	void (*buf_put)(void *arg, struct block_buf *b);
	/* May be NULL, like the next one: a block of sz bytes begins to arrive in b, whose header is there. */
	void (*block_begins)(void *arg, struct block_buf *b, uint32_t sz, uint32_t height);
	/* Its first `present` bytes are there.  Ends with all of them, or with buf_put of a block that nobody wants
	   any more or whose peer was lost: what has come of it is of no use then. */
	void (*block_grows)(void *arg, struct block_buf *b, uint32_t present);
	/* Peer or broadcast news for the link. */
	void (*peer_changed)(void *arg, uint32_t peer_id);
	void (*broadcast_result)(void *arg, const struct sync_bcast_result *r);
	/* False: no room now, it comes again.  Never before the verdict on an earlier CHAIN_STALE was given. */
	bool (*stale_news)(void *arg, const struct sync_stale_news *n);
};

struct sync;

struct sync *sync_new(const struct sync_config *cfg, const struct sync_ops *ops, void *arg);
void sync_free(struct sync *s);

/* Adds a peer to dial; it is kept and redialled with back-off (0.1 s doubling to 30 s, jitter) for as long as
   sync lives, while a session is on.  Returns its id, 0 upwards; UINT32_MAX beyond SYNC_PEER_MAX. */
uint32_t sync_add_peer(struct sync *s, const struct net_addr *a);

/* Opens a session (link_wire.h, START).  root all zero: genesis.  headers: cnt x 80 bytes after the root,
   verified here.  Returns 0, or -EINVAL when they do not link or lack work. */
struct sync_start {
	bool resume; /* false: begin at the best tip found once headers are in */
	struct hash256 root_hash;
	uint32_t root_height;
	struct u256 root_work;
	const uint8_t *headers;
	uint32_t header_cnt;
};
int sync_session_start(struct sync *s, const struct sync_start *st, uint64_t now_ns);
/* Ends the session: hangs up every connection, gives buffers back, forgets headers.  Events handed out before still
   get their sync_block_done, in any order, which then only returns the buffer. */
void sync_session_stop(struct sync *s);
bool sync_session_on(const struct sync *s);

/* From the transport. */
void sync_connected(struct sync *s, uint32_t conn_id, uint64_t now_ns);
/* Consumes all sz bytes.  rx_ns: when the frame came from the port. */
void sync_data(struct sync *s, uint32_t conn_id, const uint8_t *p, size_t sz, uint64_t rx_ns);
void sync_sendable(struct sync *s, uint32_t conn_id, uint64_t now_ns);
void sync_closed(struct sync *s, uint32_t conn_id, enum net_close_reason why, uint64_t now_ns);

/* Timers; call at least every 10 ms or so.  Returns true when it did something. */
bool sync_tick(struct sync *s, uint64_t now_ns);

/* The next event to apply, or false.  Do not call while the scan has no room. */
bool sync_next(struct sync *s, struct chain_event *ev);
void sync_block_done(struct sync *s, const struct chain_event *ev, enum block_verdict v, uint64_t now_ns);

/* Pushes a transaction to every peer with a ready connection, once to each, as an unsolicited tx message, and keeps
   it servable for getdata on either connection.  Results by ops.broadcast_result: SENT or NO_PEER once, then what
   else becomes known of what peers did with it.  Each is asked for it back after 2, 10 and 60 seconds on its push
   connection, until it has it (HELD). */
void sync_broadcast(struct sync *s, uint64_t cookie, const struct hash256 *txid, const uint8_t *raw, size_t sz,
		    uint64_t now_ns);

/* Fetches blocks off the best chain and hands them out as CHAIN_STALE, oldest first: those of the branch from its fork up
   to hash, or, where hash is all zero, of every branch in the header tree (headers.h says how long these are kept).  A hash
   that is not in the tree is asked for all the same, and then the blocks below it down to one that is, newest
   first.  One on the best chain is none to fetch.  Any ready peer is asked; nodes drop stale blocks after a while.
   Returns 0 (an END follows unless the session ends), -EBUSY (one is under way), -EAGAIN (there is no chain yet). */
int sync_stale_scan(struct sync *s, uint64_t cookie, const struct hash256 *hash, uint64_t now_ns);

/* Views for the link and for counters. */
struct sync_chain_view {
	struct hash256 best_hash;
	uint32_t best_height;
	uint32_t handed_out_height; /* of the last CONNECT or base handed out */
	bool synced;
	uint32_t ready_peers;
};
void sync_chain_view(const struct sync *s, struct sync_chain_view *v);

struct sync_peer_view {
	struct net_addr addr;
	const char *state; /* connecting, handshake, ready, waiting, banned */
	char user_agent[64];
	const char *last_error; /* a counter name below, or a net_close_reason_name, or "" */
	uint64_t services, bytes_in, bytes_out;
	uint32_t version, height, ping_us, blocks, connects, drops;
	uint64_t speed;         /* bytes of blocks a second, smoothed; 0: not known */
	uint32_t bans;          /* so far */
	uint32_t ban_s;         /* seconds left; 0: not banned */
	const char *ban_reason; /* of the last one: a counter name, or "" */
	bool ready;
	bool pruned;  /* does not have old blocks, or would not give them */
	bool lagging; /* has said all it knows, and that is two blocks or more behind, or another branch */
	/* All above is the block connection's. */
	const char *push_state, *push_last_error;
	uint32_t push_connects, push_drops;
	bool push_ready;
};
uint32_t sync_peer_cnt(const struct sync *s);
void sync_peer_view(const struct sync *s, uint32_t peer_id, struct sync_peer_view *v);

/* Headers of the best chain ending at the base, oldest first, at most max; returns their number.  For
   CHAIN_START.  out has room for max x 80 bytes. */
uint32_t sync_base_headers(const struct sync *s, uint8_t *out, uint32_t max);

/* Counters, as name/value pairs: cb is called for each.  Every reason for dropping a peer or refusing a header
   or block is one ("peer_drop_magic_total", "peer_drop_unrequested_block_total", ...).  peer_* count what happens to
   block connections, push_* the same for push connections ("push_connects_total", "push_closed_reset_total",
   "push_drop_ping_timeout_total", ...), and
     push_ready_peers      push connections that are ready now
     headers_presyncs_total    chains measured before they are stored (presync.h), headers_presyncs_changed_total: told
                               differently the second time
     headers_measured      headers of such chains measured now
     headers_min_work_reached  1 once the best chain has the least work
     push_yields_total     they gave way to the block connection
     push_bars_total       the block connection was lost to a transaction pushed on it
     tx_probes_total       times a peer was asked for what it was given; tx_held_total: it had it;
                           tx_missing_total: not even after a minute
     tx_rejected_total     times a peer said that it does not take what it was given
     peers_banned          now
     branches_aside        now
     next_block_wait_ms    how long the next block has been waited for, 0: it is not
     tx_fallbacks_total    of tx_pushed_total, by the block connection
     tx_moved_total        waited for a connection that was lost, and went by the peer's other one */
void sync_each_counter(const struct sync *s, void (*cb)(void *arg, const char *name, uint64_t value),
		       void *arg);

#endif
