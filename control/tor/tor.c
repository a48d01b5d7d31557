#include "tor/tor.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "log/log.h"
#include "tor/reply.h"

#define TIMEOUT_MS  30000u
#define DELAY_MS    1000u
#define DELAY_MAX   60000u
#define COMMAND_MAX 1024u
#define KEEPALIVE_S 60u

/* What the next reply answers. */
enum step { STEP_INFO, STEP_CHALLENGE, STEP_AUTHENTICATE, STEP_ADD, STEP_IDLE };

struct tor {
	uv_loop_t *loop;
	struct sockaddr_storage addr;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": addr */
	char control[128], password[256], cookie_path[1024];
	char target[80];
	struct onion_key key;
	uint8_t cookie[TOR_COOKIE_SZ], nonce[TOR_NONCE_SZ];
	struct tor_info info;
	unsigned timeout_ms, retry_ms, delay_ms;

	struct link *link; /* the connection, or NULL */
	uv_timer_t timer;  /* the step's limit, or the wait for the next attempt */
	bool freed;
};

/* A connection has a life of its own: a new one may begin while the old one still closes. */
struct link {
	struct tor *t; /* NULL: given up */
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} u;
	uv_connect_t connect;
	enum step step;
	struct tor_reader reader;
	char in[4096];
};

struct command {
	uv_write_t w;
	char text[COMMAND_MAX];
};

/* --- connection ------------------------------------------------------------------------------------------------- */

static void connect_now(struct tor *t);

static void on_timer(uv_timer_t *timer);

static void on_link_closed(uv_handle_t *h)
{
	free(h->data);
}

static void link_close(struct link *l)
{
	l->t = NULL;
	if (!uv_is_closing(&l->u.handle))
		uv_close(&l->u.handle, on_link_closed);
}

/* Ends the attempt or the service, and plans the next one. */
static void lost(struct tor *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void lost(struct tor *t, const char *format, ...)
{
	char text[sizeof(t->info.error)];
	bool was_up = t->info.state == TOR_UP;
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (t->link != NULL)
		link_close(t->link);
	t->link = NULL;
	if (was_up) {
		t->info.losses_total++;
		t->delay_ms = 0;
	}
	if (was_up || strcmp(text, t->info.error) != 0)
		log_warn("tor_down",
			 was_up ? "The onion service is lost; trying again"
				: "The onion service cannot be set up; trying again",
			 log_str("control", t->control), log_str("why", text));
	snprintf(t->info.error, sizeof(t->info.error), "%s", text);
	t->info.state = TOR_DOWN;
	t->delay_ms = t->delay_ms == 0 ? t->retry_ms : t->delay_ms * 2;
	if (t->delay_ms > DELAY_MAX)
		t->delay_ms = DELAY_MAX;
	uv_timer_start(&t->timer, on_timer, t->delay_ms - randombytes_uniform(t->delay_ms / 4 + 1), 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct tor *t = timer->data;

	if (t->info.state == TOR_DOWN)
		connect_now(t);
	else
		lost(t, "no answer in time while %s", tor_state_name(t->info.state));
}

static void on_written(uv_write_t *w, int status)
{
	struct link *l = w->handle->data;
	struct tor *t = l->t;

	sodium_memzero(((struct command *)(void *)w)->text, COMMAND_MAX);
	free(w);
	if (status < 0 && status != UV_ECANCELED && t != NULL)
		lost(t, "cannot write: %s", uv_strerror(status));
}

/* One line; its end is added.  step says what the reply will be about. */
static void say(struct tor *t, enum step step, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(struct tor *t, enum step step, const char *format, ...)
{
	struct command *c = calloc(1, sizeof(*c));
	uv_buf_t buf;
	va_list ap;
	int sz;

	if (c == NULL) {
		lost(t, "out of memory");
		return;
	}
	va_start(ap, format);
	sz = vsnprintf(c->text, sizeof(c->text) - 2, format, ap);
	va_end(ap);
	if (sz < 0 || (size_t)sz >= sizeof(c->text) - 2) {
		free(c);
		lost(t, "a command is too long");
		return;
	}
	memcpy(c->text + sz, "\r\n", 2);
	buf = uv_buf_init(c->text, (unsigned)sz + 2);
	t->link->step = step;
	if (uv_write(&c->w, &t->link->u.stream, &buf, 1, on_written) != 0) {
		free(c);
		lost(t, "cannot write");
		return;
	}
	uv_timer_start(&t->timer, on_timer, t->timeout_ms, 0);
}

/* --- the conversation --------------------------------------------------------------------------------------------- */

/* Backslash and quote are escaped; the configuration holds nothing else that would need it. */
static void say_password(struct tor *t)
{
	char quoted[2 * sizeof(t->password) + 1], *p = quoted;

	for (const char *s = t->password; *s != '\0'; s++) {
		if (*s == '"' || *s == '\\')
			*p++ = '\\';
		*p++ = *s;
	}
	*p = '\0';
	say(t, STEP_AUTHENTICATE, "AUTHENTICATE \"%s\"", quoted);
	sodium_memzero(quoted, sizeof(quoted));
}

static void say_challenge(struct tor *t)
{
	char hex[2 * TOR_NONCE_SZ + 1];

	randombytes_buf(t->nonce, sizeof(t->nonce));
	sodium_bin2hex(hex, sizeof(hex), t->nonce, sizeof(t->nonce));
	say(t, STEP_CHALLENGE, "AUTHCHALLENGE SAFECOOKIE %s", hex);
}

static void got_info(struct tor *t, const struct tor_reply *r)
{
	char methods[256] = "", path[sizeof(t->cookie_path)] = "";

	for (unsigned i = 0; i < r->cnt; i++)
		if (strncmp(r->line[i], "AUTH ", 5) == 0) {
			tor_value(r->line[i] + 5, "METHODS", methods, sizeof(methods));
			tor_value(r->line[i] + 5, "COOKIEFILE", path, sizeof(path));
		}
	t->info.state = TOR_AUTHENTICATING;
	if (t->cookie_path[0] != '\0')
		snprintf(path, sizeof(path), "%s", t->cookie_path);
	if (t->password[0] != '\0' && tor_listed(methods, "HASHEDPASSWORD"))
		say_password(t);
	else if (tor_listed(methods, "SAFECOOKIE") && tor_cookie_read(t->cookie, path))
		say_challenge(t);
	else if (tor_listed(methods, "NULL"))
		say(t, STEP_AUTHENTICATE, "AUTHENTICATE");
	else if (tor_listed(methods, "SAFECOOKIE"))
		lost(t, "cannot read Tor's cookie file %.90s (group of its owner?)", path);
	else if (tor_listed(methods, "HASHEDPASSWORD"))
		lost(t, "Tor asks for a password: set tor.password");
	else
		lost(t, "Tor offers no way to prove who we are: \"%.60s\"", methods);
}

static void got_challenge(struct tor *t, const struct tor_reply *r)
{
	char hash_hex[2 * TOR_PROOF_SZ + 1], nonce_hex[2 * TOR_NONCE_SZ + 1];
	uint8_t hash[TOR_PROOF_SZ], nonce[TOR_NONCE_SZ], proof[TOR_PROOF_SZ];
	size_t hash_sz = 0, nonce_sz = 0;

	if (strncmp(r->line[0], "AUTHCHALLENGE ", 14) != 0 ||
	    !tor_value(r->line[0] + 14, "SERVERHASH", hash_hex, sizeof(hash_hex)) ||
	    !tor_value(r->line[0] + 14, "SERVERNONCE", nonce_hex, sizeof(nonce_hex)) ||
	    sodium_hex2bin(hash, sizeof(hash), hash_hex, strlen(hash_hex), NULL, &hash_sz, NULL) != 0 ||
	    sodium_hex2bin(nonce, sizeof(nonce), nonce_hex, strlen(nonce_hex), NULL, &nonce_sz, NULL) != 0 ||
	    hash_sz != sizeof(hash) || nonce_sz != sizeof(nonce)) {
		lost(t, "the answer to AUTHCHALLENGE is not one");
		return;
	}
	tor_proof(proof, true, t->cookie, t->nonce, nonce);
	if (sodium_memcmp(proof, hash, sizeof(hash)) != 0) {
		lost(t, "what listens at the control port does not know Tor's cookie");
		return;
	}
	tor_proof(proof, false, t->cookie, t->nonce, nonce);
	sodium_bin2hex(hash_hex, sizeof(hash_hex), proof, sizeof(proof));
	say(t, STEP_AUTHENTICATE, "AUTHENTICATE %s", hash_hex);
}

static void say_add(struct tor *t)
{
	char key[sodium_base64_ENCODED_LEN(ONION_KEY_SZ, sodium_base64_VARIANT_ORIGINAL)];

	sodium_bin2base64(key, sizeof(key), t->key.b, ONION_KEY_SZ, sodium_base64_VARIANT_ORIGINAL);
	t->info.state = TOR_ADDING;
	say(t, STEP_ADD, "ADD_ONION ED25519-V3:%s Port=%u,%s", key, t->info.port, t->target);
	sodium_memzero(key, sizeof(key));
}

static void got_service(struct tor *t, const struct tor_reply *r)
{
	char id[ONION_ADDRESS_SZ] = "";

	for (unsigned i = 0; i < r->cnt; i++)
		tor_value(r->line[i], "ServiceID", id, sizeof(id));
	if (strlen(id) != ONION_ADDRESS_SZ - 1 || strncmp(id, t->info.address, ONION_ADDRESS_SZ - 1) != 0) {
		lost(t, "Tor names another service than ours: \"%.60s\"", id);
		return;
	}
	uv_timer_stop(&t->timer);
	t->info.state = TOR_UP;
	t->info.error[0] = '\0';
	t->info.ups_total++;
	t->delay_ms = 0;
	t->link->step = STEP_IDLE;
	log_info("tor_up", "Onion service is set up", log_str("address", t->info.address),
		 log_u64("port", t->info.port), log_str("target", t->target));
}

static void got(struct tor *t, const struct tor_reply *r)
{
	static const char *const what[] = {[STEP_INFO] = "PROTOCOLINFO",
					   [STEP_CHALLENGE] = "AUTHCHALLENGE",
					   [STEP_AUTHENTICATE] = "AUTHENTICATE",
					   [STEP_ADD] = "ADD_ONION"};
	enum step step = t->link->step;

	/* Events, of which we have asked for none. */
	if (r->status / 100 == 6 || step == STEP_IDLE)
		return;
	if (r->status != 250) {
		lost(t, "%s: %d %.100s", what[step], r->status, r->line[r->cnt - 1]);
		return;
	}
	switch (step) {
	case STEP_INFO:
		got_info(t, r);
		break;
	case STEP_CHALLENGE:
		got_challenge(t, r);
		break;
	case STEP_AUTHENTICATE:
		say_add(t);
		break;
	case STEP_ADD:
		got_service(t, r);
		break;
	case STEP_IDLE:
		break;
	}
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	struct link *l = h->data;

	(void)hint;
	*buf = uv_buf_init(l->in, sizeof(l->in));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct link *l = s->data;
	struct tor_reply r;
	enum tor_cut cut;

	if (l->t == NULL || n == 0)
		return;
	if (n < 0) {
		lost(l->t, "the control connection ended: %s", uv_strerror((int)n));
		return;
	}
	if (!tor_reader_put(&l->reader, buf->base, (size_t)n)) {
		lost(l->t, "a reply is too long");
		return;
	}
	while (l->t != NULL && (cut = tor_reader_next(&l->reader, &r)) != TOR_MORE) {
		if (cut == TOR_BAD)
			lost(l->t, "what listens there does not speak Tor's control protocol");
		else
			got(l->t, &r);
	}
}

static void on_connected(uv_connect_t *c, int status)
{
	struct link *l = c->handle->data;
	struct tor *t = l->t;

	if (t == NULL)
		return;
	if (status < 0) {
		lost(t, "cannot connect: %s", uv_strerror(status));
		return;
	}
	/* The connection is silent while all is well. */
	if (t->path[0] == '\0')
		uv_tcp_keepalive(&l->u.tcp, 1, KEEPALIVE_S);
	uv_read_start(&l->u.stream, on_alloc, on_read);
	say(t, STEP_INFO, "PROTOCOLINFO 1");
}

static void connect_now(struct tor *t)
{
	struct link *l = calloc(1, sizeof(*l));
	int rc = UV_ENOMEM;

	if (l == NULL) {
		lost(t, "out of memory");
		return;
	}
	l->t = t;
	t->info.state = TOR_CONNECTING;
	if (t->path[0] != '\0') {
		rc = uv_pipe_init(t->loop, &l->u.pipe, 0);
		l->u.handle.data = l;
		t->link = l;
		if (rc == 0)
			uv_pipe_connect(&l->connect, &l->u.pipe, t->path, on_connected);
	} else {
		rc = uv_tcp_init(t->loop, &l->u.tcp);
		l->u.handle.data = l;
		t->link = l;
		if (rc == 0)
			rc = uv_tcp_connect(&l->connect, &l->u.tcp, (struct sockaddr *)&t->addr, on_connected);
	}
	if (rc != 0)
		lost(t, "cannot connect: %s", uv_strerror(rc));
	else
		uv_timer_start(&t->timer, on_timer, t->timeout_ms, 0);
}

/* --- lifetime ------------------------------------------------------------------------------------------------------ */

/* address:port or [address]:port. */
static bool parse_control(struct tor *t, const char *text)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	size_t sz = colon != NULL ? (size_t)(colon - text) : 0;
	char *end = NULL;
	unsigned long port;

	if (text[0] == '/') {
		if (strlen(text) >= sizeof(t->path))
			return false;
		memcpy(t->path, text, strlen(text) + 1);
		return true;
	}
	if (sz == 0 || sz >= sizeof(host))
		return false;
	memcpy(host, text, sz);
	host[sz] = '\0';
	port = strtoul(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port == 0 || port > UINT16_MAX)
		return false;
	if (host[0] == '[' && host[sz - 1] == ']') {
		host[sz - 1] = '\0';
		return uv_ip6_addr(host + 1, (int)port, (struct sockaddr_in6 *)&t->addr) == 0;
	}
	return uv_ip4_addr(host, (int)port, (struct sockaddr_in *)&t->addr) == 0;
}

static void set_target(struct tor *t, const char *host, uint16_t port)
{
	if (strcmp(host, "0.0.0.0") == 0)
		host = "127.0.0.1";
	if (strcmp(host, "::") == 0)
		host = "::1";
	snprintf(t->target, sizeof(t->target), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

struct tor *tor_new(const struct tor_config *cfg, uv_loop_t *loop, const char **why)
{
	struct tor *t = calloc(1, sizeof(*t));
	char address[ONION_ADDRESS_SZ];

	*why = "out of memory";
	if (t == NULL)
		return NULL;
	t->loop = loop;
	t->timeout_ms = cfg->timeout_ms != 0 ? cfg->timeout_ms : TIMEOUT_MS;
	t->retry_ms = cfg->retry_ms != 0 ? cfg->retry_ms : DELAY_MS;
	t->info.port = cfg->onion_port;
	snprintf(t->control, sizeof(t->control), "%s", cfg->control);
	set_target(t, cfg->target_host, cfg->target_port);
	*why = "tor.control is neither address:port nor the path of a Unix socket";
	if (!parse_control(t, cfg->control))
		goto fail;
	*why = "tor.password or tor.cookie-file is too long";
	if ((size_t)snprintf(t->password, sizeof(t->password), "%s", cfg->password) >= sizeof(t->password) ||
	    (size_t)snprintf(t->cookie_path, sizeof(t->cookie_path), "%s", cfg->cookie) >=
		    sizeof(t->cookie_path))
		goto fail;
	if (onion_key_open(&t->key, cfg->key_file, why) < 0)
		goto fail;
	*why = "the onion key cannot be used";
	if (!onion_address(address, &t->key))
		goto fail;
	snprintf(t->info.address, sizeof(t->info.address), "%s.onion", address);
	uv_timer_init(loop, &t->timer);
	t->timer.data = t;
	return t;
fail:
	sodium_memzero(t, sizeof(*t));
	free(t);
	return NULL;
}

void tor_start(struct tor *t)
{
	connect_now(t);
}

static void on_timer_closed(uv_handle_t *h)
{
	struct tor *t = h->data;

	sodium_memzero(t, sizeof(*t));
	free(t);
}

static void on_farewell(uv_write_t *w, int status)
{
	struct link *l = w->handle->data;

	(void)status;
	free(w);
	link_close(l);
}

/* Tor would take the service down with the connection; asked, it does so before our socket's end has come through. */
static void farewell(struct tor *t)
{
	struct command *c = calloc(1, sizeof(*c));
	struct link *l = t->link;
	uv_buf_t buf;
	int sz;

	t->link = NULL;
	l->t = NULL;
	uv_read_stop(&l->u.stream);
	if (c == NULL) {
		link_close(l);
		return;
	}
	sz = snprintf(c->text, sizeof(c->text), "DEL_ONION %.56s\r\nQUIT\r\n", t->info.address);
	buf = uv_buf_init(c->text, (unsigned)sz);
	if (uv_write(&c->w, &l->u.stream, &buf, 1, on_farewell) != 0) {
		free(c);
		link_close(l);
	}
}

void tor_free(struct tor *t)
{
	if (t == NULL || t->freed)
		return;
	t->freed = true;
	if (t->link != NULL && t->info.state == TOR_UP)
		farewell(t);
	else if (t->link != NULL)
		link_close(t->link);
	t->link = NULL;
	uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}

const struct tor_info *tor_info_of(const struct tor *t)
{
	return &t->info;
}
