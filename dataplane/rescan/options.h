/* options.h - the command line of vigil-rescan.

   Threads Start-up only. */
#ifndef VIGIL_RESCAN_OPTIONS_H
#define VIGIL_RESCAN_OPTIONS_H

#include "btc/network.h"

#define RESCAN_THREADS_MAX 64u

struct options {
	const struct network *network; /* NULL: by the first magic found */
	uint32_t from, to;             /* heights, both included */
	bool all;                      /* stale blocks, too */
	unsigned threads;
	const char *locators; /* "-": standard input */
	int progress;         /* 1, 0, or -1: when standard error is a terminal */
	const char *txid_kernel;
	char **path; /* what is to be scanned */
	int path_cnt;
};

enum options_result { OPTIONS_RUN, OPTIONS_EXIT_OK, OPTIONS_EXIT_BAD };

/* Prints help, version, or one line that names the bad option. */
enum options_result options_parse(struct options *o, int argc, char **argv);

#endif
