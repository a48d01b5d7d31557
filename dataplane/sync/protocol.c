/* protocol.c - what a peer says, and what we answer (spec/bitcoin.md sections 3, 4, 6, 10). */
#include "sync/sync_priv.h"

#define UNLINKED_MAX      10u /* announcements without a known parent, in a row */
#define UNLINKED_REPLIES  2u  /* of a length that only a reply to getheaders has */
#define ANNOUNCED_CNT_MAX 8u  /* a node announces no more headers at once */
#define STUCK_MAX         3u
#define NOTFOUND_MAX      1000u
#define LOW_WORK_AGAIN_NS \
	(600 * NS_PER_S) /* a chain that proved too weak to keep is long: not asked for soon again */
#define FUTURE_AGAIN_NS (5 * NS_PER_S)

/* ---- handshake ---- */

void protocol_hello(struct sync *s, struct peer *p)
{
	static const char agent[] = "/vigil:" VIGIL_VERSION "/";
	struct p2p_version v = {.version = P2P_PROTOCOL,
				.services = P2P_SERVICE_WITNESS,
				.recv = {.port = p->addr.port},
				.from = {.services = P2P_SERVICE_WITNESS},
				.agent_sz = sizeof(agent) - 1,
				.relay = p->role == SYNC_PUSH};
	uint8_t *out = peer_out(s, p, P2P_VERSION_SZ_MAX);

	if (out == NULL)
		return;
	v.time = s->cfg.wall_time(s->arg);
	v.nonce = p->nonce = sync_random(s);
	v.start_height = (int32_t)headers_height(s->chain, headers_best(s->chain));
	memcpy(v.recv.ip, p->addr.ip, sizeof(v.recv.ip));
	memcpy(v.agent, agent, sizeof(agent));
	peer_send(s, p, P2P_VERSION, p2p_version_encode(out, &v));
}

static void copy_agent(struct peer *p, const struct p2p_version *v)
{
	uint32_t n = v->agent_sz < sizeof(p->agent) - 1 ? v->agent_sz : sizeof(p->agent) - 1;

	memset(p->agent, 0, sizeof(p->agent));
	for (uint32_t i = 0; i < n; i++)
		p->agent[i] = v->agent[i] >= 0x20 && v->agent[i] <= 0x7e ? v->agent[i] : '?';
}

/* The node would connect to itself through us: its nonce is one that we sent on some connection. */
static bool nonce_is_ours(const struct sync *s, uint64_t nonce)
{
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		if ((peer_is_up(s->peer[i]) && s->peer[i]->nonce == nonce) ||
		    (peer_is_up(s->push[i]) && s->push[i]->nonce == nonce))
			return true;
	return false;
}

static void on_version(struct sync *s, struct peer *p)
{
	struct p2p_version v;

	if (p->state != PEER_VERSION_WAIT) {
		peer_drop(s, p, CNT_peer_drop_order);
		return;
	}
	if (!p2p_version_decode(&v, p->stream.payload, p->stream.payload_sz)) {
		peer_drop(s, p, CNT_peer_drop_malformed);
		return;
	}
	p->version = (uint32_t)v.version;
	p->services = v.services;
	p->height = v.start_height > 0 ? (uint32_t)v.start_height : 0;
	copy_agent(p, &v);
	if (v.version < P2P_PROTOCOL_MIN) {
		peer_drop(s, p, CNT_peer_drop_version_old);
	} else if (!(v.services & P2P_SERVICE_WITNESS)) {
		peer_drop(s, p, CNT_peer_drop_no_witness);
	} else if (v.nonce != 0 && nonce_is_ours(s, v.nonce)) {
		peer_drop(s, p, CNT_peer_drop_self);
	} else {
		peer_set_state(s, p, PEER_VERACK_WAIT);
		if (peer_out(s, p, 0) != NULL)
			peer_send(s, p, P2P_VERACK, 0);
	}
}

static void on_verack(struct sync *s, struct peer *p)
{
	if (p->state != PEER_VERACK_WAIT) {
		peer_drop(s, p, CNT_peer_drop_order);
		return;
	}
	peer_count(s, p, CNT_peer_handshakes);
	peer_set_state(s, p, PEER_READY);
	broadcast_peer_ready(s, p);
	p->ping_next_ns = s->now_ns;
	p->last_block_ns = s->now_ns;
	if (p->role == SYNC_BLOCKS) {
		if (peer_out(s, p, 0) == NULL)
			return;
		peer_send(s, p, P2P_SENDHEADERS, 0);
		if (p->state == PEER_READY)
			protocol_ask_headers(s, p);
	}
	if (p->state == PEER_READY)
		peer_ping(s, p);
}

/* ---- headers ---- */

void protocol_ask_headers(struct sync *s, struct peer *p)
{
	struct hash256 locator[HEADERS_LOCATOR_MAX + 1];
	uint32_t best = headers_best(s->chain), from = HEADERS_NONE, cnt;
	uint8_t *out;

	p->headers_next_ns = sync_jitter(s, PERIOD_HEADERS_NS);
	if (p->headers_asked)
		return;
	if (p->best_known)
		from = headers_find(s->chain, &p->best);
	/* A peer on another branch is asked to go on there.  Otherwise one below the best: a peer that has our best
	   then says so, where an empty reply would leave open what it has. */
	if (from == HEADERS_NONE || headers_on_best(s->chain, from)) {
		from = headers_parent(s->chain, best);
		if (from == HEADERS_NONE)
			from = best;
	}
	out = peer_out(s, p, P2P_GETHEADERS_SZ_MAX);
	if (out == NULL)
		return;
	cnt = p->presync != NULL ? presync_locator(p->presync, s->chain, locator)
				 : headers_locator(s->chain, from, locator);
	p->headers_asked = true;
	p->headers_asked_ns = s->now_ns;
	p->asked_at = *headers_hash(s->chain, best);
	peer_send(s, p, P2P_GETHEADERS, p2p_getheaders_encode(out, locator, cnt, NULL));
}

void protocol_reach(struct sync *s, struct peer *p)
{
	uint32_t idx = p->best_known ? headers_find(s->chain, &p->best) : HEADERS_NONE;

	p->reach = idx == HEADERS_NONE ? HEADERS_NONE : headers_height(s->chain, headers_fork(s->chain, idx));
}

static void on_unlinked(struct sync *s, struct peer *p, uint32_t cnt, bool was_asked)
{
	p->unlinked_cnt++;
	if (p->unlinked_cnt >= UNLINKED_MAX ||
	    (was_asked && cnt > ANNOUNCED_CNT_MAX && p->unlinked_cnt >= UNLINKED_REPLIES))
		peer_drop(s, p, CNT_peer_drop_headers_unlinked);
	else
		protocol_ask_headers(s, p);
}

static void on_full_batch(struct sync *s, struct peer *p, uint32_t new_cnt)
{
	bool moved = !hash256_eq(&p->asked_at, headers_hash(s->chain, headers_best(s->chain)));

	/* Known headers again and again, while nobody else moves the chain either, would be an endless loop. */
	p->stuck_cnt = new_cnt == 0 && !moved ? p->stuck_cnt + 1 : 0;
	p->exhausted = false;
	if (p->stuck_cnt >= STUCK_MAX)
		peer_drop(s, p, CNT_peer_drop_headers_no_progress);
	else
		protocol_ask_headers(s, p);
}

/* Returns false if the peer was dropped. */
static bool headers_verdict(struct sync *s, struct peer *p, enum headers_verdict v)
{
	enum sync_counter drop = CNT_CNT;

	switch (v) {
	case HEADERS_NOT_A_CHAIN:
		drop = CNT_peer_drop_headers_not_a_chain;
		break;
	case HEADERS_BAD_POW:
		drop = CNT_peer_drop_headers_pow;
		break;
	case HEADERS_BAD_BITS:
		drop = CNT_peer_drop_headers_bits;
		break;
	case HEADERS_BAD_VERSION:
		drop = CNT_peer_drop_headers_version;
		break;
	case HEADERS_TIME_OLD:
		drop = CNT_peer_drop_headers_time;
		break;
	case HEADERS_INVALID:
		drop = CNT_peer_drop_headers_invalid;
		break;
	case HEADERS_FUTURE:
		count(s, CNT_headers_refused_future);
		break;
	case HEADERS_DEEP_FORK:
		count(s, CNT_headers_refused_deep_fork);
		break;
	case HEADERS_LOW_WORK:
		count(s, CNT_headers_refused_low_work);
		break;
	case HEADERS_FULL:
		count(s, CNT_headers_refused_full);
		break;
	case HEADERS_OK:
	case HEADERS_UNLINKED:
	case HEADERS_VERDICT_CNT:
		break;
	}
	if (drop != CNT_CNT)
		peer_drop(s, p, drop);
	return drop == CNT_CNT;
}

/* ---- a chain whose work is not known to be enough (presync.h) ---- */

void protocol_presync_end(struct sync *s, struct peer *p)
{
	presync_free(p->presync, s->chain);
	p->presync = NULL;
}

/* A batch that headers_add would not store, but that is only the beginning: its peer has more. */
static void presync_begin(struct sync *s, struct peer *p, const struct p2p_headers *h, enum headers_verdict v)
{
	if ((v != HEADERS_LOW_WORK && v != HEADERS_DEEP_FORK) || h->cnt < P2P_HEADERS_MAX)
		return;
	p->presync = presync_new(s->chain, h->first, P2P_HEADER_STRIDE, h->cnt);
	if (p->presync != NULL)
		count(s, CNT_headers_presyncs);
}

/* After presync_add.  Returns false if the peer was dropped. */
static bool presync_after(struct sync *s, struct peer *p, enum headers_verdict v)
{
	switch (presync_state(p->presync)) {
	case PRESYNC_MEASURING:
	case PRESYNC_STORING:
		p->exhausted = false;
		protocol_ask_headers(s, p);
		return p->state == PEER_READY;
	case PRESYNC_DONE:
		protocol_presync_end(s, p);
		return true;
	case PRESYNC_CHANGED:
		protocol_presync_end(s, p);
		count(s, CNT_headers_presyncs_changed);
		if (++p->stuck_cnt >= STUCK_MAX)
			peer_drop(s, p, CNT_peer_drop_headers_no_progress);
		else
			protocol_ask_headers(s, p);
		return false;
	case PRESYNC_REFUSED:
		protocol_presync_end(s, p);
		if (v == HEADERS_LOW_WORK || v == HEADERS_FULL)
			p->headers_next_ns = sync_jitter(s, LOW_WORK_AGAIN_NS);
		return true;
	}
	return true;
}

/* An empty reply says that there is nothing newer, or that the node's own chain has too little work to be
   shown; before anything is known, only on regtest may the first be believed. */
static void on_no_headers(struct sync *s, struct peer *p)
{
	uint32_t best = headers_best(s->chain);

	if (s->cfg.network->id == NET_REGTEST || headers_height(s->chain, best) != 0)
		p->exhausted = true;
}

static void on_headers(struct sync *s, struct peer *p)
{
	bool was_asked = p->headers_asked;
	int64_t now_s = s->cfg.wall_time(s->arg);
	struct p2p_headers h;
	enum headers_verdict v = HEADERS_OK;
	uint32_t last = HEADERS_NONE, new_cnt = 0;

	if (!p2p_headers_decode(&h, p->stream.payload, p->stream.payload_sz)) {
		peer_drop(s, p, CNT_peer_drop_malformed);
		return;
	}
	p->headers_asked = false;
	if (h.cnt == 0) {
		if (was_asked)
			on_no_headers(s, p);
		sync_base_try(s);
		return;
	}
	if (p->presync != NULL && !presync_is_next(p->presync, s->chain, h.first)) {
		/* A new block was announced meanwhile, or an answer to what was asked before. */
		if (h.cnt <= ANNOUNCED_CNT_MAX) {
			p->headers_asked = was_asked;
			return;
		}
		protocol_presync_end(s, p);
	}
	if (p->presync == NULL) {
		v = headers_add(s->chain, h.first, P2P_HEADER_STRIDE, h.cnt, now_s, &last, &new_cnt);
		presync_begin(s, p, &h, v);
	}
	if (p->presync != NULL) {
		v = presync_add(p->presync, s->chain, h.first, P2P_HEADER_STRIDE, h.cnt, now_s, &last,
				&new_cnt);
		p->unlinked_cnt = 0;
	}
	s->counter[CNT_headers_added] += new_cnt;
	sync_chain_changed(s);
	if (last != HEADERS_NONE) {
		p->best = *headers_hash(s->chain, last);
		p->best_known = true;
		p->unlinked_cnt = 0;
		if (headers_height(s->chain, last) > p->height)
			p->height = headers_height(s->chain, last);
		protocol_reach(s, p);
	}
	if (!headers_verdict(s, p, v))
		return;
	if (p->presync != NULL && !presync_after(s, p, v))
		return;
	if (p->presync != NULL)
		; /* not at an end yet */
	else if (v == HEADERS_UNLINKED)
		on_unlinked(s, p, h.cnt, was_asked);
	else if (h.cnt < P2P_HEADERS_MAX)
		p->exhausted = v == HEADERS_OK || v == HEADERS_FUTURE;
	else if (v == HEADERS_OK)
		on_full_batch(s, p, new_cnt);
	if (v == HEADERS_FUTURE && p->headers_next_ns > s->now_ns + FUTURE_AGAIN_NS)
		p->headers_next_ns = s->now_ns + FUTURE_AGAIN_NS;
	sync_base_try(s);
	download_schedule(s);
}

/* ---- everything else ---- */

/* False if we do not know the block; else the peer has it and what is below it. */
static bool on_block_announced(struct sync *s, struct peer *p, const struct hash256 *hash)
{
	uint32_t idx = headers_find(s->chain, hash);

	if (idx == HEADERS_NONE)
		return false;
	p->best = *hash;
	p->best_known = true;
	if (headers_height(s->chain, idx) > p->height)
		p->height = headers_height(s->chain, idx);
	protocol_reach(s, p);
	return true;
}

static void on_inv(struct sync *s, struct peer *p)
{
	struct p2p_inv inv;
	bool new_block = false;

	if (!p2p_inv_decode(&inv, p->stream.payload, p->stream.payload_sz)) {
		peer_drop(s, p, CNT_peer_drop_malformed);
		return;
	}
	for (uint32_t i = 0; i < inv.cnt; i++) {
		struct p2p_inv_item item = p2p_inv_at(&inv, i);

		if (item.type == P2P_INV_TX)
			broadcast_announced(s, p, &item.hash);
		else if (item.type == P2P_INV_BLOCK && p->role == SYNC_BLOCKS)
			new_block |= !on_block_announced(s, p, &item.hash);
	}
	if (p->role == SYNC_PUSH)
		return; /* the block connection hears of the blocks too */
	if (new_block)
		protocol_ask_headers(s, p);
	download_schedule(s);
}

/* A node that follows the reference says nothing about blocks it lacks; others do. */
static void on_notfound(struct sync *s, struct peer *p)
{
	uint32_t generation = p->generation;
	struct p2p_inv inv;

	if (!p2p_inv_decode(&inv, p->stream.payload, p->stream.payload_sz)) {
		peer_drop(s, p, CNT_peer_drop_malformed);
		return;
	}
	for (uint32_t i = 0; i < inv.cnt && p->generation == generation; i++) {
		struct p2p_inv_item item = p2p_inv_at(&inv, i);

		if (p->role == SYNC_PUSH)
			outcome_not_found(s, p, &item.hash);
		else if (item.type == P2P_INV_BLOCK || item.type == P2P_INV_WITNESS_BLOCK)
			download_not_found(s, p, &item.hash);
	}
	if (p->role == SYNC_BLOCKS)
		download_schedule(s);
}

/* We have nothing but our own transactions. */
static void on_getdata(struct sync *s, struct peer *p)
{
	struct p2p_inv_item missing[NOTFOUND_MAX];
	uint32_t missing_cnt = 0;
	struct p2p_inv inv;
	uint8_t *out;

	if (!p2p_inv_decode(&inv, p->stream.payload, p->stream.payload_sz)) {
		peer_drop(s, p, CNT_peer_drop_malformed);
		return;
	}
	for (uint32_t i = 0; i < inv.cnt; i++) {
		struct p2p_inv_item item = p2p_inv_at(&inv, i);

		if (item.type != P2P_INV_TX && item.type != P2P_INV_WITNESS_TX && item.type != P2P_INV_WTX)
			continue;
		if (item.type != P2P_INV_WTX && broadcast_serve(s, p, &item.hash))
			continue;
		if (missing_cnt < NOTFOUND_MAX)
			missing[missing_cnt++] = item;
	}
	s->counter[CNT_tx_not_found] += missing_cnt;
	if (missing_cnt > 0 && (out = peer_out(s, p, 3 + (size_t)missing_cnt * P2P_INV_STRIDE)) != NULL)
		peer_send(s, p, P2P_NOTFOUND, p2p_inv_encode(out, missing, missing_cnt));
	else
		peer_flush(s, p);
}

static void on_reject(struct sync *s, struct peer *p)
{
	struct p2p_reject r;

	if (p2p_reject_decode(&r, p->stream.payload, p->stream.payload_sz))
		outcome_rejected(s, p, &r.txid, r.code);
}

static void on_ping(struct sync *s, struct peer *p)
{
	uint64_t nonce;
	uint8_t *out = peer_out(s, p, 8);

	if (out == NULL)
		return;
	p2p_nonce_decode(&nonce, p->stream.payload, p->stream.payload_sz);
	peer_send(s, p, P2P_PONG, p2p_nonce_encode(out, nonce));
}

static void on_pong(struct sync *s, struct peer *p)
{
	uint64_t nonce;

	if (!p2p_nonce_decode(&nonce, p->stream.payload, p->stream.payload_sz) || !p->ping_out ||
	    nonce != p->ping_nonce)
		return; /* an answer to nothing, or a late one */
	p->ping_out = false;
	p->ping_us = (uint32_t)((s->now_ns - p->ping_sent_ns) / 1000);
	download_pong(s, p, p->ping_no);
}

/* A node that asks us for headers learns that we have none to give. */
static void on_getheaders(struct sync *s, struct peer *p)
{
	uint8_t *out = peer_out(s, p, 1);

	if (out != NULL)
		peer_send(s, p, P2P_HEADERS, p2p_headers_encode(out, NULL, 0));
}

void protocol_message(struct sync *s, struct peer *p)
{
	bool ready = p->state == PEER_READY;

	switch (p->stream.type) {
	case P2P_VERSION:
		on_version(s, p);
		return;
	case P2P_VERACK:
		on_verack(s, p);
		return;
	case P2P_PING:
		if (ready)
			on_ping(s, p);
		return;
	case P2P_PONG:
		if (ready)
			on_pong(s, p);
		return;
	case P2P_GETHEADERS:
		if (ready)
			on_getheaders(s, p);
		return;
	case P2P_TX:
		if (ready && p->role == SYNC_PUSH)
			outcome_tx(s, p);
		return;
	case P2P_REJECT:
		if (ready)
			on_reject(s, p);
		return;
	case P2P_HEADERS:
	case P2P_INV:
	case P2P_GETDATA:
	case P2P_NOTFOUND:
		break;
	case P2P_SENDHEADERS:
	case P2P_BLOCK:
	case P2P_FEEFILTER:
	case P2P_SENDCMPCT:
	case P2P_WTXIDRELAY:
	case P2P_SENDADDRV2:
	case P2P_ADDR:
	case P2P_ADDRV2:
	case P2P_OTHER:
	case P2P_TYPE_CNT:
		return;
	}
	if (!ready)
		peer_drop(s, p, CNT_peer_drop_order);
	else if (p->stream.type == P2P_HEADERS)
		on_headers(s, p);
	else if (p->stream.type == P2P_INV)
		on_inv(s, p);
	else if (p->stream.type == P2P_GETDATA)
		on_getdata(s, p);
	else
		on_notfound(s, p);
}
