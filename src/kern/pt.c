/*
 * pt.c - page-table operations: pt_set and pt_update (DESIGN 3, 4).
 *
 * Locks: one table at a time, the one whose entries change, and nothing waits while holding it. Operations that claim
 * frames do so with no lock held, and lock last.
 */
#include "pt.h"
#include "epoch.h"
#include "pte.h"

/* What a locked table has gained and lost, settled at unlock. */
struct settle {
	int64_t present; /* entries, but the self-map */
	uint64_t freed;  /* frames of the table's owner that went back to FREE */
};

/* Spare bits of word 0: what earlier rounds of the same operation saw. */
#define SEEN_A (1ul << 27)
#define SEEN_D (1ul << 28)
#define SEEN_KEPT (1ul << 29)
#define RESERVED (3ul << 30 | 1ul << 7 | 31ul << 59)

static bool claims(unsigned op) { return op == FH_OP_CLAIM || op == FH_OP_LINK_NEW; }

/* The checks that every operation needs. */
static inline long decode(pfn_t me, uint64_t w, struct at *at)
{
	at->me = me;
	at->t = pfn(fh_what_table(w));
	at->op = fh_what_op(w);
	at->index = fh_what_index(w);
	if (at->t.n >= nframes)
		return REFUSE(EINVAL, "the operation names no page table");
	at->state = state_of(at->t) & ~FH_STATE_LOCK;
	at->owner = owner_of(at->state);
	at->level = level_of(fh_type(at->state));
	if (at->level - 1 > 3)
		return REFUSE(EINVAL, "the operation names no page table");
	if (!authority(me, at->owner))
		return REFUSE(EPERM, "no authority over the table");
	unsigned count = fh_what_count(w), limit = at->level == 4 ? FH_KERNEL_SLOT : 512;
	if (at->index + count > limit || count == 0 || at->op >= FH_NOPS || (w & RESERVED) ||
	    (w & FH_FLUSH_MASK) == FH_FLUSH_MASK)
		return REFUSE(EINVAL, "count, index, opcode, flags or reserved bits out of range");
	return 0;
}

/* Exchange a slot's entry and keep the count of present ones (the self-map is not counted). */
static inline pte_t replace(const struct at *at, struct settle *s, unsigned index, pte_t e)
{
	pte_t old = atomic_swap(pte_at(at->t, index), e);
	if ((old ^ e) & FH_P)
		s->present += kind_of(at, old | e | FH_P) == SELF ? 0 : e & FH_P ? 1 : -1;
	else if (old & FH_P)
		s->present += (kind_of(at, e) != SELF) - (kind_of(at, old) != SELF);
	return old;
}

static inline void settle(const struct at *at, const struct settle *s)
{
	if (s->present)
		atomic_plus(&record(at->t)->link, (uint64_t)s->present);
	table_unlock(at->t);
	if (s->freed)
		env_return(at->owner, s->freed);
}

/* ---- One slot of a locked table: FH_OP_DONE or FH_OP_KEPT and the old entry, or -errno ---- */

static long set_slot(const struct at *at, struct settle *s, unsigned index, pte_t e, pte_t *old)
{
	long kind = entry_kind(at, e);
	if (kind < 0)
		return kind;
	enum kind was = kind_of(at, atomic_get(pte_at(at->t, index)));
	if ((kind == LARGE && was != WORD) || (was == LARGE && kind != WORD))
		return REFUSE(EEXIST, "2 MiB entries go into and out of an empty slot: clear, flush, then set");
	long r = get_entry(at, e, kind, index);
	if (r < 0)
		return r;
	*old = replace(at, s, index, e);
	drop_entry(at, *old, index);
	return FH_OP_DONE;
}

static inline long protect_slot(const struct at *at, unsigned index, pte_t e, pte_t *seen)
{
	pte_t *slot = pte_at(at->t, index), old = atomic_get(slot), new;
	do {
		if (!(old & FH_P))
			return REFUSE(ENOENT, "the slot holds no present entry");
		pte_t rights = at->op == FH_OP_NARROW ? (old & e & FH_W) | ((old | e) & FH_NX) : e & RIGHTS;
		new = (old & ~(RIGHTS | FH_AVL)) | rights | (e & FH_AVL);
		if ((old ^ new) & (old ^ FH_W) & RIGHTS) { /* W gained or NX lost */
			long r = may_widen(at, old, new);
			if (r < 0)
				return r;
		}
	} while (!atomic_cas(slot, &old, new));
	*seen = old;
	if ((old ^ new) & (old ^ FH_NX) & RIGHTS) { /* W lost or NX gained */
		if (at->level == 1 && !uncounted(fh_type(state_of(entry_pfn(old)))))
			stamp_now(entry_pfn(old));
		else
			stamp_entry(at, old);
	}
	return FH_OP_DONE;
}

static long harvest_slot(const struct at *at, unsigned index, pte_t *seen)
{
	pte_t *slot = pte_at(at->t, index), old = atomic_get(slot);
	while ((old & FH_P) && !atomic_cas(slot, &old, old & ~(FH_A | FH_D)))
		;
	*seen = old;
	if ((old & FH_P) && (old & FH_D))
		stamp_entry(at, old);
	return FH_OP_DONE;
}

/* Drop the entry's reference to f; if it was the last, and f is the caller's, f is FREE. */
static inline bool free_mapped(const struct at *at, struct settle *s, pfn_t f)
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
		s->freed++;
	else
		env_return(owner, 1);
	return true;
}

static long unmap_slot(const struct at *at, struct settle *s, unsigned index, pte_t e, pte_t *old)
{
	enum kind k = kind_of(at, atomic_get(pte_at(at->t, index)));
	if (k == LINK || k == SELF)
		return REFUSE(EINVAL, "the slot holds a link, not a leaf");
	*old = replace(at, s, index, e);
	bool kept = false;
	for (uint64_t i = 0; k != WORD && i < span(k); i++)
		kept |= !free_mapped(at, s, pfn(fh_pte_pfn(*old) + i));
	return kept ? FH_OP_KEPT : FH_OP_DONE;
}

static inline long slot_op(const struct at *at, struct settle *s, unsigned index, pte_t e, pte_t *old)
{
	switch (at->op) {
	case FH_OP_NARROW:
	case FH_OP_PROTECT: return protect_slot(at, index, e, old);
	case FH_OP_SET: return set_slot(at, s, index, e, old);
	case FH_OP_UNMAP_FREE: return unmap_slot(at, s, index, e, old);
	case FH_OP_HARVEST: return harvest_slot(at, index, old);
	case FH_OP_CLEAR:
		*old = replace(at, s, index, e);
		drop_entry(at, *old, index);
		return FH_OP_DONE;
	}
	*old = atomic_get(pte_at(at->t, index)); /* READ */
	return FH_OP_DONE;
}

/* A cleared slot keeps a word of the libOS's: it must be one. */
static inline long check_word(const struct at *at, pte_t e)
{
	bool clears = at->op == FH_OP_CLEAR || at->op == FH_OP_UNMAP_FREE || at->op == FH_OP_UNLINK_FREE;
	if (clears && e != 0 && entry_kind(at, e) != WORD)
		return REFUSE(EINVAL, "a cleared slot keeps a non-present word that names no frame");
	return 0;
}

/* ---- CLAIM and LINK_NEW: reserve, claim, await, fill, and only then lock (DESIGN 4) ---- */

/* Are the next slots empty? How many, from the first. */
static uint64_t empty_slots(const struct at *at, uint64_t n)
{
	uint64_t i = 0;
	while (i < n && !(atomic_get(pte_at(at->t, at->index + i)) & FH_P))
		i++;
	return i;
}

/* Stages 4 and 5: the frames are BUSY, quiet and filled. */
static long install_claimed(const struct at *at, pte_t e, uint64_t slots, uint64_t each, unsigned type)
{
	struct settle s = {0};
	long r = table_lock(at->t, at->state);
	if (r < 0)
		return r;
	if (!authority(at->me, at->owner))
		r = REFUSE(EPERM, "authority over the table was lost meanwhile");
	else if (empty_slots(at, slots) < slots)
		r = REFUSE(EEXIST, "the slot was filled meanwhile");
	for (uint64_t i = 0; r == 0 && i < slots; i++, e += each << 12) {
		for (uint64_t k = 0; k < each; k++)
			commit(pfn(fh_pte_pfn(e) + k), type, at->owner, 1);
		atomic_set(pte_at(at->t, at->index + i), e); /* after the record: visible with its reference */
		s.present++;
	}
	settle(at, &s);
	return r;
}

/* Stages 1 to 3 for `slots` entries of `each` frames: how many frames are BUSY and quiet now, a multiple of each. */
static long claim_frames(const struct at *at, pfn_t first, uint64_t slots, uint64_t each)
{
	uint64_t stamp = 0;
	long reserved = env_reserve(at->owner, slots * each);
	if (reserved < 0)
		return reserved;
	uint64_t frames = claim_run(first, reserved, &stamp);
	long r;
	if ((uint64_t)reserved < each)
		r = REFUSE(EDQUOT, "the quota hasn't room for a large page");
	else if (frames < each)
		r = REFUSE(EBUSY, "the frame isn't FREE");
	else
		r = await_quiet(stamp);
	if (r < 0) {
		unclaim_run(first, frames);
		frames = 0;
	}
	if ((uint64_t)reserved != frames)
		env_return(at->owner, reserved - frames);
	return r < 0 ? r : (long)frames;
}

/* Up to n slots: how many were done, or -errno. */
static long claim_slots(const struct at *at, pte_t e, uint64_t n, bool keep)
{
	long kind = entry_kind(at, e), r;
	if (kind < 0)
		return kind;
	bool link = at->op == FH_OP_LINK_NEW;
	if (link ? kind != LINK : kind != LEAF && kind != LARGE)
		return REFUSE(EINVAL, "CLAIM makes leaves, LINK_NEW links");
	if (!link && at->level == 1 && (e & (FH_PWT | FH_PCD | FH_PAT)))
		return REFUSE(EINVAL, "RAM is mapped write-back: cache bits are for DEVICE frames");
	pfn_t first = entry_pfn(e);
	uint64_t each = span(kind), slots = empty_slots(at, kind == LARGE ? 1 : n);
	if (slots == 0)
		return REFUSE(EEXIST, "the slot already holds a present entry");
	slots = MIN(slots, (nframes - first.n) / each);
	if (slots == 0)
		return REFUSE(EINVAL, "the large page leaves the table");
	long frames = claim_frames(at, first, slots, each);
	if (frames < 0)
		return frames;
	for (long i = 0; i < frames; i++)
		scrub(pfn(first.n + i), at->owner, keep && !link);
	r = install_claimed(at, e, frames / each, each, link ? at->level + FH_PT1 - 2 : FH_DATA);
	if (r == 0)
		return frames / each;
	for (long i = 0; i < frames; i++)
		record(pfn(first.n + i))->tenant = 0; /* scrubbed: no longer the last owner's bytes */
	unclaim_run(first, frames);
	env_return(at->owner, frames);
	return r;
}

/* UNLINK_FREE, one slot: unlink under the lock, claim the child after it. */
static long unlink_slot(const struct at *at, pte_t e, pte_t *old)
{
	struct settle s = {0};
	long r = table_lock(at->t, at->state);
	if (r < 0)
		return r;
	*old = atomic_get(pte_at(at->t, at->index));
	enum kind k = kind_of(at, *old);
	if (k == LINK) {
		replace(at, &s, at->index, e);
		drop_child(at, entry_pfn(*old), at->index);
	}
	settle(at, &s);
	if (k == WORD)
		return FH_OP_DONE;
	if (k != LINK)
		return REFUSE(EINVAL, "the slot holds a leaf or the self-map, not a link");
	pfn_t c = entry_pfn(*old), owner = owner_of(state_of(c));
	uint64_t idle = make_state(at->level + FH_PT1 - 2, owner, 0);
	if (!authority(at->me, owner) || !claim_exact(c, idle))
		return FH_OP_KEPT;
	if (fh_count(atomic_get(&record(c)->link)) != 0) {
		atomic_set(&record(c)->state, idle);
		return FH_OP_KEPT;
	}
	commit_free(c, owner);
	env_return(owner, 1);
	return FH_OP_DONE;
}

/* ---- pt_set: one slot, in registers ---- */

static inline void flush_here(va_t va)
{
	if (va)
		mach_invlpg(va);
	else
		flush_local();
}

long pt_set(pfn_t me, uint64_t what, pte_t entry, va_t va, pte_t *old)
{
	struct at at;
	*old = 0;
	long r = decode(me, what, &at);
	if (r < 0 || (r = check_word(&at, entry)) < 0)
		return r;
	if (fh_what_count(what) != 1)
		return REFUSE(EINVAL, "pt_set works on one slot; use pt_update for more");
	if (!user_address(va))
		return REFUSE(EINVAL, "va is no user address");
	if (claims(at.op))
		r = claim_slots(&at, entry, 1, what & FH_KEEP); /* one: FH_OP_DONE */
	else if (at.op == FH_OP_UNLINK_FREE)
		r = unlink_slot(&at, entry, old);
	else if ((r = table_lock(at.t, at.state)) == 0) {
		struct settle s = {0};
		r = slot_op(&at, &s, at.index, entry, old);
		settle(&at, &s);
	}
	if (r < 0)
		return r;
	if (what & FH_FLUSH_LOCAL)
		flush_here(va);
	else if (what & FH_FLUSH_ALL) {
		long f = flush_owner(at.owner);
		return f < 0 ? f : r;
	}
	return r;
}

/* ---- pt_update: rounds of many slots ---- */

/* Slot by slot under one lock. Returns slots done, or -errno when none was. */
static long round_locked(const struct at *at, struct fh_op *op, uint64_t n, uint64_t *seen)
{
	struct settle s = {0};
	pte_t old = 0, e = op->entry;
	uint64_t i = 0, step = 0;
	long r = table_lock(at->t, at->state);
	if (r < 0)
		return r;
	if (at->op == FH_OP_SET && (e & FH_P))
		step = span(kind_of(at, e)) << 12;
	for (; i < n; i++, e += step) {
		if ((r = slot_op(at, &s, at->index + i, e, &old)) < 0)
			break;
		*seen |= (old & FH_A ? SEEN_A : 0) | (old & FH_D ? SEEN_D : 0) | (r == FH_OP_KEPT ? SEEN_KEPT : 0);
	}
	settle(at, &s);
	if (i == 0)
		return r;
	op->entry = i == fh_what_count(op->what) ? old : e;
	return i;
}

static long round_unlink(const struct at *at, struct fh_op *op, uint64_t *seen)
{
	pte_t old;
	long r = unlink_slot(at, op->entry, &old);
	if (r < 0)
		return r;
	*seen |= r == FH_OP_KEPT ? SEEN_KEPT : 0;
	if (fh_what_count(op->what) == 1)
		op->entry = old;
	return 1;
}

static long round_claim(const struct at *at, struct fh_op *op, uint64_t n)
{
	uint64_t step = span(kind_of(at, op->entry)) << 12;
	long r = claim_slots(at, op->entry, n, op->what & FH_KEEP);
	if (r > 0)
		op->entry = r == (long)fh_what_count(op->what) ? 0 : op->entry + r * step;
	return r;
}

/* `slots` more are done: advance in place; after the last one, results take the place of arguments. */
static void advance(struct fh_op *op, uint64_t slots, uint64_t seen)
{
	uint64_t w = (op->what | seen) - (slots << 8);
	if (fh_what_count(w)) {
		op->what = w + (slots << 18);
		return;
	}
	op->entry |= (w & SEEN_A ? FH_A : 0) | (w & SEEN_D ? FH_D : 0);
	w |= (uint64_t)(w & SEEN_KEPT ? FH_OP_KEPT : FH_OP_DONE) << 59;
	op->what = w & ~(SEEN_A | SEEN_D | SEEN_KEPT);
}

long pt_round(pfn_t me, struct fh_op *op, pfn_t *owner)
{
	struct at at;
	uint64_t seen = 0, n = MIN(fh_what_count(op->what), ROUND);
	long r = decode(me, op->what, &at);
	if (r < 0 || (r = check_word(&at, op->entry)) < 0)
		return r;
	*owner = at.owner;
	if (claims(at.op))
		r = round_claim(&at, op, n);
	else if (at.op == FH_OP_UNLINK_FREE)
		r = round_unlink(&at, op, &seen);
	else
		r = round_locked(&at, op, at.level == 2 ? 1 : n, &seen);
	if (r < 0)
		return r;
	advance(op, r, seen);
	return 0;
}

long pt_update(pfn_t me, struct fh_op *ops, uint64_t n, uint64_t *done)
{
	uint64_t work = 0, flushes = 0;
	pfn_t owner = me;
	long r = 0;
	bool stop = false;
	epoch_cpu[mach_cpu()].forced = 0;
	for (*done = 0; *done < n && !stop;) {
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
