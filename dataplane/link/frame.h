/* frame.h - whole records out of a byte stream, and a bounded queue of records into one.

   Used by both ends of the link.  Owns no socket: the caller reads into link_reader_room and writes from
   link_writer_peek, so it serves a plain non-blocking socket and an event loop alike.
   Threads  One owner at a time.
   Memory   Each object has one buffer of fixed size, taken at init (untouched pages cost nothing).
   Errors   A malformed stream is a verdict; the caller closes the link.  A full writer refuses the record and
            changes nothing: the caller keeps it and tries again later. */
#ifndef VIGIL_LINK_FRAME_H
#define VIGIL_LINK_FRAME_H

#include "link/link_wire.h"

/* Size of a record on the wire: fixed struct, tail, padding. */
static inline size_t link_record_sz(size_t fixed_sz, size_t tail_sz)
{
	return (fixed_sz + tail_sz + 7) & ~(size_t)7;
}

enum link_direction { LINK_FROM_CONTROL, LINK_FROM_DATAPLANE };

/* True when the type exists in this direction and head.sz is exactly what its fixed struct and the counts in it
   ask for.  h points to head.sz readable bytes, 8-byte aligned.  Fields that are indexes or enums are for
   the handler to check. */
bool link_record_ok(const struct link_head *h, enum link_direction dir);

struct link_reader {
	uint8_t *buf;
	size_t start, end; /* unread bytes */
};
bool link_reader_init(struct link_reader *r);
void link_reader_free(struct link_reader *r);
/* Forgets what was read (a new connection). */
void link_reader_reset(struct link_reader *r);
/* Where the next bytes go; *sz > 0 once link_reader_next has returned 0.  Invalidates records given out. */
uint8_t *link_reader_room(struct link_reader *r, size_t *sz);
void link_reader_took(struct link_reader *r, size_t sz);
/* 1: *rec is the next record, valid until the next call on r; 0: more bytes are needed; -1: the stream is
   malformed (size, type or counts). */
int link_reader_next(struct link_reader *r, enum link_direction dir, const struct link_head **rec);

struct link_writer {
	uint8_t *buf;
	size_t cap, start, end;
};
/* cap of at least LINK_REC_SZ_MAX can hold any record. */
bool link_writer_init(struct link_writer *w, size_t cap);
void link_writer_free(struct link_writer *w);
void link_writer_reset(struct link_writer *w);
/* Queues one record: fills head.sz and head.type of the copy.  False when there is no room. */
bool link_writer_put(struct link_writer *w, enum link_type type, const void *fixed, size_t fixed_sz,
		     const void *tail, size_t tail_sz);
/* Bytes waiting; NULL when there are none. */
const uint8_t *link_writer_peek(const struct link_writer *w, size_t *sz);
void link_writer_took(struct link_writer *w, size_t sz);
static inline size_t link_writer_used(const struct link_writer *w)
{
	return w->end - w->start;
}

#endif
