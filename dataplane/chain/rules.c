#include "chain/rules.h"

struct u256 u256_mul_u32(const struct u256 *a, uint32_t m)
{
	struct u256 r;
	unsigned __int128 acc = 0;

	for (unsigned i = 0; i < 4; i++) {
		acc += (unsigned __int128)a->l[i] * m;
		r.l[i] = (uint64_t)acc;
		acc >>= 64;
	}
	return r;
}

struct u256 u256_mul_div_u32(const struct u256 *a, uint32_t m, uint32_t d)
{
	struct u256 product, r;
	unsigned __int128 acc = 0, rest;

	for (unsigned i = 0; i < 4; i++) {
		acc += (unsigned __int128)a->l[i] * m;
		product.l[i] = (uint64_t)acc;
		acc >>= 64;
	}
	if (acc >= d)
		return (struct u256){{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
	rest = acc;
	for (unsigned i = 4; i-- > 0;) {
		rest = rest << 64 | product.l[i];
		r.l[i] = (uint64_t)(rest / d);
		rest %= d;
	}
	return r;
}

/* bits x span / T, not above the limit, rounded as bits round. */
static uint32_t scaled(const struct network *n, uint32_t bits, uint32_t span_s)
{
	bool negative, overflow;
	struct u256 t = pow_expand(bits, &negative, &overflow);

	t = u256_mul_div_u32(&t, span_s, RULES_RETARGET_SPAN_S);
	if (u256_cmp(&t, &n->pow_limit) > 0)
		t = n->pow_limit;
	return pow_compact(&t);
}

uint32_t rules_retarget(const struct network *n, uint32_t bits, int64_t span_s)
{
	if (span_s < RULES_RETARGET_SPAN_S / 4)
		span_s = RULES_RETARGET_SPAN_S / 4;
	if (span_s > RULES_RETARGET_SPAN_S * 4)
		span_s = RULES_RETARGET_SPAN_S * 4;
	return scaled(n, bits, (uint32_t)span_s);
}

bool rules_permitted(const struct network *n, uint32_t next_height, uint32_t old_bits, uint32_t new_bits)
{
	bool negative, overflow;
	struct u256 target, least, most;

	if (rules_min_difficulty(n))
		return true;
	if (next_height % RULES_RETARGET_INTERVAL != 0)
		return old_bits == new_bits;
	target = pow_expand(new_bits, &negative, &overflow);
	if (negative || overflow)
		return false;
	least = pow_expand(scaled(n, old_bits, RULES_RETARGET_SPAN_S / 4), &negative, &overflow);
	most = pow_expand(scaled(n, old_bits, RULES_RETARGET_SPAN_S * 4), &negative, &overflow);
	return u256_cmp(&target, &least) >= 0 && u256_cmp(&target, &most) <= 0;
}

bool rules_bip94_ok(uint32_t interval, uint32_t height, uint32_t prev_time, uint32_t time)
{
	return height % interval != 0 || (int64_t)time >= (int64_t)prev_time - RULES_BIP94_BACK_S;
}

uint32_t rules_median_time(const uint32_t *time, uint32_t cnt)
{
	uint32_t sorted[RULES_MEDIAN_CNT];
	uint32_t n = cnt < RULES_MEDIAN_CNT ? cnt : RULES_MEDIAN_CNT;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t t = time[cnt - n + i], k = i;

		for (; k > 0 && sorted[k - 1] > t; k--)
			sorted[k] = sorted[k - 1];
		sorted[k] = t;
	}
	return sorted[n / 2];
}

uint32_t rules_locator_heights(uint32_t *out, uint32_t tip)
{
	uint32_t cnt = 0, step = 1, height = tip;

	while (height > 0) {
		out[cnt++] = height;
		if (cnt >= 12)
			step *= 2;
		height -= step < height ? step : height;
	}
	out[cnt++] = 0;
	return cnt;
}
