#include "teos/key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "teos/sig.h"

#define OLD_KEYS_MAX 1000u

struct sentence {
	char *p;
	size_t sz;
};

static int fail(struct sentence why, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int fail(struct sentence why, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why.p, why.sz, fmt, ap);
	va_end(ap);
	return -err;
}

/* Everything that says the file may have been read or swapped by somebody else. */
static int check_file(int fd, const char *path, struct sentence why)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(why, errno, "tower key %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(why, EPERM, "tower key %s is not a plain file", path);
	if (st.st_uid != geteuid())
		return fail(why, EPERM, "tower key %s belongs to user %u, not to the user running vigild", path,
			    (unsigned)st.st_uid);
	if ((st.st_mode & 077) != 0)
		return fail(why, EPERM,
			    "tower key %s is open to others (mode %03o); chmod 600 it if nobody "
			    "has read it",
			    path, (unsigned)(st.st_mode & 0777));
	if (st.st_size != (off_t)TOWER_KEY_SZ)
		return fail(why, EINVAL, "tower key %s has %lld bytes instead of %u", path,
			    (long long)st.st_size, TOWER_KEY_SZ);
	return 0;
}

static bool io_full(int fd, uint8_t *p, size_t sz, bool out)
{
	while (sz > 0) {
		ssize_t n = out ? write(fd, p, sz) : read(fd, p, sz);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = EIO;
			return false;
		}
		p += n;
		sz -= (size_t)n;
	}
	return true;
}

static int load(struct tower_key *k, const char *path, struct sentence why)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK), rc;

	if (fd < 0)
		return fail(why, errno, "tower key %s: %s", path,
			    errno == ELOOP ? "is a symbolic link" : strerror(errno));
	rc = check_file(fd, path, why);
	if (rc == 0 && !io_full(fd, k->secret, TOWER_KEY_SZ, false))
		rc = fail(why, errno, "tower key %s: %s", path, strerror(errno));
	close(fd);
	if (rc == 0 && !sig_pubkey(&k->id, k->secret))
		rc = fail(why, EINVAL, "tower key %s is not a secp256k1 key", path);
	return rc;
}

static int sync_dir_of(const char *path)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int fd, rc = 0;

	if (slash == NULL)
		snprintf(dir, sizeof(dir), ".");
	else
		snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* Without `replace` link() puts the finished file in place and never replaces one that is there. */
static int put_in_place(struct tower_key *k, const char *tmp, const char *path, bool replace)
{
	int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), rc = 0;

	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) < 0 || !io_full(fd, k->secret, TOWER_KEY_SZ, true) || fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && (replace ? rename(tmp, path) : link(tmp, path)) < 0)
		rc = -errno;
	unlink(tmp);
	return rc == 0 ? sync_dir_of(path) : rc;
}

static int create_new(struct tower_key *k, const char *path, bool replace, struct sentence why)
{
	char tmp[PATH_MAX];
	int rc;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.new", path) >= sizeof(tmp))
		return fail(why, ENAMETOOLONG, "tower key: the path is too long");
	do {
		randombytes_buf(k->secret, TOWER_KEY_SZ);
	} while (!sig_pubkey(&k->id, k->secret));
	/* Left by a crash in the middle of an earlier attempt: that key was never used. */
	unlink(tmp);
	rc = put_in_place(k, tmp, path, replace);
	if (rc < 0)
		return fail(why, -rc, "tower key %s cannot be created: %s", path, strerror(-rc));
	return 0;
}

static int key_new(struct tower_key **k, struct sentence why)
{
	if (sodium_init() < 0)
		return fail(why, EIO, "no source of random numbers");
	*k = sodium_malloc(sizeof(**k));
	return *k != NULL ? 0 : fail(why, ENOMEM, "no memory for the tower key");
}

/* A second name for the key that is there. */
static int keep_old(const char *path, struct sentence why)
{
	char old[PATH_MAX + sizeof(".old-1000")];
	size_t sz = strlen(path);
	int err = EEXIST;

	if (sz >= PATH_MAX)
		return fail(why, ENAMETOOLONG, "tower key: the path is too long");
	memcpy(old, path, sz);
	for (unsigned i = 1; i <= OLD_KEYS_MAX && err == EEXIST; i++) {
		snprintf(old + sz, sizeof(old) - sz, ".old-%u", i);
		err = link(path, old) == 0 ? 0 : errno;
	}
	if (err != 0)
		return fail(why, err, "tower key %s cannot be kept beside the new one: %s", path,
			    strerror(err));
	return 0;
}

int tower_key_replace(struct tower_key **out, const char *path, char *why, size_t why_sz)
{
	struct sentence s = {why, why_sz};
	struct tower_key *k;
	int rc = key_new(&k, s);

	if (rc < 0)
		return rc;
	/* A file that is not a sound key of ours is not touched. */
	rc = load(k, path, s);
	if (rc == 0)
		rc = keep_old(path, s);
	if (rc == 0 || rc == -ENOENT)
		rc = create_new(k, path, rc == 0, s);
	if (rc < 0) {
		sodium_free(k);
		return rc;
	}
	sodium_mprotect_readonly(k);
	*out = k;
	return 0;
}

int tower_key_open(struct tower_key **out, const char *path, bool create, char *why, size_t why_sz)
{
	struct sentence s = {why, why_sz};
	struct tower_key *k;
	int rc = key_new(&k, s);

	if (rc < 0)
		return rc;
	rc = load(k, path, s);
	if (rc == -ENOENT && create)
		rc = create_new(k, path, false, s);
	if (rc < 0) {
		sodium_free(k);
		return rc;
	}
	sodium_mprotect_readonly(k);
	*out = k;
	return 0;
}

void tower_key_free(struct tower_key *k)
{
	sodium_free(k);
}
