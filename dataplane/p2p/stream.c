#include "p2p/stream.h"

#include <assert.h>
#include <stdlib.h>

#define BUF_KEEP_SZ 65536u /* a larger buffer is not kept between messages */

void p2p_stream_init(struct p2p_stream *s, const uint8_t magic[4], uint32_t wanted)
{
	memset(s, 0, sizeof(*s));
	memcpy(s->magic, magic, 4);
	s->wanted = wanted;
	s->at = P2P_AT_HEAD;
}

void p2p_stream_free(struct p2p_stream *s)
{
	free(s->buf);
	s->buf = NULL;
	s->buf_cap = 0;
	s->block_dst = NULL;
	s->at = P2P_AT_END;
}

static enum p2p_stream_event broken(struct p2p_stream *s, enum p2p_verdict v)
{
	s->verdict = v;
	s->at = P2P_AT_END;
	return P2P_STREAM_BROKEN;
}

/* Copies what is missing of want bytes; true once all are there. */
static bool gather(uint8_t *dst, uint32_t *got, uint32_t want, const uint8_t **p, size_t *sz)
{
	size_t n = want - *got;

	if (n > *sz)
		n = *sz;
	if (n != 0)
		memcpy(dst + *got, *p, n);
	*got += (uint32_t)n;
	*p += n;
	*sz -= n;
	return *got == want;
}

/* Grows with what has really arrived (by doubling), not with what the head promised. */
static bool buf_reserve(struct p2p_stream *s, uint32_t need)
{
	uint32_t cap = s->buf_cap != 0 ? s->buf_cap : 1024;
	uint8_t *buf;

	if (need <= s->buf_cap)
		return true;
	while (cap < need)
		cap *= 2;
	buf = realloc(s->buf, cap);
	if (buf == NULL)
		return false;
	s->buf = buf;
	s->buf_cap = cap;
	return true;
}

static void buf_trim(struct p2p_stream *s)
{
	if (s->buf_cap > BUF_KEEP_SZ) {
		free(s->buf);
		s->buf = NULL;
		s->buf_cap = 0;
	}
}

static enum p2p_verdict head_done(struct p2p_stream *s)
{
	struct p2p_head h;
	enum p2p_verdict v = p2p_head_decode(&h, s->head, s->magic);

	if (v != P2P_OK)
		return v;
	s->type = h.type;
	s->payload_sz = h.payload_sz;
	s->payload = NULL;
	memcpy(s->checksum, h.checksum, 4);
	s->got = 0;
	if (h.type == P2P_BLOCK) {
		s->at = P2P_AT_BLOCK_HEAD;
		s->block_dst = NULL;
	} else if (s->wanted & 1u << h.type) {
		s->at = P2P_AT_PAYLOAD;
		buf_trim(s);
	} else {
		s->at = P2P_AT_PASSING;
		sha256_start(&s->sha);
	}
	return P2P_OK;
}

static enum p2p_stream_event payload_done(struct p2p_stream *s)
{
	uint8_t sum[4];

	p2p_checksum(sum, s->buf, s->payload_sz);
	if (memcmp(sum, s->checksum, 4) != 0)
		return broken(s, P2P_BAD_CHECKSUM);
	s->payload = s->buf;
	s->at = P2P_AT_HEAD;
	s->got = 0;
	return P2P_STREAM_MESSAGE;
}

static enum p2p_stream_event passing_done(struct p2p_stream *s)
{
	struct hash256 once = sha256_finish(&s->sha);
	struct hash256 twice = sha256(once.b, HASH_SZ);

	if (memcmp(twice.b, s->checksum, 4) != 0)
		return broken(s, P2P_BAD_CHECKSUM);
	s->at = P2P_AT_HEAD;
	s->got = 0;
	return P2P_STREAM_SKIPPED;
}

/* One step within the current part of a message; P2P_STREAM_MORE when the part is over or input ran out. */
static enum p2p_stream_event step(struct p2p_stream *s, const uint8_t **p, size_t *sz)
{
	size_t n = s->payload_sz - s->got < *sz ? s->payload_sz - s->got : *sz;

	switch (s->at) {
	case P2P_AT_HEAD:
		if (gather(s->head, &s->got, P2P_HEAD_SZ, p, sz)) {
			enum p2p_verdict v = head_done(s);

			if (v != P2P_OK)
				return broken(s, v);
		}
		return P2P_STREAM_MORE;
	case P2P_AT_PAYLOAD:
		/* No memory for one message ends this connection, not the process. */
		if (!buf_reserve(s, s->got + (uint32_t)n))
			return broken(s, P2P_BAD_LENGTH);
		if (gather(s->buf, &s->got, s->payload_sz, p, sz))
			return payload_done(s);
		return P2P_STREAM_MORE;
	case P2P_AT_PASSING:
		sha256_feed(&s->sha, *p, n);
		s->got += (uint32_t)n;
		*p += n;
		*sz -= n;
		return s->got == s->payload_sz ? passing_done(s) : P2P_STREAM_MORE;
	case P2P_AT_BLOCK_HEAD:
		if (!gather(s->block_header, &s->got, HEADER_SZ, p, sz))
			return P2P_STREAM_MORE;
		s->at = P2P_AT_BLOCK;
		return P2P_STREAM_BLOCK_HEAD;
	case P2P_AT_BLOCK:
		if (s->block_dst != NULL)
			memcpy(s->block_dst + s->got, *p, n);
		s->got += (uint32_t)n;
		*p += n;
		*sz -= n;
		if (s->got != s->payload_sz)
			return P2P_STREAM_MORE;
		s->at = P2P_AT_HEAD;
		s->got = 0;
		return P2P_STREAM_BLOCK;
	case P2P_AT_END:
		return P2P_STREAM_BROKEN;
	}
	return P2P_STREAM_BROKEN;
}

enum p2p_stream_event p2p_stream_feed(struct p2p_stream *s, const uint8_t *p, size_t sz, size_t *used)
{
	const uint8_t *at = p;
	enum p2p_stream_event e = P2P_STREAM_MORE;

	/* An empty payload is complete without a further byte. */
	while (e == P2P_STREAM_MORE &&
	       (sz > 0 || ((s->at == P2P_AT_PAYLOAD || s->at == P2P_AT_PASSING) && s->payload_sz == 0)))
		e = step(s, &at, &sz);
	*used = (size_t)(at - p);
	return e;
}

void p2p_stream_block_to(struct p2p_stream *s, uint8_t *dst)
{
	assert(s->at == P2P_AT_BLOCK && s->got == HEADER_SZ);
	s->block_dst = dst;
	if (dst != NULL)
		memcpy(dst, s->block_header, HEADER_SZ);
}

void p2p_stream_block_forget(struct p2p_stream *s)
{
	s->block_dst = NULL;
}
