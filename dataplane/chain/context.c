/* context.c - difficulty and time of a header at its place in the tree: spec/bitcoin.md sections 13.2, 13.3. */
#include "chain/headers_priv.h"

/* Whether bits may follow parent at the start of a period. */
static bool boundary_ok(const struct headers *h, uint32_t parent, uint32_t height, uint32_t bits)
{
	const struct node *p = at(h, parent);
	uint32_t first = tree_ancestor(h, parent, height - RULES_RETARGET_INTERVAL);

	if (first != HEADERS_NONE && (at(h, first)->flags & KNOWN)) {
		uint32_t base = h->net->id == NET_TESTNET4 ? at(h, first)->bits : p->bits;

		return bits == rules_retarget(h->net, base, (int64_t)p->time - (int64_t)at(h, first)->time);
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

static bool version_ok(const struct network *n, uint32_t height, int32_t version)
{
	if (height >= n->bip65_height)
		return version >= 4;
	if (height >= n->bip66_height)
		return version >= 3;
	return height < n->bip34_height || version >= 2;
}

enum headers_verdict context_check(const struct headers *h, uint32_t parent, const struct header_fields *f,
				   int64_t now_s)
{
	if (at(h, parent)->flags & INVALID)
		return HEADERS_INVALID;
	if (!bits_ok(h, parent, f))
		return HEADERS_BAD_BITS;
	if (!version_ok(h->net, at(h, parent)->height + 1, f->version))
		return HEADERS_BAD_VERSION;
	if (!time_ok(h, parent, f->time))
		return HEADERS_TIME_OLD;
	if ((int64_t)f->time - RULES_FUTURE_S > now_s)
		return HEADERS_FUTURE;
	return HEADERS_OK;
}

uint32_t context_real_bits(const struct headers *h, uint32_t height, uint32_t bits, uint32_t parent_real_bits)
{
	if (height % RULES_RETARGET_INTERVAL == 0 || bits != h->net->pow_limit_bits)
		return bits;
	return parent_real_bits;
}
