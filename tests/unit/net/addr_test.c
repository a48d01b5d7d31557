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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_and_printed),
		cmocka_unit_test(an_ipv4_address_is_kept_mapped),
		cmocka_unit_test(what_is_no_address_is_refused),
	};

	return cmocka_run_group_tests_name("net/addr", tests, NULL, NULL);
}
