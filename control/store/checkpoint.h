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
	pthread_mutex_t lock; /* of what follows */
	struct store_checkpoint info;
};

void checkpoint_init(struct checkpoint *c, struct db *d);
int checkpoint_begin(struct checkpoint *c, const char *dir); /* as store_checkpoint_begin */
void checkpoint_get(struct checkpoint *c, struct store_checkpoint *out);
/* Until none runs. */
void checkpoint_wait(struct checkpoint *c);
void checkpoint_fini(struct checkpoint *c);

#endif
