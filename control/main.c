/* vigild: the half of the tower that holds its key and its store.  This file wires the modules to one event loop, the
   state thread; nothing here decides anything about appointments. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "alert/alert.h"
#include "api/api.h"
#include "carrier/carrier.h"
#include "config/config.h"
#include "feed/feed.h"
#include "log/log.h"
#include "meter/meter.h"
#include "metrics/metrics.h"
#include "notify/notify.h"
#include "rpc/rpc.h"
#include "store/store.h"
#include "teos/key.h"
#include "tor/tor.h"
#include "tower/tower.h"

#define TICK_MS        1000u
#define PURGE_PAUSE_MS 5u /* between slices, and twice what the last one took */
/* How long the loop may go on after everything was told to end (feed, carrier and rpc give their peers a second). */
#define DRAIN_MS 5000u

struct daemon {
	struct config cfg;
	const struct network *network;
	uv_loop_t loop;
	uv_signal_t on_term, on_int, on_quit, on_hup;
	uv_timer_t tick, alive, purge;
	uv_poll_t store_ready;
	uv_check_t after_io;

	struct tower_key *key;
	struct store *store;
	struct tower *tower;
	struct feed *feed;
	struct carrier *carrier;
	struct alert *alert;
	struct tor *tor; /* NULL: none */
	struct api *api;
	struct rpc *rpc;
	struct metrics *metrics;

	struct rpc_address address;
	bool handles_up;
	bool ready;
	bool stopping;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* One sentence for the operator: in the log, and on the terminal when the log goes elsewhere. */
static bool start_failed(const struct daemon *d, const char *why)
{
	char text[CONFIG_WHY_SZ];

	log_error("start_failed", why);
	if (d->cfg.log_file[0])
		fprintf(stderr, "vigild: %s\n", log_printable(text, sizeof text, why));
	return false;
}

/* --- what the tower asks for --------------------------------------------------------------------------------- */

/* While the program starts and ends there may be a tower without them; what is not sent now is in the store. */
static void op_watch_add(void *arg, const struct locator *l)
{
	struct daemon *d = arg;

	if (d->feed)
		feed_watch_add(d->feed, l);
}

static void op_watch_del(void *arg, const struct locator *l)
{
	struct daemon *d = arg;

	if (d->feed)
		feed_watch_del(d->feed, l);
}

/* By P2P at once and by RPC for the verdict.  A way that is closed now gives no result: tower_tick tries again. */
static void op_broadcast(void *arg, const struct hash256 *txid, const uint8_t *raw, size_t sz)
{
	struct daemon *d = arg;

	if (d->feed)
		feed_broadcast(d->feed, txid, raw, sz);
	if (d->carrier)
		carrier_submit(d->carrier, txid, raw, sz);
}

/* Where no node is configured any more, P2P is all there is. */
static void op_ask_nodes(void *arg, const struct hash256 *txid, const uint8_t *raw, size_t sz)
{
	struct daemon *d = arg;

	if (d->carrier && carrier_node_cnt(d->carrier) > 0)
		carrier_submit(d->carrier, txid, raw, sz);
	else
		op_broadcast(arg, txid, raw, sz);
}

static void op_block_ack(void *arg, uint32_t height, const struct hash256 *hash)
{
	struct daemon *d = arg;

	if (d->feed)
		feed_block_ack(d->feed, height, hash);
}

static void op_session_reset(void *arg)
{
	struct daemon *d = arg;

	if (d->feed)
		feed_session_reset(d->feed);
}

static void op_alert(void *arg, const struct tower_alert *a)
{
	struct daemon *d = arg;

	if (d->alert)
		alert_penalty(d->alert, a);
}

static const struct tower_ops tower_ops = {
	.watch_add = op_watch_add,
	.watch_del = op_watch_del,
	.broadcast = op_broadcast,
	.ask_nodes = op_ask_nodes,
	.block_ack = op_block_ack,
	.alert = op_alert,
	.session_reset = op_session_reset,
};

static void on_node_answer(void *arg, const struct hash256 *txid, const struct node_answer *a)
{
	tower_broadcast_result(((struct daemon *)arg)->tower, txid, a);
}

static void on_node_usable(void *arg)
{
	tower_way_open(((struct daemon *)arg)->tower);
}

static void on_node_news(void *arg, const struct carrier_node_info *n, bool usable)
{
	alert_node(((struct daemon *)arg)->alert, n, usable);
}

static bool on_next_height(void *arg, uint32_t *height)
{
	struct tower_info info;

	tower_info_get(((struct daemon *)arg)->tower, &info);
	*height = info.tip_height + 1;
	return info.has_tip;
}

static void shutdown_begin(struct daemon *d);

/* --- running ------------------------------------------------------------------------------------------------- */

/* Scripts wait for this line: the API is open, and the tower knows a block, without which it can date neither a
   subscription nor a receipt (until then it answers 503). */
static void tell_when_ready(struct daemon *d)
{
	struct tower_info info;

	if (d->ready || d->stopping)
		return;
	tower_info_get(d->tower, &info);
	if (!info.has_tip)
		return;
	d->ready = true;
	log_info("tower_ready", "Tower ready", log_str("bind", d->cfg.api_bind),
		 log_u64("port", api_port(d->api)), log_u64("height", info.tip_height),
		 log_hash("tip", &info.tip_hash), log_u64("users", info.users),
		 log_u64("appointments", info.appointments), log_u64("trackers", info.trackers));
	notify_status("Watching %llu appointments, height %u", (unsigned long long)info.appointments,
		      info.tip_height);
}

static void on_after_io(uv_check_t *h)
{
	tell_when_ready(h->data);
}

static void on_store_ready(uv_poll_t *h, int status, int events)
{
	(void)status;
	(void)events;
	store_poll(((struct daemon *)h->data)->store);
}

#define STATUS_TICKS 15u

/* For `systemctl status`, now and then. */
static void tell_status(struct daemon *d)
{
	static unsigned tick;
	struct tower_info info;
	struct feed_info feed;

	if (!d->ready || d->stopping || ++tick % STATUS_TICKS != 0)
		return;
	tower_info_get(d->tower, &info);
	feed_info_get(d->feed, &feed);
	notify_status("Watching %llu appointments, following %llu penalties, height %u, dataplane %s%s",
		      (unsigned long long)info.appointments, (unsigned long long)info.trackers, info.tip_height,
		      feed_state_name(feed.state), info.store_ok ? "" : ", the store cannot write");
}

/* A third of one processor at most, in pieces that nobody notices. */
static void on_purge(uv_timer_t *h)
{
	struct daemon *d = h->data;
	uint64_t begun = uv_hrtime();

	if (tower_purge(d->tower))
		uv_timer_start(h, on_purge, PURGE_PAUSE_MS + 2 * (uv_hrtime() - begun) / 1000000, 0);
}

static void on_tick(uv_timer_t *h)
{
	struct daemon *d = h->data;

	tower_tick(d->tower, now_ns());
	tell_status(d);
	if (!uv_is_active((uv_handle_t *)&d->purge))
		on_purge(&d->purge);
}

/* From the loop, so that a state thread that hangs is noticed. */
static void on_alive(uv_timer_t *h)
{
	(void)h;
	notify_alive();
}

static void on_stop_signal(uv_signal_t *h, int signum)
{
	log_info("signal", "Asked to stop by a signal", log_str("signal", strsignal(signum)));
	shutdown_begin(h->data);
}

static void on_hup_signal(uv_signal_t *h, int signum)
{
	int rc = log_reopen();

	(void)h;
	(void)signum;
	if (rc)
		log_warn("log_reopen", "The log file cannot be opened again; the old one stays in use",
			 log_str("error", strerror(-rc)));
	else
		log_info("log_reopen", "Log opened again");
}

static void on_rpc_stop(void *arg)
{
	log_info("rpc_stop", "Asked to stop on the control socket");
	shutdown_begin(arg);
}

/* --- start --------------------------------------------------------------------------------------------------- */

/* Enough descriptors for the connections and the store.  A hard limit below that is worth a word, not a failure. */
static void raise_descriptor_limit(const struct config *cfg)
{
	rlim_t want = (rlim_t)cfg->api_max_connections + 4096;
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want)
		return;
	r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
	setrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_cur < want)
		log_warn("descriptor_limit", "The limit of open files is low for so many connections",
			 log_u64("limit", r.rlim_cur), log_u64("wanted", want));
}

static bool open_state(struct daemon *d)
{
	static char text[CONFIG_WHY_SZ];
	const struct tower_config tc = {
		.network = d->network,
		.subscription_slots = d->cfg.subscription_slots,
		.subscription_duration = d->cfg.subscription_duration,
		.expiry_delta = d->cfg.expiry_delta,
		.rebroadcast_blocks = d->cfg.rebroadcast_blocks,
		.overdue_depth = d->cfg.overdue_depth,
		.settles = true,
		.max_appointments = d->cfg.max_appointments,
	};
	const char *why = "";

	if (config_make_dirs(&d->cfg, text) != 0)
		return start_failed(d, text);
	if ((d->cfg.overwrite_key ? tower_key_replace(&d->key, d->cfg.key_file, text, sizeof text)
				  : tower_key_open(&d->key, d->cfg.key_file, true, text, sizeof text)) != 0)
		return start_failed(d, text);
	if (store_open(&d->store, d->cfg.store_dir, &why) != 0)
		return start_failed(d, why);
	d->tower = tower_new(&tc, d->store, &tower_ops, d, &why);
	return d->tower ? true : start_failed(d, why);
}

static bool open_api(struct daemon *d)
{
	const struct api_config ac = {
		.bind = d->cfg.api_bind,
		.port = (uint16_t)d->cfg.api_port,
		.max_connections = d->cfg.api_max_connections,
		.max_connections_per_ip = d->cfg.api_max_connections_per_ip,
		.threads = d->cfg.api_threads,
		.timeout_s = d->cfg.api_timeout_s,
		.body_limit = d->cfg.api_body_limit,
		.min_to_self_delay = d->cfg.min_to_self_delay,
	};
	const char *why = "";

	d->api = api_new(&ac, &d->loop, d->tower, d->key, &why);
	if (!d->api)
		return start_failed(d, why);
	d->address = (struct rpc_address){.type = strchr(d->cfg.api_bind, ':') ? "ipv6" : "ipv4",
					  .address = d->cfg.api_bind,
					  .port = api_port(d->api)};
	return true;
}

static bool open_alert(struct daemon *d)
{
	const struct alert_config ac = {
		.command = d->cfg.alert_command,
		.network = d->network->name,
		.interval_ms = d->cfg.alert_interval_s * 1000,
		.timeout_ms = d->cfg.alert_timeout_s * 1000,
	};
	const char *why = "";

	d->alert = alert_new(&ac, &d->loop, &why);
	return d->alert ? true : start_failed(d, why);
}

static bool open_tor(struct daemon *d)
{
	const struct tor_config tc = {
		.control = d->cfg.tor_control,
		.password = d->cfg.tor_password,
		.cookie = d->cfg.tor_cookie_file,
		.key_file = d->cfg.onion_file,
		.onion_port = (uint16_t)d->cfg.tor_onion_port,
		.target_host = d->cfg.api_bind,
		.target_port = api_port(d->api),
	};
	const char *why = "";

	if (!d->cfg.tor_control[0])
		return true;
	d->tor = tor_new(&tc, &d->loop, &why);
	return d->tor ? true : start_failed(d, why);
}

static bool open_carrier(struct daemon *d)
{
	static const struct carrier_hooks hooks = {.answer = on_node_answer,
						   .way_open = on_node_usable,
						   .node_news = on_node_news,
						   .next_height = on_next_height};
	struct carrier_node nodes[CONFIG_NODES_MAX];
	const struct config *c = &d->cfg;
	const char *why = "";

	for (unsigned i = 0; i < c->node_cnt; i++)
		nodes[i] =
			(struct carrier_node){.host = c->nodes[i].host,
					      .port = c->nodes[i].port,
					      .tls = c->nodes[i].tls,
					      .certificate = c->rpc_certificate[0] ? c->rpc_certificate : NULL,
					      .user = c->nodes[i].cookie[0] ? NULL : c->nodes[i].user,
					      .password = c->nodes[i].cookie[0] ? NULL : c->nodes[i].password,
					      .cookie_path = c->nodes[i].cookie[0] ? c->nodes[i].cookie : NULL};

	const struct carrier_config cc = {.network = d->network,
					  .nodes = nodes,
					  .node_cnt = c->node_cnt,
					  .timeout_ms = c->rpc_timeout_ms};

	d->carrier = carrier_new(&cc, &d->loop, &hooks, d, &why);
	return d->carrier ? true : start_failed(d, why);
}

/* Legitimate, but more often a forgotten chain.anchor.  A tower that knows a block goes on from there, whatever is
   set. */
static void warn_of_long_scan(const struct daemon *d)
{
	struct tower_info info;

	tower_info_get(d->tower, &info);
	if (d->cfg.chain_start == CONFIG_START_ANCHOR && !d->cfg.anchor.set && !info.has_tip)
		log_warn("scan_from_genesis",
			 "chain.start is anchor and chain.anchor is not set: every block from "
			 "genesis on is scanned",
			 log_str("network", d->network->name));
}

static bool open_feed(struct daemon *d)
{
	struct feed_config fc = {
		.path = d->cfg.link_socket,
		.network = d->network,
		.start_at_anchor = d->cfg.chain_start == CONFIG_START_ANCHOR,
	};
	const char *why = "";

	warn_of_long_scan(d);
	if (d->cfg.anchor.set) {
		fc.anchor_hash = d->cfg.anchor.hash;
		fc.anchor_height = d->cfg.anchor.height;
	}
	d->feed = feed_new(&fc, &d->loop, d->tower, &why);
	return d->feed ? true : start_failed(d, why);
}

static bool open_rpc(struct daemon *d)
{
	const struct rpc_env env = {
		.tower = d->tower,
		.feed = d->feed,
		.carrier = d->carrier,
		.alert = alert_info_of(d->alert),
		.tor = d->tor ? tor_info_of(d->tor) : NULL,
		.api = d->api,
		.store = d->store,
		.network = d->network,
		.tower_id = d->key->id,
		.addresses = &d->address,
		.address_cnt = 1,
		.stop = on_rpc_stop,
		.stop_arg = d,
	};
	const char *why = "";

	d->rpc = rpc_new(&d->loop, d->cfg.control_socket, &env, &why);
	return d->rpc ? true : start_failed(d, why);
}

static bool open_metrics(struct daemon *d)
{
	const struct metrics_env env = {
		.tower = d->tower,
		.feed = d->feed,
		.carrier = d->carrier,
		.api = d->api,
		.store = d->store,
		.rpc = d->rpc,
		.network = d->network,
		.alert = alert_info_of(d->alert),
		.tor = d->tor ? tor_info_of(d->tor) : NULL,
	};
	const char *why = "";

	if (d->cfg.metrics_port == 0)
		return true;
	d->metrics = metrics_new(&d->loop, d->cfg.metrics_bind, (uint16_t)d->cfg.metrics_port, &env, &why);
	return d->metrics ? true : start_failed(d, why);
}

static void start_handles(struct daemon *d)
{
	uint64_t watchdog_ms = notify_watchdog_ns() / 1000000;

	uv_signal_init(&d->loop, &d->on_term);
	uv_signal_init(&d->loop, &d->on_int);
	uv_signal_init(&d->loop, &d->on_quit);
	uv_signal_init(&d->loop, &d->on_hup);
	uv_timer_init(&d->loop, &d->tick);
	uv_timer_init(&d->loop, &d->alive);
	uv_timer_init(&d->loop, &d->purge);
	uv_check_init(&d->loop, &d->after_io);
	uv_poll_init(&d->loop, &d->store_ready, store_event_fd(d->store));
	d->on_term.data = d->on_int.data = d->on_quit.data = d->on_hup.data = d;
	d->tick.data = d->purge.data = d->store_ready.data = d->after_io.data = d;
	uv_signal_start(&d->on_term, on_stop_signal, SIGTERM);
	uv_signal_start(&d->on_int, on_stop_signal, SIGINT);
	uv_signal_start(&d->on_quit, on_stop_signal, SIGQUIT);
	uv_signal_start(&d->on_hup, on_hup_signal, SIGHUP);
	uv_timer_start(&d->tick, on_tick, TICK_MS, TICK_MS);
	if (watchdog_ms > 0)
		uv_timer_start(&d->alive, on_alive, 0, watchdog_ms / 3 + 1);
	uv_check_start(&d->after_io, on_after_io);
	uv_poll_start(&d->store_ready, UV_READABLE, on_store_ready);
	d->handles_up = true;
}

/* Everything that can fail for a reason outside comes before anybody is served. */
static bool start(struct daemon *d)
{
	const char *why = "";

	if (!open_state(d) || !open_api(d) || !open_tor(d) || !open_alert(d) || !open_carrier(d) ||
	    !open_feed(d) || !open_rpc(d) || !open_metrics(d))
		return false;
	start_handles(d);
	if (!api_open(d->api, &why))
		return start_failed(d, why);
	log_info("start", "Vigil control is up", log_str("version", VIGIL_VERSION),
		 log_str("network", d->network->name), log_hex("tower_id", d->key->id.b, USER_ID_SZ),
		 log_str("data_dir", d->cfg.network_dir), log_str("link", d->cfg.link_socket),
		 log_str("control", d->cfg.control_socket), log_str("api", d->cfg.api_bind),
		 log_u64("port", api_port(d->api)));
	carrier_start(d->carrier);
	if (d->tor)
		tor_start(d->tor);
	feed_start(d->feed);
	/* Started is not the same as ready: a new tower may wait long for its first peer. */
	notify_ready();
	notify_status("Waiting for the first block");
	tell_when_ready(d);
	return true;
}

/* --- stop ---------------------------------------------------------------------------------------------------- */

static void on_api_stopped(void *arg)
{
	struct daemon *d = arg;

	/* Nobody is owed anything any more: the loop ends, and main() takes the rest down. */
	uv_stop(&d->loop);
}

static void shutdown_begin(struct daemon *d)
{
	if (d->stopping)
		return;
	d->stopping = true;
	log_info("shutdown", "Shutting down tower");
	notify_stopping();
	api_stop(d->api, on_api_stopped, d);
}

static void close_handle(void *h)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

static void on_drain_late(uv_timer_t *h)
{
	uv_stop(h->loop);
}

/* In the order of dependence: who calls the tower goes first, the store last. */
static void take_down(struct daemon *d)
{
	metrics_free(d->metrics);
	if (d->rpc)
		rpc_free(d->rpc);
	if (d->feed)
		feed_free(d->feed);
	d->feed = NULL;
	if (d->carrier)
		carrier_free(d->carrier);
	d->carrier = NULL;
	if (d->tor)
		tor_free(d->tor);
	d->tor = NULL;
	if (d->alert)
		alert_free(d->alert);
	d->alert = NULL;
	if (d->api)
		api_free(d->api);
	if (d->handles_up) {
		close_handle(&d->on_term);
		close_handle(&d->on_int);
		close_handle(&d->on_quit);
		close_handle(&d->on_hup);
		close_handle(&d->tick);
		close_handle(&d->alive);
		close_handle(&d->purge);
		close_handle(&d->after_io);
		close_handle(&d->store_ready);
	}
	/* The handles are freed by the loop's next turns; a bounded number of them. */
	uv_timer_t late;

	uv_timer_init(&d->loop, &late);
	uv_timer_start(&late, on_drain_late, DRAIN_MS, 0);
	uv_unref((uv_handle_t *)&late);
	uv_run(&d->loop, UV_RUN_DEFAULT);
	close_handle(&late);
	uv_run(&d->loop, UV_RUN_NOWAIT);
	if (uv_loop_close(&d->loop) != 0)
		log_warn("shutdown", "Some connections did not close in time");

	if (d->tower)
		tower_free(d->tower);
	if (d->store)
		store_close(d->store);
	if (d->key)
		tower_key_free(d->key);
}

int main(int argc, char **argv)
{
	static struct daemon d;
	char why[CONFIG_WHY_SZ];

	switch (config_load(&d.cfg, argc, argv, why)) {
	case CONFIG_HELP:
		config_print_help(stdout);
		return fflush(stdout) == 0 ? 0 : 1;
	case CONFIG_VERSION:
		printf("vigild %s\n", VIGIL_VERSION);
		return fflush(stdout) == 0 ? 0 : 1;
	case CONFIG_BAD:
		fprintf(stderr, "vigild: %s\n", why);
		return 1;
	case CONFIG_RUN:
		break;
	}
	umask(077);
	/* A client that goes away while it is written to is an error of that write, not the end of the tower. */
	signal(SIGPIPE, SIG_IGN);
	d.network = network_get(d.cfg.network);

	int rc = log_open(d.cfg.log_file, d.cfg.log_level);

	if (rc) {
		fprintf(stderr, "vigild: cannot open the log file %s: %s\n",
			log_printable(why, sizeof why, d.cfg.log_file), strerror(-rc));
		return 1;
	}
	if (d.cfg.password_on_command_line)
		log_warn("config", "a password is on the command line, where every user of this "
				   "machine can read it; "
				   "use the configuration file or a cookie file");
	meter_slow_set((uint64_t)d.cfg.slow_ms * 1000000u);
	notify_open();
	raise_descriptor_limit(&d.cfg);
	uv_loop_init(&d.loop);

	bool up = start(&d);

	if (up)
		uv_run(&d.loop, UV_RUN_DEFAULT);
	take_down(&d);
	if (up)
		log_info("stopped", "Tower stopped");
	log_close();
	return up ? 0 : 1;
}
