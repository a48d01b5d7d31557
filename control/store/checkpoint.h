/* checkpoint.h - the work of store_checkpoint_begin: a copy of an open database in a folder of its own, on a thread.

   Threads  One caller; the database may be read and written while it runs, not closed. */
#ifndef VIGIL_STORE_CHECKPOINT_H
#define VIGIL_STORE_CHECKPOINT_H

#include <pthread.h>

#include "store/store.h"

struct db;

struct checkpoint {
	pthread_t thread;
	bool joinable; /* begun and not joined */
	struct db *db;
	uint64_t reserve;
	pthread_mutex_t lock; /* of what follows */
	struct store_checkpoint info;
};

void checkpoint_init(struct checkpoint *c, struct db *d);
/* As store_checkpoint_begin; reserve: bytes that must stay free for the store. */
int checkpoint_begin(struct checkpoint *c, const char *dir, uint64_t reserve);
void checkpoint_get(struct checkpoint *c, struct store_checkpoint *out);
/* Until none runs. */
void checkpoint_wait(struct checkpoint *c);
void checkpoint_fini(struct checkpoint *c);

#endif
