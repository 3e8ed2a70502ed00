/*
 * lines.h - the tests of one layout: test/layout/NAME.c has one for each numbered line of the layout's requirements, run in
 * a program that lives in the layout. Its TAP sentence begins with "NAME.N ". test/static/layouts.sh counts them.
 */
#pragma once

#include "kit.h"
#include "tap.h"
#include "touch.h"

struct line {
	unsigned n;           /* of the line */
	const char *sentence; /* what a user would want to know */
	void (*run)(void);    /* with expect() for everything that must hold */
};

/* In NAME.c: how many lines there are, and a test for each (or a reason in the layout's table, `untested`). {0} ends it. */
extern const unsigned lines_total;
extern const struct line lines[];

/* What must hold for this line; shown as a comment if it doesn't. Returns good. */
bool expect(bool good, const char *sentence, ...) __attribute__((format(printf, 2, 3)));
/* got == want, as numbers; both are shown if not. */
bool expect_is(int64_t got, int64_t want, const char *sentence, ...) __attribute__((format(printf, 3, 4)));
/* The same for a kit function's result: errors by name. */
bool expect_returns(int64_t got, int64_t want, const char *what, ...) __attribute__((format(printf, 3, 4)));
/* This line can't be tested on this machine: why. */
void cannot(const char *why);

/* ---- Faults: what happens in a forked child that does this, and who is told ---- */
enum told_who {
	TOLD_NOBODY,  /* it did not fault: `status` is what act returned */
	TOLD_HANDLER, /* the program's own handler, after the regions had refused */
	TOLD_PARENT,  /* the keeper: the child has no handler that could run */
};
struct told {
	enum told_who who;
	unsigned vector;
	uint64_t error;   /* of vector 14: FAULT_PRESENT, FAULT_WRITE, FAULT_FETCH, 4 (user mode) */
	uint64_t address; /* CR2, for vector 14 */
	uint64_t rip;
	int status;
};
/* Run act(arg) in a forked child. `deaf`: its upcalls don't work, so that the first fault that is not answered inside the
 * kernel is the parent's (nothing demand-zero works either: what act touches must be there). */
struct told told(int (*act)(void *), void *arg, bool deaf);
/* Acts: read, write or run the byte at `arg`. */
int act_read(void *);
int act_write(void *);
int act_run(void *);
/* The touch of `va` by this act is refused: vector, address (checked for 14), the program's own handler is told; for 14 also
 * that the error code has these of FAULT_PRESENT|WRITE|FETCH. */
bool expect_fault(int (*act)(void *), va_t va, unsigned vector, uint64_t error, const char *what);
