/* serve.h - `vigil-replay serve`: a Bitcoin node on a DPDK port of its own, which serves recorded or synthetic
   chains, announces them at a chosen pace, takes transactions, and reports what happened and when.

   Threads One, the EAL's main lcore. */
#ifndef VIGIL_SERVE_SERVE_H
#define VIGIL_SERVE_SERVE_H

#include "net/net.h"
#include "serve/fault.h"
#include "serve/chainset.h"

#define SERVE_HOLDS_MAX 64u

struct serve_options {
	const char *const *paths;
	unsigned path_cnt;
	const struct network *network; /* NULL: as the files say */
	uint32_t anchor_height;
	struct net_config net;
	uint16_t port;         /* 0: the network's */
	uint32_t start_blocks; /* known from the start */
	uint64_t interval_ns;  /* between announcements; 0: all at once */
	bool start_on_signal, start_on_peer;
	const char *start_file; /* or NULL */
	uint32_t hold
		[SERVE_HOLDS_MAX]; /* ascending: announcing stops once the tip is this high, until SIGUSR1 */
	unsigned hold_cnt;
	const char *report;
	struct faults faults;
	uint64_t exit_after_ns; /* 0: never */
	bool busy_poll, precompute;
};

/* argv after EAL's share; argv[0] is the command.  0, or the exit status; *done when there is nothing to run. */
int serve_parse(struct serve_options *o, int argc, char **argv, bool *done);
/* Before anything slow: a signal that comes early is kept. */
void serve_catch_signals(void);
int serve_run(const struct serve_options *o);

int serve_main(int argc, char **argv);

#endif
