#include "topo/nap.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>
#include <sys/eventfd.h>

bool nap_init(struct nap *n, uint64_t max_ns)
{
	*n = (struct nap){.max_ns = max_ns, .bell = -1};
	if (max_ns == 0)
		return true;
	n->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return n->bell >= 0;
}

void nap_free(struct nap *n)
{
	if (n->bell >= 0)
		close(n->bell);
	n->bell = -1;
}

static void sleep_until_rung(struct nap *n, uint64_t max_ns, int fd)
{
	struct timespec ts = {.tv_sec = (time_t)(n->next_ns / 1000000000u),
			      .tv_nsec = (long)(n->next_ns % 1000000000u)};
	struct pollfd p[2] = {{.fd = n->bell, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	uint64_t rings;

	if (ppoll(p, fd >= 0 ? 2 : 1, &ts, NULL) > 0 && p[0].revents != 0 &&
	    read(n->bell, &rings, sizeof(rings)) < 0)
		return; /* taken before: nothing to do */
	n->next_ns = n->next_ns * 2 < max_ns ? n->next_ns * 2 : max_ns;
}

void nap_after_turn(struct nap *n, bool worked, uint64_t now_ns, int fd)
{
	if (n->max_ns == 0)
		return;
	if (worked) {
		n->last_work_ns = now_ns;
		n->next_ns = NAP_FIRST_NS < n->max_ns ? NAP_FIRST_NS : n->max_ns;
		if (atomic_load_explicit(&n->asleep, memory_order_relaxed))
			atomic_exchange(&n->asleep, false);
		return;
	}
	if (now_ns - n->last_work_ns < NAP_SPIN_NS)
		return;
	/* One more turn after the flag is up: what was written before somebody found it down is seen then.  All
	   changes of the flag are exchanges, so of two at the same time one sees what was before the other. */
	if (!atomic_load_explicit(&n->asleep, memory_order_relaxed)) {
		atomic_exchange(&n->asleep, true);
		return;
	}
	sleep_until_rung(n, now_ns - n->last_work_ns < NAP_LONG_NS ? n->max_ns : NAP_LONG * n->max_ns, fd);
}

void nap_wake(struct nap *n)
{
	const uint64_t one = 1;

	if (n->max_ns == 0 || !atomic_exchange(&n->asleep, false))
		return;
	/* Full is as good as rung. */
	if (write(n->bell, &one, sizeof(one)) < 0)
		return;
}
