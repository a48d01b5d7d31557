/* stream.h - cuts the byte stream of one connection into messages, however it arrives in pieces.

   Threads  One thread per stream.
   Memory   The payload of a `block` goes straight into a buffer the caller names once its 80-byte header is
            in, and is not copied again.  Every other wanted message is gathered in a buffer of the stream's
            own, at most P2P_PAYLOAD_SZ_MAX long and given back when it was large.  Unwanted messages pass
            through without being stored.
   Checks   Magic, command form and length as soon as the head is in; checksum of every message, wanted or
            not, but of `block`, whose proof of work and merkle root say more (spec/bitcoin.md section 2).
   Errors   P2P_STREAM_BROKEN is final: the stream lost its framing and only a new connection helps. */
#ifndef VIGIL_P2P_STREAM_H
#define VIGIL_P2P_STREAM_H

#include "btc/sha256.h"
#include "p2p/wire.h"

enum p2p_stream_event {
	P2P_STREAM_MORE,       /* all input is used; feed more */
	P2P_STREAM_MESSAGE,    /* a whole wanted message: type, payload, payload_sz */
	P2P_STREAM_BLOCK_HEAD, /* a block begins: block_header; answer with p2p_stream_block_to */
	P2P_STREAM_BLOCK,      /* the block is complete in the buffer it was sent to (or was let pass) */
	P2P_STREAM_SKIPPED,    /* an unwanted message has passed: type */
	P2P_STREAM_BROKEN      /* verdict says why */
};

struct p2p_stream {
	/* What the last event is about.  payload is valid until the next call. */
	enum p2p_type type;
	uint32_t payload_sz;
	const uint8_t *payload;
	uint8_t block_header[HEADER_SZ];
	enum p2p_verdict verdict;

	/* The stream's own. */
	enum { P2P_AT_HEAD, P2P_AT_PAYLOAD, P2P_AT_PASSING, P2P_AT_BLOCK_HEAD, P2P_AT_BLOCK, P2P_AT_END } at;
	uint32_t wanted; /* bit t: gather messages of type t */
	uint32_t got;    /* bytes of the current head or payload */
	uint8_t magic[4], checksum[4];
	uint8_t head[P2P_HEAD_SZ];
	uint8_t *buf;
	uint32_t buf_cap;
	uint8_t *block_dst; /* NULL: let it pass */
	struct sha256_ctx sha;
};

/* wanted: one bit (1u << type) for each type to gather; P2P_BLOCK is always reported. */
void p2p_stream_init(struct p2p_stream *s, const uint8_t magic[4], uint32_t wanted);
/* Frees the buffer; the stream may be initialised again. */
void p2p_stream_free(struct p2p_stream *s);

/* Takes bytes up to the next event; *used says how many.  Call again with the rest until P2P_STREAM_MORE. */
enum p2p_stream_event p2p_stream_feed(struct p2p_stream *s, const uint8_t *p, size_t sz, size_t *used);

/* Answers P2P_STREAM_BLOCK_HEAD, before the next feed: dst has room for payload_sz bytes and stays the
   caller's; the header is copied to its start at once.  NULL lets the block pass unstored. */
void p2p_stream_block_to(struct p2p_stream *s, uint8_t *dst);

/* The buffer given for the block that is arriving is no longer to be written: the rest passes unstored. */
void p2p_stream_block_forget(struct p2p_stream *s);

/* Where the stream stands: in a message of any kind; in its payload, so that payload_sz is about it; in a block whose
   header has been reported. */
static inline bool p2p_stream_in_message(const struct p2p_stream *s)
{
	return s->at != P2P_AT_END && (s->at != P2P_AT_HEAD || s->got > 0);
}
static inline bool p2p_stream_in_payload(const struct p2p_stream *s)
{
	return s->at != P2P_AT_END && s->at != P2P_AT_HEAD;
}
static inline bool p2p_stream_in_block(const struct p2p_stream *s)
{
	return s->at == P2P_AT_BLOCK;
}
/* Bytes of that payload that are still to come. */
static inline uint32_t p2p_stream_missing(const struct p2p_stream *s)
{
	return s->payload_sz - s->got;
}

#endif
