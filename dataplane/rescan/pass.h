/* pass.h - the second pass: chosen blocks through the scan pipeline, hits out.

   Threads  All calls on one thread, which is also scan worker 0; the other workers and the readers are its own.
   Memory   The index (about 26 bytes a locator), the scan's jobs, and the windows of readahead.h.
   Order    Hits come in the order of the files.  Copies of blocks that turned out bad are scanned at the end. */
#ifndef VIGIL_RESCAN_PASS_H
#define VIGIL_RESCAN_PASS_H

#include "rescan/report.h"
#include "txid/txid.h"

struct pass;

/* *quit is asked all the time: once true, every call ends soon. */
struct pass *pass_new(const struct txid_kernel *kernel, unsigned threads, const atomic_bool *quit);
void pass_free(struct pass *p);

/* All locators are loaded before the first block. */
bool pass_load(struct pass *p, const struct locator *l);
void pass_load_end(struct pass *p);

struct pass_job {
	const struct blk_files *files;
	const struct block_table *table;
	struct faults *faults;
	struct rescan_counts *counts;
	struct progress *progress;
	FILE *out, *err;
	uint32_t from, to;
	bool all; /* stale blocks, too */
};
/* False with a sentence in *why: memory or threads are out. */
bool pass_run(struct pass *p, const struct pass_job *job, const char **why);

uint64_t mono_ns(void);

#endif
