/* Order of work in a block: users become outdated, then breaches, then confirmations, then completions (spec/teos.md
   sections 8.2, 9.3).  Everything is one batch with the header and the tip. */
#include <errno.h>
#include <stdlib.h>

#include "kill/kill_point.h"
#include "log/log.h"
#include "teos/blob.h"
#include "tower/tower_priv.h"

#define OUTDATED_LINES 64 /* in the log, of one block */

static const struct slice from_start = {NULL, 0};

/* --- breaches ----------------------------------------------------------------------------------------------------- */

/* The hits of one locator in one block: normally one, two if both ends of two txids agree. */
struct group {
	struct change *c; /* NULL: only answer */
	bool answered;
	struct tower *t;
	const struct link_hit_info *h;
	size_t cnt;
	uint32_t height; /* at which users must be alive */
};

static struct dispute dispute_of(const struct link_hit_info *h)
{
	return (struct dispute){h->rec.txid, h->out_cnt, h->rec.scheme};
}

/* The first hit that the blob has a penalty for; the penalty is in t->plain. */
static const struct link_hit_info *open_blob(struct tower *t, const struct group *g,
					     const struct appointment_row *r, size_t *sz, struct hash256 *txid)
{
	uint8_t *plain = buf_room(&t->plain, r->blob_sz + 1);

	for (size_t i = 0; i < g->cnt; i++) {
		struct dispute d = dispute_of(&g->h[i]);

		if (penalty_open(plain, sz, r->blob, r->blob_sz, &d, txid))
			return &g->h[i];
	}
	return NULL;
}

/* Sends a penalty that nobody has sent yet. */
static struct penalty *answer(struct tower *t, const struct link_hit_info *h, const struct hash256 *txid,
			      size_t sz)
{
	struct penalty *p = penalty_add(t, txid);

	if (p->hit_ns == 0) {
		p->hit_ns = h->rec.hit_ns;
		p->last_byte_ns = h->rec.last_byte_ns;
	}
	if (p->tries == 0)
		penalty_send(t, p, t->plain.p, sz);
	return p;
}

/* The height in which the same penalty is known to be confirmed, by another user's tracker. */
static bool confirmed_sibling(void *arg, struct slice key, struct slice value)
{
	struct group *g = arg;
	struct appointment_key a;
	struct hash256 txid;
	struct tracker_row r;

	(void)value;
	if (key_by_penalty_decode(key, &txid, &a) && tracker_get(g->t, &a, &r) == 0 &&
	    r.confirmed_height != HEIGHT_NONE) {
		g->height = r.confirmed_height;
		return false;
	}
	return true;
}

static uint32_t confirmed_height_of(struct tower *t, const struct hash256 *penalty)
{
	struct group g = {.t = t, .height = HEIGHT_NONE};
	struct key k = key_penalty(penalty);

	if (store_scan(t->st, STORE_BY_PENALTY, key_slice(&k), from_start, false, false, confirmed_sibling,
		       &g) < 0)
		return HEIGHT_NONE;
	return g.height;
}

static void put_tracker(struct change *c, const struct appointment_key *a, const struct tracker_row *r)
{
	uint8_t *v = buf_room(&c->t->tracker, TRACKER_ROW_HEAD_SZ + r->raw_sz);
	struct key k = key_appointment(a);

	tracker_row_head(v, r);
	memcpy(v + TRACKER_ROW_HEAD_SZ, r->raw, r->raw_sz);
	change_put(c, STORE_TRACKERS, &k, (struct slice){v, TRACKER_ROW_HEAD_SZ + r->raw_sz});
}

static void put_undo(struct change *c, uint32_t height, enum undo_kind kind, const struct appointment_key *a,
		     const struct undo_row *r)
{
	size_t room = UNDO_ROW_HEAD_SZ + r->appointment.sz + r->tracker.sz;
	uint8_t *v = buf_room(&c->t->undo, room);
	struct key k = key_undo(height, kind, a);

	change_put(c, STORE_UNDO, &k, (struct slice){v, undo_row_encode(v, r)});
}

static void confirm(struct change *c, const struct appointment_key *a, uint32_t height)
{
	struct key k = key_confirmed(height, a);

	change_put(c, STORE_CONFIRMED, &k, from_start);
	put_undo(c, height, UNDO_CONFIRMED, a, &(struct undo_row){.slots = 0});
	c->totals.penalties_confirmed_total++;
}

/* The dispute for the undo row, while there is room. */
static struct slice dispute_kept(struct change *c, const struct link_hit_info *h)
{
	size_t sz = h->raw == NULL ? 0 : h->rec.raw_sz;

	if (c->dispute_bytes + sz > DISPUTE_BYTES_MAX)
		return from_start;
	c->dispute_bytes += sz;
	return (struct slice){h->raw, sz};
}

static void create_tracker(struct group *g, const struct appointment_key *a, uint32_t epoch,
			   const struct link_hit_info *h, const struct hash256 *penalty, size_t sz)
{
	struct user_edit *u = change_owner(g->c, &a->user, epoch);
	struct penalty *p = answer(g->t, h, penalty, sz);
	struct tracker_row r = {
		.dispute_txid = h->rec.txid,
		.penalty_txid = *penalty,
		.epoch = epoch,
		.dispute_height = h->rec.height,
		.confirmed_height = p->committed ? confirmed_height_of(g->t, penalty) : HEIGHT_NONE,
		.since_height = p->since,
		.raw = g->t->plain.p,
		.raw_sz = (uint32_t)sz,
	};
	struct key by_penalty = key_by_penalty(penalty, a);
	struct locator l = locator_of_txid(penalty, LOCATOR_INTERNAL);

	put_tracker(g->c, a, &r);
	change_put(g->c, STORE_BY_PENALTY, &by_penalty, from_start);
	put_undo(g->c, h->rec.height, UNDO_CREATED, a,
		 &(struct undo_row){.appointment = dispute_kept(g->c, h)});
	if (u != NULL)
		u->row.tracker_cnt++;
	if (r.confirmed_height != HEIGHT_NONE) {
		confirm(g->c, a, r.confirmed_height);
		if (u != NULL)
			u->row.confirmed_cnt++;
	}
	g->c->d.appointments--;
	g->c->d.trackers++;
	g->c->totals.breaches_total++;
	change_watch(&g->c->adds, &l);
	change_note(g->c, &(struct note){NOTE_CREATED, *a, *penalty, h->rec.txid, h->rec.height});
}

/* Slots lost by what an undo row of the same place already holds: the key was found invalid twice in one block. */
static uint32_t lost_before(struct tower *t, const struct key *undo)
{
	struct appointment_row ap;
	struct undo_row r;
	struct slice v;

	if (store_get(t->st, STORE_UNDO, key_slice(undo), &v) < 0 || !undo_row_decode(v, &r) ||
	    !appointment_row_decode(r.appointment, &ap))
		return 0;
	return r.slots + (r.tracker.sz > 0 ? 0 : blob_slots(ap.blob_sz));
}

/* A current user loses the slots, a legacy user gets them back (section 6.4). */
static void delete_invalid(struct group *g, const struct appointment_key *a, const struct appointment_row *r,
			   struct slice row)
{
	static const uint8_t given_back[1] = {1};
	uint32_t height = g->h[0].rec.height;
	struct user_edit *u = change_owner(g->c, &a->user, r->epoch);
	bool refund = u != NULL && u->row.generation == CLIENT_LEGACY;
	struct key undo = key_undo(height, UNDO_INVALID, a), k = key_appointment(a);
	struct key by_user = key_by_user(a);

	put_undo(g->c, height, UNDO_INVALID, a,
		 &(struct undo_row){.slots = lost_before(g->t, &undo),
				    .appointment = row,
				    .tracker = {given_back, refund ? sizeof(given_back) : 0}});
	change_del(g->c, STORE_APPOINTMENTS, &k);
	change_del(g->c, STORE_BY_USER, &by_user);
	if (u != NULL)
		u->row.appointment_cnt--;
	if (refund)
		u->row.slots += blob_slots(r->blob_sz);
	g->c->d.appointments--;
	g->c->totals.invalid_blobs_total++;
	change_watch(&g->c->dels, &a->locator);
	change_note(g->c, &(struct note){.kind = NOTE_INVALID, .key = *a, .height = height});
}

/* As row_alive_at; a read that fails fails the change. */
static bool owner_alive(struct group *g, const struct user_id *id, uint32_t epoch)
{
	const struct user_edit *u;

	if (g->c == NULL)
		return row_alive_at(g->t, id, epoch, g->height);
	u = change_user(g->c, id);
	return u != NULL && u->row.epoch == epoch && user_alive_at(g->t, &u->row, g->height);
}

static bool breach_one(void *arg, struct slice key, struct slice value)
{
	struct group *g = arg;
	const struct link_hit_info *h;
	struct appointment_row r;
	struct appointment_key a;
	struct tracker_row tr;
	struct hash256 penalty;
	size_t sz;
	int rc;

	if (!key_appointment_decode(key, &a) || !appointment_row_decode(value, &r)) {
		log_bad_row("appointments", key);
		return true;
	}
	if (!owner_alive(g, &a.user, r.epoch))
		return true;
	rc = tracker_get(g->t, &a, &tr);
	if (rc == -EIO && g->c != NULL)
		g->c->failed = true;
	if (rc != -ENOENT)
		return true;
	h = open_blob(g->t, g, &r, &sz, &penalty);
	if (g->c == NULL) {
		if (h != NULL) {
			answer(g->t, h, &penalty, sz);
			g->answered = true;
		}
	} else if (h != NULL) {
		create_tracker(g, &a, r.epoch, h, &penalty, sz);
	} else {
		delete_invalid(g, &a, &r, value);
	}
	return true;
}

static void breach_group(struct group *g)
{
	struct key k = key_locator(&g->h[0].rec.locator);

	if (store_scan(g->t->st, STORE_APPOINTMENTS, key_slice(&k), from_start, false, true, breach_one, g) <
		    0 &&
	    g->c != NULL)
		g->c->failed = true;
}

bool hit_answer(struct tower *t, const struct link_hit_info *h)
{
	struct group g = {.t = t, .h = h, .cnt = 1, .height = h->rec.height};

	if (t->has_tip && g.height < t->tip.height)
		g.height = t->tip.height;
	breach_group(&g);
	return g.answered;
}

/* --- confirmations ---------------------------------------------------------------------------------------------- */

struct confirming {
	struct change *c;
	const struct link_hit_info *h;
	uint32_t alive_height;
};

static bool confirm_one(void *arg, struct slice key, struct slice value)
{
	struct confirming *f = arg;
	struct tower *t = f->c->t;
	uint32_t height = f->h->rec.height;
	struct appointment_key a;
	struct hash256 txid;
	struct tracker_row r;
	struct user_edit *u;
	int rc;

	(void)value;
	if (!key_by_penalty_decode(key, &txid, &a)) {
		log_bad_row("by_penalty", key);
		return true;
	}
	rc = tracker_get(t, &a, &r);
	if (rc == -EIO)
		f->c->failed = true;
	if (rc < 0 || r.confirmed_height != HEIGHT_NONE)
		return true;
	/* The row's bytes lie in the store's memory, which the next read reuses. */
	r.raw = buf_copy(&t->plain, (struct slice){r.raw, r.raw_sz}).p;
	u = change_user(f->c, &a.user);
	if (u == NULL || u->row.epoch != r.epoch || !user_alive_at(t, &u->row, f->alive_height))
		return true;
	r.confirmed_height = height;
	put_tracker(f->c, &a, &r);
	confirm(f->c, &a, height);
	u->row.confirmed_cnt++;
	u->dirty = true;
	change_note(f->c, &(struct note){NOTE_CONFIRMED, a, txid, r.dispute_txid, height});
	return true;
}

static void confirm_hit(struct change *c, const struct link_hit_info *h, uint32_t alive_height)
{
	struct confirming f = {c, h, alive_height};
	struct key k = key_penalty(&h->rec.txid);

	/* Most hits are disputes.  In a block with thousands of them what need not be read is not read. */
	if (penalty_find(c->t, &h->rec.txid) == NULL)
		return;
	if (store_scan(c->t->st, STORE_BY_PENALTY, key_slice(&k), from_start, false, false, confirm_one, &f) <
	    0)
		c->failed = true;
}

/* --- completions -------------------------------------------------------------------------------------------------- */

struct completing {
	struct change *c;
	uint32_t height, left;
};

static void complete(struct completing *k, uint32_t confirmed, const struct appointment_key *a,
		     const struct tracker_row *tr, struct slice tracker)
{
	struct tower *t = k->c->t;
	struct key row = key_appointment(a), by_user = key_by_user(a);
	struct key by_penalty = key_by_penalty(&tr->penalty_txid, a);
	struct key by_height = key_confirmed(confirmed, a);
	struct locator l = locator_of_txid(&tr->penalty_txid, LOCATOR_INTERNAL);
	struct user_edit *u = change_owner(k->c, &a->user, tr->epoch);
	struct appointment_row ap;
	struct slice v;
	uint32_t slots;

	if (store_get(t->st, STORE_APPOINTMENTS, key_slice(&row), &v) < 0 || !appointment_row_decode(v, &ap)) {
		log_bad_row("appointments", key_slice(&row));
		return;
	}
	slots = blob_slots(ap.blob_sz);
	put_undo(k->c, k->height, UNDO_COMPLETED, a,
		 &(struct undo_row){.slots = slots, .appointment = v, .tracker = tracker});
	change_del(k->c, STORE_APPOINTMENTS, &row);
	change_del(k->c, STORE_TRACKERS, &row);
	change_del(k->c, STORE_BY_USER, &by_user);
	change_del(k->c, STORE_BY_PENALTY, &by_penalty);
	change_del(k->c, STORE_CONFIRMED, &by_height);
	if (u != NULL) {
		u->row.slots += slots;
		u->row.appointment_cnt--;
		u->row.tracker_cnt--;
		u->row.confirmed_cnt--;
	}
	k->c->d.trackers--;
	k->c->totals.completed_total++;
	change_watch(&k->c->dels, &a->locator);
	change_watch(&k->c->dels, &l);
	change_note(k->c, &(struct note){NOTE_RESOLVED, *a, tr->penalty_txid, tr->dispute_txid, k->height});
}

static bool complete_one(void *arg, struct slice key, struct slice value)
{
	struct completing *k = arg;
	struct tower *t = k->c->t;
	struct appointment_key a;
	struct tracker_row tr;
	struct slice row;
	struct key rk;
	uint32_t confirmed;

	(void)value;
	if (!key_confirmed_decode(key, &confirmed, &a)) {
		log_bad_row("confirmed", key);
		return true;
	}
	if ((uint64_t)confirmed + TOWER_RESOLVED_DEPTH > k->height || k->left == 0)
		return false;
	rk = key_appointment(&a);
	if (store_get(t->st, STORE_TRACKERS, key_slice(&rk), &row) < 0) {
		log_bad_row("trackers", key_slice(&rk));
		return true;
	}
	row = buf_copy(&t->tracker, row);
	if (!tracker_row_decode(row, &tr)) {
		log_bad_row("trackers", key_slice(&rk));
		return true;
	}
	complete(k, confirmed, &a, &tr, row);
	k->left--;
	return true;
}

static void complete_due(struct completing *k)
{
	if (store_scan(k->c->t->st, STORE_CONFIRMED, from_start, from_start, false, false, complete_one, k) < 0)
		k->c->failed = true;
}

void block_complete_rest(struct tower *t)
{
	struct completing k = {.height = t->tip.height, .left = COMPLETE_PER_BLOCK};
	struct change c;

	change_begin(&c, t);
	k.c = &c;
	complete_due(&k);
	if (c.ops == 0)
		change_drop(&c);
	else
		change_commit(&c, NULL, NULL);
}

/* --- the whole block ---------------------------------------------------------------------------------------------- */

/* Counters only: that these users are dead follows from the height. */
static bool outdate_one(void *arg, struct slice key, struct slice value)
{
	struct change *c = arg;
	struct user_id id;
	struct user_row u;
	uint32_t expiry;
	int rc;

	(void)value;
	if (!key_expiry_decode(key, &expiry, &id)) {
		log_bad_row("expiry", key);
		return true;
	}
	/* As it is in the store: this comes before anything else in the change. */
	rc = user_get(c->t, &id, &u);
	if (rc == -EIO)
		c->failed = true;
	if (rc < 0 || u.expiry != expiry)
		return true;
	c->d.appointments -= (int64_t)u.appointment_cnt - u.tracker_cnt;
	c->d.trackers -= (int64_t)u.tracker_cnt - u.confirmed_cnt;
	/* Thousands may have registered in one block; a block does not wait for as many lines. */
	if (--c->d.users >= -OUTDATED_LINES)
		log_info("outdated", "A subscription is outdated", log_hex("user", id.b, USER_ID_SZ));
	return true;
}

static void outdate(struct change *c, uint32_t height)
{
	struct key k;

	if (height < c->t->cfg.expiry_delta)
		return;
	k = key_height(height - c->t->cfg.expiry_delta);
	if (store_scan(c->t->st, STORE_EXPIRY, key_slice(&k), from_start, false, false, outdate_one, c) < 0)
		c->failed = true;
	if (c->d.users < -OUTDATED_LINES)
		log_info("outdated_more", "More subscriptions are outdated",
			 log_u64("count", (uint64_t)(-c->d.users - OUTDATED_LINES)));
}

static int by_locator(const void *a, const void *b)
{
	const struct link_hit_info *x = a, *y = b;
	int d = memcmp(x->rec.locator.b, y->rec.locator.b, LOCATOR_SZ);

	if (d != 0)
		return d;
	return x->rec.tx_idx < y->rec.tx_idx ? -1 : x->rec.tx_idx > y->rec.tx_idx;
}

static void apply_hits(struct change *c, struct link_hit_info *h, size_t cnt, uint32_t alive_height)
{
	if (cnt > 0)
		qsort(h, cnt, sizeof(*h), by_locator);
	for (size_t i = 0, n; i < cnt; i += n) {
		for (n = 1; i + n < cnt && memcmp(h[i].rec.locator.b, h[i + n].rec.locator.b, LOCATOR_SZ) == 0;)
			n++;
		struct group g = {.c = c, .t = c->t, .h = h + i, .cnt = n, .height = alive_height};

		breach_group(&g);
	}
	for (size_t i = 0; i < cnt; i++)
		confirm_hit(c, &h[i], alive_height);
}

/* Keeps the hits that belong to the block; others are of a block that never came. */
static size_t staged_of(struct tower *t, const struct hash256 *hash)
{
	size_t n = 0;

	for (size_t i = 0; i < t->staged_cnt; i++)
		if (hash256_eq(&t->staged[i].rec.block_hash, hash))
			t->staged[n++] = t->staged[i];
		else
			free(t->staged[i].raw);
	t->staged_cnt = n;
	return n;
}

static bool del_one(void *arg, struct slice key, struct slice value)
{
	struct change *c = arg;

	(void)value;
	store_del(c->b, STORE_UNDO, key);
	return true;
}

static void forget_old(struct change *c, uint32_t height)
{
	struct key k;

	if (height >= HEADERS_KEPT) {
		k = key_height(height - HEADERS_KEPT);
		change_del(c, STORE_HEADERS, &k);
	}
	if (height < TOWER_UNDO_DEPTH)
		return;
	k = key_height(height - TOWER_UNDO_DEPTH);
	if (store_scan(c->t->st, STORE_UNDO, key_slice(&k), from_start, false, false, del_one, c) < 0)
		c->failed = true;
}

static void put_header(struct change *c, const struct link_block_connected *rec)
{
	struct header_row r = {.hash = rec->hash};
	struct key k = key_height(rec->height);
	uint8_t v[HEADER_ROW_SZ];

	memcpy(r.header, rec->header, HEADER_SZ);
	memcpy(r.work, rec->work, sizeof(r.work));
	header_row_encode(v, &r);
	change_put(c, STORE_HEADERS, &k, (struct slice){v, sizeof(v)});
}

int block_connect(struct tower *t, const struct link_block_connected *rec)
{
	size_t hit_cnt = staged_of(t, &rec->hash);
	struct completing k = {.height = rec->height, .left = COMPLETE_PER_BLOCK};
	struct change c;
	int rc;

	change_begin(&c, t);
	k.c = &c;
	outdate(&c, rec->height);
	apply_hits(&c, t->staged, hit_cnt, rec->height);
	KILL_POINT("tower:mid-block");
	complete_due(&k);
	put_header(&c, rec);
	forget_old(&c, rec->height);
	chain_put_tip(&c, rec->height, &rec->hash, rec->height);
	c.totals.blocks_total = 1;
	rc = change_commit_acked(&c, rec->height, &rec->hash);
	if (rc == 0) {
		KILL_POINT("tower:after-block");
		staged_clear(t);
		reorged_send(t);
		penalties_after_block(t);
		penalties_send_due(t, SEND_PER_TICK);
		log_debug("block", "Block connected", log_u64("height", rec->height),
			  log_hash("hash", rec->hash.b), log_u64("hits", hit_cnt));
	}
	return rc;
}

int block_repeated(struct tower *t, const struct link_block_connected *rec)
{
	size_t hit_cnt = staged_of(t, &rec->hash);
	struct change c;
	int rc;

	change_begin(&c, t);
	apply_hits(&c, t->staged, hit_cnt, t->tip.height);
	chain_put_tip(&c, t->tip.height, &t->tip.hash, rec->height);
	rc = change_commit_acked(&c, rec->height, &rec->hash);
	if (rc == 0)
		staged_clear(t);
	return rc;
}

int block_late_hit(struct tower *t, const struct link_hit_info *h)
{
	struct link_hit_info one = *h;
	struct change c;

	if (!chain_has(t, h->rec.height, &h->rec.block_hash)) {
		log_debug("late_hit_ignored", "A late hit in a block that is not on the chain",
			  log_hash("txid", h->rec.txid.b), log_u64("height", h->rec.height));
		return 0;
	}
	change_begin(&c, t);
	KILL_POINT("tower:late-hit");
	apply_hits(&c, &one, 1, t->tip.height);
	if (c.ops == 0 && !c.failed) {
		change_drop(&c);
		return 0;
	}
	return change_commit(&c, NULL, NULL);
}
