#include "serve/chainset.h"

#include <stdio.h>
#include <stdlib.h>

#include "blkfile/blkfile.h"
#include "btc/sha256.h"

enum { BLOCKS_MAX = 4000000 };

struct chainset {
	const struct network *net;
	struct blkfile **file;
	unsigned file_cnt;
	struct chain_block *block; /* in the order of learning */
	uint32_t cnt, left_out, known;
	uint32_t *slot; /* open addressing by hash: index + 1, 0 is free */
	uint32_t slot_mask;
	uint32_t tip;
	uint32_t *active; /* active[h - first_height] */
	uint32_t first_height;
	struct hash256 root; /* parent of the lowest blocks */
};

static uint32_t *slot_of(const struct chainset *cs, const struct hash256 *hash)
{
	uint64_t at;

	memcpy(&at, hash->b, sizeof(at));
	for (;; at++) {
		uint32_t *s = &cs->slot[at & cs->slot_mask];

		if (*s == 0 || hash256_eq(&cs->block[*s - 1].hash, hash))
			return s;
	}
}

static uint32_t lookup(const struct chainset *cs, const struct hash256 *hash)
{
	uint32_t s = *slot_of(cs, hash);

	return s ? s - 1 : CHAINSET_NONE;
}

static bool make_slots(struct chainset *cs)
{
	uint32_t want = 16;

	while (want < 2 * cs->cnt)
		want *= 2;
	cs->slot = calloc(want, sizeof(*cs->slot));
	cs->slot_mask = want - 1;
	if (!cs->slot)
		return false;
	return true;
}

/* Copies of a block (several files may hold it) stay out of the table, with sz 0. */
static void fill_slots(struct chainset *cs)
{
	for (uint32_t i = 0; i < cs->cnt; i++) {
		uint32_t *s = slot_of(cs, &cs->block[i].hash);

		if (*s)
			cs->block[i].sz = 0;
		else
			*s = i + 1;
	}
}

static bool read_file(struct chainset *cs, const char *path, uint32_t *cap, char why[CHAINSET_WHY_SZ])
{
	char reason[BLKFILE_WHY_SZ];
	struct blkfile *f = blkfile_open(path, reason);
	const struct network *net;
	struct blkfile_rec rec;

	if (!f) {
		snprintf(why, CHAINSET_WHY_SZ, "%s: %s", path, reason);
		return false;
	}
	cs->file[cs->file_cnt++] = f;
	net = blkfile_network(f);
	if (net && cs->net && net != cs->net) {
		snprintf(why, CHAINSET_WHY_SZ, "%s: blocks of %s, expected %s", path, net->name, cs->net->name);
		return false;
	}
	if (net)
		cs->net = net;
	while (blkfile_next(f, &rec)) {
		struct chain_block *b;

		if (cs->cnt == *cap) {
			uint32_t more = *cap ? 2 * *cap : 1024;

			b = more > BLOCKS_MAX ? NULL : realloc(cs->block, more * sizeof(*b));
			if (!b) {
				snprintf(why, CHAINSET_WHY_SZ, "out of memory, or more than %u blocks",
					 BLOCKS_MAX);
				return false;
			}
			cs->block = b;
			*cap = more;
		}
		b = &cs->block[cs->cnt++];
		*b = (struct chain_block){.data = rec.p, .sz = rec.sz, .parent = CHAINSET_NONE};
		memcpy(b->header, rec.p, HEADER_SZ);
		b->hash = header_hash(b->header);
	}
	return true;
}

/* The parent of the lowest blocks: genesis, or the one parent that no file holds. */
static bool find_root(struct chainset *cs, uint32_t anchor_height, char why[CHAINSET_WHY_SZ])
{
	bool found = false;
	struct header_fields f;

	for (uint32_t i = 0; i < cs->cnt; i++) {
		header_decode(&f, cs->block[i].header);
		if (hash256_eq(&f.prev, &cs->net->genesis_hash)) {
			cs->root = f.prev;
			cs->first_height = 1;
			return true;
		}
	}
	for (uint32_t i = 0; i < cs->cnt && anchor_height; i++) {
		header_decode(&f, cs->block[i].header);
		if (lookup(cs, &f.prev) != CHAINSET_NONE)
			continue;
		if (found && !hash256_eq(&cs->root, &f.prev)) {
			snprintf(why, CHAINSET_WHY_SZ, "the blocks hang on more than one unknown block");
			return false;
		}
		cs->root = f.prev;
		found = true;
	}
	if (!found) {
		snprintf(why, CHAINSET_WHY_SZ,
			 "no block follows genesis: give the lowest block's height with "
			 "--anchor-height");
		return false;
	}
	cs->first_height = anchor_height;
	return true;
}

struct order {
	uint32_t *child, *next; /* first child and next sibling of each block, in file order */
	uint32_t *root_child;
	uint32_t *out, out_cnt;
};

static bool place(struct chainset *cs, uint32_t i, const struct chain_block *parent, const uint32_t *new_idx,
		  uint32_t parent_idx, char why[CHAINSET_WHY_SZ])
{
	struct chain_block *b = &cs->block[i];
	struct header_fields f;
	struct u256 target, work;

	header_decode(&f, b->header);
	if (!pow_target(cs->net, f.bits, &target)) {
		snprintf(why, CHAINSET_WHY_SZ, "a block's target is not possible on %s", cs->net->name);
		return false;
	}
	work = pow_work(&target);
	b->height = parent ? parent->height + 1 : cs->first_height;
	b->work = parent ? u256_add(&parent->work, &work) : work;
	b->parent = parent ? new_idx[parent_idx] : CHAINSET_NONE;
	return true;
}

/* Walks the blocks in file order; each placed block is followed by the waiting ones that it sets free. */
static bool put_in_order(struct chainset *cs, char why[CHAINSET_WHY_SZ])
{
	uint32_t n = cs->cnt;
	uint32_t *waiting = malloc(n * sizeof(*waiting)), *next = malloc(n * sizeof(*next));
	uint32_t *new_idx = malloc(n * sizeof(*new_idx)), *queue = malloc(n * sizeof(*queue));
	struct chain_block *sorted = malloc(n * sizeof(*sorted));
	uint32_t done = 0;
	bool ok = false;

	if (!waiting || !next || !new_idx || !queue || !sorted) {
		snprintf(why, CHAINSET_WHY_SZ, "out of memory");
		goto out;
	}
	for (uint32_t i = 0; i < n; i++)
		waiting[i] = next[i] = new_idx[i] = CHAINSET_NONE;
	for (uint32_t i = 0; i < n; i++) {
		struct header_fields f;
		uint32_t parent, head = 0, tail = 0;

		if (cs->block[i].sz == 0)
			continue;
		header_decode(&f, cs->block[i].header);
		parent = lookup(cs, &f.prev);
		if (parent == CHAINSET_NONE && !hash256_eq(&f.prev, &cs->root))
			continue;
		if (parent != CHAINSET_NONE && new_idx[parent] == CHAINSET_NONE) {
			uint32_t *w = &waiting[parent];

			while (*w != CHAINSET_NONE)
				w = &next[*w];
			*w = i;
			continue;
		}
		for (queue[tail++] = i; head < tail; head++) {
			uint32_t b = queue[head];

			header_decode(&f, cs->block[b].header);
			parent = lookup(cs, &f.prev);
			if (!place(cs, b, parent == CHAINSET_NONE ? NULL : &cs->block[parent], new_idx, parent,
				   why))
				goto out;
			new_idx[b] = done;
			sorted[done++] = cs->block[b];
			for (uint32_t w = waiting[b]; w != CHAINSET_NONE; w = next[w])
				queue[tail++] = w;
		}
	}
	cs->left_out = n - done;
	free(cs->block);
	cs->block = sorted;
	cs->cnt = done;
	sorted = NULL;
	ok = true;
out:
	free(waiting);
	free(next);
	free(new_idx);
	free(queue);
	free(sorted);
	return ok;
}

struct chainset *chainset_open(const char *const *paths, unsigned cnt, const struct network *network,
			       uint32_t anchor_height, char why[CHAINSET_WHY_SZ])
{
	struct chainset *cs = calloc(1, sizeof(*cs));
	uint32_t cap = 0, highest = 0;

	if (!cs)
		goto no_memory;
	cs->net = network;
	cs->tip = CHAINSET_NONE;
	cs->file = calloc(cnt, sizeof(*cs->file));
	if (!cs->file)
		goto no_memory;
	for (unsigned i = 0; i < cnt; i++) {
		if (!read_file(cs, paths[i], &cap, why))
			goto fail;
	}
	if (cs->cnt == 0 || !cs->net) {
		snprintf(why, CHAINSET_WHY_SZ,
			 cs->cnt ? "raw blocks do not tell their network: give --network" : "no blocks");
		goto fail;
	}
	if (!make_slots(cs))
		goto no_memory;
	fill_slots(cs);
	if (!find_root(cs, anchor_height, why) || !put_in_order(cs, why))
		goto fail;
	memset(cs->slot, 0, ((size_t)cs->slot_mask + 1) * sizeof(*cs->slot));
	fill_slots(cs);
	for (uint32_t i = 0; i < cs->cnt; i++)
		highest = cs->block[i].height > highest ? cs->block[i].height : highest;
	cs->active = calloc(highest - cs->first_height + 1, sizeof(*cs->active));
	if (!cs->active)
		goto no_memory;
	return cs;
no_memory:
	snprintf(why, CHAINSET_WHY_SZ, "out of memory");
fail:
	chainset_close(cs);
	return NULL;
}

void chainset_close(struct chainset *cs)
{
	if (!cs)
		return;
	for (unsigned i = 0; i < cs->file_cnt; i++)
		blkfile_close(cs->file[i]);
	free(cs->file);
	free(cs->block);
	free(cs->slot);
	free(cs->active);
	free(cs);
}

const struct network *chainset_network(const struct chainset *cs)
{
	return cs->net;
}

uint32_t chainset_cnt(const struct chainset *cs)
{
	return cs->cnt;
}

uint32_t chainset_left_out(const struct chainset *cs)
{
	return cs->left_out;
}

const struct chain_block *chainset_block(const struct chainset *cs, uint32_t idx)
{
	return &cs->block[idx];
}

const uint8_t *chainset_checksum(struct chainset *cs, uint32_t idx)
{
	struct chain_block *b = &cs->block[idx];

	if (!b->has_checksum) {
		struct hash256 h = sha256d(b->data, b->sz);

		memcpy(b->checksum, h.b, sizeof(b->checksum));
		b->has_checksum = true;
	}
	return b->checksum;
}

uint32_t chainset_known(const struct chainset *cs)
{
	return cs->known;
}

bool chainset_learn(struct chainset *cs)
{
	uint32_t idx = cs->known++;

	if (cs->tip != CHAINSET_NONE && u256_cmp(&cs->block[idx].work, &cs->block[cs->tip].work) <= 0)
		return false;
	cs->tip = idx;
	/* Down to where the old and the new chain agree. */
	for (uint32_t b = idx; b != CHAINSET_NONE; b = cs->block[b].parent) {
		uint32_t *at = &cs->active[cs->block[b].height - cs->first_height];

		if (*at == b) /* block 0 is the lowest of all, so an unset entry ends nothing early */
			break;
		*at = b;
	}
	return true;
}

uint32_t chainset_tip(const struct chainset *cs)
{
	return cs->tip;
}

uint32_t chainset_tip_height(const struct chainset *cs)
{
	return cs->tip == CHAINSET_NONE ? cs->first_height - 1 : cs->block[cs->tip].height;
}

uint32_t chainset_at(const struct chainset *cs, uint32_t height)
{
	if (height < cs->first_height || cs->tip == CHAINSET_NONE || height > cs->block[cs->tip].height)
		return CHAINSET_NONE;
	return cs->active[height - cs->first_height];
}

uint32_t chainset_find(const struct chainset *cs, const struct hash256 *hash)
{
	uint32_t idx = lookup(cs, hash);

	return idx < cs->known ? idx : CHAINSET_NONE;
}

bool chainset_is_active(const struct chainset *cs, uint32_t idx)
{
	return chainset_at(cs, cs->block[idx].height) == idx;
}

bool chainset_is_ancestor(const struct chainset *cs, uint32_t a, uint32_t b)
{
	if (chainset_is_active(cs, a) && chainset_is_active(cs, b))
		return cs->block[a].height <= cs->block[b].height;
	while (b != CHAINSET_NONE && cs->block[b].height > cs->block[a].height)
		b = cs->block[b].parent;
	return a == b;
}

uint32_t chainset_after(const struct chainset *cs, const struct hash256 *hash)
{
	uint32_t idx = chainset_find(cs, hash);

	if (idx != CHAINSET_NONE)
		return chainset_is_active(cs, idx) ? cs->block[idx].height + 1 : 0;
	return hash256_eq(hash, &cs->root) ? cs->first_height : 0;
}

uint32_t chainset_first_height(const struct chainset *cs)
{
	return cs->first_height;
}
