/* trust.c - what a peer's faults cost it: when it is dialled again, and what it is still asked for.

   A lie, and every third failure in a row without a good block in between, is a ban: the peer is not dialled for
   cfg.ban_s.  But peers are few and configured by the operator, so a ban binds only while the tower does not need
   the peer: while another ready peer has the best chain, and blocks come.  Otherwise there is only the back-off,
   which has a bound, so that no sequence of faults can cut the tower off. */
#include "sync/sync_priv.h"

enum fault { NO_FAULT, FAILS, LIES };

static enum fault fault_of(enum sync_counter why)
{
	switch (why) {
	case CNT_peer_drop_magic:
	case CNT_peer_drop_command:
	case CNT_peer_drop_length:
	case CNT_peer_drop_checksum:
	case CNT_peer_drop_malformed:
	case CNT_peer_drop_order:
	case CNT_peer_drop_version_old:
	case CNT_peer_drop_no_witness:
	case CNT_peer_drop_self:
	case CNT_peer_drop_unrequested_block:
	case CNT_peer_drop_slow_message:
	case CNT_peer_drop_slow_block:
	case CNT_peer_drop_headers_unlinked:
	case CNT_peer_drop_headers_not_a_chain:
	case CNT_peer_drop_headers_pow:
	case CNT_peer_drop_headers_bits:
	case CNT_peer_drop_headers_version:
	case CNT_peer_drop_headers_time:
	case CNT_peer_drop_headers_invalid:
	case CNT_peer_drop_headers_no_progress:
	case CNT_peer_drop_block_parse:
	case CNT_peer_drop_block_merkle:
	case CNT_peer_drop_block_mutated:
	case CNT_peer_drop_block_invalid:
	case CNT_peer_drop_branch_withheld:
		return LIES;
	case CNT_peer_drop_handshake_timeout:
	case CNT_peer_drop_ping_timeout:
	case CNT_peer_drop_send_queue:
	case CNT_peer_drop_send_stall:
	case CNT_peer_drop_headers_timeout:
	case CNT_peer_drop_stall:
	case CNT_peer_drop_block_deadline:
	case CNT_peer_drop_block_unavailable:
		return FAILS;
	default:
		return NO_FAULT; /* not a drop, or a host that is not there */
	}
}

static void ban(struct sync *s, struct peer *p, enum sync_counter why)
{
	uint64_t ns = s->cfg.ban_s * NS_PER_S;

	p->strikes = 0;
	if (ns == 0)
		return;
	count(s, CNT_peer_bans);
	p->bans++;
	p->ban_why = sync_counter_name[why];
	p->ban_until_ns = s->now_ns + ns + sync_random(s) % (ns / 4 + 1);
}

void trust_fault(struct sync *s, struct peer *p, enum sync_counter why)
{
	enum fault f = fault_of(why);

	p->faulty = f != NO_FAULT;
	if (p->role != SYNC_BLOCKS)
		return; /* has its back-off; the peer is judged by the other connection */
	if (f == LIES || (f == FAILS && ++p->strikes >= STRIKES_MAX))
		ban(s, p, why);
}

bool trust_is_banned(const struct sync *s, const struct peer *p)
{
	return s->now_ns < p->ban_until_ns;
}

/* Another peer has the best chain, and what we need next has not been waited for in vain. */
static bool can_do_without(const struct sync *s, const struct peer *p)
{
	uint32_t best = headers_height(s->chain, headers_best(s->chain));

	if (s->wait_since_ns != 0 && sync_since(s, s->wait_since_ns) > BAN_LIFT_NS)
		return false;
	for (uint32_t i = 0; i < s->peer_cnt; i++) {
		const struct peer *q = s->peer[i];

		if (q != p && q->state == PEER_READY && q->exhausted && q->reach != HEADERS_NONE &&
		    q->reach >= best)
			return true;
	}
	return false;
}

bool trust_may_dial(const struct sync *s, const struct peer *p)
{
	return !trust_is_banned(s, p) || !can_do_without(s, p);
}

/* Doubles what the last attempt waited, and spreads it by a quarter each way. */
void trust_back_off(struct sync *s, struct peer *p)
{
	uint64_t b = p->backoff_ns * 2;
	uint64_t min = p->gave_way ? YIELD_BACKOFF_MIN_NS : BACKOFF_MIN_NS;
	uint64_t max = p->gave_way ? YIELD_BACKOFF_MAX_NS : BACKOFF_MAX_NS;

	if (b < min)
		b = min;
	if (b > max)
		b = max;
	p->gave_way = false;
	p->backoff_ns = b;
	p->dial_at_ns = s->now_ns + b * 3 / 4 + sync_random(s) % (b / 2);
}

/* ---- pruned peers ---- */

static uint32_t top_of(const struct peer *p)
{
	uint32_t reach = p->reach != HEADERS_NONE ? p->reach : 0;

	return reach > p->height ? reach : p->height;
}

uint32_t trust_keeps_from(const struct sync *s, const struct peer *p)
{
	uint32_t top = top_of(p);
	uint32_t from = 0;

	if (!(p->services & P2P_SERVICE_NETWORK) && top >= PRUNED_KEEPS)
		from = top - PRUNED_KEEPS + 1;
	if (s->now_ns < p->keeps_until_ns && p->keeps_from > from)
		from = p->keeps_from;
	return from;
}

static bool lacks(struct sync *s, struct peer *p, const struct hash256 *hash, uint64_t believed_ns)
{
	uint32_t idx = headers_find(s->chain, hash), height;

	if (idx == HEADERS_NONE)
		return false;
	height = headers_height(s->chain, idx);
	if (height + PRUNED_KEEPS > top_of(p))
		return false;
	count(s, CNT_blocks_pruned_away);
	if (s->now_ns >= p->keeps_until_ns || height >= p->keeps_from)
		p->keeps_from = height + 1;
	p->keeps_until_ns = s->now_ns + believed_ns;
	return true;
}

bool trust_lacks(struct sync *s, struct peer *p, const struct hash256 *hash)
{
	return lacks(s, p, hash, PRUNED_BELIEF_NS);
}

void trust_closed_by_node(struct sync *s, struct peer *p)
{
	/* A pruned or upload-limited node answers a request for an old block by hanging up; one that was sending it
	   does not lack it.  The first time it may as well have been restarted just then. */
	if (p->role == SYNC_BLOCKS && p->state == PEER_READY && p->owed_cnt > 0 &&
	    !p2p_stream_in_block(&p->stream) && p->last_block_ns <= p->owed[0].asked_ns &&
	    sync_since(s, p->owed[0].asked_ns) < PRUNED_BLAME_NS)
		lacks(s, p, &p->owed[0].hash, p->keeps_from == 0 ? PRUNED_GUESS_NS : PRUNED_BELIEF_NS);
}
