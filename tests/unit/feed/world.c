#include "world.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REC_CAP (64u << 20)

uint64_t test_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- the fake tower ----------------------------------------------------------------------------------------- */

static void note(struct tower *t, enum called what, char letter)
{
	t->called[what]++;
	if (strlen(t->order) < sizeof(t->order) - 1)
		t->order[strlen(t->order)] = letter;
}

bool tower_each_watched(struct tower *t, struct tower_watch_cursor *cur, uint32_t limit,
			void (*cb)(void *arg, const struct locator *l), void *arg)
{
	uint32_t given = 0;

	t->pages++;
	while (cur->stage < t->watched_cnt && given++ < limit)
		cb(arg, &t->watched[cur->stage++]);
	return cur->stage < t->watched_cnt;
}

void tower_info_get(struct tower *t, struct tower_info *out)
{
	*out = (struct tower_info){.appointments = t->watched_cnt};
}

void tower_resume_point(struct tower *t, struct tower_resume *out, uint8_t *headers, uint32_t max)
{
	assert_true(t->resume.header_cnt <= max);
	*out = t->resume;
	memcpy(headers, t->headers, (size_t)t->resume.header_cnt * HEADER_SZ);
}

void tower_chain_start(struct tower *t, const struct link_chain_start *rec, const uint8_t *headers)
{
	(void)headers;
	t->start = *rec;
	note(t, T_START, 'S');
}

void tower_hit(struct tower *t, const struct link_hit *rec, const uint8_t *raw)
{
	t->hit = *rec;
	t->hit_has_raw = raw != NULL;
	if (raw != NULL)
		memcpy(t->hit_raw, raw, rec->raw_sz < sizeof(t->hit_raw) ? rec->raw_sz : sizeof(t->hit_raw));
	note(t, T_HIT, rec->flags & LINK_HIT_RECENT ? 'h' : 'H');
	if (t->answer)
		feed_broadcast(t->feed, &rec->txid, (const uint8_t *)"penalty", 7);
}

void tower_block_connected(struct tower *t, const struct link_block_connected *rec)
{
	if (t->at_block != NULL)
		t->at_block(t);
	t->connected = *rec;
	note(t, T_CONNECT, 'C');
	if (t->ack)
		feed_block_ack(t->feed, rec->height, &rec->hash);
}

void tower_block_disconnected(struct tower *t, const struct link_block_disconnected *rec)
{
	(void)rec;
	note(t, T_DISCONNECT, 'D');
}

void tower_watch_settled(struct tower *t)
{
	t->settled++;
}

void tower_session_lost(struct tower *t)
{
	note(t, T_LOST, 'L');
}

void tower_broadcast_result(struct tower *t, const struct hash256 *txid, const struct node_answer *a)
{
	t->result = *a;
	t->peers = *a->peers;
	t->result_txid = *txid;
	note(t, T_RESULT, 'R');
}

void tower_way_open(struct tower *t)
{
	note(t, T_WAY_OPEN, 'W');
}

/* --- the fake dataplane ------------------------------------------------------------------------------------- */

static void dp_accept(struct dp *d)
{
	int fd = accept4(d->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	d->fd = fd;
	d->accepted++;
	d->rec_sz = 0;
	d->eof = false;
	link_reader_reset(&d->in);
	link_writer_reset(&d->out);
}

static void dp_close(struct dp *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

static void dp_take_records(struct dp *d)
{
	const struct link_head *h;
	int rc;

	while ((rc = link_reader_next(&d->in, LINK_FROM_CONTROL, &h)) == 1) {
		assert_true(d->rec_sz + h->sz <= REC_CAP);
		memcpy(d->rec + d->rec_sz, h, h->sz);
		d->rec_sz += h->sz;
	}
	assert_int_equal(rc, 0); /* control's own records are well-formed */
}

static void dp_step(struct dp *d)
{
	size_t sz;
	const uint8_t *p;
	uint8_t *room;
	ssize_t n;

	if (d->fd < 0)
		dp_accept(d);
	if (d->fd < 0)
		return;
	if ((p = link_writer_peek(&d->out, &sz)) != NULL) {
		n = send(d->fd, p, sz, MSG_NOSIGNAL);
		if (n > 0)
			link_writer_took(&d->out, (size_t)n);
	}
	if (d->deaf)
		return;
	room = link_reader_room(&d->in, &sz);
	n = recv(d->fd, room, sz, 0);
	if (n > 0) {
		link_reader_took(&d->in, (size_t)n);
		dp_take_records(d);
	} else if (n == 0 || errno != EAGAIN) {
		d->eof = true;
		dp_close(d);
	}
}

const void *dp_rec(const struct world *w, enum link_type type, unsigned nth)
{
	const struct dp *d = &w->dp;

	for (size_t at = 0; at < d->rec_sz;) {
		const struct link_head *h = (const void *)(d->rec + at);

		if (h->type == type && nth-- == 0)
			return h;
		at += h->sz;
	}
	return NULL;
}

unsigned dp_cnt(const struct world *w, enum link_type type)
{
	unsigned n = 0;

	for (size_t at = 0; at < w->dp.rec_sz;) {
		const struct link_head *h = (const void *)(w->dp.rec + at);

		n += h->type == type;
		at += h->sz;
	}
	return n;
}

void dp_put(struct world *w, enum link_type type, const void *rec, size_t sz, const void *tail, size_t tail_sz)
{
	assert_true(link_writer_put(&w->dp.out, type, rec, sz, tail, tail_sz));
}

void dp_raw(struct world *w, const void *p, size_t sz)
{
	while (link_writer_used(&w->dp.out) > 0)
		dp_step(&w->dp);
	assert_int_equal(send(w->dp.fd, p, sz, MSG_NOSIGNAL), sz);
}

void dp_hang_up(struct world *w)
{
	dp_close(&w->dp);
}

void dp_hello(struct world *w)
{
	struct link_d_hello h = {.magic = LINK_MAGIC,
				 .version = LINK_VERSION,
				 .network = NET_REGTEST,
				 .recent_blocks = 6,
				 .window = 4,
				 .shard_cnt = 1,
				 .kernel = "ref",
				 .version_text = "test"};

	dp_put(w, LINK_D_HELLO, &h, sizeof(h), NULL, 0);
}

void chain_make(struct chain *c, const struct hash256 *base, unsigned salt)
{
	struct header_fields f = {.version = 4, .bits = 0x207fffff, .prev = *base};

	for (unsigned i = 0; i < 32; i++) {
		f.nonce = salt * 1000 + i;
		header_encode(c->header[i], &f);
		c->hash[i] = header_hash(c->header[i]);
		f.prev = c->hash[i];
	}
}

void dp_chain_start(struct world *w, uint32_t height, const struct hash256 *hash)
{
	struct link_chain_start r = {.height = height, .hash = *hash};

	dp_put(w, LINK_CHAIN_START, &r, sizeof(r), NULL, 0);
}

void dp_connect(struct world *w, const struct chain *c, unsigned i, uint32_t height, uint32_t hit_cnt)
{
	struct link_block_connected r = {
		.hash = c->hash[i], .height = height, .tx_cnt = 1, .total_sz = 300, .hit_cnt = hit_cnt};

	memcpy(r.header, c->header[i], HEADER_SZ);
	dp_put(w, LINK_BLOCK_CONNECTED, &r, sizeof(r), NULL, 0);
}

struct link_hit hit_make(const struct hash256 *block, uint32_t height, enum locator_scheme scheme)
{
	struct link_hit r = {.block_hash = *block, .height = height, .scheme = scheme};

	for (unsigned i = 0; i < HASH_SZ; i++)
		r.txid.b[i] = (uint8_t)(i * 7 + 1);
	r.locator = locator_of_txid(&r.txid, scheme);
	return r;
}

struct locator locator_nr(uint32_t i)
{
	struct locator l = {{0}};

	memcpy(l.b, &i, sizeof(i));
	l.b[15] = 0x55;
	return l;
}

/* --- all together ------------------------------------------------------------------------------------------- */

static int listener_new(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

struct world *world_new(const struct feed_config *given)
{
	static unsigned nr;
	struct world *w = calloc(1, sizeof(*w));
	struct feed_config cfg = {.network = network_get(NET_REGTEST)};
	const char *why = "";

	if (given != NULL)
		cfg = *given;
	snprintf(w->path, sizeof(w->path), "/tmp/vigil_feed_%d_%u", (int)getpid(), nr++);
	cfg.path = w->path;
	uv_loop_init(&w->loop);
	w->dp.fd = -1;
	w->dp.listener = listener_new(w->path);
	w->dp.rec = malloc(REC_CAP);
	assert_true(link_reader_init(&w->dp.in));
	assert_true(link_writer_init(&w->dp.out, 8u << 20));
	w->tower.ack = true;
	w->feed = feed_new(&cfg, &w->loop, &w->tower, &why);
	assert_non_null(w->feed);
	w->tower.feed = w->feed;
	w->feed->broken_ms = w->feed->wrong_ms = 50;
	feed_start(w->feed);
	return w;
}

void world_free(struct world *w)
{
	feed_free(w->feed);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0); /* every handle was closed */
	dp_close(&w->dp);
	close(w->dp.listener);
	unlink(w->path);
	link_reader_free(&w->dp.in);
	link_writer_free(&w->dp.out);
	free(w->dp.rec);
	free(w->tower.watched);
	free(w);
}

void step(struct world *w)
{
	uv_run(&w->loop, UV_RUN_NOWAIT);
	dp_step(&w->dp);
	if (w->dp.fd < 0)
		usleep(1000);
}

struct feed_info info_of(const struct world *w)
{
	struct feed_info i;

	feed_info_get(w->feed, &i);
	return i;
}

enum feed_state state_of(const struct world *w)
{
	return info_of(w).state;
}

void open_session(struct world *w)
{
	assert_true(STEP_UNTIL(w, w->dp.fd >= 0, 5000));
	dp_hello(w);
	assert_true(STEP_UNTIL(w, dp_cnt(w, LINK_START) == 1, 5000));
	dp_chain_start(w, 0, &network_get(NET_REGTEST)->genesis_hash);
	assert_true(STEP_UNTIL(w, state_of(w) == FEED_ON, 5000));
}

void dp_stale_block(struct world *w, const struct hash256 *hash, uint32_t status, uint32_t hit_cnt)
{
	struct link_stale_block b = {
		.hash = *hash, .status = status, .height = 1, .tx_cnt = 3, .hit_cnt = hit_cnt};

	dp_put(w, LINK_STALE_BLOCK, &b, sizeof(b), NULL, 0);
}

void dp_stale_hit(struct world *w, const struct hash256 *hash)
{
	struct link_hit hit = hit_make(hash, 1, LOCATOR_DISPLAY);

	hit.flags = LINK_HIT_STALE;
	dp_put(w, LINK_HIT, &hit, sizeof(hit), NULL, 0);
}

/* The tower hears nothing of it, and the chain goes on in between. */
