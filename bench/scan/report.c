#include "scan/report.h"

#include <inttypes.h>
#include <stdio.h>

static void line(const char *what, struct spread v, const char *unit)
{
	printf("  %-28s %9.3f  [%.3f %.3f] %s\n", what, v.median, v.min, v.max, unit);
}

static void bar_line(const char *what, struct spread v, double bar)
{
	printf("  %-28s %9.3f  [%.3f %.3f] bar %.2f: %s\n", what, v.median, v.min, v.max, bar,
	       v.median >= bar ? "met" : "not met");
}

static void part_lines(const struct figures *f)
{
	printf("  us a block, scan's own then plain:\n");
	for (unsigned i = 0; i < PART_CNT; i++)
		printf("    %-10s %8.1f [%.1f %.1f]  %8.1f [%.1f %.1f]\n", part_name[i], f->part_us[i].median,
		       f->part_us[i].min, f->part_us[i].max, f->plain_us[i].median, f->plain_us[i].min,
		       f->plain_us[i].max);
}

void report_text(const struct figures *f, const struct set *set)
{
	char cpu[128];

	measure_cpu_name(cpu, sizeof(cpu));
	printf("# bench/scan cpu=%s kernel=%s library=%s rounds=%u: median [least most]\n", cpu, f->kernel,
	       f->library, f->rounds);
	printf("%s: %u blocks, %" PRIu64 " bytes (%" PRIu64 " stripped), %" PRIu64 " transactions, %" PRIu64
	       " hits planted and found in every pass; %" PRIu64 " locators\n",
	       f->source, set->block_cnt, set->bytes, set->stripped_bytes, set->txs, set->hits, f->locators);
	line("whole scan", f->raw_gb_s, "GB/s of raw block");
	line("", f->tx_s, "M tx/s");
	line("", f->us_per_block, "us a block");
	line("sum of its parts", f->parts_gb_s, "GB/s");
	line("plain way", f->plain_gb_s, "GB/s");
	part_lines(f);
	bar_line("whole / sum of parts", f->vs_parts, BAR_VS_PARTS);
	line("  with remembering as a part", f->vs_all_parts, "");
	bar_line("whole / plain way", f->vs_plain, BAR_VS_PLAIN);
	for (unsigned i = 0; i < f->scaling_cnt; i++)
		printf("  %2u scan lcores: %.3f [%.3f %.3f] GB/s of elapsed time, %.2f x one\n",
		       f->scaling[i].lcores, f->scaling[i].raw_gb_s.median, f->scaling[i].raw_gb_s.min,
		       f->scaling[i].raw_gb_s.max, f->scaling[i].vs_one.median);
}

static json_t *part_json(const struct spread us[PART_CNT])
{
	json_t *o = json_object();
	char key[32];

	for (unsigned i = 0; i < PART_CNT; i++) {
		snprintf(key, sizeof(key), "%s_us", part_name[i]);
		if (us[i].max > 0)
			spread_put(o, key, us[i]);
	}
	return o;
}

static json_t *scan_json(const struct figures *f, const struct set *set)
{
	json_t *o = json_pack("{s:I,s:s,s:s,s:s}", "locators", (json_int_t)f->locators, "kernel", f->kernel,
			      "library", f->library, "source", f->source);

	spread_put(o, "raw_gb_s", f->raw_gb_s);
	spread_put(o, "tx_s", (struct spread){f->tx_s.min * 1e6, f->tx_s.median * 1e6, f->tx_s.max * 1e6});
	spread_put(o, "us_per_block", f->us_per_block);
	spread_put(o, "parts_gb_s", f->parts_gb_s);
	spread_put(o, "vs_parts", f->vs_parts);
	spread_put(o, "vs_all_parts", f->vs_all_parts);
	spread_put(o, "plain_gb_s", f->plain_gb_s);
	spread_put(o, "vs_plain", f->vs_plain);
	json_object_set_new(o, "parts", part_json(f->part_us));
	json_object_set_new(o, "plain_parts", part_json(f->plain_us));
	json_object_set_new(o, "bars",
			    json_pack("{s:f,s:f}", "vs_parts", BAR_VS_PARTS, "vs_plain", BAR_VS_PLAIN));
	json_object_set_new(o, "blocks", json_integer(set->block_cnt));
	json_object_set_new(o, "bytes", json_integer((json_int_t)set->bytes));
	json_object_set_new(o, "stripped_bytes", json_integer((json_int_t)set->stripped_bytes));
	json_object_set_new(o, "transactions", json_integer((json_int_t)set->txs));
	json_object_set_new(o, "hits_planted", json_integer((json_int_t)set->hits));
	/* A pass that finds other hits ends the program. */
	json_object_set_new(o, "hits_found", json_integer((json_int_t)set->hits));
	return o;
}

json_t *report_json(const struct figures *f, const struct set *set)
{
	json_t *scaling = json_array(), *row;
	char cpu[128];

	measure_cpu_name(cpu, sizeof(cpu));
	for (unsigned i = 0; i < f->scaling_cnt; i++) {
		row = json_pack("{s:i}", "scan_lcores", (int)f->scaling[i].lcores);
		spread_put(row, "raw_gb_s", f->scaling[i].raw_gb_s);
		spread_put(row, "vs_one", f->scaling[i].vs_one);
		json_array_append_new(scaling, row);
	}
	return json_pack("{s:s,s:i,s:o,s:o}", "cpu", cpu, "rounds", (int)f->rounds, "scan", scan_json(f, set),
			 "scaling", scaling);
}
