/* push.c - a peer's second connection: when it is dialled, when it gives way to the first, and which of the two a
   transaction goes by. */
#include "sync/sync_priv.h"

/* A node that grants one connection must find the block connection to be it. */
bool push_may_dial(const struct sync *s, const struct peer *p)
{
	return s->peer[p->id]->state == PEER_READY;
}

/* Took nothing for a while of what it was given. */
static bool is_stalled(const struct sync *s, const struct peer *p)
{
	return (p->out_off < p->out_sz || p->pushing) && sync_since(s, p->out_since_ns) > PUSH_STALL_NS;
}

bool push_may_take(const struct sync *s, const struct peer *p)
{
	return p->state == PEER_READY && (p->role == SYNC_PUSH || s->now_ns >= p->bar_until_ns);
}

struct peer *push_route(const struct sync *s, uint32_t peer_id)
{
	struct peer *blocks = s->peer[peer_id], *push = s->push[peer_id];

	if (push_may_take(s, push) && !is_stalled(s, push))
		return push;
	if (push_may_take(s, blocks))
		return blocks;
	return push_may_take(s, push) ? push : NULL;
}

static void yield(struct sync *s, struct peer *push)
{
	count(s, CNT_push_yields);
	push->gave_way = true;
	push->last_error = sync_counter_name[CNT_push_yields];
	peer_hang_up(s, push);
}

void push_blocks_ended(struct sync *s, struct peer *p, bool by_node, uint64_t fallback_ns)
{
	struct peer *push = s->push[p->id];

	if (p->ended_in != PEER_READY) {
		/* There may be no room for the first connection because of the second. */
		if (peer_is_up(push) && p->backoff_ns >= YIELD_AFTER_NS)
			yield(s, push);
		return;
	}
	if (by_node && fallback_ns != 0 && sync_since(s, fallback_ns) < BAR_BLAME_NS) {
		count(s, CNT_push_bars);
		p->bar_until_ns = s->now_ns + BAR_NS;
	}
	push->blamed = by_node && (peer_is_up(push) || push->state == PEER_CONNECTING) &&
		       sync_since(s, push->dialled_ns) < YIELD_BLAME_NS;
}

void push_blocks_dialled(struct sync *s, struct peer *p)
{
	struct peer *push = s->push[p->id];

	/* Still there, so the node ended not both, but the older one. */
	if (push->blamed && peer_is_up(push))
		yield(s, push);
}
