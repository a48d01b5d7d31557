/* Records survive the stream whatever its cuts, and malformed ones are refused before anybody reads them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>
#include "link/frame.h"

static uint32_t rnd_state = 1;
static uint32_t rnd(void)
{
	rnd_state = rnd_state * 1664525u + 1013904223u;
	return rnd_state >> 8;
}

static void put_some(struct link_writer *w, unsigned i)
{
	uint8_t raw[300];
	struct link_hit h = {.height = i, .raw_sz = i % sizeof(raw)};
	struct link_watch_added a = {.cookie = i};

	memset(raw, (int)i, sizeof(raw));
	if (i % 2)
		assert_true(link_writer_put(w, LINK_HIT, &h, sizeof(h), raw, h.raw_sz));
	else
		assert_true(link_writer_put(w, LINK_WATCH_ADDED, &a, sizeof(a), NULL, 0));
}

static void check_some(const struct link_head *rec, unsigned i)
{
	assert_int_equal((uintptr_t)rec % 8, 0);
	if (i % 2) {
		const struct link_hit *h = (const void *)rec;
		const uint8_t *raw = (const void *)(h + 1);

		assert_int_equal(rec->type, LINK_HIT);
		assert_int_equal(h->height, i);
		for (uint32_t k = 0; k < h->raw_sz; k++)
			assert_int_equal(raw[k], (uint8_t)i);
	} else {
		assert_int_equal(rec->type, LINK_WATCH_ADDED);
		assert_int_equal(((const struct link_watch_added *)rec)->cookie, i);
	}
}

static void records_come_out_whole_and_in_order_whatever_the_cuts(void **state)
{
	struct link_writer w;
	struct link_reader r;
	unsigned sent = 0, got = 0;

	(void)state;
	assert_true(link_writer_init(&w, 4096));
	assert_true(link_reader_init(&r));
	while (got < 5000) {
		const struct link_head *rec;
		const uint8_t *from;
		uint8_t *to;
		size_t have, room, n;

		if (sent < 5000 && w.cap - link_writer_used(&w) > 600)
			put_some(&w, sent++);
		from = link_writer_peek(&w, &have);
		to = link_reader_room(&r, &room);
		n = have == 0 ? 0 : 1 + rnd() % have;
		assert_true(n <= room);
		if (n > 0)
			memcpy(to, from, n);
		link_reader_took(&r, n);
		link_writer_took(&w, n);
		while (link_reader_next(&r, LINK_FROM_DATAPLANE, &rec) == 1)
			check_some(rec, got++);
	}
	link_writer_free(&w);
	link_reader_free(&r);
}

static void the_largest_record_fits_reader_and_writer(void **state)
{
	struct link_writer w;
	struct link_reader r;
	struct link_hit h = {.raw_sz = BLOCK_SZ_MAX};
	uint8_t *raw = calloc(1, BLOCK_SZ_MAX);
	const struct link_head *rec = NULL;
	size_t sz, room;
	const uint8_t *p;

	(void)state;
	assert_true(link_writer_init(&w, LINK_REC_SZ_MAX) && link_reader_init(&r));
	assert_true(link_writer_put(&w, LINK_HIT, &h, sizeof(h), raw, BLOCK_SZ_MAX));
	while ((p = link_writer_peek(&w, &sz)) != NULL) {
		uint8_t *to = link_reader_room(&r, &room);
		size_t n = sz < room ? sz : room;

		assert_true(n > 0);
		assert_int_equal(link_reader_next(&r, LINK_FROM_DATAPLANE, &rec), 0);
		memcpy(to, p, n);
		link_reader_took(&r, n);
		link_writer_took(&w, n);
	}
	assert_int_equal(link_reader_next(&r, LINK_FROM_DATAPLANE, &rec), 1);
	assert_int_equal(((const struct link_hit *)rec)->raw_sz, BLOCK_SZ_MAX);
	free(raw);
	link_writer_free(&w);
	link_reader_free(&r);
}

static void a_full_writer_refuses_and_keeps_what_it_has(void **state)
{
	struct link_writer w;
	struct link_watch_added a = {.cookie = 1};
	size_t before, sz;

	(void)state;
	assert_true(link_writer_init(&w, 3 * sizeof(a)));
	for (unsigned i = 0; i < 3; i++)
		assert_true(link_writer_put(&w, LINK_WATCH_ADDED, &a, sizeof(a), NULL, 0));
	before = link_writer_used(&w);
	assert_false(link_writer_put(&w, LINK_WATCH_ADDED, &a, sizeof(a), NULL, 0));
	assert_int_equal(link_writer_used(&w), before);
	link_writer_took(&w, sizeof(a));
	assert_true(link_writer_put(&w, LINK_WATCH_ADDED, &a, sizeof(a), NULL, 0));
	assert_non_null(link_writer_peek(&w, &sz));
	assert_int_equal(sz, 3 * sizeof(a));
	link_writer_free(&w);
}

static int read_one(const void *bytes, size_t sz, enum link_direction dir)
{
	struct link_reader r;
	const struct link_head *rec;
	size_t room;
	int got;

	assert_true(link_reader_init(&r));
	memcpy(link_reader_room(&r, &room), bytes, sz);
	link_reader_took(&r, sz);
	got = link_reader_next(&r, dir, &rec);
	link_reader_free(&r);
	return got;
}

static void sizes_types_and_counts_that_do_not_fit_are_malformed(void **state)
{
	struct link_watch_add add = {.head = {.sz = sizeof(add), .type = LINK_WATCH_ADD}};
	struct link_watch_load load = {.head = {.sz = sizeof(load), .type = LINK_WATCH_LOAD}};
	struct link_start start = {.head = {.sz = sizeof(start), .type = LINK_START}};

	(void)state;
	assert_int_equal(read_one(&add, sizeof(add), LINK_FROM_CONTROL), 1);
	assert_int_equal(read_one(&add, sizeof(add) - 1, LINK_FROM_CONTROL), 0);
	assert_int_equal(read_one(&add, sizeof(add), LINK_FROM_DATAPLANE), -1);
	add.head.zero = 1;
	assert_int_equal(read_one(&add, sizeof(add), LINK_FROM_CONTROL), -1);
	add.head.zero = 0;
	for (uint32_t sz = 0; sz < sizeof(add); sz++) {
		add.head.sz = sz;
		assert_int_equal(read_one(&add, sizeof(add), LINK_FROM_CONTROL), -1);
	}
	add.head.sz = LINK_REC_SZ_MAX + 8;
	assert_int_equal(read_one(&add, sizeof(add), LINK_FROM_CONTROL), -1);
	add.head.sz = sizeof(add);
	add.head.type = 999;
	assert_int_equal(read_one(&add, sizeof(add), LINK_FROM_CONTROL), -1);
	assert_int_equal(read_one(&load, sizeof(load), LINK_FROM_CONTROL), 1);
	load.cnt = 1;
	assert_int_equal(read_one(&load, sizeof(load), LINK_FROM_CONTROL), -1);
	load.cnt = UINT32_MAX;
	assert_int_equal(read_one(&load, sizeof(load), LINK_FROM_CONTROL), -1);
	start.header_cnt = UINT32_MAX;
	assert_int_equal(read_one(&start, sizeof(start), LINK_FROM_CONTROL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_come_out_whole_and_in_order_whatever_the_cuts),
		cmocka_unit_test(the_largest_record_fits_reader_and_writer),
		cmocka_unit_test(a_full_writer_refuses_and_keeps_what_it_has),
		cmocka_unit_test(sizes_types_and_counts_that_do_not_fit_are_malformed),
	};

	return cmocka_run_group_tests_name("link/frame", tests, NULL, NULL);
}
