/* locators.h - the list of locators to look for, from a text file.

   One locator a line, 32 hex digits of either case; blanks around it, blank lines and what follows '#' do not count.
   A locator that stands there twice is looked for once.
   Threads  One.
   Memory   One buffer, however long the file is. */
#ifndef VIGIL_RESCAN_LOCATORS_H
#define VIGIL_RESCAN_LOCATORS_H

#include <stdio.h>

#include "btc/hash.h"

#define LOCATORS_WHY_SZ 256u

/* Calls take for each locator, in file order; it answers false to stop.  False when the file cannot be read or a line is
   something else: why then names the line. */
bool locators_read(FILE *in, bool (*take)(void *arg, const struct locator *l), void *arg,
		   char why[LOCATORS_WHY_SZ]);

#endif
