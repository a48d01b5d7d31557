#include "api/decode.h"

#include <stdlib.h>
#include <string.h>

#include "api/json.h"

/* What a member of an object must be.  The schema of an object is a short array of these, ended by a NULL name. */
enum member_kind {
	MEMBER_HEX,
	MEMBER_HEX_ANY, /* whatever it is, it is no error; only hex is taken */
	MEMBER_TEXT,
	MEMBER_U32,
	MEMBER_OBJECT_OR_NULL
};

#define MEMBER_MAX 4u

struct member {
	const char *name;
	enum member_kind kind;
	enum api_field at;
	bool optional;
	void *dest; /* struct bytes, struct api_signature, uint32_t, bool (an object was there) */
	const struct member *inner;
};

/* Bytes that were hex: the first cap of them are stored, sz counts all. */
struct bytes {
	uint8_t *p;
	size_t cap, sz;
	bool grow;  /* p is allocated here */
	bool given; /* the member was there */
	char *text; /* room for 2 * cap digits as received, or NULL */
};

struct decoder {
	struct json_in in;
	struct api_problem problem;
	enum api_field at; /* the field being read */
};

static bool reject(struct decoder *d, enum api_code code, const char *why)
{
	d->problem = (struct api_problem){.code = code, .at = d->at, .why = why};
	return false;
}

static bool reject_at(struct decoder *d, enum api_field at, enum api_code code, const char *why)
{
	d->at = at;
	return reject(d, code, why);
}

static bool reject_json(struct decoder *d)
{
	return reject_at(d, API_AT_BODY, API_INVALID_REQUEST_FORMAT, "the body is not valid JSON");
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

static bool store_hex(struct decoder *d, const struct member *m, const char *p, size_t sz)
{
	struct bytes *b = m->dest;

	b->given = true;
	if (m->kind == MEMBER_HEX_ANY) {
		if (!hex_into(d, b, p, sz))
			b->sz = 0;
		return true;
	}
	if (b->text && sz == 2 * b->cap)
		memcpy(b->text, p, sz);
	return hex_into(d, b, p, sz);
}

static bool store_text(struct decoder *d, const struct member *m, const char *p, size_t sz)
{
	if (m->kind != MEMBER_TEXT)
		return store_hex(d, m, p, sz);

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
	case MEMBER_HEX_ANY:
		/* null is as good as nothing. */
		((struct bytes *)m->dest)->given = k != JSON_IN_NULL;
		if (k != JSON_IN_STRING)
			return json_skip(&d->in) ? true : reject_json(d);
		return read_text(d, m);
	case MEMBER_HEX:
	case MEMBER_TEXT:
		return k == JSON_IN_STRING ? read_text(d, m) : read_mismatch(d, k, "a string is wanted");
	case MEMBER_U32:
		return k == JSON_IN_NUMBER ? read_u32(d, m) : read_mismatch(d, k, "a whole number is wanted");
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

	enum api_field outer = d->at;

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
		if (seen[i] && schema[i].kind != MEMBER_HEX_ANY)
			return reject_at(d, API_AT_BODY, API_INVALID_REQUEST_FORMAT, "a key is given twice");
		seen[i] = true;
		d->at = schema[i].at;
		if (!read_member(d, &schema[i]))
			return false;
		d->at = outer;
	}
	if (d->in.bad)
		return reject_json(d);
	for (unsigned i = 0; schema[i].name; i++) {
		if (!seen[i] && !schema[i].optional)
			return reject_at(d, schema[i].at, API_MISSING_FIELD, "a field is missing");
	}
	return true;
}

static bool read_root(struct decoder *d, const struct member *schema)
{
	enum json_kind k = json_peek(&d->in);

	return k == JSON_IN_OBJECT ? read_object(d, schema)
				   : read_mismatch(d, k, "the body is not a JSON object");
}

static bool read_end(struct decoder *d)
{
	return json_at_end(&d->in) ? true : reject_json(d);
}

static bool read_body(struct decoder *d, const struct member *schema)
{
	return read_root(d, schema) && read_end(d);
}

static bool check_size(struct decoder *d, enum api_field at, size_t sz, size_t want, const char *empty,
		       const char *wrong)
{
	if (sz == 0)
		return reject_at(d, at, API_EMPTY_FIELD, empty);
	return sz == want ? true : reject_at(d, at, API_WRONG_FIELD_SIZE, wrong);
}

/* The name of the field is what tells the generations apart (section 7.1).  To a current caller a public_key that is no
   key is one more unknown field. */
static bool decode_register(struct decoder *d, struct api_request *r)
{
	struct user_id legacy_id;
	struct bytes user = {.p = r->user.b, .cap = USER_ID_SZ};
	struct bytes legacy = {.p = legacy_id.b, .cap = USER_ID_SZ};
	const struct member schema[] = {{"user_id", MEMBER_HEX, API_AT_USER_ID, true, &user, NULL},
					{"public_key", MEMBER_HEX_ANY, API_AT_PUBLIC_KEY, true, &legacy, NULL},
					{.name = NULL}};

	if (!read_root(d, schema))
		return false;
	/* A missing key is noticed at the end of its object, before what follows is read. */
	if (!user.given && legacy.sz != USER_ID_SZ)
		return reject_at(d, legacy.given ? API_AT_PUBLIC_KEY : API_AT_USER_ID, API_MISSING_FIELD,
				 "user_id is missing");
	if (!read_end(d))
		return false;
	if (user.given)
		return check_size(d, API_AT_USER_ID, user.sz, USER_ID_SZ, "user_id is empty",
				  "user_id is not 33 bytes");
	r->user = legacy_id;
	r->generation = CLIENT_LEGACY;
	return true;
}

static bool check_signature(struct decoder *d, const struct api_request *r)
{
	return r->sig.sz > 0 ? true : reject_at(d, API_AT_SIGNATURE, API_EMPTY_FIELD, "signature is empty");
}

static bool check_locator_and_signature(struct decoder *d, const struct bytes *locator,
					const struct api_request *r)
{
	if (!check_size(d, API_AT_LOCATOR, locator->sz, LOCATOR_SZ, "locator is empty",
			"locator is not 16 bytes"))
		return false;
	return check_signature(d, r);
}

static bool decode_add(struct decoder *d, struct api_request *r)
{
	struct bytes locator = {.p = r->locator.b, .cap = LOCATOR_SZ, .text = r->locator_text};
	struct bytes blob = {.grow = true};
	bool there = false;
	const struct member inner[] = {
		{"locator", MEMBER_HEX, API_AT_LOCATOR, false, &locator, NULL},
		{"encrypted_blob", MEMBER_HEX, API_AT_BLOB, false, &blob, NULL},
		{"to_self_delay", MEMBER_U32, API_AT_DELAY, false, &r->to_self_delay, NULL},
		{.name = NULL}};
	const struct member schema[] = {
		{"appointment", MEMBER_OBJECT_OR_NULL, API_AT_APPOINTMENT, true, &there, inner},
		{"signature", MEMBER_TEXT, API_AT_SIGNATURE, false, &r->sig, NULL},
		{.name = NULL}};
	bool ok = read_body(d, schema);

	r->blob = blob.p;
	r->blob_sz = (uint32_t)blob.sz;
	if (!ok)
		return false;
	if (!there)
		return reject_at(d, API_AT_APPOINTMENT, API_MISSING_FIELD, "appointment is missing");
	return check_locator_and_signature(d, &locator, r);
}

static bool decode_get(struct decoder *d, struct api_request *r)
{
	struct bytes locator = {.p = r->locator.b, .cap = LOCATOR_SZ, .text = r->locator_text};
	const struct member schema[] = {{"locator", MEMBER_HEX, API_AT_LOCATOR, false, &locator, NULL},
					{"signature", MEMBER_TEXT, API_AT_SIGNATURE, false, &r->sig, NULL},
					{.name = NULL}};

	return read_body(d, schema) && check_locator_and_signature(d, &locator, r);
}

static bool decode_subscription(struct decoder *d, struct api_request *r)
{
	const struct member schema[] = {{"signature", MEMBER_TEXT, API_AT_SIGNATURE, false, &r->sig, NULL},
					{.name = NULL}};

	return read_body(d, schema) && check_signature(d, r);
}

enum api_code api_decode(enum api_endpoint ep, const void *body, size_t sz, struct api_request *out,
			 struct api_problem *p)
{
	struct decoder d = {.at = API_AT_BODY};
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
	case API_GET_SUBSCRIPTION_INFO:
		ok = decode_subscription(&d, out);
		break;
	case API_PING:
	case API_ENDPOINT_CNT:
		reject(&d, API_UNEXPECTED, "this endpoint takes no body");
		break;
	}
	*p = ok ? (struct api_problem){.code = API_OK, .why = ""} : d.problem;
	if (!ok)
		api_request_free(out);
	return p->code;
}

void api_request_free(struct api_request *r)
{
	free(r->blob);
	free(r->sent_locator);
	memset(r, 0, sizeof *r);
}
