/* locators.h - locators by number, alike in every benchmark: nothing is kept of them, so that what is measured is all the
   memory there is to see.

   Threads  Pure functions, any thread. */
#ifndef VIGIL_BENCH_MEASURE_LOCATORS_H
#define VIGIL_BENCH_MEASURE_LOCATORS_H

#include <stdint.h>
#include <string.h>

#include "btc/hash.h"

/* A one-to-one map of 64 bits that looks random (the finalizer of splitmix64). */
static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static inline struct locator locator_no(uint64_t i)
{
	uint64_t half[2] = {mix(i), mix(~i)};
	struct locator l;

	memcpy(l.b, half, LOCATOR_SZ);
	return l;
}

#endif
