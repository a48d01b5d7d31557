/* vigil-bench-headers - how many headers a second does one core take in, from the bytes of `headers` messages to the
   tree, and what does one cost in memory?

     vigil-bench-headers [--cnt N] [--rounds N] [--json]

   Synthetic chains of N headers (1,000,000) with true work, told by a node made of memory (teller.h):
     regtest   difficulty never changes
     retarget  the main network's rules: difficulty moves at every 2016th block
     measured  the same, where the chain must first show the work of all but its last thousand headers: it is told
               twice and stored the second time (chain/presync.h), as a chain from genesis is on the main network
   raw is the double SHA-256 of the same 80 bytes alone.  A header costs three compressions there, and in sync one and a
   quarter more for the checksum of its message; vs_raw is the ratio within a round.  headers_s of the whole is that of
   the slowest set.  Processor time of the one thread. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "headers/teller.h"
#include "measure/measure.h"

enum { SET_REGTEST, SET_RETARGET, SET_MEASURED, SET_CNT };
static const char *const set_name[SET_CNT] = {"regtest", "retarget", "measured"};

struct figures {
	double raw_ns[MEASURE_ROUNDS_MAX], ns[SET_CNT][MEASURE_ROUNDS_MAX];
	struct told told[SET_CNT];
};

static struct figures figures;

static double raw_ns(const struct chain *c)
{
	double begun = measure_cpu_ns();
	uint8_t sum = 0;

	for (uint32_t i = 0; i < c->cnt; i++)
		sum ^= header_hash(c->raw + (size_t)i * HEADER_SZ).b[0];
	__asm__ volatile("" : : "r"(sum));
	return measure_cpu_ns() - begun;
}

static bool round_run(const struct chain *regtest, const struct chain *retarget, unsigned i)
{
	static const struct u256 none, thousand = {{8 * 2 * 1000}};
	struct u256 need = u256_sub(&retarget->work, &thousand);
	bool good;

	figures.raw_ns[i] = raw_ns(retarget);
	good = teller_run(regtest, &none, &figures.told[SET_REGTEST]) &&
	       teller_run(retarget, &none, &figures.told[SET_RETARGET]) &&
	       teller_run(retarget, &need, &figures.told[SET_MEASURED]);
	for (unsigned k = 0; k < SET_CNT; k++)
		figures.ns[k][i] = figures.told[k].cpu_ns;
	return good;
}

static struct spread rate(unsigned set, uint32_t cnt, unsigned rounds)
{
	return spread_rate(1e9 * cnt, figures.ns[set], rounds);
}

static unsigned slowest(uint32_t cnt, unsigned rounds)
{
	unsigned worst = 0;

	for (unsigned k = 1; k < SET_CNT; k++)
		if (rate(k, cnt, rounds).median < rate(worst, cnt, rounds).median)
			worst = k;
	return worst;
}

static int print_json(uint32_t cnt, unsigned rounds)
{
	json_t *all = json_object(), *o = json_object(), *sets = json_array();
	unsigned worst = slowest(cnt, rounds);
	char cpu[128];
	int rc;

	measure_cpu_name(cpu, sizeof(cpu));
	json_object_set_new(o, "cpu", json_string(cpu));
	json_object_set_new(o, "cnt", json_integer(cnt));
	json_object_set_new(o, "rounds", json_integer(rounds));
	spread_put(o, "headers_s", rate(worst, cnt, rounds));
	spread_put(o, "raw_s", spread_rate(1e9 * cnt, figures.raw_ns, rounds));
	spread_put(o, "vs_raw", spread_ratio(figures.raw_ns, figures.ns[worst], rounds, 1));
	json_object_set_new(o, "bytes_per_header", json_real((double)figures.told[worst].tree_bytes / cnt));
	for (unsigned k = 0; k < SET_CNT; k++) {
		json_t *s = json_object();

		json_object_set_new(s, "name", json_string(set_name[k]));
		json_object_set_new(s, "messages", json_integer(figures.told[k].messages));
		spread_put(s, "headers_s", rate(k, cnt, rounds));
		spread_put(s, "vs_raw", spread_ratio(figures.raw_ns, figures.ns[k], rounds, 1));
		json_object_set_new(s, "bytes_per_header", json_real((double)figures.told[k].tree_bytes / cnt));
		json_array_append_new(sets, s);
	}
	json_object_set_new(o, "sets", sets);
	json_object_set_new(all, "headers", o);
	rc = json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(all);
	return rc == 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print_text(uint32_t cnt, unsigned rounds)
{
	printf("%u headers, %u rounds; raw double SHA-256 %.0f headers/s\n", cnt, rounds,
	       spread_rate(1e9 * cnt, figures.raw_ns, rounds).median);
	for (unsigned k = 0; k < SET_CNT; k++) {
		struct spread s = rate(k, cnt, rounds);

		printf("  %-9s %9.0f headers/s (%.0f to %.0f), %.2f of raw, %.1f bytes a header\n", set_name[k],
		       s.median, s.min, s.max, spread_ratio(figures.raw_ns, figures.ns[k], rounds, 1).median,
		       (double)figures.told[k].tree_bytes / cnt);
	}
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int usage(int status)
{
	fprintf(status == 0 ? stdout : stderr, "usage: vigil-bench-headers [--cnt N] [--rounds N] [--json]\n");
	return status;
}

int main(int argc, char **argv)
{
	static const struct option lo[] = {{"cnt", required_argument, NULL, 'c'},
					   {"rounds", required_argument, NULL, 'r'},
					   {"json", no_argument, NULL, 'j'},
					   {"help", no_argument, NULL, 'h'},
					   {NULL, 0, NULL, 0}};
	struct chain regtest, retarget;
	unsigned long cnt = 1000000, rounds = 3;
	bool json = false, good;
	int opt;

	while ((opt = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		if (opt == 'c')
			cnt = strtoul(optarg, NULL, 10);
		else if (opt == 'r')
			rounds = strtoul(optarg, NULL, 10);
		else if (opt == 'j')
			json = true;
		else
			return usage(opt == 'h' ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	if (optind < argc || cnt < 10000 || cnt > 10000000 || rounds == 0 || rounds > MEASURE_ROUNDS_MAX)
		return usage(EXIT_FAILURE);
	good = chain_make(&regtest, CHAIN_REGTEST, (uint32_t)cnt);
	good = chain_make(&retarget, CHAIN_RETARGET, (uint32_t)cnt) && good;
	for (unsigned i = 0; i < rounds && good; i++)
		good = round_run(&regtest, &retarget, i);
	chain_free(&regtest);
	chain_free(&retarget);
	if (!good) {
		fprintf(stderr, "vigil-bench-headers: the tree did not end with the chain's tip\n");
		return EXIT_FAILURE;
	}
	return json ? print_json((uint32_t)cnt, (unsigned)rounds) : print_text((uint32_t)cnt, (unsigned)rounds);
}
