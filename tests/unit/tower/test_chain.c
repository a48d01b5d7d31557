/* Blocks: repeated, disconnected, out of order; subscriptions that end; where a restart goes on. */
#include "sim.h"

#include "tower/rows.h"

/* The dataplane's answers count from here on: a restart begins below what was not answered. */
static void settles(struct sim *s)
{
	s->cfg.settles = true;
	sim_restart(s);
}

static uint32_t resumes_at(struct sim *s)
{
	uint8_t headers[64 * HEADER_SZ];
	struct tower_resume r;

	tower_resume_point(s->t, &r, headers, 64);
	assert_true(r.resume);
	return r.root_height + r.header_cnt;
}

static void a_repeated_block_changes_nothing_and_is_acknowledged_again(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	unsigned sent;
	char *a, *b;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_mine(s, &p, NULL);
	sim_mine_empty(s, 2);
	a = sim_dump(s);
	sent = s->sent_cnt;
	for (uint32_t h = SIM_START + 1; h <= sim_tip(s); h++) {
		sim_report(s, h);
		s->acked_height = 0;
		for (unsigned i = 0; i < 100000 && s->acked_height != h; i++)
			sim_tick(s, 0);
		assert_int_equal(s->acked_height, h);
		assert_true(hash256_eq(&s->acked_hash, &s->chain[h - SIM_START - 1].hash));
	}
	b = sim_dump(s);
	assert_dump_equal(a, b);
	assert_int_equal(s->sent_cnt, sent);
	free(a);
	free(b);
	sim_check(s);
}

static void a_repeated_block_brings_back_a_hit_that_a_crash_swallowed(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_found f;

	sim_register(s, 1, NULL);
	sim_mine(s, &d, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	/* The same without the late hit: accepted, and the dataplane's answer never came. */
	sim_close(s);
	sim_open(s);
	settles(s);
	sim_register(s, 1, NULL);
	sim_mine(s, &d, NULL);
	tower_watch_settled(s->t);
	s->chain[0].tx_cnt = 0;
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	s->chain[0].tx_cnt = 1;
	sim_mine_empty(s, 40);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_false(f.is_tracker);
	/* The session that was open at the add reports from that block on. */
	sim_restart(s);
	for (uint32_t h = SIM_START + 1; h <= SIM_START + 1; h++)
		sim_report(s, h);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	sim_check(s);
}

static void a_restart_begins_where_an_add_was_not_answered_yet(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	uint8_t headers[64 * HEADER_SZ];
	struct tower_resume r;

	settles(s);
	sim_register(s, 1, NULL);
	sim_mine_empty(s, 5);
	tower_watch_settled(s->t);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 10);
	tower_resume_point(s->t, &r, headers, 64);
	assert_int_equal(r.root_height + r.header_cnt, SIM_START + 5);
	tower_watch_settled(s->t);
	sim_mine_empty(s, 1);
	tower_resume_point(s->t, &r, headers, 64);
	assert_int_equal(r.root_height + r.header_cnt, SIM_START + 16);
}

static void the_first_add_of_a_process_holds_the_restart_back(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_found f;

	settles(s);
	sim_register(s, 1, NULL);
	sim_mine(s, &d, NULL);
	s->chain[0].tx_cnt = 0; /* accepted, and nothing was ever answered */
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	s->chain[0].tx_cnt = 1;
	sim_mine_empty(s, SIM_RECENT + 20);
	assert_int_equal(resumes_at(s), SIM_START + 1);
	sim_restart(s);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	sim_check(s);
}

static void a_reorg_below_an_unanswered_add_repeats_the_new_branch(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_found f;

	settles(s);
	sim_register(s, 1, NULL);
	sim_mine_empty(s, 10);
	tower_watch_settled(s->t);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	s->watched_cnt = 0; /* it never got there */
	sim_disconnect(s, 5);
	assert_int_equal(resumes_at(s), SIM_START + 5);
	sim_mine(s, &d, NULL);
	sim_mine_empty(s, 20);
	assert_int_equal(resumes_at(s), SIM_START + 5);
	sim_restart(s);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	sim_check(s);
}

static void a_crash_while_blocks_are_repeated_goes_on_where_it_was(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	uint8_t headers[64 * HEADER_SZ];
	struct tower_resume r;
	struct tower_found f;

	settles(s);
	sim_register(s, 1, NULL);
	tower_watch_settled(s->t);
	/* Accepted; its breach comes in the fourth block and the answer is lost. */
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 20);
	s->chain[3].tx[0] = &d;
	s->chain[3].tx_cnt = 1;
	sim_let_go(s);
	sim_reopen(s);
	/* The next session gets as far as the second block before it ends, too. */
	s->watched_cnt = 0;
	tower_watch_settled(s->t);
	sim_report(s, SIM_START + 1);
	sim_report(s, SIM_START + 2);
	tower_session_lost(s->t);
	tower_resume_point(s->t, &r, headers, 64);
	assert_int_equal(r.root_height + r.header_cnt, SIM_START + 2);
	sim_restart(s);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_true(f.is_tracker);
}

static void a_disconnected_block_does_not_hide_that_blocks_must_be_repeated(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	uint8_t headers[64 * HEADER_SZ];
	struct tower_resume r;

	settles(s);
	sim_register(s, 1, NULL);
	tower_watch_settled(s->t);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 20);
	sim_let_go(s);
	sim_reopen(s);
	sim_disconnect(s, 1);
	tower_resume_point(s->t, &r, headers, 64);
	assert_int_equal(r.root_height + r.header_cnt, SIM_START);
}

/* --- reorgs ----------------------------------------------------------------------------------------------------- */

/* Everything a block can do, spread over `depth` blocks, then taken back: the store is as before. */
static void reorg_of(struct sim *s, uint32_t depth)
{
	struct tx d[6], p[6];
	struct locator l;
	char *a, *b;

	for (unsigned i = 0; i < 6; i++) {
		d[i] = tx_make(100 + i);
		p[i] = tx_spend(&d[i], 0, 200 + i);
	}
	s->cfg.subscription_duration = 120;
	sim_restart(s);
	sim_register(s, 1, NULL);
	sim_register(s, 2, NULL);
	s->cfg.subscription_duration = 4320;
	sim_restart(s);
	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 5; i++)
		sim_watch(s, 1, &d[i], &p[i], i % 2 == 0 ? LOCATOR_INTERNAL : LOCATOR_DISPLAY);
	sim_watch(s, 2, &d[0], &p[0], LOCATOR_INTERNAL);
	l = locator_of_txid(&d[5].txid, LOCATOR_INTERNAL);
	sim_add(s, 1, &l, (const uint8_t *)"rubbish", 7, NULL);
	/* One penalty is about to be resolved, one waits for its block, user 2 is about to be outdated. */
	sim_mine(s, &d[0], &d[1], NULL);
	sim_mine_empty(s, 24);
	sim_mine(s, &p[0], NULL);
	sim_mine_empty(s, 99);
	sim_check(s);
	a = sim_dump(s);

	if (depth == 1) {
		sim_mine(s, &d[2], &p[2], &p[1], &d[5], NULL);
	} else {
		sim_mine(s, &d[2], &d[5], NULL);
		sim_mine(s, &d[3], &p[2], NULL);
		sim_mine(s, &p[1], &d[4], &p[4], NULL);
		sim_mine_empty(s, depth - 4);
		sim_mine(s, &p[3], NULL);
	}
	sim_check(s);
	b = sim_dump(s);
	assert_string_not_equal(a, b);
	free(b);
	sim_disconnect(s, depth);
	b = sim_dump(s);
	assert_dump_equal(a, b);
	free(a);
	free(b);
	sim_check(s);
	/* The other branch has the same story again. */
	sim_mine(s, &d[2], &p[2], &p[1], &d[5], NULL);
	sim_check(s);
	sim_restart(s);
	sim_check(s);
}

static void a_reorg_of_one_block_is_undone_exactly(void **state)
{
	reorg_of(*state, 1);
}

static void a_reorg_of_five_blocks_is_undone_exactly(void **state)
{
	reorg_of(*state, 5);
}

static void a_reorg_of_a_hundred_blocks_is_undone_exactly(void **state)
{
	reorg_of(*state, 100);
}

static void a_reorged_penalty_is_sent_again_and_a_reorged_dispute_is_watched_again(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_found f;
	unsigned sent;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, NULL);
	sim_result(s, &p, NODE_ACCEPTED, 0);
	sim_mine(s, &p, NULL);
	sent = sim_sent(s, &p.txid);
	sim_disconnect(s, 1);
	assert_int_equal(sim_sent(s, &p.txid), sent + 1);
	sim_find(s, 1, &d, &f);
	assert_true(f.is_tracker);
	assert_int_equal(f.tr.state, TRACKER_SENT);
	sim_disconnect(s, 1);
	sim_find(s, 1, &d, &f);
	assert_false(f.is_tracker);
	sim_mine(s, &d, &p, NULL);
	sim_find(s, 1, &d, &f);
	assert_int_equal(f.tr.state, TRACKER_CONFIRMED);
	sim_check(s);
}

static void slots_are_corrected_by_sums_when_clients_wrote_in_between(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend_sized(&d, 0, 2, 4096), bad = tx_make(5), d3 = tx_make(6);
	struct tx p3 = tx_spend(&d3, 0, 7);
	struct locator l = locator_of_txid(&bad.txid, LOCATOR_INTERNAL);

	s->cfg.subscription_slots = 6;
	sim_restart(s);
	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);              /* three slots */
	sim_add(s, 1, &l, (const uint8_t *)"rubbish", 7, NULL); /* one */
	assert_int_equal(sim_slots(s, 1), 2);
	sim_mine(s, &d, &p, NULL);
	sim_mine_empty(s, 99);
	sim_mine(s, &bad, NULL); /* three come back, one is lost */
	assert_int_equal(sim_slots(s, 1), 5);
	sim_watch(s, 1, &d3, &p3, LOCATOR_INTERNAL);
	sim_add(s, 1, &l, NULL, 0, NULL); /* the lost one again, for nothing */
	assert_int_equal(sim_slots(s, 1), 4);
	sim_disconnect(s, 1);
	/* Three for the tracker, one for the new appointment, none for the empty one that replaced the rubbish. */
	assert_int_equal(sim_slots(s, 1), 2);
	sim_check(s);
	sim_mine_empty(s, 1);
	assert_int_equal(sim_slots(s, 1), 5);
	sim_check(s);
}

static void a_refund_that_was_spent_and_is_taken_back_leaves_a_debt(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend_sized(&d, 0, 2, 4096), d2 = tx_make(3), d3 = tx_make(4);
	struct tx p2 = tx_spend_sized(&d2, 0, 2, 4096), p3 = tx_spend(&d3, 0, 5);

	s->cfg.subscription_slots = 3;
	sim_restart(s);
	sim_register(s, 1, NULL);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	sim_mine(s, &d, &p, NULL);
	sim_mine_empty(s, 100);
	assert_int_equal(sim_watch(s, 1, &d2, &p2, LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_slots(s, 1), 0);
	sim_disconnect(s, 1);
	assert_int_equal(sim_slots(s, 1), 0);
	assert_int_equal(sim_watch(s, 1, &d3, &p3, LOCATOR_INTERNAL), TOWER_AUTH);
	sim_mine_empty(s, 1);
	assert_int_equal(sim_slots(s, 1), 0);
	sim_check(s);
}

static void an_appointment_added_again_after_completion_survives_the_undo(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend_sized(&d, 0, 2, 4096), q = tx_spend(&d, 1, 3);
	struct tower_found f;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine(s, &d, &p, NULL);
	sim_mine_empty(s, 100);
	assert_int_equal(sim_slots(s, 1), 10000);
	assert_int_equal(sim_watch(s, 1, &d, &q, LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_slots(s, 1), 9999);
	sim_disconnect(s, 1);
	assert_int_equal(sim_slots(s, 1), 9999);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	sim_check(s);
	sim_mine_empty(s, 1);
	assert_int_equal(sim_slots(s, 1), 10000);
	sim_check(s);
}

/* --- what does not fit ------------------------------------------------------------------------------------------- */

static void a_block_that_does_not_link_resets_the_session(void **state)
{
	struct sim *s = *state;
	struct link_block_connected rec = {.height = SIM_START + 4};
	struct link_block_disconnected gone = {.height = SIM_START + 3};
	char *a, *b;

	sim_register(s, 1, NULL);
	sim_mine_empty(s, 3);
	a = sim_dump(s);
	rec.header[4] = 9;
	rec.hash = header_hash(rec.header);
	tower_block_connected(s->t, &rec);
	assert_int_equal(s->reset_cnt, 1);
	tower_block_disconnected(s->t, &gone);
	assert_int_equal(s->reset_cnt, 2);
	memcpy(rec.header + 4, s->chain[2].hash.b, HASH_SZ);
	tower_block_connected(s->t, &rec); /* links, but its hash is another's */
	assert_int_equal(s->reset_cnt, 3);
	b = sim_dump(s);
	assert_dump_equal(a, b);
	free(a);
	free(b);
	sim_mine_empty(s, 1);
	assert_int_equal(s->reset_cnt, 3);
}

static void a_branch_reported_without_disconnects_is_followed(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct tower_info info;
	struct tower_found f;

	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 3);
	sim_mine(s, &d, NULL);
	sim_mine_empty(s, 2);
	s->chain_cnt = 2; /* a session that began below, and found another branch */
	sim_mine_empty(s, 5);
	tower_info_get(s->t, &info);
	assert_int_equal(info.tip_height, SIM_START + 7);
	assert_int_equal(info.reorg_blocks_total, 4);
	assert_int_equal(s->reset_cnt, 0);
	sim_find(s, 1, &d, &f);
	assert_false(f.is_tracker);
	sim_check(s);
}

static void a_store_of_another_network_is_refused(void **state)
{
	struct sim *s = *state;
	const struct tower_ops none = {.watch_add = NULL};
	struct tower_config cfg = s->cfg;
	const char *why;

	cfg.network = network_get(NET_SIGNET);
	assert_null(tower_new(&cfg, s->st, &none, NULL, &why));
	assert_string_equal(why, "the store belongs to another network");
}

static void without_a_block_nobody_is_served(void **state)
{
	struct sim *s = *state;
	struct user_id id = sim_user(1);
	struct tower_add add = {.user = id};
	struct tower_add_reply reply;
	struct tower_user_info u;

	assert_int_equal(tower_register(s->t, &id, CLIENT_CURRENT, &u, NULL, NULL), TOWER_NOT_READY);
	assert_int_equal(tower_add_appointment(s->t, &add, &reply, NULL, NULL), TOWER_NOT_READY);
}

/* --- resuming ----------------------------------------------------------------------------------------------------- */

static void the_resume_point_is_the_newest_headers_linked_and_with_their_work(void **state)
{
	struct sim *s = *state;
	uint8_t headers[20 * HEADER_SZ];
	struct tower_resume r;
	struct hash256 at;

	tower_resume_point(s->t, &r, headers, 20);
	assert_false(r.resume);
	sim_begin_at(s, SIM_START);
	for (uint32_t n = 0; n < 40; n += 13) {
		tower_resume_point(s->t, &r, headers, 20);
		assert_true(r.resume);
		assert_int_equal(r.header_cnt, n + 1 > 20 ? 20 : n + 1);
		assert_int_equal(r.root_height + r.header_cnt, SIM_START + n);
		at = r.root_hash;
		for (uint32_t i = 0; i < r.header_cnt; i++) {
			struct header_fields f;

			header_decode(&f, headers + i * HEADER_SZ);
			assert_memory_equal(f.prev.b, at.b, HASH_SZ);
			at = header_hash(headers + i * HEADER_SZ);
		}
		assert_true(hash256_eq(&at, n == 0 ? &s->start_hash : &s->chain[n - 1].hash));
		sim_mine_empty(s, 13);
		sim_restart(s);
	}
	tower_resume_point(s->t, &r, headers, 0);
	assert_true(r.resume && r.header_cnt == 0);
	assert_int_equal(r.root_height, sim_tip(s));
}

static void the_work_of_headers_below_the_start_is_counted_down(void **state)
{
	struct sim *s = *state;
	uint8_t h[3 * HEADER_SZ] = {0}, out[3 * HEADER_SZ];
	struct link_chain_start rec = {.height = 50, .header_cnt = 3};
	struct tower_resume r;
	struct hash256 prev = {{7}};

	for (unsigned i = 0; i < 3; i++) {
		struct header_fields f = {.prev = prev, .bits = 0x207fffff};

		header_encode(h + i * HEADER_SZ, &f);
		prev = header_hash(h + i * HEADER_SZ);
	}
	rec.hash = prev;
	rec.work[1] = 1; /* 256; each header is worth 2 */
	tower_chain_start(s->t, &rec, h);
	tower_resume_point(s->t, &r, out, 3);
	assert_int_equal(r.root_height, 47);
	assert_int_equal(r.root_hash.b[0], 7);
	assert_int_equal(r.root_work[0], 250);
	assert_int_equal(r.root_work[1], 0);
	assert_memory_equal(out, h, sizeof(h));
	tower_resume_point(s->t, &r, out, 2);
	assert_int_equal(r.root_work[0], 252);
	assert_memory_equal(out, h + HEADER_SZ, 2 * HEADER_SZ);
}

static struct link_chain_start root_only(struct sim *s, uint32_t height)
{
	struct link_chain_start rec = {.height = height, .hash = {{8}}};

	s->start = height;
	s->start_hash = rec.hash;
	return rec;
}

/* A chain that is rooted at a block of which only the hash is known. */
static void a_restart_can_begin_at_the_root_itself(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct link_chain_start rec = root_only(s, 300);
	uint8_t headers[64 * HEADER_SZ];
	struct tower_resume r;
	struct tower_found f;

	settles(s);
	tower_chain_start(s->t, &rec, NULL);
	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	s->watched_cnt = 0;
	sim_mine(s, &d, NULL);
	sim_mine_empty(s, 20);
	tower_resume_point(s->t, &r, headers, 64);
	assert_true(r.resume);
	assert_int_equal(r.header_cnt, 0);
	assert_int_equal(r.root_height, 300);
	assert_true(hash256_eq(&r.root_hash, &rec.hash));
	sim_restart(s);
	assert_int_equal(s->reset_cnt, 0);
	assert_int_equal(sim_find(s, 1, &d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	/* Another branch from the root. */
	s->chain_cnt = 0;
	sim_mine_empty(s, 22);
	assert_int_equal(s->reset_cnt, 0);
	sim_check(s);
}

static void a_restart_above_the_root_is_given_the_headers_from_the_root(void **state)
{
	struct sim *s = *state;
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	struct link_chain_start rec = root_only(s, 300);
	uint8_t headers[64 * HEADER_SZ];
	struct tower_resume r;

	settles(s);
	tower_chain_start(s->t, &rec, NULL);
	sim_mine_empty(s, 3);
	sim_register(s, 1, NULL);
	sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	sim_mine_empty(s, 20);
	tower_resume_point(s->t, &r, headers, 64);
	assert_int_equal(r.header_cnt, 3);
	assert_int_equal(r.root_height, 300);
	assert_true(hash256_eq(&r.root_hash, &rec.hash));
	assert_memory_equal(headers + 2 * HEADER_SZ, s->chain[2].header, HEADER_SZ);
}

/* --- subscriptions that end --------------------------------------------------------------------------------------- */

static enum tower_status user_status(struct sim *s, unsigned user, bool *expired)
{
	struct user_id id = sim_user(user);
	struct tower_user_info u;

	return tower_user(s->t, &id, &u, expired);
}

static void outdated_users_lose_all_but_confirmed_trackers(void **state)
{
	struct sim *s = *state;
	struct tx d[3], p[3];
	struct tower_found f;
	struct tower_info info;
	bool expired;
	char *dump;

	s->cfg.subscription_duration = 20;
	sim_restart(s);
	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 3; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], 0, 9);
		sim_watch(s, 1, &d[i], &p[i], LOCATOR_INTERNAL);
	}
	sim_mine(s, &d[0], &d[1], NULL);
	sim_mine(s, &p[0], NULL);
	sim_mine_empty(s, 17);
	assert_int_equal(user_status(s, 1, &expired), TOWER_OK);
	sim_mine_empty(s, 1);
	assert_int_equal(user_status(s, 1, &expired), TOWER_AUTH);
	assert_true(expired);
	sim_mine_empty(s, 5);
	assert_int_equal(sim_find(s, 1, &d[2], &f), TOWER_OK);
	sim_mine_empty(s, 1);
	assert_int_equal(user_status(s, 1, &expired), TOWER_AUTH);
	assert_false(expired);
	assert_int_equal(sim_find(s, 1, &d[0], &f), TOWER_OK);
	assert_int_equal(f.tr.state, TRACKER_CONFIRMED);
	assert_int_equal(sim_find(s, 1, &d[1], &f), TOWER_NOT_FOUND);
	assert_int_equal(sim_find(s, 1, &d[2], &f), TOWER_NOT_FOUND);
	tower_info_get(s->t, &info);
	assert_int_equal(info.users, 0);
	assert_int_equal(info.appointments, 0);
	assert_int_equal(info.trackers, 1);
	sim_check(s);
	/* Not answered any more: the breach, nor the penalty of the dropped tracker. */
	sim_mine(s, &d[2], &p[1], NULL);
	assert_int_equal(sim_sent(s, &p[2].txid), 0);
	sim_check(s);
	/* A reorg below that height brings all of it back. */
	sim_disconnect(s, 2);
	assert_int_equal(sim_find(s, 1, &d[1], &f), TOWER_OK);
	assert_int_equal(sim_find(s, 1, &d[2], &f), TOWER_OK);
	user_status(s, 1, &expired);
	assert_true(expired);
	sim_check(s);
	sim_mine_empty(s, 77);
	assert_int_equal(sim_find(s, 1, &d[0], &f), TOWER_NOT_FOUND);
	sim_check(s);
	/* Long after, nothing of it is left on disk. */
	sim_mine_empty(s, TOWER_UNDO_DEPTH);
	sim_tick(s, 1);
	sim_check(s);
	assert_int_equal(s->watched_cnt, 0);
	dump = sim_dump(s);
	for (enum store_cf cf = STORE_USERS; cf <= STORE_EXPIRY; cf++) {
		char row[8];

		snprintf(row, sizeof(row), "\n%u ", cf);
		assert_null(strstr(dump, row));
	}
	free(dump);
}

static void a_user_who_comes_back_begins_anew(void **state)
{
	struct sim *s = *state;
	struct tx d[2], p[2];
	struct tower_user_info u;
	struct tower_found f;

	s->cfg.subscription_duration = 20;
	sim_restart(s);
	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 2; i++) {
		d[i] = tx_make(i);
		p[i] = tx_spend(&d[i], 0, 9);
		sim_watch(s, 1, &d[i], &p[i], LOCATOR_INTERNAL);
	}
	sim_mine(s, &d[0], NULL);
	sim_mine_empty(s, 25);
	s->cfg.subscription_duration = 4320;
	sim_restart(s);
	assert_int_equal(sim_register(s, 1, &u), TOWER_OK);
	assert_int_equal(u.available_slots, 10000);
	assert_int_equal(u.subscription_start, sim_tip(s));
	assert_int_equal(u.subscription_expiry, sim_tip(s) + 4320);
	assert_int_equal(sim_find(s, 1, &d[0], &f), TOWER_NOT_FOUND);
	assert_int_equal(sim_find(s, 1, &d[1], &f), TOWER_NOT_FOUND);
	sim_check(s);
	/* What was triggered before may be added again, and is a new appointment. */
	assert_int_equal(sim_watch(s, 1, &d[0], &p[0], LOCATOR_INTERNAL), TOWER_OK);
	assert_int_equal(sim_slots(s, 1), 9999);
	sim_check(s);
	sim_restart(s);
	sim_check(s);
	sim_disconnect(s, 20);
	sim_check(s);
	sim_mine_empty(s, TOWER_UNDO_DEPTH + 60);
	sim_tick(s, 1);
	sim_check(s);
	assert_int_equal(sim_find(s, 1, &d[0], &f), TOWER_OK);
	assert_int_equal(sim_find(s, 1, &d[1], &f), TOWER_NOT_FOUND);
	assert_int_equal(s->watched_cnt, 1);
}

static void sums_that_pass_32_bits_saturate(void **state)
{
	struct sim *s = *state;
	struct tower_user_info u;
	bool expired;

	s->cfg.subscription_duration = UINT32_MAX - 100;
	sim_restart(s);
	assert_int_equal(sim_register(s, 1, &u), TOWER_OK);
	assert_int_equal(u.subscription_expiry, UINT32_MAX);
	assert_int_equal(sim_register(s, 1, &u), TOWER_OK);
	assert_int_equal(u.subscription_expiry, UINT32_MAX);
	sim_mine_empty(s, 10);
	assert_int_equal(user_status(s, 1, &expired), TOWER_OK);
	sim_check(s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_repeated_block_changes_nothing_and_is_acknowledged_again),
		T(a_repeated_block_brings_back_a_hit_that_a_crash_swallowed),
		T(a_restart_begins_where_an_add_was_not_answered_yet),
		T(the_first_add_of_a_process_holds_the_restart_back),
		T(a_reorg_below_an_unanswered_add_repeats_the_new_branch),
		T(a_restart_can_begin_at_the_root_itself),
		T(a_restart_above_the_root_is_given_the_headers_from_the_root),
		T(a_crash_while_blocks_are_repeated_goes_on_where_it_was),
		T(a_disconnected_block_does_not_hide_that_blocks_must_be_repeated),
		T(a_reorg_of_one_block_is_undone_exactly),
		T(a_reorg_of_five_blocks_is_undone_exactly),
		T(a_reorg_of_a_hundred_blocks_is_undone_exactly),
		T(a_reorged_penalty_is_sent_again_and_a_reorged_dispute_is_watched_again),
		T(slots_are_corrected_by_sums_when_clients_wrote_in_between),
		T(a_refund_that_was_spent_and_is_taken_back_leaves_a_debt),
		T(an_appointment_added_again_after_completion_survives_the_undo),
		T(a_block_that_does_not_link_resets_the_session),
		T(a_branch_reported_without_disconnects_is_followed),
		T(a_store_of_another_network_is_refused),
		T(without_a_block_nobody_is_served),
		T(the_resume_point_is_the_newest_headers_linked_and_with_their_work),
		T(the_work_of_headers_below_the_start_is_counted_down),
		T(outdated_users_lose_all_but_confirmed_trackers),
		T(a_user_who_comes_back_begins_anew),
		T(sums_that_pass_32_bits_saturate),
	};

	return cmocka_run_group_tests_name("tower/chain", tests, NULL, NULL);
}
