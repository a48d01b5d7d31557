/* tower_api.h - the client's side of the TEOS HTTP API, both generations (spec/teos.md sections 2 to 5, 7, 18).

   Every receipt is checked: the tower's key is recovered from it and must be the one expected, or the one seen
   first.
   Threads  One thread for each session; the key may be shared. */
#ifndef VIGIL_CLIENT_TOWER_API_H
#define VIGIL_CLIENT_TOWER_API_H

#include "btc/hash.h"
#include "client/http.h"
#include "teos/key.h"

struct api_config {
	const char *url;
	const struct tower_key *key; /* the user's; same form of file as the tower's */
	enum client_generation generation;
	enum locator_scheme scheme; /* how locators and blob keys are derived from a txid */
	uint32_t to_self_delay;
	uint64_t wait_ns; /* see http_open */
	bool has_tower_id;
	struct user_id tower_id; /* every receipt must be signed by it */
};

struct api;

struct api *api_open(const struct api_config *cfg);
void api_close(struct api *a);

enum api_outcome {
	API_OK,
	API_REFUSED,     /* the tower said no: status, code, why */
	API_UNREACHABLE, /* no answer, or not JSON */
	API_BAD_RECEIPT, /* an answer that does not prove anything: wrong fields or signature */
	API_OUTCOME_CNT
};
const char *api_outcome_name(enum api_outcome o);

struct api_result {
	enum api_outcome outcome;
	long status;
	json_int_t code; /* error_code; 0 none */
	char why[HTTP_WHY_SZ];
	uint64_t took_ns;
	json_t *body; /* the tower's answer, or NULL; api_result_free gives it back */
	uint32_t start_block, available_slots, expiry;
	struct user_id tower_id; /* recovered from the receipt; on API_OK of register and add */
};
void api_result_free(struct api_result *r);

void api_register(struct api *a, struct api_result *out);
/* blob as it goes to the tower. */
void api_add(struct api *a, const struct locator *l, const uint8_t *blob, size_t blob_sz,
	     struct api_result *out);
void api_get(struct api *a, const struct locator *l, struct api_result *out);
void api_subscription(struct api *a, struct api_result *out);

#endif
