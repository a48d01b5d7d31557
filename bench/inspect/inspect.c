#include "inspect/inspect.h"

#include "btc/sha256.h"

#define MAIN_SPACING_MIN_S 300u
#define BLOCKS_PER_S_MAX   6u
#define MEDIAN_SPAN        11u
#define BIP34_VERSION_MIN  2

bool inspect_bip34_in_force(const struct network *net_or_null, const struct header_fields *h, int64_t height)
{
	const struct network *main_net = network_get(NET_MAIN);
	/* No network is older than main. */
	const struct network *net = net_or_null != NULL ? net_or_null : main_net;
	struct header_fields genesis;
	int64_t age_s;

	if (height < (int64_t)net->bip34_height || h->version < BIP34_VERSION_MIN)
		return false;
	header_decode(&genesis, net->genesis_header);
	age_s = (int64_t)h->time - (int64_t)genesis.time;
	if (net_or_null == main_net)
		return height <= age_s / MAIN_SPACING_MIN_S;
	return height <= age_s * BLOCKS_PER_S_MAX + MEDIAN_SPAN;
}

static const struct network *strictest_network(uint32_t bits)
{
	static const enum network_id by_limit[] = {NET_MAIN, NET_SIGNET, NET_REGTEST};
	struct u256 target;

	for (size_t i = 0; i < sizeof(by_limit) / sizeof(by_limit[0]); i++)
		if (pow_target(network_get(by_limit[i]), bits, &target))
			return network_get(by_limit[i]);
	return network_get(NET_MAIN);
}

enum parse_verdict inspect_block(const struct txid_kernel *k, const struct network *net, const uint8_t *p,
				 size_t sz, struct inspect_scratch *s, struct inspect_facts *out)
{
	enum parse_verdict v = block_parse(p, sz, &out->view, s->tx);
	const size_t cnt = out->view.tx_cnt;
	struct header_fields h;
	struct hash256 root;

	if (v != PARSE_OK)
		return v;
	header_decode(&h, p);
	out->block_hash = header_hash(p);
	out->prev_hash = h.prev;
	out->merkle_root = h.merkle;
	out->pow_valid = pow_valid(net != NULL ? net : strictest_network(h.bits), &out->block_hash, h.bits);
	out->bip34_height = block_bip34_height(p, &s->tx[0]);
	if (!inspect_bip34_in_force(net, &h, out->bip34_height))
		out->bip34_height = -1;
	k->hash(p, s->tx, s->txid, cnt);
	out->first_txid = s->txid[0];
	out->last_txid = s->txid[cnt - 1];
	out->sha256_of_txids = sha256(s->txid, cnt * HASH_SZ);
	root = merkle_root(k, s->txid, cnt, s->txid, &out->merkle_mutated);
	out->merkle_root_verifies = hash256_eq(&root, &h.merkle);
	return PARSE_OK;
}
