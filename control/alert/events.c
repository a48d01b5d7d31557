#include <stdio.h>

#include "alert/alert.h"
#include "carrier/carrier.h"
#include "tower/tower.h"

struct facts {
	struct alert_fact of[ALERT_FACT_MAX];
	unsigned cnt;
};

static void put_text(struct facts *f, const char *name, const char *value)
{
	f->of[f->cnt].name = name;
	snprintf(f->of[f->cnt].value, sizeof(f->of[f->cnt].value), "%s", value);
	f->cnt++;
}

static void put_number(struct facts *f, const char *name, long long value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", value);
	put_text(f, name, text);
}

static void put_hash(struct facts *f, const char *name, const struct hash256 *h)
{
	char text[HASH_HEX_SZ];

	hash256_to_display(text, h);
	put_text(f, name, text);
}

void alert_penalty(struct alert *a, const struct tower_alert *p)
{
	char locator[2 * LOCATOR_SZ + 1];
	struct facts f = {.cnt = 0};

	hex_encode(locator, p->locator->b, LOCATOR_SZ);
	put_hash(&f, "PENALTY", p->penalty_txid);
	put_hash(&f, "DISPUTE", p->dispute_txid);
	put_text(&f, "LOCATOR", locator);
	put_number(&f, "DISPUTE_HEIGHT", p->dispute_height);
	put_number(&f, "DEPTH", p->depth);
	put_text(&f, "STATE", tracker_state_name(p->state));
	put_number(&f, "TRIES", p->tries);
	put_number(&f, "PEERS", p->peer_cnt);
	put_text(&f, "REASON", node_reason_name(p->reason));
	put_number(&f, "CODE", p->node_code);
	put_text(&f, "TEXT", p->node_text);
	if (p->kind == ALERT_PENALTY_OVERDUE)
		put_number(&f, "STEP", p->step);
	alert_raise(a, p->kind == ALERT_PENALTY_OVERDUE ? "penalty_overdue" : "penalty_refused", f.of, f.cnt);
}

void alert_node(struct alert *a, const struct carrier_node_info *n, bool usable)
{
	struct facts f = {.cnt = 0};
	char where[192];

	snprintf(where, sizeof(where), "%.180s:%u", n->host, n->port);
	put_text(&f, "NODE", where);
	put_text(&f, "STATE", carrier_node_state_name(n->state));
	put_text(&f, "TEXT", n->error);
	alert_raise(a, usable ? "node_usable" : "node_unusable", f.of, f.cnt);
}
