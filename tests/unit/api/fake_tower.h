/* fake_tower.h - a tower of one user and one appointment whose answers the test chooses.

   Threads  fake_* settings may be changed while no request is under way; the tower functions run on the state thread. */
#ifndef VIGIL_TESTS_API_FAKE_TOWER_H
#define VIGIL_TESTS_API_FAKE_TOWER_H

#include <stdatomic.h>
#include <uv.h>

#include "tower/tower.h"

struct fake_tower {
	/* Set by the test. */
	enum tower_status answer;  /* of register and add: TOWER_PENDING, or a refusal */
	enum tower_status durable; /* what done is called with */
	unsigned delay_ms;         /* until done is called */
	_Atomic bool held;         /* nothing is done meanwhile */
	struct tower_user_info user;
	enum tower_status user_status;
	bool expired;
	struct tower_add_reply added;
	enum tower_status found_status;
	struct tower_found found;
	const struct locator *owned; /* of the user, ascending */
	uint32_t owned_cnt;

	/* Seen by the test. */
	_Atomic unsigned register_cnt, add_cnt, find_cnt, done_cnt, page_cnt;
	struct user_id last_user;
	struct locator last_locator;
	uint8_t last_blob[4096];
	uint32_t last_blob_sz, last_delay;
	uv_loop_t *loop;
};

extern struct fake_tower fake;

#endif
