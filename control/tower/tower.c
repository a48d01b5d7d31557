#include <errno.h>
#include <stdlib.h>

#include "log/log.h"
#include "tower/tower_priv.h"

static const struct slice none = {NULL, 0};

uint8_t *buf_room(struct buf *b, size_t sz)
{
	if (sz > b->cap) {
		free(b->p);
		b->cap = sz < 4096 ? 4096 : sz + sz / 2;
		b->p = malloc(b->cap);
		if (b->p == NULL)
			abort();
	}
	return b->p;
}

struct slice buf_copy(struct buf *b, struct slice src)
{
	uint8_t *p = buf_room(b, src.sz + 1);

	if (src.sz > 0)
		memcpy(p, src.p, src.sz);
	return (struct slice){p, src.sz};
}

void log_bad_row(const char *cf, struct slice key)
{
	log_error("bad_row", "A row of the store cannot be understood and is passed over", log_str("cf", cf),
		  log_hex("key", key.p, key.sz));
}

/* --- rows ----------------------------------------------------------------------------------------------------- */

int user_get(struct tower *t, const struct user_id *u, struct user_row *r)
{
	struct key k = key_user(u);
	struct slice v;
	int rc = store_get(t->st, STORE_USERS, key_slice(&k), &v);

	if (rc == 0 && !user_row_decode(v, r)) {
		log_bad_row("users", key_slice(&k));
		rc = -ENOENT;
	}
	return rc;
}

int tracker_get(struct tower *t, const struct appointment_key *a, struct tracker_row *r)
{
	struct key k = key_appointment(a);
	struct slice v;
	int rc = store_get(t->st, STORE_TRACKERS, key_slice(&k), &v);

	if (rc == 0 && !tracker_row_decode(v, r)) {
		log_bad_row("trackers", key_slice(&k));
		rc = -ENOENT;
	}
	return rc;
}

int appointment_get(struct tower *t, const struct appointment_key *a, struct appointment_row *r)
{
	struct key k = key_appointment(a);
	struct slice v;
	int rc = store_get(t->st, STORE_APPOINTMENTS, key_slice(&k), &v);

	if (rc == 0 && !appointment_row_decode(v, r)) {
		log_bad_row("appointments", key_slice(&k));
		rc = -ENOENT;
	}
	return rc;
}

int header_get(struct tower *t, uint32_t height, struct header_row *r)
{
	struct key k = key_height(height);
	struct slice v;
	int rc = store_get(t->st, STORE_HEADERS, key_slice(&k), &v);

	if (rc == 0 && !header_row_decode(v, r)) {
		log_bad_row("headers", key_slice(&k));
		rc = -ENOENT;
	}
	return rc;
}

bool user_alive_at(const struct tower *t, const struct user_row *u, uint32_t height)
{
	return height < (uint64_t)u->expiry + t->cfg.expiry_delta;
}

bool row_alive_at(struct tower *t, const struct user_id *id, uint32_t epoch, uint32_t height)
{
	struct user_row u;

	return user_get(t, id, &u) == 0 && u.epoch == epoch && user_alive_at(t, &u, height);
}

bool tracker_alive_at(struct tower *t, const struct user_id *id, const struct tracker_row *r, uint32_t height)
{
	return r->confirmed_height != HEIGHT_NONE || row_alive_at(t, id, r->epoch, height);
}

uint32_t slots_shown(const struct user_row *u)
{
	return u->slots < 0 ? 0 : u->slots > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)u->slots;
}

/* --- who waits -------------------------------------------------------------------------------------------------- */

struct waiter *waiter_new(struct tower *t, tower_done_fn done, void *arg)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (w == NULL)
		abort();
	w->t = t;
	w->done = done;
	w->arg = arg;
	w->next = t->wait_first;
	if (w->next != NULL)
		w->next->prev = w;
	t->wait_first = w;
	return w;
}

static void unlink_waiter(struct waiter *w)
{
	if (w->next != NULL)
		w->next->prev = w->prev;
	if (w->prev != NULL)
		w->prev->next = w->next;
	else if (w->t != NULL)
		w->t->wait_first = w->next;
}

void waiter_drop(struct waiter *w)
{
	if (w->t != NULL)
		unlink_waiter(w);
	free(w);
}

void waiter_done(void *arg, bool ok)
{
	struct waiter *w = arg;
	struct tower *t = w->t;

	if (t != NULL && w->done != NULL)
		w->done(w->arg, ok ? TOWER_OK : TOWER_STORE_FAILED);
	else if (t != NULL && ok)
		t->ops.block_ack(t->arg, w->height, &w->hash);
	waiter_drop(w);
}

/* --- start -------------------------------------------------------------------------------------------------------- */

static bool count_user(void *arg, struct slice key, struct slice value)
{
	struct tower *t = arg;
	struct user_row r;

	if (!user_row_decode(value, &r)) {
		log_bad_row("users", key);
		return true;
	}
	if (!user_alive_at(t, &r, t->tip.height))
		return true;
	t->levels.users++;
	t->levels.appointments += (int64_t)r.appointment_cnt - r.tracker_cnt;
	t->levels.trackers += r.tracker_cnt;
	return true;
}

/* Confirmed trackers that no living user counts. */
static bool count_confirmed(void *arg, struct slice key, struct slice value)
{
	struct tower *t = arg;
	struct appointment_key a;
	struct tracker_row r;
	uint32_t height;

	(void)value;
	if (key_confirmed_decode(key, &height, &a) && tracker_get(t, &a, &r) == 0 &&
	    !row_alive_at(t, &a.user, r.epoch, t->tip.height))
		t->levels.trackers++;
	return true;
}

static bool load_tracker(void *arg, struct slice key, struct slice value)
{
	struct tower *t = arg;
	struct appointment_key a;
	struct tracker_row r;

	if (!key_appointment_decode(key, &a) || !tracker_row_decode(value, &r)) {
		log_bad_row("trackers", key);
		return true;
	}
	/* Also if the rows cannot be read now. */
	penalty_add(t, &r.penalty_txid)->committed = true;
	penalty_review(t, &r.penalty_txid);
	return true;
}

/* Everything in memory that mirrors the store. */
static int load(struct tower *t)
{
	int rc = chain_load(t);

	t->levels = (struct levels){0};
	t->purge = (struct purge_place){.in_pass = false};
	if (rc == 0)
		rc = store_scan(t->st, STORE_USERS, none, none, false, true, count_user, t);
	if (rc == 0)
		rc = store_scan(t->st, STORE_CONFIRMED, none, none, false, false, count_confirmed, t);
	if (rc == 0)
		rc = store_scan(t->st, STORE_TRACKERS, none, none, false, true, load_tracker, t);
	if (rc == 0)
		rc = sending_load(t);
	return rc;
}

static int check_network(struct tower *t)
{
	static const struct slice key = {(const uint8_t *)"network", 7};
	const uint8_t mine[2] = {1, (uint8_t)t->cfg.network->id};
	struct store_batch *b;
	struct slice v;
	int rc = store_get(t->st, STORE_META, key, &v);

	if (rc == 0)
		return v.sz == 2 && memcmp(v.p, mine, 2) == 0 ? 0 : -EPROTO;
	if (rc != -ENOENT)
		return rc;
	b = store_batch_new(t->st);
	store_put(b, STORE_META, key, (struct slice){mine, 2});
	rc = store_write(t->st, b, NULL, NULL);
	store_batch_free(b);
	return rc;
}

struct tower *tower_new(const struct tower_config *cfg, struct store *st, const struct tower_ops *ops,
			void *arg, const char **why)
{
	struct tower *t = calloc(1, sizeof(*t));
	int rc;

	*why = "out of memory";
	if (t == NULL)
		return NULL;
	t->cfg = *cfg;
	t->st = st;
	t->ops = *ops;
	t->arg = arg;
	t->unsettled_height = HEIGHT_NONE;
	t->store_epoch = store_epoch(st);
	rc = check_network(t);
	*why = rc == -EPROTO ? "the store belongs to another network" : "the store cannot be used";
	if (rc == 0) {
		rc = load(t);
		*why = rc == -EPROTO ? "the store was written by a newer version"
				     : "the store cannot be read (store_read_failed in the log names the "
				       "file): put the newest checkpoint's store in its place";
	}
	if (rc < 0) {
		tower_free(t);
		return NULL;
	}
	return t;
}

void tower_free(struct tower *t)
{
	while (t->wait_first != NULL) {
		struct waiter *w = t->wait_first;

		unlink_waiter(w);
		w->t = NULL;
		w->next = w->prev = NULL;
		if (w->done != NULL)
			w->done(w->arg, TOWER_STORE_FAILED);
	}
	events_clear(t);
	free(t->staged);
	reorged_free(&t->reorged);
	reorged_free(&t->resent);
	sending_flush(t);
	penalties_free(t);
	free(t->forgotten);
	free(t->plain.p);
	free(t->appointment.p);
	free(t->tracker.p);
	free(t->undo.p);
	free(t);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

/* The store was opened again: what it holds now is durable, and may be less than we thought.  That the tip is still the
   same says nothing of the rest, and the dataplane was told things that may not be in it. */
static void reload(struct tower *t)
{
	int rc = load(t);

	if (rc < 0) {
		log_error("reload_failed", "The store cannot be read after it was opened again");
		return;
	}
	t->store_epoch = store_epoch(t->st);
	if (t->unsettled_height != HEIGHT_NONE && t->unsettled_height > t->tip.height)
		t->unsettled_height = t->tip.height;
	log_warn("store_reopened", "The store was opened again: the session starts over",
		 log_u64("tip", t->tip.height));
	tower_session_lost(t);
	if (t->ops.session_reset != NULL)
		t->ops.session_reset(t->arg);
}

void tower_enter(struct tower *t)
{
	if (!store_ok(t->st))
		store_recover(t->st);
	if (t->store_epoch != store_epoch(t->st))
		reload(t);
}

void tower_tick(struct tower *t, uint64_t now_ns)
{
	t->now_ns = now_ns;
	tower_enter(t);
	events_drain(t);
	if (t->has_tip && t->ev_first == NULL)
		block_complete_rest(t);
	reorged_follow(t);
	penalties_send_due(t, SEND_PER_TICK);
	overdue_tick(t);
	sending_flush(t);
}

void tower_info_get(struct tower *t, struct tower_info *out)
{
	*out = t->totals;
	out->overdue = t->overdue;
	out->users = (uint64_t)t->levels.users;
	out->appointments = (uint64_t)t->levels.appointments;
	out->trackers = (uint64_t)t->levels.trackers;
	out->has_tip = t->has_tip;
	out->tip_height = t->tip.height;
	out->tip_hash = t->tip.hash;
	out->store_ok = store_ok(t->st);
}
