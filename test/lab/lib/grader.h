/*
 * grader.h - how the assignments of docs/lab are tested. test/lab/N/test.c says what is asked and for how many points. Each
 * test runs in a child env of its own, made by a fork: whatever the student's code does there, the next test begins afresh.
 */
#pragma once

#include "kit.h"

struct lab_test {
	unsigned points;
	const char *sentence; /* what is asked */
	void (*run)(void);    /* returns: earned; wrong(): not */
};

/* Defined by the assignment's test.c. */
extern const struct lab {
	const char *title;
	const struct lab_test *tests;
	unsigned ntests;
	void (*setup)(void); /* once, before the tests, in the parent; NULL: nothing to do */
} lab;

/* Says what is wrong, for the student, and ends the test, which has earned nothing. Lines are cut at '\n'. Any thread of the
 * test's, or of an env that it has made by grader_fork, may call it. */
_Noreturn void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same unless `good`. */
#define expect(good, ...) ((good) ? (void)0 : wrong(__VA_ARGS__))
/* The result of a function of the student's: errors by name. */
void expect_result(int64_t got, int64_t want, const char *what, ...) __attribute__((format(printf, 3, 4)));

/* A page-table entry in words; a result that may be an errno. Good until the next seven. */
const char *entry_text(pte_t);
const char *result_text(int64_t);

/* Milliseconds in which everything that must happen will; more on a loaded host (kernel command line: patience=). A test has
 * twice that. */
extern uint64_t grader_patience;
/* Wait, asleep, until *word is at least n. False: it took too long. */
bool grader_await(const volatile uint64_t *word, uint64_t n);

/* Events counted by the kernel on all CPUs since the machine started (enum fh_count). */
uint64_t grader_counted(unsigned event);
/* A sequence of numbers that is the same in every run. */
uint64_t grader_random(void);

/* ---- Several envs ---- */

/* A child of the test's, which runs run() and ends. What it has to say by wrong() is the test's. */
struct env *grader_fork(void (*run)(void));
/* Wait for n of them to end, and bury each as it does; wrong() as soon as one doesn't end well. */
void grader_join(struct env **, unsigned n);

/* ---- System calls of the student's code, seen ---- */

/* From now on each system call of this thread comes to hook(context) first: regs.rax is its number, regs.rdi, rsi, rdx, r10 its
 * arguments, regs.rip where. Then it is made, unless hook has returned false: it has done so itself, and has set rax. */
void grader_trap(bool (*hook)(struct fh_context *));
void grader_trap_end(void);
/* A system call that isn't seen: how to go on in the meantime. */
struct sys_result grader_native(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
const char *grader_call_name(uint64_t number);
