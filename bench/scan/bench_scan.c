/* vigil-bench-scan - how fast does the dataplane's scan take whole blocks, next to the sum of its parts, next to the
   plain way with libraries, and over more scan lcores?  `vigil-bench-scan --help` says how it is measured. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "scan/report.h"
#include "scan/whole.h"

#define LOCATORS_MAX 400000000u

struct options {
	uint64_t locators;
	unsigned rounds, lcores;
	uint32_t blocks, block_bytes;
	double sample_ns;
	const char *kernel;
	bool json, no_scaling;
	bool miss_one; /* for a test of this program: one planted locator is not watched */
	char *const *file;
	unsigned file_cnt;
};

/* Everything that is measured in each round. */
struct bench {
	const struct options *o;
	struct set set;
	const struct txid_kernel *kernel;
	const struct library *library;
	struct parts *parts;
	struct plain *plain;
	unsigned scaling_cnt;
	unsigned lcores[SCALING_MAX];
	struct whole *whole[SCALING_MAX]; /* [0] has one lcore */
	double *whole_ns, *parts_ns, *all_parts_ns, *plain_ns;
	double *part_ns[PART_CNT], *plain_part_ns[PART_CNT], *scaling_ns[SCALING_MAX];
};

static const char usage[] =
	"usage: vigil-bench-scan [OPTION...] [BLOCKFILE...]\n"
	"\n"
	"Drives the dataplane's scan in this process: whole blocks in, hits out.  Without files the blocks "
	"are\n"
	"synthetic, with sizes and shapes as mainnet has them; files are raw blocks or blk*.dat.\n"
	"\n"
	"  --locators N      watched besides the planted ones (10000000)\n"
	"  --blocks N        synthetic blocks, or at most so many of the files (16)\n"
	"  --block-bytes N   of a synthetic block (1500000)\n"
	"  --rounds N        (15)\n"
	"  --sample-ms N     of each alternative in each round (60)\n"
	"  --lcores N        at most so many scan lcores (all CPUs of this process)\n"
	"  --no-scaling      one scan lcore only\n"
	"  --kernel NAME     txid kernel (the fastest here)\n"
	"  --json            one object instead of lines\n"
	"  --help            this text\n"
	"\n"
	"Method.  In every round each alternative passes over all blocks again and again for the sample time; "
	"its best\n"
	"pass counts, ratios are of passes of one round, and medians over the rounds are printed with the "
	"least and\n"
	"the most.  One lcore is measured in processor time of its thread, more lcores in elapsed time.\n"
	"  whole   scan_submit to scan_output of every block, acknowledged and evicted as by the link\n"
	"  parts   the same parse, txids, merkle root and lookups (both forms of each txid), called block by "
	"block;\n"
	"          remembering the block for late appointments is shown beside them and not in their sum\n"
	"  plain   the same parse, the best interface of the best library for txids and merkle root, one JudyL "
	"for lookups\n"
	"Every pass must find exactly the planted hits, or the program ends with status 1.\n";

static bool number(const char *text, uint64_t lo, uint64_t hi, uint64_t *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*out = strtoull(text, &end, 10);
	return *end == '\0' && *out >= lo && *out <= hi;
}

static bool option_set(struct options *o, int c, const char *arg)
{
	uint64_t v = 0;
	bool good = true;

	switch (c) {
	case 'l':
		good = number(arg, 0, LOCATORS_MAX, &o->locators);
		break;
	case 'b':
		good = number(arg, 1, SET_BLOCKS_MAX, &v);
		o->blocks = (uint32_t)v;
		break;
	case 's':
		good = number(arg, 1000, 3900000, &v);
		o->block_bytes = (uint32_t)v;
		break;
	case 'r':
		good = number(arg, 1, MEASURE_ROUNDS_MAX, &v);
		o->rounds = (unsigned)v;
		break;
	case 'm':
		good = number(arg, 1, 10000, &v);
		o->sample_ns = (double)v * 1e6;
		break;
	case 'c':
		good = number(arg, 1, SCAN_WORKER_MAX, &v);
		o->lcores = (unsigned)v;
		break;
	case 'n':
		o->no_scaling = true;
		break;
	case 'k':
		o->kernel = arg;
		break;
	case 'M':
		o->miss_one = true;
		break;
	case 'j':
		o->json = true;
		break;
	default:
		good = false;
	}
	return good;
}

/* Ends the program for --help and for what is wrong. */
static void options_read(struct options *o, int argc, char **argv)
{
	static const struct option known[] = {
		{"locators", required_argument, NULL, 'l'},
		{"blocks", required_argument, NULL, 'b'},
		{"block-bytes", required_argument, NULL, 's'},
		{"rounds", required_argument, NULL, 'r'},
		{"sample-ms", required_argument, NULL, 'm'},
		{"lcores", required_argument, NULL, 'c'},
		{"no-scaling", no_argument, NULL, 'n'},
		{"kernel", required_argument, NULL, 'k'},
		{"miss-one", no_argument, NULL, 'M'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			exit(0);
		}
		if (option_set(o, c, optarg))
			continue;
		if (c != '?')
			fprintf(stderr, "vigil-bench-scan: not a value for this option: %s\n", optarg);
		fputs("vigil-bench-scan: see --help\n", stderr);
		exit(2);
	}
	o->file = argv + optind;
	o->file_cnt = (unsigned)(argc - optind);
}

static void die(const char *why)
{
	fprintf(stderr, "vigil-bench-scan: %s\n", why);
	exit(1);
}

static double *column(unsigned rounds)
{
	double *v = calloc(rounds, sizeof(*v));

	if (v == NULL)
		die("out of memory");
	return v;
}

static void columns_make(struct bench *b)
{
	unsigned n = b->o->rounds;

	b->whole_ns = column(n);
	b->parts_ns = column(n);
	b->all_parts_ns = column(n);
	b->plain_ns = column(n);
	for (unsigned i = 0; i < PART_CNT; i++) {
		b->part_ns[i] = column(n);
		b->plain_part_ns[i] = column(n);
	}
	for (unsigned i = 0; i < SCALING_MAX; i++)
		b->scaling_ns[i] = column(n);
}

static double sum_of(const double ns[PART_CNT], unsigned cnt)
{
	double sum = 0;

	for (unsigned i = 0; i < cnt; i++)
		sum += ns[i];
	return sum;
}

/* One pass of the plain way or, without a library, of the parts. */
static void direct_pass(struct bench *b, const struct library *lib, double ns[PART_CNT])
{
	for (unsigned i = 0; i < PART_CNT; i++)
		ns[i] = 0;
	if (lib != NULL ? !plain_pass(b->plain, lib, &b->set, ns) : !parts_pass(b->parts, &b->set, ns))
		die("wrong txids, merkle roots or hits");
}

/* The best pass of a sample. */
static void direct_sample(struct bench *b, const struct library *lib, double best[PART_CNT])
{
	double start = measure_cpu_ns(), ns[PART_CNT];

	best[0] = 1e300;
	do {
		direct_pass(b, lib, ns);
		if (sum_of(ns, PART_CNT) < sum_of(best, PART_CNT))
			memcpy(best, ns, sizeof(ns));
	} while (measure_cpu_ns() - start < b->o->sample_ns);
}

static double whole_sample(struct bench *b, struct whole *w, double (*clock)(void))
{
	double start = clock(), last = start, best = 1e300, now;

	do {
		if (!whole_pass(w, &b->set))
			die("the scan refused a block or found other hits than planted");
		now = clock();
		best = now - last < best ? now - last : best;
		last = now;
	} while (last - start < b->o->sample_ns);
	return best;
}

/* The library that is the fastest over these blocks. */
static const struct library *library_choose(struct bench *b)
{
	const struct library *best = NULL;
	double best_ns = 1e300, ns[PART_CNT];

	if (!libraries_init())
		die("a library did not start");
	for (unsigned i = 0; i < LIBRARY_CNT; i++) {
		double sum;

		direct_sample(b, &libraries[i], ns);
		sum = sum_of(ns, PART_MERKLE + 1);
		if (sum < best_ns) {
			best = &libraries[i];
			best_ns = sum;
		}
	}
	return best;
}

static void round_run(struct bench *b, unsigned r)
{
	double ns[PART_CNT];

	/* None works for the scan of one lcore but this one. */
	whole_use(NULL);
	b->whole_ns[r] = whole_sample(b, b->whole[0], measure_cpu_ns);
	direct_sample(b, NULL, ns);
	b->parts_ns[r] = sum_of(ns, PART_REMEMBER);
	b->all_parts_ns[r] = sum_of(ns, PART_CNT);
	for (unsigned i = 0; i < PART_CNT; i++)
		b->part_ns[i][r] = ns[i];
	direct_sample(b, b->library, ns);
	b->plain_ns[r] = sum_of(ns, PART_CNT);
	for (unsigned i = 0; i < PART_CNT; i++)
		b->plain_part_ns[i][r] = ns[i];
	for (unsigned i = 0; i < b->scaling_cnt; i++) {
		whole_use(b->whole[i]);
		b->scaling_ns[i][r] = whole_sample(b, b->whole[i], measure_wall_ns);
	}
}

static struct figures figures_of(const struct bench *b)
{
	unsigned n = b->o->rounds;
	double bytes = (double)b->set.bytes, us = 1e-3 / b->set.block_cnt;
	struct figures f = {
		.kernel = b->kernel->name,
		.library = b->library->name,
		.source = b->o->file_cnt > 0 ? "files" : "synthetic",
		.rounds = n,
		.locators = b->o->locators + b->set.plant_cnt,
		.raw_gb_s = spread_rate(bytes, b->whole_ns, n),
		.tx_s = spread_rate((double)b->set.txs * 1e3, b->whole_ns, n),
		.us_per_block = spread_ratio(b->whole_ns, NULL, n, us),
		.parts_gb_s = spread_rate(bytes, b->parts_ns, n),
		.vs_parts = spread_ratio(b->parts_ns, b->whole_ns, n, 1),
		.vs_all_parts = spread_ratio(b->all_parts_ns, b->whole_ns, n, 1),
		.plain_gb_s = spread_rate(bytes, b->plain_ns, n),
		.vs_plain = spread_ratio(b->plain_ns, b->whole_ns, n, 1),
		.scaling_cnt = b->scaling_cnt,
	};

	for (unsigned i = 0; i < PART_CNT; i++) {
		f.part_us[i] = spread_ratio(b->part_ns[i], NULL, n, us);
		f.plain_us[i] = spread_ratio(b->plain_part_ns[i], NULL, n, us);
	}
	for (unsigned i = 0; i < b->scaling_cnt; i++) {
		f.scaling[i].lcores = b->lcores[i];
		f.scaling[i].raw_gb_s = spread_rate(bytes, b->scaling_ns[i], n);
		f.scaling[i].vs_one = spread_ratio(b->scaling_ns[0], b->scaling_ns[i], n, 1);
	}
	return f;
}

static void set_make(struct bench *b)
{
	const struct options *o = b->o;
	char why[512];
	int rc = o->file_cnt > 0 ? set_make_files(&b->set, o->file, o->file_cnt, o->blocks, why, sizeof(why))
				 : set_make_synthetic(&b->set, o->blocks, o->block_bytes, 1, why, sizeof(why));

	if (rc != 0)
		die(why);
	if (o->miss_one)
		b->set.plant_cnt--;
}

/* 1, 2, 4 and so on up to all that there are. */
static void wholes_make(struct bench *b, unsigned lcores)
{
	for (unsigned n = 1; b->scaling_cnt < SCALING_MAX;) {
		unsigned i = b->scaling_cnt++;

		b->lcores[i] = n;
		b->whole[i] = whole_new(b->kernel, n, &b->set, b->o->locators);
		if (b->whole[i] == NULL)
			die("a scan could not be made");
		if (n == lcores)
			break;
		n = 2 * n < lcores ? 2 * n : lcores;
	}
}

static void bench_make(struct bench *b)
{
	const char *why = "";
	unsigned lcores = crew_start(b->o->no_scaling ? 1 : b->o->lcores);

	if (lcores == 0)
		die("the EAL did not start");
	b->kernel = txid_select(cpu_features(), b->o->kernel, &why);
	if (b->kernel == NULL)
		die(why);
	set_make(b);
	columns_make(b);
	b->parts = parts_new(b->kernel, &b->set, b->o->locators);
	b->plain = plain_new(&b->set, b->o->locators);
	if (b->parts == NULL || b->plain == NULL)
		die("out of memory");
	wholes_make(b, lcores);
	b->library = library_choose(b);
}

static void bench_free(struct bench *b)
{
	crew_stop();
	for (unsigned i = 0; i < b->scaling_cnt; i++)
		whole_free(b->whole[i]);
	parts_free(b->parts);
	plain_free(b->plain);
	set_free(&b->set);
	free(b->whole_ns);
	free(b->parts_ns);
	free(b->all_parts_ns);
	free(b->plain_ns);
	for (unsigned i = 0; i < PART_CNT; i++) {
		free(b->part_ns[i]);
		free(b->plain_part_ns[i]);
	}
	for (unsigned i = 0; i < SCALING_MAX; i++)
		free(b->scaling_ns[i]);
}

int main(int argc, char **argv)
{
	struct options o = {.locators = 10000000,
			    .rounds = 15,
			    .lcores = SCAN_WORKER_MAX,
			    .blocks = 16,
			    .block_bytes = 1500000,
			    .sample_ns = 60e6};
	static struct bench b;
	struct figures f;

	options_read(&o, argc, argv);
	b.o = &o;
	bench_make(&b);
	for (unsigned r = 0; r < o.rounds; r++)
		round_run(&b, r);
	f = figures_of(&b);
	if (o.json) {
		json_t *out = report_json(&f, &b.set);

		json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(5));
		printf("\n");
		json_decref(out);
	} else {
		report_text(&f, &b.set);
	}
	bench_free(&b);
	return 0;
}
