/* report.h - what vigil-rescan tells: JSON lines, faults, and how far it is.

   Threads One. */
#ifndef VIGIL_RESCAN_REPORT_H
#define VIGIL_RESCAN_REPORT_H

#include <stdio.h>

#include "rescan/survey.h"

struct rescan_counts {
	uint64_t locators; /* lines of the list */
	uint64_t scanned;  /* blocks */
	uint64_t bytes;    /* of them */
	uint64_t txs;
	uint64_t hits;
	uint64_t lost;    /* blocks of which no copy was good */
	uint64_t skipped; /* stale, or outside of the range */
};

struct hit {
	const struct found_block *block, *at; /* at: the copy that was read */
	const struct blk_source *file;
	struct hash256 txid;
	uint32_t tx_idx;
	enum locator_scheme scheme;
};

void report_hit(FILE *out, const struct hit *h);

struct summary {
	const struct blk_files *files;
	const struct block_table *table;
	const struct faults *faults;
	const struct rescan_counts *counts;
	uint32_t from, to; /* as asked for */
	bool interrupted;
	double seconds;
};
/* Returns whether everything in the range was scanned. */
bool report_summary(FILE *out, const struct summary *s);

/* A line on err for the i-th fault; beyond a thousand they are only counted. */
void report_fault(FILE *err, const struct blk_files *fs, const struct faults *fl, uint32_t i);

/* The progress line.  Asked as often as one likes, it tells only when the time has come. */
struct progress {
	FILE *err; /* NULL: never */
	bool terminal;
	uint64_t begun_ns, told_ns;
	bool line_open;
};
void progress_begin(struct progress *p, FILE *err, bool wanted, uint64_t now_ns);
void progress_survey(struct progress *p, const struct survey_progress *s, const struct blk_files *fs,
		     uint64_t now_ns);
/* done of total bytes, of blocks that are being scanned. */
void progress_scan(struct progress *p, const struct rescan_counts *c, uint64_t done, uint64_t total,
		   uint64_t now_ns);
/* Before anything else is written to the terminal. */
void progress_clear(struct progress *p);

#endif
