/* One shard against a plain list, and the cases that the permutation makes practically impossible. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>
#include "index/index_priv.h"

#define SEED 0x1234567890abcdefull

static uint64_t rnd_state = 88172645463325252ull;
static uint64_t rnd(void)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return rnd_state;
}

static struct hash256 rnd_hash(void)
{
	struct hash256 h;

	for (unsigned i = 0; i < HASH_SZ; i += 8) {
		uint64_t v = rnd();

		memcpy(h.b + i, &v, 8);
	}
	return h;
}

static bool has_by_burst(const struct index_shard *s, const struct locator *l)
{
	bool burst = index_lookup_burst(s, l, 1) != 0;

	assert_int_equal(burst, index_has(s, l));
	return burst;
}

static void the_permutation_loses_nothing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		struct hash256 h = rnd_hash();
		struct locator l = locator_of_txid(&h, LOCATOR_INTERNAL);
		struct locator back = index_unpermute(index_permute(&l, SEED), SEED);

		assert_memory_equal(l.b, back.b, LOCATOR_SZ);
	}
}

static void locators_whose_judy_keys_are_equal_are_told_apart(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	struct locator l[5];

	(void)state;
	for (uint64_t i = 0; i < 5; i++)
		l[i] = index_unpermute((struct index_pair){42, i}, SEED);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(index_add(s, &l[i]), 0);
	assert_int_equal(index_add(s, &l[2]), 0);
	assert_int_equal(index_cnt(s), 4);
	assert_false(has_by_burst(s, &l[4]));
	assert_int_equal(index_del(s, &l[4]), -ENOENT);
	/* The one that sits in Judy goes first: another must take its place. */
	assert_int_equal(index_del(s, &l[0]), 0);
	assert_false(has_by_burst(s, &l[0]));
	for (unsigned i = 1; i < 4; i++)
		assert_true(has_by_burst(s, &l[i]));
	for (unsigned i = 3; i > 0; i--)
		assert_int_equal(index_del(s, &l[i]), 0);
	assert_int_equal(index_cnt(s), 0);
	index_free(s);
}

static void locators_with_equal_halves_are_told_apart(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	struct locator l = {{1, 2, 3}}, same_first = l, same_last = l;

	(void)state;
	same_first.b[15] = 9;
	same_last.b[0] = 9;
	assert_int_equal(index_add(s, &l), 0);
	assert_false(has_by_burst(s, &same_first));
	assert_false(has_by_burst(s, &same_last));
	assert_int_equal(index_add(s, &same_first), 0);
	assert_int_equal(index_del(s, &l), 0);
	assert_true(has_by_burst(s, &same_first));
	index_free(s);
}

static void every_locator_belongs_to_exactly_one_shard_and_all_get_their_part(void **state)
{
	unsigned cnt[8] = {0};

	(void)state;
	for (unsigned i = 0; i < 80000; i++) {
		struct hash256 h = rnd_hash();
		struct locator l = locator_of_txid(&h, LOCATOR_INTERNAL);

		cnt[index_shard_of(&l, SEED, 8)]++;
	}
	for (unsigned i = 0; i < 8; i++)
		assert_in_range(cnt[i], 9000, 11000);
}

/* --- random sequences against a plain list --------------------------------------------------------------- */

#define MODEL_LOCATORS 64
#define MODEL_BLOCKS   12
#define MODEL_TXS      5

struct model_block {
	struct hash256 hash, tx[MODEL_TXS];
	uint32_t height;
};

struct model {
	bool watched[MODEL_LOCATORS];
	struct model_block block[MODEL_BLOCKS + 1];
	unsigned block_cnt;
};

static unsigned model_find(const struct model *m, const struct locator *l)
{
	unsigned cnt = 0;

	for (unsigned b = 0; b < m->block_cnt; b++)
		for (unsigned t = 0; t < MODEL_TXS; t++)
			for (unsigned scheme = 0; scheme < 2; scheme++) {
				struct locator k = locator_of_txid(&m->block[b].tx[t],
								   (enum locator_scheme)scheme);

				cnt += memcmp(k.b, l->b, LOCATOR_SZ) == 0;
			}
	return cnt;
}

static void model_push(struct model *m, struct index_shard *s, const struct hash256 *pool,
		       uint32_t height)
{
	struct model_block *b = &m->block[m->block_cnt++];

	b->hash = rnd_hash();
	b->height = height;
	for (unsigned t = 0; t < MODEL_TXS; t++)
		b->tx[t] = pool[rnd() % MODEL_LOCATORS];
	assert_int_equal(index_block_push(s, &b->hash, height, b->tx, MODEL_TXS, height), 0);
}

static void model_evict(struct model *m, struct index_shard *s, uint32_t below)
{
	unsigned gone = 0;

	while (gone < m->block_cnt && m->block[gone].height <= below)
		gone++;
	memmove(m->block, m->block + gone, (m->block_cnt - gone) * sizeof(m->block[0]));
	m->block_cnt -= gone;
	index_block_evict(s, below);
}

static void compare(const struct model *m, const struct index_shard *s, const struct hash256 *pool)
{
	for (unsigned i = 0; i < MODEL_LOCATORS; i++) {
		enum locator_scheme scheme = i % 2 ? LOCATOR_DISPLAY : LOCATOR_INTERNAL;
		struct locator l = locator_of_txid(&pool[i], scheme);
		struct index_recent_hit hit[64];
		unsigned found = index_recent_find(s, &l, hit, 64);

		assert_int_equal(has_by_burst(s, &l), m->watched[i]);
		assert_int_equal(found, model_find(m, &l));
		for (unsigned k = 0; k < found; k++) {
			assert_true(hash256_eq(&hit[k].txid, &pool[i]));
			assert_int_equal(hit[k].scheme, scheme);
		}
	}
	assert_int_equal(index_block_cnt(s), m->block_cnt);
}

static void random_adds_deletes_blocks_and_reorgs_equal_a_plain_list(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	struct hash256 pool[MODEL_LOCATORS];
	struct model m = {0};
	uint32_t height = 100;

	(void)state;
	for (unsigned i = 0; i < MODEL_LOCATORS; i++)
		pool[i] = rnd_hash();
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)(rnd() % MODEL_LOCATORS);
		struct locator l = locator_of_txid(&pool[i],
						   i % 2 ? LOCATOR_DISPLAY : LOCATOR_INTERNAL);

		switch (rnd() % 6) {
		case 0:
		case 1:
			assert_int_equal(index_add(s, &l), 0);
			m.watched[i] = true;
			break;
		case 2:
			assert_int_equal(index_del(s, &l), m.watched[i] ? 0 : -ENOENT);
			m.watched[i] = false;
			break;
		case 3:
			if (m.block_cnt < MODEL_BLOCKS)
				model_push(&m, s, pool, ++height);
			break;
		case 4: {
			struct hash256 other = rnd_hash();

			index_block_pop(s, &other); /* not the newest: no effect */
			if (m.block_cnt > 0) {
				index_block_pop(s, &m.block[--m.block_cnt].hash);
				height--;
			}
			break;
		}
		case 5:
			if (height > 106)
				model_evict(&m, s, height - 6);
			break;
		}
		if (step % 16 == 0)
			compare(&m, s, pool);
	}
	index_clear(s);
	assert_int_equal(index_cnt(s), 0);
	assert_int_equal(index_block_cnt(s), 0);
	index_free(s);
}

static void shards_together_know_each_recent_txid_in_both_forms_once(void **state)
{
	struct index_shard *s[4];
	struct hash256 tx[200], block = rnd_hash();
	uint64_t entries = 0;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		tx[i] = rnd_hash();
	for (unsigned i = 0; i < 4; i++) {
		struct index_stats st;

		s[i] = index_new(i, 4, SEED);
		assert_int_equal(index_block_push(s[i], &block, 7, tx, 200, 99), 0);
		index_stats_get(s[i], &st);
		entries += st.recent_txids;
	}
	assert_int_equal(entries, 400);
	for (unsigned t = 0; t < 200; t++)
		for (unsigned scheme = 0; scheme < 2; scheme++) {
			struct locator l = locator_of_txid(&tx[t], (enum locator_scheme)scheme);
			struct index_recent_hit hit;
			struct index_shard *owner = s[index_shard_of(&l, SEED, 4)];

			assert_int_equal(index_recent_find(owner, &l, &hit, 1), 1);
			assert_int_equal(hit.tx_idx, t);
			assert_int_equal(hit.height, 7);
			assert_int_equal(hit.last_byte_ns, 99);
		}
	for (unsigned i = 0; i < 4; i++)
		index_free(s[i]);
}

static void a_million_locators_are_all_found_and_half_of_them_after_deleting_half(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	struct locator l;
	const uint64_t n = 1000000;

	(void)state;
	memset(&l, 0, sizeof(l));
	for (uint64_t i = 0; i < n; i++) {
		memcpy(l.b, &i, 8); /* a pattern, as a hostile client would choose */
		assert_int_equal(index_add(s, &l), 0);
	}
	assert_int_equal(index_cnt(s), n);
	for (uint64_t i = 0; i < n; i += 2) {
		memcpy(l.b, &i, 8);
		assert_int_equal(index_del(s, &l), 0);
	}
	for (uint64_t i = 0; i < n + 1000; i++) {
		memcpy(l.b, &i, 8);
		assert_int_equal(index_has(s, &l), i < n && i % 2 == 1);
	}
	index_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_permutation_loses_nothing),
		cmocka_unit_test(locators_whose_judy_keys_are_equal_are_told_apart),
		cmocka_unit_test(locators_with_equal_halves_are_told_apart),
		cmocka_unit_test(every_locator_belongs_to_exactly_one_shard_and_all_get_their_part),
		cmocka_unit_test(random_adds_deletes_blocks_and_reorgs_equal_a_plain_list),
		cmocka_unit_test(shards_together_know_each_recent_txid_in_both_forms_once),
		cmocka_unit_test(
			a_million_locators_are_all_found_and_half_of_them_after_deleting_half),
	};

	return cmocka_run_group_tests_name("index/index", tests, NULL, NULL);
}
