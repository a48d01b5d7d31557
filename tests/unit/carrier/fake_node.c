#include "fake_node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conn {
	uv_tcp_t tcp;
	uv_timer_t delay;
	struct fake_node *node;
	struct conn *next;
	unsigned nr, open; /* open: handles */
	char *buf;
	size_t sz, cap;
	struct fake_reply reply; /* the delayed one */
	char body[512];          /* its own copy of the text */
	bool counted;
};

static void on_closed(uv_handle_t *h)
{
	struct conn *c = h->data;

	if (--c->open == 0) {
		free(c->buf);
		free(c);
	}
}

static void conn_close(struct conn *c)
{
	struct conn **at = (struct conn **)&c->node->conn_list;

	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	if (c->counted)
		c->node->in_flight--;
	uv_close((uv_handle_t *)&c->tcp, on_closed);
	uv_close((uv_handle_t *)&c->delay, on_closed);
}

static void on_written(uv_write_t *w, int status)
{
	struct conn *c = w->handle->data;
	bool close = w->data != NULL;

	(void)status;
	free(w);
	if (close)
		conn_close(c);
}

static void send_reply(struct conn *c)
{
	size_t body_sz = strlen(c->reply.body);
	uv_write_t *w = calloc(1, sizeof(*w) + body_sz + 256);
	char *text = (char *)(w + 1);
	uv_buf_t buf;

	if (c->counted) {
		c->node->in_flight--;
		c->counted = false;
	}
	buf.base = text;
	buf.len = (size_t)snprintf(text, body_sz + 256,
				   "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n"
				   "Content-Length: %zu\r\n\r\n%s",
				   c->reply.status, body_sz, c->reply.body);
	w->data = c->reply.then_close ? w : NULL;
	uv_write(w, (uv_stream_t *)&c->tcp, &buf, 1, on_written);
}

static void on_delay(uv_timer_t *t)
{
	send_reply(t->data);
}

static void answer(struct conn *c, const char *head, const char *body)
{
	struct fake_node *n = c->node;
	bool probe = strstr(body, "\"getblockchaininfo\"") != NULL;
	bool send = strstr(body, "\"sendrawtransaction\"") != NULL;
	char method[40] = "";
	const char *auth = strstr(head, "Authorization: ");
	char auth_text[256] = "";
	struct fake_request q = {.method = method,
				 .body = body,
				 .auth = auth_text,
				 .nth = probe  ? ++n->probes
					: send ? ++n->sends
					       : ++n->lookups,
				 .conn = c->nr};

	if (strstr(body, "\"method\":\"") != NULL)
		sscanf(strstr(body, "\"method\":\""), "\"method\":\"%39[a-z]", method);
	if (auth != NULL)
		sscanf(auth, "Authorization: %255[^\r]", auth_text);
	c->reply = (struct fake_reply){.status = 200, .body = "{}"};
	n->script(n, &q, &c->reply);
	snprintf(c->body, sizeof(c->body), "%s", c->reply.body);
	c->reply.body = c->body;
	if (!probe && ++n->in_flight > n->in_flight_most)
		n->in_flight_most = n->in_flight;
	c->counted = !probe;
	switch (c->reply.action) {
	case FAKE_SEND:
		uv_timer_start(&c->delay, on_delay, probe ? 0 : n->delay_ms, 0);
		return;
	case FAKE_CLOSE:
		conn_close(c);
		return;
	case FAKE_HANG:
		return;
	}
}

static void take_request(struct conn *c)
{
	char *end = memmem(c->buf, c->sz, "\r\n\r\n", 4), *length;
	size_t head_sz, body_sz;
	char *head, *body;

	if (end == NULL)
		return;
	head_sz = (size_t)(end - c->buf) + 4;
	head = strndup(c->buf, head_sz);
	length = strstr(head, "Content-Length: ");
	assert(length != NULL);
	body_sz = strtoul(length + 16, NULL, 10);
	if (c->sz >= head_sz + body_sz) {
		body = strndup(c->buf + head_sz, body_sz);
		memmove(c->buf, c->buf + head_sz + body_sz, c->sz - head_sz - body_sz);
		c->sz -= head_sz + body_sz;
		answer(c, head, body);
		free(body);
	}
	free(head);
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	struct conn *c = h->data;

	(void)hint;
	if (c->cap - c->sz < 65536) {
		c->cap = c->cap * 2 + 131072;
		c->buf = realloc(c->buf, c->cap);
	}
	*buf = uv_buf_init(c->buf + c->sz, (unsigned)(c->cap - c->sz));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = s->data;

	(void)buf;
	if (n < 0) {
		conn_close(c);
		return;
	}
	c->sz += (size_t)n;
	take_request(c);
}

static void on_connection(uv_stream_t *s, int status)
{
	struct fake_node *n = s->data;
	struct conn *c = calloc(1, sizeof(*c));

	assert(status == 0);
	c->node = n;
	c->nr = ++n->conns;
	c->open = 2;
	uv_tcp_init(n->loop, &c->tcp);
	c->tcp.data = c;
	uv_timer_init(n->loop, &c->delay);
	c->delay.data = c;
	c->next = n->conn_list;
	n->conn_list = c;
	uv_accept(s, (uv_stream_t *)&c->tcp);
	uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

void fake_node_start(struct fake_node *n, uv_loop_t *loop, uint16_t port)
{
	struct sockaddr_in addr;
	int sz = sizeof(addr);

	n->loop = loop;
	n->conn_list = NULL;
	uv_tcp_init(loop, &n->server);
	n->server.data = n;
	uv_ip4_addr("127.0.0.1", port, &addr);
	assert(uv_tcp_bind(&n->server, (struct sockaddr *)&addr, 0) == 0);
	assert(uv_listen((uv_stream_t *)&n->server, 64, on_connection) == 0);
	uv_tcp_getsockname(&n->server, (struct sockaddr *)&addr, &sz);
	n->port = ntohs(addr.sin_port);
}

void fake_node_stop(struct fake_node *n)
{
	while (n->conn_list != NULL)
		conn_close(n->conn_list);
	uv_close((uv_handle_t *)&n->server, NULL);
}
