/* Best chains whose blocks are invalid or do not come, and reorgs as deep as the header tree knows: the best chain that
   can be had is followed, and what was done for another is undone in order. */
#include "lab.h"

static struct sync_peer_view view_of(const struct lab *l, uint32_t i)
{
	struct sync_peer_view v;

	sync_peer_view(l->sync, i, &v);
	return v;
}

/* Both nodes at tip, which is connected from fork on. */
static struct lab *at_tip(uint32_t seed, uint32_t shared, uint32_t depth, uint32_t *fork, uint32_t *tip)
{
	struct lab *l = lab_new(2, seed);

	*fork = lab_mine(l, 0, shared);
	*tip = lab_mine(l, *fork, depth);
	l->cut_max = 20000;
	lab_set_tip(&l->node[0], *tip);
	lab_set_tip(&l->node[1], *tip);
	lab_resume(l, *fork, shared);
	assert_true(lab_reach(l, *tip, 10 * LAB_S));
	assert_int_equal(l->connects, depth);
	return l;
}

static void an_invalid_block_at_the_tip_marks_it_and_the_chain_goes_on_beside_it(void **state)
{
	uint32_t fork, tip, bad, good;
	struct lab *l = at_tip(1, 20, 3, &fork, &tip);

	(void)state;
	bad = lab_mine_invalid(l, tip);
	bad = lab_mine(l, bad, 4);
	lab_set_tip(&l->node[0], bad);
	lab_run(l, LAB_S, LAB_MS);
	assert_int_equal(l->bad_verdicts, 1);
	assert_int_equal(lab_counter(l, "branches_invalid_total"), 1);
	assert_string_equal(view_of(l, 0).ban_reason, "peer_drop_block_invalid_total");
	assert_int_equal(l->disconnects, 0);
	assert_int_equal(l->connects, 3);
	/* Less work than the invalid branch claims. */
	good = lab_mine(l, tip, 2);
	lab_set_tip(&l->node[1], good);
	assert_true(lab_reach(l, good, 5 * LAB_S));
	lab_check_list(l, good);
	/* The liar comes back with the same, and with more of it. */
	lab_run(l, 90 * LAB_S, 10 * LAB_MS);
	assert_true(l->node[0].up);
	lab_set_tip(&l->node[0], lab_mine(l, bad, 1));
	lab_run(l, LAB_S, LAB_MS);
	assert_string_equal(view_of(l, 0).last_error, "peer_drop_headers_invalid_total");
	assert_int_equal(l->bad_verdicts, 1);
	good = lab_mine(l, good, 1);
	lab_set_tip(&l->node[1], good);
	assert_true(lab_reach(l, good, 5 * LAB_S));
	lab_set_tip(&l->node[0], good);
	lab_run(l, 100 * LAB_S, 10 * LAB_MS);
	assert_true(view_of(l, 0).ready && !view_of(l, 0).lagging);
	lab_free(l);
}

/* The list ends with block, whatever the best header is. */
static bool follows(struct lab *l, uint32_t block, uint64_t time_ns)
{
	for (uint64_t end = l->now_ns + time_ns; l->now_ns < end;) {
		lab_turn(l, 20 * LAB_MS);
		if (l->pending_cnt == 0 && hash256_eq(&l->list[l->list_tip], &l->block[block].hash))
			return true;
	}
	return false;
}

/* depth blocks are undone for a branch whose block number `at` (from 1) is of that kind. */
static void half_way(uint32_t depth, uint32_t at, enum lab_body kind, uint32_t seed)
{
	/* Nothing is undone before something is there instead. */
	bool undone = at > 1 || kind != LAB_BODY_WITHHELD;
	uint32_t fork, tip, b, other, more;
	struct lab *l = at_tip(seed, 20, depth, &fork, &tip);

	b = at > 1 ? lab_mine(l, fork, at - 1) : fork;
	b = kind == LAB_BODY_INVALID ? lab_mine_invalid(l, b) : lab_mine(l, b, 1);
	l->block[b].body = kind;
	other = lab_mine(l, b, depth + 5 - at);
	lab_set_tip(&l->node[0], other);
	lab_run(l, 10 * LAB_S, 5 * LAB_MS);
	assert_int_equal(l->disconnects >= depth, undone);
	/* Back to the old branch. */
	assert_true(follows(l, tip, 100 * LAB_S));
	lab_check_list(l, tip);
	assert_int_equal(l->disconnects, undone ? depth + at - 1 : 0);
	/* Which goes on. */
	more = lab_mine(l, tip, 2);
	lab_set_tip(&l->node[1], more);
	assert_true(follows(l, more, 100 * LAB_S));
	lab_check_list(l, more);
	assert_int_equal(lab_counter(l, kind == LAB_BODY_INVALID ? "branches_invalid_total"
								 : "branches_set_aside_total"),
			 1);
	lab_free(l);
}

static void a_reorg_whose_branch_is_invalid_half_way_is_taken_back(void **state)
{
	(void)state;
	half_way(5, 3, LAB_BODY_INVALID, 10);
	half_way(120, 1, LAB_BODY_INVALID, 11);
	half_way(120, 60, LAB_BODY_INVALID, 12);
}

static void a_reorg_whose_branch_does_not_come_is_taken_back(void **state)
{
	(void)state;
	half_way(5, 1, LAB_BODY_WITHHELD, 13);
	half_way(120, 1, LAB_BODY_WITHHELD, 14);
	half_way(120, 1, LAB_BODY_BROKEN, 14);
	half_way(120, 60, LAB_BODY_WITHHELD, 15);
	half_way(120, 60, LAB_BODY_BROKEN, 16);
}

static void a_branch_that_does_not_come_is_followed_when_it_does(void **state)
{
	uint32_t fork, tip, b, other;
	struct lab *l = at_tip(17, 20, 10, &fork, &tip);

	(void)state;
	b = lab_mine(l, fork, 5);
	l->block[b].body = LAB_BODY_WITHHELD;
	other = lab_mine(l, b, 20);
	lab_set_tip(&l->node[0], other);
	lab_run(l, 200 * LAB_S, 20 * LAB_MS);
	assert_true(lab_counter(l, "branches_set_aside_total") >= 1);
	l->block[b].body = LAB_BODY_GOOD;
	/* Tried again by itself, after back-off and ban. */
	assert_true(lab_reach(l, other, 1000 * LAB_S));
	lab_check_list(l, other);
	assert_int_equal(lab_counter(l, "branches_aside"), 0);
	lab_free(l);
}

/* A liar with unlimited work: a new fake branch whenever it is connected.  A block a minute by the other node.  Returns
   for how long the list was behind that, at most. */
static uint64_t fakes(enum lab_fault fault, uint32_t seed)
{
	uint32_t fork, tip, fake;
	struct lab *l = at_tip(seed, 20, 5, &fork, &tip);
	uint64_t behind = 0, longest = 0;

	for (unsigned minute = 0; minute < 30; minute++) {
		tip = lab_mine(l, tip, 1);
		lab_set_tip(&l->node[1], tip);
		if (l->node[0].up) {
			fake = lab_mine(l, tip, 1);
			l->block[fake].body = LAB_BODY_WITHHELD;
			l->node[0].fault = fault;
			lab_set_tip(&l->node[0], lab_mine(l, fake, 50));
		}
		for (unsigned s = 0; s < 600; s++) {
			lab_run(l, 100 * LAB_MS, 20 * LAB_MS);
			behind = l->list_tip < l->block[tip].height ? behind + 1 : 0;
			longest = behind > longest ? behind : longest;
		}
	}
	assert_true(lab_counter(l, "branches_set_aside_total") > 0);
	assert_true(view_of(l, 0).bans > 0);
	assert_int_equal(view_of(l, 1).bans, 0);
	l->node[0].refuse = true;
	lab_reset(&l->node[0]);
	assert_true(lab_reach(l, tip, 100 * LAB_S));
	lab_check_list(l, tip);
	lab_free(l);
	return longest * 100 * LAB_MS;
}

static void headers_without_blocks_delay_the_honest_chain_by_a_minute_at_most(void **state)
{
	(void)state;
	assert_true(fakes(LAB_GOOD, 18) <= 61 * LAB_S);
	assert_true(fakes(LAB_DEAF, 19) <= 61 * LAB_S);
	assert_true(fakes(LAB_HALF_BLOCK, 20) <= 61 * LAB_S);
}

static void the_only_chain_is_asked_for_without_end_but_not_in_haste(void **state)
{
	struct lab *l = lab_new(2, 19);
	uint32_t tip = lab_mine(l, 0, 20), bad = lab_ancestor(l, tip, 10);
	uint64_t asked, waited = 0;

	(void)state;
	l->block[bad].body = LAB_BODY_BROKEN; /* at every peer */
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, 0, 0);
	lab_run(l, 600 * LAB_S, 20 * LAB_MS);
	asked = l->bad_verdicts;
	assert_true(asked >= 10 && asked <= 80);
	assert_int_equal(lab_counter(l, "blocks_bad_again_total"), asked - 1);
	for (unsigned i = 0; i < 100 && waited < 500000; i++) {
		waited = lab_counter(l, "next_block_wait_ms");
		lab_run(l, 100 * LAB_MS, 20 * LAB_MS);
	}
	assert_true(waited >= 500000);
	assert_int_equal(l->list_tip, 9);
	assert_int_equal(lab_counter(l, "branches_set_aside_total"), 0);
	l->block[bad].body = LAB_BODY_GOOD;
	assert_true(lab_reach(l, tip, 100 * LAB_S));
	lab_check_list(l, tip);
	lab_free(l);
}

static void a_new_tower_that_began_on_a_fake_tip_finds_the_chain(void **state)
{
	struct lab *l = lab_new(2, 20);
	uint32_t tip = lab_mine(l, 0, 50), fake = lab_mine(l, lab_ancestor(l, tip, 48), 1), top;

	(void)state;
	top = lab_mine(l, fake, 10);
	for (uint32_t b = top; l->block[b].height >= 49; b = l->block[b].parent)
		l->block[b].body = LAB_BODY_WITHHELD;
	lab_set_tip(&l->node[0], top);
	lab_set_tip(&l->node[1], tip);
	lab_start(l);
	lab_run(l, 5 * LAB_S, 5 * LAB_MS);
	assert_int_equal(l->base_height, 59);
	assert_true(lab_reach(l, tip, 200 * LAB_S));
	assert_int_equal(l->disconnects, 11);
	assert_int_equal(l->connects, 2);
	lab_free(l);
}

static void reorgs_are_followed_to_any_depth_that_headers_are_taken(void **state)
{
	static const uint32_t depth[] = {100, 300, 2000};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		uint32_t fork, tip, other;
		struct lab *l = at_tip(30 + i, 20, depth[i], &fork, &tip);

		other = lab_mine(l, fork, depth[i] + 1);
		lab_set_tip(&l->node[0], other);
		assert_true(lab_reach(l, other, 19 * LAB_S));
		assert_int_equal(l->disconnects, depth[i]);
		assert_int_equal(l->connects, 2 * depth[i] + 1);
		lab_check_list(l, other);
		assert_int_equal(view_of(l, 1).drops, 0);
		lab_free(l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_invalid_block_at_the_tip_marks_it_and_the_chain_goes_on_beside_it),
		cmocka_unit_test(a_reorg_whose_branch_is_invalid_half_way_is_taken_back),
		cmocka_unit_test(a_reorg_whose_branch_does_not_come_is_taken_back),
		cmocka_unit_test(a_branch_that_does_not_come_is_followed_when_it_does),
		cmocka_unit_test(headers_without_blocks_delay_the_honest_chain_by_a_minute_at_most),
		cmocka_unit_test(the_only_chain_is_asked_for_without_end_but_not_in_haste),
		cmocka_unit_test(a_new_tower_that_began_on_a_fake_tip_finds_the_chain),
		cmocka_unit_test(reorgs_are_followed_to_any_depth_that_headers_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
