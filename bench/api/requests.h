/* requests.h - users, breaches and HTTP requests by number, alike in every process of a run: the one that adds the
   appointments and the one that reports the breaches need not talk to each other.

   Appointment i of a seed is a blob of PENALTY_SZ bytes of penalty (plus the tag) for dispute i; both are real
   transactions, the penalty spends output 0 of the dispute.  As a current client makes them.
   Threads  Pure functions, any thread. */
#ifndef VIGIL_BENCH_API_REQUESTS_H
#define VIGIL_BENCH_API_REQUESTS_H

#include "btc/hash.h"
#include "teos/ids.h"

#define PENALTY_SZ     334u /* with its tag a blob of 350 bytes, as of a penalty that spends two outputs */
#define DISPUTE_SZ_MAX 160u
#define REQUEST_SZ_MAX 2048u
#define REQUEST_DELAY  42u /* to_self_delay of every appointment */

/* Bytes written. */
size_t dispute_raw(uint8_t out[DISPUTE_SZ_MAX], uint64_t seed, uint64_t i);
struct hash256 dispute_no(uint64_t seed, uint64_t i);
void penalty_no(uint8_t out[PENALTY_SZ], const struct hash256 *dispute);
struct hash256 penalty_txid(const uint8_t penalty[PENALTY_SZ]);

void user_secret(uint8_t out[32], uint64_t seed, uint32_t user);

struct request {
	char *text; /* head and body; to be freed */
	uint32_t sz;
	char sig[SIG_ZB_SZ]; /* the user's, of add */
};
/* False: out of memory.  host: what stands in the Host header. */
bool request_register(struct request *out, const char *host, uint64_t seed, uint32_t user);
bool request_add(struct request *out, const char *host, uint64_t seed, uint32_t user, uint64_t i);

#endif
