#include "chain/headers.h"

#include <assert.h>
#include <stdlib.h>

#include "btc/bytes.h"
#include "chain/rules.h"

#define CHUNK_BITS 12u
#define CHUNK_CNT  (1u << CHUNK_BITS) /* headers in a chunk */
#define CHUNK_MASK (CHUNK_CNT - 1u)

enum { KNOWN = 1u << 0, INVALID = 1u << 1, KEEP = 1u << 2 };

struct node {
	struct hash256 hash;
	struct hash256 merkle;
	struct u256 work;
	uint32_t parent;
	uint32_t next; /* in the bucket, or on the free list */
	uint32_t height;
	uint32_t version, time, bits, nonce;
	/* What the testnets' walk back over easy blocks would find from here; 0: history does not reach. */
	uint32_t real_bits;
	uint32_t side_pos; /* place in side[], HEADERS_NONE on the best chain */
	uint32_t flags;
	uint32_t ref_cnt;
};
static_assert(sizeof(struct node) <= 144, "a million headers are to fit into 150 MB");

struct headers {
	const struct network *net;
	uint64_t seed;
	struct hash256 root_prev;
	bool work_is_cached;
	uint32_t cached_bits;
	struct u256 cached_work;

	struct node **chunk;
	uint32_t chunk_cnt, chunk_cap;
	uint32_t node_cnt, node_used, node_max; /* in the tree; ever taken from chunks */
	uint32_t free_head;

	uint32_t *bucket;
	unsigned bucket_bits;

	uint32_t *best; /* by height - root height */
	uint32_t best_cnt, best_cap;

	uint32_t *side;
	uint32_t side_cnt, side_cap;

	struct hash256 batch[HEADERS_BATCH_MAX]; /* hashes of the batch being added */
};

const char *headers_verdict_name(enum headers_verdict v)
{
	static const char *const name[HEADERS_VERDICT_CNT] = {
		[HEADERS_OK] = "ok",
		[HEADERS_UNLINKED] = "unlinked",
		[HEADERS_NOT_A_CHAIN] = "not_a_chain",
		[HEADERS_BAD_POW] = "pow",
		[HEADERS_BAD_BITS] = "bits",
		[HEADERS_TIME_OLD] = "time_old",
		[HEADERS_INVALID] = "invalid",
		[HEADERS_FUTURE] = "future",
		[HEADERS_DEEP_FORK] = "deep_fork",
		[HEADERS_LOW_WORK] = "low_work",
		[HEADERS_FULL] = "full",
	};

	return name[v];
}

bool headers_verdict_is_fault(enum headers_verdict v)
{
	switch (v) {
	case HEADERS_UNLINKED:
	case HEADERS_NOT_A_CHAIN:
	case HEADERS_BAD_POW:
	case HEADERS_BAD_BITS:
	case HEADERS_TIME_OLD:
	case HEADERS_INVALID:
		return true;
	case HEADERS_OK:
	case HEADERS_FUTURE:
	case HEADERS_DEEP_FORK:
	case HEADERS_LOW_WORK:
	case HEADERS_FULL:
	case HEADERS_VERDICT_CNT:
		return false;
	}
	return false;
}

static struct node *at(const struct headers *h, uint32_t idx)
{
	return &h->chunk[idx >> CHUNK_BITS][idx & CHUNK_MASK];
}

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

static struct u256 work_of(struct headers *h, uint32_t bits)
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
static bool best_cut(struct headers *h, uint32_t keep)
{
	uint32_t cnt = at(h, keep)->height - at(h, h->best[0])->height + 1;

	if (!grow(&h->side, &h->side_cap, h->side_cnt + h->best_cnt - cnt))
		return false;
	while (h->best_cnt > cnt)
		side_add(h, h->best[--h->best_cnt]);
	return true;
}

static bool best_set(struct headers *h, uint32_t idx)
{
	uint32_t fork = headers_fork(h, idx);
	uint32_t root_height = at(h, h->best[0])->height;
	uint32_t cnt = at(h, idx)->height - root_height + 1;

	if (!grow(&h->best, &h->best_cap, cnt) || !best_cut(h, fork))
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
static void side_prune(struct headers *h)
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
			at(h, idx)->flags &= ~(uint32_t)KEEP;
		} else {
			side_del(h, idx);
			node_put(h, idx);
		}
	}
}

/* ---- rules in context ---- */

/* The ancestor of idx at height, or HEADERS_NONE below the root. */
static uint32_t ancestor(const struct headers *h, uint32_t idx, uint32_t height)
{
	if (height < at(h, h->best[0])->height)
		return HEADERS_NONE;
	while (at(h, idx)->height > height && at(h, idx)->side_pos != HEADERS_NONE)
		idx = at(h, idx)->parent;
	return at(h, idx)->height == height ? idx : h->best[height - at(h, h->best[0])->height];
}

/* Whether bits may follow parent at the start of a period. */
static bool boundary_ok(const struct headers *h, uint32_t parent, uint32_t height, uint32_t bits)
{
	const struct node *p = at(h, parent);
	uint32_t first = ancestor(h, parent, height - RULES_RETARGET_INTERVAL);

	if (first != HEADERS_NONE && (at(h, first)->flags & KNOWN)) {
		uint32_t base = h->net->id == NET_TESTNET4 ? at(h, first)->bits : p->bits;

		return bits ==
		       rules_retarget(h->net, base, (int64_t)p->time - (int64_t)at(h, first)->time);
	}
	return !(p->flags & KNOWN) || rules_permitted(h->net, height, p->bits, bits);
}

static bool bits_ok(const struct headers *h, uint32_t parent, const struct header_fields *f)
{
	const struct node *p = at(h, parent);
	uint32_t height = p->height + 1;

	if (h->net->id == NET_REGTEST)
		return f->bits == (p->flags & KNOWN ? p->bits : h->net->pow_limit_bits);
	if (height % RULES_RETARGET_INTERVAL == 0)
		return boundary_ok(h, parent, height, f->bits);
	if (!(p->flags & KNOWN))
		return true;
	if (!rules_min_difficulty(h->net))
		return f->bits == p->bits;
	if ((int64_t)f->time > (int64_t)p->time + RULES_MIN_DIFFICULTY_S)
		return f->bits == h->net->pow_limit_bits;
	return p->real_bits == 0 || f->bits == p->real_bits;
}

static bool time_ok(const struct headers *h, uint32_t parent, uint32_t time)
{
	uint32_t height = at(h, parent)->height + 1;
	uint32_t t[RULES_MEDIAN_CNT], cnt = 0;
	uint32_t idx = parent;

	if (h->net->id == NET_TESTNET4 && (at(h, parent)->flags & KNOWN) &&
	    !rules_bip94_ok(RULES_RETARGET_INTERVAL, height, at(h, parent)->time, time))
		return false;
	for (; cnt < RULES_MEDIAN_CNT && idx != HEADERS_NONE && (at(h, idx)->flags & KNOWN);
	     idx = at(h, idx)->parent)
		t[cnt++] = at(h, idx)->time;
	if (cnt < RULES_MEDIAN_CNT && cnt < height)
		return true; /* history does not reach */
	return time > rules_median_time(t, cnt);
}

static enum headers_verdict context_check(const struct headers *h, uint32_t parent,
					  const struct header_fields *f, int64_t now_s)
{
	if (at(h, parent)->flags & INVALID)
		return HEADERS_INVALID;
	if (!bits_ok(h, parent, f))
		return HEADERS_BAD_BITS;
	if (!time_ok(h, parent, f->time))
		return HEADERS_TIME_OLD;
	if ((int64_t)f->time - RULES_FUTURE_S > now_s)
		return HEADERS_FUTURE;
	return HEADERS_OK;
}

static uint32_t real_bits_of(const struct headers *h, uint32_t height, uint32_t bits,
			     uint32_t parent_real_bits)
{
	if (height % RULES_RETARGET_INTERVAL == 0 || bits != h->net->pow_limit_bits)
		return bits;
	return parent_real_bits;
}

/* ---- adding ---- */

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

static enum headers_verdict add_one(struct headers *h, uint32_t parent, const struct hash256 *hash,
				    const struct header_fields *f, int64_t now_s, uint32_t *out)
{
	enum headers_verdict v = context_check(h, parent, f, now_s);
	struct u256 work;
	struct node *n;
	uint32_t idx;

	if (v != HEADERS_OK)
		return v;
	idx = node_get(h);
	if (idx == HEADERS_NONE)
		return HEADERS_FULL;
	n = at(h, idx);
	node_fill(n, hash, f);
	n->parent = parent;
	n->height = at(h, parent)->height + 1;
	work = work_of(h, f->bits);
	n->work = u256_add(&at(h, parent)->work, &work);
	n->real_bits = real_bits_of(h, n->height, f->bits, at(h, parent)->real_bits);
	index_insert(h, idx);
	side_add(h, idx);
	*out = idx;
	if (u256_cmp(&n->work, &at(h, headers_best(h))->work) > 0 && !best_set(h, idx))
		return HEADERS_FULL;
	return HEADERS_OK;
}

/* Hashes the batch, checks that it is a chain and that each new one has its proof of work; leaves in *skip how
   many at its start are known, in *claimed the work of the others. */
static enum headers_verdict batch_check(struct headers *h, const uint8_t *raw, size_t stride,
					uint32_t cnt, uint32_t *skip, struct u256 *claimed,
					uint32_t *good_cnt)
{
	enum headers_verdict v = HEADERS_OK;
	uint32_t i;

	*skip = 0;
	*claimed = (struct u256){{0}};
	for (i = 0; i < cnt && v == HEADERS_OK; i++) {
		const uint8_t *r = raw + i * stride;
		uint32_t bits = load_le32(r + 72);
		struct u256 work;

		if (i > 0 && memcmp(r + 4, h->batch[i - 1].b, HASH_SZ) != 0) {
			v = HEADERS_NOT_A_CHAIN;
			break;
		}
		h->batch[i] = header_hash(r);
		if (*skip == i && headers_find(h, &h->batch[i]) != HEADERS_NONE) {
			*skip = i + 1;
			continue;
		}
		if (!pow_valid(h->net, &h->batch[i], bits)) {
			v = HEADERS_BAD_POW;
			break;
		}
		work = work_of(h, bits);
		*claimed = u256_add(claimed, &work);
	}
	*good_cnt = i;
	return v;
}

/* Whether a branch that adds claimed work on parent is worth storing. */
static enum headers_verdict branch_check(struct headers *h, uint32_t parent,
					 const struct u256 *claimed)
{
	const struct node *best = at(h, headers_best(h));
	struct u256 lag = work_of(h, best->bits), sum = u256_add(&at(h, parent)->work, claimed);

	if (parent == headers_best(h) || !(best->flags & KNOWN))
		return HEADERS_OK;
	if (best->height - at(h, headers_fork(h, parent))->height > HEADERS_FORK_MAX)
		return HEADERS_DEEP_FORK;
	lag = u256_mul_u32(&lag, HEADERS_LAG_MAX);
	sum = u256_add(&sum, &lag);
	return u256_cmp(&sum, &best->work) < 0 ? HEADERS_LOW_WORK : HEADERS_OK;
}

enum headers_verdict headers_add(struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt,
				 int64_t now_s, uint32_t *last, uint32_t *new_cnt)
{
	struct hash256 prev;
	enum headers_verdict v, worth;
	struct u256 claimed;
	uint32_t skip, good_cnt, parent;

	assert(cnt <= HEADERS_BATCH_MAX);
	*last = HEADERS_NONE;
	*new_cnt = 0;
	if (cnt == 0)
		return HEADERS_OK;
	if (h->side_cnt > HEADERS_SIDE_MAX)
		side_prune(h);
	v = batch_check(h, raw, stride, cnt, &skip, &claimed, &good_cnt);
	if (skip > 0)
		*last = headers_find(h, &h->batch[skip - 1]);
	if (good_cnt == skip)
		return v;
	memcpy(prev.b, raw + skip * stride + 4, HASH_SZ);
	parent = headers_find(h, &prev);
	if (parent == HEADERS_NONE)
		return HEADERS_UNLINKED;
	worth = branch_check(h, parent, &claimed);
	if (worth != HEADERS_OK)
		return worth;
	for (uint32_t i = skip; i < good_cnt; i++) {
		struct header_fields f;
		enum headers_verdict one;

		header_decode(&f, raw + i * stride);
		one = add_one(h, parent, &h->batch[i], &f, now_s, &parent);
		if (one != HEADERS_OK)
			return one;
		*last = parent;
		++*new_cnt;
	}
	return v;
}

void headers_mark_invalid(struct headers *h, uint32_t idx)
{
	uint32_t best;

	assert(idx != h->best[0]);
	/* Without memory for the cut the mark waits for the next call: nothing is half done. */
	if (headers_on_best(h, idx) && !best_cut(h, at(h, idx)->parent))
		return;
	at(h, idx)->flags |= INVALID;
	for (uint32_t i = 0; i < h->side_cnt; i++) {
		uint32_t up = h->side[i];

		while (at(h, up)->side_pos != HEADERS_NONE && !(at(h, up)->flags & INVALID))
			up = at(h, up)->parent;
		at(h, h->side[i])->flags |= at(h, up)->flags & INVALID;
	}
	best = headers_best(h);
	for (uint32_t i = 0; i < h->side_cnt; i++) {
		const struct node *n = at(h, h->side[i]);

		if (!(n->flags & INVALID) && u256_cmp(&n->work, &at(h, best)->work) > 0)
			best = h->side[i];
	}
	if (best != headers_best(h))
		best_set(h, best);
}

/* ---- life and views ---- */

struct headers *headers_new(const struct network *n, const struct headers_root *root, uint64_t seed,
			    uint32_t headers_max)
{
	struct headers_root genesis = {.hash = n->genesis_hash, .header = n->genesis_header};
	static const struct u256 zero;
	struct headers *h = calloc(1, sizeof(*h));
	struct header_fields f = {0};
	struct node *r;
	uint32_t idx;

	if (h == NULL)
		return NULL;
	if (root == NULL)
		root = &genesis;
	h->net = n;
	h->seed = seed;
	h->node_max = headers_max != 0 ? headers_max : HEADERS_MAX_DEFAULT;
	h->free_head = HEADERS_NONE;
	h->chunk_cap = h->node_max / CHUNK_CNT + 1;
	h->chunk = calloc(h->chunk_cap, sizeof(struct node *));
	if (h->chunk == NULL || !index_resize(h, 10) || (idx = node_get(h)) == HEADERS_NONE) {
		headers_free(h);
		return NULL;
	}
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
	r->real_bits = root->header != NULL ? real_bits_of(h, r->height, f.bits, 0) : 0;
	if (root->height == 0 && root->header != NULL && u256_cmp(&root->work, &zero) == 0)
		r->work = work_of(h, f.bits);
	index_insert(h, idx);
	h->best[h->best_cnt++] = idx;
	return h;
}

void headers_free(struct headers *h)
{
	if (h == NULL)
		return;
	for (uint32_t i = 0; i < h->chunk_cnt; i++)
		free(h->chunk[i]);
	free(h->chunk);
	free(h->bucket);
	free(h->best);
	free(h->side);
	free(h);
}

void headers_ref(struct headers *h, uint32_t idx)
{
	at(h, idx)->ref_cnt++;
}

void headers_unref(struct headers *h, uint32_t idx)
{
	assert(at(h, idx)->ref_cnt > 0);
	at(h, idx)->ref_cnt--;
}

uint32_t headers_root_idx(const struct headers *h)
{
	return h->best[0];
}

uint32_t headers_best(const struct headers *h)
{
	return h->best[h->best_cnt - 1];
}

uint32_t headers_at(const struct headers *h, uint32_t height)
{
	uint32_t root_height = at(h, h->best[0])->height;

	if (height < root_height || height - root_height >= h->best_cnt)
		return HEADERS_NONE;
	return h->best[height - root_height];
}

bool headers_on_best(const struct headers *h, uint32_t idx)
{
	return at(h, idx)->side_pos == HEADERS_NONE;
}

uint32_t headers_parent(const struct headers *h, uint32_t idx)
{
	return at(h, idx)->parent;
}

uint32_t headers_height(const struct headers *h, uint32_t idx)
{
	return at(h, idx)->height;
}

const struct hash256 *headers_hash(const struct headers *h, uint32_t idx)
{
	return &at(h, idx)->hash;
}

const struct u256 *headers_work(const struct headers *h, uint32_t idx)
{
	return &at(h, idx)->work;
}

bool headers_raw(const struct headers *h, uint32_t idx, uint8_t out[HEADER_SZ])
{
	const struct node *n = at(h, idx);
	struct header_fields f = {.version = (int32_t)n->version,
				  .merkle = n->merkle,
				  .time = n->time,
				  .bits = n->bits,
				  .nonce = n->nonce};

	if (!(n->flags & KNOWN)) {
		memset(out, 0, HEADER_SZ);
		return false;
	}
	f.prev = n->parent != HEADERS_NONE ? at(h, n->parent)->hash : h->root_prev;
	header_encode(out, &f);
	return true;
}

uint32_t headers_locator(const struct headers *h, uint32_t idx,
			 struct hash256 out[HEADERS_LOCATOR_MAX])
{
	uint32_t height[101];
	uint32_t root_height = at(h, h->best[0])->height;
	uint32_t cnt = rules_locator_heights(height, at(h, idx)->height - root_height);

	for (uint32_t i = 0; i < cnt; i++) {
		idx = ancestor(h, idx, root_height + height[i]);
		out[i] = at(h, idx)->hash;
	}
	if (root_height != 0)
		out[cnt++] = h->net->genesis_hash;
	return cnt;
}

uint32_t headers_cnt(const struct headers *h)
{
	return h->node_cnt;
}

uint32_t headers_side_cnt(const struct headers *h)
{
	return h->side_cnt;
}

size_t headers_bytes(const struct headers *h)
{
	return sizeof(*h) + h->chunk_cap * sizeof(struct node *) +
	       (size_t)h->chunk_cnt * CHUNK_CNT * sizeof(struct node) +
	       sizeof(uint32_t) * (((size_t)1 << h->bucket_bits) + h->best_cap + h->side_cap);
}
