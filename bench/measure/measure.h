/* measure.h - what the benchmarks share: clocks, medians with their spread, and how both are written as JSON.

   Figures  A machine that is shared has fast and slow minutes, so alternatives are measured in rounds, one after
            the other in each; a sample is the best of its repetitions, ratios are of samples of the same round,
            and what is reported is the median over the rounds with the least and the most beside it.
   Threads  Pure functions, any thread.
   Memory   Nothing is kept. */
#ifndef VIGIL_BENCH_MEASURE_MEASURE_H
#define VIGIL_BENCH_MEASURE_MEASURE_H

#include <jansson.h>

#define MEASURE_ROUNDS_MAX 1000u

struct spread {
	double min, median, max;
};

/* Processor time of this thread: what others run meanwhile on the same core is not counted. */
double measure_cpu_ns(void);
double measure_wall_ns(void);

/* Of v[0..cnt), 1 <= cnt <= MEASURE_ROUNDS_MAX.  Of an even number the median is the upper one of the middle. */
struct spread spread_of(const double *v, unsigned cnt);
/* Of scale * a[i] / b[i]; b NULL stands for ones. */
struct spread spread_ratio(const double *a, const double *b, unsigned cnt, double scale);
/* Of amount / v[i]: bytes over nanoseconds are GB/s. */
struct spread spread_rate(double amount, const double *v, unsigned cnt);

/* key: the median, and key_spread: [least, most]. */
void spread_put(json_t *o, const char *key, struct spread v);

/* As the kernel names it, or "unknown". */
void measure_cpu_name(char *out, size_t sz);

#endif
