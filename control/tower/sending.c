#include <stdlib.h>

#include "tower/tower_priv.h"

#define FLUSH_MAX 4096u /* rows in a batch */

void sending_changed(struct tower *t, struct penalty *p)
{
	if (!p->dirty)
		t->sending_dirty++;
	p->dirty = true;
}

void sending_forget(struct tower *t, const struct hash256 *txid)
{
	if (t->forgotten_cnt == t->forgotten_cap) {
		t->forgotten_cap = t->forgotten_cap == 0 ? 64 : t->forgotten_cap * 2;
		t->forgotten = realloc(t->forgotten, t->forgotten_cap * sizeof(*t->forgotten));
		if (t->forgotten == NULL)
			abort();
	}
	t->forgotten[t->forgotten_cnt++] = *txid;
}

static bool load_one(void *arg, struct slice key, struct slice value)
{
	struct tower *t = arg;
	struct sending_row r;
	struct hash256 txid;
	struct penalty *p;

	if (!key_sending_decode(key, &txid) || !sending_row_decode(value, &r)) {
		log_bad_row("meta", key);
		return true;
	}
	p = penalty_find(t, &txid);
	if (p == NULL) {
		sending_forget(t, &txid);
		return true;
	}
	/* After the store was opened again memory knows better. */
	if (p->tries > 0)
		return true;
	p->state = r.state;
	p->since = r.since;
	p->tries = r.tries;
	p->first_height = r.first_height;
	p->reason = r.reason;
	p->code = r.code;
	p->told = r.told;
	p->counted = r.state == TRACKER_SENT;
	memcpy(p->text, r.text, sizeof(p->text));
	return true;
}

int sending_load(struct tower *t)
{
	static const struct slice prefix = {(const uint8_t *)KEY_SENDING_PREFIX,
					    sizeof(KEY_SENDING_PREFIX) - 1};

	return store_scan(t->st, STORE_META, prefix, (struct slice){NULL, 0}, false, true, load_one, t);
}

static void put_row(struct store_batch *b, const struct penalty *p)
{
	struct key k = key_sending(&p->txid);
	uint8_t v[SENDING_ROW_SZ_MAX];
	struct sending_row r = {.state = p->state,
				.reason = p->reason,
				.since = p->since,
				.tries = p->tries,
				.first_height = p->first_height,
				.told = p->told,
				.code = p->code};

	memcpy(r.text, p->text, sizeof(r.text));
	store_put(b, STORE_META, key_slice(&k), (struct slice){v, sending_row_encode(v, &r)});
}

/* Rows that went into the batch are clean, or (back) dirty again. */
static void mark(struct tower *t, unsigned cnt, bool dirty)
{
	for (struct penalty *p = t->penalty_first; p != NULL && cnt > 0; p = p->next)
		if (p->flushing) {
			p->flushing = false;
			p->dirty = dirty;
			cnt--;
		}
}

void sending_flush(struct tower *t)
{
	struct store_batch *b;
	unsigned cnt = 0;

	/* Also while the store does not take writes: the next one is how it finds out that it does again. */
	if (t->sending_dirty == 0 && t->forgotten_cnt == 0)
		return;
	b = store_batch_new(t->st);
	for (size_t i = 0; i < t->forgotten_cnt; i++) {
		struct key k = key_sending(&t->forgotten[i]);

		store_del(b, STORE_META, key_slice(&k));
	}
	/* After the deletions: one may have been forgotten and answered anew since. */
	for (struct penalty *p = t->penalty_first; p != NULL && cnt < FLUSH_MAX; p = p->next) {
		if (!p->dirty || !p->committed)
			continue;
		put_row(b, p);
		p->flushing = true;
		cnt++;
	}
	if (store_write(t->st, b, NULL, NULL) == 0) {
		mark(t, cnt, false);
		t->sending_dirty -= cnt;
		t->forgotten_cnt = 0;
	} else {
		mark(t, cnt, true);
	}
	store_batch_free(b);
}
