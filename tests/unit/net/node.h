/* node.h - a process of a test with an EAL, a port and a stack of its own.

   EAL can be started once per process and does not survive fork, so a test forks two children before
   either starts its EAL, and judges them by their exit status. */
#ifndef VIGIL_TESTS_NET_NODE_H
#define VIGIL_TESTS_NET_NODE_H

#include "net/net.h"

#include <stdbool.h>
#include <stdint.h>

#define NODE_PORT 18444

struct node {
	struct net *net;
	bool server;
	const char *dir; /* of the test, gone after it */
};

/* What a child does; returns 0 for success.  Children print what went wrong. */
typedef int node_role(const struct node *self);

/* Runs server and client in two processes joined by memif; each has cfg_server / cfg_client (or NULL) for
   fault injection fields.  Fails the test when either fails or after a bound of time. */
void node_pair(node_role *server, node_role *client, const struct net_config *cfg_server,
	       const struct net_config *cfg_client);

/* The survivor runs to its end; meanwhile victims on the other side are killed, one after the other, each a
   little later than the one before after it has set the mark "busy".  The last one lives. */
void node_survives(node_role *survivor, bool is_server, node_role *victim, unsigned kills, node_role *last);

/* One child with EAL and the device arguments given, no net yet (self->net is NULL). */
void node_alone(node_role *role, const char *vdev);
/* The same where cmocka is not on the stack. */
bool node_run_alone(node_role *role, const char *vdev);

/* Time, in a unit that a test can bound things with. */
uint64_t node_now_ns(void);
/* Polls until *flag is set or ms have passed; sleeps when idle.  Returns *flag. */
bool node_run_until(struct net *n, const bool *flag, unsigned ms);
void node_run_for(struct net *n, unsigned ms);
void node_server_addr(struct net_addr *a);

/* Marks that one process sets and the other waits for, polling meanwhile: "listening", for a SYN before it
   would be refused, and whatever a test needs. */
bool node_mark(const struct node *self, const char *what);
bool node_await(const struct node *self, const char *what, unsigned ms);

/* The n-th byte of stream s, for content that tells when a byte is missing, doubled or moved. */
void node_fill(uint8_t *p, size_t sz, uint64_t stream, uint64_t at);
bool node_check(const uint8_t *p, size_t sz, uint64_t stream, uint64_t at);

#define NODE_REQUIRE(cond)                                                                                \
	do {                                                                                              \
		if (!(cond)) {                                                                            \
			fprintf(stderr, "%s:%d: %s: %s is false\n", __FILE__, __LINE__, __func__, #cond); \
			return 1;                                                                         \
		}                                                                                         \
	} while (0)

#endif
