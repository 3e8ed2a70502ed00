/*
 * spaceread.c - reading page tables: the walker, entries, dirty bits. The other half of space.h, writing, is space.c.
 */
#include "space.h"

#include "machine.h"
#include "spacewalk.h"
#include "start.h"
#include "syscall.h"
#include "thread.h"
#include "upcall.h"

/* The table `pfn` of foreign space s at `level`, mapped for reading; NULL: no scratch page, no authority. */
static const volatile pte_t *peek(struct space *s, unsigned level, pfn_t pfn)
{
	if (s->peek[level].pfn == pfn)
		return (const volatile pte_t *)s->peek[level].va;
	if (!s->peek[level].va && !(s->peek[level].va = scratch_get(1)))
		return NULL;
	s->peek[level].pfn = 0;
	if (scratch_set(s->peek[level].va, pte_make(pfn, RIGHT_R)) < 0)
		return NULL;
	s->peek[level].pfn = pfn;
	return (const volatile pte_t *)s->peek[level].va;
}

void space_unpeek(struct space *s)
{
	for (unsigned level = 1; level <= 4; level++) {
		if (s->peek[level].va)
			scratch_put(s->peek[level].va, 1);
		s->peek[level].va = s->peek[level].pfn = 0;
	}
}

const volatile pte_t *slot_foreign(struct space *s, va_t va, unsigned level)
{
	pfn_t table = s->root;

	for (unsigned l = 4;; l--) {
		const volatile pte_t *t = peek(s, l, table);
		if (!t)
			return NULL;
		pte_t e = t[pt_index(va, l)];
		if (l == level)
			return t + pt_index(va, l);
		if (!(e & FH_P) || (e & FH_PS && l < 4))
			return NULL;
		table = fh_pte_pfn(e);
	}
}

pte_t space_get(struct space *s, va_t va)
{
	const volatile pte_t *p = space_slot(s, va, 1);

	if (p)
		return *p;
	p = space_slot(s, va, 2);
	return p && *p & FH_PS ? *p : 0;
}

/* The lowest entry there is for va, and its level. NULL: the tables can't be read. */
static const volatile pte_t *lowest(struct space *s, va_t va, unsigned *level)
{
	if (space_here(s)) {
		*level = !link_at(va, 4) ? 4 : !link_at(va, 3) ? 3 : !link_at(va, 2) ? 2 : 1;
		return window_slot(va, *level);
	}
	for (*level = 1; *level <= 4; ++*level) {
		const volatile pte_t *slot = slot_foreign(s, va, *level);
		if (slot)
			return slot;
	}
	return NULL;
}

bool space_next(struct space *s, va_t from, va_t end, struct leaf *leaf)
{
	for (va_t va = from; va < end;) {
		unsigned level;
		const volatile pte_t *slot = lowest(s, va, &level);
		if (!slot)
			return false;
		if (level == 1)
			for (; !*slot && pt_index(va, 1) < 511 && va + FH_PAGE < end; slot++)
				va += FH_PAGE;
		pte_t e = *slot;
		uint64_t span = pt_span(level);
		if (e && (level == 1 || (level == 2 && e & FH_P))) {
			*leaf = (struct leaf){va & ~(span - 1), e, level};
			return true;
		}
		va = (va & ~(span - 1)) + span;
		if (va == 0)
			return false;
	}
	return false;
}

uint64_t space_count(struct space *s, va_t va, size_t n)
{
	va_t end = va + n * FH_PAGE;
	uint64_t pages = 0;
	struct leaf leaf;

	for (; space_next(s, va, end, &leaf); va = leaf.va + pt_span(leaf.level))
		if (leaf.pte & FH_P)
			pages += pt_span(leaf.level) / FH_PAGE;
	return pages;
}

/* Set `n` bits from `from` on. */
static void set_bits(uint64_t *bitmap, size_t from, size_t n)
{
	for (; bitmap && n > 0; from++, n--)
		bitmap[from / 64] |= 1ul << from % 64;
}

size_t space_dirty(struct space *s, va_t va, size_t n, uint64_t *bitmap)
{
	va_t end = va + n * FH_PAGE;
	size_t dirty = 0;

	for (size_t i = 0; bitmap && i < (n + 63) / 64; i++)
		bitmap[i] = 0;
	for (va_t at = va, stop; at < end; at = stop) {
		stop = (at & ~(PLAN_LARGE - 1)) + PLAN_LARGE;
		stop = stop < end ? stop : end;
		size_t page = (at - va) / FH_PAGE, pages = (stop - at) / FH_PAGE;
		const volatile pte_t *slot = space_slot(s, at, 1);
		if (!slot) {
			slot = space_slot(s, at, 2);
			if (slot && *slot & FH_P && *slot & FH_PS && *slot & FH_D) {
				set_bits(bitmap, page, pages);
				dirty += pages;
			}
			continue;
		}
		for (size_t i = 0; i < pages; i++) {
			if ((slot[i] & (FH_P | FH_D)) != (FH_P | FH_D))
				continue;
			dirty++;
			if (bitmap)
				bitmap[(page + i) / 64] |= 1ul << (page + i) % 64;
		}
	}
	return dirty;
}
