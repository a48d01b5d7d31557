/* The tree as the net lcore uses it: batches from peers, best chain, bounds, locators. */
#include "vec.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "chain/headers_priv.h"

/* Mines cnt regtest headers on prev, times from time on; salt keeps branches apart. */
static void mine(uint8_t *raw, uint32_t cnt, struct hash256 prev, uint32_t time, uint32_t salt)
{
	const struct network *n = network_get(NET_REGTEST);

	for (uint32_t i = 0; i < cnt; i++) {
		struct header_fields f = {
			.version = 4, .prev = prev, .time = time + i, .bits = n->pow_limit_bits};

		memcpy(f.merkle.b, &salt, sizeof(salt));
		do {
			f.nonce++;
			header_encode(raw + (size_t)i * HEADER_SZ, &f);
			prev = header_hash(raw + (size_t)i * HEADER_SZ);
		} while (!pow_valid(n, &prev, f.bits));
	}
}

static struct hash256 hash_at(const uint8_t *raw, uint32_t i)
{
	return header_hash(raw + (size_t)i * HEADER_SZ);
}

static const uint32_t genesis_time = 1296688602;

static struct headers *with_chain(uint8_t *raw, uint32_t cnt)
{
	const struct network *n = network_get(NET_REGTEST);
	struct headers *h = headers_new(n, NULL, 42, 0);
	uint32_t last, new_cnt;

	mine(raw, cnt, n->genesis_hash, genesis_time + 1, 0);
	for (uint32_t i = 0; i < cnt; i += 1000) {
		uint32_t part = cnt - i < 1000 ? cnt - i : 1000;

		assert_int_equal(headers_add(h, raw + (size_t)i * HEADER_SZ, HEADER_SZ, part, INT64_MAX, &last,
					     &new_cnt),
				 HEADERS_OK);
		assert_int_equal(new_cnt, part);
	}
	return h;
}

/* Turns the nonce until the work is valid, or is not. */
static void spoil(uint8_t raw[HEADER_SZ], bool valid)
{
	const struct network *n = network_get(NET_REGTEST);
	struct header_fields f;
	struct hash256 hash;

	header_decode(&f, raw);
	do {
		f.nonce++;
		header_encode(raw, &f);
		hash = header_hash(raw);
	} while (pow_valid(n, &hash, f.bits) != valid);
}

static enum headers_verdict add(struct headers *h, const uint8_t *raw, uint32_t cnt, uint32_t *new_cnt)
{
	uint32_t last;

	return headers_add(h, raw, HEADER_SZ, cnt, INT64_MAX, &last, new_cnt);
}

static void a_chain_is_found_by_hash_and_by_height(void **state)
{
	static uint8_t raw[3000 * HEADER_SZ];
	struct headers *h = with_chain(raw, 3000);
	uint8_t back[HEADER_SZ];

	(void)state;
	assert_int_equal(headers_cnt(h), 3001);
	assert_int_equal(headers_height(h, headers_best(h)), 3000);
	for (uint32_t i = 0; i < 3000; i++) {
		struct hash256 hash = hash_at(raw, i);
		uint32_t idx = headers_find(h, &hash);

		assert_int_equal(idx, headers_at(h, i + 1));
		assert_int_equal(headers_height(h, idx), i + 1);
		assert_true(headers_raw(h, idx, back));
		assert_memory_equal(back, raw + (size_t)i * HEADER_SZ, HEADER_SZ);
	}
	assert_int_equal(headers_at(h, 3001), HEADERS_NONE);
	assert_int_equal(headers_work(h, headers_best(h))->l[0], 2 * 3001);
	assert_true(headers_raw(h, headers_root_idx(h), back));
	assert_memory_equal(back, network_get(NET_REGTEST)->genesis_header, HEADER_SZ);
	headers_free(h);
}

static void every_wrong_header_is_refused_with_its_name_and_the_good_before_it_stay(void **state)
{
	static uint8_t raw[40 * HEADER_SZ], more[10 * HEADER_SZ], bad[10 * HEADER_SZ];
	struct headers *h = with_chain(raw, 40);
	uint32_t new_cnt, last;
	uint8_t *third = bad + 3 * HEADER_SZ;

	(void)state;
	mine(more, 10, hash_at(raw, 39), genesis_time + 100, 0);
	memcpy(bad, more, sizeof(bad));
	spoil(third, false);
	assert_int_equal(add(h, bad, 4, &new_cnt), HEADERS_BAD_POW);
	assert_int_equal(new_cnt, 3);
	third[72] ^= 1; /* another difficulty, with the work it asks for */
	spoil(third, true);
	assert_int_equal(add(h, bad, 4, &new_cnt), HEADERS_BAD_BITS);
	assert_int_equal(new_cnt, 0);
	memcpy(bad, more, sizeof(bad));
	memcpy(third, more + 4 * HEADER_SZ, HEADER_SZ);
	assert_int_equal(add(h, bad, 10, &new_cnt), HEADERS_NOT_A_CHAIN);
	assert_int_equal(new_cnt, 0); /* the first three are known by now */
	assert_int_equal(headers_cnt(h), 44);
	assert_int_equal(add(h, more + 6 * HEADER_SZ, 2, &new_cnt), HEADERS_UNLINKED);
	mine(bad, 1, hash_at(raw, 39), genesis_time + 30, 0);
	assert_int_equal(add(h, bad, 1, &new_cnt), HEADERS_TIME_OLD);
	mine(bad, 1, hash_at(raw, 39), genesis_time + 9000, 0);
	assert_int_equal(headers_add(h, bad, HEADER_SZ, 1, genesis_time + 1799, &last, &new_cnt),
			 HEADERS_FUTURE);
	assert_int_equal(headers_add(h, bad, HEADER_SZ, 1, genesis_time + 1800, &last, &new_cnt), HEADERS_OK);
	assert_int_equal(add(h, more, 10, &new_cnt), HEADERS_OK);
	assert_int_equal(new_cnt, 7);
	assert_int_equal(add(h, more, 10, &new_cnt), HEADERS_OK);
	assert_int_equal(new_cnt, 0);
	headers_free(h);
}

static void impossible_targets_are_no_work_on_any_network(void **state)
{
	json_t *root = vec_load("headers.json"), *all = json_object_get(root, "headers"), *v;
	size_t i, bad = 0;

	(void)state;
	json_array_foreach(all, i, v)
	{
		const struct network *n = network_by_name(vec_str(v, "network"));
		struct bytes b = vec_hex(v, "header");
		struct hash256 prev = vec_display(v, "prev_display");
		struct headers_root r = {.hash = prev, .height = 1000};
		struct headers *h = headers_new(n, &r, 7, 0);
		enum headers_verdict got;
		uint32_t new_cnt;

		got = add(h, b.p, 1, &new_cnt);
		if (got == HEADERS_BAD_VERSION) { /* a genesis block where only it may be of version 1 */
			assert_int_equal(b.p[0], 1);
			assert_int_equal(n->bip34_height, 1);
			got = HEADERS_OK;
		}
		assert_int_equal(got, vec_bool(v, "pow_ok") ? HEADERS_OK : HEADERS_BAD_POW);
		bad += got == HEADERS_BAD_POW;
		headers_free(h);
		free(b.p);
	}
	assert_true(bad >= 4);
	json_decref(root);
}

static void the_consecutive_real_headers_link_above_an_anchor(void **state)
{
	json_t *root = vec_load("headers.json"), *all = json_object_get(root, "headers"), *v;
	uint8_t raw[2 * HEADER_SZ];
	struct headers_root r = {.height = 928847};
	struct headers *h;
	uint32_t new_cnt;
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		bool first = strcmp(vec_str(v, "name"), "block928848.raw") == 0;
		struct bytes b = vec_hex(v, "header");

		if (first)
			r.hash = vec_display(v, "prev_display");
		if (first || strcmp(vec_str(v, "name"), "block928849.raw") == 0)
			memcpy(raw + (first ? 0 : HEADER_SZ), b.p, HEADER_SZ);
		free(b.p);
	}
	h = headers_new(network_get(NET_TESTNET3), &r, 7, 0);
	assert_int_equal(add(h, raw, 2, &new_cnt), HEADERS_OK);
	assert_int_equal(headers_height(h, headers_best(h)), 928849);
	headers_free(h);
	json_decref(root);
}

static void more_work_wins_and_equal_work_does_not(void **state)
{
	static uint8_t raw[50 * HEADER_SZ], a[30 * HEADER_SZ];
	struct headers *h = with_chain(raw, 50);
	uint32_t new_cnt, best = headers_best(h), forty = headers_at(h, 40), idx;
	struct hash256 tip;

	(void)state;
	mine(a, 30, hash_at(raw, 39), genesis_time + 41, 1);
	assert_int_equal(add(h, a, 10, &new_cnt), HEADERS_OK);
	assert_int_equal(headers_best(h), best);
	assert_int_equal(headers_side_cnt(h), 10);
	tip = hash_at(a, 9);
	idx = headers_find(h, &tip);
	assert_false(headers_on_best(h, idx));
	assert_int_equal(headers_fork(h, idx), forty);
	assert_int_equal(add(h, a, 11, &new_cnt), HEADERS_OK);
	assert_int_equal(headers_height(h, headers_best(h)), 51);
	assert_true(headers_on_best(h, idx));
	assert_int_equal(headers_at(h, 50), idx);
	assert_int_equal(headers_fork(h, best), forty);
	assert_int_equal(headers_side_cnt(h), 10);
	headers_free(h);
}

static void an_invalid_header_takes_its_branch_with_it(void **state)
{
	static uint8_t raw[50 * HEADER_SZ], a[8 * HEADER_SZ], b[2 * HEADER_SZ];
	struct headers *h = with_chain(raw, 50);
	uint32_t new_cnt;
	struct hash256 hash;

	(void)state;
	mine(a, 8, hash_at(raw, 39), genesis_time + 41, 1);
	assert_int_equal(add(h, a, 8, &new_cnt), HEADERS_OK);
	headers_mark_invalid(h, headers_at(h, 45));
	hash = hash_at(a, 7);
	assert_int_equal(headers_best(h), headers_find(h, &hash));
	mine(b, 2, hash_at(raw, 49), genesis_time + 51, 0);
	assert_int_equal(add(h, b, 2, &new_cnt), HEADERS_INVALID);
	headers_mark_invalid(h, headers_at(h, 41));
	assert_int_equal(headers_height(h, headers_best(h)), 44);
	headers_free(h);
}

static void a_branch_set_aside_grows_and_is_best_again_when_taken_back(void **state)
{
	static uint8_t raw[50 * HEADER_SZ], branch[20 * HEADER_SZ], more[5 * HEADER_SZ];
	struct headers *h = with_chain(raw, 50);
	uint32_t new_cnt, top, aside;

	(void)state;
	top = headers_best(h);
	mine(branch, 20, hash_at(raw, 39), genesis_time + 41, 7);
	assert_int_equal(add(h, branch, 20, &new_cnt), HEADERS_OK);
	assert_int_equal(headers_height(h, headers_best(h)), 60);
	aside = headers_at(h, 45);
	headers_set_aside(h, aside);
	assert_int_equal(headers_best(h), top);
	assert_int_equal(headers_ancestor(h, aside, 40), headers_at(h, 40));
	assert_int_equal(headers_ancestor(h, aside, 46), HEADERS_NONE);
	/* Nobody is to blame for going on there. */
	mine(more, 5, hash_at(branch, 19), genesis_time + 100, 8);
	assert_int_equal(add(h, more, 5, &new_cnt), HEADERS_OK);
	assert_int_equal(new_cnt, 5);
	assert_int_equal(headers_best(h), top);
	headers_take_back(h, aside);
	assert_int_equal(headers_height(h, headers_best(h)), 65);
	assert_int_equal(headers_at(h, 45), aside);
	/* What is invalid in it stays so. */
	headers_set_aside(h, aside);
	headers_mark_invalid(h, headers_find(h, (struct hash256[]){hash_at(branch, 14)}));
	headers_take_back(h, aside);
	assert_int_equal(headers_height(h, headers_best(h)), 54);
	headers_free(h);
}

static void a_block_of_the_best_chain_taken_back_brings_every_branch_above_it(void **state)
{
	static uint8_t raw[50 * HEADER_SZ], branch[20 * HEADER_SZ];
	struct headers *h = with_chain(raw, 50);
	uint32_t new_cnt, top;

	(void)state;
	top = headers_best(h);
	mine(branch, 20, hash_at(raw, 39), genesis_time + 41, 7);
	assert_int_equal(add(h, branch, 20, &new_cnt), HEADERS_OK);
	headers_set_aside(h, headers_at(h, 45));
	assert_int_equal(headers_best(h), top);
	headers_take_back(h, headers_at(h, 42)); /* above the fork: the branch is none of its own */
	assert_int_equal(headers_best(h), top);
	headers_take_back(h, headers_at(h, 30));
	assert_int_equal(headers_height(h, headers_best(h)), 60);
	headers_free(h);
}

static void a_branch_without_a_chance_is_not_stored(void **state)
{
	static uint8_t raw[5000 * HEADER_SZ], a[400 * HEADER_SZ];
	struct headers *h = with_chain(raw, 5000);
	uint32_t new_cnt;

	(void)state;
	mine(a, 400, hash_at(raw, 2982), genesis_time + 2984, 1); /* forks at 2983, 2017 deep */
	assert_int_equal(add(h, a, 400, &new_cnt), HEADERS_DEEP_FORK);
	mine(a, 400, hash_at(raw, 2983), genesis_time + 2985, 1);
	assert_int_equal(add(h, a, 400, &new_cnt), HEADERS_LOW_WORK);
	mine(a, 400, hash_at(raw, 4499), genesis_time + 4501, 1);
	assert_int_equal(add(h, a, 355, &new_cnt), HEADERS_LOW_WORK);
	assert_int_equal(add(h, a, 356, &new_cnt), HEADERS_OK);
	assert_int_equal(headers_cnt(h), 5001 + 356);
	headers_free(h);
}

static void side_headers_are_bounded_and_what_is_referenced_stays(void **state)
{
	static uint8_t raw[200 * HEADER_SZ], a[100 * HEADER_SZ];
	struct headers *h = with_chain(raw, 200);
	uint32_t new_cnt, held = HEADERS_NONE, most = 0;
	struct hash256 held_hash = {{0}}, hash;
	uint8_t back[HEADER_SZ];

	(void)state;
	for (uint32_t i = 0; i < 400; i++) {
		uint32_t cnt = i == 3 ? 20 : 50 + i % 50;

		mine(a, cnt, hash_at(raw, 99), genesis_time + 101, 1 + i);
		assert_int_equal(add(h, a, cnt, &new_cnt), HEADERS_OK);
		if (i == 3) { /* the least work of all */
			held_hash = hash_at(a, cnt - 1);
			held = headers_find(h, &held_hash);
			headers_ref(h, held);
		}
		if (headers_side_cnt(h) > most)
			most = headers_side_cnt(h);
		assert_int_equal(headers_cnt(h), 201 + headers_side_cnt(h));
		assert_int_equal(headers_height(h, headers_best(h)), 200);
	}
	assert_true(most > HEADERS_SIDE_MAX && most <= HEADERS_SIDE_MAX + HEADERS_BATCH_MAX);
	assert_true(headers_side_cnt(h) < most);
	assert_int_equal(headers_find(h, &held_hash), held);
	while (held != headers_fork(h, held)) {
		assert_true(headers_raw(h, held, back));
		hash = header_hash(back);
		assert_int_equal(headers_find(h, &hash), held);
		held = headers_parent(h, held);
	}
	/* A real reorg is still possible. */
	mine(a, 100, hash_at(raw, 149), genesis_time + 151, 9999);
	assert_int_equal(add(h, a, 60, &new_cnt), HEADERS_OK);
	assert_int_equal(headers_height(h, headers_best(h)), 210);
	headers_free(h);
}

static void a_full_tree_refuses_and_stays_as_it_is(void **state)
{
	static uint8_t raw[100 * HEADER_SZ];
	const struct network *n = network_get(NET_REGTEST);
	struct headers *h = headers_new(n, NULL, 1, 50);
	uint32_t new_cnt;

	(void)state;
	mine(raw, 100, n->genesis_hash, genesis_time + 1, 0);
	assert_int_equal(add(h, raw, 100, &new_cnt), HEADERS_FULL);
	assert_int_equal(headers_cnt(h), 50);
	assert_int_equal(headers_height(h, headers_best(h)), 49);
	headers_free(h);
}

static void a_locator_starts_anywhere_and_ends_with_root_and_genesis(void **state)
{
	static uint8_t raw[300 * HEADER_SZ], a[20 * HEADER_SZ];
	struct headers *h = with_chain(raw, 300);
	const struct network *n = network_get(NET_REGTEST);
	struct hash256 loc[HEADERS_LOCATOR_MAX], hash = hash_at(raw, 99);
	struct headers_root root = {.hash = hash, .height = 100};
	uint32_t want[101], cnt = rules_locator_heights(want, 300), new_cnt, tip;

	(void)state;
	assert_int_equal(headers_locator(h, headers_best(h), loc), cnt);
	for (uint32_t i = 0; i < cnt; i++)
		assert_memory_equal(loc[i].b, headers_hash(h, headers_at(h, want[i]))->b, HASH_SZ);
	/* On a side branch: its own headers first, then those it shares. */
	mine(a, 20, hash_at(raw, 269), genesis_time + 271, 1);
	assert_int_equal(add(h, a, 20, &new_cnt), HEADERS_OK);
	hash = hash_at(a, 19);
	tip = headers_find(h, &hash);
	cnt = headers_locator(h, tip, loc);
	assert_memory_equal(loc[0].b, hash.b, HASH_SZ);
	hash = hash_at(a, 8); /* 290 - 11 = 279 */
	assert_memory_equal(loc[11].b, hash.b, HASH_SZ);
	assert_memory_equal(loc[14].b, headers_hash(h, headers_at(h, 265))->b, HASH_SZ);
	headers_free(h);
	h = headers_new(n, &root, 1, 0);
	assert_int_equal(add(h, raw + 100 * HEADER_SZ, 200, &new_cnt), HEADERS_OK);
	cnt = headers_locator(h, headers_best(h), loc);
	assert_memory_equal(loc[cnt - 2].b, root.hash.b, HASH_SZ);
	assert_memory_equal(loc[cnt - 1].b, n->genesis_hash.b, HASH_SZ);
	assert_int_equal(headers_locator(h, headers_root_idx(h), loc), 2);
	headers_free(h);
}

/* A slow tree: every header in a list, everything by searching. */
struct slow {
	struct hash256 hash[4000];
	uint32_t parent[4000], height[4000], cnt, best;
};

static uint32_t slow_find(const struct slow *s, const struct hash256 *hash)
{
	for (uint32_t i = 0; i < s->cnt; i++)
		if (hash256_eq(&s->hash[i], hash))
			return i;
	return HEADERS_NONE;
}

static void random_branches_equal_a_slow_tree(void **state)
{
	static struct slow s;
	static uint8_t a[30 * HEADER_SZ];
	const struct network *n = network_get(NET_REGTEST);
	struct headers *h = headers_new(n, NULL, 3, 0);
	uint32_t rnd = 11;

	(void)state;
	s.hash[0] = n->genesis_hash;
	s.cnt = 1;
	while (s.cnt < 3900) {
		uint32_t from = s.cnt < 30 || vec_random(&rnd) % 3 == 0 ? s.best
									: s.cnt - 1 - vec_random(&rnd) % 20;
		uint32_t cnt = 1 + vec_random(&rnd) % 30, new_cnt;

		mine(a, cnt, s.hash[from], genesis_time + s.height[from] + 1, s.cnt);
		if (add(h, a, cnt, &new_cnt) != HEADERS_OK) {
			assert_int_equal(new_cnt, 0);
			continue;
		}
		for (uint32_t i = 0; i < cnt; i++) {
			s.hash[s.cnt] = hash_at(a, i);
			s.parent[s.cnt] = i == 0 ? from : s.cnt - 1;
			s.height[s.cnt] = s.height[from] + i + 1;
			if (s.height[s.cnt] > s.height[s.best]) /* equal work each */
				s.best = s.cnt;
			s.cnt++;
		}
		assert_memory_equal(headers_hash(h, headers_best(h))->b, s.hash[s.best].b, HASH_SZ);
	}
	assert_int_equal(headers_cnt(h), s.cnt);
	for (uint32_t i = s.best;; i = s.parent[i]) {
		uint32_t idx = headers_at(h, s.height[i]);

		assert_memory_equal(headers_hash(h, idx)->b, s.hash[i].b, HASH_SZ);
		assert_int_equal(slow_find(&s, headers_hash(h, idx)), i);
		if (i == 0)
			break;
	}
	headers_free(h);
}

static void a_million_headers_fit_and_stay_quick(void **state)
{
	const struct network *n = network_get(NET_REGTEST);
	struct headers *h = headers_new(n, NULL, 5, 0);
	struct header_fields f = {.bits = n->pow_limit_bits};
	uint32_t tip = headers_root_idx(h), rnd = 1;
	struct hash256 hash;

	(void)state;
	for (uint32_t i = 0; i < 1000000; i++) {
		for (unsigned k = 0; k < 8; k++) {
			uint32_t r = vec_random(&rnd);

			memcpy(hash.b + 4 * k, &r, 4);
		}
		f.time = i;
		tip = tree_insert(h, tip, &hash, &f);
		assert_int_not_equal(tip, HEADERS_NONE);
	}
	assert_int_equal(headers_find(h, &hash), tip);
	assert_int_equal(headers_at(h, 1000000), tip);
	print_message("%zu bytes for a million headers\n", headers_bytes(h));
	assert_true(headers_bytes(h) <= 150u * 1000000u);
	/* Marks walk over each header once: anything more would take hours here. */
	headers_set_aside(h, headers_at(h, 1));
	assert_int_equal(headers_height(h, headers_best(h)), 0);
	assert_false(headers_is_fit(h, tip));
	headers_take_back(h, headers_find(h, headers_hash(h, tree_ancestor(h, tip, 1))));
	assert_int_equal(headers_best(h), tip);
	assert_true(headers_is_fit(h, headers_at(h, 1)));
	headers_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_is_found_by_hash_and_by_height),
		cmocka_unit_test(every_wrong_header_is_refused_with_its_name_and_the_good_before_it_stay),
		cmocka_unit_test(impossible_targets_are_no_work_on_any_network),
		cmocka_unit_test(the_consecutive_real_headers_link_above_an_anchor),
		cmocka_unit_test(more_work_wins_and_equal_work_does_not),
		cmocka_unit_test(an_invalid_header_takes_its_branch_with_it),
		cmocka_unit_test(a_branch_set_aside_grows_and_is_best_again_when_taken_back),
		cmocka_unit_test(a_block_of_the_best_chain_taken_back_brings_every_branch_above_it),
		cmocka_unit_test(a_branch_without_a_chance_is_not_stored),
		cmocka_unit_test(side_headers_are_bounded_and_what_is_referenced_stays),
		cmocka_unit_test(a_full_tree_refuses_and_stays_as_it_is),
		cmocka_unit_test(a_locator_starts_anywhere_and_ends_with_root_and_genesis),
		cmocka_unit_test(random_branches_equal_a_slow_tree),
		cmocka_unit_test(a_million_headers_fit_and_stay_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
