#include "topo/link_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kill/kill_point.h"

#define ACCEPT_NS 5000000u
/* Whoever connects has this long to say what it is; there is only one place. */
#define HELLO_NS 5000000000ull
/* A busy lcore asks the kernel for new records no oftener than this. */
#define READ_NS 20000u

void link_log(const char *level, const char *event, const char *fmt, ...)
{
	char msg[512], when[32];
	struct timespec ts;
	struct tm tm;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(stderr, "%s.%03ldZ level=%s event=%s msg=\"%s\"\n", when, ts.tv_nsec / 1000000, level, event,
		msg);
}

/* A socket file without a listener is what a killed dataplane leaves behind; one with a listener is alive. */
static bool clear_stale(const struct sockaddr_un *a)
{
	struct stat st;
	int fd;
	bool dead;

	if (lstat(a->sun_path, &st) != 0)
		return errno == ENOENT;
	if (!S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	dead = connect(fd, (const void *)a, sizeof(*a)) != 0 && errno == ECONNREFUSED;
	close(fd);
	return dead && unlink(a->sun_path) == 0;
}

static int listen_on(const char *path, const char **why)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd, rc;

	*why = "--link: path too long for a Unix socket";
	if (strlen(path) >= sizeof(a.sun_path))
		return -1;
	strcpy(a.sun_path, path);
	*why = "--link: the path is taken: by another running dataplane, or by a file that is no "
	       "socket";
	if (!clear_stale(&a))
		return -1;
	*why = "--link: cannot listen there (does the directory exist, and may this user write to "
	       "it?)";
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	mask = umask(0177);
	rc = bind(fd, (const void *)&a, sizeof(a));
	umask(mask);
	if (rc != 0 || listen(fd, 1) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

struct link_role *link_role_new(const struct options *o, const char *kernel, unsigned shard_cnt,
				struct scan *scan, struct net_role *net, const char **why)
{
	struct link_role *r = calloc(1, sizeof(*r));

	*why = "out of memory";
	if (r == NULL)
		return NULL;
	*r = (struct link_role){.o = o,
				.kernel = kernel,
				.shard_cnt = shard_cnt,
				.scan = scan,
				.net = net,
				.listen_fd = -1,
				.fd = -1};
	r->unacked = calloc(o->window + 1, sizeof(*r->unacked));
	if (r->unacked == NULL || !link_reader_init(&r->in) || !link_writer_init(&r->out, LINK_OUT_CAP))
		goto fail;
	r->listen_fd = listen_on(o->link_path, why);
	if (r->listen_fd < 0)
		goto fail;
	return r;
fail:
	link_role_free(r);
	return NULL;
}

void link_role_free(struct link_role *r)
{
	if (r == NULL)
		return;
	if (r->have_output && r->output.kind == SCAN_OUT_EVENT)
		free(r->output.event.headers);
	if (r->fd >= 0)
		close(r->fd);
	if (r->listen_fd >= 0) {
		close(r->listen_fd);
		unlink(r->o->link_path);
	}
	link_reader_free(&r->in);
	link_writer_free(&r->out);
	free(r->unacked);
	free(r);
}

static bool accept_control(struct link_role *r)
{
	if (r->now_ns - r->accept_ns < ACCEPT_NS)
		return false;
	r->accept_ns = r->now_ns;
	r->fd = accept4(r->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (r->fd < 0)
		return false;
	link_reader_reset(&r->in);
	link_writer_reset(&r->out);
	link_window_reset(r);
	r->pending = NULL;
	r->start_refused = false;
	r->state = LINK_HELLO;
	link_out_hello(r);
	link_log("info", "link_up", "control has connected");
	return true;
}

static void end_session(struct link_role *r, const char *why)
{
	link_log("info", "link_down", "%s; waiting for control to come back", why);
	close(r->fd);
	r->fd = -1;
	r->pending = NULL;
	r->state = LINK_END;
	r->stop_sent = r->stopped = r->clear_sent = false;
	r->cleared_cnt = 0;
	/* Nobody acknowledges any more: let what is inside run out. */
	scan_ack(r->scan, UINT64_MAX);
}

/* Net first, then the shards: no block may meet an emptied index and be reported as clean. */
static bool finish_end(struct link_role *r)
{
	bool handed = !r->stop_sent || (r->stopped && !r->clear_sent);
	struct net_cmd stop = {.kind = NET_CMD_STOP};
	struct scan_edit clear = {.kind = SCAN_CLEAR};

	if (!r->stop_sent)
		r->stop_sent = net_role_command(r->net, &stop);
	if (r->stopped && !r->clear_sent)
		r->clear_sent = scan_edit(r->scan, &clear);
	if (r->clear_sent && r->cleared_cnt == r->shard_cnt)
		r->state = LINK_LISTEN;
	return handed;
}

/* False when the link is gone. */
static bool flush(struct link_role *r, bool *worked)
{
	const uint8_t *p;
	size_t sz;
	ssize_t n;

	while ((p = link_writer_peek(&r->out, &sz)) != NULL) {
		n = send(r->fd, p, sz, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
		link_writer_took(&r->out, (size_t)n);
		KILL_POINT("link:after-send");
		*worked = true;
	}
	return true;
}

static bool fill(struct link_role *r, bool *worked)
{
	uint8_t *p;
	size_t sz;
	ssize_t n;

	if (r->pending != NULL || r->now_ns - r->read_ns < READ_NS)
		return true;
	r->read_ns = r->now_ns;
	p = link_reader_room(&r->in, &sz);
	n = recv(r->fd, p, sz, MSG_DONTWAIT);
	if (n == 0)
		return false;
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	link_reader_took(&r->in, (size_t)n);
	*worked = true;
	return true;
}

bool link_role_poll(struct link_role *r, uint64_t now_ns)
{
	bool worked = false;

	r->now_ns = now_ns;
	if (r->state == LINK_LISTEN)
		worked = accept_control(r);
	worked |= link_out_poll(r);
	if (r->state == LINK_END)
		worked |= finish_end(r);
	if (r->fd < 0)
		return worked;
	if (!flush(r, &worked) || !fill(r, &worked))
		end_session(r, "control has closed the link");
	else if (!link_in_poll(r, &worked))
		end_session(r, "the link was closed for what control sent");
	else if (r->state == LINK_HELLO && now_ns - r->accept_ns > HELLO_NS)
		end_session(r, "no HELLO within 5 s");
	else if (r->start_refused)
		end_session(r, "the headers of START do not form a chain with valid work");
	return worked;
}

int link_role_fd(const struct link_role *r)
{
	if (r->state == LINK_LISTEN)
		return r->listen_fd;
	return r->pending == NULL ? r->fd : -1;
}
