#include "teos/uuid.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct uuid uuid_of(const struct locator *l, const struct user_id *user)
{
	uint8_t preimage[LOCATOR_SZ + USER_ID_SZ];
	struct uuid out;
	unsigned sz = 0;

	memcpy(preimage, l->b, LOCATOR_SZ);
	memcpy(preimage + LOCATOR_SZ, user->b, USER_ID_SZ);
	/* The default provider has RIPEMD-160 since OpenSSL 3.0.7; a build without it cannot be a tower. */
	if (!EVP_Digest(preimage, sizeof(preimage), out.b, &sz, EVP_ripemd160(), NULL) || sz != UUID_SZ)
		abort();
	return out;
}
