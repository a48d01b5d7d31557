/* Lists of locators: what is one, and what is said about what is none. */
#include "vec.h"

#include <stdlib.h>

#include "rescan/locators.h"

struct got {
	struct locator l[8];
	unsigned cnt, max;
};

static bool take(void *arg, const struct locator *l)
{
	struct got *g = arg;

	g->l[g->cnt++] = *l;
	return g->cnt < g->max;
}

static bool read_text(const char *text, size_t sz, struct got *g, char why[LOCATORS_WHY_SZ])
{
	FILE *in = fmemopen((void *)(uintptr_t)text, sz, "r");
	bool good;

	assert_non_null(in);
	why[0] = '\0';
	*g = (struct got){.max = 8};
	good = locators_read(in, take, g, why);
	fclose(in);
	return good;
}

#define A "00112233445566778899aabbccddeeff"

static void blanks_comments_and_cases_do_not_count(void **state)
{
	static const char text[] = "# a list\n\n" A "\n  " A
				   "  # twice\r\n\t\n00112233445566778899AABBCCDDEEFF#x\n" A;
	char why[LOCATORS_WHY_SZ];
	struct got g;

	(void)state;
	assert_true(read_text(text, strlen(text), &g, why));
	assert_int_equal(g.cnt, 4);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < LOCATOR_SZ; k++)
			assert_int_equal(g.l[i].b[k], k * 0x11);
	assert_true(read_text("#", 1, &g, why));
	assert_int_equal(g.cnt, 0);
}

static void a_line_that_is_no_locator_is_named(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{A "\n\n12", "line 3: not 32 hex digits: '12'"},
		{A "0\n", "line 1: not 32 hex digits"},
		{A A "\n", "line 1: 64 digits"},
		{A " " A "\n", "line 1: not 32 hex digits"},
		{"0x" A "\n", "line 1: not 32 hex digits"},
		{"\x80\n", "line 1: not text"},
	};
	char why[LOCATORS_WHY_SZ], *line = malloc(6000);
	struct got g;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_false(read_text(cases[i].text, strlen(cases[i].text), &g, why));
		assert_non_null(strstr(why, cases[i].why));
	}
	assert_false(read_text("\n\0" A "\n", 35, &g, why));
	assert_string_equal(why, "line 2: not text");
	assert_non_null(line);
	memset(line, ' ', 6000);
	assert_false(read_text(line, 6000, &g, why));
	assert_non_null(strstr(why, "line 1: longer than"));
	/* The longest line that is taken, with and without its end. */
	assert_true(read_text(line, 4094, &g, why));
	line[4094] = '\n';
	assert_true(read_text(line, 4095, &g, why));
	free(line);
}

static void the_taker_may_stop_it(void **state)
{
	char why[LOCATORS_WHY_SZ];
	FILE *in = fmemopen((void *)(uintptr_t)(A "\n" A "\nrubbish"), 73, "r");
	struct got g = {.max = 1};

	(void)state;
	assert_true(locators_read(in, take, &g, why));
	assert_int_equal(g.cnt, 1);
	fclose(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blanks_comments_and_cases_do_not_count),
		cmocka_unit_test(a_line_that_is_no_locator_is_named),
		cmocka_unit_test(the_taker_may_stop_it),
	};

	return cmocka_run_group_tests_name("rescan/locators", tests, NULL, NULL);
}
