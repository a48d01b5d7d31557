#include "headers/chain.h"

#include <stdlib.h>

#include "chain/rules.h"

/* Seconds between two blocks of a period: twice too fast while targets are at the limit, so that difficulty rises, and
   too slow once it is eight times that of the limit. */
static uint32_t spacing(const struct network *n, uint32_t bits)
{
	bool negative, overflow;
	struct u256 t = pow_expand(bits, &negative, &overflow);

	struct u256 eighth = u256_mul_div_u32(&n->pow_limit, 1, 8);

	return u256_cmp(&t, &eighth) < 0 ? 900 : 300;
}

static void add_work(struct chain *c, uint32_t bits)
{
	struct u256 target, work;

	pow_target(&c->net, bits, &target);
	work = pow_work(&target);
	c->work = u256_add(&c->work, &work);
}

bool chain_make(struct chain *c, enum chain_rules rules, uint32_t cnt)
{
	struct header_fields g, f = {.version = 4};
	struct hash256 prev;
	uint32_t first_time, step = 1;

	*c = (struct chain){
		.net = *network_get(NET_REGTEST), .raw = malloc((size_t)cnt * HEADER_SZ), .cnt = cnt};
	if (c->raw == NULL)
		return false;
	if (rules == CHAIN_RETARGET)
		c->net.id = NET_MAIN;
	header_decode(&g, c->net.genesis_header);
	prev = c->net.genesis_hash;
	first_time = f.time = g.time;
	f.bits = g.bits;
	add_work(c, g.bits);
	for (uint32_t height = 1; height <= cnt; height++) {
		uint8_t *raw = c->raw + (size_t)(height - 1) * HEADER_SZ;

		if (rules == CHAIN_RETARGET && height % RULES_RETARGET_INTERVAL == 0)
			f.bits = rules_retarget(&c->net, f.bits, (int64_t)f.time - first_time);
		if (rules == CHAIN_RETARGET && height % RULES_RETARGET_INTERVAL < 2)
			step = spacing(&c->net, f.bits);
		f.prev = prev;
		f.time += step;
		if (height % RULES_RETARGET_INTERVAL == 0)
			first_time = f.time;
		memcpy(f.merkle.b, &height, sizeof(height));
		do {
			f.nonce++;
			header_encode(raw, &f);
			prev = header_hash(raw);
		} while (!pow_valid(&c->net, &prev, f.bits));
		add_work(c, f.bits);
	}
	c->last_time = f.time;
	return true;
}

void chain_free(struct chain *c)
{
	free(c->raw);
	c->raw = NULL;
}
