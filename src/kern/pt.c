/*
 * pt.c - page-table operations: pt_set and pt_update (DESIGN 3, 4).
 *
 * Locks: one table at a time, the one whose entries change, and nothing waits while holding it. Operations that claim
 * frames do so with no lock held, and lock last.
 */
#include "pt.h"
#include "epoch.h"
#include "pte.h"

/* What a run of slots came to. */
struct done {
	pte_t old;       /* the last old entry */
	uint64_t seen;   /* A and D of all old entries */
	bool kept;       /* something unmapped was not freed */
	int64_t present; /* entries gained or lost, but the self-map: settled at unlock */
	uint64_t freed;  /* frames of the table's owner that went back to FREE: likewise */
	uint64_t extra;  /* work beyond 1 for each slot */
	long error;      /* why the run stopped early */
};

/* Word by word: = {0} becomes a slower string instruction. */
static inline void done_nothing(struct done *d)
{
	d->old = d->seen = d->freed = d->extra = 0;
	d->present = d->error = 0;
	d->kept = false;
}

/* Spare bits of word 0: what earlier rounds of the same operation saw. */
#define SEEN_A (1ul << 27)
#define SEEN_D (1ul << 28)
#define SEEN_KEPT (1ul << 29)
#define RESERVED (3ul << 30 | 1ul << 7 | 31ul << 59)

static bool claims(unsigned op) { return op == FH_OP_CLAIM || op == FH_OP_LINK_NEW; }

/* The checks that every operation needs. */
static inline __attribute__((always_inline)) long decode(pfn_t me, uint64_t w, unsigned count, struct at *at)
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
		return fh_type(at->state) == FH_BUSY ? REFUSE(EBUSY, "another CPU is changing the table")
		                                     : REFUSE(EINVAL, "the operation names no page table");
	if (!authority(me, at->owner))
		return REFUSE(EPERM, "no authority over the table");
	unsigned limit = at->level == 4 ? FH_KERNEL_SLOT : 512;
	if (at->index + count > limit || count == 0 || at->op >= FH_NOPS || (w & RESERVED) ||
	    (w & FH_FLUSH_MASK) == FH_FLUSH_MASK)
		return REFUSE(EINVAL, "count, index, opcode, flags or reserved bits out of range");
	return 0;
}

/* A and D of an entry; a raw word has neither. */
static inline uint64_t seen_in(pte_t old) { return old & FH_P ? old & (FH_A | FH_D) : 0; }

/* Exchange a slot's entry and keep the count of present ones (the self-map is not counted). */
static inline pte_t NEEDS(a_record) replace(const struct at *at, struct done *d, unsigned index, pte_t e)
{
	pte_t old = atomic_swap(pte_at(at->t, index), e); /* [epoch 8] [link 1] */
	enum kind was = kind_of(at, old), is = kind_of(at, e);
	d->present += (is != WORD && is != SELF) - (was != WORD && was != SELF);
	d->old = old;
	d->seen |= seen_in(old);
	return old;
}

static inline void GIVES(a_record) settle(const struct at *at, const struct done *d)
{
	if (d->present)
		atomic_plus(&record(at->t)->link, (uint64_t)d->present);
	record_unlock(at->t);
	if (d->freed)
		env_return(at->owner, d->freed);
}

/* What isn't the caller's own costs walks of authority, up to 16 envs each: as much as this many slots more. */
#define FOREIGN 3u
static inline uint64_t extra(const struct at *at, pte_t e)
{
	return (e & FH_P) && !same(owner_of(state_of(entry_pfn(e))), at->me) ? FOREIGN : 0;
}

/* A look at the epochs of all CPUs is as much work as so many slots. */
#define QUIET ((ncpus + 6) / 8)

/* ---- Runs: slots of a locked table, from at->index on, n at most and that much work. Each returns how many it did; d->error says
 * what it stopped at ---- */

static uint64_t NEEDS(a_record) run_set(const struct at *at, uint64_t n, pte_t e, struct done *d)
{
	uint64_t i = 0, step = (e & FH_P) ? span(kind_of(at, e)) << 12 : 0;
	for (; i + d->extra < n; i++, e += step) {
		unsigned index = at->index + i;
		long kind = d->error = entry_kind(at, e);
		if (kind < 0)
			return i;
		enum kind was = kind_of(at, atomic_get(pte_at(at->t, index)));
		if ((kind == LARGE && was != WORD) || (was == LARGE && kind != WORD)) {
			d->error = REFUSE(EEXIST, "2 MiB entries go into and out of an empty slot: clear, flush, then set");
			return i;
		}
		if ((d->error = get_entry(at, e, kind, index)) < 0)
			return i;
		d->extra += extra(at, e);
		drop_entry(at, replace(at, d, index, e), index); /* [link 9] */
	}
	return i;
}

static uint64_t NEEDS(a_record) run_clear(const struct at *at, uint64_t n, pte_t e, struct done *d)
{
	for (uint64_t i = 0; i < n; i++)
		drop_entry(at, replace(at, d, at->index + i, e), at->index + i);
	return n;
}

/* Out of line and by value, so that the common case keeps `at` in registers. */
static __attribute__((noinline)) long widen(struct at at, pte_t old, pte_t new, struct done *d)
{
	if (d) /* one of a run */
		d->extra += extra(&at, old);
	return may_widen(&at, old, new);
}
static __attribute__((noinline)) void stamp_upper(struct at at, pte_t old) { stamp_entry(&at, old); }

/* PROTECT and NARROW of one slot: 0 and the old entry, or -errno. */
static inline __attribute__((always_inline)) long NEEDS(a_record) protect(const struct at at, pte_t *slot, pte_t e, pte_t *was,
                                                                          struct done *d)
{
	pte_t old = atomic_get(slot), new;
	do {
		if (!(old & FH_P))
			return REFUSE(ENOENT, "the slot holds no present entry");
		pte_t rights = at.op == FH_OP_NARROW ? (old & e & FH_W) | ((old | e) & FH_NX) : e & RIGHTS;
		new = (old & ~(RIGHTS | FH_AVL)) | rights | (e & FH_AVL);
		if ((old ^ new) & (old ^ FH_W) & RIGHTS) { /* W gained or NX lost */
			long r = widen(at, old, new, d);
			if (r < 0)
				return r;
		}
	} while (!atomic_cas(slot, &old, new));
	*was = old;
	if ((old ^ new) & (old ^ FH_NX) & RIGHTS) { /* W lost or NX gained */
		if (at.level == 1)
			stamp_now(entry_pfn(old));
		else
			stamp_upper(at, old);
	}
	return 0;
}

static uint64_t NEEDS(a_record) run_protect(const struct at *at, uint64_t n, pte_t e, struct done *d)
{
	pte_t *slot = pte_at(at->t, at->index), old = 0, seen = 0;
	const struct at here = *at;
	uint64_t i = 0;
	for (; i + d->extra < n && (d->error = protect(here, slot + i, e, &old, d)) == 0; i++)
		seen |= old;
	d->old = old;
	d->seen = seen & (FH_A | FH_D);
	return i;
}

/* READ, and HARVEST, which clears A and D. */
static uint64_t NEEDS(a_record) run_look(const struct at *at, uint64_t n, struct done *d)
{
	for (uint64_t i = 0; i < n; i++) {
		pte_t *slot = pte_at(at->t, at->index + i), old = atomic_get(slot);
		if (at->op == FH_OP_HARVEST && (old & FH_P)) {
			while (!atomic_cas(slot, &old, old & ~(FH_A | FH_D)))
				;
			if (old & FH_D)
				stamp_entry(at, old);
		}
		d->old = old;
		d->seen |= seen_in(old);
	}
	return n;
}

static inline void put_other(pfn_t f, struct done *d)
{
	if (!uncounted(fh_type(state_of(f))))
		ref_put(f);
	d->kept = true;
}

/* A leaf is gone: drop its reference to f; if that was the last, and f is the caller's, f becomes FREE. Not for the 512 of a
 * large page: that took too long. */
static __attribute__((noinline)) void free_other(const struct at *at, pfn_t f, struct done *d)
{
	uint64_t state = state_of(f);
	d->extra += FOREIGN;
	pfn_t owner = owner_of(state);
	if (state != make_state(FH_DATA, owner, 1) || !authority(at->me, owner) || !claim_exact(f, state)) {
		put_other(f, d);
		return;
	}
	frame_release(at->me, f, owner);
}

static uint64_t NEEDS(a_record) run_unmap(const struct at *at, uint64_t n, pte_t e, struct done *d)
{
	/* What nearly every record reads: DATA of the caller's own, with this one reference. */
	uint64_t usual = make_state(FH_DATA, at->owner, 1), name = env_name(at->owner);
	bool own = same(at->me, at->owner);
	uint64_t i = 0;
	for (; i + d->extra < n; i++) {
		enum kind k = kind_of(at, atomic_get(pte_at(at->t, at->index + i)));
		if (k == LINK || k == SELF) {
			d->error = REFUSE(EINVAL, "the slot holds a link, not a leaf");
			return i;
		}
		uint64_t first = fh_pte_pfn(replace(at, d, at->index + i, e));
		for (uint64_t j = 0; k != WORD && j < span(k); j++) {
			pfn_t f = pfn(first + j);
			stamp_now(f);
			if (!own || (k == LARGE && state_of(f) != usual) || !claim_exact(f, usual)) {
				k == LARGE ? put_other(f, d) : free_other(at, f, d);
				continue;
			}
			frame_poison(f);
			commit_free(f, name);
			d->freed++;
		}
	}
	return i;
}

/* Lock, run, settle. Slots done; 0 only with d->error. */
static inline __attribute__((always_inline)) uint64_t run(const struct at *at, uint64_t n, pte_t e, struct done *d)
{
	long r = record_lock(at->t, at->state); /* [link 10] */
	if (r != 0) {
		d->error = r;
		return 0;
	}
	switch (at->op) {
	case FH_OP_NARROW:
	case FH_OP_PROTECT: n = run_protect(at, n, e, d); break;
	case FH_OP_UNMAP_FREE: n = run_unmap(at, n, e, d); break;
	case FH_OP_SET: n = run_set(at, n, e, d); break;
	case FH_OP_CLEAR: n = run_clear(at, n, e, d); break;
	default: n = run_look(at, n, d);
	}
	settle(at, d);
	return n;
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
static long install_claimed(const struct at *at, pte_t e, uint64_t slots, uint64_t each, unsigned type, struct done *d)
{
	long r = record_lock(at->t, at->state); /* [lock 10] */
	if (r != 0)
		return r;
	if (!authority(at->me, at->owner))
		r = REFUSE(EPERM, "authority over the table was lost meanwhile");
	else if (empty_slots(at, slots) < slots)
		r = REFUSE(EEXIST, "the slot was filled meanwhile");
	for (uint64_t i = 0; r == 0 && i < slots; i++, e += each << 12) {
		for (uint64_t k = 0; k < each; k++)
			commit(pfn(fh_pte_pfn(e) + k), type, at->owner, 1);
		d->old = atomic_swap(pte_at(at->t, at->index + i), e); /* after the record: visible with its reference */
		d->present++;
	}
	settle(at, d);
	return r;
}

/* Up to n slots: how many were done, or -errno. */
static long claim_slots(const struct at *at, pte_t e, uint64_t n, bool keep, struct done *d)
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
	d->extra = QUIET; /* claim_quiet looks at all CPUs */
	long frames = claim_quiet(at->owner, first, slots * each, each); /* [lock 9] each or slots is 1 */
	if (frames < 0)
		return frames;
	for (long i = 0; i < frames; i++)
		scrub(pfn(first.n + i), at->owner, keep && !link);
	r = install_claimed(at, e, frames / each, each, link ? at->level + FH_PT1 - 2 : FH_DATA, d);
	if (r == 0)
		return frames / each;
	for (long i = 0; i < frames; i++)
		record(pfn(first.n + i))->tenant = 0; /* scrubbed: no longer the last owner's bytes */
	unclaim_run(first, frames);
	env_return(at->owner, frames);
	return r;
}

/* UNLINK_FREE, one slot: unlink under the lock, claim the child after it. 1 or -errno. */
static long unlink_slot(const struct at *at, pte_t e, struct done *d)
{
	long r = record_lock(at->t, at->state);
	if (r != 0)
		return r;
	pte_t old = d->old = atomic_get(pte_at(at->t, at->index));
	enum kind k = kind_of(at, old);
	if (k == LINK || k == WORD)
		replace(at, d, at->index, e);
	if (k == LINK)
		drop_child(at, entry_pfn(old), at->index);
	settle(at, d);
	if (k == WORD)
		return 1;
	if (k != LINK)
		return REFUSE(EINVAL, "the slot holds a leaf or the self-map, not a link");
	pfn_t c = entry_pfn(old), owner = owner_of(state_of(c));
	d->extra = extra(at, old);
	uint64_t idle = make_state(at->level + FH_PT1 - 2, owner, 0);
	bool claimed = table_empty(c) && authority(at->me, owner) && claim_exact(c, idle);
	d->kept = !claimed || !table_empty(c);
	if (!d->kept) {
		if (!same(at->me, owner))
			env_repossess(owner, c);
		commit_free(c, env_name(owner));
		env_return(owner, 1);
	} else if (claimed)
		atomic_set(&record(c)->state, idle);
	return 1;
}

long pt_unlinked(pfn_t t, pfn_t owner, pfn_t tenant)
{
	uint64_t link = linked_at(t); /* [link 19] */
	pfn_t by = owner_of(state_of(pfn(fh_link_parent(link))));
	return link == 0 || same(by, tenant) || authority(by, owner)
	           ? 0 : REFUSE(EBUSY, "another's table links it, a former tenant's perhaps: withdraw it");
}

/* The link word is read without a lock: it holds only once the lock of the parent it names does. Linking and unlinking
 * go under that lock too, so what it then names is there. */
long pt_unlink_foreign(pfn_t t, pfn_t owner)
{
	for (unsigned tries = 0; tries < 3; tries++) {
		uint64_t link = linked_at(t); /* [link 12] */
		if (link == 0)
			return 0;
		struct at at = {.t = pfn(fh_link_parent(link)), .op = FH_OP_CLEAR, .index = fh_link_index(link)};
		at.state = state_of(at.t) & ~FH_STATE_LOCK;
		at.owner = owner_of(at.state);
		at.level = level_of(fh_type(at.state));
		if (!is_table(fh_type(at.state)) || record_lock(at.t, at.state) != 0) /* [link 13] */
			continue;
		struct done d;
		done_nothing(&d);
		bool there = linked_at(t) == link; /* [link 14] then that entry's reference holds t, so it keeps its owner: */
		if (there && same(owner_of(state_of(t)), owner) && !authority(at.owner, owner)) /* [link 18] */
			run_clear(&at, 1, 0, &d);
		settle(&at, &d);
		if (there)
			return 0;
	}
	return REFUSE(EAGAIN, "the table that links it is being changed by another CPU");
}

/* Up to n slots, of a PT2 but one if they may hold large pages: how many were done, or -errno. */
static inline __attribute__((always_inline)) long some(const struct at *at, uint64_t n, pte_t e, bool keep, struct done *d)
{
	done_nothing(d);
	if (claims(at->op))
		return claim_slots(at, e, n, keep, d);
	if (at->op == FH_OP_UNLINK_FREE)
		return unlink_slot(at, e, d);
	long done = run(at, at->level == 2 ? 1 : n, e, d);
	return done ? done : d->error;
}

/* ---- pt_set: one slot, in registers ---- */

static __attribute__((noinline)) long set_other(struct at at, uint64_t what, pte_t entry, pte_t *old)
{
	struct done d;
	long r = some(&at, 1, entry, what & FH_KEEP, &d);
	*old = d.old;
	return r < 0 ? r : d.kept ? FH_OP_KEPT : FH_OP_DONE;
}

long pt_set(pfn_t me, uint64_t what, pte_t entry, va_t va, pte_t *old)
{
	struct at at;
	*old = 0;
	if (fh_what_count(what) != 1)
		return REFUSE(EINVAL, "pt_set works on one slot; use pt_update for more");
	long r = decode(me, what, 1, &at);
	if (r < 0)
		return r;
	if ((what & FH_FLUSH_LOCAL) && !user_address(va))
		return REFUSE(EINVAL, "va is no user address");
	if ((what & FH_FLUSH_ALL) && (r = flush_allowed()) < 0)
		return r;
	if (at.op == FH_OP_PROTECT || at.op == FH_OP_NARROW) {
		r = record_lock(at.t, at.state);
		if (r != 0)
			return r;
		r = protect(at, pte_at(at.t, at.index), entry, old, NULL);
		record_unlock(at.t);
		r = r < 0 ? r : FH_OP_DONE;
	} else if ((r = check_word(&at, entry)) == 0)
		r = set_other(at, what, entry, old);
	if (r < 0 || !(what & FH_FLUSH_MASK))
		return r;
	if (what & FH_FLUSH_ALL)
		flush_owner(at.owner);
	else if (va)
		mach_invlpg(va);
	else
		flush_local();
	return r;
}

/* ---- pt_update: rounds of many slots ---- */

/* `slots` more are done: advance in place; after the last one, results take the place of arguments. */
static void advance(const struct at *at, struct fh_op *op, uint64_t slots, const struct done *d)
{
	uint64_t w = op->what | (d->seen & FH_A ? SEEN_A : 0) | (d->seen & FH_D ? SEEN_D : 0) | (d->kept ? SEEN_KEPT : 0);
	w -= slots << 8;
	if (fh_what_count(w)) {
		bool moves = claims(at->op) || (at->op == FH_OP_SET && (op->entry & FH_P));
		op->entry += moves ? slots * span(kind_of(at, op->entry)) << 12 : 0;
		op->what = w + (slots << 18);
		return;
	}
	op->entry = d->old | (w & SEEN_A ? FH_A : 0) | (w & SEEN_D ? FH_D : 0);
	w |= (uint64_t)(w & SEEN_KEPT ? FH_OP_KEPT : FH_OP_DONE) << 59;
	op->what = w & ~(SEEN_A | SEEN_D | SEEN_KEPT);
}

long pt_round(pfn_t me, struct fh_op *op, pfn_t *owner, uint64_t *work)
{
	struct at at;
	uint64_t n = MIN(fh_what_count(op->what), ROUND - *work);
	long r = decode(me, op->what, fh_what_count(op->what), &at);
	if (r < 0 || (r = check_word(&at, op->entry)) < 0)
		return r;
	*owner = at.owner;
	struct done d;
	if (at.level == 2 && *work) { /* an entry of a PT2 may stand for 512 frames */
		*work = ROUND;
		return 0;
	}
	if ((r = some(&at, n, op->entry, op->what & FH_KEEP, &d)) < 0)
		return r;
	*work = at.level == 2 ? ROUND : *work + 1 + r + d.extra + (same(me, at.owner) ? 0 : FOREIGN);
	advance(&at, op, r, &d);
	return 0;
}

#define ROUNDS 64u /* in a call */

long pt_update(pfn_t me, struct fh_op *ops, uint64_t n, uint64_t *done)
{
	uint64_t work = 0, rounds = 0, flushes = 0;
	pfn_t flush = pfn(0), owner; /* flush: whose tables have been changed with FH_FLUSH_ALL */
	long r = 0;
	bool stop = false;
	epoch_cpu[mach_cpu()].forced = 0;
	for (*done = 0; *done < n && !stop;) {
		struct fh_op op = {atomic_get(&ops[*done].what), atomic_get(&ops[*done].entry)};
		uint64_t all = op.what & FH_FLUSH_ALL;
		if ((all && (r = flush_allowed()) < 0) || (r = pt_round(me, &op, &owner, &work)) < 0)
			break;
		atomic_set(&ops[*done].entry, op.entry);
		atomic_set(&ops[*done].what, op.what);
		flushes |= op.what & FH_FLUSH_MASK;
		if (all && !same(flush, owner)) {
			if (flush.n)
				flush_owner(flush);
			flush = owner;
		}
		*done += fh_what_count(op.what) == 0;
		stop = epoch_cpu[mach_cpu()].forced != 0;
		if (work >= ROUND && !stop) { /* the console's interrupts come by the PIC, and can't be seen: so not for ever */
			work = 0;
			stop = mach_interrupt_pending() || ++rounds == ROUNDS;
		}
	}
	if (flush.n)
		flush_owner(flush);
	else if (flushes)
		flush_local();
	return r;
}
