/* The control socket as clients meet it, good and bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fakes.h"
#include "log/log.h"

struct world {
	uv_loop_t loop;
	struct tower tower;
	struct rpc *rpc;
	char path[64];
};

#define HELP "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\",\"params\":[\"stop\"]}"
#define PAGE "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"getallappointments\",\"params\":[null,1000]}"
#define STOP "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"stop\"}"
#define QUICK                                      \
	(&(struct rpc_limits){.client_max = 8,     \
			      .request_max = 4096, \
			      .unread_max = 65536, \
			      .request_ms = 200,   \
			      .write_ms = 200,     \
			      .sweep_ms = 20})

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void step(struct world *w)
{
	uv_run(&w->loop, UV_RUN_NOWAIT);
	usleep(200);
}

#define STEP_UNTIL(w, cond, ms)                    \
	({                                         \
		uint64_t end_ = now_ms() + (ms);   \
		while (!(cond) && now_ms() < end_) \
			step(w);                   \
		(bool)(cond);                      \
	})

static struct world *world_new(const struct rpc_limits *l)
{
	static unsigned nr;
	struct world *w = calloc(1, sizeof(*w));
	struct rpc_env env = fake_env(&w->tower);
	const char *why = "";

	snprintf(w->path, sizeof(w->path), "/tmp/vigil_rpc_%d_%u", (int)getpid(), nr++);
	uv_loop_init(&w->loop);
	w->rpc = rpc_new(&w->loop, w->path, &env, &why);
	if (w->rpc == NULL)
		fail_msg("%s", why);
	if (l != NULL)
		rpc_set_limits(w->rpc, l);
	return w;
}

static void world_free(struct world *w)
{
	rpc_free(w->rpc);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0); /* every handle was closed */
	assert_int_not_equal(access(w->path, F_OK), 0);
	free(w);
}

static int dial_path(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int dial(struct world *w)
{
	int fd = dial_path(w->path);

	assert_true(fd >= 0);
	return fd;
}

static bool say(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

struct inbox {
	char text[1u << 21];
	size_t sz;
	unsigned lines;
	bool eof;
};

static void take(int fd, struct inbox *in)
{
	ssize_t n = recv(fd, in->text + in->sz, sizeof(in->text) - 1 - in->sz, 0);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		in->eof = true;
	for (ssize_t i = 0; i < n; i++)
		in->lines += in->text[in->sz + (size_t)i] == '\n';
	if (n > 0)
		in->sz += (size_t)n;
	in->text[in->sz] = '\0';
}

static struct inbox *inbox_new(void)
{
	return calloc(1, sizeof(struct inbox));
}

/* Steps until the client has `lines` answers, or the end of the stream. */
static bool hear(struct world *w, int fd, struct inbox *in, unsigned lines)
{
	return STEP_UNTIL(w, (take(fd, in), in->lines >= lines || in->eof), 5000) && in->lines >= lines;
}

static bool gone(struct world *w, int fd, struct inbox *in)
{
	return STEP_UNTIL(w, (take(fd, in), in->eof), 5000);
}

static struct rpc_info info_of(struct world *w)
{
	struct rpc_info i;

	rpc_info_get(w->rpc, &i);
	return i;
}

/* --- the socket --------------------------------------------------------------------------------------------- */

static void only_the_owner_may_connect(void **state)
{
	struct world *w;
	struct stat st;
	mode_t mask = umask(0);

	(void)state;
	w = world_new(NULL);
	assert_int_equal(stat(w->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(umask(mask), 0); /* as it was before */
	world_free(w);
}

static void a_dead_socket_file_is_replaced_and_a_live_one_is_not(void **state)
{
	struct world *w = world_new(NULL);
	struct rpc_env env = fake_env(&w->tower);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *why = NULL;
	char path[96], longpath[200];
	struct rpc *r;
	int fd;

	(void)state;
	assert_null(rpc_new(&w->loop, w->path, &env, &why));
	assert_string_equal(why, "another process answers on the control socket");
	snprintf(path, sizeof(path), "%s_dead", w->path);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	r = rpc_new(&w->loop, path, &env, &why);
	assert_non_null(r);
	/* Somebody else's socket under the same name stays when we go. */
	unlink(path);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	close(fd);
	rpc_free(r);
	assert_int_equal(access(path, F_OK), 0);
	assert_null(rpc_new(&w->loop, path, &env, &why));
	assert_string_equal(why, "the control socket's path exists and is not a socket");
	unlink(path);
	assert_null(rpc_new(&w->loop, "/nonexistent/x", &env, &why));
	assert_string_equal(why, "cannot make the control socket: No such file or directory");
	memset(longpath, 'x', sizeof(longpath));
	longpath[sizeof(longpath) - 1] = '\0';
	assert_null(rpc_new(&w->loop, longpath, &env, &why));
	assert_non_null(strstr(why, "too long"));
	world_free(w);
}

/* --- good clients ------------------------------------------------------------------------------------------- */

static void requests_may_come_in_any_pieces(void **state)
{
	static const char text[] = "\n" HELP "\n\n" HELP HELP " \t";
	struct world *w = world_new(NULL);
	struct inbox *in = inbox_new();
	int fd = dial(w);

	(void)state;
	assert_true(say(fd, text));
	assert_true(hear(w, fd, in, 3));
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		assert_int_equal(send(fd, text + i, 1, 0), 1);
		step(w);
	}
	assert_true(hear(w, fd, in, 6));
	STEP_UNTIL(w, false, 20);
	take(fd, in);
	assert_int_equal(in->lines, 6);
	assert_int_equal(info_of(w).requests_total, 6);
	close(fd);
	assert_true(STEP_UNTIL(w, info_of(w).client_cnt == 0, 5000));
	free(in);
	world_free(w);
}

static void a_client_that_closes_its_sending_side_is_answered(void **state)
{
	struct world *w = world_new(NULL);
	struct inbox *in = inbox_new();
	int fd = dial(w);

	(void)state;
	w->tower.blob_sz = 40000;
	assert_true(say(fd, PAGE HELP));
	shutdown(fd, SHUT_WR);
	assert_true(hear(w, fd, in, 2));
	assert_true(gone(w, fd, in));
	close(fd);
	free(in);
	world_free(w);
}

static void stop_is_answered_before_it_happens(void **state)
{
	struct world *w = world_new(NULL);
	struct inbox *in = inbox_new();
	int fd = dial(w);

	(void)state;
	assert_true(say(fd, STOP));
	assert_true(STEP_UNTIL(w, fake_stopped, 5000));
	rpc_free(w->rpc); /* what the daemon does then */
	assert_true(hear(w, fd, in, 1));
	assert_non_null(strstr(in->text, "vigild is stopping"));
	assert_true(gone(w, fd, in));
	close(fd);
	free(in);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	free(w);
}

static void closing_waits_a_second_for_slow_readers_and_no_longer(void **state)
{
	struct world *w = world_new(NULL);
	struct inbox *in = inbox_new();
	int fd = dial(w);
	uint64_t t0;

	(void)state;
	w->tower.blob_sz = 40000;
	assert_true(say(fd, PAGE));
	assert_true(STEP_UNTIL(w, info_of(w).requests_total == 1, 5000));
	rpc_free(w->rpc);
	t0 = now_ms();
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_in_range(now_ms() - t0, 900, 3000);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	close(fd);
	free(in);
	free(w);
}

/* --- bad clients -------------------------------------------------------------------------------------------- */

static void rubbish_is_answered_and_ends_the_connection(void **state)
{
	static const char *const rubbish[] = {
		"x",  "GET / HTTP/1.1\r\n\r\n", "}", "\x01\x02", "{\"a\":}", "{\"a\":1]", "\"text\"",
		"17", "{\"a\":\"\xff\"}"};
	struct world *w = world_new(NULL);

	(void)state;
	for (unsigned i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
		struct inbox *in = inbox_new();
		int fd = dial(w);

		assert_true(say(fd, HELP));
		assert_true(say(fd, rubbish[i]));
		assert_true(say(fd, HELP)); /* never looked at */
		assert_true(gone(w, fd, in));
		assert_int_equal(in->lines, 2);
		assert_non_null(strstr(strchr(in->text, '\n'), "-32700"));
		assert_int_equal(info_of(w).dropped_total, i + 1);
		close(fd);
		free(in);
	}
	world_free(w);
}

static void a_batch_gets_an_error_and_the_connection_lives(void **state)
{
	struct world *w = world_new(NULL);
	struct inbox *in = inbox_new();
	int fd = dial(w);

	(void)state;
	assert_true(say(fd, "[" HELP "," HELP "]" HELP));
	assert_true(hear(w, fd, in, 2));
	assert_non_null(strstr(in->text, "-32600"));
	assert_non_null(strstr(strchr(in->text, '\n'), "\"result\""));
	close(fd);
	free(in);
	world_free(w);
}

static void a_nest_of_brackets_ends_the_connection(void **state)
{
	struct world *w = world_new(NULL);
	struct inbox *in = inbox_new();
	char *deep = malloc(100001);
	int fd = dial(w);

	(void)state;
	memset(deep, '[', 100000);
	deep[100000] = '\0';
	send(fd, deep, 100000, MSG_NOSIGNAL);
	assert_true(gone(w, fd, in));
	assert_non_null(strstr(in->text, "nested too deep"));
	close(fd);
	free(deep);
	free(in);
	world_free(w);
}

static void a_huge_request_is_refused(void **state)
{
	struct world *w = world_new(NULL);
	struct inbox *in = inbox_new();
	char chunk[4096];
	size_t sent = 0;
	int fd = dial(w);

	(void)state;
	assert_true(say(fd, "{\"a\":\""));
	memset(chunk, 'a', sizeof(chunk));
	while (sent < 3u << 20 && !in->eof) {
		ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else
			step(w);
		take(fd, in);
	}
	assert_true(gone(w, fd, in));
	assert_non_null(strstr(in->text, "too large"));
	assert_true(sent < 2u << 20); /* reading stopped there */
	close(fd);
	free(in);
	world_free(w);
}

static void half_a_request_is_waited_for_and_then_dropped(void **state)
{
	struct world *w = world_new(QUICK);
	struct inbox *in = inbox_new(), *idle_in = inbox_new();
	int fd = dial(w), idle = dial(w);

	(void)state;
	assert_true(say(fd, HELP "{\"jsonrpc\":"));
	assert_true(hear(w, fd, in, 1));
	assert_true(gone(w, fd, in));
	assert_int_equal(in->lines, 1);
	/* A client that asks nothing may stay. */
	assert_int_equal(info_of(w).client_cnt, 1);
	assert_true(say(idle, HELP));
	assert_true(hear(w, idle, idle_in, 1));
	close(fd);
	close(idle);
	free(in);
	free(idle_in);
	world_free(w);
}

static void a_client_that_never_reads_is_not_read_from_and_then_dropped(void **state)
{
	struct world *w = world_new(QUICK);
	struct inbox *in = inbox_new();
	int deaf = dial(w), good = dial(w);
	uint64_t t0 = now_ms();

	(void)state;
	w->tower.blob_sz = 1000;
	for (unsigned i = 0; i < 1000; i++)
		if (!say(deaf, PAGE))
			break;
	assert_true(say(good, HELP));
	assert_true(hear(w, good, in, 1)); /* others are served meanwhile */
	/* Half a megabyte each: two or three answers pass the bound and the socket's buffer, not a thousand. */
	assert_true(info_of(w).requests_total < 6);
	assert_true(STEP_UNTIL(w, info_of(w).client_cnt == 1, 5000));
	assert_in_range(now_ms() - t0, 150, 3000);
	assert_int_equal(info_of(w).dropped_total, 1);
	assert_true(info_of(w).requests_total < 6);
	close(deaf);
	close(good);
	free(in);
	world_free(w);
}

static void a_slow_reader_gets_everything(void **state)
{
	struct world *w = world_new(QUICK);
	size_t got = 0;
	unsigned lines = 0;
	char some[30000];
	int fd = dial(w);

	(void)state;
	w->tower.blob_sz = 1000;
	for (unsigned i = 0; i < 10; i++)
		assert_true(say(fd, PAGE));
	assert_true(STEP_UNTIL(w, ({
				       ssize_t n = recv(fd, some, sizeof(some), 0);

				       for (ssize_t k = 0; k < n; k++)
					       lines += some[k] == '\n';
				       got += n > 0 ? (size_t)n : 0;
				       usleep(2000);
				       lines == 10;
			       }),
			       30000));
	assert_true(got > 10 * 400000);
	assert_int_equal(info_of(w).dropped_total, 0);
	close(fd);
	world_free(w);
}

static void a_reader_slower_than_the_time_out_is_not_dropped(void **state)
{
	static const char page[] = "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"getallappointments\","
				   "\"params\":{\"limit\":50}}";
	struct rpc_limits limits = *QUICK;
	struct world *w;
	char some[12288];
	uint64_t end;
	int fd;

	(void)state;
	limits.write_ms = 600;
	limits.unread_max = 1u << 20; /* more than the socket takes at once */
	w = world_new(&limits);
	fd = dial(w);
	/* Small answers pile up to the bound, so what waits never falls below what the first one left. */
	for (unsigned i = 0; i < 400; i++)
		if (!say(fd, page))
			break;
	end = now_ms() + 1000;
	while (now_ms() < end) {
		recv(fd, some, sizeof(some), 0);
		for (unsigned i = 0; i < 20; i++)
			step(w);
	}
	assert_int_equal(info_of(w).dropped_total, 0);
	assert_int_equal(info_of(w).client_cnt, 1);
	close(fd);
	world_free(w);
}

static void more_clients_than_allowed_are_told_so(void **state)
{
	enum { MAX = 8 };
	struct world *w = world_new(QUICK);
	struct inbox *in = inbox_new();
	int fd[MAX], extra;

	(void)state;
	for (unsigned i = 0; i < MAX; i++)
		fd[i] = dial(w);
	assert_true(STEP_UNTIL(w, info_of(w).client_cnt == MAX, 5000));
	for (unsigned i = 0; i < 20; i++) {
		memset(in, 0, sizeof(*in));
		extra = dial(w);
		assert_true(gone(w, extra, in));
		assert_non_null(strstr(in->text, "too many clients"));
		close(extra);
	}
	/* A place is free as soon as its client has left, even if both are seen in one turn of the loop. */
	close(fd[0]);
	memset(in, 0, sizeof(*in));
	fd[0] = dial(w);
	assert_true(say(fd[0], HELP));
	assert_true(hear(w, fd[0], in, 1));
	for (unsigned i = 0; i < MAX; i++)
		close(fd[i]);
	free(in);
	world_free(w);
}

static void a_client_that_vanishes_with_answers_under_way_does_no_harm(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	w->tower.blob_sz = 40000;
	for (unsigned i = 0; i < 50; i++) {
		int fd = dial(w);

		say(fd, PAGE PAGE PAGE "{\"jsonrpc\"");
		if (i % 2)
			step(w);
		close(fd);
		step(w);
	}
	assert_true(STEP_UNTIL(w, info_of(w).client_cnt == 0, 5000));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_owner_may_connect),
		cmocka_unit_test(a_dead_socket_file_is_replaced_and_a_live_one_is_not),
		cmocka_unit_test(requests_may_come_in_any_pieces),
		cmocka_unit_test(a_client_that_closes_its_sending_side_is_answered),
		cmocka_unit_test(stop_is_answered_before_it_happens),
		cmocka_unit_test(closing_waits_a_second_for_slow_readers_and_no_longer),
		cmocka_unit_test(rubbish_is_answered_and_ends_the_connection),
		cmocka_unit_test(a_batch_gets_an_error_and_the_connection_lives),
		cmocka_unit_test(a_nest_of_brackets_ends_the_connection),
		cmocka_unit_test(a_huge_request_is_refused),
		cmocka_unit_test(half_a_request_is_waited_for_and_then_dropped),
		cmocka_unit_test(a_client_that_never_reads_is_not_read_from_and_then_dropped),
		cmocka_unit_test(a_slow_reader_gets_everything),
		cmocka_unit_test(a_reader_slower_than_the_time_out_is_not_dropped),
		cmocka_unit_test(more_clients_than_allowed_are_told_so),
		cmocka_unit_test(a_client_that_vanishes_with_answers_under_way_does_no_harm),
	};

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(log_open("/dev/null", LOG_LVL_INFO), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
