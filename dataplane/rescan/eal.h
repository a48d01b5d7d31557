/* eal.h - DPDK's environment without huge pages, devices, files or rights: the scan's rings need its memory.

   Threads  Start-up only.  The caller keeps its CPUs: EAL would leave it pinned to one. */
#ifndef VIGIL_RESCAN_EAL_H
#define VIGIL_RESCAN_EAL_H

#include <stdbool.h>

/* Room for that many scan threads.  False with a reason in *why. */
bool eal_start(unsigned threads, const char **why);

#endif
