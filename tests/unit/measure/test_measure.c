/* Medians, ratios and their JSON, on numbers small enough to check by eye. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "measure/measure.h"

static void is(struct spread s, double min, double median, double max)
{
	assert_true(s.min == min && s.median == median && s.max == max);
}

static void a_median_stands_between_the_least_and_the_most(void **state)
{
	const double five[] = {5, 1, 4, 2, 30}, two[] = {7, 3}, one[] = {6};

	(void)state;
	is(spread_of(five, 5), 1, 4, 30);
	is(spread_of(two, 2), 3, 7, 7);
	is(spread_of(one, 1), 6, 6, 6);
	is(spread_of((const double[]){5, 1, 4, 2, 30}, 3), 1, 4, 5);
}

static void a_ratio_is_of_the_same_round_and_not_of_two_medians(void **state)
{
	/* A machine half as fast in the second round: the ratio is 2 all along. */
	const double slow[] = {20, 40, 20}, fast[] = {10, 20, 10};

	(void)state;
	is(spread_ratio(slow, fast, 3, 1), 2, 2, 2);
	is(spread_ratio(slow, NULL, 3, 0.5), 10, 10, 20);
}

static void the_shortest_time_is_the_highest_rate(void **state)
{
	const double ns[] = {4, 1, 2};

	(void)state;
	is(spread_rate(8, ns, 3), 2, 4, 8);
}

static void a_figure_is_a_plain_number_with_its_spread_beside_it(void **state)
{
	json_t *o = json_object(), *want = json_pack("{s:f,s:[f,f]}", "gb_s", 2.5, "gb_s_spread", 1.0, 3.0);

	(void)state;
	spread_put(o, "gb_s", (struct spread){1, 2.5, 3});
	assert_true(json_equal(o, want));
	json_decref(o);
	json_decref(want);
}

static void clocks_move_on_and_the_processor_has_a_name(void **state)
{
	double wall = measure_wall_ns(), cpu = measure_cpu_ns();
	char name[64] = "";

	(void)state;
	while (measure_cpu_ns() < cpu + 1e6)
		;
	assert_true(measure_wall_ns() >= wall + 0.5e6);
	measure_cpu_name(name, sizeof(name));
	assert_true(name[0] != '\0' && name[0] != ' ');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_median_stands_between_the_least_and_the_most),
		cmocka_unit_test(a_ratio_is_of_the_same_round_and_not_of_two_medians),
		cmocka_unit_test(the_shortest_time_is_the_highest_rate),
		cmocka_unit_test(a_figure_is_a_plain_number_with_its_spread_beside_it),
		cmocka_unit_test(clocks_move_on_and_the_processor_has_a_name),
	};

	return cmocka_run_group_tests_name("measure/measure", tests, NULL, NULL);
}
