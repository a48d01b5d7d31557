/* What goes out again after a reorg (reorg.c). */
#include "sim.h"

/* Where in the order of everything sent the txid was sent last, from 1; 0: never. */
static unsigned last_sent(const struct sim *s, const struct tx *x)
{
	for (unsigned i = s->sent_cnt; i > 0; i--)
		if (hash256_eq(&s->sent[i - 1].txid, &x->txid))
			return i;
	return 0;
}

static bool is_tracker(struct sim *s, const struct tx *d)
{
	struct tower_found f;

	assert_int_equal(sim_find(s, 1, d, &f), TOWER_OK);
	return f.is_tracker;
}

static void T19_a_dispute_off_the_chain_is_sent_again_then_its_penalty_once(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	unsigned sent;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_mine(s, &p, NULL);
	sim_disconnect(s, 2);
	assert_false(is_tracker(s, &d));
	assert_int_equal(sim_sent(s, &d.txid), 0);
	sent = sim_sent(s, &p.txid);
	sim_mine_empty(s, 1);
	assert_int_equal(sim_sent(s, &d.txid), 1);
	assert_int_equal(sim_sent(s, &p.txid), sent + 1);
	assert_true(last_sent(s, &d) < last_sent(s, &p));
	/* Refusals of either delete nothing. */
	sim_result(s, &d, NODE_REFUSED, -25);
	sim_result(s, &p, NODE_REFUSED, -25);
	assert_false(is_tracker(s, &d));
	assert_int_equal(sim_slots(s, 1), 9999);
	/* The nodes may have looked at the penalty first: it goes to them once more. */
	sim_tick(s, 1000000000);
	assert_int_equal(sim_sent(s, &p.txid), sent + 2);
	sim_result(s, &d, NODE_REFUSED, -25);
	sim_result(s, &p, NODE_REFUSED, -25);
	/* Once: not with the blocks that follow. */
	sim_mine_empty(s, 5);
	sim_tick(s, 1000000000);
	assert_int_equal(sim_sent(s, &d.txid), 1);
	assert_int_equal(sim_sent(s, &p.txid), sent + 2);
	/* The dispute returns, and is answered as if it were new. */
	sim_mine(s, &d, NULL);
	assert_true(is_tracker(s, &d));
	assert_true(sim_sent(s, &p.txid) > sent + 2);
	sim_check(s);
}

static void T19_a_penalty_that_nodes_took_is_not_sent_after_its_dispute_again(void **state)
{
	struct sim *s = *state;
	struct tx d[3], p[3];
	unsigned sent;

	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 3; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], 0, 9);
		sim_watch(s, 1, &d[i], &p[i], LOCATOR_INTERNAL);
	}
	sim_mine(s, &d[0], &d[1], &d[2], NULL);
	sim_disconnect(s, 1);
	sim_mine_empty(s, 1);
	sent = s->sent_cnt;
	/* The penalty first, as it was under way; it is taken.  One whose dispute nobody judged.  One that is back meanwhile. */
	sim_result(s, &p[0], NODE_REFUSED, -25);
	sim_result(s, &p[0], NODE_ACCEPTED, 0);
	sim_result(s, &d[0], NODE_ACCEPTED, 0);
	sim_result(s, &p[1], NODE_REFUSED, -25);
	sim_result(s, &d[1], NODE_SENT_P2P, 0);
	sim_tick(s, 1000000000);
	assert_int_equal(s->sent_cnt, sent);
	sim_mine(s, &d[2], NULL);
	assert_int_equal(sim_sent(s, &d[2].txid), 1);
	sent = s->sent_cnt;
	sim_result(s, &p[2], NODE_ACCEPTED, 0);
	sim_result(s, &d[2], NODE_REFUSED, -25);
	sim_tick(s, 1000000000);
	assert_int_equal(s->sent_cnt, sent);
	/* After six blocks nobody waits for an answer any more. */
	sim_mine_empty(s, 6);
	sent = sim_sent(s, &p[1].txid);
	sim_result(s, &d[1], NODE_ACCEPTED, 0);
	sim_tick(s, 1000000000);
	assert_int_equal(sim_sent(s, &p[1].txid), sent);
}

static void T19_a_dispute_that_is_back_with_the_first_block_is_not_sent(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	unsigned sent;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_disconnect(s, 1);
	sent = sim_sent(s, &p.txid);
	sim_mine(s, &d, &p, NULL);
	assert_int_equal(sim_sent(s, &d.txid), 0);
	assert_int_equal(sim_sent(s, &p.txid), sent + 1); /* by the hit, before its block was known whole */
	sim_mine_empty(s, 3);
	assert_int_equal(sim_sent(s, &p.txid), sent + 1);
	sim_check(s);
}

static void T19_a_penalty_whose_dispute_stays_goes_alone(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	unsigned sent;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_mine_empty(s, 1);
	sim_mine(s, &p, NULL);
	sent = sim_sent(s, &p.txid);
	sim_disconnect(s, 1);
	assert_int_equal(sim_sent(s, &p.txid), sent + 1);
	sim_mine_empty(s, 1);
	assert_int_equal(sim_sent(s, &p.txid), sent + 2);
	assert_int_equal(sim_sent(s, &d.txid), 0);
	assert_true(is_tracker(s, &d));
}

static void T19_the_dispute_of_a_late_appointment_is_not_known_and_its_penalty_goes_alone(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	unsigned sent;

	sim_register(s, 1, NULL);
	sim_mine(s, &d, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_disconnect(s, 1);
	sent = sim_sent(s, &p.txid);
	sim_mine_empty(s, 1);
	assert_int_equal(sim_sent(s, &d.txid), 0);
	assert_int_equal(sim_sent(s, &p.txid), sent + 1);
}

static void T19_the_bytes_of_a_dispute_outlive_a_restart_between_its_block_and_the_reorg(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_mine_empty(s, 20);
	sim_restart(s);
	sim_disconnect(s, 21);
	sim_mine_empty(s, 1);
	assert_int_equal(sim_sent(s, &d.txid), 1);
}

static void T19_nothing_is_sent_for_a_user_who_is_outdated(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	unsigned sent;

	s->cfg.subscription_duration = 4;
	sim_restart(s);
	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 8);
	sim_mine(s, &d, NULL); /* the last block that the user is watched for */
	sim_disconnect(s, 1);
	sent = sim_sent(s, &p.txid);
	s->cfg.subscription_duration = 4320;
	/* Two blocks in place of one; the first is still below the height. */
	sim_mine_empty(s, 1);
	assert_int_equal(sim_sent(s, &p.txid), sent + 1);
	sim_disconnect(s, 1);
	sim_mine_empty(s, 2);
	assert_int_equal(sim_sent(s, &p.txid), sent + 1);
	sim_check(s);
}

static void T19_more_than_may_be_kept_is_forgotten_without_harm(void **state)
{
	struct sim *s = *state;
	struct tx *d = calloc(64, sizeof(*d)), *p = calloc(64, sizeof(*p));
	const struct tx *list[64];
	unsigned users = 70, disputes = 0, penalties = 0;

	assert_non_null(d);
	assert_non_null(p);
	for (unsigned u = 1; u <= users; u++)
		sim_register(s, u, NULL);
	for (unsigned i = 0; i < 64; i++) {
		d[i] = tx_make(i + 1);
		p[i] = tx_spend(&d[i], 0, i);
		list[i] = &d[i];
		for (unsigned u = 1; u <= users; u++)
			sim_watch(s, u, &d[i], &p[i], LOCATOR_INTERNAL);
	}
	sim_mine_list(s, list, 64);
	sim_disconnect(s, 1);
	s->sent_cnt = 0;
	sim_mine_empty(s, 1);
	for (unsigned i = 0; i < 64; i++) {
		disputes += sim_sent(s, &d[i].txid);
		penalties += sim_sent(s, &p[i].txid);
	}
	/* 4480 trackers went and 4096 are remembered, which send each dispute and each penalty once. */
	assert_in_range(disputes, 58, 64);
	assert_int_equal(penalties, disputes);
	sim_check(s);
	free(d);
	free(p);
}

static bool count_large(void *arg, struct slice key, struct slice value)
{
	(void)key;
	*(unsigned *)arg += value.sz > 8000;
	return true;
}

/* A large dispute is cheap for whoever mines it, and users are free. */
static void T19_a_dispute_of_many_users_is_not_kept_for_each_of_them(void **state)
{
	struct sim *s = *state;
	struct tx root = tx_make(1), d = tx_spend_sized(&root, 0, 2, 8192), p = tx_spend(&d, 0, 3);
	const unsigned users = (8u << 20) / 8192 + 6;
	unsigned large = 0;

	for (unsigned u = 1; u <= users; u++) {
		sim_register(s, u, NULL);
		assert_int_equal(sim_watch(s, u, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	}
	sim_mine(s, &d, NULL);
	assert_int_equal(store_scan(s->st, STORE_UNDO, (struct slice){NULL, 0}, (struct slice){NULL, 0}, false,
				    true, count_large, &large),
			 0);
	assert_int_equal(large, users - 6);
	sim_disconnect(s, 1);
	sim_mine_empty(s, 1);
	assert_int_equal(sim_sent(s, &d.txid), 1);
	sim_check(s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(T19_a_dispute_off_the_chain_is_sent_again_then_its_penalty_once),
		T(T19_a_penalty_that_nodes_took_is_not_sent_after_its_dispute_again),
		T(T19_a_dispute_that_is_back_with_the_first_block_is_not_sent),
		T(T19_a_penalty_whose_dispute_stays_goes_alone),
		T(T19_the_dispute_of_a_late_appointment_is_not_known_and_its_penalty_goes_alone),
		T(T19_the_bytes_of_a_dispute_outlive_a_restart_between_its_block_and_the_reorg),
		T(T19_nothing_is_sent_for_a_user_who_is_outdated),
		T(T19_more_than_may_be_kept_is_forgotten_without_harm),
		T(T19_a_dispute_of_many_users_is_not_kept_for_each_of_them),
	};

	return cmocka_run_group_tests_name("tower/reorg", tests, NULL, NULL);
}
