/* branch.c - branches whose blocks are invalid, or do not come.

   Headers alone decide which chain is best, so whoever has spent the work can name a best chain whose next block
   is invalid, or does not exist.  The first marks the branch for good (body.h says when).  The second sets it
   aside for a while: when the block has been waited for in vain, and a ready peer has another chain that leads
   further than what was delivered so far.  It is tried again, with back-off, while some peer claims to have it;
   those who claimed it and did not deliver are dropped.  Where there is no other chain, the block is asked for
   again without end, as often as the back-off of its peers allows.  A branch that no ready peer claims any more is
   set aside too, until one does: there is nobody to ask. */
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

/* The caller's chain has idx already: it is wanted for CHAIN_FILL. */
static bool is_below(const struct sync *s, uint32_t idx)
{
	return headers_ancestor(s->chain, s->applied, headers_height(s->chain, idx)) == idx;
}

/* The most work that a ready peer has without idx, if it leads further than what has been delivered; HEADERS_NONE: none.
   For a fill nothing has been delivered, so any other branch will do. */
static uint32_t other_chain(const struct sync *s, uint32_t idx)
{
	bool below = is_below(s, idx);
	uint32_t found = HEADERS_NONE;
	struct u256 most = {{0}};

	if (!below)
		most = *headers_work(s->chain, s->applied);
	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		const struct peer *p = s->peer[i];
		uint32_t best;

		if (p->state != PEER_READY || !p->best_known || claims(s, p, idx))
			continue;
		best = headers_find(s->chain, &p->best);
		if (best == HEADERS_NONE || !headers_is_fit(s->chain, best) ||
		    (below && headers_on_best(s->chain, best)) ||
		    u256_cmp(headers_work(s->chain, best), &most) <= 0)
			continue;
		most = *headers_work(s->chain, best);
		found = best;
	}
	return found;
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
	a->backoff_ns *= 2;
	if (a->backoff_ns < (anybody_claims(s, idx) ? ASIDE_MIN_NS : UNCLAIMED_NS))
		a->backoff_ns = anybody_claims(s, idx) ? ASIDE_MIN_NS : UNCLAIMED_NS;
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
		if (idx == HEADERS_NONE)
			aside_del(s, a); /* forgotten; whoever names it again begins anew */
		else if (anybody_claims(s, idx))
			take_back(s, a);
		else
			a->retry_ns = s->now_ns + ASIDE_LOOK_NS;
		return; /* one a tick */
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

/* The block that the caller's chain needs next and that is not at hand; HEADERS_NONE: none, or we have no room. */
static uint32_t waited_for(struct sync *s)
{
	const struct slot *head = download_head(s);

	if (s->base_state == BASE_SEEK || (head != NULL && head->state == SLOT_READY) ||
	    ((head == NULL || head->buf == NULL) && s->pool_dry))
		return HEADERS_NONE;
	return headers_at(s->chain, events_next_height(s));
}

static void watch(struct sync *s, uint32_t idx)
{
	bool ready = false;
	const struct hash256 *hash;

	for (uint32_t i = 0; i < s->peer_cnt; i++)
		ready |= s->peer[i]->state == PEER_READY;
	if (!ready)
		s->ready_since_ns = 0;
	else if (s->ready_since_ns == 0)
		s->ready_since_ns = s->now_ns;
	if (idx == HEADERS_NONE) {
		s->wait_since_ns = 0;
		return;
	}
	hash = headers_hash(s->chain, idx);
	if (s->wait_since_ns != 0 && hash256_eq(hash, &s->wait_hash))
		return;
	s->wait_hash = *hash;
	/* Bad bodies that came meanwhile do not count as a block. */
	s->wait_since_ns = s->bad_known && hash256_eq(hash, &s->bad_hash) ? s->bad_since_ns : s->now_ns;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Waited for in vain, while there was somebody to ask. */
static bool is_given_up(struct sync *s, uint32_t idx, uint32_t other)
{
	const struct slot *head = download_head(s);
	uint64_t from = later(s->wait_since_ns, s->ready_since_ns);
	uint64_t ns = aside_find(s, &s->wait_hash) != NULL ? UNDELIVERED_AGAIN_NS : UNDELIVERED_NS;

	if (s->ready_since_ns == 0)
		return false;
	if (anybody_claims(s, idx)) {
		s->claimed_ns = s->now_ns;
		if (head != NULL && head->state == SLOT_ARRIVING)
			ns *= 3;
		return other != HEADERS_NONE && sync_since(s, from) > ns;
	}
	return sync_since(s, later(from, s->claimed_ns)) >
	       (other != HEADERS_NONE ? UNCLAIMED_NS : UNDELIVERED_NS);
}

void branch_tick(struct sync *s)
{
	uint32_t idx, other;

	retry(s);
	idx = waited_for(s);
	watch(s, idx);
	if (idx == HEADERS_NONE)
		return;
	other = other_chain(s, idx);
	if (!is_given_up(s, idx, other))
		return;
	s->wait_since_ns = 0;
	/* Of what is only filled in nothing has been seen: the whole branch is in doubt. */
	if (is_below(s, idx) && other != HEADERS_NONE)
		idx = headers_at(s->chain, headers_height(s->chain, headers_fork(s->chain, other)) + 1);
	set_aside(s, idx);
}

void branch_good(struct sync *s, const struct hash256 *hash)
{
	struct aside *a = s->aside_cnt != 0 ? aside_find(s, hash) : NULL;

	if (a != NULL && !a->active)
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
