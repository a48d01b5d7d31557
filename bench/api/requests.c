#include "api/requests.h"

#include <stdio.h>
#include <stdlib.h>

#include "btc/bytes.h"
#include "btc/sha256.h"
#include "teos/blob.h"
#include "teos/receipt.h"
#include "teos/sig.h"

static struct hash256 numbered(char what, uint64_t seed, uint64_t i)
{
	uint8_t b[17] = {(uint8_t)what};

	store_le64(b + 1, seed);
	store_le64(b + 9, i);
	return sha256(b, sizeof(b));
}

static uint8_t *put(uint8_t *p, const void *src, size_t sz)
{
	memcpy(p, src, sz);
	return p + sz;
}

/* Version, one input of the given outpoint whose script is `script_sz` zero bytes (at most 252), outputs of nothing in
   particular, lock time. */
static size_t tx_put(uint8_t *out, const struct hash256 *spent, uint8_t script_sz, uint8_t out_cnt)
{
	static const uint8_t head[5] = {2, 0, 0, 0, 1}, none[4] = {0}, final[4] = {255, 255, 255, 255};
	static const uint8_t value_script[11] = {16, 39, 0, 0, 0, 0, 0, 0, 2, 0x51, 0x51};
	uint8_t *p = put(out, head, sizeof(head));

	p = put(put(p, spent->b, HASH_SZ), none, sizeof(none));
	*p++ = script_sz;
	memset(p, 0, script_sz);
	p = put(p + script_sz, final, sizeof(final));
	*p++ = out_cnt;
	for (unsigned i = 0; i < out_cnt; i++)
		p = put(p, value_script, sizeof(value_script));
	return (size_t)(put(p, none, sizeof(none)) - out);
}

size_t dispute_raw(uint8_t out[DISPUTE_SZ_MAX], uint64_t seed, uint64_t i)
{
	struct hash256 funding = numbered('f', seed, i);

	return tx_put(out, &funding, 8, 4);
}

struct hash256 dispute_no(uint64_t seed, uint64_t i)
{
	uint8_t raw[DISPUTE_SZ_MAX];

	return sha256d(raw, dispute_raw(raw, seed, i));
}

/* 5 + 36 + 1 + script + 4 + 1 + 11 * outputs + 4 bytes are PENALTY_SZ. */
void penalty_no(uint8_t out[PENALTY_SZ], const struct hash256 *dispute)
{
	if (tx_put(out, dispute, 250, 3) != PENALTY_SZ)
		abort();
}

struct hash256 penalty_txid(const uint8_t penalty[PENALTY_SZ])
{
	return sha256d(penalty, PENALTY_SZ);
}

void user_secret(uint8_t out[32], uint64_t seed, uint32_t user)
{
	struct hash256 h = numbered('u', seed, user);

	memcpy(out, h.b, 32);
}

static bool request_put(struct request *out, const char *host, const char *path, const char *body)
{
	out->text = malloc(REQUEST_SZ_MAX);
	if (out->text == NULL)
		return false;
	out->sz = (uint32_t)snprintf(out->text, REQUEST_SZ_MAX,
				     "POST /%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
				     "Content-Length: %zu\r\n\r\n%s",
				     path, host, strlen(body), body);
	return out->sz < REQUEST_SZ_MAX;
}

bool request_register(struct request *out, const char *host, uint64_t seed, uint32_t user)
{
	uint8_t secret[32];
	char hex[2 * USER_ID_SZ + 1], body[128];
	struct user_id id;

	user_secret(secret, seed, user);
	if (!sig_pubkey(&id, secret))
		return false;
	hex_encode(hex, id.b, USER_ID_SZ);
	snprintf(body, sizeof(body), "{\"user_id\":\"%s\"}", hex);
	return request_put(out, host, "register", body);
}

bool request_add(struct request *out, const char *host, uint64_t seed, uint32_t user, uint64_t i)
{
	struct hash256 dispute = dispute_no(seed, i);
	struct locator l = locator_of_txid(&dispute, LOCATOR_INTERNAL);
	struct blob_key key = blob_key_of_txid(&dispute, LOCATOR_INTERNAL);
	uint8_t plain[PENALTY_SZ], blob[PENALTY_SZ + BLOB_TAG_SZ], msg[LOCATOR_SZ + sizeof(blob) + 4],
		secret[32];
	char locator[2 * LOCATOR_SZ + 1], hex[2 * sizeof(blob) + 1], sig[SIG_ZB_SZ + 1],
		body[REQUEST_SZ_MAX / 2];

	penalty_no(plain, &dispute);
	blob_seal(blob, plain, sizeof(plain), &key);
	user_secret(secret, seed, user);
	if (!sig_sign(sig, secret, msg, receipt_add_message(msg, &l, blob, sizeof(blob), REQUEST_DELAY)))
		return false;
	memcpy(out->sig, sig, SIG_ZB_SZ);
	hex_encode(locator, l.b, LOCATOR_SZ);
	hex_encode(hex, blob, sizeof(blob));
	snprintf(body, sizeof(body),
		 "{\"appointment\":{\"locator\":\"%s\",\"encrypted_blob\":\"%s\",\"to_self_delay\":%u},"
		 "\"signature\":\"%s\"}",
		 locator, hex, REQUEST_DELAY, sig);
	return request_put(out, host, "add_appointment", body);
}
