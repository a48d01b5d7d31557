/* backlog.h - the two memories of a session: what waits to be sent, in order, and which adds have no answer yet.

   Threads  One owner.
   Memory   Both are bounded.  A full one refuses, and the caller ends the session, which loses nothing (feed.h). */
#ifndef VIGIL_FEED_BACKLOG_H
#define VIGIL_FEED_BACKLOG_H

#include "link/link_wire.h"

#define BACKLOG_MAX (1u << 20) /* entries: about 40 MB */
#define PENDING_MAX (1u << 16) /* WATCH_ADDs without answer; further ones wait in the backlog */

enum backlog_op { BACKLOG_ADD, BACKLOG_DEL, BACKLOG_ACK };

struct backlog_entry {
	uint32_t op;     /* enum backlog_op */
	uint32_t height; /* ACK */
	union {
		struct locator locator; /* ADD, DEL */
		struct hash256 hash;    /* ACK */
	};
};

/* A queue; all zero is empty. */
struct backlog {
	struct backlog_entry *e;
	size_t head, cnt, cap;
};
/* An ACK directly behind an ACK takes its place.  False: full, or out of memory. */
bool backlog_push(struct backlog *b, const struct backlog_entry *e);
/* NULL when empty. */
const struct backlog_entry *backlog_front(const struct backlog *b);
void backlog_pop(struct backlog *b);
/* Gives the memory back. */
void backlog_clear(struct backlog *b);

struct pending_slot {
	struct locator locator;
	bool waits;
};
/* Cookies count up and are answered nearly in order: a ring from the oldest unanswered one.  All zero is empty. */
struct pending {
	struct pending_slot *slot; /* PENDING_MAX, taken at the first put */
	uint64_t first, next;      /* cookies */
	uint32_t waiting;
};
/* False: full, or out of memory. */
bool pending_put(struct pending *p, const struct locator *l, uint64_t *cookie);
/* False: no such cookie waits. */
bool pending_take(struct pending *p, uint64_t cookie, struct locator *l);
void pending_clear(struct pending *p);

#endif
