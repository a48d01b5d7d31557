/* press.h - requests made beforehand, sent over many connections by one thread, and what came back.

   Closed    Every connection sends its next request when the answer to the last is in.
   Paced     Requests are due at a fixed rate, whatever the tower does; a request waits for a free connection, and its
	     latency counts from when it was due.
   Fresh     A connection for each request, closed after it, as current clients do.
   Threads   The caller's only.
   Memory    Requests are borrowed; the answers' bodies are kept in results until press_free. */
#ifndef VIGIL_BENCH_API_PRESS_H
#define VIGIL_BENCH_API_PRESS_H

#include <netinet/in.h>

#include "api/requests.h"

#define PRESS_CONNECTIONS_MAX 20000u
#define PRESS_BODY_MAX        640u

struct press_config {
	struct sockaddr_in to;
	uint32_t connections;
	double rate; /* a second; 0: closed */
	bool fresh;
	double seconds_max; /* what has not been answered by then counts as failed */
};

struct press_result {
	uint64_t due_ns, done_ns; /* CLOCK_MONOTONIC; done 0: no answer */
	uint16_t status;          /* of HTTP; 0: the connection failed or ended before an answer was whole */
	uint16_t body_sz;
	char *body;
};

/* results: room for cnt.  False: it could not run (errno). */
bool press(const struct press_config *cfg, const struct request *req, uint32_t cnt,
	   struct press_result *results);
void press_free(struct press_result *results, uint32_t cnt);

uint64_t press_now_ns(void);

#endif
