/* nap.h - how an lcore without work sleeps, and how it is woken.

   An lcore polls on for NAP_SPIN_NS after its last work: the pauses of a transfer are shorter than that, and a
   sleep in each of them would cost more than it saves.  Then it naps, twice as long each time, up to a bound; the
   bound is NAP_LONG times as far after NAP_LONG_NS without work, when no transfer can be under way any more.
   What comes from another lcore ends a nap at once: after a turn with work, whoever naps is rung for, since
   the work may have been for it.  So does a file descriptor (the link's).  Only what comes by the port has to
   wait for the end of the nap.

   Threads  nap_after_turn: the lcore that the bed belongs to.  nap_wake: any other.
   Cost     While busy, an exchange of each other lcore's flag for each hand-over; a system call for a wake happens
            once for each nap, not for each piece of work. */
#ifndef VIGIL_TOPO_NAP_H
#define VIGIL_TOPO_NAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define NAP_SPIN_NS  200000u
#define NAP_FIRST_NS 50000u
#define NAP_LONG_NS  1000000000u
#define NAP_LONG     4u

struct nap {
	_Alignas(64) atomic_bool asleep; /* about to sleep, or sleeping: ring before you go on */
	int bell;                        /* an eventfd */
	/* The owner's. */
	_Alignas(64) uint64_t max_ns, next_ns, last_work_ns;
};

/* max_ns: the longest nap within NAP_LONG_NS of the last work; 0: never nap.  False when the system has no descriptor left. */
bool nap_init(struct nap *n, uint64_t max_ns);
void nap_free(struct nap *n);

/* The owner, after each turn that began at now_ns.  fd: becomes readable when there is work; -1: none. */
void nap_after_turn(struct nap *n, bool worked, uint64_t now_ns, int fd);

/* Another lcore, after what it has done: ends the nap, if there is one.  What was written before the call is seen
   in the turn that follows the nap. */
void nap_wake(struct nap *n);

#endif
