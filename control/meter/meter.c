#include "meter/meter.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log/log.h"

#define US 1000ull
#define MS 1000000ull

const uint64_t meter_bound_ns[METER_BOUND_CNT] = {
	50 * US, 100 * US, 250 * US, 500 * US, 1 * MS,   2500 * US, 5 * MS,    10 * MS,
	25 * MS, 50 * MS,  100 * MS, 250 * MS, 500 * MS, 1000 * MS, 5000 * MS, 30000 * MS};

const struct meter_info meter_infos[METER_CNT] = {
	[METER_HIT] = {"hit", "Time from the last byte of a block to a hit in it."},
	[METER_SENT] = {"sent", "Time from a hit to its penalty at a first peer or node."},
	[METER_BLOCK] = {"block", "Time that the effects of one connected block took to apply."},
	[METER_SYNC] = {"sync", "Time of one sync of the store's log to disk."},
	[METER_REQUEST] = {"request", "Time from a complete request of a client to its answer."},
	[METER_NODE] = {"node", "Time of one RPC of a Bitcoin node."},
	[METER_COMMAND] = {"command", "Time of one request on the control socket."},
};

static struct {
	struct {
		_Atomic uint64_t bucket[METER_BOUND_CNT + 1], sum_ns, slow;
	} m[METER_CNT];
	_Atomic uint64_t threshold_ns;
	pthread_mutex_t lock;
	/* Under the lock. */
	struct meter_slow ring[METER_SLOW_CNT], slowest[METER_CNT];
	uint64_t slow_total;
	uint64_t told_ms;
} all = {.threshold_ns = METER_SLOW_DFLT_NS, .lock = PTHREAD_MUTEX_INITIALIZER};

uint64_t meter_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t unix_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* At most one line a second: the ring has the others. */
static void tell(const struct meter_slow *s, bool due)
{
	if (due)
		log_warn("slow", "Something took long", log_str("what", meter_infos[s->meter].name),
			 log_u64("us", s->ns / 1000), log_str("detail", s->detail), log_u64("seq", s->seq));
}

static void slow(struct meter_slow *s)
{
	bool due;

	for (char *p = s->detail; *p != '\0'; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	s->unix_ms = unix_ms();
	pthread_mutex_lock(&all.lock);
	s->seq = ++all.slow_total;
	all.ring[(s->seq - 1) % METER_SLOW_CNT] = *s;
	if (s->ns > all.slowest[s->meter].ns)
		all.slowest[s->meter] = *s;
	due = s->unix_ms - all.told_ms >= 1000;
	if (due)
		all.told_ms = s->unix_ms;
	pthread_mutex_unlock(&all.lock);
	tell(s, due);
}

void meter_note(enum meter m, uint64_t ns, const char *fmt, ...)
{
	uint64_t threshold = atomic_load_explicit(&all.threshold_ns, memory_order_relaxed);
	struct meter_slow s = {.meter = m, .ns = ns};
	unsigned i = 0;
	va_list ap;

	while (i < METER_BOUND_CNT && ns > meter_bound_ns[i])
		i++;
	atomic_fetch_add_explicit(&all.m[m].bucket[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&all.m[m].sum_ns, ns, memory_order_relaxed);
	if (threshold == 0 || ns < threshold)
		return;
	atomic_fetch_add_explicit(&all.m[m].slow, 1, memory_order_relaxed);
	if (fmt != NULL) {
		va_start(ap, fmt);
		vsnprintf(s.detail, sizeof(s.detail), fmt, ap);
		va_end(ap);
	}
	slow(&s);
}

void meter_read(enum meter m, struct meter_counts *out)
{
	out->cnt = 0;
	for (unsigned i = 0; i <= METER_BOUND_CNT; i++) {
		out->bucket[i] = atomic_load_explicit(&all.m[m].bucket[i], memory_order_relaxed);
		out->cnt += out->bucket[i];
	}
	out->sum_ns = atomic_load_explicit(&all.m[m].sum_ns, memory_order_relaxed);
	out->slow = atomic_load_explicit(&all.m[m].slow, memory_order_relaxed);
}

void meter_slow_set(uint64_t threshold_ns)
{
	atomic_store_explicit(&all.threshold_ns, threshold_ns, memory_order_relaxed);
}

uint64_t meter_slow_threshold(void)
{
	return atomic_load_explicit(&all.threshold_ns, memory_order_relaxed);
}

unsigned meter_slow_read(struct meter_slow *out, unsigned cnt, uint64_t *total)
{
	unsigned n = 0;

	pthread_mutex_lock(&all.lock);
	*total = all.slow_total;
	while (n < cnt && n < METER_SLOW_CNT && n < all.slow_total) {
		out[n] = all.ring[(all.slow_total - 1 - n) % METER_SLOW_CNT];
		n++;
	}
	pthread_mutex_unlock(&all.lock);
	return n;
}

bool meter_slowest(enum meter m, struct meter_slow *out)
{
	pthread_mutex_lock(&all.lock);
	*out = all.slowest[m];
	pthread_mutex_unlock(&all.lock);
	return out->seq != 0;
}

void meter_reset(void)
{
	for (unsigned m = 0; m < METER_CNT; m++) {
		for (unsigned i = 0; i <= METER_BOUND_CNT; i++)
			atomic_store(&all.m[m].bucket[i], 0);
		atomic_store(&all.m[m].sum_ns, 0);
		atomic_store(&all.m[m].slow, 0);
	}
	meter_slow_set(METER_SLOW_DFLT_NS);
	pthread_mutex_lock(&all.lock);
	memset(all.ring, 0, sizeof(all.ring));
	memset(all.slowest, 0, sizeof(all.slowest));
	all.slow_total = all.told_ms = 0;
	pthread_mutex_unlock(&all.lock);
}
