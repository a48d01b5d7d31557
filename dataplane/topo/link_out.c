/* Records to control, and the window of blocks it has not acknowledged. */
#include "topo/link_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "kill/kill_point.h"

/* --- the window ---------------------------------------------------------------------------------------- */

static uint32_t slot(const struct link_role *r, uint32_t i)
{
	return (r->unacked_from + i) % (r->o->window + 1);
}

static void window_publish(struct link_role *r)
{
	scan_ack(r->scan, r->emitted_cnt - r->unacked_cnt);
}

void link_window_reset(struct link_role *r)
{
	r->unacked_from = r->unacked_cnt = 0;
	r->emitted_cnt = 0;
	scan_ack(r->scan, 0);
}

static void window_push(struct link_role *r, const struct hash256 *hash)
{
	r->unacked[slot(r, r->unacked_cnt)].hash = *hash;
	r->unacked_cnt++;
	r->emitted_cnt++;
	window_publish(r);
}

/* A block taken back before its acknowledgement came will perhaps never get one. */
static void window_disconnect(struct link_role *r, const struct hash256 *hash)
{
	if (r->unacked_cnt == 0 || !hash256_eq(&r->unacked[slot(r, r->unacked_cnt - 1)].hash, hash))
		return;
	r->unacked_cnt--;
	window_publish(r);
}

void link_window_ack(struct link_role *r, const struct hash256 *hash)
{
	for (uint32_t i = r->unacked_cnt; i > 0; i--) {
		if (!hash256_eq(&r->unacked[slot(r, i - 1)].hash, hash))
			continue;
		r->unacked_from = slot(r, i);
		r->unacked_cnt -= i;
		window_publish(r);
		return;
	}
}

/* --- records ------------------------------------------------------------------------------------------- */

bool link_out_hello(struct link_role *r)
{
	struct link_d_hello h = {
		.magic = LINK_MAGIC,
		.version = LINK_VERSION,
		.network = (uint32_t)r->o->network->id,
		.recent_blocks = r->o->recent_blocks,
		.window = r->o->window,
		.shard_cnt = r->shard_cnt,
	};

	snprintf(h.kernel, sizeof(h.kernel), "%s", r->kernel);
	snprintf(h.version_text, sizeof(h.version_text), "%s", VIGIL_VERSION);
	return link_writer_put(&r->out, LINK_D_HELLO, &h, sizeof(h), NULL, 0);
}

static bool put_hit(struct link_role *r, const struct scan_output *o, const struct scan_hit *hit)
{
	const struct chain_event *ev = &o->event.ev;
	const struct tx_view *t = &o->tx[hit->tx_idx];
	struct link_hit h = {
		.txid = o->txid[hit->tx_idx],
		.block_hash = ev->hash,
		.height = ev->height,
		.tx_idx = hit->tx_idx,
		.scheme = hit->scheme,
		.flags = ev->kind == CHAIN_FILL    ? LINK_HIT_RECENT
			 : ev->kind == CHAIN_STALE ? LINK_HIT_STALE
						   : 0,
		.last_byte_ns = ev->last_byte_ns,
		.hit_ns = o->done_ns,
		.raw_sz = t->sz,
	};

	h.locator = locator_of_txid(&h.txid, hit->scheme);
	KILL_POINT("link:hit");
	return link_writer_put(&r->out, LINK_HIT, &h, sizeof(h), ev->buf->data + t->off, t->sz);
}

static bool put_connected(struct link_role *r, const struct scan_output *o)
{
	const struct chain_event *ev = &o->event.ev;
	struct link_block_connected c = {
		.hash = ev->hash,
		.height = ev->height,
		.tx_cnt = o->block->tx_cnt,
		.total_sz = ev->buf->sz,
		.hit_cnt = o->hit_cnt,
		.peer_id = ev->peer_id,
		.first_byte_ns = ev->first_byte_ns,
		.last_byte_ns = ev->last_byte_ns,
		.done_ns = o->done_ns,
	};

	KILL_POINT("link:before-connected");
	memcpy(c.header, ev->header, HEADER_SZ);
	u256_to_le(c.work, &ev->work);
	if (!link_writer_put(&r->out, LINK_BLOCK_CONNECTED, &c, sizeof(c), NULL, 0))
		return false;
	window_push(r, &ev->hash);
	KILL_POINT("link:after-connected");
	return true;
}

static bool put_stale(struct link_role *r, const struct scan_output *o)
{
	const struct chain_event *ev = &o->event.ev;
	struct link_stale_block b = {
		.hash = ev->hash,
		.status = LINK_STALE_SCANNED,
		.height = ev->height,
		.tx_cnt = o->block->tx_cnt,
		.hit_cnt = o->hit_cnt,
		.peer_id = ev->peer_id,
	};

	return link_writer_put(&r->out, LINK_STALE_BLOCK, &b, sizeof(b), NULL, 0);
}

static bool put_block(struct link_role *r, const struct scan_output *o)
{
	for (; r->output_pos < o->hit_cnt; r->output_pos++)
		if (!put_hit(r, o, &o->hit[r->output_pos]))
			return false;
	if (o->event.ev.kind == CHAIN_STALE)
		return put_stale(r, o);
	return o->event.ev.kind == CHAIN_FILL || put_connected(r, o);
}

static bool put_start(struct link_role *r, const struct scan_output *o)
{
	const struct chain_event *ev = &o->event.ev;
	struct link_chain_start s = {.height = ev->height, .header_cnt = o->event.header_cnt, .hash = ev->hash};

	u256_to_le(s.work, &ev->work);
	return link_writer_put(&r->out, LINK_CHAIN_START, &s, sizeof(s), o->event.headers,
			       (size_t)o->event.header_cnt * HEADER_SZ);
}

static bool put_disconnected(struct link_role *r, const struct scan_output *o)
{
	const struct chain_event *ev = &o->event.ev;
	struct link_block_disconnected d = {.height = ev->height, .hash = ev->hash};

	KILL_POINT("link:disconnected");
	if (!link_writer_put(&r->out, LINK_BLOCK_DISCONNECTED, &d, sizeof(d), NULL, 0))
		return false;
	window_disconnect(r, &ev->hash);
	return true;
}

static bool put_added(struct link_role *r, const struct scan_output *o)
{
	uint32_t cnt = o->recent_cnt < SCAN_RECENT_HITS_MAX ? o->recent_cnt : SCAN_RECENT_HITS_MAX;
	struct link_watch_added a = {.cookie = o->cookie, .recent_cnt = cnt, .error = o->error};

	for (; r->output_pos < cnt; r->output_pos++) {
		const struct index_recent_hit *f = &o->recent[r->output_pos];
		struct link_hit h = {
			.locator = o->locator,
			.txid = f->txid,
			.block_hash = f->block_hash,
			.height = f->height,
			.tx_idx = f->tx_idx,
			.scheme = f->scheme,
			.flags = LINK_HIT_RECENT,
			.last_byte_ns = f->last_byte_ns,
			.hit_ns = r->now_ns,
		};

		if (!link_writer_put(&r->out, LINK_HIT, &h, sizeof(h), NULL, 0))
			return false;
	}
	KILL_POINT("link:added");
	return link_writer_put(&r->out, LINK_WATCH_ADDED, &a, sizeof(a), NULL, 0);
}

/* Writes what is left of the output in hand.  False: no room, go on later. */
static bool put_output(struct link_role *r, const struct scan_output *o)
{
	if (o->kind == SCAN_OUT_CLEARED)
		return true;
	if (o->kind == SCAN_OUT_ADDED)
		return put_added(r, o);
	if (o->verdict != BLOCK_GOOD)
		return true; /* sync hears of it and fetches the block again; control need not */
	switch (o->event.ev.kind) {
	case CHAIN_START:
		return put_start(r, o);
	case CHAIN_FILL:
	case CHAIN_CONNECT:
	case CHAIN_STALE:
		return put_block(r, o);
	case CHAIN_DISCONNECT:
		return put_disconnected(r, o);
	}
	return true;
}

static void output_over(struct link_role *r)
{
	struct scan_output *o = &r->output;

	if (o->kind == SCAN_OUT_EVENT) {
		struct net_done d = {.ev = o->event.ev, .verdict = o->verdict};

		free(o->event.headers);
		scan_output_release(r->scan, o);
		net_role_done(r->net, &d);
	}
	if (o->kind == SCAN_OUT_CLEARED)
		r->cleared_cnt++;
	r->have_output = false;
}

static bool outputs(struct link_role *r)
{
	bool worked = false;

	for (unsigned n = 0; n < 256; n++) {
		if (!r->have_output) {
			if (!scan_output(r->scan, &r->output))
				return worked;
			r->have_output = true;
			r->output_pos = 0;
		}
		/* Once the session has ended, what was on its way is only given back. */
		if (r->state == LINK_RUN && !put_output(r, &r->output))
			return worked;
		output_over(r);
		worked = true;
	}
	return worked;
}

static void scan_counters(const struct link_role *r, struct link_stat *s, uint32_t *cnt)
{
	struct scan_stats st;
	uint32_t n = *cnt;

	scan_stats_get(r->scan, &st);
#define STAT(text, v)                                               \
	do {                                                        \
		snprintf(s[n].name, sizeof(s[n].name), "%s", text); \
		s[n++].value = (v);                                 \
	} while (0)
	STAT("scan_blocks_total", st.blocks);
	STAT("scan_transactions_total", st.txs);
	STAT("scan_bytes_total", st.bytes);
	STAT("scan_hits_total", st.hits);
	STAT("scan_recent_hits_total", st.recent_hits);
	STAT("scan_bad_merkle_total", st.bad_merkle);
	STAT("scan_mutated_total", st.mutated);
	STAT("scan_cancelled_total", st.cancelled);
	STAT("scan_window_waits_total", st.window_waits);
	STAT("index_adds_total", st.adds);
	STAT("index_loads_total", st.loads);
	STAT("index_deletes_total", st.dels);
	STAT("index_add_failures_total", st.add_failures);
	STAT("index_locators", st.index.locators);
	STAT("index_judy_bytes", st.index.judy_bytes);
	STAT("index_filter_bytes", st.index.filter_bytes);
	STAT("index_buckets", st.index.buckets);
	STAT("index_moved_keys_total", st.index.moved_keys);
	STAT("index_recent_blocks", st.index.recent_blocks);
	STAT("index_recent_txids", st.index.recent_txids);
	STAT("index_recent_bytes", st.index.recent_bytes);
#undef STAT
	for (unsigned i = 1; i < PARSE_VERDICT_CNT; i++) {
		snprintf(s[n].name, sizeof(s[n].name), "scan_bad_parse_%s_total",
			 parse_verdict_name((enum parse_verdict)i));
		/* The verdicts' names are words for people. */
		for (char *p = s[n].name; *p != '\0'; p++)
			if (*p == ' ' || *p == '-')
				*p = '_';
		s[n++].value = st.bad_parse[i];
	}
	*cnt = n;
}
#define SCAN_STAT_CNT (21u + PARSE_VERDICT_CNT)

static void put_stats(struct link_role *r, const struct net_note *n)
{
	struct link_stats rec = {.cookie = n->cookie, .cnt = n->stat_cnt};
	struct link_stat *all = calloc(n->stat_cnt + SCAN_STAT_CNT, sizeof(*all));

	if (all == NULL)
		return; /* no answer; the asker's deadline tells */
	memcpy(all, n->data, n->stat_cnt * sizeof(*all));
	scan_counters(r, all, &rec.cnt);
	link_writer_put(&r->out, LINK_STATS, &rec, sizeof(rec), all, rec.cnt * sizeof(*all));
	free(all);
}

/* News and answers are small; they are taken only while a generous number of them fits. */
#define NOTE_ROOM 65536u

static bool notes(struct link_role *r)
{
	struct net_note n;
	bool worked = false;

	while ((r->state != LINK_RUN || r->out.cap - link_writer_used(&r->out) > NOTE_ROOM) &&
	       net_role_note(r->net, &n)) {
		bool run = r->state == LINK_RUN;

		worked = true;
		switch (n.kind) {
		case NET_NOTE_PEER:
			if (run)
				link_writer_put(&r->out, LINK_PEER_STATE, &n.u.peer, sizeof(n.u.peer), NULL, 0);
			break;
		case NET_NOTE_CHAIN:
			if (run)
				link_writer_put(&r->out, LINK_CHAIN_STATE, &n.u.chain, sizeof(n.u.chain), NULL,
						0);
			break;
		case NET_NOTE_BROADCAST:
			if (run)
				link_writer_put(&r->out, LINK_BROADCAST_RESULT, &n.u.broadcast,
						sizeof(n.u.broadcast), NULL, 0);
			break;
		case NET_NOTE_STALE_MISSING:
			if (run)
				link_writer_put(&r->out, LINK_STALE_BLOCK, &n.u.stale, sizeof(n.u.stale), NULL,
						0);
			break;
		case NET_NOTE_STALE_END:
			if (run)
				link_writer_put(&r->out, LINK_STALE_END, &n.u.stale_end, sizeof(n.u.stale_end),
						NULL, 0);
			break;
		case NET_NOTE_STOPPED:
			r->stopped = true;
			break;
		case NET_NOTE_START_FAILED:
			r->start_refused = true;
			break;
		case NET_NOTE_STATS:
			if (run)
				put_stats(r, &n);
			free(n.data);
			break;
		}
	}
	return worked;
}

bool link_out_poll(struct link_role *r)
{
	bool worked = outputs(r);

	return notes(r) || worked;
}
