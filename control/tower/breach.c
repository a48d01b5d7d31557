#include "tower/breach.h"

#include "btc/block.h"
#include "btc/sha256.h"
#include "teos/blob.h"

struct search {
	const struct dispute *d;
	bool found;
};

static bool spends(void *arg, const struct outpoint *prev, uint32_t sequence)
{
	struct search *s = arg;

	(void)sequence;
	s->found = hash256_eq(&prev->txid, &s->d->txid) && (s->d->out_cnt == 0 || prev->vout < s->d->out_cnt);
	return !s->found;
}

/* Double SHA-256 of the serialization without marker, flag and witness. */
static struct hash256 txid_of(const uint8_t *p, const struct tx_view *t)
{
	struct hash256 once;
	struct sha256_ctx c;

	if (!t->segwit)
		return sha256d(p + t->off, t->sz);
	sha256_start(&c);
	sha256_feed(&c, p + t->off, 4);
	sha256_feed(&c, p + t->off + 6, t->sz - 10 - t->wit_sz);
	sha256_feed(&c, p + t->off + t->sz - 4, 4);
	once = sha256_finish(&c);
	return sha256(once.b, HASH_SZ);
}

bool penalty_check(const uint8_t *p, size_t sz, const struct dispute *d, struct hash256 *txid)
{
	struct search s = {.d = d};
	struct tx_view t;
	size_t used;

	if (tx_parse(p, sz, false, &t, &used) != PARSE_OK || used != sz)
		return false;
	tx_each_input(p, &t, spends, &s);
	if (!s.found)
		return false;
	*txid = txid_of(p, &t);
	return true;
}

bool penalty_open(uint8_t *plain, size_t *plain_sz, const uint8_t *blob, size_t blob_sz,
		  const struct dispute *d, struct hash256 *txid)
{
	const enum locator_scheme other = d->scheme == LOCATOR_INTERNAL ? LOCATOR_DISPLAY : LOCATOR_INTERNAL;
	struct blob_key key = blob_key_of_txid(&d->txid, d->scheme);

	if (blob_sz < BLOB_TAG_SZ)
		return false;
	*plain_sz = blob_sz - BLOB_TAG_SZ;
	if (blob_open(plain, blob, blob_sz, &key))
		return penalty_check(plain, *plain_sz, d, txid);
	key = blob_key_of_txid(&d->txid, other);
	return blob_open(plain, blob, blob_sz, &key) && penalty_check(plain, *plain_sz, d, txid);
}
