#include "serve/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct report {
	FILE *f;
	bool owned;
};

struct report *report_open(const char *path)
{
	struct report *r = calloc(1, sizeof(*r));

	if (!r || !path)
		return r;
	r->owned = strcmp(path, "-") != 0;
	r->f = r->owned ? fopen(path, "ae") : stdout;
	if (!r->f) {
		free(r);
		return NULL;
	}
	setvbuf(r->f, NULL, _IOLBF, 1 << 16);
	return r;
}

void report_close(struct report *r)
{
	if (!r)
		return;
	if (r->owned)
		fclose(r->f);
	else if (r->f)
		fflush(r->f);
	free(r);
}

void report_begin(struct report *r, const char *event, uint64_t at_ns)
{
	struct timespec wall;

	if (!r->f)
		return;
	clock_gettime(CLOCK_REALTIME, &wall);
	fprintf(r->f, "{\"event\": \"%s\", \"mono_ns\": %llu, \"wall\": %lld.%06ld", event,
		(unsigned long long)at_ns, (long long)wall.tv_sec, wall.tv_nsec / 1000);
}

void report_num(struct report *r, const char *name, uint64_t v)
{
	if (r->f)
		fprintf(r->f, ", \"%s\": %llu", name, (unsigned long long)v);
}

void report_bool(struct report *r, const char *name, bool v)
{
	if (r->f)
		fprintf(r->f, ", \"%s\": %s", name, v ? "true" : "false");
}

void report_text(struct report *r, const char *name, const char *s)
{
	if (!r->f)
		return;
	fprintf(r->f, ", \"%s\": \"", name);
	for (unsigned i = 0; s[i] != '\0' && i < 255; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '"' || c == '\\' || c < 0x20 || c >= 0x7f)
			fprintf(r->f, "\\u%04x", c);
		else
			fputc(c, r->f);
	}
	fputc('"', r->f);
}

void report_hash(struct report *r, const char *name, const struct hash256 *h)
{
	char hex[HASH_HEX_SZ];

	if (!r->f)
		return;
	hash256_to_display(hex, h);
	fprintf(r->f, ", \"%s\": \"%s\"", name, hex);
}

void report_end(struct report *r)
{
	if (r->f)
		fputs("}\n", r->f);
}

uint64_t mono_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
