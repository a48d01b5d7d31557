#include "teos/receipt.h"

#include "teos/zbase32.h"

static const char get_prefix[] = "get appointment ";

static uint8_t *put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
	return p + 4;
}

static uint8_t *put(uint8_t *p, const void *src, size_t sz)
{
	if (sz > 0)
		memcpy(p, src, sz);
	return p + sz;
}

size_t receipt_add_message(uint8_t *out, const struct locator *l, const uint8_t *blob, uint32_t blob_sz,
			   uint32_t to_self_delay)
{
	uint8_t *p = put(out, l->b, LOCATOR_SZ);

	p = put(p, blob, blob_sz);
	return (size_t)(put_be32(p, to_self_delay) - out);
}

void receipt_get_message(char out[RECEIPT_GET_SZ], const struct locator *l, const char *text)
{
	char hex[2 * LOCATOR_SZ + 1];

	if (text == NULL) {
		hex_encode(hex, l->b, LOCATOR_SZ);
		text = hex;
	}
	memcpy(out, get_prefix, sizeof(get_prefix) - 1);
	memcpy(out + sizeof(get_prefix) - 1, text, 2 * LOCATOR_SZ);
}

size_t receipt_registration(uint8_t out[RECEIPT_REGISTRATION_MAX], enum client_generation gen,
			    const struct user_id *user, uint32_t available_slots, uint32_t start,
			    uint32_t expiry)
{
	uint8_t *p = put(out, user->b, USER_ID_SZ);

	p = put_be32(p, available_slots);
	if (gen == CLIENT_CURRENT)
		p = put_be32(p, start);
	return (size_t)(put_be32(p, expiry) - out);
}

size_t receipt_appointment(uint8_t out[RECEIPT_APPOINTMENT_MAX], enum client_generation gen,
			   const char *user_sig, size_t user_sig_len, uint32_t start_block)
{
	size_t sz = user_sig_len;

	if (user_sig_len > SIG_ZB_SZ)
		return 0;
	switch (gen) {
	case CLIENT_CURRENT:
		put(out, user_sig, user_sig_len);
		break;
	case CLIENT_LEGACY:
		if (!zbase32_decode(out, SIG_SZ, &sz, user_sig, user_sig_len) || sz != SIG_SZ)
			return 0;
		break;
	}
	return (size_t)(put_be32(out + sz, start_block) - out);
}
