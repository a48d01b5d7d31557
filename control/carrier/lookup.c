#include "carrier/lookup.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD "{\"jsonrpc\":\"1.0\",\"id\":\"vigil\",\"method\":\""

char *lookup_place_body(const struct hash256 *txid)
{
	char hex[HASH_HEX_SZ], *body;

	hash256_to_display(hex, txid);
	/* 1, not true: btcd takes nothing else. */
	return asprintf(&body, HEAD "getrawtransaction\",\"params\":[\"%s\",1]}", hex) < 0 ? NULL : body;
}

enum carrier_place lookup_place(long http, const char *body, size_t sz)
{
	struct carrier_verdict v;
	json_t *root, *result = carrier_result(&v, http, body, sz, &root);
	enum carrier_place place = PLACE_UNKNOWN;

	if (json_is_object(result))
		place = json_is_string(json_object_get(result, "blockhash")) ? PLACE_BLOCK : PLACE_MEMPOOL;
	else if (result == NULL && v.code == -5)
		place = PLACE_NOT_FOUND;
	json_decref(root);
	return place;
}

/* --- inputs ------------------------------------------------------------------------------------------------- */

struct inputs {
	struct outpoint of[LOOKUP_INPUT_MAX];
	unsigned cnt;
};

static bool take_input(void *arg, const struct outpoint *prev, uint32_t sequence)
{
	struct inputs *in = arg;

	(void)sequence;
	in->of[in->cnt++] = *prev;
	return in->cnt < LOOKUP_INPUT_MAX;
}

static void inputs_of(struct inputs *in, const uint8_t *raw, size_t sz)
{
	struct tx_view t;
	size_t used;

	in->cnt = 0;
	if (tx_parse(raw, sz, false, &t, &used) == PARSE_OK)
		tx_each_input(raw, &t, take_input, in);
}

char *lookup_spender_body(const uint8_t *raw, size_t sz)
{
	static const char tail[] = "]]}";
	struct inputs in;
	size_t room, at;
	char *body;

	inputs_of(&in, raw, sz);
	if (in.cnt == 0)
		return NULL;
	room = 64 + in.cnt * (HASH_HEX_SZ + 40) + sizeof(tail);
	body = malloc(room);
	if (body == NULL)
		return NULL;
	at = (size_t)snprintf(body, room, HEAD "gettxspendingprevout\",\"params\":[[");
	for (unsigned i = 0; i < in.cnt; i++) {
		char hex[HASH_HEX_SZ];

		hash256_to_display(hex, &in.of[i].txid);
		at += (size_t)snprintf(body + at, room - at, "%s{\"txid\":\"%s\",\"vout\":%u}",
				       i > 0 ? "," : "", hex, in.of[i].vout);
	}
	memcpy(body + at, tail, sizeof(tail));
	return body;
}

bool lookup_spender(long http, const char *body, size_t sz, const struct hash256 *own, struct hash256 *spender)
{
	struct carrier_verdict v;
	json_t *root, *result = carrier_result(&v, http, body, sz, &root), *one;
	bool found = false;
	size_t i;

	if (json_is_array(result))
		json_array_foreach(result, i, one)
		{
			const char *hex = json_string_value(json_object_get(one, "spendingtxid"));

			if (!found && hex != NULL && hash256_from_display(spender, hex))
				found = !hash256_eq(spender, own);
		}
	json_decref(root);
	return found;
}

char *lookup_output_body(const uint8_t *raw, size_t sz)
{
	char hex[HASH_HEX_SZ], *body;
	struct inputs in;

	inputs_of(&in, raw, sz);
	if (in.cnt == 0)
		return NULL;
	hash256_to_display(hex, &in.of[0].txid);
	return asprintf(&body, HEAD "gettxout\",\"params\":[\"%s\",%u,false]}", hex, in.of[0].vout) < 0 ? NULL
													: body;
}

enum carrier_output lookup_output(long http, const char *body, size_t sz)
{
	struct carrier_verdict v;
	json_t *root, *result = carrier_result(&v, http, body, sz, &root);
	enum carrier_output o = OUTPUT_UNKNOWN;

	if (json_is_null(result))
		o = OUTPUT_GONE;
	else if (json_is_object(result))
		o = OUTPUT_UNSPENT;
	json_decref(root);
	return o;
}
