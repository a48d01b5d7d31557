#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "feed/feed_priv.h"
#include "kill/kill_point.h"
#include "log/log.h"
#include "meter/meter.h"

#define READ_TURN_MAX  (256u << 10)
#define WRITE_TURN_MAX (1u << 20)
#define PAGES_TURN_MAX 8u

#define HELLO_MS  5000u
#define STALL_MS  30000u  /* something to write, and nothing taken */
#define SILENT_MS 120000u /* asked for its counters every second, and no byte came */
#define STATS_MS  1000u

void session_fail(struct feed *f, const char *why, bool broken)
{
	if (f->fail != NULL)
		return; /* the first reason is the cause */
	f->fail = why;
	f->fail_is_broken = broken;
}

/* --- to the dataplane --------------------------------------------------------------------------------------- */

static void put(struct feed *f, enum link_type type, const void *rec, size_t sz, const void *tail,
		size_t tail_sz)
{
	if (!link_writer_put(&f->writer, type, rec, sz, tail, tail_sz))
		session_fail(f, "no room for a record", false);
}

void session_begin(struct feed *f)
{
	struct link_c_hello hello = {
		.magic = LINK_MAGIC, .version = LINK_VERSION, .network = (uint32_t)f->cfg.network->id};

	f->begun_ms = f->read_ms = f->write_ms = uv_now(f->loop);
	f->state = FEED_HELLO;
	put(f, LINK_C_HELLO, &hello, sizeof(hello), NULL, 0);
}

static bool entry_send(struct feed *f, const struct backlog_entry *e)
{
	struct link_watch_add add = {.locator = e->locator};
	struct link_watch_del del = {.locator = e->locator};
	struct link_block_ack ack = {.height = e->height, .hash = e->hash};

	if (link_writer_used(&f->writer) > FEED_WRITER_HIGH)
		return false;
	switch ((enum backlog_op)e->op) {
	case BACKLOG_ADD:
		if (!pending_put(&f->pending, &e->locator, &add.cookie))
			return false;
		put(f, LINK_WATCH_ADD, &add, sizeof(add), NULL, 0);
		return true;
	case BACKLOG_DEL:
		put(f, LINK_WATCH_DEL, &del, sizeof(del), NULL, 0);
		return true;
	case BACKLOG_ACK:
		put(f, LINK_BLOCK_ACK, &ack, sizeof(ack), NULL, 0);
		return true;
	}
	return true;
}

static bool session_open(const struct feed *f)
{
	return f->state == FEED_SYNC || f->state == FEED_ON;
}

/* Adds that have no good answer yet. */
static bool adds_open(const struct feed *f)
{
	return f->pending.waiting > 0 || f->backlog.cnt > 0 || f->retry_cnt > 0;
}

static void refusals_forget(struct feed *f)
{
	f->refused = false;
	f->retry_times = 0;
	f->settled_ack = f->acked_height;
}

void session_queue(struct feed *f, const struct backlog_entry *e)
{
	if (e->op == BACKLOG_ADD && !adds_open(f))
		refusals_forget(f);
	if (session_open(f) && f->backlog.cnt == 0 && entry_send(f, e))
		return;
	if (!backlog_push(&f->backlog, e))
		session_fail(f, "the dataplane takes changes too slowly", false);
}

static void backlog_drain(struct feed *f)
{
	const struct backlog_entry *e;

	while ((e = backlog_front(&f->backlog)) != NULL && entry_send(f, e))
		backlog_pop(&f->backlog);
	if (f->backlog.cnt == 0)
		backlog_clear(&f->backlog);
}

static void batch_take(void *arg, const struct locator *l)
{
	struct feed *f = arg;

	assert(f->batch_cnt < FEED_BATCH_MAX);
	f->batch[f->batch_cnt++] = *l;
}

/* Where the dataplane goes on, and what check must expect of CHAIN_START. */
static void start_send(struct feed *f)
{
	uint8_t *headers = malloc((size_t)FEED_HEADERS_MAX * HEADER_SZ);
	struct link_start start = {
		.mode = LINK_START_TIP, .root_hash = f->cfg.anchor_hash, .root_height = f->cfg.anchor_height};
	struct tower_resume at = {0};
	struct hash256 base;

	if (headers == NULL) {
		session_fail(f, "out of memory", false);
		return;
	}
	tower_resume_point(f->tower, &at, headers, FEED_HEADERS_MAX);
	if (at.resume) {
		start.mode = LINK_START_RESUME;
		start.root_hash = at.root_hash;
		start.root_height = at.root_height;
		memcpy(start.root_work, at.root_work, sizeof(start.root_work));
		start.header_cnt = at.header_cnt;
	} else if (f->cfg.start_at_anchor) {
		start.mode = LINK_START_RESUME;
	}
	base = hash256_is_zero(&start.root_hash) ? f->cfg.network->genesis_hash : start.root_hash;
	if (start.header_cnt > 0)
		base = header_hash(headers + (size_t)(start.header_cnt - 1) * HEADER_SZ);
	feed_check_start(&f->check, start.mode == LINK_START_RESUME, start.root_height + start.header_cnt,
			 &base);
	put(f, LINK_START, &start, sizeof(start), headers, (size_t)start.header_cnt * HEADER_SZ);
	free(headers);
	f->state = FEED_SYNC;
	f->info.sessions_total++;
	f->info.load_ms = uv_hrtime() / 1000000 - f->load_ms;
	log_info("feed_started", "Dataplane is sent the locators; waiting for headers",
		 log_u64("locators", f->info.loaded_cnt), log_u64("ms", f->info.load_ms),
		 log_str("mode", start.mode == LINK_START_RESUME ? "resume" : "tip"),
		 log_u64("height", (uint64_t)start.root_height + start.header_cnt));
}

/* What the tower counts: an appointment that waits is watched by its locator, a tracker by its penalty too. */
static uint32_t load_size(const struct feed *f)
{
	struct tower_info info;
	uint64_t cnt;

	tower_info_get(f->tower, &info);
	cnt = info.appointments + 2 * info.trackers;
	return cnt < UINT32_MAX ? (uint32_t)cnt : UINT32_MAX;
}

static void load_some(struct feed *f)
{
	for (unsigned i = 0; i < PAGES_TURN_MAX; i++) {
		struct link_watch_load rec = {0};
		bool more;

		if (f->fail != NULL || link_writer_used(&f->writer) > FEED_WRITER_LOW)
			return;
		f->batch_cnt = 0;
		more = tower_each_watched(f->tower, &f->cursor, FEED_BATCH_MAX, batch_take, f);
		rec.cnt = f->batch_cnt;
		rec.expected = f->info.loaded_cnt == 0 ? load_size(f) : 0;
		if (rec.cnt > 0)
			put(f, LINK_WATCH_LOAD, &rec, sizeof(rec), f->batch, rec.cnt * sizeof(struct locator));
		f->info.loaded_cnt += rec.cnt;
		if (!more) {
			start_send(f);
			return;
		}
	}
}

bool session_wants_write(const struct feed *f)
{
	return link_writer_used(&f->writer) > 0 || f->state == FEED_LOAD;
}

void session_write(struct feed *f)
{
	size_t sent = 0, sz;
	const uint8_t *p;

	f->answers_wait = false;
	if (f->state == FEED_LOAD)
		load_some(f);
	if (session_open(f))
		backlog_drain(f);
	while (f->fail == NULL && sent < WRITE_TURN_MAX && (p = link_writer_peek(&f->writer, &sz)) != NULL) {
		ssize_t n = send(f->conn->fd, p, sz, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				session_fail(f, "the dataplane closed the link", false);
			break;
		}
		link_writer_took(&f->writer, (size_t)n);
		KILL_POINT("feed:after-send");
		sent += (size_t)n;
	}
	if (sent > 0 || link_writer_used(&f->writer) == 0)
		f->write_ms = uv_now(f->loop);
}

/* --- from the dataplane ------------------------------------------------------------------------------------- */

static void on_hello(struct feed *f, const struct link_d_hello *r)
{
	const char *why = f->state == FEED_HELLO ? feed_check_hello(r, f->cfg.network) : "HELLO out of turn";

	if (why != NULL) {
		session_fail(f, why, true);
		return;
	}
	f->hello = *r;
	f->cursor = (struct tower_watch_cursor)TOWER_WATCH_CURSOR_INIT;
	f->info.loaded_cnt = 0;
	f->load_ms = uv_hrtime() / 1000000;
	f->state = FEED_LOAD;
	log_info("feed_connected", "Connected to the dataplane",
		 log_text("version", r->version_text, strnlen(r->version_text, sizeof(r->version_text))),
		 log_text("kernel", r->kernel, strnlen(r->kernel, sizeof(r->kernel))),
		 log_u64("shards", r->shard_cnt), log_u64("recent_blocks", r->recent_blocks),
		 log_u64("window", r->window));
}

static const char *on_chain_start(struct feed *f, const struct link_chain_start *r)
{
	const uint8_t *headers = (const uint8_t *)(r + 1);
	const char *why = feed_check_chain_start(&f->check, r, headers);

	if (why != NULL)
		return why;
	f->state = FEED_ON;
	f->acked_height = f->settled_ack = r->height;
	f->delay_ms = 0;
	f->error_said = false;
	log_info("feed_chain", "Dataplane reports blocks from here on", log_u64("height", r->height),
		 log_hash("hash", r->hash.b));
	tower_chain_start(f->tower, r, headers);
	return NULL;
}

/* Everything the tower asked to be watched is, and what it brought up has been reported. */
static void note_settled(struct feed *f)
{
	if (adds_open(f))
		return;
	refusals_forget(f);
	tower_watch_settled(f->tower);
}

/* A refused add finds what it would have found the first time only while no block has been acknowledged since, for an
   acknowledgement lets the dataplane forget a recent block.  Otherwise the next session repeats the blocks: nothing was
   settled, so the tower's resume point has stayed at the add. */
void session_refused_check(struct feed *f)
{
	if (f->refused && (f->acked_height != f->settled_ack || f->retry_times > FEED_RETRY_TIMES))
		session_fail(f, "the dataplane cannot hold the locators", false);
}

static const char *on_watch_added(struct feed *f, const struct link_watch_added *r)
{
	struct locator l;

	if (!pending_take(&f->pending, r->cookie, &l))
		return "WATCH_ADDED that answers nothing";
	if (r->error == 0) {
		note_settled(f);
		return NULL;
	}
	if (f->info.add_errors_total++ % 1000 == 0)
		log_error("feed_add_failed", "The dataplane could not watch a locator; trying again",
			  log_hex("locator", l.b, LOCATOR_SZ), log_i64("error", r->error),
			  log_u64("so_far", f->info.add_errors_total));
	f->refused = true;
	if (f->retry_cnt == FEED_RETRY_MAX)
		session_fail(f, "the dataplane cannot hold the locators", false);
	else
		f->retry[f->retry_cnt++] = l;
	session_refused_check(f);
	return NULL;
}

static const char *on_hit(struct feed *f, const struct link_hit *r)
{
	const char *why = feed_check_hit(&f->check, r);

	if (why == NULL && (r->flags & LINK_HIT_STALE))
		return session_stale_hit(f, r);
	if (why == NULL) {
		if (!(r->flags & LINK_HIT_RECENT) && r->last_byte_ns != 0 && r->hit_ns >= r->last_byte_ns)
			meter_note(METER_HIT, r->hit_ns - r->last_byte_ns, "height %u", r->height);
		tower_hit(f->tower, r, r->raw_sz > 0 ? (const uint8_t *)(r + 1) : NULL);
	}
	return why;
}

static const char *on_connected(struct feed *f, const struct link_block_connected *r)
{
	const char *why = feed_check_connected(&f->check, r);

	if (why == NULL) {
		uint64_t begun = meter_now_ns();

		note_settled(f);
		tower_block_connected(f->tower, r);
		meter_note(METER_BLOCK, meter_now_ns() - begun, "height %u, %u transactions, %u hits",
			   r->height, r->tx_cnt, r->hit_cnt);
	}
	return why;
}

static const char *on_disconnected(struct feed *f, const struct link_block_disconnected *r)
{
	const char *why = feed_check_disconnected(&f->check, r);

	if (why == NULL)
		tower_block_disconnected(f->tower, r);
	return why;
}

static const char *on_peer(struct feed *f, const struct link_peer_state *r)
{
	const char *why = feed_check_peer(r);
	uint32_t i = 0;

	if (why != NULL)
		return why;
	while (i < f->peer_cnt && f->peer[i].peer_id != r->peer_id)
		i++;
	if (i == FEED_PEER_MAX)
		return NULL; /* more than we show */
	if ((r->flags & LINK_PEER_READY) &&
	    (i == f->peer_cnt || !(f->peer[i].flags & LINK_PEER_READY) || f->peer[i].connects != r->connects))
		f->peer_came = true;
	f->peer[i] = *r;
	if (i == f->peer_cnt)
		f->peer_cnt++;
	return NULL;
}

static const char *on_stats(struct feed *f, const struct link_stats *r)
{
	const struct link_stat *s = (const void *)(r + 1);
	const char *why = feed_check_stats(r, s);

	if (why != NULL)
		return why;
	f->stat_cnt = r->cnt < FEED_STAT_MAX ? r->cnt : FEED_STAT_MAX;
	memcpy(f->stat, s, f->stat_cnt * sizeof(*s));
	return NULL;
}

static const char *on_broadcast_result(struct feed *f, const struct link_broadcast_result *r)
{
	struct node_answer a = {.peer_cnt = r->peer_cnt, .at_ns = r->at_ns, .text = "", .peers = &r->peers};
	const char *why = feed_check_broadcast_result(r);

	if (why != NULL)
		return why;
	switch ((enum link_broadcast_status)r->status) {
	case LINK_BCAST_SENT:
		a.verdict = NODE_SENT_P2P;
		break;
	case LINK_BCAST_NO_PEER:
		a.verdict = NODE_NO_PEER;
		break;
	case LINK_BCAST_ANNOUNCED:
		/* It relays what it has accepted. */
		a.verdict = NODE_ACCEPTED;
		a.text = "announced by another peer";
		break;
	case LINK_BCAST_HELD:
		a.verdict = NODE_ACCEPTED;
		a.text = "in the mempool of a peer";
		break;
	case LINK_BCAST_NEWS:
		a.verdict = NODE_PEER_NEWS;
		break;
	}
	tower_broadcast_result(f->tower, &r->txid, &a);
	return NULL;
}

static const char *on_chain_state(struct feed *f, const struct link_chain_state *r)
{
	const char *why = feed_check_chain_state(r);

	if (why == NULL) {
		f->info.chain = *r;
		f->info.has_chain = true;
	}
	return why;
}

static const char *dispatch(struct feed *f, const struct link_head *h)
{
	const void *r = h;

	switch ((enum link_type)h->type) {
	case LINK_D_HELLO:
		on_hello(f, r);
		return NULL;
	case LINK_CHAIN_START:
		return on_chain_start(f, r);
	case LINK_WATCH_ADDED:
		return on_watch_added(f, r);
	case LINK_HIT:
		return on_hit(f, r);
	case LINK_BLOCK_CONNECTED:
		return on_connected(f, r);
	case LINK_BLOCK_DISCONNECTED:
		return on_disconnected(f, r);
	case LINK_CHAIN_STATE:
		return on_chain_state(f, r);
	case LINK_PEER_STATE:
		return on_peer(f, r);
	case LINK_BROADCAST_RESULT:
		return on_broadcast_result(f, r);
	case LINK_STATS:
		return on_stats(f, r);
	case LINK_STALE_BLOCK:
		return session_stale_block(f, r);
	case LINK_STALE_END:
		return session_stale_end(f, r);
	case LINK_C_HELLO:
	case LINK_WATCH_LOAD:
	case LINK_START:
	case LINK_WATCH_ADD:
	case LINK_WATCH_DEL:
	case LINK_BLOCK_ACK:
	case LINK_BROADCAST:
	case LINK_STATS_GET:
	case LINK_STALE_SCAN:
		break;
	}
	return "a record of the wrong direction"; /* link_reader_next lets none pass */
}

/* The dataplane keeps to its window by itself; if it does not, its socket fills instead of our memory. */
static bool tower_is_behind(const struct feed *f)
{
	return f->check.on && f->check.height > f->acked_height &&
	       f->check.height - f->acked_height > f->hello.window;
}

/* The penalties for a block's hits leave before what follows the hits, which is written to the store, is looked at. */
static void answers_send(struct feed *f, const struct link_head *next)
{
	if (f->answers_wait && next->type != LINK_HIT)
		session_write(f);
}

static void records_take(struct feed *f)
{
	const struct link_head *h;
	const char *why;
	int rc = 0;

	while (f->fail == NULL && !(f->paused = tower_is_behind(f)) &&
	       (rc = link_reader_next(&f->reader, LINK_FROM_DATAPLANE, &h)) == 1) {
		answers_send(f, h);
		if (f->fail != NULL)
			return;
		if (f->state == FEED_HELLO && h->type != LINK_D_HELLO)
			why = "something before its HELLO";
		else
			why = dispatch(f, h);
		if (why != NULL)
			session_fail(f, why, true);
	}
	if (rc < 0)
		session_fail(f, "a malformed record", true);
}

/* A peer that came or came back may know nothing of what was sent before, whoever else is there. */
static void way_open_check(struct feed *f)
{
	bool open = session_open(f) && f->info.has_chain && f->info.chain.ready_peer_cnt > 0;

	if ((open && !f->way_open) || f->peer_came)
		tower_way_open(f->tower);
	f->way_open = open;
	f->peer_came = false;
}

void session_read(struct feed *f)
{
	size_t got = 0;

	records_take(f);
	while (f->fail == NULL && !f->paused && got < READ_TURN_MAX) {
		size_t room;
		uint8_t *p = link_reader_room(&f->reader, &room);
		ssize_t n = recv(f->conn->fd, p, room < READ_TURN_MAX ? room : READ_TURN_MAX, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			session_fail(f, "the dataplane closed the link", false);
			break;
		}
		f->read_ms = uv_now(f->loop);
		got += (size_t)n;
		link_reader_took(&f->reader, (size_t)n);
		records_take(f);
	}
	if (f->fail == NULL)
		way_open_check(f);
}

/* --- time --------------------------------------------------------------------------------------------------- */

void session_forget_retry(struct feed *f, const struct locator *l)
{
	for (uint32_t i = f->retry_cnt; i-- > 0;)
		if (memcmp(f->retry[i].b, l->b, LOCATOR_SZ) == 0)
			f->retry[i] = f->retry[--f->retry_cnt];
}

static void retry_adds(struct feed *f)
{
	if (f->retry_cnt > 0 && ++f->retry_times > FEED_RETRY_TIMES) {
		session_refused_check(f);
		return;
	}
	for (uint32_t i = 0; i < f->retry_cnt; i++)
		session_queue(f, &(struct backlog_entry){.op = BACKLOG_ADD, .locator = f->retry[i]});
	f->retry_cnt = 0;
}

void session_tick(struct feed *f, uint64_t now_ms)
{
	if (f->state == FEED_HELLO && now_ms - f->begun_ms >= HELLO_MS)
		session_fail(f, "no HELLO from the dataplane within 5 s", false);
	if (link_writer_used(&f->writer) > 0 && now_ms - f->write_ms >= STALL_MS)
		session_fail(f, "the dataplane has not read for 30 s", false);
	if (f->state != FEED_ON || f->paused)
		f->read_ms = now_ms;
	else if (now_ms - f->read_ms >= SILENT_MS)
		session_fail(f, "the dataplane has been silent for 120 s", false);
	if (f->fail != NULL || !session_open(f))
		return;
	retry_adds(f);
	if (f->fail != NULL)
		return;
	if (now_ms - f->stats_ms >= STATS_MS && link_writer_used(&f->writer) < FEED_WRITER_HIGH) {
		struct link_stats_get get = {0};

		put(f, LINK_STATS_GET, &get, sizeof(get), NULL, 0);
		f->stats_ms = now_ms;
	}
}

void session_clear(struct feed *f)
{
	link_reader_reset(&f->reader);
	link_writer_reset(&f->writer);
	backlog_clear(&f->backlog);
	pending_clear(&f->pending);
	f->check = (struct feed_check){0};
	f->hello = (struct link_d_hello){0};
	f->retry_cnt = 0;
	refusals_forget(f);
	session_stale_lost(f);
	f->peer_cnt = 0;
	f->stat_cnt = 0;
	f->info.has_chain = false;
	f->info.loaded_cnt = 0;
	f->way_open = f->peer_came = false;
	f->paused = false;
	f->fail = NULL;
	f->fail_is_broken = false;
	f->stats_ms = 0;
	f->state = FEED_DOWN;
}
