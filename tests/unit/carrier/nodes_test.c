/* What nodes say of a refused penalty and of themselves, and how they let us in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/log.h"
#include "world.h"

/* --- what the node has instead -------------------------------------------------------------------------------- */

/* Spends output 3 of 0101..01. */
static const uint8_t real_tx[] = {2, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
				  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 0, 0,
				  0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
#define PREV_HEX    "0101010101010101010101010101010101010101010101010101010101010101"
#define SPENDER_HEX "191b267e412837d67af7a86322ce936a751012f00a143caad0f54c836fbd622b"

static void submit_real(struct world *w)
{
	struct hash256 txid = txid_nr(5);

	assert_true(carrier_submit(w->carrier, &txid, real_tx, sizeof(real_tx)));
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(carrier_pending(w->carrier), 0);
}

static bool asks(const struct fake_request *q, const char *method)
{
	return strcmp(q->method, method) == 0;
}

/* Everything is missing; no lookup finds anything. */
static void missing_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	if (is_probe(q)) {
		good_node(n, q, r);
	} else if (asks(q, "sendrawtransaction")) {
		r->status = 500;
		r->body = ERROR_OF("-25", "bad-txns-inputs-missingorspent");
	} else if (asks(q, "getrawtransaction")) {
		r->status = 500;
		r->body = ERROR_OF("-5", "No such mempool transaction.");
	} else if (asks(q, "gettxspendingprevout")) {
		assert_non_null(strstr(q->body, "[[{\"txid\":\"" PREV_HEX "\",\"vout\":3}]]"));
		r->body = "{\"result\":[{\"txid\":\"" PREV_HEX "\",\"vout\":3}],\"error\":null}";
	} else if (asks(q, "gettxout")) {
		assert_non_null(strstr(q->body, "[\"" PREV_HEX "\",3,false]"));
		r->body = "{\"result\":null,\"error\":null}";
	}
}

static void a_missing_input_is_explained(void **state)
{
	struct world *w = world_new(1, missing_node, NULL, NULL);

	(void)state;
	submit_real(w);
	assert_int_equal(w->got.of[0].a.verdict, NODE_REFUSED);
	assert_int_equal(w->got.of[0].a.reason, REASON_INPUTS);
	assert_int_equal(w->got.of[0].a.code, -25);
	assert_string_equal(w->got.of[0].text,
			    "bad-txns-inputs-missingorspent; the disputed output is spent, or "
			    "not in this node's chain");
	assert_int_equal(w->node[0].sends, 1);
	assert_int_equal(w->node[0].lookups, 3);
	world_free(w, 1);
}

static void has_it_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	missing_node(n, q, r);
	if (asks(q, "getrawtransaction")) {
		r->status = 200;
		r->body = "{\"result\":{\"txid\":\"00\",\"blockhash\":\"" SPENDER_HEX "\"},\"error\":null}";
	}
}

static void T22_a_penalty_that_the_node_has_is_no_refusal(void **state)
{
	struct world *w = world_new(1, has_it_node, NULL, NULL);

	(void)state;
	submit_real(w);
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	assert_int_equal(w->got.of[0].a.reason, REASON_CONFIRMED);
	assert_string_equal(w->got.of[0].text, "already confirmed");
	assert_int_equal(w->node[0].lookups, 1);
	world_free(w, 1);
}

static void orphan_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	missing_node(n, q, r);
	if (asks(q, "sendrawtransaction"))
		r->body = ERROR_OF("-26", "TX rejected: already have transaction in mempool " SPENDER_HEX);
	if (asks(q, "gettxspendingprevout"))
		r->body = ERROR_OF("-32603", "limited user not authorized for this method");
}

static void pool_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	orphan_node(n, q, r);
	if (asks(q, "getrawtransaction")) {
		r->status = 200;
		r->body = "{\"result\":{\"txid\":\"00\"},\"error\":null}";
	}
}

/* btcd: what it "already has in mempool" may wait beside it for an input that never comes. */
static void an_orphan_of_btcds_is_not_taken_for_a_penalty_in_its_mempool(void **state)
{
	struct world *w = world_new(1, orphan_node, NULL, NULL);

	(void)state;
	submit_real(w);
	assert_int_equal(w->got.of[0].a.verdict, NODE_REFUSED);
	assert_int_equal(w->got.of[0].a.reason, REASON_INPUTS);
	assert_non_null(strstr(w->got.of[0].text, "the disputed output is spent"));
	world_free(w, 1);
	w = world_new(1, pool_node, NULL, NULL);
	submit_real(w);
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	assert_int_equal(w->got.of[0].a.reason, REASON_IN_MEMPOOL);
	assert_int_equal(w->node[0].lookups, 1);
	world_free(w, 1);
}

static void conflict_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	missing_node(n, q, r);
	if (asks(q, "sendrawtransaction"))
		r->body = ERROR_OF("-26", "txn-mempool-conflict");
	if (asks(q, "gettxspendingprevout"))
		r->body = "{\"result\":[{\"spendingtxid\":\"" SPENDER_HEX "\"}],\"error\":null}";
}

static void a_conflict_names_the_transaction_in_the_way(void **state)
{
	struct world *w = world_new(1, conflict_node, NULL, NULL);

	(void)state;
	submit_real(w);
	assert_int_equal(w->got.of[0].a.verdict, NODE_REFUSED);
	assert_int_equal(w->got.of[0].a.reason, REASON_CONFLICT);
	assert_string_equal(w->got.of[0].text, "txn-mempool-conflict; spent in the mempool by " SPENDER_HEX);
	world_free(w, 1);
}

static void lookups_hang_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	missing_node(n, q, r);
	if (asks(q, "getrawtransaction"))
		r->action = FAKE_HANG;
}

static void a_lookup_that_fails_leaves_the_verdict(void **state)
{
	struct world *w = world_new(1, lookups_hang_node, NULL, NULL);

	(void)state;
	submit_real(w);
	assert_int_equal(w->got.of[0].a.verdict, NODE_REFUSED);
	assert_string_equal(w->got.of[0].text, "bad-txns-inputs-missingorspent");
	assert_int_equal(node_state(w, 0), CARRIER_USABLE);
	world_free(w, 1);
}

/* --- nodes that promise and do not keep ------------------------------------------------------------------------- */

static void whitelisted_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q))
		r->status = 403, r->body = "";
}

static void a_node_that_does_not_let_us_send_is_not_hammered(void **state)
{
	struct world *w = world_new(1, whitelisted_node, NULL, NULL);
	uint64_t begun = uv_hrtime(), seconds;
	unsigned submitted = 0, most = 2;

	(void)state;
	/* As the tower does: everything again as soon as the node looks usable. */
	for (unsigned ms = 0; ms < 4000; ms += 100) {
		if (carrier_reachable(w->carrier) && carrier_pending(w->carrier) == 0) {
			submit(w, 1);
			submitted++;
		}
		RUN_UNTIL(w, false, 100);
	}
	/* After 0, 1, 3, 7, ... seconds. */
	seconds = (uv_hrtime() - begun) / 1000000000;
	for (uint64_t at = 1; at <= seconds; at = 2 * at + 1)
		most++;
	assert_in_range(submitted, 2, most);
	assert_int_equal(w->node[0].sends, submitted);
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	world_free(w, 1);
}

#define MAIN_GENESIS    "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
#define REGTEST_GENESIS "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"

/* As btcd answers its rpclimituser. */
static void limited_node(const struct fake_request *q, struct fake_reply *r, const char *genesis)
{
	r->status = 200;
	if (is_probe(q)) {
		r->body = "{\"result\":null,\"error\":{\"code\":-32603,"
			  "\"message\":\"limited user not authorized for this method\"}}";
	} else if (strcmp(q->method, "getblockhash") == 0) {
		assert_non_null(strstr(q->body, "\"params\":[0]"));
		r->body = genesis;
	} else {
		accept_tx(q, r);
	}
}

static void limited_on_regtest(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	(void)n;
	limited_node(q, r, "{\"result\":\"" REGTEST_GENESIS "\",\"error\":null}");
}

static void limited_on_main(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	(void)n;
	limited_node(q, r, "{\"result\":\"" MAIN_GENESIS "\",\"error\":null}");
}

static void forbidding_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	(void)n;
	(void)q;
	r->status = 403;
	r->body = "";
}

static void a_user_who_may_only_send_is_enough(void **state)
{
	struct world *w = world_new(2, limited_on_regtest, limited_on_main, NULL);
	struct carrier_node_info info;

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	assert_int_equal(w->node[0].sends, 1);
	assert_int_equal(w->node[1].sends, 0);
	carrier_node_info_get(w->carrier, 0, &info);
	assert_int_equal(info.state, CARRIER_USABLE);
	carrier_node_info_get(w->carrier, 1, &info);
	assert_int_equal(info.state, CARRIER_WRONG_CHAIN);
	world_free(w, 2);
}

static void a_node_that_allows_nothing_is_shown_as_refusing(void **state)
{
	struct world *w = world_new(1, forbidding_node, NULL, NULL);
	struct carrier_node_info info = {0};

	(void)state;
	assert_true(RUN_UNTIL(w, (carrier_node_info_get(w->carrier, 0, &info), info.state != CARRIER_UNKNOWN),
			      5000));
	assert_int_equal(info.state, CARRIER_REFUSED);
	assert_non_null(strstr(info.error, "403"));
	assert_int_equal(w->node[0].sends, 0);
	world_free(w, 1);
}

static void sick_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q) && q->nth == 1) {
		r->status = 500;
		r->body = ERROR_OF("-20", "Database error");
	}
}

static void a_sick_node_is_shown_and_another_one_takes_over(void **state)
{
	struct world *w = world_new(2, sick_node, good_node, NULL);

	(void)state;
	assert_true(
		RUN_UNTIL(w, node_state(w, 0) == CARRIER_USABLE && node_state(w, 1) == CARRIER_USABLE, 5000));
	submit(w, 1);
	assert_true(RUN_UNTIL(w, carrier_pending(w->carrier) == 0, 5000));
	assert_int_equal(w->got.cnt, 1);
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	assert_int_equal(node_state(w, 0), CARRIER_SICK);
	assert_true(carrier_reachable(w->carrier));
	assert_true(RUN_UNTIL(w, node_state(w, 0) == CARRIER_USABLE, 5000));
	world_free(w, 2);
}

static void stopping_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q))
		r->status = 503, r->body = "Request rejected during server shutdown";
}

static void T23_a_node_that_shuts_down_is_down(void **state)
{
	struct world *w = world_new(1, stopping_node, NULL, NULL);

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	assert_int_equal(w->node[0].sends, 1); /* not repeated, as for a full queue */
	assert_int_equal(node_state(w, 0), CARRIER_DOWN);
	world_free(w, 1);
}

static void T23_a_node_that_stays_away_is_told_once_and_so_is_its_return(void **state)
{
	struct world *w = world_new(1, good_node, NULL, NULL);
	uint16_t port = w->node[0].port;

	(void)state;
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 5000));
	fake_node_stop(&w->node[0]);
	uv_run(&w->loop, UV_RUN_NOWAIT);
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.lost_cnt, 0); /* not at once */
	assert_true(RUN_UNTIL(w, w->got.lost_cnt == 1, 10000));
	fake_node_start(&w->node[0], &w->loop, port);
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 15000));
	assert_int_equal(w->got.lost_cnt, 1);
	assert_int_equal(w->got.back_cnt, 1);
	world_free(w, 1);
}

/* --- what a node says of itself --------------------------------------------------------------------------------- */

static void pruned_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (is_probe(q))
		r->body = q->nth == 1 ? "{\"result\":{\"chain\":\"regtest\",\"blocks\":900,\"headers\":901,"
					"\"bestblockhash\":\"" SPENDER_HEX "\",\"pruned\":true,"
					"\"pruneheight\":501,\"warnings\":[\"unknown rules\"]},\"error\":null}"
				      : CHAIN_OK;
}

static void T26_T29_a_pruned_node_is_used_and_its_tip_and_what_it_lacks_are_shown(void **state)
{
	struct world *w = world_new(1, pruned_node, NULL, NULL);
	struct carrier_node_info info;
	char hex[HASH_HEX_SZ];

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	carrier_node_info_get(w->carrier, 0, &info);
	assert_int_equal(info.blocks, 900);
	assert_int_equal(info.headers, 901);
	hash256_to_display(hex, &info.best);
	assert_string_equal(hex, SPENDER_HEX);
	assert_string_equal(info.warning, "unknown rules");
	assert_true(info.pruned);
	assert_int_equal(info.prune_height, 501);
	assert_true(info.lacks_blocks); /* 500 is still to be scanned */
	world_free(w, 1);
}

/* --- cookies ------------------------------------------------------------------------------------------------ */

static char cookie_path[64];

static void cookie_write(const char *text)
{
	FILE *f = fopen(cookie_path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int cookie_setup(void **state)
{
	(void)state;
	snprintf(cookie_path, sizeof(cookie_path), "/tmp/vigil_cookie_%d", (int)getpid());
	return 0;
}

static int cookie_teardown(void **state)
{
	(void)state;
	unlink(cookie_path);
	return 0;
}

static void cookie_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	/* base64 of __cookie__:bb */
	if (strcmp(q->auth, "Basic X19jb29raWVfXzpiYg==") != 0) {
		r->status = 401;
		r->body = "";
		return;
	}
	good_node(n, q, r);
}

static void a_missing_cookie_file_is_waited_for(void **state)
{
	struct world *w;
	struct carrier_node_info info;

	(void)state;
	unlink(cookie_path);
	w = world_new(1, cookie_node, NULL, cookie_path);
	carrier_node_info_get(w->carrier, 0, &info);
	assert_int_equal(info.state, CARRIER_REFUSED);
	cookie_write("__cookie__:bb");
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 5000));
	world_free(w, 1);
}

static void restarted_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	if (is_probe(q) && q->nth == 1) {
		good_node(n, q, r); /* with the old cookie */
		cookie_write("__cookie__:bb\n");
		return;
	}
	cookie_node(n, q, r);
}

static void a_new_cookie_is_read_after_401(void **state)
{
	struct world *w;

	(void)state;
	cookie_write("__cookie__:aa");
	w = world_new(1, restarted_node, NULL, cookie_path);
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	assert_int_equal(w->node[0].sends, 2);
	world_free(w, 1);
}

static void wrong_credentials_are_not_hammered(void **state)
{
	struct world *w;

	(void)state;
	cookie_write("__cookie__:aa");
	w = world_new(1, cookie_node, NULL, cookie_path);
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	assert_int_equal(node_state(w, 0), CARRIER_REFUSED);
	RUN_UNTIL(w, false, 1500);
	assert_true(w->node[0].probes <= 2);
	world_free(w, 1);
}

static void a_fifo_in_place_of_the_cookie_does_not_block(void **state)
{
	struct world *w;

	(void)state;
	unlink(cookie_path);
	assert_int_equal(mkfifo(cookie_path, 0600), 0);
	w = world_new(1, cookie_node, NULL, cookie_path);
	assert_int_equal(node_state(w, 0), CARRIER_REFUSED);
	world_free(w, 1);
}

static void bad_settings_are_refused(void **state)
{
	static const struct carrier_node bad[] = {{.host = "a b", .user = "u", .password = "p"},
						  {.host = "", .user = "u", .password = "p"},
						  {.host = "evil/path", .user = "u", .password = "p"},
						  {.host = "user@host", .user = "u", .password = "p"},
						  {.host = "127.0.0.1", .user = "u"},
						  {.host = "127.0.0.1"}};
	struct carrier_config cfg = {.network = network_get(NET_REGTEST), .node_cnt = 1};
	uv_loop_t loop;
	const char *why;

	(void)state;
	uv_loop_init(&loop);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why = NULL;
		cfg.nodes = &bad[i];
		assert_null(carrier_new(&cfg, &loop, &hooks, NULL, &why));
		assert_non_null(why);
	}
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_missing_input_is_explained),
		cmocka_unit_test(T22_a_penalty_that_the_node_has_is_no_refusal),
		cmocka_unit_test(an_orphan_of_btcds_is_not_taken_for_a_penalty_in_its_mempool),
		cmocka_unit_test(a_conflict_names_the_transaction_in_the_way),
		cmocka_unit_test(a_lookup_that_fails_leaves_the_verdict),
		cmocka_unit_test(a_node_that_does_not_let_us_send_is_not_hammered),
		cmocka_unit_test(a_user_who_may_only_send_is_enough),
		cmocka_unit_test(a_node_that_allows_nothing_is_shown_as_refusing),
		cmocka_unit_test(a_sick_node_is_shown_and_another_one_takes_over),
		cmocka_unit_test(T23_a_node_that_shuts_down_is_down),
		cmocka_unit_test(T23_a_node_that_stays_away_is_told_once_and_so_is_its_return),
		cmocka_unit_test(T26_T29_a_pruned_node_is_used_and_its_tip_and_what_it_lacks_are_shown),
		cmocka_unit_test(a_missing_cookie_file_is_waited_for),
		cmocka_unit_test(a_new_cookie_is_read_after_401),
		cmocka_unit_test(wrong_credentials_are_not_hammered),
		cmocka_unit_test(a_fifo_in_place_of_the_cookie_does_not_block),
		cmocka_unit_test(bad_settings_are_refused),
	};

	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, cookie_setup, cookie_teardown);
}
