#include "api/press.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S   1e9
#define EVENTS     256
#define ANSWER_SZ  2048u
#define NO_REQUEST UINT32_MAX

struct conn {
	int fd; /* -1: to be opened with the next request */
	uint32_t req;
	uint32_t sent, got;
	bool wants_write;
	char answer[ANSWER_SZ];
};

struct run {
	const struct press_config *cfg;
	const struct request *req;
	struct press_result *result;
	uint32_t cnt, next, done;
	struct conn *conn;
	uint32_t *idle, idle_first, idle_cnt; /* connections without a request, a ring: each in its turn */
	uint64_t begun_ns;
	int poll;
};

uint64_t press_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void conn_close(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->wants_write = false;
}

static bool conn_open(struct run *r, struct conn *c)
{
	const int one = 1;
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return false;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if ((connect(c->fd, (const void *)&r->cfg->to, sizeof(r->cfg->to)) != 0 && errno != EINPROGRESS) ||
	    epoll_ctl(r->poll, EPOLL_CTL_ADD, c->fd, &e) != 0) {
		conn_close(c);
		return false;
	}
	return true;
}

static void want_write(struct run *r, struct conn *c, bool want)
{
	struct epoll_event e = {.events = EPOLLIN | (want ? EPOLLOUT : 0), .data.ptr = c};

	if (c->wants_write != want)
		epoll_ctl(r->poll, EPOLL_CTL_MOD, c->fd, &e);
	c->wants_write = want;
}

static void idle_put(struct run *r, struct conn *c)
{
	r->idle[(r->idle_first + r->idle_cnt++) % r->cfg->connections] = (uint32_t)(c - r->conn);
}

static struct conn *idle_take(struct run *r)
{
	struct conn *c = &r->conn[r->idle[r->idle_first]];

	r->idle_first = (r->idle_first + 1) % r->cfg->connections;
	r->idle_cnt--;
	return c;
}

/* The request is over, one way or the other. */
static void finish(struct run *r, struct conn *c, uint16_t status, const char *body, size_t body_sz, bool keep)
{
	struct press_result *res = &r->result[c->req];

	res->status = status;
	if (status != 0) {
		res->done_ns = press_now_ns();
		res->body = malloc(body_sz + 1);
		if (res->body != NULL) {
			memcpy(res->body, body, body_sz);
			res->body[body_sz] = '\0';
			res->body_sz = (uint16_t)body_sz;
		}
	}
	r->done++;
	c->req = NO_REQUEST;
	if (!keep || r->cfg->fresh)
		conn_close(c);
	idle_put(r, c);
}

static void send_some(struct run *r, struct conn *c)
{
	const struct request *q = &r->req[c->req];

	while (c->sent < q->sz) {
		ssize_t n = send(c->fd, q->text + c->sent, q->sz - c->sent, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
			want_write(r, c, true);
			return;
		}
		if (n <= 0)
			return; /* what there is to read tells what happened */
		c->sent += (uint32_t)n;
	}
	want_write(r, c, false);
}

static void begin(struct run *r, struct conn *c, uint32_t i, uint64_t due_ns)
{
	c->req = i;
	c->sent = c->got = 0;
	r->result[i].due_ns = due_ns;
	if (c->fd < 0 && !conn_open(r, c)) {
		finish(r, c, 0, NULL, 0, false);
		return;
	}
	send_some(r, c);
}

/* Bytes of the whole answer, or 0 when its end cannot be known yet; *body: where it begins. */
static size_t answer_sz(const char *p, size_t sz, size_t *body)
{
	const char *end = memmem(p, sz, "\r\n\r\n", 4), *at;

	if (end == NULL)
		return 0;
	*body = (size_t)(end - p) + 4;
	for (at = p; at < end; at = (const char *)memchr(at, '\n', (size_t)(end - at) + 2) + 1)
		if (strncasecmp(at, "Content-Length:", 15) == 0)
			return *body + strtoul(at + 15, NULL, 10);
	return *body;
}

static bool says_close(const char *p, size_t head_sz)
{
	const char *at = memmem(p, head_sz, "Connection: ", 12);

	return at != NULL && strncasecmp(at + 12, "close", 5) == 0;
}

static void read_some(struct run *r, struct conn *c)
{
	ssize_t n = recv(c->fd, c->answer + c->got, ANSWER_SZ - 1 - c->got, 0);
	size_t sz, body = 0;

	if (n < 0 && errno == EAGAIN)
		return;
	if (c->req == NO_REQUEST) {
		/* A connection that the tower closed while nothing was asked. */
		conn_close(c);
		return;
	}
	if (n <= 0) {
		finish(r, c, 0, NULL, 0, false);
		return;
	}
	c->got += (uint32_t)n;
	c->answer[c->got] = '\0';
	sz = answer_sz(c->answer, c->got, &body);
	if (sz > 0 && c->got >= sz)
		finish(r, c, (uint16_t)strtoul(c->answer + 9, NULL, 10), c->answer + body, sz - body,
		       !says_close(c->answer, body));
	else if (c->got == ANSWER_SZ - 1)
		finish(r, c, 0, NULL, 0, false);
}

static uint64_t due_at(const struct run *r, uint32_t i)
{
	return r->begun_ns + (uint64_t)((double)i * NS_PER_S / r->cfg->rate);
}

/* Gives requests that are due to connections that are free.  Returns how long to wait for events, in ns: to the next one,
   because spinning until then would take the tower's processor. */
static uint64_t hand_out(struct run *r)
{
	while (r->next < r->cnt && r->idle_cnt > 0) {
		uint64_t now = press_now_ns(), due = r->cfg->rate > 0 ? due_at(r, r->next) : now;

		if (due > now)
			return due - now;
		begin(r, idle_take(r), r->next++, due);
	}
	return 20000000;
}

static void turn(struct run *r, uint64_t wait_ns)
{
	struct epoll_event e[EVENTS];
	struct timespec wait = {.tv_nsec = (long)(wait_ns < 999999999 ? wait_ns : 999999999)};
	int n = epoll_pwait2(r->poll, e, EVENTS, &wait, NULL);

	for (int i = 0; i < n; i++) {
		struct conn *c = e[i].data.ptr;

		if (c->fd >= 0 && (e[i].events & EPOLLOUT) && c->req != NO_REQUEST)
			send_some(r, c);
		if (c->fd >= 0 && (e[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
			read_some(r, c);
	}
}

static bool run_init(struct run *r)
{
	r->conn = calloc(r->cfg->connections, sizeof(*r->conn));
	r->idle = calloc(r->cfg->connections, sizeof(*r->idle));
	r->poll = epoll_create1(EPOLL_CLOEXEC);
	if (r->conn == NULL || r->idle == NULL || r->poll < 0)
		return false;
	for (uint32_t i = 0; i < r->cfg->connections; i++) {
		r->conn[i].fd = -1;
		r->conn[i].req = NO_REQUEST;
		idle_put(r, &r->conn[i]);
	}
	return true;
}

bool press(const struct press_config *cfg, const struct request *req, uint32_t cnt,
	   struct press_result *results)
{
	struct run r = {.cfg = cfg, .req = req, .result = results, .cnt = cnt, .poll = -1};
	bool ok = run_init(&r);

	memset(results, 0, cnt * sizeof(*results));
	r.begun_ns = press_now_ns();
	while (ok && r.done < cnt && (double)(press_now_ns() - r.begun_ns) < cfg->seconds_max * NS_PER_S)
		turn(&r, hand_out(&r));
	for (uint32_t i = 0; r.conn != NULL && i < cfg->connections; i++)
		conn_close(&r.conn[i]);
	if (r.poll >= 0)
		close(r.poll);
	free(r.conn);
	free(r.idle);
	return ok;
}

void press_free(struct press_result *results, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		free(results[i].body);
}
