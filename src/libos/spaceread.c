/* SPDX-License-Identifier: MIT */
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

struct space *space_current(void) { return thread_self()->space; }

pte_t pte_make(pfn_t pfn, unsigned rights)
{
	return pfn << 12 | FH_P | FH_U | (rights & RIGHT_W ? FH_W : 0) | (rights & RIGHT_X ? 0 : FH_NX);
}

unsigned pte_rights(pte_t e)
{
	return e & FH_P ? RIGHT_R | (e & FH_W ? RIGHT_W : 0) | (e & FH_NX ? 0 : RIGHT_X) : 0;
}

/* Address bits of a non-present word must not name RAM: they hold the pfn inverted, as in Linux's PTE inversion. A tag
 * in an AVL bit tells the word from others. */
#define PARKED (1ul << 9)
#define PARKED_FIELD (((1ul << 28) - 1) << 12)

pte_t pte_park(pfn_t pfn) { return (~pfn << 12 & PARKED_FIELD) | PARKED; }

pfn_t pte_parked(pte_t e) { return !(e & FH_P) && e & PARKED ? (~e & PARKED_FIELD) >> 12 : 0; }

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

static const volatile pte_t *slot_foreign(struct space *s, va_t va, unsigned level)
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

const volatile pte_t *space_slot(struct space *s, va_t va, unsigned level)
{
	if (s->root != upcall_word(UPCALL_OFFSET(libos[UPCALL_LIBOS_ROOT])))
		return slot_foreign(s, va, level);
	for (unsigned l = 4; l > level; l--) {
		pte_t e = *window_slot(va, l);
		if (!(e & FH_P) || (e & FH_PS && l < 4))
			return NULL;
	}
	return window_slot(va, level);
}

pte_t space_get(struct space *s, va_t va)
{
	const volatile pte_t *p = space_slot(s, va, 1);

	if (p)
		return *p;
	p = space_slot(s, va, 2);
	return p && *p & FH_PS ? *p : 0;
}

/* The leaf that `level`'s entry at va leads to, if it is one: found in *leaf. */
static bool leaf_at(struct space *s, va_t va, unsigned level, struct leaf *leaf)
{
	pte_t e = *space_slot(s, va, level);

	if (!e || (level > 1 && !(level == 2 && e & FH_P && e & FH_PS)))
		return false;
	*leaf = (struct leaf){va & ~(pt_span(level) - 1), e, level};
	return true;
}

bool space_next(struct space *s, va_t from, va_t end, struct leaf *leaf)
{
	va_t va = from;

	while (va < end) {
		unsigned level = 4;
		/* Down to the lowest table that covers va; then on by what one entry of it spans. */
		while (level > 1 && space_slot(s, va, level - 1))
			level--;
		if (!space_slot(s, va, level))
			return false;
		do {
			if (leaf_at(s, va, level, leaf))
				return true;
			va = (va & ~(pt_span(level) - 1)) + pt_span(level);
		} while (level == 1 && va < end && pt_index(va, 1) != 0);
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

size_t space_dirty(struct space *s, va_t va, size_t n, uint64_t *bitmap)
{
	va_t end = va + n * FH_PAGE;
	size_t dirty = 0;
	struct leaf leaf;

	for (size_t i = 0; bitmap && i < (n + 63) / 64; i++)
		bitmap[i] = 0;
	for (va_t at = va; space_next(s, at, end, &leaf); at = leaf.va + pt_span(leaf.level)) {
		if (!(leaf.pte & FH_P) || !(leaf.pte & FH_D))
			continue;
		va_t stop = leaf.va + pt_span(leaf.level) < end ? leaf.va + pt_span(leaf.level) : end;
		for (va_t page = leaf.va > va ? leaf.va : va; page < stop; page += FH_PAGE, dirty++)
			if (bitmap)
				bitmap[(page - va) / FH_PAGE / 64] |= 1ul << (page - va) / FH_PAGE % 64;
	}
	return dirty;
}
