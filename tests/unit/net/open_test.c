/* What net_open refuses, and that its sentence says what is wrong. */
#include "node.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct net_config good = {.ip4 = {10, 9, 8, 2}, .prefix_len = 24, .gateway4 = {10, 9, 8, 1}};

static const struct net_config good6 = {
	.ip6 = {0x20, 1, 0x0d, 0xb8, [15] = 2}, .prefix6_len = 64, .gateway6 = {0xfe, 0x80, [15] = 1}};

static bool refused(const struct net_config *cfg, int err, const char *word)
{
	struct net *n;
	const char *why = NULL;
	int rc = net_open(&n, cfg, &why);

	if (rc == 0) {
		fprintf(stderr, "opened, but '%s' was to be wrong\n", word);
		net_free(n);
		return false;
	}
	if (rc == err && n == NULL && why != NULL && strstr(why, word) != NULL)
		return true;
	fprintf(stderr, "%d, '%s' does not speak of '%s'\n", rc, why, word);
	return false;
}

static int open_badly(const struct node *self)
{
	struct net_config c;
	struct net *n;
	const char *why;

	(void)self;
	c = good;
	c.port_id = 7;
	NODE_REQUIRE(refused(&c, -ENODEV, "no port 7"));
	c = good;
	c.prefix_len = 33;
	NODE_REQUIRE(refused(&c, -EINVAL, "prefix length"));
	c.prefix_len = 31;
	NODE_REQUIRE(refused(&c, -EINVAL, "prefix length"));
	c = good;
	c.gateway4[2] = 9;
	NODE_REQUIRE(refused(&c, -EINVAL, "gateway lies outside"));
	c = good;
	c.gateway4[3] = 2;
	NODE_REQUIRE(refused(&c, -EINVAL, "gateway is our own"));
	c = good;
	c.gateway4[3] = 255;
	NODE_REQUIRE(refused(&c, -EINVAL, "gateway is the network"));
	c = good;
	c.ip4[3] = 255;
	NODE_REQUIRE(refused(&c, -EINVAL, "broadcast"));
	c = good;
	c.ip4[0] = 127;
	NODE_REQUIRE(refused(&c, -EINVAL, "unicast"));
	c.ip4[0] = 0;
	NODE_REQUIRE(refused(&c, -EINVAL, "unicast"));
	c.ip4[0] = 239;
	NODE_REQUIRE(refused(&c, -EINVAL, "unicast"));
	c = good;
	c.mtu = 9001;
	NODE_REQUIRE(refused(&c, -EINVAL, "MTU"));
	c.mtu = 68;
	NODE_REQUIRE(refused(&c, -EINVAL, "MTU"));
	c = good;
	c.mac[0] = 1;
	NODE_REQUIRE(refused(&c, -EINVAL, "multicast"));
	c = good;
	c.mbuf_cnt = 100;
	NODE_REQUIRE(refused(&c, -EINVAL, "too few"));
	c.mbuf_cnt = 10000000;
	NODE_REQUIRE(refused(&c, -ENOMEM, "-m"));

	/* After all that, the port still opens, once. */
	c = good;
	c.mtu = 1400;
	c.mac[0] = 2;
	c.mac[5] = 9;
	NODE_REQUIRE(net_open(&n, &c, &why) == 0);
	NODE_REQUIRE(refused(&good, -EBUSY, "only one port"));
	net_free(n);
	NODE_REQUIRE(net_open(&n, &good, &why) == 0);
	net_free(n);
	net_free(NULL);
	return 0;
}

static int open_badly6(const struct node *self)
{
	static const struct net_config none;
	struct net_config c;
	struct net *n;
	const char *why;

	(void)self;
	NODE_REQUIRE(refused(&none, -EINVAL, "an IPv4 or an IPv6 address"));
	c = good6;
	c.prefix6_len = 63;
	NODE_REQUIRE(refused(&c, -EINVAL, "prefix length of an IPv6"));
	c.prefix6_len = 129;
	NODE_REQUIRE(refused(&c, -EINVAL, "prefix length of an IPv6"));
	c = good6;
	memset(c.ip6, 0, 16);
	c.ip6[15] = 1; /* ::1 */
	NODE_REQUIRE(refused(&c, -EINVAL, "unicast"));
	memset(c.ip6, 0xff, 2);
	NODE_REQUIRE(refused(&c, -EINVAL, "unicast"));
	memset(c.ip6, 0, 2);
	memset(c.ip6 + 10, 0xff, 2); /* ::ffff:0.0.0.1 */
	NODE_REQUIRE(refused(&c, -EINVAL, "unicast"));
	c = good6;
	memset(c.ip6, 0, 16);
	NODE_REQUIRE(refused(&c, -EINVAL, "gateway is of no use"));
	c = good6;
	memcpy(c.gateway6, c.ip6, 16);
	NODE_REQUIRE(refused(&c, -EINVAL, "gateway is our own"));
	c.gateway6[3] = 0xb9;
	NODE_REQUIRE(refused(&c, -EINVAL, "cannot be reached"));
	c.gateway6[0] = 0xff;
	NODE_REQUIRE(refused(&c, -EINVAL, "cannot be reached"));
	c = good6;
	memcpy(c.ip6, (uint8_t[]){0xfe, 0x80, 0, 0}, 4);
	NODE_REQUIRE(refused(&c, -EINVAL, "link-local"));
	c = good6;
	c.mtu = 1279;
	NODE_REQUIRE(refused(&c, -EINVAL, "1280"));
	c.mtu = 9001;
	NODE_REQUIRE(refused(&c, -EINVAL, "MTU"));

	c.mtu = 1280;
	NODE_REQUIRE(net_open(&n, &c, &why) == 0);
	net_free(n);
	c.mtu = 9000;
	NODE_REQUIRE(net_open(&n, &c, &why) == 0);
	net_free(n);
	c = good6;
	memset(c.gateway6, 0, 16);
	memcpy(c.ip6, (uint8_t[]){0xfe, 0x80, 0, 0}, 4);
	NODE_REQUIRE(net_open(&n, &c, &why) == 0);
	net_free(n);
	return 0;
}

static void what_is_wrong_with_ipv6_is_said(void **state)
{
	(void)state;
	node_alone(open_badly6, "net_null0,no-rx=1");
}

static void what_is_wrong_is_said(void **state)
{
	(void)state;
	node_alone(open_badly, "net_null0,no-rx=1");
}

/* The other end may come later, or never: that is no reason not to start. */
static int open_lonely(const struct node *self)
{
	struct net *n;
	const char *why;

	(void)self;
	NODE_REQUIRE(net_open(&n, &good, &why) == 0);
	node_run_for(n, 600);
	NODE_REQUIRE(!net_link_up(n));
	net_free(n);
	return 0;
}

static void a_memif_without_its_server_opens_without_a_link(void **state)
{
	(void)state;
	node_alone(open_lonely, "net_memif0,role=client,id=0,socket=/tmp/vigil-no-such.sock,"
				"socket-abstract=no");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(what_is_wrong_with_ipv6_is_said),
		cmocka_unit_test(a_memif_without_its_server_opens_without_a_link),
	};

	return cmocka_run_group_tests_name("net/open", tests, NULL, NULL);
}
