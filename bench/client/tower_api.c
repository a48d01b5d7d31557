#include "client/tower_api.h"

#include <stdio.h>
#include <stdlib.h>

#include "teos/receipt.h"
#include "teos/sig.h"

struct api {
	struct api_config cfg;
	struct http *http;
	uint8_t *msg; /* of an add, to be signed */
	char *hex;    /* of its blob */
	size_t cap;   /* of the blob that both have room for */
};

const char *api_outcome_name(enum api_outcome o)
{
	switch (o) {
	case API_OK:
		return "ok";
	case API_REFUSED:
		return "refused";
	case API_UNREACHABLE:
		return "unreachable";
	case API_BAD_RECEIPT:
		return "bad_receipt";
	case API_OUTCOME_CNT:
		break;
	}
	return "?";
}

struct api *api_open(const struct api_config *cfg)
{
	struct api *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->cfg = *cfg;
	/* A legacy client is known by the library it uses; a current one sends no agent at all (section 7.1). */
	a->http = http_open(cfg->url,
			    cfg->generation == CLIENT_LEGACY ? "python-requests/0 vigil-client" : NULL,
			    cfg->wait_ns);
	if (!a->http) {
		free(a);
		return NULL;
	}
	return a;
}

void api_close(struct api *a)
{
	if (!a)
		return;
	http_close(a->http);
	free(a->msg);
	free(a->hex);
	free(a);
}

void api_result_free(struct api_result *r)
{
	json_decref(r->body);
	r->body = NULL;
}

/* Posts o (and gives it back); fills in everything but the receipt. */
static void call(struct api *a, const char *path, json_t *o, struct api_result *out)
{
	bool legacy = a->cfg.generation == CLIENT_LEGACY;
	char *text = o ? json_dumps(o, legacy ? 0 : JSON_COMPACT) : NULL;
	struct http_answer ans;
	const char *error;

	json_decref(o);
	memset(out, 0, sizeof(*out));
	if (!text) {
		out->outcome = API_UNREACHABLE;
		snprintf(out->why, sizeof(out->why), "out of memory");
		return;
	}
	http_post(a->http, path, text, &ans);
	free(text);
	out->status = ans.status;
	out->took_ns = ans.took_ns;
	out->body = ans.body;
	if (!ans.body) {
		out->outcome = API_UNREACHABLE;
		snprintf(out->why, sizeof(out->why), "%s", ans.why);
		return;
	}
	if (ans.status == 200)
		return;
	out->outcome = API_REFUSED;
	out->code = json_integer_value(json_object_get(ans.body, "error_code"));
	error = json_string_value(json_object_get(ans.body, "error"));
	snprintf(out->why, sizeof(out->why), "%s", error ? error : "no error text");
}

static bool get_u32(const json_t *body, const char *name, uint32_t *v)
{
	const json_t *n = json_object_get(body, name);

	if (!json_is_integer(n) || json_integer_value(n) < 0 || json_integer_value(n) > UINT32_MAX)
		return false;
	*v = (uint32_t)json_integer_value(n);
	return true;
}

static void bad_receipt(struct api_result *out, const char *why)
{
	out->outcome = API_BAD_RECEIPT;
	snprintf(out->why, sizeof(out->why), "%s", why);
}

/* Recovers who signed; the first key seen is the one expected from then on. */
static void check_signature(struct api *a, struct api_result *out, const char *field, const uint8_t *msg,
			    size_t sz)
{
	const char *sig = json_string_value(json_object_get(out->body, field));

	if (!sig || !sig_recover(&out->tower_id, sig, strlen(sig), msg, sz)) {
		bad_receipt(out, "the receipt's signature is missing or malformed");
		return;
	}
	if (!a->cfg.has_tower_id) {
		a->cfg.has_tower_id = true;
		a->cfg.tower_id = out->tower_id;
	} else if (memcmp(a->cfg.tower_id.b, out->tower_id.b, USER_ID_SZ) != 0) {
		bad_receipt(out, "the receipt is signed by another key than the tower's");
	}
}

void api_register(struct api *a, struct api_result *out)
{
	char id[2 * USER_ID_SZ + 1];
	uint8_t receipt[RECEIPT_REGISTRATION_MAX];
	const char *echo;
	uint32_t start = 0;

	hex_encode(id, a->cfg.key->id.b, USER_ID_SZ);
	call(a, "/register",
	     json_pack("{s:s}", a->cfg.generation == CLIENT_LEGACY ? "public_key" : "user_id", id), out);
	if (out->outcome != API_OK)
		return;
	echo = json_string_value(json_object_get(out->body, "user_id"));
	if (!echo || strcmp(echo, id) != 0 || !get_u32(out->body, "available_slots", &out->available_slots) ||
	    !get_u32(out->body, "subscription_expiry", &out->expiry) ||
	    (a->cfg.generation == CLIENT_CURRENT && !get_u32(out->body, "subscription_start", &start))) {
		bad_receipt(out, "the answer to register lacks a field");
		return;
	}
	check_signature(a, out, "subscription_signature", receipt,
			receipt_registration(receipt, a->cfg.generation, &a->cfg.key->id, out->available_slots,
					     start, out->expiry));
}

static bool make_room(struct api *a, size_t blob_sz)
{
	uint8_t *msg;
	char *hex;

	if (blob_sz <= a->cap && a->msg)
		return true;
	msg = realloc(a->msg, LOCATOR_SZ + blob_sz + 4);
	if (msg)
		a->msg = msg;
	hex = realloc(a->hex, 2 * blob_sz + 1);
	if (hex)
		a->hex = hex;
	if (!msg || !hex)
		return false;
	a->cap = blob_sz;
	return true;
}

void api_add(struct api *a, const struct locator *l, const uint8_t *blob, size_t blob_sz,
	     struct api_result *out)
{
	char locator[2 * LOCATOR_SZ + 1], sig[SIG_ZB_SZ + 1];
	uint8_t receipt[RECEIPT_APPOINTMENT_MAX];
	const char *echo;
	json_t *o = NULL;
	size_t sz;

	hex_encode(locator, l->b, LOCATOR_SZ);
	if (make_room(a, blob_sz)) {
		sz = receipt_add_message(a->msg, l, blob, (uint32_t)blob_sz, a->cfg.to_self_delay);
		hex_encode(a->hex, blob, blob_sz);
		if (sig_sign(sig, a->cfg.key->secret, a->msg, sz))
			o = json_pack("{s:{s:s, s:s, s:I}, s:s}", "appointment", "locator", locator,
				      "encrypted_blob", a->hex, "to_self_delay",
				      (json_int_t)a->cfg.to_self_delay, "signature", sig);
	}
	call(a, "/add_appointment", o, out);
	if (out->outcome != API_OK)
		return;
	echo = json_string_value(json_object_get(out->body, "locator"));
	if (!echo || strcmp(echo, locator) != 0 || !get_u32(out->body, "start_block", &out->start_block) ||
	    !get_u32(out->body, "available_slots", &out->available_slots) ||
	    !get_u32(out->body, "subscription_expiry", &out->expiry)) {
		bad_receipt(out, "the answer to add_appointment lacks a field");
		return;
	}
	check_signature(a, out, "signature", receipt,
			receipt_appointment(receipt, a->cfg.generation, sig, SIG_ZB_SZ, out->start_block));
}

void api_get(struct api *a, const struct locator *l, struct api_result *out)
{
	char locator[2 * LOCATOR_SZ + 1], sig[SIG_ZB_SZ + 1], msg[RECEIPT_GET_SZ];
	json_t *o = NULL;

	hex_encode(locator, l->b, LOCATOR_SZ);
	receipt_get_message(msg, l, NULL);
	if (sig_sign(sig, a->cfg.key->secret, msg, sizeof(msg)))
		o = json_pack("{s:s, s:s}", "locator", locator, "signature", sig);
	call(a, "/get_appointment", o, out);
}

void api_subscription(struct api *a, struct api_result *out)
{
	static const char msg[] = RECEIPT_SUBSCRIPTION_MESSAGE;
	char sig[SIG_ZB_SZ + 1];
	json_t *o = NULL;

	if (sig_sign(sig, a->cfg.key->secret, msg, sizeof(msg) - 1))
		o = json_pack("{s:s}", "signature", sig);
	call(a, "/get_subscription_info", o, out);
}
