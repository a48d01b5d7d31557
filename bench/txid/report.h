/* report.h - what was measured of one set, as lines for people or as JSON.

   Threads None. */
#ifndef VIGIL_BENCH_TXID_REPORT_H
#define VIGIL_BENCH_TXID_REPORT_H

#include "measure/measure.h"
#include "txid/sets.h"

/* Of a library or a kernel.  Ratios are to the best library on this set, and to the same one on the raw set. */
struct figures {
	const char *name;
	bool is_library;
	struct spread gb_s, raw_gb_s, vs_library, vs_raw, merkle_us, merkle_vs_library;
};

/* lib and pair_lib are the best libraries, for transactions and for pairs. */
void report_text(const struct set *set, const struct figures *f, unsigned cnt, const struct figures *lib,
		 const struct figures *pair_lib);

/* The same as an object, a new reference, or NULL without memory:
   {name, transactions, stripped_bytes, kernels: [{txid: {kernel, gb_s, library, ...}, merkle: {...}}]};
   beside each median x stands x_spread: [least, most]. */
json_t *report_json(const struct set *set, const struct figures *f, unsigned cnt, const struct figures *lib,
		    const struct figures *pair_lib);

#endif
