/*
 * frame.h - the ownership table: records, references, claims, accounts, authority, and three of the frame calls.
 *
 * Who guards what in a record:
 *   state    (A) any change is one compare-and-swap or add of the whole word
 *   link     (P) count: the table's own lock; index and parent: the parent's lock. Whole-word CAS or add.
 *   tenant   (B) written only while the frame is BUSY, or under the record's lock
 *   stamp    (A) bits 0-47 only grow, by CAS; bits 48-63 are the ticket lock, changed bytewise
 */
#pragma once
#include "types.h"
#include <mach.h>

#ifdef FRAME_TABLE /* the kernel: a constant address */
static struct fh_frame *const table = FRAME_TABLE;
#else
extern struct fh_frame *table;
#endif
extern uint64_t nframes;

/* The lock of a record. For clang -Wthread-safety all are one, because a CPU holds one at most. Never defined. */
extern struct LOCK_TYPE record_lock { char none; } a_record;

static inline struct fh_frame *record(pfn_t f) { return &table[f.n]; }
static inline uint64_t state_of(pfn_t f) { return atomic_get(&record(f)->state); }
static inline uint64_t make_state(unsigned type, pfn_t owner, uint64_t refs)
{
	return type | refs << 8 | owner.n << 32;
}
static inline bool table_empty(pfn_t t) { return fh_count(atomic_get(&record(t)->link)) == 0; }
static inline uint64_t stamp_of(pfn_t f) { return atomic_get(&record(f)->stamp) & FH_STAMP_MASK; }
static inline pfn_t owner_of(uint64_t state) { return pfn(fh_owner(state)); }
static inline bool is_table(unsigned type) { return type >= FH_PT1 && type <= FH_PT4; }
static inline unsigned level_of(unsigned type) { return type - FH_PT1 + 1; }
/* Of these the kernel holds no reference counts: they never change type or go away. */
static inline bool uncounted(unsigned type) { return type == FH_TABLE || type == FH_CPU; }

static inline struct fh_env *env_at(pfn_t e) { return frame_address(e); }
static inline struct fh_thread *thread_at(pfn_t t) { return frame_address(t); }
static inline uint64_t env_name(pfn_t e) { return fh_name(e.n, env_at(e)->serial); }

/* Is e the env `a` itself, or below it? Walks owners of ENV frames, at most FH_ENV_DEPTH steps. */
bool env_within(pfn_t e, pfn_t a);
/* Has env `me` authority over what `owner` owns? */
static inline bool authority(pfn_t me, pfn_t owner) { return same(me, owner) || env_within(owner, me); }

/* Does `name` name a living env? Serial 0 passes for callers with authority. 0, -ESRCH, -EPERM or -ECANCELED. */
long env_lookup(pfn_t me, uint64_t name, pfn_t *env);

/* Reserve up to n frames of e's quota: how many, or -EDQUOT when there aren't `least`, -ECANCELED. */
long env_reserve(pfn_t e, uint64_t n, uint64_t least);
/* n frames fewer are owned by e. */
void env_return(pfn_t e, uint64_t n);
/* Move n frames of quota (negative: back) from e's parent to e. */
long env_move_quota(pfn_t e, int64_t n);

/* Tell e, whose frame f still is, that an ancestor takes it: the repossession vector. */
void env_repossess(pfn_t e, pfn_t f);

/* Take one reference if the frame still has this type and owner; one of each of n frames, or none. 0, -EBUSY or -ENOSPC. */
long ref_get(pfn_t f, unsigned type, pfn_t owner);
long ref_get_run(pfn_t first, uint64_t n, unsigned type, pfn_t owner);
/* The kernel's own reference (a root being loaded, a thread being run): the caller knows that the frame is held. */
void ref_hold(pfn_t f);
static inline void ref_put(pfn_t f)
{
	uint64_t old = atomic_minus(&record(f)->state, FH_STATE_REF); /* [epoch 11] */
	DEBUG_ASSERT(fh_refs(old) > 0, "a reference is dropped that nobody took");
}
/* A mapping or pin is gone: stamp, then let go. In this order. */
void ref_drop(pfn_t f);

/* {type, owner, refs, unlocked} -> BUSY. False if the record is anything else by now. */
static inline bool claim_exact(pfn_t f, uint64_t state)
{
	/* The owner stays readable: authority walks pass through a claimed ENV. */
	return atomic_cas(&record(f)->state, &state, make_state(FH_BUSY, owner_of(state), 0)); /* [epoch 18] [lock 7] */
}
/* Claim FREE frames from `first` upward for e, at most n, as many as its quota has room for, up to the first that is not
 * FREE; fewer than `least` are refused. Returns how many: BUSY now, quiet, and counted as e's. */
long claim_quiet(pfn_t e, pfn_t first, uint64_t n, uint64_t least) WITHOUT(a_record);
/* They are FREE again; the quota is the caller's to return. */
void unclaim_run(pfn_t first, uint64_t n);
/* BUSY -> {type, owner, refs}. The frame is filled before. */
static inline void commit(pfn_t f, unsigned type, pfn_t owner, uint64_t refs)
{
	DEBUG_ASSERT(fh_type(state_of(f)) == FH_BUSY, "only a claimed frame is committed");
	record(f)->tenant = 0;
	atomic_set(&record(f)->link, 0ul);
	atomic_set(&record(f)->state, make_state(type, owner, refs)); /* [epoch 20] [lock 8] [env 15] */
}
/* A claimed frame becomes FREE; its last owner's name is remembered. The quota is the caller's to return. */
static inline void commit_free(pfn_t f, uint64_t last_owner)
{
	DEBUG_ASSERT(fh_type(state_of(f)) == FH_BUSY, "only a claimed frame is freed");
	record(f)->tenant = last_owner;
	atomic_set(&record(f)->link, 0ul);
	atomic_set(&record(f)->state, (uint64_t)FH_FREE); /* [env 13] */
}
/* me gives a claimed DATA frame back: poisoned in debug builds, FREE, the quota returned. */
static inline void frame_release(pfn_t me, pfn_t f, pfn_t owner)
{
	if (!same(me, owner))
		env_repossess(owner, f);
	frame_poison(f);
	commit_free(f, env_name(owner));
	env_return(owner, 1); /* [env 14] */
}
/* Zero a frame just claimed from FREE, unless `keep` and env was its last owner. */
static inline void scrub(pfn_t f, pfn_t env, bool keep)
{
	if (!keep || record(f)->tenant != env_name(env))
		frame_zero(f);
}

/* ---- Record locks: a ticket in the stamp word, then the lock bit in the state word ---- */

static inline uint8_t *ticket_next(pfn_t t) { return (uint8_t *)&record(t)->stamp + 6; }
static inline uint8_t *ticket_serving(pfn_t t) { return (uint8_t *)&record(t)->stamp + 7; }
static inline void ticket_pass(pfn_t t)
{
	uint8_t *serving = ticket_serving(t);
	atomic_set(serving, (uint8_t)(*serving + 1));
}

/*
 * Lock a record if it still has the type and owner that `state` shows: 0 or -EBUSY. A table's lock guards its entries;
 * of any frame it guards the tenant. A locked frame can't be claimed; references come and go. A CPU holds one lock at a
 * time, and waits for nothing meanwhile.
 */
static inline long MAY_TAKE(a_record) UNCHECKED record_lock(pfn_t t, uint64_t state)
{
	uint8_t mine = atomic_plus(ticket_next(t), (uint8_t)1); /* [lock 1] */
	mach_count(FH_COUNT_LOCKS);
	while (atomic_get(ticket_serving(t)) != mine) { /* [lock 2] */
		mach_count(FH_COUNT_LOCK_SPINS);
		mach_pause();
	}
	uint64_t old = state;
	while (!atomic_cas(&record(t)->state, &old, old | FH_STATE_LOCK)) { /* [lock 3] */
		DEBUG_ASSERT(!(old & FH_STATE_LOCK), "the ticket holder finds the lock free");
		if (fh_type(old) != fh_type(state) || fh_owner(old) != fh_owner(state)) {
			ticket_pass(t); /* [lock 4] */
			return REFUSE(EBUSY, "the frame is being claimed, or has changed type or owner");
		}
	}
	return 0;
}

static inline void GIVES(a_record) UNCHECKED record_unlock(pfn_t t)
{
	DEBUG_ASSERT(state_of(t) & FH_STATE_LOCK, "unlocked by its holder");
	atomic_minus(&record(t)->state, FH_STATE_LOCK); /* [lock 5] */
	ticket_pass(t); /* [lock 6] */
}

#define ROUND 64u /* frames or slots handled between interrupt checks */

/* Is this a run of frames in the table? 0 or -EINVAL. *first can be used as an index then. */
long check_run(uint64_t *first, uint64_t n);
long frame_alloc(pfn_t me, uint64_t first, uint64_t n, uint64_t env, uint64_t flags);
long frame_free(pfn_t me, uint64_t first, uint64_t n);
long frame_retype(pfn_t me, uint64_t f, uint64_t type);
