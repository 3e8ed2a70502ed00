/*
 * tap.h - checks that print TAP. Each is one sentence; what went wrong follows it as comments. A check made many times
 * is one line: gather it with `count_bad`.
 */
#pragma once

#include "kit.h"

/* One line of TAP. Returns passed. */
bool ok(bool passed, const char *sentence, ...) __attribute__((format(printf, 2, 3)));
/* got == want, else both are shown. */
bool is(int64_t got, int64_t want, const char *sentence, ...) __attribute__((format(printf, 3, 4)));
/* The same for what a system call returned: errors by name. */
bool returns(int64_t got, int64_t want, const char *sentence, ...) __attribute__((format(printf, 3, 4)));
/* A check that can't be made here. */
void skip(const char *why, const char *sentence, ...) __attribute__((format(printf, 2, 3)));
/* A comment line. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* For checks in a loop: shows the first few of what was wrong, and counts. */
struct tally {
	unsigned bad;
};
void count_bad(struct tally *, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool none_bad(const struct tally *, const char *sentence, ...) __attribute__((format(printf, 2, 3)));

/* Begin: remembers how many frames this env owns. End: the books balance, the audit finds nothing (debug kernels), and the
 * plan. Returns the exit status. */
void tap_begin(void);
int tap_end(void);
/* A program that another one has started, to go on with its lines: the next one has number n + 1, and the plan is the
 * other's. tap_count: the number of the last line. */
void tap_continue(unsigned n);
unsigned tap_count(void);

/* Frames that are owned now are no loss. */
void tap_forget(void);

/* Free the page tables of the heap and of mappings that are empty now. */
void trim_tables(void);

/* For programs that print their lines into one TAP stream, one after the other: count on in *c, and begin each sentence with
 * `prefix`. tap_plan ends the stream. */
struct tap_lines {
	unsigned run, failed;
};
void tap_for(struct tap_lines *c, const char *prefix);
int tap_plan(void);

uint64_t frames_owned(void);
/* Pages that the kit keeps for its records: they only grow, and are no loss. */
uint64_t kit_pages(void);
/* A sequence of numbers that is the same in every run; the next one of another sequence, below n, that goes by *state. */
uint64_t random64(void);
uint64_t random_below(uint64_t *state, uint64_t n);
/* Where such a sequence begins that depends on these three alone. */
uint64_t random_begin(uint64_t seed, uint64_t number, uint64_t step);
/* The number in `key=number` on the kernel's command line. */
uint64_t option(const char *key, uint64_t otherwise);
/* A page table entry of this space, and the frame it names. */
pfn_t frame_at(const volatile void *p);
