/*
 * pte.h - what may stand in a page-table entry, and the references that entries hold (invariants 4, 5, 7).
 */
#pragma once
#include "frame.h"

extern uint64_t phys_mask; /* physical address bits of an entry, up to the CPU's width */
extern bool large_exec;    /* 2 MiB entries may lack NX */

/* What an operation works on. `owner`, the table's, is what most checks compare with. */
struct at {
	pfn_t me, t, owner;
	uint64_t state; /* of the table's record, as it was checked */
	unsigned level, op, index;
};

enum kind { WORD, LEAF, LARGE, LINK, SELF };
#define RIGHTS (FH_W | FH_NX)

static inline pte_t *pte_at(pfn_t t, unsigned i) { return (pte_t *)frame_address(t) + i; }
static inline uint64_t span(enum kind k) { return k == LARGE ? FH_LARGE_FRAMES : 1; }

/* Where the only foreign link to table c stands, as its record says it: parent and index; 0: nowhere. */
#define LINK_PARENT(t, i) ((uint64_t)(i) << 16 | (t).n << 32)
#define LINK_PARENT_MASK (511ul << 16 | FH_PFN_MASK << 32)
static inline uint64_t linked_at(pfn_t c) { return atomic_get(&record(c)->link) & LINK_PARENT_MASK; }

/* What an entry found in the table is. */
static inline enum kind kind_of(const struct at *at, pte_t e)
{
	if (!(e & FH_P))
		return WORD;
	if (at->level == 1)
		return LEAF;
	if (e & FH_PS)
		return LARGE;
	return same(entry_pfn(e), at->t) ? SELF : LINK;
}

/* What an entry that user code offers would be, by its bits alone (invariant 7): a kind or -errno. */
long entry_kind(const struct at *at, pte_t e);
/* May a leaf e in a table of at->owner name frame f, whose record reads `state` (invariant 4)? 0 or -errno. */
long leaf_allowed(const struct at *at, pte_t e, pfn_t f, uint64_t state);
/* May an entry that becomes `new` from `old` gain W or X: may the caller map what it names with that right? 0 or -errno. */
long may_widen(const struct at *at, pte_t old, pte_t new);
/* Take the references for an entry about to be written to slot `index`; the self-map and words need none. 0, or -errno
 * and none is held. */
long get_entry(const struct at *at, pte_t e, enum kind kind, unsigned index) NEEDS(a_record);
/* An entry has left slot `index`: stamp what it named, then let go. */
void drop_entry(const struct at *at, pte_t old, unsigned index) NEEDS(a_record);
/* The same for a link to table c. */
void drop_child(const struct at *at, pfn_t c, unsigned index) NEEDS(a_record);
/* An entry lost rights, or its D bit: stamp what it names. */
void stamp_entry(const struct at *at, pte_t old);
