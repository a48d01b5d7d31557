/* Blocks that are scanned while they arrive: what comes out is the same, however they come. */
#include "lab.h"

#include <stdlib.h>

#include "btc/sha256.h"

static void a_block_arriving_in_two_parts_cut_anywhere_gives_the_same_hits(void **state)
{
	struct lab_block b;

	(void)state;
	lab_block_make(&b, 10, 7, 30, 500);
	for (unsigned workers = 1; workers <= 3; workers += 2) {
		struct scan *s = lab_scan_new(workers, 100000);
		struct lab_arrival a;
		struct scan_output o;

		lab_begin(s, workers);
		lab_add(s, &b.txid[0], LOCATOR_DISPLAY, 1);
		lab_add(s, &b.txid[6], LOCATOR_INTERNAL, 2);
		lab_turn(s, workers);
		for (unsigned i = 0; i < 2; i++)
			assert_true(scan_output(s, &o));
		for (uint32_t cut = HEADER_SZ; cut <= b.sz; cut++) {
			lab_arrive(s, &a, &b);
			lab_grow(s, &a, cut);
			lab_turn(s, workers);
			assert_false(scan_output(s, &o));
			lab_grow(s, &a, b.sz);
			assert_true(lab_submit(s, &a, CHAIN_CONNECT, 0));
			lab_turn(s, workers);
			assert_true(scan_output(s, &o));
			assert_int_equal(o.verdict, BLOCK_GOOD);
			assert_int_equal(o.hit_cnt, 2);
			assert_int_equal(o.hit[0].tx_idx, 0);
			assert_int_equal(o.hit[1].tx_idx, 6);
			assert_int_equal(o.block->tx_cnt, 7);
			assert_memory_equal(o.txid, b.txid, 7 * HASH_SZ);
			lab_give_back(s, &o);
		}
		scan_free(s);
	}
	lab_block_free(&b);
}

/* What a reader of the whole says about it. */
static enum block_verdict verdict_of(const uint8_t *p, uint32_t sz)
{
	static struct tx_view tx[BLOCK_TX_MAX];
	static struct hash256 txid[BLOCK_TX_MAX], scratch[BLOCK_TX_MAX + 1];
	size_t cnt;
	const struct txid_kernel *k = txid_kernels(&cnt)[0];
	struct block_view bv;
	struct hash256 root;
	bool mutated;

	if (block_parse(p, sz, &bv, tx) != PARSE_OK)
		return BLOCK_BAD_PARSE;
	k->hash(p, tx, txid, bv.tx_cnt);
	root = merkle_root(k, txid, bv.tx_cnt, scratch, &mutated);
	if (memcmp(root.b, p + 36, HASH_SZ) != 0)
		return BLOCK_BAD_MERKLE;
	return mutated ? BLOCK_MUTATED : BLOCK_GOOD;
}

static void a_block_wrong_in_any_byte_gets_the_verdict_of_the_whole(void **state)
{
	unsigned seen[BLOCK_CANCELLED + 1] = {0};
	struct scan *s = lab_scan_new(2, 100000);
	struct lab_block b;

	(void)state;
	lab_block_make(&b, 10, 70, 10, 500);
	lab_begin(s, 2);
	for (uint32_t at = HEADER_SZ - 44, epoch = 1; at < b.sz; at += 1 + lab_rnd(5), epoch++) {
		uint8_t was = b.raw[at];
		enum block_verdict want;
		struct lab_arrival a;

		b.raw[at] ^= (uint8_t)(1u << lab_rnd(8));
		want = verdict_of(b.raw, b.sz);
		seen[want]++;
		lab_arrive(s, &a, &b);
		while (a.present < b.sz) {
			uint32_t more = 1 + lab_rnd(3000);

			lab_grow(s, &a, b.sz - a.present < more ? b.sz : a.present + more);
			if (lab_rnd(3) != 0)
				lab_turn(s, 2);
		}
		assert_true(lab_submit(s, &a, CHAIN_CONNECT, epoch));
		lab_turn(s, 2);
		lab_expect(s, CHAIN_CONNECT, 10, want, 0);
		b.raw[at] = was;
	}
	/* A bit of the header that is not of the root leaves it good. */
	assert_true(seen[BLOCK_GOOD] > 0 && seen[BLOCK_BAD_PARSE] > 0 && seen[BLOCK_BAD_MERKLE] > 0);
	lab_block_free(&b);
	scan_free(s);
}

/* The merkle tree is built in parts: every shape of it, and with the last transactions repeated. */
static void blocks_of_every_number_of_transactions_have_their_root_and_their_mutants(void **state)
{
	struct scan *s = lab_scan_new(1, 100000);

	(void)state;
	lab_begin(s, 1);
	for (uint32_t cnt = 1, epoch = 1; cnt <= 420; cnt += cnt < 140 ? 1 : 1 + lab_rnd(12)) {
		struct lab_block b;
		struct lab_arrival a;
		uint32_t last = cnt & -cnt; /* the last subtree that is paired with itself */

		lab_block_make(&b, 10, cnt, 1, 1000 * cnt);
		lab_arrive(s, &a, &b);
		lab_grow(s, &a, HEADER_SZ + (b.sz - HEADER_SZ) / 2);
		lab_turn(s, 1);
		lab_grow(s, &a, b.sz);
		assert_true(lab_submit(s, &a, CHAIN_CONNECT, epoch++));
		lab_turn(s, 1);
		lab_expect(s, CHAIN_CONNECT, 10, BLOCK_GOOD, 0);
		if (last != cnt && cnt + last < 0xfd) {
			/* The same root with those repeated. */
			static struct tx_view tx[BLOCK_TX_MAX];
			struct block_view bv;
			uint32_t from;

			assert_int_equal(block_parse(b.raw, b.sz, &bv, tx), PARSE_OK);
			from = tx[cnt - last].off;
			b.raw = realloc(b.raw, b.sz + (b.sz - from));
			memcpy(b.raw + b.sz, b.raw + from, b.sz - from);
			b.sz += b.sz - from;
			b.raw[HEADER_SZ] = (uint8_t)(cnt + last);
			lab_arrive(s, &a, &b);
			lab_grow(s, &a, b.sz);
			assert_true(lab_submit(s, &a, CHAIN_CONNECT, epoch++));
			lab_turn(s, 1);
			lab_expect(s, CHAIN_CONNECT, 10, BLOCK_MUTATED, 0);
		}
		lab_block_free(&b);
	}
	scan_free(s);
}

static void after_the_last_byte_only_a_tail_is_left_to_hash(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= 4; workers++) {
		struct scan *s = lab_scan_new(workers, 8);
		struct lab_block b;
		struct lab_arrival a;
		unsigned long before = atomic_load(&lab_hashed), early;

		lab_begin(s, workers);
		lab_block_make(&b, 10, 5000, 60, 500);
		lab_arrive(s, &a, &b);
		while (a.present < b.sz - 1) {
			lab_grow(s, &a, b.sz - 1 - a.present < 64000 ? b.sz - 1 : a.present + 64000);
			lab_turn(s, workers);
		}
		early = atomic_load(&lab_hashed) - before;
		assert_true(early < b.tx_cnt && early > b.tx_cnt - 64);
		lab_grow(s, &a, b.sz);
		assert_true(lab_submit(s, &a, CHAIN_CONNECT, 0));
		lab_turn(s, workers);
		lab_expect(s, CHAIN_CONNECT, 10, BLOCK_GOOD, 0);
		assert_int_equal(atomic_load(&lab_hashed) - before, b.tx_cnt);
		lab_block_free(&b);
		scan_free(s);
	}
}

static void blocks_arriving_out_of_order_come_out_in_order(void **state)
{
	struct scan *s = lab_scan_new(3, 8);
	struct lab_block b[4];
	struct lab_arrival a[4];
	struct scan_output o;

	(void)state;
	lab_begin(s, 3);
	for (unsigned i = 0; i < 4; i++) {
		lab_block_make(&b[i], 10 + i, 50, 100, 1000 * (i + 1));
		lab_arrive(s, &a[i], &b[i]);
	}
	/* Piece by piece, the later ones ahead. */
	for (unsigned part = 1; part <= 7; part++)
		for (unsigned i = 4; i-- > 0;) {
			uint32_t at = b[i].sz * (part + i) / 7;

			if (at > a[i].present)
				lab_grow(s, &a[i], at < b[i].sz ? at : b[i].sz);
			lab_turn(s, 3);
		}
	assert_false(scan_output(s, &o));
	for (unsigned i = 0; i < 4; i++)
		assert_true(lab_submit(s, &a[i], CHAIN_CONNECT, 0));
	lab_turn(s, 3);
	for (unsigned i = 0; i < 4; i++) {
		lab_expect(s, CHAIN_CONNECT, 10 + i, BLOCK_GOOD, 0);
		lab_block_free(&b[i]);
	}
	scan_free(s);
}

static void an_arrival_given_up_leaves_nothing_behind(void **state)
{
	struct scan *s = lab_scan_new(2, 8);
	struct lab_block b, c;
	struct lab_arrival a;
	struct scan_output o;

	(void)state;
	lab_begin(s, 2);
	lab_block_make(&b, 10, 200, 100, 1000);
	lab_block_make(&c, 10, 300, 100, 9000);
	lab_add(s, &b.txid[5], LOCATOR_INTERNAL, 1);
	lab_add(s, &c.txid[299], LOCATOR_INTERNAL, 2);
	lab_turn(s, 2);
	for (unsigned i = 0; i < 2; i++)
		assert_true(scan_output(s, &o));
	for (unsigned i = 0; i <= 10; i++) {
		/* Also before the first and after the last byte. */
		lab_arrive(s, &a, &b);
		lab_grow(s, &a, HEADER_SZ + (b.sz - HEADER_SZ) * i / 10);
		if (i % 2 == 0)
			lab_turn(s, 2);
		assert_true(scan_arrive_stop(s, a.buf));
		assert_true(scan_arrive_stop(s, a.buf)); /* nothing arrives there: no matter */
		memset(a.buf->data, 0xee, b.sz);
		lab_turn(s, 2);
		block_pool_put(lab_pool, a.buf);
		/* The same buffer, the pool being a stack. */
		lab_arrive(s, &a, &c);
		lab_grow(s, &a, c.sz);
		assert_true(lab_submit(s, &a, CHAIN_CONNECT, 0));
		lab_turn(s, 2);
		lab_expect(s, CHAIN_CONNECT, 10, BLOCK_GOOD, 1);
		scan_ack(s, 1 + i);
	}
	assert_false(scan_in_work(s));
	lab_block_free(&b);
	lab_block_free(&c);
	scan_free(s);
}

static void a_bad_block_cancels_those_of_its_epoch_that_are_arriving(void **state)
{
	struct scan *s = lab_scan_new(2, 8);
	struct lab_block b[3];
	struct lab_arrival a[3];
	struct scan_output o;

	(void)state;
	lab_begin(s, 2);
	for (unsigned i = 0; i < 3; i++) {
		lab_block_make(&b[i], 10 + i, 80, 50, 1000 * (i + 1));
		if (i == 0)
			b[0].raw[b[0].sz - 1] ^= 1; /* a locktime */
		lab_arrive(s, &a[i], &b[i]);
		lab_grow(s, &a[i], b[i].sz / 2);
	}
	lab_turn(s, 2);
	lab_add(s, &b[1].txid[0], LOCATOR_INTERNAL, 7);
	lab_grow(s, &a[0], b[0].sz);
	assert_true(lab_submit(s, &a[0], CHAIN_CONNECT, 1));
	lab_turn(s, 2);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.kind, SCAN_OUT_ADDED);
	lab_expect(s, CHAIN_CONNECT, 10, BLOCK_BAD_MERKLE, 0);
	lab_grow(s, &a[1], b[1].sz);
	assert_true(lab_submit(s, &a[1], CHAIN_CONNECT, 1));
	/* The third is of the next epoch: the same block again, from where it was. */
	lab_grow(s, &a[2], b[2].sz);
	assert_true(lab_submit(s, &a[2], CHAIN_CONNECT, 2));
	lab_turn(s, 2);
	lab_expect(s, CHAIN_CONNECT, 11, BLOCK_CANCELLED, 0);
	lab_expect(s, CHAIN_CONNECT, 12, BLOCK_GOOD, 0);
	for (unsigned i = 0; i < 3; i++)
		lab_block_free(&b[i]);
	scan_free(s);
}

static void a_reorg_passes_while_blocks_of_the_new_branch_arrive(void **state)
{
	struct scan *s = lab_scan_new(3, 8);
	struct lab_block old, new[2];
	struct lab_arrival a, n[2];
	struct scan_event back = {.ev = {.kind = CHAIN_DISCONNECT, .height = 10}};
	struct scan_output o;

	(void)state;
	lab_begin(s, 3);
	lab_block_make(&old, 10, 90, 50, 1000);
	lab_block_make(&new[0], 10, 90, 50, 5000);
	lab_block_make(&new[1], 11, 90, 50, 7000);
	lab_arrive(s, &a, &old);
	lab_arrive(s, &n[1], &new[1]);
	lab_grow(s, &a, old.sz);
	lab_grow(s, &n[1], new[1].sz / 3);
	assert_true(lab_submit(s, &a, CHAIN_CONNECT, 0));
	lab_turn(s, 3);
	lab_expect(s, CHAIN_CONNECT, 10, BLOCK_GOOD, 0);
	lab_arrive(s, &n[0], &new[0]);
	lab_grow(s, &n[0], new[0].sz / 2);
	lab_turn(s, 3);
	lab_grow(s, &n[0], new[0].sz);
	back.ev.hash = old.hash;
	assert_true(scan_submit(s, &back));
	assert_true(lab_submit(s, &n[0], CHAIN_CONNECT, 0));
	lab_grow(s, &n[1], new[1].sz);
	assert_true(lab_submit(s, &n[1], CHAIN_CONNECT, 0));
	lab_turn(s, 3);
	lab_expect(s, CHAIN_DISCONNECT, 10, BLOCK_GOOD, 0);
	lab_expect(s, CHAIN_CONNECT, 10, BLOCK_GOOD, 0);
	lab_expect(s, CHAIN_CONNECT, 11, BLOCK_GOOD, 0);
	/* Only the new branch is remembered. */
	lab_add(s, &old.txid[3], LOCATOR_INTERNAL, 1);
	lab_turn(s, 3);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.recent_cnt, 0);
	lab_add(s, &new[1].txid[3], LOCATOR_DISPLAY, 2);
	lab_turn(s, 3);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.recent_cnt, 1);
	assert_int_equal(o.recent[0].height, 11);
	lab_block_free(&old);
	lab_block_free(&new[0]);
	lab_block_free(&new[1]);
	scan_free(s);
}

static void arrivals_are_hashed_but_held_back_while_the_window_is_shut(void **state)
{
	struct scan *s = lab_scan_new(2, 1);
	struct lab_block b[3];
	struct lab_arrival a[3];
	struct scan_output o;
	unsigned long before = atomic_load(&lab_hashed);

	(void)state;
	lab_begin(s, 2);
	for (unsigned i = 0; i < 3; i++) {
		lab_block_make(&b[i], 10 + i, 80, 50, 1000 * (i + 1));
		lab_arrive(s, &a[i], &b[i]);
		lab_grow(s, &a[i], b[i].sz);
		assert_true(lab_submit(s, &a[i], CHAIN_CONNECT, 0));
	}
	lab_turn(s, 2);
	assert_int_equal(atomic_load(&lab_hashed) - before, 240);
	lab_expect(s, CHAIN_CONNECT, 10, BLOCK_GOOD, 0);
	assert_false(scan_output(s, &o));
	/* No effect yet either: an add finds what has come out, and nothing of what waits. */
	lab_add(s, &b[1].txid[1], LOCATOR_INTERNAL, 1);
	lab_turn(s, 2);
	assert_true(scan_output(s, &o));
	assert_int_equal(o.kind, SCAN_OUT_ADDED);
	assert_int_equal(o.recent_cnt, 0);
	scan_ack(s, 1);
	lab_turn(s, 2);
	lab_expect(s, CHAIN_CONNECT, 11, BLOCK_GOOD, 1);
	assert_false(scan_output(s, &o));
	scan_ack(s, 2);
	lab_turn(s, 2);
	lab_expect(s, CHAIN_CONNECT, 12, BLOCK_GOOD, 0);
	for (unsigned i = 0; i < 3; i++)
		lab_block_free(&b[i]);
	scan_free(s);
}

/* Every buffer has a later block in it that arrived: one handed over whole still finds its way. */
static void a_whole_block_is_not_kept_waiting_by_later_ones_that_arrive(void **state)
{
	struct scan *s = lab_scan_new(1, 100);
	struct lab_block b[8], first;
	struct lab_arrival a[8], f;

	(void)state;
	lab_begin(s, 1);
	for (unsigned i = 0; i < 8; i++) {
		lab_block_make(&b[i], 11 + i, 10, 50, 1000 * (i + 1));
		lab_arrive(s, &a[i], &b[i]);
		lab_grow(s, &a[i], b[i].sz);
	}
	lab_turn(s, 1);
	lab_block_make(&first, 10, 10, 50, 90000);
	f = (struct lab_arrival){.b = &first, .buf = block_pool_get(lab_pool), .present = first.sz};
	memcpy(f.buf->data, first.raw, first.sz);
	assert_true(lab_submit(s, &f, CHAIN_CONNECT, 0));
	for (unsigned i = 0; i < 8; i++)
		assert_true(lab_submit(s, &a[i], CHAIN_CONNECT, 0));
	lab_turn(s, 1);
	for (unsigned i = 0; i < 9; i++)
		lab_expect(s, CHAIN_CONNECT, 10 + i, BLOCK_GOOD, 0);
	for (unsigned i = 0; i < 8; i++)
		lab_block_free(&b[i]);
	lab_block_free(&first);
	scan_free(s);
}

static void edit(struct scan *s, enum scan_edit_kind kind, const struct hash256 *txid,
		 enum locator_scheme scheme)
{
	struct scan_edit e = {.kind = kind, .locator = locator_of_txid(txid, scheme)};
	struct scan_output o;

	assert_true(scan_edit(s, &e));
	lab_turn(s, 2);
	if (kind == SCAN_ADD) {
		assert_true(scan_output(s, &o));
		assert_int_equal(o.kind, SCAN_OUT_ADDED);
	}
}

/* What was looked up before the block's turn is made good for every edit that came after. */
static void edits_during_an_arrival_count_as_if_all_were_looked_up_at_its_end(void **state)
{
	enum { ADDS, DELS, MANY_ADDS, MANY_HITS, LOADS, CLEARS, CASE_CNT };
	struct lab_block b;
	unsigned with_ahead = 0;

	(void)state;
	lab_block_make(&b, 10, 600, 50, 1000);
	for (unsigned c = 0; c < CASE_CNT; c++) {
		struct scan *s = lab_scan_new(2, 8);
		bool watched[600][2] = {{false}};
		struct lab_arrival a;
		struct scan_output o;
		struct scan_stats st;
		uint32_t n = 0;

		lab_begin(s, 2);
		for (uint32_t i = 0; i < 600; i += c == MANY_HITS ? 2 : 50) {
			edit(s, SCAN_ADD, &b.txid[i], LOCATOR_INTERNAL);
			watched[i][LOCATOR_INTERNAL] = true;
		}
		lab_arrive(s, &a, &b);
		lab_grow(s, &a, b.sz * 3 / 4);
		lab_turn(s, 2);
		if (c == CLEARS) {
			struct scan_edit clear = {.kind = SCAN_CLEAR};

			assert_true(scan_edit(s, &clear));
			lab_turn(s, 2);
			assert_true(scan_output(s, &o) && scan_output(s, &o));
			memset(watched, 0, sizeof(watched));
		}
		for (uint32_t i = 0; i < 600; i += c == MANY_ADDS ? 1 : 75) {
			bool del = c == DELS && i % 2 == 0;
			enum locator_scheme scheme = c == DELS || i % 4 == 0 ? LOCATOR_INTERNAL
									     : LOCATOR_DISPLAY;

			edit(s, del ? SCAN_DEL : c == LOADS ? SCAN_LOAD : SCAN_ADD, &b.txid[i], scheme);
			watched[i][scheme] = !del;
			/* And back again, or twice. */
			if (c == DELS && i % 4 == 0) {
				edit(s, SCAN_ADD, &b.txid[i], scheme);
				watched[i][scheme] = true;
			}
		}
		lab_grow(s, &a, b.sz);
		assert_true(lab_submit(s, &a, CHAIN_CONNECT, 0));
		lab_turn(s, 2);
		assert_true(scan_output(s, &o));
		assert_int_equal(o.verdict, BLOCK_GOOD);
		for (uint32_t i = 0; i < 600; i++)
			for (unsigned scheme = 0; scheme < 2; scheme++)
				if (watched[i][scheme]) {
					assert_true(n < o.hit_cnt);
					assert_int_equal(o.hit[n].tx_idx, i);
					assert_int_equal(o.hit[n++].scheme, scheme);
				}
		assert_int_equal(n, o.hit_cnt);
		lab_give_back(s, &o);
		scan_stats_get(s, &st);
		with_ahead += st.ahead > 0;
		scan_free(s);
	}
	/* Where edits were too many, all was looked up at the end. */
	assert_true(with_ahead >= 2 && with_ahead < CASE_CNT);
	lab_block_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_arriving_in_two_parts_cut_anywhere_gives_the_same_hits),
		cmocka_unit_test(a_block_wrong_in_any_byte_gets_the_verdict_of_the_whole),
		cmocka_unit_test(blocks_of_every_number_of_transactions_have_their_root_and_their_mutants),
		cmocka_unit_test(after_the_last_byte_only_a_tail_is_left_to_hash),
		cmocka_unit_test(blocks_arriving_out_of_order_come_out_in_order),
		cmocka_unit_test(an_arrival_given_up_leaves_nothing_behind),
		cmocka_unit_test(a_bad_block_cancels_those_of_its_epoch_that_are_arriving),
		cmocka_unit_test(a_reorg_passes_while_blocks_of_the_new_branch_arrive),
		cmocka_unit_test(arrivals_are_hashed_but_held_back_while_the_window_is_shut),
		cmocka_unit_test(edits_during_an_arrival_count_as_if_all_were_looked_up_at_its_end),
		cmocka_unit_test(a_whole_block_is_not_kept_waiting_by_later_ones_that_arrive),
	};

	if (!lab_start(12))
		return 1;
	return cmocka_run_group_tests_name("scan/arriving", tests, NULL, NULL);
}
