/* lab.h - sync in a world made of memory: a synthetic regtest chain, nodes that serve it (well or badly), a
   clock that moves when told, and a caller that applies the chain events to a plain list.

   The list is the reference: whatever happened on the way, it must end as the chain of the best node. */
#ifndef VIGIL_TESTS_UNIT_SYNC_LAB_H
#define VIGIL_TESTS_UNIT_SYNC_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "btc/network.h"
#include "p2p/stream.h"
#include "sync/sync.h"

#define LAB_BLOCK_MAX 8192u
#define LAB_NODE_MAX  8u
#define LAB_BUF_MAX   64u
#define LAB_TX_MAX    64u
#define LAB_BAD_TX    0xbd /* first byte of a transaction for which a node drops its sender */
#define LAB_MS        1000000ull
#define LAB_S         1000000000ull

/* What a node does when it is asked for a block that it has no more. */
enum { LAB_OLD_SILENCE, LAB_OLD_NOTFOUND, LAB_OLD_HANG_UP };

/* What the nodes have of a block. */
enum lab_body {
	LAB_BODY_GOOD,
	LAB_BODY_INVALID,  /* its own, but with two coinbases: see lab_mine_invalid */
	LAB_BODY_WITHHELD, /* nothing: they pass over the request */
	LAB_BODY_BROKEN    /* another one: the scan finds the wrong merkle root */
};

struct lab_block {
	struct hash256 hash;
	uint8_t header[HEADER_SZ];
	uint32_t parent, height;
	uint32_t sz; /* of the whole block; its body follows from its hash */
	enum lab_body body;
};

/* What a node does wrong, from the moment it is set. */
enum lab_fault {
	LAB_GOOD,
	LAB_SILENT,       /* reads, never answers */
	LAB_HALF_BLOCK,   /* stops in the middle of the next block; the rest of it is in `late` */
	LAB_RESET,        /* resets in the middle of the next block */
	LAB_NO_BLOCKS,    /* answers everything but getdata, as one that lacks the block */
	LAB_DEAF,         /* says nothing more once it is asked for a block */
	LAB_CORRUPT,      /* flips a bit behind the header of every block */
	LAB_UNREQUESTED,  /* sends a block nobody asked for before the first one asked for */
	LAB_GARBAGE,      /* random bytes instead of the next message */
	LAB_BAD_CHECKSUM, /* of the next message that is not a block */
	LAB_OVERSIZE,     /* the next message announces 4,000,001 bytes */
	LAB_BAD_POW,      /* headers without work */
	LAB_UNLINKED,     /* headers of another chain */
	LAB_LATE,         /* all it says is kept in `late` until the test sends it */
	LAB_GAPS,         /* headers with one left out */
	LAB_FAULT_CNT
};

/* A node by its block connection, or (the same fields again, in lab.push) its other connection. */
struct lab_node {
	struct lab *lab;
	uint32_t conn_id;
	/* The node's, not the connection's: only in lab.node. */
	uint32_t tip;     /* block of its best chain */
	bool only_one;    /* refuses a second connection */
	bool active_only; /* has no blocks but those of its best chain */
	bool newest_only; /* ends the first when a second one comes */
	uint32_t keeps;   /* lowest block it still has */
	int old;          /* LAB_OLD_* */

	bool listening, linked, up, sendheaders, refuse;
	enum lab_fault fault;
	struct p2p_stream in;
	uint8_t *out; /* on its way to sync */
	size_t out_sz, out_cap;
	uint8_t late[16384];
	size_t late_sz;
	bool cut, dead; /* reset after what is in out; sends nothing any more */
	bool ended;     /* reads nothing any more */
	uint64_t services;
	int32_t version;
	uint32_t window;   /* bytes sync may send at once; 0: any number */
	uint32_t rate;     /* bytes a second that it sends, 0: any number */
	uint64_t rate_ns;  /* sent up to then */
	uint64_t delay_ns; /* before each block */
	uint64_t hold_ns;  /* nothing is sent before */
	uint64_t nonce;    /* of sync's version message */
	struct p2p_version hello;
	unsigned hello_cnt, verack_cnt, getheaders_cnt, getdata_cnt, ping_cnt, pong_cnt, dial_cnt;
	uint64_t dial_ns[64];
	uint32_t block_cnt;            /* sent whole */
	struct hash256 tx[LAB_TX_MAX]; /* hash of the bytes of each tx it was given */
	unsigned tx_cnt, served_notfound, tx_asked;
	uint8_t kept[512]; /* the last tx, if keeps_tx: given to who asks for it */
	size_t kept_sz;
	bool keeps_tx;
};

struct lab_result {
	uint64_t cookie;
	uint32_t status, peer_cnt;
	struct link_bcast_peers peers;
};

struct lab {
	struct sync *sync;
	struct sync_config cfg;
	uint64_t now_ns;
	int64_t wall_shift_s; /* of the wall clock, which is ahead of every block */
	struct u256 min_work;
	uint32_t rnd;
	struct lab_block *block;
	uint32_t block_cnt;
	struct lab_node node[LAB_NODE_MAX], push[LAB_NODE_MAX];
	uint32_t node_cnt;
	struct block_buf buf[LAB_BUF_MAX];
	bool buf_used[LAB_BUF_MAX], buf_leaving[LAB_BUF_MAX];
	uint32_t buf_cnt; /* how many the pool has */
	/* Of the block arriving in each; 0: none. */
	uint32_t arriving_sz[LAB_BUF_MAX], present[LAB_BUF_MAX], present_sum[LAB_BUF_MAX];
	uint32_t begun_cnt, broken_cnt; /* blocks that began to arrive; that were given back before they had */
	uint32_t cut_max;               /* a piece of the stream is at most this long */
	bool slow_close;                /* hang_up reports sync_closed a turn later */

	/* The caller's side. */
	struct chain_event pending[LAB_BUF_MAX + 4096];
	uint32_t pending_cnt;
	bool scan_holds; /* the scan takes events but answers none */
	bool have_bad;
	uint32_t bad_epoch;
	bool started;
	uint32_t base_height;
	struct hash256 list[LAB_BLOCK_MAX]; /* by height, up to tip */
	uint32_t list_tip;
	bool fill_seen;
	uint32_t fill_first, fill_last;
	uint32_t connects, disconnects, bad_verdicts;
	uint32_t events; /* applied */

	/* Blocks off the best chain, in the order they came; news of them. */
	struct hash256 stale[LAB_BLOCK_MAX];
	uint32_t stale_height[LAB_BLOCK_MAX];
	uint32_t stale_cnt, missing_cnt, end_cnt;
	struct sync_stale_news end;
	bool news_refused; /* no room for them now */

	struct lab_result result[64]; /* without the next */
	unsigned result_cnt;
	struct lab_result news; /* the last LINK_BCAST_NEWS */
	unsigned news_cnt;
	unsigned peer_news;
};

struct lab *lab_new(uint32_t node_cnt, uint32_t seed);
/* The same with a least chain work; each block's is 2, genesis included. */
struct lab *lab_new_needing(uint32_t node_cnt, uint32_t seed, uint64_t min_work);
/* The same with bans of so many seconds (60); 0: none. */
struct lab *lab_new_ban(uint32_t node_cnt, uint32_t seed, uint32_t ban_s);
/* Ends the session and checks that every buffer came back. */
void lab_free(struct lab *l);

/* Mines cnt blocks on parent (0 is genesis); returns the last. */
uint32_t lab_mine(struct lab *l, uint32_t parent, uint32_t cnt);
/* One block whose body proves it invalid. */
uint32_t lab_mine_invalid(struct lab *l, uint32_t parent);
uint32_t lab_ancestor(const struct lab *l, uint32_t block, uint32_t height);
/* The node's best chain changes; it announces that if it is connected. */
void lab_set_tip(struct lab_node *n, uint32_t block);
void lab_reset(struct lab_node *n); /* the connection is reset now */
void lab_send(struct lab_node *n, enum p2p_type type, const void *payload, size_t sz);

void lab_start(struct lab *l); /* a new tower */
void lab_resume(struct lab *l, uint32_t block, uint32_t header_cnt);

void lab_turn(struct lab *l, uint64_t step_ns);
void lab_run(struct lab *l, uint64_t time_ns, uint64_t step_ns);
/* Runs until the list ends with block and sync says synced, at most for time_ns; false: did not happen. */
bool lab_reach(struct lab *l, uint32_t block, uint64_t time_ns);
/* The list, from where reporting began, is the chain of block. */
void lab_check_list(struct lab *l, uint32_t block);
uint64_t lab_counter(struct lab *l, const char *name);
uint32_t lab_bufs_used(const struct lab *l);

/* Between lab.c and lab_node.c. */
uint32_t lab_rnd(struct lab *l);
void lab_body(const struct lab_block *b, uint8_t *out);
uint32_t lab_find(const struct lab *l, const uint8_t *hash);
void lab_node_turn(struct lab_node *n);
void *lab_dial(void *arg, uint32_t conn_id, const struct net_addr *to);
size_t lab_send_room(void *arg, void *conn);
size_t lab_take(void *arg, void *conn, const void *p, size_t sz);
void lab_hang_up(void *arg, void *conn);

#endif
