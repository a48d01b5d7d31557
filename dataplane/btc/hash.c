#include "btc/hash.h"

void hex_encode(char *out, const uint8_t *in, size_t sz)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < sz; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
	out[2 * sz] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_decode(uint8_t *out, size_t sz, const char *hex, size_t hex_len)
{
	if (hex_len % 2 != 0 || hex_len / 2 != sz)
		return false;
	for (size_t i = 0; i < sz; i++) {
		int hi = hex_digit(hex[2 * i]), lo = hex_digit(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

static void hash256_reverse(uint8_t out[HASH_SZ], const struct hash256 *h)
{
	for (unsigned i = 0; i < HASH_SZ; i++)
		out[i] = h->b[HASH_SZ - 1 - i];
}

void hash256_to_display(char *out, const struct hash256 *h)
{
	uint8_t rev[HASH_SZ];

	hash256_reverse(rev, h);
	hex_encode(out, rev, HASH_SZ);
}

bool hash256_from_display(struct hash256 *h, const char *hex)
{
	struct hash256 rev;

	if (!hex_decode(rev.b, HASH_SZ, hex, strnlen(hex, HASH_HEX_SZ)))
		return false;
	hash256_reverse(h->b, &rev);
	return true;
}
