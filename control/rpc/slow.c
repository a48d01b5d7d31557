/* slow.c - getslowlog: what took long, from the process's own ring (meter/meter.h). */
#include "rpc/rpc_priv.h"

#include <stdlib.h>

#include "meter/meter.h"

static json_t *row(const struct meter_slow *s)
{
	return json_pack("{s:I, s:s, s:I, s:I, s:o}", "seq", (json_int_t)s->seq, "what",
			 meter_infos[s->meter].name, "unix_ms", (json_int_t)s->unix_ms, "us",
			 (json_int_t)(s->ns / 1000), "detail", rpc_json_ascii(s->detail, sizeof(s->detail)));
}

struct rpc_done rpc_getslowlog(struct rpc_call *call)
{
	unsigned limit = call->arg[0].given ? (unsigned)call->arg[0].u : METER_SLOW_CNT;
	struct meter_slow *last = calloc(METER_SLOW_CNT, sizeof(*last)), top;
	json_t *events = json_array(), *slowest = json_array();
	uint64_t total = 0;
	unsigned n = last != NULL ? meter_slow_read(last, limit, &total) : 0;

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(events, row(&last[i]));
	for (unsigned m = 0; m < METER_CNT; m++)
		if (meter_slowest((enum meter)m, &top))
			json_array_append_new(slowest, row(&top));
	free(last);
	return rpc_result(json_pack("{s:I, s:I, s:o, s:o}", "threshold_us",
				    (json_int_t)(meter_slow_threshold() / 1000), "total", (json_int_t)total,
				    "slowest", slowest, "events", events));
}
