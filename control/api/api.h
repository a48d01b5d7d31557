/* api.h - the tower's HTTP API for clients of both generations (spec/teos.md section 7): register, add_appointment,
   get_appointment, get_subscription_info and ping.

   Threads   libmicrohttpd's own threads read requests, decode them, recover keys, sign receipts and write answers; they
             hold no state of the tower.  A decoded request goes through a queue to the state thread, which calls
             the tower; its connection is suspended meanwhile.  Every function below is for the state thread.
   Receipts  A receipt is signed only after the tower's done callback said that the appointment is durable
             (invariant I1).
   Generation A client is what it registered as; until that is known, what its User-Agent says (section 7.1).
   Errors    Every refusal is JSON {"error", "error_code"}, also where the reference sends plain text, because a current
             client that cannot read an answer loses the appointment (section 18).  What is hardly HTTP is answered by
             libmicrohttpd itself, before it asks us and with no way to be told otherwise: a request line or header
             that does not parse, a Content-Length that is no number (the reference says 411), headers of more than
             32 KB.  These get a 4xx without JSON, and the connection is closed.  No HTTP library sends such things, so
             no client is harmed, and a parser of our own in front of a hardened one would be the greater risk.
             A legacy caller gets 400 in place of 411, 413 and 415, of which its plugin's hook knows nothing.
   Transient When the tower cannot take a request now (no block known, the disk is full, memory is short, as many
             appointments watched as there may be): 503.  The
             error code is 32, but 7 for add_appointment: a current client looks at the code alone, drops an appointment
             for ever at 32, and at 7 keeps it, registers again and retries (section 18); a legacy client retries at 503.
   Limits    Connections, connections of one address, header bytes, body bytes of one request and of all together,
             silence, and the time a request may take to arrive are bounded.  One connection has at most one request under way,
             so the queue is bounded by the connections.
   Overload  A request that arrives while all connections are taken gets the place of one that is silent for a second (or whose
             body does not arrive within five); if there is none it is answered 503 at once, as above, and its connection
             is closed.  For that some connections beyond the limit are taken; more wait in the system's queue, where places come
             free within a second or two.
   Secrets   Bodies are never logged; the tower's key is only handed to sig_sign (invariant I7). */
#ifndef VIGIL_API_API_H
#define VIGIL_API_API_H

#include <uv.h>

#include "api/decode.h"
#include "teos/key.h"
#include "tower/tower.h"

#define API_BODY_TOTAL_MAX    (256u << 20) /* bytes of bodies held at a time */
#define API_REGISTER_BODY_MAX 1024u        /* the reference's limits are 87, 2048, 178, 127: never below */
#define API_ADD_BODY_MIN      2048u
#define API_GET_BODY_MAX      1024u
#define API_INFO_BODY_MAX     1024u

struct api;

struct api_config {
	const char *bind; /* IPv4 or IPv6 address */
	uint16_t port;    /* 0: any free one, see api_port */
	uint32_t max_connections;
	uint32_t max_connections_per_ip; /* 0: no limit */
	uint32_t threads;
	uint32_t timeout_s;         /* of silence; a request must be complete within four times that */
	uint32_t body_limit;        /* bytes, of add_appointment; at least API_ADD_BODY_MIN */
	uint32_t min_to_self_delay; /* of callers that look legacy */
};

/* Takes the address and port, without listening yet: until api_open connections are refused.  Borrows loop, tower and
   key.  NULL with *why set to a sentence for the operator, valid until the next call. */
struct api *api_new(const struct api_config *cfg, uv_loop_t *loop, struct tower *t, const struct tower_key *key,
		    const char **why);
/* The port that was taken. */
uint16_t api_port(const struct api *a);

/* Begins to serve.  False with *why set as above. */
bool api_open(struct api *a, const char **why);
bool api_is_open(const struct api *a);

/* Stops: no new connection is taken, every request that was begun is finished (a request that does not arrive within ten
   seconds is cut off), then done is called from the loop.  The tower must keep working until then.  Once. */
void api_stop(struct api *a, void (*done)(void *arg), void *arg);
/* Releases a stopped (or never opened) api; the memory goes with the loop's next turns. */
void api_free(struct api *a);

/* Answers of one endpoint by outcome. */
struct api_outcomes {
	const char *endpoint; /* last segment of its path; "other" for every path that is none */
	uint64_t ok_total, refused_total /* 4xx */, unavailable_total /* 5xx */;
};

struct api_info {
	uint64_t connections_total, requests_total;
	uint64_t ok_total, refused_total, unavailable_total; /* sums of by_endpoint */
	uint64_t cut_total; /* connections closed because a request took too long to arrive */
	uint32_t connections;
	struct api_outcomes by_endpoint[API_ENDPOINT_CNT + 1]; /* the last is "other" */
};
void api_info_get(const struct api *a, struct api_info *out);

#endif
