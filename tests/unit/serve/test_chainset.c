#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fixture.h"
#include "serve/chainset.h"

static struct chainset *open_one(const char *path, uint32_t anchor)
{
	char why[CHAINSET_WHY_SZ] = "";
	struct chainset *cs = chainset_open(&path, 1, NULL, anchor, why);

	if (!cs)
		fail_msg("%s", why);
	return cs;
}

static void learn_all(struct chainset *cs)
{
	while (chainset_known(cs) < chainset_cnt(cs))
		chainset_learn(cs);
}

static void shuffled_blocks_come_out_as_a_chain(void **state)
{
	static const uint32_t order[] = {3, 1, 9, 0, 2, 7, 4, 8, 5, 6, 4, 0};
	struct fixture f;
	struct chainset *cs;

	(void)state;
	fixture_make(&f, 10, 3, NULL);
	cs = open_one(fixture_write(&f, order, 12), 0);
	assert_int_equal(chainset_cnt(cs), 10); /* the two copies are gone */
	for (uint32_t i = 0; i < 10; i++) {
		assert_true(chainset_learn(cs));
		assert_true(hash256_eq(&chainset_block(cs, i)->hash, &f.block[i].hash));
		assert_int_equal(chainset_tip_height(cs), i + 1);
	}
	chainset_close(cs);
	fixture_free(&f);
}

static void a_reorg_keeps_its_arrival_order_and_equal_work_never_switches(void **state)
{
	static const struct synth_reorg reorg = {10, 3, 1};
	struct fixture f;
	struct chainset *cs;

	(void)state;
	fixture_make(&f, 12, 3, &reorg);
	cs = open_one(f.path, 0);
	assert_int_equal(chainset_cnt(cs), 15);
	for (uint32_t i = 0; i < 10; i++)
		assert_true(chainset_learn(cs));
	for (uint32_t i = 10; i < 13; i++) /* heights 8, 9 and, at equal work, 10 */
		assert_false(chainset_learn(cs));
	assert_int_equal(chainset_tip(cs), 9);
	assert_true(chainset_learn(cs));
	assert_int_equal(chainset_tip(cs), 13);
	assert_int_equal(chainset_at(cs, 7), 6);
	assert_int_equal(chainset_at(cs, 8), 10);
	assert_false(chainset_is_active(cs, 9));
	assert_true(chainset_is_ancestor(cs, 6, 9));
	assert_true(chainset_is_ancestor(cs, 8, 9));
	assert_false(chainset_is_ancestor(cs, 8, 13));
	/* A stale block is found, but headers do not go on from it. */
	assert_int_equal(chainset_find(cs, &f.block[9].hash), 9);
	assert_int_equal(chainset_after(cs, &f.block[9].hash), 0);
	assert_int_equal(chainset_after(cs, &f.block[6].hash), 8);
	chainset_close(cs);
	fixture_free(&f);
}

static void what_is_not_learned_is_not_known(void **state)
{
	struct fixture f;
	struct chainset *cs;

	(void)state;
	fixture_make(&f, 5, 3, NULL);
	cs = open_one(f.path, 0);
	assert_int_equal(chainset_tip(cs), CHAINSET_NONE);
	assert_int_equal(chainset_tip_height(cs), 0);
	assert_int_equal(chainset_at(cs, 1), CHAINSET_NONE);
	chainset_learn(cs);
	assert_int_equal(chainset_find(cs, &f.block[0].hash), 0);
	assert_int_equal(chainset_find(cs, &f.block[1].hash), CHAINSET_NONE);
	assert_int_equal(chainset_after(cs, &network_get(NET_REGTEST)->genesis_hash), 1);
	chainset_close(cs);
	fixture_free(&f);
}

static void blocks_above_an_unknown_parent_need_the_anchor_height(void **state)
{
	static const uint32_t upper[] = {4, 5, 6, 7};
	char why[CHAINSET_WHY_SZ] = "";
	struct fixture f;
	struct chainset *cs;
	const char *path;

	(void)state;
	fixture_make(&f, 8, 3, NULL);
	path = fixture_write(&f, upper, 4);
	assert_null(chainset_open(&path, 1, NULL, 0, why));
	assert_non_null(strstr(why, "--anchor-height"));
	cs = open_one(path, 100);
	learn_all(cs);
	assert_int_equal(chainset_tip_height(cs), 103);
	assert_int_equal(chainset_after(cs, &f.block[3].hash), 100);
	chainset_close(cs);
	fixture_free(&f);
}

static void blocks_that_hang_on_nothing_are_left_out(void **state)
{
	static const uint32_t gap[] = {0, 1, 2, 4, 5};
	struct fixture f;
	struct chainset *cs;

	(void)state;
	fixture_make(&f, 6, 3, NULL);
	cs = open_one(fixture_write(&f, gap, 5), 0);
	assert_int_equal(chainset_cnt(cs), 3);
	assert_int_equal(chainset_left_out(cs), 2);
	chainset_close(cs);
	fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shuffled_blocks_come_out_as_a_chain),
		cmocka_unit_test(a_reorg_keeps_its_arrival_order_and_equal_work_never_switches),
		cmocka_unit_test(what_is_not_learned_is_not_known),
		cmocka_unit_test(blocks_above_an_unknown_parent_need_the_anchor_height),
		cmocka_unit_test(blocks_that_hang_on_nothing_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
