#include <stdlib.h>

#include "btc/bytes.h"
#include "chain/headers_priv.h"

const char *headers_verdict_name(enum headers_verdict v)
{
	static const char *const name[HEADERS_VERDICT_CNT] = {
		[HEADERS_OK] = "ok",
		[HEADERS_UNLINKED] = "unlinked",
		[HEADERS_NOT_A_CHAIN] = "not_a_chain",
		[HEADERS_BAD_POW] = "pow",
		[HEADERS_BAD_BITS] = "bits",
		[HEADERS_BAD_VERSION] = "version",
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
	case HEADERS_BAD_VERSION:
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

/* ---- adding ---- */

static enum headers_verdict add_one(struct headers *h, uint32_t parent, const struct hash256 *hash,
				    const struct header_fields *f, int64_t now_s, uint32_t *out)
{
	enum headers_verdict v = context_check(h, parent, f, now_s);
	uint32_t idx;

	if (v != HEADERS_OK)
		return v;
	idx = tree_insert(h, parent, hash, f);
	if (idx == HEADERS_NONE)
		return HEADERS_FULL;
	*out = idx;
	return HEADERS_OK;
}

/* Hashes the batch, checks that it is a chain and that each new one has its proof of work; leaves in *skip how
   many at its start are known, in *claimed the work of the others. */
static enum headers_verdict batch_check(struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt,
					uint32_t *skip, struct u256 *claimed, uint32_t *good_cnt)
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
		work = tree_work_of(h, bits);
		*claimed = u256_add(claimed, &work);
	}
	*good_cnt = i;
	return v;
}

struct u256 headers_threshold(struct headers *h)
{
	const struct node *best = at(h, headers_best(h));
	struct u256 lag, need;

	if (!(best->flags & KNOWN))
		return h->min_work;
	lag = tree_work_of(h, best->bits);
	lag = u256_mul_u32(&lag, HEADERS_LAG_MAX);
	need = u256_cmp(&best->work, &lag) > 0 ? u256_sub(&best->work, &lag) : (struct u256){{0}};
	return u256_cmp(&need, &h->min_work) < 0 ? h->min_work : need;
}

/* Whether a branch that adds claimed work on parent is worth storing. */
static enum headers_verdict branch_check(struct headers *h, uint32_t parent, const struct u256 *claimed)
{
	struct u256 sum = u256_add(&at(h, parent)->work, claimed), need = headers_threshold(h);
	uint32_t best_height = at(h, headers_best(h))->height;

	if (u256_cmp(&sum, &need) >= 0)
		return HEADERS_OK;
	return best_height - at(h, headers_fork(h, parent))->height > HEADERS_FORK_MAX ? HEADERS_DEEP_FORK
										       : HEADERS_LOW_WORK;
}

static enum headers_verdict add(struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt,
				int64_t now_s, bool worthy, uint32_t *last, uint32_t *new_cnt)
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
		tree_side_prune(h);
	v = batch_check(h, raw, stride, cnt, &skip, &claimed, &good_cnt);
	if (skip > 0)
		*last = headers_find(h, &h->batch[skip - 1]);
	if (good_cnt == skip)
		return v;
	memcpy(prev.b, raw + skip * stride + 4, HASH_SZ);
	parent = headers_find(h, &prev);
	if (parent == HEADERS_NONE)
		return HEADERS_UNLINKED;
	worth = worthy ? HEADERS_OK : branch_check(h, parent, &claimed);
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

enum headers_verdict headers_add(struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt,
				 int64_t now_s, uint32_t *last, uint32_t *new_cnt)
{
	return add(h, raw, stride, cnt, now_s, false, last, new_cnt);
}

enum headers_verdict headers_add_worthy(struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt,
					int64_t now_s, uint32_t *last, uint32_t *new_cnt)
{
	return add(h, raw, stride, cnt, now_s, true, last, new_cnt);
}

void headers_set_min_work(struct headers *h, const struct u256 *work)
{
	static const struct u256 zero;

	h->min_work = work != NULL ? *work : zero;
	if (u256_cmp(&h->min_work, &zero) != 0)
		h->min_work.l[3] |= at(h, h->best[0])->work.l[3] & HEADERS_WORK_RELATIVE;
}

bool headers_has_min_work(const struct headers *h)
{
	return u256_cmp(&at(h, headers_best(h))->work, &h->min_work) >= 0;
}

/* ---- marks ---- */

/* The most work there is may be off the best chain now. */
static void best_move(struct headers *h)
{
	uint32_t best = headers_best(h);

	for (uint32_t i = 0; i < h->side_cnt; i++) {
		const struct node *n = at(h, h->side[i]);

		if (!(n->flags & (INVALID | ASIDE)) && u256_cmp(&n->work, &at(h, best)->work) > 0)
			best = h->side[i];
	}
	if (best != headers_best(h))
		tree_best_set(h, best);
}

/* Takes flags off and puts others on for idx and every header above it that is not on the best chain; idx itself may be
   on it, and then keeps its flags.  Each header is walked over once, however long the branches are. */
static void flags_under(struct headers *h, uint32_t idx, uint32_t off, uint32_t on)
{
	bool on_best = headers_on_best(h, idx);

	for (uint32_t i = 0; i < h->side_cnt; i++) {
		uint32_t up = h->side[i], end, state;

		while (up != idx && at(h, up)->side_pos != HEADERS_NONE && !(at(h, up)->flags & SEEN))
			up = at(h, up)->parent;
		end = up;
		state = SEEN | (at(h, up)->flags & UNDER);
		if (up == idx || (on_best && headers_on_best(h, up) && at(h, up)->height >= at(h, idx)->height))
			state |= UNDER;
		for (up = h->side[i]; up != end; up = at(h, up)->parent)
			at(h, up)->flags |= state;
	}
	if (!on_best)
		at(h, idx)->flags |= UNDER;
	for (uint32_t i = 0; i < h->side_cnt; i++) {
		struct node *n = at(h, h->side[i]);

		if (n->flags & UNDER)
			n->flags = (n->flags & ~off) | on;
		n->flags &= ~(uint32_t)(SEEN | UNDER);
	}
}

static void mark(struct headers *h, uint32_t idx, uint32_t flag)
{
	assert(idx != h->best[0]);
	/* Without memory for the cut the mark waits for the next call: nothing is half done. */
	if (headers_on_best(h, idx) && !tree_best_cut(h, at(h, idx)->parent))
		return;
	flags_under(h, idx, 0, flag);
	best_move(h);
}

void headers_mark_invalid(struct headers *h, uint32_t idx)
{
	mark(h, idx, INVALID);
}

void headers_set_aside(struct headers *h, uint32_t idx)
{
	mark(h, idx, ASIDE);
}

void headers_take_back(struct headers *h, uint32_t idx)
{
	flags_under(h, idx, ASIDE, 0);
	best_move(h);
}

void headers_each_stale(const struct headers *h, bool (*cb)(void *arg, uint32_t first, uint32_t tip), void *arg)
{
	for (uint32_t i = 0; i < h->side_cnt; i++)
		at(h, at(h, h->side[i])->parent)->flags |= INNER;
	for (uint32_t i = 0, go = 1; i < h->side_cnt; i++) {
		uint32_t tip = h->side[i], first = tip;

		if (at(h, tip)->flags & INNER || !go)
			continue;
		while (!headers_on_best(h, at(h, first)->parent))
			first = at(h, first)->parent;
		go = cb(arg, first, tip);
	}
	for (uint32_t i = 0; i < h->side_cnt; i++)
		at(h, at(h, h->side[i])->parent)->flags &= ~INNER;
}

/* ---- life and views ---- */

struct headers *headers_new(const struct network *n, const struct headers_root *root, uint64_t seed,
			    uint32_t headers_max)
{
	struct headers_root genesis = {.hash = n->genesis_hash, .header = n->genesis_header};
	struct headers *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	if (root == NULL)
		root = &genesis;
	h->net = n;
	h->seed = seed;
	h->node_max = headers_max != 0 ? headers_max : HEADERS_MAX_DEFAULT;
	if (!tree_init(h, root)) {
		headers_free(h);
		return NULL;
	}
	if (!(at(h, h->best[0])->work.l[3] & HEADERS_WORK_RELATIVE))
		headers_set_min_work(h, &n->min_chain_work);
	return h;
}

void headers_free(struct headers *h)
{
	if (h == NULL)
		return;
	tree_free(h);
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

bool headers_is_fit(const struct headers *h, uint32_t idx)
{
	return !(at(h, idx)->flags & (INVALID | ASIDE));
}

uint32_t headers_parent(const struct headers *h, uint32_t idx)
{
	return at(h, idx)->parent;
}

uint32_t headers_ancestor(const struct headers *h, uint32_t idx, uint32_t height)
{
	return height <= at(h, idx)->height ? tree_ancestor(h, idx, height) : HEADERS_NONE;
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

uint32_t headers_locator(const struct headers *h, uint32_t idx, struct hash256 out[HEADERS_LOCATOR_MAX])
{
	uint32_t height[101];
	uint32_t root_height = at(h, h->best[0])->height;
	uint32_t cnt = rules_locator_heights(height, at(h, idx)->height - root_height);

	for (uint32_t i = 0; i < cnt; i++) {
		idx = tree_ancestor(h, idx, root_height + height[i]);
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
