/* chain.h - a synthetic chain of headers with true work on targets that can be mined.

   Threads  Pure functions, any thread.
   Memory   80 bytes a header, the caller's to free. */
#ifndef VIGIL_BENCH_HEADERS_CHAIN_H
#define VIGIL_BENCH_HEADERS_CHAIN_H

#include "btc/network.h"

enum chain_rules {
	CHAIN_REGTEST, /* the network as it is: difficulty never changes */
	CHAIN_RETARGET /* the main network's rules from an easy limit: difficulty moves at every 2016th block */
};

struct chain {
	struct network net; /* whose rules the headers follow */
	uint8_t *raw;       /* cnt x 80 bytes, above genesis */
	uint32_t cnt;
	struct u256 work; /* cumulative, genesis included */
	uint32_t last_time;
};

/* False: no memory. */
bool chain_make(struct chain *c, enum chain_rules rules, uint32_t cnt);
void chain_free(struct chain *c);

#endif
