/* scanstale and getstalescan: blocks off the best chain, as information only (feed.h says why). */
#include "rpc/rpc_priv.h"

#include <errno.h>

static json_t *height_view(uint32_t height)
{
	return height == LINK_HEIGHT_UNKNOWN ? json_null() : json_integer(height);
}

static json_t *block_view(const struct feed_stale_block *b)
{
	return json_pack("{s:o, s:o, s:s, s:I, s:I}", "hash", rpc_json_hash(&b->hash), "height",
			 height_view(b->height), "status", b->missing ? "unavailable" : "scanned",
			 "transactions", (json_int_t)b->tx_cnt, "hits", (json_int_t)b->hit_cnt);
}

static json_t *hit_view(const struct feed_stale_hit *h)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:I}", "locator", rpc_json_hex(h->locator.b, LOCATOR_SZ), "txid",
			 rpc_json_hash(&h->txid), "block", rpc_json_hash(&h->block_hash), "height",
			 height_view(h->height), "place", (json_int_t)h->tx_idx);
}

static const char *error_of(const struct feed_stale *s)
{
	if (s->state == FEED_STALE_FAILED)
		return s->why;
	if (s->state == FEED_STALE_DONE && s->missing_cnt > 0)
		return "no peer has the blocks marked unavailable any more; nodes keep stale blocks for a "
		       "while only";
	if (s->state == FEED_STALE_DONE && s->block_cnt == 0)
		return s->all ? "no stale branch is known" : "the block is on the best chain";
	return s->cut ? "there were more blocks than one scan takes; scan branches one by one" : NULL;
}

static json_t *scan_view(const struct feed_stale *s)
{
	static const char *const state[] = {[FEED_STALE_NONE] = "none",
					    [FEED_STALE_RUNNING] = "running",
					    [FEED_STALE_DONE] = "done",
					    [FEED_STALE_FAILED] = "failed"};
	json_t *blocks = json_array(), *hits = json_array();
	const char *error = error_of(s);

	for (uint32_t i = 0; i < s->block_cnt; i++)
		json_array_append_new(blocks, block_view(&s->block[i]));
	for (uint64_t i = 0; i < s->hit_cnt && i < FEED_STALE_HIT_MAX; i++)
		json_array_append_new(hits, hit_view(&s->hit[i]));
	return json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:o, s:o}", "state", state[s->state], "up_to",
			 s->all || s->state == FEED_STALE_NONE ? json_null() : rpc_json_hash(&s->hash), "error",
			 error != NULL ? json_string(error) : json_null(), "blocks_scanned",
			 (json_int_t)(s->block_cnt - s->missing_cnt), "blocks_unavailable",
			 (json_int_t)s->missing_cnt, "hits_total", (json_int_t)s->hit_cnt, "blocks", blocks,
			 "hits", hits);
}

struct rpc_done rpc_getstalescan(struct rpc_call *call)
{
	const struct rpc_ctx *ctx = call->ctx;

	return rpc_result(scan_view(feed_stale_get(ctx->env.feed)));
}

struct rpc_done rpc_scanstale(struct rpc_call *call)
{
	const struct rpc_ctx *ctx = call->ctx;
	struct hash256 hash;

	/* As written by people: last byte first. */
	for (size_t i = 0; i < HASH_SZ; i++)
		hash.b[i] = call->arg[0].b[HASH_SZ - 1 - i];
	switch (feed_stale_scan(ctx->env.feed, call->arg[0].given ? &hash : NULL)) {
	case 0:
		return rpc_getstalescan(call);
	case -EBUSY:
		return rpc_fail(RPC_BUSY, "a scan of stale blocks is under way; getstalescan shows it");
	case -ENOTCONN:
		return rpc_fail(RPC_BUSY, "the dataplane does not report blocks now");
	default:
		return rpc_fail(RPC_BUSY, "no room for the request now; try again");
	}
}
