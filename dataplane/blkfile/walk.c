#include "blkfile/walk.h"

#include <stdlib.h>

#include "btc/bytes.h"

#define MAGIC_SZ  4u
#define SEARCH_SZ 65536u /* bytes asked for at once while looking for a magic */

void blkwalk_begin(struct blkwalk *w, const struct blkwalk_src *src, const struct network *net)
{
	*w = (struct blkwalk){.src = *src, .net = net};
}

void blkwalk_end(struct blkwalk *w)
{
	free(w->tx);
	w->tx = NULL;
}

static const uint8_t *at(struct blkwalk *w, uint64_t off, size_t sz)
{
	const uint8_t *p = w->src.at(w->src.arg, off, sz);

	w->failed |= p == NULL;
	return p;
}

/* A header that claims work which its hash does not have is no header. */
static bool header_has_work(const struct network *net, struct blkwalk_step *s)
{
	struct header_fields f;

	s->hash = header_hash(s->header);
	header_decode(&f, s->header);
	return pow_valid(net, &s->hash, f.bits);
}

static bool parses(struct blkwalk *w, const struct blkwalk_step *s)
{
	struct block_view bv;
	const uint8_t *p;

	if (w->tx == NULL)
		w->tx = malloc(BLOCK_TX_MAX * sizeof(*w->tx));
	if (w->tx == NULL) {
		w->failed = true;
		return false;
	}
	p = at(w, s->off, s->sz);
	return p != NULL && block_parse(p, s->sz, &bv, w->tx) == PARSE_OK;
}

/* Does what a writer leaves behind a record stand at pos?  In the zero tail any place would look right, also
   the one a damaged length leads to, so nothing there vouches for the frame. */
static bool frame_follows(struct blkwalk *w, uint64_t pos)
{
	const uint8_t *p;

	if (pos == w->src.sz)
		return true;
	if (pos >= w->src.data_sz || w->src.data_sz - pos < BLKFILE_HEAD_SZ)
		return false;
	p = at(w, pos, MAGIC_SZ);
	return p != NULL && memcmp(p, w->net->magic, MAGIC_SZ) == 0;
}

bool blkwalk_record_at(struct blkwalk *w, uint64_t pos, struct blkwalk_step *s)
{
	const uint8_t *head;

	if (w->src.sz - pos < BLKFILE_HEAD_SZ + HEADER_SZ)
		return false;
	head = at(w, pos, BLKFILE_HEAD_SZ + HEADER_SZ);
	if (head == NULL || memcmp(head, w->net->magic, MAGIC_SZ) != 0)
		return false;
	s->off = pos + BLKFILE_HEAD_SZ;
	s->sz = load_le32(head + MAGIC_SZ);
	memcpy(s->header, head + BLKFILE_HEAD_SZ, HEADER_SZ);
	if (s->sz < HEADER_SZ || s->sz > BLOCK_SZ_MAX || s->sz > w->src.sz - s->off)
		return false;
	return header_has_work(w->net, s) && (frame_follows(w, s->off + s->sz) || (!w->failed && parses(w, s)));
}

/* The first magic at or behind pos; data_sz when there is none, or when the bytes cannot be read. */
static uint64_t magic_find(struct blkwalk *w, uint64_t pos)
{
	const uint64_t end = w->src.data_sz;

	while (end > pos && end - pos >= MAGIC_SZ) {
		size_t sz = end - pos < SEARCH_SZ ? (size_t)(end - pos) : SEARCH_SZ;
		const uint8_t *p = at(w, pos, sz), *hit;

		if (p == NULL)
			return end;
		hit = memmem(p, sz, w->net->magic, MAGIC_SZ);
		if (hit != NULL)
			return pos + (uint64_t)(hit - p);
		pos += sz - (MAGIC_SZ - 1); /* one may lie across the edge */
	}
	return end;
}

enum blkwalk_kind blkwalk_next(struct blkwalk *w, struct blkwalk_step *s)
{
	uint64_t from = w->pos;

	w->failed = false;
	while (w->pos < w->src.data_sz) {
		if (blkwalk_record_at(w, w->pos, s))
			break;
		if (!w->failed)
			w->pos = magic_find(w, w->pos + 1);
		if (w->failed) {
			w->pos = from;
			return BLKWALK_FAILED;
		}
	}
	if (w->pos > from) {
		*s = (struct blkwalk_step){.off = from, .sz = w->pos - from};
		return BLKWALK_GARBAGE;
	}
	if (w->pos >= w->src.data_sz)
		return BLKWALK_END;
	w->pos = s->off + s->sz;
	return BLKWALK_RECORD;
}
