/* hash.h - the fixed-size byte strings of Bitcoin and of the tower, and their text form.

   Order   "Internal" is the order SHA-256 produces and the wire carries; every struct here holds
           that order.  "Display" is the 32 bytes reversed, as nodes and explorers print them.
   Threads Pure functions, any thread. */
#ifndef VIGIL_BTC_HASH_H
#define VIGIL_BTC_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_SZ               32u
#define HASH_HEX_SZ           65u /* 64 digits and the NUL */
#define LOCATOR_SZ            16u
#define HEADER_SZ             80u
#define BLOCK_SZ_MAX          4000000u /* largest block payload a node sends (spec/bitcoin.md section 2) */
#define BLOCK_STRIPPED_SZ_MAX 1000000u
#define BLOCK_WEIGHT_MAX      4000000u
#define BLOCK_TX_MAX          16665u /* stripped limit over the smallest valid transaction */

struct hash256 {
	uint8_t b[HASH_SZ];
};

/* A watched key: 16 opaque bytes.  For one txid a client may have taken either end of it:
   LOCATOR_INTERNAL is the first half in internal order (current TEOS clients, penalty txids),
   LOCATOR_DISPLAY the first half in display order (legacy TEOS clients); spec/teos.md section 2. */
struct locator {
	uint8_t b[LOCATOR_SZ];
};

enum locator_scheme { LOCATOR_INTERNAL = 0, LOCATOR_DISPLAY = 1 };

static inline bool hash256_eq(const struct hash256 *a, const struct hash256 *b)
{
	return memcmp(a->b, b->b, HASH_SZ) == 0;
}

static inline bool hash256_is_zero(const struct hash256 *a)
{
	static const struct hash256 zero;

	return memcmp(a->b, zero.b, HASH_SZ) == 0;
}

static inline struct locator locator_of_txid(const struct hash256 *txid, enum locator_scheme scheme)
{
	struct locator l;

	if (scheme == LOCATOR_INTERNAL) {
		memcpy(l.b, txid->b, LOCATOR_SZ);
	} else {
		for (unsigned i = 0; i < LOCATOR_SZ; i++)
			l.b[i] = txid->b[HASH_SZ - 1 - i];
	}
	return l;
}

/* hex_encode writes 2*sz lower-case digits and a NUL; out has room for 2*sz+1. */
void hex_encode(char *out, const uint8_t *in, size_t sz);
/* hex_decode accepts either case, exactly 2*sz digits in hex[0..hex_len).  False on anything else. */
bool hex_decode(uint8_t *out, size_t sz, const char *hex, size_t hex_len);
/* Display order, as a node prints it; out has room for HASH_HEX_SZ. */
void hash256_to_display(char *out, const struct hash256 *h);
/* Parses 64 hex digits in display order (NUL-terminated).  False if it is anything else. */
bool hash256_from_display(struct hash256 *h, const char *hex);

#endif
