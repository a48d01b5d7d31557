/* How outdated subscriptions are deleted: in slices between which a block can pass, and completely. */
#include "sim.h"

#define ROWS     (3 * TOWER_PURGE_ROWS)
#define LIFE     20u /* blocks of a subscription */
#define DEAD_FOR (6u + TOWER_UNDO_DEPTH)

static void watch_many(struct sim *s, unsigned user, uint32_t first, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct tx d = tx_make(first + i), p = tx_spend(&d, 0, first + i);

		assert_int_equal(sim_watch(s, user, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	}
}

static bool any_user(void *arg, const struct tower_user_info *u)
{
	(void)arg;
	(void)u;
	return true;
}

/* Slices until nothing is left; the most rows that one deleted, and how many there were. */
static uint32_t slices(struct sim *s, uint32_t *cnt)
{
	uint32_t most = 0;
	bool more = true;

	for (*cnt = 0; more && *cnt < 1000; (*cnt)++) {
		size_t before = s->watched_cnt;

		more = tower_purge(s->t);
		if (before - s->watched_cnt > most)
			most = (uint32_t)(before - s->watched_cnt);
	}
	assert_false(more);
	return most;
}

static void begin(struct sim *s)
{
	s->cfg.subscription_duration = LIFE;
	sim_restart(s);
	s->keeps_dead = true;
}

static void a_slice_deletes_no_more_than_its_rows_and_the_slices_delete_all(void **state)
{
	struct sim *s = *state;
	struct tower_user_info u;
	struct user_id id = sim_user(1);
	bool expired;
	uint32_t cnt;

	begin(s);
	assert_int_equal(sim_register(s, 1, NULL), TOWER_OK);
	watch_many(s, 1, 1000, ROWS);
	sim_mine_empty(s, LIFE + DEAD_FOR - 1);
	slices(s, &cnt);
	assert_int_equal(s->watched_cnt, ROWS);
	sim_mine_empty(s, 1);
	assert_in_range(slices(s, &cnt), 1, TOWER_PURGE_ROWS);
	assert_true(cnt >= ROWS / TOWER_PURGE_ROWS);
	assert_int_equal(s->watched_cnt, 0);
	assert_int_equal(tower_user(s->t, &id, &u, &expired), TOWER_AUTH);
	/* Nothing is left of the user, not even its entry. */
	assert_int_equal(tower_each_user(s->t, NULL, 10, any_user, NULL), 0);
	assert_false(tower_purge(s->t));
	sim_check(s);
}

static void blocks_and_clients_pass_between_two_slices(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 1);
	uint32_t cnt;

	begin(s);
	assert_int_equal(sim_register(s, 1, NULL), TOWER_OK);
	watch_many(s, 1, 1000, ROWS);
	sim_mine_empty(s, LIFE + DEAD_FOR);
	assert_true(tower_purge(s->t));
	assert_int_equal(sim_register(s, 2, NULL), TOWER_OK);
	assert_int_equal(sim_watch(s, 2, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	assert_true(tower_purge(s->t));
	sim_mine(s, &d, NULL);
	assert_int_equal(sim_sent(s, &p.txid), 1);
	/* The first user comes back: what it adds now is of another registration, and stays. */
	assert_int_equal(sim_register(s, 1, NULL), TOWER_OK);
	watch_many(s, 1, 5000, 3);
	slices(s, &cnt);
	sim_mine_empty(s, 1);
	slices(s, &cnt);
	/* Three of the first; of the second its appointment and its penalty. */
	assert_int_equal(s->watched_cnt, 5);
	sim_check(s);
}

static void many_users_outdated_at_one_height_are_all_deleted(void **state)
{
	struct sim *s = *state;
	enum { USERS = 2 * TOWER_PURGE_ROWS };
	uint32_t cnt;

	begin(s);
	for (unsigned i = 0; i < USERS; i++) {
		assert_int_equal(sim_register(s, 10 + i, NULL), TOWER_OK);
		if (i % 4 == 0)
			watch_many(s, 10 + i, 1000 + i * 10, 3);
	}
	sim_mine_empty(s, LIFE + DEAD_FOR);
	assert_in_range(slices(s, &cnt), 1, TOWER_PURGE_ROWS);
	/* An entry without rows is work too. */
	assert_true(cnt >= USERS / TOWER_PURGE_ROWS);
	assert_int_equal(tower_each_user(s->t, NULL, 10, any_user, NULL), 0);
	assert_int_equal(s->watched_cnt, 0);
	sim_check(s);
}

static void a_restart_in_the_middle_deletes_the_rest(void **state)
{
	struct sim *s = *state;
	uint32_t cnt;

	begin(s);
	assert_int_equal(sim_register(s, 1, NULL), TOWER_OK);
	watch_many(s, 1, 1000, ROWS);
	sim_mine_empty(s, LIFE + DEAD_FOR);
	assert_true(tower_purge(s->t));
	sim_restart(s);
	slices(s, &cnt);
	assert_int_equal(s->watched_cnt, 0);
	sim_check(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_slice_deletes_no_more_than_its_rows_and_the_slices_delete_all,
						sim_setup, sim_teardown),
		cmocka_unit_test_setup_teardown(blocks_and_clients_pass_between_two_slices, sim_setup,
						sim_teardown),
		cmocka_unit_test_setup_teardown(many_users_outdated_at_one_height_are_all_deleted, sim_setup,
						sim_teardown),
		cmocka_unit_test_setup_teardown(a_restart_in_the_middle_deletes_the_rest, sim_setup,
						sim_teardown),
	};

	return cmocka_run_group_tests_name("tower/purge", tests, NULL, NULL);
}
