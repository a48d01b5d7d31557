/* kill_point.c - what makes a program die where a test says, and tells what the disk would still have.

   VIGIL_KILL_AT=NAME:N   the process dies, by SIGKILL, when it passes the kill point NAME for the N-th time; with the name
                          "any", when it passes its N-th kill point.
   VIGIL_KILL_SEEN=FILE   the names of the points passed are written there, each once, before anything else happens at
                          it: so a test knows which points its load reaches.
   VIGIL_SYNCED=FILE      every fsync and fdatasync that has succeeded adds "device inode size" there, with the size from
                          before the call.  A file cut to the last size noted for it, or to nothing, is what a
                          power failure may leave of it; kill -9 alone loses nothing that was written.

   fsync and fdatasync are those of the program itself, found before the C library's by everybody in the process, RocksDB's
   shared library included. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kill/kill_point.h"

#define NAME_MAX_CNT 64u

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char target[64];
static uint64_t left;
static int seen_fd = -1, synced_fd = -1;
static const char *seen[NAME_MAX_CNT];
static unsigned seen_cnt;

static int open_log(const char *variable)
{
	const char *path = getenv(variable);

	return path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void read_environment(void)
{
	const char *at = getenv("VIGIL_KILL_AT"), *colon = at == NULL ? NULL : strrchr(at, ':');

	seen_fd = open_log("VIGIL_KILL_SEEN");
	synced_fd = open_log("VIGIL_SYNCED");
	if (at == NULL)
		return;
	if (colon == NULL || (size_t)(colon - at) >= sizeof(target) ||
	    (left = strtoull(colon + 1, NULL, 10)) == 0) {
		fprintf(stderr, "VIGIL_KILL_AT must be NAME:N\n");
		abort();
	}
	memcpy(target, at, (size_t)(colon - at));
}

static void write_all(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		abort();
}

static void note_seen(const char *name)
{
	char line[96];

	for (unsigned i = 0; i < seen_cnt; i++)
		if (strcmp(seen[i], name) == 0)
			return;
	if (seen_cnt < NAME_MAX_CNT)
		seen[seen_cnt++] = name;
	snprintf(line, sizeof(line), "%s\n", name);
	write_all(seen_fd, line);
}

void kill_point(const char *name)
{
	pthread_once(&once, read_environment);
	if (seen_fd < 0 && left == 0)
		return;
	pthread_mutex_lock(&lock);
	if (seen_fd >= 0)
		note_seen(name);
	if (left > 0 && (strcmp(target, name) == 0 || strcmp(target, "any") == 0) && --left == 0)
		kill(getpid(), SIGKILL);
	pthread_mutex_unlock(&lock);
}

static int sync_and_note(int fd, long call)
{
	struct stat st;
	char line[96];
	int rc;

	pthread_once(&once, read_environment);
	/* From before: what is written while the sync runs may be in it or not. */
	if (synced_fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return (int)syscall(call, fd);
	rc = (int)syscall(call, fd);
	if (rc == 0) {
		snprintf(line, sizeof(line), "%ju %ju %jd\n", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
			 (intmax_t)st.st_size);
		write_all(synced_fd, line);
	}
	return rc;
}

int fsync(int fd)
{
	return sync_and_note(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_and_note(fd, SYS_fdatasync);
}
