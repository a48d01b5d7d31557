/* json.h - reads JSON in place, left to right, one value at a time.

   The TEOS API answers with the *first* problem in a body (spec/teos.md section 7.4), so `{"user_id":1}x` is a wrong
   type and not bad JSON.  A parser that builds a tree first (jansson, which writes the answers) cannot tell: it
   knows only that the text is bad.  Reading in place also decodes a large blob without copying its digits twice.
   The fuzz target holds this reader against jansson: both accept the same texts and see the same values.

   Grammar  RFC 8259, strictly: one value, no trailing commas, no comments, valid UTF-8, valid escapes, paired
            surrogates, at most JSON_DEPTH_MAX nested values.
   Errors   The first error sets `bad`, and every later read says so too; the caller may check once.
   Memory   Nothing is allocated.  Strings point into the text.
   Threads  Pure functions on the caller's data. */
#ifndef VIGIL_API_JSON_H
#define VIGIL_API_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64u

struct json_in {
	const char *p, *end;
	unsigned depth;
	bool bad;
};

enum json_kind {
	JSON_IN_BAD,
	JSON_IN_NULL,
	JSON_IN_BOOL,
	JSON_IN_NUMBER,
	JSON_IN_STRING,
	JSON_IN_ARRAY,
	JSON_IN_OBJECT
};

/* The characters between the quotes, still escaped where `escaped` says so. */
struct json_text {
	const char *p;
	size_t sz;
	bool escaped;
};

/* An integer literal has neither fraction nor exponent; value is set when it fits. */
struct json_number {
	bool integer;
	bool fits_u64;
	bool negative;
	uint64_t value; /* magnitude */
};

void json_in_init(struct json_in *in, const void *text, size_t sz);

/* What stands next, judged by its first character; nothing is consumed but white space. */
enum json_kind json_peek(struct json_in *in);

bool json_read_string(struct json_in *in, struct json_text *out);
bool json_read_number(struct json_in *in, struct json_number *out);
bool json_read_null(struct json_in *in);
/* Consumes any value with everything in it. */
bool json_skip(struct json_in *in);

/* Objects:  if (json_object_begin(in)) while (json_object_next(in, &key)) { read one value }
   json_object_next returns false at the closing brace, and on an error. */
bool json_object_begin(struct json_in *in);
bool json_object_next(struct json_in *in, struct json_text *key);

/* Nothing but white space is left. */
bool json_at_end(struct json_in *in);

/* Writes the text's bytes (UTF-8) to out, which has room for t->sz bytes, and returns how many. */
size_t json_unescape(const struct json_text *t, char *out);
/* The text is exactly this literal. */
bool json_text_is(const struct json_text *t, const char *literal);

#endif
