#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "blkfile/walk.h"

void blkfile_xor(uint8_t *p, size_t sz, uint64_t off, const uint8_t key[BLKFILE_XOR_SZ])
{
	uint8_t turned[BLKFILE_XOR_SZ];
	uint64_t k, x;
	size_t i = 0;

	for (unsigned n = 0; n < BLKFILE_XOR_SZ; n++)
		turned[n] = key[(off + n) % BLKFILE_XOR_SZ];
	memcpy(&k, turned, sizeof(k));
	for (; sz - i >= sizeof(x); i += sizeof(x)) {
		memcpy(&x, p + i, sizeof(x));
		x ^= k;
		memcpy(p + i, &x, sizeof(x));
	}
	for (; i < sz; i++)
		p[i] ^= turned[i % BLKFILE_XOR_SZ];
}

int blkfile_xor_key(const char *path, uint8_t key[BLKFILE_XOR_SZ])
{
	const char *slash = strrchr(path, '/');
	int dir_sz = slash != NULL ? (int)(slash - path) + 1 : 0;
	char name[PATH_MAX];
	uint8_t extra;
	int fd, rc = 0;

	if (snprintf(name, sizeof(name), "%.*sxor.dat", dir_sz, path) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (read(fd, key, BLKFILE_XOR_SZ) != BLKFILE_XOR_SZ || read(fd, &extra, 1) != 0)
		rc = -EBADMSG;
	close(fd);
	return rc;
}
