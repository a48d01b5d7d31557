#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <Judy.h>

#include "index/index.h"
#include "measure/locators.h"

#define SEED    0x5eed0f7e57ull
#define ABSENT  (1ull << 62) /* counters from here on are never added */
#define GROUP   64u
#define BIN_CNT 1024u

/* One Judy walk at a time is slow: fewer of them. */
enum { JUDY_PROBE_CNT = PROBE_CNT / 8 };

static struct locator *probe;
static double cpu_begun, wall_begun;

static double clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double wall_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static double cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
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

static long switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return u.ru_nivcsw + u.ru_nvcsw;
}

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "vigil-bench-index: wrong result: %s\n", what);
	exit(1);
}

void measure_init(void)
{
	probe = mmap(NULL, PROBE_CNT * sizeof(*probe), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	check(probe != MAP_FAILED, "memory");
}

/* --- figures ---------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct figure figure(const double v[PASS_CNT])
{
	double w[PASS_CNT];

	memcpy(w, v, sizeof(w));
	qsort(w, PASS_CNT, sizeof(*w), by_value);
	return (struct figure){w[PASS_CNT / 2], w[0], w[PASS_CNT - 1]};
}

static struct figure ratio(const double a[PASS_CNT], const double b[PASS_CNT])
{
	double v[PASS_CNT];

	for (unsigned i = 0; i < PASS_CNT; i++)
		v[i] = a[i] / b[i];
	return figure(v);
}

/* --- lookups ---------------------------------------------------------------------------------------------- */

/* Probes are of counters from `from` on, drawn at random from span of them. */
static void probes_make(uint64_t from, uint64_t span)
{
	for (uint64_t i = 0; i < PROBE_CNT; i++)
		probe[i] = locator_no(from + mix(i) % span);
}

static double bursts_s(const struct index_shard *s, uint64_t want)
{
	uint64_t found = 0;
	double t = cpu_ns();

	for (uint64_t i = 0; i < PROBE_CNT; i += INDEX_BURST_MAX)
		found += (uint64_t)__builtin_popcountll(index_lookup_burst(s, probe + i, INDEX_BURST_MAX));
	t = cpu_ns() - t;
	check(found == want, "lookups");
	return PROBE_CNT * 1e9 / t;
}

static double judy_only_s(const struct index_shard *s)
{
	uint64_t found = 0;
	double t = cpu_ns();

	for (uint64_t i = 0; i < JUDY_PROBE_CNT; i++)
		found += index_has(s, probe + i);
	t = cpu_ns() - t;
	check(found == 0, "lookups in Judy alone");
	return JUDY_PROBE_CNT * 1e9 / t;
}

static double plain_s(const void *judy)
{
	uint64_t found = 0, half[2];
	double t = cpu_ns();

	for (uint64_t i = 0; i < JUDY_PROBE_CNT; i++) {
		const Word_t *slot;

		memcpy(half, probe[i].b, LOCATOR_SZ);
		slot = (const Word_t *)JudyLGet(judy, half[0], PJE0);
		found += slot != NULL && *slot == half[1];
	}
	t = cpu_ns() - t;
	check(found == 0, "plain lookups");
	return JUDY_PROBE_CNT * 1e9 / t;
}

/* Passes take turns, so that the machine's moods are in both sides of a ratio. */
static void lookups(const struct index_shard *s, const void *plain, struct row *r)
{
	double miss[PASS_CNT], judy[PASS_CNT], one[PASS_CNT], hit[PASS_CNT];

	probes_make(ABSENT, ABSENT);
	for (unsigned i = 0; i < PASS_CNT; i++) {
		miss[i] = bursts_s(s, 0);
		judy[i] = judy_only_s(s);
		one[i] = plain_s(plain);
	}
	probes_make(0, r->cnt);
	for (unsigned i = 0; i < PASS_CNT; i++)
		hit[i] = bursts_s(s, PROBE_CNT);
	r->miss = figure(miss);
	r->judy = figure(judy);
	r->plain = figure(one);
	r->hit = figure(hit);
	r->vs_judy = ratio(miss, judy);
	r->vs_plain = ratio(miss, one);
}

/* --- adds ------------------------------------------------------------------------------------------------- */

/* Bins of the wall-clock time of an add: 64 to each doubling, from 64 ns on. */
static unsigned bin_of(double ns)
{
	uint64_t v = ns < 64 ? 64 : (uint64_t)ns;
	unsigned e = 63 - (unsigned)__builtin_clzll(v), bin = (e - 6) * 64 + (unsigned)(v >> (e - 6) & 63);

	return bin < BIN_CNT ? bin : BIN_CNT - 1;
}

static double bin_top(unsigned bin)
{
	return (double)((uint64_t)(64 + bin % 64 + 1) << bin / 64);
}

static double quantile(const uint64_t *bin, uint64_t cnt, double q)
{
	double left = (double)cnt * q;
	unsigned i = 0;

	for (; i < BIN_CNT - 1 && left >= (double)bin[i]; i++)
		left -= (double)bin[i];
	return bin_top(i);
}

struct group {
	double cpu, longest, took[GROUP];
	long switches;
};

static void group_begin(struct group *g)
{
	g->longest = 0;
	g->switches = switches();
	g->cpu = cpu_ns();
}

static void group_end(struct group *g, struct adds *a, uint64_t *bin)
{
	double cpu = cpu_ns() - g->cpu, own = cpu < g->longest ? cpu : g->longest;

	a->longest_ns = g->longest > a->longest_ns ? g->longest : a->longest_ns;
	if (switches() != g->switches) {
		a->switched++;
		return;
	}
	a->group_cpu_ns = cpu > a->group_cpu_ns ? cpu : a->group_cpu_ns;
	a->own_longest_ns = own > a->own_longest_ns ? own : a->own_longest_ns;
	a->own_over_ms += own > 1e6;
	a->own_cnt += GROUP;
	for (unsigned i = 0; i < GROUP; i++)
		bin[bin_of(g->took[i])]++;
}

static void fill(struct index_shard *s, struct row *r)
{
	uint64_t bin[BIN_CNT] = {0}, moved = 0, tenth = r->cnt / 10;
	double start = cpu_ns(), part = start;
	struct adds *a = &r->add;
	struct group g = {.cpu = 0};

	for (uint64_t i = 0; i < r->cnt; i++) {
		struct locator l = locator_no(i);
		struct index_stats st;
		double t;

		if (i % GROUP == 0)
			group_begin(&g);
		t = wall_ns();
		check(index_add(s, &l) == 0, "add");
		t = wall_ns() - t;
		g.took[i % GROUP] = t;
		g.longest = t > g.longest ? t : g.longest;
		index_stats_get(s, &st);
		a->moved_max = st.moved_keys - moved > a->moved_max ? st.moved_keys - moved : a->moved_max;
		moved = st.moved_keys;
		if (i % GROUP == GROUP - 1)
			group_end(&g, a, bin);
		if (i % tenth == tenth - 1) {
			double v = (double)tenth * 1e9 / (cpu_ns() - part);

			a->low_s = a->low_s == 0 || v < a->low_s ? v : a->low_s;
			a->high_s = v > a->high_s ? v : a->high_s;
			part = cpu_ns();
		}
	}
	a->per_s = (double)r->cnt * 1e9 / (cpu_ns() - start);
	a->p50_ns = quantile(bin, a->own_cnt, 0.5);
	a->p9999_ns = quantile(bin, a->own_cnt, 0.9999);
	check(index_cnt(s) == r->cnt, "count");
}

static void rest(struct index_shard *s, struct row *r)
{
	double cpu = cpu_ns(), now;
	bool more;

	do {
		more = index_maintain(s);
		now = cpu_ns();
		r->rest_longest_ns = now - cpu > r->rest_longest_ns ? now - cpu : r->rest_longest_ns;
		cpu = now;
	} while (more);
}

static double own_bytes(const struct index_shard *s)
{
	struct index_stats st;

	index_stats_get(s, &st);
	return (double)(st.judy_bytes + st.filter_bytes);
}

/* --- churn ------------------------------------------------------------------------------------------------ */

static double del_range_s(struct index_shard *s, uint64_t from, uint64_t to)
{
	double start = cpu_ns();

	for (uint64_t i = from; i < to; i++) {
		struct locator l = locator_no(i);

		check(index_del(s, &l) == 0, "delete");
	}
	return (double)(to - from) * 1e9 / (cpu_ns() - start);
}

static double add_range_s(struct index_shard *s, uint64_t from, uint64_t to)
{
	double start = cpu_ns();

	for (uint64_t i = from; i < to; i++) {
		struct locator l = locator_no(i);

		check(index_add(s, &l) == 0, "add");
	}
	return (double)(to - from) * 1e9 / (cpu_ns() - start);
}

/* The locators are always the counters of one window, which moves on: each round deletes its oldest tenth. */
static void churn(struct index_shard *s, double base, struct row *r)
{
	struct churn *c = &r->churn;
	uint64_t from = 0, step = r->cnt / 10, left;
	double miss[PASS_CNT];

	for (unsigned i = 0; i < c->rounds; i++) {
		c->del_s = del_range_s(s, from, from + step);
		c->add_s = add_range_s(s, from + r->cnt, from + r->cnt + step);
		from += step;
		c->rss = (rss_bytes() - base) / (double)r->cnt;
		c->own = own_bytes(s) / (double)r->cnt;
		c->rss_max = c->rss > c->rss_max ? c->rss : c->rss_max;
	}
	check(index_cnt(s) == r->cnt, "count after churn");
	probes_make(ABSENT, ABSENT);
	for (unsigned i = 0; i < PASS_CNT; i++)
		miss[i] = bursts_s(s, 0);
	c->miss = figure(miss);
	c->full_mb = (rss_bytes() - base) / 1e6;
	left = r->cnt - r->cnt / 10 * 9;
	del_range_s(s, from, from + r->cnt - left);
	c->shrunk_mb = (rss_bytes() - base) / 1e6;
	c->shrunk_rss = c->shrunk_mb * 1e6 / (double)left;
	c->shrunk_own = own_bytes(s) / (double)left;
	probes_make(from + r->cnt - left, left);
	bursts_s(s, PROBE_CNT);
}

/* --- the whole -------------------------------------------------------------------------------------------- */

/* One JudyL of the same locators: first half to second half. */
static void *plain_fill(struct row *r)
{
	void *judy = NULL;

	for (uint64_t i = 0; i < r->cnt; i++) {
		struct locator l = locator_no(i);
		uint64_t half[2];
		Word_t *slot;

		memcpy(half, l.b, LOCATOR_SZ);
		slot = (Word_t *)JudyLIns(&judy, half[0], PJE0);
		check(slot != NULL && slot != (Word_t *)PJERR, "plain add");
		*slot = half[1];
	}
	r->plain_bytes = (double)JudyLMemUsed(judy) / (double)r->cnt;
	return judy;
}

struct row measure(uint64_t cnt, unsigned rounds)
{
	struct row r = {.cnt = cnt, .churn.rounds = rounds};
	double base = rss_bytes(), filter;
	struct index_stats st;
	struct index_shard *s = index_new(0, 1, SEED);
	void *judy;

	check(s != NULL, "memory");
	cpu_begun = cpu_ns();
	wall_begun = wall_ns();
	fill(s, &r);
	r.rss = (rss_bytes() - base) / (double)cnt;
	r.own = own_bytes(s) / (double)cnt;
	index_stats_get(s, &st);
	filter = (double)st.filter_bytes;
	r.own_filter = filter / (double)cnt;
	rest(s, &r);
	r.rested = (rss_bytes() - base) / (double)cnt;
	judy = plain_fill(&r);
	lookups(s, judy, &r);
	JudyLFreeArray(&judy, PJE0);
	/* What the plain array leaves in the heap is not the shard's. */
	base = rss_bytes() - r.rested * (double)cnt;
	if (rounds > 0)
		churn(s, base, &r);
	else
		r.del_s = del_range_s(s, 0, cnt / 2);
	if (rounds > 0)
		r.del_s = r.churn.del_s;
	index_free(s);
	r.share = (cpu_ns() - cpu_begun) / (wall_ns() - wall_begun);
	return r;
}

struct load measure_load(uint64_t cnt, bool told)
{
	double base = rss_bytes(), cpu = cpu_ns(), wall = wall_ns();
	struct index_shard *s = index_new(0, 1, SEED);
	double miss[PASS_CNT];
	struct load out;

	check(s != NULL, "memory");
	if (told)
		index_load_expect(s, cnt);
	for (uint64_t i = 0; i < cnt; i++) {
		struct locator l = locator_no(i);

		check(index_load(s, &l) == 0, "load");
	}
	check(index_load_end(s) == 0, "load");
	out = (struct load){.seconds = (wall_ns() - wall) / 1e9,
			    .cpu_seconds = (cpu_ns() - cpu) / 1e9,
			    .rss = (rss_bytes() - base) / (double)cnt,
			    .own = own_bytes(s) / (double)cnt};
	check(index_cnt(s) == cnt, "count after the load");
	probes_make(0, cnt);
	bursts_s(s, PROBE_CNT);
	while (index_maintain(s))
		;
	probes_make(ABSENT, ABSENT);
	for (unsigned i = 0; i < PASS_CNT; i++)
		miss[i] = bursts_s(s, 0);
	out.miss = figure(miss);
	index_free(s);
	return out;
}
