/* text.c - which number stands under which name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log/log.h"
#include "meter/meter.h"
#include "metrics/expo.h"
#include "metrics/metrics.h"
#include "metrics/process.h"
#include "store/store.h"

#define L(...)                      \
	(const struct expo_label[]) \
	{                           \
		__VA_ARGS__,        \
		{                   \
			NULL, NULL  \
		}                   \
	}

static void put_build(struct expo *e, const struct metrics_env *env)
{
	expo_family(e, "vigil_build_info", EXPO_GAUGE, "Always 1; the version and the network are its labels.");
	expo_u64(e, L({"version", VIGIL_VERSION}, {"network", env->network->name}), 1);
}

static void put_chain(struct expo *e, const struct tower_info *ti, const struct feed_info *fi)
{
	uint32_t best = fi->has_chain ? fi->chain.best_header_height : ti->tip_height;
	uint32_t lag = best > ti->tip_height ? best - ti->tip_height : 0;

	expo_one(e, "vigil_chain_height", EXPO_GAUGE, "Height of the last block whose effects are applied.",
		 ti->has_tip ? ti->tip_height : 0);
	expo_one(e, "vigil_chain_best_header_height", EXPO_GAUGE, "Height of the best header known.", best);
	expo_one(e, "vigil_chain_lag_blocks", EXPO_GAUGE,
		 "Blocks between the best header and the last applied.", ti->has_tip ? lag : best);
	expo_one(e, "vigil_chain_synced", EXPO_GAUGE, "1 while the dataplane is at the best tip of a node.",
		 fi->has_chain && fi->chain.synced);
}

static void put_tower(struct expo *e, const struct tower_info *t)
{
	expo_one(e, "vigil_users", EXPO_GAUGE, "Registered users.", t->users);
	expo_one(e, "vigil_appointments", EXPO_GAUGE, "Appointments watched, without trackers.",
		 t->appointments);
	expo_one(e, "vigil_trackers", EXPO_GAUGE, "Penalties being followed.", t->trackers);
	expo_one(e, "vigil_breaches_total", EXPO_COUNTER, "Trackers created.", t->breaches_total);
	expo_one(e, "vigil_invalid_blobs_total", EXPO_COUNTER, "Blobs that held no penalty for their dispute.",
		 t->invalid_blobs_total);
	expo_one(e, "vigil_penalties_sent_total", EXPO_COUNTER,
		 "Penalties taken by a peer or a node for the first time.", t->penalties_sent_total);
	expo_one(e, "vigil_penalties_confirmed_total", EXPO_COUNTER, "Penalties that got into a block.",
		 t->penalties_confirmed_total);
	expo_one(e, "vigil_trackers_completed_total", EXPO_COUNTER, "Trackers whose penalty is buried.",
		 t->completed_total);
	expo_one(e, "vigil_penalties_overdue", EXPO_GAUGE,
		 "Penalties not in a block although their dispute is deep.", t->overdue);
	expo_one(e, "vigil_escalations_total", EXPO_COUNTER, "Steps of escalation of overdue penalties.",
		 t->escalations_total);
	expo_one(e, "vigil_blocks_connected_total", EXPO_COUNTER, "Blocks connected.", t->blocks_total);
	expo_one(e, "vigil_blocks_disconnected_total", EXPO_COUNTER, "Blocks taken back by reorgs.",
		 t->reorg_blocks_total);
}

static void put_http(struct expo *e, const struct api *api)
{
	struct api_info i;

	api_info_get(api, &i);
	expo_one(e, "vigil_http_connections", EXPO_GAUGE, "Open connections of clients.", i.connections);
	expo_one(e, "vigil_http_connections_total", EXPO_COUNTER, "Connections of clients taken.",
		 i.connections_total);
	expo_one(e, "vigil_http_requests_total", EXPO_COUNTER, "Requests of clients begun.", i.requests_total);
	expo_one(e, "vigil_http_cut_total", EXPO_COUNTER,
		 "Connections cut because a request took too long to arrive.", i.cut_total);
	expo_family(e, "vigil_http_responses_total", EXPO_COUNTER,
		    "Answers by endpoint; outcome is ok (2xx), refused (4xx) or unavailable (5xx).");
	for (unsigned k = 0; k <= API_ENDPOINT_CNT; k++) {
		const struct api_outcomes *o = &i.by_endpoint[k];

		expo_u64(e, L({"endpoint", o->endpoint}, {"outcome", "ok"}), o->ok_total);
		expo_u64(e, L({"endpoint", o->endpoint}, {"outcome", "refused"}), o->refused_total);
		expo_u64(e, L({"endpoint", o->endpoint}, {"outcome", "unavailable"}), o->unavailable_total);
	}
}

static void put_store(struct expo *e, const struct store *s)
{
	struct store_stats st;

	store_stats_get(s, &st);
	expo_one(e, "vigil_store_ok", EXPO_GAUGE, "1 while the last write and the last sync succeeded.",
		 store_ok(s));
	expo_one(e, "vigil_store_batches_total", EXPO_COUNTER, "Batches written.", st.batches);
	expo_one(e, "vigil_store_syncs_total", EXPO_COUNTER, "Syncs of the log; one serves many batches.",
		 st.syncs);
	expo_one(e, "vigil_store_failures_total", EXPO_COUNTER, "Writes and syncs that failed.", st.failures);
	expo_one(e, "vigil_store_recoveries_total", EXPO_COUNTER,
		 "Times the store was opened again after a failure.", st.recoveries);
}

static void put_link(struct expo *e, const struct feed_info *i)
{
	expo_one(e, "vigil_dataplane_up", EXPO_GAUGE, "1 while blocks come from the dataplane.",
		 i->state == FEED_ON);
	expo_one(e, "vigil_link_backlog", EXPO_GAUGE, "Records that wait for the link to the dataplane.",
		 i->backlog_cnt);
	expo_one(e, "vigil_link_adds_pending", EXPO_GAUGE, "Watches the dataplane has not confirmed yet.",
		 i->added_pending_cnt);
	expo_one(e, "vigil_link_sessions_total", EXPO_COUNTER, "Sessions with the dataplane.",
		 i->sessions_total);
	expo_one(e, "vigil_link_lost_total", EXPO_COUNTER, "Sessions with the dataplane that ended.",
		 i->lost_total);
	expo_one(e, "vigil_link_protocol_errors_total", EXPO_COUNTER,
		 "Sessions ended because the dataplane broke the contract.", i->protocol_errors_total);
	expo_one(e, "vigil_link_add_errors_total", EXPO_COUNTER,
		 "Watches the dataplane could not take; each is tried again.", i->add_errors_total);
	expo_one(e, "vigil_link_broadcasts_total", EXPO_COUNTER, "Penalties handed to the dataplane.",
		 i->broadcasts_total);
	expo_one(e, "vigil_link_broadcasts_unsent_total", EXPO_COUNTER,
		 "Penalties not handed to the dataplane for want of a link.", i->broadcasts_unsent_total);
}

/* One family after the other, each with a sample for every node. */
static void put_nodes(struct expo *e, const struct carrier *c)
{
	static const char *const outcome[] = {"accepted", "refused", "unanswered"};
	struct carrier_node_info n[CARRIER_NODE_MAX];
	char name[CARRIER_NODE_MAX][280];
	unsigned cnt = carrier_node_cnt(c);

	expo_one(e, "vigil_node_pending", EXPO_GAUGE, "Penalties under way to the nodes' RPC.",
		 carrier_pending(c));
	if (cnt == 0)
		return;
	for (unsigned i = 0; i < cnt; i++) {
		carrier_node_info_get(c, i, &n[i]);
		snprintf(name[i], sizeof(name[i]), strchr(n[i].host, ':') ? "[%.255s]:%u" : "%.255s:%u",
			 n[i].host, n[i].port);
	}
	expo_family(e, "vigil_node_up", EXPO_GAUGE, "1 while the node's RPC is usable.");
	for (unsigned i = 0; i < cnt; i++)
		expo_u64(e, L({"node", name[i]}), n[i].state == CARRIER_USABLE);
	expo_family(e, "vigil_node_height", EXPO_GAUGE, "Blocks of the node's chain at its last probe.");
	for (unsigned i = 0; i < cnt; i++)
		expo_u64(e, L({"node", name[i]}), n[i].blocks);
	expo_family(e, "vigil_node_requests_total", EXPO_COUNTER,
		    "Requests to the node's RPC, probes included.");
	for (unsigned i = 0; i < cnt; i++)
		expo_u64(e, L({"node", name[i]}), n[i].requests_total);
	expo_family(e, "vigil_node_verdicts_total", EXPO_COUNTER, "What the node said to penalties.");
	for (unsigned i = 0; i < cnt; i++) {
		const uint64_t v[] = {n[i].accepted_total, n[i].refused_total, n[i].unanswered_total};

		for (unsigned k = 0; k < 3; k++)
			expo_u64(e, L({"node", name[i]}, {"verdict", outcome[k]}), v[k]);
	}
}

static void put_tor(struct expo *e, const struct tor_info *t)
{
	expo_one(e, "vigil_onion_up", EXPO_GAUGE, "1 while the onion service is set up.", t->state == TOR_UP);
	expo_one(e, "vigil_onion_lost_total", EXPO_COUNTER, "Times the onion service was lost.",
		 t->losses_total);
}

struct peers {
	struct link_peer_state p[FEED_PEER_MAX];
	unsigned cnt;
};

static void take_peer(void *arg, const struct link_peer_state *p)
{
	struct peers *all = arg;

	if (all->cnt < FEED_PEER_MAX)
		all->p[all->cnt++] = *p;
}

static uint64_t peer_ready(const struct link_peer_state *p)
{
	return (p->flags & LINK_PEER_READY) != 0;
}
static uint64_t peer_banned(const struct link_peer_state *p)
{
	return p->ban_s > 0;
}
static uint64_t peer_height(const struct link_peer_state *p)
{
	return p->height;
}
static uint64_t peer_in(const struct link_peer_state *p)
{
	return p->bytes_in;
}
static uint64_t peer_out(const struct link_peer_state *p)
{
	return p->bytes_out;
}
static uint64_t peer_blocks(const struct link_peer_state *p)
{
	return p->blocks;
}
static uint64_t peer_drops(const struct link_peer_state *p)
{
	return p->drops;
}

/* The counters are those of the session with the dataplane: they begin again with it, as Prometheus allows. */
static void put_peers(struct expo *e, const struct feed *feed)
{
	static const struct {
		const char *name;
		enum expo_type type;
		const char *help;
		uint64_t (*get)(const struct link_peer_state *p);
	} row[] = {
		{"vigil_peer_ready", EXPO_GAUGE, "1 while the node serves blocks by P2P.", peer_ready},
		{"vigil_peer_banned", EXPO_GAUGE, "1 while the node is not dialled because it lied.",
		 peer_banned},
		{"vigil_peer_height", EXPO_GAUGE, "Best block that the node announced.", peer_height},
		{"vigil_peer_received_bytes_total", EXPO_COUNTER, "Bytes from the node.", peer_in},
		{"vigil_peer_sent_bytes_total", EXPO_COUNTER, "Bytes to the node.", peer_out},
		{"vigil_peer_blocks_total", EXPO_COUNTER, "Blocks that the node delivered.", peer_blocks},
		{"vigil_peer_drops_total", EXPO_COUNTER, "Connections with the node that ended.", peer_drops},
	};
	static struct peers all; /* large; one thread */

	all.cnt = 0;
	feed_each_peer(feed, take_peer, &all);
	for (size_t k = 0; k < sizeof(row) / sizeof(row[0]) && all.cnt > 0; k++) {
		expo_family(e, row[k].name, row[k].type, row[k].help);
		for (unsigned i = 0; i < all.cnt; i++)
			expo_u64(e, L({"peer", all.p[i].addr}), row[k].get(&all.p[i]));
	}
}

/* A name that is no metric's, or one given twice, would make the whole scrape invalid. */
struct stats {
	struct expo *e;
	char seen[FEED_STAT_MAX][sizeof(((struct link_stat *)0)->name)];
	unsigned cnt;
};

static void put_stat(void *arg, const struct link_stat *s)
{
	struct stats *all = arg;
	char name[96], help[120];
	size_t sz = strnlen(s->name, sizeof(s->name));
	bool counter = sz > 6 && memcmp(s->name + sz - 6, "_total", 6) == 0;

	if (sz == sizeof(s->name) || !expo_name_ok(s->name) || all->cnt == FEED_STAT_MAX)
		return;
	for (unsigned i = 0; i < all->cnt; i++)
		if (strcmp(all->seen[i], s->name) == 0)
			return;
	memcpy(all->seen[all->cnt++], s->name, sz + 1);
	snprintf(name, sizeof(name), "vigil_dataplane_%s", s->name);
	snprintf(help, sizeof(help), "%s of vigil-dataplane.", s->name);
	expo_one(all->e, name, counter ? EXPO_COUNTER : EXPO_GAUGE, help, s->value);
}

static void put_dataplane(struct expo *e, const struct feed *feed)
{
	static struct stats all; /* large; one thread */

	all.e = e;
	all.cnt = 0;
	feed_each_stat(feed, put_stat, &all);
}

static void put_meters(struct expo *e)
{
	struct meter_counts c[METER_CNT];

	for (unsigned m = 0; m < METER_CNT; m++) {
		char name[64];

		meter_read((enum meter)m, &c[m]);
		snprintf(name, sizeof(name), "vigil_%s_duration_seconds", meter_infos[m].name);
		expo_family(e, name, EXPO_HISTOGRAM, meter_infos[m].help);
		expo_histogram(e, NULL, meter_bound_ns, c[m].bucket, METER_BOUND_CNT, c[m].sum_ns);
	}
	expo_family(e, "vigil_slow_events_total", EXPO_COUNTER, "Waits above log.slow-ms, as in getslowlog.");
	for (unsigned m = 0; m < METER_CNT; m++)
		expo_u64(e, L({"what", meter_infos[m].name}), c[m].slow);
}

static void put_rpc(struct expo *e, const struct rpc *rpc)
{
	struct rpc_info i;

	rpc_info_get(rpc, &i);
	expo_one(e, "vigil_rpc_clients", EXPO_GAUGE, "Clients of the control socket.", i.client_cnt);
	expo_one(e, "vigil_rpc_clients_total", EXPO_COUNTER, "Clients of the control socket ever.",
		 i.clients_total);
	expo_one(e, "vigil_rpc_requests_total", EXPO_COUNTER, "Requests on the control socket.",
		 i.requests_total);
	expo_one(e, "vigil_rpc_errors_total", EXPO_COUNTER, "Of these, answered with an error.",
		 i.errors_total);
	expo_one(e, "vigil_rpc_dropped_total", EXPO_COUNTER,
		 "Clients of the control socket dropped: rubbish, too slow, too many.", i.dropped_total);
}

static void put_alerts(struct expo *e, const struct alert_info *i)
{
	expo_one(e, "vigil_alerts_queued", EXPO_GAUGE, "Events that wait for the alert command.", i->queued);
	expo_one(e, "vigil_alerts_total", EXPO_COUNTER, "Events for a person.", i->events_total);
	expo_one(e, "vigil_alert_runs_total", EXPO_COUNTER, "Runs of the alert command.", i->runs_total);
	expo_one(e, "vigil_alert_failures_total", EXPO_COUNTER,
		 "Runs of the alert command that failed or could not begin.", i->failures_total);
	expo_one(e, "vigil_alert_timeouts_total", EXPO_COUNTER,
		 "Runs of the alert command that were stopped because they took too long.", i->timeouts_total);
	expo_one(e, "vigil_alert_suppressed_total", EXPO_COUNTER, "Events that found the queue full.",
		 i->suppressed_total);
}

char *metrics_text(const struct metrics_env *env, size_t *sz)
{
	struct expo e = {0};
	struct tower_info ti;
	struct feed_info fi;

	tower_info_get(env->tower, &ti);
	feed_info_get(env->feed, &fi);
	put_build(&e, env);
	put_chain(&e, &ti, &fi);
	put_tower(&e, &ti);
	put_http(&e, env->api);
	put_store(&e, env->store);
	put_link(&e, &fi);
	put_nodes(&e, env->carrier);
	if (env->tor != NULL)
		put_tor(&e, env->tor);
	put_peers(&e, env->feed);
	put_meters(&e);
	put_rpc(&e, env->rpc);
	if (env->alert != NULL)
		put_alerts(&e, env->alert);
	expo_one(&e, "vigil_log_dropped_total", EXPO_COUNTER, "Log lines that could not be written.",
		 log_dropped());
	process_metrics(&e);
	put_dataplane(&e, env->feed);
	return expo_end(&e, sz);
}
