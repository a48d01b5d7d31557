/* node.h - a replay node: what it knows, and its connections.  Private to serve/.

   A connection handles its messages strictly in order, as Bitcoin Core does: while block requests are being
   served nothing behind them is looked at.  What it sends waits in three places, in this order: the block that
   is going out (straight from the mapped file), the small messages of one reply, and the rest of one getdata.
   So its memory is bounded whatever the peer asks for: one message in, one reply out.
   Threads One thread (net.h's). */
#ifndef VIGIL_SERVE_NODE_H
#define VIGIL_SERVE_NODE_H

#include "net/net.h"
#include "p2p/wire.h"
#include "serve/chainset.h"
#include "serve/fault.h"
#include "serve/mempool.h"
#include "serve/report.h"
#include "synth/rng.h"

#define NODE_PEERS_MAX 16u
#define PEER_MARKS_MAX 64u /* blocks in a connection's send buffer whose end is waited for */

struct node_stats {
	uint64_t blocks, blocks_stripped, block_bytes, headers, txs_in, txs_new, faults, connections;
};

struct node {
	struct chainset *chain;
	struct mempool *pool;
	struct report *report;
	struct faults faults;
	struct rng rng;
	struct tx_view *tx; /* room for BLOCK_TX_MAX */
	struct peer *peer[NODE_PEERS_MAX];
	uint32_t peer_seq;
	struct node_stats stats;
};

/* A block on its way out. */
struct outgoing {
	bool on;
	uint8_t head[P2P_HEAD_SZ];
	const uint8_t *data;
	uint8_t *own;             /* data, when it is not the file's */
	size_t sz, done, stop_at; /* done and stop_at count the head too */
	uint32_t idx;
	bool stall, reset; /* at stop_at */
	bool unrequested;  /* another one follows */
};

struct peer {
	struct node *node;
	struct net_conn *conn;
	uint32_t id;
	bool got_version, got_verack, sendheaders, relay, wtxidrelay, asked_headers;
	bool tip_news;      /* the tip moved since the last announcement */
	bool stalled;       /* never sends again */
	bool in_flush;      /* no re-entry */
	bool dead;          /* aborted by us, or closed: its connection is not touched any more */
	bool closed;        /* net is done with it */
	uint32_t has;       /* the best block it is known to have the header of */
	uint32_t pool_seen; /* transactions of the pool before this one are announced */

	uint8_t *in;                   /* unhandled bytes */
	size_t in_sz, in_cap, in_debt; /* debt: bytes of them not given back to the window yet */

	uint8_t *small; /* small messages on their way */
	size_t small_sz, small_done, small_cap;

	uint8_t *want; /* payload of the getdata being served */
	struct p2p_inv want_inv;
	uint32_t want_at;

	struct outgoing out;
	uint64_t blocks, bytes;

	/* Blocks given to net in full, oldest first: reported when their last byte is on the wire. */
	struct {
		uint64_t end; /* bytes, up to and with its last one */
		uint32_t idx;
	} mark[PEER_MARKS_MAX];
	uint32_t mark_from, mark_cnt;
};

/* recv.c: handles one whole message.  False: drop the connection, for *why. */
bool peer_message(struct peer *p, enum p2p_type type, const uint8_t *payload, size_t sz, const char **why);

/* send.c */
/* Queues a message; payload as encoded. */
void peer_send(struct peer *p, enum p2p_type type, const void *payload, size_t sz);
void peer_send_raw(struct peer *p, const void *bytes, size_t sz);
/* Starts sending a block; there is none on its way. */
void peer_send_block(struct peer *p, uint32_t idx, bool witness);
/* The next entry of the getdata being served, or its end. */
void peer_serve_next(struct peer *p);
/* Queues the announcement of the tip, or of new transactions, if any is due. */
void peer_announce(struct peer *p);

/* peer.c */
extern const struct net_conn_ops peer_ops;
void *peer_accept(void *node, const struct net_addr *from);
/* Moves what can be moved: sends, serves, announces, handles messages. */
void peer_flush(struct peer *p);
/* Reports the blocks that have left in full: block_sent, at at_ns, the begin of the turn of net_poll that has just
   ended, so that no later time is ever too short. */
void peer_report_sent(struct peer *p, uint64_t at_ns);
/* Resets the connection with a reason in the report; p lives on until net says it is closed. */
void peer_drop(struct peer *p, const char *why);

#endif
