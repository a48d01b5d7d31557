/* The memif driver unmaps its rings from EAL's interrupt thread as soon as the other end dies, even while
   we are copying frames out of them.  It first clears the flag that every burst begins by testing, so all
   that is needed is to hold the unmapping back until the burst that may be under way is over.

   As in lwip_override.c, a program's definition comes before a library's: the driver's call comes here.
   The C library's own calls do not. */
#include "net/net_internal.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_bool in_burst;
static _Thread_local bool in_own_burst;

void net_burst_begin(void)
{
	/* Ordered before the driver's look at its flag, as the driver's clearing of the flag is before
	   munmap's look at in_burst: one of the two sees the other. */
	in_own_burst = true;
	atomic_store(&in_burst, true);
}

void net_burst_end(void)
{
	atomic_store_explicit(&in_burst, false, memory_order_release);
	in_own_burst = false;
}

__attribute__((visibility("default"), used)) int munmap(void *addr, size_t len)
{
	while (!in_own_burst && atomic_load(&in_burst))
		sched_yield();
	return (int)syscall(SYS_munmap, addr, len);
}
