#include "teos/sig.h"

#include <pthread.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <sodium.h>
#include <stdlib.h>

#include "btc/sha256.h"
#include "teos/zbase32.h"

#define SIG_HEADER_BASE 31 /* plus the recovery id; compressed keys only */

static const char prefix[] = "Lightning Signed Message:";

static secp256k1_context *context;
static pthread_once_t context_once = PTHREAD_ONCE_INIT;

static void context_make(void)
{
	uint8_t seed[32];

	if (sodium_init() < 0)
		abort();
	context = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
	if (context == NULL)
		abort();
	randombytes_buf(seed, sizeof(seed));
	if (!secp256k1_context_randomize(context, seed))
		abort();
	sodium_memzero(seed, sizeof(seed));
}

static const secp256k1_context *ctx(void)
{
	pthread_once(&context_once, context_make);
	return context;
}

struct hash256 sig_digest(const void *msg, size_t sz)
{
	struct sha256_ctx c;
	struct hash256 once;

	sha256_start(&c);
	sha256_feed(&c, prefix, sizeof(prefix) - 1);
	sha256_feed(&c, msg, sz);
	once = sha256_finish(&c);
	return sha256(once.b, HASH_SZ);
}

static void serialize(struct user_id *out, const secp256k1_pubkey *pub)
{
	size_t sz = USER_ID_SZ;

	secp256k1_ec_pubkey_serialize(ctx(), out->b, &sz, pub, SECP256K1_EC_COMPRESSED);
}

bool sig_pubkey(struct user_id *out, const uint8_t key[32])
{
	secp256k1_pubkey pub;

	if (!secp256k1_ec_pubkey_create(ctx(), &pub, key))
		return false;
	serialize(out, &pub);
	return true;
}

bool sig_user_id_valid(const struct user_id *id)
{
	secp256k1_pubkey pub;

	return secp256k1_ec_pubkey_parse(ctx(), &pub, id->b, USER_ID_SZ);
}

bool sig_sign(char zb[SIG_ZB_SZ + 1], const uint8_t key[32], const void *msg, size_t sz)
{
	struct hash256 digest = sig_digest(msg, sz);
	secp256k1_ecdsa_recoverable_signature sig;
	uint8_t out[SIG_SZ];
	int recid;

	if (!secp256k1_ecdsa_sign_recoverable(ctx(), &sig, digest.b, key, NULL, NULL))
		return false;
	secp256k1_ecdsa_recoverable_signature_serialize_compact(ctx(), out + 1, &recid, &sig);
	out[0] = (uint8_t)(SIG_HEADER_BASE + recid);
	zbase32_encode(zb, out, SIG_SZ);
	return true;
}

bool sig_recover(struct user_id *out, const char *zb, size_t zb_len, const void *msg, size_t sz)
{
	secp256k1_ecdsa_recoverable_signature sig;
	secp256k1_pubkey pub;
	struct hash256 digest;
	uint8_t raw[SIG_SZ];
	size_t raw_sz;

	if (zb_len != SIG_ZB_SZ || !zbase32_decode(raw, sizeof(raw), &raw_sz, zb, zb_len) || raw_sz != SIG_SZ)
		return false;
	if (raw[0] < SIG_HEADER_BASE || raw[0] > SIG_HEADER_BASE + 3)
		return false;
	if (!secp256k1_ecdsa_recoverable_signature_parse_compact(ctx(), &sig, raw + 1,
								 raw[0] - SIG_HEADER_BASE))
		return false;
	digest = sig_digest(msg, sz);
	if (!secp256k1_ecdsa_recover(ctx(), &pub, &sig, digest.b))
		return false;
	serialize(out, &pub);
	return true;
}
