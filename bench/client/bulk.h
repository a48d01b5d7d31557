/* bulk.h - many appointments over several kept connections, and what that took.

   Appointment i is planted breach i, and behind those a decoy: a blob for a random txid that no block will ever
   hold.  Decoys follow from the seed.
   Threads  One for each connection, made and joined inside bulk_add. */
#ifndef VIGIL_CLIENT_BULK_H
#define VIGIL_CLIENT_BULK_H

#include "client/breaches.h"
#include "client/tower_api.h"

#define BULK_CONNECTIONS_MAX 256u
#define BULK_PENALTY_SZ_MAX  100000u

struct bulk_config {
	struct api_config api;
	const struct planted *planted;
	uint32_t planted_cnt;
	uint32_t decoys;
	uint32_t decoy_sz; /* bytes of penalty in a decoy; 0: 200 to 400 */
	uint64_t seed;
	uint32_t connections;
	const char *log; /* JSON lines, one for each appointment; NULL none */
};

struct bulk_result {
	uint32_t outcome[API_OUTCOME_CNT];
	char first_why[HTTP_WHY_SZ + 64]; /* of the first that was not accepted */
	bool has_tower_id;
	struct user_id tower_id;
	uint32_t start_block_min, start_block_max; /* of the accepted */
	uint64_t took_ns;                          /* wall clock of the whole */
	uint64_t p50_ns, p90_ns, p99_ns, max_ns;   /* of one request, send to answer, accepted ones */
	double mean_ns;
};

/* 0, or -1 with a sentence in why when it could not run at all. */
int bulk_add(const struct bulk_config *cfg, struct bulk_result *out, char *why, size_t why_sz);

#endif
