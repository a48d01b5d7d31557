/* zbase32.h - the text form of signatures (spec/teos.md section 4): 5 bits a character, most significant bit first, no
   padding.

   Threads  Pure functions, any thread. */
#ifndef VIGIL_TEOS_ZBASE32_H
#define VIGIL_TEOS_ZBASE32_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Characters of sz bytes. */
static inline size_t zbase32_text_sz(size_t sz)
{
	return (sz * 8 + 4) / 5;
}

/* Writes zbase32_text_sz(sz) lower-case characters and a NUL. */
void zbase32_encode(char *out, const uint8_t *in, size_t sz);

/* Decodes len characters, of either case, into at most cap bytes; *sz gets how many.  False on a character outside the
   alphabet, a length that no byte string has (1, 3 or 6 modulo 8), spare bits that are not zero, or more
   than cap bytes. */
bool zbase32_decode(uint8_t *out, size_t cap, size_t *sz, const char *text, size_t len);

#endif
