/* world.h - feed between a fake tower that records its calls and a fake dataplane on a real socket, all on one thread
   and moved in steps. */
#ifndef WORLD_H
#define WORLD_H

#include "feed/feed_priv.h"

/* --- the fake tower ----------------------------------------------------------------------------------------- */

enum called { T_START, T_HIT, T_CONNECT, T_DISCONNECT, T_LOST, T_RESULT, T_WAY_OPEN, CALLED_CNT };

struct tower {
	struct locator *watched;
	size_t watched_cnt;
	unsigned pages; /* given out */
	struct tower_resume resume;
	uint8_t headers[8 * HEADER_SZ];
	unsigned called[CALLED_CNT];
	unsigned settled; /* calls of tower_watch_settled */
	char order[4096]; /* one letter a call: S H h(recent) C D L R W */
	struct link_chain_start start;
	struct link_hit hit;
	uint8_t hit_raw[64];
	bool hit_has_raw;
	struct link_block_connected connected;
	struct node_answer result;
	struct link_bcast_peers peers; /* of result, whose own is gone */
	struct hash256 result_txid;
	struct feed *feed;
	bool ack;    /* acknowledge each block at once */
	bool answer; /* broadcast for each hit */
	/* Called at each block connected, before anything else; NULL: nothing. */
	void (*at_block)(struct tower *t);
};

/* --- the fake dataplane ------------------------------------------------------------------------------------- */

struct dp {
	int listener, fd; /* fd -1: no connection */
	struct link_reader in;
	struct link_writer out;
	bool deaf; /* does not read */
	unsigned accepted;
	/* The records of this connection, one after the other. */
	uint8_t *rec;
	size_t rec_sz;
	bool eof; /* feed has closed */
};

struct world {
	uv_loop_t loop;
	struct tower tower;
	struct dp dp;
	struct feed *feed;
	char path[64];
};

struct world *world_new(const struct feed_config *cfg); /* NULL: regtest, tip */
void world_free(struct world *w);
/* One turn of everything. */
void step(struct world *w);
uint64_t test_now_ms(void);
/* Steps until cond holds; false after ms. */
#define STEP_UNTIL(w, cond, ms)                         \
	({                                              \
		uint64_t end_ = test_now_ms() + (ms);   \
		while (!(cond) && test_now_ms() < end_) \
			step(w);                        \
		(bool)(cond);                           \
	})

/* The nth (from 0) record of a type from control, or NULL. */
const void *dp_rec(const struct world *w, enum link_type type, unsigned nth);
unsigned dp_cnt(const struct world *w, enum link_type type);
void dp_put(struct world *w, enum link_type type, const void *rec, size_t sz, const void *tail, size_t tail_sz);
void dp_raw(struct world *w, const void *p, size_t sz);
void dp_hang_up(struct world *w);
void dp_hello(struct world *w);

/* A chain of headers that link; blocks[i] is at height base+1+i. */
struct chain {
	uint8_t header[32][HEADER_SZ];
	struct hash256 hash[32];
};
void chain_make(struct chain *c, const struct hash256 *base, unsigned salt);
/* CHAIN_START for what START asked, at height with hash. */
void dp_chain_start(struct world *w, uint32_t height, const struct hash256 *hash);
void dp_connect(struct world *w, const struct chain *c, unsigned i, uint32_t height, uint32_t hit_cnt);
struct link_hit hit_make(const struct hash256 *block, uint32_t height, enum locator_scheme scheme);
void dp_stale_block(struct world *w, const struct hash256 *hash, uint32_t status, uint32_t hit_cnt);
void dp_stale_hit(struct world *w, const struct hash256 *hash);
struct locator locator_nr(uint32_t i);
/* Runs the opening up to FEED_ON at the genesis block (mode TIP). */
void open_session(struct world *w);
enum feed_state state_of(const struct world *w);
struct feed_info info_of(const struct world *w);

#endif
