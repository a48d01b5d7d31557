/* fake_node.h - an HTTP server on loopback, in the test's own loop, that answers as a script says. */
#ifndef FAKE_NODE_H
#define FAKE_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum fake_action { FAKE_SEND, FAKE_CLOSE, FAKE_HANG };

struct fake_request {
	const char *method;
	const char *body;
	const char *auth; /* value of the Authorization header, "" without one */
	unsigned nth;     /* at this node, from 1: of the probes, of the transactions, or of all others */
	unsigned conn;    /* number of the connection it came by, from 1 */
};

struct fake_reply {
	enum fake_action action;
	int status;
	const char *body;
	bool then_close; /* close after the answer, without saying so beforehand */
};

struct fake_node {
	uv_loop_t *loop;
	uv_tcp_t server;
	uint16_t port;
	void (*script)(struct fake_node *n, const struct fake_request *q, struct fake_reply *r);
	void *arg;
	unsigned sends, probes, lookups, conns;
	unsigned in_flight, in_flight_most;
	uint64_t delay_ms; /* before each answer to sendrawtransaction */
	void *conn_list;
};

/* port 0: any. */
void fake_node_start(struct fake_node *n, uv_loop_t *loop, uint16_t port);
/* Closes the server and its connections. */
void fake_node_stop(struct fake_node *n);

#endif
