/* server.c - libmicrohttpd without threads: its epoll descriptor and its deadlines are two more handles of the loop. */
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/log.h"
#include "metrics/metrics.h"

#define CONNECTIONS_MAX 32u
#define TIMEOUT_S       10u

struct metrics {
	struct metrics_env env;
	struct MHD_Daemon *daemon;
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned connections;
	unsigned handles; /* not closed yet */
};

static enum MHD_Result send_text(struct MHD_Connection *c, unsigned status, const char *type, char *text,
				 size_t sz, enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(sz, text, mode);
	enum MHD_Result rc;

	if (r == NULL) {
		if (mode == MHD_RESPMEM_MUST_FREE)
			free(text);
		return MHD_NO;
	}
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	rc = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned status, const char *text)
{
	return send_text(c, status, "text/plain; charset=utf-8", (char *)(uintptr_t)text, strlen(text),
			 MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *body, size_t *body_sz, void **request)
{
	struct metrics *m = arg;
	size_t sz;
	char *text;

	(void)version;
	(void)body;
	(void)body_sz;
	(void)request;
	/* At the headers: a body is never waited for, the connection is closed instead. */
	if (strcmp(url, "/metrics") != 0)
		return refuse(c, MHD_HTTP_NOT_FOUND, "metrics are at /metrics\n");
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return refuse(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET only\n");
	text = metrics_text(&m->env, &sz);
	if (text == NULL)
		return refuse(c, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
	return send_text(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text, sz,
			 MHD_RESPMEM_MUST_FREE);
}

static void on_timer(uv_timer_t *t);

static void run(struct metrics *m)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(m->daemon);
	if (MHD_get_timeout(m->daemon, &ms) == MHD_YES)
		uv_timer_start(&m->timer, on_timer, ms, 0);
	else
		uv_timer_stop(&m->timer);
}

static void on_timer(uv_timer_t *t)
{
	run(t->data);
}

static void on_readable(uv_poll_t *p, int status, int events)
{
	(void)status;
	(void)events;
	run(p->data);
}

/* What a client gets wrong is its own business. */
static void on_trouble(void *arg, const char *fmt, va_list ap)
{
	(void)arg;
	(void)fmt;
	(void)ap;
}

/* Not libmicrohttpd's own limit: driven from outside, it would not listen again after a connection has gone until
   something else happened. */
static enum MHD_Result on_accept(void *arg, const struct sockaddr *addr, socklen_t sz)
{
	const struct metrics *m = arg;

	(void)addr;
	(void)sz;
	return m->connections < CONNECTIONS_MAX ? MHD_YES : MHD_NO;
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct metrics *m = arg;

	(void)c;
	(void)context;
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		m->connections++;
	else
		m->connections--;
}

static bool address_of(const char *bind, uint16_t port, struct sockaddr_storage *a)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)a;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)a;

	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, bind, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, bind, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		return true;
	}
	return false;
}

struct metrics *metrics_new(uv_loop_t *loop, const char *bind, uint16_t port, const struct metrics_env *env,
			    const char **why)
{
	static char text[160];
	struct sockaddr_storage addr;
	struct metrics *m = calloc(1, sizeof(*m));
	const union MHD_DaemonInfo *info;

	*why = "out of memory";
	if (m == NULL)
		return NULL;
	m->env = *env;
	if (!address_of(bind, port, &addr)) {
		*why = "metrics.bind is no address";
		free(m);
		return NULL;
	}
	errno = 0;
	m->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_ERROR_LOG | (addr.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0), port,
		on_accept, m, on_request, m, MHD_OPTION_EXTERNAL_LOGGER, on_trouble, NULL, MHD_OPTION_SOCK_ADDR,
		&addr, MHD_OPTION_NOTIFY_CONNECTION, on_connection, m, MHD_OPTION_CONNECTION_LIMIT,
		2 * CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S, MHD_OPTION_END);
	info = m->daemon != NULL ? MHD_get_daemon_info(m->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (info == NULL || uv_poll_init(loop, &m->poll, info->epoll_fd) != 0) {
		snprintf(text, sizeof(text), "cannot serve metrics on %s port %u: %s", bind, port,
			 errno != 0 ? strerror(errno) : "libmicrohttpd refuses");
		*why = text;
		if (m->daemon != NULL)
			MHD_stop_daemon(m->daemon);
		free(m);
		return NULL;
	}
	uv_timer_init(loop, &m->timer);
	m->handles = 2;
	m->poll.data = m->timer.data = m;
	uv_poll_start(&m->poll, UV_READABLE, on_readable);
	run(m);
	return m;
}

static void on_closed(uv_handle_t *h)
{
	struct metrics *m = h->data;

	if (--m->handles > 0)
		return;
	free(m);
}

void metrics_free(struct metrics *m)
{
	if (m == NULL)
		return;
	uv_close((uv_handle_t *)&m->poll, on_closed);
	uv_close((uv_handle_t *)&m->timer, on_closed);
	MHD_stop_daemon(m->daemon);
	m->daemon = NULL;
}
