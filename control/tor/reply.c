#include "tor/reply.h"

#include <string.h>

bool tor_reader_put(struct tor_reader *r, const char *p, size_t sz)
{
	if (r->gone > 0) {
		memmove(r->buf, r->buf + r->gone, r->sz - r->gone);
		r->sz -= r->gone;
		r->gone = 0;
	}
	if (sz > TOR_REPLY_MAX - r->sz)
		return false;
	memcpy(r->buf + r->sz, p, sz);
	r->sz += sz;
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The end of the line at p (its CR), or NULL. */
static char *line_end(char *p, const char *end)
{
	return memmem(p, (size_t)(end - p), "\r\n", 2);
}

/* Behind the data block at p, or NULL. */
static char *data_end(char *p, const char *end)
{
	for (char *eol; (eol = line_end(p, end)) != NULL; p = eol + 2)
		if (eol == p + 1 && *p == '.')
			return eol + 2;
	return NULL;
}

enum tor_cut tor_reader_next(struct tor_reader *r, struct tor_reply *out)
{
	char *p = r->buf + r->gone, *end = r->buf + r->sz, *eol;
	char *ends[TOR_REPLY_LINE_MAX];

	out->cnt = 0;
	for (;;) {
		eol = line_end(p, end);
		if (eol == NULL)
			return TOR_MORE;
		if (eol - p < 4 || p[0] < '1' || p[0] > '9' || !is_digit(p[1]) || !is_digit(p[2]) ||
		    strchr(" -+", p[3]) == NULL || p[3] == '\0' || memchr(p, '\0', (size_t)(eol - p)) != NULL ||
		    out->cnt == TOR_REPLY_LINE_MAX)
			return TOR_BAD;
		out->status = (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0');
		out->line[out->cnt] = p + 4;
		ends[out->cnt++] = eol;
		if (p[3] == ' ')
			break;
		p = p[3] == '+' ? data_end(eol + 2, end) : eol + 2;
		if (p == NULL)
			return TOR_MORE;
	}
	/* Only now, because a reply that is not whole yet is cut again. */
	for (unsigned i = 0; i < out->cnt; i++)
		*ends[i] = '\0';
	r->gone = (size_t)(eol + 2 - r->buf);
	return TOR_REPLY;
}

/* One character of a quoted text (control-spec section 2.1.1); -1: it ends before. */
static int unescape(const char **p)
{
	int c = (unsigned char)*(*p)++, digits = 0, v = 0;

	if (c != '\\')
		return c == '\0' ? -1 : c;
	c = (unsigned char)**p;
	while (digits < 3 && **p >= '0' && **p <= '7') {
		v = v * 8 + (*(*p)++ - '0');
		digits++;
	}
	if (digits > 0)
		return v & 0xff;
	if (c == '\0')
		return -1;
	++*p;
	return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
}

/* The value at p; with out_sz 0 it is only passed over.  Behind it, or NULL. */
static const char *take(const char *p, char *out, size_t out_sz)
{
	bool quoted = *p == '"';
	size_t n = 0;

	p += quoted;
	for (;;) {
		int c;

		if (quoted ? *p == '"' : *p == ' ' || *p == '\0')
			break;
		c = quoted ? unescape(&p) : (unsigned char)*p++;
		if (c <= 0 || (out_sz > 0 && n + 1 >= out_sz))
			return NULL;
		if (out_sz > 0)
			out[n] = (char)c;
		n++;
	}
	if (out_sz > 0)
		out[n] = '\0';
	return p + quoted;
}

bool tor_value(const char *line, const char *key, char *out, size_t out_sz)
{
	size_t key_sz = strlen(key);

	while (*line != '\0') {
		size_t word = strcspn(line, "= ");

		if (line[word] != '=') {
			line += word + (line[word] == ' ');
			continue;
		}
		if (word == key_sz && memcmp(line, key, key_sz) == 0)
			return take(line + word + 1, out, out_sz) != NULL;
		line = take(line + word + 1, NULL, 0);
		if (line == NULL)
			return false;
		line += *line == ' ';
	}
	return false;
}

bool tor_listed(const char *list, const char *word)
{
	size_t sz = strlen(word);

	for (;;) {
		size_t n = strcspn(list, ",");

		if (n == sz && memcmp(list, word, sz) == 0)
			return true;
		if (list[n] == '\0')
			return false;
		list += n + 1;
	}
}
