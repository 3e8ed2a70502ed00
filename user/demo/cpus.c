/* cpus.c - what CPUs that map and unmap cost each other: counted by the kernel in the CPU frames, read here. */
#include "demo.h"

#include "env.h"
#include "meta.h"
#include "plan.h"
#include "syscall.h"
#include "thread.h"

#define WORKERS 4u
#define WARM_MS 50u
#define SAMPLE_MS 200u
#define WORK_VA 0x600000000000ul /* worker k maps in the 2 MiB from here + k * 2 MiB: a page table of its own */

static volatile bool stop;

/* A FREE frame of the worker's own part of memory whose translations are gone everywhere: it can be had without a flush. */
static pfn_t quiet_frame(struct frames *mine)
{
	for (;;) {
		pfn_t pfn = frames_quiet.next(mine, 1, 1, 0);
		if (pfn && frame_is_quiet(pfn))
			return pfn;
		thread_yield(); /* the next tick makes more of them quiet */
	}
}

/* Map a fresh page, write to it, unmap and free it; again in the next slot, until told to stop. */
static void work(void *arg)
{
	uint64_t k = (uint64_t)arg, share = (info->nframes - info->first_user) / WORKERS;
	va_t base = WORK_VA + k * FH_LARGE_FRAMES * FH_PAGE;
	pfn_t table = space_table(space_current(), base, 1), lo = info->first_user + k * share;
	struct frames mine = {.lo = lo, .hi = lo + share, .cursor = lo};

	for (unsigned i = 0; table && !stop; i = (i + 1) % FH_LARGE_FRAMES) {
		va_t va = base + i * FH_PAGE;
		pte_t e = pte_make(quiet_frame(&mine), RIGHT_R | RIGHT_W);
		if ((int64_t)sys_pt_set(fh_what(FH_OP_CLAIM, 0, table, i, 1), e, va).rax < 0)
			continue; /* somebody else was faster */
		*(volatile char *)va = 1;
		sys_pt_set(fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, table, i, 1), 0, va);
	}
}

struct sample {
	uint64_t count[FH_NCOUNTS], ticks;
};

static struct sample look(void)
{
	struct sample s = {0};

	for (unsigned c = 0; c < info->ncpus; c++) {
		s.ticks += cpu_view(c)->ticks;
		for (unsigned i = 0; i < FH_NCOUNTS; i++)
			s.count[i] += cpu_view(c)->count[i];
	}
	return s;
}

/* Per 1000 pairs of map and unmap, over some time of steady work. Returns the flushes that were forced. */
static uint64_t sample(unsigned n, const char *who)
{
	thread_sleep(WARM_MS);
	struct sample a = look();
	thread_sleep(SAMPLE_MS);
	struct sample b = look();
	uint64_t pairs = (b.count[FH_COUNT_LOCKS] - a.count[FH_COUNT_LOCKS]) / 2; /* each operation locks one table */

	printf("  %u %-14s %8lu", n, who, pairs);
	for (unsigned i = FH_COUNT_LOCK_SPINS; i < FH_NCOUNTS; i++)
		printf(" %8lu", pairs ? (1000 * (b.count[i] - a.count[i]) + pairs / 2) / pairs : 0);
	puts("");
	return b.count[FH_COUNT_FORCED] - a.count[FH_COUNT_FORCED];
}

/* n threads of this env. */
static uint64_t with_threads(unsigned n)
{
	struct thread *t[WORKERS];
	unsigned made = 0;

	stop = false;
	while (made < n && (t[made] = thread_new(work, (void *)(uint64_t)made, NULL)))
		made++;
	uint64_t forced = sample(made, made == 1 ? "thread" : "threads");
	stop = true;
	while (made > 0)
		thread_join(t[--made]);
	return forced;
}

/* n child envs of one thread each. */
static uint64_t with_envs(unsigned n)
{
	struct env *child[WORKERS];
	unsigned made = 0;

	stop = false;
	for (; made < n; made++) {
		int r = env_fork(&child[made]);
		if (r == 0) {
			work((void *)(uint64_t)made);
			exit(0);
		}
		if (r < 0)
			break;
	}
	uint64_t forced = sample(made, made == 1 ? "env" : "envs");
	while (made > 0) {
		env_kill(child[--made]);
		env_reap(&child[made], NULL);
	}
	return forced;
}

/* The kit keeps the pages of its records: whether a fork needs one more depends on who writes first. */
static uint64_t owned(void) { return frames_now() - (meta_end() - META_VA) / FH_PAGE; }

int demo_cpus(void)
{
	uint64_t forced = 0, before = 0;

	printf("  %u CPU%s; per 1000 pairs of map (CLAIM) and unmap (UNMAP_FREE) of a page:\n", info->ncpus,
	       info->ncpus == 1 ? "" : "s");
	printf("  %-16s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s\n", "workers", "pairs", "spins", "quota", "clock", "CR3", "forced",
	       "flushIPI", "wakeIPI", "upcalls", "calls");
	for (unsigned n = 1; n <= WORKERS && n <= info->ncpus; n *= 2) {
		forced += with_threads(n);
		forced += with_envs(n);
		space_trim(space_current(), WORK_VA, WORK_VA + WORKERS * FH_LARGE_FRAMES * FH_PAGE);
		if (n == 1)
			before = owned();
	}
	return check(forced == 0, "no flush was forced: freed frames are claimed again once they are quiet") +
	       check(owned() == before, "all frames are back, the kit's records aside: %lu owned, %lu before", owned(), before);
}
