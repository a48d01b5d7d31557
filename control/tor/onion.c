#include "tor/onion.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- address --------------------------------------------------------------------------------------------------- */

static bool is_clamped(const uint8_t s[32])
{
	return (s[0] & 7) == 0 && (s[31] & 0xc0) == 0x40;
}

/* RFC 4648 in lower case; sz is a multiple of 5, so there is no padding. */
static void base32(char *out, const uint8_t *p, size_t sz)
{
	static const char digit[] = "abcdefghijklmnopqrstuvwxyz234567";

	for (size_t i = 0; i < sz; i += 5) {
		uint64_t v = 0;

		for (unsigned k = 0; k < 5; k++)
			v = v << 8 | p[i + k];
		for (unsigned k = 0; k < 8; k++)
			*out++ = digit[v >> (35 - 5 * k) & 31];
	}
	*out = '\0';
}

bool onion_address(char out[ONION_ADDRESS_SZ], const struct onion_key *k)
{
	static const char tag[] = ".onion checksum";
	uint8_t text[sizeof(tag) - 1 + 32 + 1], sum[32], raw[35];
	unsigned sum_sz = 0;

	if (!is_clamped(k->b) || crypto_scalarmult_ed25519_base_noclamp(raw, k->b) != 0)
		return false;
	raw[34] = 3; /* version */
	memcpy(text, tag, sizeof(tag) - 1);
	memcpy(text + sizeof(tag) - 1, raw, 32);
	text[sizeof(text) - 1] = raw[34];
	if (EVP_Digest(text, sizeof(text), sum, &sum_sz, EVP_sha3_256(), NULL) != 1)
		return false;
	memcpy(raw + 32, sum, 2);
	base32(out, raw, sizeof(raw));
	return true;
}

/* --- key file ---------------------------------------------------------------------------------------------------- */

static int key_read(struct onion_key *k, int fd, const char **why)
{
	uint8_t b[ONION_KEY_SZ + 1];
	struct stat st;
	ssize_t n;

	*why = "the onion key's file cannot be read";
	if (fstat(fd, &st) != 0)
		return -errno;
	*why = "the onion key's file is not a regular file";
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*why = "the onion key's file may be read by others: run chmod 600 on it";
	if ((st.st_mode & 077) != 0)
		return -EPERM;
	*why = "the onion key's file belongs to another user";
	if (st.st_uid != geteuid())
		return -EPERM;
	n = read(fd, b, sizeof(b));
	memcpy(k->b, b, ONION_KEY_SZ);
	sodium_memzero(b, sizeof(b));
	*why = "the onion key's file does not hold an expanded ed25519 key of 64 bytes; move it away for a new "
	       "address";
	return n == ONION_KEY_SZ && is_clamped(k->b) ? 0 : -EINVAL;
}

/* A new key: the hash of a random seed, as for any ed25519 key. */
static void key_make(struct onion_key *k)
{
	uint8_t seed[32];

	randombytes_buf(seed, sizeof(seed));
	crypto_hash_sha512(k->b, seed, sizeof(seed));
	k->b[0] &= 248;
	k->b[31] &= 63;
	k->b[31] |= 64;
	sodium_memzero(seed, sizeof(seed));
}

static int sync_dir_of(const char *path)
{
	char *copy = strdup(path);
	int fd = copy != NULL ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = fd >= 0 && fsync(fd) == 0 ? 0 : -EIO;

	if (fd >= 0)
		close(fd);
	free(copy);
	return rc;
}

/* Whole under a name of its own first: a crash leaves no half key behind. */
static int key_write(const struct onion_key *k, const char *path, const char **why)
{
	char temporary[1100];
	int fd, rc = 0;

	*why = "the onion key cannot be written";
	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new", path) >= sizeof(temporary))
		return -ENAMETOOLONG;
	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, k->b, ONION_KEY_SZ) != ONION_KEY_SZ || fsync(fd) != 0)
		rc = -EIO;
	close(fd);
	if (rc == 0 && rename(temporary, path) != 0)
		rc = -errno;
	if (rc < 0)
		unlink(temporary);
	return rc < 0 ? rc : sync_dir_of(path);
}

int onion_key_open(struct onion_key *k, const char *path, const char **why)
{
	int fd, rc;

	*why = "libsodium cannot be used";
	if (sodium_init() < 0)
		return -EIO;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
	if (fd >= 0) {
		rc = key_read(k, fd, why);
		close(fd);
		return rc;
	}
	*why = "the onion key's file cannot be opened";
	if (errno != ENOENT)
		return -errno;
	key_make(k);
	return key_write(k, path, why);
}

/* --- SAFECOOKIE --------------------------------------------------------------------------------------------------- */

void tor_proof(uint8_t out[TOR_PROOF_SZ], bool by_server, const uint8_t cookie[TOR_COOKIE_SZ],
	       const uint8_t client_nonce[TOR_NONCE_SZ], const uint8_t server_nonce[TOR_NONCE_SZ])
{
	const char *key = by_server ? "Tor safe cookie authentication server-to-controller hash"
				    : "Tor safe cookie authentication controller-to-server hash";
	crypto_auth_hmacsha256_state st;

	crypto_auth_hmacsha256_init(&st, (const uint8_t *)key, strlen(key));
	crypto_auth_hmacsha256_update(&st, cookie, TOR_COOKIE_SZ);
	crypto_auth_hmacsha256_update(&st, client_nonce, TOR_NONCE_SZ);
	crypto_auth_hmacsha256_update(&st, server_nonce, TOR_NONCE_SZ);
	crypto_auth_hmacsha256_final(&st, out);
	sodium_memzero(&st, sizeof(st));
}

bool tor_cookie_read(uint8_t out[TOR_COOKIE_SZ], const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint8_t b[TOR_COOKIE_SZ + 1];
	struct stat st;
	bool ok = false;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && read(fd, b, sizeof(b)) == TOR_COOKIE_SZ) {
		memcpy(out, b, TOR_COOKIE_SZ);
		ok = true;
	}
	close(fd);
	sodium_memzero(b, sizeof(b));
	return ok;
}
