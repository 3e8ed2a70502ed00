/* cpus.c - what CPUs that map and unmap cost each other: counted by the kernel in the CPU frames, read here. */
#include "demo.h"

#include "env.h"
#include "meta.h"
#include "plan.h"
#include "syscall.h"
#include "thread.h"

#define WORKERS 4u
#define SAMPLE_MS 200u
#define WORK_VA 0x600000000000ul /* worker k maps in the 2 MiB from here + k * 2 MiB: a page table of its own */

/* A page that all workers have, threads and child envs. */
static struct shared {
	volatile bool go, stop, leave;
	volatile uint64_t ready, ended, pairs; /* pairs: in all, from go to stop */
} *shared;

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

/* Map a fresh page, write to it, unmap and free it. False: somebody else had the frame. */
static bool pair(pfn_t table, va_t base, unsigned i, struct frames *mine)
{
	va_t va = base + i * FH_PAGE;
	pte_t e = pte_make(quiet_frame(mine), RIGHT_R | RIGHT_W);

	if ((int64_t)sys_pt_set(fh_what(FH_OP_CLAIM, 0, table, i, 1), e, va).rax < 0)
		return false;
	*(volatile char *)va = 1;
	return (int64_t)sys_pt_set(fh_what(FH_OP_UNMAP_FREE, FH_FLUSH_LOCAL, table, i, 1), 0, va).rax == FH_OP_DONE;
}

/* First once through all slots: from then on nothing faults. Then from go to stop. Whoever waits makes no call that is counted. */
static void work(void *arg)
{
	uint64_t k = (uint64_t)arg, share = (info->nframes - info->first_user) / WORKERS, pairs = 0;
	va_t base = WORK_VA + k * FH_LARGE_FRAMES * FH_PAGE;
	pfn_t table = space_table(space_current(), base, 1), lo = info->first_user + k * share;
	struct frames mine = {.lo = lo, .hi = lo + share, .cursor = lo};

	for (unsigned i = 0; table && i < FH_LARGE_FRAMES; i++)
		pair(table, base, i, &mine);
	__atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST);
	while (!shared->go)
		thread_yield();
	for (unsigned i = 0; table && !shared->stop; i = (i + 1) % FH_LARGE_FRAMES)
		pairs += pair(table, base, i, &mine);
	__atomic_fetch_add(&shared->pairs, pairs, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&shared->ended, 1, __ATOMIC_SEQ_CST);
	while (!shared->leave)
		thread_yield();
}

struct sample {
	uint64_t count[FH_NCOUNTS];
};

static struct sample look(void)
{
	struct sample s = {0};

	for (unsigned c = 0; c < info->ncpus; c++)
		for (unsigned i = 0; i < FH_NCOUNTS; i++)
			s.count[i] += cpu_view(c)->count[i];
	return s;
}

/* What must not happen: summed over all samples. */
static struct {
	uint64_t forced, spins, pairs, locks, accounts;
} sum;

static void wait_all(const volatile uint64_t *those, uint64_t n)
{
	while (*those < n)
		thread_sleep(1);
}

/* Per 1000 pairs of map and unmap, over some time of steady work of n workers: from when all are ready to when all have ended. */
static void sample(unsigned n, const char *who)
{
	wait_all(&shared->ready, n);
	struct sample a = look();
	shared->go = true;
	thread_sleep(SAMPLE_MS);
	shared->stop = true;
	wait_all(&shared->ended, n);
	struct sample b = look();
	uint64_t pairs = shared->pairs;

	printf("  %u %-14s %8lu", n, who, pairs);
	for (unsigned i = FH_COUNT_LOCK_SPINS; i < FH_NCOUNTS; i++)
		printf(" %8lu", pairs ? (1000 * (b.count[i] - a.count[i]) + pairs / 2) / pairs : 0);
	puts("");
	sum.forced += b.count[FH_COUNT_FORCED] - a.count[FH_COUNT_FORCED];
	sum.spins += b.count[FH_COUNT_LOCK_SPINS] - a.count[FH_COUNT_LOCK_SPINS];
	sum.locks += b.count[FH_COUNT_LOCKS] - a.count[FH_COUNT_LOCKS];
	sum.accounts += b.count[FH_COUNT_ACCOUNTS] - a.count[FH_COUNT_ACCOUNTS];
	sum.pairs += pairs;
	shared->leave = true;
}

static void begin(void) { *shared = (struct shared){0}; }

/* n threads of this env. */
static void with_threads(unsigned n)
{
	struct thread *t[WORKERS];
	unsigned made = 0;

	begin();
	while (made < n && (t[made] = thread_new(work, (void *)(uint64_t)made, NULL)))
		made++;
	sample(made, made == 1 ? "thread" : "threads");
	while (made > 0)
		thread_join(t[--made]);
}

/* n child envs of one thread each. */
static void with_envs(unsigned n)
{
	struct env *child[WORKERS];
	unsigned made = 0;

	begin();
	for (; made < n; made++) {
		int r = env_fork(&child[made]);
		if (r == 0) {
			work((void *)(uint64_t)made);
			exit(0);
		}
		if (r < 0)
			break;
	}
	sample(made, made == 1 ? "env" : "envs");
	while (made > 0) {
		env_kill(child[--made]);
		env_reap(&child[made], NULL);
	}
}

/* The kit keeps the pages of its records: whether a fork needs one more depends on who writes first. */
static uint64_t owned(void) { return frames_now() - (meta_end() - META_VA) / FH_PAGE; }

int demo_cpus(void)
{
	uint64_t before = 0;
	int64_t page = mm_map(0, FH_PAGE, RIGHT_R | RIGHT_W, MM_SHARED | MM_EAGER);

	if (mm_failed(page))
		return check(false, "a page to share");
	shared = (struct shared *)page;
	printf("  %u CPU%s; per 1000 pairs of map (CLAIM) and unmap (UNMAP_FREE) of a page:\n", info->ncpus,
	       info->ncpus == 1 ? "" : "s");
	printf("  %-16s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s\n", "workers", "pairs", "spins", "quota", "clock", "CR3", "forced",
	       "flushIPI", "wakeIPI", "upcalls", "calls");
	for (unsigned n = 1; n <= WORKERS && n <= info->ncpus; n *= 2) {
		with_threads(n);
		with_envs(n);
		space_trim(space_current(), WORK_VA, WORK_VA + WORKERS * FH_LARGE_FRAMES * FH_PAGE);
		if (n == 1)
			before = owned();
	}
	int failed = check(sum.forced == 0, "no flush was forced: freed frames are claimed again once they are quiet") +
	             check(sum.spins == 0, "no CPU has waited for a lock: each works on a table of its own") +
	             check(sum.pairs && sum.locks == 2 * sum.pairs && sum.accounts == 2 * sum.pairs,
	                   "each claim and each free is one lock and one change of its env's account: %lu pairs, %lu locks, %lu changes",
	                   sum.pairs, sum.locks, sum.accounts) +
	             check(owned() == before, "all frames are back, the kit's records aside: %lu owned, %lu before", owned(), before);
	mm_unmap((va_t)page, FH_PAGE);
	return failed;
}
