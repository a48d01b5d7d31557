/* teller.h - a node made of memory that tells a chain's headers to the dataplane's sync, and how long sync takes.

   Everything a byte goes through above TCP is the dataplane's own: message framing and checksum, decoding, every
   rule, the tree, the locator of the next request.  What the node does is not measured.
   Threads  One. */
#ifndef VIGIL_BENCH_HEADERS_TELLER_H
#define VIGIL_BENCH_HEADERS_TELLER_H

#include "headers/chain.h"

struct told {
	double cpu_ns; /* inside sync */
	uint32_t messages;
	uint64_t tree_bytes;
};

/* Syncs the whole chain from genesis.  min_work NULL: none is asked for.  False when sync did not end with the
   chain's tip. */
bool teller_run(const struct chain *c, const struct u256 *min_work, struct told *out);

#endif
