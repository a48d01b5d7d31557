#include "vec.h"

#include <stdlib.h>

#include "btc/cpu.h"
#include "btc/sha256.h"
#include "btc/sha256_block.h"

static void assert_hex(const struct hash256 *h, const char *hex)
{
	char got[HASH_HEX_SZ];

	hex_encode(got, h->b, HASH_SZ);
	assert_string_equal(got, hex);
}

static void digests_match_the_standard(void **state)
{
	const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	uint8_t *million = malloc(1000000);
	struct hash256 h = sha256("", 0);

	(void)state;
	assert_non_null(million);
	assert_hex(&h, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	h = sha256(NULL, 0);
	assert_hex(&h, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	h = sha256("abc", 3);
	assert_hex(&h, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	h = sha256(two_blocks, strlen(two_blocks));
	assert_hex(&h, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	memset(million, 'a', 1000000);
	h = sha256(million, 1000000);
	assert_hex(&h, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	/* The checksum of an empty message is its first four bytes (spec/bitcoin.md section 2). */
	h = sha256d("", 0);
	assert_memory_equal(h.b, "\x5d\xf6\xe0\xe2", 4);
	free(million);
}

static void pieces_give_the_digest_of_the_whole(void **state)
{
	uint8_t msg[400];
	uint32_t x = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(msg); i++)
		msg[i] = (uint8_t)vec_random(&x);
	for (size_t sz = 0; sz <= sizeof(msg); sz++) {
		struct hash256 whole = sha256(msg, sz), pieces;
		struct sha256_ctx c;
		size_t done = 0;

		sha256_start(&c);
		while (done < sz) {
			size_t n = vec_random(&x) % 130;

			n = n < sz - done ? n : sz - done;
			sha256_feed(&c, msg + done, n);
			done += n;
		}
		pieces = sha256_finish(&c);
		assert_true(hash256_eq(&whole, &pieces));
	}
}

static void the_sha_extensions_agree_with_portable_code(void **state)
{
#ifdef VIGIL_HAVE_SHANI
	const unsigned need = CPU_SHANI | CPU_SSE41;
	uint8_t msg[64 * 9 + 64];
	uint32_t x = 5;

	(void)state;
	if ((cpu_features() & need) != need) {
		print_message("SKIPPED: this CPU has no SHA extensions\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(msg); i++)
		msg[i] = (uint8_t)vec_random(&x);
	for (size_t cnt = 0; cnt <= 9; cnt++) {
		for (size_t off = 0; off < 64; off++) {
			uint32_t a[8], b[8];

			for (unsigned i = 0; i < 8; i++)
				a[i] = b[i] = vec_random(&x) << 8 ^ vec_random(&x);
			sha256_compress_portable(a, msg + off, cnt);
			sha256_compress_shani(b, msg + off, cnt);
			assert_memory_equal(a, b, sizeof(a));
		}
	}
#else
	(void)state;
	print_message("SKIPPED: built without the SHA extensions\n");
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_match_the_standard),
		cmocka_unit_test(pieces_give_the_digest_of_the_whole),
		cmocka_unit_test(the_sha_extensions_agree_with_portable_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
