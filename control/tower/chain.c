#include <errno.h>
#include <stdlib.h>

#include "log/log.h"
#include "tower/tower_priv.h"

#define RESCAN_MAX 100u /* blocks below the tip that a restart may be asked to look at again */

static const struct slice tip_key = {(const uint8_t *)"tip", 3};

void chain_put_tip(struct change *c, uint32_t height, const struct hash256 *hash, uint32_t scanned)
{
	uint8_t v[TIP_ROW_SZ];

	c->sets_tip = true;
	c->tip = (struct tip_row){height, scanned, *hash};
	if (c->t->cfg.settles && c->t->unsettled_height < scanned)
		c->tip.resume_height = c->t->unsettled_height;
	tip_row_encode(v, &c->tip);
	store_put(c->b, STORE_META, tip_key, (struct slice){v, sizeof(v)});
	c->ops++;
}

int chain_load(struct tower *t)
{
	struct slice v;
	int rc = store_get(t->st, STORE_META, tip_key, &v);

	t->has_tip = rc == 0;
	if (rc == 0 && !tip_row_decode(v, &t->tip))
		return -EPROTO;
	return rc == -ENOENT ? 0 : rc;
}

/* a - b, or 0 if that would be negative (a chain whose work counts from a root above genesis). */
static struct u256 u256_sub_floor(const struct u256 *a, const struct u256 *b)
{
	struct u256 d = {{0}};
	uint64_t borrow = 0;

	if (u256_cmp(a, b) < 0)
		return d;
	for (unsigned i = 0; i < 4; i++) {
		uint64_t x = a->l[i] - b->l[i], y = x - borrow;

		borrow = (a->l[i] < b->l[i]) | (x < borrow);
		d.l[i] = y;
	}
	return d;
}

static struct u256 work_below(const struct network *n, const struct u256 *work, const uint8_t header[HEADER_SZ])
{
	struct header_fields f;
	struct u256 target, own;

	header_decode(&f, header);
	if (!pow_target(n, f.bits, &target))
		return *work;
	own = pow_work(&target);
	return u256_sub_floor(work, &own);
}

/* Hash and work of a block below the tip.  The block that a chain is rooted at has no row: the first one on top of it
   tells what it was. */
static bool block_at(struct tower *t, uint32_t height, struct header_row *r)
{
	struct header_fields f;
	struct u256 work;

	if (header_get(t, height, r) == 0)
		return true;
	if (height == UINT32_MAX || header_get(t, height + 1, r) < 0)
		return false;
	header_decode(&f, r->header);
	work = u256_from_le(r->work);
	work = work_below(t->cfg.network, &work, r->header);
	u256_to_le(r->work, &work);
	r->hash = f.prev;
	return true;
}

bool chain_has(struct tower *t, uint32_t height, const struct hash256 *hash)
{
	struct header_row r;

	if (!t->has_tip || height > t->tip.height)
		return false;
	if (height == t->tip.height)
		return hash256_eq(hash, &t->tip.hash);
	return block_at(t, height, &r) && hash256_eq(hash, &r.hash);
}

int chain_start(struct tower *t, const struct link_chain_start *rec, const uint8_t *headers)
{
	struct u256 work = u256_from_le(rec->work);
	struct hash256 hash = rec->hash;
	struct change c;

	if (t->has_tip) {
		/* Of a resumed session: it must be on our chain, or nothing that follows will fit. */
		if (!chain_has(t, rec->height, &rec->hash))
			log_warn("chain_start", "The session begins at a block that is not on our chain",
				 log_u64("height", rec->height), log_hash("hash", rec->hash.b));
		return 0;
	}
	change_begin(&c, t);
	for (uint32_t i = 0; i < rec->header_cnt && i <= rec->height; i++) {
		const uint8_t *h = headers + (size_t)(rec->header_cnt - 1 - i) * HEADER_SZ;
		struct key k = key_height(rec->height - i);
		struct header_row r = {.hash = hash};
		uint8_t v[HEADER_ROW_SZ];
		struct header_fields f;

		memcpy(r.header, h, HEADER_SZ);
		u256_to_le(r.work, &work);
		header_row_encode(v, &r);
		change_put(&c, STORE_HEADERS, &k, (struct slice){v, sizeof(v)});
		header_decode(&f, h);
		hash = f.prev;
		work = work_below(t->cfg.network, &work, h);
	}
	chain_put_tip(&c, rec->height, &rec->hash, rec->height);
	log_info("chain_start", "The tower begins at the tip", log_u64("height", rec->height),
		 log_hash("hash", rec->hash.b));
	return change_commit(&c, NULL, NULL);
}

struct collecting {
	uint8_t *out;
	uint32_t max, cnt, top, next; /* next: height expected next, downwards */
	uint8_t work[32];             /* of the lowest one so far */
};

static bool collect(void *arg, struct slice key, struct slice value)
{
	struct collecting *x = arg;
	struct header_row r;
	uint32_t height;

	/* The genesis block is never among them: headers follow a root, and it can only be one. */
	if (x->cnt == x->max || !key_height_decode(key, &height) || height != x->next || height == 0 ||
	    !header_row_decode(value, &r))
		return false;
	/* Newest first, from the end of the room. */
	memcpy(x->out + (size_t)(x->max - 1 - x->cnt) * HEADER_SZ, r.header, HEADER_SZ);
	memcpy(x->work, r.work, sizeof(x->work));
	x->cnt++;
	x->next--;
	return true;
}

/* The block to go on from, as a root without headers. */
static void resume_block(struct tower *t, struct tower_resume *out)
{
	uint32_t h = t->tip.resume_height;
	struct header_row r;

	if (h < t->tip.height && t->tip.height - h > RESCAN_MAX)
		h = t->tip.height - RESCAN_MAX;
	for (; h < t->tip.height; h++)
		if (block_at(t, h, &r)) {
			out->root_hash = r.hash;
			out->root_height = h;
			memcpy(out->root_work, r.work, sizeof(out->root_work));
			return;
		}
	out->root_hash = t->tip.hash;
	out->root_height = t->tip.height;
	if (header_get(t, t->tip.height, &r) == 0)
		memcpy(out->root_work, r.work, sizeof(out->root_work));
}

void tower_resume_point(struct tower *t, struct tower_resume *out, uint8_t *headers, uint32_t max)
{
	struct collecting x = {.out = headers, .max = max};
	struct header_fields f;
	struct u256 work;
	struct key from;

	memset(out, 0, sizeof(*out));
	if (!t->has_tip)
		return;
	out->resume = true;
	resume_block(t, out);
	x.top = x.next = out->root_height;
	from = key_height(x.top);
	if (max == 0 ||
	    store_scan(t->st, STORE_HEADERS, (struct slice){NULL, 0}, key_slice(&from), true, true, collect,
		       &x) < 0 ||
	    x.cnt == 0)
		return;
	memmove(headers, headers + (size_t)(max - x.cnt) * HEADER_SZ, (size_t)x.cnt * HEADER_SZ);
	header_decode(&f, headers);
	work = u256_from_le(x.work);
	work = work_below(t->cfg.network, &work, headers);
	u256_to_le(out->root_work, &work);
	out->root_hash = f.prev;
	out->root_height = x.top - x.cnt;
	out->header_cnt = x.cnt;
}

void tower_watch_settled(struct tower *t)
{
	/* Reported is not applied while the store cannot write. */
	if (t->ev_first == NULL)
		t->unsettled_height = HEIGHT_NONE;
}
