#include "vectors.h"

#include "teos/blob.h"

static json_t *vec;

static int setup(void **state)
{
	(void)state;
	vec = vectors_load("blobs.json");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	json_decref(vec);
	return 0;
}

static void T33_both_schemes_derive_locator_and_key_from_a_txid(void **state)
{
	uint8_t want[32];
	json_t *o;
	size_t i;

	(void)state;
	json_array_foreach(vectors_of(vec, "txid_derivation"), i, o)
	{
		struct hash256 txid;
		struct blob_key key;
		struct locator l;

		assert_true(hash256_from_display(&txid, text(o, "txid_display")));
		l = locator_of_txid(&txid, LOCATOR_DISPLAY);
		fixed(o, "locator_legacy", want, LOCATOR_SZ);
		assert_memory_equal(l.b, want, LOCATOR_SZ);
		l = locator_of_txid(&txid, LOCATOR_INTERNAL);
		fixed(o, "locator_current", want, LOCATOR_SZ);
		assert_memory_equal(l.b, want, LOCATOR_SZ);
		key = blob_key_of_txid(&txid, LOCATOR_DISPLAY);
		fixed(o, "key_legacy", want, 32);
		assert_memory_equal(key.b, want, 32);
		key = blob_key_of_txid(&txid, LOCATOR_INTERNAL);
		fixed(o, "key_current", want, 32);
		assert_memory_equal(key.b, want, 32);
	}
}

static void T14_valid_blobs_open_with_their_own_key_only(void **state)
{
	json_t *o;
	size_t i;

	(void)state;
	json_array_foreach(vectors_of(vec, "blob_valid"), i, o)
	{
		bool legacy = strcmp(text(o, "generation"), "legacy") == 0;
		size_t plain_sz, sz;
		uint8_t *plain = bytes(o, "plaintext", &plain_sz);
		uint8_t *blob = bytes(o, "encrypted_blob", &sz);
		uint8_t *out = malloc(sz);
		struct blob_key key, other;
		struct hash256 txid;
		uint8_t want[32];

		assert_non_null(out);
		assert_true(hash256_from_display(&txid, text(o, "dispute_txid_display")));
		key = blob_key_of_txid(&txid, legacy ? LOCATOR_DISPLAY : LOCATOR_INTERNAL);
		other = blob_key_of_txid(&txid, legacy ? LOCATOR_INTERNAL : LOCATOR_DISPLAY);
		fixed(o, "key", want, 32);
		assert_memory_equal(key.b, want, 32);
		assert_int_equal(plain_sz + BLOB_TAG_SZ, sz);
		assert_true(blob_open(out, blob, sz, &key));
		assert_memory_equal(out, plain, plain_sz);
		assert_false(blob_open(out, blob, sz, &other));
		blob_seal(out, plain, plain_sz, &key);
		assert_memory_equal(out, blob, sz);
		assert_int_equal(blob_slots((uint32_t)sz), number(o, "slots"));
		free(plain);
		free(blob);
		free(out);
	}
}

static void tampered_and_short_blobs_do_not_open(void **state)
{
	json_t *o;
	size_t i;

	(void)state;
	json_array_foreach(vectors_of(vec, "blob_invalid"), i, o)
	{
		json_t *opens = json_object_get(o, "aead_ok");
		uint8_t want[32];
		struct blob_key key;
		size_t sz;
		uint8_t *blob = bytes(o, "encrypted_blob", &sz);
		uint8_t *out = malloc(sz + 1);

		assert_non_null(out);
		fixed(o, "key", want, 32);
		memcpy(key.b, want, 32);
		assert_int_equal(blob_open(out, blob, sz, &key), json_is_true(opens));
		free(blob);
		free(out);
	}
}

static void T03_slots_round_up(void **state)
{
	json_t *o;
	size_t i;

	(void)state;
	json_array_foreach(vectors_of(vec, "slots"), i, o)
		assert_int_equal(blob_slots(number(o, "blob_len")), number(o, "slots"));
	assert_int_equal(blob_slots(UINT32_MAX), 2097152);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(T33_both_schemes_derive_locator_and_key_from_a_txid),
		cmocka_unit_test(T14_valid_blobs_open_with_their_own_key_only),
		cmocka_unit_test(tampered_and_short_blobs_do_not_open),
		cmocka_unit_test(T03_slots_round_up),
	};

	return cmocka_run_group_tests_name("teos/blob", tests, setup, teardown);
}
