#include "topo/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum option_id {
	OPT_NETWORK = 1,
	OPT_LINK,
	OPT_PORT_ID,
	OPT_ADDRESS,
	OPT_GATEWAY,
	OPT_MTU,
	OPT_MAC,
	OPT_MBUFS,
	OPT_PEER,
	OPT_RECENT,
	OPT_WINDOW,
	OPT_BUFFERS,
	OPT_INFLIGHT,
	OPT_BAN,
	OPT_NET_LCORE,
	OPT_SCAN_LCORES,
	OPT_BUSY,
	OPT_IDLE,
	OPT_FORM,
	OPT_MIN_WORK,
	OPT_KERNEL,
	OPT_CPU_MASK,
	OPT_HELP,
	OPT_VERSION
};

struct option_doc {
	enum option_id id;
	const char *name;
	const char *arg; /* NULL: takes none */
	const char *text;
};

/* In the order of enum option_id. */
static const struct option_doc docs[] = {
	{OPT_NETWORK, "network", "NAME", "main, testnet3, testnet4, signet or regtest (main)"},
	{OPT_LINK, "link", "PATH", "Unix socket on which vigild finds this process (required)"},
	{OPT_PORT_ID, "port-id", "N", "DPDK port to use (0)"},
	{OPT_ADDRESS, "address", "IP/PREFIX",
	 "our address and prefix length; one IPv4, one IPv6 or both (required)"},
	{OPT_GATEWAY, "gateway", "IP", "router for peers outside our subnet, one of each family (none)"},
	{OPT_MTU, "mtu", "BYTES", "largest IP packet, 576 (IPv6: 1280) to 9000 (the device's, at most 1500)"},
	{OPT_MAC, "mac", "MAC", "our Ethernet address (the port's; on net_tap another one is chosen)"},
	{OPT_MBUFS, "mbufs", "N", "packet buffers (chosen by the driver's queues)"},
	{OPT_PEER, "peer", "IP[:PORT]", "a trusted Bitcoin node, [IPv6]:PORT; repeat for several (required)"},
	{OPT_RECENT, "recent-blocks", "N", "blocks in which a late appointment finds its breach (6)"},
	{OPT_WINDOW, "window", "N", "blocks to run ahead of vigild's acknowledgements (32)"},
	{OPT_BUFFERS, "block-buffers", "N", "4 MB buffers for blocks on their way (32)"},
	{OPT_INFLIGHT, "inflight", "N", "blocks asked of one peer at a time (16)"},
	{OPT_BAN, "ban-seconds", "N",
	 "how long a node that lied is not dialled while others serve, 0 to 86400 (600)"},
	{OPT_NET_LCORE, "net-lcore", "N", "lcore of port, TCP and P2P (chosen)"},
	{OPT_SCAN_LCORES, "scan-lcores", "N,...", "lcores of the scan, one index shard each (chosen)"},
	{OPT_BUSY, "busy-poll", NULL, "never sleep, however idle"},
	{OPT_IDLE, "idle-sleep-us", "US",
	 "longest nap of the port's lcore, microseconds; four times that after a second without work (1000)"},
	{OPT_FORM, "block-form", "FORM", "full or stripped: with or without witness (full)"},
	{OPT_MIN_WORK, "min-chain-work", "HEX",
	 "work that a chain must have to be followed (the network's own)"},
	{OPT_KERNEL, "txid-kernel", "NAME", "force a txid kernel (the fastest that works here)"},
	{OPT_CPU_MASK, "cpu-mask", "HEX", "CPU features kernels may use: 1 SSE4.1, 2 SHA, 4 AVX2, 8 AVX-512"},
	{OPT_HELP, "help", NULL, "this text"},
	{OPT_VERSION, "version", NULL, "the version"},
};
#define DOC_CNT (sizeof(docs) / sizeof(docs[0]))

void options_help(void)
{
	printf("vigil-dataplane %s: Bitcoin blocks in, breaches of watched channels out.\n\n"
	       "usage: vigil-dataplane [EAL options] -- [options]\n\n",
	       VIGIL_VERSION);
	for (size_t i = 0; i < DOC_CNT; i++) {
		char left[40];

		snprintf(left, sizeof(left), "--%s%s%s", docs[i].name, docs[i].arg ? " " : "",
			 docs[i].arg ? docs[i].arg : "");
		printf("  %-28s %s\n", left, docs[i].text);
	}
	printf("\nWithout a NIC, huge pages or root, for a node joined by memif:\n"
	       "  vigil-dataplane -l 0 --no-pci --no-huge -m 256 --file-prefix=dp "
	       "--vdev=net_memif0,role=client,id=0,socket=PATH,socket-abstract=no -- ...\n");
}

static bool number(const char *text, uint64_t min, uint64_t max, int base, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, base);
	return errno == 0 && end != text && *end == '\0' && text[0] != '-' && *out >= min && *out <= max;
}

static bool u32(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
	uint64_t v;

	if (!number(text, min, max, 10, &v))
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool mac(const char *text, uint8_t out[6])
{
	unsigned b[6];
	char more;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &more) != 6)
		return false;
	for (unsigned i = 0; i < 6; i++)
		out[i] = (uint8_t)b[i];
	return (out[0] & 1) == 0; /* a group address cannot be ours */
}

static bool lcore_list(struct options *o, const char *text)
{
	char copy[256], *save, *tok;

	if (strlen(text) >= sizeof(copy))
		return false;
	strcpy(copy, text);
	for (tok = strtok_r(copy, ",", &save); tok != NULL; tok = strtok_r(NULL, ",", &save)) {
		if (o->scan_lcore_cnt == SCAN_LCORE_MAX ||
		    !u32(tok, 0, 1023, &o->scan_lcore[o->scan_lcore_cnt]))
			return false;
		for (uint32_t i = 0; i < o->scan_lcore_cnt; i++)
			if (o->scan_lcore[i] == o->scan_lcore[o->scan_lcore_cnt])
				return false;
		o->scan_lcore_cnt++;
	}
	return o->scan_lcore_cnt > 0;
}

static bool add_peer(struct options *o, const char *text, const struct network *n)
{
	if (o->peer_cnt == PEER_MAX || !net_addr_parse(&o->peer[o->peer_cnt], text, n->p2p_port))
		return false;
	o->peer_cnt++;
	return true;
}

static bool set(struct options *o, enum option_id id, const char *arg)
{
	uint64_t v;
	uint32_t w;

	switch (id) {
	case OPT_NETWORK:
		return o->network != NULL; /* taken in a pass of its own: peers need its port */
	case OPT_LINK:
		o->link_path = arg;
		return arg[0] != '\0' && strlen(arg) < 108; /* sun_path */
	case OPT_PORT_ID:
		if (!u32(arg, 0, UINT16_MAX, &w))
			return false;
		o->net.port_id = (uint16_t)w;
		return true;
	case OPT_ADDRESS:
		return net_config_address(&o->net, arg);
	case OPT_GATEWAY:
		return net_config_gateway(&o->net, arg);
	case OPT_MTU:
		if (!u32(arg, 576, 9000, &w))
			return false;
		o->net.mtu = (uint16_t)w;
		return true;
	case OPT_MAC:
		return mac(arg, o->net.mac);
	case OPT_MBUFS:
		return u32(arg, 512, 1u << 22, &o->net.mbuf_cnt);
	case OPT_PEER:
		return add_peer(o, arg, o->network);
	case OPT_RECENT:
		return u32(arg, 1, 2016, &o->recent_blocks);
	case OPT_WINDOW:
		return u32(arg, 1, 1024, &o->window);
	case OPT_BUFFERS:
		return u32(arg, 2, 4096, &o->block_bufs);
	case OPT_INFLIGHT:
		return u32(arg, 1, 128, &o->inflight);
	case OPT_BAN:
		return u32(arg, 0, 86400, &o->ban_s);
	case OPT_NET_LCORE:
		return u32(arg, 0, 1023, &o->net_lcore);
	case OPT_SCAN_LCORES:
		return lcore_list(o, arg);
	case OPT_BUSY:
		o->busy_poll = true;
		return true;
	case OPT_IDLE:
		return u32(arg, 1, 1000000, &o->idle_sleep_us);
	case OPT_FORM:
		o->stripped = strcmp(arg, "stripped") == 0;
		return o->stripped || strcmp(arg, "full") == 0;
	case OPT_MIN_WORK:
		o->has_min_chain_work = true;
		/* The highest bit marks relative work (chain/headers.h). */
		return u256_from_hex(&o->min_chain_work, arg) && o->min_chain_work.l[3] >> 63 == 0;
	case OPT_KERNEL:
		o->txid_kernel = arg;
		return true;
	case OPT_CPU_MASK:
		if (!number(arg, 0, UINT32_MAX, 16, &v))
			return false;
		o->cpu_mask = (unsigned)v;
		return true;
	case OPT_HELP:
	case OPT_VERSION:
		return true;
	}
	return false;
}

static enum options_result bad(const char *what, const char *why)
{
	fprintf(stderr, "vigil-dataplane: %s: %s (see --help)\n", what, why);
	return OPTIONS_EXIT_BAD;
}

static enum options_result pass(struct options *o, int argc, char **argv, const struct option *lo,
				bool networks)
{
	int id;

	optind = 0; /* start over, also after the EAL's own pass */
	while ((id = getopt_long(argc, argv, "", lo, NULL)) != -1) {
		char name[40];

		if (id == '?')
			return OPTIONS_EXIT_BAD; /* getopt has said what */
		snprintf(name, sizeof(name), "--%s", docs[id - 1].name);
		if (id == OPT_HELP) {
			options_help();
			return OPTIONS_EXIT_OK;
		}
		if (id == OPT_VERSION) {
			printf("vigil-dataplane %s\n", VIGIL_VERSION);
			return OPTIONS_EXIT_OK;
		}
		if (networks && id == OPT_NETWORK) {
			o->network = network_by_name(optarg);
			if (o->network == NULL)
				return bad(name, "no such network");
		} else if (!networks && !set(o, (enum option_id)id, optarg)) {
			return bad(name, "bad value");
		}
	}
	if (optind < argc)
		return bad(argv[optind], "not an option");
	return OPTIONS_RUN;
}

static bool is_ip4(const struct net_addr *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(a->ip, mapped, sizeof(mapped)) == 0;
}

static bool has_family(const struct net_config *n, bool ip4)
{
	static const uint8_t none[16];

	return memcmp(ip4 ? n->ip4 : n->ip6, none, ip4 ? sizeof(n->ip4) : sizeof(n->ip6)) != 0;
}

static enum options_result check(const struct options *o)
{
	if (o->link_path == NULL)
		return bad("--link", "missing");
	if (!has_family(&o->net, true) && !has_family(&o->net, false))
		return bad("--address", "missing");
	if (o->peer_cnt == 0)
		return bad("--peer", "missing: without a node there are no blocks");
	for (uint32_t i = 0; i < o->peer_cnt; i++)
		if (!has_family(&o->net, is_ip4(&o->peer[i])))
			return bad("--peer", is_ip4(&o->peer[i]) ? "an IPv4 one needs an IPv4 --address"
								 : "an IPv6 one needs an IPv6 --address");
	return OPTIONS_RUN;
}

enum options_result options_parse(struct options *o, int argc, char **argv)
{
	struct option lo[DOC_CNT + 1] = {0};
	enum options_result r;

	/* Blocks are asked for in full: a node sends those as they lie in its files, but has to take a block apart to
	   strip it.  bench/path: half of the bytes, and yet fewer blocks a second from the embedded node (575
	   against 643 of 1.5 MB); Bitcoin Core serves 55 to 90 stripped ones a second, 115 to 250 full ones.  Hits
	   and penalties need no witness, so where bytes are dear stripped serves as well. */
	*o = (struct options){
		.network = network_get(NET_MAIN),
		.recent_blocks = 6,
		.window = 32,
		.block_bufs = 32,
		.inflight = 16,
		.ban_s = 600,
		.net_lcore = LCORE_NONE,
		.idle_sleep_us = 1000,
		.cpu_mask = UINT32_MAX,
	};
	for (size_t i = 0; i < DOC_CNT; i++) {
		lo[i] = (struct option){docs[i].name, docs[i].arg ? required_argument : no_argument, NULL,
					(int)docs[i].id};
	}
	r = pass(o, argc, argv, lo, true);
	if (r == OPTIONS_RUN)
		r = pass(o, argc, argv, lo, false);
	return r == OPTIONS_RUN ? check(o) : r;
}
