/*
 * slot.c - the CPU time of this env: which slots of the CPUs' vectors hold its threads. Nothing is remembered: the CPU
 * frames are mapped, and say it. The first thread is the bank: slots that nobody else needs hold it.
 *
 * A thread's home is the CPU into whose slots it was put last: that one is woken when the thread gets ready (abi.h). So the
 * first thread is put anew into one of its own slots where most are spare: there the fewest others of ours compete with it.
 *
 * The lock makes counting and giving one step. Nobody else touches slots that hold our threads, but for our ancestors.
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

static struct lock slots_lock;
void slot_reset(void) { slots_lock.holder = 0; }

/* Slots of one CPU that hold the first thread. */
static unsigned spare_on(unsigned cpu)
{
	unsigned n = 0;

	for (unsigned i = 0; i < slots_of(cpu); i++)
		n += cpu_view(cpu)->slice[i] == thread_main.name;
	return n;
}

/* The CPU with the most spare slots, so with the fewest others of ours; of equals the first from `from` on. */
static unsigned emptiest(unsigned from)
{
	unsigned best = 0, most = 0;

	for (unsigned i = 0; i < info->ncpus; i++) {
		unsigned cpu = (from + i) % info->ncpus, spare = spare_on(cpu);
		if (spare > most) {
			most = spare;
			best = cpu;
		}
	}
	return best;
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

/* The first thread's home is where it has the most slots. */
static void settle(void)
{
	unsigned home = (unsigned)thread_main.view->home, best = emptiest(home);

	if (best != home)
		give_on(best, thread_main.name, 1);
}

/* Of CPUs that are equal each is the best in turn, the first thread's home last. The best comes last: it is to be the home. */
static unsigned spread(uint64_t thread, unsigned n)
{
	static unsigned turn;
	unsigned cpus = info->ncpus, best = emptiest((unsigned)thread_main.view->home + 1 + turn++), given = 0, before;

	for (unsigned span = n < cpus ? n : cpus;; span = cpus) {
		before = given;
		unsigned share = (n - given + span - 1) / span;
		for (unsigned i = span; i-- > 0 && given < n;)
			given += give_on((best + cpus - i) % cpus, thread, share < n - given ? share : n - given);
		if (given == n || (given == before && span == cpus))
			return given;
	}
}

int slot_give(uint64_t thread, unsigned n)
{
	unsigned given = 0;

	lock_take(&slots_lock);
	unsigned spare = slot_count();
	if (spare > 1) {
		given = spread(thread, n < spare ? n : spare - 1);
		settle();
	}
	lock_give(&slots_lock);
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

	lock_take(&slots_lock);
	for (unsigned cpu = 0; cpu < info->ncpus; cpu++)
		for (unsigned i = 0; i < slots_of(cpu); i++)
			if (holds(cpu_view(cpu)->slice[i], thread, env) &&
			    sys_cpu_slice(info->cpu_pfn[cpu], i, thread_main.name) >= 0)
				taken++;
	settle();
	lock_give(&slots_lock);
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
