/* vectors.h - reading the JSON vectors under tests/vectors/teos. */
#ifndef VIGIL_TESTS_TEOS_VECTORS_H
#define VIGIL_TESTS_TEOS_VECTORS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "btc/hash.h"

static inline json_t *vectors_load(const char *file)
{
	const char *dir = getenv("VIGIL_VECTORS");
	char path[4096];
	json_error_t err;
	json_t *j;

	assert_non_null(dir);
	snprintf(path, sizeof(path), "%s/teos/%s", dir, file);
	j = json_load_file(path, 0, &err);
	if (j == NULL)
		fail_msg("%s: %s", path, err.text);
	return j;
}

static inline json_t *vectors_of(json_t *root, const char *section)
{
	json_t *a = json_object_get(root, section);

	assert_true(json_is_array(a) && json_array_size(a) > 0);
	return a;
}

static inline const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (s == NULL)
		fail_msg("vector without %s", key);
	return s;
}

static inline uint32_t number(json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	assert_true(json_is_integer(v));
	return (uint32_t)json_integer_value(v);
}

/* Bytes of a hex field, to be freed. */
static inline uint8_t *bytes(json_t *o, const char *key, size_t *sz)
{
	const char *hex = text(o, key);
	size_t n = strlen(hex) / 2;
	uint8_t *p = malloc(n + 1);

	assert_non_null(p);
	assert_true(hex_decode(p, n, hex, strlen(hex)));
	*sz = n;
	return p;
}

static inline void fixed(json_t *o, const char *key, uint8_t *out, size_t sz)
{
	const char *hex = text(o, key);

	assert_true(hex_decode(out, sz, hex, strlen(hex)));
}

#endif
