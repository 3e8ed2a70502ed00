/* 36: many CPUs that each wait for all others to flush, at once; lost interrupts; a lock held by one who waits. */
#include "hostile.h"

#define ROUNDS 30u
static volatile uint64_t done[FH_MAX_CPUS + 1], put_off;
static struct tally shared;

static void initiate(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	pfn_t f = data_new(1, 1);

	for (unsigned i = 0; i < ROUNDS; i++) {
		int64_t r[4];
		r[0] = sys_pt_set(fh_what(FH_OP_SET, FH_FLUSH_ALL, pt1, 100 + me, 1), f << 12 | RW, 0).rax;
		r[1] = sys_pt_set(fh_what(FH_OP_CLEAR, FH_FLUSH_ALL, pt1, 100 + me, 1), 0, 0).rax;
		r[2] = sys_frame_retype(f, FH_PT1);
		r[3] = sys_tlb_flush(0, FH_TLB_ALL, 0, 0);
		for (unsigned k = 0; k < 4; k++) {
			put_off += r[k] == -FH_EAGAIN;
			if (r[k] < 0 && r[k] != -FH_EAGAIN && !(k == 2 && r[k] == -FH_EBUSY))
				count_bad(&shared, "CPU %u, round %u, step %u: %ld", me, i, k, r[k]);
		}
		if (type(f) == FH_PT1)
			retype(f, FH_DATA);
		clear(pt1, 100 + me);
		done[me]++;
	}
	frame_put(f, 1);
}

void attack(void)
{
	struct tally t = {0};

	crew(initiate);
	for (unsigned i = 0; i < crew_size(); i++)
		want(&t, (int64_t)done[i], ROUNDS, "rounds of CPU %u", i);
	none_bad(&shared, "%u CPUs change one table, flush all others and claim frames that all must forget, at once: DONE or EAGAIN",
	         info->ncpus);
	none_bad(&t, "each comes through its %u rounds: nobody waits for one who waits for him", ROUNDS);
	note("%lu times EAGAIN", put_off);
}
