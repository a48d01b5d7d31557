#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log/log.h"
#include "meter/meter.h"
#include "rpc/rpc_priv.h"

#define BUF_FIRST 4096u
/* More than client_max, so that those too many are told so instead of finding the socket busy. */
#define BACKLOG 512

struct client {
	uv_pipe_t pipe;
	struct rpc *rpc;
	struct client *next;
	char *buf;
	size_t len, cap;
	struct rpc_scan scan;
	uint64_t begun_ms; /* when the unfinished request began; 0: there is none */
	/* While something waits to be written: when the client last took any, and how much it had taken then. */
	uint64_t unread_ms; /* 0: nothing waits */
	uint64_t taken;
	uint64_t queued; /* bytes given to the pipe */
	bool reading;
	bool eof;        /* it sends nothing more */
	bool last_words; /* close once everything is written */
	bool closing;
};

struct rpc {
	uv_loop_t *loop;
	uv_pipe_t listener;
	uv_timer_t sweep;
	uv_timer_t stop;
	struct rpc_ctx ctx;
	struct rpc_table table;
	struct rpc_limits limits;
	struct client *clients;
	struct rpc_info info;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct stat st;    /* of our socket file */
	bool accept_waits; /* a connection could not be taken for want of memory */
	bool ending;
	uint64_t end_ms;
	unsigned handles; /* not closed yet */
};

static void client_go_on(struct client *c);
static void client_want_read(struct client *c);

/* --- one client --------------------------------------------------------------------------------------------- */

static void rpc_maybe_release(struct rpc *r)
{
	if (r->ending && r->handles == 0 && r->clients == NULL)
		free(r);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct rpc *r = h->data;

	r->handles--;
	rpc_maybe_release(r);
}

static void close_timers_when_last(struct rpc *r)
{
	if (r->ending && r->clients == NULL && !uv_is_closing((uv_handle_t *)&r->sweep))
		uv_close((uv_handle_t *)&r->sweep, on_handle_closed);
}

static void on_client_closed(uv_handle_t *h)
{
	struct client *c = h->data;
	struct rpc *r = c->rpc;
	struct client **at = &r->clients;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	free(c->buf);
	free(c);
	close_timers_when_last(r);
	rpc_maybe_release(r);
}

static void client_close(struct client *c)
{
	if (c->closing)
		return;
	c->closing = true;
	c->rpc->info.client_cnt--;
	uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

static void client_drop(struct client *c, const char *why)
{
	if (c->closing)
		return;
	c->rpc->info.dropped_total++;
	log_debug("rpc_client_dropped", "Control socket client dropped", log_str("why", why));
	client_close(c);
}

static uint64_t client_taken(const struct client *c)
{
	return c->queued - uv_stream_get_write_queue_size((const uv_stream_t *)&c->pipe);
}

struct answer {
	uv_write_t req;
	char *text;
};

static void on_written(uv_write_t *req, int status)
{
	struct answer *a = req->data;
	struct client *c = req->handle->data;

	free(a->text);
	free(a);
	if (status < 0) {
		client_close(c);
		return;
	}
	if (uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) == 0)
		c->unread_ms = 0;
	client_go_on(c);
}

/* Takes text, a malloc'd line without its newline. */
static void client_send(struct client *c, char *text)
{
	struct answer *a = malloc(sizeof(*a));
	uv_buf_t buf;

	if (a == NULL || text == NULL) {
		free(a);
		free(text);
		client_drop(c, "out of memory");
		return;
	}
	a->text = text;
	a->req.data = a;
	buf = uv_buf_init(text, (unsigned)strlen(text));
	text[buf.len++] = '\n'; /* in place of the NUL */
	if (uv_write(&a->req, (uv_stream_t *)&c->pipe, &buf, 1, on_written) != 0) {
		free(a->text);
		free(a);
		client_close(c);
		return;
	}
	c->queued += buf.len;
	if (c->unread_ms == 0) {
		c->unread_ms = uv_now(c->rpc->loop);
		c->taken = client_taken(c);
	}
}

/* Says why and closes once that is written; nothing more is read. */
static void client_refuse(struct client *c, char *line, const char *why)
{
	c->rpc->info.errors_total++;
	c->rpc->info.dropped_total++;
	log_debug("rpc_client_refused", "Control socket client sent what is no request", log_str("why", why));
	c->last_words = true;
	client_send(c, line);
}

static void on_stop(uv_timer_t *t)
{
	struct rpc *r = t->data;

	r->ctx.env.stop(r->ctx.env.stop_arg);
}

/* Answers the request in buf[start, end). */
static void client_request(struct client *c, size_t start, size_t end)
{
	struct rpc *r = c->rpc;
	bool not_json, failed;
	uint64_t begun = meter_now_ns();
	char *line = rpc_answer(&r->table, c->buf + start, end - start, &not_json, &failed);

	meter_note(METER_COMMAND, meter_now_ns() - begun, "%.*s", end - start > 90 ? 90 : (int)(end - start),
		   c->buf + start);
	r->info.requests_total++;
	if (not_json) {
		client_refuse(c, line, "not JSON");
		return;
	}
	if (failed)
		r->info.errors_total++;
	if (line != NULL)
		client_send(c, line);
	if (r->ctx.stop_wanted && !r->ending) {
		r->ctx.stop_wanted = false;
		uv_timer_start(&r->stop, on_stop, 0, 0); /* not from within a handler */
	}
}

static bool client_is_behind(const struct client *c)
{
	return uv_stream_get_write_queue_size((const uv_stream_t *)&c->pipe) > c->rpc->limits.unread_max;
}

/* Answers whole requests in the buffer as long as the client takes the answers. */
static void client_process(struct client *c)
{
	size_t done = 0;

	while (!c->closing && !c->last_words && !client_is_behind(c)) {
		size_t start, end;
		enum rpc_cut cut = rpc_scan_next(&c->scan, c->buf, c->len, &start, &end);

		if (cut == RPC_CUT_MORE)
			break;
		switch (cut) {
		case RPC_CUT_VALUE:
			c->begun_ms = 0;
			client_request(c, start, end);
			done = end;
			break;
		case RPC_CUT_RUBBISH:
			client_refuse(c, rpc_error_line(RPC_NOT_JSON, "not JSON: expected '{'"), "rubbish");
			break;
		case RPC_CUT_DEEP:
			client_refuse(c, rpc_error_line(RPC_NOT_JSON, "nested too deep"), "nested");
			break;
		case RPC_CUT_MORE:
			break;
		}
	}
	/* White space between requests goes too. */
	if (c->scan.depth == 0 && c->scan.start == c->scan.pos && c->scan.pos > done)
		done = c->scan.pos;
	if (done > 0) {
		memmove(c->buf, c->buf + done, c->len - done);
		c->len -= done;
		rpc_scan_moved(&c->scan, done);
	}
	if (c->len == 0)
		c->begun_ms = 0;
	else if (c->begun_ms == 0)
		c->begun_ms = uv_now(c->rpc->loop);
}

/* After more bytes came, or the client took some. */
static void client_go_on(struct client *c)
{
	client_process(c);
	if (!c->closing && !c->last_words && !client_is_behind(c)) {
		if (c->len >= c->rpc->limits.request_max)
			client_refuse(c, rpc_error_line(RPC_BAD_REQUEST, "request is too large"), "too large");
		else if (c->eof)
			c->last_words = true;
	}
	if (!c->closing && c->last_words && uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) == 0)
		client_close(c);
	client_want_read(c);
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	struct client *c = h->data;
	size_t cap = c->cap != 0 ? c->cap : BUF_FIRST;

	(void)hint;
	if (c->len == c->cap && c->cap != 0)
		cap = c->cap * 2 < c->rpc->limits.request_max ? c->cap * 2 : c->rpc->limits.request_max;
	if (cap != c->cap) {
		char *bigger = realloc(c->buf, cap);

		if (bigger != NULL) {
			c->buf = bigger;
			c->cap = cap;
		}
	}
	/* A length of zero makes libuv report UV_ENOBUFS. */
	*buf = uv_buf_init(c->buf + c->len, (unsigned)(c->cap - c->len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct client *c = s->data;

	(void)buf;
	if (n == UV_ENOBUFS) {
		client_drop(c, "out of memory");
		return;
	}
	if (n < 0) /* a client may close its sending side and still read its answers */
		c->eof = true;
	else
		c->len += (size_t)n;
	client_go_on(c);
}

static void client_want_read(struct client *c)
{
	bool want;

	if (c->closing)
		return;
	want = !c->last_words && !c->eof && !client_is_behind(c);
	if (want && !c->reading)
		uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
	else if (!want && c->reading)
		uv_read_stop((uv_stream_t *)&c->pipe);
	c->reading = want;
}

/* --- the socket --------------------------------------------------------------------------------------------- */

static void client_check(struct client *c, uint64_t now)
{
	const struct rpc_limits *l = &c->rpc->limits;
	uint64_t taken = client_taken(c);

	if (c->unread_ms != 0 && taken > c->taken) {
		c->unread_ms = now;
		c->taken = taken;
	} else if (c->unread_ms != 0 && now - c->unread_ms >= l->write_ms) {
		client_drop(c, "does not read");
		return;
	}
	/* A request that waits only because its client does not read is that rule's business. */
	if (c->begun_ms != 0 && !client_is_behind(c) && now - c->begun_ms >= l->request_ms)
		client_drop(c, "request not finished");
	else if (c->rpc->ending && (c->unread_ms == 0 || now >= c->rpc->end_ms))
		client_close(c);
}

static void on_connection(uv_stream_t *s, int status);

static void on_sweep(uv_timer_t *t)
{
	struct rpc *r = t->data;
	uint64_t now = uv_now(r->loop);

	for (struct client *c = r->clients; c != NULL; c = c->next)
		client_check(c, now);
	if (r->clients == NULL)
		uv_timer_stop(t);
	if (r->accept_waits && !r->ending)
		on_connection((uv_stream_t *)&r->listener, 0);
}

/* Closes clients that have left, before their turn in the loop comes: with all places taken, somebody new waits. */
static void reap_gone(struct rpc *r)
{
	for (struct client *c = r->clients; c != NULL; c = c->next) {
		uv_os_fd_t fd;
		char byte;

		if (!c->closing && c->len == 0 && c->unread_ms == 0 &&
		    uv_fileno((uv_handle_t *)&c->pipe, &fd) == 0 &&
		    recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
			client_close(c);
	}
}

static void on_connection(uv_stream_t *s, int status)
{
	struct rpc *r = s->data;
	struct client *c;

	if (status < 0)
		return;
	c = calloc(1, sizeof(*c));
	r->accept_waits = c == NULL; /* libuv waits for uv_accept: the sweep tries again */
	if (c == NULL) {
		uv_timer_start(&r->sweep, on_sweep, r->limits.sweep_ms, r->limits.sweep_ms);
		return;
	}
	c->rpc = r;
	c->pipe.data = c;
	uv_pipe_init(r->loop, &c->pipe, 0);
	c->next = r->clients;
	r->clients = c;
	r->info.client_cnt++;
	r->info.clients_total++;
	if (uv_accept(s, (uv_stream_t *)&c->pipe) != 0) {
		client_close(c);
		return;
	}
	if (!uv_is_active((uv_handle_t *)&r->sweep))
		uv_timer_start(&r->sweep, on_sweep, r->limits.sweep_ms, r->limits.sweep_ms);
	if (r->info.client_cnt > r->limits.client_max)
		reap_gone(r);
	if (r->info.client_cnt > r->limits.client_max)
		client_refuse(c, rpc_error_line(RPC_BUSY, "too many clients"), "too many clients");
	client_go_on(c);
}

/* -1: a live server answers there, or the file is no socket; *why says which. */
static int clear_path(const char *path, const struct sockaddr_un *addr, const char **why)
{
	struct stat st;
	int fd, rc;

	if (lstat(path, &st) != 0)
		return 0;
	if (!S_ISSOCK(st.st_mode)) {
		*why = "the control socket's path exists and is not a socket";
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
	if (rc != 0)
		rc = -errno;
	close(fd);
	if (rc != -ECONNREFUSED) {
		*why = "another process answers on the control socket";
		return rc == -ENOENT ? 0 : -1;
	}
	return unlink(path) == 0 || errno == ENOENT ? 0 : -1;
}

/* A bound, not yet listening socket whose file has mode 0600 from its first moment; or -1. */
static int bound_socket(const char *path, const char **why)
{
	static char text[160];
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd, rc;

	memcpy(addr.sun_path, path, strlen(path) + 1);
	*why = NULL;
	fd = clear_path(path, &addr, why) == 0 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
					       : -1;
	if (fd >= 0) {
		/* The file gets the socket's own mode cut by the umask. */
		mask = umask(0177);
		rc = fchmod(fd, 0600) == 0 ? bind(fd, (struct sockaddr *)&addr, sizeof(addr)) : -1;
		umask(mask);
		if (rc == 0)
			return fd;
	}
	if (*why == NULL) {
		snprintf(text, sizeof(text), "cannot make the control socket: %s", strerror(errno));
		*why = text;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

void rpc_set_limits(struct rpc *r, const struct rpc_limits *l)
{
	r->limits = *l;
}

static void handle_init(struct rpc *r, uv_handle_t *h)
{
	h->data = r;
	r->handles++;
}

struct rpc *rpc_new(uv_loop_t *loop, const char *path, const struct rpc_env *env, const char **why)
{
	struct rpc *r = calloc(1, sizeof(*r));
	int fd;

	*why = "out of memory";
	if (r == NULL)
		return NULL;
	if (strlen(path) >= sizeof(r->path)) {
		*why = "the control socket's path is too long (at most 107 characters)";
		free(r);
		return NULL;
	}
	fd = bound_socket(path, why);
	if (fd < 0) {
		free(r);
		return NULL;
	}
	memcpy(r->path, path, strlen(path) + 1);
	r->loop = loop;
	r->ctx.env = *env;
	r->ctx.info = &r->info;
	r->table = (struct rpc_table){rpc_methods, rpc_method_cnt, &r->ctx};
	r->limits = (struct rpc_limits){.client_max = 64,
					.request_max = 1u << 20,
					.unread_max = 256u << 10,
					.request_ms = 30000,
					.write_ms = 30000,
					.sweep_ms = 1000};
	uv_pipe_init(loop, &r->listener, 0);
	handle_init(r, (uv_handle_t *)&r->listener);
	uv_timer_init(loop, &r->sweep);
	handle_init(r, (uv_handle_t *)&r->sweep);
	uv_timer_init(loop, &r->stop);
	handle_init(r, (uv_handle_t *)&r->stop);
	if (lstat(path, &r->st) != 0 || uv_pipe_open(&r->listener, fd) != 0 ||
	    uv_listen((uv_stream_t *)&r->listener, BACKLOG, on_connection) != 0) {
		*why = "cannot listen on the control socket";
		rpc_free(r);
		return NULL;
	}
	return r;
}

void rpc_free(struct rpc *r)
{
	struct stat st;

	if (r == NULL || r->ending)
		return;
	r->ending = true;
	r->end_ms = uv_now(r->loop) + 1000;
	if (lstat(r->path, &st) == 0 && st.st_dev == r->st.st_dev && st.st_ino == r->st.st_ino)
		unlink(r->path);
	uv_close((uv_handle_t *)&r->listener, on_handle_closed);
	uv_close((uv_handle_t *)&r->stop, on_handle_closed);
	for (struct client *c = r->clients; c != NULL; c = c->next) {
		c->last_words = true; /* no request is run any more */
		client_want_read(c);
	}
	on_sweep(&r->sweep);
	if (r->clients != NULL)
		uv_timer_start(&r->sweep, on_sweep, 50, 50);
	close_timers_when_last(r);
}

void rpc_info_get(const struct rpc *r, struct rpc_info *out)
{
	*out = r->info;
}
