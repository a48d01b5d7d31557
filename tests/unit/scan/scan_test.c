/* The scan pipeline: what comes out, in which order, and that nothing falls between a block and an add. */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <unistd.h>
#include <cmocka.h>
#include <rte_eal.h>
#include <rte_cycles.h>
#include "btc/sha256.h"
#include "scan/pool.h"
#include "scan/scan.h"

#define SEED 0xfeedu

static const struct txid_kernel *kernel;
static struct block_pool *pool;
static unsigned scan_no;

/* --- blocks of our own making ---------------------------------------------------------------------------- */

/* A legacy transaction of 1 input and 1 output whose txid depends on tag; a coinbase when coinbase is set. */
static size_t put_tx(uint8_t *p, uint64_t tag, bool coinbase)
{
	uint8_t *q = p;

	memset(q, 0, 128);
	q[0] = 2;
	q += 4;
	*q++ = 1;
	if (coinbase)
		memset(q + 32, 0xff, 4);
	else
		memcpy(q, &tag, 8), q[31] = 1;
	q += 36;
	*q++ = 8;
	memcpy(q, &tag, 8);
	q += 8 + 4;
	*q++ = 1;
	q += 8;
	*q++ = 1;
	*q++ = 0x51;
	q += 4;
	return (size_t)(q - p);
}

struct made {
	struct chain_event ev;
	struct hash256 txid[64];
	unsigned tx_cnt;
};

static void make_block(struct made *m, enum chain_event_kind kind, uint32_t height, unsigned tx_cnt,
		       uint64_t tag)
{
	struct hash256 scratch[65];
	struct block_buf *b = block_pool_get(pool);
	uint8_t *p;
	bool mutated;
	struct hash256 root;

	assert_non_null(b);
	memset(m, 0, sizeof(*m));
	m->tx_cnt = tx_cnt;
	p = b->data + HEADER_SZ;
	*p++ = (uint8_t)tx_cnt;
	for (unsigned i = 0; i < tx_cnt; i++) {
		size_t sz = put_tx(p, tag + i, i == 0);

		m->txid[i] = sha256d(p, sz);
		p += sz;
	}
	root = merkle_root(kernel, m->txid, tx_cnt, scratch, &mutated);
	memset(b->data, 0, HEADER_SZ);
	memcpy(b->data + 36, root.b, HASH_SZ);
	memcpy(b->data + 68, &height, 4);
	b->sz = (uint32_t)(p - b->data);
	m->ev = (struct chain_event){.kind = kind, .height = height, .buf = b, .last_byte_ns = height};
	memcpy(m->ev.header, b->data, HEADER_SZ);
	m->ev.hash = sha256d(b->data, HEADER_SZ);
}

static struct scan *new_scan_remembering(unsigned workers, uint32_t window, uint32_t recent_blocks)
{
	static char name[16][16];
	struct scan_config c = {.kernel = kernel,
				.worker_cnt = workers,
				.seed = SEED,
				.recent_blocks = recent_blocks,
				.window = window,
				.name = name[scan_no % 16]};
	struct scan *s;

	snprintf(name[scan_no % 16], sizeof(name[0]), "t%u", scan_no);
	scan_no++;
	s = scan_new(&c);
	assert_non_null(s);
	return s;
}

static struct scan *new_scan(unsigned workers, uint32_t window)
{
	return new_scan_remembering(workers, window, 6);
}

static void submit(struct scan *s, const struct chain_event *ev)
{
	struct scan_event e = {.ev = *ev};

	assert_true(scan_submit(s, &e));
}

static void turn(struct scan *s, unsigned workers)
{
	for (unsigned n = 0; n < 50; n++)
		for (unsigned w = 0; w < workers; w++)
			scan_worker_poll(s, w);
}

static void give_back(struct scan *s, const struct scan_output *o)
{
	scan_output_release(s, o);
	if (o->kind == SCAN_OUT_EVENT && o->event.ev.buf != NULL)
		block_pool_put(pool, o->event.ev.buf);
}

static void start(struct scan *s, unsigned workers)
{
	struct chain_event ev = {.kind = CHAIN_START, .height = 9};
	struct scan_output o;

	submit(s, &ev);
	turn(s, workers);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.event.ev.kind, CHAIN_START);
	give_back(s, &o);
}

static void add(struct scan *s, const struct hash256 *txid, enum locator_scheme scheme, uint64_t cookie)
{
	struct scan_edit e = {.kind = SCAN_ADD, .cookie = cookie, .locator = locator_of_txid(txid, scheme)};

	assert_true(scan_edit(s, &e));
}

static void hits_come_in_block_order_in_both_forms(void **state)
{
	for (unsigned workers = 1; workers <= 5; workers += 2) {
		struct scan *s = new_scan(workers, 8);
		struct made m;
		struct scan_output o;

		(void)state;
		start(s, workers);
		make_block(&m, CHAIN_CONNECT, 10, 40, 1000);
		add(s, &m.txid[39], LOCATOR_INTERNAL, 1);
		add(s, &m.txid[7], LOCATOR_DISPLAY, 2);
		add(s, &m.txid[0], LOCATOR_INTERNAL, 3);
		add(s, &m.txid[7], LOCATOR_INTERNAL, 4);
		turn(s, workers);
		for (unsigned i = 0; i < 4; i++) {
			assert_true(scan_output(s, &o));
			assert_int_equal(o.kind, SCAN_OUT_ADDED);
			assert_int_equal(o.error, 0);
			assert_int_equal(o.recent_cnt, 0);
			give_back(s, &o);
		}
		submit(s, &m.ev);
		turn(s, workers);
		assert_true(scan_output(s, &o));
		assert_int_equal(o.verdict, BLOCK_GOOD);
		assert_int_equal(o.hit_cnt, 4);
		assert_int_equal(o.hit[0].tx_idx, 0);
		assert_int_equal(o.hit[1].tx_idx, 7);
		assert_int_equal(o.hit[1].scheme, LOCATOR_INTERNAL);
		assert_int_equal(o.hit[2].tx_idx, 7);
		assert_int_equal(o.hit[2].scheme, LOCATOR_DISPLAY);
		assert_int_equal(o.hit[3].tx_idx, 39);
		assert_true(hash256_eq(&o.txid[39], &m.txid[39]));
		give_back(s, &o);
		assert_false(scan_output(s, &o));
		scan_free(s);
	}
}

static void a_late_add_finds_its_breach_until_the_block_is_evicted_or_taken_back(void **state)
{
	struct scan *s = new_scan(2, 8);
	struct made a, b;
	struct scan_output o;
	struct scan_edit evict = {.kind = SCAN_EVICT, .height = 10};
	struct chain_event back = {.kind = CHAIN_DISCONNECT};

	(void)state;
	start(s, 2);
	make_block(&a, CHAIN_CONNECT, 10, 5, 100);
	submit(s, &a.ev);
	make_block(&b, CHAIN_CONNECT, 11, 5, 200);
	submit(s, &b.ev);
	turn(s, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(scan_output(s, &o));
		give_back(s, &o);
	}
	add(s, &a.txid[3], LOCATOR_DISPLAY, 1);
	turn(s, 2);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.recent_cnt, 1);
	assert_int_equal(o.recent[0].height, 10);
	assert_true(hash256_eq(&o.recent[0].block_hash, &a.ev.hash));
	assert_int_equal(o.recent[0].scheme, LOCATOR_DISPLAY);

	assert_true(scan_edit(s, &evict));
	back.hash = b.ev.hash;
	back.height = 11;
	submit(s, &back);
	turn(s, 2);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.event.ev.kind, CHAIN_DISCONNECT);
	add(s, &a.txid[3], LOCATOR_DISPLAY, 2);
	add(s, &b.txid[1], LOCATOR_INTERNAL, 3);
	turn(s, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(scan_output(s, &o));
		assert_int_equal(o.kind, SCAN_OUT_ADDED);
		assert_int_equal(o.recent_cnt, 0);
	}
	scan_free(s);
}

static void without_recent_blocks_a_late_add_finds_nothing_and_a_block_still_hits(void **state)
{
	struct scan *s = new_scan_remembering(2, 8, 0);
	struct made a, b;
	struct scan_output o;
	struct scan_stats st;

	(void)state;
	start(s, 2);
	make_block(&a, CHAIN_CONNECT, 10, 5, 100);
	make_block(&b, CHAIN_CONNECT, 11, 5, 200);
	submit(s, &a.ev);
	turn(s, 2);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.hit_cnt, 0);
	give_back(s, &o);
	add(s, &a.txid[3], LOCATOR_DISPLAY, 1);
	add(s, &b.txid[3], LOCATOR_DISPLAY, 2);
	turn(s, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(scan_output(s, &o));
		assert_int_equal(o.recent_cnt, 0);
	}
	submit(s, &b.ev);
	turn(s, 2);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.hit_cnt, 1);
	give_back(s, &o);
	scan_stats_get(s, &st);
	assert_int_equal(st.index.recent_txids, 0);
	scan_free(s);
}

static void a_bad_block_has_no_effect_and_cancels_its_epoch_only(void **state)
{
	struct scan *s = new_scan(1, 8);
	struct made m[4];
	struct scan_output o;
	const enum block_verdict want[4] = {BLOCK_BAD_MERKLE, BLOCK_CANCELLED, BLOCK_GOOD, BLOCK_BAD_PARSE};
	struct scan_stats st;

	(void)state;
	start(s, 1);
	for (unsigned i = 0; i < 4; i++) {
		make_block(&m[i], CHAIN_CONNECT, 10 + i, 5, 100 * (i + 1));
		m[i].ev.epoch = i < 2 ? 1 : i;
	}
	m[0].ev.buf->data[HEADER_SZ + 60] ^= 1; /* a script byte: the txid changes, the root does not */
	m[3].ev.buf->sz--;
	add(s, &m[1].txid[2], LOCATOR_INTERNAL, 1);
	turn(s, 1);
	assert_true(scan_output(s, &o));
	for (unsigned i = 0; i < 4; i++)
		submit(s, &m[i].ev);
	turn(s, 1);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(scan_output(s, &o));
		assert_int_equal(o.verdict, want[i]);
		assert_int_equal(o.hit_cnt, 0);
		give_back(s, &o);
	}
	/* The cancelled block is not among the recent ones. */
	add(s, &m[1].txid[3], LOCATOR_INTERNAL, 2);
	turn(s, 1);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.recent_cnt, 0);
	scan_stats_get(s, &st);
	assert_int_equal(st.bad_merkle, 1);
	assert_int_equal(st.cancelled, 1);
	assert_int_equal(st.blocks, 1);
	scan_free(s);
}

/* A better branch may turn up while a bad block is on its way: what is undone for it comes again in the next epoch. */
static void a_disconnect_behind_a_bad_block_is_cancelled_with_it(void **state)
{
	struct scan *s = new_scan(1, 8);
	struct made good, bad;
	struct scan_output o;
	const enum block_verdict want[5] = {BLOCK_GOOD, BLOCK_BAD_MERKLE, BLOCK_CANCELLED, BLOCK_CANCELLED,
					    BLOCK_GOOD};

	(void)state;
	start(s, 1);
	make_block(&good, CHAIN_CONNECT, 10, 5, 100);
	make_block(&bad, CHAIN_CONNECT, 11, 5, 200);
	bad.ev.buf->data[HEADER_SZ + 60] ^= 1;
	submit(s, &good.ev);
	submit(s, &bad.ev);
	for (unsigned i = 0; i < 3; i++) {
		struct chain_event undo = i == 0 ? bad.ev : good.ev;

		undo.kind = CHAIN_DISCONNECT;
		undo.buf = NULL;
		undo.epoch += i == 2;
		submit(s, &undo);
		turn(s, 1);
		if (i != 1)
			continue;
		/* The good one is still among the recent blocks. */
		for (unsigned n = 0; n < 4; n++) {
			assert_true(scan_output(s, &o));
			assert_int_equal(o.verdict, want[n]);
			give_back(s, &o);
		}
		add(s, &good.txid[2], LOCATOR_INTERNAL, 1);
		turn(s, 1);
		assert_true(scan_output(s, &o));
		assert_int_equal(o.recent_cnt, 1);
	}
	assert_true(scan_output(s, &o));
	assert_int_equal(o.verdict, want[4]);
	give_back(s, &o);
	add(s, &good.txid[3], LOCATOR_INTERNAL, 2);
	turn(s, 1);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.recent_cnt, 0);
	scan_free(s);
}

/* Its hits come out, nothing else: it is not remembered, opens no gap in the window, and is in no epoch. */
static void a_stale_block_is_only_looked_up(void **state)
{
	struct scan *s = new_scan(2, 1);
	struct made stale, late, bad, bad_stale, good;
	struct scan_output o;

	(void)state;
	start(s, 2);
	make_block(&stale, CHAIN_STALE, 8, 5, 100);
	make_block(&bad, CHAIN_CONNECT, 10, 5, 200);
	make_block(&late, CHAIN_STALE, UINT32_MAX, 5, 300);
	make_block(&bad_stale, CHAIN_STALE, 8, 5, 400);
	make_block(&good, CHAIN_CONNECT, 10, 5, 500);
	bad.ev.buf->data[HEADER_SZ + 60] ^= 1;
	bad_stale.ev.buf->data[HEADER_SZ + 60] ^= 1;
	good.ev.epoch = 1;
	bad_stale.ev.epoch = 1;
	add(s, &stale.txid[2], LOCATOR_DISPLAY, 1);
	add(s, &late.txid[1], LOCATOR_INTERNAL, 2);
	turn(s, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(scan_output(s, &o));
		give_back(s, &o);
	}
	submit(s, &stale.ev);
	submit(s, &bad.ev);
	submit(s, &late.ev); /* of the epoch that has just been spoilt */
	submit(s, &bad_stale.ev);
	submit(s, &good.ev);
	turn(s, 2);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.verdict, BLOCK_GOOD);
	assert_int_equal(o.event.ev.kind, CHAIN_STALE);
	assert_int_equal(o.hit_cnt, 1);
	assert_int_equal(o.hit[0].tx_idx, 2);
	give_back(s, &o);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.verdict, BLOCK_BAD_MERKLE);
	give_back(s, &o);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.verdict, BLOCK_GOOD);
	assert_int_equal(o.hit_cnt, 1);
	give_back(s, &o);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.verdict, BLOCK_BAD_MERKLE);
	give_back(s, &o);
	/* A window of one block would be shut if a stale one counted. */
	assert_true(scan_output(s, &o));
	assert_int_equal(o.verdict, BLOCK_GOOD);
	assert_int_equal(o.event.ev.kind, CHAIN_CONNECT);
	give_back(s, &o);
	/* Among the recent blocks is only the one of the chain. */
	add(s, &stale.txid[3], LOCATOR_INTERNAL, 3);
	turn(s, 2);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.recent_cnt, 0);
	add(s, &good.txid[3], LOCATOR_INTERNAL, 4);
	turn(s, 2);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.recent_cnt, 1);
	scan_free(s);
}

static void a_mutated_block_is_named_so(void **state)
{
	struct scan *s = new_scan(1, 8);
	struct made m;
	struct scan_output o;
	size_t tx_sz;
	uint8_t probe[128];

	(void)state;
	start(s, 1);
	make_block(&m, CHAIN_CONNECT, 10, 3, 100);
	/* Three transactions with the last one repeated have the same merkle root. */
	tx_sz = put_tx(probe, 1, false);
	memcpy(m.ev.buf->data + m.ev.buf->sz, m.ev.buf->data + m.ev.buf->sz - tx_sz, tx_sz);
	m.ev.buf->sz += (uint32_t)tx_sz;
	m.ev.buf->data[HEADER_SZ] = 4;
	submit(s, &m.ev);
	turn(s, 1);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.verdict, BLOCK_MUTATED);
	give_back(s, &o);
	scan_free(s);
}

static void blocks_wait_while_control_has_not_acknowledged_the_window(void **state)
{
	struct scan *s = new_scan(1, 2);
	struct made m[4];
	struct scan_output o;

	(void)state;
	start(s, 1);
	for (unsigned i = 0; i < 4; i++) {
		make_block(&m[i], CHAIN_CONNECT, 10 + i, 2, 100 * (i + 1));
		submit(s, &m[i].ev);
	}
	turn(s, 1);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(scan_output(s, &o));
		give_back(s, &o);
	}
	assert_false(scan_output(s, &o));
	scan_ack(s, 1);
	turn(s, 1);
	assert_true(scan_output(s, &o));
	give_back(s, &o);
	assert_false(scan_output(s, &o));
	/* Adds are answered while blocks wait: control may need that answer to go on. */
	add(s, &m[0].txid[0], LOCATOR_INTERNAL, 1);
	turn(s, 1);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.kind, SCAN_OUT_ADDED);
	scan_ack(s, 4);
	turn(s, 1);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.event.ev.height, 13);
	give_back(s, &o);
	scan_free(s);
}

static void clear_is_answered_by_every_worker_after_what_it_owed(void **state)
{
	struct scan *s = new_scan(3, 8);
	struct scan_edit clear = {.kind = SCAN_CLEAR};
	struct hash256 h = {{1}};
	struct scan_output o;

	(void)state;
	for (uint64_t i = 0; i < 20; i++) {
		h.b[1] = (uint8_t)i;
		add(s, &h, LOCATOR_INTERNAL, i);
	}
	assert_true(scan_edit(s, &clear));
	turn(s, 3);
	for (unsigned added = 0, cleared = 0; cleared < 3;) {
		assert_true(scan_output(s, &o));
		added += o.kind == SCAN_OUT_ADDED;
		cleared += o.kind == SCAN_OUT_CLEARED;
		if (cleared == 3)
			assert_int_equal(added, 20);
	}
	assert_true(scan_edits_done(s));
	scan_free(s);
}

/* --- loads, and everything together against a plain list ------------------------------------------------------ */

static void load(struct scan *s, const struct hash256 *txid, enum locator_scheme scheme)
{
	struct scan_edit e = {.kind = SCAN_LOAD, .locator = locator_of_txid(txid, scheme)};

	assert_true(scan_edit(s, &e));
}

static void loads_are_done_when_said_to_be_and_watched_by_the_next_block_in_any_case(void **state)
{
	for (unsigned workers = 1; workers <= 3; workers += 2) {
		struct scan *s = new_scan(workers, 8);
		const struct scan_edit expect = {.kind = SCAN_EXPECT, .cookie = 100000},
				       loaded = {.kind = SCAN_LOADED}, clear = {.kind = SCAN_CLEAR};
		struct scan_stats st;
		struct scan_output o;
		struct made m[2];

		(void)state;
		start(s, workers);
		make_block(&m[0], CHAIN_CONNECT, 10, 40, 1000);
		make_block(&m[1], CHAIN_CONNECT, 11, 40, 2000);
		assert_true(scan_edit(s, &expect));
		for (unsigned i = 0; i < 40; i += 2)
			load(s, &m[0].txid[i], LOCATOR_INTERNAL);
		turn(s, workers);
		assert_false(scan_edits_done(s));
		assert_true(scan_edit(s, &loaded));
		assert_false(scan_edits_done(s));
		turn(s, workers);
		assert_true(scan_edits_done(s));
		scan_stats_get(s, &st);
		assert_int_equal(st.loads, 20);
		assert_int_equal(st.index.locators, 20);
		load(s, &m[1].txid[5], LOCATOR_DISPLAY);
		turn(s, workers);
		for (unsigned b = 0; b < 2; b++) {
			submit(s, &m[b].ev);
			turn(s, workers);
			assert_true(scan_output(s, &o));
			assert_int_equal(o.hit_cnt, b == 0 ? 20 : 1);
			assert_int_equal(o.hit[0].tx_idx, b == 0 ? 0 : 5);
			give_back(s, &o);
		}
		assert_true(scan_edits_done(s));
		load(s, &m[1].txid[6], LOCATOR_DISPLAY);
		assert_true(scan_edit(s, &clear));
		turn(s, workers);
		assert_true(scan_edits_done(s));
		for (unsigned i = 0; i < workers; i++)
			assert_true(scan_output(s, &o));
		scan_stats_get(s, &st);
		assert_int_equal(st.index.locators, 0);
		scan_free(s);
	}
}

#define LIST_TAGS   6u
#define LIST_TXS    8u
#define LIST_BLOCKS 20u

struct list_block {
	struct hash256 hash;
	unsigned tag, tx_cnt;
};

struct list {
	struct scan *s;
	unsigned workers;
	struct hash256 txid[LIST_TAGS][LIST_TXS];
	bool watched[LIST_TAGS][LIST_TXS][2];
	struct list_block block[LIST_BLOCKS];
	unsigned block_cnt, lowest; /* blocks that exist; the first that is remembered */
	uint64_t connected;
};

static uint64_t list_rnd(uint64_t below)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % below;
}

/* The coinbase's txid is not that of the same place's transaction, so all are taken from whole blocks. */
static void list_txids(struct list *l)
{
	for (unsigned tag = 0; tag < LIST_TAGS; tag++) {
		struct made m;

		make_block(&m, CHAIN_CONNECT, 1, LIST_TXS, 1000 * (tag + 1));
		memcpy(l->txid[tag], m.txid, sizeof(l->txid[tag]));
		block_pool_put(pool, m.ev.buf);
	}
}

static void list_edit(struct list *l, enum scan_edit_kind kind)
{
	unsigned tag = (unsigned)list_rnd(LIST_TAGS), tx = (unsigned)list_rnd(LIST_TXS),
		 scheme = (unsigned)list_rnd(2), recent = 0;
	struct scan_edit e = {.kind = kind, .cookie = 7};
	struct scan_output o;

	e.locator = locator_of_txid(&l->txid[tag][tx], (enum locator_scheme)scheme);
	assert_true(scan_edit(l->s, &e));
	l->watched[tag][tx][scheme] = kind != SCAN_DEL;
	turn(l->s, l->workers);
	if (kind != SCAN_ADD)
		return;
	for (unsigned b = l->lowest; b < l->block_cnt; b++)
		recent += l->block[b].tag == tag && tx < l->block[b].tx_cnt;
	assert_true(scan_output(l->s, &o));
	assert_int_equal(o.kind, SCAN_OUT_ADDED);
	assert_int_equal(o.recent_cnt, recent);
	give_back(l->s, &o);
}

static void list_connect(struct list *l)
{
	struct list_block *b = &l->block[l->block_cnt];
	struct scan_output o;
	struct made m;
	unsigned hit = 0;

	*b = (struct list_block){.tag = (unsigned)list_rnd(LIST_TAGS),
				 .tx_cnt = 1 + (unsigned)list_rnd(LIST_TXS)};
	make_block(&m, CHAIN_CONNECT, 10 + l->block_cnt, b->tx_cnt, 1000 * (b->tag + 1));
	b->hash = m.ev.hash;
	l->block_cnt++;
	submit(l->s, &m.ev);
	turn(l->s, l->workers);
	assert_true(scan_output(l->s, &o));
	assert_int_equal(o.verdict, BLOCK_GOOD);
	for (unsigned tx = 0; tx < b->tx_cnt; tx++)
		for (unsigned scheme = 0; scheme < 2; scheme++) {
			if (!l->watched[b->tag][tx][scheme])
				continue;
			assert_true(hit < o.hit_cnt);
			assert_int_equal(o.hit[hit].tx_idx, tx);
			assert_int_equal(o.hit[hit++].scheme, scheme);
		}
	assert_int_equal(o.hit_cnt, hit);
	give_back(l->s, &o);
	scan_ack(l->s, ++l->connected);
}

static void list_disconnect(struct list *l)
{
	struct chain_event back = {.kind = CHAIN_DISCONNECT};
	struct scan_output o;

	if (l->block_cnt == 0)
		return;
	back.hash = l->block[--l->block_cnt].hash;
	back.height = 10 + l->block_cnt;
	if (l->lowest > l->block_cnt)
		l->lowest = l->block_cnt;
	submit(l->s, &back);
	turn(l->s, l->workers);
	assert_true(scan_output(l->s, &o));
	assert_int_equal(o.event.ev.kind, CHAIN_DISCONNECT);
	give_back(l->s, &o);
}

/* Now and then the one the list does not say to whom it belongs: the first half of another, or nobody's. */
static void list_del_absent(struct list *l)
{
	struct scan_edit e = {.kind = SCAN_DEL};

	e.locator = locator_of_txid(&l->txid[list_rnd(LIST_TAGS)][list_rnd(LIST_TXS)], LOCATOR_INTERNAL);
	memset(e.locator.b + 8, (int)list_rnd(256), 8);
	assert_true(scan_edit(l->s, &e));
}

static void list_step(struct list *l)
{
	const struct scan_edit loaded = {.kind = SCAN_LOADED};
	struct scan_edit evict = {.kind = SCAN_EVICT};

	switch (list_rnd(8)) {
	case 0:
		list_edit(l, SCAN_ADD);
		break;
	case 1:
	case 2:
		for (uint64_t n = list_rnd(6); n > 0; n--)
			list_edit(l, SCAN_LOAD);
		if (list_rnd(3) == 0)
			assert_true(scan_edit(l->s, &loaded));
		break;
	case 3:
	case 4:
		list_edit(l, SCAN_DEL);
		list_del_absent(l);
		break;
	case 5:
	case 6:
		if (l->block_cnt < LIST_BLOCKS)
			list_connect(l);
		else
			list_disconnect(l);
		break;
	case 7:
		if (list_rnd(3) > 0 || l->block_cnt == 0) {
			list_disconnect(l);
			break;
		}
		l->lowest += (unsigned)list_rnd(l->block_cnt - l->lowest + 1);
		evict.height = 10 + l->lowest - 1;
		assert_true(scan_edit(l->s, &evict));
		break;
	}
}

static void random_loads_adds_deletes_blocks_and_reorgs_equal_a_plain_list(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= 3; workers += 2) {
		struct list l = {.s = new_scan(workers, 8), .workers = workers};

		list_txids(&l);
		start(l.s, workers);
		for (unsigned step = 0; step < 1500; step++)
			list_step(&l);
		scan_free(l.s);
	}
}

/* --- threads --------------------------------------------------------------------------------------------- */

struct worker_arg {
	struct scan *s;
	unsigned idx;
	atomic_bool *quit;
};

static void *worker_run(void *p)
{
	struct worker_arg *a = p;

	while (!atomic_load(a->quit))
		if (!scan_worker_poll(a->s, a->idx))
			sched_yield();
	return NULL;
}

#define RACE_BLOCKS 60u
#define RACE_TXS    24u

/* Blocks and adds race on real threads.  Whatever the order, each locator must be reported exactly once: by its
   block's hits, or with its add (invariant I2). */
static void an_add_racing_a_block_is_reported_exactly_once(void **state)
{
	enum { WORKERS = 3 };
	struct scan *s = new_scan(WORKERS, RACE_BLOCKS + 1);
	static struct made m[RACE_BLOCKS];
	static unsigned seen[RACE_BLOCKS][RACE_TXS];
	struct worker_arg arg[WORKERS];
	pthread_t thread[WORKERS];
	atomic_bool quit = false;
	unsigned added = 0, blocks = 0, next_block = 0, next_add = 0, total = RACE_BLOCKS * RACE_TXS;
	struct chain_event first = {.kind = CHAIN_START};

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < WORKERS; i++) {
		arg[i] = (struct worker_arg){s, i, &quit};
		assert_int_equal(pthread_create(&thread[i], NULL, worker_run, &arg[i]), 0);
	}
	submit(s, &first);
	while (added < total || blocks < RACE_BLOCKS) {
		struct scan_output o;

		if (next_block < RACE_BLOCKS) {
			struct made *b = &m[next_block];
			struct scan_event e;

			if (b->tx_cnt == 0)
				make_block(b, CHAIN_CONNECT, 10 + next_block, RACE_TXS,
					   100000ull * (next_block + 1));
			e = (struct scan_event){.ev = b->ev};
			if (scan_submit(s, &e))
				next_block++;
		}
		/* Adds lag a little behind the blocks' submission, so that they meet them in work. */
		while (next_add < total && next_add / RACE_TXS < next_block) {
			struct made *b = &m[next_add / RACE_TXS];
			unsigned t = next_add % RACE_TXS;
			struct scan_edit e = {.kind = SCAN_ADD, .cookie = next_add};

			e.locator = locator_of_txid(&b->txid[t], t % 2 ? LOCATOR_DISPLAY : LOCATOR_INTERNAL);
			if (!scan_edit(s, &e))
				break;
			next_add++;
		}
		while (scan_output(s, &o)) {
			if (o.kind == SCAN_OUT_ADDED) {
				seen[o.cookie / RACE_TXS][o.cookie % RACE_TXS] += o.recent_cnt;
				added++;
			} else if (o.event.ev.kind == CHAIN_CONNECT) {
				assert_int_equal(o.verdict, BLOCK_GOOD);
				for (unsigned i = 0; i < o.hit_cnt; i++)
					seen[o.event.ev.height - 10][o.hit[i].tx_idx]++;
				blocks++;
			}
			give_back(s, &o);
		}
	}
	atomic_store(&quit, true);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < RACE_BLOCKS; i++)
		for (unsigned t = 0; t < RACE_TXS; t++)
			assert_int_equal(seen[i][t], 1);
	scan_free(s);
}

static void pool_hands_out_each_buffer_once_and_takes_it_back(void **state)
{
	struct block_pool *p = block_pool_new(3);
	struct block_buf *b[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		b[i] = block_pool_get(p);
		assert_non_null(b[i]);
		b[i]->data[BLOCK_SZ_MAX - 1] = (uint8_t)i;
	}
	assert_null(block_pool_get(p));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(b[i]->data[BLOCK_SZ_MAX - 1], i);
	block_pool_put(p, b[1]);
	assert_ptr_equal(block_pool_get(p), b[1]);
	assert_int_equal(block_pool_free_cnt(p), 0);
	block_pool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pool_hands_out_each_buffer_once_and_takes_it_back),
		cmocka_unit_test(hits_come_in_block_order_in_both_forms),
		cmocka_unit_test(a_late_add_finds_its_breach_until_the_block_is_evicted_or_taken_back),
		cmocka_unit_test(without_recent_blocks_a_late_add_finds_nothing_and_a_block_still_hits),
		cmocka_unit_test(a_bad_block_has_no_effect_and_cancels_its_epoch_only),
		cmocka_unit_test(a_disconnect_behind_a_bad_block_is_cancelled_with_it),
		cmocka_unit_test(a_stale_block_is_only_looked_up),
		cmocka_unit_test(a_mutated_block_is_named_so),
		cmocka_unit_test(blocks_wait_while_control_has_not_acknowledged_the_window),
		cmocka_unit_test(clear_is_answered_by_every_worker_after_what_it_owed),
		cmocka_unit_test(loads_are_done_when_said_to_be_and_watched_by_the_next_block_in_any_case),
		cmocka_unit_test(random_loads_adds_deletes_blocks_and_reorgs_equal_a_plain_list),
		cmocka_unit_test(an_add_racing_a_block_is_reported_exactly_once),
	};
	char text[11][32] = {"scan_test",
			     "--lcores",
			     "0@0",
			     "--no-huge",
			     "-m",
			     "32",
			     "--no-pci",
			     "--no-shconf",
			     "--no-telemetry",
			     "",
			     "--log-level=lib.eal:error"};
	char *eal[11];
	const char *why;

	snprintf(text[9], sizeof(text[9]), "--file-prefix=scan%d", (int)getpid());
	for (unsigned i = 0; i < 11; i++)
		eal[i] = text[i];
	if (rte_eal_init(11, eal) < 0) {
		fprintf(stderr, "EAL did not start\n");
		return 1;
	}
	kernel = txid_select(cpu_features(), NULL, &why);
	pool = block_pool_new(RACE_BLOCKS + 8);
	if (kernel == NULL || pool == NULL)
		return 1;
	return cmocka_run_group_tests_name("scan/scan", tests, NULL, NULL);
}
