/* Our IPv6 addresses, and the way out.

   lwIP's own idea of routes is made of router advertisements, and of prefixes only /64.  Both are replaced
   where every packet passes: net_ip6_output names the neighbour that a packet goes to, and lwIP finds its MAC. */
#include "net/net_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <lwip/ethip6.h>
#include <lwip/nd6.h>

#define DAD_AGAIN_NS UINT64_C(10000000000)

static void to_lwip(ip6_addr_t *to, const uint8_t from[16], const struct netif *netif)
{
	memcpy(to->addr, from, 16);
	ip6_addr_clear_zone(to);
	ip6_addr_assign_zone(to, IP6_UNICAST, netif);
}

const char *net_ip6_bad(const struct net_config *cfg)
{
	bool gateway = !net_ip6_is_zero(cfg->gateway6);
	bool local = net_ip6_is_link_local(cfg->ip6);

	if (net_ip6_is_zero(cfg->ip6))
		return gateway ? "an IPv6 gateway is of no use without an IPv6 address of our own" : NULL;
	if (!net_ip6_is_unicast(cfg->ip6))
		return "our IPv6 address must be a unicast one, not loopback and not an IPv4 address in "
		       "disguise";
	if (cfg->prefix6_len < 64 || cfg->prefix6_len > 128)
		return "the prefix length of an IPv6 address must be 64 to 128";
	if (cfg->mtu != 0 && cfg->mtu < NET_MTU6_MIN)
		return "IPv6 needs an MTU of at least 1280";
	if (!gateway)
		return NULL;
	if (local)
		return "a link-local address reaches nothing behind a gateway: give us a global one";
	if (memcmp(cfg->gateway6, cfg->ip6, 16) == 0)
		return "the IPv6 gateway is our own address";
	if (!net_ip6_is_unicast(cfg->gateway6) ||
	    (!net_ip6_is_link_local(cfg->gateway6) &&
	     !net_ip6_same_prefix(cfg->gateway6, cfg->ip6, cfg->prefix6_len)))
		return "the IPv6 gateway must be link-local (fe80::) or inside our prefix, or it cannot be "
		       "reached";
	return NULL;
}

err_t net_ip6_output(struct netif *netif, struct pbuf *p, const ip6_addr_t *to)
{
	const struct net *n = netif->state;
	ip6_addr_t gateway;

	if (ip6_addr_ismulticast(to) || net_ip6_on_link(&n->own, (const uint8_t *)to->addr))
		return ethip6_output(netif, p, to);
	if (net_ip6_is_zero(n->cfg.gateway6))
		return ERR_RTE;
	to_lwip(&gateway, n->cfg.gateway6, netif);
	return ethip6_output(netif, p, &gateway);
}

static void solicited_node_mac(uint8_t mac[6], const uint8_t ip[16])
{
	memcpy(mac, (const uint8_t[]){0x33, 0x33, 0xff}, 3);
	memcpy(mac + 3, ip + 13, 3);
}

int net_ip6_open(struct net *n, char *why, size_t why_sz)
{
	uint8_t group[NET_GROUP_MAX][6] = {{0x33, 0x33, 0, 0, 0, 1}};
	s8_t slot = net_ip6_is_link_local(n->cfg.ip6) ? IP6_LINK_LOCAL : IP6_CONFIGURED;
	unsigned cnt = 1;
	ip6_addr_t own;
	int err;

	if (net_ip6_is_zero(n->cfg.ip6))
		return 0;
	netif_create_ip6_linklocal_address(&n->netif, 1);
	to_lwip(&own, n->cfg.ip6, &n->netif);
	netif_ip6_addr_set(&n->netif, slot, &own); /* in place of the one just made, if it is link-local */
	netif_ip6_addr_set_state(&n->netif, slot, IP6_ADDR_TENTATIVE);
	if (slot == IP6_CONFIGURED) {
		memcpy(n->own.ip6[IP6_CONFIGURED], n->cfg.ip6, 16);
		n->own.prefix6_len = n->cfg.prefix6_len;
	}
	memcpy(n->own.ip6[IP6_LINK_LOCAL], netif_ip6_addr(&n->netif, IP6_LINK_LOCAL)->addr, 16);
	n->own.has_ip6 = true;
	for (unsigned i = 0; i < NET_IP6_CNT; i++)
		if (!net_ip6_is_zero(n->own.ip6[i]))
			solicited_node_mac(group[cnt++], n->own.ip6[i]);
	err = net_port_multicast(n, group, cnt);
	if (err != 0) {
		snprintf(why, why_sz,
			 "port %u cannot receive multicast, so nobody would find our IPv6 address: %s",
			 n->cfg.port_id, strerror(-err));
		return err;
	}
	nd6_tmr(); /* asks for both at once instead of up to a second later */
	net_ip6_tick(n);
	return 0;
}

void net_ip6_tick(struct net *n)
{
	for (unsigned i = 0; n->own.has_ip6 && i < NET_IP6_CNT; i++) {
		uint8_t state = netif_ip6_addr_state(&n->netif, i);

		n->own.tentative[i] = ip6_addr_istentative(state) != 0;
		if (!ip6_addr_isduplicated(state)) {
			n->dad_again_ns[i] = 0;
		} else if (n->dad_again_ns[i] == 0) {
			n->stats.addr_conflicts++;
			n->ip6_taken[i] = true;
			n->dad_again_ns[i] = n->now_ns + DAD_AGAIN_NS;
		} else if (n->now_ns >= n->dad_again_ns[i]) {
			netif_ip6_addr_set_state(&n->netif, (s8_t)i, IP6_ADDR_TENTATIVE);
			n->own.tentative[i] = true;
		}
		if (ip6_addr_isvalid(state))
			n->ip6_taken[i] = false;
	}
}

bool net_ip6_taken(const struct net *n)
{
	return n->ip6_taken[IP6_LINK_LOCAL] || n->ip6_taken[IP6_CONFIGURED];
}

const ip_addr_t *net_ip6_source(const struct net *n, const uint8_t to[16])
{
	unsigned i = net_ip6_is_link_local(to) ? IP6_LINK_LOCAL : IP6_CONFIGURED;

	if (!n->own.has_ip6 || !net_ip6_is_unicast(to) || !ip6_addr_isvalid(netif_ip6_addr_state(&n->netif, i)))
		return NULL;
	if (!net_ip6_on_link(&n->own, to) && net_ip6_is_zero(n->cfg.gateway6))
		return NULL;
	for (unsigned k = 0; k < NET_IP6_CNT; k++)
		if (memcmp(to, n->own.ip6[k], 16) == 0)
			return NULL;
	return netif_ip_addr6(&n->netif, i);
}
