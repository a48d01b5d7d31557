/* report.h - what vigil-bench-scan measured, as lines for people or as JSON.

   Threads None. */
#ifndef VIGIL_BENCH_SCAN_REPORT_H
#define VIGIL_BENCH_SCAN_REPORT_H

#include "measure/measure.h"
#include "scan/parts.h"

#define SCALING_MAX 8u

/* What a very good implementation reaches on one core (both are ratios of the same round). */
#define BAR_VS_PARTS 0.80
#define BAR_VS_PLAIN 2.6

struct figures {
	const char *kernel, *library, *source;
	unsigned rounds;
	uint64_t locators;
	struct spread raw_gb_s, tx_s, us_per_block;
	struct spread parts_gb_s, vs_parts, vs_all_parts;
	struct spread part_us[PART_CNT], plain_us[PART_CNT]; /* a block */
	struct spread plain_gb_s, vs_plain;
	unsigned scaling_cnt;
	struct {
		unsigned lcores;
		struct spread raw_gb_s, vs_one;
	} scaling[SCALING_MAX];
};

void report_text(const struct figures *f, const struct set *set);
/* {cpu, ..., scan: {...}, scaling: [...]}: beside each median x stands x_spread: [least, most]. */
json_t *report_json(const struct figures *f, const struct set *set);

#endif
