/* lab.h - blocks made for a purpose, a scan whose kernel counts, and the three roles played by hand. */
#ifndef VIGIL_TESTS_UNIT_SCAN_LAB_H
#define VIGIL_TESTS_UNIT_SCAN_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scan/pool.h"
#include "scan/scan.h"

/* A block, its bytes outside of any buffer. */
struct lab_block {
	uint8_t *raw;
	uint32_t sz;
	struct hash256 hash;
	struct hash256 *txid;
	uint32_t tx_cnt;
	uint32_t height;
};

extern struct block_pool *lab_pool;
/* Transactions hashed by the scans of lab_scan_new, in all. */
extern atomic_ulong lab_hashed;

/* EAL, kernel, a pool of buf_cnt buffers. */
bool lab_start(unsigned buf_cnt);
uint32_t lab_rnd(uint32_t below);
/* A thread's turn is over: when nothing came of many, it leaves the processor to the others for a moment. */
void lab_rest(bool worked, unsigned *idle);
/* tx_cnt transactions of about tx_sz bytes, with and without witness; tag makes the txids unique. */
void lab_block_make(struct lab_block *b, uint32_t height, uint32_t tx_cnt, uint32_t tx_sz, uint64_t tag);
void lab_block_free(struct lab_block *b);

struct scan *lab_scan_new(unsigned workers, uint32_t window);
void lab_turn(struct scan *s, unsigned workers); /* until nobody has anything to do */
/* A CHAIN_START goes in and comes out. */
void lab_begin(struct scan *s, unsigned workers);

/* The block arrives up to `to`, from what was there before; the first time with its header. */
struct lab_arrival {
	const struct lab_block *b;
	struct block_buf *buf;
	uint32_t present;
};
void lab_arrive(struct scan *s, struct lab_arrival *a, const struct lab_block *b);
void lab_grow(struct scan *s, struct lab_arrival *a, uint32_t to);
bool lab_submit(struct scan *s, const struct lab_arrival *a, enum chain_event_kind kind, uint32_t epoch);
void lab_add(struct scan *s, const struct hash256 *txid, enum locator_scheme scheme, uint64_t cookie);
/* The next output must be this event; it is given back. */
void lab_expect(struct scan *s, enum chain_event_kind kind, uint32_t height, enum block_verdict v,
		uint32_t hit_cnt);
void lab_give_back(struct scan *s, const struct scan_output *o);

#endif
