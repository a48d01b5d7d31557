/* `inspect` as a user runs it: files in, JSON, messages and an exit status out. */
#include "vec.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inspect/inspect.h"

#define PATH_SZ     512
#define ARG_MAX_CNT 12

static const char *const keys[] = {"file",        "height_from_bip34", "block_hash",           "prev_hash",
				   "merkle_root", "tx_count",          "merkle_root_verifies", "merkle_mutated",
				   "pow_valid",   "total_bytes",       "first_txid",           "stripped_bytes",
				   "weight",      "last_txid",         "sha256_of_txids"};
#define KEY_CNT (sizeof(keys) / sizeof(keys[0]))

static char dir[64];

struct result {
	int status;
	char *out, *err;
};

static char *slurp(FILE *f)
{
	char *text = calloc(1, 1 << 20);

	assert_non_null(text);
	rewind(f);
	(void)!fread(text, 1, (1 << 20) - 1, f);
	fclose(f);
	return text;
}

/* In a process of its own, as the program would: arguments end with NULL. */
static struct result run(const char *first, ...)
{
	char *argv[ARG_MAX_CNT] = {(char *)"inspect"};
	FILE *out = tmpfile(), *err = tmpfile();
	struct result r;
	int argc = 1, status;
	va_list ap;
	pid_t pid;

	assert_non_null(out);
	assert_non_null(err);
	va_start(ap, first);
	for (const char *a = first; a != NULL && argc < ARG_MAX_CNT; a = va_arg(ap, const char *))
		argv[argc++] = (char *)a;
	va_end(ap);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(err), STDERR_FILENO);
		status = inspect_main(argc, argv);
		fflush(stdout);
		_exit(status);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	r.status = WEXITSTATUS(status);
	r.out = slurp(out);
	r.err = slurp(err);
	return r;
}

static void done(struct result *r)
{
	free(r->out);
	free(r->err);
}

static json_t *array_of(const struct result *r)
{
	json_error_t e;
	json_t *a = json_loads(r->out, 0, &e);

	if (a == NULL)
		fail_msg("not JSON: %s\n%s", e.text, r->out);
	assert_true(json_is_array(a));
	return a;
}

static const char *put_file(const char *name, const uint8_t *p, size_t sz)
{
	static char path[4][PATH_SZ];
	static unsigned n;
	char *at = path[n++ % 4];
	FILE *f;

	snprintf(at, PATH_SZ, "%s/%s", dir, name);
	f = fopen(at, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, sz, f), sz);
	fclose(f);
	return at;
}

static struct bytes vector_block(size_t i)
{
	json_t *root = vec_load("blocks.json");
	struct bytes b = vec_hex(json_array_get(json_object_get(root, "blocks"), i), "hex");

	json_decref(root);
	return b;
}

static void every_shared_block_equals_its_expected_values(void **state)
{
	const char *shared = getenv("VIGIL_SHARED");
	json_t *root = vec_shared_expected(), *want;
	size_t i;

	(void)state;
	if (root == NULL)
		skip();
	json_array_foreach(json_object_get(root, "blocks"), i, want)
	{
		char path[PATH_SZ];
		struct result r;
		json_t *a, *got;

		snprintf(path, sizeof(path), "%s/blocks/%s", shared != NULL ? shared : "../shared",
			 vec_str(want, "file"));
		r = run("--json", path, NULL);
		assert_int_equal(r.status, 0);
		assert_string_equal(r.err, "");
		a = array_of(&r);
		assert_int_equal(json_array_size(a), 1);
		got = json_array_get(a, 0);
		assert_int_equal(json_object_size(got), KEY_CNT);
		for (size_t k = 0; k < KEY_CNT; k++) {
			if (!json_equal(json_object_get(got, keys[k]), json_object_get(want, keys[k])))
				fail_msg("%s: %s differs", path, keys[k]);
		}
		json_decref(a);
		done(&r);
	}
	assert_int_equal(i, 6);
	json_decref(root);
}

static void framed_files_report_every_block_and_the_network_decides(void **state)
{
	json_t *vec = vec_load("blk_file.json"), *blocks = json_object_get(vec, "blocks");
	struct bytes xored = vec_hex(vec, "xored_with_preallocated_zero_tail_hex");
	struct bytes key = vec_hex(vec, "xor_key");
	const char *path = put_file("blk00000.dat", xored.p, xored.sz);
	struct result r;
	json_t *a;

	(void)state;
	put_file("xor.dat", key.p, key.sz);
	r = run("--json", path, NULL);
	assert_int_equal(r.status, 0);
	a = array_of(&r);
	assert_int_equal(json_array_size(a), 2);
	for (size_t i = 0; i < 2; i++) {
		json_t *b = json_array_get(a, i);

		assert_string_equal(vec_str(b, "block_hash"),
				    vec_str(json_array_get(blocks, i), "hash_display"));
		assert_string_equal(vec_str(b, "file"), "blk00000.dat");
		assert_true(json_is_null(json_object_get(b, "height_from_bip34")));
		assert_true(vec_bool(b, "pow_valid") && vec_bool(b, "merkle_root_verifies"));
	}
	json_decref(a);
	done(&r);
	r = run("--json", "--network", "testnet3", path, NULL);
	assert_int_equal(r.status, 1);
	assert_non_null(strstr(r.err, "blocks of main, not of testnet3"));
	done(&r);
	free(xored.p);
	free(key.p);
	json_decref(vec);
}

static void bad_files_are_named_and_the_others_still_reported(void **state)
{
	struct bytes b = vector_block(0);
	const char *good = put_file("good.raw", b.p, b.sz);
	const char *cut = put_file("cut.raw", b.p, b.sz - 1);
	const char *junk = put_file("junk.raw", (const uint8_t *)"junk", 4);
	struct result r = run("--json", cut, junk, "/nonexistent/file", good, NULL);
	json_t *a = array_of(&r);

	(void)state;
	assert_int_equal(r.status, 1);
	assert_int_equal(json_array_size(a), 1);
	assert_string_equal(vec_str(json_array_get(a, 0), "file"), "good.raw");
	assert_int_equal(vec_int(json_array_get(a, 0), "height_from_bip34"), 482683);
	assert_non_null(strstr(r.err, "cut.raw: block at byte 0 is malformed: truncated"));
	assert_non_null(strstr(r.err, "junk.raw: neither a block nor a file of blocks"));
	assert_non_null(strstr(r.err, "/nonexistent/file: No such file or directory"));
	json_decref(a);
	done(&r);

	r = run("--json", junk, NULL);
	assert_int_equal(r.status, 1);
	a = array_of(&r);
	assert_int_equal(json_array_size(a), 0);
	json_decref(a);
	done(&r);
	free(b.p);
}

/* The root of a changed transaction does not verify; a repeated tail does, and is called mutated. */
static void mutated_blocks_are_reported_as_such(void **state)
{
	struct bytes b = vector_block(1);
	struct tx_view *tx = malloc(BLOCK_TX_MAX * sizeof(*tx));
	struct block_view bv;
	struct result r;
	json_t *a;
	uint32_t from, add_sz;

	(void)state;
	assert_non_null(tx);
	assert_int_equal(block_parse(b.p, b.sz, &bv, tx), PARSE_OK);
	from = tx[bv.tx_cnt - 2].off;
	add_sz = (uint32_t)b.sz - from;
	b.p = realloc(b.p, b.sz + add_sz);
	assert_non_null(b.p);
	b.p[b.sz - 1] ^= 1; /* locktime of the last transaction */
	r = run("--json", put_file("changed.raw", b.p, b.sz), NULL);
	assert_int_equal(r.status, 0);
	a = array_of(&r);
	assert_false(vec_bool(json_array_get(a, 0), "merkle_root_verifies"));
	assert_false(vec_bool(json_array_get(a, 0), "merkle_mutated"));
	assert_true(vec_bool(json_array_get(a, 0), "pow_valid"));
	json_decref(a);
	done(&r);
	b.p[b.sz - 1] ^= 1;

	memcpy(b.p + b.sz, b.p + from, add_sz);
	b.p[HEADER_SZ] += 2;
	r = run("--json", put_file("mutated.raw", b.p, b.sz + add_sz), NULL);
	assert_int_equal(r.status, 0);
	a = array_of(&r);
	assert_true(vec_bool(json_array_get(a, 0), "merkle_root_verifies"));
	assert_true(vec_bool(json_array_get(a, 0), "merkle_mutated"));
	json_decref(a);
	done(&r);

	b.p[HEADER_SZ] -= 2;
	b.p[76] ^= 1; /* nonce */
	r = run("--json", put_file("no_work.raw", b.p, b.sz), NULL);
	assert_int_equal(r.status, 0);
	a = array_of(&r);
	assert_false(vec_bool(json_array_get(a, 0), "pow_valid"));
	json_decref(a);
	done(&r);
	free(b.p);
	free(tx);
}

static void text_says_what_json_says(void **state)
{
	struct bytes b = vector_block(0);
	struct result r = run(put_file("good.raw", b.p, b.sz), NULL);

	(void)state;
	assert_int_equal(r.status, 0);
	for (size_t k = 0; k < KEY_CNT; k++)
		assert_non_null(strstr(r.out, keys[k]));
	assert_non_null(strstr(r.out, "000000000000000000c238240ef6dcb26c37e75e16514e6ffc0aef7eee73e747"));
	done(&r);
	free(b.p);
}

static void wrong_usage_is_said_and_ends_with_two(void **state)
{
	struct result r = run(NULL);

	(void)state;
	assert_int_equal(r.status, 2);
	assert_non_null(strstr(r.err, "usage:"));
	done(&r);
	r = run("--nonsense", "x", NULL);
	assert_int_equal(r.status, 2);
	done(&r);
	r = run("--network", "moon", "x", NULL);
	assert_int_equal(r.status, 2);
	assert_non_null(strstr(r.err, "'moon'"));
	done(&r);
	r = run("--help", NULL);
	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "--network"));
	done(&r);
}

static void a_height_counts_only_where_bip34_vouches_for_it(void **state)
{
	static const struct {
		const char *net;
		int32_t version;
		uint32_t time;
		int64_t height;
		bool in_force;
	} cases[] = {
		{NULL, 1, 1231469665, 486604799, false},          /* block 1 of main */
		{NULL, 0x20000000, 1231469665, 486604799, false}, /* even with a later version */
		{"main", 1, 1231469665, 486604799, false},
		{"main", 2, 1400000000, 300025, true},
		{NULL, 2, 1400000000, 300025, true},
		{"main", 2, 1364140204, 227931, true}, /* activation */
		{"main", 2, 1364140204, 227930, false},
		{NULL, 2, 1364140204, 227930, false},
		{"main", 1, 1400000000, 300025, false},
		{"main", -1, 1400000000, 300025, false},
		{"main", 2, 1335000000, 490897, false}, /* a claim from before activation */
		{"testnet3", 2, 1400000000, 21111, true},
		{"testnet3", 2, 1400000000, 21110, false},
		{NULL, 0x20000000, 1474309984, 928848, true}, /* testnet3 runs ahead of main's pace */
		{"main", 0x20000000, 1474309984, 928848, false},
		{"regtest", 4, 1296688603, 1, true},
		{"regtest", 4, 1296688603, 17, true},
		{"regtest", 4, 1296688603, 18, false}, /* 6 a second, and 11 */
		{"signet", 0x20000000, 1700000000, 170000, true},
		{"main", 2, 1000000000, 300025, false}, /* older than the chain */
		{NULL, 2, 1400000000, -1, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct network *n = cases[i].net != NULL ? network_by_name(cases[i].net) : NULL;
		struct header_fields h = {.version = cases[i].version, .time = cases[i].time};

		if (network_bip34_in_force(n, &h, cases[i].height) != cases[i].in_force)
			fail_msg("case %zu", i);
	}
}

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/vigil-inspect-XXXXXX");
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = {"blk00000.dat", "xor.dat",     "good.raw",    "cut.raw",
					    "junk.raw",     "changed.raw", "mutated.raw", "no_work.raw"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[PATH_SZ];

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_shared_block_equals_its_expected_values),
		cmocka_unit_test(framed_files_report_every_block_and_the_network_decides),
		cmocka_unit_test(bad_files_are_named_and_the_others_still_reported),
		cmocka_unit_test(mutated_blocks_are_reported_as_such),
		cmocka_unit_test(text_says_what_json_says),
		cmocka_unit_test(wrong_usage_is_said_and_ends_with_two),
		cmocka_unit_test(a_height_counts_only_where_bip34_vouches_for_it),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
