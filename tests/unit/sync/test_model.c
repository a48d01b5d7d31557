/* Random peers, faults, reorgs, transactions and sessions; whatever happened, the events applied to a plain list end
   as the best chain, and a transaction reaches every node once.  The seed under way is printed; VIGIL_SYNC_SEED runs one alone, VIGIL_SYNC_SEED_LAST more than usual. */
#include "lab.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t draw(uint32_t *r, uint32_t below)
{
	*r = *r * 1664525u + 1013904223u;
	return (*r >> 8) % below;
}

/* A new chain for one node or all: longer, or a fork of a random depth. */
static void change_chain(struct lab *l, uint32_t *r, uint32_t *tip)
{
	uint32_t height = l->block[*tip].height;
	uint32_t depth = draw(r, 3) == 0 ? draw(r, height < 12 ? height + 1 : 12) : 0;
	uint32_t fork = lab_ancestor(l, *tip, height - depth);
	uint32_t branch = lab_mine(l, fork, depth + draw(r, draw(r, 3) == 0 ? 60 : 6));

	for (uint32_t i = 0; i < l->node_cnt; i++)
		if (draw(r, 3) != 0)
			lab_set_tip(&l->node[i], branch);
	if (l->block[branch].height > height)
		*tip = branch;
}

/* A branch that has more work and that nobody can follow, at some nodes. */
static void fake_chain(struct lab *l, uint32_t *r, const uint32_t *tip)
{
	uint32_t height = l->block[*tip].height;
	uint32_t fork = lab_ancestor(l, *tip, height - draw(r, height < 12 ? height + 1 : 12));
	uint32_t branch = lab_mine(l, fork, draw(r, 4));
	uint32_t bad = draw(r, 2) == 0 ? lab_mine_invalid(l, branch) : lab_mine(l, branch, 1);

	if (l->block[bad].body == LAB_BODY_GOOD)
		l->block[bad].body = draw(r, 2) == 0 ? LAB_BODY_WITHHELD : LAB_BODY_BROKEN;
	branch = lab_mine(l, bad, 12 + draw(r, 6));
	for (uint32_t i = 0; i < l->node_cnt; i++)
		if (draw(r, 2) != 0)
			lab_set_tip(&l->node[i], branch);
}

static void restart(struct lab *l)
{
	/* As control does: what came out of the scan is durable, the rest of the session is forgotten. */
	uint32_t height = l->list_tip, block = 0;

	for (uint32_t i = l->block_cnt; i-- > 0;)
		if (hash256_eq(&l->block[i].hash, &l->list[height]))
			block = i;
	sync_session_stop(l->sync);
	while (l->pending_cnt > 0) {
		struct chain_event ev = l->pending[--l->pending_cnt];
		struct chain_event *first = &l->pending[0];

		if (l->pending_cnt > 0) {
			struct chain_event last = ev;

			ev = *first;
			memmove(first, first + 1, (l->pending_cnt - 1) * sizeof(ev));
			l->pending[l->pending_cnt - 1] = last;
		}
		if (ev.buf != NULL)
			sync_block_done(l->sync, &ev, BLOCK_CANCELLED, l->now_ns);
	}
	assert_int_equal(lab_bufs_used(l), 0);
	l->started = false;
	l->connects = l->disconnects = 0;
	/* All headers: a reorg below the root could not be followed. */
	lab_resume(l, block, height);
}

static void send_tx(struct lab *l, uint64_t cookie, uint8_t first, size_t sz)
{
	struct hash256 txid = {{0}};
	uint8_t *raw = malloc(sz);

	memset(raw, (int)sz & 0x7f, sz);
	raw[0] = first;
	memcpy(txid.b, &cookie, sizeof(cookie));
	for (uint32_t i = 0; i < l->node_cnt; i++)
		l->node[i].tx_cnt = l->push[i].tx_cnt = 0;
	l->result_cnt = 0;
	sync_broadcast(l->sync, cookie, &txid, raw, sz, l->now_ns);
	free(raw);
}

/* Each has what was sent last, and has it once. */
static void expect_everywhere(struct lab *l, uint64_t cookie)
{
	for (uint32_t i = 0; i < l->node_cnt; i++)
		assert_int_equal(l->node[i].tx_cnt + l->push[i].tx_cnt, 1);
	assert_int_equal(l->result_cnt, 1);
	assert_int_equal(l->result[0].cookie, cookie);
	assert_int_equal(l->result[0].peer_cnt, l->node_cnt);
}

static void act(struct lab *l, uint32_t *r, uint32_t *tip)
{
	uint32_t i = draw(r, l->node_cnt);
	struct lab_node *n = draw(r, 3) == 0 ? &l->push[i] : &l->node[i];

	switch (draw(r, 19)) {
	case 0:
	case 1:
	case 2:
		change_chain(l, r, tip);
		break;
	case 3:
		lab_reset(n);
		break;
	case 4:
	case 5:
		n->fault = (enum lab_fault)draw(r, LAB_FAULT_CNT);
		if (n->fault == LAB_LATE)
			n->fault = LAB_GOOD; /* for a test that delivers by hand */
		break;
	case 6:
		n->fault = LAB_GOOD;
		n->refuse = draw(r, 3) == 0;
		break;
	case 7:
		n->window = draw(r, 2) == 0 ? 0 : 1 + draw(r, 300);
		break;
	case 8:
		l->scan_holds = draw(r, 2);
		break;
	case 9:
		l->cut_max = 1 + draw(r, 8000);
		break;
	case 10:
		lab_run(l, (1 + draw(r, 40)) * LAB_S, 50 * LAB_MS);
		break;
	case 11:
		if (l->started && draw(r, 2) == 0)
			restart(l);
		break;
	case 12:
		l->node[i].only_one = draw(r, 2);
		l->node[i].newest_only = draw(r, 6) == 0;
		break;
	case 13:
		send_tx(l, l->now_ns, draw(r, 4) == 0 ? LAB_BAD_TX : 1, 1 + draw(r, 3000));
		break;
	case 15:
		n->rate = draw(r, 2) == 0 ? 0 : 1 + draw(r, draw(r, 2) == 0 ? 100 : 100000);
		n->rate_ns = l->now_ns;
		break;
	case 16:
		n->delay_ns = draw(r, 2) == 0 ? 0 : draw(r, 40) * LAB_S;
		l->node[i].keeps = draw(r, 3) == 0 ? draw(r, l->block[*tip].height + 1) : 0;
		l->node[i].old = (int)draw(r, 3);
		break;
	case 17:
		if (l->started) /* a new tower believes in the work above which it begins */
			fake_chain(l, r, tip);
		break;
	case 14:
		lab_reset(&l->node[i]);
		lab_reset(&l->push[i]);
		break;
	case 18:
		/* Off the best chain, and so without effect on the list. */
		sync_stale_scan(l->sync, l->now_ns, &(struct hash256){{0}}, l->now_ns);
		break;
	}
	lab_run(l, (1 + draw(r, draw(r, 2) == 0 ? 200 : 8)) * LAB_MS, LAB_MS);
}

static bool everybody_ready(struct lab *l)
{
	struct sync_chain_view v;

	sync_chain_view(l->sync, &v);
	return v.ready_peers == l->node_cnt && lab_counter(l, "push_ready_peers") == l->node_cnt;
}

static void whatever_happens_the_list_ends_as_the_best_chain(void **state)
{
	const char *text = getenv("VIGIL_SYNC_SEED");
	const char *more = getenv("VIGIL_SYNC_SEED_LAST");
	uint32_t first = text != NULL ? (uint32_t)strtoul(text, NULL, 0) : 1;
	uint32_t last = more != NULL ? (uint32_t)strtoul(more, NULL, 0) : text != NULL ? first : 200;

	(void)state;
	for (uint32_t seed = first; seed <= last; seed++) {
		uint32_t r = seed * 7919, tip;
		struct lab *l = lab_new(1 + draw(&r, 4), seed);

		print_message("seed %u\n", seed);
		l->buf_cnt = 1 + draw(&r, LAB_BUF_MAX);
		l->slow_close = draw(&r, 2);
		tip = lab_mine(l, 0, draw(&r, 100));
		for (uint32_t i = 0; i < l->node_cnt; i++)
			lab_set_tip(&l->node[i], lab_ancestor(l, tip, draw(&r, l->block[tip].height + 1)));
		if (draw(&r, 2) == 0)
			lab_start(l);
		else
			lab_resume(l, lab_ancestor(l, tip, l->block[tip].height / 2), l->block[tip].height / 2);
		for (unsigned i = 0; i < 100; i++)
			act(l, &r, &tip);
		/* Peace: everybody has the best chain, plus some blocks so that it is: a fake one is good at first. */
		tip = lab_mine(l, tip, 5);
		l->scan_holds = false;
		l->cut_max = 3000;
		for (uint32_t i = 0; i < l->node_cnt; i++) {
			l->node[i].fault = LAB_GOOD;
			l->node[i].refuse = false;
			l->node[i].window = 0;
			l->node[i].dead = false;
			l->node[i].rate = l->push[i].rate = l->node[i].keeps = 0;
			l->node[i].delay_ns = l->node[i].hold_ns = 0;
			l->push[i].delay_ns = l->push[i].hold_ns = 0;
			l->node[i].only_one = l->node[i].newest_only = false;
			l->push[i].fault = LAB_GOOD;
			l->push[i].refuse = l->push[i].dead = false;
			l->push[i].window = 0;
			lab_set_tip(&l->node[i], tip);
		}
		assert_true(lab_reach(l, tip, 2000 * LAB_S));
		lab_check_list(l, tip);
		for (unsigned k = 0; k < 1000 && !everybody_ready(l); k++)
			lab_run(l, LAB_S, 100 * LAB_MS);
		send_tx(l, seed, 1, 500);
		expect_everywhere(l, seed);
		for (uint32_t i = 0; i < l->node_cnt; i++)
			assert_int_equal(l->push[i].tx_cnt, 1);
		lab_free(l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_happens_the_list_ends_as_the_best_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
