#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_eal.h>

#include "serve/serve.h"

static const char help_text[] =
	"usage: vigil-replay serve [EAL options] -- --address A/P --chain FILE [options]\n"
	"\n"
	"A Bitcoin node on a DPDK port of its own: serves the blocks of files, announces them at a "
	"chosen pace,\n"
	"takes transactions, and reports what happened as JSON lines.\n"
	"\n"
	"what it serves\n"
	"  --chain FILE            blocks: a synthetic chain, blk*.dat, or a raw block; may "
	"repeat\n"
	"  --network NAME          main, testnet3, testnet4, signet or regtest (default: as the "
	"files say)\n"
	"  --anchor-height H       height of the lowest block when its parent is in no file\n"
	"  --precompute            make all checksums before listening\n"
	"\n"
	"where\n"
	"  --address A/P           own address and prefix length; one IPv4, one IPv6 or both\n"
	"  --gateway A             router, one of each family\n"
	"  --port N                TCP port (default: the network's)\n"
	"  --port-id N             DPDK port (default 0)\n"
	"  --mtu N                 default: the device's\n"
	"  --mac XX:XX:XX:XX:XX:XX default: the port's\n"
	"\n"
	"when\n"
	"  --start-blocks N        blocks known from the start, in arrival order (default 0)\n"
	"  --interval-ms T         one more block every T ms (default 1000)\n"
	"  --rate R                instead: R blocks a second\n"
	"  --burst                 instead: all at once\n"
	"  --start-on WHAT         begin announcing: now (default), signal (SIGUSR1), peer (one "
	"has asked for\n"
	"                          headers), or file:PATH (as soon as it exists)\n"
	"  --hold-at H             stop announcing once the tip is at H, until SIGUSR1; may "
	"repeat, ascending\n"
	"  --exit-after S          leave after S seconds (default: on SIGTERM or SIGINT)\n"
	"  --busy-poll             never sleep\n"
	"  --report FILE           JSON lines, appended; - is stdout\n"
	"\n"
	"misbehaviour; N is how many times (default 1), H the height of a block\n"
	"  --loss-ppm N            frames per million dropped, each way\n"
	"  --reorder-ppm N         received frames per million delayed behind their successor\n"
	"  --fault-seed N          makes the two above repeatable\n"
	"  --stall-at H[:N]        half of the block, then nothing more on that connection\n"
	"  --reset-at H[:N]        half of the block, then a reset\n"
	"  --send-unrequested H[:N]   after that block, one that nobody asked for\n"
	"  --bad-checksum-at H[:N]    wrong checksum in the message's head\n"
	"  --mutate-block-at H[:N]    repeated transactions under an unchanged merkle root\n"
	"  --corrupt-block-at H[:N]   a flipped bit in the last transaction\n"
	"  --truncate-at H[:N]        the first half of the block as a whole message\n"
	"  --noncanonical-at H[:N]    a transaction count in too long a form\n"
	"  --oversize-at H[:N]        a message head that announces 5,000,000 bytes\n"
	"  --garbage-at H[:N]         random bytes instead of the block\n"
	"  --garbage[=N]              random bytes after the handshake\n"
	"  --headers-without-work[=N] a header that lacks its work as the answer to getheaders\n"
	"  --help                  this text\n";

enum opt {
	OPT_CHAIN = 256,
	OPT_NETWORK,
	OPT_ANCHOR,
	OPT_PRECOMPUTE,
	OPT_ADDRESS,
	OPT_GATEWAY,
	OPT_PORT,
	OPT_PORT_ID,
	OPT_MTU,
	OPT_MAC,
	OPT_START_BLOCKS,
	OPT_INTERVAL,
	OPT_RATE,
	OPT_BURST,
	OPT_START_ON,
	OPT_HOLD,
	OPT_EXIT_AFTER,
	OPT_BUSY,
	OPT_REPORT,
	OPT_LOSS,
	OPT_REORDER,
	OPT_FAULT_SEED,
	OPT_HELP,
	OPT_FAULT /* + enum fault_kind */
};
enum { PLAIN_OPT_CNT = OPT_FAULT - OPT_CHAIN };

static struct option longopts[PLAIN_OPT_CNT + FAULT_KIND_CNT + 1] = {
	{"chain", required_argument, NULL, OPT_CHAIN},
	{"network", required_argument, NULL, OPT_NETWORK},
	{"anchor-height", required_argument, NULL, OPT_ANCHOR},
	{"precompute", no_argument, NULL, OPT_PRECOMPUTE},
	{"address", required_argument, NULL, OPT_ADDRESS},
	{"gateway", required_argument, NULL, OPT_GATEWAY},
	{"port", required_argument, NULL, OPT_PORT},
	{"port-id", required_argument, NULL, OPT_PORT_ID},
	{"mtu", required_argument, NULL, OPT_MTU},
	{"mac", required_argument, NULL, OPT_MAC},
	{"start-blocks", required_argument, NULL, OPT_START_BLOCKS},
	{"interval-ms", required_argument, NULL, OPT_INTERVAL},
	{"rate", required_argument, NULL, OPT_RATE},
	{"burst", no_argument, NULL, OPT_BURST},
	{"start-on", required_argument, NULL, OPT_START_ON},
	{"hold-at", required_argument, NULL, OPT_HOLD},
	{"exit-after", required_argument, NULL, OPT_EXIT_AFTER},
	{"busy-poll", no_argument, NULL, OPT_BUSY},
	{"report", required_argument, NULL, OPT_REPORT},
	{"loss-ppm", required_argument, NULL, OPT_LOSS},
	{"reorder-ppm", required_argument, NULL, OPT_REORDER},
	{"fault-seed", required_argument, NULL, OPT_FAULT_SEED},
	{"help", no_argument, NULL, OPT_HELP},
};

static const char **chain_paths;

static bool read_num(const char *s, uint64_t max, uint64_t *v)
{
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*v = strtoull(s, &end, 0);
	return errno == 0 && *end == '\0' && *v <= max;
}

static bool read_u32(const char *s, uint32_t *v)
{
	uint64_t n;

	if (!read_num(s, UINT32_MAX, &n))
		return false;
	*v = (uint32_t)n;
	return true;
}

static bool read_u16(const char *s, uint16_t *v)
{
	uint64_t n;

	if (!read_num(s, UINT16_MAX, &n))
		return false;
	*v = (uint16_t)n;
	return true;
}

static bool read_ppm(const char *s, uint32_t *v)
{
	return read_u32(s, v) && *v <= 1000000;
}

/* Decimal number above 0, into nanoseconds: v * unit, or unit / v. */
static bool read_ns(const char *s, double unit, bool inverse, uint64_t *ns)
{
	char *end;
	double v = strtod(s, &end);

	if (end == s || *end != '\0' || !(v > 0 && v < 1e9))
		return false;
	*ns = (uint64_t)(inverse ? unit / v : unit * v);
	return true;
}

static bool read_mac(const char *s, uint8_t mac[6])
{
	int used = 0;

	return sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
		      &mac[5], &used) == 6 &&
	       s[used] == '\0';
}

static bool read_start(struct serve_options *o, const char *s)
{
	o->start_on_signal = strcmp(s, "signal") == 0;
	o->start_on_peer = strcmp(s, "peer") == 0;
	o->start_file = strncmp(s, "file:", 5) == 0 && s[5] != '\0' ? s + 5 : NULL;
	return o->start_on_signal || o->start_on_peer || o->start_file || strcmp(s, "now") == 0;
}

static bool read_hold(struct serve_options *o, const char *s)
{
	uint32_t h;

	if (o->hold_cnt == SERVE_HOLDS_MAX || !read_u32(s, &h) ||
	    (o->hold_cnt && h <= o->hold[o->hold_cnt - 1]))
		return false;
	o->hold[o->hold_cnt++] = h;
	return true;
}

static bool read_fault(struct serve_options *o, enum fault_kind k, const char *s)
{
	uint64_t height = 0, times = 1;
	char text[32];
	char *colon;

	if (!fault_needs_height(k))
		return (!s || read_num(s, UINT32_MAX, &times)) && fault_arm(&o->faults, k, 0, (uint32_t)times);
	if (strlen(s) >= sizeof(text))
		return false;
	strcpy(text, s);
	colon = strchr(text, ':');
	if (colon)
		*colon = '\0';
	return read_num(text, UINT32_MAX, &height) && (!colon || read_num(colon + 1, UINT32_MAX, &times)) &&
	       fault_arm(&o->faults, k, (uint32_t)height, (uint32_t)times);
}

static bool read_option(struct serve_options *o, int opt, const char *arg)
{
	if (opt >= OPT_FAULT)
		return read_fault(o, (enum fault_kind)(opt - OPT_FAULT), arg);
	switch ((enum opt)opt) {
	case OPT_CHAIN:
		chain_paths[o->path_cnt++] = arg;
		return true;
	case OPT_NETWORK:
		o->network = network_by_name(arg);
		return o->network != NULL;
	case OPT_ANCHOR:
		return read_u32(arg, &o->anchor_height) && o->anchor_height > 0;
	case OPT_PRECOMPUTE:
		o->precompute = true;
		return true;
	case OPT_ADDRESS:
		return net_config_address(&o->net, arg);
	case OPT_GATEWAY:
		return net_config_gateway(&o->net, arg);
	case OPT_PORT:
		return read_u16(arg, &o->port) && o->port > 0;
	case OPT_PORT_ID:
		return read_u16(arg, &o->net.port_id);
	case OPT_MTU:
		return read_u16(arg, &o->net.mtu);
	case OPT_MAC:
		return read_mac(arg, o->net.mac);
	case OPT_START_BLOCKS:
		return read_u32(arg, &o->start_blocks);
	case OPT_INTERVAL:
		return read_ns(arg, 1e6, false, &o->interval_ns);
	case OPT_RATE:
		return read_ns(arg, 1e9, true, &o->interval_ns);
	case OPT_BURST:
		o->interval_ns = 0;
		return true;
	case OPT_START_ON:
		return read_start(o, arg);
	case OPT_HOLD:
		return read_hold(o, arg);
	case OPT_EXIT_AFTER:
		return read_ns(arg, 1e9, false, &o->exit_after_ns);
	case OPT_BUSY:
		o->busy_poll = true;
		return true;
	case OPT_REPORT:
		o->report = arg;
		return true;
	case OPT_LOSS:
		if (!read_ppm(arg, &o->net.drop_rx_ppm))
			return false;
		o->net.drop_tx_ppm = o->net.drop_rx_ppm;
		return true;
	case OPT_REORDER:
		return read_ppm(arg, &o->net.reorder_rx_ppm);
	case OPT_FAULT_SEED:
		return read_num(arg, UINT64_MAX, &o->net.fault_seed);
	case OPT_HELP:
	case OPT_FAULT:
		break;
	}
	return false;
}

static bool has_address(const struct net_config *c)
{
	static const uint8_t none[16];

	return memcmp(c->ip4, none, sizeof(c->ip4)) != 0 || memcmp(c->ip6, none, sizeof(c->ip6)) != 0;
}

static void add_fault_options(void)
{
	for (int k = 0; k < FAULT_KIND_CNT; k++) {
		bool needs = fault_needs_height((enum fault_kind)k);

		longopts[PLAIN_OPT_CNT + k] = (struct option){fault_name((enum fault_kind)k),
							      needs ? required_argument : optional_argument,
							      NULL, OPT_FAULT + k};
	}
}

int serve_parse(struct serve_options *o, int argc, char **argv, bool *done)
{
	int c, which = 0;

	*o = (struct serve_options){.interval_ns = 1000000000u, .net.fault_seed = 1};
	*done = true;
	chain_paths = calloc((size_t)argc + 1, sizeof(*chain_paths));
	if (!chain_paths)
		return 1;
	o->paths = chain_paths;
	add_fault_options();
	optind = 0; /* begin anew, whoever has used getopt before */
	while ((c = getopt_long(argc, argv, "h", longopts, &which)) != -1) {
		if (c == OPT_HELP || c == 'h') {
			fputs(help_text, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		if (!read_option(o, c, optarg)) {
			fprintf(stderr, "vigil-replay serve: bad value for --%s: %s\n", longopts[which].name,
				optarg ? optarg : "");
			return 2;
		}
	}
	if (optind != argc || o->path_cnt == 0 || !has_address(&o->net)) {
		fprintf(stderr, "vigil-replay serve: --address and --chain are needed, other "
				"arguments are not; "
				"see --help\n");
		return 2;
	}
	*done = false;
	return 0;
}

/* Own options are judged before the EAL touches any device, and before its lines hide what is wrong with them. */
static int parse_after_dashes(struct serve_options *o, int argc, char **argv, bool *done)
{
	static char name[] = "vigil-replay serve"; /* as getopt's messages begin */

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			char *dashes = argv[i];
			int rc;

			argv[i] = name;
			rc = serve_parse(o, argc - i, argv + i, done);
			argv[i] = dashes;
			return rc;
		}
	}
	*done = true;
	fprintf(stderr, "vigil-replay serve: own options go behind \"--\", and there are none; see "
			"--help\n");
	return 2;
}

int serve_main(int argc, char **argv)
{
	static struct serve_options o;
	bool done = false;
	int rc;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(help_text, stdout);
			return 0;
		}
	}
	rc = parse_after_dashes(&o, argc, argv, &done);
	if (done) {
		free(chain_paths);
		return rc;
	}
	serve_catch_signals();
	if (rte_eal_init(argc, argv) < 0) {
		free(chain_paths);
		fprintf(stderr, "vigil-replay serve: DPDK does not start with these options (see above); "
				"own options go behind --\n");
		return 1;
	}
	rc = serve_run(&o);
	free(chain_paths);
	/* No rte_eal_cleanup: it unmaps the heap while EAL's interrupt thread may be at work in it, on a memif whose
	   other end has just gone.  The end of the process gives everything back. */
	return rc;
}
