/* vigil-cli: calls one method of vigild's control socket and prints the answer.

   Output   JSON with two spaces of indentation on standard output; errors on standard error.
   Status   0 answered, 1 the server answered with an error, 2 wrong usage, 3 no server. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "config/config.h"

enum { EXIT_ANSWERED = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_NO_SERVER = 3 };

#define PARAM_MAX 3u

/* What the server's "help" says, for when there is no server, and what --all needs to know. */
static const struct method {
	const char *name, *help;
	const char *param[PARAM_MAX]; /* in order; in brackets where optional */
	const char *list;             /* member of the reply that is given in pages, or NULL */
	bool whole;                   /* as with --all: a TEOS name, which never gives a part */
} methods[] = {
	{"getinfo", "State of the whole tower: chain, dataplane, nodes, counters", {0}, NULL, false},
	{"gettowerinfo", "Identity, addresses and sizes of the tower", {0}, NULL, false},
	{"getusers", "Ids of the registered users, in pages", {"[after]", "[limit]"}, "user_ids", false},
	{"getuser",
	 "One user's subscription and the uuids of its appointments, in pages",
	 {"user_id", "[after]", "[limit]"},
	 "appointments",
	 false},
	{"getappointments",
	 "All users' appointments and trackers with one locator, in pages",
	 {"locator", "[after]", "[limit]"},
	 "appointments",
	 false},
	{"getallappointments",
	 "All appointments and trackers, in pages",
	 {"[after]", "[limit]"},
	 "appointments",
	 false},
	{"getlocators",
	 "The locator of each appointment and tracker, in pages",
	 {"[after]", "[limit]"},
	 "locators",
	 false},
	{"gettrackers",
	 "Penalties being followed, with state, node's answer and latencies, in pages",
	 {"[after]", "[limit]"},
	 "trackers",
	 false},
	{"getpeers", "Bitcoin nodes the dataplane is connected to by P2P", {0}, NULL, false},
	{"getcounters",
	 "Counters of control, and of the dataplane as of a second or two ago",
	 {0},
	 NULL,
	 false},
	{"getslowlog",
	 "What took longer than log.slow-ms: the last events, newest first, and the slowest of each kind",
	 {"[limit]"},
	 NULL,
	 false},
	{"scanstale",
	 "Looks for breaches in blocks off the best chain: up to one block, or in every branch known; "
	 "information only",
	 {"[hash]"},
	 NULL,
	 false},
	{"getstalescan", "What the last scanstale has found so far", {0}, NULL, false},
	{"checkpoint",
	 "Begins a backup of the store in a new folder DIR, while everything goes on; without the key",
	 {"dir"},
	 NULL,
	 false},
	{"getcheckpoint", "How the last checkpoint stands", {0}, NULL, false},
	{"stop", "Stops vigild in good order", {0}, NULL, false},
	{"get_tower_info", "The same as gettowerinfo", {0}, NULL, false},
	{"get_users", "The same as getusers", {"[after]", "[limit]"}, "user_ids", true},
	{"get_user", "The same as getuser", {"user_id", "[after]", "[limit]"}, "appointments", true},
	{"get_appointments",
	 "The same as getappointments",
	 {"locator", "[after]", "[limit]"},
	 "appointments",
	 true},
	{"get_all_appointments",
	 "The same as getallappointments",
	 {"[after]", "[limit]"},
	 "appointments",
	 true},
	{"help", "Lists the methods, or describes one", {"[method]"}, NULL, false},
};
#define METHOD_CNT (sizeof(methods) / sizeof(methods[0]))

struct options {
	const char *socket;
	const char *config, *data_dir, *network; /* where to look for it */
	unsigned timeout_s;
	bool all;
	bool lines;
};

static int usage_error(const char *fmt, const char *what)
{
	fprintf(stderr, "vigil-cli: ");
	fprintf(stderr, fmt, what);
	fprintf(stderr, "\nTry 'vigil-cli --help'.\n");
	return EXIT_USAGE;
}

/* --- help --------------------------------------------------------------------------------------------------- */

static void print_method(const char *name, const char *params, const char *help)
{
	char left[80];

	snprintf(left, sizeof(left), "%s%s", name, params);
	printf("  %-44s %s\n", left, help);
}

static void print_builtin_methods(void)
{
	for (size_t i = 0; i < METHOD_CNT; i++) {
		char params[64] = "";

		for (unsigned k = 0; k < PARAM_MAX && methods[i].param[k] != NULL; k++) {
			size_t n = strlen(params);

			snprintf(params + n, sizeof(params) - n, " %s", methods[i].param[k]);
		}
		print_method(methods[i].name, params, methods[i].help);
	}
}

static void print_server_method(const json_t *m)
{
	const char *name = json_string_value(json_object_get(m, "name"));
	const char *help = json_string_value(json_object_get(m, "help"));
	char params[64] = "";
	json_t *p;
	size_t i;

	if (name == NULL || help == NULL)
		return;
	json_array_foreach(json_object_get(m, "params"), i, p)
	{
		const char *pn = json_string_value(json_object_get(p, "name"));
		bool required = json_is_true(json_object_get(p, "required"));
		size_t n = strlen(params);

		if (pn != NULL)
			snprintf(params + n, sizeof(params) - n, required ? " %s" : " [%s]", pn);
	}
	print_method(name, params, help);
}

static bool print_server_methods(const struct options *o)
{
	json_t *params = json_array(), *reply = NULL, *m;
	struct client c;
	bool ok = client_open(&c, o->socket, 1000) == CLIENT_OK &&
		  client_call(&c, "help", params, &reply) == CLIENT_OK;
	size_t i;

	if (ok)
		json_array_foreach(json_object_get(reply, "methods"), i, m) print_server_method(m);
	json_decref(reply);
	json_decref(params);
	client_close(&c);
	return ok;
}

static int print_help(const struct options *o)
{
	printf("vigil-cli " VIGIL_VERSION " - asks a running vigild\n"
	       "\n"
	       "usage: vigil-cli [options] METHOD [VALUE... | NAME=VALUE...]\n"
	       "\n"
	       "options:\n"
	       "  --socket PATH   vigild's control socket (default: what the next three say,\n"
	       "                  else $VIGIL_SOCKET, else ~/.vigil/main/control.sock)\n"
	       "  --config FILE   take the socket from this configuration file of vigild\n"
	       "  --data-dir DIR  the tower's data directory\n"
	       "  --network NAME  the tower's network\n"
	       "  --timeout S     seconds to wait for each answer (default: 60)\n"
	       "  --all           fetch every page of a list and print it as one document\n"
	       "  --lines         the same with a line for each row: text as it is, else JSON\n"
	       "  --help          this text\n"
	       "  --version       the version of vigil-cli\n"
	       "\n"
	       "methods:\n");
	if (!print_server_methods(o))
		print_builtin_methods();
	printf("\n"
	       "A page's \"next\" is the next page's \"after\".  Answers are JSON on standard "
	       "output,\n"
	       "errors go to standard error.  Exit status: 1 the server answered with an error,\n"
	       "2 wrong usage, 3 no server.  The names with an underscore give all pages at once.\n");
	return EXIT_ANSWERED;
}

/* --- arguments ---------------------------------------------------------------------------------------------- */

/* The length of the name in NAME=VALUE; 0 if s is not of that form. */
static size_t name_sz(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz_");

	return s[n] == '=' ? n : 0;
}

/* Every value goes as text; the server takes numbers in that form too.  NULL: names and plain values are mixed. */
static json_t *params_of(int argc, char **argv)
{
	bool named = argc > 0 && name_sz(argv[0]) > 0;
	json_t *params = named ? json_object() : json_array();

	for (int i = 0; i < argc; i++) {
		size_t n = name_sz(argv[i]);
		char name[64];

		if ((n > 0) != named || n >= sizeof(name)) {
			json_decref(params);
			return NULL;
		}
		if (!named) {
			json_array_append_new(params, json_string(argv[i]));
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int)n, argv[i]);
		json_object_set_new(params, name, json_string(argv[i] + n + 1));
	}
	return params;
}

static const struct method *method_find(const char *name)
{
	for (size_t i = 0; i < METHOD_CNT; i++)
		if (strcmp(methods[i].name, name) == 0)
			return &methods[i];
	return NULL;
}

/* Positional values as an object, so that "after" can be set.  NULL: too many. */
static json_t *params_by_name(const struct method *m, const json_t *list)
{
	json_t *params = json_object(), *v;
	size_t i;

	json_array_foreach(list, i, v)
	{
		const char *p = i < PARAM_MAX ? m->param[i] : NULL;
		char name[32];

		if (p == NULL) {
			json_decref(params);
			return NULL;
		}
		p += p[0] == '[';
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(p, "]"), p);
		json_object_set(params, name, v);
	}
	return params;
}

/* --- calls -------------------------------------------------------------------------------------------------- */

static int report(const struct client *c, enum client_status st, const json_t *error)
{
	if (st == CLIENT_NO_SERVER) {
		fprintf(stderr, "vigil-cli: %s\n", c->why);
		return EXIT_NO_SERVER;
	}
	fprintf(stderr, "vigil-cli: error %lld: %s\n",
		(long long)json_integer_value(json_object_get(error, "code")),
		json_string_value(json_object_get(error, "message")) != NULL
			? json_string_value(json_object_get(error, "message"))
			: "no message");
	return EXIT_REFUSED;
}

static int finish_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_ANSWERED;
	fprintf(stderr, "vigil-cli: cannot write the answer: %s\n", strerror(errno));
	return EXIT_REFUSED;
}

static int print_reply(const json_t *reply)
{
	json_dumpf(reply, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
	return finish_output();
}

/* The path as vigild, which runs somewhere else, must have it. */
static bool make_absolute(json_t *params)
{
	bool named = json_is_object(params);
	const char *dir = json_string_value(named ? json_object_get(params, "dir") : json_array_get(params, 0));
	char cwd[PATH_MAX], path[2 * PATH_MAX];
	json_t *whole;

	if (dir == NULL || dir[0] == '/' || dir[0] == '\0')
		return true;
	if (getcwd(cwd, sizeof(cwd)) == NULL || snprintf(path, sizeof(path), "%s/%s", cwd, dir) < 0)
		return false;
	whole = json_string(path);
	return (named ? json_object_set_new(params, "dir", whole) : json_array_set_new(params, 0, whole)) == 0;
}

static bool is_running(const json_t *reply)
{
	const char *state = json_string_value(json_object_get(reply, "state"));

	return state != NULL && strcmp(state, "running") == 0;
}

/* For scripts: comes back when the copy is complete, with status 0 only then. */
static int call_checkpoint(struct client *c, json_t *params)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	json_t *none = json_array(), *reply = NULL;
	enum client_status st;
	int rc;

	if (!make_absolute(params)) {
		json_decref(none);
		return usage_error("%s: not a path of text", "checkpoint");
	}
	st = client_call(c, "checkpoint", params, &reply);
	while (st == CLIENT_OK && is_running(reply)) {
		json_decref(reply);
		nanosleep(&pause, NULL);
		st = client_call(c, "getcheckpoint", none, &reply);
	}
	if (st != CLIENT_OK) {
		rc = report(c, st, reply);
	} else if (json_is_null(json_object_get(reply, "error"))) {
		rc = print_reply(reply);
	} else {
		fprintf(stderr, "vigil-cli: %s\n", json_string_value(json_object_get(reply, "error")));
		rc = EXIT_REFUSED;
	}
	json_decref(none);
	json_decref(reply);
	return rc;
}

static int call_once(struct client *c, const char *method, json_t *params)
{
	json_t *reply;
	enum client_status st = client_call(c, method, params, &reply);
	int rc;

	if (st == CLIENT_OK) {
		rc = print_reply(reply);
	} else {
		rc = report(c, st, reply);
	}
	json_decref(reply);
	return rc;
}

/* A value inside a document, every further line moved by `indent` spaces. */
static void print_nested(const json_t *v, int indent)
{
	char *text = json_dumps(v, JSON_INDENT(2) | JSON_ENCODE_ANY);
	char *line = text;

	while (line != NULL) {
		char *end = strchr(line, '\n');

		fwrite(line, 1, end != NULL ? (size_t)(end - line + 1) : strlen(line), stdout);
		if (end != NULL)
			printf("%*s", indent, "");
		line = end != NULL ? end + 1 : NULL;
	}
	free(text);
}

/* Members of the first page that are not its list: they stand before it. */
static void print_head(const json_t *reply, const char *list)
{
	const char *key;
	json_t *v;

	printf("{\n");
	json_object_foreach((json_t *)reply, key, v)
	{
		if (strcmp(key, list) == 0 || strcmp(key, "next") == 0)
			continue;
		printf("  \"%s\": ", key);
		print_nested(v, 2);
		printf(",\n");
	}
	printf("  \"%s\": [", list);
}

static void print_row(const json_t *row, bool lines, bool first)
{
	if (!lines) {
		printf(first ? "\n    " : ",\n    ");
		print_nested(row, 4);
		return;
	}
	if (json_is_string(row))
		fwrite(json_string_value(row), 1, json_string_length(row), stdout);
	else
		json_dumpf(row, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	putchar('\n');
}

/* All pages as one document, or as lines, one page in memory at a time. */
static int call_all(struct client *c, const struct method *m, json_t *params, bool lines)
{
	unsigned long long rows = 0;
	bool more = true, first = true;

	while (more) {
		json_t *reply, *row, *next;
		enum client_status st = client_call(c, m->name, params, &reply);
		size_t i;

		if (st != CLIENT_OK) {
			int rc = report(c, st, reply);

			json_decref(reply);
			return rc; /* the document stays open: nobody can take it for whole */
		}
		if (first && !lines)
			print_head(reply, m->list);
		first = false;
		json_array_foreach(json_object_get(reply, m->list), i, row)
		{
			print_row(row, lines, rows == 0);
			rows++;
		}
		next = json_object_get(reply, "next");
		more = json_is_string(next);
		if (more)
			json_object_set(params, "after", next);
		json_decref(reply);
	}
	if (!lines)
		printf(rows > 0 ? "\n  ]\n}\n" : "]\n}\n");
	return finish_output();
}

static int run(struct options *o, int argc, char **argv)
{
	const struct method *m = method_find(argv[0]);
	json_t *params = params_of(argc - 1, argv + 1), *named;
	struct client c;
	int rc;

	if (params == NULL)
		return usage_error("%s: give either values or NAME=VALUE, not both", argv[0]);
	o->all |= m != NULL && m->whole;
	if (o->all && (m == NULL || m->list == NULL)) {
		json_decref(params);
		return usage_error(o->lines ? "--lines: %s is not given in pages"
					    : "--all: %s is not given in pages",
				   argv[0]);
	}
	if (o->all && json_is_array(params)) {
		named = params_by_name(m, params);
		json_decref(params);
		if (named == NULL)
			return usage_error("%s: too many values", argv[0]);
		params = named;
	}
	if (client_open(&c, o->socket, o->timeout_s * 1000) != CLIENT_OK)
		rc = report(&c, CLIENT_NO_SERVER, NULL);
	else if (o->all)
		rc = call_all(&c, m, params, o->lines);
	else if (strcmp(argv[0], "checkpoint") == 0)
		rc = call_checkpoint(&c, params);
	else
		rc = call_once(&c, argv[0], params);
	client_close(&c);
	json_decref(params);
	return rc;
}

/* What vigild itself would take, given the same.  NULL after saying what is wrong. */
static const char *default_socket(const struct options *o, struct config *cfg)
{
	static char why[CONFIG_WHY_SZ], arg[3][CONFIG_PATH_SZ + 32], name[] = "vigil-cli";
	char *argv[5] = {name};
	const char *path = getenv("VIGIL_SOCKET");
	int argc = 1;

	if (o->config == NULL && o->data_dir == NULL && o->network == NULL && path != NULL && path[0] != '\0')
		return path;
	if (o->config != NULL)
		snprintf(argv[argc++] = arg[0], sizeof(arg[0]), "--config=%s", o->config);
	if (o->data_dir != NULL)
		snprintf(argv[argc++] = arg[1], sizeof(arg[1]), "--tower.data-dir=%s", o->data_dir);
	if (o->network != NULL)
		snprintf(argv[argc++] = arg[2], sizeof(arg[2]), "--tower.network=%s", o->network);
	if (config_load(cfg, argc, argv, why) == CONFIG_RUN)
		return cfg->control_socket;
	if (argc == 1)
		return "";
	usage_error("%s", why);
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"socket", required_argument, NULL, 's'},   {"config", required_argument, NULL, 'c'},
		{"data-dir", required_argument, NULL, 'd'}, {"network", required_argument, NULL, 'n'},
		{"timeout", required_argument, NULL, 't'},  {"all", no_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},           {"version", no_argument, NULL, 'v'},
		{"lines", no_argument, NULL, 'l'},          {NULL, 0, NULL, 0}};
	static struct config cfg;
	struct options o = {.timeout_s = 60};
	bool help = false;
	char *end;
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "+h", long_options, NULL)) != -1) {
		switch (opt) {
		case 's':
			o.socket = optarg;
			break;
		case 'c':
			o.config = optarg;
			break;
		case 'd':
			o.data_dir = optarg;
			break;
		case 'n':
			o.network = optarg;
			break;
		case 't':
			o.timeout_s = (unsigned)strtoul(optarg, &end, 10);
			if (*end != '\0' || end == optarg || optarg[0] == '-' || o.timeout_s == 0 ||
			    o.timeout_s > 86400)
				return usage_error("--timeout: '%s' is not 1 to 86400 seconds", optarg);
			break;
		case 'a':
			o.all = true;
			break;
		case 'l':
			o.all = o.lines = true;
			break;
		case 'h':
			help = true;
			break;
		case 'v':
			printf("vigil-cli %s\n", VIGIL_VERSION);
			return EXIT_ANSWERED;
		default:
			return usage_error("unknown option, or one without its value: %s", argv[optind - 1]);
		}
	}
	if (o.socket == NULL)
		o.socket = default_socket(&o, &cfg);
	if (o.socket == NULL)
		return EXIT_USAGE;
	if (help)
		return print_help(&o);
	if (optind == argc)
		return usage_error("%s", "no method given");
	/* Options may follow the method too. */
	while (argc - optind > 1 &&
	       (strcmp(argv[argc - 1], "--all") == 0 || strcmp(argv[argc - 1], "--lines") == 0)) {
		o.all = true;
		o.lines |= strcmp(argv[argc - 1], "--lines") == 0;
		argc--;
	}
	return run(&o, argc - optind, argv + optind);
}
