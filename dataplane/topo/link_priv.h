/* link_priv.h - inside topo/: the parts of the main lcore's role. */
#ifndef VIGIL_TOPO_LINK_PRIV_H
#define VIGIL_TOPO_LINK_PRIV_H

#include "link/frame.h"
#include "topo/link_role.h"

/* More than the largest record, so that a hit with a whole block's transaction always fits in the end. */
#define LINK_OUT_CAP (2u * LINK_REC_SZ_MAX)

enum link_state { LINK_LISTEN, LINK_HELLO, LINK_LOAD, LINK_RUN, LINK_END };

/* A block reported and not yet acknowledged. */
struct unacked {
	struct hash256 hash;
};

struct link_role {
	const struct options *o;
	const char *kernel;
	unsigned shard_cnt;
	struct scan *scan;
	struct net_role *net;
	int listen_fd, fd;
	enum link_state state;
	struct link_reader in;
	struct link_writer out;
	uint64_t accept_ns, read_ns, now_ns;

	/* A record that could not be carried out yet for lack of room; nothing is read meanwhile. */
	const struct link_head *pending;
	uint32_t pending_pos; /* locators of a WATCH_LOAD already handed on */

	/* The session's load: EXPECT and LOADED have been handed on; what came, and since when. */
	bool load_begun, load_over;
	uint64_t loaded_cnt, hello_ns;

	/* An output that is partly written. */
	bool have_output;
	struct scan_output output;
	uint32_t output_pos; /* its hits already written */

	/* Blocks reported and not acknowledged, oldest first. */
	struct unacked *unacked;
	uint32_t unacked_from, unacked_cnt; /* ring of o->window + 1 */
	uint64_t emitted_cnt;

	bool start_refused; /* by the net lcore: this session cannot go on */

	/* The end of a session. */
	bool stop_sent, stopped, clear_sent;
	unsigned cleared_cnt;
};

void link_log(const char *level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* link_in.c: carries out the records that have arrived.  False when the session must end. */
bool link_in_poll(struct link_role *r, bool *worked);
/* link_out.c: turns scan output and net notes into records while there is room. */
bool link_out_poll(struct link_role *r);
bool link_out_hello(struct link_role *r);
/* link_out.c: the window. */
void link_window_reset(struct link_role *r);
void link_window_ack(struct link_role *r, const struct hash256 *hash);

#endif
