/* client.h - one connection to vigild's control socket, blocking with deadlines.

   Errors   Every failure is one sentence in why, valid until the next call; the caller decides what it is worth. */
#ifndef VIGIL_CLI_CLIENT_H
#define VIGIL_CLI_CLIENT_H

#include <jansson.h>

enum client_status {
	CLIENT_OK,
	CLIENT_ERROR,    /* the server answered with an error: *reply is its error object */
	CLIENT_NO_SERVER /* nobody there, gone, too slow, or not a control socket */
};

struct client {
	int fd;
	unsigned timeout_ms; /* for each call */
	char *buf;
	size_t sz, cap;
	long long id;
	char why[256];
};

enum client_status client_open(struct client *c, const char *path, unsigned timeout_ms);
void client_close(struct client *c);
/* Borrows params (an array or an object).  CLIENT_OK: *reply is the result.  The caller releases *reply. */
enum client_status client_call(struct client *c, const char *method, json_t *params, json_t **reply);

#endif
