/* pager.c - an external pager: the parent provides the pages of a child that takes no faults itself. */
#include "demo.h"

#define PAGES 64ul

static va_t base;

/* The page of squares: word k of page i is (512 i + k)^2. */
static bool squares(struct pager *p, va_t va, void *page)
{
	uint64_t first = (va - p->lo) / sizeof(uint64_t);

	for (uint64_t k = 0; k < FH_PAGE / sizeof(uint64_t); k++)
		((uint64_t *)page)[k] = (first + k) * (first + k);
	return (va - p->lo) / FH_PAGE != PAGES - 1; /* of the last one there is none */
}

/* No upcall is taken any more: each fault stops the thread, and rings its keeper, the parent. */
static _Noreturn void child_main(void)
{
	const volatile uint64_t *square = (const volatile uint64_t *)base;
	unsigned wrong = 0;

	cpu_touch_stack(4 * FH_PAGE); /* copy-on-write is our own business, while we still can */
	thread_self()->upcall->max_depth = 0;
	for (uint64_t i = 0; i < PAGES / 2 * 512; i += 300)
		wrong += square[i] != i * i;
	if (wrong)
		exit(1);
	exit(square[(PAGES - 1) * 512] == 0 ? 2 : 3); /* not reached */
}

int demo_pager(void)
{
	struct pager p = {.rights = RIGHT_R, .fill = squares};
	struct env *child;
	int bad = 0;

	base = (va_t)mm_map(0, PAGES * FH_PAGE, 0, MM_GUARD);
	p.lo = base;
	p.hi = base + PAGES * FH_PAGE;
	int r = env_fork(&child);
	if (r == 0)
		child_main();
	if (r < 0)
		return check(false, "env_fork: %s", error_name(r));
	enum env_state end = pager_run(child, &p);
	bad += check(p.answered == PAGES / 2, "%lu faults answered from outside: a page came at each first touch", p.answered);
	bad += check(end == ENV_FAULTED && child->view->fault_address == base + (PAGES - 1) * FH_PAGE,
	             "where the pager had none the child stands still: fault at %#lx", child->view->fault_address);
	bad += check(env_reap(&child, NULL) == 0, "and is reaped");
	mm_unmap(base, PAGES * FH_PAGE);
	return bad;
}
