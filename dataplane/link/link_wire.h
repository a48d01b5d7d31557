/* link_wire.h - every record on the Unix stream socket between vigil-dataplane and vigild.

   Framing   The record's fixed struct, which begins with struct link_head, then (where the struct says so) a
             variable tail, then zero bytes up to a multiple of 8.  head.sz counts all of it, so every record
             starts 8-byte aligned.  The tail's true length follows from a field of the struct.  Host byte
             order: both ends are one machine.
   Opening   The dataplane listens, control connects.  Each side sends HELLO first and reads the other's; a
             wrong magic, version or network closes the link with a reason in the log.
   Session   control: HELLO, any number of WATCH_LOAD, START, then freely WATCH_ADD / WATCH_DEL / BLOCK_ACK /
             BROADCAST / STATS_GET.  A dataplane that loses the link forgets everything (index, chain,
             peers) and waits for the next control; control reconnects and the session starts over.
   Load      Locators loaded are watched once START has been carried out: the dataplane handles nothing that came
             behind START before that.
   Order     Each direction is one ordered stream.  The dataplane handles control's records in order, so a
             WATCH_ADD sees every block up to the last BLOCK_CONNECTED sent before its own WATCH_ADDED, and is
             seen by every block after.
   Gap       A shard keeps the locators of every block above (last BLOCK_ACK - recent_blocks), so an appointment
             accepted while control lags behind still finds its breach in the blocks between (invariant I2).
   Hits      HIT records of a block come in tx order directly before its BLOCK_CONNECTED.  A HIT with
             LINK_HIT_RECENT answers a WATCH_ADD (directly before its WATCH_ADDED) or comes from a block that is
             being filled in again after a restart; control must be ready to see it twice.
   Flow      The dataplane sends at most `window` BLOCK_CONNECTED beyond the last BLOCK_ACK.  Nothing is
             dropped in either direction: a side that cannot write stops reading what would make it write.
   Stale     STALE_SCAN asks for blocks off the best chain.  Each is reported by a STALE_BLOCK, its HITs (LINK_HIT_STALE)
             directly before; STALE_END ends it.  They come between any two other records and say nothing about the
             chain: a transaction in a stale block is not confirmed.
   Secrets   None ever (invariant I7): control sends locators, headers and penalties that are already public. */
#ifndef VIGIL_LINK_LINK_WIRE_H
#define VIGIL_LINK_LINK_WIRE_H

#include <assert.h>
#include "btc/hash.h"

#define LINK_MAGIC      0x4c474956u /* "VIGL" */
#define LINK_VERSION    2u
#define LINK_REC_SZ_MAX (BLOCK_SZ_MAX + 65536u)

enum link_type {
	/* control to dataplane */
	LINK_C_HELLO = 1,
	LINK_WATCH_LOAD = 2, /* tail: cnt x struct locator */
	LINK_START = 3,      /* tail: header_cnt x 80 bytes */
	LINK_WATCH_ADD = 4,
	LINK_WATCH_DEL = 5,
	LINK_BLOCK_ACK = 6,
	LINK_BROADCAST = 7, /* tail: raw transaction */
	LINK_STATS_GET = 8,
	LINK_STALE_SCAN = 9,
	/* dataplane to control */
	LINK_D_HELLO = 64,
	LINK_CHAIN_START = 65, /* tail: header_cnt x 80 bytes */
	LINK_WATCH_ADDED = 66,
	LINK_HIT = 67, /* tail: raw transaction as received */
	LINK_BLOCK_CONNECTED = 68,
	LINK_BLOCK_DISCONNECTED = 69,
	LINK_CHAIN_STATE = 70,
	LINK_PEER_STATE = 71,
	LINK_BROADCAST_RESULT = 72,
	LINK_STATS = 73, /* tail: cnt x struct link_stat */
	LINK_STALE_BLOCK = 74,
	LINK_STALE_END = 75
};

struct link_head {
	uint32_t sz; /* whole record, this head included */
	uint16_t type;
	uint16_t zero;
};
static_assert(sizeof(struct link_head) == 8, "fixed layout");

struct link_c_hello {
	struct link_head head;
	uint32_t magic, version;
	uint32_t network; /* enum network_id */
	uint32_t zero;
};
static_assert(sizeof(struct link_c_hello) == 24, "fixed layout");

struct link_watch_load {
	struct link_head head;
	uint32_t cnt; /* locators in the tail; duplicates are allowed */
	/* In the first of a session: about how many locators all loads together have, so that room can be made at once; 0 when
	   unknown.  A wrong number costs time, nothing else. */
	uint32_t expected;
};
static_assert(sizeof(struct link_watch_load) == 16, "fixed layout");

/* TIP      a new tower: the first block reported is the one after the best tip found once headers are in;
            CHAIN_START tells which tip that was.
   RESUME   the last header given (or the root, when none) is the last durable block: report what comes after it,
            beginning with disconnects if it went stale. */
enum link_start_mode { LINK_START_TIP = 0, LINK_START_RESUME = 1 };

struct link_start {
	struct link_head head;
	uint32_t mode; /* enum link_start_mode */
	uint32_t root_height;
	struct hash256 root_hash; /* all zero: the network's genesis block at height 0 */
	uint8_t root_work[32];    /* little-endian cumulative work of the root; zeros: relative to the root */
	uint32_t header_cnt;      /* headers at root_height+1 ..., each linking to the one before */
	uint32_t zero;
};
static_assert(sizeof(struct link_start) == 88, "fixed layout");

struct link_watch_add {
	struct link_head head;
	uint64_t cookie; /* echoed in WATCH_ADDED */
	struct locator locator;
};
static_assert(sizeof(struct link_watch_add) == 32, "fixed layout");

struct link_watch_del {
	struct link_head head;
	struct locator locator; /* absent: no effect */
};
static_assert(sizeof(struct link_watch_del) == 24, "fixed layout");

/* Every effect up to and with this block is durable.  After a reorg it may be lower than an earlier one. */
struct link_block_ack {
	struct link_head head;
	uint32_t height;
	uint32_t zero;
	struct hash256 hash;
};
static_assert(sizeof(struct link_block_ack) == 48, "fixed layout");

struct link_broadcast {
	struct link_head head;
	uint64_t cookie; /* echoed in every BROADCAST_RESULT of this transaction */
	struct hash256 txid;
	uint32_t raw_sz; /* bytes in the tail */
	uint32_t zero;
};
static_assert(sizeof(struct link_broadcast) == 56, "fixed layout");

struct link_stats_get {
	struct link_head head;
	uint64_t cookie;
};
static_assert(sizeof(struct link_stats_get) == 16, "fixed layout");

/* At most one at a time; while one is under way another is answered at once by its own STALE_END. */
struct link_stale_scan {
	struct link_head head;
	uint64_t cookie; /* echoed in STALE_END, and in what leads up to it */
	struct hash256
		hash; /* the block up to which its branch is scanned; all zero: every stale branch known */
};
static_assert(sizeof(struct link_stale_scan) == 48, "fixed layout");

struct link_d_hello {
	struct link_head head;
	uint32_t magic, version;
	uint32_t network;
	uint32_t recent_blocks;
	uint32_t window; /* unacknowledged blocks it will run ahead */
	uint32_t shard_cnt;
	char kernel[16]; /* txid kernel in use, NUL padded */
	char version_text[32];
};
static_assert(sizeof(struct link_d_hello) == 80, "fixed layout");

/* Once per session, after START, as soon as headers are in: where reporting begins.  The first BLOCK_CONNECTED
   is height + 1, unless disconnects come first (RESUME).  In mode TIP the tail has the headers up to and with
   the base, oldest first, at most 2016: control stores them, so that it can resume. */
struct link_chain_start {
	struct link_head head;
	uint32_t height;     /* of the base block */
	uint32_t header_cnt; /* 0 in mode RESUME */
	struct hash256 hash; /* of the base block */
	uint8_t work[32];    /* cumulative, little-endian */
};
static_assert(sizeof(struct link_chain_start) == 80, "fixed layout");

struct link_watch_added {
	struct link_head head;
	uint64_t cookie;
	uint32_t recent_cnt; /* HITs with LINK_HIT_RECENT directly before this record */
	int32_t error;       /* 0, or -errno: then the locator is NOT watched and control must act */
};
static_assert(sizeof(struct link_watch_added) == 24, "fixed layout");

enum { LINK_HIT_RECENT = 1u << 0, LINK_HIT_STALE = 1u << 1 };

#define LINK_HEIGHT_UNKNOWN UINT32_MAX /* of a stale block whose branch is not in the header tree */

struct link_hit {
	struct link_head head;
	struct locator locator;
	struct hash256 txid; /* internal order */
	struct hash256 block_hash;
	uint32_t height;
	uint32_t tx_idx;       /* place in the block, coinbase = 0 */
	uint32_t scheme;       /* enum locator_scheme: which end of the txid matched */
	uint32_t flags;        /* LINK_HIT_* */
	uint64_t last_byte_ns; /* CLOCK_MONOTONIC when the frame with the block's last byte was received */
	uint64_t hit_ns;       /* CLOCK_MONOTONIC when the hit was found */
	uint32_t raw_sz;       /* bytes in the tail; 0 when the block's bytes are gone (a recent hit) */
	uint32_t zero;
};
static_assert(sizeof(struct link_hit) == 128, "fixed layout");

struct link_block_connected {
	struct link_head head;
	struct hash256 hash;
	uint8_t header[HEADER_SZ];
	uint8_t work[32]; /* cumulative, little-endian */
	uint32_t height;
	uint32_t tx_cnt;
	uint32_t total_sz;
	uint32_t hit_cnt; /* HITs directly before */
	uint32_t peer_id; /* who delivered it */
	uint32_t zero;
	uint64_t first_byte_ns, last_byte_ns, done_ns; /* CLOCK_MONOTONIC */
};
static_assert(sizeof(struct link_block_connected) == 200, "fixed layout");

struct link_block_disconnected {
	struct link_head head;
	uint32_t height;
	uint32_t zero;
	struct hash256 hash;
};
static_assert(sizeof(struct link_block_disconnected) == 48, "fixed layout");

/* At every change, at most ten times a second. */
struct link_chain_state {
	struct link_head head;
	struct hash256 best_header; /* most work known */
	uint32_t best_header_height;
	uint32_t scanned_height; /* last block whose scan is done */
	uint32_t synced;         /* 1: headers and blocks are both at the best tip of a ready peer */
	uint32_t ready_peer_cnt;
};
static_assert(sizeof(struct link_chain_state) == 56, "fixed layout");

enum link_peer_flags {
	LINK_PEER_READY = 1u << 0,
	LINK_PEER_PRUNED = 1u << 1,    /* does not have old blocks, or would not give them */
	LINK_PEER_LAGGING = 1u << 2,   /* two blocks or more behind, or on another branch */
	LINK_PEER_PUSH_READY = 1u << 3 /* its connection for penalties is up */
};

/* At every change of a peer's state, and every ten seconds. */
struct link_peer_state {
	struct link_head head;
	uint32_t peer_id;
	uint32_t flags;
	char addr[56];       /* text with port */
	char state[16];      /* connecting, handshake, ready, waiting, banned */
	char user_agent[64]; /* truncated, printable ASCII only */
	char last_error[48]; /* why the last connection ended, or empty */
	uint64_t services;
	uint64_t bytes_in, bytes_out;
	uint32_t version;
	uint32_t height;          /* best block it announced */
	uint32_t ping_us;         /* last round trip, 0 unknown */
	uint32_t blocks;          /* delivered */
	uint32_t connects;        /* times the connection came up */
	uint32_t drops;           /* times we or it ended one */
	uint64_t speed;           /* bytes of blocks a second, smoothed; 0 unknown */
	uint32_t bans;            /* times it was banned */
	uint32_t ban_s;           /* seconds left of that; 0: it is not */
	char ban_reason[48];      /* of the last ban, or empty */
	char push_last_error[48]; /* why the last connection for penalties ended, or empty */
	uint32_t push_connects, push_drops;
};
static_assert(sizeof(struct link_peer_state) == 368, "fixed layout");

enum link_broadcast_status {
	LINK_BCAST_SENT = 0,    /* written to peer_cnt peers at at_ns */
	LINK_BCAST_NO_PEER = 1, /* none was ready: control tries again */
	LINK_BCAST_ANNOUNCED =
		2, /* a peer we did not push it to announced it (inv), at at_ns: it relays what it accepted */
	LINK_BCAST_HELD = 3, /* a peer, asked for it later, gave it back: it is in its mempool */
	LINK_BCAST_NEWS = 4  /* the masks below have changed */
};

/* What each peer did with a transaction so far; bit n: peer_id n.  Every result carries all of it. */
struct link_bcast_peers {
	uint64_t written; /* it was written to it whole */
	uint64_t
		lost; /* the node ended the connection within a second of that: refused, as a rule, as invalid */
	uint64_t asked; /* it asked for it (getdata) */
	uint64_t held;  /* it had it, when asked after 2, 10 or 60 seconds */
	/* It said that it does not take it, or did not have it after a minute: refused by its policy, or no longer
	   unconfirmed. */
	uint64_t missing;
	uint64_t announced; /* it announced it (inv) */
};
static_assert(sizeof(struct link_bcast_peers) == 48, "fixed layout");

struct link_broadcast_result {
	struct link_head head;
	uint64_t cookie;
	struct hash256 txid;
	uint32_t status; /* enum link_broadcast_status */
	uint32_t peer_cnt;
	uint64_t at_ns; /* CLOCK_MONOTONIC */
	struct link_bcast_peers peers;
};
static_assert(sizeof(struct link_broadcast_result) == 112, "fixed layout");

struct link_stat {
	char name[56]; /* snake_case, NUL padded; counters end in _total */
	uint64_t value;
};
static_assert(sizeof(struct link_stat) == 64, "fixed layout");

struct link_stats {
	struct link_head head;
	uint64_t cookie;
	uint32_t cnt;
	uint32_t zero;
};
static_assert(sizeof(struct link_stats) == 24, "fixed layout");

enum link_stale_status { LINK_STALE_SCANNED = 0, LINK_STALE_MISSING = 1 /* no peer has it any more */ };

struct link_stale_block {
	struct link_head head;
	struct hash256 hash;
	uint32_t status; /* enum link_stale_status; the rest is of SCANNED only, but for the height */
	uint32_t height; /* or LINK_HEIGHT_UNKNOWN */
	uint32_t tx_cnt;
	uint32_t hit_cnt; /* HITs directly before */
	uint32_t peer_id; /* who delivered it */
	uint32_t zero;
};
static_assert(sizeof(struct link_stale_block) == 64, "fixed layout");

enum link_stale_end {
	LINK_STALE_DONE = 0,
	LINK_STALE_BUSY = 1,    /* another is under way */
	LINK_STALE_NO_CHAIN = 2 /* too early: headers are not in */
};

struct link_stale_end_record {
	struct link_head head;
	uint64_t cookie;
	uint32_t result; /* enum link_stale_end */
	uint32_t scanned, missing;
	uint32_t cut; /* 1: there were more blocks than one scan takes */
};
static_assert(sizeof(struct link_stale_end_record) == 32, "fixed layout");

#endif
