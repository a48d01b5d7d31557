/* sig.h - "Lightning signmessage" signatures (spec/teos.md section 4): recoverable ECDSA over a double SHA-256 with a
   prefix, as zbase32 text.  Verification is always recovery: whose signature is it?

   Threads  Any thread.  The library's context is made and blinded at the first call and only read afterwards.
   Secrets  A secret key is 32 bytes that the caller owns and wipes; nothing here keeps a copy. */
#ifndef VIGIL_TEOS_SIG_H
#define VIGIL_TEOS_SIG_H

#include <stdbool.h>
#include <stddef.h>

#include "btc/hash.h"
#include "teos/ids.h"

struct hash256 sig_digest(const void *msg, size_t sz);

/* The public key.  False if the secret key is not usable: zero, or not below the group order. */
bool sig_pubkey(struct user_id *out, const uint8_t key[32]);
/* The 33 bytes decode to a point of the curve. */
bool sig_user_id_valid(const struct user_id *id);

/* Signs with the nonce of RFC 6979, so that the same message gives the same text.  zb gets SIG_ZB_SZ characters and a
   NUL.  False if the key is not usable. */
bool sig_sign(char zb[SIG_ZB_SZ + 1], const uint8_t key[32], const void *msg, size_t sz);

/* Recovers whose key signed msg.  False if the text is malformed in any of the ways of section 4, or no point is
   recovered.  A good signature of another message recovers some other key: the caller notices by not
   knowing it. */
bool sig_recover(struct user_id *out, const char *zb, size_t zb_len, const void *msg, size_t sz);

#endif
