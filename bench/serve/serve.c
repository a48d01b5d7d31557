#include "serve/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "serve/node.h"

/* As the dataplane idles: turns go on for this long after the last work, then naps until a frame comes. */
enum { SPIN_NS = 200000, NAP_NS = 50000 };
enum { LEARN_BATCH = 64 };
#define SECOND_NS 1000000000u

static volatile sig_atomic_t stop_seen, go_seen;

struct pace {
	const struct serve_options *o;
	uint64_t next_ns;
	unsigned holds_passed;
	bool held, first, all_reported;
	sig_atomic_t go_used;
};

static void on_stop(int sig)
{
	(void)sig;
	stop_seen = 1;
}

static void on_go(int sig)
{
	(void)sig;
	go_seen++;
}

void serve_catch_signals(void)
{
	/* Restarting, or a signal could cut a line of the report short. */
	struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
	struct sigaction go = {.sa_handler = on_go, .sa_flags = SA_RESTART};

	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGUSR1, &go, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static uint32_t blocks_lost(const struct chainset *cs, uint32_t old_tip)
{
	uint32_t lost = 0;

	for (; old_tip != CHAINSET_NONE && !chainset_is_active(cs, old_tip); lost++)
		old_tip = chainset_block(cs, old_tip)->parent;
	return lost;
}

static void learn(struct node *n, bool loud)
{
	uint32_t idx = chainset_known(n->chain), old_tip = chainset_tip(n->chain);
	bool tip = chainset_learn(n->chain);
	const struct chain_block *b = chainset_block(n->chain, idx);

	for (unsigned i = 0; tip && i < NODE_PEERS_MAX; i++) {
		if (n->peer[i])
			n->peer[i]->tip_news = true;
	}
	if (!loud)
		return;
	report_begin(n->report, tip ? "announce" : "side_block", mono_ns());
	report_num(n->report, "height", b->height);
	report_hash(n->report, "hash", &b->hash);
	report_num(n->report, "sz", b->sz);
	if (tip)
		report_num(n->report, "disconnected", blocks_lost(n->chain, old_tip));
	report_end(n->report);
}

static bool may_start(struct pace *p, const struct node *n)
{
	const struct serve_options *o = p->o;

	if (go_seen != p->go_used) {
		p->go_used = go_seen;
		return true;
	}
	if (!p->first)
		return false;
	if (o->start_on_peer) {
		for (unsigned i = 0; i < NODE_PEERS_MAX; i++) {
			if (n->peer[i] && n->peer[i]->asked_headers)
				return true;
		}
	}
	if (o->start_file)
		return access(o->start_file, F_OK) == 0;
	return !o->start_on_signal && !o->start_on_peer;
}

static bool must_hold(struct pace *p, const struct node *n)
{
	const struct serve_options *o = p->o;

	if (p->holds_passed == o->hold_cnt || chainset_tip_height(n->chain) < o->hold[p->holds_passed])
		return false;
	p->holds_passed++;
	report_begin(n->report, "hold", mono_ns());
	report_num(n->report, "height", chainset_tip_height(n->chain));
	report_end(n->report);
	return true;
}

/* Learns and announces what is due.  True when it did. */
static bool keep_pace(struct pace *p, struct node *n, uint64_t now)
{
	uint32_t cnt = chainset_cnt(n->chain);
	unsigned learned = 0;

	if (chainset_known(n->chain) == cnt) {
		if (!p->all_reported) {
			report_begin(n->report, "all_known", now);
			report_num(n->report, "height", chainset_tip_height(n->chain));
			report_end(n->report);
		}
		p->all_reported = true;
		return false;
	}
	if (p->held) {
		if (!may_start(p, n))
			return false;
		p->held = p->first = false;
		p->next_ns = now;
	}
	if (p->next_ns + SECOND_NS / 10 < now)
		p->next_ns = now; /* a pace that cannot be kept does not pile up */
	while (!p->held && now >= p->next_ns && chainset_known(n->chain) < cnt &&
	       (learned < LEARN_BATCH || p->o->interval_ns == 0)) {
		learn(n, true);
		learned++;
		p->next_ns += p->o->interval_ns;
		p->held = must_hold(p, n);
	}
	for (unsigned i = 0; learned && i < NODE_PEERS_MAX; i++) {
		if (n->peer[i])
			peer_flush(n->peer[i]);
	}
	return learned > 0;
}

static void summary(const struct node *n, const struct net *net)
{
	struct net_stats s;

	net_stats_get(net, &s);
	report_begin(n->report, "summary", mono_ns());
	report_num(n->report, "known", chainset_known(n->chain));
	report_num(n->report, "height", chainset_tip_height(n->chain));
	report_num(n->report, "connections", n->stats.connections);
	report_num(n->report, "headers", n->stats.headers);
	report_num(n->report, "blocks", n->stats.blocks);
	report_num(n->report, "blocks_stripped", n->stats.blocks_stripped);
	report_num(n->report, "block_bytes", n->stats.block_bytes);
	report_num(n->report, "txs", n->stats.txs_in);
	report_num(n->report, "txs_new", n->stats.txs_new);
	report_num(n->report, "faults", n->stats.faults);
	report_num(n->report, "rx_frames", s.rx_frames);
	report_num(n->report, "rx_bytes", s.rx_bytes);
	report_num(n->report, "tx_frames", s.tx_frames);
	report_num(n->report, "tx_bytes", s.tx_bytes);
	report_num(n->report, "frames_dropped", s.faults_dropped);
	report_num(n->report, "frames_reordered", s.faults_reordered);
	report_end(n->report);
}

static void run(struct node *n, struct net *net, const struct serve_options *o)
{
	struct pace pace = {.o = o, .held = true, .first = true};
	const struct timespec nap = {0, NAP_NS};
	uint64_t now = mono_ns(), end = o->exit_after_ns ? now + o->exit_after_ns : UINT64_MAX;
	uint64_t work_ns = now;

	prctl(PR_SET_TIMERSLACK, 1);
	while (!stop_seen && now < end) {
		bool busy = net_poll(net, now) > 0;

		for (unsigned i = 0; i < NODE_PEERS_MAX; i++)
			if (n->peer[i])
				peer_report_sent(n->peer[i], now);
		busy |= keep_pace(&pace, n, now);
		if (busy)
			work_ns = now;
		else if (now - work_ns >= SPIN_NS && !o->busy_poll)
			nanosleep(&nap, NULL);
		now = mono_ns();
	}
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "vigil-replay serve: %s%s%s\n", what, *why ? ": " : "", why);
	return 1;
}

static bool node_open(struct node *n, const struct serve_options *o)
{
	char why[CHAINSET_WHY_SZ];

	n->report = report_open(o->report);
	if (!n->report) {
		fail(o->report, strerror(errno));
		return false;
	}
	n->chain = chainset_open(o->paths, o->path_cnt, o->network, o->anchor_height, why);
	if (!n->chain) {
		fail(why, "");
		return false;
	}
	n->pool = mempool_new();
	n->tx = calloc(BLOCK_TX_MAX, sizeof(*n->tx));
	if (!n->pool || !n->tx) {
		fail("out of memory", "");
		return false;
	}
	n->faults = o->faults;
	n->rng = rng_stream(mono_ns(), (uint64_t)getpid(), 0);
	while (chainset_known(n->chain) < o->start_blocks && chainset_known(n->chain) < chainset_cnt(n->chain))
		learn(n, false);
	for (uint32_t i = 0; o->precompute && i < chainset_cnt(n->chain); i++)
		chainset_checksum(n->chain, i);
	return true;
}

static void node_close(struct node *n)
{
	free(n->tx);
	mempool_free(n->pool);
	chainset_close(n->chain);
	report_close(n->report);
}

int serve_run(const struct serve_options *o)
{
	struct node n = {0};
	struct net *net = NULL;
	const char *why = "";
	uint16_t port;
	int rc = 1, err;

	if (!node_open(&n, o))
		goto out;
	err = net_open(&net, &o->net, &why);
	if (err) {
		fail(why, strerror(-err));
		goto out;
	}
	port = o->port ? o->port : chainset_network(n.chain)->p2p_port;
	err = net_listen(net, port, &peer_ops, peer_accept, &n);
	if (err) {
		fail("cannot listen", strerror(-err));
		goto out;
	}
	report_begin(n.report, "listening", mono_ns());
	report_text(n.report, "network", chainset_network(n.chain)->name);
	report_num(n.report, "port", port);
	report_num(n.report, "blocks", chainset_cnt(n.chain));
	report_num(n.report, "left_out", chainset_left_out(n.chain));
	report_num(n.report, "known", chainset_known(n.chain));
	report_num(n.report, "height", chainset_tip_height(n.chain));
	report_end(n.report);
	run(&n, net, o);
	summary(&n, net);
	rc = 0;
out:
	if (net)
		net_free(net);
	node_close(&n);
	return rc;
}
