#include "measure/measure.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double measure_cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

double measure_wall_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread spread_of(const double *v, unsigned cnt)
{
	double sorted[MEASURE_ROUNDS_MAX];

	assert(cnt >= 1 && cnt <= MEASURE_ROUNDS_MAX);
	memcpy(sorted, v, cnt * sizeof(*v));
	qsort(sorted, cnt, sizeof(*sorted), by_value);
	return (struct spread){sorted[0], sorted[cnt / 2], sorted[cnt - 1]};
}

struct spread spread_ratio(const double *a, const double *b, unsigned cnt, double scale)
{
	double r[MEASURE_ROUNDS_MAX];

	assert(cnt >= 1 && cnt <= MEASURE_ROUNDS_MAX);
	for (unsigned i = 0; i < cnt; i++)
		r[i] = scale * a[i] / (b != NULL ? b[i] : 1);
	return spread_of(r, cnt);
}

struct spread spread_rate(double amount, const double *v, unsigned cnt)
{
	struct spread t = spread_of(v, cnt);

	return (struct spread){amount / t.max, amount / t.median, amount / t.min};
}

void spread_put(json_t *o, const char *key, struct spread v)
{
	char spread_key[64];

	snprintf(spread_key, sizeof(spread_key), "%s_spread", key);
	json_object_set_new(o, key, json_real(v.median));
	json_object_set_new(o, spread_key, json_pack("[f,f]", v.min, v.max));
}

void measure_cpu_name(char *out, size_t sz)
{
	char line[256];
	FILE *f = fopen("/proc/cpuinfo", "r");

	snprintf(out, sz, "unknown");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || colon == NULL)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(out, sz, "%s", colon + 1 + strspn(colon + 1, " "));
		break;
	}
	if (f != NULL)
		fclose(f);
}
