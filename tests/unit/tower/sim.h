/* sim.h - a tower on a real store in a temporary directory, with a small dataplane, a client and a node around it that do
   what the contracts say and remember what they saw.

   The dataplane keeps every block it was given, watches what it is told to, reports hits before their block, and answers a
   new watch from the last SIM_RECENT blocks (by sim_settle, because a tower_ops call must not call back). */
#ifndef VIGIL_TESTS_TOWER_SIM_H
#define VIGIL_TESTS_TOWER_SIM_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "teos/blob.h"
#include "tower/tower.h"

#define SIM_RECENT    6u
#define SIM_BLOCK_MAX 20000u
#define SIM_TX_MAX    64u
#define SIM_START     1000u /* height of the tip of a new tower */

struct tx {
	uint8_t raw[8192];
	uint32_t sz;
	struct hash256 txid;
};

struct sim_block {
	uint8_t header[HEADER_SZ];
	struct hash256 hash;
	const struct tx *tx[SIM_TX_MAX];
	uint32_t tx_cnt;
};

struct sim {
	char dir[64], db[96];
	struct tower_config cfg;
	struct store *st;
	struct tower *t;

	/* the dataplane */
	struct sim_block *chain; /* chain[i] is block start + 1 + i */
	uint32_t start, chain_cnt;
	struct hash256 start_hash;
	struct locator *watched, *asked;
	size_t watched_cnt, watched_cap, asked_cnt, asked_cap;
	enum client_generation generation; /* of sim_register */
	uint32_t salt;                     /* makes the blocks of another branch different */
	uint64_t clock_ns;

	/* what was seen */
	struct {
		struct hash256 txid;
		uint32_t at; /* tip of the dataplane */
	} sent[4096];
	unsigned asked_nodes_cnt; /* of these, by RPC only */
	unsigned sent_cnt, ack_cnt, reset_cnt;
	bool keeps_dead;              /* tower_purge is left to the test */
	struct tower_alert alert[64]; /* without their pointers */
	unsigned alert_cnt;
	bool lost; /* the tower asked for another session: nothing of this one is taken (sim_tick begins it) */
	uint32_t acked_height;
	struct hash256 acked_hash;
};

void sim_open(struct sim *s); /* new directory */
void sim_close(struct sim *s);
/* Closes tower and store (syncing), and opens both again; the dataplane starts a new session. */
void sim_restart(struct sim *s);
void sim_session(struct sim *s);
/* Closes tower and store and frees what is beside the chain; and opens them again, without a session. */
void sim_let_go(struct sim *s);
void sim_reopen(struct sim *s);

/* --- blocks */
uint32_t sim_tip(const struct sim *s);
void sim_begin_at(struct sim *s, uint32_t height); /* instead of SIM_START; before anything else */
/* Mines a block with these transactions (NULL ends the list), reports it and answers new watches. */
void sim_mine(struct sim *s, ...) __attribute__((sentinel));
void sim_mine_list(struct sim *s, const struct tx *const *tx, uint32_t cnt);
void sim_mine_empty(struct sim *s, uint32_t cnt);
void sim_disconnect(struct sim *s, uint32_t cnt);
/* Reports block i of the chain again, hits and all. */
void sim_report(struct sim *s, uint32_t height);
/* Answers new watches, lets syncs finish, ticks. */
void sim_settle(struct sim *s);
void sim_tick(struct sim *s, uint64_t advance_ns);
bool sim_watches(const struct sim *s, const struct locator *l);
unsigned sim_sent(const struct sim *s, const struct hash256 *txid);

/* --- transactions */
struct tx tx_make(uint32_t seed); /* two outputs, spends nothing we know */
struct tx tx_spend(const struct tx *prev, uint32_t vout, uint32_t seed);
/* The same with exactly sz bytes (at least 400). */
struct tx tx_spend_sized(const struct tx *prev, uint32_t vout, uint32_t seed, uint32_t sz);

/* --- clients */
struct user_id sim_user(unsigned n);
enum tower_status sim_register(struct sim *s, unsigned user, struct tower_user_info *out);
/* Adds and waits until it is durable: TOWER_OK, or why not. */
enum tower_status sim_add(struct sim *s, unsigned user, const struct locator *l, const uint8_t *blob,
			  uint32_t sz, struct tower_add_reply *out);
/* An appointment for this dispute and penalty, derived by the scheme. */
enum tower_status sim_watch(struct sim *s, unsigned user, const struct tx *dispute, const struct tx *penalty,
			    enum locator_scheme scheme);
enum tower_status sim_find(struct sim *s, unsigned user, const struct tx *dispute, struct tower_found *f);
uint32_t sim_slots(struct sim *s, unsigned user);
void sim_result(struct sim *s, const struct tx *penalty, enum node_verdict v, int32_t code);

/* --- the store, as text: every row of every column family.  To be freed. */
char *sim_dump(struct sim *s);
void assert_dump_equal(const char *a, const char *b);
/* Counters equal what the rows say, and what is watched is what must be. */
void sim_check(struct sim *s);

int sim_setup(void **state);
int sim_teardown(void **state);

#endif
