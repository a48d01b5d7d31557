/* lab.h - a folder for a store, copies of it, and what is in its files. */
#ifndef VIGIL_TESTS_STORE_LAB_H
#define VIGIL_TESTS_STORE_LAB_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <cmocka.h>

#include "store/store.h"

extern char lab_dir[64], lab_db[96]; /* of this test; lab_db is not there yet */

int lab_setup(void **state);
int lab_teardown(void **state);

static inline struct slice lab_str(const char *s)
{
	return (struct slice){(const uint8_t *)s, strlen(s)};
}

/* Opens lab_db, or another; fails the test if that does not work. */
struct store *lab_open(const char *path);
/* One row in each of two column families, the second long enough for a blob file; waits for the sync. */
void lab_put(struct store *s, unsigned number);
/* 1: both are there and right; 0: neither is there; -1: they cannot be read.  Anything else fails the test. */
int lab_get(struct store *s, unsigned number);

/* cp -r; the target does not exist yet. */
void lab_copy(const char *from, const char *to);
void lab_remove(const char *path);

/* The files below a folder, sorted; paths relative to it. */
struct lab_files {
	unsigned cnt;
	struct lab_file {
		char name[128];
		uint8_t *p;
		size_t sz;
	} file[128];
};
void lab_files_read(struct lab_files *f, const char *dir);
void lab_files_free(struct lab_files *f);

#endif
