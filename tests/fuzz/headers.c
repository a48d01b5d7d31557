/* headers.c - the header tree under any sequence of batches, against a slow tree that keeps everything in lists.

   Input: records of six bytes (parent, count, time step, salt, fault, place of the fault), each a batch mined on
   regtest; a record with fault 7 takes its 80 bytes of header from the input as they are. */
#include <assert.h>
#include <stdlib.h>

#include "chain/headers.h"
#include "chain/rules.h"

#define NODE_MAX  3000u
#define BATCH_MAX 40u

struct slow_node {
	struct hash256 hash;
	uint32_t parent, height, time;
};
static struct slow_node list[NODE_MAX];
static uint32_t list_cnt, list_best;

static uint32_t slow_find(const struct hash256 *hash)
{
	for (uint32_t i = 0; i < list_cnt; i++)
		if (hash256_eq(&list[i].hash, hash))
			return i;
	return HEADERS_NONE;
}

static uint32_t slow_median(uint32_t i)
{
	uint32_t t[RULES_MEDIAN_CNT], n = 0;

	for (;; i = list[i].parent) {
		t[n++] = list[i].time;
		if (n == RULES_MEDIAN_CNT || i == 0)
			break;
	}
	for (uint32_t a = 0; a < n; a++)
		for (uint32_t b = a + 1; b < n; b++)
			if (t[b] < t[a]) {
				uint32_t x = t[a];

				t[a] = t[b];
				t[b] = x;
			}
	return t[n / 2];
}

static void mine(uint8_t *raw, struct header_fields *f, struct hash256 *hash)
{
	const struct network *n = network_get(NET_REGTEST);

	do {
		f->nonce++;
		header_encode(raw, f);
		*hash = header_hash(raw);
	} while (!pow_valid(n, hash, f->bits));
}

/* Every header of the batch that is in the tree must be acceptable to the slow rules, and the other way round
   up to the one the verdict is about. */
static void compare(struct headers *h, const uint8_t *raw, uint32_t cnt, enum headers_verdict v)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct hash256 hash = header_hash(raw + i * HEADER_SZ);
		uint32_t idx = headers_find(h, &hash), parent;
		struct header_fields f;

		header_decode(&f, raw + i * HEADER_SZ);
		parent = slow_find(&f.prev);
		if (idx == HEADERS_NONE) {
			assert(v != HEADERS_OK);
			return;
		}
		if (slow_find(&hash) != HEADERS_NONE)
			continue;
		assert(parent != HEADERS_NONE);
		assert(f.bits == network_get(NET_REGTEST)->pow_limit_bits);
		assert(pow_valid(network_get(NET_REGTEST), &hash, f.bits));
		assert(f.time > slow_median(parent));
		list[list_cnt] = (struct slow_node){
			.hash = hash, .parent = parent, .height = list[parent].height + 1, .time = f.time};
		assert(headers_height(h, idx) == list[list_cnt].height);
		if (list[list_cnt].height > list[list_best].height)
			list_best = list_cnt;
		list_cnt++;
	}
}

static void one_batch(struct headers *h, const uint8_t *p, const uint8_t *extra, size_t extra_sz)
{
	static uint8_t raw[BATCH_MAX * HEADER_SZ];
	uint32_t parent = list_cnt - 1 - p[0] % (list_cnt < 200 ? list_cnt : 200);
	uint32_t cnt = 1 + p[1] % BATCH_MAX, last, new_cnt, before = headers_cnt(h);
	struct hash256 prev = list[parent].hash;
	enum headers_verdict v;

	for (uint32_t i = 0; i < cnt; i++) {
		struct header_fields f = {.version = 4,
					  .prev = prev,
					  .time = list[parent].time + (i + 1) * (p[2] % 8u),
					  .bits = network_get(NET_REGTEST)->pow_limit_bits};

		f.merkle.b[0] = p[3];
		if (i == p[5] % cnt) {
			if (p[4] == 1)
				f.prev.b[5] ^= 1;
			else if (p[4] == 2)
				f.time = 1;
			else if (p[4] == 3)
				f.bits = 0x207ffffe;
		}
		mine(raw + i * HEADER_SZ, &f, &prev);
		if (i == p[5] % cnt && p[4] == 4)
			raw[i * HEADER_SZ + 75] = 0xff;
		if (i == p[5] % cnt && p[4] == 7 && extra_sz >= HEADER_SZ)
			memcpy(raw + i * HEADER_SZ, extra, HEADER_SZ);
	}
	v = headers_add(h, raw, HEADER_SZ, cnt, INT64_MAX, &last, &new_cnt);
	assert(headers_cnt(h) == before + new_cnt);
	compare(h, raw, cnt, v);
	assert(headers_cnt(h) == list_cnt);
	assert(hash256_eq(headers_hash(h, headers_best(h)), &list[list_best].hash));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	const struct network *n = network_get(NET_REGTEST);
	struct headers *h = headers_new(n, NULL, 12345, 0);
	struct header_fields g;
	struct hash256 locator[HEADERS_LOCATOR_MAX];

	header_decode(&g, n->genesis_header);
	list[0] = (struct slow_node){.hash = n->genesis_hash, .time = g.time};
	list_cnt = 1;
	list_best = 0;
	while (sz >= 6 && list_cnt + BATCH_MAX < NODE_MAX) {
		const uint8_t *p = data;

		data += 6;
		sz -= 6;
		one_batch(h, p, data, sz);
		if (p[4] == 7 && sz >= HEADER_SZ) {
			data += HEADER_SZ;
			sz -= HEADER_SZ;
		}
	}
	for (uint32_t i = list_best;; i = list[i].parent) {
		assert(hash256_eq(headers_hash(h, headers_at(h, list[i].height)), &list[i].hash));
		if (i == 0)
			break;
	}
	assert(headers_locator(h, headers_best(h), locator) <= HEADERS_LOCATOR_MAX);
	headers_free(h);
	return 0;
}
