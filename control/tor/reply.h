/* reply.h - what Tor's control port says (control-spec section 2.3): replies cut out of a stream of bytes, and the
   KEYWORD=value pairs in their lines.

   Threads  Pure functions, any thread.
   Memory   The reader holds at most TOR_REPLY_MAX bytes; a reply points into it and is valid until the reader is
            fed again.
   Errors   Whatever is not a reply is TOR_BAD, and the connection is of no use any more. */
#ifndef VIGIL_TOR_REPLY_H
#define VIGIL_TOR_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#define TOR_REPLY_MAX      16384u
#define TOR_REPLY_LINE_MAX 64u

struct tor_reply {
	int status; /* 100 to 999, of its last line */
	unsigned cnt;
	/* Without status and line end; NUL-terminated.  Data blocks (lines that begin 250+) are left out. */
	const char *line[TOR_REPLY_LINE_MAX];
};

struct tor_reader {
	char buf[TOR_REPLY_MAX + 1];
	size_t sz, gone; /* bytes held; of these, in replies given out */
};

enum tor_cut { TOR_MORE, TOR_REPLY, TOR_BAD };

/* False: more than a reply may have. */
bool tor_reader_put(struct tor_reader *r, const char *p, size_t sz);
/* The next whole reply. */
enum tor_cut tor_reader_next(struct tor_reader *r, struct tor_reply *out);

/* The value of key in a line of words, KEY=word or KEY="text with \" escapes"; false: not there, does not end, too long for
   out, or holds a NUL. */
bool tor_value(const char *line, const char *key, char *out, size_t out_sz);
/* The word is in a list separated by commas. */
bool tor_listed(const char *list, const char *word);

#endif
