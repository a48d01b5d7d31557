#include "link_stream.h"

#include <stdlib.h>

void must(bool ok)
{
	if (!ok)
		abort();
}

size_t link_stream_make(const struct link_parts *parts, const uint8_t *data, size_t sz, const uint8_t **stream)
{
	static _Alignas(8) uint8_t buf[LINK_STREAM_MAX];
	size_t at = 0;

	if ((data[0] & 1) == 0) {
		*stream = data + 3;
		return sz - 3;
	}
	data += 3;
	sz -= 3;
	while (sz >= 4) {
		struct link_head *rec = (void *)(buf + at);
		size_t n = data[2] | (size_t)data[3] << 8, fixed_sz, rec_sz, tail_sz;
		uint8_t options = data[1];
		enum link_type type = parts->pick(data[0], &fixed_sz);

		data += 4;
		sz -= 4;
		if (n > sz)
			n = sz;
		rec_sz = link_record_sz(fixed_sz,
					sizeof(*rec) + n > fixed_sz ? sizeof(*rec) + n - fixed_sz : 0);
		if (rec_sz > sizeof(buf) - at)
			break;
		memset(rec, 0, rec_sz);
		if (n > 0)
			memcpy(rec + 1, data, n);
		*rec = (struct link_head){.sz = (uint32_t)rec_sz, .type = (uint16_t)type};
		tail_sz = rec_sz - fixed_sz;
		if (options & 1)
			parts->mend(parts->arg, rec, tail_sz, options);
		at += rec->sz;
		data += n;
		sz -= n;
	}
	*stream = buf;
	return at;
}

size_t link_stream_piece(uint32_t *seed, size_t left)
{
	size_t n;

	if (*seed == 0)
		return left;
	*seed = *seed * 1664525u + 1013904223u;
	n = 1 + (*seed >> 16) % (*seed & 1 ? 9 : 400);
	return n < left ? n : left;
}

/* FNV-1a: nobody aims at it. */
void link_note(uint64_t *digest, const void *p, size_t sz)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < sz; i++)
		*digest = (*digest ^ b[i]) * 0x100000001b3u;
}
