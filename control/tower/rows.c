#include "tower/rows.h"

#include "btc/bytes.h"

#define ROW_VERSION 1u

/* --- keys ------------------------------------------------------------------------------------------------------ */

static void add(struct key *k, const void *p, uint32_t sz)
{
	memcpy(k->b + k->sz, p, sz);
	k->sz += sz;
}

static void add_be32(struct key *k, uint32_t v)
{
	uint8_t b[4];

	store_be32(b, v);
	add(k, b, 4);
}

struct key key_height(uint32_t height)
{
	struct key k = {.sz = 0};

	add_be32(&k, height);
	return k;
}

struct key key_user(const struct user_id *u)
{
	struct key k = {.sz = 0};

	add(&k, u->b, USER_ID_SZ);
	return k;
}

struct key key_locator(const struct locator *l)
{
	struct key k = {.sz = 0};

	add(&k, l->b, LOCATOR_SZ);
	return k;
}

struct key key_appointment(const struct appointment_key *a)
{
	struct key k = key_locator(&a->locator);

	add(&k, a->user.b, USER_ID_SZ);
	return k;
}

struct key key_by_user(const struct appointment_key *a)
{
	struct key k = key_user(&a->user);

	add(&k, a->locator.b, LOCATOR_SZ);
	return k;
}

struct key key_penalty(const struct hash256 *penalty)
{
	struct key k = {.sz = 0};

	add(&k, penalty->b, HASH_SZ);
	return k;
}

struct key key_by_penalty(const struct hash256 *penalty, const struct appointment_key *a)
{
	struct key k = key_penalty(penalty), tail = key_appointment(a);

	add(&k, tail.b, tail.sz);
	return k;
}

struct key key_expiry(uint32_t height, const struct user_id *u)
{
	struct key k = key_height(height);

	add(&k, u->b, USER_ID_SZ);
	return k;
}

struct key key_confirmed(uint32_t height, const struct appointment_key *a)
{
	struct key k = key_height(height), tail = key_appointment(a);

	add(&k, tail.b, tail.sz);
	return k;
}

struct key key_undo(uint32_t height, enum undo_kind kind, const struct appointment_key *a)
{
	struct key k = key_height(height), tail = key_appointment(a);
	uint8_t b = (uint8_t)kind;

	add(&k, &b, 1);
	add(&k, tail.b, tail.sz);
	return k;
}

bool key_height_decode(struct slice k, uint32_t *height)
{
	if (k.sz < 4)
		return false;
	*height = load_be32(k.p);
	return true;
}

bool key_user_decode(struct slice k, struct user_id *u)
{
	if (k.sz != USER_ID_SZ)
		return false;
	memcpy(u->b, k.p, USER_ID_SZ);
	return true;
}

bool key_appointment_decode(struct slice k, struct appointment_key *a)
{
	if (k.sz != KEY_APPOINTMENT_SZ)
		return false;
	memcpy(a->locator.b, k.p, LOCATOR_SZ);
	memcpy(a->user.b, k.p + LOCATOR_SZ, USER_ID_SZ);
	return true;
}

bool key_by_user_decode(struct slice k, struct appointment_key *a)
{
	if (k.sz != KEY_APPOINTMENT_SZ)
		return false;
	memcpy(a->user.b, k.p, USER_ID_SZ);
	memcpy(a->locator.b, k.p + USER_ID_SZ, LOCATOR_SZ);
	return true;
}

static struct slice after(struct slice k, size_t n)
{
	return (struct slice){k.p + n, k.sz - n};
}

bool key_by_penalty_decode(struct slice k, struct hash256 *penalty, struct appointment_key *a)
{
	if (k.sz != KEY_PENALTY_SZ)
		return false;
	memcpy(penalty->b, k.p, HASH_SZ);
	return key_appointment_decode(after(k, HASH_SZ), a);
}

bool key_expiry_decode(struct slice k, uint32_t *height, struct user_id *u)
{
	return key_height_decode(k, height) && key_user_decode(after(k, 4), u);
}

bool key_confirmed_decode(struct slice k, uint32_t *height, struct appointment_key *a)
{
	return key_height_decode(k, height) && key_appointment_decode(after(k, 4), a);
}

bool key_undo_decode(struct slice k, uint32_t *height, enum undo_kind *kind, struct appointment_key *a)
{
	if (k.sz != KEY_UNDO_SZ || k.p[4] < UNDO_CREATED || k.p[4] > UNDO_COMPLETED)
		return false;
	*kind = k.p[4];
	return key_height_decode(k, height) && key_appointment_decode(after(k, 5), a);
}

/* --- values ---------------------------------------------------------------------------------------------------- */

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	store_le32(p, v);
	return p + 4;
}

static uint8_t *put_bytes(uint8_t *p, const void *src, size_t sz)
{
	if (sz > 0)
		memcpy(p, src, sz);
	return p + sz;
}

void user_row_encode(uint8_t out[USER_ROW_SZ], const struct user_row *r)
{
	uint8_t *p = out;

	*p++ = ROW_VERSION;
	store_le64(p, (uint64_t)r->slots);
	p = put32(p + 8, r->start);
	p = put32(p, r->expiry);
	p = put32(p, r->epoch);
	p = put32(p, r->appointment_cnt);
	p = put32(p, r->tracker_cnt);
	p = put32(p, r->confirmed_cnt);
	*p = (uint8_t)r->generation;
}

bool user_row_decode(struct slice v, struct user_row *r)
{
	if (v.sz != USER_ROW_SZ || v.p[0] != ROW_VERSION || v.p[33] > CLIENT_LEGACY)
		return false;
	r->slots = (int64_t)load_le64(v.p + 1);
	r->start = load_le32(v.p + 9);
	r->expiry = load_le32(v.p + 13);
	r->epoch = load_le32(v.p + 17);
	r->appointment_cnt = load_le32(v.p + 21);
	r->tracker_cnt = load_le32(v.p + 25);
	r->confirmed_cnt = load_le32(v.p + 29);
	r->generation = v.p[33];
	return true;
}

void appointment_row_head(uint8_t out[APPOINTMENT_ROW_HEAD_SZ], const struct appointment_row *r)
{
	uint8_t *p = out;

	*p++ = ROW_VERSION;
	p = put32(p, r->epoch);
	p = put32(p, r->to_self_delay);
	p = put32(p, r->start_block);
	put_bytes(p, r->user_sig, SIG_ZB_SZ);
}

bool appointment_row_decode(struct slice v, struct appointment_row *r)
{
	if (v.sz < APPOINTMENT_ROW_HEAD_SZ || v.sz - APPOINTMENT_ROW_HEAD_SZ > UINT32_MAX ||
	    v.p[0] != ROW_VERSION)
		return false;
	r->epoch = load_le32(v.p + 1);
	r->to_self_delay = load_le32(v.p + 5);
	r->start_block = load_le32(v.p + 9);
	r->user_sig = (const char *)v.p + 13;
	r->blob = v.p + APPOINTMENT_ROW_HEAD_SZ;
	r->blob_sz = (uint32_t)(v.sz - APPOINTMENT_ROW_HEAD_SZ);
	return true;
}

void by_user_row_encode(uint8_t out[BY_USER_ROW_SZ], uint32_t epoch)
{
	out[0] = ROW_VERSION;
	put32(out + 1, epoch);
}

bool by_user_row_decode(struct slice v, uint32_t *epoch)
{
	if (v.sz != BY_USER_ROW_SZ || v.p[0] != ROW_VERSION)
		return false;
	*epoch = load_le32(v.p + 1);
	return true;
}

void tracker_row_head(uint8_t out[TRACKER_ROW_HEAD_SZ], const struct tracker_row *r)
{
	uint8_t *p = out;

	*p++ = ROW_VERSION;
	p = put32(p, r->epoch);
	p = put32(p, r->dispute_height);
	p = put32(p, r->confirmed_height);
	p = put32(p, r->since_height);
	p = put_bytes(p, r->dispute_txid.b, HASH_SZ);
	put_bytes(p, r->penalty_txid.b, HASH_SZ);
}

bool tracker_row_decode(struct slice v, struct tracker_row *r)
{
	if (v.sz < TRACKER_ROW_HEAD_SZ || v.sz - TRACKER_ROW_HEAD_SZ > UINT32_MAX || v.p[0] != ROW_VERSION)
		return false;
	r->epoch = load_le32(v.p + 1);
	r->dispute_height = load_le32(v.p + 5);
	r->confirmed_height = load_le32(v.p + 9);
	r->since_height = load_le32(v.p + 13);
	memcpy(r->dispute_txid.b, v.p + 17, HASH_SZ);
	memcpy(r->penalty_txid.b, v.p + 17 + HASH_SZ, HASH_SZ);
	r->raw = v.p + TRACKER_ROW_HEAD_SZ;
	r->raw_sz = (uint32_t)(v.sz - TRACKER_ROW_HEAD_SZ);
	return true;
}

void header_row_encode(uint8_t out[HEADER_ROW_SZ], const struct header_row *r)
{
	uint8_t *p = out;

	*p++ = ROW_VERSION;
	p = put_bytes(p, r->header, HEADER_SZ);
	p = put_bytes(p, r->hash.b, HASH_SZ);
	put_bytes(p, r->work, 32);
}

bool header_row_decode(struct slice v, struct header_row *r)
{
	if (v.sz != HEADER_ROW_SZ || v.p[0] != ROW_VERSION)
		return false;
	memcpy(r->header, v.p + 1, HEADER_SZ);
	memcpy(r->hash.b, v.p + 1 + HEADER_SZ, HASH_SZ);
	memcpy(r->work, v.p + 1 + HEADER_SZ + HASH_SZ, 32);
	return true;
}

struct key key_sending(const struct hash256 *penalty)
{
	struct key k = {.sz = sizeof(KEY_SENDING_PREFIX) - 1 + HASH_SZ};

	memcpy(k.b, KEY_SENDING_PREFIX, sizeof(KEY_SENDING_PREFIX) - 1);
	memcpy(k.b + sizeof(KEY_SENDING_PREFIX) - 1, penalty->b, HASH_SZ);
	return k;
}

bool key_sending_decode(struct slice k, struct hash256 *penalty)
{
	if (k.sz != sizeof(KEY_SENDING_PREFIX) - 1 + HASH_SZ ||
	    memcmp(k.p, KEY_SENDING_PREFIX, sizeof(KEY_SENDING_PREFIX) - 1) != 0)
		return false;
	memcpy(penalty->b, k.p + sizeof(KEY_SENDING_PREFIX) - 1, HASH_SZ);
	return true;
}

size_t sending_row_encode(uint8_t out[SENDING_ROW_SZ_MAX], const struct sending_row *r)
{
	size_t text_sz = strnlen(r->text, sizeof(r->text) - 1);
	uint8_t *p = out;

	*p++ = ROW_VERSION;
	*p++ = (uint8_t)r->state;
	*p++ = (uint8_t)r->reason;
	*p++ = (uint8_t)(r->told > UINT8_MAX ? UINT8_MAX : r->told);
	p = put32(p, r->since);
	p = put32(p, r->tries);
	p = put32(p, r->first_height);
	p = put32(p, (uint32_t)r->code);
	*p++ = (uint8_t)text_sz;
	p = put_bytes(p, r->text, text_sz);
	return (size_t)(p - out);
}

bool sending_row_decode(struct slice v, struct sending_row *r)
{
	if (v.sz < 21 || v.p[0] != ROW_VERSION || v.p[1] > TRACKER_REFUSED || v.p[1] == TRACKER_CONFIRMED ||
	    v.p[2] > REASON_LAST || v.p[20] >= SENDING_TEXT_SZ || v.sz != 21u + v.p[20] ||
	    memchr(v.p + 21, '\0', v.p[20]) != NULL)
		return false;
	*r = (struct sending_row){.state = v.p[1], .reason = v.p[2], .told = v.p[3]};
	r->since = load_le32(v.p + 4);
	r->tries = load_le32(v.p + 8);
	r->first_height = load_le32(v.p + 12);
	r->code = (int32_t)load_le32(v.p + 16);
	memcpy(r->text, v.p + 21, v.p[20]);
	return true;
}

void tip_row_encode(uint8_t out[TIP_ROW_SZ], const struct tip_row *r)
{
	uint8_t *p = out;

	*p++ = ROW_VERSION;
	p = put32(p, r->height);
	p = put32(p, r->resume_height);
	put_bytes(p, r->hash.b, HASH_SZ);
}

bool tip_row_decode(struct slice v, struct tip_row *r)
{
	if (v.sz != TIP_ROW_SZ || v.p[0] != ROW_VERSION)
		return false;
	r->height = load_le32(v.p + 1);
	r->resume_height = load_le32(v.p + 5);
	memcpy(r->hash.b, v.p + 9, HASH_SZ);
	return true;
}

size_t undo_row_encode(uint8_t *out, const struct undo_row *r)
{
	uint8_t *p = out;

	*p++ = ROW_VERSION;
	p = put32(p, r->slots);
	p = put32(p, (uint32_t)r->appointment.sz);
	p = put_bytes(p, r->appointment.p, r->appointment.sz);
	p = put_bytes(p, r->tracker.p, r->tracker.sz);
	return (size_t)(p - out);
}

bool undo_row_decode(struct slice v, struct undo_row *r)
{
	uint32_t sz;

	if (v.sz < UNDO_ROW_HEAD_SZ || v.p[0] != ROW_VERSION)
		return false;
	r->slots = load_le32(v.p + 1);
	sz = load_le32(v.p + 5);
	if (sz > v.sz - UNDO_ROW_HEAD_SZ)
		return false;
	r->appointment = (struct slice){v.p + UNDO_ROW_HEAD_SZ, sz};
	r->tracker = after(v, UNDO_ROW_HEAD_SZ + sz);
	return true;
}
