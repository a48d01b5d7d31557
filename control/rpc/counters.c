/* counters.c - everything that is counted, for getcounters.

   "dataplane" holds the dataplane's own counters, named where they are counted.  "control" holds vigild's, in one
   object for each module.  What ends in _total is counted since the start of the process and never falls; the rest
   is as of now.

     http      connections             open ones
               connections_total       taken
               requests_total          begun; one whose body never arrives gets no answer, so this may pass the sum of the next three
               ok_total                answered 2xx
               refused_total           answered 4xx
               unavailable_total       answered 5xx
               cut_total               connections cut because a request took too long to arrive
               endpoints               the three outcomes by endpoint; "other" is every path that is none
     store     ok                      the last write and the last sync succeeded
               batches_total           written
               syncs_total             of the log; one serves many batches
               failures_total          writes and syncs that failed
               recoveries_total        times the store was opened again after a failure
     log       dropped_total           lines that could not be written
     feed      backlog                 records that wait for the link
               sessions_total          with the dataplane, that reached sync
               lost_total              of these, ended
               protocol_errors_total   sessions ended because the dataplane broke the contract
               add_errors_total        watches the dataplane could not take; each is tried again
               broadcasts_total        penalties handed to the link
               broadcasts_unsent_total refused for want of a link
     carrier   pending                 penalties under way to the nodes
     alert     queued                  events that wait for the alert command
               events_total            raised
               runs_total              of the command
               failures_total          of these, not started or ended with another status than 0
               timeouts_total          of these, stopped because they took too long
               suppressed_total        events that found the queue full
     tower     breaches_total          trackers created
               invalid_blobs_total     blobs that held no penalty for their dispute
               penalties_sent_total    taken by a peer or a node for the first time
               penalties_confirmed_total  in a block
               completed_total         trackers resolved
               blocks_total            connected
               reorg_blocks_total      disconnected
               overdue                 penalties not in a block although their dispute is deep, now
               escalations_total       steps of escalation of such penalties
     rpc       clients                 connected to the control socket now
               clients_total           connected ever
               requests_total          answered
               errors_total            of these, with an error
               dropped_total           clients dropped: rubbish, too slow, too many */
#include "rpc/rpc_priv.h"

#include "log/log.h"

static void put_u64(json_t *o, const char *name, uint64_t v)
{
	json_object_set_new(o, name, json_integer((json_int_t)v));
}

static json_t *http_counters(const struct api *api)
{
	json_t *o = json_object(), *endpoints = json_object();
	struct api_info i;

	api_info_get(api, &i);
	put_u64(o, "connections", i.connections);
	put_u64(o, "connections_total", i.connections_total);
	put_u64(o, "requests_total", i.requests_total);
	put_u64(o, "ok_total", i.ok_total);
	put_u64(o, "refused_total", i.refused_total);
	put_u64(o, "unavailable_total", i.unavailable_total);
	put_u64(o, "cut_total", i.cut_total);
	for (unsigned k = 0; k <= API_ENDPOINT_CNT; k++) {
		const struct api_outcomes *by = &i.by_endpoint[k];
		json_t *one = json_object();

		put_u64(one, "ok_total", by->ok_total);
		put_u64(one, "refused_total", by->refused_total);
		put_u64(one, "unavailable_total", by->unavailable_total);
		json_object_set_new(endpoints, by->endpoint, one);
	}
	json_object_set_new(o, "endpoints", endpoints);
	return o;
}

static json_t *store_counters(const struct store *s)
{
	json_t *o = json_object();
	struct store_stats st;

	store_stats_get(s, &st);
	json_object_set_new(o, "ok", json_boolean(store_ok(s)));
	put_u64(o, "batches_total", st.batches);
	put_u64(o, "syncs_total", st.syncs);
	put_u64(o, "failures_total", st.failures);
	put_u64(o, "recoveries_total", st.recoveries);
	return o;
}

static json_t *log_counters(void)
{
	json_t *o = json_object();

	put_u64(o, "dropped_total", log_dropped());
	return o;
}

static json_t *feed_counters(const struct feed *f)
{
	json_t *o = json_object();
	struct feed_info i;

	feed_info_get(f, &i);
	put_u64(o, "backlog", i.backlog_cnt);
	put_u64(o, "sessions_total", i.sessions_total);
	put_u64(o, "lost_total", i.lost_total);
	put_u64(o, "protocol_errors_total", i.protocol_errors_total);
	put_u64(o, "add_errors_total", i.add_errors_total);
	put_u64(o, "broadcasts_total", i.broadcasts_total);
	put_u64(o, "broadcasts_unsent_total", i.broadcasts_unsent_total);
	return o;
}

static json_t *carrier_counters(const struct carrier *c)
{
	json_t *o = json_object();

	put_u64(o, "pending", carrier_pending(c));
	return o;
}

static json_t *alert_counters(const struct alert_info *i)
{
	json_t *o = json_object();

	put_u64(o, "queued", i->queued);
	put_u64(o, "events_total", i->events_total);
	put_u64(o, "runs_total", i->runs_total);
	put_u64(o, "failures_total", i->failures_total);
	put_u64(o, "timeouts_total", i->timeouts_total);
	put_u64(o, "suppressed_total", i->suppressed_total);
	return o;
}

static json_t *tower_counters(struct tower *t)
{
	json_t *o = json_object();
	struct tower_info i;

	tower_info_get(t, &i);
	put_u64(o, "breaches_total", i.breaches_total);
	put_u64(o, "invalid_blobs_total", i.invalid_blobs_total);
	put_u64(o, "penalties_sent_total", i.penalties_sent_total);
	put_u64(o, "penalties_confirmed_total", i.penalties_confirmed_total);
	put_u64(o, "completed_total", i.completed_total);
	put_u64(o, "blocks_total", i.blocks_total);
	put_u64(o, "reorg_blocks_total", i.reorg_blocks_total);
	put_u64(o, "overdue", i.overdue);
	put_u64(o, "escalations_total", i.escalations_total);
	return o;
}

static json_t *socket_counters(const struct rpc_info *i)
{
	json_t *o = json_object();

	put_u64(o, "clients", i->client_cnt);
	put_u64(o, "clients_total", i->clients_total);
	put_u64(o, "requests_total", i->requests_total);
	put_u64(o, "errors_total", i->errors_total);
	put_u64(o, "dropped_total", i->dropped_total);
	return o;
}

static void put_stat(void *arg, const struct link_stat *s)
{
	char name[sizeof(s->name) + 1] = {0};

	memcpy(name, s->name, sizeof(s->name));
	put_u64(arg, name, s->value);
}

struct rpc_done rpc_getcounters(struct rpc_call *call)
{
	const struct rpc_ctx *ctx = call->ctx;
	const struct rpc_env *env = &ctx->env;
	json_t *control = json_object(), *dataplane = json_object();

	json_object_set_new(control, "http", http_counters(env->api));
	json_object_set_new(control, "store", store_counters(env->store));
	json_object_set_new(control, "log", log_counters());
	json_object_set_new(control, "feed", feed_counters(env->feed));
	json_object_set_new(control, "carrier", carrier_counters(env->carrier));
	if (env->alert != NULL)
		json_object_set_new(control, "alert", alert_counters(env->alert));
	json_object_set_new(control, "tower", tower_counters(env->tower));
	json_object_set_new(control, "rpc", socket_counters(ctx->info));
	feed_each_stat(env->feed, put_stat, dataplane);
	return rpc_result(json_pack("{s:o, s:o}", "control", control, "dataplane", dataplane));
}
