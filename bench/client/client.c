/* vigil-client: a TEOS client for demos, tests and load.  It knows the tower only by HTTP. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/bulk.h"

static const char help_text[] =
	"usage: vigil-client [options] COMMAND [arguments]\n"
	"\n"
	"A client of a TEOS watchtower.  Prints JSON; the status is 0 only if the tower accepted "
	"everything and\n"
	"every receipt is signed by its key.\n"
	"\n"
	"  keygen                 make the key file\n"
	"  id                     print the key's user id\n"
	"  register               register, or renew the subscription\n"
	"  add                    add appointments: --dispute with --penalty, or --breaches, and "
	"--decoys\n"
	"  load                   registers for as many slots as needed, then adds --decoys and "
	"--breaches\n"
	"  get [LOCATOR]          fetch one appointment: by locator, or --dispute\n"
	"  subscription           slots, expiry and locators of the subscription\n"
	"\n"
	"  --url URL              default http://127.0.0.1:9814\n"
	"  --key FILE             32-byte secret key, readable by its owner only (default "
	"vigil-client.key)\n"
	"  --generation G         current (default) or legacy: how it registers, and the bytes "
	"under receipts\n"
	"  --locator-form G       current or legacy: how locators and blob keys follow from a txid "
	"(default: as\n"
	"                         the generation does)\n"
	"  --tower-id HEX         the key that must have signed every receipt (default: the first "
	"one seen)\n"
	"  --wait S               seconds to go on trying while the tower is unreachable or not "
	"ready (default 0)\n"
	"  --to-self-delay N      default 42 (current) or 20 (legacy)\n"
	"  --dispute TXID         as a node prints it\n"
	"  --penalty HEX          raw penalty transaction\n"
	"  --breaches FILE        breaches.json of vigil-replay synth\n"
	"  --branch B             which of them: all (default), best or stale\n"
	"  --decoys N             appointments for transactions that do not exist\n"
	"  --decoy-bytes N        bytes of penalty in each (default: 200 to 400)\n"
	"  --seed S               of the decoys (default 1)\n"
	"  --connections N        kept open and used at once (default 1)\n"
	"  --log FILE             one JSON line for each appointment\n"
	"  --help, --version\n";

struct options {
	struct api_config api;
	const char *key_path, *breaches_path, *log;
	enum planted_branch branch;
	bool has_dispute, has_scheme;
	struct hash256 dispute;
	uint8_t *penalty;
	uint32_t penalty_sz;
	uint32_t decoys, decoy_sz, connections;
	uint64_t seed;
};

enum opt {
	OPT_URL = 256,
	OPT_KEY,
	OPT_GENERATION,
	OPT_LOCATOR_FORM,
	OPT_TOWER_ID,
	OPT_WAIT,
	OPT_DELAY,
	OPT_DISPUTE,
	OPT_PENALTY,
	OPT_BREACHES,
	OPT_BRANCH,
	OPT_DECOYS,
	OPT_DECOY_BYTES,
	OPT_SEED,
	OPT_CONNECTIONS,
	OPT_LOG,
	OPT_HELP,
	OPT_VERSION
};

static const struct option longopts[] = {
	{"url", required_argument, NULL, OPT_URL},
	{"key", required_argument, NULL, OPT_KEY},
	{"generation", required_argument, NULL, OPT_GENERATION},
	{"locator-form", required_argument, NULL, OPT_LOCATOR_FORM},
	{"tower-id", required_argument, NULL, OPT_TOWER_ID},
	{"wait", required_argument, NULL, OPT_WAIT},
	{"to-self-delay", required_argument, NULL, OPT_DELAY},
	{"dispute", required_argument, NULL, OPT_DISPUTE},
	{"penalty", required_argument, NULL, OPT_PENALTY},
	{"breaches", required_argument, NULL, OPT_BREACHES},
	{"branch", required_argument, NULL, OPT_BRANCH},
	{"decoys", required_argument, NULL, OPT_DECOYS},
	{"decoy-bytes", required_argument, NULL, OPT_DECOY_BYTES},
	{"seed", required_argument, NULL, OPT_SEED},
	{"connections", required_argument, NULL, OPT_CONNECTIONS},
	{"log", required_argument, NULL, OPT_LOG},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static bool read_num(const char *s, uint64_t max, uint64_t *v)
{
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*v = strtoull(s, &end, 10);
	return errno == 0 && *end == '\0' && *v <= max;
}

static bool read_u32(const char *s, uint32_t max, uint32_t *v)
{
	uint64_t n;

	if (!read_num(s, max, &n))
		return false;
	*v = (uint32_t)n;
	return true;
}

static bool read_generation(const char *s, bool *legacy)
{
	*legacy = strcmp(s, "legacy") == 0;
	return *legacy || strcmp(s, "current") == 0;
}

static bool read_penalty(struct options *o, const char *s)
{
	size_t len = strlen(s);

	free(o->penalty);
	o->penalty_sz = (uint32_t)(len / 2);
	o->penalty = len == 0 || len / 2 > BULK_PENALTY_SZ_MAX ? NULL : malloc(len / 2 + 1);
	return o->penalty && hex_decode(o->penalty, len / 2, s, len) && len % 2 == 0;
}

static bool read_branch(struct options *o, const char *s)
{
	static const char *const names[] = {
		[BRANCH_ALL] = "all", [BRANCH_BEST] = "best", [BRANCH_STALE] = "stale"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(s, names[i]) == 0) {
			o->branch = (enum planted_branch)i;
			return true;
		}
	}
	return false;
}

static bool read_option(struct options *o, enum opt opt, const char *arg)
{
	bool legacy;
	uint64_t n;

	switch (opt) {
	case OPT_URL:
		o->api.url = arg;
		return strncmp(arg, "http://", 7) == 0;
	case OPT_KEY:
		o->key_path = arg;
		return *arg != '\0';
	case OPT_GENERATION:
		if (!read_generation(arg, &legacy))
			return false;
		o->api.generation = legacy ? CLIENT_LEGACY : CLIENT_CURRENT;
		return true;
	case OPT_LOCATOR_FORM:
		if (!read_generation(arg, &legacy))
			return false;
		o->api.scheme = legacy ? LOCATOR_DISPLAY : LOCATOR_INTERNAL;
		o->has_scheme = true;
		return true;
	case OPT_TOWER_ID:
		o->api.has_tower_id = true;
		return hex_decode(o->api.tower_id.b, USER_ID_SZ, arg, strlen(arg));
	case OPT_WAIT:
		if (!read_num(arg, 1000000, &n))
			return false;
		o->api.wait_ns = n * 1000000000u;
		return true;
	case OPT_DELAY:
		return read_u32(arg, UINT32_MAX, &o->api.to_self_delay);
	case OPT_DISPUTE:
		o->has_dispute = true;
		return hash256_from_display(&o->dispute, arg);
	case OPT_PENALTY:
		return read_penalty(o, arg);
	case OPT_BREACHES:
		o->breaches_path = arg;
		return true;
	case OPT_BRANCH:
		return read_branch(o, arg);
	case OPT_DECOYS:
		return read_u32(arg, 100000000, &o->decoys);
	case OPT_DECOY_BYTES:
		return read_u32(arg, BULK_PENALTY_SZ_MAX, &o->decoy_sz);
	case OPT_SEED:
		return read_num(arg, UINT64_MAX, &o->seed);
	case OPT_CONNECTIONS:
		return read_u32(arg, BULK_CONNECTIONS_MAX, &o->connections) && o->connections > 0;
	case OPT_LOG:
		o->log = arg;
		return true;
	case OPT_HELP:
	case OPT_VERSION:
		break;
	}
	return false;
}

static int fail(const char *why)
{
	fprintf(stderr, "vigil-client: %s\n", why);
	return 1;
}

static void print_json(json_t *o)
{
	char *text = json_dumps(o, JSON_INDENT(2));

	if (text)
		puts(text);
	free(text);
	json_decref(o);
}

/* The tower's own answer on stdout, or what went wrong on stderr. */
static int print_result(struct api_result *r)
{
	int rc = r->outcome == API_OK ? 0 : 1;

	if (r->body)
		print_json(json_incref(r->body));
	if (rc)
		fprintf(stderr, "vigil-client: %s (HTTP %ld, code %lld): %s\n", api_outcome_name(r->outcome),
			r->status, (long long)r->code, r->why);
	api_result_free(r);
	return rc;
}

static int cmd_keygen(struct options *o, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (access(o->key_path, F_OK) == 0) {
		fprintf(stderr, "vigil-client: %s is there already\n", o->key_path);
		return 1;
	}
	return 0; /* the caller opens it, which makes it */
}

static int cmd_id(struct options *o, int argc, char **argv)
{
	char id[2 * USER_ID_SZ + 1];

	(void)argc;
	(void)argv;
	hex_encode(id, o->api.key->id.b, USER_ID_SZ);
	print_json(json_pack("{s:s}", "user_id", id));
	return 0;
}

static int cmd_register(struct options *o, int argc, char **argv)
{
	struct api *a = api_open(&o->api);
	struct api_result r;

	(void)argc;
	(void)argv;
	if (!a)
		return fail("out of memory");
	api_register(a, &r);
	if (r.outcome == API_OK) {
		char id[2 * USER_ID_SZ + 1];

		hex_encode(id, r.tower_id.b, USER_ID_SZ);
		json_object_set_new(r.body, "tower_id", json_string(id));
	}
	api_close(a);
	return print_result(&r);
}

static int cmd_get(struct options *o, int argc, char **argv)
{
	struct locator l = locator_of_txid(&o->dispute, o->api.scheme);
	struct api_result r;
	struct api *a;

	if (argc > 2 || (argc == 2) == o->has_dispute ||
	    (argc == 2 && !hex_decode(l.b, LOCATOR_SZ, argv[1], strlen(argv[1])))) {
		fail("get needs one locator (32 hex digits), or --dispute");
		return 2;
	}
	a = api_open(&o->api);
	if (!a)
		return fail("out of memory");
	api_get(a, &l, &r);
	api_close(a);
	return print_result(&r);
}

static int cmd_subscription(struct options *o, int argc, char **argv)
{
	struct api *a = api_open(&o->api);
	struct api_result r;

	(void)argc;
	(void)argv;
	if (!a)
		return fail("out of memory");
	api_subscription(a, &r);
	api_close(a);
	return print_result(&r);
}

static int print_bulk(const struct bulk_result *b)
{
	uint32_t ok = b->outcome[API_OK], bad = 0;
	double seconds = (double)b->took_ns / 1e9;
	char id[2 * USER_ID_SZ + 1] = "";

	for (unsigned i = API_OK + 1; i < API_OUTCOME_CNT; i++)
		bad += b->outcome[i];
	hex_encode(id, b->tower_id.b, USER_ID_SZ);
	print_json(json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:{s:f, s:I, s:I, s:I, s:I}, s:o, s:o, s:o}",
			     "accepted", (json_int_t)ok, "refused", (json_int_t)b->outcome[API_REFUSED],
			     "unreachable", (json_int_t)b->outcome[API_UNREACHABLE], "bad_receipts",
			     (json_int_t)b->outcome[API_BAD_RECEIPT], "seconds", seconds, "per_second",
			     seconds > 0 ? ok / seconds : 0.0, "latency_us", "mean", b->mean_ns / 1000, "p50",
			     (json_int_t)(b->p50_ns / 1000), "p90", (json_int_t)(b->p90_ns / 1000), "p99",
			     (json_int_t)(b->p99_ns / 1000), "max", (json_int_t)(b->max_ns / 1000), "tower_id",
			     b->has_tower_id ? json_string(id) : json_null(), "first_start_block",
			     ok ? json_integer(b->start_block_min) : json_null(), "last_start_block",
			     ok ? json_integer(b->start_block_max) : json_null()));
	if (bad)
		fprintf(stderr, "vigil-client: %u of %u not accepted; the first: %s\n", bad, ok + bad,
			b->first_why);
	return bad ? 1 : 0;
}

/* Registers until the tower says that at least this many slots are left. */
static int take_slots(struct options *o, uint64_t slots)
{
	struct api *a = api_open(&o->api);
	struct api_result r = {.outcome = API_OK};
	uint32_t before = 0, have = 0;

	if (!a)
		return fail("out of memory");
	do {
		before = have;
		api_register(a, &r);
		have = r.available_slots;
		if (r.outcome == API_OK && have > before && have < slots)
			api_result_free(&r);
	} while (r.outcome == API_OK && have > before && have < slots);
	api_close(a);
	if (r.outcome != API_OK)
		return print_result(&r);
	api_result_free(&r);
	return have >= slots ? 0 : fail("the tower gives no more slots");
}

static int run_bulk(struct options *o, bool with_slots)
{
	struct bulk_config cfg = {
		.api = o->api,
		.decoys = o->decoys,
		.decoy_sz = o->decoy_sz,
		.seed = o->seed,
		.connections = o->connections,
		.log = o->log,
	};
	struct planted one = {.dispute_txid = o->dispute, .penalty = o->penalty, .penalty_sz = o->penalty_sz};
	struct planted *list = NULL;
	struct bulk_result res;
	char why[512];
	int rc;

	if (o->breaches_path) {
		list = planted_read(o->breaches_path, o->branch, &cfg.planted_cnt, why, sizeof(why));
		if (!list)
			return fail(why);
		cfg.planted = list;
	} else if (o->has_dispute && o->penalty) {
		cfg.planted = &one;
		cfg.planted_cnt = 1;
	}
	if (cfg.planted_cnt == 0 && cfg.decoys == 0) {
		planted_free(list, cfg.planted_cnt);
		fail("nothing to add: give --dispute and --penalty, --breaches, or --decoys");
		return 2;
	}
	/* At most one slot for each 2 kB of blob; what is not used stays on the subscription. */
	rc = with_slots ? take_slots(o, (uint64_t)(cfg.planted_cnt + cfg.decoys) * (1 + o->decoy_sz / 2048))
			: 0;
	if (rc == 0)
		rc = bulk_add(&cfg, &res, why, sizeof(why)) ? fail(why) : print_bulk(&res);
	planted_free(list, cfg.planted_cnt);
	return rc;
}

static int cmd_add(struct options *o, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return run_bulk(o, false);
}

static int cmd_load(struct options *o, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return run_bulk(o, true);
}

static const struct command {
	const char *name;
	int (*run)(struct options *o, int argc, char **argv);
	int args_max;
} commands[] = {
	{"keygen", cmd_keygen, 0},
	{"id", cmd_id, 0},
	{"register", cmd_register, 0},
	{"add", cmd_add, 0},
	{"load", cmd_load, 0},
	{"get", cmd_get, 1},
	{"subscription", cmd_subscription, 0},
};

static const struct command *find_command(const char *name)
{
	for (unsigned i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int run_command(struct options *o, const struct command *cmd, int argc, char **argv)
{
	bool make = cmd->run == cmd_keygen;
	struct tower_key *key = NULL;
	char why[512];
	int rc;

	if (make && cmd_keygen(o, argc, argv))
		return 1;
	if (tower_key_open(&key, o->key_path, make, why, sizeof(why)))
		return fail(why);
	o->api.key = key;
	rc = http_setup() ? fail("the HTTP library does not start")
			  : (make ? cmd_id(o, argc, argv) : cmd->run(o, argc, argv));
	tower_key_free(key);
	return rc;
}

int main(int argc, char **argv)
{
	struct options o = {
		.api = {.url = "http://127.0.0.1:9814", .to_self_delay = UINT32_MAX},
		.key_path = "vigil-client.key",
		.connections = 1,
		.seed = 1,
	};
	const struct command *cmd;
	int c, which = 0, rc;

	while ((c = getopt_long(argc, argv, "h", longopts, &which)) != -1) {
		if (c == OPT_HELP || c == 'h') {
			fputs(help_text, stdout);
			return 0;
		}
		if (c == OPT_VERSION) {
			puts("vigil-client " VIGIL_VERSION);
			return 0;
		}
		if (c == '?')
			return 2;
		if (!read_option(&o, (enum opt)c, optarg)) {
			fprintf(stderr, "vigil-client: bad value for --%s: %s\n", longopts[which].name, optarg);
			return 2;
		}
	}
	if (o.api.to_self_delay == UINT32_MAX)
		o.api.to_self_delay = o.api.generation == CLIENT_LEGACY ? 20 : 42;
	if (!o.has_scheme)
		o.api.scheme = o.api.generation == CLIENT_LEGACY ? LOCATOR_DISPLAY : LOCATOR_INTERNAL;
	cmd = find_command(argv[optind]);
	if (!cmd || argc - optind - 1 > cmd->args_max) {
		fprintf(stderr, "vigil-client: one command is needed; see --help\n");
		return 2;
	}
	rc = run_command(&o, cmd, argc - optind, argv + optind);
	free(o.penalty);
	return rc;
}
