/* Files of blocks: plain and obfuscated, damaged and cut short, and what is none. */
#include "vec.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "blkfile/blkfile.h"
#include "btc/bytes.h"

#define PATH_SZ 512

struct place {
	char dir[64];
	char file[PATH_SZ], key[PATH_SZ];
	struct bytes plain; /* two blocks of main, framed: genesis (285 bytes) and block 1 (215 bytes) */
	json_t *vec;
};

static int set_up(void **state)
{
	struct place *pl = calloc(1, sizeof(*pl));

	if (pl == NULL)
		return -1;
	snprintf(pl->dir, sizeof(pl->dir), "/tmp/vigil-blkfile-XXXXXX");
	if (mkdtemp(pl->dir) == NULL)
		return -1;
	snprintf(pl->file, sizeof(pl->file), "%s/blk00000.dat", pl->dir);
	snprintf(pl->key, sizeof(pl->key), "%s/xor.dat", pl->dir);
	pl->vec = vec_load("blk_file.json");
	pl->plain = vec_hex(pl->vec, "plain_hex");
	*state = pl;
	return 0;
}

static int tear_down(void **state)
{
	struct place *pl = *state;

	unlink(pl->file);
	unlink(pl->key);
	rmdir(pl->dir);
	json_decref(pl->vec);
	free(pl->plain.p);
	free(pl);
	return 0;
}

static void write_file(const char *path, const uint8_t *p, size_t sz)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, sz, f), sz);
	assert_int_equal(fclose(f), 0);
}

static struct blkfile *open_bytes(struct place *pl, const uint8_t *p, size_t sz)
{
	char why[BLKFILE_WHY_SZ];
	struct blkfile *f;

	write_file(pl->file, p, sz);
	f = blkfile_open(pl->file, why);
	if (f == NULL)
		fail_msg("%s", why);
	return f;
}

static void refuse_bytes(struct place *pl, const uint8_t *p, size_t sz)
{
	char why[BLKFILE_WHY_SZ] = "";

	write_file(pl->file, p, sz);
	assert_null(blkfile_open(pl->file, why));
	assert_string_not_equal(why, "");
}

/* The next record is block i of the vector. */
static void expect_block(struct place *pl, struct blkfile *f, size_t i)
{
	json_t *want = json_array_get(json_object_get(pl->vec, "blocks"), i);
	struct hash256 hash = vec_display(want, "hash_display"), got;
	struct blkfile_rec rec;

	assert_true(blkfile_next(f, &rec));
	assert_int_equal(rec.sz, vec_int(want, "length"));
	got = header_hash(rec.p);
	assert_true(hash256_eq(&got, &hash));
}

static void expect_both(struct place *pl, struct blkfile *f, uint64_t garbage_sz)
{
	struct blkfile_rec rec;

	for (unsigned pass = 0; pass < 2; pass++) {
		expect_block(pl, f, 0);
		expect_block(pl, f, 1);
		assert_false(blkfile_next(f, &rec));
		assert_false(blkfile_next(f, &rec));
		assert_int_equal(blkfile_garbage_sz(f), garbage_sz);
		blkfile_rewind(f);
	}
	assert_int_equal(blkfile_kind(f), BLKFILE_FRAMED);
	assert_ptr_equal(blkfile_network(f), network_get(NET_MAIN));
}

static void plain_records_come_in_order_with_their_offsets(void **state)
{
	struct place *pl = *state;
	struct blkfile *f = open_bytes(pl, pl->plain.p, pl->plain.sz);
	struct blkfile_rec rec;

	expect_both(pl, f, 0);
	for (size_t i = 0; i < 2; i++) {
		json_t *want = json_array_get(json_object_get(pl->vec, "blocks"), i);

		assert_true(blkfile_next(f, &rec));
		assert_int_equal(rec.off, vec_int(want, "offset"));
	}
	blkfile_close(f);
}

static void obfuscated_files_are_read_through_the_key_beside_them(void **state)
{
	static const char *const forms[] = {"xored_hex", "xored_with_preallocated_zero_tail_hex"};
	struct place *pl = *state;
	struct bytes key = vec_hex(pl->vec, "xor_key");

	write_file(pl->key, key.p, key.sz);
	for (size_t i = 0; i < 2; i++) {
		struct bytes b = vec_hex(pl->vec, forms[i]);
		struct blkfile *f = open_bytes(pl, b.p, b.sz);

		expect_both(pl, f, 0);
		blkfile_close(f);
		free(b.p);
	}
	free(key.p);
}

static void a_key_that_does_not_belong_to_a_plain_file_is_left_alone(void **state)
{
	struct place *pl = *state;
	struct blkfile *f;

	write_file(pl->key, (const uint8_t *)"12345678", 8);
	f = open_bytes(pl, pl->plain.p, pl->plain.sz);
	expect_both(pl, f, 0);
	blkfile_close(f);
}

static void a_missing_or_wrong_key_is_an_error(void **state)
{
	struct place *pl = *state;
	struct bytes b = vec_hex(pl->vec, "xored_hex");

	refuse_bytes(pl, b.p, b.sz);
	write_file(pl->key, (const uint8_t *)"12345678", 8);
	refuse_bytes(pl, b.p, b.sz);
	write_file(pl->key, (const uint8_t *)"1234567", 7);
	refuse_bytes(pl, b.p, b.sz);
	write_file(pl->key, (const uint8_t *)"123456789", 9);
	refuse_bytes(pl, b.p, b.sz);
	free(b.p);
}

static void a_zero_tail_ends_a_file(void **state)
{
	struct place *pl = *state;
	size_t sz = pl->plain.sz + 100000;
	uint8_t *b = calloc(1, sz);
	struct blkfile *f;

	assert_non_null(b);
	memcpy(b, pl->plain.p, pl->plain.sz);
	f = open_bytes(pl, b, sz);
	expect_both(pl, f, 0);
	blkfile_close(f);
	free(b);
}

static void garbage_before_between_and_behind_is_skipped_and_counted(void **state)
{
	/* With a magic and a forged length that would swallow the block after it. */
	const uint8_t junk[] = {1, 2, 3, 0xf9, 0xbe, 0xb4, 0xd9, 0x40, 0x01, 0, 0, 7, 0xf9, 0xbe};
	const size_t first = 8 + 285;
	struct place *pl = *state;

	for (unsigned mask = 1; mask < 8; mask++) {
		uint8_t b[1000];
		size_t sz = 0, junk_sz = 0;
		struct blkfile *f;

		for (unsigned place = 0; place < 3; place++) {
			size_t from = place == 0 ? 0 : first;

			if (mask & 1u << place) {
				memcpy(b + sz, junk, sizeof(junk));
				sz += sizeof(junk);
				junk_sz += sizeof(junk);
			}
			if (place < 2) {
				size_t n = place == 0 ? first : pl->plain.sz - first;

				memcpy(b + sz, pl->plain.p + from, n);
				sz += n;
			}
		}
		f = open_bytes(pl, b, sz);
		expect_both(pl, f, junk_sz);
		blkfile_close(f);
	}
}

static void a_damaged_length_loses_one_block_and_not_the_next(void **state)
{
	static const uint32_t lengths[] = {0, 79, 100, 284, 286, 8 + 285, 500, 5000000, UINT32_MAX};
	struct place *pl = *state;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint8_t b[600];
		struct blkfile *f;
		struct blkfile_rec rec;

		memcpy(b, pl->plain.p, pl->plain.sz);
		store_le32(b + 4, lengths[i]);
		f = open_bytes(pl, b, pl->plain.sz);
		expect_block(pl, f, 1);
		assert_false(blkfile_next(f, &rec));
		assert_int_equal(blkfile_garbage_sz(f), 8 + 285);
		blkfile_close(f);
	}
}

/* In the zero tail every place looks like the end of the last record. */
static void a_damaged_length_that_leads_into_the_tail_hides_nothing(void **state)
{
	static const uint32_t lengths[] = {8 + 285 + 215, 600, 1000 - 8 - 1, 1000 - 8 - 4};
	struct place *pl = *state;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint8_t b[1000] = {0};
		struct blkfile *f;
		struct blkfile_rec rec;

		memcpy(b, pl->plain.p, pl->plain.sz);
		store_le32(b + 4, lengths[i]);
		f = open_bytes(pl, b, sizeof(b));
		expect_block(pl, f, 1);
		assert_false(blkfile_next(f, &rec));
		assert_int_equal(blkfile_garbage_sz(f), 8 + 285);
		blkfile_close(f);
	}
}

/* Zeros at the very end cannot be told from a tail, so they are not called garbage. */
static size_t without_end_zeros(const uint8_t *p, size_t sz)
{
	while (sz > 0 && p[sz - 1] == 0)
		sz--;
	return sz;
}

static void a_file_cut_in_its_last_block_gives_the_blocks_before(void **state)
{
	struct place *pl = *state;

	for (size_t cut = 1; cut < 8 + 215; cut += 9) {
		struct blkfile *f = open_bytes(pl, pl->plain.p, pl->plain.sz - cut);
		struct blkfile_rec rec;

		expect_block(pl, f, 0);
		assert_false(blkfile_next(f, &rec));
		assert_int_equal(blkfile_garbage_sz(f),
				 without_end_zeros(pl->plain.p, pl->plain.sz - cut) - (8 + 285));
		blkfile_close(f);
	}
}

/* What a crash leaves: the file was extended, the block only begun. */
static void a_block_half_written_before_the_zero_tail_is_garbage(void **state)
{
	struct place *pl = *state;
	uint8_t b[1000] = {0};
	struct blkfile *f;
	struct blkfile_rec rec;

	memcpy(b, pl->plain.p, pl->plain.sz - 150);
	f = open_bytes(pl, b, sizeof(b));
	expect_block(pl, f, 0);
	assert_false(blkfile_next(f, &rec));
	assert_true(blkfile_garbage_sz(f) > 0);
	blkfile_close(f);
}

static void a_header_without_work_is_no_record(void **state)
{
	struct place *pl = *state;
	uint8_t b[600];
	struct blkfile *f;
	struct blkfile_rec rec;

	memcpy(b, pl->plain.p, pl->plain.sz);
	b[8 + 285 + 8 + 76] ^= 1; /* nonce of block 1 */
	f = open_bytes(pl, b, pl->plain.sz);
	expect_block(pl, f, 0);
	assert_false(blkfile_next(f, &rec));
	assert_int_equal(blkfile_garbage_sz(f), without_end_zeros(b, pl->plain.sz) - (8 + 285));
	blkfile_close(f);
}

static void the_magic_of_every_network_is_known(void **state)
{
	struct place *pl = *state;
	json_t *root = vec_load("headers.json"), *genesis = json_object_get(root, "genesis");

	for (unsigned i = 0; i < NETWORK_CNT; i++) {
		const struct network *n = network_get((enum network_id)i);
		struct bytes coinbase = vec_hex(json_object_get(genesis, n->name), "coinbase_hex");
		uint8_t b[600];
		uint32_t sz = HEADER_SZ + 1 + (uint32_t)coinbase.sz;
		struct blkfile_rec rec;
		struct blkfile *f;

		memcpy(b, n->magic, 4);
		store_le32(b + 4, sz);
		memcpy(b + 8, n->genesis_header, HEADER_SZ);
		b[8 + HEADER_SZ] = 1;
		memcpy(b + 8 + HEADER_SZ + 1, coinbase.p, coinbase.sz);
		f = open_bytes(pl, b, 8 + sz);
		assert_true(blkfile_next(f, &rec));
		assert_int_equal(rec.sz, sz);
		assert_ptr_equal(blkfile_network(f), n);
		assert_false(blkfile_next(f, &rec));
		blkfile_close(f);
		free(coinbase.p);
	}
	json_decref(root);
}

static void a_single_block_is_a_raw_file_also_when_it_is_broken(void **state)
{
	static const size_t cuts[] = {0, 1, 135};
	const uint8_t *block1 = ((struct place *)*state)->plain.p + 8 + 285 + 8;
	struct place *pl = *state;
	uint8_t no_work[215];

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct blkfile *f = open_bytes(pl, block1, 215 - cuts[i]);
		struct blkfile_rec rec;

		assert_int_equal(blkfile_kind(f), BLKFILE_RAW);
		assert_null(blkfile_network(f));
		assert_true(blkfile_next(f, &rec));
		assert_int_equal(rec.off, 0);
		assert_int_equal(rec.sz, 215 - cuts[i]);
		assert_memory_equal(rec.p, block1, rec.sz);
		assert_false(blkfile_next(f, &rec));
		blkfile_rewind(f);
		assert_true(blkfile_next(f, &rec));
		blkfile_close(f);
	}
	/* Without work it must at least be whole. */
	memcpy(no_work, block1, sizeof(no_work));
	no_work[76] ^= 1;
	blkfile_close(open_bytes(pl, no_work, sizeof(no_work)));
	refuse_bytes(pl, no_work, sizeof(no_work) - 1);
}

static void what_is_neither_is_refused_with_a_reason(void **state)
{
	struct place *pl = *state;
	char why[BLKFILE_WHY_SZ] = "";
	uint8_t zeros[300] = {0};

	refuse_bytes(pl, zeros, 0);
	refuse_bytes(pl, zeros, sizeof(zeros));
	refuse_bytes(pl, (const uint8_t *)"no block at all", 15);
	refuse_bytes(pl, pl->plain.p, 4);
	refuse_bytes(pl, pl->plain.p, 8 + 79);
	assert_null(blkfile_open(pl->dir, why));
	assert_string_not_equal(why, "");
	assert_null(blkfile_open("/nonexistent/blk00000.dat", why));
	assert_string_equal(why, "No such file or directory");
}

static void reading_does_not_change_the_file(void **state)
{
	struct place *pl = *state;
	struct bytes key = vec_hex(pl->vec, "xor_key"), b = vec_hex(pl->vec, "xored_hex");
	uint8_t back[1000];
	FILE *in;

	write_file(pl->key, key.p, key.sz);
	blkfile_close(open_bytes(pl, b.p, b.sz));
	in = fopen(pl->file, "rb");
	assert_non_null(in);
	assert_int_equal(fread(back, 1, sizeof(back), in), b.sz);
	assert_memory_equal(back, b.p, b.sz);
	fclose(in);
	free(key.p);
	free(b.p);
}

#define blkfile_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		blkfile_test(plain_records_come_in_order_with_their_offsets),
		blkfile_test(obfuscated_files_are_read_through_the_key_beside_them),
		blkfile_test(a_key_that_does_not_belong_to_a_plain_file_is_left_alone),
		blkfile_test(a_missing_or_wrong_key_is_an_error),
		blkfile_test(a_zero_tail_ends_a_file),
		blkfile_test(garbage_before_between_and_behind_is_skipped_and_counted),
		blkfile_test(a_damaged_length_loses_one_block_and_not_the_next),
		blkfile_test(a_damaged_length_that_leads_into_the_tail_hides_nothing),
		blkfile_test(a_file_cut_in_its_last_block_gives_the_blocks_before),
		blkfile_test(a_block_half_written_before_the_zero_tail_is_garbage),
		blkfile_test(a_header_without_work_is_no_record),
		blkfile_test(the_magic_of_every_network_is_known),
		blkfile_test(a_single_block_is_a_raw_file_also_when_it_is_broken),
		blkfile_test(what_is_neither_is_refused_with_a_reason),
		blkfile_test(reading_does_not_change_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
