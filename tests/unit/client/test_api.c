/* What the client sends and what it believes; the test answers in the tower's place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/bulk.h"
#include "teos/blob.h"
#include "teos/receipt.h"
#include "teos/sig.h"

enum { START_BLOCK = 77, SLOTS = 10000, SUBSCRIBED = 70, EXPIRY = 4390 };

/* --- the tower ------------------------------------------------------------------------------------------------ */

static struct {
	struct tower_key key;
	enum client_generation receipts; /* of which generation its receipts are */
	bool echo_wrong, text_answer;
	long refuse; /* status, with code 7 */
	char path[64];
	char text[4096]; /* the last body, as it came */
	json_t *body;
} tower;

struct http {
	int unused;
};

struct http *http_open(const char *base, const char *agent, uint64_t wait_ns)
{
	(void)base;
	(void)wait_ns;
	assert_int_equal(agent != NULL, tower.receipts == CLIENT_LEGACY);
	return calloc(1, sizeof(struct http));
}

void http_close(struct http *h)
{
	free(h);
}

uint64_t client_now_ns(void)
{
	static uint64_t now;

	return now += 1000;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	assert_non_null(s);
	return s;
}

static json_t *answer_register(void)
{
	const char *id = text_of(tower.body, tower.receipts == CLIENT_LEGACY ? "public_key" : "user_id");
	uint8_t receipt[RECEIPT_REGISTRATION_MAX];
	char sig[SIG_ZB_SZ + 1];
	struct user_id user;
	size_t sz;

	assert_true(hex_decode(user.b, USER_ID_SZ, id, strlen(id)));
	sz = receipt_registration(receipt, tower.receipts, &user, SLOTS, SUBSCRIBED, EXPIRY);
	assert_true(sig_sign(sig, tower.key.secret, receipt, sz));
	return json_pack("{s:s, s:i, s:i, s:i, s:s}", "user_id", id, "available_slots", SLOTS,
			 "subscription_start", SUBSCRIBED, "subscription_expiry", EXPIRY,
			 "subscription_signature", sig);
}

static json_t *answer_add(void)
{
	const char *user_sig = text_of(tower.body, "signature");
	const char *locator = text_of(json_object_get(tower.body, "appointment"), "locator");
	uint8_t receipt[RECEIPT_APPOINTMENT_MAX];
	char sig[SIG_ZB_SZ + 1];
	size_t sz = receipt_appointment(receipt, tower.receipts, user_sig, strlen(user_sig), START_BLOCK);

	assert_true(sz > 0 && sig_sign(sig, tower.key.secret, receipt, sz));
	return json_pack("{s:s, s:i, s:s, s:i, s:i}", "locator",
			 tower.echo_wrong ? "00000000000000000000000000000000" : locator, "start_block",
			 START_BLOCK, "signature", sig, "available_slots", SLOTS - 1, "subscription_expiry",
			 EXPIRY);
}

void http_post(struct http *h, const char *path, const char *body, struct http_answer *out)
{
	(void)h;
	memset(out, 0, sizeof(*out));
	snprintf(tower.path, sizeof(tower.path), "%s", path);
	snprintf(tower.text, sizeof(tower.text), "%s", body);
	json_decref(tower.body);
	tower.body = json_loads(body, 0, NULL);
	assert_non_null(tower.body);
	out->status = tower.refuse ? tower.refuse : 200;
	out->took_ns = 5000;
	if (tower.text_answer)
		snprintf(out->why, sizeof(out->why), "not JSON");
	else if (tower.refuse)
		out->body = json_pack("{s:s, s:i}", "error", "no slots", "error_code", 7);
	else
		out->body = strcmp(path, "/register") == 0 ? answer_register() : answer_add();
}

static struct tower_key user_key;

static struct api *open_api(enum client_generation gen)
{
	struct api_config cfg = {
		.url = "http://test",
		.key = &user_key,
		.generation = gen,
		.scheme = gen == CLIENT_LEGACY ? LOCATOR_DISPLAY : LOCATOR_INTERNAL,
		.to_self_delay = 42,
	};
	struct api *a;

	memset(&user_key, 7, sizeof(user_key));
	assert_true(sig_pubkey(&user_key.id, user_key.secret));
	json_decref(tower.body);
	memset(&tower, 0, sizeof(tower));
	memset(&tower.key, 9, sizeof(tower.key));
	assert_true(sig_pubkey(&tower.key.id, tower.key.secret));
	tower.receipts = gen;
	a = api_open(&cfg);
	assert_non_null(a);
	return a;
}

/* --- tests ---------------------------------------------------------------------------------------------------- */

static const struct locator some_locator = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static const uint8_t some_blob[40] = {0xaa, 0xbb};

static void receipts_of_both_generations_are_understood(void **state)
{
	(void)state;
	for (int gen = CLIENT_CURRENT; gen <= CLIENT_LEGACY; gen++) {
		struct api *a = open_api((enum client_generation)gen);
		struct api_result r;

		api_register(a, &r);
		assert_int_equal(r.outcome, API_OK);
		assert_int_equal(r.available_slots, SLOTS);
		assert_memory_equal(r.tower_id.b, tower.key.id.b, USER_ID_SZ);
		api_result_free(&r);
		api_add(a, &some_locator, some_blob, sizeof(some_blob), &r);
		assert_int_equal(r.outcome, API_OK);
		assert_int_equal(r.start_block, START_BLOCK);
		assert_memory_equal(r.tower_id.b, tower.key.id.b, USER_ID_SZ);
		assert_int_equal(strstr(tower.text, ": ") != NULL, gen == CLIENT_LEGACY);
		api_result_free(&r);
		api_close(a);
	}
}

static void a_receipt_of_the_other_generation_proves_nothing(void **state)
{
	struct api *a = open_api(CLIENT_CURRENT);
	struct api_result r;

	(void)state;
	api_register(a, &r);
	assert_int_equal(r.outcome, API_OK);
	api_result_free(&r);
	tower.receipts = CLIENT_LEGACY;
	api_add(a, &some_locator, some_blob, sizeof(some_blob), &r);
	assert_int_equal(r.outcome, API_BAD_RECEIPT);
	api_result_free(&r);
	api_close(a);
}

static void a_receipt_by_another_key_is_refused(void **state)
{
	struct api *a = open_api(CLIENT_CURRENT);
	struct api_result r;

	(void)state;
	api_register(a, &r);
	api_result_free(&r);
	memset(&tower.key, 10, sizeof(tower.key));
	api_add(a, &some_locator, some_blob, sizeof(some_blob), &r);
	assert_int_equal(r.outcome, API_BAD_RECEIPT);
	api_result_free(&r);
	api_close(a);
}

static void an_answer_for_another_locator_is_refused(void **state)
{
	struct api *a = open_api(CLIENT_CURRENT);
	struct api_result r;

	(void)state;
	tower.echo_wrong = true;
	api_add(a, &some_locator, some_blob, sizeof(some_blob), &r);
	assert_int_equal(r.outcome, API_BAD_RECEIPT);
	api_result_free(&r);
	api_close(a);
}

static void refusals_and_rubbish_are_told_apart(void **state)
{
	struct api *a = open_api(CLIENT_CURRENT);
	struct api_result r;

	(void)state;
	tower.refuse = 401;
	api_add(a, &some_locator, some_blob, sizeof(some_blob), &r);
	assert_int_equal(r.outcome, API_REFUSED);
	assert_int_equal(r.status, 401);
	assert_int_equal(r.code, 7);
	assert_string_equal(r.why, "no slots");
	api_result_free(&r);
	tower.refuse = 0;
	tower.text_answer = true;
	api_add(a, &some_locator, some_blob, sizeof(some_blob), &r);
	assert_int_equal(r.outcome, API_UNREACHABLE);
	api_result_free(&r);
	api_close(a);
}

/* The body of an add is signed by the user over exactly what it carries. */
static void the_request_is_signed_over_its_contents(void **state)
{
	struct api *a = open_api(CLIENT_CURRENT);
	struct api_result r;
	uint8_t msg[LOCATOR_SZ + sizeof(some_blob) + 4];
	struct user_id who;
	const char *sig;
	size_t sz;

	(void)state;
	api_add(a, &some_locator, some_blob, sizeof(some_blob), &r);
	assert_string_equal(tower.path, "/add_appointment");
	sig = text_of(tower.body, "signature");
	sz = receipt_add_message(msg, &some_locator, some_blob, sizeof(some_blob), 42);
	assert_true(sig_recover(&who, sig, strlen(sig), msg, sz));
	assert_memory_equal(who.b, user_key.id.b, USER_ID_SZ);
	api_result_free(&r);
	api_close(a);
}

static void planted_breaches_become_appointments_that_open_with_their_dispute(void **state)
{
	static const char json[] = "[{\"dispute_txid\": "
				   "\"c680bec15f1a849d7132bb8d896cd0654d211ed2cf5f8d75b8d08775f7f457d6\", "
				   "\"branch\": \"best\", \"penalty_hex\": \"0011223344\"},"
				   "{\"dispute_txid\": "
				   "\"c680bec15f1a849d7132bb8d896cd0654d211ed2cf5f8d75b8d08775f7f457d6\", "
				   "\"branch\": \"stale\", \"penalty_hex\": \"0011223344\"}]";
	/* Both forms of this txid's locator stand in spec/teos.md section 2. */
	static const char *const locators[] = {"d657f4f77587d0b8758d5fcfd21e214d",
					       "c680bec15f1a849d7132bb8d896cd065"};
	char path[] = "/tmp/vigil-client-XXXXXX", why[256] = "";
	int fd = mkstemp(path);
	uint32_t cnt = 0;
	struct planted *list;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, json, sizeof(json) - 1), sizeof(json) - 1);
	close(fd);
	list = planted_read(path, BRANCH_ALL, &cnt, why, sizeof(why));
	assert_non_null(list);
	assert_int_equal(cnt, 1); /* one dispute, though two blocks hold it */
	for (int gen = CLIENT_CURRENT; gen <= CLIENT_LEGACY; gen++) {
		struct bulk_config cfg = {.planted = list, .planted_cnt = 1, .connections = 1};
		struct bulk_result res;
		uint8_t blob[5 + BLOB_TAG_SZ], plain[5];
		struct blob_key key;
		json_t *appointment;

		api_close(open_api((enum client_generation)gen));
		cfg.api = (struct api_config){
			.url = "http://test",
			.key = &user_key,
			.generation = (enum client_generation)gen,
			.scheme = gen == CLIENT_LEGACY ? LOCATOR_DISPLAY : LOCATOR_INTERNAL,
		};
		assert_int_equal(bulk_add(&cfg, &res, why, sizeof(why)), 0);
		assert_int_equal(res.outcome[API_OK], 1);
		appointment = json_object_get(tower.body, "appointment");
		assert_string_equal(text_of(appointment, "locator"), locators[gen]);
		assert_true(hex_decode(blob, sizeof(blob), text_of(appointment, "encrypted_blob"),
				       2 * sizeof(blob)));
		key = blob_key_of_txid(&list[0].dispute_txid, cfg.api.scheme);
		assert_true(blob_open(plain, blob, sizeof(blob), &key));
		assert_memory_equal(plain, "\x00\x11\x22\x33\x44", 5);
	}
	planted_free(list, cnt);
	list = planted_read(path, BRANCH_STALE, &cnt, why, sizeof(why));
	assert_int_equal(cnt, 1);
	planted_free(list, cnt);
	unlink(path);
	assert_null(planted_read(path, BRANCH_ALL, &cnt, why, sizeof(why)));
	assert_string_not_equal(why, "");
}

static int forget(void **state)
{
	(void)state;
	json_decref(tower.body);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(receipts_of_both_generations_are_understood),
		cmocka_unit_test(a_receipt_of_the_other_generation_proves_nothing),
		cmocka_unit_test(a_receipt_by_another_key_is_refused),
		cmocka_unit_test(an_answer_for_another_locator_is_refused),
		cmocka_unit_test(refusals_and_rubbish_are_told_apart),
		cmocka_unit_test(the_request_is_signed_over_its_contents),
		cmocka_unit_test(planted_breaches_become_appointments_that_open_with_their_dispute),
	};

	return cmocka_run_group_tests(tests, NULL, forget);
}
