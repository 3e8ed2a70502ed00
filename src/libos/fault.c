/* SPDX-License-Identifier: MIT */
/*
 * fault.c - page faults: find the region, check its rights, put a page there. This is the hot path of every libOS built
 * from the kit; it uses general registers only, takes one lock, makes one crossing for a fresh page.
 *
 * A fault may be out of date: another thread put the page there between the fault and our lock. Then there is nothing
 * to do, and the instruction is retried.
 */
#include <errno.h>
#include <string.h>

#include "env.h"
#include "machine.h"
#include "spacewalk.h"
#include "syscall.h"
#include "thread.h"
#include "upcall.h"

enum answer fault_guard(struct region *r, struct fault *f)
{
	(void)r;
	(void)f;
	return FAULT_KILL;
}

/* ---- Copy on write ---- */

int fault_unshare(struct space *s, va_t va, pte_t old, unsigned rights)
{
	va_t copy = thread_self()->place + THREAD_SCRATCH;
	pfn_t copies = fh_pte_pfn(*window_slot(copy, 2)), table = fh_pte_pfn(*window_slot(va, 2));
	uint64_t state = frame_record(fh_pte_pfn(old))->state;
	pte_t e = pte_make(fh_pte_pfn(old), rights);
	int r;

	if (fh_refs(state) == 1 && fh_owner(state) == env_self()) /* the others have let go of it */
		return (r = pt_one(s->frames, FH_OP_PROTECT, 0, table, pt_index(va, 1), &e, va)) < 0 ? r : 0;

	/* A fresh frame at this thread's copy page; then it takes the old one's place. The kernel decides, under its own
	 * locks, whether ours was the last reference to the old frame. */
	e = pte_make(s->frames->next(s->frames, 1, 1, va / FH_PAGE), RIGHT_R | RIGHT_W);
	if (!fh_pte_pfn(e))
		return -ENOMEM;
	if ((r = pt_one(s->frames, FH_OP_CLAIM, FH_KEEP, copies, pt_index(copy, 1), &e, copy)) < 0)
		return r;
	memcpy((void *)copy, (const void *)va, FH_PAGE);
	pfn_t fresh = fh_pte_pfn(e);
	struct batch b;
	batch_begin(&b, s->frames);
	batch_add(&b, FH_OP_UNMAP_FREE, space_flush(), table, pt_index(va, 1), 1, 0);
	batch_add(&b, FH_OP_SET, space_flush(), table, pt_index(va, 1), 1, pte_make(fresh, rights));
	batch_add(&b, FH_OP_CLEAR, space_flush(), copies, pt_index(copy, 1), 1, 0);
	r = batch_end(&b);
	if (b.kept)
		orphan_note(fh_pte_pfn(old), 0);
	return r;
}

/* ---- Demand zero ---- */

/* A 2 MiB page around va if the region, the tables and free memory allow. */
static bool zero_large(struct region *r, struct fault *f)
{
	va_t block = f->address & ~(PLAN_LARGE - 1);

	if (block < r->base || block + PLAN_LARGE > r->end || r->rights & RIGHT_X)
		return false;
	if (space_count(f->space, block, FH_LARGE_FRAMES))
		return false;
	return space_fill(f->space, block, FH_LARGE_FRAMES, r->rights) == 0;
}

/* Something is mapped at the address already. */
static enum answer present(struct region *r, struct fault *f, pte_t e)
{
	if (!(f->error & FAULT_WRITE) || e & FH_W)
		return FAULT_DONE; /* another thread was faster */
	if (e & FH_PS) /* a fork has write-protected it: from now on page by page */
		return space_split(f->space, f->address & ~(PLAN_LARGE - 1)) < 0 ? FAULT_KILL : FAULT_DONE;
	return fault_unshare(f->space, page_down(f->address), e, r->rights) < 0 ? FAULT_KILL : FAULT_DONE;
}

enum answer fault_zero(struct region *r, struct fault *f)
{
	unsigned need = f->error & FAULT_FETCH ? RIGHT_X : f->error & FAULT_WRITE ? RIGHT_W : RIGHT_R;
	struct space *s = f->space;

	if (!(r->rights & need))
		return FAULT_KILL;
	bool table = link_at(f->address, 4) && link_at(f->address, 3) && link_at(f->address, 2);
	const volatile pte_t *slot = window_slot(f->address, 1);
	if (table && *slot & FH_P)
		return present(r, f, *slot);
	if (!table || r->rights & RIGHT_LARGE) {
		pte_t e = space_get(s, f->address);
		if (e & FH_P)
			return present(r, f, e);
		if (r->rights & RIGHT_LARGE && zero_large(r, f))
			return FAULT_DONE;
		if (!space_table(s, f->address, 1))
			return FAULT_KILL;
	}
	pte_t e = pte_make(s->frames->next(s->frames, 1, 1, f->address / FH_PAGE), r->rights);
	if (!fh_pte_pfn(e))
		return FAULT_KILL;
	pfn_t pt1 = fh_pte_pfn(*window_slot(f->address, 2));
	unsigned index = pt_index(f->address, 1);
	/* Once without the loop around it: nearly always enough. */
	int done = (int)sys_pt_set(fh_what(FH_OP_CLAIM, 0, pt1, index, 1), e, 0).rax;
	if (done == -EBUSY || done == -EAGAIN)
		done = pt_one(s->frames, FH_OP_CLAIM, 0, pt1, index, &e, 0);
	return done >= 0 || done == -EEXIST ? FAULT_DONE : FAULT_KILL;
}

/* ---- The dispatcher ---- */

/* Make room for an address in the reserved part of a region; the page next to the limit stays a guard. */
static bool grow(struct region *r, va_t address)
{
	if (address >= r->base && address < r->end)
		return true;
	if (r->grow == REGION_GROW_DOWN && address < r->base && address >= r->lo + FH_PAGE) {
		r->base = page_down(address);
		return true;
	}
	if (r->grow == REGION_GROW_UP && address >= r->end && address < r->hi - FH_PAGE) {
		r->end = page_down(address) + FH_PAGE;
		return true;
	}
	return false;
}

/* A fault function that is not the kit's own may use any register. */
static enum answer ask(struct region *r, struct fault *f)
{
	struct fx_area fx;

	cpu_fx_save(&fx);
	enum answer a = r->fault(r, f);
	cpu_fx_restore(&fx);
	return a;
}

bool fault_page(struct fh_context *c)
{
	struct space *s = space_current();
	struct fault f = {.address = c->address, .error = c->regs.error, .context = c, .space = s};
	enum answer a = FAULT_NEXT;

	lock_take(&s->lock);
	struct region *r = region_find(s, f.address);
	if (r && grow(r, f.address))
		a = r->fault == fault_zero ? fault_zero(r, &f) : ask(r, &f);
	s->faults++;
	lock_give(&s->lock);
	return a == FAULT_DONE;
}
