/* metrics.h - Prometheus metrics of both processes, at GET /metrics on a port of their own.

   Threads  The state thread only, on its loop: a scrape is answered in one turn, from what is in memory.
   Names    vigil_*, and process_* as exporters have them; base units (seconds, bytes), counters end in _total.
            vigil_dataplane_* are the dataplane's own counters, under the names where they are counted, as of a
            second or two ago.  Labels are of what the operator configured (node, peer) or of short fixed lists
            (endpoint, outcome, state): never of a user, a locator or a transaction.
   Access   No password and no TLS, so the default address is loopback; everything there is numbers.
   Limits   32 connections (more are closed), 10 s of silence, requests without a body.  Anything but GET or HEAD of /metrics is refused. */
#ifndef VIGIL_METRICS_METRICS_H
#define VIGIL_METRICS_METRICS_H

#include <uv.h>

#include "alert/alert.h"
#include "api/api.h"
#include "carrier/carrier.h"
#include "feed/feed.h"
#include "rpc/rpc.h"
#include "tor/tor.h"
#include "tower/tower.h"

struct metrics;

/* Borrowed; must outlive the metrics object. */
struct metrics_env {
	struct tower *tower;
	struct feed *feed;
	struct carrier *carrier;
	struct api *api;
	struct store *store;
	struct rpc *rpc;
	const struct network *network;
	const struct alert_info *alert; /* NULL: none */
	const struct tor_info *tor;     /* NULL: none */
};

/* The whole exposition, malloc'd, *sz bytes; NULL: out of memory. */
char *metrics_text(const struct metrics_env *env, size_t *sz);

/* Listens.  NULL with *why set to a sentence for the operator, valid until the next call. */
struct metrics *metrics_new(uv_loop_t *loop, const char *bind, uint16_t port, const struct metrics_env *env,
			    const char **why);
/* Stops listening and cuts what is open; the memory is released by the loop's next turns.  The env may be freed right
   after this call. */
void metrics_free(struct metrics *m);

#endif
