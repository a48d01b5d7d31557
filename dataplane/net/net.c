#include "net/net_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>
#include <sodium.h>

static char why_text[200];
static bool in_use;
static bool stack_up;

const char *net_close_reason_name(enum net_close_reason r)
{
	switch (r) {
	case NET_CLOSED_LOCAL:
		return "local";
	case NET_CLOSED_REMOTE:
		return "remote";
	case NET_CLOSED_RESET:
		return "reset";
	case NET_CLOSED_TIMEOUT:
		return "timeout";
	case NET_CLOSED_NOMEM:
		return "nomem";
	case NET_CLOSE_REASON_CNT:
		break;
	}
	return "?";
}

static uint32_t ip4_of(const uint8_t b[4])
{
	uint32_t v;

	memcpy(&v, b, 4);
	return v;
}

static const char *bad_ip4(const struct net_config *cfg)
{
	uint32_t ip = ntohl(ip4_of(cfg->ip4));
	uint32_t gw = ntohl(ip4_of(cfg->gateway4));
	uint32_t mask = cfg->prefix_len == 0 ? 0 : UINT32_MAX << (32 - cfg->prefix_len % 32);

	if (ip == 0)
		return gw != 0 ? "an IPv4 gateway is of no use without an IPv4 address of our own" : NULL;
	/* lwIP takes the one other address of a /31 for the broadcast address. */
	if (cfg->prefix_len > 30)
		return "the prefix length must be 0 to 30";
	if (cfg->ip4[0] == 0 || cfg->ip4[0] == 127 || cfg->ip4[0] >= 224)
		return "our address must be a unicast IPv4 address that is not loopback";
	if (mask != 0 && ((ip & ~mask) == 0 || (ip & ~mask) == ~mask))
		return "our address is the network's or broadcast address of its own prefix";
	if (gw == 0)
		return NULL;
	if (gw == ip)
		return "the gateway is our own address";
	if (((gw ^ ip) & mask) != 0)
		return "the gateway lies outside of our prefix, so it cannot be reached";
	if (mask != 0 && ((gw & ~mask) == 0 || (gw & ~mask) == ~mask))
		return "the gateway is the network's or broadcast address of our prefix";
	return NULL;
}

static const char *bad_addressing(const struct net_config *cfg)
{
	const char *bad = bad_ip4(cfg);

	if (bad == NULL)
		bad = net_ip6_bad(cfg);
	if (bad == NULL && ip4_of(cfg->ip4) == 0 && net_ip6_is_zero(cfg->ip6))
		bad = "we need an IPv4 or an IPv6 address of our own";
	return bad;
}

static err_t netif_set_up_ethernet(struct netif *netif)
{
	struct net *n = netif->state;

	netif->name[0] = 'v';
	netif->name[1] = 'g';
	netif->output = etharp_output;
	netif->output_ip6 = net_ip6_output;
	netif->linkoutput = net_port_linkoutput;
	netif->mtu = n->cfg.mtu;
	netif->hwaddr_len = sizeof(n->cfg.mac);
	memcpy(netif->hwaddr, n->cfg.mac, sizeof(n->cfg.mac));
	netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_LINK_UP | NETIF_FLAG_MLD6;
	return ERR_OK;
}

static bool stack_open(struct net *n)
{
	ip4_addr_t ip = {ip4_of(n->cfg.ip4)};
	ip4_addr_t gw = {ip4_of(n->cfg.gateway4)};
	ip4_addr_t mask = {n->cfg.prefix_len == 0 ? 0 : htonl(UINT32_MAX << (32 - n->cfg.prefix_len))};

	if (!stack_up) {
		net_lwip_overrides();
		lwip_init();
		stack_up = true;
	}
	n->own.ip4 = ip.addr;
	memcpy(n->own.mac, n->cfg.mac, sizeof(n->own.mac));
	/* Straight into ethernet_input: lwIP's tcpip_input would hand frames to its own thread. */
	if (netif_add(&n->netif, &ip, &mask, &gw, n, netif_set_up_ethernet, ethernet_input) == NULL)
		return false;
	n->netif_added = true;
	netif_set_default(&n->netif);
	netif_set_up(&n->netif);
	n->netif.rs_count = 0; /* routers are configured, not solicited */
	return true;
}

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void set_now(struct net *n, uint64_t now_ns)
{
	if (now_ns > n->now_ns)
		n->now_ns = now_ns;
	net_lwip_set_clock(n->now_ns);
}

int net_open(struct net **out, const struct net_config *cfg, const char **why)
{
	const char *bad = bad_addressing(cfg);
	struct net *n;
	int err;

	*out = NULL;
	*why = why_text;
	why_text[0] = '\0';
	if (bad == NULL && cfg->mtu != 0 && (cfg->mtu < NET_MTU_MIN || cfg->mtu > NET_MTU_MAX)) {
		snprintf(why_text, sizeof(why_text), "the MTU must be %d to %d", NET_MTU_MIN, NET_MTU_MAX);
		return -EINVAL;
	}
	if (bad != NULL) {
		snprintf(why_text, sizeof(why_text), "%s", bad);
		return -EINVAL;
	}
	if (in_use) {
		snprintf(why_text, sizeof(why_text), "a process can have only one port open");
		return -EBUSY;
	}
	n = calloc(1, sizeof(*n));
	if (n == NULL || sodium_init() < 0) {
		free(n);
		snprintf(why_text, sizeof(why_text), "out of memory or of random numbers");
		return -ENOMEM;
	}
	in_use = true;
	n->cfg = *cfg;
	n->pending_tail = &n->pending;
	set_now(n, monotonic_ns());
	err = net_port_open(n, why_text, sizeof(why_text));
	if (err == 0 && !stack_open(n)) {
		snprintf(why_text, sizeof(why_text), "lwIP refuses the interface");
		err = -ENOMEM;
	}
	if (err == 0)
		err = net_ip6_open(n, why_text, sizeof(why_text));
	if (err != 0) {
		net_free(n);
		return err;
	}
	*out = n;
	return 0;
}

void net_free(struct net *n)
{
	if (n == NULL)
		return;
	net_conn_free_all(n);
	if (n->netif_added)
		netif_remove(&n->netif);
	net_port_close(n);
	free(n);
	in_use = false;
}

unsigned net_poll(struct net *n, uint64_t now_ns)
{
	unsigned work;

	set_now(n, now_ns);
	/* Before the timers: what has arrived may be the very thing that they would complain about. */
	work = net_port_rx(n);
	if (n->now_ns - n->tick_ns >= NET_TICK_NS) {
		n->tick_ns = n->now_ns;
		net_port_tick(n);
		if (sys_timeouts_sleeptime() == 0)
			net_lwip_stop_idle_persist();
		sys_check_timeouts();
		net_ip6_tick(n);
		net_conn_tick(n);
	}
	if (n->port.tx_refused && n->port.tx_cnt < NET_TX_QUEUE) {
		n->port.tx_refused = false;
		net_conn_output_all(n);
	}
	if (n->pending != NULL && !net_conn_run_pending(n))
		work++;
	if (n->port.tx_cnt != 0)
		work += net_port_flush(n);
	return work;
}

uint64_t net_rx_ns(const struct net *n)
{
	return n->rx_ns;
}

bool net_link_up(const struct net *n)
{
	return net_port_link_up(n);
}

void net_stats_get(const struct net *n, struct net_stats *s)
{
	*s = n->stats;
	net_port_stats(n, s);
}
