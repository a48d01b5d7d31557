#include "alert/alert.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/log.h"

#define KILL_AFTER_MS 5000u

struct event {
	struct event *next;
	const char *name;
	unsigned cnt;
	struct alert_fact fact[ALERT_FACT_MAX];
};

struct alert {
	uv_loop_t *loop;
	char command[ALERT_COMMAND_SZ], network[32];
	char *word[ALERT_WORD_MAX + 1]; /* in command; ends with NULL */
	unsigned interval_ms, timeout_ms;
	struct event *first, **last;
	uint64_t suppressed; /* since the last run */
	uv_timer_t pace, limit;
	uv_process_t process;
	bool running, stopped /* had to be */, resting;
	struct alert_info info;
	unsigned handles;
	bool freed;
};

static void run_next(struct alert *a);

/* --- a run --------------------------------------------------------------------------------------------------- */

static void release(struct alert *a)
{
	if (a->freed && a->handles == 0)
		free(a);
}

static void on_closed(uv_handle_t *h)
{
	struct alert *a = h->data;

	a->handles--;
	release(a);
}

static void on_process_closed(uv_handle_t *h)
{
	struct alert *a = h->data;

	a->running = false;
	a->handles--;
	if (a->freed)
		release(a);
	else
		run_next(a);
}

static void on_process_exit(uv_process_t *p, int64_t status, int signum)
{
	struct alert *a = p->data;

	if (a->freed)
		return; /* being closed */
	uv_timer_stop(&a->limit);
	if (a->stopped)
		a->info.timeouts_total++;
	else if (status != 0 || signum != 0)
		a->info.failures_total++;
	if (a->stopped || status != 0 || signum != 0)
		log_warn("alert_failed", "The alert command did not do its work",
			 log_str("command", a->word[0]), log_i64("status", status), log_i64("signal", signum),
			 log_bool("too_long", a->stopped));
	uv_close((uv_handle_t *)p, on_process_closed);
}

/* The whole group: what a script has started goes with it. */
static void on_limit(uv_timer_t *t)
{
	struct alert *a = t->data;

	kill(-a->process.pid, a->stopped ? SIGKILL : SIGTERM);
	a->stopped = true;
	uv_timer_start(&a->limit, on_limit, KILL_AFTER_MS, 0);
}

static void on_pace(uv_timer_t *t)
{
	struct alert *a = t->data;

	a->resting = false;
	run_next(a);
}

struct environment {
	char *line[ALERT_FACT_MAX + 8];
	unsigned cnt;
	char text[(ALERT_FACT_MAX + 8) * 256];
	size_t used;
};

/* Values come from nodes in part: one line of printable ASCII each. */
static void put_env(struct environment *e, const char *prefix, const char *name, const char *value)
{
	char safe[192];
	size_t room = sizeof(e->text) - e->used;
	int sz = snprintf(e->text + e->used, room, "%s%s=%s", prefix, name,
			  log_printable(safe, sizeof(safe), value));

	if (sz < 0 || (size_t)sz >= room)
		return;
	e->line[e->cnt++] = e->text + e->used;
	e->used += (size_t)sz + 1;
}

static void environment_of(struct environment *e, const struct alert *a, const struct event *v)
{
	char number[24];

	e->cnt = 0;
	e->used = 0;
	put_env(e, "", "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	put_env(e, "", "LANG", "C.UTF-8");
	put_env(e, "VIGIL_", "EVENT", v->name);
	put_env(e, "VIGIL_", "NETWORK", a->network);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)a->suppressed);
	put_env(e, "VIGIL_", "SUPPRESSED", number);
	for (unsigned i = 0; i < v->cnt; i++)
		put_env(e, "VIGIL_", v->fact[i].name, v->fact[i].value);
	e->line[e->cnt] = NULL;
}

static void start(struct alert *a, const struct event *v)
{
	static char root[] = "/";
	uv_stdio_container_t io[3] = {{.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_IGNORE}};
	struct environment *e = malloc(sizeof(*e));
	uv_process_options_t o = {
		.file = a->word[0],
		.args = a->word,
		.cwd = root,
		.flags = UV_PROCESS_DETACHED,
		.stdio = io,
		.stdio_count = 3,
		.exit_cb = on_process_exit,
	};
	int rc;

	a->info.runs_total++;
	if (e == NULL) {
		a->info.failures_total++;
		return; /* on_pace goes on */
	}
	environment_of(e, a, v);
	o.env = e->line;
	a->running = true;
	a->stopped = false;
	a->handles++;
	a->process.data = a;
	rc = uv_spawn(a->loop, &a->process, &o);
	free(e);
	a->suppressed = 0;
	if (rc == 0) {
		uv_timer_start(&a->limit, on_limit, a->timeout_ms, 0);
		return;
	}
	a->info.failures_total++;
	log_error("alert_failed", "The alert command cannot be started", log_str("command", a->word[0]),
		  log_str("error", uv_strerror(rc)));
	/* libuv has made the handle all the same. */
	uv_close((uv_handle_t *)&a->process, on_process_closed);
}

static void run_next(struct alert *a)
{
	struct event *v = a->first;

	if (v == NULL || a->running || a->resting || a->freed)
		return;
	a->first = v->next;
	if (a->first == NULL)
		a->last = &a->first;
	a->info.queued--;
	a->resting = true;
	uv_timer_start(&a->pace, on_pace, a->interval_ms, 0);
	start(a, v);
	free(v);
}

/* --- interface ------------------------------------------------------------------------------------------------ */

void alert_raise(struct alert *a, const char *event, const struct alert_fact *facts, unsigned cnt)
{
	struct event *v;

	a->info.events_total++;
	if (a->freed || a->word[0] == NULL)
		return;
	v = a->info.queued < ALERT_QUEUE_MAX ? calloc(1, sizeof(*v)) : NULL;
	if (v == NULL) {
		a->info.suppressed_total++;
		a->suppressed++;
		return;
	}
	v->name = event;
	v->cnt = cnt < ALERT_FACT_MAX ? cnt : ALERT_FACT_MAX;
	if (v->cnt > 0)
		memcpy(v->fact, facts, v->cnt * sizeof(*facts));
	*a->last = v;
	a->last = &v->next;
	a->info.queued++;
	run_next(a);
}

const struct alert_info *alert_info_of(const struct alert *a)
{
	return &a->info;
}

static bool split(struct alert *a, const char **why)
{
	unsigned cnt = 0;
	char *rest = a->command, *word;

	while ((word = strsep(&rest, " \t")) != NULL) {
		if (*word == '\0')
			continue;
		if (cnt == ALERT_WORD_MAX) {
			*why = "alert.command has more than 32 words";
			return false;
		}
		a->word[cnt++] = word;
	}
	*why = "alert.command does not begin with the absolute path of a program";
	return cnt == 0 || a->word[0][0] == '/';
}

static void timer_init(struct alert *a, uv_timer_t *t)
{
	uv_timer_init(a->loop, t);
	t->data = a;
	a->handles++;
}

struct alert *alert_new(const struct alert_config *cfg, uv_loop_t *loop, const char **why)
{
	struct alert *a = calloc(1, sizeof(*a));

	*why = "out of memory";
	if (a == NULL)
		return NULL;
	a->loop = loop;
	a->interval_ms = cfg->interval_ms;
	a->timeout_ms = cfg->timeout_ms;
	a->last = &a->first;
	snprintf(a->network, sizeof(a->network), "%s", cfg->network);
	*why = "alert.command is too long";
	if ((size_t)snprintf(a->command, sizeof(a->command), "%s", cfg->command) >= sizeof(a->command) ||
	    !split(a, why)) {
		free(a);
		return NULL;
	}
	timer_init(a, &a->pace);
	timer_init(a, &a->limit);
	return a;
}

void alert_free(struct alert *a)
{
	if (a == NULL || a->freed)
		return;
	a->freed = true;
	while (a->first != NULL) {
		struct event *v = a->first;

		a->first = v->next;
		free(v);
	}
	if (a->running && !uv_is_closing((uv_handle_t *)&a->process)) {
		kill(-a->process.pid, SIGTERM);
		uv_close((uv_handle_t *)&a->process, on_process_closed);
	}
	uv_close((uv_handle_t *)&a->pace, on_closed);
	uv_close((uv_handle_t *)&a->limit, on_closed);
}
