/* Hex, CompactSize, cursor, writer, and the decoder of single transactions. */
#include "vec.h"

#include <stdlib.h>

#include "btc/block.h"
#include "btc/cursor.h"

static void hex_round_trips_and_refuses_everything_else(void **state)
{
	uint8_t b[3] = {0x00, 0xaf, 0xff}, back[3];
	char hex[7];

	(void)state;
	hex_encode(hex, b, sizeof(b));
	assert_string_equal(hex, "00afff");
	assert_true(hex_decode(back, 3, "00aFFf", 6));
	assert_memory_equal(back, b, 3);
	assert_false(hex_decode(back, 3, "00affff", 7));
	assert_false(hex_decode(back, 3, "00aff", 5));
	assert_false(hex_decode(back, 2, "00afff", 6));
	assert_false(hex_decode(back, 3, "00afgf", 6));
	assert_false(hex_decode(back, 3, "00af f", 6));
	assert_false(hex_decode(back, 3, "00af\0f", 6));
	assert_true(hex_decode(back, 0, "", 0));
}

static void display_order_is_the_reverse_of_internal_order(void **state)
{
	struct hash256 h, back;
	char hex[HASH_HEX_SZ], longer[HASH_HEX_SZ + 1] = {0};
	struct locator l;

	(void)state;
	for (unsigned i = 0; i < HASH_SZ; i++)
		h.b[i] = (uint8_t)i;
	hash256_to_display(hex, &h);
	assert_string_equal(hex, "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100");
	assert_true(hash256_from_display(&back, hex));
	assert_true(hash256_eq(&h, &back));
	l = locator_of_txid(&h, LOCATOR_INTERNAL);
	assert_memory_equal(l.b, h.b, LOCATOR_SZ);
	l = locator_of_txid(&h, LOCATOR_DISPLAY);
	assert_int_equal(l.b[0], 0x1f);
	assert_int_equal(l.b[15], 0x10);
	memset(longer, '0', HASH_HEX_SZ);
	assert_false(hash256_from_display(&back, longer));
	hex[63] = '\0';
	assert_false(hash256_from_display(&back, hex));
	assert_false(hash256_from_display(&back, ""));
}

static void compact_size_vectors_decode_as_given(void **state)
{
	json_t *all = vec_load("compact_size.json"), *v;
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct bytes b = vec_hex(v, "hex");
		struct cur c = cur_of(vec_guarded(b.p, b.sz), b.sz);
		uint64_t got = cur_compact(&c);

		assert_int_equal(cur_ok(&c), vec_bool(v, "ok"));
		if (cur_ok(&c)) {
			uint8_t back[COMPACT_SZ_MAX];
			struct wr w = wr_of(back, sizeof(back));
			size_t used = (size_t)vec_int(v, "bytes_used");

			assert_true(got == strtoull(vec_str(v, "value"), NULL, 10));
			assert_int_equal(b.sz - cur_left(&c), used);
			wr_compact(&w, got);
			assert_true(wr_ok(&w));
			assert_int_equal(w.sz, used);
			assert_int_equal(compact_sz(got), used);
			assert_memory_equal(back, b.p, used);
		} else {
			assert_int_equal(c.v, strcmp(vec_str(v, "error"), "short read") == 0
						      ? PARSE_TRUNCATED
						      : PARSE_NONCANONICAL);
			assert_int_equal(cur_left(&c), 0);
		}
		free(b.p);
	}
	assert_true(i > 30);
	json_decref(all);
}

/* As a length the value must also be at most 0x02000000, and its bytes must be there. */
static void compact_lengths_are_capped_before_anything_is_counted(void **state)
{
	json_t *all = vec_load("compact_size.json"), *v;
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct bytes b = vec_hex(v, "hex");
		struct cur c = cur_of(b.p, b.sz);

		cur_count(&c, 1);
		if (!vec_bool(v, "ok_as_length"))
			assert_int_equal(c.v, !vec_bool(v, "ok") ? c.v : PARSE_LIMIT);
		if (vec_bool(v, "ok") && !vec_bool(v, "ok_as_length"))
			assert_int_equal(c.v, PARSE_LIMIT);
		else if (vec_bool(v, "ok"))
			assert_true(cur_ok(&c) || c.v == PARSE_TRUNCATED);
		else
			assert_false(cur_ok(&c));
		free(b.p);
	}
	json_decref(all);
}

static void a_failed_read_poisons_the_cursor(void **state)
{
	const uint8_t in[] = {1, 2, 3};
	uint8_t out[4] = {9, 9, 9, 9};
	struct cur c = cur_of(in, sizeof(in));
	uint32_t sz = 7;

	(void)state;
	assert_int_equal(cur_u8(&c), 1);
	assert_int_equal(cur_le32(&c), 0);
	assert_int_equal(c.v, PARSE_TRUNCATED);
	cur_fail(&c, PARSE_LIMIT); /* the first verdict stays */
	assert_int_equal(c.v, PARSE_TRUNCATED);
	assert_int_equal(cur_u8(&c), 0);
	assert_null(cur_take(&c, 0));
	cur_copy(&c, out, sizeof(out));
	assert_int_equal(out[0] | out[3], 0);
	assert_null(cur_var_bytes(&c, &sz));
	assert_int_equal(sz, 0);
	assert_int_equal(cur_compact(&c), 0);
	assert_int_equal(cur_end(&c), PARSE_TRUNCATED);

	c = cur_of(NULL, 0);
	assert_int_equal(cur_end(&c), PARSE_OK);
	cur_skip(&c, 0);
	assert_true(cur_ok(&c));
	c = cur_of(in, sizeof(in));
	assert_int_equal(cur_be16(&c), 0x0102);
	assert_int_equal(cur_end(&c), PARSE_TRAILING);
	c = cur_of(in, sizeof(in));
	cur_skip(&c, UINT64_MAX);
	assert_int_equal(c.v, PARSE_TRUNCATED);
}

static void a_writer_without_room_writes_nothing_more(void **state)
{
	uint8_t out[12];
	struct wr w = wr_of(out, 11);

	(void)state;
	out[11] = 0x77;
	wr_le32(&w, 0x01020304);
	wr_be16(&w, 0x0506);
	wr_var_bytes(&w, "abc", 3);
	assert_true(wr_ok(&w));
	assert_memory_equal(out,
			    "\x04\x03\x02\x01\x05\x06\x03"
			    "abc",
			    10);
	wr_compact(&w, 0xfd); /* three bytes for one */
	assert_false(wr_ok(&w));
	wr_u8(&w, 1); /* would fit, but something before it is missing */
	assert_int_equal(w.sz, 10);
	assert_int_equal(out[11], 0x77);
}

static void transaction_vectors_parse_as_a_node_does(void **state)
{
	json_t *all = vec_load("transactions.json"), *v;
	size_t i, cnt = 0;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct bytes b = vec_hex(v, "hex");
		const uint8_t *p = vec_guarded(b.p, b.sz);
		struct tx_view t;
		size_t used = 0;
		enum parse_verdict verdict;

		/* A decoder without the extended form is not offered here. */
		if (!vec_bool(v, "allow_witness")) {
			free(b.p);
			continue;
		}
		verdict = tx_parse(p, b.sz, true, &t, &used);
		print_message("%s: %s\n", vec_str(v, "name"), parse_verdict_name(verdict));
		if (vec_bool(v, "must_reject")) {
			assert_true(verdict != PARSE_OK || used != b.sz);
		} else {
			bool empty = vec_int(v, "n_in") == 0 || vec_int(v, "n_out") == 0;

			assert_int_equal(verdict, PARSE_OK);
			assert_int_equal(used, b.sz);
			assert_int_equal(t.off, 0);
			assert_int_equal(t.sz, vec_int(v, "total_size"));
			assert_int_equal(tx_view_stripped_sz(&t), vec_int(v, "stripped_size"));
			assert_int_equal(3 * tx_view_stripped_sz(&t) + t.sz, vec_int(v, "weight"));
			assert_int_equal(t.segwit, vec_bool(v, "segwit_encoding"));
			assert_int_equal(t.in_cnt, vec_int(v, "n_in"));
			assert_int_equal(t.out_cnt, vec_int(v, "n_out"));
			assert_int_equal(tx_parse(p, b.sz, false, &t, &used), empty ? PARSE_EMPTY : PARSE_OK);
		}
		cnt++;
		free(b.p);
	}
	assert_true(cnt > 48);
	json_decref(all);
}

static void rejected_transactions_get_the_verdict_that_says_why(void **state)
{
	static const struct {
		const char *error;
		enum parse_verdict verdict;
	} of[] = {{"short read", PARSE_TRUNCATED},
		  {"count exceeds remaining bytes", PARSE_TRUNCATED},
		  {"too-large", PARSE_LIMIT},
		  {"non-canonical", PARSE_NONCANONICAL},
		  {"superfluous witness", PARSE_WITNESS},
		  {"unknown flags", PARSE_WITNESS},
		  {"trailing bytes 1", PARSE_OK}};
	json_t *all = vec_load("transactions.json"), *v;
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct bytes b = {NULL, 0};
		struct tx_view t;
		size_t used, k;

		if (!vec_bool(v, "must_reject") || !vec_bool(v, "allow_witness"))
			continue;
		b = vec_hex(v, "hex");
		for (k = 0; k < sizeof(of) / sizeof(of[0]); k++)
			if (strcmp(of[k].error, vec_str(v, "error")) == 0)
				break;
		assert_true(k < sizeof(of) / sizeof(of[0]));
		assert_int_equal(tx_parse(b.p, b.sz, true, &t, &used), of[k].verdict);
		free(b.p);
	}
	json_decref(all);
}

static void every_truncation_of_a_transaction_is_refused(void **state)
{
	json_t *all = vec_load("transactions.json"), *v;
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct bytes b = vec_hex(v, "hex");
		struct tx_view t;
		size_t used;

		if (!vec_bool(v, "must_reject") && vec_bool(v, "allow_witness") && b.sz < 1000)
			for (size_t sz = 0; sz < b.sz; sz++)
				assert_int_equal(tx_parse(vec_guarded(b.p, sz), sz, true, &t, &used),
						 PARSE_TRUNCATED);
		free(b.p);
	}
	json_decref(all);
}

struct seen {
	size_t cnt, stop_at;
	struct outpoint first, last;
	uint32_t last_sequence;
};

static bool see_input(void *arg, const struct outpoint *prev, uint32_t sequence)
{
	struct seen *s = arg;

	if (s->cnt++ == 0)
		s->first = *prev;
	s->last = *prev;
	s->last_sequence = sequence;
	return s->cnt != s->stop_at;
}

static void inputs_are_visited_in_order_until_told_to_stop(void **state)
{
	json_t *all = vec_load("transactions.json"), *v;
	size_t i;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct seen s = {0}, half = {.stop_at = 2};
		struct bytes b;
		struct tx_view t;
		size_t used;

		if (vec_bool(v, "must_reject") || !vec_bool(v, "allow_witness"))
			continue;
		b = vec_hex(v, "hex");
		assert_int_equal(tx_parse(b.p, b.sz, true, &t, &used), PARSE_OK);
		tx_each_input(b.p, &t, see_input, &s);
		assert_int_equal(s.cnt, t.in_cnt);
		tx_each_input(b.p, &t, see_input, &half);
		assert_int_equal(half.cnt, t.in_cnt < 2 ? t.in_cnt : 2);
		if (t.in_cnt > 0)
			assert_memory_equal(s.first.txid.b, b.p + 4 + (t.segwit ? 2 : 0) + compact_sz(t.in_cnt),
					    HASH_SZ);
		if (strcmp(vec_str(v, "name"), "real_mainnet_block1_coinbase") == 0) {
			assert_true(hash256_is_zero(&s.last.txid));
			assert_int_equal(s.last.vout, UINT32_MAX);
			assert_int_equal(s.last_sequence, UINT32_MAX);
		}
		free(b.p);
	}
	json_decref(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hex_round_trips_and_refuses_everything_else),
		cmocka_unit_test(display_order_is_the_reverse_of_internal_order),
		cmocka_unit_test(compact_size_vectors_decode_as_given),
		cmocka_unit_test(compact_lengths_are_capped_before_anything_is_counted),
		cmocka_unit_test(a_failed_read_poisons_the_cursor),
		cmocka_unit_test(a_writer_without_room_writes_nothing_more),
		cmocka_unit_test(transaction_vectors_parse_as_a_node_does),
		cmocka_unit_test(rejected_transactions_get_the_verdict_that_says_why),
		cmocka_unit_test(every_truncation_of_a_transaction_is_refused),
		cmocka_unit_test(inputs_are_visited_in_order_until_told_to_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
