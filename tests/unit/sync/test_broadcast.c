/* Pushing transactions: to whom, what is reported, and that nothing else suffers from it. */
#include "lab.h"

#include <stdlib.h>

#include "btc/sha256.h"
#include "link/link_wire.h"

static void send_tx(struct lab *l, uint64_t cookie, size_t sz, struct hash256 *hash)
{
	struct hash256 txid = {{(uint8_t)cookie, 9}};
	uint8_t *raw = malloc(sz);

	for (size_t i = 0; i < sz; i++)
		raw[i] = (uint8_t)(cookie + i);
	*hash = sha256d(raw, sz);
	sync_broadcast(l->sync, cookie, &txid, raw, sz, l->now_ns);
	free(raw);
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
	return l;
}

static void a_transaction_goes_to_every_ready_peer_at_once(void **state)
{
	struct lab *l = ready_lab(3, 1);
	struct hash256 hash;

	(void)state;
	send_tx(l, 77, 300, &hash);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(l->push[i].tx_cnt, 1);
		assert_memory_equal(l->push[i].tx[0].b, hash.b, HASH_SZ);
		assert_int_equal(l->node[i].tx_cnt, 0);
	}
	assert_int_equal(l->result_cnt, 1);
	assert_int_equal(l->result[0].cookie, 77);
	assert_int_equal(l->result[0].status, LINK_BCAST_SENT);
	assert_int_equal(l->result[0].peer_cnt, 3);
	lab_run(l, 5 * LAB_S, 10 * LAB_MS);
	assert_int_equal(l->result_cnt, 1);
	lab_free(l);
}

static void without_a_ready_peer_it_is_refused_at_once(void **state)
{
	struct lab *l = lab_new(1, 2);
	struct hash256 hash;

	(void)state;
	send_tx(l, 1, 300, &hash);
	l->node[0].fault = LAB_SILENT;
	lab_start(l);
	lab_run(l, 100 * LAB_MS, LAB_MS);
	send_tx(l, 2, 300, &hash);
	assert_int_equal(l->result_cnt, 2);
	assert_int_equal(l->result[0].status, LINK_BCAST_NO_PEER);
	assert_int_equal(l->result[1].status, LINK_BCAST_NO_PEER);
	lab_free(l);
}

static void a_partial_send_goes_on_when_the_transport_has_room(void **state)
{
	struct lab *l = ready_lab(1, 3);
	struct hash256 hash[3];

	(void)state;
	l->push[0].window = 1000;
	for (unsigned i = 0; i < 3; i++)
		send_tx(l, i, 100000, &hash[i]);
	assert_int_equal(l->push[0].tx_cnt, 0);
	assert_int_equal(l->result_cnt, 0);
	lab_run(l, 500 * LAB_MS, LAB_MS);
	assert_int_equal(l->push[0].tx_cnt, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_memory_equal(l->push[0].tx[i].b, hash[i].b, HASH_SZ);
		assert_int_equal(l->result[i].cookie, i);
		assert_int_equal(l->result[i].status, LINK_BCAST_SENT);
	}
	lab_free(l);
}

static void a_slow_peer_does_not_delay_the_report_by_more_than_a_second(void **state)
{
	struct lab *l = ready_lab(2, 4);
	struct hash256 hash;

	(void)state;
	l->push[0].window = UINT32_MAX;
	send_tx(l, 5, 500, &hash);
	assert_int_equal(l->result_cnt, 0);
	lab_run(l, 1100 * LAB_MS, LAB_MS);
	assert_int_equal(l->result_cnt, 1);
	assert_int_equal(l->result[0].status, LINK_BCAST_SENT);
	assert_int_equal(l->result[0].peer_cnt, 1);
	lab_free(l);
}

static void a_peer_that_dies_before_it_has_it_does_not_count(void **state)
{
	struct lab *l = ready_lab(1, 5);
	struct hash256 hash;

	(void)state;
	l->node[0].window = l->push[0].window = UINT32_MAX;
	send_tx(l, 6, 500, &hash);
	lab_reset(&l->push[0]);
	assert_int_equal(l->result_cnt, 0);
	lab_reset(&l->node[0]);
	assert_int_equal(l->result_cnt, 1);
	assert_int_equal(l->result[0].status, LINK_BCAST_NO_PEER);
	l->node[0].window = l->push[0].window = 0;
	lab_run(l, 500 * LAB_MS, LAB_MS);
	assert_true(l->node[0].up && l->push[0].up);
	/* Control decides whether to try again. */
	assert_int_equal(l->node[0].tx_cnt + l->push[0].tx_cnt, 0);
	send_tx(l, 7, 500, &hash);
	assert_int_equal(l->push[0].tx_cnt, 1);
	assert_int_equal(l->result[1].status, LINK_BCAST_SENT);
	lab_free(l);
}

static void announce(struct lab_node *n, uint8_t cookie)
{
	struct p2p_inv_item item = {.type = P2P_INV_TX, .hash = {{cookie, 9}}};
	uint8_t out[3 + P2P_INV_STRIDE];

	lab_send(n, P2P_INV, out, p2p_inv_encode(out, &item, 1));
	lab_run(n->lab, 50 * LAB_MS, LAB_MS);
}

static void an_announcement_counts_only_from_a_peer_we_did_not_push_to(void **state)
{
	struct lab *l = ready_lab(3, 6);
	struct hash256 hash;

	(void)state;
	lab_reset(&l->node[2]);
	lab_reset(&l->push[2]);
	send_tx(l, 8, 400, &hash);
	assert_int_equal(l->result[0].peer_cnt, 2);
	lab_run(l, LAB_S, LAB_MS);
	assert_true(l->push[2].up);
	announce(&l->push[0], 8);
	announce(&l->push[2], 99);
	assert_int_equal(l->result_cnt, 1);
	announce(&l->push[2], 8);
	assert_int_equal(l->result_cnt, 2);
	assert_int_equal(l->result[1].cookie, 8);
	assert_int_equal(l->result[1].status, LINK_BCAST_ANNOUNCED);
	announce(&l->push[2], 8);
	assert_int_equal(l->result_cnt, 2);
	lab_free(l);
}

static void it_stays_servable_for_twenty_minutes(void **state)
{
	struct lab *l = ready_lab(1, 7);
	struct p2p_inv_item item[2] = {{.type = P2P_INV_WITNESS_TX, .hash = {{9, 9}}},
				       {.type = P2P_INV_WITNESS_TX, .hash = {{10, 10}}}};
	uint8_t out[3 + 2 * P2P_INV_STRIDE];
	size_t sz = p2p_inv_encode(out, item, 2);
	struct hash256 hash;

	(void)state;
	send_tx(l, 9, 400, &hash);
	lab_send(&l->node[0], P2P_GETDATA, out, sz);
	lab_send(&l->push[0], P2P_GETDATA, out, sz);
	lab_run(l, 100 * LAB_MS, LAB_MS);
	assert_int_equal(l->node[0].tx_cnt, 1);
	assert_memory_equal(l->node[0].tx[0].b, hash.b, HASH_SZ);
	assert_int_equal(l->node[0].served_notfound, 1);
	assert_int_equal(l->push[0].tx_cnt, 2);
	assert_memory_equal(l->push[0].tx[1].b, hash.b, HASH_SZ);
	assert_int_equal(l->push[0].served_notfound, 1);
	assert_int_equal(lab_counter(l, "tx_kept"), 1);
	lab_run(l, 1201 * LAB_S, 100 * LAB_MS);
	assert_int_equal(lab_counter(l, "tx_kept"), 0);
	lab_send(&l->push[0], P2P_GETDATA, out, sz);
	lab_run(l, 100 * LAB_MS, LAB_MS);
	assert_int_equal(l->push[0].tx_cnt, 2);
	assert_int_equal(l->push[0].served_notfound, 2);
	lab_free(l);
}

static void a_peer_that_drops_us_for_a_bad_transaction_holds_up_no_block(void **state)
{
	struct lab *l = ready_lab(2, 8);
	uint32_t tip = lab_mine(l, l->node[0].tip, 40);
	struct hash256 hash;

	(void)state;
	lab_set_tip(&l->node[0], tip);
	lab_set_tip(&l->node[1], tip);
	lab_run(l, 3 * LAB_MS, LAB_MS);
	send_tx(l, 11, 400, &hash);
	lab_reset(&l->node[0]);
	assert_true(lab_reach(l, tip, LAB_S));
	lab_check_list(l, tip);
	lab_free(l);
}

static void many_transactions_are_bounded_and_each_gets_an_answer(void **state)
{
	struct lab *l = ready_lab(1, 9);
	uint8_t raw[2000] = {0};
	uint64_t refused;

	(void)state;
	l->push[0].window = UINT32_MAX;
	for (uint32_t i = 0; i < 70000; i++) {
		struct hash256 txid = {{0}};

		memcpy(txid.b, &i, sizeof(i));
		l->result_cnt = 0;
		sync_broadcast(l->sync, i, &txid, raw, sizeof(raw), l->now_ns);
	}
	refused = lab_counter(l, "tx_refused_total");
	assert_int_equal(refused + lab_counter(l, "tx_kept"), 70000);
	assert_true(lab_counter(l, "tx_kept") * 2024 <= 64u << 20);
	l->result_cnt = 0;
	lab_free(l);
}

/* ---- what peers did with it ---- */

/* A transaction that can be read, and its txid. */
static struct hash256 real_tx(struct lab *l, uint64_t cookie)
{
	static const uint8_t raw[63] = {1,    0,    0,    0,    1,    7, [37] = 1, [41] = 2, 0x51,
					0x51, 0xff, 0xff, 0xff, 0xff, 1, [57] = 1, 0x51};
	struct hash256 txid = sha256d(raw, sizeof(raw));

	sync_broadcast(l->sync, cookie, &txid, raw, sizeof(raw), l->now_ns);
	return txid;
}

static void each_peer_is_asked_for_it_back_until_it_has_it(void **state)
{
	struct lab *l = ready_lab(3, 20);

	(void)state;
	l->push[0].keeps_tx = true; /* and shows it at once; the second does after a while, the third never */
	real_tx(l, 5);
	assert_int_equal(l->result_cnt, 1);
	assert_int_equal(l->result[0].peers.written, 7);
	lab_run(l, LAB_S, LAB_MS);
	assert_int_equal(l->push[0].tx_asked, 0);
	lab_run(l, 2 * LAB_S, LAB_MS);
	assert_int_equal(l->push[0].tx_asked, 1);
	assert_int_equal(l->push[2].tx_asked, 1);
	assert_int_equal(l->result_cnt, 2);
	assert_int_equal(l->result[1].status, LINK_BCAST_HELD);
	assert_int_equal(l->result[1].cookie, 5);
	assert_int_equal(l->result[1].peers.held, 1);
	assert_int_equal(l->news_cnt, 0);
	memcpy(l->push[1].kept, l->push[0].kept, l->push[0].kept_sz);
	l->push[1].kept_sz = l->push[0].kept_sz;
	lab_run(l, 9 * LAB_S, LAB_MS);
	assert_int_equal(l->push[0].tx_asked, 1);
	assert_int_equal(l->result_cnt, 2); /* once is enough for a verdict */
	assert_int_equal(l->news.peers.held, 3);
	assert_int_equal(l->news.peers.missing, 0);
	lab_run(l, 60 * LAB_S, 10 * LAB_MS);
	assert_int_equal(l->push[1].tx_asked, 2);
	assert_int_equal(l->push[2].tx_asked, 3);
	assert_int_equal(l->news.peers.held, 3);
	assert_int_equal(l->news.peers.missing, 4);
	assert_int_equal(l->news_cnt, 2);
	lab_run(l, 300 * LAB_S, 50 * LAB_MS);
	assert_int_equal(l->push[2].tx_asked, 3);
	assert_int_equal(lab_counter(l, "tx_probes_total"), 6);
	lab_free(l);
}

static void reject(struct lab_node *n, uint8_t code, const struct hash256 *txid)
{
	uint8_t out[3 + 1 + 5 + HASH_SZ] = {2, 't', 'x', code, 4, 'd', 'u', 's', 't'};

	memcpy(out + 9, txid->b, HASH_SZ);
	lab_send(n, P2P_REJECT, out, sizeof(out));
}

static void a_peer_that_rejects_it_lacks_it_until_it_shows_it(void **state)
{
	struct lab *l = ready_lab(3, 22);
	struct hash256 txid, stranger = {{9}};

	(void)state;
	l->push[0].keeps_tx = true;
	txid = real_tx(l, 8);
	reject(&l->push[0], 0x40, &txid);
	reject(&l->push[1], 0x10, &txid);
	reject(&l->push[2], 0x12, &txid); /* a duplicate: it may have it */
	reject(&l->push[2], 0x40, &stranger);
	lab_send(&l->push[2], P2P_REJECT, NULL, 0);
	lab_run(l, 300 * LAB_MS, LAB_MS);
	assert_int_equal(l->news.cookie, 8);
	assert_int_equal(l->news.peers.missing, 3);
	assert_int_equal(lab_counter(l, "tx_rejected_total"), 2);
	/* It said so by mistake, or was sent it by another meanwhile. */
	lab_run(l, 3 * LAB_S, LAB_MS);
	assert_int_equal(l->result[l->result_cnt - 1].status, LINK_BCAST_HELD);
	assert_int_equal(l->result[l->result_cnt - 1].peers.held, 1);
	assert_int_equal(l->result[l->result_cnt - 1].peers.missing, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_true(l->push[i].up);
	lab_free(l);
}

static void a_peer_that_asks_for_it_and_one_that_hangs_up_on_it_are_named(void **state)
{
	struct lab *l = ready_lab(3, 21);
	struct p2p_inv_item item = {.type = P2P_INV_WITNESS_TX};
	uint8_t out[3 + P2P_INV_STRIDE];

	(void)state;
	item.hash = real_tx(l, 6);
	lab_reset(&l->push[1]); /* as a node that finds it invalid */
	lab_send(&l->push[2], P2P_GETDATA, out, p2p_inv_encode(out, &item, 1));
	lab_run(l, 300 * LAB_MS, LAB_MS);
	assert_int_equal(l->news.cookie, 6);
	assert_int_equal(l->news.peers.written, 7);
	assert_int_equal(l->news.peers.lost, 2);
	assert_int_equal(l->news.peers.asked, 4);
	/* Later it is nobody's fault. */
	lab_run(l, 5 * LAB_S, LAB_MS);
	lab_reset(&l->push[0]);
	lab_run(l, LAB_S, LAB_MS);
	assert_int_equal(l->news.peers.lost, 2);
	lab_free(l);
}

static void a_transaction_nobody_asked_for_is_no_proof(void **state)
{
	static const uint8_t rubbish[40] = {1, 2, 3};
	struct lab *l = ready_lab(2, 22);

	(void)state;
	l->push[0].keeps_tx = true;
	real_tx(l, 7);
	/* Given back before it was asked for; and things that are not ours, or no transactions. */
	lab_send(&l->push[0], P2P_TX, l->push[0].kept, l->push[0].kept_sz);
	lab_send(&l->push[1], P2P_TX, rubbish, sizeof(rubbish));
	lab_run(l, 500 * LAB_MS, LAB_MS);
	assert_int_equal(l->result_cnt, 1);
	assert_int_equal(l->news_cnt, 0);
	assert_true(l->push[0].up && l->push[1].up);
	lab_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_transaction_goes_to_every_ready_peer_at_once),
		cmocka_unit_test(without_a_ready_peer_it_is_refused_at_once),
		cmocka_unit_test(a_partial_send_goes_on_when_the_transport_has_room),
		cmocka_unit_test(a_slow_peer_does_not_delay_the_report_by_more_than_a_second),
		cmocka_unit_test(a_peer_that_dies_before_it_has_it_does_not_count),
		cmocka_unit_test(an_announcement_counts_only_from_a_peer_we_did_not_push_to),
		cmocka_unit_test(it_stays_servable_for_twenty_minutes),
		cmocka_unit_test(a_peer_that_drops_us_for_a_bad_transaction_holds_up_no_block),
		cmocka_unit_test(many_transactions_are_bounded_and_each_gets_an_answer),
		cmocka_unit_test(each_peer_is_asked_for_it_back_until_it_has_it),
		cmocka_unit_test(a_peer_that_rejects_it_lacks_it_until_it_shows_it),
		cmocka_unit_test(a_peer_that_asks_for_it_and_one_that_hangs_up_on_it_are_named),
		cmocka_unit_test(a_transaction_nobody_asked_for_is_no_proof),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
