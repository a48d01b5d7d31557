#include "rpc/rpc_priv.h"

#include <stdio.h>

#include <stdlib.h>

static struct tower *tower_of(const struct rpc_call *call)
{
	return ((struct rpc_ctx *)call->ctx)->env.tower;
}

json_t *rpc_json_hex(const uint8_t *p, size_t sz)
{
	char small[2 * 128 + 1];
	char *text = sz <= 128 ? small : malloc(2 * sz + 1);
	json_t *j;

	if (text == NULL)
		return NULL;
	hex_encode(text, p, sz);
	j = json_stringn_nocheck(text, 2 * sz);
	if (text != small)
		free(text);
	return j;
}

json_t *rpc_json_hash(const struct hash256 *h)
{
	char text[HASH_HEX_SZ];

	hash256_to_display(text, h);
	return json_stringn_nocheck(text, HASH_HEX_SZ - 1);
}

json_t *rpc_json_ascii(const char *text, size_t max)
{
	char copy[256];
	size_t n = 0;

	for (; n < max && n < sizeof(copy) && text[n] != '\0'; n++)
		copy[n] = text[n] >= 0x20 && text[n] <= 0x7e ? text[n] : '?';
	return json_stringn_nocheck(copy, n);
}

/* --- pages -------------------------------------------------------------------------------------------------- */

/* A page being filled.  The tower is asked for one row more than the page may hold, so that `next` is null exactly
   when nothing follows. */
struct page {
	struct tower *tower;
	json_t *rows;
	uint32_t limit;
	size_t bytes;
	bool more, failed;
	uint8_t last[RPC_APPT_KEY_SZ];
	size_t last_sz;
	const struct locator *only; /* getappointments: rows of other locators end the page */
};

static void page_begin(struct page *p, const struct rpc_call *call, const struct rpc_arg *limit,
		       uint32_t normal)
{
	*p = (struct page){.tower = tower_of(call),
			   .rows = json_array(),
			   .limit = limit->given ? (uint32_t)limit->u : normal};
	p->failed = p->rows == NULL;
}

/* False: the page is full, and the row belongs to the next one. */
static bool page_has_room(struct page *p, size_t row_sz)
{
	size_t cnt = json_array_size(p->rows);

	p->more = cnt >= p->limit || (cnt > 0 && p->bytes + row_sz > RPC_PAGE_BYTES_MAX);
	return !p->more && !p->failed;
}

static bool page_put(struct page *p, json_t *row, size_t row_sz, const void *key, size_t key_sz)
{
	if (json_array_append_new(p->rows, row) != 0) {
		p->failed = true;
		return false;
	}
	p->bytes += row_sz;
	memcpy(p->last, key, key_sz);
	p->last_sz = key_sz;
	return true;
}

static struct rpc_done page_end(struct page *p, json_t *reply, const char *name)
{
	json_t *next = p->more ? rpc_json_hex(p->last, p->last_sz) : json_null();

	if (p->failed || reply == NULL) {
		json_decref(p->rows);
		json_decref(reply);
		json_decref(next);
		return rpc_fail(RPC_INTERNAL, "out of memory");
	}
	json_object_set_new(reply, name, p->rows);
	json_object_set_new(reply, "next", next);
	return rpc_result(reply);
}

/* --- users -------------------------------------------------------------------------------------------------- */

static bool put_user_id(void *arg, const struct tower_user_info *u)
{
	struct page *p = arg;
	size_t row_sz = 2 * USER_ID_SZ + 3;

	return page_has_room(p, row_sz) &&
	       page_put(p, rpc_json_hex(u->id.b, USER_ID_SZ), row_sz, u->id.b, USER_ID_SZ);
}

struct rpc_done rpc_getusers(struct rpc_call *call)
{
	const struct rpc_arg *after = &call->arg[0];
	struct user_id from;
	struct page p;

	memcpy(from.b, after->b, USER_ID_SZ);
	page_begin(&p, call, &call->arg[1], RPC_KEYS_PAGE_MAX);
	tower_each_user(p.tower, after->given ? &from : NULL, p.limit + 1, put_user_id, &p);
	return page_end(&p, json_object(), "user_ids");
}

struct one_user {
	struct user_id want;
	struct tower_user_info info;
	bool found;
};

static bool take_user(void *arg, const struct tower_user_info *u)
{
	struct one_user *o = arg;

	o->found = memcmp(u->id.b, o->want.b, USER_ID_SZ) == 0;
	if (o->found)
		o->info = *u;
	return false;
}

/* Finds a user whether expired or not: the row that follows the largest id below the wanted one. */
static bool user_find(struct tower *t, const uint8_t id[USER_ID_SZ], struct one_user *o)
{
	struct user_id below;
	size_t i = USER_ID_SZ;

	memcpy(o->want.b, id, USER_ID_SZ);
	o->found = false;
	below = o->want;
	while (i > 0 && below.b[i - 1]-- == 0)
		i--;
	if (i > 0) /* not the id of zeros, which nobody has */
		tower_each_user(t, &below, 1, take_user, o);
	return o->found;
}

static bool put_uuid(void *arg, const struct locator *l, const struct uuid *id)
{
	struct page *p = arg;
	size_t row_sz = 2 * sizeof(id->b) + 3;

	return page_has_room(p, row_sz) &&
	       page_put(p, rpc_json_hex(id->b, sizeof(id->b)), row_sz, l->b, LOCATOR_SZ);
}

struct rpc_done rpc_getuser(struct rpc_call *call)
{
	const struct rpc_arg *after = &call->arg[1];
	struct one_user o;
	struct locator from;
	struct page p;

	if (!user_find(tower_of(call), call->arg[0].b, &o))
		return rpc_fail(RPC_NOT_FOUND, "no such user");
	memcpy(from.b, after->b, LOCATOR_SZ);
	page_begin(&p, call, &call->arg[2], RPC_KEYS_PAGE_MAX);
	tower_each_appointment_of_user(p.tower, &o.want, after->given ? &from : NULL, p.limit + 1, put_uuid,
				       &p);
	return page_end(&p,
			json_pack("{s:I, s:I}", "available_slots", (json_int_t)o.info.available_slots,
				  "subscription_expiry", (json_int_t)o.info.subscription_expiry),
			"appointments");
}

/* --- appointments and trackers ------------------------------------------------------------------------------ */

static void key_of(uint8_t key[RPC_APPT_KEY_SZ], const struct tower_found *f)
{
	const struct locator *l = f->is_tracker ? &f->tr.locator : &f->ap.locator;
	const struct user_id *u = f->is_tracker ? &f->tr.user : &f->ap.user;

	memcpy(key, l->b, LOCATOR_SZ);
	memcpy(key + LOCATOR_SZ, u->b, USER_ID_SZ);
}

/* Keys and their order are those of spec/teos.md section 16.2. */
static json_t *appointment_row(const struct tower_found *f)
{
	if (f->is_tracker)
		return json_pack("{s:o, s:o, s:o}", "dispute_txid", rpc_json_hash(&f->tr.dispute_txid),
				 "penalty_txid", rpc_json_hash(&f->tr.penalty_txid), "penalty_rawtx",
				 rpc_json_hex(f->tr.penalty_raw, f->tr.penalty_sz));
	return json_pack("{s:o, s:o, s:I}", "locator", rpc_json_hex(f->ap.locator.b, LOCATOR_SZ),
			 "encrypted_blob", rpc_json_hex(f->ap.blob, f->ap.blob_sz), "to_self_delay",
			 (json_int_t)f->ap.to_self_delay);
}

static bool put_appointment(void *arg, const struct tower_found *f)
{
	struct page *p = arg;
	size_t row_sz = f->is_tracker ? 2 * (size_t)f->tr.penalty_sz + 200 : 2 * (size_t)f->ap.blob_sz + 120;
	uint8_t key[RPC_APPT_KEY_SZ];

	key_of(key, f);
	if (p->only != NULL && memcmp(key, p->only->b, LOCATOR_SZ) != 0)
		return false;
	return page_has_room(p, row_sz) && page_put(p, appointment_row(f), row_sz, key, sizeof(key));
}

static void appointment_key_of(struct appointment_key *k, const struct rpc_arg *a)
{
	memcpy(k->locator.b, a->b, LOCATOR_SZ);
	memcpy(k->user.b, a->b + LOCATOR_SZ, USER_ID_SZ);
}

struct rpc_done rpc_getappointments(struct rpc_call *call)
{
	const struct rpc_arg *after = &call->arg[1];
	struct appointment_key from = {0}; /* no user has an id of zeros: before the first row */
	struct locator only;
	struct page p;

	memcpy(only.b, call->arg[0].b, LOCATOR_SZ);
	from.locator = only;
	if (after->given) {
		appointment_key_of(&from, after);
		if (memcmp(from.locator.b, only.b, LOCATOR_SZ) != 0)
			return rpc_fail(RPC_BAD_PARAMS, "after: belongs to another locator");
	}
	page_begin(&p, call, &call->arg[2], RPC_ROWS_PAGE);
	p.only = &only;
	tower_each_appointment(p.tower, &from, p.limit + 1, put_appointment, &p);
	return page_end(&p, json_object(), "appointments");
}

struct rpc_done rpc_getallappointments(struct rpc_call *call)
{
	const struct rpc_arg *after = &call->arg[0];
	struct appointment_key from;
	struct page p;

	appointment_key_of(&from, after);
	page_begin(&p, call, &call->arg[1], RPC_ROWS_PAGE);
	tower_each_appointment(p.tower, after->given ? &from : NULL, p.limit + 1, put_appointment, &p);
	return page_end(&p, json_object(), "appointments");
}

static bool put_locator(void *arg, const struct tower_found *f)
{
	struct page *p = arg;
	size_t row_sz = 2 * LOCATOR_SZ + 3;
	uint8_t key[RPC_APPT_KEY_SZ];

	key_of(key, f);
	return page_has_room(p, row_sz) && page_put(p, rpc_json_hex(key, LOCATOR_SZ), row_sz, key, sizeof(key));
}

struct rpc_done rpc_getlocators(struct rpc_call *call)
{
	const struct rpc_arg *after = &call->arg[0];
	struct appointment_key from;
	struct page p;

	appointment_key_of(&from, after);
	page_begin(&p, call, &call->arg[1], RPC_ROWS_PAGE_MAX);
	tower_each_appointment(p.tower, after->given ? &from : NULL, p.limit + 1, put_locator, &p);
	return page_end(&p, json_object(), "locators");
}

/* CLOCK_MONOTONIC of this boot, so that it can be compared with what other programs of this machine saw; null when
   unknown. */
static json_t *time_ns(uint64_t ns)
{
	return ns ? json_integer((json_int_t)ns) : json_null();
}

/* Microseconds from the block's last byte; null when either time is unknown (another boot). */
static json_t *latency(uint64_t from_ns, uint64_t to_ns)
{
	if (from_ns == 0 || to_ns < from_ns)
		return json_null();
	return json_integer((json_int_t)((to_ns - from_ns) / 1000));
}

/* By peer id, the most that is known of each. */
static json_t *peers_of(const struct link_bcast_peers *p)
{
	const struct {
		uint64_t mask;
		const char *name;
	} least_first[] = {{p->written, "written"}, {p->missing, "missing"},     {p->lost, "lost"},
			   {p->asked, "asked"},     {p->announced, "announced"}, {p->held, "held"}};
	json_t *all = json_object();
	char id[4];

	for (unsigned k = 0; k < sizeof(least_first) / sizeof(least_first[0]); k++) {
		for (unsigned i = 0; i < 64; i++) {
			if (!(least_first[k].mask >> i & 1))
				continue;
			snprintf(id, sizeof(id), "%u", i);
			json_object_set_new(all, id, json_string(least_first[k].name));
		}
	}
	return all;
}

static json_t *tracker_row(const struct tracker_view *t)
{
	json_t *node = json_pack("{s:i, s:s, s:o}", "code", (int)t->node_code, "reason",
				 node_reason_name(t->node_reason), "text",
				 rpc_json_ascii(t->node_text, sizeof(t->node_text)));
	json_t *height = t->dispute_height != UINT32_MAX ? json_integer(t->dispute_height) : json_null();

	return json_pack(
		"{s:o, s:o, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"locator", rpc_json_hex(t->locator.b, LOCATOR_SZ), "user_id",
		rpc_json_hex(t->user.b, USER_ID_SZ), "state", tracker_state_name(t->state), "dispute_txid",
		rpc_json_hash(&t->dispute_txid), "penalty_txid", rpc_json_hash(&t->penalty_txid),
		"dispute_height", height, "since_height", (json_int_t)t->since_height, "tries",
		(json_int_t)t->tries, "first_height", (json_int_t)t->first_height, "overdue_step",
		(json_int_t)t->overdue_step, "peers", (json_int_t)t->peer_cnt, "peer_results",
		peers_of(&t->peers), "node", node, "hit_after_us", latency(t->last_byte_ns, t->hit_ns),
		"sent_after_us", latency(t->last_byte_ns, t->sent_ns), "last_byte_ns", time_ns(t->last_byte_ns),
		"hit_ns", time_ns(t->hit_ns), "sent_ns", time_ns(t->sent_ns));
}

static bool put_tracker(void *arg, const struct tower_found *f)
{
	struct page *p = arg;
	size_t row_sz = 900 + 20 * (size_t)__builtin_popcountll(f->tr.peers.written | f->tr.peers.announced);
	uint8_t key[RPC_APPT_KEY_SZ];

	key_of(key, f);
	return page_has_room(p, row_sz) && page_put(p, tracker_row(&f->tr), row_sz, key, sizeof(key));
}

struct rpc_done rpc_gettrackers(struct rpc_call *call)
{
	const struct rpc_arg *after = &call->arg[0];
	struct appointment_key from;
	struct page p;

	appointment_key_of(&from, after);
	page_begin(&p, call, &call->arg[1], RPC_ROWS_PAGE);
	tower_each_tracker(p.tower, after->given ? &from : NULL, p.limit + 1, put_tracker, &p);
	return page_end(&p, json_object(), "trackers");
}
