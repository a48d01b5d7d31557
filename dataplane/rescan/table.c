#include "rescan/table.h"

#include <stdlib.h>

#include "btc/bytes.h"

/* A coinbase's claim above this is believed by nobody: it would only cost memory. */
#define HEIGHT_MAX (20u * 1000 * 1000)

void table_init(struct block_table *t, const struct network *net)
{
	*t = (struct block_table){
		.net = net, .best = BLOCK_NONE, .lowest = HEIGHT_UNKNOWN, .highest = HEIGHT_UNKNOWN};
}

void table_free(struct block_table *t)
{
	free(t->block);
	free(t->at_height);
	*t = (struct block_table){0};
}

bool table_add(struct block_table *t, const uint8_t header[HEADER_SZ], const struct hash256 *hash,
	       uint32_t file, uint64_t off, uint32_t sz)
{
	struct header_fields h;

	if (t->cnt == t->cap) {
		uint32_t cap = t->cap != 0 ? t->cap + t->cap / 2 : 4096;
		struct found_block *more = cap < BLOCK_NONE / 2 ? realloc(t->block, cap * sizeof(*more)) : NULL;

		if (more == NULL)
			return false;
		t->block = more;
		t->cap = cap;
	}
	header_decode(&h, header);
	t->block[t->cnt++] = (struct found_block){
		.hash = *hash,
		.prev = h.prev,
		.off = off,
		.sz = sz,
		.file = file,
		.bits = h.bits,
		.time = h.time,
		.version = h.version,
		.height = HEIGHT_UNKNOWN,
		.parent = BLOCK_NONE,
		.root = BLOCK_NONE,
		.next_copy = BLOCK_NONE,
	};
	return true;
}

/* --- by hash ------------------------------------------------------------------------------------------------ */

struct hashes {
	uint32_t *slot; /* block, or BLOCK_NONE */
	uint32_t mask;
};

static bool hashes_init(struct hashes *h, uint32_t cnt)
{
	uint64_t size = 16;

	while (size < 2 * (uint64_t)cnt)
		size *= 2;
	h->slot = malloc(size * sizeof(*h->slot));
	h->mask = (uint32_t)(size - 1);
	if (h->slot != NULL)
		memset(h->slot, 0xff, size * sizeof(*h->slot));
	return h->slot != NULL;
}

/* Where the block with this hash is, or would be.  The low bytes of a hash are as good as random. */
static uint32_t *hashes_find(const struct hashes *h, const struct block_table *t, const struct hash256 *hash)
{
	uint32_t i = load_le32(hash->b) & h->mask;

	while (h->slot[i] != BLOCK_NONE && !hash256_eq(&t->block[h->slot[i]].hash, hash))
		i = (i + 1) & h->mask;
	return &h->slot[i];
}

/* While this runs, the parent of a first copy is the last copy so far. */
static void put_all(struct block_table *t, const struct hashes *h)
{
	for (uint32_t i = 0; i < t->cnt; i++) {
		uint32_t *slot = hashes_find(h, t, &t->block[i].hash);
		struct found_block *first;

		if (*slot == BLOCK_NONE) {
			*slot = i;
			t->block[i].parent = i;
			continue;
		}
		/* Behind the other copies, so that they are tried in file order. */
		first = &t->block[*slot];
		t->block[first->parent].next_copy = i;
		first->parent = i;
		t->block[i].is_copy = true;
		t->copy_cnt++;
	}
}

static void find_parents(struct block_table *t, const struct hashes *h)
{
	for (uint32_t i = 0; i < t->cnt; i++)
		if (!t->block[i].is_copy)
			t->block[i].parent = *hashes_find(h, t, &t->block[i].prev);
}

/* --- trees -------------------------------------------------------------------------------------------------- */

/* Fills work, root and (as depth above the root) height, parents first.  path has room for all blocks. */
static void grow(struct block_table *t, uint32_t *path)
{
	struct u256 work = {{0}}, target;
	uint32_t bits = 0;

	for (uint32_t i = 0; i < t->cnt; i++) {
		uint32_t n = 0, at = i;

		if (t->block[i].is_copy)
			continue;
		while (at != BLOCK_NONE && t->block[at].root == BLOCK_NONE) {
			path[n++] = at;
			at = t->block[at].parent;
		}
		while (n > 0) {
			struct found_block *b = &t->block[path[--n]];
			const struct found_block *up = b->parent != BLOCK_NONE ? &t->block[b->parent] : NULL;

			if (b->bits != bits && pow_target(t->net, b->bits, &target)) {
				work = pow_work(&target);
				bits = b->bits;
			}
			b->root = up != NULL ? up->root : path[n];
			b->height = up != NULL ? up->height + 1 : 0;
			b->work = up != NULL ? u256_add(&up->work, &work) : work;
		}
	}
}

struct tree {
	const struct found_block *tip;
	uint32_t tip_idx, root;
	uint32_t base; /* height of the root, or HEIGHT_UNKNOWN */
};

static int most_work_first(const void *a, const void *b)
{
	const struct tree *x = a, *y = b;
	int work = u256_cmp(&y->tip->work, &x->tip->work);

	return work != 0 ? work : (x->tip_idx > y->tip_idx) - (x->tip_idx < y->tip_idx);
}

/* One for each root, with its best tip, most work first.  of_root has room for all blocks.  NULL: out of memory, or no
   block. */
static struct tree *trees_find(const struct block_table *t, uint32_t *of_root, uint32_t *tree_cnt)
{
	uint32_t cnt = 0;
	struct tree *tree;

	for (uint32_t i = 0; i < t->cnt; i++)
		if (!t->block[i].is_copy && t->block[i].root == i)
			of_root[i] = cnt++;
	tree = calloc(cnt != 0 ? cnt : 1, sizeof(*tree));
	for (uint32_t i = 0; tree != NULL && i < t->cnt; i++) {
		const struct found_block *b = &t->block[i];
		struct tree *tr;

		if (b->is_copy)
			continue;
		tr = &tree[of_root[b->root]];
		if (tr->tip == NULL || u256_cmp(&b->work, &tr->tip->work) > 0)
			*tr = (struct tree){.tip = b, .tip_idx = i, .root = b->root};
	}
	if (tree != NULL && cnt > 0)
		qsort(tree, cnt, sizeof(*tree), most_work_first);
	*tree_cnt = cnt;
	return tree;
}

static uint32_t base_of(const struct block_table *t, const struct tree *tr,
			int64_t (*height_of)(void *arg, const struct found_block *b), void *arg)
{
	const struct found_block *root = &t->block[tr->root], *asked[2] = {root, tr->tip};

	if (hash256_eq(&root->hash, &t->net->genesis_hash))
		return 0;
	if (hash256_eq(&root->prev, &t->net->genesis_hash))
		return 1;
	/* The root may lie below the height from which BIP34 counts, and the tip above it. */
	for (unsigned i = 0; i < (root == tr->tip ? 1 : 2); i++) {
		const struct found_block *b = asked[i];
		int64_t height = height_of(arg, b);
		struct header_fields h = {.version = b->version, .time = b->time};

		if (network_bip34_in_force(t->net, &h, height) && height > (int64_t)b->height &&
		    height <= (int64_t)HEIGHT_MAX)
			return (uint32_t)height - b->height;
	}
	return HEIGHT_UNKNOWN;
}

/* From depths to heights.  base_of_root has room for all blocks. */
static void lift(struct block_table *t, const struct tree *tree, uint32_t tree_cnt, uint32_t *base_of_root)
{
	for (uint32_t i = 0; i < tree_cnt; i++)
		base_of_root[tree[i].root] = tree[i].base;
	for (uint32_t i = 0; i < t->cnt; i++) {
		struct found_block *b = &t->block[i];
		uint32_t base = b->is_copy ? HEIGHT_UNKNOWN : base_of_root[b->root];

		b->height = base != HEIGHT_UNKNOWN ? base + b->height : HEIGHT_UNKNOWN;
	}
}

/* --- the best chain ----------------------------------------------------------------------------------------- */

static bool heights_bound(struct block_table *t, const struct tree *tree, uint32_t tree_cnt)
{
	uint32_t lo = HEIGHT_UNKNOWN, hi = 0;

	for (uint32_t i = 0; i < tree_cnt; i++) {
		if (tree[i].base == HEIGHT_UNKNOWN)
			continue;
		if (tree[i].base < lo)
			lo = tree[i].base;
		if (tree[i].tip->height > hi)
			hi = tree[i].tip->height;
	}
	if (lo == HEIGHT_UNKNOWN)
		return true;
	t->lowest = lo;
	t->highest = hi;
	t->at_height = malloc(((size_t)hi - lo + 1) * sizeof(*t->at_height));
	if (t->at_height != NULL)
		memset(t->at_height, 0xff, ((size_t)hi - lo + 1) * sizeof(*t->at_height));
	return t->at_height != NULL;
}

static bool contradicted(const struct block_table *t, const struct found_block *b)
{
	const uint32_t *slot = &t->at_height[b->height - t->lowest];

	if (slot[0] != BLOCK_NONE)
		return true;
	return b->height < t->highest && slot[1] != BLOCK_NONE &&
	       !hash256_eq(&t->block[slot[1]].prev, &b->hash);
}

static void take_chain(struct block_table *t, const struct tree *tr)
{
	for (uint32_t i = tr->tip_idx; i != BLOCK_NONE; i = t->block[i].parent) {
		struct found_block *b = &t->block[i];

		if (b->height == HEIGHT_UNKNOWN) {
			b->best_chain = true; /* nothing can be said against it */
		} else if (!contradicted(t, b)) {
			b->best_chain = true;
			t->at_height[b->height - t->lowest] = i;
		}
	}
}

/* Heights of stale trees may lie beyond the chain that came out. */
static void heights_trim(struct block_table *t)
{
	uint32_t lo = t->lowest, hi = t->highest;

	if (t->at_height == NULL)
		return;
	while (t->at_height[hi - t->lowest] == BLOCK_NONE)
		hi--; /* the first tree's blocks are there */
	while (t->at_height[lo - t->lowest] == BLOCK_NONE)
		lo++;
	memmove(t->at_height, t->at_height + (lo - t->lowest), ((size_t)hi - lo + 1) * sizeof(*t->at_height));
	t->lowest = lo;
	t->highest = hi;
}

bool table_link(struct block_table *t, int64_t (*height_of)(void *arg, const struct found_block *b), void *arg)
{
	uint32_t *scratch = malloc(((size_t)t->cnt + 1) * sizeof(*scratch)), tree_cnt = 0;
	struct hashes hashes = {0};
	struct tree *tree = NULL;
	bool good = scratch != NULL && hashes_init(&hashes, t->cnt);

	if (good) {
		put_all(t, &hashes);
		find_parents(t, &hashes);
		grow(t, scratch);
		tree = trees_find(t, scratch, &tree_cnt);
		good = tree != NULL;
	}
	if (good) {
		for (uint32_t i = 0; i < tree_cnt; i++)
			tree[i].base = base_of(t, &tree[i], height_of, arg);
		lift(t, tree, tree_cnt, scratch);
		good = heights_bound(t, tree, tree_cnt);
	}
	if (good) {
		for (uint32_t i = 0; i < tree_cnt; i++)
			take_chain(t, &tree[i]);
		heights_trim(t);
		if (tree_cnt > 0)
			t->best = tree[0].tip_idx;
		for (uint32_t i = 0; i < t->cnt; i++)
			t->stale_cnt += !t->block[i].is_copy && !t->block[i].best_chain;
	}
	free(tree);
	free(hashes.slot);
	free(scratch);
	return good;
}

uint32_t table_missing(const struct block_table *t, uint32_t from, uint32_t to)
{
	uint32_t cnt = 0;

	if (t->at_height == NULL)
		return 0;
	if (from < t->lowest)
		from = t->lowest;
	if (to > t->highest)
		to = t->highest;
	for (uint32_t h = from; h <= to; h++)
		cnt += t->at_height[h - t->lowest] == BLOCK_NONE;
	return cnt;
}
