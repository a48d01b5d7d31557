#include "vectors.h"

#include "teos/blob.h"
#include "teos/receipt.h"
#include "teos/sig.h"
#include "teos/uuid.h"

static json_t *vec;

static int setup(void **state)
{
	(void)state;
	vec = vectors_load("receipts.json");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	json_decref(vec);
	return 0;
}

static enum client_generation generation(json_t *o)
{
	return strcmp(text(o, "receipt_generation"), "legacy") == 0 ? CLIENT_LEGACY : CLIENT_CURRENT;
}

static void check_signed(json_t *o, const uint8_t *msg, size_t sz, const char *key_field, const char *sig_field)
{
	char zb[SIG_ZB_SZ + 1];
	uint8_t key[32];

	fixed(o, key_field, key, 32);
	assert_true(sig_sign(zb, key, msg, sz));
	assert_string_equal(zb, text(o, sig_field));
}

static void check_bytes(json_t *o, const uint8_t *got, size_t got_sz)
{
	size_t sz;
	uint8_t *want = bytes(o, "serialized", &sz);

	assert_int_equal(got_sz, sz);
	assert_memory_equal(got, want, sz);
	free(want);
}

static void T32_uuids_are_ripemd160_of_locator_and_user(void **state)
{
	json_t *o;
	size_t i;

	(void)state;
	json_array_foreach(vectors_of(vec, "uuid"), i, o)
	{
		uint8_t want[UUID_SZ];
		struct locator l;
		struct user_id u;
		struct uuid id;

		fixed(o, "locator", l.b, LOCATOR_SZ);
		fixed(o, "user_id", u.b, USER_ID_SZ);
		fixed(o, "uuid", want, UUID_SZ);
		id = uuid_of(&l, &u);
		assert_memory_equal(id.b, want, UUID_SZ);
	}
}

static void appointments_serialize_and_are_signed_as_clients_do(void **state)
{
	json_t *o;
	size_t i;

	(void)state;
	json_array_foreach(vectors_of(vec, "appointments"), i, o)
	{
		size_t blob_sz, sz;
		uint8_t *blob = bytes(o, "encrypted_blob", &blob_sz);
		uint8_t *msg = malloc(blob_sz + 64), want[33];
		const char *zb = text(o, "user_signature_zb");
		struct user_id who;
		struct locator l;

		assert_non_null(msg);
		fixed(o, "locator", l.b, LOCATOR_SZ);
		sz = receipt_add_message(msg, &l, blob, (uint32_t)blob_sz, number(o, "to_self_delay"));
		check_bytes(o, msg, sz);
		check_signed(o, msg, sz, "user_secret_key", "user_signature_zb");
		assert_true(sig_recover(&who, zb, strlen(zb), msg, sz));
		fixed(o, "user_id", want, 33);
		assert_memory_equal(who.b, want, 33);
		assert_int_equal(blob_slots((uint32_t)blob_sz), number(o, "slots"));
		free(blob);
		free(msg);
	}
}

static void T31_appointment_receipts_match_both_generations(void **state)
{
	json_t *o;
	size_t i;

	(void)state;
	json_array_foreach(vectors_of(vec, "appointment_receipts"), i, o)
	{
		const char *zb = text(o, "user_signature_zb");
		uint8_t out[RECEIPT_APPOINTMENT_MAX];
		size_t sz = receipt_appointment(out, generation(o), zb, strlen(zb), number(o, "start_block"));

		check_bytes(o, out, sz);
		check_signed(o, out, sz, "tower_secret_key", "tower_signature_zb");
	}
}

static void a_legacy_receipt_needs_a_signature(void **state)
{
	uint8_t out[RECEIPT_APPOINTMENT_MAX];
	char zb[SIG_ZB_SZ + 1];

	(void)state;
	memset(zb, 'y', sizeof(zb));
	assert_int_equal(receipt_appointment(out, CLIENT_LEGACY, zb, SIG_ZB_SZ, 1), 69);
	assert_int_equal(receipt_appointment(out, CLIENT_LEGACY, zb, SIG_ZB_SZ - 8, 1), 0);
	assert_int_equal(receipt_appointment(out, CLIENT_CURRENT, zb, SIG_ZB_SZ + 1, 1), 0);
	zb[5] = '0';
	assert_int_equal(receipt_appointment(out, CLIENT_LEGACY, zb, SIG_ZB_SZ, 1), 0);
}

static void T31_registration_receipts_match_both_generations(void **state)
{
	json_t *o;
	size_t i;

	(void)state;
	json_array_foreach(vectors_of(vec, "registration_receipts"), i, o)
	{
		uint8_t out[RECEIPT_REGISTRATION_MAX];
		uint32_t start = 0;
		struct user_id u;
		size_t sz;

		fixed(o, "user_id", u.b, USER_ID_SZ);
		if (json_is_integer(json_object_get(o, "subscription_start")))
			start = number(o, "subscription_start");
		sz = receipt_registration(out, generation(o), &u, number(o, "available_slots"), start,
					  number(o, "subscription_expiry"));
		check_bytes(o, out, sz);
		check_signed(o, out, sz, "tower_secret_key", "tower_signature_zb");
	}
}

static void get_messages_keep_the_case_that_was_sent(void **state)
{
	static const char upper[] = "C680BEC15F1A849D7132BB8D896CD065";
	char out[RECEIPT_GET_SZ];
	struct locator l;

	(void)state;
	assert_true(hex_decode(l.b, LOCATOR_SZ, upper, 32));
	receipt_get_message(out, &l, NULL);
	assert_memory_equal(out, "get appointment c680bec15f1a849d7132bb8d896cd065", 48);
	receipt_get_message(out, &l, upper);
	assert_memory_equal(out, "get appointment C680BEC15F1A849D7132BB8D896CD065", 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(T32_uuids_are_ripemd160_of_locator_and_user),
		cmocka_unit_test(appointments_serialize_and_are_signed_as_clients_do),
		cmocka_unit_test(T31_appointment_receipts_match_both_generations),
		cmocka_unit_test(a_legacy_receipt_needs_a_signature),
		cmocka_unit_test(T31_registration_receipts_match_both_generations),
		cmocka_unit_test(get_messages_keep_the_case_that_was_sent),
	};

	return cmocka_run_group_tests_name("teos/receipt", tests, setup, teardown);
}
