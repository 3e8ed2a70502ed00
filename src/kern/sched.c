/*
 * sched.c - slices: each CPU frame holds a vector of weak thread names, and the timer walks it. No priorities, no run
 * queue, no policy: whoever owns the CPU frame fills the vector.
 */
#include "console.h"
#include "epoch.h"
#include "lapic.h"
#include "pt.h"
#include "thread.h"

#define MSR_FS_BASE 0xc0000100
#define MSR_KERNEL_GS_BASE 0xc0000102 /* the user's while in the kernel */

void enter_root(struct fh_thread *t, uint64_t root)
{
	t->loaded = root;
	load_root(pfn(root));
	dispatch_filter(t);
}

void dispatch_filter(struct fh_thread *t)
{
	this_cpu()->fast_calls = off_upcall_root(t) || t->native_hi ? 0 : FH_NSYSCALLS - SLOW_CALLS;
}

void load_bases(const struct fh_thread *t)
{
	wrmsr(MSR_FS_BASE, t->fs_base);
	wrmsr(MSR_KERNEL_GS_BASE, t->gs_base);
}

/* Make t, won by CAS and held, the running thread. */
static void enter(pfn_t p, pfn_t owner)
{
	struct cpu *cpu = this_cpu();
	struct fh_thread *t = thread_at(p);
	struct fh_upcall *u = upcall_of(t);
	cpu->thread = t;
	cpu->thread_pfn = p;
	cpu->env = owner;
	cpu->tss.rsp0 = (uint64_t)(&t->regs + 1);
	cpu->frame->thread = thread_name(p);
	if (u)
		atomic_set(&u->cpu, (uint64_t)cpu->id);
	/* Elsewhere it may have flushed what this CPU still has in its TLB: FH_FLUSH_LOCAL goes with the thread. */
	if (t->loaded != epoch_cpu[cpu->id].root.n || t->ran_on != cpu->id + 1ul)
		load_root(pfn(t->loaded));
	t->ran_on = cpu->id + 1ul;
	dispatch_filter(t);
	fx_restore(t->fx);
	clear_selectors();
	load_bases(t);
	if (t->deadline) { /* it slept in thread_switch: the result is the bits it waited for */
		uint64_t taken = atomic_and(&t->bells, ~t->wait) & t->wait;
		bool finished = taken || t->deadline <= rdtsc();
		t->regs.rax = finished ? (long)taken : -(long)FH_EINTR;
		t->wait = t->deadline = 0;
	}
}

void wake(unsigned cpu)
{
	uint32_t *idle = &epoch_cpu[cpu].idle;
	if (atomic_get(idle) && atomic_swap(idle, 0u)) /* [wake 1] [wake 2] one interrupt is enough */
		lapic_resched_ipi(cpu);
}

static bool in_slices(unsigned cpu, uint64_t name)
{
	const struct fh_cpu *frame = cpu_at(cpu)->frame;
	for (uint64_t i = 0; i < atomic_get(&frame->nslices); i++)
		if (atomic_get(&frame->slice[i]) == name)
			return true;
	return false;
}

void wake_for(pfn_t p)
{
	struct fh_thread *t = thread_at(p);
	uint64_t home = atomic_get(&t->home), slot = atomic_get(&t->home_slot), name = thread_name(p), other = 0;
	/* [wake 6] Mostly where it was put last: then nothing is searched. */
	if (home < ncpus && (atomic_get(&cpu_at(home)->frame->slice[slot]) == name || in_slices(home, name))) {
		wake(home);
		return;
	}
	while (other < ncpus && !in_slices(other, name)) /* [wake 19] */
		other++; /* once: then it has another home, or, until it is put somewhere, none */
	if (atomic_cas(&t->home, &home, other) && other < ncpus)
		wake(other);
}

void interrupt_cpu(uint64_t ran_on)
{
	if (ran_on && ran_on != mach_cpu() + 1ul)
		lapic_resched_ipi(ran_on - 1);
}

void leave(unsigned state)
{
	struct cpu *cpu = this_cpu();
	struct fh_thread *t = cpu->thread;
	bool later = state == FH_READY || (state == FH_SLEEPING && t->deadline != ~0ul);
	fx_save(t->fx);
	cpu->frame->count[FH_COUNT_CALLS] = cpu->calls;
	cpu->thread = NULL;
	cpu->frame->thread = 0;
	/* From here on any CPU may run it. LOCKed: visible before slices are read, and before thread_switch looks at the bells
	 * again. cpu_slice goes the other way round: one of the two wakes the CPU that it moves to meanwhile. */
	atomic_swap(&t->state, (uint32_t)state); /* [wake 5] [root 11] */
	/* [wake 7] If it ran here by somebody's gift, its own CPU goes on with it, or watches its deadline. */
	if (later && atomic_get(&cpu->frame->slice[cpu->slot]) != thread_name(cpu->thread_pfn))
		wake_for(cpu->thread_pfn);
	ref_put(cpu->thread_pfn);
}

/* Run t, which the caller holds, if it can run: then the reference is the running one. */
static bool dispatch(pfn_t p, pfn_t owner)
{
	struct fh_thread *t = thread_at(p);
	uint32_t state = atomic_get(&t->state); /* [wake 8] */
	bool ready = state == FH_READY || (state == FH_SLEEPING && atomic_get(&t->deadline) <= rdtsc());
	if (!ready || (atomic_get(&env_at(owner)->account) & FH_ACCOUNT_FROZEN) ||
	    !atomic_cas(&t->state, &state, (uint32_t)FH_RUNNING)) /* [root 10] */
		return false;
	/* [wake 17] What was seen of it, here or by who rang it, was an earlier sleep. */
	if (t->deadline > rdtsc() && !thread_rung(t)) {
		atomic_swap(&t->state, (uint32_t)FH_SLEEPING); /* [wake 18] */
		thread_ring(p, 0); /* those who rang meanwhile found no sleeper, */
		wake_for(p);       /* and its own CPU none to watch */
		return false;
	}
	enter(p, owner);
	return true;
}

static bool dispatch_name(uint64_t name)
{
	pfn_t p, owner;
	if (name == 0 || thread_get(root_env, name, &p, &owner) < 0)
		return false;
	if (dispatch(p, owner))
		return true;
	ref_put(p);
	return false;
}

/* A slice ends by time, however often its threads hand it on: then the clock ticks, and the timer is set anew. */
static void keep_time(struct cpu *cpu)
{
	uint64_t now = rdtsc(), slice = SLICE_MS * info->tsc_khz;
	if (now >= cpu->slice_end) {
		epoch_tick();
		cpu->slice_end = now + slice;
		lapic_timer_after(slice);
	} else if (cpu->timer_used)
		lapic_timer_after(cpu->slice_end - now);
	cpu->timer_used = false;
}

/* The running thread is about to return to user mode. False: it can't (no canonical rip, no handler), and has stopped. */
static bool ready_to_return(void)
{
	struct fh_thread *t = this_cpu()->thread;
	sanitize(&t->regs);
	if (!canonical(t->regs.rip) && !upcall_enter(&t->regs, VECTOR_GP, 0, 0)) {
		fault_running(0);
		return false;
	}
	upcall_bells(&t->regs);
	return true;
}

/* Walk the vector once, from the slot after the current one, to a thread that can run and return. */
static bool next_slice(void)
{
	struct cpu *cpu = this_cpu();
	uint64_t n = atomic_get(&cpu->frame->nslices), from = cpu->slot;
	for (uint64_t i = 1; i <= n; i++) {
		unsigned slot = (from + i) % n;
		if (!dispatch_name(atomic_get(&cpu->frame->slice[slot])))
			continue;
		cpu->slot = slot;
		cpu->frame->ticks++;
		if (upcall_open(cpu->thread) & FH_BELL_SLICE)
			atomic_or(&cpu->thread->bells, FH_BELL_SLICE);
		keep_time(cpu);
		if (ready_to_return())
			return true;
	}
	return false;
}

/* Earliest deadline of a sleeper in the vector; ~0 if there is none. */
static uint64_t earliest_deadline(const struct fh_cpu *frame)
{
	uint64_t earliest = ~0ul;
	for (uint64_t i = 0; i < atomic_get(&frame->nslices); i++) {
		pfn_t p, owner;
		uint64_t name = atomic_get(&frame->slice[i]);
		if (name == 0 || thread_get(root_env, name, &p, &owner) < 0)
			continue;
		bool frozen = atomic_get(&env_at(owner)->account) & FH_ACCOUNT_FROZEN;
		if (!frozen && atomic_get(&thread_at(p)->state) == FH_SLEEPING && atomic_get(&thread_at(p)->deadline) < earliest)
			earliest = atomic_get(&thread_at(p)->deadline);
		ref_put(p);
	}
	return earliest;
}

struct fh_regs *schedule(void)
{
	struct cpu *cpu = this_cpu();
	uint32_t *idle = &epoch_cpu[cpu->id].idle;
	bool found = next_slice();
	if (!found) {
		atomic_swap(idle, 1u); /* [wake 9] say so first, then look again: wake() isn't missed */
		found = next_slice();  /* no third time, or others could keep it here: wake() interrupts the halt */
	}
	if (found) {
		atomic_set(idle, 0u);
		return &cpu->thread->regs;
	}
	uint64_t deadline = earliest_deadline(cpu->frame), now = rdtsc();
	cpu->frame->idle++;
	if (cpu->id == 0)
		console_refresh();
	epoch_enter_idle();
	cpu->timer_used = true;
	if (deadline != ~0ul)
		lapic_timer_after(deadline > now ? deadline - now : 1);
	wait_idle();
}

struct fh_regs *switch_to(pfn_t to, pfn_t owner)
{
	if (to.n && dispatch(to, owner))
		return ready_to_return() ? &this_cpu()->thread->regs : schedule();
	if (to.n)
		ref_put(to);
	return schedule();
}

struct fh_regs *sched_tick(void)
{
	struct cpu *cpu = this_cpu();
	if (!cpu->timer_used) /* else it was for a sleeper: that begins no new slice, with new flushes to spend */
		cpu->slice_end = 0;
	if (cpu->id == 0)
		console_refresh();
	if (cpu->thread)
		leave(FH_READY);
	return schedule();
}

struct fh_regs *sched_stop(void)
{
	struct fh_thread *t = this_cpu()->thread;
	t->status = t->stop_status;
	thread_stop_self(FH_STOPPED);
	return schedule();
}

long cpu_slice(pfn_t me, uint64_t n, uint64_t slot, uint64_t name)
{
	if (n >= nframes || fh_type(state_of(pfn(n))) != FH_CPU || slot >= FH_CPU_SLICES)
		return REFUSE(EINVAL, "no such CPU or slot");
	struct fh_cpu *frame = frame_address(pfn(n));
	uint64_t state = state_of(pfn(n));
	bool owner = authority(me, owner_of(state));
	uint64_t old = atomic_get(&frame->slice[slot]);
	pfn_t t, of;
	long r = owner ? 0 : thread_get(me, old, &t, &of);
	if (!owner && r == 0) {
		r = authority(me, of) ? 0 : REFUSE(EPERM, "the slot is a stranger's");
		ref_put(t);
	}
	if (r < 0)
		return r == -FH_ESRCH ? REFUSE(EPERM, "an empty slot is filled by the CPU's owner") : r;
	if (name) {
		if ((r = thread_get(me, name, &t, &of)) < 0)
			return r;
		r = authority(me, of) ? 0 : REFUSE(EPERM, "a slice goes to a thread of one's own or of a descendant");
		name = thread_name(t);
	}
	if (r == 0) {
		r = record_lock(pfn(n), state); /* the CPU isn't taken from its owner meanwhile */
		if (r == 0) {
			if (!atomic_cas(&frame->slice[slot], &old, name)) /* [wake 15] */
				r = REFUSE(EBUSY, "another CPU has just changed the slot");
			record_unlock(pfn(n));
		}
	}
	if (r == 0 && name) {
		uint64_t count = atomic_get(&frame->nslices);
		while (count <= slot && !atomic_cas(&frame->nslices, &count, slot + 1))
			;
		atomic_set(&thread_at(t)->home_slot, slot);
		atomic_swap(&thread_at(t)->home, frame->id); /* [wake 16] LOCKed: before wake looks whether the CPU idles */
		wake(frame->id);
	}
	if (name)
		ref_put(t);
	/* [wake 20] The one that was there may be ready, and woken here in vain. */
	if (r == 0 && old && old != name && thread_get(root_env, old, &t, &of) == 0) {
		wake_for(t);
		ref_put(t);
	}
	return r;
}
