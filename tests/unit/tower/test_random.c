/* Random stories: whatever happens, counters equal rows, what is watched is what must be, and blocks can be taken back to
   the byte. */
#include "sim.h"

#define USERS   4u
#define STORIES 10u
#define POOL    40u

struct world {
	struct sim s;
	struct tx d[POOL], good[POOL], bad[POOL];
	uint64_t rnd;
};

static uint32_t rnd(struct world *w, uint32_t below)
{
	w->rnd = w->rnd * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w->rnd >> 33) % below;
}

static bool on_chain(const struct world *w, const struct tx *x)
{
	for (uint32_t b = 0; b < w->s.chain_cnt; b++)
		for (uint32_t i = 0; i < w->s.chain[b].tx_cnt; i++)
			if (w->s.chain[b].tx[i] == x)
				return true;
	return false;
}

static void mine_some(struct world *w)
{
	const struct tx *in[SIM_TX_MAX];
	uint32_t cnt = 0;

	for (uint32_t k = rnd(w, 5); k > 0; k--) {
		uint32_t i = rnd(w, POOL);

		if (on_chain(w, &w->d[i]))
			continue;
		in[cnt++] = &w->d[i];
		if (rnd(w, 4) == 0)
			in[cnt++] = &w->good[i]; /* in the same block */
		/* The chain is not consulted about this block's own: no two of one kind. */
		break;
	}
	for (uint32_t k = rnd(w, 3); k > 0; k--) {
		uint32_t i = rnd(w, POOL);

		if (on_chain(w, &w->d[i]) && !on_chain(w, &w->good[i])) {
			in[cnt++] = &w->good[i];
			break;
		}
	}
	sim_mine_list(&w->s, in, cnt);
}

static void watch_some(struct world *w)
{
	uint32_t i = rnd(w, POOL);
	enum tower_status st = sim_watch(&w->s, 1 + rnd(w, USERS), &w->d[i],
					 rnd(w, 4) == 0 ? &w->bad[i] : &w->good[i], rnd(w, 2));

	assert_true(st == TOWER_OK || st == TOWER_AUTH || st == TOWER_TRIGGERED);
}

static void take_back(struct world *w)
{
	struct sim *s = &w->s;
	uint32_t depth = 1 + rnd(w, 12);
	char *a, *b;

	sim_settle(s);
	a = sim_dump(s);
	for (uint32_t i = 0; i < depth; i++)
		mine_some(w);
	sim_check(s);
	if (rnd(w, 3) == 0) {
		sim_restart(s);
		sim_check(s);
	}
	sim_disconnect(s, depth);
	b = sim_dump(s);
	assert_dump_equal(a, b);
	free(a);
	free(b);
}

static void step(struct world *w)
{
	struct sim *s = &w->s;

	s->sent_cnt = 0;
	switch (rnd(w, 12)) {
	case 0:
		sim_register(s, 1 + rnd(w, USERS), NULL);
		break;
	case 1:
	case 2:
	case 3:
	case 4:
		watch_some(w);
		break;
	case 5:
	case 6:
	case 7:
		mine_some(w);
		break;
	case 8:
		sim_mine_empty(s, 1 + rnd(w, 15));
		break;
	case 9:
		take_back(w);
		break;
	case 10:
		if (s->chain_cnt > 12)
			sim_disconnect(s, 1 + rnd(w, 8));
		break;
	case 11:
		sim_restart(s);
		break;
	}
	sim_check(s);
}

static void random_stories_keep_every_count_and_can_be_taken_back(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	(void)state;
	assert_non_null(w);
	for (uint32_t i = 0; i < POOL; i++) {
		w->d[i] = tx_make(i);
		w->good[i] = tx_spend(&w->d[i], i % 2, 100 + i);
		w->bad[i] = tx_spend(&w->d[i], 7, 200 + i);
	}
	for (uint64_t seed = 1; seed <= STORIES; seed++) {
		w->rnd = seed * 77;
		sim_open(&w->s);
		w->s.cfg.subscription_duration = 40;
		w->s.cfg.subscription_slots = 12;
		sim_restart(&w->s);
		for (unsigned u = 1; u <= USERS; u++)
			sim_register(&w->s, u, NULL);
		/* Below the depth at which rows are deleted for good. */
		for (unsigned n = 0; n < 120 && w->s.chain_cnt < TOWER_UNDO_DEPTH - 20; n++)
			step(w);
		sim_close(&w->s);
	}
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_stories_keep_every_count_and_can_be_taken_back),
	};

	return cmocka_run_group_tests_name("tower/random", tests, NULL, NULL);
}
