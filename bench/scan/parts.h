/* parts.h - what a scan is made of, called directly, and the plain way to do the same with libraries.

   Parts    For each block one after another: walk, txids, merkle root, lookups of both forms, and remembering the
            block.  Each finds the block's bytes where the part before left them, as in the scan.
   Plain    The same walk, txids and merkle root by the best library interface, one JudyL array of all locators
            (first half to second half) asked once for each form.
   Threads  One thread. */
#ifndef VIGIL_BENCH_SCAN_PARTS_H
#define VIGIL_BENCH_SCAN_PARTS_H

#include "scan/set.h"
#include "txid/library.h"

enum part { PART_WALK, PART_TXID, PART_MERKLE, PART_LOOKUP, PART_REMEMBER, PART_CNT };
extern const char *const part_name[PART_CNT];

struct parts;
struct parts *parts_new(const struct txid_kernel *kernel, const struct set *set, uint64_t decoy_cnt);
void parts_free(struct parts *p);
/* All blocks once; adds the nanoseconds of each part to ns.  False if anything came out wrong. */
bool parts_pass(struct parts *p, const struct set *set, double ns[PART_CNT]);

struct plain;
struct plain *plain_new(const struct set *set, uint64_t decoy_cnt);
void plain_free(struct plain *p);
/* Adds to ns, in which remembering stays as it is. */
bool plain_pass(struct plain *p, const struct library *lib, const struct set *set, double ns[PART_CNT]);

#endif
