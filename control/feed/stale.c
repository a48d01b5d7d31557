/* stale.c - a scan of stale branches that an operator asked for: what it has found so far. */
#include <errno.h>
#include <stdlib.h>

#include "feed/feed_priv.h"
#include "log/log.h"

int feed_stale_scan(struct feed *f, const struct hash256 *hash)
{
	struct feed_stale *s = &f->stale;
	struct link_stale_scan rec = {.cookie = s->cookie + 1};

	if (f->state != FEED_ON)
		return -ENOTCONN;
	if (s->state == FEED_STALE_RUNNING)
		return -EBUSY;
	if (s->block == NULL) {
		s->block = calloc(FEED_STALE_BLOCK_MAX, sizeof(*s->block));
		s->hit = calloc(FEED_STALE_HIT_MAX, sizeof(*s->hit));
		if (s->block == NULL || s->hit == NULL) {
			session_stale_free(f);
			return -ENOMEM;
		}
	}
	if (hash != NULL)
		rec.hash = *hash;
	if (!link_writer_put(&f->writer, LINK_STALE_SCAN, &rec, sizeof(rec), NULL, 0))
		return -EAGAIN;
	*s = (struct feed_stale){.state = FEED_STALE_RUNNING,
				 .cookie = rec.cookie,
				 .all = hash == NULL,
				 .hash = rec.hash,
				 .why = "",
				 .block = s->block,
				 .hit = s->hit};
	feed_touch(f);
	log_info("stale_scan", "Scanning stale branches", log_hash("up_to", rec.hash.b));
	return 0;
}

const struct feed_stale *feed_stale_get(const struct feed *f)
{
	return &f->stale;
}

void session_stale_free(struct feed *f)
{
	free(f->stale.block);
	free(f->stale.hit);
	f->stale.block = NULL;
	f->stale.hit = NULL;
}

void session_stale_lost(struct feed *f)
{
	if (f->stale.state != FEED_STALE_RUNNING)
		return;
	f->stale.state = FEED_STALE_FAILED;
	f->stale.why = "the session with the dataplane ended";
}

const char *session_stale_hit(struct feed *f, const struct link_hit *r)
{
	struct feed_stale *s = &f->stale;

	if (s->state != FEED_STALE_RUNNING)
		return "HIT of a stale block that nobody asked for";
	if (s->open_cnt > 0 && !hash256_eq(&s->open_block, &r->block_hash))
		return "HITs of two stale blocks mixed";
	if (++s->open_cnt > FEED_HIT_MAX)
		return "more HITs than a block can hold";
	s->open_block = r->block_hash;
	if (s->hit_cnt++ >= FEED_STALE_HIT_MAX)
		return NULL;
	s->hit[s->hit_cnt - 1] = (struct feed_stale_hit){.locator = r->locator,
							 .txid = r->txid,
							 .block_hash = r->block_hash,
							 .height = r->height,
							 .tx_idx = r->tx_idx};
	log_warn("stale_hit", "A watched transaction stands in a stale block; it is not confirmed by that",
		 log_hash("txid", r->txid.b), log_hash("block", r->block_hash.b),
		 log_hex("locator", r->locator.b, LOCATOR_SZ));
	return NULL;
}

const char *session_stale_block(struct feed *f, const struct link_stale_block *r)
{
	struct feed_stale *s = &f->stale;

	if (s->state != FEED_STALE_RUNNING || r->status > LINK_STALE_MISSING)
		return "STALE_BLOCK out of turn";
	if (s->block_cnt == FEED_STALE_BLOCK_MAX)
		return "more STALE_BLOCKs than one scan may have";
	if (r->hit_cnt != s->open_cnt || (s->open_cnt > 0 && !hash256_eq(&s->open_block, &r->hash)))
		return "STALE_BLOCK without its HITs";
	s->open_cnt = 0;
	s->block[s->block_cnt++] = (struct feed_stale_block){.hash = r->hash,
							     .height = r->height,
							     .tx_cnt = r->tx_cnt,
							     .hit_cnt = r->hit_cnt,
							     .missing = r->status == LINK_STALE_MISSING};
	s->missing_cnt += r->status == LINK_STALE_MISSING;
	return NULL;
}

const char *session_stale_end(struct feed *f, const struct link_stale_end_record *r)
{
	struct feed_stale *s = &f->stale;

	if (s->state != FEED_STALE_RUNNING || r->cookie != s->cookie || s->open_cnt > 0 ||
	    r->result > LINK_STALE_NO_CHAIN)
		return "STALE_END out of turn";
	s->cut = r->cut != 0;
	s->state = r->result == LINK_STALE_DONE ? FEED_STALE_DONE : FEED_STALE_FAILED;
	if (r->result == LINK_STALE_BUSY)
		s->why = "the dataplane is scanning for somebody else";
	else if (r->result == LINK_STALE_NO_CHAIN)
		s->why = "the dataplane has no chain yet";
	log_info("stale_scanned", "Scan of stale branches ended",
		 log_u64("scanned", s->block_cnt - s->missing_cnt), log_u64("missing", s->missing_cnt),
		 log_u64("hits", s->hit_cnt), log_str("why", s->why));
	return NULL;
}
