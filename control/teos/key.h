/* key.h - the tower's own key: 32 raw bytes in a file that only its owner can read.

   Threads  tower_key_open and tower_key_free from one thread; a key may be read from any thread in between.
   Secrets  The key lies in guarded, locked memory that is wiped when it is freed, and never leaves it except through
            sig_sign. */
#ifndef VIGIL_TEOS_KEY_H
#define VIGIL_TEOS_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "teos/ids.h"

#define TOWER_KEY_SZ 32u

struct tower_key {
	uint8_t secret[TOWER_KEY_SZ];
	struct user_id id; /* the public key, the tower's id */
};

/* Loads the key at path.  If there is no such file and `create` is set, makes a new key there: written to a temporary
   file beside it (mode 0600), synced, and put in place with the directory synced too, so that a key that was
   ever used is on disk whole.  An existing file is never overwritten.
   0, or -errno with a sentence for the operator in why[0..why_sz): -ENOENT no file and not `create`; -EPERM not
   a plain file, not ours, or others may read it; -EINVAL wrong size or not a usable key; others as the
   system said. */
int tower_key_open(struct tower_key **out, const char *path, bool create, char *why, size_t why_sz);
/* Makes a new key in place of the one at path, which stays beside it as PATH.old-1 (or the next number that is free) and is
   not used any more; clients of the old key will call the tower another one.  Without a key there it is as
   tower_key_open with `create`.  A crash leaves the old key or the new one in place, whole.  Errors as there. */
int tower_key_replace(struct tower_key **out, const char *path, char *why, size_t why_sz);
void tower_key_free(struct tower_key *k);

#endif
