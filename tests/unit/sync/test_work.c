/* Least chain work, chains that are measured first, and headers from the future: what sync makes of them. */
#include "lab.h"

/* 30 headers fit into no full batch; chains of thousands are told in several. */
static void below_the_least_work_no_block_is_asked_for(void **state)
{
	struct lab *l = lab_new_needing(2, 1, 2 * 31);
	uint32_t tip = lab_mine(l, 0, 29);

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_start(l);
	lab_run(l, 100 * LAB_S, 50 * LAB_MS);
	assert_false(l->started);
	assert_int_equal(l->node[0].block_cnt + l->node[1].block_cnt, 0);
	assert_int_equal(lab_counter(l, "headers"), 1);
	assert_int_equal(lab_counter(l, "headers_min_work_reached"), 0);
	assert_true(lab_counter(l, "headers_refused_low_work_total") > 0);
	/* Nobody is blamed: it may still be catching up. */
	assert_int_equal(l->node[0].hello_cnt, 1);
	tip = lab_mine(l, tip, 1);
	lab_set_tip(&l->node[0], tip);
	assert_true(lab_reach(l, tip, 100 * LAB_S));
	assert_int_equal(lab_counter(l, "headers_min_work_reached"), 1);
	lab_free(l);
}

static void a_long_chain_is_told_twice_and_then_followed(void **state)
{
	struct lab *l = lab_new_needing(1, 2, 2 * 4501);
	uint32_t tip = lab_mine(l, 0, 5000);

	(void)state;
	l->cut_max = 50000;
	lab_set_tip(&l->node[0], tip);
	lab_start(l);
	assert_true(lab_reach(l, tip, 20 * LAB_S));
	assert_int_equal(l->base_height, 5000);
	assert_int_equal(lab_counter(l, "headers"), 5001);
	assert_int_equal(lab_counter(l, "headers_presyncs_total"), 1);
	assert_int_equal(lab_counter(l, "headers_measured"), 0);
	assert_true(l->node[0].getheaders_cnt >= 6);
	lab_free(l);
}

/* The one tells thousands of headers that are not enough, for ever; the other has the chain. */
static void a_peer_with_a_cheap_chain_fills_nothing_and_holds_nobody_up(void **state)
{
	struct lab *l = lab_new_needing(2, 3, 2 * 3001);
	uint32_t good = lab_mine(l, 0, 3100), cheap = lab_mine(l, 0, 2500);

	(void)state;
	l->cut_max = 50000;
	lab_set_tip(&l->node[0], cheap);
	l->node[1].refuse = true;
	lab_set_tip(&l->node[1], good);
	lab_start(l);
	lab_run(l, 60 * LAB_S, 50 * LAB_MS);
	assert_int_equal(lab_counter(l, "headers"), 1);
	l->node[1].refuse = false;
	assert_true(lab_reach(l, good, 100 * LAB_S));
	lab_check_list(l, good);
	assert_int_equal(lab_counter(l, "headers"), 3101);
	lab_free(l);
}

/* A peer that ends the connection while its chain is being measured, again and again. */
static void what_was_measured_goes_with_the_connection(void **state)
{
	struct lab *l = lab_new_needing(1, 4, 2 * 6001);
	uint32_t tip = lab_mine(l, 0, 6100);

	(void)state;
	l->cut_max = 3000;
	lab_set_tip(&l->node[0], tip);
	lab_start(l);
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned k = 0; k < 20000 && lab_counter(l, "headers_measured") == 0; k++)
			lab_turn(l, 2 * LAB_MS);
		assert_true(lab_counter(l, "headers_measured") > 0);
		lab_reset(&l->node[0]);
		lab_turn(l, LAB_MS);
		lab_turn(l, LAB_MS);
		assert_int_equal(lab_counter(l, "headers_measured"), 0);
	}
	l->cut_max = 50000;
	assert_true(lab_reach(l, tip, 100 * LAB_S));
	lab_free(l);
}

static void a_session_may_end_in_the_middle_of_measuring(void **state)
{
	struct lab *l = lab_new_needing(1, 5, 2 * 6001);

	(void)state;
	lab_set_tip(&l->node[0], lab_mine(l, 0, 6100));
	lab_start(l);
	for (unsigned k = 0; k < 20000 && lab_counter(l, "headers_measured") == 0; k++)
		lab_turn(l, 2 * LAB_MS);
	assert_true(lab_counter(l, "headers_measured") > 0);
	lab_free(l);
}

/* Control's memory is not asked for the least work again, what peers add to it is. */
static void a_resumed_chain_keeps_what_control_remembers(void **state)
{
	struct lab *l = lab_new_needing(1, 6, 2 * 201);
	uint32_t tip = lab_mine(l, 0, 100), more = lab_mine(l, tip, 99);

	(void)state;
	lab_set_tip(&l->node[0], more);
	lab_resume(l, tip, 100);
	assert_int_equal(lab_counter(l, "headers"), 101);
	lab_run(l, 20 * LAB_S, 50 * LAB_MS);
	assert_false(l->started);
	more = lab_mine(l, more, 1);
	lab_set_tip(&l->node[0], more);
	assert_true(lab_reach(l, more, 100 * LAB_S));
	assert_int_equal(l->connects, 100);
	lab_free(l);
}

/* Deeper than a batch, and than what is ever stored at once. */
static void a_reorg_of_3000_blocks_is_followed(void **state)
{
	struct lab *l = lab_new(2, 7);
	uint32_t fork = lab_mine(l, 0, 100), tip = lab_mine(l, fork, 3000), other = lab_mine(l, fork, 3005);

	(void)state;
	l->cut_max = 200000;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_resume(l, fork, 100);
	assert_true(lab_reach(l, tip, 60 * LAB_S));
	lab_set_tip(&l->node[0], other);
	lab_set_tip(&l->node[1], other);
	assert_true(lab_reach(l, other, 200 * LAB_S));
	assert_int_equal(l->disconnects, 3000);
	lab_check_list(l, other);
	lab_free(l);
}

/* "Not yet" is no mark: the same header is taken once the clock allows it, without any news from the peer. */
static void a_header_from_the_future_is_taken_when_its_time_has_come(void **state)
{
	struct lab *l = lab_new(1, 8);
	uint32_t tip = lab_mine(l, 0, 20), late;

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_start(l);
	assert_true(lab_reach(l, tip, LAB_S));
	late = lab_mine(l, tip, 1);
	/* Two hours and a second after our clock. */
	l->wall_shift_s = -(int64_t)LAB_BLOCK_MAX - 7200 + 20;
	lab_set_tip(&l->node[0], late);
	lab_run(l, 60 * LAB_S, 50 * LAB_MS);
	assert_int_equal(l->list_tip, 20);
	assert_true(lab_counter(l, "headers_refused_future_total") > 1);
	assert_int_equal(l->node[0].hello_cnt, 1); /* still the first connection */
	l->wall_shift_s++;
	assert_true(lab_reach(l, late, 8 * LAB_S));
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(below_the_least_work_no_block_is_asked_for),
		cmocka_unit_test(a_long_chain_is_told_twice_and_then_followed),
		cmocka_unit_test(a_peer_with_a_cheap_chain_fills_nothing_and_holds_nobody_up),
		cmocka_unit_test(what_was_measured_goes_with_the_connection),
		cmocka_unit_test(a_session_may_end_in_the_middle_of_measuring),
		cmocka_unit_test(a_resumed_chain_keeps_what_control_remembers),
		cmocka_unit_test(a_reorg_of_3000_blocks_is_followed),
		cmocka_unit_test(a_header_from_the_future_is_taken_when_its_time_has_come),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
