#include "txid/txid.h"

struct hash256 merkle_root(const struct txid_kernel *k, const struct hash256 *leaf, size_t cnt,
			   struct hash256 *scratch, bool *mutated)
{
	const struct hash256 *level = leaf;

	*mutated = false;
	while (cnt > 1) {
		for (size_t i = 0; i + 1 < cnt; i += 2)
			*mutated |= hash256_eq(&level[i], &level[i + 1]);
		k->pairs(scratch, level, cnt / 2);
		if (cnt % 2 != 0) {
			/* The last hash is paired with itself; that is no mutation. */
			struct hash256 twice[2] = {level[cnt - 1], level[cnt - 1]};

			k->pairs(&scratch[cnt / 2], twice, 1);
		}
		level = scratch;
		cnt = cnt / 2 + cnt % 2;
	}
	return level[0];
}
