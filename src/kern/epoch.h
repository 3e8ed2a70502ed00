/*
 * epoch.h - the TLB clock (DESIGN 4). Every root load publishes the clock value read before it; a frame whose stamp
 * is below every running CPU's epoch can have no stale translation anywhere.
 *
 * The order of the steps in epoch.c is the protocol.
 */
#pragma once
#include "frame.h"

extern struct fh_clock *tlb_clock;
extern unsigned ncpus;

struct epoch_cpu {
	pfn_t root;       /* (A) in CR3; only this CPU writes it, flush_owner reads it */
	uint32_t request; /* (A) someone waits for this CPU to load its root */
	uint32_t budget;  /* (c) forced flushes left in this slice */
	uint32_t forced;  /* (c) forced flushes in the current call */
	uint32_t idle;    /* (A) it has found nothing to run, and halts unless it finds something now */
} __attribute__((aligned(64)));
extern struct epoch_cpu epoch_cpu[FH_MAX_CPUS + 1];
extern pfn_t kernel_root;

#define FLUSH_BUDGET 256u /* forced flushes in a slice: 25,600 a second bound the clock and the IPIs */

static inline uint64_t clock_now(void) { return atomic_get(&tlb_clock->clock); }

/* Raise f's stamp to s; to the clock. */
static inline void stamp_max(pfn_t f, uint64_t s)
{
	uint64_t *word = &record(f)->stamp, old = atomic_get(word);
	while ((old & FH_STAMP_MASK) < s && !atomic_cas(word, &old, (old & ~FH_STAMP_MASK) | s)) /* [epoch 10] */
		;
}
static inline void stamp_now(pfn_t f) { stamp_max(f, clock_now()); } /* [epoch 9] */

/* Can no CPU hold a translation from before `stamp`? */
bool quiet(uint64_t stamp);
/* Wait until quiet(stamp), forcing flushes if need be. 0, or -EAGAIN when the slice's flushes are spent. Holds no
 * lock. Everything checked before is stale after unless held BUSY, referenced, or reserved. */
long await_quiet(uint64_t stamp) WITHOUT(a_record);
#ifdef DEBUG
extern bool flush_broken; /* broken=flush on the command line: nobody waits, so that a test can show that it would see it */
#endif
/* Every CPU whose loaded root belongs to `owner` loads its root again. Whoever changes entries first asks
 * flush_allowed (0 or -EAGAIN): once they are changed the flush is not refused any more. */
void flush_owner(pfn_t owner) WITHOUT(a_record);
long flush_allowed(void);

/* Load a root that is referenced by the thread to run, or the kernel's. */
void load_root(pfn_t r);
void flush_local(void);
void serve_flush(void);
/* First on any entry from idle, before reading records. */
void epoch_leave_idle(void);
void epoch_enter_idle(void);
/* The timer on a running CPU. */
void epoch_tick(void);
