/* The thread that syncs the log for everybody who waits, and the callbacks that it owes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kill/kill_point.h"
#include "log/log.h"
#include "meter/meter.h"
#include "store/store_priv.h"
#include "store/wal.h"

#define PENDING_MIN_CNT 64u
/* Batches that a sync must have covered for the next one to wait for more, and for how long at most. */
#define GATHER_MIN_CNT 4u
#define GATHER_MAX_NS  1000000u

bool store_fault_due(struct fault *f)
{
	if (f->left == 0 || --f->left > 0)
		return false;
	f->odd = !f->odd;
	f->left = f->every > 0 ? f->every + f->odd : 0;
	return true;
}

static void signal_caller(struct store *s)
{
	uint64_t one = 1;
	ssize_t n;

	do {
		n = write(s->event_fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
}

/* When many write at the same time, a sync that begins as soon as the last one has ended covers the few that came in
   the meantime, and the processor is busy with syncs.  One that waits for as long as the last one took covers twice as
   many.  Where few write, nobody waits.  With the lock held on entry and exit. */
static void gather(struct store *s)
{
	const struct timespec ts = {.tv_nsec = (long)(s->sync_ns < GATHER_MAX_NS ? s->sync_ns : GATHER_MAX_NS)};

	if (s->group_cnt < GATHER_MIN_CNT || s->stop)
		return;
	pthread_mutex_unlock(&s->lock);
	nanosleep(&ts, NULL);
	pthread_mutex_lock(&s->lock);
}

/* With the lock held on entry and exit. */
static void sync_once(struct store *s)
{
	uint64_t target = s->written;
	bool fault = store_fault_due(&s->fault_sync);
	uint64_t begun = meter_now_ns();
	int rc;

	s->syncing = true;
	s->group_cnt = target - s->synced;
	pthread_mutex_unlock(&s->lock);
	rc = fault ? -ENOSPC : wal_sync(s->wal);
	s->sync_ns = meter_now_ns() - begun;
	meter_note(METER_SYNC, s->sync_ns, rc < 0 ? "failed" : "the store's log");
	if (rc < 0)
		log_error("store_sync_failed", "The store's log cannot be synced",
			  log_str("error", strerror(-rc)));
	if (rc == 0)
		KILL_POINT("store:after-sync");
	pthread_mutex_lock(&s->lock);
	s->syncing = false;
	s->stats.syncs++;
	if (rc < 0) {
		s->stats.failures++;
		s->broken = true;
		s->sync_failed = true;
	} else {
		s->synced = target;
	}
	pthread_cond_broadcast(&s->idle);
	signal_caller(s);
}

void *store_sync_main(void *arg)
{
	struct store *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		if (!s->sync_failed && s->written > s->synced) {
			gather(s);
			sync_once(s);
		} else if (s->stop) {
			break;
		} else {
			pthread_cond_wait(&s->wake, &s->lock);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

void store_ring_push(struct store *s, uint64_t seq, void (*done)(void *, bool), void *arg)
{
	s->ring[(s->ring_head + s->ring_cnt) % s->ring_cap] = (struct pending){seq, done, arg};
	s->ring_cnt++;
}

/* Before a write, so that a callback that is owed can always be kept. */
bool store_ring_room(struct store *s)
{
	size_t cap = s->ring_cap == 0 ? PENDING_MIN_CNT : s->ring_cap * 2;
	struct pending *p;

	if (s->ring_cnt < s->ring_cap)
		return true;
	p = malloc(cap * sizeof(*p));
	if (p == NULL)
		return false;
	for (size_t i = 0; i < s->ring_cnt; i++)
		p[i] = s->ring[(s->ring_head + i) % s->ring_cap];
	free(s->ring);
	s->ring = p;
	s->ring_cap = cap;
	s->ring_head = 0;
	return true;
}

/* Answers everything up to seq. */
void store_answer(struct store *s, uint64_t seq, bool ok)
{
	while (s->ring_cnt > 0 && s->ring[s->ring_head].seq <= seq) {
		struct pending p = s->ring[s->ring_head];

		s->ring_head = (s->ring_head + 1) % s->ring_cap;
		s->ring_cnt--;
		p.done(p.arg, ok);
		KILL_POINT("store:after-answer");
	}
}

void store_poll(struct store *s)
{
	uint64_t n, synced, written;
	bool failed;

	if (read(s->event_fd, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
		log_error("store_event", "Cannot read the store's event descriptor");
	pthread_mutex_lock(&s->lock);
	synced = s->synced;
	written = s->written;
	failed = s->sync_failed;
	pthread_mutex_unlock(&s->lock);
	store_answer(s, synced, true);
	if (failed)
		store_answer(s, written, false);
}
