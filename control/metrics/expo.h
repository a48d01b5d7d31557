/* expo.h - a writer of the Prometheus text exposition format, version 0.0.4.

   Threads  One thread for each writer.
   Memory   A growing buffer, handed over by expo_end.
   Order    expo_family begins a family; its samples follow before the next one begins, as the format asks.
   Errors   Memory that runs out is remembered, and told by expo_end.  Names are the program's own; help and label
            values may hold any text and are escaped; a byte that is no printable ASCII becomes '?', so that the text is
            UTF-8 whatever a peer calls itself. */
#ifndef VIGIL_METRICS_EXPO_H
#define VIGIL_METRICS_EXPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum expo_type { EXPO_COUNTER, EXPO_GAUGE, EXPO_HISTOGRAM };

struct expo {
	char *p;
	size_t sz, cap;
	bool failed;
	const char *family; /* the current one; NULL: none yet */
};

struct expo_label {
	const char *name, *value;
};

/* name must live as long as its samples are written. */
void expo_family(struct expo *e, const char *name, enum expo_type type, const char *help);
/* labels end with a NULL name; NULL: none. */
void expo_u64(struct expo *e, const struct expo_label *labels, uint64_t v);
void expo_f64(struct expo *e, const struct expo_label *labels, double v);
/* One histogram: counts of the cnt buckets below the bounds and of the one above, not cumulative; seconds are made
   of nanoseconds here. */
void expo_histogram(struct expo *e, const struct expo_label *labels, const uint64_t *bound_ns,
		    const uint64_t *bucket, unsigned cnt, uint64_t sum_ns);

/* A family with one sample without labels. */
void expo_one(struct expo *e, const char *name, enum expo_type type, const char *help, uint64_t v);

/* The text, malloc'd, *sz bytes without a NUL; NULL: out of memory.  The writer may be used again. */
char *expo_end(struct expo *e, size_t *sz);

/* False: not a metric name (the dataplane's counters come over the link). */
bool expo_name_ok(const char *name);

#endif
