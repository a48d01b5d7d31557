/* The recent blocks of one shard: pushed and popped at the new end, evicted at the old one.

   Their transactions stand in one queue, by ever increasing position, and one hash table leads into it.  Chains go
   from new to old.  So a popped transaction is always the head of its chain, and an evicted one is always at the end
   of its: what lies before the queue's first position ends the chain, and eviction touches the table not at all.

   An entry is one locator of a transaction: position * 2 + scheme, modulo 2^32.  So a chain that got nothing new for
   2^31 transactions may end in what has become a living entry of another chain.  Nothing is lost by that: a step that
   does not lead to an older entry ends the walk, strangers are compared and passed over, and a split takes the first
   one for the end. */
#include "index/index_priv.h"

#include <errno.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define LEVEL_MAX     26u
#define PUSH_BATCH    32u
#define RECENT_TX_MAX (1u << 29)

static struct recent_tx *tx_at(const struct index_shard *s, uint32_t pos)
{
	return &s->tx_page[pos / RECENT_PAGE_TXS & (s->tx_page_cap - 1)][pos % RECENT_PAGE_TXS];
}

static bool entry_lives(const struct index_shard *s, uint32_t entry)
{
	return (uint32_t)(entry - 2 * s->tx_first) < 2 * (s->tx_end - s->tx_first);
}

static uint32_t chain_hash(const struct index_shard *s, const struct locator *l)
{
	/* Not the seed of the shard choice: within a shard those hashes are all alike. */
	return (uint32_t)XXH3_64bits_withSeed(l->b, LOCATOR_SZ, ~s->seed);
}

static uint32_t *head_at(const struct index_shard *s, uint32_t chain)
{
	return &s->head_page[chain / RECENT_PAGE_HEADS][chain % RECENT_PAGE_HEADS];
}

static uint32_t chain_of(const struct index_shard *s, uint32_t hash)
{
	uint32_t low = hash & ((1u << s->chain_level) - 1);

	return low < s->chain_split ? hash & ((2u << s->chain_level) - 1) : low;
}

static uint32_t chain_cnt(const struct index_shard *s)
{
	return s->head_page_cnt == 0 ? 0 : (1u << s->chain_level) + s->chain_split;
}

/* --- room ------------------------------------------------------------------------------------------------- */

static bool head_page_add(struct index_shard *s)
{
	uint32_t cap = s->head_page_cap ? s->head_page_cap * 2 : 16, *page;

	if (s->head_page_cnt == s->head_page_cap) {
		uint32_t **t = realloc(s->head_page, cap * sizeof(*t));

		if (t == NULL)
			return false;
		s->head_page = t;
		s->head_page_cap = cap;
	}
	page = malloc(RECENT_PAGE_HEADS * sizeof(*page));
	if (page == NULL)
		return false;
	s->head_page[s->head_page_cnt++] = page;
	return true;
}

/* Pages for cnt more transactions; the table of pages is indexed by position, so it doubles by placing anew. */
static bool tx_room(struct index_shard *s, uint32_t cnt)
{
	uint32_t first = s->tx_first / RECENT_PAGE_TXS;
	uint32_t need;

	if (s->tx_end - s->tx_first + cnt > RECENT_TX_MAX)
		return false;
	need = (s->tx_first % RECENT_PAGE_TXS + (s->tx_end - s->tx_first) + cnt) / RECENT_PAGE_TXS + 1;

	if (need > s->tx_page_cap) {
		uint32_t cap = s->tx_page_cap ? s->tx_page_cap : 4;
		struct recent_tx **t;

		while (cap < need)
			cap *= 2;
		t = calloc(cap, sizeof(*t));
		if (t == NULL)
			return false;
		for (uint32_t i = 0; i < s->tx_page_cnt; i++)
			t[(first + i) & (cap - 1)] = s->tx_page[(first + i) & (s->tx_page_cap - 1)];
		free(s->tx_page);
		s->tx_page = t;
		s->tx_page_cap = cap;
	}
	while (s->tx_page_cnt < need) {
		struct recent_tx *page = malloc(RECENT_PAGE_TXS * sizeof(*page));

		if (page == NULL)
			return false;
		s->tx_page[(first + s->tx_page_cnt++) & (s->tx_page_cap - 1)] = page;
	}
	return true;
}

/* Gives back the pages that now lie before the queue or behind it; one is kept to grow into. */
static void tx_trim(struct index_shard *s, uint32_t was_first)
{
	uint32_t page = was_first / RECENT_PAGE_TXS, first = s->tx_first / RECENT_PAGE_TXS, need;

	for (; page != first && s->tx_page_cnt > 0; page = (page + 1) & (UINT32_MAX / RECENT_PAGE_TXS)) {
		free(s->tx_page[page & (s->tx_page_cap - 1)]);
		s->tx_page_cnt--;
	}
	need = (s->tx_first % RECENT_PAGE_TXS + (s->tx_end - s->tx_first)) / RECENT_PAGE_TXS + 2;
	while (s->tx_page_cnt > need)
		free(s->tx_page[(first + --s->tx_page_cnt) & (s->tx_page_cap - 1)]);
}

static bool block_room(struct index_shard *s)
{
	size_t cap = s->recent_cap ? s->recent_cap * 2 : 64;
	struct recent_block *r;

	if (s->recent_cnt < s->recent_cap)
		return true;
	r = realloc(s->recent, cap * sizeof(*r));
	if (r == NULL)
		return false;
	s->recent = r;
	s->recent_cap = cap;
	return true;
}

void index_recent_clear(struct index_shard *s)
{
	uint32_t first = s->tx_first / RECENT_PAGE_TXS;

	for (uint32_t i = 0; i < s->tx_page_cnt; i++)
		free(s->tx_page[(first + i) & (s->tx_page_cap - 1)]);
	for (uint32_t i = 0; i < s->head_page_cnt; i++)
		free(s->head_page[i]);
	free(s->tx_page);
	free(s->head_page);
	free(s->recent);
	s->tx_page = NULL;
	s->head_page = NULL;
	s->recent = NULL;
	s->tx_page_cnt = s->tx_page_cap = s->head_page_cnt = s->head_page_cap = 0;
	s->chain_level = s->chain_split = 0;
	s->tx_first = s->tx_end = 0;
	s->recent_cnt = s->recent_cap = 0;
	s->recent_txids = 0;
}

/* --- chains ----------------------------------------------------------------------------------------------- */

static struct locator entry_locator(const struct index_shard *s, uint32_t entry)
{
	return locator_of_txid(&tx_at(s, entry / 2)->txid, (enum locator_scheme)(entry % 2));
}

static uint32_t entry_next(const struct index_shard *s, uint32_t entry)
{
	uint32_t next = tx_at(s, entry / 2)->next[entry % 2], base = 2 * s->tx_first;

	return next - base < entry - base ? next : base - 1;
}

/* Splits the next chain in two when there are more entries than chains; each part keeps its order.  Without memory
   for it chains stay longer. */
static void chain_grow(struct index_shard *s)
{
	uint32_t n = chain_cnt(s), old, entry, next, none = 2 * s->tx_first - 1, *tail[2];

	if (s->recent_txids <= n || s->chain_level == LEVEL_MAX)
		return;
	if (n / RECENT_PAGE_HEADS == s->head_page_cnt && !head_page_add(s))
		return;
	old = s->chain_split;
	entry = *head_at(s, old);
	tail[0] = head_at(s, old);
	tail[1] = head_at(s, n);
	while (entry_lives(s, entry)) {
		struct locator l = entry_locator(s, entry);
		uint32_t hash = chain_hash(s, &l), **t = &tail[hash >> s->chain_level & 1];

		if ((hash & ((1u << s->chain_level) - 1)) != old)
			break;
		next = entry_next(s, entry);
		**t = entry;
		*t = &tx_at(s, entry / 2)->next[entry % 2];
		entry = next;
	}
	*tail[0] = *tail[1] = none;
	if (++s->chain_split == 1u << s->chain_level) {
		s->chain_level++;
		s->chain_split = 0;
	}
}

static bool chain_start(struct index_shard *s)
{
	if (s->head_page_cnt > 0)
		return true;
	if (!head_page_add(s))
		return false;
	*head_at(s, 0) = 2 * s->tx_first - 1;
	return true;
}

/* Links cnt new entries, oldest first. */
static void chain_put(struct index_shard *s, const uint32_t *entry, unsigned cnt)
{
	uint32_t *head[2 * PUSH_BATCH];

	for (unsigned i = 0; i < cnt; i++)
		chain_grow(s);
	for (unsigned i = 0; i < cnt; i++) {
		struct locator l = entry_locator(s, entry[i]);

		head[i] = head_at(s, chain_of(s, chain_hash(s, &l)));
		__builtin_prefetch(head[i], 1);
	}
	for (unsigned i = 0; i < cnt; i++) {
		tx_at(s, entry[i] / 2)->next[entry[i] % 2] = *head[i];
		*head[i] = entry[i];
	}
	s->recent_txids += cnt;
}

/* --- blocks ----------------------------------------------------------------------------------------------- */

static unsigned mine_of(const struct index_shard *s, const struct hash256 *txid)
{
	unsigned mine = 0;

	for (unsigned scheme = 0; scheme < 2; scheme++) {
		struct locator l = locator_of_txid(txid, (enum locator_scheme)scheme);

		mine |= (unsigned)(index_shard_of(&l, s->seed, s->shard_cnt) == s->shard_idx) << scheme;
	}
	return mine;
}

int index_block_push(struct index_shard *s, const struct hash256 *hash, uint32_t height,
		     const struct hash256 *txid, uint32_t tx_cnt, uint64_t last_byte_ns)
{
	struct recent_block b = {
		.hash = *hash, .height = height, .last_byte_ns = last_byte_ns, .tx_first = s->tx_end};
	uint32_t entry[2 * PUSH_BATCH];
	unsigned entry_cnt = 0;

	if (!block_room(s) || !tx_room(s, tx_cnt) || !chain_start(s))
		return -ENOMEM;
	for (uint32_t i = 0; i < tx_cnt; i++) {
		unsigned mine = mine_of(s, &txid[i]);

		if (mine != 0)
			*tx_at(s, s->tx_end++) =
				(struct recent_tx){.txid = txid[i], .tx_idx = i, .mine = mine & 3};
		for (unsigned scheme = 0; scheme < 2; scheme++)
			if (mine >> scheme & 1)
				entry[entry_cnt++] = 2 * (s->tx_end - 1) + scheme;
		if (entry_cnt > 2 * PUSH_BATCH - 2 || i + 1 == tx_cnt) {
			chain_put(s, entry, entry_cnt);
			b.entry_cnt += entry_cnt;
			entry_cnt = 0;
		}
	}
	b.tx_cnt = s->tx_end - b.tx_first;
	s->recent[s->recent_cnt++] = b;
	return 0;
}

void index_block_pop(struct index_shard *s, const struct hash256 *hash)
{
	const struct recent_block *newest;

	if (s->recent_cnt == 0)
		return;
	newest = &s->recent[s->recent_cnt - 1];
	if (!hash256_eq(&newest->hash, hash))
		return;
	for (uint32_t left = newest->tx_cnt; left > 0; left--) {
		uint32_t pos = s->tx_end - 1;
		const struct recent_tx *tx = tx_at(s, pos);

		for (unsigned scheme = 2; scheme-- > 0;) {
			struct locator l;

			if ((tx->mine >> scheme & 1) == 0)
				continue;
			l = entry_locator(s, 2 * pos + scheme);
			*head_at(s, chain_of(s, chain_hash(s, &l))) = tx->next[scheme];
			s->recent_txids--;
		}
		s->tx_end--;
	}
	s->recent_cnt--;
	tx_trim(s, s->tx_first);
}

void index_block_evict(struct index_shard *s, uint32_t below)
{
	uint32_t was_first = s->tx_first;
	size_t gone = 0;

	for (; gone < s->recent_cnt && s->recent[gone].height <= below; gone++) {
		const struct recent_block *b = &s->recent[gone];

		s->recent_txids -= b->entry_cnt;
		s->tx_first += b->tx_cnt;
	}
	if (gone == 0)
		return;
	s->recent_cnt -= gone;
	memmove(s->recent, s->recent + gone, s->recent_cnt * sizeof(*s->recent));
	tx_trim(s, was_first);
}

uint32_t index_block_cnt(const struct index_shard *s)
{
	return (uint32_t)s->recent_cnt;
}

uint64_t index_recent_bytes(const struct index_shard *s)
{
	return (uint64_t)s->tx_page_cnt * RECENT_PAGE_TXS * sizeof(struct recent_tx) +
	       (uint64_t)s->head_page_cnt * RECENT_PAGE_HEADS * sizeof(uint32_t) +
	       s->tx_page_cap * sizeof(*s->tx_page) + s->head_page_cap * sizeof(*s->head_page) +
	       s->recent_cap * sizeof(*s->recent);
}

static const struct recent_block *block_of(const struct index_shard *s, uint32_t entry)
{
	size_t lo = 0, hi = s->recent_cnt; /* the block is in [lo, hi) */

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (2 * (s->recent[mid].tx_first - s->tx_first) <= entry - 2 * s->tx_first)
			lo = mid;
		else
			hi = mid;
	}
	return &s->recent[lo];
}

/* The next entry of l in its chain from entry on; not living when there is none. */
static uint32_t entry_find(const struct index_shard *s, uint32_t entry, const struct locator *l)
{
	while (entry_lives(s, entry)) {
		struct locator k = entry_locator(s, entry);

		if (memcmp(k.b, l->b, LOCATOR_SZ) == 0)
			break;
		entry = entry_next(s, entry);
	}
	return entry;
}

unsigned index_recent_find(const struct index_shard *s, const struct locator *l, struct index_recent_hit *out,
			   unsigned max)
{
	uint32_t head, entry;
	unsigned cnt = 0, left;

	if (s->recent_cnt == 0)
		return 0;
	head = entry_find(s, *head_at(s, chain_of(s, chain_hash(s, l))), l);
	for (entry = head; entry_lives(s, entry); cnt++)
		entry = entry_find(s, entry_next(s, entry), l);
	left = cnt;
	for (entry = head; left-- > 0; entry = entry_find(s, entry_next(s, entry), l)) {
		const struct recent_tx *tx = tx_at(s, entry / 2);
		const struct recent_block *b = block_of(s, entry);

		if (left >= max)
			continue;
		out[left] = (struct index_recent_hit){
			.block_hash = b->hash,
			.height = b->height,
			.tx_idx = tx->tx_idx,
			.scheme = (enum locator_scheme)(entry % 2),
			.txid = tx->txid,
			.last_byte_ns = b->last_byte_ns,
		};
	}
	return cnt;
}
