#include "net/net_internal.h"

#include <netinet/in.h>
#include <string.h>

enum {
	ETH_HEADER = 14,
	ETHERTYPE_ARP = 0x0806,
	ETHERTYPE_IP4 = 0x0800,
	ETHERTYPE_IP6 = 0x86dd,
	ARP_SZ = 28,
	IP4_HEADER_MIN = 20,
	FRAGMENT_MASK = 0x3fff, /* "more fragments" and the offset */
	TCP_HEADER_MIN = 20,
	TCP_FLAG_SYN = 2,
	TCP_OPT_END = 0,
	TCP_OPT_NOP = 1,
	TCP_OPT_MSS = 2,
};

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* lwIP takes a segment size from any segment, though only a SYN may carry one, and asserts that what it has
   queued before still fits: a peer could end the process with that. */
static bool late_mss(const uint8_t *opt, size_t sz)
{
	size_t i = 0;

	while (i < sz && opt[i] != TCP_OPT_END) {
		if (opt[i] == TCP_OPT_MSS)
			return true;
		if (opt[i] == TCP_OPT_NOP) {
			i++;
			continue;
		}
		if (i + 1 >= sz || opt[i + 1] < 2)
			break;
		i += opt[i + 1];
	}
	return false;
}

/* The whole header must be in what is seen, or its options could not be judged. */
bool net_tcp_wanted(const uint8_t *tcp, size_t sz)
{
	size_t header;

	if (sz < TCP_HEADER_MIN)
		return false;
	header = (size_t)(tcp[12] >> 4) * 4;
	if (header < TCP_HEADER_MIN || header > sz)
		return false;
	return (tcp[13] & TCP_FLAG_SYN) != 0 || !late_mss(tcp + TCP_HEADER_MIN, header - TCP_HEADER_MIN);
}

static bool ip4_wanted(const uint8_t *ip, size_t sz, uint32_t own_ip4)
{
	uint32_t src, dst;
	size_t ip_header;

	if (sz < IP4_HEADER_MIN || ip[0] >> 4 != 4 || (be16(ip + 6) & FRAGMENT_MASK) != 0)
		return false;
	if (ip[9] != IPPROTO_TCP && ip[9] != IPPROTO_ICMP)
		return false;
	memcpy(&src, ip + 12, 4);
	memcpy(&dst, ip + 16, 4);
	if (own_ip4 == 0 || dst != own_ip4)
		return false;
	/* An answer to our own or a loopback address would go to lwIP's loop interface, which needs the
	   thread that this process does not have. */
	if (src == own_ip4 || ip[12] == 0 || ip[12] == 127 || ip[12] >= 224)
		return false;
	ip_header = (size_t)(ip[0] & 0xf) * 4;
	if (ip_header < IP4_HEADER_MIN || ip_header > sz)
		return false;
	return ip[9] != IPPROTO_TCP || net_tcp_wanted(ip + ip_header, sz - ip_header);
}

enum net_verdict net_frame_judge(const uint8_t *f, size_t sz, const struct net_own *own)
{
	bool wanted = false;

	if (sz < ETH_HEADER)
		return FRAME_IGNORED;
	switch (be16(f + 12)) {
	case ETHERTYPE_IP4:
		wanted = ip4_wanted(f + ETH_HEADER, sz - ETH_HEADER, own->ip4);
		break;
	case ETHERTYPE_IP6:
		return own->has_ip6 ? net_ip6_judge(f + ETH_HEADER, sz - ETH_HEADER, own) : FRAME_IGNORED;
	case ETHERTYPE_ARP:
		wanted = own->ip4 != 0 && sz >= ETH_HEADER + ARP_SZ;
		break;
	}
	return wanted ? FRAME_WANTED : FRAME_IGNORED;
}
