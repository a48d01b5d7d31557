/* Rows of registrations that have been outdated so long that no reorg brings them back, or that a newer registration has
   replaced.  Found by the expiry that still stands in STORE_EXPIRY; deleted in pieces. */
#include <errno.h>

#include "log/log.h"
#include "tower/tower_priv.h"

static const struct slice none = {NULL, 0};

struct purging {
	struct change *c;
	bool all;       /* the registration itself is gone, not only older ones */
	uint32_t epoch; /* the current one, if !all */
	uint32_t left, kept;
};

static void drop_tracker(struct change *c, const struct appointment_key *a, const struct tracker_row *r)
{
	struct key k = key_appointment(a), by_penalty = key_by_penalty(&r->penalty_txid, a);
	struct locator l = locator_of_txid(&r->penalty_txid, LOCATOR_INTERNAL);

	change_del(c, STORE_TRACKERS, &k);
	change_del(c, STORE_BY_PENALTY, &by_penalty);
	change_watch(&c->dels, &l);
}

static bool purge_row(void *arg, struct slice key, struct slice value)
{
	struct purging *p = arg;
	struct appointment_key a;
	struct tracker_row tr;
	uint32_t epoch;
	struct key k;
	int rc;

	if (p->left == 0)
		return false;
	if (!key_by_user_decode(key, &a) || !by_user_row_decode(value, &epoch)) {
		log_bad_row("by_user", key);
		return true;
	}
	if (!p->all && epoch == p->epoch)
		return true;
	rc = tracker_get(p->c->t, &a, &tr);
	if (rc == -EIO || (rc == 0 && tr.confirmed_height != HEIGHT_NONE)) {
		p->kept++; /* followed to the end */
		return true;
	}
	if (rc == 0)
		drop_tracker(p->c, &a, &tr);
	k = key_appointment(&a);
	change_del(p->c, STORE_APPOINTMENTS, &k);
	store_del(p->c->b, STORE_BY_USER, key);
	change_watch(&p->c->dels, &a.locator);
	p->left--;
	return true;
}

/* One entry of STORE_EXPIRY that is due.  Returns rows deleted. */
static uint32_t purge_user(struct tower *t, uint32_t expiry, const struct user_id *id, uint32_t limit)
{
	struct key prefix = key_user(id), entry = key_expiry(expiry, id);
	struct purging p = {.left = limit};
	struct user_row row;
	struct change c;
	int rc = user_get(t, id, &row);

	if (rc == -EIO)
		return 0;
	change_begin(&c, t);
	p.c = &c;
	p.all = rc < 0 || row.expiry == expiry;
	p.epoch = rc < 0 ? 0 : row.epoch;
	if (store_scan(t->st, STORE_BY_USER, key_slice(&prefix), none, false, true, purge_row, &p) < 0)
		c.failed = true;
	if (p.left > 0 && p.kept == 0) {
		change_del(&c, STORE_EXPIRY, &entry);
		if (p.all && rc == 0)
			change_del(&c, STORE_USERS, &prefix);
		log_info("purged", "An outdated subscription is deleted", log_hex("user", id->b, USER_ID_SZ));
	}
	if (c.ops == 0)
		change_drop(&c);
	else
		change_commit(&c, NULL, NULL);
	return limit - p.left;
}

struct due {
	uint32_t height; /* entries at or below it */
	uint32_t cnt;
	struct {
		uint32_t expiry;
		struct user_id id;
	} e[16];
};

static bool due_one(void *arg, struct slice key, struct slice value)
{
	struct due *d = arg;

	(void)value;
	if (d->cnt == sizeof(d->e) / sizeof(d->e[0]) ||
	    !key_expiry_decode(key, &d->e[d->cnt].expiry, &d->e[d->cnt].id) || d->e[d->cnt].expiry > d->height)
		return false;
	d->cnt++;
	return true;
}

void purge_some(struct tower *t, uint32_t limit)
{
	uint64_t wait = (uint64_t)t->cfg.expiry_delta + TOWER_UNDO_DEPTH;
	struct due d = {.cnt = 0};

	if (!t->has_tip || t->tip.height < wait)
		return;
	d.height = t->tip.height - (uint32_t)wait;
	if (store_scan(t->st, STORE_EXPIRY, none, none, false, false, due_one, &d) < 0)
		return;
	for (uint32_t i = 0; i < d.cnt && limit > 0; i++)
		limit -= purge_user(t, d.e[i].expiry, &d.e[i].id, limit);
}
