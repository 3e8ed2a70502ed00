/*
 * grant.c - frame_grant, frame_take, frame_sync; a parent's request for frames.
 *
 * A grant is one word, the record's tenant: a window's tenant may link it (pte.c), a frame's tenant may own it. It is
 * written under the record's lock, so the frame keeps type and owner meanwhile, or while BUSY.
 * Locks: one record at a time; nothing waits for quiet while holding it.
 */
#include "grant.h"
#include "epoch.h"
#include "frame.h"
#include "pt.h"

static long grant(pfn_t me, pfn_t f, uint64_t state, uint64_t name)
{
	pfn_t to, owner = owner_of(state);
	long r = env_lookup(me, name, &to);
	if (r < 0)
		return r;
	if (same(to, owner))
		return REFUSE(EINVAL, "a frame isn't granted to its own owner");
	r = record_lock(f, state);
	if (r != 0)
		return r;
	if (record(f)->tenant != 0)
		r = REFUSE(EBUSY, "the frame is granted already: withdraw it first");
	else if (is_table(fh_type(state)) && (r = pt_unlinked(f, owner, to)) < 0)
		;
	else if (is_table(fh_type(state)) && !quiet(stamp_of(f))) /* [link 16] after that look: who unlinks stamps first */
		r = REFUSE(EAGAIN, "the table has just been unlinked somewhere");
	else {
		atomic_set(&record(f)->tenant, env_name(to)); /* [link 17] */
		if (!same(me, owner) && takeable(fh_type(state)))
			env_repossess(owner, f);
	}
	record_unlock(f);
	return r;
}

static long withdraw(pfn_t f, uint64_t state)
{
	long r = record_lock(f, state);
	if (r != 0)
		return r;
	atomic_swap(&record(f)->tenant, 0ul); /* [link 11] before the link is read: get_child goes the other way round */
	record_unlock(f);
	if (!is_table(fh_type(state)))
		return 0;
	r = pt_unlink_foreign(f, owner_of(state));
	return r < 0 ? r : await_quiet(stamp_of(f)); /* [link 15] the tenant may have unlinked it just before */
}

long frame_grant(pfn_t me, uint64_t n, uint64_t name)
{
	if (n >= nframes)
		return REFUSE(EINVAL, "no such frame");
	pfn_t f = pfn(mach_index(n, nframes));
	long r;
	/* A former tenant must not see what the next one is shown. First, because nothing checked outlasts a wait. */
	if (name && is_table(fh_type(state_of(f))) && (r = await_quiet(stamp_of(f))) < 0)
		return r;
	uint64_t state = state_of(f);
	if (!authority(me, owner_of(state)))
		return REFUSE(EPERM, "the frame isn't yours to grant");
	if (!grantable(fh_type(state)))
		return REFUSE(EBUSY, "only DATA, DEVICE, CPU, PT1 and PT2 frames are granted, and none that is being changed");
	return name ? grant(me, f, state, name) : withdraw(f, state);
}

/* ---- frame_take ---- */

#define NOT_GRANTED REFUSE(EPERM, "the frame is no DATA, DEVICE or CPU frame granted to the caller")

static bool granted(pfn_t f, unsigned type, uint64_t tenant)
{
	return takeable(type) && fh_type(state_of(f)) == type && atomic_get(&record(f)->tenant) == tenant;
}

static long claim_granted(pfn_t f, unsigned type, uint64_t tenant)
{
	uint64_t idle = make_state(type, owner_of(state_of(f)), 0);
	if (!granted(f, type, tenant))
		return NOT_GRANTED;
	if (!claim_exact(f, idle))
		return REFUSE(EBUSY, "the frame is still mapped or pinned, or another CPU is changing it");
	if (record(f)->tenant == tenant) /* and can't be withdrawn any more */
		return 0;
	atomic_set(&record(f)->state, idle);
	return NOT_GRANTED;
}

/* A CPU frame changes hands under its lock and is never BUSY: it may be mapped, uncounted, by anybody, and whoever unmaps
 * it must find its type. Nobody awaits quiet: no translation to it can write. */
static long take_cpu(pfn_t me, pfn_t f, uint64_t tenant)
{
	uint64_t state = state_of(f);
	if (!granted(f, FH_CPU, tenant))
		return NOT_GRANTED;
	long r = record_lock(f, state);
	if (r != 0)
		return r;
	if (record(f)->tenant == tenant) {
		atomic_set(&record(f)->tenant, 0ul);
		atomic_set(&record(f)->state, make_state(FH_CPU, me, 0) | FH_STATE_LOCK);
		env_return(owner_of(state), 1);
	} else
		r = NOT_GRANTED;
	record_unlock(f);
	return r;
}

/* The frames are BUSY, granted to me and counted as mine: they become mine when quiet, or go back. */
static long commit_taken(pfn_t me, unsigned type, uint64_t first, uint64_t n, uint64_t stamp)
{
	long r = await_quiet(stamp);
	for (uint64_t i = 0; i < n; i++) {
		pfn_t f = pfn(first + i), old = owner_of(state_of(f));
		if (r == 0) {
			commit(f, type, me, 0);
			env_return(old, 1);
		} else
			atomic_set(&record(f)->state, make_state(type, old, 0));
	}
	if (r < 0)
		env_return(me, n);
	return r;
}

long frame_take(pfn_t me, uint64_t first, uint64_t n)
{
	long r = check_run(&first, n);
	if (r < 0)
		return r;
	uint64_t tenant = env_name(me), stamp = 0, got = 0;
	unsigned type = fh_type(state_of(pfn(first)));
	if (type == FH_BUSY)
		return REFUSE(EBUSY, "another CPU is changing the frame");
	if (!granted(pfn(first), type, tenant))
		return NOT_GRANTED;
	long room = env_reserve(me, MIN(n, ROUND), 1);
	if (room < 0)
		return room;
	for (; got < (uint64_t)room; got++) {
		pfn_t f = pfn(first + got);
		r = type == FH_CPU ? take_cpu(me, f, tenant) : claim_granted(f, type, tenant);
		if (r < 0)
			break;
		stamp = MAX(stamp, stamp_of(f));
	}
	env_return(me, room - got);
	if (got && type != FH_CPU)
		r = commit_taken(me, type, first, got, stamp);
	else if (got)
		r = 0;
	return r < 0 ? r : (long)got;
}

/* ---- frame_sync ---- */

long frame_sync(uint64_t first, uint64_t n)
{
	uint64_t stamp = 0;
	long r = check_run(&first, n);
	if (r < 0)
		return r;
	n = MIN(n, ROUND);
	for (uint64_t i = 0; i < n; i++)
		stamp = MAX(stamp, stamp_of(pfn(first + i)));
	r = await_quiet(stamp);
	return r < 0 ? r : (long)n;
}

/* ---- Revocation ---- */

long env_revoke(pfn_t e, uint64_t n, uint64_t deadline)
{
	struct fh_env *env = env_at(e);
	long r = record_lock(e, make_state(FH_ENV, owner_of(state_of(e)), 0)); /* two ancestors may ask at once */
	if (r != 0)
		return r;
	atomic_set(&env->revoke_frames, n);
	atomic_set(&env->revoke_deadline, deadline);
	atomic_plus(&env->revoke_seq, 1ul);
	record_unlock(e);
	return 0;
}
