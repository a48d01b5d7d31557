/* files.h - which files are scanned, and the bytes of one of them.

   Threads  The list: one thread makes it, then any may read it.  A struct blkread: one thread each.
   Errors   One sentence each, with the path in it. */
#ifndef VIGIL_RESCAN_FILES_H
#define VIGIL_RESCAN_FILES_H

#include "blkfile/walk.h"

#define FILES_WHY_SZ 4400u

struct blk_source {
	char *path;
	uint64_t sz;      /* when it was looked at */
	uint64_t data_sz; /* without the zeros at its end */
	bool keyed;
	bool may_grow; /* the last file of its directory: a running node may be writing to it */
	uint8_t key[BLKFILE_XOR_SZ];
	const struct network *net; /* by its first bytes; NULL: they are no magic */
};

struct blk_files {
	struct blk_source *file;
	uint32_t cnt;
	uint64_t sz; /* of all */
};

/* Each path is a file, a directory with blk*.dat files in it, or one whose folder blocks/ is such.  Files of a directory
   come in the order of their numbers, paths in the order given; one that is named twice is taken once. */
bool blk_files_find(struct blk_files *fs, char **path, int path_cnt, char why[FILES_WHY_SZ]);
void blk_files_free(struct blk_files *fs);

/* One file's bytes, decoded, by buffered reads. */
struct blkread {
	int fd;
	const struct blk_source *file;
	uint8_t *buf;
	size_t cap;
	uint64_t off; /* of buf[0] */
	size_t sz;    /* bytes in buf */
};
/* 0 or a negative errno. */
int blkread_open(struct blkread *r, const struct blk_source *file);
void blkread_close(struct blkread *r);
/* For struct blkwalk_src: arg is a struct blkread. */
const uint8_t *blkread_at(void *arg, uint64_t off, size_t sz);
/* sz bytes from off on into p, decoded.  0, a negative errno, or -ENODATA when the file has become shorter. */
int blkread_into(int fd, const struct blk_source *file, uint64_t off, uint8_t *p, size_t sz);

#endif
