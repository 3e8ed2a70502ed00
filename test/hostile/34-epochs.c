/* 34: stale epochs: CPUs that idle and come back, clocks and epochs that go backwards, claims that don't wait. */
#include "hostile.h"

static volatile bool stop;

static const volatile struct fh_clock *clock_page(void) { return (const volatile struct fh_clock *)info->clock_va; }

/* To idleness and back. */
static void nap(void *arg)
{
	for (unsigned i = 0; !stop; i++)
		sys_thread_switch(0, 0, 0, cpu_tsc() + ms(1) / 20 * (1 + (i + (uintptr_t)arg) % 5));
}

void attack(void)
{
	struct tally t = {0}, back = {0};
	uint64_t clock = 0, last[FH_MAX_CPUS + 1] = {0}, waited = 0;
	pfn_t f = data_new(1, 1);

	crew_begin(nap);
	for (unsigned i = 0; i < 3000; i++) {
		set(pt1, 9, f << 12 | RW);
		*at(9) = i;
		op(FH_OP_CLEAR, 0, pt1, 9, 0, 0);
		uint64_t stamp = frame_record(f)->stamp & FH_STAMP_MASK;
		int64_t r = sys_frame_retype(f, FH_PT1);
		if (r == -FH_EAGAIN) {
			waited++;
			thread_yield();
			continue;
		}
		want(&t, r, 0, "try %u", i);
		for (unsigned c = 0; c < info->ncpus; c++) {
			uint64_t e = clock_page()->cpu[c].epoch;
			if (e <= stamp)
				count_bad(&t, "try %u: claimed, and CPU %u at epoch %lu had not passed its stamp %lu", i, c, e, stamp);
			if (e != FH_EPOCH_INF && e < last[c])
				count_bad(&back, "CPU %u: epoch %lu after %lu", c, e, last[c]);
			last[c] = e == FH_EPOCH_INF ? last[c] : e;
		}
		uint64_t now = clock_page()->clock;
		if (now < clock || now <= stamp)
			count_bad(&back, "the clock: %lu after %lu, stamp %lu", now, clock, stamp);
		clock = now;
		while ((r = sys_frame_retype(f, FH_DATA)) == -FH_EAGAIN)
			thread_yield();
		want(&t, r, 0, "DATA again");
	}
	stop = true;
	crew_end();
	none_bad(&t, "%u claims of frames just unmapped, while CPUs fall asleep and wake: each waits until all epochs have passed its stamp",
		3000);
	none_bad(&back,
	         "clock and epochs only go forward (%lu claims were put off); that they don't wrap in 2^48 steps is arithmetic",
	         waited);
	frame_put(f, 1);
}
