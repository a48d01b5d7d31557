#include "net/net_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_prefetch.h>
#include <sodium.h>

enum {
	DESC_DEFAULT = 1024,
	MBUF_CACHE = 256,
	LINK_WAIT_MS = 100,
	REDIAL_NS = 250000000,
};
#define MEMIF_LOG "pmd.net.memif"

/* A frame lent to lwIP; lies in the mbuf's private area, so lending allocates nothing. */
struct rx_lent {
	struct pbuf_custom pc; /* first: lwIP gives back the address of its pbuf */
	struct net_port *port;
	struct rte_mbuf *m;
};

struct rx_copy {
	struct pbuf_custom pc; /* first, likewise */
	struct net_port *port;
	uint8_t data[];
};

/* ---- faults for tests ---- */

static bool chance(struct net *n, uint32_t ppm)
{
	uint64_t z;

	if (ppm == 0)
		return false;
	/* splitmix64 */
	z = n->port.rng += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return z % 1000000 < ppm;
}

/* ---- receive ---- */

static void lent_free(struct pbuf *p)
{
	struct rx_lent *l = (struct rx_lent *)p;

	l->port->lent_cnt--;
	rte_pktmbuf_free(l->m);
}

static void copy_free(struct pbuf *p)
{
	struct rx_copy *c = (struct rx_copy *)p;

	c->port->copied_cnt--;
	free(c);
}

/* lwIP keeps segments that came out of order for as long as the gap is open.  A peer may make those many
   and tiny, so no more than half of the pool is lent; beyond that, frames are copied, and the copies are
   counted too. */
static bool may_lend(const struct net_port *port, const struct rte_mbuf *m)
{
	return m->nb_segs == 1 && RTE_MBUF_DIRECT(m) && rte_mbuf_refcnt_read(m) == 1 && m->pool == port->pool &&
	       port->lent_cnt < port->pool_cnt / 2;
}

static struct pbuf *lend(struct net_port *port, struct rte_mbuf *m)
{
	struct rx_lent *l = rte_mbuf_to_priv(m);

	l->pc.custom_free_function = lent_free;
	l->port = port;
	l->m = m;
	port->lent_cnt++;
	/* PBUF_REF: lwIP then never writes in front of the payload, where this structure is. */
	return pbuf_alloced_custom(PBUF_RAW, rte_pktmbuf_data_len(m), PBUF_REF, &l->pc,
				   rte_pktmbuf_mtod(m, void *), rte_pktmbuf_data_len(m));
}

/* Consumes m in any case. */
static struct pbuf *copy(struct net_port *port, struct rte_mbuf *m)
{
	uint32_t sz = rte_pktmbuf_pkt_len(m);
	struct rx_copy *c = NULL;
	const void *from;

	if (sz <= port->frame_max && port->copied_cnt < NET_COPIED_MAX)
		c = malloc(sizeof(*c) + sz);
	if (c != NULL) {
		from = rte_pktmbuf_read(m, 0, sz, c->data);
		if (from != c->data)
			memcpy(c->data, from, sz);
	}
	rte_pktmbuf_free(m);
	if (c == NULL)
		return NULL;
	c->pc.custom_free_function = copy_free;
	c->port = port;
	port->copied_cnt++;
	return pbuf_alloced_custom(PBUF_RAW, (uint16_t)sz, PBUF_REF, &c->pc, c->data, (uint16_t)sz);
}

static void input(struct net *n, struct rte_mbuf *m)
{
	struct pbuf *p;
	enum net_verdict v = net_frame_judge(rte_pktmbuf_mtod(m, const uint8_t *), rte_pktmbuf_data_len(m),
					     &n->own);

	if (v != FRAME_WANTED) {
		n->stats.rx_ignored++;
		n->stats.addr_conflicts += v == FRAME_CONFLICT;
		rte_pktmbuf_free(m);
		return;
	}
	p = may_lend(&n->port, m) ? lend(&n->port, m) : copy(&n->port, m);
	if (p == NULL) {
		n->stats.rx_nombuf++;
		return;
	}
	if (n->netif.input(p, &n->netif) != ERR_OK)
		pbuf_free(p);
}

static void release_held(struct net *n)
{
	struct rte_mbuf *m = n->port.held;

	n->port.held = NULL;
	if (m != NULL)
		input(n, m);
}

static void receive(struct net *n, struct rte_mbuf *m)
{
	n->stats.rx_frames++;
	n->stats.rx_bytes += rte_pktmbuf_pkt_len(m);
	if (chance(n, n->cfg.drop_rx_ppm)) {
		n->stats.faults_dropped++;
		rte_pktmbuf_free(m);
		return;
	}
	if (n->port.held == NULL && chance(n, n->cfg.reorder_rx_ppm)) {
		n->stats.faults_reordered++;
		n->port.held = m;
		return;
	}
	input(n, m);
	release_held(n);
}

unsigned net_port_rx(struct net *n)
{
	struct rte_mbuf *m[NET_BURST];
	unsigned cnt;

	if (!n->port.started)
		return 0;
	net_burst_begin();
	cnt = rte_eth_rx_burst(n->cfg.port_id, 0, m, NET_BURST);
	net_burst_end();
	n->rx_ns = n->now_ns;
	for (unsigned i = 0; i < cnt; i++) {
		if (i + 2 < cnt)
			rte_prefetch0(rte_pktmbuf_mtod(m[i + 2], void *));
		receive(n, m[i]);
		/* The far end goes on by what is answered here: not only when the whole burst is done. */
		if (i % NET_TX_BURST == NET_TX_BURST - 1 && n->port.tx_cnt != 0)
			net_port_flush(n);
	}
	return cnt;
}

/* ---- transmit ---- */

unsigned net_port_flush(struct net *n)
{
	struct net_port *port = &n->port;
	unsigned sent = 0;
	unsigned cnt = 1;

	if (!port->started)
		return 0;
	net_burst_begin();
	for (; sent < port->tx_cnt && cnt != 0; sent += cnt)
		cnt = rte_eth_tx_burst(n->cfg.port_id, 0, port->tx + sent, (uint16_t)(port->tx_cnt - sent));
	net_burst_end();
	port->tx_cnt -= sent;
	if (sent != 0)
		memmove(port->tx, port->tx + sent, port->tx_cnt * sizeof(port->tx[0]));
	n->stats.tx_frames += sent;
	return sent;
}

/* An error makes TCP keep the segment as unsent; net_poll asks it again once the queue has room. */
static err_t refuse(struct net *n)
{
	n->stats.tx_dropped++;
	n->port.tx_refused = true;
	return ERR_MEM;
}

err_t net_port_linkoutput(struct netif *netif, struct pbuf *p)
{
	struct net *n = netif->state;
	struct net_port *port = &n->port;
	struct rte_mbuf *m;
	char *to;

	if (p->tot_len > port->frame_max)
		return ERR_BUF;
	if (chance(n, n->cfg.drop_tx_ppm)) {
		n->stats.faults_dropped++;
		return ERR_OK;
	}
	if (port->tx_cnt == NET_TX_QUEUE && net_port_flush(n) == 0)
		return refuse(n);
	m = rte_pktmbuf_alloc(port->pool);
	if (m == NULL)
		return refuse(n);
	to = rte_pktmbuf_append(m, p->tot_len);
	if (to == NULL) {
		rte_pktmbuf_free(m);
		return ERR_BUF;
	}
	pbuf_copy_partial(p, to, p->tot_len, 0);
	n->stats.tx_bytes += p->tot_len;
	port->tx[port->tx_cnt++] = m;
	if (port->tx_cnt == NET_TX_BURST)
		net_port_flush(n);
	return ERR_OK;
}

/* ---- set-up ---- */

static int fail(char *why, size_t why_sz, int err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static int fail(char *why, size_t why_sz, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, why_sz, fmt, ap);
	va_end(ap);
	return err;
}

/* These drivers report the longest frame of plain Ethernet and so cannot be told a larger MTU, yet pass on what
   their rings, their file or the kernel's interface hold. */
static bool takes_what_its_maker_says(const struct rte_eth_dev_info *info)
{
	static const char *const name[] = {"net_memif", "net_tap", "net_af_packet"};

	for (size_t i = 0; i < RTE_DIM(name); i++)
		if (strcmp(info->driver_name, name[i]) == 0)
			return true;
	return false;
}

static int choose_mtu(struct net *n, uint16_t device_mtu, char *why, size_t why_sz)
{
	struct net_config *cfg = &n->cfg;
	unsigned least = net_ip6_is_zero(cfg->ip6) ? NET_MTU_MIN : NET_MTU6_MIN;

	if (cfg->mtu == 0)
		cfg->mtu = RTE_MIN(device_mtu, NET_MTU_USUAL);
	n->port.frame_max = (uint32_t)cfg->mtu + RTE_ETHER_HDR_LEN;
	if (cfg->mtu < least)
		return fail(why, why_sz, -EINVAL, "port %u has an MTU of %u, at least %u is needed",
			    cfg->port_id, device_mtu, least);
	return 0;
}

static int configure(const struct net *n, const struct rte_eth_dev_info *info, uint16_t device_mtu, char *why,
		     size_t why_sz)
{
	const struct net_config *cfg = &n->cfg;
	bool told = cfg->mtu > device_mtu && !takes_what_its_maker_says(info);
	struct rte_eth_conf conf = {.rxmode.mtu = told ? cfg->mtu : device_mtu};
	int err;

	conf.txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
	err = rte_eth_dev_configure(cfg->port_id, 1, 1, &conf);
	if (err == -EINVAL && told)
		return fail(why, why_sz, err, "port %u (%s) refuses an MTU of %u (its own is %u, its most %u)",
			    cfg->port_id, info->driver_name, cfg->mtu, device_mtu, info->max_mtu);
	if (err != 0)
		return fail(why, why_sz, err, "port %u (%s) cannot be configured: %s", cfg->port_id,
			    info->driver_name, rte_strerror(-err));
	if (cfg->mtu == device_mtu || (cfg->mtu > device_mtu && !told))
		return 0;
	err = rte_eth_dev_set_mtu(cfg->port_id, cfg->mtu);
	/* A device that cannot change its MTU takes shorter frames all the same, and one that has been
	   configured for longer ones takes those. */
	if (err != 0 && err != -ENOTSUP)
		return fail(why, why_sz, err, "port %u refuses an MTU of %u (its own is %u): %s", cfg->port_id,
			    cfg->mtu, device_mtu, rte_strerror(-err));
	return 0;
}

static int set_up_pool(struct net *n, char *why, size_t why_sz)
{
	struct net_config *cfg = &n->cfg;
	uint32_t least = (uint32_t)cfg->rx_desc + cfg->tx_desc + NET_TX_QUEUE + 2 * MBUF_CACHE;
	/* A whole frame in each, or it could not be lent; some NICs count buffers in units of 1 KiB. */
	uint32_t room = RTE_PKTMBUF_HEADROOM + RTE_ALIGN(n->port.frame_max + RTE_ETHER_CRC_LEN, 1024u);
	char name[RTE_MEMPOOL_NAMESIZE];

	room = RTE_MAX(room, (uint32_t)RTE_MBUF_DEFAULT_BUF_SIZE);
	if (cfg->mbuf_cnt == 0)
		cfg->mbuf_cnt = RTE_MAX(rte_align32pow2(2 * least), 8192u) - 1;
	if (cfg->mbuf_cnt < least)
		return fail(why, why_sz, -EINVAL,
			    "%u frame buffers are too few for port %u: at least %u are needed", cfg->mbuf_cnt,
			    cfg->port_id, least);
	/* The pool outlives net_free, since a driver may keep buffers of a stopped port. */
	snprintf(name, sizeof(name), "net%u_%x_%x", cfg->port_id, cfg->mbuf_cnt, (uint16_t)room);
	n->port.pool = rte_mempool_lookup(name);
	if (n->port.pool == NULL)
		n->port.pool = rte_pktmbuf_pool_create(name, cfg->mbuf_cnt, MBUF_CACHE,
						       RTE_ALIGN(sizeof(struct rx_lent), RTE_MBUF_PRIV_ALIGN),
						       (uint16_t)room, rte_eth_dev_socket_id(cfg->port_id));
	if (n->port.pool == NULL)
		return fail(why, why_sz, -ENOMEM,
			    "no memory for %u frame buffers (%s): give EAL more with -m, or ask "
			    "for fewer",
			    cfg->mbuf_cnt, rte_strerror(rte_errno));
	n->port.pool_cnt = cfg->mbuf_cnt;
	return 0;
}

static int set_up_queues(struct net *n, const struct rte_eth_dev_info *info, char *why, size_t why_sz)
{
	struct net_config *cfg = &n->cfg;
	int socket = rte_eth_dev_socket_id(cfg->port_id);
	struct rte_eth_rxconf rx = info->default_rxconf;
	struct rte_eth_txconf tx = info->default_txconf;
	int err;

	if (cfg->rx_desc == 0)
		cfg->rx_desc = DESC_DEFAULT;
	if (cfg->tx_desc == 0)
		cfg->tx_desc = DESC_DEFAULT;
	err = rte_eth_dev_adjust_nb_rx_tx_desc(cfg->port_id, &cfg->rx_desc, &cfg->tx_desc);
	if (err != 0)
		return fail(why, why_sz, err, "port %u has no usable queue sizes: %s", cfg->port_id,
			    rte_strerror(-err));
	err = set_up_pool(n, why, why_sz);
	if (err != 0)
		return err;
	err = rte_eth_rx_queue_setup(cfg->port_id, 0, cfg->rx_desc, (unsigned)socket, &rx, n->port.pool);
	if (err != 0)
		return fail(why, why_sz, err, "port %u refuses its receive queue (%u entries): %s",
			    cfg->port_id, cfg->rx_desc, rte_strerror(-err));
	tx.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
	err = rte_eth_tx_queue_setup(cfg->port_id, 0, cfg->tx_desc, (unsigned)socket, &tx);
	if (err != 0)
		return fail(why, why_sz, err, "port %u refuses its send queue (%u entries): %s", cfg->port_id,
			    cfg->tx_desc, rte_strerror(-err));
	return 0;
}

static int set_up_mac(struct net *n, char *why, size_t why_sz)
{
	struct rte_ether_addr own, *cfg = (struct rte_ether_addr *)n->cfg.mac;
	int err;

	err = rte_eth_macaddr_get(n->cfg.port_id, &own);
	if (err != 0)
		return fail(why, why_sz, err, "port %u does not tell its MAC address: %s", n->cfg.port_id,
			    rte_strerror(-err));
	if (rte_is_zero_ether_addr(cfg)) {
		/* Software ports may have none. */
		if (rte_is_zero_ether_addr(&own))
			rte_eth_random_addr(own.addr_bytes);
		*cfg = own;
		return 0;
	}
	if (rte_is_multicast_ether_addr(cfg))
		return fail(why, why_sz, -EINVAL,
			    "the MAC address is a multicast one: its first byte must be even");
	if (!rte_is_same_ether_addr(cfg, &own)) {
		err = rte_eth_promiscuous_enable(n->cfg.port_id);
		/* Drivers that cannot be told are those that do not filter. */
		if (err != 0 && err != -ENOTSUP)
			return fail(why, why_sz, err, "port %u cannot receive for another MAC than its own: %s",
				    n->cfg.port_id, rte_strerror(-err));
	}
	return 0;
}

/* What is sent while the link is down may be lost, and the first retransmission of a SYN is three seconds
   away.  But a memif is down until its other end appears, so this is only a short courtesy. */
static void wait_for_link(uint16_t port_id)
{
	struct rte_eth_link link = {0};

	for (unsigned ms = 0; ms < LINK_WAIT_MS; ms++) {
		if (rte_eth_link_get_nowait(port_id, &link) != 0 || link.link_status != 0)
			return;
		rte_delay_us_sleep(1000);
	}
}

/* A memif client tries to find its server once, when the port is started, and not again: not where the
   server comes up later, and not when it has gone and come back. */
static bool is_memif_client(const struct rte_eth_dev_info *info)
{
	const struct rte_devargs *args = rte_dev_devargs(info->device);

	return strcmp(info->driver_name, "net_memif") == 0 && args != NULL && args->args != NULL &&
	       strstr(args->args, "role=server") == NULL;
}

static int start(struct net *n)
{
	int log = n->port.redials ? rte_log_register(MEMIF_LOG) : -1;
	int level = log < 0 ? 0 : rte_log_get_level((uint32_t)log);
	int err;

	/* That there is no server yet is no error. */
	if (log >= 0)
		rte_log_set_level((uint32_t)log, RTE_LOG_EMERG);
	err = rte_eth_dev_start(n->cfg.port_id);
	if (log >= 0 && level > 0)
		rte_log_set_level((uint32_t)log, (uint32_t)level);
	n->port.started = err == 0;
	n->port.redial_ns = n->now_ns + REDIAL_NS;
	return err;
}

int net_port_open(struct net *n, char *why, size_t why_sz)
{
	struct net_config *cfg = &n->cfg;
	struct rte_eth_dev_info info;
	uint16_t device_mtu;
	int err;

	if (!rte_eth_dev_is_valid_port(cfg->port_id))
		return fail(why, why_sz, -ENODEV,
			    "there is no port %u: give EAL a device (--vdev or -a), it has %u", cfg->port_id,
			    rte_eth_dev_count_avail());
	err = rte_eth_dev_info_get(cfg->port_id, &info);
	if (err == 0)
		err = rte_eth_dev_get_mtu(cfg->port_id, &device_mtu);
	if (err != 0)
		return fail(why, why_sz, err, "port %u cannot be asked: %s", cfg->port_id, rte_strerror(-err));
	n->port.rng = cfg->fault_seed;
	err = choose_mtu(n, device_mtu, why, why_sz);
	if (err == 0)
		err = configure(n, &info, device_mtu, why, why_sz);
	if (err == 0)
		err = set_up_queues(n, &info, why, why_sz);
	if (err != 0)
		return err;
	n->port.redials = is_memif_client(&info);
	err = start(n);
	if (err != 0 && !n->port.redials)
		return fail(why, why_sz, err, "port %u (%s) does not start: %s", cfg->port_id, info.driver_name,
			    rte_strerror(-err));
	err = set_up_mac(n, why, why_sz);
	if (err == 0 && n->port.started)
		wait_for_link(cfg->port_id);
	return err;
}

void net_port_tick(struct net *n)
{
	release_held(n);
	if (!n->port.redials || n->now_ns < n->port.redial_ns)
		return;
	n->port.redial_ns = n->now_ns + REDIAL_NS;
	if (net_port_link_up(n))
		return;
	if (n->port.started)
		rte_eth_dev_stop(n->cfg.port_id);
	start(n);
}

int net_port_multicast(struct net *n, const uint8_t (*group)[6], unsigned cnt)
{
	struct rte_ether_addr mac[NET_GROUP_MAX];
	int err;

	for (unsigned i = 0; i < cnt; i++)
		memcpy(mac[i].addr_bytes, group[i], sizeof(group[i]));
	/* The narrowest that the driver can do.  One that can do nothing is one that does not filter. */
	err = rte_eth_dev_set_mc_addr_list(n->cfg.port_id, mac, cnt);
	if (err != 0)
		err = rte_eth_allmulticast_enable(n->cfg.port_id);
	if (err != 0)
		err = rte_eth_promiscuous_enable(n->cfg.port_id);
	return err == -ENOTSUP ? 0 : err;
}

void net_port_close(struct net *n)
{
	if (n->port.held != NULL)
		rte_pktmbuf_free(n->port.held);
	n->port.held = NULL;
	if (n->port.started)
		net_port_flush(n);
	for (unsigned i = 0; i < n->port.tx_cnt; i++)
		rte_pktmbuf_free(n->port.tx[i]);
	n->port.tx_cnt = 0;
	if (n->port.started)
		rte_eth_dev_stop(n->cfg.port_id);
	n->port.started = false;
}

bool net_port_link_up(const struct net *n)
{
	struct rte_eth_link link = {0};

	return rte_eth_link_get_nowait(n->cfg.port_id, &link) == 0 && link.link_status != 0;
}

void net_port_stats(const struct net *n, struct net_stats *s)
{
	struct rte_eth_stats e;

	if (rte_eth_stats_get(n->cfg.port_id, &e) != 0)
		return;
	s->rx_missed = e.imissed;
	s->rx_errors = e.ierrors;
	s->rx_nombuf += e.rx_nombuf;
}
