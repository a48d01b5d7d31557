/* Takes back what a block did, from what was filed under its height (tower.h, Undo). */
#include <errno.h>
#include <stdlib.h>

#include "kill/kill_point.h"
#include "teos/blob.h"
#include "tower/tower_priv.h"

static const struct slice none = {NULL, 0};

struct undoing {
	struct change *c;
	uint32_t height;
	struct reorged_list gone; /* to be sent again, if the change is written */
};

static void put_by_user(struct change *c, const struct appointment_key *a, uint32_t epoch)
{
	uint8_t v[BY_USER_ROW_SZ];
	struct key k = key_by_user(a);

	by_user_row_encode(v, epoch);
	change_put(c, STORE_BY_USER, &k, (struct slice){v, sizeof(v)});
}

static bool alive(struct undoing *x, const struct user_edit *u)
{
	return u != NULL && user_alive_at(x->c->t, &u->row, x->height);
}

/* The row of a tracker, copied: NULL if it is gone or belongs to another dispute than the one of this block. */
static bool tracker_copy(struct undoing *x, const struct appointment_key *a, struct tracker_row *r)
{
	struct tower *t = x->c->t;
	int rc = tracker_get(t, a, r);

	if (rc == -EIO)
		x->c->failed = true;
	if (rc < 0)
		return false;
	r->raw = buf_copy(&t->plain, (struct slice){r->raw, r->raw_sz}).p;
	return true;
}

static void undo_created(struct undoing *x, const struct appointment_key *a, const struct undo_row *row)
{
	struct change *c = x->c;
	struct user_edit *u;
	struct tracker_row r;
	struct locator l;
	struct key k, by_penalty;

	if (!tracker_copy(x, a, &r) || r.dispute_height != x->height)
		return;
	k = key_appointment(a);
	by_penalty = key_by_penalty(&r.penalty_txid, a);
	l = locator_of_txid(&r.penalty_txid, LOCATOR_INTERNAL);
	change_del(c, STORE_TRACKERS, &k);
	change_del(c, STORE_BY_PENALTY, &by_penalty);
	u = change_owner(c, &a->user, r.epoch);
	if (u != NULL)
		u->row.tracker_cnt--;
	/* A confirmation in this block or above has been taken back before, so only the owner keeps it alive. */
	if (alive(x, u)) {
		c->d.trackers--;
		c->d.appointments++;
	}
	reorged_tracker(&x->gone, a, &r, row->appointment);
	change_watch(&c->dels, &l);
	change_note(c, &(struct note){NOTE_CREATED_UNDONE, *a, r.penalty_txid, r.dispute_txid, x->height});
}

static void undo_confirmed(struct undoing *x, const struct appointment_key *a)
{
	struct change *c = x->c;
	struct key by_height = key_confirmed(x->height, a);
	struct user_edit *u;
	struct tracker_row r;
	uint8_t *v;
	struct key k;

	if (!tracker_copy(x, a, &r) || r.confirmed_height != x->height)
		return;
	k = key_appointment(a);
	r.confirmed_height = HEIGHT_NONE;
	v = buf_room(&c->t->tracker, TRACKER_ROW_HEAD_SZ + r.raw_sz);
	tracker_row_head(v, &r);
	memcpy(v + TRACKER_ROW_HEAD_SZ, r.raw, r.raw_sz);
	change_put(c, STORE_TRACKERS, &k, (struct slice){v, TRACKER_ROW_HEAD_SZ + r.raw_sz});
	change_del(c, STORE_CONFIRMED, &by_height);
	u = change_owner(c, &a->user, r.epoch);
	if (u != NULL)
		u->row.confirmed_cnt--;
	if (!alive(x, u))
		c->d.trackers--;
	reorged_penalty(&x->gone, a, &r);
	change_note(c, &(struct note){NOTE_CONFIRMED_UNDONE, *a, r.penalty_txid, r.dispute_txid, x->height});
}

static void undo_invalid(struct undoing *x, const struct appointment_key *a, const struct undo_row *r)
{
	struct change *c = x->c;
	struct appointment_row ap;
	struct user_edit *u;
	struct key k = key_appointment(a);
	bool refunded = r->tracker.sz > 0;

	if (!appointment_row_decode(r->appointment, &ap))
		return;
	u = change_owner(c, &a->user, ap.epoch);
	if (u == NULL)
		return;
	u->row.slots += r->slots;
	if (store_has(c->t->st, STORE_APPOINTMENTS, key_slice(&k))) {
		/* Added again since, and paid for again: it replaces the old one, which is paid back. */
		u->row.slots += refunded ? 0 : blob_slots(ap.blob_sz);
		return;
	}
	u->row.slots -= refunded ? blob_slots(ap.blob_sz) : 0;
	change_put(c, STORE_APPOINTMENTS, &k, r->appointment);
	put_by_user(c, a, ap.epoch);
	u->row.appointment_cnt++;
	if (alive(x, u))
		c->d.appointments++;
	change_watch(&c->adds, &a->locator);
	change_note(c, &(struct note){.kind = NOTE_INVALID_UNDONE, .key = *a, .height = x->height});
}

static void undo_completed(struct undoing *x, const struct appointment_key *a, const struct undo_row *r)
{
	struct change *c = x->c;
	struct appointment_row ap;
	struct tracker_row tr;
	struct user_edit *u;
	struct key k = key_appointment(a), by_penalty, by_height;
	struct locator l;
	bool again;

	if (!appointment_row_decode(r->appointment, &ap) || !tracker_row_decode(r->tracker, &tr) ||
	    store_has(c->t->st, STORE_TRACKERS, key_slice(&k)))
		return;
	/* Added again since: the newer appointment stays, and the old one's refund with it. */
	again = store_has(c->t->st, STORE_APPOINTMENTS, key_slice(&k));
	u = change_owner(c, &a->user, tr.epoch);
	by_penalty = key_by_penalty(&tr.penalty_txid, a);
	by_height = key_confirmed(tr.confirmed_height, a);
	l = locator_of_txid(&tr.penalty_txid, LOCATOR_INTERNAL);
	change_put(c, STORE_TRACKERS, &k, r->tracker);
	change_put(c, STORE_BY_PENALTY, &by_penalty, none);
	change_put(c, STORE_CONFIRMED, &by_height, none);
	if (!again) {
		change_put(c, STORE_APPOINTMENTS, &k, r->appointment);
		put_by_user(c, a, ap.epoch);
	}
	if (u != NULL) {
		u->row.tracker_cnt++;
		u->row.confirmed_cnt++;
		if (!again) {
			u->row.appointment_cnt++;
			u->row.slots -= r->slots;
		}
	}
	c->d.trackers++;
	if (again && alive(x, u))
		c->d.appointments--;
	change_watch(&c->adds, &a->locator);
	change_watch(&c->adds, &l);
	change_note(c, &(struct note){NOTE_RESOLVED_UNDONE, *a, tr.penalty_txid, tr.dispute_txid, x->height});
}

static bool undo_one(void *arg, struct slice key, struct slice value)
{
	struct undoing *x = arg;
	struct appointment_key a;
	struct undo_row r;
	enum undo_kind kind;
	uint32_t height;

	if (!key_undo_decode(key, &height, &kind, &a) || !undo_row_decode(value, &r)) {
		log_bad_row("undo", key);
		return true;
	}
	switch (kind) {
	case UNDO_CREATED:
		undo_created(x, &a, &r);
		break;
	case UNDO_INVALID:
		undo_invalid(x, &a, &r);
		break;
	case UNDO_CONFIRMED:
		undo_confirmed(x, &a);
		break;
	case UNDO_COMPLETED:
		undo_completed(x, &a, &r);
		break;
	}
	store_del(x->c->b, STORE_UNDO, key);
	return true;
}

/* Counters only: the users who became outdated in this block are alive again below it. */
static bool revive_one(void *arg, struct slice key, struct slice value)
{
	struct change *c = arg;
	struct user_id id;
	struct user_edit *u;
	uint32_t expiry;

	(void)value;
	if (!key_expiry_decode(key, &expiry, &id))
		return true;
	u = change_user(c, &id);
	if (u == NULL || u->row.expiry != expiry)
		return true;
	c->d.users++;
	c->d.appointments += (int64_t)u->row.appointment_cnt - u->row.tracker_cnt;
	c->d.trackers += (int64_t)u->row.tracker_cnt - u->row.confirmed_cnt;
	return true;
}

int block_disconnect(struct tower *t)
{
	struct undoing x = {.height = t->tip.height};
	struct key k = key_height(x.height);
	struct header_row header;
	struct header_fields f;
	struct change c;
	int rc = header_get(t, x.height, &header);

	if (rc < 0 || x.height == 0)
		return rc < 0 ? rc : -ENOENT;
	header_decode(&f, header.header);
	/* Rows may come back behind the place where a pass of the purge is. */
	t->purge = (struct purge_place){.in_pass = false};
	change_begin(&c, t);
	x.c = &c;
	/* Downwards: what was done last is taken back first. */
	if (store_scan(t->st, STORE_UNDO, key_slice(&k), none, true, true, undo_one, &x) < 0)
		c.failed = true;
	if (x.height >= t->cfg.expiry_delta) {
		struct key e = key_height(x.height - t->cfg.expiry_delta);

		if (store_scan(t->st, STORE_EXPIRY, key_slice(&e), none, false, false, revive_one, &c) < 0)
			c.failed = true;
	}
	KILL_POINT("tower:mid-disconnect");
	change_del(&c, STORE_HEADERS, &k);
	chain_put_tip(&c, x.height - 1, &f.prev,
		      t->tip.resume_height < x.height ? t->tip.resume_height : x.height - 1);
	c.totals.reorg_blocks_total = 1;
	rc = change_commit_acked(&c, x.height - 1, &f.prev);
	if (rc < 0) {
		reorged_free(&x.gone);
		return rc;
	}
	KILL_POINT("tower:after-disconnect");
	reorged_move(&t->reorged, &x.gone);
	for (struct penalty *p = t->penalty_first, *next; p != NULL; p = next) {
		next = p->next;
		if (p->committed && p->idle)
			penalty_review(t, &p->txid);
	}
	penalties_send_due(t, SEND_PER_TICK);
	return 0;
}
