#include <errno.h>
#include <stdlib.h>

#include "log/log.h"
#include "teos/blob.h"
#include "tower/tower_priv.h"

static void info_of(const struct user_id *id, const struct user_row *r, struct tower_user_info *out)
{
	*out = (struct tower_user_info){
		.id = *id,
		.available_slots = slots_shown(r),
		.subscription_start = r->start,
		.subscription_expiry = r->expiry,
		.generation = r->generation,
		.appointment_cnt = r->appointment_cnt,
		.tracker_cnt = r->tracker_cnt,
	};
}

static uint32_t later(uint32_t height, uint32_t blocks)
{
	uint64_t sum = (uint64_t)height + blocks;

	return sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum;
}

static enum tower_status commit_for(struct change *c, tower_done_fn done, void *arg)
{
	struct waiter *w = waiter_new(c->t, done, arg);

	if (change_commit(c, waiter_done, w) == 0)
		return TOWER_PENDING;
	waiter_drop(w);
	return TOWER_NOT_READY;
}

/* Extends a registration that is not outdated, or begins one.  False: too many slots. */
static bool renew(struct change *c, const struct user_id *id, enum client_generation gen, struct user_row *out)
{
	const struct tower_config *cfg = &c->t->cfg;
	uint32_t tip = c->t->tip.height;
	struct user_edit *u = change_user(c, id);
	struct key k;

	if (u != NULL && user_alive_at(c->t, &u->row, tip)) {
		k = key_expiry(u->row.expiry, id);
		if (u->row.slots + cfg->subscription_slots > (int64_t)UINT32_MAX)
			return false;
		change_del(c, STORE_EXPIRY, &k);
		u->row.slots += cfg->subscription_slots;
		u->row.expiry = later(u->row.expiry, cfg->subscription_duration);
		u->dirty = true;
	} else {
		/* The old entry in STORE_EXPIRY stays: the purge finds the dead rows by it. */
		uint32_t epoch = u == NULL ? 0 : u->row.epoch + 1;

		u = change_user_new(c, id);
		u->row.slots = cfg->subscription_slots;
		u->row.start = tip;
		u->row.expiry = later(tip, cfg->subscription_duration);
		u->row.epoch = epoch;
		c->d.users++;
	}
	u->row.generation = gen;
	k = key_expiry(u->row.expiry, id);
	change_put(c, STORE_EXPIRY, &k, (struct slice){NULL, 0});
	*out = u->row;
	return true;
}

enum tower_status tower_register(struct tower *t, const struct user_id *id, enum client_generation gen,
				 struct tower_user_info *out, tower_done_fn done, void *arg)
{
	struct user_row row;
	struct change c;

	tower_enter(t);
	if (!t->has_tip)
		return TOWER_NOT_READY;
	change_begin(&c, t);
	if (!renew(&c, id, gen, &row)) {
		change_drop(&c);
		return TOWER_SLOTS_EXHAUSTED;
	}
	info_of(id, &row, out);
	return commit_for(&c, done, arg);
}

enum tower_status tower_user(struct tower *t, const struct user_id *id, struct tower_user_info *out,
			     bool *expired)
{
	struct user_row row;
	int rc = user_get(t, id, &row);

	*expired = false;
	if (rc == -EIO || !t->has_tip)
		return TOWER_NOT_READY;
	if (rc < 0 || !user_alive_at(t, &row, t->tip.height))
		return TOWER_AUTH;
	info_of(id, &row, out);
	*expired = t->tip.height >= row.expiry;
	return *expired ? TOWER_AUTH : TOWER_OK;
}

/* --- add an appointment (spec/teos.md section 8.1) ---------------------------------------------------------- */

/* A tracker of an earlier registration that is in the way. */
static void drop_dead_tracker(struct change *c, const struct appointment_key *a, const struct tracker_row *r)
{
	struct key k = key_appointment(a), by_penalty = key_by_penalty(&r->penalty_txid, a);
	struct locator l = locator_of_txid(&r->penalty_txid, LOCATOR_INTERNAL);

	change_del(c, STORE_TRACKERS, &k);
	change_del(c, STORE_BY_PENALTY, &by_penalty);
	change_watch(&c->dels, &l);
	change_note(c, &(struct note){.kind = NOTE_PURGED, .key = *a, .penalty = r->penalty_txid});
}

static void put_appointment(struct change *c, const struct tower_add *in, const struct appointment_key *a,
			    uint32_t epoch)
{
	struct appointment_row r = {epoch,        in->to_self_delay, c->t->tip.height,
				    in->user_sig, in->blob,          in->blob_sz};
	uint8_t *v = buf_room(&c->t->appointment, APPOINTMENT_ROW_HEAD_SZ + (size_t)in->blob_sz);
	uint8_t by_user[BY_USER_ROW_SZ];
	struct key k = key_appointment(a), bk = key_by_user(a);

	appointment_row_head(v, &r);
	if (in->blob_sz > 0)
		memcpy(v + APPOINTMENT_ROW_HEAD_SZ, in->blob, in->blob_sz);
	change_put(c, STORE_APPOINTMENTS, &k, (struct slice){v, APPOINTMENT_ROW_HEAD_SZ + (size_t)in->blob_sz});
	by_user_row_encode(by_user, epoch);
	change_put(c, STORE_BY_USER, &bk, (struct slice){by_user, sizeof(by_user)});
}

static enum tower_status add(struct change *c, const struct tower_add *in, struct tower_add_reply *out)
{
	struct tower *t = c->t;
	struct appointment_key a = {in->locator, in->user};
	struct user_edit *u = change_user(c, &in->user);
	struct appointment_row old;
	struct tracker_row tr;
	uint32_t used = 0;
	int64_t diff;
	int rc;

	if (u == NULL || !user_alive_at(t, &u->row, t->tip.height)) {
		/* Without words of its own: an unknown key must look like a signature that recovers to none. */
		return c->failed ? TOWER_NOT_READY : TOWER_AUTH;
	}
	out->generation = u->row.generation;
	out->subscription_expiry = u->row.expiry;
	out->available_slots = slots_shown(&u->row);
	if (t->tip.height >= u->row.expiry) {
		out->text = "subscription expired";
		return TOWER_AUTH;
	}
	rc = tracker_get(t, &a, &tr);
	if (rc == -EIO)
		return TOWER_NOT_READY;
	if (rc == 0 && tracker_alive_at(t, &in->user, &tr, t->tip.height))
		return TOWER_TRIGGERED;
	if (rc == 0)
		drop_dead_tracker(c, &a, &tr);
	rc = appointment_get(t, &a, &old);
	if (rc == -EIO)
		return TOWER_NOT_READY;
	if (rc == 0 && old.epoch == u->row.epoch) {
		used = blob_slots(old.blob_sz);
	} else {
		u->row.appointment_cnt++;
		c->d.appointments++;
	}
	diff = (int64_t)blob_slots(in->blob_sz) - used;
	if (diff > u->row.slots && diff > 0) {
		out->text = "not enough slots";
		return TOWER_AUTH;
	}
	u->row.slots -= diff;
	u->dirty = true;
	put_appointment(c, in, &a, u->row.epoch);
	change_watch(&c->adds, &a.locator);
	out->start_block = t->tip.height;
	out->available_slots = slots_shown(&u->row);
	return TOWER_PENDING;
}

enum tower_status tower_add_appointment(struct tower *t, const struct tower_add *a, struct tower_add_reply *out,
					tower_done_fn done, void *arg)
{
	enum tower_status st;
	struct change c;

	memset(out, 0, sizeof(*out));
	tower_enter(t);
	if (!t->has_tip)
		return TOWER_NOT_READY;
	if (t->cfg.max_appointments > 0 && t->levels.appointments >= (int64_t)t->cfg.max_appointments)
		return TOWER_FULL;
	change_begin(&c, t);
	st = add(&c, a, out);
	if (st == TOWER_PENDING)
		return commit_for(&c, done, arg);
	change_drop(&c);
	return st;
}
