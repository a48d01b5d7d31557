/* vigil-dataplane: wires net, scan and link together and gives each lcore its roles. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include "notify/notify.h"
#include "topo/link_priv.h"
#include "topo/nap.h"

/* How much longer than that of the port's lcore the longest nap of any other may be. */
#define DEEP_NAPS 10u

static atomic_bool quit;
/* The EAL orders a launched lcore behind what came before its launch, and the wait for its end behind that; but by means that
   a race detector does not see, so both are said here too. */
static atomic_uint launched_cnt, ended_cnt;

struct lcore_roles {
	bool net, main;
	unsigned worker[SCAN_LCORE_MAX];
	unsigned worker_cnt;
	struct nap nap;
	_Atomic uint64_t turns; /* the owner counts, the main lcore looks whether it goes on */
	uint64_t turns_seen;
};

struct topo {
	struct options o;
	struct scan *scan;
	struct net_role *net;
	struct link_role *link;
	struct lcore_roles roles[RTE_MAX_LCORE];
	struct lcore_roles *active[RTE_MAX_LCORE]; /* those with a role */
	unsigned active_cnt;
	uint64_t watch_ns, watch_period_ns; /* the service manager's watchdog; 0: there is none */
};

static void on_signal(int sig)
{
	(void)sig;
	atomic_store(&quit, true);
}

static uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Something was handed to another lcore, it does not matter to which. */
static void wake_others(struct topo *t, const struct lcore_roles *own)
{
	for (unsigned i = 0; i < t->active_cnt; i++)
		if (t->active[i] != own)
			nap_wake(&t->active[i]->nap);
}

/* A sign of life says that every lcore takes turns: one that hangs must not be covered by the others. */
static void watch(struct topo *t, uint64_t now)
{
	bool all = true;

	if (now < t->watch_ns)
		return;
	t->watch_ns = now + t->watch_period_ns;
	for (unsigned i = 0; i < t->active_cnt; i++) {
		uint64_t turns = atomic_load_explicit(&t->active[i]->turns, memory_order_relaxed);

		all &= turns != t->active[i]->turns_seen;
		t->active[i]->turns_seen = turns;
	}
	if (all)
		notify_alive();
}

static int lcore_run(void *arg)
{
	struct topo *t = arg;
	struct lcore_roles *roles = &t->roles[rte_lcore_id()];
	uint64_t turns = 0;

	(void)atomic_load_explicit(&launched_cnt, memory_order_acquire);
	prctl(PR_SET_TIMERSLACK, 1);
	while (!atomic_load_explicit(&quit, memory_order_relaxed)) {
		uint64_t now = mono_ns();
		bool worked = false, handed = false;

		atomic_store_explicit(&roles->turns, ++turns, memory_order_relaxed);
		if (roles->main && t->watch_period_ns != 0)
			watch(t, now);
		for (unsigned i = 0; i < roles->worker_cnt; i++)
			handed |= scan_worker_poll(t->scan, roles->worker[i]);
		if (roles->main)
			handed |= link_role_poll(t->link, now);
		if (roles->net)
			worked = net_role_poll(t->net, now, &handed);
		if (handed)
			wake_others(t, roles);
		nap_after_turn(&roles->nap, worked || handed, now, roles->main ? link_role_fd(t->link) : -1);
	}
	atomic_fetch_add_explicit(&ended_cnt, 1, memory_order_release);
	return 0;
}

static bool lcore_exists(uint32_t id)
{
	return id < RTE_MAX_LCORE && rte_lcore_is_enabled(id);
}

/* One lcore: everything on it.  Two: link and TCP together, the scan on the other.  More: one for each role, the
   rest scan. */
static void choose_lcores(struct options *o)
{
	unsigned id, main_id = rte_get_main_lcore(), cnt = rte_lcore_count();

	if (o->net_lcore == LCORE_NONE)
		o->net_lcore = cnt > 2 ? rte_get_next_lcore(-1, 1, 0) : main_id;
	if (o->scan_lcore_cnt > 0)
		return;
	RTE_LCORE_FOREACH(id)
	{
		if (id != main_id && id != o->net_lcore && o->scan_lcore_cnt < SCAN_LCORE_MAX)
			o->scan_lcore[o->scan_lcore_cnt++] = id;
	}
	if (o->scan_lcore_cnt == 0)
		o->scan_lcore[o->scan_lcore_cnt++] = main_id;
}

static bool assign_lcores(struct topo *t)
{
	choose_lcores(&t->o);
	if (!lcore_exists(t->o.net_lcore)) {
		fprintf(stderr, "vigil-dataplane: --net-lcore %u: not among the EAL's lcores (-l)\n",
			t->o.net_lcore);
		return false;
	}
	t->roles[rte_get_main_lcore()].main = true;
	t->roles[t->o.net_lcore].net = true;
	for (unsigned i = 0; i < t->o.scan_lcore_cnt; i++) {
		struct lcore_roles *roles;

		if (!lcore_exists(t->o.scan_lcore[i])) {
			fprintf(stderr,
				"vigil-dataplane: --scan-lcores %u: not among the EAL's lcores "
				"(-l)\n",
				t->o.scan_lcore[i]);
			return false;
		}
		roles = &t->roles[t->o.scan_lcore[i]];
		roles->worker[roles->worker_cnt++] = i;
	}
	return true;
}

/* On a tap the port's MAC is that of the kernel's interface, and two stacks cannot share one: ours is the same
   with the locally-administered bit and the last bit turned. */
static void choose_mac(struct net_config *n)
{
	static const uint8_t none[6];
	struct rte_eth_dev_info info;
	struct rte_ether_addr own;

	if (memcmp(n->mac, none, 6) != 0 || rte_eth_dev_info_get(n->port_id, &info) != 0 ||
	    strcmp(info.driver_name, "net_tap") != 0 || rte_eth_macaddr_get(n->port_id, &own) != 0)
		return;
	memcpy(n->mac, own.addr_bytes, 6);
	n->mac[0] |= 2;
	n->mac[5] ^= 1;
}

static bool build(struct topo *t)
{
	struct scan_config sc = {
		.worker_cnt = t->o.scan_lcore_cnt,
		.recent_blocks = t->o.recent_blocks,
		.window = t->o.window,
		.arrive_cnt = t->o.block_bufs,
		.name = "scan",
	};
	const char *why = NULL;

	sc.kernel = txid_select(cpu_features() & t->o.cpu_mask, t->o.txid_kernel, &why);
	if (sc.kernel == NULL)
		goto fail;
	if (getrandom(&sc.seed, sizeof(sc.seed), 0) != sizeof(sc.seed))
		goto fail;
	why = "out of memory for the scan";
	t->scan = scan_new(&sc);
	if (t->scan == NULL)
		goto fail;
	choose_mac(&t->o.net);
	t->net = net_role_new(&t->o, t->scan, &why);
	if (t->net == NULL)
		goto fail;
	t->link = link_role_new(&t->o, sc.kernel->name, t->o.scan_lcore_cnt, t->scan, t->net, &why);
	if (t->link == NULL)
		goto fail;
	link_log("info", "ready", "network %s, txid kernel %s, %u scan lcores, link %s", t->o.network->name,
		 sc.kernel->name, t->o.scan_lcore_cnt, t->o.link_path);
	return true;
fail:
	fprintf(stderr, "vigil-dataplane: %s\n", why != NULL ? why : "no randomness");
	return false;
}

static bool make_naps(struct topo *t)
{
	uint64_t max_ns = t->o.busy_poll ? 0 : (uint64_t)t->o.idle_sleep_us * 1000;
	uint64_t deep_ns = DEEP_NAPS * max_ns;
	unsigned id;

	/* Whoever sleeps takes a turn between two looks of the watchdog all the same. */
	if (t->watch_period_ns != 0) {
		uint64_t bound_ns = t->watch_period_ns / (2 * NAP_LONG);

		max_ns = max_ns < bound_ns ? max_ns : bound_ns;
		deep_ns = deep_ns < bound_ns ? deep_ns : bound_ns;
	}
	RTE_LCORE_FOREACH(id)
	{
		/* Only frames come unannounced; who is rung for may sleep on. */
		if (!nap_init(&t->roles[id].nap, t->roles[id].net ? max_ns : deep_ns)) {
			fprintf(stderr, "vigil-dataplane: no file descriptor left\n");
			return false;
		}
		if (t->roles[id].main || t->roles[id].net || t->roles[id].worker_cnt > 0)
			t->active[t->active_cnt++] = &t->roles[id];
	}
	return true;
}

static void run(struct topo *t)
{
	unsigned id;

	RTE_LCORE_FOREACH_WORKER(id)
	{
		if (!t->roles[id].net && t->roles[id].worker_cnt == 0)
			continue;
		atomic_fetch_add_explicit(&launched_cnt, 1, memory_order_release);
		rte_eal_remote_launch(lcore_run, t, id);
	}
	notify_ready();
	notify_status("Listening on %s, %u scan lcores", t->o.link_path, t->o.scan_lcore_cnt);
	lcore_run(t);
	notify_stopping();
	rte_eal_mp_wait_lcore();
	(void)atomic_load_explicit(&ended_cnt, memory_order_acquire);
	link_log("info", "stopped", "stopped by signal");
}

/* Help and version must not need hugepages or devices, wherever they stand. */
static bool wants_only_text(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			options_help();
			return true;
		}
		if (strcmp(argv[i], "--version") == 0) {
			printf("vigil-dataplane %s\n", VIGIL_VERSION);
			return true;
		}
	}
	return false;
}

/* Options are checked before the EAL touches any device. */
static enum options_result parse_after_dashes(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--") == 0) {
			char *name = argv[0], *dashes = argv[i];
			enum options_result res;

			argv[i] = name;
			res = options_parse(o, argc - i, argv + i);
			argv[i] = dashes;
			return res;
		}
	fprintf(stderr, "vigil-dataplane: no options after \"--\" (see --help)\n");
	return OPTIONS_EXIT_BAD;
}

int main(int argc, char **argv)
{
	static struct topo t;
	struct sigaction sa = {.sa_handler = on_signal};
	int rc = EXIT_FAILURE;

	if (wants_only_text(argc, argv))
		return EXIT_SUCCESS;
	switch (parse_after_dashes(&t.o, argc, argv)) {
	case OPTIONS_EXIT_OK:
		return EXIT_SUCCESS;
	case OPTIONS_EXIT_BAD:
		return EXIT_FAILURE;
	case OPTIONS_RUN:
		break;
	}
	if (rte_eal_init(argc, argv) < 0) {
		fprintf(stderr, "vigil-dataplane: EAL refused to start: %s\n", rte_strerror(rte_errno));
		return EXIT_FAILURE;
	}
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGHUP, SIG_IGN); /* there is no log file to open again */
	notify_open();
	t.watch_period_ns = notify_watchdog_ns() / 3;
	if (assign_lcores(&t) && make_naps(&t) && build(&t)) {
		run(&t);
		rc = EXIT_SUCCESS;
	}
	link_role_free(t.link);
	net_role_free(t.net);
	scan_free(t.scan);
	/* No rte_eal_cleanup: it unmaps the heap while EAL's interrupt thread may be at work in it, on a memif whose
	   other end has just gone.  The end of the process gives everything back. */
	return rc;
}
