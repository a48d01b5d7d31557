/* tower_priv.h - inside of the tower.

     tower.c      life, start-up, tick, counters
     client.c     register, add, find
     views.c      pages of rows
     events.c     the ordered queue of what the dataplane reports
     block.c      what a connected block and a late hit do        undo.c   how a disconnected block takes it back
     chain.c      headers, tip, resume point                      purge.c  deleting what has been dead long enough
     change.c     one atomic change: a batch, edited users, and what follows once it is written
     penalty.c    penalties under way: sent, refused, sent again
     reorg.c      disputes and penalties that a reorg took off the chain, sent again once
     sending.c    what is remembered of that over a restart     overdue.c  those that take too long
     breach.c     decrypting and checking a penalty               rows.c   keys and values as bytes */
#ifndef VIGIL_TOWER_TOWER_PRIV_H
#define VIGIL_TOWER_TOWER_PRIV_H

#include "tower/breach.h"
#include "tower/rows.h"
#include "tower/tower.h"

#define HEADERS_KEPT 4032u /* above the 2016 that a resume may give plus any reorg that can be undone */
#define COMPLETE_PER_BLOCK \
	4096u /* trackers resolved in one batch; the rest follow with the next block or tick */
#define SEND_PER_TICK 512u
/* Trackers and bytes kept for being sent again after a reorg. */
#define REORGED_MAX       4096u
#define REORGED_BYTES_MAX (64u << 20)
/* Of disputes kept in the undo rows of one change: each tracker has a copy, and many users may have appointments for one
   large dispute.  As large as all transactions of a block, twice; the trackers beyond have none. */
#define DISPUTE_BYTES_MAX (8u << 20)

struct buf {
	uint8_t *p;
	size_t cap;
};
/* Room for sz bytes; what was in it is lost.  Ends the process when memory is out, as everything below does. */
uint8_t *buf_room(struct buf *b, size_t sz);
struct slice buf_copy(struct buf *b, struct slice src);

/* Rows of one kind, as seen by tower_info. */
struct levels {
	int64_t users, appointments, trackers;
};

/* One that was undone with a block.  raw: the dispute, then the penalty. */
struct reorged {
	struct reorged *next;
	struct appointment_key key;
	struct hash256 dispute, penalty;
	uint32_t epoch, dispute_sz, penalty_sz;
	/* Once it is sent: at which tip, and what nodes have answered. */
	uint32_t sent_height;
	bool dispute_answered, penalty_refused;
	uint8_t raw[];
};
struct reorged_list {
	struct reorged *first;
	uint32_t cnt;
	size_t bytes; /* of raw */
};

/* How far a pass of the purge has come; zeros: none is under way, and one is due after the next block. */
struct purge_place {
	bool in_pass, in_entry;
	uint32_t height;       /* the tip when the pass began */
	uint32_t due;          /* entries of STORE_EXPIRY at or below it are */
	uint32_t kept;         /* rows of the entry that must stay */
	uint64_t deleted;      /* rows of the pass */
	struct key entry, row; /* the last ones looked at; sz 0: none yet */
};

struct tower {
	struct tower_config cfg;
	struct store *st;
	struct tower_ops ops;
	void *arg;
	uint64_t store_epoch, now_ns;

	bool has_tip;
	struct tip_row tip;        /* the last block written; resume_height as it is on disk */
	uint32_t unsettled_height; /* at most the tip at the first add not yet settled; HEIGHT_NONE: all are */

	struct levels levels;
	struct tower_info totals; /* only the _total fields */

	void *penalty_tree; /* of tsearch, by txid */
	struct penalty *penalty_first;
	size_t sending_dirty;      /* penalties whose row is to be written, at most */
	struct hash256 *forgotten; /* whose row is to be deleted */
	size_t forgotten_cnt, forgotten_cap;
	uint64_t jitter;
	uint64_t overdue;      /* penalties */
	uint32_t still_height; /* tip of the last tick, */
	unsigned still_ticks;  /* and how many it has been that */
	struct waiter *wait_first;

	struct event *ev_first, *ev_last; /* reported and not yet applied */
	struct link_hit_info *staged;     /* hits of the block to come */
	size_t staged_cnt, staged_cap;
	bool stalled;                /* the first event could not be written */
	struct reorged_list reorged; /* to be sent with the next block */
	struct reorged_list resent;  /* sent; the penalty may have to follow its dispute once more */

	struct purge_place purge;

	struct buf plain, appointment, tracker, undo;
};

/* --- store and users -------------------------------------------------------------------------------------------- */

/* 0, -ENOENT (also for a row that does not decode: logged) or -EIO. */
int user_get(struct tower *t, const struct user_id *u, struct user_row *r);
int tracker_get(struct tower *t, const struct appointment_key *a, struct tracker_row *r);
int appointment_get(struct tower *t, const struct appointment_key *a, struct appointment_row *r);
int header_get(struct tower *t, uint32_t height, struct header_row *r);

/* The registration is not outdated when `height` is the tip. */
bool user_alive_at(const struct tower *t, const struct user_row *u, uint32_t height);
/* The user behind a row is there, is alive at the height, and the row is of this registration.  False if that cannot be
   read. */
bool row_alive_at(struct tower *t, const struct user_id *id, uint32_t epoch, uint32_t height);
bool tracker_alive_at(struct tower *t, const struct user_id *id, const struct tracker_row *r, uint32_t height);
uint32_t slots_shown(const struct user_row *u);

/* Brings a failed store back if it can, and notices when it was opened again.  At the start of whatever will write. */
void tower_enter(struct tower *t);
void log_bad_row(const char *cf, struct slice key);

/* --- one atomic change (change.c) --------------------------------------------------------------------------- */

struct user_edit {
	struct user_id id;
	bool exists, dirty;
	struct user_row row;
};

struct locator_list {
	struct locator *p;
	size_t cnt, cap;
};

/* What happened to an appointment, to be told when it is true: logged, and the penalty reviewed. */
enum note_kind {
	NOTE_CREATED,
	NOTE_INVALID,
	NOTE_CONFIRMED,
	NOTE_RESOLVED,
	NOTE_CREATED_UNDONE,
	NOTE_INVALID_UNDONE,
	NOTE_CONFIRMED_UNDONE,
	NOTE_RESOLVED_UNDONE,
	NOTE_PURGED, /* a dead tracker: nothing to tell */
};
struct note {
	enum note_kind kind;
	struct appointment_key key;
	struct hash256 penalty, dispute;
	uint32_t height;
};

struct change {
	struct tower *t;
	struct store_batch *b;
	void *users; /* of tsearch */
	struct levels d;
	struct tower_info totals;
	struct locator_list adds, dels; /* watch_add, watch_del once it is written */
	struct note *notes;
	size_t note_cnt, note_cap;
	bool sets_tip;
	struct tip_row tip;
	bool failed; /* a read failed: nothing may be written */
	size_t ops;
	size_t dispute_bytes; /* in undo rows */
};

void change_begin(struct change *c, struct tower *t);
/* The user as this change sees it, or NULL (also on a read error, which sets c->failed). */
struct user_edit *change_user(struct change *c, const struct user_id *id);
/* The same if its registration is the one of `epoch`: then counts and balance are those of the row's owner. */
struct user_edit *change_owner(struct change *c, const struct user_id *id, uint32_t epoch);
/* A user of whom there is no row yet. */
struct user_edit *change_user_new(struct change *c, const struct user_id *id);
void change_put(struct change *c, enum store_cf cf, const struct key *k, struct slice v);
void change_del(struct change *c, enum store_cf cf, const struct key *k);
void change_note(struct change *c, const struct note *n);
void change_watch(struct locator_list *l, const struct locator *loc);
/* Writes everything.  0: written, counters and watches follow; else -errno and nothing happened.  Ends the change. */
int change_commit(struct change *c, void (*done)(void *arg, bool ok), void *arg);
void change_drop(struct change *c);

/* Somebody who waits until a change is durable: a client, or (done = NULL) the dataplane for the acknowledgement of a
   block.  It outlives the tower if it must. */
struct waiter {
	struct tower *t;
	struct waiter *next, *prev;
	tower_done_fn done;
	void *arg;
	uint32_t height;
	struct hash256 hash;
};
struct waiter *waiter_new(struct tower *t, tower_done_fn done, void *arg);
void waiter_drop(struct waiter *w);
void waiter_done(void *w, bool ok); /* for change_commit */
/* Commits a change after which this block may be acknowledged. */
int change_commit_acked(struct change *c, uint32_t height, const struct hash256 *hash);

/* --- penalties under way (penalty.c) ------------------------------------------------------------------------ */

/* There is one for the penalty of every tracker in the store, with `committed`, so that without one there is no row in
   STORE_BY_PENALTY either (the other way round it may be late by a purge). */
struct penalty {
	struct hash256 txid;
	struct penalty *next, *prev;
	enum tracker_state state; /* UNSENT, SENT or REFUSED */
	uint32_t since, tries, peer_cnt, first_height;
	uint32_t dispute_height; /* of a tracker of it; HEIGHT_NONE before it is committed */
	enum node_reason reason;
	int32_t code;
	char text[SENDING_TEXT_SZ];
	uint32_t told; /* steps of escalation */
	bool dirty;    /* differs from its row */
	bool flushing; /* its row is in the batch being written */
	bool overdue;  /* counted in tower.overdue */
	struct link_bcast_peers peers;
	uint64_t last_byte_ns, hit_ns, sent_ns;
	uint64_t next_ns; /* when to try again; UINT64_MAX: only by the rule of blocks */
	uint64_t backoff_ns;
	bool committed; /* a tracker has it */
	bool idle;      /* no tracker needs it sent (confirmed) */
	bool counted;
};

struct penalty *penalty_find(const struct tower *t, const struct hash256 *txid);
struct penalty *penalty_add(struct tower *t, const struct hash256 *txid);
/* Sends it now and plans the next attempt. */
void penalty_send(struct tower *t, struct penalty *p, const uint8_t *raw, size_t sz);
/* An alive tracker of it that is not confirmed.  r points into the store's memory. */
bool penalty_open_tracker(struct tower *t, const struct hash256 *txid, struct appointment_key *key,
			  struct tracker_row *r);
/* After trackers have come, gone or been confirmed: forget it, let it rest, or wake it up. */
void penalty_review(struct tower *t, const struct hash256 *txid);
/* The same after a tracker has come that needs it sent, or may need it sent: nothing is read for a penalty that is under
   way already, of which a block can bring thousands.  False: penalty_review must look. */
bool penalty_followed(struct tower *t, const struct hash256 *txid, uint32_t dispute_height);
void penalties_forget_uncommitted(struct tower *t);
/* The link's peers are others from now on. */
void penalties_forget_peers(struct tower *t);
void penalties_after_block(struct tower *t);
void penalties_send_due(struct tower *t, uint32_t limit);
void penalties_free(struct tower *t);

/* --- what is remembered of the sending (sending.c) -------------------------------------------------------------- */

void sending_changed(struct tower *t, struct penalty *p);
void sending_forget(struct tower *t, const struct hash256 *txid);
/* Gives the penalties in memory what their rows say; rows of others are forgotten.  At start. */
int sending_load(struct tower *t);
/* Writes what has changed; what cannot be written stays. */
void sending_flush(struct tower *t);

/* --- those that take too long (overdue.c) ----------------------------------------------------------------------- */

void overdue_set(struct tower *t, struct penalty *p, bool on);
/* Every tick. */
void overdue_tick(struct tower *t);
/* A node refused it for this reason for the first time. */
void overdue_refused(struct tower *t, const struct penalty *p);

/* --- blocks ----------------------------------------------------------------------------------------------------- */

/* What is left to do with a hit when its block is applied. */
struct link_hit_info {
	struct link_hit rec;
	uint32_t out_cnt; /* 0: not known */
	/* The dispute, of a hit that was answered with a penalty; NULL: not known, or not wanted.  Owned by the event, then by
	   the staged hit. */
	uint8_t *raw;
};

/* Decrypts and broadcasts at once; writes nothing.  True if there was a penalty for it. */
bool hit_answer(struct tower *t, const struct link_hit_info *h);
/* 0 or -errno, and then nothing happened. */
int block_connect(struct tower *t, const struct link_block_connected *rec);
int block_repeated(struct tower *t, const struct link_block_connected *rec);
int block_late_hit(struct tower *t, const struct link_hit_info *h);
int block_disconnect(struct tower *t);
/* Resolves what is due beyond COMPLETE_PER_BLOCK. */
void block_complete_rest(struct tower *t);

/* --- after a reorg (reorg.c) ------------------------------------------------------------------------------------ */

/* A tracker that goes with its dispute's block.  dispute: its raw bytes, empty if they are not known. */
void reorged_tracker(struct reorged_list *l, const struct appointment_key *a, const struct tracker_row *r,
		     struct slice dispute);
/* A penalty whose block goes. */
void reorged_penalty(struct reorged_list *l, const struct appointment_key *a, const struct tracker_row *r);
/* Moves all of src to dst; what would pass the limits is forgotten. */
void reorged_move(struct reorged_list *dst, struct reorged_list *src);
void reorged_free(struct reorged_list *l);
/* After a block was connected: sends what is not back on the chain. */
void reorged_send(struct tower *t);
/* What came back for any transaction. */
void reorged_answer(struct tower *t, const struct hash256 *txid, enum node_verdict v);
/* At every tick: sends the penalties that nodes refused while they did not have the dispute. */
void reorged_follow(struct tower *t);

/* Reads the tip at start. */
int chain_load(struct tower *t);
int chain_start(struct tower *t, const struct link_chain_start *rec, const uint8_t *headers);
/* The change moves the tip (in memory once it is written).  scanned: the last block that this session has reported, below
   the tip while it repeats blocks; a restart goes on from there. */
void chain_put_tip(struct change *c, uint32_t height, const struct hash256 *hash, uint32_t scanned);
/* The block is on the chain in the store. */
bool chain_has(struct tower *t, uint32_t height, const struct hash256 *hash);

void events_drain(struct tower *t);
void events_clear(struct tower *t);
/* Forgets the hits of the block to come. */
void staged_clear(struct tower *t);

#endif
