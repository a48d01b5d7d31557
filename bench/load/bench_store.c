/* vigil-bench-store - a tower's store of millions of appointments, for vigil-bench-load.

     vigil-bench-store fill DIR APPOINTMENTS USERS    makes the store of a regtest tower that has seen one block
     vigil-bench-store more DIR APPOINTMENTS USERS EXPIRY   adds users whose registrations expire at that height
     vigil-bench-store walk DIR                       reads what is watched from it as a session's load does, alone
     vigil-bench-store send SOCKET LOCATORS           is control to a dataplane: that many locators from a counter,
                                                      START, and waits until the dataplane has them all

   Each prints one JSON object.  fill writes the tower's own rows, in batches, past the tower's checks: random locators,
   blobs of 350 bytes as an encrypted penalty has, users in turn.  */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "btc/network.h"
#include "link/frame.h"
#include "log/log.h"
#include "tower/rows.h"
#include "measure/locators.h"

#define BLOB_SZ     350u
#define LONG        1000000u /* height at which registrations expire */
#define FILL_BATCH  2000u
#define WALK_PAGE   16384u
#define SEND_BATCH  16384u
#define REPORT_SECS 600u /* the longest wait for the dataplane */

struct world {
	struct store *store;
	struct tower *tower;
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "vigil-bench-store: %s: %s\n", what, why);
	exit(1);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double rss_peak_mb(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_maxrss / 1024;
}

/* Ascending and yet evenly spread: the store takes sorted rows several times faster, and it keeps them sorted in any case. */
static struct locator locator_rising(uint32_t group, uint64_t i, uint64_t cnt)
{
	uint64_t step = UINT64_MAX / cnt,
		 half[2] = {htobe64(i * step + mix(i) % step), mix(~i ^ (uint64_t)group << 40)};
	struct locator l;

	memcpy(l.b, half, LOCATOR_SZ);
	return l;
}

/* group tells the users of one filling from those of another. */
static struct user_id user_no(uint32_t group, uint64_t i)
{
	struct user_id u = {{2}};

	i += (uint64_t)group << 32;
	for (unsigned k = 0; k < 4; k++) {
		uint64_t v = mix(i * 4 + k + (1ull << 40));

		memcpy(u.b + 1 + 8 * k, &v, 8);
	}
	return u;
}

/* --- the tower and its first block ------------------------------------------------------------------------ */

static void op_locator(void *arg, const struct locator *l)
{
	(void)arg;
	(void)l;
}

static void op_broadcast(void *arg, const struct hash256 *txid, const uint8_t *raw, size_t sz)
{
	(void)arg;
	(void)txid;
	(void)raw;
	(void)sz;
}

static void op_ack(void *arg, uint32_t height, const struct hash256 *hash)
{
	(void)arg;
	(void)height;
	(void)hash;
}

static void open_world(struct world *w, const char *dir)
{
	static const struct tower_ops ops = {.watch_add = op_locator,
					     .watch_del = op_locator,
					     .broadcast = op_broadcast,
					     .block_ack = op_ack};
	const struct tower_config cfg = {.network = network_get(NET_REGTEST),
					 .subscription_slots = 1000000,
					 .subscription_duration = 4320,
					 .expiry_delta = 6,
					 .rebroadcast_blocks = 6};
	const char *why = "";

	if (store_open(&w->store, dir, &why) != 0)
		die(dir, why);
	w->tower = tower_new(&cfg, w->store, &ops, NULL, &why);
	if (w->tower == NULL)
		die(dir, why);
}

static void close_world(struct world *w)
{
	tower_free(w->tower);
	store_close(w->store);
}

/* Block 1 on regtest's genesis block, with valid work. */
static void first_block(struct tower *t)
{
	const struct network *n = network_get(NET_REGTEST);
	uint8_t headers[2 * HEADER_SZ];
	struct header_fields f;
	struct link_chain_start rec = {.height = 1, .header_cnt = 2};
	struct u256 target, work, two;

	memcpy(headers, n->genesis_header, HEADER_SZ);
	header_decode(&f, headers);
	f.prev = n->genesis_hash;
	f.version = 0x20000000;
	f.time += 600;
	f.nonce = 0;
	do {
		f.nonce++;
		header_encode(headers + HEADER_SZ, &f);
		rec.hash = header_hash(headers + HEADER_SZ);
	} while (!pow_valid(n, &rec.hash, f.bits));
	if (!pow_target(n, f.bits, &target))
		die("regtest", "no target");
	work = pow_work(&target);
	two = u256_add(&work, &work);
	u256_to_le(rec.work, &two);
	tower_chain_start(t, &rec, headers);
}

/* --- fill -------------------------------------------------------------------------------------------------- */

static void written(void *arg, bool ok)
{
	(void)arg;
	if (!ok)
		die("fill", "a sync has failed");
}

static void write_batch(struct store *s, struct store_batch *b)
{
	if (store_write(s, b, written, NULL) != 0)
		die("fill", "the store refuses a write (is the disk full?)");
	store_poll(s);
}

struct filling {
	uint64_t cnt, users;
	uint32_t expiry; /* height; also tells one filling's rows from another's */
};

static void put_users(struct store *s, const struct filling *f)
{
	struct store_batch *b = store_batch_new(s);

	for (uint64_t i = 0; i < f->users; i++) {
		uint32_t cnt = (uint32_t)(f->cnt / f->users + (i < f->cnt % f->users));
		struct user_row r = {.slots = 1000, .start = 1, .expiry = f->expiry, .appointment_cnt = cnt};
		struct user_id id = user_no(f->expiry, i);
		struct key k = key_user(&id), e = key_expiry(r.expiry, &id);
		uint8_t v[USER_ROW_SZ];

		user_row_encode(v, &r);
		store_put(b, STORE_USERS, key_slice(&k), (struct slice){v, sizeof(v)});
		store_put(b, STORE_EXPIRY, key_slice(&e), (struct slice){NULL, 0});
		if (i % FILL_BATCH == FILL_BATCH - 1)
			write_batch(s, b);
	}
	write_batch(s, b);
	store_batch_free(b);
}

static void put_appointment(struct store_batch *b, const struct filling *f, uint64_t i)
{
	static uint8_t v[APPOINTMENT_ROW_HEAD_SZ + BLOB_SZ];
	static char sig[SIG_ZB_SZ];
	struct appointment_key a = {locator_rising(f->expiry, i, f->cnt), user_no(f->expiry, i % f->users)};
	struct appointment_row r = {
		.to_self_delay = 144, .start_block = 1, .user_sig = sig, .blob_sz = BLOB_SZ};
	struct key k = key_appointment(&a), u = key_by_user(&a);
	uint8_t epoch[BY_USER_ROW_SZ];

	for (unsigned at = 0; at < SIG_ZB_SZ; at += 8) {
		uint64_t x = mix(i + ((uint64_t)at << 48)) & 0x1f1f1f1f1f1f1f1full;

		x += 0x6161616161616161ull; /* some printable text */
		memcpy(sig + at, &x, 8);
	}
	appointment_row_head(v, &r);
	for (unsigned at = 0; at + 8 <= BLOB_SZ; at += 8) {
		uint64_t x = mix(i ^ ((uint64_t)at << 40));

		memcpy(v + APPOINTMENT_ROW_HEAD_SZ + at, &x, 8);
	}
	by_user_row_encode(epoch, 0);
	store_put(b, STORE_APPOINTMENTS, key_slice(&k), (struct slice){v, sizeof(v)});
	store_put(b, STORE_BY_USER, key_slice(&u), (struct slice){epoch, sizeof(epoch)});
}

static int fill(const char *dir, const struct filling *f, bool fresh)
{
	struct world w;
	struct store_batch *b;
	double start = now_s();

	open_world(&w, dir);
	if (fresh)
		first_block(w.tower);
	put_users(w.store, f);
	b = store_batch_new(w.store);
	for (uint64_t i = 0; i < f->cnt; i++) {
		put_appointment(b, f, i);
		if (i % FILL_BATCH == FILL_BATCH - 1)
			write_batch(w.store, b);
	}
	write_batch(w.store, b);
	store_batch_free(b);
	close_world(&w);
	printf("{\"appointments\":%" PRIu64 ",\"users\":%" PRIu64
	       ",\"seconds\":%.2f,\"appointments_s\":%.0f}\n",
	       f->cnt, f->users, now_s() - start, (double)f->cnt / (now_s() - start));
	return 0;
}

/* --- walk -------------------------------------------------------------------------------------------------- */

static void take(void *arg, const struct locator *l)
{
	uint64_t *sum = arg, half[2];

	memcpy(half, l->b, LOCATOR_SZ);
	sum[0]++;
	sum[1] += half[0] ^ half[1];
}

static int walk(const char *dir)
{
	struct tower_watch_cursor cur = TOWER_WATCH_CURSOR_INIT;
	double start = now_s(), opened, page, longest = 0;
	uint64_t sum[2] = {0};
	struct world w;
	bool more;

	open_world(&w, dir);
	opened = now_s();
	do {
		page = now_s();
		more = tower_each_watched(w.tower, &cur, WALK_PAGE, take, sum);
		if (now_s() - page > longest)
			longest = now_s() - page;
	} while (more);
	printf("{\"open_seconds\":%.3f,\"locators\":%" PRIu64 ",\"seconds\":%.3f,\"locators_s\":%.0f,"
	       "\"longest_page_ms\":%.1f,\"rss_peak_mb\":%.0f}\n",
	       opened - start, sum[0], now_s() - opened, (double)sum[0] / (now_s() - opened), longest * 1e3,
	       rss_peak_mb());
	close_world(&w);
	return 0;
}

/* --- send -------------------------------------------------------------------------------------------------- */

static void send_all(int fd, const void *data, size_t sz)
{
	const uint8_t *p = data;

	while (sz > 0) {
		ssize_t n = send(fd, p, sz, MSG_NOSIGNAL);

		if (n <= 0)
			die("send", strerror(errno));
		p += n;
		sz -= (size_t)n;
	}
}

static void send_record(int fd, struct link_writer *w, enum link_type type, const void *fixed, size_t fixed_sz,
			const void *tail, size_t tail_sz)
{
	const uint8_t *p;
	size_t sz;

	if (!link_writer_put(w, type, fixed, fixed_sz, tail, tail_sz))
		die("send", "no room for a record");
	p = link_writer_peek(w, &sz);
	send_all(fd, p, sz);
	link_writer_took(w, sz);
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct timeval wait = {.tv_sec = REPORT_SECS};
	const int room = 1 << 20; /* as control's feed asks for */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(a.sun_path))
		die(path, "too long for a Unix socket");
	strcpy(a.sun_path, path);
	if (fd < 0 || connect(fd, (const void *)&a, sizeof(a)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) != 0)
		die(path, strerror(errno));
	return fd;
}

/* The dataplane answers STATS_GET after it has carried START out, and START after every load. */
static uint64_t wait_loaded(int fd)
{
	struct link_reader r;
	uint64_t locators = 0;
	bool done = false;

	if (!link_reader_init(&r))
		die("send", "out of memory");
	while (!done) {
		const struct link_head *h;
		size_t room;
		uint8_t *p = link_reader_room(&r, &room);
		ssize_t n = recv(fd, p, room, 0);

		if (n <= 0)
			die("send", "the dataplane has closed the link, or says nothing");
		link_reader_took(&r, (size_t)n);
		while (link_reader_next(&r, LINK_FROM_DATAPLANE, &h) == 1) {
			const struct link_stats *st = (const void *)h;
			const struct link_stat *s = (const void *)(st + 1);

			if (h->type != LINK_STATS)
				continue;
			for (uint32_t i = 0; i < st->cnt; i++)
				if (strcmp(s[i].name, "index_locators") == 0)
					locators = s[i].value;
			done = true;
		}
	}
	link_reader_free(&r);
	return locators;
}

static int send_locators(const char *path, uint64_t cnt)
{
	const struct network *n = network_get(NET_REGTEST);
	struct link_c_hello hello = {.magic = LINK_MAGIC, .version = LINK_VERSION, .network = (uint32_t)n->id};
	struct link_start start = {.mode = LINK_START_RESUME};
	struct link_stats_get get = {.cookie = 1};
	struct link_writer w;
	int fd = connect_to(path);
	static struct locator batch[SEND_BATCH];
	double begun, sent;
	uint64_t loaded;

	if (!link_writer_init(&w, LINK_REC_SZ_MAX))
		die("send", "out of memory");
	begun = now_s();
	send_record(fd, &w, LINK_C_HELLO, &hello, sizeof(hello), NULL, 0);
	for (uint64_t i = 0; i < cnt;) {
		struct link_watch_load rec = {.expected = i == 0 ? (uint32_t)cnt : 0};

		for (; rec.cnt < SEND_BATCH && i < cnt; i++)
			batch[rec.cnt++] = locator_no(i);
		send_record(fd, &w, LINK_WATCH_LOAD, &rec, sizeof(rec), batch, rec.cnt * sizeof(*batch));
	}
	sent = now_s();
	send_record(fd, &w, LINK_START, &start, sizeof(start), NULL, 0);
	send_record(fd, &w, LINK_STATS_GET, &get, sizeof(get), NULL, 0);
	loaded = wait_loaded(fd);
	printf("{\"locators\":%" PRIu64 ",\"seconds\":%.3f,\"sent_seconds\":%.3f,\"locators_s\":%.0f}\n",
	       loaded, now_s() - begun, sent - begun, (double)cnt / (now_s() - begun));
	close(fd);
	link_writer_free(&w);
	return loaded == cnt ? 0 : 1;
}

int main(int argc, char **argv)
{
	uint64_t a = argc > 3 ? strtoull(argv[3], NULL, 10) : 0, b = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;

	log_set_level(LOG_LVL_WARN);
	if (argc == 5 && strcmp(argv[1], "fill") == 0 && a > 0 && b > 0)
		return fill(argv[2], &(struct filling){a, b, LONG}, true);
	if (argc == 6 && strcmp(argv[1], "more") == 0 && a > 0 && b > 0)
		return fill(argv[2], &(struct filling){a, b, (uint32_t)strtoul(argv[5], NULL, 10)}, false);
	if (argc == 3 && strcmp(argv[1], "walk") == 0)
		return walk(argv[2]);
	if (argc == 4 && strcmp(argv[1], "send") == 0 && a > 0)
		return send_locators(argv[2], a);
	fprintf(stderr, "usage: vigil-bench-store fill DIR APPOINTMENTS USERS | more DIR APPOINTMENTS USERS "
			"EXPIRY | walk DIR | send SOCKET LOCATORS\n");
	return 2;
}
