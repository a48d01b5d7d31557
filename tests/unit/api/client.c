#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

_Atomic unsigned client_order;

int client_connect(uint16_t port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

bool client_send(int fd, const void *p, size_t sz)
{
	client_order++;
	for (size_t off = 0; off < sz;) {
		ssize_t n = send(fd, (const char *)p + off, sz - off, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		off += (size_t)n;
	}
	return true;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* More bytes to p within the deadline; 0 at the end, or when none come. */
static size_t more(int fd, char *p, size_t room, int64_t deadline)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	int64_t left = deadline - now_ms();

	if (left < 0 || room == 0 || poll(&pfd, 1, (int)left) != 1)
		return 0;
	ssize_t n = recv(fd, p, room, 0);

	return n > 0 ? (size_t)n : 0;
}

bool client_read(int fd, struct reply *r, int wait_ms)
{
	int64_t deadline = now_ms() + wait_ms;
	size_t have = 0, body_sz = 0;
	char *end = NULL;

	memset(r, 0, sizeof *r);
	while (!end) {
		/* A byte at a time: what follows the head may be the next answer. */
		size_t n = more(fd, r->head + have, have + 1 < sizeof r->head ? 1 : 0, deadline);

		if (n == 0)
			return false;
		have += n;
		r->head[have] = '\0';
		end = strstr(r->head, "\r\n\r\n");
	}
	const char *length = strcasestr(r->head, "\r\nContent-Length: ");

	if (sscanf(r->head, "HTTP/1.1 %d ", &r->status) != 1)
		return false;
	body_sz = length ? strtoul(length + 18, NULL, 10) : 0;
	r->body = calloc(1, body_sz + 1);
	if (!r->body)
		abort();
	while (r->body_sz < body_sz) {
		size_t n = more(fd, r->body + r->body_sz, body_sz - r->body_sz, deadline);

		if (n == 0) {
			r->status = 0;
			return false;
		}
		r->body_sz += n;
	}
	client_order++;
	r->json = json_loadb(r->body, r->body_sz, JSON_REJECT_DUPLICATES, NULL);
	return true;
}

void reply_free(struct reply *r)
{
	free(r->body);
	json_decref(r->json);
	r->body = NULL;
	r->json = NULL;
}

struct reply client_exchange(uint16_t port, const char *raw, size_t sz)
{
	struct reply r = {0};
	int fd = client_connect(port);

	if (fd < 0)
		return r;
	/* The answer may come, and the connection go, before everything is sent. */
	client_send(fd, raw, sz);
	client_read(fd, &r, CLIENT_WAIT_MS);
	close(fd);
	return r;
}

static struct reply post(uint16_t port, const char *path, const char *agent, const char *body)
{
	char *raw = NULL;
	int sz = asprintf(&raw,
			  "POST %s HTTP/1.1\r\nHost: t\r\n%sContent-Type: application/json\r\n"
			  "Content-Length: %zu\r\n\r\n%s",
			  path, agent, strlen(body), body);

	if (sz < 0)
		abort();
	struct reply r = client_exchange(port, raw, (size_t)sz);

	free(raw);
	return r;
}

struct reply client_post(uint16_t port, const char *path, const char *body)
{
	return post(port, path, "", body);
}

struct reply client_post_legacy(uint16_t port, const char *path, const char *body)
{
	return post(port, path, "User-Agent: python-requests/2.25.1\r\n", body);
}

int reply_code(const struct reply *r)
{
	const json_t *code = json_object_get(r->json, "error_code");

	return json_is_integer(code) && json_is_string(json_object_get(r->json, "error"))
		       ? (int)json_integer_value(code)
		       : -1;
}
