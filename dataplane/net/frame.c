#include "net/net_internal.h"

#include <netinet/in.h>
#include <string.h>

enum {
	ETH_HEADER = 14,
	ETHERTYPE_ARP = 0x0806,
	ETHERTYPE_IP4 = 0x0800,
	ARP_SZ = 28,
	IP4_HEADER_MIN = 20,
	FRAGMENT_MASK = 0x3fff, /* "more fragments" and the offset */
};

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

bool net_frame_wanted(const uint8_t *f, size_t sz, uint32_t own_ip4)
{
	const uint8_t *ip = f + ETH_HEADER;
	uint32_t src, dst;

	if (sz < ETH_HEADER)
		return false;
	if (be16(f + 12) == ETHERTYPE_ARP)
		return sz >= ETH_HEADER + ARP_SZ;
	if (be16(f + 12) != ETHERTYPE_IP4 || sz < ETH_HEADER + IP4_HEADER_MIN)
		return false;
	if (ip[0] >> 4 != 4 || (be16(ip + 6) & FRAGMENT_MASK) != 0)
		return false;
	if (ip[9] != IPPROTO_TCP && ip[9] != IPPROTO_ICMP)
		return false;
	memcpy(&src, ip + 12, 4);
	memcpy(&dst, ip + 16, 4);
	if (dst != own_ip4)
		return false;
	/* An answer to our own or a loopback address would go to lwIP's loop interface, which needs the
	   thread that this process does not have. */
	return src != own_ip4 && ip[12] != 0 && ip[12] != 127 && ip[12] < 224;
}
