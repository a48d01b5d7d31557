/* rpc.h - the control socket: JSON-RPC 2.0 over a Unix stream socket of mode 0600.

   Threads  The state thread only, on its loop; handlers run to their end in one turn.
   Framing  In: JSON objects, one after the other, with or without white space between them.  Out: one JSON object
            a line.  Answers come in the order of the requests.  Batches (arrays) are answered with an error.
   Limits   64 clients; a request of 1 MiB nested 32 deep; 30 s to finish a request once begun.  A client that
            does not read is not read from any more once 256 KiB wait for it, and is dropped when it has taken
            nothing for 30 s.  Text that is not JSON is answered with -32700 and ends the connection.
   Pages    Lists are given in pages: params {after, limit}, reply {..., next}; next is null on the last page.  A page
            also ends before it grows beyond 1 MiB, so no answer is larger than that and one row.
   Signals  The process must ignore SIGPIPE.
   Secrets  Nothing a handler gives out is one (invariant I7): blobs are given as received. */
#ifndef VIGIL_RPC_RPC_H
#define VIGIL_RPC_RPC_H

#include <uv.h>

#include "alert/alert.h"
#include "api/api.h"
#include "carrier/carrier.h"
#include "feed/feed.h"
#include "tor/tor.h"
#include "tower/tower.h"

struct rpc;

struct rpc_address {
	const char *type; /* ipv4, ipv6, torv3 */
	const char *address;
	uint16_t port;
};

/* What the methods answer from.  Everything is borrowed and must outlive the rpc object. */
struct rpc_env {
	struct tower *tower;
	struct feed *feed;
	struct carrier *carrier;
	const struct alert_info *alert; /* NULL: none */
	const struct tor_info *tor;     /* NULL: none */
	struct api *api;
	struct store *store;
	const struct network *network;
	struct user_id tower_id;
	const struct rpc_address *addresses; /* where clients reach the tower */
	unsigned address_cnt;
	void (*stop)(void *arg); /* begins an orderly shutdown; the answer is sent before the socket closes */
	void *stop_arg;
};

/* Listens on path.  A socket file that nobody answers is replaced; a live one, or a file that is no socket, is an
   error.  NULL with *why set (text valid until the next call). */
struct rpc *rpc_new(uv_loop_t *loop, const char *path, const struct rpc_env *env, const char **why);
/* Stops listening, removes the socket file if it is still ours, gives the clients 1 s to take what waits for them and
   closes; the memory is released by the loop's next turns.  The env may be freed right after this call. */
void rpc_free(struct rpc *r);

struct rpc_info {
	unsigned client_cnt;
	uint64_t clients_total, requests_total, errors_total, dropped_total /* rubbish, too slow, too many */;
};
void rpc_info_get(const struct rpc *r, struct rpc_info *out);

#endif
