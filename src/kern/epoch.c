/*
 * epoch.c - the TLB clock. No reuse of a frame before every CPU has dropped its translations, mostly without an IPI.
 *
 * Invariant: if epoch[c] > s then CPU c has loaded CR3 after reading a clock > s, so after every store that was made
 * before the clock left s. A mapping is stamped after it is gone from the table, so epoch[c] > stamp means c cannot
 * hold it. Locks: none; nobody who waits here holds one.
 */
#include "epoch.h"
#include "frame.h"

struct fh_clock *tlb_clock;
unsigned ncpus = 1;
struct epoch_cpu epoch_cpu[FH_MAX_CPUS + 1];
pfn_t kernel_root;

static struct epoch_cpu *self(void) { return &epoch_cpu[mach_cpu()]; }
static uint64_t epoch_of(unsigned c) { return atomic_get(&tlb_clock->cpu[c].epoch); }
static void publish(uint64_t e) { atomic_set(&tlb_clock->cpu[mach_cpu()].epoch, e); }

static void clock_advance(uint64_t from)
{
	mach_count(FH_COUNT_CLOCKS);
	atomic_cas(&tlb_clock->clock, &from, from + 1); /* whoever loses found it advanced already */
}

bool quiet(uint64_t stamp)
{
	for (unsigned c = 0; c < ncpus; c++)
		if (epoch_of(c) <= stamp) /* [epoch 12] */
			return false;
	return true;
}

void epoch_leave_idle(void)
{
	if (epoch_of(mach_cpu()) == FH_EPOCH_INF)
		atomic_swap(&tlb_clock->cpu[mach_cpu()].epoch, clock_now()); /* [epoch 1] [epoch 2] */
}

void load_root(pfn_t r)
{
	struct epoch_cpu *me = self();
	pfn_t old = me->root;
	if (!same(r, old) && !same(r, kernel_root))
		ref_hold(r); /* [root 1] */
	epoch_leave_idle();
	if (!same(r, old))
		atomic_swap(&me->root.n, r.n); /* [root 3] first, LOCKed: flush_owner sees it, or we see the clock it has advanced */
	uint64_t e = clock_now(); /* [epoch 3] [root 2] the clock before the load, */
	mach_count(FH_COUNT_ROOT_LOADS);
	mach_load_root(r); /* [epoch 4] [root 4] */
	publish(e);               /* [epoch 5] [root 5] the epoch after it */
	if (!same(r, old) && !same(old, kernel_root))
		ref_drop(old); /* [root 6] [root 7] */
}

void flush_local(void) { load_root(self()->root); }

void serve_flush(void)
{
	atomic_swap(&self()->request, 0); /* [epoch 6] first: a request made from here on is served again */
	flush_local();
}

void epoch_enter_idle(void)
{
	load_root(kernel_root);
	publish(FH_EPOCH_INF); /* [epoch 21] */
}

void epoch_tick(void)
{
	clock_advance(epoch_of(mach_cpu())); /* [epoch 7] */
	self()->budget = FLUSH_BUDGET;
	serve_flush();
}

/* Does the CPU run a root of this owner (0: anybody)? */
static bool runs_owner(unsigned cpu, pfn_t owner)
{
	return owner.n == 0 || same(owner_of(state_of(pfn(atomic_get(&epoch_cpu[cpu].root.n)))), owner);
}

/* Ask every CPU that runs a root of `owner` (0: every CPU) to load its root, until their epochs pass s. */
static void WITHOUT(a_record) force(uint64_t s, pfn_t owner)
{
	struct epoch_cpu *me = self();
	me->budget -= me->budget > 0;
	me->forced++;
	mach_count(FH_COUNT_FORCED);
	clock_advance(s); /* [epoch 13] */
	serve_flush();
	for (unsigned c = 0; c < ncpus; c++)
		if (c != mach_cpu() && epoch_of(c) <= s && runs_owner(c, owner)) /* [epoch 14] [root 8] */
			if (!atomic_swap(&epoch_cpu[c].request, 1)) /* [epoch 15] */
				mach_flush_ipi(c);
	for (unsigned c = 0; c < ncpus; c++)
		while (epoch_of(c) <= s && runs_owner(c, owner)) { /* [epoch 16] [root 9] */
			mach_pause();
			if (atomic_get(&me->request)) /* [epoch 17] two CPUs waiting for each other serve each other */
				serve_flush();
		}
}

long flush_allowed(void)
{
	if (ncpus == 1 || self()->budget > 0)
		return 0;
	return REFUSE(EAGAIN, "this slice's forced TLB flushes are spent; the next tick refills them");
}

#ifdef DEBUG
bool flush_broken;
#endif

long await_quiet(uint64_t stamp)
{
#ifdef DEBUG
	if (flush_broken)
		return 0;
#endif
	if (quiet(stamp))
		return 0;
	if (self()->budget == 0)
		return REFUSE(EAGAIN, "the frames aren't quiet, and this slice's forced TLB flushes are spent");
	force(stamp, pfn(0));
	return 0;
}

void flush_owner(pfn_t owner)
{
	if (ncpus > 1)
		force(clock_now(), owner);
	else
		flush_local();
}
