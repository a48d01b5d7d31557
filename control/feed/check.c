#include "feed/check.h"

void feed_check_start(struct feed_check *c, bool resume, uint32_t height, const struct hash256 *hash)
{
	*c = (struct feed_check){.started = true, .resume = resume, .base_height = height};
	c->base_hash = *hash;
}

/* NUL-terminated (or, if padded, full) printable ASCII. */
static bool is_text(const char *s, size_t sz, bool needs_nul)
{
	size_t n = strnlen(s, sz);

	for (size_t i = 0; i < n; i++)
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	return n < sz || !needs_nul;
}

const char *feed_check_hello(const struct link_d_hello *h, const struct network *net)
{
	if (h->magic != LINK_MAGIC)
		return "it does not speak this protocol (magic)";
	if (h->version != LINK_VERSION)
		return "it speaks another version of the link; install vigild and vigil-dataplane "
		       "of one release";
	if (h->network != (uint32_t)net->id)
		return "it is on another Bitcoin network; give both programs the same one";
	if (h->window == 0 || h->window > FEED_WINDOW_MAX)
		return "its window of unacknowledged blocks is impossible";
	if (!is_text(h->kernel, sizeof(h->kernel), false) ||
	    !is_text(h->version_text, sizeof(h->version_text), false))
		return "its HELLO holds unprintable text";
	return NULL;
}

static struct hash256 header_prev(const uint8_t h[HEADER_SZ])
{
	struct header_fields f;

	header_decode(&f, h);
	return f.prev;
}

const char *feed_check_chain_start(struct feed_check *c, const struct link_chain_start *r,
				   const uint8_t *headers)
{
	struct hash256 last = {0}, prev;

	if (!c->started || c->on)
		return "CHAIN_START out of turn";
	if (c->resume &&
	    (r->header_cnt != 0 || r->height != c->base_height || !hash256_eq(&r->hash, &c->base_hash)))
		return "CHAIN_START is not where we resumed";
	if (r->header_cnt > 2016 || r->header_cnt > (uint64_t)r->height + 1)
		return "CHAIN_START holds too many headers";
	for (uint32_t i = 0; i < r->header_cnt; i++) {
		prev = header_prev(headers + (size_t)i * HEADER_SZ);
		if (i > 0 && !hash256_eq(&prev, &last))
			return "CHAIN_START's headers do not link";
		last = header_hash(headers + (size_t)i * HEADER_SZ);
	}
	if (r->header_cnt > 0 && !hash256_eq(&last, &r->hash))
		return "CHAIN_START's last header is not its base block";
	c->on = true;
	c->height = r->height;
	c->hash = r->hash;
	c->hash_known = true;
	return NULL;
}

const char *feed_check_hit(struct feed_check *c, const struct link_hit *r)
{
	struct locator l;

	if (!c->started)
		return "HIT before START";
	if (r->scheme != LOCATOR_INTERNAL && r->scheme != LOCATOR_DISPLAY)
		return "HIT with an unknown scheme";
	if (r->flags > LINK_HIT_STALE || r->flags == (LINK_HIT_RECENT | LINK_HIT_STALE))
		return "HIT with unknown flags";
	if (r->tx_idx >= BLOCK_TX_MAX || r->raw_sz > BLOCK_SZ_MAX)
		return "HIT with an impossible place or size";
	l = locator_of_txid(&r->txid, (enum locator_scheme)r->scheme);
	if (memcmp(l.b, r->locator.b, LOCATOR_SZ) != 0)
		return "HIT whose locator is not of its transaction";
	if (r->flags != 0)
		return NULL; /* not of the block that is next */
	if (!c->on || r->height != (uint64_t)c->height + 1)
		return "HIT of a block that is not next";
	if (c->hit_cnt > 0 && !hash256_eq(&r->block_hash, &c->hit_block))
		return "HITs of two blocks mixed";
	c->hit_block = r->block_hash;
	c->hit_bytes += r->raw_sz;
	if (++c->hit_cnt > FEED_HIT_MAX || c->hit_bytes > FEED_HIT_BYTES_MAX)
		return "more HITs than a block can hold";
	return NULL;
}

const char *feed_check_connected(struct feed_check *c, const struct link_block_connected *r)
{
	struct hash256 hash = header_hash(r->header), prev = header_prev(r->header);

	if (!c->on || r->height != (uint64_t)c->height + 1)
		return "BLOCK_CONNECTED of a block that is not next";
	if (!hash256_eq(&hash, &r->hash))
		return "BLOCK_CONNECTED whose header is not of its hash";
	if (c->hash_known && !hash256_eq(&prev, &c->hash))
		return "BLOCK_CONNECTED that does not link to the block before";
	if (r->hit_cnt != c->hit_cnt || (c->hit_cnt > 0 && !hash256_eq(&c->hit_block, &r->hash)))
		return "BLOCK_CONNECTED without its HITs";
	if (r->tx_cnt == 0 || r->tx_cnt > BLOCK_TX_MAX || r->total_sz > BLOCK_SZ_MAX)
		return "BLOCK_CONNECTED with an impossible size";
	c->height = r->height;
	c->hash = r->hash;
	c->hash_known = true;
	c->hit_cnt = 0;
	c->hit_bytes = 0;
	return NULL;
}

const char *feed_check_disconnected(struct feed_check *c, const struct link_block_disconnected *r)
{
	if (!c->on || r->height != c->height || r->height == 0 || c->hit_cnt != 0)
		return "BLOCK_DISCONNECTED out of turn";
	if (c->hash_known && !hash256_eq(&r->hash, &c->hash))
		return "BLOCK_DISCONNECTED of a block that is not the tip";
	c->height--;
	c->hash_known = false;
	return NULL;
}

const char *feed_check_chain_state(const struct link_chain_state *r)
{
	return r->synced > 1 ? "CHAIN_STATE with an unknown flag" : NULL;
}

const char *feed_check_peer(const struct link_peer_state *r)
{
	if (!is_text(r->addr, sizeof(r->addr), true) || !is_text(r->state, sizeof(r->state), true) ||
	    !is_text(r->user_agent, sizeof(r->user_agent), true) ||
	    !is_text(r->last_error, sizeof(r->last_error), true) ||
	    !is_text(r->ban_reason, sizeof(r->ban_reason), true) ||
	    !is_text(r->push_last_error, sizeof(r->push_last_error), true))
		return "PEER_STATE with unprintable text";
	return NULL;
}

const char *feed_check_stats(const struct link_stats *r, const struct link_stat *s)
{
	for (uint32_t i = 0; i < r->cnt; i++)
		if (s[i].name[0] == '\0' || !is_text(s[i].name, sizeof(s[i].name), true))
			return "STATS with an unprintable name";
	return NULL;
}

const char *feed_check_broadcast_result(const struct link_broadcast_result *r)
{
	return r->status > LINK_BCAST_NEWS ? "BROADCAST_RESULT with an unknown status" : NULL;
}
