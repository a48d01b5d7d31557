#include "rescan/pass.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <rte_pause.h>

#include "rescan/options.h"
#include "rescan/readahead.h"
#include "scan/scan.h"

/* More than the scan holds at once, so that it never waits for the next block's address. */
#define INFLIGHT_MAX 128u
/* Looks for work in vain, some 50 us of them, after which a thread sleeps. */
#define SPIN_MAX 1000u
#define NAP_NS   20000

/* A block on its way through the scan. */
struct inflight {
	struct block_buf buf;
	struct read_window *window;
	struct read_item item;
};

struct worker {
	struct pass *p;
	unsigned idx;
	pthread_t thread;
};

struct pass {
	struct scan *scan;
	unsigned worker_cnt;
	struct worker worker[RESCAN_THREADS_MAX]; /* 0 has no thread of its own */
	unsigned started;
	atomic_bool stop;
	const atomic_bool *quit;
	/* Of pass_run. */
	const struct pass_job *job;
	struct readahead *ra;
	struct read_window *window; /* being submitted; NULL: the next one is wanted */
	uint32_t window_pos;
	struct inflight inflight[INFLIGHT_MAX];
	uint32_t inflight_first, inflight_cnt;
	uint32_t epoch;
	uint64_t done_bytes, total_bytes;
	struct read_item *again; /* copies to try after this round; room for every item of it */
	uint32_t again_cnt;
};

uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- workers ------------------------------------------------------------------------------------------------ */

/* Workers meet many times a block, so they do not sleep at once.  Then they sleep and do not yield: on a busy machine
   who yields goes to the end of the queue, and who wakes to its head. */
static void relax(unsigned *idle)
{
	const struct timespec nap = {.tv_nsec = NAP_NS};

	if (*idle < SPIN_MAX) {
		++*idle;
		rte_pause();
	} else {
		nanosleep(&nap, NULL);
	}
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	unsigned idle = 0;

	prctl(PR_SET_TIMERSLACK, 1);
	while (!atomic_load_explicit(&w->p->stop, memory_order_relaxed)) {
		if (scan_worker_poll(w->p->scan, w->idx))
			idle = 0;
		else
			relax(&idle);
	}
	return NULL;
}

struct pass *pass_new(const struct txid_kernel *kernel, unsigned threads, const atomic_bool *quit)
{
	struct scan_config cfg = {
		.kernel = kernel, .worker_cnt = threads, .window = UINT32_MAX, .name = "rescan"};
	struct pass *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	prctl(PR_SET_TIMERSLACK, 1);
	p->quit = quit;
	p->worker_cnt = threads;
	if (getrandom(&cfg.seed, sizeof(cfg.seed), 0) == sizeof(cfg.seed))
		p->scan = scan_new(&cfg);
	p->started = p->scan != NULL ? 1 : 0;
	while (p->scan != NULL && p->started < threads) {
		struct worker *w = &p->worker[p->started];

		*w = (struct worker){.p = p, .idx = p->started};
		if (pthread_create(&w->thread, NULL, worker_run, w) != 0)
			break;
		p->started++;
	}
	if (p->started < threads) {
		pass_free(p);
		return NULL;
	}
	return p;
}

void pass_free(struct pass *p)
{
	if (p == NULL)
		return;
	atomic_store(&p->stop, true);
	for (unsigned i = 1; i < p->started; i++)
		pthread_join(p->worker[i].thread, NULL);
	scan_free(p->scan);
	free(p);
}

/* --- locators ----------------------------------------------------------------------------------------------- */

static bool quitting(const struct pass *p)
{
	return atomic_load_explicit(p->quit, memory_order_relaxed);
}

static bool edit(struct pass *p, const struct scan_edit *e)
{
	unsigned idle = 0;

	while (!scan_edit(p->scan, e)) {
		if (quitting(p))
			return false;
		if (!scan_worker_poll(p->scan, 0))
			relax(&idle);
	}
	return true;
}

bool pass_load(struct pass *p, const struct locator *l)
{
	return edit(p, &(struct scan_edit){.kind = SCAN_LOAD, .locator = *l});
}

void pass_load_end(struct pass *p)
{
	unsigned idle = 0;

	if (!edit(p, &(struct scan_edit){.kind = SCAN_LOADED}))
		return;
	while (!scan_edits_done(p->scan) && !quitting(p))
		if (!scan_worker_poll(p->scan, 0))
			relax(&idle);
}

/* --- blocks out --------------------------------------------------------------------------------------------- */

static const struct found_block *block_of(const struct pass *p, uint32_t idx)
{
	return &p->job->table->block[idx];
}

/* The block's other copies may be good. */
static bool fail(struct pass *p, struct read_item it, enum fault_kind kind, const char *why)
{
	const struct found_block *at = block_of(p, it.at);
	struct fault f = {.kind = kind, .file = at->file, .off = at->off, .sz = at->sz, .why = why};

	if (at->next_copy != BLOCK_NONE)
		p->again[p->again_cnt++] = (struct read_item){.block = it.block, .at = at->next_copy};
	else
		p->job->counts->lost++;
	if (!faults_add(p->job->faults, &f))
		return false;
	progress_clear(p->job->progress);
	report_fault(p->job->err, p->job->files, p->job->faults, p->job->faults->cnt - 1);
	return true;
}

static const char *verdict_text(enum block_verdict v)
{
	switch (v) {
	case BLOCK_GOOD:
		return "good";
	case BLOCK_BAD_PARSE:
		return "a block that does not parse";
	case BLOCK_BAD_MERKLE:
		return "a block whose transactions are not those of its header";
	case BLOCK_MUTATED:
		return "a block with transactions repeated at its end";
	case BLOCK_CANCELLED:
		break;
	}
	return "a block that the scan passed over";
}

static void give_hits(const struct pass *p, const struct scan_output *o, struct read_item it)
{
	struct hit h = {.block = block_of(p, it.block), .at = block_of(p, it.at)};

	h.file = &p->job->files->file[h.at->file];
	if (o->hit_cnt > 0)
		progress_clear(p->job->progress);
	for (uint32_t i = 0; i < o->hit_cnt; i++) {
		h.tx_idx = o->hit[i].tx_idx;
		h.scheme = o->hit[i].scheme;
		h.txid = o->txid[h.tx_idx];
		report_hit(p->job->out, &h);
	}
	if (o->hit_cnt > 0)
		fflush(p->job->out);
}

static bool finish_block(struct pass *p, const struct scan_output *o)
{
	struct inflight *f = &p->inflight[p->inflight_first];
	struct rescan_counts *c = p->job->counts;
	bool good = true;

	if (o->verdict == BLOCK_GOOD) {
		give_hits(p, o, f->item);
		c->scanned++;
		c->bytes += f->buf.sz;
		c->txs += o->block->tx_cnt;
		c->hits += o->hit_cnt;
	} else {
		good = fail(p, f->item, FAULT_BAD_BLOCK, verdict_text(o->verdict));
	}
	p->done_bytes += f->buf.sz;
	if (--f->window->left == 0)
		readahead_release(p->ra, f->window);
	p->inflight_first = (p->inflight_first + 1) % INFLIGHT_MAX;
	p->inflight_cnt--;
	return good;
}

static bool take_outputs(struct pass *p, bool *worked)
{
	struct scan_output o;
	bool good = true;

	while (good && scan_output(p->scan, &o)) {
		*worked = true;
		good = finish_block(p, &o);
		scan_output_release(p->scan, &o);
	}
	return good;
}

/* --- blocks in ---------------------------------------------------------------------------------------------- */

/* False: the scan has no room now. */
static bool submit(struct pass *p, struct read_item it, uint8_t *data)
{
	uint32_t slot = (p->inflight_first + p->inflight_cnt) % INFLIGHT_MAX;
	struct inflight *f = &p->inflight[slot];
	const struct found_block *b = block_of(p, it.block);
	struct scan_event e = {.ev = {.kind = CHAIN_CONNECT, .height = b->height, .hash = b->hash}};

	*f = (struct inflight){.buf = {.data = data, .sz = block_of(p, it.at)->sz, .slot = slot},
			       .window = p->window,
			       .item = it};
	memcpy(e.ev.header, data, HEADER_SZ);
	e.ev.buf = &f->buf;
	e.ev.epoch = p->epoch; /* one each: what is wrong with a block says nothing about the next */
	if (!scan_submit(p->scan, &e))
		return false;
	p->epoch++;
	p->inflight_cnt++;
	return true;
}

/* A file that has been written to since the first pass may hold anything there now. */
static bool still_there(const struct pass *p, struct read_item it, const uint8_t *data)
{
	struct hash256 hash = header_hash(data);

	return hash256_eq(&hash, &block_of(p, it.block)->hash);
}

/* Submits what there is room for.  False when memory is out. */
static bool feed(struct pass *p, const struct read_item *item, bool *worked)
{
	while (p->inflight_cnt < INFLIGHT_MAX) {
		struct read_item it;
		uint8_t *data;
		bool good = true;

		if (p->window == NULL) {
			p->window = readahead_next(p->ra);
			p->window_pos = 0;
			if (p->window == NULL)
				return true;
		}
		it = item[p->window->first + p->window_pos];
		data = readahead_block(p->ra, p->window, p->window_pos);
		if (data != NULL && still_there(p, it, data)) {
			if (!submit(p, it, data))
				return true;
		} else {
			good = fail(p, it, FAULT_UNREADABLE,
				    data == NULL ? "a block that cannot be read"
						 : "a block that is no longer what it was");
			p->done_bytes += block_of(p, it.at)->sz;
			if (--p->window->left == 0)
				readahead_release(p->ra, p->window);
		}
		*worked = true;
		if (++p->window_pos == p->window->cnt)
			p->window = NULL;
		if (!good)
			return false;
	}
	return true;
}

/* --- the pass ----------------------------------------------------------------------------------------------- */

static bool round_run(struct pass *p, const struct read_item *item, uint32_t cnt)
{
	unsigned readers = 1 + p->worker_cnt / 2, idle = 0;
	uint64_t round_bytes = 0, begun = p->done_bytes;
	bool good = true;

	for (uint32_t i = 0; i < cnt; i++)
		round_bytes += block_of(p, item[i].at)->sz;
	p->total_bytes = begun + round_bytes;
	p->window = NULL;
	p->ra = readahead_new(p->job->files, p->job->table, item, cnt, readers);
	if (p->ra == NULL)
		return false;
	while (good && (p->inflight_cnt > 0 || (p->done_bytes - begun < round_bytes && !quitting(p)))) {
		bool worked = false;

		good = take_outputs(p, &worked);
		if (good && !quitting(p))
			good = feed(p, item, &worked);
		worked |= scan_worker_poll(p->scan, 0);
		if (worked)
			idle = 0;
		else if (p->inflight_cnt == 0)
			readahead_wait(p->ra);
		else
			relax(&idle);
		progress_scan(p->job->progress, p->job->counts, p->done_bytes, p->total_bytes, mono_ns());
		if (ferror(p->job->out))
			break;
	}
	/* Blocks in the scan point into the windows. */
	while (p->inflight_cnt > 0) {
		bool worked = false;

		take_outputs(p, &worked);
		scan_worker_poll(p->scan, 0);
	}
	readahead_free(p->ra);
	p->ra = NULL;
	return good;
}

static bool wanted(const struct pass_job *job, const struct found_block *b)
{
	if (b->is_copy || (!job->all && !b->best_chain))
		return false;
	return b->height == HEIGHT_UNKNOWN || (b->height >= job->from && b->height <= job->to);
}

static int by_place(const void *a, const void *b)
{
	const struct read_item *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

bool pass_run(struct pass *p, const struct pass_job *job, const char **why)
{
	const struct block_table *t = job->table;
	struct read_item *item = malloc(((size_t)t->cnt + 1) * sizeof(*item));
	uint32_t cnt = 0;
	bool good = true;

	*why = "out of memory";
	p->job = job;
	p->again = malloc(((size_t)t->cnt + 1) * sizeof(*p->again));
	if (item == NULL || p->again == NULL) {
		free(item);
		free(p->again);
		return false;
	}
	for (uint32_t i = 0; i < t->cnt; i++) {
		if (wanted(job, &t->block[i]))
			item[cnt++] = (struct read_item){.block = i, .at = i};
		else
			job->counts->skipped += !t->block[i].is_copy;
	}
	while (good && cnt > 0 && !quitting(p) && !ferror(job->out)) {
		struct read_item *swap = item;

		p->again_cnt = 0;
		good = round_run(p, item, cnt);
		item = p->again;
		cnt = p->again_cnt;
		p->again = swap;
		qsort(item, cnt, sizeof(*item), by_place);
	}
	progress_clear(job->progress);
	free(item);
	free(p->again);
	return good;
}
