/* The alert command: a script of the test's own writes down how it was run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alert/alert.h"
#include "carrier/carrier.h"
#include "log/log.h"
#include "tower/tower.h"

struct world {
	char dir[64], script[96], out[96];
	uv_loop_t loop;
	uv_timer_t limit;
	struct alert *alert;
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

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	snprintf(w->dir, sizeof(w->dir), "/tmp/vigil-alert-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->script, sizeof(w->script), "%s/script", w->dir);
	snprintf(w->out, sizeof(w->out), "%s/out", w->dir);
	uv_loop_init(&w->loop);
	uv_timer_init(&w->loop, &w->limit);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	alert_free(w->alert);
	uv_close((uv_handle_t *)&w->limit, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	unlink(w->script);
	unlink(w->out);
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

static void script(struct world *w, const char *body)
{
	FILE *f = fopen(w->script, "w");

	assert_non_null(f);
	fprintf(f, "#!/bin/sh\nOUT=%s\n%s\n", w->out, body);
	fclose(f);
	assert_int_equal(chmod(w->script, 0700), 0);
}

static void begin(struct world *w, const char *arguments, unsigned interval_ms, unsigned timeout_ms)
{
	char command[256];
	struct alert_config cfg = {
		.command = command, .network = "regtest", .interval_ms = interval_ms, .timeout_ms = timeout_ms};
	const char *why = "";

	snprintf(command, sizeof(command), "%s%s", w->script, arguments);
	w->alert = alert_new(&cfg, &w->loop, &why);
	if (w->alert == NULL)
		fail_msg("%s", why);
}

static char text[8192];

static const char *output(struct world *w)
{
	FILE *f = fopen(w->out, "r");
	size_t sz = 0;

	if (f != NULL) {
		sz = fread(text, 1, sizeof(text) - 1, f);
		fclose(f);
	}
	text[sz] = '\0';
	return text;
}

static unsigned lines(struct world *w)
{
	unsigned n = 0;

	for (const char *p = output(w); *p != '\0'; p++)
		n += *p == '\n';
	return n;
}

static const struct alert_info *info(struct world *w)
{
	return alert_info_of(w->alert);
}

static bool has_line(const char *all, const char *line)
{
	size_t sz = strlen(line);

	for (const char *p = all; p != NULL && *p != '\0'; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		if (strncmp(p, line, sz) == 0 && (p[sz] == '\n' || p[sz] == '\0'))
			return true;
	return false;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void a_penalty_is_told_in_the_environment_and_nothing_else_is_there(void **state)
{
	struct world *w = *state;
	struct hash256 penalty = {{1}}, dispute = {{2}};
	struct locator l = {{3}};
	struct tower_alert a = {.kind = ALERT_PENALTY_OVERDUE,
				.penalty_txid = &penalty,
				.dispute_txid = &dispute,
				.locator = &l,
				.dispute_height = 800000,
				.depth = 12,
				.step = 2,
				.state = TRACKER_REFUSED,
				.tries = 9,
				.peer_cnt = 3,
				.reason = REASON_FEE_LOW,
				.node_code = -26,
				.node_text = "min relay fee not met, $(touch x) `y` \"z\"\n\x1b[31m"};

	setenv("VIGIL_TEST_SECRET", "s3cret", 1);
	script(w, "env > $OUT.1; echo \"args $# $1 $2\" >> $OUT.1; pwd >> $OUT.1; mv $OUT.1 $OUT");
	begin(w, "  --to   ops;x ", 0, 20000);
	alert_penalty(w->alert, &a);
	assert_true(RUN_UNTIL(w, lines(w) > 0, 20000));
	output(w);
	assert_true(has_line(text, "VIGIL_EVENT=penalty_overdue"));
	assert_true(has_line(text, "VIGIL_NETWORK=regtest"));
	assert_true(has_line(text, "VIGIL_PENALTY="
				   "0000000000000000000000000000000000000000000000000000000000000001"));
	assert_true(has_line(text, "VIGIL_DISPUTE="
				   "0000000000000000000000000000000000000000000000000000000000000002"));
	assert_true(has_line(text, "VIGIL_LOCATOR=03000000000000000000000000000000"));
	assert_true(has_line(text, "VIGIL_DISPUTE_HEIGHT=800000"));
	assert_true(has_line(text, "VIGIL_DEPTH=12"));
	assert_true(has_line(text, "VIGIL_STEP=2"));
	assert_true(has_line(text, "VIGIL_STATE=refused"));
	assert_true(has_line(text, "VIGIL_TRIES=9"));
	assert_true(has_line(text, "VIGIL_PEERS=3"));
	assert_true(has_line(text, "VIGIL_REASON=fee too low"));
	assert_true(has_line(text, "VIGIL_CODE=-26"));
	/* As it came, and one printable line: no shell has seen it. */
	assert_true(has_line(text, "VIGIL_TEXT=min relay fee not met, $(touch x) `y` \"z\"\\n\\x1b[31m"));
	assert_true(has_line(text, "VIGIL_SUPPRESSED=0"));
	assert_true(has_line(text, "args 2 --to ops;x"));
	assert_true(has_line(text, "/"));
	assert_null(strstr(text, "s3cret"));
	assert_null(strstr(text, "HOME="));
}

static void a_node_is_told_too(void **state)
{
	struct world *w = *state;
	struct carrier_node_info n = {
		.host = "10.0.0.7", .port = 8332, .state = CARRIER_DOWN, .error = "Connection refused"};

	script(w, "echo $VIGIL_EVENT $VIGIL_NODE $VIGIL_STATE $VIGIL_TEXT >> $OUT");
	begin(w, "", 0, 20000);
	alert_node(w->alert, &n, false);
	alert_node(w->alert, &n, true);
	assert_true(RUN_UNTIL(w, lines(w) == 2, 20000));
	assert_string_equal(output(w), "node_unusable 10.0.0.7:8332 down Connection refused\n"
				       "node_usable 10.0.0.7:8332 down Connection refused\n");
}

static void runs_keep_their_distance_and_the_queue_is_bounded(void **state)
{
	struct world *w = *state;

	script(w, "echo $VIGIL_SUPPRESSED >> $OUT");
	begin(w, "", 100, 20000);
	for (unsigned i = 0; i < ALERT_QUEUE_MAX + 11; i++)
		alert_raise(w->alert, "penalty_overdue", NULL, 0);
	/* The first runs at once. */
	assert_int_equal(info(w)->suppressed_total, 10);
	assert_int_equal(info(w)->queued, ALERT_QUEUE_MAX);
	RUN_UNTIL(w, false, 450);
	assert_true(info(w)->runs_total <= 6);
	assert_true(RUN_UNTIL(w, lines(w) >= 2, 20000));
	assert_memory_equal(output(w), "0\n10\n", 5);
}

static void one_runs_at_a_time(void **state)
{
	struct world *w = *state;

	script(w, "echo begin >> $OUT; sleep 0.2; echo end >> $OUT");
	begin(w, "", 0, 20000);
	for (unsigned i = 0; i < 3; i++)
		alert_raise(w->alert, "penalty_overdue", NULL, 0);
	assert_true(RUN_UNTIL(w, lines(w) == 6, 20000));
	assert_string_equal(output(w), "begin\nend\nbegin\nend\nbegin\nend\n");
	assert_int_equal(info(w)->failures_total, 0);
}

static void a_run_that_hangs_is_stopped_with_its_children(void **state)
{
	struct world *w = *state;
	int pid = 0;

	script(w, "sleep 600 & echo $! > $OUT.1; mv $OUT.1 $OUT; wait");
	begin(w, "", 0, 300);
	alert_raise(w->alert, "penalty_overdue", NULL, 0);
	assert_true(RUN_UNTIL(w, info(w)->timeouts_total == 1, 20000));
	assert_int_equal(sscanf(output(w), "%d", &pid), 1);
	assert_true(pid > 1);
	/* An orphan that was killed is gone once its new parent has seen it; a zombie counts as gone here. */
	for (unsigned i = 0; i < 200; i++) {
		char path[64], state_letter = 'Z';
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		f = fopen(path, "r");
		if (f != NULL) {
			if (fscanf(f, "%*d %*s %c", &state_letter) != 1)
				state_letter = 'Z';
			fclose(f);
		}
		if (state_letter == 'Z')
			return;
		RUN_UNTIL(w, false, 20);
	}
	fail_msg("the child %d is still running", pid);
}

static void a_run_that_fails_is_counted_and_the_next_goes_on(void **state)
{
	struct world *w = *state;

	script(w, "echo x >> $OUT; exit 3");
	begin(w, "", 0, 20000);
	alert_raise(w->alert, "penalty_overdue", NULL, 0);
	alert_raise(w->alert, "penalty_overdue", NULL, 0);
	assert_true(RUN_UNTIL(w, info(w)->failures_total == 2, 20000));
	assert_int_equal(lines(w), 2);
}

static void a_program_that_is_not_there_is_counted(void **state)
{
	struct world *w = *state;

	begin(w, "-not-there", 0, 20000);
	alert_raise(w->alert, "penalty_overdue", NULL, 0);
	alert_raise(w->alert, "penalty_overdue", NULL, 0);
	assert_true(RUN_UNTIL(w, info(w)->failures_total == 2, 20000));
}

static void without_a_command_events_are_only_counted(void **state)
{
	struct world *w = *state;
	struct alert_config cfg = {.command = "", .network = "main"};
	const char *why;

	w->alert = alert_new(&cfg, &w->loop, &why);
	assert_non_null(w->alert);
	alert_raise(w->alert, "penalty_overdue", NULL, 0);
	assert_int_equal(info(w)->events_total, 1);
	assert_int_equal(info(w)->runs_total, 0);
}

static void a_relative_path_is_refused(void **state)
{
	struct world *w = *state;
	struct alert_config cfg = {.command = "mail ops", .network = "main"};
	const char *why = NULL;

	assert_null(alert_new(&cfg, &w->loop, &why));
	assert_non_null(strstr(why, "absolute"));
}

static void a_run_under_way_does_not_hold_up_the_end(void **state)
{
	struct world *w = *state;

	script(w, "echo x >> $OUT; sleep 600");
	begin(w, "", 0, 600000);
	alert_raise(w->alert, "penalty_overdue", NULL, 0);
	assert_true(RUN_UNTIL(w, lines(w) == 1, 20000));
	/* teardown: the loop ends. */
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_penalty_is_told_in_the_environment_and_nothing_else_is_there),
		T(a_node_is_told_too),
		T(runs_keep_their_distance_and_the_queue_is_bounded),
		T(one_runs_at_a_time),
		T(a_run_that_hangs_is_stopped_with_its_children),
		T(a_run_that_fails_is_counted_and_the_next_goes_on),
		T(a_program_that_is_not_there_is_counted),
		T(without_a_command_events_are_only_counted),
		T(a_relative_path_is_refused),
		T(a_run_under_way_does_not_hold_up_the_end),
	};

	log_set_level(LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
