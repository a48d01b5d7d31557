#include "synth/breach.h"

#include <stdlib.h>

#include "synth/txmix.h"
#include "btc/sha256.h"

enum { STREAM_BREACH = 0xb7eac4 };
/* A penalty that takes to_local and two HTLCs still fits the smallest body limit a tower may have (898 bytes of
   penalty, spec/teos.md section 3); nodes claim further HTLCs by transactions of their own. */
enum { HTLC_MAX = 4, HTLC_PUNISHED_MAX = 2, OUT_MAX = HTLC_MAX + 2 };
enum role { TO_LOCAL, TO_REMOTE, HTLC_PUNISHED, HTLC_LEFT };

struct out {
	uint64_t value;
	uint8_t script_sz;
	uint8_t script[34];
	enum role role;
};

static bool is_punished(const struct out *o)
{
	return o->role == TO_LOCAL || o->role == HTLC_PUNISHED;
}

static int out_cmp(const void *pa, const void *pb)
{
	const struct out *a = pa, *b = pb;
	size_t sz = a->script_sz < b->script_sz ? a->script_sz : b->script_sz;
	int d;

	if (a->value != b->value)
		return a->value < b->value ? -1 : 1;
	d = memcmp(a->script, b->script, sz);
	return d ? d : (int)a->script_sz - (int)b->script_sz;
}

static void out_random(struct out *o, struct rng *r, enum role role, uint64_t value)
{
	o->value = value;
	o->role = role;
	o->script_sz = role == TO_REMOTE ? 22 : 34; /* P2WPKH or P2WSH */
	o->script[0] = 0x00;
	o->script[1] = o->script_sz - 2;
	rng_fill(r, o->script + 2, o->script[1]);
}

static void put_outs(struct put *w, const struct out *o, uint32_t cnt)
{
	put_cs(w, cnt);
	for (uint32_t i = 0; i < cnt; i++) {
		put_u64(w, o[i].value);
		put_cs(w, o[i].script_sz);
		put_bytes(w, o[i].script, o[i].script_sz);
	}
}

static void put_sig_item(struct put *w, struct rng *r)
{
	uint8_t room[80];
	struct put s = {room, 0, sizeof(room), false};

	txmix_put_signature(&s, r);
	put_cs(w, (uint32_t)s.sz);
	put_bytes(w, s.base, s.sz);
}

/* txid of a transaction in the extended encoding: without marker, flag and the witness at [wit_off, wit_end). */
static struct hash256 txid_of(const struct put *w, size_t wit_off, size_t wit_end)
{
	struct sha256_ctx c;
	struct hash256 h;

	sha256_start(&c);
	sha256_feed(&c, w->base, 4);
	sha256_feed(&c, w->base + 6, wit_off - 6);
	sha256_feed(&c, w->base + wit_end, w->sz - wit_end);
	h = sha256_finish(&c);
	return sha256(h.b, sizeof(h.b));
}

static void write_dispute(struct breach *b, struct rng *r, const struct out *o, uint32_t out_cnt)
{
	struct put w = {b->dispute, 0, sizeof(b->dispute), false};
	uint64_t number = rng_next(r); /* the obscured commitment number, 48 bits */
	size_t wit_off, wit_end;

	put_u32(&w, 2);
	put_bytes(&w, "\x00\x01", 2);
	put_cs(&w, 1);
	put_random(&w, r, 32);
	put_u32(&w, rng_below(r, 2));
	put_cs(&w, 0);
	put_u32(&w, 0x80000000u | (uint32_t)(number >> 24 & 0xffffff));
	put_outs(&w, o, out_cnt);
	wit_off = w.sz;
	put_u8(&w, 4);
	put_u8(&w, 0);
	put_sig_item(&w, r);
	put_sig_item(&w, r);
	put_u8(&w, 71); /* 2 <key> <key> 2 OP_CHECKMULTISIG */
	put_bytes(&w, "\x52\x21", 2);
	txmix_put_pubkey(&w, r);
	put_u8(&w, 0x21);
	txmix_put_pubkey(&w, r);
	put_bytes(&w, "\x52\xae", 2);
	wit_end = w.sz;
	put_u32(&w, 0x20000000u | (uint32_t)(number & 0xffffff));
	b->dispute_sz = (uint32_t)w.sz;
	b->dispute_txid = txid_of(&w, wit_off, wit_end);
}

/* <signature> 1 <the to_local script>, or <signature> <revocation key> <an HTLC's script>. */
static void put_penalty_witness(struct put *w, struct rng *r, bool to_local)
{
	uint32_t script_sz = to_local ? 77 : 136;

	put_u8(w, 3);
	put_sig_item(w, r);
	if (to_local) {
		put_u8(w, 1);
		put_u8(w, 0x01);
	} else {
		put_u8(w, 33);
		txmix_put_pubkey(w, r);
	}
	put_cs(w, script_sz);
	put_random(w, r, script_sz);
}

static void write_penalty(struct breach *b, struct rng *r, const struct out *o, uint32_t out_cnt)
{
	struct put w = {b->penalty, 0, sizeof(b->penalty), false};
	size_t wit_off, wit_end;
	uint64_t total = 0;
	uint32_t in_cnt = 0;
	struct out sweep;

	for (uint32_t i = 0; i < out_cnt; i++)
		in_cnt += is_punished(&o[i]);
	put_u32(&w, 2);
	put_bytes(&w, "\x00\x01", 2);
	put_cs(&w, in_cnt);
	for (uint32_t i = 0; i < out_cnt; i++) {
		if (!is_punished(&o[i]))
			continue;
		total += o[i].value;
		put_bytes(&w, b->dispute_txid.b, HASH_SZ);
		put_u32(&w, i);
		put_cs(&w, 0);
		put_u32(&w, 0xffffffffu);
	}
	out_random(&sweep, r, TO_REMOTE, total - total / 50);
	put_outs(&w, &sweep, 1);
	wit_off = w.sz;
	for (uint32_t i = 0; i < out_cnt; i++) {
		if (is_punished(&o[i]))
			put_penalty_witness(&w, r, o[i].role == TO_LOCAL);
	}
	wit_end = w.sz;
	put_u32(&w, 0);
	b->penalty_sz = (uint32_t)w.sz;
	b->penalty_txid = txid_of(&w, wit_off, wit_end);
}

void breach_make(struct breach *out, uint64_t seed, uint64_t id)
{
	struct rng r = rng_stream(seed, STREAM_BREACH, id);
	struct out o[OUT_MAX];
	uint32_t cnt = 2;

	out_random(&o[0], &r, TO_LOCAL, 20000 + rng_below(&r, 50000000));
	out_random(&o[1], &r, TO_REMOTE, 20000 + rng_below(&r, 50000000));
	/* One commitment in four is caught with payments in flight. */
	if (rng_below(&r, 4) == 0) {
		uint32_t htlcs = rng_between(&r, 1, HTLC_MAX);

		for (uint32_t i = 0; i < htlcs && cnt < OUT_MAX; i++)
			out_random(&o[cnt++], &r, i < HTLC_PUNISHED_MAX ? HTLC_PUNISHED : HTLC_LEFT,
				   1000 + rng_below(&r, 1000000));
	}
	qsort(o, cnt, sizeof(o[0]), out_cmp);
	write_dispute(out, &r, o, cnt);
	write_penalty(out, &r, o, cnt);
}
