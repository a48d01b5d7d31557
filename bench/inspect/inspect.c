#include "inspect/inspect.h"

#include "btc/sha256.h"

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
	if (!network_bip34_in_force(net, &h, out->bip34_height))
		out->bip34_height = -1;
	k->hash(p, s->tx, s->txid, cnt);
	out->first_txid = s->txid[0];
	out->last_txid = s->txid[cnt - 1];
	out->sha256_of_txids = sha256(s->txid, cnt * HASH_SZ);
	root = merkle_root(k, s->txid, cnt, s->txid, &out->merkle_mutated);
	out->merkle_root_verifies = hash256_eq(&root, &h.merkle);
	return PARSE_OK;
}
