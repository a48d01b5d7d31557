#include "client/breaches.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

static int by_txid(const void *a, const void *b)
{
	return memcmp(((const struct planted *)a)->dispute_txid.b, ((const struct planted *)b)->dispute_txid.b,
		      HASH_SZ);
}

/* The disputes read so far, as a table of index + 1 by txid. */
struct seen {
	uint32_t *slot, mask;
};

static bool seen_before(struct seen *s, const struct planted *list, uint32_t idx)
{
	uint32_t at;

	memcpy(&at, list[idx].dispute_txid.b, sizeof(at));
	for (at &= s->mask; s->slot[at]; at = (at + 1) & s->mask) {
		if (by_txid(&list[s->slot[at] - 1], &list[idx]) == 0)
			return true;
	}
	s->slot[at] = idx + 1;
	return false;
}

static bool read_one(const json_t *o, struct planted *p)
{
	const char *txid = json_string_value(json_object_get(o, "dispute_txid"));
	const char *hex = json_string_value(json_object_get(o, "penalty_hex"));
	size_t len = hex ? strlen(hex) : 0;

	memset(p, 0, sizeof(*p));
	if (!txid || len == 0 || len % 2 || len / 2 > BLOCK_SZ_MAX ||
	    !hash256_from_display(&p->dispute_txid, txid))
		return false;
	p->penalty_sz = (uint32_t)(len / 2);
	p->penalty = malloc(p->penalty_sz);
	if (p->penalty && hex_decode(p->penalty, p->penalty_sz, hex, len))
		return true;
	free(p->penalty);
	return false;
}

static bool wanted(const json_t *o, enum planted_branch branch)
{
	const char *name = json_string_value(json_object_get(o, "branch"));

	return branch == BRANCH_ALL || (name && strcmp(name, branch == BRANCH_BEST ? "best" : "stale") == 0);
}

struct planted *planted_read(const char *path, enum planted_branch branch, uint32_t *cnt, char *why,
			     size_t why_sz)
{
	json_error_t err;
	json_t *root = json_load_file(path, 0, &err), *o;
	size_t n = json_array_size(root), i;
	struct planted *list = NULL;
	struct seen seen = {NULL, 15};

	*cnt = 0;
	if (!json_is_array(root)) {
		snprintf(why, why_sz, "%s: %s", path, root ? "not an array" : err.text);
		json_decref(root);
		return NULL;
	}
	while (seen.mask < 2 * n)
		seen.mask = 2 * seen.mask + 1;
	list = calloc(n + 1, sizeof(*list));
	seen.slot = calloc((size_t)seen.mask + 1, sizeof(*seen.slot));
	if (!list || !seen.slot) {
		snprintf(why, why_sz, "out of memory");
		goto fail;
	}
	json_array_foreach(root, i, o)
	{
		if (!wanted(o, branch))
			continue;
		if (!read_one(o, &list[*cnt])) {
			snprintf(why, why_sz, "%s: entry %zu lacks dispute_txid or penalty_hex", path, i);
			goto fail;
		}
		if (seen_before(&seen, list, *cnt))
			free(list[*cnt].penalty);
		else
			(*cnt)++;
	}
	free(seen.slot);
	json_decref(root);
	return list;
fail:
	planted_free(list, *cnt);
	free(seen.slot);
	json_decref(root);
	return NULL;
}

void planted_free(struct planted *p, uint32_t cnt)
{
	for (uint32_t i = 0; p && i < cnt; i++)
		free(p[i].penalty);
	free(p);
}
