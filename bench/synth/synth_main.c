#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "synth/synth.h"

static const char help_text[] =
	"usage: vigil-replay synth --out DIR --blocks N [options]\n"
	"\n"
	"Writes a deterministic regtest chain, DIR/chain.dat, and what was planted in it, "
	"DIR/breaches.json.\n"
	"The same options give the same bytes.  Prints a summary as JSON.\n"
	"\n"
	"  --out DIR              directory for the two files; created when absent\n"
	"  --blocks N             height of the last block\n"
	"  --seed S               any number (default 1)\n"
	"  --txs-per-block M      transactions a block, coinbase included (default 500, at most "
	"5000)\n"
	"  --block-bytes B        instead: wire bytes a block, about\n"
	"  --segwit-share P       share of segwit transactions, 0 to 1 (default 0.8)\n"
	"  --breaches K           breaches spread over the best chain (default 0)\n"
	"  --breach-from H        lowest height of spread breaches (default 1)\n"
	"  --breach-heights LIST  one more breach at each of these heights (H,H,...; a height may "
	"repeat)\n"
	"  --stale-breaches K     breaches only in blocks that a reorg makes stale\n"
	"  --both-breaches K      breaches in a stale block and again in the branch that replaces "
	"it\n"
	"  --reorg H:D[:E]        at height H a branch from D blocks below wins, arriving as D + E "
	"blocks\n"
	"                         (E at least 1, the default); may repeat, in ascending order\n"
	"  --confirm-after N      each penalty is mined N blocks after its dispute, when the chain "
	"is that long\n"
	"  --help                 this text\n";

struct options {
	struct synth_config cfg;
	struct synth_reorg reorgs[SYNTH_REORGS_MAX];
	uint32_t heights[4096];
};

enum opt {
	OPT_OUT = 256,
	OPT_SEED,
	OPT_BLOCKS,
	OPT_TXS,
	OPT_BYTES,
	OPT_SEGWIT,
	OPT_BREACHES,
	OPT_FROM,
	OPT_HEIGHTS,
	OPT_STALE,
	OPT_BOTH,
	OPT_REORG,
	OPT_CONFIRM,
	OPT_HELP
};

static const struct option longopts[] = {
	{"out", required_argument, NULL, OPT_OUT},
	{"seed", required_argument, NULL, OPT_SEED},
	{"blocks", required_argument, NULL, OPT_BLOCKS},
	{"txs-per-block", required_argument, NULL, OPT_TXS},
	{"block-bytes", required_argument, NULL, OPT_BYTES},
	{"segwit-share", required_argument, NULL, OPT_SEGWIT},
	{"breaches", required_argument, NULL, OPT_BREACHES},
	{"breach-from", required_argument, NULL, OPT_FROM},
	{"breach-heights", required_argument, NULL, OPT_HEIGHTS},
	{"stale-breaches", required_argument, NULL, OPT_STALE},
	{"both-breaches", required_argument, NULL, OPT_BOTH},
	{"reorg", required_argument, NULL, OPT_REORG},
	{"confirm-after", required_argument, NULL, OPT_CONFIRM},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

/* Reads one unsigned number up to max and leaves *s behind it. */
static bool read_num(const char **s, uint64_t max, uint64_t *v)
{
	char *end;

	if (**s < '0' || **s > '9')
		return false;
	errno = 0;
	*v = strtoull(*s, &end, 0);
	*s = end;
	return errno == 0 && *v <= max;
}

static bool whole_num(const char *s, uint64_t max, uint64_t *v)
{
	return read_num(&s, max, v) && *s == '\0';
}

static bool whole_u32(const char *s, uint32_t *v)
{
	uint64_t n;

	if (!whole_num(s, UINT32_MAX, &n))
		return false;
	*v = (uint32_t)n;
	return true;
}

static bool parse_share(const char *s, uint32_t *ppm)
{
	char *end;
	double v = strtod(s, &end);

	if (end == s || *end != '\0' || !(v >= 0 && v <= 1))
		return false;
	*ppm = (uint32_t)(v * 1e6 + 0.5);
	return true;
}

static bool parse_heights(struct options *o, const char *s)
{
	uint64_t h;

	for (;; s++) {
		if (o->cfg.breach_height_cnt == sizeof(o->heights) / sizeof(o->heights[0]) ||
		    !read_num(&s, UINT32_MAX, &h))
			return false;
		o->heights[o->cfg.breach_height_cnt++] = (uint32_t)h;
		if (*s != ',')
			return *s == '\0';
	}
}

static bool parse_reorg(struct options *o, const char *s)
{
	uint64_t h, d, e = 1;

	if (o->cfg.reorg_cnt == SYNTH_REORGS_MAX || !read_num(&s, UINT32_MAX, &h) || *s++ != ':' ||
	    !read_num(&s, UINT32_MAX, &d))
		return false;
	if (*s == ':') {
		s++;
		if (!read_num(&s, UINT32_MAX, &e))
			return false;
	}
	o->reorgs[o->cfg.reorg_cnt++] = (struct synth_reorg){(uint32_t)h, (uint32_t)d, (uint32_t)e};
	return *s == '\0';
}

static bool parse_option(struct options *o, enum opt opt, const char *arg)
{
	struct synth_config *c = &o->cfg;

	switch (opt) {
	case OPT_OUT:
		c->dir = arg;
		return *arg != '\0';
	case OPT_SEED:
		return whole_num(arg, UINT64_MAX, &c->seed);
	case OPT_BLOCKS:
		return whole_u32(arg, &c->blocks);
	case OPT_TXS:
		return whole_u32(arg, &c->txs_per_block) && c->txs_per_block > 0;
	case OPT_BYTES:
		c->txs_per_block = 0;
		return whole_u32(arg, &c->block_bytes);
	case OPT_SEGWIT:
		return parse_share(arg, &c->segwit_ppm);
	case OPT_BREACHES:
		return whole_u32(arg, &c->breaches);
	case OPT_FROM:
		return whole_u32(arg, &c->breach_from);
	case OPT_HEIGHTS:
		return parse_heights(o, arg);
	case OPT_STALE:
		return whole_u32(arg, &c->stale_breaches);
	case OPT_BOTH:
		return whole_u32(arg, &c->both_breaches);
	case OPT_REORG:
		return parse_reorg(o, arg);
	case OPT_CONFIRM:
		return whole_u32(arg, &c->confirm_after);
	case OPT_HELP:
		break;
	}
	return false;
}

static void print_summary(const struct synth_summary *s)
{
	char tip[HASH_HEX_SZ];

	hash256_to_display(tip, &s->tip_hash);
	printf("{\"tip_height\": %u, \"tip_hash\": \"%s\", \"blocks\": %u, \"stale_blocks\": %u, "
	       "\"breaches\": %u, \"txs\": %llu, \"segwit_txs\": %llu, \"inputs\": %llu, "
	       "\"outputs\": %llu, "
	       "\"bytes\": %llu, \"stripped_bytes\": %llu, \"stripped_tx_bytes\": {\"mean\": %.1f, "
	       "\"p50\": %u, \"p90\": %u, \"max\": %u}}\n",
	       s->tip_height, tip, s->blocks, s->stale_blocks, s->breaches, (unsigned long long)s->txs,
	       (unsigned long long)s->segwit_txs, (unsigned long long)s->inputs, (unsigned long long)s->outputs,
	       (unsigned long long)s->bytes, (unsigned long long)s->stripped_bytes, s->tx_mean, s->tx_p50,
	       s->tx_p90, s->tx_max);
}

int synth_main(int argc, char **argv)
{
	static struct options o;
	struct synth_summary sum;
	char why[256];
	int c, which = 0;

	o.cfg = (struct synth_config){
		.seed = 1,
		.txs_per_block = 500,
		.segwit_ppm = 800000,
		.breach_heights = o.heights,
		.reorgs = o.reorgs,
	};
	optind = 1;
	while ((c = getopt_long(argc, argv, "h", longopts, &which)) != -1) {
		if (c == OPT_HELP || c == 'h') {
			fputs(help_text, stdout);
			return 0;
		}
		if (c == '?')
			return 2;
		if (!parse_option(&o, (enum opt)c, optarg)) {
			fprintf(stderr, "vigil-replay synth: bad value for --%s: %s\n", longopts[which].name,
				optarg);
			return 2;
		}
	}
	if (!o.cfg.dir || optind != argc) {
		fprintf(stderr, "vigil-replay synth: --out is needed, other arguments are not; see "
				"--help\n");
		return 2;
	}
	if (synth_run(&o.cfg, &sum, why, sizeof(why))) {
		fprintf(stderr, "vigil-replay synth: %s\n", why);
		return 1;
	}
	print_summary(&sum);
	return 0;
}
