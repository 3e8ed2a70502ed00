/*
 * sync.c - lock, mutex and condition on thread_switch.
 *
 * A sleeper leaves a `struct waiter` on its own stack, in a list. Whoever wakes it sets `woken` and then rings; the
 * sleeper looks at `woken` before and after each sleep, and the bit is sticky, so the order of the two never matters.
 * Bits: BELL_WAKE outside handlers, BELL_WAKE_NESTED inside, so that a handler can't eat the wake-up of the code that
 * it interrupted.
 */
#include "sync.h"

#include "console.h"
#include "machine.h"
#include "start.h"
#include "syscall.h"
#include "thread.h"
#include "upcall.h"

struct waiter {
	struct waiter *next;
	struct thread *thread;
	unsigned bell;
	bool handed; /* the mutex is its own when it is woken */
	int woken;
};

#define LONG_AGO 1ul /* a deadline that makes thread_switch ring, and come back at once */
#define PATIENCE 10u /* tries to get a lock before the CPU is left to others for a while: the holder waits for something, too */
#define NAP_US 50u
#define LOCK_STACK (2 * FH_PAGE) /* stack that code holding a kit lock may need */

/* A thread waits for itself: a fault under a kit lock. Say where, from the contexts of the handlers it is in. */
static _Noreturn void deadlock(struct lock *l)
{
	struct fh_upcall *u = thread_self()->upcall;

	l->holder = 0; /* the report needs no lock, but exit may */
	for (unsigned d = 0; d < upcall_depth(); d++)
		printf("  depth %u: vector %lu at rip %#lx, address %#lx\n", d, u->slot[d].regs.vector, u->slot[d].regs.rip,
		       u->slot[d].address);
	panic("kit lock %p taken twice: a fault, or a handler, inside the kit", (void *)l);
}

void lock_take(struct lock *l)
{
	uint64_t me = thread_self_name(), mask = upcalls_mask();

	if (!upcall_depth()) /* handlers' stacks are always there */
		cpu_touch_stack(LOCK_STACK);
	for (unsigned tries = 0;; tries++) {
		uint64_t holder = 0;
		if (__atomic_compare_exchange_n(&l->holder, &holder, me, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			break;
		if (holder == me)
			deadlock(l);
		cpu_pause();
		sys_thread_switch(holder, 0, 0, tries < PATIENCE ? 0 : cpu_tsc() + info->tsc_khz * NAP_US / 1000);
	}
	l->mask = mask;
}

bool lock_mine(const struct lock *l) { return __atomic_load_n(&l->holder, __ATOMIC_RELAXED) == thread_self_name(); }

void lock_give(struct lock *l)
{
	uint64_t mask = l->mask;

	__atomic_store_n(&l->holder, 0, __ATOMIC_RELEASE);
	upcalls_restore(mask);
}

static void waiter_init(struct waiter *w)
{
	*w = (struct waiter){.thread = thread_self(), .bell = upcall_depth() ? BELL_WAKE_NESTED : BELL_WAKE};
}

static void waiter_sleep(struct waiter *w)
{
	while (!__atomic_load_n(&w->woken, __ATOMIC_ACQUIRE))
		sys_thread_switch(0, 0, 1ul << w->bell, 0);
}

/* Wake it. Who wakes goes on, but for a waiter that has been handed the mutex: all others wait for that one, so it gets the
 * slice, too, unless its own CPU is idle. *w may be gone once woken is set, the thread too: read them before. */
static void waiter_wake(struct waiter *w)
{
	uint64_t thread = w->thread->name, bit = 1ul << w->bell;
	const volatile struct fh_cpu *home = cpu_view((unsigned)w->thread->view->home); /* NULL: it has lost its slots */
	bool goes_on = !w->handed || (home && !home->thread);

	__atomic_store_n(&w->woken, 1, __ATOMIC_RELEASE);
	sys_thread_switch(thread, bit, 0, goes_on ? LONG_AGO : 0);
}

/*
 * The mutex word: bit 0 says whether it is held, the rest is the newest waiter's address, or 0. Each waiter's `next` is the
 * one that was newest before it. Only the holder takes waiters out, the oldest first, before it lets go: so a waiter that is
 * woken, and finds that another was faster, waits again as the newest. If it was handed on instead, at each unlock a thread
 * would have to be woken as soon as there is a queue, and the queue would never end (a lock convoy). PATIENT ends the bad luck
 * of a single waiter: after so many times it is handed the mutex.
 */
#define HELD 1ul
#define PATIENT 4u /* times that a waiter is woken in vain */
#define SPINS 60u  /* looks at a mutex that a thread on another CPU has: about as long as two switches take */

int mutex_try(struct mutex *m)
{
	uint64_t word = 0;

	do
		if (__atomic_compare_exchange_n(&m->word, &word, word | HELD, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return 1;
	while (!(word & HELD));
	return 0;
}

/* Take it, or leave w as the newest waiter: false. */
static bool take_or_queue(struct mutex *m, struct waiter *w)
{
	for (unsigned i = 0; info->ncpus > 1 && i < SPINS; i++, cpu_pause())
		if (mutex_try(m))
			return true;
	uint64_t word = __atomic_load_n(&m->word, __ATOMIC_RELAXED), mine;
	do {
		w->next = (struct waiter *)(word & ~HELD);
		mine = word & HELD ? (uint64_t)w | HELD : word | HELD;
	} while (!__atomic_compare_exchange_n(&m->word, &word, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	return !(word & HELD);
}

void mutex_lock(struct mutex *m)
{
	struct waiter w;

	if (mutex_try(m))
		return;
	for (unsigned woken = 0;; woken++) {
		waiter_init(&w);
		w.handed = woken == PATIENT;
		if (take_or_queue(m, &w))
			return;
		waiter_sleep(&w);
		if (w.handed)
			return;
	}
}

/* The holder takes the oldest waiter out. */
static struct waiter *take_oldest(struct mutex *m, uint64_t word)
{
	struct waiter *before = NULL, *oldest = (struct waiter *)(word & ~HELD);

	for (; oldest->next; oldest = oldest->next)
		before = oldest;
	if (!before && !__atomic_compare_exchange_n(&m->word, &word, HELD, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		for (before = (struct waiter *)(word & ~HELD); before->next != oldest; before = before->next)
			; /* others have come: it is behind them now */
	if (before)
		before->next = NULL;
	return oldest;
}

void mutex_unlock(struct mutex *m)
{
	uint64_t word = HELD;

	if (__atomic_compare_exchange_n(&m->word, &word, 0, 0, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
		return;
	struct waiter *w = take_oldest(m, word);
	if (!w->handed)
		__atomic_fetch_and(&m->word, ~HELD, __ATOMIC_RELEASE);
	waiter_wake(w);
}

void condition_wait(struct condition *c, struct mutex *m)
{
	struct waiter w;

	waiter_init(&w);
	if (c->last)
		c->last->next = &w;
	else
		c->first = &w;
	c->last = &w;
	mutex_unlock(m);
	waiter_sleep(&w);
	mutex_lock(m);
}

void condition_signal(struct condition *c)
{
	struct waiter *w = c->first;

	if (!w)
		return;
	c->first = w->next;
	if (!c->first)
		c->last = NULL;
	waiter_wake(w);
}

void condition_broadcast(struct condition *c)
{
	while (c->first)
		condition_signal(c);
}

void thread_yield(void)
{
	cpu_pause();
	sys_thread_switch(0, 0, 0, 0);
}

void wait_quiet(void) { thread_sleep(1); }

void thread_sleep(uint64_t ms)
{
	uint64_t deadline = cpu_tsc() + ms * info->tsc_khz;

	while (cpu_tsc() < deadline)
		sys_thread_switch(0, 0, 0, deadline);
}
