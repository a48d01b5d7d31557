/* What the API answers, over loopback sockets. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "teos/receipt.h"
#include "teos/sig.h"

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
	} else if (strcmp(id, "get_appointment-unauthenticated") == 0 ||
		   strcmp(id, "get_subscription_info-unauthenticated") == 0) {
		fake.user_status = TOWER_AUTH;
	} else if (strcmp(id, "get_subscription_info") == 0) {
		const json_t *list = json_object_get(response, "locators");

		if (!list)
			list = json_object_get(response, "appointments");
		assert_int_equal(json_array_size(list), 1);
		p = bytes_of(json_array_get(list, 0), &sz);
		assert_int_equal(sz, LOCATOR_SZ);
		fake.user.available_slots = 9999;
		fake.owned = (const struct locator *)p;
		fake.owned_cnt = 1;
	} else if (strcmp(id, "get_appointment-watched") == 0) {
		p = bytes_of(json_object_get(a, "encrypted_blob"), &sz);
		fake.found_status = TOWER_OK;
		fake.found.ap.blob = p;
		fake.found.ap.blob_sz = (uint32_t)sz;
		fake.found.ap.to_self_delay = (uint32_t)json_integer_value(json_object_get(a, "to_self_delay"));
	} else if (strcmp(id, "get_appointment-responded") == 0) {
		p = bytes_of(json_object_get(a, "penalty_rawtx"), &sz);
		fake.found_status = TOWER_OK;
		fake.found.is_tracker = true;
		fake.found.tr.penalty_raw = p;
		fake.found.tr.penalty_sz = (uint32_t)sz;
		assert_true(hash256_from_display(&fake.found.tr.dispute_txid,
						 json_string_value(json_object_get(a, "dispute_txid"))));
		assert_true(hash256_from_display(&fake.found.tr.penalty_txid,
						 json_string_value(json_object_get(a, "penalty_txid"))));
	}
	return p;
}

/* A legacy tower's user and numbers, for the vectors of that generation. */
static void legacy_state_for(const char *id)
{
	fake.user.generation = fake.added.generation = CLIENT_LEGACY;
	fake.user.available_slots = strcmp(id, "get_subscription_info") == 0 ? 99 : 100;
	fake.added.available_slots = 99;
	if (strstr(id, "unauthenticated")) {
		fake.answer = TOWER_AUTH;
		fake.user_status = TOWER_AUTH;
	} else if (strcmp(id, "add_appointment-expired") == 0) {
		fake.answer = TOWER_AUTH;
		fake.user_status = TOWER_AUTH;
		fake.expired = true;
	} else if (strcmp(id, "add_appointment-tower-full") == 0) {
		fake.answer = TOWER_FULL;
	}
}

/* What the vectors ask, and how the answers are to be compared. */
static unsigned vectors_are_answered(const char *file, bool legacy)
{
	struct api_info info;
	char name[512];
	unsigned seen = 0;
	json_t *all, *v;
	size_t i;

	snprintf(name, sizeof name, "%s/teos/%s", getenv("VIGIL_VECTORS"), file);
	all = json_load_file(name, 0, NULL);
	assert_non_null(all);
	json_array_foreach(all, i, v)
	{
		const char *id = json_string_value(json_object_get(v, "id"));
		const char *path = json_string_value(json_object_get(v, "path"));
		const char *body = json_string_value(json_object_get(v, "request_json"));
		const json_t *want = json_object_get(v, "response");
		int status = (int)json_integer_value(json_object_get(v, "status"));

		/* Transport vectors have no body to send. */
		if (!body || strcmp(path, "/ping") == 0)
			continue;
		uint8_t *owned = state_for(id, want);

		if (legacy)
			legacy_state_for(id);
		struct reply r = legacy ? client_post_legacy(srv.port, path, body)
					: client_post(srv.port, path, body);

		if (r.status != status || !same_json(want, r.json))
			fail_msg("%s: want %d, got %d %s", id, status, r.status, r.body);
		assert_non_null(strcasestr(r.head, "\r\nContent-Type: application/json\r\n"));
		reply_free(&r);
		/* Looks at the counters for their order: the state thread is done with what it was lent. */
		api_info_get(srv.api, &info);
		free(owned);
		seen++;
	}
	json_decref(all);
	return seen;
}

static void T11_every_vector_gets_its_answer(void **state)
{
	(void)state;
	assert_in_range(vectors_are_answered("http_current.json", false), 40, 60);
}

static void T11_every_legacy_vector_gets_its_answer(void **state)
{
	(void)state;
	assert_in_range(vectors_are_answered("http_legacy.json", true), 13, 16);
}

static void P03_the_tag_of_the_user_wins_over_the_look_of_the_caller(void **state)
{
	char *body = signed_add(100);
	struct reply r;

	(void)state;
	fake_reset();
	fake.answer = TOWER_AUTH;
	fake.user_status = TOWER_AUTH;
	fake.expired = true;
	r = client_post_legacy(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 401);
	assert_int_equal(reply_code(&r), 7);
	reply_free(&r);
	fake.user.generation = CLIENT_LEGACY;
	r = client_post(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 400);
	assert_int_equal(reply_code(&r), -8);
	reply_free(&r);
	/* A user that nobody knows has no tag: the look decides. */
	fake.expired = false;
	r = client_post_legacy(srv.port, "/add_appointment", body);
	assert_int_equal(reply_code(&r), -8);
	reply_free(&r);
	r = client_post(srv.port, "/add_appointment", body);
	assert_int_equal(reply_code(&r), 7);
	reply_free(&r);
	free(body);
}

static void T07_field_errors_of_a_legacy_caller_come_from_its_own_table(void **state)
{
#define A(l, b, d)                                                                                \
	"{\"appointment\": {\"locator\": " l ", \"encrypted_blob\": " b ", \"to_self_delay\": " d \
	"}, \"signature\": \"y\"}"
#define L "\"00000000000000000000000000000000\""
	static const struct {
		const char *path, *body;
		int status, code;
	} t[] = {
		{"/add_appointment", "{\"signature\": \"y\"}", 400, -1},
		{"/add_appointment", "{\"appointment\": {\"locator\": " L "}, \"signature\": \"y\"}", 400, -1},
		{"/add_appointment", A("5", "\"00\"", "20"), 400, -2},
		{"/add_appointment", A(L, "5", "20"), 400, -2},
		{"/add_appointment", A(L, "\"00\"", "\"20\""), 400, -2},
		{"/add_appointment", A("\"00\"", "\"00\"", "20"), 400, -3},
		{"/add_appointment", A("\"zz000000000000000000000000000000\"", "\"00\"", "20"), 400, -4},
		{"/add_appointment", A(L, "\"zz\"", "20"), 400, -4},
		{"/add_appointment", A(L, "\"\"", "20"), 400, -4},
		{"/add_appointment", A(L, "\"00\"", "19"), 400, -5},
		{"/add_appointment", A(L, "\"00\"", "4294967296"), 400, -6},
		{"/add_appointment", "{\"appointment\": 5, \"signature\": \"y\"}", 400, -7},
		{"/add_appointment", A(L, "\"00\"", "20"), 400, -8},
		{"/add_appointment", "[]", 400, -65},
		{"/add_appointment", "{", 400, -65},
		{"/register", "{\"public_key\": 5}", 400, -34},
		{"/get_appointment", "nothing", 400, -65},
		{"/get_subscription_info", "nothing", 400, -65},
		{"/get_subscription_info", "{}", 400, -8},
		{"/get_subscription_info", "{\"signature\": \"y\"}", 400, -8},
		/* null is as good as nothing */
		{"/register", "{\"public_key\": null}", 400, -33},
		{"/add_appointment", "{\"appointment\": null, \"signature\": \"y\"}", 400, -1},
		{"/add_appointment", A("null", "\"00\"", "20"), 400, -1},
		{"/add_appointment", A(L, "\"00\"", "null"), 400, -1},
		/* more kinds of numbers */
		{"/add_appointment", A(L, "\"00\"", "-1"), 400, -5},
		{"/add_appointment", A(L, "\"00\"", "20.0"), 400, -2},
		{"/add_appointment", A(L, "\"00\"", "true"), 400, -2},
		/* odd digits: a locator of the wrong length, a blob that fails when it is packed */
		{"/add_appointment", A("\"000\"", "\"00\"", "20"), 400, -3},
		{"/add_appointment", A(L, "\"000\"", "20"), 503, 0},
		/* locator, then delay, then blob, then signature, in whatever order they come */
		{"/add_appointment", A("5", "\"zz\"", "1"), 400, -2},
		{"/add_appointment", A(L, "\"zz\"", "1"), 400, -5},
		{"/add_appointment", A(L, "7", "\"x\""), 400, -2},
		{"/add_appointment",
		 "{\"signature\": 5, \"appointment\": {\"encrypted_blob\": \"\", \"to_self_delay\": "
		 "4294967296, "
		 "\"locator\": " L "}}",
		 400, -6},
		{"/add_appointment",
		 "{\"appointment\": {\"encrypted_blob\": \"00\", \"to_self_delay\": 20, \"locator\": " L "}}",
		 400, -8},
		{"/add_appointment", "{\"signature\": 5, \"appointment\": {}} x", 400, -65},
	};

	(void)state;
	fake_reset();
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct reply r = client_post_legacy(srv.port, t[i].path, t[i].body);
		const json_t *code = json_object_get(r.json, "error_code");

		if (r.status != t[i].status || json_integer_value(code) != t[i].code)
			fail_msg("%s: want %d/%d, got %d %s", t[i].body, t[i].status, t[i].code, r.status,
				 r.body);
		reply_free(&r);
	}
	assert_int_equal(fake.add_cnt, 0);
}

static void P06_a_small_delay_is_refused_to_legacy_users_only(void **state)
{
	char *body = signed_add_delay(100, 5);
	struct reply r;

	(void)state;
	fake_reset();
	/* A current user, whatever it looks like. */
	r = client_post(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 200);
	reply_free(&r);
	r = client_post_legacy(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 200);
	reply_free(&r);
	/* A legacy user likewise; and whoever looks like one and is not known. */
	fake.user.generation = fake.added.generation = CLIENT_LEGACY;
	r = client_post(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 400);
	assert_int_equal(reply_code(&r), -5);
	reply_free(&r);
	fake_reset();
	fake.user_status = fake.answer = TOWER_AUTH;
	r = client_post_legacy(srv.port, "/add_appointment", body);
	assert_int_equal(reply_code(&r), -5);
	reply_free(&r);
	r = client_post(srv.port, "/add_appointment", body);
	assert_int_equal(reply_code(&r), 7);
	reply_free(&r);
	free(body);
	/* The configured one is enough. */
	body = signed_add_delay(100, 20);
	fake_reset();
	fake.user.generation = fake.added.generation = CLIENT_LEGACY;
	r = client_post_legacy(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 200);
	reply_free(&r);
	free(body);
}

static void T08_a_legacy_caller_is_told_that_nothing_is_there_for_the_locator_as_it_sent_it(void **state)
{
	static const char *const sent[] = {
		"\"C680BEC15F1A849D7132BB8D896CD065\"",
		"\"00\"",
		"\"no hex at all, but a text\"",
		"5",
		"-2.5e3",
		"null",
		"[1, {\"a\": true}]",
		"\"\\u0000\\ud83d\\ude00\"",
	};
	char body[256];

	(void)state;
	fake_reset();
	fake.user_status = TOWER_AUTH;
	for (size_t i = 0; i < sizeof sent / sizeof sent[0]; i++) {
		json_t *want = json_loads(sent[i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

		snprintf(body, sizeof body, "{\"signature\": \"y\", \"locator\": %s}", sent[i]);
		struct reply r = client_post_legacy(srv.port, "/get_appointment", body);

		assert_int_equal(r.status, 404);
		r.json = r.json ? r.json : json_loadb(r.body, r.body_sz, JSON_ALLOW_NUL, NULL);
		assert_int_equal(json_object_size(r.json), 2);
		assert_true(json_equal(json_object_get(r.json, "locator"), want));
		assert_string_equal(json_string_value(json_object_get(r.json, "status")), "not_found");
		reply_free(&r);
		json_decref(want);
	}
	struct reply r = client_post_legacy(srv.port, "/get_appointment", "{\"signature\": \"y\"}");

	assert_int_equal(r.status, 404);
	assert_true(json_is_null(json_object_get(r.json, "locator")));
	reply_free(&r);
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

static void T31_no_receipt_leaves_before_the_data_is_durable(void **state)
{
	char *body = signed_add(100), *raw = NULL;
	struct reply r;
	int sz = asprintf(&raw, "POST /add_appointment HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s",
			  strlen(body), body);

	(void)state;
	assert_true(sz > 0);
	fake_reset();
	fake.held = true;
	int fd = client_connect(srv.port);

	assert_true(client_send(fd, raw, (size_t)sz));
	assert_false(client_read(fd, &r, 200));
	assert_int_equal(fake.done_cnt, 0);
	fake.held = false;
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

	static const char get[] = "{\"locator\":\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\",\"signature\":\"%s\"}";
	char msg[RECEIPT_GET_SZ], sig[SIG_ZB_SZ + 1], text[256];
	struct locator l;

	memset(&l, 0x5a, sizeof l);
	receipt_get_message(msg, &l, NULL);
	assert_true(sig_sign(sig, srv.user_secret, msg, sizeof msg));
	snprintf(text, sizeof text, get, sig);
	fake.user_status = TOWER_NOT_READY;
	r = client_post(srv.port, "/get_appointment", text);
	assert_int_equal(r.status, 503);
	assert_int_equal(reply_code(&r), 32);
	reply_free(&r);
}

static char *signed_info(void)
{
	static const char msg[] = RECEIPT_SUBSCRIPTION_MESSAGE;
	char sig[SIG_ZB_SZ + 1], *body = NULL;

	assert_true(sig_sign(sig, srv.user_secret, (const uint8_t *)msg, sizeof msg - 1));
	assert_int_not_equal(asprintf(&body, "{\"signature\":\"%s\"}", sig), -1);
	return body;
}

static void T09_a_long_list_of_locators_is_told_whole_and_gathered_in_turns(void **state)
{
	static struct locator owned[10000];
	static const uint32_t cnts[] = {0, 1, 1999, 2000, 2001, 4000, 10000};
	char *body = signed_info(), hex[2 * LOCATOR_SZ + 1];

	(void)state;
	fake_reset();
	for (uint32_t i = 0; i < 10000; i++) {
		owned[i].b[0] = (uint8_t)(i >> 8);
		owned[i].b[1] = (uint8_t)i;
		owned[i].b[15] = (uint8_t)(i * 7);
	}
	fake.owned = owned;
	for (size_t k = 0; k < sizeof cnts / sizeof cnts[0]; k++) {
		fake.owned_cnt = cnts[k];
		fake.page_cnt = 0;
		struct reply r = client_post(srv.port, "/get_subscription_info", body);
		const json_t *list = json_object_get(r.json, "locators");

		assert_int_equal(r.status, 200);
		assert_int_equal(json_array_size(list), cnts[k]);
		for (uint32_t i = 0; i < cnts[k]; i++) {
			hex_encode(hex, owned[i].b, LOCATOR_SZ);
			assert_string_equal(json_string_value(json_array_get(list, i)), hex);
		}
		assert_int_equal(fake.page_cnt, cnts[k] / 2000 + 1);
		reply_free(&r);
	}
	free(body);
}

static void an_expired_user_learns_so_from_its_own_table(void **state)
{
	char *body = signed_info();
	struct reply r;

	(void)state;
	fake_reset();
	fake.user_status = TOWER_AUTH;
	fake.expired = true;
	r = client_post(srv.port, "/get_subscription_info", body);
	assert_int_equal(r.status, 401);
	assert_int_equal(reply_code(&r), 7);
	reply_free(&r);
	fake.user.generation = CLIENT_LEGACY;
	r = client_post(srv.port, "/get_subscription_info", body);
	assert_int_equal(r.status, 400);
	assert_int_equal(reply_code(&r), -8);
	reply_free(&r);
	assert_int_equal(fake.page_cnt, 0);
	free(body);
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

static void T11_transport_rules_hold_in_their_order(void **state)
{
	struct api_info before, after;

	(void)state;
	fake_reset();
	/* 405: the path, then the method; whatever else is wrong */
	api_info_get(srv.api, &before);
	refused("POST /nothing" H "Content-Length: 2\r\n\r\n{}", 405, 6);
	api_info_get(srv.api, &after);
	assert_int_equal(after.by_endpoint[API_ENDPOINT_CNT].refused_total,
			 before.by_endpoint[API_ENDPOINT_CNT].refused_total + 1);
	assert_int_equal(after.refused_total, before.refused_total + 1);
	refused("GET /nothing" H "\r\n", 405, 6);
	refused("GET /register" H "\r\n", 405, 6);
	refused("PUT /register" H "Content-Type: x/y\r\nContent-Length: 2\r\n\r\n{}", 405, 6);
	refused("POST /ping" H "Content-Length: 2\r\n\r\n{}", 405, 6);
	refused("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}", 405, 6);
	refused("GET /get_subscription_info" H "\r\n", 405, 6);
	refused("POST //register" H JSON "Content-Length: 2\r\n\r\n{}", 405, 6);
	refused("POST /Register" H JSON "Content-Length: 2\r\n\r\n{}", 405, 6);
	/* 411 */
	refused("POST /register" H "Content-Type: x/y\r\n\r\n", 411, 6);
	refused("POST /register" H "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411, 6);
	/* 413 before 415, and the client can still read it */
	refused("POST /register" H "Content-Type: x/y\r\nContent-Length: 4294967295\r\n\r\n{}", 413, 34);
	refused("POST /register" H "Content-Length: 99999999999999\r\n\r\n{}", 413, 34);
	/* the body is not waited for */
	refused("POST /register" H JSON "Content-Length: 100000\r\n\r\n", 413, 34);
	/* 415 */
	refused("POST /register" H "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415, 6);
	refused("POST /register" H "Content-Type: application/jsonx\r\nContent-Length: 2\r\n\r\n{}", 415, 6);
	/* then the body */
	refused("POST /register" H "Content-Length: 2\r\n\r\n{}", 400, 1);
	refused("POST /register" H "Content-Length: 0\r\n\r\n", 400, 6);
	refused("POST /register" H
		"Content-Type: Application/JSON ; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
		400, 1);
	refused("POST /register/and/more?x=1" H JSON "Content-Length: 2\r\n\r\n{}", 400, 1);
	ping_is_answered();
}

static void T11_a_legacy_caller_gets_400_where_its_hook_knows_no_other_status(void **state)
{
#define P "User-Agent: python-requests/2.28.1\r\n"
	(void)state;
	fake_reset();
	refused("POST /register" H P "Content-Type: text/html\r\nContent-Length: 2\r\n\r\n{}", 400, -65);
	refused("POST /register" H P "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, -65);
	refused("POST /register" H P JSON "Content-Length: 100000\r\n\r\n", 400, -65);
	refused("POST /nothing" H P "Content-Length: 2\r\n\r\n{}", 405, -65);
	ping_is_answered();
}

/* What libmicrohttpd answers by itself, before it asks us (api.h, Errors): a status, no JSON, and the connection ends. */
static void T11_what_is_hardly_http_gets_a_status_and_the_connection_ends(void **state)
{
	static const char *const head[] = {
		"POST /register" H "Content-Length: two\r\n\r\n{}",
		"POST /register" H "Content-Length: -1\r\n\r\n{}",
		"POST /register" H "Content-Length: 99999999999999999999999\r\n\r\n{}",
	};
	char *huge = NULL;
	struct reply r;

	(void)state;
	fake_reset();
	for (size_t i = 0; i < sizeof head / sizeof head[0]; i++) {
		r = client_exchange(srv.port, head[i], strlen(head[i]));
		if (r.status < 400 || r.status >= 500)
			fail_msg("%s: %d", head[i], r.status);
		assert_null(r.json);
		reply_free(&r);
	}
	assert_true(asprintf(&huge, "POST /register" H "X: %040000d\r\n\r\n", 1) > 0);
	r = client_exchange(srv.port, huge, strlen(huge));
	/* Reset under the rest of the headers, the answer may be lost. */
	assert_true(r.status == 0 || (r.status >= 400 && r.status < 500));
	reply_free(&r);
	free(huge);
	ping_is_answered();
}

static void T10_a_ping_is_answered_with_an_empty_200(void **state)
{
	static const char *const raw[] = {
		"GET /ping" H "\r\n",
		"GET /ping" H P "\r\n",
		"GET /ping/more?x=1" H "\r\n",
	};

	(void)state;
	fake_reset();
	/* Also when the tower can take nothing. */
	fake.answer = TOWER_NOT_READY;
	fake.user_status = TOWER_NOT_READY;
	for (size_t i = 0; i < sizeof raw / sizeof raw[0]; i++) {
		struct reply r = client_exchange(srv.port, raw[i], strlen(raw[i]));

		assert_int_equal(r.status, 200);
		assert_int_equal(r.body_sz, 0);
		reply_free(&r);
	}
}

static void P05_bodies_are_taken_to_the_limit_and_refused_beyond(void **state)
{
	static const struct {
		const char *path;
		size_t reference; /* what the reference takes at least */
		size_t max;
	} t[] = {{"/register", 87, API_REGISTER_BODY_MAX},
		 {"/get_appointment", 178, API_GET_BODY_MAX},
		 {"/get_subscription_info", 127, API_INFO_BODY_MAX},
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
	static const char head[] = "POST /register" H JSON "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(T11_every_vector_gets_its_answer),
		cmocka_unit_test(T11_every_legacy_vector_gets_its_answer),
		cmocka_unit_test(P03_the_tag_of_the_user_wins_over_the_look_of_the_caller),
		cmocka_unit_test(T07_field_errors_of_a_legacy_caller_come_from_its_own_table),
		cmocka_unit_test(an_appointment_reaches_the_tower_whole),
		cmocka_unit_test(T31_no_receipt_leaves_before_the_data_is_durable),
		cmocka_unit_test(a_transient_failure_of_an_add_carries_the_code_that_clients_retry),
		cmocka_unit_test(T09_a_long_list_of_locators_is_told_whole_and_gathered_in_turns),
		cmocka_unit_test(an_expired_user_learns_so_from_its_own_table),
		cmocka_unit_test(a_wrong_signature_never_reaches_the_tower),
		cmocka_unit_test(T11_transport_rules_hold_in_their_order),
		cmocka_unit_test(P05_bodies_are_taken_to_the_limit_and_refused_beyond),
		cmocka_unit_test(one_connection_serves_request_after_request),
		cmocka_unit_test(an_expectant_client_is_told_to_continue),
		cmocka_unit_test(P06_a_small_delay_is_refused_to_legacy_users_only),
		cmocka_unit_test(
			T08_a_legacy_caller_is_told_that_nothing_is_there_for_the_locator_as_it_sent_it),
		cmocka_unit_test(T11_a_legacy_caller_gets_400_where_its_hook_knows_no_other_status),
		cmocka_unit_test(T11_what_is_hardly_http_gets_a_status_and_the_connection_ends),
		cmocka_unit_test(T10_a_ping_is_answered_with_an_empty_200),
	};

	return cmocka_run_group_tests_name("http", tests, setup, teardown);
}
