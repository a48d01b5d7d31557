#include "txid/sets.h"

#include <stdio.h>
#include <stdlib.h>

#include "blkfile/blkfile.h"
#include "synth/assemble.h"

#define MIX_SZ_MAX 4100000u
#define SEGWIT_PPM 800000u /* as vigil-replay synth has it */

static uint32_t next_random(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*x >> 33);
}

static void set_sum(struct set *s)
{
	s->stripped_sz = s->padded_sz = 0;
	for (size_t i = 0; i < s->cnt; i++) {
		size_t sz = tx_view_stripped_sz(&s->tx[i]);

		s->stripped_sz += sz;
		s->padded_sz += (sz + 9 + 63) / 64 * 64 + 64;
	}
}

void set_free(struct set *s)
{
	free(s->bytes);
	free(s->tx);
	free(s->first);
	*s = (struct set){.name = ""};
}

static bool set_alloc(struct set *s, size_t bytes_sz, size_t tx_cnt)
{
	s->bytes = malloc(bytes_sz);
	s->tx = calloc(tx_cnt, sizeof(*s->tx));
	s->first = calloc(2, sizeof(*s->first));
	if (s->bytes == NULL || s->tx == NULL || s->first == NULL) {
		set_free(s);
		return false;
	}
	return true;
}

/* A set that is one block. */
static void set_one_block(struct set *s)
{
	s->block_cnt = 1;
	s->first[1] = s->cnt;
	set_sum(s);
}

/* Appends a block; sz and what is there fit into 32 bits.  False: it does not parse, or memory is out. */
static bool set_append(struct set *s, size_t *bytes_sz, const uint8_t *p, uint32_t sz)
{
	uint8_t *bytes = realloc(s->bytes, *bytes_sz + sz);
	struct tx_view *tx = reallocarray(s->tx, s->cnt + BLOCK_TX_MAX, sizeof(*tx));
	size_t *first = reallocarray(s->first, s->block_cnt + 2, sizeof(*first));
	struct block_view bv;

	s->bytes = bytes != NULL ? bytes : s->bytes;
	s->tx = tx != NULL ? tx : s->tx;
	s->first = first != NULL ? first : s->first;
	if (bytes == NULL || tx == NULL || first == NULL || block_parse(p, sz, &bv, tx + s->cnt) != PARSE_OK)
		return false;
	memcpy(bytes + *bytes_sz, p, sz);
	for (size_t i = s->cnt; i < s->cnt + bv.tx_cnt; i++)
		tx[i].off += (uint32_t)*bytes_sz;
	*bytes_sz += sz;
	first[s->block_cnt] = s->cnt;
	s->cnt += bv.tx_cnt;
	first[++s->block_cnt] = s->cnt;
	return true;
}

static void set_name(struct set *s, const char *path, unsigned path_cnt)
{
	const char *base = strrchr(path, '/');

	if (path_cnt > 1)
		snprintf(s->name, sizeof(s->name), "%u files", path_cnt);
	else
		snprintf(s->name, sizeof(s->name), "%s", base != NULL ? base + 1 : path);
}

bool set_of_files(struct set *s, char *const *path, unsigned path_cnt, size_t block_max, char *why,
		  size_t why_sz)
{
	char reason[BLKFILE_WHY_SZ];
	size_t bytes_sz = 0;
	bool good = true;

	*s = (struct set){.name = ""};
	set_name(s, path[0], path_cnt);
	for (unsigned i = 0; good && i < path_cnt; i++) {
		struct blkfile *f = blkfile_open(path[i], reason);
		struct blkfile_rec rec;

		if (f == NULL) {
			snprintf(why, why_sz, "%s: %s", path[i], reason);
			good = false;
			break;
		}
		while (good && s->block_cnt < block_max && blkfile_next(f, &rec))
			good = rec.sz <= BLOCK_SZ_MAX && set_append(s, &bytes_sz, rec.p, rec.sz);
		if (!good)
			snprintf(why, why_sz, "%s: not a block", path[i]);
		blkfile_close(f);
	}
	if (good && s->block_cnt == 0) {
		snprintf(why, why_sz, "no blocks in these files");
		good = false;
	}
	if (good)
		set_sum(s);
	else
		set_free(s);
	return good;
}

bool set_of_synthetic(struct set *s, size_t block_cnt, uint32_t block_bytes, char *why, size_t why_sz)
{
	const struct synth_config cfg = {.seed = 1, .block_bytes = block_bytes, .segwit_ppm = SEGWIT_PPM};
	const char *kernel_why = "out of memory";
	const struct txid_kernel *kernel = txid_select(cpu_features(), NULL, &kernel_why);
	struct assembler *a = kernel != NULL ? assembler_new(&cfg, kernel) : NULL;
	struct built_block b = {.hash = network_get(NET_REGTEST)->genesis_hash};
	size_t bytes_sz = 0;
	bool good = a != NULL;

	*s = (struct set){.name = "synthetic blocks"};
	if (!good)
		snprintf(why, why_sz, "%s", kernel_why);
	for (uint32_t i = 0; good && i < block_cnt; i++) {
		const struct plan_block place = {.height = i + 1, .parent = (int32_t)i - 1};
		const struct hash256 prev = b.hash;

		good = assembler_build(a, &place, &prev, NULL, 0, &b, why, why_sz) == 0;
		if (good && !set_append(s, &bytes_sz, b.data, b.sz)) {
			snprintf(why, why_sz, "out of memory");
			good = false;
		}
	}
	assembler_free(a);
	if (good)
		set_sum(s);
	else
		set_free(s);
	return good;
}

/* Sizes as ordinary blocks have them: mostly small, with a tail that falls off slowly. */
static uint32_t ordinary_sz(uint64_t *x)
{
	uint32_t r = next_random(x) % 1000;

	if (r < 450)
		return 110 + next_random(x) % 40;
	if (r < 800)
		return 190 + next_random(x) % 200;
	if (r < 980)
		return 390 + next_random(x) % 1600;
	return 2000 + next_random(x) % 20000;
}

static const struct mix {
	const char *name;
	size_t cnt;
	uint32_t sz; /* 0: ordinary_sz */
	uint32_t long_sz;
	bool segwit;
} mixes[] = {
	{"mix-113-segwit", 7100, 113, 0, true},
	{"mix-226-legacy", 4400, 226, 0, false},
	{"mix-ordinary", 2800, 0, 0, true},
	{"mix-900k-in-100k", 440, 226, 900000, false},
	{"mix-900k-in-3M", 13000, 226, 900000, false},
};

bool set_of_mix(struct set *s, unsigned idx)
{
	const struct mix *m = &mixes[idx];
	uint64_t x = 7;
	uint32_t off = 0;

	*s = (struct set){.name = ""};
	if (idx >= sizeof(mixes) / sizeof(mixes[0]))
		return false;
	if (!set_alloc(s, MIX_SZ_MAX, m->cnt))
		return false;
	snprintf(s->name, sizeof(s->name), "%s", m->name);
	for (size_t i = 0; i < MIX_SZ_MAX; i++)
		s->bytes[i] = (uint8_t)next_random(&x);
	for (size_t i = 0; i < m->cnt; i++) {
		uint32_t strip_sz = m->sz != 0 ? m->sz : ordinary_sz(&x);
		uint32_t wit_sz = m->segwit ? 108 : 0;

		if (m->long_sz != 0 && i == m->cnt / 2)
			strip_sz = m->long_sz;
		if (off + strip_sz + wit_sz + 2 > MIX_SZ_MAX)
			break;
		s->tx[i] = (struct tx_view){.off = off,
					    .sz = strip_sz + (m->segwit ? wit_sz + 2 : 0),
					    .wit_sz = wit_sz,
					    .in_cnt = 1,
					    .out_cnt = 1,
					    .segwit = m->segwit};
		off += s->tx[i].sz;
		s->cnt = i + 1;
	}
	set_one_block(s);
	return true;
}

bool set_of_raw(struct set *s, size_t cnt, uint32_t sz)
{
	*s = (struct set){.name = "raw"};
	if (!set_alloc(s, sz, cnt))
		return false;
	memset(s->bytes, 0x5a, sz);
	for (size_t i = 0; i < cnt; i++)
		s->tx[i] = (struct tx_view){.sz = sz, .in_cnt = 1, .out_cnt = 1};
	s->cnt = cnt;
	set_one_block(s);
	return true;
}
