#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "fixture.h"
#include "serve/fault.h"
#include "txid/txid.h"

static struct tx_view tx[BLOCK_TX_MAX];
static struct hash256 txid[BLOCK_TX_MAX + 1];
static uint8_t bad[2 * BLOCK_SZ_MAX];

static struct hash256 root_of(const uint8_t *p, size_t sz, bool *mutated)
{
	const char *why;
	const struct txid_kernel *k = txid_select(0, NULL, &why);
	struct block_view bv;

	assert_int_equal(block_parse(p, sz, &bv, tx), PARSE_OK);
	k->hash(p, tx, txid, bv.tx_cnt);
	return merkle_root(k, txid, bv.tx_cnt, txid, mutated);
}

static void a_mutated_block_keeps_its_merkle_root_and_is_recognisable(void **state)
{
	static const uint32_t cnts[] = {3, 6, 12, 253, 500};

	(void)state;
	for (unsigned i = 0; i < sizeof(cnts) / sizeof(cnts[0]); i++) {
		struct fixture f;
		struct block_view bv;
		struct hash256 good, copy;
		bool mutated;
		size_t sz;

		fixture_make(&f, 1, cnts[i], NULL);
		good = root_of(f.block[0].p, f.block[0].sz, &mutated);
		assert_false(mutated);
		assert_int_equal(block_parse(f.block[0].p, f.block[0].sz, &bv, tx), PARSE_OK);
		sz = fault_mutate(bad, f.block[0].p, f.block[0].sz, tx, bv.tx_cnt);
		assert_true(sz > f.block[0].sz);
		copy = root_of(bad, sz, &mutated);
		assert_true(mutated);
		assert_true(hash256_eq(&good, &copy));
		fixture_free(&f);
	}
}

static void a_power_of_two_cannot_be_mutated(void **state)
{
	struct fixture f;
	struct block_view bv;

	(void)state;
	fixture_make(&f, 1, 8, NULL);
	assert_int_equal(block_parse(f.block[0].p, f.block[0].sz, &bv, tx), PARSE_OK);
	assert_int_equal(fault_mutate(bad, f.block[0].p, f.block[0].sz, tx, bv.tx_cnt), 0);
	fixture_free(&f);
}

static void a_count_in_too_long_a_form_is_all_that_is_wrong(void **state)
{
	static const uint32_t cnts[] = {2, 300};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct fixture f;
		struct block_view bv;
		size_t sz;

		fixture_make(&f, 1, cnts[i], NULL);
		assert_int_equal(block_parse(f.block[0].p, f.block[0].sz, &bv, tx), PARSE_OK);
		sz = fault_noncanonical(bad, f.block[0].p, f.block[0].sz, tx);
		assert_int_equal(block_parse(bad, sz, &bv, tx), PARSE_NONCANONICAL);
		fixture_free(&f);
	}
}

static void a_fault_is_due_as_often_as_armed_and_only_there(void **state)
{
	struct faults f = {.cnt = 0};

	(void)state;
	assert_true(fault_arm(&f, FAULT_STALL, 7, 2));
	assert_true(fault_arm(&f, FAULT_GREET_GARBAGE, 0, 1));
	assert_false(fault_due(&f, FAULT_STALL, 6));
	assert_false(fault_due(&f, FAULT_RESET, 7));
	assert_true(fault_due(&f, FAULT_STALL, 7));
	assert_true(fault_due(&f, FAULT_STALL, 7));
	assert_false(fault_due(&f, FAULT_STALL, 7));
	assert_true(fault_due(&f, FAULT_GREET_GARBAGE, 123));
	assert_false(fault_due(&f, FAULT_GREET_GARBAGE, 123));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mutated_block_keeps_its_merkle_root_and_is_recognisable),
		cmocka_unit_test(a_power_of_two_cannot_be_mutated),
		cmocka_unit_test(a_count_in_too_long_a_form_is_all_that_is_wrong),
		cmocka_unit_test(a_fault_is_due_as_often_as_armed_and_only_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
