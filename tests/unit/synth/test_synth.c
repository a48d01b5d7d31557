/* A generated chain is what it claims to be, checked by an obvious reader: a merkle tree by the book, a map of
   headers, and the JSON against the blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "btc/block.h"
#include "btc/network.h"
#include "btc/sha256.h"
#include "synth/breach.h"
#include "synth/plan.h"
#include "synth/synth.h"

#define BLOCKS_ROOM 400u

struct seen {
	struct hash256 hash, prev;
	uint32_t height, time, off, sz;
};

struct file {
	uint8_t *data;
	size_t sz;
	struct seen block[BLOCKS_ROOM];
	uint32_t cnt;
};

static struct tx_view views[BLOCK_TX_MAX];
static struct hash256 ids[BLOCK_TX_MAX + 1];

static void slurp(const char *dir, const char *name, uint8_t **data, size_t *sz)
{
	char path[512];
	struct stat st;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	*sz = (size_t)st.st_size;
	*data = malloc(*sz + 1);
	assert_non_null(*data);
	assert_int_equal(fread(*data, 1, *sz, f), *sz);
	(*data)[*sz] = '\0';
	fclose(f);
}

static void remove_dir(const char *dir)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/chain.dat", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/breaches.json", dir);
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
}

static void generate(char dir[32], const struct synth_config *model, struct synth_summary *sum)
{
	struct synth_config cfg = *model;
	char why[256] = "";

	strcpy(dir, "/tmp/vigil-synth-XXXXXX");
	assert_non_null(mkdtemp(dir));
	cfg.dir = dir;
	if (synth_run(&cfg, sum, why, sizeof(why)))
		fail_msg("%s", why);
}

static uint32_t le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static const struct seen *find(const struct file *f, const struct hash256 *hash)
{
	for (uint32_t i = 0; i < f->cnt; i++) {
		if (hash256_eq(&f->block[i].hash, hash))
			return &f->block[i];
	}
	return NULL;
}

static struct hash256 txid_of(const uint8_t *block, const struct tx_view *t)
{
	const uint8_t *p = block + t->off;
	struct sha256_ctx c;
	struct hash256 h;

	if (!t->segwit)
		return sha256d(p, t->sz);
	sha256_start(&c);
	sha256_feed(&c, p, 4);
	sha256_feed(&c, p + 6, t->sz - 10 - t->wit_sz);
	sha256_feed(&c, p + t->sz - 4, 4);
	h = sha256_finish(&c);
	return sha256(h.b, sizeof(h.b));
}

/* Over ids[0..cnt), which it destroys. */
static struct hash256 merkle_by_the_book(uint32_t cnt)
{
	for (; cnt > 1; cnt = (cnt + 1) / 2) {
		if (cnt % 2)
			ids[cnt] = ids[cnt - 1];
		for (uint32_t i = 0; i < (cnt + 1) / 2; i++)
			ids[i] = sha256d(&ids[2 * i], 64);
	}
	return ids[0];
}

static struct block_view check_block(const uint8_t *p, uint32_t sz)
{
	struct header_fields h;
	struct block_view bv;
	struct hash256 root, reserved = {{0}}, both[2];
	uint32_t commitment = 0;
	const struct tx_view *cb = &views[0];

	assert_int_equal(block_parse(p, sz, &bv, views), PARSE_OK);
	header_decode(&h, p);
	for (uint32_t i = 0; i < bv.tx_cnt; i++)
		ids[i] = txid_of(p, &views[i]);
	root = merkle_by_the_book(bv.tx_cnt);
	assert_memory_equal(root.b, h.merkle.b, HASH_SZ);
	if (bv.segwit_tx_cnt == 0)
		return bv;
	for (uint32_t i = 0; i + 38 <= cb->sz; i++) {
		if (memcmp(p + cb->off + i, "\x6a\x24\xaa\x21\xa9\xed", 6) == 0)
			commitment = cb->off + i + 6;
	}
	assert_int_not_equal(commitment, 0);
	memset(&ids[0], 0, sizeof(ids[0]));
	for (uint32_t i = 1; i < bv.tx_cnt; i++)
		ids[i] = sha256d(p + views[i].off, views[i].sz);
	both[0] = merkle_by_the_book(bv.tx_cnt);
	both[1] = reserved;
	root = sha256d(both, sizeof(both));
	assert_memory_equal(p + commitment, root.b, HASH_SZ);
	return bv;
}

static int u32_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The header's time is above the median of the eleven before it. */
static void check_median_time(const struct file *f, const struct seen *b)
{
	uint32_t times[11], n = 0;
	const struct seen *a = find(f, &b->prev);

	for (; a && n < 11; a = find(f, &a->prev))
		times[n++] = a->time;
	if (n == 0)
		return;
	qsort(times, n, sizeof(times[0]), u32_cmp);
	assert_true(b->time > times[n / 2]);
}

/* Reads the file as a node learns it: each block's parent came before it. */
static void read_chain(struct file *f, const char *dir)
{
	const struct network *net = network_get(NET_REGTEST);
	size_t at = 0;

	memset(f, 0, sizeof(*f));
	slurp(dir, "chain.dat", &f->data, &f->sz);
	while (at < f->sz) {
		struct seen *b = &f->block[f->cnt];
		struct header_fields h;
		const struct seen *parent;

		assert_true(f->cnt < BLOCKS_ROOM && f->sz - at >= 8);
		assert_memory_equal(f->data + at, net->magic, 4);
		b->sz = le32(f->data + at + 4);
		b->off = (uint32_t)at + 8;
		assert_true(b->sz <= f->sz - b->off);
		header_decode(&h, f->data + b->off);
		b->hash = header_hash(f->data + b->off);
		b->prev = h.prev;
		b->time = h.time;
		assert_true(pow_valid(net, &b->hash, h.bits));
		parent = find(f, &h.prev);
		assert_true(parent || hash256_eq(&h.prev, &net->genesis_hash));
		b->height = parent ? parent->height + 1 : 1;
		check_block(f->data + b->off, b->sz);
		assert_int_equal(block_bip34_height(f->data + b->off, &views[0]), b->height);
		check_median_time(f, b);
		f->cnt++;
		at = b->off + b->sz;
	}
}

static const struct synth_reorg reorgs[] = {{30, 1, 1}, {60, 5, 2}};
static const uint32_t heights[] = {7, 7, 300};

static const struct synth_config model = {
	.seed = 42,
	.blocks = 300,
	.txs_per_block = 30,
	.segwit_ppm = 700000,
	.breaches = 40,
	.breach_from = 20,
	.stale_breaches = 4,
	.both_breaches = 3,
	.confirm_after = 6,
	.breach_heights = heights,
	.breach_height_cnt = 3,
	.reorgs = reorgs,
	.reorg_cnt = 2,
};

static void same_seed_and_options_give_the_same_bytes(void **state)
{
	struct synth_summary sum;
	struct synth_config other = model;
	char dir[3][32];
	uint8_t *data[3], *json[3];
	size_t sz[3], json_sz[3];

	(void)state;
	other.seed++;
	for (unsigned i = 0; i < 3; i++) {
		generate(dir[i], i < 2 ? &model : &other, &sum);
		slurp(dir[i], "chain.dat", &data[i], &sz[i]);
		slurp(dir[i], "breaches.json", &json[i], &json_sz[i]);
		remove_dir(dir[i]);
	}
	assert_int_equal(sz[0], sz[1]);
	assert_memory_equal(data[0], data[1], sz[0]);
	assert_int_equal(json_sz[0], json_sz[1]);
	assert_memory_equal(json[0], json[1], json_sz[0]);
	assert_true(sz[0] != sz[2] || memcmp(data[0], data[2], sz[0]) != 0);
	for (unsigned i = 0; i < 3; i++) {
		free(data[i]);
		free(json[i]);
	}
}

static void every_block_is_valid_and_follows_its_parent(void **state)
{
	static struct file f;
	struct synth_summary sum;
	char dir[32];
	uint32_t at_height[301] = {0};

	(void)state;
	generate(dir, &model, &sum);
	read_chain(&f, dir);
	assert_int_equal(f.cnt, 300 + 1 + 5);
	assert_int_equal(sum.blocks, f.cnt);
	assert_int_equal(sum.stale_blocks, 6);
	assert_int_equal(sum.tip_height, 300);
	assert_true(hash256_eq(&f.block[f.cnt - 1].hash, &sum.tip_hash));
	for (uint32_t i = 0; i < f.cnt; i++)
		at_height[f.block[i].height]++;
	for (uint32_t h = 1; h <= 300; h++)
		assert_int_equal(at_height[h], h == 30 || (h >= 56 && h <= 60) ? 2 : 1);
	/* The node learns the loser first: the branch begins below a tip that stands at 60. */
	assert_int_equal(f.block[60].height, 60);
	assert_int_equal(f.block[61].height, 56);
	free(f.data);
	remove_dir(dir);
}

struct spend {
	const struct hash256 *txid;
	uint32_t cnt, outputs;
};

static bool count_spend(void *arg, const struct outpoint *prev, uint32_t sequence)
{
	struct spend *s = arg;

	(void)sequence;
	if (hash256_eq(&prev->txid, s->txid) && prev->vout < s->outputs)
		s->cnt++;
	return true;
}

static bool on_best_chain(const struct file *f, const struct hash256 *tip, const struct hash256 *hash)
{
	for (const struct seen *b = find(f, tip); b; b = find(f, &b->prev)) {
		if (hash256_eq(&b->hash, hash))
			return true;
	}
	return false;
}

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	assert_non_null(s);
	return s;
}

/* One entry of breaches.json against the blocks. */
static void check_breach(const struct file *f, const struct hash256 *tip, json_t *o)
{
	static uint8_t penalty[BREACH_TX_SZ_MAX], dispute[BREACH_TX_SZ_MAX];
	struct hash256 block, dispute_txid, penalty_txid, id;
	json_t *confirm = json_object_get(o, "confirm_height");
	uint32_t idx = (uint32_t)json_integer_value(json_object_get(o, "tx_idx"));
	const char *hex = text(o, "penalty_hex"), *dispute_hex = text(o, "dispute_hex");
	struct spend spend = {.txid = &dispute_txid};
	const struct seen *b;
	const uint8_t *tx;
	struct tx_view t;
	size_t used;
	char locator[33];
	struct locator l;

	assert_true(hash256_from_display(&block, text(o, "block_hash")));
	assert_true(hash256_from_display(&dispute_txid, text(o, "dispute_txid")));
	assert_true(hash256_from_display(&penalty_txid, text(o, "penalty_txid")));
	b = find(f, &block);
	assert_non_null(b);
	assert_int_equal(b->height, json_integer_value(json_object_get(o, "height")));
	assert_int_equal(on_best_chain(f, tip, &block), strcmp(text(o, "branch"), "best") == 0);
	check_block(f->data + b->off, b->sz);
	id = txid_of(f->data + b->off, &views[idx]);
	assert_true(hash256_eq(&id, &dispute_txid));
	tx = f->data + b->off + views[idx].off;
	assert_int_equal(strlen(dispute_hex), 2 * views[idx].sz);
	assert_true(hex_decode(dispute, views[idx].sz, dispute_hex, strlen(dispute_hex)));
	assert_memory_equal(dispute, tx, views[idx].sz);
	assert_int_equal(le32(tx), 2);
	assert_int_equal(tx[views[idx].sz - 1], 0x20);  /* top byte of the locktime */
	assert_int_equal(tx[6 + 1 + 36 + 1 + 3], 0x80); /* top byte of the sequence */
	spend.outputs = views[idx].out_cnt;

	assert_true(strlen(hex) / 2 <= 898);
	assert_true(hex_decode(penalty, strlen(hex) / 2, hex, strlen(hex)));
	assert_int_equal(tx_parse(penalty, strlen(hex) / 2, false, &t, &used), PARSE_OK);
	assert_int_equal(used, strlen(hex) / 2);
	id = txid_of(penalty, &t);
	assert_true(hash256_eq(&id, &penalty_txid));
	tx_each_input(penalty, &t, count_spend, &spend);
	assert_int_equal(spend.cnt, t.in_cnt);
	assert_true(t.in_cnt >= 1);

	l = locator_of_txid(&dispute_txid, LOCATOR_INTERNAL);
	hex_encode(locator, l.b, sizeof(l.b));
	assert_string_equal(locator, text(o, "locator_current"));
	assert_memory_equal(text(o, "locator_legacy"), text(o, "dispute_txid"), 32);
	if (json_is_null(confirm))
		return;
	for (uint32_t i = 0; i < f->cnt; i++) {
		struct block_view bv;
		uint32_t k = 0;

		if (f->block[i].height != json_integer_value(confirm) ||
		    !on_best_chain(f, tip, &f->block[i].hash))
			continue;
		bv = check_block(f->data + f->block[i].off, f->block[i].sz);
		for (; k < bv.tx_cnt; k++) {
			id = txid_of(f->data + f->block[i].off, &views[k]);
			if (hash256_eq(&id, &penalty_txid))
				break;
		}
		assert_true(k < bv.tx_cnt);
	}
}

static void planted_breaches_are_where_the_json_says(void **state)
{
	static struct file f;
	struct synth_summary sum;
	uint32_t best = 0, stale = 0, confirmed = 0, both = 0, at_7 = 0;
	char dir[32];
	uint8_t *json;
	size_t sz;
	json_t *list, *o, *other;
	size_t i, k;

	(void)state;
	generate(dir, &model, &sum);
	read_chain(&f, dir);
	slurp(dir, "breaches.json", &json, &sz);
	list = json_loadb((const char *)json, sz, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(list);
	json_array_foreach(list, i, o)
	{
		bool is_best = strcmp(text(o, "branch"), "best") == 0;

		check_breach(&f, &sum.tip_hash, o);
		best += is_best;
		stale += !is_best;
		confirmed += !json_is_null(json_object_get(o, "confirm_height"));
		at_7 += json_integer_value(json_object_get(o, "height")) == 7;
		json_array_foreach(list, k, other)
			both += k > i && strcmp(text(o, "dispute_txid"), text(other, "dispute_txid")) == 0;
	}
	assert_int_equal(best, 40 + 3 + 3);
	assert_int_equal(stale, 4 + 3);
	assert_int_equal(both, 3);
	assert_int_equal(at_7, 2);
	assert_int_equal(sum.breaches, best + stale);
	assert_true(confirmed >= best - 3 && confirmed < best); /* the one at the tip cannot be */
	json_decref(list);
	free(json);
	free(f.data);
	remove_dir(dir);
}

static void sizes_follow_the_mainnet_mix(void **state)
{
	struct synth_config cfg = {.seed = 7, .blocks = 20, .txs_per_block = 2000, .segwit_ppm = 800000};
	struct synth_summary s;
	char dir[32];

	(void)state;
	generate(dir, &cfg, &s);
	remove_dir(dir);
	assert_int_equal(s.txs, 20 * 2000);
	assert_in_range(s.segwit_txs * 1000 / s.txs, 780, 820);
	assert_in_range(s.tx_p50, 110, 226);
	assert_in_range(s.tx_p90, 300, 815);
	assert_in_range((uint64_t)s.tx_mean, 240, 650);
	assert_in_range(s.tx_max, 10000, 100000);
	assert_in_range(s.bytes / s.txs, 450, 800);
	assert_in_range(s.inputs * 10 / s.txs, 18, 32);
	assert_in_range(s.outputs * 10 / s.txs, 22, 40);

	cfg.segwit_ppm = 0;
	generate(dir, &cfg, &s);
	remove_dir(dir);
	assert_int_equal(s.segwit_txs, 0);
	assert_int_equal(s.bytes, s.stripped_bytes);
	assert_in_range(s.tx_p50, 220, 230);
}

static void a_full_block_keeps_its_transaction_count_and_the_weight_limit(void **state)
{
	static struct file f;
	struct synth_config cfg = {
		.seed = 9, .blocks = 3, .txs_per_block = SYNTH_TXS_MAX, .segwit_ppm = 500000, .breaches = 20};
	struct synth_summary s;
	char dir[32];

	(void)state;
	generate(dir, &cfg, &s);
	read_chain(&f, dir); /* the parser enforces the weight */
	assert_int_equal(s.txs, 3 * SYNTH_TXS_MAX);
	free(f.data);
	remove_dir(dir);
}

static void block_bytes_are_aimed_at(void **state)
{
	static struct file f;
	struct synth_config cfg = {.seed = 9, .blocks = 5, .block_bytes = 1500000, .segwit_ppm = 900000};
	struct synth_summary s;
	char dir[32];

	(void)state;
	generate(dir, &cfg, &s);
	read_chain(&f, dir);
	assert_in_range(s.bytes / 5, 1400000, 1600000);
	free(f.data);
	remove_dir(dir);
}

static void what_cannot_be_made_is_refused_with_a_reason(void **state)
{
	static const struct synth_reorg too_deep[] = {{5, 6, 1}}, overlapping[] = {{20, 3, 5}, {24, 1, 1}};
	static const uint32_t beyond[] = {11};
	struct synth_config bad[] = {
		{.blocks = 0, .txs_per_block = 1},
		{.blocks = 10, .txs_per_block = SYNTH_TXS_MAX + 1},
		{.blocks = 10, .block_bytes = 5000000},
		{.blocks = 10, .txs_per_block = 1, .reorgs = too_deep, .reorg_cnt = 1},
		{.blocks = 30, .txs_per_block = 1, .reorgs = overlapping, .reorg_cnt = 2},
		{.blocks = 10, .txs_per_block = 1, .stale_breaches = 1},
		{.blocks = 10, .txs_per_block = 1, .breaches = 1, .breach_from = 11},
		{.blocks = 10, .txs_per_block = 1, .breach_heights = beyond, .breach_height_cnt = 1},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct plan p;
		char why[256] = "";

		assert_int_equal(plan_make(&p, &bad[i], why, sizeof(why)), -1);
		assert_string_not_equal(why, "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_seed_and_options_give_the_same_bytes),
		cmocka_unit_test(every_block_is_valid_and_follows_its_parent),
		cmocka_unit_test(planted_breaches_are_where_the_json_says),
		cmocka_unit_test(sizes_follow_the_mainnet_mix),
		cmocka_unit_test(a_full_block_keeps_its_transaction_count_and_the_weight_limit),
		cmocka_unit_test(block_bytes_are_aimed_at),
		cmocka_unit_test(what_cannot_be_made_is_refused_with_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
