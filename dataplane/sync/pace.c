/* pace.c - how fast a peer delivers: its share of the requests, and when it is no longer waited for.

   Two measures.  Speed is bytes of blocks over the time in which any were owed, smoothed, kept over connections;
   requests are spread by it.  Pace is the progress of the block that is arriving, window by window: a peer that
   lies slowly sends a byte now and then, which no time-out for silence can see.  What is too slow depends on what
   else there is: where another peer would be much faster the peer is dropped; where none is (our own line may be
   the slow one) the best there is is kept, as long as it brings anything worth the wait. */
#include "sync/sync_priv.h"

#define SPEED_SAMPLE_NS (50 * NS_PER_MS)
#define RATIO_MAX       16u
#define FASTER          4u

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t per_s(uint64_t bytes, uint64_t ns)
{
	return bytes * NS_PER_S / later(ns, NS_PER_MS);
}

/* ---- speed ---- */

void pace_busy(struct sync *s, struct peer *p)
{
	p->speed_from_ns = s->now_ns;
	p->speed_bytes = 0;
}

static void sample(struct peer *p, uint64_t speed)
{
	speed = later(speed, 1);
	p->speed = p->speed == 0 ? speed : (p->speed * 3 + speed) / 4;
}

void pace_block(struct sync *s, struct peer *p)
{
	uint64_t took = sync_since(s, p->speed_from_ns);

	p->speed_bytes += p->stream.payload_sz;
	p->hope_bytes = p->block_bytes;
	if (took < SPEED_SAMPLE_NS && p->owed_cnt > 0)
		return;
	sample(p, per_s(p->speed_bytes, took));
	pace_busy(s, p);
}

void pace_tick(struct sync *s)
{
	s->speed_max = 0;
	for (uint32_t i = 0; i < s->peer_cnt; i++)
		if (s->peer[i]->state == PEER_READY)
			s->speed_max = later(s->speed_max, s->peer[i]->speed);
}

uint32_t pace_ratio(const struct sync *s, const struct peer *p)
{
	uint64_t r;

	if (s->speed_max == 0)
		return 1;
	/* One of which nothing is known yet gets a few, to be measured. */
	if (p->speed == 0)
		return RATIO_MAX / 2;
	r = s->speed_max / p->speed;
	if (r < 3)
		return 1; /* that much is chance */
	return r < RATIO_MAX ? (uint32_t)r : RATIO_MAX;
}

uint32_t pace_quota(const struct sync *s, const struct peer *p)
{
	uint32_t q = s->cfg.inflight_per_peer / pace_ratio(s, p);

	return q > 0 ? q : 1;
}

bool pace_is_avoided(const struct sync *s, const struct peer *p)
{
	return s->now_ns < p->avoid_until_ns;
}

void pace_avoid(struct sync *s, struct peer *p)
{
	p->avoid_ns *= 2;
	if (p->avoid_ns < AVOID_MIN_NS)
		p->avoid_ns = AVOID_MIN_NS;
	if (p->avoid_ns > AVOID_MAX_NS)
		p->avoid_ns = AVOID_MAX_NS;
	p->avoid_until_ns = s->now_ns + p->avoid_ns;
}

/* ---- pace ---- */

void pace_block_begins(struct sync *s, struct peer *p)
{
	p->pace_from_ns = s->now_ns;
	p->pace_left = p2p_stream_missing(&p->stream);
}

void pace_data(struct sync *s, struct peer *p, size_t sz, bool block_data)
{
	if (block_data) {
		p->block_rx_ns = s->now_ns;
		p->block_bytes += sz;
	}
	if (!p2p_stream_in_message(&p->stream))
		p->message_ns = 0;
	else if (p->message_ns == 0)
		p->message_ns = s->now_ns;
}

/* Somebody else could bring the block that p is at, and much sooner. */
static bool other_is_faster(const struct sync *s, const struct peer *p, uint64_t speed)
{
	bool begun = p2p_stream_in_block(&p->stream);
	uint32_t idx = headers_find(s->chain, begun ? &p->arriving : &p->owed[0].hash);

	for (uint32_t i = 0; idx != HEADERS_NONE && i < s->peer_cnt; i++) {
		const struct peer *q = s->peer[i];

		if (q != p && download_can_serve(s, q, headers_height(s->chain, idx)) &&
		    !pace_is_avoided(s, q) && (q->speed == 0 || q->speed >= FASTER * later(speed, 1)))
			return true;
	}
	return false;
}

static bool too_slow(struct sync *s, struct peer *p, uint64_t speed)
{
	count(s, CNT_blocks_slow);
	p->speed = later(p->speed != 0 && p->speed < speed ? p->speed : speed, 1);
	return other_is_faster(s, p, speed);
}

/* Not even the first hundred bytes of an owed block came within a window. */
static bool head_is_slow(struct sync *s, struct peer *p)
{
	if (p->message_ns == 0 || sync_since(s, p->message_ns) < PACE_NS ||
	    (p2p_stream_in_payload(&p->stream) && p->stream.type != P2P_BLOCK))
		return false;
	p->message_ns = s->now_ns; /* the next window */
	return too_slow(s, p, 1);
}

/* Looks at the window that has just ended, and begins another. */
static bool is_slow(struct sync *s, struct peer *p)
{
	uint64_t took = sync_since(s, p->pace_from_ns), speed;
	uint32_t left, brought;

	if (!p2p_stream_in_block(&p->stream))
		return head_is_slow(s, p);
	if (took < PACE_NS)
		return false;
	left = p2p_stream_missing(&p->stream);
	brought = p->pace_left - left;
	p->pace_from_ns = s->now_ns;
	p->pace_left = left;
	speed = per_s(brought, took);
	return speed < later(PACE_MIN, per_s(p->stream.payload_sz, PACE_BLOCK_NS)) && too_slow(s, p, speed);
}

/* Two minutes without a block, and without as much of one that going on beats starting anew. */
static bool is_hopeless(struct sync *s, struct peer *p)
{
	uint64_t from = later(later(p->last_block_ns, p->owed[0].asked_ns), p->hope_ns);

	if (sync_since(s, from) <= DEADLINE_BLOCK_NS)
		return false;
	if (p->block_bytes - p->hope_bytes < PACE_HOPE_SZ)
		return true;
	p->hope_ns = s->now_ns;
	p->hope_bytes = p->block_bytes;
	return false;
}

static bool message_is_slow(const struct sync *s, const struct peer *p)
{
	uint64_t limit = DEADLINE_MESSAGE_NS;

	if (p->message_ns == 0 || p2p_stream_in_block(&p->stream))
		return false;
	if (p2p_stream_in_payload(&p->stream))
		limit += p->stream.payload_sz * NS_PER_S / PACE_MIN;
	return sync_since(s, p->message_ns) >
	       (limit < DEADLINE_MESSAGE_MAX_NS ? limit : DEADLINE_MESSAGE_MAX_NS);
}

enum sync_counter pace_overdue(struct sync *s, struct peer *p)
{
	if (p->owed_cnt == 0)
		return message_is_slow(s, p) ? CNT_peer_drop_slow_message : CNT_CNT;
	if (sync_since(s, later(p->block_rx_ns, p->owed[0].asked_ns)) > DEADLINE_BYTE_NS)
		return CNT_peer_drop_stall;
	if (is_slow(s, p))
		return CNT_peer_drop_slow_block;
	if (message_is_slow(s, p))
		return CNT_peer_drop_slow_message;
	return is_hopeless(s, p) ? CNT_peer_drop_block_deadline : CNT_CNT;
}
