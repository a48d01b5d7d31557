/* Reads: single rows, and walks. */
#include <errno.h>
#include <string.h>

#include "store/store_priv.h"

void store_unpin(struct store *s)
{
	if (s->pin != NULL)
		rocksdb_pinnableslice_destroy(s->pin);
	s->pin = NULL;
}

int store_get(struct store *s, enum store_cf cf, struct slice key, struct slice *value)
{
	char *err = NULL;

	store_unpin(s);
	if (s->db.db == NULL)
		return -EIO;
	s->pin = rocksdb_get_pinned_cf(s->db.db, s->db.ro, s->db.cf[cf], (const char *)key.p, key.sz, &err);
	if (err != NULL) {
		s->pin = NULL;
		return db_error("store_read_failed", err);
	}
	if (s->pin == NULL)
		return -ENOENT;
	value->p = (const uint8_t *)rocksdb_pinnableslice_value(s->pin, &value->sz);
	return 0;
}

bool store_has(struct store *s, enum store_cf cf, struct slice key)
{
	struct slice v;

	return store_get(s, cf, key, &v) == 0;
}

static bool starts_with(struct slice key, struct slice prefix)
{
	return key.sz >= prefix.sz && (prefix.sz == 0 || memcmp(key.p, prefix.p, prefix.sz) == 0);
}

#define END_MAX 128u

/* The first key behind all that start with prefix: its successor of the same length.  0 bytes: there is none. */
static size_t prefix_end(uint8_t end[END_MAX], struct slice prefix)
{
	size_t n = prefix.sz < END_MAX ? prefix.sz : END_MAX;

	if (n > 0)
		memcpy(end, prefix.p, n);
	while (n > 0 && end[n - 1] == 0xff)
		n--;
	if (n > 0)
		end[n - 1]++;
	return n;
}

static void seek(rocksdb_iterator_t *it, struct slice prefix, struct slice from, bool reverse)
{
	struct slice start = from.sz > 0 ? from : prefix;
	uint8_t end[END_MAX];
	size_t n;

	if (!reverse) {
		rocksdb_iter_seek(it, (const char *)start.p, start.sz);
		return;
	}
	if (from.sz > 0) {
		rocksdb_iter_seek_for_prev(it, (const char *)from.p, from.sz);
		return;
	}
	n = prefix_end(end, prefix);
	if (n == 0) {
		rocksdb_iter_seek_to_last(it);
		return;
	}
	rocksdb_iter_seek(it, (const char *)end, n);
	if (rocksdb_iter_valid(it))
		rocksdb_iter_prev(it);
	else
		rocksdb_iter_seek_to_last(it);
}

int store_scan(struct store *s, enum store_cf cf, struct slice prefix, struct slice from, bool reverse,
	       bool want_values, bool (*cb)(void *arg, struct slice key, struct slice value), void *arg)
{
	uint8_t end[END_MAX];
	size_t end_sz = reverse ? 0 : prefix_end(end, prefix);
	rocksdb_readoptions_t *bounded = NULL;
	rocksdb_iterator_t *it;
	char *err = NULL;

	if (s->db.db == NULL)
		return -EIO;
	/* Without it RocksDB reads the row behind the last one too, and its value from a blob file, to see that it is none of
	   ours; and it walks over deleted rows behind the prefix. */
	if (end_sz > 0) {
		bounded = rocksdb_readoptions_create();
		rocksdb_readoptions_set_iterate_upper_bound(bounded, (const char *)end, end_sz);
	}
	it = rocksdb_create_iterator_cf(s->db.db, bounded != NULL ? bounded : s->db.ro, s->db.cf[cf]);
	for (seek(it, prefix, from, reverse); rocksdb_iter_valid(it);) {
		struct slice key, value = {NULL, 0};

		key.p = (const uint8_t *)rocksdb_iter_key(it, &key.sz);
		if (!starts_with(key, prefix))
			break;
		if (want_values)
			value.p = (const uint8_t *)rocksdb_iter_value(it, &value.sz);
		if (!cb(arg, key, value))
			break;
		if (reverse)
			rocksdb_iter_prev(it);
		else
			rocksdb_iter_next(it);
	}
	rocksdb_iter_get_error(it, &err);
	rocksdb_iter_destroy(it);
	if (bounded != NULL)
		rocksdb_readoptions_destroy(bounded);
	return err == NULL ? 0 : db_error("store_read_failed", err);
}

bool store_is_empty(struct store *s, enum store_cf cf)
{
	rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db.db, s->db.ro, s->db.cf[cf]);
	char *err = NULL;
	bool empty;

	rocksdb_iter_seek_to_first(it);
	empty = !rocksdb_iter_valid(it);
	rocksdb_iter_get_error(it, &err);
	rocksdb_iter_destroy(it);
	if (err != NULL)
		db_error("store_read_failed", err);
	return empty && err == NULL;
}
