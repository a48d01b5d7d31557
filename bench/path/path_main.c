#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>

#include "path/path.h"

static const char help_text[] =
	"usage: vigil-bench-path source [EAL options] -- --address A/P --port N --file FILE [options]\n"
	"       vigil-bench-path sink [EAL options] -- --address A/P --peer A:PORT [options]\n"
	"       vigil-bench-path watch --link PATH [options]\n"
	"\n"
	"The ends of the measured path that Vigil itself does not have; bench/path/path.py runs them.\n"
	"\n"
	"source and sink: the TCP stack alone\n"
	"  --address A/P       own IPv4 address and prefix length\n"
	"  --port N            source: TCP port\n"
	"  --peer A:PORT       sink: the source\n"
	"  --file FILE         source: the bytes to send\n"
	"  --times N           source: how often (1)\n"
	"  --busy-poll         never sleep\n"
	"  --timeout S         give up after S seconds (120)\n"
	"\n"
	"watch: the least that can stand in control's place on the link (regtest, from genesis)\n"
	"  --link PATH         the dataplane's socket\n"
	"  --locators FILE     what to watch: 16 bytes each\n"
	"  --penalties FILE    breaches.json of a synthetic chain: hits are answered from it\n"
	"  --report FILE       JSON lines, one for each hit, appended\n"
	"  --until-height H    leave when that block is there (default: on SIGTERM)\n"
	"  --timeout S         fail when it is not there after S seconds (120)\n"
	"  --help              this text\n";

enum opt {
	OPT_ADDRESS = 256,
	OPT_PORT,
	OPT_PEER,
	OPT_FILE,
	OPT_TIMES,
	OPT_BUSY,
	OPT_TIMEOUT,
	OPT_LINK,
	OPT_LOCATORS,
	OPT_PENALTIES,
	OPT_REPORT,
	OPT_UNTIL,
	OPT_HELP
};

static const struct option longopts[] = {
	{"address", required_argument, NULL, OPT_ADDRESS},
	{"port", required_argument, NULL, OPT_PORT},
	{"peer", required_argument, NULL, OPT_PEER},
	{"file", required_argument, NULL, OPT_FILE},
	{"times", required_argument, NULL, OPT_TIMES},
	{"busy-poll", no_argument, NULL, OPT_BUSY},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"link", required_argument, NULL, OPT_LINK},
	{"locators", required_argument, NULL, OPT_LOCATORS},
	{"penalties", required_argument, NULL, OPT_PENALTIES},
	{"report", required_argument, NULL, OPT_REPORT},
	{"until-height", required_argument, NULL, OPT_UNTIL},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

struct options {
	struct tcp_options tcp;
	struct watch_options watch;
};

static bool read_u32(const char *s, uint32_t max, uint32_t *v)
{
	unsigned long n;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoul(s, &end, 10);
	*v = (uint32_t)n;
	return errno == 0 && *end == '\0' && n <= max;
}

static bool read_address(const char *s, struct net_config *c)
{
	const char *slash = strchr(s, '/');
	char host[64];
	struct net_addr a;
	uint32_t prefix;

	if (slash == NULL || (size_t)(slash - s) >= sizeof(host) || !read_u32(slash + 1, 30, &prefix))
		return false;
	memcpy(host, s, (size_t)(slash - s));
	host[slash - s] = '\0';
	if (strchr(host, ':') != NULL || !net_addr_parse(&a, host, 0))
		return false;
	memcpy(c->ip4, a.ip + 12, 4);
	c->prefix_len = (uint8_t)prefix;
	return true;
}

static bool read_option(struct options *o, enum opt opt, const char *arg)
{
	uint32_t v;

	switch (opt) {
	case OPT_ADDRESS:
		return read_address(arg, &o->tcp.net);
	case OPT_PORT:
		if (!read_u32(arg, UINT16_MAX, &v))
			return false;
		o->tcp.port = (uint16_t)v;
		return v > 0;
	case OPT_PEER:
		return net_addr_parse(&o->tcp.peer, arg, 0) && o->tcp.peer.port > 0;
	case OPT_FILE:
		o->tcp.file = arg;
		return true;
	case OPT_TIMES:
		return read_u32(arg, UINT32_MAX, &o->tcp.times) && o->tcp.times > 0;
	case OPT_BUSY:
		o->tcp.busy_poll = true;
		return true;
	case OPT_TIMEOUT:
		if (!read_u32(arg, 1000000, &v))
			return false;
		o->tcp.timeout_ns = o->watch.timeout_ns = (uint64_t)v * 1000000000u;
		return true;
	case OPT_LINK:
		o->watch.link = arg;
		return true;
	case OPT_LOCATORS:
		o->watch.locators = arg;
		return true;
	case OPT_PENALTIES:
		o->watch.penalties = arg;
		return true;
	case OPT_REPORT:
		o->watch.report = arg;
		return true;
	case OPT_UNTIL:
		return read_u32(arg, UINT32_MAX, &o->watch.until_height);
	case OPT_HELP:
		break;
	}
	return false;
}

/* 0, or the exit status with *done set. */
static int parse(struct options *o, int argc, char **argv, bool *done)
{
	int c, which = 0;

	*o = (struct options){.tcp = {.times = 1, .timeout_ns = UINT64_C(120000000000)},
			      .watch = {.timeout_ns = UINT64_C(120000000000)}};
	*done = true;
	optind = 0;
	while ((c = getopt_long(argc, argv, "", longopts, &which)) != -1) {
		if (c == '?')
			return 2;
		if (c == OPT_HELP) {
			fputs(help_text, stdout);
			return 0;
		}
		if (!read_option(o, (enum opt)c, optarg)) {
			fprintf(stderr, "vigil-bench-path: bad value for --%s: %s\n", longopts[which].name,
				optarg != NULL ? optarg : "");
			return 2;
		}
	}
	if (optind != argc) {
		fprintf(stderr, "vigil-bench-path: %s: not an option; see --help\n", argv[optind]);
		return 2;
	}
	*done = false;
	return 0;
}

static int lacking(const char *what)
{
	fprintf(stderr, "vigil-bench-path: %s; see --help\n", what);
	return 2;
}

/* argv[0] is the command; own options are behind "--". */
static int tcp_main(int argc, char **argv, bool source)
{
	struct options o;
	bool done;
	int own = 1, rc;

	while (own < argc && strcmp(argv[own], "--") != 0)
		own++;
	if (own == argc)
		return lacking("own options go behind \"--\", and there are none");
	rc = parse(&o, argc - own, argv + own, &done);
	if (done)
		return rc;
	if (o.tcp.net.ip4[0] == 0)
		return lacking("--address is missing");
	if (source && (o.tcp.port == 0 || o.tcp.file == NULL))
		return lacking("source needs --port and --file");
	if (!source && o.tcp.peer.port == 0)
		return lacking("sink needs --peer");
	if (rte_eal_init(argc, argv) < 0)
		return lacking("DPDK does not start with these options (see above)");
	/* No rte_eal_cleanup, as in vigil-replay serve. */
	return source ? tcp_source(&o.tcp) : tcp_sink(&o.tcp);
}

static int watch_main(int argc, char **argv)
{
	struct options o;
	bool done;
	int rc = parse(&o, argc, argv, &done);

	if (done)
		return rc;
	if (o.watch.link == NULL)
		return lacking("watch needs --link");
	return watch_run(&o.watch);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	signal(SIGPIPE, SIG_IGN);
	if (strcmp(what, "source") == 0 || strcmp(what, "sink") == 0)
		return tcp_main(argc - 1, argv + 1, strcmp(what, "source") == 0);
	if (strcmp(what, "watch") == 0)
		return watch_main(argc - 1, argv + 1);
	fputs(help_text, strcmp(what, "--help") == 0 ? stdout : stderr);
	return strcmp(what, "--help") == 0 ? 0 : 2;
}
