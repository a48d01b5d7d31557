#include "fake_tower.h"

#include "client.h"

#include <stdlib.h>
#include <string.h>

struct fake_tower fake;

struct owed {
	uv_timer_t timer;
	tower_done_fn done;
	void *arg;
	enum tower_status st;
};

static void owed_closed(uv_handle_t *h)
{
	free(h->data);
}

static void owed_due(uv_timer_t *h)
{
	struct owed *o = h->data;

	if (fake.held) {
		uv_timer_start(h, owed_due, 5, 0);
		return;
	}
	fake.done_cnt++;
	o->done(o->arg, o->st);
	uv_close((uv_handle_t *)h, owed_closed);
}

static enum tower_status later(tower_done_fn done, void *arg)
{
	enum tower_status st = fake.answer;

	if (st == TOWER_PENDING) {
		struct owed *o = calloc(1, sizeof *o);

		if (!o)
			abort();
		o->done = done;
		o->arg = arg;
		o->st = fake.durable;
		o->timer.data = o;
		uv_timer_init(fake.loop, &o->timer);
		uv_timer_start(&o->timer, owed_due, fake.delay_ms, 0);
	}
	client_order++;
	return st;
}

enum tower_status tower_register(struct tower *t, const struct user_id *id, enum client_generation gen,
				 struct tower_user_info *out, tower_done_fn done, void *arg)
{
	(void)t;
	client_order++;
	fake.register_cnt++;
	fake.last_user = *id;
	*out = fake.user;
	out->id = *id;
	out->generation = gen;
	return later(done, arg);
}

enum tower_status tower_add_appointment(struct tower *t, const struct tower_add *a, struct tower_add_reply *out,
					tower_done_fn done, void *arg)
{
	(void)t;
	client_order++;
	fake.add_cnt++;
	fake.last_user = a->user;
	fake.last_locator = a->locator;
	fake.last_blob_sz = a->blob_sz;
	fake.last_delay = a->to_self_delay;
	if (a->blob_sz > 0 && a->blob_sz <= sizeof fake.last_blob)
		memcpy(fake.last_blob, a->blob, a->blob_sz);
	*out = fake.added;
	return later(done, arg);
}

enum tower_status tower_user(struct tower *t, const struct user_id *id, struct tower_user_info *out,
			     bool *expired)
{
	(void)t;
	client_order++;
	fake.last_user = *id;
	*out = fake.user;
	*expired = fake.expired;

	enum tower_status st = fake.user_status;

	client_order++;
	return st;
}

enum tower_status tower_find(struct tower *t, const struct user_id *user, const struct locator *l,
			     struct tower_found *out)
{
	(void)t;
	(void)user;
	fake.find_cnt++;
	fake.last_locator = *l;
	*out = fake.found;

	enum tower_status st = fake.found_status;

	client_order++;
	return st;
}

uint32_t tower_each_appointment_of_user(struct tower *t, const struct user_id *u, const struct locator *after,
					uint32_t limit,
					bool (*cb)(void *arg, const struct locator *l, const struct uuid *id),
					void *arg)
{
	static const struct uuid id;
	uint32_t i = 0, seen = 0;

	(void)t;
	(void)u;
	fake.page_cnt++;
	while (after && i < fake.owned_cnt && memcmp(fake.owned[i].b, after->b, LOCATOR_SZ) <= 0)
		i++;
	for (; i < fake.owned_cnt && seen < limit; i++) {
		seen++;
		if (!cb(arg, &fake.owned[i], &id))
			break;
	}
	client_order++;
	return seen;
}
