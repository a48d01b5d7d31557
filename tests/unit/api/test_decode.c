/* Bodies against the vectors of the specification, against its rules one by one, and the reader against jansson. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/decode.h"
#include "api/json.h"

static struct api_request req;
static struct api_problem problem;

/* Gives the decoder an exact-size heap copy, so that a sanitizer sees any read beyond it. */
static enum api_code decode_sz(enum api_endpoint ep, const char *text, size_t sz)
{
	char *body = malloc(sz ? sz : 1);

	assert_non_null(body);
	memcpy(body, text, sz);
	enum api_code c = api_decode(ep, body, sz, &req, &problem);

	free(body);
	return c;
}

static enum api_code decode(enum api_endpoint ep, const char *text)
{
	return decode_sz(ep, text, strlen(text));
}

static bool endpoint_of(const char *path, enum api_endpoint *ep)
{
	static const struct {
		const char *path;
		enum api_endpoint ep;
	} known[] = {{"/register", API_REGISTER},
		     {"/add_appointment", API_ADD_APPOINTMENT},
		     {"/get_appointment", API_GET_APPOINTMENT},
		     {"/get_subscription_info", API_GET_SUBSCRIPTION_INFO}};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (strcmp(path, known[i].path) == 0) {
			*ep = known[i].ep;
			return true;
		}
	}
	return false;
}

static void T07_the_vectors_give_their_codes(void **state)
{
	char name[512];
	json_error_t err;
	unsigned formats = 0, good = 0;

	(void)state;
	snprintf(name, sizeof name, "%s/teos/http_current.json", getenv("VIGIL_VECTORS"));
	json_t *all = json_load_file(name, 0, &err), *v;
	size_t i;

	assert_non_null(all);
	json_array_foreach(all, i, v)
	{
		const char *id = json_string_value(json_object_get(v, "id"));
		const char *body = json_string_value(json_object_get(v, "request_json"));
		int status = (int)json_integer_value(json_object_get(v, "status"));
		int want =
			(int)json_integer_value(json_object_get(json_object_get(v, "response"), "error_code"));
		enum api_endpoint ep;

		if (!body || !endpoint_of(json_string_value(json_object_get(v, "path")), &ep))
			continue;
		int got = (int)decode(ep, body);

		if (strncmp(id, "format/", 7) == 0) {
			formats++;
			if (got != want)
				fail_msg("%s: want %d, got %d (%s)", id, want, got, problem.why);
		} else {
			/* Whatever the tower says later, these bodies are well formed. */
			good += status == 200;
			if (got != API_OK)
				fail_msg("%s: refused with %d (%s)", id, got, problem.why);
		}
		api_request_free(&req);
	}
	json_decref(all);
	assert_in_range(formats, 25, 40);
	assert_in_range(good, 4, 10);
}

static void a_good_request_is_decoded_whole(void **state)
{
	char body[512], sig[SIG_ZB_SZ + 1];

	(void)state;
	memset(sig, 'y', SIG_ZB_SZ);
	sig[SIG_ZB_SZ] = '\0';
	snprintf(body, sizeof body,
		 " {\"x\":[{}, {\"appointment\":[1,-2.5e+3,\"\\ud83d\\ude00\",null,true]}], "
		 "\"signature\" : \"%s\",\r\n\t"
		 "\"\\u0061ppointment\":{\"to_self_delay\":4294967295,\"encrypted_blob\":"
		 "\"00fFA0\",\"extra\":{},"
		 "\"locator\":\"000102030405060708090A0b0c0d0e\\u0030f\"}} ",
		 sig);
	assert_int_equal(decode(API_ADD_APPOINTMENT, body), API_OK);
	for (unsigned i = 0; i < LOCATOR_SZ; i++)
		assert_int_equal(req.locator.b[i], i);
	assert_int_equal(req.blob_sz, 3);
	assert_memory_equal(req.blob, "\x00\xff\xa0", 3);
	assert_int_equal(req.to_self_delay, UINT32_MAX);
	assert_int_equal(req.sig.sz, SIG_ZB_SZ);
	assert_memory_equal(req.sig.text, sig, SIG_ZB_SZ);
	api_request_free(&req);
}

static void an_empty_blob_is_allowed_and_a_long_signature_is_kept_as_such(void **state)
{
	char body[512], sig[SIG_ZB_SZ + 2];

	(void)state;
	memset(sig, 'y', sizeof sig);
	sig[SIG_ZB_SZ + 1] = '\0';
	snprintf(body, sizeof body,
		 "{\"appointment\":{\"locator\":\"00000000000000000000000000000000\",\"encrypted_"
		 "blob\":\"\","
		 "\"to_self_delay\":0},\"signature\":\"%s\"}",
		 sig);
	assert_int_equal(decode(API_ADD_APPOINTMENT, body), API_OK);
	assert_null(req.blob);
	assert_int_equal(req.blob_sz, 0);
	assert_int_equal(req.sig.sz, SIG_ZB_SZ + 1);
	api_request_free(&req);
}

#define APP(a)   "{\"appointment\":" a ",\"signature\":\"y\"}"
#define LOC      "\"locator\":\"00000000000000000000000000000000\""
#define BLOB     "\"encrypted_blob\":\"00\""
#define DELAY(d) APP("{" LOC "," BLOB ",\"to_self_delay\":" d "}")

static void T07_the_first_problem_from_the_left_wins(void **state)
{
	static const struct {
		enum api_endpoint ep;
		const char *body;
		int code;
	} t[] = {
		/* wrong type, then rubbish: the rubbish is never reached */
		{API_REGISTER, "{\"user_id\":1}x", 3},
		{API_REGISTER, "{\"user_id\":\"a\"", 5},
		{API_REGISTER, "{\"user_id\":[1,,", 3},
		{API_REGISTER, "{\"user_id\":{x", 3},
		{API_REGISTER, "[1,,", 3},
		/* but a simple value is read to its end first */
		{API_REGISTER, "{\"user_id\":01}", 6},
		{API_REGISTER, "{\"user_id\":nul}", 6},
		{API_REGISTER, "{\"user_id\":\"zz\\q\"}", 6},
		{API_REGISTER, "tru", 6},
		{API_REGISTER, "\"x", 6},
		/* bad JSON before the wrong type */
		{API_REGISTER, "{\"a\":01,\"user_id\":1}", 6},
		{API_REGISTER, "{\"a\":[}],\"user_id\":1}", 6},
		{API_REGISTER, "{\"user_id\":\"aa\",}", 6},
		{API_REGISTER, "{,\"user_id\":\"aa\"}", 6},
		{API_REGISTER, "{\"user_id\" \"aa\"}", 6},
		{API_REGISTER, "{\"user_id\":\"aa\" \"b\":1}", 6},
		{API_REGISTER, "{}x", 1},
		{API_REGISTER, "{} {}", 1},
		{API_REGISTER, "\xef\xbb\xbf{}", 6},
		{API_REGISTER, " \t\r\n{}", 1},
		{API_REGISTER, "\v{}", 6},
		/* a known key twice, an unknown one as often as it likes */
		{API_REGISTER, "{\"user_id\":\"zz\",\"user_id\":\"bb\"}", 5},
		{API_REGISTER, "{\"user_id\":\"aa\",\"user_id\":1}", 6},
		{API_REGISTER, "{\"user_id\":\"aa\",\"\\u0075ser_id\":\"aa\"}", 6},
		{API_REGISTER, "{\"x\":1,\"x\":2,\"user_id\":\"aa\"}", 4},
		{API_ADD_APPOINTMENT, "{\"appointment\":null,\"appointment\":null,\"signature\":\"\"}", 6},
		/* a missing key is noticed at the end of its own object */
		{API_ADD_APPOINTMENT, "{\"appointment\":{" LOC "," BLOB "},\"signature\":1}", 1},
		{API_ADD_APPOINTMENT, "{\"signature\":1,\"appointment\":{}}", 3},
		{API_ADD_APPOINTMENT, "{\"appointment\":{},x", 1},
		{API_GET_APPOINTMENT, "{\"locator\":\"\"}", 1},
		/* after parsing: appointment, locator, signature */
		{API_ADD_APPOINTMENT, "{\"appointment\":null,\"signature\":\"\"}", 1},
		{API_ADD_APPOINTMENT,
		 "{\"appointment\":{\"locator\":\"\"," BLOB ",\"to_self_delay\":1},\"signature\":\"\"}", 2},
		{API_ADD_APPOINTMENT,
		 "{\"appointment\":{\"locator\":\"aa\"," BLOB ",\"to_self_delay\":1},\"signature\":\"\"}", 4},
		{API_ADD_APPOINTMENT,
		 "{\"appointment\":{" LOC "," BLOB ",\"to_self_delay\":1},\"signature\":\"\"}", 2},
		{API_GET_APPOINTMENT, "{" LOC ",\"signature\":\"\"}", 2},
		{API_GET_APPOINTMENT, "{\"signature\":\"\",\"locator\":\"0000000000000000000000000000000000\"}",
		 4},
		/* the delay */
		{API_ADD_APPOINTMENT, DELAY("4294967295"), 0},
		{API_ADD_APPOINTMENT, DELAY("0"), 0},
		{API_ADD_APPOINTMENT, DELAY("18446744073709551616"), 6},
		{API_ADD_APPOINTMENT, DELAY("-1"), 6},
		{API_ADD_APPOINTMENT, DELAY("1.0"), 3},
		{API_ADD_APPOINTMENT, DELAY("1e2"), 3},
		{API_ADD_APPOINTMENT, DELAY("-0"), 3},
		{API_ADD_APPOINTMENT, DELAY("true"), 3},
		{API_ADD_APPOINTMENT, DELAY("null"), 3},
		{API_ADD_APPOINTMENT, DELAY("\"1\""), 3},
		{API_ADD_APPOINTMENT, DELAY("1."), 6},
		{API_ADD_APPOINTMENT, DELAY("+1"), 6},
		{API_ADD_APPOINTMENT, DELAY("00"), 6},
		{API_ADD_APPOINTMENT, DELAY("1e"), 6},
		{API_ADD_APPOINTMENT, DELAY(""), 6},
		{API_ADD_APPOINTMENT, APP("[]"), 3},
		{API_ADD_APPOINTMENT, APP("false"), 3},
		/* text */
		{API_REGISTER, "{\"user_id\":\"a\\u0000\"}", 5},
		{API_REGISTER, "{\"user_id\":\"\xff\xff\"}", 6},
		{API_REGISTER, "{\"user_id\":\"\xc0\x80\"}", 6},
		{API_REGISTER, "{\"user_id\":\"\xed\xa0\x80\"}", 6},
		{API_REGISTER, "{\"user_id\":\"\xc3\xa9\"}", 5},
		{API_REGISTER, "{\"user_id\":\"\\ud800\"}", 6},
		{API_REGISTER, "{\"user_id\":\"\\udc00\"}", 6},
		{API_REGISTER, "{\"user_id\":\"\\ud800\\u0041\"}", 6},
		{API_REGISTER, "{\"user_id\":\"a\nb\"}", 6},
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		int got = (int)decode(t[i].ep, t[i].body);

		if (got != t[i].code)
			fail_msg("%s: want %d, got %d (%s)", t[i].body, t[i].code, got, problem.why);
		api_request_free(&req);
	}
	assert_int_equal(decode_sz(API_REGISTER, "{\"user_id\":\"aa\"}\0", 17), 6);
}

static void nesting_is_bounded(void **state)
{
	char body[512] = "{\"x\":";
	size_t sz = strlen(body);

	(void)state;
	memset(body + sz, '[', JSON_DEPTH_MAX - 1);
	memset(body + sz + JSON_DEPTH_MAX - 1, ']', JSON_DEPTH_MAX - 1);
	strcpy(body + sz + 2 * (JSON_DEPTH_MAX - 1), ",\"user_id\":\"aa\"}");
	assert_int_equal(decode(API_REGISTER, body), API_WRONG_FIELD_SIZE);

	memset(body + sz, '[', JSON_DEPTH_MAX);
	memset(body + sz + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	strcpy(body + sz + 2 * JSON_DEPTH_MAX, ",\"user_id\":\"aa\"}");
	assert_int_equal(decode(API_REGISTER, body), API_INVALID_REQUEST_FORMAT);

	char *deep = malloc(1u << 20);

	assert_non_null(deep);
	memset(deep, '[', 1u << 20);
	memcpy(deep, "{\"x\":", 5);
	assert_int_equal(decode_sz(API_REGISTER, deep, 1u << 20), API_INVALID_REQUEST_FORMAT);
	free(deep);
}

static void every_cut_of_a_good_body_is_refused(void **state)
{
	static const char body[] = APP("{" LOC ",\"encrypted_blob\":\"\\u0030\\u0030\",\"to_self_delay\":42}");

	(void)state;
	assert_int_equal(decode(API_ADD_APPOINTMENT, body), API_OK);
	api_request_free(&req);
	for (size_t sz = 0; sz + 1 < sizeof body; sz++)
		assert_int_not_equal(decode_sz(API_ADD_APPOINTMENT, body, sz), API_OK);
}

/* --- the reader against jansson ------------------------------------------------------------------------------ */

static uint64_t rng_state = 88172645463325252u;

static unsigned rng(unsigned below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (unsigned)(rng_state >> 33) % below;
}

/* Pieces that make texts which are often valid and often just not. */
static size_t random_json(char *out, size_t cap)
{
	static const char *const piece[] = {
		"{",           "}",
		"[",           "]",
		",",           ":",
		"\"a\"",       "\"\"",
		"\"\\u00e9\"", "\"\\ud83d\\ude00\"",
		"1",           "-1",
		"0",           "1.5",
		"1e3",         "true",
		"false",       "null",
		" ",           "\n",
		"\"k\":",      "\"k\":1",
		"[]",          "{}",
		"\"\\",        "\"\xc3\xa9\"",
		"01",          "tru",
		"\"\\x\"",     "-",
	};
	size_t sz = 0;
	unsigned cnt = 1 + rng(9);

	for (unsigned i = 0; i < cnt; i++) {
		const char *p = piece[rng(sizeof piece / sizeof piece[0])];

		if (sz + strlen(p) > cap)
			break;
		memcpy(out + sz, p, strlen(p));
		sz += strlen(p);
	}
	return sz;
}

static void the_reader_accepts_what_jansson_accepts(void **state)
{
	unsigned valid = 0, rounds = 200000;
	char text[128];

	(void)state;
	for (unsigned i = 0; i < rounds; i++) {
		size_t sz = random_json(text, sizeof text);
		struct json_in in;
		json_error_t err;
		json_t *j = json_loadb(text, sz, JSON_DECODE_ANY | JSON_ALLOW_NUL, &err);

		json_in_init(&in, text, sz);
		bool ok = json_skip(&in) && json_at_end(&in);

		/* A number too large for jansson's own types is still JSON. */
		if (ok != (j != NULL) && json_error_code(&err) != json_error_numeric_overflow)
			fail_msg("%.*s: we say %d", (int)sz, text, ok);
		valid += ok;
		json_decref(j);
	}
	/* The comparison is worth nothing if the texts are all bad. */
	assert_in_range(valid, rounds / 50, rounds);
}

static void a_legacy_locator_is_kept_as_it_was_sent(void **state)
{
	static const char *const sent[] = {"\"0123456789abcdef0123456789abcdef\"", "12", "null"};
	char text[128];

	(void)state;
	for (size_t i = 0; i < sizeof sent / sizeof sent[0]; i++) {
		size_t sz = (size_t)snprintf(text, sizeof text, "{\"signature\":\"s\",\"locator\":%s}",
					     sent[i]);
		char *body = malloc(sz); /* exactly, and without a NUL */

		assert_non_null(body);
		memcpy(body, text, sz);
		api_decode_legacy(API_GET_APPOINTMENT, body, sz, 20, &req, &problem);
		free(body);
		assert_non_null(req.sent_locator);
		assert_string_equal(req.sent_locator, sent[i]);
		api_request_free(&req);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_legacy_locator_is_kept_as_it_was_sent),
		cmocka_unit_test(T07_the_vectors_give_their_codes),
		cmocka_unit_test(a_good_request_is_decoded_whole),
		cmocka_unit_test(an_empty_blob_is_allowed_and_a_long_signature_is_kept_as_such),
		cmocka_unit_test(T07_the_first_problem_from_the_left_wins),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(every_cut_of_a_good_body_is_refused),
		cmocka_unit_test(the_reader_accepts_what_jansson_accepts),
	};

	return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
