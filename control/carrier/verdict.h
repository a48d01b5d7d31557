/* verdict.h - what a node's answer means (spec/bitcoin.md sections 17.2 and 17.3).  Pure functions, any thread. */
#ifndef VIGIL_CARRIER_VERDICT_H
#define VIGIL_CARRIER_VERDICT_H

#include "btc/network.h"

enum carrier_outcome {
	OUTCOME_ACCEPTED,  /* in the mempool, known, or confirmed */
	OUTCOME_REFUSED,   /* the node judged the transaction itself; code says how, text why */
	OUTCOME_WARMUP,    /* -28 */
	OUTCOME_BUSY,      /* 503 with something that is not JSON: its work queue is full, or it shuts down */
	OUTCOME_AUTH,      /* 401 */
	OUTCOME_FORBIDDEN, /* 403: address or method not allowed */
	OUTCOME_PARAMS,    /* it does not know the third parameter (before v25, btcd): ask with two */
	OUTCOME_NO_VERDICT /* anything else: says nothing about the transaction */
};

struct carrier_verdict {
	enum carrier_outcome outcome;
	int32_t code;   /* RPC error code; 0 without one */
	char text[160]; /* printable ASCII; "" when plainly accepted */
};

/* The answer to sendrawtransaction of txid, by HTTP status and body. */
void carrier_judge(struct carrier_verdict *v, long http, const char *body, size_t sz,
		   const struct hash256 *txid);

struct carrier_chain_info {
	bool right_chain, initial_download;
	uint32_t blocks, headers;
	char chain[32];
};
/* The answer to getblockchaininfo.  OUTCOME_ACCEPTED: *info is filled. */
void carrier_judge_chain(struct carrier_verdict *v, struct carrier_chain_info *info, long http,
			 const char *body, size_t sz, const struct network *net);

#endif
