#include <errno.h>
#include <search.h>
#include <stdlib.h>

#include "log/log.h"
#include "tower/tower_priv.h"

static int user_cmp(const void *a, const void *b)
{
	const struct user_edit *x = a, *y = b;

	return memcmp(x->id.b, y->id.b, USER_ID_SZ);
}

static void *must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

void change_begin(struct change *c, struct tower *t)
{
	*c = (struct change){.t = t, .b = store_batch_new(t->st)};
}

static struct user_edit *user_slot(struct change *c, const struct user_id *id, bool *fresh)
{
	struct user_edit *e = must(calloc(1, sizeof(*e))), **at;

	e->id = *id;
	at = must(tsearch(e, &c->users, user_cmp));
	*fresh = *at == e;
	if (!*fresh)
		free(e);
	return *at;
}

struct user_edit *change_user(struct change *c, const struct user_id *id)
{
	bool fresh;
	struct user_edit *e = user_slot(c, id, &fresh);

	if (fresh) {
		int rc = user_get(c->t, id, &e->row);

		e->exists = rc == 0;
		if (rc < 0 && rc != -ENOENT)
			c->failed = true;
	}
	return e->exists ? e : NULL;
}

struct user_edit *change_owner(struct change *c, const struct user_id *id, uint32_t epoch)
{
	struct user_edit *e = change_user(c, id);

	if (e == NULL || e->row.epoch != epoch)
		return NULL;
	e->dirty = true;
	return e;
}

struct user_edit *change_user_new(struct change *c, const struct user_id *id)
{
	bool fresh;
	struct user_edit *e = user_slot(c, id, &fresh);

	e->exists = true;
	e->dirty = true;
	e->row = (struct user_row){.slots = 0};
	return e;
}

void change_put(struct change *c, enum store_cf cf, const struct key *k, struct slice v)
{
	store_put(c->b, cf, key_slice(k), v);
	c->ops++;
}

void change_del(struct change *c, enum store_cf cf, const struct key *k)
{
	store_del(c->b, cf, key_slice(k));
	c->ops++;
}

void change_watch(struct locator_list *l, const struct locator *loc)
{
	if (l->cnt == l->cap) {
		l->cap = l->cap == 0 ? 16 : l->cap * 2;
		l->p = must(realloc(l->p, l->cap * sizeof(*l->p)));
	}
	l->p[l->cnt++] = *loc;
}

void change_note(struct change *c, const struct note *n)
{
	if (c->note_cnt == c->note_cap) {
		c->note_cap = c->note_cap == 0 ? 16 : c->note_cap * 2;
		c->notes = must(realloc(c->notes, c->note_cap * sizeof(*c->notes)));
	}
	c->notes[c->note_cnt++] = *n;
}

static void put_user(const void *node, VISIT which, void *change)
{
	const struct user_edit *e = *(struct user_edit *const *)node;
	uint8_t v[USER_ROW_SZ];
	struct key k = key_user(&e->id);

	if ((which != postorder && which != leaf) || !e->exists || !e->dirty)
		return;
	user_row_encode(v, &e->row);
	change_put(change, STORE_USERS, &k, (struct slice){v, sizeof(v)});
}

static bool none(void *arg, struct slice key, struct slice value)
{
	(void)key;
	(void)value;
	*(bool *)arg = true;
	return false;
}

/* An appointment has the locator, or a tracker's penalty maps to it. */
static bool still_watched(struct tower *t, const struct locator *l)
{
	struct key k = key_locator(l);
	const struct slice from = {NULL, 0};
	bool found = false;

	/* When the store cannot be read the locator stays: a hit for nothing costs little. */
	if (store_scan(t->st, STORE_BY_PENALTY, key_slice(&k), from, false, false, none, &found) < 0)
		return true;
	if (!found &&
	    store_scan(t->st, STORE_APPOINTMENTS, key_slice(&k), from, false, false, none, &found) < 0)
		return true;
	return found;
}

static int locator_cmp(const void *a, const void *b)
{
	return memcmp(a, b, LOCATOR_SZ);
}

static void drop_watches(struct tower *t, struct locator_list *l)
{
	if (l->cnt > 0)
		qsort(l->p, l->cnt, sizeof(*l->p), locator_cmp);
	for (size_t i = 0; i < l->cnt; i++)
		if ((i == 0 || locator_cmp(&l->p[i - 1], &l->p[i]) != 0) && !still_watched(t, &l->p[i]))
			t->ops.watch_del(t->arg, &l->p[i]);
}

static void log_created(const struct tower *t, const struct note *n)
{
	const struct penalty *p = penalty_find(t, &n->penalty);

	if (p != NULL && !p->committed)
		log_info("breach", "A revoked commitment is in a block", log_hash("txid", n->dispute.b),
			 log_hex("locator", n->key.locator.b, LOCATOR_SZ), log_u64("height", n->height),
			 log_hash("penalty", n->penalty.b), log_u64("last_byte_ns", p->last_byte_ns),
			 log_u64("hit_ns", p->hit_ns));
	log_info("tracker", "New tracker added", log_hex("locator", n->key.locator.b, LOCATOR_SZ),
		 log_hex("user", n->key.user.b, USER_ID_SZ), log_hash("penalty", n->penalty.b));
}

static void log_note(const struct note *n, enum log_level l, const char *event, const char *msg)
{
	log_at(l, event, msg, log_hex("locator", n->key.locator.b, LOCATOR_SZ),
	       log_hex("user", n->key.user.b, USER_ID_SZ), log_hash("penalty", n->penalty.b),
	       log_u64("height", n->height));
}

static void tell(const struct tower *t, const struct note *n)
{
	switch (n->kind) {
	case NOTE_CREATED:
		log_created(t, n);
		break;
	case NOTE_INVALID:
		log_warn("invalid_blob", "An appointment holds no penalty for its dispute: it is deleted",
			 log_hex("locator", n->key.locator.b, LOCATOR_SZ),
			 log_hex("user", n->key.user.b, USER_ID_SZ), log_u64("height", n->height));
		break;
	case NOTE_CONFIRMED:
		log_note(n, LOG_LVL_INFO, "penalty_confirmed", "A penalty is in a block");
		break;
	case NOTE_RESOLVED:
		log_note(n, LOG_LVL_INFO, "resolved", "A penalty is buried: its appointment is done");
		break;
	case NOTE_CREATED_UNDONE:
		log_note(n, LOG_LVL_WARN, "breach_undone",
			 "A reorg took a breach off the chain: its appointment is watched again");
		break;
	case NOTE_INVALID_UNDONE:
		log_note(n, LOG_LVL_INFO, "invalid_undone",
			 "A reorg took an invalid appointment's dispute off the chain");
		break;
	case NOTE_CONFIRMED_UNDONE:
		log_note(n, LOG_LVL_WARN, "confirmation_undone",
			 "A reorg took a penalty off the chain: it is sent again");
		break;
	case NOTE_RESOLVED_UNDONE:
		log_note(n, LOG_LVL_WARN, "resolved_undone", "A reorg made a penalty less deep");
		break;
	case NOTE_PURGED:
		break;
	}
}

static void follow(struct change *c)
{
	struct tower *t = c->t;
	struct tower_info *a = &t->totals, *d = &c->totals;

	if (c->sets_tip) {
		t->has_tip = true;
		t->tip = c->tip;
		/* The answer to an add may now be in the other branch. */
		if (t->unsettled_height != HEIGHT_NONE && t->unsettled_height > t->tip.height)
			t->unsettled_height = t->tip.height;
	}
	t->levels.users += c->d.users;
	t->levels.appointments += c->d.appointments;
	t->levels.trackers += c->d.trackers;
	a->breaches_total += d->breaches_total;
	a->invalid_blobs_total += d->invalid_blobs_total;
	a->penalties_confirmed_total += d->penalties_confirmed_total;
	a->completed_total += d->completed_total;
	a->blocks_total += d->blocks_total;
	a->reorg_blocks_total += d->reorg_blocks_total;
	drop_watches(t, &c->dels);
	for (size_t i = 0; i < c->adds.cnt; i++)
		t->ops.watch_add(t->arg, &c->adds.p[i]);
	if (c->adds.cnt > 0 && t->has_tip && t->unsettled_height == HEIGHT_NONE)
		t->unsettled_height = t->tip.height;
	if (c->note_cnt > 1)
		log_gather(true);
	for (size_t i = 0; i < c->note_cnt; i++) {
		tell(t, &c->notes[i]);
		if (c->notes[i].kind == NOTE_CREATED &&
		    penalty_followed(t, &c->notes[i].penalty, c->notes[i].height))
			continue;
		if (!hash256_is_zero(&c->notes[i].penalty))
			penalty_review(t, &c->notes[i].penalty);
	}
	if (c->note_cnt > 1)
		log_gather(false);
}

int change_commit(struct change *c, void (*done)(void *arg, bool ok), void *arg)
{
	int rc;

	twalk_r(c->users, put_user, c);
	rc = c->failed ? -EIO : store_write(c->t->st, c->b, done, arg);
	if (rc == 0)
		follow(c);
	change_drop(c);
	return rc;
}

void change_drop(struct change *c)
{
	tdestroy(c->users, free);
	store_batch_free(c->b);
	free(c->adds.p);
	free(c->dels.p);
	free(c->notes);
}

int change_commit_acked(struct change *c, uint32_t height, const struct hash256 *hash)
{
	struct waiter *w = waiter_new(c->t, NULL, NULL);
	int rc;

	w->height = height;
	w->hash = *hash;
	rc = change_commit(c, waiter_done, w);
	if (rc < 0)
		waiter_drop(w);
	return rc;
}
