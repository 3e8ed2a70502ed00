/*
 * pagetable.c - assignment 2: page tables by hand. docs/lab/2-page-table.md says what to do, test/lab/lib/lab2.h what each
 * function promises. Test it with `make lab N=2`; with DEBUG=1 the kernel says why it refuses a call.
 */
#include "lab2.h"

/*
 * Part 1: a PT4.
 *
 * Find a FREE frame (frames_first.next(&frames_first, 1, 1, 0) names one), claim it (sys_frame_alloc), make it a PT4
 * (sys_frame_retype), and let its slot FH_WINDOW_SLOT name the PT4 itself: one FH_OP_SET by sys_pt_set(fh_what(...), ...).
 */
pfn_t pt_new(void)
{
	return 0; /* your code here */
}

/*
 * Part 2: reading.
 *
 * Where in the window is the entry of level 1, 2, 3, 4 for va? (SDM 4.5.4 has the bits of an address; the document has a
 * drawing.) An entry may be read only if those of the levels above are present and lead to a table: else the read faults.
 */
pte_t pt_entry(va_t va, unsigned *level)
{
	(void)va, (void)level; /* your code here */
	return 0;
}

uint64_t pt_translate(va_t va)
{
	(void)va; /* your code here */
	return PT_NOWHERE;
}

/*
 * Part 3: mapping.
 *
 * On the way down, make the table that is missing: FH_OP_LINK_NEW claims a FREE frame as a table and links it, in one call.
 * Another env may be faster: -FH_EBUSY, try another frame. Entries need FH_P and FH_U, links FH_W too.
 */
int pt_map(va_t va, pfn_t pfn, pte_t bits)
{
	(void)va, (void)pfn, (void)bits; /* your code here */
	return -FH_ENOSYS;
}

int pt_map_large(va_t va, pfn_t pfn, pte_t bits)
{
	(void)va, (void)pfn, (void)bits; /* your code here: FH_PS, in a PT2 */
	return -FH_ENOSYS;
}

/*
 * Part 4: changing, and the TLB.
 *
 * FH_OP_PROTECT, FH_OP_UNMAP_FREE, FH_OP_UNLINK_FREE. Which of them need a flush, of what? Say it in the operation:
 * FH_FLUSH_LOCAL flushes the page at the third argument of sys_pt_set, or all if that is 0.
 */
int pt_protect(va_t va, pte_t bits)
{
	(void)va, (void)bits; /* your code here */
	return -FH_ENOSYS;
}

int pt_unmap(va_t va)
{
	(void)va; /* your code here */
	return -FH_ENOSYS;
}

int pt_trim(va_t va)
{
	(void)va; /* your code here; frame_record(table)->link has the count of its present entries: fh_count */
	return -FH_ENOSYS;
}

/*
 * Part 5: a batch.
 *
 * batch_area(&offset, &size) is a place in this thread's batch frame: put struct fh_op there, one for each PT1, with a
 * count; then sys_pt_update(offset, n). It may stop early: see docs/abi.md for what to do then.
 */
int pt_map_run(va_t va, pfn_t pfn, size_t n, pte_t bits)
{
	(void)va, (void)pfn, (void)n, (void)bits; /* your code here */
	return -FH_ENOSYS;
}
