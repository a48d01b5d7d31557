/* rules.h - what consensus asks of a header's difficulty and time (spec/bitcoin.md section 13).

   A signet's headers follow these rules with its own limit; its block signatures (BIP 325) stand in the coinbase and
   are not checked: what makes a block of a signet good is its nodes' word, and peers are nodes the operator trusts.
   The rule that regtest had in Bitcoin Core 28 only (BIP94 every 144 blocks) is not asked for.
   The arithmetic alone, without a chain: headers.h applies it to the headers it knows.
   Threads Pure functions, any thread. */
#ifndef VIGIL_CHAIN_RULES_H
#define VIGIL_CHAIN_RULES_H

#include "btc/network.h"

#define RULES_RETARGET_INTERVAL 2016u
#define RULES_RETARGET_SPAN_S   1209600
#define RULES_MEDIAN_CNT        11u
#define RULES_MIN_DIFFICULTY_S  1200 /* more than this after its parent: a testnet block may be easy */
#define RULES_BIP94_BACK_S      600
#define RULES_FUTURE_S          7200

/* Networks on which a late block may have the lowest difficulty. */
static inline bool rules_min_difficulty(const struct network *n)
{
	return n->id == NET_TESTNET3 || n->id == NET_TESTNET4 || n->id == NET_REGTEST;
}

/* Difficulty after a whole period: bits of the block the network reckons from, span the seconds between the
   period's first and last block (any value; it is clamped). */
uint32_t rules_retarget(const struct network *n, uint32_t bits, int64_t span_s);

/* The bounded rule, for when history is missing: may a header at next_height have new after old?  Always
   true on networks with easy blocks. */
bool rules_permitted(const struct network *n, uint32_t next_height, uint32_t old_bits, uint32_t new_bits);

/* BIP94: the first block of a period may not go back in time by more than 600 s.  interval is the
   network's (2016). */
bool rules_bip94_ok(uint32_t interval, uint32_t height, uint32_t prev_time, uint32_t time);

/* Median of the last RULES_MEDIAN_CNT (or cnt, if fewer) of time[0..cnt), oldest first; cnt >= 1. */
uint32_t rules_median_time(const uint32_t *time, uint32_t cnt);

/* The product must fit into 256 bits. */
struct u256 u256_mul_u32(const struct u256 *a, uint32_t m);
/* floor(a * m / d), all ones if that does not fit.  The product needs no room: also targets that anybody can mine, which
   no network with a retarget has but tests and benchmarks do, are scaled exactly. */
struct u256 u256_mul_div_u32(const struct u256 *a, uint32_t m, uint32_t d);

/* Heights a locator names for a chain whose best block is at tip, from genesis on: newest first, the first
   12 consecutive, then twice the step each time, then 0.  Returns how many; out has room for 101. */
uint32_t rules_locator_heights(uint32_t *out, uint32_t tip);

#endif
