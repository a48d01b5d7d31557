#include "parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	struct samples *out;
	char line[1024], family[96], type[16];
	unsigned number;
	bool has_type;
};

static bool bad(struct reader *r, const char *what)
{
	snprintf(r->out->why, sizeof(r->out->why), "line %u: %s: %.400s", r->number, what, r->line);
	return false;
}

/* [a-zA-Z_:][a-zA-Z0-9_:]* ; without colons for labels.  Returns its length. */
static size_t name_sz(const char *p, bool colons)
{
	size_t n = 0;

	for (;; n++) {
		char c = p[n];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
			      (colons && c == ':');

		if (!letter && !(n > 0 && c >= '0' && c <= '9'))
			return n;
	}
}

static bool take_help(struct reader *r)
{
	const char *p = r->line + strlen("# HELP ");
	size_t n = name_sz(p, true);

	if (n == 0 || n >= sizeof(r->family) || p[n] != ' ' || p[n + 1] == '\0')
		return bad(r, "HELP without a name or a text");
	for (const char *t = p + n + 1; *t != '\0'; t++)
		if (*t == '\\' && *++t != '\\' && *t != 'n')
			return bad(r, "a wrong escape in HELP");
	memcpy(r->family, p, n);
	r->family[n] = '\0';
	r->has_type = false;
	for (unsigned i = 0; i < r->out->cnt; i++)
		if (strcmp(r->out->s[i].family, r->family) == 0)
			return bad(r, "a family that was there before");
	return true;
}

static bool take_type(struct reader *r)
{
	const char *p = r->line + strlen("# TYPE ");
	size_t n = name_sz(p, true), sz = strlen(r->family);

	if (n != sz || memcmp(p, r->family, n) != 0 || p[n] != ' ')
		return bad(r, "TYPE is not of the family of HELP");
	p += n + 1;
	if (strcmp(p, "counter") != 0 && strcmp(p, "gauge") != 0 && strcmp(p, "histogram") != 0)
		return bad(r, "no such type");
	if ((strcmp(p, "counter") == 0) != (sz > 6 && strcmp(r->family + sz - 6, "_total") == 0))
		return bad(r, "counters, and only they, end in _total");
	snprintf(r->type, sizeof(r->type), "%s", p);
	r->has_type = true;
	return true;
}

/* From behind '{' to behind '}'; NULL: wrong. */
static const char *labels_end(const char *p)
{
	for (;;) {
		size_t n = name_sz(p, false);

		if (n == 0 || p[n] != '=' || p[n + 1] != '"')
			return NULL;
		for (p += n + 2; *p != '"'; p++) {
			if ((unsigned char)*p < 0x20)
				return NULL;
			if (*p == '\\' && *++p != '\\' && *p != '"' && *p != 'n')
				return NULL;
		}
		if (*++p == '}')
			return p + 1;
		if (*p++ != ',')
			return NULL;
	}
}

static bool take_sample(struct reader *r)
{
	struct sample *s = &r->out->s[r->out->cnt];
	size_t n = name_sz(r->line, true), sz = strlen(r->family);
	const char *p = r->line + n, *end;
	char *rest;

	if (!r->has_type || n < sz || n >= sizeof(s->name) || memcmp(r->line, r->family, sz) != 0)
		return bad(r, "a sample outside its family");
	if (r->out->cnt == SAMPLE_MAX)
		return bad(r, "too many samples");
	*s = (struct sample){0};
	memcpy(s->name, r->line, n);
	snprintf(s->family, sizeof(s->family), "%s", r->family);
	snprintf(s->type, sizeof(s->type), "%s", r->type);
	if (strcmp(r->type, "histogram") == 0) {
		if (strcmp(s->name + sz, "_bucket") != 0 && strcmp(s->name + sz, "_sum") != 0 &&
		    strcmp(s->name + sz, "_count") != 0)
			return bad(r, "no sample of a histogram");
	} else if (n != sz) {
		return bad(r, "a sample with another name than its family");
	}
	if (*p == '{') {
		end = labels_end(p + 1);
		if (end == NULL || (size_t)(end - p) >= sizeof(s->labels))
			return bad(r, "labels");
		memcpy(s->labels, p + 1, (size_t)(end - p) - 2);
		p = end;
	}
	if (*p != ' ')
		return bad(r, "no space before the value");
	s->value = strtod(p + 1, &rest);
	if (rest == p + 1 || *rest != '\0' || isnan(s->value))
		return bad(r, "no number");
	if (strcmp(s->type, "counter") == 0 && s->value < 0)
		return bad(r, "a negative counter");
	for (unsigned i = 0; i < r->out->cnt; i++)
		if (strcmp(r->out->s[i].name, s->name) == 0 && strcmp(r->out->s[i].labels, s->labels) == 0)
			return bad(r, "a sample that was there before");
	r->out->cnt++;
	return true;
}

/* Histograms here have no labels but le. */
static bool histograms_add_up(struct samples *all)
{
	for (unsigned i = 0; i < all->cnt; i++) {
		double bound = -INFINITY, below = 0;
		const struct sample *s = &all->s[i];

		if (strcmp(s->type, "histogram") != 0)
			continue;
		for (; i < all->cnt && strcmp(all->s[i].family, s->family) == 0 &&
		       strstr(all->s[i].name, "_bucket") != NULL;
		     i++) {
			double le = strtod(all->s[i].labels + strlen("le=\""), NULL);

			if (le <= bound || all->s[i].value < below) {
				snprintf(all->why, sizeof(all->why), "%s: buckets do not ascend", s->family);
				return false;
			}
			bound = le;
			below = all->s[i].value;
		}
		if (!isinf(bound) || i + 1 >= all->cnt || strstr(all->s[i].name, "_sum") == NULL ||
		    strstr(all->s[i + 1].name, "_count") == NULL || all->s[i + 1].value != below) {
			snprintf(all->why, sizeof(all->why), "%s: no +Inf, _sum, _count", s->family);
			return false;
		}
		i++;
	}
	return true;
}

bool parse(struct samples *out, const char *text, size_t sz)
{
	struct reader r = {.out = out};
	const char *end = text + sz;

	out->cnt = 0;
	out->why[0] = '\0';
	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		size_t n = nl != NULL ? (size_t)(nl - text) : 0;

		r.number++;
		if (nl == NULL || n == 0 || n >= sizeof(r.line) || memchr(text, '\0', n) != NULL)
			return bad(&r, "no line break, an empty line, or too long");
		memcpy(r.line, text, n);
		r.line[n] = '\0';
		text = nl + 1;
		if (strncmp(r.line, "# HELP ", 7) == 0   ? !take_help(&r)
		    : strncmp(r.line, "# TYPE ", 7) == 0 ? !take_type(&r)
							 : !take_sample(&r))
			return false;
	}
	return histograms_add_up(out);
}

double value_of(const struct samples *s, const char *name, const char *labels)
{
	for (unsigned i = 0; i < s->cnt; i++)
		if (strcmp(s->s[i].name, name) == 0 && strcmp(s->s[i].labels, labels) == 0)
			return s->s[i].value;
	fail_msg("no sample %s{%s}", name, labels);
	return 0;
}
