/*
 * slot.c - the CPU time of this env: which slots of the CPUs' vectors hold its threads. Nothing is remembered: the CPU
 * frames are mapped, and say it. The first thread is the bank: slots that nobody else needs hold it.
 */
#include <errno.h>

#include "env.h"
#include "start.h"
#include "syscall.h"
#include "thread.h"

const volatile struct fh_cpu *cpu_view(unsigned i)
{
	return i < info->ncpus ? (const volatile struct fh_cpu *)(CPUS_VA + i * FH_PAGE) : NULL;
}

static unsigned slots_of(unsigned cpu)
{
	uint64_t n = cpu_view(cpu)->nslices;
	return n < FH_CPU_SLICES ? (unsigned)n : FH_CPU_SLICES;
}

/* Slots of one CPU that hold the first thread. */
static unsigned spare_on(unsigned cpu)
{
	unsigned n = 0;

	for (unsigned i = 0; i < slots_of(cpu); i++)
		n += cpu_view(cpu)->slice[i] == thread_main.name;
	return n;
}

unsigned slot_count(void)
{
	unsigned n = 0;

	for (unsigned cpu = 0; cpu < info->ncpus; cpu++)
		n += spare_on(cpu);
	return n;
}

/* Hand `n` spare slots of a CPU to `thread`, the last ones first. Returns how many. */
static unsigned give_on(unsigned cpu, uint64_t thread, unsigned n)
{
	unsigned given = 0;

	for (unsigned i = slots_of(cpu); i-- > 0 && given < n;)
		if (cpu_view(cpu)->slice[i] == thread_main.name && sys_cpu_slice(info->cpu_pfn[cpu], i, thread) >= 0)
			given++;
	return given;
}

int slot_give(uint64_t thread, unsigned n)
{
	unsigned spare = slot_count(), given = 0;

	if (spare < 2)
		return -EAGAIN;
	if (n > spare - 1)
		n = spare - 1;
	for (unsigned cpu = 0; cpu < info->ncpus && given < n; cpu++) {
		unsigned left = info->ncpus - cpu, share = (n - given + left - 1) / left;
		given += give_on(cpu, thread, share);
	}
	return given ? (int)given : -EAGAIN;
}

/* Does the slot hold a thread (with this pfn; of this env or one below it)? */
static bool holds(uint64_t name, pfn_t thread, pfn_t env)
{
	pfn_t pfn = fh_name_pfn(name);

	if (!pfn)
		return false;
	if (thread)
		return pfn == thread;
	uint64_t state = frame_record(pfn)->state;
	return fh_type(state) == FH_THREAD && env_below(fh_owner(state), env);
}

static int take(pfn_t thread, pfn_t env)
{
	int taken = 0;

	for (unsigned cpu = 0; cpu < info->ncpus; cpu++)
		for (unsigned i = 0; i < slots_of(cpu); i++)
			if (holds(cpu_view(cpu)->slice[i], thread, env) &&
			    sys_cpu_slice(info->cpu_pfn[cpu], i, thread_main.name) >= 0)
				taken++;
	return taken;
}

int slot_take(pfn_t thread) { return take(thread, 0); }
int slot_take_env(pfn_t env) { return take(0, env); }

int slot_claim(unsigned lo, unsigned hi)
{
	for (unsigned cpu = 0; cpu < info->ncpus; cpu++) {
		for (unsigned i = lo; i < hi; i++) {
			int64_t r = sys_cpu_slice(info->cpu_pfn[cpu], i, thread_main.name);
			if (r < 0)
				return (int)r;
		}
	}
	return 0;
}
