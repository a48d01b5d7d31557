/* vigil-bench-txid - how fast are the txid kernels here, next to the best library and next to themselves on data
   that is always in the first-level cache?  `vigil-bench-txid --help` says how it is measured. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "measure/measure.h"
#include "txid/library.h"
#include "txid/report.h"
#include "txid/txid.h"

#define SAMPLE_NS   4000000.0
#define REPEAT_MIN  3u
#define SUBJECT_MAX 16u
#define RAW_TX_CNT  16u
#define RAW_TX_SZ   16384u

#define BLOCKS_MAX    64u /* of files */
#define ALONE_MAX     8u
#define SYNTHETIC_CNT 2u
#define SYNTHETIC_SZ  1500000u

typedef void hash_fn(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt);
typedef void pairs_fn(struct hash256 *out, const struct hash256 *in, size_t pair_cnt);

struct subject {
	struct txid_kernel k;
	bool is_library;
	double *hash_ns, *raw_ns, *root_ns; /* by round */
};

static struct subject subjects[SUBJECT_MAX];
static unsigned subject_cnt;
/* Of the set in work. */
static struct hash256 *txid, *want;
static struct hash256 scratch[BLOCK_TX_MAX + 1];

/* Every transaction once, a call for each block. */
static void hash_all(const struct subject *s, const struct set *set, struct hash256 *out)
{
	for (size_t i = 0; i < set->block_cnt; i++)
		s->k.hash(set->bytes, set->tx + set->first[i], out + set->first[i],
			  set->first[i + 1] - set->first[i]);
}

/* The root of every block, the last one returned. */
static struct hash256 root_all(const struct subject *s, const struct set *set)
{
	struct hash256 root = {{0}};
	bool mutated;

	for (size_t i = 0; i < set->block_cnt; i++)
		root = merkle_root(&s->k, want + set->first[i], set->first[i + 1] - set->first[i], scratch,
				   &mutated);
	return root;
}

/* The best of the repetitions that fit into a sample: one that was interrupted says nothing. */
static double hash_best_ns(const struct subject *s, const struct set *set)
{
	double start = measure_cpu_ns(), last = start, best = 1e300, now;
	unsigned repeats = 0;

	do {
		hash_all(s, set, txid);
		now = measure_cpu_ns();
		best = now - last < best ? now - last : best;
		last = now;
	} while (++repeats < REPEAT_MIN || last - start < SAMPLE_NS);
	return best;
}

static double root_best_ns(const struct subject *s, const struct set *set)
{
	double start = measure_cpu_ns(), last = start, best = 1e300, now;
	unsigned repeats = 0;

	do {
		root_all(s, set);
		now = measure_cpu_ns();
		best = now - last < best ? now - last : best;
		last = now;
	} while (++repeats < REPEAT_MIN || last - start < SAMPLE_NS);
	return best;
}

/* All agree, or the figures are worth nothing. */
static bool results_agree(const struct set *set)
{
	struct hash256 root, want_root = {{0}};

	hash_all(&subjects[0], set, want);
	for (unsigned i = 0; i < subject_cnt; i++) {
		memset(txid, 0, set->cnt * sizeof(*txid));
		hash_all(&subjects[i], set, txid);
		root = root_all(&subjects[i], set);
		if (i == 0)
			want_root = root;
		if (memcmp(txid, want, set->cnt * HASH_SZ) != 0 || !hash256_eq(&root, &want_root)) {
			fprintf(stderr, "%s: wrong hashes on %s\n", subjects[i].k.name, set->name);
			return false;
		}
	}
	return true;
}

/* Text at once, or JSON to the end of sets. */
static bool report_set(const struct set *set, const struct set *raw, unsigned rounds, json_t *sets)
{
	double root_us = 1e-3 / (double)set->block_cnt;
	struct figures f[SUBJECT_MAX];
	unsigned lib = 0, pair_lib = 0;

	for (unsigned i = 1; i < subject_cnt && subjects[i].is_library; i++) {
		if (spread_of(subjects[i].hash_ns, rounds).median <
		    spread_of(subjects[lib].hash_ns, rounds).median)
			lib = i;
		if (spread_of(subjects[i].root_ns, rounds).median <
		    spread_of(subjects[pair_lib].root_ns, rounds).median)
			pair_lib = i;
	}
	for (unsigned i = 0; i < subject_cnt; i++) {
		const struct subject *s = &subjects[i];

		f[i] = (struct figures){
			.name = s->k.name,
			.is_library = s->is_library,
			.gb_s = spread_rate((double)set->stripped_sz, s->hash_ns, rounds),
			.raw_gb_s = spread_rate((double)raw->padded_sz, s->raw_ns, rounds),
			.vs_library = spread_ratio(subjects[lib].hash_ns, s->hash_ns, rounds, 1),
			.vs_raw = spread_ratio(s->raw_ns, s->hash_ns, rounds,
					       (double)set->padded_sz / (double)raw->padded_sz),
			.merkle_us = spread_ratio(s->root_ns, NULL, rounds, root_us),
			.merkle_vs_library = spread_ratio(subjects[pair_lib].root_ns, s->root_ns, rounds, 1),
		};
	}
	if (sets == NULL) {
		report_text(set, f, subject_cnt, &f[lib], &f[pair_lib]);
		return true;
	}
	return json_array_append_new(sets, report_json(set, f, subject_cnt, &f[lib], &f[pair_lib])) == 0;
}

/* Frees the set. */
static bool bench_set(struct set *set, const struct set *raw, unsigned rounds, json_t *sets)
{
	size_t room = set->cnt > raw->cnt ? set->cnt : raw->cnt;
	bool ok;

	txid = calloc(room, sizeof(*txid));
	want = calloc(room, sizeof(*want));
	ok = txid != NULL && want != NULL && results_agree(set);
	for (unsigned r = 0; ok && r < rounds; r++) {
		for (unsigned i = 0; i < subject_cnt; i++) {
			subjects[i].hash_ns[r] = hash_best_ns(&subjects[i], set);
			subjects[i].raw_ns[r] = hash_best_ns(&subjects[i], raw);
			subjects[i].root_ns[r] = root_best_ns(&subjects[i], set);
		}
	}
	ok = ok && report_set(set, raw, rounds, sets);
	free(txid);
	free(want);
	set_free(set);
	return ok;
}

static bool subject_add(struct txid_kernel k, bool is_library, unsigned rounds)
{
	struct subject *s = &subjects[subject_cnt];

	*s = (struct subject){.k = k, .is_library = is_library};
	s->hash_ns = calloc(rounds, sizeof(double));
	s->raw_ns = calloc(rounds, sizeof(double));
	s->root_ns = calloc(rounds, sizeof(double));
	subject_cnt++;
	return s->hash_ns != NULL && s->raw_ns != NULL && s->root_ns != NULL;
}

static bool subjects_init(const char *name_or_null, unsigned rounds)
{
	size_t cnt;
	const struct txid_kernel *const *k = txid_kernels(&cnt);
	bool ok = libraries_init();

	for (unsigned i = 0; ok && i < LIBRARY_CNT; i++)
		ok = subject_add((struct txid_kernel){.name = libraries[i].name,
						      .hash = libraries[i].hash,
						      .pairs = libraries[i].pairs},
				 true, rounds);
	for (size_t i = 0; ok && i < cnt && subject_cnt < SUBJECT_MAX; i++) {
		if (name_or_null != NULL && strcmp(k[i]->name, name_or_null) != 0)
			continue;
		if ((k[i]->need & ~cpu_features()) != 0)
			fprintf(stderr, "# kernel %s: not on this CPU\n", k[i]->name);
		else
			ok = subject_add(*k[i], false, rounds);
	}
	return ok;
}

static json_t *conditions(unsigned rounds)
{
	char cpu[128];
	const char *why = "";
	const struct txid_kernel *best = txid_select(cpu_features(), NULL, &why);

	measure_cpu_name(cpu, sizeof(cpu));
	return json_pack("{s:s,s:i,s:s,s:i,s:i,s:f}", "cpu", cpu, "features", (int)cpu_features(), "selected",
			 best != NULL ? best->name : why, "lcores", 1, "rounds", (int)rounds, "sample_ms",
			 SAMPLE_NS / 1e6);
}

static bool bench_blocks(const struct set *raw, char *const *path, unsigned path_cnt, unsigned rounds,
			 json_t *sets)
{
	struct set set;
	char why[512];
	bool ok = path_cnt > 0 ? set_of_files(&set, path, path_cnt, BLOCKS_MAX, why, sizeof(why))
			       : set_of_synthetic(&set, SYNTHETIC_CNT, SYNTHETIC_SZ, why, sizeof(why));

	if (!ok) {
		fprintf(stderr, "%s\n", why);
		return false;
	}
	return bench_set(&set, raw, rounds, sets);
}

/* All sets; false if one cannot be had or a result is wrong. */
static bool bench_all(char *const *path, unsigned path_cnt, bool mixes, unsigned rounds, json_t *sets)
{
	struct set set, raw;
	bool ok = set_of_raw(&raw, RAW_TX_CNT, RAW_TX_SZ) && bench_blocks(&raw, path, path_cnt, rounds, sets);

	/* Several files: each alone, too, unless they are too many to read. */
	for (unsigned i = 0; ok && path_cnt > 1 && path_cnt <= ALONE_MAX && i < path_cnt; i++)
		ok = bench_blocks(&raw, path + i, 1, rounds, sets);
	for (unsigned mix = 0; ok && path_cnt == 0 && mixes && set_of_mix(&set, mix); mix++)
		ok = bench_set(&set, &raw, rounds, sets);
	set_free(&raw);
	return ok;
}

static const char usage[] =
	"usage: vigil-bench-txid [--json] [--rounds N] [--kernel NAME] [--blocks-only] [BLOCKFILE...]\n"
	"\n"
	"Hashes the transactions of synthetic blocks, or of the given raw blocks and blk*.dat (the first 64 "
	"blocks), and,\n"
	"without files and --blocks-only, mixes with one kind of transaction each.\n"
	"\n"
	"Method.  In every round (of 11) each kernel and each library hashes the whole set again and again for "
	"4 ms\n"
	"of processor time, and its best time counts; ratios are taken within a round, and the median of them "
	"is\n"
	"printed with the least and the most.  gb_s counts bytes of stripped transactions.  vs_library is to "
	"the fastest\n"
	"library interface on the same set.  vs_raw is to the same code on transactions of 16 KB that stay in\n"
	"the first-level cache; both sides count the bytes that SHA-256 sees, padding and second hash "
	"included.\n"
	"Every hash is compared with the first library's, or the program ends with status 1.\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},         {"rounds", required_argument, NULL, 'r'},
		{"kernel", required_argument, NULL, 'k'}, {"blocks-only", no_argument, NULL, 'b'},
		{"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
	};
	const char *kernel = NULL;
	json_t *out, *sets = NULL;
	unsigned long rounds = 11;
	bool ok = true, mixes = true;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'j')
			sets = sets != NULL ? sets : json_array();
		else if (c == 'r')
			rounds = strtoul(optarg, NULL, 10);
		else if (c == 'k')
			kernel = optarg;
		else if (c == 'b')
			mixes = false;
		else if (c == 'h')
			return fputs(usage, stdout) < 0;
		else
			ok = false;
	}
	if (!ok || rounds == 0 || rounds > MEASURE_ROUNDS_MAX) {
		fprintf(stderr, "vigil-bench-txid: see --help\n");
		return 2;
	}
	out = conditions((unsigned)rounds);
	if (sets == NULL) {
		printf("# bench/txid ");
		json_dumpf(out, stdout, JSON_REAL_PRECISION(3));
		printf("\n# gb_s, merkle_us: median [least most]; ratios: median of those within a "
		       "round\n");
	}
	if (!subjects_init(kernel, (unsigned)rounds)) {
		fprintf(stderr, "%s: cannot set up\n", argv[0]);
		return 1;
	}
	ok = bench_all(argv + optind, (unsigned)(argc - optind), mixes, (unsigned)rounds, sets);
	if (ok && sets != NULL) {
		json_object_set_new(out, "sets", sets);
		json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
		printf("\n");
	}
	json_decref(out);
	return ok ? 0 : 1;
}
