/*
 * mm.c - mmap, munmap, mprotect, stacks and brk. Each is a change of the region list and the same change of the pages,
 * together under the space's lock: regions first when something is added, so that a fault never finds a page that no
 * region explains.
 */
#include "mm.h"

#include <errno.h>

#include "commit.h"
#include "layout.h"
#include "spacewalk.h"

static bool range_ok(va_t address, uint64_t bytes)
{
	return address % FH_PAGE == 0 && bytes > 0 && address + bytes > address &&
	       (address + bytes <= 0x800000000000ul || (address >= 0xffff800000000000ul && address + bytes <= FH_KERNEL_BASE));
}

/* Is any of it the kit's own? Such regions are marked REGION_SKIP; nobody may map over them or take them away. */
static bool protected_range(struct space *s, va_t lo, va_t hi)
{
	struct region *r = region_find(s, lo);

	for (r = r ? r : region_after(s, lo); r && r->lo < hi; r = r->hi < hi ? region_after(s, r->hi) : NULL)
		if (r->fork == REGION_SKIP)
			return true;
	return false;
}

static int unmap_locked(struct space *s, va_t lo, va_t hi)
{
	if (protected_range(s, lo, hi))
		return -EINVAL;
	int r = region_cut(s, lo, hi);
	return r < 0 ? r : space_drop(s, lo, (hi - lo) / FH_PAGE);
}

/* Free addresses, by the layout's rule. 0: none. */
static va_t find(struct space *s, uint64_t bytes, uint64_t align)
{
	if (__builtin_expect(layout_choose != NULL, 0))
		return layout_choose(s, bytes, align);
	return region_gap(s, layout_mmap.lo, layout_mmap.hi, bytes, align);
}

/* Where a mapping goes: a fixed address made free, a hint that is free, or the highest gap. 0 and *error: nowhere. */
static va_t choose(struct space *s, va_t address, uint64_t bytes, unsigned flags, int *error)
{
	*error = -EINVAL;
	if (flags & MM_FIXED) {
		if (!range_ok(address, bytes))
			return 0;
		*error = -EEXIST;
		if (region_busy(s, address, address + bytes) &&
		    (flags & MM_NOREPLACE || (*error = unmap_locked(s, address, address + bytes)) < 0))
			return 0;
		return address;
	}
	address = page_down(address);
	if (address && range_ok(address, bytes) && region_free(s, address, address + bytes))
		return address;
	*error = -ENOMEM;
	return find(s, bytes, bytes >= PLAN_LARGE || flags & MM_LARGE ? PLAN_LARGE : FH_PAGE);
}

/* Is such a mapping counted as promised? */
static bool pays(unsigned rights, unsigned flags)
{
	return commit.on && (rights & RIGHT_W || flags & MM_SHARED) && !(flags & MM_NORESERVE && commit.mode != COMMIT_NEVER);
}

/* May it be promised? What it replaces no longer is. */
static int may_map(struct space *s, va_t address, uint64_t bytes, unsigned flags)
{
	uint64_t old = flags & MM_FIXED && range_ok(address, bytes) ? region_charged(s, address, address + bytes) : 0;
	return commit_may(s, (int64_t)(bytes / FH_PAGE) - (int64_t)old);
}

int64_t mm_map(va_t address, size_t bytes, unsigned rights, unsigned flags)
{
	struct space *s = space_current();
	int error;

	if (bytes == 0 || bytes > 1ul << 47 || rights & ~(RIGHT_R | RIGHT_W | RIGHT_X))
		return -EINVAL;
	bytes = page_up(bytes);
	if (flags & MM_GUARD)
		rights = 0;
	if (rights)
		rights |= RIGHT_R; /* x86-64 has no page that can be written or executed but not read */
	space_lock(s);
	bool charged = pays(rights, flags);
	va_t va = charged && (error = may_map(s, address, bytes, flags)) < 0 ? 0 : choose(s, address, bytes, flags, &error);
	struct region r = {
	    .base = va,
	    .end = va + bytes,
	    .rights = (uint8_t)(rights | (flags & MM_LARGE ? RIGHT_LARGE : 0)),
	    .fault = fault_zero,
	    .name = layout_mmap_name,
	    .fork = flags & MM_SHARED ? REGION_SHARE : REGION_COW,
	    .charged = charged,
	};
	if (va && (error = region_add(s, &r)) == 0 && flags & MM_EAGER && rights) {
		error = space_fill(s, va, bytes / FH_PAGE, rights | (rights & RIGHT_X ? 0 : RIGHT_LARGE));
		if (error < 0)
			unmap_locked(s, va, va + bytes);
	}
	space_unlock(s);
	return va && error == 0 ? (int64_t)va : error == -EDQUOT ? -ENOMEM : error;
}

int64_t mm_reserve(size_t bytes, size_t align)
{
	struct space *s = space_current();

	if (bytes == 0 || bytes > 1ul << 47 || align < FH_PAGE || align & (align - 1))
		return -EINVAL;
	bytes = page_up(bytes);
	space_lock(s);
	va_t va = find(s, bytes, align);
	struct region r = {.base = va, .end = va + bytes, .fault = fault_zero};
	int error = va ? region_add(s, &r) : -ENOMEM;
	space_unlock(s);
	return error < 0 ? error : (int64_t)va;
}

int mm_unmap(va_t address, size_t bytes)
{
	struct space *s = space_current();

	bytes = page_up(bytes);
	if (!range_ok(address, bytes))
		return -EINVAL;
	space_lock(s);
	int r = unmap_locked(s, address, address + bytes);
	space_unlock(s);
	return r;
}

/* Memory that was not counted as promised will be, [lo, hi) in region r: now that it can be written. */
static int charge_part(struct space *s, struct region **r, va_t lo, va_t hi)
{
	if (!commit.on || (*r)->charged || (*r)->fault != fault_zero)
		return 0;
	int e = commit_may(s, (int64_t)((hi - lo) / FH_PAGE));
	return e < 0 ? e : (*r = region_charge(s, *r, lo, hi)) ? 0 : -ENOMEM;
}

/* The part [lo, hi) of region r, or all of it. */
static int protect_part(struct space *s, struct region *r, va_t lo, va_t hi, unsigned rights)
{
	if (rights & RIGHT_W && charge_part(s, &r, lo, hi) < 0)
		return -ENOMEM;
	r = region_protect(s, r, lo, hi, rights);
	return r ? space_promise(s, lo, (hi - lo) / FH_PAGE, rights, r->rights & ~RIGHT_LARGE) : -ENOMEM;
}

/* A range that is not in one region: none of it changes unless all of it may. */
static __attribute__((noinline)) int protect_parts(struct space *s, va_t lo, va_t hi, unsigned rights)
{
	int r = region_covers(s, lo, hi);

	for (va_t stop; lo < hi && r == 0; lo = stop) {
		struct region *g = region_find(s, lo);
		stop = g->end < hi ? g->end : hi;
		r = protect_part(s, g, lo, stop, rights);
	}
	return r;
}

int mm_protect(va_t address, size_t bytes, unsigned rights)
{
	struct space *s = space_current();
	va_t end = address + page_up(bytes);
	int r;

	if (!range_ok(address, end - address) || rights & ~(RIGHT_R | RIGHT_W | RIGHT_X))
		return -EINVAL;
	if (rights)
		rights |= RIGHT_R;
	space_lock(s);
	struct region *g = region_find(s, address);
	if (g && g->base <= address && end <= g->end && g->fork != REGION_SKIP)
		r = protect_part(s, g, address, end, rights);
	else
		r = protect_parts(s, address, end, rights);
	space_unlock(s);
	return r;
}

int mm_commit(va_t address, size_t bytes)
{
	struct space *s = space_current();
	va_t end = address + page_up(bytes);
	int r = 0;

	if (!commit.on)
		return 0;
	space_lock(s);
	for (va_t stop; address < end && r == 0; address = stop) {
		struct region *g = region_find(s, address);
		stop = g && g->end < end ? g->end : end;
		r = g ? charge_part(s, &g, address, stop) : -ENOMEM;
	}
	space_unlock(s);
	return r;
}

int64_t mm_stack(struct space *s, size_t bytes, const char *name)
{
	bytes = page_up(bytes);
	space_lock(s);
	va_t va = region_gap(s, layout_stacks.lo, layout_stacks.hi, bytes, FH_PAGE);
	struct region r = {
	    .lo = va,
	    .hi = va + bytes,
	    .base = va + bytes - FH_PAGE,
	    .end = va + bytes,
	    .rights = RIGHT_R | RIGHT_W,
	    .grow = REGION_GROW_DOWN,
	    .guard = 1,
	    .fork = REGION_COPY, /* not on write: its thread may be running, and hold a lock that the fault would want */
	    .fault = fault_zero,
	    .name = name,
	    .charged = commit.on,
	};
	int error = va && bytes >= 2 * FH_PAGE ? region_add(s, &r) : -ENOMEM;
	space_unlock(s);
	return error < 0 ? error : (int64_t)(va + bytes);
}

/* ---- The heap: one region, accessible up to the break. It reserves all of its area, or, where it shares its room with
 *      mappings, only what it has and the page after that ---- */

static va_t heap_lo, heap_break; /* the break in bytes; the region ends at its page_up */
static bool heap_shares;

int heap_init(const struct area *a)
{
	heap_lo = heap_break = layout_heap.lo;
	heap_shares = !a->hi;
	return region_add(&space_main, &(struct region){
	                                   .lo = heap_lo,
	                                   .base = heap_lo,
	                                   .end = heap_lo,
	                                   .hi = heap_shares ? heap_lo + FH_PAGE : layout_heap.hi,
	                                   .rights = a->rights,
	                                   .fault = fault_zero,
	                                   .name = a->name,
	                               });
}

va_t heap_start(void) { return heap_lo; }
va_t heap_end(void) { return heap_break; }

/* May the region reserve up to `end`? If so it does. */
static bool reserve(struct space *s, struct region *r, va_t end)
{
	if (heap_shares && (end <= r->hi || region_free(s, r->hi, end)))
		r->hi = end > heap_lo ? end : heap_lo + FH_PAGE;
	return end <= r->hi;
}

/* Move the break; with `eager` the pages that it passes are filled. */
static int64_t grow(intptr_t n, bool eager)
{
	struct space *s = space_current();

	if (n == 0)
		return (int64_t)heap_break;
	space_lock(s);
	va_t old = heap_break, new = old + (va_t)n;
	bool fits = new >= heap_lo && new <= layout_heap.hi && (n > 0) == (new > old);
	struct region *r = region_find(s, heap_lo);
	bool may = fits && r && (!r->charged || commit_may(s, (int64_t)(page_up(new) - r->end) / (int64_t)FH_PAGE) == 0);
	int error = may && reserve(s, r, page_up(new)) ? 0 : -ENOMEM;
	if (error == 0) {
		va_t end = r->end, top = page_up(new), high = top > end ? top : end;
		if (eager && top > end)
			error = space_fill(s, end, (top - end) / FH_PAGE, r->rights);
		r->end = error == 0 ? top : end;
		heap_break = error == 0 ? new : old;
		if (r->charged)
			commit_count((int64_t)(r->end - end) / (int64_t)FH_PAGE);
		if (r->end < high) { /* what is past the end: given up, or filled in vain */
			int dropped = space_drop(s, r->end, (high - r->end) / FH_PAGE);
			error = error < 0 ? -ENOMEM : dropped;
		}
	}
	space_unlock(s);
	return error < 0 ? error : (int64_t)old;
}

int64_t heap_grow(intptr_t n) { return grow(n, false); }
int64_t heap_grow_eager(intptr_t n) { return grow(n, true); }
