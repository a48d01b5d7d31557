/* What a node is asked about a transaction that it refused, and what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "btc/bytes.h"
#include "carrier/lookup.h"

#define TXID  "191b267e412837d67af7a86322ce936a751012f00a143caad0f54c836fbd622b"
#define OTHER "291b267e412837d67af7a86322ce936a751012f00a143caad0f54c836fbd622b"

static struct hash256 own(void)
{
	struct hash256 h;

	assert_true(hash256_from_display(&h, TXID));
	return h;
}

/* A transaction with cnt inputs; input i spends output i of TXID. */
static size_t tx_make(uint8_t *p, unsigned cnt)
{
	struct hash256 prev = own();
	size_t at = 0;

	store_le32(p, 2);
	at = 4;
	p[at++] = (uint8_t)cnt;
	for (unsigned i = 0; i < cnt; i++) {
		memcpy(p + at, prev.b, HASH_SZ);
		store_le32(p + at + 32, i);
		p[at + 36] = 0;
		store_le32(p + at + 37, 0xffffffff);
		at += 41;
	}
	p[at++] = 1;
	memset(p + at, 0, 9);
	at += 9;
	store_le32(p + at, 0);
	return at + 4;
}

static enum carrier_place place(long http, const char *body)
{
	return lookup_place(http, body, strlen(body));
}

static void T22_a_transaction_is_looked_up_without_txindex(void **state)
{
	struct hash256 txid = own();
	char *body = lookup_place_body(&txid);

	(void)state;
	assert_non_null(strstr(body, "\"getrawtransaction\",\"params\":[\"" TXID "\",1]}"));
	free(body);
	assert_int_equal(place(200, "{\"result\":{\"hex\":\"00\"},\"error\":null}"), PLACE_MEMPOOL);
	/* With txindex, or from a version that has it in a block. */
	assert_int_equal(place(200, "{\"result\":{\"blockhash\":\"" OTHER "\",\"confirmations\":3}}"),
			 PLACE_BLOCK);
	assert_int_equal(place(500, "{\"error\":{\"code\":-5,\"message\":\"No such mempool transaction. Use "
				    "-txindex\"}}"),
			 PLACE_NOT_FOUND);
}

static void T22_any_other_answer_says_nothing(void **state)
{
	(void)state;
	assert_int_equal(place(500, "{\"error\":{\"code\":-28,\"message\":\"Loading\"}}"), PLACE_UNKNOWN);
	assert_int_equal(place(404, "{\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}"),
			 PLACE_UNKNOWN);
	assert_int_equal(place(503, "Work queue depth exceeded"), PLACE_UNKNOWN);
	assert_int_equal(place(200, "{\"result\":null,\"error\":null}"), PLACE_UNKNOWN);
	assert_int_equal(place(200, "{\"result\":\"00\",\"error\":null}"), PLACE_UNKNOWN);
	assert_int_equal(place(200, ""), PLACE_UNKNOWN);
}

static void the_spender_of_any_input_is_asked_for(void **state)
{
	uint8_t raw[2048];
	char *body = lookup_spender_body(raw, tx_make(raw, 2));
	unsigned asked = 0;

	(void)state;
	assert_non_null(strstr(body, "\"gettxspendingprevout\",\"params\":[[{\"txid\":\"" TXID
				     "\",\"vout\":0},{\"txid\":\"" TXID "\",\"vout\":1}]]}"));
	free(body);
	body = lookup_spender_body(raw, tx_make(raw, 40));
	for (const char *at = body; (at = strstr(at, "\"vout\"")) != NULL; at++)
		asked++;
	assert_int_equal(asked, LOOKUP_INPUT_MAX);
	free(body);
	assert_null(lookup_spender_body(raw, 7));
	assert_null(lookup_output_body(raw, 0));
}

static bool spender(long http, const char *body, struct hash256 *out)
{
	struct hash256 txid = own();

	return lookup_spender(http, body, strlen(body), &txid, out);
}

static void the_penalty_itself_is_no_conflict(void **state)
{
	struct hash256 by, other;

	(void)state;
	assert_true(hash256_from_display(&other, OTHER));
	assert_true(spender(200,
			    "{\"result\":[{\"txid\":\"" TXID "\",\"vout\":0},{\"spendingtxid\":\"" TXID
			    "\"},{\"spendingtxid\":\"" OTHER "\"}]}",
			    &by));
	assert_true(hash256_eq(&by, &other));
	assert_false(spender(200, "{\"result\":[{\"spendingtxid\":\"" TXID "\"}]}", &by));
	assert_false(spender(200, "{\"result\":[{}]}", &by));
	assert_false(spender(200, "{\"result\":[{\"spendingtxid\":\"no\"},7,null]}", &by));
	assert_false(spender(404, "{\"error\":{\"code\":-32601,\"message\":\"before v24\"}}", &by));
}

static void null_means_that_the_output_is_gone(void **state)
{
	uint8_t raw[256];
	char *body = lookup_output_body(raw, tx_make(raw, 1));

	(void)state;
	assert_non_null(strstr(body, "\"gettxout\",\"params\":[\"" TXID "\",0,false]}"));
	free(body);
	assert_int_equal(lookup_output(200, "{\"result\":null,\"error\":null}", 28), OUTPUT_GONE);
	assert_int_equal(lookup_output(200, "{\"result\":{\"value\":1}}", 22), OUTPUT_UNSPENT);
	assert_int_equal(lookup_output(200, "{\"result\":7}", 12), OUTPUT_UNKNOWN);
	assert_int_equal(lookup_output(401, "", 0), OUTPUT_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(T22_a_transaction_is_looked_up_without_txindex),
		cmocka_unit_test(T22_any_other_answer_says_nothing),
		cmocka_unit_test(the_spender_of_any_input_is_asked_for),
		cmocka_unit_test(the_penalty_itself_is_no_conflict),
		cmocka_unit_test(null_means_that_the_output_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
