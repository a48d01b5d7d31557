/* walk.h - the records of a blk*.dat file one by one, from whatever gives its bytes (spec/bitcoin.md section 18).

   A file is magic | u32 length | block, again and again, then perhaps zeros that were not written over yet.  A
   record is one when its length is possible and fits the file, its header has the proof of work it claims, and
   its frame is sound: the next magic or the end of the file follows, or else its own bytes parse as a block.
   Nothing more is checked here: parse it, and compare the merkle root.  So most bodies are never asked for.
   What is no record is passed over to the next magic that begins one, and given out as garbage.

   Threads  One per walk.
   Memory   Takes 400 KB when the first doubtful record must be parsed; blkwalk_end gives it back.
   Time     Linear but for forged magics in garbage, each of which may cost a parse of what follows it. */
#ifndef VIGIL_BLKFILE_WALK_H
#define VIGIL_BLKFILE_WALK_H

#include "btc/block.h"
#include "btc/network.h"

#define BLKFILE_HEAD_SZ 8u /* magic and length before each block */

/* Where the bytes come from, decoded. */
struct blkwalk_src {
	/* sz <= BLOCK_SZ_MAX bytes at off, inside the file; good until the next call.  NULL: cannot be read. */
	const uint8_t *(*at)(void *arg, uint64_t off, size_t sz);
	void *arg;
	uint64_t sz;      /* of the file */
	uint64_t data_sz; /* without the zeros that end it as it lies on disk: no record begins there */
};

struct blkwalk {
	struct blkwalk_src src;
	const struct network *net;
	uint64_t pos; /* where the next record is looked for; 0 starts again */
	struct tx_view *tx;
	bool failed;
};

enum blkwalk_kind {
	BLKWALK_RECORD,
	BLKWALK_GARBAGE, /* bytes that belong to no record, as many as lie together */
	BLKWALK_END,
	BLKWALK_FAILED /* a byte could not be read; the walk stays where it is */
};

struct blkwalk_step {
	uint64_t off; /* RECORD: of the block, behind its magic and length.  GARBAGE: of the first byte */
	uint64_t sz;  /* RECORD: of the block.  GARBAGE: never counts the zeros at the end of the file */
	struct hash256 hash;
	uint8_t header[HEADER_SZ];
};

void blkwalk_begin(struct blkwalk *w, const struct blkwalk_src *src, const struct network *net);
void blkwalk_end(struct blkwalk *w);
/* Fills *s for RECORD and GARBAGE. */
enum blkwalk_kind blkwalk_next(struct blkwalk *w, struct blkwalk_step *s);
/* Does a record's head stand at pos, anywhere in the file? */
bool blkwalk_record_at(struct blkwalk *w, uint64_t pos, struct blkwalk_step *s);

/* Obfuscation: p holds sz bytes of a file from byte off on; key as it stands in xor.dat.  Its own inverse. */
#define BLKFILE_XOR_SZ 8u
void blkfile_xor(uint8_t *p, size_t sz, uint64_t off, const uint8_t key[BLKFILE_XOR_SZ]);
/* The key for files in the directory of path (its last component is not looked at).  0, -ENOENT when there is none,
   -EBADMSG when it is not 8 bytes, or another error. */
int blkfile_xor_key(const char *path, uint8_t key[BLKFILE_XOR_SZ]);

#endif
