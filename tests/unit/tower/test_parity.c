/* The rows of the parity checklist that the tower answers for: T.. by their ids, P.. the decisions taken where the two
   generations of reference towers differ or are weak (tests/vectors/teos/parity.txt lists both). */
#include "sim.h"

static void status_is(struct sim *s, unsigned user, const struct tx *dispute, const char *want)
{
	struct tower_found f;
	enum tower_status st = sim_find(s, user, dispute, &f);
	const char *got = st == TOWER_NOT_FOUND ? "not_found"
			  : f.is_tracker        ? tracker_state_name(f.tr.state)
						: "watched";

	assert_string_equal(got, want);
}

static enum tower_status user_status(struct sim *s, unsigned user, struct tower_user_info *u, bool *expired)
{
	struct user_id id = sim_user(user);

	return tower_user(s->t, &id, u, expired);
}

/* A blob of so many bytes that is no blob. */
static enum tower_status add_rubbish(struct sim *s, unsigned user, const struct tx *d, uint32_t sz,
				     struct tower_add_reply *out)
{
	struct locator l = locator_of_txid(&d->txid, LOCATOR_INTERNAL);
	uint8_t *blob = calloc(1, sz + 1);
	enum tower_status st;

	assert_non_null(blob);
	st = sim_add(s, user, &l, blob, sz, out);
	free(blob);
	return st;
}

static void restart_with(struct sim *s, uint32_t slots, uint32_t duration)
{
	s->cfg.subscription_slots = slots;
	s->cfg.subscription_duration = duration;
	sim_restart(s);
}

/* --- users ------------------------------------------------------------------------------------------------------ */

static void T01_registering_begins_a_subscription_and_registering_again_extends_it(void **state)
{
	struct sim *s = *state;
	struct tower_user_info u;
	bool expired;

	restart_with(s, 10000, 100);
	assert_int_equal(sim_register(s, 1, &u), TOWER_OK);
	assert_int_equal(u.available_slots, 10000);
	assert_int_equal(u.subscription_start, SIM_START);
	assert_int_equal(u.subscription_expiry, SIM_START + 100);
	sim_mine_empty(s, 103);
	assert_int_equal(user_status(s, 1, &u, &expired), TOWER_AUTH);
	assert_true(expired);
	/* Also after its expiry, until it is outdated. */
	assert_int_equal(sim_register(s, 1, &u), TOWER_OK);
	assert_int_equal(u.available_slots, 20000);
	assert_int_equal(u.subscription_start, SIM_START);
	assert_int_equal(u.subscription_expiry, SIM_START + 200);
	assert_int_equal(user_status(s, 1, &u, &expired), TOWER_OK);
	/* More slots than 32 bits count: nothing at all changes. */
	restart_with(s, UINT32_MAX - 20000 + 1, 100);
	assert_int_equal(sim_register(s, 1, NULL), TOWER_SLOTS_EXHAUSTED);
	assert_int_equal(user_status(s, 1, &u, &expired), TOWER_OK);
	assert_int_equal(u.available_slots, 20000);
	assert_int_equal(u.subscription_expiry, SIM_START + 200);
}

static void P04_renewals_of_both_generations_add_to_the_old_expiry(void **state)
{
	struct sim *s = *state;
	struct tower_user_info u;

	s->generation = CLIENT_LEGACY;
	sim_register(s, 1, NULL);
	sim_mine_empty(s, 10);
	assert_int_equal(sim_register(s, 1, &u), TOWER_OK);
	assert_int_equal(u.subscription_expiry, SIM_START + 2 * 4320);
	assert_int_equal(u.available_slots, 20000);
	assert_int_equal(u.generation, CLIENT_LEGACY);
}

static void T03_slots_are_charged_by_the_difference(void **state)
{
	struct sim *s = *state;
	struct tower_add_reply r;
	struct tx d = tx_make(1), e = tx_make(2);

	restart_with(s, 3, 4320);
	sim_register(s, 1, NULL);
	assert_int_equal(add_rubbish(s, 1, &d, 2048, &r), TOWER_OK);
	assert_int_equal(r.available_slots, 2);
	assert_int_equal(add_rubbish(s, 1, &d, 2049, &r), TOWER_OK);
	assert_int_equal(r.available_slots, 1);
	/* Four in all: one too many, and nothing changes. */
	assert_int_equal(add_rubbish(s, 1, &d, 3 * 2048 + 1, &r), TOWER_AUTH);
	assert_int_equal(sim_slots(s, 1), 1);
	assert_int_equal(add_rubbish(s, 1, &d, 3 * 2048, &r), TOWER_OK);
	assert_int_equal(r.available_slots, 0);
	assert_int_equal(add_rubbish(s, 1, &e, 1, &r), TOWER_AUTH);
	/* With none left a smaller one, or one of the same size, still replaces. */
	assert_int_equal(add_rubbish(s, 1, &d, 3 * 2048 - 1, &r), TOWER_OK);
	assert_int_equal(r.available_slots, 0);
	assert_int_equal(add_rubbish(s, 1, &d, 0, &r), TOWER_OK);
	assert_int_equal(r.available_slots, 3);
	sim_check(s);
}

static void T04_a_subscription_is_expired_from_its_expiry_height_on_and_still_watched(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2), d2 = tx_make(3);
	struct tower_user_info u;
	struct tower_add_reply r;
	bool expired;

	restart_with(s, 10000, 10);
	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 9);
	assert_int_equal(user_status(s, 1, &u, &expired), TOWER_OK);
	assert_int_equal(add_rubbish(s, 1, &d2, 1, &r), TOWER_OK);
	sim_mine_empty(s, 1);
	assert_int_equal(user_status(s, 1, &u, &expired), TOWER_AUTH);
	assert_true(expired);
	assert_int_equal(add_rubbish(s, 1, &d2, 1, &r), TOWER_AUTH);
	assert_string_equal(r.text, "subscription expired");
	sim_mine(s, &d, NULL);
	assert_int_equal(sim_sent(s, &p.txid), 1);
}

static void T05_outdated_users_are_deleted_with_their_data(void **state)
{
	struct sim *s = *state;
	struct tx d[2] = {tx_make(1), tx_make(2)}, p[2];
	struct tower_user_info u;
	struct tower_info info;
	bool expired;

	restart_with(s, 10000, 10);
	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 2; i++) {
		p[i] = tx_spend(&d[i], 0, 9);
		sim_watch(s, 1, &d[i], &p[i], LOCATOR_INTERNAL);
	}
	sim_mine_empty(s, 14);
	sim_mine(s, &d[0], NULL); /* expiry + 5 */
	assert_int_equal(sim_sent(s, &p[0].txid), 1);
	/* expiry + 6: deleted before the block is searched. */
	sim_mine(s, &d[1], NULL);
	assert_int_equal(sim_sent(s, &p[1].txid), 0);
	assert_int_equal(user_status(s, 1, &u, &expired), TOWER_AUTH);
	assert_false(expired);
	status_is(s, 1, &d[0], "not_found");
	status_is(s, 1, &d[1], "not_found");
	tower_info_get(s->t, &info);
	assert_int_equal(info.users + info.appointments + info.trackers, 0);
	sim_check(s);
	/* When no reorg can bring it back any more, nothing of it is left to be watched. */
	sim_mine_empty(s, TOWER_UNDO_DEPTH + 10);
	sim_tick(s, 1);
	assert_int_equal(s->watched_cnt, 0);
}

static void T05_a_user_who_registers_anew_after_having_been_outdated_keeps_that_through_a_reorg(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_user_info before, after;
	bool expired;

	restart_with(s, 100, 10);
	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 16);
	assert_int_equal(sim_register(s, 1, &before), TOWER_OK);
	assert_int_equal(before.available_slots, 100);
	status_is(s, 1, &d, "not_found");
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	/* Below the height at which the first one became outdated: the receipt that the user holds stays true. */
	sim_disconnect(s, 10);
	assert_int_equal(user_status(s, 1, &after, &expired), TOWER_OK);
	assert_int_equal(after.available_slots, 99);
	assert_int_equal(after.subscription_expiry, before.subscription_expiry);
	status_is(s, 1, &d, "watched");
	sim_check(s);
	sim_mine(s, &d, NULL);
	assert_int_equal(sim_sent(s, &p.txid), 1);
	sim_check(s);
}

static void T37_users_are_the_same_after_a_restart(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_user_info a[2], b[2];
	bool expired;

	sim_register(s, 1, NULL);
	s->generation = CLIENT_LEGACY;
	sim_mine_empty(s, 3);
	sim_register(s, 2, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_watch(s, 2, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(user_status(s, i + 1, &a[i], &expired), TOWER_OK);
	sim_restart(s);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(user_status(s, i + 1, &b[i], &expired), TOWER_OK);
	for (unsigned i = 0; i < 2; i++) {
		assert_memory_equal(a[i].id.b, b[i].id.b, USER_ID_SZ);
		assert_int_equal(b[i].available_slots, 9999);
		assert_int_equal(a[i].subscription_start, b[i].subscription_start);
		assert_int_equal(a[i].subscription_expiry, b[i].subscription_expiry);
		assert_int_equal(b[i].generation, i == 0 ? CLIENT_CURRENT : CLIENT_LEGACY);
		assert_int_equal(b[i].appointment_cnt, 1);
		assert_int_equal(b[i].tracker_cnt, 1);
	}
	sim_check(s);
}

static void T34_a_new_tower_counts_nothing_and_an_old_one_what_it_holds(void **state)
{
	struct sim *s = *state;
	struct tx d[3], p[3];
	struct tower_info info;

	tower_info_get(s->t, &info);
	assert_int_equal(info.users + info.appointments + info.trackers, 0);
	assert_false(info.has_tip);
	for (unsigned u = 1; u <= 2; u++)
		sim_register(s, u, NULL);
	for (unsigned i = 0; i < 3; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], 0, 9);
		sim_watch(s, 1 + i % 2, &d[i], &p[i], LOCATOR_INTERNAL);
	}
	sim_mine(s, &d[0], NULL);
	for (unsigned i = 0; i < 2; i++) {
		tower_info_get(s->t, &info);
		assert_int_equal(info.users, 2);
		assert_int_equal(info.appointments, 2);
		assert_int_equal(info.trackers, 1);
		assert_true(info.has_tip);
		sim_restart(s);
	}
}

/* --- appointments ----------------------------------------------------------------------------------------------- */

static void T06_an_appointment_is_added_replaced_and_refused_once_triggered(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2), q = tx_spend_sized(&d, 1, 3, 3000);
	struct locator l = locator_of_txid(&d.txid, LOCATOR_INTERNAL);
	struct tower_add_reply r;
	struct tower_found f;

	sim_register(s, 1, NULL);
	sim_mine_empty(s, 2);
	assert_int_equal(add_rubbish(s, 1, &d, 10, &r), TOWER_OK);
	assert_int_equal(r.start_block, SIM_START + 2);
	assert_int_equal(r.available_slots, 9999);
	assert_int_equal(r.subscription_expiry, SIM_START + 4320);
	sim_mine_empty(s, 1);
	assert_int_equal(sim_watch(s, 1, &d, &q, LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_slots(s, 1), 9998);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_int_equal(f.ap.start_block, SIM_START + 3);
	assert_int_equal(f.ap.blob_sz, p.sz + BLOB_TAG_SZ);
	assert_int_equal(sim_slots(s, 1), 9999);
	sim_mine(s, &d, NULL);
	assert_int_equal(sim_watch(s, 1, &d, &q, LOCATOR_INTERNAL), TOWER_TRIGGERED);
	assert_int_equal(sim_slots(s, 1), 9999);
	/* Nobody is added who did not register. */
	assert_int_equal(sim_add(s, 7, &l, (const uint8_t *)"x", 1, &r), TOWER_AUTH);
	assert_null(r.text);
}

static void T08_an_appointment_is_watched_then_responded_then_not_found(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);

	sim_register(s, 1, NULL);
	sim_register(s, 2, NULL);
	status_is(s, 1, &d, "not_found");
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	status_is(s, 1, &d, "watched");
	status_is(s, 2, &d, "not_found"); /* another's */
	sim_mine(s, &d, NULL);
	status_is(s, 1, &d, "unsent");
	sim_mine(s, &p, NULL);
	status_is(s, 1, &d, "confirmed");
	sim_mine_empty(s, 100);
	status_is(s, 1, &d, "not_found");
}

static void T12_an_appointment_is_answered_from_the_last_six_blocks_only(void **state)
{
	struct sim *s = *state;
	struct tx d[3], p[3];

	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 3; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], 0, 9);
	}
	sim_mine(s, &d[0], NULL);
	sim_mine(s, &d[1], NULL);
	sim_mine_empty(s, 4);
	sim_mine(s, &d[2], NULL);
	/* The oldest has left; the newest leaves with its block. */
	sim_disconnect(s, 1);
	sim_mine_empty(s, 1);
	for (unsigned i = 0; i < 3; i++)
		sim_watch(s, 1, &d[i], &p[i], LOCATOR_INTERNAL);
	status_is(s, 1, &d[0], "watched");
	status_is(s, 1, &d[1], "unsent");
	status_is(s, 1, &d[2], "watched");
	assert_int_equal(sim_sent(s, &p[0].txid) + sim_sent(s, &p[2].txid), 0);
	assert_int_equal(sim_sent(s, &p[1].txid), 1);
	/* After a restart it holds the same blocks again. */
	sim_restart(s);
	sim_register(s, 2, NULL);
	sim_watch(s, 2, &d[1], &p[1], LOCATOR_INTERNAL);
	status_is(s, 2, &d[1], "unsent");
}

static void T13_every_locator_of_a_block_is_looked_up_in_both_forms(void **state)
{
	struct sim *s = *state;
	struct tx d[4], p[4], other = tx_make(77);

	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 4; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], i % 2, 9);
		sim_watch(s, 1, &d[i], &p[i], i < 2 ? LOCATOR_INTERNAL : LOCATOR_DISPLAY);
	}
	sim_mine(s, &other, &d[0], &d[2], NULL);
	assert_int_equal(sim_sent(s, &p[0].txid), 1);
	assert_int_equal(sim_sent(s, &p[2].txid), 1);
	sim_mine(s, &d[1], &other, &d[3], NULL);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(sim_sent(s, &p[i].txid), 1);
	assert_int_equal(s->sent_cnt, 4);
}

static void T14_a_blob_is_taken_only_if_it_holds_a_penalty_for_its_dispute(void **state)
{
	struct sim *s = *state;
	struct tx d[4], p[4], other = tx_make(99);
	struct tower_info info;

	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 4; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], 0, 9);
	}
	p[1].sz++; /* a byte behind it */
	p[2].sz--; /* one too few */
	p[3] = tx_spend(&other, 0, 9);
	for (unsigned i = 0; i < 4; i++)
		sim_watch(s, 1, &d[i], &p[i], LOCATOR_INTERNAL);
	sim_mine(s, &d[0], &d[1], &d[2], &d[3], NULL);
	status_is(s, 1, &d[0], "unsent");
	for (unsigned i = 1; i < 4; i++)
		status_is(s, 1, &d[i], "not_found");
	tower_info_get(s->t, &info);
	assert_int_equal(info.invalid_blobs_total, 3);
	assert_int_equal(s->sent_cnt, 1);
}

/* --- trackers --------------------------------------------------------------------------------------------------- */

static void T15_a_breach_is_handed_over_once_and_tracked_for_each_user(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_info info;

	for (unsigned u = 1; u <= 3; u++) {
		sim_register(s, u, NULL);
		sim_watch(s, u, &d, &p, u == 3 ? LOCATOR_DISPLAY : LOCATOR_INTERNAL);
	}
	sim_mine(s, &d, NULL);
	assert_int_equal(sim_sent(s, &p.txid), 1);
	tower_info_get(s->t, &info);
	assert_int_equal(info.trackers, 3);
	/* The same block again makes none, and sends nothing. */
	sim_report(s, sim_tip(s));
	tower_info_get(s->t, &info);
	assert_int_equal(info.trackers, 3);
	assert_int_equal(sim_sent(s, &p.txid), 1);
}

static void T16_a_tracker_holds_both_transactions_and_its_status(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct user_id id = sim_user(1);
	struct tower_found f;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_result(s, &p, NODE_ACCEPTED, 0);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	assert_memory_equal(f.tr.user.b, id.b, USER_ID_SZ);
	assert_true(hash256_eq(&f.tr.dispute_txid, &d.txid));
	assert_true(hash256_eq(&f.tr.penalty_txid, &p.txid));
	assert_int_equal(f.tr.penalty_sz, p.sz);
	assert_memory_equal(f.tr.penalty_raw, p.raw, p.sz);
	assert_int_equal(f.tr.state, TRACKER_SENT);
	assert_int_equal(f.tr.since_height, SIM_START);
	sim_mine_empty(s, 2);
	sim_mine(s, &p, NULL);
	sim_restart(s);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_int_equal(f.tr.state, TRACKER_CONFIRMED);
	assert_int_equal(f.tr.since_height, SIM_START + 4);
	assert_int_equal(f.tr.dispute_height, SIM_START + 1);
}

static void T17_a_penalty_is_resolved_a_hundred_blocks_above_its_own(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_mine_empty(s, 3);
	sim_mine(s, &p, NULL);
	sim_mine_empty(s, 99);
	status_is(s, 1, &d, "confirmed");
	assert_int_equal(sim_slots(s, 1), 9999);
	sim_mine_empty(s, 1);
	status_is(s, 1, &d, "not_found");
	assert_int_equal(sim_slots(s, 1), 10000);
	sim_check(s);
}

static void P11_completion_is_not_missed_when_its_height_was_slept_through(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, &p, NULL);
	/* Nothing is reported for more than the hundred blocks, and then all of them in one session. */
	s->lost = true;
	sim_mine_empty(s, 150);
	assert_false(s->lost);
	status_is(s, 1, &d, "not_found");
	assert_int_equal(sim_slots(s, 1), 10000);
	sim_check(s);
}

static void T18_an_unconfirmed_penalty_is_sent_again_every_six_blocks(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL); /* "in the mempool since" the block before */
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(sim_sent(s, &p.txid), i);
		sim_result(s, &p, NODE_ACCEPTED, 0);
		sim_mine_empty(s, i == 1 ? 4 : 5);
		assert_int_equal(sim_sent(s, &p.txid), i);
		sim_mine_empty(s, 1);
	}
	assert_int_equal(sim_sent(s, &p.txid), 4);
	/* Once it is in a block no more. */
	sim_mine(s, &p, NULL);
	sim_mine_empty(s, 20);
	assert_int_equal(sim_sent(s, &p.txid), 4);
}

static void P08_a_refused_penalty_is_kept_and_tried_again(void **state)
{
	static const int32_t codes[] = {-22, -25, -26, -28, -257};
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		unsigned sent = sim_sent(s, &p.txid);

		sim_result(s, &p, NODE_REFUSED, codes[i]);
		status_is(s, 1, &d, "refused");
		for (unsigned n = 0; n < 20 && sim_sent(s, &p.txid) == sent; n++)
			sim_tick(s, 60000000000ull);
		assert_true(sim_sent(s, &p.txid) > sent);
	}
	assert_int_equal(sim_slots(s, 1), 9999);
	sim_result(s, &p, NODE_ACCEPTED, 0);
	sim_mine(s, &p, NULL);
	sim_mine_empty(s, 100);
	assert_int_equal(sim_slots(s, 1), 10000);
}

static void P08_a_penalty_whose_input_somebody_else_spent_says_so_and_is_kept(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct node_answer spent = {.verdict = NODE_REFUSED,
				    .reason = REASON_INPUTS,
				    .code = -25,
				    .text = "bad-txns-inputs-missingorspent"};
	unsigned sent;

	restart_with(s, 10000, 60);
	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	/* At first it only means that the node has not seen the dispute yet. */
	tower_broadcast_result(s->t, &p.txid, &spent);
	status_is(s, 1, &d, "refused");
	sim_mine_empty(s, 4);
	tower_broadcast_result(s->t, &p.txid, &spent);
	status_is(s, 1, &d, "refused");
	sim_mine_empty(s, 1);
	tower_broadcast_result(s->t, &p.txid, &spent);
	status_is(s, 1, &d, "spent");
	sent = sim_sent(s, &p.txid);
	sim_mine_empty(s, 1);
	sim_tick(s, 2000000000);
	assert_true(sim_sent(s, &p.txid) > sent);
	/* Another refusal is another state; and it can still confirm, after a reorg of the other side's transaction. */
	sim_result(s, &p, NODE_REFUSED, -26);
	status_is(s, 1, &d, "refused");
	tower_broadcast_result(s->t, &p.txid, &spent);
	status_is(s, 1, &d, "spent");
	sim_mine_empty(s, 66 - (sim_tip(s) - SIM_START) - 1);
	status_is(s, 1, &d, "spent");
	sim_mine_empty(s, 1);
	status_is(s, 1, &d, "not_found");
	sim_check(s);
}

static void T20_outdated_trackers_go_unless_their_penalty_is_confirmed(void **state)
{
	struct sim *s = *state;
	struct tx d[2], p[2];

	restart_with(s, 10000, 20);
	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 2; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], 0, 9);
		sim_watch(s, 1, &d[i], &p[i], LOCATOR_INTERNAL);
	}
	sim_mine(s, &d[0], &d[1], NULL);
	sim_mine(s, &p[0], NULL);
	sim_mine_empty(s, 24);
	status_is(s, 1, &d[0], "confirmed");
	status_is(s, 1, &d[1], "not_found");
	sim_check(s);
}

static void P09_confirmed_trackers_of_outdated_users_are_followed_to_completion(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	unsigned sent;

	restart_with(s, 10000, 20);
	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 23);
	sim_mine(s, &d, NULL);
	sim_mine(s, &p, NULL);
	sent = sim_sent(s, &p.txid);
	sim_mine_empty(s, 2); /* outdated */
	status_is(s, 1, &d, "confirmed");
	/* A reorg that takes its block answers again, as the user is not outdated below it. */
	sim_disconnect(s, 3);
	assert_true(sim_sent(s, &p.txid) > sent);
	sim_mine(s, &p, NULL);
	sim_mine_empty(s, 99);
	status_is(s, 1, &d, "confirmed");
	sim_mine_empty(s, 1);
	status_is(s, 1, &d, "not_found");
	sim_check(s);
}

static void T46_a_penalty_mined_before_its_appointment_came_is_found_without_an_index_of_the_node(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_found f;

	sim_register(s, 1, NULL);
	sim_mine(s, &d, NULL);
	sim_mine_empty(s, 1);
	sim_mine(s, &p, NULL);
	sim_mine_empty(s, 2);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	sim_settle(s);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_int_equal(f.tr.state, TRACKER_CONFIRMED);
	assert_int_equal(f.tr.since_height, SIM_START + 3);
	sim_mine_empty(s, 97);
	status_is(s, 1, &d, "confirmed");
	sim_mine_empty(s, 1);
	status_is(s, 1, &d, "not_found");
	assert_int_equal(sim_slots(s, 1), 10000);
	sim_check(s);
}

/* --- what is deleted, and what comes back ------------------------------------------------------------------------- */

/* Two slots of rubbish for a dispute: the balance when it was added, when the dispute came, and after the reorg. */
static void invalid_in_a_block(struct sim *s, uint32_t after)
{
	struct tx d = tx_make(1);
	char *a, *b;

	sim_register(s, 1, NULL);
	assert_int_equal(add_rubbish(s, 1, &d, 4096, NULL), TOWER_OK);
	assert_int_equal(sim_slots(s, 1), 9998);
	a = sim_dump(s);
	sim_mine(s, &d, NULL);
	status_is(s, 1, &d, "not_found");
	assert_int_equal(sim_slots(s, 1), after);
	sim_disconnect(s, 1);
	assert_int_equal(sim_slots(s, 1), 9998);
	status_is(s, 1, &d, "watched");
	b = sim_dump(s);
	assert_dump_equal(a, b);
	free(a);
	free(b);
	/* In the other branch again; and replaced by the user before the reorg comes. */
	sim_mine(s, &d, NULL);
	assert_int_equal(sim_slots(s, 1), after);
	sim_mine_empty(s, 6);
	assert_int_equal(add_rubbish(s, 1, &d, 2048, NULL), TOWER_OK);
	assert_int_equal(sim_slots(s, 1), after - 1);
	sim_disconnect(s, 7);
	assert_int_equal(sim_slots(s, 1), 9999);
	status_is(s, 1, &d, "watched");
	sim_check(s);
}

static void T35_an_invalid_blob_costs_a_current_user_its_slots(void **state)
{
	invalid_in_a_block(*state, 9998);
}

static void T35_an_invalid_blob_gives_a_legacy_user_its_slots_back(void **state)
{
	struct sim *s = *state;

	s->generation = CLIENT_LEGACY;
	invalid_in_a_block(s, 10000);
}

/* The dispute is there already: what is added is gone at once, as often as it is tried. */
static void invalid_on_submission(struct sim *s, uint32_t first, uint32_t second)
{
	struct tx d = tx_make(1);

	sim_register(s, 1, NULL);
	sim_mine(s, &d, NULL);
	assert_int_equal(add_rubbish(s, 1, &d, 4096, NULL), TOWER_OK);
	status_is(s, 1, &d, "not_found");
	assert_int_equal(sim_slots(s, 1), first);
	assert_int_equal(add_rubbish(s, 1, &d, 4096, NULL), TOWER_OK);
	assert_int_equal(sim_slots(s, 1), second);
	sim_disconnect(s, 1);
	/* As if it had always been there: the last one is watched, and only it is paid for. */
	status_is(s, 1, &d, "watched");
	assert_int_equal(sim_slots(s, 1), 9998);
	sim_check(s);
}

static void T35_an_invalid_blob_for_a_recent_dispute_costs_a_current_user_each_time(void **state)
{
	invalid_on_submission(*state, 9998, 9996);
}

static void T35_an_invalid_blob_for_a_recent_dispute_costs_a_legacy_user_nothing(void **state)
{
	struct sim *s = *state;

	s->generation = CLIENT_LEGACY;
	invalid_on_submission(s, 10000, 10000);
}

static void P07_a_full_tower_takes_no_appointment_until_one_is_triggered(void **state)
{
	struct sim *s = *state;
	struct tx d[3], p[3];

	for (unsigned i = 0; i < 3; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], 0, 9);
	}
	s->cfg.max_appointments = 2;
	sim_restart(s);
	sim_register(s, 1, NULL);
	assert_int_equal(sim_watch(s, 1, &d[0], &p[0], LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_watch(s, 1, &d[1], &p[1], LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_watch(s, 1, &d[2], &p[2], LOCATOR_INTERNAL), TOWER_FULL);
	assert_int_equal(sim_watch(s, 1, &d[0], &p[0], LOCATOR_INTERNAL), TOWER_FULL);
	assert_int_equal(sim_slots(s, 1), 9998);
	sim_mine(s, &d[0], NULL);
	assert_int_equal(sim_watch(s, 1, &d[2], &p[2], LOCATOR_INTERNAL), TOWER_OK);
}

static void P12_in_a_block_users_expire_first_then_come_breaches_then_confirmations(void **state)
{
	struct sim *s = *state;
	struct tx d[2], p[2];

	for (unsigned i = 0; i < 2; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], 0, 9);
	}
	restart_with(s, 10000, 10);
	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d[0], &p[0], LOCATOR_INTERNAL);
	restart_with(s, 10000, 4320);
	sim_register(s, 2, NULL);
	sim_watch(s, 2, &d[1], &p[1], LOCATOR_INTERNAL);
	sim_mine_empty(s, 15);
	/* The penalty stands before its dispute in the block, too. */
	sim_mine(s, &p[1], &d[1], &d[0], &p[0], NULL);
	assert_int_equal(sim_sent(s, &p[0].txid), 0);
	status_is(s, 1, &d[0], "not_found");
	status_is(s, 2, &d[1], "confirmed");
	sim_check(s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(T01_registering_begins_a_subscription_and_registering_again_extends_it),
		T(P04_renewals_of_both_generations_add_to_the_old_expiry),
		T(T03_slots_are_charged_by_the_difference),
		T(T04_a_subscription_is_expired_from_its_expiry_height_on_and_still_watched),
		T(T05_outdated_users_are_deleted_with_their_data),
		T(T05_a_user_who_registers_anew_after_having_been_outdated_keeps_that_through_a_reorg),
		T(T37_users_are_the_same_after_a_restart),
		T(T34_a_new_tower_counts_nothing_and_an_old_one_what_it_holds),
		T(T06_an_appointment_is_added_replaced_and_refused_once_triggered),
		T(T08_an_appointment_is_watched_then_responded_then_not_found),
		T(T12_an_appointment_is_answered_from_the_last_six_blocks_only),
		T(T13_every_locator_of_a_block_is_looked_up_in_both_forms),
		T(T14_a_blob_is_taken_only_if_it_holds_a_penalty_for_its_dispute),
		T(T15_a_breach_is_handed_over_once_and_tracked_for_each_user),
		T(T16_a_tracker_holds_both_transactions_and_its_status),
		T(T17_a_penalty_is_resolved_a_hundred_blocks_above_its_own),
		T(P11_completion_is_not_missed_when_its_height_was_slept_through),
		T(T18_an_unconfirmed_penalty_is_sent_again_every_six_blocks),
		T(P08_a_refused_penalty_is_kept_and_tried_again),
		T(P08_a_penalty_whose_input_somebody_else_spent_says_so_and_is_kept),
		T(T20_outdated_trackers_go_unless_their_penalty_is_confirmed),
		T(P09_confirmed_trackers_of_outdated_users_are_followed_to_completion),
		T(T46_a_penalty_mined_before_its_appointment_came_is_found_without_an_index_of_the_node),
		T(T35_an_invalid_blob_costs_a_current_user_its_slots),
		T(T35_an_invalid_blob_gives_a_legacy_user_its_slots_back),
		T(T35_an_invalid_blob_for_a_recent_dispute_costs_a_current_user_each_time),
		T(T35_an_invalid_blob_for_a_recent_dispute_costs_a_legacy_user_nothing),
		T(P07_a_full_tower_takes_no_appointment_until_one_is_triggered),
		T(P12_in_a_block_users_expire_first_then_come_breaches_then_confirmations),
	};

	return cmocka_run_group_tests_name("tower/parity", tests, NULL, NULL);
}
