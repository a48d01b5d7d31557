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
	char body[512];

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
	check(500, -26, "TX rejected: already have transaction " TXID, OUTCOME_ACCEPTED, 0);
}

static void a_sick_or_starting_node_says_nothing_about_the_transaction(void **state)
{
	(void)state;
	check(500, -28, "Loading block index...", OUTCOME_WARMUP, -28);
	check(500, -28, "Verifying blocks...", OUTCOME_WARMUP, -28);
	check(404, -32601, "Method not found", OUTCOME_NO_VERDICT, -32601);
	check(400, -32600, "Invalid Request object", OUTCOME_NO_VERDICT, -32600);
	check(500, -32700, "Parse error", OUTCOME_NO_VERDICT, -32700);
	check(500, -3, "JSON value of type null is not of expected type", OUTCOME_NO_VERDICT, -3);
	check(500, -5, "No such mempool or blockchain transaction", OUTCOME_NO_VERDICT, -5);
	check(500, -8, "maxfeerate", OUTCOME_NO_VERDICT, -8);
	check(500, -9, "not connected", OUTCOME_NO_VERDICT, -9);
	check(500, -10, "in initial download", OUTCOME_NO_VERDICT, -10);
	check(500, -20, "Database error", OUTCOME_NO_VERDICT, -20);
	check(500, -32603, "Internal error", OUTCOME_NO_VERDICT, -32603);
	check(500, -1, "sendrawtransaction hexstring ( maxfeerate )", OUTCOME_PARAMS, -1);
	check(500, -32602, "wrong number of params", OUTCOME_PARAMS, -32602);
}

static void http_errors_without_json_are_told_apart(void **state)
{
	(void)state;
	assert_int_equal(judge(401, "").outcome, OUTCOME_AUTH);
	assert_int_equal(judge(403, "").outcome, OUTCOME_FORBIDDEN);
	assert_int_equal(judge(503, "Work queue depth exceeded").outcome, OUTCOME_BUSY);
	assert_int_equal(judge(503, "").outcome, OUTCOME_BUSY);
	assert_int_equal(judge(404, "").outcome, OUTCOME_NO_VERDICT);
	assert_int_equal(judge(405, "JSONRPC server handles only POST requests").outcome, OUTCOME_NO_VERDICT);
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

static void chain_is_compared_with_ours(void **state)
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_txid_in_answer_is_acceptance),
		cmocka_unit_test(another_txid_is_no_verdict),
		cmocka_unit_test(only_codes_about_the_transaction_refuse_it),
		cmocka_unit_test(known_or_confirmed_is_acceptance),
		cmocka_unit_test(a_sick_or_starting_node_says_nothing_about_the_transaction),
		cmocka_unit_test(http_errors_without_json_are_told_apart),
		cmocka_unit_test(rubbish_is_no_verdict),
		cmocka_unit_test(the_body_decides_whatever_the_status),
		cmocka_unit_test(the_text_is_cut_and_printable),
		cmocka_unit_test(chain_is_compared_with_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
