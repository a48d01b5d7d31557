/* What condemns a header: only what it commits to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "btc/hash.h"
#include "btc/sha256.h"
#include "sync/body.h"

#define TX_MAX 8u

/* A block put together by hand; its header has the merkle root of the transactions as they stand. */
struct body {
	uint8_t *p;
	size_t sz, cap;
	struct hash256 txid[TX_MAX];
	unsigned cnt;
};

static void put(struct body *b, const void *p, size_t sz)
{
	if (b->sz + sz > b->cap) {
		b->cap = (b->sz + sz) * 2;
		b->p = realloc(b->p, b->cap);
	}
	memcpy(b->p + b->sz, p, sz);
	b->sz += sz;
}

static void begin(struct body *b, uint8_t cnt)
{
	static const uint8_t zeros[HEADER_SZ];

	*b = (struct body){0};
	put(b, zeros, sizeof(zeros));
	put(b, &cnt, 1);
}

static void root(struct body *b)
{
	struct hash256 h[TX_MAX];
	unsigned cnt = b->cnt;

	memcpy(h, b->txid, sizeof(h));
	for (; cnt > 1; cnt = (cnt + 1) / 2)
		for (unsigned i = 0; i < cnt; i += 2) {
			struct hash256 two[2] = {h[i], i + 1 < cnt ? h[i + 1] : h[i]};

			h[i / 2] = sha256d(two, 64);
		}
	if (b->cnt > 0)
		memcpy(b->p + 36, h[0].b, HASH_SZ);
}

struct shape {
	bool coinbase, segwit, no_out;
	uint8_t script_sz;
	uint32_t out_sz; /* of the output's script */
};

static void tx(struct body *b, const struct shape *s)
{
	static const uint8_t marker[2] = {0, 1}, null_out[36] = {[32] = 0xff, 0xff, 0xff, 0xff};
	static uint8_t zeros[2000000], some_out[36] = {7};
	uint8_t one = 1, none = 0, big[5] = {0xfe};
	size_t from = b->sz;
	struct body legacy = {0};

	some_out[35] = (uint8_t)b->cnt; /* so that no two are alike */
	for (int form = 0; form < 2; form++) {
		struct body *to = form == 0 ? b : &legacy;

		put(to, "\1\0\0\0", 4);
		if (form == 0 && s->segwit)
			put(to, marker, 2);
		put(to, &one, 1);
		put(to, s->coinbase ? null_out : some_out, 36);
		put(to, &s->script_sz, 1);
		put(to, zeros, s->script_sz);
		put(to, "\xff\xff\xff\xff", 4);
		put(to, s->no_out ? &none : &one, 1);
		if (!s->no_out) {
			put(to, zeros, 8);
			memcpy(big + 1, &s->out_sz, 4);
			if (s->out_sz < 0xfd)
				put(to, &s->out_sz, 1);
			else
				put(to, big, 5);
			put(to, zeros, s->out_sz);
		}
		if (form == 0 && s->segwit)
			put(to, "\1\3abc", 5);
		put(to, "\0\0\0\0", 4);
	}
	assert_true(s->segwit || (legacy.sz == b->sz - from && memcmp(legacy.p, b->p + from, legacy.sz) == 0));
	b->txid[b->cnt++] = sha256d(legacy.p, legacy.sz);
	free(legacy.p);
}

static const struct shape coinbase = {.coinbase = true, .script_sz = 4},
			  second = {.coinbase = true, .script_sz = 5}, payment = {.script_sz = 5},
			  witness = {.segwit = true};

static bool condemned(struct body *b)
{
	bool yes = body_condemns_header(b->p, b->sz);

	/* Never more than the bytes given are read: exactly as many are there. */
	uint8_t *exact = malloc(b->sz);

	memcpy(exact, b->p, b->sz);
	assert_int_equal(body_condemns_header(exact, b->sz), yes);
	free(exact);
	return yes;
}

static bool three(const struct shape *x, const struct shape *y, const struct shape *z)
{
	struct body b;
	bool yes;

	begin(&b, 3);
	tx(&b, x);
	tx(&b, y);
	tx(&b, z);
	root(&b);
	yes = condemned(&b);
	free(b.p);
	return yes;
}

static void a_valid_block_condemns_nothing(void **state)
{
	(void)state;
	assert_false(three(&coinbase, &payment, &witness));
}

static void what_the_header_commits_to_condemns_it(void **state)
{
	static const struct shape no_out = {.no_out = true}, huge = {.out_sz = 1000000},
				  huge_witness = {.segwit = true, .out_sz = 1000000},
				  short_script = {.coinbase = true, .script_sz = 1},
				  long_script = {.coinbase = true, .script_sz = 101};
	struct body b;

	(void)state;
	assert_true(three(&coinbase, &second, &payment)); /* a second one */
	assert_true(three(&coinbase, &payment, &no_out));
	assert_true(three(&coinbase, &witness, &huge)); /* stripped size over a million */
	assert_true(three(&coinbase, &payment, &huge_witness));
	assert_true(three(&short_script, &payment, &witness));
	assert_true(three(&long_script, &payment, &witness));
	begin(&b, 0); /* no transaction, and a root that no transaction has */
	assert_true(condemned(&b));
	b.p[40] = 1;
	assert_false(condemned(&b));
	free(b.p);
}

static void a_first_transaction_that_is_no_coinbase_may_be_an_inner_node(void **state)
{
	static const struct shape no_out = {.no_out = true};

	(void)state;
	assert_false(three(&payment, &payment, &no_out));
	assert_false(three(&payment, &coinbase, &payment));
}

/* Invalid, but for something else in the bytes that says that they are not the block's. */
static void another_root_or_other_bytes_say_nothing(void **state)
{
	struct body b;
	size_t sz;

	(void)state;
	begin(&b, 3);
	tx(&b, &coinbase);
	tx(&b, &second);
	tx(&b, &witness);
	root(&b);
	assert_true(condemned(&b));
	sz = b.sz;
	for (size_t i = 0; i < sz; i++) {
		struct body cut = {.p = b.p, .sz = i};

		assert_false(condemned(&cut));
	}
	put(&b, "\0", 1); /* trailing */
	assert_false(condemned(&b));
	b.sz = sz;
	b.p[36] ^= 1; /* the root */
	assert_false(condemned(&b));
	b.p[36] ^= 1;
	b.p[HEADER_SZ] = 2; /* the count */
	assert_false(condemned(&b));
	free(b.p);
}

static void a_repeated_tail_has_the_same_root_and_says_nothing(void **state)
{
	struct body b;
	size_t one, two;

	(void)state;
	/* Three transactions, the last twice, is a mutation of a block with three. */
	begin(&b, 4);
	tx(&b, &coinbase);
	tx(&b, &second);
	one = b.sz;
	tx(&b, &payment);
	two = b.sz;
	root(&b);
	for (size_t i = one; i < two; i++) {
		uint8_t again = b.p[i];

		put(&b, &again, 1);
	}
	assert_false(condemned(&b));
	b.p[HEADER_SZ] = 3;
	b.sz = two;
	assert_true(condemned(&b));
	free(b.p);
}

static void a_witness_is_not_committed_to(void **state)
{
	struct body b;

	(void)state;
	begin(&b, 2);
	tx(&b, &coinbase);
	tx(&b, &witness);
	root(&b);
	/* An empty stack in place of the witness: a node refuses to read that. */
	b.sz -= 4 + 5;
	put(&b, "\0\0\0\0\0", 5);
	assert_false(condemned(&b));
	free(b.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_valid_block_condemns_nothing),
		cmocka_unit_test(what_the_header_commits_to_condemns_it),
		cmocka_unit_test(a_first_transaction_that_is_no_coinbase_may_be_an_inner_node),
		cmocka_unit_test(another_root_or_other_bytes_say_nothing),
		cmocka_unit_test(a_repeated_tail_has_the_same_root_and_says_nothing),
		cmocka_unit_test(a_witness_is_not_committed_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
