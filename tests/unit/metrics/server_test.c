/* The real server and text over the fakes of the control socket's tests; libcurl is the scraper, in a thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fakes.h"
#include "log/log.h"
#include "meter/meter.h"
#include "metrics/metrics.h"
#include "parse.h"

static struct samples got;
static struct tower tower;
static struct metrics_env env;
static const struct tor_info onion = {.state = TOR_UP, .losses_total = 3};
static const struct alert_info alerts = {.events_total = 41, .runs_total = 40, .queued = 1};
static uv_loop_t loop;
static struct rpc *rpc;
static char dir[64], path[80];

static int setup(void **state)
{
	struct rpc_env re = fake_env(&tower);
	const char *why;

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/vigil_metrics_XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	uv_loop_init(&loop);
	rpc = rpc_new(&loop, path, &re, &why);
	assert_non_null(rpc);
	env = (struct metrics_env){
		.tower = &tower, .rpc = rpc, .network = re.network, .alert = &alerts, .tor = &onion};
	meter_reset();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rpc_free(rpc);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	rmdir(dir);
	return 0;
}

static void each_number_stands_under_its_name(void **state)
{
	size_t sz;
	char *text;

	(void)state;
	meter_note(METER_HIT, 330000, NULL);
	meter_note(METER_SYNC, 2000000000, "slow");
	text = metrics_text(&env, &sz);
	assert_non_null(text);
	if (!parse(&got, text, sz))
		fail_msg("%s", got.why);
	free(text);
	assert_true(value_of(&got, "vigil_build_info", "version=\"" VIGIL_VERSION "\",network=\"regtest\"") ==
		    1);
	assert_true(value_of(&got, "vigil_chain_height", "") == 7);
	assert_true(value_of(&got, "vigil_users", "") == FAKE_USERS);
	assert_true(value_of(&got, "vigil_appointments", "") == 225);
	assert_true(value_of(&got, "vigil_trackers", "") == 25);
	assert_true(value_of(&got, "vigil_http_responses_total",
			     "endpoint=\"add_appointment\",outcome=\"refused\"") == 12);
	assert_true(value_of(&got, "vigil_http_responses_total",
			     "endpoint=\"other\",outcome=\"unavailable\"") == 10 * API_ENDPOINT_CNT + 3);
	assert_true(value_of(&got, "vigil_http_connections", "") == 4);
	assert_true(value_of(&got, "vigil_store_ok", "") == 0);
	assert_true(value_of(&got, "vigil_store_syncs_total", "") == 22);
	assert_true(value_of(&got, "vigil_link_backlog", "") == 31);
	assert_true(value_of(&got, "vigil_dataplane_up", "") == 1);
	assert_true(value_of(&got, "vigil_node_up", "node=\"127.0.0.1:18443\"") == 0);
	assert_true(value_of(&got, "vigil_node_pending", "") == 3);
	assert_true(value_of(&got, "vigil_peer_ready", "peer=\"10.0.0.2:18444\"") == 1);
	assert_true(value_of(&got, "vigil_dataplane_tx_hashed_total", "") == 12);
	assert_true(value_of(&got, "vigil_hit_duration_seconds_bucket", "le=\"0.00025\"") == 0);
	assert_true(value_of(&got, "vigil_hit_duration_seconds_bucket", "le=\"0.0005\"") == 1);
	assert_true(value_of(&got, "vigil_sync_duration_seconds_sum", "") == 2);
	assert_true(value_of(&got, "vigil_slow_events_total", "what=\"sync\"") == 1);
	assert_true(value_of(&got, "vigil_rpc_clients", "") == 0);
	assert_true(value_of(&got, "vigil_alerts_total", "") == 41);
	assert_true(value_of(&got, "vigil_alerts_queued", "") == 1);
	assert_true(value_of(&got, "vigil_onion_up", "") == 1);
	assert_true(value_of(&got, "vigil_onion_lost_total", "") == 3);
}

/* --- over HTTP ---------------------------------------------------------------------------------------------- */

static uint16_t free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t sz = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sz), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &sz), 0);
	close(fd);
	return ntohs(a.sin_port);
}

struct scrape {
	char url[80];
	const char *method, *body;
	long status;
	char *type;
	char text[1u << 20];
	size_t sz;
	uv_async_t over;
};

static size_t on_text(char *p, size_t one, size_t sz, void *arg)
{
	struct scrape *s = arg;

	(void)one;
	if (sz > sizeof(s->text) - s->sz)
		return 0;
	memcpy(s->text + s->sz, p, sz);
	s->sz += sz;
	return sz;
}

static void *scrape_run(void *arg)
{
	struct scrape *s = arg;
	CURL *c = curl_easy_init();
	char *type = NULL;

	curl_easy_setopt(c, CURLOPT_URL, s->url);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_text);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, s);
	curl_easy_setopt(c, CURLOPT_TIMEOUT, 60L);
	if (s->method != NULL)
		curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, s->method);
	if (s->method != NULL && strcmp(s->method, "HEAD") == 0)
		curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	if (s->body != NULL)
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, s->body);
	curl_easy_perform(c);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &s->status);
	curl_easy_getinfo(c, CURLINFO_CONTENT_TYPE, &type);
	s->type = type != NULL ? strdup(type) : NULL;
	curl_easy_cleanup(c);
	uv_async_send(&s->over);
	return NULL;
}

static void on_over(uv_async_t *h)
{
	uv_close((uv_handle_t *)h, NULL);
	uv_stop(h->loop);
}

static void scrape(struct scrape *s, uint16_t port, const char *target, const char *method, const char *body)
{
	pthread_t thread;

	free(s->type);
	memset(s, 0, sizeof(*s));
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u%s", port, target);
	s->method = method;
	s->body = body;
	uv_async_init(&loop, &s->over, on_over);
	assert_int_equal(pthread_create(&thread, NULL, scrape_run, s), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	pthread_join(thread, NULL);
}

static void a_scrape_is_answered_and_nothing_else_is(void **state)
{
	uint16_t port = free_port();
	const char *why;
	struct metrics *m = metrics_new(&loop, "127.0.0.1", port, &env, &why), *second;
	struct scrape *s = calloc(1, sizeof(*s));

	(void)state;
	if (m == NULL)
		fail_msg("%s", why);
	for (unsigned i = 0; i < 3; i++) {
		scrape(s, port, "/metrics", NULL, NULL);
		assert_int_equal(s->status, 200);
		assert_string_equal(s->type, "text/plain; version=0.0.4; charset=utf-8");
		if (!parse(&got, s->text, s->sz))
			fail_msg("%s", got.why);
		assert_true(value_of(&got, "vigil_users", "") == FAKE_USERS);
	}
	scrape(s, port, "/metrics", "HEAD", NULL);
	assert_int_equal(s->status, 200);
	assert_int_equal(s->sz, 0);
	scrape(s, port, "/", NULL, NULL);
	assert_int_equal(s->status, 404);
	scrape(s, port, "/metrics", NULL, "a body that nobody reads");
	assert_int_equal(s->status, 405);
	scrape(s, port, "/metrics", "DELETE", NULL);
	assert_int_equal(s->status, 405);

	/* The port is taken: an error with a reason, not a second server. */
	second = metrics_new(&loop, "127.0.0.1", port, &env, &why);
	assert_null(second);
	assert_non_null(strstr(why, "cannot serve metrics on 127.0.0.1 port"));
	metrics_free(m);
	free(s->type);
	free(s);
}

static void turns(unsigned cnt)
{
	while (cnt-- > 0)
		uv_run(&loop, UV_RUN_NOWAIT);
}

/* More connections than it takes at a time, silent ones: a scrape is answered once they are gone. */
static void silent_clients_cost_nothing_but_their_connection(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint16_t port = free_port();
	const char *why;
	struct metrics *m = metrics_new(&loop, "127.0.0.1", port, &env, &why);
	struct scrape *s = calloc(1, sizeof(*s));
	int fd[80];

	(void)state;
	assert_non_null(m);
	a.sin_port = htons(port);
	for (unsigned i = 0; i < 80; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(fd[i], (struct sockaddr *)&a, sizeof(a)), 0);
		assert_int_equal(send(fd[i], "GET", 3, MSG_NOSIGNAL), 3);
	}
	turns(100);
	for (unsigned i = 0; i < 80; i++)
		close(fd[i]);
	turns(100);
	scrape(s, port, "/metrics", NULL, NULL);
	assert_int_equal(s->status, 200);
	metrics_free(m);
	free(s->type);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_number_stands_under_its_name, setup, teardown),
		cmocka_unit_test_setup_teardown(a_scrape_is_answered_and_nothing_else_is, setup, teardown),
		cmocka_unit_test_setup_teardown(silent_clients_cost_nothing_but_their_connection, setup,
						teardown),
	};

	assert_int_equal(log_open("/dev/null", LOG_LVL_INFO), 0);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
