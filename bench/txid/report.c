#include "txid/report.h"

#include <stdio.h>

void report_text(const struct set *set, const struct figures *f, unsigned cnt, const struct figures *lib,
		 const struct figures *pair_lib)
{
	printf("%s: %zu transactions, %zu bytes stripped; best library %s, for pairs %s\n", set->name, set->cnt,
	       set->stripped_sz, lib->name, pair_lib->name);
	for (unsigned i = 0; i < cnt; i++)
		printf("  %-13s gb_s %5.2f [%5.2f %5.2f]  raw_gb_s %5.2f  vs_library %5.2f  vs_raw "
		       "%4.2f"
		       "  merkle_us %7.1f [%7.1f %7.1f]  vs_library %5.2f\n",
		       f[i].name, f[i].gb_s.median, f[i].gb_s.min, f[i].gb_s.max, f[i].raw_gb_s.median,
		       f[i].vs_library.median, f[i].vs_raw.median, f[i].merkle_us.median, f[i].merkle_us.min,
		       f[i].merkle_us.max, f[i].merkle_vs_library.median);
}

static json_t *kernel_json(const struct figures *f, const struct figures *lib, const struct figures *pair_lib)
{
	json_t *txid = json_pack("{s:s,s:s}", "kernel", f->name, "library", lib->name);
	json_t *merkle = json_pack("{s:s,s:s}", "kernel", f->name, "library", pair_lib->name);

	spread_put(txid, "gb_s", f->gb_s);
	spread_put(txid, "library_gb_s", lib->gb_s);
	spread_put(txid, "vs_library", f->vs_library);
	spread_put(txid, "raw_gb_s", f->raw_gb_s);
	spread_put(txid, "vs_raw", f->vs_raw);
	spread_put(merkle, "us_per_block", f->merkle_us);
	spread_put(merkle, "library_us", pair_lib->merkle_us);
	spread_put(merkle, "vs_library", f->merkle_vs_library);
	return json_pack("{s:o,s:o}", "txid", txid, "merkle", merkle);
}

json_t *report_json(const struct set *set, const struct figures *f, unsigned cnt, const struct figures *lib,
		    const struct figures *pair_lib)
{
	json_t *kernels = json_array();

	for (unsigned i = 0; i < cnt; i++)
		if (!f[i].is_library)
			json_array_append_new(kernels, kernel_json(&f[i], lib, pair_lib));
	return json_pack("{s:s,s:I,s:I,s:I,s:o}", "name", set->name, "blocks", (json_int_t)set->block_cnt,
			 "transactions", (json_int_t)set->cnt, "stripped_bytes", (json_int_t)set->stripped_sz,
			 "kernels", kernels);
}
