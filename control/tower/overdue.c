#include "log/log.h"
#include "tower/tower_priv.h"

/* Ticks for which the tip must stay: while blocks are caught up with, each tick sees a new one. */
#define STILL_TICKS 2u
#define STEP_MAX    16u

void overdue_set(struct tower *t, struct penalty *p, bool on)
{
	if (on && !p->overdue)
		t->overdue++;
	if (!on && p->overdue)
		t->overdue--;
	p->overdue = on;
}

static uint32_t depth_of(const struct tower *t, const struct penalty *p)
{
	return p->dispute_height <= t->tip.height ? t->tip.height - p->dispute_height + 1 : 0;
}

/* Steps that a dispute of this depth has behind it: 1 at overdue_depth, 2 at twice that, ... */
static uint32_t steps_at(const struct tower *t, uint32_t depth)
{
	uint32_t n = 0;

	while (n < STEP_MAX && depth >= (uint64_t)t->cfg.overdue_depth << n)
		n++;
	return n;
}

static void alert(struct tower *t, const struct penalty *p, struct tower_alert *a)
{
	struct tracker_row r;
	struct appointment_key key;

	if (t->ops.alert == NULL || !penalty_open_tracker(t, &p->txid, &key, &r))
		return;
	a->penalty_txid = &p->txid;
	a->dispute_txid = &r.dispute_txid;
	a->locator = &key.locator;
	a->dispute_height = r.dispute_height;
	a->depth = depth_of(t, p);
	a->state = p->state;
	a->tries = p->tries;
	a->peer_cnt = p->peer_cnt;
	a->reason = p->reason;
	a->node_code = p->code;
	a->node_text = p->text;
	t->ops.alert(t->arg, a);
}

static void escalate(struct tower *t, struct penalty *p, uint32_t step)
{
	struct tower_alert a = {.kind = ALERT_PENALTY_OVERDUE, .step = step};

	p->told = step;
	sending_changed(t, p);
	t->totals.escalations_total++;
	log_at(step > 1 ? LOG_LVL_ERROR : LOG_LVL_WARN, "penalty_overdue",
	       "A dispute is deep and its penalty is not in a block: it is sent after every block",
	       log_hash("penalty", p->txid.b), log_u64("depth", depth_of(t, p)), log_u64("step", step),
	       log_str("state", tracker_state_name(p->state)), log_u64("tries", p->tries),
	       log_u64("peers", p->peer_cnt), log_i64("code", p->code),
	       log_str("reason", node_reason_name(p->reason)), log_str("text", p->text));
	alert(t, p, &a);
}

void overdue_tick(struct tower *t)
{
	if (t->cfg.overdue_depth == 0 || !t->has_tip)
		return;
	if (t->still_height != t->tip.height || t->still_ticks == 0) {
		t->still_height = t->tip.height;
		t->still_ticks = 1;
		return;
	}
	if (t->still_ticks > STILL_TICKS)
		return;
	/* Once at each tip. */
	if (t->still_ticks++ < STILL_TICKS)
		return;
	for (struct penalty *p = t->penalty_first; p != NULL; p = p->next) {
		uint32_t step = p->idle || !p->committed ? 0 : steps_at(t, depth_of(t, p));

		overdue_set(t, p, step > 0);
		if (step > p->told)
			escalate(t, p, step);
	}
}

static bool mends_by_itself(enum node_reason r)
{
	return r == REASON_FEE_LOW || r == REASON_TIMING || r == REASON_CHAIN_LIMIT || r == REASON_INPUTS;
}

void overdue_refused(struct tower *t, const struct penalty *p)
{
	struct tower_alert a = {.kind = ALERT_PENALTY_REFUSED};

	/* A missing input heals when the node sees the block, and else the depth will tell. */
	if (p->committed && !mends_by_itself(p->reason))
		alert(t, p, &a);
}
