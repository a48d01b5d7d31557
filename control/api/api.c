/* api.c - life of the API and its half on the state thread: the queue, deadlines, stopping. */
#include "api/api_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kill/kill_point.h"
#include "log/log.h"
#include "meter/meter.h"

#define NS_PER_S        UINT64_C(1000000000)
#define TICK_MS         1000u
#define CROWDED_TICK_MS 100u
#define STOP_TICK_MS    10u
#define STOP_MIN_NS     (NS_PER_S / 20) /* until the last connections taken have shown up */
#define STOP_IDLE_NS    (NS_PER_S / 2)  /* connections that have not begun a request */
#define STOP_MAX_NS     (10 * NS_PER_S) /* requests that do not arrive */
#define ARRIVAL_FACTOR  4u              /* a request may take so many times the timeout of silence */
/* When places are short: how long a connection may be without a request, and how long a request may take to arrive. */
#define CROWDED_IDLE_NS NS_PER_S
#define CROWDED_BODY_NS (5 * NS_PER_S)
#define LOOK_AGAIN_NS   (NS_PER_S / 100)

static char why_buf[256];

uint64_t api_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* --- the queue ----------------------------------------------------------------------------------------------- */

void api_call_submit(struct api_call *c)
{
	struct api *a = c->api;

	c->next = NULL;
	if (c->begun_ns == 0) /* the first time: it may come again (api_call_again) */
		c->begun_ns = meter_now_ns();
	pthread_mutex_lock(&a->lock);
	*a->queue_tail = c;
	a->queue_tail = &c->next;
	pthread_mutex_unlock(&a->lock);
	uv_async_send(&a->wake);
}

void api_call_again(struct api_call *c)
{
	c->api->running_cnt--;
	api_call_submit(c);
}

void api_call_finish(struct api_call *c)
{
	struct MHD_Connection *http = c->http;

	c->api->running_cnt--;
	meter_note(METER_REQUEST, meter_now_ns() - c->begun_ns, "%s", c->route->segment);
	/* From here the call belongs to an HTTP thread. */
	atomic_store(&c->stage, API_READY);
	MHD_resume_connection(http);
}

static void on_wake(uv_async_t *h)
{
	struct api *a = h->data;

	pthread_mutex_lock(&a->lock);
	struct api_call *c = a->queue_head;

	a->queue_head = NULL;
	a->queue_tail = &a->queue_head;
	pthread_mutex_unlock(&a->lock);
	while (c) {
		struct api_call *next = c->next;

		a->running_cnt++;
		if (!c->route->run(c))
			api_call_finish(c);
		c = next;
	}
}

/* --- deadlines and the end ----------------------------------------------------------------------------------- */

/* A client that keeps a connection busy with a byte now and then never trips the timeout of silence.  Shutting the
   socket down makes libmicrohttpd close it; the list's lock keeps the descriptor from being closed and reused
   meanwhile. */
static void cut_slow(struct api *a, uint64_t limit_ns)
{
	uint64_t now = api_now_ns();

	pthread_mutex_lock(&a->lock);
	for (struct api_conn *c = a->conns; c; c = c->next) {
		if (!c->held && now - c->since_ns > limit_ns) {
			shutdown(c->fd, SHUT_RDWR);
			c->since_ns = now;
			atomic_fetch_add(&a->cut_total, 1);
		}
	}
	pthread_mutex_unlock(&a->lock);
}

/* With the lock held: connections that stay. */
static uint32_t taken(const struct api *a)
{
	return a->conn_cnt - a->cut_cnt;
}

/* A request that waits in the socket for a thread of ours is not the client's silence. */
static bool unread(const struct api_conn *c)
{
	int sz = 0;

	return ioctl(c->fd, FIONREAD, &sz) != 0 || sz > 0;
}

/* With the lock held: closes connections of which too little was heard, until no more than `places` stay. */
static void make_places(struct api *a, uint32_t places)
{
	uint64_t now = api_now_ns();

	for (struct api_conn *c = a->conns; c && taken(a) > places; c = c->next) {
		if (c->held || c->cut || now - c->since_ns < (c->begun ? CROWDED_BODY_NS : CROWDED_IDLE_NS) ||
		    unread(c))
			continue;
		shutdown(c->fd, SHUT_RDWR);
		c->cut = true;
		a->cut_cnt++;
		atomic_fetch_add(&a->cut_total, 1);
	}
	if (taken(a) > places)
		a->no_idle_ns = now;
}

bool api_place(struct api *a)
{
	uint32_t places = a->cfg.max_connections;

	pthread_mutex_lock(&a->lock);
	if (taken(a) > places && api_now_ns() - a->no_idle_ns > LOOK_AGAIN_NS)
		make_places(a, places);
	bool ok = taken(a) <= places;

	pthread_mutex_unlock(&a->lock);
	return ok;
}

/* Those who only hold places would keep others from being taken at all.  An eighth of the places is kept free of them; all
   are closed while even the spare ones are taken, for then there may be a queue.  True: places are short. */
static bool relieve(struct api *a)
{
	uint32_t max = a->cfg.max_connections;

	pthread_mutex_lock(&a->lock);
	bool crowded = taken(a) >= max;

	if (crowded)
		make_places(a, taken(a) >= max + api_spare(&a->cfg) ? 0 : max - max / 8);
	pthread_mutex_unlock(&a->lock);
	return crowded;
}

static uint32_t conn_cnt(struct api *a)
{
	pthread_mutex_lock(&a->lock);
	uint32_t n = a->conn_cnt;

	pthread_mutex_unlock(&a->lock);
	return n;
}

static void stop_finish(struct api *a)
{
	/* No connection is suspended any more, as this needs. */
	MHD_stop_daemon(a->daemon);
	a->daemon = NULL;
	close(a->listen_fd);
	a->listen_fd = -1;
	a->stop_done(a->stop_arg);
}

/* And none that begins from now on is taken: libmicrohttpd does not end with a connection suspended. */
static bool no_calls(struct api *a)
{
	atomic_store(&a->closing, true);
	if (atomic_load(&a->call_cnt) == 0)
		return true;
	atomic_store(&a->closing, false);
	return false;
}

static void stop_step(struct api *a)
{
	uint64_t waited = api_now_ns() - a->stop_ns;

	if (waited > STOP_MIN_NS && (conn_cnt(a) == 0 || waited > STOP_IDLE_NS) && no_calls(a)) {
		KILL_POINT("api:stopped");
		uv_timer_stop(&a->tick);
		stop_finish(a);
		return;
	}
	/* A call that is with the tower is waited for: its answer is on its way, and it may be a receipt. */
	if (waited > STOP_MAX_NS)
		cut_slow(a, 0);
}

static void on_tick(uv_timer_t *h)
{
	struct api *a = h->data;

	if (atomic_load(&a->stopping)) {
		stop_step(a);
	} else {
		cut_slow(a, (uint64_t)a->cfg.timeout_s * ARRIVAL_FACTOR * NS_PER_S);
		uv_timer_set_repeat(h, relieve(a) ? CROWDED_TICK_MS : TICK_MS);
	}
}

/* Connections that the system has completed but nobody has taken yet belong to clients that think they are served. */
static void take_backlog(struct api *a)
{
	for (uint32_t i = 0; i < a->cfg.max_connections; i++) {
		struct sockaddr_storage from;
		socklen_t sz = sizeof from;
		int fd = accept4(a->listen_fd, (struct sockaddr *)&from, &sz, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		/* Closes fd when it fails. */
		if (MHD_add_connection(a->daemon, fd, (struct sockaddr *)&from, sz) != MHD_YES)
			return;
	}
}

void api_stop(struct api *a, void (*done)(void *arg), void *arg)
{
	a->stop_done = done;
	a->stop_arg = arg;
	a->stop_ns = api_now_ns();
	if (!a->daemon) {
		done(arg);
		return;
	}
	MHD_quiesce_daemon(a->daemon);
	take_backlog(a);
	/* An HTTP thread may still look at the descriptor, so it is closed only after the daemon has stopped. */
	shutdown(a->listen_fd, SHUT_RDWR);
	atomic_store(&a->stopping, true);
	uv_timer_start(&a->tick, on_tick, 0, STOP_TICK_MS);
}

/* --- making and freeing -------------------------------------------------------------------------------------- */

static int bind_socket(const char *address, uint16_t port, uint16_t *taken)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} at = {.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
	socklen_t sz = sizeof at.v4;
	int one = 1;

	if (inet_pton(AF_INET, address, &at.v4.sin_addr) != 1) {
		memset(&at, 0, sizeof at);
		at.v6.sin6_family = AF_INET6;
		at.v6.sin6_port = htons(port);
		sz = sizeof at.v6;
		if (inet_pton(AF_INET6, address, &at.v6.sin6_addr) != 1)
			return -EINVAL;
	}
	int fd = socket(at.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	/* Without it a restart would have to wait for the old connections to time out. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 && bind(fd, &at.sa, sz) == 0) {
		sz = sizeof at;
		if (getsockname(fd, &at.sa, &sz) == 0) {
			*taken = ntohs(at.sa.sa_family == AF_INET ? at.v4.sin_port : at.v6.sin6_port);
			return fd;
		}
	}
	int err = errno;

	close(fd);
	return -err;
}

static const char *bind_advice(int err)
{
	switch (err) {
	case EADDRINUSE:
		return "another program uses it; stop that one or set api.port";
	case EADDRNOTAVAIL:
		return "this machine does not have that address; set api.bind";
	case EACCES:
		return "ports below 1024 need a privilege; set api.port";
	default:
		return strerror(err);
	}
}

struct api *api_new(const struct api_config *cfg, uv_loop_t *loop, struct tower *t, const struct tower_key *key,
		    const char **why)
{
	struct api *a = calloc(1, sizeof *a);

	if (!a) {
		*why = "out of memory";
		return NULL;
	}
	a->listen_fd = bind_socket(cfg->bind, cfg->port, &a->port);
	if (a->listen_fd < 0) {
		snprintf(why_buf, sizeof why_buf, "cannot serve clients at %s port %u: %s", cfg->bind,
			 (unsigned)cfg->port, bind_advice(-a->listen_fd));
		*why = why_buf;
		free(a);
		return NULL;
	}
	a->cfg = *cfg;
	snprintf(a->bind, sizeof a->bind, "%s", cfg->bind);
	a->cfg.bind = a->bind;
	if (a->cfg.body_limit < API_ADD_BODY_MIN)
		a->cfg.body_limit = API_ADD_BODY_MIN;
	a->loop = loop;
	a->tower = t;
	a->key = key;
	a->queue_tail = &a->queue_head;
	pthread_mutex_init(&a->lock, NULL);
	if (uv_async_init(loop, &a->wake, on_wake) != 0) {
		close(a->listen_fd);
		pthread_mutex_destroy(&a->lock);
		free(a);
		*why = "out of descriptors";
		return NULL;
	}
	uv_timer_init(loop, &a->tick);
	a->wake.data = a;
	a->tick.data = a;
	a->handles = 2;
	return a;
}

uint16_t api_port(const struct api *a)
{
	return a->port;
}

bool api_open(struct api *a, const char **why)
{
	if (listen(a->listen_fd, SOMAXCONN) != 0) {
		/* With SO_REUSEADDR another program may have begun to listen since the address was taken. */
		snprintf(why_buf, sizeof why_buf, "cannot serve clients at %s port %u: %s", a->bind,
			 (unsigned)a->port, bind_advice(errno));
		*why = why_buf;
		return false;
	}
	if (!api_http_start(a, why))
		return false;
	uv_timer_start(&a->tick, on_tick, TICK_MS, TICK_MS);
	return true;
}

bool api_is_open(const struct api *a)
{
	return a->daemon != NULL;
}

static void on_closed(uv_handle_t *h)
{
	struct api *a = h->data;

	if (--a->handles == 0) {
		pthread_mutex_destroy(&a->lock);
		free(a);
	}
}

void api_free(struct api *a)
{
	if (a->listen_fd >= 0)
		close(a->listen_fd);
	uv_close((uv_handle_t *)&a->wake, on_closed);
	uv_close((uv_handle_t *)&a->tick, on_closed);
}

void api_info_get(const struct api *a, struct api_info *out)
{
	*out = (struct api_info){
		.connections_total = atomic_load(&a->connections_total),
		.requests_total = atomic_load(&a->requests_total),
		.cut_total = atomic_load(&a->cut_total),
		.connections = conn_cnt((struct api *)a),
	};
	for (unsigned i = 0; i <= API_ENDPOINT_CNT; i++) {
		struct api_outcomes *o = &out->by_endpoint[i];

		o->endpoint = i < API_ENDPOINT_CNT ? api_routes[i].segment : "other";
		o->ok_total = atomic_load(&a->answers[i].ok_total);
		o->refused_total = atomic_load(&a->answers[i].refused_total);
		o->unavailable_total = atomic_load(&a->answers[i].unavailable_total);
		out->ok_total += o->ok_total;
		out->refused_total += o->refused_total;
		out->unavailable_total += o->unavailable_total;
	}
}
