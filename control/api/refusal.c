#include "api/refusal.h"

#include <jansson.h>

/* Statuses by their numbers: this file knows no HTTP library. */
enum { BAD_REQUEST = 400, UNAUTHORIZED = 401, NOT_FOUND = 404, NOT_ALLOWED = 405, UNAVAILABLE = 503 };

/* --- current ------------------------------------------------------------------------------------------------- */

static unsigned current_status(const struct api_refusal *r)
{
	switch (r->problem.code) {
	case API_AUTH_OR_SUBSCRIPTION:
		return UNAUTHORIZED;
	case API_SERVICE_UNAVAILABLE:
		return UNAVAILABLE;
	case API_NOT_FOUND:
		return NOT_FOUND;
	case API_OK:
	case API_MISSING_FIELD:
	case API_EMPTY_FIELD:
	case API_WRONG_FIELD_TYPE:
	case API_WRONG_FIELD_SIZE:
	case API_WRONG_FIELD_FORMAT:
	case API_INVALID_REQUEST_FORMAT:
	case API_TOO_SMALL:
	case API_TOO_BIG:
	case API_ALREADY_TRIGGERED:
	case API_REGISTRATION_EXHAUSTED:
	case API_UNEXPECTED:
		break;
	}
	return BAD_REQUEST;
}

/* At 32 a current client gives an appointment up, at 7 it keeps it, registers again and retries (section 18). */
static int current_code(const struct api_refusal *r)
{
	if (r->problem.code == API_SERVICE_UNAVAILABLE && r->endpoint == API_ADD_APPOINTMENT)
		return API_AUTH_OR_SUBSCRIPTION;
	return (int)r->problem.code;
}

/* --- legacy -------------------------------------------------------------------------------------------------- */

enum legacy_code {
	LEGACY_EMPTY_FIELD = -1,
	LEGACY_WRONG_FIELD_TYPE = -2,
	LEGACY_WRONG_FIELD_SIZE = -3,
	LEGACY_WRONG_FIELD_FORMAT = -4,
	LEGACY_FIELD_TOO_SMALL = -5,
	LEGACY_FIELD_TOO_BIG = -6,
	LEGACY_WRONG_FIELD = -7,
	LEGACY_AUTH_OR_SUBSCRIPTION = -8,
	LEGACY_ALREADY_TRIGGERED = -9,
	LEGACY_REGISTRATION_MISSING_FIELD = -33,
	LEGACY_REGISTRATION_WRONG_FIELD_FORMAT = -34,
	LEGACY_INVALID_REQUEST_FORMAT = -65
};

static bool body_is_no_object(const struct api_problem *p)
{
	return p->at == API_AT_BODY &&
	       (p->code == API_INVALID_REQUEST_FORMAT || p->code == API_WRONG_FIELD_TYPE);
}

static int legacy_register_code(const struct api_problem *p)
{
	if (p->code == API_MISSING_FIELD && p->at == API_AT_USER_ID)
		return LEGACY_REGISTRATION_MISSING_FIELD;
	return LEGACY_REGISTRATION_WRONG_FIELD_FORMAT;
}

static int legacy_add_code(const struct api_problem *p)
{
	/* There a signature that is missing or malformed is one that does not authenticate. */
	if (p->at == API_AT_SIGNATURE)
		return LEGACY_AUTH_OR_SUBSCRIPTION;
	switch (p->code) {
	case API_MISSING_FIELD:
		return LEGACY_EMPTY_FIELD;
	case API_WRONG_FIELD_TYPE:
		return p->at == API_AT_APPOINTMENT ? LEGACY_WRONG_FIELD : LEGACY_WRONG_FIELD_TYPE;
	case API_EMPTY_FIELD: /* an empty locator is one of the wrong length */
	case API_WRONG_FIELD_SIZE:
		return LEGACY_WRONG_FIELD_SIZE;
	case API_WRONG_FIELD_FORMAT:
		return LEGACY_WRONG_FIELD_FORMAT;
	case API_TOO_SMALL:
		return LEGACY_FIELD_TOO_SMALL;
	case API_INVALID_REQUEST_FORMAT: /* a delay that does not fit */
		return LEGACY_FIELD_TOO_BIG;
	case API_AUTH_OR_SUBSCRIPTION:
		return LEGACY_AUTH_OR_SUBSCRIPTION;
	case API_ALREADY_TRIGGERED:
		return LEGACY_ALREADY_TRIGGERED;
	case API_OK:
	case API_SERVICE_UNAVAILABLE:
	case API_TOO_BIG:
	case API_NOT_FOUND:
	case API_REGISTRATION_EXHAUSTED:
	case API_UNEXPECTED:
		break;
	}
	return LEGACY_INVALID_REQUEST_FORMAT;
}

/* Unknown appointment, unknown user and malformed locator look the same, so that locators cannot be probed. */
static bool legacy_not_found(const struct api_refusal *r)
{
	return r->generation == CLIENT_LEGACY && r->endpoint == API_GET_APPOINTMENT && !r->transport_status &&
	       !r->expired && r->problem.code != API_SERVICE_UNAVAILABLE && !body_is_no_object(&r->problem);
}

static int legacy_code(const struct api_refusal *r)
{
	if (r->transport_status || body_is_no_object(&r->problem))
		return LEGACY_INVALID_REQUEST_FORMAT;
	switch (r->endpoint) {
	case API_REGISTER:
		return legacy_register_code(&r->problem);
	case API_ADD_APPOINTMENT:
		return legacy_add_code(&r->problem);
	case API_GET_APPOINTMENT:
	case API_GET_SUBSCRIPTION_INFO:
		return LEGACY_AUTH_OR_SUBSCRIPTION;
	case API_PING:
	case API_ENDPOINT_CNT:
		break;
	}
	return LEGACY_INVALID_REQUEST_FORMAT;
}

/* --- both ---------------------------------------------------------------------------------------------------- */

unsigned api_refusal_status(const struct api_refusal *r)
{
	/* Of 411, 413 and 415 the legacy plugin knows nothing, and its hook would break (section 18). */
	if (r->transport_status)
		return r->generation == CLIENT_LEGACY && r->transport_status != NOT_ALLOWED
			       ? BAD_REQUEST
			       : r->transport_status;
	if (r->generation == CLIENT_CURRENT)
		return current_status(r);
	if (r->problem.code == API_SERVICE_UNAVAILABLE)
		return UNAVAILABLE;
	return legacy_not_found(r) ? NOT_FOUND : BAD_REQUEST;
}

int api_refusal_code(const struct api_refusal *r)
{
	if (r->generation == CLIENT_CURRENT)
		return current_code(r);
	if (legacy_not_found(r) || (r->problem.code == API_SERVICE_UNAVAILABLE && !r->transport_status))
		return 0;
	return legacy_code(r);
}

/* Text that jansson does not take (a number without end, half a pair of surrogates) is told as null. */
static json_t *locator_as_sent(const struct api_refusal *r)
{
	json_t *j;

	if (r->sent_locator == NULL)
		return json_stringn(r->locator_text, (size_t)2 * LOCATOR_SZ);
	j = json_loads(r->sent_locator, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	return j != NULL ? j : json_null();
}

char *api_refusal_body(const struct api_refusal *r)
{
	const char *why = r->problem.why ? r->problem.why : "";
	int code = api_refusal_code(r);
	json_t *j;

	if (legacy_not_found(r))
		j = json_pack("{s:o, s:s}", "locator", locator_as_sent(r), "status", "not_found");
	else if (code == 0)
		j = json_pack("{s:s}", "error", why);
	else
		j = json_pack("{s:s, s:i}", "error", why, "error_code", code);

	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	return text;
}
