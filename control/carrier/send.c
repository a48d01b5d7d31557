/* send.c - transactions at one node.  A slot carries one of them through at most four requests, one at a time:

     SEND     sendrawtransaction; repeated for a full work queue, a new cookie, two parameters (carrier.h, Retry)
     PLACE    the node says "input missing" or "conflict": does it have the penalty itself?
     SPENDER  it does not: which transaction of its mempool is in the way?
     OUTPUT   none: is the disputed output there at all?

   What the last three find goes into the verdict's text, or turns it into ACCEPTED.  Their own failures change
   nothing: the verdict of SEND stands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "carrier/carrier_priv.h"
#include "carrier/lookup.h"
#include "log/log.h"

#define BUSY_TRIES 5u

static void slot_send(struct slot *s);

/* Jobs keep the text of the request only: the transaction is between the first bracket's quotes. */
static uint8_t *raw_of(const struct job *j, size_t *sz)
{
	const char *hex = j->body + j->hex_off;
	uint8_t *raw = malloc(j->raw_sz + 1);

	*sz = j->raw_sz;
	if (raw != NULL && !hex_decode(raw, j->raw_sz, hex, 2 * j->raw_sz)) {
		free(raw);
		raw = NULL;
	}
	return raw;
}

static void slot_done(struct slot *s, const struct carrier_verdict *v)
{
	struct node *n = s->node;
	struct job *j = s->job;

	s->job = NULL;
	free(s->body);
	s->body = NULL;
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

/* --- the answer to sendrawtransaction ----------------------------------------------------------------------- */

/* The request with the parameters of an older node, which knows no maxburnamount. */
static char *short_body_of(const struct job *j)
{
	const char *end = strrchr(j->body, ',');
	size_t sz = (size_t)(end - j->body);
	char *body = malloc(sz + 3);

	if (body != NULL) {
		memcpy(body, j->body, sz);
		memcpy(body + sz, "]}", 3);
	}
	return body;
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
		if (!node_cookie_read(n, &why))
			return false;
		uv_timer_start(&s->again, on_again, 0, 0);
		return true;
	}
	if (v->outcome == OUTCOME_PARAMS && s->body == NULL) {
		n->two_params = true;
		uv_timer_start(&s->again, on_again, 0, 0);
		return true;
	}
	return false;
}

static void log_strange(const struct slot *s, const struct carrier_verdict *v)
{
	const struct node *n = s->node;

	log_at(v->outcome == OUTCOME_MALFORMED || v->outcome == OUTCOME_PARAMS ? LOG_LVL_ERROR : LOG_LVL_WARN,
	       "node_strange", "Node gave no verdict on a penalty; it will be tried again",
	       log_str("host", n->host), log_u64("port", n->port), log_hash("txid", s->job->txid.b),
	       log_str("answer", carrier_outcome_name(v->outcome)), log_i64("code", v->code),
	       log_str("why", v->text));
}

/* --- asking on ---------------------------------------------------------------------------------------------- */

/* Goes on to a stage that has something to ask; false: there is none left. */
static bool slot_next(struct slot *s, enum slot_stage stage)
{
	uint8_t *raw;
	size_t sz;

	free(s->body);
	s->body = NULL;
	if (stage == SLOT_PLACE)
		s->body = lookup_place_body(&s->job->txid);
	if (stage == SLOT_SPENDER || stage == SLOT_OUTPUT) {
		raw = raw_of(s->job, &sz);
		if (raw != NULL && stage == SLOT_SPENDER)
			s->body = lookup_spender_body(raw, sz);
		else if (raw != NULL)
			s->body = lookup_output_body(raw, sz);
		free(raw);
	}
	if (s->body == NULL)
		return false;
	s->stage = stage;
	slot_send(s);
	return true;
}

static void add_text(struct carrier_verdict *v, const char *text)
{
	size_t at = strlen(v->text);

	/* The node's own words may be cut, ours not. */
	if (at + strlen(text) >= sizeof(v->text))
		at = sizeof(v->text) - 1 - strlen(text);
	snprintf(v->text + at, sizeof(v->text) - at, "%s", text);
}

static void found_place(struct slot *s, const struct http_reply *r)
{
	enum carrier_place place = r->status != 0 ? lookup_place(r->status, r->body, r->sz) : PLACE_UNKNOWN;
	struct carrier_verdict v = s->found;

	if (place == PLACE_MEMPOOL || place == PLACE_BLOCK) {
		v = (struct carrier_verdict){.outcome = OUTCOME_ACCEPTED,
					     .reason = place == PLACE_BLOCK ? REASON_CONFIRMED
									    : REASON_IN_MEMPOOL};
		carrier_set_text(&v, place == PLACE_BLOCK ? "already confirmed" : "already in the mempool");
	} else if (place == PLACE_NOT_FOUND && slot_next(s, SLOT_SPENDER)) {
		return;
	}
	slot_done(s, &v);
}

static void found_spender(struct slot *s, const struct http_reply *r)
{
	struct carrier_verdict v = s->found;
	char hex[HASH_HEX_SZ], text[HASH_HEX_SZ + 64];
	struct hash256 spender;

	if (r->status != 0 && lookup_spender(r->status, r->body, r->sz, &s->job->txid, &spender)) {
		hash256_to_display(hex, &spender);
		snprintf(text, sizeof(text), "; spent in the mempool by %s", hex);
		add_text(&v, text);
	} else if (r->status != 0 && slot_next(s, SLOT_OUTPUT)) {
		return;
	}
	slot_done(s, &v);
}

static void found_output(struct slot *s, const struct http_reply *r)
{
	enum carrier_output o = r->status != 0 ? lookup_output(r->status, r->body, r->sz) : OUTPUT_UNKNOWN;
	struct carrier_verdict v = s->found;

	if (o == OUTPUT_GONE)
		add_text(&v, "; the disputed output is spent, or not in this node's chain");
	else if (o == OUTPUT_UNSPENT)
		add_text(&v, "; the disputed output is there");
	slot_done(s, &v);
}

/* --- requests ----------------------------------------------------------------------------------------------- */

/* What an answer to a penalty says about the node: CARRIER_USABLE when nothing. */
static enum carrier_node_state lost_by(enum carrier_outcome o)
{
	switch (o) {
	case OUTCOME_WARMUP:
	case OUTCOME_STOPPING:
	case OUTCOME_AUTH:
	case OUTCOME_FORBIDDEN:
	case OUTCOME_NO_METHOD:
	case OUTCOME_SICK:
		return node_state_after(o);
	case OUTCOME_ACCEPTED:
	case OUTCOME_REFUSED:
	case OUTCOME_BUSY:
	case OUTCOME_PARAMS:
	case OUTCOME_MALFORMED:
	case OUTCOME_NOT_READY:
	case OUTCOME_NO_VERDICT:
		break;
	}
	return CARRIER_USABLE;
}

static void sent(struct slot *s, const struct http_reply *r)
{
	struct node *n = s->node;
	struct carrier_verdict v = {.outcome = OUTCOME_NO_VERDICT};
	enum carrier_node_state lost = CARRIER_DOWN;

	if (r->status == 0) {
		carrier_set_text(&v, r->error);
	} else {
		carrier_judge(&v, r->status, r->body, r->sz, &s->job->txid);
		if (slot_repeats(s, &v))
			return;
		lost = lost_by(v.outcome);
	}
	if (v.outcome == OUTCOME_ACCEPTED || v.outcome == OUTCOME_REFUSED)
		node_proven(n);
	else if (lost == CARRIER_USABLE && v.outcome != OUTCOME_BUSY)
		log_strange(s, &v);
	s->found = v;
	if (v.outcome == OUTCOME_REFUSED && (v.reason == REASON_INPUTS || v.reason == REASON_CONFLICT) &&
	    slot_next(s, SLOT_PLACE))
		return;
	slot_done(s, &v);
	if (!n->carrier->freed && lost != CARRIER_USABLE)
		node_lost(n, lost, v.text);
}

static void on_reply(void *arg, const struct http_reply *r)
{
	struct slot *s = arg;
	struct node *n = s->node;
	struct carrier *c = n->carrier;

	switch (s->stage) {
	case SLOT_SEND:
		sent(s, r);
		break;
	case SLOT_PLACE:
		found_place(s, r);
		break;
	case SLOT_SPENDER:
		found_spender(s, r);
		break;
	case SLOT_OUTPUT:
		found_output(s, r);
		break;
	}
	if (!c->freed)
		node_run(n);
}

static void slot_send(struct slot *s)
{
	static const struct carrier_verdict no_memory = {.outcome = OUTCOME_NO_VERDICT,
							 .text = "out of memory"};
	struct node *n = s->node;
	const char *body;

	if (s->stage == SLOT_SEND && n->two_params && s->body == NULL)
		s->body = short_body_of(s->job);
	body = s->body != NULL ? s->body : s->job->body;
	if (!node_post(n, body, strlen(body), on_reply, s))
		slot_done(s, s->stage == SLOT_SEND ? &no_memory : &s->found);
}

/* --- queue -------------------------------------------------------------------------------------------------- */

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

static struct job *queue_take(struct node *n)
{
	struct job *j = n->head;

	n->head = j->next_at[n->idx];
	if (n->head == NULL)
		n->tail = &n->head;
	return j;
}

void node_run(struct node *n)
{
	for (unsigned i = 0; i < n->carrier->concurrency && n->state == CARRIER_USABLE; i++) {
		struct slot *s = &n->slot[i];

		if (n->head == NULL)
			return;
		if (s->job != NULL)
			continue;
		s->job = queue_take(n);
		s->stage = SLOT_SEND;
		s->tries = 0;
		s->auth_retried = false;
		/* From the loop's next turn: carrier_submit may not answer, and the request could fail at once. */
		uv_timer_start(&s->again, on_again, 0, 0);
	}
}

void node_flush(struct node *n)
{
	struct carrier_verdict v = {.outcome = OUTCOME_NO_VERDICT};

	carrier_set_text(&v, n->error);
	while (n->head != NULL) {
		struct job *j = queue_take(n);

		n->info.unanswered_total++;
		job_answered(j, n->carrier, &v);
		if (n->carrier->freed)
			return;
	}
}
