#include "p2p/wire.h"

#include <assert.h>

#include "btc/bytes.h"
#include "btc/cursor.h"
#include "btc/sha256.h"

static const struct {
	char command[13];
	uint32_t sz_min, sz_max; /* payload */
} types[P2P_TYPE_CNT] = {
	[P2P_VERSION] = {"version", 46, P2P_VERSION_SZ_MAX},
	[P2P_VERACK] = {"verack", 0, 0},
	[P2P_PING] = {"ping", 8, 8},
	[P2P_PONG] = {"pong", 8, 8},
	[P2P_SENDHEADERS] = {"sendheaders", 0, 0},
	[P2P_GETHEADERS] = {"getheaders", 37, P2P_GETHEADERS_SZ_MAX},
	[P2P_HEADERS] = {"headers", 1, P2P_HEADERS_SZ_MAX},
	[P2P_INV] = {"inv", 1, P2P_INV_SZ_MAX},
	[P2P_GETDATA] = {"getdata", 1, P2P_INV_SZ_MAX},
	[P2P_NOTFOUND] = {"notfound", 1, P2P_INV_SZ_MAX},
	[P2P_BLOCK] = {"block", HEADER_SZ + 1, P2P_PAYLOAD_SZ_MAX},
	[P2P_TX] = {"tx", 1, P2P_PAYLOAD_SZ_MAX},
	[P2P_FEEFILTER] = {"feefilter", 8, 8},
	[P2P_SENDCMPCT] = {"sendcmpct", 9, 9},
	[P2P_WTXIDRELAY] = {"wtxidrelay", 0, 0},
	[P2P_SENDADDRV2] = {"sendaddrv2", 0, 0},
	[P2P_ADDR] = {"addr", 1, 3 + 1000 * 30},
	[P2P_ADDRV2] = {"addrv2", 1, 3 + 1000 * 540},
	[P2P_REJECT] = {"reject", 0, P2P_PAYLOAD_SZ_MAX},
	[P2P_OTHER] = {"other", 0, P2P_PAYLOAD_SZ_MAX},
};

const char *p2p_type_name(enum p2p_type t)
{
	return types[t].command;
}

const char *p2p_verdict_name(enum p2p_verdict v)
{
	static const char *const name[P2P_VERDICT_CNT] = {
		[P2P_OK] = "ok",
		[P2P_BAD_MAGIC] = "magic",
		[P2P_BAD_COMMAND] = "command",
		[P2P_BAD_LENGTH] = "length",
		[P2P_BAD_CHECKSUM] = "checksum",
	};

	return name[v];
}

/* Printable ASCII, then NULs to the end. */
static bool command_ok(const uint8_t c[12])
{
	bool ended = false;

	for (unsigned i = 0; i < 12; i++) {
		if (c[i] == 0)
			ended = true;
		else if (ended || c[i] < 0x20 || c[i] > 0x7e)
			return false;
	}
	return true;
}

static enum p2p_type command_type(const uint8_t c[12])
{
	for (unsigned t = 0; t < P2P_OTHER; t++)
		if (memcmp(c, types[t].command, 12) == 0)
			return (enum p2p_type)t;
	return P2P_OTHER;
}

enum p2p_verdict p2p_head_decode(struct p2p_head *h, const uint8_t p[P2P_HEAD_SZ], const uint8_t magic[4])
{
	if (memcmp(p, magic, 4) != 0)
		return P2P_BAD_MAGIC;
	h->payload_sz = load_le32(p + 16);
	memcpy(h->checksum, p + 20, 4);
	if (h->payload_sz > P2P_PAYLOAD_SZ_MAX)
		return P2P_BAD_LENGTH;
	if (!command_ok(p + 4))
		return P2P_BAD_COMMAND;
	h->type = command_type(p + 4);
	if (h->payload_sz < types[h->type].sz_min || h->payload_sz > types[h->type].sz_max)
		return P2P_BAD_LENGTH;
	return P2P_OK;
}

void p2p_checksum(uint8_t out[4], const uint8_t *payload, size_t sz)
{
	struct hash256 h = sha256d(payload, sz);

	memcpy(out, h.b, 4);
}

size_t p2p_seal(uint8_t *msg, const uint8_t magic[4], enum p2p_type type, size_t payload_sz)
{
	assert(type < P2P_OTHER && payload_sz <= types[type].sz_max);
	memcpy(msg, magic, 4);
	memcpy(msg + 4, types[type].command, 12);
	store_le32(msg + 16, (uint32_t)payload_sz);
	p2p_checksum(msg + 20, msg + P2P_HEAD_SZ, payload_sz);
	return P2P_HEAD_SZ + payload_sz;
}

static void addr_encode(struct wr *w, const struct p2p_addr *a)
{
	wr_le64(w, a->services);
	wr_bytes(w, a->ip, sizeof(a->ip));
	wr_be16(w, a->port);
}

static void addr_decode(struct cur *c, struct p2p_addr *a)
{
	a->services = cur_le64(c);
	cur_copy(c, a->ip, sizeof(a->ip));
	a->port = cur_be16(c);
}

size_t p2p_version_encode(uint8_t out[P2P_VERSION_SZ_MAX], const struct p2p_version *v)
{
	struct wr w = wr_of(out, P2P_VERSION_SZ_MAX);

	assert(v->agent_sz <= P2P_AGENT_MAX);
	wr_le32(&w, (uint32_t)v->version);
	wr_le64(&w, v->services);
	wr_le64(&w, (uint64_t)v->time);
	addr_encode(&w, &v->recv);
	addr_encode(&w, &v->from);
	wr_le64(&w, v->nonce);
	wr_var_bytes(&w, v->agent, v->agent_sz);
	wr_le32(&w, (uint32_t)v->start_height);
	wr_u8(&w, v->relay);
	return w.sz;
}

bool p2p_version_decode(struct p2p_version *v, const uint8_t *p, size_t sz)
{
	struct cur c = cur_of(p, sz);
	const uint8_t *agent;

	memset(v, 0, sizeof(*v));
	v->relay = true;
	v->version = (int32_t)cur_le32(&c);
	v->services = cur_le64(&c);
	v->time = (int64_t)cur_le64(&c);
	addr_decode(&c, &v->recv);
	if (cur_left(&c) == 0)
		return cur_ok(&c);
	addr_decode(&c, &v->from);
	v->nonce = cur_le64(&c);
	if (cur_left(&c) == 0)
		return cur_ok(&c);
	agent = cur_var_bytes(&c, &v->agent_sz);
	if (!cur_ok(&c) || v->agent_sz > P2P_AGENT_MAX) {
		v->agent_sz = 0;
		return false;
	}
	memcpy(v->agent, agent, v->agent_sz);
	if (cur_left(&c) == 0)
		return true;
	v->start_height = (int32_t)cur_le32(&c);
	if (cur_left(&c) != 0)
		v->relay = cur_u8(&c) != 0;
	return cur_ok(&c);
}

size_t p2p_nonce_encode(uint8_t out[8], uint64_t nonce)
{
	store_le64(out, nonce);
	return 8;
}

bool p2p_nonce_decode(uint64_t *nonce, const uint8_t *p, size_t sz)
{
	struct cur c = cur_of(p, sz);

	*nonce = cur_le64(&c);
	return cur_ok(&c);
}

size_t p2p_getheaders_encode(uint8_t out[P2P_GETHEADERS_SZ_MAX], const struct hash256 *locator, uint32_t cnt,
			     const struct hash256 *stop_or_null)
{
	static const struct hash256 no_stop;
	struct wr w = wr_of(out, P2P_GETHEADERS_SZ_MAX);

	assert(cnt <= P2P_LOCATOR_MAX);
	wr_le32(&w, P2P_PROTOCOL);
	wr_compact(&w, cnt);
	for (uint32_t i = 0; i < cnt; i++)
		wr_hash(&w, &locator[i]);
	wr_hash(&w, stop_or_null != NULL ? stop_or_null : &no_stop);
	return w.sz;
}

bool p2p_getheaders_decode(struct p2p_getheaders *g, const uint8_t *p, size_t sz)
{
	struct cur c = cur_of(p, sz);

	g->version = cur_le32(&c);
	g->cnt = cur_count(&c, HASH_SZ);
	g->hashes = cur_take(&c, (size_t)g->cnt * HASH_SZ);
	g->stop = cur_hash(&c);
	return cur_ok(&c) && g->cnt <= P2P_LOCATOR_MAX;
}

size_t p2p_headers_encode(uint8_t *out, const uint8_t *headers, uint32_t cnt)
{
	struct wr w = wr_of(out, P2P_HEADERS_SZ_MAX);

	assert(cnt <= P2P_HEADERS_MAX);
	wr_compact(&w, cnt);
	for (uint32_t i = 0; i < cnt; i++) {
		wr_bytes(&w, headers + (size_t)i * HEADER_SZ, HEADER_SZ);
		wr_u8(&w, 0);
	}
	return w.sz;
}

bool p2p_headers_decode(struct p2p_headers *h, const uint8_t *p, size_t sz)
{
	struct cur c = cur_of(p, sz);

	h->cnt = cur_count(&c, P2P_HEADER_STRIDE);
	h->first = cur_take(&c, (size_t)h->cnt * P2P_HEADER_STRIDE);
	if (!cur_ok(&c) || h->cnt > P2P_HEADERS_MAX)
		return false;
	for (uint32_t i = 0; i < h->cnt; i++)
		if (h->first[(size_t)i * P2P_HEADER_STRIDE + HEADER_SZ] != 0)
			return false;
	return true;
}

size_t p2p_inv_encode(uint8_t *out, const struct p2p_inv_item *item, uint32_t cnt)
{
	struct wr w = wr_of(out, P2P_INV_SZ_MAX);

	assert(cnt <= P2P_INV_MAX);
	wr_compact(&w, cnt);
	for (uint32_t i = 0; i < cnt; i++) {
		wr_le32(&w, item[i].type);
		wr_hash(&w, &item[i].hash);
	}
	return w.sz;
}

bool p2p_inv_decode(struct p2p_inv *v, const uint8_t *p, size_t sz)
{
	struct cur c = cur_of(p, sz);

	v->cnt = cur_count(&c, P2P_INV_STRIDE);
	v->first = cur_take(&c, (size_t)v->cnt * P2P_INV_STRIDE);
	return cur_ok(&c) && v->cnt <= P2P_INV_MAX;
}

struct p2p_inv_item p2p_inv_at(const struct p2p_inv *v, uint32_t i)
{
	struct cur c = cur_of(v->first + (size_t)i * P2P_INV_STRIDE, P2P_INV_STRIDE);
	struct p2p_inv_item item;

	item.type = cur_le32(&c);
	item.hash = cur_hash(&c);
	return item;
}

bool p2p_reject_decode(struct p2p_reject *r, const uint8_t *p, size_t sz)
{
	struct cur c = cur_of(p, sz);
	uint32_t what_sz, reason_sz;
	const uint8_t *what = cur_var_bytes(&c, &what_sz);

	r->code = cur_u8(&c);
	cur_var_bytes(&c, &reason_sz);
	r->txid = cur_hash(&c);
	return cur_ok(&c) && what_sz == 2 && memcmp(what, "tx", 2) == 0;
}
