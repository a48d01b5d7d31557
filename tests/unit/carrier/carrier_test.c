/* What is submitted, and what comes back of it, against scripted nodes on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/log.h"
#include "world.h"

/* --- tests -------------------------------------------------------------------------------------------------- */

static void no_node_means_no_answer(void **state)
{
	struct world *w = world_new(0, NULL, NULL, NULL);
	struct hash256 txid = txid_nr(1);

	(void)state;
	assert_false(carrier_submit(w->carrier, &txid, (const uint8_t *)"x", 1));
	assert_int_equal(carrier_node_cnt(w->carrier), 0);
	assert_false(carrier_reachable(w->carrier));
	world_free(w, 0);
}

static void T21_an_accepted_penalty_is_answered_once(void **state)
{
	struct world *w = world_new(1, good_node, NULL, NULL);

	(void)state;
	submit(w, 7); /* before the first probe is answered: it waits */
	assert_int_equal(w->got.cnt, 0);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	assert_int_equal(w->got.of[0].a.code, 0);
	assert_int_equal(w->got.of[0].txid.b[0], 7);
	assert_int_equal(w->got.way_open_cnt, 1);
	assert_true(carrier_reachable(w->carrier));
	assert_int_equal(carrier_pending(w->carrier), 0);
	assert_false(RUN_UNTIL(w, w->got.cnt > 1, 100));
	world_free(w, 1);
}

static void check_request(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	/* base64 of us"er:pa:ss */
	assert_string_equal(q->auth, "Basic dXMiZXI6cGE6c3M=");
	if (!is_probe(q))
		assert_non_null(strstr(q->body, "\"params\":[\"09\",0,21000000]}"));
	good_node(n, q, r);
}

static void T21_no_fee_limit_is_set_and_credentials_are_sent(void **state)
{
	struct world *w = world_new(1, check_request, NULL, NULL);

	(void)state;
	submit(w, 9);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->node[0].sends, 1);
	world_free(w, 1);
}

static void a_connection_is_kept(void **state)
{
	struct world *w = world_new(1, good_node, NULL, NULL);

	(void)state;
	for (unsigned i = 1; i <= 5; i++) {
		submit(w, i);
		assert_true(RUN_UNTIL(w, w->got.cnt == i, 5000));
	}
	assert_int_equal(w->node[0].conns, 1);
	world_free(w, 1);
}

static void close_idle(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	r->then_close = true;
}

static void a_connection_closed_while_idle_costs_nothing(void **state)
{
	struct world *w = world_new(1, close_idle, NULL, NULL);

	(void)state;
	for (unsigned i = 1; i <= 5; i++) {
		submit(w, i);
		assert_true(RUN_UNTIL(w, w->got.cnt == i, 5000));
		assert_int_equal(w->got.of[i - 1].a.verdict, NODE_ACCEPTED);
	}
	world_free(w, 1);
}

static void refusing_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q)) {
		r->status = 500;
		r->body = ERROR_OF("-26", "min relay fee not met, 100 < 110");
	}
}

static void a_refusal_carries_code_and_text(void **state)
{
	struct world *w = world_new(1, refusing_node, NULL, NULL);

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_REFUSED);
	assert_int_equal(w->got.of[0].a.code, -26);
	assert_string_equal(w->got.of[0].text, "min relay fee not met, 100 < 110");
	assert_int_equal(node_state(w, 0), CARRIER_USABLE);
	world_free(w, 1);
}

static void one_accepting_node_outweighs_a_refusing_one(void **state)
{
	struct world *w = world_new(2, refusing_node, good_node, NULL);

	(void)state;
	assert_true(
		RUN_UNTIL(w, node_state(w, 0) == CARRIER_USABLE && node_state(w, 1) == CARRIER_USABLE, 5000));
	submit(w, 1);
	assert_true(RUN_UNTIL(w, carrier_pending(w->carrier) == 0, 5000));
	assert_int_equal(w->got.cnt, 1);
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	assert_int_equal(w->node[0].sends, 1); /* both were asked */
	assert_int_equal(w->node[1].sends, 1);
	world_free(w, 2);
}

static void invalid_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q)) {
		r->status = 500;
		r->body = ERROR_OF("-26", "mandatory-script-verify-flag-failed (Invalid signature)");
	}
}

static void one_node_alone_does_not_make_a_penalty_invalid(void **state)
{
	struct world *w = world_new(2, invalid_node, refusing_node, NULL);

	(void)state;
	assert_true(
		RUN_UNTIL(w, node_state(w, 0) == CARRIER_USABLE && node_state(w, 1) == CARRIER_USABLE, 5000));
	w->node[1].delay_ms = 100; /* the milder one comes last */
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_REFUSED);
	assert_int_equal(w->got.of[0].a.reason, REASON_FEE_LOW);
	w->node[1].script = invalid_node;
	submit(w, 2);
	assert_true(RUN_UNTIL(w, w->got.cnt == 2, 5000));
	assert_int_equal(w->got.of[1].a.reason, REASON_INVALID);
	world_free(w, 2);
}

static void busy_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q) && q->nth <= 2) {
		r->status = 503;
		r->body = "Work queue depth exceeded";
	}
}

static void a_full_work_queue_is_waited_for(void **state)
{
	struct world *w = world_new(1, busy_node, NULL, NULL);

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	assert_int_equal(w->node[0].sends, 3);
	world_free(w, 1);
}

static void always_busy(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q))
		r->status = 503, r->body = "Work queue depth exceeded";
}

static void a_queue_that_stays_full_is_given_back_to_the_tower(void **state)
{
	struct world *w = world_new(1, always_busy, NULL, NULL);

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 10000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	assert_int_equal(w->node[0].sends, 6);
	world_free(w, 1);
}

static void warming_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (is_probe(q) && q->nth <= 2) {
		r->status = 500;
		r->body = ERROR_OF("-28", "Loading block index...");
	}
}

static void T23_a_warming_node_is_waited_for_and_its_coming_is_told(void **state)
{
	struct world *w = world_new(1, warming_node, NULL, NULL);

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	assert_int_equal(node_state(w, 0), CARRIER_WARMUP);
	assert_int_equal(w->got.way_open_cnt, 0);
	assert_int_equal(w->node[0].sends, 0);
	assert_true(RUN_UNTIL(w, w->got.way_open_cnt == 1, 8000));
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 2, 5000));
	assert_int_equal(w->got.of[1].a.verdict, NODE_ACCEPTED);
	world_free(w, 1);
}

static void wrong_chain_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (is_probe(q) && q->nth == 1)
		r->body = "{\"result\":{\"chain\":\"main\",\"blocks\":5},\"error\":null}";
}

static void T40_a_node_of_another_network_gets_nothing_until_it_answers_right(void **state)
{
	struct world *w = world_new(1, wrong_chain_node, NULL, NULL);
	struct carrier_node_info info;

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	carrier_node_info_get(w->carrier, 0, &info);
	assert_int_equal(info.state, CARRIER_WRONG_CHAIN);
	assert_string_equal(info.error, "its chain is main, ours is regtest");
	assert_false(carrier_reachable(w->carrier));
	submit(w, 1); /* refused at once, but from the loop */
	assert_int_equal(w->got.cnt, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 2, 5000));
	assert_int_equal(w->node[0].sends, 0);
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 8000));
	world_free(w, 1);
}

static void down_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q) && q->nth == 1)
		r->action = FAKE_CLOSE;
}

static void a_node_that_dies_in_the_middle_is_probed_again(void **state)
{
	struct world *w = world_new(1, down_node, NULL, NULL);

	(void)state;
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 5000));
	/* A fresh connection, so that libcurl does not repeat the request by itself. */
	fake_node_stop(&w->node[0]);
	w->node[0].sends = 0;
	{
		uint16_t port = w->node[0].port;

		uv_run(&w->loop, UV_RUN_NOWAIT);
		fake_node_start(&w->node[0], &w->loop, port);
	}
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	assert_int_equal(node_state(w, 0), CARRIER_DOWN);
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 5000));
	assert_int_equal(w->got.way_open_cnt, 2);
	world_free(w, 1);
}

static void T23_a_stopped_node_is_unreachable_and_comes_back(void **state)
{
	struct world *w = world_new(1, good_node, NULL, NULL);
	uint16_t port = w->node[0].port;

	(void)state;
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 5000));
	fake_node_stop(&w->node[0]);
	uv_run(&w->loop, UV_RUN_NOWAIT);
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	assert_false(carrier_reachable(w->carrier));
	fake_node_start(&w->node[0], &w->loop, port);
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 8000));
	world_free(w, 1);
}

static void hanging_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q))
		r->action = FAKE_HANG;
}

static void a_node_that_never_answers_times_out(void **state)
{
	struct world *w = world_new(1, hanging_node, NULL, NULL);

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	world_free(w, 1);
}

static void resubmitting_under_way_gives_one_answer(void **state)
{
	struct world *w = world_new(1, good_node, NULL, NULL);

	(void)state;
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 5000));
	w->node[0].delay_ms = 50;
	for (unsigned i = 0; i < 10; i++)
		submit(w, 3);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_false(RUN_UNTIL(w, w->got.cnt > 1, 200));
	assert_int_equal(w->node[0].sends, 1);
	world_free(w, 1);
}

static void at_most_four_requests_are_in_flight(void **state)
{
	struct world *w = world_new(1, good_node, NULL, NULL);

	(void)state;
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 5000));
	w->node[0].delay_ms = 10;
	for (unsigned i = 1; i <= 40; i++)
		submit(w, i);
	assert_int_equal(carrier_pending(w->carrier), 40);
	assert_true(RUN_UNTIL(w, w->got.cnt == 40, 8000));
	assert_int_equal(w->node[0].in_flight_most, 4);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(w->got.of[i].a.verdict, NODE_ACCEPTED);
	world_free(w, 1);
}

static void more_than_the_queue_holds_is_given_back(void **state)
{
	struct world *w = world_new(1, hanging_node, NULL, NULL);
	uint8_t *raw = calloc(1, BLOCK_SZ_MAX); /* twice that as hex: the ninth does not fit */

	(void)state;
	assert_true(RUN_UNTIL(w, carrier_reachable(w->carrier), 5000));
	for (unsigned i = 0; i < 20; i++) {
		struct hash256 txid = txid_nr(i);

		assert_true(carrier_submit(w->carrier, &txid, raw, BLOCK_SZ_MAX));
	}
	assert_true(carrier_pending(w->carrier) <= 8);
	assert_true(RUN_UNTIL(w, w->got.cnt >= 12, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_UNREACHABLE);
	free(raw);
	world_free(w, 1);
}

static void old_node(struct fake_node *n, const struct fake_request *q, struct fake_reply *r)
{
	good_node(n, q, r);
	if (!is_probe(q) && strstr(q->body, ",0,21000000]") != NULL) {
		r->status = 500;
		r->body = ERROR_OF("-1", "sendrawtransaction hexstring ( maxfeerate )");
	} else if (!is_probe(q)) {
		assert_non_null(strstr(q->body, "\",0]}"));
	}
}

static void an_old_node_is_asked_with_two_parameters(void **state)
{
	struct world *w = world_new(1, old_node, NULL, NULL);

	(void)state;
	submit(w, 1);
	assert_true(RUN_UNTIL(w, w->got.cnt == 1, 5000));
	assert_int_equal(w->got.of[0].a.verdict, NODE_ACCEPTED);
	assert_int_equal(w->node[0].sends, 2);
	submit(w, 2); /* it is remembered */
	assert_true(RUN_UNTIL(w, w->got.cnt == 2, 5000));
	assert_int_equal(w->node[0].sends, 3);
	world_free(w, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_node_means_no_answer),
		cmocka_unit_test(T21_an_accepted_penalty_is_answered_once),
		cmocka_unit_test(T21_no_fee_limit_is_set_and_credentials_are_sent),
		cmocka_unit_test(a_connection_is_kept),
		cmocka_unit_test(a_connection_closed_while_idle_costs_nothing),
		cmocka_unit_test(a_refusal_carries_code_and_text),
		cmocka_unit_test(one_accepting_node_outweighs_a_refusing_one),
		cmocka_unit_test(one_node_alone_does_not_make_a_penalty_invalid),
		cmocka_unit_test(a_full_work_queue_is_waited_for),
		cmocka_unit_test(a_queue_that_stays_full_is_given_back_to_the_tower),
		cmocka_unit_test(T23_a_warming_node_is_waited_for_and_its_coming_is_told),
		cmocka_unit_test(T40_a_node_of_another_network_gets_nothing_until_it_answers_right),
		cmocka_unit_test(a_node_that_dies_in_the_middle_is_probed_again),
		cmocka_unit_test(T23_a_stopped_node_is_unreachable_and_comes_back),
		cmocka_unit_test(a_node_that_never_answers_times_out),
		cmocka_unit_test(resubmitting_under_way_gives_one_answer),
		cmocka_unit_test(at_most_four_requests_are_in_flight),
		cmocka_unit_test(more_than_the_queue_holds_is_given_back),
		cmocka_unit_test(an_old_node_is_asked_with_two_parameters),
	};

	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
