/* vigil-bench-txid - how fast are the txid kernels here, next to the best library and next to themselves on data
   that is always in the first-level cache?

     vigil-bench-txid [--rounds N] [--kernel NAME] [BLOCKFILE ...]

   Without files it hashes mixes made up here.  In every round each kernel and each library hashes the whole set
   again and again for SAMPLE_NS, and the best time counts: a repetition that was interrupted says nothing.  Ratios are
   taken within a round, because the speed of a shared machine drifts, and the median of them is printed.  gb_s counts bytes of stripped transactions; for vs_raw both sides count the bytes
   that SHA-256 sees, padding and second hash included.  Every hash is compared with the first library's. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "txid/library.h"
#include "txid/sets.h"
#include "txid/txid.h"

#define SAMPLE_NS   4000000.0
#define ROUNDS_MAX  1000u
#define SUBJECT_MAX 16u
#define RAW_TX_CNT  16u
#define RAW_TX_SZ   16384u

typedef void hash_fn(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt);
typedef void pairs_fn(struct hash256 *out, const struct hash256 *in, size_t pair_cnt);

struct subject {
	struct txid_kernel k;
	bool is_library;
	double *hash_ns, *raw_ns, *root_ns; /* by round */
};

static struct subject subjects[SUBJECT_MAX];
static unsigned subject_cnt;
static struct hash256 txid[BLOCK_TX_MAX + 1], want[BLOCK_TX_MAX + 1], scratch[BLOCK_TX_MAX + 1];

/* Of this thread: what others run meanwhile on the same core is not counted. */
static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The best of the repetitions that fit into a sample: one that was interrupted says nothing. */
static double hash_best_ns(const struct subject *s, const struct set *set)
{
	double start = now_ns(), last = start, best = 1e300, now;

	do {
		s->k.hash(set->bytes, set->tx, txid, set->cnt);
		now = now_ns();
		best = now - last < best ? now - last : best;
		last = now;
	} while (last - start < SAMPLE_NS);
	return best;
}

static double root_best_ns(const struct subject *s, size_t cnt)
{
	double start = now_ns(), last = start, best = 1e300, now;
	bool mutated;

	do {
		merkle_root(&s->k, want, cnt, scratch, &mutated);
		now = now_ns();
		best = now - last < best ? now - last : best;
		last = now;
	} while (last - start < SAMPLE_NS);
	return best;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread {
	double min, median, max;
};

static struct spread spread_of(const double *v, unsigned cnt)
{
	double sorted[ROUNDS_MAX];

	memcpy(sorted, v, cnt * sizeof(*v));
	qsort(sorted, cnt, sizeof(*sorted), by_value);
	return (struct spread){sorted[0], sorted[cnt / 2], sorted[cnt - 1]};
}

/* Median of scale * a / b within rounds. */
static double ratio_of(const double *a, const double *b, unsigned cnt, double scale)
{
	double r[ROUNDS_MAX];

	for (unsigned i = 0; i < cnt; i++)
		r[i] = scale * a[i] / b[i];
	return spread_of(r, cnt).median;
}

/* All agree, or the figures are worth nothing. */
static bool results_agree(const struct set *set)
{
	struct hash256 root, want_root = {{0}};
	bool mutated;

	subjects[0].k.hash(set->bytes, set->tx, want, set->cnt);
	for (unsigned i = 0; i < subject_cnt; i++) {
		subjects[i].k.hash(set->bytes, set->tx, txid, set->cnt);
		root = merkle_root(&subjects[i].k, want, set->cnt, scratch, &mutated);
		if (i == 0)
			want_root = root;
		if (memcmp(txid, want, set->cnt * HASH_SZ) != 0 || !hash256_eq(&root, &want_root)) {
			fprintf(stderr, "%s: wrong hashes on %s\n", subjects[i].k.name, set->name);
			return false;
		}
	}
	return true;
}

static void print_set(const struct set *set, const struct set *raw, unsigned rounds)
{
	const struct subject *lib = &subjects[0], *root_lib = &subjects[0];

	for (unsigned i = 1; i < subject_cnt && subjects[i].is_library; i++) {
		if (spread_of(subjects[i].hash_ns, rounds).median <
		    spread_of(lib->hash_ns, rounds).median)
			lib = &subjects[i];
		if (spread_of(subjects[i].root_ns, rounds).median <
		    spread_of(root_lib->root_ns, rounds).median)
			root_lib = &subjects[i];
	}
	printf("%s: %zu transactions, %zu bytes stripped; best library %s, for pairs %s\n",
	       set->name, set->cnt, set->stripped_sz, lib->k.name, root_lib->k.name);
	for (unsigned i = 0; i < subject_cnt; i++) {
		const struct subject *s = &subjects[i];
		struct spread h = spread_of(s->hash_ns, rounds), m = spread_of(s->root_ns, rounds);
		double sz = (double)set->stripped_sz;

		printf("  %-13s gb_s %5.2f [%5.2f %5.2f]  raw_gb_s %5.2f  vs_library %5.2f  vs_raw "
		       "%4.2f"
		       "  merkle_us %7.1f [%7.1f %7.1f]  vs_library %5.2f\n",
		       s->k.name, sz / h.median, sz / h.max, sz / h.min,
		       (double)raw->padded_sz / spread_of(s->raw_ns, rounds).median,
		       ratio_of(lib->hash_ns, s->hash_ns, rounds, 1),
		       ratio_of(s->raw_ns, s->hash_ns, rounds,
				(double)set->padded_sz / (double)raw->padded_sz),
		       m.median / 1e3, m.min / 1e3, m.max / 1e3,
		       ratio_of(root_lib->root_ns, s->root_ns, rounds, 1));
	}
}

/* Frees the set. */
static bool bench_set(struct set *set, const struct set *raw, unsigned rounds)
{
	if (!results_agree(set))
		return false;
	for (unsigned r = 0; r < rounds; r++) {
		for (unsigned i = 0; i < subject_cnt; i++) {
			subjects[i].hash_ns[r] = hash_best_ns(&subjects[i], set);
			subjects[i].raw_ns[r] = hash_best_ns(&subjects[i], raw);
			subjects[i].root_ns[r] = root_best_ns(&subjects[i], set->cnt);
		}
	}
	print_set(set, raw, rounds);
	set_free(set);
	return true;
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
			printf("# kernel %s: not on this CPU\n", k[i]->name);
		else
			ok = subject_add(*k[i], false, rounds);
	}
	return ok;
}

static void print_conditions(unsigned rounds)
{
	char line[256], cpu[128] = "unknown";
	const char *why = "";
	const struct txid_kernel *best = txid_select(cpu_features(), NULL, &why);
	FILE *f = fopen("/proc/cpuinfo", "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "model name : %127[^\n]", cpu) == 1)
			break;
	if (f != NULL)
		fclose(f);
	printf("# bench/txid cpu=\"%s\" features=0x%x selected=%s lcores=1 rounds=%u "
	       "sample=%.0fms\n"
	       "# gb_s and merkle_us: median [worst best]; ratios: median of those within a "
	       "round\n",
	       cpu, cpu_features(), best != NULL ? best->name : why, rounds, SAMPLE_NS / 1e6);
}

int main(int argc, char **argv)
{
	const char *kernel = NULL;
	unsigned rounds = 11;
	struct set set, raw;
	bool ok = true;
	int i = 1;

	for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
		if (strcmp(argv[i], "--rounds") == 0)
			rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--kernel") == 0)
			kernel = argv[i + 1];
		else
			break;
	}
	if ((i < argc && argv[i][0] == '-') || rounds == 0 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: %s [--rounds 1..%u] [--kernel NAME] [BLOCKFILE ...]\n",
			argv[0], ROUNDS_MAX);
		return 2;
	}
	print_conditions(rounds);
	if (!subjects_init(kernel, rounds) || !set_of_raw(&raw, RAW_TX_CNT, RAW_TX_SZ)) {
		fprintf(stderr, "%s: cannot set up\n", argv[0]);
		return 1;
	}
	if (i == argc) {
		for (unsigned mix = 0; ok && set_of_mix(&set, mix); mix++)
			ok = bench_set(&set, &raw, rounds);
	}
	for (; ok && i < argc; i++) {
		ok = set_of_file(&set, argv[i]);
		if (!ok)
			fprintf(stderr, "%s: not a block\n", argv[i]);
		ok = ok && bench_set(&set, &raw, rounds);
	}
	set_free(&raw);
	return ok ? 0 : 1;
}
