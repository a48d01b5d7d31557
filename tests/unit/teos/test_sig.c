#include "vectors.h"

#include <pthread.h>

#include "teos/sig.h"
#include "teos/zbase32.h"

static json_t *vec;

static int setup(void **state)
{
	(void)state;
	vec = vectors_load("signatures.json");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	json_decref(vec);
	return 0;
}

static void zbase32_encodes_and_decodes_every_vector(void **state)
{
	size_t i, sz, got_sz;
	json_t *o;

	(void)state;
	json_array_foreach(vectors_of(vec, "zbase32_valid"), i, o)
	{
		uint8_t *want = bytes(o, "bytes", &sz), got[256];
		char zb[512];

		zbase32_encode(zb, want, sz);
		assert_string_equal(zb, text(o, "zb"));
		assert_int_equal(strlen(zb), zbase32_text_sz(sz));
		assert_true(zbase32_decode(got, sizeof(got), &got_sz, zb, strlen(zb)));
		assert_int_equal(got_sz, sz);
		assert_memory_equal(got, want, sz);
		free(want);
	}
}

static void zbase32_ignores_case(void **state)
{
	size_t i, sz, got_sz;
	json_t *o;

	(void)state;
	json_array_foreach(vectors_of(vec, "zbase32_case"), i, o)
	{
		uint8_t *want = bytes(o, "bytes", &sz), got[256];
		const char *zb = text(o, "zb");

		assert_true(zbase32_decode(got, sizeof(got), &got_sz, zb, strlen(zb)));
		assert_int_equal(got_sz, sz);
		assert_memory_equal(got, want, sz);
		free(want);
	}
}

static void zbase32_refuses_every_malformed_vector(void **state)
{
	uint8_t got[512];
	size_t i, got_sz;
	json_t *o;

	(void)state;
	json_array_foreach(vectors_of(vec, "zbase32_invalid"), i, o)
	{
		const char *zb = text(o, "zb");

		if (zbase32_decode(got, sizeof(got), &got_sz, zb, strlen(zb)))
			fail_msg("accepted '%s': %s", zb, text(o, "why"));
	}
}

static void zbase32_never_writes_past_its_room(void **state)
{
	uint8_t got[5] = {0, 0, 0, 0, 0xaa};
	size_t sz;

	(void)state;
	assert_false(zbase32_decode(got, 4, &sz, "yyyyyyyy", 8));
	assert_int_equal(got[4], 0xaa);
	assert_true(zbase32_decode(got, 5, &sz, "yyyyyyyy", 8));
	assert_int_equal(sz, 5);
}

static void T33_signing_gives_the_same_text_as_every_vector(void **state)
{
	size_t i, sz;
	json_t *o;

	(void)state;
	json_array_foreach(vectors_of(vec, "sign"), i, o)
	{
		uint8_t *msg = bytes(o, "message", &sz), key[32], want[33];
		struct user_id id, who;
		struct hash256 digest;
		char zb[SIG_ZB_SZ + 1];

		fixed(o, "secret_key", key, 32);
		fixed(o, "public_key", want, 33);
		assert_true(sig_pubkey(&id, key));
		assert_memory_equal(id.b, want, 33);
		fixed(o, "digest", want, 32);
		digest = sig_digest(msg, sz);
		assert_memory_equal(digest.b, want, 32);
		assert_true(sig_sign(zb, key, msg, sz));
		assert_string_equal(zb, text(o, "signature_zb"));
		assert_true(sig_recover(&who, zb, strlen(zb), msg, sz));
		assert_memory_equal(who.b, id.b, 33);
		free(msg);
	}
}

static void T02_recovery_finds_the_signer_of_every_vector(void **state)
{
	size_t i, sz;
	json_t *o;

	(void)state;
	json_array_foreach(vectors_of(vec, "recover"), i, o)
	{
		uint8_t *msg = bytes(o, "message", &sz), want[33];
		const char *zb = text(o, "signature_zb");
		struct user_id who;

		fixed(o, "public_key", want, 33);
		assert_true(sig_recover(&who, zb, strlen(zb), msg, sz));
		assert_memory_equal(who.b, want, 33);
		assert_true(sig_user_id_valid(&who));
		free(msg);
	}
}

static void recovery_refuses_every_malformed_vector(void **state)
{
	size_t i, sz;
	json_t *o;

	(void)state;
	json_array_foreach(vectors_of(vec, "recover_invalid"), i, o)
	{
		uint8_t *msg = bytes(o, "message", &sz);
		const char *zb = text(o, "signature_zb");
		struct user_id who;

		if (sig_recover(&who, zb, strlen(zb), msg, sz))
			fail_msg("accepted %s: %s", text(o, "id"), text(o, "why"));
		free(msg);
	}
}

static void a_signature_of_another_message_recovers_another_key(void **state)
{
	size_t i, sz;
	json_t *o;

	(void)state;
	json_array_foreach(vectors_of(vec, "recover_wrong_key"), i, o)
	{
		uint8_t *msg = bytes(o, "message", &sz), want[33];
		const char *zb = text(o, "signature_zb");
		struct user_id who;

		fixed(o, "recovered_public_key", want, 33);
		assert_true(sig_recover(&who, zb, strlen(zb), msg, sz));
		assert_memory_equal(who.b, want, 33);
		free(msg);
	}
}

static void keys_outside_the_group_are_refused(void **state)
{
	/* The group order itself. */
	static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
					  0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48,
					  0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41};
	static const uint8_t zero[32];
	struct user_id id;
	char zb[SIG_ZB_SZ + 1];

	(void)state;
	assert_false(sig_pubkey(&id, order));
	assert_false(sig_pubkey(&id, zero));
	assert_false(sig_sign(zb, zero, "x", 1));
	id.b[0] = 2;
	memset(id.b + 1, 0xff, 32);
	assert_false(sig_user_id_valid(&id));
}

static void *sign_many(void *arg)
{
	const uint8_t *key = arg;
	struct user_id id, who;
	char zb[SIG_ZB_SZ + 1];

	if (!sig_pubkey(&id, key))
		return NULL;
	for (unsigned i = 0; i < 50; i++)
		if (!sig_sign(zb, key, &i, sizeof(i)) || !sig_recover(&who, zb, SIG_ZB_SZ, &i, sizeof(i)) ||
		    memcmp(who.b, id.b, USER_ID_SZ) != 0)
			return NULL;
	return arg;
}

static void threads_may_sign_and_recover_at_once(void **state)
{
	uint8_t key[4][32];
	pthread_t th[4];
	void *ok;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		memset(key[i], (int)(i + 1), 32);
		assert_int_equal(pthread_create(&th[i], NULL, sign_many, key[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(th[i], &ok);
		assert_non_null(ok);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_may_sign_and_recover_at_once),
		cmocka_unit_test(zbase32_encodes_and_decodes_every_vector),
		cmocka_unit_test(zbase32_ignores_case),
		cmocka_unit_test(zbase32_refuses_every_malformed_vector),
		cmocka_unit_test(zbase32_never_writes_past_its_room),
		cmocka_unit_test(T33_signing_gives_the_same_text_as_every_vector),
		cmocka_unit_test(T02_recovery_finds_the_signer_of_every_vector),
		cmocka_unit_test(recovery_refuses_every_malformed_vector),
		cmocka_unit_test(a_signature_of_another_message_recovers_another_key),
		cmocka_unit_test(keys_outside_the_group_are_refused),
	};

	return cmocka_run_group_tests_name("teos/sig", tests, setup, teardown);
}
