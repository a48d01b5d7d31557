/* put.h - appends Bitcoin's serialization to a buffer.

   A writer that runs out of room stops writing and remembers it in `full`; the caller checks once at the end.
   Threads A writer belongs to its caller. */
#ifndef VIGIL_SYNTH_PUT_H
#define VIGIL_SYNTH_PUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "synth/rng.h"

struct put {
	uint8_t *base;
	size_t sz;   /* written so far */
	size_t room; /* of base */
	bool full;
};

/* Where the next sz bytes go, or NULL when there is no room for them. */
static inline uint8_t *put_space(struct put *w, size_t sz)
{
	uint8_t *p = w->base + w->sz;

	if (w->full || sz > w->room - w->sz) {
		w->full = true;
		return NULL;
	}
	w->sz += sz;
	return p;
}

static inline void put_bytes(struct put *w, const void *src, size_t sz)
{
	uint8_t *p = put_space(w, sz);

	if (p)
		memcpy(p, src, sz);
}

static inline void put_random(struct put *w, struct rng *r, size_t sz)
{
	uint8_t *p = put_space(w, sz);

	if (p)
		rng_fill(r, p, sz);
}

static inline void put_le(struct put *w, uint64_t v, size_t sz)
{
	uint8_t *p = put_space(w, sz);

	for (size_t i = 0; p && i < sz; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static inline void put_u8(struct put *w, uint8_t v)
{
	put_le(w, v, 1);
}

static inline void put_u32(struct put *w, uint32_t v)
{
	put_le(w, v, 4);
}

static inline void put_u64(struct put *w, uint64_t v)
{
	put_le(w, v, 8);
}

/* CompactSize, in the only form that is valid; nothing here is longer than 32 bits. */
static inline void put_cs(struct put *w, uint32_t v)
{
	if (v < 0xfd) {
		put_u8(w, (uint8_t)v);
	} else if (v <= 0xffff) {
		put_u8(w, 0xfd);
		put_le(w, v, 2);
	} else {
		put_u8(w, 0xfe);
		put_le(w, v, 4);
	}
}

#endif
