/* 35: a CPU that switches roots between the reading of who must flush and the change of the entry. */
#include "hostile.h"

static volatile pfn_t second;
static volatile bool begun, stop;
static volatile uint64_t switches, faulted;
extern const char touch_here[], touch_on[];
static volatile uint64_t *const page = (volatile uint64_t *)(VA + 5 * FH_PAGE);

/* Count up in the page, from one root and from the other. */
static void hop(void *arg)
{
	uint64_t off, size;
	struct fh_thread_args *a = batch_area(&off, &size);
	unsigned slot = (unsigned)(uintptr_t)arg;

	begun = true; /* on a stack that has its tables: the second root's slots are those of now */
	while (!second)
		relax();
	while (!stop) {
		*a = (struct fh_thread_args){.fields = FH_SET_ROOT, .root = switches % 2 ? pt4 : second};
		if (sys_thread_write(0, off) == 0)
			switches = switches + 1;
		for (unsigned i = 0; i < switches * 7919 % 20000; i++)
			__asm__ volatile(".globl touch_here, touch_on\n touch_here: incq (%0)\n touch_on:"
			                 :
			                 : "r"(page + slot)
			                 : "memory", "cc");
		if (info->ncpus == 1)
			thread_yield();
	}
	*a = (struct fh_thread_args){.fields = FH_SET_ROOT, .root = pt4};
	sys_thread_write(0, off);
}

static enum answer skip_it(struct fh_context *c)
{
	if (c->regs.rip != (uint64_t)touch_here)
		return FAULT_NEXT;
	c->regs.rip = (uint64_t)touch_on;
	faulted = faulted + 1;
	return FAULT_DONE;
}

void attack(void)
{
	struct tally t = {0};

	set(pt1, 5, data << 12 | RW);
	on_upcall(14, skip_it);
	cpus_begin();
	struct thread *hopper = thread_on(info->ncpus > 1 ? 1 : 0, hop, (void *)1ul);
	while (!begun)
		relax();
	second = root_clone();
	while (!switches)
		relax();
	for (unsigned i = 0; i < (info->ncpus > 1 ? 80 : 20); i++) {
		uint64_t from = page[1]; /* it writes, and so has the page in its TLB */
		for (uint64_t end = cpu_tsc() + ms(60000); page[1] == from && cpu_tsc() < end;)
			relax();
		want(&t, op(FH_OP_PROTECT, FH_FLUSH_ALL, pt1, 5, FH_NX, 0), FH_OP_DONE, "read-only, and all CPUs flushed");
		uint64_t then = page[1];
		for (unsigned k = 0; k < (info->ncpus > 1 ? 200 : 3); k++)
			relax();
		if (page[1] != then)
			count_bad(&t, "round %u: written after the flush: %lu, %lu", i, then, page[1]);
		want(&t, op(FH_OP_PROTECT, 0, pt1, 5, FH_W | FH_NX, 0), FH_OP_DONE, "writable");
	}
	stop = true;
	thread_off(hopper);
	cpus_end();
	on_upcall(14, NULL);
	none_bad(&t, "a CPU hops between two roots (%lu times) and writes: never once a flush of all has returned", switches);
	ok(switches > 10, "it did hop");
	clear(pt1, 5);
	root_end(second, &t);
}
