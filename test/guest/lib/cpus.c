/* cpus.c - see cpus.h. */
#include "cpus.h"

#include "raw.h"

static struct raw nobody; /* holds the slots of CPUs 1 and up; never started */

/* Every slot of a CPU that holds `from` goes to `to`. */
static void hand_on(unsigned cpu, uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < FH_CPU_SLICES; i++)
		if (cpu_view(cpu)->slice[i] == from)
			sys_cpu_slice(info->cpu_pfn[cpu], i, to);
}

/* Who has the spare slots of a CPU. */
static uint64_t spare(unsigned cpu) { return cpu ? nobody.name : thread_main.name; }

void cpus_begin(void)
{
	if (raw_here(&nobody) < 0)
		panic("no thread to hold the slots");
	hand_on(0, thread_main.name, thread_main.name); /* CPU 0 is its home, and wakes for it, before it leaves the others */
	for (unsigned c = 1; c < info->ncpus; c++)
		hand_on(c, thread_main.name, nobody.name);
	while (cpu_here() != 0)
		thread_yield();
}

void cpus_end(void)
{
	for (unsigned c = 1; c < info->ncpus; c++)
		hand_on(c, nobody.name, thread_main.name);
	int r = raw_end(&nobody);
	if (r < 0)
		panic("a thread that never ran can't be buried: %s", error_name(r));
}

void cpu_leave(uint64_t name)
{
	for (unsigned c = 0; c < info->ncpus; c++)
		hand_on(c, name, spare(c));
}

bool cpu_place(uint64_t name, unsigned cpu)
{
	cpu_leave(name);
	for (unsigned i = FH_CPU_SLICES; i-- > 0;)
		if (cpu_view(cpu)->slice[i] == spare(cpu))
			return sys_cpu_slice(info->cpu_pfn[cpu], i, name) == 0;
	return false;
}

struct thread *thread_start(void (*run)(void *), uintptr_t arg)
{
	struct thread *t = thread_new(run, (void *)arg, NULL);

	if (!t)
		panic("thread_new");
	return t;
}

void thread_join_all(struct thread **t, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		thread_join(t[i]);
}

struct thread *thread_on(unsigned cpu, void (*run)(void *), void *arg)
{
	struct thread *t = thread_new(run, arg, NULL);

	if (!t || !cpu_place(t->name, cpu))
		panic("no thread on CPU %u", cpu);
	return t;
}

void thread_off(struct thread *t)
{
	while (t->view->state != FH_STOPPED)
		thread_sleep(1);
	cpu_leave(t->name);
	thread_join(t);
}

bool spin_change(const volatile uint64_t *word, uint64_t old, unsigned ms)
{
	for (uint64_t end = cpu_tsc() + ms * info->tsc_khz; *word == old; cpu_pause())
		if (cpu_tsc() > end)
			return false;
	return true;
}

uint64_t counted(unsigned event)
{
	uint64_t n = 0;

	for (unsigned c = 0; c < info->ncpus; c++)
		n += cpu_view(c)->count[event];
	return n;
}
