/*
 * sync.h - locks between the threads of an env, on thread_switch.
 *
 *   lock      for the kit's own short critical sections. Masks doorbell upcalls while held. A waiter hands its slice to
 *             the holder, again and again, until it has it; if that takes long, it naps in between. Usable in upcall handlers.
 *   mutex     sleeps, after a short look whether another CPU is about to let go. The longest waiter is woken first; who
 *             comes just then may still be faster than it, a few times.
 *   condition sleeps; used with a mutex.
 *
 * No wake-up is lost: doorbell bits are sticky (DESIGN 3), and each waiter has a word of its own that says it was woken.
 * Lock order: heap mutex, then a space's lock, then orphans (orphan.c), then the records lock (meta.c), then any of those
 * that are held for a few lines: places (thread.c), slots (slot.c), children (env.c), scratch (spaceprot.c), console.
 */
#pragma once

#include <stdbool.h>

#include "abi.h"

struct lock {
	uint64_t holder; /* name of the thread, 0: free */
	uint64_t mask;   /* the holder's doorbell mask before */
};
/* Touches the top of the stack first: a page fault there under the lock would wait for itself. Taking a lock twice is a
 * bug: reported, and the end of the program. */
void lock_take(struct lock *);
void lock_give(struct lock *);
bool lock_mine(const struct lock *); /* does the running thread hold it? */

struct waiter;
struct mutex {
	uint64_t word; /* bit 0: held; the rest: the newest waiter's address, or 0 */
};
void mutex_lock(struct mutex *);
void mutex_unlock(struct mutex *);
int mutex_try(struct mutex *); /* 1: taken */

struct condition {
	struct waiter *first, *last; /* guarded by the mutex */
};
/* The caller holds m. Returns with m held again, after a signal or broadcast that came later than the call. */
void condition_wait(struct condition *, struct mutex *);
void condition_signal(struct condition *);    /* wakes the longest waiter; the caller holds the mutex */
void condition_broadcast(struct condition *); /* wakes all; the caller holds the mutex */

/* The kernel said -EAGAIN: a frame is not quiet and this slice's forced flushes are spent. The next tick helps. */
void wait_quiet(void);

/* Yield the CPU; sleep for a number of milliseconds. */
void thread_yield(void);
void thread_sleep(uint64_t ms);
