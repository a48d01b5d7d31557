#include "btc/cursor.h"

uint64_t cur_compact_long(struct cur *c)
{
	uint64_t v, least;

	switch (cur_u8(c)) {
	case 0xfd:
		v = cur_le16(c);
		least = 0xfd;
		break;
	case 0xfe:
		v = cur_le32(c);
		least = 0x10000;
		break;
	case 0xff:
		v = cur_le64(c);
		least = 0x100000000;
		break;
	default:
		return 0; /* there was no first byte: c is poisoned */
	}
	if (v < least && cur_ok(c)) {
		cur_fail(c, PARSE_NONCANONICAL);
		return 0;
	}
	return v;
}

void wr_compact(struct wr *w, uint64_t v)
{
	uint8_t b[COMPACT_SZ_MAX];
	size_t sz = compact_sz(v);

	switch (sz) {
	case 1:
		b[0] = (uint8_t)v;
		break;
	case 3:
		b[0] = 0xfd;
		store_le16(b + 1, (uint16_t)v);
		break;
	case 5:
		b[0] = 0xfe;
		store_le32(b + 1, (uint32_t)v);
		break;
	default:
		b[0] = 0xff;
		store_le64(b + 1, v);
	}
	wr_bytes(w, b, sz); /* whole or not at all */
}

void wr_var_bytes(struct wr *w, const void *in, size_t sz)
{
	wr_compact(w, sz);
	wr_bytes(w, in, sz);
}
