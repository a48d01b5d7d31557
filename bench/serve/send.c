/* What a node sends: small messages, blocks in either form and with the faults asked for, announcements. */
#include <stdlib.h>

#include "serve/node.h"

enum { ANNOUNCE_HEADERS_MAX = 8, INV_TX_MAX = 1000 };
enum { OVERSIZE = 5000000 };

static uint8_t *small_space(struct peer *p, size_t sz)
{
	if (sz > p->small_cap - p->small_sz) {
		size_t cap = 2 * (p->small_sz + sz);
		uint8_t *small = realloc(p->small, cap);

		if (!small) {
			peer_drop(p, "out of memory");
			return NULL;
		}
		p->small = small;
		p->small_cap = cap;
	}
	p->small_sz += sz;
	return p->small + p->small_sz - sz;
}

void peer_send(struct peer *p, enum p2p_type type, const void *payload, size_t sz)
{
	uint8_t *msg = small_space(p, P2P_HEAD_SZ + sz);

	if (!msg)
		return;
	if (sz)
		memcpy(msg + P2P_HEAD_SZ, payload, sz);
	p2p_seal(msg, chainset_network(p->node->chain)->magic, type, sz);
}

void peer_send_raw(struct peer *p, const void *bytes, size_t sz)
{
	uint8_t *at = small_space(p, sz);

	if (at)
		memcpy(at, bytes, sz);
}

static void block_head(const struct network *net, uint8_t head[P2P_HEAD_SZ], uint32_t sz, const uint8_t sum[4])
{
	memset(head, 0, P2P_HEAD_SZ);
	memcpy(head, net->magic, 4);
	memcpy(head + 4, "block", 5);
	for (unsigned i = 0; i < 4; i++)
		head[16 + i] = (uint8_t)(sz >> (8 * i));
	memcpy(head + 20, sum, 4);
}

/* A block as a node sends it to a peer that asks without the witness flag. */
static size_t strip_block(struct node *n, uint8_t *out, const uint8_t *block, uint32_t sz)
{
	struct block_view bv;
	size_t at;

	if (block_parse(block, sz, &bv, n->tx) != PARSE_OK)
		return 0;
	at = n->tx[0].off; /* the front is the same */
	memcpy(out, block, at);
	for (uint32_t i = 0; i < bv.tx_cnt; i++)
		at += tx_strip(out + at, block, &n->tx[i]);
	return at;
}

/* Replaces what goes out by a damaged copy where a fault is due. */
static void damage(struct peer *p, uint32_t height)
{
	struct node *n = p->node;
	struct outgoing *o = &p->out;
	struct block_view bv;
	uint8_t *copy;
	size_t sz = 0;
	enum fault_kind kind;

	for (kind = FAULT_MUTATE; kind <= FAULT_NONCANONICAL; kind++) {
		if (fault_due(&n->faults, kind, height))
			break;
	}
	if (kind > FAULT_NONCANONICAL)
		return;
	copy = malloc(2 * (size_t)BLOCK_SZ_MAX);
	if (!copy || block_parse(o->data, o->sz, &bv, n->tx) != PARSE_OK) {
		free(copy);
		return;
	}
	if (kind == FAULT_MUTATE)
		sz = fault_mutate(copy, o->data, o->sz, n->tx, bv.tx_cnt);
	if (kind == FAULT_NONCANONICAL)
		sz = fault_noncanonical(copy, o->data, o->sz, n->tx);
	if (kind == FAULT_TRUNCATE) {
		sz = o->sz / 2;
		memcpy(copy, o->data, sz);
	}
	if (sz == 0) { /* FAULT_CORRUPT, or a block that has no mutation: another locktime, another txid */
		sz = o->sz;
		memcpy(copy, o->data, sz);
		copy[sz - 1] ^= 0x01;
	}
	free(o->own);
	o->own = copy;
	o->data = copy;
	o->sz = sz;
	n->stats.faults++;
}

void peer_send_block(struct peer *p, uint32_t idx, bool witness)
{
	struct node *n = p->node;
	const struct chain_block *b = chainset_block(n->chain, idx);
	struct outgoing *o = &p->out;
	struct faults *f = &n->faults;
	uint8_t sum[4];

	*o = (struct outgoing){.on = true, .idx = idx, .data = b->data, .sz = b->sz};
	if (!witness) {
		o->own = malloc(b->sz);
		o->sz = o->own ? strip_block(n, o->own, b->data, b->sz) : 0;
		o->data = o->own;
		if (o->sz == 0) {
			peer_drop(p, "a block on file cannot be stripped");
			return;
		}
		n->stats.blocks_stripped++;
	}
	damage(p, b->height);
	if (o->own)
		p2p_checksum(sum, o->data, o->sz);
	else
		memcpy(sum, chainset_checksum(n->chain, idx), sizeof(sum));
	if (fault_due(f, FAULT_CHECKSUM, b->height)) {
		sum[0] ^= 0xff;
		n->stats.faults++;
	}
	block_head(chainset_network(n->chain), o->head, (uint32_t)o->sz, sum);
	o->stop_at = P2P_HEAD_SZ + o->sz;
	if (fault_due(f, FAULT_OVERSIZE, b->height)) {
		block_head(chainset_network(n->chain), o->head, OVERSIZE, sum);
		n->stats.faults++;
	}
	o->stall = fault_due(f, FAULT_STALL, b->height);
	o->reset = fault_due(f, FAULT_RESET, b->height);
	if (o->stall || o->reset) {
		o->stop_at /= 2;
		n->stats.faults++;
	}
	o->unrequested = fault_due(f, FAULT_UNREQUESTED, b->height);
	n->stats.faults += o->unrequested;
	n->stats.blocks++;
	n->stats.block_bytes += o->sz;
}

static void serve_tx(struct peer *p, const struct p2p_inv_item *item)
{
	const struct mempool_tx *t = mempool_find(p->node->pool, &item->hash, item->type == P2P_INV_WTX);
	uint8_t out[3 + P2P_INV_STRIDE];
	uint8_t *stripped;

	if (!p->relay)
		return; /* such a connection gets no answer at all */
	if (!t) {
		peer_send(p, P2P_NOTFOUND, out, p2p_inv_encode(out, item, 1));
		return;
	}
	if (item->type != P2P_INV_TX) {
		peer_send(p, P2P_TX, t->raw, t->sz);
		return;
	}
	stripped = malloc(t->sz);
	if (stripped)
		peer_send(p, P2P_TX, stripped, tx_strip(stripped, t->raw, &t->view));
	free(stripped);
}

static void serve_block(struct peer *p, const struct hash256 *hash, bool witness)
{
	struct node *n = p->node;
	uint32_t idx = chainset_find(n->chain, hash);
	uint32_t height;

	if (idx == CHAINSET_NONE)
		return; /* skipped in silence, as a node does */
	height = chainset_block(n->chain, idx)->height;
	if (fault_due(&n->faults, FAULT_GARBAGE, height)) {
		uint8_t junk[4096];

		rng_fill(&n->rng, junk, sizeof(junk));
		peer_send_raw(p, junk, sizeof(junk));
		n->stats.faults++;
		return;
	}
	peer_send_block(p, idx, witness);
}

void peer_serve_next(struct peer *p)
{
	struct p2p_inv_item item;

	if (p->want_at == p->want_inv.cnt) {
		free(p->want);
		p->want = NULL;
		return;
	}
	item = p2p_inv_at(&p->want_inv, p->want_at++);
	switch (item.type) {
	case P2P_INV_TX:
	case P2P_INV_WTX:
	case P2P_INV_WITNESS_TX:
		serve_tx(p, &item);
		break;
	case P2P_INV_BLOCK:
		serve_block(p, &item.hash, false);
		break;
	case P2P_INV_WITNESS_BLOCK:
		serve_block(p, &item.hash, true);
		break;
	default: /* kinds that this node does not have are passed over */
		break;
	}
}

/* The peer can link a block if it has its parent. */
static bool can_link(const struct peer *p, uint32_t idx)
{
	uint32_t parent = chainset_block(p->node->chain, idx)->parent;

	if (parent == CHAINSET_NONE)
		return p->asked_headers; /* the root */
	return p->has != CHAINSET_NONE && chainset_is_ancestor(p->node->chain, parent, p->has);
}

static void announce_tip(struct peer *p)
{
	struct node *n = p->node;
	uint32_t tip = chainset_tip(n->chain), idx = tip, chain[ANNOUNCE_HEADERS_MAX], cnt = 0;
	uint8_t headers[ANNOUNCE_HEADERS_MAX * HEADER_SZ];
	uint8_t out[3 + ANNOUNCE_HEADERS_MAX * P2P_HEADER_STRIDE];
	struct p2p_inv_item item = {.type = P2P_INV_BLOCK};

	while (idx != CHAINSET_NONE && cnt < ANNOUNCE_HEADERS_MAX) {
		chain[cnt++] = idx;
		if (can_link(p, idx))
			break;
		idx = chainset_block(n->chain, idx)->parent;
	}
	if (p->sendheaders && can_link(p, chain[cnt - 1])) {
		for (uint32_t i = 0; i < cnt; i++)
			memcpy(headers + (size_t)i * HEADER_SZ,
			       chainset_block(n->chain, chain[cnt - 1 - i])->header, HEADER_SZ);
		peer_send(p, P2P_HEADERS, out, p2p_headers_encode(out, headers, cnt));
		p->has = tip;
		return;
	}
	item.hash = chainset_block(n->chain, tip)->hash;
	peer_send(p, P2P_INV, out, p2p_inv_encode(out, &item, 1));
}

static void announce_txs(struct peer *p)
{
	struct node *n = p->node;
	struct p2p_inv_item item[INV_TX_MAX];
	uint8_t out[3 + INV_TX_MAX * P2P_INV_STRIDE];
	uint32_t cnt = 0;

	for (; p->pool_seen < mempool_cnt(n->pool) && cnt < INV_TX_MAX; p->pool_seen++) {
		const struct mempool_tx *t = mempool_at(n->pool, p->pool_seen);

		if (t->from == p->id || !p->relay)
			continue;
		item[cnt].type = p->wtxidrelay ? P2P_INV_WTX : P2P_INV_TX;
		item[cnt++].hash = p->wtxidrelay ? t->wtxid : t->txid;
	}
	if (cnt)
		peer_send(p, P2P_INV, out, p2p_inv_encode(out, item, cnt));
}

void peer_announce(struct peer *p)
{
	if (!p->got_verack)
		return;
	if (p->tip_news) {
		p->tip_news = false;
		announce_tip(p);
	}
	if (p->pool_seen < mempool_cnt(p->node->pool))
		announce_txs(p);
}
