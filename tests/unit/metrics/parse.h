/* parse.h - a reader of the text exposition format that accepts nothing but what the format says: slow, and obvious. */
#ifndef PARSE_H
#define PARSE_H

#include <stdbool.h>
#include <stddef.h>

#define SAMPLE_MAX 4000u

struct sample {
	char family[96], type[16];
	char name[128];
	char labels[512]; /* as in the text, without the braces */
	double value;
};

struct samples {
	struct sample s[SAMPLE_MAX];
	unsigned cnt;
	char why[600]; /* what is wrong with which line */
};

/* False with why.  Checks: HELP then TYPE then samples, each family once and in one piece, names, escapes, label names
   and their order, no sample twice, counters end in _total and are not negative, histograms have ascending bounds,
   cumulative counts, a last bucket +Inf that is the count, and a sum. */
bool parse(struct samples *out, const char *text, size_t sz);
/* The value of a sample; fails the test if there is none. */
double value_of(const struct samples *s, const char *name, const char *labels);

#endif
