/*
 * raw.h - threads made by hand, with none of the kit around them: their registers, upcall frame and batch frame are what
 * the test says, garbage too. A raw thread runs in a child env of its own with five pages and nothing else (raw_new), or
 * in this env and space (raw_here). It needs no CPU slot: it runs while the test waits for it, on the slice that
 * thread_switch hands over.
 *
 * With max_depth 0 (as it is made) whatever faults stops the thread FAULTED: vector, error, address and all registers are
 * then in its THREAD frame. So one instruction is one experiment.
 */
#pragma once

#include "kit.h"

#define RAW_BASE 0x10000000ul        /* in an env of its own */
#define RAW_AREA 0x200000000000ul    /* in this env: the first of them */
#define RAW_BELL (1ul << (BELL_USER + 20)) /* rung here when a raw thread stops or faults */

enum { RAW_CODE, RAW_STACK, RAW_UPCALL, RAW_BATCH, RAW_DATA, RAW_PAGES };

struct raw {
	pfn_t env, thread, root; /* env: this one's for raw_here */
	uint64_t env_name, name; /* with serials */
	bool own;                /* has an env of its own */
	struct space space;
	pfn_t frames;            /* RAW_PAGES consecutive ones */
	va_t base;               /* where they are mapped for the thread: page k at base + k*4096 */
	char *page[RAW_PAGES];   /* and here */
	struct fh_upcall *upcall;
	struct fh_op *batch;
	const volatile struct fh_thread *view;
};

static inline va_t raw_va(const struct raw *r, unsigned page) { return r->base + page * FH_PAGE; }
static inline va_t raw_stack_top(const struct raw *r) { return raw_va(r, RAW_STACK) + FH_PAGE; }

/* In a child env with this quota; in a child of env `parent`, a descendant (a pfn; 0: this env). In this env. A second
 * thread in the env and space of `first`. 0 or -errno. */
int raw_new(struct raw *, uint64_t quota);
int raw_below(struct raw *, pfn_t parent, uint64_t quota);
int raw_here(struct raw *);
int raw_beside(struct raw *, struct raw *first);
/* All parts of it set anew, as it was made; it must be stopped. 0 or -errno. */
int raw_reset(struct raw *);
/* Unmap its pages and its THREAD frame here: somebody else buries its env. */
void raw_forget(struct raw *);
/* Give everything back. */
int raw_end(struct raw *);

/* Set parts of it (it must be stopped): 0 or -errno. The whole struct is the argument of thread_write. */
int64_t raw_write(struct raw *, const struct fh_thread_args *);
/* Registers to start with: rip at `offset` in the code page, rsp at the top of the stack page. */
struct fh_regs raw_regs(const struct raw *, unsigned offset);
/* How long to wait, in ms, for what must happen: long, because a loaded host lets a virtual CPU stand still. */
#define RAW_PATIENCE 3000u
/* Start with these registers and wait: how it ended, FH_STOPPED or FH_FAULTED; FH_SLEEPING: it sleeps; FH_READY: it still
 * ran after about `ms` of its own time, and has been stopped. */
unsigned raw_run(struct raw *, const struct fh_regs *, unsigned ms);
/* The same without new registers. */
unsigned raw_resume(struct raw *, unsigned ms);
/* Ring it with `give` and let it run for a while, until it stops or the time is over. */
void raw_let(struct raw *, uint64_t give, unsigned ms);
/* Wait until it stops. */
unsigned raw_wait(struct raw *, unsigned ms);

/* Have it make one system call: the result; -10000 - state: it did not come back. Overwrites the code page. */
int64_t raw_call(struct raw *, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* Put bytes into the code page. After them comes, always, a call that stops the thread with status 1. */
void raw_code(struct raw *, const void *bytes, size_t n);
#define RAW_STOP_STATUS 1u
