/* tower.h - the state of the watchtower: gatekeeper, watcher and responder (spec/teos.md sections 6, 8, 9, with
   section 20's repairs), on top of the store.

   Threads  One thread, the state thread.  Nothing here blocks on a node, a client or a sync of the disk.
   Memory   Arguments are borrowed for the call.  Replies own nothing unless said.
   Order    Calls take effect in the order they are made.  Every change is in the store, and visible to later
            calls, when the call returns; it is *durable* when its done callback reports success (grouped
            syncs, store.h).  A block's effects are one atomic write together with "last block".
   Errors   A failed write changes nothing, on disk or in memory, and is reported to the caller.  A store that
            cannot write leaves the tower up: adds fail, blocks are not acknowledged, and both are tried again.
            Hits are answered all the same: the penalty is broadcast before anything is written.

   Rows     An appointment's row is kept until its tracker has completed; a tracker is a second row beside it.  Both carry
            the epoch of the registration that they were added under.  A row is alive while its user's registration
            is (height < expiry + delta, same epoch), and a tracker with a confirmed penalty in any case, so nothing is
            written when a user becomes outdated: the height alone says it, and a disconnected block takes it
            back by itself.  Dead rows are deleted in slices, by tower_purge, TOWER_UNDO_DEPTH blocks later.
   Undo     What a block does to rows is filed under its height in STORE_UNDO, with the rows it deleted: tracker created,
            invalid appointment deleted, penalty confirmed, tracker completed.  Disconnecting the block walks these
            backwards and leaves the store as it was, to the byte, except for what clients did in between:
            balances are corrected by sums, a newer row is never overwritten by an older one, and a user who
            registered anew after having been outdated keeps the new registration only.  What a late
            hit does is filed under the block of its transaction, as if the appointment had always been there.
            Beyond TOWER_UNDO_DEPTH blocks only the chain is undone.
   Slots    An appointment costs ceil(bytes / 2048); a replacement the difference; a resolved tracker gives them back.
            A blob that holds no penalty for its dispute is deleted when the dispute is seen, in a block or just after it
            was added: a current user loses its slots, a legacy user gets them back (section 6.4).  What a node says
            about a penalty never moves a slot.
   Reorgs   A penalty whose block is disconnected is sent again at once, and once more with the next block that is
            connected.  A tracker whose dispute is disconnected is gone (its appointment is watched again and answered anew
            when the dispute returns); with the next connected block the dispute and then the penalty are sent once
            (the penalty twice to nodes that refused it before they had the dispute), so that nobody has to wait
            for the other side to publish it again.  The dispute's bytes are kept with the
            undo row; those of a late hit (which come without) are not known, and then the penalty goes alone.
            Whatever a node says to these two, nothing is deleted. */
#ifndef VIGIL_TOWER_TOWER_H
#define VIGIL_TOWER_TOWER_H

#include "btc/network.h"
#include "link/link_wire.h"
#include "store/store.h"
#include "teos/ids.h"

/* So that after a reorg of a hundred blocks another one can be undone. */
#define TOWER_UNDO_DEPTH     288u
#define TOWER_SPENT_DEPTH    6u
#define TOWER_RESOLVED_DEPTH 100u /* a penalty in block C is resolved when block C + 100 is connected */

/* Sending  A penalty is sent when its dispute is hit, and again: after 1 s doubling to a minute (10 minutes when a node
            refused it) with jitter, until somebody takes it; when a way opens; every rebroadcast_blocks; when it was
            refused, after each block too, except for what no block can mend (undecodable, against consensus).  What
            is known of it (tries, when first, the node's last word) is written once a second, without anybody
            waiting, and survives a restart but for that second.
   Overdue  A dispute that is overdue_depth deep without its penalty in a block is a matter for people: one line in the log,
            a call of tower_ops.alert, and the penalty is sent after every block.  The next steps come when the
            depth has doubled, and doubled again.  Counted once the chain has stood still for a tick or two, so that
            blocks which are caught up with raise no alarm for penalties that the next ones hold.  A reorg of the
            dispute begins anew. */

struct tower;

struct tower_config {
	const struct network *network;
	uint32_t subscription_slots;    /* 10000 */
	uint32_t subscription_duration; /* 4320 blocks */
	uint32_t expiry_delta;          /* 6 blocks */
	uint32_t rebroadcast_blocks;    /* 6: an unconfirmed penalty is sent again at least this often */
	uint32_t overdue_depth;         /* 6: see Overdue; 0: nothing ever is */
	bool settles; /* tower_watch_settled will be called: until then a restart begins below */
	/* Nothing is added, nor replaced, while so many are watched (without trackers); 0: no limit. */
	uint32_t max_appointments;
};

struct tower_alert;

/* What the tower asks of the outside; called on the state thread, must not call back into the tower. */
struct tower_ops {
	void (*watch_add)(void *arg, const struct locator *l);
	void (*watch_del)(void *arg, const struct locator *l);
	/* Send now, by every way there is (P2P through the dataplane, RPC of each node).  Results come back by
	   tower_broadcast_result.  Safe to repeat. */
	void (*broadcast)(void *arg, const struct hash256 *txid, const uint8_t *raw, size_t sz);
	/* Everything up to this block is durable. */
	void (*block_ack)(void *arg, uint32_t height, const struct hash256 *hash);
	/* The same without P2P: for a penalty that every node which judged it calls invalid, since peers may end the
	   connection of who pushes such a thing again and again.  NULL: broadcast does it. */
	void (*ask_nodes)(void *arg, const struct hash256 *txid, const uint8_t *raw, size_t sz);
	/* Something that a person should look at.  Told once for each step or reason.  May be NULL. */
	void (*alert)(void *arg, const struct tower_alert *a);
	/* What the session reported does not fit to the chain in the store (a block that does not link to the last one),
	   or the store failed, was opened again and may hold less than was in memory: end the session and begin another at
	   tower_resume_point.  May be NULL. */
	void (*session_reset)(void *arg);
};

/* Opens the tower on an open store.  NULL with *why set (static text) on a store of another network or a newer
   format. */
struct tower *tower_new(const struct tower_config *cfg, struct store *st, const struct tower_ops *ops,
			void *arg, const char **why);
/* Clients that still wait are told TOWER_STORE_FAILED.  Close the store after it. */
void tower_free(struct tower *t);

/* --- clients ---------------------------------------------------------------------------------------------- */

enum tower_status {
	TOWER_OK = 0,
	TOWER_PENDING,   /* accepted; done will be called when it is durable, or has failed */
	TOWER_NOT_READY, /* no block known yet, or the store cannot write: 503 */
	TOWER_AUTH,      /* not registered, expired, or not enough slots (see text) */
	TOWER_TRIGGERED, /* a tracker with this uuid exists */
	TOWER_NOT_FOUND,
	TOWER_FULL,            /* max_appointments are watched: 503 */
	TOWER_SLOTS_EXHAUSTED, /* register: the balance would pass 2^32-1 */
	TOWER_STORE_FAILED /* reported to done only: nothing was kept, or it may not be durable: no receipt */
};

struct tower_user_info {
	struct user_id id;
	uint32_t available_slots;
	uint32_t subscription_start, subscription_expiry;
	enum client_generation generation;
	uint32_t appointment_cnt, tracker_cnt;
};

/* done is called exactly once, later, on the state thread, after TOWER_PENDING; never otherwise. */
typedef void (*tower_done_fn)(void *arg, enum tower_status st);

/* Registers or renews (section 6.1, the current rule for everybody). */
enum tower_status tower_register(struct tower *t, const struct user_id *id, enum client_generation gen,
				 struct tower_user_info *out, tower_done_fn done, void *arg);

struct tower_add {
	struct user_id user; /* recovered from the signature, not yet known to be registered */
	struct locator locator;
	const uint8_t *blob;
	uint32_t blob_sz;
	uint32_t to_self_delay;
	char user_sig[SIG_ZB_SZ]; /* text exactly as received */
};
struct tower_add_reply {
	uint32_t start_block;
	uint32_t available_slots;
	uint32_t subscription_expiry;
	enum client_generation generation;
	const char *text; /* why, for TOWER_AUTH; static */
};
/* Section 8.1.  After TOWER_PENDING the locator is being watched; a breach in the recent blocks is answered when
   the dataplane reports it. */
enum tower_status tower_add_appointment(struct tower *t, const struct tower_add *a, struct tower_add_reply *out,
					tower_done_fn done, void *arg);

/* A user with everything that authentication needs; TOWER_AUTH when unknown or expired (*expired tells). */
enum tower_status tower_user(struct tower *t, const struct user_id *id, struct tower_user_info *out,
			     bool *expired);

/* Views of stored rows.  Pointers in them are valid until the callback (or the next call) returns. */
struct appointment_view {
	struct user_id user;
	struct locator locator;
	const uint8_t *blob;
	uint32_t blob_sz;
	uint32_t to_self_delay;
	uint32_t start_block;
	const char *user_sig; /* SIG_ZB_SZ characters, no NUL */
};

enum tracker_state {
	TRACKER_UNSENT = 0,    /* not yet handed to any node or peer */
	TRACKER_SENT = 1,      /* in a mempool as far as we know, since `since_height` */
	TRACKER_CONFIRMED = 2, /* penalty in block `since_height` */
	TRACKER_REFUSED = 3,   /* a node refused it, see node_code/node_text: kept and retried (I3) */
	/* Refused because an input is missing or spent, while the dispute is TOWER_SPENT_DEPTH deep: somebody else has
	   spent the disputed output, most likely the other side after its delay.  A word for the operator, told from what
	   the node said last: the tracker is kept and retried like a refused one until the user is outdated,
	   because a reorg may give the output back, and one node's word deletes nothing (I3). */
	TRACKER_SPENT = 4
};
const char *tracker_state_name(enum tracker_state s);

#define TOWER_NODE_TEXT_SZ 160u /* of a node's reason, with its NUL */
/* Why a node has it, or does not take it (spec/bitcoin.md section 17.3).  The numbers are in the store. */
enum node_reason {
	REASON_NONE = 0,
	REASON_IN_MEMPOOL = 1,
	REASON_CONFIRMED = 2,
	REASON_UNDECODABLE = 3, /* -22 */
	REASON_INPUTS = 4,      /* an input is unknown or spent */
	REASON_FEE_LIMIT = 5,   /* above the node's own limit, although none was asked for */
	REASON_BURN_LIMIT = 6,
	REASON_FEE_LOW = 7,
	REASON_CONFLICT = 8, /* with a transaction of the mempool */
	REASON_TIMING = 9,   /* not final yet */
	REASON_CHAIN_LIMIT = 10,
	REASON_POLICY = 11,  /* could be mined, but this node does not relay it */
	REASON_INVALID = 12, /* against consensus */
	REASON_OTHER = 13    /* words that no table knows */
};
#define REASON_LAST REASON_OTHER
const char *node_reason_name(enum node_reason r);

struct tracker_view {
	struct user_id user;
	struct locator locator;
	struct hash256 dispute_txid, penalty_txid;
	const uint8_t *penalty_raw;
	uint32_t penalty_sz;
	enum tracker_state state;
	/* A reorg that takes the dispute off the chain takes the tracker back (I5): the appointment is watched again. */
	uint32_t dispute_height;
	uint32_t since_height;
	uint32_t tries;    /* broadcasts so far */
	uint32_t peer_cnt; /* P2P peers of the last push */
	/* What they did with it in this session of the link; bit n: peer_id n. */
	struct link_bcast_peers peers;
	int32_t node_code; /* last RPC answer; 0 accepted */
	enum node_reason node_reason;
	char node_text[TOWER_NODE_TEXT_SZ];
	uint32_t first_height; /* tip when it was sent for the first time */
	uint32_t overdue_step; /* 0: not overdue */
	/* CLOCK_MONOTONIC of this boot, 0 unknown: the demo's and the metrics' latencies. */
	uint64_t last_byte_ns, hit_ns, sent_ns;
};

struct tower_alert {
	enum {
		ALERT_PENALTY_OVERDUE, /* see Overdue */
		ALERT_PENALTY_REFUSED  /* for a reason that time alone will not mend */
	} kind;
	const struct hash256 *penalty_txid, *dispute_txid;
	const struct locator *locator; /* of one appointment of it */
	uint32_t dispute_height, depth;
	uint32_t step; /* of OVERDUE, from 1 */
	enum tracker_state state;
	uint32_t tries, peer_cnt;
	enum node_reason reason;
	int32_t node_code;
	const char *node_text; /* "" without one */
};

struct tower_found {
	bool is_tracker;
	struct appointment_view ap; /* also filled for trackers (its blob may be empty) */
	struct tracker_view tr;
};
/* The user's own appointment or tracker for a locator.  TOWER_OK or TOWER_NOT_FOUND. */
enum tower_status tower_find(struct tower *t, const struct user_id *user, const struct locator *l,
			     struct tower_found *out);

/* --- operator --------------------------------------------------------------------------------------------- */

struct tower_info {
	uint64_t users, appointments /* watched, without trackers */, trackers;
	/* Since the start of the process: trackers created; blobs that held no penalty for their dispute; penalties that
	   a peer or a node took for the first time; trackers whose penalty got into a block; trackers resolved;
	   blocks connected; blocks disconnected; steps of escalation. */
	uint64_t breaches_total, invalid_blobs_total, penalties_sent_total, penalties_confirmed_total,
		completed_total, blocks_total, reorg_blocks_total, escalations_total;
	uint64_t overdue; /* penalties, now */
	bool has_tip;
	uint32_t tip_height;
	struct hash256 tip_hash;
	bool store_ok;
};
void tower_info_get(struct tower *t, struct tower_info *out);

/* Pages: start after `after` (NULL: from the beginning), at most `limit` rows; the callback returns false to stop.
   Returns rows seen.  Keys ascend, so the last row's key is the next page's `after`. */
uint32_t tower_each_user(struct tower *t, const struct user_id *after, uint32_t limit,
			 bool (*cb)(void *arg, const struct tower_user_info *u), void *arg);
struct appointment_key {
	struct locator locator;
	struct user_id user;
};
/* All appointments, trackers included, ordered by locator then user. */
uint32_t tower_each_appointment(struct tower *t, const struct appointment_key *after, uint32_t limit,
				bool (*cb)(void *arg, const struct tower_found *f), void *arg);
uint32_t tower_each_appointment_of_user(struct tower *t, const struct user_id *u, const struct locator *after,
					uint32_t limit,
					bool (*cb)(void *arg, const struct locator *l, const struct uuid *id),
					void *arg);
uint32_t tower_each_tracker(struct tower *t, const struct appointment_key *after, uint32_t limit,
			    bool (*cb)(void *arg, const struct tower_found *f), void *arg);

/* --- the dataplane (by feed.h) ---------------------------------------------------------------------------- */

/* Every locator that must be watched (appointments in both forms as given, and the penalty txids of trackers),
   each at least once, for the load at the start of a session; key-only reads.  In pages, because a load of
   millions is spread over many turns of the event loop: the cursor starts zeroed (TOWER_WATCH_CURSOR_INIT) and is
   the tower's to write.  A page gives at most limit locators.  False: that was the last page.
   Changes between pages are allowed: what is there from the first page to the last is given; what is added
   or deleted meanwhile may or may not be (its watch_add or watch_del tells feed). */
struct tower_watch_cursor {
	uint32_t stage; /* which rows are being walked */
	uint32_t key_sz;
	uint8_t key[120]; /* the last one given */
};
#define TOWER_WATCH_CURSOR_INIT \
	{                       \
		0               \
	}
bool tower_each_watched(struct tower *t, struct tower_watch_cursor *cur, uint32_t limit,
			void (*cb)(void *arg, const struct locator *l), void *arg);

struct tower_resume {
	bool resume;              /* false: a new tower */
	struct hash256 root_hash; /* block below the first header */
	uint32_t root_height;
	uint8_t root_work[32];
	uint32_t header_cnt; /* ends with the last durable block */
};
/* Where the dataplane must go on.  headers: room for max x 80 bytes, the newest max are given. */
void tower_resume_point(struct tower *t, struct tower_resume *out, uint8_t *headers, uint32_t max);

void tower_chain_start(struct tower *t, const struct link_chain_start *rec, const uint8_t *headers);
/* raw may be NULL (recent hits). */
void tower_hit(struct tower *t, const struct link_hit *rec, const uint8_t *raw);
void tower_block_connected(struct tower *t, const struct link_block_connected *rec);
void tower_block_disconnected(struct tower *t, const struct link_block_disconnected *rec);
/* The session ended: hits whose block was not connected are forgotten (they will come again). */
void tower_session_lost(struct tower *t);

enum node_verdict {
	NODE_SENT_P2P, /* pushed to peer_cnt peers at at_ns */
	NODE_NO_PEER,
	NODE_ACCEPTED,    /* in the mempool of a node or peer, or already known/confirmed */
	NODE_REFUSED,     /* RPC: code and text say why; keep and retry */
	NODE_UNREACHABLE, /* RPC: no answer; retry */
	NODE_PEER_NEWS    /* nothing but what peers did with it */
};
struct node_answer {
	enum node_verdict verdict;
	enum node_reason reason;
	uint32_t peer_cnt;
	uint64_t at_ns;
	int32_t code; /* RPC error code */
	const char *text;
	const struct link_bcast_peers *peers; /* P2P: what each did with it so far; NULL: nothing about peers */
};
void tower_broadcast_result(struct tower *t, const struct hash256 *txid, const struct node_answer *a);

/* A way to the network has opened (a first peer became ready, or a node answers again): what is not in a block is
   due at once, sent or not, whatever its back-off says.  Only marks; the sending is done by the next tower_tick. */
void tower_way_open(struct tower *t);

/* Every watch_add made so far has been answered.  Until it is called after an add, a restart begins again at the block that
   was the tip when the add was made (or below, after a reorg), so that a crash cannot swallow the answer (I2).
   With tower_config.settles only. */
void tower_watch_settled(struct tower *t);

/* Deletes a slice of what has been dead long enough: looks at no more than TOWER_PURGE_ROWS rows.  True: there is more to do,
   and the caller lets blocks and clients pass before it calls again; false: nothing until the next block.  To be called
   once a second or so at least. */
#define TOWER_PURGE_ROWS 128u
bool tower_purge(struct tower *t);

/* Once a second or so: retries with back-off what has not been sent or was refused, retries failed writes. */
void tower_tick(struct tower *t, uint64_t now_ns);

#endif
