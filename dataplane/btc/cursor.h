/* cursor.h - bounded reading and writing of Bitcoin's serialization (spec/bitcoin.md section 11).

   Reading   A failed read poisons the cursor: it keeps the first verdict, becomes empty, and every later
             read returns zero (or NULL) and changes nothing.  So a decoder is straight-line code that asks
             cur_ok() once, at its end.  A loop whose count came from the input asks in its condition.
   Writing   A writer that runs out of room drops the field and remembers it; asked once, at the end.
   Memory    Neither copies nor owns the buffer.
   Threads   One thread per cursor. */
#ifndef VIGIL_BTC_CURSOR_H
#define VIGIL_BTC_CURSOR_H

#include <stdbool.h>
#include <stddef.h>

#include "btc/bytes.h"
#include "btc/hash.h"
#include "btc/verdict.h"

/* A node accepts no larger length or count anywhere. */
#define COMPACT_LENGTH_MAX 0x02000000u
#define COMPACT_SZ_MAX     9u /* bytes of the longest CompactSize */

struct cur {
	const uint8_t *p, *end;
	enum parse_verdict v;
};

static inline struct cur cur_of(const void *p, size_t sz)
{
	const uint8_t *b = (const uint8_t *)p;

	/* NULL + 0 is undefined, and an empty message may well come as NULL. */
	return (struct cur){.p = b, .end = sz == 0 ? b : b + sz, .v = PARSE_OK};
}

static inline bool cur_ok(const struct cur *c)
{
	return c->v == PARSE_OK;
}

static inline size_t cur_left(const struct cur *c)
{
	return (size_t)(c->end - c->p);
}

/* Keeps the first verdict that is not PARSE_OK. */
static inline void cur_fail(struct cur *c, enum parse_verdict v)
{
	if (c->v == PARSE_OK)
		c->v = v;
	c->p = c->end;
}

/* The next sz bytes, or NULL (also for 0 bytes of a poisoned cursor: ask cur_ok). */
static inline const uint8_t *cur_take(struct cur *c, uint64_t sz)
{
	const uint8_t *p = c->p;

	if (__builtin_expect(sz > cur_left(c) || c->v != PARSE_OK, 0)) {
		cur_fail(c, PARSE_TRUNCATED);
		return NULL;
	}
	/* sz of 0 on an empty buffer at NULL must not add to NULL. */
	if (sz != 0)
		c->p += sz;
	return p;
}

static inline void cur_skip(struct cur *c, uint64_t sz)
{
	if (__builtin_expect(sz > cur_left(c), 0))
		cur_fail(c, PARSE_TRUNCATED);
	else if (sz != 0)
		c->p += sz;
}

static inline uint8_t cur_u8(struct cur *c)
{
	const uint8_t *p = cur_take(c, 1);

	return p != NULL ? *p : 0;
}

#define CUR_INT(bits, order)                                          \
	static inline uint##bits##_t cur_##order##bits(struct cur *c) \
	{                                                             \
		const uint8_t *p = cur_take(c, bits / 8);             \
                                                                      \
		return p != NULL ? load_##order##bits(p) : 0;         \
	}

CUR_INT(16, le) /* cur_le16, and so on */
CUR_INT(32, le)
CUR_INT(64, le)
CUR_INT(16, be)
CUR_INT(32, be)
CUR_INT(64, be)
#undef CUR_INT

/* Copies sz bytes to out, or zeroes it. */
static inline void cur_copy(struct cur *c, void *out, size_t sz)
{
	const uint8_t *p = cur_take(c, sz);

	if (p != NULL)
		memcpy(out, p, sz);
	else if (sz != 0)
		memset(out, 0, sz);
}

static inline struct hash256 cur_hash(struct cur *c)
{
	struct hash256 h;

	cur_copy(c, h.b, HASH_SZ);
	return h;
}

/* The forms of three, five and nine bytes. */
uint64_t cur_compact_long(struct cur *c);

/* Any 64-bit value in its shortest form; a longer form is PARSE_NONCANONICAL. */
static inline uint64_t cur_compact(struct cur *c)
{
	if (__builtin_expect(c->p != c->end && *c->p < 0xfd, 1))
		return *c->p++;
	return cur_compact_long(c);
}

/* A count of things that take at least min_sz >= 1 bytes each, or (min_sz 1) a length: what exceeds
   COMPACT_LENGTH_MAX is PARSE_LIMIT, what cannot fit into the rest of the buffer is PARSE_TRUNCATED, so no
   loop or allocation needs more than the input could pay for. */
static inline uint32_t cur_count(struct cur *c, uint32_t min_sz)
{
	uint64_t n = cur_compact(c);

	if (__builtin_expect(n > COMPACT_LENGTH_MAX, 0)) {
		cur_fail(c, PARSE_LIMIT);
		return 0;
	}
	if (__builtin_expect(n * min_sz > cur_left(c), 0)) {
		cur_fail(c, PARSE_TRUNCATED);
		return 0;
	}
	return (uint32_t)n;
}

/* A length with that many bytes behind it; *sz is 0 and the result NULL or the end when there are none. */
static inline const uint8_t *cur_var_bytes(struct cur *c, uint32_t *sz)
{
	*sz = cur_count(c, 1);
	return cur_take(c, *sz);
}

/* What is to be said at the end of something that nothing may follow. */
static inline enum parse_verdict cur_end(struct cur *c)
{
	if (cur_left(c) != 0)
		cur_fail(c, PARSE_TRAILING);
	return c->v;
}

static inline size_t compact_sz(uint64_t v)
{
	return v < 0xfd ? 1 : v <= 0xffff ? 3 : v <= 0xffffffff ? 5 : 9;
}

struct wr {
	uint8_t *p;
	size_t sz, cap; /* written, room */
	bool full;      /* something did not fit; nothing after it was written */
};

static inline struct wr wr_of(void *p, size_t cap)
{
	return (struct wr){.p = (uint8_t *)p, .sz = 0, .cap = cap, .full = false};
}

static inline bool wr_ok(const struct wr *w)
{
	return !w->full;
}

/* Room for the next sz bytes, which count as written; NULL if there is none. */
static inline uint8_t *wr_room(struct wr *w, size_t sz)
{
	uint8_t *p;

	if (w->full || sz > w->cap - w->sz) {
		w->full = true;
		return NULL;
	}
	p = w->p + w->sz;
	w->sz += sz;
	return p;
}

static inline void wr_bytes(struct wr *w, const void *in, size_t sz)
{
	uint8_t *p;

	if (sz == 0)
		return;
	p = wr_room(w, sz);
	if (p != NULL)
		memcpy(p, in, sz);
}

static inline void wr_hash(struct wr *w, const struct hash256 *h)
{
	wr_bytes(w, h->b, HASH_SZ);
}

static inline void wr_u8(struct wr *w, uint8_t x)
{
	wr_bytes(w, &x, 1);
}

#define WR_INT(bits, order)                                                 \
	static inline void wr_##order##bits(struct wr *w, uint##bits##_t x) \
	{                                                                   \
		uint8_t *p = wr_room(w, bits / 8);                          \
                                                                            \
		if (p != NULL)                                              \
			store_##order##bits(p, x);                          \
	}

WR_INT(16, le) /* wr_le16, and so on */
WR_INT(32, le)
WR_INT(64, le)
WR_INT(16, be)
WR_INT(32, be)
WR_INT(64, be)
#undef WR_INT

/* The shortest form. */
void wr_compact(struct wr *w, uint64_t v);
/* A length and that many bytes. */
void wr_var_bytes(struct wr *w, const void *in, size_t sz);

#endif
