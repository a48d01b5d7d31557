/* The API over loopback sockets, in front of a tower that the test commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "client.h"
#include "fake_tower.h"
#include "teos/receipt.h"
#include "teos/sig.h"

#define TOWER_SECRET "baf94b58d8482ee7ef3c179c214df307a3de27b26dc43e0f69c4e15038d2c1ba"
#define USER_SECRET  "ad8d488566478fe08fbe5367d394ae0879bda26af71e09e1c48db977d809d1a5"

#define TIMEOUT_S 1

static struct {
	uv_loop_t loop;
	uv_async_t stop;
	pthread_t thread;
	struct api *api;
	struct tower_key key;
	uint8_t user_secret[32];
	uint16_t port;
	atomic_bool stopped;
} srv;

/* --- a server on its own loop -------------------------------------------------------------------------------- */

static void on_stopped(void *arg)
{
	(void)arg;
	srv.stopped = true;
	api_free(srv.api);
	uv_close((uv_handle_t *)&srv.stop, NULL);
}

static void on_stop(uv_async_t *h)
{
	(void)h;
	api_stop(srv.api, on_stopped, NULL);
}

static void *loop_thread(void *arg)
{
	(void)arg;
	uv_run(&srv.loop, UV_RUN_DEFAULT);
	return NULL;
}

static void fake_reset(void)
{
	memset(&fake, 0, sizeof fake);
	fake.loop = &srv.loop;
	fake.answer = TOWER_PENDING;
	fake.durable = TOWER_OK;
	fake.user_status = TOWER_OK;
	fake.found_status = TOWER_NOT_FOUND;
	fake.has_tip = true;
	fake.user.available_slots = 10000;
	fake.user.subscription_start = 800000;
	fake.user.subscription_expiry = 804320;
	fake.added.start_block = 800000;
	fake.added.available_slots = 9999;
	fake.added.subscription_expiry = 804320;
}

static void serve(uint32_t max_connections, uint32_t threads)
{
	const struct api_config cfg = {.bind = "127.0.0.1",
				       .max_connections = max_connections,
				       .threads = threads,
				       .timeout_s = TIMEOUT_S,
				       .body_limit = 400000};
	const char *why = "";

	assert_true(hex_decode(srv.key.secret, 32, TOWER_SECRET, 64));
	assert_true(hex_decode(srv.user_secret, 32, USER_SECRET, 64));
	assert_true(sig_pubkey(&srv.key.id, srv.key.secret));
	uv_loop_init(&srv.loop);
	uv_async_init(&srv.loop, &srv.stop, on_stop);
	fake_reset();
	srv.stopped = false;
	srv.api = api_new(&cfg, &srv.loop, NULL, &srv.key, &why);
	assert_non_null(srv.api);
	srv.port = api_port(srv.api);
	assert_int_not_equal(srv.port, 0);
	assert_int_equal(client_connect(srv.port), -1); /* not before it is opened */
	assert_false(api_is_open(srv.api));
	assert_true(api_open(srv.api, &why));
	assert_int_equal(pthread_create(&srv.thread, NULL, loop_thread, NULL), 0);
}

static void serve_end(void)
{
	pthread_join(srv.thread, NULL);
	assert_true(srv.stopped);
	assert_int_equal(uv_loop_close(&srv.loop), 0);
}

static int setup(void **state)
{
	(void)state;
	serve(64, 2);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	uv_async_send(&srv.stop);
	serve_end();
	return 0;
}

static void ping_is_answered(void)
{
	static const char ping[] = "GET /ping HTTP/1.1\r\nHost: t\r\n\r\n";
	struct reply r = client_exchange(srv.port, ping, sizeof ping - 1);

	assert_int_equal(r.status, 200);
	assert_int_equal(r.body_sz, 0);
	assert_null(strcasestr(r.head, "Content-Type"));
	reply_free(&r);
}

/* Sends raw, wants this status and code in a JSON body. */
static void refused(const char *raw, int status, int code)
{
	struct reply r = client_exchange(srv.port, raw, strlen(raw));

	if (r.status != status || reply_code(&r) != code)
		fail_msg("%.80s...: want %d/%d, got %d/%d %s", raw, status, code, r.status,
			 reply_code(&r), r.body);
	assert_non_null(strcasestr(r.head, "Content-Type: application/json"));
	reply_free(&r);
}

/* A body for add_appointment, signed by the test's user. */
static char *signed_add(size_t blob_sz)
{
	struct locator l;
	uint8_t *blob = malloc(blob_sz + 1), *msg = malloc(blob_sz + 64);
	char *hex = malloc(2 * blob_sz + 1), *body = NULL, sig[SIG_ZB_SZ + 1];

	if (!blob || !msg || !hex)
		abort();
	memset(&l, 0x5a, sizeof l);
	for (size_t i = 0; i < blob_sz; i++)
		blob[i] = (uint8_t)(i * 7);
	assert_true(sig_sign(sig, srv.user_secret, msg,
			     receipt_add_message(msg, &l, blob, (uint32_t)blob_sz, 42)));
	hex_encode(hex, blob, blob_sz);
	if (asprintf(&body,
		     "{\"appointment\":{\"locator\":\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\","
		     "\"encrypted_blob\":\"%s\","
		     "\"to_self_delay\":42},\"signature\":\"%s\"}",
		     hex, sig) < 0)
		abort();
	free(blob);
	free(msg);
	free(hex);
	return body;
}

static char *register_body(void)
{
	static _Thread_local char body[128];
	char hex[2 * USER_ID_SZ + 1];
	struct user_id id;

	assert_true(sig_pubkey(&id, srv.user_secret));
	hex_encode(hex, id.b, USER_ID_SZ);
	snprintf(body, sizeof body, "{\"user_id\":\"%s\"}", hex);
	return body;
}

/* --- the vectors --------------------------------------------------------------------------------------------- */

/* "*" in the vectors stands for any text. */
static bool same_json(const json_t *want, const json_t *got)
{
	const char *key;
	json_t *v;

	if (json_is_string(want) && strcmp(json_string_value(want), "*") == 0)
		return json_is_string(got);
	if (!json_is_object(want))
		return json_equal(want, got);
	if (json_object_size(want) != json_object_size(got))
		return false;
	json_object_foreach((json_t *)want, key, v)
	{
		if (!same_json(v, json_object_get(got, key)))
			return false;
	}
	return true;
}

static uint8_t *bytes_of(const json_t *hex, size_t *sz)
{
	const char *s = json_string_value(hex);
	uint8_t *p;

	assert_non_null(s);
	*sz = strlen(s) / 2;
	p = malloc(*sz + 1);
	assert_non_null(p);
	assert_true(hex_decode(p, *sz, s, 2 * *sz));
	return p;
}

/* Puts the tower into the state that the vector's answer speaks of.  Returns memory that the state refers to. */
static uint8_t *state_for(const char *id, const json_t *response)
{
	const json_t *a = json_object_get(response, "appointment");
	uint8_t *p = NULL;
	size_t sz = 0;

	fake_reset();
	if (strcmp(id, "register-renew") == 0) {
		fake.user.available_slots = 20000;
		fake.user.subscription_expiry = 808640;
	} else if (strcmp(id, "register-max-slots") == 0) {
		fake.answer = TOWER_SLOTS_EXHAUSTED;
	} else if (strcmp(id, "service-unavailable") == 0) {
		fake.answer = TOWER_NOT_READY;
	} else if (strcmp(id, "add_appointment-unregistered") == 0 ||
		   strcmp(id, "add_appointment-expired") == 0) {
		fake.answer = TOWER_AUTH;
		fake.added.text = "told by the tower";
	} else if (strcmp(id, "add_appointment-already-triggered") == 0) {
		fake.answer = TOWER_TRIGGERED;
	} else if (strcmp(id, "get_appointment-unauthenticated") == 0) {
		fake.user_status = TOWER_AUTH;
	} else if (strcmp(id, "get_appointment-watched") == 0) {
		p = bytes_of(json_object_get(a, "encrypted_blob"), &sz);
		fake.found_status = TOWER_OK;
		fake.found.ap.blob = p;
		fake.found.ap.blob_sz = (uint32_t)sz;
		fake.found.ap.to_self_delay =
			(uint32_t)json_integer_value(json_object_get(a, "to_self_delay"));
	} else if (strcmp(id, "get_appointment-responded") == 0) {
		p = bytes_of(json_object_get(a, "penalty_rawtx"), &sz);
		fake.found_status = TOWER_OK;
		fake.found.is_tracker = true;
		fake.found.tr.penalty_raw = p;
		fake.found.tr.penalty_sz = (uint32_t)sz;
		assert_true(hash256_from_display(
			&fake.found.tr.dispute_txid,
			json_string_value(json_object_get(a, "dispute_txid"))));
		assert_true(hash256_from_display(
			&fake.found.tr.penalty_txid,
			json_string_value(json_object_get(a, "penalty_txid"))));
	}
	return p;
}

static void every_vector_gets_its_answer(void **state)
{
	char name[512];
	unsigned seen = 0;
	json_t *all, *v;
	size_t i;

	(void)state;
	snprintf(name, sizeof name, "%s/teos/http_current.json", getenv("VIGIL_VECTORS"));
	all = json_load_file(name, 0, NULL);
	assert_non_null(all);
	json_array_foreach(all, i, v)
	{
		const char *id = json_string_value(json_object_get(v, "id"));
		const char *path = json_string_value(json_object_get(v, "path"));
		const char *body = json_string_value(json_object_get(v, "request_json"));
		const json_t *want = json_object_get(v, "response");
		int status = (int)json_integer_value(json_object_get(v, "status"));

		/* Not there yet, and answered as any unknown path; transport vectors have no body to send. */
		if (!body || strcmp(path, "/get_subscription_info") == 0 ||
		    strcmp(path, "/ping") == 0)
			continue;
		uint8_t *owned = state_for(id, want);
		struct reply r = client_post(srv.port, path, body);

		if (r.status != status || !same_json(want, r.json))
			fail_msg("%s: want %d, got %d %s", id, status, r.status, r.body);
		assert_non_null(strcasestr(r.head, "\r\nContent-Type: application/json\r\n"));
		reply_free(&r);
		free(owned);
		seen++;
	}
	json_decref(all);
	assert_in_range(seen, 40, 60);
}

/* --- what the tower is told ---------------------------------------------------------------------------------- */

static void an_appointment_reaches_the_tower_whole(void **state)
{
	char *body = signed_add(3000);
	struct user_id user;

	(void)state;
	fake_reset();
	struct reply r = client_post(srv.port, "/add_appointment", body);

	assert_int_equal(r.status, 200);
	assert_int_equal(fake.add_cnt, 1);
	assert_true(sig_pubkey(&user, srv.user_secret));
	assert_memory_equal(fake.last_user.b, user.b, USER_ID_SZ);
	assert_int_equal(fake.last_locator.b[15], 0x5a);
	assert_int_equal(fake.last_blob_sz, 3000);
	for (unsigned i = 0; i < 3000; i++)
		assert_int_equal(fake.last_blob[i], (uint8_t)(i * 7));
	assert_int_equal(fake.last_delay, 42);
	reply_free(&r);
	free(body);

	/* Up to the configured limit: this body is 400000 bytes less a few. */
	body = signed_add((400000 - 240) / 2);
	r = client_post(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 200);
	reply_free(&r);
	free(body);
}

static void no_receipt_leaves_before_the_data_is_durable(void **state)
{
	char *body = signed_add(100), *raw = NULL;
	struct reply r;
	int sz = asprintf(
		&raw, "POST /add_appointment HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s",
		strlen(body), body);

	(void)state;
	assert_true(sz > 0);
	fake_reset();
	fake.delay_ms = 400;
	int fd = client_connect(srv.port);

	assert_true(client_send(fd, raw, (size_t)sz));
	assert_false(client_read(fd, &r, 200));
	assert_int_equal(fake.done_cnt, 0);
	assert_true(client_read(fd, &r, CLIENT_WAIT_MS));
	assert_int_equal(fake.add_cnt, 1);
	assert_int_equal(r.status, 200);
	close(fd);
	reply_free(&r);
	free(raw);

	fake_reset();
	fake.durable = TOWER_STORE_FAILED;
	r = client_post(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 503);
	assert_null(json_object_get(r.json, "signature"));
	reply_free(&r);
	r = client_post(srv.port, "/register", register_body());
	assert_int_equal(r.status, 503);
	assert_int_equal(reply_code(&r), 32);
	assert_null(json_object_get(r.json, "subscription_signature"));
	reply_free(&r);
	free(body);
}

static void a_transient_failure_of_an_add_carries_the_code_that_clients_retry(void **state)
{
	char *body = signed_add(100);

	(void)state;
	fake_reset();
	fake.answer = TOWER_NOT_READY;
	struct reply r = client_post(srv.port, "/add_appointment", body);

	assert_int_equal(r.status, 503);
	assert_int_equal(reply_code(&r), 7);
	reply_free(&r);
	free(body);

	static const char get[] =
		"{\"locator\":\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\",\"signature\":\"%s\"}";
	char msg[RECEIPT_GET_SZ], sig[SIG_ZB_SZ + 1], text[256];
	struct locator l;

	memset(&l, 0x5a, sizeof l);
	receipt_get_message(msg, &l, NULL);
	assert_true(sig_sign(sig, srv.user_secret, msg, sizeof msg));
	snprintf(text, sizeof text, get, sig);
	fake.has_tip = false;
	r = client_post(srv.port, "/get_appointment", text);
	assert_int_equal(r.status, 503);
	assert_int_equal(reply_code(&r), 32);
	reply_free(&r);
}

static void a_wrong_signature_never_reaches_the_tower(void **state)
{
	char *body = signed_add(10);

	(void)state;
	fake_reset();
	body[strlen(body) - 2] = '\0'; /* the closing quote and brace */
	body[strlen(body) - 1] = '0';  /* not in the alphabet */
	char *raw = NULL;

	assert_true(asprintf(&raw, "%s\"}", body) > 0);
	struct reply r = client_post(srv.port, "/add_appointment", raw);

	assert_int_equal(r.status, 401);
	assert_int_equal(reply_code(&r), 7);
	assert_int_equal(fake.add_cnt, 0);
	reply_free(&r);
	free(raw);
	free(body);
}

/* --- transport ----------------------------------------------------------------------------------------------- */

#define H    " HTTP/1.1\r\nHost: t\r\n"
#define JSON "Content-Type: application/json\r\n"

static void transport_rules_hold_in_their_order(void **state)
{
	(void)state;
	fake_reset();
	/* 405: the path, then the method; whatever else is wrong */
	refused("POST /nothing" H "Content-Length: 2\r\n\r\n{}", 405, 6);
	refused("GET /nothing" H "\r\n", 405, 6);
	refused("GET /register" H "\r\n", 405, 6);
	refused("PUT /register" H "Content-Type: x/y\r\nContent-Length: 2\r\n\r\n{}", 405, 6);
	refused("POST /ping" H "Content-Length: 2\r\n\r\n{}", 405, 6);
	refused("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}", 405, 6);
	refused("POST /get_subscription_info" H JSON "Content-Length: 2\r\n\r\n{}", 405, 6);
	refused("POST //register" H JSON "Content-Length: 2\r\n\r\n{}", 405, 6);
	refused("POST /Register" H JSON "Content-Length: 2\r\n\r\n{}", 405, 6);
	/* 411 */
	refused("POST /register" H "Content-Type: x/y\r\n\r\n", 411, 6);
	refused("POST /register" H "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411,
		6);
	/* 413 before 415, and the client can still read it */
	refused("POST /register" H "Content-Type: x/y\r\nContent-Length: 4294967295\r\n\r\n{}", 413,
		34);
	refused("POST /register" H "Content-Length: 99999999999999\r\n\r\n{}", 413, 34);
	/* the body is not waited for */
	refused("POST /register" H JSON "Content-Length: 100000\r\n\r\n", 413, 34);
	/* 415 */
	refused("POST /register" H "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415,
		6);
	refused("POST /register" H "Content-Type: application/jsonx\r\nContent-Length: 2\r\n\r\n{}",
		415, 6);
	/* then the body */
	refused("POST /register" H "Content-Length: 2\r\n\r\n{}", 400, 1);
	refused("POST /register" H "Content-Length: 0\r\n\r\n", 400, 6);
	refused("POST /register" H
		"Content-Type: Application/JSON ; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
		400, 1);
	refused("POST /register/and/more?x=1" H JSON "Content-Length: 2\r\n\r\n{}", 400, 1);
	ping_is_answered();
}

static void bodies_are_taken_to_the_limit_and_refused_beyond(void **state)
{
	static const struct {
		const char *path;
		size_t reference; /* what the reference takes at least */
		size_t max;
	} t[] = {{"/register", 87, API_REGISTER_BODY_MAX},
		 {"/get_appointment", 178, API_GET_BODY_MAX},
		 {"/add_appointment", 2048, 400000}};

	(void)state;
	fake_reset();
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		char *body = malloc(t[i].max + 2);

		assert_non_null(body);
		assert_true(t[i].max >= t[i].reference);
		memset(body, ' ', t[i].max + 1);
		memcpy(body, "{}", 2);
		body[t[i].max] = '\0';
		struct reply r = client_post(srv.port, t[i].path, body);

		assert_int_equal(r.status, 400);
		assert_int_equal(reply_code(&r), 1);
		reply_free(&r);
		body[t[i].max] = ' ';
		body[t[i].max + 1] = '\0';
		r = client_post(srv.port, t[i].path, body);
		/* The longest is not read to its end, so the answer may be lost to a reset. */
		if (r.status != 413 && !(r.status == 0 && t[i].max > 300000))
			fail_msg("%s: %d", t[i].path, r.status);
		reply_free(&r);
		free(body);
	}
	ping_is_answered();
}

static void one_connection_serves_request_after_request(void **state)
{
	static const char two[] = "POST /register" H "Content-Length: 2\r\n\r\n[]"
				  "POST /nothing" H "Content-Length: 3\r\n\r\nxyz"
				  "GET /ping" H "\r\n";
	struct reply r;
	int fd = client_connect(srv.port);

	(void)state;
	fake_reset();
	assert_true(client_send(fd, two, sizeof two - 1));
	assert_true(client_read(fd, &r, CLIENT_WAIT_MS));
	assert_int_equal(r.status, 400);
	reply_free(&r);
	assert_true(client_read(fd, &r, CLIENT_WAIT_MS));
	assert_int_equal(r.status, 405);
	reply_free(&r);
	assert_true(client_read(fd, &r, CLIENT_WAIT_MS));
	assert_int_equal(r.status, 200);
	reply_free(&r);
	close(fd);
}

static void an_expectant_client_is_told_to_continue(void **state)
{
	static const char head[] = "POST /register" H JSON
				   "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
	struct reply r;
	int fd = client_connect(srv.port);

	(void)state;
	fake_reset();
	assert_true(client_send(fd, head, sizeof head - 1));
	assert_true(client_read(fd, &r, CLIENT_WAIT_MS));
	assert_int_equal(r.status, 100);
	reply_free(&r);
	assert_true(client_send(fd, "{}", 2));
	assert_true(client_read(fd, &r, CLIENT_WAIT_MS));
	assert_int_equal(r.status, 400);
	reply_free(&r);
	close(fd);
}

/* --- hostile and unlucky clients ----------------------------------------------------------------------------- */

static void garbage_and_vanishing_clients_change_nothing_for_others(void **state)
{
	uint64_t x = 0x9e3779b97f4a7c15u;
	char junk[2048], *body = signed_add(500), *raw = NULL;
	int sz = asprintf(&raw, "POST /add_appointment" H "Content-Length: %zu\r\n\r\n%s",
			  strlen(body), body);

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
	struct reply r = client_post(srv.port, "/add_appointment", body);

	assert_int_equal(r.status, 200);
	reply_free(&r);
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
		slow_gone = slow_gone || !client_send(slow, " ", 1) ||
			    recv(slow, &b, 1, MSG_DONTWAIT) == 0;
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
}

/* --- stopping ------------------------------------------------------------------------------------------------ */

static void stopping_finishes_what_was_accepted_and_takes_nothing_new(void **state)
{
	char *body = signed_add(100), *raw = NULL;
	int sz = asprintf(&raw, "POST /add_appointment" H "Content-Length: %zu\r\n\r\n%s",
			  strlen(body), body);
	struct reply r;

	(void)state;
	serve(64, 2);
	fake.delay_ms = 600;
	int with_tower = client_connect(srv.port), half_sent = client_connect(srv.port),
	    idle = client_connect(srv.port);

	assert_true(client_send(with_tower, raw, (size_t)sz));
	assert_true(client_send(half_sent, raw, (size_t)sz / 2));
	usleep(200000);
	uv_async_send(&srv.stop);
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
	uv_async_send(&srv.stop);
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
	const struct api_config cfg = {.bind = "127.0.0.1",
				       .port = srv.port,
				       .max_connections = 8,
				       .threads = 1,
				       .timeout_s = 1};
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
		cmocka_unit_test(every_vector_gets_its_answer),
		cmocka_unit_test(an_appointment_reaches_the_tower_whole),
		cmocka_unit_test(no_receipt_leaves_before_the_data_is_durable),
		cmocka_unit_test(a_transient_failure_of_an_add_carries_the_code_that_clients_retry),
		cmocka_unit_test(a_wrong_signature_never_reaches_the_tower),
		cmocka_unit_test(transport_rules_hold_in_their_order),
		cmocka_unit_test(bodies_are_taken_to_the_limit_and_refused_beyond),
		cmocka_unit_test(one_connection_serves_request_after_request),
		cmocka_unit_test(an_expectant_client_is_told_to_continue),
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
	};
	int failed = cmocka_run_group_tests_name("http", common, setup, teardown);

	failed += cmocka_run_group_tests_name("limit", small, setup_small, teardown);
	failed += cmocka_run_group_tests_name("stopping", stopping, NULL, NULL);
	return failed;
}
