/*
 * trap.c - exceptions and interrupts: user faults become upcalls; a fault in the kernel is a bug and is reported.
 *
 * Which of the two it was is told by CS.RPL alone, never by an error code (MACHINE: QEMU gets U wrong).
 */
#include "console.h"
#include "epoch.h"
#include "lapic.h"
#include "smp.h"
#include "thread.h"

extern const uint64_t trap_stubs[256];
static struct { uint64_t lo, hi; } idt[256] __attribute__((aligned(16)));

/* Interrupt gate (SDM vol. 3A, 6.14.1). */
static void gate(unsigned vector, unsigned dpl, unsigned ist)
{
	uint64_t at = trap_stubs[vector];
	idt[vector].lo = (at & 0xffff) | (uint64_t)KERNEL_CS << 16 | (uint64_t)ist << 32 | 0x8e00ul << 32 |
	                 (uint64_t)dpl << 45 | (at >> 16 & 0xffff) << 48;
	idt[vector].hi = at >> 32;
}

void trap_init(void)
{
	for (unsigned v = 0; v < 256; v++)
		gate(v, v == 3 || v == 4 ? 3 : 0, v == 8 ? 1 : v == 2 ? 2 : v == 18 ? 3 : v == 1 ? 4 : 0);
	trap_load();
}

void trap_load(void) { load_idt(sizeof idt - 1, idt); }

/* An interrupt: the regs to run after it. `regs`: the running thread's, or NULL in idle. Out of line: faults don't pay. */
static __attribute__((noinline)) struct fh_regs *interrupt(uint64_t vector, struct fh_regs *regs)
{
	if (vector >= VECTOR_PIC && vector < VECTOR_PIC + 16) {
		console_interrupt();
		pic_eoi();
	} else if (vector != VECTOR_SPURIOUS)
		lapic_eoi();
	if (vector == VECTOR_FLUSH)
		serve_flush();
#ifdef DEBUG
	if (vector == VECTOR_PARK)
		smp_park();
#endif
	if (vector == VECTOR_TIMER)
		sched_timer();
	if (regs && atomic_get(&this_cpu()->thread->stop))
		return sched_stop();
	if (vector == VECTOR_TIMER)
		return sched_tick();
	if (!regs)
		return schedule();
	upcall_bells(regs);
	return return_checked(regs);
}

struct fh_regs *trap(struct fh_regs *regs)
{
	if (regs->vector == VECTOR_PF)
		return upcall(regs, read_cr2());
	if (regs->vector < 32)
		return upcall(regs, 0);
	return interrupt(regs->vector, regs);
}

/* From ring 0: an interrupt that ends idling; anything else is a bug in the kernel. */
struct fh_regs *kernel_trap(struct fh_regs *regs)
{
	if (regs->vector < 32 || this_cpu()->thread)
		report_kernel_fault(regs);
	epoch_leave_idle(); /* [epoch 22] [wake 10] */
	atomic_set(&epoch_cpu[mach_cpu()].idle, 0u); /* [wake 11] */
	return interrupt(regs->vector, NULL);
}
