/* OpenSSL 3 calls its low-level interface deprecated, but it is the fastest it has, and so the one to beat. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "txid/library.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sodium.h>

static EVP_MD_CTX *evp_ctx;
static EVP_MD *evp_md;

bool libraries_init(void)
{
	evp_ctx = EVP_MD_CTX_new();
	evp_md = EVP_MD_fetch(NULL, "SHA256", NULL);
	return evp_ctx != NULL && evp_md != NULL && sodium_init() >= 0;
}

/* Each library's own start, feed and end, between the parts of the preimage and the second hash. */
#define LIBRARY(name, ctx_decl, START, FEED, END)                                                             \
	static void name##_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt) \
	{                                                                                                     \
		ctx_decl;                                                                                     \
		for (size_t i = 0; i < cnt; i++) {                                                            \
			const uint8_t *t = p + tx[i].off;                                                     \
			uint32_t strip_sz = tx_view_stripped_sz(&tx[i]);                                      \
                                                                                                              \
			START;                                                                                \
			if (tx[i].segwit) {                                                                   \
				FEED(t, 4);                                                                   \
				FEED(t + 6, strip_sz - 8);                                                    \
				FEED(t + tx[i].sz - 4, 4);                                                    \
			} else {                                                                              \
				FEED(t, strip_sz);                                                            \
			}                                                                                     \
			END(txid[i].b);                                                                       \
			START;                                                                                \
			FEED(txid[i].b, HASH_SZ);                                                             \
			END(txid[i].b);                                                                       \
		}                                                                                             \
	}                                                                                                     \
	static void name##_pairs(struct hash256 *out, const struct hash256 *in, size_t pair_cnt)              \
	{                                                                                                     \
		ctx_decl;                                                                                     \
		for (size_t i = 0; i < pair_cnt; i++) {                                                       \
			START;                                                                                \
			FEED(in[2 * i].b, 2 * HASH_SZ);                                                       \
			END(out[i].b);                                                                        \
			START;                                                                                \
			FEED(out[i].b, HASH_SZ);                                                              \
			END(out[i].b);                                                                        \
		}                                                                                             \
	}

#define LOW_FEED(p, sz)    SHA256_Update(&c, p, sz)
#define LOW_END(out)       SHA256_Final(out, &c)
#define EVP_FEED(p, sz)    EVP_DigestUpdate(evp_ctx, p, sz)
#define EVP_END(out)       EVP_DigestFinal_ex(evp_ctx, out, NULL)
#define SODIUM_FEED(p, sz) crypto_hash_sha256_update(&c, p, sz)
#define SODIUM_END(out)    crypto_hash_sha256_final(&c, out)

LIBRARY(openssl_low, SHA256_CTX c, SHA256_Init(&c), LOW_FEED, LOW_END)
LIBRARY(openssl_evp, , EVP_DigestInit_ex(evp_ctx, evp_md, NULL), EVP_FEED, EVP_END)
LIBRARY(sodium, crypto_hash_sha256_state c, crypto_hash_sha256_init(&c), SODIUM_FEED, SODIUM_END)

const struct library libraries[LIBRARY_CNT] = {
	{"openssl-low", openssl_low_hash, openssl_low_pairs},
	{"openssl-evp", openssl_evp_hash, openssl_evp_pairs},
	{"libsodium", sodium_hash, sodium_pairs},
};
