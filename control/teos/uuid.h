/* uuid.h - the name of one user's appointment for one locator: RIPEMD-160 over locator || user id (spec/teos.md
   section 5.4).

   Threads  Any thread. */
#ifndef VIGIL_TEOS_UUID_H
#define VIGIL_TEOS_UUID_H

#include "btc/hash.h"
#include "teos/ids.h"

struct uuid uuid_of(const struct locator *l, const struct user_id *user);

#endif
