/* outcome.c - what each peer did with a transaction of ours, as far as the protocol tells (spec/bitcoin.md section 10).

   bitcoind has no message that refuses a transaction.  A node that finds it invalid ends the connection; one that has
   it in its mempool gives it back when asked on a connection with relay 1, after its next round of announcements; one
   that lets it go says notfound.  So each peer is asked for what it was given three times, until it has it.  btcd ends
   no connection for it, and says reject. */
#include "btc/block.h"
#include "sync/body.h"
#include "sync/sync_priv.h"

#define PROBE_BATCH 64u /* transactions asked about at once */

static const uint64_t probe_after[SYNC_PROBES] = {2 * NS_PER_S, 10 * NS_PER_S, 60 * NS_PER_S};

void outcome_result(const struct sync *s, const struct bcast *b, uint32_t status, uint32_t peer_cnt,
		    uint64_t at_ns)
{
	struct sync_bcast_result r = {.cookie = b->cookie,
				      .txid = b->txid,
				      .status = status,
				      .peer_cnt = peer_cnt,
				      .at_ns = at_ns,
				      .peers = b->peers};

	s->ops.broadcast_result(s->arg, &r);
}

/* Told with the next batch, or at once with what is told anyway. */
static void note(struct sync *s, struct bcast *b, uint64_t *mask, const struct peer *p)
{
	uint64_t bit = 1ull << p->id;

	if (*mask & bit)
		return;
	*mask |= bit;
	b->news = b->reported;
	s->bcast_news |= b->news;
}

void outcome_written(struct sync *s, struct peer *p, struct bcast *b)
{
	note(s, b, &b->peers.written, p);
}

void outcome_asked(struct sync *s, struct peer *p, struct bcast *b)
{
	note(s, b, &b->peers.asked, p);
}

void outcome_announced(struct sync *s, struct peer *p, struct bcast *b)
{
	bool first = b->peers.announced == 0;

	note(s, b, &b->peers.announced, p);
	if (!first)
		return;
	count(s, CNT_tx_announced);
	b->news = false;
	outcome_result(s, b, LINK_BCAST_ANNOUNCED, 1, s->now_ns);
}

void outcome_lost(struct sync *s, struct peer *p)
{
	/* Where several were written within that second it may be any of them. */
	for (uint64_t seq = s->bcast_end; seq > s->bcast_first; seq--) {
		struct bcast *b = broadcast_at(s, seq - 1);

		if (sync_since(s, b->added_ns) > 10 * BAR_BLAME_NS)
			return;
		if ((b->peers.written >> p->id & 1) && !(b->peers.held >> p->id & 1) &&
		    (b->by_blocks >> p->id & 1) == (p->role == SYNC_BLOCKS) &&
		    sync_since(s, b->at_ns) < BAR_BLAME_NS)
			note(s, b, &b->peers.lost, p);
	}
}

/* ---- asking back ---- */

static bool is_asked(const struct bcast *b, const struct peer *p)
{
	return (b->peers.written >> p->id & 1) && !(b->peers.held >> p->id & 1);
}

static void ask_back(struct sync *s, struct peer *p, uint64_t from, uint64_t to)
{
	struct p2p_inv_item item[PROBE_BATCH];
	uint32_t cnt = 0;
	uint8_t *out;

	for (uint64_t seq = from; seq < to && p->state == PEER_READY; seq++)
		if (is_asked(broadcast_at(s, seq), p))
			item[cnt++] = (struct p2p_inv_item){.type = P2P_INV_WITNESS_TX,
							    .hash = broadcast_at(s, seq)->txid};
	if (cnt == 0 || (out = peer_out(s, p, 3 + (size_t)cnt * P2P_INV_STRIDE)) == NULL)
		return;
	s->counter[CNT_tx_probes] += cnt;
	peer_send(s, p, P2P_GETDATA, p2p_inv_encode(out, item, cnt));
}

static void probe(struct sync *s, unsigned round)
{
	uint64_t from = s->bcast_probe[round], to;

	if (from < s->bcast_first)
		from = s->bcast_first;
	for (to = from; to < s->bcast_end && to - from < PROBE_BATCH; to++) {
		struct bcast *b = broadcast_at(s, to);

		if (sync_since(s, b->added_ns) < probe_after[round])
			break;
		b->probes = round + 1;
	}
	s->bcast_probe[round] = to;
	for (uint32_t i = 0; to > from && i < s->peer_cnt; i++)
		ask_back(s, s->push[i], from, to);
}

void outcome_tx(struct sync *s, struct peer *p)
{
	const uint8_t *raw = p->stream.payload;
	struct hash256 txid;
	struct tx_view t;
	struct bcast *b;
	size_t used;

	if (tx_parse(raw, p->stream.payload_sz, false, &t, &used) != PARSE_OK)
		return;
	txid = body_txid(raw, &t);
	b = broadcast_find(s, &txid);
	if (b == NULL || b->probes == 0 || !is_asked(b, p))
		return;
	note(s, b, &b->peers.held, p);
	b->peers.missing &= ~(1ull << p->id);
	b->peers.lost &= ~(1ull << p->id);
	count(s, CNT_tx_held);
	if (b->held)
		return;
	b->held = true;
	b->news = false;
	outcome_result(s, b, LINK_BCAST_HELD, 1, s->now_ns);
}

void outcome_not_found(struct sync *s, struct peer *p, const struct hash256 *txid)
{
	struct bcast *b = broadcast_find(s, txid);

	/* Before the last time it may only not have been announced yet. */
	if (b == NULL || b->probes < SYNC_PROBES || !is_asked(b, p))
		return;
	count(s, CNT_tx_missing);
	note(s, b, &b->peers.missing, p);
}

void outcome_rejected(struct sync *s, struct peer *p, const struct hash256 *txid, uint8_t code)
{
	struct bcast *b = broadcast_find(s, txid);

	/* A duplicate may be the transaction itself: asking back will tell. */
	if (b == NULL || !is_asked(b, p) || code == P2P_REJECT_DUPLICATE)
		return;
	count(s, CNT_tx_rejected);
	note(s, b, &b->peers.missing, p);
}

void outcome_tick(struct sync *s)
{
	for (unsigned round = 0; round < SYNC_PROBES; round++)
		probe(s, round);
	if (!s->bcast_news || s->now_ns < s->bcast_news_ns)
		return;
	s->bcast_news = false;
	s->bcast_news_ns = s->now_ns + BCAST_NEWS_NS;
	for (uint64_t seq = s->bcast_first; seq < s->bcast_end; seq++) {
		struct bcast *b = broadcast_at(s, seq);

		if (!b->news)
			continue;
		b->news = false;
		outcome_result(s, b, LINK_BCAST_NEWS, (uint32_t)__builtin_popcountll(b->peers.written),
			       s->now_ns);
	}
}
