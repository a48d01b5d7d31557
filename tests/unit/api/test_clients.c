/* The API among clients that are slow, hostile, many, or there when it stops. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kill/kill_point.h"

/* --- hostile and unlucky clients ----------------------------------------------------------------------------- */

static void garbage_and_vanishing_clients_change_nothing_for_others(void **state)
{
	uint64_t x = 0x9e3779b97f4a7c15u;
	char junk[2048], *body = signed_add(500), *raw = NULL;
	int sz = asprintf(&raw, "POST /add_appointment" H "Content-Length: %zu\r\n\r\n%s", strlen(body), body);

	(void)state;
	fake_reset();
	fake.delay_ms = 20;
	for (unsigned i = 0; i < 200; i++) {
		int fd = client_connect(srv.port);

		assert_int_not_equal(fd, -1);
		for (size_t k = 0; k < sizeof junk; k++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			junk[k] = (char)(x >> 56);
		}
		/* By turns: noise, noise behind good headers, a cut request, and one whose client is gone at once. */
		switch (i % 4) {
		case 0:
			client_send(fd, junk, sizeof junk);
			break;
		case 1:
			client_send(fd, "POST /register" H "Content-Length: 900\r\n\r\n", 47);
			client_send(fd, junk, 900);
			break;
		case 2:
			client_send(fd, raw, (size_t)sz * i / 400);
			break;
		case 3:
			client_send(fd, raw, (size_t)sz);
			break;
		}
		close(fd);
	}
	ping_is_answered();
	/* Those that are gone may still hold all 64 places for a moment. */
	struct reply r = {.status = 503};

	for (unsigned i = 0; i < 100 && r.status == 503; i++) {
		r = client_post(srv.port, "/add_appointment", body);
		reply_free(&r);
		if (r.status == 503)
			usleep(20000);
	}
	assert_int_equal(r.status, 200);
	free(raw);
	free(body);
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void silent_and_trickling_clients_are_cut_off(void **state)
{
	static const char head[] = "POST /register" H "Content-Length: 1000\r\n\r\n";
	int silent = client_connect(srv.port), slow = client_connect(srv.port),
	    slow_head = client_connect(srv.port);
	bool silent_gone = false, slow_gone = false, slow_head_gone = false;
	double t0 = seconds();
	char b;

	(void)state;
	fake_reset();
	assert_true(client_send(slow, head, sizeof head - 1));
	assert_true(client_send(slow_head, head, 10));
	/* One byte now and then: never silent for long, never finished. */
	while (seconds() - t0 < 30 && !(silent_gone && slow_gone && slow_head_gone)) {
		slow_gone = slow_gone || !client_send(slow, " ", 1) || recv(slow, &b, 1, MSG_DONTWAIT) == 0;
		slow_head_gone = slow_head_gone || !client_send(slow_head, "x", 1) ||
				 recv(slow_head, &b, 1, MSG_DONTWAIT) == 0;
		silent_gone = silent_gone || recv(silent, &b, 1, MSG_DONTWAIT) == 0;
		usleep(100000);
	}
	assert_true(silent_gone);
	assert_true(slow_gone);
	assert_true(slow_head_gone);
	close(silent);
	close(slow);
	close(slow_head);
	ping_is_answered();
}

static void more_connections_than_the_limit_wait_their_turn(void **state)
{
	static const char ping[] = "GET /ping" H "\r\n";
	struct reply r;
	int fd[24];

	(void)state;
	/* 24 connections on 8 places: those beyond are not refused, and are served when the idle ones time out. */
	for (unsigned i = 0; i < 24; i++) {
		fd[i] = client_connect(srv.port);
		assert_int_not_equal(fd[i], -1);
	}
	for (unsigned i = 23; i >= 16; i--)
		assert_true(client_send(fd[i], ping, sizeof ping - 1));
	for (unsigned i = 16; i < 24; i++) {
		assert_true(client_read(fd[i], &r, CLIENT_WAIT_MS));
		assert_int_equal(r.status, 200);
		reply_free(&r);
	}
	for (unsigned i = 0; i < 24; i++)
		close(fd[i]);
}

static int setup_small(void **state)
{
	(void)state;
	serve(8, 1);
	return 0;
}

/* --- many at a time ------------------------------------------------------------------------------------------ */

#define LOAD_THREADS  4
#define LOAD_REQUESTS 60

static void *load_thread(void *arg)
{
	unsigned *bad = arg;
	char *body = signed_add(300);

	for (unsigned i = 0; i < LOAD_REQUESTS; i++) {
		struct reply r = i % 2 ? client_post(srv.port, "/add_appointment", body)
				       : client_post(srv.port, "/register", register_body());

		*bad += r.status != 200;
		reply_free(&r);
	}
	free(body);
	return NULL;
}

static void concurrent_clients_are_all_answered(void **state)
{
	pthread_t th[LOAD_THREADS];
	unsigned bad[LOAD_THREADS] = {0};
	struct api_info info;

	(void)state;
	fake_reset();
	for (unsigned i = 0; i < LOAD_THREADS; i++)
		assert_int_equal(pthread_create(&th[i], NULL, load_thread, &bad[i]), 0);
	for (unsigned i = 0; i < LOAD_THREADS; i++)
		pthread_join(th[i], NULL);
	for (unsigned i = 0; i < LOAD_THREADS; i++)
		assert_int_equal(bad[i], 0);
	assert_int_equal(fake.register_cnt + fake.add_cnt, LOAD_THREADS * LOAD_REQUESTS);
	assert_int_equal(fake.done_cnt, LOAD_THREADS * LOAD_REQUESTS);
	api_info_get(srv.api, &info);
	assert_true(info.ok_total >= LOAD_THREADS * LOAD_REQUESTS);
	assert_string_equal(info.by_endpoint[API_REGISTER].endpoint, "register");
	assert_true(info.by_endpoint[API_REGISTER].ok_total >= fake.register_cnt);
	assert_true(info.by_endpoint[API_ADD_APPOINTMENT].ok_total >= fake.add_cnt);
	assert_string_equal(info.by_endpoint[API_ENDPOINT_CNT].endpoint, "other");
}

/* --- stopping ------------------------------------------------------------------------------------------------ */

static void stopping_finishes_what_was_accepted_and_takes_nothing_new(void **state)
{
	char *body = signed_add(100), *raw = NULL;
	int sz = asprintf(&raw, "POST /add_appointment" H "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
	struct reply r;

	(void)state;
	serve(64, 2);
	fake.delay_ms = 600;
	int with_tower = client_connect(srv.port), half_sent = client_connect(srv.port),
	    idle = client_connect(srv.port);

	assert_true(client_send(with_tower, raw, (size_t)sz));
	assert_true(client_send(half_sent, raw, (size_t)sz / 2));
	usleep(200000);
	serve_stop();
	usleep(100000);
	assert_int_equal(client_connect(srv.port), -1);
	assert_true(client_send(half_sent, raw + sz / 2, (size_t)(sz - sz / 2)));

	assert_true(client_read(with_tower, &r, CLIENT_WAIT_MS));
	assert_int_equal(r.status, 200);
	assert_non_null(strcasestr(r.head, "Connection: close"));
	reply_free(&r);
	assert_true(client_read(half_sent, &r, CLIENT_WAIT_MS));
	assert_int_equal(r.status, 200);
	reply_free(&r);
	serve_end();
	close(with_tower);
	close(half_sent);
	close(idle);
	free(raw);
	free(body);
}

static int late_client = -1;
static const char *late_request;

/* Between the last look for requests and the end. */
void kill_point(const char *name)
{
	if (strcmp(name, "api:stopped") != 0 || late_client < 0)
		return;
	client_send(late_client, late_request, strlen(late_request));
	usleep(200000);
}

static void a_request_in_the_very_moment_of_stopping_is_put_off(void **state)
{
	char *body = signed_add(100), *raw = NULL;
	struct reply r;

	(void)state;
	assert_true(asprintf(&raw, "POST /add_appointment" H "Content-Length: %zu\r\n\r\n%s", strlen(body),
			     body) > 0);
	serve(64, 2);
	late_request = raw;
	late_client = client_connect(srv.port);
	usleep(100000);
	serve_stop();
	if (client_read(late_client, &r, CLIENT_WAIT_MS)) {
		assert_int_equal(r.status, 503);
		reply_free(&r);
	}
	serve_end();
	assert_int_equal(atomic_load(&fake.add_cnt), 0);
	close(late_client);
	late_client = -1;
	free(raw);
	free(body);
}

static void a_connection_in_the_backlog_when_stopping_is_still_served(void **state)
{
	static const char ping[] = "GET /ping" H "\r\n";
	struct reply r;
	int fd[16];

	(void)state;
	serve(64, 1);
	for (unsigned i = 0; i < 16; i++) {
		fd[i] = client_connect(srv.port);
		assert_int_not_equal(fd[i], -1);
		assert_true(client_send(fd[i], ping, sizeof ping - 1));
	}
	serve_stop();
	for (unsigned i = 0; i < 16; i++) {
		assert_true(client_read(fd[i], &r, CLIENT_WAIT_MS));
		assert_int_equal(r.status, 200);
		reply_free(&r);
		close(fd[i]);
	}
	serve_end();
}

static void a_port_in_use_is_named_with_what_to_do(void **state)
{
	const struct api_config cfg = {
		.bind = "127.0.0.1", .port = srv.port, .max_connections = 8, .threads = 1, .timeout_s = 1};
	const struct api_config elsewhere = {
		.bind = "192.0.2.1", .max_connections = 8, .threads = 1, .timeout_s = 1};
	const char *why = "";
	char port[16];

	(void)state;
	assert_null(api_new(&cfg, &srv.loop, NULL, &srv.key, &why));
	snprintf(port, sizeof port, "port %u", (unsigned)srv.port);
	assert_non_null(strstr(why, port));
	assert_non_null(strstr(why, "another program uses it"));
	assert_null(api_new(&elsewhere, &srv.loop, NULL, &srv.key, &why));
	assert_non_null(strstr(why, "api.bind"));
}

int main(void)
{
	const struct CMUnitTest common[] = {
		cmocka_unit_test(garbage_and_vanishing_clients_change_nothing_for_others),
		cmocka_unit_test(silent_and_trickling_clients_are_cut_off),
		cmocka_unit_test(concurrent_clients_are_all_answered),
		cmocka_unit_test(a_port_in_use_is_named_with_what_to_do),
	};
	const struct CMUnitTest small[] = {
		cmocka_unit_test(more_connections_than_the_limit_wait_their_turn),
	};
	const struct CMUnitTest stopping[] = {
		cmocka_unit_test(stopping_finishes_what_was_accepted_and_takes_nothing_new),
		cmocka_unit_test(a_connection_in_the_backlog_when_stopping_is_still_served),
		cmocka_unit_test(a_request_in_the_very_moment_of_stopping_is_put_off),
	};
	int failed = cmocka_run_group_tests_name("clients", common, setup, teardown);

	failed += cmocka_run_group_tests_name("limit", small, setup_small, teardown);
	failed += cmocka_run_group_tests_name("stopping", stopping, NULL, NULL);
	return failed;
}
