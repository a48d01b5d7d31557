#include <errno.h>

#include "teos/uuid.h"
#include "tower/tower_priv.h"

static const struct slice none = {NULL, 0};

const char *tracker_state_name(enum tracker_state s)
{
	switch (s) {
	case TRACKER_UNSENT:
		return "unsent";
	case TRACKER_SENT:
		return "sent";
	case TRACKER_CONFIRMED:
		return "confirmed";
	case TRACKER_REFUSED:
		return "refused";
	case TRACKER_SPENT:
		return "spent";
	}
	return "?";
}

const char *node_reason_name(enum node_reason r)
{
	static const char *const names[] = {
		[REASON_NONE] = "",
		[REASON_IN_MEMPOOL] = "in the mempool",
		[REASON_CONFIRMED] = "confirmed",
		[REASON_UNDECODABLE] = "undecodable",
		[REASON_INPUTS] = "input missing or spent",
		[REASON_FEE_LIMIT] = "fee above the node's limit",
		[REASON_BURN_LIMIT] = "burns more than the node's limit",
		[REASON_FEE_LOW] = "fee too low",
		[REASON_CONFLICT] = "conflict in the mempool",
		[REASON_TIMING] = "not final yet",
		[REASON_CHAIN_LIMIT] = "too many unconfirmed ancestors",
		[REASON_POLICY] = "against the node's policy",
		[REASON_INVALID] = "against consensus",
		[REASON_OTHER] = "other",
	};

	return names[r];
}

static void view_appointment(const struct appointment_key *a, const struct appointment_row *r,
			     struct appointment_view *v)
{
	*v = (struct appointment_view){
		.user = a->user,
		.locator = a->locator,
		.blob = r->blob,
		.blob_sz = r->blob_sz,
		.to_self_delay = r->to_self_delay,
		.start_block = r->start_block,
		.user_sig = r->user_sig,
	};
}

static void view_tracker(const struct tower *t, const struct appointment_key *a, const struct tracker_row *r,
			 struct tracker_view *v)
{
	const struct penalty *p = penalty_find(t, &r->penalty_txid);

	*v = (struct tracker_view){
		.user = a->user,
		.locator = a->locator,
		.dispute_txid = r->dispute_txid,
		.penalty_txid = r->penalty_txid,
		.penalty_raw = r->raw,
		.penalty_sz = r->raw_sz,
		.state = TRACKER_UNSENT,
		.dispute_height = r->dispute_height,
		.since_height = r->since_height,
	};
	if (p != NULL) {
		v->state = p->state;
		if (p->state == TRACKER_REFUSED && p->reason == REASON_INPUTS &&
		    (uint64_t)r->dispute_height + TOWER_SPENT_DEPTH <= (uint64_t)t->tip.height + 1)
			v->state = TRACKER_SPENT;
		v->since_height = p->since;
		v->tries = p->tries;
		v->peer_cnt = p->peer_cnt;
		v->peers = p->peers;
		v->node_code = p->code;
		v->node_reason = p->reason;
		v->first_height = p->first_height;
		v->overdue_step = p->overdue ? p->told : 0;
		memcpy(v->node_text, p->text, sizeof(v->node_text));
		v->last_byte_ns = p->last_byte_ns;
		v->hit_ns = p->hit_ns;
		v->sent_ns = p->sent_ns;
	}
	if (r->confirmed_height != HEIGHT_NONE) {
		v->state = TRACKER_CONFIRMED;
		v->since_height = r->confirmed_height;
	}
}

/* Fills f from the appointment's row; false if neither it nor a tracker of it is alive.  The tracker's bytes are those of the
   last store_get. */
static bool view(struct tower *t, const struct appointment_key *a, const struct appointment_row *r,
		 struct tower_found *f)
{
	bool alive = row_alive_at(t, &a->user, r->epoch, t->tip.height);
	struct tracker_row tr;
	int rc;

	memset(f, 0, sizeof(*f));
	rc = tracker_get(t, a, &tr);
	f->is_tracker = rc == 0 && (alive || tr.confirmed_height != HEIGHT_NONE);
	if (!alive && !f->is_tracker)
		return false;
	view_appointment(a, r, &f->ap);
	if (f->is_tracker)
		view_tracker(t, a, &tr, &f->tr);
	return true;
}

enum tower_status tower_find(struct tower *t, const struct user_id *user, const struct locator *l,
			     struct tower_found *out)
{
	struct appointment_key a = {*l, *user};
	struct key k = key_appointment(&a);
	struct appointment_row r;
	struct slice v;
	int rc = store_get(t->st, STORE_APPOINTMENTS, key_slice(&k), &v);

	if (rc == -EIO)
		return TOWER_NOT_READY;
	if (rc < 0)
		return TOWER_NOT_FOUND;
	/* The next reads of the store would take the row away. */
	v = buf_copy(&t->appointment, v);
	if (!appointment_row_decode(v, &r) || !view(t, &a, &r, out))
		return TOWER_NOT_FOUND;
	return TOWER_OK;
}

/* --- pages --------------------------------------------------------------------------------------------------- */

struct page {
	struct tower *t;
	uint32_t limit, seen;
	struct slice after;
	bool trackers_only;
	bool (*found)(void *arg, const struct tower_found *f);
	bool (*user)(void *arg, const struct tower_user_info *u);
	bool (*locator)(void *arg, const struct locator *l, const struct uuid *id);
	void *arg;
};

static bool is_after(const struct page *p, struct slice key)
{
	return p->after.sz == key.sz && memcmp(p->after.p, key.p, key.sz) == 0;
}

static bool page_user(void *arg, struct slice key, struct slice value)
{
	struct page *p = arg;
	struct user_row r;
	struct user_id id;

	if (is_after(p, key))
		return true;
	if (!key_user_decode(key, &id) || !user_row_decode(value, &r)) {
		log_bad_row("users", key);
		return true;
	}
	if (!user_alive_at(p->t, &r, p->t->tip.height))
		return true;
	p->seen++;
	return p->user(p->arg, &(struct tower_user_info){.id = id,
							 .available_slots = slots_shown(&r),
							 .subscription_start = r.start,
							 .subscription_expiry = r.expiry,
							 .generation = r.generation,
							 .appointment_cnt = r.appointment_cnt,
							 .tracker_cnt = r.tracker_cnt}) &&
	       p->seen < p->limit;
}

uint32_t tower_each_user(struct tower *t, const struct user_id *after, uint32_t limit,
			 bool (*cb)(void *arg, const struct tower_user_info *u), void *arg)
{
	struct page p = {.t = t, .limit = limit, .user = cb, .arg = arg};
	struct key k = {.sz = 0};

	if (limit == 0)
		return 0;
	if (after != NULL)
		k = key_user(after);
	p.after = key_slice(&k);
	store_scan(t->st, STORE_USERS, none, p.after, false, true, page_user, &p);
	return p.seen;
}

static bool page_appointment(void *arg, struct slice key, struct slice value)
{
	struct page *p = arg;
	struct appointment_key a;
	struct appointment_row r;
	struct tower_found f;

	if (is_after(p, key))
		return true;
	if (!key_appointment_decode(key, &a) || !appointment_row_decode(value, &r)) {
		log_bad_row("appointments", key);
		return true;
	}
	if (!view(p->t, &a, &r, &f))
		return true;
	p->seen++;
	return p->found(p->arg, &f) && p->seen < p->limit;
}

uint32_t tower_each_appointment(struct tower *t, const struct appointment_key *after, uint32_t limit,
				bool (*cb)(void *arg, const struct tower_found *f), void *arg)
{
	struct page p = {.t = t, .limit = limit, .found = cb, .arg = arg};
	struct key k = {.sz = 0};

	if (limit == 0)
		return 0;
	if (after != NULL)
		k = key_appointment(after);
	p.after = key_slice(&k);
	store_scan(t->st, STORE_APPOINTMENTS, none, p.after, false, true, page_appointment, &p);
	return p.seen;
}

static bool page_tracker(void *arg, struct slice key, struct slice value)
{
	struct page *p = arg;
	struct appointment_key a;
	struct appointment_row r;
	struct tracker_row tr;
	struct tower_found f;
	struct slice row;
	struct key k;

	if (is_after(p, key))
		return true;
	if (!key_appointment_decode(key, &a) || !tracker_row_decode(value, &tr)) {
		log_bad_row("trackers", key);
		return true;
	}
	if (!tracker_alive_at(p->t, &a.user, &tr, p->t->tip.height))
		return true;
	memset(&f, 0, sizeof(f));
	f.is_tracker = true;
	view_tracker(p->t, &a, &tr, &f.tr);
	k = key_appointment(&a);
	f.ap = (struct appointment_view){.user = a.user, .locator = a.locator, .user_sig = ""};
	if (store_get(p->t->st, STORE_APPOINTMENTS, key_slice(&k), &row) == 0 &&
	    appointment_row_decode(row, &r))
		view_appointment(&a, &r, &f.ap);
	p->seen++;
	return p->found(p->arg, &f) && p->seen < p->limit;
}

uint32_t tower_each_tracker(struct tower *t, const struct appointment_key *after, uint32_t limit,
			    bool (*cb)(void *arg, const struct tower_found *f), void *arg)
{
	struct page p = {.t = t, .limit = limit, .found = cb, .arg = arg};
	struct key k = {.sz = 0};

	if (limit == 0)
		return 0;
	if (after != NULL)
		k = key_appointment(after);
	p.after = key_slice(&k);
	store_scan(t->st, STORE_TRACKERS, none, p.after, false, true, page_tracker, &p);
	return p.seen;
}

static bool page_of_user(void *arg, struct slice key, struct slice value)
{
	struct page *p = arg;
	struct appointment_key a;
	struct tracker_row tr;
	struct uuid id;
	uint32_t epoch;

	if (is_after(p, key))
		return true;
	if (!key_by_user_decode(key, &a) || !by_user_row_decode(value, &epoch)) {
		log_bad_row("by_user", key);
		return true;
	}
	if (!row_alive_at(p->t, &a.user, epoch, p->t->tip.height) &&
	    (tracker_get(p->t, &a, &tr) < 0 || tr.confirmed_height == HEIGHT_NONE))
		return true;
	id = uuid_of(&a.locator, &a.user);
	p->seen++;
	return p->locator(p->arg, &a.locator, &id) && p->seen < p->limit;
}

uint32_t tower_each_appointment_of_user(struct tower *t, const struct user_id *u, const struct locator *after,
					uint32_t limit,
					bool (*cb)(void *arg, const struct locator *l, const struct uuid *id),
					void *arg)
{
	struct page p = {.t = t, .limit = limit, .locator = cb, .arg = arg};
	struct key prefix = key_user(u), k = {.sz = 0};

	if (limit == 0)
		return 0;
	if (after != NULL)
		k = key_by_user(&(struct appointment_key){*after, *u});
	p.after = key_slice(&k);
	store_scan(t->st, STORE_BY_USER, key_slice(&prefix), p.after, false, true, page_of_user, &p);
	return p.seen;
}

/* --- what is watched ------------------------------------------------------------------------------------------- */

enum { WATCH_APPOINTMENTS = 0, WATCH_PENALTIES = 1, WATCH_END = 2 };

struct watching {
	struct tower_watch_cursor *cur;
	uint32_t left;
	void (*cb)(void *arg, const struct locator *l);
	void *arg;
};

static bool watch_one(void *arg, struct slice key, struct slice value)
{
	struct watching *w = arg;
	struct tower_watch_cursor *cur = w->cur;
	struct appointment_key a;
	struct hash256 txid;
	struct locator l;

	(void)value;
	if (key.sz > sizeof(cur->key) || (cur->key_sz == key.sz && memcmp(cur->key, key.p, key.sz) == 0))
		return true;
	if (w->left == 0)
		return false;
	if (cur->stage == WATCH_APPOINTMENTS && key_by_user_decode(key, &a))
		l = a.locator;
	else if (cur->stage == WATCH_PENALTIES && key_by_penalty_decode(key, &txid, &a))
		l = locator_of_txid(&txid, LOCATOR_INTERNAL);
	else
		return true;
	memcpy(cur->key, key.p, key.sz);
	cur->key_sz = (uint32_t)key.sz;
	w->left--;
	w->cb(w->arg, &l);
	return true;
}

bool tower_each_watched(struct tower *t, struct tower_watch_cursor *cur, uint32_t limit,
			void (*cb)(void *arg, const struct locator *l), void *arg)
{
	static const enum store_cf cf[] = {STORE_BY_USER, STORE_BY_PENALTY};
	struct watching w = {cur, limit, cb, arg};

	while (cur->stage < WATCH_END && w.left > 0) {
		struct slice from = {cur->key, cur->key_sz};

		if (store_scan(t->st, cf[cur->stage], none, from, false, false, watch_one, &w) < 0)
			return true;
		if (w.left == 0)
			return true;
		cur->stage++;
		cur->key_sz = 0;
	}
	return cur->stage < WATCH_END;
}
