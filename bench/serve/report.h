/* report.h - what the replay node did and saw, as JSON lines in the order of events.

   Times are CLOCK_MONOTONIC in ns (field mono_ns), comparable with every other process of the same machine.
   Threads One thread.  Each line reaches the file at once. */
#ifndef VIGIL_SERVE_REPORT_H
#define VIGIL_SERVE_REPORT_H

#include <stdint.h>

#include "btc/hash.h"

struct report;

/* path "-" is stdout, NULL writes nothing.  NULL with errno set when it cannot be opened. */
struct report *report_open(const char *path);
void report_close(struct report *r);

/* One line: report_begin, any number of fields, report_end. */
void report_begin(struct report *r, const char *event, uint64_t mono_ns);
void report_num(struct report *r, const char *name, uint64_t v);
void report_bool(struct report *r, const char *name, bool v);
/* Escapes what JSON needs; s is at most 255 bytes of it. */
void report_text(struct report *r, const char *name, const char *s);
void report_hash(struct report *r, const char *name, const struct hash256 *h); /* display order */
void report_end(struct report *r);

uint64_t mono_ns(void);

#endif
