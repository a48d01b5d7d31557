/* txid_priv.h - what the kernels share.  Included only from txid/. */
#ifndef VIGIL_TXID_TXID_PRIV_H
#define VIGIL_TXID_TXID_PRIV_H

#include "btc/bytes.h"
#include "txid/txid.h"

extern const struct txid_kernel txid_portable;
extern const struct txid_kernel txid_shani; /* only where the build has VIGIL_HAVE_SHANI */

/* A txid's preimage as SHA-256 blocks, hashed where they lie.  Only two places need a copy: the first block
   of a segwit transaction, from which marker and flag are cut, and the end, to which locktime and padding are
   joined.

     wire      version | 00 01 | inputs, outputs ........................ | witness | locktime
     segment   head: version and 60 bytes | body: in place, whole blocks | tail: the rest, locktime, padding */
enum { TXID_HEAD, TXID_BODY, TXID_TAIL, TXID_SEG_CNT };

struct txid_seg {
	const uint8_t *p;
	size_t cnt; /* blocks, may be 0 except in the tail */
};

struct txid_msg {
	struct txid_seg seg[TXID_SEG_CNT];
	uint8_t head[64];
	uint8_t tail[128]; /* at most 63 bytes of body, 4 of locktime, 9 of padding */
};

static inline void txid_msg_init(struct txid_msg *m, const uint8_t *p, const struct tx_view *t)
{
	const uint8_t *tx = p + t->off;
	uint32_t cut = t->segwit ? 2 : 0;
	uint32_t strip_sz = tx_view_stripped_sz(t);
	uint32_t done = 0, rest; /* in bytes of the preimage */

	/* Preimage byte i, 4 <= i < strip_sz - 4, is tx[i + cut]. */
	m->seg[TXID_HEAD] = (struct txid_seg){m->head, 0};
	if (cut != 0 && strip_sz - 4 >= 64) {
		memcpy(m->head, tx, 4);
		memcpy(m->head + 4, tx + 4 + cut, 60);
		m->seg[TXID_HEAD].cnt = 1;
		done = 64;
	}
	m->seg[TXID_BODY] = (struct txid_seg){tx + done + cut, 0};
	if (cut == 0 || done != 0) {
		m->seg[TXID_BODY].cnt = (strip_sz - 4 - done) / 64;
		done += (uint32_t)m->seg[TXID_BODY].cnt * 64;
	}

	rest = strip_sz - 4 - done;
	memset(m->tail, 0, sizeof(m->tail));
	if (done == 0) {
		memcpy(m->tail, tx, 4);
		memcpy(m->tail + 4, tx + 4 + cut, rest - 4);
	} else {
		memcpy(m->tail, tx + done + cut, rest);
	}
	memcpy(m->tail + rest, tx + t->sz - 4, 4);
	m->tail[rest + 4] = 0x80;
	m->seg[TXID_TAIL] = (struct txid_seg){m->tail, rest + 4 + 9 <= 64 ? 1 : 2};
	store_be64(m->tail + 64 * m->seg[TXID_TAIL].cnt - 8, (uint64_t)strip_sz * 8);
}

#endif
