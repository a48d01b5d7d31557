/* whole.h - the dataplane's scan as the dataplane runs it: whole blocks in by scan_submit, events out by
   scan_output, over any number of scan lcores.

   Lcores   The main lcore plays the net lcore, the link and scan lcore 0; every other scan lcore is a lcore of the
            EAL with a CPU of its own.  Several scans may exist, with different numbers of lcores; the crew works
            for one of them at a time, or for none and naps.
   Memory   A scan keeps its index until whole_free; blocks belong to the set. */
#ifndef VIGIL_BENCH_SCAN_WHOLE_H
#define VIGIL_BENCH_SCAN_WHOLE_H

#include "scan/set.h"

struct whole;

/* Starts the EAL on up to `lcores` of the CPUs that this process may use.  Returns how many it got, 0 on failure. */
unsigned crew_start(unsigned lcores);
/* Ends the other lcores; no scan may be used after it. */
void crew_stop(void);

/* A scan over so many lcores that watches the set's planted locators and decoy_cnt others, and has tidied its
   index as an idle one does.  NULL when memory is out. */
struct whole *whole_new(const struct txid_kernel *kernel, unsigned lcores, const struct set *set,
			uint64_t decoy_cnt);
void whole_free(struct whole *w);

/* Makes w, or with NULL no scan, the one that the crew works for. */
void whole_use(struct whole *w);

/* Scans every block of the set once; w is in use.  False if a block came out in the wrong order, refused, or with other
   hits than planted. */
bool whole_pass(struct whole *w, const struct set *set);

#endif
