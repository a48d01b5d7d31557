#include "net/checksum.h"

#include <string.h>

/* The sum is the same modulo 2^16-1 however wide the words are that it is taken over, so it is taken over
   32-bit words into 64-bit lanes: no carry is lost, and the compiler turns the lanes into vector adds. */
enum { LANE_CNT = 8 };

uint16_t net_checksum(const void *p, size_t sz)
{
	const uint8_t *b = p;
	uint64_t lane[LANE_CNT] = {0};
	uint64_t sum = 0;
	uint32_t w[LANE_CNT];
	uint16_t h;

	for (; sz >= sizeof(w); sz -= sizeof(w), b += sizeof(w)) {
		memcpy(w, b, sizeof(w));
		for (unsigned i = 0; i < LANE_CNT; i++)
			lane[i] += w[i];
	}
	for (unsigned i = 0; i < LANE_CNT; i++)
		sum += lane[i];
	for (; sz >= sizeof(h); sz -= sizeof(h), b += sizeof(h)) {
		memcpy(&h, b, sizeof(h));
		sum += h;
	}
	if (sz != 0) {
		h = 0;
		memcpy(&h, b, 1);
		sum += h;
	}
	/* 64 bits fold to at most 33, those to 18, then 17, then 16. */
	sum = (sum >> 32) + (sum & UINT32_MAX);
	sum = (sum >> 16) + (sum & UINT16_MAX);
	sum = (sum >> 16) + (sum & UINT16_MAX);
	sum = (sum >> 16) + (sum & UINT16_MAX);
	return (uint16_t)sum;
}
