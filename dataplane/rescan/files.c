#include "rescan/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A jump reads a page, for headers lie a megabyte apart; small blocks lie together and are read together. */
#define JUMP_SZ 4096u
#define NEAR_SZ 65536u
#define TAIL_SZ 65536u

/* --- bytes -------------------------------------------------------------------------------------------------- */

int blkread_into(int fd, const struct blk_source *file, uint64_t off, uint8_t *p, size_t sz)
{
	size_t got = 0;

	while (got < sz) {
		ssize_t n = pread(fd, p + got, sz - got, (off_t)(off + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		got += (size_t)n;
	}
	if (file->keyed)
		blkfile_xor(p, sz, off, file->key);
	return 0;
}

int blkread_open(struct blkread *r, const struct blk_source *file)
{
	*r = (struct blkread){.file = file, .fd = open(file->path, O_RDONLY | O_CLOEXEC)};
	return r->fd >= 0 ? 0 : -errno;
}

void blkread_close(struct blkread *r)
{
	if (r->fd >= 0)
		close(r->fd);
	free(r->buf);
	*r = (struct blkread){.fd = -1};
}

const uint8_t *blkread_at(void *arg, uint64_t off, size_t sz)
{
	struct blkread *r = arg;
	uint64_t end = r->off + r->sz;
	size_t want;

	if (off >= r->off && off + sz <= end)
		return r->buf + (off - r->off);
	want = off >= r->off && off < end + NEAR_SZ && r->sz > 0 ? NEAR_SZ : JUMP_SZ;
	if (want < sz)
		want = sz;
	if (want > r->file->sz - off)
		want = (size_t)(r->file->sz - off);
	if (want > r->cap) {
		uint8_t *more = realloc(r->buf, want < NEAR_SZ ? NEAR_SZ : want);

		if (more == NULL)
			return NULL;
		r->buf = more;
		r->cap = want < NEAR_SZ ? NEAR_SZ : want;
	}
	r->off = off;
	r->sz = 0;
	if (blkread_into(r->fd, r->file, off, r->buf, want) != 0)
		return NULL;
	r->sz = want;
	return r->buf;
}

/* --- what a file is ----------------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *p, size_t sz)
{
	return sz == 0 || (p[0] == 0 && memcmp(p, p + 1, sz - 1) == 0);
}

/* The number in blkNNNNN.dat, five digits or more; -1 for any other name. */
static long blk_number(const char *name)
{
	size_t digits;

	if (strncmp(name, "blk", 3) != 0)
		return -1;
	digits = strspn(name + 3, "0123456789");
	if (digits < 5 || digits > 9 || strcmp(name + 3 + digits, ".dat") != 0)
		return -1;
	return strtol(name + 3, NULL, 10);
}

/* A node writes to the file with the highest number. */
static bool is_last_of_its_directory(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
	long number = blk_number(name);
	char next[PATH_MAX];

	return number >= 0 &&
	       snprintf(next, sizeof(next), "%.*sblk%05ld.dat", (int)(name - path), path, number + 1) <
		       (int)sizeof(next) &&
	       access(next, F_OK) != 0;
}

/* As it lies on disk: the tail of zeros has not been through the key. */
static int data_end_find(int fd, uint64_t sz, uint64_t *data_sz)
{
	const struct blk_source plain = {0};
	static uint8_t buf[TAIL_SZ];

	while (sz > 0) {
		size_t n = sz < TAIL_SZ ? (size_t)sz : TAIL_SZ;
		int rc = blkread_into(fd, &plain, sz - n, buf, n);

		if (rc != 0)
			return rc;
		if (!all_zero(buf, n)) {
			while (buf[n - 1] == 0)
				n--, sz--;
			break;
		}
		sz -= n;
	}
	*data_sz = sz;
	return 0;
}

/* The key belongs to a file unless the file's first record can be read only without it. */
static void identify(struct blk_source *f, const uint8_t head[4], bool have_key)
{
	uint8_t decoded[4];

	memcpy(decoded, head, sizeof(decoded));
	blkfile_xor(decoded, sizeof(decoded), 0, f->key);
	f->keyed = have_key && !all_zero(f->key, sizeof(f->key));
	f->net = network_by_magic(decoded);
	if (f->keyed && f->net == NULL) {
		f->net = network_by_magic(head);
		f->keyed = f->net == NULL;
	}
}

static bool look_at(struct blk_source *f, char why[FILES_WHY_SZ])
{
	const struct blk_source plain = {0};
	uint8_t head[4];
	struct stat st;
	int rc = 0, key_rc = blkfile_xor_key(f->path, f->key);
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	if (key_rc != 0 && key_rc != -ENOENT) {
		snprintf(why, FILES_WHY_SZ, "the xor.dat beside %s: %s", f->path,
			 key_rc == -EBADMSG ? "not 8 bytes" : strerror(-key_rc));
		goto fail;
	}
	if (key_rc != 0)
		memset(f->key, 0, sizeof(f->key));
	if (fd < 0 || fstat(fd, &st) != 0) {
		rc = -errno;
	} else if (!S_ISREG(st.st_mode)) {
		snprintf(why, FILES_WHY_SZ, "%s: not a regular file", f->path);
		goto fail;
	} else {
		f->sz = (uint64_t)st.st_size;
		rc = data_end_find(fd, f->sz, &f->data_sz);
	}
	if (rc == 0 && f->sz >= sizeof(head)) {
		rc = blkread_into(fd, &plain, 0, head, sizeof(head));
		if (rc == 0)
			identify(f, head, key_rc == 0);
	}
	if (rc == 0) {
		f->may_grow = is_last_of_its_directory(f->path);
		close(fd);
		return true;
	}
	snprintf(why, FILES_WHY_SZ, "%s: %s", f->path, strerror(-rc));
fail:
	if (fd >= 0)
		close(fd);
	return false;
}

/* --- the list ----------------------------------------------------------------------------------------------- */

static bool add(struct blk_files *fs, const char *path, char why[FILES_WHY_SZ])
{
	struct blk_source *more, *f;

	for (uint32_t i = 0; i < fs->cnt; i++)
		if (strcmp(fs->file[i].path, path) == 0)
			return true;
	more = realloc(fs->file, (fs->cnt + 1) * sizeof(*more));
	if (more == NULL) {
		snprintf(why, FILES_WHY_SZ, "out of memory");
		return false;
	}
	fs->file = more;
	f = &fs->file[fs->cnt];
	*f = (struct blk_source){.path = strdup(path)};
	if (f->path == NULL || !look_at(f, why)) {
		free(f->path);
		return false;
	}
	fs->cnt++;
	fs->sz += f->sz;
	return true;
}

static int is_blk(const struct dirent *e)
{
	return blk_number(e->d_name) >= 0;
}

static int by_number(const struct dirent **a, const struct dirent **b)
{
	long x = blk_number((*a)->d_name), y = blk_number((*b)->d_name);

	return (x > y) - (x < y);
}

/* How many blk files the directory has, or a negative errno; why is set where it is the fault of one of them. */
static int add_dir(struct blk_files *fs, const char *dir, char why[FILES_WHY_SZ])
{
	struct dirent **e;
	int cnt = scandir(dir, &e, is_blk, by_number);
	bool good = true;

	if (cnt < 0)
		return -errno;
	for (int i = 0; i < cnt; i++) {
		char path[PATH_MAX];

		if (good && snprintf(path, sizeof(path), "%s/%s", dir, e[i]->d_name) >= (int)sizeof(path)) {
			snprintf(why, FILES_WHY_SZ, "%s: the path is too long", dir);
			good = false;
		}
		good = good && add(fs, path, why);
		free(e[i]);
	}
	free(e);
	return good ? cnt : -ECANCELED;
}

static bool add_path(struct blk_files *fs, const char *path, char why[FILES_WHY_SZ])
{
	char sub[PATH_MAX];
	struct stat st;
	int cnt;

	if (stat(path, &st) != 0) {
		snprintf(why, FILES_WHY_SZ, "%s: %s", path, strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode))
		return add(fs, path, why);
	cnt = add_dir(fs, path, why);
	if (cnt == 0 && snprintf(sub, sizeof(sub), "%s/blocks", path) < (int)sizeof(sub)) {
		cnt = add_dir(fs, sub, why);
		if (cnt == -ENOENT || cnt == -ENOTDIR)
			cnt = 0;
	}
	if (cnt > 0)
		return true;
	if (cnt == 0)
		snprintf(why, FILES_WHY_SZ, "%s: no blk*.dat file in it", path);
	else if (cnt != -ECANCELED)
		snprintf(why, FILES_WHY_SZ, "%s: %s", path, strerror(-cnt));
	return false;
}

bool blk_files_find(struct blk_files *fs, char **path, int path_cnt, char why[FILES_WHY_SZ])
{
	*fs = (struct blk_files){0};
	for (int i = 0; i < path_cnt; i++)
		if (!add_path(fs, path[i], why)) {
			blk_files_free(fs);
			return false;
		}
	return true;
}

void blk_files_free(struct blk_files *fs)
{
	for (uint32_t i = 0; i < fs->cnt; i++)
		free(fs->file[i].path);
	free(fs->file);
	*fs = (struct blk_files){0};
}
