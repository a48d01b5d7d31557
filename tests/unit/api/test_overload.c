/* More clients than there are places: what each of them gets, and how places come free. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLACES 8
#define CROWD  40 /* beyond the places and the spare ones */

static int setup_small(void **state)
{
	(void)state;
	serve_timeout_s = 60; /* longer than any test waits: nothing here comes from the timeout of silence */
	serve(PLACES, 1);
	return 0;
}

static int teardown_small(void **state)
{
	serve_timeout_s = TIMEOUT_S;
	fake.held = false;
	return teardown(state);
}

static char *raw_add(size_t *sz)
{
	char *body = signed_add(100), *raw = NULL;
	int n = asprintf(&raw, "POST /add_appointment" H JSON "Content-Length: %zu\r\n\r\n%s", strlen(body),
			 body);

	assert_true(n > 0);
	free(body);
	*sz = (size_t)n;
	return raw;
}

static void wait_for_adds(unsigned cnt)
{
	for (unsigned i = 0; i < 2000 && fake.add_cnt < cnt; i++)
		usleep(10000);
	assert_int_equal(fake.add_cnt, cnt);
}

static void beyond_the_places_every_endpoint_answers_at_once_what_its_clients_try_again(void **state)
{
	size_t sz;
	char *raw = raw_add(&sz), *body = signed_add(100);
	int held[PLACES];
	struct reply r;

	(void)state;
	fake_reset();
	fake.held = true;
	for (unsigned i = 0; i < PLACES; i++) {
		held[i] = client_connect(srv.port);
		assert_true(client_send(held[i], raw, sz));
	}
	wait_for_adds(PLACES);
	r = client_post(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 503);
	assert_int_equal(reply_code(&r), 7);
	assert_non_null(json_string_value(json_object_get(r.json, "error")));
	assert_non_null(strcasestr(r.head, "Connection: close"));
	reply_free(&r);
	r = client_post(srv.port, "/register", register_body());
	assert_int_equal(r.status, 503);
	assert_int_equal(reply_code(&r), 32);
	reply_free(&r);
	r = client_post_legacy(srv.port, "/add_appointment", body);
	assert_int_equal(r.status, 503);
	assert_int_equal(reply_code(&r), -1);
	reply_free(&r);
	ping_is_answered();
	/* All that while nobody who was served first had an answer. */
	assert_int_equal(fake.done_cnt, 0);
	assert_int_equal(fake.add_cnt, PLACES);
	fake.held = false;
	for (unsigned i = 0; i < PLACES; i++) {
		assert_true(client_read(held[i], &r, CLIENT_WAIT_MS));
		assert_int_equal(r.status, 200);
		reply_free(&r);
		close(held[i]);
	}
	free(raw);
	free(body);
}

static void a_request_gets_the_place_of_a_silent_connection(void **state)
{
	char *body = signed_add(100);
	int idle[CROWD];
	struct reply r = {.status = 503};
	struct api_info info;

	(void)state;
	fake_reset();
	for (unsigned i = 0; i < CROWD; i++) {
		idle[i] = client_connect(srv.port);
		assert_int_not_equal(idle[i], -1);
	}
	/* Until they have been silent for a second the answer may be that there is no place. */
	for (unsigned i = 0; i < 40 && r.status == 503; i++) {
		r = client_post(srv.port, "/add_appointment", body);
		assert_true(r.status == 200 || (r.status == 503 && reply_code(&r) == 7));
		reply_free(&r);
		usleep(100000);
	}
	assert_int_equal(r.status, 200);
	api_info_get(srv.api, &info);
	assert_true(info.cut_total > 0);
	for (unsigned i = 0; i < CROWD; i++)
		close(idle[i]);
	free(body);
}

static void clients_that_drip_do_not_keep_others_out(void **state)
{
	static const char head[] = "POST /register" H "Content-Length: 1000\r\n\r\n{";
	char *body = signed_add(100);
	int slow[CROWD];
	struct reply r = {.status = 0};

	(void)state;
	fake_reset();
	/* Half of them within their headers, half within their bodies. */
	for (unsigned i = 0; i < CROWD; i++) {
		slow[i] = client_connect(srv.port);
		assert_true(client_send(slow[i], head, i % 2 ? 20 : sizeof head - 1));
	}
	for (unsigned i = 0; i < 60 && r.status != 200; i++) {
		for (unsigned k = 0; k < CROWD; k++)
			(void)client_send(slow[k], "x", 1);
		r = client_post(srv.port, "/add_appointment", body);
		assert_true(r.status == 200 || (r.status == 503 && reply_code(&r) == 7));
		reply_free(&r);
		usleep(200000);
	}
	assert_int_equal(r.status, 200);
	for (unsigned i = 0; i < CROWD; i++)
		close(slow[i]);
	free(body);
}

/* Asks again and again for three seconds, in which silent connections lose their places.  False when it was refused;
   *stalled: it had itself been silent for nearly a second before that. */
static bool keep_asking(int fd, bool *stalled)
{
	static const char ping[] = "GET /ping" H "\r\n";
	uint64_t asked = uv_hrtime();

	for (unsigned i = 0; i < 15; i++) {
		struct reply r;
		bool ok;

		*stalled = uv_hrtime() - asked > 800000000u;
		asked = uv_hrtime();
		ok = client_send(fd, ping, sizeof ping - 1) && client_read(fd, &r, CLIENT_WAIT_MS);
		if (!ok)
			return false;
		ok = r.status == 200;
		reply_free(&r);
		if (!ok)
			return false;
		usleep(200000);
	}
	return true;
}

static void a_connection_in_use_keeps_its_place(void **state)
{
	bool kept = false, stalled = true;

	(void)state;
	/* On a machine that let us stall it was silent, and there is nothing to learn. */
	for (unsigned tries = 0; tries < 5 && !kept && stalled; tries++) {
		int used, idle[CROWD];

		fake_reset();
		used = client_connect(srv.port);
		for (unsigned i = 0; i < CROWD; i++)
			idle[i] = client_connect(srv.port);
		kept = keep_asking(used, &stalled);
		close(used);
		for (unsigned i = 0; i < CROWD; i++)
			close(idle[i]);
	}
	assert_true(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			beyond_the_places_every_endpoint_answers_at_once_what_its_clients_try_again,
			setup_small, teardown_small),
		cmocka_unit_test_setup_teardown(a_request_gets_the_place_of_a_silent_connection, setup_small,
						teardown_small),
		cmocka_unit_test_setup_teardown(clients_that_drip_do_not_keep_others_out, setup_small,
						teardown_small),
		cmocka_unit_test_setup_teardown(a_connection_in_use_keeps_its_place, setup_small,
						teardown_small),
	};

	return cmocka_run_group_tests_name("api/overload", tests, NULL, NULL);
}
