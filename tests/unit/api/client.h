/* client.h - a blocking HTTP client that sends exactly the bytes it is given. */
#ifndef VIGIL_TESTS_API_CLIENT_H
#define VIGIL_TESTS_API_CLIENT_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reply {
	int status; /* 0: no answer (closed, reset, or nothing within the time) */
	char head[2048];
	char *body; /* NUL-terminated; free with reply_free */
	size_t body_sz;
	json_t *json; /* NULL if the body is not JSON */
};

/* What a test sets up before it sends is seen by the tower that is asked, and what the tower noted is seen by the test
   that has read the answer.  The sockets see to that; this tells ThreadSanitizer, which does not look through them. */
extern _Atomic unsigned client_order;

#define CLIENT_WAIT_MS 20000

int client_connect(uint16_t port); /* -1 if refused */
bool client_send(int fd, const void *p, size_t sz);
/* Reads one answer; false if there is none within wait_ms. */
bool client_read(int fd, struct reply *r, int wait_ms);
void reply_free(struct reply *r);

/* One request on its own connection. */
struct reply client_exchange(uint16_t port, const char *raw, size_t sz);
/* POST with Content-Length, and with Content-Type: application/json. */
struct reply client_post(uint16_t port, const char *path, const char *body);
/* The same as the legacy clients' library sends it. */
struct reply client_post_legacy(uint16_t port, const char *path, const char *body);
int reply_code(const struct reply *r); /* error_code, or -1 */

#endif
