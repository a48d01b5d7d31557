/* What a node does with each message it is sent (spec/bitcoin.md sections 3, 4, 6, 7, 10). */
#include <stdlib.h>
#include <time.h>

#include "serve/node.h"

enum { FEE_FILTER_SAT_PER_KVB = 1000 };

static bool on_version(struct peer *p, const uint8_t *payload, size_t sz, const char **why)
{
	struct node *n = p->node;
	struct p2p_version theirs,
		ours = {
			.version = P2P_PROTOCOL,
			.services = P2P_SERVICE_NETWORK | P2P_SERVICE_WITNESS | P2P_SERVICE_NETWORK_LIMITED,
			.time = (int64_t)time(NULL),
			.nonce = rng_next(&n->rng),
			.agent = "/vigil-replay:" VIGIL_VERSION "/",
			.agent_sz = sizeof("/vigil-replay:" VIGIL_VERSION "/") - 1,
			.start_height = (int32_t)chainset_tip_height(n->chain),
			.relay = true,
		};
	uint8_t out[P2P_VERSION_SZ_MAX];

	if (p->got_version)
		return true; /* a node ignores the second one */
	if (!p2p_version_decode(&theirs, payload, sz)) {
		*why = "version does not decode";
		return false;
	}
	p->got_version = true;
	p->relay = theirs.relay;
	peer_send(p, P2P_VERSION, out, p2p_version_encode(out, &ours));
	if (theirs.version >= P2P_PROTOCOL) {
		peer_send(p, P2P_WTXIDRELAY, NULL, 0);
		peer_send(p, P2P_SENDADDRV2, NULL, 0);
	}
	peer_send(p, P2P_VERACK, NULL, 0);
	report_begin(n->report, "version", mono_ns());
	report_num(n->report, "conn", p->id);
	report_text(n->report, "agent", theirs.agent);
	report_num(n->report, "version", (uint64_t)theirs.version);
	report_num(n->report, "services", theirs.services);
	report_bool(n->report, "relay", theirs.relay);
	report_end(n->report);
	return true;
}

static void on_verack(struct peer *p)
{
	struct node *n = p->node;
	uint8_t sendcmpct[9] = {0, 2},
		feefilter[8] = {FEE_FILTER_SAT_PER_KVB & 0xff, FEE_FILTER_SAT_PER_KVB >> 8};
	uint8_t nonce[8];

	if (p->got_verack)
		return;
	p->got_verack = true;
	peer_send(p, P2P_SENDCMPCT, sendcmpct, sizeof(sendcmpct));
	peer_send(p, P2P_PING, nonce, p2p_nonce_encode(nonce, rng_next(&n->rng)));
	peer_send(p, P2P_FEEFILTER, feefilter, sizeof(feefilter));
	p->pool_seen = mempool_cnt(n->pool);
	report_begin(n->report, "ready", mono_ns());
	report_num(n->report, "conn", p->id);
	report_end(n->report);
	if (fault_due(&n->faults, FAULT_GREET_GARBAGE, 0)) {
		uint8_t junk[1024];

		rng_fill(&n->rng, junk, sizeof(junk));
		peer_send_raw(p, junk, sizeof(junk));
		n->stats.faults++;
	}
}

/* A successor of block `after` (the root: CHAINSET_NONE) whose hash is above its target. */
static void send_header_without_work(struct peer *p, const uint8_t model[HEADER_SZ])
{
	const struct network *net = chainset_network(p->node->chain);
	uint8_t header[HEADER_SZ], out[3 + P2P_HEADER_STRIDE];
	struct header_fields f;
	struct hash256 hash;

	header_decode(&f, model);
	do {
		f.nonce++;
		header_encode(header, &f);
		hash = header_hash(header);
	} while (pow_valid(net, &hash, f.bits));
	peer_send(p, P2P_HEADERS, out, p2p_headers_encode(out, header, 1));
	p->node->stats.faults++;
}

static uint32_t headers_from(const struct node *n, const struct p2p_getheaders *g)
{
	for (uint32_t i = 0; i < g->cnt; i++) {
		struct hash256 h;
		uint32_t after;

		memcpy(h.b, g->hashes + (size_t)i * HASH_SZ, HASH_SZ);
		after = chainset_after(n->chain, &h);
		if (after)
			return after;
	}
	return chainset_first_height(n->chain);
}

static bool on_getheaders(struct peer *p, const uint8_t *payload, size_t sz, const char **why)
{
	struct node *n = p->node;
	uint32_t cnt = 0, tip = chainset_tip_height(n->chain), first = chainset_first_height(n->chain);
	uint32_t last = chainset_tip(n->chain);
	struct p2p_getheaders g;
	uint8_t *headers, *out;

	if (!p2p_getheaders_decode(&g, payload, sz)) {
		*why = "getheaders does not decode";
		return false;
	}
	if (tip >= first && fault_due(&n->faults, FAULT_HEADERS_NO_WORK, 0)) {
		uint32_t h = headers_from(n, &g);

		h = h > tip ? tip : h;
		send_header_without_work(p, chainset_block(n->chain, chainset_at(n->chain, h))->header);
		return true;
	}
	headers = malloc(P2P_HEADERS_MAX * HEADER_SZ + P2P_HEADERS_SZ_MAX);
	if (!headers) {
		*why = "out of memory";
		return false;
	}
	out = headers + P2P_HEADERS_MAX * HEADER_SZ;
	if (g.cnt == 0) {
		last = chainset_find(n->chain, &g.stop);
		if (last != CHAINSET_NONE)
			memcpy(headers + HEADER_SZ * cnt++, chainset_block(n->chain, last)->header, HEADER_SZ);
	} else {
		for (uint32_t h = headers_from(n, &g); h <= tip && cnt < P2P_HEADERS_MAX; h++) {
			const struct chain_block *b;

			last = chainset_at(n->chain, h);
			b = chainset_block(n->chain, last);
			memcpy(headers + (size_t)HEADER_SZ * cnt++, b->header, HEADER_SZ);
			if (hash256_eq(&b->hash, &g.stop))
				break;
		}
	}
	peer_send(p, P2P_HEADERS, out, p2p_headers_encode(out, headers, cnt));
	free(headers);
	n->stats.headers += cnt;
	if (last != CHAINSET_NONE)
		p->has = last;
	p->asked_headers = true;
	return true;
}

static bool on_getdata(struct peer *p, const uint8_t *payload, size_t sz, const char **why)
{
	if (!p2p_inv_decode(&p->want_inv, payload, sz)) {
		*why = "getdata does not decode";
		return false;
	}
	/* The payload goes away with the message; the entries are served as the window allows. */
	p->want = malloc(sz);
	if (!p->want) {
		*why = "out of memory";
		return false;
	}
	memcpy(p->want, payload, sz);
	p2p_inv_decode(&p->want_inv, p->want, sz);
	p->want_at = 0;
	return true;
}

struct spends {
	struct report *report;
	char text[256];
	size_t len;
};

static bool add_spend(void *arg, const struct outpoint *prev, uint32_t sequence)
{
	struct spends *s = arg;

	(void)sequence;
	if (s->len + HASH_HEX_SZ + 1 > sizeof(s->text))
		return false;
	if (s->len)
		s->text[s->len++] = ' ';
	hash256_to_display(s->text + s->len, &prev->txid);
	s->len += HASH_HEX_SZ - 1;
	return true;
}

static void on_tx(struct peer *p, const uint8_t *payload, size_t sz)
{
	struct node *n = p->node;
	struct hash256 txid;
	const char *why = "";
	enum mempool_verdict v = mempool_add(n->pool, payload, sz, p->id, &txid, &why);
	struct spends spends = {.report = n->report};

	n->stats.txs_in++;
	n->stats.txs_new += v == MEMPOOL_NEW;
	/* The time at which the node has it: later than its arrival while requested blocks go out before. */
	report_begin(n->report, v == MEMPOOL_BAD ? "bad_tx" : "tx", mono_ns());
	report_num(n->report, "conn", p->id);
	report_num(n->report, "sz", sz);
	if (v == MEMPOOL_BAD) {
		report_text(n->report, "why", why);
	} else {
		struct tx_view t;
		size_t used;

		report_hash(n->report, "txid", &txid);
		report_bool(n->report, "new", v == MEMPOOL_NEW);
		tx_parse(payload, sz, false, &t, &used);
		tx_each_input(payload, &t, add_spend, &spends);
		report_text(n->report, "spends", spends.text); /* txids, the first three */
	}
	report_end(n->report);
	if (v != MEMPOOL_NEW)
		return;
	for (unsigned i = 0; i < NODE_PEERS_MAX; i++) {
		if (n->peer[i] && n->peer[i] != p)
			peer_flush(n->peer[i]);
	}
}

static bool on_ready_message(struct peer *p, enum p2p_type type, const uint8_t *payload, size_t sz,
			     const char **why)
{
	uint8_t pong[8];
	uint64_t nonce;

	switch (type) {
	case P2P_PING:
		if (p2p_nonce_decode(&nonce, payload, sz))
			peer_send(p, P2P_PONG, pong, p2p_nonce_encode(pong, nonce));
		return true;
	case P2P_SENDHEADERS:
		p->sendheaders = true;
		return true;
	case P2P_GETHEADERS:
		return on_getheaders(p, payload, sz, why);
	case P2P_GETDATA:
		return on_getdata(p, payload, sz, why);
	case P2P_TX:
		on_tx(p, payload, sz);
		return true;
	case P2P_WTXIDRELAY:
	case P2P_SENDADDRV2:
		*why = "feature message after verack";
		return false;
	case P2P_VERSION:
	case P2P_VERACK:
	case P2P_PONG:
	case P2P_HEADERS:
	case P2P_INV:
	case P2P_NOTFOUND:
	case P2P_BLOCK:
	case P2P_FEEFILTER:
	case P2P_SENDCMPCT:
	case P2P_ADDR:
	case P2P_ADDRV2:
	case P2P_REJECT:
	case P2P_OTHER:
	case P2P_TYPE_CNT:
		return true;
	}
	return true;
}

bool peer_message(struct peer *p, enum p2p_type type, const uint8_t *payload, size_t sz, const char **why)
{
	if (type == P2P_VERSION)
		return on_version(p, payload, sz, why);
	if (!p->got_version)
		return true; /* ignored until then, as a node does */
	if (!p->got_verack) {
		if (type == P2P_VERACK)
			on_verack(p);
		else if (type == P2P_WTXIDRELAY)
			p->wtxidrelay = true;
		return true;
	}
	return on_ready_message(p, type, payload, sz, why);
}
