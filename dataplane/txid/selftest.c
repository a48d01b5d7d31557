/* A kernel that is wrong loses breaches in silence, so each is tried before it is used: known digests, then
   every length around the block borders, legacy and segwit, at all alignments, in batches that make lanes
   refill and run out at different times, and with transactions so long that the others are done before. */
#include "txid/txid_priv.h"

#include <stdlib.h>

#define STRIP_SZ_MIN 60u
#define STRIP_SZ_MAX 340u /* past five SHA-256 blocks: every way a tail can fall, with and without body */
#define MSG_CNT      (2u * (STRIP_SZ_MAX - STRIP_SZ_MIN + 1))
#define WIT_SZ_MAX   70u
#define BATCH_MAX    (2u * TXID_LANE_MAX + 3) /* past two fillings of the widest kernel */
#define ARENA_SZ     (MSG_CNT * (STRIP_SZ_MAX + WIT_SZ_MAX + 2) + 64)

struct arena {
	uint8_t bytes[ARENA_SZ];
	struct tx_view tx[MSG_CNT];
	struct hash256 want[MSG_CNT], got[MSG_CNT];
};

static uint32_t next_random(uint32_t *x)
{
	*x = *x * 1664525u + 1013904223u;
	return *x >> 8;
}

/* sha256d of the genesis block's transaction, and of a pair of hashes, from outside this program. */
static bool known_digests(const struct txid_kernel *k)
{
	/* The first 204-byte transaction ever: version, input with 77 bytes of script, output, locktime. */
	static const char coinbase[] =
		"01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff"
		"4d"
		"04ffff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f7220"
		"6f"
		"6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100"
		"f2"
		"052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb6"
		"49"
		"f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000";
	static const char txid_hex[] = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
	static const char pair_hex[] = "ba151dc751ff3f78a4447595257998287aef970a7e8a4c7bf5412a5c07c8ca3e";
	uint8_t raw[(sizeof(coinbase) - 1) / 2];
	struct hash256 want, got, twice[2];
	const struct tx_view t = {.sz = sizeof(raw), .in_cnt = 1, .out_cnt = 1};

	if (!hex_decode(raw, sizeof(raw), coinbase, sizeof(coinbase) - 1) ||
	    !hash256_from_display(&want, txid_hex))
		return false;
	k->hash(raw, &t, &got, 1);
	if (!hash256_eq(&want, &got))
		return false;
	twice[0] = twice[1] = got;
	k->pairs(&got, twice, 1);
	return hash256_from_display(&want, pair_hex) && hash256_eq(&want, &got);
}

static void arena_fill(struct arena *a, uint32_t seed)
{
	uint32_t x = seed, off = seed % 64;

	for (size_t i = 0; i < ARENA_SZ; i++)
		a->bytes[i] = (uint8_t)next_random(&x);
	for (unsigned i = 0; i < MSG_CNT; i++) {
		struct tx_view *t = &a->tx[i];
		/* A stride prime to the count, so that neighbours differ much in length. */
		uint32_t strip_sz = STRIP_SZ_MIN + i / 2 * 97u % (MSG_CNT / 2);

		*t = (struct tx_view){.off = off, .in_cnt = 1, .out_cnt = 1, .segwit = i % 2 != 0};
		t->wit_sz = t->segwit ? 1 + next_random(&x) % WIT_SZ_MAX : 0;
		t->sz = strip_sz + (t->segwit ? 2 + t->wit_sz : 0);
		off += t->sz;
	}
}

static bool lengths_agree(const struct txid_kernel *k, struct arena *a, size_t cnt)
{
	memset(a->got, 0, sizeof(a->got));
	k->hash(a->bytes, a->tx, a->got, cnt);
	for (size_t i = 0; i < cnt; i++)
		if (!hash256_eq(&a->want[i], &a->got[i]))
			return false;
	return true;
}

static bool pairs_agree(const struct txid_kernel *k, struct arena *a)
{
	for (size_t cnt = 1; cnt <= BATCH_MAX; cnt++) {
		struct hash256 in[2 * BATCH_MAX], want[BATCH_MAX], got[BATCH_MAX];

		memcpy(in, a->bytes + cnt, sizeof(in));
		txid_portable.pairs(want, in, cnt);
		k->pairs(got, in, cnt);
		if (memcmp(got, want, cnt * HASH_SZ) != 0)
			return false;
		k->pairs(in, in, cnt);
		if (memcmp(in, want, cnt * HASH_SZ) != 0)
			return false;
	}
	return true;
}

/* Long ones over the bytes of the others, first, in the middle and last. */
static bool long_ones_agree(const struct txid_kernel *k, struct arena *a)
{
	const uint32_t at[] = {0, 17, BATCH_MAX - 1};

	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		a->tx[at[i]] = (struct tx_view){.off = 3 + i,
						.sz = 34000 + 13007 * i,
						.wit_sz = i == 1 ? 77 : 0,
						.in_cnt = 1,
						.out_cnt = 1,
						.segwit = i == 1};
	txid_portable.hash(a->bytes, a->tx, a->want, BATCH_MAX);
	return lengths_agree(k, a, BATCH_MAX);
}

bool txid_selftest(const struct txid_kernel *k)
{
	struct arena *a;
	bool ok;

	if (!known_digests(k))
		return false;
	a = malloc(sizeof(*a));
	if (a == NULL)
		return false;
	ok = true;
	for (uint32_t seed = 1; ok && seed <= 64; seed += 21) {
		arena_fill(a, seed);
		txid_portable.hash(a->bytes, a->tx, a->want, MSG_CNT);
		ok = lengths_agree(k, a, MSG_CNT) && pairs_agree(k, a);
		for (size_t cnt = 0; ok && cnt <= BATCH_MAX; cnt++)
			ok = lengths_agree(k, a, cnt);
		ok = ok && long_ones_agree(k, a);
	}
	free(a);
	return ok;
}
