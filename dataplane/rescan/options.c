#include "rescan/options.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static const char help_text[] =
	"usage: vigil-rescan --locators FILE [options] DIR|FILE...\n"
	"\n"
	"Looks for appointments in the block files of a Bitcoin node, at the speed of the disk: every\n"
	"transaction of every block against a list of locators, by the code that scans live blocks.\n"
	"DIR is a node's directory of blk*.dat files, or its data directory; obfuscated files are read\n"
	"through their xor.dat.  The node may be running.  Any user who may read the files will do.\n"
	"\n"
	"  --locators FILE    one locator a line, 32 hex digits; blank lines and what follows '#' do not\n"
	"                     count; '-' is standard input.  A tower writes this list with\n"
	"                     vigil-cli --lines getlocators\n"
	"                     Each is looked for in both of its forms, as the tower does\n"
	"  --network NAME     main, testnet3, testnet4, signet or regtest (default: what the files hold)\n"
	"  --from HEIGHT      only blocks from this height on\n"
	"  --to HEIGHT        only blocks up to this height\n"
	"  --best-chain-only  pass over blocks that are not on the chain with the most work among those\n"
	"                     found (the default)\n"
	"  --all              scan stale blocks too; best_chain tells them apart\n"
	"  --threads N        scan threads (default: one for each CPU this process may use)\n"
	"  --progress         tell on standard error how far it is and how long it will take: one line\n"
	"                     that changes on a terminal, which is the default there, else a line each\n"
	"                     five seconds\n"
	"  --no-progress      never\n"
	"  --txid-kernel K    use this txid kernel instead of the fastest\n"
	"  --help, --version\n"
	"\n"
	"Standard output gets one JSON object a line: {\"type\":\"hit\",...} for each match, in the order\n"
	"of the files, which is not the order of heights, and at the end {\"type\":\"summary\",...}.\n"
	"Pruned nodes begin at a later block: its height is then taken from its coinbase, and is null\n"
	"where no coinbase can be trusted for it.  Such blocks are scanned whatever --from and --to say.\n"
	"\n"
	"Exit status: 0 everything in the range was scanned, 1 something was damaged, unreadable or\n"
	"missing (standard error and the summary say what), 2 wrong usage, 3 interrupted: the summary\n"
	"counts what was done.\n";

enum opt {
	OPT_NETWORK = 256,
	OPT_FROM,
	OPT_TO,
	OPT_BEST,
	OPT_ALL,
	OPT_THREADS,
	OPT_LOCATORS,
	OPT_PROGRESS,
	OPT_NO_PROGRESS,
	OPT_KERNEL,
	OPT_HELP,
	OPT_VERSION
};

static const struct option longopts[] = {
	{"network", required_argument, NULL, OPT_NETWORK},
	{"from", required_argument, NULL, OPT_FROM},
	{"to", required_argument, NULL, OPT_TO},
	{"best-chain-only", no_argument, NULL, OPT_BEST},
	{"all", no_argument, NULL, OPT_ALL},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"locators", required_argument, NULL, OPT_LOCATORS},
	{"progress", no_argument, NULL, OPT_PROGRESS},
	{"no-progress", no_argument, NULL, OPT_NO_PROGRESS},
	{"txid-kernel", required_argument, NULL, OPT_KERNEL},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static bool number(const char *name, const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
	unsigned long long v;
	char *end;

	v = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || v < min || v > max) {
		fprintf(stderr, "vigil-rescan: --%s: '%s' is not a number from %u to %u\n", name, text, min,
			max);
		return false;
	}
	*out = (uint32_t)v;
	return true;
}

static bool network(const char *name, const struct network **out)
{
	*out = network_by_name(name);
	if (*out == NULL)
		fprintf(stderr, "vigil-rescan: --network: no network is called '%s'\n", name);
	return *out != NULL;
}

static unsigned cpu_cnt(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < 1 ? 1 : n < (int)RESCAN_THREADS_MAX ? (unsigned)n : RESCAN_THREADS_MAX;
}

static enum options_result check(const struct options *o)
{
	const char *why = NULL;

	if (o->locators == NULL)
		why = "--locators is needed: what to look for";
	else if (o->path_cnt == 0)
		why = "no directory or file of blocks is given";
	else if (o->from > o->to)
		why = "--from is above --to";
	if (why == NULL)
		return OPTIONS_RUN;
	fprintf(stderr, "vigil-rescan: %s (see --help)\n", why);
	return OPTIONS_EXIT_BAD;
}

enum options_result options_parse(struct options *o, int argc, char **argv)
{
	bool good = true;
	int opt;

	*o = (struct options){.to = UINT32_MAX, .threads = cpu_cnt(), .progress = -1};
	while (good && (opt = getopt_long(argc, argv, "h", longopts, NULL)) != -1) {
		switch (opt) {
		case OPT_NETWORK:
			good = network(optarg, &o->network);
			break;
		case OPT_FROM:
			good = number("from", optarg, 0, UINT32_MAX - 1, &o->from);
			break;
		case OPT_TO:
			good = number("to", optarg, 0, UINT32_MAX - 1, &o->to);
			break;
		case OPT_BEST:
			o->all = false;
			break;
		case OPT_ALL:
			o->all = true;
			break;
		case OPT_THREADS:
			good = number("threads", optarg, 1, RESCAN_THREADS_MAX, &o->threads);
			break;
		case OPT_LOCATORS:
			o->locators = optarg;
			break;
		case OPT_PROGRESS:
			o->progress = 1;
			break;
		case OPT_NO_PROGRESS:
			o->progress = 0;
			break;
		case OPT_KERNEL:
			o->txid_kernel = optarg;
			break;
		case OPT_HELP:
		case 'h':
			fputs(help_text, stdout);
			return OPTIONS_EXIT_OK;
		case OPT_VERSION:
			puts("vigil-rescan " VIGIL_VERSION);
			return OPTIONS_EXIT_OK;
		default:
			return OPTIONS_EXIT_BAD; /* getopt has named it */
		}
	}
	if (!good)
		return OPTIONS_EXIT_BAD;
	o->path = argv + optind;
	o->path_cnt = argc - optind;
	return check(o);
}
