/* vigil-replay serve as a program: what is wrong with its own options is said before the EAL says anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static const char *replay;
static char said[65536];

/* The exit status; what was printed is in said. */
static int serve(const char *args)
{
	char command[1024];
	size_t sz;
	FILE *f;

	snprintf(command, sizeof(command), "'%s' serve %s 2>&1 </dev/null", replay, args);
	f = popen(command, "r");
	assert_non_null(f);
	sz = fread(said, 1, sizeof(said) - 1, f);
	said[sz] = '\0';

	int status = pclose(f);

	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void refused(const char *args, const char *word)
{
	const char *nl;

	if (serve(args) != 2)
		fail_msg("not refused with 2: serve %s: %s", args, said);
	nl = strchr(said, '\n');
	if (!nl || nl[1] != '\0' || strncmp(said, "vigil-replay serve: ", 20) != 0 || !strstr(said, word))
		fail_msg("not one line about %s: serve %s: %s", word, args, said);
}

static void wrong_options_are_one_line_and_status_2(void **state)
{
	(void)state;
	refused("", "--help");
	refused("--no-huge --in-memory", "--help");
	refused("--no-huge --", "--address and --chain");
	refused("--no-huge -- --address 10.0.0.1/24", "--address and --chain");
	refused("--no-huge -- --no-such-thing", "no-such-thing");
	refused("--no-huge -- --address nowhere --chain /dev/null", "--address: nowhere");
	refused("--no-huge -- --address 10.0.0.1/24 --chain /dev/null --stall-at x", "--stall-at: x");
	refused("--no-huge -- --address 10.0.0.1/24 --chain /dev/null more", "other arguments");
	refused("--no-huge -- --chain", "--chain");
}

static void help_needs_no_eal_wherever_it_stands(void **state)
{
	(void)state;
	assert_int_equal(serve("--help"), 0);
	assert_non_null(strstr(said, "usage: vigil-replay serve"));
	assert_int_equal(serve("-l 9999 -- --help"), 0);
	assert_non_null(strstr(said, "usage: vigil-replay serve"));
}

/* Good options of ours: now the EAL is started, and here it cannot. */
static void the_eal_starts_only_after_our_options(void **state)
{
	(void)state;
	assert_int_equal(serve("--no-such-eal-option -- --address 10.0.0.1/24 --chain /dev/null"), 1);
	assert_non_null(strstr(said, "DPDK does not start"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_options_are_one_line_and_status_2),
		cmocka_unit_test(help_needs_no_eal_wherever_it_stands),
		cmocka_unit_test(the_eal_starts_only_after_our_options),
	};

	if (argc != 2)
		return 1;
	replay = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
