/* http.h - POSTs over kept-alive connections, by libcurl's socket interface on a libuv loop.

   Threads  The loop's thread.  Nothing blocks; names are resolved by libcurl's own thread. */
#ifndef VIGIL_CARRIER_HTTP_H
#define VIGIL_CARRIER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define HTTP_REPLY_MAX (1u << 20)

struct http;

struct http_post {
	const char *url, *user, *password; /* copied; http:// or https:// */
	const char *certificate; /* https: PEM file of whom to trust, copied; NULL: whom the system does */
	const char *body;        /* borrowed until done, or http_free */
	size_t body_sz;
	unsigned timeout_ms;
};

struct http_reply {
	long status;       /* 0: no answer, error says why */
	const char *error; /* static or valid for the call */
	const char *body;
	size_t sz;
};
typedef void (*http_done_fn)(void *arg, const struct http_reply *r);

/* NULL: out of memory. */
struct http *http_new(uv_loop_t *loop);
/* Drops what is under way without calling done.  The memory is released by the loop's next turns. */
void http_free(struct http *h);
/* done is called once, from the loop, unless http_free comes first.  False: out of memory, and done is never
   called. */
bool http_send(struct http *h, const struct http_post *p, http_done_fn done, void *arg);

#endif
