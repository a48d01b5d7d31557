#include "teos/blob.h"

#include <assert.h>
#include <sodium.h>

#include "btc/sha256.h"

static_assert(BLOB_TAG_SZ == crypto_aead_chacha20poly1305_ietf_ABYTES, "RFC 8439 tag");
static_assert(BLOB_KEY_SZ == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "RFC 8439 key");

static const uint8_t zero_nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

struct blob_key blob_key_of_txid(const struct hash256 *dispute, enum locator_scheme scheme)
{
	struct hash256 h = *dispute, digest;
	struct blob_key key;

	if (scheme == LOCATOR_DISPLAY)
		for (unsigned i = 0; i < HASH_SZ; i++)
			h.b[i] = dispute->b[HASH_SZ - 1 - i];
	digest = sha256(h.b, HASH_SZ);
	memcpy(key.b, digest.b, BLOB_KEY_SZ);
	return key;
}

bool blob_open(uint8_t *out, const uint8_t *blob, size_t sz, const struct blob_key *key)
{
	if (sz < BLOB_TAG_SZ)
		return false;
	return crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, blob, sz, NULL, 0, zero_nonce,
							 key->b) == 0;
}

void blob_seal(uint8_t *out, const uint8_t *plain, size_t sz, const struct blob_key *key)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, sz, NULL, 0, NULL, zero_nonce, key->b);
}
