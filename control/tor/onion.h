/* onion.h - the key of the onion service, its address, and the proofs of SAFECOOKIE.

   Threads  Any thread.
   Secrets  The key is written to its file and to Tor, never to a log (invariant I7).  Callers wipe what they hold.
   Sources  rend-spec-v3 (address, expanded key), control-spec section 3.24 (SAFECOOKIE). */
#ifndef VIGIL_TOR_ONION_H
#define VIGIL_TOR_ONION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ONION_KEY_SZ     64u /* expanded ed25519 secret key */
#define ONION_ADDRESS_SZ 57u /* 56 characters without ".onion", and a NUL */
#define TOR_COOKIE_SZ    32u
#define TOR_NONCE_SZ     32u
#define TOR_PROOF_SZ     32u

struct onion_key {
	uint8_t b[ONION_KEY_SZ];
};

/* Reads the key's file, or creates it (mode 0600, synced, with its directory) with a new random key.  The file holds the 64
   bytes and nothing else, as the reference tower's onion_v3_sk does.  0; or -errno with *why (static text): a file of
   another size, or one that others may read, is refused rather than replaced, for with the key goes the address. */
int onion_key_open(struct onion_key *k, const char *path, const char **why);

/* False: not a key (its scalar is not clamped). */
bool onion_address(char out[ONION_ADDRESS_SZ], const struct onion_key *k);

/* What Tor proves to us (by_server), and what we prove to Tor. */
void tor_proof(uint8_t out[TOR_PROOF_SZ], bool by_server, const uint8_t cookie[TOR_COOKIE_SZ],
	       const uint8_t client_nonce[TOR_NONCE_SZ], const uint8_t server_nonce[TOR_NONCE_SZ]);

/* Reads exactly 32 bytes from a regular file; false otherwise. */
bool tor_cookie_read(uint8_t out[TOR_COOKIE_SZ], const char *path);

#endif
