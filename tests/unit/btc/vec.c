#include "vec.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATH_SZ 4096

json_t *vec_load(const char *name)
{
	const char *dir = getenv("VIGIL_VECTORS");
	char path[PATH_SZ];
	json_error_t err;
	json_t *root;

	snprintf(path, sizeof(path), "%s/bitcoin/%s", dir != NULL ? dir : "tests/vectors", name);
	root = json_load_file(path, 0, &err);
	if (root == NULL)
		fail_msg("%s: %s (line %d)", path, err.text, err.line);
	return root;
}

const char *vec_str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (s == NULL)
		fail_msg("no string '%s'", key);
	return s;
}

int64_t vec_int(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v))
		fail_msg("no integer '%s'", key);
	return json_integer_value(v);
}

bool vec_bool(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_boolean(v))
		fail_msg("no boolean '%s'", key);
	return json_is_true(v);
}

static void hex_append(struct bytes *b, const char *hex, size_t times)
{
	size_t sz = strlen(hex) / 2;

	b->p = realloc(b->p, b->sz + sz * times + 1);
	assert_non_null(b->p);
	for (; times > 0; times--, b->sz += sz)
		if (!hex_decode(b->p + b->sz, sz, hex, strlen(hex)))
			fail_msg("bad hex %s", hex);
}

struct bytes vec_hex(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key), *run;
	struct bytes b = {NULL, 0};
	size_t i;

	if (json_is_array(v)) {
		json_array_foreach(v, i, run) hex_append(&b, json_string_value(json_array_get(run, 0)),
							 (size_t)json_integer_value(json_array_get(run, 1)));
	} else {
		hex_append(&b, vec_str(o, key), 1);
	}
	return b;
}

struct hash256 vec_display(const json_t *o, const char *key)
{
	struct hash256 h;

	if (!hash256_from_display(&h, vec_str(o, key)))
		fail_msg("'%s' is no hash", key);
	return h;
}

static const char *shared_path(char path[PATH_SZ], const char *name)
{
	const char *dir = getenv("VIGIL_SHARED");

	snprintf(path, PATH_SZ, "%s/blocks/%s", dir != NULL ? dir : "../shared", name);
	if (access(path, R_OK) == 0)
		return path;
	printf("SKIPPED: no test data beside the checkout: %s\n", path);
	return NULL;
}

struct bytes vec_shared_block(const char *name)
{
	struct bytes b = {NULL, 0};
	char path[PATH_SZ];
	FILE *f;

	if (shared_path(path, name) == NULL)
		return b;
	f = fopen(path, "rb");
	assert_non_null(f);
	b.p = malloc(BLOCK_SZ_MAX + 1);
	assert_non_null(b.p);
	b.sz = fread(b.p, 1, BLOCK_SZ_MAX + 1, f);
	fclose(f);
	return b;
}

json_t *vec_shared_expected(void)
{
	char path[PATH_SZ];
	json_t *root;

	if (shared_path(path, "expected.json") == NULL)
		return NULL;
	root = json_load_file(path, 0, NULL);
	assert_non_null(root);
	return root;
}

uint8_t *vec_guarded(const uint8_t *p, size_t sz)
{
	static uint8_t *map;
	static size_t map_sz;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (sz + page - 1) / page * page;

	if (map != NULL)
		munmap(map, map_sz);
	map_sz = room + page;
	map = mmap(NULL, map_sz, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map + room, page, PROT_NONE), 0);
	if (sz != 0)
		memcpy(map + room - sz, p, sz);
	return map + room - sz;
}

uint32_t vec_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}
