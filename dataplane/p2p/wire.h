/* wire.h - the Bitcoin P2P messages Vigil speaks, v1 framing, both directions (spec/bitcoin.md sections 2, 3,
   6, 7, 10).

   A message is a 24-byte head and a payload.  To send: encode the payload at msg + P2P_HEAD_SZ, then p2p_seal
   writes the head in front of it.  To receive: p2p_head_decode tells type and length (stream.h does this for a
   byte stream), then the decoder of that type gives a view into the payload.  Decoders read only [p, p+sz),
   copy nothing but fixed-size fields, and bound every count; bytes after a well-formed payload are tolerated,
   as a node does.

   Threads Pure functions, any thread. */
#ifndef VIGIL_P2P_WIRE_H
#define VIGIL_P2P_WIRE_H

#include "btc/hash.h"

#define P2P_HEAD_SZ        24u
#define P2P_PAYLOAD_SZ_MAX 4000000u
#define P2P_PROTOCOL       70016
#define P2P_PROTOCOL_MIN   70015 /* what we require of a node */

#define P2P_HEADERS_MAX 2000u  /* in one headers message */
#define P2P_INV_MAX     50000u /* in one inv, getdata or notfound */
#define P2P_LOCATOR_MAX 101u
#define P2P_AGENT_MAX   256u

enum { /* service bits */
       P2P_SERVICE_NETWORK = 1u << 0,
       P2P_SERVICE_WITNESS = 1u << 3,
       P2P_SERVICE_NETWORK_LIMITED = 1u << 10 /* only the last 288 blocks */
};

enum p2p_type {
	P2P_VERSION,
	P2P_VERACK,
	P2P_PING,
	P2P_PONG,
	P2P_SENDHEADERS,
	P2P_GETHEADERS,
	P2P_HEADERS,
	P2P_INV,
	P2P_GETDATA,
	P2P_NOTFOUND,
	P2P_BLOCK,
	P2P_TX,
	P2P_FEEFILTER,
	P2P_SENDCMPCT,
	P2P_WTXIDRELAY,
	P2P_SENDADDRV2,
	P2P_ADDR,
	P2P_ADDRV2,
	P2P_REJECT,
	P2P_OTHER, /* well-formed, but not one of the above */
	P2P_TYPE_CNT
};
/* "version" ...; "other" for P2P_OTHER. */
const char *p2p_type_name(enum p2p_type t);

/* Why a stream cannot go on.  After anything but P2P_OK the connection must be dropped. */
enum p2p_verdict { P2P_OK, P2P_BAD_MAGIC, P2P_BAD_COMMAND, P2P_BAD_LENGTH, P2P_BAD_CHECKSUM, P2P_VERDICT_CNT };
/* A short stable name ("magic", "command", ...) for counters. */
const char *p2p_verdict_name(enum p2p_verdict v);

struct p2p_head {
	enum p2p_type type;
	uint32_t payload_sz;
	uint8_t checksum[4];
};

/* Checks magic, the form of the command, and the length against the bound of its type. */
enum p2p_verdict p2p_head_decode(struct p2p_head *h, const uint8_t p[P2P_HEAD_SZ], const uint8_t magic[4]);
void p2p_checksum(uint8_t out[4], const uint8_t *payload, size_t sz);
/* Writes the head of a message whose payload stands at msg + P2P_HEAD_SZ.  Returns the size of the whole
   message.  type is not P2P_OTHER. */
size_t p2p_seal(uint8_t *msg, const uint8_t magic[4], enum p2p_type type, size_t payload_sz);

/* version.  All fields are sent; missing ones after addr_recv are accepted: then nonce 0, no agent,
   start_height 0, relay true. */
struct p2p_addr {
	uint64_t services;
	uint8_t ip[16]; /* IPv6 or v4-mapped */
	uint16_t port;  /* host order */
};
struct p2p_version {
	int32_t version;
	uint64_t services;
	int64_t time;
	struct p2p_addr recv, from;
	uint64_t nonce;
	char agent[P2P_AGENT_MAX + 1]; /* bytes as received, then a NUL; agent_sz counts */
	uint32_t agent_sz;
	int32_t start_height;
	bool relay;
};
#define P2P_VERSION_SZ_MAX 344u
size_t p2p_version_encode(uint8_t out[P2P_VERSION_SZ_MAX], const struct p2p_version *v);
bool p2p_version_decode(struct p2p_version *v, const uint8_t *p, size_t sz);

/* ping and pong: one nonce. */
size_t p2p_nonce_encode(uint8_t out[8], uint64_t nonce);
bool p2p_nonce_decode(uint64_t *nonce, const uint8_t *p, size_t sz);

/* getheaders: locator hashes newest first; stop all zero for as many as possible. */
#define P2P_GETHEADERS_SZ_MAX (4u + 1u + P2P_LOCATOR_MAX * HASH_SZ + HASH_SZ)
struct p2p_getheaders {
	uint32_t version;
	uint32_t cnt;
	const uint8_t *hashes; /* cnt x 32 bytes inside the payload */
	struct hash256 stop;
};
size_t p2p_getheaders_encode(uint8_t out[P2P_GETHEADERS_SZ_MAX], const struct hash256 *locator, uint32_t cnt,
			     const struct hash256 *stop_or_null);
bool p2p_getheaders_decode(struct p2p_getheaders *g, const uint8_t *p, size_t sz);

/* headers: header i stands at first + i * P2P_HEADER_STRIDE. */
#define P2P_HEADER_STRIDE  (HEADER_SZ + 1u)
#define P2P_HEADERS_SZ_MAX (3u + P2P_HEADERS_MAX * P2P_HEADER_STRIDE)
struct p2p_headers {
	uint32_t cnt;
	const uint8_t *first;
};
/* headers: cnt x 80 bytes, cnt <= P2P_HEADERS_MAX; out has room for 3 + cnt x 81. */
size_t p2p_headers_encode(uint8_t *out, const uint8_t *headers, uint32_t cnt);
bool p2p_headers_decode(struct p2p_headers *h, const uint8_t *p, size_t sz);

/* inv, getdata, notfound. */
enum {
	P2P_INV_TX = 1,
	P2P_INV_BLOCK = 2, /* getdata: without witness */
	P2P_INV_WTX = 5,
	P2P_INV_WITNESS_TX = 0x40000001,
	P2P_INV_WITNESS_BLOCK = 0x40000002
};
#define P2P_INV_STRIDE 36u
#define P2P_INV_SZ_MAX (3u + P2P_INV_MAX * P2P_INV_STRIDE)
struct p2p_inv_item {
	uint32_t type;
	struct hash256 hash;
};
struct p2p_inv {
	uint32_t cnt;
	const uint8_t *first;
};
/* cnt <= P2P_INV_MAX; out has room for 3 + cnt x 36. */
size_t p2p_inv_encode(uint8_t *out, const struct p2p_inv_item *item, uint32_t cnt);
bool p2p_inv_decode(struct p2p_inv *v, const uint8_t *p, size_t sz);
struct p2p_inv_item p2p_inv_at(const struct p2p_inv *v, uint32_t i); /* i < v->cnt */

/* reject (BIP 61), of a transaction: bitcoind sends none any more, btcd does.  The reason is words of any length, and is
   passed over.  False also for one that is about something else. */
#define P2P_REJECT_DUPLICATE 0x12 /* it has it, or one that spends the same, or lacks what it spends */
struct p2p_reject {
	uint8_t code;
	struct hash256 txid;
};
bool p2p_reject_decode(struct p2p_reject *r, const uint8_t *p, size_t sz);

#endif
