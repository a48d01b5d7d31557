/* ids.h - the fixed-size names of the TEOS protocol (spec/teos.md sections 1, 4, 5.4). */
#ifndef VIGIL_TEOS_IDS_H
#define VIGIL_TEOS_IDS_H

#include <stdint.h>

#define USER_ID_SZ 33u  /* compressed secp256k1 public key; a tower id is the same kind of thing */
#define SIG_SZ     65u  /* header, r, s */
#define SIG_ZB_SZ  104u /* zbase32 text of a 65-byte recoverable signature */
#define UUID_SZ    20u

struct user_id {
	uint8_t b[USER_ID_SZ];
};
struct uuid {
	uint8_t b[UUID_SZ];
};

/* Which client software a user runs: it decides the bytes under receipts and the shape of errors, never how a
   locator or key was derived (section 7.1). */
enum client_generation { CLIENT_CURRENT = 0, CLIENT_LEGACY = 1 };

#endif
