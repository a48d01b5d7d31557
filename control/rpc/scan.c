#include "rpc/call.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

enum rpc_cut rpc_scan_next(struct rpc_scan *s, const char *text, size_t sz, size_t *start, size_t *end)
{
	for (; s->pos < sz; s->pos++) {
		char c = text[s->pos];

		if (s->in_string) {
			if (s->escaped)
				s->escaped = false;
			else if (c == '\\')
				s->escaped = true;
			else if (c == '"')
				s->in_string = false;
			continue;
		}
		if (s->depth == 0) {
			if (is_space(c))
				continue;
			if (c != '{' && c != '[')
				return RPC_CUT_RUBBISH;
			s->start = s->pos;
		}
		if (c == '"') {
			s->in_string = true;
		} else if (c == '{' || c == '[') {
			if (++s->depth > RPC_DEPTH_MAX)
				return RPC_CUT_DEEP;
		} else if ((c == '}' || c == ']') && --s->depth == 0) {
			*start = s->start;
			*end = ++s->pos;
			return RPC_CUT_VALUE;
		}
	}
	if (s->depth == 0)
		s->start = s->pos;
	return RPC_CUT_MORE;
}

void rpc_scan_moved(struct rpc_scan *s, size_t sz)
{
	s->pos -= sz;
	s->start = s->start > sz ? s->start - sz : 0;
}
