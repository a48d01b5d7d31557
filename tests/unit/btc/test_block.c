/* Whole blocks: real ones as they are, and every way in which one can be wrong. */
#include "vec.h"

#include <stdlib.h>

#include "btc/block.h"
#include "btc/cursor.h"
#include "btc/network.h"

static struct tx_view views[BLOCK_TX_MAX];

/* A block under construction; the header does not matter to the parser. */
struct draft {
	uint8_t *buf;
	struct wr w;
};

static struct draft draft_new(uint64_t tx_cnt)
{
	struct draft d = {.buf = malloc(BLOCK_SZ_MAX + 1000)};

	assert_non_null(d.buf);
	d.w = wr_of(d.buf, BLOCK_SZ_MAX + 1000);
	memset(wr_room(&d.w, HEADER_SZ), 0, HEADER_SZ);
	wr_compact(&d.w, tx_cnt);
	return d;
}

static void put_zeros(struct wr *w, size_t sz)
{
	uint8_t *p = wr_room(w, sz);

	assert_non_null(p);
	memset(p, 0, sz);
}

/* Version to sequence of a transaction with one input; segwit puts marker and flag in. */
static void put_input(struct wr *w, bool null_outpoint, size_t script_sz, bool segwit)
{
	wr_le32(w, 1);
	if (segwit)
		wr_be16(w, 0x0001);
	wr_u8(w, 1);
	for (unsigned i = 0; i < HASH_SZ; i++)
		wr_u8(w, null_outpoint ? 0 : 0x11);
	wr_le32(w, UINT32_MAX);
	wr_compact(w, script_sz);
	put_zeros(w, script_sz);
	wr_le32(w, UINT32_MAX);
}

static void put_output(struct wr *w, size_t script_sz)
{
	wr_u8(w, 1);
	wr_le64(w, 0);
	wr_compact(w, script_sz);
	put_zeros(w, script_sz);
}

static void put_tx(struct wr *w, bool coinbase, size_t in_script_sz, size_t out_script_sz)
{
	put_input(w, coinbase, in_script_sz, false);
	put_output(w, out_script_sz);
	wr_le32(w, 0);
}

static enum parse_verdict draft_parse(struct draft *d, struct block_view *bv)
{
	enum parse_verdict v;

	assert_true(wr_ok(&d->w));
	v = block_parse(vec_guarded(d->buf, d->w.sz), d->w.sz, bv, views);
	free(d->buf);
	return v;
}

#define assert_draft(d, verdict)                                    \
	do {                                                        \
		struct block_view bv_;                              \
                                                                    \
		assert_int_equal(draft_parse(&(d), &bv_), verdict); \
	} while (0)

static void real_blocks_parse_in_both_forms(void **state)
{
	json_t *root = vec_load("blocks.json"), *v;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(root, "blocks"), i, v)
	{
		struct bytes full = vec_hex(v, "hex");
		bool same = !json_is_string(json_object_get(v, "stripped_hex"));
		struct bytes strip = vec_hex(v, same ? "hex" : "stripped_hex");
		struct block_view a, b;
		struct hash256 hash = header_hash(full.p), want = vec_display(v, "hash_display");

		assert_int_equal(block_parse(full.p, full.sz, &a, views), PARSE_OK);
		assert_int_equal(a.tx_cnt, json_array_size(json_object_get(v, "txids_display")));
		assert_int_equal(a.total_sz, full.sz);
		assert_int_equal(a.stripped_sz, strip.sz);
		assert_int_equal(a.weight, vec_int(v, "weight"));
		assert_true(hash256_eq(&hash, &want));
		assert_int_equal(block_bip34_height(full.p, &views[0]), vec_int(v, "height"));
		for (uint32_t t = 1; t < a.tx_cnt; t++)
			assert_int_equal(views[t].off, views[t - 1].off + views[t - 1].sz);
		assert_int_equal(block_parse(strip.p, strip.sz, &b, views), PARSE_OK);
		assert_int_equal(b.total_sz, b.stripped_sz);
		assert_int_equal(b.stripped_sz, a.stripped_sz);
		assert_int_equal(b.in_cnt, a.in_cnt);
		assert_int_equal(b.out_cnt, a.out_cnt);
		assert_int_equal(b.segwit_tx_cnt, 0);
		free(full.p);
		free(strip.p);
	}
	assert_int_equal(i, 2);
	json_decref(root);
}

static void shared_blocks_parse_to_their_published_numbers(void **state)
{
	json_t *root = vec_shared_expected(), *v;
	size_t i;

	(void)state;
	if (root == NULL)
		skip();
	json_array_foreach(json_object_get(root, "blocks"), i, v)
	{
		struct bytes b = vec_shared_block(vec_str(v, "file"));
		struct block_view bv;

		assert_non_null(b.p);
		assert_int_equal(block_parse(vec_guarded(b.p, b.sz), b.sz, &bv, views), PARSE_OK);
		assert_int_equal(bv.tx_cnt, vec_int(v, "tx_count"));
		assert_int_equal(bv.total_sz, vec_int(v, "total_bytes"));
		assert_int_equal(bv.stripped_sz, vec_int(v, "stripped_bytes"));
		assert_int_equal(bv.weight, vec_int(v, "weight"));
		assert_int_equal(bv.segwit_tx_cnt, vec_int(v, "segwit_encoded_tx_count"));
		assert_int_equal(bv.in_cnt, vec_int(v, "total_inputs"));
		assert_int_equal(bv.out_cnt, vec_int(v, "total_outputs"));
		free(b.p);
	}
	assert_int_equal(i, 6);
	json_decref(root);
}

static void a_child_block_names_its_parent(void **state)
{
	json_t *root = vec_load("headers.json"), *link = json_object_get(root, "header_chain_link");
	struct bytes parent = vec_shared_block(vec_str(link, "parent"));
	struct bytes child = vec_shared_block(vec_str(link, "child"));
	struct header_fields f;
	struct hash256 hash;

	(void)state;
	if (parent.p == NULL || child.p == NULL)
		skip();
	header_decode(&f, child.p);
	hash = header_hash(parent.p);
	assert_true(hash256_eq(&f.prev, &hash));
	free(parent.p);
	free(child.p);
	json_decref(root);
}

static void every_truncation_and_any_byte_more_is_refused(void **state)
{
	json_t *root = vec_load("blocks.json");
	struct bytes b = vec_hex(json_array_get(json_object_get(root, "blocks"), 1), "hex");
	struct block_view bv;

	(void)state;
	for (size_t sz = 0; sz < b.sz; sz++)
		assert_int_equal(block_parse(vec_guarded(b.p, sz), sz, &bv, views), PARSE_TRUNCATED);
	b.p = realloc(b.p, b.sz + 1);
	assert_non_null(b.p);
	b.p[b.sz] = 0;
	assert_int_equal(block_parse(b.p, b.sz + 1, &bv, views), PARSE_TRAILING);
	free(b.p);
	json_decref(root);
}

static void transaction_counts_out_of_range_are_refused(void **state)
{
	struct draft d = draft_new(0);
	struct block_view bv;

	(void)state;
	assert_draft(d, PARSE_EMPTY);
	d = draft_new(2);
	put_tx(&d.w, true, 2, 0);
	assert_draft(d, PARSE_TRUNCATED);
	d = draft_new(1ull << 26);
	assert_draft(d, PARSE_LIMIT);
	d = draft_new(UINT64_MAX);
	assert_draft(d, PARSE_LIMIT);
	d = draft_new(BLOCK_TX_MAX + 1);
	put_zeros(&d.w, 60 * (BLOCK_TX_MAX + 1));
	assert_draft(d, PARSE_LIMIT);

	/* As many as can be: the stripped limit admits no more. */
	d = draft_new(BLOCK_TX_MAX);
	put_tx(&d.w, true, 2, 0);
	for (unsigned i = 1; i < BLOCK_TX_MAX; i++)
		put_tx(&d.w, false, 0, 0);
	assert_int_equal(draft_parse(&d, &bv), PARSE_OK);
	assert_int_equal(bv.tx_cnt, BLOCK_TX_MAX);
	assert_int_equal(bv.in_cnt, BLOCK_TX_MAX);
}

static void counts_longer_than_needed_are_refused_wherever_they_stand(void **state)
{
	struct draft d = draft_new(0);

	(void)state;
	d.w.sz--;
	wr_bytes(&d.w, "\xfd\x01\x00", 3); /* of transactions */
	put_tx(&d.w, true, 2, 0);
	assert_draft(d, PARSE_NONCANONICAL);

	d = draft_new(1);
	wr_le32(&d.w, 1);
	wr_bytes(&d.w, "\xfd\x01\x00", 3); /* of inputs */
	put_zeros(&d.w, 100);
	assert_draft(d, PARSE_NONCANONICAL);

	d = draft_new(1);
	put_input(&d.w, true, 2, true);
	put_output(&d.w, 0);
	wr_bytes(&d.w, "\xfe\x01\x00\x00\x00", 5); /* of witness items */
	put_zeros(&d.w, 100);
	assert_draft(d, PARSE_NONCANONICAL);
}

static void sizes_and_weight_stop_exactly_at_the_limit(void **state)
{
	/* What a block with one legacy coinbase has besides the output's script. */
	const size_t rest = HEADER_SZ + 1 + 4 + 1 + 41 + 2 + 1 + 8 + 5 + 4;
	struct block_view bv;
	struct draft d = draft_new(1);

	(void)state;
	put_tx(&d.w, true, 2, BLOCK_STRIPPED_SZ_MAX - rest);
	assert_int_equal(draft_parse(&d, &bv), PARSE_OK);
	assert_int_equal(bv.stripped_sz, BLOCK_STRIPPED_SZ_MAX);
	assert_int_equal(bv.weight, BLOCK_WEIGHT_MAX);
	d = draft_new(1);
	put_tx(&d.w, true, 2, BLOCK_STRIPPED_SZ_MAX - rest + 1);
	assert_draft(d, PARSE_LIMIT);

	/* All the weight in one witness item: marker, flag, stack and item length count, too. */
	for (unsigned over = 0; over <= 1; over++) {
		const size_t strip_sz = HEADER_SZ + 1 + 4 + 1 + 41 + 2 + 1 + 9 + 4;
		size_t item_sz = BLOCK_WEIGHT_MAX - 4 * strip_sz - 2 - 1 - 5 + over;

		d = draft_new(1);
		put_input(&d.w, true, 2, true);
		put_output(&d.w, 0);
		wr_u8(&d.w, 1);
		wr_compact(&d.w, item_sz);
		put_zeros(&d.w, item_sz);
		wr_le32(&d.w, 0);
		assert_int_equal(draft_parse(&d, &bv), over ? PARSE_LIMIT : PARSE_OK);
		if (!over)
			assert_int_equal(bv.weight, BLOCK_WEIGHT_MAX);
	}

	d = draft_new(1);
	put_zeros(&d.w, BLOCK_SZ_MAX);
	assert_draft(d, PARSE_LIMIT);
}

static void the_first_transaction_alone_is_a_coinbase(void **state)
{
	static const struct {
		size_t script_sz;
		enum parse_verdict verdict;
	} scripts[] = {{0, PARSE_COINBASE}, {1, PARSE_COINBASE},   {2, PARSE_OK},
		       {100, PARSE_OK},     {101, PARSE_COINBASE}, {300, PARSE_COINBASE}};
	struct draft d = draft_new(1);

	(void)state;
	put_tx(&d.w, false, 2, 0);
	assert_draft(d, PARSE_COINBASE);
	d = draft_new(2);
	put_tx(&d.w, true, 2, 0);
	put_tx(&d.w, true, 2, 0);
	assert_draft(d, PARSE_COINBASE);
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		d = draft_new(1);
		put_tx(&d.w, true, scripts[i].script_sz, 0);
		assert_draft(d, scripts[i].verdict);
	}
}

static void empty_transactions_and_bad_witnesses_are_no_block_content(void **state)
{
	struct draft d = draft_new(1);

	(void)state;
	put_input(&d.w, true, 2, false);
	wr_u8(&d.w, 0); /* no outputs */
	wr_le32(&d.w, 0);
	put_zeros(&d.w, 60);
	assert_draft(d, PARSE_EMPTY);
	d = draft_new(1);
	put_zeros(&d.w, 60); /* ten of them decode as a transaction without anything */
	assert_draft(d, PARSE_EMPTY);
	d = draft_new(1);
	put_input(&d.w, true, 2, true);
	put_output(&d.w, 0);
	wr_u8(&d.w, 0); /* an empty stack */
	wr_le32(&d.w, 0);
	assert_draft(d, PARSE_WITNESS);
	d = draft_new(1);
	put_input(&d.w, true, 2, true);
	d.buf[HEADER_SZ + 1 + 5] = 3; /* the flag */
	put_output(&d.w, 0);
	wr_bytes(&d.w, "\x01\x00", 2);
	wr_le32(&d.w, 0);
	assert_draft(d, PARSE_WITNESS);
}

static int64_t height_of_script(const uint8_t *prefix, size_t sz, size_t script_sz)
{
	struct draft d = draft_new(1);
	size_t script_off = HEADER_SZ + 1 + 4 + 1 + 36 + 1;
	struct block_view bv;
	int64_t height;

	put_tx(&d.w, true, script_sz, 0);
	memcpy(d.buf + script_off, prefix, sz);
	assert_int_equal(block_parse(d.buf, d.w.sz, &bv, views), PARSE_OK);
	height = block_bip34_height(d.buf, &views[0]);
	free(d.buf);
	return height;
}

static void bip34_vectors_give_their_heights(void **state)
{
	json_t *root = vec_load("bip34.json"), *v;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(root, "bip34"), i, v)
	{
		struct bytes b = vec_hex(v, "script_prefix");

		assert_int_equal(height_of_script(b.p, b.sz, b.sz + 3), vec_int(v, "height"));
		free(b.p);
	}
	assert_true(i > 15);
	json_decref(root);
}

static void pushes_that_no_node_makes_are_no_height(void **state)
{
	static const struct {
		uint8_t sz;
		uint8_t b[6];
	} bad[] = {
		{2, {0x00, 0x00}},                         /* height 0 */
		{2, {0x01, 0x10}},                         /* 16 has an opcode */
		{2, {0x01, 0x00}},                         /* 0 in a byte */
		{2, {0x01, 0x91}},                         /* -17 */
		{3, {0x02, 0x11, 0x00}},                   /* 17 in two bytes */
		{5, {0x04, 0xff, 0xff, 0x7f, 0x00}},       /* 8388607 in four */
		{5, {0x04, 0x00, 0x00, 0x00, 0x80}},       /* negative zero */
		{6, {0x05, 0x00, 0x00, 0x00, 0x00, 0x01}}, /* above 31 bits */
		{2, {0x4c, 0x11}},                         /* another push opcode */
	};
	const uint8_t cut[] = {0x03, 0x5b};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(height_of_script(bad[i].b, bad[i].sz, 10), -1);
	/* The push runs past the script. */
	assert_int_equal(height_of_script(cut, sizeof(cut), sizeof(cut)), -1);
}

static void every_verdict_has_a_name(void **state)
{
	(void)state;
	for (int v = 0; v < PARSE_VERDICT_CNT; v++)
		assert_string_not_equal(parse_verdict_name((enum parse_verdict)v), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_blocks_parse_in_both_forms),
		cmocka_unit_test(shared_blocks_parse_to_their_published_numbers),
		cmocka_unit_test(a_child_block_names_its_parent),
		cmocka_unit_test(every_truncation_and_any_byte_more_is_refused),
		cmocka_unit_test(transaction_counts_out_of_range_are_refused),
		cmocka_unit_test(counts_longer_than_needed_are_refused_wherever_they_stand),
		cmocka_unit_test(sizes_and_weight_stop_exactly_at_the_limit),
		cmocka_unit_test(the_first_transaction_alone_is_a_coinbase),
		cmocka_unit_test(empty_transactions_and_bad_witnesses_are_no_block_content),
		cmocka_unit_test(bip34_vectors_give_their_heights),
		cmocka_unit_test(pushes_that_no_node_makes_are_no_height),
		cmocka_unit_test(every_verdict_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
