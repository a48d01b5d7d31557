/* The model scenarios of tests/vectors/teos/scenarios.json, step by step. */
#include "sim.h"

#include <jansson.h>

static json_t *vec;

static int load(void **state)
{
	const char *dir = getenv("VIGIL_VECTORS");
	char path[4096];
	json_error_t err;

	(void)state;
	assert_non_null(dir);
	snprintf(path, sizeof(path), "%s/teos/scenarios.json", dir);
	vec = json_load_file(path, 0, &err);
	return vec == NULL ? -1 : 0;
}

static int unload(void **state)
{
	(void)state;
	json_decref(vec);
	return 0;
}

static uint32_t num(json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	assert_true(json_is_integer(v));
	return (uint32_t)json_integer_value(v);
}

static bool has(json_t *o, const char *key)
{
	return json_object_get(o, key) != NULL;
}

static const char *str(json_t *o, const char *key)
{
	const char *v = json_string_value(json_object_get(o, key));

	assert_non_null(v);
	return v;
}

/* --- subscriptions -------------------------------------------------------------------------------------------- */

struct play {
	struct sim s;
	struct tx dispute[10], penalty[10];
};

static unsigned place(json_t *step)
{
	const char *l = str(step, "locator");

	assert_true(l[0] == 'l' && l[1] >= '1' && l[1] <= '9' && l[2] == '\0');
	return (unsigned)(l[1] - '0');
}

static void to_height(struct sim *s, uint32_t height)
{
	if (s->start == 0)
		sim_begin_at(s, height);
	else
		sim_mine_empty(s, height - sim_tip(s));
}

static void step_tip(struct play *p, json_t *step)
{
	struct user_id id = sim_user(1);
	struct tower_user_info u;
	struct tower_info info;
	bool expired, gone;

	to_height(&p->s, num(step, "height"));
	gone = json_array_size(json_object_get(step, "deleted_users")) > 0;
	if (!gone)
		return;
	assert_int_equal(tower_user(p->s.t, &id, &u, &expired), TOWER_AUTH);
	assert_false(expired);
	tower_info_get(p->s.t, &info);
	assert_int_equal(info.users, 0);
	assert_int_equal(info.appointments, 0);
}

static void step_register(struct play *p, json_t *step)
{
	struct tower_user_info u;
	enum tower_status st = sim_register(&p->s, 1, &u);

	if (has(step, "error_code")) {
		assert_int_equal(num(step, "error_code"), 65);
		assert_int_equal(st, TOWER_SLOTS_EXHAUSTED);
		return;
	}
	assert_int_equal(st, TOWER_OK);
	assert_int_equal(u.available_slots, num(step, "slots"));
	assert_int_equal(u.subscription_start, num(step, "start"));
	assert_int_equal(u.subscription_expiry, num(step, "expiry"));
}

static void step_add(struct play *p, json_t *step)
{
	uint32_t len = num(step, "blob_len");
	unsigned i = place(step);
	struct locator l = locator_of_txid(&p->dispute[i].txid, LOCATOR_INTERNAL);
	struct blob_key key = blob_key_of_txid(&p->dispute[i].txid, LOCATOR_INTERNAL);
	uint8_t *blob = calloc(1, len + 1);
	struct tower_add_reply r;
	enum tower_status st;

	assert_non_null(blob);
	if (len > 1000) {
		p->penalty[i] = tx_spend_sized(&p->dispute[i], 0, i, len - BLOB_TAG_SZ);
		blob_seal(blob, p->penalty[i].raw, p->penalty[i].sz, &key);
	}
	st = sim_add(&p->s, 1, &l, blob, len, &r);
	free(blob);
	if (has(step, "error_code")) {
		assert_int_equal(num(step, "error_code"), 7);
		assert_int_equal(st, TOWER_AUTH);
		return;
	}
	assert_int_equal(st, TOWER_OK);
	assert_int_equal(r.available_slots, num(step, "available_slots"));
	assert_int_equal(r.start_block, sim_tip(&p->s));
}

static void step_trigger(struct play *p, json_t *step, bool valid)
{
	unsigned i = place(step);

	if (!valid) {
		/* The stored blob is good: replace it by one of the same price that is not. */
		struct locator l = locator_of_txid(&p->dispute[i].txid, LOCATOR_INTERNAL);
		uint8_t rubbish[4096] = {0};

		(void)sim_add(&p->s, 1, &l, rubbish, sizeof(rubbish), NULL);
	}
	sim_mine(&p->s, &p->dispute[i], NULL);
	if (valid) {
		sim_mine(&p->s, &p->penalty[i], NULL);
		sim_mine_empty(&p->s, 100);
	}
	assert_int_equal(sim_slots(&p->s, 1), num(step, "available_slots"));
}

static void play_subscription(json_t *scenario)
{
	json_t *defaults = json_object_get(scenario, "defaults"), *step;
	struct play *p = calloc(1, sizeof(*p));
	size_t i;

	assert_non_null(p);
	sim_open(&p->s);
	p->s.cfg.subscription_slots = num(defaults, "slots");
	p->s.cfg.subscription_duration = num(defaults, "duration");
	p->s.cfg.expiry_delta = num(defaults, "expiry_delta");
	sim_restart(&p->s);
	for (unsigned n = 1; n < 10; n++)
		p->dispute[n] = tx_make(n);
	json_array_foreach(json_object_get(scenario, "steps"), i, step)
	{
		const char *op = str(step, "op");

		if (strcmp(op, "tip") == 0)
			step_tip(p, step);
		else if (strcmp(op, "register") == 0)
			step_register(p, step);
		else if (strcmp(op, "add") == 0)
			step_add(p, step);
		else if (strcmp(op, "complete") == 0)
			step_trigger(p, step, true);
		else if (strcmp(op, "invalid") == 0)
			step_trigger(p, step, false);
		else
			fail_msg("unknown step %s", op);
	}
	sim_check(&p->s);
	sim_close(&p->s);
	free(p);
}

static void subscriptions_go_as_the_model_says(void **state)
{
	json_t *scenario;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(vec, "scenario_subscription_current"), i, scenario)
	{
		printf("scenario %s\n", str(scenario, "id"));
		play_subscription(scenario);
	}
	assert_int_equal(i, 4);
}

/* --- trackers --------------------------------------------------------------------------------------------------- */

static json_t *event_at(json_t *scenario, uint32_t height)
{
	json_t *e;
	size_t i;

	json_array_foreach(json_object_get(scenario, "events"), i, e) if (num(e, "height") == height) return e;
	return NULL;
}

/* After the block of this height: what was sent in it, and what the tracker says. */
static void check_height(struct sim *s, json_t *scenario, uint32_t height, const struct tx *d,
			 const struct tx *p, unsigned *sent)
{
	json_t *e = event_at(scenario, height);
	const char *what = e == NULL ? "" : str(e, "event");
	unsigned expect = *sent + (strstr(what, "penalty sent") != NULL || strstr(what, "rebroadcast") != NULL);
	struct tower_found f;

	assert_int_equal(sim_sent(s, &p->txid), expect);
	if (expect > *sent)
		sim_result(s, p, NODE_ACCEPTED, 0);
	*sent = expect;
	if (e == NULL)
		return;
	if (strstr(what, "irrevocably") != NULL) {
		assert_int_equal(sim_find(s, 1, d, &f), TOWER_NOT_FOUND);
		assert_int_equal(sim_slots(s, 1), 10000);
		return;
	}
	assert_int_equal(sim_find(s, 1, d, &f), TOWER_OK);
	assert_true(f.is_tracker);
	assert_int_equal(f.tr.since_height, num(e, "status_height"));
	assert_int_equal(f.tr.state,
			 strcmp(str(e, "status"), "confirmed_in") == 0 ? TRACKER_CONFIRMED : TRACKER_SENT);
}

static void play_tracker(json_t *scenario)
{
	struct tx d = tx_make(1), p = tx_spend(&d, 0, 2);
	uint32_t dispute = has(scenario, "dispute_block") ? num(scenario, "dispute_block") : 998;
	uint32_t penalty = has(scenario, "penalty_block") ? num(scenario, "penalty_block") : 0;
	uint32_t added = has(scenario, "tip_when_added") ? num(scenario, "tip_when_added") : 0;
	struct sim *s = calloc(1, sizeof(*s));
	unsigned sent = 0;

	assert_non_null(s);
	sim_open(s);
	sim_begin_at(s, 900);
	sim_register(s, 1, NULL);
	if (added == 0)
		sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
	for (uint32_t h = 901; h <= 1120; h++) {
		const struct tx *in = h == dispute ? &d : h == penalty ? &p : NULL;

		sim_mine_list(s, &in, in != NULL);
		if (h == added)
			sim_watch(s, 1, &d, &p, LOCATOR_INTERNAL);
		if (h >= (added > 0 ? added : dispute) && (h <= 1020 || penalty != 0))
			check_height(s, scenario, h, &d, &p, &sent);
	}
	sim_close(s);
	free(s);
}

static void trackers_go_as_the_model_says(void **state)
{
	json_t *scenario;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(vec, "scenario_tracker_current"), i, scenario)
	{
		printf("scenario %s\n", str(scenario, "id"));
		play_tracker(scenario);
	}
	assert_int_equal(i, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subscriptions_go_as_the_model_says),
		cmocka_unit_test(trackers_go_as_the_model_says),
	};

	return cmocka_run_group_tests_name("tower/scenarios", tests, load, unload);
}
