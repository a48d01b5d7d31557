/* Trees of blocks in any order: heights, the best chain, copies, gaps. */
#include "vec.h"

#include <stdlib.h>

#include "rescan/table.h"

#define REGTEST_BITS 0x207fffffu
#define HARDER_BITS  0x203fffffu /* twice the work */
#define CNT_MAX      256u

/* A forest that is written down before it is shuffled into a table. */
struct forest {
	struct block_table t;
	struct node {
		struct hash256 hash, prev;
		uint32_t bits;
		int64_t claims; /* height in its coinbase */
	} node[CNT_MAX];
	uint32_t cnt;
};

static struct hash256 hash_no(uint32_t no)
{
	struct hash256 h = {{0}};

	memcpy(h.b, &(uint32_t){no * 2654435761u}, 4);
	memcpy(h.b + 8, &no, 4);
	return h;
}

static struct hash256 genesis(void)
{
	return network_get(NET_REGTEST)->genesis_hash;
}

static uint32_t grow_on(struct forest *f, struct hash256 prev, uint32_t bits, int64_t claims)
{
	struct node *n = &f->node[f->cnt];

	assert_true(f->cnt < CNT_MAX);
	*n = (struct node){.hash = hash_no(f->cnt + 1), .prev = prev, .bits = bits, .claims = claims};
	return f->cnt++;
}

/* cnt blocks on prev, the first of which claims height. */
static uint32_t grow_line(struct forest *f, struct hash256 prev, uint32_t cnt, int64_t height)
{
	uint32_t last = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		last = grow_on(f, prev, REGTEST_BITS, height < 0 ? -1 : height + i);
		prev = f->node[last].hash;
	}
	return last;
}

static void put(struct forest *f, uint32_t node, uint64_t off)
{
	struct header_fields h = {
		.version = 4, .prev = f->node[node].prev, .bits = f->node[node].bits, .time = 1700000000};
	uint8_t raw[HEADER_SZ];

	header_encode(raw, &h);
	assert_true(table_add(&f->t, raw, &f->node[node].hash, 0, off, 1000));
}

static int64_t claim_of(void *arg, const struct found_block *b)
{
	const struct forest *f = arg;

	for (uint32_t i = 0; i < f->cnt; i++)
		if (hash256_eq(&f->node[i].hash, &b->hash))
			return f->node[i].claims;
	return -1;
}

static int64_t claim_of_none(void *arg, const struct found_block *b)
{
	(void)arg;
	(void)b;
	return -1;
}

static void begin(struct forest *f)
{
	memset(f, 0, sizeof(*f));
	table_init(&f->t, network_get(NET_REGTEST));
}

/* Puts every node once, in an order that depends on seed; 0: as they were grown. */
static void put_all_shuffled(struct forest *f, unsigned seed)
{
	uint32_t order[CNT_MAX];

	for (uint32_t i = 0; i < f->cnt; i++)
		order[i] = i;
	srand(seed);
	for (uint32_t i = f->cnt; seed != 0 && i > 1; i--) {
		uint32_t k = (uint32_t)rand() % i, swap = order[k];

		order[k] = order[i - 1];
		order[i - 1] = swap;
	}
	for (uint32_t i = 0; i < f->cnt; i++)
		put(f, order[i], i);
}

static const struct found_block *found(const struct forest *f, uint32_t node)
{
	for (uint32_t i = 0; i < f->t.cnt; i++)
		if (hash256_eq(&f->t.block[i].hash, &f->node[node].hash))
			return &f->t.block[i];
	fail();
	return NULL;
}

static void heights_and_the_best_chain_do_not_depend_on_the_order(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 50; seed++) {
		static struct forest f;
		uint32_t tip, stale, fork;

		begin(&f);
		tip = grow_line(&f, genesis(), 60, -1);
		fork = 29; /* height 30 */
		stale = grow_line(&f, f.node[fork].hash, 5, -1);
		put_all_shuffled(&f, seed);
		assert_true(table_link(&f.t, claim_of, &f));
		for (uint32_t i = 0; i < 60; i++) {
			assert_int_equal(found(&f, i)->height, i + 1);
			assert_true(found(&f, i)->best_chain);
		}
		for (uint32_t i = 60; i <= stale; i++) {
			assert_int_equal(found(&f, i)->height, 31 + i - 60);
			assert_false(found(&f, i)->best_chain);
		}
		assert_int_equal(f.t.stale_cnt, 5);
		assert_int_equal(f.t.lowest, 1);
		assert_int_equal(f.t.highest, 60);
		assert_ptr_equal(&f.t.block[f.t.best], found(&f, tip));
		assert_int_equal(table_missing(&f.t, 0, UINT32_MAX), 0);
		table_free(&f.t);
	}
}

static void work_counts_and_not_length(void **state)
{
	static struct forest f;
	struct hash256 prev;

	(void)state;
	begin(&f);
	grow_line(&f, genesis(), 10, -1);
	prev = f.node[4].hash;
	for (unsigned i = 0; i < 3; i++) {
		grow_on(&f, prev, HARDER_BITS, -1);
		prev = f.node[f.cnt - 1].hash;
	}
	put_all_shuffled(&f, 3);
	assert_true(table_link(&f.t, claim_of, &f));
	/* 3 blocks of twice the work against 5. */
	for (uint32_t i = 0; i < f.cnt; i++)
		assert_int_equal(found(&f, i)->best_chain, i < 5 || i >= 10);
	assert_int_equal(f.t.highest, 8);
	table_free(&f.t);
}

static void of_equal_work_the_first_in_the_files_is_best(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 2; first++) {
		static struct forest f;

		begin(&f);
		grow_line(&f, genesis(), 3, -1);
		grow_on(&f, f.node[2].hash, REGTEST_BITS, -1);
		grow_on(&f, f.node[2].hash, REGTEST_BITS, -1);
		put(&f, 3 + first, 0);
		put(&f, 4 - first, 1);
		for (uint32_t i = 0; i < 3; i++)
			put(&f, i, 2 + i);
		assert_true(table_link(&f.t, claim_of, &f));
		assert_true(found(&f, 3 + first)->best_chain);
		assert_false(found(&f, 4 - first)->best_chain);
		table_free(&f.t);
	}
}

static void copies_hang_on_the_first_in_file_order(void **state)
{
	static struct forest f;

	(void)state;
	begin(&f);
	grow_line(&f, genesis(), 4, -1);
	put_all_shuffled(&f, 0);
	put(&f, 2, 100);
	put(&f, 1, 101);
	put(&f, 2, 102);
	assert_true(table_link(&f.t, claim_of, &f));
	assert_int_equal(f.t.copy_cnt, 3);
	assert_int_equal(f.t.block[2].next_copy, 4);
	assert_int_equal(f.t.block[4].next_copy, 6);
	assert_int_equal(f.t.block[6].next_copy, BLOCK_NONE);
	assert_int_equal(f.t.block[1].next_copy, 5);
	for (uint32_t i = 0; i < 7; i++)
		assert_int_equal(f.t.block[i].is_copy, i >= 4);
	assert_int_equal(f.t.stale_cnt, 0);
	assert_int_equal(f.t.highest, 4);
	table_free(&f.t);
}

static void a_pruned_directory_begins_where_its_coinbases_say(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		static struct forest f;

		begin(&f);
		grow_line(&f, hash_no(9999), 20, 1000);
		grow_line(&f, f.node[5].hash, 2, 1006);
		put_all_shuffled(&f, seed);
		assert_true(table_link(&f.t, claim_of, &f));
		for (uint32_t i = 0; i < 20; i++)
			assert_int_equal(found(&f, i)->height, 1000 + i);
		assert_int_equal(found(&f, 21)->height, 1007);
		assert_int_equal(f.t.lowest, 1000);
		assert_int_equal(f.t.highest, 1019);
		assert_int_equal(f.t.stale_cnt, 2);
		table_free(&f.t);
	}
}

static void parts_of_a_chain_are_put_together_and_stale_branches_are_not(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 50; seed++) {
		static struct forest f;
		uint32_t upper, lower, stale, wrong_parent;

		begin(&f);
		grow_line(&f, hash_no(7000), 40, 500); /* 500 .. 539 */
		upper = 0;
		lower = f.cnt;
		grow_line(&f, hash_no(7001), 10, 485); /* 485 .. 494 */
		stale = f.cnt;
		grow_line(&f, hash_no(7002), 3, 510); /* at heights that are taken */
		wrong_parent = f.cnt;
		grow_line(&f, hash_no(7003), 2, 498); /* 499 is not the parent of 500 */
		put_all_shuffled(&f, seed);
		assert_true(table_link(&f.t, claim_of, &f));
		for (uint32_t i = upper; i < lower; i++)
			assert_true(found(&f, i)->best_chain);
		for (uint32_t i = lower; i < stale; i++)
			assert_true(found(&f, i)->best_chain);
		for (uint32_t i = stale; i < wrong_parent; i++)
			assert_false(found(&f, i)->best_chain);
		/* 498 may or may not be of the chain: nothing speaks against it. */
		assert_true(found(&f, wrong_parent)->best_chain);
		assert_false(found(&f, wrong_parent + 1)->best_chain);
		assert_int_equal(f.t.lowest, 485);
		assert_int_equal(f.t.highest, 539);
		assert_int_equal(table_missing(&f.t, 0, UINT32_MAX), 4); /* 495, 496, 497, 499 */
		assert_int_equal(table_missing(&f.t, 496, 498), 2);
		assert_int_equal(table_missing(&f.t, 600, 700), 0);
		table_free(&f.t);
	}
}

static void without_a_trusted_coinbase_heights_are_unknown_and_nothing_is_stale(void **state)
{
	static struct forest f;

	(void)state;
	begin(&f);
	grow_line(&f, hash_no(9999), 5, -1);
	put_all_shuffled(&f, 1);
	assert_true(table_link(&f.t, claim_of_none, &f));
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(found(&f, i)->height, HEIGHT_UNKNOWN);
		assert_true(found(&f, i)->best_chain);
	}
	assert_int_equal(f.t.lowest, HEIGHT_UNKNOWN);
	assert_int_equal(table_missing(&f.t, 0, UINT32_MAX), 0);
	table_free(&f.t);
}

static void the_tip_tells_the_height_where_the_root_cannot(void **state)
{
	static struct forest f;

	(void)state;
	begin(&f);
	grow_line(&f, hash_no(9999), 5, -1);
	f.node[4].claims = 104;
	put_all_shuffled(&f, 1);
	assert_true(table_link(&f.t, claim_of, &f));
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(found(&f, i)->height, 100 + i);
	table_free(&f.t);

	/* Below its own depth, or beyond all sense, a claim is none. */
	for (unsigned bad = 0; bad < 2; bad++) {
		begin(&f);
		grow_line(&f, hash_no(9999), 5, -1);
		f.node[4].claims = bad ? 30000000 : 4;
		put_all_shuffled(&f, 1);
		assert_true(table_link(&f.t, claim_of, &f));
		assert_int_equal(found(&f, 0)->height, HEIGHT_UNKNOWN);
		table_free(&f.t);
	}
}

static void genesis_itself_is_height_zero_and_no_block_is_nothing(void **state)
{
	const struct network *net = network_get(NET_REGTEST);
	struct block_table t;

	(void)state;
	table_init(&t, net);
	assert_true(table_link(&t, claim_of_none, NULL));
	assert_int_equal(t.best, BLOCK_NONE);
	table_free(&t);
	table_init(&t, net);
	assert_true(table_add(&t, net->genesis_header, &net->genesis_hash, 0, 8, 285));
	assert_true(table_link(&t, claim_of_none, NULL));
	assert_int_equal(t.block[0].height, 0);
	assert_int_equal(t.highest, 0);
	assert_true(t.block[0].best_chain);
	table_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heights_and_the_best_chain_do_not_depend_on_the_order),
		cmocka_unit_test(work_counts_and_not_length),
		cmocka_unit_test(of_equal_work_the_first_in_the_files_is_best),
		cmocka_unit_test(copies_hang_on_the_first_in_file_order),
		cmocka_unit_test(a_pruned_directory_begins_where_its_coinbases_say),
		cmocka_unit_test(parts_of_a_chain_are_put_together_and_stale_branches_are_not),
		cmocka_unit_test(without_a_trusted_coinbase_heights_are_unknown_and_nothing_is_stale),
		cmocka_unit_test(the_tip_tells_the_height_where_the_root_cannot),
		cmocka_unit_test(genesis_itself_is_height_zero_and_no_block_is_nothing),
	};

	return cmocka_run_group_tests_name("rescan/table", tests, NULL, NULL);
}
