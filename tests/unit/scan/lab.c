#include "lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <rte_eal.h>

#include "btc/cursor.h"
#include "btc/sha256.h"

struct block_pool *lab_pool;
atomic_ulong lab_hashed;

static const struct txid_kernel *real;
static struct txid_kernel counting;
static uint64_t rng = 88172645463325252u;

static void count_and_hash(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	atomic_fetch_add_explicit(&lab_hashed, cnt, memory_order_relaxed);
	real->hash(p, tx, txid, cnt);
}

bool lab_start(unsigned buf_cnt)
{
	char text[][32] = {"scan_test",
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
	enum { CNT = sizeof(text) / sizeof(text[0]) };
	char *eal[CNT];
	const char *why;

	snprintf(text[9], sizeof(text[9]), "--file-prefix=arr%d", (int)getpid());
	for (unsigned i = 0; i < CNT; i++)
		eal[i] = text[i];
	if (rte_eal_init(CNT, eal) < 0) {
		fprintf(stderr, "EAL did not start\n");
		return false;
	}
	real = txid_select(cpu_features(), NULL, &why);
	lab_pool = block_pool_new(buf_cnt);
	if (real == NULL || lab_pool == NULL)
		return false;
	counting = *real;
	counting.hash = count_and_hash;
	return true;
}

uint32_t lab_rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 33) % below;
}

void lab_rest(bool worked, unsigned *idle)
{
	const struct timespec moment = {0, 20000};

	if (worked)
		*idle = 0;
	else if (++*idle % 32 == 0)
		nanosleep(&moment, NULL);
}

static void put_fill(struct wr *w, uint32_t sz)
{
	uint8_t *p = wr_room(w, sz);

	assert_non_null(p);
	memset(p, 0x5a, sz);
}

/* The txid is that of the form without witness, which is written first and then rewritten. */
static void put_tx(struct wr *w, uint64_t tag, bool coinbase, uint32_t script_sz, bool segwit,
		   struct hash256 *txid)
{
	size_t begin = w->sz;

	for (int form = 0; form < (segwit ? 2 : 1); form++) {
		w->sz = begin;
		wr_le32(w, 2);
		if (form == 1)
			wr_be16(w, 0x0001);
		wr_u8(w, 1);
		wr_le64(w, coinbase ? 0 : tag);
		for (unsigned i = 0; i < 3; i++)
			wr_le64(w, coinbase ? 0 : 1);
		wr_le32(w, coinbase ? UINT32_MAX : 3);
		wr_u8(w, 8);
		wr_le64(w, tag);
		wr_le32(w, 0);
		wr_u8(w, 1);
		wr_le64(w, 9);
		wr_compact(w, script_sz);
		put_fill(w, script_sz);
		if (form == 1) {
			wr_u8(w, 2);
			wr_compact(w, script_sz / 2);
			put_fill(w, script_sz / 2);
			wr_u8(w, 0);
		}
		wr_le32(w, 0);
		if (form == 0)
			*txid = sha256d(w->p + begin, w->sz - begin);
	}
}

/* Slow and obvious: level by level. */
static struct hash256 root_of(const struct hash256 *txid, uint32_t cnt)
{
	struct hash256 *l = malloc((cnt + 1) * sizeof(*l)), root;

	memcpy(l, txid, cnt * sizeof(*l));
	while (cnt > 1) {
		if (cnt % 2 != 0) {
			l[cnt] = l[cnt - 1];
			cnt++;
		}
		for (uint32_t i = 0; i < cnt; i += 2)
			l[i / 2] = sha256d(l[i].b, 2 * HASH_SZ);
		cnt /= 2;
	}
	root = l[0];
	free(l);
	return root;
}

void lab_block_make(struct lab_block *b, uint32_t height, uint32_t tx_cnt, uint32_t tx_sz, uint64_t tag)
{
	size_t cap = HEADER_SZ + 9 + (size_t)tx_cnt * (tx_sz * 3 + 120);
	struct hash256 root;
	struct wr w;

	*b = (struct lab_block){.raw = malloc(cap), .tx_cnt = tx_cnt, .height = height};
	b->txid = malloc(tx_cnt * sizeof(*b->txid));
	assert_true(b->raw != NULL && b->txid != NULL);
	w = wr_of(b->raw, cap);
	memset(wr_room(&w, HEADER_SZ), 0, HEADER_SZ);
	wr_compact(&w, tx_cnt);
	for (uint32_t i = 0; i < tx_cnt; i++)
		put_tx(&w, tag + i, i == 0, tx_sz < 2 ? 1 : tx_sz / 2 + lab_rnd(tx_sz), lab_rnd(2) == 0,
		       &b->txid[i]);
	assert_true(wr_ok(&w));
	b->sz = (uint32_t)w.sz;
	root = root_of(b->txid, tx_cnt);
	memcpy(b->raw + 36, root.b, HASH_SZ);
	memcpy(b->raw + 68, &height, 4);
	b->hash = sha256d(b->raw, HEADER_SZ);
}

void lab_block_free(struct lab_block *b)
{
	free(b->raw);
	free(b->txid);
}

struct scan *lab_scan_new(unsigned workers, uint32_t window)
{
	static char name[8];
	static unsigned no;
	struct scan_config c = {.kernel = &counting,
				.worker_cnt = workers,
				.seed = 0xfeed,
				.recent_blocks = 6,
				.window = window,
				.arrive_cnt = block_pool_cnt(lab_pool),
				.name = name};
	struct scan *s;

	snprintf(name, sizeof(name), "a%u", no++);
	s = scan_new(&c);
	assert_non_null(s);
	return s;
}

void lab_turn(struct scan *s, unsigned workers)
{
	for (bool on = true; on;) {
		on = false;
		for (unsigned w = 0; w < workers; w++)
			on |= scan_worker_poll(s, w);
	}
}

void lab_begin(struct scan *s, unsigned workers)
{
	struct scan_event e = {.ev = {.kind = CHAIN_START, .height = 9}};

	assert_true(scan_submit(s, &e));
	lab_turn(s, workers);
	lab_expect(s, CHAIN_START, 9, BLOCK_GOOD, 0);
}

void lab_arrive(struct scan *s, struct lab_arrival *a, const struct lab_block *b)
{
	*a = (struct lab_arrival){.b = b, .buf = block_pool_get(lab_pool), .present = HEADER_SZ};
	assert_non_null(a->buf);
	/* What has not come is something else than what will. */
	memset(a->buf->data, 0xdd, b->sz);
	memcpy(a->buf->data, b->raw, HEADER_SZ);
	scan_arrive(s, a->buf, b->sz, HEADER_SZ, b->height);
}

void lab_grow(struct scan *s, struct lab_arrival *a, uint32_t to)
{
	memcpy(a->buf->data + a->present, a->b->raw + a->present, to - a->present);
	a->present = to;
	scan_arrived(s, a->buf, to);
}

bool lab_submit(struct scan *s, const struct lab_arrival *a, enum chain_event_kind kind, uint32_t epoch)
{
	struct scan_event e = {.ev = {.kind = kind,
				      .height = a->b->height,
				      .epoch = epoch,
				      .hash = a->b->hash,
				      .buf = a->buf}};

	assert_int_equal(a->present, a->b->sz);
	a->buf->sz = a->b->sz;
	memcpy(e.ev.header, a->b->raw, HEADER_SZ);
	return scan_submit(s, &e);
}

void lab_add(struct scan *s, const struct hash256 *txid, enum locator_scheme scheme, uint64_t cookie)
{
	struct scan_edit e = {.kind = SCAN_ADD, .cookie = cookie, .locator = locator_of_txid(txid, scheme)};

	assert_true(scan_edit(s, &e));
}

void lab_give_back(struct scan *s, const struct scan_output *o)
{
	scan_output_release(s, o);
	if (o->kind == SCAN_OUT_EVENT && o->event.ev.buf != NULL)
		block_pool_put(lab_pool, o->event.ev.buf);
}

void lab_expect(struct scan *s, enum chain_event_kind kind, uint32_t height, enum block_verdict v,
		uint32_t hit_cnt)
{
	struct scan_output o;

	assert_true(scan_output(s, &o));
	assert_int_equal(o.kind, SCAN_OUT_EVENT);
	assert_int_equal(o.event.ev.kind, kind);
	assert_int_equal(o.event.ev.height, height);
	assert_int_equal(o.verdict, v);
	assert_int_equal(o.hit_cnt, hit_cnt);
	lab_give_back(s, &o);
}
