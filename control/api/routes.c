/* routes.c - what each endpoint checks, asks and answers. */
#include "api/api_priv.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "kill/kill_point.h"
#include "teos/receipt.h"
#include "teos/sig.h"

enum api_code api_refuse(struct api_call *c, enum api_code code, const char *why)
{
	c->problem = (struct api_problem){.code = code, .at = API_AT_BODY, .why = why};
	return code;
}

enum api_code api_refuse_status(struct api_call *c, enum tower_status st, const char *auth_text)
{
	switch (st) {
	case TOWER_OK:
	case TOWER_PENDING:
		break;
	case TOWER_NOT_READY:
		return api_refuse(c, API_SERVICE_UNAVAILABLE, "the tower cannot take requests now");
	case TOWER_AUTH:
		return api_refuse(c, API_AUTH_OR_SUBSCRIPTION,
				  auth_text ? auth_text : "Invalid signature or subscription error");
	case TOWER_TRIGGERED:
		return api_refuse(c, API_ALREADY_TRIGGERED,
				  "The provided appointment has already been triggered");
	case TOWER_NOT_FOUND:
		return api_refuse(c, API_NOT_FOUND, "Appointment not found");
	case TOWER_FULL:
		return api_refuse(c, API_SERVICE_UNAVAILABLE,
				  "the tower watches as many appointments as it may");
	case TOWER_SLOTS_EXHAUSTED:
		return api_refuse(c, API_REGISTRATION_EXHAUSTED, "Subscription maximum slots count reached");
	case TOWER_STORE_FAILED:
		return api_refuse(c, API_SERVICE_UNAVAILABLE, "the tower could not store the data");
	}
	return api_refuse(c, API_UNEXPECTED, "unexpected answer of the tower");
}

/* What the tower's done callback tells: durable, or not. */
static void on_durable(void *arg, enum tower_status st)
{
	struct api_call *c = arg;

	if (st != TOWER_OK)
		api_refuse_status(c, st, NULL);
	KILL_POINT("api:durable");
	api_call_finish(c);
}

/* True: on_durable will come. */
static bool pending(struct api_call *c, enum tower_status st, const char *auth_text)
{
	if (st == TOWER_PENDING)
		return true;
	api_refuse_status(c, st, auth_text);
	return false;
}

static char *hex_of(const uint8_t *p, size_t sz)
{
	char *hex = malloc(2 * sz + 1);

	if (hex)
		hex_encode(hex, p, sz);
	return hex;
}

static char *dump(json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	return text;
}

/* --- register ------------------------------------------------------------------------------------------------ */

static enum api_code register_check(struct api_call *c)
{
	c->user = c->req.user;
	c->generation = c->req.generation;
	if (!sig_user_id_valid(&c->user))
		return api_refuse(c, API_WRONG_FIELD_FORMAT, "user_id is not a point on the curve");
	return API_OK;
}

static bool register_run(struct api_call *c)
{
	return pending(c, tower_register(c->api->tower, &c->user, c->generation, &c->info, on_durable, c),
		       NULL);
}

static char *register_reply(struct api_call *c)
{
	const struct tower_user_info *u = &c->info;
	uint8_t msg[RECEIPT_REGISTRATION_MAX];
	char sig[SIG_ZB_SZ + 1], user[2 * USER_ID_SZ + 1];
	size_t sz = receipt_registration(msg, c->generation, &c->user, u->available_slots,
					 u->subscription_start, u->subscription_expiry);

	if (!sig_sign(sig, c->api->key->secret, msg, sz))
		return NULL;
	hex_encode(user, c->user.b, USER_ID_SZ);

	json_t *j = json_pack("{s:s, s:I, s:I, s:s}", "user_id", user, "available_slots",
			      (json_int_t)u->available_slots, "subscription_expiry",
			      (json_int_t)u->subscription_expiry, "subscription_signature", sig);

	if (c->generation == CLIENT_LEGACY)
		json_object_set_new(j, "public_key", json_string(user));
	else
		json_object_set_new(j, "subscription_start", json_integer((json_int_t)u->subscription_start));
	return dump(j);
}

/* --- add_appointment ----------------------------------------------------------------------------------------- */

static enum api_code refuse_at(struct api_call *c, enum api_field at, enum api_code code, const char *why)
{
	c->problem = (struct api_problem){.code = code, .at = at, .why = why};
	return code;
}

/* What only a legacy user is held to. */
static bool too_strict(struct api_call *c)
{
	if (c->req.to_self_delay < c->api->cfg.min_to_self_delay)
		refuse_at(c, API_AT_DELAY, API_TOO_SMALL, "to_self_delay is too small");
	else if (c->req.blob_sz == 0)
		refuse_at(c, API_AT_BLOB, API_WRONG_FIELD_FORMAT, "encrypted_blob is empty");
	else
		return false;
	return true;
}

static enum api_code add_check(struct api_call *c)
{
	const struct api_request *r = &c->req;

	uint8_t *msg = malloc(LOCATOR_SZ + (size_t)r->blob_sz + 4);

	if (!msg)
		return api_refuse(c, API_SERVICE_UNAVAILABLE, "out of memory");
	size_t sz = receipt_add_message(msg, &r->locator, r->blob, r->blob_sz, r->to_self_delay);
	bool ok = r->sig.sz == SIG_ZB_SZ && sig_recover(&c->user, r->sig.text, SIG_ZB_SZ, msg, sz);

	free(msg);
	if (ok)
		return API_OK;
	if (c->generation == CLIENT_LEGACY && too_strict(c))
		return c->problem.code;
	return api_refuse(c, API_AUTH_OR_SUBSCRIPTION, "Invalid signature or subscription error");
}

/* Once the user is known its tag decides how it is answered. */
static void learn_generation(struct api_call *c)
{
	struct tower_user_info user;
	enum tower_status st = tower_user(c->api->tower, &c->user, &user, &c->expired);

	if (st == TOWER_OK || (st == TOWER_AUTH && c->expired))
		c->generation = user.generation;
}

static bool add_run(struct api_call *c)
{
	const struct api_request *r = &c->req;
	struct tower_add add = {.user = c->user,
				.locator = r->locator,
				.blob = r->blob,
				.blob_sz = r->blob_sz,
				.to_self_delay = r->to_self_delay};

	memcpy(add.user_sig, r->sig.text, SIG_ZB_SZ);
	if (r->to_self_delay < c->api->cfg.min_to_self_delay || r->blob_sz == 0) {
		learn_generation(c);
		if (c->generation == CLIENT_LEGACY && too_strict(c))
			return false;
	}
	enum tower_status st = tower_add_appointment(c->api->tower, &add, &c->added, on_durable, c);

	if (st == TOWER_PENDING)
		c->generation = c->added.generation;
	else
		learn_generation(c);
	return pending(c, st, c->added.text);
}

static char *add_reply(struct api_call *c)
{
	const struct tower_add_reply *r = &c->added;
	uint8_t msg[RECEIPT_APPOINTMENT_MAX];
	char sig[SIG_ZB_SZ + 1], locator[2 * LOCATOR_SZ + 1];
	size_t sz = receipt_appointment(msg, r->generation, c->req.sig.text, SIG_ZB_SZ, r->start_block);

	if (sz == 0 || !sig_sign(sig, c->api->key->secret, msg, sz))
		return NULL;
	hex_encode(locator, c->req.locator.b, LOCATOR_SZ);
	return dump(json_pack("{s:s, s:I, s:s, s:I, s:I}", "locator", locator, "start_block",
			      (json_int_t)r->start_block, "signature", sig, "available_slots",
			      (json_int_t)r->available_slots, "subscription_expiry",
			      (json_int_t)r->subscription_expiry));
}

/* --- get_appointment ----------------------------------------------------------------------------------------- */

static bool has_upper_case(const char *text, size_t sz)
{
	for (size_t i = 0; i < sz; i++) {
		if (text[i] >= 'A' && text[i] <= 'F')
			return true;
	}
	return false;
}

/* Current clients sign the locator in lower case, legacy ones as they sent it (section 5.1). */
static enum api_code get_check(struct api_call *c)
{
	const struct api_signature *s = &c->req.sig;
	char msg[RECEIPT_GET_SZ];
	bool ok = false;

	if (s->sz == SIG_ZB_SZ) {
		receipt_get_message(msg, &c->req.locator, NULL);
		ok = sig_recover(&c->user, s->text, SIG_ZB_SZ, msg, sizeof msg);
	}
	if (ok && has_upper_case(c->req.locator_text, sizeof c->req.locator_text)) {
		receipt_get_message(msg, &c->req.locator, c->req.locator_text);
		c->has_user_raw = sig_recover(&c->user_raw, s->text, SIG_ZB_SZ, msg, sizeof msg);
	}
	return ok ? API_OK : api_refuse(c, API_AUTH_OR_SUBSCRIPTION, "Invalid signature or subscription error");
}

enum tower_status api_known_user(struct api_call *c)
{
	enum tower_status st = tower_user(c->api->tower, &c->user, &c->info, &c->expired);

	if (st == TOWER_AUTH && !c->expired && c->has_user_raw) {
		c->user = c->user_raw;
		st = tower_user(c->api->tower, &c->user, &c->info, &c->expired);
	}
	if (st == TOWER_OK || c->expired)
		c->generation = c->info.generation;
	return st;
}

static bool get_run(struct api_call *c)
{
	struct tower_found f;
	enum tower_status st = api_known_user(c);

	if (st == TOWER_OK)
		st = tower_find(c->api->tower, &c->user, &c->req.locator, &f);
	if (st != TOWER_OK) {
		api_refuse_status(c, st, c->expired ? "Your subscription has expired" : NULL);
		return false;
	}
	/* The view ends with this call of the tower; the answer is written on another thread. */
	const uint8_t *p = f.is_tracker ? f.tr.penalty_raw : f.ap.blob;

	c->data_sz = f.is_tracker ? f.tr.penalty_sz : f.ap.blob_sz;
	c->data = malloc(c->data_sz + 1);
	if (!c->data) {
		api_refuse(c, API_SERVICE_UNAVAILABLE, "out of memory");
		return false;
	}
	if (c->data_sz > 0)
		memcpy(c->data, p, c->data_sz);
	c->is_tracker = f.is_tracker;
	if (f.is_tracker) {
		c->dispute = f.tr.dispute_txid;
		c->penalty = f.tr.penalty_txid;
	} else {
		c->to_self_delay = f.ap.to_self_delay;
	}
	return false;
}

static char *get_reply(struct api_call *c)
{
	char locator[2 * LOCATOR_SZ + 1], dispute[HASH_HEX_SZ], penalty[HASH_HEX_SZ];
	char *hex = hex_of(c->data, c->data_sz);
	json_t *j = NULL;

	hex_encode(locator, c->req.locator.b, LOCATOR_SZ);
	if (hex && c->is_tracker) {
		hash256_to_display(dispute, &c->dispute);
		hash256_to_display(penalty, &c->penalty);
		j = json_pack("{s:{s:s, s:s, s:s}, s:s}", "appointment", "dispute_txid", dispute,
			      "penalty_txid", penalty, "penalty_rawtx", hex, "status", "dispute_responded");
	} else if (hex) {
		j = json_pack("{s:{s:s, s:s, s:I}, s:s}", "appointment", "locator", locator, "encrypted_blob",
			      hex, "to_self_delay", (json_int_t)c->to_self_delay, "status", "being_watched");
	}
	if (c->generation == CLIENT_LEGACY) {
		json_object_set_new(j, "locator", json_string(locator));
		if (c->is_tracker)
			json_object_set_new(json_object_get(j, "appointment"), "locator", json_string(locator));
	}
	free(hex);
	return dump(j);
}

/* ------------------------------------------------------------------------------------------------------------- */

const struct api_route api_routes[API_ENDPOINT_CNT] = {
	[API_REGISTER] = {"register", MHD_HTTP_METHOD_POST, API_REGISTER, API_REGISTER_BODY_MAX, register_check,
			  register_run, register_reply},
	[API_ADD_APPOINTMENT] = {"add_appointment", MHD_HTTP_METHOD_POST, API_ADD_APPOINTMENT, 0, add_check,
				 add_run, add_reply},
	[API_GET_APPOINTMENT] = {"get_appointment", MHD_HTTP_METHOD_POST, API_GET_APPOINTMENT, API_GET_BODY_MAX,
				 get_check, get_run, get_reply},
	[API_GET_SUBSCRIPTION_INFO] = {"get_subscription_info", MHD_HTTP_METHOD_POST, API_GET_SUBSCRIPTION_INFO,
				       API_INFO_BODY_MAX, api_subscription_check, api_subscription_run,
				       api_subscription_reply},
	/* Answered where it is read: it asks nothing. */
	[API_PING] = {"ping", MHD_HTTP_METHOD_GET, API_PING, 0, NULL, NULL, NULL},
};
