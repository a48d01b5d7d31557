/* http.h - JSON over HTTP to the tower, on one connection that is kept open.

   Threads  http_setup once, before any thread; then one thread for each session. */
#ifndef VIGIL_CLIENT_HTTP_H
#define VIGIL_CLIENT_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define HTTP_WHY_SZ 256u

struct http;

/* 0, or -1 when the library does not start. */
int http_setup(void);

/* base is scheme://host:port; agent NULL sends no User-Agent.  wait_ns: how long a refused connection or a 503
   is tried again before it counts. */
struct http *http_open(const char *base, const char *agent, uint64_t wait_ns);
void http_close(struct http *h);

struct http_answer {
	long status;      /* 0: there was no answer, see why */
	json_t *body;     /* owned by the caller; NULL if it is not a JSON object */
	uint64_t took_ns; /* of the last try */
	char why[HTTP_WHY_SZ];
};

/* Posts body (text) to path.  At most 1 MB of answer is read. */
void http_post(struct http *h, const char *path, const char *body, struct http_answer *out);

uint64_t client_now_ns(void);

#endif
