#include "path/path.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "btc/network.h"
#include "btc/sha256.h"
#include "client/breaches.h"
#include "link/frame.h"
#include "serve/mempool.h"
#include "serve/report.h"

/* Locators in one record, and the room for records on their way. */
enum { LOAD_CNT = 4096, OUT_CAP = 8 << 20, POLL_MS = 100, DIAL_NS = 20000000, PENALTY_SZ_MAX = 100000 };

struct watch {
	const struct watch_options *o;
	struct planted *planted;
	uint32_t planted_cnt;
	struct report *report;
	struct link_reader in;
	struct link_writer out;
	FILE *locators;
	int fd;
	uint64_t deadline_ns, connect_ns, start_ns, first_byte_ns, last_byte_ns, done_ns, now_ns;
	uint64_t blocks, bytes, txs, hits, answered, locator_cnt;
	uint32_t height, hits_pending;
	bool started, reached;
	const char *why; /* what went wrong */
};

static volatile sig_atomic_t stop_seen;

static void on_stop(int sig)
{
	(void)sig;
	stop_seen = 1;
}

static bool bad(struct watch *w, const char *why)
{
	w->why = why;
	return false;
}

/* The dataplane may not listen yet. */
static bool dial(struct watch *w)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const struct timespec nap = {0, DIAL_NS};

	if (strlen(w->o->link) >= sizeof(a.sun_path))
		return bad(w, "--link: path too long for a Unix socket");
	strcpy(a.sun_path, w->o->link);
	do {
		w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (w->fd >= 0 && connect(w->fd, (const void *)&a, sizeof(a)) == 0) {
			w->connect_ns = mono_ns();
			return true;
		}
		if (w->fd >= 0)
			close(w->fd);
		w->fd = -1;
		nanosleep(&nap, NULL);
	} while (!stop_seen && mono_ns() < w->deadline_ns);
	return bad(w, "no dataplane listens on the link");
}

/* ---- to the dataplane ---- */

static bool put(struct watch *w, enum link_type type, const void *fixed, size_t sz, const void *tail,
		size_t tail_sz)
{
	return link_writer_put(&w->out, type, fixed, sz, tail, tail_sz) ||
	       bad(w, "the dataplane does not read");
}

static bool put_hello(struct watch *w)
{
	struct link_c_hello h = {.magic = LINK_MAGIC, .version = LINK_VERSION, .network = NET_REGTEST};

	return put(w, LINK_C_HELLO, &h, sizeof(h), NULL, 0);
}

/* The next of what comes before the chain: locators while there are any, then START. */
static bool put_load(struct watch *w)
{
	static struct locator l[LOAD_CNT];
	struct link_watch_load load = {0};
	struct link_start start = {.mode = LINK_START_RESUME};

	if (w->locators != NULL)
		load.cnt = (uint32_t)fread(l, sizeof(l[0]), LOAD_CNT, w->locators);
	if (load.cnt > 0) {
		w->locator_cnt += load.cnt;
		return put(w, LINK_WATCH_LOAD, &load, sizeof(load), l, load.cnt * sizeof(l[0]));
	}
	w->started = true;
	return put(w, LINK_START, &start, sizeof(start), NULL, 0);
}

static bool put_ack(struct watch *w, const struct link_block_connected *c)
{
	struct link_block_ack a = {.height = c->height, .hash = c->hash};

	return put(w, LINK_BLOCK_ACK, &a, sizeof(a), NULL, 0);
}

static struct hash256 txid_of(const struct planted *p, const struct tx_view *t)
{
	static uint8_t stripped[PENALTY_SZ_MAX];

	return sha256d(stripped, tx_strip(stripped, p->penalty, t));
}

static bool put_penalty(struct watch *w, const struct hash256 *dispute)
{
	struct link_broadcast b = {.cookie = w->answered + 1};
	const struct planted *p = NULL;
	struct tx_view t;
	size_t used;

	for (uint32_t i = 0; i < w->planted_cnt && p == NULL; i++)
		if (hash256_eq(&w->planted[i].dispute_txid, dispute))
			p = &w->planted[i];
	if (p == NULL)
		return true;
	if (p->penalty_sz > PENALTY_SZ_MAX || tx_parse(p->penalty, p->penalty_sz, false, &t, &used) != PARSE_OK)
		return bad(w, "--penalties: one of them is no transaction");
	b.txid = txid_of(p, &t);
	b.raw_sz = p->penalty_sz;
	w->answered++;
	return put(w, LINK_BROADCAST, &b, sizeof(b), p->penalty, p->penalty_sz);
}

static bool flush(struct watch *w)
{
	const uint8_t *p;
	size_t sz;
	ssize_t n;

	while ((p = link_writer_peek(&w->out, &sz)) != NULL) {
		n = send(w->fd, p, sz, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR || bad(w, "the dataplane has closed the link");
		link_writer_took(&w->out, (size_t)n);
	}
	return true;
}

/* ---- from the dataplane ---- */

static bool on_hit(struct watch *w, const struct link_hit *h)
{
	w->hits++;
	w->hits_pending++;
	if (!put_penalty(w, &h->txid) || !flush(w))
		return false;
	report_begin(w->report, "hit", w->now_ns);
	report_num(w->report, "height", h->height);
	report_hash(w->report, "block", &h->block_hash);
	report_hash(w->report, "txid", &h->txid);
	report_num(w->report, "last_byte_ns", h->last_byte_ns);
	report_num(w->report, "hit_ns", h->hit_ns);
	report_num(w->report, "raw_sz", h->raw_sz);
	report_end(w->report);
	return true;
}

static bool on_connected(struct watch *w, const struct link_block_connected *c)
{
	if (c->hit_cnt != w->hits_pending)
		return bad(w, "a block says another number of hits than came before it");
	if (w->blocks > 0 && c->height != w->height + 1)
		return bad(w, "a block is missing");
	if (w->blocks++ == 0)
		w->first_byte_ns = c->first_byte_ns;
	w->hits_pending = 0;
	w->height = c->height;
	w->bytes += c->total_sz;
	w->txs += c->tx_cnt;
	w->last_byte_ns = c->last_byte_ns;
	w->done_ns = w->now_ns;
	w->reached = w->o->until_height != 0 && c->height >= w->o->until_height;
	return put_ack(w, c);
}

static bool on_record(struct watch *w, const struct link_head *h)
{
	switch (h->type) {
	case LINK_D_HELLO:
		if (((const struct link_d_hello *)(const void *)h)->version != LINK_VERSION)
			return bad(w, "the dataplane speaks another version of the link");
		return true;
	case LINK_CHAIN_START:
		w->start_ns = w->now_ns;
		return true;
	case LINK_HIT:
		return on_hit(w, (const void *)h);
	case LINK_BLOCK_CONNECTED:
		return on_connected(w, (const void *)h);
	case LINK_BLOCK_DISCONNECTED:
		return bad(w, "a block was disconnected: this client follows chains without reorgs only");
	default:
		return true;
	}
}

static bool take(struct watch *w)
{
	const struct link_head *rec;
	uint8_t *room;
	size_t sz;
	ssize_t n;
	int got;

	room = link_reader_room(&w->in, &sz);
	n = recv(w->fd, room, sz, MSG_DONTWAIT);
	if (n == 0)
		return bad(w, "the dataplane has closed the link");
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || bad(w, strerror(errno));
	w->now_ns = mono_ns();
	link_reader_took(&w->in, (size_t)n);
	while ((got = link_reader_next(&w->in, LINK_FROM_DATAPLANE, &rec)) > 0)
		if (!on_record(w, rec))
			return false;
	return got == 0 || bad(w, "the dataplane sends a malformed record");
}

static bool session(struct watch *w)
{
	struct pollfd p = {.fd = w->fd};
	size_t sz;

	if (!put_hello(w))
		return false;
	while (!stop_seen && !w->reached) {
		if (!w->started && link_writer_used(&w->out) == 0 && !put_load(w))
			return false;
		if (!flush(w))
			return false;
		p.events = POLLIN;
		if (link_writer_peek(&w->out, &sz) != NULL || !w->started)
			p.events |= POLLOUT;
		if (poll(&p, 1, POLL_MS) > 0 && (p.revents & (POLLIN | POLLHUP | POLLERR)) && !take(w))
			return false;
		if (w->o->until_height != 0 && mono_ns() > w->deadline_ns)
			return bad(w, "the height was not reached in time");
	}
	/* The last acknowledgement; the dataplane may be gone by now. */
	return flush(w);
}

static void print_summary(const struct watch *w)
{
	printf("{\"height\": %u, \"blocks\": %llu, \"bytes\": %llu, \"txs\": %llu, \"hits\": %llu, "
	       "\"answered\": %llu, \"locators\": %llu, \"connect_ns\": %llu, \"start_ns\": %llu, "
	       "\"first_byte_ns\": %llu, \"last_byte_ns\": %llu, \"done_ns\": %llu}\n",
	       w->height, (unsigned long long)w->blocks, (unsigned long long)w->bytes,
	       (unsigned long long)w->txs, (unsigned long long)w->hits, (unsigned long long)w->answered,
	       (unsigned long long)w->locator_cnt, (unsigned long long)w->connect_ns,
	       (unsigned long long)w->start_ns, (unsigned long long)w->first_byte_ns,
	       (unsigned long long)w->last_byte_ns, (unsigned long long)w->done_ns);
}

static bool watch_open(struct watch *w)
{
	static char why[200];

	if (w->o->penalties != NULL) {
		w->planted = planted_read(w->o->penalties, BRANCH_BEST, &w->planted_cnt, why, sizeof(why));
		if (w->planted == NULL)
			return bad(w, why);
	}
	if (w->o->locators != NULL && (w->locators = fopen(w->o->locators, "rbe")) == NULL)
		return bad(w, "--locators: cannot be read");
	w->report = report_open(w->o->report);
	if (w->report == NULL)
		return bad(w, "--report: cannot be written");
	if (!link_reader_init(&w->in) || !link_writer_init(&w->out, OUT_CAP))
		return bad(w, "out of memory");
	return dial(w);
}

int watch_run(const struct watch_options *o)
{
	struct watch w = {.o = o, .fd = -1, .deadline_ns = mono_ns() + o->timeout_ns};
	struct sigaction stop = {.sa_handler = on_stop};
	bool good;

	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	good = watch_open(&w) && session(&w) && (w.reached || o->until_height == 0);
	if (good)
		print_summary(&w);
	else
		fprintf(stderr, "vigil-bench-path: watch: %s (at height %u)\n",
			w.why != NULL ? w.why : "stopped before the height", w.height);
	if (w.fd >= 0)
		close(w.fd);
	if (w.locators != NULL)
		fclose(w.locators);
	planted_free(w.planted, w.planted_cnt);
	report_close(w.report);
	link_reader_free(&w.in);
	link_writer_free(&w.out);
	return good ? 0 : 1;
}
