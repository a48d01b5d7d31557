#include "serve/fault.h"

static const struct {
	const char *name;
	bool needs_height;
} kinds[FAULT_KIND_CNT] = {
	[FAULT_STALL] = {"stall-at", true},
	[FAULT_RESET] = {"reset-at", true},
	[FAULT_UNREQUESTED] = {"send-unrequested", true},
	[FAULT_CHECKSUM] = {"bad-checksum-at", true},
	[FAULT_MUTATE] = {"mutate-block-at", true},
	[FAULT_CORRUPT] = {"corrupt-block-at", true},
	[FAULT_TRUNCATE] = {"truncate-at", true},
	[FAULT_NONCANONICAL] = {"noncanonical-at", true},
	[FAULT_OVERSIZE] = {"oversize-at", true},
	[FAULT_GARBAGE] = {"garbage-at", true},
	[FAULT_GREET_GARBAGE] = {"garbage", false},
	[FAULT_HEADERS_NO_WORK] = {"headers-without-work", false},
};

const char *fault_name(enum fault_kind k)
{
	return kinds[k].name;
}

bool fault_needs_height(enum fault_kind k)
{
	return kinds[k].needs_height;
}

bool fault_arm(struct faults *f, enum fault_kind k, uint32_t height, uint32_t times)
{
	if (f->cnt == FAULTS_MAX)
		return false;
	f->armed[f->cnt].kind = k;
	f->armed[f->cnt].height = height;
	f->armed[f->cnt++].left = times;
	return true;
}

bool fault_due(struct faults *f, enum fault_kind k, uint32_t height)
{
	for (unsigned i = 0; i < f->cnt; i++) {
		if (f->armed[i].kind != k || f->armed[i].left == 0 ||
		    (fault_needs_height(k) && f->armed[i].height != height))
			continue;
		f->armed[i].left--;
		return true;
	}
	return false;
}

/* Writes the block's header and a transaction count; returns where the transactions go. */
static size_t put_front(uint8_t *out, const uint8_t *block, uint32_t tx_cnt)
{
	size_t at = HEADER_SZ;

	memcpy(out, block, HEADER_SZ);
	if (tx_cnt < 0xfd) {
		out[at++] = (uint8_t)tx_cnt;
	} else {
		out[at++] = 0xfd;
		out[at++] = (uint8_t)tx_cnt;
		out[at++] = (uint8_t)(tx_cnt >> 8);
	}
	return at;
}

size_t fault_mutate(uint8_t *out, const uint8_t *block, size_t sz, const struct tx_view *tx, uint32_t tx_cnt)
{
	/* With 2^k * odd leaves the level of odd width pairs its last node with itself; repeating the 2^k leaves
	   under that node says the same explicitly. */
	uint32_t run = tx_cnt & -tx_cnt;
	size_t at, first, tail;

	if (run == tx_cnt || tx_cnt + run > BLOCK_TX_MAX)
		return 0;
	first = tx[0].off;
	tail = tx[tx_cnt - run].off;
	if (sz + (sz - tail) > BLOCK_SZ_MAX)
		return 0;
	at = put_front(out, block, tx_cnt + run);
	memcpy(out + at, block + first, sz - first);
	at += sz - first;
	memcpy(out + at, block + tail, sz - tail);
	return at + (sz - tail);
}

size_t fault_noncanonical(uint8_t *out, const uint8_t *block, size_t sz, const struct tx_view *tx)
{
	size_t first = tx[0].off;
	uint32_t tx_cnt = block[HEADER_SZ];

	if (first != HEADER_SZ + 1)
		tx_cnt = block[HEADER_SZ + 1] | (uint32_t)block[HEADER_SZ + 2] << 8;
	memcpy(out, block, HEADER_SZ);
	out[HEADER_SZ] = 0xfe;
	out[HEADER_SZ + 1] = (uint8_t)tx_cnt;
	out[HEADER_SZ + 2] = (uint8_t)(tx_cnt >> 8);
	out[HEADER_SZ + 3] = 0;
	out[HEADER_SZ + 4] = 0;
	memcpy(out + HEADER_SZ + 5, block + first, sz - first);
	return HEADER_SZ + 5 + sz - first;
}
