/*
 * pager.c - assignment 3: page faults are yours. docs/lab/3-demand-paging.md says what to do, test/lab/lib/lab3.h what is
 * asked. Test it with `make lab N=3`.
 *
 * pager_fault runs in the upcall handler, with the space locked: no malloc, no mm_map. What it touches must be mapped: the
 * globals of this file are.
 */
#include <string.h>

#include "lab3.h"

/* Part 4 needs to know what is there: which page, of which area, what is known about it. */
static unsigned limit;

void pager_start(unsigned frames) { limit = frames; }

/*
 * f->address is what was touched, f->error how (FAULT_WRITE, FAULT_FETCH, FAULT_PRESENT; SDM 4.7).
 *
 * Part 1: is it allowed? If so, space_fill(f->space, page, 1, rights) claims a zeroed frame and maps it. FAULT_KILL if not.
 * Part 2: a stack grows, but not onto its guard page, nor by a jump of more than STACK_REACH pages.
 * Part 3: a page of a file: make it writable, copy, then take the right away again if it shouldn't have it (space_protect).
 * Part 4: with a limit, somebody else's page must go first. Write it to the disk if it was changed, space_drop it.
 *         space_get(f->space, va) has its A and D bits, space_clean clears both.
 */
enum answer pager_fault(struct region *r, struct fault *f)
{
	struct paged *a = r->arg;

	(void)a, (void)f; /* your code here */
	return FAULT_KILL;
}
