/* fault.h - the misbehaviour of a replay node: what a bad or broken peer would send, made on purpose.

   Each fault is armed for the block at one height (or for a connection) and a number of times; afterwards the
   node behaves.
   Threads One thread. */
#ifndef VIGIL_SERVE_FAULT_H
#define VIGIL_SERVE_FAULT_H

#include "btc/block.h"

enum fault_kind {
	FAULT_STALL,           /* half of the block, then nothing on this connection for ever */
	FAULT_RESET,           /* half of the block, then RST */
	FAULT_UNREQUESTED,     /* after the block, one that nobody asked for */
	FAULT_CHECKSUM,        /* wrong checksum in the message's head */
	FAULT_MUTATE,          /* last transactions repeated so that the merkle root stays (CVE-2012-2459) */
	FAULT_CORRUPT,         /* one bit of the last transaction flipped; checksum right */
	FAULT_TRUNCATE,        /* the first half of the block as a whole message; checksum right */
	FAULT_NONCANONICAL,    /* the transaction count in a longer form than needed; checksum right */
	FAULT_OVERSIZE,        /* a head that announces 5,000,000 bytes */
	FAULT_GARBAGE,         /* random bytes in front of the block */
	FAULT_GREET_GARBAGE,   /* random bytes after the handshake; height is ignored */
	FAULT_HEADERS_NO_WORK, /* a header without work as the answer to getheaders; height is ignored */
	FAULT_KIND_CNT
};

/* As the options of `vigil-replay serve` and its report name them. */
const char *fault_name(enum fault_kind k);
/* With a height in the option's value ("H" or "H:COUNT"), or without ("" or "COUNT"). */
bool fault_needs_height(enum fault_kind k);

#define FAULTS_MAX 64u
struct faults {
	struct {
		enum fault_kind kind;
		uint32_t height, left;
	} armed[FAULTS_MAX];
	unsigned cnt;
};

bool fault_arm(struct faults *f, enum fault_kind k, uint32_t height, uint32_t times);
/* True if the fault is due here; counts it. */
bool fault_due(struct faults *f, enum fault_kind k, uint32_t height);

/* Damaged copies of a parsed block; out has room for 2 * BLOCK_SZ_MAX.  Each returns the size, 0 when this
   block cannot be damaged in that way. */
size_t fault_mutate(uint8_t *out, const uint8_t *block, size_t sz, const struct tx_view *tx, uint32_t tx_cnt);
size_t fault_noncanonical(uint8_t *out, const uint8_t *block, size_t sz, const struct tx_view *tx);

#endif
