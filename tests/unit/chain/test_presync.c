/* Chains that are measured before they are stored: the least work, deep forks, and floods of cheap headers. */
#include "vec.h"

#include <stdlib.h>

#include "chain/headers_priv.h"
#include "chain/presync.h"

#define CHAIN_MAX 14000u

static const uint32_t genesis_time = 1296688602;
static struct network net; /* regtest, with a least work */
static uint8_t chain_a[CHAIN_MAX * HEADER_SZ], chain_b[CHAIN_MAX * HEADER_SZ];

static const uint8_t *nth(const uint8_t *raw, uint32_t i)
{
	return raw + (size_t)i * HEADER_SZ;
}

static void mine(uint8_t *raw, uint32_t cnt, struct hash256 prev, uint32_t time, uint32_t salt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct header_fields f = {
			.version = 4, .prev = prev, .time = time + i, .bits = net.pow_limit_bits};

		memcpy(f.merkle.b, &salt, sizeof(salt));
		do {
			f.nonce++;
			header_encode(raw + (size_t)i * HEADER_SZ, &f);
			prev = header_hash(nth(raw, i));
		} while (!pow_valid(&net, &prev, f.bits));
	}
}

/* Every block's work is 2, that of genesis too. */
static struct headers *tree_that_needs(uint32_t blocks)
{
	net = *network_get(NET_REGTEST);
	net.min_chain_work = (struct u256){{2 * (uint64_t)(blocks + 1)}};
	return headers_new(&net, NULL, 9, 0);
}

/* One peer's answers: the chain from where its asker stands, at most 2000 at a time. */
struct teller {
	const uint8_t *raw;
	uint32_t cnt;
};

static uint32_t next_batch(const struct teller *t, const struct hash256 *locator, uint32_t locator_cnt,
			   const uint8_t **first)
{
	uint32_t from = 0;

	for (uint32_t i = 0; i < locator_cnt && from == 0; i++)
		for (uint32_t k = 0; k < t->cnt && from == 0; k++) {
			struct hash256 hash = header_hash(nth(t->raw, k));

			if (hash256_eq(&hash, &locator[i]))
				from = k + 1;
		}
	*first = nth(t->raw, from);
	return t->cnt - from < HEADERS_BATCH_MAX ? t->cnt - from : HEADERS_BATCH_MAX;
}

/* Tells the whole chain as sync would ask for it; the state in which it ended.  Stored: the most in the tree while
   measuring. */
static enum presync_state tell(struct headers *h, struct teller *t, enum headers_verdict *v, uint32_t *measured)
{
	struct hash256 locator[HEADERS_LOCATOR_MAX + 1];
	uint32_t before = headers_cnt(h), last, new_cnt, cnt = t->cnt < 2000 ? t->cnt : 2000;
	const uint8_t *first = t->raw;
	struct presync *p = presync_new(h, first, HEADER_SZ, cnt);
	enum presync_state st;

	assert_non_null(p);
	do {
		assert_true(presync_is_next(p, h, first));
		*v = presync_add(p, h, first, HEADER_SZ, cnt, INT64_MAX, &last, &new_cnt);
		st = presync_state(p);
		if (st == PRESYNC_MEASURING)
			assert_int_equal(headers_cnt(h), before);
		*measured = presync_measured(p);
		cnt = next_batch(t, locator, presync_locator(p, h, locator), &first);
	} while (st == PRESYNC_MEASURING || st == PRESYNC_STORING);
	presync_free(p, h);
	return st;
}

static void a_chain_is_stored_once_it_has_shown_the_least_work(void **state)
{
	struct headers *h = tree_that_needs(5000);
	struct teller t = {.raw = chain_a, .cnt = 6500};
	uint32_t last, new_cnt, measured;
	enum headers_verdict v;

	(void)state;
	mine(chain_a, 6500, net.genesis_hash, genesis_time + 1, 1);
	assert_false(headers_has_min_work(h));
	assert_int_equal(headers_add(h, chain_a, HEADER_SZ, 2000, INT64_MAX, &last, &new_cnt),
			 HEADERS_LOW_WORK);
	assert_int_equal(new_cnt, 0);
	assert_int_equal(tell(h, &t, &v, &measured), PRESYNC_DONE);
	assert_int_equal(v, HEADERS_OK);
	assert_int_equal(measured, 6000); /* three batches were enough */
	assert_int_equal(headers_height(h, headers_best(h)), 6000);
	assert_true(headers_has_min_work(h));
	/* From there on it goes the direct way. */
	assert_int_equal(headers_add(h, nth(chain_a, 6000), HEADER_SZ, 500, INT64_MAX, &last, &new_cnt),
			 HEADERS_OK);
	assert_int_equal(headers_height(h, headers_best(h)), 6500);
	headers_free(h);
}

static void the_least_work_is_reached_by_the_last_header_and_not_before(void **state)
{
	struct headers *h = tree_that_needs(4100);
	struct teller t = {.raw = chain_a, .cnt = 4099};
	uint32_t measured;
	enum headers_verdict v;

	(void)state;
	assert_int_equal(tell(h, &t, &v, &measured), PRESYNC_REFUSED);
	assert_int_equal(v, HEADERS_LOW_WORK);
	assert_int_equal(headers_cnt(h), 1);
	t.cnt = 4100;
	assert_int_equal(tell(h, &t, &v, &measured), PRESYNC_DONE);
	assert_true(headers_has_min_work(h));
	headers_free(h);
}

static void the_second_telling_must_be_the_first(void **state)
{
	struct headers *h = tree_that_needs(5000);
	uint32_t last, new_cnt;
	struct presync *p = presync_new(h, chain_a, HEADER_SZ, 2000);

	(void)state;
	mine(chain_b, 6000, net.genesis_hash, genesis_time + 1, 2);
	for (uint32_t i = 0; i < 3; i++)
		presync_add(p, h, nth(chain_a, 2000 * i), HEADER_SZ, 2000, INT64_MAX, &last, &new_cnt);
	assert_int_equal(presync_state(p), PRESYNC_STORING);
	assert_int_equal(presync_add(p, h, chain_a, HEADER_SZ, 2000, INT64_MAX, &last, &new_cnt), HEADERS_OK);
	assert_int_equal(new_cnt, 2000);
	/* A cheaper chain cannot take the place of the one that was measured. */
	presync_add(p, h, nth(chain_b, 2000), HEADER_SZ, 2000, INT64_MAX, &last, &new_cnt);
	assert_int_equal(presync_state(p), PRESYNC_CHANGED);
	assert_int_equal(new_cnt, 0);
	presync_free(p, h);
	/* Nor a shorter one. */
	p = presync_new(h, nth(chain_a, 2000), HEADER_SZ, 2000);
	presync_add(p, h, nth(chain_a, 2000), HEADER_SZ, 2000, INT64_MAX, &last, &new_cnt);
	presync_add(p, h, nth(chain_a, 4000), HEADER_SZ, 2000, INT64_MAX, &last, &new_cnt);
	assert_int_equal(presync_state(p), PRESYNC_STORING);
	presync_add(p, h, nth(chain_a, 2000), HEADER_SZ, 1999, INT64_MAX, &last, &new_cnt);
	assert_int_equal(presync_state(p), PRESYNC_CHANGED);
	presync_free(p, h);
	headers_free(h);
}

static enum headers_verdict measure_with(void (*spoil)(struct header_fields *f), const struct network *n)
{
	struct headers *h = headers_new(n, NULL, 9, 0);
	uint8_t *raw = malloc(2000 * HEADER_SZ);
	struct header_fields f;
	uint32_t last, new_cnt;
	struct hash256 hash;
	struct presync *p;
	enum headers_verdict v;

	memcpy(raw, chain_a, 2000 * HEADER_SZ);
	header_decode(&f, nth(raw, 1000));
	spoil(&f);
	do {
		f.nonce++;
		header_encode(raw + 1000 * HEADER_SZ, &f);
		hash = header_hash(nth(raw, 1000));
	} while (pow_valid(n, &hash, f.bits) == (f.merkle.b[9] == 1));
	/* What follows is no longer linked; the verdict is about what comes first. */
	p = presync_new(h, raw, HEADER_SZ, 2000);
	v = presync_add(p, h, raw, HEADER_SZ, 2000, INT64_MAX, &last, &new_cnt);
	assert_int_equal(presync_state(p), PRESYNC_REFUSED);
	assert_int_equal(headers_cnt(h), 1);
	presync_free(p, h);
	headers_free(h);
	free(raw);
	return v;
}

static void no_work(struct header_fields *f)
{
	f->merkle.b[9] = 1;
}

static void other_parent(struct header_fields *f)
{
	f->prev.b[3] ^= 1;
}

static void other_bits(struct header_fields *f)
{
	f->bits = 0x207ffffe;
}

static void while_measuring_a_wrong_header_is_named(void **state)
{
	struct network strict;

	(void)state;
	headers_free(tree_that_needs(5000));
	strict = net;
	strict.id = NET_MAIN; /* the bounded rule, with a limit that can be mined */
	assert_int_equal(measure_with(no_work, &net), HEADERS_BAD_POW);
	assert_int_equal(measure_with(other_parent, &net), HEADERS_NOT_A_CHAIN);
	assert_int_equal(measure_with(other_bits, &strict), HEADERS_BAD_BITS);
}

static void a_deeper_fork_than_is_ever_stored_at_once_is_followed_if_it_has_the_work(void **state)
{
	struct headers *h = tree_that_needs(0);
	struct teller t = {.raw = chain_b};
	uint32_t last, new_cnt, measured;
	enum headers_verdict v;
	struct hash256 hash;

	(void)state;
	for (uint32_t i = 0; i < 6000; i += 2000)
		assert_int_equal(headers_add(h, nth(chain_a, i), HEADER_SZ, 2000, INT64_MAX, &last, &new_cnt),
				 HEADERS_OK);
	hash = header_hash(nth(chain_a, 999));
	mine(chain_b, 12000, hash, genesis_time + 1001, 3);
	t.cnt = 4000; /* to 5000, where ours has 6000 */
	assert_int_equal(headers_add(h, chain_b, HEADER_SZ, 2000, INT64_MAX, &last, &new_cnt),
			 HEADERS_DEEP_FORK);
	assert_int_equal(tell(h, &t, &v, &measured), PRESYNC_REFUSED);
	assert_int_equal(headers_cnt(h), 6001);
	t.cnt = 12000;
	assert_int_equal(tell(h, &t, &v, &measured), PRESYNC_DONE);
	assert_int_equal(measured, 6000);
	assert_int_equal(headers_height(h, headers_best(h)), 7000);
	assert_int_equal(headers_side_cnt(h), 5000);
	headers_free(h);
}

/* More is stored beside the best chain than may stay there: the branch that is being stored is not driven out. */
static void a_long_branch_survives_until_it_is_best(void **state)
{
	struct headers *h = tree_that_needs(0);
	struct teller t = {.raw = chain_b, .cnt = 13000};
	uint32_t last, new_cnt, measured;
	enum headers_verdict v;

	(void)state;
	mine(chain_a, 12800, net.genesis_hash, genesis_time + 1, 4);
	mine(chain_b, 13000, net.genesis_hash, genesis_time + 1, 5);
	for (uint32_t i = 0; i < 12800; i += 1600)
		assert_int_equal(headers_add(h, nth(chain_a, i), HEADER_SZ, 1600, INT64_MAX, &last, &new_cnt),
				 HEADERS_OK);
	assert_int_equal(tell(h, &t, &v, &measured), PRESYNC_DONE);
	assert_int_equal(headers_height(h, headers_best(h)), 13000);
	headers_free(h);
}

/* However many peers tell however many cheap chains, nothing of them is kept. */
static void a_flood_of_cheap_headers_leaves_nothing_in_the_tree(void **state)
{
	struct headers *h = tree_that_needs(9000);
	size_t bytes = headers_bytes(h);
	uint32_t measured;
	enum headers_verdict v;

	(void)state;
	for (uint32_t i = 0; i < 40; i++) {
		struct teller t = {.raw = i % 2 ? chain_a : chain_b, .cnt = 4000 + 100 * i};

		assert_int_equal(tell(h, &t, &v, &measured), PRESYNC_REFUSED);
		assert_int_equal(v, HEADERS_LOW_WORK);
	}
	assert_int_equal(headers_cnt(h), 1);
	assert_int_equal(headers_bytes(h), bytes);
	headers_free(h);
}

static void an_anchor_of_unknown_work_asks_for_an_explicit_bound_only(void **state)
{
	struct headers_root root = {.height = 100};
	struct u256 bound = {{20}};
	struct headers *h;
	uint32_t last, new_cnt;

	(void)state;
	headers_free(tree_that_needs(1000000));
	root.hash = header_hash(nth(chain_a, 99));
	h = headers_new(&net, &root, 9, 0);
	assert_true(headers_has_min_work(h));
	assert_true(headers_work(h, headers_best(h))->l[3] & HEADERS_WORK_RELATIVE);
	assert_int_equal(headers_add(h, nth(chain_a, 100), HEADER_SZ, 3, INT64_MAX, &last, &new_cnt),
			 HEADERS_OK);
	assert_int_equal(headers_work(h, headers_best(h))->l[0], 6);
	/* Counted from the anchor. */
	headers_set_min_work(h, &bound);
	assert_false(headers_has_min_work(h));
	assert_int_equal(headers_add(h, nth(chain_a, 103), HEADER_SZ, 6, INT64_MAX, &last, &new_cnt),
			 HEADERS_LOW_WORK);
	assert_int_equal(headers_add(h, nth(chain_a, 103), HEADER_SZ, 7, INT64_MAX, &last, &new_cnt),
			 HEADERS_OK);
	assert_true(headers_has_min_work(h));
	/* What control gives back later is still relative: the mark is in the number. */
	root.work = *headers_work(h, headers_best(h));
	root.hash = *headers_hash(h, headers_best(h));
	root.height = 110;
	headers_free(h);
	h = headers_new(&net, &root, 9, 0);
	assert_true(headers_has_min_work(h));
	headers_free(h);
	/* A root whose work is known counts in full. */
	root.work = (struct u256){{222}};
	h = headers_new(&net, &root, 9, 0);
	assert_false(headers_has_min_work(h));
	assert_int_equal(headers_add(h, nth(chain_a, 110), HEADER_SZ, 9, INT64_MAX, &last, &new_cnt),
			 HEADERS_LOW_WORK);
	/* But what control remembers has been judged before. */
	assert_int_equal(headers_add_worthy(h, nth(chain_a, 110), HEADER_SZ, 9, INT64_MAX, &last, &new_cnt),
			 HEADERS_OK);
	headers_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_is_stored_once_it_has_shown_the_least_work),
		cmocka_unit_test(the_least_work_is_reached_by_the_last_header_and_not_before),
		cmocka_unit_test(the_second_telling_must_be_the_first),
		cmocka_unit_test(while_measuring_a_wrong_header_is_named),
		cmocka_unit_test(a_deeper_fork_than_is_ever_stored_at_once_is_followed_if_it_has_the_work),
		cmocka_unit_test(a_long_branch_survives_until_it_is_best),
		cmocka_unit_test(a_flood_of_cheap_headers_leaves_nothing_in_the_tree),
		cmocka_unit_test(an_anchor_of_unknown_work_asks_for_an_explicit_bound_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
