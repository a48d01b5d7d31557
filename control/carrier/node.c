#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "carrier/carrier_priv.h"
#include "log/log.h"

#define PROBE_USABLE_MS 30000u
#define DELAY_FIRST_MS  1000u
#define DELAY_MAX_MS    30000u
#define DELAY_WARMUP_MS 5000u
#define BUSY_TRIES      5u
#define COOKIE_SZ_MAX   512u

static const char probe_body[] =
	"{\"jsonrpc\":\"1.0\",\"id\":\"vigil\",\"method\":\"getblockchaininfo\",\"params\":[]}";

/* --- credentials -------------------------------------------------------------------------------------------- */

/* The file is small and local; a FIFO or device in its place must not block us. */
static bool cookie_read(struct node *n, const char **why)
{
	char text[COOKIE_SZ_MAX + 1];
	struct stat st;
	ssize_t sz = -1;
	char *colon;
	int fd = open(n->cookie_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	*why = "cannot read the node's cookie file (is the node running?)";
	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		sz = read(fd, text, COOKIE_SZ_MAX);
	close(fd);
	if (sz <= 0)
		return false;
	text[sz] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	colon = strchr(text, ':');
	*why = "the node's cookie file does not hold user:password";
	if (colon == NULL)
		return false;
	free(n->cookie_user);
	free(n->cookie_password);
	n->cookie_user = strndup(text, (size_t)(colon - text));
	n->cookie_password = strdup(colon + 1);
	explicit_bzero(text, sizeof(text));
	return n->cookie_user != NULL && n->cookie_password != NULL;
}

static bool post(struct node *n, const char *body, size_t sz, http_done_fn done, void *arg)
{
	bool cookie = n->user == NULL;
	struct http_post p = {.url = n->url,
			      .user = cookie ? n->cookie_user : n->user,
			      .password = cookie ? n->cookie_password : n->password,
			      .body = body,
			      .body_sz = sz,
			      .timeout_ms = n->carrier->timeout_ms};

	n->info.requests_total++;
	return http_send(n->carrier->http, &p, done, arg);
}

/* --- state -------------------------------------------------------------------------------------------------- */

static void on_probe_time(uv_timer_t *t);

static void probe_later(struct node *n)
{
	uint32_t ms;

	if (n->state == CARRIER_USABLE) {
		n->delay_ms = 0;
		ms = PROBE_USABLE_MS;
	} else {
		n->delay_ms = n->delay_ms == 0 ? DELAY_FIRST_MS : n->delay_ms * 2;
		if (n->delay_ms > DELAY_MAX_MS)
			n->delay_ms = DELAY_MAX_MS;
		ms = n->delay_ms;
		if (n->state == CARRIER_WARMUP && ms > DELAY_WARMUP_MS)
			ms = DELAY_WARMUP_MS;
	}
	uv_timer_start(&n->probe, on_probe_time, ms, 0);
}

/* What waits for a node that is not usable is answered: the tower tries again, and is told when it may. */
static void queue_flush(struct node *n)
{
	struct carrier_verdict v = {.outcome = OUTCOME_NO_VERDICT};

	snprintf(v.text, sizeof(v.text), "%.159s", n->error);
	while (n->head != NULL) {
		struct job *j = n->head;

		n->head = j->next_at[n->idx];
		if (n->head == NULL)
			n->tail = &n->head;
		n->info.unanswered_total++;
		job_answered(j, n->carrier, &v);
		if (n->carrier->freed)
			return;
	}
}

static void node_set_state(struct node *n, enum carrier_node_state s, const char *error)
{
	bool news = s != n->state || strcmp(error, n->error) != 0;
	bool opened = s == CARRIER_USABLE && n->state != CARRIER_USABLE;

	n->state = s;
	snprintf(n->error, sizeof(n->error), "%s", error);
	if (opened)
		n->two_params = false; /* it may have been upgraded */
	if (opened)
		log_info("node_usable", "Node takes transactions", log_str("host", n->host),
			 log_u64("port", n->port), log_u64("blocks", n->info.blocks));
	else if (news && s == CARRIER_WRONG_CHAIN)
		log_error("node_wrong_chain", "Node is on another network and is not used",
			  log_str("host", n->host), log_u64("port", n->port), log_str("why", error));
	else if (news && s != CARRIER_USABLE)
		log_warn("node_unusable", "Node takes no transactions; trying again", log_str("host", n->host),
			 log_u64("port", n->port), log_str("state", carrier_node_state_name(s)),
			 log_str("why", error));
	if (s != CARRIER_USABLE) {
		queue_flush(n);
		return;
	}
	if (opened && n->carrier->hooks.way_open != NULL)
		n->carrier->hooks.way_open(n->carrier->arg);
	if (!n->carrier->freed)
		node_run(n);
}

static enum carrier_node_state state_after(enum carrier_outcome o)
{
	switch (o) {
	case OUTCOME_WARMUP:
		return CARRIER_WARMUP;
	case OUTCOME_AUTH:
	case OUTCOME_FORBIDDEN:
		return CARRIER_REFUSED;
	case OUTCOME_ACCEPTED:
	case OUTCOME_REFUSED:
	case OUTCOME_BUSY:
	case OUTCOME_PARAMS:
	case OUTCOME_NO_VERDICT:
		break;
	}
	return CARRIER_DOWN;
}

/* --- probe -------------------------------------------------------------------------------------------------- */

static void on_probe_done(void *arg, const struct http_reply *r)
{
	struct node *n = arg;
	struct carrier *c = n->carrier;
	struct carrier_chain_info info;
	struct carrier_verdict v;
	char text[192];

	n->probing = false;
	if (r->status == 0) {
		node_set_state(n, CARRIER_DOWN, r->error);
	} else {
		carrier_judge_chain(&v, &info, r->status, r->body, r->sz, c->network);
		if (v.outcome != OUTCOME_ACCEPTED) {
			snprintf(text, sizeof(text), "getblockchaininfo: %s", v.text);
			node_set_state(n, state_after(v.outcome), text);
		} else if (!info.right_chain) {
			snprintf(text, sizeof(text), "its chain is %s, ours is %s", info.chain,
				 c->network->rpc_chain);
			node_set_state(n, CARRIER_WRONG_CHAIN, text);
		} else {
			n->info.blocks = info.blocks;
			n->info.headers = info.headers;
			n->info.initial_download = info.initial_download;
			node_set_state(n, CARRIER_USABLE, "");
		}
	}
	if (!c->freed)
		probe_later(n);
}

void node_probe(struct node *n)
{
	const char *why;

	if (n->probing)
		return;
	if (n->user == NULL && !cookie_read(n, &why)) {
		node_set_state(n, CARRIER_REFUSED, why);
		if (!n->carrier->freed)
			probe_later(n);
		return;
	}
	n->probing = post(n, probe_body, sizeof(probe_body) - 1, on_probe_done, n);
	if (!n->probing)
		probe_later(n);
}

static void on_probe_time(uv_timer_t *t)
{
	node_probe(t->data);
}

/* A request found the node not usable: ask after the first delay when that is over. */
static void node_lost(struct node *n, enum carrier_node_state s, const char *error)
{
	bool was_usable = n->state == CARRIER_USABLE;

	node_set_state(n, s, error);
	if (was_usable && !n->carrier->freed && !n->probing)
		probe_later(n);
}

/* --- transactions ------------------------------------------------------------------------------------------- */

static void slot_send(struct slot *s);

static void slot_done(struct slot *s, const struct carrier_verdict *v)
{
	struct node *n = s->node;
	struct job *j = s->job;

	s->job = NULL;
	free(s->short_body);
	s->short_body = NULL;
	if (v->outcome == OUTCOME_ACCEPTED)
		n->info.accepted_total++;
	else if (v->outcome == OUTCOME_REFUSED)
		n->info.refused_total++;
	else
		n->info.unanswered_total++;
	job_answered(j, n->carrier, v);
}

static void on_again(uv_timer_t *t)
{
	slot_send(t->data);
}

/* The request with the parameters of an older node, which know no maxburnamount. */
static bool short_body_make(struct slot *s)
{
	const char *end = strrchr(s->job->body, ',');

	s->short_body = malloc((size_t)(end - s->job->body) + 3);
	if (s->short_body == NULL)
		return false;
	memcpy(s->short_body, s->job->body, (size_t)(end - s->job->body));
	memcpy(s->short_body + (end - s->job->body), "]}", 3);
	return true;
}

/* True: the request is to be repeated, and will be. */
static bool slot_repeats(struct slot *s, const struct carrier_verdict *v)
{
	struct node *n = s->node;
	const char *why;

	if (v->outcome == OUTCOME_BUSY && s->tries < BUSY_TRIES) {
		s->tries++;
		uv_timer_start(&s->again, on_again, 50 + carrier_jitter(n->carrier, 450), 0);
		return true;
	}
	if (v->outcome == OUTCOME_AUTH && n->user == NULL && !s->auth_retried) {
		s->auth_retried = true;
		if (!cookie_read(n, &why))
			return false;
		uv_timer_start(&s->again, on_again, 0, 0);
		return true;
	}
	if (v->outcome == OUTCOME_PARAMS && s->short_body == NULL) {
		n->two_params = true;
		uv_timer_start(&s->again, on_again, 0, 0);
		return true;
	}
	return false;
}

static void on_slot_done(void *arg, const struct http_reply *r)
{
	struct slot *s = arg;
	struct node *n = s->node;
	struct carrier *c = n->carrier;
	struct carrier_verdict v = {.outcome = OUTCOME_NO_VERDICT};
	enum carrier_node_state lost = CARRIER_USABLE;

	if (r->status == 0)
		snprintf(v.text, sizeof(v.text), "%s", r->error);
	else
		carrier_judge(&v, r->status, r->body, r->sz, &s->job->txid);
	if (r->status != 0 && slot_repeats(s, &v))
		return;
	if (r->status == 0)
		lost = CARRIER_DOWN;
	else if (v.outcome == OUTCOME_WARMUP || v.outcome == OUTCOME_AUTH || v.outcome == OUTCOME_FORBIDDEN)
		lost = state_after(v.outcome);
	else if (v.outcome == OUTCOME_NO_VERDICT || v.outcome == OUTCOME_PARAMS)
		log_warn("node_strange", "Node gave no verdict on a penalty; it will be tried again",
			 log_str("host", n->host), log_u64("port", n->port), log_hash("txid", s->job->txid.b),
			 log_i64("code", v.code), log_str("why", v.text));
	slot_done(s, &v);
	if (!c->freed && lost != CARRIER_USABLE)
		node_lost(n, lost, v.text);
	if (!c->freed)
		node_run(n);
}

static void slot_send(struct slot *s)
{
	static const struct carrier_verdict no_memory = {.outcome = OUTCOME_NO_VERDICT,
							 .text = "out of memory"};
	struct node *n = s->node;
	const char *body = s->job->body;

	if (n->two_params && s->short_body == NULL && !short_body_make(s)) {
		slot_done(s, &no_memory);
		return;
	}
	if (s->short_body != NULL)
		body = s->short_body;
	if (!post(n, body, strlen(body), on_slot_done, s))
		slot_done(s, &no_memory);
}

bool node_may_queue(const struct node *n)
{
	/* Unknown: the first probe is under way and decides for what waits. */
	return n->state == CARRIER_USABLE || n->state == CARRIER_UNKNOWN;
}

void node_queue(struct node *n, struct job *j)
{
	j->next_at[n->idx] = NULL;
	*n->tail = j;
	n->tail = &j->next_at[n->idx];
}

void node_run(struct node *n)
{
	for (unsigned i = 0; i < n->carrier->concurrency && n->state == CARRIER_USABLE; i++) {
		struct slot *s = &n->slot[i];

		if (n->head == NULL)
			return;
		if (s->job != NULL)
			continue;
		s->job = n->head;
		n->head = s->job->next_at[n->idx];
		if (n->head == NULL)
			n->tail = &n->head;
		s->tries = 0;
		s->auth_retried = false;
		/* From the loop's next turn: carrier_submit may not answer, and the request could fail at once. */
		uv_timer_start(&s->again, on_again, 0, 0);
	}
}

/* --- lifetime ----------------------------------------------------------------------------------------------- */

static bool host_is_valid(const char *host)
{
	static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				 "-._:[]";
	size_t sz = strlen(host);

	return sz > 0 && sz < 256 && strspn(host, ok) == sz;
}

bool node_init(struct node *n, struct carrier *c, unsigned idx, const struct carrier_node *cfg,
	       const char **why)
{
	bool bare_v6 = strchr(cfg->host, ':') != NULL && cfg->host[0] != '[';

	n->carrier = c;
	n->idx = idx;
	n->tail = &n->head;
	n->port = cfg->port != 0 ? cfg->port : c->network->rpc_port;
	if (!host_is_valid(cfg->host)) {
		*why = "a node's host is not a name or an address";
		return false;
	}
	if ((cfg->user == NULL || cfg->password == NULL) && cfg->cookie_path == NULL) {
		*why = "a node has neither user and password nor a cookie file";
		return false;
	}
	*why = "out of memory";
	if (asprintf(&n->url, bare_v6 ? "http://[%s]:%u/" : "http://%s:%u/", cfg->host, n->port) < 0) {
		n->url = NULL;
		return false;
	}
	n->host = strdup(cfg->host);
	if (cfg->user != NULL && cfg->password != NULL) {
		n->user = strdup(cfg->user);
		n->password = strdup(cfg->password);
		return n->host != NULL && n->user != NULL && n->password != NULL;
	}
	n->cookie_path = strdup(cfg->cookie_path);
	return n->host != NULL && n->cookie_path != NULL;
}

void node_free_texts(struct node *n)
{
	free(n->host);
	free(n->url);
	free(n->user);
	free(n->password);
	free(n->cookie_path);
	free(n->cookie_user);
	free(n->cookie_password);
}

static void timer_init(struct carrier *c, uv_timer_t *t, void *data)
{
	uv_timer_init(c->loop, t);
	t->data = data;
	c->handles++;
}

void node_open(struct node *n)
{
	timer_init(n->carrier, &n->probe, n);
	for (unsigned i = 0; i < n->carrier->concurrency; i++) {
		n->slot[i].node = n;
		timer_init(n->carrier, &n->slot[i].again, &n->slot[i]);
	}
}

void node_close(struct node *n)
{
	n->probe.data = n->carrier;
	uv_close((uv_handle_t *)&n->probe, carrier_handle_closed);
	for (unsigned i = 0; i < n->carrier->concurrency; i++) {
		struct slot *s = &n->slot[i];

		free(s->short_body);
		s->again.data = n->carrier;
		uv_close((uv_handle_t *)&s->again, carrier_handle_closed);
	}
}
