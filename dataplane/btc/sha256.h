/* sha256.h - one-shot SHA-256 for the cold paths (headers, checksums, keys), by the best compression
   function of this CPU.  The hot paths are in txid/txid.h.

   Threads Pure functions, any thread; no set-up call is needed. */
#ifndef VIGIL_BTC_SHA256_H
#define VIGIL_BTC_SHA256_H

#include "btc/hash.h"

#define SHA256_BLOCK_SZ 64u

struct hash256 sha256(const void *p, size_t sz);
struct hash256 sha256d(const void *p, size_t sz);

/* Incremental, for message checksums that arrive in pieces. */
struct sha256_ctx {
	uint32_t h[8];
	uint64_t total_sz;
	uint8_t buf[SHA256_BLOCK_SZ];
};
void sha256_start(struct sha256_ctx *c);
void sha256_feed(struct sha256_ctx *c, const void *p, size_t sz);
/* c must be started anew before it is used again. */
struct hash256 sha256_finish(struct sha256_ctx *c);

#endif
