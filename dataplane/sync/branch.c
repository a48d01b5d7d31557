/* branch.c - branches whose blocks are invalid, or do not come.

   Headers alone decide which chain is best, so whoever has spent the work can name a best chain whose next block
   is invalid, or does not exist.  The first marks the branch for good (body.h says when).  The second sets it
   aside for a while: when the block has been waited for in vain, and a ready peer has another chain that leads
   further than what was delivered so far.  A branch set aside is tried again, with back-off, while some peer
   claims to have it; those who claimed it and did not deliver are dropped.  Where there is no other chain, the
   block is asked for again without end, as often as the back-off of its peers allows. */
#include "sync/sync_priv.h"

static bool claims(const struct sync *s, const struct peer *p, uint32_t idx)
{
	uint32_t best = p->state == PEER_READY && p->best_known ? headers_find(s->chain, &p->best)
								: HEADERS_NONE;

	return best != HEADERS_NONE && headers_ancestor(s->chain, best, headers_height(s->chain, idx)) == idx;
}

static bool anybody_claims(const struct sync *s, uint32_t idx)
{
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		if (claims(s, s->peer[i], idx))
			return true;
	return false;
}

/* A ready peer has a chain without idx that leads further than what has been delivered. */
static bool other_chain(const struct sync *s, uint32_t idx)
{
	bool below = headers_ancestor(s->chain, s->applied, headers_height(s->chain, idx)) == idx;
	const struct u256 *have = headers_work(s->chain, below ? headers_parent(s->chain, idx) : s->applied);

	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		const struct peer *p = s->peer[i];
		uint32_t best;

		if (p->state != PEER_READY || !p->best_known || claims(s, p, idx))
			continue;
		best = headers_find(s->chain, &p->best);
		if (best != HEADERS_NONE && headers_is_fit(s->chain, best) &&
		    u256_cmp(headers_work(s->chain, best), have) > 0)
			return true;
	}
	return false;
}

/* ---- set aside ---- */

static struct aside *aside_find(struct sync *s, const struct hash256 *hash)
{
	for (uint32_t i = 0; i < s->aside_cnt; i++)
		if (hash256_eq(&s->aside[i].hash, hash))
			return &s->aside[i];
	return NULL;
}

static void aside_del(struct sync *s, struct aside *a)
{
	*a = s->aside[--s->aside_cnt];
}

static void take_back(struct sync *s, struct aside *a)
{
	uint32_t idx = headers_find(s->chain, &a->hash);

	a->active = false;
	if (idx == HEADERS_NONE)
		return;
	count(s, CNT_branches_taken_back);
	headers_take_back(s->chain, idx);
	sync_chain_changed(s);
}

/* With all places taken the first one goes: its branch is tried again now. */
static struct aside *aside_add(struct sync *s, const struct hash256 *hash)
{
	struct aside *a = aside_find(s, hash);

	if (a != NULL)
		return a;
	if (s->aside_cnt == ASIDE_MAX) {
		if (s->aside[0].active)
			take_back(s, &s->aside[0]);
		aside_del(s, &s->aside[0]);
	}
	a = &s->aside[s->aside_cnt++];
	*a = (struct aside){.hash = *hash};
	return a;
}

static void set_aside(struct sync *s, uint32_t idx)
{
	struct hash256 hash = *headers_hash(s->chain, idx);
	struct aside *a = aside_add(s, &hash);
	uint64_t claimed = 0;

	count(s, CNT_branches_set_aside);
	a->active = true;
	a->backoff_ns = a->backoff_ns * 2 < ASIDE_MIN_NS ? ASIDE_MIN_NS : a->backoff_ns * 2;
	if (a->backoff_ns > ASIDE_MAX_NS)
		a->backoff_ns = ASIDE_MAX_NS;
	a->retry_ns = s->now_ns + a->backoff_ns;
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		if (claims(s, s->peer[i], idx) && sync_since(s, s->peer[i]->state_since_ns) > DEADLINE_BYTE_NS)
			claimed |= 1ull << i;
	headers_set_aside(s->chain, idx);
	sync_chain_changed(s);
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		if (claimed & 1ull << i)
			peer_drop(s, s->peer[i], CNT_peer_drop_branch_withheld);
}

static void retry(struct sync *s)
{
	for (uint32_t i = 0; i < s->aside_cnt; i++) {
		struct aside *a = &s->aside[i];
		uint32_t idx;

		if (!a->active || s->now_ns < a->retry_ns)
			continue;
		idx = headers_find(s->chain, &a->hash);
		if (idx == HEADERS_NONE) {
			aside_del(s, a);
			return;
		}
		if (anybody_claims(s, idx)) {
			take_back(s, a);
			return;
		}
		a->retry_ns = s->now_ns + ASIDE_LOOK_NS;
	}
}

uint32_t branch_aside_cnt(const struct sync *s)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < s->aside_cnt; i++)
		cnt += s->aside[i].active;
	return cnt;
}

/* ---- the next block ---- */

/* The block that the caller's chain needs next and that is not at hand; HEADERS_NONE: none, or peers are not to
   blame for it. */
static uint32_t waited_for(struct sync *s)
{
	const struct slot *head = download_head(s);
	bool ready = false;

	if (s->base_state == BASE_SEEK || (head != NULL ? head->state == SLOT_READY : s->pool_dry))
		return HEADERS_NONE;
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		ready |= s->peer[i]->state == PEER_READY;
	return ready ? headers_at(s->chain, events_next_height(s)) : HEADERS_NONE;
}

static uint64_t patience(struct sync *s)
{
	const struct slot *head = download_head(s);
	uint64_t ns = aside_find(s, &s->wait_hash) != NULL ? UNDELIVERED_AGAIN_NS : UNDELIVERED_NS;

	return head != NULL && head->state == SLOT_ARRIVING ? 3 * ns : ns;
}

void branch_tick(struct sync *s)
{
	const struct hash256 *hash;
	uint32_t idx;

	retry(s);
	idx = waited_for(s);
	if (idx == HEADERS_NONE) {
		s->wait_since_ns = 0;
		return;
	}
	hash = headers_hash(s->chain, idx);
	if (s->wait_since_ns == 0 || !hash256_eq(hash, &s->wait_hash)) {
		s->wait_hash = *hash;
		/* Bad bodies that came meanwhile do not count as a block. */
		s->wait_since_ns = s->bad_known && hash256_eq(hash, &s->bad_hash) ? s->bad_since_ns : s->now_ns;
	}
	if (sync_since(s, s->wait_since_ns) <= patience(s) || !other_chain(s, idx))
		return;
	s->wait_since_ns = 0;
	set_aside(s, idx);
}

void branch_good(struct sync *s, const struct hash256 *hash)
{
	struct aside *a = s->aside_cnt != 0 ? aside_find(s, hash) : NULL;

	if (a != NULL)
		aside_del(s, a);
}

void branch_condemn(struct sync *s, const struct hash256 *hash)
{
	uint32_t idx = headers_find(s->chain, hash);

	if (idx == HEADERS_NONE || idx == headers_root_idx(s->chain))
		return;
	count(s, CNT_branches_invalid);
	headers_mark_invalid(s->chain, idx);
	sync_chain_changed(s);
}
