/* Random trees with works that differ, marks and reorgs, against a slow tree that keeps everything in a list and finds
   everything by walking.  VIGIL_CHAIN_SEEDS: how many trees. */
#include "vec.h"

#include <stdio.h>
#include <stdlib.h>

#include "chain/headers_priv.h"

#define NODE_MAX 600u

struct slow_node {
	uint32_t idx, parent, height;
	uint64_t work;
	bool invalid, aside; /* marked itself */
};
static struct slow_node node[NODE_MAX];
static uint32_t node_cnt, best;
static struct headers *h;
static uint32_t rnd;

static uint32_t draw(uint32_t below)
{
	return vec_random(&rnd) % below;
}

static bool is_fit(uint32_t i)
{
	for (;; i = node[i].parent) {
		if (node[i].invalid || node[i].aside)
			return false;
		if (i == 0)
			return true;
	}
}

static bool is_invalid(uint32_t i)
{
	for (; i != 0; i = node[i].parent)
		if (node[i].invalid)
			return true;
	return false;
}

static uint32_t slow_of(uint32_t idx)
{
	uint32_t i = 0;

	while (i < node_cnt && node[i].idx != idx)
		i++;
	assert_true(i < node_cnt);
	return i;
}

static bool is_ancestor(uint32_t a, uint32_t i)
{
	while (node[i].height > node[a].height)
		i = node[i].parent;
	return i == a;
}

static uint32_t common(uint32_t a, uint32_t b)
{
	while (!is_ancestor(a, b))
		a = node[a].parent;
	return a;
}

/* The most work there is among the fit ones; the old one stays if it has it. */
static void expect_best(void)
{
	uint32_t now = slow_of(headers_best(h));
	uint64_t most = 0;

	for (uint32_t i = 0; i < node_cnt; i++)
		if (is_fit(i) && node[i].work > most)
			most = node[i].work;
	assert_true(is_fit(now));
	assert_int_equal(node[now].work, most);
	if (is_fit(best) && node[best].work == most)
		assert_int_equal(now, best);
	best = now;
}

/* The way from a block to the best one: fork, what is on the best chain, heights, ancestors. */
static void expect_paths(void)
{
	uint32_t from = draw(node_cnt), fork = common(from, best);

	assert_int_equal(headers_fork(h, node[from].idx), node[fork].idx);
	for (uint32_t i = best;; i = node[i].parent) {
		assert_int_equal(headers_at(h, node[i].height), node[i].idx);
		if (i == 0)
			break;
	}
	assert_int_equal(headers_at(h, node[best].height + 1), HEADERS_NONE);
	for (uint32_t i = from;; i = node[i].parent) {
		assert_int_equal(headers_ancestor(h, node[from].idx, node[i].height), node[i].idx);
		assert_int_equal(headers_on_best(h, node[i].idx), is_ancestor(i, best));
		if (i == 0)
			break;
	}
}

static uint32_t stale_seen, stale_covered;
static bool covered[NODE_MAX];

static bool on_stale(void *arg, uint32_t first, uint32_t tip)
{
	uint32_t i = slow_of(tip);

	(void)arg;
	stale_seen++;
	for (uint32_t k = 0; k < node_cnt; k++)
		assert_true(k == 0 || node[k].parent != i); /* a tip has no child */
	for (; !is_ancestor(i, best); i = node[i].parent) {
		if (is_ancestor(node[i].parent, best))
			assert_int_equal(first, node[i].idx);
		stale_covered += !covered[i];
		covered[i] = true;
	}
	return true;
}

static void expect_stale(void)
{
	uint32_t off = 0;

	memset(covered, 0, sizeof(covered));
	stale_seen = stale_covered = 0;
	headers_each_stale(h, on_stale, NULL);
	for (uint32_t i = 0; i < node_cnt; i++)
		off += !is_ancestor(i, best);
	assert_int_equal(stale_covered, off);
	assert_int_equal(headers_side_cnt(h), off);
	assert_true((stale_seen == 0) == (off == 0));
}

static void grow(void)
{
	/* Work 0x100010001, twice and four times that. */
	static const uint32_t bits[] = {0x1d00ffff, 0x1d00ffff, 0x1c7fff80, 0x1c3fffc0};
	uint32_t parent = draw(3) == 0 ? best : draw(4) == 0 ? draw(node_cnt) : node_cnt - 1;
	struct header_fields f = {.version = 4, .bits = bits[draw(4)], .time = node_cnt};
	struct hash256 hash = {{0}};
	struct u256 target, work;

	if (is_invalid(parent))
		return; /* headers_add lets none in */
	for (unsigned k = 0; k < 8; k++) {
		uint32_t r = vec_random(&rnd);

		memcpy(hash.b + 4 * k, &r, 4);
	}
	pow_target(network_get(NET_TESTNET3), f.bits, &target);
	work = pow_work(&target);
	node[node_cnt] = (struct slow_node){.idx = tree_insert(h, node[parent].idx, &hash, &f),
					    .parent = parent,
					    .height = node[parent].height + 1,
					    .work = node[parent].work + work.l[0]};
	assert_int_not_equal(node[node_cnt].idx, HEADERS_NONE);
	assert_int_equal(headers_work(h, node[node_cnt].idx)->l[0], node[node_cnt].work);
	node_cnt++;
}

static void mark(void)
{
	uint32_t i = draw(2) == 0 ? draw(node_cnt) : best;

	for (uint32_t up = draw(6); up > 0 && i != 0; up--)
		i = node[i].parent;
	if (i == 0)
		return;
	if (draw(3) == 0) {
		headers_mark_invalid(h, node[i].idx);
		node[i].invalid = true;
		return;
	}
	headers_set_aside(h, node[i].idx);
	node[i].aside = true;
}

/* The header and all its descendants: marks further down go with it. */
static void take_back(void)
{
	uint32_t i = draw(node_cnt);

	for (uint32_t tries = 0; tries < node_cnt && !node[i].aside; tries++)
		i = (i + 1) % node_cnt;
	if (!node[i].aside)
		return;
	/* One above it may keep it aside; the tree's caller takes that one back first. */
	for (uint32_t up = node[i].parent; up != 0; up = node[up].parent)
		if (node[up].aside)
			return;
	headers_take_back(h, node[i].idx);
	for (uint32_t k = 0; k < node_cnt; k++)
		if (is_ancestor(i, k))
			node[k].aside = false;
}

static void one_tree(uint32_t seed)
{

	rnd = seed * 2654435761u + 1;
	h = headers_new(network_get(NET_TESTNET3), NULL, seed, 0);
	node[0] = (struct slow_node){.idx = headers_root_idx(h),
				     .work = headers_work(h, headers_root_idx(h))->l[0]};
	node_cnt = 1;
	best = 0;
	for (uint32_t step = 0; step < 700 && node_cnt < NODE_MAX; step++) {
		uint32_t what = draw(40);

		if (what == 0)
			mark();
		else if (what == 1)
			take_back();
		else
			grow();
		expect_best();
		if (step % 16 == 0) {
			expect_paths();
			expect_stale();
		}
	}
	headers_free(h);
}

static void random_trees_equal_a_slow_tree_in_best_paths_marks_and_branches(void **state)
{
	const char *text = getenv("VIGIL_CHAIN_SEEDS");
	uint32_t seeds = text != NULL ? (uint32_t)strtoul(text, NULL, 10) : 60;

	(void)state;
	for (uint32_t seed = 1; seed <= seeds; seed++) {
		print_message("seed %u\n", seed);
		one_tree(seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_trees_equal_a_slow_tree_in_best_paths_marks_and_branches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
