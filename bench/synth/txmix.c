#include "synth/txmix.h"

/* One line of a table: draws below `upto` (per ten thousand, cumulative) give a value in [lo, hi]. */
struct range {
	uint32_t upto, lo, hi;
};

static const struct range input_cnt[] = {
	{7000, 1, 1},  {8700, 2, 2},   {9300, 3, 3},    {9650, 4, 6},
	{9900, 7, 15}, {9975, 16, 60}, {9997, 61, 200}, {10000, 201, 300},
};

static const struct range output_cnt[] = {
	{1800, 1, 1}, {8350, 2, 2}, {9000, 3, 3}, {9480, 4, 6}, {9850, 7, 20}, {9978, 21, 60}, {10000, 61, 300},
};

enum spend { P2PKH, P2PKH_LONG_KEY, P2SH_MULTISIG, P2WPKH, P2SH_P2WPKH, P2TR_KEY, P2WSH_MULTISIG, INSCRIPTION };

/* lo is an enum spend; a wallet spends one kind of output, so it is drawn once a transaction. */
static const struct range spend_legacy[] = {
	{8500, P2PKH, P2PKH}, {8800, P2PKH_LONG_KEY, P2PKH_LONG_KEY}, {10000, P2SH_MULTISIG, P2SH_MULTISIG}};

static const struct range spend_segwit[] = {
	{5600, P2WPKH, P2WPKH},
	{7300, P2SH_P2WPKH, P2SH_P2WPKH},
	{9000, P2TR_KEY, P2TR_KEY},
	{9920, P2WSH_MULTISIG, P2WSH_MULTISIG},
	{10000, INSCRIPTION, INSCRIPTION},
};

enum pay { PAY_PKH, PAY_SH, PAY_WPKH, PAY_WSH, PAY_TR, PAY_DATA };

static const struct range pay_legacy[] = {{6200, PAY_PKH, PAY_PKH},
					  {9000, PAY_SH, PAY_SH},
					  {9700, PAY_WPKH, PAY_WPKH},
					  {10000, PAY_DATA, PAY_DATA}};

static const struct range pay_segwit[] = {
	{1400, PAY_PKH, PAY_PKH}, {3400, PAY_SH, PAY_SH}, {7300, PAY_WPKH, PAY_WPKH},
	{8000, PAY_WSH, PAY_WSH}, {9700, PAY_TR, PAY_TR}, {10000, PAY_DATA, PAY_DATA},
};

static uint32_t draw(struct rng *r, const struct range *t)
{
	uint32_t v = rng_below(r, 10000);

	while (v >= t->upto)
		t++;
	return t->lo == t->hi ? t->lo : rng_between(r, t->lo, t->hi);
}

void txmix_put_signature(struct put *w, struct rng *r)
{
	/* r needs a leading zero byte when its top bit is set; s is low and never does. */
	uint32_t r_sz = 32 + (rng_next(r) & 1);

	put_u8(w, 0x30);
	put_u8(w, (uint8_t)(2 + r_sz + 2 + 32));
	put_u8(w, 0x02);
	put_u8(w, (uint8_t)r_sz);
	if (r_sz == 33)
		put_u8(w, 0x00);
	put_random(w, r, 32);
	put_u8(w, 0x02);
	put_u8(w, 32);
	put_random(w, r, 32);
	put_u8(w, 0x01);
}

void txmix_put_pubkey(struct put *w, struct rng *r)
{
	put_u8(w, 0x02 + (rng_next(r) & 1));
	put_random(w, r, 32);
}

/* Writes through a scratch writer whose length must be known first, then appends length and bytes. */
static void put_sized(struct put *w, const struct put *item)
{
	put_cs(w, (uint32_t)item->sz);
	put_bytes(w, item->base, item->sz);
}

static void put_push(struct put *w, const struct put *item)
{
	if (item->sz > 75)
		put_u8(w, 0x4c); /* OP_PUSHDATA1 */
	put_u8(w, (uint8_t)item->sz);
	put_bytes(w, item->base, item->sz);
}

static void put_multisig_script(struct put *w, struct rng *r)
{
	put_u8(w, 0x52);
	for (unsigned i = 0; i < 3; i++) {
		put_u8(w, 33);
		txmix_put_pubkey(w, r);
	}
	put_u8(w, 0x53);
	put_u8(w, 0xae);
}

static void put_script_sig(struct put *w, struct rng *r, enum spend kind)
{
	uint8_t script_room[320], item_room[128];
	struct put s = {script_room, 0, sizeof(script_room), false};
	struct put item = {item_room, 0, sizeof(item_room), false};

	switch (kind) {
	case P2PKH:
	case P2PKH_LONG_KEY:
		txmix_put_signature(&item, r);
		put_push(&s, &item);
		item.sz = 0;
		if (kind == P2PKH) {
			txmix_put_pubkey(&item, r);
		} else {
			put_u8(&item, 0x04);
			put_random(&item, r, 64);
		}
		put_push(&s, &item);
		break;
	case P2SH_MULTISIG:
		put_u8(&s, 0x00);
		for (unsigned i = 0; i < 2; i++) {
			item.sz = 0;
			txmix_put_signature(&item, r);
			put_push(&s, &item);
		}
		item.sz = 0;
		put_multisig_script(&item, r);
		put_push(&s, &item);
		break;
	case P2SH_P2WPKH:
		put_u8(&s, 22);
		put_u8(&s, 0x00);
		put_u8(&s, 20);
		put_random(&s, r, 20);
		break;
	case P2WPKH:
	case P2TR_KEY:
	case P2WSH_MULTISIG:
	case INSCRIPTION:
		break;
	}
	put_sized(w, &s);
}

/* Sizes from 100 bytes to about 100 kB, each power of two as likely as the next. */
static uint32_t inscription_sz(struct rng *r)
{
	uint32_t lo = 100u << rng_below(r, 10);

	return lo + rng_below(r, lo);
}

static void put_witness(struct put *w, struct rng *r, enum spend kind)
{
	uint8_t item_room[128];
	struct put item = {item_room, 0, sizeof(item_room), false};

	switch (kind) {
	case P2WPKH:
	case P2SH_P2WPKH:
		put_u8(w, 2);
		txmix_put_signature(&item, r);
		put_sized(w, &item);
		put_cs(w, 33);
		txmix_put_pubkey(w, r);
		break;
	case P2TR_KEY:
		put_u8(w, 1);
		put_cs(w, 64);
		put_random(w, r, 64);
		break;
	case P2WSH_MULTISIG:
		put_u8(w, 4);
		put_u8(w, 0); /* the extra item OP_CHECKMULTISIG takes */
		for (unsigned i = 0; i < 2; i++) {
			item.sz = 0;
			txmix_put_signature(&item, r);
			put_sized(w, &item);
		}
		item.sz = 0;
		put_multisig_script(&item, r);
		put_sized(w, &item);
		break;
	case INSCRIPTION: {
		uint32_t sz = inscription_sz(r);

		put_u8(w, 3);
		put_cs(w, 64);
		put_random(w, r, 64);
		put_cs(w, sz);
		put_random(w, r, sz);
		put_cs(w, 33); /* control block */
		put_random(w, r, 33);
		break;
	}
	case P2PKH:
	case P2PKH_LONG_KEY:
	case P2SH_MULTISIG:
		put_u8(w, 0);
		break;
	}
}

static void put_output(struct put *w, struct rng *r, enum pay kind)
{
	uint32_t data_sz;

	/* 1,000 satoshi to about 2 BTC, small amounts far more often. */
	put_u64(w, kind == PAY_DATA ? 0 : 1000 + (rng_next(r) >> (36 + rng_below(r, 18))));
	switch (kind) {
	case PAY_PKH:
		put_bytes(w, "\x19\x76\xa9\x14", 4);
		put_random(w, r, 20);
		put_bytes(w, "\x88\xac", 2);
		break;
	case PAY_SH:
		put_bytes(w, "\x17\xa9\x14", 3);
		put_random(w, r, 20);
		put_u8(w, 0x87);
		break;
	case PAY_WPKH:
		put_bytes(w, "\x16\x00\x14", 3);
		put_random(w, r, 20);
		break;
	case PAY_WSH:
		put_bytes(w, "\x22\x00\x20", 3);
		put_random(w, r, 32);
		break;
	case PAY_TR:
		put_bytes(w, "\x22\x51\x20", 3);
		put_random(w, r, 32);
		break;
	case PAY_DATA:
		data_sz = rng_between(r, 4, 75);
		put_u8(w, (uint8_t)(2 + data_sz));
		put_u8(w, 0x6a);
		put_u8(w, (uint8_t)data_sz);
		put_random(w, r, data_sz);
		break;
	}
}

static uint32_t write_tx(struct put *w, struct rng *r, bool segwit, enum spend kind, uint32_t in_cnt,
			 uint32_t out_cnt)
{
	size_t start = w->sz, wit_sz = 0;

	put_u32(w, rng_below(r, 10) < 3 ? 1 : 2);
	if (segwit)
		put_bytes(w, "\x00\x01", 2);
	put_cs(w, in_cnt);
	for (uint32_t i = 0; i < in_cnt; i++) {
		put_random(w, r, 32);
		put_u32(w, rng_below(r, 4));
		put_script_sig(w, r, kind);
		put_u32(w, rng_below(r, 2) ? 0xfffffffdu : 0xffffffffu);
	}
	put_cs(w, out_cnt);
	for (uint32_t i = 0; i < out_cnt; i++)
		put_output(w, r, (enum pay)draw(r, segwit ? pay_segwit : pay_legacy));
	if (segwit) {
		wit_sz = w->sz;
		for (uint32_t i = 0; i < in_cnt; i++)
			put_witness(w, r, kind);
		wit_sz = w->sz - wit_sz + 2;
	}
	put_u32(w, 0);
	return (uint32_t)(4 * (w->sz - start - wit_sz) + wit_sz);
}

uint32_t txmix_write(struct put *w, struct rng *r, bool segwit)
{
	enum spend kind = (enum spend)draw(r, segwit ? spend_segwit : spend_legacy);
	uint32_t in_cnt = kind == INSCRIPTION ? 1 : draw(r, input_cnt);
	uint32_t out_cnt = draw(r, output_cnt);

	/* A transaction sweeps many inputs or pays many outputs, hardly ever both. */
	if (in_cnt > 6 && out_cnt > 6)
		out_cnt = 1;
	return write_tx(w, r, segwit, kind, in_cnt, out_cnt);
}

uint32_t txmix_write_small(struct put *w, struct rng *r, bool segwit)
{
	size_t start = w->sz;
	size_t wit_sz = 0;

	put_u32(w, 2);
	if (segwit)
		put_bytes(w, "\x00\x01", 2);
	put_cs(w, 1);
	put_random(w, r, 32);
	put_u32(w, rng_below(r, 4));
	put_script_sig(w, r, segwit ? P2WPKH : P2PKH);
	put_u32(w, 0xffffffffu);
	put_cs(w, 1);
	put_output(w, r, segwit ? PAY_WPKH : PAY_PKH);
	if (segwit) {
		wit_sz = w->sz;
		put_witness(w, r, P2WPKH);
		wit_sz = w->sz - wit_sz + 2;
	}
	put_u32(w, 0);
	return (uint32_t)(4 * (w->sz - start - wit_sz) + wit_sz);
}
