/* rpc_priv.h - what the files of rpc/ share; tests may look too. */
#ifndef VIGIL_RPC_RPC_PRIV_H
#define VIGIL_RPC_RPC_PRIV_H

#include "rpc/call.h"
#include "rpc/rpc.h"

struct rpc_limits {
	unsigned client_max;
	size_t request_max;  /* bytes */
	size_t unread_max;   /* bytes that wait for a client before its requests wait too */
	uint64_t request_ms; /* from a request's first byte to its last */
	uint64_t write_ms;   /* without the client taking a byte */
	uint64_t sweep_ms;   /* how often deadlines are looked at */
};

/* Behind the methods' call->ctx. */
struct rpc_ctx {
	struct rpc_env env;
	const struct rpc_info *info;
	bool stop_wanted;
};

/* The table that the socket serves. */
extern const struct rpc_method rpc_methods[];
extern const size_t rpc_method_cnt;

/* For tests, before the first client. */
void rpc_set_limits(struct rpc *r, const struct rpc_limits *l);

/* views.c: the handlers that give out pages of rows. */
#define RPC_KEYS_PAGE_MAX  10000u /* rows of a few bytes */
#define RPC_ROWS_PAGE_MAX  1000u
#define RPC_ROWS_PAGE      100u /* when no limit is given */
#define RPC_PAGE_BYTES_MAX (1u << 20)
#define RPC_APPT_KEY_SZ    (LOCATOR_SZ + USER_ID_SZ)

struct rpc_done rpc_getusers(struct rpc_call *call);
struct rpc_done rpc_getuser(struct rpc_call *call);
struct rpc_done rpc_getappointments(struct rpc_call *call);
struct rpc_done rpc_getallappointments(struct rpc_call *call);
struct rpc_done rpc_getlocators(struct rpc_call *call);
struct rpc_done rpc_gettrackers(struct rpc_call *call);

/* counters.c */
struct rpc_done rpc_scanstale(struct rpc_call *call);
struct rpc_done rpc_getstalescan(struct rpc_call *call);
struct rpc_done rpc_getcounters(struct rpc_call *call);
struct rpc_done rpc_getslowlog(struct rpc_call *call);

/* checkpoint.c */
struct rpc_done rpc_checkpoint(struct rpc_call *call);
struct rpc_done rpc_getcheckpoint(struct rpc_call *call);

/* NULL only when memory is out.  rpc_json_ascii replaces what is not printable ASCII. */
json_t *rpc_json_hex(const uint8_t *p, size_t sz);
json_t *rpc_json_hash(const struct hash256 *h);
json_t *rpc_json_ascii(const char *text, size_t max);

#endif
