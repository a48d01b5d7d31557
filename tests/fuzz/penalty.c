/* Decrypted blobs and stored rows, as bytes from anywhere.

   The first byte chooses.  A blob: what penalty_check accepts is one strict transaction that spends an output of the dispute,
   found by walking its inputs in a second, plain way; and sealing it gives a blob that penalty_open opens to the same.
   A row: whatever a decoder accepts, its encoder writes again byte for byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "btc/block.h"
#include "teos/blob.h"
#include "tower/breach.h"
#include "tower/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

#define NEED(x)                  \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

/* The previous txids lie after version, marker and count; every input is found by its fixed parts. */
static bool mentions(const uint8_t *p, size_t sz, const struct hash256 *txid)
{
	for (size_t i = 0; i + HASH_SZ <= sz; i++)
		if (memcmp(p + i, txid->b, HASH_SZ) == 0)
			return true;
	return false;
}

static void fuzz_penalty(const uint8_t *p, size_t sz)
{
	struct dispute d = {.scheme = LOCATOR_INTERNAL};
	struct hash256 txid, again;
	struct tx_view t;
	uint8_t *blob, *plain;
	size_t used, plain_sz;

	if (sz < 2)
		return;
	d.scheme = p[0] & 1 ? LOCATOR_DISPLAY : LOCATOR_INTERNAL;
	d.out_cnt = p[1];
	/* The dispute is what the first input says it spends, where there is one. */
	p += 2;
	sz -= 2;
	if (tx_parse(p, sz, false, &t, &used) == PARSE_OK)
		memcpy(d.txid.b, p + (t.segwit ? 7 : 5), HASH_SZ);
	if (!penalty_check(p, sz, &d, &txid)) {
		NEED(tx_parse(p, sz, false, &t, &used) != PARSE_OK || used != sz || d.out_cnt != 0 ||
		     t.in_cnt >= 0xfd);
		return;
	}
	NEED(tx_parse(p, sz, false, &t, &used) == PARSE_OK && used == sz);
	NEED(mentions(p, sz, &d.txid));

	blob = malloc(sz + BLOB_TAG_SZ);
	plain = malloc(sz + BLOB_TAG_SZ);
	NEED(blob != NULL && plain != NULL);
	for (unsigned scheme = 0; scheme < 2; scheme++) {
		struct blob_key key = blob_key_of_txid(&d.txid, scheme);

		blob_seal(blob, p, sz, &key);
		NEED(penalty_open(plain, &plain_sz, blob, sz + BLOB_TAG_SZ, &d, &again));
		NEED(plain_sz == sz && memcmp(plain, p, sz) == 0 && hash256_eq(&txid, &again));
		blob[sz / 2] ^= 1;
		NEED(!penalty_open(plain, &plain_sz, blob, sz + BLOB_TAG_SZ, &d, &again));
	}
	free(blob);
	free(plain);
}

static void fuzz_values(struct slice v)
{
	uint8_t head[TRACKER_ROW_HEAD_SZ + APPOINTMENT_ROW_HEAD_SZ + HEADER_ROW_SZ];
	struct appointment_row a;
	struct tracker_row tr;
	struct header_row h;
	struct user_row u;
	struct undo_row un;
	struct tip_row tip;
	uint32_t epoch;

	if (user_row_decode(v, &u)) {
		user_row_encode(head, &u);
		NEED(v.sz == USER_ROW_SZ && memcmp(head, v.p, v.sz) == 0);
	}
	if (by_user_row_decode(v, &epoch)) {
		by_user_row_encode(head, epoch);
		NEED(v.sz == BY_USER_ROW_SZ && memcmp(head, v.p, v.sz) == 0);
	}
	if (appointment_row_decode(v, &a)) {
		appointment_row_head(head, &a);
		NEED(memcmp(head, v.p, APPOINTMENT_ROW_HEAD_SZ) == 0);
		NEED(a.blob + a.blob_sz == v.p + v.sz);
	}
	if (tracker_row_decode(v, &tr)) {
		tracker_row_head(head, &tr);
		NEED(memcmp(head, v.p, TRACKER_ROW_HEAD_SZ) == 0);
		NEED(tr.raw + tr.raw_sz == v.p + v.sz);
	}
	if (header_row_decode(v, &h)) {
		header_row_encode(head, &h);
		NEED(v.sz == HEADER_ROW_SZ && memcmp(head, v.p, v.sz) == 0);
	}
	if (tip_row_decode(v, &tip)) {
		tip_row_encode(head, &tip);
		NEED(v.sz == TIP_ROW_SZ && memcmp(head, v.p, v.sz) == 0);
	}
	if (undo_row_decode(v, &un)) {
		uint8_t *out = malloc(v.sz);

		NEED(out != NULL && undo_row_encode(out, &un) == v.sz);
		NEED(memcmp(out, v.p, v.sz) == 0);
		free(out);
	}
}

static void fuzz_keys(struct slice k)
{
	struct appointment_key a;
	struct hash256 txid;
	struct user_id user;
	enum undo_kind kind;
	uint32_t height;
	struct key out;

#define SAME(...)                                                      \
	do {                                                           \
		out = __VA_ARGS__;                                     \
		NEED(out.sz == k.sz && memcmp(out.b, k.p, k.sz) == 0); \
	} while (0)
	if (key_user_decode(k, &user))
		SAME(key_user(&user));
	if (key_appointment_decode(k, &a))
		SAME(key_appointment(&a));
	if (key_by_user_decode(k, &a))
		SAME(key_by_user(&a));
	if (key_by_penalty_decode(k, &txid, &a))
		SAME(key_by_penalty(&txid, &a));
	if (key_expiry_decode(k, &height, &user))
		SAME(key_expiry(height, &user));
	if (key_confirmed_decode(k, &height, &a))
		SAME(key_confirmed(height, &a));
	if (key_undo_decode(k, &height, &kind, &a))
		SAME(key_undo(height, kind, &a));
#undef SAME
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	uint8_t *exact;

	if (sz == 0)
		return 0;
	/* In memory of exactly its size, so that a read past the end is seen. */
	exact = malloc(sz - 1 > 0 ? sz - 1 : 1);
	NEED(exact != NULL);
	memcpy(exact, data + 1, sz - 1);
	if (data[0] == 'p')
		fuzz_penalty(exact, sz - 1);
	else if (data[0] == 'k')
		fuzz_keys((struct slice){exact, sz - 1});
	else
		fuzz_values((struct slice){exact, sz - 1});
	free(exact);
	return 0;
}
