/* http.c - the side of the HTTP threads: transport rules (spec/teos.md section 7.2), bodies, answers. */
#include "api/api_priv.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "log/log.h"

#define HEADER_MEMORY \
	(32u * 1024u) /* of one connection: its headers, and the window its body arrives through */
/* A refused body is still read when it is at most so long, so that the connection can go on. */
#define DISCARD_MAX (256u * 1024u)
#define DRAIN_MAX   (1024u * 1024u) /* taken off a socket before it is closed */

/* --- answers ------------------------------------------------------------------------------------------------- */

static struct api_refusal refusal_of(const struct api_call *c)
{
	return (struct api_refusal){
		.endpoint = c->route ? c->route->endpoint : API_ENDPOINT_CNT,
		.generation = c->generation,
		.problem = c->problem,
		.transport_status = c->transport_status,
		.expired = c->expired,
		.sent_locator = c->req.sent_locator,
		.locator_text = c->req.locator_text,
	};
}

static void count(struct api_call *c, unsigned status)
{
	unsigned endpoint = c->route ? c->route->endpoint : API_ENDPOINT_CNT;

	if (status >= 500)
		atomic_fetch_add(&c->api->answers[endpoint].unavailable_total, 1);
	else if (status >= 400)
		atomic_fetch_add(&c->api->answers[endpoint].refused_total, 1);
	else
		atomic_fetch_add(&c->api->answers[endpoint].ok_total, 1);
}

static enum MHD_Result send_text(struct api_call *c, unsigned status, int code, char *text)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
		text ? strlen(text) : 0, text, text ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);

	if (!r) {
		free(text);
		return MHD_NO;
	}
	if (text)
		MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW,
					c->route ? c->route->method : MHD_HTTP_METHOD_POST);
	if (c->last || atomic_load(&c->api->stopping))
		MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");

	enum MHD_Result rc = MHD_queue_response(c->http, status, r);

	MHD_destroy_response(r);
	count(c, status);
	log_debug("http_request", "Request answered", log_str("endpoint", c->route ? c->route->segment : ""),
		  log_u64("status", status), log_i64("code", code), log_u64("body_bytes", c->body_sz));
	return rc;
}

static enum MHD_Result answer(struct api_call *c)
{
	char *text = NULL;

	if (c->problem.code == API_OK) {
		if (!c->route->reply)
			return send_text(c, MHD_HTTP_OK, 0, NULL);
		text = c->route->reply(c);
		if (text)
			return send_text(c, MHD_HTTP_OK, 0, text);
		api_refuse(c, API_SERVICE_UNAVAILABLE, "the answer could not be written");
	}
	struct api_refusal r = refusal_of(c);

	text = api_refusal_body(&r);
	/* Out of memory to its very end: the connection is closed. */
	return text ? send_text(c, api_refusal_status(&r), api_refusal_code(&r), text) : MHD_NO;
}

/* --- headers ------------------------------------------------------------------------------------------------- */

static void refuse(struct api_call *c, unsigned status, enum api_code code, const char *text)
{
	c->transport_status = status;
	api_refuse(c, code, text);
	c->discard = true;
}

/* Only the first segment counts. */
static const struct api_route *route_of(const char *url)
{
	if (*url != '/')
		return NULL;
	size_t sz = strcspn(url + 1, "/");

	for (unsigned i = 0; i < API_ENDPOINT_CNT; i++) {
		if (strlen(api_routes[i].segment) == sz && memcmp(url + 1, api_routes[i].segment, sz) == 0)
			return &api_routes[i];
	}
	return NULL;
}

/* False: absent, not a number, or the body is chunked.  Lengths beyond 32 bits are all too large alike. */
static bool content_length(struct MHD_Connection *http, uint64_t *out)
{
	const char *text = MHD_lookup_connection_value(http, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	uint64_t v = 0;

	if (!text || !*text ||
	    MHD_lookup_connection_value(http, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		if (v <= UINT32_MAX)
			v = v * 10 + (uint64_t)(*text - '0');
	}
	*out = v;
	return true;
}

/* Parameters after the media type do not matter. */
static bool is_json(const char *type)
{
	static const char json[] = "application/json";

	while (*type == ' ' || *type == '\t')
		type++;
	if (strncasecmp(type, json, sizeof json - 1) != 0)
		return false;
	type += sizeof json - 1;
	while (*type == ' ' || *type == '\t')
		type++;
	return *type == '\0' || *type == ';';
}

static bool body_reserve(struct api_call *c, size_t sz)
{
	if (atomic_fetch_add(&c->api->body_bytes, sz) + sz > API_BODY_TOTAL_MAX) {
		atomic_fetch_sub(&c->api->body_bytes, sz);
		return false;
	}
	c->body_cap = sz;
	c->body = malloc(sz + 1);
	return c->body != NULL;
}

/* Both legacy clients use this library under its own name; a current client sends no name at all (section 7.1). */
static enum client_generation looks_like(struct MHD_Connection *http)
{
	static const char legacy[] = "python-requests/";
	const char *agent = MHD_lookup_connection_value(http, MHD_HEADER_KIND, MHD_HTTP_HEADER_USER_AGENT);

	return agent && strncmp(agent, legacy, sizeof legacy - 1) == 0 ? CLIENT_LEGACY : CLIENT_CURRENT;
}

/* The transport rules in their order.  Sets the refusal, or makes room for the body. */
static void judge_headers(struct api_call *c, const char *url, const char *method)
{
	const struct api_route *route = route_of(url);
	uint64_t sz = 0;
	const char *type;

	c->route = route;
	if (!route) {
		refuse(c, MHD_HTTP_METHOD_NOT_ALLOWED, API_INVALID_REQUEST_FORMAT, "no such endpoint");
		return;
	}
	if (strcmp(method, route->method) != 0) {
		refuse(c, MHD_HTTP_METHOD_NOT_ALLOWED, API_INVALID_REQUEST_FORMAT,
		       "this endpoint has another method");
		return;
	}
	if (!route->run) {
		c->discard = true;
		return;
	}
	if (!api_place(c->api)) {
		c->last = true;
		refuse(c, 0, API_SERVICE_UNAVAILABLE, "too many clients at a time");
		return;
	}
	if (!content_length(c->http, &sz)) {
		refuse(c, MHD_HTTP_LENGTH_REQUIRED, API_INVALID_REQUEST_FORMAT, "a Content-Length is required");
		return;
	}
	if (sz > (route->body_max ? route->body_max : c->api->cfg.body_limit)) {
		refuse(c, MHD_HTTP_CONTENT_TOO_LARGE, API_TOO_BIG, "the body is too large");
		return;
	}
	type = MHD_lookup_connection_value(c->http, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
	if (type && !is_json(type)) {
		refuse(c, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, API_INVALID_REQUEST_FORMAT,
		       "the body must be application/json");
		return;
	}
	if (!body_reserve(c, (size_t)sz))
		refuse(c, 0, API_SERVICE_UNAVAILABLE, "too many requests at a time");
}

/* --- the life of a request ----------------------------------------------------------------------------------- */

static struct api_conn *conn_of(struct MHD_Connection *http)
{
	const union MHD_ConnectionInfo *i = MHD_get_connection_info(http, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return i ? i->socket_context : NULL;
}

/* held: it is not the client that keeps us waiting.  begun: there is a request. */
static void conn_mark(struct api *a, struct api_conn *conn, bool held, bool begun)
{
	if (!conn)
		return;
	pthread_mutex_lock(&a->lock);
	conn->held = held;
	conn->begun = begun;
	conn->since_ns = api_now_ns();
	pthread_mutex_unlock(&a->lock);
}

static void conn_begun(struct api *a, struct api_conn *conn)
{
	if (!conn)
		return;
	pthread_mutex_lock(&a->lock);
	conn->begun = true;
	pthread_mutex_unlock(&a->lock);
}

static enum MHD_Result begin(struct api *a, struct MHD_Connection *http, const char *url, const char *method,
			     void **ctx)
{
	struct api_call *c = calloc(1, sizeof *c);
	uint64_t sz;

	if (!c)
		return MHD_NO;
	c->api = a;
	c->http = http;
	c->conn = conn_of(http);
	c->generation = looks_like(http);
	*ctx = c;
	atomic_fetch_add(&a->call_cnt, 1);
	atomic_fetch_add(&a->requests_total, 1);
	conn_begun(a, c->conn);
	judge_headers(c, url, method);
	/* A body that is too long is not waited for: answer now, which closes the connection. */
	if (c->problem.code != API_OK && content_length(http, &sz) &&
	    (c->problem.code == API_TOO_BIG || sz > DISCARD_MAX))
		return answer(c);
	return MHD_YES;
}

static enum MHD_Result take_body(struct api_call *c, const char *data, size_t *sz)
{
	/* libmicrohttpd gives no more than Content-Length says; chunks of an unwanted body have no length. */
	if (c->discard) {
		c->body_sz += *sz;
		if (c->body_sz > DISCARD_MAX)
			return MHD_NO;
	} else {
		if (*sz > c->body_cap - c->body_sz)
			return MHD_NO;
		memcpy(c->body + c->body_sz, data, *sz);
		c->body_sz += *sz;
	}
	*sz = 0;
	return MHD_YES;
}

static void body_free(struct api_call *c)
{
	free(c->body);
	c->body = NULL;
	atomic_fetch_sub(&c->api->body_bytes, c->body_cap);
	c->body_cap = 0;
}

/* The call was counted before this is looked at: either the end has seen it, or it is seen here. */
static bool is_closing(struct api_call *c)
{
	if (!atomic_load(&c->api->closing))
		return false;
	api_refuse(c, API_SERVICE_UNAVAILABLE, "the tower is being stopped");
	return true;
}

/* The body is whole. */
static enum MHD_Result run(struct api_call *c)
{
	if (c->problem.code == API_OK && !c->discard) {
		if (c->generation == CLIENT_LEGACY)
			api_decode_legacy(c->route->endpoint, c->body, c->body_sz,
					  c->api->cfg.min_to_self_delay, &c->req, &c->problem);
		else
			api_decode(c->route->endpoint, c->body, c->body_sz, &c->req, &c->problem);
		body_free(c);
		if (c->problem.code == API_UNEXPECTED)
			c->problem.code = API_SERVICE_UNAVAILABLE;
		if (c->problem.code == API_OK && c->route->check(c) == API_OK && !is_closing(c)) {
			atomic_store(&c->stage, API_RUNNING);
			conn_mark(c->api, c->conn, true, true);
			/* Suspended first: the state thread may be done before this function returns. */
			MHD_suspend_connection(c->http);
			api_call_submit(c);
			return MHD_YES;
		}
	}
	atomic_store(&c->stage, API_READY);
	return answer(c);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *http, const char *url, const char *method,
				  const char *version, const char *data, size_t *data_sz, void **ctx)
{
	struct api_call *c = *ctx;

	(void)version;
	if (!c)
		return begin(cls, http, url, method, ctx);
	switch (atomic_load(&c->stage)) {
	case API_READING:
		return *data_sz > 0 ? take_body(c, data, data_sz) : run(c);
	case API_RUNNING:
		/* Not resumed by us; libmicrohttpd does not call here meanwhile. */
		return MHD_YES;
	case API_READY:
		/* Now the client keeps us waiting again, if it does not take the answer. */
		conn_mark(c->api, c->conn, false, true);
		return answer(c);
	}
	return MHD_NO;
}

static void on_completed(void *cls, struct MHD_Connection *http, void **ctx,
			 enum MHD_RequestTerminationCode code)
{
	struct api_call *c = *ctx;
	struct api *a = cls;

	(void)http;
	(void)code;
	if (!c)
		return;
	*ctx = NULL;
	/* A client that went away meanwhile gets no further on_request: see here what the state thread wrote. */
	(void)atomic_load(&c->stage);
	conn_mark(a, c->conn, false, false);
	body_free(c);
	api_request_free(&c->req);
	free(c->data);
	free(c);
	atomic_fetch_sub(&a->call_cnt, 1);
}

/* Closing a socket that still holds data resets the connection, and a client that is reset while it reads a refusal may
   never see it. */
static void drain(int fd)
{
	char buf[16384];
	size_t got = 0;

	while (got < DRAIN_MAX) {
		ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);

		if (n <= 0)
			return;
		got += (size_t)n;
	}
}

static void on_connection(void *cls, struct MHD_Connection *http, void **ctx,
			  enum MHD_ConnectionNotificationCode code)
{
	struct api *a = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *fd = MHD_get_connection_info(http,
									     MHD_CONNECTION_INFO_CONNECTION_FD);
		struct api_conn *n = calloc(1, sizeof *n);

		*ctx = n;
		if (!n || !fd) {
			free(n);
			*ctx = NULL;
			return;
		}
		n->fd = fd->connect_fd;
		n->since_ns = api_now_ns();
		pthread_mutex_lock(&a->lock);
		n->next = a->conns;
		if (n->next)
			n->next->prev = n;
		a->conns = n;
		a->conn_cnt++;
		pthread_mutex_unlock(&a->lock);
		atomic_fetch_add(&a->connections_total, 1);
		return;
	}
	struct api_conn *n = *ctx;

	if (!n)
		return;
	pthread_mutex_lock(&a->lock);
	if (n->prev)
		n->prev->next = n->next;
	else
		a->conns = n->next;
	if (n->next)
		n->next->prev = n->prev;
	a->conn_cnt--;
	a->cut_cnt -= n->cut;
	pthread_mutex_unlock(&a->lock);
	drain(n->fd);
	free(n);
	*ctx = NULL;
}

static void on_mhd_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static void on_mhd_log(void *cls, const char *fmt, va_list ap)
{
	char text[256];

	(void)cls;
	vsnprintf(text, sizeof text, fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	log_debug("http_server", "HTTP server", log_str("text", text));
}

bool api_http_start(struct api *a, const char **why)
{
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
			 MHD_USE_ERROR_LOG;
	const struct api_config *cfg = &a->cfg;

	if (strchr(a->bind, ':'))
		flags |= MHD_USE_IPv6;
	unsigned limit = cfg->max_connections + api_spare(cfg);
	/* A pool of one is no pool to libmicrohttpd, and a thread without a connection of its own would be none. */
	unsigned pool = cfg->threads < cfg->max_connections ? cfg->threads : cfg->max_connections;

	if (pool == 1)
		pool = 0;

	a->daemon = MHD_start_daemon(
		flags, a->port, NULL, NULL, on_request, a, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, a,
		MHD_OPTION_LISTEN_SOCKET, a->listen_fd, MHD_OPTION_THREAD_POOL_SIZE, pool,
		MHD_OPTION_CONNECTION_LIMIT, limit, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		(unsigned)cfg->max_connections_per_ip, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)cfg->timeout_s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_MEMORY, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, a, MHD_OPTION_NOTIFY_CONNECTION, on_connection, a, MHD_OPTION_END);
	if (!a->daemon) {
		*why = "the HTTP server could not start; is api.max-connections above the limit of "
		       "open files?";
		return false;
	}
	return true;
}
