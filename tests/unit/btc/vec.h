/* vec.h - test vectors and real blocks for the unit tests.  A vector that is missing fails the test that asks
   for it; test data beside the checkout is skipped, loudly. */
#ifndef VIGIL_TESTS_UNIT_BTC_VEC_H
#define VIGIL_TESTS_UNIT_BTC_VEC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "btc/hash.h"

struct bytes {
	uint8_t *p; /* malloc'ed */
	size_t sz;
};

/* tests/vectors/bitcoin/NAME */
json_t *vec_load(const char *name);

const char *vec_str(const json_t *o, const char *key);
int64_t vec_int(const json_t *o, const char *key);
bool vec_bool(const json_t *o, const char *key);
/* A string of hex digits, or [[hex, times], ...] where long runs of one byte were folded. */
struct bytes vec_hex(const json_t *o, const char *key);
/* 64 hex digits in display order. */
struct hash256 vec_display(const json_t *o, const char *key);

/* The file under ../shared/blocks, or p NULL after "SKIPPED: ..." was printed: then call skip(). */
struct bytes vec_shared_block(const char *name);
/* expected.json of the same folder, or NULL. */
json_t *vec_shared_expected(void);

/* A copy that ends where an unreadable page begins (and starts at any alignment that follows from it), so that
   a read past the end is a crash and not luck.  One at a time: the next call frees the last. */
uint8_t *vec_guarded(const uint8_t *p, size_t sz);

/* The same numbers in every run. */
uint32_t vec_random(uint32_t *state);

#endif
