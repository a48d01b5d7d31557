/* Breaches, penalties and trackers, from the hit to the end. */
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

static void a_breach_in_a_block_is_answered_before_the_block_is_connected(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct locator l = locator_of_txid(&d.txid, LOCATOR_INTERNAL);
	struct link_hit hit = {.locator = l, .txid = d.txid, .height = SIM_START + 1, .raw_sz = d.sz};
	struct tower_found f;

	assert_int_equal(sim_register(s, 1, NULL), TOWER_OK);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	assert_true(sim_watches(s, &l));
	status_is(s, 1, &d, "watched");
	tower_hit(s->t, &hit, d.raw);
	assert_int_equal(sim_sent(s, &p.txid), 1);
	status_is(s, 1, &d, "watched");
	tower_session_lost(s->t);

	sim_mine(s, &d, NULL);
	assert_int_equal(sim_sent(s, &p.txid), 2);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	assert_true(hash256_eq(&f.tr.dispute_txid, &d.txid));
	assert_true(hash256_eq(&f.tr.penalty_txid, &p.txid));
	assert_int_equal(f.tr.penalty_sz, p.sz);
	assert_memory_equal(f.tr.penalty_raw, p.raw, p.sz);
	assert_int_equal(f.tr.dispute_height, SIM_START + 1);
	assert_int_equal(f.tr.last_byte_ns, 5);
	assert_int_equal(f.tr.hit_ns, 7);
	status_is(s, 1, &d, "unsent");
	sim_result(s, &p, NODE_SENT_P2P, 0);
	status_is(s, 1, &d, "sent");
	sim_check(s);
}

static void P01_both_ends_of_a_txid_are_answered_each_with_its_key(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p1 = tx_spend(&d, 0, 2), p2 = tx_spend(&d, 1, 3);
	struct tower_info info;

	sim_register(s, 1, NULL);
	sim_register(s, 2, NULL);
	assert_int_equal(sim_watch(s, 1, &d, &p1, LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_watch(s, 2, &d, &p2, LOCATOR_DISPLAY), TOWER_OK);
	sim_mine(s, &d, NULL);
	assert_int_equal(sim_sent(s, &p1.txid), 1);
	assert_int_equal(sim_sent(s, &p2.txid), 1);
	tower_info_get(s->t, &info);
	assert_int_equal(info.trackers, 2);
	assert_int_equal(info.breaches_total, 2);
	sim_check(s);
}

static void a_blob_under_the_other_schemes_key_opens_too(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct locator l = locator_of_txid(&d.txid, LOCATOR_INTERNAL);
	struct blob_key key = blob_key_of_txid(&d.txid, LOCATOR_DISPLAY);
	uint8_t blob[sizeof(p.raw) + BLOB_TAG_SZ];

	sim_register(s, 1, NULL);
	blob_seal(blob, p.raw, p.sz, &key);
	assert_int_equal(sim_add(s, 1, &l, blob, p.sz + BLOB_TAG_SZ, NULL), TOWER_OK);
	sim_mine(s, &d, NULL);
	assert_int_equal(sim_sent(s, &p.txid), 1);
}

static void users_with_one_locator_are_handled_each_on_their_own(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p1 = tx_spend(&d, 0, 2), p2 = tx_spend(&d, 1, 3);
	struct locator l = locator_of_txid(&d.txid, LOCATOR_INTERNAL);

	for (unsigned u = 1; u <= 4; u++)
		sim_register(s, u, NULL);
	assert_int_equal(sim_watch(s, 1, &d, &p1, LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_watch(s, 2, &d, &p1, LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_watch(s, 3, &d, &p2, LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_add(s, 4, &l, (const uint8_t *)"rubbish that is no blob", 23, NULL), TOWER_OK);
	sim_mine(s, &d, NULL);
	status_is(s, 1, &d, "unsent");
	status_is(s, 2, &d, "unsent");
	status_is(s, 3, &d, "unsent");
	status_is(s, 4, &d, "not_found");
	assert_int_equal(sim_sent(s, &p1.txid), 1);
	assert_int_equal(sim_sent(s, &p2.txid), 1);
	sim_result(s, &p1, NODE_ACCEPTED, 0);
	status_is(s, 1, &d, "sent");
	status_is(s, 2, &d, "sent");
	status_is(s, 3, &d, "unsent");
	sim_check(s);
	/* The locator goes only when the last of them is done. */
	sim_mine(s, &p1, NULL);
	sim_mine_empty(s, 50);
	sim_mine(s, &p2, NULL);
	sim_mine_empty(s, 49);
	status_is(s, 1, &d, "not_found");
	status_is(s, 3, &d, "confirmed");
	assert_true(sim_watches(s, &l));
	sim_mine_empty(s, 51);
	status_is(s, 3, &d, "not_found");
	assert_int_equal(s->watched_cnt, 0);
	sim_check(s);
}

static void blobs_without_a_penalty_for_their_dispute_are_deleted_and_cost_their_slots(void **state)
{
	struct sim *s = *state;
	struct tx d[4], other = tx_make(99), p;
	struct tower_info info;
	struct locator l;

	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 4; i++)
		d[i] = tx_make(i + 1);
	l = locator_of_txid(&d[0].txid, LOCATOR_INTERNAL);
	sim_add(s, 1, &l, (const uint8_t *)"short", 5, NULL);
	p = tx_spend(&other, 0, 5); /* spends something else */
	sim_watch(s, 1, &d[1], &p, LOCATOR_INTERNAL);
	p = tx_spend(&d[2], 2, 5); /* spends an output that the dispute has not */
	sim_watch(s, 1, &d[2], &p, LOCATOR_INTERNAL);
	p = tx_spend(&d[3], 0, 5);
	p.sz++; /* a byte behind the transaction */
	sim_watch(s, 1, &d[3], &p, LOCATOR_INTERNAL);
	assert_int_equal(sim_slots(s, 1), 10000 - 4);
	sim_mine(s, &d[0], &d[1], &d[2], &d[3], NULL);
	for (unsigned i = 0; i < 4; i++)
		status_is(s, 1, &d[i], "not_found");
	tower_info_get(s->t, &info);
	assert_int_equal(info.invalid_blobs_total, 4);
	assert_int_equal(info.trackers + info.appointments, 0);
	assert_int_equal(sim_slots(s, 1), 10000 - 4);
	assert_int_equal(s->sent_cnt, 0);
	assert_int_equal(s->watched_cnt, 0);
	sim_check(s);
}

static void a_late_appointment_is_answered_from_the_recent_blocks(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	char *a, *b;

	sim_register(s, 1, NULL);
	sim_mine(s, &d, NULL);
	sim_mine_empty(s, 3);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_sent(s, &p.txid), 1);
	status_is(s, 1, &d, "unsent");
	a = sim_dump(s);
	/* The dataplane may say it again, now and after a restart. */
	for (unsigned i = 0; i < 2; i++) {
		struct locator l = locator_of_txid(&d.txid, LOCATOR_INTERNAL);
		struct link_hit hit = {.locator = l,
				       .txid = d.txid,
				       .block_hash = s->chain[0].hash,
				       .height = SIM_START + 1,
				       .flags = LINK_HIT_RECENT};

		tower_hit(s->t, &hit, NULL);
		b = sim_dump(s);
		assert_dump_equal(a, b);
		free(b);
		if (i == 0)
			sim_restart(s);
	}
	free(a);
	sim_check(s);
}

static void a_late_hit_in_a_stale_block_does_nothing(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct link_hit hit = {.txid = d.txid, .height = SIM_START + 1, .flags = LINK_HIT_RECENT};

	sim_register(s, 1, NULL);
	sim_mine_empty(s, 3);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	hit.locator = locator_of_txid(&d.txid, LOCATOR_INTERNAL);
	hit.block_hash.b[0] = 1;
	tower_hit(s->t, &hit, NULL);
	status_is(s, 1, &d, "watched");
}

static void a_penalty_in_the_disputes_own_block_is_confirmed(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_found f;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, &p, NULL);
	status_is(s, 1, &d, "confirmed");
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_int_equal(f.tr.since_height, SIM_START + 1);
	sim_mine_empty(s, 99);
	status_is(s, 1, &d, "confirmed");
	sim_mine_empty(s, 1);
	status_is(s, 1, &d, "not_found");
	assert_int_equal(sim_slots(s, 1), 10000);
	sim_check(s);
}

static void a_second_users_late_tracker_learns_what_is_confirmed_already(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);

	sim_register(s, 1, NULL);
	sim_register(s, 2, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_mine(s, &p, NULL);
	sim_mine_empty(s, 2);
	assert_int_equal(sim_watch(s, 2, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	status_is(s, 2, &d, "confirmed");
	sim_check(s);
	sim_mine_empty(s, 98);
	status_is(s, 1, &d, "not_found");
	status_is(s, 2, &d, "not_found");
	sim_check(s);
}

static void a_triggered_appointment_cannot_be_replaced(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_TRIGGERED);
	assert_int_equal(sim_slots(s, 1), 9999);
}

static void a_refused_penalty_is_kept_shown_and_sent_again(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_found f;
	unsigned before;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_result(s, &p, NODE_SENT_P2P, 0);
	sim_result(s, &p, NODE_REFUSED, -25);
	status_is(s, 1, &d, "refused");
	sim_find(s, 1, &d, &f);
	assert_int_equal(f.tr.node_code, -25);
	assert_string_equal(f.tr.node_text, "because");
	/* Soon at first, then ever more seldom, and for ever. */
	before = sim_sent(s, &p.txid);
	sim_tick(s, 1100000000);
	assert_int_equal(sim_sent(s, &p.txid), before + 1);
	sim_result(s, &p, NODE_REFUSED, -26);
	for (unsigned i = 0; i < 3600; i++) {
		unsigned sent = sim_sent(s, &p.txid);

		sim_tick(s, 1000000000);
		if (sim_sent(s, &p.txid) > sent)
			sim_result(s, &p, NODE_REFUSED, -26);
	}
	assert_in_range(sim_sent(s, &p.txid), before + 10, before + 30);
	/* A block changes the mempool: at once again. */
	before = sim_sent(s, &p.txid);
	sim_mine_empty(s, 1);
	sim_tick(s, 1100000000);
	assert_int_equal(sim_sent(s, &p.txid), before + 1);
	sim_result(s, &p, NODE_ACCEPTED, 0);
	status_is(s, 1, &d, "sent");
	sim_restart(s);
	sim_tick(s, 0);
	status_is(s, 1, &d, "sent");
	assert_int_equal(sim_sent(s, &p.txid), before + 2);
}

static void what_nobody_took_goes_out_when_a_way_opens(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	unsigned before;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_result(s, &p, NODE_NO_PEER, 0);
	for (unsigned i = 0; i < 600; i++)
		sim_tick(s, 1000000000);
	before = sim_sent(s, &p.txid);
	assert_in_range(before, 10, 40);
	sim_tick(s, 1000000);
	assert_int_equal(sim_sent(s, &p.txid), before);
	tower_way_open(s->t);
	sim_tick(s, 0);
	assert_int_equal(sim_sent(s, &p.txid), before + 1);
	sim_result(s, &p, NODE_SENT_P2P, 0);
	for (unsigned i = 0; i < 600; i++)
		sim_tick(s, 1000000000);
	assert_int_equal(sim_sent(s, &p.txid), before + 1);
}

static void what_was_sent_and_is_not_in_a_block_goes_out_again_when_a_way_opens(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	unsigned before;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_result(s, &p, NODE_SENT_P2P, 0);
	before = sim_sent(s, &p.txid);
	/* The only peer went away with the bytes in its socket, or with its mempool. */
	tower_way_open(s->t);
	sim_tick(s, 0);
	assert_int_equal(sim_sent(s, &p.txid), before + 1);
	sim_tick(s, 1000000000);
	assert_int_equal(sim_sent(s, &p.txid), before + 1);
	sim_mine(s, &p, NULL);
	tower_way_open(s->t);
	sim_tick(s, 0);
	assert_int_equal(sim_sent(s, &p.txid), before + 1);
}

static void a_restart_in_the_middle_goes_on_where_it_was(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2), d2 = tx_make(3), p2 = tx_spend(&d2, 0, 4);
	struct tower_info info;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_watch(s, 1, &d2, &p2, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_restart(s);
	sim_settle(s);
	assert_int_equal(sim_sent(s, &p.txid), 2);
	sim_mine(s, &p, &d2, NULL);
	sim_restart(s);
	status_is(s, 1, &d, "confirmed");
	sim_mine_empty(s, 100);
	status_is(s, 1, &d, "not_found");
	status_is(s, 1, &d2, "unsent");
	tower_info_get(s->t, &info);
	assert_int_equal(info.tip_height, SIM_START + 102);
	sim_check(s);
}

struct page {
	struct appointment_key last;
	unsigned cnt;
};

static bool on_row(void *arg, const struct tower_found *f)
{
	struct page *p = arg;

	p->last = (struct appointment_key){f->ap.locator, f->ap.user};
	p->cnt++;
	return true;
}

static void pages_go_on_after_their_last_key(void **state)
{
	struct sim *s = *state;
	struct page p = {.cnt = 0};
	unsigned calls = 0;

	for (unsigned u = 1; u <= 3; u++)
		sim_register(s, u, NULL);
	for (unsigned i = 0; i < 10; i++)
		for (unsigned u = 1; u <= 3; u++) {
			struct tx d = tx_make(i + 1), pen = tx_spend(&d, 0, i);

			sim_watch(s, u, &d, &pen, LOCATOR_INTERNAL);
		}
	while (tower_each_appointment(s->t, calls == 0 ? NULL : &p.last, 4, on_row, &p) > 0)
		calls++;
	assert_int_equal(p.cnt, 30);
	assert_int_equal(calls, 8);
	sim_check(s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_breach_in_a_block_is_answered_before_the_block_is_connected),
		T(P01_both_ends_of_a_txid_are_answered_each_with_its_key),
		T(a_blob_under_the_other_schemes_key_opens_too),
		T(users_with_one_locator_are_handled_each_on_their_own),
		T(blobs_without_a_penalty_for_their_dispute_are_deleted_and_cost_their_slots),
		T(a_late_appointment_is_answered_from_the_recent_blocks),
		T(a_late_hit_in_a_stale_block_does_nothing),
		T(a_penalty_in_the_disputes_own_block_is_confirmed),
		T(a_second_users_late_tracker_learns_what_is_confirmed_already),
		T(a_triggered_appointment_cannot_be_replaced),
		T(a_refused_penalty_is_kept_shown_and_sent_again),
		T(what_nobody_took_goes_out_when_a_way_opens),
		T(what_was_sent_and_is_not_in_a_block_goes_out_again_when_a_way_opens),
		T(a_restart_in_the_middle_goes_on_where_it_was),
		T(pages_go_on_after_their_last_key),
	};

	return cmocka_run_group_tests_name("tower/breach", tests, NULL, NULL);
}
