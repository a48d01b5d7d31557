#include "p2p/wire.h"

#include <assert.h>

#include "txid/sha256.h"

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

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const uint8_t *p)
{
	return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static void put_u32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void put_u64(uint8_t *p, uint64_t v)
{
	put_u32(p, (uint32_t)v);
	put_u32(p + 4, (uint32_t)(v >> 32));
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

enum p2p_verdict p2p_head_decode(struct p2p_head *h, const uint8_t p[P2P_HEAD_SZ],
				 const uint8_t magic[4])
{
	if (memcmp(p, magic, 4) != 0)
		return P2P_BAD_MAGIC;
	h->payload_sz = get_u32(p + 16);
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
	put_u32(msg + 16, (uint32_t)payload_sz);
	p2p_checksum(msg + 20, msg + P2P_HEAD_SZ, payload_sz);
	return P2P_HEAD_SZ + payload_sz;
}

size_t p2p_count_encode(uint8_t out[5], uint32_t v)
{
	if (v < 0xfd) {
		out[0] = (uint8_t)v;
		return 1;
	}
	if (v <= 0xffff) {
		out[0] = 0xfd;
		out[1] = (uint8_t)v;
		out[2] = (uint8_t)(v >> 8);
		return 3;
	}
	out[0] = 0xfe;
	put_u32(out + 1, v);
	return 5;
}

size_t p2p_count_decode(uint32_t *v, const uint8_t *p, size_t sz)
{
	if (sz < 1)
		return 0;
	if (p[0] < 0xfd) {
		*v = p[0];
		return 1;
	}
	if (p[0] == 0xfd && sz >= 3) {
		*v = (uint32_t)p[1] | (uint32_t)p[2] << 8;
		return *v >= 0xfd ? 3 : 0;
	}
	if (p[0] == 0xfe && sz >= 5) {
		*v = get_u32(p + 1);
		return *v > 0xffff && *v <= 0x02000000 ? 5 : 0;
	}
	return 0;
}

/* services, address, port in big-endian: 26 bytes. */
static void addr_encode(uint8_t *out, const struct p2p_addr *a)
{
	put_u64(out, a->services);
	memcpy(out + 8, a->ip, 16);
	out[24] = (uint8_t)(a->port >> 8);
	out[25] = (uint8_t)a->port;
}

static void addr_decode(struct p2p_addr *a, const uint8_t *p)
{
	a->services = get_u64(p);
	memcpy(a->ip, p + 8, 16);
	a->port = (uint16_t)(p[24] << 8 | p[25]);
}

size_t p2p_version_encode(uint8_t out[P2P_VERSION_SZ_MAX], const struct p2p_version *v)
{
	uint8_t *p = out;

	assert(v->agent_sz <= P2P_AGENT_MAX);
	put_u32(p, (uint32_t)v->version);
	put_u64(p + 4, v->services);
	put_u64(p + 12, (uint64_t)v->time);
	addr_encode(p + 20, &v->recv);
	addr_encode(p + 46, &v->from);
	put_u64(p + 72, v->nonce);
	p += 80;
	p += p2p_count_encode(p, v->agent_sz);
	memcpy(p, v->agent, v->agent_sz);
	p += v->agent_sz;
	put_u32(p, (uint32_t)v->start_height);
	p[4] = v->relay;
	return (size_t)(p + 5 - out);
}

bool p2p_version_decode(struct p2p_version *v, const uint8_t *p, size_t sz)
{
	size_t n;

	memset(v, 0, sizeof(*v));
	v->relay = true;
	if (sz < 46)
		return false;
	v->version = (int32_t)get_u32(p);
	v->services = get_u64(p + 4);
	v->time = (int64_t)get_u64(p + 12);
	addr_decode(&v->recv, p + 20);
	p += 46, sz -= 46;
	if (sz == 0)
		return true;
	if (sz < 34)
		return false;
	addr_decode(&v->from, p);
	v->nonce = get_u64(p + 26);
	p += 34, sz -= 34;
	if (sz == 0)
		return true;
	n = p2p_count_decode(&v->agent_sz, p, sz);
	if (n == 0 || v->agent_sz > P2P_AGENT_MAX || sz - n < v->agent_sz) {
		v->agent_sz = 0;
		return false;
	}
	memcpy(v->agent, p + n, v->agent_sz);
	p += n + v->agent_sz, sz -= n + v->agent_sz;
	if (sz == 0)
		return true;
	if (sz < 4)
		return false;
	v->start_height = (int32_t)get_u32(p);
	if (sz > 4)
		v->relay = p[4] != 0;
	return true;
}

size_t p2p_nonce_encode(uint8_t out[8], uint64_t nonce)
{
	put_u64(out, nonce);
	return 8;
}

bool p2p_nonce_decode(uint64_t *nonce, const uint8_t *p, size_t sz)
{
	if (sz < 8)
		return false;
	*nonce = get_u64(p);
	return true;
}

size_t p2p_getheaders_encode(uint8_t out[P2P_GETHEADERS_SZ_MAX], const struct hash256 *locator,
			     uint32_t cnt, const struct hash256 *stop_or_null)
{
	uint8_t *p = out;

	assert(cnt <= P2P_LOCATOR_MAX);
	put_u32(p, P2P_PROTOCOL);
	p += 4;
	p += p2p_count_encode(p, cnt);
	memcpy(p, locator, (size_t)cnt * HASH_SZ);
	p += (size_t)cnt * HASH_SZ;
	if (stop_or_null != NULL)
		memcpy(p, stop_or_null->b, HASH_SZ);
	else
		memset(p, 0, HASH_SZ);
	return (size_t)(p + HASH_SZ - out);
}

bool p2p_getheaders_decode(struct p2p_getheaders *g, const uint8_t *p, size_t sz)
{
	size_t n;

	if (sz < 4)
		return false;
	g->version = get_u32(p);
	n = p2p_count_decode(&g->cnt, p + 4, sz - 4);
	if (n == 0 || g->cnt > P2P_LOCATOR_MAX)
		return false;
	if (sz - 4 - n < ((size_t)g->cnt + 1) * HASH_SZ)
		return false;
	g->hashes = p + 4 + n;
	memcpy(g->stop.b, g->hashes + (size_t)g->cnt * HASH_SZ, HASH_SZ);
	return true;
}

size_t p2p_headers_encode(uint8_t *out, const uint8_t *headers, uint32_t cnt)
{
	uint8_t *p = out;

	assert(cnt <= P2P_HEADERS_MAX);
	p += p2p_count_encode(p, cnt);
	for (uint32_t i = 0; i < cnt; i++, p += P2P_HEADER_STRIDE) {
		memcpy(p, headers + (size_t)i * HEADER_SZ, HEADER_SZ);
		p[HEADER_SZ] = 0;
	}
	return (size_t)(p - out);
}

bool p2p_headers_decode(struct p2p_headers *h, const uint8_t *p, size_t sz)
{
	size_t n = p2p_count_decode(&h->cnt, p, sz);

	if (n == 0 || h->cnt > P2P_HEADERS_MAX || sz - n < (size_t)h->cnt * P2P_HEADER_STRIDE)
		return false;
	h->first = p + n;
	for (uint32_t i = 0; i < h->cnt; i++)
		if (h->first[(size_t)i * P2P_HEADER_STRIDE + HEADER_SZ] != 0)
			return false;
	return true;
}

size_t p2p_inv_encode(uint8_t *out, const struct p2p_inv_item *item, uint32_t cnt)
{
	uint8_t *p = out;

	assert(cnt <= P2P_INV_MAX);
	p += p2p_count_encode(p, cnt);
	for (uint32_t i = 0; i < cnt; i++, p += P2P_INV_STRIDE) {
		put_u32(p, item[i].type);
		memcpy(p + 4, item[i].hash.b, HASH_SZ);
	}
	return (size_t)(p - out);
}

bool p2p_inv_decode(struct p2p_inv *v, const uint8_t *p, size_t sz)
{
	size_t n = p2p_count_decode(&v->cnt, p, sz);

	if (n == 0 || v->cnt > P2P_INV_MAX || sz - n < (size_t)v->cnt * P2P_INV_STRIDE)
		return false;
	v->first = p + n;
	return true;
}

struct p2p_inv_item p2p_inv_at(const struct p2p_inv *v, uint32_t i)
{
	struct p2p_inv_item item;
	const uint8_t *p = v->first + (size_t)i * P2P_INV_STRIDE;

	item.type = get_u32(p);
	memcpy(item.hash.b, p + 4, HASH_SZ);
	return item;
}
