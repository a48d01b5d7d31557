/* blkfile.h - the blocks of a mapped file, whatever form the file has (spec/bitcoin.md section 18).

   Raw      The file is exactly one serialized block.
   Framed   magic | u32 length | block, again and again: what Bitcoin Core writes (blk*.dat), and what our
            synthetic chains are kept in.  The magic is that of any network.  Where 8 bytes of xor.dat lie
            beside the file and the file does not make sense without them, it is read through that key.
            Zeros at the end are a tail that was not written yet.  Garbage between records is skipped byte by byte and counted.

   What a record is, walk.h says.  Records come in file order, which is not chain order.

   Memory   The file is mapped; records point into the mapping (a private, decoded copy of it where there is a
            key) and stay valid until blkfile_close.  The file must not shrink meanwhile.
   Threads  One thread per struct blkfile; records may be read by all. */
#ifndef VIGIL_BLKFILE_BLKFILE_H
#define VIGIL_BLKFILE_BLKFILE_H

#include "blkfile/walk.h"

#define BLKFILE_WHY_SZ 256u

enum blkfile_kind { BLKFILE_RAW, BLKFILE_FRAMED };

struct blkfile;

struct blkfile_rec {
	const uint8_t *p; /* the block: header first, decoded */
	uint32_t sz;      /* HEADER_SZ .. BLOCK_SZ_MAX; a raw file may be larger, and no valid block */
	uint64_t off;     /* of p in the file */
};

/* NULL with a message in why (no path in it) if the file cannot be read, or is neither form. */
struct blkfile *blkfile_open(const char *path, char why[BLKFILE_WHY_SZ]);
void blkfile_close(struct blkfile *f);

/* The next block; false at the end. */
bool blkfile_next(struct blkfile *f, struct blkfile_rec *rec);
/* Starts again from the first block. */
void blkfile_rewind(struct blkfile *f);

enum blkfile_kind blkfile_kind(const struct blkfile *f);
/* By the magic of the records; NULL for a raw file, which does not say. */
const struct network *blkfile_network(const struct blkfile *f);
/* Bytes passed so far that belong to no record and no zero tail; complete after blkfile_next said false. */
uint64_t blkfile_garbage_sz(const struct blkfile *f);

#endif
