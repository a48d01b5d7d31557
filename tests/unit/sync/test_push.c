/* The second connection of a peer: penalties have it for themselves, blocks never depend on it, and while it is not
   there penalties do not wait for it. */
#include "lab.h"

#include <stdlib.h>

#include "btc/sha256.h"
#include "link/link_wire.h"

static struct hash256 send_tx(struct lab *l, uint64_t cookie, uint8_t first, size_t sz)
{
	struct hash256 txid = {{(uint8_t)cookie, 9}}, hash;
	uint8_t *raw = malloc(sz);

	for (size_t i = 0; i < sz; i++)
		raw[i] = (uint8_t)(cookie + i);
	raw[0] = first;
	hash = sha256d(raw, sz);
	sync_broadcast(l->sync, cookie, &txid, raw, sz, l->now_ns);
	free(raw);
	return hash;
}

static void expect_tx(const struct lab_node *n, unsigned cnt, const struct hash256 *last)
{
	assert_int_equal(n->tx_cnt, cnt);
	assert_memory_equal(n->tx[cnt - 1].b, last->b, HASH_SZ);
}

static void expect_result(const struct lab *l, unsigned i, uint64_t cookie, uint32_t status, uint32_t peer_cnt)
{
	assert_true(i < l->result_cnt);
	assert_int_equal(l->result[i].cookie, cookie);
	assert_int_equal(l->result[i].status, status);
	assert_int_equal(l->result[i].peer_cnt, peer_cnt);
}

static struct lab *ready_lab(uint32_t node_cnt, uint32_t seed)
{
	struct lab *l = lab_new(node_cnt, seed);
	uint32_t tip = lab_mine(l, 0, 10);

	for (uint32_t i = 0; i < node_cnt; i++)
		lab_set_tip(&l->node[i], tip);
	lab_start(l);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	lab_run(l, 100 * LAB_MS, LAB_MS);
	assert_int_equal(lab_counter(l, "push_ready_peers"), node_cnt);
	return l;
}

static void extend(struct lab *l, uint32_t cnt)
{
	uint32_t tip = lab_mine(l, l->node[0].tip, cnt);

	for (uint32_t i = 0; i < l->node_cnt; i++)
		lab_set_tip(&l->node[i], tip);
}

/* That the block connections of all nodes were never lost, and the chain was followed. */
static void expect_blocks_unhurt(struct lab *l)
{
	struct sync_peer_view v;

	assert_true(lab_reach(l, l->node[0].tip, 2 * LAB_S));
	lab_check_list(l, l->node[0].tip);
	for (uint32_t i = 0; i < l->node_cnt; i++) {
		sync_peer_view(l->sync, i, &v);
		assert_int_equal(v.connects, 1);
		assert_int_equal(v.drops, 0);
	}
}

/* That it asks for no headers and no blocks, and says relay = 1, is looked after by the lab's nodes. */
static void it_is_dialled_after_the_block_connection_and_kept_alive(void **state)
{
	struct lab *l = lab_new(1, 1);
	struct sync_peer_view v;

	(void)state;
	l->node[0].fault = LAB_SILENT;
	lab_start(l);
	lab_run(l, LAB_S, LAB_MS);
	assert_int_equal(l->node[0].dial_cnt, 1);
	assert_int_equal(l->push[0].dial_cnt, 0);
	lab_free(l);
	l = ready_lab(1, 2);
	assert_int_equal(l->push[0].hello_cnt, 1);
	assert_int_equal(l->push[0].verack_cnt, 1);
	assert_int_equal(l->push[0].hello.services, 8);
	assert_int_not_equal(l->push[0].hello.nonce, l->node[0].hello.nonce);
	assert_int_equal(l->push[0].pong_cnt, 1);
	extend(l, 20);
	lab_run(l, 300 * LAB_S, 50 * LAB_MS);
	expect_blocks_unhurt(l);
	assert_true(l->push[0].ping_cnt >= 5);
	sync_peer_view(l->sync, 0, &v);
	assert_true(v.push_ready);
	assert_string_equal(v.push_state, "ready");
	assert_string_equal(v.push_last_error, "");
	assert_int_equal(v.push_connects, 1);
	assert_int_equal(lab_counter(l, "push_connects_total"), 1);
	assert_int_equal(lab_counter(l, "push_handshakes_total"), 1);
	/* A node that falls silent on it is noticed, and costs only it. */
	l->push[0].fault = LAB_SILENT;
	lab_run(l, 200 * LAB_S, 50 * LAB_MS);
	assert_int_equal(lab_counter(l, "push_drop_ping_timeout_total"), 1);
	extend(l, 20);
	expect_blocks_unhurt(l);
	lab_free(l);
}

static void a_node_that_drops_the_sender_of_a_bad_penalty_goes_on_giving_blocks(void **state)
{
	struct lab *l = ready_lab(1, 3);
	struct hash256 hash;

	(void)state;
	extend(l, 40);
	lab_run(l, 3 * LAB_MS, LAB_MS);
	send_tx(l, 1, LAB_BAD_TX, 400);
	expect_result(l, 0, 1, LINK_BCAST_SENT, 1);
	lab_turn(l, LAB_MS);
	assert_false(l->push[0].linked);
	assert_int_equal(lab_counter(l, "push_closed_reset_total"), 1);
	/* The next one does not wait for the new connection. */
	hash = send_tx(l, 2, 1, 400);
	expect_tx(&l->node[0], 1, &hash);
	expect_result(l, 1, 2, LINK_BCAST_SENT, 1);
	assert_int_equal(lab_counter(l, "tx_fallbacks_total"), 1);
	lab_run(l, LAB_S, LAB_MS);
	assert_true(l->push[0].up);
	hash = send_tx(l, 3, 1, 400);
	expect_tx(&l->push[0], 2, &hash);
	expect_blocks_unhurt(l);
	lab_free(l);
}

static void a_bad_penalty_on_the_block_connection_bars_that_way_for_a_minute(void **state)
{
	struct lab *l = ready_lab(1, 4);
	struct hash256 hash;

	(void)state;
	l->push[0].refuse = true;
	lab_reset(&l->push[0]);
	send_tx(l, 1, LAB_BAD_TX, 400);
	expect_result(l, 0, 1, LINK_BCAST_SENT, 1);
	lab_run(l, LAB_S, LAB_MS);
	assert_true(l->node[0].up);
	assert_int_equal(lab_counter(l, "push_bars_total"), 1);
	assert_int_equal(l->node[0].hello_cnt, 2);
	send_tx(l, 2, LAB_BAD_TX, 400);
	expect_result(l, 1, 2, LINK_BCAST_NO_PEER, 0);
	extend(l, 40);
	assert_true(lab_reach(l, l->node[0].tip, 2 * LAB_S));
	assert_int_equal(l->node[0].hello_cnt, 2);
	lab_run(l, 61 * LAB_S, 50 * LAB_MS);
	hash = send_tx(l, 3, 1, 400);
	expect_result(l, 2, 3, LINK_BCAST_SENT, 1);
	expect_tx(&l->node[0], 2, &hash);
	/* The push connection is never barred. */
	send_tx(l, 4, LAB_BAD_TX, 400);
	l->push[0].refuse = false;
	lab_run(l, 40 * LAB_S, 10 * LAB_MS);
	assert_int_equal(lab_counter(l, "push_bars_total"), 2);
	hash = send_tx(l, 5, 1, 400);
	expect_tx(&l->push[0], 1, &hash);
	lab_free(l);
}

static void a_node_that_grants_one_connection_works(void **state)
{
	struct lab *l = lab_new(1, 5);
	uint32_t tip = lab_mine(l, 0, 10);
	struct sync_peer_view v;
	struct hash256 hash;

	(void)state;
	l->node[0].only_one = true;
	lab_set_tip(&l->node[0], tip);
	lab_start(l);
	assert_true(lab_reach(l, tip, 5 * LAB_S));
	lab_run(l, 300 * LAB_S, 20 * LAB_MS);
	/* 0.1 s doubling to 30 s. */
	assert_true(l->push[0].dial_cnt >= 12 && l->push[0].dial_cnt < 30);
	assert_int_equal(lab_counter(l, "push_closed_reset_total"), l->push[0].dial_cnt);
	assert_int_equal(lab_counter(l, "push_connects_total"), 0);
	sync_peer_view(l->sync, 0, &v);
	assert_string_equal(v.push_last_error, "reset");
	assert_int_equal(v.push_drops, l->push[0].dial_cnt);
	extend(l, 20);
	hash = send_tx(l, 1, 1, 400);
	expect_tx(&l->node[0], 1, &hash);
	expect_result(l, 0, 1, LINK_BCAST_SENT, 1);
	expect_blocks_unhurt(l);
	/* And when the block connection is lost, nothing stands in its way. */
	lab_reset(&l->node[0]);
	extend(l, 20);
	assert_true(lab_reach(l, l->node[0].tip, 2 * LAB_S));
	lab_free(l);
}

static void a_node_that_keeps_the_newest_connection_is_not_dialled_in_circles(void **state)
{
	struct lab *l = lab_new(1, 6);
	uint32_t tip = lab_mine(l, 0, 10);
	struct hash256 hash;

	(void)state;
	l->node[0].newest_only = true;
	lab_set_tip(&l->node[0], tip);
	lab_start(l);
	for (unsigned i = 0; i < 30; i++) {
		extend(l, 1);
		lab_run(l, 60 * LAB_S, 20 * LAB_MS);
		assert_true(lab_reach(l, l->node[0].tip, LAB_S));
	}
	/* In half an hour. */
	assert_true(l->node[0].dial_cnt <= 10);
	assert_true(lab_counter(l, "push_yields_total") >= 3);
	hash = send_tx(l, 1, 1, 400);
	expect_tx(&l->node[0], 1, &hash);
	lab_free(l);
}

static void it_makes_room_when_the_block_connection_does_not_come_back(void **state)
{
	struct lab *l = ready_lab(1, 7);
	struct sync_peer_view v;
	struct hash256 hash;

	(void)state;
	lab_run(l, 60 * LAB_S, 20 * LAB_MS);
	l->node[0].only_one = true;
	lab_reset(&l->node[0]);
	lab_run(l, 500 * LAB_MS, LAB_MS);
	assert_true(l->push[0].up);
	/* Meanwhile it takes what there is. */
	hash = send_tx(l, 1, 1, 400);
	expect_tx(&l->push[0], 1, &hash);
	extend(l, 20);
	assert_true(lab_reach(l, l->node[0].tip, 5 * LAB_S));
	assert_int_equal(lab_counter(l, "push_yields_total"), 1);
	sync_peer_view(l->sync, 0, &v);
	assert_true(v.ready && !v.push_ready);
	lab_free(l);
}

static void blocks_pass_a_transaction_stuck_half_way_and_so_do_penalties(void **state)
{
	struct lab *l = ready_lab(1, 8);
	struct hash256 big, small;

	(void)state;
	/* Long after it last said something: the stall counts from now. */
	lab_run(l, 20 * LAB_S, 10 * LAB_MS);
	l->push[0].window = 1000;
	big = send_tx(l, 1, 1, 100000);
	l->push[0].window = UINT32_MAX;
	extend(l, 40);
	assert_true(lab_reach(l, l->node[0].tip, LAB_S));
	lab_run(l, 1500 * LAB_MS, LAB_MS);
	assert_int_equal(l->node[0].tx_cnt + l->push[0].tx_cnt + l->result_cnt, 0);
	/* The next one takes the other way at once .. */
	small = send_tx(l, 2, 1, 300);
	expect_tx(&l->node[0], 1, &small);
	expect_result(l, 0, 2, LINK_BCAST_SENT, 1);
	/* .. and the stuck one as well when its connection is given up. */
	lab_run(l, 4 * LAB_S, LAB_MS);
	assert_int_equal(lab_counter(l, "push_drop_send_stall_total"), 1);
	assert_int_equal(lab_counter(l, "tx_moved_total"), 1);
	expect_tx(&l->node[0], 2, &big);
	expect_result(l, 1, 1, LINK_BCAST_SENT, 1);
	/* A new connection begins with a whole message. */
	l->push[0].window = 60000;
	lab_run(l, LAB_S, LAB_MS);
	small = send_tx(l, 3, 1, 300);
	expect_tx(&l->push[0], 1, &small);
	expect_blocks_unhurt(l);
	lab_free(l);
}

static void what_waits_behind_blocks_takes_the_new_push_connection(void **state)
{
	struct lab *l = ready_lab(1, 9);
	struct hash256 first, second;

	(void)state;
	l->push[0].refuse = true;
	lab_reset(&l->push[0]);
	l->node[0].window = 1000;
	first = send_tx(l, 1, 1, 50000);
	l->node[0].window = UINT32_MAX;
	second = send_tx(l, 2, 1, 300);
	assert_int_equal(l->result_cnt, 0);
	l->push[0].refuse = false;
	lab_run(l, LAB_S, LAB_MS);
	expect_tx(&l->push[0], 1, &second);
	expect_result(l, 0, 2, LINK_BCAST_SENT, 1);
	/* What was begun is finished where it was begun. */
	l->node[0].window = 60000;
	lab_run(l, 50 * LAB_MS, LAB_MS);
	expect_tx(&l->node[0], 1, &first);
	assert_int_equal(l->push[0].tx_cnt, 1);
	lab_free(l);
}

static void a_transaction_lost_with_the_block_connection_goes_by_the_other(void **state)
{
	struct lab *l = ready_lab(2, 10);
	struct hash256 hash;

	(void)state;
	l->push[0].refuse = true;
	lab_reset(&l->push[0]);
	l->node[0].window = 1000;
	hash = send_tx(l, 1, 1, 50000);
	l->node[0].window = UINT32_MAX;
	expect_tx(&l->push[1], 1, &hash);
	l->push[0].refuse = false;
	lab_run(l, 500 * LAB_MS, LAB_MS);
	assert_true(l->push[0].up);
	assert_int_equal(l->result_cnt, 0);
	lab_reset(&l->node[0]);
	expect_tx(&l->push[0], 1, &hash);
	expect_result(l, 0, 1, LINK_BCAST_SENT, 2); /* two peers, three connections */
	lab_run(l, 2 * LAB_S, LAB_MS);
	assert_int_equal(l->result_cnt, 1);
	lab_free(l);
}

static void a_session_ends_with_both_connections_and_another_begins_with_both(void **state)
{
	(void)state;
	for (unsigned slow = 0; slow < 2; slow++) {
		struct lab *l = ready_lab(2, 11 + slow);
		struct hash256 hash;

		l->slow_close = slow;
		l->push[0].window = 1000;
		send_tx(l, 1, 1, 100000);
		sync_session_stop(l->sync);
		for (unsigned i = 0; i < 2; i++)
			assert_false(l->node[i].linked || l->push[i].linked);
		lab_run(l, LAB_S, LAB_MS);
		for (unsigned i = 0; i < 2; i++)
			assert_false(l->node[i].listening || l->push[i].listening);
		assert_int_equal(lab_counter(l, "push_ready_peers"), 0);
		assert_int_equal(lab_counter(l, "tx_kept"), 0);
		l->result_cnt = 0;
		send_tx(l, 2, 1, 300);
		expect_result(l, 0, 2, LINK_BCAST_NO_PEER, 0);
		l->push[0].window = 0;
		l->started = false;
		lab_start(l);
		lab_run(l, LAB_S, LAB_MS);
		hash = send_tx(l, 3, 1, 300);
		expect_tx(&l->push[0], 1, &hash);
		expect_result(l, 1, 3, LINK_BCAST_SENT, 2);
		lab_free(l);
	}
}

static void a_block_on_it_is_a_block_nobody_asked_for(void **state)
{
	struct lab *l = ready_lab(1, 13);
	uint8_t raw[4096];

	(void)state;
	lab_body(&l->block[1], raw);
	lab_send(&l->push[0], P2P_BLOCK, raw, l->block[1].sz);
	lab_run(l, 20 * LAB_MS, LAB_MS);
	assert_int_equal(lab_counter(l, "push_drop_unrequested_block_total"), 1);
	extend(l, 20);
	expect_blocks_unhurt(l);
	assert_int_equal(lab_counter(l, "peer_drop_unrequested_block_total"), 0);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_dialled_after_the_block_connection_and_kept_alive),
		cmocka_unit_test(a_node_that_drops_the_sender_of_a_bad_penalty_goes_on_giving_blocks),
		cmocka_unit_test(a_bad_penalty_on_the_block_connection_bars_that_way_for_a_minute),
		cmocka_unit_test(a_node_that_grants_one_connection_works),
		cmocka_unit_test(a_node_that_keeps_the_newest_connection_is_not_dialled_in_circles),
		cmocka_unit_test(it_makes_room_when_the_block_connection_does_not_come_back),
		cmocka_unit_test(blocks_pass_a_transaction_stuck_half_way_and_so_do_penalties),
		cmocka_unit_test(what_waits_behind_blocks_takes_the_new_push_connection),
		cmocka_unit_test(a_transaction_lost_with_the_block_connection_goes_by_the_other),
		cmocka_unit_test(a_session_ends_with_both_connections_and_another_begins_with_both),
		cmocka_unit_test(a_block_on_it_is_a_block_nobody_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
