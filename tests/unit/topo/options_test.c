/* The command line of vigil-dataplane: what is accepted, and that everything else is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>
#include "topo/options.h"

#define ARG_MAX_CNT 24

static enum options_result parse(struct options *o, const char *const *args)
{
	static char text[ARG_MAX_CNT][128];
	char *argv[ARG_MAX_CNT + 1] = {text[0]};
	int argc = 1;

	strcpy(text[0], "vigil-dataplane");
	for (; *args != NULL; args++, argc++) {
		strcpy(text[argc], *args);
		argv[argc] = text[argc];
	}
	return options_parse(o, argc, argv);
}

#define BASE "--link", "/tmp/l", "--address", "10.0.0.2/24", "--peer", "10.0.0.1"

static void defaults_and_values_reach_the_struct(void **state)
{
	struct options o;
	const char *const few[] = {BASE, NULL};
	const char *const many[] = {"--peer",
				    "10.0.0.9:1",
				    BASE,
				    "--network",
				    "regtest",
				    "--mac",
				    "02:00:00:00:00:07",
				    "--scan-lcores",
				    "1,2",
				    "--block-form",
				    NULL};
	const char *const more[] = {BASE,   "--network",    "regtest",  "--gateway",   "10.0.0.254", "--mtu",
				    "1400", "--block-form", "stripped", "--busy-poll", NULL};

	(void)state;
	assert_int_equal(parse(&o, few), OPTIONS_RUN);
	assert_int_equal(o.network->id, NET_MAIN);
	assert_int_equal(o.peer[0].port, 8333);
	assert_int_equal(o.recent_blocks, 6);
	assert_int_equal(o.net.prefix_len, 24);
	assert_int_equal(o.net.ip4[3], 2);
	assert_int_equal(parse(&o, many), OPTIONS_EXIT_BAD); /* --block-form lacks its value */
	assert_int_equal(parse(&o, more), OPTIONS_RUN);
	assert_int_equal(o.network->id, NET_REGTEST);
	assert_int_equal(o.peer[0].port, 18444); /* the network's, though --peer stands before --network */
	assert_int_equal(o.net.mtu, 1400);
	assert_int_equal(o.net.gateway4[3], 254);
	assert_true(o.stripped && o.busy_poll);
	assert_false(o.has_min_chain_work);
	assert_int_equal(
		parse(&o, (const char *const[]){BASE, "--min-chain-work", "88e186b70e0862c193ec44d6", NULL}),
		OPTIONS_RUN);
	assert_true(o.has_min_chain_work);
	assert_int_equal(u256_cmp(&o.min_chain_work, &network_get(NET_MAIN)->min_chain_work), 0);
}

static void peers_and_addresses_of_both_families_reach_the_struct(void **state)
{
	struct options o;
	const char *const both[] = {
		BASE,     "--address",     "2001:db8::2/64", "--gateway",           "fe80::1",
		"--peer", "[2001:db8::1]", "--peer",         "[2001:db9::7]:18333", NULL};
	const char *const six[] = {"--link", "/tmp/l",      "--address", "2001:db8::2/64", "--mtu", "9000",
				   "--peer", "2001:db8::1", NULL};

	(void)state;
	assert_int_equal(parse(&o, both), OPTIONS_RUN);
	assert_int_equal(o.peer_cnt, 3);
	assert_int_equal(o.peer[1].ip[0], 0x20);
	assert_int_equal(o.peer[1].port, 8333);
	assert_int_equal(o.peer[2].port, 18333);
	assert_int_equal(o.net.ip4[3], 2);
	assert_int_equal(o.net.ip6[15], 2);
	assert_int_equal(o.net.prefix6_len, 64);
	assert_int_equal(o.net.gateway6[0], 0xfe);
	assert_int_equal(o.net.gateway4[0], 0);
	assert_int_equal(parse(&o, six), OPTIONS_RUN);
	assert_int_equal(o.net.ip4[0], 0);
	assert_int_equal(o.net.mtu, 9000);
}

static void bad_or_missing_options_are_refused(void **state)
{
	static const char *const cases[][12] = {
		{NULL},
		{"--address", "10.0.0.2/24", "--peer", "10.0.0.1", NULL},
		{"--link", "/tmp/l", "--peer", "10.0.0.1", NULL},
		{"--link", "/tmp/l", "--address", "10.0.0.2/24", NULL},
		{"--link", "/tmp/l", "--address", "10.0.0.2", "--peer", "10.0.0.1", NULL},
		{"--link", "/tmp/l", "--address", "10.0.0.2/33", "--peer", "10.0.0.1", NULL},
		{"--link", "/tmp/l", "--address", "10.0.0/24", "--peer", "10.0.0.1", NULL},
		{"--link", "/tmp/l", "--address", "2001:db8::2/64", "--peer", "10.0.0.1", NULL},
		{BASE, "--peer", "[2001:db8::1]", NULL},
		{BASE, "--address", "10.0.0.3/24", NULL},
		{BASE, "--gateway", "10.0.0.1", "--gateway", "10.0.0.3", NULL},
		{BASE, "word", NULL},
		{BASE, "--no-such-option", NULL},
	};
	static const char *const pairs[][2] = {
		{"--network", "mars"},
		{"--mtu", "575"},
		{"--mtu", "9x"},
		{"--mtu", "9001"},
		{"--address", "2001:db8::2"},
		{"--address", "2001:db8::2/48"},
		{"--gateway", "fe80::1%eth0"},
		{"--peer", "[2001:db8::1]:0"},
		{"--mac", "01:00:00:00:00:01"},
		{"--mac", "02:00"},
		{"--window", "0"},
		{"--window", "-1"},
		{"--block-buffers", "1"},
		{"--recent-blocks", "2017"},
		{"--scan-lcores", "1,1"},
		{"--scan-lcores", "a"},
		{"--block-form", "round"},
		{"--cpu-mask", "zz"},
		{"--idle-sleep-us", ""},
		{"--peer", "nowhere"},
		{"--min-chain-work", ""},
		{"--min-chain-work", "12g"},
		{"--min-chain-work", "8000000000000000000000000000000000000000000000000000000000000000"},
		{"--port-id", "65536"},
		{"--gateway", "10.0.0"},
	};
	struct options o;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(parse(&o, cases[i]), OPTIONS_EXIT_BAD);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const char *const args[] = {BASE, pairs[i][0], pairs[i][1], NULL};

		assert_int_equal(parse(&o, args), OPTIONS_EXIT_BAD);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_and_values_reach_the_struct),
		cmocka_unit_test(peers_and_addresses_of_both_families_reach_the_struct),
		cmocka_unit_test(bad_or_missing_options_are_refused),
	};

	return cmocka_run_group_tests_name("topo/options", tests, NULL, NULL);
}
