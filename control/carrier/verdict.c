#include "carrier/verdict.h"

#include <jansson.h>
#include <stdio.h>
#include <strings.h>

/* RPC error codes that the table of section 17.2 tells apart. */
enum {
	RPC_MISC = -1,
	RPC_DESERIALIZE = -22,
	RPC_VERIFY_ERROR = -25,
	RPC_VERIFY_REJECTED = -26,
	RPC_ALREADY_CONFIRMED = -27,
	RPC_WARMUP = -28,
	RPC_INVALID_PARAMS = -32602
};

static void set_text(struct carrier_verdict *v, const char *text)
{
	size_t n = 0;

	for (; text[n] != '\0' && n < sizeof(v->text) - 1; n++)
		v->text[n] = text[n] >= 0x20 && text[n] <= 0x7e ? text[n] : ' ';
	v->text[n] = '\0';
}

static void set(struct carrier_verdict *v, enum carrier_outcome o, int32_t code, const char *text)
{
	v->outcome = o;
	v->code = code;
	set_text(v, text);
}

/* Answers without an RPC error object. */
static void judge_http(struct carrier_verdict *v, long http)
{
	char text[64];

	switch (http) {
	case 401:
		set(v, OUTCOME_AUTH, 0, "HTTP 401: the node does not accept our credentials");
		return;
	case 403:
		set(v, OUTCOME_FORBIDDEN, 0,
		    "HTTP 403: our address or this method is not allowed (rpcallowip, "
		    "rpcwhitelist)");
		return;
	case 503:
		set(v, OUTCOME_BUSY, 0, "HTTP 503: the node's work queue is full (rpcworkqueue)");
		return;
	}
	snprintf(text, sizeof(text), "HTTP %ld without a JSON-RPC answer", http);
	set(v, OUTCOME_NO_VERDICT, 0, text);
}

/* The -26 reasons that mean "we have it" (section 17.3, first row), by prefix; btcd's words for the same. */
static bool is_known_already(const char *reason)
{
	static const char *const known[] = {"txn-already-in-mempool", "txn-already-known",
					    "txn-same-nonwitness-data-in-mempool", "already have transaction"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strncasecmp(reason, known[i], strlen(known[i])) == 0)
			return true;
	return strstr(reason, ": already have transaction") != NULL;
}

static void judge_error(struct carrier_verdict *v, int32_t code, const char *text)
{
	switch (code) {
	case RPC_ALREADY_CONFIRMED:
		set(v, OUTCOME_ACCEPTED, 0, "already confirmed");
		return;
	case RPC_VERIFY_REJECTED:
		if (is_known_already(text))
			set(v, OUTCOME_ACCEPTED, 0, text);
		else
			set(v, OUTCOME_REFUSED, code, text);
		return;
	case RPC_DESERIALIZE:
	case RPC_VERIFY_ERROR:
		set(v, OUTCOME_REFUSED, code, text);
		return;
	case RPC_WARMUP:
		set(v, OUTCOME_WARMUP, code, text);
		return;
	case RPC_MISC:
	case RPC_INVALID_PARAMS:
		set(v, OUTCOME_PARAMS, code, text);
		return;
	}
	set(v, OUTCOME_NO_VERDICT, code, text);
}

/* The "result" of an answer, or NULL with *v filled.  *root must be released in either case. */
static json_t *result_of(struct carrier_verdict *v, long http, const char *body, size_t sz, json_t **root)
{
	json_t *err, *result;

	*root = json_loadb(body, sz, 0, NULL);
	err = json_object_get(*root, "error");
	result = json_object_get(*root, "result");
	/* Decided by the body whatever the status: errors come with 200 as well (section 17.1). */
	if (json_is_object(err) && json_is_integer(json_object_get(err, "code"))) {
		json_int_t code = json_integer_value(json_object_get(err, "code"));
		const char *text = json_string_value(json_object_get(err, "message"));

		if (code < INT32_MIN || code > INT32_MAX)
			code = 0;
		judge_error(v, (int32_t)code, text != NULL ? text : "no message");
		return NULL;
	}
	if (http != 200 || result == NULL || json_is_null(result)) {
		judge_http(v, http);
		return NULL;
	}
	return result;
}

void carrier_judge(struct carrier_verdict *v, long http, const char *body, size_t sz,
		   const struct hash256 *txid)
{
	json_t *root, *result = result_of(v, http, body, sz, &root);
	const char *text = json_string_value(result);
	struct hash256 said;

	if (result != NULL) {
		if (text != NULL && hash256_from_display(&said, text) && hash256_eq(&said, txid))
			set(v, OUTCOME_ACCEPTED, 0, "");
		else
			set(v, OUTCOME_NO_VERDICT, 0, "the node answered with another txid");
	}
	json_decref(root);
}

static uint32_t u32_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

void carrier_judge_chain(struct carrier_verdict *v, struct carrier_chain_info *info, long http,
			 const char *body, size_t sz, const struct network *net)
{
	json_t *root, *result = result_of(v, http, body, sz, &root);
	const char *chain = json_string_value(json_object_get(result, "chain"));

	*info = (struct carrier_chain_info){0};
	if (result != NULL && chain == NULL)
		set(v, OUTCOME_NO_VERDICT, 0, "getblockchaininfo names no chain");
	if (chain != NULL) {
		set(v, OUTCOME_ACCEPTED, 0, "");
		set_text(v, chain);
		snprintf(info->chain, sizeof(info->chain), "%.31s", v->text);
		v->text[0] = '\0';
		/* btcd says "mainnet" and "testnet3". */
		info->right_chain = strcmp(chain, net->rpc_chain) == 0 || network_by_name(chain) == net;
		info->blocks = u32_of(result, "blocks");
		info->headers = u32_of(result, "headers");
		info->initial_download = json_is_true(json_object_get(result, "initialblockdownload"));
	}
	json_decref(root);
}
