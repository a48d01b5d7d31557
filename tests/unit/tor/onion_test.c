/* The onion key, its file, its address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tor/onion.h"

static char dir[64], path[96];

static int setup(void **state)
{
	(void)state;
	assert_true(sodium_init() >= 0);
	snprintf(dir, sizeof(dir), "/tmp/vigil-onion-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/onion_v3_sk", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	assert_int_equal(rmdir(dir), 0); /* nothing else was left */
	return 0;
}

static void write_file(const void *p, size_t sz, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, sz), sz);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

/* From the ed25519 key of RFC 8032's test 1, by the formula of rend-spec-v3 in Python:
     base64.b32encode(pk + hashlib.sha3_256(b".onion checksum" + pk + b"\3").digest()[:2] + b"\3") */
static void T43_the_address_is_that_of_the_specification(void **state)
{
	static const char seed_hex[] = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
	struct onion_key k;
	uint8_t seed[32];
	char address[ONION_ADDRESS_SZ];

	(void)state;
	sodium_hex2bin(seed, sizeof(seed), seed_hex, 64, NULL, NULL, NULL);
	crypto_hash_sha512(k.b, seed, sizeof(seed));
	k.b[0] &= 248;
	k.b[31] = (k.b[31] & 63) | 64;
	assert_true(onion_address(address, &k));
	assert_string_equal(address, "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid");
	k.b[31] |= 0x80;
	assert_false(onion_address(address, &k));
}

static void T43_the_key_is_made_once_for_its_owner_only_and_stays(void **state)
{
	struct onion_key a, b, c;
	struct stat st;
	const char *why;

	(void)state;
	assert_int_equal(onion_key_open(&a, path, &why), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, ONION_KEY_SZ);
	assert_int_equal(onion_key_open(&b, path, &why), 0);
	assert_memory_equal(a.b, b.b, ONION_KEY_SZ);
	unlink(path);
	assert_int_equal(onion_key_open(&c, path, &why), 0);
	assert_memory_not_equal(a.b, c.b, ONION_KEY_SZ);
}

static void T43_a_key_that_is_not_right_is_refused_and_left_alone(void **state)
{
	uint8_t bytes[65] = {8};
	struct onion_key k;
	const char *why = NULL;
	struct stat st;

	(void)state;
	bytes[31] = 0x40;
	write_file(bytes, 64, 0600);
	assert_int_equal(onion_key_open(&k, path, &why), 0);
	write_file(bytes, 64, 0640);
	assert_int_equal(onion_key_open(&k, path, &why), -EPERM);
	assert_non_null(strstr(why, "chmod"));
	write_file(bytes, 63, 0600);
	assert_int_equal(onion_key_open(&k, path, &why), -EINVAL);
	write_file(bytes, 65, 0600);
	assert_int_equal(onion_key_open(&k, path, &why), -EINVAL);
	bytes[0] = 1; /* not clamped: no such key */
	write_file(bytes, 64, 0600);
	assert_int_equal(onion_key_open(&k, path, &why), -EINVAL);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 64);
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_true(onion_key_open(&k, path, &why) < 0);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(onion_key_open(&k, path, &why), -EINVAL);
}

static void a_cookie_is_32_bytes_of_a_file(void **state)
{
	uint8_t bytes[33] = {1, 2, 3}, got[TOR_COOKIE_SZ];

	(void)state;
	assert_false(tor_cookie_read(got, path));
	write_file(bytes, 32, 0600);
	assert_true(tor_cookie_read(got, path));
	assert_memory_equal(got, bytes, 32);
	write_file(bytes, 31, 0600);
	assert_false(tor_cookie_read(got, path));
	write_file(bytes, 33, 0600);
	assert_false(tor_cookie_read(got, path));
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(tor_cookie_read(got, path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(T43_the_address_is_that_of_the_specification, setup, teardown),
		cmocka_unit_test_setup_teardown(T43_the_key_is_made_once_for_its_owner_only_and_stays, setup,
						teardown),
		cmocka_unit_test_setup_teardown(T43_a_key_that_is_not_right_is_refused_and_left_alone, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_cookie_is_32_bytes_of_a_file, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
