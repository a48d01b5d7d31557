/* messages.h - what the main lcore (link) and the net lcore (sync) tell each other, by value over SPSC rings.

   Memory  `data` in either direction is malloc'd by the sender and freed by the receiver. */
#ifndef VIGIL_TOPO_MESSAGES_H
#define VIGIL_TOPO_MESSAGES_H

#include "link/link_wire.h"
#include "scan/scan.h"

enum net_cmd_kind {
	NET_CMD_START,     /* data: headers of the start record */
	NET_CMD_STOP,      /* answered by NET_NOTE_STOPPED when every buffer is back */
	NET_CMD_BROADCAST, /* data: raw transaction */
	NET_CMD_STATS,     /* answered by NET_NOTE_STATS */
	NET_CMD_STALE /* txid: the block's hash, or zeros.  Answered by notes, the last a NET_NOTE_STALE_END */
};

struct net_cmd {
	enum net_cmd_kind kind;
	uint32_t zero;
	uint64_t cookie;
	struct hash256 txid;
	struct sync_start start; /* its headers pointer is data */
	uint8_t *data;
	size_t data_sz;
};

enum net_note_kind {
	NET_NOTE_PEER,
	NET_NOTE_CHAIN,
	NET_NOTE_BROADCAST,
	NET_NOTE_STOPPED,
	NET_NOTE_START_FAILED,
	NET_NOTE_STATS, /* data: struct link_stat[stat_cnt] */
	NET_NOTE_STALE_MISSING,
	NET_NOTE_STALE_END
};

struct net_note {
	enum net_note_kind kind;
	uint32_t stat_cnt;
	uint64_t cookie;
	uint8_t *data;
	union {
		struct link_peer_state peer;
		struct link_chain_state chain;
		struct link_broadcast_result broadcast;
		struct link_stale_block stale;
		struct link_stale_end_record stale_end;
	} u;
};

/* Main to net: an event the pipeline is through with. */
struct net_done {
	struct chain_event ev;
	enum block_verdict verdict;
	uint32_t zero;
};

static_assert(sizeof(struct net_cmd) % 4 == 0, "a ring element is whole words");
static_assert(sizeof(struct net_note) % 4 == 0, "a ring element is whole words");
static_assert(sizeof(struct net_done) % 4 == 0, "a ring element is whole words");

#endif
