/* What is remembered of a penalty's sending, and what happens when it takes too long. */
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "sim.h"

#include "tower/rows.h"

/* A breach at the tip, answered and taken by a peer. */
static void breach(struct sim *s, struct tx *d, struct tx *p)
{
	*d = tx_make(1);
	*p = tx_spend(d, 0, 2);
	sim_register(s, 1, NULL);
	assert_int_equal(sim_watch(s, 1, d, p, LOCATOR_INTERNAL), TOWER_OK);
	sim_mine(s, d, NULL);
	sim_result(s, p, NODE_SENT_P2P, 0);
}

static struct tracker_view tracker(struct sim *s, const struct tx *d)
{
	struct tower_found f;

	assert_int_equal(sim_find(s, 1, d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	return f.tr;
}

static struct tower_info info_of(struct sim *s)
{
	struct tower_info i;

	tower_info_get(s->t, &i);
	return i;
}

/* The chain stands still for a while. */
static void rest(struct sim *s)
{
	for (unsigned i = 0; i < 4; i++)
		sim_tick(s, 1000000000);
}

static void answer(struct sim *s, const struct tx *p, enum node_reason reason, const char *text)
{
	struct node_answer a = {.verdict = NODE_REFUSED, .reason = reason, .code = -26, .text = text};

	tower_broadcast_result(s->t, &p->txid, &a);
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

static void what_was_sent_and_answered_survives_a_restart(void **state)
{
	struct sim *s = *state;
	struct tracker_view before, after;
	struct tx d, p;

	breach(s, &d, &p);
	answer(s, &p, REASON_FEE_LOW, "mempool min fee not met");
	sim_mine_empty(s, 2);
	rest(s);
	before = tracker(s, &d);
	assert_true(before.tries >= 2);
	assert_int_equal(before.first_height, SIM_START); /* sent before its block was connected */
	sim_restart(s);
	after = tracker(s, &d);
	assert_int_equal(after.state, TRACKER_REFUSED);
	assert_int_equal(after.tries, before.tries);
	assert_int_equal(after.first_height, before.first_height);
	assert_int_equal(after.node_code, -26);
	assert_int_equal(after.node_reason, REASON_FEE_LOW);
	assert_string_equal(after.node_text, "mempool min fee not met");
	/* It is sent again all the same. */
	sim_tick(s, 0);
	assert_int_equal(tracker(s, &d).tries, before.tries + 1);
}

static void delete_row(struct sim *s, const struct tx *p)
{
	struct store_batch *b = store_batch_new(s->st);
	struct key k = key_sending(&p->txid);

	assert_true(store_has(s->st, STORE_META, key_slice(&k)));
	store_del(b, STORE_META, key_slice(&k));
	assert_int_equal(store_write(s->st, b, NULL, NULL), 0);
	store_batch_free(b);
}

static void a_store_that_remembers_nothing_of_it_sends_as_for_the_first_time(void **state)
{
	struct sim *s = *state;
	struct tx d, p;
	unsigned before;

	breach(s, &d, &p);
	rest(s);
	delete_row(s, &p);
	before = sim_sent(s, &p.txid);
	sim_restart(s);
	assert_int_equal(tracker(s, &d).state, TRACKER_UNSENT);
	assert_int_equal(tracker(s, &d).tries, 0);
	sim_tick(s, 0);
	assert_int_equal(sim_sent(s, &p.txid), before + 1);
}

static bool count_row(void *arg, struct slice key, struct slice value)
{
	(void)key;
	(void)value;
	++*(unsigned *)arg;
	return true;
}

static unsigned rows(struct sim *s)
{
	static const struct slice prefix = {(const uint8_t *)KEY_SENDING_PREFIX,
					    sizeof(KEY_SENDING_PREFIX) - 1};
	unsigned cnt = 0;

	assert_int_equal(
		store_scan(s->st, STORE_META, prefix, (struct slice){NULL, 0}, false, false, count_row, &cnt),
		0);
	return cnt;
}

static void nothing_is_remembered_of_a_penalty_that_is_done_or_undone(void **state)
{
	struct sim *s = *state;
	struct tx d, p;

	breach(s, &d, &p);
	rest(s);
	assert_int_equal(rows(s), 1);
	sim_disconnect(s, 1);
	rest(s);
	assert_int_equal(rows(s), 0);
	sim_mine(s, &d, NULL);
	rest(s);
	assert_int_equal(rows(s), 1);
	assert_true(tracker(s, &d).tries > 0); /* the forgotten one did not stand in its way */
	sim_mine(s, &p, NULL);
	sim_restart(s);
	assert_int_equal(tracker(s, &d).state, TRACKER_CONFIRMED);
	assert_true(tracker(s, &d).tries > 0);
	sim_mine_empty(s, 100);
	rest(s);
	assert_int_equal(rows(s), 0);
}

static void nothing_is_remembered_of_a_tracker_whose_user_is_gone(void **state)
{
	struct sim *s = *state;
	struct tx d, p;

	s->cfg.subscription_duration = 20;
	sim_restart(s);
	breach(s, &d, &p);
	rest(s);
	assert_int_equal(rows(s), 1);
	sim_mine_empty(s, 20 + s->cfg.expiry_delta + TOWER_UNDO_DEPTH + 5);
	for (unsigned i = 0; i < 20; i++) {
		tower_purge(s->t);
		rest(s);
	}
	assert_int_equal(rows(s), 0);
	assert_int_equal(info_of(s).overdue, 0);
}

static void nothing_is_remembered_of_a_tracker_that_its_user_replaced(void **state)
{
	struct sim *s = *state;
	struct tx d, p;

	s->cfg.subscription_duration = 20;
	sim_restart(s);
	breach(s, &d, &p);
	rest(s);
	assert_int_equal(rows(s), 1);
	sim_mine_empty(s, 20 + s->cfg.expiry_delta);
	assert_int_equal(sim_register(s, 1, NULL), TOWER_OK);
	assert_int_equal(rows(s), 1);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	rest(s);
	assert_int_equal(rows(s), 0);
	sim_check(s);
}

/* Writes all blob files of the store anew, each byte changed; a second time brings them back. */
static void flip_blobs(const struct sim *s)
{
	char path[512];
	const struct dirent *e;
	DIR *dir = opendir(s->db);
	unsigned cnt = 0;

	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL) {
		size_t n = strlen(e->d_name);
		uint8_t b[1];
		int fd;

		if (n < 5 || strcmp(e->d_name + n - 5, ".blob") != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", s->db, e->d_name);
		fd = open(path, O_RDWR);
		assert_true(fd >= 0);
		for (off_t at = 64; pread(fd, b, 1, at) == 1; at++) {
			b[0] ^= 0xff;
			assert_int_equal(pwrite(fd, b, 1, at), 1);
		}
		close(fd);
		cnt++;
	}
	closedir(dir);
	assert_true(cnt > 0);
}

static void a_tracker_that_cannot_be_read_is_not_forgotten(void **state)
{
	struct sim *s = *state;
	struct tracker_view before, after;
	struct tx d, p;

	d = tx_make(1);
	p = tx_spend_sized(&d, 0, 2, 2000);
	sim_register(s, 1, NULL);
	assert_int_equal(sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL), TOWER_OK);
	sim_mine(s, &d, NULL);
	sim_mine(s, &p, NULL);
	sim_mine_empty(s, 2);
	rest(s);
	sim_restart(s); /* what was in the log is in tables and blob files then */
	before = tracker(s, &d);
	assert_int_equal(before.state, TRACKER_CONFIRMED);
	flip_blobs(s);
	/* Every confirmed penalty is looked at. */
	sim_disconnect(s, 1);
	flip_blobs(s);
	rest(s);
	assert_int_equal(rows(s), 1);
	after = tracker(s, &d);
	assert_int_equal(after.tries, before.tries);
	sim_check(s);
}

/* A row that a crash left behind. */
static void a_row_without_a_tracker_is_forgotten_at_start(void **state)
{
	struct sim *s = *state;
	struct store_batch *b = store_batch_new(s->st);
	struct sending_row r = {.tries = 7};
	struct tx p = tx_make(9);
	struct key k = key_sending(&p.txid);
	uint8_t v[SENDING_ROW_SZ_MAX];

	sim_mine_empty(s, 1);
	store_put(b, STORE_META, key_slice(&k), (struct slice){v, sending_row_encode(v, &r)});
	assert_int_equal(store_write(s->st, b, NULL, NULL), 0);
	store_batch_free(b);
	assert_int_equal(rows(s), 1);
	sim_restart(s);
	rest(s);
	assert_int_equal(rows(s), 0);
}

static void rows_come_back_as_they_were_and_nothing_else_is_taken(void **state)
{
	struct sending_row r = {.state = TRACKER_REFUSED,
				.reason = REASON_CONFLICT,
				.since = 800000,
				.tries = 70000,
				.first_height = 799990,
				.told = 3,
				.code = -26,
				.text = "txn-mempool-conflict"},
			   back;
	uint8_t v[SENDING_ROW_SZ_MAX + 1] = {0};
	size_t sz = sending_row_encode(v, &r);
	struct hash256 h = {{7}}, h2;
	struct key k = key_sending(&h);

	(void)state;
	assert_true(sending_row_decode((struct slice){v, sz}, &back));
	assert_memory_equal(&r, &back, sizeof(r));
	for (size_t i = 0; i < sz; i++)
		assert_false(sending_row_decode((struct slice){v, i}, &back));
	assert_false(sending_row_decode((struct slice){v, sz + 1}, &back));
	memset(r.text, 'x', sizeof(r.text)); /* no NUL */
	sz = sending_row_encode(v, &r);
	assert_true(sz <= SENDING_ROW_SZ_MAX);
	assert_true(sending_row_decode((struct slice){v, sz}, &back));
	assert_int_equal(strlen(back.text), SENDING_TEXT_SZ - 1);
	v[1] = TRACKER_CONFIRMED;
	assert_false(sending_row_decode((struct slice){v, sz}, &back));
	v[1] = TRACKER_SENT;
	v[2] = REASON_LAST + 1;
	assert_false(sending_row_decode((struct slice){v, sz}, &back));
	assert_true(key_sending_decode(key_slice(&k), &h2) && hash256_eq(&h, &h2));
	k.sz--;
	assert_false(key_sending_decode(key_slice(&k), &h2));
}

/* --- escalation -------------------------------------------------------------------------------------------------- */

/* Blocks one by one, with time between them. */
static void live(struct sim *s, unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++) {
		sim_mine_empty(s, 1);
		rest(s);
	}
}

static void a_deep_dispute_without_its_penalty_escalates_step_by_step(void **state)
{
	struct sim *s = *state;
	struct tx d, p;
	unsigned sent;

	breach(s, &d, &p);
	rest(s);
	live(s, 4); /* 5 deep */
	assert_int_equal(s->alert_cnt, 0);
	assert_int_equal(info_of(s).overdue, 0);
	live(s, 1);
	assert_int_equal(s->alert_cnt, 1);
	assert_int_equal(s->alert[0].kind, ALERT_PENALTY_OVERDUE);
	assert_int_equal(s->alert[0].step, 1);
	assert_int_equal(s->alert[0].depth, 6);
	assert_int_equal(s->alert[0].dispute_height, SIM_START + 1);
	assert_int_equal(s->alert[0].state, TRACKER_SENT);
	assert_int_equal(info_of(s).overdue, 1);
	assert_int_equal(tracker(s, &d).overdue_step, 1);
	/* From now on after every block. */
	sent = sim_sent(s, &p.txid);
	live(s, 5);
	assert_int_equal(sim_sent(s, &p.txid), sent + 5);
	assert_int_equal(s->alert_cnt, 1);
	live(s, 1); /* 12 deep */
	assert_int_equal(s->alert_cnt, 2);
	assert_int_equal(s->alert[1].step, 2);
	live(s, 12); /* 24 deep */
	assert_int_equal(s->alert_cnt, 3);
	assert_int_equal(info_of(s).escalations_total, 3);
	sim_mine(s, &p, NULL);
	rest(s);
	assert_int_equal(info_of(s).overdue, 0);
	assert_int_equal(tracker(s, &d).overdue_step, 0);
	live(s, 30);
	assert_int_equal(s->alert_cnt, 3);
}

static void a_step_is_told_once_over_restarts(void **state)
{
	struct sim *s = *state;
	struct tx d, p;

	breach(s, &d, &p);
	live(s, 6);
	assert_int_equal(s->alert_cnt, 1);
	sim_restart(s);
	rest(s);
	live(s, 1);
	assert_int_equal(s->alert_cnt, 1);
	assert_int_equal(info_of(s).overdue, 1);
	live(s, 5);
	assert_int_equal(s->alert_cnt, 2);
}

static void blocks_that_are_caught_up_with_raise_no_alarm(void **state)
{
	struct sim *s = *state;
	struct tx d, p;

	breach(s, &d, &p);
	/* A block between any two ticks. */
	for (unsigned i = 0; i < 30; i++)
		sim_mine_empty(s, 1);
	sim_mine(s, &p, NULL);
	rest(s);
	assert_int_equal(s->alert_cnt, 0);
	assert_int_equal(info_of(s).overdue, 0);
}

static void a_dispute_that_a_reorg_took_begins_anew(void **state)
{
	struct sim *s = *state;
	struct tx d, p;

	breach(s, &d, &p);
	live(s, 5);
	assert_int_equal(s->alert_cnt, 1);
	sim_disconnect(s, 6);
	rest(s);
	assert_int_equal(info_of(s).overdue, 0);
	live(s, 3);
	sim_mine(s, &d, NULL);
	live(s, 4);
	assert_int_equal(s->alert_cnt, 1);
	live(s, 1);
	assert_int_equal(s->alert_cnt, 2);
	assert_int_equal(s->alert[1].step, 1);
}

static void zero_never_escalates(void **state)
{
	struct sim *s = *state;
	struct tx d, p;

	s->cfg.overdue_depth = 0;
	sim_restart(s);
	breach(s, &d, &p);
	live(s, 30);
	assert_int_equal(s->alert_cnt, 0);
}

static void T21_a_refusal_that_time_does_not_mend_is_told_once_for_each_reason(void **state)
{
	struct sim *s = *state;
	struct tx d, p;

	breach(s, &d, &p);
	answer(s, &p, REASON_FEE_LOW, "min relay fee not met");
	answer(s, &p, REASON_INPUTS, "bad-txns-inputs-missingorspent");
	answer(s, &p, REASON_TIMING, "non-final");
	assert_int_equal(s->alert_cnt, 0);
	answer(s, &p, REASON_INVALID, "mandatory-script-verify-flag-failed");
	answer(s, &p, REASON_INVALID, "mandatory-script-verify-flag-failed");
	assert_int_equal(s->alert_cnt, 1);
	assert_int_equal(s->alert[0].kind, ALERT_PENALTY_REFUSED);
	assert_int_equal(s->alert[0].reason, REASON_INVALID);
	answer(s, &p, REASON_OTHER, "what nobody knows");
	assert_int_equal(s->alert_cnt, 2);
	assert_int_equal(tracker(s, &d).state, TRACKER_REFUSED);
}

static void T21_an_invalid_penalty_is_kept_but_not_hurried(void **state)
{
	struct sim *s = *state;
	struct tx d, p;
	unsigned sent;

	breach(s, &d, &p);
	answer(s, &p, REASON_INVALID, "mandatory-script-verify-flag-failed");
	for (unsigned i = 0; i < 2000; i++) {
		unsigned before = sim_sent(s, &p.txid);

		sim_tick(s, 1000000000);
		if (sim_sent(s, &p.txid) > before)
			answer(s, &p, REASON_INVALID, "mandatory-script-verify-flag-failed");
	}
	sent = sim_sent(s, &p.txid);
	/* Not pushed to peers any more, all but the first time. */
	assert_true(sent > 2);
	assert_int_equal(s->asked_nodes_cnt, sent - 1);
	sim_mine_empty(s, 1);
	sim_tick(s, 1100000000);
	assert_int_equal(sim_sent(s, &p.txid), sent);
	/* Nor forgotten. */
	sim_mine_empty(s, 6);
	sim_tick(s, 1100000000);
	assert_true(sim_sent(s, &p.txid) > sent);
	/* Somebody thinks better of it: as ever. */
	answer(s, &p, REASON_FEE_LOW, "min relay fee not met");
	sent = s->asked_nodes_cnt;
	sim_tick(s, 1200000000000);
	assert_int_equal(s->asked_nodes_cnt, sent);
}

static void retries_of_many_do_not_fall_together(void **state)
{
	struct sim *s = *state;
	struct tx d[40], p[40];
	unsigned in_tick[64] = {0}, most = 0, total = 0;

	sim_register(s, 1, NULL);
	for (unsigned i = 0; i < 40; i++) {
		d[i] = tx_make(100 + i);
		p[i] = tx_spend(&d[i], 0, 200 + i);
		sim_watch(s, 1, &d[i], &p[i], LOCATOR_INTERNAL);
	}
	const struct tx *list[40];

	for (unsigned i = 0; i < 40; i++)
		list[i] = &d[i];
	sim_mine_list(s, list, 40);
	/* Nobody takes them: 1, 2, 4, 8, 16 s, ... later. */
	for (unsigned k = 0; k < 16; k++)
		sim_tick(s, 1000000000);
	for (unsigned k = 0; k < 64; k++) {
		unsigned before = s->sent_cnt;

		sim_tick(s, 250000000);
		in_tick[k] = s->sent_cnt - before;
		total += in_tick[k];
		if (in_tick[k] > most)
			most = in_tick[k];
	}
	assert_true(total > 0);
	assert_true(most < 40);
}

#define T(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_sent_and_answered_survives_a_restart),
		T(a_store_that_remembers_nothing_of_it_sends_as_for_the_first_time),
		T(nothing_is_remembered_of_a_penalty_that_is_done_or_undone),
		T(nothing_is_remembered_of_a_tracker_whose_user_is_gone),
		T(nothing_is_remembered_of_a_tracker_that_its_user_replaced),
		T(a_tracker_that_cannot_be_read_is_not_forgotten),
		T(a_row_without_a_tracker_is_forgotten_at_start),
		cmocka_unit_test(rows_come_back_as_they_were_and_nothing_else_is_taken),
		T(a_deep_dispute_without_its_penalty_escalates_step_by_step),
		T(a_step_is_told_once_over_restarts),
		T(blocks_that_are_caught_up_with_raise_no_alarm),
		T(a_dispute_that_a_reorg_took_begins_anew),
		T(zero_never_escalates),
		T(T21_a_refusal_that_time_does_not_mend_is_told_once_for_each_reason),
		T(T21_an_invalid_penalty_is_kept_but_not_hurried),
		T(retries_of_many_do_not_fall_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
