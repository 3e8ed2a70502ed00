/*
 * env.c - env_ctl. An ENV frame's account is one word, changed by CAS (frame.c), as are repossessions; a request for frames
 * is posted in grant.c; the rest is written here.
 */
#include "env.h"
#include "audit.h"
#include "epoch.h"
#include "frame.h"
#include "grant.h"
#include "smp.h"
#include "thread.h"

uint64_t console_reader;

static long set_caller(pfn_t me, pfn_t e, uint64_t index, uint64_t name)
{
	pfn_t caller;
	if (index >= FH_ENV_CALLERS)
		return REFUSE(EINVAL, "a doorbell list has 16 entries");
	if (name && fh_name_serial(name) == 0)
		return REFUSE(EINVAL, "a doorbell list holds names with their serials");
	long r = name ? env_lookup(me, name, &caller) : 0;
	if (r == 0)
		atomic_set(&env_at(e)->callers[mach_index(index, FH_ENV_CALLERS)], name);
	return r;
}

static long set_listener(pfn_t me, pfn_t e, uint64_t name)
{
	pfn_t t, owner;
	long r = name ? thread_get(me, name, &t, &owner) : 0;
	if (r == 0 && name) {
		r = authority(me, owner) ? 0 : REFUSE(EPERM, "a listener is a thread of one's own or of a descendant");
		name = thread_name(t);
		ref_put(t);
	}
	if (r == 0)
		atomic_set(&env_at(e)->listener, name);
	return r;
}

static long revoke(pfn_t e, uint64_t frames, uint64_t deadline)
{
	long r = env_revoke(e, frames, deadline);
	if (r == 0)
		ring_name(atomic_get(&env_at(e)->listener), FH_BELL_REVOKE);
	return r;
}

long env_ctl(pfn_t me, uint64_t name, uint64_t op, uint64_t arg, uint64_t arg2)
{
	pfn_t e;
	long r = env_lookup(me, name, &e);
	if (r < 0)
		return r;
	if (!authority(me, e))
		return REFUSE(EPERM, "no authority over the env");
	/* What decides over an env's life is its ancestors' to say. */
	bool above = authority(me, owner_of(state_of(e)));
	switch (op) {
	case FH_ENV_QUOTA:
		return above || (int64_t)arg < 0 ? env_move_quota(e, arg) : REFUSE(EPERM, "quota is the parent's to give");
	case FH_ENV_FREEZE:
		if (same(e, root_env))
			return REFUSE(EPERM, "root can't be frozen");
		atomic_or(&env_at(e)->account, FH_ACCOUNT_FROZEN);
		return 0;
	case FH_ENV_THAW:
		if (!above)
			return REFUSE(EPERM, "an env is thawed by an ancestor");
		atomic_and(&env_at(e)->account, ~FH_ACCOUNT_FROZEN);
		for (unsigned c = 0; c < ncpus; c++) /* its threads may be on any of them */
			wake(c);
		return 0;
	case FH_ENV_CALLER: return set_caller(me, e, arg, arg2);
	case FH_ENV_CONSOLE:
		if (!same(me, root_env))
			return REFUSE(EPERM, "only root says who reads the console");
		atomic_set(&console_reader, env_name(e));
		return 0;
	case FH_ENV_REVOKE:
		if (!above || same(me, e))
			return REFUSE(EPERM, "frames are asked back by an ancestor");
		return revoke(e, arg, arg2);
	case FH_ENV_LISTENER: return set_listener(me, e, arg);
#ifdef DEBUG
	case FH_ENV_AUDIT:
		if (!smp_stop_others())
			return REFUSE(EAGAIN, "another CPU audits just now");
		r = audit();
		smp_resume_others();
		return r;
#endif
	}
	return REFUSE(EINVAL, "unknown operation");
}
