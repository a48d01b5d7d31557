/* carrier_priv.h - nodes (node.c) and the transactions on their way to them (carrier.c). */
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
	unsigned open; /* nodes that have not answered */
	bool owed;     /* an answer is still to be given */
	struct carrier_verdict best;
	bool judged; /* best holds something */
};

/* One request in flight to a node, or waiting to be repeated. */
struct slot {
	struct node *node;
	struct job *job; /* NULL: free */
	uv_timer_t again;
	char *short_body; /* for a node that takes two parameters only */
	unsigned tries;
	bool auth_retried;
};

struct node {
	struct carrier *carrier;
	unsigned idx;
	char *host, *url, *user, *password, *cookie_path;
	uint16_t port;
	enum carrier_node_state state;
	char error[192];
	bool two_params;
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
	unsigned timeout_ms, concurrency, node_cnt;
	struct node node[CARRIER_NODE_MAX];
	struct job *jobs, **jobs_tail;
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
bool node_may_queue(const struct node *n);
void node_queue(struct node *n, struct job *j);
/* Gives waiting jobs to free slots. */
void node_run(struct node *n);

/* carrier.c: one node's part of a job is over. */
void job_answered(struct job *j, struct carrier *c, const struct carrier_verdict *v);
void carrier_handle_closed(uv_handle_t *h); /* h->data is a struct carrier */
uint32_t carrier_jitter(struct carrier *c, uint32_t below);

#endif
