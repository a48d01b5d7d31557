/* Every kernel this CPU can run, against a reference that gathers the preimage and hashes it in one go; and
   broken kernels against the self-test. */
#include "vec.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "btc/network.h"
#include "btc/sha256.h"
#include "txid/txid_priv.h"

static struct tx_view views[BLOCK_TX_MAX];
static struct hash256 txids[BLOCK_TX_MAX + 1];

/* The kernels that can run here; says which, and which not. */
static size_t usable(const struct txid_kernel *out[8])
{
	size_t all_cnt, cnt = 0;
	const struct txid_kernel *const *all = txid_kernels(&all_cnt);

	assert_true(all_cnt <= 8);
	for (size_t i = 0; i < all_cnt; i++) {
		bool can = (all[i]->need & ~cpu_features()) == 0;

		print_message("kernel %s: %s\n", all[i]->name, can ? "tested" : "SKIPPED, not on this CPU");
		if (can)
			out[cnt++] = all[i];
	}
	assert_true(cnt >= 1);
	return cnt;
}

/* Slow and obvious: the three ranges that txid_preimage_ranges of the vectors names. */
static struct hash256 reference_txid(const uint8_t *p, const struct tx_view *t)
{
	uint8_t *msg = malloc(t->sz);
	size_t body_sz = t->sz - 4 - t->wit_sz - (t->segwit ? 6 : 4), sz = 0;
	struct hash256 h;

	assert_non_null(msg);
	memcpy(msg, p + t->off, 4);
	sz += 4;
	memcpy(msg + sz, p + t->off + (t->segwit ? 6 : 4), body_sz);
	sz += body_sz;
	memcpy(msg + sz, p + t->off + t->sz - 4, 4);
	sz += 4;
	h = sha256d(msg, sz);
	free(msg);
	return h;
}

static void random_bytes(uint8_t *p, size_t sz, uint32_t *x)
{
	for (size_t i = 0; i < sz; i++)
		p[i] = (uint8_t)vec_random(x);
}

static struct tx_view view(uint32_t off, uint32_t strip_sz, uint32_t wit_sz, bool segwit)
{
	return (struct tx_view){.off = off,
				.sz = strip_sz + (segwit ? 2 + wit_sz : 0),
				.wit_sz = segwit ? wit_sz : 0,
				.in_cnt = 1,
				.out_cnt = 1,
				.segwit = segwit};
}

static void every_length_at_every_alignment_is_right(void **state)
{
	enum { LONGEST = 64 * 6 };
	const struct txid_kernel *k[8];
	size_t cnt = usable(k);
	uint8_t buf[64 + LONGEST + 2 + 9];
	uint32_t x = 3;

	(void)state;
	random_bytes(buf, sizeof(buf), &x);
	for (uint32_t sz = 10; sz <= LONGEST; sz++) {
		for (uint32_t off = 0; off < 64; off++) {
			struct tx_view t[2] = {view(off, sz, 0, false),
					       view(off, sz, 1 + (sz + off) % 9, true)};
			struct hash256 want[2] = {reference_txid(buf, &t[0]), reference_txid(buf, &t[1])};

			for (size_t i = 0; i < cnt; i++) {
				struct hash256 got[2];

				k[i]->hash(buf, t, got, 2);
				assert_memory_equal(got, want, sizeof(got));
			}
		}
	}
}

/* As many as fill the lanes of the widest kernel several times, at every alignment. */
static void every_length_in_full_lanes_is_right(void **state)
{
	enum { LONGEST = 64 * 7, CNT = 128 };
	const struct txid_kernel *k[8];
	size_t cnt = usable(k);
	static uint8_t buf[CNT + LONGEST + 2 + 9];
	static struct tx_view t[CNT];
	static struct hash256 want[CNT], got[CNT];
	uint32_t x = 5;

	(void)state;
	random_bytes(buf, sizeof(buf), &x);
	for (uint32_t sz = 10; sz <= LONGEST; sz++) {
		for (uint32_t i = 0; i < CNT; i++) {
			t[i] = view(i, sz, 1 + (sz + i) % 9, i / 2 % 2 != 0);
			want[i] = reference_txid(buf, &t[i]);
		}
		for (size_t i = 0; i < cnt; i++) {
			memset(got, 0, sizeof(got));
			k[i]->hash(buf, t, got, CNT);
			assert_memory_equal(got, want, sizeof(got));
		}
	}
}

/* Batches whose lanes run empty at different times, with lengths as skewed as in real blocks. */
static void random_batches_are_right_and_nothing_outside_is_touched(void **state)
{
	enum { BUF_SZ = 1 << 20, ROUNDS = 60, TX_MAX = 120 };
	const struct txid_kernel *k[8];
	size_t kernel_cnt = usable(k);
	uint8_t *buf = malloc(BUF_SZ);
	uint32_t x = 11;

	(void)state;
	assert_non_null(buf);
	random_bytes(buf, BUF_SZ, &x);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct tx_view t[TX_MAX];
		struct hash256 want[TX_MAX], got[TX_MAX + 1], mark;
		size_t cnt = vec_random(&x) % (TX_MAX + 1);

		memset(mark.b, 0xa5, sizeof(mark.b));
		for (size_t i = 0; i < cnt; i++) {
			uint32_t sz = 60 + vec_random(&x) % (vec_random(&x) % 16 == 0 ? 30000 : 400);

			t[i] = view(vec_random(&x) % (BUF_SZ / 2), sz, vec_random(&x) % 300,
				    vec_random(&x) % 2 != 0);
			want[i] = reference_txid(buf, &t[i]);
		}
		for (size_t i = 0; i < kernel_cnt; i++) {
			got[cnt] = mark;
			k[i]->hash(buf, t, got, cnt);
			assert_memory_equal(got, want, cnt * HASH_SZ);
			assert_memory_equal(&got[cnt], &mark, HASH_SZ);
		}
	}
	free(buf);
}

/* One long transaction, in every place, among small ones of one size or of many: few, so that it is left alone, and
   many. */
static void a_long_transaction_among_small_ones_is_right(void **state)
{
	enum { BUF_SZ = 1 << 20, LONG_SZ = 900000, CNT_MAX = 2000 };
	const struct txid_kernel *k[8];
	size_t kernel_cnt = usable(k);
	uint8_t *buf = malloc(BUF_SZ);
	struct tx_view *t = calloc(CNT_MAX, sizeof(*t));
	struct hash256 *want = calloc(CNT_MAX, HASH_SZ), *got = calloc(CNT_MAX, HASH_SZ);
	const size_t cnts[] = {1, 2, 5, 40, CNT_MAX};
	uint32_t x = 13;

	(void)state;
	assert_true(buf != NULL && t != NULL && want != NULL && got != NULL);
	random_bytes(buf, BUF_SZ, &x);
	for (unsigned round = 0; round < 10; round++) {
		size_t cnt = cnts[round / 2];

		for (size_t i = 0; i < cnt; i++)
			t[i] = view(vec_random(&x) % (BUF_SZ / 2),
				    round % 2 == 0 ? 226 : 60 + vec_random(&x) % 3000, 108,
				    vec_random(&x) % 2 != 0);
		t[vec_random(&x) % cnt] = view(1, LONG_SZ, 300, round % 2 != 0);
		for (size_t i = 0; i < cnt; i++)
			want[i] = reference_txid(buf, &t[i]);
		for (size_t i = 0; i < kernel_cnt; i++) {
			memset(got, 0, cnt * HASH_SZ);
			k[i]->hash(buf, t, got, cnt);
			assert_memory_equal(got, want, cnt * HASH_SZ);
		}
	}
	free(buf);
	free(t);
	free(want);
	free(got);
}

/* Only the transaction itself may be read, and nothing may be written there: the page is read-only, and there is
   none before and after it. */
static void a_transaction_alone_in_memory_is_not_overrun(void **state)
{
	enum { CNT = 35 };
	const struct txid_kernel *k[8];
	size_t cnt = usable(k), page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t x = 17;

	(void)state;
	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map + page, page, PROT_READ | PROT_WRITE), 0);
	random_bytes(map + page, page, &x);
	assert_int_equal(mprotect(map + page, page, PROT_READ), 0);
	for (uint32_t sz = 60; sz < 600; sz++) {
		for (unsigned how = 0; how < 4; how++) {
			struct tx_view t[CNT];
			struct hash256 want, got[CNT];

			t[0] = view(0, sz, 3, how % 2 != 0);
			t[0].off = (uint32_t)(how < 2 ? page : 2 * page - t[0].sz);
			want = reference_txid(map, &t[0]);
			for (unsigned i = 1; i < CNT; i++)
				t[i] = t[0];
			for (size_t i = 0; i < cnt; i++) {
				k[i]->hash(map, t, got, 1);
				assert_true(hash256_eq(&got[0], &want));
				k[i]->hash(map, t, got, CNT);
				for (unsigned j = 0; j < CNT; j++)
					assert_true(hash256_eq(&got[j], &want));
			}
		}
	}
	munmap(map, 3 * page);
}

static void transaction_vectors_have_their_txids(void **state)
{
	const struct txid_kernel *k[8];
	size_t cnt = usable(k), i;
	json_t *all = vec_load("transactions.json"), *v;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct bytes b, want;
		struct tx_view t;
		size_t used;

		if (vec_bool(v, "must_reject") || !vec_bool(v, "allow_witness"))
			continue;
		b = vec_hex(v, "hex");
		want = vec_hex(v, "txid");
		assert_int_equal(tx_parse(b.p, b.sz, true, &t, &used), PARSE_OK);
		for (size_t j = 0; j < cnt; j++) {
			struct hash256 got;

			k[j]->hash(b.p, &t, &got, 1);
			assert_memory_equal(got.b, want.p, HASH_SZ);
		}
		free(b.p);
		free(want.p);
	}
	json_decref(all);
}

static void block_vectors_have_their_txids_and_root(void **state)
{
	const struct txid_kernel *k[8];
	size_t cnt = usable(k), i, t;
	json_t *root = vec_load("blocks.json"), *v, *id;

	(void)state;
	json_array_foreach(json_object_get(root, "blocks"), i, v)
	{
		struct bytes b = vec_hex(v, "hex");
		struct block_view bv;

		assert_int_equal(block_parse(b.p, b.sz, &bv, views), PARSE_OK);
		for (size_t j = 0; j < cnt; j++) {
			struct hash256 got;
			bool mutated;

			k[j]->hash(b.p, views, txids, bv.tx_cnt);
			json_array_foreach(json_object_get(v, "txids_display"), t, id)
			{
				struct hash256 want;

				assert_true(hash256_from_display(&want, json_string_value(id)));
				assert_true(hash256_eq(&want, &txids[t]));
			}
			got = merkle_root(k[j], txids, bv.tx_cnt, txids, &mutated);
			assert_memory_equal(got.b, b.p + 36, HASH_SZ);
			assert_false(mutated);
		}
		free(b.p);
	}
	json_decref(root);
}

static void merkle_vectors_match_in_place_and_beside(void **state)
{
	const struct txid_kernel *k[8];
	size_t cnt = usable(k), i, n;
	json_t *all = vec_load("merkle.json"), *v, *leaf;

	(void)state;
	json_array_foreach(all, i, v)
	{
		struct hash256 leaves[20], scratch[21], got;
		struct bytes want = vec_hex(v, "root");
		json_t *list = json_object_get(v, "leaves");
		size_t leaf_cnt = json_array_size(list);
		bool mutated;

		assert_true(leaf_cnt >= 1 && leaf_cnt < 20);
		for (size_t j = 0; j < cnt; j++) {
			json_array_foreach(list, n, leaf) assert_true(hex_decode(
				leaves[n].b, HASH_SZ, json_string_value(leaf), json_string_length(leaf)));
			got = merkle_root(k[j], leaves, leaf_cnt, scratch, &mutated);
			assert_memory_equal(got.b, want.p, HASH_SZ);
			assert_int_equal(mutated, vec_bool(v, "mutated"));
			got = merkle_root(k[j], leaves, leaf_cnt, leaves, &mutated);
			assert_memory_equal(got.b, want.p, HASH_SZ);
			assert_int_equal(mutated, vec_bool(v, "mutated"));
		}
		free(want.p);
	}
	assert_true(i >= 17);
	json_decref(all);
}

/* One level at a time with lists that grow, as the definition says it. */
static struct hash256 reference_root(const struct hash256 *leaf, size_t cnt, bool *mutated)
{
	struct hash256 level[150], root;

	*mutated = false;
	memcpy(level, leaf, cnt * HASH_SZ);
	while (cnt > 1) {
		for (size_t i = 0; i + 1 < cnt; i += 2)
			*mutated |= hash256_eq(&level[i], &level[i + 1]);
		if (cnt % 2 != 0) {
			level[cnt] = level[cnt - 1];
			cnt++;
		}
		for (size_t i = 0; i < cnt / 2; i++)
			level[i] = sha256d(&level[2 * i], 2 * HASH_SZ);
		cnt /= 2;
	}
	root = level[0];
	return root;
}

static void every_leaf_count_has_the_root_of_the_definition(void **state)
{
	const struct txid_kernel *k[8];
	size_t kernel_cnt = usable(k);
	struct hash256 leaf[141], scratch[141];
	uint32_t x = 23;

	(void)state;
	random_bytes((uint8_t *)leaf, sizeof(leaf), &x);
	for (size_t cnt = 1; cnt <= 140; cnt++) {
		/* Now and then with a repeated tail, or two equal leaves somewhere. */
		size_t at = vec_random(&x) % cnt, from = vec_random(&x) % cnt;
		struct hash256 kept = leaf[at], want, got;
		bool want_mutated, mutated;

		if (cnt % 3 == 0)
			leaf[at] = leaf[from];
		want = reference_root(leaf, cnt, &want_mutated);
		for (size_t i = 0; i < kernel_cnt; i++) {
			got = merkle_root(k[i], leaf, cnt, scratch, &mutated);
			assert_true(hash256_eq(&got, &want));
			assert_int_equal(mutated, want_mutated);
		}
		leaf[at] = kept;
	}
}

static void a_repeated_tail_keeps_the_root_and_is_flagged(void **state)
{
	json_t *root = vec_load("blocks.json");
	json_t *edit = json_array_get(json_object_get(root, "block_edits"), 0);
	struct bytes b = vec_hex(json_array_get(json_object_get(root, "blocks"), 1), "hex");
	const struct txid_kernel *k = txid_select(cpu_features(), NULL, &(const char *){NULL});
	uint32_t cnt = (uint32_t)vec_int(edit, "base_tx_count"), from, add_sz;
	struct block_view bv;
	struct hash256 got;
	bool mutated;

	(void)state;
	assert_non_null(k);
	assert_int_equal(block_parse(b.p, b.sz, &bv, views), PARSE_OK);
	assert_int_equal(bv.tx_cnt, cnt);
	/* Copies of the last two transactions, appended: 10 become 12. */
	from = views[cnt - 2].off;
	add_sz = (uint32_t)b.sz - from;
	b.p = realloc(b.p, b.sz + add_sz);
	assert_non_null(b.p);
	memcpy(b.p + b.sz, b.p + from, add_sz);
	b.p[HEADER_SZ] = (uint8_t)(cnt + 2);
	assert_int_equal(block_parse(b.p, b.sz + add_sz, &bv, views), PARSE_OK);
	k->hash(b.p, views, txids, bv.tx_cnt);
	got = merkle_root(k, txids, bv.tx_cnt, txids, &mutated);
	assert_memory_equal(got.b, b.p + 36, HASH_SZ);
	assert_true(mutated);
	assert_true(vec_bool(edit, "mutated"));
	free(b.p);
	json_decref(root);
}

static void shared_blocks_have_their_published_txids(void **state)
{
	const struct txid_kernel *k[8];
	size_t cnt = usable(k), i;
	json_t *root = vec_shared_expected(), *v;

	(void)state;
	if (root == NULL)
		skip();
	json_array_foreach(json_object_get(root, "blocks"), i, v)
	{
		struct bytes b = vec_shared_block(vec_str(v, "file"));
		struct bytes digest = vec_hex(v, "sha256_of_txids");
		struct hash256 want = vec_display(v, "merkle_root"), got;
		struct block_view bv;
		bool mutated;

		assert_int_equal(block_parse(b.p, b.sz, &bv, views), PARSE_OK);
		for (size_t j = 0; j < cnt; j++) {
			k[j]->hash(b.p, views, txids, bv.tx_cnt);
			got = sha256(txids, bv.tx_cnt * HASH_SZ);
			assert_memory_equal(got.b, digest.p, HASH_SZ);
			got = merkle_root(k[j], txids, bv.tx_cnt, txids, &mutated);
			assert_true(hash256_eq(&got, &want));
			assert_false(mutated);
		}
		free(b.p);
		free(digest.p);
	}
	json_decref(root);
}

/* Broken kernels: each is the portable one with a mistake that a kernel could well have. */

static const struct txid_kernel *portable(void)
{
	size_t cnt;

	return txid_kernels(&cnt)[0];
}

static void broken_last(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	portable()->hash(p, tx, txid, cnt);
	if (cnt > 1 && cnt % 2 != 0)
		txid[cnt - 1].b[31] ^= 1; /* a lane that is left over */
}

static void broken_two_block_tail(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	portable()->hash(p, tx, txid, cnt);
	for (size_t i = 0; i < cnt; i++)
		if (tx_view_stripped_sz(&tx[i]) % 64 == 56) /* the padding that just does not fit */
			txid[i].b[0] ^= 0x80;
}

static void broken_segwit(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++) {
		struct tx_view t = tx[i];

		if (t.segwit && tx_view_stripped_sz(&t) >= 192) {
			t.segwit = false; /* hashes the witness, too */
			t.wit_sz = 0;
		}
		portable()->hash(p, &t, &txid[i], 1);
	}
}

static void broken_alignment(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++) {
		struct tx_view t = tx[i];

		if (t.off % 16 == 15)
			t.off--;
		portable()->hash(p, &t, &txid[i], 1);
	}
}

static void broken_order(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	portable()->hash(p, tx, txid, cnt);
	if (cnt > 3) {
		struct hash256 t = txid[2];

		txid[2] = txid[3];
		txid[3] = t;
	}
}

static void broken_one_only(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	if (cnt > 0)
		portable()->hash(p, tx, txid, cnt - 1);
}

/* A wide kernel whose last lane keeps what it had the time before. */
static void broken_last_lane(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	portable()->hash(p, tx, txid, cnt);
	for (size_t i = 31; i < cnt; i += 16)
		txid[i] = txid[i - 16];
}

static void broken_lane_refill(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	portable()->hash(p, tx, txid, cnt);
	/* A body of a few blocks that follows a shorter one into its lane, a block too early. */
	for (size_t i = 4; i < cnt; i++)
		if (tx_view_stripped_sz(&tx[i]) >= 5 * 64 && tx_view_stripped_sz(&tx[i - 4]) < 128)
			txid[i].b[7] ^= 0x10;
}

static void broken_straggler(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	portable()->hash(p, tx, txid, cnt);
	for (size_t i = 0; i < cnt; i++)
		if (cnt > 1 && tx_view_stripped_sz(&tx[i]) > 512 * 64)
			txid[i].b[16] ^= 1; /* handed over to fewer lanes in the wrong order of words */
}

static void broken_copy_limit(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	portable()->hash(p, tx, txid, cnt);
	for (size_t i = 0; i < cnt; i++)
		if (tx_view_stripped_sz(&tx[i]) == 4 * 64 - 9) /* the most that is copied */
			txid[i].b[0] ^= 1;
}

static void broken_few(const uint8_t *p, const struct tx_view *tx, struct hash256 *txid, size_t cnt)
{
	portable()->hash(p, tx, txid, cnt);
	if (cnt == 13) /* too many for what is narrower, too few for all lanes */
		txid[12] = txid[0];
}

static void broken_wide_pairs(struct hash256 *out, const struct hash256 *in, size_t cnt)
{
	portable()->pairs(out, in, cnt);
	if (cnt >= 16)
		out[15] = out[14];
}

static void broken_pair_tail(struct hash256 *out, const struct hash256 *in, size_t cnt)
{
	portable()->pairs(out, in, cnt);
	if (cnt % 4 == 3)
		out[cnt - 1].b[5] ^= 4;
}

static void broken_pairs_in_place(struct hash256 *out, const struct hash256 *in, size_t cnt)
{
	/* Backwards, so that in place it reads what it wrote. */
	for (size_t i = cnt; i-- > 0;)
		portable()->pairs(&out[i], &in[2 * i], 1);
}

static void broken_pairs_single_hash(struct hash256 *out, const struct hash256 *in, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++)
		out[i] = sha256(&in[2 * i], 2 * HASH_SZ);
}

static void the_selftest_catches_broken_kernels(void **state)
{
	const struct txid_kernel ok = *portable();
	const struct txid_kernel broken[] = {
		{"last", 0, broken_last, ok.pairs},
		{"two block tail", 0, broken_two_block_tail, ok.pairs},
		{"segwit", 0, broken_segwit, ok.pairs},
		{"alignment", 0, broken_alignment, ok.pairs},
		{"order", 0, broken_order, ok.pairs},
		{"one only", 0, broken_one_only, ok.pairs},
		{"last lane", 0, broken_last_lane, ok.pairs},
		{"lane refill", 0, broken_lane_refill, ok.pairs},
		{"straggler", 0, broken_straggler, ok.pairs},
		{"copy limit", 0, broken_copy_limit, ok.pairs},
		{"few", 0, broken_few, ok.pairs},
		{"wide pairs", 0, ok.hash, broken_wide_pairs},
		{"pair tail", 0, ok.hash, broken_pair_tail},
		{"pairs in place", 0, ok.hash, broken_pairs_in_place},
		{"pairs hashed once", 0, ok.hash, broken_pairs_single_hash},
	};
	const struct txid_kernel *k[8];
	size_t cnt = usable(k);

	(void)state;
	for (size_t i = 0; i < cnt; i++)
		assert_true(txid_selftest(k[i]));
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		if (txid_selftest(&broken[i]))
			fail_msg("the self-test let '%s' pass", broken[i].name);
	}
}

static void selection_follows_features_and_names(void **state)
{
	const char *why = NULL;
	size_t cnt;
	const struct txid_kernel *const *all = txid_kernels(&cnt);
	const struct txid_kernel *k = txid_select(0, NULL, &why);

	(void)state;
	assert_ptr_equal(k, all[0]);
	assert_string_equal(k->name, "portable");
	assert_null(txid_select(~0u, "no such kernel", &why));
	assert_non_null(why);
	for (size_t i = 1; i < cnt; i++) {
		why = NULL;
		assert_null(txid_select(0, all[i]->name, &why));
		assert_non_null(why);
		if ((all[i]->need & ~cpu_features()) == 0)
			assert_ptr_equal(txid_select(cpu_features(), all[i]->name, &why), all[i]);
	}
}

/* Under every subset of what the CPU has, as --cpu-mask makes it. */
static void no_selection_needs_a_feature_that_is_masked(void **state)
{
	(void)state;
	for (unsigned mask = 0; mask < 16; mask++) {
		const char *why = "";
		unsigned features = cpu_features() & mask;
		const struct txid_kernel *k = txid_select(features, NULL, &why);

		assert_non_null(k);
		assert_int_equal(k->need & ~features, 0);
		print_message("features %2u: %s\n", features, k->name);
	}
}

static void the_race_prefers_later_kernels_that_are_nearly_as_fast(void **state)
{
	const uint64_t clear[] = {900, 300, 100, 250}, equal[] = {900, 100, 103, 101};
	const uint64_t one[] = {5}, drift[] = {100, 105, 110}, early[] = {100, 900, 900};

	(void)state;
	assert_int_equal(txid_fastest(clear, 4), 2);
	assert_int_equal(txid_fastest(equal, 4), 3);
	assert_int_equal(txid_fastest(one, 1), 0);
	assert_int_equal(txid_fastest(drift, 3), 1);
	assert_int_equal(txid_fastest(early, 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_at_every_alignment_is_right),
		cmocka_unit_test(every_length_in_full_lanes_is_right),
		cmocka_unit_test(random_batches_are_right_and_nothing_outside_is_touched),
		cmocka_unit_test(a_long_transaction_among_small_ones_is_right),
		cmocka_unit_test(a_transaction_alone_in_memory_is_not_overrun),
		cmocka_unit_test(transaction_vectors_have_their_txids),
		cmocka_unit_test(block_vectors_have_their_txids_and_root),
		cmocka_unit_test(merkle_vectors_match_in_place_and_beside),
		cmocka_unit_test(every_leaf_count_has_the_root_of_the_definition),
		cmocka_unit_test(a_repeated_tail_keeps_the_root_and_is_flagged),
		cmocka_unit_test(shared_blocks_have_their_published_txids),
		cmocka_unit_test(the_selftest_catches_broken_kernels),
		cmocka_unit_test(selection_follows_features_and_names),
		cmocka_unit_test(no_selection_needs_a_feature_that_is_masked),
		cmocka_unit_test(the_race_prefers_later_kernels_that_are_nearly_as_fast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
