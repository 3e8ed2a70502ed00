/* 24: the kernel made to read, write or run user memory: no call and no upcall touches a page by its address. */
#include "hostile.h"

#define TRAP 50u /* the page that nobody may touch */

static bool touched(void)
{
	op(FH_OP_HARVEST, FH_FLUSH_LOCAL, pt1, TRAP, 0, 0);
	return old & (FH_A | FH_D);
}

void attack(void)
{
	struct tally t = {0};
	const uint64_t va = VA + TRAP * FH_PAGE;
	static const uint64_t offsets[] = {0, 8, 2048, 4088, 4095};

	set(pt1, TRAP, data << 12 | LINK); /* writable and executable */
	touched();
	for (uint64_t number = 0; number < FH_NSYSCALLS; number++) {
		for (unsigned i = 0; i < 5; i++) {
			for (unsigned which = 1; which < 16; which++) {
				uint64_t a[4];
				for (unsigned k = 0; k < 4; k++)
					a[k] = which >> k & 1 ? va + offsets[i] : 0;
				if (number == FH_SYS_thread_switch && (a[2] || a[3]))
					a[3] = 1; /* don't sleep */
				if ((number == FH_SYS_env_ctl && a[1] == FH_ENV_FREEZE) || (number == FH_SYS_thread_ctl && a[1] == FH_THREAD_STOP))
					continue;
				sys_call4(number, a[0], a[1], a[2], a[3]);
				if (touched())
					count_bad(&t, "call %lu with %#lx, %#lx, %#lx, %#lx touches it", number, a[0], a[1], a[2], a[3]);
			}
		}
	}
	none_bad(&t, "%u calls, each with a user address in every argument: the page's A and D stay clear", FH_NSYSCALLS);

	/* Faults with a stack and a handler's stack there. The raw thread has a page of ours mapped in its own space. */
	t.bad = 0;
	struct raw r;
	if (raw_here(&r) < 0)
		panic("no thread");
	static const char *const code[] = {"\x0f\x0b", "\xcc", "\xf4", "\x0f\x05\x0f\x0b"};
	for (unsigned i = 0; i < 4; i++) {
		struct fh_regs regs = raw_regs(&r, 0);
		regs.rsp = va + 2048, regs.rax = 99;
		raw_code(&r, code[i], i == 3 ? 4 : 2);
		r.upcall->entry = 0x123000; /* not there: one fault more */
		r.upcall->stack_top = va + 1024;
		r.upcall->depth = 0, r.upcall->max_depth = 2;
		touched();
		want(&t, raw_run(&r, &regs, 50), FH_FAULTED, "program %u", i);
		want(&t, (int64_t)r.upcall->depth, 2, "upcalls of program %u", i);
		want(&t, touched(), 0, "program %u: a user stack touched", i);
	}
	none_bad(&t, "faults, calls and upcalls write to no user stack");
	raw_end(&r);
	clear(pt1, TRAP);
}
