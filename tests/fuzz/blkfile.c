/* blkfile.c - the walk over a file's records against one that is written to be read: whatever the file, however its
   bytes come, the same records in the same places, and every other byte counted once.

   Input: a byte of mode, then the file.  Mode bit 0: the file is built from parts (kind, value) instead, so that the
   fuzzer need not find proof of work or magic bytes; bit 1: it is obfuscated; the rest cuts the reads. */
#include <stdlib.h>

#include "blkfile/walk.h"
#include "btc/bytes.h"

#define FILE_SZ_MAX 60000u
#define STEP_MAX    2000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

/* Not assert(): this must stop a release build, too. */
static void must(bool ok)
{
	if (!ok)
		abort();
}

struct file {
	uint8_t *decoded;
	size_t sz, data_sz;
};

/* --- the obvious walk --------------------------------------------------------------------------------------- */

static bool slow_is_block(const uint8_t *p, size_t sz)
{
	static struct tx_view tx[BLOCK_TX_MAX];
	struct block_view bv;

	return block_parse(p, sz, &bv, tx) == PARSE_OK;
}

static bool slow_is_magic(const struct file *f, size_t at)
{
	static const uint8_t magic[4] = {0xfa, 0xbf, 0xb5, 0xda};

	return at + 4 <= f->sz && memcmp(f->decoded + at, magic, 4) == 0;
}

/* The length of the record whose magic is at `at`, or 0 if there is none. */
static size_t slow_record(const struct file *f, size_t at)
{
	struct header_fields h;
	struct hash256 hash;
	size_t sz, end;

	if (!slow_is_magic(f, at) || at + 8 + 80 > f->sz)
		return 0;
	sz = load_le32(f->decoded + at + 4);
	if (sz < 80 || sz > 4000000 || at + 8 + sz > f->sz)
		return 0;
	header_decode(&h, f->decoded + at + 8);
	hash = header_hash(f->decoded + at + 8);
	if (!pow_valid(network_get(NET_REGTEST), &hash, h.bits))
		return 0;
	end = at + 8 + sz;
	if (end == f->sz || (end + 8 <= f->data_sz && slow_is_magic(f, end)))
		return sz;
	return slow_is_block(f->decoded + at + 8, sz) ? sz : 0;
}

struct step {
	enum blkwalk_kind kind;
	uint64_t off, sz;
};

static size_t slow_walk(const struct file *f, struct step *out)
{
	size_t at = 0, cnt = 0;

	while (at < f->data_sz && cnt < STEP_MAX) {
		size_t sz = slow_record(f, at), from = at;

		if (sz != 0) {
			out[cnt++] = (struct step){BLKWALK_RECORD, at + 8, sz};
			at += 8 + sz;
			continue;
		}
		do
			at++;
		while (at < f->data_sz && !(at + 4 <= f->data_sz && slow_record(f, at) != 0));
		out[cnt++] = (struct step){BLKWALK_GARBAGE, from, at - from};
	}
	return cnt;
}

/* --- the walk, over a source that forgets what it gave --------------------------------------------------- */

struct source {
	const struct file *f;
	uint8_t *last;
};

static const uint8_t *source_at(void *arg, uint64_t off, size_t sz)
{
	struct source *s = arg;

	must(off <= s->f->sz && sz <= s->f->sz - off);
	free(s->last);
	s->last = malloc(sz != 0 ? sz : 1);
	must(s->last != NULL);
	memcpy(s->last, s->f->decoded + off, sz);
	return s->last;
}

static void walk_agrees(const struct file *f)
{
	static struct step want[STEP_MAX];
	struct source source = {.f = f};
	struct blkwalk_src src = {.at = source_at, .arg = &source, .sz = f->sz, .data_sz = f->data_sz};
	size_t cnt = slow_walk(f, want);
	struct blkwalk_step s;
	struct blkwalk w;

	blkwalk_begin(&w, &src, network_get(NET_REGTEST));
	for (size_t i = 0; i < cnt; i++) {
		must(blkwalk_next(&w, &s) == want[i].kind);
		must(s.off == want[i].off && s.sz == want[i].sz);
		if (want[i].kind == BLKWALK_RECORD) {
			struct hash256 hash = header_hash(s.header);

			must(memcmp(s.header, f->decoded + s.off, HEADER_SZ) == 0 &&
			     hash256_eq(&hash, &s.hash));
		}
	}
	must(cnt == STEP_MAX || blkwalk_next(&w, &s) == BLKWALK_END);
	blkwalk_end(&w);
	free(source.last);
}

/* --- files from parts --------------------------------------------------------------------------------------- */

/* A block of one coinbase whose header has work. */
static size_t put_block(uint8_t *p, uint8_t tag)
{
	static const uint8_t rest[] = {1, 2, 0, 0, 0, 1, 0,    0,    0,    0,    0, 0,    0, 0, 0, 0,
				       0, 0, 0, 0, 0, 0, 0,    0,    0,    0,    0, 0,    0, 0, 0, 0,
				       0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 2, 1,    1, 0, 0, 0,
				       0, 1, 0, 0, 0, 0, 0,    0,    0,    0,    1, 0x51, 0, 0, 0, 0};
	struct header_fields h = {.version = 4, .time = tag, .bits = 0x207fffff};
	struct hash256 hash;

	do {
		h.nonce++;
		header_encode(p, &h);
		hash = header_hash(p);
	} while (!pow_valid(network_get(NET_REGTEST), &hash, h.bits));
	memcpy(p + HEADER_SZ, rest, sizeof(rest));
	return HEADER_SZ + sizeof(rest);
}

static size_t build(uint8_t *out, const uint8_t *p, size_t sz)
{
	size_t at = 0;

	for (; sz >= 2 && at + 600 < FILE_SZ_MAX; p += 2, sz -= 2) {
		size_t n;

		switch (p[0] % 8) {
		case 0: /* a record */
		case 1: /* one with a wrong length */
		case 2: /* one that is cut */
		case 3: /* one with a longer body, which does not parse */
			n = put_block(out + at + 8, p[1]);
			if (p[0] % 8 == 3) {
				memset(out + at + 8 + n, p[1], p[1]);
				n += p[1];
			}
			memcpy(out + at, network_get(NET_REGTEST)->magic, 4);
			store_le32(out + at + 4, (uint32_t)n + (p[0] % 8 == 1 ? (uint32_t)p[1] - 100 : 0));
			at += 8 + (p[0] % 8 == 2 ? p[1] % n : n);
			break;
		case 4: /* zeros */
			memset(out + at, 0, p[1]);
			at += p[1];
			break;
		case 5: /* bytes of no meaning */
			memset(out + at, p[1], p[1] % 16u);
			at += p[1] % 16u;
			break;
		case 6:
			memcpy(out + at, network_get(NET_REGTEST)->magic, 4);
			at += 1 + p[1] % 4u;
			break;
		case 7: /* damage behind */
			if (at > p[1])
				out[at - 1 - p[1]] ^= (uint8_t)(1 + p[0] / 8);
			break;
		}
	}
	return at;
}

/* Obfuscated as a node does it: what is zero on disk at the end has not been through the key. */
static void through_the_key(struct file *f, uint8_t mode)
{
	const uint8_t key[BLKFILE_XOR_SZ] = {mode, 0x5a, 3, 0xc8, 0, mode, 0x77, 0xfb};
	uint8_t *once = malloc(f->sz + 1), *parts = malloc(f->sz + 1);
	size_t cut = 1 + mode;

	must(once != NULL && parts != NULL);
	memcpy(once, f->decoded, f->sz);
	memcpy(parts, f->decoded, f->sz);
	blkfile_xor(once, f->sz, 0, key);
	for (size_t at = 0; at < f->sz; at += cut)
		blkfile_xor(parts + at, f->sz - at < cut ? f->sz - at : cut, at, key);
	for (size_t i = 0; i < f->sz; i++)
		must(once[i] == (f->decoded[i] ^ key[i % 8]) && parts[i] == once[i]);
	/* Read as a file of that key, it is what it was but for where its tail begins. */
	f->data_sz = f->sz;
	while (f->data_sz > 0 && once[f->data_sz - 1] == 0)
		f->data_sz--;
	free(once);
	free(parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	static uint8_t built[FILE_SZ_MAX];
	struct file f = {0};
	uint8_t mode;

	if (sz < 1)
		return 0;
	mode = data[0];
	data++;
	sz--;
	if (mode & 1) {
		sz = build(built, data, sz);
		data = built;
	} else if (sz > FILE_SZ_MAX) {
		sz = FILE_SZ_MAX;
	}
	f.decoded = malloc(sz + 1);
	must(f.decoded != NULL);
	memcpy(f.decoded, data, sz);
	f.sz = f.data_sz = sz;
	while (f.data_sz > 0 && f.decoded[f.data_sz - 1] == 0)
		f.data_sz--;
	walk_agrees(&f);
	if (mode & 2) {
		through_the_key(&f, mode);
		walk_agrees(&f);
	}
	free(f.decoded);
	return 0;
}
