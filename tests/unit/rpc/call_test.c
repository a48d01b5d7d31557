/* Requests and methods without a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "fakes.h"
#include "log/log.h"
#include "meter/meter.h"

static struct tower tower;
static struct rpc_ctx ctx;
static struct rpc_info counters;

static int setup(void **state)
{
	(void)state;
	memset(&tower, 0, sizeof(tower));
	ctx = (struct rpc_ctx){.env = fake_env(&tower), .info = &counters};
	return 0;
}

static json_t *ask(const char *text, bool *not_json)
{
	struct rpc_table t = {rpc_methods, rpc_method_cnt, &ctx};
	bool failed;
	char *line = rpc_answer(&t, text, strlen(text), not_json, &failed);
	json_t *reply = line != NULL ? json_loads(line, 0, NULL) : NULL;

	if (line != NULL) {
		assert_non_null(reply);
		assert_null(strchr(line, '\n'));
		assert_string_equal(json_string_value(json_object_get(reply, "jsonrpc")), "2.0");
		assert_non_null(json_object_get(reply, "id"));
		/* Exactly one of the two. */
		assert_true((json_object_get(reply, "result") != NULL) !=
			    (json_object_get(reply, "error") != NULL));
		assert_int_equal(failed, json_object_get(reply, "error") != NULL);
	}
	free(line);
	return reply;
}

/* The error code of the answer; 0 for a result. */
static int code_of(const char *text)
{
	bool not_json;
	json_t *r = ask(text, &not_json);
	int code = (int)json_integer_value(json_object_get(json_object_get(r, "error"), "code"));

	assert_int_equal(not_json, code == RPC_NOT_JSON);
	json_decref(r);
	return code;
}

/* The result of a method; params is JSON. */
static json_t *call(const char *method, const char *params)
{
	char text[1024];
	bool not_json;
	json_t *r, *result;

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":%s}", method,
		 params);
	r = ask(text, &not_json);
	result = json_incref(json_object_get(r, "result"));
	if (result == NULL)
		fail_msg("%s %s: %s", method, params, json_dumps(r, 0));
	json_decref(r);
	return result;
}

#define REQ(method, params) "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":" params "}"

static void requests_that_are_wrong_get_the_codes_of_json_rpc(void **state)
{
	(void)state;
	assert_int_equal(code_of("{"), RPC_NOT_JSON);
	assert_int_equal(code_of("{\"a\":1,\"a\":2}"), RPC_NOT_JSON);
	assert_int_equal(code_of("{\"a\":\"\xff\"}"), RPC_NOT_JSON);
	assert_int_equal(code_of("{\"a\xc3\xa9\":tru}"), RPC_NOT_JSON);
	assert_int_equal(code_of("[]"), RPC_BAD_REQUEST);
	assert_int_equal(code_of("[" REQ("help", "[]") "]"), RPC_BAD_REQUEST);
	assert_int_equal(code_of("{\"id\":1}"), RPC_BAD_REQUEST);
	assert_int_equal(code_of("{\"id\":1,\"jsonrpc\":\"1.0\",\"method\":\"help\"}"), RPC_BAD_REQUEST);
	assert_int_equal(code_of("{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":7}"), RPC_BAD_REQUEST);
	assert_int_equal(code_of("{\"id\":[],\"jsonrpc\":\"2.0\",\"method\":\"help\"}"), RPC_BAD_REQUEST);
	assert_int_equal(code_of(REQ("help", "7")), RPC_BAD_REQUEST);
	assert_int_equal(code_of(REQ("nonsense", "[]")), RPC_NO_METHOD);
	assert_int_equal(code_of(REQ("\xc3\xa9\xc3\xa9", "[]")), RPC_NO_METHOD);
	assert_int_equal(code_of(REQ("getinfo", "[1]")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("getinfo", "{\"x\":1}")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("getuser", "[]")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("getuser", "[null]")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("getuser", "[\"02\"]")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("getuser", "[7]")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("help", "[7]")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("help", "[\"nonsense\"]")), RPC_NOT_FOUND);
	assert_int_equal(code_of(REQ("help", "[]")), 0);
	assert_int_equal(code_of("{\"id\":null,\"jsonrpc\":\"2.0\",\"method\":\"help\"}"), 0);
}

static void limits_are_checked(void **state)
{
	static const char *const bad[] = {"0",
					  "-1",
					  "1001",
					  "\"0\"",
					  "\"\"",
					  "\"1x\"",
					  "1.5",
					  "true",
					  "\"1001\"",
					  "99999999999999999999",
					  "\"99999999999999999999\""};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), REQ("getallappointments", "{\"limit\":%s}"), bad[i]);
		if (code_of(text) == 0)
			fail_msg("limit %s was taken", bad[i]);
	}
	assert_int_equal(code_of(REQ("getallappointments", "{\"limit\":1000}")), 0);
	assert_int_equal(code_of(REQ("getallappointments", "[null,\"1\"]")), 0);
}

static void a_notification_is_not_answered(void **state)
{
	bool not_json;

	(void)state;
	assert_null(ask("{\"jsonrpc\":\"2.0\",\"method\":\"stop\"}", &not_json));
	assert_true(ctx.stop_wanted); /* but carried out */
	assert_null(ask("{\"jsonrpc\":\"2.0\",\"method\":\"nonsense\"}", &not_json));
}

static void the_id_comes_back_as_it_was(void **state)
{
	static const char *const ids[] = {"1", "\"x\"", "null", "-7", "1.5"};
	char text[256];
	bool not_json;

	(void)state;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		json_t *want = json_loads(ids[i], JSON_DECODE_ANY, NULL), *r;

		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"help\"}", ids[i]);
		r = ask(text, &not_json);
		assert_true(json_equal(json_object_get(r, "id"), want));
		json_decref(r);
		json_decref(want);
	}
}

/* --- methods ------------------------------------------------------------------------------------------------ */

static void expect_keys(const json_t *o, const char *const *keys, size_t cnt)
{
	const char *key;
	json_t *v;
	size_t i = 0;

	json_object_foreach((json_t *)o, key, v)
	{
		assert_true(i < cnt);
		assert_string_equal(key, keys[i++]);
	}
	assert_int_equal(i, cnt);
}

static void gettowerinfo_has_the_keys_of_the_reference(void **state)
{
	static const char *const keys[] = {
		"tower_id",           "n_registered_users", "n_watcher_appointments", "n_responder_trackers",
		"bitcoind_reachable", "addresses"};
	static const char *const address_keys[] = {"type", "address", "port"};
	json_t *r = call("gettowerinfo", "[]");

	(void)state;
	expect_keys(r, keys, 6);
	assert_int_equal(json_integer_value(json_object_get(r, "n_watcher_appointments")), 225);
	assert_true(json_is_false(json_object_get(r, "bitcoind_reachable")));
	expect_keys(json_array_get(json_object_get(r, "addresses"), 0), address_keys, 3);
	json_decref(r);
}

static void every_method_without_parameters_answers(void **state)
{
	static const char *const names[] = {"getinfo",      "gettowerinfo",       "getusers",    "getpeers",
					    "getcounters",  "getallappointments", "gettrackers", "getlocators",
					    "getstalescan", "getcheckpoint",      "help"};
	json_t *r;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		json_decref(call(names[i], "{}"));
	r = call("getinfo", "[]");
	assert_string_equal(json_string_value(json_object_get(json_object_get(r, "dataplane"), "txid_kernel")),
			    "0123456789abcdef");
	json_decref(r);
	r = call("getpeers", "[]");
	r = (json_decref(r), call("getpeers", "[]"));
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(json_object_get(r, "peers"), 0), "services")),
		"0000000000000409");
	json_decref(r);
}

static void a_checkpoint_is_begun_once_and_shown(void **state)
{
	json_t *r;

	(void)state;
	assert_int_equal(code_of(REQ("checkpoint", "[]")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("checkpoint", "[\"relative\"]")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("checkpoint", "[\"/busy\"]")), RPC_BUSY);
	r = call("checkpoint", "{\"dir\":\"/backup\"}");
	assert_string_equal(json_string_value(json_object_get(r, "dir")), "/backup");
	for (unsigned i = 0; i < 3 && strcmp(json_string_value(json_object_get(r, "state")), "done") != 0; i++)
		r = (json_decref(r), call("getcheckpoint", "[]"));
	assert_string_equal(json_string_value(json_object_get(r, "state")), "done");
	assert_true(json_is_null(json_object_get(r, "error")));
	assert_int_equal(json_integer_value(json_object_get(r, "ms")), 12);
	json_decref(r);
}

static void a_scan_of_stale_blocks_is_begun_once_and_shown(void **state)
{
	static const char hash[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
	char params[128];
	json_t *r;

	(void)state;
	snprintf(params, sizeof(params), "[\"%s\"]", hash);
	r = call("scanstale", params);
	assert_string_equal(json_string_value(json_object_get(r, "state")), "running");
	assert_string_equal(json_string_value(json_object_get(r, "up_to")), hash);
	json_decref(r);
	r = call("getstalescan", "[]");
	assert_string_equal(json_string_value(json_object_get(r, "state")), "done");
	assert_int_equal(json_integer_value(json_object_get(r, "blocks_scanned")), 1);
	assert_int_equal(json_integer_value(json_object_get(r, "blocks_unavailable")), 1);
	assert_non_null(strstr(json_string_value(json_object_get(r, "error")), "no peer has"));
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(json_object_get(r, "blocks"), 1), "status")),
		"unavailable");
	assert_true(json_is_null(json_object_get(json_array_get(json_object_get(r, "blocks"), 1), "height")));
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(json_object_get(r, "hits"), 0), "block")),
		hash);
	json_decref(r);
}

/* Only names of a-z, 0-9 and _; only numbers, objects of them, and store.ok. */
static void expect_counter_names(const json_t *o)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)o, name, v)
	{
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name));
		if (json_is_object(v))
			expect_counter_names(v);
		else
			assert_true(json_is_integer(v) || strcmp(name, "ok") == 0);
	}
}

static void the_slow_log_is_given_newest_first(void **state)
{
	json_t *r, *events, *slowest;

	(void)state;
	meter_reset();
	meter_slow_set(1000000);
	meter_note(METER_SYNC, 5000000, "first\x01");
	meter_note(METER_SYNC, 999999, "not slow");
	meter_note(METER_BLOCK, 2000000, "height %u", 7u);
	r = call("getslowlog", "{}");
	assert_int_equal(json_integer_value(json_object_get(r, "threshold_us")), 1000);
	assert_int_equal(json_integer_value(json_object_get(r, "total")), 2);
	events = json_object_get(r, "events");
	slowest = json_object_get(r, "slowest");
	assert_int_equal(json_array_size(events), 2);
	assert_int_equal(json_array_size(slowest), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(events, 0), "detail")),
			    "height 7");
	assert_string_equal(json_string_value(json_object_get(json_array_get(events, 0), "what")), "block");
	assert_string_equal(json_string_value(json_object_get(json_array_get(events, 1), "detail")), "first?");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(events, 1), "us")), 5000);
	json_decref(r);
	r = call("getslowlog", "{\"limit\":1}");
	assert_int_equal(json_array_size(json_object_get(r, "events")), 1);
	json_decref(r);
	assert_int_equal(code_of(REQ("getslowlog", "[0]")), RPC_BAD_PARAMS);
	assert_int_equal(code_of(REQ("getslowlog", "[129]")), RPC_BAD_PARAMS);
	meter_reset();
}

/* Each answers as the method of the same word does. */
static void A07_the_names_of_the_reference_are_known(void **state)
{
	static const struct {
		const char *theirs, *ours, *params;
	} rows[] = {
		{"get_tower_info", "gettowerinfo", "[]"},
		{"get_users", "getusers", "{\"limit\":2}"},
		{"get_user", "getuser",
		 "[\"020300000000000000000000000000000000000000000000000000000000000000\"]"},
		{"get_appointments", "getappointments", "[\"00050000000000000000000000000000\"]"},
		{"get_all_appointments", "getallappointments", "{\"limit\":7}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *a = call(rows[i].theirs, rows[i].params), *b = call(rows[i].ours, rows[i].params);

		if (!json_equal(a, b))
			fail_msg("%s", rows[i].theirs);
		json_decref(a);
		json_decref(b);
	}
}

static void getcounters_gives_every_module_s_counters_under_its_name(void **state)
{
	struct tower_info ti;
	json_t *r, *control;
	int breaches, blocks, dropped = -1, http, connections, requests, ok, refused, unavailable, cut, ping,
			      other, healthy, batches, syncs, failures, recoveries, backlog, sessions, lost,
			      protocol, adds, sent, unsent, pending, clients, hashed;

	(void)state;
	counters = (struct rpc_info){.client_cnt = 41};
	r = call("getcounters", "[]");
	control = json_object_get(r, "control");
	assert_int_equal(json_object_size(r), 2);
	assert_int_equal(json_object_size(control), 7);
	expect_counter_names(r);
	tower_info_get(&tower, &ti);
	assert_int_equal(json_unpack(control, "{s:{s:i,s:i}, s:{s:i}, s:{s:i}, s:{s:i}}", "tower",
				     "breaches_total", &breaches, "blocks_total", &blocks, "log",
				     "dropped_total", &dropped, "carrier", "pending", &pending, "rpc",
				     "clients", &clients),
			 0);
	assert_int_equal(breaches, ti.breaches_total);
	assert_int_equal(blocks, ti.blocks_total);
	assert_int_equal(dropped, log_dropped());
	assert_int_equal(pending, 3);
	assert_int_equal(clients, 41);
	assert_int_equal(json_unpack(control,
				     "{s:{s:i,s:i,s:i,s:i,s:i,s:i,s:i, s:{s:{s:i}, s:{s:i}, s:{}, s:{}, "
				     "s:{}, s:{}, !} !}}",
				     "http", "connections", &http, "connections_total", &connections,
				     "requests_total", &requests, "ok_total", &ok, "refused_total", &refused,
				     "unavailable_total", &unavailable, "cut_total", &cut, "endpoints", "ping",
				     "refused_total", &ping, "other", "unavailable_total", &other, "register",
				     "add_appointment", "get_appointment", "get_subscription_info"),
			 0);
	assert_int_equal(http, 4);
	assert_int_equal(connections, 5);
	assert_int_equal(requests, 6);
	assert_int_equal(ok, 7);
	assert_int_equal(refused, 8);
	assert_int_equal(unavailable, 9);
	assert_int_equal(cut, 10);
	assert_int_equal(ping, 42);
	assert_int_equal(other, 53);
	assert_int_equal(json_unpack(control, "{s:{s:b,s:i,s:i,s:i,s:i !}}", "store", "ok", &healthy,
				     "batches_total", &batches, "syncs_total", &syncs, "failures_total",
				     &failures, "recoveries_total", &recoveries),
			 0);
	assert_false(healthy);
	assert_int_equal(batches, 21);
	assert_int_equal(syncs, 22);
	assert_int_equal(failures, 23);
	assert_int_equal(recoveries, 24);
	assert_int_equal(json_unpack(control, "{s:{s:i,s:i,s:i,s:i,s:i,s:i,s:i !}}", "feed", "backlog",
				     &backlog, "sessions_total", &sessions, "lost_total", &lost,
				     "protocol_errors_total", &protocol, "add_errors_total", &adds,
				     "broadcasts_total", &sent, "broadcasts_unsent_total", &unsent),
			 0);
	assert_int_equal(backlog, 31);
	assert_int_equal(sessions, 32);
	assert_int_equal(lost, 33);
	assert_int_equal(protocol, 34);
	assert_int_equal(adds, 35);
	assert_int_equal(sent, 36);
	assert_int_equal(unsent, 37);
	assert_int_equal(json_unpack(r, "{s:{s:i}}", "dataplane", "tx_hashed_total", &hashed), 0);
	assert_int_equal(hashed, 12);
	json_decref(r);
}

static void help_describes_every_method(void **state)
{
	json_t *r = call("help", "[]"), *one;
	json_t *list = json_object_get(r, "methods");

	(void)state;
	assert_int_equal(json_array_size(list), rpc_method_cnt);
	json_decref(r);
	one = call("help", "[\"getuser\"]");
	assert_string_equal(json_string_value(json_object_get(one, "name")), "getuser");
	assert_int_equal(json_array_size(json_object_get(one, "params")), 3);
	json_decref(one);
}

/* Pages through a list and checks that each row comes once, whatever the limit. */
static size_t page_through(const char *method, const char *list, const char *more_params, unsigned limit,
			   json_t *all)
{
	char params[512], after[256] = "null";
	size_t pages = 0;

	for (;;) {
		json_t *r, *next, *rows;

		snprintf(params, sizeof(params), "{%s\"after\":%s,\"limit\":%u}", more_params, after, limit);
		r = call(method, params);
		rows = json_object_get(r, list);
		next = json_object_get(r, "next");
		assert_true(json_array_size(rows) <= limit);
		assert_true(json_array_size(rows) > 0 || pages == 0);
		json_array_extend(all, rows);
		pages++;
		assert_true(pages < 1000);
		if (json_is_null(next)) {
			json_decref(r);
			return pages;
		}
		snprintf(after, sizeof(after), "\"%s\"", json_string_value(next));
		json_decref(r);
	}
}

static void pages_give_every_row_once(void **state)
{
	static const struct {
		const char *method, *list, *more;
		size_t rows;
	} lists[] = {
		{"getallappointments", "appointments", "", FAKE_APPTS},
		{"gettrackers", "trackers", "", FAKE_APPTS / 10},
		{"getlocators", "locators", "", FAKE_APPTS},
		{"getusers", "user_ids", "", FAKE_USERS},
		{"getappointments", "appointments", "\"locator\":\"00000000000000000000000000000000\",", 2},
		{"getappointments", "appointments", "\"locator\":\"00050000000000000000000000000000\",", 1},
		{"getappointments", "appointments", "\"locator\":\"ff000000000000000000000000000000\",", 0}};
	static const unsigned limits[] = {1, 2, 7, 250, 1000};

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (size_t k = 0; k < sizeof(limits) / sizeof(limits[0]); k++) {
			json_t *all = json_array();
			size_t pages = page_through(lists[i].method, lists[i].list, lists[i].more, limits[k],
						    all);
			size_t want = (lists[i].rows + limits[k] - 1) / limits[k];

			assert_int_equal(json_array_size(all), lists[i].rows);
			assert_int_equal(pages, want != 0 ? want : 1); /* no empty last page */
			json_decref(all);
		}
	}
}

static void a_page_ends_before_it_grows_too_large(void **state)
{
	json_t *r;

	(void)state;
	tower.blob_sz = 100000; /* 200 KB as hex */
	r = call("getallappointments", "{\"limit\":1000}");
	assert_in_range(json_array_size(json_object_get(r, "appointments")), 4, 6);
	assert_true(json_is_string(json_object_get(r, "next")));
	assert_true(tower.rows_read <= 7); /* nothing was read in vain */
	json_decref(r);
	tower.blob_sz = 2u << 20; /* one row is larger than a page: it still comes */
	r = call("getallappointments", "{\"limit\":1000}");
	assert_int_equal(json_array_size(json_object_get(r, "appointments")), 1);
	json_decref(r);
}

static void rows_have_the_keys_of_the_reference(void **state)
{
	static const char *const watched[] = {"locator", "encrypted_blob", "to_self_delay"};
	static const char *const tracked[] = {"dispute_txid", "penalty_txid", "penalty_rawtx"};
	json_t *r = call("getallappointments", "{\"limit\":10}");
	json_t *rows = json_object_get(r, "appointments"), *t = json_array_get(rows, 9);

	(void)state;
	expect_keys(json_array_get(rows, 0), watched, 3);
	expect_keys(t, tracked, 3);
	/* Display order: the first internal byte is printed last. */
	assert_string_equal(json_string_value(json_object_get(t, "penalty_txid")) + 62, "e1");
	assert_string_equal(json_string_value(json_object_get(t, "penalty_rawtx")), "010203");
	json_decref(r);
}

static void trackers_show_state_answer_and_latencies(void **state)
{
	json_t *r = call("gettrackers", "[]"), *rows = json_object_get(r, "trackers");
	json_t *first = json_array_get(rows, 0), *second = json_array_get(rows, 1);
	json_t *node = json_object_get(first, "node"), *peers = json_object_get(first, "peer_results");

	(void)state;
	assert_string_equal(json_string_value(json_object_get(first, "state")), "refused");
	assert_int_equal(json_integer_value(json_object_get(node, "code")), -26);
	assert_string_equal(json_string_value(json_object_get(node, "text")), "dust?\"");
	assert_int_equal(json_object_size(peers), 4);
	assert_string_equal(json_string_value(json_object_get(peers, "0")), "held");
	assert_string_equal(json_string_value(json_object_get(peers, "1")), "asked");
	assert_string_equal(json_string_value(json_object_get(peers, "2")), "written");
	assert_string_equal(json_string_value(json_object_get(peers, "63")), "written");
	assert_int_equal(json_integer_value(json_object_get(first, "hit_after_us")), 250);
	assert_true(json_is_null(json_object_get(first, "sent_after_us")));
	assert_true(json_is_null(json_object_get(first, "dispute_height")));
	assert_int_equal(json_integer_value(json_object_get(second, "sent_after_us")), 2000);
	assert_int_equal(json_integer_value(json_object_get(second, "dispute_height")), 100);
	json_decref(r);
}

static void getuser_finds_exactly_the_user(void **state)
{
	char text[256], hex[2 * USER_ID_SZ + 1];
	struct user_id u = fake_user(0); /* ends in zeros: the one before borrows through all of them */
	json_t *r;

	(void)state;
	for (unsigned i = 0; i < FAKE_USERS; i++) {
		u = fake_user(i);
		hex_encode(hex, u.b, USER_ID_SZ);
		snprintf(text, sizeof(text), "[\"%s\"]", hex);
		r = call("getuser", text);
		assert_int_equal(json_integer_value(json_object_get(r, "available_slots")), 9999);
		assert_int_equal(json_array_size(json_object_get(r, "appointments")), 50);
		json_decref(r);
	}
	u.b[USER_ID_SZ - 1] = 1;
	hex_encode(hex, u.b, USER_ID_SZ);
	snprintf(text, sizeof(text), REQ("getuser", "[\"%s\"]"), hex);
	assert_int_equal(code_of(text), RPC_NOT_FOUND);
	memset(u.b, 0, USER_ID_SZ);
	hex_encode(hex, u.b, USER_ID_SZ);
	snprintf(text, sizeof(text), REQ("getuser", "[\"%s\"]"), hex);
	assert_int_equal(code_of(text), RPC_NOT_FOUND);
}

/* --- the scan ----------------------------------------------------------------------------------------------- */

static void however_the_bytes_arrive_the_same_values_are_found(void **state)
{
	static const char text[] = " {\"a\":\"}{\\\"][\\\\\"}[1,[2,{\"x\":[]}]]\r\n\t{}{\"\\\\\":\"\"}  [ ] ";
	static const char *const want[] = {"{\"a\":\"}{\\\"][\\\\\"}", "[1,[2,{\"x\":[]}]]", "{}",
					   "{\"\\\\\":\"\"}", "[ ]"};

	(void)state;
	for (size_t cut = 1; cut < sizeof(text); cut++) {
		struct rpc_scan s = {0};
		size_t found = 0, start, end, base = 0;

		/* In pieces of `cut` bytes; what is done is removed from the buffer. */
		for (size_t have = 0; have < sizeof(text) - 1;) {
			enum rpc_cut c;

			have = have + cut < sizeof(text) - 1 ? have + cut : sizeof(text) - 1;
			while ((c = rpc_scan_next(&s, text + base, have - base, &start, &end)) ==
			       RPC_CUT_VALUE) {
				assert_int_equal(end - start, strlen(want[found]));
				assert_memory_equal(text + base + start, want[found], end - start);
				found++;
				rpc_scan_moved(&s, end);
				base += end;
			}
			assert_int_equal(c, RPC_CUT_MORE);
		}
		assert_int_equal(found, 5);
	}
}

static void rubbish_and_depth_are_noticed(void **state)
{
	char deep[RPC_DEPTH_MAX + 2];
	size_t start, end;

	(void)state;
	assert_int_equal(rpc_scan_next(&(struct rpc_scan){0}, " x", 2, &start, &end), RPC_CUT_RUBBISH);
	assert_int_equal(rpc_scan_next(&(struct rpc_scan){0}, "}", 1, &start, &end), RPC_CUT_RUBBISH);
	assert_int_equal(rpc_scan_next(&(struct rpc_scan){0}, "\0", 1, &start, &end), RPC_CUT_RUBBISH);
	memset(deep, '[', sizeof(deep));
	assert_int_equal(rpc_scan_next(&(struct rpc_scan){0}, deep, RPC_DEPTH_MAX, &start, &end), RPC_CUT_MORE);
	assert_int_equal(rpc_scan_next(&(struct rpc_scan){0}, deep, RPC_DEPTH_MAX + 1, &start, &end),
			 RPC_CUT_DEEP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(requests_that_are_wrong_get_the_codes_of_json_rpc, setup),
		cmocka_unit_test_setup(limits_are_checked, setup),
		cmocka_unit_test_setup(a_notification_is_not_answered, setup),
		cmocka_unit_test_setup(the_id_comes_back_as_it_was, setup),
		cmocka_unit_test_setup(gettowerinfo_has_the_keys_of_the_reference, setup),
		cmocka_unit_test_setup(every_method_without_parameters_answers, setup),
		cmocka_unit_test_setup(a_checkpoint_is_begun_once_and_shown, setup),
		cmocka_unit_test_setup(a_scan_of_stale_blocks_is_begun_once_and_shown, setup),
		cmocka_unit_test_setup(getcounters_gives_every_module_s_counters_under_its_name, setup),
		cmocka_unit_test_setup(the_slow_log_is_given_newest_first, setup),
		cmocka_unit_test_setup(A07_the_names_of_the_reference_are_known, setup),
		cmocka_unit_test_setup(help_describes_every_method, setup),
		cmocka_unit_test_setup(pages_give_every_row_once, setup),
		cmocka_unit_test_setup(a_page_ends_before_it_grows_too_large, setup),
		cmocka_unit_test_setup(rows_have_the_keys_of_the_reference, setup),
		cmocka_unit_test_setup(trackers_show_state_answer_and_latencies, setup),
		cmocka_unit_test_setup(getuser_finds_exactly_the_user, setup),
		cmocka_unit_test(however_the_bytes_arrive_the_same_values_are_found),
		cmocka_unit_test(rubbish_and_depth_are_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
