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
/* For a node that answers the probe and then will not take a penalty. */
#define DELAY_SUSPECT_MAX_MS 300000u
#define COOKIE_SZ_MAX        512u

static const char probe_body[] =
	"{\"jsonrpc\":\"1.0\",\"id\":\"vigil\",\"method\":\"getblockchaininfo\",\"params\":[]}";
static const char genesis_body[] =
	"{\"jsonrpc\":\"1.0\",\"id\":\"vigil\",\"method\":\"getblockhash\",\"params\":[0]}";

/* --- credentials -------------------------------------------------------------------------------------------- */

/* The file is small and local; a FIFO or device in its place must not block us. */
bool node_cookie_read(struct node *n, const char **why)
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

bool node_post(struct node *n, const char *body, size_t sz, http_done_fn done, void *arg)
{
	bool cookie = n->user == NULL;
	struct http_post p = {.url = n->url,
			      .user = cookie ? n->cookie_user : n->user,
			      .password = cookie ? n->cookie_password : n->password,
			      .certificate = n->certificate,
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
	uint32_t ms, most = n->suspect ? DELAY_SUSPECT_MAX_MS : DELAY_MAX_MS;

	if (n->state == CARRIER_USABLE) {
		if (!n->suspect)
			n->delay_ms = 0;
		ms = PROBE_USABLE_MS;
	} else {
		n->delay_ms = n->delay_ms == 0 ? DELAY_FIRST_MS : n->delay_ms * 2;
		if (n->delay_ms > most)
			n->delay_ms = most;
		ms = n->delay_ms;
		if (n->state == CARRIER_WARMUP && ms > DELAY_WARMUP_MS)
			ms = DELAY_WARMUP_MS;
	}
	uv_timer_start(&n->probe, on_probe_time, ms, 0);
}

/* Looked at with every answer, so an alarm may come as late as the delay to the next probe. */
static void tell_news(struct node *n)
{
	struct carrier *c = n->carrier;
	struct carrier_node_info info;
	uint64_t now = uv_now(c->loop);
	bool usable = n->state == CARRIER_USABLE;

	if (usable) {
		n->lost_at = now;
		if (!n->alarmed)
			return;
	} else {
		if (n->alarmed || now - n->lost_at < c->alarm_ms)
			return;
		log_error("node_lost", "Node has taken no transactions for a while", log_str("host", n->host),
			  log_u64("port", n->port), log_u64("seconds", (now - n->lost_at) / 1000),
			  log_str("state", carrier_node_state_name(n->state)), log_str("why", n->error));
	}
	n->alarmed = !usable;
	carrier_node_info_get(c, n->idx, &info);
	if (c->hooks.node_news != NULL)
		c->hooks.node_news(c->arg, &info, usable);
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
	else if (news && s == CARRIER_SICK)
		log_error("node_sick", "Node has an internal error and takes no transactions",
			  log_str("host", n->host), log_u64("port", n->port), log_str("why", error));
	else if (news && s != CARRIER_USABLE)
		log_warn("node_unusable", "Node takes no transactions; trying again", log_str("host", n->host),
			 log_u64("port", n->port), log_str("state", carrier_node_state_name(s)),
			 log_str("why", error));
	tell_news(n);
	if (s != CARRIER_USABLE) {
		n->limited = false;
		node_flush(n);
		return;
	}
	if (opened && n->carrier->hooks.way_open != NULL)
		n->carrier->hooks.way_open(n->carrier->arg);
	if (!n->carrier->freed)
		node_run(n);
}

enum carrier_node_state node_state_after(enum carrier_outcome o)
{
	switch (o) {
	case OUTCOME_WARMUP:
		return CARRIER_WARMUP;
	case OUTCOME_AUTH:
	case OUTCOME_FORBIDDEN:
	case OUTCOME_NO_METHOD:
		return CARRIER_REFUSED;
	case OUTCOME_SICK:
		return CARRIER_SICK;
	case OUTCOME_ACCEPTED:
	case OUTCOME_REFUSED:
	case OUTCOME_BUSY:
	case OUTCOME_STOPPING:
	case OUTCOME_PARAMS:
	case OUTCOME_MALFORMED:
	case OUTCOME_NOT_READY:
	case OUTCOME_NO_VERDICT:
		break;
	}
	return CARRIER_DOWN;
}

/* --- probe -------------------------------------------------------------------------------------------------- */

/* Blocks come by P2P, from any peer that has them, so a pruned node is as good as another for penalties.  Only if nobody
   else has what the tower still has to scan would it wait for ever: then say so, once. */
static void look_at_pruning(struct node *n, const struct carrier_chain_info *info)
{
	struct carrier *c = n->carrier;
	uint32_t need;
	bool lacks = info->pruned && c->hooks.next_height != NULL && c->hooks.next_height(c->arg, &need) &&
		     info->prune_height > need;

	if (lacks && !n->info.lacks_blocks)
		log_warn(
			"node_pruned",
			"Node has thrown away blocks that are still to be scanned: they must come from another "
			"peer",
			log_str("host", n->host), log_u64("port", n->port),
			log_u64("prune_height", info->prune_height), log_u64("next_height", need));
	n->info.lacks_blocks = lacks;
}

static void take_chain(struct node *n, const struct carrier_chain_info *info)
{
	n->info.blocks = info->blocks;
	n->info.headers = info->headers;
	n->info.best = info->best;
	n->info.initial_download = info->initial_download;
	n->info.pruned = info->pruned;
	n->info.prune_height = info->prune_height;
	snprintf(n->warning, sizeof(n->warning), "%s", info->warning);
	look_at_pruning(n, info);
}

static void on_genesis(void *arg, const struct http_reply *r)
{
	struct node *n = arg;
	struct carrier *c = n->carrier;
	struct carrier_verdict v;
	bool right_chain;
	char text[192];

	n->probing = false;
	if (r->status == 0) {
		node_set_state(n, CARRIER_DOWN, r->error);
	} else {
		carrier_judge_genesis(&v, &right_chain, r->status, r->body, r->sz, c->network);
		if (v.outcome != OUTCOME_ACCEPTED) {
			snprintf(text, sizeof(text), "getblockhash: %s", v.text);
			node_set_state(n, node_state_after(v.outcome), text);
		} else if (!right_chain) {
			node_set_state(n, CARRIER_WRONG_CHAIN, "its genesis block is not ours");
		} else {
			n->limited = true;
			node_set_state(n, CARRIER_USABLE, "");
		}
	}
	if (!c->freed)
		probe_later(n);
}

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
		/* A user who may send, but not look around (btcd: rpclimituser; bitcoind: rpcwhitelist). */
		if (v.outcome == OUTCOME_FORBIDDEN)
			n->probing = node_post(n, genesis_body, sizeof(genesis_body) - 1, on_genesis, n);
		if (n->probing)
			return;
		if (v.outcome != OUTCOME_ACCEPTED) {
			snprintf(text, sizeof(text), "getblockchaininfo: %s", v.text);
			node_set_state(n, node_state_after(v.outcome), text);
		} else if (!info.right_chain) {
			snprintf(text, sizeof(text), "its chain is %s, ours is %s", info.chain,
				 c->network->rpc_chain);
			node_set_state(n, CARRIER_WRONG_CHAIN, text);
		} else {
			take_chain(n, &info);
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
	if (n->user == NULL && !node_cookie_read(n, &why)) {
		node_set_state(n, CARRIER_REFUSED, why);
		if (!n->carrier->freed)
			probe_later(n);
		return;
	}
	if (n->limited) /* each attempt would be an error in its log */
		n->probing = node_post(n, genesis_body, sizeof(genesis_body) - 1, on_genesis, n);
	else
		n->probing = node_post(n, probe_body, sizeof(probe_body) - 1, on_probe_done, n);
	if (!n->probing)
		probe_later(n);
}

static void on_probe_time(uv_timer_t *t)
{
	node_probe(t->data);
}

void node_proven(struct node *n)
{
	n->suspect = false;
}

void node_lost(struct node *n, enum carrier_node_state s, const char *error)
{
	bool was_usable = n->state == CARRIER_USABLE;

	/* The probe will say that all is well: without growing delays each round would send everything again. */
	n->suspect |= s == CARRIER_REFUSED || s == CARRIER_SICK;
	node_set_state(n, s, error);
	if (was_usable && !n->carrier->freed && !n->probing)
		probe_later(n);
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
	if (asprintf(&n->url, "http%s://%s%s%s:%u/", cfg->tls ? "s" : "", bare_v6 ? "[" : "", cfg->host,
		     bare_v6 ? "]" : "", n->port) < 0) {
		n->url = NULL;
		return false;
	}
	if (cfg->certificate != NULL && (n->certificate = strdup(cfg->certificate)) == NULL)
		return false;
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
	free(n->certificate);
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
	n->lost_at = uv_now(n->carrier->loop);
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

		free(s->body);
		s->again.data = n->carrier;
		uv_close((uv_handle_t *)&s->again, carrier_handle_closed);
	}
}
