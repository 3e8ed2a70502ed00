/*
 * frames.c - assignment 1: read the ownership table, choose frames, claim them. docs/lab/1-frames.md says what to do and in
 * which order. Test it with `make lab N=1`; one test alone: `make lab N=1 ONLY=3`.
 */
#include "lab1.h"

/*
 * Part 1: the census.
 *
 * frame_record(pfn) (frames.h) is the record of frame pfn in the ownership table, for pfn from 0 to info->nframes - 1.
 * fh_type(state), fh_owner(state) (abi.h) take its state word apart. Read the word once: it may change between two reads.
 */
void census(uint64_t count[FH_NTYPES])
{
	(void)count; /* your code here */
}

uint64_t census_of(pfn_t env)
{
	(void)env; /* your code here */
	return 0;
}

/*
 * Part 2: the policy.
 *
 * Return the first frame of a run of n FREE frames, a multiple of `align`, all of it inside [f->lo, f->hi). Begin to look at
 * f->cursor, and go all around memory before you say 0: there is none. Move f->cursor on behind what you have found.
 * No system call is needed: frame_is_free(pfn) looks into the table.
 */
pfn_t my_next(struct frames *f, size_t n, size_t align, uint64_t hint)
{
	(void)f, (void)n, (void)align, (void)hint; /* your code here; hint is only for policies that colour pages */
	return 0;
}

/*
 * Part 3: claim what the policy names.
 *
 * f->next(f, n, align, 0) names a run; sys_frame_alloc(pfn, n, 0, 0) (syscall.h, docs/abi.md) claims it, or a part of it:
 * look at what it returns. -FH_EBUSY: somebody else was faster. -FH_EAGAIN: wait_quiet() and try the same again.
 */
pfn_t my_get(struct frames *f, size_t n, size_t align)
{
	(void)f, (void)n, (void)align; /* your code here */
	return 0;
}

int my_put(pfn_t pfn, size_t n)
{
	(void)pfn, (void)n; /* your code here: sys_frame_free */
	return -FH_ENOSYS;
}
