/* The onion service, set up at a control port that checks every line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_tor.h"
#include "log/log.h"
#include "tor/tor.h"

struct world {
	char dir[64], key[96], cookie[96], socket[96];
	uv_loop_t loop;
	uv_timer_t limit;
	struct fake_tor f;
	struct tor *tor;
};

static void on_limit(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

#define RUN_UNTIL(w, cond, ms)                                  \
	({                                                      \
		bool over_ = false;                             \
		(w)->limit.data = &over_;                       \
		uv_timer_start(&(w)->limit, on_limit, (ms), 0); \
		while (!(cond) && !over_)                       \
			uv_run(&(w)->loop, UV_RUN_ONCE);        \
		uv_timer_stop(&(w)->limit);                     \
		(bool)(cond);                                   \
	})

static void write_cookie(struct world *w)
{
	int fd = open(w->cookie, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	for (unsigned i = 0; i < 32; i++)
		w->f.cookie[i] = (uint8_t)(i * 7);
	assert_int_equal(write(fd, w->f.cookie, 32), 32);
	close(fd);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	snprintf(w->dir, sizeof(w->dir), "/tmp/vigil-tor-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->key, sizeof(w->key), "%s/onion_v3_sk", w->dir);
	snprintf(w->cookie, sizeof(w->cookie), "%s/cookie", w->dir);
	snprintf(w->socket, sizeof(w->socket), "%s/control", w->dir);
	uv_loop_init(&w->loop);
	uv_timer_init(&w->loop, &w->limit);
	w->f.methods = "NULL";
	*state = w;
	return 0;
}

static void drain(struct world *w)
{
	while (uv_run(&w->loop, UV_RUN_NOWAIT) != 0 && uv_loop_alive(&w->loop))
		;
}

static int teardown(void **state)
{
	struct world *w = *state;

	tor_free(w->tor);
	if (w->f.loop != NULL)
		fake_tor_stop(&w->f);
	uv_close((uv_handle_t *)&w->limit, NULL);
	drain(w);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	assert_string_equal(w->f.fault, "");
	unlink(w->key);
	unlink(w->cookie);
	unlink(w->socket);
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

static struct tor_config config_of(struct world *w)
{
	static char control[128];

	if (w->f.server.handle.type == UV_NAMED_PIPE)
		snprintf(control, sizeof(control), "%s", w->socket);
	else
		snprintf(control, sizeof(control), "127.0.0.1:%u", w->f.port);
	return (struct tor_config){.control = control,
				   .password = "",
				   .cookie = "",
				   .key_file = w->key,
				   .onion_port = 9814,
				   .target_host = "127.0.0.1",
				   .target_port = 19814,
				   .timeout_ms = 700,
				   .retry_ms = 50};
}

static void begin_with(struct world *w, const struct tor_config *cfg)
{
	const char *why = "";

	w->tor = tor_new(cfg, &w->loop, &why);
	if (w->tor == NULL)
		fail_msg("%s", why);
	tor_start(w->tor);
}

static void begin(struct world *w)
{
	fake_tor_start(&w->f, &w->loop, 0, NULL);
	struct tor_config cfg = config_of(w);

	begin_with(w, &cfg);
}

static const struct tor_info *info(struct world *w)
{
	return tor_info_of(w->tor);
}

static bool is_up(struct world *w)
{
	return info(w)->state == TOR_UP;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void T43_the_service_is_added_with_our_key_and_mapped_to_the_api(void **state)
{
	struct world *w = *state;
	size_t sz;

	begin(w);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
	assert_int_equal(w->f.adds, 1);
	assert_string_equal(w->f.last_port, "9814,127.0.0.1:19814");
	sz = strlen(info(w)->address);
	assert_int_equal(sz, 62);
	assert_string_equal(info(w)->address + 56, ".onion");
	assert_int_equal(info(w)->port, 9814);
	assert_string_equal(info(w)->error, "");
	assert_int_equal(w->f.open_conns, 1); /* it lives as long as the connection */
}

static void T43_the_address_stays_over_a_restart_and_the_service_goes_with_the_tower(void **state)
{
	struct world *w = *state;
	char first[80];
	struct tor_config cfg;

	begin(w);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
	snprintf(first, sizeof(first), "%s", info(w)->address);
	tor_free(w->tor);
	w->tor = NULL;
	assert_true(RUN_UNTIL(w, w->f.quits == 1, 10000));
	assert_int_equal(w->f.dels, 1);
	assert_memory_equal(w->f.last_del, first, 56);
	cfg = config_of(w);
	begin_with(w, &cfg);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
	assert_string_equal(info(w)->address, first);
}

static void T43_safecookie_is_proven_both_ways(void **state)
{
	struct world *w = *state;

	w->f.methods = "COOKIE,SAFECOOKIE,HASHEDPASSWORD";
	w->f.cookie_file = w->cookie;
	write_cookie(w);
	begin(w);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
	assert_int_equal(w->f.auths, 1);
}

static void a_server_that_does_not_know_the_cookie_is_told_nothing(void **state)
{
	struct world *w = *state;

	w->f.methods = "SAFECOOKIE";
	w->f.cookie_file = w->cookie;
	w->f.wrong_server_hash = true;
	write_cookie(w);
	begin(w);
	assert_true(RUN_UNTIL(w, w->f.conns >= 2, 10000));
	assert_int_equal(w->f.auths, 0);
	assert_int_equal(w->f.adds, 0);
	assert_non_null(strstr(info(w)->error, "does not know Tor's cookie"));
	assert_memory_equal(w->f.last_line, "AUTHCHALLENGE", 13); /* and no proof of ours after it */
}

static void a_cookie_that_cannot_be_read_is_named_and_tried_again(void **state)
{
	struct world *w = *state;

	w->f.methods = "COOKIE,SAFECOOKIE";
	w->f.cookie_file = w->cookie;
	begin(w);
	assert_true(RUN_UNTIL(w, w->f.conns >= 2, 10000));
	assert_non_null(strstr(info(w)->error, w->cookie));
	write_cookie(w);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
}

static void plain_cookie_is_never_spoken(void **state)
{
	struct world *w = *state;

	w->f.methods = "COOKIE";
	w->f.cookie_file = w->cookie;
	write_cookie(w);
	begin(w);
	assert_true(RUN_UNTIL(w, w->f.conns >= 2, 10000));
	assert_int_equal(w->f.auths, 0);
	assert_string_equal(w->f.last_line, "PROTOCOLINFO 1");
}

static void T43_a_password_is_given_where_one_is_asked_for(void **state)
{
	struct world *w = *state;
	struct tor_config cfg;

	w->f.methods = "HASHEDPASSWORD";
	w->f.password = "a \\\"b\\\" \\\\c"; /* as it comes over the wire */
	fake_tor_start(&w->f, &w->loop, 0, NULL);
	cfg = config_of(w);
	cfg.password = "a \"b\" \\c";
	begin_with(w, &cfg);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
}

static void a_wrong_password_is_shown_and_not_hammered(void **state)
{
	struct world *w = *state;
	struct tor_config cfg;

	w->f.methods = "HASHEDPASSWORD";
	w->f.password = "right";
	fake_tor_start(&w->f, &w->loop, 0, NULL);
	cfg = config_of(w);
	cfg.password = "wrong";
	cfg.retry_ms = 100;
	begin_with(w, &cfg);
	assert_true(RUN_UNTIL(w, w->f.conns >= 2, 10000));
	assert_non_null(strstr(info(w)->error, "AUTHENTICATE: 515"));
	assert_null(strstr(info(w)->error, "wrong"));
	RUN_UNTIL(w, false, 1000);
	assert_true(w->f.conns <= 6); /* 0, 75..100, 150..200, 300..400, 600..800 ms later */
}

static void without_a_way_to_prove_ourselves_it_says_so(void **state)
{
	struct world *w = *state;

	w->f.methods = "HASHEDPASSWORD";
	begin(w);
	assert_true(RUN_UNTIL(w, w->f.conns >= 2, 10000));
	assert_non_null(strstr(info(w)->error, "tor.password"));
}

static void T43_a_lost_tor_is_waited_for_and_the_service_set_up_again(void **state)
{
	struct world *w = *state;
	uint16_t port;

	begin(w);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
	port = w->f.port;
	fake_tor_stop(&w->f);
	assert_true(RUN_UNTIL(w, !is_up(w), 10000));
	assert_int_equal(info(w)->losses_total, 1);
	RUN_UNTIL(w, false, 150);
	assert_non_null(strstr(info(w)->error, "cannot connect"));
	fake_tor_start(&w->f, &w->loop, port, NULL);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
	assert_int_equal(info(w)->ups_total, 2);
}

static void a_service_that_dies_at_once_is_not_set_up_in_a_tight_loop(void **state)
{
	struct world *w = *state;

	w->f.cut_after_add = 2;
	begin(w);
	assert_true(RUN_UNTIL(w, info(w)->ups_total == 3, 10000));
	assert_int_equal(w->f.adds, 3);
	assert_int_equal(info(w)->losses_total, 2);
}

static void errors_and_strangers_are_told_apart(void **state)
{
	static const struct {
		const char *greeting, *add_error, *service_id, *want;
	} rows[] = {
		{"HTTP/1.1 400 Bad Request\r\n\r\n", NULL, NULL, "does not speak Tor's control protocol"},
		{"510 Unrecognized command\r\n", NULL, NULL, "PROTOCOLINFO: 510"},
		{"250 OK\r\n", NULL, NULL, "no way to prove"},
		{NULL, "550 Onion address collision\r\n", NULL, "ADD_ONION: 550 Onion address collision"},
		{NULL, "512 Invalid VIRTPORT/TARGET\r\n", NULL, "ADD_ONION: 512"},
		{NULL, NULL, "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid", "another service"},
		{NULL, NULL, "", "another service"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned before = w->f.conns;

		w->f.greeting = rows[i].greeting;
		w->f.add_error = rows[i].add_error;
		w->f.service_id = rows[i].service_id;
		if (w->tor == NULL)
			begin(w);
		assert_true(
			RUN_UNTIL(w, w->f.conns >= before + 2 && strstr(info(w)->error, rows[i].want), 30000));
		assert_int_equal(info(w)->ups_total, 0);
		/* From the start, so that the delays stay short. */
		tor_free(w->tor);
		w->tor = NULL;
		fake_tor_stop(&w->f);
		RUN_UNTIL(w, false, 20);
	}
	w->f.loop = NULL;
}

static void a_silent_server_is_given_up_in_time(void **state)
{
	struct world *w = *state;

	w->f.silent = true;
	begin(w);
	assert_true(RUN_UNTIL(w, w->f.conns >= 2, 10000));
	assert_non_null(strstr(info(w)->error, "no answer in time"));
}

static void answers_may_come_a_byte_at_a_time(void **state)
{
	struct world *w = *state;

	w->f.drip = true;
	w->f.methods = "SAFECOOKIE";
	w->f.cookie_file = w->cookie;
	write_cookie(w);
	begin(w);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
}

static void a_unix_socket_and_ipv6_will_do(void **state)
{
	struct world *w = *state;
	struct tor_config cfg;

	fake_tor_start(&w->f, &w->loop, 0, w->socket);
	cfg = config_of(w);
	cfg.target_host = "::";
	begin_with(w, &cfg);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
	assert_string_equal(w->f.last_port, "9814,[::1]:19814");
}

static void an_api_on_all_interfaces_is_reached_by_loopback(void **state)
{
	struct world *w = *state;
	struct tor_config cfg;

	fake_tor_start(&w->f, &w->loop, 0, NULL);
	cfg = config_of(w);
	cfg.target_host = "0.0.0.0";
	begin_with(w, &cfg);
	assert_true(RUN_UNTIL(w, is_up(w), 10000));
	assert_string_equal(w->f.last_port, "9814,127.0.0.1:19814");
}

static void bad_settings_are_refused(void **state)
{
	static const char *const bad[] = {"localhost:9051",  "127.0.0.1",     ":9051", "127.0.0.1:0",
					  "127.0.0.1:70000", "127.0.0.1:90x", "[::1]", "",
					  "[::1:9051"};
	struct world *w = *state;
	struct tor_config cfg = config_of(w);
	const char *why = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cfg.control = bad[i];
		assert_null(tor_new(&cfg, &w->loop, &why));
		assert_non_null(strstr(why, "tor.control"));
	}
	assert_int_equal(access(w->key, F_OK), -1); /* nothing was made */
}

static void an_end_in_the_middle_leaves_nothing_behind(void **state)
{
	struct world *w = *state;

	w->f.silent = true;
	begin(w);
	assert_true(RUN_UNTIL(w, w->f.last_line[0] != '\0', 10000));
	/* teardown closes everything, and the loop has no handle left. */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(T43_the_service_is_added_with_our_key_and_mapped_to_the_api),
		T(T43_the_address_stays_over_a_restart_and_the_service_goes_with_the_tower),
		T(T43_safecookie_is_proven_both_ways),
		T(a_server_that_does_not_know_the_cookie_is_told_nothing),
		T(a_cookie_that_cannot_be_read_is_named_and_tried_again),
		T(plain_cookie_is_never_spoken),
		T(T43_a_password_is_given_where_one_is_asked_for),
		T(a_wrong_password_is_shown_and_not_hammered),
		T(without_a_way_to_prove_ourselves_it_says_so),
		T(T43_a_lost_tor_is_waited_for_and_the_service_set_up_again),
		T(a_service_that_dies_at_once_is_not_set_up_in_a_tight_loop),
		T(errors_and_strangers_are_told_apart),
		T(a_silent_server_is_given_up_in_time),
		T(answers_may_come_a_byte_at_a_time),
		T(a_unix_socket_and_ipv6_will_do),
		T(an_api_on_all_interfaces_is_reached_by_loopback),
		T(bad_settings_are_refused),
		T(an_end_in_the_middle_leaves_nothing_behind),
	};

	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
