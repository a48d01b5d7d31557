#include "fakes.h"

#include <errno.h>

bool fake_stopped;

struct user_id fake_user(unsigned i)
{
	struct user_id u = {{0x02}};

	u.b[1] = (uint8_t)i;
	return u;
}

struct locator fake_locator(unsigned i)
{
	struct locator l = {{0}};

	i = i < 2 ? 0 : i;
	l.b[0] = (uint8_t)(i >> 8);
	l.b[1] = (uint8_t)i;
	return l;
}

static void fill(struct tower *t, unsigned i, struct tower_found *f)
{
	static uint8_t blob[4u << 20];

	memset(f, 0, sizeof(*f));
	f->is_tracker = i % 10 == 9;
	f->ap.user = f->tr.user = fake_user(i % FAKE_USERS);
	f->ap.locator = f->tr.locator = fake_locator(i);
	f->ap.blob = blob;
	f->ap.blob_sz = t->blob_sz;
	f->ap.to_self_delay = 42;
	f->tr.dispute_txid.b[0] = 0xd1;
	f->tr.penalty_txid.b[0] = 0xe1;
	f->tr.penalty_raw = (const uint8_t *)"\1\2\3";
	f->tr.penalty_sz = 3;
	f->tr.state = TRACKER_REFUSED;
	f->tr.dispute_height = i == 9 ? UINT32_MAX : 100;
	f->tr.since_height = 101;
	f->tr.tries = 3;
	f->tr.peer_cnt = 2;
	f->tr.peers =
		(struct link_bcast_peers){.written = 0x8000000000000007, .held = 1, .lost = 2, .asked = 3};
	f->tr.node_code = -26;
	memcpy(f->tr.node_text, "dust\x80\"", 7);
	f->tr.last_byte_ns = 1000000;
	f->tr.hit_ns = 1250000;
	f->tr.sent_ns = i == 9 ? 0 : 3000000;
}

void tower_info_get(struct tower *t, struct tower_info *out)
{
	(void)t;
	*out = (struct tower_info){.users = FAKE_USERS,
				   .appointments = 225,
				   .trackers = 25,
				   .has_tip = true,
				   .tip_height = 7,
				   .store_ok = true};
}

uint32_t tower_each_user(struct tower *t, const struct user_id *after, uint32_t limit,
			 bool (*cb)(void *arg, const struct tower_user_info *u), void *arg)
{
	uint32_t n = 0;

	(void)t;
	for (unsigned i = 0; i < FAKE_USERS && n < limit; i++) {
		struct tower_user_info u = {
			.id = fake_user(i), .available_slots = 9999, .subscription_expiry = 804320};

		if (after != NULL && memcmp(u.id.b, after->b, USER_ID_SZ) <= 0)
			continue;
		n++;
		if (!cb(arg, &u))
			break;
	}
	return n;
}

static bool is_after(const struct tower_found *f, const struct appointment_key *after)
{
	int c;

	if (after == NULL)
		return true;
	c = memcmp(f->ap.locator.b, after->locator.b, LOCATOR_SZ);
	return c > 0 || (c == 0 && memcmp(f->ap.user.b, after->user.b, USER_ID_SZ) > 0);
}

static uint32_t each(struct tower *t, const struct appointment_key *after, uint32_t limit, bool trackers_only,
		     bool (*cb)(void *arg, const struct tower_found *f), void *arg)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < FAKE_APPTS && n < limit; i++) {
		struct tower_found f;

		fill(t, i, &f);
		if (!is_after(&f, after) || (trackers_only && !f.is_tracker))
			continue;
		n++;
		t->rows_read++;
		if (!cb(arg, &f))
			break;
	}
	return n;
}

uint32_t tower_each_appointment(struct tower *t, const struct appointment_key *after, uint32_t limit,
				bool (*cb)(void *arg, const struct tower_found *f), void *arg)
{
	return each(t, after, limit, false, cb, arg);
}

uint32_t tower_each_tracker(struct tower *t, const struct appointment_key *after, uint32_t limit,
			    bool (*cb)(void *arg, const struct tower_found *f), void *arg)
{
	return each(t, after, limit, true, cb, arg);
}

uint32_t tower_each_appointment_of_user(struct tower *t, const struct user_id *u, const struct locator *after,
					uint32_t limit,
					bool (*cb)(void *arg, const struct locator *l, const struct uuid *id),
					void *arg)
{
	uint32_t n = 0;

	(void)t;
	for (unsigned i = 0; i < FAKE_APPTS && n < limit; i++) {
		struct user_id owner = fake_user(i % FAKE_USERS);
		struct locator l = fake_locator(i);
		struct uuid id = {{(uint8_t)i}};

		if (memcmp(owner.b, u->b, USER_ID_SZ) != 0 ||
		    (after != NULL && memcmp(l.b, after->b, LOCATOR_SZ) <= 0))
			continue;
		n++;
		if (!cb(arg, &l, &id))
			break;
	}
	return n;
}

const char *node_reason_name(enum node_reason r)
{
	return r == REASON_NONE ? "" : "why";
}

const char *tracker_state_name(enum tracker_state s)
{
	return s == TRACKER_REFUSED ? "refused" : "other";
}

const char *feed_state_name(enum feed_state s)
{
	return s == FEED_ON ? "on" : "down";
}

void feed_info_get(const struct feed *f, struct feed_info *out)
{
	(void)f;
	*out = (struct feed_info){.state = FEED_ON,
				  .has_chain = true,
				  .chain = {.ready_peer_cnt = 1},
				  .backlog_cnt = 31,
				  .sessions_total = 32,
				  .lost_total = 33,
				  .protocol_errors_total = 34,
				  .add_errors_total = 35,
				  .broadcasts_total = 36,
				  .broadcasts_unsent_total = 37,
				  .hello = {.kernel = "0123456789abcdef"}, /* fills its field */
				  .last_error = ""};
}

static struct feed_stale stale;

int feed_stale_scan(struct feed *f, const struct hash256 *hash)
{
	static struct feed_stale_block blocks[] = {{.height = 7, .tx_cnt = 3, .hit_cnt = 1},
						   {.height = LINK_HEIGHT_UNKNOWN, .missing = true}};
	static struct feed_stale_hit hits[] = {{.height = 7, .tx_idx = 2}};

	(void)f;
	if (stale.state == FEED_STALE_RUNNING)
		return -EBUSY;
	if (hash != NULL)
		blocks[0].hash = hits[0].block_hash = stale.hash = *hash;
	stale.state = FEED_STALE_RUNNING;
	stale.all = hash == NULL;
	stale.block = blocks;
	stale.block_cnt = 2;
	stale.missing_cnt = 1;
	stale.hit = hits;
	stale.hit_cnt = 1;
	return 0;
}

/* Ends at the second look. */
const struct feed_stale *feed_stale_get(const struct feed *f)
{
	static struct feed_stale seen;

	(void)f;
	seen = stale;
	if (stale.state == FEED_STALE_RUNNING)
		stale.state = FEED_STALE_DONE;
	return &seen;
}

void feed_each_peer(const struct feed *f, void (*cb)(void *arg, const struct link_peer_state *p), void *arg)
{
	struct link_peer_state p = {.peer_id = 1,
				    .flags = LINK_PEER_READY,
				    .addr = "10.0.0.2:18444",
				    .state = "ready",
				    .services = 0x409};

	(void)f;
	cb(arg, &p);
}

void feed_each_stat(const struct feed *f, void (*cb)(void *arg, const struct link_stat *s), void *arg)
{
	(void)f;
	cb(arg, &(struct link_stat){.name = "tx_hashed_total", .value = 12});
}

unsigned carrier_node_cnt(const struct carrier *c)
{
	(void)c;
	return 1;
}

void carrier_node_info_get(const struct carrier *c, unsigned idx, struct carrier_node_info *out)
{
	(void)c;
	(void)idx;
	*out = (struct carrier_node_info){.host = "127.0.0.1", .port = 18443, .error = "gone"};
}

const char *carrier_node_state_name(enum carrier_node_state s)
{
	return s == CARRIER_UNKNOWN ? "unknown" : "other";
}

bool carrier_reachable(const struct carrier *c)
{
	(void)c;
	return false;
}

unsigned carrier_pending(const struct carrier *c)
{
	(void)c;
	return 3;
}

void api_info_get(const struct api *a, struct api_info *out)
{
	static const char *const endpoints[] = {
		"register", "add_appointment", "get_appointment", "get_subscription_info", "ping", "other"};

	(void)a;
	*out = (struct api_info){.connections = 4,
				 .connections_total = 5,
				 .requests_total = 6,
				 .ok_total = 7,
				 .refused_total = 8,
				 .unavailable_total = 9,
				 .cut_total = 10};
	for (unsigned i = 0; i <= API_ENDPOINT_CNT; i++)
		out->by_endpoint[i] = (struct api_outcomes){
			.endpoint = endpoints[i],
			.ok_total = 10 * i + 1,
			.refused_total = 10 * i + 2,
			.unavailable_total = 10 * i + 3,
		};
}

void store_stats_get(const struct store *s, struct store_stats *out)
{
	(void)s;
	*out = (struct store_stats){.batches = 21, .syncs = 22, .failures = 23, .recoveries = 24};
}

int store_checkpoint_begin(struct store *s, const char *dir)
{
	(void)s;
	return dir[0] != '/' ? -EINVAL : strcmp(dir, "/busy") == 0 ? -EBUSY : 0;
}

void store_checkpoint_get(struct store *s, struct store_checkpoint *out)
{
	static unsigned calls;

	(void)s;
	*out = (struct store_checkpoint){.state = STORE_CHECKPOINT_RUNNING, .dir = "/backup"};
	/* Done when asked for the third time. */
	if (++calls % 3 == 0) {
		out->state = STORE_CHECKPOINT_DONE;
		out->ms = 12;
	}
}

bool store_ok(const struct store *s)
{
	(void)s;
	return false;
}

static void stop(void *arg)
{
	(void)arg;
	fake_stopped = true;
}

struct rpc_env fake_env(struct tower *t)
{
	static const struct rpc_address address = {"ipv4", "127.0.0.1", 9814};
	struct rpc_env env = {.tower = t,
			      .network = network_get(NET_REGTEST),
			      .tower_id = fake_user(0x3e),
			      .addresses = &address,
			      .address_cnt = 1,
			      .stop = stop};

	fake_stopped = false;
	t->blob_sz = 100;
	return env;
}
