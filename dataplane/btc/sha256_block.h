/* sha256_block.h - the compression functions below sha256.h and the txid kernels.

   Each runs the message blocks p[0 .. 64*cnt) into the state h (FIPS 180-4 section 6.2.2).
   Threads Pure functions, any thread. */
#ifndef VIGIL_BTC_SHA256_BLOCK_H
#define VIGIL_BTC_SHA256_BLOCK_H

#include <stddef.h>
#include <stdint.h>

extern const uint32_t sha256_iv[8];
extern const uint32_t sha256_k[64];

void sha256_compress_portable(uint32_t h[8], const uint8_t *p, size_t cnt);

/* Only where the build has VIGIL_HAVE_SHANI and the CPU has CPU_SHANI | CPU_SSE41. */
void sha256_compress_shani(uint32_t h[8], const uint8_t *p, size_t cnt);

#endif
