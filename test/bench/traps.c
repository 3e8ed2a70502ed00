/* traps.c - crossings: the system call, and the fault that user code handles. */
#include "bench.h"

static void null_call(void)
{
	bench_group();
	for (int i = 0; i < 4000; i++) {
		bench_begin();
		sys_tlb_flush(0, FH_TLB_NONE, 0, 0);
		BENCH_END(0);
	}
	bench_report("null-call", 1);
}

static enum answer skip3(struct fh_context *c)
{
	c->regs.rip += 3;
	return FAULT_DONE;
}

static enum answer entered(struct fh_context *c)
{
	bench_sample(bench_read(), 0);
	c->regs.rip += 3;
	return FAULT_DONE;
}

/* A write of three bytes of code, to a page that may only be read. */
static inline void write3(char *p) { __asm__ volatile("movb $1, (%%rdi)" : : "D"(p) : "memory"); }

void bench_traps(void)
{
	char *p = bench_touched(1);

	null_call();
	MUST(mm_protect((va_t)p, FH_PAGE, RIGHT_R) == 0);
	on_upcall(14, skip3);
	bench_group();
	for (int i = 0; i < 2000; i++) {
		bench_begin();
		write3(p);
		BENCH_END(0);
	}
	bench_report("trap", 1);
	on_upcall(14, entered);
	bench_group();
	for (int i = 0; i < 2000; i++) {
		bench_begin();
		write3(p);
	}
	bench_report("trap-to-handler", 1);
	on_upcall(14, NULL);
	MUST(mm_unmap((va_t)p, FH_PAGE) == 0);
}
