/*
 * machine.h - the kernel's frame.c, grant.c, epoch.c, pte.c and pt.c on the host, next to the model: put both into one
 * state, let both carry out one call, compare.
 */
#pragma once
#include "model.h"

enum call {
	ALLOC, FREE, RETYPE, GRANT, TAKE, SYNC, LOOKUP, QUOTA, PT_SET, PT_UPDATE,
	LOAD, IDLE, TICK, PIN, FREEZE, RUN, /* what happens around calls */
	NCALLS,
};

struct call_of {
	enum call call;
	unsigned cpu, me, budget;
	uint64_t a[4]; /* arguments in the order of abi.h */
	unsigned nops;
	struct fh_op ops[3];
};

/* The kernel's memory becomes what the model says. */
void machine_install(const struct model *m);
/* Both carry out a call, from the state installed: `m` is that before and after. Returns whether anything changed, so that
 * the state is no longer the installed one. Ends the test if they disagree, or if an invariant is broken. */
bool machine_step(struct model *m, const struct call_of *call);
/* Does the model, in this state, force a flush for the call, and so let others in before it is done? */
bool machine_waits(const struct model *m, const struct call_of *call);
/* `first`, and while it waits `second`, on another CPU. What comes of it must be what comes of one after the other, in some
 * order, where who is refused has done nothing. */
void machine_pair(const struct model *m, const struct call_of *first, const struct call_of *second);
/* audit.c finds the state in order, too. */
void machine_audit(const struct model *m);
void machine_copy(struct model *to, const struct model *from);

extern uint64_t transitions, accepted, pairs; /* calls compared; of these, not refused; calls in the midst of another */
extern bool check_invariants;

/* TAP. */
unsigned tap_count(void);
void tap(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void disagree(const char *format, ...) __attribute__((format(printf, 1, 2)));
