/*
 * pte.c - page-table entries against the ownership table. Every slot that names a frame holds a reference on it (but
 * TABLE and CPU frames, which never go away): taken before the entry is written, dropped after it is gone and stamped.
 * Locks: none here; the caller holds the table whose slot it is about.
 */
#include "pte.h"
#include "epoch.h"

uint64_t phys_mask = FH_PFN_FIELD;
bool large_exec;

#define ENTRY_BITS (FH_P | FH_W | FH_U | FH_PWT | FH_PCD | FH_A | FH_D | FH_PS | FH_PFN_FIELD | FH_AVL | FH_NX)

/* ---- Checks ---- */

long entry_kind(const struct at *at, pte_t e)
{
	if (!(e & FH_P)) {
		uint64_t f = (e & phys_mask) >> 12;
		bool large = (e & FH_PS) && (at->level == 2 || at->level == 3);
		if (large) /* a speculating CPU takes it for a large page, and its low bits for part of the offset */
			f &= at->level == 2 ? ~0x1fful : ~0x3fffful;
		return f < nframes && (f != 0 || large) ? REFUSE(EINVAL, "a non-present word names a frame (L1TF)") : WORD;
	}
	if ((e & ~ENTRY_BITS) || !(e & FH_U))
		return REFUSE(EINVAL, "a present entry has U=1, G=0 and no reserved bit");
	if (fh_pte_pfn(e) >= nframes)
		return REFUSE(EINVAL, "the entry names a frame beyond the table");
	if (at->level == 1)
		return LEAF;
	if (e & (FH_PWT | FH_PCD))
		return REFUSE(EINVAL, "cache bits are for 4 KiB entries of DEVICE frames");
	if (e & FH_PS) {
		if (at->level != 2 || fh_pte_pfn(e) % FH_LARGE_FRAMES != 0)
			return REFUSE(EINVAL, "large pages are 2 MiB, aligned, in a PT2");
		if (nframes - fh_pte_pfn(e) < FH_LARGE_FRAMES)
			return REFUSE(EINVAL, "the large page leaves the table");
		if (!(e & FH_NX) && !large_exec)
			return REFUSE(EACCES, "this CPU may not execute large pages (iTLB multihit)");
		return LARGE;
	}
	return at->level == 4 && fh_pte_pfn(e) == at->t.n ? SELF : LINK;
}

long leaf_allowed(const struct at *at, pte_t e, pfn_t f, uint64_t state)
{
	unsigned type = fh_type(state);
	pfn_t owner = owner_of(state);
	if (type == FH_DATA || type == FH_DEVICE) {
		if (type == FH_DATA && at->level == 1 && (e & (FH_PWT | FH_PCD | FH_PAT)))
			return REFUSE(EINVAL, "RAM is mapped write-back: cache bits are for DEVICE frames");
		if (same(owner, at->me)) /* who has authority over the table: it is the caller's or a descendant's */
			return 0;
		if (!authority(at->me, owner))
			return REFUSE(EPERM, "no authority over the frame");
		if (!env_within(owner, at->owner) && !env_within(at->owner, owner))
			return REFUSE(EPERM, "the frame's owner and the table's aren't ancestor and descendant");
		return 0;
	}
	if (type == FH_BUSY)
		return REFUSE(EBUSY, "another CPU is changing the frame");
	if (type == FH_FREE || type == FH_KERNEL)
		return REFUSE(EPERM, "the frame is nobody's, or the kernel's");
	if (e & FH_W)
		return REFUSE(EACCES, "only DATA and DEVICE frames are mapped writable");
	if (at->level == 1 && (e & (FH_PWT | FH_PCD | FH_PAT)))
		return REFUSE(EINVAL, "RAM is mapped write-back: cache bits are for DEVICE frames");
	if (!uncounted(type) && !same(f, at->owner) && !env_within(owner, at->owner))
		return REFUSE(EPERM, "tables, THREADs and ENVs are shown to their owner and its ancestors");
	return 0;
}

/* ---- References held by entries ---- */

static void put_frames(pfn_t first, uint64_t n)
{
	if (!uncounted(fh_type(state_of(first)))) /* all of a run are, or none */
		for (uint64_t i = 0; i < n; i++)
			ref_put(pfn(first.n + i));
}

static long get_leaf(const struct at *at, pte_t e, enum kind kind)
{
	pfn_t first = entry_pfn(e);
	uint64_t head = state_of(first);
	unsigned type = fh_type(head);
	if (kind == LARGE && type != FH_DATA && type != FH_TABLE)
		return REFUSE(EACCES, "large pages map DATA or TABLE frames");
	if (kind == LARGE && type == FH_TABLE && !(e & FH_NX))
		return REFUSE(EACCES, "the table is not for execution");
	long r = leaf_allowed(at, e, first, head);
	if (r == 0 && !uncounted(type))
		return ref_get_run(first, span(kind), type, owner_of(head));
	for (uint64_t i = 0; r == 0 && i < span(kind); i++)
		if (fh_type(state_of(pfn(first.n + i))) != type)
			r = REFUSE(EBUSY, "a large page maps frames of one type");
	return r;
}

/* Is table c granted to the caller, whose own table it is about? */
static bool tenancy(const struct at *at, pfn_t c)
{
	return same(at->me, at->owner) && atomic_get(&record(c)->tenant) == env_name(at->me);
}

static long NEEDS(a_record) get_child(const struct at *at, pte_t e, unsigned index)
{
	pfn_t c = entry_pfn(e);
	uint64_t state = state_of(c);
	pfn_t owner = owner_of(state);
	if (fh_type(state) != at->level + FH_PT1 - 2)
		return REFUSE(EBUSY, "a link names a table one level down");
	bool own = same(owner, at->owner), over = own || authority(at->me, owner);
	if (!over && !tenancy(at, c)) /* [link 5] */
		return REFUSE(EPERM, "no authority over the table to be linked, nor is it granted to the caller");
	long r = ref_get(c, fh_type(state), owner); /* [link 6] */
	if (r < 0 || own)
		return r;
	uint64_t *link = &record(c)->link, old = atomic_get(link);
	do {
		if (old & LINK_PARENT_MASK) {
			ref_put(c);
			return REFUSE(EBUSY, "the table is linked by a foreign owner already");
		}
	} while (!atomic_cas(link, &old, old | LINK_PARENT(at->t, index))); /* [link 7] */
	/* Whoever withdraws takes the tenant away and then reads the link; here it is the other way round. */
	if (over || tenancy(at, c)) /* [link 8] */
		return 0;
	atomic_minus(link, LINK_PARENT(at->t, index));
	ref_put(c);
	return REFUSE(EPERM, "no authority over the table to be linked, nor is it granted to the caller");
}

long get_entry(const struct at *at, pte_t e, enum kind kind, unsigned index)
{
	if (kind == LEAF || kind == LARGE)
		return get_leaf(at, e, kind);
	if (kind == LINK)
		return get_child(at, e, index);
	if (kind == SELF && (e & RIGHTS) != FH_NX)
		return REFUSE(EACCES, "the recursive window is read-only and NX");
	return 0;
}

void stamp_entry(const struct at *at, pte_t old)
{
	pfn_t first = entry_pfn(old);
	if (!uncounted(fh_type(state_of(first)))) /* those never change type or owner: nobody waits for them */
		for (uint64_t i = 0; i < span(kind_of(at, old)); i++)
			stamp_now(pfn(first.n + i));
}

void drop_child(const struct at *at, pfn_t c, unsigned index)
{
	uint64_t here = LINK_PARENT(at->t, index);
	stamp_now(c); /* [link 2] */
	if (linked_at(c) == here)
		atomic_minus(&record(c)->link, here); /* [link 3] */
	ref_put(c); /* [link 4] */
}

void drop_entry(const struct at *at, pte_t old, unsigned index)
{
	enum kind k = kind_of(at, old);
	if (k == LINK)
		drop_child(at, entry_pfn(old), index);
	else if (k == LEAF || k == LARGE) {
		stamp_entry(at, old);
		put_frames(entry_pfn(old), span(k));
	}
}

long may_widen(const struct at *at, pte_t old, pte_t new)
{
	enum kind k = kind_of(at, old);
	uint64_t state = state_of(entry_pfn(old));
	if (k == SELF)
		return REFUSE(EACCES, "the recursive window is read-only and NX");
	if (k == LINK)
		return authority(at->me, owner_of(state)) || tenancy(at, entry_pfn(old))
		           ? 0 : REFUSE(EPERM, "no authority over the linked table, nor is it granted to the caller");
	if (k == LARGE && !(new & FH_NX) && (!large_exec || fh_type(state) == FH_TABLE))
		return REFUSE(EACCES, "this large page is not for execution");
	return leaf_allowed(at, new, entry_pfn(old), state);
}
