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

/* Whatever is loaded, however often, is what is watched after it; in any order with adds of the same. */
static void loading_tells_equal_keys_values_of_zero_and_duplicates_apart(void **state)
{
	(void)state;
	for (unsigned lowest = 0; lowest < 2; lowest++) {
		struct index_shard *s = index_new(0, 1, SEED);
		struct locator l[6];

		/* Value 0 is what Judy's fresh slots hold. */
		for (uint64_t i = 0; i < 6; i++)
			l[i] = index_unpermute((struct index_pair){42, lowest + i}, SEED);
		assert_int_equal(index_add(s, &l[1]), 0);
		for (unsigned i = 0; i < 10; i++)
			assert_int_equal(index_load(s, &l[i % 5]), 0);
		assert_int_equal(index_load_cnt(s), 10);
		assert_int_equal(index_load_end(s), 0);
		assert_int_equal(index_load_cnt(s), 0);
		assert_int_equal(index_cnt(s), 5);
		for (unsigned i = 0; i < 6; i++)
			assert_int_equal(has_by_burst(s, &l[i]), i < 5);
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(index_del(s, &l[i]), 0);
		assert_int_equal(index_cnt(s), 0);
		/* An end of nothing, and a load that is thrown away. */
		assert_int_equal(index_load_end(s), 0);
		assert_int_equal(index_load(s, &l[0]), 0);
		index_clear(s);
		assert_int_equal(index_load_end(s), 0);
		assert_false(has_by_burst(s, &l[0]));
		index_free(s);
	}
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

static void model_push(struct model *m, struct index_shard *s, const struct hash256 *pool, uint32_t height)
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

/* Several at once, watched already or not, and some of them twice. */
static void model_load(struct model *m, struct index_shard *s, const struct hash256 *pool)
{
	for (unsigned n = (unsigned)(rnd() % 12); n > 0; n--) {
		unsigned i = (unsigned)(rnd() % MODEL_LOCATORS);
		struct locator l = locator_of_txid(&pool[i], i % 2 ? LOCATOR_DISPLAY : LOCATOR_INTERNAL);

		assert_int_equal(index_load(s, &l), 0);
		m->watched[i] = true;
	}
	assert_int_equal(index_load_end(s), 0);
}

/* As if 2^31 transactions had gone by since: the ends of old chains now name living entries. */
static void positions_come_round(struct index_shard *s)
{
	assert_int_equal(s->tx_first, s->tx_end);
	if (s->tx_end % RECENT_PAGE_TXS > 40)
		s->tx_first = s->tx_end -= 40;
}

static void random_sequence_equals_a_plain_list(uint32_t first_position)
{
	struct index_shard *s = index_new(0, 1, SEED);
	struct hash256 pool[MODEL_LOCATORS];
	struct model m = {0};
	uint32_t height = 100;

	s->tx_first = s->tx_end = first_position;
	for (unsigned i = 0; i < MODEL_LOCATORS; i++)
		pool[i] = rnd_hash();
	for (unsigned step = 0; step < 12000; step++) {
		unsigned i = (unsigned)(rnd() % MODEL_LOCATORS);
		struct locator l = locator_of_txid(&pool[i], i % 2 ? LOCATOR_DISPLAY : LOCATOR_INTERNAL);

		switch (rnd() % 7) {
		case 6:
			if (rnd() % 8 == 0)
				model_load(&m, s, pool);
			break;
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
			if (rnd() % 8 == 0) {
				model_evict(&m, s, height);
				positions_come_round(s);
			}
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

static void random_adds_deletes_blocks_and_reorgs_equal_a_plain_list(void **state)
{
	(void)state;
	random_sequence_equals_a_plain_list(0);
	random_sequence_equals_a_plain_list((1u << 31) - 100);
	random_sequence_equals_a_plain_list(UINT32_MAX - 100);
}

#define WINDOW    2016u
#define BLOCK_TXS 40u

/* The t-th txid of the block at a height on a branch. */
static struct hash256 made_txid(uint64_t height, uint64_t branch, uint64_t t)
{
	uint64_t v[4] = {height << 20 | branch << 16 | t, ~height, height << 20 | t, height << 8 | branch};
	struct hash256 h;

	for (unsigned i = 0; i < 4; i++)
		v[i] = (v[i] + 1) * 0x9e3779b97f4a7c15ull;
	memcpy(h.b, v, HASH_SZ);
	return h;
}

static struct hash256 made_block(uint64_t height, uint64_t branch)
{
	return made_txid(height, branch, BLOCK_TXS);
}

static void push_made(struct index_shard *s, uint32_t height, uint64_t branch)
{
	struct hash256 tx[BLOCK_TXS], hash = made_block(height, branch);

	for (uint64_t t = 0; t < BLOCK_TXS; t++)
		tx[t] = made_txid(height, branch, t);
	assert_int_equal(index_block_push(s, &hash, height, tx, BLOCK_TXS, height), 0);
	if (height > WINDOW)
		index_block_evict(s, height - WINDOW);
}

static void find_made(const struct index_shard *s, uint32_t height, uint64_t branch, bool there)
{
	for (uint64_t t = 0; t < BLOCK_TXS; t += 7) {
		for (unsigned scheme = 0; scheme < 2; scheme++) {
			struct hash256 txid = made_txid(height, branch, t);
			struct hash256 hash = made_block(height, branch);
			struct locator l = locator_of_txid(&txid, (enum locator_scheme)scheme);
			struct index_recent_hit hit;

			assert_int_equal(index_recent_find(s, &l, &hit, 1), there);
			if (!there)
				continue;
			assert_int_equal(hit.height, height);
			assert_int_equal(hit.tx_idx, t);
			assert_int_equal(hit.scheme, scheme);
			assert_true(hash256_eq(&hit.block_hash, &hash));
		}
	}
}

static void two_weeks_of_blocks_are_exact_after_reorgs_with_short_chains(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	const uint32_t tip = 2 * WINDOW, fork = tip - 100;
	struct hash256 hash;

	(void)state;
	for (uint32_t h = 1; h <= tip; h++)
		push_made(s, h, 0);
	assert_int_equal(index_block_cnt(s), WINDOW);
	for (uint32_t h = tip; h > fork; h--) {
		hash = made_block(h, 0);
		index_block_pop(s, &hash);
	}
	for (uint32_t h = fork + 1; h <= tip + 2; h++)
		push_made(s, h, 1);
	assert_int_equal(index_block_cnt(s), WINDOW);
	for (uint32_t h = 1; h <= tip + 2; h++) {
		find_made(s, h, 0, h > tip + 2 - WINDOW && h <= fork);
		find_made(s, h, 1, h > fork);
	}
	/* At most as many entries as chains, but for the last batch: that is what bounds an add. */
	assert_int_equal(s->recent_txids, 2 * WINDOW * BLOCK_TXS);
	assert_true((1ull << s->chain_level) + s->chain_split + 64 >= s->recent_txids);
	index_block_evict(s, tip + 2);
	assert_int_equal(s->recent_txids, 0);
	assert_true(s->tx_page_cnt <= 2);
	find_made(s, tip, 1, false);
	push_made(s, tip + 3, 0);
	find_made(s, tip + 3, 0, true);
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

/* --- growth, shrinking and churn --------------------------------------------------------------------------- */

#define POOL 60000u

static struct locator pool_locator(uint64_t i)
{
	uint64_t half[2] = {i * 0x9e3779b97f4a7c15ull, i};
	struct locator l;

	memcpy(l.b, half, LOCATOR_SZ);
	return l;
}

static void edit(struct index_shard *s, bool *in, uint64_t i, bool add)
{
	struct locator l = pool_locator(i);

	if (add)
		assert_int_equal(index_add(s, &l), 0);
	else
		assert_int_equal(index_del(s, &l), in[i] ? 0 : -ENOENT);
	in[i] = add;
}

/* All of the pool by bursts, which the filter guards; those that burst and Judy differ in fail in has_by_burst. */
static void pool_equals(const struct index_shard *s, const bool *in)
{
	uint64_t cnt = 0;

	for (uint64_t i = 0; i < POOL; i += INDEX_BURST_MAX) {
		unsigned n = POOL - i < INDEX_BURST_MAX ? (unsigned)(POOL - i) : INDEX_BURST_MAX;
		struct locator l[INDEX_BURST_MAX];
		uint64_t want = 0;

		for (unsigned k = 0; k < n; k++) {
			l[k] = pool_locator(i + k);
			want |= (uint64_t)in[i + k] << k;
			cnt += in[i + k];
		}
		assert_int_equal(index_lookup_burst(s, l, n), want);
	}
	assert_int_equal(index_cnt(s), cnt);
}

/* Up to 4,000 in a row from a place in the pool, in whatever state the shard's buckets are. */
static void load_pool(struct index_shard *s, bool *in)
{
	uint64_t from = rnd() % POOL, cnt = rnd() % 4000;

	index_load_expect(s, cnt);
	for (uint64_t i = from; i < from + cnt; i++) {
		struct locator l = pool_locator(i % POOL);

		assert_int_equal(index_load(s, &l), 0);
		in[i % POOL] = true;
	}
	assert_int_equal(index_load_end(s), 0);
}

static void bursts_equal_a_plain_list_through_growth_churn_and_shrinking(void **state)
{
	/* How likely of a hundred an edit adds, by phase: grow, churn, shrink to nearly nothing, and again. */
	static const unsigned adds[] = {85, 50, 8, 85, 30, 2};
	struct index_shard *s = index_new(0, 1, SEED);
	bool *in = calloc(POOL, sizeof(*in));
	unsigned during_moves = 0;
	uint32_t most = 0;

	(void)state;
	for (unsigned phase = 0; phase < sizeof(adds) / sizeof(adds[0]); phase++) {
		for (unsigned step = 1; step <= 150000; step++) {
			uint64_t i = rnd() % POOL;
			struct locator l = pool_locator(i);

			edit(s, in, i, rnd() % 100 < adds[phase]);
			if (rnd() % 512 == 0)
				index_maintain(s);
			if (adds[phase] > 10 && rnd() % 4096 == 0)
				load_pool(s, in);
			l = pool_locator(rnd() % POOL);
			has_by_burst(s, &l);
			most = bucket_cnt(s) > most ? bucket_cnt(s) : most;
			if (step % 3001 == 0) {
				during_moves += s->move->active;
				pool_equals(s, in);
			}
		}
	}
	assert_true(most > 8);
	assert_true(s->cnt < BUCKET_LOAD);
	assert_in_range(bucket_cnt(s), 1, 2);
	assert_true(during_moves > 20);
	free(in);
	index_free(s);
}

static void keys_in_one_bucket_stay_exact_and_so_do_the_extreme_ones(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	const uint64_t n = 30000;

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		/* All keys have the same low bits, so all lie in one bucket; the first and the last key are there. */
		for (uint64_t i = 0; i < n; i++) {
			struct locator l = index_unpermute(
				(struct index_pair){(i * 0x9e3779b97f4a7c15ull) | 0xffffff, i}, SEED);

			assert_int_equal(index_add(s, &l), 0);
		}
		for (uint64_t i = 0; i < 2; i++) {
			struct locator l = index_unpermute((struct index_pair){0 - i, 7}, SEED);

			assert_int_equal(index_add(s, &l), 0);
		}
		while (index_maintain(s))
			;
		for (uint64_t i = 0; i < n; i++) {
			struct locator l = index_unpermute(
				(struct index_pair){(i * 0x9e3779b97f4a7c15ull) | 0xffffff, i}, SEED);

			assert_true(has_by_burst(s, &l));
			assert_int_equal(index_del(s, &l), 0);
			assert_false(has_by_burst(s, &l));
		}
		for (uint64_t i = 0; i < 2; i++) {
			struct locator l = index_unpermute((struct index_pair){0 - i, 7}, SEED);

			assert_true(has_by_burst(s, &l));
			assert_int_equal(index_del(s, &l), 0);
		}
		assert_int_equal(index_cnt(s), 0);
	}
	index_free(s);
}

static struct index_stats stats_of(const struct index_shard *s)
{
	struct index_stats st;

	index_stats_get(s, &st);
	return st;
}

static void one_edit_moves_few_keys_and_growing_keeps_up_all_the_same(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	uint64_t moved = 0, n = 400000;

	(void)state;
	for (uint64_t i = 0; i < 2 * n; i++) {
		struct locator l = pool_locator(i % n);

		assert_int_equal(i < n ? index_add(s, &l) : index_del(s, &l), 0);
		assert_true(s->moved_keys - moved <= MOVE_PER_EDIT);
		moved = s->moved_keys;
		/* One bucket may be waiting for the move before it. */
		assert_true(s->cnt <= ((uint64_t)bucket_cnt(s) + 1) * BUCKET_LOAD);
		assert_true(s->cnt + 2 * BUCKET_LOAD >= (uint64_t)bucket_cnt(s) * BUCKET_LOAD / 2);
	}
	while (index_maintain(s)) {
		assert_true(s->moved_keys - moved <= INDEX_MAINTAIN_KEYS);
		moved = s->moved_keys;
	}
	assert_int_equal(bucket_cnt(s), 1);
	index_free(s);
}

static void an_idle_shard_comes_to_rest_whatever_is_in_it(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);

	(void)state;
	for (uint64_t i = 0; i < 40000; i++) {
		struct locator l = pool_locator(i);
		unsigned turns = 0;

		assert_int_equal(index_add(s, &l), 0);
		if (i % 256 != 0)
			continue;
		while (index_maintain(s))
			assert_true(++turns < 1000);
	}
	for (uint64_t i = 0; i < 40000; i++) {
		struct locator l = pool_locator(i);
		unsigned turns = 0;

		assert_int_equal(index_del(s, &l), 0);
		if (i % 256 != 0)
			continue;
		while (index_maintain(s))
			assert_true(++turns < 1000);
	}
	index_free(s);
}

/* But for the filters of one segment, which buckets that have gone may leave behind. */
static double own_bytes(const struct index_shard *s)
{
	return ((double)(stats_of(s).judy_bytes + stats_of(s).filter_bytes) - SEGMENT_BUCKETS * FILTER_SZ) /
	       (double)index_cnt(s);
}

static void a_load_is_worth_its_adds_whatever_was_expected(void **state)
{
	/* The first of them is put in two pieces. */
	static const uint64_t cnt[] = {INDEX_LOAD_MAX + 5, 100000, 100000, 100000};
	static const uint64_t expected[] = {0, 100000, 30000, 1000000};

	(void)state;
	for (unsigned e = 0; e < 4; e++) {
		struct index_shard *s = index_new(0, 1, SEED);
		uint64_t n = cnt[e];

		if (expected[e] > 0)
			index_load_expect(s, expected[e]);
		for (uint64_t i = 0; i < n; i++) {
			struct locator l = pool_locator(i);

			assert_int_equal(index_load(s, &l), 0);
		}
		assert_int_equal(index_load_end(s), 0);
		assert_int_equal(index_cnt(s), n);
		/* Too many buckets are put right by edits to come, or at leisure. */
		while (index_maintain(s))
			;
		assert_true(own_bytes(s) < 30);
		assert_true(s->cnt <= ((uint64_t)bucket_cnt(s) + 1) * BUCKET_LOAD);
		for (uint64_t i = 0; i < n + 1000; i++) {
			struct locator l = pool_locator(i);

			assert_int_equal(index_lookup_burst(s, &l, 1), i < n);
		}
		index_free(s);
	}
}

static double false_positives(const struct index_shard *s)
{
	unsigned passed = 0, n = 200000;

	for (unsigned i = 0; i < n; i++) {
		struct hash256 h = rnd_hash();
		struct locator l = locator_of_txid(&h, LOCATOR_INTERNAL);
		uint64_t key = index_permute(&l, SEED).key;

		passed += filter_test(filter_of(s, bucket_of(s, key)) + filter_block(key), key);
	}
	return (double)passed / n;
}

static void churn_erodes_neither_the_filter_nor_the_memory(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	const uint64_t n = 300000;
	double fresh, bytes;

	(void)state;
	for (uint64_t i = 0; i < n; i++) {
		struct locator l = pool_locator(i);

		assert_int_equal(index_add(s, &l), 0);
	}
	fresh = false_positives(s);
	bytes = (double)(stats_of(s).judy_bytes + stats_of(s).filter_bytes) / (double)n;
	assert_true(bytes < 30);
	assert_true(fresh < 0.02);
	for (uint64_t i = 0; i < 4 * n; i++) {
		struct locator old = pool_locator(i), new = pool_locator(i + n);

		assert_int_equal(index_del(s, &old), 0);
		assert_int_equal(index_add(s, &new), 0);
	}
	bytes = (double)(stats_of(s).judy_bytes + stats_of(s).filter_bytes) / (double)n;
	assert_true(bytes < 32);
	assert_true(false_positives(s) < 2 * fresh + 0.002);
	index_free(s);
}

static void a_shrunken_shard_has_given_its_memory_back(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	struct index_stats full, tenth;
	const uint64_t n = 2000000; /* more than one segment of filters */

	(void)state;
	for (uint64_t i = 0; i < n; i++) {
		struct locator l = pool_locator(i);

		assert_int_equal(index_add(s, &l), 0);
	}
	full = stats_of(s);
	assert_true(s->segment_cnt > 1);
	for (uint64_t i = 0; i < n / 10 * 9; i++) {
		struct locator l = pool_locator(i);

		assert_int_equal(index_del(s, &l), 0);
	}
	tenth = stats_of(s);
	assert_int_equal(s->segment_cnt, 1);
	assert_true(tenth.judy_bytes < full.judy_bytes / 7);
	assert_true(tenth.filter_bytes <= SEGMENT_BUCKETS * FILTER_SZ + sizeof(*s->move));
	for (uint64_t i = n / 10 * 9; i < n; i++) {
		struct locator l = pool_locator(i);

		assert_true(index_lookup_burst(s, &l, 1) == 1);
	}
	index_clear(s);
	assert_true(stats_of(s).judy_bytes < 200000);
	index_free(s);
}

static void judy_takes_its_memory_from_the_arenas(void **state)
{
	struct index_shard *s = index_new(0, 1, SEED);
	struct locator l = pool_locator(1);

	(void)state;
	assert_int_equal(s->pool.used_cnt, 0);
	assert_int_equal(index_add(s, &l), 0);
	assert_int_equal(s->pool.used_cnt, 1);
	index_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_permutation_loses_nothing),
		cmocka_unit_test(locators_whose_judy_keys_are_equal_are_told_apart),
		cmocka_unit_test(locators_with_equal_halves_are_told_apart),
		cmocka_unit_test(loading_tells_equal_keys_values_of_zero_and_duplicates_apart),
		cmocka_unit_test(every_locator_belongs_to_exactly_one_shard_and_all_get_their_part),
		cmocka_unit_test(random_adds_deletes_blocks_and_reorgs_equal_a_plain_list),
		cmocka_unit_test(two_weeks_of_blocks_are_exact_after_reorgs_with_short_chains),
		cmocka_unit_test(shards_together_know_each_recent_txid_in_both_forms_once),
		cmocka_unit_test(a_million_locators_are_all_found_and_half_of_them_after_deleting_half),
		cmocka_unit_test(bursts_equal_a_plain_list_through_growth_churn_and_shrinking),
		cmocka_unit_test(keys_in_one_bucket_stay_exact_and_so_do_the_extreme_ones),
		cmocka_unit_test(one_edit_moves_few_keys_and_growing_keeps_up_all_the_same),
		cmocka_unit_test(an_idle_shard_comes_to_rest_whatever_is_in_it),
		cmocka_unit_test(a_load_is_worth_its_adds_whatever_was_expected),
		cmocka_unit_test(churn_erodes_neither_the_filter_nor_the_memory),
		cmocka_unit_test(a_shrunken_shard_has_given_its_memory_back),
		cmocka_unit_test(judy_takes_its_memory_from_the_arenas),
	};

	return cmocka_run_group_tests_name("index/index", tests, NULL, NULL);
}
