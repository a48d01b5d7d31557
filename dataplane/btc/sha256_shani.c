/* Compiled with the SHA extensions switched on: nothing here may run before cpu_features() said so. */
#include "btc/sha256_shani_rounds.h"

void sha256_compress_shani(uint32_t h[8], const uint8_t *p, size_t cnt)
{
	struct shani_state s = shani_load(h);
	__m128i dcba, hgfe;

	shani_blocks(&s, &p, cnt, 1);
	shani_words(&s, &dcba, &hgfe);
	_mm_storeu_si128((__m128i *)(void *)h, dcba);
	_mm_storeu_si128((__m128i *)(void *)(h + 4), hgfe);
}
