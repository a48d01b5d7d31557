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

#define RAW_SZ_MAX (2u * BLOCK_SZ_MAX) /* so that a block somewhat too large is still called one */

struct blkfile {
	uint8_t *map; /* decoded */
	size_t sz;
	struct blkwalk walk;
	uint64_t garbage_sz;
	enum blkfile_kind kind;
	const struct network *net;
};

static const uint8_t *map_at(void *arg, uint64_t off, size_t sz)
{
	const struct blkfile *f = arg;

	(void)sz;
	return f->map + off;
}

static bool raw_next(struct blkfile *f, struct blkfile_rec *rec)
{
	if (f->walk.pos != 0)
		return false;
	f->walk.pos = f->sz;
	*rec = (struct blkfile_rec){.p = f->map, .sz = (uint32_t)f->sz, .off = 0};
	return true;
}

bool blkfile_next(struct blkfile *f, struct blkfile_rec *rec)
{
	struct blkwalk_step s;

	if (f->kind == BLKFILE_RAW)
		return raw_next(f, rec);
	for (;;) {
		switch (blkwalk_next(&f->walk, &s)) {
		case BLKWALK_RECORD:
			*rec = (struct blkfile_rec){.p = f->map + s.off, .sz = (uint32_t)s.sz, .off = s.off};
			return true;
		case BLKWALK_GARBAGE:
			f->garbage_sz += s.sz;
			break;
		case BLKWALK_END:
		case BLKWALK_FAILED: /* out of memory */
			return false;
		}
	}
}

void blkfile_rewind(struct blkfile *f)
{
	f->walk.pos = 0;
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

static bool record_at(struct blkfile *f, const struct network *net, size_t pos)
{
	struct blkwalk_step s;

	f->walk.net = net;
	return blkwalk_record_at(&f->walk, pos, &s);
}

/* The network whose record comes first, when the file is read as it is; NULL if there is none. */
static const struct network *first_record_network(struct blkfile *f)
{
	const struct network *best = f->sz >= BLKFILE_HEAD_SZ ? network_by_magic(f->map) : NULL;
	const size_t data_sz = (size_t)f->walk.src.data_sz;
	size_t best_pos = data_sz;

	/* Nearly always so; a search would page in the whole file for every other network. */
	if (best != NULL && record_at(f, best, 0))
		return best;
	best = NULL;
	for (unsigned i = 0; i < NETWORK_CNT; i++) {
		const struct network *net = network_get((enum network_id)i);
		size_t pos = 0;

		while (pos < best_pos) {
			const uint8_t *p = memmem(f->map + pos, data_sz - pos, net->magic, sizeof(net->magic));

			if (p == NULL)
				break;
			pos = (size_t)(p - f->map);
			if (pos < best_pos && record_at(f, net, pos)) {
				best = net;
				best_pos = pos;
			}
			pos++;
		}
	}
	return best;
}

static bool is_header(const uint8_t *p)
{
	struct header_fields f;
	struct hash256 hash = header_hash(p);

	header_decode(&f, p);
	/* The limit of regtest admits every network's headers. */
	return pow_valid(network_get(NET_REGTEST), &hash, f.bits);
}

static bool is_block(const uint8_t *p, size_t sz)
{
	struct tx_view *tx = malloc(BLOCK_TX_MAX * sizeof(*tx));
	struct block_view bv;
	bool ok = tx != NULL && block_parse(p, sz, &bv, tx) == PARSE_OK;

	free(tx);
	return ok;
}

static void walk_begin(struct blkfile *f)
{
	struct blkwalk_src src = {.at = map_at, .arg = f, .sz = f->sz, .data_sz = f->sz};

	while (src.data_sz > 0 && f->map[src.data_sz - 1] == 0)
		src.data_sz--;
	blkwalk_begin(&f->walk, &src, NULL);
}

/* What the mapped file is.  The key is tried last: a plain file may lie beside somebody's xor.dat. */
static bool classify(struct blkfile *f, const char *path, char why[BLKFILE_WHY_SZ])
{
	uint8_t key[BLKFILE_XOR_SZ];
	int rc;

	walk_begin(f);
	if (f->walk.src.data_sz == 0) {
		snprintf(why, BLKFILE_WHY_SZ, "only zeros");
		return false;
	}
	if (f->sz >= BLKFILE_HEAD_SZ && network_by_magic(f->map) != NULL)
		f->net = first_record_network(f);
	if (f->net != NULL)
		return true;
	if (f->sz >= HEADER_SZ && f->sz <= RAW_SZ_MAX && (is_header(f->map) || is_block(f->map, f->sz))) {
		/* A block that is broken behind its header is a block too: whoever parses it says best what
		   is wrong. */
		f->kind = BLKFILE_RAW;
		return true;
	}
	f->net = first_record_network(f);
	if (f->net != NULL)
		return true;
	rc = blkfile_xor_key(path, key);
	if (rc == 0) {
		blkfile_xor(f->map, f->sz, 0, key);
		f->net = first_record_network(f);
		if (f->net != NULL)
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

static bool recognize(struct blkfile *f, const char *path, char why[BLKFILE_WHY_SZ])
{
	bool known = classify(f, path, why);

	f->walk.net = f->net;
	return known;
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
	blkwalk_end(&f->walk);
	free(f);
}
