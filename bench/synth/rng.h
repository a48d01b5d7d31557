/* rng.h - the repeatable randomness of generated chains and loads.

   Not for keys.  A stream is fixed by its three numbers on every machine, so one part of a chain (a block, a
   breach) can be generated without generating what comes before it.
   Threads A stream belongs to its caller. */
#ifndef VIGIL_SYNTH_RNG_H
#define VIGIL_SYNTH_RNG_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rng {
	uint64_t state;
};

/* A finalizer with full avalanche over a Weyl sequence (the construction known as SplitMix64). */
static inline uint64_t rng_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline uint64_t rng_next(struct rng *r)
{
	r->state += 0x9e3779b97f4a7c15u;
	return rng_mix(r->state);
}

/* The stream number (a, b) of a seed. */
static inline struct rng rng_stream(uint64_t seed, uint64_t a, uint64_t b)
{
	struct rng r = {rng_mix(seed ^ 0x5851f42d4c957f2du)};

	r.state = rng_mix(r.state + a * 0xd1342543de82ef95u);
	r.state = rng_mix(r.state + b * 0xaf251af3b0f025b5u);
	return r;
}

/* Uniform in [0, n) but for a bias below n / 2^32; n is not 0. */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)(((rng_next(r) >> 32) * n) >> 32);
}

static inline uint32_t rng_between(struct rng *r, uint32_t lo, uint32_t hi)
{
	return lo + rng_below(r, hi - lo + 1);
}

static inline void rng_fill(struct rng *r, void *out, size_t sz)
{
	uint8_t *p = out;
	uint64_t v;

	for (; sz >= 8; sz -= 8, p += 8) {
		v = rng_next(r);
		memcpy(p, &v, 8);
	}
	v = rng_next(r);
	memcpy(p, &v, sz);
}

#endif
