/*
 * fault.c - page faults: find the region, check its rights, put a page there. This is the hot path of every libOS built
 * from the kit; it uses general registers only, takes one lock, makes one crossing for a fresh page.
 *
 * A fault may be out of date: another thread put the page there between the fault and our lock. Then there is nothing
 * to do, and the instruction is retried.
 */
#include <errno.h>
#include <string.h>

#include "commit.h"
#include "console.h"
#include "env.h"
#include "heap.h"
#include "machine.h"
#include "mm.h"
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
	pte_t e = pte_make(0, rights), none = 0;
	int r;

	if (frame_sole(fh_pte_pfn(old))) /* the others have let go of it */
		return (r = pt_one(s->frames, FH_OP_PROTECT, FH_FLUSH_LOCAL, table, pt_index(va, 1), &e, va)) < 0 ? r : 0;

	/* A fresh frame at this thread's copy page; then it takes the old one's place. */
	e = pte_make(s->frames->next(s->frames, 1, 1, va / FH_PAGE), RIGHT_R | RIGHT_W);
	if (!fh_pte_pfn(e))
		return -ENOMEM;
	if ((r = pt_one(s->frames, FH_OP_CLAIM, FH_KEEP, copies, pt_index(copy, 1), &e, 0)) < 0)
		return r;
	memcpy((void *)copy, (const void *)va, FH_PAGE);
	/* A frame of our own is freed if ours was the last reference: the kernel decides that under its own locks. */
	if (fh_owner(frame_record(fh_pte_pfn(old))->state) == env_self() &&
	    pt_one(s->frames, FH_OP_UNMAP_FREE, space_flush(), table, pt_index(va, 1), &none, va) == FH_OP_KEPT)
		orphan_note(fh_pte_pfn(old));
	pte_t fresh = pte_make(fh_pte_pfn(e), rights);
	if ((r = pt_one(s->frames, FH_OP_SET, space_flush(), table, pt_index(va, 1), &fresh, va)) < 0)
		return r;
	r = pt_one(s->frames, FH_OP_CLEAR, space_flush(), copies, pt_index(copy, 1), &none, copy);
	return r < 0 ? r : 0;
}

/* ---- Demand zero ---- */

/* The right that the access wanted. */
static unsigned need(const struct fault *f)
{
	return f->error & FAULT_FETCH ? RIGHT_X : f->error & FAULT_WRITE ? RIGHT_W : RIGHT_R;
}

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
static enum answer present(struct fault *f, pte_t e)
{
	unsigned rights = pte_rights(e);

	if (e & PTE_HELD && !(need(f) & RIGHT_X))
		return FAULT_DONE; /* until it is let go */
	if (!(rights & need(f)))
		return FAULT_KILL;
	if (!(f->error & FAULT_WRITE) || e & FH_W)
		return FAULT_DONE; /* another thread was faster */
	if (e & FH_PS) /* from now on page by page */
		return space_split(f->space, f->address & ~(PLAN_LARGE - 1)) < 0 ? FAULT_KILL : FAULT_DONE;
	return fault_unshare(f->space, page_down(f->address), e, rights) < 0 ? FAULT_KILL : FAULT_DONE;
}

/* There is a 2 MiB page, or one may be made, or else a level-1 table is. FAULT_NEXT: go on with a small page. */
static enum answer no_small(struct region *r, struct fault *f)
{
	pte_t e = space_get(f->space, f->address);

	if (e & FH_P)
		return present(f, e);
	if (r->rights & RIGHT_LARGE && r->rights & need(f) && zero_large(r, f))
		return FAULT_DONE;
	return space_table(f->space, f->address, 1) ? FAULT_NEXT : FAULT_KILL;
}

enum answer fault_zero(struct region *r, struct fault *f)
{
	struct space *s = f->space;
	va_t va = f->address;
	unsigned rights = r->rights;
	pfn_t table = window_table(va);

	if (!table || (rights & RIGHT_LARGE && !*window_slot(va, 1))) {
		enum answer a = no_small(r, f);
		if (a != FAULT_NEXT)
			return a;
		table = window_table(va);
	}
	pte_t old = *window_slot(va, 1);
	if (old) {
		if (old & FH_P)
			return present(f, old);
		rights = pte_promised(old) ? pte_promised_rights(old) : 0; /* parked: none */
	}
	if (!(rights & need(f)))
		return FAULT_KILL;
	pte_t e = pte_make(s->frames->next(s->frames, 1, 1, va / FH_PAGE), rights);
	if (!fh_pte_pfn(e))
		return FAULT_KILL;
	int done = pt_one(s->frames, FH_OP_CLAIM, 0, table, pt_index(va, 1), &e, 0);
	return done >= 0 || done == -EEXIST ? FAULT_DONE : FAULT_KILL;
}

/* ---- The dispatcher ---- */

/* Make room for an address in the reserved part of a region; the pages next to the limit stay a guard. */
static bool grow(struct space *s, struct region *r, va_t address)
{
	va_t base = r->base, end = r->end;

	if (address >= base && address < end)
		return true;
	if (r->grow == REGION_GROW_OPEN)
		return true; /* its own function knows */
	if (r->grow == REGION_GROW_DOWN && address < base && address >= r->lo + r->guard * FH_PAGE)
		base = page_down(address);
	else if (r->grow == REGION_GROW_UP && address >= end && address < r->hi - r->guard * FH_PAGE)
		end = page_down(address) + FH_PAGE;
	else
		return false;
	int64_t pages = (int64_t)((r->base - base + (end - r->end)) / FH_PAGE);
	if (r->charged && commit_may(s, pages) < 0)
		return false;
	if (r->charged)
		commit_count(pages);
	r->base = base;
	r->end = end;
	return true;
}

/* Nobody's address: the region above may grow down to it. */
static struct region *grower(struct space *s, va_t address)
{
	struct region *r = region_after(s, address);
	return r && r->grow == REGION_GROW_OPEN ? r : NULL;
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

static bool frozen(void)
{
	return env_view()->account & FH_ACCOUNT_FROZEN;
}

bool fault_page(struct fh_context *c)
{
	struct space *s = space_current();
	struct fault f = {.address = c->address, .error = c->regs.error, .context = c, .space = s};
	enum answer a = FAULT_NEXT;

	lock_take(&s->lock);
	struct region *r = region_find(s, f.address);
	if (!r)
		r = grower(s, f.address);
	if (r && grow(s, r, f.address))
		a = r->fault == fault_zero ? fault_zero(r, &f) : ask(r, &f);
	s->faults++;
	lock_give(&s->lock);
	if (a != FAULT_DONE && frozen()) { /* no frames for it, but that will end, or it will: at the latest with this slice */
		thread_yield();
		return true;
	}
	return a == FAULT_DONE;
}

/* ---- The report ---- */

static const char *name_of(const struct region *r) { return r->name && *r->name ? r->name : "a mapping"; }

static void explain_region(struct space *s, struct region *r, va_t address, uint64_t error)
{
	struct fault f = {.address = address, .error = error};
	unsigned rights = region_page_rights(s, r, address);

	if (address < r->base || address >= r->end)
		printf("  in the room of %s [%#lx, %#lx) but past its end: %s\n", name_of(r), r->base, r->end,
		       r->grow == REGION_GROW_DOWN ? "its guard page, a stack overflow" : "not handed out");
	else if (!(rights & need(&f)))
		printf("  in %s [%#lx, %#lx), where this page is %c%c%c\n", name_of(r), r->base, r->end, rights & RIGHT_R ? 'r' : '-',
		       rights & RIGHT_W ? 'w' : '-', rights & RIGHT_X ? 'x' : '-');
	else if (r->fault != fault_zero)
		printf("  in %s [%#lx, %#lx), %s\n", name_of(r), r->base, r->end,
		       strcmp(name_of(r), "[window]") == 0 ? "a window whose owner shows no page here, or no longer" :
		       r->fault == fault_guard ? "where no page comes by itself" : "whose own fault function said no");
	else
		printf("  in %s [%#lx, %#lx), which allows it, but there was no frame to be had: the policy (%s) found none, or the "
		       "quota is used up\n", name_of(r), r->base, r->end, s->frames->name);
}

/* The allocator is linked only into programs that use malloc. */
extern __typeof__(malloc_explain) malloc_explain __attribute__((weak));

void fault_explain(va_t address, uint64_t error)
{
	struct space *s = space_current();
	struct region *r;
	char text[CONSOLE_LINE / 2];

	if (malloc_explain && malloc_explain((const void *)address, text, sizeof(text)))
		printf("  %s\n", text);

	if (address < FH_PAGE)
		kputs("  page 0: a null pointer\n");
	else if (mm_failed((int64_t)address))
		printf("  the kernel's half; as a number, %ld (%s): an error, taken for an address?\n", (int64_t)address,
		       error_name((int)address));
	else if (address >= FH_KERNEL_BASE)
		kputs("  the kernel's half\n");
	else if (address >= WINDOW_VA && address < WINDOW_END)
		kputs("  the recursive window: page tables are read here, never written; or a table above is missing\n");
	else if ((r = region_find(s, address)) != NULL)
		explain_region(s, r, address, error);
	else if ((r = grower(s, address)) != NULL)
		printf("  %#lx bytes below %s at %#lx, which does not grow to there: its limit, or a mapping close by\n", r->base - address,
		       name_of(r), r->base);
	else if ((r = region_after(s, address)) != NULL)
		printf("  in no region; the next one up is %s at %#lx, %#lx bytes away\n", name_of(r), r->base, r->base - address);
	else
		kputs("  in no region\n");
}
