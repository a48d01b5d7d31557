/* blob.h - encrypted penalties (spec/teos.md sections 2, 3): ChaCha20-Poly1305 of RFC 8439, zero nonce, no associated
   data, key = SHA-256 of the dispute txid in one of its two byte orders.

   Threads  Pure functions, any thread.
   Secrets  What blob_open gives is a decrypted penalty: it may go to the network once its dispute is in a block, and
            never into a log (invariant I7). */
#ifndef VIGIL_TEOS_BLOB_H
#define VIGIL_TEOS_BLOB_H

#include "btc/hash.h"

#define BLOB_TAG_SZ 16u
#define SLOT_SZ     2048u /* bytes of blob that one slot pays for */
#define BLOB_KEY_SZ 32u

struct blob_key {
	uint8_t b[BLOB_KEY_SZ];
};

/* The key that a client which derives locators by `scheme` uses. */
struct blob_key blob_key_of_txid(const struct hash256 *dispute, enum locator_scheme scheme);

/* Decrypts sz bytes of blob into sz - BLOB_TAG_SZ bytes at out, which must not overlap.  False, and out tells nothing,
   if it is shorter than a tag or was not made with this key. */
bool blob_open(uint8_t *out, const uint8_t *blob, size_t sz, const struct blob_key *key);
/* Encrypts sz bytes into sz + BLOB_TAG_SZ bytes at out. */
void blob_seal(uint8_t *out, const uint8_t *plain, size_t sz, const struct blob_key *key);

/* Slots that a blob costs; an empty one costs nothing. */
static inline uint32_t blob_slots(uint32_t blob_sz)
{
	return (uint32_t)(((uint64_t)blob_sz + SLOT_SZ - 1) / SLOT_SZ);
}

#endif
