/* api_priv.h - one request on its way through api/.

   A call is made by an HTTP thread when the headers are in, belongs to that thread while the body arrives, to the
   state thread while it is in the queue or with the tower, and to an HTTP thread again once its connection was
   resumed.  The hand-overs are the queue's lock and `stage`, so that the other fields need no lock. */
#ifndef VIGIL_API_API_PRIV_H
#define VIGIL_API_API_PRIV_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "api/decode.h"
#include "api/refusal.h"

struct api_call;

/* What tells one endpoint from another.  A new endpoint is a row here and its three functions. */
struct api_route {
	const char *segment; /* of the path */
	const char *method;
	enum api_endpoint endpoint;
	uint32_t body_max; /* 0: the configured limit */
	/* HTTP thread, body decoded: checks that need no state.  API_OK or the refusal, as by api_refuse. */
	enum api_code (*check)(struct api_call *c);
	/* State thread: asks the tower.  False: call->problem is final; true: api_call_finish follows by itself. */
	bool (*run)(struct api_call *c);
	/* HTTP thread, no problem: the answer's JSON (malloc'ed), or NULL when something failed. */
	char *(*reply)(struct api_call *c);
};
extern const struct api_route api_routes[API_ENDPOINT_CNT];

enum api_stage {
	API_READING, /* the body is arriving */
	API_RUNNING, /* queued or with the tower; the connection is suspended */
	API_READY    /* answer it */
};

struct api_conn {
	struct api_conn *next, *prev; /* under api->lock */
	int fd;
	uint64_t since_ns; /* when the request that is due now began; under api->lock */
	bool held;         /* the client is not the one we wait for; under api->lock */
	bool begun;        /* the headers of a request are in, and it is not answered; under api->lock */
	bool cut;          /* shut down by us, about to be closed; under api->lock */
};

struct api_call {
	struct api *api;
	struct api_call *next; /* in the queue */
	struct MHD_Connection *http;
	struct api_conn *conn;
	const struct api_route *route; /* NULL: refused by its path */
	uint64_t begun_ns;             /* when it was first submitted; 0: not yet */
	_Atomic enum api_stage stage;  /* API_READY is the last thing that the state thread writes */

	unsigned transport_status;         /* of a refusal by the headers; 0 otherwise */
	struct api_problem problem;        /* code API_OK: none */
	enum client_generation generation; /* by the User-Agent, until the body or the tower knows better */
	bool expired;
	bool last; /* the connection is closed after the answer */

	uint8_t *body;
	size_t body_sz, body_cap; /* cap counts in api->body_bytes */
	bool discard;             /* refused already; the body is read and forgotten */

	struct api_request req;
	struct user_id user; /* whose key signed */
	struct user_id
		user_raw; /* get_appointment: ... the locator as received, when that has upper-case digits */
	bool has_user_raw;

	struct tower_user_info info;  /* register, get_subscription_info */
	struct tower_add_reply added; /* add_appointment */
	bool is_tracker;              /* get_appointment: copies of what the tower found */
	struct hash256 dispute, penalty;
	uint32_t to_self_delay;
	uint8_t *data; /* blob, or raw penalty; get_subscription_info: locators */
	size_t data_sz, data_cap;
	bool listing; /* get_subscription_info: the user is known, and a part of the list may be there */
};

struct api {
	struct api_config cfg;
	char bind[64];
	uv_loop_t *loop;
	struct tower *tower;
	const struct tower_key *key;

	int listen_fd;
	uint16_t port;
	struct MHD_Daemon *daemon; /* NULL: not open */
	unsigned handles;          /* uv handles not closed yet */
	uv_async_t wake;
	uv_timer_t tick;

	pthread_mutex_t lock;
	struct api_call *queue_head, **queue_tail; /* under lock */
	struct api_conn *conns;                    /* under lock */
	uint32_t conn_cnt, cut_cnt;                /* under lock */
	uint64_t no_idle_ns;                       /* when none was found to be closed; under lock */

	atomic_bool stopping;
	atomic_bool closing;       /* no call may be handed to the state thread any more */
	_Atomic uint32_t call_cnt; /* calls that exist */
	uint32_t running_cnt;      /* of these, with the tower; state thread */
	_Atomic size_t body_bytes;
	uint64_t stop_ns;
	void (*stop_done)(void *arg);
	void *stop_arg;

	_Atomic uint64_t connections_total, requests_total, cut_total;
	struct {
		_Atomic uint64_t ok_total, refused_total, unavailable_total;
	} answers[API_ENDPOINT_CNT + 1]; /* the last: paths that are no endpoint */
};

uint64_t api_now_ns(void);

/* Connections beyond the limit that are taken so that they get an answer, if only that there is no place. */
static inline uint32_t api_spare(const struct api_config *cfg)
{
	uint32_t n = cfg->max_connections / 4;

	return n < 8 ? 8 : n > 1024 ? 1024 : n;
}
/* HTTP thread: there is a place for a request that has arrived, if need be that of a connection nobody uses. */
bool api_place(struct api *a);

enum api_code api_refuse(struct api_call *c, enum api_code code, const char *why);
/* A tower's refusal as the call's problem; none for TOWER_OK and TOWER_PENDING.  auth_text NULL: the usual words. */
enum api_code api_refuse_status(struct api_call *c, enum tower_status st, const char *auth_text);
/* State thread: who asks, by the key that signed.  Sets c->user, c->info, c->expired and, if known, c->generation. */
enum tower_status api_known_user(struct api_call *c);
/* State thread, from run, which then returns true: runs the call again in the loop's next turn. */
void api_call_again(struct api_call *c);

/* get_subscription_info (subscription.c). */
enum api_code api_subscription_check(struct api_call *c);
bool api_subscription_run(struct api_call *c);
char *api_subscription_reply(struct api_call *c);

/* State thread: the tower has spoken; hands the call back to an HTTP thread. */
void api_call_finish(struct api_call *c);
/* HTTP thread: hands a decoded call to the state thread.  The connection is suspended already. */
void api_call_submit(struct api_call *c);

/* HTTP side (http.c). */
bool api_http_start(struct api *a, const char **why);

#endif
