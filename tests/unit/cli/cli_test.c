/* vigil-cli as a user meets it: what it prints where, and its exit status.  Its server is the real control socket over
   a fake tower, in a child process.  argv[1] is the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fakes.h"
#include "log/log.h"

#define OUT_MAX (8u << 20)

static const char *program;
static char dir[64], socket_path[80];
static pid_t server;

/* --- the server --------------------------------------------------------------------------------------------- */

static struct rpc *the_rpc;

static void end_rpc(void *arg)
{
	(void)arg;
	rpc_free(the_rpc);
}

static void serve(int ready)
{
	static struct tower tower;
	struct rpc_env env = fake_env(&tower);
	const char *why;
	uv_loop_t loop;

	alarm(120); /* whatever happens to the test */
	signal(SIGPIPE, SIG_IGN);
	env.stop = end_rpc;
	uv_loop_init(&loop);
	the_rpc = rpc_new(&loop, socket_path, &env, &why);
	if (the_rpc == NULL || write(ready, "x", 1) != 1)
		_exit(1);
	uv_run(&loop, UV_RUN_DEFAULT);
	_exit(0);
}

static int server_start(void **state)
{
	int p[2];
	char c;

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/vigil_cli_XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(socket_path, sizeof(socket_path), "%s/s", dir);
	assert_int_equal(pipe(p), 0);
	server = fork();
	if (server == 0)
		serve(p[1]);
	close(p[1]);
	assert_int_equal(read(p[0], &c, 1), 1);
	close(p[0]);
	return 0;
}

static int server_end(void **state)
{
	int status;

	(void)state;
	if (server > 0) {
		kill(server, SIGKILL);
		waitpid(server, &status, 0);
	}
	unlink(socket_path);
	rmdir(dir);
	return 0;
}

/* --- running it --------------------------------------------------------------------------------------------- */

struct run {
	int status;
	char *out, *err;
};

static char *slurp(const char *path)
{
	char *text = calloc(1, OUT_MAX);
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_true(fread(text, 1, OUT_MAX - 1, f) < OUT_MAX - 1);
	fclose(f);
	unlink(path);
	return text;
}

/* env: NULL, or a value for VIGIL_SOCKET. */
static struct run run_env(const char *env, const char *const *args)
{
	char out[96], err[96];
	char *argv[16] = {(char *)(uintptr_t)program};
	struct run r = {0};
	int status;
	pid_t pid;

	snprintf(out, sizeof(out), "%s/out", dir);
	snprintf(err, sizeof(err), "%s/err", dir);
	for (unsigned i = 0; i < 14 && args[i] != NULL; i++)
		argv[i + 1] = (char *)(uintptr_t)args[i];
	pid = fork();
	if (pid == 0) {
		alarm(60);
		unsetenv("VIGIL_SOCKET");
		if (env != NULL)
			setenv("VIGIL_SOCKET", env, 1);
		dup2(open(out, O_CREAT | O_TRUNC | O_WRONLY, 0600), 1);
		dup2(open(err, O_CREAT | O_TRUNC | O_WRONLY, 0600), 2);
		execv(program, argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	r.status = WEXITSTATUS(status);
	r.out = slurp(out);
	r.err = slurp(err);
	return r;
}

#define RUN(...) run_env(socket_path, (const char *const[]){__VA_ARGS__, NULL})

static void run_free(struct run *r)
{
	free(r->out);
	free(r->err);
}

static void expect_failure(struct run r, int status, const char *text)
{
	if (r.status != status || strstr(r.err, text) == NULL)
		fail_msg("status %d, stderr: %s", r.status, r.err);
	assert_string_equal(r.out, "");
	run_free(&r);
}

static json_t *expect_json(struct run r)
{
	json_error_t e;
	json_t *j = json_loads(r.out, JSON_DECODE_ANY, &e);
	char *again;

	if (r.status != 0 || j == NULL)
		fail_msg("status %d, %s: %s%s", r.status, e.text, r.out, r.err);
	assert_string_equal(r.err, "");
	/* Byte for byte what two-space indentation gives. */
	again = json_dumps(j, JSON_INDENT(2) | JSON_ENCODE_ANY);
	assert_int_equal(strlen(r.out), strlen(again) + 1);
	assert_memory_equal(r.out, again, strlen(again));
	free(again);
	run_free(&r);
	return j;
}

/* --- tests -------------------------------------------------------------------------------------------------- */

static void answers_are_json_on_standard_output(void **state)
{
	json_t *j = expect_json(RUN("gettowerinfo"));

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(j, "n_responder_trackers")), 25);
	json_decref(j);
	json_decref(expect_json(RUN("getinfo")));
	json_decref(expect_json(RUN("getpeers")));
	json_decref(expect_json(RUN("getappointments", "00050000000000000000000000000000")));
}

static void values_may_be_given_by_place_or_by_name(void **state)
{
	json_t *a = expect_json(RUN("getappointments", "locator=00050000000000000000000000000000", "limit=5"));
	json_t *b = expect_json(RUN("getappointments", "00050000000000000000000000000000"));

	(void)state;
	assert_true(json_equal(a, b));
	json_decref(a);
	json_decref(b);
	a = expect_json(RUN("getallappointments", "limit=3"));
	assert_int_equal(json_array_size(json_object_get(a, "appointments")), 3);
	json_decref(a);
	expect_failure(RUN("getappointments", "locator=00", "5"), 2, "either values or NAME=VALUE");
}

static void the_socket_is_found_by_option_then_environment(void **state)
{
	struct run r = run_env("/nonexistent/s",
			       (const char *const[]){"--socket", socket_path, "getpeers", NULL});

	(void)state;
	json_decref(expect_json(r));
	expect_failure(RUN("--socket", "/nonexistent/s", "getpeers"), 3, "/nonexistent/s");
	expect_failure(run_env("/nonexistent/t", (const char *const[]){"getpeers", NULL}), 3, "/nonexistent/t");
	setenv("HOME", "/nonexistent", 1);
	expect_failure(run_env(NULL, (const char *const[]){"getpeers", NULL}), 3,
		       "/nonexistent/.vigil/main/control.sock");
}

static void errors_of_the_server_are_status_one(void **state)
{
	(void)state;
	expect_failure(RUN("nonsense"), 1, "error -32601: no method 'nonsense'");
	expect_failure(RUN("getuser"), 1, "error -32602: user_id: is missing");
	expect_failure(RUN("getuser", "02"), 1, "66 hex digits");
	expect_failure(RUN("getallappointments", "limit=0"), 1, "from 1 to 1000");
	expect_failure(RUN("getallappointments", "after=00", "--all"), 1, "after");
}

static void wrong_usage_is_status_two(void **state)
{
	(void)state;
	expect_failure(RUN("--nonsense"), 2, "--nonsense");
	expect_failure(RUN("--timeout", "0", "getinfo"), 2, "--timeout");
	expect_failure(RUN("--timeout", "x", "getinfo"), 2, "--timeout");
	expect_failure(RUN("--timeout"), 2, "--timeout");
	expect_failure(RUN("--all", "getinfo"), 2, "not given in pages");
	expect_failure(RUN("--all", "getusers", "1", "2", "3"), 2, "too many values");
	expect_failure(run_env(socket_path, (const char *const[]){NULL}), 2, "no method");
}

static void all_pages_make_one_document(void **state)
{
	static const struct {
		const char *method, *list, *limit;
		size_t rows;
	} lists[] = {{"getallappointments", "appointments", "limit=7", FAKE_APPTS},
		     {"gettrackers", "trackers", "limit=4", FAKE_APPTS / 10},
		     {"getlocators", "locators", "limit=9", FAKE_APPTS},
		     {"getusers", "user_ids", "limit=2", FAKE_USERS}};
	json_t *j, *user;
	const char *first;
	char id[2 * USER_ID_SZ + 1];
	struct user_id u = fake_user(3);

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		j = expect_json(RUN("--all", lists[i].method, lists[i].limit));
		assert_int_equal(json_object_size(j), 1); /* no "next" */
		assert_int_equal(json_array_size(json_object_get(j, lists[i].list)), lists[i].rows);
		json_decref(j);
	}
	/* An empty list, the members before a list, and the option behind the method. */
	j = expect_json(RUN("getappointments", "ff000000000000000000000000000000", "--all"));
	assert_int_equal(json_array_size(json_object_get(j, "appointments")), 0);
	json_decref(j);
	hex_encode(id, u.b, USER_ID_SZ);
	user = expect_json(RUN("--all", "getuser", id));
	first = json_object_iter_key(json_object_iter(user));
	assert_string_equal(first, "available_slots");
	assert_int_equal(json_array_size(json_object_get(user, "appointments")), 50);
	json_decref(user);
}

static void lines_give_a_row_each(void **state)
{
	struct run locators = RUN("--lines", "getlocators", "limit=7");
	struct run trackers = RUN("gettrackers", "limit=7", "--lines");
	const char *line = locators.out;
	char hex[2 * LOCATOR_SZ + 2];

	(void)state;
	assert_int_equal(locators.status, 0);
	for (unsigned i = 0; i < FAKE_APPTS; i++) {
		struct locator l = fake_locator(i);

		hex_encode(hex, l.b, LOCATOR_SZ);
		strcat(hex, "\n");
		assert_memory_equal(line, hex, 2 * LOCATOR_SZ + 1);
		line += 2 * LOCATOR_SZ + 1;
	}
	assert_string_equal(line, "");
	assert_int_equal(trackers.status, 0);
	line = trackers.out;
	for (unsigned i = 0; i < FAKE_APPTS / 10; i++) {
		const char *end = strchr(line, '\n');
		json_t *row;

		assert_non_null(end);
		row = json_loadb(line, (size_t)(end - line), 0, NULL);
		assert_true(json_is_string(json_object_get(row, "penalty_txid")));
		json_decref(row);
		line = end + 1;
	}
	assert_string_equal(line, "");
	run_free(&locators);
	run_free(&trackers);
	expect_failure(RUN("--lines", "getinfo"), 2, "not given in pages");
}

static void help_and_version_need_no_server(void **state)
{
	struct run with = RUN("--help");
	struct run without = run_env("/nonexistent/s", (const char *const[]){"--help", NULL});
	struct run version = run_env("/nonexistent/s", (const char *const[]){"--version", NULL});

	(void)state;
	assert_int_equal(with.status, 0);
	assert_int_equal(without.status, 0);
	/* The list that is built in says what the server says. */
	assert_string_equal(with.out, without.out);
	assert_non_null(strstr(with.out, "getallappointments [after] [limit]"));
	assert_int_equal(version.status, 0);
	assert_string_equal(version.out, "vigil-cli " VIGIL_VERSION "\n");
	run_free(&with);
	run_free(&without);
	run_free(&version);
}

/* A server that accepts, reads nothing and says `text`. */
static pid_t odd_server(const char *path, const char *text)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), c;
	pid_t pid;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	pid = fork();
	if (pid == 0) {
		alarm(30);
		c = accept(fd, NULL, NULL);
		if (text != NULL && send(c, text, strlen(text), MSG_NOSIGNAL) > 0)
			close(c);
		poll(NULL, 0, 20000);
		_exit(0);
	}
	close(fd);
	return pid;
}

static void what_is_no_server_is_status_three(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {{NULL, "no answer from vigild within 1 s"},
		    {"hello\n", "not vigild's control socket"},
		    {"{\"jsonrpc\":\"2.0\",\"result\":1,\"id\":99}\n", "not vigild's control socket"},
		    {"{\"jsonrpc\"", "closed the connection"}};
	char path[96];
	int status;

	(void)state;
	snprintf(path, sizeof(path), "%s/odd", dir);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		pid_t pid = odd_server(path, rows[i].text);

		expect_failure(RUN("--timeout", "1", "--socket", path, "getinfo"), 3, rows[i].error);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		unlink(path);
	}
}

static void checkpoint_waits_until_it_is_complete(void **state)
{
	json_t *j = expect_json(RUN("checkpoint", "/backup"));

	(void)state;
	assert_string_equal(json_string_value(json_object_get(j, "state")), "done");
	json_decref(j);
	/* The server takes absolute paths only. */
	j = expect_json(RUN("checkpoint", "dir=here/backup"));
	assert_string_equal(json_string_value(json_object_get(j, "state")), "done");
	json_decref(j);
	expect_failure(RUN("checkpoint", "/busy"), 1, "under way");
	expect_failure(RUN("checkpoint"), 1, "dir");
}

static void stop_stops_the_server(void **state)
{
	json_t *j = expect_json(RUN("stop"));
	int status;

	(void)state;
	assert_string_equal(json_string_value(j), "vigild is stopping");
	json_decref(j);
	assert_int_equal(waitpid(server, &status, 0), server);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	server = 0;
	expect_failure(RUN("getinfo"), 3, "cannot reach vigild");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_json_on_standard_output),
		cmocka_unit_test(values_may_be_given_by_place_or_by_name),
		cmocka_unit_test(the_socket_is_found_by_option_then_environment),
		cmocka_unit_test(errors_of_the_server_are_status_one),
		cmocka_unit_test(wrong_usage_is_status_two),
		cmocka_unit_test(all_pages_make_one_document),
		cmocka_unit_test(lines_give_a_row_each),
		cmocka_unit_test(help_and_version_need_no_server),
		cmocka_unit_test(what_is_no_server_is_status_three),
		cmocka_unit_test(checkpoint_waits_until_it_is_complete),
		cmocka_unit_test(stop_stops_the_server),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: cli_test VIGIL-CLI\n");
		return 2;
	}
	program = argv[1];
	assert_int_equal(log_open("/dev/null", LOG_LVL_INFO), 0);
	return cmocka_run_group_tests(tests, server_start, server_end);
}
