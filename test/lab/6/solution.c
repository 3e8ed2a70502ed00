/* solution.c - assignment 6. */
#include "lab6.h"

#define BELL (1ul << (BELL_USER + 3))

/* ---- Mutex and condition ---- */

/* On the waiting thread's stack. */
struct waiter {
	struct waiter *next;
	uint64_t thread;
	int woken;
};

/* What a mutex and a condition are; `guard` is held for a few lines. */
struct queue {
	uint64_t guard, held;
	struct waiter *first, *last;
};

static void guard(struct queue *q)
{
	while (__atomic_exchange_n(&q->guard, 1, __ATOMIC_ACQUIRE))
		thread_yield();
}

static void unguard(struct queue *q) { __atomic_store_n(&q->guard, 0, __ATOMIC_RELEASE); }

static void enqueue(struct queue *q, struct waiter *w)
{
	*w = (struct waiter){.thread = thread_self_name()};
	if (q->first)
		q->last->next = w;
	else
		q->first = w;
	q->last = w;
}

static struct waiter *dequeue(struct queue *q)
{
	struct waiter *w = q->first;

	if (w)
		q->first = w->next;
	return w;
}

static void sleep_on(struct waiter *w)
{
	while (!__atomic_load_n(&w->woken, __ATOMIC_ACQUIRE))
		sys_thread_switch(0, 0, BELL, 0);
}

/* *w is gone once woken is set. */
static void wake(struct waiter *w)
{
	uint64_t thread = w->thread;

	__atomic_store_n(&w->woken, 1, __ATOMIC_RELEASE);
	sys_thread_switch(thread, BELL, 0, 1);
}

void my_lock(struct my_mutex *m)
{
	struct queue *q = (struct queue *)m;
	struct waiter w;

	guard(q);
	bool wait = q->held;
	q->held = 1;
	if (wait)
		enqueue(q, &w);
	unguard(q);
	if (wait)
		sleep_on(&w); /* who wakes us leaves it to us */
}

void my_unlock(struct my_mutex *m)
{
	struct queue *q = (struct queue *)m;

	guard(q);
	struct waiter *w = dequeue(q);
	if (!w)
		q->held = 0;
	unguard(q);
	if (w)
		wake(w);
}

void my_wait(struct my_condition *c, struct my_mutex *m)
{
	struct queue *q = (struct queue *)c;
	struct waiter w;

	guard(q);
	enqueue(q, &w);
	unguard(q);
	my_unlock(m);
	sleep_on(&w);
	my_lock(m);
}

void my_signal(struct my_condition *c)
{
	struct queue *q = (struct queue *)c;

	guard(q);
	struct waiter *w = dequeue(q);
	unguard(q);
	if (w)
		wake(w);
}

void my_broadcast(struct my_condition *c)
{
	while (((struct queue *)c)->first)
		my_signal(c);
}

/* ---- Frames at hand ---- */

#define BATCH 16u
static struct cache {
	struct queue lock;
	unsigned n;
	pfn_t pfn[CACHE_MOST];
} __attribute__((aligned(64))) cache[FH_MAX_CPUS + 1];

static struct cache *here(void)
{
	struct cache *c = &cache[upcall_word(UPCALL_OFFSET(cpu))]; /* we may move on: then we use another's, locked all the same */

	guard(&c->lock);
	return c;
}

pfn_t cache_get(void)
{
	struct cache *c = here();

	if (c->n == 0) {
		pfn_t run = frame_get(&frames_quiet, BATCH, 1, 0, FH_ALLOC_KEEP);
		unsigned got = run ? BATCH : (run = frame_get(&frames_quiet, 1, 1, 0, FH_ALLOC_KEEP)) ? 1 : 0;
		while (c->n < got)
			c->pfn[c->n++] = run++;
	}
	pfn_t p = c->n ? c->pfn[--c->n] : 0;
	unguard(&c->lock);
	return p;
}

static void shrink(struct cache *c, unsigned n)
{
	while (c->n > n)
		frame_put(c->pfn[--c->n], 1);
}

void cache_put(pfn_t pfn)
{
	struct cache *c = here();

	if (c->n == CACHE_MOST)
		shrink(c, CACHE_MOST / 2);
	c->pfn[c->n++] = pfn;
	unguard(&c->lock);
}

void cache_drain(void)
{
	for (unsigned i = 0; i <= FH_MAX_CPUS; i++)
		shrink(&cache[i], 0);
}

/* ---- Pages ---- */

static va_t pages_base;
static pfn_t pages_table;
static struct queue pages_lock;
static struct frames pages_policy;

/* Addresses not in use, the one left longest ago first; `left`: the clock, not earlier than their unmapping. */
static struct {
	unsigned index;
	uint64_t left;
} unused[PAGES];
static unsigned oldest, n_unused;

int pages_start(va_t base)
{
	pages_base = base;
	pages_policy = frames_quiet;
	for (n_unused = 0; n_unused < PAGES; n_unused++)
		unused[n_unused].index = n_unused;
	pages_table = space_table(space_current(), base, 1);
	return pages_table ? 0 : -FH_EDQUOT;
}

static uint64_t clock_now(void) { return ((const volatile struct fh_clock *)info->clock_va)->clock; }

/* The oldest address, when no CPU can know it any more. False: none is unused. */
static bool address(unsigned *index)
{
	for (;;) {
		guard(&pages_lock);
		bool any = n_unused > 0, quiet = any && unused[oldest].left < frame_epoch();
		if (quiet) {
			*index = unused[oldest].index;
			oldest = (oldest + 1) % PAGES;
			n_unused--;
		}
		unguard(&pages_lock);
		if (quiet || !any)
			return quiet;
		thread_yield(); /* the next tick makes it quiet */
	}
}

void *page_get(void)
{
	unsigned index;

	if (!address(&index))
		return NULL;
	va_t va = pages_base + index * FH_PAGE;
	for (;;) {
		pfn_t p = frames_quiet.next(&pages_policy, 1, 1, 0);
		if (!p || !frame_is_quiet(p)) {
			thread_yield();
			continue;
		}
		if (sys_pt_set(fh_what(FH_OP_CLAIM, 0, pages_table, index, 1), pte_make(p, RIGHT_R | RIGHT_W), va).rax >= 0)
			return (void *)va;
	}
}

void page_put(void *page)
{
	unsigned index = (unsigned)(((va_t)page - pages_base) / FH_PAGE);

	sys_pt_set(fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_NONE, pages_table, index, 1), 0, 0);
	guard(&pages_lock);
	unsigned i = (oldest + n_unused++) % PAGES;
	unused[i].index = index;
	unused[i].left = clock_now();
	unguard(&pages_lock);
}
