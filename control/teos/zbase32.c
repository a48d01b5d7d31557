#include "teos/zbase32.h"

static const char alphabet[] = "ybndrfg8ejkmcpqxot1uwisza345h769";

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		c = (char)(c - 'A' + 'a');
	for (int i = 0; i < 32; i++)
		if (alphabet[i] == c)
			return i;
	return -1;
}

void zbase32_encode(char *out, const uint8_t *in, size_t sz)
{
	uint32_t acc = 0;
	unsigned bits = 0;

	for (size_t i = 0; i < sz; i++) {
		acc = acc << 8 | in[i];
		bits += 8;
		while (bits >= 5) {
			bits -= 5;
			*out++ = alphabet[acc >> bits & 31];
		}
		acc &= (1u << bits) - 1;
	}
	if (bits > 0)
		*out++ = alphabet[acc << (5 - bits) & 31];
	*out = '\0';
}

bool zbase32_decode(uint8_t *out, size_t cap, size_t *sz, const char *text, size_t len)
{
	unsigned rest = len % 8, bits = 0;
	uint32_t acc = 0;
	size_t n = 0;

	if (rest == 1 || rest == 3 || rest == 6)
		return false;
	for (size_t i = 0; i < len; i++) {
		int d = digit(text[i]);

		if (d < 0)
			return false;
		acc = acc << 5 | (uint32_t)d;
		bits += 5;
		if (bits >= 8) {
			if (n == cap)
				return false;
			bits -= 8;
			out[n++] = (uint8_t)(acc >> bits);
			acc &= (1u << bits) - 1;
		}
	}
	*sz = n;
	return acc == 0;
}
