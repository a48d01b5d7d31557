/* Difficulty, time and fork choice, against the vectors. */
#include "vec.h"

#include <stdlib.h>

#include "chain/headers_priv.h"

static uint32_t bits_of(const json_t *o, const char *key)
{
	return (uint32_t)strtoul(vec_str(o, key), NULL, 16);
}

static void retarget_matches_the_vectors(void **state)
{
	json_t *root = vec_load("chain.json"), *v;
	json_t *all = json_object_get(json_object_get(root, "retarget"), "cases");
	size_t i;

	(void)state;
	assert_true(json_array_size(all) > 5);
	json_array_foreach(all, i, v)
	{
		const struct network *n = network_by_name(vec_str(v, "network"));
		int64_t span = vec_int(v, "last_block_time") - vec_int(v, "first_block_time");

		assert_int_equal(rules_retarget(n, bits_of(v, "nbits_used"), span),
				 bits_of(v, "expected_nbits"));
	}
	json_decref(root);
}

static void permitted_transition_matches_the_vectors(void **state)
{
	json_t *root = vec_load("chain.json"), *v;
	json_t *all = json_object_get(root, "permitted_transition");
	size_t i;

	(void)state;
	assert_true(json_array_size(all) > 5);
	json_array_foreach(all, i, v)
	{
		uint32_t height = (uint32_t)vec_int(v, "next_height");

		assert_int_equal(
			rules_permitted(network_get(NET_MAIN), height, bits_of(v, "old"), bits_of(v, "new")),
			vec_bool(v, "permitted"));
		assert_true(rules_permitted(network_get(NET_TESTNET3), height, bits_of(v, "old"),
					    bits_of(v, "new")));
	}
	json_decref(root);
}

static void bip94_matches_the_vectors(void **state)
{
	json_t *root = vec_load("chain.json"), *v;
	json_t *all = json_object_get(root, "bip94_timestamp");
	size_t i, applied = 0;

	(void)state;
	json_array_foreach(all, i, v)
	{
		const char *name = vec_str(v, "network");
		bool ok = rules_bip94_ok((uint32_t)vec_int(v, "interval"), (uint32_t)vec_int(v, "new_height"),
					 (uint32_t)vec_int(v, "prev_time"), (uint32_t)vec_int(v, "new_time"));

		/* Elsewhere the rule does not exist, whatever the arithmetic says. */
		if (strcmp(name, "testnet4") != 0 && strcmp(name, "regtest_v28") != 0)
			continue;
		assert_int_equal(!ok, vec_bool(v, "rejected"));
		applied++;
	}
	assert_true(applied >= 4);
	json_decref(root);
}

static void median_time_matches_the_vectors(void **state)
{
	json_t *root = vec_load("chain.json"), *v;
	json_t *all = json_object_get(root, "median_time_past");
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		json_t *times = json_object_get(v, "times_oldest_first");
		uint32_t t[64];
		size_t cnt = json_array_size(times);

		for (size_t k = 0; k < cnt; k++)
			t[k] = (uint32_t)json_integer_value(json_array_get(times, k));
		assert_int_equal(rules_median_time(t, (uint32_t)cnt), vec_int(v, "mtp"));
	}
	json_decref(root);
}

static void locator_heights_match_the_vectors(void **state)
{
	json_t *root = vec_load("chain.json"), *v;
	json_t *all = json_object_get(root, "locator_heights");
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		json_t *want = json_object_get(v, "heights");
		uint32_t got[101], cnt = rules_locator_heights(got, (uint32_t)vec_int(v, "tip"));

		assert_int_equal(cnt, json_array_size(want));
		for (uint32_t k = 0; k < cnt; k++)
			assert_int_equal(got[k], json_integer_value(json_array_get(want, k)));
	}
	assert_true(rules_locator_heights((uint32_t[101]){0}, UINT32_MAX) < HEADERS_LOCATOR_MAX);
	json_decref(root);
}

/* ---- the same in the tree, on headers nobody could mine ---- */

static struct hash256 fresh_hash(void)
{
	static uint32_t n;
	struct hash256 h = {{0xfe}};

	n++;
	memcpy(h.b + 8, &n, sizeof(n));
	memcpy(h.b, &n, sizeof(n));
	return h;
}

static uint32_t put(struct headers *h, uint32_t parent, uint32_t bits, uint32_t time)
{
	struct header_fields f = {.bits = bits, .time = time};
	struct hash256 hash = fresh_hash();

	return tree_insert(h, parent, &hash, &f);
}

static struct headers *tree_from(const struct network *n, uint32_t height, uint32_t bits, uint32_t time)
{
	uint8_t raw[HEADER_SZ];
	struct header_fields f = {.bits = bits, .time = time};
	struct headers_root root = {.hash = fresh_hash(), .height = height, .header = raw};

	header_encode(raw, &f);
	return headers_new(n, &root, 1, 0);
}

/* The chain of known blocks, holes filled with blocks like the one before them. */
static struct headers *known_chain(const struct network *n, const json_t *known, uint32_t *tip)
{
	json_t *first = json_array_get(known, 0), *v;
	struct headers *h = tree_from(n, (uint32_t)vec_int(first, "height"), bits_of(first, "nbits"),
				      (uint32_t)vec_int(first, "time"));
	uint32_t time = (uint32_t)vec_int(first, "time"), bits = bits_of(first, "nbits");
	size_t i;

	*tip = headers_root_idx(h);
	json_array_foreach(known, i, v)
	{
		uint32_t height = (uint32_t)vec_int(v, "height");

		while (headers_height(h, *tip) + 1 < height)
			*tip = put(h, *tip, bits, ++time);
		time = (uint32_t)vec_int(v, "time");
		bits = bits_of(v, "nbits");
		if (i > 0)
			*tip = put(h, *tip, bits, time);
	}
	return h;
}

static void next_work_matches_the_vectors(void **state)
{
	json_t *root = vec_load("chain.json"), *v;
	json_t *all = json_object_get(root, "next_work");
	size_t i;

	(void)state;
	assert_true(json_array_size(all) > 8);
	json_array_foreach(all, i, v)
	{
		const struct network *n = network_by_name(vec_str(v, "network"));
		uint32_t want = bits_of(v, "expected_nbits"), tip;
		struct headers *h = known_chain(n, json_object_get(v, "known_blocks"), &tip);
		static const uint32_t try[] = {0x1d00ffff, 0x1a0202f0, 0x1a02033c, 0x1c7fff80,
					       0x1e0377ae, 0x207fffff, 0x1a0202ef};

		assert_int_equal(headers_height(h, tip) + 1, vec_int(v, "new_height"));
		for (unsigned k = 0; k <= sizeof(try) / sizeof(try[0]); k++) {
			uint32_t bits = k == 0 ? want : try[k - 1];
			struct header_fields f = {
				.version = 4, .bits = bits, .time = (uint32_t)vec_int(v, "new_time")};

			assert_int_equal(context_check(h, tip, &f, INT64_MAX),
					 bits == want ? HEADERS_OK : HEADERS_BAD_BITS);
		}
		headers_free(h);
	}
	json_decref(root);
}

/* The walk back as the rule words it, one block at a time. */
static uint32_t slow_walk_back(const struct headers *h, uint32_t idx)
{
	while (at(h, idx)->parent != HEADERS_NONE && at(h, idx)->height % RULES_RETARGET_INTERVAL != 0 &&
	       at(h, idx)->bits == h->net->pow_limit_bits)
		idx = at(h, idx)->parent;
	return at(h, idx)->bits;
}

static void the_kept_answer_of_the_walk_back_equals_the_walk(void **state)
{
	struct headers *h = tree_from(network_get(NET_TESTNET3), 2016, 0x1a0202f0, 1000000);
	uint32_t tip = headers_root_idx(h), rnd = 5;

	(void)state;
	for (unsigned i = 0; i < 6000; i++) {
		bool easy = vec_random(&rnd) % 10 < 7;

		tip = put(h, tip, easy ? 0x1d00ffff : 0x1a0202f0 + vec_random(&rnd) % 9, i);
		assert_int_equal(at(h, tip)->real_bits, slow_walk_back(h, tip));
	}
	headers_free(h);
}

static void without_history_the_bounded_rule_holds(void **state)
{
	struct headers_root root = {.hash = fresh_hash(), .height = 4030};
	struct headers *h = headers_new(network_get(NET_MAIN), &root, 1, 0);
	struct header_fields f = {.version = 4, .bits = 0x1a0202f0, .time = 1500000000};
	uint32_t tip;

	(void)state;
	/* Nothing is known of the root: any difficulty may follow it, but then it stays. */
	assert_int_equal(context_check(h, headers_root_idx(h), &f, INT64_MAX), HEADERS_OK);
	tip = put(h, headers_root_idx(h), f.bits, f.time);
	f.bits = 0x1a080bc0; /* height 4032, a boundary: four times as easy at most */
	assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_OK);
	f.bits = 0x1a080bc1;
	assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_BAD_BITS);
	tip = put(h, tip, 0x1a080bc0, f.time);
	f.bits = 0x1a080bbf;
	assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_BAD_BITS);
	f.bits = 0x1a080bc0;
	assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_OK);
	headers_free(h);
}

static void the_median_is_asked_for_once_eleven_ancestors_are_known(void **state)
{
	struct headers_root root = {.hash = fresh_hash(), .height = 100};
	struct headers *h = headers_new(network_get(NET_REGTEST), &root, 1, 0);
	struct header_fields f = {.version = 4, .bits = 0x207fffff, .time = 1};
	uint32_t tip = headers_root_idx(h);

	(void)state;
	for (uint32_t i = 0; i < 11; i++) {
		assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_OK);
		tip = put(h, tip, 0x207fffff, 1000 + i);
	}
	assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_TIME_OLD);
	f.time = 1005;
	assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_TIME_OLD);
	f.time = 1006;
	assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_OK);
	/* Two hours ahead of our clock is the most. */
	f.time = 10000;
	assert_int_equal(context_check(h, tip, &f, 2800), HEADERS_OK);
	assert_int_equal(context_check(h, tip, &f, 2799), HEADERS_FUTURE);
	headers_free(h);
}

static void testnet4_may_not_go_back_in_time_at_a_boundary(void **state)
{
	struct headers *h = tree_from(network_get(NET_TESTNET4), 4031, 0x1d00ffff, 1500000000);
	struct header_fields f = {.version = 4, .bits = 0x1d00ffff, .time = 1500000000 - 600};

	(void)state;
	assert_int_equal(context_check(h, headers_root_idx(h), &f, INT64_MAX), HEADERS_OK);
	f.time--;
	assert_int_equal(context_check(h, headers_root_idx(h), &f, INT64_MAX), HEADERS_TIME_OLD);
	headers_free(h);
	h = tree_from(network_get(NET_TESTNET3), 4031, 0x1d00ffff, 1500000000);
	assert_int_equal(context_check(h, headers_root_idx(h), &f, INT64_MAX), HEADERS_OK);
	headers_free(h);
}

/* BIP 34, 66 and 65: the least version at a height, on every network. */
static void versions_are_asked_for_from_their_heights_on(void **state)
{
	static const struct {
		enum network_id id;
		uint32_t height;
		int32_t least;
	} cases[] = {
		{NET_MAIN, 227930, INT32_MIN}, {NET_MAIN, 227931, 2},    {NET_MAIN, 363724, 2},
		{NET_MAIN, 363725, 3},         {NET_MAIN, 388380, 3},    {NET_MAIN, 388381, 4},
		{NET_TESTNET3, 21110, -1},     {NET_TESTNET3, 21111, 2}, {NET_TESTNET3, 330776, 3},
		{NET_TESTNET3, 581885, 4},     {NET_TESTNET4, 5, 4},     {NET_SIGNET, 5, 4},
		{NET_REGTEST, 5, 4},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct network *n = network_get(cases[i].id);
		struct headers *h = tree_from(n, cases[i].height - 1, n->pow_limit_bits, 1500000000);
		struct header_fields f = {
			.version = cases[i].least, .bits = n->pow_limit_bits, .time = 1500000001};

		assert_int_equal(context_check(h, headers_root_idx(h), &f, INT64_MAX), HEADERS_OK);
		if (cases[i].least > 0) {
			f.version--;
			assert_int_equal(context_check(h, headers_root_idx(h), &f, INT64_MAX),
					 HEADERS_BAD_VERSION);
			f.version = -1;
			assert_int_equal(context_check(h, headers_root_idx(h), &f, INT64_MAX),
					 HEADERS_BAD_VERSION);
		}
		f.version = 0x20000000;
		assert_int_equal(context_check(h, headers_root_idx(h), &f, INT64_MAX), HEADERS_OK);
		headers_free(h);
	}
}

/* A period whose first block is the root of the tree is retargeted exactly; with one block less it is bounded. */
static void an_anchor_at_the_start_of_a_period_gives_the_exact_rule_at_its_end(void **state)
{
	const struct network *n = network_get(NET_MAIN);

	(void)state;
	for (uint32_t at_height = 2016; at_height <= 2017; at_height++) {
		struct headers *h = tree_from(n, at_height, 0x1a0202f0, 1500000000);
		uint32_t tip = headers_root_idx(h), exact;
		struct header_fields f = {.version = 4};

		while (headers_height(h, tip) < 4031)
			tip = put(h, tip, 0x1a0202f0, 1500000000 + 500 * (headers_height(h, tip) - 2015));
		exact = rules_retarget(n, 0x1a0202f0, 500 * 2015);
		f.time = at(h, tip)->time + 500;
		f.bits = exact;
		assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_OK);
		f.bits = exact + 1;
		assert_int_equal(context_check(h, tip, &f, INT64_MAX),
				 at_height == 2016 ? HEADERS_BAD_BITS : HEADERS_OK);
		f.bits = 0x1b0202f0; /* outside any bound */
		assert_int_equal(context_check(h, tip, &f, INT64_MAX), HEADERS_BAD_BITS);
		headers_free(h);
	}
}

static void a_target_is_scaled_exactly_whatever_its_size(void **state)
{
	const struct u256 top = {{0, 0, 0, 0x4000000000000000}}, all = {{-1ull, -1ull, -1ull, -1ull}};
	struct u256 r = u256_mul_div_u32(&top, 4838400, 2419200), three = {{3}};

	(void)state;
	assert_int_equal(r.l[3], 0x8000000000000000);
	assert_int_equal(r.l[0] | r.l[1] | r.l[2], 0);
	r = u256_mul_div_u32(&top, 5, 1);
	assert_int_equal(u256_cmp(&r, &all), 0);
	r = u256_mul_div_u32(&all, UINT32_MAX, UINT32_MAX);
	assert_int_equal(u256_cmp(&r, &all), 0);
	r = u256_mul_div_u32(&three, 7, 2);
	assert_int_equal(r.l[0], 10);
}

static uint32_t put_branch(struct headers *h, const json_t *branch)
{
	uint32_t tip = headers_root_idx(h);
	json_t *v;
	size_t i;

	json_array_foreach(branch, i, v)
		tip = put(h, tip, (uint32_t)strtoul(json_string_value(v), NULL, 16), (uint32_t)i);
	return tip;
}

static void fork_choice_matches_the_vectors(void **state)
{
	json_t *root = vec_load("chain.json"), *v;
	json_t *all = json_object_get(root, "fork_choice");
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		/* No work at the root, so that the sums are those of the branches. */
		struct headers_root r = {.hash = fresh_hash(), .height = 10};
		struct headers *h = headers_new(network_get(NET_MAIN), &r, 1, 0);
		uint32_t a = put_branch(h, json_object_get(v, "branch_a"));
		uint32_t b = put_branch(h, json_object_get(v, "branch_b"));
		bool b_wins = strcmp(vec_str(v, "best"), "b") == 0;

		assert_int_equal(headers_best(h), b_wins ? b : a);
		assert_int_equal(headers_work(h, a)->l[0], strtoull(vec_str(v, "work_a"), NULL, 16));
		assert_int_equal(headers_work(h, b)->l[0], strtoull(vec_str(v, "work_b"), NULL, 16));
		headers_free(h);
	}
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(retarget_matches_the_vectors),
		cmocka_unit_test(permitted_transition_matches_the_vectors),
		cmocka_unit_test(bip94_matches_the_vectors),
		cmocka_unit_test(median_time_matches_the_vectors),
		cmocka_unit_test(locator_heights_match_the_vectors),
		cmocka_unit_test(next_work_matches_the_vectors),
		cmocka_unit_test(the_kept_answer_of_the_walk_back_equals_the_walk),
		cmocka_unit_test(without_history_the_bounded_rule_holds),
		cmocka_unit_test(the_median_is_asked_for_once_eleven_ancestors_are_known),
		cmocka_unit_test(testnet4_may_not_go_back_in_time_at_a_boundary),
		cmocka_unit_test(a_target_is_scaled_exactly_whatever_its_size),
		cmocka_unit_test(versions_are_asked_for_from_their_heights_on),
		cmocka_unit_test(an_anchor_at_the_start_of_a_period_gives_the_exact_rule_at_its_end),
		cmocka_unit_test(fork_choice_matches_the_vectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
