/* lookup.h - what a node knows of a transaction that it refused, and of what that transaction spends (spec/bitcoin.md
   sections 17.3 and 17.4): requests as text, answers as meaning.  Nothing here needs an index of transactions
   (txindex) or blocks that a pruned node has thrown away.

   Threads  Pure functions, any thread.
   Memory   Requests are the caller's to free; NULL when memory is out or there is nothing to ask. */
#ifndef VIGIL_CARRIER_LOOKUP_H
#define VIGIL_CARRIER_LOOKUP_H

#include "btc/block.h"
#include "carrier/verdict.h"

/* Where the node has a transaction: getrawtransaction.  Without txindex a transaction in a block is NOT_FOUND, as one that
   is nowhere: the answer says something only when it is positive. */
enum carrier_place {
	PLACE_NOT_FOUND,
	PLACE_MEMPOOL,
	PLACE_BLOCK,
	PLACE_UNKNOWN /* no answer to the question */
};
char *lookup_place_body(const struct hash256 *txid);
enum carrier_place lookup_place(long http, const char *body, size_t sz);

/* Which transaction of the mempool spends an input of the serialized transaction raw: gettxspendingprevout (v24), for its
   first LOOKUP_INPUT_MAX inputs. */
#define LOOKUP_INPUT_MAX 16u
char *lookup_spender_body(const uint8_t *raw, size_t sz);
/* True: *spender is another transaction than own. */
bool lookup_spender(long http, const char *body, size_t sz, const struct hash256 *own, struct hash256 *spender);

/* Whether what the first input spends is an unspent output of the node's chain, whatever its mempool holds: gettxout. */
enum carrier_output { OUTPUT_UNSPENT, OUTPUT_GONE /* spent in a block, or never in one */, OUTPUT_UNKNOWN };
char *lookup_output_body(const uint8_t *raw, size_t sz);
enum carrier_output lookup_output(long http, const char *body, size_t sz);

#endif
