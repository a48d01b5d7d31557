/* options.h - what stands after "--" on vigil-dataplane's command line.

   Threads Start-up only. */
#ifndef VIGIL_TOPO_OPTIONS_H
#define VIGIL_TOPO_OPTIONS_H

#include "btc/network.h"
#include "net/net.h"

#define PEER_MAX       64u
#define SCAN_LCORE_MAX 64u
#define LCORE_NONE     UINT32_MAX

struct options {
	const struct network *network;
	const char *link_path;
	struct net_config net;
	struct net_addr peer[PEER_MAX];
	uint32_t peer_cnt;
	uint32_t recent_blocks;
	uint32_t window;
	uint32_t block_bufs;
	uint32_t inflight;
	uint32_t ban_s;
	uint32_t net_lcore; /* LCORE_NONE: chosen from the EAL's lcores */
	uint32_t scan_lcore[SCAN_LCORE_MAX];
	uint32_t scan_lcore_cnt; /* 0: chosen */
	bool busy_poll;
	uint32_t idle_sleep_us; /* longest nap of the port's lcore */
	bool stripped;
	bool has_min_chain_work; /* false: the network's own */
	struct u256 min_chain_work;
	const char *txid_kernel; /* NULL: the fastest */
	unsigned cpu_mask;       /* CPU features the kernels may use */
};

enum options_result { OPTIONS_RUN, OPTIONS_EXIT_OK, OPTIONS_EXIT_BAD };

/* argv[0] is the program's name.  Prints help, version, or one line that names the bad option. */
enum options_result options_parse(struct options *o, int argc, char **argv);
/* The text of --help; also printed when --help stands before "--". */
void options_help(void);

#endif
