#include "cli/client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The server ends a page at 1 MiB, and one row is at most a block's worth of hex. */
#define REPLY_MAX (16u << 20)

static enum client_status no_server(struct client *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static enum client_status no_server(struct client *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
	return CLIENT_NO_SERVER;
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* False when the deadline has passed. */
static bool wait_for(struct client *c, short events, long long deadline)
{
	struct pollfd p = {.fd = c->fd, .events = events};

	for (;;) {
		long long left = deadline - now_ms();
		int rc;

		if (left <= 0)
			return false;
		rc = poll(&p, 1, left > 60000 ? 60000 : (int)left);
		if (rc > 0)
			return true;
		if (rc < 0 && errno != EINTR)
			return false;
	}
}

enum client_status client_open(struct client *c, const char *path, unsigned timeout_ms)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	long long deadline = now_ms() + timeout_ms;
	int rc;

	*c = (struct client){.fd = -1, .timeout_ms = timeout_ms};
	if (strlen(path) >= sizeof(addr.sun_path))
		return no_server(c, "the socket's path is too long: %.120s", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return no_server(c, "cannot make a socket: %s", strerror(errno));
	/* EAGAIN: vigild has not accepted those before us yet; there is nothing to poll for. */
	while ((rc = connect(c->fd, (struct sockaddr *)&addr, sizeof(addr))) != 0 && errno == EAGAIN &&
	       now_ms() < deadline)
		poll(NULL, 0, 10);
	if (rc != 0)
		return no_server(c, "cannot reach vigild at %.120s: %s", path, strerror(errno));
	return CLIENT_OK;
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	c->fd = -1;
	c->buf = NULL;
}

static enum client_status send_all(struct client *c, const char *p, size_t sz, long long deadline)
{
	while (sz > 0) {
		ssize_t n = send(c->fd, p, sz, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			if (!wait_for(c, POLLOUT, deadline))
				return no_server(c, "vigild does not read the request");
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return CLIENT_OK; /* closed; perhaps with an answer that says why */
		p += n;
		sz -= (size_t)n;
	}
	return CLIENT_OK;
}

static bool grow(struct client *c)
{
	size_t cap = c->cap != 0 ? c->cap * 2 : 65536;
	char *bigger;

	if (c->sz < c->cap)
		return true;
	if (cap > REPLY_MAX)
		return false;
	bigger = realloc(c->buf, cap);
	if (bigger == NULL)
		return false;
	c->buf = bigger;
	c->cap = cap;
	return true;
}

/* Reads up to and with a newline; *line_sz excludes it. */
static enum client_status read_line(struct client *c, size_t *line_sz, long long deadline)
{
	c->sz = 0;
	for (;;) {
		ssize_t n;
		char *end;

		if (!grow(c))
			return no_server(c, "the answer is too large");
		n = recv(c->fd, c->buf + c->sz, c->cap - c->sz, 0);
		if (n < 0 && errno == EAGAIN) {
			if (!wait_for(c, POLLIN, deadline))
				return no_server(c, "no answer from vigild within %u s", c->timeout_ms / 1000);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* also when the server closed with our request unread */
			return no_server(c, "vigild closed the connection without an answer");
		end = memchr(c->buf + c->sz, '\n', (size_t)n);
		c->sz += (size_t)n;
		if (end != NULL) {
			*line_sz = (size_t)(end - c->buf);
			return CLIENT_OK;
		}
	}
}

static enum client_status take_reply(struct client *c, size_t sz, json_t **reply)
{
	json_error_t err;
	json_t *root = json_loadb(c->buf, sz, 0, &err);
	json_t *error = json_object_get(root, "error"), *result = json_object_get(root, "result");
	enum client_status st = CLIENT_OK;

	if (json_is_object(error)) {
		*reply = json_incref(error);
		st = CLIENT_ERROR;
	} else if (result != NULL && json_integer_value(json_object_get(root, "id")) == c->id) {
		*reply = json_incref(result);
	} else {
		st = no_server(c, "what answers is not vigild's control socket");
	}
	json_decref(root);
	return st;
}

enum client_status client_call(struct client *c, const char *method, json_t *params, json_t **reply)
{
	long long deadline = now_ms() + c->timeout_ms;
	json_t *req = json_pack("{s:s, s:I, s:s, s:O}", "jsonrpc", "2.0", "id", (json_int_t)++c->id, "method",
				method, "params", params);
	char *text = req != NULL ? json_dumps(req, JSON_COMPACT) : NULL;
	size_t text_sz = text != NULL ? strlen(text) : 0;
	enum client_status st;
	size_t sz = 0;

	*reply = NULL;
	json_decref(req);
	if (text == NULL)
		return no_server(c, "the request is not valid text (UTF-8)");
	text[text_sz] = '\n'; /* in place of the NUL: one write, as the answer may end the connection */
	st = send_all(c, text, text_sz + 1, deadline);
	free(text);
	if (st == CLIENT_OK)
		st = read_line(c, &sz, deadline);
	return st == CLIENT_OK ? take_reply(c, sz, reply) : st;
}
