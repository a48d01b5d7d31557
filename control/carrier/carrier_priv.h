/* carrier_priv.h - nodes (node.c), the requests about a transaction at one of them (send.c), and the transactions on their
   way to all of them (carrier.c). */
#ifndef VIGIL_CARRIER_CARRIER_PRIV_H
#define VIGIL_CARRIER_CARRIER_PRIV_H

#include "carrier/carrier.h"
#include "carrier/http.h"
#include "carrier/verdict.h"

#define SLOT_MAX 16u

struct node;

/* One transaction.  Lives until every node it was queued for has answered and nobody is owed an answer. */
struct job {
	struct job *next, **link;
	struct job *next_at[CARRIER_NODE_MAX]; /* in each node's queue */
	struct hash256 txid;
	char *body; /* whole request text */
	size_t body_sz;
	size_t hex_off, raw_sz; /* the transaction in it */
	unsigned open;          /* nodes that have not answered */
	bool owed;              /* an answer is still to be given */
	struct carrier_verdict best;
	bool judged; /* best holds something */
};

enum slot_stage { SLOT_SEND, SLOT_PLACE, SLOT_SPENDER, SLOT_OUTPUT };

/* One request in flight to a node, or waiting to be repeated. */
struct slot {
	struct node *node;
	struct job *job; /* NULL: free */
	enum slot_stage stage;
	uv_timer_t again;
	char *body;                   /* instead of the job's: two parameters only, or a later stage */
	struct carrier_verdict found; /* of SLOT_SEND, in the later stages */
	unsigned tries;
	bool auth_retried;
};

struct node {
	struct carrier *carrier;
	unsigned idx;
	char *host, *url, *user, *password, *cookie_path, *certificate;
	uint16_t port;
	enum carrier_node_state state;
	char error[192], warning[96];
	bool two_params;
	bool limited;     /* may not call getblockchaininfo; until it is not usable any more */
	uint64_t lost_at; /* uv_now when it was last usable, or at start */
	bool alarmed;
	bool suspect; /* refused a penalty that its probe promised to take, and has not judged one since */
	char *cookie_user, *cookie_password;
	struct job *head, **tail; /* waiting for a slot */
	struct slot slot[SLOT_MAX];
	uv_timer_t probe;
	bool probing;
	uint32_t delay_ms;
	struct carrier_node_info info; /* counters and last probe */
};

struct carrier {
	uv_loop_t *loop;
	const struct network *network;
	struct carrier_hooks hooks;
	void *arg;
	struct http *http;
	unsigned timeout_ms, alarm_ms, concurrency, node_cnt;
	struct node node[CARRIER_NODE_MAX];
	struct job *jobs, **jobs_tail;
	void *job_tree; /* the same, of tsearch by txid: a block may bring thousands */
	unsigned job_cnt;
	size_t job_bytes;
	uv_timer_t refuse;    /* answers that carrier_submit may not give itself */
	struct hash256 *late; /* txids of these */
	unsigned late_cnt, late_cap;
	uint64_t jitter; /* state of a small generator */
	unsigned handles;
	bool freed;
};

/* node.c */
bool node_init(struct node *n, struct carrier *c, unsigned idx, const struct carrier_node *cfg,
	       const char **why);
/* Takes the node's handles; then they must be given back by node_close. */
void node_open(struct node *n);
void node_close(struct node *n);
void node_free_texts(struct node *n);
/* Asks the node who it is, unless that is under way. */
void node_probe(struct node *n);
bool node_cookie_read(struct node *n, const char **why);
/* False: out of memory, and done is never called. */
bool node_post(struct node *n, const char *body, size_t sz, http_done_fn done, void *arg);
enum carrier_node_state node_state_after(enum carrier_outcome o);
/* A request about a transaction found the node not usable: it is probed after a delay. */
void node_lost(struct node *n, enum carrier_node_state s, const char *error);
/* The node has judged a transaction. */
void node_proven(struct node *n);

/* send.c */
bool node_may_queue(const struct node *n);
void node_queue(struct node *n, struct job *j);
/* Gives waiting jobs to free slots. */
void node_run(struct node *n);
/* What waits for a node that is not usable is answered: the tower tries again, and is told when it may. */
void node_flush(struct node *n);

/* carrier.c: one node's part of a job is over. */
void job_answered(struct job *j, struct carrier *c, const struct carrier_verdict *v);
void carrier_handle_closed(uv_handle_t *h); /* h->data is a struct carrier */
uint32_t carrier_jitter(struct carrier *c, uint32_t below);

#endif
