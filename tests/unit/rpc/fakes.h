/* fakes.h - a tower, a feed and a carrier that only have what the control socket shows. */
#ifndef FAKES_H
#define FAKES_H

#include "rpc/rpc_priv.h"

#define FAKE_USERS 5u
#define FAKE_APPTS 250u /* in locator order; every 10th is a tracker, the first two share a locator */

struct tower {
	uint32_t blob_sz; /* of every appointment */
	unsigned rows_read;
};

struct user_id fake_user(unsigned i);
struct locator fake_locator(unsigned i);
struct rpc_env fake_env(struct tower *t);
/* Set by the env's stop. */
extern bool fake_stopped;

#endif
