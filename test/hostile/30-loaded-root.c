/* 30: a PT4 freed or retyped while some CPU has it loaded, runs on it, or keeps it lazily when it idles (494). */
#include <string.h>

#include "hostile.h"

void attack(void)
{
	struct tally t = {0};
	struct raw r;
	const unsigned cpu = info->ncpus - 1, rounds = 40;

	if (raw_here(&r) < 0)
		panic("no thread");
	cpus_begin();
	for (unsigned i = 0; i < rounds; i++) {
		pfn_t root = root_clone();
		struct fh_thread_args a = {.fields = FH_SET_ROOT | FH_SET_REGS, .root = root, .regs = raw_regs(&r, 0)};
		raw_code(&r, "\xff\x07\xeb\xfc", 4); /* inc dword [rdi]; jmp */
		a.regs.rdi = raw_va(&r, RAW_DATA);
		volatile uint32_t *counter = (volatile uint32_t *)r.page[RAW_DATA];
		uint32_t from = *counter;
		want(&t, raw_write(&r, &a), 0, "round %u: written", i);
		cpu_place(r.name, cpu);
		want(&t, sys_thread_ctl(r.name, FH_THREAD_START, 0), 0, "round %u: started", i);
		for (uint64_t end = cpu_tsc() + ms(60000); *counter == from && cpu_tsc() < end;)
			relax();
		for (unsigned k = 0; k < 20; k++) {
			want(&t, sys_frame_retype(root, FH_DATA), -FH_EBUSY, "round %u: retyped while it runs", i);
			want(&t, sys_frame_free(root, 1), -FH_EBUSY, "round %u: freed while it runs", i);
		}
		if (*counter == from)
			count_bad(&t, "round %u: it doesn't run", i);
		thread_stop(r.name, 0);
		want(&t, sys_frame_retype(root, FH_DATA), -FH_EBUSY, "round %u: retyped while it is a stopped thread's", i);
		a = (struct fh_thread_args){.fields = FH_SET_ROOT, .root = pt4};
		want(&t, raw_write(&r, &a), 0, "round %u: another root", i); /* now only a CPU that idles may still have it */
		struct fh_op *b = batch_here();
		b[0] = (struct fh_op){fh_what(FH_OP_CLEAR, 0, root, 0, FH_KERNEL_SLOT), 0};
		update(b, 1);
		int64_t e;
		for (uint64_t end = cpu_tsc() + ms(60000); (e = sys_frame_retype(root, FH_DATA)) < 0 && cpu_tsc() < end;)
			relax();
		if (want(&t, e, 0, "round %u: retyped when nobody has it", i)) { /* and full of garbage: a CPU on it would die */
			uint64_t *words = scratch_map(root, 1, RIGHT_R | RIGHT_W);
			memset(words, 0xee, FH_PAGE);
			scratch_put((va_t)words, 1);
			cpu_leave(r.name);
			thread_sleep(1);
			frame_put(root, 1);
		}
	}
	cpus_end();
	none_bad(&t, "a root that CPU %u runs on is EBUSY; when nobody has it any more it is memory like any other: %u times", cpu,
	         rounds);
	raw_end(&r);
}
