#include "metrics/expo.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool room(struct expo *e, size_t sz)
{
	size_t cap = e->cap != 0 ? e->cap : 8192;
	char *p;

	while (cap - e->sz < sz)
		cap *= 2;
	if (e->failed || cap == e->cap)
		return !e->failed;
	p = realloc(e->p, cap);
	e->failed = p == NULL;
	if (e->failed)
		return false;
	e->p = p;
	e->cap = cap;
	return true;
}

static void put(struct expo *e, const char *text, size_t sz)
{
	if (!room(e, sz))
		return;
	memcpy(e->p + e->sz, text, sz);
	e->sz += sz;
}

static void put_text(struct expo *e, const char *text)
{
	put(e, text, strlen(text));
}

static void put_escaped(struct expo *e, const char *text, bool quoted)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			put(e, "\\\\", 2);
		else if (*text == '\n')
			put(e, "\\n", 2);
		else if (*text == '"' && quoted)
			put(e, "\\\"", 2);
		else
			put(e, *text >= 0x20 && *text <= 0x7e ? text : "?", 1);
	}
}

void expo_family(struct expo *e, const char *name, enum expo_type type, const char *help)
{
	static const char *const type_name[] = {"counter", "gauge", "histogram"};

	e->family = name;
	put_text(e, "# HELP ");
	put_text(e, name);
	put_text(e, " ");
	put_escaped(e, help, false);
	put_text(e, "\n# TYPE ");
	put_text(e, name);
	put_text(e, " ");
	put_text(e, type_name[type]);
	put_text(e, "\n");
}

static void sample(struct expo *e, const char *suffix, const struct expo_label *labels, const char *le,
		   const char *value)
{
	bool any = false;

	put_text(e, e->family);
	put_text(e, suffix);
	for (; labels != NULL && labels->name != NULL; labels++) {
		put_text(e, any ? "," : "{");
		any = true;
		put_text(e, labels->name);
		put_text(e, "=\"");
		put_escaped(e, labels->value, true);
		put_text(e, "\"");
	}
	if (le != NULL) {
		put_text(e, any ? ",le=\"" : "{le=\"");
		put_text(e, le);
		put_text(e, "\"");
		any = true;
	}
	put_text(e, any ? "} " : " ");
	put_text(e, value);
	put_text(e, "\n");
}

static void number(char out[32], uint64_t v)
{
	snprintf(out, 32, "%" PRIu64, v);
}

/* Exact: as many digits as nanoseconds have, none of them superfluous. */
static void seconds(char out[32], uint64_t ns)
{
	size_t n = (size_t)snprintf(out, 32, "%" PRIu64 ".%09u", ns / 1000000000u,
				    (unsigned)(ns % 1000000000u));

	while (out[n - 1] == '0')
		n--;
	out[out[n - 1] == '.' ? n - 1 : n] = '\0';
}

void expo_u64(struct expo *e, const struct expo_label *labels, uint64_t v)
{
	char text[32];

	number(text, v);
	sample(e, "", labels, NULL, text);
}

void expo_f64(struct expo *e, const struct expo_label *labels, double v)
{
	char text[32];

	snprintf(text, sizeof(text), "%.17g", v);
	sample(e, "", labels, NULL, text);
}

void expo_histogram(struct expo *e, const struct expo_label *labels, const uint64_t *bound_ns,
		    const uint64_t *bucket, unsigned cnt, uint64_t sum_ns)
{
	char le[32], text[32];
	uint64_t below = 0;

	for (unsigned i = 0; i <= cnt; i++) {
		below += bucket[i];
		if (i < cnt)
			seconds(le, bound_ns[i]);
		number(text, below);
		sample(e, "_bucket", labels, i < cnt ? le : "+Inf", text);
	}
	seconds(text, sum_ns);
	sample(e, "_sum", labels, NULL, text);
	number(text, below);
	sample(e, "_count", labels, NULL, text);
}

void expo_one(struct expo *e, const char *name, enum expo_type type, const char *help, uint64_t v)
{
	expo_family(e, name, type, help);
	expo_u64(e, NULL, v);
}

char *expo_end(struct expo *e, size_t *sz)
{
	char *text = e->p;

	if (e->failed || !room(e, 1)) {
		free(e->p);
		text = NULL;
	} else {
		text = e->p;
	}
	*sz = e->sz;
	*e = (struct expo){0};
	return text;
}

bool expo_name_ok(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
	size_t sz = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");

	return sz > 0 && name[sz] == '\0' && strchr(first, name[0]) != NULL;
}
