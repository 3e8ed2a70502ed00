/*
 * thread.h - threads of this env, and CPU slots.
 *
 * Each thread has a 64 KiB place in the kit's area (plan.h, THREADS_VA): upcall frame, batch frame, a scratch page for
 * copies, a read-only view of its THREAD frame, handler stacks. The first thread's upcall and batch frames are where
 * struct fh_info says; the rest is in place 0.
 *
 *   +0 upcall  +4K batch  +8K scratch  +12K view  +16K env (place 0)  +20K hole  +32K..+64K handler stacks, downward
 */
#pragma once

#include "machine.h"
#include "space.h"

#define THREAD_PLACE 0x10000ul
#define THREAD_UPCALL 0x0ul
#define THREAD_BATCH 0x1000ul
#define THREAD_SCRATCH 0x2000ul
#define THREAD_VIEW 0x3000ul
#define THREAD_ENV 0x4000ul    /* place 0: this env's ENV frame */
#define THREAD_STACKS 0x8000ul /* up to THREAD_PLACE */
#define THREAD_MAX 1024u
#define THREAD_STACK_BYTES (256 * 1024ul) /* reserved for a thread_new stack; pages come on demand */

struct thread {
	uint64_t name;       /* of the THREAD frame */
	uint64_t *tcb;       /* FS base: the thread's `__thread` variables lie before it (tls.c) */
	struct space *space; /* it runs in */
	va_t place;          /* its 64 KiB */
	struct fh_upcall *upcall;
	struct fh_op *batch;
	unsigned batch_used[3]; /* operations in use in each part of it (batch.h) */
	const volatile struct fh_thread *view; /* its THREAD frame */
	void (*run)(void *);
	void *arg;
	va_t stack_lo, stack_hi; /* region of its stack; 0: the first thread's */
	int status;
	int done;             /* run() returned; set before the joiner is rung */
	uint64_t joiner;      /* name of the thread that waits for it, or 0 */
	struct thread *next;  /* thread_list */
};

extern struct thread thread_main; /* the first thread of the env; owns the spare CPU slots */

static inline struct thread *thread_self(void)
{
	return (struct thread *)upcall_word(UPCALL_OFFSET(libos[UPCALL_LIBOS_THREAD]));
}
/* Its name. */
static inline uint64_t thread_self_name(void) { return upcall_word(UPCALL_OFFSET(thread)); }
/* This env's ENV frame, mapped read-only. */
static inline const volatile struct fh_env *env_view(void)
{
	return (const volatile struct fh_env *)(THREADS_VA + THREAD_ENV);
}
/* Start run(arg) on a new thread in `space` (NULL: the caller's). It takes one CPU slot from the env's spare ones.
 * NULL: no slot, no frame, or no address left. */
struct thread *thread_new(void (*run)(void *), void *arg, struct space *space);
/* Wait for t to end and give back all it had. Returns its status (thread_exit). Once per thread, by any thread. */
int thread_join(struct thread *t);
/* End the calling thread. In the first thread: exit(status). */
_Noreturn void thread_exit(int status);
unsigned thread_count(void);
/* Stop another thread, of this env or one below, by name or pfn; waits while it runs on another CPU. 0 or -errno. */
int thread_stop(uint64_t thread, uint64_t status);

/*
 * CPU time is slots in the CPUs' vectors of slices. A program starts with some slots, all holding its first thread; it
 * hands them on to threads and child envs and takes them back before those die.
 */
/* Slots that now hold the first thread, on all CPUs. */
unsigned slot_count(void);
/* Put `thread` (a name) into n of them, evenly over the CPUs; if that is one, on the CPU with the fewest other threads of
 * ours. At least one stays. Returns how many (>= 1) or -EAGAIN. */
int slot_give(uint64_t thread, unsigned n);
/* Put the first thread back into every slot that holds the thread with this pfn. Returns how many. */
int slot_take(pfn_t thread);
/* The same for every thread of env `env` (a pfn) and of its descendants. */
int slot_take_env(pfn_t env);
/* root only: fill slots [lo, hi) of every CPU with its first thread. */
int slot_claim(unsigned lo, unsigned hi);
/* The CPU frames, mapped: CPU i. NULL past the last. */
const volatile struct fh_cpu *cpu_view(unsigned i);

/* The running program's `__thread` variables as they are at first, for one thread: its FS base. NULL: no frames. */
uint64_t *tls_new(void);
void tls_free(uint64_t *tcb);

/* For start.c and fork.c: the first thread is the only one; no other holds the lock. */
void thread_reset(void);
void slot_reset(void);
