/* net_role.h - the net lcore: port and TCP below, sync above, block buffers in between.

   Threads  net_role_poll and everything it calls: the net lcore.  net_role_command, net_role_done and
            net_role_note: the main lcore.  net_role_new and net_role_free: start-up and after the lcores stopped. */
#ifndef VIGIL_TOPO_NET_ROLE_H
#define VIGIL_TOPO_NET_ROLE_H

#include "topo/messages.h"
#include "topo/options.h"

struct net_role;

/* NULL with *why when the port or memory refuses. */
struct net_role *net_role_new(const struct options *o, struct scan *scan, const char **why);
void net_role_free(struct net_role *r);

/* One turn; returns false when there was nothing to do.  Sets *handed when something was given to another lcore:
   an event to the scan, a note to the main lcore. */
bool net_role_poll(struct net_role *r, uint64_t now_ns, bool *handed);

/* False: no room now; the command and its data stay the caller's. */
bool net_role_command(struct net_role *r, const struct net_cmd *c);
/* Gives an event back with its verdict; there is always room. */
void net_role_done(struct net_role *r, const struct net_done *d);
/* The next note, or false. */
bool net_role_note(struct net_role *r, struct net_note *n);

#endif
