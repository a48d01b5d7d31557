/* Rows of registrations that have been outdated so long that no reorg brings them back, or that a newer registration has
   replaced.  Found by the expiry that still stands in STORE_EXPIRY; deleted in slices.

   A pass goes through the entries of STORE_EXPIRY that are due, and through the rows of each, in slices of TOWER_PURGE_ROWS
   rows looked at; where it is lies in memory only, so that no slice walks over what earlier ones have deleted.  An
   entry of which rows are kept (trackers followed to their end) stays, and is looked at again by the next pass, after
   the next block. */
#include <errno.h>

#include "log/log.h"
#include "tower/tower_priv.h"

static const struct slice none = {NULL, 0};

#define RECLAIM_ROWS 10000u /* deleted in a pass, for which the store is asked to give the space back */

/* A slice at work on the rows of one entry. */
struct slicing {
	struct change *c;
	struct purge_place *at;
	bool all;       /* the registration itself is gone, not only older ones */
	uint32_t epoch; /* the current one, if !all */
	uint32_t left;  /* rows that may still be looked at */
};

static void drop_tracker(struct change *c, const struct appointment_key *a, const struct tracker_row *r)
{
	struct key k = key_appointment(a), by_penalty = key_by_penalty(&r->penalty_txid, a);
	struct locator l = locator_of_txid(&r->penalty_txid, LOCATOR_INTERNAL);

	change_del(c, STORE_TRACKERS, &k);
	change_del(c, STORE_BY_PENALTY, &by_penalty);
	change_watch(&c->dels, &l);
	change_note(c, &(struct note){.kind = NOTE_PURGED, .key = *a, .penalty = r->penalty_txid});
}

static bool key_is(const struct key *k, struct slice s)
{
	return k->sz == s.sz && memcmp(k->b, s.p, s.sz) == 0;
}

static void key_set(struct key *k, struct slice s)
{
	memcpy(k->b, s.p, s.sz);
	k->sz = (uint32_t)s.sz;
}

static bool purge_row(void *arg, struct slice key, struct slice value)
{
	struct slicing *p = arg;
	struct appointment_key a;
	struct tracker_row tr;
	uint32_t epoch;
	struct key k;
	int rc;

	if (key_is(&p->at->row, key))
		return true; /* the last one of the slice before */
	if (p->left == 0)
		return false;
	p->left--;
	if (!key_by_user_decode(key, &a) || !by_user_row_decode(value, &epoch)) {
		log_bad_row("by_user", key);
		return true;
	}
	key_set(&p->at->row, key);
	if (!p->all && epoch == p->epoch)
		return true;
	rc = tracker_get(p->c->t, &a, &tr);
	if (rc == -EIO || (rc == 0 && tr.confirmed_height != HEIGHT_NONE)) {
		p->at->kept++; /* followed to the end */
		return true;
	}
	if (rc == 0)
		drop_tracker(p->c, &a, &tr);
	k = key_appointment(&a);
	change_del(p->c, STORE_APPOINTMENTS, &k);
	store_del(p->c->b, STORE_BY_USER, key);
	change_watch(&p->c->dels, &a.locator);
	p->at->deleted++;
	return true;
}

/* Rows of the entry at the place, from where the last slice ended; *left goes down by those looked at.  False: the store
   cannot be used, and the place is where it was. */
static bool purge_entry(struct tower *t, uint32_t *left)
{
	struct purge_place *at = &t->purge, before = *at;
	struct user_row row;
	struct user_id id;
	struct change c;
	struct slicing p = {.c = &c, .at = at, .left = *left};
	uint32_t expiry;
	struct key user;
	bool gone;
	int rc;

	key_expiry_decode(key_slice(&at->entry), &expiry, &id);
	user = key_user(&id);
	rc = user_get(t, &id, &row);
	if (rc == -EIO)
		return false;
	p.all = rc < 0 || row.expiry == expiry;
	p.epoch = rc < 0 ? 0 : row.epoch;
	change_begin(&c, t);
	if (store_scan(t->st, STORE_BY_USER, key_slice(&user), key_slice(&at->row), false, true, purge_row,
		       &p) < 0)
		c.failed = true;
	at->in_entry = p.left == 0;
	gone = !at->in_entry && at->kept == 0;
	if (gone) {
		change_del(&c, STORE_EXPIRY, &at->entry);
		if (p.all && rc == 0)
			change_del(&c, STORE_USERS, &user);
	}
	if (c.ops == 0 && !c.failed) {
		change_drop(&c);
	} else if (change_commit(&c, NULL, NULL) != 0) {
		*at = before;
		return false;
	}
	if (gone)
		log_info("purged", "An outdated subscription is deleted", log_hex("user", id.b, USER_ID_SZ));
	*left = p.left;
	return true;
}

static bool next_entry(void *arg, struct slice key, struct slice value)
{
	struct purge_place *at = arg;
	struct user_id id;
	uint32_t expiry;

	(void)value;
	if (key_is(&at->entry, key))
		return true; /* it was looked at, and had to stay */
	if (!key_expiry_decode(key, &expiry, &id)) {
		log_bad_row("expiry", key);
		return true;
	}
	if (expiry <= at->due) {
		key_set(&at->entry, key);
		at->row.sz = 0;
		at->kept = 0;
		at->in_entry = true;
	}
	return false;
}

bool tower_purge(struct tower *t)
{
	uint64_t wait = (uint64_t)t->cfg.expiry_delta + TOWER_UNDO_DEPTH;
	struct purge_place *at = &t->purge;
	uint32_t left = TOWER_PURGE_ROWS;

	if (!t->has_tip || t->tip.height < wait || t->ev_first != NULL || !store_ok(t->st))
		return false;
	/* A pass under way goes on to its end; the next one knows what is due by then. */
	if (!at->in_pass && at->height != t->tip.height)
		*at = (struct purge_place){
			.in_pass = true, .height = t->tip.height, .due = t->tip.height - (uint32_t)wait};
	while (at->in_pass && left > 0) {
		if (!at->in_entry && store_scan(t->st, STORE_EXPIRY, none, key_slice(&at->entry), false, false,
						next_entry, at) < 0)
			return false;
		if (!at->in_entry) {
			at->in_pass = false;
			if (at->deleted >= RECLAIM_ROWS)
				store_reclaim(t->st);
			break;
		}
		left--; /* an entry without rows is work too */
		if (!purge_entry(t, &left))
			return false;
	}
	return at->in_pass;
}
