/*
 * frame.c - the ownership table: claims, references, quota, authority; frame_alloc, frame_free, frame_retype.
 *
 * A frame leaves FREE, or changes between DATA and another type, only through BUSY: claimed at refs == 0, quiet on
 * every CPU (epoch.c), filled, committed. Each step is one LOCKed instruction or stores to a claimed record, so the
 * invariants of DESIGN 2 hold between any two. Locks: none.
 */
#include "frame.h"
#include "epoch.h"

#ifndef FRAME_TABLE
struct fh_frame *table;
#endif
uint64_t nframes;

/* ---- Authority and names ---- */

bool env_within(pfn_t e, pfn_t a)
{
	for (unsigned depth = 0; depth <= FH_ENV_DEPTH; depth++) {
		if (same(e, a))
			return true;
		pfn_t parent = owner_of(state_of(e)); /* [env 2] */
		if (same(parent, e) || parent.n == 0)
			return false;
		e = parent;
	}
	return false;
}

long env_lookup(pfn_t me, uint64_t name, pfn_t *env)
{
	if (name == 0) {
		*env = me;
		return 0;
	}
	pfn_t e = pfn(fh_name_pfn(name));
	if (e.n >= nframes || fh_type(state_of(e)) != FH_ENV) /* [env 3] */
		return REFUSE(ESRCH, "no ENV frame has this number");
	/* Its one stamp was taken when it died: the wait before its frame is reused doesn't cover a later look-up. In this
	 * order: one that was dead is seen dead, or its serial has gone; one made meanwhile stays for this call. */
	uint64_t serial = fh_name_serial(name), account = atomic_get(&env_at(e)->account); /* [env 4] */
	bool dead = (account & FH_ACCOUNT_DEAD) || fh_type(state_of(e)) != FH_ENV; /* [env 5] */
	if (serial != 0 && serial != atomic_get(&env_at(e)->serial)) /* [env 6] */
		return REFUSE(ESRCH, "the env of this name is gone; another lives in its frame");
	if (dead)
		return REFUSE(ECANCELED, "the env is dead");
	if (serial == 0 && !authority(me, e))
		return REFUSE(EPERM, "a name without a serial is only for the env's ancestors");
	*env = e;
	return 0;
}

/* ---- Quota: {owned, quota, dead, frozen} in one word ---- */

long env_reserve(pfn_t e, uint64_t n, uint64_t least)
{
	uint64_t *account = &env_at(e)->account, old = atomic_get(account), take;
	do {
		if (old & (FH_ACCOUNT_DEAD | FH_ACCOUNT_FROZEN))
			return REFUSE(ECANCELED, "the env that would own the frames is frozen or dead");
		uint64_t room = fh_quota(old) - fh_owned(old);
		if (room < least)
			return REFUSE(EDQUOT, "that is more frames than the env's quota allows");
		take = MIN(n, room);
	} while (!atomic_cas(account, &old, old + take));
	mach_count(FH_COUNT_ACCOUNTS);
	return take;
}

void env_return(pfn_t e, uint64_t n)
{
	if (n == 0)
		return;
	uint64_t old = atomic_minus(&env_at(e)->account, n);
	mach_count(FH_COUNT_ACCOUNTS);
	DEBUG_ASSERT(fh_owned(old) >= n, "an env returns more frames than it owned");
}

/* Add n to (or take it from) what an account may own; only the part not in use can be taken. */
static long quota_add(pfn_t e, int64_t n)
{
	uint64_t *account = &env_at(e)->account, old = atomic_get(account);
	do {
		int64_t quota = (int64_t)fh_quota(old) + n;
		if (n > 0 && (old & FH_ACCOUNT_DEAD))
			return REFUSE(ECANCELED, "a dead env takes no quota");
		if (quota < (int64_t)fh_owned(old) || quota > (int64_t)FH_ACCOUNT_MAX)
			return REFUSE(EDQUOT, "that much quota isn't free to move");
	} while (!atomic_cas(account, &old, old + ((uint64_t)n << 31)));
	return 0;
}

long env_move_quota(pfn_t e, int64_t n)
{
	pfn_t parent = owner_of(state_of(e));
	if (same(parent, e))
		return REFUSE(EPERM, "root has no parent to take quota from");
	if (n > (int64_t)FH_ACCOUNT_MAX || n < -(int64_t)FH_ACCOUNT_MAX)
		return REFUSE(EINVAL, "more quota than any env can have");
	pfn_t from = n >= 0 ? parent : e, to = n >= 0 ? e : parent;
	int64_t amount = n >= 0 ? n : -n;
	long r = quota_add(from, -amount);
	if (r < 0)
		return r;
	r = quota_add(to, amount);
	if (r < 0)
		quota_add(from, amount);
	return r;
}

void env_repossess(pfn_t e, pfn_t f)
{
	struct fh_env *env = env_at(e); /* it lives: it owns f */
	uint64_t seq = atomic_plus(&env->repossessed, 1ul);
	atomic_set(&env->repossession[seq % FH_REPOSSESSIONS], f.n | seq << 32);
}

/* ---- References ---- */

#define REFS_HEADROOM 1024u /* references that only the kernel takes: loaded roots, running threads */

long ref_get(pfn_t f, unsigned type, pfn_t owner)
{
	uint64_t *state = &record(f)->state, old = atomic_get(state);
	do {
		if (fh_type(old) != type || !same(owner_of(old), owner))
			return REFUSE(EBUSY, "the frame is being claimed, or has changed type or owner");
		if (fh_refs(old) >= FH_REFS_MAX - REFS_HEADROOM)
			return REFUSE(ENOSPC, "the frame has as many references as can be counted");
	} while (!atomic_cas(state, &old, old + FH_STATE_REF));
	return 0;
}

long ref_get_run(pfn_t first, uint64_t n, unsigned type, pfn_t owner)
{
	long r = 0;
	uint64_t got = 0;
	for (; got < n && (r = ref_get(pfn(first.n + got), type, owner)) == 0; got++)
		;
	for (; r < 0 && got > 0; got--)
		ref_put(pfn(first.n + got - 1));
	return r;
}

void ref_hold(pfn_t f)
{
	uint64_t old = atomic_plus(&record(f)->state, FH_STATE_REF);
	DEBUG_ASSERT(fh_refs(old) < FH_REFS_MAX && fh_type(old) != FH_FREE, "held frame");
}

void ref_drop(pfn_t f)
{
	stamp_now(f);
	ref_put(f);
}

/* ---- Claims ---- */

static uint64_t claim_run(pfn_t first, uint64_t n, uint64_t *stamp)
{
	uint64_t got = 0;
	for (; got < n && claim_exact(pfn(first.n + got), FH_FREE); got++)
		*stamp = MAX(*stamp, stamp_of(pfn(first.n + got)));
	return got;
}

void unclaim_run(pfn_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		atomic_set(&record(pfn(first.n + i))->state, (uint64_t)FH_FREE);
}

long claim_quiet(pfn_t e, pfn_t first, uint64_t n, uint64_t least)
{
	uint64_t stamp = 0;
	long reserved = env_reserve(e, n, least);
	if (reserved < 0)
		return reserved;
	uint64_t got = claim_run(first, reserved, &stamp);
	long r = got < least ? REFUSE(EBUSY, "the first frame isn't FREE") : await_quiet(stamp);
	if (r < 0) {
		unclaim_run(first, got); /* [epoch 19] */
		got = 0;
	}
	env_return(e, reserved - got);
	return r < 0 ? r : (long)got;
}

/* ---- System calls ---- */

long check_run(uint64_t *first, uint64_t n)
{
	if (n == 0 || *first >= nframes || n > nframes - *first)
		return REFUSE(EINVAL, "the run of frames is empty or leaves the table");
	*first = mach_index(*first, nframes);
	return 0;
}

long frame_alloc(pfn_t me, uint64_t first, uint64_t n, uint64_t name, uint64_t flags)
{
	pfn_t e;
	long r = check_run(&first, n);
	if (r == 0 && (flags & ~FH_ALLOC_KEEP))
		r = REFUSE(EINVAL, "unknown flag");
	if (r < 0 || (r = env_lookup(me, name, &e)) < 0)
		return r;
	if (!authority(me, e))
		return REFUSE(EPERM, "frames are claimed for oneself or a descendant");
	r = claim_quiet(e, pfn(first), MIN(n, ROUND), 1);
	for (long i = 0; i < r; i++) {
		scrub(pfn(first + i), e, flags & FH_ALLOC_KEEP);
		commit(pfn(first + i), FH_DATA, e, 0);
	}
	return r;
}

static long free_one(pfn_t me, pfn_t f)
{
	uint64_t state = state_of(f);
	pfn_t owner = owner_of(state); /* [env 1] */
	if (fh_type(state) == FH_FREE || fh_type(state) == FH_KERNEL || !authority(me, owner))
		return REFUSE(EPERM, "the frame isn't yours to free");
	if (fh_type(state) != FH_DATA)
		return REFUSE(EBUSY, "only a DATA frame is freed: retype it first");
	if (fh_refs(state) != 0)
		return REFUSE(EBUSY, "the frame is still mapped or pinned");
	if (!claim_exact(f, make_state(FH_DATA, owner, 0)))
		return REFUSE(EBUSY, "another CPU is changing the frame");
	frame_release(me, f, owner);
	return 0;
}

long frame_free(pfn_t me, uint64_t first, uint64_t n)
{
	long r = check_run(&first, n);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < MIN(n, ROUND); i++)
		if ((r = free_one(me, pfn(first + i))) < 0)
			return i ? (long)i : r;
	return MIN(n, ROUND);
}

/* ---- Retyping ---- */

static void thread_init(pfn_t t, uint64_t serial)
{
	struct fh_thread *thread = thread_at(t);
	thread->serial = serial;
	thread->fx[0] = 0x7f, thread->fx[1] = 0x03;   /* FCW 0x37f: SDM vol. 1, 8.1.5 */
	thread->fx[24] = 0x80, thread->fx[25] = 0x1f; /* MXCSR 0x1f80: SDM vol. 1, 10.2.3 */
}

static void thread_unpin(struct fh_thread *t)
{
	uint64_t pins[] = {t->root, t->upcall_root, t->upcall, t->batch};
	for (unsigned i = 0; i < 4; i++)
		if (pins[i])
			ref_drop(pfn(pins[i]));
}

static long retype_from_data(pfn_t f, unsigned type, uint64_t state)
{
	pfn_t owner = owner_of(state);
	if (type == FH_ENV && env_at(owner)->depth + 1 > FH_ENV_DEPTH)
		return REFUSE(ENOSPC, "the line of envs from root would be too long");
	if (!claim_exact(f, make_state(FH_DATA, owner, 0)))
		return REFUSE(EBUSY, "the frame is still mapped or pinned, or another CPU is changing it");
	long r = await_quiet(stamp_of(f));
	uint64_t serial = clock_now(); /* after the wait, which may have advanced it */
	if (r == 0 && (type == FH_ENV || type == FH_THREAD) && serial > FH_SERIAL_MAX)
		r = REFUSE(ENOSPC, "the clock has passed the last serial number");
	if (r < 0) {
		atomic_set(&record(f)->state, make_state(FH_DATA, owner, 0));
		return r;
	}
	frame_zero(f);
	if (type == FH_PT4)
		mach_fill_root(f);
	else if (type == FH_THREAD)
		thread_init(f, serial);
	else if (type == FH_ENV) {
		env_at(f)->serial = serial;
		env_at(f)->depth = env_at(owner)->depth + 1;
	}
	commit(f, type, owner, 0);
	return 0;
}

#define NOT_EMPTY REFUSE(ENOTEMPTY, "the env still owns frames")
#define NOT_EMPTY_TABLE REFUSE(ENOTEMPTY, "the table still has present entries")
#define NOT_STOPPED REFUSE(EBUSY, "the thread isn't stopped")

static bool is_stopped(pfn_t t)
{
	uint32_t run = atomic_get(&thread_at(t)->state);
	return run == FH_STOPPED || run == FH_FAULTED;
}

/* An env dies once it owns nothing: quota goes back to its parent, and nobody can give it any more. It is claimed: a second
 * CPU, finding it dead already, would free it before its quota is back and its stamp taken. */
static long env_die(pfn_t e)
{
	uint64_t *account = &env_at(e)->account, old = atomic_get(account);
	do {
		if (fh_owned(old) != 0)
			return NOT_EMPTY;
		if (old & FH_ACCOUNT_DEAD)
			return 0;
	} while (!atomic_cas(account, &old, FH_ACCOUNT_DEAD)); /* [env 8] */
	quota_add(owner_of(state_of(e)), fh_quota(old)); /* [env 9] */
	stamp_now(e); /* [env 10] once: whoever was walking through it is gone when this stamp is quiet */
	return 0;
}

static long retype_to_data(pfn_t f, uint64_t state)
{
	unsigned type = fh_type(state);
	pfn_t owner = owner_of(state);
	long r = 0;
	uint64_t idle = make_state(type, owner, 0);
	if (type == FH_ENV && same(owner, f))
		return REFUSE(EPERM, "root never dies");
	if (fh_refs(state) != 0)
		return REFUSE(EBUSY, "the frame is still mapped, linked, loaded or running");
	if (type == FH_ENV && fh_owned(atomic_get(&env_at(f)->account)) != 0) /* the usual case: without claiming it */
		return NOT_EMPTY;
	if (type == FH_THREAD && !is_stopped(f)) /* without claiming it: a ring, or the CPU that looks for it, would miss it */
		return NOT_STOPPED;
	if (is_table(type) && !table_empty(f)) /* without claiming it: who withdraws a window that it links would miss it */
		return NOT_EMPTY_TABLE;
	if (!claim_exact(f, idle)) /* [env 7] */
		return REFUSE(EBUSY, "another CPU is changing the frame, or has just referred to it");
	if (type == FH_ENV)
		r = env_die(f);
	if (is_table(type) && !table_empty(f))
		r = NOT_EMPTY_TABLE;
	if (type == FH_THREAD) {
		if (!is_stopped(f))
			r = NOT_STOPPED;
		stamp_max(f, thread_at(f)->serial); /* which must not come again in this frame */
	}
	if (r == 0)
		r = await_quiet(stamp_of(f)); /* [env 12] */
	if (r < 0) {
		atomic_set(&record(f)->state, idle); /* [env 11] */
		return r;
	}
	if (type == FH_THREAD)
		thread_unpin(thread_at(f));
	frame_zero(f);
	commit(f, FH_DATA, owner, 0);
	return 0;
}

long frame_retype(pfn_t me, uint64_t n, uint64_t type)
{
	if (n >= nframes)
		return REFUSE(EINVAL, "no such frame");
	pfn_t f = pfn(mach_index(n, nframes));
	uint64_t state = state_of(f);
	unsigned from = fh_type(state);
	bool made = type < FH_NTYPES && (is_table(type) || type == FH_ENV || type == FH_THREAD);
	if (!made && type != FH_DATA)
		return REFUSE(EINVAL, "a frame becomes DATA, a page table, an ENV or a THREAD");
	if (from == FH_FREE || from == FH_KERNEL || !authority(me, owner_of(state)))
		return REFUSE(EPERM, "the frame isn't yours to retype");
	if (made && from == FH_DATA)
		return retype_from_data(f, type, state);
	if (type == FH_DATA && (is_table(from) || from == FH_ENV || from == FH_THREAD))
		return retype_to_data(f, state);
	return REFUSE(EBUSY, "only DATA becomes something else, and everything else only DATA");
}
