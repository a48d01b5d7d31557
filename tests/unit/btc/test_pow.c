/* Networks, headers, and the arithmetic of proof of work. */
#include "vec.h"

#include <stdlib.h>

#include "btc/network.h"
#include "btc/sha256.h"

static const enum network_id ids[] = {NET_MAIN, NET_TESTNET3, NET_TESTNET4, NET_SIGNET, NET_REGTEST};

/* Big-endian hex of any length, as the vectors print numbers. */
static struct u256 number(const char *hex)
{
	uint8_t le[32] = {0};
	size_t len = strlen(hex);

	assert_true(len <= 64);
	for (size_t i = 0; i < len; i++) {
		char digit[2] = {hex[len - 1 - i], '\0'};

		le[i / 2] |= (uint8_t)(strtoul(digit, NULL, 16) << (i % 2 * 4));
	}
	return u256_from_le(le);
}

static uint32_t bits_of(const json_t *o, const char *key)
{
	return (uint32_t)strtoul(vec_str(o, key), NULL, 16);
}

static void networks_match_the_published_constants(void **state)
{
	json_t *pow = vec_load("pow.json"), *headers = vec_load("headers.json");
	json_t *limits = json_object_get(pow, "pow_limit");
	json_t *genesis = json_object_get(headers, "genesis");

	(void)state;
	for (unsigned i = 0; i < NETWORK_CNT; i++) {
		const struct network *n = network_get(ids[i]);
		json_t *limit = json_object_get(limits, n->name);
		json_t *g = json_object_get(genesis, n->name);
		struct bytes header = vec_hex(g, "header"), magic = vec_hex(g, "magic");
		struct u256 exact = number(vec_str(limit, "limit"));
		struct hash256 hash = vec_display(g, "hash_display");
		struct hash256 merkle = vec_display(g, "merkle_root_display");
		struct hash256 got = header_hash(n->genesis_header);
		struct bytes coinbase = vec_hex(g, "coinbase_hex");
		struct hash256 txid = sha256d(coinbase.p, coinbase.sz);
		struct header_fields f;
		struct u256 target, work, want = number(vec_str(g, "work"));

		assert_int_equal(n->id, ids[i]);
		assert_ptr_equal(network_by_name(n->name), n);
		assert_int_equal(u256_cmp(&n->pow_limit, &exact), 0);
		assert_int_equal(n->pow_limit_bits, bits_of(limit, "limit_nbits"));
		assert_int_equal(pow_compact(&exact), n->pow_limit_bits);
		assert_int_equal(header.sz, HEADER_SZ);
		assert_memory_equal(n->genesis_header, header.p, HEADER_SZ);
		assert_memory_equal(n->magic, magic.p, 4);
		assert_ptr_equal(network_by_magic(n->magic), n);
		assert_true(hash256_eq(&n->genesis_hash, &hash));
		assert_true(hash256_eq(&got, &hash));
		header_decode(&f, n->genesis_header);
		assert_true(hash256_eq(&f.merkle, &merkle));
		assert_true(hash256_eq(&txid, &merkle));
		assert_true(pow_target(n, f.bits, &target));
		work = pow_work(&target);
		assert_int_equal(u256_cmp(&work, &want), 0);
		free(header.p);
		free(magic.p);
		free(coinbase.p);
	}
	assert_ptr_equal(network_by_name("mainnet"), network_get(NET_MAIN));
	assert_ptr_equal(network_by_name("test"), network_get(NET_TESTNET3));
	assert_ptr_equal(network_by_name("testnet"), network_get(NET_TESTNET3));
	assert_null(network_by_name("Main"));
	assert_null(network_by_name(""));
	json_decref(pow);
	json_decref(headers);
}

static void header_vectors_decode_hash_and_judge_work(void **state)
{
	json_t *root = vec_load("headers.json"), *all = json_object_get(root, "headers"), *v;
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct bytes b = vec_hex(v, "header");
		struct hash256 want = vec_display(v, "hash_display"), hash = header_hash(b.p);
		struct hash256 prev = vec_display(v, "prev_display");
		struct hash256 merkle = vec_display(v, "merkle_display");
		const struct network *n = network_by_name(vec_str(v, "network"));
		uint8_t back[HEADER_SZ];
		struct header_fields f;

		assert_non_null(n);
		header_decode(&f, b.p);
		assert_int_equal(f.version, vec_int(v, "version"));
		assert_true(hash256_eq(&f.prev, &prev));
		assert_true(hash256_eq(&f.merkle, &merkle));
		assert_int_equal(f.time, vec_int(v, "time"));
		assert_int_equal(f.bits, bits_of(v, "nbits"));
		assert_int_equal(f.nonce, vec_int(v, "nonce"));
		header_encode(back, &f);
		assert_memory_equal(back, b.p, HEADER_SZ);
		assert_true(hash256_eq(&hash, &want));
		assert_int_equal(pow_valid(n, &hash, f.bits), vec_bool(v, "pow_ok"));
		free(b.p);
	}
	assert_true(i >= 16);
	json_decref(root);
}

static void compact_target_vectors_expand_as_given(void **state)
{
	json_t *root = vec_load("pow.json"), *all = json_object_get(root, "compact_target"), *v;
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		uint32_t bits = bits_of(v, "nbits");
		bool negative, overflow;
		struct u256 t = pow_expand(bits, &negative, &overflow), zero = {{0}};

		assert_int_equal(negative, vec_bool(v, "negative"));
		assert_int_equal(overflow, vec_bool(v, "overflow"));
		if (!overflow) {
			assert_int_equal(u256_cmp(&t, &zero) == 0, vec_bool(v, "zero"));
			if (json_is_string(json_object_get(v, "target"))) {
				struct u256 want = number(vec_str(v, "target"));

				assert_int_equal(u256_cmp(&t, &want), 0);
			}
			if (!negative && json_is_string(json_object_get(v, "reencoded")))
				assert_int_equal(pow_compact(&t), bits_of(v, "reencoded"));
		}
		for (unsigned k = 0; k < NETWORK_CNT; k++) {
			const struct network *n = network_get(ids[k]);
			bool usable = vec_bool(json_object_get(v, "usable"), n->name);
			struct u256 target;

			assert_int_equal(pow_target(n, bits, &target), usable);
			if (usable) {
				struct u256 work = pow_work(&target);
				struct u256 want = number(vec_str(v, "work"));

				assert_int_equal(u256_cmp(&work, &want), 0);
			}
		}
	}
	assert_true(i > 40);
	json_decref(root);
}

static void compact_encode_vectors_match(void **state)
{
	json_t *root = vec_load("pow.json"), *all = json_object_get(root, "compact_encode"), *v;
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct u256 t = number(vec_str(v, "target"));

		assert_int_equal(pow_compact(&t), bits_of(v, "nbits"));
	}
	assert_true(i > 10);
	json_decref(root);
}

static void work_vectors_match_and_add_up(void **state)
{
	json_t *root = vec_load("pow.json"), *work = json_object_get(root, "work"), *v;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(work, "per_block"), i, v)
	{
		bool negative, overflow;
		struct u256 t = pow_expand(bits_of(v, "nbits"), &negative, &overflow);
		struct u256 got = pow_work(&t), want = number(vec_str(v, "work"));

		assert_int_equal(u256_cmp(&got, &want), 0);
	}
	assert_true(i >= 5);
	json_array_foreach(json_object_get(work, "cumulative"), i, v)
	{
		bool negative, overflow;
		struct u256 t = pow_expand(bits_of(v, "all_blocks_nbits"), &negative, &overflow);
		struct u256 one = pow_work(&t), sum = {{0}}, want = number(vec_str(v, "chainwork"));

		for (int64_t h = 0; h <= vec_int(v, "height"); h++)
			sum = u256_add(&sum, &one);
		assert_int_equal(u256_cmp(&sum, &want), 0);
	}
	json_decref(root);
}

/* (t + 1) * work <= 2^256 < (t + 1) * (work + 1), by repeated addition for targets so large that few steps
   are needed, and at the ends of the range. */
static void work_is_the_exact_quotient(void **state)
{
	const struct u256 all_ones = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
	const struct u256 zero = {{0}}, one = {{1}};
	struct u256 w = pow_work(&all_ones);
	uint32_t x = 7;

	(void)state;
	assert_int_equal(u256_cmp(&w, &one), 0);
	for (unsigned round = 0; round < 2000; round++) {
		struct u256 t, step, sum = {{0}}, next;
		uint64_t want = 0;

		for (unsigned i = 0; i < 4; i++)
			t.l[i] = (uint64_t)vec_random(&x) << 40 ^ (uint64_t)vec_random(&x) << 20 ^
				 vec_random(&x);
		t.l[3] |= 1ull << (58 + round % 6);
		step = u256_add(&t, &one);
		if (u256_cmp(&step, &zero) == 0)
			continue;
		do { /* until the sum passes 2^256 */
			next = u256_add(&sum, &step);
			want++;
			if (u256_cmp(&next, &sum) < 0)
				break;
			sum = next;
		} while (true);
		if (u256_cmp(&next, &zero) != 0)
			want--; /* went past it, not exactly onto it */
		w = pow_work(&t);
		assert_true(w.l[0] == want && (w.l[1] | w.l[2] | w.l[3]) == 0);
	}
}

static void a_hash_equal_to_the_target_is_enough_and_one_more_is_not(void **state)
{
	const struct network *n = network_get(NET_REGTEST);
	const struct u256 one = {{1}};
	struct u256 target, above;
	struct hash256 h;

	(void)state;
	assert_true(pow_target(n, 0x1d00ffff, &target));
	u256_to_le(h.b, &target);
	assert_true(pow_valid(n, &h, 0x1d00ffff));
	above = u256_add(&target, &one);
	u256_to_le(h.b, &above);
	assert_false(pow_valid(n, &h, 0x1d00ffff));
}

static void the_least_chain_work_is_the_published_one(void **state)
{
	static const char *const hex[NETWORK_CNT] = {
		[NET_MAIN] = "88e186b70e0862c193ec44d6",
		[NET_TESTNET3] = "f209695166be8b61fa9",
		[NET_TESTNET4] = "5faa15d02e6202f3ba",
		[NET_SIGNET] = "25dbd66e58f",
		[NET_REGTEST] = "0",
	};
	struct u256 want;

	(void)state;
	for (unsigned i = 0; i < NETWORK_CNT; i++) {
		assert_true(u256_from_hex(&want, hex[i]));
		assert_int_equal(u256_cmp(&network_get((enum network_id)i)->min_chain_work, &want), 0);
	}
	assert_true(u256_from_hex(&want, "0xABCDEF0123456789abcdef0123456789ABCDEF0123456789abcdef012345678F"));
	assert_int_equal(want.l[0], 0xabcdef012345678f);
	assert_int_equal(want.l[3], 0xabcdef0123456789);
	assert_false(u256_from_hex(&want, ""));
	assert_false(u256_from_hex(&want, "0x"));
	assert_false(u256_from_hex(&want, "1 "));
	assert_false(u256_from_hex(&want, "10000000000000000000000000000000000000000000000000000000000000000"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks_match_the_published_constants),
		cmocka_unit_test(header_vectors_decode_hash_and_judge_work),
		cmocka_unit_test(compact_target_vectors_expand_as_given),
		cmocka_unit_test(compact_encode_vectors_match),
		cmocka_unit_test(work_vectors_match_and_add_up),
		cmocka_unit_test(work_is_the_exact_quotient),
		cmocka_unit_test(the_least_chain_work_is_the_published_one),
		cmocka_unit_test(a_hash_equal_to_the_target_is_enough_and_one_more_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
