/* link_role.h - the main lcore: the listening end of the link, and the state of a session with control.

   Threads  The main lcore.
   States   LISTEN: no control.  HELLO: connected, its HELLO not yet read.  LOAD: locators may come, START has not.
            RUN: after START.  END: the link is gone; the net lcore stops, the shards are emptied, and what was
            on its way is thrown away; then LISTEN again.  Control starts the session over from its store. */
#ifndef VIGIL_TOPO_LINK_ROLE_H
#define VIGIL_TOPO_LINK_ROLE_H

#include "topo/net_role.h"

struct link_role;

/* Binds the socket (mode 0600).  NULL with *why: another dataplane lives there, no such directory, ... */
struct link_role *link_role_new(const struct options *o, const char *kernel, unsigned shard_cnt,
				struct scan *scan, struct net_role *net, const char **why);
/* Closes the link and unlinks the socket. */
void link_role_free(struct link_role *r);
bool link_role_poll(struct link_role *r, uint64_t now_ns);
/* Readable when control has something to say, or is there at last; -1 when that would not be looked at now. */
int link_role_fd(const struct link_role *r);

#endif
