/* A block that arrives in pieces: the same verdict and the same views as for the whole, wherever it is cut. */
#include "vec.h"

#include <stdlib.h>

#include "btc/block_walk.h"
#include "btc/cursor.h"

static struct tx_view whole_tx[BLOCK_TX_MAX], walk_tx[BLOCK_TX_MAX];
static unsigned seen[PARSE_VERDICT_CNT];
static uint64_t rng = 88172645463325252u;

static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 33) % below;
}

/* Bytes that are not there yet are others than those to come, so that looking at them shows. */
static void reveal(uint8_t *to, const uint8_t *p, uint32_t from, uint32_t upto)
{
	memcpy(to + from, p + from, upto - from);
}

static void same_end(const struct block_walk *w, enum parse_verdict v, const struct block_view *bv)
{
	assert_true(w->over);
	assert_int_equal(w->verdict, v);
	if (v != PARSE_OK)
		return;
	assert_memory_equal(&w->bv, bv, sizeof(*bv));
	assert_int_equal(w->tx_done, bv->tx_cnt);
	for (uint32_t i = 0; i < bv->tx_cnt; i++) {
		assert_int_equal(walk_tx[i].off, whole_tx[i].off);
		assert_int_equal(walk_tx[i].sz, whole_tx[i].sz);
		assert_int_equal(walk_tx[i].wit_sz, whole_tx[i].wit_sz);
		assert_int_equal(walk_tx[i].in_cnt, whole_tx[i].in_cnt);
		assert_int_equal(walk_tx[i].out_cnt, whole_tx[i].out_cnt);
		assert_int_equal(walk_tx[i].segwit, whole_tx[i].segwit);
	}
}

/* Goes on at present, and checks what is promised on the way. */
static void go(struct block_walk *w, uint32_t present)
{
	uint32_t done = w->tx_done;
	bool may = !w->over && w->need <= present;
	struct block_walk before = *w;

	block_walk_go(w, present);
	if (!may)
		assert_true(w->tx_done == before.tx_done && w->over == before.over && w->pos == before.pos);
	assert_true(w->over || w->need > present);
	for (; done < w->tx_done; done++)
		assert_true(walk_tx[done].off + walk_tx[done].sz <= present);
}

/* One cut at every place; or pieces of about `piece` bytes. */
static void check(const uint8_t *p, uint32_t sz, uint32_t piece)
{
	static uint8_t *buf;
	struct block_view bv;
	enum parse_verdict v = block_parse(p, sz, &bv, whole_tx);
	struct block_walk w;

	if (buf == NULL)
		buf = malloc(BLOCK_SZ_MAX + 1);
	seen[v]++;
	for (uint32_t cut = 0; piece == 0 && cut <= sz; cut++) {
		memset(buf, 0x01, sz);
		block_walk_start(&w, buf, sz, walk_tx);
		reveal(buf, p, 0, cut);
		go(&w, cut);
		reveal(buf, p, cut, sz);
		go(&w, sz);
		same_end(&w, v, &bv);
	}
	memset(buf, 0xfe, sz);
	block_walk_start(&w, buf, sz, walk_tx);
	for (uint32_t at = 0, to; at < sz; at = to) {
		to = at + (piece == 0 ? 1 : 1 + rnd(piece));
		to = to < sz ? to : sz;
		reveal(buf, p, at, to);
		go(&w, to);
	}
	if (sz == 0)
		go(&w, 0);
	same_end(&w, v, &bv);
}

/* --- small blocks, good and bad ---------------------------------------------------------------------------- */

static void put_fill(struct wr *w, uint32_t sz)
{
	while (sz-- > 0)
		wr_u8(w, (uint8_t)rnd(256));
}

/* A length, now and then longer than needed or beyond all limits. */
static void put_count(struct wr *w, uint64_t n)
{
	switch (rnd(400)) {
	case 0:
		wr_u8(w, 0xfd);
		wr_le16(w, (uint16_t)n);
		return;
	case 1:
		wr_u8(w, 0xfe);
		wr_le32(w, rnd(2) ? (uint32_t)n : 0x02000001u);
		return;
	case 2:
		wr_u8(w, 0xff);
		wr_le64(w, rnd(2) ? n : UINT64_MAX);
		return;
	default:
		wr_compact(w, n);
	}
}

static uint32_t some_sz(void)
{
	return rnd(12) == 0 ? 250 + rnd(10) : rnd(40);
}

static void put_input(struct wr *w, bool coinbase)
{
	uint32_t sz = coinbase ? 2 + rnd(20) : some_sz();

	for (unsigned i = 0; i < HASH_SZ; i++)
		wr_u8(w, coinbase ? 0 : 0x22);
	wr_le32(w, UINT32_MAX);
	put_count(w, sz);
	put_fill(w, sz);
	wr_le32(w, rnd(2));
}

static void put_tx(struct wr *w, bool coinbase)
{
	uint32_t in_cnt = coinbase ? 1 : rnd(20) == 0 ? 0 : 1 + rnd(3);
	uint32_t out_cnt = rnd(30) == 0 ? 0 : 1 + rnd(3);
	bool segwit = rnd(2) == 0;
	uint8_t flag = rnd(25) == 0 ? (uint8_t)rnd(4) : 1;

	wr_le32(w, 2);
	if (segwit) {
		wr_u8(w, 0);
		wr_u8(w, flag);
	}
	put_count(w, in_cnt);
	for (uint32_t i = 0; i < in_cnt; i++)
		put_input(w, coinbase);
	put_count(w, out_cnt);
	for (uint32_t i = 0; i < out_cnt; i++) {
		uint32_t sz = some_sz();

		wr_le64(w, 7);
		put_count(w, sz);
		put_fill(w, sz);
	}
	for (uint32_t i = 0; segwit && i < in_cnt; i++) {
		uint32_t items = rnd(3);

		put_count(w, items);
		for (uint32_t k = 0; k < items; k++) {
			uint32_t sz = some_sz();

			put_count(w, sz);
			put_fill(w, sz);
		}
	}
	wr_le32(w, 0);
}

static uint32_t draft(uint8_t *p, uint32_t cap)
{
	struct wr w = wr_of(p, cap);
	uint32_t cnt = rnd(40) == 0 ? 0 : 1 + rnd(5), sz;

	put_fill(&w, HEADER_SZ);
	put_count(&w, cnt);
	for (uint32_t i = 0; i < cnt; i++)
		put_tx(&w, rnd(40) == 0 ? i != 0 : i == 0);
	assert_true(wr_ok(&w));
	sz = (uint32_t)w.sz;
	if (rnd(8) == 0)
		sz -= rnd(sz + 1) % 50;
	if (rnd(12) == 0)
		sz += 1 + rnd(3);
	if (rnd(4) == 0)
		p[rnd(sz)] ^= (uint8_t)(1u << rnd(8));
	return sz;
}

static void wherever_a_block_is_cut_the_end_is_the_same(void **state)
{
	static uint8_t p[16384];

	(void)state;
	for (unsigned i = 0; i < 1500; i++) {
		memset(p, 0, sizeof(p));
		check(p, draft(p, sizeof(p) - 8), 0);
	}
	/* Each way to end was among them. */
	for (unsigned v = 0; v < PARSE_VERDICT_CNT; v++)
		if (seen[v] == 0)
			fail_msg("no block was \"%s\"", parse_verdict_name((enum parse_verdict)v));
}

static void blocks_too_short_for_anything_are_truncated(void **state)
{
	uint8_t p[HEADER_SZ + 2] = {0};

	(void)state;
	for (uint32_t sz = 0; sz <= sizeof(p); sz++)
		check(p, sz, 0);
	p[HEADER_SZ] = 0xfd;
	for (uint32_t sz = HEADER_SZ; sz <= sizeof(p); sz++)
		check(p, sz, 0);
}

static void a_block_over_the_limit_is_refused_before_a_byte_of_it_has_come(void **state)
{
	struct block_walk w;

	(void)state;
	block_walk_start(&w, NULL, BLOCK_SZ_MAX + 1, walk_tx);
	assert_true(w.over);
	assert_int_equal(w.verdict, PARSE_LIMIT);
}

/* The largest number of transactions, each of the least size, and one more. */
static void blocks_of_the_most_transactions_arrive_in_packets(void **state)
{
	uint8_t *p = malloc(BLOCK_SZ_MAX);

	(void)state;
	for (uint32_t cnt = BLOCK_TX_MAX - 2; cnt <= BLOCK_TX_MAX + 1; cnt++) {
		struct wr w = wr_of(p, BLOCK_SZ_MAX);

		memset(wr_room(&w, HEADER_SZ), 0, HEADER_SZ);
		wr_compact(&w, cnt);
		for (uint32_t i = 0; i < cnt; i++) {
			wr_le32(&w, 1);
			wr_u8(&w, 1);
			memset(wr_room(&w, 32), 0, 32);
			wr_le32(&w, i == 0 ? UINT32_MAX : i);
			wr_u8(&w, i == 0 ? 2 : 0);
			memset(wr_room(&w, i == 0 ? 6 : 4), 0, i == 0 ? 6 : 4);
			wr_u8(&w, 1);
			memset(wr_room(&w, 8), 0, 8);
			wr_u8(&w, 0);
			wr_le32(&w, 0);
		}
		assert_true(wr_ok(&w));
		check(p, (uint32_t)w.sz, 1460);
		check(p, (uint32_t)w.sz, 70000);
	}
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wherever_a_block_is_cut_the_end_is_the_same),
		cmocka_unit_test(blocks_too_short_for_anything_are_truncated),
		cmocka_unit_test(a_block_over_the_limit_is_refused_before_a_byte_of_it_has_come),
		cmocka_unit_test(blocks_of_the_most_transactions_arrive_in_packets),
	};

	return cmocka_run_group_tests_name("btc/block_walk", tests, NULL, NULL);
}
