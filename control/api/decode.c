#include "api/decode.h"

#include <stdlib.h>
#include <string.h>

#include "api/json.h"

/* What a member of an object must be.  The schema of an object is a short array of these, ended by a NULL name. */
enum member_kind { MEMBER_HEX, MEMBER_TEXT, MEMBER_U32, MEMBER_OBJECT_OR_NULL };

#define MEMBER_MAX 4u

struct member {
	const char *name;
	enum member_kind kind;
	void *dest; /* struct bytes, struct api_signature, uint32_t, bool (an object was there) */
	const struct member *inner;
};

/* Bytes that were hex: the first cap of them are stored, sz counts all. */
struct bytes {
	uint8_t *p;
	size_t cap, sz;
	bool grow; /* p is allocated here */
};

struct decoder {
	struct json_in in;
	enum api_code code;
	const char *why;
};

static bool reject(struct decoder *d, enum api_code code, const char *why)
{
	d->code = code;
	d->why = why;
	return false;
}

static bool reject_json(struct decoder *d)
{
	return reject(d, API_INVALID_REQUEST_FORMAT, "the body is not valid JSON");
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_into(struct decoder *d, struct bytes *b, const char *hex, size_t hex_sz)
{
	if (hex_sz % 2)
		return reject(d, API_WRONG_FIELD_FORMAT, "odd number of hex digits");
	b->sz = hex_sz / 2;
	if (b->grow && b->sz > 0) {
		b->p = malloc(b->sz);
		if (!b->p)
			return reject(d, API_UNEXPECTED, "out of memory");
		b->cap = b->sz;
	}
	for (size_t i = 0; i < b->sz; i++) {
		int hi = nibble(hex[2 * i]), lo = nibble(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return reject(d, API_WRONG_FIELD_FORMAT, "not a hex digit");
		if (i < b->cap)
			b->p[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

static bool store_text(struct decoder *d, const struct member *m, const char *p, size_t sz)
{
	if (m->kind == MEMBER_HEX)
		return hex_into(d, m->dest, p, sz);

	struct api_signature *s = m->dest;

	s->sz = sz;
	memcpy(s->text, p, sz < sizeof s->text ? sz : sizeof s->text);
	return true;
}

static bool read_text(struct decoder *d, const struct member *m)
{
	struct json_text t;

	if (!json_read_string(&d->in, &t))
		return reject_json(d);
	if (!t.escaped)
		return store_text(d, m, t.p, t.sz);

	/* Nobody escapes hex digits, but it is JSON. */
	char *plain = malloc(t.sz);

	if (!plain)
		return reject(d, API_UNEXPECTED, "out of memory");
	bool ok = store_text(d, m, plain, json_unescape(&t, plain));

	free(plain);
	return ok;
}

static bool read_u32(struct decoder *d, const struct member *m)
{
	struct json_number n;

	if (!json_read_number(&d->in, &n))
		return reject_json(d);
	/* Minus zero is a fraction to the reference. */
	if (!n.integer || (n.negative && n.fits_u64 && n.value == 0))
		return reject(d, API_WRONG_FIELD_TYPE, "a whole number is wanted");
	if (n.negative || !n.fits_u64 || n.value > UINT32_MAX)
		return reject(d, API_INVALID_REQUEST_FORMAT, "the number does not fit 32 bits");
	*(uint32_t *)m->dest = (uint32_t)n.value;
	return true;
}

static bool read_object(struct decoder *d, const struct member *schema);

/* A value of another type.  Simple values are read to their end first: a broken one is bad JSON, not a wrong type. */
static bool read_mismatch(struct decoder *d, enum json_kind k, const char *why)
{
	if (k == JSON_IN_BAD || (k != JSON_IN_ARRAY && k != JSON_IN_OBJECT && !json_skip(&d->in)))
		return reject_json(d);
	return reject(d, API_WRONG_FIELD_TYPE, why);
}

static bool read_member(struct decoder *d, const struct member *m)
{
	enum json_kind k = json_peek(&d->in);

	switch (m->kind) {
	case MEMBER_HEX:
	case MEMBER_TEXT:
		return k == JSON_IN_STRING ? read_text(d, m)
					   : read_mismatch(d, k, "a string is wanted");
	case MEMBER_U32:
		return k == JSON_IN_NUMBER ? read_u32(d, m)
					   : read_mismatch(d, k, "a whole number is wanted");
	case MEMBER_OBJECT_OR_NULL:
		if (k == JSON_IN_NULL)
			return json_read_null(&d->in) ? true : reject_json(d);
		*(bool *)m->dest = true;
		return k == JSON_IN_OBJECT ? read_object(d, m->inner)
					   : read_mismatch(d, k, "an object is wanted");
	}
	return false;
}

static bool read_object(struct decoder *d, const struct member *schema)
{
	bool seen[MEMBER_MAX] = {false};
	struct json_text key;

	if (!json_object_begin(&d->in))
		return reject_json(d);
	while (json_object_next(&d->in, &key)) {
		unsigned i = 0;

		while (schema[i].name && !json_text_is(&key, schema[i].name))
			i++;
		if (!schema[i].name) {
			if (!json_skip(&d->in))
				return reject_json(d);
			continue;
		}
		if (seen[i])
			return reject(d, API_INVALID_REQUEST_FORMAT, "a key is given twice");
		seen[i] = true;
		if (!read_member(d, &schema[i]))
			return false;
	}
	if (d->in.bad)
		return reject_json(d);
	for (unsigned i = 0; schema[i].name; i++) {
		if (!seen[i] && schema[i].kind != MEMBER_OBJECT_OR_NULL)
			return reject(d, API_MISSING_FIELD, "a field is missing");
	}
	return true;
}

static bool read_body(struct decoder *d, const struct member *schema)
{
	enum json_kind k = json_peek(&d->in);

	if (k != JSON_IN_OBJECT)
		return read_mismatch(d, k, "the body is not a JSON object");
	if (!read_object(d, schema))
		return false;
	return json_at_end(&d->in) ? true : reject_json(d);
}

static bool check_size(struct decoder *d, size_t sz, size_t want, const char *empty,
		       const char *wrong)
{
	if (sz == 0)
		return reject(d, API_EMPTY_FIELD, empty);
	return sz == want ? true : reject(d, API_WRONG_FIELD_SIZE, wrong);
}

static bool decode_register(struct decoder *d, struct api_request *r)
{
	struct bytes user = {.p = r->user.b, .cap = USER_ID_SZ};
	const struct member schema[] = {{"user_id", MEMBER_HEX, &user, NULL}, {.name = NULL}};

	return read_body(d, schema) &&
	       check_size(d, user.sz, USER_ID_SZ, "user_id is empty", "user_id is not 33 bytes");
}

static bool check_locator_and_signature(struct decoder *d, const struct bytes *locator,
					const struct api_request *r)
{
	if (!check_size(d, locator->sz, LOCATOR_SZ, "locator is empty", "locator is not 16 bytes"))
		return false;
	return r->sig.sz > 0 ? true : reject(d, API_EMPTY_FIELD, "signature is empty");
}

static bool decode_add(struct decoder *d, struct api_request *r)
{
	struct bytes locator = {.p = r->locator.b, .cap = LOCATOR_SZ}, blob = {.grow = true};
	bool there = false;
	const struct member inner[] = {{"locator", MEMBER_HEX, &locator, NULL},
				       {"encrypted_blob", MEMBER_HEX, &blob, NULL},
				       {"to_self_delay", MEMBER_U32, &r->to_self_delay, NULL},
				       {.name = NULL}};
	const struct member schema[] = {{"appointment", MEMBER_OBJECT_OR_NULL, &there, inner},
					{"signature", MEMBER_TEXT, &r->sig, NULL},
					{.name = NULL}};
	bool ok = read_body(d, schema);

	r->blob = blob.p;
	r->blob_sz = (uint32_t)blob.sz;
	if (!ok)
		return false;
	if (!there)
		return reject(d, API_MISSING_FIELD, "appointment is missing");
	return check_locator_and_signature(d, &locator, r);
}

static bool decode_get(struct decoder *d, struct api_request *r)
{
	struct bytes locator = {.p = r->locator.b, .cap = LOCATOR_SZ};
	const struct member schema[] = {{"locator", MEMBER_HEX, &locator, NULL},
					{"signature", MEMBER_TEXT, &r->sig, NULL},
					{.name = NULL}};

	return read_body(d, schema) && check_locator_and_signature(d, &locator, r);
}

enum api_code api_decode(enum api_endpoint ep, const void *body, size_t sz, struct api_request *out,
			 const char **why)
{
	struct decoder d = {.code = API_OK, .why = ""};
	bool ok = false;

	memset(out, 0, sizeof *out);
	out->endpoint = ep;
	json_in_init(&d.in, body, sz);
	switch (ep) {
	case API_REGISTER:
		ok = decode_register(&d, out);
		break;
	case API_ADD_APPOINTMENT:
		ok = decode_add(&d, out);
		break;
	case API_GET_APPOINTMENT:
		ok = decode_get(&d, out);
		break;
	case API_PING:
	case API_ENDPOINT_CNT:
		reject(&d, API_UNEXPECTED, "this endpoint takes no body");
		break;
	}
	*why = d.why;
	if (ok)
		return API_OK;
	api_request_free(out);
	return d.code;
}

void api_request_free(struct api_request *r)
{
	free(r->blob);
	memset(r, 0, sizeof *r);
}
