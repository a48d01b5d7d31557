#include "fake_tor.h"

#include <assert.h>
#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tor/onion.h"

struct conn {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} u;
	struct fake_tor *tor;
	struct conn *next;
	char buf[2048];
	size_t sz;
	bool informed, authenticated, challenged;
	uint8_t client_nonce[32], server_nonce[32];
	char service[64];
};

static void fault(struct fake_tor *f, const char *what, const char *line)
{
	if (f->fault[0] == '\0')
		snprintf(f->fault, sizeof(f->fault), "%s: %.200s", what, line);
}

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

static void conn_close(struct conn *c)
{
	struct conn **at = (struct conn **)&c->tor->conn_list;

	if (uv_is_closing(&c->u.handle))
		return;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->tor->open_conns--;
	uv_close(&c->u.handle, on_closed);
}

static void on_written(uv_write_t *w, int status)
{
	(void)status;
	free(w);
}

static void put(struct conn *c, const char *text, size_t sz)
{
	uv_write_t *w = calloc(1, sizeof(*w) + sz);
	uv_buf_t buf = uv_buf_init((char *)(w + 1), (unsigned)sz);

	memcpy(buf.base, text, sz);
	uv_write(w, &c->u.stream, &buf, 1, on_written);
}

static void reply(struct conn *c, const char *text)
{
	size_t sz = strlen(text);

	if (!c->tor->drip) {
		put(c, text, sz);
		return;
	}
	for (size_t i = 0; i < sz; i++)
		put(c, text + i, 1);
}

static void hmac(uint8_t out[32], const char *key, const struct conn *c)
{
	uint8_t text[96];

	memcpy(text, c->tor->cookie, 32);
	memcpy(text + 32, c->client_nonce, 32);
	memcpy(text + 64, c->server_nonce, 32);
	HMAC(EVP_sha256(), key, (int)strlen(key), text, sizeof(text), out, NULL);
}

static bool from_hex(uint8_t out[32], const char *hex)
{
	if (strlen(hex) != 64 || strspn(hex, "0123456789abcdefABCDEF") != 64)
		return false;
	for (unsigned i = 0; i < 32; i++) {
		unsigned v;

		sscanf(hex + 2 * i, "%2x", &v);
		out[i] = (uint8_t)v;
	}
	return true;
}

static void to_hex(char *out, const uint8_t *p)
{
	for (unsigned i = 0; i < 32; i++)
		sprintf(out + 2 * i, "%02X", p[i]);
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void protocol_info(struct conn *c, const char *arg)
{
	struct fake_tor *f = c->tor;
	char text[1024], cookie[512] = "";

	if (strcmp(arg, "1") != 0 || c->informed)
		fault(f, "PROTOCOLINFO once, version 1", arg);
	c->informed = true;
	if (f->greeting != NULL) {
		reply(c, f->greeting);
		return;
	}
	if (f->cookie_file != NULL)
		snprintf(cookie, sizeof(cookie), " COOKIEFILE=\"%s\"", f->cookie_file);
	snprintf(text, sizeof(text),
		 "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=%s%s\r\n"
		 "250-VERSION Tor=\"0.4.7.16\"\r\n250 OK\r\n",
		 f->methods, cookie);
	reply(c, text);
}

static void challenge(struct conn *c, const char *arg)
{
	char text[256], hash_hex[65], nonce_hex[65];
	uint8_t hash[32];

	if (strncmp(arg, "SAFECOOKIE ", 11) != 0 || !from_hex(c->client_nonce, arg + 11)) {
		fault(c->tor, "AUTHCHALLENGE SAFECOOKIE <32 bytes in hex>", arg);
		return;
	}
	RAND_bytes(c->server_nonce, 32);
	hmac(hash, "Tor safe cookie authentication server-to-controller hash", c);
	if (c->tor->wrong_server_hash)
		hash[31] ^= 1;
	to_hex(hash_hex, hash);
	to_hex(nonce_hex, c->server_nonce);
	c->challenged = true;
	snprintf(text, sizeof(text), "250 AUTHCHALLENGE SERVERHASH=%s SERVERNONCE=%s\r\n", hash_hex, nonce_hex);
	reply(c, text);
}

static bool proof_is_right(struct conn *c, const char *arg)
{
	uint8_t want[32], got[32];
	char quoted[256];

	if (c->challenged) {
		hmac(want, "Tor safe cookie authentication controller-to-server hash", c);
		return from_hex(got, arg) && memcmp(want, got, 32) == 0;
	}
	if (*arg == '\0')
		return strstr(c->tor->methods, "NULL") != NULL;
	snprintf(quoted, sizeof(quoted), "\"%s\"", c->tor->password != NULL ? c->tor->password : "");
	return c->tor->password != NULL && strcmp(arg, quoted) == 0;
}

static void authenticate(struct conn *c, const char *arg)
{
	if (!proof_is_right(c, arg)) {
		/* As Tor does: says so, and closes. */
		reply(c, "515 Authentication failed: Password did not match HashedControlPassword value from "
			 "configuration\r\n");
		return;
	}
	c->authenticated = true;
	c->tor->auths++;
	reply(c, "250 OK\r\n");
}

static void add_onion(struct conn *c, const char *arg)
{
	struct fake_tor *f = c->tor;
	char key[128] = "", port[64] = "", text[256];
	struct onion_key k;
	uint8_t raw[80];

	f->adds++;
	if (sscanf(arg, "ED25519-V3:%127[A-Za-z0-9+/=] Port=%63[0-9a-f.:,[]%*[]]%*s", key, port) < 1 ||
	    strstr(arg, " Port=") == NULL || strlen(key) != 88 ||
	    EVP_DecodeBlock(raw, (uint8_t *)key, 88) != 66) {
		fault(f, "ADD_ONION ED25519-V3:<64 bytes> Port=<port>,<target>", arg);
		return;
	}
	memcpy(k.b, raw, 64);
	snprintf(f->last_key, sizeof(f->last_key), "%s", key);
	snprintf(f->last_port, sizeof(f->last_port), "%s", strstr(arg, " Port=") + 6);
	if (f->add_error != NULL) {
		reply(c, f->add_error);
		return;
	}
	if (!onion_address(c->service, &k))
		fault(f, "the key is not one", key);
	snprintf(text, sizeof(text), "250-ServiceID=%s\r\n250 OK\r\n",
		 f->service_id != NULL ? f->service_id : c->service);
	reply(c, text);
	if (f->cut_after_add > 0) {
		f->cut_after_add--;
		/* Behind what is being written. */
		uv_shutdown_t *s = calloc(1, sizeof(*s));

		uv_shutdown(s, &c->u.stream, (uv_shutdown_cb)(void (*)(void))free);
	}
}

static void del_onion(struct conn *c, const char *arg)
{
	c->tor->dels++;
	snprintf(c->tor->last_del, sizeof(c->tor->last_del), "%s", arg);
	if (strcmp(arg, c->service) != 0)
		fault(c->tor, "DEL_ONION of another service", arg);
	reply(c, "250 OK\r\n");
}

static void command(struct conn *c, char *line)
{
	static const struct {
		const char *name;
		void (*run)(struct conn *c, const char *arg);
		bool before_auth;
	} table[] = {{"PROTOCOLINFO", protocol_info, true},
		     {"AUTHCHALLENGE", challenge, true},
		     {"AUTHENTICATE", authenticate, true},
		     {"ADD_ONION", add_onion, false},
		     {"DEL_ONION", del_onion, false}};
	struct fake_tor *f = c->tor;
	char *arg = strchr(line, ' ');

	snprintf(f->last_line, sizeof(f->last_line), "%.500s", line);
	if (f->silent)
		return;
	if (arg != NULL)
		*arg++ = '\0';
	if (strcmp(line, "QUIT") == 0) {
		f->quits++;
		reply(c, "250 closing connection\r\n");
		conn_close(c);
		return;
	}
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(line, table[i].name) != 0)
			continue;
		if (!table[i].before_auth && !c->authenticated)
			fault(f, "before AUTHENTICATE", line);
		table[i].run(c, arg != NULL ? arg : "");
		return;
	}
	fault(f, "no such command", line);
}

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	struct conn *c = h->data;

	(void)hint;
	*buf = uv_buf_init(c->buf + c->sz, (unsigned)(sizeof(c->buf) - c->sz - 1));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = s->data;
	char *nl;

	(void)buf;
	if (n < 0) {
		conn_close(c);
		return;
	}
	c->sz += (size_t)n;
	c->buf[c->sz] = '\0';
	while (!uv_is_closing(&c->u.handle) && (nl = strchr(c->buf, '\n')) != NULL) {
		char line[2048];
		size_t sz = (size_t)(nl - c->buf);

		if (sz == 0 || c->buf[sz - 1] != '\r')
			fault(c->tor, "a line ends with CRLF", c->buf);
		memcpy(line, c->buf, sz);
		line[sz > 0 ? sz - 1 : 0] = '\0';
		for (const char *p = line; *p != '\0'; p++)
			if (!isprint((unsigned char)*p))
				fault(c->tor, "not printable", line);
		c->sz -= sz + 1;
		memmove(c->buf, nl + 1, c->sz + 1);
		command(c, line);
	}
}

static void on_connection(uv_stream_t *s, int status)
{
	struct fake_tor *f = s->data;
	struct conn *c = calloc(1, sizeof(*c));

	assert(status == 0);
	c->tor = f;
	f->conns++;
	f->open_conns++;
	if (f->server.handle.type == UV_NAMED_PIPE)
		uv_pipe_init(f->loop, &c->u.pipe, 0);
	else
		uv_tcp_init(f->loop, &c->u.tcp);
	c->u.handle.data = c;
	c->next = f->conn_list;
	f->conn_list = c;
	uv_accept(s, &c->u.stream);
	uv_read_start(&c->u.stream, on_alloc, on_read);
}

void fake_tor_start(struct fake_tor *f, uv_loop_t *loop, uint16_t port, const char *path)
{
	struct sockaddr_in addr;
	int sz = sizeof(addr);

	f->loop = loop;
	f->conn_list = NULL;
	if (path != NULL) {
		uv_pipe_init(loop, &f->server.pipe, 0);
		assert(uv_pipe_bind(&f->server.pipe, path) == 0);
	} else {
		uv_tcp_init(loop, &f->server.tcp);
		uv_ip4_addr("127.0.0.1", port, &addr);
		assert(uv_tcp_bind(&f->server.tcp, (struct sockaddr *)&addr, 0) == 0);
	}
	f->server.handle.data = f;
	assert(uv_listen(&f->server.stream, 16, on_connection) == 0);
	if (path == NULL) {
		uv_tcp_getsockname(&f->server.tcp, (struct sockaddr *)&addr, &sz);
		f->port = ntohs(addr.sin_port);
	}
}

void fake_tor_stop(struct fake_tor *f)
{
	while (f->conn_list != NULL)
		conn_close(f->conn_list);
	uv_close(&f->server.handle, NULL);
}
