/* kill_point.h - names places where a test wants the process to die.

   A program that is installed has no kill_point(): the symbol is weak, nobody defines it, and KILL_POINT is one test of a
   constant.  The programs of tests/kill/ are the same objects linked with a kill_point() that ends the process,
   as kill -9 does, when VIGIL_KILL_AT says so.

   Names    module:place, where the module is the one that the place is in; tests/e2e/lab/crash.py lists them all.
   Cost     For places that are passed once for a record, a batch or a block; never for a packet or a transaction.
   Threads  Any. */
#ifndef VIGIL_KILL_KILL_POINT_H
#define VIGIL_KILL_KILL_POINT_H

void kill_point(const char *name) __attribute__((weak));

#define KILL_POINT(name)                  \
	do {                              \
		if (kill_point)           \
			kill_point(name); \
	} while (0)

#endif
