#include "sim.h"

#include <ftw.h>
#include <poll.h>
#include <unistd.h>

#include "btc/sha256.h"
#include "btc/bytes.h"
#include "tower/rows.h"

static const struct slice none = {NULL, 0};

/* --- what the tower asks for ------------------------------------------------------------------------------------ */

static void push(struct locator **p, size_t *cnt, size_t *cap, const struct locator *l)
{
	if (*cnt == *cap) {
		*cap = *cap == 0 ? 64 : *cap * 2;
		*p = realloc(*p, *cap * sizeof(**p));
		assert_non_null(*p);
	}
	(*p)[(*cnt)++] = *l;
}

bool sim_watches(const struct sim *s, const struct locator *l)
{
	for (size_t i = 0; i < s->watched_cnt; i++)
		if (memcmp(s->watched[i].b, l->b, LOCATOR_SZ) == 0)
			return true;
	return false;
}

static void on_watch_add(void *arg, const struct locator *l)
{
	struct sim *s = arg;

	if (!sim_watches(s, l))
		push(&s->watched, &s->watched_cnt, &s->watched_cap, l);
	push(&s->asked, &s->asked_cnt, &s->asked_cap, l);
}

static void on_watch_del(void *arg, const struct locator *l)
{
	struct sim *s = arg;

	for (size_t i = 0; i < s->watched_cnt; i++)
		if (memcmp(s->watched[i].b, l->b, LOCATOR_SZ) == 0) {
			s->watched[i] = s->watched[--s->watched_cnt];
			return;
		}
	fail_msg("watch_del of a locator that is not watched");
}

static void on_broadcast(void *arg, const struct hash256 *txid, const uint8_t *raw, size_t sz)
{
	struct sim *s = arg;
	struct hash256 id = sha256d(raw, sz);

	assert_true(hash256_eq(&id, txid));
	assert_true(s->sent_cnt < 4096);
	s->sent[s->sent_cnt].txid = *txid;
	s->sent[s->sent_cnt++].at = sim_tip(s);
}

static void on_ask_nodes(void *arg, const struct hash256 *txid, const uint8_t *raw, size_t sz)
{
	((struct sim *)arg)->asked_nodes_cnt++;
	on_broadcast(arg, txid, raw, sz);
}

static void on_ack(void *arg, uint32_t height, const struct hash256 *hash)
{
	struct sim *s = arg;

	s->ack_cnt++;
	s->acked_height = height;
	s->acked_hash = *hash;
}

static void on_alert(void *arg, const struct tower_alert *a)
{
	struct sim *s = arg;
	const unsigned room = sizeof(s->alert) / sizeof(s->alert[0]);
	struct tower_alert *kept;

	/* Of a long story the last ones. */
	if (s->alert_cnt == room)
		memmove(s->alert, s->alert + 1, --s->alert_cnt * sizeof(*s->alert));
	kept = &s->alert[s->alert_cnt++];
	assert_non_null(a->penalty_txid);
	assert_non_null(a->node_text);
	*kept = *a;
	kept->penalty_txid = kept->dispute_txid = NULL;
	kept->locator = NULL;
	kept->node_text = NULL;
}

static void on_reset(void *arg)
{
	struct sim *s = arg;

	s->reset_cnt++;
	s->lost = true;
}

unsigned sim_sent(const struct sim *s, const struct hash256 *txid)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->sent_cnt; i++)
		n += hash256_eq(&s->sent[i].txid, txid);
	return n;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void open_tower(struct sim *s)
{
	const struct tower_ops ops = {.watch_add = on_watch_add,
				      .watch_del = on_watch_del,
				      .broadcast = on_broadcast,
				      .ask_nodes = on_ask_nodes,
				      .block_ack = on_ack,
				      .alert = on_alert,
				      .session_reset = on_reset};
	const char *why = "";

	if (store_open(&s->st, s->db, &why) < 0)
		fail_msg("store_open: %s", why);
	store_reserve_set(s->st, 0);
	s->t = tower_new(&s->cfg, s->st, &ops, s, &why);
	if (s->t == NULL)
		fail_msg("tower_new: %s", why);
}

void sim_open(struct sim *s)
{
	memset(s, 0, sizeof(*s));
	s->cfg = (struct tower_config){.network = network_get(NET_REGTEST),
				       .subscription_slots = 10000,
				       .subscription_duration = 4320,
				       .expiry_delta = 6,
				       .rebroadcast_blocks = 6,
				       .overdue_depth = 6};
	snprintf(s->dir, sizeof(s->dir), "/tmp/vigil-tower-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->db, sizeof(s->db), "%s/db", s->dir);
	s->chain = calloc(SIM_BLOCK_MAX, sizeof(*s->chain));
	assert_non_null(s->chain);
	s->clock_ns = 1000000000;
	open_tower(s);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void sim_close(struct sim *s)
{
	tower_free(s->t);
	store_close(s->st);
	nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(s->chain);
	free(s->watched);
	free(s->asked);
}

int sim_setup(void **state)
{
	struct sim *s = malloc(sizeof(*s));

	assert_non_null(s);
	sim_open(s);
	*state = s;
	return 0;
}

int sim_teardown(void **state)
{
	sim_close(*state);
	free(*state);
	return 0;
}

static void send_hit(struct sim *s, const struct sim_block *b, uint32_t height, uint32_t i,
		     const struct locator *l, enum locator_scheme scheme, bool recent);

/* The blocks below the resume point, as far as they are kept. */
static void fill_recent(struct sim *s, uint32_t top)
{
	uint32_t h = top > s->start + SIM_RECENT ? top - SIM_RECENT : s->start;

	while (++h <= top && h <= sim_tip(s)) {
		const struct sim_block *b = &s->chain[h - s->start - 1];

		for (uint32_t i = 0; i < b->tx_cnt; i++)
			for (int scheme = 0; scheme < 2; scheme++) {
				struct locator l = locator_of_txid(&b->tx[i]->txid, scheme);

				if (sim_watches(s, &l))
					send_hit(s, b, h, i, &l, scheme, true);
			}
	}
}

static void load_one(void *arg, const struct locator *l)
{
	struct sim *s = arg;

	if (!sim_watches(s, l))
		push(&s->watched, &s->watched_cnt, &s->watched_cap, l);
}

/* A new session: load, start, recent blocks filled in again, then what came after the resume point. */
void sim_session(struct sim *s)
{
	struct tower_watch_cursor cur = TOWER_WATCH_CURSOR_INIT;
	uint8_t headers[64 * HEADER_SZ];
	struct tower_resume r;
	uint32_t at;

	s->lost = false;
	s->watched_cnt = s->asked_cnt = 0;
	while (tower_each_watched(s->t, &cur, 7, load_one, s))
		;
	tower_resume_point(s->t, &r, headers, 64);
	if (!r.resume)
		return;
	at = s->acked_height = r.root_height + r.header_cnt;
	for (; r.header_cnt > 0 && at > s->start; at--) {
		struct link_block_disconnected rec = {.height = at};

		rec.hash = header_hash(headers + (size_t)--r.header_cnt * HEADER_SZ);
		if (at <= sim_tip(s) && hash256_eq(&s->chain[at - s->start - 1].hash, &rec.hash))
			break;
		tower_block_disconnected(s->t, &rec);
	}
	fill_recent(s, at);
	for (uint32_t h = at + 1; h <= sim_tip(s); h++)
		sim_report(s, h);
}

void sim_restart(struct sim *s)
{
	tower_free(s->t);
	store_close(s->st);
	open_tower(s);
	sim_session(s);
}

void sim_let_go(struct sim *s)
{
	tower_free(s->t);
	store_close(s->st);
	free(s->watched);
	free(s->asked);
	s->watched = s->asked = NULL;
	s->watched_cnt = s->watched_cap = s->asked_cnt = s->asked_cap = 0;
}

void sim_reopen(struct sim *s)
{
	open_tower(s);
}

/* --- blocks ------------------------------------------------------------------------------------------------------ */

uint32_t sim_tip(const struct sim *s)
{
	return s->start + s->chain_cnt;
}

void sim_begin_at(struct sim *s, uint32_t height)
{
	struct link_chain_start rec = {.height = height, .header_cnt = 1};
	uint8_t header[HEADER_SZ] = {1};

	store_le32(header + 72, 0x207fffff);
	s->start = height;
	s->start_hash = header_hash(header);
	rec.hash = s->start_hash;
	rec.work[0] = 2;
	tower_chain_start(s->t, &rec, header);
}

static void send_hit(struct sim *s, const struct sim_block *b, uint32_t height, uint32_t i,
		     const struct locator *l, enum locator_scheme scheme, bool recent)
{
	struct link_hit rec = {
		.locator = *l,
		.txid = b->tx[i]->txid,
		.block_hash = b->hash,
		.height = height,
		.tx_idx = i + 1,
		.scheme = scheme,
		.flags = recent ? LINK_HIT_RECENT : 0,
		.last_byte_ns = 5,
		.hit_ns = 7,
		.raw_sz = recent ? 0 : b->tx[i]->sz,
	};

	if (!s->lost)
		tower_hit(s->t, &rec, recent ? NULL : b->tx[i]->raw);
}

void sim_report(struct sim *s, uint32_t height)
{
	const struct sim_block *b = &s->chain[height - s->start - 1];
	struct link_block_connected rec = {.hash = b->hash, .height = height, .tx_cnt = b->tx_cnt};

	if (s->lost)
		return;
	for (uint32_t i = 0; i < b->tx_cnt; i++)
		for (int scheme = 0; scheme < 2; scheme++) {
			struct locator l = locator_of_txid(&b->tx[i]->txid, scheme);

			if (sim_watches(s, &l)) {
				send_hit(s, b, height, i, &l, scheme, false);
				rec.hit_cnt++;
			}
		}
	memcpy(rec.header, b->header, HEADER_SZ);
	if (!s->lost)
		tower_block_connected(s->t, &rec);
}

static void mine(struct sim *s, const struct tx *const *tx, uint32_t cnt)
{
	struct sim_block *b = &s->chain[s->chain_cnt];
	const struct hash256 *prev = s->chain_cnt == 0 ? &s->start_hash : &b[-1].hash;

	assert_true(s->chain_cnt < SIM_BLOCK_MAX && cnt <= SIM_TX_MAX);
	memset(b, 0, sizeof(*b));
	memcpy(b->header + 4, prev->b, HASH_SZ);
	store_le32(b->header + 36, ++s->salt);
	store_le32(b->header + 72, 0x207fffff);
	b->hash = header_hash(b->header);
	if (cnt > 0)
		memcpy(b->tx, tx, cnt * sizeof(*tx));
	b->tx_cnt = cnt;
	s->chain_cnt++;
	sim_report(s, sim_tip(s));
}

static void sim_begin(struct sim *s)
{
	if (s->start == 0)
		sim_begin_at(s, SIM_START);
}

void sim_mine_list(struct sim *s, const struct tx *const *tx, uint32_t cnt)
{
	sim_begin(s);
	mine(s, tx, cnt);
	sim_settle(s);
}

void sim_mine(struct sim *s, ...)
{
	const struct tx *tx[SIM_TX_MAX];
	uint32_t cnt = 0;
	va_list ap;

	va_start(ap, s);
	for (const struct tx *p; (p = va_arg(ap, const struct tx *)) != NULL;)
		tx[cnt++] = p;
	va_end(ap);
	sim_mine_list(s, tx, cnt);
}

void sim_mine_empty(struct sim *s, uint32_t cnt)
{
	sim_begin(s);
	for (uint32_t i = 0; i < cnt; i++) {
		mine(s, NULL, 0);
		store_poll(s->st);
	}
	sim_settle(s);
}

void sim_disconnect(struct sim *s, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct link_block_disconnected rec = {.height = sim_tip(s)};

		rec.hash = s->chain[s->chain_cnt - 1].hash;
		s->chain_cnt--;
		if (!s->lost)
			tower_block_disconnected(s->t, &rec);
	}
	sim_settle(s);
}

static void answer_watch(struct sim *s, const struct locator *l)
{
	uint32_t first = s->chain_cnt > SIM_RECENT ? s->chain_cnt - SIM_RECENT : 0;

	for (uint32_t n = first; n < s->chain_cnt; n++) {
		const struct sim_block *b = &s->chain[n];

		for (uint32_t i = 0; i < b->tx_cnt; i++)
			for (int scheme = 0; scheme < 2; scheme++) {
				struct locator x = locator_of_txid(&b->tx[i]->txid, scheme);

				if (memcmp(x.b, l->b, LOCATOR_SZ) == 0)
					send_hit(s, b, s->start + 1 + n, i, l, scheme, true);
			}
	}
}

void sim_settle(struct sim *s)
{
	while (s->asked_cnt > 0 && !s->lost) {
		struct locator l = s->asked[0];

		memmove(s->asked, s->asked + 1, --s->asked_cnt * sizeof(l));
		answer_watch(s, &l);
	}
	sim_tick(s, 0);
}

void sim_tick(struct sim *s, uint64_t advance_ns)
{
	s->clock_ns += advance_ns;
	store_poll(s->st);
	tower_tick(s->t, s->clock_ns);
	while (!s->keeps_dead && tower_purge(s->t))
		;
	if (s->lost)
		sim_session(s);
}

/* --- transactions ------------------------------------------------------------------------------------------------ */

static struct tx build(const struct hash256 *prev, uint32_t vout, uint32_t seed, uint32_t pad)
{
	struct tx x = {.sz = 0};
	uint8_t *p = x.raw;

	store_le32(p, 2);
	p += 4;
	*p++ = 1;
	memcpy(p, prev->b, HASH_SZ);
	p += HASH_SZ;
	store_le32(p, vout);
	p += 4;
	*p++ = 0;
	store_le32(p, 0xfffffffd);
	p += 4;
	*p++ = 2;
	for (uint32_t i = 0; i < 2; i++) {
		store_le64(p, 1000 + i);
		p += 8;
		*p++ = 4;
		store_le32(p, seed);
		p += 4;
	}
	if (pad > 0) {
		/* A longer second script, with a length of three bytes. */
		p -= 5;
		*p++ = 253;
		store_le16(p, (uint16_t)pad);
		p += 2;
		memset(p, (int)seed, pad);
		p += pad;
	}
	store_le32(p, 0);
	p += 4;
	x.sz = (uint32_t)(p - x.raw);
	x.txid = sha256d(x.raw, x.sz);
	return x;
}

struct tx tx_make(uint32_t seed)
{
	struct hash256 prev = sha256d(&seed, sizeof(seed));

	return build(&prev, 0, seed, 0);
}

struct tx tx_spend(const struct tx *prev, uint32_t vout, uint32_t seed)
{
	return build(&prev->txid, vout, seed, 0);
}

struct tx tx_spend_sized(const struct tx *prev, uint32_t vout, uint32_t seed, uint32_t sz)
{
	struct tx x = build(&prev->txid, vout, seed, 300);

	x = build(&prev->txid, vout, seed, 300 + sz - x.sz);
	assert_int_equal(x.sz, sz);
	return x;
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

struct user_id sim_user(unsigned n)
{
	struct user_id u = {{2}};

	store_be32(u.b + 1, n);
	return u;
}

static void on_done(void *arg, enum tower_status st)
{
	*(enum tower_status *)arg = st;
}

static enum tower_status wait_for(struct sim *s, enum tower_status now, enum tower_status *later)
{
	if (now != TOWER_PENDING)
		return now;
	for (unsigned i = 0; i < 1000 && *later == TOWER_PENDING; i++) {
		struct pollfd p = {.fd = store_event_fd(s->st), .events = POLLIN};

		poll(&p, 1, 10);
		store_poll(s->st);
	}
	assert_int_not_equal(*later, TOWER_PENDING);
	return *later;
}

enum tower_status sim_register(struct sim *s, unsigned user, struct tower_user_info *out)
{
	struct user_id id = sim_user(user);
	enum tower_status later = TOWER_PENDING;
	struct tower_user_info info;

	sim_begin(s);
	if (out == NULL)
		out = &info;
	return wait_for(s, tower_register(s->t, &id, s->generation, out, on_done, &later), &later);
}

enum tower_status sim_add(struct sim *s, unsigned user, const struct locator *l, const uint8_t *blob,
			  uint32_t sz, struct tower_add_reply *out)
{
	struct tower_add a = {sim_user(user), *l, blob, sz, 42, {0}};
	enum tower_status later = TOWER_PENDING, st;
	struct tower_add_reply reply;

	memset(a.user_sig, 'y', sizeof(a.user_sig));
	st = wait_for(s, tower_add_appointment(s->t, &a, out == NULL ? &reply : out, on_done, &later), &later);
	sim_settle(s);
	return st;
}

enum tower_status sim_watch(struct sim *s, unsigned user, const struct tx *dispute, const struct tx *penalty,
			    enum locator_scheme scheme)
{
	struct locator l = locator_of_txid(&dispute->txid, scheme);
	struct blob_key key = blob_key_of_txid(&dispute->txid, scheme);
	uint8_t blob[sizeof(penalty->raw) + BLOB_TAG_SZ];

	blob_seal(blob, penalty->raw, penalty->sz, &key);
	return sim_add(s, user, &l, blob, penalty->sz + BLOB_TAG_SZ, NULL);
}

enum tower_status sim_find(struct sim *s, unsigned user, const struct tx *dispute, struct tower_found *f)
{
	struct user_id id = sim_user(user);
	struct locator l = locator_of_txid(&dispute->txid, LOCATOR_INTERNAL);

	return tower_find(s->t, &id, &l, f);
}

uint32_t sim_slots(struct sim *s, unsigned user)
{
	struct user_id id = sim_user(user);
	struct tower_user_info info = {.available_slots = UINT32_MAX};
	bool expired;

	tower_user(s->t, &id, &info, &expired);
	return info.available_slots;
}

void sim_result(struct sim *s, const struct tx *penalty, enum node_verdict v, int32_t code)
{
	struct node_answer a = {.verdict = v,
				.peer_cnt = v == NODE_SENT_P2P ? 1 : 0,
				.at_ns = 99,
				.code = code,
				.text = code == 0 ? NULL : "because"};

	tower_broadcast_result(s->t, &penalty->txid, &a);
}

/* --- the store as text ------------------------------------------------------------------------------------------- */

struct text {
	char *p;
	size_t sz, cap;
	unsigned cf;
};

static bool dump_one(void *arg, struct slice key, struct slice value)
{
	static const char sending[] = KEY_SENDING_PREFIX;
	struct text *x = arg;
	size_t need = x->sz + 2 * (key.sz + value.sz) + 16;

	/* What was sent stays sent: no reorg takes that back. */
	if (key.sz > sizeof(sending) && memcmp(key.p, sending, sizeof(sending) - 1) == 0)
		return true;
	if (need > x->cap) {
		x->cap = need * 2;
		x->p = realloc(x->p, x->cap);
		assert_non_null(x->p);
	}
	x->sz += (size_t)sprintf(x->p + x->sz, "%u ", x->cf);
	hex_encode(x->p + x->sz, key.p, key.sz);
	x->sz += 2 * key.sz;
	x->p[x->sz++] = '=';
	if (value.sz > 0)
		hex_encode(x->p + x->sz, value.p, value.sz);
	x->sz += 2 * value.sz;
	x->p[x->sz++] = '\n';
	x->p[x->sz] = '\0';
	return true;
}

char *sim_dump(struct sim *s)
{
	struct text x = {.p = NULL};

	for (x.cf = 0; x.cf < STORE_CF_CNT; x.cf++)
		assert_int_equal(store_scan(s->st, x.cf, none, none, false, true, dump_one, &x), 0);
	return x.p;
}

void assert_dump_equal(const char *a, const char *b)
{
	size_t i = 0;

	if (strcmp(a, b) == 0)
		return;
	while (a[i] == b[i])
		i++;
	while (i > 0 && a[i - 1] != '\n')
		i--;
	fail_msg("the stores differ:\n  %.*s\n  %.*s", (int)strcspn(a + i, "\n"), a + i,
		 (int)strcspn(b + i, "\n"), b + i);
}

/* --- consistency ------------------------------------------------------------------------------------------------- */

struct counts {
	struct sim *s;
	uint64_t users, appointments, trackers, rows_of_users, trackers_of_users;
	size_t watch_cnt;
};

static bool count_found(void *arg, const struct tower_found *f)
{
	struct counts *c = arg;

	if (f->is_tracker)
		c->trackers++;
	else
		c->appointments++;
	return true;
}

static bool count_user(void *arg, const struct tower_user_info *u)
{
	struct counts *c = arg;

	c->users++;
	c->rows_of_users += u->appointment_cnt;
	c->trackers_of_users += u->tracker_cnt;
	return true;
}

static void count_watch(void *arg, const struct locator *l)
{
	struct counts *c = arg;

	assert_true(sim_watches(c->s, l));
	c->watch_cnt++;
}

static bool in_load(struct sim *s, const struct locator *l);

void sim_check(struct sim *s)
{
	struct tower_watch_cursor cur = TOWER_WATCH_CURSOR_INIT;
	struct counts c = {.s = s};
	struct tower_info info;

	tower_info_get(s->t, &info);
	tower_each_appointment(s->t, NULL, UINT32_MAX, count_found, &c);
	tower_each_user(s->t, NULL, UINT32_MAX, count_user, &c);
	assert_int_equal(info.users, c.users);
	assert_int_equal(info.appointments, c.appointments);
	assert_int_equal(info.trackers, c.trackers);
	assert_true(c.rows_of_users <= c.appointments + c.trackers);
	assert_true(c.rows_of_users >= c.appointments);
	assert_true(c.trackers_of_users <= c.trackers);
	while (tower_each_watched(s->t, &cur, 3, count_watch, &c))
		;
	assert_true(c.watch_cnt >= s->watched_cnt);
	for (size_t i = 0; i < s->watched_cnt; i++)
		assert_true(in_load(s, &s->watched[i]));
}

struct seeking {
	const struct locator *l;
	bool found;
};

static void seek_one(void *arg, const struct locator *l)
{
	struct seeking *k = arg;

	k->found |= memcmp(l->b, k->l->b, LOCATOR_SZ) == 0;
}

static bool in_load(struct sim *s, const struct locator *l)
{
	struct tower_watch_cursor cur = TOWER_WATCH_CURSOR_INIT;
	struct seeking k = {l, false};

	while (tower_each_watched(s->t, &cur, 100, seek_one, &k))
		;
	return k.found;
}
