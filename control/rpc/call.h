/* call.h - one JSON-RPC 2.0 request in, one answer out, by a table of methods.

   Threads  Any one thread; no state between calls.
   Answers  A handler must return a struct rpc_done, and only rpc_result and rpc_fail make one, so a handler that
            forgets to answer, or answers twice, does not compile.
   Input    The request is hostile.  Arguments reach a handler decoded, with type, length and range checked. */
#ifndef VIGIL_RPC_CALL_H
#define VIGIL_RPC_CALL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RPC_DEPTH_MAX 32u
#define RPC_PARAM_MAX 4u
#define RPC_HEX_MAX   64u /* bytes of the longest RPC_HEX parameter */

enum rpc_code {
	RPC_NOT_JSON = -32700,
	RPC_BAD_REQUEST = -32600,
	RPC_NO_METHOD = -32601,
	RPC_BAD_PARAMS = -32602,
	RPC_INTERNAL = -32603,
	RPC_BUSY = -32000,
	RPC_NOT_FOUND = -32001
};

/* --- finding the requests in the stream -------------------------------------------------------------------- */

enum rpc_cut {
	RPC_CUT_MORE,    /* no whole value yet */
	RPC_CUT_VALUE,   /* text[*start, *end) is one value by its brackets; whether it is JSON is seen later */
	RPC_CUT_RUBBISH, /* something that begins no object or array */
	RPC_CUT_DEEP     /* nested deeper than RPC_DEPTH_MAX */
};

/* Where the scan of a growing buffer stands; all zero to begin.  Looks at each byte once. */
struct rpc_scan {
	size_t pos, start;
	unsigned depth;
	bool in_string, escaped;
};

/* Goes on at s->pos.  After RPC_CUT_VALUE the next call looks behind that value. */
enum rpc_cut rpc_scan_next(struct rpc_scan *s, const char *text, size_t sz, size_t *start, size_t *end);
/* The first `sz` bytes of the buffer, all before s->start or s->pos, were removed. */
void rpc_scan_moved(struct rpc_scan *s, size_t sz);

/* --- methods ------------------------------------------------------------------------------------------------ */

enum rpc_type {
	RPC_HEX,   /* text of exactly 2*sz hex digits, either case */
	RPC_COUNT, /* integer, or its decimal text, from 1 to max */
	RPC_TEXT   /* text */
};

struct rpc_param {
	const char *name; /* NULL ends the list */
	enum rpc_type type;
	bool required;
	uint64_t max; /* RPC_HEX: sz; RPC_COUNT: largest value */
};

struct rpc_arg {
	bool given; /* null counts as not given */
	uint64_t u;
	uint8_t b[RPC_HEX_MAX];
	const char *text;
};

struct rpc_call {
	void *ctx; /* of the table */
	const struct rpc_table *table;
	struct rpc_arg arg[RPC_PARAM_MAX]; /* as in the method's list */
};

/* Made by rpc_result and rpc_fail only. */
struct rpc_done {
	json_t *result, *error;
};
/* Takes the reference.  NULL (out of memory) becomes an internal error. */
struct rpc_done rpc_result(json_t *result);
struct rpc_done rpc_fail(enum rpc_code code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct rpc_method {
	const char *name;
	const char *help; /* one line */
	struct rpc_done (*run)(struct rpc_call *call);
	struct rpc_param param[RPC_PARAM_MAX];
};

struct rpc_table {
	const struct rpc_method *method;
	size_t cnt;
	void *ctx;
};

/* Runs one request.  Returns the answer as a malloc'd line without its newline; NULL when nothing is to be said (a
   notification) or memory is out.  *not_json: the text was not JSON and the stream is not to be trusted
   further.  *failed: the answer is an error. */
char *rpc_answer(const struct rpc_table *t, const char *text, size_t sz, bool *not_json, bool *failed);
/* An error with id null, as a malloc'd line. */
char *rpc_error_line(enum rpc_code code, const char *message);

/* The handler of "help"; params {method}. */
struct rpc_done rpc_help(struct rpc_call *call);
#define RPC_HELP_METHOD                                                  \
	{                                                                \
		"help", "Lists the methods, or describes one", rpc_help, \
		{                                                        \
			{                                                \
				"method", RPC_TEXT, false, 0             \
			}                                                \
		}                                                        \
	}

#endif
