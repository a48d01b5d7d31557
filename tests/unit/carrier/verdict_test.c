/* Every row of the tables in spec/bitcoin.md sections 17.2 and 17.3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "carrier/verdict.h"

#define TXID "191b267e412837d67af7a86322ce936a751012f00a143caad0f54c836fbd622b"

static struct carrier_verdict judge(long http, const char *body)
{
	struct carrier_verdict v;
	struct hash256 txid;

	memset(&v, 0xff, sizeof(v));
	assert_true(hash256_from_display(&txid, TXID));
	carrier_judge(&v, http, body, strlen(body), &txid);
	return v;
}

static struct carrier_verdict judge_error(long http, int code, const char *text)
{
	char body[1024];

	snprintf(body, sizeof(body),
		 "{\"result\":null,\"error\":{\"code\":%d,\"message\":\"%s\"},\"id\":\"vigil\"}", code, text);
	return judge(http, body);
}

static void check(long http, int code, const char *text, enum carrier_outcome want, int want_code)
{
	struct carrier_verdict v = judge_error(http, code, text);

	if (v.outcome != want)
		print_error("HTTP %ld, %d %s: outcome %d\n", http, code, text, (int)v.outcome);
	assert_int_equal(v.outcome, want);
	assert_int_equal(v.code, want_code);
}

static void a_txid_in_answer_is_acceptance(void **state)
{
	struct carrier_verdict v = judge(200, "{\"result\":\"" TXID "\",\"error\":null,\"id\":1}");

	(void)state;
	assert_int_equal(v.outcome, OUTCOME_ACCEPTED);
	assert_int_equal(v.code, 0);
	assert_string_equal(v.text, "");
}

static void another_txid_is_no_verdict(void **state)
{
	(void)state;
	assert_int_equal(judge(200, "{\"result\":\"00" TXID "\",\"error\":null,\"id\":1}").outcome,
			 OUTCOME_NO_VERDICT);
	assert_int_equal(judge(200, "{\"result\":\""
				    "291b267e412837d67af7a86322ce936a751012f00a143caad0f54c836fbd622b"
				    "\",\"error\":null,\"id\":1}")
				 .outcome,
			 OUTCOME_NO_VERDICT);
	assert_int_equal(judge(200, "{\"result\":7,\"error\":null,\"id\":1}").outcome, OUTCOME_NO_VERDICT);
}

/* Every row of section 17.3's table, the three meanings of -25, and what must never be taken for invalid. */
static void T21_every_refusal_has_its_reason(void **state)
{
	static const struct {
		int code;
		const char *text;
		enum node_reason reason;
	} rows[] = {
		{-22, "TX decode failed. Make sure the tx has at least one input.", REASON_UNDECODABLE},
		{-25, "bad-txns-inputs-missingorspent", REASON_INPUTS},
		{-25, "Inputs missing or spent", REASON_INPUTS},
		{-25, "Missing inputs", REASON_INPUTS},
		{-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)", REASON_FEE_LIMIT},
		{-25, "Unspendable output exceeds maximum configured by user (maxburnamount)",
		 REASON_BURN_LIMIT},
		{-25, "what nobody has heard of", REASON_OTHER},
		{-26, "min relay fee not met, 100 < 110", REASON_FEE_LOW},
		{-26, "mempool min fee not met, 200 < 1000", REASON_FEE_LOW},
		{-26, "mempool full", REASON_FEE_LOW},
		{-26, "insufficient fee, rejecting replacement", REASON_CONFLICT},
		{-26, "txn-mempool-conflict", REASON_CONFLICT},
		{-26, "too many potential replacements, rejecting", REASON_CONFLICT},
		{-26, "replacement-adds-unconfirmed, replacement", REASON_CONFLICT},
		{-26, "bip125-replacement-disallowed, replacement", REASON_CONFLICT},
		{-26, "non-final", REASON_TIMING},
		{-26, "non-BIP68-final", REASON_TIMING},
		{-26, "bad-txns-premature-spend-of-coinbase, tried", REASON_TIMING},
		{-26, "too-long-mempool-chain, too many descendants", REASON_CHAIN_LIMIT},
		{-26, "TRUC-violation, version=3 tx", REASON_CHAIN_LIMIT},
		{-26, "dust", REASON_POLICY},
		{-26, "dust, tx with dust output must be 0-fee", REASON_POLICY},
		{-26, "scriptpubkey", REASON_POLICY},
		{-26, "version", REASON_POLICY},
		{-26, "tx-size", REASON_POLICY},
		{-26, "tx-size-small", REASON_POLICY},
		{-26, "scriptsig-size", REASON_POLICY},
		{-26, "scriptsig-not-pushonly", REASON_POLICY},
		{-26, "bare-multisig", REASON_POLICY},
		{-26, "multi-op-return", REASON_POLICY},
		{-26, "bad-txns-nonstandard-inputs", REASON_POLICY},
		{-26, "bad-witness-nonstandard", REASON_POLICY},
		{-26, "bad-txns-too-many-sigops", REASON_POLICY},
		{-26, "non-mandatory-script-verify-flag (Witness program hash mismatch)", REASON_POLICY},
		{-26, "mempool-script-verify-flag-failed (Signature must be zero)", REASON_POLICY},
		{-26, "mandatory-script-verify-flag-failed (Invalid signature)", REASON_INVALID},
		{-26, "bad-txns-in-belowout, value in (1) < value out (2)", REASON_INVALID},
		{-26, "bad-txns-inputs-duplicate", REASON_INVALID},
		{-26, "bad-txns-vin-empty", REASON_INVALID},
		{-26, "bad-txns-vout-empty", REASON_INVALID},
		{-26, "bad-txns-vout-toolarge", REASON_INVALID},
		{-26, "bad-txns-txouttotal-toolarge", REASON_INVALID},
		{-26, "bad-txns-oversize", REASON_INVALID},
		{-26, "bad-txns-prevout-null", REASON_INVALID},
		{-26, "bad-cb-length", REASON_INVALID},
		{-26, "coinbase", REASON_INVALID},
		{-26, "bad-txns-spends-conflicting-tx", REASON_INVALID},
		{-26, "a reason of a version to come", REASON_OTHER},
		{-26, "", REASON_OTHER},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct carrier_verdict v = judge_error(500, rows[i].code, rows[i].text);

		if (v.reason != rows[i].reason)
			print_error("%d %s: reason %d\n", rows[i].code, rows[i].text, (int)v.reason);
		assert_int_equal(v.outcome, OUTCOME_REFUSED);
		assert_int_equal(v.reason, rows[i].reason);
		assert_int_equal(v.code, rows[i].code);
	}
}

/* btcd's sentences, and its codes: -25 is all that its rules for blocks say too. */
static void btcds_words_have_the_same_reasons(void **state)
{
	static const struct {
		int code;
		const char *text;
		enum node_reason reason;
	} rows[] = {
		{-26, "already have transaction in mempool " TXID, REASON_INPUTS}, /* or as an orphan */
		{-25,
		 "orphan transaction " TXID " references outputs of unknown or fully-spent transaction " TXID,
		 REASON_INPUTS},
		{-25,
		 "output " TXID ":0 referenced from transaction " TXID
		 ":0 either does not exist or has already been spent",
		 REASON_INPUTS},
		{-26, "output already spent in mempool: output=" TXID ":0, tx=" TXID, REASON_CONFLICT},
		{-26, TXID ": replacement transaction has an insufficient absolute fee: needs 2, has 1",
		 REASON_CONFLICT},
		{-26, "transaction " TXID " has 10 fees which is under the required amount of 182",
		 REASON_FEE_LOW},
		{-26, "transaction " TXID " has insufficient priority (2855.77 <= 5.76e+07)", REASON_FEE_LOW},
		{-26, "transaction " TXID " has been rejected by the rate limiter due to low fees",
		 REASON_FEE_LOW},
		{-26, "transaction's sequence locks on inputs not met", REASON_TIMING},
		{-26, "transaction " TXID " is not standard: transaction is not finalized", REASON_TIMING},
		{-25,
		 "tried to spend coinbase transaction output " TXID
		 ":0 from height 2 at height 9 before required maturity of 100 blocks",
		 REASON_TIMING},
		{-26, "transaction " TXID " has witness data, but segwit isn't active yet", REASON_TIMING},
		{-26, "transaction " TXID " is not standard: transaction output 0: payment is dust: 9",
		 REASON_POLICY},
		{-26, "transaction " TXID " has a non-standard input: transaction input #0 has 9 ...",
		 REASON_POLICY},
		{-26, "transaction " TXID " sigop cost is too high: 16001 > 16000", REASON_POLICY},
		{-26, "tx " TXID " is too small", REASON_POLICY},
		{-25,
		 "failed to validate input " TXID ":0 which references output " TXID
		 ":0 - signature not empty on failed checksig (...)",
		 REASON_POLICY},
		{-25,
		 "total value of all transaction inputs for transaction " TXID
		 " is 1 which is less than the amount spent of 2",
		 REASON_INVALID},
		{-25, "transaction has no outputs", REASON_INVALID},
		{-25, "transaction contains duplicate inputs", REASON_INVALID},
		{-26, "a reason of a version to come", REASON_OTHER},
		{-25, "", REASON_OTHER},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct carrier_verdict v;
		char text[512];

		snprintf(text, sizeof(text), "TX rejected: %s", rows[i].text);
		v = judge_error(200, rows[i].code, text);
		if (v.reason != rows[i].reason)
			print_error("%d %s: reason %d\n", rows[i].code, text, (int)v.reason);
		assert_int_equal(v.outcome, OUTCOME_REFUSED);
		assert_int_equal(v.reason, rows[i].reason);
		assert_int_equal(v.code, rows[i].code);
		/* Nobody else is read so. */
		assert_int_equal(carrier_reason_of(rows[i].text), REASON_OTHER);
	}
	check(200, -27, "TX rejected: transaction already exists in blockchain", OUTCOME_ACCEPTED, 0);
}

static void only_codes_about_the_transaction_refuse_it(void **state)
{
	static const char *const reasons[] = {
		"min relay fee not met, 100 < 110",
		"mempool min fee not met",
		"mempool full",
		"insufficient fee, rejecting replacement",
		"txn-mempool-conflict",
		"non-final",
		"non-BIP68-final",
		"too-long-mempool-chain, too many descendants",
		"TRUC-violation",
		"dust",
		"scriptpubkey",
		"mandatory-script-verify-flag-failed (Invalid signature)",
		"non-mandatory-script-verify-flag (Witness program hash mismatch)",
		"mempool-script-verify-flag-failed (x)",
		"bad-txns-in-belowout",
		"a reason that no table knows"};

	(void)state;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		check(500, -26, reasons[i], OUTCOME_REFUSED, -26);
	check(500, -25, "bad-txns-inputs-missingorspent", OUTCOME_REFUSED, -25);
	check(500, -25, "Fee exceeds maximum configured by user", OUTCOME_REFUSED, -25);
	check(500, -25, "Unspendable output exceeds maximum", OUTCOME_REFUSED, -25);
	check(500, -22, "TX decode failed. Make sure the tx has at least one input.", OUTCOME_REFUSED, -22);
}

static void known_or_confirmed_is_acceptance(void **state)
{
	(void)state;
	check(500, -27, "Transaction outputs already in utxo set", OUTCOME_ACCEPTED, 0);
	check(500, -26, "txn-already-in-mempool", OUTCOME_ACCEPTED, 0);
	check(500, -26, "txn-already-known", OUTCOME_ACCEPTED, 0);
	check(500, -26, "txn-same-nonwitness-data-in-mempool", OUTCOME_ACCEPTED, 0);
}

static void a_sick_or_starting_node_says_nothing_about_the_transaction(void **state)
{
	(void)state;
	check(500, -28, "Loading block index...", OUTCOME_WARMUP, -28);
	check(500, -28, "Verifying blocks...", OUTCOME_WARMUP, -28);
	check(404, -32601, "Method not found", OUTCOME_NO_METHOD, -32601);
	check(400, -32600, "Invalid Request object", OUTCOME_MALFORMED, -32600);
	check(500, -32700, "Parse error", OUTCOME_MALFORMED, -32700);
	check(500, -3, "JSON value of type null is not of expected type", OUTCOME_MALFORMED, -3);
	check(500, -8, "maxfeerate", OUTCOME_MALFORMED, -8);
	check(500, -9, "not connected", OUTCOME_NOT_READY, -9);
	check(500, -10, "in initial download", OUTCOME_NOT_READY, -10);
	check(500, -7, "Out of memory", OUTCOME_SICK, -7);
	check(500, -20, "Database error", OUTCOME_SICK, -20);
	check(500, -32603, "Internal error", OUTCOME_SICK, -32603);
	check(200, -32603, "limited user not authorized for this method", OUTCOME_FORBIDDEN, -32603);
	check(500, -5, "No such mempool or blockchain transaction", OUTCOME_NO_VERDICT, -5);
	check(500, -4242, "a code of a version to come", OUTCOME_NO_VERDICT, -4242);
	check(500, -1, "sendrawtransaction hexstring ( maxfeerate )", OUTCOME_PARAMS, -1);
	check(500, -32602, "wrong number of params", OUTCOME_PARAMS, -32602);
}

static void http_errors_without_json_are_told_apart(void **state)
{
	(void)state;
	assert_int_equal(judge(401, "").outcome, OUTCOME_AUTH);
	assert_int_equal(judge(403, "").outcome, OUTCOME_FORBIDDEN);
	assert_int_equal(judge(503, "Work queue depth exceeded").outcome, OUTCOME_BUSY);
	assert_int_equal(judge(503, "503 Too busy.  Try again later.\n").outcome, OUTCOME_BUSY);
	assert_int_equal(judge(503, "Request rejected during server shutdown").outcome, OUTCOME_STOPPING);
	assert_int_equal(judge(503, "").outcome, OUTCOME_STOPPING);
	assert_int_equal(judge(404, "").outcome, OUTCOME_NO_METHOD);
	assert_int_equal(judge(405, "JSONRPC server handles only POST requests").outcome, OUTCOME_MALFORMED);
	assert_int_equal(judge(400, "").outcome, OUTCOME_MALFORMED);
	assert_int_equal(judge(413, "").outcome, OUTCOME_MALFORMED);
	assert_non_null(strstr(judge(400, "Client sent an HTTP request to an HTTPS server.\n").text, "TLS"));
	assert_int_equal(judge(500, "<html>").outcome, OUTCOME_NO_VERDICT);
}

static void rubbish_is_no_verdict(void **state)
{
	static const char *const bodies[] = {"",
					     "{",
					     "null",
					     "[]",
					     "{}",
					     "{\"result\":null,\"error\":null}",
					     "{\"error\":{}}",
					     "{\"error\":{\"code\":\"-26\"}}",
					     "{\"error\":\"-26\"}",
					     "{\"result\":\"\xff\"}",
					     "{\"result\":[\"" TXID "\"]}"};

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		assert_int_equal(judge(200, bodies[i]).outcome, OUTCOME_NO_VERDICT);
}

static void the_body_decides_whatever_the_status(void **state)
{
	(void)state;
	check(200, -26, "dust", OUTCOME_REFUSED, -26);
	check(200, -27, "x", OUTCOME_ACCEPTED, 0);
	/* A result beside an HTTP error is none. */
	assert_int_equal(judge(500, "{\"result\":\"" TXID "\"}").outcome, OUTCOME_NO_VERDICT);
}

static void the_text_is_cut_and_printable(void **state)
{
	char text[401];
	struct carrier_verdict v;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "a\\n\xc3\xa9 ", 6);
	v = judge_error(500, -26, text);
	assert_int_equal(v.outcome, OUTCOME_REFUSED);
	assert_int_equal(strlen(v.text), sizeof(v.text) - 1);
	for (const char *p = v.text; *p != '\0'; p++)
		assert_true(*p >= 0x20 && *p <= 0x7e);
}

/* As btcd words them: the reason stands behind numbers of 64 digits. */
static void long_hex_numbers_leave_room_for_the_reason(void **state)
{
	struct carrier_verdict v;

	(void)state;
	v = judge_error(200, -26,
			"TX rejected: transaction " TXID
			" has 10 fees which is under the required amount of 182");
	assert_string_equal(
		v.text,
		"TX rejected: transaction 191b267e.. has 10 fees which is under the required amount of 182");
	v = judge_error(200, -25,
			"TX rejected: failed to validate input " TXID ":0 which references output " TXID
			":1 - signature not empty on failed checksig (input witness [" TXID TXID " 01], input "
			"script bytes , prev output script bytes 0020" TXID ")");
	assert_int_equal(v.outcome, OUTCOME_REFUSED);
	assert_non_null(strstr(v.text, "failed to validate input 191b267e..:0 which references output "
				       "191b267e..:1 - signature not empty on failed checksig (input"));
	/* Shorter ones are left alone, and so is one that ends the text. */
	v = judge_error(200, -26, "dust 00112233445566778899aabbccddee0");
	assert_string_equal(v.text, "dust 00112233445566778899aabbccddee0");
	v = judge_error(200, -26, TXID);
	assert_string_equal(v.text, "191b267e..");
}

static void T40_chain_is_compared_with_ours(void **state)
{
	static const struct {
		const char *chain;
		enum network_id ours;
		bool right;
	} rows[] = {{"main", NET_MAIN, true},         {"mainnet", NET_MAIN, true},
		    {"test", NET_TESTNET3, true},     {"testnet3", NET_TESTNET3, true},
		    {"testnet4", NET_TESTNET4, true}, {"signet", NET_SIGNET, true},
		    {"regtest", NET_REGTEST, true},   {"main", NET_REGTEST, false},
		    {"regtest", NET_MAIN, false},     {"", NET_MAIN, false},
		    {"test", NET_TESTNET4, false},    {"nonsense", NET_REGTEST, false}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct carrier_chain_info info;
		struct carrier_verdict v;
		char body[256];

		snprintf(body, sizeof(body),
			 "{\"result\":{\"chain\":\"%s\",\"blocks\":7,\"headers\":9,"
			 "\"initialblockdownload\":true},\"error\":null}",
			 rows[i].chain);
		carrier_judge_chain(&v, &info, 200, body, strlen(body), network_get(rows[i].ours));
		assert_int_equal(v.outcome, OUTCOME_ACCEPTED);
		assert_int_equal(info.right_chain, rows[i].right);
		assert_int_equal(info.blocks, 7);
		assert_int_equal(info.headers, 9);
		assert_true(info.initial_download);
	}
}

static struct carrier_chain_info chain_of(const char *members)
{
	struct carrier_chain_info info;
	struct carrier_verdict v;
	char body[512];

	snprintf(body, sizeof(body), "{\"result\":{\"chain\":\"regtest\"%s},\"error\":null}", members);
	carrier_judge_chain(&v, &info, 200, body, strlen(body), network_get(NET_REGTEST));
	assert_int_equal(v.outcome, OUTCOME_ACCEPTED);
	return info;
}

static void T26_a_nodes_tip_and_warnings_are_read_in_every_version(void **state)
{
	struct carrier_chain_info i = chain_of("");
	char hex[HASH_HEX_SZ];

	(void)state;
	assert_true(hash256_is_zero(&i.best));
	assert_int_equal(i.blocks, 0);
	assert_string_equal(i.warning, "");
	i = chain_of(",\"blocks\":7,\"headers\":9,\"bestblockhash\":\"" TXID
		     "\",\"warnings\":\"old \\u0007way\"");
	hash256_to_display(hex, &i.best);
	assert_string_equal(hex, TXID);
	assert_int_equal(i.blocks, 7);
	assert_int_equal(i.headers, 9);
	assert_string_equal(i.warning, "old  way");
	i = chain_of(",\"bestblockhash\":\"12\",\"blocks\":-3,\"warnings\":[\"first\",\"second\"]");
	assert_true(hash256_is_zero(&i.best));
	assert_int_equal(i.blocks, 0);
	assert_string_equal(i.warning, "first");
	assert_string_equal(chain_of(",\"warnings\":[]").warning, "");
}

static void T29_a_pruned_node_says_what_it_still_has(void **state)
{
	struct carrier_chain_info i = chain_of(",\"pruned\":true,\"pruneheight\":550");

	(void)state;
	assert_true(i.pruned);
	assert_int_equal(i.prune_height, 550);
	i = chain_of(",\"pruned\":false");
	assert_false(i.pruned);
	assert_int_equal(i.prune_height, 0);
	assert_int_equal(chain_of(",\"pruned\":true").prune_height, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_txid_in_answer_is_acceptance),
		cmocka_unit_test(another_txid_is_no_verdict),
		cmocka_unit_test(T21_every_refusal_has_its_reason),
		cmocka_unit_test(T26_a_nodes_tip_and_warnings_are_read_in_every_version),
		cmocka_unit_test(T29_a_pruned_node_says_what_it_still_has),
		cmocka_unit_test(btcds_words_have_the_same_reasons),
		cmocka_unit_test(only_codes_about_the_transaction_refuse_it),
		cmocka_unit_test(known_or_confirmed_is_acceptance),
		cmocka_unit_test(a_sick_or_starting_node_says_nothing_about_the_transaction),
		cmocka_unit_test(http_errors_without_json_are_told_apart),
		cmocka_unit_test(rubbish_is_no_verdict),
		cmocka_unit_test(the_body_decides_whatever_the_status),
		cmocka_unit_test(the_text_is_cut_and_printable),
		cmocka_unit_test(long_hex_numbers_leave_room_for_the_reason),
		cmocka_unit_test(T40_chain_is_compared_with_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
