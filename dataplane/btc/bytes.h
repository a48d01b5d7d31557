/* bytes.h - fixed-width integers at any alignment, least or most significant byte first.

   Threads Pure functions, any thread. */
#ifndef VIGIL_BTC_BYTES_H
#define VIGIL_BTC_BYTES_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ || __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__,
	      "loads below know these two orders");

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTES_LE(bits, x) (x)
#define BYTES_BE(bits, x) __builtin_bswap##bits(x)
#else
#define BYTES_LE(bits, x) __builtin_bswap##bits(x)
#define BYTES_BE(bits, x) (x)
#endif

#define BYTES_ACCESS(bits, order, ORDER)                                     \
	static inline uint##bits##_t load_##order##bits(const uint8_t *p)    \
	{                                                                    \
		uint##bits##_t x;                                            \
                                                                             \
		memcpy(&x, p, sizeof(x));                                    \
		return ORDER(bits, x);                                       \
	}                                                                    \
	static inline void store_##order##bits(uint8_t *p, uint##bits##_t x) \
	{                                                                    \
		x = ORDER(bits, x);                                          \
		memcpy(p, &x, sizeof(x));                                    \
	}

BYTES_ACCESS(16, le, BYTES_LE) /* load_le16, store_le16, and so on */
BYTES_ACCESS(32, le, BYTES_LE)
BYTES_ACCESS(64, le, BYTES_LE)
BYTES_ACCESS(16, be, BYTES_BE)
BYTES_ACCESS(32, be, BYTES_BE)
BYTES_ACCESS(64, be, BYTES_BE)

#undef BYTES_ACCESS
#undef BYTES_LE
#undef BYTES_BE

#endif
