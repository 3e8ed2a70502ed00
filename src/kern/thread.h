/*
 * thread.h - THREAD frames: what runs, what it waits for, where its faults go; and the slices of CPU time.
 *
 * state of a thread (A): READY or SLEEPING -> RUNNING by the CPU that wins the CAS; RUNNING -> anything only by the CPU
 * that runs it, after regs and fx are saved; SLEEPING -> READY by whoever rings; off every CPU, anything but CHANGING ->
 * CHANGING by the CPU that wins the CAS, which then stops, starts or changes it. All else in a THREAD frame, but what is
 * accessed atomically, belongs to the CPU that has it RUNNING or CHANGING.
 */
#pragma once
#include "cpu.h"
#include "frame.h"

static inline uint64_t thread_name(pfn_t t) { return fh_name(t.n, thread_at(t)->serial); }
static inline struct fh_upcall *upcall_of(const struct fh_thread *t)
{
	uint64_t f = atomic_get(&t->upcall);
	return f ? frame_address(pfn(f)) : NULL;
}
static inline void *batch_of(struct fh_thread *t) { return t->batch ? frame_address(pfn(t->batch)) : NULL; }

/* It has an upcall root and runs on its other one: upcalls change the root, and its system calls are the libOS's. */
static inline bool off_upcall_root(const struct fh_thread *t) { return t->upcall_root && t->loaded != t->upcall_root; }

/* The flags that user code may set. */
#define USER_FLAGS 0x240dd5ul /* CF PF AF ZF SF TF DF OF AC ID */
#define FLAGS_FIXED 0x202ul   /* IF and the bit that is always 1 */
/* Registers that user code chose: nothing in them may be the kernel's to decide. */
static inline void sanitize(struct fh_regs *regs)
{
	regs->cs = USER_CS;
	regs->ss = USER_DS;
	regs->rflags = (regs->rflags & USER_FLAGS) | FLAGS_FIXED;
}

/* Hold the thread that `name` names (0: not taken). Serial 0 passes under authority. The caller puts the reference
 * back. 0, -ESRCH, -EPERM, -ENOSPC. */
long thread_get(pfn_t me, uint64_t name, pfn_t *t, pfn_t *owner);
/* Set doorbell bits, and make a sleeper ready that waits for one. The caller holds t. */
void thread_ring(pfn_t t, uint64_t bits);
/* Has it a bell that ends its sleep: one it waits for, or one that comes in as an upcall? */
bool thread_rung(const struct fh_thread *);
/* The same for a weak name: nothing happens if the thread is gone. */
void ring_name(uint64_t name, uint64_t bits);
/* The running thread leaves its CPU, STOPPED or FAULTED, and its keeper is rung. */
void thread_stop_self(unsigned state);

long thread_write(pfn_t me, uint64_t name, const struct fh_thread_args *args);
/* These two may end in another thread: they return the regs to run, whose rax holds the result. */
struct fh_regs *thread_ctl(struct fh_regs *regs, uint64_t name, uint64_t op, uint64_t arg);
struct fh_regs *thread_switch(struct fh_regs *regs, uint64_t to, uint64_t give, uint64_t mask, uint64_t deadline);

/* upcall.c: the running thread enters its handler; false, and nothing changed, if it has none left. */
#define VECTOR_GP 13u
#define VECTOR_PF 14u
bool upcall_enter(struct fh_regs *regs, uint64_t vector, uint64_t error, uint64_t address);
/* The same, vector and error standing in regs already; without a handler the thread stops FAULTED. Returns the regs to
 * run. */
struct fh_regs *upcall(struct fh_regs *regs, uint64_t address);
/* Doorbell bits that an upcall would take now: none inside an upcall, or without a handler. */
uint64_t upcall_open(const struct fh_thread *t);
/* Deliver doorbell bits that are due. */
void upcall_bells(struct fh_regs *regs);
/* Take the running thread off its CPU, FAULTED, and tell its keeper; root's fault ends the machine with a report. */
void fault_running(uint64_t address);
long upcall_return(struct fh_regs *regs);
/* Sanitized; a rip that is not canonical becomes a user #GP. Returns the regs to run. */
struct fh_regs *return_checked(struct fh_regs *regs);

/* sched.c */
#define SLICE_MS 10
extern pfn_t root_env;
_Noreturn void wait_idle(void); /* entry.asm */
/* The running thread has left (or never was): the next one's regs. Idles while there is none. */
struct fh_regs *schedule(void);
/* Run `to` (held; 0: nobody) for the rest of the slice if it can run, else whoever is next. Takes the reference. */
struct fh_regs *switch_to(pfn_t to, pfn_t owner);
/* The timer has fired, once: whatever comes of that interrupt, the next slice sets it anew. */
void sched_timer(void);
/* Next slice. */
struct fh_regs *sched_tick(void);
/* The running thread has been told to stop. */
struct fh_regs *sched_stop(void);
/* Save the running thread's FPU state and give it up as `state`. */
void leave(unsigned state);
/* There may be something to run on this CPU: interrupt it if it idles. After the LOCKed instruction that made it so. */
void wake(unsigned cpu);
/* The same for the CPU that has thread t, which the caller holds, in its slices: its home. */
void wake_for(pfn_t t);
/* So that it looks whether its thread has been told to stop. `ran_on`: 1 + its index; 0: nobody. */
void interrupt_cpu(uint64_t ran_on);
/* Load the root that the running thread should be on. */
void enter_root(struct fh_thread *t, uint64_t root);
/* FS and GS base of the running thread. */
void load_bases(const struct fh_thread *t);
/* Recompute what the system-call entry may do by itself. */
void dispatch_filter(struct fh_thread *t);
long cpu_slice(pfn_t me, uint64_t cpu, uint64_t slot, uint64_t name);
