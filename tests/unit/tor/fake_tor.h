/* fake_tor.h - a Tor control port in the test's own loop.  It holds every line to the control specification (commands that
   may come, their order, their syntax, CRLF), checks proofs with OpenSSL, and answers as told. */
#ifndef FAKE_TOR_H
#define FAKE_TOR_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct fake_tor {
	/* What it is; set before start. */
	const char *methods;     /* of PROTOCOLINFO */
	const char *cookie_file; /* shown, quoted; NULL: none */
	uint8_t cookie[32];
	const char *password;
	/* How it misbehaves. */
	const char *greeting;   /* instead of the answer to PROTOCOLINFO */
	const char *add_error;  /* instead of the answer to ADD_ONION */
	const char *service_id; /* instead of the right one */
	bool wrong_server_hash, silent, drip /* a byte at a time */;
	unsigned cut_after_add; /* close so many connections right after the service is up */

	/* What it saw. */
	uint16_t port;
	unsigned conns, open_conns, auths, adds, dels, quits;
	char last_key[128], last_port[64], last_del[64];
	char fault[256]; /* the first line that broke the specification; "" */
	char last_line[512];

	uv_loop_t *loop;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} server;
	void *conn_list;
};

/* port 0: any; path not NULL: a Unix socket. */
void fake_tor_start(struct fake_tor *f, uv_loop_t *loop, uint16_t port, const char *path);
/* Closes the server and its connections. */
void fake_tor_stop(struct fake_tor *f);

#endif
