/* The buckets of a shard: linear hashing, moved piece by piece. */
#include "index/index_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <Judy.h>
#include <sys/mman.h>

#define LEVEL_MAX      22u
#define PATROL_BUCKETS 16u
#define PREFETCH_KEYS  32u
static_assert(sizeof(Word_t) == 8, "a Judy word holds half a locator");

static struct index_bucket *bucket_at(const struct index_shard *s, uint32_t i)
{
	return &s->segment[i / SEGMENT_BUCKETS]->bucket[i % SEGMENT_BUCKETS];
}

static unsigned depth_of(const struct index_shard *s, uint32_t i)
{
	return s->level + (i < s->split || i >= 1u << s->level);
}

/* --- keys within a bucket --------------------------------------------------------------------------------- */

/* All keys of a bucket share their low depth bits; whole bytes of them need not be stored. */
static unsigned dropped_bits(unsigned depth)
{
	return depth & ~7u;
}

static uint64_t inner_key(uint64_t key, unsigned depth)
{
	return key >> dropped_bits(depth);
}

static uint64_t outer_key(uint64_t inner, unsigned depth, uint32_t bucket)
{
	unsigned bits = dropped_bits(depth);

	return inner << bits | (bucket & ((1ull << bits) - 1));
}

/* --- the whole ------------------------------------------------------------------------------------------ */

bool bucket_init(struct index_shard *s)
{
	s->move = calloc(1, sizeof(*s->move));
	s->touched = 1;
	return s->move != NULL && segment_add(s);
}

void bucket_clear(struct index_shard *s)
{
	arena_pool_free(&s->pool);
	while (s->segment_cnt > 1)
		segment_drop(s);
	/* With it the memory of the first segment goes back too. */
	madvise(s->filter[0], SEGMENT_FILTER_SZ, MADV_DONTNEED);
	memset(s->segment[0]->bucket, 0, sizeof(s->segment[0]->bucket));
	s->level = s->split = 0;
	s->patrol = s->patrol_idle = s->huge_cnt = 0;
	s->touched = 1;
	s->move->active = false;
}

void bucket_fini(struct index_shard *s)
{
	arena_pool_free(&s->pool);
	while (s->segment_cnt > 0)
		segment_drop(s);
	free(s->filter);
	free(s->segment);
	free(s->move);
}

/* --- one array -------------------------------------------------------------------------------------------- */

/* The value under inner, made if there is none: zero then.  NULL when memory is out. */
static Word_t *array_slot(struct index_shard *s, struct index_bucket *b, uint64_t inner)
{
	Word_t *v;

	arena_enter(&s->pool, &b->arena);
	v = (Word_t *)JudyLIns(&b->judy, inner, PJE0);
	arena_enter(NULL, NULL);
	return v == (Word_t *)PJERR ? NULL : v;
}

static int array_put(struct index_shard *s, struct index_bucket *b, uint64_t inner, uint64_t value)
{
	Word_t *v = array_slot(s, b, inner);

	if (v == NULL)
		return -ENOMEM;
	*v = value;
	b->cnt++;
	return 0;
}

static void array_del(struct index_shard *s, struct index_bucket *b, uint64_t inner)
{
	arena_enter(&s->pool, &b->arena);
	if (JudyLDel(&b->judy, inner, PJE0) == 1)
		b->cnt--;
	arena_enter(NULL, NULL);
}

/* The array that has key, or would have it, and the key in it. */
static struct index_bucket *array_of(const struct index_shard *s, uint64_t key, uint64_t *inner)
{
	struct index_move *m = s->move;
	uint32_t i = bucket_of(s, key);

	if (m->active && (i == m->target[0] || i == m->target[1])) {
		/* Two sources differ in the top bit of their depth. */
		unsigned pos = m->source_cnt == 2 && (key >> (m->source_depth - 1) & 1);

		*inner = inner_key(key, m->source_depth);
		if (pos > m->pos || (pos == m->pos && *inner >= m->cursor))
			return &m->source[pos];
	}
	*inner = inner_key(key, depth_of(s, i));
	return bucket_at(s, i);
}

uint64_t *bucket_get(const struct index_shard *s, uint64_t key)
{
	uint64_t inner;
	struct index_bucket *b = array_of(s, key, &inner);

	return (uint64_t *)JudyLGet(b->judy, inner, PJE0);
}

int bucket_put(struct index_shard *s, uint64_t key, uint64_t value)
{
	uint64_t inner;
	struct index_bucket *b = array_of(s, key, &inner);
	int error = array_put(s, b, inner, value);
	uint32_t i = bucket_of(s, key);

	if (error != 0)
		return error;
	filter_set(filter_of(s, i), key);
	if (s->move->active)
		for (unsigned t = 0; t < 2; t++)
			if (s->move->target[t] == i)
				filter_set(s->move->fresh[t], key);
	return 0;
}

void bucket_del(struct index_shard *s, uint64_t key)
{
	uint64_t inner;
	struct index_bucket *b = array_of(s, key, &inner);

	array_del(s, b, inner);
	bucket_at(s, bucket_of(s, key))->stale++;
}

/* --- moves ------------------------------------------------------------------------------------------------ */

static void move_from(struct index_move *m, struct index_bucket *b, uint32_t number)
{
	m->source[m->source_cnt] = *b;
	m->source_low[m->source_cnt++] = number;
	*b = (struct index_bucket){0};
}

static void move_begin(struct index_shard *s, uint32_t first, uint32_t second, unsigned source_depth)
{
	struct index_move *m = s->move;

	memset(m, 0, sizeof(*m));
	m->active = true;
	m->target[0] = first;
	m->target[1] = second;
	m->source_depth = source_depth;
}

static void renew_begin(struct index_shard *s, uint32_t i)
{
	move_begin(s, i, NO_BUCKET, depth_of(s, i));
	move_from(s->move, bucket_at(s, i), i);
	s->renewals++;
}

static void split_begin(struct index_shard *s)
{
	uint32_t low = s->split, high = low + (1u << s->level);

	if (high / SEGMENT_BUCKETS == s->segment_cnt) {
		if (!segment_add(s))
			return; /* the buckets stay fuller than they should */
		segment_is_full(s, s->segment_cnt - 2);
	}
	move_begin(s, low, high, s->level);
	move_from(s->move, bucket_at(s, low), low);
	memcpy(filter_of(s, high), filter_of(s, low), FILTER_SZ);
	if (s->touched <= high)
		s->touched = high + 1;
	if (++s->split == 1u << s->level) {
		s->level++;
		s->split = 0;
	}
}

static void merge_begin(struct index_shard *s)
{
	uint32_t low, high;
	uint64_t *to, *from;

	if (s->split == 0)
		s->split = 1u << --s->level;
	low = --s->split;
	high = low + (1u << s->level);
	move_begin(s, low, NO_BUCKET, s->level + 1);
	move_from(s->move, bucket_at(s, low), low);
	move_from(s->move, bucket_at(s, high), high);
	to = filter_of(s, low);
	from = filter_of(s, high);
	for (unsigned i = 0; i < FILTER_SZ / 8; i++)
		to[i] |= from[i];
	/* Half a segment stays unused before it goes, so that nobody can make it come and go with every edit. */
	if (high % SEGMENT_BUCKETS == SEGMENT_BUCKETS / 2 && s->segment_cnt > high / SEGMENT_BUCKETS + 1)
		segment_drop(s);
}

static void move_end(struct index_shard *s)
{
	struct index_move *m = s->move;

	for (unsigned t = 0; t < 2; t++) {
		if (m->target[t] == NO_BUCKET)
			continue;
		memcpy(filter_of(s, m->target[t]), m->fresh[t], FILTER_SZ);
		bucket_at(s, m->target[t])->stale = 0;
	}
	for (unsigned i = 0; i < m->source_cnt; i++)
		arena_drop(&s->pool, &m->source[i].arena);
	m->active = false;
}

static void source_done(struct index_shard *s)
{
	s->move->cursor = 0;
	if (++s->move->pos == s->move->source_cnt)
		move_end(s);
}

/* Moves the next key; false when memory for it is out. */
static bool move_one(struct index_shard *s)
{
	struct index_move *m = s->move;
	Word_t inner = m->cursor;
	const Word_t *v = (const Word_t *)JudyLFirst(m->source[m->pos].judy, &inner, PJE0);
	uint64_t key;
	uint32_t to;

	if (v == NULL) {
		source_done(s);
		return true;
	}
	key = outer_key(inner, m->source_depth, m->source_low[m->pos]);
	to = bucket_of(s, key);
	if (array_put(s, bucket_at(s, to), inner_key(key, depth_of(s, to)), *v) != 0)
		return false;
	filter_set(m->fresh[to == m->target[1]], key);
	s->moved_keys++;
	m->cursor = inner + 1;
	if (m->cursor == 0)
		source_done(s);
	return true;
}

/* When the holes in a bucket's memory, or the bits of deleted keys in its filter, are worth copying it. */
enum worn { WORN_MUCH, WORN_A_LITTLE };

static bool bucket_is_worn(const struct index_bucket *b, enum worn how)
{
	uint32_t words = b->arena.chunk_cnt * (ARENA_CHUNK_SZ / 8);

	switch (how) {
	case WORN_MUCH:
		return b->stale > BUCKET_LOAD / 8 + b->cnt / 4 ||
		       b->arena.free_words > 2 * (ARENA_CHUNK_SZ / 8) + words / 4;
	case WORN_A_LITTLE:
		return b->stale > BUCKET_LOAD / 8 + b->cnt / 16 ||
		       b->arena.free_words > ARENA_CHUNK_SZ / 8 + words / 8;
	}
	return false;
}

/* Not while one bucket fewer would soon have to be split again: an idle owner would never come to rest. */
static bool has_bucket_too_many(const struct index_shard *s)
{
	uint64_t n = bucket_cnt(s);

	return n > 1 && s->cnt < n * (BUCKET_LOAD / 8 * 6) && s->cnt < (n - 1) * (BUCKET_LOAD / 8 * 7);
}

static bool choose(struct index_shard *s, uint32_t i, enum worn how)
{
	uint32_t n = bucket_cnt(s);

	if (s->cnt > (uint64_t)n * BUCKET_LOAD && s->level < LEVEL_MAX)
		split_begin(s);
	else if (has_bucket_too_many(s))
		merge_begin(s);
	else if (bucket_is_worn(bucket_at(s, i), how))
		renew_begin(s, i);
	return s->move->active;
}

static void move_some(struct index_shard *s, unsigned max)
{
	while (max-- > 0 && s->move->active && move_one(s))
		;
}

void bucket_work(struct index_shard *s, uint64_t key, unsigned max)
{
	if (s->move->active || choose(s, bucket_of(s, key), WORN_MUCH))
		move_some(s, max);
}

bool bucket_patrol(struct index_shard *s, unsigned max)
{
	if (segment_make_huge(s))
		return true;
	for (unsigned i = 0; i < PATROL_BUCKETS && !s->move->active; i++) {
		s->patrol = s->patrol + 1 < bucket_cnt(s) ? s->patrol + 1 : 0;
		s->patrol_idle = choose(s, s->patrol, WORN_A_LITTLE) ? 0 : s->patrol_idle + 1;
	}
	if (s->patrol_idle > bucket_cnt(s))
		s->patrol_idle = bucket_cnt(s);
	move_some(s, max);
	return s->move->active || s->patrol_idle < bucket_cnt(s);
}

/* --- many at once ----------------------------------------------------------------------------------------- */

void bucket_expect(struct index_shard *s, uint64_t cnt)
{
	uint64_t n = cnt / BUCKET_LOAD + 1;

	if (s->cnt > 0 || s->move->active || n <= bucket_cnt(s))
		return;
	if (n > 1ull << LEVEL_MAX)
		n = 1ull << LEVEL_MAX;
	while (s->segment_cnt * (uint64_t)SEGMENT_BUCKETS < n) {
		if (!segment_add(s))
			return;
		segment_is_full(s, s->segment_cnt - 2);
	}
	s->level = 63 - (unsigned)__builtin_clzll(n);
	s->split = (uint32_t)(n - (1ull << s->level));
	s->touched = (uint32_t)n;
}

static bool move_finish(struct index_shard *s)
{
	while (s->move->active)
		if (!move_one(s))
			return false;
	return true;
}

/* Splits until there is room for cnt more keys, so that each goes to the place where it will stay. */
static int make_room(struct index_shard *s, uint64_t cnt)
{
	if (!move_finish(s))
		return -ENOMEM;
	while (s->cnt + cnt > (uint64_t)bucket_cnt(s) * BUCKET_LOAD && s->level < LEVEL_MAX) {
		split_begin(s);
		if (!s->move->active)
			break; /* as with single adds, the buckets stay fuller than they should */
		if (!move_finish(s))
			return -ENOMEM;
	}
	return 0;
}

/* Brings what the next group of keys will touch first; the rest of a bucket follows it as it is used. */
static void group_prefetch(const struct index_shard *s, uint32_t i, const struct index_pair *p, uint32_t cnt)
{
	uint64_t *filter = filter_of(s, i);

	__builtin_prefetch(bucket_at(s, i)->judy);
	for (uint32_t k = 0; k < cnt && k < PREFETCH_KEYS; k++)
		__builtin_prefetch(filter + filter_block(p[k].key), 1);
}

static int group_put(struct index_shard *s, uint32_t i, const struct index_pair *p, uint32_t cnt,
		     int (*taken)(struct index_shard *s, uint64_t *value, struct index_pair p))
{
	struct index_bucket *b = bucket_at(s, i);
	uint64_t *filter = filter_of(s, i);
	unsigned depth = depth_of(s, i);

	for (uint32_t k = 0; k < cnt; k++) {
		Word_t *v = array_slot(s, b, inner_key(p[k].key, depth));
		int error = 0;

		if (v == NULL)
			return -ENOMEM;
		if (*v != 0) {
			error = taken(s, (uint64_t *)v, p[k]);
		} else {
			*v = p[k].value;
			b->cnt++;
			s->cnt++;
			filter_set(filter, p[k].key);
		}
		if (error != 0)
			return error;
	}
	return 0;
}

/* One pass of counting sort, which keeps the order of equals: end[d] becomes the end of digit d. */
static void sort_pass(const struct index_shard *s, uint32_t (*digit)(const struct index_shard *s, uint64_t key),
		      const struct index_pair *p, uint32_t cnt, struct index_pair *out, uint32_t *end,
		      uint32_t digits)
{
	uint32_t sum = 0;

	memset(end, 0, digits * sizeof(*end));
	for (uint32_t k = 0; k < cnt; k++)
		end[digit(s, p[k].key)]++;
	for (uint32_t d = 0; d < digits; d++) {
		uint32_t c = end[d];

		end[d] = sum;
		sum += c;
	}
	for (uint32_t k = 0; k < cnt; k++)
		out[end[digit(s, p[k].key)]++] = p[k];
}

static uint32_t top_byte(const struct index_shard *s, uint64_t key)
{
	(void)s;
	return (uint32_t)(key >> 56);
}

/* By bucket, and in a bucket by the keys' first byte: so one leaf of Judy after the other grows, each into what the one
   before it has outgrown, and the filter is written from end to end. */
int bucket_put_many(struct index_shard *s, struct index_pair *p, uint32_t cnt, struct index_pair *scratch,
		    int (*taken)(struct index_shard *s, uint64_t *value, struct index_pair p))
{
	int error = make_room(s, cnt);
	uint32_t n = bucket_cnt(s), from = 0, *end;

	if (error != 0)
		return error;
	end = malloc((n > 256 ? n : 256) * sizeof(*end));
	if (end == NULL)
		return -ENOMEM;
	sort_pass(s, top_byte, p, cnt, scratch, end, 256);
	sort_pass(s, bucket_of, scratch, cnt, p, end, n);
	for (uint32_t i = 0; i < n && error == 0; i++) {
		if (i + 1 < n)
			group_prefetch(s, i + 1, p + end[i], end[i + 1] - end[i]);
		error = group_put(s, i, p + from, end[i] - from, taken);
		from = end[i];
		if (error == 0 && bucket_is_worn(bucket_at(s, i), WORN_MUCH)) {
			renew_begin(s, i);
			if (!move_finish(s))
				error = -ENOMEM;
		}
	}
	free(end);
	return error;
}

uint64_t bucket_filter_bytes(const struct index_shard *s)
{
	return (uint64_t)s->touched * FILTER_SZ + sizeof(*s->move);
}

uint64_t bucket_judy_bytes(const struct index_shard *s)
{
	return arena_pool_bytes(&s->pool) + s->segment_cnt * sizeof(struct index_segment) +
	       s->segment_cap * (sizeof(*s->segment) + sizeof(*s->filter));
}
