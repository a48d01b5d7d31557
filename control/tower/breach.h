/* breach.h - is there a penalty in this blob, and is it one for this dispute? (spec/teos.md sections 2, 3)

   Threads  Pure functions.
   Input    Both the blob and what comes out of it are hostile: whoever can register wrote them. */
#ifndef VIGIL_TOWER_BREACH_H
#define VIGIL_TOWER_BREACH_H

#include "btc/hash.h"

struct dispute {
	struct hash256 txid;
	uint32_t out_cnt;           /* outputs; 0: not known */
	enum locator_scheme scheme; /* by which its locator matched */
};

/* p is exactly one transaction, strictly serialized, and spends an output of the dispute.  *txid gets its txid. */
bool penalty_check(const uint8_t *p, size_t sz, const struct dispute *d, struct hash256 *txid);

/* Decrypts with the key that goes with the scheme, then with the other one, and checks.  plain has room for blob_sz bytes;
   *plain_sz gets the size of the penalty.  False: no penalty in it; plain then tells nothing. */
bool penalty_open(uint8_t *plain, size_t *plain_sz, const uint8_t *blob, size_t blob_sz,
		  const struct dispute *d, struct hash256 *txid);

#endif
