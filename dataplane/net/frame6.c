/* Which IPv6 packets the stack gets to see.

   TCP is judged as over IPv4.  Of ICMPv6 only what keeps a configured host on its link is let through: echo
   requests, neighbour solicitations and advertisements, and multicast listener queries, without whose answers
   a snooping switch stops to deliver solicitations.  Those are tested here by RFC 4861 7.1 as a whole, since
   lwIP tests a part of it, takes the first option for the address whatever its kind, and does not mind one of
   length 0. */
#include "net/net_internal.h"

#include <netinet/in.h>
#include <string.h>

enum {
	ETH_HEADER = 14,
	ETH_SRC = 6,
	IP6_HEADER = 40,
	HOP_BY_HOP_SZ = 8,
	ICMP_ECHO_SZ = 8,
	ND_SZ = 24,  /* solicitation, advertisement: without options */
	MLD_SZ = 24, /* query, version 1; version 2 is longer */
	ND_SOLICIT = 135,
	ND_ADVERT = 136,
	MLD_QUERY = 130,
	ECHO_REQUEST = 128,
	ND_HOP_LIMIT = 255, /* nobody beyond the link can make it */
	OPT_SOURCE_MAC = 1,
	OPT_TARGET_MAC = 2,
	SOLICITED = 0x40,
};

static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* Which of our addresses it is; NET_IP6_CNT: none. */
static unsigned which(const struct net_own *own, const uint8_t a[16])
{
	unsigned i = 0;

	while (i < NET_IP6_CNT && (memcmp(own->ip6[i], a, 16) != 0 || net_ip6_is_zero(a)))
		i++;
	return i;
}

/* An answer to our own or a loopback address would go to lwIP's loop interface, which needs the thread that
   this process does not have. */
static bool plausible_sender(const struct net_own *own, const uint8_t src[16])
{
	return net_ip6_is_unicast(src) && which(own, src) == NET_IP6_CNT;
}

static bool is_solicited_node(const uint8_t group[16], const uint8_t of[16])
{
	static const uint8_t prefix[13] = {0xff, 2, [11] = 1, [12] = 0xff};

	return memcmp(group, prefix, sizeof(prefix)) == 0 && memcmp(group + 13, of + 13, 3) == 0;
}

enum nd_options { ND_OPTIONS_BAD, ND_OPTIONS_NONE, ND_OPTIONS_OTHER, ND_OPTIONS_MAC };

/* What the first option is; that of the wanted kind must hold the address of one station. */
static enum nd_options nd_options(const uint8_t *opt, size_t sz, uint8_t wanted)
{
	enum nd_options first = sz == 0 ? ND_OPTIONS_NONE : ND_OPTIONS_OTHER;

	if (sz >= 8 && opt[0] == wanted && opt[1] == 1 && (opt[2] & 1) == 0)
		first = ND_OPTIONS_MAC;
	while (sz != 0) {
		size_t len = sz < 8 ? 0 : (size_t)opt[1] * 8;

		if (len == 0 || len > sz)
			return ND_OPTIONS_BAD;
		opt += len;
		sz -= len;
	}
	return first;
}

/* nd: the message, sz bytes; ip in front of it. */
static bool solicit_wanted(const uint8_t *ip, const uint8_t *nd, size_t sz, const struct net_own *own)
{
	const uint8_t *src = ip + 8, *dst = ip + 24, *target = nd + 8;
	enum nd_options first = nd_options(nd + ND_SZ, sz - ND_SZ, OPT_SOURCE_MAC);
	bool to_group = is_solicited_node(dst, target);

	if (which(own, target) == NET_IP6_CNT || first == ND_OPTIONS_BAD)
		return false;
	if (net_ip6_is_zero(src)) /* somebody asks whether the address is taken */
		return to_group && first != ND_OPTIONS_MAC;
	/* A stranger to the link would take a neighbour's place in the cache. */
	return (to_group || memcmp(dst, target, 16) == 0) && first == ND_OPTIONS_MAC &&
	       plausible_sender(own, src) && net_ip6_on_link(own, src);
}

static enum net_verdict judge_advert(const uint8_t *ip, const uint8_t *nd, size_t sz, const struct net_own *own)
{
	const uint8_t *src = ip + 8, *dst = ip + 24, *target = nd + 8;
	enum nd_options first = nd_options(nd + ND_SZ, sz - ND_SZ, OPT_TARGET_MAC);
	bool to_all = memcmp(dst, all_nodes, 16) == 0;
	unsigned mine = which(own, target);

	if (!net_ip6_is_unicast(target) || !net_ip6_is_unicast(src) || first == ND_OPTIONS_BAD ||
	    first == ND_OPTIONS_OTHER)
		return FRAME_IGNORED;
	if (to_all ? (nd[4] & SOLICITED) != 0 : which(own, dst) == NET_IP6_CNT)
		return FRAME_IGNORED;
	/* lwIP would give up the address for good.  That is right only while we ask for it. */
	if (mine != NET_IP6_CNT)
		return to_all && own->tentative[mine] ? FRAME_WANTED : FRAME_CONFLICT;
	return net_ip6_on_link(own, target) && plausible_sender(own, src) ? FRAME_WANTED : FRAME_IGNORED;
}

static enum net_verdict judge_icmp(const uint8_t *ip, const uint8_t *icmp, size_t sz, const struct net_own *own)
{
	bool wanted = false;

	if (sz < ICMP_ECHO_SZ || icmp[1] != 0)
		return FRAME_IGNORED;
	if (icmp[0] == ECHO_REQUEST) {
		wanted = which(own, ip + 24) != NET_IP6_CNT && plausible_sender(own, ip + 8);
	} else if ((icmp[0] == ND_SOLICIT || icmp[0] == ND_ADVERT) && sz >= ND_SZ && ip[7] == ND_HOP_LIMIT) {
		/* A switch that sends our own questions back to us disputes nothing (RFC 7527). */
		if (memcmp(ip - ETH_HEADER + ETH_SRC, own->mac, sizeof(own->mac)) == 0)
			return FRAME_IGNORED;
		if (icmp[0] == ND_ADVERT)
			return judge_advert(ip, icmp, sz, own);
		wanted = solicit_wanted(ip, icmp, sz, own);
	}
	return wanted ? FRAME_WANTED : FRAME_IGNORED;
}

/* The only packet with an extension header: a router asks who listens (RFC 2710 3, RFC 3810 5.1).  The header
   is the router alert and two bytes of padding, in either order. */
static bool query_wanted(const uint8_t *ip, const uint8_t *p, size_t sz, const struct net_own *own)
{
	static const uint8_t alert[2][6] = {{5, 2, 0, 0, 1, 0}, {1, 0, 5, 2, 0, 0}};
	const uint8_t *src = ip + 8, *dst = ip + 24, *mld = p + HOP_BY_HOP_SZ;
	bool to_us = memcmp(dst, all_nodes, 16) == 0;

	if (sz < HOP_BY_HOP_SZ + MLD_SZ || p[0] != IPPROTO_ICMPV6 || p[1] != 0)
		return false;
	if (memcmp(p + 2, alert[0], 6) != 0 && memcmp(p + 2, alert[1], 6) != 0)
		return false;
	for (unsigned i = 0; i < NET_IP6_CNT && !to_us; i++)
		to_us = !net_ip6_is_zero(own->ip6[i]) && is_solicited_node(dst, own->ip6[i]);
	return to_us && mld[0] == MLD_QUERY && mld[1] == 0 && ip[7] == 1 && net_ip6_is_link_local(src) &&
	       plausible_sender(own, src);
}

enum net_verdict net_ip6_judge(const uint8_t *ip, size_t sz, const struct net_own *own)
{
	const uint8_t *p = ip + IP6_HEADER;
	size_t payload, seen;
	bool wanted = false;

	if (sz < IP6_HEADER || ip[0] >> 4 != 6)
		return FRAME_IGNORED;
	payload = be16(ip + 4);
	seen = payload < sz - IP6_HEADER ? payload : sz - IP6_HEADER;
	switch (ip[6]) {
	case IPPROTO_TCP:
		wanted = which(own, ip + 24) != NET_IP6_CNT && plausible_sender(own, ip + 8) &&
			 net_tcp_wanted(p, seen);
		break;
	case IPPROTO_ICMPV6:
		/* The options that come last must be seen too. */
		if (seen == 0 || (p[0] != ECHO_REQUEST && seen < payload))
			return FRAME_IGNORED;
		return judge_icmp(ip, p, seen, own);
	case IPPROTO_HOPOPTS:
		wanted = seen == payload && query_wanted(ip, p, seen, own);
		break;
	}
	return wanted ? FRAME_WANTED : FRAME_IGNORED;
}
