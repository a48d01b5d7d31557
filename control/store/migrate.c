#include "store/migrate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kill/kill_point.h"
#include "log/log.h"
#include "store/store_priv.h"

#define ROW_VERSION    1u
#define WHOLE_SZ       2u /* version, format */
#define UNDER_WAY_SZ   3u /* version, format to be, entry; the cursor follows */
#define CURSOR_MAX     128u
#define LOG_EVERY_ROWS 100000u

const struct formats store_formats = {.current = STORE_FORMAT, .step = NULL, .step_cnt = 0};

static const struct slice format_key = {(const uint8_t *)"format", 6};
static const struct slice from_start = {NULL, 0};

/* The format row. */
struct state {
	uint32_t format; /* the one before, while a step is under way */
	bool under_way;
	uint32_t entry;
	uint8_t cursor[CURSOR_MAX];
	size_t cursor_sz;
};

static bool state_decode(struct slice v, struct state *st)
{
	*st = (struct state){0};
	if (v.sz < WHOLE_SZ || v.p[0] != ROW_VERSION || v.sz > UNDER_WAY_SZ + CURSOR_MAX)
		return false;
	st->under_way = v.sz > WHOLE_SZ;
	st->format = v.p[1] - (st->under_way ? 1u : 0u);
	if (!st->under_way)
		return true;
	st->entry = v.p[2];
	st->cursor_sz = v.sz - UNDER_WAY_SZ;
	if (st->cursor_sz > 0)
		memcpy(st->cursor, v.p + UNDER_WAY_SZ, st->cursor_sz);
	return v.p[1] > 0;
}

static void put_whole(struct store_batch *b, uint32_t format)
{
	const uint8_t v[WHOLE_SZ] = {ROW_VERSION, (uint8_t)format};

	store_put(b, STORE_META, format_key, (struct slice){v, sizeof(v)});
}

static void put_under_way(struct store_batch *b, const struct state *st)
{
	uint8_t v[UNDER_WAY_SZ + CURSOR_MAX] = {ROW_VERSION, (uint8_t)(st->format + 1), (uint8_t)st->entry};

	if (st->cursor_sz > 0)
		memcpy(v + UNDER_WAY_SZ, st->cursor, st->cursor_sz);
	store_put(b, STORE_META, format_key, (struct slice){v, UNDER_WAY_SZ + st->cursor_sz});
}

/* --- one entry ------------------------------------------------------------------------------------------------ */

struct walk {
	struct store *s;
	const struct migration *m;
	struct state *st;
	struct store_batch *b;
	char *why;
	uint32_t rows;
	size_t bytes;
	uint64_t total;
	int rc;
	bool more;
};

static void bad_row(struct walk *w, struct slice key)
{
	char hex[2 * 16 + 1] = "";

	for (size_t i = 0; i < key.sz && i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", key.p[i]);
	snprintf(w->why, STORE_WHY_SZ,
		 "the row that begins with %s in column family %u is not one of format %u", hex,
		 (unsigned)w->m->cf, w->st->format);
	w->rc = -EBADMSG;
}

static bool one_row(void *arg, struct slice key, struct slice value)
{
	struct walk *w = arg;

	/* The walk begins at the row that was done last. */
	if (key.sz == w->st->cursor_sz && key.sz > 0 && memcmp(key.p, w->st->cursor, key.sz) == 0)
		return true;
	if (w->rows == MIGRATE_ROWS || w->bytes >= MIGRATE_BYTES) {
		w->more = true;
		return false;
	}
	if (key.sz > CURSOR_MAX || !w->m->row(w->b, key, value)) {
		bad_row(w, key);
		return false;
	}
	w->rows++;
	w->bytes += key.sz + value.sz;
	memcpy(w->st->cursor, key.p, key.sz);
	w->st->cursor_sz = key.sz;
	return true;
}

static int run_entry(struct walk *w)
{
	do {
		struct slice from = {w->st->cursor, w->st->cursor_sz};
		uint8_t copy[CURSOR_MAX];

		/* The walk moves the cursor while it holds `from`. */
		memcpy(copy, w->st->cursor, w->st->cursor_sz);
		from.p = copy;
		w->rows = 0;
		w->bytes = 0;
		w->more = false;
		w->b = store_batch_new(w->s);
		if (store_scan(w->s, w->m->cf, from_start, from, false, true, one_row, w) < 0)
			w->rc = -EIO;
		put_under_way(w->b, w->st);
		if (w->rc == 0)
			w->rc = store_write(w->s, w->b, NULL, NULL);
		store_batch_free(w->b);
		if (w->rc == 0)
			KILL_POINT("store:mid-migration");
		if ((w->total + w->rows) / LOG_EVERY_ROWS != w->total / LOG_EVERY_ROWS)
			log_info("migrating", "The store is being brought to a newer format",
				 log_u64("from", w->st->format), log_u64("rows", w->total + w->rows));
		w->total += w->rows;
	} while (w->rc == 0 && w->more);
	return w->rc;
}

/* --- a step, and all of them ------------------------------------------------------------------------------------ */

static bool leads_on(const struct formats *f, uint32_t format)
{
	for (size_t i = 0; i < f->step_cnt; i++)
		if (f->step[i].from == format)
			return true;
	return false;
}

static int run_step(struct store *s, const struct formats *f, struct state *st, char *why)
{
	struct store_batch *b;
	uint32_t nr = 0;
	int rc;

	log_info("migration", "The store is brought to a newer format", log_u64("from", st->format),
		 log_u64("to", st->format + 1));
	for (size_t i = 0; i < f->step_cnt; i++) {
		struct walk w = {.s = s, .m = &f->step[i], .st = st, .why = why};

		if (f->step[i].from != st->format)
			continue;
		if (nr++ < st->entry)
			continue; /* done before a crash */
		rc = run_entry(&w);
		if (rc < 0)
			return rc;
		st->entry++;
		st->cursor_sz = 0;
	}
	b = store_batch_new(s);
	put_whole(b, st->format + 1);
	rc = store_write_synced(s, b);
	store_batch_free(b);
	if (rc == 0)
		*st = (struct state){.format = st->format + 1};
	return rc;
}

static bool has_rows(struct store *s)
{
	for (unsigned cf = 0; cf < STORE_CF_CNT; cf++)
		if (!store_is_empty(s, cf))
			return true;
	return false;
}

static int begin_new(struct store *s, const struct formats *f, char *why)
{
	struct store_batch *b;
	int rc;

	if (has_rows(s)) {
		snprintf(why, STORE_WHY_SZ, "it has rows and no format number: it is not one of Vigil's");
		return -EPROTO;
	}
	b = store_batch_new(s);
	put_whole(b, f->current);
	rc = store_write_synced(s, b);
	store_batch_free(b);
	if (rc < 0)
		snprintf(why, STORE_WHY_SZ, "it cannot be written: %s", strerror(-rc));
	return rc;
}

int store_migrate(struct store *s, const struct formats *f, char *why)
{
	struct state st;
	struct slice v;
	int rc = store_get(s, STORE_META, format_key, &v);

	if (rc == -ENOENT)
		return begin_new(s, f, why);
	if (rc < 0) {
		snprintf(why, STORE_WHY_SZ, "it cannot be read");
		return rc;
	}
	if (!state_decode(v, &st) || st.format + (st.under_way ? 1 : 0) > f->current) {
		snprintf(why, STORE_WHY_SZ,
			 "it has format %u, and this vigild knows up to %u: it was written by a newer version",
			 v.sz >= WHOLE_SZ ? v.p[1] : 0, f->current);
		return -EPROTO;
	}
	while (rc == 0 && st.format < f->current) {
		if (!leads_on(f, st.format)) {
			snprintf(why, STORE_WHY_SZ,
				 "it has format %u, and this vigild, of format %u, cannot convert that",
				 st.format, f->current);
			return -EPROTO;
		}
		why[0] = '\0';
		rc = run_step(s, f, &st, why);
		if (rc < 0 && why[0] == '\0')
			snprintf(why, STORE_WHY_SZ,
				 "its migration from format %u failed and goes on when "
				 "vigild is started again: %s",
				 st.format, strerror(-rc));
	}
	return rc;
}
