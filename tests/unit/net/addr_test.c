#include "net/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void addresses_are_read_and_printed(void **state)
{
	static const struct {
		const char *in, *out;
	} ok[] = {
		{"1.2.3.4", "1.2.3.4:8333"},
		{"1.2.3.4:18444", "1.2.3.4:18444"},
		{"255.255.255.255:65535", "255.255.255.255:65535"},
		{"0.0.0.0:1", "0.0.0.0:1"},
		{"[::1]:18333", "[::1]:18333"},
		{"[::1]", "[::1]:8333"},
		{"::1", "[::1]:8333"},
		{"2001:db8::7", "[2001:db8::7]:8333"},
		{"[2001:db8:1:2:3:4:5:6]:1", "[2001:db8:1:2:3:4:5:6]:1"},
		{"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		{"[::ffff:1.2.3.4]:5", "1.2.3.4:5"}, /* the mapped form is the IPv4 address */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++) {
		struct net_addr a, b;
		char text[NET_ADDR_TEXT_SZ];

		assert_true(net_addr_parse(&a, ok[i].in, 8333));
		net_addr_format(text, &a);
		assert_string_equal(text, ok[i].out);
		assert_true(net_addr_parse(&b, text, 1));
		assert_memory_equal(a.ip, b.ip, sizeof(a.ip));
		assert_int_equal(a.port, b.port);
	}
}

static void an_ipv4_address_is_kept_mapped(void **state)
{
	static const uint8_t want[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7};
	struct net_addr a;

	(void)state;
	assert_true(net_addr_parse(&a, "10.0.0.7:8333", 0));
	assert_memory_equal(a.ip, want, 16);
	assert_int_equal(a.port, 8333);
}

static void what_is_no_address_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		":8333",
		"1.2.3",
		"1.2.3.4.5",
		"1.2.3.256",
		"01.2.3.4",
		"1.2.3.4:",
		"1.2.3.4:0",
		"1.2.3.4:65536",
		"1.2.3.4:184440",
		"1.2.3.4:83a",
		"1.2.3.4:-1",
		"1.2.3.4: 1",
		"1.2.3.4 ",
		" 1.2.3.4",
		"host.example",
		"[1.2.3.4]:1",
		"fe80::1%eth0",
		"[fe80::1%1]:8333",
		"[2001:db8::1]x8333",
		"2001:db8::1:", /* a bare one takes no port */
		"2001:db8:::1",
		"1.2.3.4:8333:8333",
		"[[::1]]:1",
		"[::1",
		"[::1]8333",
		"[::1]:",
		"[::1]:0",
		"::1]:1",
		"[]",
		"[]:1",
		"1:2:3:4:5:6:7:8:9",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1",
		"1111111111111111111111111111111111111111111111111111111111111111",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct net_addr a;

		if (net_addr_parse(&a, bad[i], 8333))
			fail_msg("'%s' was taken for an address", bad[i]);
	}
}

static void own_addresses_and_gateways_are_one_of_each_family(void **state)
{
	static const uint8_t ip6[16] = {0x20, 1, 0x0d, 0xb8, [15] = 2}, gateway6[16] = {0xfe, 0x80, [15] = 1};
	struct net_config c = {0};

	(void)state;
	assert_true(net_config_address(&c, "2001:db8::2/64"));
	assert_true(net_config_address(&c, "10.0.0.2/24"));
	assert_true(net_config_gateway(&c, "fe80::1"));
	assert_true(net_config_gateway(&c, "10.0.0.1"));
	assert_memory_equal(c.ip6, ip6, 16);
	assert_memory_equal(c.gateway6, gateway6, 16);
	assert_memory_equal(c.ip4, ((uint8_t[]){10, 0, 0, 2}), 4);
	assert_memory_equal(c.gateway4, ((uint8_t[]){10, 0, 0, 1}), 4);
	assert_int_equal(c.prefix_len, 24);
	assert_int_equal(c.prefix6_len, 64);

	assert_false(net_config_address(&c, "2001:db8::3/64"));
	assert_false(net_config_address(&c, "10.0.0.3/24"));
	assert_false(net_config_gateway(&c, "fe80::2"));
	assert_false(net_config_gateway(&c, "10.0.0.4"));
	assert_memory_equal(c.ip6, ip6, 16);
	assert_int_equal(c.ip4[3], 2);
}

static void what_is_no_own_address_is_refused(void **state)
{
	static const char *const address[] = {
		"",
		"/",
		"10.0.0.2",
		"10.0.0.2/",
		"10.0.0.2/0",
		"10.0.0.2/31",
		"10.0.0.2/-1",
		"10.0.0.2/24 ",
		"10.0.0.2/024",
		"10.0.0.2:1/24",
		"0.0.0.0/8",
		"10.0.0/24",
		"2001:db8::2",
		"2001:db8::2/63",
		"2001:db8::2/129",
		"2001:db8::2/",
		"2001:db8::2/64/1",
		"[2001:db8::2]/64",
		"::/64",
		"2001:db8::2/1280",
		"fe80::2%eth0/64",
		"2001:db8::2/6x",
	};
	static const char *const gateway[] = {"",           "0.0.0.0",   "::",        "fe80::1%1",
					      "fe80::1/64", "[fe80::1]", "10.0.0.1:1"};

	(void)state;
	for (size_t i = 0; i < sizeof(address) / sizeof(address[0]); i++) {
		struct net_config c = {0};

		if (net_config_address(&c, address[i]))
			fail_msg("'%s' was taken for an address of ours", address[i]);
	}
	for (size_t i = 0; i < sizeof(gateway) / sizeof(gateway[0]); i++) {
		struct net_config c = {0};

		if (net_config_gateway(&c, gateway[i]))
			fail_msg("'%s' was taken for a gateway", gateway[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_and_printed),
		cmocka_unit_test(an_ipv4_address_is_kept_mapped),
		cmocka_unit_test(what_is_no_address_is_refused),
		cmocka_unit_test(own_addresses_and_gateways_are_one_of_each_family),
		cmocka_unit_test(what_is_no_own_address_is_refused),
	};

	return cmocka_run_group_tests_name("net/addr", tests, NULL, NULL);
}
