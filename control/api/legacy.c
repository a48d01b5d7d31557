/* How a legacy tower reads add_appointment and get_appointment (spec/teos.md sections 7.4 and 7.6): the whole body first,
   then its fields in an order of their own, whatever order they came in; a key given twice counts the second time; null is
   as good as nothing. */
#include <stdlib.h>
#include <string.h>

#include "api/decode.h"
#include "api/json.h"

/* A member's value as it stands in the body; JSON_IN_NULL: not there. */
struct value {
	enum json_kind kind;
	const char *p;
	size_t sz;
};

static enum api_code reject(struct api_problem *p, enum api_field at, enum api_code code, const char *why)
{
	*p = (struct api_problem){.code = code, .at = at, .why = why};
	return code;
}

static bool read_members(struct json_in *in, const char *const *names, struct value *v, unsigned cnt)
{
	struct json_text key;

	for (unsigned i = 0; i < cnt; i++)
		v[i] = (struct value){JSON_IN_NULL, "null", 4};
	if (!json_object_begin(in))
		return false;
	while (json_object_next(in, &key)) {
		enum json_kind kind = json_peek(in);
		const char *from = in->p;
		unsigned i = 0;

		if (!json_skip(in))
			return false;
		while (i < cnt && !json_text_is(&key, names[i]))
			i++;
		if (i < cnt)
			v[i] = (struct value){kind, from, (size_t)(in->p - from)};
	}
	return !in->bad;
}

static bool read_body(const void *body, size_t sz, const char *const *names, struct value *v, unsigned cnt,
		      struct api_problem *p)
{
	struct json_in in;

	json_in_init(&in, body, sz);
	if (read_members(&in, names, v, cnt) && json_at_end(&in))
		return true;
	reject(p, API_AT_BODY, API_INVALID_REQUEST_FORMAT, "the body is not a JSON object");
	return false;
}

/* The characters of a string value, in *owned if they had to be unescaped.  NULL: memory is out. */
static const char *text_of(const struct value *v, size_t *sz, char **owned)
{
	struct json_text t;
	struct json_in in;

	*owned = NULL;
	json_in_init(&in, v->p, v->sz);
	if (!json_read_string(&in, &t))
		return NULL;
	*sz = t.sz;
	if (!t.escaped)
		return t.p;
	*owned = malloc(t.sz + 1);
	if (*owned != NULL)
		*sz = json_unescape(&t, *owned);
	return *owned;
}

static enum api_code read_locator(const struct value *v, struct api_request *r, struct api_problem *p)
{
	const char *text;
	char *owned;
	size_t sz;
	bool ok;

	if (v->kind == JSON_IN_NULL)
		return reject(p, API_AT_LOCATOR, API_MISSING_FIELD, "locator is missing");
	if (v->kind != JSON_IN_STRING)
		return reject(p, API_AT_LOCATOR, API_WRONG_FIELD_TYPE, "locator is not a string");
	text = text_of(v, &sz, &owned);
	if (text == NULL)
		return reject(p, API_AT_LOCATOR, API_SERVICE_UNAVAILABLE, "out of memory");
	if (sz != sizeof(r->locator_text)) {
		free(owned);
		return reject(p, API_AT_LOCATOR, API_WRONG_FIELD_SIZE, "locator is not 32 characters");
	}
	memcpy(r->locator_text, text, sz);
	ok = hex_decode(r->locator.b, LOCATOR_SZ, text, sz);
	free(owned);
	return ok ? API_OK : reject(p, API_AT_LOCATOR, API_WRONG_FIELD_FORMAT, "locator is not hex");
}

static enum api_code read_delay(const struct value *v, struct api_request *r, struct api_problem *p)
{
	struct json_number n;
	struct json_in in;

	if (v->kind == JSON_IN_NULL)
		return reject(p, API_AT_DELAY, API_MISSING_FIELD, "to_self_delay is missing");
	json_in_init(&in, v->p, v->sz);
	if (v->kind != JSON_IN_NUMBER || !json_read_number(&in, &n) || !n.integer)
		return reject(p, API_AT_DELAY, API_WRONG_FIELD_TYPE, "to_self_delay is not a whole number");
	if (n.negative && !(n.fits_u64 && n.value == 0))
		return reject(p, API_AT_DELAY, API_TOO_SMALL, "to_self_delay is too small");
	if (!n.fits_u64 || n.value > UINT32_MAX)
		return reject(p, API_AT_DELAY, API_INVALID_REQUEST_FORMAT, "to_self_delay is too big");
	r->to_self_delay = (uint32_t)n.value;
	return API_OK;
}

static bool all_hex(const char *text, size_t sz)
{
	for (size_t i = 0; i < sz; i++) {
		char c = (char)(text[i] | 0x20);

		if ((text[i] < '0' || text[i] > '9') && (c < 'a' || c > 'f'))
			return false;
	}
	return true;
}

static enum api_code hex_blob(const char *text, size_t sz, struct api_request *r, struct api_problem *p)
{
	/* There the digits are looked at first, and a half byte is found out only when they are packed. */
	if (!all_hex(text, sz))
		return reject(p, API_AT_BLOB, API_WRONG_FIELD_FORMAT, "encrypted_blob is not hex");
	if (sz % 2 != 0)
		return reject(p, API_AT_BLOB, API_SERVICE_UNAVAILABLE, "odd number of hex digits");
	if (sz == 0)
		return API_OK;
	r->blob = malloc(sz / 2);
	if (r->blob == NULL)
		return reject(p, API_AT_BLOB, API_SERVICE_UNAVAILABLE, "out of memory");
	r->blob_sz = (uint32_t)(sz / 2);
	hex_decode(r->blob, r->blob_sz, text, sz);
	return API_OK;
}

static enum api_code read_blob(const struct value *v, struct api_request *r, struct api_problem *p)
{
	enum api_code code;
	const char *text;
	char *owned;
	size_t sz;

	if (v->kind == JSON_IN_NULL)
		return reject(p, API_AT_BLOB, API_MISSING_FIELD, "encrypted_blob is missing");
	if (v->kind != JSON_IN_STRING)
		return reject(p, API_AT_BLOB, API_WRONG_FIELD_TYPE, "encrypted_blob is not a string");
	text = text_of(v, &sz, &owned);
	if (text == NULL)
		return reject(p, API_AT_BLOB, API_SERVICE_UNAVAILABLE, "out of memory");
	code = hex_blob(text, sz, r, p);
	free(owned);
	return code;
}

/* What is no signature stays empty: it is one that does not authenticate, not a wrong field. */
static void read_signature(const struct value *v, struct api_request *r)
{
	const char *text;
	char *owned;
	size_t sz;

	if (v->kind != JSON_IN_STRING)
		return;
	text = text_of(v, &sz, &owned);
	if (text != NULL) {
		r->sig.sz = sz;
		memcpy(r->sig.text, text, sz < sizeof(r->sig.text) ? sz : sizeof(r->sig.text));
	}
	free(owned);
}

static enum api_code read_add(const void *body, size_t sz, uint32_t min_delay, struct api_request *r,
			      struct api_problem *p)
{
	static const char *const outer[] = {"appointment", "signature"};
	static const char *const inner[] = {"locator", "to_self_delay", "encrypted_blob"};
	struct value v[2], f[3];
	struct json_in in;

	if (!read_body(body, sz, outer, v, 2, p))
		return p->code;
	if (v[0].kind == JSON_IN_NULL)
		return reject(p, API_AT_APPOINTMENT, API_MISSING_FIELD, "appointment is missing");
	if (v[0].kind != JSON_IN_OBJECT)
		return reject(p, API_AT_APPOINTMENT, API_WRONG_FIELD_TYPE, "appointment is not an object");
	json_in_init(&in, v[0].p, v[0].sz);
	read_members(&in, inner, f, 3);
	if (read_locator(&f[0], r, p) != API_OK || read_delay(&f[1], r, p) != API_OK)
		return p->code;
	if (read_blob(&f[2], r, p) != API_OK && r->to_self_delay >= min_delay)
		return p->code;
	if (p->code != API_OK)
		return reject(p, API_AT_DELAY, API_TOO_SMALL, "to_self_delay is too small");
	read_signature(&v[1], r);
	return API_OK;
}

static enum api_code read_get(const void *body, size_t sz, struct api_request *r, struct api_problem *p)
{
	static const char *const names[] = {"locator", "signature"};
	struct value v[2];

	if (!read_body(body, sz, names, v, 2, p))
		return p->code;
	/* Not strndup: the body ends without a NUL. */
	r->sent_locator = malloc(v[0].sz + 1);
	if (r->sent_locator == NULL)
		return reject(p, API_AT_LOCATOR, API_SERVICE_UNAVAILABLE, "out of memory");
	memcpy(r->sent_locator, v[0].p, v[0].sz);
	r->sent_locator[v[0].sz] = '\0';
	if (read_locator(&v[0], r, p) != API_OK)
		return p->code;
	read_signature(&v[1], r);
	return API_OK;
}

enum api_code api_decode_legacy(enum api_endpoint ep, const void *body, size_t sz, uint32_t min_delay,
				struct api_request *out, struct api_problem *p)
{
	char *sent;

	if (ep != API_ADD_APPOINTMENT && ep != API_GET_APPOINTMENT)
		return api_decode(ep, body, sz, out, p);
	memset(out, 0, sizeof *out);
	out->endpoint = ep;
	*p = (struct api_problem){.code = API_OK, .why = ""};
	if (ep == API_ADD_APPOINTMENT)
		read_add(body, sz, min_delay, out, p);
	else
		read_get(body, sz, out, p);
	if (p->code != API_OK) {
		sent = out->sent_locator;
		out->sent_locator = NULL;
		api_request_free(out);
		out->sent_locator = sent;
	}
	return p->code;
}
