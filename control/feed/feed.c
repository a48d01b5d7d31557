#include "feed/feed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "feed/feed_priv.h"
#include "log/log.h"

#define DELAY_FIRST_MS 100u
#define DELAY_MAX_MS   2000u
#define DELAY_WRONG_MS 10000u /* wrong version or network: somebody has to do something */
#define LOG_AGAIN_MS   60000u /* the same reason is logged this often */
#define TICK_MS        1000u
#define SEND_ROOM      (1 << 20) /* bytes */

static void feed_settle(struct feed *f);

const char *feed_state_name(enum feed_state s)
{
	switch (s) {
	case FEED_DOWN:
		return "down";
	case FEED_HELLO:
		return "hello";
	case FEED_LOAD:
		return "load";
	case FEED_SYNC:
		return "sync";
	case FEED_ON:
		return "on";
	}
	return "unknown";
}

/* --- handles ------------------------------------------------------------------------------------------------ */

static void feed_release(struct feed *f)
{
	if (!f->freed || f->handles > 0)
		return;
	link_reader_free(&f->reader);
	link_writer_free(&f->writer);
	session_stale_free(f);
	free(f);
}

static void on_timer_closed(uv_handle_t *h)
{
	struct feed *f = h->data;

	f->handles--;
	feed_release(f);
}

static void on_conn_closed(uv_handle_t *h)
{
	struct feed_conn *c = h->data;
	struct feed *f = c->feed;

	free(c);
	f->handles--;
	feed_release(f);
}

static void conn_close(struct feed *f)
{
	if (f->conn == NULL)
		return;
	uv_close((uv_handle_t *)&f->conn->poll, on_conn_closed);
	close(f->conn->fd); /* uv_close has taken it out of the poll set */
	f->conn = NULL;
}

/* --- connecting --------------------------------------------------------------------------------------------- */

static void note_error(struct feed *f, const char *why, bool broken)
{
	uint64_t now = uv_now(f->loop);
	bool said = f->error_said && strcmp(f->last_error, why) == 0;

	snprintf(f->last_error, sizeof(f->last_error), "%s", why);
	if (said && now - f->error_said_ms < LOG_AGAIN_MS)
		return;
	f->error_said = true;
	f->error_said_ms = now;
	if (broken)
		log_error("feed_broken", "The dataplane breaks the link's rules; connecting again",
			  log_str("why", why), log_str("socket", f->path));
	else
		log_warn("feed_down", "No dataplane; blocks are not being watched until it is back",
			 log_str("why", why), log_str("socket", f->path));
}

static void on_connect_time(uv_timer_t *t);

static void connect_later(struct feed *f, uint32_t at_least_ms)
{
	f->delay_ms = f->delay_ms == 0 ? DELAY_FIRST_MS : f->delay_ms * 2;
	if (f->delay_ms > DELAY_MAX_MS)
		f->delay_ms = DELAY_MAX_MS;
	uv_timer_start(&f->timer, on_connect_time, f->delay_ms > at_least_ms ? f->delay_ms : at_least_ms, 0);
}

static void session_end(struct feed *f)
{
	const char *why = f->fail;
	bool broken = f->fail_is_broken;
	enum feed_state was = f->state;
	uint32_t at_least_ms = 0;

	if (broken) {
		f->info.protocol_errors_total++;
		at_least_ms = was == FEED_HELLO ? f->wrong_ms : f->broken_ms;
	}
	note_error(f, why, broken);
	conn_close(f);
	session_clear(f);
	if (was == FEED_SYNC || was == FEED_ON) {
		f->info.lost_total++;
		tower_session_lost(f->tower);
	}
	connect_later(f, at_least_ms);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct feed_conn *c = h->data;
	struct feed *f = c->feed;

	if (status < 0)
		session_fail(f, uv_strerror(status), false);
	if (f->fail == NULL && (events & UV_READABLE))
		session_read(f);
	/* Paused, so the end of the stream is not read; what is in front of it will come again. */
	if (f->fail == NULL && (events & UV_DISCONNECT) && f->paused)
		session_fail(f, "the dataplane closed the link", false);
	feed_settle(f);
}

static void on_tick(uv_timer_t *t)
{
	struct feed *f = t->data;

	session_tick(f, uv_now(f->loop));
	feed_settle(f);
}

static void on_kick(uv_timer_t *t)
{
	struct feed *f = t->data;

	if (f->conn == NULL)
		return;
	if (f->fail == NULL && f->paused)
		session_read(f);
	feed_settle(f);
}

static void interest_set(struct feed *f)
{
	int want = UV_DISCONNECT;

	if (f->conn == NULL)
		return;
	if (!f->paused)
		want |= UV_READABLE;
	if (session_wants_write(f))
		want |= UV_WRITABLE;
	if (want == f->conn->interest)
		return;
	f->conn->interest = want;
	if (uv_poll_start(&f->conn->poll, want, on_poll) != 0)
		session_fail(f, "cannot poll the link", false);
}

/* After everything the loop makes us do: writes what there is, and ends a session that failed. */
static void feed_settle(struct feed *f)
{
	if (f->conn == NULL)
		return;
	if (f->fail == NULL)
		session_write(f);
	if (f->fail == NULL)
		interest_set(f);
	if (f->fail != NULL)
		session_end(f);
}

static int connect_fd(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int room = SEND_ROOM;
	int err;

	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	/* As much as the system allows: so a load need not wait for the dataplane's every turn. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static struct feed_conn *conn_new(struct feed *f, int fd)
{
	struct feed_conn *c = calloc(1, sizeof(*c));

	if (c == NULL || uv_poll_init(f->loop, &c->poll, fd) != 0) {
		free(c);
		return NULL;
	}
	c->poll.data = c;
	c->feed = f;
	c->fd = fd;
	f->handles++;
	return c;
}

static void on_connect_time(uv_timer_t *t)
{
	struct feed *f = t->data;
	int fd = connect_fd(f->path);
	char why[96];

	if (fd < 0) {
		snprintf(why, sizeof(why), "cannot connect: %s", strerror(-fd));
		note_error(f, why, false);
		connect_later(f, 0);
		return;
	}
	f->conn = conn_new(f, fd);
	if (f->conn == NULL) {
		close(fd);
		note_error(f, "out of memory", false);
		connect_later(f, 0);
		return;
	}
	session_begin(f);
	uv_timer_start(&f->timer, on_tick, TICK_MS, TICK_MS);
	feed_settle(f);
}

/* --- lifetime ----------------------------------------------------------------------------------------------- */

static void timer_init(struct feed *f, uv_timer_t *t)
{
	uv_timer_init(f->loop, t);
	t->data = f;
	f->handles++;
}

struct feed *feed_new(const struct feed_config *cfg, uv_loop_t *loop, struct tower *t, const char **why)
{
	struct feed *f;

	if (strlen(cfg->path) >= sizeof(f->path)) {
		*why = "the link socket's path is too long (at most 107 characters)";
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	if (f == NULL || !link_reader_init(&f->reader) || !link_writer_init(&f->writer, FEED_WRITER_CAP)) {
		if (f != NULL)
			link_reader_free(&f->reader);
		free(f);
		*why = "out of memory";
		return NULL;
	}
	f->loop = loop;
	f->tower = t;
	f->wrong_ms = DELAY_WRONG_MS;
	f->broken_ms = DELAY_MAX_MS;
	f->cfg = *cfg;
	memcpy(f->path, cfg->path, strlen(cfg->path) + 1);
	f->cfg.path = f->path;
	timer_init(f, &f->timer);
	timer_init(f, &f->kick);
	return f;
}

void feed_start(struct feed *f)
{
	uv_timer_start(&f->timer, on_connect_time, 0, 0);
}

void feed_free(struct feed *f)
{
	if (f == NULL || f->freed)
		return;
	f->freed = true;
	conn_close(f);
	session_clear(f);
	uv_close((uv_handle_t *)&f->timer, on_timer_closed);
	uv_close((uv_handle_t *)&f->kick, on_timer_closed);
}

/* --- calls of the tower ------------------------------------------------------------------------------------- */

void feed_touch(struct feed *f)
{
	if (!f->freed)
		uv_timer_start(&f->kick, on_kick, 0, 0);
}

static void feed_change(struct feed *f, const struct backlog_entry *e)
{
	if (f->state == FEED_DOWN || f->state == FEED_HELLO)
		return; /* the load that follows reads the store, which has it */
	session_queue(f, e);
	feed_touch(f);
}

void feed_watch_add(struct feed *f, const struct locator *l)
{
	feed_change(f, &(struct backlog_entry){.op = BACKLOG_ADD, .locator = *l});
}

void feed_watch_del(struct feed *f, const struct locator *l)
{
	session_forget_retry(f, l);
	feed_change(f, &(struct backlog_entry){.op = BACKLOG_DEL, .locator = *l});
}

void feed_block_ack(struct feed *f, uint32_t height, const struct hash256 *hash)
{
	if (f->state != FEED_ON)
		return; /* of an earlier session: this one begins at or behind it */
	f->acked_height = height;
	session_refused_check(f);
	feed_change(f, &(struct backlog_entry){.op = BACKLOG_ACK, .height = height, .hash = *hash});
}

void feed_session_reset(struct feed *f)
{
	if (f->conn == NULL)
		return;
	session_fail(f, "the tower begins again from its store", false);
	feed_touch(f);
}

bool feed_broadcast(struct feed *f, const struct hash256 *txid, const uint8_t *raw, size_t sz)
{
	struct link_broadcast rec = {.txid = *txid, .raw_sz = (uint32_t)sz};
	bool sent = (f->state == FEED_SYNC || f->state == FEED_ON) && sz <= BLOCK_SZ_MAX;

	rec.cookie = f->info.broadcasts_total + 1;
	sent = sent && link_writer_put(&f->writer, LINK_BROADCAST, &rec, sizeof(rec), raw, sz);
	if (!sent) {
		f->info.broadcasts_unsent_total++;
		return false;
	}
	f->info.broadcasts_total++;
	f->answers_wait = true;
	feed_touch(f);
	return true;
}

/* --- views -------------------------------------------------------------------------------------------------- */

void feed_info_get(const struct feed *f, struct feed_info *out)
{
	*out = f->info;
	out->state = f->state;
	out->hello = f->hello;
	out->backlog_cnt = f->backlog.cnt;
	out->added_pending_cnt = f->pending.waiting;
	out->last_error = f->last_error;
}

void feed_each_peer(const struct feed *f, void (*cb)(void *arg, const struct link_peer_state *p), void *arg)
{
	for (uint32_t i = 0; i < f->peer_cnt; i++)
		cb(arg, &f->peer[i]);
}

void feed_each_stat(const struct feed *f, void (*cb)(void *arg, const struct link_stat *s), void *arg)
{
	for (uint32_t i = 0; i < f->stat_cnt; i++)
		cb(arg, &f->stat[i]);
}
