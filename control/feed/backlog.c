#include "feed/backlog.h"

#include <stdlib.h>

#define CAP_FIRST 256u

static bool backlog_grow(struct backlog *b)
{
	size_t cap = b->cap != 0 ? b->cap * 2 : CAP_FIRST;
	struct backlog_entry *e;

	if (cap > BACKLOG_MAX)
		return false;
	e = malloc(cap * sizeof(*e));
	if (e == NULL)
		return false;
	for (size_t i = 0; i < b->cnt; i++)
		e[i] = b->e[(b->head + i) & (b->cap - 1)];
	free(b->e);
	*b = (struct backlog){.e = e, .cnt = b->cnt, .cap = cap};
	return true;
}

bool backlog_push(struct backlog *b, const struct backlog_entry *e)
{
	if (b->cnt > 0 && e->op == BACKLOG_ACK) {
		struct backlog_entry *last = &b->e[(b->head + b->cnt - 1) & (b->cap - 1)];

		if (last->op == BACKLOG_ACK) {
			*last = *e;
			return true;
		}
	}
	if (b->cnt == b->cap && !backlog_grow(b))
		return false;
	b->e[(b->head + b->cnt++) & (b->cap - 1)] = *e;
	return true;
}

const struct backlog_entry *backlog_front(const struct backlog *b)
{
	return b->cnt > 0 ? &b->e[b->head] : NULL;
}

void backlog_pop(struct backlog *b)
{
	assert(b->cnt > 0);
	b->head = (b->head + 1) & (b->cap - 1);
	b->cnt--;
}

void backlog_clear(struct backlog *b)
{
	free(b->e);
	*b = (struct backlog){0};
}

bool pending_put(struct pending *p, const struct locator *l, uint64_t *cookie)
{
	if (p->slot == NULL) {
		p->slot = calloc(PENDING_MAX, sizeof(*p->slot));
		if (p->slot == NULL)
			return false;
	}
	if (p->next - p->first == PENDING_MAX)
		return false;
	*cookie = p->next++;
	p->slot[*cookie % PENDING_MAX] = (struct pending_slot){.locator = *l, .waits = true};
	p->waiting++;
	return true;
}

bool pending_take(struct pending *p, uint64_t cookie, struct locator *l)
{
	struct pending_slot *s;

	if (cookie < p->first || cookie >= p->next)
		return false;
	s = &p->slot[cookie % PENDING_MAX];
	if (!s->waits)
		return false;
	*l = s->locator;
	s->waits = false;
	p->waiting--;
	while (p->first < p->next && !p->slot[p->first % PENDING_MAX].waits)
		p->first++;
	return true;
}

void pending_clear(struct pending *p)
{
	free(p->slot);
	*p = (struct pending){0};
}
