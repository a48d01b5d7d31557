/* node_json.c - what a node answers over JSON-RPC: whatever it is, the verdict is one of those that the tower knows, its
   text is short and printable, and only a node's own words about the transaction refuse it.

   The first byte of the input chooses the HTTP status; the rest is the body. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "carrier/lookup.h"

static void check_text(const char *text, size_t room)
{
	assert(strnlen(text, room) < room);
	for (; *text != '\0'; text++)
		assert(*text >= 0x20 && *text <= 0x7e);
}

static void check(const struct carrier_verdict *v)
{
	assert((unsigned)v->outcome <= OUTCOME_NO_VERDICT);
	assert(carrier_outcome_name(v->outcome)[0] != '\0');
	assert((unsigned)v->reason <= REASON_LAST);
	check_text(v->text, sizeof(v->text));
	switch (v->outcome) {
	case OUTCOME_ACCEPTED:
		assert(v->code == 0 && v->reason <= REASON_CONFIRMED);
		break;
	case OUTCOME_REFUSED:
		assert(v->code == -22 || v->code == -25 || v->code == -26);
		assert(v->reason > REASON_CONFIRMED || v->code == -25);
		break;
	default:
		assert(v->reason == REASON_NONE);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	static const long status[] = {200, 500, 401, 403, 404, 405, 400, 503, 413, 301};
	struct hash256 txid = {{1}}, spender;
	struct carrier_chain_info info;
	struct carrier_verdict v;
	char *body;
	long http;

	if (sz < 1 || sz > 65536)
		return 0;
	http = status[data[0] % (sizeof(status) / sizeof(status[0]))];
	/* A copy of its exact size, so that a read behind it is seen. */
	body = malloc(sz > 1 ? sz - 1 : 1);
	assert(body != NULL);
	memcpy(body, data + 1, sz - 1);
	memset(&v, 0xff, sizeof(v));
	carrier_judge(&v, http, body, sz - 1, &txid);
	check(&v);
	memset(&v, 0xff, sizeof(v));
	carrier_judge_chain(&v, &info, http, body, sz - 1, network_get(NET_REGTEST));
	assert((unsigned)v.outcome <= OUTCOME_NO_VERDICT);
	check_text(v.text, sizeof(v.text));
	check_text(info.chain, sizeof(info.chain));
	check_text(info.warning, sizeof(info.warning));
	assert(!info.right_chain || v.outcome == OUTCOME_ACCEPTED);
	assert((unsigned)lookup_place(http, body, sz - 1) <= PLACE_UNKNOWN);
	assert((unsigned)lookup_output(http, body, sz - 1) <= OUTPUT_UNKNOWN);
	if (lookup_spender(http, body, sz - 1, &txid, &spender))
		assert(!hash256_eq(&spender, &txid));
	free(body);
	return 0;
}
