/*
 * env.h - child envs: made by spawn (from an ELF image) or env_fork (from ourselves), waited for, reaped.
 *
 * The keeper of a child's first thread is the thread that made the child: BELL_CHILD rings there when the child stops
 * or faults past its handlers. That thread calls env_wait.
 */
#pragma once

#include "space.h"
#include "thread.h"

#define ENV_TITLE 32

struct layout;

struct env {
	pfn_t pfn;       /* the ENV frame */
	uint64_t name;
	pfn_t thread;    /* its first THREAD frame */
	uint64_t thread_name;
	const volatile struct fh_thread *view; /* the same, mapped read-only */
	char title[ENV_TITLE]; /* argv[0] without directory and .elf */
	const struct layout *layout; /* that it was laid out by; NULL: a fork of this env */
	struct env *next;      /* env_list */
};

extern struct env *env_list; /* children not yet reaped; for programs of one thread, or that hold back the others */

struct spawn_options {
	uint64_t quota;   /* frames the child may own; 0: half of what this env has left */
	unsigned slots;   /* CPU slots for it; 0: half of the spare ones */
	bool bootfs;      /* map the modules at BOOTFS_VA (root only: they are root's) */
	bool stopped;     /* do not start it: the caller does, by thread_ctl(FH_THREAD_START) */
	bool devices;     /* grant it our device memory (share.h) */
	struct frames *frames;
	const struct layout *layout; /* by that table; NULL: by the one that the file names (layout.h), else the kit's own */
	uint64_t seed;    /* for layouts with random places: the same seed, the same places; 0: none are random */
	uint64_t stack_limit; /* bytes that the first stack may grow to, for layouts that ask (linux); 0: theirs */
	char *const *envp; /* the environment, NULL at its end, or NULL */
};

/*
 * Make a child env from a static ELF64 x86-64 program in memory. argv ends with NULL; o may be NULL.
 * On success *child is its handle. -ENOEXEC: not such a program, or its segments do not fit its layout (it says which on
 * the console); -E2BIG: arguments longer than a page (linux: than Linux takes); -ENOMEM, -EAGAIN (no CPU slot), and the kernel's.
 */
int spawn(struct env **child, const void *elf, size_t bytes, char *const argv[], const struct spawn_options *o);
/* What is wrong with the program, in words; NULL: nothing. */
const char *elf_check(const void *elf, size_t bytes);

/*
 * Like Unix fork: the child env continues as a copy of the calling thread alone. Returns 1 in the parent with *child
 * set, 0 in the child, or -errno. Heap, mappings and the stack are copy-on-write; the image's data (in the layout flat its
 * code, too: what can be written) and the kit's records are copied at once, because the fault handler itself needs them, as
 * are the stacks of other threads, which may go on meanwhile. The first thread's call, outside handlers (-EBUSY).
 */
int env_fork(struct env **child);
/*
 * A second address space of this env: heap, mappings and the first stack copy-on-write; image (its globals too), the kit's
 * records and the stacks of other threads shared. Run threads in it with thread_new. The space must stay where it is until
 * space_free, and not on a stack, which the copy write-protects; s is filled in. -EBUSY: a copy of the first thread's space
 * is for that thread to make.
 */
int space_fork(struct space *s, struct space *parent);

enum env_state { ENV_RUNNING, ENV_EXITED, ENV_FAULTED };
enum env_state env_state(const struct env *);
/* Exit status of an ENV_EXITED child. */
#define ENV_KILLED 137 /* 128 + SIGKILL: it had not stopped by itself */
int env_status(const struct env *);
/* Wait until the child has exited or faulted. */
enum env_state env_wait(struct env *);
/* Print who, vector, address, rip of a faulted child. */
void env_report(const struct env *);
/* Freeze it and stop its first thread. It stays to be looked at until env_reap. */
int env_kill(struct env *);
/*
 * Give back every frame of the env and of all envs under it, and its quota and CPU slots; *child becomes NULL. The
 * frames it owned and freed are counted into *freed (may be NULL). -EBUSY if something still refers to its frames: it may
 * be tried again.
 */
int env_reap(struct env **child, uint64_t *freed);
/* The same for any descendant, by the pfn of its ENV frame. */
int env_reap_pfn(pfn_t env, uint64_t *freed);

/* -- looking around: what the ownership table and frames of descendants say -- */
/* The next ENV frame after pfn `after` in the machine, 0: none. Its parent is fh_owner of its record. */
pfn_t env_next(pfn_t after);
/* True if `env` is `ancestor` or below it. */
bool env_below(pfn_t env, pfn_t ancestor);
/* This env: its name, serial included; its ENV frame. */
static inline uint64_t env_self_name(void) { return upcall_word(UPCALL_OFFSET(env)); }
static inline pfn_t env_self(void) { return fh_name_pfn(env_self_name()); }
/* Copy of an ENV or THREAD frame that is ours or a descendant's. 0, -EPERM, -ESRCH. */
int env_look(pfn_t env, struct fh_env *);
int thread_look(pfn_t thread, struct fh_thread *);
const char *thread_state_name(unsigned state);
