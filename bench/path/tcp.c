#include "path/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "serve/report.h"

/* As vigil-replay and the dataplane idle: turns go on for this long after the last work, then naps until a frame
   comes. */
enum { SPIN_NS = 200000, NAP_NS = 50000, FAREWELL_NS = 50000000 };

/* As vigil-replay sends: a piece at a time, from the mapped file. */
enum { PIECE = 1 << 16 };

struct end {
	const uint8_t *data;
	size_t sz, done; /* source: of this round */
	uint32_t times;
	bool over, failed;
	uint64_t bytes, first_ns, last_ns;
};

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "vigil-bench-path: %s: %s\n", what, why);
	return 1;
}

static void on_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct end *e = arg;

	(void)c;
	e->over = true;
	/* Each end closes when it has all; how the other one ends does not matter then. */
	e->failed = why != NET_CLOSED_LOCAL && why != NET_CLOSED_REMOTE;
}

static void source_send(void *arg, struct net_conn *c)
{
	struct end *e = arg;
	size_t sz, taken;

	while (e->times > 0) {
		sz = e->sz - e->done < PIECE ? e->sz - e->done : PIECE;
		taken = net_send(c, e->data + e->done, sz);
		e->bytes += taken;
		e->done += taken;
		if (e->done == e->sz) {
			e->done = 0;
			e->times--;
		}
		if (taken < sz)
			return;
	}
	net_close(c);
}

static void *source_accept(void *arg, const struct net_addr *from)
{
	struct end *e = arg;

	(void)from;
	return e->bytes == 0 ? e : NULL; /* one connection only */
}

static void sink_data(void *arg, struct net_conn *c, const uint8_t *p, size_t sz)
{
	struct end *e = arg;

	(void)p;
	if (e->bytes == 0)
		e->first_ns = mono_ns();
	e->bytes += sz;
	net_consumed(c, sz);
}

static void turn_until_over(struct net *net, const struct tcp_options *o, const struct end *e)
{
	const struct timespec nap = {0, NAP_NS};
	uint64_t now = mono_ns(), end = now + o->timeout_ns;
	uint64_t work_ns = now;

	prctl(PR_SET_TIMERSLACK, 1);
	while (!e->over && now < end) {
		if (net_poll(net, now) > 0)
			work_ns = now;
		else if (now - work_ns >= SPIN_NS && !o->busy_poll)
			nanosleep(&nap, NULL);
		now = mono_ns();
	}
}

static int map_file(struct end *e, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0) {
		fail(path, fd < 0 ? strerror(errno) : "cannot be measured, or is empty");
		if (fd >= 0)
			close(fd);
		return 1;
	}
	e->sz = (size_t)st.st_size;
	/* Populated: the pages are there before the first byte is asked for. */
	e->data = mmap(NULL, e->sz, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	close(fd);
	return e->data == MAP_FAILED ? fail(path, strerror(errno)) : 0;
}

int tcp_source(const struct tcp_options *o)
{
	static const struct net_conn_ops ops = {source_send, NULL, source_send, on_closed};
	struct end e = {.times = o->times};
	struct net *net;
	const char *why;
	int err;

	if (map_file(&e, o->file) != 0)
		return 1;
	err = net_open(&net, &o->net, &why);
	if (err != 0)
		return fail(why, strerror(-err));
	err = net_listen(net, o->port, &ops, source_accept, &e);
	if (err != 0) {
		net_free(net);
		return fail("cannot listen", strerror(-err));
	}
	turn_until_over(net, o, &e);
	net_free(net);
	munmap((void *)(uintptr_t)e.data, e.sz);
	printf("{\"bytes\": %llu}\n", (unsigned long long)e.bytes);
	return e.over && e.times == 0 ? 0 : fail("source", "not everything was sent");
}

int tcp_sink(const struct tcp_options *o)
{
	static const struct net_conn_ops ops = {NULL, sink_data, NULL, on_closed};
	uint64_t give_up = mono_ns() + o->timeout_ns;
	struct end e = {0};
	struct net *net;
	const char *why;
	int err = net_open(&net, &o->net, &why);

	if (err != 0)
		return fail(why, strerror(-err));
	/* The source may come up later. */
	do {
		e = (struct end){0};
		if (net_connect(net, &o->peer, &ops, &e) == NULL) {
			net_free(net);
			return fail("sink", "cannot dial");
		}
		turn_until_over(net, o, &e);
	} while (e.failed && e.bytes == 0 && mono_ns() < give_up);
	e.last_ns = mono_ns();
	/* What a memif still holds is lost when one end goes: the source would miss that its end has been seen. */
	while (mono_ns() - e.last_ns < FAREWELL_NS)
		net_poll(net, mono_ns());
	net_free(net);
	printf("{\"bytes\": %llu, \"first_ns\": %llu, \"last_ns\": %llu}\n", (unsigned long long)e.bytes,
	       (unsigned long long)e.first_ns, (unsigned long long)e.last_ns);
	return e.over && !e.failed ? 0 : fail("sink", "the connection did not end in good order");
}
