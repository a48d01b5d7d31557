#include "meter/meter.h"
#include "rpc/rpc_priv.h"

#include <stdio.h>

static const struct rpc_env *env_of(const struct rpc_call *call)
{
	return &((struct rpc_ctx *)call->ctx)->env;
}

/* With nodes configured, whether one answers; without, whether a P2P peer is ready to take a penalty. */
static bool network_reachable(const struct rpc_env *env)
{
	struct feed_info fi;

	if (carrier_node_cnt(env->carrier) > 0)
		return carrier_reachable(env->carrier);
	feed_info_get(env->feed, &fi);
	return fi.state == FEED_ON && fi.has_chain && fi.chain.ready_peer_cnt > 0;
}

static struct rpc_done gettowerinfo(struct rpc_call *call)
{
	const struct rpc_env *env = env_of(call);
	json_t *addresses = json_array();
	struct tower_info ti;

	tower_info_get(env->tower, &ti);
	for (unsigned i = 0; i < env->address_cnt; i++) {
		const struct rpc_address *a = &env->addresses[i];

		json_array_append_new(addresses, json_pack("{s:s, s:s, s:i}", "type", a->type, "address",
							   a->address, "port", (int)a->port));
	}
	if (env->tor != NULL)
		json_array_append_new(addresses, json_pack("{s:s, s:s, s:i}", "type", "torv3", "address",
							   env->tor->address, "port", (int)env->tor->port));
	return rpc_result(json_pack("{s:o, s:I, s:I, s:I, s:b, s:o}", "tower_id",
				    rpc_json_hex(env->tower_id.b, USER_ID_SZ), "n_registered_users",
				    (json_int_t)ti.users, "n_watcher_appointments", (json_int_t)ti.appointments,
				    "n_responder_trackers", (json_int_t)ti.trackers, "bitcoind_reachable",
				    (int)network_reachable(env), "addresses", addresses));
}

static json_t *chain_view(const struct feed_info *fi)
{
	const struct link_chain_state *c = &fi->chain;

	if (!fi->has_chain)
		return json_null();
	return json_pack("{s:o, s:I, s:I, s:b, s:I}", "best_header", rpc_json_hash(&c->best_header),
			 "best_header_height", (json_int_t)c->best_header_height, "scanned_height",
			 (json_int_t)c->scanned_height, "synced", (int)c->synced, "ready_peers",
			 (json_int_t)c->ready_peer_cnt);
}

static json_t *dataplane_view(const struct feed *feed)
{
	struct feed_info fi;

	feed_info_get(feed, &fi);
	return json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
			 "state", feed_state_name(fi.state), "version",
			 rpc_json_ascii(fi.hello.version_text, sizeof(fi.hello.version_text)), "txid_kernel",
			 rpc_json_ascii(fi.hello.kernel, sizeof(fi.hello.kernel)), "shards",
			 (json_int_t)fi.hello.shard_cnt, "recent_blocks", (json_int_t)fi.hello.recent_blocks,
			 "window", (json_int_t)fi.hello.window, "chain", chain_view(&fi), "loaded",
			 (json_int_t)fi.loaded_cnt, "backlog", (json_int_t)fi.backlog_cnt, "adds_pending",
			 (json_int_t)fi.added_pending_cnt, "sessions_total", (json_int_t)fi.sessions_total,
			 "lost_total", (json_int_t)fi.lost_total, "protocol_errors_total",
			 (json_int_t)fi.protocol_errors_total, "add_errors_total",
			 (json_int_t)fi.add_errors_total, "broadcasts_total", (json_int_t)fi.broadcasts_total,
			 "last_error", rpc_json_ascii(fi.last_error, 256));
}

static json_t *nodes_view(const struct carrier *carrier)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < carrier_node_cnt(carrier); i++) {
		struct carrier_node_info n;

		carrier_node_info_get(carrier, i, &n);
		json_array_append_new(
			list,
			json_pack("{s:o, s:i, s:s, s:o, s:I, s:I, s:o, s:o, s:b, s:I, s:b, s:b, s:I, s:I, s:I, "
				  "s:I}",
				  "host", rpc_json_ascii(n.host, 256), "port", (int)n.port, "state",
				  carrier_node_state_name(n.state), "error", rpc_json_ascii(n.error, 256),
				  "blocks", (json_int_t)n.blocks, "headers", (json_int_t)n.headers,
				  "best_block", hash256_is_zero(&n.best) ? json_null() : rpc_json_hash(&n.best),
				  "warning", rpc_json_ascii(n.warning != NULL ? n.warning : "", 96), "pruned",
				  (int)n.pruned, "prune_height", (json_int_t)n.prune_height, "lacks_blocks",
				  (int)n.lacks_blocks, "initial_download", (int)n.initial_download,
				  "requests_total", (json_int_t)n.requests_total, "accepted_total",
				  (json_int_t)n.accepted_total, "refused_total", (json_int_t)n.refused_total,
				  "unanswered_total", (json_int_t)n.unanswered_total));
	}
	return list;
}

static json_t *tor_view(const struct tor_info *t)
{
	if (t == NULL)
		return json_null();
	return json_pack("{s:s, s:s, s:i, s:o, s:I, s:I}", "state", tor_state_name(t->state), "address",
			 t->address, "port", (int)t->port, "error", rpc_json_ascii(t->error, sizeof(t->error)),
			 "ups_total", (json_int_t)t->ups_total, "losses_total", (json_int_t)t->losses_total);
}

static json_t *tower_view(const struct tower_info *ti)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "users",
			 (json_int_t)ti->users, "appointments", (json_int_t)ti->appointments, "trackers",
			 (json_int_t)ti->trackers, "breaches_total", (json_int_t)ti->breaches_total,
			 "invalid_blobs_total", (json_int_t)ti->invalid_blobs_total, "penalties_sent_total",
			 (json_int_t)ti->penalties_sent_total, "penalties_confirmed_total",
			 (json_int_t)ti->penalties_confirmed_total, "completed_total",
			 (json_int_t)ti->completed_total, "blocks_total", (json_int_t)ti->blocks_total,
			 "reorg_blocks_total", (json_int_t)ti->reorg_blocks_total, "store_ok",
			 (int)ti->store_ok);
}

static json_t *socket_view(const struct rpc_info *i)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "clients", (json_int_t)i->client_cnt, "clients_total",
			 (json_int_t)i->clients_total, "requests_total", (json_int_t)i->requests_total,
			 "errors_total", (json_int_t)i->errors_total, "dropped_total",
			 (json_int_t)i->dropped_total);
}

static struct rpc_done getinfo(struct rpc_call *call)
{
	const struct rpc_env *env = env_of(call);
	bool nodes = carrier_node_cnt(env->carrier) > 0;
	struct tower_info ti;

	tower_info_get(env->tower, &ti);
	return rpc_result(json_pack(
		"{s:s, s:s, s:o, s:o, s:o, s:b, s:o, s:s, s:o, s:o, s:o, s:o}", "version", VIGIL_VERSION,
		"network", env->network->name, "tower_id", rpc_json_hex(env->tower_id.b, USER_ID_SZ), "height",
		ti.has_tip ? json_integer(ti.tip_height) : json_null(), "block_hash",
		ti.has_tip ? rpc_json_hash(&ti.tip_hash) : json_null(), "reachable",
		(int)network_reachable(env), "dataplane", dataplane_view(env->feed), "node_rpc",
		nodes ? "configured" : "not configured: penalties go out by P2P only", "nodes",
		nodes_view(env->carrier), "tor", tor_view(env->tor), "tower", tower_view(&ti), "control_socket",
		socket_view(((struct rpc_ctx *)call->ctx)->info)));
}

static json_t *push_view(const struct link_peer_state *p)
{
	return json_pack("{s:b, s:o, s:I, s:I}", "ready", (int)((p->flags & LINK_PEER_PUSH_READY) != 0),
			 "last_error", rpc_json_ascii(p->push_last_error, sizeof(p->push_last_error)),
			 "connects", (json_int_t)p->push_connects, "drops", (json_int_t)p->push_drops);
}

static json_t *ban_view(const struct link_peer_state *p)
{
	return json_pack("{s:I, s:I, s:o}", "seconds_left", (json_int_t)p->ban_s, "count", (json_int_t)p->bans,
			 "reason", rpc_json_ascii(p->ban_reason, sizeof(p->ban_reason)));
}

static void put_peer(void *arg, const struct link_peer_state *p)
{
	char services[17];

	snprintf(services, sizeof(services), "%016llx", (unsigned long long)p->services);
	json_array_append_new(
		arg,
		json_pack("{s:I, s:o, s:o, s:b, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, "
			  "s:I, s:I, "
			  "s:I, s:I}",
			  "id", (json_int_t)p->peer_id, "addr", rpc_json_ascii(p->addr, sizeof(p->addr)),
			  "state", rpc_json_ascii(p->state, sizeof(p->state)), "ready",
			  (int)((p->flags & LINK_PEER_READY) != 0), "pruned",
			  (int)((p->flags & LINK_PEER_PRUNED) != 0), "lagging",
			  (int)((p->flags & LINK_PEER_LAGGING) != 0), "user_agent",
			  rpc_json_ascii(p->user_agent, sizeof(p->user_agent)), "last_error",
			  rpc_json_ascii(p->last_error, sizeof(p->last_error)), "ban", ban_view(p), "push",
			  push_view(p), "services", json_string(services), "version", (json_int_t)p->version,
			  "height", (json_int_t)p->height, "ping_us", (json_int_t)p->ping_us, "bytes_in",
			  (json_int_t)p->bytes_in, "bytes_out", (json_int_t)p->bytes_out, "bytes_per_s",
			  (json_int_t)p->speed, "blocks", (json_int_t)p->blocks, "connects",
			  (json_int_t)p->connects, "drops", (json_int_t)p->drops));
}

static struct rpc_done getpeers(struct rpc_call *call)
{
	json_t *list = json_array();

	feed_each_peer(env_of(call)->feed, put_peer, list);
	return rpc_result(json_pack("{s:o}", "peers", list));
}

static struct rpc_done stop(struct rpc_call *call)
{
	((struct rpc_ctx *)call->ctx)->stop_wanted = true;
	return rpc_result(json_string("vigild is stopping"));
}

#define AFTER(hex_sz)                             \
	{                                         \
		"after", RPC_HEX, false, (hex_sz) \
	}
#define LIMIT(most)                               \
	{                                         \
		"limit", RPC_COUNT, false, (most) \
	}

const struct rpc_method rpc_methods[] = {
	{"getinfo", "State of the whole tower: chain, dataplane, nodes, counters", getinfo, {{0}}},
	{"gettowerinfo", "Identity, addresses and sizes of the tower", gettowerinfo, {{0}}},
	{"getusers",
	 "Ids of the registered users, in pages",
	 rpc_getusers,
	 {AFTER(USER_ID_SZ), LIMIT(RPC_KEYS_PAGE_MAX)}},
	{"getuser",
	 "One user's subscription and the uuids of its appointments, in pages",
	 rpc_getuser,
	 {{"user_id", RPC_HEX, true, USER_ID_SZ}, AFTER(LOCATOR_SZ), LIMIT(RPC_KEYS_PAGE_MAX)}},
	{"getappointments",
	 "All users' appointments and trackers with one locator, in pages",
	 rpc_getappointments,
	 {{"locator", RPC_HEX, true, LOCATOR_SZ}, AFTER(RPC_APPT_KEY_SZ), LIMIT(RPC_ROWS_PAGE_MAX)}},
	{"getallappointments",
	 "All appointments and trackers, in pages",
	 rpc_getallappointments,
	 {AFTER(RPC_APPT_KEY_SZ), LIMIT(RPC_ROWS_PAGE_MAX)}},
	{"getlocators",
	 "The locator of each appointment and tracker, in pages",
	 rpc_getlocators,
	 {AFTER(RPC_APPT_KEY_SZ), LIMIT(RPC_ROWS_PAGE_MAX)}},
	{"gettrackers",
	 "Penalties being followed, with state, node's answer and latencies, in pages",
	 rpc_gettrackers,
	 {AFTER(RPC_APPT_KEY_SZ), LIMIT(RPC_ROWS_PAGE_MAX)}},
	{"getpeers", "Bitcoin nodes the dataplane is connected to by P2P", getpeers, {{0}}},
	{"getcounters",
	 "Counters of control, and of the dataplane as of a second or two ago",
	 rpc_getcounters,
	 {{0}}},
	{"getslowlog",
	 "What took longer than log.slow-ms: the last events, newest first, and the slowest of each kind",
	 rpc_getslowlog,
	 {{"limit", RPC_COUNT, false, METER_SLOW_CNT}}},
	{"scanstale",
	 "Looks for breaches in blocks off the best chain: up to one block, or in every branch known; "
	 "information only",
	 rpc_scanstale,
	 {{"hash", RPC_HEX, false, HASH_SZ}}},
	{"getstalescan", "What the last scanstale has found so far", rpc_getstalescan, {{0}}},
	{"checkpoint",
	 "Begins a backup of the store in a new folder DIR, while everything goes on; without the key",
	 rpc_checkpoint,
	 {{"dir", RPC_TEXT, true, 0}}},
	{"getcheckpoint", "How the last checkpoint stands", rpc_getcheckpoint, {{0}}},
	{"stop", "Stops vigild in good order", stop, {{0}}},
	/* The names of the TEOS reference's own interface, for scripts that know those. */
	{"get_tower_info", "The same as gettowerinfo", gettowerinfo, {{0}}},
	{"get_users", "The same as getusers", rpc_getusers, {AFTER(USER_ID_SZ), LIMIT(RPC_KEYS_PAGE_MAX)}},
	{"get_user",
	 "The same as getuser",
	 rpc_getuser,
	 {{"user_id", RPC_HEX, true, USER_ID_SZ}, AFTER(LOCATOR_SZ), LIMIT(RPC_KEYS_PAGE_MAX)}},
	{"get_appointments",
	 "The same as getappointments",
	 rpc_getappointments,
	 {{"locator", RPC_HEX, true, LOCATOR_SZ}, AFTER(RPC_APPT_KEY_SZ), LIMIT(RPC_ROWS_PAGE_MAX)}},
	{"get_all_appointments",
	 "The same as getallappointments",
	 rpc_getallappointments,
	 {AFTER(RPC_APPT_KEY_SZ), LIMIT(RPC_ROWS_PAGE_MAX)}},
	RPC_HELP_METHOD,
};
const size_t rpc_method_cnt = sizeof(rpc_methods) / sizeof(rpc_methods[0]);
