/* vigil-bench-index - what does a locator cost in memory, and how fast is one shard at looking up, adding and
   deleting, by number of locators and against Judy alone?

     vigil-bench-index [--large] [--only N] [--churn ROUNDS] [--json]
     vigil-bench-index --load N

   1 M and 10 M locators, with --large 100 M; --only N takes that number instead.  With --churn that many rounds delete a
   tenth of the locators and add as many others, and then nine tenths are deleted.  --load loads N of them in bulk, as
   a start does, and prints JSON.

   Bytes a locator come from the resident set and from the index's own account.  Misses and hits go in bursts of 64
   over four million locators, after the shard has rested; the median of five passes, with the lowest and the highest.  judy_only is the
   same index asked without its filter, plain_judy one JudyL array of the same pairs; their passes take turns with those of
   the misses.  measure.h says how the time of single adds is told from that of others.  */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index/index.h"
#include "measure.h"

static void print_head(void)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256], *cpu = NULL;

	while (f != NULL && cpu == NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "model name", 10) == 0 && (cpu = strchr(line, ':')) != NULL)
			cpu[strcspn(cpu, "\n")] = '\0';
	if (f != NULL)
		fclose(f);
	printf("# bench/index cpu=%s lcores=1 burst=%u probes=%u passes=%u unit=M/s of processor time\n",
	       cpu != NULL ? cpu + 2 : "unknown", INDEX_BURST_MAX, PROBE_CNT, PASS_CNT);
	printf("# locators     rss    own filter rested     add  delete     miss (low-high)          hit "
	       "judyonly"
	       "    plain vs_judy vs_plain\n");
}

static void print_text(const struct row *r)
{
	const struct adds *a = &r->add;
	const struct churn *c = &r->churn;

	printf("%11" PRIu64
	       " %6.1f %6.1f %6.1f %6.1f %7.2f %7.2f %8.2f (%.2f-%.2f) %8.2f %8.2f %8.2f %7.1f %8.1f\n",
	       r->cnt, r->rss, r->own, r->own_filter, r->rested, a->per_s / 1e6, r->del_s / 1e6,
	       r->miss.mid / 1e6, r->miss.low / 1e6, r->miss.high / 1e6, r->hit.mid / 1e6, r->judy.mid / 1e6,
	       r->plain.mid / 1e6, r->vs_judy.mid, r->vs_plain.mid);
	printf("#   an add: p50 %.2f us, p99.99 %.1f us, longest %.0f us, without a switch of threads %.0f us, "
	       "above "
	       "1 ms %" PRIu64 "; 64 adds take at most %.0f us of processor time; one moves at most %" PRIu64
	       " keys\n"
	       "#   longest index_maintain %.0f us; share of the processor %.0f %%\n",
	       a->p50_ns / 1e3, a->p9999_ns / 1e3, a->longest_ns / 1e3, a->own_longest_ns / 1e3, a->own_over_ms,
	       a->group_cpu_ns / 1e3, a->moved_max, r->rest_longest_ns / 1e3, r->share * 100);
	if (c->rounds > 0)
		printf("#   after %u rounds of churn: %.1f bytes a locator resident (%.1f at worst), %.1f own "
		       "account, %.1f M misses/s, %.2f M deletes/s, %.2f M adds/s\n"
		       "#   shrunk to a tenth: %.1f MB of %.1f, %.1f bytes a locator resident, %.1f own "
		       "account\n",
		       c->rounds, c->rss, c->rss_max, c->own, c->miss.mid / 1e6, c->del_s / 1e6, c->add_s / 1e6,
		       c->shrunk_mb, c->full_mb, c->shrunk_rss, c->shrunk_own);
	fflush(stdout);
}

static void json_figure(const char *name, struct figure f, int digits)
{
	printf(",\"%s\":%.*f", name, digits, f.mid);
}

static void json_spread(const char *name, double low, double high, int digits, const char *end)
{
	printf("\"%s\":[%.*f,%.*f]%s", name, digits, low, digits, high, end);
}

static void print_json(const struct row *r, bool first)
{
	const struct adds *a = &r->add;
	const struct churn *c = &r->churn;

	printf("%s{\"locators\":%" PRIu64 ",\"bytes_per_locator\":%.2f,\"own_bytes_per_locator\":%.2f,"
	       "\"rested_bytes_per_locator\":%.2f,\"filter_bytes_per_locator\":%.2f",
	       first ? "" : ",\n", r->cnt, r->rss, r->own, r->rested, r->own_filter);
	json_figure("miss_s", r->miss, 0);
	json_figure("hit_s", r->hit, 0);
	printf(",\"add_s\":%.0f,\"delete_s\":%.0f", a->per_s, r->del_s);
	json_figure("judy_only_miss_s", r->judy, 0);
	json_figure("vs_judy", r->vs_judy, 2);
	json_figure("plain_judy_miss_s", r->plain, 0);
	json_figure("vs_plain_judy", r->vs_plain, 2);
	printf(",\"plain_judy_bytes_per_locator\":%.2f,\"spread\":{", r->plain_bytes);
	json_spread("miss_s", r->miss.low, r->miss.high, 0, ",");
	json_spread("hit_s", r->hit.low, r->hit.high, 0, ",");
	json_spread("add_s", a->low_s, a->high_s, 0, ",");
	json_spread("judy_only_miss_s", r->judy.low, r->judy.high, 0, ",");
	json_spread("vs_judy", r->vs_judy.low, r->vs_judy.high, 2, ",");
	json_spread("vs_plain_judy", r->vs_plain.low, r->vs_plain.high, 2, "}");
	printf(",\"add_us\":{\"p50\":%.2f,\"p99_99\":%.1f,\"longest\":%.1f,\"own_longest\":%.1f,\"own_over_"
	       "ms\":%" PRIu64 ",\"groups_switched\":%" PRIu64
	       ",\"longest_64_cpu\":%.1f,\"moved_keys_max\":%" PRIu64
	       "},\"longest_maintain_us\":%.1f,\"processor_share\":%.2f",
	       a->p50_ns / 1e3, a->p9999_ns / 1e3, a->longest_ns / 1e3, a->own_longest_ns / 1e3, a->own_over_ms,
	       a->switched, a->group_cpu_ns / 1e3, a->moved_max, r->rest_longest_ns / 1e3, r->share);
	if (c->rounds > 0) {
		printf(",\"churn\":{\"rounds\":%u,\"bytes_per_locator\":%.2f,\"bytes_per_locator_worst\":%.2f,"
		       "\"own_bytes_per_locator\":%.2f,\"add_s\":%.0f,\"delete_s\":%.0f",
		       c->rounds, c->rss, c->rss_max, c->own, c->add_s, c->del_s);
		json_figure("miss_s", c->miss, 0);
		printf("},\"shrink\":{\"mb_before\":%.1f,\"mb_at_a_tenth\":%.1f,\"bytes_per_locator\":%.2f,"
		       "\"own_bytes_per_locator\":%.2f}",
		       c->full_mb, c->shrunk_mb, c->shrunk_rss, c->shrunk_own);
	}
	printf("}");
	fflush(stdout);
}

static int load(uint64_t cnt)
{
	struct load told = measure_load(cnt, true), grown = measure_load(cnt, false);

	printf("{\"locators\":%" PRIu64 ",\"seconds\":%.3f,\"cpu_seconds\":%.3f,\"untold_cpu_seconds\":%.3f,"
	       "\"bytes_per_locator\":%.2f,\"own_bytes_per_locator\":%.2f,"
	       "\"miss_s\":%.0f,\"miss_s_spread\":[%.0f,%.0f]}\n",
	       cnt, told.seconds, told.cpu_seconds, grown.cpu_seconds, told.rss, told.own, told.miss.mid,
	       told.miss.low, told.miss.high);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t size[3] = {1000000, 10000000, 100000000};
	unsigned size_cnt = 2, rounds = 0;
	bool json = false;

	measure_init();
	if (argc == 3 && strcmp(argv[1], "--load") == 0 && strtoull(argv[2], NULL, 10) > 0)
		return load(strtoull(argv[2], NULL, 10));
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
	if (size_cnt == 0 || size[0] < 1000 || rounds > CHURN_MAX) {
		fprintf(stderr, "usage: vigil-bench-index [--large] [--only N] [--churn ROUNDS] [--json]\n"
				"       vigil-bench-index --load N\n");
		return 2;
	}
	if (json)
		printf("[");
	else
		print_head();
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
