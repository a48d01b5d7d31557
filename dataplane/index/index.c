#include "index/index_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* Room for more is made as it comes, so that a wrong number costs little. */
#define LOAD_EXPECT_MAX (1ull << 28)

static inline uint64_t round_of(uint64_t half, uint64_t seed)
{
	return XXH3_64bits_withSeed(&half, sizeof(half), seed);
}

struct index_pair index_permute(const struct locator *l, uint64_t seed)
{
	struct index_pair p;

	memcpy(&p.value, l->b, 8);
	memcpy(&p.key, l->b + 8, 8);
	p.value ^= round_of(p.key, seed);
	p.key ^= round_of(p.value, seed + 1);
	return p;
}

struct locator index_unpermute(struct index_pair p, uint64_t seed)
{
	struct locator l;

	p.key ^= round_of(p.value, seed + 1);
	p.value ^= round_of(p.key, seed);
	memcpy(l.b, &p.value, 8);
	memcpy(l.b + 8, &p.key, 8);
	return l;
}

unsigned index_shard_of(const struct locator *l, uint64_t seed, unsigned shard_cnt)
{
	if (shard_cnt == 1)
		return 0;
	return (unsigned)(XXH3_64bits_withSeed(l->b, LOCATOR_SZ, seed) % shard_cnt);
}

struct index_shard *index_new(unsigned shard_idx, unsigned shard_cnt, uint64_t seed)
{
	struct index_shard *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->seed = seed;
	s->shard_idx = shard_idx;
	s->shard_cnt = shard_cnt;
	if (!bucket_init(s)) {
		index_free(s);
		return NULL;
	}
	return s;
}

static void overflow_clear(struct index_shard *s)
{
	free(s->overflow);
	s->overflow = NULL;
	s->overflow_cnt = s->overflow_cap = 0;
}

static void load_drop(struct index_shard *s)
{
	free(s->load);
	s->load = NULL;
	s->load_cnt = 0;
}

void index_clear(struct index_shard *s)
{
	bucket_clear(s);
	s->cnt = 0;
	s->zero_value = false;
	load_drop(s);
	overflow_clear(s);
	index_recent_clear(s);
}

void index_free(struct index_shard *s)
{
	if (s == NULL)
		return;
	bucket_fini(s);
	load_drop(s);
	overflow_clear(s);
	index_recent_clear(s);
	free(s);
}

static size_t overflow_find(const struct index_shard *s, struct index_pair p)
{
	for (size_t i = 0; i < s->overflow_cnt; i++)
		if (s->overflow[i].key == p.key && s->overflow[i].value == p.value)
			return i;
	return SIZE_MAX;
}

static int overflow_add(struct index_shard *s, struct index_pair p)
{
	if (overflow_find(s, p) != SIZE_MAX)
		return 0;
	if (s->overflow_cnt == s->overflow_cap) {
		size_t cap = s->overflow_cap ? s->overflow_cap * 2 : 16;
		struct index_pair *o = realloc(s->overflow, cap * sizeof(*o));

		if (o == NULL)
			return -ENOMEM;
		s->overflow = o;
		s->overflow_cap = cap;
	}
	s->overflow[s->overflow_cnt++] = p;
	s->cnt++;
	return 0;
}

int index_add(struct index_shard *s, const struct locator *l)
{
	struct index_pair p = index_permute(l, s->seed);
	const uint64_t *v = bucket_get(s, p.key);
	int error;

	s->zero_value |= p.value == 0;
	if (v != NULL)
		return *v == p.value ? 0 : overflow_add(s, p);
	error = bucket_put(s, p.key, p.value);
	if (error != 0)
		return error;
	s->cnt++;
	bucket_work(s, p.key, MOVE_PER_EDIT);
	return 0;
}

/* --- many at once ----------------------------------------------------------------------------------------- */

static int pair_taken(struct index_shard *s, uint64_t *value, struct index_pair p)
{
	return *value == p.value ? 0 : overflow_add(s, p);
}

static int load_one_by_one(struct index_shard *s)
{
	int error = 0;

	for (uint32_t i = 0; i < s->load_cnt && error == 0; i++) {
		struct locator l = index_unpermute(s->load[i], s->seed);

		error = index_add(s, &l);
	}
	return error;
}

static int load_put(struct index_shard *s)
{
	int error;

	if (s->zero_value)
		error = load_one_by_one(s);
	else
		error = bucket_put_many(s, s->load, s->load_cnt, s->load + INDEX_LOAD_MAX, pair_taken);
	s->load_cnt = 0;
	return error;
}

void index_load_expect(struct index_shard *s, uint64_t cnt)
{
	bucket_expect(s, cnt < LOAD_EXPECT_MAX ? cnt : LOAD_EXPECT_MAX);
}

int index_load(struct index_shard *s, const struct locator *l)
{
	struct index_pair p = index_permute(l, s->seed);

	if (s->load == NULL) {
		s->load = malloc(2 * (size_t)INDEX_LOAD_MAX * sizeof(*s->load));
		if (s->load == NULL)
			return -ENOMEM;
	}
	s->zero_value |= p.value == 0;
	s->load[s->load_cnt++] = p;
	return s->load_cnt == INDEX_LOAD_MAX ? load_put(s) : 0;
}

int index_load_end(struct index_shard *s)
{
	int error = s->load_cnt > 0 ? load_put(s) : 0;

	load_drop(s);
	return error;
}

uint32_t index_load_cnt(const struct index_shard *s)
{
	return s->load_cnt;
}

/* --- reading ---------------------------------------------------------------------------------------------- */

static bool pair_has(const struct index_shard *s, struct index_pair p)
{
	const uint64_t *v = bucket_get(s, p.key);

	if (v == NULL)
		return false;
	if (*v == p.value)
		return true;
	return s->overflow_cnt > 0 && overflow_find(s, p) != SIZE_MAX;
}

/* After the pair in Judy has gone, one of the overflow pairs with its key takes its place. */
static bool promote(struct index_shard *s, uint64_t *v, uint64_t key)
{
	for (size_t i = 0; i < s->overflow_cnt; i++) {
		if (s->overflow[i].key == key) {
			*v = s->overflow[i].value;
			s->overflow[i] = s->overflow[--s->overflow_cnt];
			return true;
		}
	}
	return false;
}

int index_del(struct index_shard *s, const struct locator *l)
{
	struct index_pair p = index_permute(l, s->seed);
	uint64_t *v = bucket_get(s, p.key);

	if (v == NULL)
		return -ENOENT;
	if (*v != p.value) {
		size_t i = overflow_find(s, p);

		if (i == SIZE_MAX)
			return -ENOENT;
		s->overflow[i] = s->overflow[--s->overflow_cnt];
	} else if (!promote(s, v, p.key)) {
		bucket_del(s, p.key);
	}
	s->cnt--;
	bucket_work(s, p.key, MOVE_PER_EDIT);
	return 0;
}

bool index_maintain(struct index_shard *s)
{
	return bucket_patrol(s, INDEX_MAINTAIN_KEYS);
}

bool index_has(const struct index_shard *s, const struct locator *l)
{
	return pair_has(s, index_permute(l, s->seed));
}

uint64_t index_cnt(const struct index_shard *s)
{
	return s->cnt;
}

uint64_t index_lookup_burst(const struct index_shard *s, const struct locator *l, unsigned cnt)
{
	struct index_pair p[INDEX_BURST_MAX];
	const uint64_t *block[INDEX_BURST_MAX];
	uint64_t maybe = 0, hits = 0;

	assert(cnt <= INDEX_BURST_MAX);
	for (unsigned i = 0; i < cnt; i++) { /* start every cache miss at once */
		p[i] = index_permute(&l[i], s->seed);
		block[i] = filter_of(s, bucket_of(s, p[i].key)) + filter_block(p[i].key);
		__builtin_prefetch(block[i]);
	}
	for (unsigned i = 0; i < cnt; i++) /* nearly every txid stops here */
		maybe |= (uint64_t)filter_test(block[i], p[i].key) << i;
	for (; maybe != 0; maybe &= maybe - 1) {
		unsigned i = (unsigned)__builtin_ctzll(maybe);

		hits |= (uint64_t)pair_has(s, p[i]) << i;
	}
	return hits;
}

void index_stats_get(const struct index_shard *s, struct index_stats *out)
{
	*out = (struct index_stats){
		.locators = s->cnt,
		.judy_bytes = bucket_judy_bytes(s) + s->overflow_cap * sizeof(*s->overflow),
		.filter_bytes = bucket_filter_bytes(s),
		.buckets = bucket_cnt(s),
		.moved_keys = s->moved_keys,
		.renewals = s->renewals,
		.recent_blocks = s->recent_cnt,
		.recent_txids = s->recent_txids,
		.recent_bytes = index_recent_bytes(s),
	};
}
