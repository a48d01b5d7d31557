/* The recent blocks of one shard: pushed and popped at the new end, evicted at the old one. */
#include "index/index_priv.h"

#include <errno.h>
#include <stdlib.h>

static void block_free(struct index_shard *s, struct recent_block *b)
{
	s->recent_txids -= b->entry_cnt;
	s->recent_bytes -= b->entry_cnt * sizeof(*b->entry) +
			   ((uint64_t)b->slot_mask + 1) * sizeof(*b->slot);
	free(b->entry);
	free(b->slot);
}

void index_recent_clear(struct index_shard *s)
{
	for (size_t i = 0; i < s->recent_cnt; i++)
		block_free(s, &s->recent[i]);
	s->recent_cnt = 0;
}

/* Any eight bytes of a txid's end are random enough to place it in a table of our own making: a crowded table
   costs time in proportion to what an attacker mined, and the table is small. */
static uint32_t slot_of(const struct locator *l)
{
	uint32_t h;

	memcpy(&h, l->b + 4, sizeof(h));
	return h * 0x9e3779b1u;
}

static uint32_t table_sz(uint32_t entry_cnt)
{
	uint32_t sz = 16;

	while (sz < entry_cnt * 2)
		sz *= 2;
	return sz;
}

static void table_fill(struct recent_block *b)
{
	for (uint32_t i = 0; i < b->entry_cnt; i++) {
		struct locator l = locator_of_txid(&b->entry[i].txid,
						   (enum locator_scheme)b->entry[i].scheme);
		uint32_t at = slot_of(&l) & b->slot_mask;

		while (b->slot[at] != 0)
			at = (at + 1) & b->slot_mask;
		b->slot[at] = i + 1;
	}
}

/* Fills e (when not NULL) with what belongs to this shard; returns how many there are. */
static uint32_t collect(const struct index_shard *s, const struct hash256 *txid, uint32_t tx_cnt,
			struct recent_entry *e)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < tx_cnt; i++) {
		for (uint32_t scheme = 0; scheme < 2; scheme++) {
			struct locator l = locator_of_txid(&txid[i], (enum locator_scheme)scheme);

			if (index_shard_of(&l, s->seed, s->shard_cnt) != s->shard_idx)
				continue;
			if (e != NULL)
				e[cnt] = (struct recent_entry){txid[i], i, scheme};
			cnt++;
		}
	}
	return cnt;
}

static int recent_grow(struct index_shard *s)
{
	size_t cap = s->recent_cap ? s->recent_cap * 2 : 64;
	struct recent_block *r;

	if (s->recent_cnt < s->recent_cap)
		return 0;
	r = realloc(s->recent, cap * sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	s->recent = r;
	s->recent_cap = cap;
	return 0;
}

int index_block_push(struct index_shard *s, const struct hash256 *hash, uint32_t height,
		     const struct hash256 *txid, uint32_t tx_cnt, uint64_t last_byte_ns)
{
	struct recent_block b = {.hash = *hash, .height = height, .last_byte_ns = last_byte_ns};
	uint32_t sz;

	b.entry_cnt = s->shard_cnt == 1 ? tx_cnt * 2 : collect(s, txid, tx_cnt, NULL);
	sz = table_sz(b.entry_cnt);
	b.slot_mask = sz - 1;
	b.entry = malloc((b.entry_cnt + 1) * sizeof(*b.entry));
	b.slot = calloc(sz, sizeof(*b.slot));
	if (b.entry == NULL || b.slot == NULL || recent_grow(s) != 0) {
		free(b.entry);
		free(b.slot);
		return -ENOMEM;
	}
	collect(s, txid, tx_cnt, b.entry);
	table_fill(&b);
	s->recent[s->recent_cnt++] = b;
	s->recent_txids += b.entry_cnt;
	s->recent_bytes += b.entry_cnt * sizeof(*b.entry) + (uint64_t)sz * sizeof(*b.slot);
	return 0;
}

void index_block_pop(struct index_shard *s, const struct hash256 *hash)
{
	struct recent_block *newest;

	if (s->recent_cnt == 0)
		return;
	newest = &s->recent[s->recent_cnt - 1];
	if (!hash256_eq(&newest->hash, hash))
		return;
	block_free(s, newest);
	s->recent_cnt--;
}

void index_block_evict(struct index_shard *s, uint32_t below)
{
	size_t gone = 0;

	while (gone < s->recent_cnt && s->recent[gone].height <= below)
		block_free(s, &s->recent[gone++]);
	if (gone == 0)
		return;
	s->recent_cnt -= gone;
	memmove(s->recent, s->recent + gone, s->recent_cnt * sizeof(*s->recent));
}

uint32_t index_block_cnt(const struct index_shard *s)
{
	return (uint32_t)s->recent_cnt;
}

unsigned index_recent_find(const struct index_shard *s, const struct locator *l,
			   struct index_recent_hit *out, unsigned max)
{
	uint32_t h = slot_of(l);
	unsigned cnt = 0;

	for (size_t i = 0; i < s->recent_cnt; i++) {
		const struct recent_block *b = &s->recent[i];

		for (uint32_t at = h & b->slot_mask; b->slot[at] != 0;
		     at = (at + 1) & b->slot_mask) {
			const struct recent_entry *e = &b->entry[b->slot[at] - 1];
			struct locator k = locator_of_txid(&e->txid,
							   (enum locator_scheme)e->scheme);

			if (memcmp(k.b, l->b, LOCATOR_SZ) != 0)
				continue;
			if (cnt < max)
				out[cnt] = (struct index_recent_hit){
					.block_hash = b->hash,
					.height = b->height,
					.tx_idx = e->tx_idx,
					.scheme = (enum locator_scheme)e->scheme,
					.txid = e->txid,
					.last_byte_ns = b->last_byte_ns,
				};
			cnt++;
		}
	}
	return cnt;
}
