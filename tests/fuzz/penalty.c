/* Decrypted blobs, as bytes from anywhere.

   What penalty_check accepts is one strict transaction that spends an output of the dispute, found by walking its inputs
   in a second, plain way; and sealing it gives a blob that penalty_open opens to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "btc/block.h"
#include "teos/blob.h"
#include "tower/breach.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	uint8_t *exact = malloc(sz > 0 ? sz : 1);

	/* In memory of exactly its size, so that a read past the end is seen. */
	NEED(exact != NULL);
	if (sz > 0)
		memcpy(exact, data, sz);
	fuzz_penalty(exact, sz);
	free(exact);
	return 0;
}
