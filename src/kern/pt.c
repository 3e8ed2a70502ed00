/*
 * pt.c - page-table operations: check an entry against the ownership table, then change one slot at a time.
 *
 * Every slot that names a frame holds a reference on it (but TABLE and CPU frames, which never go away). A reference
 * is taken before the entry is written; an entry is gone, and the frame stamped, before its reference is dropped.
 * Locks: one table at a time, the one whose entries change. Nothing waits while holding it.
 */
#include "pt.h"
#include "epoch.h"
#include "frame.h"

uint64_t phys_mask = FH_PFN_FIELD;
bool large_exec;

/* What an operation works on. E, the table's owner, is what most checks compare with. */
struct at {
	pfn_t me, t, owner;
	unsigned type, level;
	unsigned op, index;
	bool keep;
	int present;     /* entries gained or lost, added to the table's count at unlock */
	uint64_t freed;  /* frames of `owner` that went back to FREE */
};

enum kind { WORD, LEAF, LARGE, LINK, SELF };

#define ENTRY_BITS (FH_P | FH_W | FH_U | FH_PWT | FH_PCD | FH_A | FH_D | FH_PS | FH_PFN_FIELD | FH_AVL | FH_NX)
#define RIGHTS (FH_W | FH_NX)

static inline pte_t pte_get(pfn_t t, unsigned i) { return atomic_get((pte_t *)frame_address(t) + i); }
static inline pte_t pte_swap(pfn_t t, unsigned i, pte_t e) { return atomic_swap((pte_t *)frame_address(t) + i, e); }
static inline bool pte_cas(pfn_t t, unsigned i, pte_t *old, pte_t e)
{
	return atomic_cas((pte_t *)frame_address(t) + i, old, e);
}
static inline uint64_t span(enum kind k) { return k == LARGE ? FH_LARGE_FRAMES : 1; }

/* ---- Checks ---- */

/* What an entry at this level would be, by its bits alone (invariant 7). */
static long entry_kind(const struct at *at, pte_t e)
{
	if (!(e & FH_P)) {
		uint64_t f = (e & phys_mask) >> 12;
		return f != 0 && f < nframes ? REFUSE(EINVAL, "a non-present word names a frame (L1TF)") : WORD;
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
		if (!(e & FH_NX) && !large_exec)
			return REFUSE(EACCES, "this CPU may not execute large pages (iTLB multihit)");
		return LARGE;
	}
	return at->level == 4 && fh_pte_pfn(e) == at->t.n ? SELF : LINK;
}

/* May a leaf e in a table of at->owner name frame f, whose record reads `state` (invariant 4)? */
static long leaf_allowed(const struct at *at, pte_t e, pfn_t f, uint64_t state)
{
	unsigned type = fh_type(state);
	pfn_t owner = owner_of(state);
	if (type == FH_DATA || type == FH_DEVICE) {
		if (type == FH_DATA && at->level == 1 && (e & (FH_PWT | FH_PCD | FH_PAT)))
			return REFUSE(EINVAL, "RAM is mapped write-back: cache bits are for DEVICE frames");
		if (same(owner, at->me) && same(owner, at->owner))
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
	for (uint64_t i = 0; i < n; i++)
		if (!uncounted(fh_type(state_of(pfn(first.n + i)))))
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
	for (uint64_t i = 0; r == 0 && i < span(kind); i++) {
		pfn_t f = pfn(first.n + i);
		if (!uncounted(type))
			r = ref_get(f, type, owner_of(head));
		else if (f.n >= nframes || fh_type(state_of(f)) != type)
			r = REFUSE(EBUSY, "a large page maps frames of one type");
		if (r < 0)
			put_frames(first, i);
	}
	return r;
}

#define LINK_PARENT(t, i) ((uint64_t)(i) << 16 | (t).n << 32)
#define LINK_PARENT_MASK (511ul << 16 | FH_PFN_MASK << 32)

static long get_child(const struct at *at, pte_t e, unsigned index)
{
	pfn_t c = entry_pfn(e);
	uint64_t state = state_of(c);
	pfn_t owner = owner_of(state);
	if (fh_type(state) != at->type - 1)
		return REFUSE(EBUSY, "a link names a table one level down");
	if (!same(owner, at->owner) && !authority(at->me, owner))
		return REFUSE(EPERM, "no authority over the table to be linked");
	long r = ref_get(c, fh_type(state), owner);
	if (r < 0 || same(owner, at->owner))
		return r;
	uint64_t *link = &record(c)->link, old = atomic_get(link);
	do {
		if (old & LINK_PARENT_MASK) {
			ref_put(c);
			return REFUSE(EBUSY, "the table is linked by a foreign owner already");
		}
	} while (!atomic_cas(link, &old, old | LINK_PARENT(at->t, index)));
	return 0;
}

/* References for the entry about to be written; the self-map and words need none. */
static long get_entry(const struct at *at, pte_t e, enum kind kind, unsigned index)
{
	if (kind == LEAF || kind == LARGE)
		return get_leaf(at, e, kind);
	if (kind == LINK)
		return get_child(at, e, index);
	if (kind == SELF && (e & RIGHTS) != FH_NX)
		return REFUSE(EACCES, "the recursive window is read-only and NX");
	return 0;
}

static enum kind kind_of(const struct at *at, pte_t e)
{
	if (!(e & FH_P))
		return WORD;
	if (at->level == 1)
		return LEAF;
	if (e & FH_PS)
		return LARGE;
	return same(entry_pfn(e), at->t) ? SELF : LINK;
}

/* An entry lost rights: stamp what it names. */
static void stamp_entry(const struct at *at, pte_t old)
{
	enum kind k = kind_of(at, old);
	for (uint64_t i = 0; i < span(k); i++)
		if (k != SELF && !uncounted(fh_type(state_of(pfn(fh_pte_pfn(old) + i)))))
			stamp_now(pfn(fh_pte_pfn(old) + i));
}

/* A child table is no longer linked from slot `index`: stamp, unlink, let go. */
static void drop_child(const struct at *at, pfn_t c, unsigned index)
{
	uint64_t here = LINK_PARENT(at->t, index);
	stamp_now(c);
	if ((atomic_get(&record(c)->link) & LINK_PARENT_MASK) == here)
		atomic_minus(&record(c)->link, here);
	ref_put(c);
}

/* An entry has left its slot. */
static void drop(const struct at *at, pte_t old, unsigned index)
{
	enum kind k = kind_of(at, old);
	if (k == LINK)
		drop_child(at, entry_pfn(old), index);
	else if (k == LEAF || k == LARGE) {
		stamp_entry(at, old);
		put_frames(entry_pfn(old), span(k));
	}
}

/* Exchange a slot's entry and keep the count of present ones (the self-map is not counted). */
static pte_t replace(struct at *at, unsigned index, pte_t e)
{
	pte_t old = pte_swap(at->t, index, e);
	enum kind was = kind_of(at, old), is = kind_of(at, e);
	at->present += (is != WORD && is != SELF) - (was != WORD && was != SELF);
	return old;
}

/* ---- One slot: old entry in *old, or -errno. The table is locked. ---- */

static long set_slot(struct at *at, unsigned index, pte_t e, pte_t *old)
{
	long kind = entry_kind(at, e);
	if (kind < 0)
		return kind;
	enum kind was = kind_of(at, pte_get(at->t, index));
	if ((kind == LARGE && was != WORD) || (was == LARGE && kind != WORD))
		return REFUSE(EEXIST, "2 MiB entries go into and out of an empty slot: clear, flush, then set");
	long r = get_entry(at, e, kind, index);
	if (r < 0)
		return r;
	*old = replace(at, index, e);
	drop(at, *old, index);
	return 0;
}

static long clear_slot(struct at *at, unsigned index, pte_t e, pte_t *old)
{
	*old = replace(at, index, e);
	drop(at, *old, index);
	return 0;
}

/* Who may add W or X to an entry: whoever may map what it names, with that right. */
static long may_widen(const struct at *at, pte_t old, pte_t new)
{
	enum kind k = kind_of(at, old);
	uint64_t state = state_of(entry_pfn(old));
	if (k == SELF)
		return REFUSE(EACCES, "the recursive window is read-only and NX");
	if (k == LINK)
		return authority(at->me, owner_of(state)) ? 0 : REFUSE(EPERM, "no authority over the linked table");
	if (k == LARGE && !(new & FH_NX) && (!large_exec || fh_type(state) == FH_TABLE))
		return REFUSE(EACCES, "this large page is not for execution");
	return leaf_allowed(at, new, entry_pfn(old), state);
}

static long protect_slot(struct at *at, unsigned index, pte_t e, pte_t *old)
{
	pte_t new;
	*old = pte_get(at->t, index);
	do {
		if (!(*old & FH_P))
			return REFUSE(ENOENT, "the slot holds no present entry");
		pte_t rights = e & RIGHTS;
		if (at->op == FH_OP_NARROW)
			rights = (*old & e & FH_W) | ((*old | e) & FH_NX);
		new = (*old & ~(RIGHTS | FH_AVL)) | rights | (e & FH_AVL);
		long r = (new & ~*old & FH_W) || (*old & ~new & FH_NX) ? may_widen(at, *old, new) : 0;
		if (r < 0)
			return r;
	} while (!pte_cas(at->t, index, old, new));
	if ((*old & ~new & FH_W) || (new & ~*old & FH_NX))
		stamp_entry(at, *old);
	return 0;
}

static long harvest_slot(struct at *at, unsigned index, pte_t *old)
{
	*old = pte_get(at->t, index);
	do {
		if (!(*old & FH_P))
			return 0;
	} while (!pte_cas(at->t, index, old, *old & ~(FH_A | FH_D)));
	if (*old & FH_D)
		stamp_entry(at, *old);
	return 0;
}

/* Drop the entry's reference to f; if it was the last, and f is ours, f is FREE. */
static bool free_mapped(struct at *at, pfn_t f)
{
	uint64_t state = state_of(f);
	pfn_t owner = owner_of(state);
	stamp_now(f);
	if (state != make_state(FH_DATA, owner, 1) || !authority(at->me, owner) || !claim_exact(f, state)) {
		if (!uncounted(fh_type(state)))
			ref_put(f);
		return false;
	}
	frame_poison(f);
	commit_free(f, owner);
	if (same(owner, at->owner))
		at->freed++;
	else
		env_return(owner, 1);
	return true;
}

static long unmap_slot(struct at *at, unsigned index, pte_t e, pte_t *old, bool *kept)
{
	enum kind k = kind_of(at, pte_get(at->t, index));
	if (k == LINK || k == SELF)
		return REFUSE(EINVAL, "the slot holds a link, not a leaf");
	*old = replace(at, index, e);
	for (uint64_t i = 0; k != WORD && i < span(k); i++)
		*kept |= !free_mapped(at, pfn(fh_pte_pfn(*old) + i));
	return 0;
}

/* ---- Rounds ---- */

static void at_unlock(struct at *at)
{
	if (at->present)
		atomic_plus(&record(at->t)->link, (uint64_t)(int64_t)at->present);
	table_unlock(at->t);
	env_return(at->owner, at->freed);
}

/* Operations that work under the table's lock, slot by slot. Returns slots done, or -errno when none was. */
static long round_locked(struct at *at, struct fh_op *op, uint64_t n, uint64_t *ad)
{
	bool kept = false;
	pte_t old = 0, e = op->entry;
	uint64_t i = 0;
	long r = table_lock(at->t, at->type, at->owner);
	if (r < 0)
		return r;
	for (; i < n; i++, e += at->op == FH_OP_SET && (e & FH_P) ? span(kind_of(at, e)) << 12 : 0) {
		unsigned index = at->index + i;
		switch (at->op) {
		case FH_OP_SET: r = set_slot(at, index, e, &old); break;
		case FH_OP_CLEAR: r = clear_slot(at, index, e, &old); break;
		case FH_OP_HARVEST: r = harvest_slot(at, index, &old); break;
		case FH_OP_UNMAP_FREE: r = unmap_slot(at, index, e, &old, &kept); break;
		case FH_OP_READ: old = pte_get(at->t, index); break;
		default: r = protect_slot(at, index, e, &old);
		}
		if (r < 0)
			break;
		*ad |= old & (FH_A | FH_D);
	}
	at_unlock(at);
	if (i == 0)
		return r;
	*ad |= (uint64_t)kept << 63;
	op->entry = i == n && fh_what_count(op->what) == n ? old : e;
	return i;
}

/* Are the next slots empty? How many, from the first. */
static uint64_t empty_slots(const struct at *at, uint64_t n)
{
	uint64_t i = 0;
	while (i < n && !(pte_get(at->t, at->index + i) & FH_P))
		i++;
	return i;
}

/* Stages 4 and 5 of a claiming operation: the frames are BUSY, quiet and filled. */
static long install_claimed(struct at *at, pte_t e, uint64_t slots, uint64_t each, unsigned type)
{
	long r = table_lock(at->t, at->type, at->owner);
	if (r < 0)
		return r;
	if (!authority(at->me, at->owner))
		r = REFUSE(EPERM, "authority over the table was lost meanwhile");
	else if (empty_slots(at, slots) < slots)
		r = REFUSE(EEXIST, "the slot was filled meanwhile");
	for (uint64_t i = 0; r == 0 && i < slots; i++, e += each << 12) {
		for (uint64_t k = 0; k < each; k++)
			commit(pfn(fh_pte_pfn(e) + k), type, at->owner, 1);
		replace(at, at->index + i, e);
	}
	at_unlock(at);
	return r;
}

/* CLAIM and LINK_NEW: reserve, claim, await, fill, and only then lock (DESIGN 4). */
static long round_claim(struct at *at, struct fh_op *op, uint64_t n)
{
	pte_t e = op->entry;
	long kind = entry_kind(at, e);
	if (kind < 0)
		return kind;
	bool table_wanted = at->op == FH_OP_LINK_NEW;
	if (table_wanted ? kind != LINK : kind != LEAF && kind != LARGE)
		return REFUSE(EINVAL, "CLAIM makes leaves, LINK_NEW links");
	if (!table_wanted && at->level == 1 && (e & (FH_PWT | FH_PCD | FH_PAT)))
		return REFUSE(EINVAL, "RAM is mapped write-back: cache bits are for DEVICE frames");
	uint64_t each = span(kind), slots = empty_slots(at, kind == LARGE ? 1 : n), stamp = 0;
	pfn_t first = entry_pfn(e);
	if (slots == 0)
		return REFUSE(EEXIST, "the slot already holds a present entry");
	slots = MIN(slots, (nframes - first.n) / each);
	if (slots == 0)
		return REFUSE(EINVAL, "the large page leaves the table");
	long got = env_reserve(at->owner, slots * each);
	if (got < 0)
		return got;
	uint64_t reserved = got, frames = claim_run(first, reserved, &stamp);
	long r = 0;
	if (reserved < each)
		r = REFUSE(EDQUOT, "the quota hasn't room for a large page");
	else if (frames < each)
		r = REFUSE(EBUSY, "the frame isn't FREE");
	else
		r = await_quiet(stamp);
	if (r < 0) {
		unclaim_run(first, frames);
		env_return(at->owner, reserved);
		return r;
	}
	for (uint64_t i = 0; i < frames; i++)
		scrub(pfn(first.n + i), at->owner, at->keep && !table_wanted);
	r = install_claimed(at, e, frames / each, each, table_wanted ? at->type - 1 : FH_DATA);
	if (r < 0) {
		for (uint64_t i = 0; i < frames; i++)
			record(pfn(first.n + i))->tenant = 0; /* scrubbed: no longer the last owner's bytes */
		unclaim_run(first, frames);
		frames = 0;
	}
	env_return(at->owner, reserved - frames);
	if (r < 0)
		return r;
	slots = frames / each;
	op->entry = fh_what_count(op->what) == slots ? 0 : e + (frames << 12);
	return slots;
}

/* UNLINK_FREE, one slot: unlink under the lock, claim the child after it. */
static long round_unlink(struct at *at, struct fh_op *op, uint64_t *ad)
{
	long r = table_lock(at->t, at->type, at->owner);
	if (r < 0)
		return r;
	pte_t old = pte_get(at->t, at->index);
	enum kind k = kind_of(at, old);
	if (k == LINK) {
		replace(at, at->index, op->entry);
		drop_child(at, entry_pfn(old), at->index);
	}
	at_unlock(at);
	if (k != LINK && k != WORD)
		return REFUSE(EINVAL, "the slot holds a leaf or the self-map, not a link");
	if (k == LINK) {
		pfn_t c = entry_pfn(old), owner = owner_of(state_of(c));
		uint64_t idle = make_state(at->type - 1, owner, 0);
		bool claimed = authority(at->me, owner) && claim_exact(c, idle);
		if (claimed && fh_count(atomic_get(&record(c)->link)) == 0) {
			commit_free(c, owner);
			env_return(owner, 1);
		} else {
			if (claimed)
				atomic_set(&record(c)->state, idle);
			*ad |= 1ul << 63;
		}
	}
	if (fh_what_count(op->what) == 1)
		op->entry = old;
	return 1;
}

/* Spare bits of word 0: what earlier rounds of the same operation saw. */
#define SEEN_A (1ul << 27)
#define SEEN_D (1ul << 28)
#define SEEN_KEPT (1ul << 29)
#define WHAT_RESERVED (3ul << 30 | 1ul << 7)

static void advance(struct fh_op *op, uint64_t slots, uint64_t ad)
{
	uint64_t w = op->what - (slots << 8);
	if (fh_what_count(w))
		w += slots << 18;
	w |= (ad & FH_A ? SEEN_A : 0) | (ad & FH_D ? SEEN_D : 0) | (ad >> 63 ? SEEN_KEPT : 0);
	if (fh_what_count(w) == 0) {
		op->entry |= (w & SEEN_A ? FH_A : 0) | (w & SEEN_D ? FH_D : 0);
		w |= (uint64_t)(w & SEEN_KEPT ? FH_OP_KEPT : FH_OP_DONE) << 59;
		w &= ~(SEEN_A | SEEN_D | SEEN_KEPT);
	}
	op->what = w;
}

long pt_round(pfn_t me, struct fh_op *op, pfn_t *owner)
{
	uint64_t w = op->what, count = fh_what_count(w), ad = 0;
	pfn_t t = pfn(fh_what_table(w));
	if (t.n >= nframes || !is_table(fh_type(state_of(t))))
		return REFUSE(EINVAL, "the operation names no page table");
	uint64_t state = state_of(t);
	struct at at = {.me = me, .t = t, .owner = owner_of(state), .type = fh_type(state),
	                .level = level_of(fh_type(state)), .op = fh_what_op(w), .index = fh_what_index(w),
	                .keep = w & FH_KEEP};
	if (!is_table(at.type))
		return REFUSE(EBUSY, "another CPU is changing the table");
	if (!authority(me, at.owner))
		return REFUSE(EPERM, "no authority over the table");
	unsigned end = at.index + count, limit = at.level == 4 ? FH_KERNEL_SLOT : 512;
	if (count == 0 || end > limit || at.op >= FH_NOPS || fh_what_status(w) || (w & WHAT_RESERVED) ||
	    (w & FH_FLUSH_MASK) == FH_FLUSH_MASK)
		return REFUSE(EINVAL, "count, index, opcode, flags or reserved bits out of range");
	bool clears = at.op == FH_OP_CLEAR || at.op == FH_OP_UNMAP_FREE || at.op == FH_OP_UNLINK_FREE;
	if (clears && entry_kind(&at, op->entry) != WORD)
		return REFUSE(EINVAL, "a cleared slot keeps a non-present word that names no frame");
	long n;
	*owner = at.owner;
	if (at.op == FH_OP_CLAIM || at.op == FH_OP_LINK_NEW)
		n = round_claim(&at, op, MIN(count, ROUND));
	else if (at.op == FH_OP_UNLINK_FREE)
		n = round_unlink(&at, op, &ad);
	else
		n = round_locked(&at, op, at.level == 2 ? 1 : MIN(count, ROUND), &ad);
	if (n < 0)
		return n;
	advance(op, n, ad);
	return 0;
}

static long flush(uint64_t what, pfn_t owner, va_t va)
{
	switch (what & FH_FLUSH_MASK) {
	case FH_FLUSH_ALL: return flush_owner(owner);
	case FH_FLUSH_LOCAL:
		if (va)
			mach_invlpg(va);
		else
			flush_local();
	}
	return 0;
}

long pt_set(pfn_t me, uint64_t what, pte_t entry, va_t va, pte_t *old)
{
	struct fh_op op = {what, entry};
	pfn_t owner;
	*old = 0;
	if (fh_what_count(what) != 1)
		return REFUSE(EINVAL, "pt_set works on one slot; use pt_update for more");
	if (!user_address(va))
		return REFUSE(EINVAL, "va is no user address");
	long r = pt_round(me, &op, &owner);
	if (r < 0)
		return r;
	*old = op.entry;
	r = flush(what, owner, va);
	return r < 0 ? r : (long)fh_what_status(op.what);
}

long pt_update(pfn_t me, struct fh_op *ops, uint64_t n, uint64_t *done)
{
	uint64_t work = 0, flushes = 0;
	pfn_t owner = me;
	long r = 0;
	bool stop = false;
	epoch_cpu[mach_cpu()].forced = 0;
	for (*done = 0; *done < n && !stop; ) {
		struct fh_op op = {atomic_get(&ops[*done].what), atomic_get(&ops[*done].entry)};
		uint64_t before = fh_what_count(op.what);
		pfn_t last = owner;
		if ((r = pt_round(me, &op, &owner)) < 0)
			break;
		atomic_set(&ops[*done].entry, op.entry);
		atomic_set(&ops[*done].what, op.what);
		if ((flushes & FH_FLUSH_ALL) && !same(last, owner))
			flush_owner(last);
		flushes |= op.what & FH_FLUSH_MASK;
		*done += fh_what_count(op.what) == 0;
		work += before - fh_what_count(op.what);
		stop = epoch_cpu[mach_cpu()].forced != 0;
		if (work >= ROUND && !stop) {
			work = 0;
			stop = mach_interrupt_pending();
		}
	}
	if (flushes & FH_FLUSH_ALL) {
		long f = flush_owner(owner);
		return r < 0 ? r : f;
	}
	if (flushes & FH_FLUSH_LOCAL)
		flush_local();
	return r;
}
