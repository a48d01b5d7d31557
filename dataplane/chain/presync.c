#include "chain/presync.h"

#include <stdlib.h>

#include "btc/bytes.h"
#include "chain/headers_priv.h"

struct presync {
	enum presync_state state;
	uint32_t parent; /* known header that the chain stands on, referenced */
	uint32_t stored; /* last one stored, referenced; parent at first */

	/* Of the last header measured. */
	struct hash256 last;
	bool bits_known;
	uint32_t bits, height;
	struct u256 work;

	/* The batches measured. */
	struct {
		struct hash256 last;
		uint32_t cnt;
	} * kept;
	uint32_t kept_cnt, kept_cap, kept_pos; /* pos: the next one to store */
};

struct presync *presync_new(struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt)
{
	struct presync *p;
	struct hash256 hash;
	uint32_t parent, i = 0;

	if (cnt == 0)
		return NULL;
	memcpy(hash.b, raw + 4, HASH_SZ);
	parent = headers_find(h, &hash);
	for (; i < cnt && parent != HEADERS_NONE; i++) {
		uint32_t idx;

		hash = header_hash(raw + i * stride);
		idx = headers_find(h, &hash);
		if (idx == HEADERS_NONE)
			break;
		parent = idx;
	}
	if (parent == HEADERS_NONE || i == cnt || (p = calloc(1, sizeof(*p))) == NULL)
		return NULL;
	p->parent = p->stored = parent;
	p->last = at(h, parent)->hash;
	p->bits_known = (at(h, parent)->flags & KNOWN) != 0;
	p->bits = at(h, parent)->bits;
	p->height = at(h, parent)->height;
	p->work = at(h, parent)->work;
	headers_ref(h, p->parent);
	headers_ref(h, p->stored);
	return p;
}

void presync_free(struct presync *p, struct headers *h)
{
	if (p == NULL)
		return;
	headers_unref(h, p->parent);
	headers_unref(h, p->stored);
	free(p->kept);
	free(p);
}

enum presync_state presync_state(const struct presync *p)
{
	return p->state;
}

uint32_t presync_measured(const struct presync *p)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < p->kept_cnt; i++)
		cnt += p->kept[i].cnt;
	return cnt;
}

static const struct hash256 *expected(const struct presync *p, const struct headers *h)
{
	return p->state == PRESYNC_STORING ? headers_hash(h, p->stored) : &p->last;
}

bool presync_is_next(const struct presync *p, const struct headers *h, const uint8_t *raw)
{
	/* The first batch may begin with headers that are known. */
	return p->kept_cnt == 0 || memcmp(raw + 4, expected(p, h)->b, HASH_SZ) == 0;
}

uint32_t presync_locator(const struct presync *p, const struct headers *h,
			 struct hash256 out[HEADERS_LOCATOR_MAX])
{
	uint32_t cnt;

	if (p->state == PRESYNC_STORING)
		return headers_locator(h, p->stored, out);
	cnt = headers_locator(h, p->parent, out);
	if (p->kept_cnt == 0)
		return cnt;
	memmove(out + 1, out, cnt * sizeof(out[0]));
	out[0] = p->last;
	return cnt + 1;
}

static enum headers_verdict refuse(struct presync *p, enum headers_verdict v)
{
	p->state = PRESYNC_REFUSED;
	return v;
}

/* One header, against what is known of the one before it. */
static enum headers_verdict measure_one(struct presync *p, struct headers *h, const uint8_t *raw)
{
	struct hash256 hash = header_hash(raw);
	uint32_t bits = load_le32(raw + 72);
	struct u256 work;

	if (memcmp(raw + 4, p->last.b, HASH_SZ) != 0)
		return HEADERS_NOT_A_CHAIN;
	if (!pow_valid(h->net, &hash, bits))
		return HEADERS_BAD_POW;
	if (p->bits_known && !rules_permitted(h->net, p->height + 1, p->bits, bits))
		return HEADERS_BAD_BITS;
	work = tree_work_of(h, bits);
	p->work = u256_add(&p->work, &work);
	p->last = hash;
	p->bits = bits;
	p->bits_known = true;
	p->height++;
	return HEADERS_OK;
}

static bool keep(struct presync *p, uint32_t cnt)
{
	if (p->kept_cnt == p->kept_cap) {
		uint32_t cap = p->kept_cap != 0 ? 2 * p->kept_cap : 16;
		void *kept = realloc(p->kept, cap * sizeof(*p->kept));

		if (kept == NULL)
			return false;
		p->kept = kept;
		p->kept_cap = cap;
	}
	p->kept[p->kept_cnt].last = p->last;
	p->kept[p->kept_cnt++].cnt = cnt;
	return true;
}

static uint32_t skip_known(const struct headers *h, const uint8_t *raw, size_t stride, uint32_t cnt)
{
	uint32_t i = 0;

	for (; i < cnt; i++) {
		struct hash256 hash = header_hash(raw + i * stride);

		if (headers_find(h, &hash) == HEADERS_NONE)
			break;
	}
	return i;
}

static enum headers_verdict measure(struct presync *p, struct headers *h, const uint8_t *raw, size_t stride,
				    uint32_t cnt)
{
	struct u256 need = headers_threshold(h);
	uint32_t skip = p->kept_cnt == 0 ? skip_known(h, raw, stride, cnt) : 0;
	bool enough;

	for (uint32_t i = skip; i < cnt; i++) {
		enum headers_verdict v = measure_one(p, h, raw + i * stride);

		if (v != HEADERS_OK)
			return refuse(p, v);
	}
	if (p->height - at(h, p->parent)->height > h->node_max || !keep(p, cnt - skip))
		return refuse(p, HEADERS_FULL);
	enough = u256_cmp(&p->work, &need) >= 0;
	if (!enough && cnt < HEADERS_BATCH_MAX)
		return refuse(p, HEADERS_LOW_WORK);
	if (enough)
		p->state = PRESYNC_STORING;
	return HEADERS_OK;
}

static enum headers_verdict store(struct presync *p, struct headers *h, const uint8_t *raw, size_t stride,
				  uint32_t cnt, int64_t now_s, uint32_t *last, uint32_t *new_cnt)
{
	uint32_t want = p->kept[p->kept_pos].cnt;
	bool is_last = p->kept_pos + 1 == p->kept_cnt;
	struct hash256 hash;
	enum headers_verdict v;

	if (cnt >= want)
		hash = header_hash(raw + (want - 1) * stride);
	if (cnt < want || !hash256_eq(&hash, &p->kept[p->kept_pos].last)) {
		p->state = PRESYNC_CHANGED;
		return HEADERS_OK;
	}
	/* What follows on a chain that has the work is as welcome as the chain. */
	v = headers_add_worthy(h, raw, stride, is_last ? cnt : want, now_s, last, new_cnt);
	if (*last != HEADERS_NONE) {
		headers_ref(h, *last);
		headers_unref(h, p->stored);
		p->stored = *last;
	}
	if (v != HEADERS_OK)
		return refuse(p, v);
	p->kept_pos++;
	if (is_last)
		p->state = PRESYNC_DONE;
	return v;
}

enum headers_verdict presync_add(struct presync *p, struct headers *h, const uint8_t *raw, size_t stride,
				 uint32_t cnt, int64_t now_s, uint32_t *last, uint32_t *new_cnt)
{
	*last = HEADERS_NONE;
	*new_cnt = 0;
	return p->state == PRESYNC_MEASURING ? measure(p, h, raw, stride, cnt)
					     : store(p, h, raw, stride, cnt, now_s, last, new_cnt);
}
