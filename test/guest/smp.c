/*
 * smp.c - what only several CPUs can break, and what a thread may rely on wherever it runs. With one CPU the same
 * sentences hold, and the timer does the interleaving.
 */
#include <string.h>

#include "cpus.h"
#include "spacewalk.h"
#include "tap.h"

static struct tally tally;
static uint64_t ms(uint64_t n) { return n * info->tsc_khz; }

/* ---- One thread, anywhere ---- */

/* The last slot of ours on a CPU; -1: none. */
static int my_slot(unsigned cpu)
{
	for (unsigned i = FH_CPU_SLICES; i-- > 0;)
		if (cpu_view(cpu)->slice[i] == thread_main.name)
			return (int)i;
	return -1;
}

/* A thread that is alone flushes only its own CPU. It must not meet the old translation on another one afterwards. */
static void check_local_flush(void)
{
	volatile uint64_t *page = (volatile uint64_t *)mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	pfn_t table = fh_pte_pfn(*window_slot((va_t)page, 2)), first = frame_at(page);
	pfn_t frame[2] = {first, frame_get(&frames_first, 1, 1, 0, 0)};
	uint64_t moves = 0, cpu = ~0ul, steps = 0;
	int slot[FH_MAX_CPUS + 1];

	for (unsigned i = 0; i < info->ncpus; i++)
		slot[i] = my_slot(i);
	for (unsigned i = 0; i < 2; i++) {
		sys_pt_set(fh_what(FH_OP_SET, FH_FLUSH_ALL, table, pt_index((va_t)page, 1), 1), pte_make(frame[i], RIGHT_R | RIGHT_W),
		           (va_t)page);
		*page = i;
	}
	for (uint64_t end = cpu_tsc() + ms(300); cpu_tsc() < end; steps++) {
		uint64_t now = upcall_word(UPCALL_OFFSET(cpu));
		moves += now != cpu;
		cpu = now;
		if (sys_pt_set(fh_what(FH_OP_SET, FH_FLUSH_LOCAL, table, pt_index((va_t)page, 1), 1),
		               pte_make(frame[steps % 2], RIGHT_R | RIGHT_W), (va_t)page).rax < 0 ||
		    *page != steps % 2)
			count_bad(&tally, "step %lu: not mapped", steps);
		unsigned other = (unsigned)(steps % info->ncpus); /* it looks for something to run, too */
		if (slot[other] >= 0)
			sys_cpu_slice(info->cpu_pfn[other], (uint64_t)slot[other], thread_main.name);
		sys_thread_switch(0, 0, 0, 0);
		if (*page != steps % 2)
			count_bad(&tally, "step %lu: CPU %lu has the page of before, flushed on CPU %lu", steps,
			          upcall_word(UPCALL_OFFSET(cpu)), now);
	}
	none_bad(&tally, "a thread that is alone and flushes only its CPU sees its new page on the next CPU, too: %lu steps, %lu moves",
	         steps, moves);
	mm_unmap((va_t)page, FH_PAGE);
	frame_put(frame[1], 1);
	frame_put(frame[0], 1);
}

/* ---- Sleeps ---- */

#define BELL (1ul << (BELL_USER + 1))
static volatile bool stop;

static void ring_main(void *arg)
{
	(void)arg;
	while (!stop) {
		sys_thread_switch(thread_main.name, BELL, 0, 1);
		for (uint64_t end = cpu_tsc() + ms(1) / 20; cpu_tsc() < end;)
			cpu_pause();
	}
}

/* A ring may be meant for one sleep and come in the next, which is none of its business. */
static void check_sleeps(void)
{
	struct thread *t[3];
	uint64_t sleeps = 0;

	tally.bad = 0;
	stop = false;
	for (unsigned i = 0; i < 3; i++)
		t[i] = thread_new(ring_main, NULL, NULL);
	for (uint64_t end = cpu_tsc() + ms(300); cpu_tsc() < end; sleeps++) {
		sys_thread_switch(0, 0, BELL, cpu_tsc() + ms(1));
		uint64_t deadline = cpu_tsc() + ms(1) / 20;
		int64_t r = sys_thread_switch(0, 0, 0, deadline);
		if (r != 0 || cpu_tsc() < deadline)
			count_bad(&tally, "sleep %lu: %ld", sleeps, r);
	}
	stop = true;
	for (unsigned i = 0; i < 3; i++)
		thread_join(t[i]);
	sys_thread_switch(0, 0, BELL, 1);
	none_bad(&tally, "of %lu sleeps none ends before its deadline by a bit that it doesn't wait for", sleeps);
}

/* ---- Idle CPUs, and what a slice may cost others ---- */

#define IDLE_CPU 1u
static unsigned idle_slot;
static void wake_idle(void)
{
	sys_cpu_slice(info->cpu_pfn[IDLE_CPU], idle_slot, cpu_view(IDLE_CPU)->slice[idle_slot]);
}

static void wake_main(void *arg)
{
	(void)arg;
	while (!stop)
		wake_idle();
}

/* A CPU that is told all the time to look for something to run halts each time that it finds nothing. If it looked again
 * instead it would stay in the kernel, deaf to flushes, as long as others like (HOSTILE 43). */
static void check_wakes(void)
{
	static const char sentence[] = "an idle CPU is woken all the time: each interrupt ends a halt";
	struct thread *t[FH_MAX_CPUS + 1];

	if (info->ncpus == 1) {
		skip("it takes two CPUs", sentence);
		return;
	}
	cpus_begin();
	for (idle_slot = FH_CPU_SLICES - 1; cpu_view(IDLE_CPU)->slice[idle_slot] == 0;)
		idle_slot--;
	stop = false;
	for (unsigned i = 2; i < info->ncpus; i++)
		t[i] = thread_on(i, wake_main, NULL);
	uint64_t halts = cpu_view(IDLE_CPU)->idle, ipis = counted(FH_COUNT_RESCHED_IPIS);
	for (uint64_t end = cpu_tsc() + ms(1000); cpu_tsc() < end;)
		wake_idle();
	stop = true;
	ipis = counted(FH_COUNT_RESCHED_IPIS) - ipis;
	halts = cpu_view(IDLE_CPU)->idle - halts;
	for (unsigned i = 2; i < info->ncpus; i++)
		thread_off(t[i]);
	cpus_end();
	ok(ipis > 20 && ipis < halts + 20, sentence);
	note("%lu interrupts, %lu halts", ipis, halts);
}

/* A slice has 256 forced flushes to spend, however often its thread goes to sleep in it: they advance the clock, and
 * interrupt the other CPUs (HOSTILE 48). */
static void check_flush_budget(void)
{
	static const char sentence[] = "a slice's forced flushes are not refilled by short sleeps";

	if (info->ncpus == 1) {
		skip("one CPU has no others to flush", sentence);
		return;
	}
	tally.bad = 0;
	cpus_begin();
	for (unsigned tries = 0; tries < 20; tries++) {
		uint64_t forced = 0, begin = cpu_tsc();
		for (unsigned sleeps = 0; sleeps < 4; sleeps++) {
			for (unsigned i = 0; i < 256; i++)
				forced += sys_tlb_flush(0, FH_TLB_ALL, 0, 0) == 0;
			sys_thread_switch(0, 0, 0, cpu_tsc() + ms(1) / 20);
		}
		uint64_t slices = (cpu_tsc() - begin) / ms(10) + 2; /* at most; the first and the last in part */
		if (forced > slices * 256)
			count_bad(&tally, "%lu flushes in %lu slices", forced, slices);
	}
	cpus_end();
	none_bad(&tally, sentence);
}

/* ---- Where threads go ---- */

#define ALL 4u /* threads that hammer at something together */

static unsigned cpus_seen(const uint64_t *seen)
{
	unsigned n = 0;

	for (unsigned i = 0; i <= FH_MAX_CPUS; i++)
		n += seen[i / 64] >> i % 64 & 1;
	return n;
}

static uint64_t seen[FH_MAX_CPUS / 64 + 1];

static void be_seen(void *arg)
{
	(void)arg;
	while (!stop) {
		uint64_t cpu = upcall_word(UPCALL_OFFSET(cpu));
		__atomic_fetch_or(&seen[cpu / 64], 1ul << cpu % 64, __ATOMIC_RELAXED);
		cpu_pause();
	}
}

/* Slots of each CPU that hold one of these threads: at most. */
static unsigned most_on_one_cpu(struct thread **t, unsigned n)
{
	unsigned most = 0;

	for (unsigned cpu = 0; cpu < info->ncpus; cpu++) {
		unsigned here = 0;
		for (unsigned i = 0; i < n; i++)
			for (unsigned slot = 0; slot < FH_CPU_SLICES; slot++)
				here += cpu_view(cpu)->slice[slot] == t[i]->name;
		most = here > most ? here : most;
	}
	return most;
}

static void check_spread(void)
{
	struct thread *t[16];
	unsigned n = info->ncpus < 8 ? 2 * info->ncpus : 16, slots = slot_count();

	memset(seen, 0, sizeof(seen));
	stop = false;
	for (unsigned i = 0; i < n; i++)
		t[i] = thread_start(be_seen, 0);
	is(most_on_one_cpu(t, n), (n + info->ncpus - 1) / info->ncpus, "%u new threads have their slots evenly on %u CPUs", n, info->ncpus);
	unsigned wanted = n < info->ncpus ? n : info->ncpus;
	for (unsigned i = 0; i < 100 && cpus_seen(seen) < wanted; i++)
		thread_sleep(20);
	ok(cpus_seen(seen) >= wanted, "and run there: on %u", cpus_seen(seen));
	stop = true;
	thread_join_all(t, n);
	is(slot_count(), slots, "the slots are ours again");
	ok(my_slot((unsigned)thread_main.view->home) >= 0, "we have one on our home CPU, which is woken for us");
}

static void breed(void *arg)
{
	for (unsigned i = 0; i < 12; i++) {
		struct thread *t = thread_new(arg ? be_seen : breed, NULL, NULL);
		if (!t)
			count_bad(&tally, "no thread");
		else
			thread_join(t);
		if (!arg)
			break;
	}
}

static void check_births(void)
{
	struct thread *t[ALL];
	unsigned slots = slot_count();

	tally.bad = 0;
	stop = true;
	for (unsigned i = 0; i < ALL; i++)
		t[i] = thread_start(breed, 1);
	thread_join_all(t, ALL);
	none_bad(&tally, "threads are born and joined on all CPUs at once");
	ok(slot_count() == slots && thread_count() == 1, "each gave its slot back");
}

/* ---- Memory ---- */

/* Write, or find that it is not allowed: the instruction at refusable_store may fault. */
bool refusable(volatile uint64_t *p, uint64_t value);
extern const char refusable_store[], refusable_out[];
__asm__(".pushsection .text.refusable,\"ax\"\n"
        "refusable:\n"
        "	xor %eax, %eax\n"
        "refusable_store:\n"
        "	mov %rsi, (%rdi)\n"
        "	inc %eax\n"
        "refusable_out:\n"
        "	ret\n"
        ".popsection\n");

static enum answer on_fault(struct fh_context *c)
{
	if (fault_page(c))
		return FAULT_DONE;
	if (c->regs.rip != (uint64_t)refusable_store)
		return FAULT_NEXT;
	c->regs.rip = (uint64_t)refusable_out;
	return FAULT_DONE;
}

#define PAGES 8u
static volatile uint64_t *pages; /* each worker writes word `worker` of each page */
static uint64_t written[ALL], refused[ALL];

static void write_on(void *arg)
{
	uintptr_t me = (uintptr_t)arg;

	for (uint64_t n = 1; !stop; n++)
		for (unsigned i = 0; i < PAGES; i++)
			if (refusable(pages + i * 512 + me, n))
				__atomic_fetch_add(&written[me], 1, __ATOMIC_RELAXED);
			else
				__atomic_fetch_add(&refused[me], 1, __ATOMIC_RELAXED);
}

static uint64_t sum(const uint64_t *words)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < ALL; i++)
		n += __atomic_load_n(&words[i], __ATOMIC_RELAXED);
	return n;
}

/* What they wrote, all of it. */
static uint64_t contents(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PAGES * 512; i++)
		n += pages[i];
	return n;
}

/* Wait until the workers have come round. */
static void some_rounds(const uint64_t *words)
{
	uint64_t from = sum(words), end = cpu_tsc() + ms(2000);

	while (sum(words) < from + PAGES * ALL && cpu_tsc() < end)
		thread_yield();
}

/* When mm_protect and mm_unmap return, no CPU writes there any more. */
static void check_rights_taken(void)
{
	struct thread *t[ALL];
	struct tally unmapped = {0};
	va_t va;

	pages = (volatile uint64_t *)mm_map(0, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	va = (va_t)pages;
	tally.bad = 0;
	stop = false;
	on_upcall(14, on_fault);
	for (unsigned i = 0; i < ALL; i++)
		t[i] = thread_start(write_on, i);
	for (unsigned round = 0; round < 10; round++) {
		some_rounds(written);
		if (mm_protect(va, PAGES * FH_PAGE, RIGHT_R) < 0)
			count_bad(&tally, "mm_protect");
		uint64_t before = contents();
		some_rounds(refused);
		if (contents() != before)
			count_bad(&tally, "round %u: written to after mm_protect", round);
		mm_protect(va, PAGES * FH_PAGE, RIGHT_R | RIGHT_W);
		some_rounds(written);
		if (mm_unmap(va, PAGES * FH_PAGE) < 0)
			count_bad(&unmapped, "mm_unmap");
		before = sum(written) - ALL; /* each may have written, and not have said so yet */
		some_rounds(refused);
		if (sum(written) > before + 2 * ALL)
			count_bad(&unmapped, "round %u: written to after mm_unmap", round);
		if (mm_map(va, PAGES * FH_PAGE, RIGHT_R | RIGHT_W, MM_FIXED) != (int64_t)va)
			count_bad(&unmapped, "mm_map");
	}
	stop = true;
	thread_join_all(t, ALL);
	on_upcall(14, NULL);
	none_bad(&tally, "%u threads write on: nothing is written once mm_protect has returned", ALL);
	none_bad(&unmapped, "nor once mm_unmap has: %lu writes, %lu refused", sum(written), sum(refused));
	mm_unmap(va, PAGES * FH_PAGE);
}

#define FRESH 64u
static volatile unsigned *fresh;
static volatile unsigned arrived;

/* All CPUs fault on one page after the other, at once. */
static void touch_fresh(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < FRESH; i++) {
		__atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
		for (unsigned spins = 0; arrived < (i + 1) * ALL; spins++)
			if (spins > 1000)
				thread_yield();
		__atomic_fetch_add(fresh + i * 1024, 1, __ATOMIC_SEQ_CST);
	}
}

static void check_same_page(void)
{
	struct thread *t[ALL];
	uint64_t faults = space_current()->faults;
	unsigned wrong = 0;

	fresh = (volatile unsigned *)mm_map(0, FRESH * FH_PAGE, RIGHT_R | RIGHT_W, 0);
	arrived = 0;
	for (unsigned i = 0; i < ALL; i++)
		t[i] = thread_start(touch_fresh, 0);
	thread_join_all(t, ALL);
	for (unsigned i = 0; i < FRESH; i++)
		wrong += fresh[i * 1024] != ALL;
	ok(wrong == 0, "%u threads fault on the same page at once, %u times: it comes once (%lu faults)", ALL, FRESH,
	   space_current()->faults - faults);
	mm_unmap((va_t)fresh, FRESH * FH_PAGE);
}

static void move_break(void *arg)
{
	for (unsigned i = 0; i < 200; i++)
		if (mm_failed(heap_grow(i % 2 ? -(intptr_t)arg : (intptr_t)arg)))
			count_bad(&tally, "heap_grow");
}

static void check_break(void)
{
	struct thread *t[ALL];
	va_t before = heap_end();

	tally.bad = 0;
	for (unsigned i = 0; i < ALL; i++)
		t[i] = thread_start(move_break, 16 * (i + 1));
	thread_join_all(t, ALL);
	none_bad(&tally, "the heap's end is moved by all at once");
	is((int64_t)heap_end(), (int64_t)before, "no move is lost");
}

/* ---- Fork, exit, children ---- */

static volatile uint64_t *counters; /* copy-on-write; page i: word 0, then word 1, counted up by worker i */

static void count_up(void *arg)
{
	volatile uint64_t *mine = counters + (uintptr_t)arg * 512;

	while (!stop) {
		mine[0]++;
		mine[1]++;
	}
}

/* Records and heap in constant change. */
static void allocate(void *arg)
{
	(void)arg;
	while (!stop) {
		void *p = malloc(100);
		int64_t va = mm_map(0, 3 * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
		mm_protect((va_t)va + FH_PAGE, FH_PAGE, 0);
		mm_unmap((va_t)va, 3 * FH_PAGE);
		free(p);
	}
}

/* In the child: 0, or which is wrong. */
static int look_at_copy(void)
{
	uint64_t then[2][2];

	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < 2; k++)
			then[i][k] = counters[i * 512 + k];
	for (unsigned i = 0; i < 2; i++)
		if (then[i][0] != then[i][1] && then[i][0] != then[i][1] + 1)
			return 1;
	for (unsigned i = 0; i < 20; i++) {
		void *p = malloc(100 + i);
		int64_t va = mm_map(0, 2 * FH_PAGE, RIGHT_R | RIGHT_W, 0);
		if (!p || mm_failed(va))
			return 2;
		*(volatile char *)va = 1;
		free(p);
	}
	thread_sleep(5); /* the parent's threads go on */
	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < 2; k++)
			if (counters[i * 512 + k] != then[i][k])
				return 3;
	return malloc_check() ? 4 : 0;
}

static void check_fork(void)
{
	struct thread *t[ALL];
	uint64_t end = cpu_tsc() + ms(500);
	unsigned forks = 0;

	counters = (volatile uint64_t *)mm_map(0, 2 * FH_PAGE, RIGHT_R | RIGHT_W, MM_EAGER);
	tally.bad = 0;
	stop = false;
	for (unsigned i = 0; i < ALL; i++)
		t[i] = thread_start(i < 2 ? count_up : allocate, i);
	for (; forks < 8 && (forks < 3 || cpu_tsc() < end); forks++) {
		struct env *child;
		int r = env_fork(&child);
		if (r == 0)
			exit(look_at_copy());
		int status = r < 0 ? r : env_wait(child) == ENV_EXITED ? env_status(child) : -1000;
		if (status)
			count_bad(&tally, "fork %u: %d", forks, status);
		if (r > 0 && (r = env_reap(&child, NULL)) < 0)
			count_bad(&tally, "fork %u: not reaped, %s", forks, error_name(r));
	}
	stop = true;
	thread_join_all(t, ALL);
	none_bad(&tally, "%u forks while other CPUs write, allocate and map: each copy is whole, works, and stays as it is", forks);
	ok(counters[0] == counters[1] && counters[512] == counters[513], "and no write of ours is lost");
	mm_unmap((va_t)counters, 2 * FH_PAGE);
}

static void leave_with(void *arg) { exit((int)(uintptr_t)arg); }

static void check_exit(void)
{
	tally.bad = 0;
	for (unsigned i = 0; i < 6; i++) {
		struct env *child;
		int r = env_fork(&child);
		if (r == 0) {
			thread_new(leave_with, (void *)(uintptr_t)(40 + i), NULL);
			for (;;)
				if (i % 2)
					thread_sleep(1);
		}
		if (r < 0)
			panic("env_fork: %s", error_name(r));
		if (env_wait(child) != ENV_EXITED || env_status(child) != (int)(40 + i))
			count_bad(&tally, "child %u: status %d", i, env_status(child));
		env_reap(&child, NULL);
	}
	none_bad(&tally, "a thread ends the program, with its status, while the first one runs on another CPU, or sleeps");
}

static struct module image;

static void raise_children(void *arg)
{
	char *const argv[] = {"smp", "child", NULL};

	for (unsigned i = 0; i < 2; i++) {
		struct env *child;
		int r = spawn(&child, image.data, image.bytes, argv, &(struct spawn_options){.quota = 300, .slots = 1});
		if (r < 0) {
			count_bad(&tally, "thread %lu: spawn: %s", (uintptr_t)arg, error_name(r));
			continue;
		}
		if (env_wait(child) != ENV_EXITED || env_status(child) != 9)
			count_bad(&tally, "thread %lu: status %d", (uintptr_t)arg, env_status(child));
		if ((r = env_reap(&child, NULL)) < 0)
			count_bad(&tally, "thread %lu: reap: %s", (uintptr_t)arg, error_name(r));
	}
}

static void check_children(void)
{
	struct thread *t[ALL];
	unsigned slots = slot_count();

	tally.bad = 0;
	for (unsigned i = 0; i < ALL; i++)
		t[i] = thread_start(raise_children, i);
	thread_join_all(t, ALL);
	none_bad(&tally, "%u threads make, await and bury children at once", ALL);
	ok(slot_count() == slots && !env_list, "no slot and no child is left");
}

int main(int argc, char **argv)
{
	if (argc > 1 && argv[1])
		return 9;
	if (module_named(program_name, &image) < 0)
		panic("no image of this program");
	raise_children(NULL); /* records, tables, the heap: made once and kept */
	free(malloc(100000));
	tap_begin();
	check_local_flush();
	check_sleeps();
	check_spread();
	check_births();
	check_rights_taken();
	check_same_page();
	check_break();
	check_fork();
	check_exit();
	check_children();
	check_wakes();
	check_flush_budget();
	space_trim(space_current(), THREADS_VA, THREADS_VA + PLAN_GIB);
	return tap_end();
}
