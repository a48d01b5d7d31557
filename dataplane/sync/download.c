/* download.c - the window: consecutive blocks of the best chain, from the next one to hand out.

   A slot is opened only with a buffer and a peer that can take the request, in order of height; so the buffers
   are always with the lowest heights and the pool cannot run dry under the block everybody waits for.  What a
   connection owes is kept apart from what the window wants: a reorg, a moved request or a bad block change the
   second, while the bytes of the first still arrive. */
#include "sync/sync_priv.h"

#define AVOIDED_COST (1u << 20)

static struct slot *slot_at(struct sync *s, uint32_t i)
{
	return &s->slot[(s->win_head + i) & (SYNC_WINDOW_MAX - 1)];
}

static struct slot *slot_find(struct sync *s, const struct hash256 *hash)
{
	uint32_t idx = headers_find(s->chain, hash), height;

	if (idx == HEADERS_NONE)
		return NULL;
	height = headers_height(s->chain, idx);
	if (height < s->win_height || height - s->win_height >= s->win_cnt ||
	    slot_at(s, height - s->win_height)->idx != idx)
		return NULL;
	return slot_at(s, height - s->win_height);
}

/* ---- what a connection owes ---- */

static uint32_t owed_find(const struct peer *p, const struct hash256 *hash)
{
	uint32_t i = 0;

	while (i < p->owed_cnt && !hash256_eq(&p->owed[i].hash, hash))
		i++;
	return i;
}

static void owed_del(struct peer *p, uint32_t i)
{
	p->owed_cnt--;
	memmove(&p->owed[i], &p->owed[i + 1], (p->owed_cnt - i) * sizeof(p->owed[0]));
}

/* ---- asking ---- */

/* Only blocks of a branch that it has announced, and not those that it has pruned away. */
bool download_can_serve(const struct sync *s, const struct peer *p, uint32_t height)
{
	return p->state == PEER_READY && p->reach != HEADERS_NONE && p->reach >= height &&
	       height >= trust_keeps_from(s, p);
}

/* Whether p sent a bad copy of the block, and somebody else can be waited for instead. */
static bool is_distrusted(const struct sync *s, uint32_t id, uint32_t height, const struct hash256 *hash)
{
	if (!s->bad_known || s->bad_peer != id || !hash256_eq(&s->bad_hash, hash))
		return false;
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		if (i != id && download_can_serve(s, s->peer[i], height))
			return true;
	return false;
}

/* The peer that would bring the block first, by its speed and what it owes, and is not `not`; one that owes it already
   comes first, one that let others wait last.  NULL: none. */
static struct peer *pick(struct sync *s, uint32_t height, const struct hash256 *hash, uint32_t not )
{
	struct peer *best = NULL;
	uint32_t best_cost = UINT32_MAX;

	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		struct peer *p = s->peer[i];
		bool owes;
		uint32_t cost;

		if (i == not || !download_can_serve(s, p, height))
			continue;
		owes = owed_find(p, hash) < p->owed_cnt;
		if (!owes && p->owed_cnt >= pace_quota(s, p))
			continue;
		cost = owes ? 0 : (1 + p->owed_cnt) * pace_ratio(s, p);
		if (pace_is_avoided(s, p))
			cost += AVOIDED_COST;
		if (cost < best_cost && !is_distrusted(s, i, height, hash)) {
			best = p;
			best_cost = cost;
		}
	}
	return best;
}

static void ask(struct sync *s, struct slot *slot, struct peer *p)
{
	const struct hash256 *hash = headers_hash(s->chain, slot->idx);

	slot->state = SLOT_ASKED;
	slot->peer_id = p->id;
	slot->asked_ns = s->now_ns;
	download_request(s, p, hash);
}

void download_request(struct sync *s, struct peer *p, const struct hash256 *hash)
{
	if (owed_find(p, hash) < p->owed_cnt)
		return;
	if (p->owed_cnt == 0)
		pace_busy(s, p);
	p->owed[p->owed_cnt++] = (struct owed){.hash = *hash, .asked_ns = s->now_ns, .ping_no = p->ping_no};
	p->ask[p->ask_cnt++] = (struct p2p_inv_item){
		.type = s->cfg.stripped ? P2P_INV_BLOCK : P2P_INV_WITNESS_BLOCK, .hash = *hash};
	count(s, CNT_blocks_requested);
}

static void send_asked(struct sync *s)
{
	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		struct peer *p = s->peer[i];
		uint32_t cnt = p->ask_cnt;
		uint8_t *out;

		if (cnt == 0)
			continue;
		out = peer_out(s, p, 3 + (size_t)cnt * P2P_INV_STRIDE);
		p->ask_cnt = 0;
		if (out != NULL)
			peer_send(s, p, P2P_GETDATA, p2p_inv_encode(out, p->ask, cnt));
	}
}

/* False: it has no buffer, and there is none. */
static bool slot_has_buf(struct sync *s, struct slot *slot)
{
	if (slot->buf == NULL)
		slot->buf = s->ops.buf_get(s->arg);
	if (slot->buf == NULL) {
		count(s, CNT_pool_empty);
		s->pool_dry = true;
	}
	return slot->buf != NULL;
}

static bool open_slot(struct sync *s)
{
	uint32_t idx = headers_at(s->chain, s->win_height + s->win_cnt);
	struct slot slot = {.idx = idx};
	struct peer *p;

	if (s->win_cnt == SYNC_WINDOW_MAX || idx == HEADERS_NONE)
		return false;
	p = pick(s, s->win_height + s->win_cnt, headers_hash(s->chain, idx), UINT32_MAX);
	if (p == NULL || !slot_has_buf(s, &slot))
		return false;
	*slot_at(s, s->win_cnt) = slot;
	ask(s, slot_at(s, s->win_cnt++), p);
	return true;
}

void download_schedule(struct sync *s)
{
	bool lacks_buf = false;

	s->pool_dry = false;
	if (!s->on || s->base_state == BASE_SEEK)
		return;
	for (uint32_t i = 0; i < s->win_cnt; i++) {
		struct slot *slot = slot_at(s, i);
		struct peer *p;

		if (slot->state != SLOT_WANTED)
			continue;
		p = pick(s, s->win_height + i, headers_hash(s->chain, slot->idx), UINT32_MAX);
		if (p != NULL && slot_has_buf(s, slot))
			ask(s, slot, p);
		lacks_buf |= slot->buf == NULL;
	}
	/* Later ones would take all buffers, and keep them until that one is there. */
	while (!lacks_buf && open_slot(s))
		;
	send_asked(s);
}

/* ---- the window moves ---- */

/* Whoever is writing into the slot's buffer stops. */
static void slot_close(struct sync *s, struct slot *slot)
{
	if (slot->state == SLOT_ARRIVING) {
		p2p_stream_block_forget(&s->peer[slot->peer_id]->stream);
		s->peer[slot->peer_id]->into = NULL;
	}
	if (slot->buf != NULL)
		s->ops.buf_put(s->arg, slot->buf);
	slot->buf = NULL;
}

static void truncate_to(struct sync *s, uint32_t cnt)
{
	while (s->win_cnt > cnt)
		slot_close(s, slot_at(s, --s->win_cnt));
}

void download_reset(struct sync *s)
{
	truncate_to(s, 0);
}

void download_rewind(struct sync *s)
{
	truncate_to(s, 0);
	s->win_height = events_next_height(s);
}

void download_follow(struct sync *s)
{
	uint32_t height = events_next_height(s), i = 0;

	if (height != s->win_height)
		truncate_to(s, 0);
	s->win_height = height;
	while (i < s->win_cnt && slot_at(s, i)->idx == headers_at(s->chain, height + i))
		i++;
	truncate_to(s, i);
	download_schedule(s);
}

struct slot *download_head(struct sync *s)
{
	return s->win_cnt > 0 ? slot_at(s, 0) : NULL;
}

void download_pop(struct sync *s)
{
	s->win_head++;
	s->win_cnt--;
	s->win_height++;
}

void download_peer_lost(struct sync *s, struct peer *p)
{
	stale_peer_lost(s, p);
	for (uint32_t i = 0; i < s->win_cnt; i++) {
		struct slot *slot = slot_at(s, i);

		if (slot->peer_id == p->id && (slot->state == SLOT_ASKED || slot->state == SLOT_ARRIVING)) {
			/* The scan may be reading what has come: nobody else may write there. */
			if (slot->state == SLOT_ARRIVING)
				slot_close(s, slot);
			slot->state = SLOT_WANTED;
			count(s, CNT_blocks_moved);
		}
	}
}

/* ---- blocks arrive ---- */

void download_block_head(struct sync *s, struct peer *p, uint64_t rx_ns)
{
	struct hash256 hash = header_hash(p->stream.block_header);
	struct slot *slot;

	if (owed_find(p, &hash) == p->owed_cnt) {
		peer_drop(s, p, CNT_peer_drop_unrequested_block);
		return;
	}
	p->arriving = hash;
	p->arriving_ns = rx_ns;
	slot = slot_find(s, &hash);
	/* A copy that was given up may still be the first to come. */
	if (slot != NULL && (slot->state == SLOT_WANTED || slot->state == SLOT_ASKED) &&
	    slot_has_buf(s, slot)) {
		slot->state = SLOT_ARRIVING;
		slot->peer_id = p->id;
		slot->first_ns = rx_ns;
		p2p_stream_block_to(&p->stream, slot->buf->data);
		p->into = slot->buf;
		if (s->ops.block_begins != NULL)
			s->ops.block_begins(s->arg, slot->buf, p->stream.payload_sz,
					    headers_height(s->chain, slot->idx));
	} else if (!stale_block_head(s, p, rx_ns)) {
		p2p_stream_block_to(&p->stream, NULL);
	}
}

void download_bytes(struct sync *s, const struct peer *p)
{
	if (s->ops.block_grows != NULL)
		s->ops.block_grows(s->arg, p->into, p->stream.got);
}

void download_block(struct sync *s, struct peer *p, uint64_t rx_ns)
{
	struct slot *slot = slot_find(s, &p->arriving);
	uint32_t i = owed_find(p, &p->arriving);

	if (i < p->owed_cnt)
		owed_del(p, i);
	p->last_block_ns = s->now_ns;
	pace_block(s, p);
	count(s, CNT_blocks_received);
	if (slot != NULL && slot->state == SLOT_ARRIVING && slot->peer_id == p->id) {
		slot->state = SLOT_READY;
		slot->buf->sz = p->stream.payload_sz;
		slot->last_ns = rx_ns;
		p->blocks++;
		p->into = NULL;
		if (s->ops.block_grows != NULL)
			s->ops.block_grows(s->arg, slot->buf, slot->buf->sz);
		stale_copy_used(s, p);
	} else if (!stale_block(s, p, rx_ns)) {
		count(s, CNT_blocks_late);
		stale_copy_used(s, p);
		/* It counted on this very copy, which began before the slot did. */
		if (slot != NULL && slot->state == SLOT_ASKED && slot->peer_id == p->id)
			slot->state = SLOT_WANTED;
	}
	download_schedule(s);
}

void download_not_found(struct sync *s, struct peer *p, const struct hash256 *hash)
{
	struct slot *slot = slot_find(s, hash);
	uint32_t i = owed_find(p, hash), idx = headers_find(s->chain, hash);

	if (i == p->owed_cnt)
		return;
	owed_del(p, i);
	stale_not_found(s, p, hash);
	/* No fault if it followed another branch meanwhile, as we did. */
	if (idx == HEADERS_NONE || !headers_on_best(s->chain, idx))
		return;
	if (!trust_lacks(s, p, hash))
		peer_drop(s, p, CNT_peer_drop_block_unavailable);
	else if (slot != NULL && slot->state == SLOT_ASKED && slot->peer_id == p->id)
		slot->state = SLOT_WANTED;
}

void download_pong(struct sync *s, struct peer *p, uint32_t ping_no)
{
	for (uint32_t i = 0; i < p->owed_cnt;) {
		struct hash256 hash = p->owed[i].hash;
		uint32_t generation = p->generation;

		/* Asked before that ping, and yet it was answered first: the node does not have the block. */
		if (p->owed[i].ping_no < ping_no)
			download_not_found(s, p, &hash);
		else
			i++;
		if (p->generation != generation)
			return;
	}
	download_schedule(s);
}

/* Everything else in the window is there, or owed by the same peer. */
static bool is_blocked(struct sync *s)
{
	const struct slot *head = slot_at(s, 0);
	uint32_t i = 1;

	while (i < s->win_cnt &&
	       (slot_at(s, i)->state == SLOT_READY ||
		(slot_at(s, i)->state == SLOT_ASKED && slot_at(s, i)->peer_id == head->peer_id)))
		i++;
	return i > 1 && i == s->win_cnt;
}

/* Another peer than the one that was asked, but none that is worse: one that let others wait, too, or owes it in vain. */
static struct peer *pick_instead(struct sync *s, const struct slot *slot, bool late_before)
{
	const struct hash256 *hash = headers_hash(s->chain, slot->idx);
	struct peer *p = pick(s, headers_height(s->chain, slot->idx), hash, slot->peer_id);

	if (p != NULL && pace_is_avoided(s, p) && (late_before || owed_find(p, hash) < p->owed_cnt))
		return NULL;
	return p;
}

/* A peer that keeps everybody waiting for the next block is not dropped before its deadline; but another one
   that has nothing better to do is asked for the same block, and then for all the others. */
static void hedge(struct sync *s)
{
	struct slot *head = download_head(s);
	struct peer *p;

	if (head != NULL && head->state == SLOT_ASKED && !pace_is_avoided(s, s->peer[head->peer_id]) &&
	    sync_since(s, head->asked_ns) >= (is_blocked(s) ? HEDGE_BLOCKED_NS : HEDGE_NS) &&
	    (p = pick_instead(s, head, false)) != NULL) {
		count(s, CNT_blocks_hedged);
		pace_avoid(s, s->peer[head->peer_id]);
		ask(s, head, p);
	}
	for (uint32_t i = 0; i < s->win_cnt; i++) {
		struct slot *slot = slot_at(s, i);

		if (slot->state != SLOT_ASKED || !pace_is_avoided(s, s->peer[slot->peer_id]) ||
		    (p = pick_instead(s, slot, true)) == NULL)
			continue;
		count(s, CNT_blocks_hedged);
		ask(s, slot, p);
	}
}

void download_tick(struct sync *s)
{
	hedge(s);
	stale_tick(s);
	download_schedule(s);
}
