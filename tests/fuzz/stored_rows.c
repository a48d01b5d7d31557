/* Stored rows, keys and values, as bytes from anywhere: a disk that lies, or a store of another version.

   The first byte chooses the side.  Whatever a decoder accepts, its encoder writes again byte for byte, what it points to
   lies within the row, and the same bytes with another version are refused. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tower/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

#define NEED(x)                  \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

/* How many of the decoders take it. */
static unsigned takers(struct slice v)
{
	struct appointment_row a;
	struct tracker_row tr;
	struct header_row h;
	struct user_row u;
	struct undo_row un;
	struct sending_row se;
	struct tip_row tip;
	uint32_t epoch;

	return sending_row_decode(v, &se) + user_row_decode(v, &u) + by_user_row_decode(v, &epoch) +
	       appointment_row_decode(v, &a) + tracker_row_decode(v, &tr) + header_row_decode(v, &h) +
	       tip_row_decode(v, &tip) + undo_row_decode(v, &un);
}

static void within(struct slice whole, const void *p, size_t sz)
{
	const uint8_t *q = p;

	NEED(sz == 0 || (q >= whole.p && q + sz <= whole.p + whole.sz));
}

static void fuzz_values(struct slice v)
{
	uint8_t head[TRACKER_ROW_HEAD_SZ + APPOINTMENT_ROW_HEAD_SZ + HEADER_ROW_SZ];
	struct appointment_row a;
	struct tracker_row tr;
	struct header_row h;
	struct user_row u;
	struct undo_row un;
	struct sending_row se;
	struct tip_row tip;
	uint32_t epoch;

	if (user_row_decode(v, &u)) {
		user_row_encode(head, &u);
		NEED(v.sz == USER_ROW_SZ && memcmp(head, v.p, v.sz) == 0);
	}
	if (by_user_row_decode(v, &epoch)) {
		by_user_row_encode(head, epoch);
		NEED(v.sz == BY_USER_ROW_SZ && memcmp(head, v.p, v.sz) == 0);
	}
	if (appointment_row_decode(v, &a)) {
		appointment_row_head(head, &a);
		NEED(memcmp(head, v.p, APPOINTMENT_ROW_HEAD_SZ) == 0);
		NEED(a.blob + a.blob_sz == v.p + v.sz);
		within(v, a.user_sig, SIG_ZB_SZ);
	}
	if (tracker_row_decode(v, &tr)) {
		tracker_row_head(head, &tr);
		NEED(memcmp(head, v.p, TRACKER_ROW_HEAD_SZ) == 0);
		NEED(tr.raw + tr.raw_sz == v.p + v.sz);
	}
	if (header_row_decode(v, &h)) {
		header_row_encode(head, &h);
		NEED(v.sz == HEADER_ROW_SZ && memcmp(head, v.p, v.sz) == 0);
	}
	if (sending_row_decode(v, &se)) {
		uint8_t row[SENDING_ROW_SZ_MAX];

		NEED(sending_row_encode(row, &se) == v.sz && memcmp(row, v.p, v.sz) == 0);
	}
	if (tip_row_decode(v, &tip)) {
		tip_row_encode(head, &tip);
		NEED(v.sz == TIP_ROW_SZ && memcmp(head, v.p, v.sz) == 0);
	}
	if (undo_row_decode(v, &un)) {
		uint8_t *out = malloc(v.sz);

		NEED(out != NULL && undo_row_encode(out, &un) == v.sz);
		NEED(memcmp(out, v.p, v.sz) == 0);
		free(out);
		within(v, un.appointment.p, un.appointment.sz);
		within(v, un.tracker.p, un.tracker.sz);
	}
}

static void fuzz_keys(struct slice k)
{
	struct appointment_key a;
	struct hash256 txid;
	struct user_id user;
	enum undo_kind kind;
	uint32_t height;
	struct key out;

#define SAME(...)                                                      \
	do {                                                           \
		out = __VA_ARGS__;                                     \
		NEED(out.sz == k.sz && memcmp(out.b, k.p, k.sz) == 0); \
	} while (0)
	if (key_user_decode(k, &user))
		SAME(key_user(&user));
	if (key_appointment_decode(k, &a))
		SAME(key_appointment(&a));
	if (key_by_user_decode(k, &a))
		SAME(key_by_user(&a));
	if (key_by_penalty_decode(k, &txid, &a))
		SAME(key_by_penalty(&txid, &a));
	if (key_sending_decode(k, &txid))
		SAME(key_sending(&txid));
	if (key_expiry_decode(k, &height, &user))
		SAME(key_expiry(height, &user));
	if (key_confirmed_decode(k, &height, &a))
		SAME(key_confirmed(height, &a));
	if (key_undo_decode(k, &height, &kind, &a))
		SAME(key_undo(height, kind, &a));
#undef SAME
}

/* Only this version's rows are taken. */
static void fuzz_versions(uint8_t *p, size_t sz)
{
	uint8_t was;

	if (sz == 0 || takers((struct slice){p, sz}) == 0)
		return;
	was = p[0];
	NEED(was != 0);
	for (unsigned v = 0; v < 256; v++) {
		p[0] = (uint8_t)v;
		NEED((takers((struct slice){p, sz}) > 0) == (v == was));
	}
	p[0] = was;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	uint8_t *exact;

	if (sz == 0)
		return 0;
	/* In memory of exactly its size, so that a read past the end is seen. */
	exact = malloc(sz - 1 > 0 ? sz - 1 : 1);
	NEED(exact != NULL);
	memcpy(exact, data + 1, sz - 1);
	if (data[0] == 'k') {
		fuzz_keys((struct slice){exact, sz - 1});
	} else {
		fuzz_values((struct slice){exact, sz - 1});
		fuzz_versions(exact, sz - 1);
	}
	free(exact);
	return 0;
}
