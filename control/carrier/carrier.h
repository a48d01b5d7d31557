/* carrier.h - gives penalties to the operator's own nodes by JSON-RPC and brings their verdicts back
   (spec/bitcoin.md section 17).

   Threads  The state thread only, on its loop.  Nothing here blocks; host names are resolved by libcurl's own thread.
   Nodes    Each node is probed (getblockchaininfo: its network, tip, warnings and pruning) before it gets its first
            transaction, every 30 s after that and, while it is not usable, with a back-off of 1 s doubling to 30 s.
            A node on another network, one that refuses our credentials and one that is warming up are not usable.
            Where getblockchaininfo is not allowed, the genesis block tells the network, and nothing is known of the tip.
            One that answers the probe and then refuses to take a penalty (403 for the method, no such method, an
            internal error) is tried again with delays that double to 5 minutes, until it judges one.
   Order    There is no first node and no failover: a transaction goes to every usable node at the same time, because
            what one refuses another may mine.  A node that becomes usable later gets it from the tower, which is told.
   Verdict  Exactly one answer per accepted carrier_submit comes back: NODE_ACCEPTED as soon as one node has it
            (code 0; text says when the node called it known or confirmed); otherwise, when all have answered,
            NODE_REFUSED if a node judged the transaction itself (-22, -25, -26; of several refusals the mildest), else
            NODE_UNREACHABLE.  A node that misses an input or sees a conflict is asked whether it has the penalty
            itself, and what spends the input: that ends up in the text.  The same txid while it is still under way
            is not queued again; its one answer serves both.  Nothing is kept of an answer once it is given:
            sendrawtransaction may be repeated, so a cache of receipts would only hide news.
   Retry    Within a request: a connection that the node closed while idle (libcurl, once), 503 (work queue full, up to
            five times, 50 to 500 ms with jitter), 401 once after reading the cookie file again, two parameters
            for a node that does not know three.  Beyond that the tower tries again; it is told when a node becomes
            usable.
   Node     Any node will do: pruned, without txindex, without ZMQ.  Blocks and headers come by P2P, never from here.
            Without any node the tower works by P2P alone; the difference is that nobody says why a penalty is not
            taken: it counts as sent once it is written to a peer, and escalates by its depth only.
   Memory   At most CARRIER_JOB_MAX transactions and CARRIER_BYTES_MAX of request text; beyond it the answer is
            NODE_UNREACHABLE. */
#ifndef VIGIL_CARRIER_CARRIER_H
#define VIGIL_CARRIER_CARRIER_H

#include <uv.h>

#include "btc/network.h"
#include "tower/tower.h"

#define CARRIER_NODE_MAX  8u
#define CARRIER_JOB_MAX   4096u
#define CARRIER_BYTES_MAX (64u << 20)

struct carrier;

/* One bitcoind.  All texts are copied. */
struct carrier_node {
	const char *host;            /* name or address, without scheme */
	uint16_t port;               /* 0: the network's RPC port */
	bool tls;                    /* then who answers must show a certificate of that name or address */
	const char *certificate;     /* PEM file of whom to trust then; NULL: whom the system does */
	const char *user, *password; /* both, or NULL */
	const char *cookie_path;     /* used when user is NULL; read at every probe */
};

struct carrier_config {
	const struct network *network;
	const struct carrier_node *nodes;
	unsigned node_cnt;    /* 0: no node; every submit is refused with false */
	unsigned timeout_ms;  /* whole request; 0 means 30000 */
	unsigned alarm_ms;    /* see node_news; 0 means 60000 */
	unsigned concurrency; /* requests in flight to one node; 0 means 4 (a node's worker threads) */
};

struct carrier_node_info;

struct carrier_hooks {
	/* The one answer.  text is valid for the call.  May call carrier_submit. */
	void (*answer)(void *arg, const struct hash256 *txid, const struct node_answer *a);
	/* A node has become usable. */
	void (*way_open)(void *arg);
	/* A node has not been usable for alarm_ms; and, after that, that it is again.  May be NULL. */
	void (*node_news)(void *arg, const struct carrier_node_info *n, bool usable);
	/* The first block that is still to be scanned; false: not known.  May be NULL. */
	bool (*next_height)(void *arg, uint32_t *height);
};

/* NULL with *why set (static text): too many nodes, a node without credentials or with an impossible name, or out of
   memory. */
struct carrier *carrier_new(const struct carrier_config *cfg, uv_loop_t *loop,
			    const struct carrier_hooks *hooks, void *arg, const char **why);
/* Probes the nodes for the first time. */
void carrier_start(struct carrier *c);
/* Drops everything under way without an answer and closes the handles; the memory is released by the loop's next
   turns.  No hook is called any more. */
void carrier_free(struct carrier *c);

/* True: the answer will come, from a later turn of the loop.  False: no node is configured, nothing will come. */
bool carrier_submit(struct carrier *c, const struct hash256 *txid, const uint8_t *raw, size_t sz);

/* --- for getinfo ------------------------------------------------------------------------------------------- */

enum carrier_node_state {
	CARRIER_UNKNOWN, /* first probe not answered yet */
	CARRIER_USABLE,
	CARRIER_DOWN,    /* no connection, time-out, or an answer that is not one */
	CARRIER_WARMUP,  /* -28 */
	CARRIER_REFUSED, /* 401, 403, 404, or no cookie file */
	CARRIER_WRONG_CHAIN,
	CARRIER_SICK /* an internal error of the node */
};
const char *carrier_node_state_name(enum carrier_node_state s);

struct carrier_node_info {
	const char *host;
	uint16_t port;
	enum carrier_node_state state;
	const char *error; /* why it is not usable; "" */
	/* Of the last probe that was answered. */
	const char *warning; /* the node's own; "" */
	bool initial_download, pruned, lacks_blocks /* some that are still to be scanned */;
	uint32_t blocks, headers, prune_height;
	struct hash256 best;
	uint64_t requests_total, accepted_total, refused_total, unanswered_total;
};
unsigned carrier_node_cnt(const struct carrier *c);
/* Texts are valid until the next turn of the loop. */
void carrier_node_info_get(const struct carrier *c, unsigned idx, struct carrier_node_info *out);
/* At least one node is usable. */
bool carrier_reachable(const struct carrier *c);
/* Transactions under way. */
unsigned carrier_pending(const struct carrier *c);

#endif
