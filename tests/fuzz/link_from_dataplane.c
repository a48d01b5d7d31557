/* link_from_dataplane.c - what control reads: frames, checks and session of control/feed, on a real socket.  However the
   stream is cut, the same calls reach the tower in the same order, and they are what the tower counts on: a chain of
   blocks each on the one before, and hits only of the next block.  Input: link_stream.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "feed/feed_priv.h"
#include "link_stream.h"
#include "log/log.h"

#define ADDS 4u /* locators the tower has watched once the chain stands */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

/* --- the tower, which believes nothing ---------------------------------------------------------------------- */

struct tower {
	struct feed *feed;
	uint64_t digest;
	unsigned calls;
	bool on, hash_known;
	uint32_t height;
	struct hash256 hash;
	uint32_t hit_cnt; /* of the block to come */
	struct hash256 hit_block;
};

static void called(struct tower *t, char what)
{
	link_note(&t->digest, &what, 1);
	t->calls++;
}

bool tower_each_watched(struct tower *t, struct tower_watch_cursor *cur, uint32_t limit,
			void (*cb)(void *arg, const struct locator *l), void *arg)
{
	static const struct locator one = {{1, 2, 3}};

	(void)t;
	(void)limit;
	if (cur->stage++ == 0)
		cb(arg, &one);
	return false;
}

void tower_info_get(struct tower *t, struct tower_info *out)
{
	(void)t;
	*out = (struct tower_info){.appointments = 1};
}

void tower_resume_point(struct tower *t, struct tower_resume *out, uint8_t *headers, uint32_t max)
{
	(void)t;
	(void)headers;
	(void)max;
	*out = (struct tower_resume){0};
}

void tower_chain_start(struct tower *t, const struct link_chain_start *rec, const uint8_t *headers)
{
	must(!t->on && rec->header_cnt <= 2016);
	if (rec->header_cnt > 0) {
		struct hash256 last = header_hash(headers + (size_t)(rec->header_cnt - 1) * HEADER_SZ);

		must(hash256_eq(&last, &rec->hash));
		link_note(&t->digest, headers, (size_t)rec->header_cnt * HEADER_SZ);
	}
	t->on = t->hash_known = true;
	t->height = rec->height;
	t->hash = rec->hash;
	called(t, 'S');
	link_note(&t->digest, &rec->hash, HASH_SZ);
	for (uint8_t i = 0; i < ADDS; i++)
		session_queue(t->feed, &(struct backlog_entry){.op = BACKLOG_ADD, .locator = {{9, i}}});
}

void tower_hit(struct tower *t, const struct link_hit *rec, const uint8_t *raw)
{
	struct locator l = locator_of_txid(&rec->txid, (enum locator_scheme)rec->scheme);

	must(memcmp(l.b, rec->locator.b, LOCATOR_SZ) == 0 && rec->tx_idx < BLOCK_TX_MAX);
	must((raw == NULL) == (rec->raw_sz == 0));
	if (!(rec->flags & LINK_HIT_RECENT)) {
		must(t->on && rec->height == (uint64_t)t->height + 1);
		must(t->hit_cnt == 0 || hash256_eq(&t->hit_block, &rec->block_hash));
		t->hit_block = rec->block_hash;
		t->hit_cnt++;
	}
	called(t, 'H');
	link_note(&t->digest, rec, sizeof(*rec));
	if (raw != NULL)
		link_note(&t->digest, raw, rec->raw_sz); /* every byte is there to be read */
}

static void acknowledge(struct tower *t, uint32_t height, const struct hash256 *hash)
{
	t->feed->acked_height = height;
	session_queue(t->feed, &(struct backlog_entry){.op = BACKLOG_ACK, .height = height, .hash = *hash});
}

void tower_block_connected(struct tower *t, const struct link_block_connected *rec)
{
	struct hash256 hash = header_hash(rec->header);
	struct header_fields f;

	header_decode(&f, rec->header);
	must(t->on && rec->height == (uint64_t)t->height + 1 && hash256_eq(&hash, &rec->hash));
	must(!t->hash_known || hash256_eq(&f.prev, &t->hash));
	must(rec->hit_cnt == t->hit_cnt && (t->hit_cnt == 0 || hash256_eq(&t->hit_block, &hash)));
	t->height = rec->height;
	t->hash = hash;
	t->hash_known = true;
	t->hit_cnt = 0;
	called(t, 'C');
	link_note(&t->digest, rec, sizeof(*rec));
	acknowledge(t, rec->height, &hash);
}

void tower_block_disconnected(struct tower *t, const struct link_block_disconnected *rec)
{
	must(t->on && rec->height == t->height && rec->height > 0 && t->hit_cnt == 0);
	must(!t->hash_known || hash256_eq(&rec->hash, &t->hash));
	t->height--;
	t->hash_known = false;
	called(t, 'D');
	link_note(&t->digest, rec, sizeof(*rec));
	acknowledge(t, t->height, &rec->hash);
}

void tower_watch_settled(struct tower *t)
{
	called(t, 's');
}

void tower_session_lost(struct tower *t)
{
	(void)t;
}

void tower_broadcast_result(struct tower *t, const struct hash256 *txid, const struct node_answer *a)
{
	must(a->verdict == NODE_SENT_P2P || a->verdict == NODE_NO_PEER || a->verdict == NODE_ACCEPTED ||
	     a->verdict == NODE_PEER_NEWS);
	must(a->peers != NULL);
	must(a->text != NULL);
	called(t, 'R');
	link_note(&t->digest, txid, HASH_SZ);
}

void tower_way_open(struct tower *t)
{
	(void)t; /* asked for once a turn, so how often depends on the cuts */
}

/* --- records ------------------------------------------------------------------------------------------------ */

/* The chain that mended records tell. */
struct story {
	uint32_t height, hit_cnt;
	struct hash256 hash[64]; /* by height, the last ones */
	uint8_t next[HEADER_SZ];
};

static void story_next(struct story *s)
{
	struct header_fields f = {.version = 4, .prev = s->hash[s->height % 64], .nonce = s->height};

	header_encode(s->next, &f);
	s->hit_cnt = 0;
}

static enum link_type pick(uint8_t byte, size_t *fixed_sz)
{
	static const size_t sizes[] = {
		sizeof(struct link_d_hello),          sizeof(struct link_chain_start),
		sizeof(struct link_watch_added),      sizeof(struct link_hit),
		sizeof(struct link_block_connected),  sizeof(struct link_block_disconnected),
		sizeof(struct link_chain_state),      sizeof(struct link_peer_state),
		sizeof(struct link_broadcast_result), sizeof(struct link_stats)};

	*fixed_sz = sizes[byte % 10];
	return (enum link_type)(LINK_D_HELLO + byte % 10);
}

static void mend_hello(struct link_d_hello *h)
{
	h->magic = LINK_MAGIC;
	h->version = LINK_VERSION;
	h->network = NET_REGTEST;
	h->window = 1 + h->window % 8;
	memset(h->kernel, 0, sizeof(h->kernel));
	memset(h->version_text, 'v', sizeof(h->version_text));
}

static void mend_chain_start(struct story *s, struct link_chain_start *c, size_t tail_sz)
{
	uint8_t *header = (uint8_t *)(c + 1);

	c->header_cnt = (uint32_t)(tail_sz / HEADER_SZ);
	c->height %= 1000;
	c->height += c->header_cnt;
	for (uint32_t i = 0; i < c->header_cnt; i++) {
		struct hash256 before = i > 0 ? header_hash(header + (size_t)(i - 1) * HEADER_SZ) : c->hash;

		memcpy(header + (size_t)i * HEADER_SZ + 4, before.b, HASH_SZ);
	}
	if (c->header_cnt > 0)
		c->hash = header_hash(header + (size_t)(c->header_cnt - 1) * HEADER_SZ);
	s->height = c->height;
	s->hash[s->height % 64] = c->hash;
	story_next(s);
}

static void mend_hit(struct story *s, struct link_hit *h, size_t tail_sz, uint8_t options)
{
	h->scheme = options >> 1 & 1;
	h->locator = locator_of_txid(&h->txid, (enum locator_scheme)h->scheme);
	h->tx_idx %= BLOCK_TX_MAX;
	h->flags = options >> 2 & LINK_HIT_RECENT;
	h->raw_sz = (uint32_t)tail_sz;
	if (h->flags != 0)
		return;
	h->height = s->height + 1;
	h->block_hash = header_hash(s->next);
	s->hit_cnt++;
}

static void mend_connected(struct story *s, struct link_block_connected *c)
{
	memcpy(c->header, s->next, HEADER_SZ);
	c->hash = header_hash(s->next);
	c->height = ++s->height;
	c->tx_cnt = 1 + c->tx_cnt % 100;
	c->total_sz %= BLOCK_SZ_MAX;
	c->hit_cnt = s->hit_cnt;
	s->hash[s->height % 64] = c->hash;
	story_next(s);
}

static void mend_disconnected(struct story *s, struct link_block_disconnected *d)
{
	d->height = s->height;
	d->hash = s->hash[s->height % 64];
	if (s->height > 0)
		s->height--;
	story_next(s);
}

static void mend_stats(struct link_stats *st, size_t tail_sz)
{
	struct link_stat *s = (void *)(st + 1);

	st->cnt = (uint32_t)(tail_sz / sizeof(*s));
	for (uint32_t i = 0; i < st->cnt; i++) {
		memset(s[i].name, 0, sizeof(s[i].name));
		s[i].name[0] = 'a';
	}
}

static void mend(void *arg, struct link_head *rec, size_t tail_sz, uint8_t options)
{
	struct story *s = arg;
	size_t keep = 0;
	void *p = rec;

	switch ((enum link_type)rec->type) {
	case LINK_D_HELLO:
		mend_hello(p);
		break;
	case LINK_CHAIN_START:
		mend_chain_start(s, p, tail_sz);
		keep = tail_sz - tail_sz % HEADER_SZ;
		break;
	case LINK_WATCH_ADDED:
		((struct link_watch_added *)p)->cookie %= 2 * ADDS;
		break;
	case LINK_HIT:
		mend_hit(s, p, tail_sz, options);
		keep = tail_sz;
		break;
	case LINK_BLOCK_CONNECTED:
		mend_connected(s, p);
		break;
	case LINK_BLOCK_DISCONNECTED:
		mend_disconnected(s, p);
		break;
	case LINK_CHAIN_STATE:
		((struct link_chain_state *)p)->synced &= 1;
		break;
	case LINK_PEER_STATE:
		memset(((struct link_peer_state *)p)->addr, 0, 56 + 16 + 64 + 48);
		memset(((struct link_peer_state *)p)->ban_reason, 0, 48 + 48);
		break;
	case LINK_BROADCAST_RESULT:
		((struct link_broadcast_result *)p)->status %= LINK_BCAST_NEWS + 1;
		break;
	case LINK_STATS:
		mend_stats(p, tail_sz);
		keep = tail_sz - tail_sz % sizeof(struct link_stat);
		break;
	default:
		break;
	}
	rec->sz -= (uint32_t)(tail_sz - keep);
}

/* --- one session -------------------------------------------------------------------------------------------- */

static void drain(int fd)
{
	static uint8_t buf[65536];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		continue;
}

static void run(struct tower *t, const uint8_t *p, size_t sz, uint32_t seed)
{
	static uv_loop_t loop;
	static struct feed f;
	static struct link_reader reader; /* megabytes each, so they are kept */
	static struct link_writer writer;
	struct feed_conn conn = {.feed = &f};
	int pair[2];
	size_t at = 0;

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	*t = (struct tower){.feed = &f, .digest = 0xcbf29ce484222325u};
	f = (struct feed){.loop = &loop, .tower = t, .conn = &conn};
	f.cfg.network = network_get(NET_REGTEST);
	conn.fd = pair[0];
	must(reader.buf != NULL || (link_reader_init(&reader) && link_writer_init(&writer, FEED_WRITER_CAP)));
	link_reader_reset(&reader);
	link_writer_reset(&writer);
	f.reader = reader;
	f.writer = writer;
	session_begin(&f);
	while (f.fail == NULL && at < sz) {
		size_t piece = link_stream_piece(&seed, sz - at);
		ssize_t n;

		/* A dataplane says nothing after HELLO until it has read START, so neither is it said here. */
		if (at < sizeof(struct link_d_hello) && piece > sizeof(struct link_d_hello) - at)
			piece = sizeof(struct link_d_hello) - at;
		n = send(pair[1], p + at, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
		must(n > 0 || errno == EAGAIN);
		at += n > 0 ? (size_t)n : 0;
		session_read(&f);
		if (f.fail == NULL)
			session_write(&f);
		drain(pair[1]);
	}
	/* What the socket still holds. */
	for (int held = 1; held > 0 && f.fail == NULL;) {
		session_read(&f);
		if (f.fail == NULL)
			session_write(&f);
		drain(pair[1]);
		must(ioctl(pair[0], FIONREAD, &held) == 0);
	}
	must(!f.fail || f.fail[0] != '\0');
	if (f.fail != NULL)
		link_note(&t->digest, f.fail, strlen(f.fail));
	session_clear(&f);
	close(pair[0]);
	close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	static struct story story;
	const struct link_parts parts = {.pick = pick, .mend = mend, .arg = &story};
	static struct tower whole, cut;
	const uint8_t *stream;

	if (sz < 3)
		return 0;
	log_set_level(LOG_LVL_ERROR);
	memset(&story, 0, sizeof(story));
	story_next(&story);
	sz = link_stream_make(&parts, data, sz, &stream);
	run(&whole, stream, sz, 0);
	run(&cut, stream, sz, 1u + data[1] + 256u * data[2]);
	must(whole.digest == cut.digest && whole.calls == cut.calls);
	return 0;
}
