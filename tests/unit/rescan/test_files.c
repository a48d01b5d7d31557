/* Which files are scanned, what their bytes are, and that readahead gives the chosen ones. */
#include "vec.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "btc/bytes.h"
#include "rescan/readahead.h"
#include "rescan/survey.h"

#define PATH_SZ 256

static const uint8_t key[BLKFILE_XOR_SZ] = {0x5a, 0, 0xc3, 0xf1, 0x8e, 0x77, 9, 0x2d};
static char dir[64];

static void write_at(const char *name, const void *p, size_t sz)
{
	char path[PATH_SZ];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, sz, f), sz);
	assert_int_equal(fclose(f), 0);
}

static void remove_at(const char *name)
{
	char path[PATH_SZ];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/vigil-rescan-XXXXXX");
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[PATH_SZ];

	(void)state;
	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	return system(command);
}

static bool find(struct blk_files *fs, char why[FILES_WHY_SZ])
{
	char *path[] = {dir};

	return blk_files_find(fs, path, 1, why);
}

static const char *name_of(const struct blk_source *f)
{
	return strrchr(f->path, '/') + 1;
}

static void files_come_by_their_numbers_and_others_do_not(void **state)
{
	static const char *const names[] = {"blk00010.dat", "blk00009.dat",  "blk100000.dat", "rev00009.dat",
					    "blk0001.dat",  "blk00011.data", "blk00012.dat~"};
	static const char *const want[] = {"blk00009.dat", "blk00010.dat", "blk100000.dat"};
	char why[FILES_WHY_SZ], sub[PATH_SZ];
	struct blk_files fs;
	char *twice[] = {dir, dir};

	(void)state;
	assert_false(find(&fs, why));
	assert_non_null(strstr(why, "no blk*.dat"));
	snprintf(sub, sizeof(sub), "%s/blocks", dir);
	assert_int_equal(mkdir(sub, 0700), 0);
	write_at("blocks/blk00000.dat", "x", 1);
	assert_true(find(&fs, why));
	assert_int_equal(fs.cnt, 1);
	blk_files_free(&fs);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		write_at(names[i], "1234", 4);
	assert_true(blk_files_find(&fs, twice, 2, why));
	assert_int_equal(fs.cnt, 3);
	assert_int_equal(fs.sz, 12);
	for (uint32_t i = 0; i < 3; i++) {
		assert_string_equal(name_of(&fs.file[i]), want[i]);
		/* Number 9 is followed by 10. */
		assert_int_equal(fs.file[i].may_grow, i != 0);
	}
	blk_files_free(&fs);
}

static void the_tail_is_what_is_zero_on_disk(void **state)
{
	static uint8_t b[200000];
	char why[FILES_WHY_SZ];
	struct blk_files fs;

	(void)state;
	write_at("xor.dat", key, sizeof(key));
	memcpy(b, network_get(NET_REGTEST)->magic, 4);
	b[70000] = 1;
	blkfile_xor(b, 70001, 0, key); /* as a node writes it: the tail is left as it is */
	write_at("blk00000.dat", b, sizeof(b));
	write_at("blk00001.dat", b + 70001, 100000);
	write_at("blk00002.dat", "", 0);
	assert_true(find(&fs, why));
	assert_int_equal(fs.file[0].data_sz, 70001);
	assert_true(fs.file[0].keyed);
	assert_ptr_equal(fs.file[0].net, network_get(NET_REGTEST));
	assert_int_equal(fs.file[1].data_sz, 0);
	assert_int_equal(fs.file[2].data_sz, 0);
	blk_files_free(&fs);

	/* A plain file beside somebody's key. */
	memcpy(b, network_get(NET_MAIN)->magic, 4);
	write_at("blk00000.dat", b, sizeof(b));
	assert_true(find(&fs, why));
	assert_false(fs.file[0].keyed);
	assert_ptr_equal(fs.file[0].net, network_get(NET_MAIN));
	blk_files_free(&fs);
	write_at("xor.dat", key, 7);
	assert_false(find(&fs, why));
	assert_non_null(strstr(why, "not 8 bytes"));
}

static void any_range_reads_as_it_was_written(void **state)
{
	static uint8_t plain[300000], disk[300000];
	char why[FILES_WHY_SZ];
	struct blk_files fs;
	struct blkread r;

	(void)state;
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 2654435761u >> 11);
	memcpy(plain, network_get(NET_REGTEST)->magic, 4);
	plain[sizeof(plain) - 1] = 1;
	memcpy(disk, plain, sizeof(plain));
	for (size_t i = 0; i < sizeof(disk); i++)
		disk[i] ^= key[i % 8];
	write_at("xor.dat", key, sizeof(key));
	write_at("blk00000.dat", disk, sizeof(disk));
	assert_true(find(&fs, why));
	assert_int_equal(blkread_open(&r, &fs.file[0]), 0);
	srand(1);
	for (unsigned i = 0; i < 3000; i++) {
		size_t off = (size_t)rand() % sizeof(plain), sz = (size_t)rand() % (i % 10 == 0 ? 200000 : 300);
		const uint8_t *p;

		if (sz > sizeof(plain) - off)
			sz = sizeof(plain) - off;
		p = blkread_at(&r, off, sz);
		assert_non_null(p);
		assert_memory_equal(p, plain + off, sz);
	}
	/* It has become shorter. */
	write_at("blk00000.dat", disk, 100);
	blkread_close(&r);
	assert_int_equal(blkread_open(&r, &fs.file[0]), 0);
	assert_null(blkread_at(&r, 200, 10));
	blkread_close(&r);
	blk_files_free(&fs);
}

#define BLOCKS 400u

/* Places of all sizes, chosen ones only, by several readers: the bytes are right and come in order. */
static void readahead_gives_what_was_chosen_in_order(void **state)
{
	static uint8_t plain[2][12000000];
	struct read_item item[BLOCKS];
	struct block_table t;
	uint8_t header[HEADER_SZ] = {0};
	struct readahead *ra;
	struct blk_files fs;
	uint32_t cnt = 0, at = 0;
	char why[FILES_WHY_SZ];

	(void)state;
	write_at("xor.dat", key, sizeof(key));
	srand(7);
	table_init(&t, network_get(NET_REGTEST));
	for (uint32_t file = 0; file < 2; file++) {
		char name[32];
		uint64_t off = 8;

		for (size_t i = 0; i < sizeof(plain[0]); i++)
			plain[file][i] = (uint8_t)(i * 2654435761u >> (9 + file));
		memcpy(plain[file], network_get(NET_REGTEST)->magic, 4);
		snprintf(name, sizeof(name), "blk%05u.dat", file);
		blkfile_xor(plain[file], sizeof(plain[0]), 0, key);
		write_at(name, plain[file], sizeof(plain[0]));
		blkfile_xor(plain[file], sizeof(plain[0]), 0, key);
		while (t.cnt < BLOCKS / 2 * (file + 1)) {
			uint32_t sz = 80 + (uint32_t)rand() % (t.cnt % 50 == 0 ? 2000000 : 20000);
			struct hash256 hash = {{0}};

			if (off + sz > sizeof(plain[0]))
				break;
			store_le32(header, t.cnt);
			store_le32(hash.b, t.cnt);
			assert_true(table_add(&t, header, &hash, file, off, sz));
			off += sz + 8;
		}
	}
	for (uint32_t i = 0; i < t.cnt; i++)
		if (rand() % 4 != 0)
			item[cnt++] = (struct read_item){.block = i, .at = i};
	assert_true(find(&fs, why));
	for (unsigned readers = 1; readers <= 3; readers++) {
		struct read_window *held = NULL;

		ra = readahead_new(&fs, &t, item, cnt, readers);
		assert_non_null(ra);
		for (at = 0; at < cnt;) {
			struct read_window *w = readahead_next(ra);

			if (w == NULL) {
				readahead_wait(ra);
				continue;
			}
			assert_int_equal(w->first, at);
			for (uint32_t i = 0; i < w->cnt; i++, at++) {
				const struct found_block *b = &t.block[item[at].at];
				const uint8_t *p = readahead_block(ra, w, i);

				assert_non_null(p);
				assert_memory_equal(p, plain[b->file] + b->off, b->sz);
			}
			/* Given back in another order than they came. */
			if (held == NULL) {
				held = w;
			} else {
				readahead_release(ra, w);
				readahead_release(ra, held);
				held = NULL;
			}
		}
		assert_null(readahead_next(ra));
		readahead_free(ra);
	}
	/* The second file is cut: what is behind the cut is lost, and nothing else. */
	blkfile_xor(plain[1], sizeof(plain[0]), 0, key);
	write_at("blk00001.dat", plain[1], 1000000);
	blkfile_xor(plain[1], sizeof(plain[0]), 0, key);
	ra = readahead_new(&fs, &t, item, cnt, 2);
	assert_non_null(ra);
	for (at = 0; at < cnt;) {
		struct read_window *w = readahead_next(ra);

		if (w == NULL) {
			readahead_wait(ra);
			continue;
		}
		for (uint32_t i = 0; i < w->cnt; i++, at++) {
			const struct found_block *b = &t.block[item[at].at];
			const uint8_t *p = readahead_block(ra, w, i);

			if (b->file == 1 && b->off + b->sz > 1000000)
				assert_null(p);
			else
				assert_memory_equal(p, plain[b->file] + b->off, b->sz);
		}
		readahead_release(ra, w);
	}
	readahead_free(ra);
	/* Ended in the middle. */
	ra = readahead_new(&fs, &t, item, cnt, 3);
	assert_non_null(ra);
	readahead_free(ra);
	remove_at("blk00001.dat");
	table_free(&t);
	blk_files_free(&fs);
}

static void the_survey_finds_what_two_files_hold(void **state)
{
	json_t *vec = vec_load("blk_file.json");
	struct bytes plain = vec_hex(vec, "plain_hex"), xored = vec_hex(vec, "xored_hex");
	struct bytes xor_key = vec_hex(vec, "xor_key");
	struct survey_progress progress = {0};
	atomic_bool quit = false;
	struct block_table t;
	struct faults fl = {0};
	struct blk_files fs;
	char why[FILES_WHY_SZ];
	const char *text;

	(void)state;
	write_at("xor.dat", xor_key.p, xor_key.sz);
	write_at("blk00000.dat", xored.p, xored.sz);
	write_at("blk00001.dat", plain.p, plain.sz - 3); /* plain, the second block cut */
	assert_true(find(&fs, why));
	table_init(&t, network_get(NET_MAIN));
	assert_true(survey_run(&fs, &t, &fl, &progress, &quit, &text));
	assert_int_equal(t.cnt, 3);
	assert_int_equal(t.copy_cnt, 1);
	assert_int_equal(t.block[0].height, 0);
	assert_int_equal(t.block[1].height, 1);
	assert_int_equal(fl.cnt, 1);
	assert_int_equal(fl.fault[0].kind, FAULT_UNFINISHED);
	assert_int_equal(fl.fault[0].file, 1);
	assert_int_equal(fl.fault[0].off, 8 + 285);
	assert_int_equal(atomic_load(&progress.files), 2);
	assert_int_equal(atomic_load(&progress.bytes), fs.sz);
	table_free(&t);
	faults_free(&fl);
	/* A file that has gone since it was listed. */
	remove_at("blk00000.dat");
	table_init(&t, network_get(NET_MAIN));
	assert_true(survey_run(&fs, &t, &fl, &progress, &quit, &text));
	assert_int_equal(fl.cnt, 2);
	assert_int_equal(fl.fault[0].kind, FAULT_UNREADABLE);
	table_free(&t);
	faults_free(&fl);
	atomic_store(&quit, true);
	table_init(&t, network_get(NET_MAIN));
	assert_true(survey_run(&fs, &t, &fl, &progress, &quit, &text));
	assert_int_equal(t.cnt, 0);
	table_free(&t);
	faults_free(&fl);
	blk_files_free(&fs);
	free(plain.p);
	free(xored.p);
	free(xor_key.p);
	json_decref(vec);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(files_come_by_their_numbers_and_others_do_not),
		TEST(the_tail_is_what_is_zero_on_disk),
		TEST(any_range_reads_as_it_was_written),
		TEST(readahead_gives_what_was_chosen_in_order),
		TEST(the_survey_finds_what_two_files_hold),
	};

	return cmocka_run_group_tests_name("rescan/files", tests, NULL, NULL);
}
