/* vigil-bench-index - what does a locator cost in memory, and how fast is one shard at looking up, adding and
   deleting, by number of locators and against Judy alone?

     vigil-bench-index [--large] [--only N] [--churn ROUNDS] [--json]

   1 M and 10 M locators, with --large 100 M; --only N takes that number instead.  Locators are made from a counter,
   so the index is all the memory there is to see.  Bytes a locator come from the resident set and from the index's
   own account, right after the adds; rested after index_maintain has had
   its way, as when the owner is idle, and so are the lookups.  Misses and hits go in bursts of 64 over four million locators, the median of five passes.
   judy_only is the same index asked without its filter, plain_judy one JudyL array of the same pairs; both ratios are
   taken in the same run.  Longest add is the longest wait for a single call, and stolen time is in it; longest_64 is the
   thread's processor time for 64 of them in a row.  With --churn that many rounds delete a tenth of the locators and
   add as many others, and then nine tenths are deleted.  Every answer is checked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <Judy.h>

#include "index/index.h"

#define SEED      0x5eed0f7e57ull
#define PROBE_CNT (4u << 20)
#define PASS_CNT  5u
#define ABSENT    (1ull << 62) /* counters from here on are never added */

/* One Judy walk at a time is slow: fewer of them. */
enum { PLAIN_PROBE_CNT = PROBE_CNT / 8 };

struct row {
	uint64_t cnt;
	double rss, own, own_filter;
	double add_s, longest_ns, longest_64_ns, longest_rest_ns, rested, del_s;
	uint64_t over_ms;
	double miss_s, hit_s, judy_s, plain_s, plain_bytes;
};

static struct locator *probe;

static double clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static double rss_bytes(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f == NULL || fscanf(f, "%*s %ld", &pages) != 1)
		pages = 0;
	if (f != NULL)
		fclose(f);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "vigil-bench-index: wrong result: %s\n", what);
	exit(1);
}

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static struct locator locator_no(uint64_t i)
{
	uint64_t half[2] = {mix(i), mix(~i)};
	struct locator l;

	memcpy(l.b, half, LOCATOR_SZ);
	return l;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Probes are of counters from `from` on, drawn at random from span of them. */
static void probes_make(uint64_t from, uint64_t span)
{
	for (uint64_t i = 0; i < PROBE_CNT; i++)
		probe[i] = locator_no(from + mix(i) % span);
}

enum way { BY_BURST, BY_JUDY };

static double lookups_s(const struct index_shard *s, enum way way, uint64_t want)
{
	double v[PASS_CNT];
	/* Judy alone is slow enough for a part of the probes to tell. */
	uint64_t cnt = way == BY_BURST ? PROBE_CNT : PLAIN_PROBE_CNT;

	for (unsigned pass = 0; pass < PASS_CNT; pass++) {
		uint64_t found = 0;
		double t = now_ns();

		for (uint64_t i = 0; way == BY_BURST && i < cnt; i += INDEX_BURST_MAX)
			found += (uint64_t)__builtin_popcountll(
				index_lookup_burst(s, probe + i, INDEX_BURST_MAX));
		for (uint64_t i = 0; way == BY_JUDY && i < cnt; i++)
			found += index_has(s, probe + i);
		v[pass] = (double)cnt * 1e9 / (now_ns() - t);
		check(found == want * cnt / PROBE_CNT, "lookups");
	}
	qsort(v, PASS_CNT, sizeof(*v), by_value);
	return v[PASS_CNT / 2];
}

static void fill(struct index_shard *s, struct row *r)
{
	double start = now_ns(), last = start, cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID), now;

	for (uint64_t i = 0; i < r->cnt; i++) {
		struct locator l = locator_no(i);

		check(index_add(s, &l) == 0, "add");
		now = now_ns();
		r->longest_ns = now - last > r->longest_ns ? now - last : r->longest_ns;
		r->over_ms += now - last > 1e6;
		last = now;
		if (i % 64 == 63) {
			now = clock_ns(CLOCK_THREAD_CPUTIME_ID);
			r->longest_64_ns = now - cpu > r->longest_64_ns ? now - cpu : r->longest_64_ns;
			cpu = now;
			last = now_ns();
		}
	}
	r->add_s = (double)r->cnt * 1e9 / (now_ns() - start);
	check(index_cnt(s) == r->cnt, "count");
}

/* What an idle owner would do. */
static void rest(struct index_shard *s, struct row *r)
{
	double cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID), now;
	bool more;

	do {
		more = index_maintain(s);
		now = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		r->longest_rest_ns = now - cpu > r->longest_rest_ns ? now - cpu : r->longest_rest_ns;
		cpu = now;
	} while (more);
}

static double del_range_s(struct index_shard *s, uint64_t from, uint64_t to)
{
	double start = now_ns();

	for (uint64_t i = from; i < to; i++) {
		struct locator l = locator_no(i);

		check(index_del(s, &l) == 0, "delete");
	}
	return (double)(to - from) * 1e9 / (now_ns() - start);
}

static void memory(const struct index_shard *s, double base, struct row *r)
{
	struct index_stats st;
	double cnt = (double)index_cnt(s);

	index_stats_get(s, &st);
	r->rss = (rss_bytes() - base) / cnt;
	r->own = (double)(st.judy_bytes + st.filter_bytes) / cnt;
	r->own_filter = (double)st.filter_bytes / cnt;
}

/* One JudyL of the same locators: first half to second half. */
static void plain(struct row *r)
{
	void *judy = NULL;
	double v[PASS_CNT];
	uint64_t half[2];

	for (uint64_t i = 0; i < r->cnt; i++) {
		struct locator l = locator_no(i);
		Word_t *slot;

		memcpy(half, l.b, LOCATOR_SZ);
		slot = (Word_t *)JudyLIns(&judy, half[0], PJE0);
		check(slot != NULL && slot != (Word_t *)PJERR, "plain add");
		*slot = half[1];
	}
	r->plain_bytes = (double)JudyLMemUsed(judy) / (double)r->cnt;
	probes_make(ABSENT, ABSENT);
	for (unsigned pass = 0; pass < PASS_CNT; pass++) {
		uint64_t found = 0;
		double t = now_ns();

		for (uint64_t i = 0; i < PLAIN_PROBE_CNT; i++) {
			const Word_t *slot;

			memcpy(half, probe[i].b, LOCATOR_SZ);
			slot = (const Word_t *)JudyLGet(judy, half[0], PJE0);
			found += slot != NULL && *slot == half[1];
		}
		v[pass] = PLAIN_PROBE_CNT * 1e9 / (now_ns() - t);
		check(found == 0, "plain lookups");
	}
	qsort(v, PASS_CNT, sizeof(*v), by_value);
	r->plain_s = v[PASS_CNT / 2];
	JudyLFreeArray(&judy, PJE0);
}

/* The locators are always the counters of one window, which moves on: each round deletes its oldest tenth. */
static void churn(struct index_shard *s, double base, uint64_t cnt, unsigned rounds)
{
	uint64_t from = 0, step = cnt / 10;
	struct row r = {.cnt = cnt};
	struct index_stats st;

	for (unsigned i = 1; i <= rounds; i++) {
		double del_s = del_range_s(s, from, from + step), start = now_ns();

		for (uint64_t k = from + cnt; k < from + cnt + step; k++) {
			struct locator l = locator_no(k);

			check(index_add(s, &l) == 0, "add");
		}
		from += step;
		memory(s, base, &r);
		if (i == 1 || i % 5 == 0 || i == rounds)
			printf("# churn round %u: %.1f bytes a locator resident, %.1f own account, "
			       "%.2f M deletes/s, "
			       "%.2f M adds/s\n",
			       i, r.rss, r.own, del_s / 1e6, (double)step * 1e3 / (now_ns() - start));
	}
	check(index_cnt(s) == cnt, "count after churn");
	probes_make(ABSENT, ABSENT);
	printf("# misses after churn: %.1f M/s\n", lookups_s(s, BY_BURST, 0) / 1e6);
	del_range_s(s, from, from + cnt / 10 * 9);
	memory(s, base, &r);
	index_stats_get(s, &st);
	printf("# shrunk to a tenth: %.1f bytes a locator resident, %.1f own account, %" PRIu64 " keys moved, "
	       "%" PRIu64 " renewals in all\n",
	       r.rss, r.own, st.moved_keys, st.renewals);
	probes_make(from + cnt / 10 * 9, cnt - cnt / 10 * 9);
	check(lookups_s(s, BY_BURST, PROBE_CNT) > 0, "hits after churn");
}

static struct row measure(uint64_t cnt, unsigned rounds)
{
	struct row r = {.cnt = cnt};
	double base = rss_bytes();
	struct index_shard *s = index_new(0, 1, SEED);

	check(s != NULL, "memory");
	fill(s, &r);
	memory(s, base, &r);
	rest(s, &r);
	r.rested = (rss_bytes() - base) / (double)cnt;
	probes_make(ABSENT, ABSENT);
	r.miss_s = lookups_s(s, BY_BURST, 0);
	r.judy_s = lookups_s(s, BY_JUDY, 0);
	probes_make(0, cnt);
	r.hit_s = lookups_s(s, BY_BURST, PROBE_CNT);
	if (rounds > 0)
		churn(s, base, cnt, rounds);
	else
		r.del_s = del_range_s(s, 0, cnt / 2);
	index_free(s);
	plain(&r);
	return r;
}

static void print_text(const struct row *r)
{
	printf("%11" PRIu64 " %6.1f %6.1f %6.1f %6.1f %7.2f %7.2f %8.2f %8.2f %8.2f %8.2f %6.1f %6.1f "
	       "%9.0f %9.0f %7.0f %3" PRIu64 "\n",
	       r->cnt, r->rss, r->own, r->own_filter, r->rested, r->add_s / 1e6, r->del_s / 1e6,
	       r->miss_s / 1e6, r->hit_s / 1e6, r->judy_s / 1e6, r->plain_s / 1e6, r->miss_s / r->judy_s,
	       r->miss_s / r->plain_s, r->longest_ns / 1e3, r->longest_64_ns / 1e3, r->longest_rest_ns / 1e3,
	       r->over_ms);
	fflush(stdout);
}

static void print_json(const struct row *r, bool first)
{
	printf("%s{\"locators\":%" PRIu64 ",\"bytes_per_locator\":%.2f,\"own_bytes_per_locator\":%."
	       "2f,\"rested_bytes_per_locator\":%.2f,"
	       "\"miss_s\":%.0f,\"hit_s\":%.0f,\"add_s\":%.0f,\"delete_s\":%.0f,\"judy_only_miss_"
	       "s\":%.0f,"
	       "\"vs_judy\":%.2f,\"plain_judy_miss_s\":%.0f,\"vs_plain_judy\":%.2f,\"longest_add_"
	       "us\":%.1f,"
	       "\"longest_64_adds_cpu_us\":%.1f}",
	       first ? "" : ",", r->cnt, r->rss, r->own, r->rested, r->miss_s, r->hit_s, r->add_s, r->del_s,
	       r->judy_s, r->miss_s / r->judy_s, r->plain_s, r->miss_s / r->plain_s, r->longest_ns / 1e3,
	       r->longest_64_ns / 1e3);
}

static const char *cpu_name(char *buf, int sz)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(buf, (size_t)sz, "unknown");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		char *v = strchr(line, ':');

		if (strncmp(line, "model name", 10) == 0 && v != NULL) {
			v[strcspn(v, "\n")] = '\0';
			snprintf(buf, (size_t)sz, "%s", v + 2);
			break;
		}
	}
	if (f != NULL)
		fclose(f);
	return buf;
}

int main(int argc, char **argv)
{
	uint64_t size[3] = {1000000, 10000000, 100000000};
	unsigned size_cnt = 2, rounds = 0;
	bool json = false;
	char cpu[128];

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--large") == 0)
			size_cnt = 3;
		else if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--churn") == 0 && i + 1 < argc)
			rounds = (unsigned)strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			size[0] = strtoull(argv[++i], NULL, 10), size_cnt = 1;
		else
			size_cnt = 0;
	}
	if (size_cnt == 0 || size[0] < 1000 || (json && rounds > 0)) {
		fprintf(stderr, "usage: vigil-bench-index [--large] [--only N] [--churn ROUNDS | "
				"--json]\n");
		return 2;
	}
	probe = mmap(NULL, PROBE_CNT * sizeof(*probe), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	check(probe != MAP_FAILED, "memory");
	if (json)
		printf("[");
	else
		printf("# bench/index cpu=%s lcores=1 burst=%u probes=%u passes=%u unit=M/s\n"
		       "# locators     rss    own filter rested     add  delete     miss      hit  "
		       "judyonly    plain vs_judy "
		       "vs_plain longest_us longest64_us rest_us >1ms\n",
		       cpu_name(cpu, sizeof(cpu)), INDEX_BURST_MAX, PROBE_CNT, PASS_CNT);
	for (unsigned i = 0; i < size_cnt; i++) {
		struct row r = measure(size[i], rounds);

		if (json)
			print_json(&r, i == 0);
		else
			print_text(&r);
	}
	if (json)
		printf("]\n");
	return 0;
}
