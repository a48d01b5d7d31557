/* rows.h - the tower's rows as bytes: keys that sort as they are walked, and values of fixed layout with a version byte in
   front (little-endian, independent of the compiler).

   Threads  Pure functions.
   Memory   Decoded rows point into the bytes they were decoded from.
   Errors   A decoder says false to anything that an encoder of this version did not write: too short, too long, another
            version, a value out of range. */
#ifndef VIGIL_TOWER_ROWS_H
#define VIGIL_TOWER_ROWS_H

#include "store/store.h"
#include "tower/tower.h"

#define HEIGHT_NONE UINT32_MAX

/* --- keys ------------------------------------------------------------------------------------------------------ */

#define KEY_APPOINTMENT_SZ (LOCATOR_SZ + USER_ID_SZ)
#define KEY_PENALTY_SZ     (HASH_SZ + KEY_APPOINTMENT_SZ)
#define KEY_EXPIRY_SZ      (4u + USER_ID_SZ)
#define KEY_CONFIRMED_SZ   (4u + KEY_APPOINTMENT_SZ)
#define KEY_UNDO_SZ        (5u + KEY_APPOINTMENT_SZ)
#define KEY_SZ_MAX         96u

struct key {
	uint8_t b[KEY_SZ_MAX];
	uint32_t sz;
};
static inline struct slice key_slice(const struct key *k)
{
	return (struct slice){k->b, k->sz};
}

struct key key_height(uint32_t height); /* also the prefix of all rows of a height */
struct key key_user(const struct user_id *u);
struct key key_appointment(const struct appointment_key *a); /* appointments, trackers */
struct key key_locator(const struct locator *l);             /* their prefix */
struct key key_by_user(const struct appointment_key *a);
struct key key_by_penalty(const struct hash256 *penalty, const struct appointment_key *a);
struct key key_penalty(const struct hash256 *penalty); /* its prefix */
struct key key_expiry(uint32_t height, const struct user_id *u);
struct key key_confirmed(uint32_t height, const struct appointment_key *a);

/* In ascending order of what a block does to one appointment; a disconnect walks them downwards. */
enum undo_kind { UNDO_CREATED = 1, UNDO_INVALID = 2, UNDO_CONFIRMED = 3, UNDO_COMPLETED = 4 };
struct key key_undo(uint32_t height, enum undo_kind kind, const struct appointment_key *a);

bool key_height_decode(struct slice k, uint32_t *height); /* of any key that begins with one */
bool key_user_decode(struct slice k, struct user_id *u);
bool key_appointment_decode(struct slice k, struct appointment_key *a);
bool key_by_user_decode(struct slice k, struct appointment_key *a);
bool key_by_penalty_decode(struct slice k, struct hash256 *penalty, struct appointment_key *a);
bool key_expiry_decode(struct slice k, uint32_t *height, struct user_id *u);
bool key_confirmed_decode(struct slice k, uint32_t *height, struct appointment_key *a);
bool key_undo_decode(struct slice k, uint32_t *height, enum undo_kind *kind, struct appointment_key *a);

/* --- values ---------------------------------------------------------------------------------------------------- */

#define USER_ROW_SZ 34u
struct user_row {
	/* The balance.  Signed: a disconnected block takes back a refund that may have been spent since. */
	int64_t slots;
	uint32_t start, expiry;
	/* Which registration of this key: a user who comes back after having been outdated starts a new one, and rows
	   of an older one are dead. */
	uint32_t epoch;
	/* Rows of this epoch: appointments (trackers included), trackers (confirmed ones included), confirmed. */
	uint32_t appointment_cnt, tracker_cnt, confirmed_cnt;
	enum client_generation generation;
};
void user_row_encode(uint8_t out[USER_ROW_SZ], const struct user_row *r);
bool user_row_decode(struct slice v, struct user_row *r);

#define APPOINTMENT_ROW_HEAD_SZ (13u + SIG_ZB_SZ)
struct appointment_row {
	uint32_t epoch, to_self_delay, start_block;
	const char *user_sig;
	const uint8_t *blob;
	uint32_t blob_sz;
};
/* Writes the part before the blob. */
void appointment_row_head(uint8_t out[APPOINTMENT_ROW_HEAD_SZ], const struct appointment_row *r);
bool appointment_row_decode(struct slice v, struct appointment_row *r);

#define BY_USER_ROW_SZ 5u
void by_user_row_encode(uint8_t out[BY_USER_ROW_SZ], uint32_t epoch);
bool by_user_row_decode(struct slice v, uint32_t *epoch);

#define TRACKER_ROW_HEAD_SZ (17u + 2 * HASH_SZ)
struct tracker_row {
	struct hash256 dispute_txid, penalty_txid;
	uint32_t epoch;
	uint32_t dispute_height;
	uint32_t confirmed_height; /* HEIGHT_NONE: not in a block */
	uint32_t since_height;     /* tip when it was made */
	const uint8_t *raw;        /* the penalty */
	uint32_t raw_sz;
};
void tracker_row_head(uint8_t out[TRACKER_ROW_HEAD_SZ], const struct tracker_row *r);
bool tracker_row_decode(struct slice v, struct tracker_row *r);

#define HEADER_ROW_SZ (1u + HEADER_SZ + HASH_SZ + 32u)
struct header_row {
	uint8_t header[HEADER_SZ];
	struct hash256 hash;
	uint8_t work[32]; /* little-endian, cumulative */
};
void header_row_encode(uint8_t out[HEADER_ROW_SZ], const struct header_row *r);
bool header_row_decode(struct slice v, struct header_row *r);

/* What is remembered of the sending of a penalty, under its txid in STORE_META.  A penalty without a row was not sent
   yet, or by a version that did not keep it. */
#define KEY_SENDING_PREFIX "sending/"
#define SENDING_TEXT_SZ    TOWER_NODE_TEXT_SZ
#define SENDING_ROW_SZ_MAX (21u + SENDING_TEXT_SZ)
struct sending_row {
	enum tracker_state state; /* never CONFIRMED */
	enum node_reason reason;
	uint32_t since, tries, first_height;
	uint32_t told; /* steps of escalation, see tower.h */
	int32_t code;
	char text[SENDING_TEXT_SZ]; /* with its NUL */
};
struct key key_sending(const struct hash256 *penalty);
bool key_sending_decode(struct slice k, struct hash256 *penalty);
size_t sending_row_encode(uint8_t out[SENDING_ROW_SZ_MAX], const struct sending_row *r);
bool sending_row_decode(struct slice v, struct sending_row *r);

/* The last connected block, and the height from which a restart must scan again (tower_watch_settled). */
#define TIP_ROW_SZ (9u + HASH_SZ)
struct tip_row {
	uint32_t height, resume_height;
	struct hash256 hash;
};
void tip_row_encode(uint8_t out[TIP_ROW_SZ], const struct tip_row *r);
bool tip_row_decode(struct slice v, struct tip_row *r);

/* CREATED: the dispute's raw transaction in the place of the appointment, empty where it is not known.  CONFIRMED: nothing.
   INVALID: what was deleted, and slots that the user lost with it beyond its own (when the same key was found invalid
   twice in one block); a tracker part, of one byte, says that its own slots were given back.  COMPLETED: the slots
   given back and both rows. */
#define UNDO_ROW_HEAD_SZ 9u
struct undo_row {
	uint32_t slots;
	struct slice appointment, tracker;
};
/* Bytes of the whole value; out has room for them (UNDO_ROW_HEAD_SZ and both rows). */
size_t undo_row_encode(uint8_t *out, const struct undo_row *r);
bool undo_row_decode(struct slice v, struct undo_row *r);

#endif
