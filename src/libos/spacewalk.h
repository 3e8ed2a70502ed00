/*
 * spacewalk.h - between the files that implement space.h and those that walk tables as fast as they can (fault.c,
 * drain.c). Programs have no need of it.
 */
#pragma once

#include "space.h"

/* Bytes that one entry of a level-1, 2, 3 or 4 table covers, and the index of va's entry in it (SDM vol. 3A, 4.5). */
static inline uint64_t pt_span(unsigned level) { return FH_PAGE << (9 * (level - 1)); }
static inline unsigned pt_index(va_t va, unsigned level) { return va >> (12 + 9 * (level - 1)) & 511; }

/* End of the 2 MiB chunk that va lies in, or `end` if that comes first: what one level-1 table covers. */
static inline va_t chunk_end(va_t va, va_t end)
{
	va_t next = (va & ~(PLAN_LARGE - 1)) + PLAN_LARGE;
	return next - 1 < end - 1 ? next : end;
}

/*
 * Where the running space's entry of `level` for va is readable in the recursive window. Entering the window once more
 * for each level above 1 makes the table itself the "page". The tables above must be present.
 */
static inline const volatile pte_t *window_slot(va_t va, unsigned level)
{
	const va_t base = WINDOW_VA | (level > 1 ? (va_t)FH_WINDOW_SLOT << 30 : 0) |
	                  (level > 2 ? (va_t)FH_WINDOW_SLOT << 21 : 0) | (level > 3 ? (va_t)FH_WINDOW_SLOT << 12 : 0);
	return (const volatile pte_t *)base + ((va & 0xfffffffffffful) >> (12 + 9 * (level - 1)));
}

/* In the running space: va's entry at `level` is present and leads to a lower table. */
static inline bool link_at(va_t va, unsigned level)
{
	return (*window_slot(va, level) & (FH_P | (level < 4 ? FH_PS : 0))) == FH_P;
}

/* Is s the space this thread runs in, whose tables are in the window? */
static inline bool space_here(const struct space *s)
{
	return s->root == upcall_word(UPCALL_OFFSET(libos[UPCALL_LIBOS_ROOT]));
}

const volatile pte_t *slot_foreign(struct space *, va_t va, unsigned level);
/* va's entry at `level` in any space, for reading; NULL: a table above is missing, or a 2 MiB page covers va. */
static inline const volatile pte_t *space_slot(struct space *s, va_t va, unsigned level)
{
	if (!space_here(s))
		return slot_foreign(s, va, level);
	if ((level < 4 && !link_at(va, 4)) || (level < 3 && !link_at(va, 3)) || (level < 2 && !link_at(va, 2)))
		return NULL;
	return window_slot(va, level);
}

/* In the running space: pfn of va's level-1 table; 0: there is none, or a 2 MiB page instead. */
static inline pfn_t window_table(va_t va)
{
	if (!link_at(va, 4) || !link_at(va, 3))
		return 0;
	pte_t link = *window_slot(va, 2);
	return (link & (FH_P | FH_PS)) == FH_P ? fh_pte_pfn(link) : 0;
}

/* Is a table in s somebody else's, a window? Then it isn't ours to fill, or to free. */
bool table_foreign(const struct space *, pfn_t table);

/* Put one entry at a scratch page and flush it; 0 or -errno. */
int scratch_set(va_t va, pte_t entry);
/* At the start of a program, and of a fork's child: the scratch area is empty. */
void scratch_init(void);

/* Page frames left behind by unmapping that a forked child still refers to: ours to free when it lets go. */
void orphan_note(pfn_t pfn);             /* remember it if it is ours */
void orphan_collect(void);               /* free those that have no references left */
void orphan_forget(pfn_t pfn, size_t n); /* these are in use again, without references from now on */
void orphan_forget_locked(pfn_t pfn, size_t n); /* or have none since the lock was taken */
void orphan_lock(void);
void orphan_unlock(void);
void orphan_reset(void);                 /* in a fork's child: they are the parent's */

/* Empty a table and all below it: leaves unmapped and freed where nothing else refers to them, tables freed. */
int table_drain(pfn_t table, unsigned level);
