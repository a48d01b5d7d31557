/* process.h - what every exporter tells about its own process, under the usual names (process_*).

   Threads  Any.  Reads a few files of /proc; what cannot be read is left out. */
#ifndef VIGIL_METRICS_PROCESS_H
#define VIGIL_METRICS_PROCESS_H

#include "metrics/expo.h"

void process_metrics(struct expo *e);

#endif
