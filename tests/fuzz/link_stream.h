/* link_stream.h - what the two targets of the link have in common: a stream of records from a fuzzer's bytes, and how it
   is cut into pieces.

   Input of both: a byte of mode, two of seed for the cuts, then the stream.  Mode bit 0 clear: as it is.  Set: parts
   (type, options, length of two bytes, that many bytes), each of which becomes a record of its type with a right head. */
#ifndef VIGIL_TESTS_FUZZ_LINK_STREAM_H
#define VIGIL_TESTS_FUZZ_LINK_STREAM_H

#include "link/frame.h"

#define LINK_STREAM_MAX (1u << 18)

/* Not assert(): this must stop a release build, too. */
void must(bool ok);

/* What a direction does with a part: pick turns any byte into a type, and the fixed size goes to *fixed_sz; mend makes
   sense of the record's fields (its counts already fit tail_sz bytes behind the fixed part) when options has bit 0. */
struct link_parts {
	enum link_type (*pick)(uint8_t byte, size_t *fixed_sz);
	void (*mend)(void *arg, struct link_head *rec, size_t tail_sz, uint8_t options);
	void *arg;
};

/* Bytes of the stream, which begins at *stream: inside data, or in memory of its own. */
size_t link_stream_make(const struct link_parts *parts, const uint8_t *data, size_t sz, const uint8_t **stream);

/* The next piece of left bytes; all of them when *seed is 0. */
size_t link_stream_piece(uint32_t *seed, size_t left);

/* A running digest of what happened. */
void link_note(uint64_t *digest, const void *p, size_t sz);

#endif
