#include "rescan/locators.h"

#include <errno.h>
#include <stdlib.h>

#define LINE_SZ_MAX 4096u /* a longer one is no text of ours */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The part of a line that counts. */
static void trim(const char **p, size_t *sz)
{
	const char *comment = memchr(*p, '#', *sz);

	if (comment != NULL)
		*sz = (size_t)(comment - *p);
	while (*sz > 0 && is_blank((*p)[*sz - 1]))
		--*sz;
	while (*sz > 0 && is_blank(**p)) {
		++*p;
		--*sz;
	}
}

/* Why the sz bytes at p are no locator. */
static void complain(const char *p, size_t sz, unsigned long long line, char why[LOCATORS_WHY_SZ])
{
	int shown = sz < 40 ? (int)sz : 40;

	for (int i = 0; i < shown; i++)
		if ((unsigned char)p[i] < 0x20 || (unsigned char)p[i] > 0x7e) {
			snprintf(why, LOCATORS_WHY_SZ, "line %llu: not text", line);
			return;
		}
	if (sz == 2 * (size_t)HASH_SZ)
		snprintf(why, LOCATORS_WHY_SZ,
			 "line %llu: 64 digits, as a txid has; a locator is 32 of them (its first half in one "
			 "of "
			 "two orders)",
			 line);
	else
		snprintf(why, LOCATORS_WHY_SZ, "line %llu: not 32 hex digits: '%.*s%s'", line, shown, p,
			 sz > 40 ? "..." : "");
}

bool locators_read(FILE *in, bool (*take)(void *arg, const struct locator *l), void *arg,
		   char why[LOCATORS_WHY_SZ])
{
	static char line[LINE_SZ_MAX];
	unsigned long long no = 0;

	errno = 0;
	while (fgets(line, sizeof(line), in) != NULL) {
		const char *p = line;
		size_t sz = strlen(line);
		struct locator l;

		no++;
		if (sz == sizeof(line) - 1 && line[sz - 1] != '\n') {
			snprintf(why, LOCATORS_WHY_SZ, "line %llu: longer than %zu bytes", no, sz);
			return false;
		}
		if (sz == 0) { /* begins with a NUL */
			snprintf(why, LOCATORS_WHY_SZ, "line %llu: not text", no);
			return false;
		}
		trim(&p, &sz);
		if (sz == 0)
			continue;
		if (!hex_decode(l.b, LOCATOR_SZ, p, sz)) {
			complain(p, sz, no, why);
			return false;
		}
		if (!take(arg, &l))
			return true;
	}
	if (ferror(in)) {
		snprintf(why, LOCATORS_WHY_SZ, "%s", strerror(errno));
		return false;
	}
	return true;
}
