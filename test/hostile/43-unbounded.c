/* 43: work without an end with interrupts off (45, 290); calls that never get further when interrupted (58). */
#include "hostile.h"

static volatile bool stop;
static volatile uint64_t rung;

/* Interrupts for the CPU of the first thread, all the time: flushes of everybody, and rings. */
static void disturb(void *arg)
{
	(void)arg;
	while (!stop) {
		if (sys_tlb_flush(0, FH_TLB_ALL, 0, 0) < 0)
			sys_thread_switch(thread_main.name, 1ul << (BELL_USER + 3), 0, 1);
		rung++;
		if (info->ncpus == 1)
			thread_yield();
	}
}

void attack(void)
{
	struct tally t = {0};
	struct fh_op *b = (struct fh_op *)thread_self()->batch; /* all of it: nobody prints meanwhile */
	static struct fh_op kept[FH_BATCH_OPS];
	uint64_t calls = 0, longest = 0;
	unsigned rounds = 0;

	for (unsigned i = 0; i < FH_BATCH_OPS; i++)
		kept[i] = b[i];
	crew_begin(disturb);
	for (; rounds < 12 || (calls == rounds && rounds < 500); rounds++) {
		unsigned round = rounds;
		for (unsigned i = 0; i < FH_BATCH_OPS; i++) /* 256 times 512 slots: half a second of it, if it were not interrupted */
			b[i] = (struct fh_op){fh_what(round % 3 == 0   ? FH_OP_HARVEST
			                              : round % 3 == 1 ? FH_OP_SET
			                                               : FH_OP_CLEAR,
			                              0, pt1, 0, 512),
			                      0};
		uint64_t done = 0;
		while (done < FH_BATCH_OPS) {
			uint64_t word = b[done].what, began = cpu_tsc();
			struct sys_result r = sys_pt_update(done * sizeof(*b), FH_BATCH_OPS - done);
			uint64_t took = cpu_tsc() - began;
			longest = took > longest ? took : longest;
			calls++;
			if (r.rax != 0 || (r.rdx == 0 && b[done].what == word)) {
				count_bad(&t, "round %u, after %lu operations: %ld, no step further", round, done, r.rax);
				break;
			}
			done += r.rdx;
		}
	}
	/* Claims of what isn't quiet, 512 at a time, against the budget of flushes. */
	for (unsigned round = 0; round < 4; round++) {
		pfn_t first = frames_first.next(&frames_first, 256, 1, 0);
		b[0] = (struct fh_op){fh_what(FH_OP_CLAIM, 0, pt1, 0, 256), first << 12 | RW};
		int64_t r = update(b, 1);
		if (r != 0 && r != -FH_EBUSY)
			count_bad(&t, "claims, round %u: %ld", round, r);
		b[0] = (struct fh_op){fh_what(FH_OP_UNMAP_FREE, 0, pt1, 0, 256), 0};
		want(&t, update(b, 1), 0, "frees, round %u", round);
	}
	stop = true;
	crew_end();
	for (unsigned i = 0; i < FH_BATCH_OPS; i++)
		b[i] = kept[i];
	none_bad(&t, "%u batches of 131072 slots, under constant interrupts: each call gets further, and all come to their end (%lu calls)",
		rounds, calls);
	ok(calls > rounds, "an interrupt ends a call early");
	note("%lu disturbances; longest call %lu us", rung, longest * 1000 / info->tsc_khz);
}
