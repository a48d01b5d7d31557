#include "api/stub.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include "api/press.h"
#include "api/requests.h"
#include "btc/network.h"
#include "link/frame.h"

#define BLOCKS_MAX  100000u
#define ANSWER_WAIT 120u /* seconds for an acknowledgement, then the run has failed */
#define MS          1000000.0

/* A penalty that is waited for. */
struct expected {
	struct hash256 txid;
	uint32_t no;
	uint64_t at_ns;
};

struct stub {
	const struct network *net;
	int listen_fd, fd; /* fd -1: nobody is connected */
	struct link_reader in;
	struct link_writer out;
	bool started;
	uint32_t height, acked;
	struct hash256 hash;
	struct u256 work, work_each;
	uint64_t connected_ns, acked_ns; /* of the last block */
	uint64_t loaded, adds, dels, broadcasts;

	struct expected *expected; /* sorted by txid */
	uint32_t expected_cnt, arrived, out_of_order, last_no;
	uint64_t first_ns, last_ns;
};

static void die(const char *what)
{
	fprintf(stderr, "vigil-bench-api: stub: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- the link ---------------------------------------------------------------------------------------------- */

static void put(struct stub *s, enum link_type type, const void *rec, size_t sz, const void *tail,
		size_t tail_sz)
{
	if (!link_writer_put(&s->out, type, rec, sz, tail, tail_sz))
		die("no room for a record");
}

static void flush(struct stub *s)
{
	const uint8_t *p;
	size_t sz;

	while (s->fd >= 0 && (p = link_writer_peek(&s->out, &sz)) != NULL) {
		ssize_t n = send(s->fd, p, sz, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return; /* later, or the end is read */
		link_writer_took(&s->out, (size_t)n);
	}
}

static void hello(struct stub *s)
{
	struct link_d_hello h = {.magic = LINK_MAGIC,
				 .version = LINK_VERSION,
				 .network = (uint32_t)s->net->id,
				 .recent_blocks = 6,
				 .window = 64,
				 .shard_cnt = 1,
				 .kernel = "none",
				 .version_text = "bench"};

	put(s, LINK_D_HELLO, &h, sizeof(h), NULL, 0);
}

/* A header on the last one, with valid work. */
static struct hash256 mine(struct stub *s, uint8_t out[HEADER_SZ])
{
	struct header_fields f;
	struct hash256 hash;

	header_decode(&f, s->net->genesis_header);
	f.version = 0x20000000;
	f.prev = s->hash;
	f.time += 600 * (s->height + 1);
	f.nonce = 0;
	do {
		f.nonce++;
		header_encode(out, &f);
		hash = header_hash(out);
	} while (!pow_valid(s->net, &hash, f.bits));
	return hash;
}

static void grow(struct stub *s, const struct hash256 *hash)
{
	s->hash = *hash;
	s->height++;
	s->work = u256_add(&s->work, &s->work_each);
}

/* A new tower begins at block 1. */
static void on_start(struct stub *s, const struct link_start *r)
{
	const uint8_t *headers = (const uint8_t *)(r + 1);
	uint8_t first[2 * HEADER_SZ];
	struct link_chain_start c = {.header_cnt = 0};

	s->hash = hash256_is_zero(&r->root_hash) ? s->net->genesis_hash : r->root_hash;
	s->height = r->root_height;
	s->work = s->work_each;
	if (r->mode == LINK_START_RESUME) {
		s->work = u256_from_le(r->root_work);
		for (uint32_t i = 0; i < r->header_cnt; i++) {
			struct hash256 hash = header_hash(headers + (size_t)i * HEADER_SZ);

			grow(s, &hash);
		}
	} else {
		struct hash256 hash = mine(s, first + HEADER_SZ);

		memcpy(first, s->net->genesis_header, HEADER_SZ);
		grow(s, &hash);
		c.header_cnt = 2;
	}
	c.height = s->height;
	c.hash = s->hash;
	u256_to_le(c.work, &s->work);
	put(s, LINK_CHAIN_START, &c, sizeof(c), first, (size_t)c.header_cnt * HEADER_SZ);
	s->started = true;
	s->acked = s->height;
}

static int by_txid(const void *a, const void *b)
{
	return memcmp(((const struct expected *)a)->txid.b, ((const struct expected *)b)->txid.b, HASH_SZ);
}

static void on_broadcast(struct stub *s, const struct link_broadcast *r)
{
	struct link_broadcast_result res = {.cookie = r->cookie,
					    .txid = r->txid,
					    .status = LINK_BCAST_SENT,
					    .peer_cnt = 1,
					    .at_ns = press_now_ns()};
	struct expected key = {.txid = r->txid}, *e = NULL;

	s->broadcasts++;
	if (s->expected_cnt > 0)
		e = bsearch(&key, s->expected, s->expected_cnt, sizeof(key), by_txid);
	if (e != NULL && e->at_ns == 0) {
		e->at_ns = s->last_ns = res.at_ns;
		if (s->arrived++ == 0)
			s->first_ns = res.at_ns;
		else if (e->no < s->last_no)
			s->out_of_order++;
		s->last_no = e->no;
	}
	put(s, LINK_BROADCAST_RESULT, &res, sizeof(res), NULL, 0);
}

static void on_record(struct stub *s, const struct link_head *h)
{
	const void *r = h;

	switch (h->type) {
	case LINK_C_HELLO:
		hello(s);
		break;
	case LINK_WATCH_LOAD:
		s->loaded += ((const struct link_watch_load *)r)->cnt;
		break;
	case LINK_START:
		on_start(s, r);
		break;
	case LINK_WATCH_ADD: {
		struct link_watch_added a = {.cookie = ((const struct link_watch_add *)r)->cookie};

		s->adds++;
		put(s, LINK_WATCH_ADDED, &a, sizeof(a), NULL, 0);
		break;
	}
	case LINK_WATCH_DEL:
		s->dels++;
		break;
	case LINK_BLOCK_ACK:
		s->acked = ((const struct link_block_ack *)r)->height;
		s->acked_ns = press_now_ns();
		break;
	case LINK_BROADCAST:
		on_broadcast(s, r);
		break;
	case LINK_STATS_GET: {
		struct link_stats st = {.cookie = ((const struct link_stats_get *)r)->cookie};

		put(s, LINK_STATS, &st, sizeof(st), NULL, 0);
		break;
	}
	default:
		break;
	}
}

static void link_end(struct stub *s)
{
	close(s->fd);
	s->fd = -1;
	s->started = false;
	link_reader_reset(&s->in);
	link_writer_reset(&s->out);
	s->loaded = s->adds = s->dels = s->broadcasts = 0;
}

static void link_read(struct stub *s)
{
	const struct link_head *h;
	size_t room;
	uint8_t *p = link_reader_room(&s->in, &room);
	ssize_t n = recv(s->fd, p, room, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		link_end(s);
		return;
	}
	link_reader_took(&s->in, (size_t)n);
	while (link_reader_next(&s->in, LINK_FROM_CONTROL, &h) == 1)
		on_record(s, h);
}

/* One turn of the link.  True when standard input is readable too (stdin_too) within wait_ms. */
static bool turn(struct stub *s, int wait_ms, bool stdin_too)
{
	struct pollfd p[2] = {{.fd = s->fd >= 0 ? s->fd : s->listen_fd, .events = POLLIN},
			      {.fd = stdin_too ? STDIN_FILENO : -1, .events = POLLIN}};
	size_t sz;

	flush(s);
	if (s->fd >= 0 && link_writer_peek(&s->out, &sz) != NULL)
		p[0].events |= POLLOUT;
	if (poll(p, 2, wait_ms) <= 0)
		return false;
	if (s->fd < 0 && (p[0].revents & POLLIN))
		s->fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	else if (p[0].revents & (POLLIN | POLLHUP))
		link_read(s);
	flush(s);
	return p[1].revents != 0;
}

/* --- commands ----------------------------------------------------------------------------------------------- */

static bool wait_acked(struct stub *s)
{
	uint64_t end = press_now_ns() + ANSWER_WAIT * UINT64_C(1000000000);

	while (s->started && s->acked != s->height && press_now_ns() < end)
		turn(s, 100, false);
	return s->started && s->acked == s->height;
}

static void connect_block(struct stub *s, const uint8_t header[HEADER_SZ], const struct hash256 *hash,
			  uint32_t hits)
{
	struct link_block_connected b = {
		.hash = *hash, .tx_cnt = hits + 1, .total_sz = 300 * (hits + 1), .hit_cnt = hits};

	grow(s, hash);
	memcpy(b.header, header, HEADER_SZ);
	u256_to_le(b.work, &s->work);
	b.height = s->height;
	b.first_byte_ns = b.last_byte_ns = b.done_ns = s->connected_ns = press_now_ns();
	put(s, LINK_BLOCK_CONNECTED, &b, sizeof(b), NULL, 0);
	flush(s);
}

static void pause_ms(struct stub *s, uint32_t ms)
{
	uint64_t end = press_now_ns() + (uint64_t)ms * 1000000, now;

	while ((now = press_now_ns()) < end)
		turn(s, (int)((end - now + 999999) / 1000000), false);
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static json_t *blocks(struct stub *s, uint32_t cnt, uint64_t dels, uint32_t pause, double seconds)
{
	double *took = calloc(cnt, sizeof(*took));
	uint64_t begun = press_now_ns();
	uint8_t header[HEADER_SZ];
	uint32_t n = 0;
	json_t *j;

	while (took != NULL && n < cnt && s->dels < dels && (double)(press_now_ns() - begun) < seconds * 1e9) {
		struct hash256 hash = mine(s, header);

		connect_block(s, header, &hash, 0);
		if (!wait_acked(s))
			break;
		took[n++] = (double)(s->acked_ns - s->connected_ns) / MS;
		pause_ms(s, pause);
	}
	if (n == 0) {
		free(took);
		return json_pack("{s:s}", "error", "no block was acknowledged");
	}
	qsort(took, n, sizeof(*took), by_value);
	j = json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "blocks", (json_int_t)n, "height",
		      (json_int_t)s->height, "deletes", (json_int_t)s->dels, "ack_ms", took[n / 2],
		      "ack_ms_p99", took[n * 99 / 100], "ack_ms_max", took[n - 1], "seconds",
		      (double)(press_now_ns() - begun) / 1e9);
	free(took);
	return j;
}

static void expect(struct stub *s, uint64_t seed, uint64_t first, uint32_t cnt)
{
	free(s->expected);
	s->expected = calloc(cnt, sizeof(*s->expected));
	if (s->expected == NULL)
		die("penalties");
	for (uint32_t i = 0; i < cnt; i++) {
		struct hash256 dispute = dispute_no(seed, first + i);
		uint8_t penalty[PENALTY_SZ];

		penalty_no(penalty, &dispute);
		s->expected[i] = (struct expected){.txid = penalty_txid(penalty), .no = i};
	}
	qsort(s->expected, cnt, sizeof(*s->expected), by_txid);
	s->expected_cnt = cnt;
	s->arrived = s->out_of_order = s->last_no = 0;
	s->first_ns = s->last_ns = 0;
}

static void hit(struct stub *s, uint64_t seed, uint64_t i, uint32_t tx_idx, const struct hash256 *block)
{
	uint8_t raw[DISPUTE_SZ_MAX];
	struct link_hit h = {.block_hash = *block,
			     .height = s->height + 1,
			     .tx_idx = tx_idx,
			     .scheme = LOCATOR_INTERNAL,
			     .last_byte_ns = press_now_ns(),
			     .hit_ns = press_now_ns(),
			     .raw_sz = (uint32_t)dispute_raw(raw, seed, i)};

	h.txid = dispute_no(seed, i);
	h.locator = locator_of_txid(&h.txid, LOCATOR_INTERNAL);
	put(s, LINK_HIT, &h, sizeof(h), raw, h.raw_sz);
}

static json_t *breach(struct stub *s, uint64_t seed, uint64_t first, uint32_t cnt, double seconds)
{
	uint8_t header[HEADER_SZ];
	uint64_t begun, end;
	struct hash256 hash = mine(s, header);
	bool acked;

	expect(s, seed, first, cnt);
	begun = press_now_ns();
	end = begun + (uint64_t)(seconds * 1e9);
	for (uint32_t i = 0; i < cnt; i++)
		hit(s, seed, first + i, i + 1, &hash);
	connect_block(s, header, &hash, cnt);
	acked = wait_acked(s);
	while (s->started && s->arrived < cnt && press_now_ns() < end)
		turn(s, 100, false);
	return json_pack("{s:I, s:I, s:I, s:b, s:f, s:f, s:f, s:I, s:I}", "breaches", (json_int_t)cnt,
			 "penalties", (json_int_t)s->arrived, "out_of_order", (json_int_t)s->out_of_order,
			 "acked", acked, "first_ms", (double)(s->first_ns - begun) / MS, "last_ms",
			 (double)(s->last_ns - begun) / MS, "ack_ms", (double)(s->acked_ns - begun) / MS,
			 "begun_ns", (json_int_t)begun, "end_ns", (json_int_t)press_now_ns());
}

static json_t *command(struct stub *s, const char *line)
{
	uint64_t seed, first, dels;
	uint32_t cnt, pause;
	double seconds;

	if (!s->started)
		return json_pack("{s:s}", "error", "no session");
	if (sscanf(line, "blocks %" SCNu32 " %" SCNu32, &cnt, &pause) == 2 && cnt > 0 && cnt <= BLOCKS_MAX)
		return blocks(s, cnt, UINT64_MAX, pause, 1e6);
	if (sscanf(line, "until %" SCNu64 " %" SCNu32 " %lf", &dels, &pause, &seconds) == 3)
		return blocks(s, BLOCKS_MAX, dels, pause, seconds);
	if (sscanf(line, "breach %" SCNu64 " %" SCNu64 " %" SCNu32 " %lf", &seed, &first, &cnt, &seconds) ==
		    4 &&
	    cnt > 0 && cnt < BLOCK_TX_MAX)
		return breach(s, seed, first, cnt, seconds);
	return json_pack("{s:s}", "error", "no such command");
}

static int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(a.sun_path))
		die("the path is too long");
	strcpy(a.sun_path, path);
	if (fd < 0 || bind(fd, (const void *)&a, sizeof(a)) != 0 || listen(fd, 1) != 0)
		die(path);
	return fd;
}

int stub_run(const char *path)
{
	struct stub s = {.net = network_get(NET_REGTEST), .fd = -1, .listen_fd = listen_at(path)};
	struct header_fields f;
	struct u256 target;
	char line[256];

	header_decode(&f, s.net->genesis_header);
	if (!pow_target(s.net, f.bits, &target) || !link_reader_init(&s.in) ||
	    !link_writer_init(&s.out, 4 * LINK_REC_SZ_MAX))
		die("cannot start");
	s.work_each = pow_work(&target);
	for (;;) {
		if (!turn(&s, 1000, true))
			continue;
		if (fgets(line, sizeof(line), stdin) == NULL)
			break;

		json_t *j = command(&s, line);

		json_dumpf(j, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
		putchar('\n');
		fflush(stdout);
		json_decref(j);
	}
	close(s.listen_fd);
	return 0;
}
