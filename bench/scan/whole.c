#include "scan/whole.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>

/* As vigil-dataplane has them without options. */
#define RECENT_BLOCKS 6u
#define WINDOW        32u
#define SEED          0x5eed5ca9u
#define NAP_NS        100000
#define LCORES_TEXT   4096u

struct whole {
	struct scan *scan;
	unsigned lcores;
	uint32_t height;
	uint64_t acked;
	char name[16];
};

static struct {
	_Atomic(struct whole *) at;
	atomic_uint turn; /* raised after `at` was changed */
	atomic_bool quit;
	unsigned lcores;
	struct {
		_Alignas(64) atomic_uint seen; /* the turn that this lcore acts by */
	} member[SCAN_WORKER_MAX];
} crew;

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
}

static int member_run(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	while (!atomic_load(&crew.quit)) {
		unsigned turn = atomic_load(&crew.turn);
		struct whole *w = atomic_load(&crew.at);

		atomic_store(&crew.member[me].seen, turn);
		if (w == NULL || me >= w->lcores)
			nap();
		else
			scan_worker_poll(w->scan, me);
	}
	return 0;
}

void whole_use(struct whole *w)
{
	unsigned turn;

	if (atomic_load(&crew.at) == w)
		return;
	atomic_store(&crew.at, w);
	turn = atomic_fetch_add(&crew.turn, 1) + 1;
	for (unsigned i = 1; i < crew.lcores; i++)
		while (atomic_load(&crew.member[i].seen) != turn)
			sched_yield();
}

/* "0@cpu,1@cpu,..." over the CPUs of this process.  Returns how many there are in it. */
static unsigned lcores_text(char *out, unsigned want)
{
	cpu_set_t cpus;
	unsigned cnt = 0;
	size_t at = 0;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
		return 0;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE && cnt < want; cpu++)
		if (CPU_ISSET(cpu, &cpus) && at + 24 < LCORES_TEXT)
			at += (size_t)snprintf(out + at, LCORES_TEXT - at, "%s%u@%u", cnt ? "," : "", cnt, cpu),
				cnt++;
	return cnt;
}

unsigned crew_start(unsigned lcores)
{
	char cpus[LCORES_TEXT], prefix[48];
	char text[][32] = {"vigil-bench-scan",
			   "--lcores",
			   "",
			   "--no-huge",
			   "-m",
			   "256",
			   "--no-pci",
			   "--no-shconf",
			   "--no-telemetry",
			   "",
			   "--log-level=lib.eal:error"};
	char *argv[sizeof(text) / sizeof(text[0]) + 1] = {NULL};
	int argc = (int)(sizeof(text) / sizeof(text[0]));
	unsigned id, i = 1;

	crew.lcores = lcores_text(cpus, lcores < SCAN_WORKER_MAX ? lcores : SCAN_WORKER_MAX);
	snprintf(prefix, sizeof(prefix), "--file-prefix=vigil-bench-%d", (int)getpid());
	for (int k = 0; k < argc; k++)
		argv[k] = text[k];
	argv[2] = cpus;
	argv[9] = prefix;
	if (crew.lcores == 0 || rte_eal_init(argc, argv) < 0)
		return 0;
	RTE_LCORE_FOREACH_WORKER(id)
	{
		if (rte_eal_remote_launch(member_run, (void *)(uintptr_t)i++, id) != 0)
			return 0;
	}
	return crew.lcores;
}

void crew_stop(void)
{
	atomic_store(&crew.quit, true);
	rte_eal_mp_wait_lcore();
	crew.lcores = 1; /* nobody is left to be waited for */
}

/* An edit waits for room, which this lcore itself makes for shard 0. */
static void edit(struct whole *w, const struct scan_edit *e)
{
	while (!scan_edit(w->scan, e))
		scan_worker_poll(w->scan, 0);
}

static void load(struct whole *w, const struct set *set, uint64_t decoy_cnt)
{
	struct scan_edit e = {.kind = SCAN_EXPECT, .cookie = decoy_cnt + set->plant_cnt};

	edit(w, &e);
	e.kind = SCAN_LOAD;
	for (uint64_t i = 0; i < decoy_cnt; i++) {
		e.locator = set_decoy(i);
		edit(w, &e);
	}
	for (uint32_t i = 0; i < set->plant_cnt; i++) {
		e.locator = set->plant[i];
		edit(w, &e);
	}
	e.kind = SCAN_LOADED;
	edit(w, &e);
	while (!scan_edits_done(w->scan))
		scan_worker_poll(w->scan, 0);
}

/* Until every shard has nothing left to tidy, which a worker begins after some turns without work. */
static void rest(struct whole *w)
{
	for (unsigned i = 0; i < w->lcores; i++)
		for (unsigned idle = 0; idle < 1000;)
			idle = scan_worker_poll(w->scan, i) ? 0 : idle + 1;
}

static bool start(struct whole *w)
{
	const struct scan_event e = {.ev = {.kind = CHAIN_START}};
	struct scan_output o;

	if (!scan_submit(w->scan, &e))
		return false;
	while (!scan_output(w->scan, &o))
		scan_worker_poll(w->scan, 0);
	scan_output_release(w->scan, &o);
	return o.event.ev.kind == CHAIN_START;
}

struct whole *whole_new(const struct txid_kernel *kernel, unsigned lcores, const struct set *set,
			uint64_t decoy_cnt)
{
	struct whole *w = calloc(1, sizeof(*w));
	struct scan_config c = {.kernel = kernel,
				.worker_cnt = lcores,
				.seed = SEED,
				.recent_blocks = RECENT_BLOCKS,
				.window = WINDOW};

	if (w == NULL)
		return NULL;
	snprintf(w->name, sizeof(w->name), "bench%u", lcores);
	w->lcores = lcores;
	c.name = w->name;
	w->scan = scan_new(&c);
	if (w->scan == NULL) {
		free(w);
		return NULL;
	}
	whole_use(w);
	load(w, set, decoy_cnt);
	whole_use(NULL);
	rest(w);
	whole_use(w);
	if (!start(w)) {
		whole_free(w);
		return NULL;
	}
	return w;
}

void whole_free(struct whole *w)
{
	if (w == NULL)
		return;
	if (atomic_load(&crew.at) == w)
		whole_use(NULL);
	scan_free(w->scan);
	free(w);
}

static bool submit(struct whole *w, const struct set_block *b)
{
	struct scan_event e = {
		.ev = {.kind = CHAIN_CONNECT, .height = w->height + 1, .hash = b->hash, .buf = b->buf}};

	memcpy(e.ev.header, b->buf->data, HEADER_SZ);
	if (!scan_submit(w->scan, &e))
		return false;
	w->height++;
	return true;
}

/* What control's acknowledgement of a block does. */
static void acknowledge(struct whole *w, uint32_t height)
{
	scan_ack(w->scan, ++w->acked);
	if (height >= RECENT_BLOCKS)
		edit(w, &(struct scan_edit){.kind = SCAN_EVICT, .height = height - RECENT_BLOCKS});
}

bool whole_pass(struct whole *w, const struct set *set)
{
	uint32_t first = w->height, in = 0, out = 0;
	struct scan_output o;
	bool good = true;

	while (out < set->block_cnt) {
		if (in < set->block_cnt && submit(w, &set->block[in]))
			in++;
		scan_worker_poll(w->scan, 0);
		while (scan_output(w->scan, &o)) {
			good &= o.kind == SCAN_OUT_EVENT && o.verdict == BLOCK_GOOD &&
				o.event.ev.height == first + out + 1 &&
				set_hits_right(set, out, o.hit, o.hit_cnt);
			scan_output_release(w->scan, &o);
			acknowledge(w, first + ++out);
		}
	}
	return good;
}
