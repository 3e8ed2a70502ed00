/* test.c - assignment 6: several CPUs. */
#include <string.h>

#include "grader.h"
#include "lab6.h"

#define T 6u

static struct my_mutex m, m2;
static struct my_condition c, c2;

static struct thread *start(void (*run)(void *), uintptr_t arg)
{
	struct thread *t = thread_new(run, (void *)arg, NULL);

	expect(t != NULL, "no thread");
	return t;
}

static bool asleep(const struct thread *t)
{
	return t->view->state == FH_SLEEPING && t->view->deadline == ~0ul; /* for ever: a bell must ring */
}

/* Wait for all to end. When all that are left sleep, and go on sleeping, nobody will ever wake them. */
static void finish(struct thread **t, unsigned n, const char *what)
{
	uint64_t end = cpu_tsc() + grader_patience * info->tsc_khz;

	for (unsigned still = 0, left = 1; left > 0; thread_sleep(1)) {
		unsigned sleeping = left = 0;
		for (unsigned i = 0; i < n; i++) {
			bool done = __atomic_load_n(&t[i]->done, __ATOMIC_SEQ_CST);
			left += !done;
			sleeping += !done && asleep(t[i]);
		}
		still = left && sleeping == left ? still + 1 : 0;
		expect(still < 100, "%s: %u of %u threads sleep, and nobody is left to wake them: a wake-up was lost", what, left, n);
		expect(cpu_tsc() < end, "%s: %u of %u threads have not ended", what, left, n);
	}
	for (unsigned i = 0; i < n; i++)
		thread_join(t[i]);
}

static void settle(struct thread **t, unsigned n)
{
	uint64_t end = cpu_tsc() + grader_patience / 4 * info->tsc_khz;

	for (unsigned i = 0; i < n; i++)
		for (; !t[i]->done && !asleep(t[i]); thread_sleep(1))
			expect(cpu_tsc() < end, "a thread that has called wait is %s, it should sleep until its bell rings",
			       thread_state_name(t[i]->view->state));
}

/* ---- Mutex ---- */

#define ROUNDS 300u
static volatile unsigned inside, counter, together;

static volatile uint64_t queued;

static void add(void *arg)
{
	__atomic_fetch_add(&queued, 1, __ATOMIC_SEQ_CST);
	while (queued < T) /* all at once */
		thread_yield();
	for (unsigned i = 0; i < ROUNDS; i++) {
		my_lock(&m);
		unsigned v = counter;
		if (__atomic_fetch_add(&inside, 1, __ATOMIC_SEQ_CST))
			together++;
		if (i % 7 == (uintptr_t)arg) /* others get the CPU while we are inside */
			thread_yield();
		counter = v + 1;
		__atomic_fetch_sub(&inside, 1, __ATOMIC_SEQ_CST);
		my_unlock(&m);
	}
}

static void test_mutex(void)
{
	struct thread *t[T];

	for (unsigned i = 0; i < T; i++)
		t[i] = start(add, i);
	finish(t, T, "lock and unlock");
	expect(together == 0, "two threads were inside at once, %u times", together);
	expect(counter == T * ROUNDS, "%u threads have added 1 %u times: the sum is %u", T, ROUNDS, counter);
}

static void lock_once(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&queued, 1, __ATOMIC_SEQ_CST);
	my_lock(&m);
	counter++;
	my_unlock(&m);
}

static void test_sleeps(void)
{
	struct thread *t[3];

	my_lock(&m);
	for (unsigned i = 0; i < 3; i++)
		t[i] = start(lock_once, i);
	grader_await(&queued, 3);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t end = cpu_tsc() + grader_patience / 4 * info->tsc_khz;
		while (!asleep(t[i]) && !t[i]->done && cpu_tsc() < end)
			thread_sleep(1);
		expect(!t[i]->done, "the mutex is held, and another thread has got it");
		expect(asleep(t[i]), "the mutex is held: a thread that wants it is %s, it should sleep until its bell rings",
		       thread_state_name(t[i]->view->state));
	}
	expect(counter == 0, "a thread was inside while we held the mutex");
	my_unlock(&m);
	finish(t, 3, "three threads slept for the mutex, which was unlocked");
	expect(counter == 3, "three threads waited for the mutex, %u were in it", counter);
}

/* ---- Lost wake-ups: what happens in the gaps is arranged, by holding the waiter's system calls back ---- */

static volatile uint64_t gap, signalled, woke;
static bool hold_all; /* all its calls, or only the sleep */

/* In the waiter: before it sleeps, or after it has rung, the other thread signals. */
static bool hold(struct fh_context *ctx)
{
	bool sleeps = ctx->regs.rax == FH_SYS_thread_switch && ctx->regs.rdx;

	if (ctx->regs.rax != FH_SYS_thread_switch || signalled || (!sleeps && !hold_all))
		return true;
	if (!sleeps) { /* it rings whoever waits for the mutex */
		struct sys_result r = grader_native(ctx->regs.rax, ctx->regs.rdi, ctx->regs.rsi, ctx->regs.rdx, ctx->regs.r10);
		ctx->regs.rax = (uint64_t)r.rax;
	}
	__atomic_store_n(&gap, 1, __ATOMIC_SEQ_CST);
	for (uint64_t end = cpu_tsc() + grader_patience * info->tsc_khz; !signalled && cpu_tsc() < end;)
		grader_native(FH_SYS_thread_switch, 0, 0, 0, cpu_tsc() + info->tsc_khz);
	return sleeps;
}

static void waiter(void *arg)
{
	(void)arg;
	my_lock(&m);
	queued = 1;
	if (hold_all)
		while (counter == 0) /* until the signaller waits for the mutex */
			thread_sleep(1);
	grader_trap(hold);
	my_wait(&c, &m);
	grader_trap_end();
	woke = 1;
	my_unlock(&m);
}

static void signaller(void *arg)
{
	(void)arg;
	my_lock(&m);
	my_signal(&c);
	my_unlock(&m);
	__atomic_store_n(&signalled, 1, __ATOMIC_SEQ_CST);
}

static void test_gaps(void)
{
	struct thread *t[2];

	t[0] = start(waiter, 0);
	while (!gap && !t[0]->done)
		thread_sleep(1);
	expect(gap, "wait has returned without a signal, and without sleep: it made no thread_switch with a mask");
	t[1] = start(signaller, 0);
	finish(t, 2, "a thread is about to sleep in wait, another signals, then it goes on to sleep");
	expect(woke == 1, "wait has not returned");

	hold_all = true;
	counter = 0;
	queued = signalled = gap = woke = 0;
	t[0] = start(waiter, 0);
	grader_await(&queued, 1);
	t[1] = start(signaller, 0);
	settle(t + 1, 1);
	counter = 1;
	finish(t, 2, "wait gives up the mutex to a thread that has waited for it, which signals at once, before the waiter goes on");
	expect(woke == 1, "wait has not returned");
}

/* ---- Condition ---- */

#define ITEMS 300u
#define ROOM 3u
static volatile unsigned items, most, made, taken;

/* Waiting is not asking again and again. */
static void wait_for(struct my_condition *condition)
{
	static uint64_t waits;

	expect(__atomic_add_fetch(&waits, 1, __ATOMIC_SEQ_CST) < 100 * ITEMS, "%u items are made and taken, and wait has returned %u times: it doesn't wait",
	       2 * ITEMS, 100 * ITEMS);
	my_wait(condition, &m);
}

static void produce(void *arg)
{
	for (unsigned i = 0; i < ITEMS; i++) {
		my_lock(&m);
		while (items == ROOM)
			wait_for(&c2);
		items++;
		made++;
		if (items > most)
			most = items;
		my_signal(&c);
		my_unlock(&m);
		if (i % 16 == (uintptr_t)arg)
			thread_yield();
	}
}

static void consume(void *arg)
{
	for (unsigned i = 0; i < ITEMS; i++) {
		my_lock(&m);
		while (items == 0)
			wait_for(&c);
		items--;
		taken++;
		my_signal(&c2);
		my_unlock(&m);
		if (i % 5 == (uintptr_t)arg)
			thread_yield();
	}
}

static void wait_once(void *arg)
{
	(void)arg;
	my_lock(&m2);
	queued++;
	my_wait(&c, &m2);
	woke++;
	my_unlock(&m2);
}

static void test_condition(void)
{
	struct thread *t[4];

	for (unsigned i = 0; i < 4; i++)
		t[i] = start(i % 2 ? consume : produce, i);
	finish(t, 4, "two threads make items, two take them");
	expect(made == 2 * ITEMS && taken == made && most <= ROOM, "%u items were made, %u taken, at most %u at a time; should be %u, %u, %u", made,
	       taken, most, 2 * ITEMS, 2 * ITEMS, ROOM);
	my_lock(&m2);
	my_signal(&c); /* for nobody */
	my_unlock(&m2);
	for (unsigned i = 0; i < 4; i++)
		t[i] = start(wait_once, i);
	grader_await(&queued, 4);
	settle(t, 4);
	expect(woke == 0, "a signal from before the wait has woken %lu threads", woke);
	my_lock(&m2);
	my_signal(&c);
	my_unlock(&m2);
	grader_await(&woke, 1);
	settle(t, 4);
	expect(woke == 1, "four threads waited, one signal woke %lu", woke);
	my_lock(&m2);
	my_broadcast(&c);
	expect(woke == 1, "a thread came out of wait while we held the mutex");
	my_unlock(&m2);
	finish(t, 4, "broadcast to three waiting threads");
	expect(woke == 4, "four threads waited, one signal and a broadcast woke %lu", woke);
}

/* ---- Frames at hand ---- */

static uint64_t *in_use; /* a bit for each frame */
static volatile uint64_t twice, foreign, none, ready, stop;

static void own(pfn_t p)
{
	uint64_t state = frame_record(p)->state;

	if (__atomic_fetch_or(&in_use[p / 64], 1ul << p % 64, __ATOMIC_SEQ_CST) >> p % 64 & 1)
		twice = p;
	if (fh_type(state) != FH_DATA || fh_owner(state) != env_self() || fh_refs(state))
		foreign = p;
}

static void disown(pfn_t p)
{
	__atomic_fetch_and(&in_use[p / 64], ~(1ul << p % 64), __ATOMIC_SEQ_CST);
	cache_put(p);
}

static void take_frames(void *arg)
{
	pfn_t held[100];

	for (unsigned round = 0; round < 12; round++) {
		unsigned n = 0;
		while (n < 5 + (round * 31 + (uintptr_t)arg * 17) % 95) {
			pfn_t p = cache_get();
			if (!p) {
				none = 1;
				return;
			}
			own(held[n++] = p);
		}
		while (n > 0)
			disown(held[--n]);
	}
}

static void check_frames(void)
{
	expect(!none, "cache_get returned 0, though there are %lu frames free", frame_count_free());
	expect(!twice, "frame %#lx was handed out to two threads at once", twice);
	expect(!foreign, "cache_get returned frame %#lx: %s of env %#lx, %lu references; it should be DATA of env %#lx, that nothing refers to", foreign,
	       frame_type_name(fh_type(frame_record(foreign)->state)), fh_owner(frame_record(foreign)->state), fh_refs(frame_record(foreign)->state),
	       env_self());
}

static void test_cache(void)
{
	struct thread *t[4];

	in_use = (uint64_t *)mm_map(0, page_up(info->nframes / 8 + 8), RIGHT_R | RIGHT_W, MM_EAGER);
	pfn_t p = cache_get();
	expect(p != 0, "cache_get returned 0, though there are %lu frames free", frame_count_free());
	own(p);
	disown(p);
	cache_drain();
	for (unsigned i = 0; i < 4; i++) /* their places and stacks are kept, in part */
		t[i] = start(take_frames, i);
	finish(t, 4, "four threads take and give back frames");
	check_frames();
	cache_drain();
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	uint64_t before = (uint64_t)frame_owned(0);
	pfn_t held[200];
	for (unsigned i = 0; i < 200; i++)
		own(held[i] = cache_get());
	check_frames();
	for (unsigned i = 0; i < 200; i++)
		disown(held[i]);
	uint64_t hoard = (uint64_t)frame_owned(0) - before;
	expect(hoard <= CACHE_MOST * info->ncpus, "200 frames were put back: %lu are at hand, CACHE_MOST (%u) on each of %u CPUs are allowed", hoard,
	       CACHE_MOST, info->ncpus);
	cache_drain();
	expect((uint64_t)frame_owned(0) == before, "after cache_drain this env owns %ld frames more than before", (int64_t)((uint64_t)frame_owned(0) - before));
}

#define PAIRS 500u
static void take_often(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	while (ready < 5)
		thread_yield();
	for (unsigned i = 0; i < PAIRS; i++) {
		pfn_t p = cache_get(), q = cache_get();
		none |= !p || !q;
		cache_put(p);
		cache_put(q);
	}
	__atomic_fetch_add(&stop, 1, __ATOMIC_SEQ_CST);
	while (stop < 5)
		thread_yield();
}

static void test_cache_cost(void)
{
	struct thread *t[4];

	for (unsigned i = 0; i < 4; i++)
		t[i] = start(take_often, i);
	grader_await(&ready, 4);
	uint64_t before = grader_counted(FH_COUNT_ACCOUNTS);
	ready = 5;
	bool over = grader_await(&stop, 4);
	uint64_t calls = grader_counted(FH_COUNT_ACCOUNTS) - before;
	stop = 5;
	expect(over, "four threads that take and give back frames don't come to an end");
	finish(t, 4, "four threads take and give back frames");
	expect(!none, "cache_get returned 0");
	expect(calls <= 8 * PAIRS / 8, "%u calls of cache_get and as many of cache_put: the kernel has claimed or freed frames %lu times;\n"
	       "with frames at hand on each CPU, %u is plenty", 8 * PAIRS, calls, 8 * PAIRS / 8);
}

/* ---- Pages ---- */

static va_t area;

static void begin_pages(void)
{
	int64_t va = mm_map(0, PLAN_LARGE, 0, MM_GUARD);

	expect(!mm_failed(va) && va % (int64_t)PLAN_LARGE == 0, "no addresses");
	area = (va_t)va;
	expect_result(pages_start(area), 0, "pages_start");
}

static uint64_t *must_get(void)
{
	uint64_t *p = page_get();

	expect(p != NULL, "page_get returned NULL, though fewer than %u pages are in use", PAGES);
	expect((va_t)p >= area && (va_t)p < area + PLAN_LARGE && (va_t)p % FH_PAGE == 0, "page_get returned %p, which isn't a page in [%#lx, %#lx)",
	       (void *)p, area, area + PLAN_LARGE);
	pte_t e = space_get(space_current(), (va_t)p);
	expect((e & (FH_P | FH_W)) == (FH_P | FH_W), "page_get returned %p, where the entry is %s", (void *)p, entry_text(e));
	return p;
}

static void test_pages(void)
{
	static uint64_t *p[PAGES];

	begin_pages();
	for (unsigned round = 0; round < 2; round++) {
		uint64_t owned = (uint64_t)frame_owned(0);
		for (unsigned i = 0; i < PAGES; i++) {
			p[i] = must_get();
			for (unsigned k = 0; k < 512; k += 73)
				expect(p[i][k] == 0, "a word of a page from page_get is %#lx, should be 0", p[i][k]);
			for (unsigned k = 0; k < i; k++)
				expect(p[k] != p[i], "page_get returned %p twice", (void *)p[i]);
			memset(p[i], 0xee, FH_PAGE);
		}
		expect(page_get() == NULL, "all %u pages are in use, and page_get returned another", PAGES);
		expect((uint64_t)frame_owned(0) == owned + PAGES, "%u pages take %ld frames", PAGES, (int64_t)((uint64_t)frame_owned(0) - owned));
		for (unsigned i = 0; i < PAGES; i++) {
			page_put(p[i]);
			expect(!(space_get(space_current(), (va_t)p[i]) & FH_P), "page_put(%p): it is mapped still: %s", (void *)p[i],
			       entry_text(space_get(space_current(), (va_t)p[i])));
		}
		expect((uint64_t)frame_owned(0) == owned, "all pages are put back, and this env owns %ld frames more", (int64_t)((uint64_t)frame_owned(0) - owned));
	}
}

/* One thread gets pages and writes; another, on its own CPU if there are two, reads: both without a system call in between. */
#define LOOKS 400u
static uint64_t *volatile shown;
static volatile uint64_t turn, saw;

static void spin_until(uint64_t n)
{
	uint64_t end = cpu_tsc() + grader_patience * info->tsc_khz;

	for (unsigned spins = 1; turn < n; spins++) {
		cpu_pause();
		if (spins % 20000 == 0 || info->ncpus == 1)
			thread_yield();
		expect(cpu_tsc() < end, "the other thread doesn't come");
	}
}

static void look(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; i < LOOKS; i++) {
		spin_until(2 * i + 1);
		saw = *shown;
		turn = 2 * i + 2;
	}
}

static void test_stale(void)
{
	begin_pages();
	struct thread *t = start(look, 0);
	for (uint64_t i = 0; i < LOOKS; i++) {
		uint64_t *p = must_get();
		*p = i + 1000;
		shown = p;
		turn = 2 * i + 1;
		spin_until(2 * i + 2);
		expect(saw == i + 1000, "page %p, got for the %lu. time, was written to: %lu. Another CPU reads %lu there: it still knows the page that was\n"
		       "at this address before, whose frame is freed. When may an address be used again?", (void *)p, i, i + 1000, saw);
		page_put(p);
	}
	finish(&t, 1, "a thread that reads pages");
}

#define CYCLES 360u
static volatile uint64_t dirty;

static void cycle(void *arg)
{
	for (unsigned i = 0; i < CYCLES; i++) {
		volatile uint64_t *p = page_get();
		if (!p) {
			none = 1;
			break;
		}
		if (p[5])
			dirty = p[5];
		p[5] = (uintptr_t)arg + 1;
		page_put((void *)p);
		if (i == CYCLES / 3) { /* warm */
			__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
			while (ready < 5)
				thread_yield();
		}
	}
	__atomic_fetch_add(&stop, 1, __ATOMIC_SEQ_CST);
	while (stop < 5)
		thread_yield();
}

static void test_flushes(void)
{
	struct thread *t[4];

	begin_pages();
	for (unsigned i = 0; i < 4; i++)
		t[i] = start(cycle, i);
	bool warm = grader_await(&ready, 4);
	uint64_t forced = grader_counted(FH_COUNT_FORCED), ipis = grader_counted(FH_COUNT_FLUSH_IPIS), locks = grader_counted(FH_COUNT_LOCKS);
	ready = 5;
	bool over = warm && grader_await(&stop, 4);
	forced = grader_counted(FH_COUNT_FORCED) - forced;
	ipis = grader_counted(FH_COUNT_FLUSH_IPIS) - ipis;
	locks = grader_counted(FH_COUNT_LOCKS) - locks;
	stop = 5;
	expect(!none, "page_get returned NULL, though at most four pages are in use");
	expect(over, "four threads that get and put pages don't come to an end: is what you wait for going to happen?");
	finish(t, 4, "four threads get and put pages");
	expect(!dirty, "a page from page_get isn't zero: %#lx", dirty);
	expect(locks > CYCLES, "page_put has not unmapped: %lu changes of page tables", locks);
	expect(forced == 0 && ipis == 0, "%u pages came and went: %lu times a CPU waited for others to flush, %lu interrupts were sent for that.\n"
	       "Quiet frames and quiet addresses need none", 4 * CYCLES * 2 / 3, forced, ipis);
}

static const struct lab_test tests[] = {
    {15, "mutex: one thread inside at a time", test_mutex},
    {10, "mutex: who waits sleeps, and is woken", test_sleeps},
    {15, "condition: no wake-up is lost, wherever the signal comes", test_gaps},
    {10, "condition: a signal wakes one, a broadcast all; a bounded buffer works", test_condition},
    {10, "cache: no frame is handed out twice, and all go back", test_cache},
    {10, "cache: few calls reach the kernel", test_cache_cost},
    {10, "pages: zeroed, mapped, and their frames freed", test_pages},
    {10, "pages: no CPU sees what was at an address before", test_stale},
    {10, "pages: they come and go without a flush of other CPUs", test_flushes},
};
const struct lab lab = {.title = "Lab 6: several CPUs", .tests = tests, .ntests = sizeof(tests) / sizeof(tests[0])};
