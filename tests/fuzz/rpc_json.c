/* rpc_json.c - a client's stream on the control socket: however it is cut into pieces, the same requests are found,
   each one is answered at most once with well-formed JSON, and the scan looks at each byte once.

   The first byte of the input chooses the size of the pieces. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/call.h"

#define SUM_SEED 14695981039346656037ull

/* Repeats what it was given, so that arguments of every type reach a handler. */
static struct rpc_done echo(struct rpc_call *call)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < RPC_PARAM_MAX; i++) {
		const struct rpc_arg *a = &call->arg[i];

		json_array_append_new(list, json_pack("{s:b, s:I, s:i, s:s?}", "given", (int)a->given, "count",
						      (json_int_t)a->u, "byte", (int)a->b[0], "text", a->text));
	}
	return rpc_result(list);
}

static struct rpc_done refuse(struct rpc_call *call)
{
	return rpc_fail(RPC_NOT_FOUND, "refused: %s", call->arg[0].text);
}

static const struct rpc_method methods[] = {
	{"echo",
	 "Repeats its arguments",
	 echo,
	 {{"hex", RPC_HEX, false, 16}, {"count", RPC_COUNT, false, 1000}, {"text", RPC_TEXT, false, 0}}},
	{"refuse", "Always fails", refuse, {{"why", RPC_TEXT, true, 0}}},
	RPC_HELP_METHOD,
};
static const struct rpc_table table = {methods, sizeof(methods) / sizeof(methods[0]), NULL};

static uint64_t sum_of(uint64_t sum, const char *p, size_t sz)
{
	for (size_t i = 0; i < sz; i++)
		sum = (sum ^ (uint8_t)p[i]) * 1099511628211ull;
	return sum;
}

static void check_answer(const char *line, bool not_json, bool failed)
{
	json_t *j = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	json_t *error = json_object_get(j, "error");

	assert(json_is_object(j));
	assert(strchr(line, '\n') == NULL);
	assert((json_object_get(j, "result") == NULL) == (error != NULL));
	assert(failed == (error != NULL));
	assert(json_object_get(j, "id") != NULL);
	if (not_json)
		assert(json_integer_value(json_object_get(error, "code")) == RPC_NOT_JSON);
	json_decref(j);
}

/* One request; returns false when the connection would be closed. */
static bool request(const char *p, size_t sz, uint64_t *sum)
{
	bool not_json, failed;
	char *line = rpc_answer(&table, p, sz, &not_json, &failed);

	*sum = sum_of(*sum, p, sz);
	if (line != NULL) {
		check_answer(line, not_json, failed);
		*sum = sum_of(*sum, line, strlen(line));
	}
	free(line);
	return !not_json;
}

/* Reads the stream as the server does, in pieces of at most `piece` bytes.  Returns a sum over requests, answers and
   the way it ended. */
static uint64_t run(const char *text, size_t sz, size_t piece)
{
	struct rpc_scan scan = {0};
	uint64_t sum = SUM_SEED;
	size_t base = 0, have = 0, start, end;
	enum rpc_cut cut = RPC_CUT_MORE;

	while (have < sz) {
		have = sz - have > piece ? have + piece : sz;
		/* A copy of its exact size, so that a read behind it is seen. */
		char *buf = malloc(have - base);
		size_t gone = 0;

		assert(buf != NULL);
		memcpy(buf, text + base, have - base);
		while ((cut = rpc_scan_next(&scan, buf, have - base, &start, &end)) == RPC_CUT_VALUE) {
			assert(start >= gone && start < end && end <= have - base);
			if (!request(buf + start, end - start, &sum)) {
				free(buf);
				return sum;
			}
			gone = end;
		}
		assert(cut != RPC_CUT_MORE || scan.pos == have - base);
		free(buf);
		if (cut != RPC_CUT_MORE)
			break;
		rpc_scan_moved(&scan, gone);
		base += gone;
	}
	return sum_of(sum, (const char *)&cut, sizeof(cut));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	if (sz < 1 || sz > 65536)
		return 0;
	assert(run((const char *)data + 1, sz - 1, sz) ==
	       run((const char *)data + 1, sz - 1, 1u + data[0] % 64));
	return 0;
}
