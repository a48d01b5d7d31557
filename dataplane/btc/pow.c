/* Proof-of-work arithmetic: spec/bitcoin.md sections 13.1 and 13.5. */
#include "btc/network.h"

#include "btc/bytes.h"

struct u256 u256_from_le(const uint8_t b[32])
{
	struct u256 a;

	for (unsigned i = 0; i < 4; i++)
		a.l[i] = load_le64(b + 8 * i);
	return a;
}

void u256_to_le(uint8_t b[32], const struct u256 *a)
{
	for (unsigned i = 0; i < 4; i++)
		store_le64(b + 8 * i, a->l[i]);
}

bool u256_from_hex(struct u256 *a, const char *text)
{
	size_t cnt;

	if (strncmp(text, "0x", 2) == 0)
		text += 2;
	cnt = strspn(text, "0123456789abcdefABCDEF");
	*a = (struct u256){{0}};
	if (cnt == 0 || cnt > 64 || text[cnt] != '\0')
		return false;
	for (size_t i = 0; i < cnt; i++) {
		char c = text[cnt - 1 - i];
		uint64_t digit = (uint64_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);

		a->l[i / 16] |= digit << 4 * (i % 16);
	}
	return true;
}

int u256_cmp(const struct u256 *a, const struct u256 *b)
{
	for (unsigned i = 4; i-- > 0;)
		if (a->l[i] != b->l[i])
			return a->l[i] < b->l[i] ? -1 : 1;
	return 0;
}

struct u256 u256_add(const struct u256 *a, const struct u256 *b)
{
	struct u256 r;
	unsigned __int128 acc = 0;

	for (unsigned i = 0; i < 4; i++) {
		acc += (unsigned __int128)a->l[i] + b->l[i];
		r.l[i] = (uint64_t)acc;
		acc >>= 64;
	}
	return r;
}

static struct u256 u256_not(const struct u256 *a)
{
	return (struct u256){{~a->l[0], ~a->l[1], ~a->l[2], ~a->l[3]}};
}

struct u256 u256_sub(const struct u256 *a, const struct u256 *b)
{
	const struct u256 one = {{1}};
	struct u256 neg = u256_not(b);

	neg = u256_add(&neg, &one);
	return u256_add(a, &neg);
}

static unsigned u256_bit_cnt(const struct u256 *a)
{
	for (unsigned i = 4; i-- > 0;)
		if (a->l[i] != 0)
			return 64 * i + 64 - (unsigned)__builtin_clzll(a->l[i]);
	return 0;
}

/* n < 256 */
static struct u256 u256_shl(const struct u256 *a, unsigned n)
{
	struct u256 r = {{0}};
	unsigned limb = n / 64, bit = n % 64;

	for (unsigned i = limb; i < 4; i++) {
		r.l[i] = a->l[i - limb] << bit;
		if (bit != 0 && i > limb)
			r.l[i] |= a->l[i - limb - 1] >> (64 - bit);
	}
	return r;
}

/* n < 256; the low 64 bits of the result */
static uint64_t u256_shr64(const struct u256 *a, unsigned n)
{
	unsigned limb = n / 64, bit = n % 64;
	uint64_t r = a->l[limb] >> bit;

	if (bit != 0 && limb < 3)
		r |= a->l[limb + 1] << (64 - bit);
	return r;
}

/* Long division, one bit a turn; d is not zero. */
static struct u256 u256_div(const struct u256 *a, const struct u256 *d)
{
	struct u256 rest = *a, q = {{0}};
	unsigned a_bits = u256_bit_cnt(a), d_bits = u256_bit_cnt(d);

	for (unsigned i = a_bits < d_bits ? 0 : a_bits - d_bits + 1; i-- > 0;) {
		struct u256 part = u256_shl(d, i);

		if (u256_cmp(&rest, &part) >= 0) {
			rest = u256_sub(&rest, &part);
			q.l[i / 64] |= 1ull << i % 64;
		}
	}
	return q;
}

struct u256 pow_expand(uint32_t bits, bool *negative, bool *overflow)
{
	unsigned sz = bits >> 24;
	uint32_t mant = bits & 0x007fffff;
	struct u256 t = {{0}};

	if (sz <= 3) {
		mant >>= 8 * (3 - sz);
		t.l[0] = mant;
	}
	*negative = mant != 0 && (bits & 0x00800000) != 0;
	*overflow = mant != 0 && (sz > 34 || (mant > 0xff && sz > 33) || (mant > 0xffff && sz > 32));
	if (sz > 3 && mant != 0 && !*overflow) {
		t.l[0] = mant;
		t = u256_shl(&t, 8 * (sz - 3));
	}
	return t;
}

bool pow_target(const struct network *n, uint32_t bits, struct u256 *target)
{
	const struct u256 zero = {{0}};
	bool negative, overflow;

	*target = pow_expand(bits, &negative, &overflow);
	return !negative && !overflow && u256_cmp(target, &zero) != 0 && u256_cmp(target, &n->pow_limit) <= 0;
}

uint32_t pow_compact(const struct u256 *target)
{
	uint32_t sz = (u256_bit_cnt(target) + 7) / 8;
	uint32_t mant;

	if (sz <= 3)
		mant = (uint32_t)target->l[0] << 8 * (3 - sz);
	else
		mant = (uint32_t)(u256_shr64(target, 8 * (sz - 3)) & 0x00ffffff);
	if (mant & 0x00800000) {
		/* The top bit is the sign: give the number one more byte. */
		mant >>= 8;
		sz++;
	}
	return sz << 24 | mant;
}

struct u256 pow_work(const struct u256 *target)
{
	const struct u256 one = {{1}}, zero = {{0}};
	struct u256 inv = u256_not(target), next = u256_add(target, &one), q;

	if (u256_cmp(&next, &zero) == 0)
		return one; /* 2^256 / 2^256 */
	/* 2^256 does not fit: (2^256 - 1 - t) / (t + 1) + 1 is the same number. */
	q = u256_div(&inv, &next);
	return u256_add(&q, &one);
}
