/* measure.h - what vigil-bench-index measures of one shard.

   Rates are by this thread's processor time, so that what else runs on the machine does not count; `share` says how much
   of the wall clock that was.  Every answer of the index is checked: a wrong one ends the program. */
#ifndef VIGIL_BENCH_INDEX_MEASURE_H
#define VIGIL_BENCH_INDEX_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#define PROBE_CNT (4u << 20)
#define PASS_CNT  5u
#define CHURN_MAX 100u

/* The median, the lowest and the highest of PASS_CNT. */
struct figure {
	double mid, low, high;
};

/* Single adds, in groups of 64.  `longest` is by the wall clock, with whatever else ran meanwhile.  All other times are of
   the groups in which the kernel did not switch threads (`switched` counts the others), and own_longest is no more than
   the processor time of its group, which leaves interrupts out.  What a hypervisor steals is in all of them; moved_max, the
   most keys that one add moved, is what bounds its work on any machine. */
struct adds {
	double per_s, low_s, high_s; /* the whole, the slowest and the fastest tenth */
	double p50_ns, p9999_ns, longest_ns;
	double own_longest_ns;
	uint64_t own_cnt, own_over_ms, switched;
	double group_cpu_ns; /* the most processor time that 64 in a row took */
	uint64_t moved_max;
};

struct churn {
	unsigned rounds;
	double rss, own; /* bytes a locator after the last round */
	double rss_max;  /* after the worst one */
	double del_s, add_s;
	struct figure miss;
	double shrunk_mb, full_mb; /* resident, with a tenth left and before */
	double shrunk_rss, shrunk_own;
};

struct row {
	uint64_t cnt;
	double rss, own, own_filter; /* bytes a locator, right after the adds */
	double rested;          /* resident, after index_maintain has had its way, as when the owner is idle */
	double rest_longest_ns; /* processor time of one index_maintain */
	struct adds add;
	struct figure miss, hit, judy, plain, vs_judy, vs_plain;
	double plain_bytes, del_s, share;
	struct churn churn;
};

/* One shard of cnt locators, with or without rounds of churn; and one JudyL of the same. */
struct row measure(uint64_t cnt, unsigned rounds);

struct load {
	double seconds, cpu_seconds, rss, own;
	struct figure miss;
};
/* The same number by index_load, told beforehand or not. */
struct load measure_load(uint64_t cnt, bool told);

void measure_init(void);

#endif
