/* survey.h - the first pass: every record's header, without the bodies.

   Threads  survey_run starts its own, one file each at a time, and ends them.  Reads wait for the disk more than they
            compute, so there are more of them than CPUs.
   Memory   About 170 bytes a block, twice that while files are put together. */
#ifndef VIGIL_RESCAN_SURVEY_H
#define VIGIL_RESCAN_SURVEY_H

#include <stdatomic.h>

#include "rescan/files.h"
#include "rescan/table.h"

/* Something in a file that is no good block. */
enum fault_kind {
	FAULT_GARBAGE,    /* bytes that belong to no record */
	FAULT_UNFINISHED, /* the same at the end of a file that a running node may be writing to: no error */
	FAULT_UNREADABLE, /* the system does not give the bytes */
	FAULT_BAD_BLOCK   /* a record whose body does not parse, or is not that of its header */
};

struct fault {
	enum fault_kind kind;
	uint32_t file;
	uint64_t off, sz;
	const char *why; /* static text */
};

struct faults {
	struct fault *fault;
	uint32_t cnt, cap;
};
/* False when memory is out. */
bool faults_add(struct faults *fl, const struct fault *f);
void faults_free(struct faults *fl);

struct survey_progress {
	atomic_uint files;
	atomic_uint blocks;
	atomic_uint_fast64_t bytes; /* passed over */
};

/* Fills the table (table_init before) and links it.  Stops early when *quit becomes true: the table is then empty.
   False with a sentence in *why: memory or threads are out. */
bool survey_run(const struct blk_files *fs, struct block_table *t, struct faults *fl, struct survey_progress *p,
		const atomic_bool *quit, const char **why);

#endif
