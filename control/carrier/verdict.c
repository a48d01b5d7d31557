#include "carrier/verdict.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* RPC error codes that the table of section 17.2 tells apart. */
enum {
	RPC_MISC = -1,
	RPC_TYPE = -3,
	RPC_OUT_OF_MEMORY = -7,
	RPC_INVALID_PARAMETER = -8,
	RPC_NOT_CONNECTED = -9,
	RPC_INITIAL_DOWNLOAD = -10,
	RPC_DATABASE = -20,
	RPC_DESERIALIZE = -22,
	RPC_VERIFY_ERROR = -25,
	RPC_VERIFY_REJECTED = -26,
	RPC_ALREADY_CONFIRMED = -27,
	RPC_WARMUP = -28,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602,
	RPC_INTERNAL = -32603,
	RPC_PARSE = -32700
};

const char *carrier_outcome_name(enum carrier_outcome o)
{
	static const char *const names[] = {
		[OUTCOME_ACCEPTED] = "accepted",     [OUTCOME_REFUSED] = "refused",
		[OUTCOME_WARMUP] = "warming up",     [OUTCOME_BUSY] = "busy",
		[OUTCOME_STOPPING] = "stopping",     [OUTCOME_AUTH] = "credentials refused",
		[OUTCOME_FORBIDDEN] = "forbidden",   [OUTCOME_PARAMS] = "parameters not known",
		[OUTCOME_NO_METHOD] = "no method",   [OUTCOME_MALFORMED] = "request not understood",
		[OUTCOME_NOT_READY] = "not ready",   [OUTCOME_SICK] = "sick",
		[OUTCOME_NO_VERDICT] = "no verdict",
	};

	return names[o];
}

#define HEX_WHOLE 31u /* hex digits in a row that are left as they are; txids and scripts are longer */
#define HEX_KEPT  8u  /* of a longer row */

/* btcd puts the penalty's txid, the one it spends and whole scripts before the reason or around it: of each its
   beginning is enough, and the reason must have room. */
void carrier_set_text(struct carrier_verdict *v, const char *text)
{
	size_t n = 0;

	while (*text != '\0' && n < sizeof(v->text) - 1) {
		size_t run = strspn(text, "0123456789abcdefABCDEF");

		if (run > HEX_WHOLE && n + HEX_KEPT + 2 < sizeof(v->text)) {
			memcpy(v->text + n, text, HEX_KEPT);
			memcpy(v->text + n + HEX_KEPT, "..", 2);
			n += HEX_KEPT + 2;
			text += run;
			continue;
		}
		/* A row of digits as a whole, so that it is measured once. */
		for (size_t i = 0; i < (run > 0 ? run : 1) && n < sizeof(v->text) - 1; i++, text++)
			v->text[n++] = *text >= 0x20 && *text <= 0x7e ? *text : ' ';
	}
	v->text[n] = '\0';
}

static void set(struct carrier_verdict *v, enum carrier_outcome o, int32_t code, const char *text)
{
	v->outcome = o;
	v->reason = REASON_NONE;
	v->code = code;
	carrier_set_text(v, text);
}

static void set_reason(struct carrier_verdict *v, enum carrier_outcome o, enum node_reason r, int32_t code,
		       const char *text)
{
	set(v, o, code, text);
	v->reason = r;
}

/* Answers without an RPC error object. */
static void judge_http(struct carrier_verdict *v, long http, const char *body, size_t sz)
{
	static const char full[] = "Work queue depth exceeded", busy[] = "Too busy"; /* btcd: rpcmaxclients */
	static const char tls[] = "HTTP request to an HTTPS server";
	char text[80];

	if (http == 400 && memmem(body, sz, tls, sizeof(tls) - 1) != NULL) {
		set(v, OUTCOME_MALFORMED, 0,
		    "HTTP 400: the node speaks TLS: its name in rpc.connect needs https:// before it");
		return;
	}
	switch (http) {
	case 401:
		set(v, OUTCOME_AUTH, 0, "HTTP 401: the node does not accept our credentials");
		return;
	case 403:
		set(v, OUTCOME_FORBIDDEN, 0,
		    "HTTP 403: our address or this method is not allowed (rpcallowip, "
		    "rpcwhitelist)");
		return;
	case 404:
		set(v, OUTCOME_NO_METHOD, 0, "HTTP 404: this is not a node's RPC");
		return;
	case 400:
	case 405:
	case 413:
		snprintf(text, sizeof(text), "HTTP %ld: the node does not understand the request", http);
		set(v, OUTCOME_MALFORMED, 0, text);
		return;
	case 503:
		if (memmem(body, sz, full, sizeof(full) - 1) != NULL)
			set(v, OUTCOME_BUSY, 0, "HTTP 503: the node's work queue is full (rpcworkqueue)");
		else if (memmem(body, sz, busy, sizeof(busy) - 1) != NULL)
			set(v, OUTCOME_BUSY, 0, "HTTP 503: the node serves no more clients (rpcmaxclients)");
		else
			set(v, OUTCOME_STOPPING, 0, "HTTP 503: the node is shutting down");
		return;
	}
	snprintf(text, sizeof(text), "HTTP %ld without a JSON-RPC answer", http);
	set(v, OUTCOME_NO_VERDICT, 0, text);
}

/* --- the transaction ---------------------------------------------------------------------------------------- */

static const char btcd_prefix[] = "TX rejected: ";

/* btcd's words for the same: a sentence, with txids and numbers in the midst of it.  The first that is found counts. */
static enum node_reason btcd_reason_of(const char *text)
{
	static const struct {
		const char *words;
		enum node_reason reason;
	} table[] = {
		/* Says so of an orphan as well, which it keeps beside its mempool, and a penalty that came by P2P first may
		   be one: whether it has it is still to be asked. */
		{"already have transaction", REASON_INPUTS},
		{"orphan transaction", REASON_INPUTS},
		{"does not exist or has already been spent", REASON_INPUTS},

		{"output already spent in mempool", REASON_CONFLICT},
		{"replacement transaction", REASON_CONFLICT},

		{"fees which is under the required amount", REASON_FEE_LOW},
		{"has insufficient priority", REASON_FEE_LOW},
		{"rejected by the rate limiter due to low fees", REASON_FEE_LOW},

		{"sequence locks on inputs not met", REASON_TIMING},
		{"transaction is not finalized", REASON_TIMING},
		{"before required maturity", REASON_TIMING},
		{"segwit isn't active yet", REASON_TIMING},

		{"is not standard", REASON_POLICY},
		{"non-standard input", REASON_POLICY},
		{"sigop cost is too high", REASON_POLICY},
		{" is too small", REASON_POLICY},
		/* Scripts are run once, with the flags of policy: it must not count as invalid. */
		{"failed to validate input", REASON_POLICY},

		{"which is less than the amount spent", REASON_INVALID},
		{"transaction has no inputs", REASON_INVALID},
		{"transaction has no outputs", REASON_INVALID},
		{"transaction contains duplicate inputs", REASON_INVALID},
		{"max allowed value", REASON_INVALID},
		{"output has negative value", REASON_INVALID},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strstr(text, table[i].words) != NULL)
			return table[i].reason;
	return REASON_OTHER;
}

enum node_reason carrier_reason_of(const char *text)
{
	static const struct {
		const char *prefix;
		enum node_reason reason;
	} table[] = {
		{"txn-already-in-mempool", REASON_IN_MEMPOOL},
		{"txn-same-nonwitness-data-in-mempool", REASON_IN_MEMPOOL},
		{"txn-already-known", REASON_CONFIRMED},

		{"min relay fee not met", REASON_FEE_LOW},
		{"mempool min fee not met", REASON_FEE_LOW},
		{"mempool full", REASON_FEE_LOW},

		{"insufficient fee", REASON_CONFLICT},
		{"txn-mempool-conflict", REASON_CONFLICT},
		{"too many potential replacements", REASON_CONFLICT},
		{"replacement-adds-unconfirmed", REASON_CONFLICT},
		{"bip125-replacement-disallowed", REASON_CONFLICT},

		{"non-final", REASON_TIMING},
		{"non-BIP68-final", REASON_TIMING},
		{"bad-txns-premature-spend-of-coinbase", REASON_TIMING},

		{"too-long-mempool-chain", REASON_CHAIN_LIMIT},
		{"TRUC-violation", REASON_CHAIN_LIMIT},

		/* "scriptpubkey" and "version" are whole words: "bad-txns-..." begins with neither. */
		{"dust", REASON_POLICY},
		{"scriptpubkey", REASON_POLICY},
		{"version", REASON_POLICY},
		{"tx-size", REASON_POLICY},
		{"scriptsig-size", REASON_POLICY},
		{"scriptsig-not-pushonly", REASON_POLICY},
		{"bare-multisig", REASON_POLICY},
		{"multi-op-return", REASON_POLICY},
		{"bad-txns-nonstandard-inputs", REASON_POLICY},
		{"bad-witness-nonstandard", REASON_POLICY},
		{"bad-txns-too-many-sigops", REASON_POLICY},
		{"non-mandatory-script-verify-flag", REASON_POLICY},
		/* v30 says this for policy and for consensus, so it must not count as invalid. */
		{"mempool-script-verify-flag-failed", REASON_POLICY},

		{"bad-txns-inputs-missingorspent", REASON_INPUTS},
		{"missing-inputs", REASON_INPUTS},

		{"mandatory-script-verify-flag-failed", REASON_INVALID},
		{"bad-txns-in-belowout", REASON_INVALID},
		{"bad-txns-inputs-duplicate", REASON_INVALID},
		{"bad-txns-inputvalues-outofrange", REASON_INVALID},
		{"bad-txns-fee-outofrange", REASON_INVALID},
		{"bad-txns-vin-empty", REASON_INVALID},
		{"bad-txns-vout-", REASON_INVALID},
		{"bad-txns-txouttotal-toolarge", REASON_INVALID},
		{"bad-txns-oversize", REASON_INVALID},
		{"bad-txns-prevout-null", REASON_INVALID},
		{"bad-txns-spends-conflicting-tx", REASON_INVALID},
		{"bad-cb-length", REASON_INVALID},
		{"coinbase", REASON_INVALID},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strncasecmp(text, table[i].prefix, strlen(table[i].prefix)) == 0)
			return table[i].reason;
	return strncmp(text, btcd_prefix, sizeof(btcd_prefix) - 1) == 0 ? btcd_reason_of(text) : REASON_OTHER;
}

/* -25 is three different things (section 17.3); none of them means that the penalty has failed. */
static enum node_reason reason_of_25(const char *text)
{
	if (strncasecmp(text, "Fee exceeds maximum", 19) == 0 || strncasecmp(text, "max-fee-exceeded", 16) == 0)
		return REASON_FEE_LIMIT;
	if (strncasecmp(text, "Unspendable output", 18) == 0)
		return REASON_BURN_LIMIT;
	if (strcasestr(text, "missing") != NULL && strcasestr(text, "inputs") != NULL)
		return REASON_INPUTS;
	return carrier_reason_of(text);
}

static void judge_26(struct carrier_verdict *v, const char *text)
{
	enum node_reason r = carrier_reason_of(text);

	if (r == REASON_IN_MEMPOOL || r == REASON_CONFIRMED)
		set_reason(v, OUTCOME_ACCEPTED, r, 0, text);
	else
		set_reason(v, OUTCOME_REFUSED, r, RPC_VERIFY_REJECTED, text);
}

static void judge_error(struct carrier_verdict *v, int32_t code, const char *text)
{
	switch (code) {
	case RPC_ALREADY_CONFIRMED:
		set_reason(v, OUTCOME_ACCEPTED, REASON_CONFIRMED, 0, "already confirmed");
		return;
	case RPC_VERIFY_REJECTED:
		judge_26(v, text);
		return;
	case RPC_DESERIALIZE:
		set_reason(v, OUTCOME_REFUSED, REASON_UNDECODABLE, code, text);
		return;
	case RPC_VERIFY_ERROR:
		set_reason(v, OUTCOME_REFUSED, reason_of_25(text), code, text);
		return;
	case RPC_WARMUP:
		set(v, OUTCOME_WARMUP, code, text);
		return;
	case RPC_MISC:
	case RPC_INVALID_PARAMS:
		set(v, OUTCOME_PARAMS, code, text);
		return;
	case RPC_METHOD_NOT_FOUND:
		set(v, OUTCOME_NO_METHOD, code, text);
		return;
	case RPC_INVALID_REQUEST:
	case RPC_PARSE:
	case RPC_TYPE:
	case RPC_INVALID_PARAMETER:
		set(v, OUTCOME_MALFORMED, code, text);
		return;
	case RPC_NOT_CONNECTED:
	case RPC_INITIAL_DOWNLOAD:
		set(v, OUTCOME_NOT_READY, code, text);
		return;
	case RPC_OUT_OF_MEMORY:
	case RPC_DATABASE:
	case RPC_INTERNAL:
		/* btcd's rpclimituser has this code too. */
		if (strncmp(text, "limited user", 12) == 0)
			set(v, OUTCOME_FORBIDDEN, code, text);
		else
			set(v, OUTCOME_SICK, code, text);
		return;
	}
	set(v, OUTCOME_NO_VERDICT, code, text);
}

struct json_t *carrier_result(struct carrier_verdict *v, long http, const char *body, size_t sz,
			      struct json_t **root)
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
	if (http != 200 || result == NULL) {
		judge_http(v, http, body, sz);
		return NULL;
	}
	return result;
}

void carrier_judge(struct carrier_verdict *v, long http, const char *body, size_t sz,
		   const struct hash256 *txid)
{
	json_t *root, *result = carrier_result(v, http, body, sz, &root);
	const char *text = json_string_value(result);
	struct hash256 said;

	if (json_is_null(result)) {
		set(v, OUTCOME_NO_VERDICT, 0, "the node answered with neither result nor error");
	} else if (result != NULL) {
		if (text != NULL && hash256_from_display(&said, text) && hash256_eq(&said, txid))
			set_reason(v, OUTCOME_ACCEPTED, REASON_IN_MEMPOOL, 0, "");
		else
			set(v, OUTCOME_NO_VERDICT, 0, "the node answered with another txid");
	}
	json_decref(root);
}

/* --- the node ----------------------------------------------------------------------------------------------- */

static uint32_t u32_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

/* An array from v28 on, a text before. */
static const char *warning_of(const json_t *w)
{
	const char *text = json_string_value(json_is_array(w) ? json_array_get(w, 0) : w);

	return text != NULL ? text : "";
}

void carrier_judge_chain(struct carrier_verdict *v, struct carrier_chain_info *info, long http,
			 const char *body, size_t sz, const struct network *net)
{
	json_t *root, *result = carrier_result(v, http, body, sz, &root);
	const char *chain = json_string_value(json_object_get(result, "chain"));
	const char *best = json_string_value(json_object_get(result, "bestblockhash"));

	*info = (struct carrier_chain_info){0};
	if (result != NULL && chain == NULL)
		set(v, OUTCOME_NO_VERDICT, 0, "getblockchaininfo names no chain");
	if (chain != NULL) {
		set(v, OUTCOME_ACCEPTED, 0, "");
		carrier_set_text(v, chain);
		snprintf(info->chain, sizeof(info->chain), "%.31s", v->text);
		carrier_set_text(v, warning_of(json_object_get(result, "warnings")));
		snprintf(info->warning, sizeof(info->warning), "%.95s", v->text);
		v->text[0] = '\0';
		if (best == NULL || !hash256_from_display(&info->best, best))
			info->best = (struct hash256){{0}};
		info->pruned = json_is_true(json_object_get(result, "pruned"));
		info->prune_height = u32_of(result, "pruneheight");
		/* btcd says "mainnet" and "testnet3". */
		info->right_chain = strcmp(chain, net->rpc_chain) == 0 || network_by_name(chain) == net;
		info->blocks = u32_of(result, "blocks");
		info->headers = u32_of(result, "headers");
		info->initial_download = json_is_true(json_object_get(result, "initialblockdownload"));
	}
	json_decref(root);
}

void carrier_judge_genesis(struct carrier_verdict *v, bool *right_chain, long http, const char *body, size_t sz,
			   const struct network *net)
{
	json_t *root, *result = carrier_result(v, http, body, sz, &root);
	const char *text = json_string_value(result);
	struct hash256 said;

	*right_chain = false;
	if (text != NULL && hash256_from_display(&said, text)) {
		set(v, OUTCOME_ACCEPTED, 0, "");
		*right_chain = hash256_eq(&said, &net->genesis_hash);
	} else if (result != NULL) {
		set(v, OUTCOME_NO_VERDICT, 0, "getblockhash gives no hash");
	}
	json_decref(root);
}
