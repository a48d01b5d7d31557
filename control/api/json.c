#include "api/json.h"

#include <string.h>

void json_in_init(struct json_in *in, const void *text, size_t sz)
{
	*in = (struct json_in){.p = text, .end = (const char *)text + sz};
}

static bool fail(struct json_in *in)
{
	in->bad = true;
	in->p = in->end;
	return false;
}

static void skip_space(struct json_in *in)
{
	while (in->p < in->end && (*in->p == ' ' || *in->p == '\t' || *in->p == '\n' || *in->p == '\r'))
		in->p++;
}

static bool take(struct json_in *in, char c)
{
	skip_space(in);
	if (in->p == in->end || *in->p != c)
		return false;
	in->p++;
	return true;
}

enum json_kind json_peek(struct json_in *in)
{
	skip_space(in);
	if (in->bad || in->p == in->end)
		return JSON_IN_BAD;
	switch (*in->p) {
	case 'n':
		return JSON_IN_NULL;
	case 't':
	case 'f':
		return JSON_IN_BOOL;
	case '"':
		return JSON_IN_STRING;
	case '[':
		return JSON_IN_ARRAY;
	case '{':
		return JSON_IN_OBJECT;
	default:
		return *in->p == '-' || (*in->p >= '0' && *in->p <= '9') ? JSON_IN_NUMBER : JSON_IN_BAD;
	}
}

/* --- strings ------------------------------------------------------------------------------------------------ */

/* Bytes of one well-formed UTF-8 sequence that is not ASCII (RFC 3629: shortest form, no surrogates, at most
   U+10FFFF), or 0. */
static unsigned utf8_len(const uint8_t *p, size_t sz)
{
	unsigned len = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
		       : (p[0] & 0xf0) == 0xe0        ? 3
		       : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
						      : 0;

	if (len == 0 || len > sz)
		return 0;
	for (unsigned i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The four digits after \u, or -1. */
static int32_t unit16(const char *p, const char *end)
{
	int32_t v = 0;

	if (end - p < 4)
		return -1;
	for (unsigned i = 0; i < 4; i++) {
		int d = hex_value(p[i]);

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* p stands behind a backslash.  Returns the length of the escape without the backslash and its code point in *cp, or 0. */
static unsigned escape_len(const char *p, const char *end, uint32_t *cp)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

	if (p == end)
		return 0;
	if (*p != 'u') {
		const char *at = *p ? strchr(from, *p) : NULL;

		if (at)
			*cp = (uint8_t)to[at - from];
		return at ? 1 : 0;
	}
	int32_t hi = unit16(p + 1, end);

	if (hi < 0 || (hi >= 0xdc00 && hi <= 0xdfff))
		return 0;
	*cp = (uint32_t)hi;
	if (hi < 0xd800 || hi > 0xdbff)
		return 5;
	if (end - p < 11 || p[5] != '\\' || p[6] != 'u')
		return 0;
	int32_t lo = unit16(p + 7, end);

	if (lo < 0xdc00 || lo > 0xdfff)
		return 0;
	*cp = 0x10000u + (((uint32_t)hi - 0xd800u) << 10) + ((uint32_t)lo - 0xdc00u);
	return 11;
}

bool json_read_string(struct json_in *in, struct json_text *out)
{
	if (in->bad || !take(in, '"'))
		return fail(in);
	out->p = in->p;
	out->escaped = false;
	while (in->p < in->end) {
		uint8_t c = (uint8_t)*in->p;
		unsigned len = 1;
		uint32_t cp;

		if (c == '"') {
			out->sz = (size_t)(in->p - out->p);
			in->p++;
			return true;
		}
		if (c < 0x20)
			return fail(in);
		if (c == '\\') {
			len = escape_len(in->p + 1, in->end, &cp);
			if (len == 0)
				return fail(in);
			len++;
			out->escaped = true;
		} else if (c >= 0x80) {
			len = utf8_len((const uint8_t *)in->p, (size_t)(in->end - in->p));
			if (len == 0)
				return fail(in);
		}
		in->p += len;
	}
	return fail(in);
}

static size_t utf8_put(char *out, uint32_t cp)
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xc0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (char)(0xe0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}

size_t json_unescape(const struct json_text *t, char *out)
{
	const char *p = t->p, *end = t->p + t->sz;
	size_t sz = 0;

	if (!t->escaped) {
		memcpy(out, t->p, t->sz);
		return t->sz;
	}
	/* Every escape is longer than the bytes it stands for. */
	while (p < end) {
		uint32_t cp = 0;

		if (*p != '\\') {
			out[sz++] = *p++;
			continue;
		}
		p += 1 + escape_len(p + 1, end, &cp);
		sz += utf8_put(out + sz, cp);
	}
	return sz;
}

bool json_text_is(const struct json_text *t, const char *literal)
{
	size_t want = strlen(literal);
	char buf[6 * 32];

	if (!t->escaped)
		return t->sz == want && memcmp(t->p, literal, want) == 0;
	/* An escape takes at most six bytes for one; longer texts cannot be equal. */
	if (t->sz > sizeof buf || t->sz > 6 * want)
		return false;
	return json_unescape(t, buf) == want && memcmp(buf, literal, want) == 0;
}

/* --- numbers and words -------------------------------------------------------------------------------------- */

static bool digit(const struct json_in *in)
{
	return in->p < in->end && *in->p >= '0' && *in->p <= '9';
}

bool json_read_number(struct json_in *in, struct json_number *out)
{
	skip_space(in);
	*out = (struct json_number){.integer = true, .fits_u64 = true};
	if (in->p < in->end && *in->p == '-') {
		out->negative = true;
		in->p++;
	}
	if (!digit(in))
		return fail(in);
	bool zero = *in->p == '0';

	for (unsigned n = 0; digit(in); n++) {
		uint64_t d = (uint64_t)(*in->p++ - '0');

		if (zero && n > 0)
			return fail(in);
		if (out->value > (UINT64_MAX - d) / 10)
			out->fits_u64 = false;
		else
			out->value = out->value * 10 + d;
	}
	if (in->p < in->end && *in->p == '.') {
		in->p++;
		out->integer = false;
		if (!digit(in))
			return fail(in);
		while (digit(in))
			in->p++;
	}
	if (in->p < in->end && (*in->p == 'e' || *in->p == 'E')) {
		in->p++;
		out->integer = false;
		if (in->p < in->end && (*in->p == '+' || *in->p == '-'))
			in->p++;
		if (!digit(in))
			return fail(in);
		while (digit(in))
			in->p++;
	}
	return !in->bad;
}

static bool word(struct json_in *in, const char *w)
{
	size_t sz = strlen(w);

	skip_space(in);
	if ((size_t)(in->end - in->p) < sz || memcmp(in->p, w, sz) != 0)
		return fail(in);
	in->p += sz;
	return true;
}

bool json_read_null(struct json_in *in)
{
	return word(in, "null");
}

/* --- structure ---------------------------------------------------------------------------------------------- */

bool json_object_begin(struct json_in *in)
{
	if (in->bad || !take(in, '{') || in->depth >= JSON_DEPTH_MAX)
		return fail(in);
	in->depth++;
	return true;
}

/* A comma is due unless this is the first member, which the character before tells: only the opening brace itself
   (with white space) can stand between. */
bool json_object_next(struct json_in *in, struct json_text *key)
{
	if (in->bad)
		return false;
	const char *before = in->p;
	bool first = before[-1] == '{';

	if (take(in, '}')) {
		in->depth--;
		return false;
	}
	if (!first && !take(in, ','))
		return fail(in);
	if (!json_read_string(in, key))
		return false;
	return take(in, ':') ? true : fail(in);
}

static bool skip_scalar(struct json_in *in, enum json_kind k)
{
	struct json_text t;
	struct json_number n;

	switch (k) {
	case JSON_IN_NULL:
		return word(in, "null");
	case JSON_IN_BOOL:
		return word(in, *in->p == 't' ? "true" : "false");
	case JSON_IN_NUMBER:
		return json_read_number(in, &n);
	case JSON_IN_STRING:
		return json_read_string(in, &t);
	case JSON_IN_ARRAY:
	case JSON_IN_OBJECT:
	case JSON_IN_BAD:
		break;
	}
	return fail(in);
}

/* Without recursion: one bit a level says whether it is an object. */
bool json_skip(struct json_in *in)
{
	uint64_t is_object = 0;
	unsigned base = in->depth;
	bool fresh = false; /* just inside an opening bracket */

	_Static_assert(JSON_DEPTH_MAX <= 64, "one bit a level");
	for (;;) {
		enum json_kind k = json_peek(in);

		if (k == JSON_IN_ARRAY || k == JSON_IN_OBJECT) {
			if (in->depth >= JSON_DEPTH_MAX)
				return fail(in);
			in->p++;
			is_object = is_object << 1 | (k == JSON_IN_OBJECT);
			in->depth++;
			fresh = true;
		} else if (!skip_scalar(in, k)) {
			return false;
		}
		/* Close what ends here, then stand before the next value. */
		while (in->depth > base) {
			if (take(in, is_object & 1 ? '}' : ']')) {
				is_object >>= 1;
				in->depth--;
				fresh = false;
				continue;
			}
			if (!fresh && !take(in, ','))
				return fail(in);
			if (is_object & 1) {
				struct json_text key;

				if (!json_read_string(in, &key))
					return false;
				if (!take(in, ':'))
					return fail(in);
			}
			fresh = false;
			break;
		}
		if (in->depth == base)
			return true;
	}
}

bool json_at_end(struct json_in *in)
{
	skip_space(in);
	return !in->bad && in->p == in->end;
}
