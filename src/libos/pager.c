/* pager.c - paging for a child, from outside. */
#include "pager.h"

#include <string.h>

#include "child.h"
#include "machine.h"
#include "meta.h"
#include "region.h"
#include "syscall.h"

#define PAGE_FAULT 14u

/* Put the page there. False: it isn't ours to answer, or there is no frame. */
static bool answer(struct env *child, struct pager *p, char *page)
{
	struct space s = child_space(child);
	uint64_t error = child->view->regs.error;
	va_t va = page_down(child->view->fault_address);
	unsigned need = error & FAULT_FETCH ? RIGHT_X : error & FAULT_WRITE ? RIGHT_W : RIGHT_R;

	if (child->view->regs.vector != PAGE_FAULT || va < p->lo || va >= p->hi || error & FAULT_PRESENT || !(p->rights & need))
		return false;
	memset(page, 0, FH_PAGE);
	if (p->fill && !p->fill(p, va, page))
		return false;
	int r = child_place(&s, va, 1, p->rights, page, FH_PAGE, 0);
	space_unpeek(&s);
	p->answered += r == 0;
	return r == 0;
}

enum env_state pager_run(struct env *child, struct pager *p)
{
	char *page = meta_alloc(FH_PAGE);

	while (page && env_wait(child) == ENV_FAULTED && answer(child, p, page))
		sys_thread_ctl(child->thread_name, FH_THREAD_START, 0);
	meta_free(page, FH_PAGE);
	return env_state(child);
}
