/* tor.h - makes the tower's HTTP API an onion service, through the control port of a Tor that the operator runs.

   Service  Version 3, by ADD_ONION, neither detached nor kept by Tor: it lives as long as our connection, and goes by
            DEL_ONION when the tower stops.  Its key is ours (onion.h), so the address stays the same.  The clearnet
            address stays open as configured; bind it to loopback for a tower that is reached by Tor alone.
   Proof    What Tor offers decides (PROTOCOLINFO): a password where one is configured, else SAFECOOKIE, else nothing.
            Plain COOKIE is not spoken: it would hand a file's content to whoever listens at the port.
   Loss     Tor that is not there, refuses us or ends is tried again after 1 s doubling to a minute with jitter, for
            ever: a tower does not stop for it.  Every step has timeout_ms.
   Threads  The state thread only, on its loop.  The cookie file is small and local, and read on it.
   Secrets  Key, password and cookie are never logged. */
#ifndef VIGIL_TOR_TOR_H
#define VIGIL_TOR_TOR_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "tor/onion.h"

struct tor;

/* All texts are copied. */
struct tor_config {
	const char *control;  /* address:port, [IPv6]:port, or the path of a Unix socket */
	const char *password; /* "": none */
	const char *cookie;   /* path; "": where Tor says it is */
	const char *key_file;
	uint16_t onion_port;     /* of the service */
	const char *target_host; /* the API's address; that of all interfaces means loopback */
	uint16_t target_port;
	unsigned timeout_ms, retry_ms; /* 0 means 30000 and 1000 */
};

enum tor_state { TOR_DOWN, TOR_CONNECTING, TOR_AUTHENTICATING, TOR_ADDING, TOR_UP };
static inline const char *tor_state_name(enum tor_state s)
{
	static const char *const names[] = {[TOR_DOWN] = "down",
					    [TOR_CONNECTING] = "connecting",
					    [TOR_AUTHENTICATING] = "authenticating",
					    [TOR_ADDING] = "adding the service",
					    [TOR_UP] = "up"};

	return names[s];
}

struct tor_info {
	enum tor_state state;
	char address[ONION_ADDRESS_SZ + 6]; /* with ".onion"; known from the key, whatever the state */
	uint16_t port;
	char error[160];       /* why it is not up; "" */
	uint64_t ups_total;    /* times the service was set up */
	uint64_t losses_total; /* times it was lost after that */
};

/* Opens the key, or makes one.  NULL with *why set (static text). */
struct tor *tor_new(const struct tor_config *cfg, uv_loop_t *loop, const char **why);
void tor_start(struct tor *t);
/* Takes the service down and closes the connection, without waiting for either; the memory is released by the loop's
   next turns. */
void tor_free(struct tor *t);

/* Valid and up to date as long as the tor. */
const struct tor_info *tor_info_of(const struct tor *t);

#endif
