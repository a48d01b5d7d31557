/* path.h - the ends of the measured path that Vigil itself does not have: `vigil-bench-path`.

   source, sink  The TCP stack alone, for comparison: dataplane/net at both ends, nothing above it.  The source
                 listens and sends a file's bytes to whoever connects; the sink connects, counts them and throws
                 them away.
   watch         The least that can stand in control's place on the link: it loads locators, follows the chain
                 from genesis, acknowledges every block at once, answers hits with a penalty where it has one, and
                 writes down when each record arrived.

   Output   One JSON object on stdout at the end; times are CLOCK_MONOTONIC in ns.
   Threads  One in each program (besides EAL's own). */
#ifndef VIGIL_PATH_PATH_H
#define VIGIL_PATH_PATH_H

#include <stdbool.h>
#include <stdint.h>

#include "net/net.h"

struct tcp_options {
	struct net_config net;
	struct net_addr peer; /* sink: whom to dial */
	uint16_t port;        /* source */
	const char *file;     /* source */
	uint32_t times;       /* source: how often the file is sent */
	uint64_t timeout_ns;
	bool busy_poll;
};

/* Both end with the connection; return the exit status.  The EAL is up. */
int tcp_source(const struct tcp_options *o);
int tcp_sink(const struct tcp_options *o);

struct watch_options {
	const char *link;
	const char *locators;  /* a file of 16-byte locators, or NULL */
	const char *penalties; /* the breaches.json of a synthetic chain, or NULL */
	const char *report;    /* JSON lines, one for each hit; or NULL */
	uint32_t until_height; /* 0: until SIGTERM */
	uint64_t timeout_ns;
};

/* Returns the exit status: 0 when until_height was reached, or SIGTERM came. */
int watch_run(const struct watch_options *o);

#endif
