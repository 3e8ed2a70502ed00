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
	for (uint64_t end = cpu_tsc() + ms(1000); cpu_tsc() < end; steps++) {
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
	for (uint64_t end = cpu_tsc() + ms(1000); cpu_tsc() < end; sleeps++) {
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

int main(void)
{
	tap_begin();
	check_local_flush();
	check_sleeps();
	check_wakes();
	check_flush_budget();
	return tap_end();
}
