#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/expo.h"
#include "metrics/process.h"
#include "parse.h"

static struct samples got;

static void expect_text(struct expo *e, const char *text)
{
	size_t sz;
	char *p = expo_end(e, &sz);

	assert_non_null(p);
	assert_int_equal(sz, strlen(text));
	assert_memory_equal(p, text, sz);
	if (!parse(&got, p, sz))
		fail_msg("%s", got.why);
	free(p);
}

static void a_family_is_written_as_the_format_has_it(void **state)
{
	struct expo e = {0};

	(void)state;
	expo_one(&e, "a_total", EXPO_COUNTER, "How many.", UINT64_MAX);
	expo_family(&e, "b_seconds", EXPO_GAUGE, "How long.");
	expo_f64(&e, (const struct expo_label[]){{"x", "1"}, {"y", "2"}, {0}}, 0.25);
	expect_text(&e,
		    "# HELP a_total How many.\n# TYPE a_total counter\na_total 18446744073709551615\n"
		    "# HELP b_seconds How long.\n# TYPE b_seconds gauge\nb_seconds{x=\"1\",y=\"2\"} 0.25\n");
}

static void hostile_labels_stay_one_label(void **state)
{
	struct expo e = {0};

	(void)state;
	expo_family(&e, "a", EXPO_GAUGE, "back\\slash and\nbreak");
	expo_u64(&e, (const struct expo_label[]){{"l", "\"} 1\n\\\x80\x01"}, {0}}, 3);
	expect_text(&e, "# HELP a back\\\\slash and\\nbreak\n# TYPE a gauge\na{l=\"\\\"} 1\\n\\\\??\"} 3\n");
}

static void a_histogram_is_cumulative_and_in_seconds(void **state)
{
	const uint64_t bound[] = {50000, 1000000, 2500000000}, bucket[] = {1, 0, 2, 4};
	struct expo e = {0};

	(void)state;
	expo_family(&e, "h_seconds", EXPO_HISTOGRAM, "Time.");
	expo_histogram(&e, NULL, bound, bucket, 3, 12000000345);
	expect_text(&e, "# HELP h_seconds Time.\n# TYPE h_seconds histogram\n"
			"h_seconds_bucket{le=\"0.00005\"} 1\nh_seconds_bucket{le=\"0.001\"} 1\n"
			"h_seconds_bucket{le=\"2.5\"} 3\nh_seconds_bucket{le=\"+Inf\"} 7\n"
			"h_seconds_sum 12.000000345\nh_seconds_count 7\n");
}

static void names_are_checked(void **state)
{
	(void)state;
	assert_true(expo_name_ok("scan_bad_parse_x2_total"));
	assert_true(expo_name_ok("_a"));
	assert_false(expo_name_ok(""));
	assert_false(expo_name_ok("2a"));
	assert_false(expo_name_ok("a-b"));
	assert_false(expo_name_ok("a b"));
	assert_false(expo_name_ok("a\n"));
}

static void the_process_knows_itself(void **state)
{
	struct expo e = {0};
	size_t sz;
	char *text;

	(void)state;
	process_metrics(&e);
	text = expo_end(&e, &sz);
	assert_true(parse(&got, text, sz));
	assert_true(value_of(&got, "process_resident_memory_bytes", "") > 100000);
	assert_true(value_of(&got, "process_open_fds", "") >= 3);
	assert_true(value_of(&got, "process_start_time_seconds", "") > 1.6e9);
	assert_true(value_of(&got, "process_threads", "") == 1);
	assert_true(value_of(&got, "process_cpu_seconds_total", "") >= 0);
	free(text);
}

/* The checker itself: what it lets through wrongly would prove nothing. */
static void the_checker_refuses_what_the_format_forbids(void **state)
{
	static const char *const wrong[] = {
		"a 1\n",
		"# HELP a x\na 1\n",
		"# HELP a x\n# TYPE a gauge\na 1",
		"# HELP a x\n# TYPE a gauge\na  x\n",
		"# HELP a x\n# TYPE b gauge\nb 1\n",
		"# HELP a x\n# TYPE a counter\na 1\n",
		"# HELP a_total x\n# TYPE a_total gauge\na_total 1\n",
		"# HELP a_total x\n# TYPE a_total counter\na_total -1\n",
		"# HELP a x\n# TYPE a gauge\na 1\na 2\n",
		"# HELP a x\n# TYPE a gauge\na{l=\"x} 1\n",
		"# HELP a x\n# TYPE a gauge\na{l-m=\"x\"} 1\n",
		"# HELP a x\n# TYPE a gauge\na 1\n# HELP b x\n# TYPE b gauge\nb 1\n# HELP a x\n# TYPE a "
		"gauge\na{l=\"\"} 1\n",
		"# HELP h x\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
		"# HELP h x\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum "
		"1\nh_count 1\n",
		"# HELP h x\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum "
		"1\nh_count 2\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (parse(&got, wrong[i], strlen(wrong[i])))
			fail_msg("taken: %s", wrong[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_family_is_written_as_the_format_has_it),
		cmocka_unit_test(hostile_labels_stay_one_label),
		cmocka_unit_test(a_histogram_is_cumulative_and_in_seconds),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(the_process_knows_itself),
		cmocka_unit_test(the_checker_refuses_what_the_format_forbids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
