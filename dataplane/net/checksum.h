/* checksum.h - the internet checksum's sum (RFC 1071), fast. */
#ifndef VIGIL_NET_CHECKSUM_H
#define VIGIL_NET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* One's complement sum of the 16-bit words at p, as they lie in memory (host order), an odd last byte
   padded with a zero.  Not inverted.  Any alignment, any size. */
uint16_t net_checksum(const void *p, size_t sz);

#endif
