/*
 * sync.c - threads of one env: born, joined, and all they had given back; mutex and condition under contention, with
 * threads losing the CPU anywhere; what is each thread's own.
 */
#include <errno.h>
#include <string.h>

#include "cpus.h"
#include "tap.h"

#define T 8u

static struct mutex m;
static struct condition c;
static struct tally tally;
static volatile unsigned counter;

/* Until others have had their turn: all of them, if they want it. */
static void give_way(void) { thread_sleep(2); }

/* ---- Birth and death ---- */

static void leave_with(void *arg) { thread_exit((int)(uintptr_t)arg); }
static void do_nothing(void *arg) { (void)arg; }
static void join_other(void *arg) { thread_exit(thread_join(arg) + 1); }

static void check_join(void)
{
	uint64_t before;

	is(thread_count(), 1, "a program begins with one thread");
	struct thread *t = thread_start(leave_with, 42);
	is(thread_count(), 2, "then there are two");
	is(thread_join(t), 42, "join has its status");
	is(thread_count(), 1, "and is the end of it");
	t = thread_start(leave_with, 43);
	give_way();
	is(thread_join(t), 43, "also if it ended long before");
	is(thread_join(thread_start(do_nothing, 0)), 0, "a thread that returns has status 0");
	is(thread_join(thread_start(join_other, (uintptr_t)thread_start(leave_with, 6))), 7, "any thread may join any other");
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	before = frames_owned();
	unsigned slots = slot_count();
	for (unsigned i = 0; i < 100; i++)
		thread_join(thread_start(do_nothing, 0));
	space_trim(space_current(), layout_mmap.lo, layout_stack.lo);
	is((int64_t)frames_owned(), (int64_t)before, "a hundred, one after the other, leave no frame");
	is(slot_count(), slots, "and no CPU slot");
}

static void wait_turn(void *arg)
{
	(void)arg;
	mutex_lock(&m);
	counter++;
	mutex_unlock(&m);
}

#define MANY 256u
static void check_many(void)
{
	static struct thread *t[MANY];
	unsigned n = 0;

	counter = 0;
	mutex_lock(&m);
	while (n < MANY && (t[n] = thread_new(wait_turn, NULL, NULL)))
		n++;
	ok(n >= 64 && (n == MANY || slot_count() == 1), "%u threads at once; there are no more (NULL) when no CPU slot is left", n);
	give_way();
	is(counter, 0, "while one holds the mutex, no other has it");
	mutex_unlock(&m);
	thread_join_all(t, n);
	is(counter, n, "each has had the mutex once");
	is(thread_count(), 1, "and is gone");
	space_trim(space_current(), THREADS_VA, THREADS_VA + PLAN_GIB);
}

/* ---- Mutex ---- */

#define ROUNDS 400u
static volatile unsigned inside;

static void add(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		mutex_lock(&m);
		unsigned v = counter;
		if (inside++)
			count_bad(&tally, "thread %lu is not alone", (uintptr_t)arg);
		if (i % 7 == (uintptr_t)arg)
			thread_yield();
		if (i % 100 == 0) /* longer than a slice: loses the CPU where the timer says */
			for (uint64_t end = cpu_tsc() + 3 * info->tsc_khz; cpu_tsc() < end;)
				cpu_pause();
		counter = v + 1;
		inside--;
		mutex_unlock(&m);
	}
}

static char order[T + 1];
static volatile unsigned queued;

static void queue_up(void *arg)
{
	mutex_lock(&m);
	order[strlen(order)] = (char)('a' + (uintptr_t)arg);
	mutex_unlock(&m);
}

static void check_mutex(void)
{
	struct thread *t[T];

	is(mutex_try(&m), 1, "a free mutex is taken");
	is(mutex_try(&m), 0, "not twice");
	for (uintptr_t i = 0; i < T; i++) {
		uint64_t newest = m.word;
		t[i] = thread_start(queue_up, i);
		while (m.word == newest)
			thread_sleep(1);
	}
	is(order[0], 0, "eight wait for it");
	mutex_unlock(&m);
	thread_join_all(t, T);
	ok(strcmp(order, "abcdefgh") == 0, "the longest waiter is woken first: %s", order);

	counter = 0;
	mutex_lock(&m);
	t[0] = thread_start(wait_turn, 0);
	while (t[0]->view->state != FH_SLEEPING)
		thread_sleep(1);
	slot_take(fh_name_pfn(t[0]->name));
	is((int64_t)t[0]->view->home, info->ncpus, "who waits may lose its slots: then it has no home");
	mutex_unlock(&m);
	slot_give(t[0]->name, 1); /* should it have lost the CPU again */
	thread_join(t[0]);
	is(counter, 1, "and is woken all the same");

	counter = 0;
	for (uintptr_t i = 0; i < T; i++)
		t[i] = thread_start(add, i);
	thread_join_all(t, T);
	none_bad(&tally, "eight threads that lose the CPU inside: never two in the mutex at once");
	is(counter, T * ROUNDS, "no addition is lost");
	is(mutex_try(&m), 1, "the mutex is free in the end");
	mutex_unlock(&m);
}

/* ---- Condition ---- */

#define ITEMS 600u
#define ROOM 3u
static struct condition not_full;
static volatile unsigned items, made, taken;

static void produce(void *arg)
{
	for (unsigned i = 0; i < ITEMS; i++) {
		mutex_lock(&m);
		while (items == ROOM)
			condition_wait(&not_full, &m);
		if (++items > ROOM)
			count_bad(&tally, "%u items", items);
		made++;
		condition_signal(&c);
		mutex_unlock(&m);
		if (i % 16 == (uintptr_t)arg)
			thread_yield();
	}
}

static void consume(void *arg)
{
	for (unsigned i = 0; i < ITEMS; i++) {
		mutex_lock(&m);
		while (items == 0)
			condition_wait(&c, &m);
		items--;
		taken++;
		condition_signal(&not_full);
		mutex_unlock(&m);
		if (i % 5 == (uintptr_t)arg)
			thread_yield();
	}
}

static void await(void *arg)
{
	mutex_lock(&m);
	queued++;
	condition_wait(&c, &m);
	if (mutex_try(&m))
		count_bad(&tally, "woken without the mutex");
	order[strlen(order)] = (char)('a' + (uintptr_t)arg);
	mutex_unlock(&m);
}

static void start_waiters(struct thread **t, unsigned n)
{
	memset(order, 0, sizeof(order));
	queued = 0;
	for (uintptr_t i = 0; i < n; i++) {
		t[i] = thread_start(await, i);
		while (queued <= i)
			thread_sleep(1);
	}
	give_way();
}

static void locked(void (*act)(struct condition *))
{
	mutex_lock(&m);
	act(&c);
	mutex_unlock(&m);
	give_way();
}

/* n have written their letters, or don't within two seconds; whoever else would has had its chance, too. */
static void await_order(size_t n)
{
	for (unsigned i = 0; i < 2000 && strlen(order) < n; i++)
		thread_sleep(1);
	give_way();
}

static void check_condition(void)
{
	struct thread *t[T];

	tally.bad = 0;
	locked(condition_signal); /* nobody waits: it is not kept for later */
	start_waiters(t, 5);
	is(order[0], 0, "five wait; a signal from before doesn't count");
	locked(condition_signal);
	await_order(1);
	ok(strcmp(order, "a") == 0, "a signal wakes one, the longest waiter: %s", order);
	locked(condition_signal);
	await_order(2);
	ok(strcmp(order, "ab") == 0, "the next one the next: %s", order);
	locked(condition_broadcast);
	thread_join_all(t, 5);
	is((int64_t)strlen(order), 5, "a broadcast all the others");
	none_bad(&tally, "each holds the mutex again when it wakes");

	for (uintptr_t i = 0; i < 3; i++) {
		t[2 * i] = thread_start(produce, i);
		t[2 * i + 1] = thread_start(consume, i);
	}
	thread_join_all(t, 6);
	none_bad(&tally, "three producers, three consumers, room for %u: never more than that", ROOM);
	ok(made == 3 * ITEMS && taken == made && items == 0, "%u items made, %u taken: no wake-up was lost", made, taken);
}

/* ---- What is each thread's own ---- */

static uint64_t fs_word(void)
{
	uint64_t w;
	__asm__ volatile("movq %%fs:0, %0" : "=r"(w));
	return w;
}

static void own_things(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	double x = (double)me, y = 0;
	uint32_t mxcsr, rounding = 0x1f80 | (uint32_t)(me % 4) << 13;
	char local[64];

	memset(local, (int)me, sizeof(local));
	__asm__ volatile("ldmxcsr %0" : : "m"(rounding));
	errno = (int)me + 1000;
	for (unsigned i = 0; i < 300; i++) {
		y += x;
		if (i % 10 == 0)
			thread_yield();
		for (volatile unsigned k = 0; k < 300; k++)
			;
		if (errno != (int)me + 1000 || fs_word() != (uint64_t)thread_self()->tcb)
			count_bad(&tally, "thread %lu: errno %d, FS block %#lx", me, errno, fs_word());
		if (local[i % 64] != (char)me)
			count_bad(&tally, "thread %lu: its stack", me);
	}
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	if (y != 300 * x || (mxcsr & ~63u) != rounding)
		count_bad(&tally, "thread %lu: SSE registers, mxcsr %#x", me, mxcsr);
	thread_exit((int)me);
}

static void check_own(void)
{
	struct thread *t[T];
	unsigned wrong = 0;

	tally.bad = 0;
	errno = 5;
	for (uintptr_t i = 0; i < T; i++)
		t[i] = thread_start(own_things, i + 1);
	for (unsigned i = 0; i < T; i++) {
		for (unsigned k = 0; k < i; k++)
			wrong += t[i]->place == t[k]->place || t[i]->name == t[k]->name || t[i]->stack_hi == t[k]->stack_hi;
	}
	for (unsigned i = 0; i < T; i++)
		wrong += thread_join(t[i]) != (int)i + 1;
	is(wrong, 0, "eight threads, each with its place, name, stack and status");
	none_bad(&tally, "each keeps its errno, its FS block, its stack and its SSE state");
	is(errno, 5, "as does the first thread");
}

/* ---- Memory, by all at once ---- */

static void allocate(void *arg)
{
	unsigned char *p[16] = {0}, byte = (unsigned char)(uintptr_t)arg;
	size_t n[16];
	uint64_t x = byte;

	for (unsigned step = 0; step < 400; step++) {
		x = x * 6364136223846793005ul + 1442695040888963407ul;
		unsigned i = x >> 33 & 15;
		for (size_t k = 0; p[i] && k < n[i]; k++) {
			if (p[i][k] != byte) {
				count_bad(&tally, "thread %u: byte %lu of %lu is %u", byte, k, n[i], p[i][k]);
				break;
			}
		}
		free(p[i]);
		n[i] = x >> 40 & 1023;
		if (!(p[i] = malloc(n[i])))
			count_bad(&tally, "thread %u: no memory", byte);
		else
			memset(p[i], byte, n[i]);
		if (step % 50 == 0) {
			int64_t r = mm_map(0, 20 * FH_PAGE, RIGHT_R | RIGHT_W, step % 100 ? MM_EAGER : 0);
			volatile unsigned char *q = (volatile unsigned char *)r;
			for (unsigned k = 0; !mm_failed(r) && k < 20; k++) {
				if (q[k * FH_PAGE])
					count_bad(&tally, "thread %u: a page that isn't zero", byte);
				q[k * FH_PAGE] = byte;
				if (k % 8 == 0)
					thread_yield();
			}
			for (unsigned k = 0; !mm_failed(r) && k < 20; k++)
				if (q[k * FH_PAGE] != byte)
					count_bad(&tally, "thread %u: somebody else's byte", byte);
			if (mm_failed(r) || mm_protect((va_t)r, 3 * FH_PAGE, RIGHT_R) < 0 || mm_unmap((va_t)r, 20 * FH_PAGE) < 0)
				count_bad(&tally, "thread %u: mm_*", byte);
		}
	}
	for (unsigned i = 0; i < 16; i++)
		free(p[i]);
}

static char *common;

/* All touch the same fresh pages: one wins, the others find its page. */
static void touch_common(void *arg)
{
	for (unsigned k = 0; k < 200; k++) {
		__atomic_fetch_add((unsigned *)(common + k * FH_PAGE), 1, __ATOMIC_SEQ_CST);
		if (k % 16 == (uintptr_t)arg)
			thread_yield();
	}
}

static void check_memory(void)
{
	struct thread *t[T];
	unsigned wrong = 0;

	tally.bad = 0;
	for (uintptr_t i = 0; i < T; i++)
		t[i] = thread_start(allocate, i + 1);
	thread_join_all(t, T);
	none_bad(&tally, "eight threads allocate, map, protect and unmap: none sees another's bytes");
	is(malloc_check(), 0, "the heap is consistent");
	common = (char *)mm_map(0, 200 * FH_PAGE, RIGHT_R | RIGHT_W, 0);
	for (uintptr_t i = 0; i < T; i++)
		t[i] = thread_start(touch_common, i);
	thread_join_all(t, T);
	for (unsigned k = 0; k < 200; k++)
		wrong += *(unsigned *)(common + k * FH_PAGE) != T;
	is(wrong, 0, "eight threads fault the same pages in: each page comes once");
	mm_unmap((va_t)common, 200 * FH_PAGE);
}

/* ---- Time and doorbells ---- */

static volatile unsigned rung;
static void on_ring(uint64_t bits) { rung += bits == 1ul << BELL_USER; }
static void ring_main(void *arg)
{
	for (unsigned i = 0; i < (uintptr_t)arg; i++) {
		sys_thread_switch(thread_main.name, 1ul << BELL_USER, 0, 0);
		while (rung == i)
			thread_yield();
	}
}

static void check_time(void)
{
	for (uint64_t ms = 1; ms <= 50; ms *= 7) {
		uint64_t before = cpu_tsc();
		thread_sleep(ms);
		uint64_t slept = (cpu_tsc() - before) / info->tsc_khz;
		ok(slept >= ms && slept < ms + 500, "asked to sleep %lu ms, slept %lu", ms, slept);
	}
	on_bell(1ul << BELL_USER, on_ring);
	rung = 0;
	for (unsigned i = 0; i < 10; i++)
		sys_thread_switch(thread_main.name, 1ul << BELL_USER, 0, 0);
	is(rung, 10, "ten times rung by ourselves, ten upcalls");
	rung = 0;
	thread_join(thread_start(ring_main, 10));
	is(rung, 10, "and by another thread, while we wait for it to end");
	rung = 0;
	uint64_t mask = upcalls_mask();
	sys_thread_switch(thread_main.name, 1ul << BELL_USER, 0, 0);
	is(rung, 0, "masked, it waits");
	upcalls_restore(mask);
	is(rung, 1, "unmasked, it comes in");
	on_bell(1ul << BELL_USER, NULL);
}

int main(void)
{
	char *warm = malloc(1 << 20);

	memset(warm, 1, 1 << 20); /* the heap keeps what it once had: not a loss */
	free(warm);
	tap_begin();
	check_join();
	check_many();
	check_mutex();
	check_condition();
	check_own();
	check_memory();
	check_time();
	return tap_end();
}
