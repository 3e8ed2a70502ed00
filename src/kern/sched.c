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

static bool in_slices(const struct fh_thread *t, uint64_t cpu)
{
	return cpu < ncpus && atomic_get(&t->cpus[cpu / 64]) >> cpu % 64 & 1;
}

void wake_for(pfn_t p)
{
	struct fh_thread *t = thread_at(p);
	uint64_t home = atomic_get(&t->home), cpu = home;
	if (!in_slices(t, home)) { /* [wake 6] */
		for (cpu = 0; cpu < ncpus && !in_slices(t, cpu); cpu += atomic_get(&t->cpus[cpu / 64]) >> cpu % 64 ? 1 : 64 - cpu % 64)
			; /* [wake 19] */
		cpu = MIN(cpu, ncpus);
		atomic_cas(&t->home, &home, cpu); /* once: else it has another home, which may have lost it, too: this CPU is woken */
	}
	if (cpu < ncpus)
		wake(cpu);
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
	if (thread_get(root_env, name, &p, &owner) < 0)
		return false;
	if (dispatch(p, owner))
		return true;
	ref_put(p);
	return false;
}

/* When may the thread in a slot run? 0: now, ~0: nobody knows. It isn't held: what is read is a hint, and means nothing if it
 * has just gone. 30 instructions, because a walk is up to 256 slots long. */
static inline uint64_t ready_at(uint64_t name)
{
	pfn_t p = pfn(fh_name_pfn(name));
	uint64_t state = state_of(p);
	const struct fh_thread *t = thread_at(p);
	if (fh_type(state) != FH_THREAD || t->serial != fh_name_serial(name))
		return ~0ul;
	uint32_t run = atomic_get(&t->state);
	if ((run != FH_READY && run != FH_SLEEPING) || (atomic_get(&env_at(owner_of(state))->account) & FH_ACCOUNT_FROZEN))
		return ~0ul;
	return run == FH_READY ? 0 : atomic_get(&t->deadline);
}

/* A slice ends by time, however often its threads hand it on: then the clock ticks, and the timer is set anew. */
static void keep_time(struct cpu *cpu)
{
	uint64_t now = rdtsc(), slice = SLICE_MS * info->tsc_khz;
	cpu->late = now < cpu->slice_end;
	if (!cpu->late) {
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

/* Walk the vector once, from the slot after the current one, to a thread that can run and return. One that can't return ends
 * the walk, or many of them would make it long. *again: when to walk again, in TSC. */
static bool next_slice(uint64_t *again)
{
	struct cpu *cpu = this_cpu();
	const struct fh_cpu *frame = cpu->frame;
	uint64_t now = rdtsc();
	unsigned n = atomic_get(&frame->nslices), slot = cpu->slot;
	*again = ~0ul;
	for (unsigned i = 0; i < n; i++) {
		slot = slot + 1 < n ? slot + 1 : 0;
		uint64_t name = atomic_get(&frame->slice[slot]), at = ready_at(name);
		if (at > now || !dispatch_name(name)) {
			*again = MIN(*again, at);
			continue;
		}
		cpu->slot = slot;
		cpu->frame->ticks++;
		if (upcall_open(cpu->thread) & FH_BELL_SLICE)
			atomic_or(&cpu->thread->bells, FH_BELL_SLICE);
		keep_time(cpu);
		if (ready_to_return())
			return true;
		*again = 0;
		break;
	}
	return false;
}

struct fh_regs *schedule(void)
{
	struct cpu *cpu = this_cpu();
	uint32_t *idle = &epoch_cpu[cpu->id].idle;
	uint64_t again;
	atomic_swap(idle, 1u); /* [wake 9] say so first, then look: from here on wake() interrupts, at the latest the halt */
	if (next_slice(&again)) {
		atomic_set(idle, 0u);
		return &cpu->thread->regs;
	}
	cpu->frame->idle++;
	if (cpu->id == 0)
		console_refresh();
	epoch_enter_idle();
	cpu->timer_used = true;
	uint64_t now = rdtsc();
	if (again != ~0ul)
		lapic_timer_after(again > now ? again - now : 1);
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

void sched_timer(void)
{
	if (!this_cpu()->timer_used) /* else it was for a sleeper: that begins no new slice, with new flushes to spend */
		this_cpu()->slice_end = 0;
}

struct fh_regs *sched_tick(void)
{
	struct cpu *cpu = this_cpu();
	if (cpu->id == 0)
		console_refresh();
	if (cpu->thread && cpu->late) { /* or who gives up its slices at their very end would leave others nothing else */
		keep_time(cpu);
		upcall_bells(&cpu->thread->regs);
		return return_checked(&cpu->thread->regs);
	}
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

/* Slot `slot` of a CPU, whose record is locked, goes from one held thread to another; 0: none. */
static void hand_over(struct fh_cpu *frame, uint64_t slot, pfn_t from, pfn_t to)
{
	uint64_t count = atomic_get(&frame->nslices), word = frame->id / 64, bit = 1ul << frame->id % 64;
	while (count <= slot && !atomic_cas(&frame->nslices, &count, slot + 1))
		;
	if (to.n)
		atomic_or(&thread_at(to)->cpus[word], bit);
	if (from.n && !same(from, to)) {
		uint64_t i = 0, name = thread_name(from);
		while (i < count && atomic_get(&frame->slice[i]) != name)
			i++;
		if (i >= count)
			atomic_and(&thread_at(from)->cpus[word], ~bit);
	}
}

long cpu_slice(pfn_t me, uint64_t n, uint64_t slot, uint64_t name)
{
	pfn_t c = pfn(mach_index(n, nframes));
	if (n >= nframes || fh_type(state_of(c)) != FH_CPU || slot >= FH_CPU_SLICES)
		return REFUSE(EINVAL, "no such CPU or slot");
	slot = mach_index(slot, FH_CPU_SLICES);
	struct fh_cpu *frame = frame_address(c);
	uint64_t state = state_of(c), old = atomic_get(&frame->slice[slot]);
	pfn_t from = pfn(0), to = pfn(0), of;
	if (old && thread_get(root_env, old, &from, &of) < 0)
		from = pfn(0); /* gone, or referenced too often to be held: that keeps it in no slot of the CPU's owner's */
	long r = authority(me, owner_of(state)) || (from.n && authority(me, of)) ? 0 : REFUSE(EPERM, "the slot is empty or a stranger's");
	if (r == 0 && name) {
		r = thread_get(me, name, &to, &of);
		if (r < 0)
			to = pfn(0);
		else if (!authority(me, of))
			r = REFUSE(EPERM, "a slice goes to a thread of one's own or of a descendant");
	}
	if (r == 0) {
		r = record_lock(c, state); /* the CPU isn't taken from its owner meanwhile */
		if (r == 0) {
			if (atomic_cas(&frame->slice[slot], &old, to.n ? thread_name(to) : 0)) /* [wake 15] */
				hand_over(frame, slot, from, to); /* [wake 21] */
			else
				r = REFUSE(EBUSY, "another CPU has just changed the slot");
			record_unlock(c);
		}
	}
	if (to.n) {
		if (r == 0) {
			atomic_swap(&thread_at(to)->home, frame->id); /* [wake 16] LOCKed: before wake looks whether the CPU idles */
			wake(frame->id);
		}
		ref_put(to);
	}
	if (from.n) {
		if (r == 0 && !same(from, to)) /* [wake 20] it may be ready, and woken here in vain */
			wake_for(from);
		ref_put(from);
	}
	return r;
}
