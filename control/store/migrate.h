/* migrate.h - which format a store has, and how an older one becomes this one's.

   Format   One number for all rows of the store, in the row "format" of meta: {1, number}.  There has been one so far, 1,
            so store_migrations is empty: what an older store looks like will be known when there is one.  Whoever
            changes the meaning of a row adds 1 to STORE_FORMAT and the entries that bring the rows along.
   Steps    From n to n + 1 by all entries with from = n, in their order; then on, up to the current format.
   Batches  An entry walks one column family.  Its rows are rewritten in batches of at most MIGRATE_ROWS rows or
            MIGRATE_BYTES, each atomic together with how far it came: while a step is under way the format row is
            {1, n + 1, number of the entry, key of the last row done}.  A crash goes on behind that row, and every
            row is given to the entry exactly once.  The longer row also keeps an older vigild from opening what is
            half migrated.
   Sync     The batch that ends a step is synced, and with it all before.
   Errors   A row that does not decode ends the migration: the store stays as it is, half migrated or not, and
            opening it says which row.  A store of a newer format, or of one that no entry leads on from, is
            refused untouched. */
#ifndef VIGIL_STORE_MIGRATE_H
#define VIGIL_STORE_MIGRATE_H

#include "store/store.h"

#define MIGRATE_ROWS  1000u
#define MIGRATE_BYTES (1u << 20)

struct migration {
	uint32_t from;
	enum store_cf cf;
	/* Puts into b what the row becomes: may change or delete it and write to other column families, but not make a
	   new row of this one that sorts behind it (it would be walked again).  False: it does not decode. */
	bool (*row)(struct store_batch *b, struct slice key, struct slice value);
};

/* What a program knows: its own format, and the way there. */
struct formats {
	uint32_t current;
	const struct migration *step;
	size_t step_cnt;
};
extern const struct formats store_formats;

/* store_open with other formats than this program's. */
int store_open_as(struct store **out, const char *dir, const struct formats *f, const char **why);

#endif
