/* 48: one env takes frames, slices, locks, flushes, the console: the canary goes on. */
#include <string.h>

#include "hostile.h"

#define STEPS 5u
static volatile bool stop;
static volatile unsigned kind;

static bool ours(uint64_t thread) { return thread && owner(fh_name_pfn(thread)) == env_self(); }

/* On all CPUs: one table's lock; all slices, by yields and rings; forced flushes; the console. */
static void hog(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	struct fh_op *b = batch_here();
	uint64_t off = (va_t)b - (va_t)thread_self()->batch;

	for (unsigned i = 0; !stop; i++) {
		b[0] = (struct fh_op){fh_what(FH_OP_HARVEST, 0, pt1, 0, 512), 0};
		switch (kind) {
		case 0: sys_pt_update(off, 1); break;
		case 1: sys_thread_switch(thread_main.name, 1ul << (BELL_USER + 4), 0, 1); break;
		case 2: sys_tlb_flush(0, FH_TLB_ALL, 0, 0); break;
		case 3: sys_thread_switch(0, 0, 0, cpu_tsc() + 1); break; /* sleeps that are over at once */
		case 4:
			if (!ours(cpu_view(i % info->ncpus)->slice[i / info->ncpus % 256])) /* that would stop this here */
				sys_cpu_slice(info->cpu_pfn[i % info->ncpus], i / info->ncpus % 256, thread_self_name());
			break;
		case 5: break; /* only time */
		default:
			memset(b, '\n', 256);
			if (i < 40 && me == 1)
				sys_console_write(off, 256);
		}
	}
}

/* While they are at it the canary has to come by some steps. */
static bool goes_on(void)
{
	for (uint64_t from = STAGE->steps, end = cpu_tsc() + ms(60000); STAGE->steps < from + STEPS; thread_sleep(2))
		if (cpu_tsc() > end)
			return false;
	return true;
}

void attack(void)
{
	static const char *const what[] = {"one table's lock", "rings",       "forced flushes", "sleeps",
	                                   "slices of others", "every slice", "the console"};
	struct tally t = {0};
	uint64_t hogged = 0;
	int64_t r = 0;

	for (kind = 0; kind < 7; kind++) {
		stop = false;
		crew_begin(hog);
		ok(goes_on(), "%u CPUs at %s, all they can: the canary goes on", info->ncpus, what[kind]);
		stop = true;
		crew_end();
	}
	/* All frames that the quota allows, and then some. */
	for (pfn_t f = info->first_user; f < info->nframes && r != -FH_EDQUOT; f++) {
		if (type(f) != FH_FREE)
			continue;
		r = sys_frame_alloc(f, 64, 0, 0);
		hogged += r > 0 ? (uint64_t)r : 0;
		if (r == -FH_EAGAIN)
			thread_sleep(1);
	}
	want(&t, r, -FH_EDQUOT, "the end of it");
	want(&t, (int64_t)fh_owned(env_view()->account), (int64_t)fh_quota(env_view()->account), "owned, of the quota");
	want(&t, goes_on(), 1, "the canary, which claims and frees");
	for (pfn_t f = frame_find(0, FH_DATA, env_self()); f; f = frame_find(f, FH_DATA, env_self()))
		if (refs(f) == 0 && f != data)
			sys_frame_free(f, 1);
	none_bad(&t, "%lu frames hogged, up to the quota: EDQUOT, and the canary still finds some", hogged);
	/* CPU time that isn't ours. */
	t.bad = 0;
	for (unsigned c = 0; c < info->ncpus; c++)
		for (unsigned i = 0; i < FH_CPU_SLICES; i++)
			if (!ours(cpu_view(c)->slice[i]))
				want(&t, sys_cpu_slice(info->cpu_pfn[c], i, thread_main.name), -FH_EPERM, "slot %u of CPU %u", i, c);
	none_bad(&t, "slots of others and empty ones: EPERM");
}
