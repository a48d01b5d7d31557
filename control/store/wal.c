#include "store/wal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEPT_MAX 16u /* files kept open; there are rarely more than three */

struct kept {
	ino_t ino;
	int fd;
	bool seen;
	off_t synced_sz; /* its size before its last sync; -1 unknown */
};

struct wal {
	DIR *dir;
	struct kept kept[KEPT_MAX];
	unsigned kept_cnt;
};

struct wal *wal_open(const char *dir)
{
	struct wal *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->dir = opendir(dir);
	if (w->dir == NULL) {
		free(w);
		return NULL;
	}
	return w;
}

void wal_close(struct wal *w)
{
	if (w == NULL)
		return;
	for (unsigned i = 0; i < w->kept_cnt; i++)
		close(w->kept[i].fd);
	closedir(w->dir);
	free(w);
}

static int sync_fd(int fd, bool all)
{
	int rc;

	do {
		rc = all ? fsync(fd) : fdatasync(fd);
	} while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static off_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -1 : st.st_size;
}

/* Logs are only appended to, and one of the same size as when it was last synced has nothing new in it: older logs stay
   until every column family has been flushed, and each would cost a command to the disk. */
static int sync_kept(struct kept *k)
{
	off_t sz = size_of(k->fd);
	int rc;

	if (sz >= 0 && sz == k->synced_sz)
		return 0;
	rc = sync_fd(k->fd, false);
	k->synced_sz = rc == 0 ? sz : -1;
	return rc;
}

static struct kept *find(struct wal *w, ino_t ino)
{
	for (unsigned i = 0; i < w->kept_cnt; i++)
		if (w->kept[i].ino == ino)
			return &w->kept[i];
	return NULL;
}

/* A file not seen before: its name needs the directory to be synced too. */
static int sync_new(struct wal *w, const struct dirent *e, bool *new_name)
{
	int fd = openat(dirfd(w->dir), e->d_name, O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	struct kept k = {e->d_ino, fd, true, -1};

	*new_name = true;
	rc = sync_kept(&k);
	if (rc == 0 && w->kept_cnt < KEPT_MAX)
		w->kept[w->kept_cnt++] = k;
	else
		close(fd);
	return rc;
}

static void drop_unseen(struct wal *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->kept_cnt; i++) {
		if (w->kept[i].seen)
			w->kept[n++] = w->kept[i];
		else
			close(w->kept[i].fd);
	}
	w->kept_cnt = n;
}

static bool is_log(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && strcmp(name + n - 4, ".log") == 0;
}

int wal_sync(struct wal *w)
{
	const struct dirent *e;
	bool new_name = false;
	int rc = 0;

	for (unsigned i = 0; i < w->kept_cnt; i++)
		w->kept[i].seen = false;
	rewinddir(w->dir);
	for (errno = 0; rc == 0 && (e = readdir(w->dir)) != NULL; errno = 0) {
		struct kept *k;

		if (!is_log(e->d_name))
			continue;
		k = find(w, e->d_ino);
		if (k == NULL) {
			rc = sync_new(w, e, &new_name);
		} else {
			k->seen = true;
			rc = sync_kept(k);
		}
	}
	if (rc == 0 && errno != 0)
		rc = -errno;
	if (rc == 0 && new_name)
		rc = sync_fd(dirfd(w->dir), true);
	if (rc == 0)
		drop_unseen(w);
	return rc;
}
