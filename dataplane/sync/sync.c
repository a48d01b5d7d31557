#include <errno.h>
#include <stdlib.h>

#include "sync/sync_priv.h"

#define LAGGING_BLOCKS 2u /* one behind is on the way */

const char *const sync_counter_name[CNT_CNT] = {
#define C(name) #name "_total",
	SYNC_COUNTERS(C)
#undef C
};

/* splitmix64 */
uint64_t sync_random(struct sync *s)
{
	uint64_t z = s->rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

uint64_t sync_jitter(struct sync *s, uint64_t period_ns)
{
	return s->now_ns + period_ns + sync_random(s) % period_ns;
}

struct sync *sync_new(const struct sync_config *cfg, const struct sync_ops *ops, void *arg)
{
	struct sync *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->cfg = *cfg;
	s->ops = *ops;
	s->arg = arg;
	s->rng = cfg->nonce_seed;
	if (s->cfg.inflight_per_peer == 0)
		s->cfg.inflight_per_peer = 16;
	if (s->cfg.inflight_per_peer > SYNC_INFLIGHT_MAX)
		s->cfg.inflight_per_peer = SYNC_INFLIGHT_MAX;
	if (!broadcast_init(s)) {
		free(s);
		return NULL;
	}
	return s;
}

void sync_free(struct sync *s)
{
	if (s == NULL)
		return;
	sync_session_stop(s);
	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		peer_free(s->peer[i]);
		peer_free(s->push[i]);
	}
	broadcast_free(s);
	free(s->handed);
	free(s);
}

uint32_t sync_add_peer(struct sync *s, const struct net_addr *a)
{
	struct peer *blocks, *push;

	if (s->peer_cnt == SYNC_PEER_MAX)
		return UINT32_MAX;
	blocks = peer_new(s, s->peer_cnt, SYNC_BLOCKS, a);
	push = peer_new(s, s->peer_cnt, SYNC_PUSH, a);
	if (blocks == NULL || push == NULL) {
		peer_free(blocks);
		peer_free(push);
		return UINT32_MAX;
	}
	s->peer[s->peer_cnt] = blocks;
	s->push[s->peer_cnt] = push;
	return s->peer_cnt++;
}

uint32_t sync_peer_cnt(const struct sync *s)
{
	return s->peer_cnt;
}

/* ---- sessions ---- */

static int load_headers(struct sync *s, const struct sync_start *st)
{
	uint32_t done = 0;

	while (done < st->header_cnt) {
		uint32_t cnt = st->header_cnt - done, last, new_cnt;

		if (cnt > HEADERS_BATCH_MAX)
			cnt = HEADERS_BATCH_MAX;
		/* They were checked against the clock when they came; ours may be wrong by now. */
		if (headers_add_worthy(s->chain, st->headers + (size_t)done * HEADER_SZ, HEADER_SZ, cnt,
				       INT64_MAX, &last, &new_cnt) != HEADERS_OK ||
		    new_cnt != cnt)
			return -EINVAL;
		done += cnt;
	}
	return 0;
}

int sync_session_start(struct sync *s, const struct sync_start *st, uint64_t now_ns)
{
	struct headers_root root = {.hash = st->root_hash, .height = st->root_height, .work = st->root_work};
	bool genesis = hash256_is_zero(&st->root_hash) ||
		       hash256_eq(&st->root_hash, &s->cfg.network->genesis_hash);
	int rc;

	sync_session_stop(s);
	s->now_ns = now_ns;
	s->chain = headers_new(s->cfg.network, genesis ? NULL : &root, sync_random(s), 0);
	if (s->chain == NULL)
		return -ENOMEM;
	if (s->cfg.min_chain_work != NULL)
		headers_set_min_work(s->chain, s->cfg.min_chain_work);
	rc = load_headers(s, st);
	if (rc != 0) {
		headers_free(s->chain);
		s->chain = NULL;
		return rc;
	}
	s->on = true;
	s->resume = st->resume;
	s->base_state = BASE_SEEK;
	s->exhausted_ns = 0;
	s->base = s->applied = s->fork = s->best_seen = headers_best(s->chain);
	headers_ref(s->chain, s->applied);
	headers_ref(s->chain, s->base);
	s->bad_known = s->pool_dry = false;
	s->aside_cnt = 0;
	s->wait_since_ns = s->ready_since_ns = s->claimed_ns = 0;
	s->tick_ns = 0;
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		s->peer[i]->dial_at_ns = s->push[i]->dial_at_ns = now_ns;
	return 0;
}

void sync_session_stop(struct sync *s)
{
	if (!s->on)
		return;
	s->on = false;
	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		peer_end_session(s, s->push[i]);
		peer_end_session(s, s->peer[i]);
	}
	download_reset(s);
	stale_reset(s);
	broadcast_clear(s);
	s->epoch++;
	s->session++;
	headers_free(s->chain);
	s->chain = NULL;
}

bool sync_session_on(const struct sync *s)
{
	return s->on;
}

/* ---- where reporting begins ---- */

/* Whether a peer may still tell of a better chain shortly. */
static bool peer_pending(const struct peer *p)
{
	return peer_is_up(p) && !p->exhausted;
}

void sync_set_applied(struct sync *s, uint32_t idx)
{
	headers_unref(s->chain, s->applied);
	headers_ref(s->chain, idx);
	s->applied = idx;
	s->fork = headers_fork(s->chain, idx);
}

void sync_base_try(struct sync *s)
{
	bool any = false, pending = false;
	uint32_t root = headers_height(s->chain, headers_root_idx(s->chain)), top;

	if (s->base_state != BASE_SEEK)
		return;
	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		any |= s->peer[i]->state == PEER_READY && s->peer[i]->exhausted;
		pending |= peer_pending(s->peer[i]);
	}
	if (!any || !headers_has_min_work(s->chain))
		return;
	if (s->exhausted_ns == 0)
		s->exhausted_ns = s->now_ns;
	if (pending && s->now_ns - s->exhausted_ns < BASE_GRACE_NS)
		return;
	if (!s->resume) {
		headers_unref(s->chain, s->base);
		s->base = headers_best(s->chain);
		headers_ref(s->chain, s->base);
	}
	sync_set_applied(s, s->base);
	top = headers_height(s->chain, s->fork);
	/* The root's own block is never asked for: of a trusted root the peers may lack it, of genesis they do. */
	s->fill_next = top - root > s->cfg.recent_blocks ? top - s->cfg.recent_blocks + 1 : root + 1;
	s->filling = true;
	s->base_state = BASE_FOUND;
	download_follow(s);
}

void sync_chain_changed(struct sync *s)
{
	uint32_t best = headers_best(s->chain), fork;

	if (best == s->best_seen)
		return;
	s->best_seen = best;
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		protocol_reach(s, s->peer[i]);
	if (s->base_state == BASE_SEEK)
		return;
	fork = headers_fork(s->chain, s->applied);
	if (fork != s->fork && fork != s->applied)
		count(s, CNT_reorgs);
	s->fork = fork;
	download_follow(s);
}

/* ---- time ---- */

bool sync_tick(struct sync *s, uint64_t now_ns)
{
	if (now_ns > s->now_ns)
		s->now_ns = now_ns;
	if (now_ns < s->tick_ns)
		return false;
	s->tick_ns = now_ns + TICK_NS;
	if (!s->on)
		return false;
	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		peer_timers(s, s->peer[i]);
		peer_timers(s, s->push[i]);
	}
	pace_tick(s);
	sync_base_try(s);
	download_tick(s);
	branch_tick(s);
	broadcast_tick(s);
	return true;
}

/* ---- views ---- */

void sync_chain_view(const struct sync *s, struct sync_chain_view *v)
{
	bool exhausted = false;

	memset(v, 0, sizeof(*v));
	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		v->ready_peers += s->peer[i]->state == PEER_READY;
		exhausted |= s->peer[i]->state == PEER_READY && s->peer[i]->exhausted;
	}
	if (!s->on)
		return;
	v->best_hash = *headers_hash(s->chain, headers_best(s->chain));
	v->best_height = headers_height(s->chain, headers_best(s->chain));
	if (s->base_state != BASE_SENT)
		return;
	v->handed_out_height = headers_height(s->chain, s->applied);
	v->synced = exhausted && s->applied == headers_best(s->chain) && events_next_height(s) > v->best_height;
}

uint32_t sync_base_headers(const struct sync *s, uint8_t *out, uint32_t max)
{
	uint32_t cnt = 0, idx;
	uint8_t raw[HEADER_SZ];

	if (!s->on || s->base_state == BASE_SEEK)
		return 0;
	for (idx = s->base; cnt < max && idx != HEADERS_NONE && headers_raw(s->chain, idx, raw); cnt++)
		idx = headers_parent(s->chain, idx);
	idx = s->base;
	for (uint32_t i = cnt; i-- > 0; idx = headers_parent(s->chain, idx))
		headers_raw(s->chain, idx, out + (size_t)i * HEADER_SZ);
	return cnt;
}

void sync_each_counter(const struct sync *s, void (*cb)(void *arg, const char *name, uint64_t value), void *arg)
{
	uint32_t push_ready = 0, measured = 0, banned = 0;

	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		push_ready += s->push[i]->state == PEER_READY;
		measured += s->peer[i]->presync != NULL ? presync_measured(s->peer[i]->presync) : 0;
		banned += trust_is_banned(s, s->peer[i]);
	}
	for (unsigned i = 0; i < CNT_CNT; i++)
		cb(arg, sync_counter_name[i], s->counter[i]);
	cb(arg, "push_ready_peers", push_ready);
	cb(arg, "peers_banned", banned);
	cb(arg, "branches_aside", branch_aside_cnt(s));
	cb(arg, "next_block_wait_ms",
	   s->on && s->wait_since_ns != 0 ? sync_since(s, s->wait_since_ns) / NS_PER_MS : 0);
	cb(arg, "headers", s->on ? headers_cnt(s->chain) : 0);
	cb(arg, "headers_measured", measured);
	cb(arg, "headers_min_work_reached", s->on && headers_has_min_work(s->chain));
	cb(arg, "headers_side", s->on ? headers_side_cnt(s->chain) : 0);
	cb(arg, "headers_bytes", s->on ? headers_bytes(s->chain) : 0);
	cb(arg, "window_blocks", s->win_cnt);
	cb(arg, "handed_out_blocks", s->handed_cnt);
	cb(arg, "tx_kept", s->bcast_end - s->bcast_first);
}

static const char *state_name(enum peer_state st)
{
	static const char *const name[PEER_STATE_CNT] = {
		[PEER_WAITING] = "waiting",
		[PEER_CONNECTING] = "connecting",
		[PEER_VERSION_WAIT] = "handshake",
		[PEER_VERACK_WAIT] = "handshake",
		[PEER_READY] = "ready",
		[PEER_CLOSING] = "waiting",
	};

	return name[st];
}

void sync_peer_view(const struct sync *s, uint32_t peer_id, struct sync_peer_view *v)
{
	const struct peer *p = s->peer[peer_id], *push = s->push[peer_id];

	memset(v, 0, sizeof(*v));
	v->addr = p->addr;
	v->state = p->state == PEER_WAITING && trust_is_banned(s, p) ? "banned" : state_name(p->state);
	memcpy(v->user_agent, p->agent, sizeof(v->user_agent));
	v->last_error = p->last_error;
	v->services = p->services;
	v->bytes_in = p->bytes_in;
	v->bytes_out = p->bytes_out;
	v->version = p->version;
	v->height = p->height;
	v->ping_us = p->ping_us;
	v->blocks = p->blocks;
	v->connects = p->connects;
	v->drops = p->drops;
	v->ready = p->state == PEER_READY;
	v->speed = p->speed;
	v->bans = p->bans;
	v->ban_reason = p->ban_why;
	if (trust_is_banned(s, p))
		v->ban_s = (uint32_t)((p->ban_until_ns - s->now_ns) / NS_PER_S) + 1;
	v->pruned = v->ready && trust_keeps_from(s, p) > 0;
	v->lagging = s->on && v->ready && p->exhausted &&
		     (p->reach == HEADERS_NONE ||
		      headers_height(s->chain, headers_best(s->chain)) >= p->reach + LAGGING_BLOCKS);
	v->push_state = state_name(push->state);
	v->push_last_error = push->last_error;
	v->push_connects = push->connects;
	v->push_drops = push->drops;
	v->push_ready = push->state == PEER_READY;
}
