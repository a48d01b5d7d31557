/* body.h - whether a block's bytes prove that its header can have no valid block.

   A bad body says in general that its sender is bad: the header may have another, valid one.  Only what the header
   commits to condemns it.  That is the list of txids, so the transactions must be readable as a node reads them,
   their merkle root must be the header's, and not by a repetition (CVE-2012-2459) or by inner nodes in place of
   transactions (so the first must be a coinbase; spec/bitcoin.md section 12).  Then it is invalid when
     its stripped size is above the limit, a transaction has no input or no output, a transaction but the first is a
     coinbase, or the coinbase script is too short or too long, or it has no transaction at all.
   Witness, encodings and trailing bytes are not committed to and condemn nothing.

   Threads  Pure function.
   Cost     Linear, and as much memory as the txids need, given back; for the rare block that has failed already. */
#ifndef VIGIL_SYNC_BODY_H
#define VIGIL_SYNC_BODY_H

#include "btc/block.h"

/* False also for want of memory. */
bool body_condemns_header(const uint8_t *block, size_t sz);

/* Of a transaction that tx_parse accepted. */
struct hash256 body_txid(const uint8_t *p, const struct tx_view *t);

#endif
