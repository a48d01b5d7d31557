/* meter.h - how long things took: a histogram for each kind of wait, and the slow log.

   Threads  Any thread.  An observation below the threshold is three relaxed additions; one above it also takes a
            lock for as long as it takes to copy a line of text.
   Memory   Static and constant: the process has one set of meters, like it has one log.
   Order    A reader sees each counter as of some moment of the read.  The count is the sum of the buckets, so that what is
            given out never contradicts itself.
   Units    Nanoseconds in, of CLOCK_MONOTONIC; a negative duration (clocks of two machines) is the caller's to leave out.
   Secrets  Details are names and numbers: never a body, a blob, a key or a password (invariant I7). */
#ifndef VIGIL_METER_METER_H
#define VIGIL_METER_METER_H

#include <stdbool.h>
#include <stdint.h>

enum meter {
	METER_HIT, /* last byte of a block received -> hit found (of blocks as they come, not of recent ones) */
	METER_SENT,    /* hit found -> penalty written to a first peer or taken by a first node */
	METER_BLOCK,   /* the state thread's work on one connected block */
	METER_SYNC,    /* one sync of the store's log */
	METER_REQUEST, /* HTTP API: request complete -> answer ready */
	METER_NODE,    /* one RPC of a node, with its connection */
	METER_COMMAND, /* one request on the control socket */
	METER_CNT
};

/* Upper bounds of the buckets in nanoseconds, ascending; one more bucket holds what is above the last. */
#define METER_BOUND_CNT 16u
extern const uint64_t meter_bound_ns[METER_BOUND_CNT];

struct meter_info {
	const char *name; /* hit, sent, block, ... : stable */
	const char *help; /* one line */
};
extern const struct meter_info meter_infos[METER_CNT];

uint64_t meter_now_ns(void);
/* detail (may be NULL) is printed like printf and kept only for a slow one; what does not fit is cut. */
void meter_note(enum meter m, uint64_t ns, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

struct meter_counts {
	uint64_t bucket[METER_BOUND_CNT + 1]; /* each by itself, not cumulative */
	uint64_t cnt;                         /* their sum */
	uint64_t sum_ns;
	uint64_t slow;
};
void meter_read(enum meter m, struct meter_counts *out);

/* --- the slow log ------------------------------------------------------------------------------------------- */

#define METER_SLOW_CNT     128u
#define METER_DETAIL_SZ    96u
#define METER_SLOW_DFLT_NS 1000000000u

/* The last METER_SLOW_CNT of them are kept, and the slowest of each kind. */
struct meter_slow {
	uint64_t seq; /* from 1 on */
	enum meter meter;
	uint64_t unix_ms; /* when it was noted */
	uint64_t ns;
	char detail[METER_DETAIL_SZ]; /* printable ASCII */
};

/* From here on an observation is slow; 0: none ever is. */
void meter_slow_set(uint64_t threshold_ns);
uint64_t meter_slow_threshold(void);
/* Copies at most cnt, newest first; returns how many.  *total: since the start of the process. */
unsigned meter_slow_read(struct meter_slow *out, unsigned cnt, uint64_t *total);
/* False: there has been no slow one of this kind. */
bool meter_slowest(enum meter m, struct meter_slow *out);

/* For tests: everything as at the start of the process. */
void meter_reset(void);

#endif
