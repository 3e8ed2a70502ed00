/*
 * thread.c - thread_write, thread_ctl, thread_switch, doorbells.
 *
 * A thread that another names is held by a counted reference for the length of the call, so its frame stays a THREAD.
 */
#include "thread.h"
#include "epoch.h"
#include "pt.h"

/* Is this a name of the caller's? */
static bool own_name(uint64_t name)
{
	const struct cpu *cpu = this_cpu();
	return name == 0 || name == cpu->thread_pfn.n || name == thread_name(cpu->thread_pfn);
}

long thread_get(pfn_t me, uint64_t name, pfn_t *t, pfn_t *owner)
{
	*t = pfn(fh_name_pfn(name));
	uint64_t state = t->n < nframes ? state_of(*t) : 0, serial = fh_name_serial(name);
	*owner = owner_of(state);
	if (fh_type(state) != FH_THREAD)
		return REFUSE(ESRCH, "no THREAD frame has this number");
	if (serial == 0 && !authority(me, *owner))
		return REFUSE(EPERM, "a name without a serial is only for those with authority over the thread");
	long r = ref_get(*t, FH_THREAD, *owner);
	if (r < 0)
		return r == -FH_EBUSY ? REFUSE(ESRCH, "the thread has just gone") : r;
	if (serial == 0 || serial == thread_at(*t)->serial)
		return 0;
	ref_put(*t);
	return REFUSE(ESRCH, "the thread of this name is gone; another lives in its frame");
}

bool thread_rung(const struct fh_thread *t)
{
	uint64_t bells = atomic_get(&t->bells);
	return bells && ((bells & atomic_get(&t->wait)) || (bells & upcall_open(t)));
}

void thread_ring(pfn_t p, uint64_t bits)
{
	struct fh_thread *t = thread_at(p);
	uint32_t sleeping = FH_SLEEPING;
	if (bits)
		atomic_or(&t->bells, bits); /* [wake 14] */
	/* [wake 3] [wake 4] */
	if (atomic_get(&t->state) == FH_SLEEPING && thread_rung(t) && atomic_cas(&t->state, &sleeping, (uint32_t)FH_READY))
		wake_for(p);
}

void ring_name(uint64_t name, uint64_t bits)
{
	pfn_t t, owner;
	if (fh_name_serial(name) == 0 || thread_get(pfn(0), name, &t, &owner) < 0)
		return;
	thread_ring(t, bits);
	ref_put(t);
}

void thread_stop_self(unsigned state)
{
	struct fh_thread *t = this_cpu()->thread;
	uint64_t keeper = t->keeper, bits = t->keeper_bits;
	leave(state);
	ring_name(keeper, bits);
}

/* Strangers ring only who lists them. */
static bool may_ring(pfn_t me, pfn_t owner)
{
	if (authority(me, owner))
		return true;
	for (unsigned i = 0; i < FH_ENV_CALLERS; i++)
		if (atomic_get(&env_at(owner)->callers[i]) == env_name(me))
			return true;
	return false;
}

/* ---- thread_write ---- */

/* Swap a pin, whose new reference is held. */
static void repin(uint64_t *pin, uint64_t to)
{
	uint64_t old = *pin;
	*pin = to;
	if (old)
		ref_drop(pfn(old));
}

static long pin(uint64_t n, unsigned type, pfn_t owner)
{
	if (n == 0)
		return 0;
	if (n >= nframes)
		return REFUSE(EINVAL, "no such frame");
	n = mach_index(n, nframes);
	uint64_t state = state_of(pfn(n));
	if (!same(owner_of(state), owner))
		return REFUSE(EPERM, "a thread's root, upcall and batch frames belong to its own env");
	if (fh_type(state) != type)
		return REFUSE(EBUSY, "a root is a PT4, upcall and batch frames are DATA");
	return ref_get(pfn(n), type, owner);
}

/* The keeper is rung later, by the kernel: the caller must be one who may ring it now. */
static long keeper_check(pfn_t me, uint64_t *name)
{
	pfn_t t, owner;
	long r = thread_get(me, *name, &t, &owner);
	if (r < 0)
		return r;
	if (!may_ring(me, owner))
		r = REFUSE(EPERM, "the keeper's env doesn't list the caller's");
	*name = thread_name(t);
	ref_put(t);
	return r;
}

static long write_check(const struct fh_thread_args *a, const struct fh_thread *t, bool self)
{
	if (a->fields & ~FH_SET_ALL)
		return REFUSE(EINVAL, "unknown field");
	if (self && (a->fields & FH_SET_REGS))
		return REFUSE(EBUSY, "a running thread's registers are its own");
	if ((a->fields & FH_SET_REGS) && !user_address(a->regs.rip))
		return REFUSE(EINVAL, "rip is no user address");
	if ((a->fields & FH_SET_BASES) && !(canonical(a->fs_base) && canonical(a->gs_base)))
		return REFUSE(EINVAL, "FS and GS base must be canonical");
	if (self && (a->fields & FH_SET_ROOT) && a->root == 0)
		return REFUSE(EINVAL, "a running thread needs a root");
	if (self && t->loaded != t->root && (a->fields & FH_SET_UPCALL_ROOT))
		return REFUSE(EBUSY, "the upcall root changes while on the thread's own root, not in an upcall on it");
	return 0;
}

/* All references the new values need; on failure none are held. */
static long write_pins(const struct fh_thread_args *a, pfn_t owner)
{
	const struct { uint64_t field, n; unsigned type; } pins[] = {
		{FH_SET_ROOT, a->root, FH_PT4}, {FH_SET_UPCALL_ROOT, a->upcall_root, FH_PT4},
		{FH_SET_UPCALL, a->upcall, FH_DATA}, {FH_SET_BATCH, a->batch, FH_DATA},
	};
	for (unsigned i = 0; i < 4; i++) {
		long r = a->fields & pins[i].field ? pin(pins[i].n, pins[i].type, owner) : 0;
		if (r == 0)
			continue;
		while (i-- > 0)
			if ((a->fields & pins[i].field) && pins[i].n)
				ref_put(pfn(pins[i].n));
		return r;
	}
	return 0;
}

static void write_commit(const struct fh_thread_args *a, pfn_t p, pfn_t owner, bool self)
{
	struct fh_thread *t = thread_at(p);
	if (a->fields & FH_SET_REGS)
		copy_words((uint64_t *)&t->regs, (const uint64_t *)&a->regs, sizeof t->regs / 8);
	if (a->fields & FH_SET_BASES)
		t->fs_base = a->fs_base, t->gs_base = a->gs_base;
	if (a->fields & FH_SET_UPCALL_ROOT)
		repin(&t->upcall_root, a->upcall_root);
	if (a->fields & FH_SET_ROOT) {
		if (self && t->loaded != t->upcall_root) /* onto the new root before the old one's reference goes */
			enter_root(t, a->root);
		repin(&t->root, a->root);
	}
	if (!self && (a->fields & (FH_SET_ROOT | FH_SET_UPCALL_ROOT)))
		t->loaded = t->root; /* out of an upcall on another root: the old one may be gone */
	if (a->fields & FH_SET_UPCALL) {
		repin(&t->upcall, a->upcall);
		struct fh_upcall *u = upcall_of(t);
		if (u)
			u->thread = thread_name(p), u->env = env_name(owner);
	}
	if (a->fields & FH_SET_BATCH)
		repin(&t->batch, a->batch);
	if (a->fields & FH_SET_KEEPER)
		t->keeper = a->keeper, t->keeper_bits = a->keeper_bits & FH_BELLS_USER;
	if (a->fields & FH_SET_NATIVE)
		t->native_lo = a->native_lo, t->native_hi = a->native_hi;
	if (self) {
		load_bases(t);
		dispatch_filter(t);
	}
}

/* STOPPED or FAULTED -> CHANGING; *was is the state to go back to. */
static bool take_stopped(uint32_t *state, uint32_t *was)
{
	*was = atomic_get(state);
	return (*was == FH_STOPPED || *was == FH_FAULTED) && atomic_cas(state, was, (uint32_t)FH_CHANGING);
}

long thread_write(pfn_t me, uint64_t name, const struct fh_thread_args *shared)
{
	struct fh_thread_args args;
	for (unsigned i = 0; i < sizeof args / 8; i++) /* user code may be changing it: once */
		((uint64_t *)&args)[i] = atomic_get((uint64_t *)shared + i);
	pfn_t t = this_cpu()->thread_pfn, owner = me;
	bool self = own_name(name);
	long r = self ? 0 : thread_get(me, name, &t, &owner);
	if (r < 0)
		return r;
	uint32_t *run = &thread_at(t)->state, state;
	if (!self && !authority(me, owner))
		r = REFUSE(EPERM, "no authority over the thread");
	else if (!self && !take_stopped(run, &state))
		r = REFUSE(EBUSY, "the thread is neither stopped nor the caller, or another CPU is changing it");
	else {
		if ((r = write_check(&args, thread_at(t), self)) == 0 &&
		    (!(args.fields & FH_SET_KEEPER) || !args.keeper || (r = keeper_check(me, &args.keeper)) == 0) &&
		    (r = write_pins(&args, owner)) == 0)
			write_commit(&args, t, owner, self);
		if (!self)
			atomic_set(run, state);
	}
	if (!self)
		ref_put(t);
	return r;
}

/* ---- thread_ctl ---- */

static long start(pfn_t p)
{
	struct fh_thread *t = thread_at(p);
	uint32_t state;
	if (!take_stopped(&t->state, &state))
		return REFUSE(EBUSY, "the thread isn't stopped, or another CPU is changing it");
	bool can = t->root != 0;
	if (can)
		t->stop = 0;
	atomic_swap(&t->state, can ? (uint32_t)FH_READY : state);
	wake_for(p);
	return can ? 0 : REFUSE(EINVAL, "the thread has no root to run on");
}

static long stop_other(pfn_t p, uint64_t status)
{
	struct fh_thread *t = thread_at(p);
	uint32_t state = atomic_get(&t->state);
	while (state != FH_RUNNING && state != FH_STOPPED && state != FH_CHANGING) {
		if (!atomic_cas(&t->state, &state, (uint32_t)FH_CHANGING))
			continue;
		uint64_t keeper = t->keeper, bits = t->keeper_bits;
		t->status = status;
		t->wait = t->deadline = 0;
		atomic_set(&t->state, (uint32_t)FH_STOPPED); /* from here on it may be changed and started */
		ring_name(keeper, bits);
		return 0;
	}
	if (state == FH_CHANGING)
		return REFUSE(EBUSY, "another CPU is changing the thread");
	if (state == FH_STOPPED)
		return 0;
	atomic_set(&t->stop_status, status);
	if (!atomic_swap(&t->stop, 1u))
		interrupt_cpu(atomic_get(&t->ran_on)); /* else it sees it at its next tick */
	return REFUSE(EBUSY, "the thread still runs: it stops at its CPU's next interrupt");
}

static long ctl_other(pfn_t me, uint64_t name, uint64_t op, uint64_t arg)
{
	pfn_t t, owner;
	long r = thread_get(me, name, &t, &owner);
	if (r < 0)
		return r;
	if (!authority(me, owner))
		r = REFUSE(EPERM, "no authority over the thread");
	else if (op == FH_THREAD_START)
		r = start(t);
	else if (op == FH_THREAD_STOP)
		r = stop_other(t, arg);
	else
		r = REFUSE(EINVAL, "start and stop are all one can do to another thread");
	ref_put(t);
	return r;
}

struct fh_regs *thread_ctl(struct fh_regs *regs, uint64_t name, uint64_t op, uint64_t arg)
{
	struct cpu *cpu = this_cpu();
	if (!own_name(name)) {
		regs->rax = ctl_other(cpu->env, name, op, arg);
		return regs;
	}
	long r;
	switch (op) {
	case FH_THREAD_STOP:
		regs->rax = 0;
		cpu->thread->status = arg;
		thread_stop_self(FH_STOPPED);
		return schedule();
	case FH_THREAD_RETURN:
		r = upcall_return(regs);
		if (r == 0)
			return return_checked(regs);
		break;
	case FH_THREAD_START: r = REFUSE(EBUSY, "the caller runs already"); break;
	default: r = REFUSE(EINVAL, "unknown operation");
	}
	regs->rax = r;
	return regs;
}

/* ---- thread_switch ---- */

/* Hold `to`, if the caller may ring it. */
static long get_callee(pfn_t me, uint64_t to, pfn_t *t, pfn_t *owner)
{
	long r = thread_get(me, to, t, owner);
	if (r < 0 || may_ring(me, *owner))
		return r;
	ref_put(*t);
	return REFUSE(EPERM, "the thread's env doesn't list the caller's");
}

/* The caller keeps running: nobody is switched to. */
static struct fh_regs *stay(struct fh_regs *regs, pfn_t callee, long result)
{
	if (callee.n)
		ref_put(callee);
	regs->rax = result;
	return regs;
}

struct fh_regs *thread_switch(struct fh_regs *regs, uint64_t to, uint64_t give, uint64_t mask, uint64_t deadline)
{
	struct cpu *cpu = this_cpu();
	struct fh_thread *t = cpu->thread;
	pfn_t self = cpu->thread_pfn, callee = pfn(0), owner = pfn(0);
	if (((give | mask) & ~FH_BELLS_USER) || (give && !to))
		return stay(regs, callee, REFUSE(EINVAL, "reserved bits, or bits for nobody"));
	if (to) {
		long r = get_callee(cpu->env, to, &callee, &owner);
		if (r < 0)
			return stay(regs, pfn(0), r);
		if (give)
			thread_ring(callee, give);
	}
	uint64_t taken = atomic_get(&t->bells) & mask;
	if (taken) {
		atomic_and(&t->bells, ~taken);
		return stay(regs, callee, taken);
	}
	if (deadline && deadline <= rdtsc())
		return stay(regs, callee, 0);
	regs->rax = 0;
	if (mask == 0 && deadline == 0) {
		leave(FH_READY);
		return switch_to(callee, owner);
	}
	t->wait = mask; /* [wake 12] */
	t->deadline = deadline ? deadline : ~0ul;
	ref_hold(self);
	leave(FH_SLEEPING); /* the context is saved: whoever rings now finds a sleeper */
	thread_ring(self, 0); /* [wake 13] and bits that came before are looked at again */
	ref_put(self);
	return switch_to(callee, owner);
}
