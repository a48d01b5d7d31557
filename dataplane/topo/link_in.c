/* Records from control.  A handler answers ROOM when some ring has none: the record stays and is tried again. */
#include "topo/link_priv.h"

#include <inttypes.h>
#include <stdlib.h>

#include "kill/kill_point.h"

enum handled { DONE, ROOM, BAD };

static enum handled on_hello(struct link_role *r, const struct link_c_hello *h)
{
	if (r->state != LINK_HELLO)
		return BAD;
	if (h->magic != LINK_MAGIC) {
		link_log("error", "link_magic", "what has connected does not speak the link's protocol");
		return BAD;
	}
	if (h->version != LINK_VERSION) {
		link_log("error", "link_version", "control speaks version %u, this dataplane %u", h->version,
			 LINK_VERSION);
		return BAD;
	}
	if (h->network != (uint32_t)r->o->network->id) {
		link_log("error", "link_network", "control is on another network than --network %s",
			 r->o->network->name);
		return BAD;
	}
	r->state = LINK_LOAD;
	r->load_begun = r->load_over = false;
	r->loaded_cnt = 0;
	r->hello_ns = r->now_ns;
	return DONE;
}

static enum handled on_load(struct link_role *r, const struct link_watch_load *h)
{
	const struct locator *l = (const void *)(h + 1);

	if (r->state != LINK_LOAD)
		return BAD;
	if (!r->load_begun) {
		struct scan_edit expect = {.kind = SCAN_EXPECT, .cookie = h->expected};

		if (!scan_edit(r->scan, &expect))
			return ROOM;
		r->load_begun = true;
	}
	for (; r->pending_pos < h->cnt; r->pending_pos++) {
		struct scan_edit e = {.kind = SCAN_LOAD, .locator = l[r->pending_pos]};

		if (!scan_edit(r->scan, &e))
			return ROOM;
	}
	r->loaded_cnt += h->cnt;
	return DONE;
}

static enum handled on_start(struct link_role *r, const struct link_start *h)
{
	struct net_cmd c = {.kind = NET_CMD_START};
	struct scan_edit loaded = {.kind = SCAN_LOADED};

	if (r->state != LINK_LOAD || h->mode > LINK_START_RESUME)
		return BAD;
	if (!r->load_over)
		r->load_over = scan_edit(r->scan, &loaded);
	if (!r->load_over)
		return ROOM;
	/* The first block must find every locator loaded. */
	if (!scan_edits_done(r->scan))
		return ROOM;
	c.data_sz = (size_t)h->header_cnt * HEADER_SZ;
	c.data = malloc(c.data_sz + 1);
	if (c.data == NULL)
		return ROOM;
	memcpy(c.data, h + 1, c.data_sz);
	c.start = (struct sync_start){
		.resume = h->mode == LINK_START_RESUME,
		.root_hash = h->root_hash,
		.root_height = h->root_height,
		.root_work = u256_from_le(h->root_work),
		.header_cnt = h->header_cnt,
	};
	if (!net_role_command(r->net, &c)) {
		free(c.data);
		return ROOM;
	}
	r->state = LINK_RUN;
	link_log("info", "loaded", "%" PRIu64 " locators loaded, %.3f s after control's HELLO", r->loaded_cnt,
		 (double)(r->now_ns - r->hello_ns) / 1e9);
	return DONE;
}

static enum handled on_edit(struct link_role *r, enum scan_edit_kind kind, uint64_t cookie,
			    const struct locator *l)
{
	struct scan_edit e = {.kind = kind, .cookie = cookie, .locator = *l};

	if (r->state != LINK_RUN)
		return BAD;
	return scan_edit(r->scan, &e) ? DONE : ROOM;
}

static enum handled on_ack(struct link_role *r, const struct link_block_ack *h)
{
	struct scan_edit e = {.kind = SCAN_EVICT};

	if (r->state != LINK_RUN)
		return BAD;
	if (h->height >= r->o->recent_blocks) {
		e.height = h->height - r->o->recent_blocks;
		if (!scan_edit(r->scan, &e))
			return ROOM;
	}
	link_window_ack(r, &h->hash);
	KILL_POINT("link:after-ack");
	return DONE;
}

static enum handled on_broadcast(struct link_role *r, const struct link_broadcast *h)
{
	struct net_cmd c = {.kind = NET_CMD_BROADCAST, .cookie = h->cookie, .txid = h->txid};

	if (r->state != LINK_RUN || h->raw_sz == 0 || h->raw_sz > BLOCK_SZ_MAX)
		return BAD;
	c.data_sz = h->raw_sz;
	c.data = malloc(c.data_sz);
	if (c.data == NULL)
		return ROOM;
	memcpy(c.data, h + 1, c.data_sz);
	if (!net_role_command(r->net, &c)) {
		free(c.data);
		return ROOM;
	}
	return DONE;
}

static enum handled on_stats(struct link_role *r, const struct link_stats_get *h)
{
	struct net_cmd c = {.kind = NET_CMD_STATS, .cookie = h->cookie};

	if (r->state != LINK_RUN)
		return BAD;
	return net_role_command(r->net, &c) ? DONE : ROOM;
}

static enum handled on_stale_scan(struct link_role *r, const struct link_stale_scan *h)
{
	struct net_cmd c = {.kind = NET_CMD_STALE, .cookie = h->cookie, .txid = h->hash};

	if (r->state != LINK_RUN)
		return BAD;
	return net_role_command(r->net, &c) ? DONE : ROOM;
}

static enum handled handle(struct link_role *r, const struct link_head *rec)
{
	const void *p = rec;

	switch ((enum link_type)rec->type) {
	case LINK_C_HELLO:
		return on_hello(r, p);
	case LINK_WATCH_LOAD:
		return on_load(r, p);
	case LINK_START:
		return on_start(r, p);
	case LINK_WATCH_ADD:
		return on_edit(r, SCAN_ADD, ((const struct link_watch_add *)p)->cookie,
			       &((const struct link_watch_add *)p)->locator);
	case LINK_WATCH_DEL:
		return on_edit(r, SCAN_DEL, 0, &((const struct link_watch_del *)p)->locator);
	case LINK_BLOCK_ACK:
		return on_ack(r, p);
	case LINK_BROADCAST:
		return on_broadcast(r, p);
	case LINK_STATS_GET:
		return on_stats(r, p);
	case LINK_STALE_SCAN:
		return on_stale_scan(r, p);
	case LINK_D_HELLO:
	case LINK_CHAIN_START:
	case LINK_WATCH_ADDED:
	case LINK_HIT:
	case LINK_BLOCK_CONNECTED:
	case LINK_BLOCK_DISCONNECTED:
	case LINK_CHAIN_STATE:
	case LINK_PEER_STATE:
	case LINK_BROADCAST_RESULT:
	case LINK_STATS:
	case LINK_STALE_BLOCK:
	case LINK_STALE_END:
		break;
	}
	return BAD; /* the reader lets none of these through */
}

bool link_in_poll(struct link_role *r, bool *worked)
{
	for (unsigned n = 0; n < 4096; n++) {
		if (r->pending == NULL) {
			int got = link_reader_next(&r->in, LINK_FROM_CONTROL, &r->pending);

			if (got < 0) {
				link_log("error", "link_malformed", "control sent a malformed record");
				return false;
			}
			if (got == 0) {
				r->pending = NULL;
				return true;
			}
			r->pending_pos = 0;
		}
		switch (handle(r, r->pending)) {
		case DONE:
			r->pending = NULL;
			*worked = true;
			break;
		case ROOM:
			/* Part of it may have been handed on, and who makes room must not sleep. */
			*worked = true;
			return true;
		case BAD:
			link_log("error", "link_protocol", "control sent record type %u out of order",
				 r->pending->type);
			return false;
		}
	}
	return true;
}
