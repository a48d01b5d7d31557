/* tree.c - headers in memory: chunks, the index by hash, the best chain by height, and what is beside it. */
#include <stdlib.h>

#include "btc/bytes.h"
#include "chain/headers_priv.h"

/* ---- the hash index ---- */

static uint32_t *bucket_of(const struct headers *h, const struct hash256 *hash)
{
	uint64_t k = (load_le64(hash->b) ^ h->seed) * 0x9e3779b97f4a7c15ull;

	return &h->bucket[k >> (64 - h->bucket_bits)];
}

static void index_insert(struct headers *h, uint32_t idx)
{
	uint32_t *b = bucket_of(h, &at(h, idx)->hash);

	at(h, idx)->next = *b;
	*b = idx;
}

static void index_remove(struct headers *h, uint32_t idx)
{
	uint32_t *p = bucket_of(h, &at(h, idx)->hash);

	while (*p != idx)
		p = &at(h, *p)->next;
	*p = at(h, idx)->next;
}

static bool index_resize(struct headers *h, unsigned bits)
{
	uint32_t *old = h->bucket, *b = malloc(sizeof(*b) << bits);
	size_t old_cnt = old != NULL ? (size_t)1 << h->bucket_bits : 0;

	if (b == NULL)
		return false;
	memset(b, 0xff, sizeof(*b) << bits);
	h->bucket = b;
	h->bucket_bits = bits;
	for (size_t i = 0; i < old_cnt; i++) {
		for (uint32_t idx = old[i], next; idx != HEADERS_NONE; idx = next) {
			next = at(h, idx)->next;
			index_insert(h, idx);
		}
	}
	free(old);
	return true;
}

uint32_t headers_find(const struct headers *h, const struct hash256 *hash)
{
	uint32_t idx = *bucket_of(h, hash);

	while (idx != HEADERS_NONE && !hash256_eq(&at(h, idx)->hash, hash))
		idx = at(h, idx)->next;
	return idx;
}

/* ---- memory ---- */

/* Room for one more in an array that doubles. */
static bool grow(uint32_t **array, uint32_t *cap, uint32_t need)
{
	uint32_t cap_new = *cap != 0 ? *cap : 64;
	uint32_t *a;

	if (need <= *cap)
		return true;
	while (cap_new < need)
		cap_new *= 2;
	a = realloc(*array, sizeof(*a) * cap_new);
	if (a == NULL)
		return false;
	*array = a;
	*cap = cap_new;
	return true;
}

/* A fresh handle with everything reserved that linking it in may need; HEADERS_NONE: full. */
static uint32_t node_get(struct headers *h)
{
	uint32_t idx = h->free_head;

	if (h->node_cnt >= h->node_max || !grow(&h->best, &h->best_cap, h->node_cnt + 1) ||
	    !grow(&h->side, &h->side_cap, h->node_cnt - h->best_cnt + 1))
		return HEADERS_NONE;
	if (h->node_cnt >> h->bucket_bits != 0 && !index_resize(h, h->bucket_bits + 1))
		return HEADERS_NONE;
	if (idx != HEADERS_NONE) {
		h->free_head = at(h, idx)->next;
		h->node_cnt++;
		return idx;
	}
	if (h->node_used >> CHUNK_BITS == h->chunk_cnt) {
		struct node *c = malloc(sizeof(*c) * CHUNK_CNT);

		if (c == NULL)
			return HEADERS_NONE;
		h->chunk[h->chunk_cnt++] = c;
	}
	h->node_cnt++;
	return h->node_used++;
}

static void node_put(struct headers *h, uint32_t idx)
{
	index_remove(h, idx);
	at(h, idx)->next = h->free_head;
	h->free_head = idx;
	h->node_cnt--;
}

struct u256 tree_work_of(struct headers *h, uint32_t bits)
{
	struct u256 target;

	if (!h->work_is_cached || h->cached_bits != bits) {
		pow_target(h->net, bits, &target);
		h->cached_work = pow_work(&target);
		h->cached_bits = bits;
		h->work_is_cached = true;
	}
	return h->cached_work;
}

/* ---- best chain and side branches ---- */

static void side_add(struct headers *h, uint32_t idx)
{
	assert(h->side_cnt < h->side_cap);
	at(h, idx)->side_pos = h->side_cnt;
	h->side[h->side_cnt++] = idx;
}

static void side_del(struct headers *h, uint32_t idx)
{
	uint32_t pos = at(h, idx)->side_pos, moved = h->side[--h->side_cnt];

	h->side[pos] = moved;
	at(h, moved)->side_pos = pos;
	at(h, idx)->side_pos = HEADERS_NONE;
}

uint32_t headers_fork(const struct headers *h, uint32_t idx)
{
	while (at(h, idx)->side_pos != HEADERS_NONE)
		idx = at(h, idx)->parent;
	return idx;
}

/* Cuts the best chain above keep, which is on it. */
bool tree_best_cut(struct headers *h, uint32_t keep)
{
	uint32_t cnt = at(h, keep)->height - at(h, h->best[0])->height + 1;

	if (!grow(&h->side, &h->side_cap, h->side_cnt + h->best_cnt - cnt))
		return false;
	while (h->best_cnt > cnt)
		side_add(h, h->best[--h->best_cnt]);
	return true;
}

bool tree_best_set(struct headers *h, uint32_t idx)
{
	uint32_t fork = headers_fork(h, idx);
	uint32_t root_height = at(h, h->best[0])->height;
	uint32_t cnt = at(h, idx)->height - root_height + 1;

	if (!grow(&h->best, &h->best_cap, cnt) || !tree_best_cut(h, fork))
		return false;
	h->best_cnt = cnt;
	for (; idx != fork; idx = at(h, idx)->parent) {
		side_del(h, idx);
		h->best[at(h, idx)->height - root_height] = idx;
	}
	return true;
}

static uint32_t keep_branch(struct headers *h, uint32_t idx)
{
	uint32_t cnt = 0;

	for (; at(h, idx)->side_pos != HEADERS_NONE && !(at(h, idx)->flags & KEEP);
	     idx = at(h, idx)->parent, cnt++)
		at(h, idx)->flags |= KEEP;
	return cnt;
}

struct side_rank {
	struct u256 work;
	uint32_t idx;
};

static int most_work_first(const void *a, const void *b)
{
	return u256_cmp(&((const struct side_rank *)b)->work, &((const struct side_rank *)a)->work);
}

/* Forgets the side branches with the least work until half of the allowance is free.  A branch has more work
   than any part of it, so keeping from the top never keeps a child without its parent. */
void tree_side_prune(struct headers *h)
{
	struct side_rank *rank = malloc(sizeof(*rank) * h->side_cnt);
	uint32_t kept = 0;

	if (rank == NULL)
		return; /* the next batch tries again; node_max bounds memory meanwhile */
	for (uint32_t i = 0; i < h->side_cnt; i++)
		rank[i] = (struct side_rank){at(h, h->side[i])->work, h->side[i]};
	qsort(rank, h->side_cnt, sizeof(*rank), most_work_first);
	for (uint32_t i = 0; i < h->side_cnt; i++)
		if (at(h, h->side[i])->ref_cnt > 0)
			kept += keep_branch(h, h->side[i]);
	for (uint32_t i = 0; i < h->side_cnt && kept < HEADERS_SIDE_MAX / 2; i++)
		kept += keep_branch(h, rank[i].idx);
	free(rank);
	for (uint32_t i = h->side_cnt; i-- > 0;) {
		uint32_t idx = h->side[i];

		if (at(h, idx)->flags & KEEP) {
			at(h, idx)->flags &= ~KEEP;
		} else {
			side_del(h, idx);
			node_put(h, idx);
		}
	}
}

uint32_t tree_ancestor(const struct headers *h, uint32_t idx, uint32_t height)
{
	if (height < at(h, h->best[0])->height)
		return HEADERS_NONE;
	while (at(h, idx)->height > height && at(h, idx)->side_pos != HEADERS_NONE)
		idx = at(h, idx)->parent;
	return at(h, idx)->height == height ? idx : h->best[height - at(h, h->best[0])->height];
}

static void node_fill(struct node *n, const struct hash256 *hash, const struct header_fields *f)
{
	n->hash = *hash;
	n->merkle = f->merkle;
	n->version = (uint32_t)f->version;
	n->time = f->time;
	n->bits = f->bits;
	n->nonce = f->nonce;
	n->flags = KNOWN;
	n->ref_cnt = 0;
}

uint32_t tree_insert(struct headers *h, uint32_t parent, const struct hash256 *hash,
		     const struct header_fields *f)
{
	uint32_t idx = node_get(h);
	struct u256 work;
	struct node *n;

	if (idx == HEADERS_NONE)
		return HEADERS_NONE;
	n = at(h, idx);
	node_fill(n, hash, f);
	n->parent = parent;
	n->height = at(h, parent)->height + 1;
	work = tree_work_of(h, f->bits);
	n->work = u256_add(&at(h, parent)->work, &work);
	n->real_bits = context_real_bits(h, n->height, f->bits, at(h, parent)->real_bits);
	n->flags |= at(h, parent)->flags & ASIDE;
	index_insert(h, idx);
	side_add(h, idx);
	/* Strictly more: the first seen stays on equal work. */
	if (!(n->flags & ASIDE) && u256_cmp(&n->work, &at(h, headers_best(h))->work) > 0)
		tree_best_set(h, idx);
	return idx;
}

bool tree_init(struct headers *h, const struct headers_root *root)
{
	static const struct u256 zero;
	struct header_fields f = {0};
	struct node *r;
	uint32_t idx;

	h->free_head = HEADERS_NONE;
	h->chunk_cap = h->node_max / CHUNK_CNT + 1;
	h->chunk = calloc(h->chunk_cap, sizeof(struct node *));
	if (h->chunk == NULL || !index_resize(h, 10) || (idx = node_get(h)) == HEADERS_NONE)
		return false;
	r = at(h, idx);
	if (root->header != NULL)
		header_decode(&f, root->header);
	node_fill(r, &root->hash, &f);
	h->root_prev = f.prev;
	r->flags = root->header != NULL ? KNOWN : 0;
	r->parent = HEADERS_NONE;
	r->side_pos = HEADERS_NONE;
	r->height = root->height;
	r->work = root->work;
	r->real_bits = root->header != NULL ? context_real_bits(h, r->height, f.bits, 0) : 0;
	if (u256_cmp(&root->work, &zero) == 0) {
		if (root->height == 0 && root->header != NULL)
			r->work = tree_work_of(h, f.bits);
		else
			r->work.l[3] |= HEADERS_WORK_RELATIVE;
	}
	index_insert(h, idx);
	h->best[h->best_cnt++] = idx;
	return true;
}

void tree_free(struct headers *h)
{
	for (uint32_t i = 0; i < h->chunk_cnt; i++)
		free(h->chunk[i]);
	free(h->chunk);
	free(h->bucket);
	free(h->best);
	free(h->side);
}
