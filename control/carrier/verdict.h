/* verdict.h - what a node's answer means (spec/bitcoin.md sections 17.2 and 17.3).  Pure functions, any thread. */
#ifndef VIGIL_CARRIER_VERDICT_H
#define VIGIL_CARRIER_VERDICT_H

#include "btc/network.h"
#include "tower/tower.h"

/* What an answer says.  Only the first two are about the transaction; the others are about the node, or about us. */
enum carrier_outcome {
	OUTCOME_ACCEPTED,  /* in the mempool, known, or confirmed */
	OUTCOME_REFUSED,   /* the node judged the transaction itself: reason, code and text say why */
	OUTCOME_WARMUP,    /* -28, whatever the method */
	OUTCOME_BUSY,      /* 503: its work queue is full, ask again in a moment */
	OUTCOME_STOPPING,  /* 503 otherwise: it shuts down */
	OUTCOME_AUTH,      /* 401 */
	OUTCOME_FORBIDDEN, /* 403, or btcd's words: address or method not allowed */
	OUTCOME_PARAMS,    /* it does not know the third parameter (before v25, btcd): ask with two */
	OUTCOME_NO_METHOD, /* -32601, or 404 without JSON: no such method, or this is not a node's RPC */
	OUTCOME_MALFORMED, /* -32600, -32700, -3, -8, 400, 405, 413: it does not take what we wrote; ours to mend */
	OUTCOME_NOT_READY, /* -9, -10: it has no peers, or is in its initial download */
	OUTCOME_SICK,      /* -7, -20, -32603: no memory, a broken database, an internal error */
	OUTCOME_NO_VERDICT /* anything else: says nothing about the transaction */
};
/* Stable words for logs and tests. */
const char *carrier_outcome_name(enum carrier_outcome o);

struct carrier_verdict {
	enum carrier_outcome outcome;
	enum node_reason reason; /* of ACCEPTED and REFUSED */
	int32_t code;            /* RPC error code; 0 without one */
	char text[160];          /* printable ASCII, long hex numbers cut short; "" when plainly accepted */
};

/* The answer to sendrawtransaction of txid, by HTTP status and body. */
void carrier_judge(struct carrier_verdict *v, long http, const char *body, size_t sz,
		   const struct hash256 *txid);

/* The reason of a -26, by the words before the first comma or bracket (section 17.3).  Words that no table knows are
   REASON_OTHER, never INVALID: a tower that guesses gives up a penalty. */
enum node_reason carrier_reason_of(const char *text);

/* What a node says of itself and of its tip. */
struct carrier_chain_info {
	bool right_chain, initial_download;
	uint32_t blocks, headers;
	struct hash256 best; /* zeros when it does not say */
	bool pruned;
	uint32_t prune_height; /* the first block it still has; 0 when it does not say */
	char chain[32];
	char warning[96]; /* its own, or "" */
};
/* The answer to getblockchaininfo.  OUTCOME_ACCEPTED: *info is filled. */
void carrier_judge_chain(struct carrier_verdict *v, struct carrier_chain_info *info, long http,
			 const char *body, size_t sz, const struct network *net);

/* The answer to "getblockhash 0", which says which network it is to who may not call getblockchaininfo. */
void carrier_judge_genesis(struct carrier_verdict *v, bool *right_chain, long http, const char *body, size_t sz,
			   const struct network *net);

/* --- looking things up (section 17.4) ------------------------------------------------------------------------ */

/* For other calls than the two above: the "result" of an answer, owned by *root, which is to be released with
   json_decref in any case; or NULL with *v filled (an error's outcome is the one that it would have there). */
struct json_t;
struct json_t *carrier_result(struct carrier_verdict *v, long http, const char *body, size_t sz,
			      struct json_t **root);
/* Printable ASCII, cut to fit v->text. */
void carrier_set_text(struct carrier_verdict *v, const char *text);

#endif
