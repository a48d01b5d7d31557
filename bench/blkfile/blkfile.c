#include "blkfile/blkfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "btc/block.h"
#include "btc/bytes.h"

#define PATH_SZ_MAX 4096u
#define RAW_SZ_MAX  (2u * BLOCK_SZ_MAX) /* so that a block somewhat too large is still called one */

struct blkfile {
	uint8_t *map; /* decoded */
	size_t sz;
	size_t data_sz; /* without the zero tail */
	size_t pos;     /* where the next record is looked for */
	uint64_t garbage_sz;
	enum blkfile_kind kind;
	bool xored;
	const struct network *net;
	struct tx_view *tx; /* scratch, made when a doubtful record must be parsed */
};

/* A header that claims work which its hash does not have is no header. */
static bool header_has_work(const struct network *net, const uint8_t *header)
{
	struct header_fields f;
	struct hash256 hash = header_hash(header);

	header_decode(&f, header);
	return pow_valid(net, &hash, f.bits);
}

static bool parses(struct blkfile *f, const uint8_t *p, size_t sz)
{
	struct block_view bv;

	if (f->tx == NULL)
		f->tx = malloc(BLOCK_TX_MAX * sizeof(*f->tx));
	return f->tx != NULL && block_parse(p, sz, &bv, f->tx) == PARSE_OK;
}

/* Does what a writer leaves behind a record stand at pos?  In the zero tail any place would look right, also
   the one a damaged length leads to, so nothing there vouches for the frame. */
static bool frame_follows(const struct blkfile *f, const struct network *net, size_t pos)
{
	if (pos == f->sz)
		return true;
	return pos < f->data_sz && f->data_sz - pos >= BLKFILE_HEAD_SZ &&
	       memcmp(f->map + pos, net->magic, sizeof(net->magic)) == 0;
}

/* Is there a record at pos?  net is the file's network, or that of the magic at pos. */
static bool record_at(struct blkfile *f, const struct network *net, size_t pos, struct blkfile_rec *rec)
{
	const uint8_t *head = f->map + pos;
	uint32_t sz;

	if (f->sz - pos < BLKFILE_HEAD_SZ + HEADER_SZ || memcmp(head, net->magic, sizeof(net->magic)) != 0)
		return false;
	sz = load_le32(head + 4);
	if (sz < HEADER_SZ || sz > BLOCK_SZ_MAX || sz > f->sz - pos - BLKFILE_HEAD_SZ)
		return false;
	*rec = (struct blkfile_rec){.p = head + BLKFILE_HEAD_SZ, .sz = sz, .off = pos + BLKFILE_HEAD_SZ};
	return header_has_work(net, rec->p) &&
	       (frame_follows(f, net, pos + BLKFILE_HEAD_SZ + sz) || parses(f, rec->p, sz));
}

static bool raw_next(struct blkfile *f, struct blkfile_rec *rec)
{
	if (f->pos != 0)
		return false;
	f->pos = f->sz;
	*rec = (struct blkfile_rec){.p = f->map, .sz = (uint32_t)f->sz, .off = 0};
	return true;
}

bool blkfile_next(struct blkfile *f, struct blkfile_rec *rec)
{
	if (f->kind == BLKFILE_RAW)
		return raw_next(f, rec);
	while (f->pos < f->data_sz) {
		const uint8_t *p;

		if (record_at(f, f->net, f->pos, rec)) {
			f->pos = rec->off + rec->sz;
			return true;
		}
		/* Damaged: look for the next magic, and try there. */
		p = memmem(f->map + f->pos + 1, f->data_sz - f->pos - 1, f->net->magic, sizeof(f->net->magic));
		f->garbage_sz += (p == NULL ? f->data_sz : (size_t)(p - f->map)) - f->pos;
		f->pos = p == NULL ? f->data_sz : (size_t)(p - f->map);
	}
	return false;
}

void blkfile_rewind(struct blkfile *f)
{
	f->pos = 0;
	f->garbage_sz = 0;
}

enum blkfile_kind blkfile_kind(const struct blkfile *f)
{
	return f->kind;
}

const struct network *blkfile_network(const struct blkfile *f)
{
	return f->net;
}

uint64_t blkfile_garbage_sz(const struct blkfile *f)
{
	return f->garbage_sz;
}

/* The network whose record comes first, when the file is read as it is; NULL if there is none. */
static const struct network *first_record_network(struct blkfile *f)
{
	const struct network *best = f->sz >= BLKFILE_HEAD_SZ ? network_by_magic(f->map) : NULL;
	struct blkfile_rec first;
	size_t best_pos = f->data_sz;

	/* Nearly always so; a search would page in the whole file for every other network. */
	if (best != NULL && record_at(f, best, 0, &first))
		return best;
	best = NULL;
	for (unsigned i = 0; i < NETWORK_CNT; i++) {
		const struct network *net = network_get((enum network_id)i);
		size_t pos = 0;

		while (pos < best_pos) {
			struct blkfile_rec rec;
			const uint8_t *p = memmem(f->map + pos, f->data_sz - pos, net->magic,
						  sizeof(net->magic));

			if (p == NULL)
				break;
			pos = (size_t)(p - f->map);
			if (pos < best_pos && record_at(f, net, pos, &rec)) {
				best = net;
				best_pos = pos;
			}
			pos++;
		}
	}
	return best;
}

static void xor_all(struct blkfile *f, const uint8_t key[BLKFILE_XOR_SZ])
{
	uint64_t k, x;
	size_t i = 0;

	memcpy(&k, key, sizeof(k));
	for (; i + sizeof(x) <= f->sz; i += sizeof(x)) {
		memcpy(&x, f->map + i, sizeof(x));
		x ^= k;
		memcpy(f->map + i, &x, sizeof(x));
	}
	for (; i < f->sz; i++)
		f->map[i] ^= key[i % BLKFILE_XOR_SZ];
}

/* The preallocated rest of a file that is still written to: zeros on disk, whatever the key.  The last record
   may end in zeros of its own, so data_sz bounds only where a record may begin. */
static void find_tail(struct blkfile *f)
{
	f->data_sz = f->sz;
	while (f->data_sz > 0 && f->map[f->data_sz - 1] == 0)
		f->data_sz--;
}

/* 0, -ENOENT when there is no key, or another error. */
static int xor_key_read(const char *path, uint8_t key[BLKFILE_XOR_SZ])
{
	const char *slash = strrchr(path, '/');
	int dir_sz = slash != NULL ? (int)(slash - path) + 1 : 0;
	char name[PATH_SZ_MAX];
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

/* Decides what the mapped file is.  The key is tried last: a plain file may lie beside somebody's xor.dat. */
static bool recognize(struct blkfile *f, const char *path, char why[BLKFILE_WHY_SZ])
{
	uint8_t key[BLKFILE_XOR_SZ];
	int rc;

	find_tail(f);
	if (f->data_sz == 0) {
		snprintf(why, BLKFILE_WHY_SZ, "only zeros");
		return false;
	}
	if (f->sz >= BLKFILE_HEAD_SZ && network_by_magic(f->map) != NULL)
		f->net = first_record_network(f);
	if (f->net != NULL)
		return true;
	if (f->sz >= HEADER_SZ && f->sz <= RAW_SZ_MAX &&
	    (header_has_work(network_get(NET_REGTEST), f->map) || parses(f, f->map, f->sz))) {
		/* The limit of regtest admits every network's headers.  A block that is broken behind its
		   header is a block too: whoever parses it says best what is wrong. */
		f->kind = BLKFILE_RAW;
		return true;
	}
	f->net = first_record_network(f);
	if (f->net != NULL)
		return true;
	rc = xor_key_read(path, key);
	if (rc == 0) {
		xor_all(f, key);
		f->net = first_record_network(f);
		f->xored = f->net != NULL;
		if (f->xored)
			return true;
	} else if (rc != -ENOENT) {
		snprintf(why, BLKFILE_WHY_SZ, "xor.dat beside it: %s",
			 rc == -EBADMSG ? "not 8 bytes" : strerror(-rc));
		return false;
	}
	snprintf(why, BLKFILE_WHY_SZ, "neither a block nor a file of blocks%s",
		 rc == 0 ? ", also with the key of xor.dat" : "");
	return false;
}

static bool map_file(struct blkfile *f, const char *path, char why[BLKFILE_WHY_SZ])
{
	struct stat st;
	void *map = MAP_FAILED;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0) {
		snprintf(why, BLKFILE_WHY_SZ, "%s", strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		snprintf(why, BLKFILE_WHY_SZ, "not a regular file");
	} else if (st.st_size == 0) {
		snprintf(why, BLKFILE_WHY_SZ, "empty file");
	} else {
		f->sz = (size_t)st.st_size;
		/* Private and writable: decoding copies the pages it touches, and nothing reaches the disk. */
		map = mmap(NULL, f->sz, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
		if (map == MAP_FAILED)
			snprintf(why, BLKFILE_WHY_SZ, "mmap: %s", strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	f->map = map != MAP_FAILED ? (uint8_t *)map : NULL;
	return f->map != NULL;
}

struct blkfile *blkfile_open(const char *path, char why[BLKFILE_WHY_SZ])
{
	struct blkfile *f = calloc(1, sizeof(*f));

	if (f == NULL) {
		snprintf(why, BLKFILE_WHY_SZ, "out of memory");
		return NULL;
	}
	f->kind = BLKFILE_FRAMED;
	if (!map_file(f, path, why) || !recognize(f, path, why)) {
		blkfile_close(f);
		return NULL;
	}
	return f;
}

void blkfile_close(struct blkfile *f)
{
	if (f == NULL)
		return;
	if (f->map != NULL)
		munmap(f->map, f->sz);
	free(f->tx);
	free(f);
}
