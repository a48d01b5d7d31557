/* What Vigil puts in the place of the shared lwIP's own functions.

   The library calls these through its dynamic symbol table, and a program's definition comes before a
   library's.  They must be in the program itself: net.c refers to net_lwip_overrides, which makes the
   linker take this file from the archive, and the linker exports what a library on its command line
   defines as well.  tests/unit/net/checksum_test.c proves that the exchange took place. */
#include "net/checksum.h"
#include "net/net_internal.h"

#include <lwip/inet_chksum.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/sys.h>
#include <sodium.h>
#include <string.h>

#define OVERRIDE __attribute__((visibility("default"), used))

static uint64_t clock_ns;
static uint8_t iss_key[crypto_shorthash_KEYBYTES];

void net_lwip_overrides(void)
{
	randombytes_buf(iss_key, sizeof(iss_key));
}

void net_lwip_set_clock(uint64_t now_ns)
{
	clock_ns = now_ns;
}

/* lwIP starts its persist timer when a segment waits for a closed window, and stops it when it sends one.  The peer can
   end the wait in other ways: it acknowledges the probe, which was the segment's only byte, without opening the window.
   Then the timer finds nothing to probe with, or something under way, and asserts (2.1.3, tcp_slowtmr). */
void net_lwip_stop_idle_persist(void)
{
	for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
		if (pcb->persist_backoff == 0 || (pcb->unsent != NULL && pcb->unacked == NULL))
			continue;
		pcb->persist_backoff = 0;
		/* What is under way must not wait for ever. */
		if (pcb->unacked != NULL && pcb->rtime < 0)
			pcb->rtime = 0;
	}
}

u16_t lwip_standard_chksum(const void *dataptr, int len);

/* lwIP's portable sum is what bounds its throughput: it adds 16 bits at a time. */
OVERRIDE u16_t lwip_standard_chksum(const void *dataptr, int len)
{
	return net_checksum(dataptr, len > 0 ? (size_t)len : 0);
}

/* One thread owns the stack, so there is nothing to protect. */
OVERRIDE sys_prot_t sys_arch_protect(void)
{
	return 0;
}

OVERRIDE void sys_arch_unprotect(sys_prot_t pval)
{
	(void)pval;
}

/* The stack's time is the time that the caller of net_poll gives. */
OVERRIDE u32_t sys_now(void)
{
	return (u32_t)(clock_ns / 1000000);
}

/* lwIP's initial sequence numbers can be guessed, so anybody could put bytes into our streams.  RFC 6528:
   a clock of 4 us plus a keyed hash of the connection. */
OVERRIDE u32_t tcp_next_iss(struct tcp_pcb *pcb)
{
	uint8_t id[36] = {0}; /* no IPv6 address has zeros where those of an IPv4 one stay */
	uint8_t h[crypto_shorthash_BYTES];
	uint32_t v;

	memcpy(id, &pcb->local_port, 2);
	memcpy(id + 2, &pcb->remote_port, 2);
	if (IP_IS_V6_VAL(pcb->local_ip)) {
		memcpy(id + 4, ip_2_ip6(&pcb->local_ip)->addr, 16);
		memcpy(id + 20, ip_2_ip6(&pcb->remote_ip)->addr, 16);
	} else {
		memcpy(id + 4, &ip_2_ip4(&pcb->local_ip)->addr, 4);
		memcpy(id + 20, &ip_2_ip4(&pcb->remote_ip)->addr, 4);
	}
	crypto_shorthash(h, id, sizeof(id), iss_key);
	memcpy(&v, h, sizeof(v));
	return v + (uint32_t)(clock_ns / 4000);
}

/* lwIP asks with TCP_MSS, which it was made with, for what a SYN is to announce, and with what it has learnt so
   far for what it may send.  What it may receive is up to the MTU, and nothing else in it minds; what it sends
   is bounded once the connection stands (conn.c). */
OVERRIDE u16_t tcp_eff_send_mss_netif(u16_t sendmss, struct netif *outif, const ip_addr_t *dest)
{
	uint16_t headers = (uint16_t)((IP_IS_V6(dest) ? IP6_HLEN : IP_HLEN) + TCP_HLEN);

	if (outif == NULL || outif->mtu <= headers)
		return sendmss;
	if (sendmss == TCP_MSS || sendmss > outif->mtu - headers)
		return (u16_t)(outif->mtu - headers);
	return sendmss;
}
