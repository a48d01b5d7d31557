#include "carrier/carrier.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "carrier/carrier_priv.h"
#include "log/log.h"

#define TIMEOUT_MS  30000u
#define ALARM_MS    60000u
#define CONCURRENCY 4u

const char *carrier_node_state_name(enum carrier_node_state s)
{
	switch (s) {
	case CARRIER_UNKNOWN:
		return "unknown";
	case CARRIER_USABLE:
		return "usable";
	case CARRIER_DOWN:
		return "down";
	case CARRIER_WARMUP:
		return "warming up";
	case CARRIER_REFUSED:
		return "refused";
	case CARRIER_WRONG_CHAIN:
		return "wrong chain";
	case CARRIER_SICK:
		return "sick";
	}
	return "unknown";
}

/* xorshift; only spreads retries. */
uint32_t carrier_jitter(struct carrier *c, uint32_t below)
{
	c->jitter ^= c->jitter << 13;
	c->jitter ^= c->jitter >> 7;
	c->jitter ^= c->jitter << 17;
	return (uint32_t)(c->jitter % below);
}

/* --- jobs --------------------------------------------------------------------------------------------------- */

static int job_cmp(const void *a, const void *b)
{
	const struct job *x = a, *y = b;

	return memcmp(x->txid.b, y->txid.b, HASH_SZ);
}

static struct job *job_find(struct carrier *c, const struct hash256 *txid)
{
	struct job key = {.txid = *txid}, **at = tfind(&key, &c->job_tree, job_cmp);

	return at == NULL ? NULL : *at;
}

static void job_free(struct carrier *c, struct job *j)
{
	tdelete(j, &c->job_tree, job_cmp);
	*j->link = j->next;
	if (j->next != NULL)
		j->next->link = j->link;
	else
		c->jobs_tail = j->link;
	c->job_cnt--;
	c->job_bytes -= j->body_sz;
	free(j->body);
	free(j);
}

/* maxfeerate 0 is no limit: a penalty may burn a channel into fees.  maxburnamount is all there can be, so an
   OP_RETURN with value does not stop it (section 17.3). */
static bool body_make(struct job *j, const uint8_t *raw, size_t sz)
{
	static const char head[] = "{\"jsonrpc\":\"1.0\",\"id\":\"vigil\","
				   "\"method\":\"sendrawtransaction\",\"params\":[\"";
	static const char tail[] = "\",0,21000000]}";

	j->body_sz = sizeof(head) - 1 + 2 * sz + sizeof(tail) - 1;
	j->hex_off = sizeof(head) - 1;
	j->raw_sz = sz;
	j->body = malloc(j->body_sz + 1);
	if (j->body == NULL)
		return false;
	memcpy(j->body, head, sizeof(head) - 1);
	hex_encode(j->body + j->hex_off, raw, sz);
	memcpy(j->body + j->hex_off + 2 * sz, tail, sizeof(tail));
	return true;
}

static struct job *job_new(struct carrier *c, const struct hash256 *txid, const uint8_t *raw, size_t sz)
{
	struct job *j;

	if (c->job_cnt >= CARRIER_JOB_MAX || sz > BLOCK_SZ_MAX || c->job_bytes + 2 * sz > CARRIER_BYTES_MAX)
		return NULL;
	j = calloc(1, sizeof(*j));
	if (j == NULL)
		return NULL;
	if (!body_make(j, raw, sz)) {
		free(j);
		return NULL;
	}
	j->txid = *txid;
	if (tsearch(j, &c->job_tree, job_cmp) == NULL) {
		free(j->body);
		free(j);
		return NULL;
	}
	j->owed = true;
	j->link = c->jobs_tail;
	*c->jobs_tail = j;
	c->jobs_tail = &j->next;
	c->job_cnt++;
	c->job_bytes += j->body_sz;
	return j;
}

/* Invalid only when nobody who judged it says anything milder: one node may be wrong. */
static unsigned rank(const struct carrier_verdict *v)
{
	if (v->outcome == OUTCOME_ACCEPTED)
		return 3;
	if (v->outcome != OUTCOME_REFUSED)
		return 0;
	return v->reason == REASON_INVALID || v->reason == REASON_UNDECODABLE ? 1 : 2;
}

static void answer(struct carrier *c, const struct hash256 *txid, const struct carrier_verdict *v)
{
	struct node_answer a = {.verdict = NODE_UNREACHABLE,
				.at_ns = uv_hrtime(),
				.code = v->code,
				.text = v->text,
				.reason = v->reason};

	if (v->outcome == OUTCOME_ACCEPTED)
		a.verdict = NODE_ACCEPTED;
	else if (v->outcome == OUTCOME_REFUSED)
		a.verdict = NODE_REFUSED;
	c->hooks.answer(c->arg, txid, &a);
}

void job_answered(struct job *j, struct carrier *c, const struct carrier_verdict *v)
{
	struct carrier_verdict best;
	struct hash256 txid = j->txid;
	bool say, over;

	if (!j->judged || rank(v) > rank(&j->best))
		j->best = *v;
	j->judged = true;
	j->open--;
	over = j->open == 0;
	say = j->owed && (over || j->best.outcome == OUTCOME_ACCEPTED);
	best = j->best;
	if (say)
		j->owed = false;
	if (over)
		job_free(c, j);
	if (say)
		answer(c, &txid, &best);
}

/* --- answers that carrier_submit may not give itself -------------------------------------------------------- */

static void on_refuse(uv_timer_t *t)
{
	struct carrier *c = t->data;
	struct carrier_verdict v = {.outcome = OUTCOME_NO_VERDICT};
	struct hash256 *late = c->late;
	unsigned cnt = c->late_cnt;

	snprintf(v.text, sizeof(v.text), "%s",
		 carrier_reachable(c) ? "too many transactions are under way" : "no node is usable");
	c->late = NULL;
	c->late_cnt = c->late_cap = 0;
	for (unsigned i = 0; i < cnt && !c->freed; i++)
		answer(c, &late[i], &v);
	free(late);
}

static bool refuse_later(struct carrier *c, const struct hash256 *txid)
{
	if (c->late_cnt == c->late_cap) {
		unsigned cap = c->late_cap != 0 ? c->late_cap * 2 : 16;
		struct hash256 *bigger = realloc(c->late, cap * sizeof(*bigger));

		if (bigger == NULL)
			return false;
		c->late = bigger;
		c->late_cap = cap;
	}
	c->late[c->late_cnt++] = *txid;
	uv_timer_start(&c->refuse, on_refuse, 0, 0);
	return true;
}

/* --- interface ---------------------------------------------------------------------------------------------- */

bool carrier_submit(struct carrier *c, const struct hash256 *txid, const uint8_t *raw, size_t sz)
{
	struct job *j;
	bool any = false;

	if (c->node_cnt == 0 || c->freed)
		return false;
	j = job_find(c, txid);
	if (j != NULL) {
		j->owed = true;
		return true;
	}
	for (unsigned i = 0; i < c->node_cnt; i++)
		any |= node_may_queue(&c->node[i]);
	j = any ? job_new(c, txid, raw, sz) : NULL;
	if (j == NULL)
		return refuse_later(c, txid);
	for (unsigned i = 0; i < c->node_cnt; i++) {
		if (!node_may_queue(&c->node[i]))
			continue;
		j->open++;
		node_queue(&c->node[i], j);
	}
	for (unsigned i = 0; i < c->node_cnt; i++)
		node_run(&c->node[i]);
	return true;
}

static void carrier_release(struct carrier *c)
{
	for (unsigned i = 0; i < CARRIER_NODE_MAX; i++)
		node_free_texts(&c->node[i]);
	free(c->late);
	free(c);
}

void carrier_handle_closed(uv_handle_t *h)
{
	struct carrier *c = h->data;

	if (--c->handles == 0)
		carrier_release(c);
}

struct carrier *carrier_new(const struct carrier_config *cfg, uv_loop_t *loop,
			    const struct carrier_hooks *hooks, void *arg, const char **why)
{
	struct carrier *c = calloc(1, sizeof(*c));

	*why = "out of memory";
	if (c == NULL)
		return NULL;
	c->loop = loop;
	c->network = cfg->network;
	c->hooks = *hooks;
	c->arg = arg;
	c->timeout_ms = cfg->timeout_ms != 0 ? cfg->timeout_ms : TIMEOUT_MS;
	c->alarm_ms = cfg->alarm_ms != 0 ? cfg->alarm_ms : ALARM_MS;
	c->concurrency = cfg->concurrency != 0 ? cfg->concurrency : CONCURRENCY;
	if (c->concurrency > SLOT_MAX)
		c->concurrency = SLOT_MAX;
	c->jobs_tail = &c->jobs;
	c->jitter = uv_hrtime() | 1;
	if (cfg->node_cnt > CARRIER_NODE_MAX) {
		*why = "more than 8 nodes";
		goto fail;
	}
	for (unsigned i = 0; i < cfg->node_cnt; i++)
		if (!node_init(&c->node[i], c, i, &cfg->nodes[i], why))
			goto fail;
	if (cfg->node_cnt > 0 && (c->http = http_new(loop)) == NULL)
		goto fail;
	c->node_cnt = cfg->node_cnt;
	uv_timer_init(loop, &c->refuse);
	c->refuse.data = c;
	c->handles = 1;
	for (unsigned i = 0; i < c->node_cnt; i++)
		node_open(&c->node[i]);
	return c;
fail:
	carrier_release(c);
	return NULL;
}

void carrier_free(struct carrier *c)
{
	if (c == NULL || c->freed)
		return;
	c->freed = true;
	http_free(c->http);
	for (unsigned i = 0; i < c->node_cnt; i++)
		node_close(&c->node[i]);
	while (c->jobs != NULL)
		job_free(c, c->jobs);
	uv_close((uv_handle_t *)&c->refuse, carrier_handle_closed);
}

void carrier_start(struct carrier *c)
{
	for (unsigned i = 0; i < c->node_cnt; i++)
		node_probe(&c->node[i]);
}

unsigned carrier_node_cnt(const struct carrier *c)
{
	return c->node_cnt;
}

void carrier_node_info_get(const struct carrier *c, unsigned idx, struct carrier_node_info *out)
{
	const struct node *n = &c->node[idx];

	*out = n->info;
	out->host = n->host;
	out->port = n->port;
	out->state = n->state;
	out->error = n->error;
	out->warning = n->warning;
}

bool carrier_reachable(const struct carrier *c)
{
	for (unsigned i = 0; i < c->node_cnt; i++)
		if (c->node[i].state == CARRIER_USABLE)
			return true;
	return false;
}

unsigned carrier_pending(const struct carrier *c)
{
	return c->job_cnt;
}
