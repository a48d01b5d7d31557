#include "txid/sets.h"

#include <stdio.h>
#include <stdlib.h>

#define FILE_SZ_MAX 4100000u

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
	*s = (struct set){.name = ""};
}

static bool set_alloc(struct set *s, size_t bytes_sz, size_t tx_cnt)
{
	s->bytes = malloc(bytes_sz);
	s->tx = calloc(tx_cnt, sizeof(*s->tx));
	if (s->bytes == NULL || s->tx == NULL) {
		set_free(s);
		return false;
	}
	return true;
}

bool set_of_file(struct set *s, const char *path)
{
	const char *base = strrchr(path, '/');
	struct block_view bv;
	FILE *f = fopen(path, "rb");
	size_t sz;
	bool ok;

	*s = (struct set){.name = ""};
	if (f == NULL)
		return false;
	snprintf(s->name, sizeof(s->name), "%s", base != NULL ? base + 1 : path);
	ok = set_alloc(s, FILE_SZ_MAX, BLOCK_TX_MAX);
	if (ok) {
		sz = fread(s->bytes, 1, FILE_SZ_MAX, f);
		ok = block_parse(s->bytes, sz, &bv, s->tx) == PARSE_OK;
	}
	fclose(f);
	if (!ok) {
		set_free(s);
		return false;
	}
	s->cnt = bv.tx_cnt;
	set_sum(s);
	return true;
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
	if (!set_alloc(s, FILE_SZ_MAX, m->cnt))
		return false;
	snprintf(s->name, sizeof(s->name), "%s", m->name);
	for (size_t i = 0; i < FILE_SZ_MAX; i++)
		s->bytes[i] = (uint8_t)next_random(&x);
	for (size_t i = 0; i < m->cnt; i++) {
		uint32_t strip_sz = m->sz != 0 ? m->sz : ordinary_sz(&x);
		uint32_t wit_sz = m->segwit ? 108 : 0;

		if (m->long_sz != 0 && i == m->cnt / 2)
			strip_sz = m->long_sz;
		if (off + strip_sz + wit_sz + 2 > FILE_SZ_MAX)
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
	set_sum(s);
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
	set_sum(s);
	return true;
}
