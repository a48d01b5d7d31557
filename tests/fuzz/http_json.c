/* Bodies of the HTTP API.  The first byte chooses the endpoint and how the caller looks, the rest is the body.

   Beyond not crashing: a body that was read to its end must be one that jansson, too, takes for JSON, with the same
   values; and one that jansson refuses must not be taken. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/decode.h"
#include "api/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void same_hex(const json_t *s, const uint8_t *want, size_t sz)
{
	const char *hex = json_string_value(s);
	char digits[3] = "";

	must(hex && json_string_length(s) == 2 * sz);
	for (size_t i = 0; i < sz; i++) {
		memcpy(digits, hex + 2 * i, 2);
		must(strtoul(digits, NULL, 16) == want[i]);
	}
}

static void same_signature(const json_t *s, const struct api_signature *want, bool legacy)
{
	if (legacy && !json_is_string(s)) {
		must(want->sz == 0);
		return;
	}
	must(json_is_string(s) && json_string_length(s) == want->sz);
	must(memcmp(json_string_value(s), want->text, want->sz < SIG_ZB_SZ ? want->sz : SIG_ZB_SZ) == 0);
}

static void same_values(const json_t *j, const struct api_request *r, bool legacy)
{
	const json_t *a = r->endpoint == API_ADD_APPOINTMENT ? json_object_get(j, "appointment") : j;

	must(json_is_object(j) && json_is_object(a));
	if (r->endpoint == API_REGISTER) {
		same_hex(json_object_get(j, r->generation == CLIENT_LEGACY ? "public_key" : "user_id"),
			 r->user.b, USER_ID_SZ);
		return;
	}
	if (r->endpoint != API_GET_SUBSCRIPTION_INFO)
		same_hex(json_object_get(a, "locator"), r->locator.b, LOCATOR_SZ);
	same_signature(json_object_get(j, "signature"), &r->sig, legacy);
	if (r->endpoint == API_ADD_APPOINTMENT) {
		same_hex(json_object_get(a, "encrypted_blob"), r->blob, r->blob_sz);
		must(json_integer_value(json_object_get(a, "to_self_delay")) == (json_int_t)r->to_self_delay);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct api_request r;
	struct api_problem p;
	json_error_t err;

	if (size == 0)
		return 0;
	enum api_endpoint ep = (enum api_endpoint)(data[0] % 4u);
	bool legacy = data[0] % 8u >= 4;
	enum api_code c = legacy ? api_decode_legacy(ep, data + 1, size - 1, 20, &r, &p)
				 : api_decode(ep, data + 1, size - 1, &r, &p);
	/* Not JSON_REJECT_DUPLICATES: unknown keys may repeat. */
	json_t *j = json_loadb((const char *)data + 1, size - 1, JSON_DECODE_ANY | JSON_ALLOW_NUL, &err);

	must(p.code == c && p.why != NULL);
	/* Told back as it came. */
	if (legacy && ep == API_GET_APPOINTMENT && r.sent_locator != NULL && j) {
		json_t *sent = json_loads(r.sent_locator, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		const json_t *want = json_object_get(j, "locator");

		must(sent && (want ? json_equal(sent, want) : json_is_null(sent)));
		json_decref(sent);
	}
	if (c == API_OK || c == API_WRONG_FIELD_SIZE || c == API_EMPTY_FIELD) {
		/* Numbers beyond jansson's own types are JSON all the same. */
		must(j || json_error_code(&err) == json_error_numeric_overflow);
	}
	if (c == API_OK && j)
		same_values(j, &r, legacy);
	json_decref(j);
	api_request_free(&r);
	return 0;
}
