/* config.h - the settings of vigild: one table of keys drives the file, the command line, the checks and --help.

   Form       [section] headers and key=value lines; `#` or `;` at the start of a line is a comment, and so is what
              follows a `;` after a space.  The same keys on the command line are --SECTION.KEY=VALUE.
   Order      Command line over file over defaults.  Without --config no file is read.
   Errors     The first problem ends the loading, with one sentence that names the file, the line and the key (or the
              option).  Unknown sections and keys, values that do not fit, keys given twice and lines that are too
              long are errors; nothing is ignored or guessed.
              Whatever a sentence quotes, it is one line of printable ASCII (log_printable).
   Passwords  A file that holds rpc.password or tor.password and can be read by every user is refused, and any file
              that every user can write: it may name programs to run.
   Paths      `~/` at the start means $HOME.  Everything of one network lives in <data-dir>/<network>; sockets, store
              and key take their names there unless set.  Nothing is created here: see config_make_dirs.
   Threads    One thread, at start.  The struct is plain data and is not changed afterwards. */
#ifndef VIGIL_CONFIG_CONFIG_H
#define VIGIL_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "btc/hash.h"
#include "btc/network.h"
#include "log/log.h"

#define CONFIG_PATH_SZ   1024u
#define CONFIG_SOCKET_SZ 108u /* sun_path of a Unix socket, with its NUL */
#define CONFIG_TEXT_SZ   256u
#define CONFIG_NODES_MAX 8u

enum config_chain_start {
	CONFIG_START_TIP,   /* a new tower begins at the best tip */
	CONFIG_START_ANCHOR /* a new tower scans every block above the anchor */
};

struct config_node {
	/* Its login: a cookie file, or user and password; the others are empty. */
	char cookie[CONFIG_PATH_SZ];
	char user[CONFIG_TEXT_SZ], password[CONFIG_TEXT_SZ];
	char host[CONFIG_TEXT_SZ];
	uint16_t port; /* the network's usual RPC port where none was given */
	bool tls;      /* written with https:// */
};

struct config {
	/* [tower] */
	enum network_id network;
	char data_dir[CONFIG_PATH_SZ];
	/* [api] */
	char api_bind[64];
	uint32_t api_port; /* 0: any free port, reported in the log */
	uint32_t api_max_connections, api_max_connections_per_ip;
	uint32_t api_threads;
	uint32_t api_timeout_s;
	uint32_t api_body_limit; /* bytes, of an add_appointment body */
	/* [link] and [control]; resolved, never empty */
	char link_socket[CONFIG_SOCKET_SZ];
	char control_socket[CONFIG_SOCKET_SZ];
	/* [chain] */
	enum config_chain_start chain_start;
	struct {
		bool set; /* false: the network's genesis block, height 0 */
		struct hash256 hash;
		uint32_t height;
	} anchor;
	/* [teos] */
	uint32_t subscription_slots, subscription_duration, expiry_delta, min_to_self_delay;
	uint32_t max_appointments; /* 0: no limit */
	/* [rpc] */
	struct config_node nodes[CONFIG_NODES_MAX];
	unsigned node_cnt; /* 0: no node is asked; penalties go out by P2P alone */
	char rpc_user[CONFIG_TEXT_SZ], rpc_password[CONFIG_TEXT_SZ];
	char rpc_cookie_file[CONFIG_PATH_SZ]; /* as given; each node's login is in nodes[] */
	char rpc_certificate[CONFIG_PATH_SZ]; /* empty: the system's authorities */
	uint32_t rpc_timeout_ms;
	/* [broadcast] */
	uint32_t rebroadcast_blocks;
	uint32_t overdue_depth;
	/* [tor] */
	char tor_control[CONFIG_TEXT_SZ]; /* empty: no onion service */
	char tor_password[CONFIG_TEXT_SZ];
	char tor_cookie_file[CONFIG_PATH_SZ];
	uint32_t tor_onion_port;
	/* [alert] */
	char alert_command[CONFIG_PATH_SZ]; /* empty: none */
	uint32_t alert_interval_s, alert_timeout_s;
	/* [metrics] */
	char metrics_bind[64];
	uint32_t metrics_port; /* 0: none */
	/* [log] */
	uint32_t slow_ms; /* 0: nothing is slow */
	enum log_level log_level;
	char log_file[CONFIG_PATH_SZ]; /* empty: standard error */

	/* Derived. */
	char network_dir[CONFIG_PATH_SZ]; /* <data-dir>/<network> */
	char store_dir[CONFIG_PATH_SZ];   /* <network_dir>/store */
	char key_file[CONFIG_PATH_SZ];    /* <network_dir>/tower.key */
	char onion_file[CONFIG_PATH_SZ];  /* <network_dir>/onion_v3_sk */
	bool overwrite_key;               /* --overwrite-key: for this start, so never in the file */
	bool password_on_command_line;    /* any local user may see it: worth a warning */
};

enum config_verdict {
	CONFIG_RUN,     /* *cfg is complete */
	CONFIG_HELP,    /* --help was asked: print it and exit 0 */
	CONFIG_VERSION, /* --version was asked */
	CONFIG_BAD      /* why says what is wrong */
};

#define CONFIG_WHY_SZ 2048u

/* Reads argv[1..argc) and the file it names.  why has room for CONFIG_WHY_SZ bytes and holds one sentence without a
   newline on CONFIG_BAD. */
enum config_verdict config_load(struct config *cfg, int argc, char *const *argv, char *why);

/* Every option and key with its default, unit and meaning. */
void config_print_help(FILE *f);
/* The sample configuration file: every key, commented out, at its default. */
void config_print_sample(FILE *f);

/* Creates data_dir and network_dir with mode 0700 where they are missing (parents of data_dir too).  A network_dir that
   is somebody else's, or that others may write in, is refused: -EPERM.  0, or -errno and why names the path. */
int config_make_dirs(const struct config *cfg, char *why);

#endif
